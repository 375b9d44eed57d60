"""What happens: people join, start, leave; servers become ready and end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain import launch, names
from ..domain.access import may_join, may_start
from ..domain.calendar import DEFAULT_SITE, Site
from ..domain.errors import Conflict, NotFound, Refused
from ..domain.people import Person
from ..seal import Seal
from . import reading, sessions, trials, workshop
from .editing import audit, person_row
from .tables import EnrolmentRow, FolderRow, JoinLinkRow, LaunchRow, PersonRow


def look_at_join_link(session: Session, key: str, person: Person, now: datetime) -> reading.Found:
    """What a join link leads to, without entering. Raises why it cannot be used."""
    link, slug = reading.join_link(session, key)
    if link.revoked:
        raise NotFound("join-link-revoked")
    if link.expires_at is not None and link.expires_at <= now:
        raise NotFound("join-link-expired", when=link.expires_at)
    found = reading.find(session, slug, person)
    may_join(person, found.environment, found.standing).or_raise(found.environment)
    return found


def join(session: Session, key: str, person: Person, now: datetime) -> reading.Found:
    """Enrol a person by a join link; a second time changes nothing."""
    _not_blocked(session, person)
    found = look_at_join_link(session, key, person, now)
    link = session.scalars(select(JoinLinkRow).where(JoinLinkRow.key == key)).one()
    listed = found.standing.listed or not link.lent
    if found.standing.enrolled and found.standing.listed is listed:
        return found
    _enrol(session, found, person, now, link.id)
    audit(session, person.name, "joined", found.environment.slug, now)
    return replace(found, standing=replace(found.standing, enrolled=True, listed=listed))


def leave(session: Session, slug: str, person: Person, now: datetime) -> None:
    """Take an environment off a person's dashboard; their folder is kept."""
    found = reading.find(session, slug, person)
    if not found.standing.enrolled:
        raise NotFound("environment-unknown", environment=slug)
    row = person_row(session, person, now)
    session.execute(
        update(EnrolmentRow)
        .where(EnrolmentRow.person_id == row.id, EnrolmentRow.environment_id == found.id)
        .values(left_at=now)
    )
    audit(session, person.name, "left", slug, now)


def begin_launch(
    session: Session,
    *,
    person: Person,
    environment: str,
    server: str,
    place: launch.Place,
    hub: str,
    secret: SecretStr,
    seal: Seal,
    now: datetime,
    site: Site = DEFAULT_SITE,
) -> launch.LaunchPlan:
    """Decide on a start and say how: the one place that does, whatever door it came through.

    For a trial, `environment` is the server's own name. `seal` opens the environment's secrets.
    `site` says what sessions decide where the environment does not.

    Raises `NotFound` or `Refused` with the reason, `Conflict` where the server's name is not the
    environment's.
    """
    _not_blocked(session, person)
    if names.is_trial(environment):
        return _begin_trial(
            session,
            person=person,
            server=server,
            place=place,
            hub=hub,
            secret=secret,
            seal=seal,
            now=now,
        )
    found = sessions.opened_one(session, reading.find(session, environment, person), now, site)
    definition = found.environment
    may_start(person, definition, found.standing).or_raise(definition)
    expected = names.server_name(definition.slug)
    if server != expected:
        raise Conflict("server-name", environment=definition.title, expected=expected)
    compute_type = reading.compute_type(session, definition.resources.compute_type)
    mounts = launch.folder_mounts(definition, person, hub, compute_type)
    known = {
        row.volume: row
        for row in session.scalars(
            select(FolderRow).where(FolderRow.volume.in_([mount.volume for mount in mounts]))
        )
    }
    mounts = tuple(
        mount.model_copy(update={"prepared": True, "node": known[mount.volume].node or None})
        if mount.volume in known
        else mount
        for mount in mounts
    )
    row = _launch_row(session, person, found.id, found.version, now)
    for folder in known.values():  # whoever comes back to a folder that was left behind has it
        folder.left_at = None
        if folder.person_id is None:
            folder.person_id = row.person_id
    plan = launch.plan(
        definition,
        person,
        compute_type=compute_type,
        folders=mounts,
        launch_id=row.id,
        version=found.version,
        place=place,
        secret=secret,
        secret_variables=workshop.secret_values(session, found.id, seal),
    )
    _enrol(session, found, person, now, None, starting=True)
    return plan


def _begin_trial(
    session: Session,
    *,
    person: Person,
    server: str,
    place: launch.Place,
    hub: str,
    secret: SecretStr,
    seal: Seal,
    now: datetime,
) -> launch.LaunchPlan:
    """The same for a trial: new folders that are no one's, and nobody is enrolled."""
    tried = trials.at_launch(session, person, server, now)
    definition = launch.as_tried(tried.environment)
    row = _launch_row(session, person, tried.environment_id, tried.version, now, trial=True)
    plan = launch.plan(
        definition,
        person,
        compute_type=reading.compute_type(session, definition.resources.compute_type),
        folders=launch.trial_mounts(definition, person, hub, server, row.id),
        launch_id=row.id,
        version=tried.version,
        place=place,
        secret=secret,
        secret_variables={}
        if tried.environment_id is None
        else workshop.secret_values(session, tried.environment_id, seal),
        trial_server=server,
    )
    if tried.environment_id is None:
        # Its slug is the image's: an environment may have the same one, and other people.
        plan = plan.model_copy(update={"environment": ""})
    return plan


def _launch_row(
    session: Session,
    person: Person,
    environment_id: int | None,
    version: int,
    now: datetime,
    *,
    trial: bool = False,
) -> LaunchRow:
    row = LaunchRow(
        person_id=person_row(session, person, now).id,
        environment_id=environment_id,
        trial=trial,
        version=version,
        asked_at=now,
        end_code="",
        end_params={},
        notice_code="",
    )
    session.add(row)
    session.flush()
    return row


def mark_ready(session: Session, launch_id: int, now: datetime) -> None:
    session.execute(
        update(LaunchRow)
        .where(LaunchRow.id == launch_id, LaunchRow.ended_at.is_(None))
        .values(ready_at=now)
    )


def mark_notice(session: Session, launch_id: int, code: str, now: datetime) -> None:
    """Note what the person should know of a server that goes on running."""
    session.execute(
        update(LaunchRow)
        .where(LaunchRow.id == launch_id, LaunchRow.ended_at.is_(None))
        .values(notice_code=code, notice_at=now)
    )


def mark_ended(
    session: Session, launch_id: int, code: str, params: dict[str, Any], now: datetime
) -> None:
    """Note how a server ended, or why it never was ready; the first reason stands."""
    session.execute(
        update(LaunchRow)
        .where(LaunchRow.id == launch_id, LaunchRow.ended_at.is_(None))
        .values(ended_at=now, end_code=code, end_params=params)
    )


def mark_folder(session: Session, volume: str, user: str, node: str, now: datetime) -> None:
    """Note that a folder exists and is writable, and which machine holds it."""
    row = session.get(FolderRow, volume)
    if row is None:
        owner = session.scalar(select(PersonRow.id).where(PersonRow.name == user))
        try:
            with session.begin_nested():
                session.add(FolderRow(volume=volume, person_id=owner, node=node, prepared_at=now))
        except IntegrityError:  # two first starts at once found the same folder
            return


def _not_blocked(session: Session, person: Person) -> None:
    """Refuse whom an administrator blocked: their session at the hub may last a moment longer."""
    blocked = select(PersonRow.id).where(
        PersonRow.name == person.name, PersonRow.blocked_at.is_not(None)
    )
    if session.scalar(blocked) is not None:
        raise Refused("account-blocked")


def _enrol(
    session: Session,
    found: reading.Found,
    person: Person,
    now: datetime,
    link_id: int | None,
    *,
    starting: bool = False,
) -> None:
    person_id = person_row(session, person, now).id
    row = session.get(EnrolmentRow, (person_id, found.id))
    if row is None:
        row = EnrolmentRow(
            person_id=person_id, environment_id=found.id, created_at=now, join_link_id=link_id
        )
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # two tabs at once
            row = session.get_one(EnrolmentRow, (person_id, found.id))
    row.left_at = None
    if link_id is not None:
        row.join_link_id = link_id
    if starting:
        row.last_start_at = now
