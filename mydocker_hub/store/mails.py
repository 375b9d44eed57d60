"""Mails that wait to be sent: written with the change that they tell of, and taken one by one.

A mail is handed to one sender at a time, for `LEASE`. One that ended meanwhile may have been sent
before that was noted: it is sent again after that time, with the same number in its Message-ID.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from ..domain.access import Right
from ..domain.calendar import Session as CalendarSession
from ..domain.mails import Concerned, Kind, Told, is_address, next_try, recipients
from ..domain.people import Role
from . import people
from .sessions import Booked
from .tables import IdentityRow, MailRow, PersonRow, RightRow, RoleDecisionRow, SessionRow

LEASE = timedelta(minutes=5)
"""Longer than to send one mail may take."""
KEPT = timedelta(days=30)
_ERROR = 500


@dataclass(frozen=True)
class Letter:
    """A mail that is to be sent now; `params` are those of its kind."""

    id: int
    address: str
    language: str  # empty: nobody knows
    kind: Kind
    params: dict[str, Any]
    made_at: datetime
    tries: int


# --- writing them ---------------------------------------------------------------------------------


def tell(
    session: Session,
    booked: Booked,
    what: Told,
    actor: str,
    now: datetime,
    *,
    before: CalendarSession | None = None,
    more: int = 0,
) -> None:
    """Write the mails of what happened to a session, for whoever has an address.

    `before` is what it was, if it was changed; `more` is how many others were booked with it.
    """
    if not any(what):
        return
    found = _concerned(session, booked)
    kinds = recipients(what, [one for one, _ in found], actor)
    rows = {one.name: row for one, row in found}
    by = session.scalar(select(PersonRow.display_name).where(PersonRow.name == actor)) or actor
    params = {
        "session": booked.id,
        "title": booked.title.model_dump(mode="json"),
        "definition": booked.session.model_dump(mode="json"),
        "before": before.model_dump(mode="json") if before else None,
        "state": booked.state,
        "reason": booked.reason,
        "by": by,
        "more": more,
        "one_of_series": booked.series_id is not None,
    }
    for name, kind in kinds.items():
        row = rows[name]
        if is_address(row.mail):
            session.add(
                MailRow(
                    address=row.mail,
                    language=row.language,
                    template=kind,
                    params={**params, "administers": kind is Kind.REQUESTED},
                    made_at=now,
                    next_try_at=now,
                )
            )


def note_language(session: Session, name: str, language: str) -> bool:
    """Remember in which language somebody reads the pages; False for whom nothing is known of."""
    row = session.scalar(select(PersonRow).where(PersonRow.name == name))
    if row is not None:
        row.language = language
    return row is not None


def _concerned(session: Session, booked: Booked) -> list[tuple[Concerned, PersonRow]]:
    """The administrators, and who works on an environment as one who may book its sessions.

    Whoever booked it is among those, unless they may not any more; or they are an administrator.
    """
    bookers = {booked.made_by}
    if booked.series_id is not None:
        bookers.add(session.get_one(SessionRow, booked.series_id).made_by)
    rights = select(RightRow.person_id).where(
        RightRow.environment_id == booked.environment_id,
        RightRow.level.in_([Right.EDIT, Right.OWN]),
    )
    maintainers = set(session.scalars(rights))
    perhaps = or_(
        PersonRow.id.in_(maintainers),
        PersonRow.id.in_(
            select(IdentityRow.person_id).where(IdentityRow.configured_admin.is_(True))
        ),
        PersonRow.id.in_(
            select(RoleDecisionRow.person_id).where(
                RoleDecisionRow.role == Role.ADMIN,
                RoleDecisionRow.granted.is_(True),
                RoleDecisionRow.ended_at.is_(None),
            )
        ),
    )
    rows = session.scalars(
        select(PersonRow)
        .where(perhaps, PersonRow.blocked_at.is_(None), PersonRow.joined_to_id.is_(None))
        .order_by(PersonRow.name)
    ).all()
    found = []
    for row, roles in zip(rows, _roles(session, rows, booked.changed_at), strict=True):
        administers = Role.ADMIN in roles
        creates = administers or Role.TEACHER in roles
        maintains = creates and (row.id in maintainers or row.name in bookers)
        found.append((Concerned(row.name, administers, maintains), row))
    return found


def _roles(session: Session, rows: Collection[PersonRow], now: datetime) -> list[set[Role]]:
    ids = [row.id for row in rows]
    held = people.roles_of(session, ids, now)
    known = set(
        session.scalars(select(IdentityRow.person_id).where(IdentityRow.person_id.in_(ids)))
    )
    # Where people come in by something else than our doors, such as the demonstration, their
    # roles are in the hub's hands: who was given a right was a teacher.
    return [
        {one.role for one in held[row.id]} | (set() if row.id in known else {Role.TEACHER})
        for row in rows
    ]


# --- sending them ---------------------------------------------------------------------------------


def is_due(session: Session, now: datetime) -> bool:
    """Whether a mail waits whose time has come."""
    return session.scalar(_due(now).limit(1)) is not None


def take(session: Session, now: datetime) -> Letter | None:
    """The next mail to send, kept from other senders for `LEASE`; None: there is none."""
    found = session.scalars(
        select(MailRow)
        .where(MailRow.id.in_(_due(now)))
        .order_by(MailRow.next_try_at, MailRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if found is None:
        return None
    found.tries += 1
    found.next_try_at = now + LEASE
    return Letter(
        id=found.id,
        address=found.address,
        language=found.language,
        kind=Kind(found.template),
        params=found.params,
        made_at=found.made_at,
        tries=found.tries,
    )


def sent(session: Session, mail_id: int, now: datetime) -> None:
    row = session.get_one(MailRow, mail_id)
    row.sent_at, row.next_try_at, row.error = now, None, ""


def failed(
    session: Session, mail_id: int, now: datetime, error: str, *, for_good: bool
) -> datetime | None:
    """Note why a mail was not taken; when it is tried again, if ever."""
    row = session.get_one(MailRow, mail_id)
    row.error = error[:_ERROR]
    row.next_try_at = None if for_good else next_try(row.made_at, row.tries, now)
    return row.next_try_at


def away(session: Session, now: datetime, error: str) -> list[int]:
    """The mail server cannot be asked: each mail whose time has come waits on. Which gave up."""
    rows: Iterable[MailRow] = session.scalars(
        select(MailRow).where(MailRow.id.in_(_due(now))).with_for_update(skip_locked=True)
    ).all()
    given_up = []
    for row in rows:
        row.tries += 1
        row.error = error[:_ERROR]
        row.next_try_at = next_try(row.made_at, row.tries, now)
        if row.next_try_at is None:
            given_up.append(row.id)
    return given_up


def clean(session: Session, now: datetime) -> None:
    """Forget mails after `KEPT`, sent or not."""
    session.execute(delete(MailRow).where(MailRow.made_at < now - KEPT))


def _due(now: datetime) -> Any:
    return select(MailRow.id).where(MailRow.next_try_at <= now)
