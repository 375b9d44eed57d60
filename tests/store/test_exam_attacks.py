"""Exams that somebody would like to go on for ever, in the catalogue's database."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr

from mydocker_hub.domain.calendar import Session as Booking
from mydocker_hub.domain.environment import Effect, SessionRules
from mydocker_hub.domain.launch import Place
from mydocker_hub.domain.people import Person
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, editing, lifetimes, sessions

from .conftest import ALICE, BOB, NOW

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def booking(starts: datetime, duration: timedelta = HOUR) -> Booking:
    return Booking(starts=starts.replace(tzinfo=None), duration=duration, zone="UTC", expected=5)


@pytest.fixture
def start(database):
    def start(now: datetime, person: Person = ALICE) -> int:
        return database.write_now(
            activity.begin_launch,
            person=person,
            environment="lab",
            server="lab",
            place=Place(base_url=f"/user/{person.name}/lab/"),
            hub="test",
            secret=SecretStr("s3cret"),
            seal=Seal("hub", "environment-secrets"),
            now=now,
        ).launch_id

    return start


@pytest.fixture
def end(database):
    """When the culler would end what runs, asked at some moment."""

    def end(launch_id: int, now: datetime) -> datetime | None:
        known = database.read_now(lifetimes.running, [launch_id], now)
        return known[launch_id].policy.ends

    return end


def bind(database, effect: Effect, **rules: object) -> None:
    found = database.read_now(sessions.reading.find, "lab", BOB)
    changed = found.environment.model_copy(
        update={"sessions": SessionRules(effect=effect, **rules)}
    )
    database.write_now(editing.update_environment, changed, BOB, found.version, NOW)


@pytest.fixture
def enrolled(database, add) -> None:
    add("lab", sessions={"effect": "exam"})
    key = database.write_now(editing.add_join_link, "lab", BOB, NOW).key
    database.write_now(activity.join, key, ALICE, NOW)


def test_who_came_before_it_was_an_exam_leaves_with_the_others(
    database, enrolled, start, end
) -> None:
    """A server that was started while everybody might, and goes on into the exam."""
    bind(database, Effect.INDICATIVE)
    early = start(NOW)
    bind(database, Effect.EXAM)
    over = NOW + 3 * HOUR
    database.write_now(sessions.book, "lab", booking(NOW + 2 * HOUR), BOB, NOW)
    honest = start(NOW + 2 * HOUR)
    for moment in (over - MINUTE, over, over + MINUTE, over + HOUR):
        assert end(honest, moment) == over
        assert end(early, moment) == over, moment
    # the next exam does not prolong this one
    database.write_now(sessions.book, "lab", booking(over + HOUR), BOB, NOW)
    assert end(early, over + HOUR + MINUTE) == over


def test_who_came_to_an_exam_that_was_moved_leaves_with_the_others(
    database, enrolled, start, end
) -> None:
    booked = database.write_now(sessions.book, "lab", booking(NOW), BOB, NOW)
    early = start(NOW + MINUTE)
    assert end(early, NOW + MINUTE) == NOW + HOUR
    later = booking(NOW + HOUR)
    database.write_now(sessions.change, booked.id, later, BOB, NOW, expected_sequence=0)
    for moment in (NOW + HOUR, NOW + 2 * HOUR, NOW + 2 * HOUR + MINUTE):
        assert end(early, moment) == NOW + 2 * HOUR, moment


def test_an_opening_within_a_minute(database, enrolled, start, end) -> None:
    bind(database, Effect.RESERVED, open_before=timedelta(seconds=90), stop_at_end=True)
    database.write_now(sessions.book, "lab", booking(NOW + 2 * MINUTE), BOB, NOW)
    launch_id = start(NOW + timedelta(seconds=40))
    over = NOW + 62 * MINUTE
    for moment in (NOW + MINUTE, over, over + MINUTE):
        assert end(launch_id, moment) == over, moment


@pytest.mark.parametrize("effect", [Effect.INDICATIVE, Effect.RESERVED])
def test_what_stops_with_its_sessions(database, add, start, end, effect) -> None:
    """Also for who came before, and though the environment is no exam; its teachers go on."""
    add("lab", sessions={"effect": "indicative"}, public=True)
    before = start(NOW)
    bind(database, effect, stop_at_end=True)
    assert end(before, NOW) is None
    database.write_now(sessions.book, "lab", booking(NOW + HOUR), BOB, NOW)
    launches = [before, start(NOW + HOUR), start(NOW + HOUR, BOB)]
    over = NOW + 2 * HOUR
    assert [end(one, over - MINUTE) for one in launches] == [over, over, None]
    database.write_now(sessions.book, "lab", booking(over), BOB, NOW)
    assert [end(one, over - MINUTE) for one in launches] == [over + HOUR, over + HOUR, None]


def test_a_server_after_the_exam_is_of_the_next_one(database, enrolled, start, end) -> None:
    """Nobody is ended by an exam that was over when they came, nor by one that is to come."""
    database.write_now(sessions.book, "lab", booking(NOW), BOB, NOW)
    bind(database, Effect.INDICATIVE)
    late = start(NOW + 2 * HOUR)
    bind(database, Effect.EXAM)
    assert end(late, NOW + 3 * HOUR) is None
    database.write_now(sessions.book, "lab", booking(NOW + 5 * HOUR), BOB, NOW)
    assert end(late, NOW + 4 * HOUR) is None
    assert end(late, NOW + 5 * HOUR) == NOW + 6 * HOUR
