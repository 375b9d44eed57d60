"""The catalogue's database: SQLite, and a throw-away PostgreSQL for the session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mydocker_hub.domain.environment import Environment
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import editing
from mydocker_hub.store.database import Database
from tests.postgresql import new_database, throw_away_server

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)  # the night of a clock change, on purpose
LATER = NOW + timedelta(hours=1)

ALICE = Person(name="alice", display_name="Alice")
ZOE = Person(name="zoé@université.fr")
BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
DAN = Person(name="dan", roles=frozenset({Role.STUDENT, Role.TEACHER}))
CAROL = Person(name="carol", roles=frozenset({Role.STUDENT, Role.ADMIN}))


def make(slug: str = "lab", **changes: object) -> Environment:
    """An environment with what it needs at least, and `changes`."""
    return Environment.model_validate(
        {
            "slug": slug,
            "title": slug.title(),
            "status": "ready",
            "image": "example.org/image:1",
            "interfaces": [{"name": "web", "title": "Web"}],
            **changes,
        }
    )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL of our own, on a socket in a folder of its own; the folder."""
    with throw_away_server("fsync=off") as folder:
        yield folder


BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
        return
    yield new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def empty(url: str) -> Iterator[Database]:
    """A database without any table."""
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def database(empty: Database) -> Database:
    """A database at this release's schema, with nothing in it."""
    empty.upgrade()
    return empty


@pytest.fixture
def add(database: Database):
    """Make an environment, and answer it as its maker finds it."""

    def add(slug: str = "lab", person: Person = BOB, **changes: object):
        return database.write_now(editing.create_environment, make(slug, **changes), person, NOW)

    return add
