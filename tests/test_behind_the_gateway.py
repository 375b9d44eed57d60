"""Servers behind the gateway, on a real hub and engine: secrets, ends and restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest
import requests

from .conftest import ROOT
from .hub import Visitor
from .spawning import Lab, Starter, kill, run, wait_for

pytestmark = [pytest.mark.hub, pytest.mark.engine]


@pytest.fixture(scope="module")
def starter(engine: docker.DockerClient, bridge_address: str, tiny_image: str) -> Starter:
    return Starter(engine, bridge_address, ROOT / "tests" / "gateway.yaml", "")


@pytest.fixture(scope="module")
def lab(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with starter(tmp_path_factory.mktemp("behind")) as (_, lab):
        yield lab


def variables(page: requests.Response) -> dict[str, str]:
    """What a CGI program of the container was told."""
    assert page.status_code == 200, page.text
    return dict(line.partition("=")[::2] for line in page.text.splitlines())


def inside(visitor: Visitor, path: str, **options: object) -> requests.Response:
    """Ask a server as its page would, without following redirects."""
    return visitor.session.get(
        f"{visitor.hub.url}{path}", allow_redirects=False, timeout=30, **options
    )


def test_what_reaches_the_container(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("web")
        alice.get("/user/alice/web/")
        alice.session.cookies.set("theirs", "1", domain="localhost.local", path="/")
        sent = {cookie.name for cookie in alice.session.cookies}
        assert {"mydocker-server", "jupyterhub-session-id"} <= sent  # the honest case
        told = variables(inside(alice, "/user/alice/web/cgi-bin/env"))
        assert told["HTTP_COOKIE"] == "theirs=1"
        token = alice.token()
        with requests.Session() as program:
            program.headers["Authorization"] = f"token {token}"
            alone = Visitor(lab.hub, "alice", program)
            told = variables(inside(alone, "/user/alice/web/cgi-bin/env"))
        assert token not in str(told)
        assert told["HTTP_X_FORWARDED_PREFIX"] == "/user/alice/web"
        assert told["HTTP_X_RSTUDIO_ROOT_PATH"] == "/user/alice/web"
        assert told["HTTP_X_FORWARDED_PROTO"] == "http"
        assert told["HTTP_X_FORWARDED_HOST"] == lab.hub.url.removeprefix("http://")
        assert not [name for name in told if name.startswith("JUPYTERHUB")]
        alice.stop_and_wait("web")
    lab.nothing_is_left(user="alice")


def test_neighbours_do_not_get_in(lab: Lab, bridge_address: str) -> None:
    """The person types no password, but there is one: others reach the port as well."""
    with lab.signed_in("alice") as alice, lab.signed_in("bob") as bob:
        alice.start_and_wait("locked")
        bob.start_and_wait("web")
        assert alice.get("/user/alice/locked/").text == "secret\n"
        ports = lab.container("alice", "locked").attrs["NetworkSettings"]["Ports"]["8888/tcp"]
        address = f"http://{bridge_address}:{ports[0]['HostPort']}/"
        neighbour = lab.container("bob", "web")
        secret = lab.container("alice", "locked").attrs["Args"][-1]
        honest = address.replace("http://", f"http://alice:{secret}@")
        assert run(neighbour, f"wget -q -O - {honest}") == "secret"
        status, output = neighbour.exec_run(["wget", "-O", "-", address])
        assert status != 0
        assert b"401 Unauthorized" in output

        # Nor does a copy of the hub's database hold it, or the server's token.
        with closing(sqlite3.connect(lab.hub.state / "jupyterhub.sqlite")) as database:
            (state,) = database.execute(
                "SELECT state FROM spawners WHERE name = 'locked' AND state LIKE '%route%'"
            ).fetchone()
        assert '"route": "gAAAA' in state
        assert secret not in state
        assert secret not in lab.hub.log()
        alice.stop_and_wait("locked")
        bob.stop_and_wait("web")


def test_a_stop_closes_the_door_and_a_start_opens_it_again(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("web")
        assert "bonjour" in alice.get("/user/alice/web/").text
        alice.stop_and_wait("web")
        assert "bonjour" not in alice.get("/user/alice/web/").text
        alice.start_and_wait("web")
        assert "bonjour" in alice.get("/user/alice/web/").text
        alice.stop_and_wait("web")


def test_a_container_that_ends_is_told(lab: Lab) -> None:
    with lab.signed_in("alice") as alice:
        alice.start_and_wait("web")
        alice.get("/user/alice/web/")
        lab.container("alice", "web").kill()
        page = alice.get("/user/alice/web/", headers={"Accept": "text/html"})
        assert page.status_code in {502, 404, 424, 503}, page.status_code
        assert "bonjour" not in page.text
        alice.wait_until_gone("web")
        lab.nothing_is_left(user="alice", server="web")
        alice.start_and_wait("web")
        assert "bonjour" in alice.get("/user/alice/web/").text
        alice.stop_and_wait("web")


def test_a_hub_that_is_killed_drops_no_sign_in(starter: Starter, tmp_path) -> None:
    """Hub, services and gateway end and come back; whoever was inside stays inside."""
    with starter(tmp_path) as (hub, lab):
        with lab.signed_in("alice") as alice, lab.signed_in("bob") as bob:
            alice.start_and_wait("web")
            alice.get("/user/alice/web/")
            assert inside(alice, "/user/alice/web/").status_code == 200
            kill(hub)
            lab = Lab(hub.__enter__(), lab.engine)
            seen = []

            def is_back() -> bool:
                page = inside(alice, "/user/alice/web/")
                seen.append((page.status_code, page.headers.get("Location", "")))
                return "bonjour" in page.text

            wait_for(is_back, 20, lambda: str(seen))
            assert not [place for _, place in seen if "oauth2" in place], seen
            bob = Visitor(lab.hub, "bob", bob.session)
            assert bob.get("/user/alice/web/").status_code == 403
            # it is stopped like any other: nothing was forgotten
            alice = Visitor(lab.hub, "alice", alice.session)
            alice.stop_and_wait("web")
        lab.nothing_is_left()
