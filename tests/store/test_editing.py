"""Changing the catalogue: rights, lost updates, imports, the audit log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mydocker_hub import cataloguefile
from mydocker_hub.cataloguefile import CatalogueFile
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.environment import ComputeType
from mydocker_hub.domain.errors import Conflict, Invalid, NotFound, Refused
from mydocker_hub.share import share_path
from mydocker_hub.store import activity, editing, reading
from mydocker_hub.store.tables import AuditRow, PersonRow

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, make

KEY = "KeyKeyKeyKeyKeyKeyKe"


def audit(database) -> list[tuple[str, str, str]]:
    def read(session: Session):
        return [(r.actor, r.action, r.subject) for r in session.scalars(select(AuditRow))]

    return database.read_now(read)


def links(database, slug):
    def read(session: Session):
        return reading.join_links(session, reading.find(session, slug, CAROL).id)

    return database.read_now(read)


def versions(database, slug):
    def read(session: Session):
        return reading.versions(session, reading.find(session, slug, CAROL).id)

    return database.read_now(read)


# --- environments --------------------------------------------------------------------------------


def test_create(database, add) -> None:
    found = add("lab", tags=["a", "b"], variables={"A": "é 'x' \\ %"})
    assert (found.version, found.standing.right) == (1, Right.OWN)
    assert database.read_now(reading.find, "lab", BOB) == found
    assert found.environment == make("lab", tags=["a", "b"], variables={"A": "é 'x' \\ %"})
    assert audit(database) == [("bob", "environment-created", "lab")]
    assert versions(database, "lab") == [(1, "bob", NOW)]


def test_a_name_is_taken_once(database, add) -> None:
    add("lab")
    with pytest.raises(Conflict) as caught:
        add("lab", person=DAN)
    assert (caught.value.code, caught.value.params) == ("exists-already", {"name": "lab"})
    assert database.read_now(reading.find, "lab", DAN).standing.right is None


def test_creating_at_once(database) -> None:
    def create(person) -> str:
        try:
            database.write_now(editing.create_environment, make("lab"), person, NOW)
        except Conflict as error:
            return error.code
        return "made"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(create, [ALICE, BOB, CAROL, DAN])) == ["exists-already"] * 3 + [
            "made"
        ]


def test_update(database, add) -> None:
    add("lab")
    changed = make("lab", title="New", status="test", public=True)
    found = database.write_now(editing.update_environment, changed, DAN, 1, LATER)
    assert (found.version, found.environment, found.updated_at) == (2, changed, LATER)
    assert versions(database, "lab") == [(2, "dan", LATER), (1, "bob", NOW)]
    assert [item.environment for item in database.read_now(reading.search, BOB, text="new").items]
    assert audit(database)[-1] == ("dan", "environment-changed", "lab")


def test_saving_what_is_there_changes_nothing(database, add) -> None:
    add("lab")
    found = database.write_now(editing.update_environment, make("lab"), DAN, 1, LATER)
    assert (found.version, found.updated_at) == (1, NOW)
    assert len(audit(database)) == 1


def test_a_lost_update_is_refused(database, add) -> None:
    add("lab")
    database.write_now(editing.update_environment, make("lab", title="Dan"), DAN, 1, LATER)
    with pytest.raises(Conflict) as caught:
        database.write_now(editing.update_environment, make("lab", title="Bob"), BOB, 1, LATER)
    assert caught.value.code == "changed-meanwhile"
    assert database.read_now(reading.find, "lab", BOB).environment.title.en == "Dan"
    with pytest.raises(Conflict):
        database.write_now(editing.delete_environment, "lab", BOB, 1, LATER)


def test_of_updates_at_once_one_wins(database, add) -> None:
    add("lab")

    def update(number: int) -> str:
        changed = make("lab", title=f"Title {number}")
        try:
            database.write_now(editing.update_environment, changed, BOB, 1, LATER)
        except Conflict:
            return "refused"
        return "saved"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(update, range(8))) == ["refused"] * 7 + ["saved"]
    assert [number for number, _, _ in versions(database, "lab")] == [2, 1]


def test_an_unknown_compute_type(database, add) -> None:
    with pytest.raises(Invalid) as caught:
        add("lab", resources={"compute_type": "gpu"})
    assert caught.value.problems[0][0] == "resources.compute_type"
    assert "default" in caught.value.problems[0][1]
    add("lab")
    changed = make("lab", resources={"compute_type": "gpu"})
    with pytest.raises(Invalid):
        database.write_now(editing.update_environment, changed, BOB, 1, NOW)


def test_delete(database, add) -> None:
    add("lab")
    link = database.write_now(editing.add_join_link, "lab", BOB, NOW)
    database.write_now(activity.join, link.key, ALICE, NOW)
    database.write_now(editing.delete_environment, "lab", BOB, 1, NOW)
    with pytest.raises(NotFound):
        database.read_now(reading.find, "lab", BOB)
    with pytest.raises(NotFound):
        database.read_now(reading.join_link, link.key)
    assert database.read_now(reading.used_by, ALICE) == []
    assert audit(database)[-1] == ("bob", "environment-deleted", "lab")
    # folders bear its name for ever: a colleague may not mount them into another image
    with pytest.raises(Conflict) as caught:
        add("lab", person=DAN)
    assert caught.value.code == "exists-already"
    add("lab", person=CAROL)
    # nobody has kept anything of the old one
    assert database.read_now(reading.find, "lab", BOB).standing.right is None
    assert not database.read_now(reading.find, "lab", ALICE).standing.enrolled


@pytest.mark.parametrize(
    "change",
    [
        lambda session: editing.update_environment(session, make("x"), BOB, 1, NOW),
        lambda session: editing.delete_environment(session, "x", BOB, 1, NOW),
        lambda session: editing.add_join_link(session, "x", BOB, NOW),
        lambda session: editing.revoke_join_link(session, "x", KEY, BOB, NOW),
    ],
)
def test_what_is_not_there_cannot_be_changed(database, change) -> None:
    with pytest.raises(NotFound) as caught:
        database.write_now(change)
    assert caught.value.code == "environment-unknown"


# --- join links ----------------------------------------------------------------------------------


def test_join_links(database, add) -> None:
    add("lab")
    made = [
        database.write_now(
            editing.add_join_link, "lab", BOB, NOW, label=f"Group {n}", expires_at=LATER
        )
        for n in range(3)
    ]
    assert links(database, "lab") == made
    assert len({link.key for link in made}) == 3
    assert all(len(link.key) == 20 for link in made)
    database.write_now(editing.revoke_join_link, "lab", made[1].key, BOB, NOW)
    assert [link.revoked for link in links(database, "lab")] == [False, True, False]
    before = len(audit(database))
    database.write_now(editing.revoke_join_link, "lab", made[1].key, BOB, LATER)
    assert len(audit(database)) == before  # a second time changes nothing
    assert all(link.key not in str(audit(database)) for link in made)


def test_a_link_is_revoked_through_its_own_environment_only(database, add) -> None:
    add("lab")
    add("other", person=DAN)
    link = database.write_now(editing.add_join_link, "lab", BOB, NOW)
    with pytest.raises(NotFound) as caught:
        database.write_now(editing.revoke_join_link, "other", link.key, DAN, NOW)
    assert caught.value.code == "join-link-unknown"
    assert not links(database, "lab")[0].revoked


# --- compute types -------------------------------------------------------------------------------


def test_compute_types(database, add) -> None:
    gpu = ComputeType.model_validate(
        {"slug": "gpu", "title": "GPU", "generic_resources": {"gpu": 1}}
    )
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    database.write_now(editing.put_compute_type, gpu, CAROL, NOW)
    assert [entry[1] for entry in audit(database)] == ["compute-type-changed"]
    assert database.read_now(reading.compute_type, "gpu") == gpu
    add("lab", resources={"compute_type": "gpu"})
    with pytest.raises(Conflict) as caught:
        database.write_now(editing.delete_compute_type, "gpu", CAROL, NOW)
    assert (caught.value.code, caught.value.params["count"]) == ("still-used", 1)
    database.write_now(editing.delete_environment, "lab", BOB, 1, NOW)
    database.write_now(editing.delete_compute_type, "gpu", CAROL, NOW)
    assert [kind.slug for kind in database.read_now(reading.compute_types)] == ["default"]
    with pytest.raises(NotFound):
        database.write_now(editing.delete_compute_type, "gpu", CAROL, NOW)


def test_the_default_compute_type_stays(database) -> None:
    with pytest.raises(Refused):
        database.write_now(editing.delete_compute_type, "default", CAROL, NOW)


# --- import and export ---------------------------------------------------------------------------


def entry(slug: str, *keys: str, **changes: object) -> dict:
    definition = make(slug, **changes).model_dump(by_alias=True)
    return {**definition, "join_links": [{"key": key} for key in keys]}


def catalogue(*entries: dict, **more: object) -> CatalogueFile:
    return CatalogueFile.model_validate({"version": 1, "environments": entries, **more})


def everything(database):
    return database.read_now(editing.export_catalogue), audit(database)


def test_import_is_idempotent(database) -> None:
    path = Path(share_path("catalogue", "paris-saclay.yaml"))
    file = cataloguefile.load(path.read_bytes(), path.name)
    database.write_now(editing.import_catalogue, file, CAROL, NOW)
    once = everything(database)
    assert cataloguefile.diff(once[0], file) == []
    database.write_now(editing.import_catalogue, file, CAROL, LATER)
    assert everything(database) == once
    # what is exported is the same again, also after a journey through YAML
    exported = cataloguefile.load(cataloguefile.dump(once[0]), "exported.yaml")
    assert cataloguefile.diff(once[0], exported) == []
    database.write_now(editing.import_catalogue, exported, CAROL, LATER)
    assert everything(database) == once


def test_import_is_whole_or_nothing(database, add) -> None:
    add("mine")
    link = database.write_now(editing.add_join_link, "mine", BOB, NOW)
    before = everything(database)
    file = catalogue(
        entry("a", KEY),
        entry("mine", title="Changed"),
        entry("z", link.key),
        compute_types=[{"slug": "gpu", "title": "GPU"}],
    )
    with pytest.raises(Conflict) as caught:
        database.write_now(editing.import_catalogue, file, CAROL, LATER)
    assert caught.value.code == "exists-already"
    assert everything(database) == before


def test_import_changes_what_it_names_and_nothing_else(database, add) -> None:
    add("kept")
    database.write_now(editing.import_catalogue, catalogue(entry("a", KEY)), CAROL, NOW)
    own = database.write_now(editing.add_join_link, "a", CAROL, NOW)
    revoked = entry("a", title="New")
    revoked["join_links"] = [{"key": KEY, "revoked": True, "label": "gone"}]
    database.write_now(editing.import_catalogue, catalogue(revoked), CAROL, LATER)
    assert database.read_now(reading.find, "kept", BOB).version == 1
    assert database.read_now(reading.find, "a", BOB).version == 2
    assert [(link.key, link.revoked, link.label) for link in links(database, "a")] == [
        (KEY, True, "gone"),
        (own.key, False, ""),
    ]
    assert audit(database)[-2:] == [
        ("carol", "environment-changed", "a"),
        ("carol", "join-link-changed", "a"),
    ]
    database.write_now(editing.import_catalogue, catalogue(entry("a", KEY)), CAROL, LATER)
    assert [link.revoked for link in links(database, "a")] == [False, False]


def test_imports_at_once(database) -> None:
    """One after the other, or one is told that something happened meanwhile; never a mixture."""

    def run(number: int) -> str:
        file = catalogue(*(entry(f"e{n}", title=f"Title {number}") for n in range(10)))
        try:
            database.write_now(editing.import_catalogue, file, CAROL, NOW)
        except Conflict as error:
            return error.code
        return "done"

    database.write_now(
        editing.import_catalogue, catalogue(*(entry(f"e{n}") for n in range(10))), CAROL, NOW
    )
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(4))) == {"done"}
    titles = {e.title.en for e in database.read_now(editing.export_catalogue).environments}
    assert len(titles) == 1
    assert {len(versions(database, f"e{n}")) for n in range(10)} == {5}


def test_first_imports_at_once(database) -> None:
    def run(number: int) -> str:
        file = catalogue(*(entry(f"e{n}", f"KeyOfTheEnvironment{n}") for n in range(5)))
        try:
            database.write_now(editing.import_catalogue, file, CAROL, NOW)
        except Conflict as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(run, range(4))) <= {"done", "changed-meanwhile"}
    assert len(database.read_now(editing.export_catalogue).environments) == 5


def test_import_with_a_compute_type_of_its_own(database) -> None:
    file = catalogue(
        entry("a", resources={"compute_type": "gpu"}),
        compute_types=[{"slug": "gpu", "title": "GPU"}],
    )
    database.write_now(editing.import_catalogue, file, CAROL, NOW)
    assert database.read_now(reading.compute_type, "gpu").title.en == "GPU"


# --- people --------------------------------------------------------------------------------------


def test_people_are_noted_once_and_renamed(database) -> None:
    def visit(name: str):
        person = ALICE.model_copy(update={"display_name": name})
        return database.write_now(lambda session: editing.person_row(session, person, NOW).id)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(visit, ["Alice"] * 8))) == 1
    visit("Alice Martin")
    visit("")  # a door that knows no name does not take it away

    def names(session: Session):
        return session.scalars(select(PersonRow.display_name)).all()

    assert database.read_now(names) == ["Alice Martin"]


def test_names_that_look_alike_are_two_people(database) -> None:
    def ids(session: Session) -> set[int]:
        alike = ["Alice", "alice", "alice ", "àlice", "a\u0300lice", "ALICE"]
        return {
            editing.person_row(session, ALICE.model_copy(update={"name": name}), NOW).id
            for name in alike
        }

    assert len(database.write_now(ids)) == 6
