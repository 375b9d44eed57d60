"""Whose first start of an environment a session will bring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mydocker_hub.domain import calendar
from mydocker_hub.store import arrivals, editing, sessions
from mydocker_hub.store.arrivals import Arrival
from mydocker_hub.store.database import Database, Session
from mydocker_hub.store.tables import (
    CourseMemberRow,
    CourseRow,
    EnrolmentRow,
    EnvironmentRow,
    PersonRow,
)

from .conftest import BOB, NOW
from .test_platforms import create, moodle

BEFORE = timedelta(minutes=30)
STARTS = datetime(2026, 4, 6, 6, 30, tzinfo=UTC)  # 8:30 in Paris
SOON = STARTS - timedelta(minutes=20)


@pytest.fixture
def people(database: Database, add):
    """Enrol people in a new environment of which a session is booked; what differs of each row."""

    def people(
        slug: str = "lab",
        rows: dict[str, dict[str, Any]] | None = None,
        expected: int = 30,
        **changes: Any,
    ) -> None:
        found = add(slug, **changes)

        def fill(session: Session) -> None:
            for name, values in (rows or {}).items():
                person = PersonRow(name=name, created_at=NOW, blocked_at=values.get("blocked_at"))
                session.add(person)
                session.flush()
                person.joined_to_id = values.get("joined_to_id")
                if values.get("enrolled", True):
                    session.add(
                        EnrolmentRow(
                            person_id=person.id,
                            environment_id=found.id,
                            created_at=NOW,
                            last_start_at=values.get("last_start_at"),
                            left_at=values.get("left_at"),
                        )
                    )

        database.write_now(fill)
        wanted = calendar.Session(
            starts=datetime.fromisoformat("2026-04-06T08:30"),
            duration=timedelta(hours=4),
            expected=expected,
        )
        database.write_now(sessions.book, slug, wanted, BOB, NOW)

    return people


def users(database: Database, now: datetime = SOON) -> list[str]:
    return [one.user for one in database.read_now(arrivals.arrivals, now, BEFORE)]


def test_who_is_enrolled_and_has_never_started_it(database: Database, people) -> None:
    rows: dict[str, dict[str, Any]] = {
        "ada": {},
        "ben": {},
        "started": {"last_start_at": NOW},
        "left": {"left_at": NOW},
        "blocked": {"blocked_at": NOW},
        "stranger": {"enrolled": False},
    }
    people(rows=rows)
    (first, second) = database.read_now(arrivals.arrivals, SOON, BEFORE)
    assert (first.user, first.server, first.title.in_("en")) == ("ada", "lab", "Lab")
    assert second == Arrival("ben", "lab", first.title)
    assert users(database, STARTS - BEFORE - timedelta(minutes=1)) == []
    assert users(database, STARTS) == []  # who comes later finds no queue


def test_no_more_than_are_expected(database: Database, people) -> None:
    people(rows={f"person-{number}": {} for number in range(9)}, expected=4)
    assert users(database) == [f"person-{number}" for number in range(4)]


def test_whom_the_environment_names(database: Database, people) -> None:
    rows = {
        "named": {"enrolled": False},
        "pupil": {"enrolled": False},
        "other": {"enrolled": False},
    }
    people(rows=rows, audience={"people": ["named", "nobody-yet"], "courses": [7]})
    platform = create(database, moodle()).platform.id

    def attend(session: Session) -> None:
        pupil = session.query(PersonRow).filter_by(name="pupil").one()
        session.add(CourseRow(id=7, platform_id=platform, context="7", updated_at=NOW))
        session.flush()
        session.add(
            CourseMemberRow(course_id=7, person_id=pupil.id, role="student", launched_at=NOW)
        )

    database.write_now(attend)
    assert users(database) == ["named", "pupil"]


@pytest.mark.parametrize("status", ["draft", "archived"])
def test_what_people_cannot_start_is_left_out(database: Database, people, status: str) -> None:
    people(rows={"ada": {}})

    def change(session: Session) -> None:
        session.query(EnvironmentRow).filter_by(slug="lab").update({"status": status})

    database.write_now(change)
    assert users(database) == []


def test_an_account_that_was_joined_to_another_does_not_come(database: Database, people) -> None:
    bob = database.write_now(lambda session: editing.person_row(session, BOB, NOW).id)
    people(rows={"old": {"joined_to_id": bob}})
    assert users(database) == []
