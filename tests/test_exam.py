"""The end of an exam, on real servers: for everybody, on time, whatever anybody does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest
import requests

from mydocker_hub.domain.calendar import Session as Booking
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import sessions
from mydocker_hub.store.database import Database

from .hub import Visitor
from .spawning import Lab, Starter

pytestmark = [pytest.mark.hub, pytest.mark.engine]

API = "/services/catalogue/api"
ON_TIME = 6.0
"""Seconds: a container is told to end, and its network is taken away."""

ENVIRONMENT = """
  - slug: {slug}
    title: {{fr: {title}, en: {title}}}
    status: ready
    public: true
    image: mydocker-test/busybox:1
    command: {command}
    interfaces: [{{name: web, title: Web, kind: web, port: 8888}}]
    resources: {{memory_bytes: 64 MB, shm_bytes: 16 MB}}
    lifetime: {{idle_limit: PT20M, maximum: PT1H, extension: PT2H, protection: PT8H}}
    sessions: {{effect: exam}}
    join_links: [{{key: {key}}}]
"""
SERVE = "sh -c 'echo hello >/tmp/index.html && exec httpd -f -p 8888 -h /tmp'"
SLOW = "sh -c 'sleep 60'"  # answers only when the exam is over, if ever
SLUGS = {"exam": SERVE, "kept": SERVE, "slow": SLOW, "late": SERVE}
CATALOGUE = "version: 1\nenvironments:" + "".join(
    ENVIRONMENT.format(slug=slug, title=slug.title(), command=command, key=8 * slug)
    for slug, command in SLUGS.items()
)


@pytest.fixture(scope="module")
def lab(
    engine: docker.DockerClient, bridge_address: str, tiny_image: str, tmp_path_factory
) -> Iterator[Lab]:
    """The culler looks as often as it usually does: once a minute."""
    state: Path = tmp_path_factory.mktemp("exam")
    (state / "catalogue.yaml").write_text(CATALOGUE)
    starter = Starter(engine, bridge_address, state / "catalogue.yaml", "")
    with starter(state) as (_, lab):
        yield lab


def book(lab: Lab, ends: datetime) -> None:
    """An exam of each environment that began an hour ago."""
    starts = ends.replace(second=0, microsecond=0) - timedelta(hours=1)
    booking = Booking(
        starts=starts.replace(tzinfo=None), duration=ends - starts, zone="UTC", expected=4
    )
    carol = Person(name="carol", roles=frozenset({Role.ADMIN}))
    file = lab.hub.state / "catalogue.sqlite"
    with closing(Database(f"sqlite:///{file}")) as database:
        for slug in SLUGS:
            database.write_now(sessions.book, slug, booking, carol, datetime.now(UTC))


def ask(visitor: Visitor, method: str, path: str, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {visitor.token()}", "Accept-Language": "en"}
    url = f"{visitor.hub.url}{API}/me/environments/{path}"
    return requests.request(method, url, headers=headers, timeout=30, **options)


def test_it_ends_for_everybody(lab: Lab) -> None:
    with (
        lab.signed_in("alice") as alice,
        lab.signed_in("bob") as bob,
        lab.signed_in("carol") as carol,
    ):
        ends = (datetime.now(UTC) + timedelta(seconds=35)).replace(microsecond=0)
        book(lab, ends)
        for person in (alice, bob):
            for slug in SLUGS:
                # coming in by the link enrols; it also starts, so that is taken back
                person.get(f"/hub/join/{8 * slug}", allow_redirects=False)
                if slug == "late":
                    person.wait_until_ready(slug)
                    person.stop_and_wait(slug)
        carol.get(f"/hub/join/{8 * 'exam'}", allow_redirects=False)
        for person in (alice, bob):
            person.wait_until_ready("exam")
            person.wait_until_ready("kept")
        carol.wait_until_ready("exam")

        # What they say is taken, and reaches no further than the exam.
        said = ask(alice, "PUT", "kept/server/protection", json={"minutes": 120})
        assert said.status_code == 200, said.text
        assert datetime.fromisoformat(said.json()["protected_until"]) == ends
        assert datetime.fromisoformat(said.json()["stops_at"]) == ends
        assert said.json()["code"] == "exam-over"
        assert said.json()["firm"] is True
        assert ask(bob, "POST", "kept/server/extend").json()["code"] == "not-extendable"
        starting = alice.server("slow")
        assert starting is not None
        assert starting["pending"] == "spawn"

        while (left := (ends - datetime.now(UTC)).total_seconds()) > 0.5:
            # they work until the end, and click what there is
            alice.get("/user/alice/exam/")
            bob.get("/user/bob/kept/")
            bob.post_form("/services/catalogue/", "/services/catalogue/extend/kept")
            time.sleep(min(1.0, max(0.0, left - 0.5)))
        alice.start("late")  # in the last second

        deadline = ends.timestamp() + ON_TIME
        while time.time() < deadline and running(lab) != {("carol", "exam")}:
            time.sleep(0.1)
        took = time.time() - ends.timestamp()
        assert running(lab) == {("carol", "exam")}, lab.hub.log()[-8000:]
        print(f"the last server was gone {took:.1f} s after the end")
        time.sleep(3)  # a start on its way would be there by now
        assert running(lab) == {("carol", "exam")}

        # Nobody starts it any more, by whatever door; why it ended is told.
        for slug in SLUGS:
            alice.start(slug)
            assert "exam" in alice.dashboard("en")
        time.sleep(1)
        assert running(lab) == {("carol", "exam")}
        page = alice.dashboard("en")
        assert page.count("The exam ended on") >= 3, page
        assert lab.hub.log().count("stop: exam-over") >= 5
        carol.stop_and_wait("exam")


def running(lab: Lab) -> set[tuple[str, str]]:
    """Whose servers have a container that runs."""
    return {
        (one.labels["mydocker.user"], one.labels["mydocker.server"])
        for one in lab.running(kind="server")
    }
