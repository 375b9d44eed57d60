"""The first class of the week: its image is on the machines before anybody clicks."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import docker
import pytest

from mydocker_hub.domain import calendar
from mydocker_hub.domain.pulling import OnNode, Presence, Target, Wanted
from mydocker_hub.store import pulls, sessions
from mydocker_hub.store.database import Database
from mydocker_hub.web.i18n import SITE_ZONE
from tests.hub import RunningHub, text_of
from tests.monday import BOB, Monday, monday

pytestmark = [pytest.mark.hub, pytest.mark.engine]

SIZE = 200_000_000


@pytest.fixture(scope="module")
def morning(
    engine: docker.DockerClient, bridge_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monday]:
    with monday(engine, tmp_path_factory.mktemp("monday"), bridge_address, size=SIZE) as morning:
        yield morning


def services(morning: Monday) -> list[str]:
    label = {"label": f"mydocker.pull={morning.hub.hub_id}"}
    return [service.name for service in morning.engine.services.list(filters=label)]


async def test_the_first_student_does_not_wait(morning: Monday) -> None:
    cold = morning.start()
    warm, brought = [], []
    for _ in range(5):
        warm.append(morning.start())
        morning.forget()
        booked = morning.book(minutes=20)
        readiness, _ = await morning.prepare(booked)
        assert (readiness.ready, readiness.total, readiness.verified) == (1, 1, True)
        brought.append(morning.start())
        morning.cancel(booked)
        await morning.look()
        assert not services(morning)
        assert morning.there()
    print(f"cold {cold:.2f} s, warm {warm}, brought before {brought}")
    assert statistics.median(brought) <= 1.2 * statistics.median(warm)
    assert cold > 1.5 * statistics.median(brought)


async def test_only_what_is_near_is_brought(morning: Monday) -> None:
    morning.forget()
    booked = morning.book(minutes=45)
    await morning.look()
    assert not services(morning)
    assert morning.database.read_now(pulls.readiness, [booked.id]) == {}
    morning.cancel(booked)


@pytest.mark.parametrize(
    "error", ["No such image: r.example/class:1", "no space left on device", "<b>odd</b>"]
)
def test_a_machine_that_cannot_get_it_is_on_the_page_of_the_session(
    hub: RunningHub, error: str
) -> None:
    database = Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    moment = datetime.now(UTC)
    near = (datetime.now(SITE_ZONE) + timedelta(minutes=20)).replace(second=0, microsecond=0)
    wanted = calendar.Session(
        starts=near.replace(tzinfo=None), duration=timedelta(hours=1), expected=5
    )
    booked = database.write_now(sessions.book, "tiny", wanted, BOB, moment)
    page = f"/services/catalogue/calendar/sessions/{booked.id}"
    english = {"Accept-Language": "en"}
    one = Wanted(
        booked.id,
        near.astimezone(UTC),
        near.astimezone(UTC) + timedelta(hours=1),
        Target("r.example/class:1"),
    )
    pull = database.write_now(pulls.begin, one, "sha256:" + 64 * "1", moment)
    nodes = {
        "a": OnNode(name="fine", presence=Presence.READY),
        "b": OnNode(name="full", presence=Presence.FAILED, error=error),
    }
    try:
        with hub.signed_in("carol") as carol, hub.signed_in("alice") as alice:
            database.write_now(pulls.note, pull.id, nodes, pull.digest)
            said = carol.get(page, headers=english)
            assert "ready on 1 of 2 machines" in text_of(said).lower()
            assert f"full – could not get it, and tries again ({html.escape(error)})" in " ".join(
                said.text.replace('<span class="text-body-secondary text-break">', "")
                .replace("</span>", "")
                .split()
            )
            assert error not in alice.get(page, headers=english).text  # a student reads no errors
            healed = {**nodes, "b": OnNode(name="full", presence=Presence.READY)}
            database.write_now(pulls.note, pull.id, healed, pull.digest)
            said = text_of(carol.get(page, headers=english))
            assert "ready on 2 of 2 machines" in said.lower()
            assert "could not get it" not in said
    finally:
        database.write_now(
            sessions.cancel, booked.id, BOB, moment, expected_sequence=booked.sequence
        )
        database.write_now(pulls.end, pull.id, moment)
        database.close()
