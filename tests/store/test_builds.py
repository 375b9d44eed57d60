"""Builds: the queue, who has which, their logs, and what is old."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from mydocker_hub.domain.errors import Conflict, NotFound
from mydocker_hub.domain.images import BuildState, ContextFile, Recipe
from mydocker_hub.store import builds, images
from mydocker_hub.store.builds import Build
from mydocker_hub.store.database import Database

from .conftest import BOB, LATER, NOW

RECIPE = Recipe(title="Test", base="a/b:1", pip=("numpy",))
FILE = ContextFile(path="a.txt", sha256="0" * 64, size_bytes=1, executable=True)


@pytest.fixture
def ask(database: Database):
    """Ask for a build of an image, which is made where it is not there."""
    made: dict[str, int] = {}

    def ask(slug: str = "numbers", made_by: str = "bob", **later: timedelta) -> Build:
        if slug not in made:
            image = database.write_now(images.create, slug, RECIPE, BOB, NOW)
            made[slug] = image.id
        now = NOW + timedelta(**later)
        return database.write_now(builds.ask, made[slug], RECIPE, (FILE,), made_by, now)

    return ask


def claim(database: Database) -> Build:
    build = database.write_now(builds.claim, NOW)
    assert build is not None
    return build


def finish(database: Database, build: Build, state: BuildState = BuildState.DONE, **values) -> None:
    database.write_now(builds.move, build.id, BuildState.BUILDING, NOW)
    assert database.write_now(builds.move, build.id, state, NOW, **values)


def get(database: Database, build: Build) -> Build:
    return database.read_now(builds.get, build.id)


def test_a_build_from_asking_to_its_end(database: Database, ask) -> None:
    build = ask()
    assert (build.number, build.state, build.image_slug) == (1, BuildState.QUEUED, "numbers")
    assert (build.recipe, build.files, build.made_by) == (RECIPE, (FILE,), "bob")
    assert not build.finished
    taken = claim(database)
    assert taken == replace(build, state=BuildState.BUILDING, started_at=NOW)
    database.write_now(builds.note, build.id, dockerfile="FROM a/b:1\n", git_commit="c" * 40)
    assert database.write_now(builds.move, build.id, BuildState.PUSHING, NOW)
    values = {"reference": "r/numbers:1@sha256:0", "digest": "sha256:0", "size_bytes": 5}
    assert database.write_now(builds.move, build.id, BuildState.DONE, LATER, **values)
    done = get(database, build)
    assert done.finished
    assert (done.reference, done.digest, done.size_bytes) == tuple(values.values())
    assert (done.dockerfile, done.git_commit, done.ended_at) == ("FROM a/b:1\n", "c" * 40, LATER)
    # what has ended stays as it is
    for state in BuildState:
        assert not database.write_now(builds.move, build.id, state, LATER)
    assert get(database, build) == done


def test_one_build_of_an_image_at_a_time(database: Database, ask) -> None:
    first = ask()
    with pytest.raises(Conflict) as caught:
        ask()
    assert caught.value.code == "build-running"
    ask("letters")
    finish(database, first, BuildState.FAILED, end_code="build-timeout", end_params={"minutes": 1})
    second = ask()
    assert second.number == 2
    found = database.read_now(builds.of_image, first.image_id)
    assert [build.number for build in found] == [2, 1]
    assert database.read_now(builds.by_number, first.image_id, 1).end_params == {"minutes": 1}
    for number in (0, 3):
        with pytest.raises(NotFound):
            database.read_now(builds.by_number, first.image_id, number)


def test_there_is_no_such_image_or_build(database: Database) -> None:
    with pytest.raises(NotFound):
        database.write_now(builds.ask, 7, RECIPE, (), "bob", NOW)
    with pytest.raises(NotFound):
        database.read_now(builds.get, 7)


def test_the_queue(database: Database, ask) -> None:
    a, b, c = ask("a"), ask("b"), ask("c")
    assert [database.read_now(builds.position, build) for build in (a, b, c)] == [0, 1, 2]
    assert claim(database).id == a.id
    database.write_now(builds.cancel, b.id, "bob", NOW)
    assert database.read_now(builds.position, c) == 0
    assert claim(database).id == c.id
    assert database.write_now(builds.claim, NOW) is None


def test_people_take_turns(database: Database, ask) -> None:
    mine = [ask(f"b{number}") for number in range(3)]
    other = ask("c1", made_by="carol")
    places = [database.read_now(builds.position, build) for build in (*mine, other)]
    assert places == [0, 2, 3, 1]
    assert claim(database).id == mine[0].id
    assert database.read_now(builds.position, other) == 0  # bob has one under way
    assert claim(database).id == other.id
    assert [claim(database).id, claim(database).id] == [mine[1].id, mine[2].id]


def test_two_builders_never_have_the_same(database: Database, ask) -> None:
    asked = {ask(f"i{number}").id for number in range(8)}
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: database.write_now(builds.claim, NOW), range(8)))
    # who came second may have been sent away, but never with somebody else's
    ids = [build.id for build in taken if build]
    assert len(set(ids)) == len(ids)
    while build := database.write_now(builds.claim, NOW):
        ids.append(build.id)
    assert set(ids) == asked


def test_cancelling(database: Database, ask) -> None:
    waiting = ask("a")
    cancelled = database.write_now(builds.cancel, waiting.id, "bob", LATER)
    assert (cancelled.state, cancelled.ended_at) == (BuildState.CANCELLED, LATER)
    running = ask("b")
    claim(database)
    assert database.write_now(builds.beat, running.id, NOW)
    asked = database.write_now(builds.cancel, running.id, "bob", LATER)
    assert (asked.state, asked.cancel_asked) == (BuildState.BUILDING, True)
    assert not database.write_now(builds.beat, running.id, NOW)
    assert database.write_now(builds.move, running.id, BuildState.CANCELLED, LATER)
    for build in (waiting, running):
        with pytest.raises(Conflict) as caught:
            database.write_now(builds.cancel, build.id, "bob", LATER)
        assert caught.value.code == "build-ended"


def test_a_builder_that_died(database: Database, ask) -> None:
    lost, alive, waiting = ask("a"), ask("b"), ask("c")
    claim(database)
    claim(database)
    later = NOW + builds.LOST_AFTER
    database.write_now(builds.beat, alive.id, later)
    assert database.write_now(builds.recover, later - timedelta(seconds=1)) == []
    assert database.write_now(builds.recover, later) == [lost.id]
    found = get(database, lost)
    assert (found.state, found.end_code) == (BuildState.FAILED, "build-interrupted")
    assert get(database, alive).state is BuildState.BUILDING
    assert get(database, waiting).state is BuildState.QUEUED
    assert not database.write_now(builds.beat, lost.id, later)


def test_the_log(database: Database, ask, monkeypatch: pytest.MonkeyPatch) -> None:
    build = ask()
    monkeypatch.setattr(builds, "LOG_MAX_CHARACTERS", 10)
    assert database.write_now(builds.append_log, build.id, "one\n")
    assert database.write_now(builds.append_log, build.id, "two\0\n")
    assert database.read_now(builds.log, build.id) == [(0, "one\n"), (1, "two\n")]
    assert database.read_now(builds.log, build.id, 0) == [(1, "two\n")]
    assert not database.write_now(builds.append_log, build.id, "three\n")
    assert not database.write_now(builds.append_log, build.id, "four\n")
    (piece,) = database.read_now(builds.log, build.id, 1)
    assert piece == (2, "th" + builds.LOG_CUT)


def test_what_is_old(database: Database, ask, add) -> None:
    for number in range(1, 9):
        state = BuildState.FAILED if number == 7 else BuildState.DONE
        reference = "" if number == 7 else f"r/numbers:{number}@sha256:{number:064}"
        finish(database, ask(), state, reference=reference)
    add("uses", image=f"r/numbers:1@sha256:{1:064}")
    add("uses-by-tag", image="r/numbers:3")
    later = NOW + timedelta(days=2)

    def old(now=later, keep=5) -> list[int]:
        return [build.number for build in database.read_now(builds.expired, now, keep=keep)]

    assert old() == [2]
    assert old(keep=1) == [2, 4, 5, 6]
    assert old(now=LATER) == []  # asked for today
    number_2 = database.read_now(builds.expired, later)[0]
    database.write_now(builds.mark_removed, number_2.id, later)
    assert old() == []
    assert get(database, number_2).removed_at == later
    known = database.read_now(builds.known)
    assert ("numbers", 1) in known
    assert ("numbers", 2) not in known
    assert ("numbers", 7) not in known  # it failed


def test_the_schema_is_waited_for(empty: Database) -> None:
    assert not empty.is_current()
    empty.upgrade()
    assert empty.is_current()
