"""Secret addresses of iCalendar feeds: made, listed, withdrawn, and looked up when one is read.

A calendar program sends no cookie, so that the address is all it has. Only its digest is kept; what
its person may see is asked anew each time that it is read.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain import environment
from ..domain.errors import Conflict, NotFound
from ..domain.people import Person, Role
from . import people
from .editing import audit, person_row
from .people import ROLE_DAYS
from .tables import EnvironmentRow, FeedRow, IdentityRow, PersonRow

MOST_FEEDS = 20
_ALPHABET = string.ascii_lowercase + string.digits
_KEY_LENGTH = 24  # 124 bits
_READ_AGAIN = timedelta(hours=1)


class Kind(StrEnum):
    """Whose sessions: the person's, an environment's, everybody's (administrators)."""

    MINE = "mine"
    ENVIRONMENT = "environment"
    ALL = "all"


@dataclass(frozen=True)
class Feed:
    """A feed as its person sees it; `digest` names it, and leads nobody to its address."""

    digest: str
    kind: Kind
    slug: str
    title: environment.Text | None  # of the environment
    label: str
    made_at: datetime
    read_at: datetime | None


def make(
    session: Session,
    person: Person,
    kind: Kind,
    now: datetime,
    *,
    environment_id: int | None = None,
    label: str = "",
) -> str:
    """Make a feed; the key of its address, which is not to be had again.

    Raises `Conflict` where the person has `MOST_FEEDS`.
    """
    row = person_row(session, person, now)
    session.flush()
    count = select(func.count()).where(FeedRow.person_id == row.id, FeedRow.revoked_at.is_(None))
    if session.scalars(count).one() >= MOST_FEEDS:
        raise Conflict("too-many-feeds", number=MOST_FEEDS)
    key = "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))
    feed = FeedRow(
        digest=_digest(key),
        kind=kind,
        person_id=row.id,
        environment_id=environment_id,
        label=label,
        made_at=now,
    )
    session.add(feed)
    audit(session, person.name, "feed-made", person.name, now, kind=kind)
    return key


def of_person(session: Session, person: Person) -> list[Feed]:
    """The feeds of a person that were not withdrawn, the newest first."""
    rows = _rows(session, PersonRow.name == person.name, FeedRow.revoked_at.is_(None))
    return [_feed(row, slug, definition) for row, _, slug, definition in rows]


def revoke(session: Session, person: Person, digest: str, now: datetime) -> None:
    """Withdraw a feed: its address leads nowhere from now on. Raises `NotFound`."""
    found = _rows(
        session,
        PersonRow.name == person.name,
        FeedRow.digest == digest,
        FeedRow.revoked_at.is_(None),
    )
    if not found:
        raise NotFound()
    found[0][0].revoked_at = now
    audit(session, person.name, "feed-withdrawn", person.name, now, kind=found[0][0].kind)


def opened(
    session: Session, key: str, now: datetime, *, role_days: int = ROLE_DAYS
) -> tuple[Feed, Person]:
    """The feed of an address, and its person with the roles that they have now.

    Raises `NotFound` for one that is not, was withdrawn, or whose person is blocked, joined to
    another, or no administrator any more where it is everybody's.
    """
    found = _rows(session, FeedRow.digest == _digest(key), FeedRow.revoked_at.is_(None))
    if not found:
        raise NotFound()
    row, owner, slug, definition = found[0]
    feed = _feed(row, slug, definition)
    if owner.blocked_at is not None or owner.joined_to_id is not None:
        raise NotFound()
    roles = _roles(session, owner, feed, now, role_days)
    if feed.kind is Kind.ALL and Role.ADMIN not in roles:
        raise NotFound()
    return feed, Person(name=owner.name, display_name=owner.display_name, roles=roles)


def note_read(session: Session, digest: str, now: datetime) -> None:
    """Remember that a feed is in use, to the hour."""
    row = session.get(FeedRow, digest)
    if row is not None and (row.read_at is None or row.read_at < now - _READ_AGAIN):
        row.read_at = now


def _roles(
    session: Session, owner: PersonRow, feed: Feed, now: datetime, role_days: int
) -> frozenset[Role]:
    if session.scalars(select(IdentityRow.id).where(IdentityRow.person_id == owner.id)).first():
        return people.standing_of(session, owner, now, role_days=role_days).roles
    # Where people come in by something else than our doors, such as the demonstration, their
    # roles are in the hub's hands: those that the feed was made with stand.
    return frozenset({Role.STUDENT, *([Role.ADMIN] if feed.kind is Kind.ALL else [])})


def _rows(session: Session, *conditions: Any) -> list[Any]:
    return list(
        session.execute(
            select(FeedRow, PersonRow, EnvironmentRow.slug, EnvironmentRow.definition)
            .join(PersonRow, PersonRow.id == FeedRow.person_id)
            .outerjoin(EnvironmentRow, EnvironmentRow.id == FeedRow.environment_id)
            .where(*conditions)
            .order_by(FeedRow.made_at.desc())
        )
    )


def _feed(row: FeedRow, slug: str | None, definition: dict[str, Any] | None) -> Feed:
    return Feed(
        digest=row.digest,
        kind=Kind(row.kind),
        slug=slug or "",
        title=environment.Text.model_validate(definition["title"]) if definition else None,
        label=row.label,
        made_at=row.made_at,
        read_at=row.read_at,
    )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
