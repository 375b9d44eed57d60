"""Secret addresses of feeds: whom they lead to, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from mydocker_hub.domain.errors import Conflict, NotFound
from mydocker_hub.store import feeds
from mydocker_hub.store.database import Database
from mydocker_hub.store.feeds import Kind
from mydocker_hub.store.tables import FeedRow, PersonRow

from .conftest import ALICE, BOB, CAROL

NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)


def test_made_read_and_withdrawn(database: Database) -> None:
    key = database.write_now(feeds.make, ALICE, Kind.MINE, NOW, label="Phone")
    assert len(key) == 24
    feed, person = database.read_now(feeds.opened, key, NOW)
    assert (feed.kind, feed.label, feed.read_at, person.name) == (Kind.MINE, "Phone", None, "alice")
    assert not person.may_create
    database.write_now(feeds.note_read, feed.digest, NOW)
    database.write_now(feeds.note_read, feed.digest, NOW + timedelta(minutes=59))
    assert database.read_now(feeds.of_person, ALICE)[0].read_at == NOW
    with pytest.raises(NotFound):  # somebody else's
        database.write_now(feeds.revoke, BOB, feed.digest, NOW)
    database.write_now(feeds.revoke, ALICE, feed.digest, NOW)
    assert database.read_now(feeds.of_person, ALICE) == []
    for wrong in (key, key[:-1], "a" * 24):
        with pytest.raises(NotFound):
            database.read_now(feeds.opened, wrong, NOW)
    with pytest.raises(NotFound):
        database.write_now(feeds.revoke, ALICE, feed.digest, NOW)


def test_the_key_is_not_kept(database: Database) -> None:
    key = database.write_now(feeds.make, ALICE, Kind.MINE, NOW)
    rows = database.read_now(lambda session: session.execute(select(FeedRow.__table__)).all())
    assert key not in repr(rows)


def test_nobody_makes_any_number(database: Database) -> None:
    for _ in range(feeds.MOST_FEEDS):
        database.write_now(feeds.make, ALICE, Kind.MINE, NOW)
    with pytest.raises(Conflict) as refused:
        database.write_now(feeds.make, ALICE, Kind.MINE, NOW)
    assert refused.value.code == "too-many-feeds"
    database.write_now(feeds.make, BOB, Kind.MINE, NOW)


def test_an_administrators(database: Database) -> None:
    key = database.write_now(feeds.make, CAROL, Kind.ALL, NOW)
    assert database.read_now(feeds.opened, key, NOW)[1].is_admin


def test_who_is_blocked_reads_nothing(database: Database) -> None:
    key = database.write_now(feeds.make, ALICE, Kind.MINE, NOW)
    block = update(PersonRow).where(PersonRow.name == "alice").values(blocked_at=NOW)
    database.write_now(lambda session: session.execute(block))
    with pytest.raises(NotFound):
        database.read_now(feeds.opened, key, NOW)
