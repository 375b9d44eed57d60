"""Trials: a teacher starts what they made as a new student would, beside their own folder.

Each is a server of its own (`domain.names.trial_name`). A row says what somebody tries there; it is
read again at each start, so that nothing is believed of the request but the server's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain import launch, names
from ..domain.access import may_try
from ..domain.environment import Environment
from ..domain.errors import NotFound, Refused
from ..domain.images import BuildState, as_environment
from ..domain.people import Person
from . import builds, images, reading
from .builds import Build
from .editing import person_row
from .reading import Found
from .tables import EnvironmentRow, PersonRow, TrialRow


@dataclass(frozen=True)
class Trial:
    """What a person tries: an environment, or a build of an image.

    `environment` is what the trial's server was last started with, or would be. `newer` says that
    the environment was changed since in what runs. `slug` is the environment's, or the image's;
    `build_number` is None for an environment.
    """

    server: str
    environment: Environment
    slug: str
    build_number: int | None
    made_at: datetime
    newer: bool = False


@dataclass(frozen=True)
class Tried:
    """What a launch starts; `environment_id` is None for a build, whose number is `version`."""

    environment: Environment
    environment_id: int | None
    version: int


def prepare(session: Session, slug: str, person: Person, now: datetime, *, keep: bool) -> Trial:
    """Note that a person tries an environment as it is saved; `keep` while their trial of it runs.

    Raises `Refused` and `NotFound` as `domain.access.may_try` decides.
    """
    found = _try_environment(session, slug, person)
    server = names.trial_name(f"environment/{slug}")
    if not keep:
        _put(session, person, server, found.environment, now, environment_id=found.id)
    return find(session, person, server)


def prepare_build(
    session: Session, build_id: int, person: Person, now: datetime, *, keep: bool
) -> Trial:
    """The same for a build. Raises `NotFound` for one that the person may not see or run."""
    build = _try_build(session, build_id, person)
    server = names.trial_name(f"build/{build_id}")
    if not keep:
        definition = as_environment(build.recipe, build.image_slug, build.reference)
        _put(session, person, server, definition, now, build_id=build_id)
    return find(session, person, server)


def find(session: Session, person: Person, server: str) -> Trial:
    """What a person tries in a server. Raises `NotFound`."""
    row = _row(session, person, server)
    if row is None:
        raise NotFound("trial-unknown")
    return _trial(session, row)


def of_person(session: Session, person: Person) -> list[Trial]:
    """All that a person has tried, by the servers' names; the hub knows which of them run."""
    rows = session.scalars(
        select(TrialRow)
        .join(PersonRow, PersonRow.id == TrialRow.person_id)
        .where(PersonRow.name == person.name)
        .order_by(TrialRow.server)
    )
    return [_trial(session, row) for row in rows]


def forget(session: Session, person: Person, server: str) -> None:
    """A trial that ended is nobody's any more."""
    row = _row(session, person, server)
    if row is not None:
        session.delete(row)
        session.flush()


def at_launch(session: Session, person: Person, server: str, now: datetime) -> Tried:
    """What a trial's server starts now, if its person still may.

    An environment is taken as it is saved now, and noted so: after a failure it was perhaps
    mended. Raises `NotFound` and `Refused`.
    """
    if not person.may_create:
        raise Refused("not-allowed")
    row = _row(session, person, server)
    if row is None:
        raise NotFound("trial-unknown")
    if row.build_id is not None:
        build = _try_build(session, row.build_id, person)
        return Tried(Environment.model_validate(row.definition), None, build.number)
    found = _try_environment(session, _slug(session, row), person)
    row.definition = _as_json(found.environment)
    row.made_at = now
    return Tried(found.environment, found.id, found.version)


def _try_environment(session: Session, slug: str, person: Person) -> Found:
    found = reading.find(session, slug, person)
    may_try(person, found.environment, found.standing).or_raise(found.environment)
    return found


def _try_build(session: Session, build_id: int, person: Person) -> Build:
    if not person.may_create:
        raise Refused("not-allowed")
    build = builds.get(session, build_id)
    may_see = images.find(session, build.image_slug, person).may_see(person)
    if not may_see or build.state is not BuildState.DONE or build.removed_at is not None:
        raise NotFound("build-unknown")
    return build


def _row(session: Session, person: Person, server: str) -> TrialRow | None:
    row: TrialRow | None = session.scalar(
        select(TrialRow)
        .join(PersonRow, PersonRow.id == TrialRow.person_id)
        .where(PersonRow.name == person.name, TrialRow.server == server)
    )
    return row


def _put(
    session: Session,
    person: Person,
    server: str,
    environment: Environment,
    now: datetime,
    *,
    environment_id: int | None = None,
    build_id: int | None = None,
) -> None:
    session.merge(
        TrialRow(
            person_id=person_row(session, person, now).id,
            server=server,
            environment_id=environment_id,
            build_id=build_id,
            definition=_as_json(environment),
            made_at=now,
        )
    )
    session.flush()


def _trial(session: Session, row: TrialRow) -> Trial:
    definition = Environment.model_validate(row.definition)
    if row.build_id is not None:
        build = builds.get(session, row.build_id)
        return Trial(
            row.server, launch.as_tried(definition), build.image_slug, build.number, row.made_at
        )
    current = session.get_one(EnvironmentRow, row.environment_id)
    newer = not launch.starts_alike(definition, Environment.model_validate(current.definition))
    return Trial(
        row.server, launch.as_tried(definition), current.slug, None, row.made_at, newer=newer
    )


def _slug(session: Session, row: TrialRow) -> str:
    return session.get_one(EnvironmentRow, row.environment_id).slug


def _as_json(environment: Environment) -> dict[str, object]:
    return environment.model_dump(mode="json", by_alias=True)
