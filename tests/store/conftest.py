"""The catalogue's database: SQLite, and a throw-away PostgreSQL for the session."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from mydocker_hub.domain.environment import Environment
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import editing
from mydocker_hub.store.database import Database

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
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert binaries, "PostgreSQL is missing: apt-get install postgresql"
    # Short, since a socket's path has at most 107 characters; not in pytest's folder, which is
    # closed to the account that runs the server.
    folder = Path(tempfile.mkdtemp(prefix="mydocker-pg-"))
    account = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    data = folder / "data"
    options = ["--username=test", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(
        [*account, binaries[-1] / "initdb", *options, "--locale=C.UTF-8", "-D", data],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    settings = ["fsync=off", "listen_addresses=", f"unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*account, binaries[-1] / "postgres", "-D", data]
            + [word for setting in settings for word in ("-c", setting)],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(f"host={folder} user=test dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield folder
    finally:
        server.send_signal(signal.SIGINT)  # "fast shutdown": does not wait for connections
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalogue.sqlite'}"
        return
    folder = request.getfixturevalue("postgresql")
    name = f"t{secrets.token_hex(8)}"
    with psycopg.connect(f"host={folder} user=test dbname=postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    yield f"postgresql://test@/{name}?host={folder}"


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
