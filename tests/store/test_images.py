"""Images in the database: who finds them, versions, files, rights, builds, deletion."""

from __future__ import annotations

from typing import Any

import pytest

from mydocker_hub.domain.access import Right
from mydocker_hub.domain.errors import Conflict, Invalid, NotFound
from mydocker_hub.domain.images import BuildState, ContextFile, Recipe
from mydocker_hub.store import builds, editing, images
from mydocker_hub.store.builds import Build
from mydocker_hub.store.database import Database
from mydocker_hub.store.images import FoundImage

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, make


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(
        {"title": "Statistics", "base": "example.org/base:1", "pip": ["numpy"], **changes}
    )


def file(path: str, content: int = 1, size: int = 3) -> ContextFile:
    return ContextFile(path=path, sha256=f"{content:064x}", size_bytes=size)


@pytest.fixture
def image(database: Database) -> FoundImage:
    """An image of bob's."""
    return database.write_now(images.create, "stats", recipe(), BOB, NOW)


def finish(database: Database, build: Build, reference: str) -> Build:
    """What the builder does when all goes well."""
    for state, values in (
        (BuildState.BUILDING, {}),
        (BuildState.DONE, {"reference": reference}),
    ):
        assert database.write_now(builds.move, build.id, state, NOW, **values)
    return database.read_now(builds.get, build.id)


def test_made_and_found(database: Database, image: FoundImage) -> None:
    assert (image.version, image.public, image.right, image.files) == (1, False, Right.OWN, ())
    assert image.recipe == recipe()
    found = database.read_now(images.find, "stats", DAN)
    assert found.right is None
    with pytest.raises(NotFound, match="image-unknown"):
        database.read_now(images.find, "other", BOB)
    with pytest.raises(Conflict, match="exists-already"):
        database.write_now(images.create, "stats", recipe(), DAN, NOW)


@pytest.mark.parametrize(
    ("right", "public", "person", "allowed"),
    [
        (None, False, DAN, ""),
        (None, True, DAN, "see"),
        (Right.VIEW, False, DAN, "see"),
        (Right.EDIT, False, DAN, "see edit"),
        (Right.OWN, False, DAN, "see edit own"),
        (None, False, CAROL, "see edit own"),
        (None, True, ALICE, ""),
        (Right.OWN, True, ALICE, ""),  # who is a teacher no more
    ],
)
def test_who_may(right: Right | None, public: bool, person: Any, allowed: str) -> None:
    found = FoundImage(1, "x", recipe(), 1, public, right, (), NOW)
    answers = {
        "see": found.may_see(person),
        "edit": found.may_edit(person),
        "own": found.may_own(person),
    }
    assert [name for name, yes in answers.items() if yes] == allowed.split()


def test_a_change_is_a_version_and_an_old_one_is_refused(
    database: Database, image: FoundImage
) -> None:
    changed = database.write_now(
        images.update, "stats", recipe(pip=["scipy"]), BOB, image.version, LATER
    )
    assert (changed.version, changed.recipe.pip, changed.updated_at) == (2, ("scipy",), LATER)
    with pytest.raises(Conflict, match="changed-meanwhile"):
        database.write_now(images.update, "stats", recipe(), DAN, image.version, LATER)
    same = database.write_now(images.update, "stats", changed.recipe, BOB, 2, LATER)
    assert same.version == 2


def test_search_shows_what_a_person_may_see(database: Database, image: FoundImage) -> None:
    database.write_now(images.create, "dans", recipe(title="Algèbre", pip=["sympy"]), DAN, LATER)
    database.write_now(images.create, "open", recipe(), DAN, NOW)
    database.write_now(images.set_public, "open", DAN, True, NOW)
    database.write_now(images.create, "given", recipe(), DAN, NOW)
    database.write_now(images.give_right, "given", DAN, "bob", Right.VIEW, NOW)

    def slugs(person: Any, **options: Any) -> list[str]:
        page = database.read_now(images.search, person, **options)
        assert page.total >= len(page.items)
        return [item.found.slug for item in page.items]

    assert slugs(BOB) == ["given", "open", "stats"]
    assert slugs(BOB, show="mine") == ["stats"]
    assert slugs(BOB, show="shared") == ["given"]
    assert slugs(BOB, show="public") == ["open"]
    assert slugs(CAROL) == ["dans", "given", "open", "stats"]
    assert slugs(CAROL, offset=1, limit=2) == ["given", "open"]
    assert slugs(DAN, text="ALGEBRE") == ["dans"]
    assert slugs(DAN, text="sympy") == ["dans"]
    assert slugs(DAN, text="100%") == []


def test_files_come_go_and_clash(database: Database, image: FoundImage) -> None:
    put, remove = images.put_files, images.remove_files
    found = database.write_now(
        put, "stats", [file("data/a.csv"), file("data/b.csv"), file("x")], BOB, LATER
    )
    assert [one.path for one in found.files] == ["data/a.csv", "data/b.csv", "x"]
    assert (found.version, found.updated_at) == (1, LATER)
    found = database.write_now(put, "stats", [file("x", content=2)], BOB, LATER)
    assert found.files[-1].sha256 == f"{2:064x}"
    for path in ("data", "X", "x/y", "../x", "DATA/A.csv"):
        with pytest.raises(Invalid):
            database.write_now(put, "stats", [file(path)], BOB, LATER)
    big = [file(f"big{number}", size=99_000_000) for number in range(6)]
    with pytest.raises(Invalid, match="500 MB"):
        database.write_now(put, "stats", big, BOB, LATER)
    found = database.write_now(remove, "stats", ["data"], BOB, LATER)
    assert [one.path for one in found.files] == ["x"]
    with pytest.raises(NotFound):
        database.write_now(remove, "stats", ["dat"], BOB, LATER)


def test_many_files(database: Database, image: FoundImage) -> None:
    many = [file(f"f{number:04}", number) for number in range(2000)]
    database.write_now(images.put_files, "stats", many, BOB, NOW)
    found = database.write_now(images.put_files, "stats", many, BOB, NOW)  # all once more
    assert len(found.files) == 2000
    with pytest.raises(Invalid, match="2,000"):
        database.write_now(images.put_files, "stats", [file("one-more")], BOB, NOW)
    assert len(database.read_now(images.known_files)) == 2000


def test_rights_and_the_last_owner(database: Database, image: FoundImage) -> None:
    database.write_now(editing.create_environment, make(), DAN, NOW)  # dan is known then

    def holders() -> list[tuple[str, str]]:
        return [(one.name, one.right) for one in database.read_now(images.rights, image.id)]

    with pytest.raises(NotFound, match="account-unknown"):
        database.write_now(images.give_right, "stats", BOB, "nobody", Right.VIEW, NOW)
    for take in (
        lambda: database.write_now(images.take_right, "stats", BOB, "bob", NOW),
        lambda: database.write_now(images.give_right, "stats", BOB, "bob", Right.EDIT, NOW),
    ):
        with pytest.raises(Conflict, match="last-owner"):
            take()
    database.write_now(images.give_right, "stats", BOB, "dan", Right.VIEW, NOW)
    assert holders() == [("bob", "own"), ("dan", "view")]
    database.write_now(images.give_right, "stats", BOB, "dan", Right.OWN, NOW)
    database.write_now(images.give_right, "stats", BOB, "bob", Right.EDIT, NOW)
    assert holders() == [("dan", "own"), ("bob", "edit")]
    database.write_now(images.take_right, "stats", DAN, "bob", NOW)
    with pytest.raises(NotFound):
        database.write_now(images.take_right, "stats", DAN, "bob", NOW)
    assert holders() == [("dan", "own")]


def test_a_build_keeps_what_it_was_made_of(database: Database, image: FoundImage) -> None:
    database.write_now(images.put_files, "stats", [file("x", 7)], BOB, NOW)
    build = database.write_now(images.ask_build, "stats", BOB, NOW)
    assert (build.image_slug, build.number, build.recipe) == ("stats", 1, recipe())
    with pytest.raises(Conflict, match="build-running"):
        database.write_now(images.ask_build, "stats", BOB, NOW)
    database.write_now(images.update, "stats", recipe(pip=["scipy"]), BOB, 1, NOW)
    database.write_now(images.remove_files, "stats", ["x"], BOB, NOW)
    kept = database.read_now(builds.get, build.id)
    assert (kept.recipe.pip, kept.files) == (("numpy",), (file("x", 7),))
    assert database.read_now(images.known_files) == {f"{7:064x}"}
    database.write_now(builds.cancel, build.id, "bob", NOW)
    assert database.read_now(images.known_files) == set()
    listed = database.read_now(images.search, BOB).items[0]
    assert listed.last_build is not None
    assert listed.last_build.state is BuildState.CANCELLED


def test_built_images_and_who_uses_them(database: Database, image: FoundImage) -> None:
    first = database.write_now(images.ask_build, "stats", BOB, NOW)
    finish(database, first, "reg.example/stats:1@sha256:" + "a" * 64)
    second = database.write_now(images.ask_build, "stats", BOB, NOW)
    done = finish(database, second, "reg.example/stats:2@sha256:" + "b" * 64)
    failed = database.write_now(images.ask_build, "stats", BOB, NOW)
    assert database.write_now(builds.move, failed.id, BuildState.FAILED, NOW)

    assert [(one.slug, one.number, one.reference) for one in _built(database, BOB)] == [
        ("stats", 2, done.reference)
    ]
    assert _built(database, DAN) == []
    assert [one.build_id for one in _built(database, CAROL)] == [second.id]

    assert database.read_now(images.used_by, image.id) == []
    used = make("lab", image="reg.example/stats:1")  # without the digest
    database.write_now(editing.create_environment, used, DAN, NOW)
    use = database.read_now(images.used_by, image.id)
    assert [(one.slug, one.reference, one.people) for one in use] == [
        ("lab", "reg.example/stats:1", ("dan",))
    ]
    after = images.with_build(used, done)
    assert after == used.model_copy(update={"image": done.reference})
    with pytest.raises(Conflict, match="build-without-image"):
        images.with_build(used, failed)


def _built(database: Database, person: Any) -> list[images.BuiltImage]:
    return database.read_now(images.built, person)


def test_deleted_while_nobody_uses_it(database: Database, image: FoundImage) -> None:
    build = database.write_now(images.ask_build, "stats", BOB, NOW)
    done = finish(database, build, "mydocker-built/h/stats:1")
    lab = database.write_now(
        editing.create_environment, make("lab", image=done.reference), DAN, NOW
    )
    with pytest.raises(Conflict) as refused:
        database.write_now(images.delete, "stats", BOB, image.version, NOW)
    assert refused.value.code == "still-used"
    assert refused.value.params["environments"] == "lab"
    database.write_now(editing.delete_environment, "lab", DAN, lab.version, NOW)
    with pytest.raises(Conflict, match="changed-meanwhile"):
        database.write_now(images.delete, "stats", BOB, 9, NOW)
    waiting = database.write_now(images.ask_build, "stats", BOB, NOW)
    database.write_now(images.put_files, "stats", [file("x")], BOB, NOW)
    database.write_now(images.set_public, "stats", BOB, True, NOW)
    database.write_now(images.delete, "stats", BOB, image.version, NOW)

    assert database.read_now(builds.get, waiting.id).state is BuildState.CANCELLED
    assert [one.id for one in database.read_now(builds.expired, NOW)] == [done.id]
    assert database.read_now(images.known_files) == set()
    with pytest.raises(NotFound, match="image-unknown"):
        database.read_now(images.find, "stats", CAROL)
    with pytest.raises(NotFound, match="image-unknown"):
        database.write_now(images.ask_build, "stats", CAROL, NOW)
    assert database.read_now(images.search, CAROL).total == 0
    assert _built(database, CAROL) == []
    with pytest.raises(Conflict, match="exists-already"):  # servers may still run what bears it
        database.write_now(images.create, "stats", recipe(), BOB, NOW)


def test_packages_added_to_an_environment(database: Database) -> None:
    lab = make("lab", command="start.sh", storage={"dedicated": "/home/jovyan"})
    database.write_now(editing.create_environment, lab, DAN, NOW)
    found, build = database.write_now(
        images.extend, BOB, lab, ["scipy==1.14", "sympy"],
        new_slug="lab-packages", title=lab.title, now=NOW,
    )  # fmt: skip
    assert (found.recipe.base, found.recipe.pip) == (lab.image, ("scipy==1.14", "sympy"))
    assert (found.recipe.command, found.recipe.home) == ("start.sh", "/home/jovyan")
    assert found.recipe.interfaces == lab.interfaces
    assert (found.right, build.number, build.state) == (Right.OWN, 1, BuildState.QUEUED)
    with pytest.raises(ValueError, match="options are not taken"):
        images.extension(lab, ["--index-url=https://evil.example"], lab.title)
