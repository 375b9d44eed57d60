"""What is left behind is found; what somebody can come to never is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import delete

from mydocker_hub.domain import names
from mydocker_hub.domain.launch import Place
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, editing, leftovers
from mydocker_hub.store.database import Database
from mydocker_hub.store.leftovers import Gone, LeftFolder
from mydocker_hub.store.tables import FolderRow, LaunchRow, PersonRow

from .conftest import ALICE, BOB, CAROL, NOW

HUB = "hub"
NODE = "node-1"
MONTH = timedelta(days=30)
HOME = names.global_volume(HUB, "alice")
LAB = names.dedicated_volume(HUB, "alice", "lab")
OTHER = names.dedicated_volume(HUB, "alice", "other")


@pytest.fixture
def used(database: Database, add) -> Database:
    """Alice has used two environments, and has all the folders that she can have."""
    for slug in ("lab", "other"):
        found = add(slug)

        def use(session, environment_id: int = found.id) -> None:
            person = editing.person_row(session, ALICE, NOW)
            session.add(
                LaunchRow(
                    person_id=person.id, environment_id=environment_id, version=1, asked_at=NOW
                )
            )

        database.write_now(use)

    def prepare(session) -> None:
        person = editing.person_row(session, ALICE, NOW)
        for volume in (HOME, LAB, OTHER):
            session.add(FolderRow(volume=volume, person_id=person.id, node=NODE, prepared_at=NOW))

    database.write_now(prepare)
    return database


def remove(database: Database, slug: str) -> None:
    database.write_now(editing.delete_environment, slug, BOB, 1, NOW)


def left(database: Database) -> list[LeftFolder]:
    return database.read_now(leftovers.folders, HUB)


def expired(database: Database, now: datetime, nodes=(NODE,)) -> list[str]:
    return database.read_now(leftovers.expired, HUB, now, MONTH, nodes)


def test_what_is_used_is_not_left_behind(used: Database) -> None:
    assert left(used) == []
    assert used.write_now(leftovers.note, HUB, NOW) == []


def test_the_folder_of_a_deleted_environment(used: Database, add) -> None:
    remove(used, "lab")
    assert left(used) == [LeftFolder(LAB, "alice", NODE, NOW, Gone.ENVIRONMENT)]
    noted = used.write_now(leftovers.note, HUB, NOW)
    assert noted == [LeftFolder(LAB, "alice", NODE, NOW, Gone.ENVIRONMENT, left_at=NOW)]
    later = NOW + MONTH
    assert used.write_now(leftovers.note, HUB, later) == noted  # since the first time
    add("lab", CAROL)  # it is there again, and her files with it, though she has not started it yet
    assert left(used) == []
    used.write_now(leftovers.note, HUB, later)
    remove(used, "lab")
    (again,) = left(used)
    assert again.left_at is None


def test_the_folders_of_somebody_who_is_gone(used: Database) -> None:
    used.write_now(lambda session: session.execute(delete(PersonRow)))
    assert {(one.volume, one.gone) for one in left(used)} == {
        (HOME, Gone.PERSON),
        (LAB, Gone.PERSON),
        (OTHER, Gone.PERSON),
    }


def test_the_rule(used: Database) -> None:
    remove(used, "lab")
    assert expired(used, NOW + 100 * MONTH) == []  # nobody has noticed it yet
    used.write_now(leftovers.note, HUB, NOW)
    assert expired(used, NOW + MONTH - timedelta(seconds=1)) == []
    assert expired(used, NOW + MONTH) == [LAB]
    assert expired(used, NOW + MONTH, nodes=["node-2", ""]) == []
    used.write_now(leftovers.forget, [LAB], "builder", NOW)
    assert left(used) == []


def test_made_again_and_deleted_again_between_two_looks(used: Database, add) -> None:
    remove(used, "lab")
    used.write_now(leftovers.note, HUB, NOW)
    almost = NOW + MONTH - timedelta(minutes=30)
    add("lab", CAROL)
    used.write_now(editing.delete_environment, "lab", CAROL, 1, almost)
    used.write_now(leftovers.note, HUB, NOW + MONTH)
    assert expired(used, NOW + MONTH) == []  # who worked in it yesterday has the whole time
    assert [one.left_at for one in left(used)] == [almost]
    assert expired(used, almost + MONTH) == [LAB]


def test_whoever_comes_back_to_a_folder_has_it(used: Database, add) -> None:
    """Between two looks; also somebody whose account was deleted and made again."""
    remove(used, "lab")
    used.write_now(lambda session: session.execute(delete(PersonRow)))
    used.write_now(leftovers.note, HUB, NOW)
    later = NOW + MONTH
    assert set(expired(used, later)) == {HOME, LAB, OTHER}
    used.write_now(editing.person_row, ALICE, later)  # she has signed in, and started nothing yet
    assert expired(used, later) == [LAB]
    add("lab", CAROL, public=True, storage={"dedicated": "/work"})
    assert expired(used, later) == []
    plan = used.write_now(
        activity.begin_launch,
        person=ALICE,
        environment="lab",
        server="lab",
        place=Place(base_url="/user/alice/lab/"),
        hub=HUB,
        secret=SecretStr("s"),
        seal=Seal("secret", "environment-secrets"),
        now=later,
    )
    assert [(mount.volume, mount.prepared) for mount in plan.folders] == [(LAB, True)]
    remove(used, "lab")
    (again,) = left(used)
    assert (again.volume, again.person, again.left_at) == (LAB, "alice", None)


def test_which_environments_are_gone(used: Database) -> None:
    assert used.read_now(leftovers.unknown, ["lab", "gone"]) == {"gone"}
    assert used.read_now(leftovers.unknown, []) == set()
