"""Migrations and transactions, on both databases."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from mydocker_hub.domain.errors import Conflict, Invalid, Unavailable
from mydocker_hub.store import editing, reading
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import Base, PersonRow

from .conftest import ALICE, BOB, LATER, NOW, make


def test_from_nothing(empty: Database) -> None:
    assert inspect(empty.engine).get_table_names() == []
    empty.upgrade()
    made = set(inspect(empty.engine).get_table_names())
    assert made == {*Base.metadata.tables, "mydocker_alembic_version"}
    assert not empty.has_drifted()
    assert [kind.slug for kind in empty.read_now(reading.compute_types)] == ["default"]


def test_a_second_upgrade_changes_nothing(database: Database, add) -> None:
    add("lab")
    database.upgrade()
    assert database.read_now(reading.find, "lab", BOB).version == 1


def test_drift_is_seen(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE people ADD COLUMN shoe_size INTEGER"))
    assert database.has_drifted()


def test_the_last_migration_can_be_taken_back(database: Database) -> None:
    from alembic import command

    database.run_alembic(lambda config: command.downgrade(config, "base"))
    assert inspect(database.engine).get_table_names() == ["mydocker_alembic_version"]
    database.upgrade()
    assert not database.has_drifted()


def test_upgrades_at_once(url: str) -> None:
    script = (
        "import sys; from mydocker_hub.store.database import Database;"
        "database = Database(sys.argv[1]); print('ready', flush=True); sys.stdin.readline();"
        "database.upgrade()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(errors)
    database = Database(url)
    assert not database.has_drifted()
    assert len(database.read_now(reading.compute_types)) == 1
    database.close()


def test_an_error_takes_everything_back(database: Database) -> None:
    def half(session: Session) -> None:
        editing.create_environment(session, make("lab"), BOB, NOW)
        session.flush()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        database.write_now(half)
    assert database.read_now(reading.environments) == []


def test_writers_wait_for_each_other(database: Database) -> None:
    """Read, then write: under SQLite this fails at once if the transaction began as a reader."""

    def visit(number: int) -> None:
        def work(session: Session) -> None:
            reading.environments(session)
            editing.person_row(session, ALICE.model_copy(update={"name": f"p{number % 7}"}), NOW)
            editing.audit(session, "a", "b", "c", NOW)

        database.write_now(work)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(60)))
    with Session(database.engine) as session:
        assert session.query(PersonRow).count() == 7


async def test_from_the_event_loop(database: Database) -> None:
    await database.write(editing.create_environment, make("lab"), BOB, NOW)
    found = await database.read(reading.find, "lab", person=BOB)
    assert found.environment.slug == "lab"


def test_times_come_back_aware(database: Database, add) -> None:
    assert add("lab").updated_at == NOW
    assert database.read_now(reading.find, "lab", BOB).updated_at.utcoffset() is not None
    with pytest.raises(StatementError) as caught:
        database.write_now(editing.create_environment, make("b"), BOB, NOW.replace(tzinfo=None))
    assert "example.org" not in str(caught.value)  # nothing of what was to be stored in the log


def test_what_contradicts_the_rules_of_the_tables_is_a_conflict(database: Database) -> None:
    def twice(session: Session) -> None:
        session.add(PersonRow(name="secret-name", display_name="", created_at=NOW))
        session.add(PersonRow(name="secret-name", display_name="", created_at=LATER))

    with pytest.raises(Conflict) as caught:
        database.write_now(twice)
    assert "secret-name" not in str(caught.value)


def test_a_database_that_is_not_there(url: str, tmp_path) -> None:
    gone = (
        f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite'}"
        if url.startswith("sqlite")
        else f"postgresql+psycopg://test:SECRET@/postgres?host={tmp_path}"
    )
    database = Database(gone)
    with pytest.raises(Unavailable) as caught:
        database.read_now(reading.environments)
    assert caught.value.log_detail
    with pytest.raises(Unavailable) as caught:
        database.upgrade()
    assert "SECRET" not in str(caught.value)
    database.close()


@pytest.mark.parametrize(
    "wrong",
    ["", "catalogue.sqlite", "mysql://u:SECRET@h/d", "nosuch://u:SECRET@h/d", "sqlite://\x00:1:2"],
)
def test_a_url_that_names_no_database(wrong: str) -> None:
    with pytest.raises(Invalid) as caught:
        Database(wrong)
    assert "SECRET" not in str(caught.value)
    assert caught.value.problems[0][0] == "database"
