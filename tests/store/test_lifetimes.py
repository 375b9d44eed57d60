"""What holds for running servers; what their people were told and said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from mydocker_hub.domain.calendar import Session as Booking
from mydocker_hub.domain.culling import Notice, Policy, Server, SiteLimits
from mydocker_hub.domain.environment import ComputeType
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.launch import Place
from mydocker_hub.domain.people import Person
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, editing, lifetimes, reading, sessions
from mydocker_hub.store.lifetimes import Told
from mydocker_hub.store.tables import LaunchRow

from .conftest import ALICE, BOB, CAROL, NOW

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LIFETIME = {"idle_limit": "PT20M", "maximum": "PT2H", "extension": "PT1H30M", "protection": "PT8H"}


@pytest.fixture
def start(database):
    """Have somebody start an environment that they may start; the launch's id."""

    def start(person: Person = ALICE, slug: str = "lab", now: datetime = NOW) -> int:
        return database.write_now(
            activity.begin_launch,
            person=person,
            environment=slug,
            server=slug,
            place=Place(base_url=f"/user/{person.name}/{slug}/"),
            hub="test",
            secret=SecretStr("s3cret"),
            seal=Seal("hub", "environment-secrets"),
            now=now,
        ).launch_id

    return start


@pytest.fixture
def running(database):
    def running(*launch_ids: int, now: datetime = NOW, **options: object):
        return database.read_now(lifetimes.running, launch_ids, now, **options)

    return running


def seen(active: float = 0) -> Server:
    """A server as the hub knows it: it started at `NOW`."""
    return Server(started=NOW, last_activity=NOW + active * MINUTE)


def code_of(action, *args, **kwargs) -> str:
    with pytest.raises(MydockerError) as caught:
        action(*args, **kwargs)
    return caught.value.code


def test_limits_are_those_of_the_start(database, add, start, running) -> None:
    found = add("lab", public=True, lifetime=LIFETIME)
    first = start()
    changed = found.environment.model_copy(update={"lifetime": type(found.environment.lifetime)()})
    database.write_now(editing.update_environment, changed, BOB, found.version, NOW)
    second = start(BOB)
    known = running(first, second, 12345)
    assert set(known) == {first, second}
    assert known[first].policy == Policy(20 * MINUTE, 2 * HOUR, 90 * MINUTE, 8 * HOUR)
    assert known[second].policy == Policy()
    assert (known[first].person, known[first].slug) == ("alice", "lab")
    limits = SiteLimits(idle_limit=HOUR, maximum=150 * MINUTE)
    known = running(first, second, limits=limits)
    assert known[first].policy == Policy(20 * MINUTE, 2 * HOUR, 30 * MINUTE, 8 * HOUR)
    assert known[second].policy == Policy(HOUR, 150 * MINUTE)


def test_what_ended_is_not_known(database, add, start, running) -> None:
    add("lab", public=True)
    launch_id = start()
    database.write_now(activity.mark_ended, launch_id, "", {}, NOW)
    assert running(launch_id) == {}
    assert running() == {}


def test_how_often_people_are_asked_is_the_compute_types(database, add, start, running) -> None:
    gpu = ComputeType.model_validate({"slug": "gpu", "title": "GPU", "ask_every": "PT1H"})
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    add("lab", public=True, resources={"compute_type": "gpu"})
    launch_id = start()
    assert running(launch_id)[launch_id].policy.ask_every == HOUR


def exam(database, starts: datetime, duration: timedelta, slug: str = "lab"):
    booking = Booking(
        starts=starts.replace(tzinfo=None), duration=duration, zone="UTC", expected=30
    )
    return database.write_now(sessions.book, slug, booking, BOB, NOW)


@pytest.fixture
def exam_room(database, add):
    """An environment for exams, in which alice is enrolled."""
    add("lab", sessions={"effect": "exam"})
    key = database.write_now(editing.add_join_link, "lab", BOB, NOW).key
    exam(database, NOW, 2 * HOUR)
    database.write_now(activity.join, key, ALICE, NOW)


def test_an_exam_ends_for_all_but_those_who_work_on_it(database, exam_room, start, running) -> None:
    alice, bob, carol = start(), start(BOB), start(CAROL)
    known = running(alice, bob, carol, unbound={"carol"})
    assert known[alice].policy.ends == NOW + 2 * HOUR
    assert known[bob].policy.ends is None
    assert known[carol].policy.ends is None
    assert running(carol)[carol].policy.ends == NOW + 2 * HOUR


def test_the_next_exam_does_not_prolong_this_one(database, exam_room, start, running) -> None:
    exam(database, NOW + 2 * HOUR, HOUR)
    alice = start()
    known = running(alice, now=NOW + 130 * MINUTE)
    assert known[alice].policy.ends == NOW + 2 * HOUR


def test_an_exam_that_is_moved_while_people_wait_for_it_stops_nobody_at_once(
    database, exam_room, start, running
) -> None:
    alice = start()
    booked = database.read_now(sessions.of_environment, 1)[0]
    later = booked.session.model_copy(update={"starts": booked.session.starts + HOUR})
    database.write_now(
        sessions.change, booked.id, later, BOB, NOW, expected_sequence=booked.sequence
    )
    assert running(alice, now=NOW + 5 * MINUTE)[alice].policy.ends is None
    known = running(alice, now=NOW + 65 * MINUTE)
    assert known[alice].policy.ends == NOW + 3 * HOUR


def test_what_people_are_told_is_kept_until_it_is_taken_back(database, add, start, running) -> None:
    add("lab", public=True)
    launch_id = start()
    notice = Notice("idle", NOW, NOW + 10 * MINUTE)
    database.write_now(lifetimes.tell, [Told(launch_id, notice)])
    known = running(launch_id)[launch_id].server
    assert known == Server(None, notice=notice)
    page = database.read_now(reading.last_launches, ALICE, [1])[1]
    assert page.server == known
    database.write_now(lifetimes.tell, [Told(launch_id, None, used_at=NOW)])
    assert running(launch_id)[launch_id].server == Server(None, used_at=NOW)


def test_one_click_goes_as_far_as_the_environment_allows(database, add, start, running) -> None:
    add("lab", public=True, lifetime=LIFETIME)
    launch_id = start()
    now = NOW + 115 * MINUTE
    notice = Notice("time-over", NOW + 110 * MINUTE, NOW + 120 * MINUTE)
    database.write_now(lifetimes.tell, [Told(launch_id, notice)])
    after = database.write_now(lifetimes.extend, "lab", ALICE, seen(114), now)
    assert (after.used_at, after.extended_until) == (now, NOW + 3 * HOUR)
    assert running(launch_id)[launch_id].server == replace(
        after, started=None, last_activity=None, notice=None
    )
    now = NOW + 175 * MINUTE
    after = database.write_now(lifetimes.extend, "lab", ALICE, seen(174), now)
    assert after.extended_until == NOW + 210 * MINUTE
    now = NOW + 205 * MINUTE
    assert code_of(
        database.write_now, lifetimes.extend, "lab", ALICE, seen(204), now
    ) == "not-extendable"  # fmt: skip


def test_protection_reaches_as_far_as_the_environment_allows(database, add, start, running) -> None:
    add("lab", public=True, lifetime=LIFETIME)
    add("plain", public=True, lifetime={"idle_limit": "PT20M"})
    launch_id, _ = start(), start(slug="plain")

    def protect(slug: str, hours: float):
        return database.write_now(lifetimes.protect, slug, ALICE, seen(), hours * HOUR, NOW)

    assert protect("lab", 1).protected_until == NOW + HOUR
    assert protect("lab", 48).protected_until == NOW + 210 * MINUTE
    assert running(launch_id)[launch_id].server.protected_until == NOW + 210 * MINUTE
    assert protect("lab", 0).protected_until is None
    assert code_of(protect, "plain", 1) == "not-protectable"


def test_an_exam_is_neither_extended_nor_protected_beyond_its_end(
    database, exam_room, start
) -> None:
    start()
    now = NOW + 115 * MINUTE
    action = (lifetimes.extend, "lab", ALICE, seen(115), now)
    assert code_of(database.write_now, *action) == "not-extendable"


def test_what_runs_not_or_is_anothers_cannot_be_extended(database, add, start) -> None:
    add("lab", public=True, lifetime=LIFETIME)
    launch_id = start()

    def extend(person: Person, slug: str = "lab", server: Server = seen()) -> str:  # noqa: B008
        return code_of(database.write_now, lifetimes.extend, slug, person, server, NOW)

    assert extend(BOB) == "server-not-running"
    assert extend(ALICE, "none") == "server-not-running"
    assert extend(ALICE, server=Server(None)) == "server-not-running"
    database.write_now(activity.mark_ended, launch_id, "idle", {}, NOW)
    assert extend(ALICE) == "server-not-running"


def test_two_thousand_servers_are_read_at_once(database, add, start, running) -> None:
    add("lab", public=True, lifetime=LIFETIME)
    start()

    def many(session) -> list[int]:
        row = session.scalars(select(LaunchRow)).one()
        session.execute(
            LaunchRow.__table__.insert(),
            [
                {
                    "person_id": row.person_id,
                    "environment_id": row.environment_id,
                    "version": row.version,
                    "asked_at": NOW,
                    "end_params": {},
                }
                for _ in range(1999)
            ],
        )
        return list(session.scalars(select(LaunchRow.id)))

    ids = database.write_now(many)
    known = running(*ids)
    assert len(known) == 2000
    assert {one.policy.idle_limit for one in known.values()} == {20 * MINUTE}
