"""The forecast, from what is in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mydocker_hub.domain import calendar
from mydocker_hub.domain.forecast import CPUS, HOUR, MEMORY, Shortage
from mydocker_hub.domain.machines import Machine
from mydocker_hub.store import editing, forecast, sessions
from mydocker_hub.store.database import Database
from mydocker_hub.store.forecast import Forecast
from mydocker_hub.store.sessions import Booked
from mydocker_hub.store.tables import LaunchRow

from .conftest import BOB, CAROL
from .conftest import make as definition

GB = 10**9
NOW = datetime(2026, 10, 7, 10, 0, tzinfo=UTC)  # a Wednesday
MONDAY = datetime(2026, 10, 4, 22, tzinfo=UTC)  # midnight in Paris
EARLIER = NOW - timedelta(days=30)


@pytest.fixture
def book(database: Database):
    """Book a weekly session on a day of October at ten, of an environment that is made for it."""
    made: dict[str, int] = {}

    def book(slug: str, day: int, expected: int, *, weeks: int = 1, **changes: Any) -> Booked:
        if slug not in made:
            changes.setdefault("resources", {"cpu_limit": 2, "memory_bytes": 4 * GB})
            environment = definition(slug, **changes)
            found = database.write_now(editing.create_environment, environment, BOB, EARLIER)
            made[slug] = found.id
        wanted = calendar.Session(
            starts=datetime.fromisoformat(f"2026-10-{day:02}T10:00"),
            duration=timedelta(hours=2),
            rule=f"FREQ=WEEKLY;COUNT={weeks}" if weeks > 1 else None,
            expected=expected,
        )
        return database.write_now(sessions.book, slug, wanted, BOB, EARLIER)

    return book


def launch(database: Database, booked: Booked, count: int, starts: datetime, **values) -> None:
    def launch(session) -> None:
        person = editing.person_row(session, CAROL, EARLIER)
        for _ in range(count):
            session.add(
                LaunchRow(
                    person_id=person.id,
                    environment_id=booked.environment_id,
                    version=1,
                    asked_at=starts,
                    ready_at=starts,
                    **{"ended_at": starts + HOUR, **values},
                )
            )

    database.write_now(launch)


def forecasted(database: Database, machines: list[Machine] | None = None, days=14) -> Forecast:
    return database.read_now(
        forecast.forecasted,
        MONDAY,
        MONDAY + timedelta(days=days),
        NOW,
        machines=machines,
        zone="Europe/Paris",
    )


def test_nothing_is_booked(database: Database) -> None:
    found = forecasted(database)
    assert len(found.hours) == 14 * 24
    assert (found.overfull, found.there, found.turnout) == ([], None, None)
    (quiet,) = found.quiet
    assert (quiet.starts, quiet.ends) == (NOW, MONDAY + timedelta(days=14))


def test_what_is_booked_against_what_there_is(database: Database, book) -> None:
    book("lab", 8, 30)
    book("small", 8, 5)
    found = forecasted(database, [Machine(id="a", name="a", cpus=64, memory_bytes=512 * GB)])
    ten = datetime(2026, 10, 8, 8, tzinfo=UTC)
    busy = {hour.starts: hour for hour in found.hours if hour.people}
    assert set(busy) == {ten, ten + HOUR}
    assert busy[ten].people == busy[ten].likely == 35
    assert busy[ten].needed == {CPUS: 70, MEMORY: 140 * GB}
    (period,) = found.overfull
    assert (period.starts, period.ends) == (ten, ten + 2 * HOUR)
    assert period.shortages == (Shortage("default", CPUS, 70, 64),)
    assert found.there is not None
    assert found.there[""] == {CPUS: 64, MEMORY: 512 * GB}
    assert [period.starts for period in found.quiet] == [NOW, ten + 2 * HOUR]


def test_how_it_went_before(database: Database, book) -> None:
    lab = book("lab", 1, 40, weeks=3)  # 1, 8 and 15 October
    first = datetime(2026, 10, 1, 8, tzinfo=UTC)
    launch(database, lab, 20, first)
    launch(database, lab, 5, first + 1.5 * HOUR)  # others came as those had left
    launch(database, lab, 7, first, trial=True)
    book("new", 9, 10)
    found = forecasted(database)
    assert found.turnout == 0.5
    people = {(hour.people, hour.likely) for hour in found.hours if hour.people}
    assert people == {(40, 20), (10, 5)}


def test_hours_that_are_over_say_who_was_there(database: Database, book) -> None:
    lab = book("lab", 6, 40)
    tuesday = datetime(2026, 10, 6, 8, tzinfo=UTC)
    launch(database, lab, 3, tuesday)
    launch(database, lab, 1, NOW - HOUR, ended_at=None)  # runs
    found = {hour.starts: hour for hour in forecasted(database).hours}
    assert found[tuesday].used == 3
    assert found[tuesday + HOUR].used == 0
    assert found[NOW - HOUR].used == 1
    assert found[NOW].used is None
    assert found[tuesday].taken == {CPUS: 6, MEMORY: 12 * GB}
    assert found[tuesday + HOUR].taken == found[NOW].taken == {}


def test_an_end_that_nobody_noted(database: Database, book) -> None:
    lab = book("lab", 6, 40)
    launch(database, lab, 1, NOW - 20 * HOUR, ended_at=None)
    launch(database, lab, 1, NOW - 10 * HOUR)
    found = {hour.starts: hour for hour in forecasted(database).hours}
    assert [found[NOW - n * HOUR].used for n in (20, 11, 10, 9)] == [1, 1, 1, 0]


def test_what_waits_for_an_administrator_counts(database: Database, book) -> None:
    site = calendar.Site(people_limit=20)
    lab = book("lab", 8, 10)
    friday = datetime.fromisoformat("2026-10-09T10:00")
    wanted = lab.session.model_copy(update={"expected": 100, "starts": friday})
    database.write_now(sessions.book, "lab", wanted, BOB, EARLIER, site)
    found = forecasted(database)
    assert found.waiting == 1
    assert max(hour.people for hour in found.hours) == 100
