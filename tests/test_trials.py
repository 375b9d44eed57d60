"""“Try it”, secrets at a start, and what teachers see of running servers, on a real hub."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import docker
import pytest
import requests
import yaml

from mydocker_hub.domain import names
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.images import BuildState, Recipe
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.hubapi import HubServers, RunningServer
from mydocker_hub.store import images, trials
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import BuildRow
from mydocker_hub.web.service import now

from .conftest import TINY_IMAGE
from .hub import RunningHub, Visitor, text_of
from .services.conftest import Asker, definition
from .spawning import Lab, Starter, environment, kill, run, sentence, sh, wait_for

pytestmark = [pytest.mark.hub, pytest.mark.engine]

SMALL = {"memory_bytes": "64 MB", "shm_bytes": "16 MB"}
SERVE = "mkdir -p /tmp/www; exec httpd -f -p 8888 -h /tmp/www"
SECRET = 'hunter22-$HOME-"x"'
Make = Callable[..., str]


@pytest.fixture
def lab(hub: RunningHub, engine: docker.DockerClient) -> Lab:
    return Lab(hub, engine)


@pytest.fixture
def bob(hub: RunningHub) -> Iterator[Visitor]:
    """A teacher; what he tries or runs is stopped at the end."""
    with hub.signed_in("bob") as visitor:
        yield visitor
        _stop_all(visitor)


@pytest.fixture
def alice(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("alice") as visitor:
        yield visitor
        _stop_all(visitor)


def _stop_all(visitor: Visitor) -> None:
    for server in visitor.api("GET", f"/users/{visitor.name}").json()["servers"]:
        visitor.stop(server)
    for server in visitor.api("GET", f"/users/{visitor.name}").json()["servers"]:
        visitor.wait_until_gone(server)


@pytest.fixture
def make(hub: RunningHub, bob: Visitor) -> Make:
    """Make an environment of bob's; its slug."""
    asker = Asker(hub.url, bob.token())

    def make(**changes: Any) -> str:
        sent = definition(**{"resources": SMALL, **changes})
        answer = asker.post("/environments", sent)
        assert answer.status_code == 201, answer.text
        return str(sent["slug"])

    return make


def try_it(visitor: Visitor, what: str) -> requests.Response:
    """Press “Try it”."""
    page = "/services/catalogue/environments"
    return visitor.post_form(page, f"/services/catalogue/trial/{what}")


def trial_of(slug: str) -> str:
    return names.trial_name(f"environment/{slug}")


def volumes(lab: Lab) -> list[str]:
    return [volume.name for volume in lab.volumes(trial="true")]


def state_of(hub: RunningHub, server: str) -> dict[str, Any]:
    """What the hub's database holds of a server."""
    with closing(sqlite3.connect(hub.state / "jupyterhub.sqlite")) as database:
        query = "SELECT state FROM spawners WHERE name = ? AND state LIKE '%service_id%'"
        (text,) = database.execute(query, (server,)).fetchone()
    state: dict[str, Any] = json.loads(text)
    return state


def hub_servers(hub: RunningHub, secret: str = "") -> HubServers:
    secret = secret or (hub.state / "catalogue_secret").read_text()
    return HubServers(f"{hub.url}/hub/api", secret)


def servers_of(hub: RunningHub, slug: str) -> list[RunningServer]:
    return asyncio.run(hub_servers(hub).of_environment(slug))


# --- trials --------------------------------------------------------------------------------------


def test_a_trial_is_what_a_new_student_gets(lab: Lab, bob: Visitor, make: Make) -> None:
    """Beside the teacher's own server and folder; afterwards nothing of it is there."""
    slug = make(
        title={"fr": "Essayez-moi", "en": "Try me"},
        storage={"dedicated": "/data/mine", "global": "/home/user"},
        lifetime={"maximum": "PT3H"},
    )
    bob.start_and_wait(slug)
    own = lab.container("bob", slug)
    run(own, "echo theirs > /data/mine/notes && echo theirs > /home/user/notes")

    trial = trial_of(slug)
    page = try_it(bob, slug)
    assert page.status_code == 200, (page.url, text_of(page), lab.hub.log()[-3000:])
    assert f"/{trial}" in page.url
    bob.wait_until_ready(trial)
    container = lab.container("bob", trial)
    assert run(container, "ls /data/mine /home/user; touch /data/mine/a /home/user/a").split() == [
        "/data/mine:",
        "/home/user:",
    ]
    assert container.attrs["HostConfig"]["Memory"] == own.attrs["HostConfig"]["Memory"]
    assert state_of(lab.hub, trial)["maximum"] == 3600
    assert state_of(lab.hub, slug)["maximum"] == 3 * 3600
    assert len(volumes(lab)) == 2

    # a line of the dashboard, not a card; and its own page
    text = bob.dashboard()
    assert "Essai : Essayez-moi" in text
    assert f'id="leave-{trial}' not in bob.get("/services/catalogue/").text
    states = bob.get("/services/catalogue/states").json()
    assert states[trial] == states[slug] == "running"
    inside = bob.get(f"/services/catalogue/open/{trial}", allow_redirects=False)
    assert inside.headers["Location"] == f"/user/bob/{trial}/"
    # pressed again, it leads inside and starts nothing
    assert f"/user/bob/{trial}/" in try_it(bob, slug).url
    assert lab.container("bob", trial).id == container.id

    stopped = bob.post_form("/services/catalogue/", f"/services/catalogue/stop/{trial}")
    assert stopped.status_code == 200
    bob.wait_until_gone(trial)
    wait_for(lambda: not volumes(lab), 30, lambda: f"left: {volumes(lab)}")
    assert "Essai" not in bob.dashboard()
    assert run(own, "cat /data/mine/notes /home/user/notes").split() == ["theirs", "theirs"]
    with closing(sqlite3.connect(lab.hub.state / "catalogue.sqlite")) as database:
        (count,) = database.execute(
            "SELECT count(*) FROM folders WHERE volume LIKE 'mydocker-try%'"
        ).fetchone()
    assert count == 0


def test_a_trial_that_ends_by_itself_leaves_nothing(lab: Lab, bob: Visitor, make: Make) -> None:
    slug = make(storage={"dedicated": "/data/mine"})
    try_it(bob, slug)
    bob.wait_until_ready(trial_of(slug))
    assert slug not in bob.get("/services/catalogue/").text.replace(trial_of(slug), "").replace(
        f"workshop/environments/{slug}", ""
    )  # nobody is enrolled
    lab.container("bob", trial_of(slug)).kill()
    bob.wait_until_gone(trial_of(slug))
    wait_for(lambda: not volumes(lab), 30, lambda: f"left: {volumes(lab)}")
    page = bob.get(f"/hub/user/bob/{trial_of(slug)}/")
    assert "Rien n’en est conservé" in text_of(page) or "Nothing of it is kept" in text_of(page)

    # one that does not start leaves nothing either
    slug = make(command=sh("exit 3"), storage={"dedicated": "/data/mine"})
    try_it(bob, slug)
    wait_for(lambda: bob.server(trial_of(slug)) is None, 40)
    wait_for(lambda: not volumes(lab), 30, lambda: f"left: {volumes(lab)}")
    lab.nothing_is_left(user="bob")
    # the hub remembers the last one, and no more: it counts names
    known = bob.api("GET", "/users/bob?include_stopped_servers=1").json()["servers"]
    assert [name for name in known if names.is_trial(name)] == [trial_of(slug)]


def test_students_try_nothing(lab: Lab, bob: Visitor, alice: Visitor, make: Make) -> None:
    slug = make(public=False)
    for what in (slug, "tiny", "no-such-thing", "build/1", "build/999"):
        page = try_it(alice, what)
        assert page.status_code == 403, what
    try_it(bob, slug)
    bob.wait_until_ready(trial_of(slug))
    # bob's name of it is nobody else's key, and what is made up opens nothing
    for server in (trial_of(slug), trial_of("tiny"), names.trial_name("build/1")):
        for options in ({}, {"environment": server}):
            alice.start(server, json=options)
            wait_for(lambda one=server: alice.server(one) is None, 20)
    answer = alice.start(trial_of(slug), json={"environment": "tiny"})
    assert answer.status_code >= 400
    answer = bob.start(trial_of("tiny"), json={"environment": trial_of(slug)})
    assert answer.status_code >= 400
    for name in ("try-", "try-x", "try--x", f"{trial_of(slug)}x"):
        assert bob.start(name).status_code >= 400, name
    assert [service.attrs["Spec"]["Labels"]["mydocker.user"] for service in lab.services()] == [
        "bob"
    ]


def test_teachers_try_what_they_were_given_a_right_on(hub: RunningHub, bob: Visitor) -> None:
    with hub.signed_in("carol") as visitor:
        carol = Asker(hub.url, visitor.token())
    hidden, public = definition(resources=SMALL), definition(resources=SMALL, public=True)
    for sent in (hidden, public):
        assert carol.post("/environments", sent).status_code == 201
    assert try_it(bob, hidden["slug"]).status_code == 404
    assert try_it(bob, public["slug"]).status_code == 403  # it is started, not tried
    right = carol.put(f"/environments/{hidden['slug']}/rights/bob", {"right": "view"})
    assert right.status_code < 300, right.text
    trial = trial_of(hidden["slug"])
    try_it(bob, hidden["slug"])
    bob.wait_until_ready(trial)
    bob.stop_and_wait(trial)
    # withdrawn: also for a start that goes round the page
    assert carol.delete(f"/environments/{hidden['slug']}/rights/bob").status_code < 300
    bob.start(trial)
    wait_for(lambda: bob.server(trial) is None, 20)
    page = bob.post_form("/services/catalogue/", f"/services/catalogue/start/{trial}")
    assert f"/user/bob/{trial}/" not in page.url


def test_a_trial_with_several_interfaces(bob: Visitor, make: Make) -> None:
    script = 'for i in 1 2; do mkdir -p /tmp/$i; echo "page $i" >/tmp/$i/index.html; done; '
    script += "httpd -p 8081 -h /tmp/1; exec httpd -f -p 8082 -h /tmp/2"
    slug = make(
        command=f"sh -c '{script}'",
        interfaces=[
            {"name": "one", "title": "One", "kind": "web", "port": 8081},
            {"name": "two", "title": "Two", "kind": "web", "port": 8082},
        ],
    )
    trial = trial_of(slug)
    page = try_it(bob, slug)
    # by way of the waiting page, which goes on by itself where the start is quicker than this
    ways = [one.headers["Location"] for one in page.history]
    assert any(f"next=%2Fservices%2Fcatalogue%2Fopen%2F{trial}" in way for way in ways)
    bob.wait_until_ready(trial)
    choice = bob.get(f"/services/catalogue/open/{trial}")
    addresses = re.findall(r'href="(/user/bob/try-[^"]+)"', choice.text)
    assert addresses == [f"/user/bob/{trial}/one/", f"/user/bob/{trial}/two/"]
    assert [bob.get(one).text.strip() for one in addresses] == ["page 1", "page 2"]
    assert f"/services/catalogue/workshop/environments/{slug}" in choice.text
    # what was changed meanwhile is said there, and tried the next time
    assert bob.get(f"/user/bob/{trial}/").url.endswith(f"/open/{trial}")
    asker = Asker(bob.hub.url, bob.token())
    before = asker.get(f"/environments/{slug}")
    changed = {**before.json()["definition"], "variables": {"NEW": "1"}}
    assert asker.put(f"/environments/{slug}", changed, before.headers["ETag"]).status_code == 200
    assert "modifié" in text_of(bob.get(f"/services/catalogue/open/{trial}")) or "changed" in (
        text_of(bob.get(f"/services/catalogue/open/{trial}"))
    )


def test_a_build_is_tried(lab: Lab, bob: Visitor) -> None:
    """Its environment is what the image's recipe proposes."""
    slug = f"i-{secrets.token_hex(4)}"
    teacher = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
    recipe = Recipe.model_validate({"title": "Mon image", "base": TINY_IMAGE, "home": "/home/user"})
    database = Database(f"sqlite:///{lab.hub.state / 'catalogue.sqlite'}")

    def built(session: Any) -> int:
        images.create(session, slug, recipe, teacher, now())
        build = images.ask_build(session, slug, teacher, now())
        row = session.get_one(BuildRow, build.id)
        row.state, row.reference = BuildState.DONE, TINY_IMAGE
        return build.id

    try:
        build_id = database.write_now(built)
        trial = names.trial_name(f"build/{build_id}")
        assert try_it(bob, f"build/{build_id}").status_code == 200
        bob.wait_until_ready(trial)
        assert run(lab.container("bob", trial), "pwd; ls") == "/home/user"
        assert "Essai : Mon image" in bob.dashboard()
        assert f"workshop/images/{slug}/builds/1" in bob.get("/services/catalogue/").text
        # whoever has an environment of that name learns nothing of it
        assert servers_of(lab.hub, slug) == []
        assert database.read_now(trials.of_person, teacher)[-1].slug
        bob.stop_and_wait(trial)
        wait_for(lambda: not volumes(lab), 30)
    finally:
        database.close()


# --- secrets -------------------------------------------------------------------------------------


def test_secrets_are_in_the_container_and_nowhere_else(lab: Lab, bob: Visitor, make: Make) -> None:
    hub = lab.hub
    slug = make(command=sh(f'echo "the key is $API_KEY"; env; {SERVE}'))
    asker = Asker(hub.url, bob.token())
    put = asker.put(f"/environments/{slug}/secrets/API_KEY", {"value": SECRET})
    assert put.status_code < 300, put.text
    bob.start_and_wait(slug)
    container = lab.container("bob", slug)
    assert run(container, 'echo "$API_KEY"') == SECRET

    (service,) = lab.services(server=slug)
    spec = json.loads(json.dumps(service.attrs))
    env = spec["Spec"]["TaskTemplate"]["ContainerSpec"].pop("Env")
    assert [line for line in env if line.startswith("API_KEY=")]
    spec.pop("PreviousSpec", None)
    assert "hunter22" not in json.dumps(spec)
    assert "hunter22" not in json.dumps(container.labels)
    assert "hunter22" not in bob.api("GET", "/users/bob?include_stopped_servers=1").text
    assert "hunter22" not in hub.log()
    for file in hub.state.glob("*.sqlite*"):
        assert b"hunter22" not in file.read_bytes(), file
    shown = asyncio.run(hub_servers(hub).log("bob", slug, slug))
    assert "the key is …" in shown
    assert "hunter22" not in shown
    token = dict(line.split("=", 1) for line in env)["JUPYTERHUB_API_TOKEN"]
    assert f"JUPYTERHUB_API_TOKEN={token}" in container.logs().decode()  # the honest case
    assert token not in shown
    bob.stop_and_wait(slug)

    # nor is it seen where a start fails
    before = asker.get(f"/environments/{slug}")
    broken = {**before.json()["definition"], "command": sh('echo "it was $API_KEY"; exit 3')}
    assert asker.put(f"/environments/{slug}", broken, before.headers["ETag"]).status_code == 200
    bob.start(slug)
    events = bob.progress(slug)
    assert "it was …" in json.dumps(events, ensure_ascii=False)
    assert "hunter22" not in json.dumps(events)
    assert "hunter22" not in hub.log()


# --- running servers -----------------------------------------------------------------------------


def test_teachers_see_and_stop_what_runs_of_theirs(
    lab: Lab, bob: Visitor, alice: Visitor, make: Make
) -> None:
    hub = lab.hub
    slug = make(command=sh(f'printf "one\\n\\033[31mtwo\\033[0m\\n"; {SERVE}'))
    other = make()
    asker = Asker(hub.url, bob.token())
    key = asker.post(f"/environments/{slug}/join-links", {}).json()["key"]
    alice.get(f"/join/{key}")
    alice.wait_until_ready(slug)
    try_it(bob, slug)
    bob.wait_until_ready(trial_of(slug))

    found = servers_of(hub, slug)
    assert [(one.user, one.server, one.state, one.version, one.trial) for one in found] == [
        ("alice", slug, "running", 1, False),
        ("bob", trial_of(slug), "running", 1, True),
    ]
    assert all(one.started is not None and one.started <= now() for one in found)
    assert servers_of(hub, other) == servers_of(hub, "tiny") == servers_of(hub, "nothing") == []
    assert "two" in asyncio.run(hub_servers(hub).log("alice", slug, slug)).splitlines()

    # the bearer is all: neither people's cookies nor their tokens open these addresses
    path = f"/hub/api/mydocker/environments/{slug}/servers"
    stop = "/hub/api/mydocker/servers/stop"
    body = {"user": "alice", "server": slug, "environment": slug}
    gateway = (hub.state / "gateway_secret").read_text()
    for bearer in ("", "x", bob.token(), gateway):
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        assert requests.get(hub.url + path, headers=headers, timeout=10).status_code == 401
        answer = requests.post(hub.url + stop, headers=headers, json=body, timeout=10)
        assert answer.status_code == 401
    assert bob.api("GET", path.removeprefix("/hub/api")).status_code == 401
    assert bob.api("POST", stop.removeprefix("/hub/api"), json=body).status_code == 401
    with pytest.raises(MydockerError) as refused:
        asyncio.run(hub_servers(hub, "wrong").of_environment(slug))
    assert refused.value.code == "sign-in-needed"

    # of another environment, of nobody, and what is no name
    for user, server, of in [
        ("alice", slug, other),
        ("alice", slug, ""),
        ("alice", f"../bob/{trial_of(slug)}", slug),
        ("alice/../bob", trial_of(slug), slug),
        ("bob", slug, slug),
        ("nobody", slug, slug),
        ("", "", ""),
    ]:
        for call in (hub_servers(hub).stop, hub_servers(hub).log):
            with pytest.raises(MydockerError) as refused:
                asyncio.run(call(user, server, of))
            assert refused.value.code == "server-not-running"
    headers = {"Authorization": f"Bearer {(hub.state / 'catalogue_secret').read_text()}"}
    for sent in (b"", b"[]", b"{}", b'{"user": 1, "server": [], "environment": null}', b"\xff"):
        answer = requests.post(hub.url + stop, headers=headers, data=sent, timeout=10)
        assert answer.status_code in {400, 422}, answer.text
    for odd in ("..", "%2e%2e", "LAB", "a/b", "x" * 31):
        odd_path = f"{hub.url}/hub/api/mydocker/environments/{odd}/servers"
        # ".." is the address of the culler, which has a secret of its own
        expected = 401 if odd in {"..", "%2e%2e"} else 404
        assert requests.get(odd_path, headers=headers, timeout=10).status_code == expected
    assert [one.user for one in servers_of(hub, slug)] == ["alice", "bob"]

    # stopped: her page says that it was not her
    asyncio.run(hub_servers(hub).stop("alice", slug, slug))
    alice.wait_until_gone(slug)
    said = sentence("stopped-by-maintainer")
    wait_for(lambda: said in alice.dashboard(), 10, alice.dashboard)
    assert [one.user for one in servers_of(hub, slug)] == ["bob"]
    alice.start_and_wait(slug)
    alice.stop_and_wait(slug)
    assert said not in alice.dashboard()  # this time it was her


def test_a_start_is_stopped_too(lab: Lab, alice: Visitor, bob: Visitor, make: Make) -> None:
    slug = make(command=sh("sleep 600"))
    key = Asker(lab.hub.url, bob.token()).post(f"/environments/{slug}/join-links", {}).json()["key"]
    alice.get(f"/join/{key}")
    (found,) = wait_for(lambda: servers_of(lab.hub, slug))
    assert found.state == "starting"
    wait_for(lambda: lab.running(server=slug))
    asyncio.run(hub_servers(lab.hub).stop("alice", slug, slug))
    alice.wait_until_gone(slug)
    lab.nothing_is_left(server=slug)
    said = sentence("stopped-by-maintainer")
    wait_for(lambda: said in alice.dashboard(), 10, alice.dashboard)


def test_new_secrets_are_told_to_who_runs_the_old_ones(
    lab: Lab, alice: Visitor, bob: Visitor, make: Make
) -> None:
    slug = make()
    asker = Asker(lab.hub.url, bob.token())
    key = asker.post(f"/environments/{slug}/join-links", {}).json()["key"]
    alice.get(f"/join/{key}")
    alice.wait_until_ready(slug)
    newer = "A newer version of this environment is there"
    assert newer not in alice.dashboard("en")
    assert asker.put(f"/environments/{slug}/secrets/KEY", {"value": "1"}).status_code < 300
    assert newer in alice.dashboard("en")


def test_trials_and_masks_outlive_the_hub(
    engine: docker.DockerClient, bridge_address: str, tiny_image: str, tmp_path: Any
) -> None:
    """A hub that is killed still knows which folders go, and what a log must not show."""
    catalogue = tmp_path / "catalogue.yaml"
    told = environment(
        "told", command=sh(f'echo "key $API_KEY"; env; {SERVE}'), storage={"dedicated": "/data/m"}
    )
    old = environment("old", storage={"dedicated": "/data/m"})
    catalogue.write_text(yaml.safe_dump({"version": 1, "environments": [told, old]}))
    often = """
for service in c.JupyterHub.services:
    if service["name"] == "culler":
        service["environment"]["MYDOCKER_CULLER_SECONDS"] = "1"
"""
    starter = Starter(engine, bridge_address, catalogue, often)
    trial = trial_of("told")
    with starter(tmp_path) as (hub, lab):
        with lab.signed_in("carol") as carol:
            asker = Asker(lab.hub.url, carol.token())
            put = asker.put("/environments/told/secrets/API_KEY", {"value": SECRET})
            assert put.status_code < 300, put.text
            try_it(carol, "told")
            try_it(carol, "old")
            for one in (trial, trial_of("old")):
                carol.wait_until_ready(one)
            assert len(volumes(lab)) == 2
            kill(hub)
            with closing(sqlite3.connect(lab.hub.state / "jupyterhub.sqlite")) as database:
                database.execute(
                    "UPDATE spawners SET started = datetime('now', '-61 minutes') WHERE name = ?",
                    (trial_of("old"),),
                )
                database.commit()
            lab = Lab(hub.__enter__(), lab.engine)
        with lab.signed_in("carol") as carol:
            carol.wait_until_ready(trial)
            (found,) = servers_of(lab.hub, "told")
            assert (found.user, found.server, found.trial) == ("carol", trial, True)
            shown = asyncio.run(hub_servers(lab.hub).log("carol", trial, "told"))
            assert "key …" in shown
            assert "hunter22" not in shown
            (service,) = lab.services(server=trial)
            env = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"]
            (token,) = [line for line in env if line.startswith("JUPYTERHUB_API_TOKEN=")]
            assert token.partition("=")[2] not in shown
            # the hour of the other one is over
            carol.wait_until_gone(trial_of("old"))
            wait_for(lambda: len(volumes(lab)) == 1, 30, lambda: f"left: {volumes(lab)}")
            with closing(sqlite3.connect(lab.hub.state / "catalogue.sqlite")) as database:
                query = "SELECT end_code FROM launches WHERE ended_at IS NOT NULL"
                wait_for(lambda: database.execute(query).fetchall() == [("trial-over",)])
            carol.stop_and_wait(trial)
            wait_for(lambda: not volumes(lab), 30, lambda: f"left: {volumes(lab)}")
