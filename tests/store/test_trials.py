"""What somebody tries: noted, asked again at each start, and of nobody else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from mydocker_hub.domain import names
from mydocker_hub.domain.access import Right
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.images import BuildState, Recipe
from mydocker_hub.domain.launch import Place
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, builds, editing, images, reading, trials, workshop
from mydocker_hub.store.tables import BuildRow, EnrolmentRow, FolderRow, LaunchRow, TrialRow

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, make

SEAL = Seal("hub", "environment-secrets")
SERVER = names.trial_name("environment/lab")


@pytest.fixture
def prepare(database):
    def prepare(person: Person = BOB, slug: str = "lab", now=NOW, keep: bool = False):
        return database.write_now(trials.prepare, slug, person, now, keep=keep)

    return prepare


@pytest.fixture
def start(database):
    def start(person: Person = BOB, name: str = SERVER, server: str = "", now=NOW):
        return database.write_now(
            activity.begin_launch,
            person=person,
            environment=name,
            server=server or name,
            place=Place(base_url=f"/user/{person.name}/{name}/"),
            hub="test",
            secret=SecretStr("s3cret"),
            seal=SEAL,
            now=now,
        )

    return start


def code_of(action, *args, **kwargs) -> str:
    with pytest.raises(MydockerError) as caught:
        action(*args, **kwargs)
    return caught.value.code


def count(database, row) -> int:
    return database.read_now(lambda session: session.scalar(select(func.count()).select_from(row)))


def test_a_trial_starts_without_a_trace_of_its_person(database, add, prepare, start) -> None:
    add("lab", storage={"dedicated": "/data"}, lifetime={"maximum": "P1D"})
    trial = prepare()
    assert (trial.server, trial.slug, trial.build_number, trial.newer) == (
        *(SERVER, "lab"),
        *(None, False),
    )
    plan = start()
    assert plan.trial
    assert (plan.server, plan.environment, plan.version) == (SERVER, "lab", 1)
    assert plan.maximum == timedelta(hours=1)
    assert [mount.path for mount in plan.folders] == ["/data"]
    assert count(database, EnrolmentRow) == count(database, FolderRow) == 0
    (row,) = database.read_now(lambda session: list(session.scalars(select(LaunchRow))))
    assert row.trial
    assert row.id == plan.launch_id
    # nor is it what the dashboard's card tells of
    found = database.read_now(reading.find, "lab", BOB)
    assert database.read_now(reading.last_launches, BOB, [found.id]) == {}
    again = start(now=LATER)
    assert again.folders[0].volume != plan.folders[0].volume


def test_only_who_tries_starts_it(database, add, prepare, start) -> None:
    add("lab")
    assert code_of(start) == "trial-unknown"  # it was not asked for
    prepare()
    assert code_of(start, CAROL) == "trial-unknown"
    assert code_of(start, ALICE) == "not-allowed"
    assert code_of(start, name="lab", server=SERVER) == "server-name"
    demoted = BOB.model_copy(update={"roles": frozenset({Role.STUDENT})})
    assert code_of(start, demoted) == "not-allowed"
    assert code_of(prepare, DAN) == "environment-unknown"
    assert code_of(prepare, ALICE) == "not-allowed"
    assert count(database, TrialRow) == 1
    assert count(database, LaunchRow) == 0


def test_a_right_that_is_gone_ends_it(database, add, prepare, start) -> None:
    add("lab")
    database.write_now(editing.person_row, DAN, NOW)
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.VIEW, NOW)
    prepare(DAN)
    assert start(DAN).trial
    database.write_now(workshop.take_right, "lab", BOB, "dan", NOW)
    assert code_of(start, DAN) == "environment-unknown"
    database.write_now(editing.update_environment, make("lab", status="archived"), BOB, 1, NOW)
    assert code_of(prepare) == "environment-archived"


def test_what_was_mended_is_tried_the_next_time(database, add, prepare, start) -> None:
    add("lab")
    prepare()
    start()
    mended = make("lab", image="example.org/image:2")
    database.write_now(editing.update_environment, mended, BOB, 1, NOW)
    trial = prepare(keep=True)  # it runs: what it runs stays known
    assert trial.newer
    assert trial.environment.image == "example.org/image:1"
    assert start().image == "example.org/image:2"
    assert not database.read_now(trials.find, BOB, SERVER).newer
    assert [one.server for one in database.read_now(trials.of_person, BOB)] == [SERVER]
    assert database.read_now(trials.of_person, CAROL) == []


def test_a_trial_gets_the_secrets_that_a_student_gets(database, add, prepare, start) -> None:
    add("lab")
    database.write_now(workshop.put_secret, "lab", BOB, "API_KEY", "hunter22", SEAL, NOW)
    prepare()
    of_trial = start().secret_variables
    of_start = start(name="lab").secret_variables
    assert of_trial == of_start
    assert of_start["API_KEY"].get_secret_value() == "hunter22"


def test_changed_secrets_are_a_newer_start(database, add, start) -> None:
    found = add("lab")

    def changed() -> bool:
        launches = database.read_now(reading.last_launches, BOB, [found.id])
        return bool(launches[found.id].secrets_changed)

    start(name="lab")
    assert not changed()
    database.write_now(workshop.put_secret, "lab", BOB, "API_KEY", "1", SEAL, LATER)
    assert changed()
    start(name="lab", now=LATER)
    assert not changed()
    after = LATER + timedelta(seconds=1)
    database.write_now(workshop.delete_secret, "lab", BOB, "API_KEY", after)
    assert changed()


def test_a_build_is_tried_by_who_may_see_its_image(database, start) -> None:
    recipe = Recipe.model_validate({"title": "Mine", "base": "example.org/base:1"})
    database.write_now(images.create, "lab", recipe, BOB, NOW)
    build = database.write_now(images.ask_build, "lab", BOB, NOW)
    server = names.trial_name(f"build/{build.id}")

    def prepare(person: Person):
        return database.write_now(trials.prepare_build, build.id, person, NOW, keep=False)

    assert code_of(prepare, BOB) == "build-unknown"  # it is not done

    def finish(session) -> None:
        row = session.get_one(BuildRow, build.id)
        row.state, row.reference = BuildState.DONE, "example.org/mine:1"

    database.write_now(finish)
    assert prepare(BOB).build_number == 1
    plan = start(name=server)
    # an environment of the same name is somebody else's, who may see who runs it
    assert (plan.environment, plan.image, plan.trial) == ("", "example.org/mine:1", True)
    assert code_of(prepare, DAN) == "build-unknown"
    assert code_of(prepare, ALICE) == "not-allowed"
    assert code_of(start, DAN, server) == "trial-unknown"
    database.write_now(builds.mark_removed, build.id, NOW)
    assert code_of(start, name=server) == "build-unknown"
