"""What is noted of images that are brought before sessions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mydocker_hub.domain import calendar
from mydocker_hub.domain.environment import ComputeType
from mydocker_hub.domain.pulling import OnNode, Presence, Pull, Target, Wanted
from mydocker_hub.store import editing, pulls, sessions
from mydocker_hub.store.database import Database
from mydocker_hub.store.sessions import Booked

from .conftest import BOB, CAROL, NOW

BEFORE = timedelta(minutes=30)
STARTS = datetime(2026, 4, 6, 6, 30, tzinfo=UTC)  # 8:30 in Paris
DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def book(database: Database, add):
    """Book a session of a new environment, each Monday from half past eight."""

    def book(slug: str = "lab", **changes: Any) -> Booked:
        add(slug, **changes)
        wanted = calendar.Session(
            starts=datetime.fromisoformat("2026-04-06T08:30"),
            duration=timedelta(hours=4),
            rule="FREQ=WEEKLY;BYDAY=MO;UNTIL=20260630",
            expected=30,
        )
        return database.write_now(sessions.book, slug, wanted, BOB, NOW)

    return book


def wanted(database: Database, now: datetime) -> list[Wanted]:
    return database.read_now(pulls.wanted, now, BEFORE)


def test_what_the_calendar_asks_for(database: Database, book) -> None:
    gpu = ComputeType(slug="gpu", title="GPU", constraints=("node.labels.gpu==a100",))
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    first, second = book(), book("deep", resources={"compute_type": "gpu"}, image="a/deep:1")
    assert wanted(database, STARTS - BEFORE - timedelta(minutes=1)) == []
    ends = STARTS + timedelta(hours=4)
    both = [
        Wanted(first.id, STARTS, ends, Target("example.org/image:1")),
        Wanted(second.id, STARTS, ends, Target("a/deep:1", ("node.labels.gpu==a100",))),
    ]
    assert wanted(database, STARTS - timedelta(minutes=29)) == both
    assert wanted(database, ends - timedelta(minutes=1)) == both
    assert wanted(database, ends) == []
    cancelled = database.write_now(
        sessions.cancel, first.id, BOB, NOW, expected_sequence=0, at=STARTS
    )
    assert cancelled
    assert wanted(database, STARTS) == both[1:]


def test_an_archived_environment_needs_nothing(database: Database, book) -> None:
    book(status="archived")
    assert wanted(database, STARTS) == []


def test_from_the_first_to_the_last(database: Database, book) -> None:
    booked = book()
    (one,) = wanted(database, STARTS)
    pull = database.write_now(pulls.begin, one, DIGEST, NOW)
    assert pull == Pull(1, booked.id, STARTS, one.target, DIGEST, {}, begun=NOW)
    assert database.read_now(pulls.known) == [pull]
    nodes = {
        "a": OnNode(name="one", presence=Presence.READY),
        "b": OnNode(name="two", presence=Presence.FAILED, error="No such image"),
    }
    database.write_now(pulls.note, pull.id, nodes, DIGEST)
    (readiness,) = database.read_now(pulls.readiness, [booked.id, 77]).values()
    assert (readiness.ready, readiness.total, readiness.verified) == (1, 2, True)
    assert [node.error for node in readiness.nodes] == ["", "No such image"]
    database.write_now(pulls.end, pull.id, NOW)
    assert database.read_now(pulls.known) == []
    assert database.read_now(pulls.readiness, [booked.id]) == {}
    again = database.write_now(pulls.begin, one, "", NOW + BEFORE)
    assert again == Pull(pull.id, booked.id, STARTS, one.target, "", {}, begun=NOW + BEFORE)


def test_what_is_long_over_is_forgotten(database: Database, book) -> None:
    book()
    (one,) = wanted(database, STARTS)
    pull = database.write_now(pulls.begin, one, DIGEST, NOW)
    later = NOW + timedelta(days=91)
    database.write_now(pulls.forget, later)
    assert database.read_now(pulls.known) == [pull]
    database.write_now(pulls.end, pull.id, NOW)
    database.write_now(pulls.forget, later)
    assert database.write_now(pulls.begin, one, DIGEST, later).begun == later
