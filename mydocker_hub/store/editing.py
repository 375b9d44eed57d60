"""What people change in the catalogue. Each change is in the audit log, in the same transaction."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..cataloguefile import CatalogueFile
from ..domain.access import Right
from ..domain.calendar import SessionState
from ..domain.environment import ComputeType, Environment, JoinLink, Resources
from ..domain.errors import Conflict, Invalid, NotFound, Refused
from ..domain.people import Person
from . import reading
from .tables import (
    AudienceRow,
    AuditRow,
    ComputeTypeRow,
    EnvironmentRow,
    EnvironmentVersionRow,
    JoinLinkRow,
    PersonRow,
    RightRow,
    SessionRow,
)

_KEY_LENGTH = 20
_KEY_LETTERS = string.ascii_letters + string.digits


def person_row(session: Session, person: Person, now: datetime) -> PersonRow:
    """The row of a person, made at their first visit; the display name follows the sign-in."""
    row = session.scalar(select(PersonRow).where(PersonRow.name == person.name))
    if row is None:
        row = PersonRow(name=person.name, display_name=person.display_name, created_at=now)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # another request made it meanwhile
            row = session.scalars(select(PersonRow).where(PersonRow.name == person.name)).one()
    elif person.display_name and row.display_name != person.display_name:
        row.display_name = person.display_name
    return row


def create_environment(
    session: Session, environment: Environment, person: Person, now: datetime
) -> reading.Found:
    """Add an environment; its maker owns it.

    Raises `Conflict` where the slug is taken, or was: people's folders still bear the name of an
    environment that was deleted, and must not be mounted into somebody else's image.
    """
    _check_compute_type(session, environment)
    row = EnvironmentRow(slug=environment.slug, version=1, created_at=now)
    _write(row, environment, now)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict("exists-already", name=environment.slug) from None
    _write_audience(session, row, environment)
    # Asked after the insert, which waits for a deletion that is under way.
    if not person.is_admin and _was_deleted(session, environment.slug):
        raise Conflict("exists-already", name=environment.slug)
    _keep_version(session, row, person.name, now)
    maker = person_row(session, person, now)
    session.add(RightRow(person_id=maker.id, environment_id=row.id, level=Right.OWN))
    audit(session, person.name, "environment-created", environment.slug, now)
    session.flush()
    return reading.find(session, environment.slug, person)


def update_environment(
    session: Session, environment: Environment, person: Person, expected_version: int, now: datetime
) -> reading.Found:
    """Replace a definition. Raises `Conflict` if somebody else changed it meanwhile.

    The slug names the environment and cannot change. Where it moves to a compute type whose
    sessions wait for an administrator, those to come wait too.
    """
    row = locked(session, environment.slug)
    if row.version != expected_version:
        raise Conflict("changed-meanwhile")
    _check_compute_type(session, environment)
    before = Environment.model_validate(row.definition).resources.compute_type
    _replace(session, row, environment, person.name, now)
    after = environment.resources.compute_type
    waits = after != before and reading.compute_type(session, after).needs_approval
    if waits and not person.is_admin:
        _ask_again(session, row, person, now)
    session.flush()
    return reading.find(session, environment.slug, person)


def _ask_again(session: Session, row: EnvironmentRow, person: Person, now: datetime) -> None:
    """Let the sessions to come wait: nobody agreed to them on such machines."""
    booked = session.scalars(
        select(SessionRow).where(
            SessionRow.environment_id == row.id,
            SessionRow.state == SessionState.APPROVED,
            or_(SessionRow.last_at.is_(None), SessionRow.last_at > now),
        )
    )
    for one in booked:
        one.state = SessionState.REQUESTED
        one.decided_by, one.decided_at, one.reason = "", None, ""
        one.changed_at = now
        one.sequence += 1
        audit(session, person.name, "session-changed", row.slug, now, id=one.id, state=one.state)


def delete_environment(
    session: Session, slug: str, person: Person, expected_version: int, now: datetime
) -> None:
    """Remove an environment with its links and enrolments; personal folders are kept."""
    row = locked(session, slug)
    if row.version != expected_version:
        raise Conflict("changed-meanwhile")
    audit(session, person.name, "environment-deleted", slug, now, definition=row.definition)
    session.delete(row)


def add_join_link(
    session: Session,
    slug: str,
    person: Person,
    now: datetime,
    *,
    label: str = "",
    expires_at: datetime | None = None,
    lent: bool = False,
    course_id: int | None = None,
) -> JoinLink:
    """A new invitation with a key nobody can guess (119 bits).

    One that is `lent`, to somebody who may not edit, ends when the environment is public no more.
    """
    row = locked(session, slug)
    link = JoinLink(
        key="".join(secrets.choice(_KEY_LETTERS) for _ in range(_KEY_LENGTH)),
        label=label,
        expires_at=expires_at and expires_at.astimezone(UTC),  # as it will be read
    )
    added = _link_row(link, row.id, now)
    added.lent, added.course_id = lent, course_id
    session.add(added)
    audit(session, person.name, "join-link-added", slug, now, label=label)
    return link


def revoke_join_link(session: Session, slug: str, key: str, person: Person, now: datetime) -> None:
    """Withdraw an invitation; who came in by it stays. A second time changes nothing."""
    environment = locked(session, slug)
    row = session.scalar(
        select(JoinLinkRow).where(
            JoinLinkRow.key == key, JoinLinkRow.environment_id == environment.id
        )
    )
    if row is None:
        raise NotFound("join-link-unknown")
    if row.revoked_at is None:
        row.revoked_at = now
        audit(session, person.name, "join-link-revoked", slug, now, label=row.label)


def put_compute_type(
    session: Session, compute_type: ComputeType, person: Person, now: datetime
) -> None:
    """Add or replace a compute type."""
    if _put_compute_type(session, compute_type):
        audit(session, person.name, "compute-type-changed", compute_type.slug, now)


def delete_compute_type(session: Session, slug: str, person: Person, now: datetime) -> None:
    """Remove a compute type that no environment uses. The default one stays for ever."""
    if slug == Resources().compute_type:
        raise Refused("not-allowed")
    row = session.scalar(select(ComputeTypeRow).where(ComputeTypeRow.slug == slug))
    if row is None:
        raise NotFound()
    used = session.scalar(
        select(func.count()).select_from(EnvironmentRow).where(EnvironmentRow.compute_type == slug)
    )
    if used:
        raise Conflict("still-used", name=slug, count=used)
    session.delete(row)
    audit(session, person.name, "compute-type-deleted", slug, now)


def import_catalogue(
    session: Session, catalogue: CatalogueFile, person: Person, now: datetime
) -> None:
    """Bring the catalogue to what a file says; what the file does not name stays as it is.

    A second import of the same file changes nothing. Raises `Conflict` where a join key of the
    file already belongs to another environment; then nothing is imported.
    """
    for compute_type in catalogue.compute_types:
        put_compute_type(session, compute_type, person, now)
    for entry in catalogue.environments:
        environment = Environment.model_validate(
            entry.model_dump(by_alias=True, exclude={"join_links"})
        )
        _check_compute_type(session, environment)
        row = session.scalar(
            select(EnvironmentRow).where(EnvironmentRow.slug == entry.slug).with_for_update()
        )
        if row is None:
            row = EnvironmentRow(slug=entry.slug, version=1, created_at=now)
            _write(row, environment, now)
            session.add(row)
            session.flush()
            _write_audience(session, row, environment)
            _keep_version(session, row, person.name, now)
            audit(session, person.name, "environment-created", entry.slug, now)
        else:
            _replace(session, row, environment, person.name, now)
        _import_links(session, row, entry.join_links, person.name, now)


def export_catalogue(session: Session) -> CatalogueFile:
    """The whole catalogue as a file: importing it again changes nothing."""
    return CatalogueFile.model_validate(
        {
            "version": 1,
            "compute_types": reading.compute_types(session),
            "environments": [
                {**environment.model_dump(by_alias=True), "join_links": links}
                for environment, links in reading.environments(session)
            ],
        }
    )


def audit(
    session: Session, actor: str, action: str, subject: str, now: datetime, **detail: Any
) -> None:
    session.add(AuditRow(at=now, actor=actor, action=action, subject=subject, detail=detail))


def _was_deleted(session: Session, slug: str) -> bool:
    found = session.scalar(
        select(AuditRow.id)
        .where(AuditRow.action == "environment-deleted", AuditRow.subject == slug)
        .limit(1)
    )
    return found is not None


def locked(session: Session, slug: str) -> EnvironmentRow:
    """An environment's row, which nobody else changes until this transaction ends.

    Raises `NotFound`.
    """
    row = session.scalar(
        select(EnvironmentRow).where(EnvironmentRow.slug == slug).with_for_update()
    )
    if row is None:
        raise NotFound("environment-unknown", environment=slug)
    return row


def _check_compute_type(session: Session, environment: Environment) -> None:
    slug = environment.resources.compute_type
    if session.scalar(select(ComputeTypeRow.id).where(ComputeTypeRow.slug == slug)) is None:
        known = ", ".join(session.scalars(select(ComputeTypeRow.slug)))
        raise Invalid(
            problems=[("resources.compute_type", f"“{slug}” is not known: choose one of {known}")]
        )


def _replace(
    session: Session, row: EnvironmentRow, environment: Environment, actor: str, now: datetime
) -> None:
    if Environment.model_validate(row.definition) == environment:
        row.search_text = reading.search_text(environment)  # another release may index otherwise
        return
    was_public = row.public
    row.version += 1
    _write(row, environment, now)
    _write_audience(session, row, environment)
    _keep_version(session, row, actor, now)
    audit(session, actor, "environment-changed", row.slug, now, version=row.version)
    if was_public and not row.public:
        _revoke_lent_links(session, row, actor, now)


def _revoke_lent_links(session: Session, row: EnvironmentRow, actor: str, now: datetime) -> None:
    """Withdraw the links that others than its editors made for their courses."""
    links = session.scalars(
        select(JoinLinkRow)
        .where(
            JoinLinkRow.environment_id == row.id,
            JoinLinkRow.lent,
            JoinLinkRow.revoked_at.is_(None),
        )
        .order_by(JoinLinkRow.id)
    )
    for link in links:
        link.revoked_at = now
        audit(session, actor, "join-link-revoked", row.slug, now, label=link.label)


def _write(row: EnvironmentRow, environment: Environment, now: datetime) -> None:
    row.definition = environment.model_dump(mode="json", by_alias=True)
    row.status = environment.status
    row.public = environment.public
    row.compute_type = environment.resources.compute_type
    row.search_text = reading.search_text(environment)
    row.image = environment.image
    row.updated_at = now


def _write_audience(session: Session, row: EnvironmentRow, environment: Environment) -> None:
    audience = environment.audience
    named = {("person", name) for name in audience.people}
    named |= {("course", str(course)) for course in audience.courses}
    named |= {("institution", domain) for domain in audience.institutions}
    if audience.teachers:
        named.add(("teachers", ""))
    session.execute(delete(AudienceRow).where(AudienceRow.environment_id == row.id))
    session.add_all(
        AudienceRow(environment_id=row.id, kind=kind, value=value) for kind, value in sorted(named)
    )
    session.flush()


def _keep_version(session: Session, row: EnvironmentRow, actor: str, now: datetime) -> None:
    session.add(
        EnvironmentVersionRow(
            environment_id=row.id,
            version=row.version,
            definition=row.definition,
            changed_by=actor,
            changed_at=now,
        )
    )


def _put_compute_type(session: Session, compute_type: ComputeType) -> bool:
    row = session.scalar(select(ComputeTypeRow).where(ComputeTypeRow.slug == compute_type.slug))
    definition = compute_type.model_dump(mode="json")
    if row is None:
        session.add(ComputeTypeRow(slug=compute_type.slug, definition=definition))
    elif ComputeType.model_validate(row.definition) == compute_type:
        return False  # also where another release kept fewer fields
    else:
        row.definition = definition
    session.flush()
    return True


def _import_links(
    session: Session,
    row: EnvironmentRow,
    links: tuple[JoinLink, ...],
    actor: str,
    now: datetime,
) -> None:
    for link in links:
        known = session.scalar(select(JoinLinkRow).where(JoinLinkRow.key == link.key))
        if known is None:
            session.add(_link_row(link, row.id, now))
            audit(session, actor, "join-link-added", row.slug, now, label=link.label)
        elif known.environment_id != row.id:
            raise Conflict("exists-already", name=link.key)
        elif reading.as_join_link(known) != link:
            known.label = link.label
            known.expires_at = link.expires_at
            known.revoked_at = (known.revoked_at or now) if link.revoked else None
            audit(session, actor, "join-link-changed", row.slug, now, label=link.label)


def _link_row(link: JoinLink, environment_id: int, now: datetime) -> JoinLinkRow:
    return JoinLinkRow(
        key=link.key,
        environment_id=environment_id,
        label=link.label,
        expires_at=link.expires_at,
        revoked_at=now if link.revoked else None,
        created_at=now,
    )
