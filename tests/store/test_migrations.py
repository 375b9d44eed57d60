"""Migrations on a database that is in use: nothing that is in it is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command

from mydocker_hub.domain.errors import Unavailable
from mydocker_hub.store.database import Database

WHEN = "2026-01-01 00:00:00"


def filled(path: Path) -> Database:
    """A database of the first release, with somebody in it who has used something."""
    database = Database(f"sqlite:///{path}", threads=1)
    database.run_alembic(lambda config: command.upgrade(config, "0001"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"""
            INSERT INTO people (name, display_name, created_at) VALUES ('alice', 'Alice', '{WHEN}');
            INSERT INTO environments (slug, version, definition, status, public, compute_type,
                search_text, created_at, updated_at)
                VALUES ('lab', 1, '{{}}', 'ready', 1, 'default', '', '{WHEN}', '{WHEN}');
            INSERT INTO join_links (key, environment_id, label, created_at)
                VALUES ('LabLabLabLab', 1, '', '{WHEN}');
            INSERT INTO enrolments (person_id, environment_id, join_link_id, created_at)
                VALUES (1, 1, 1, '{WHEN}');
            INSERT INTO rights (person_id, environment_id, level) VALUES (1, 1, 'own');
            INSERT INTO launches (person_id, environment_id, version, asked_at, end_code,
                end_params, notice_code) VALUES (1, 1, 1, '{WHEN}', '', '{{}}', '');
            INSERT INTO folders (volume, person_id, node, prepared_at)
                VALUES ('v', 1, '', '{WHEN}');
        """)
    return database


def test_what_refers_to_a_table_that_is_changed_stays(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    database = filled(path)
    database.upgrade()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("people", "enrolments", "rights", "launches", "join_links"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,), table
        assert connection.execute("SELECT person_id FROM folders").fetchone() == (1,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert not database.has_drifted()


def test_foreign_keys_are_in_force_afterwards(tmp_path: Path) -> None:
    database = filled(tmp_path / "catalogue.sqlite")
    database.upgrade()
    with database.engine.connect() as connection:  # the same one, out of the pool
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_rows_that_refer_to_nothing_are_told(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    database = filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM people")
        connection.commit()
    with pytest.raises(Unavailable) as raised:
        database.upgrade()
    assert "refer to nothing" in raised.value.log_detail
