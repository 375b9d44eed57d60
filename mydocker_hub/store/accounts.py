"""What administrators see and decide of accounts; each decision is in the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, true
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.access import Right
from ..domain.errors import Conflict, Invalid, NotFound, Refused
from ..domain.people import Role
from ..identity import usernames
from ..identity.claims import CourseRole, Standing
from ..identity.roles import LTI_DOORS, Held, Origin
from . import people
from .editing import audit
from .people import ROLE_DAYS
from .reading import normalise
from .tables import (
    AuditRow,
    CourseMemberRow,
    CourseRow,
    EnrolmentRow,
    EnvironmentRow,
    FolderRow,
    IdentityRow,
    IdentityValueRow,
    ImageRightRow,
    PersonRow,
    PlatformRow,
    RightRow,
    RoleDecisionRow,
)

DECIDED_ROLES = (Role.TEACHER, Role.ADMIN)
"""The roles that are given and taken; a student everybody is who may come in at all."""

REFUSED = "sign-in-refused"
_REFUSALS_KEPT = timedelta(days=30)
_MOST_REFUSALS_AN_HOUR = 5000

HISTORY = (
    *("account-created", "account-blocked", "account-unblocked", "accounts-joined"),
    *("identity-added", "identity-key-changed", "identity-separated"),
    "admin-by-configuration",
    *("role-claimed", "role-granted", "role-withdrawn", "role-decision-ended"),
)
"""The actions of the audit log that are about an account."""


@dataclass(frozen=True)
class Line:
    """An account in a list."""

    name: str
    display_name: str
    mail: str
    roles: tuple[Held, ...]
    blocked: bool
    joined_to: str
    signed_in_at: datetime | None
    providers: tuple[str, ...]


@dataclass(frozen=True)
class Lines:
    """Part of a list: `total` counts all that matched."""

    items: list[Line]
    total: int


@dataclass(frozen=True)
class Identity:
    """One way into an account. `identifiers` are (kind, value)."""

    id: int
    door: str
    provider: str
    issuer: str
    identifiers: tuple[tuple[str, str], ...]
    display_name: str
    mail: str
    institution: str
    role: Role
    configured_admin: bool
    since: datetime
    signed_in_at: datetime
    first_account: str


@dataclass(frozen=True)
class Decided:
    """An administrator's decision that holds."""

    role: Role
    granted: bool
    reason: str
    by: str
    at: datetime
    until: datetime | None

    @property
    def last_day(self) -> datetime | None:
        """A moment of the last day on which it holds."""
        return self.until and self.until - timedelta(seconds=1)


@dataclass(frozen=True)
class Used:
    """An environment that an account has used, and whether a folder of it exists."""

    slug: str
    title: Any
    last_start_at: datetime | None


@dataclass(frozen=True)
class Taught:
    """A course in which somebody is a teacher."""

    id: int
    title: str
    platform: str


@dataclass(frozen=True)
class Account:
    """All that is known of an account."""

    name: str
    display_name: str
    mail: str
    created_at: datetime
    signed_in_at: datetime | None
    blocked_at: datetime | None
    blocked_reason: str
    joined_to: str
    joined_from: tuple[str, ...]
    roles: tuple[Held, ...]
    decisions: tuple[Decided, ...]
    identities: tuple[Identity, ...]
    used: tuple[Used, ...]
    folders: tuple[str, ...] = field(default=())
    courses: tuple[Taught, ...] = ()

    @property
    def is_admin(self) -> bool:
        return any(held.role is Role.ADMIN for held in self.roles)


@dataclass(frozen=True)
class Entry:
    """A line of the audit log."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]

    @property
    def last_day(self) -> datetime | None:
        """The last day of a decision that ends, as in `Decided`."""
        until = self.detail.get("until")
        return datetime.fromisoformat(until) - timedelta(seconds=1) if until else None


# --- looking -------------------------------------------------------------------------------------


def search(
    session: Session,
    now: datetime,
    *,
    text: str = "",
    role: Role | None = None,
    origin: Origin | None = None,
    state: str = "",
    offset: int = 0,
    limit: int = 50,
    role_days: int = ROLE_DAYS,
) -> Lines:
    """Accounts by words of name and mail address, or by a whole identifier; in order of the name.

    `state` is `blocked`, `joined`, or empty for all that were not joined to another one.
    """
    query = select(PersonRow)
    if state == "joined":
        query = query.where(PersonRow.joined_to_id.is_not(None))
    else:
        query = query.where(PersonRow.joined_to_id.is_(None))
    if state == "blocked":
        query = query.where(PersonRow.blocked_at.is_not(None))
    for word in text.split()[:10]:
        plain, lower = normalise(word), word.lower()
        query = query.where(
            or_(
                func.lower(PersonRow.name).contains(plain or lower, autoescape=True),
                func.lower(PersonRow.display_name).contains(lower, autoescape=True),
                func.lower(PersonRow.mail).contains(lower, autoescape=True),
                exists().where(
                    IdentityRow.person_id == PersonRow.id,
                    IdentityValueRow.identity_id == IdentityRow.id,
                    IdentityValueRow.value.in_([word, lower]),
                ),
            )
        )
    if role in DECIDED_ROLES:
        query = query.where(_has(role, origin, now, role_days))
    elif origin is not None:
        query = query.where(or_(*(_has(one, origin, now, role_days) for one in DECIDED_ROLES)))
    elif role is Role.STUDENT:
        query = query.where(*(~_has(one, None, now, role_days) for one in DECIDED_ROLES))
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.scalars(query.order_by(PersonRow.name).offset(offset).limit(limit)).all()
    ids = [row.id for row in rows]
    held = people.roles_of(session, ids, now, role_days=role_days)
    providers: dict[int, list[str]] = {one: [] for one in ids}
    names = provider_names(session)
    for owner, provider in session.execute(
        select(IdentityRow.person_id, IdentityRow.provider)
        .where(IdentityRow.person_id.in_(ids))
        .order_by(IdentityRow.id)
    ):
        shown = names.get(provider, provider)
        if shown not in providers[owner]:
            providers[owner].append(shown)
    joined = _names(session, [row.joined_to_id for row in rows])
    return Lines(
        [
            Line(
                name=row.name,
                display_name=row.display_name,
                mail=row.mail,
                roles=tuple(held[row.id]),
                blocked=row.blocked_at is not None,
                joined_to=joined.get(row.joined_to_id or 0, ""),
                signed_in_at=row.signed_in_at,
                providers=tuple(providers[row.id]),
            )
            for row in rows
        ],
        total,
    )


def account(session: Session, name: str, now: datetime, *, role_days: int = ROLE_DAYS) -> Account:
    """One account, whatever its state. Raises `NotFound`."""
    row = _row(session, name)
    identities = session.scalars(
        select(IdentityRow).where(IdentityRow.person_id == row.id).order_by(IdentityRow.id)
    ).all()
    first = _names(session, [one.first_person_id for one in identities])
    joined = _names(session, [row.joined_to_id])
    decisions = session.scalars(
        select(RoleDecisionRow)
        .where(RoleDecisionRow.person_id == row.id, *_holding(now))
        .order_by(RoleDecisionRow.id)
    )
    return Account(
        name=row.name,
        display_name=row.display_name,
        mail=row.mail,
        created_at=row.created_at,
        signed_in_at=row.signed_in_at,
        blocked_at=row.blocked_at,
        blocked_reason=row.blocked_reason,
        joined_to=joined.get(row.joined_to_id or 0, ""),
        joined_from=tuple(
            session.scalars(
                select(PersonRow.name)
                .where(PersonRow.joined_to_id == row.id)
                .order_by(PersonRow.name)
            )
        ),
        roles=tuple(people.roles_of(session, [row.id], now, role_days=role_days)[row.id]),
        decisions=tuple(
            Decided(
                role=Role(one.role),
                granted=one.granted,
                reason=one.reason,
                by=one.decided_by,
                at=one.decided_at,
                until=one.until,
            )
            for one in decisions
        ),
        identities=tuple(_identity(session, one, first[one.first_person_id]) for one in identities),
        used=tuple(_used(session, row)),
        folders=tuple(
            session.scalars(
                select(FolderRow.volume)
                .where(FolderRow.person_id == row.id)
                .order_by(FolderRow.volume)
            )
        ),
        courses=tuple(_taught(session, row)),
    )


def standing(session: Session, name: str, now: datetime, *, role_days: int = ROLE_DAYS) -> Standing:
    """Who an account's person is now. Raises `NotFound`."""
    return people.standing_of(session, _row(session, name), now, role_days=role_days)


def folders_among(session: Session, volumes: Iterable[str]) -> int:
    """How many of these volumes are personal folders that exist."""
    wanted, count = list(volumes), 0
    for start in range(0, len(wanted), 500):  # databases bound the parameters of a query
        part = wanted[start : start + 500]
        count += (
            session.scalar(
                select(func.count()).select_from(FolderRow).where(FolderRow.volume.in_(part))
            )
            or 0
        )
    return count


def provider_names(session: Session) -> dict[str, str]:
    """What the platforms are called, by the provider's name of their identities."""
    return {
        platform.provider: platform.name
        for platform in map(people.as_platform, session.scalars(select(PlatformRow)))
    }


def history(session: Session, name: str, *, limit: int = 100) -> list[Entry]:
    """What happened to an account, the newest first."""
    rows = session.scalars(
        select(AuditRow)
        .where(AuditRow.action.in_(HISTORY), AuditRow.subject == name)
        .order_by(AuditRow.id.desc())
        .limit(limit)
    )
    return [_entry(row) for row in rows]


# --- refused sign-ins ----------------------------------------------------------------------------


def note_refusal(
    session: Session, *, code: str, provider: str, reference: str, detail: str, now: datetime
) -> None:
    """Note that somebody was not let in. Very many an hour are not noted any more: anybody can
    cause them."""
    refusals = select(func.count()).select_from(AuditRow).where(AuditRow.action == REFUSED)
    session.execute(
        delete(AuditRow)
        .where(AuditRow.action == REFUSED, AuditRow.at < now - _REFUSALS_KEPT)
        .execution_options(synchronize_session=False)
    )
    recent = session.scalar(refusals.where(AuditRow.at > now - timedelta(hours=1))) or 0
    if recent < _MOST_REFUSALS_AN_HOUR:
        audit(session, "", REFUSED, reference, now, code=code, provider=provider, detail=detail)


def refusals(
    session: Session, *, reference: str = "", offset: int = 0, limit: int = 50
) -> tuple[list[Entry], int]:
    """The refused sign-ins, the newest first, and how many there are."""
    query = select(AuditRow).where(AuditRow.action == REFUSED)
    if reference:
        query = query.where(AuditRow.subject == reference.strip().lower())
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = session.scalars(query.order_by(AuditRow.id.desc()).offset(offset).limit(limit))
    return [_entry(row) for row in rows], total


# --- deciding ------------------------------------------------------------------------------------


def decide(
    session: Session,
    name: str,
    role: Role,
    *,
    granted: bool,
    actor: str,
    now: datetime,
    reason: str = "",
    until: datetime | None = None,
    role_days: int = ROLE_DAYS,
) -> None:
    """Give a role or take it away, whatever doors say, until a time or another decision.

    Raises `Conflict` where nobody would be administrator, `Invalid` for a time that is over.
    """
    _check_role(role)
    if until is not None and until <= now:
        raise Invalid(problems=[("until", "choose a day that is still to come")])
    with _AdministratorStays(session, name, now, role_days) as row:
        if granted and role is Role.ADMIN and _from_platform(session, row.id):
            raise Conflict("administrator-from-platform", name=name)
        _end_decisions(session, row, role, now)
        session.add(
            RoleDecisionRow(
                person_id=row.id,
                role=role,
                granted=granted,
                reason=reason,
                decided_by=actor,
                decided_at=now,
                until=until,
            )
        )
        row.standing_changed_at = now
        audit(
            session, actor, "role-granted" if granted else "role-withdrawn", row.name, now,
            role=role, reason=reason, until=until.isoformat() if until else None,
        )  # fmt: skip


def end_decision(
    session: Session,
    name: str,
    role: Role,
    *,
    actor: str,
    now: datetime,
    role_days: int = ROLE_DAYS,
) -> None:
    """Take back what was decided on a role: what the doors say counts again."""
    _check_role(role)
    with _AdministratorStays(session, name, now, role_days) as row:
        if _end_decisions(session, row, role, now):
            row.standing_changed_at = now
            audit(session, actor, "role-decision-ended", row.name, now, role=role)


def block(
    session: Session,
    name: str,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    role_days: int = ROLE_DAYS,
) -> None:
    """Keep somebody out. A second time changes nothing. Nobody blocks themselves."""
    if actor == name:
        raise Refused("not-allowed")
    with _AdministratorStays(session, name, now, role_days) as row:
        if row.blocked_at is not None:
            return
        row.blocked_at, row.blocked_reason = now, reason
        row.standing_changed_at = now
        audit(session, actor, "account-blocked", row.name, now, reason=reason)


def unblock(session: Session, name: str, *, actor: str, now: datetime, reason: str = "") -> None:
    """Let somebody in again. A second time changes nothing."""
    row = _row(session, name, lock=True)
    if row.blocked_at is not None:
        row.blocked_at, row.blocked_reason = None, ""
        row.standing_changed_at = now
        audit(session, actor, "account-unblocked", row.name, now, reason=reason)


# --- joining and separating ----------------------------------------------------------------------


def join(
    session: Session,
    keep: str,
    close: str,
    actor: str,
    now: datetime,
    *,
    role_days: int = ROLE_DAYS,
) -> None:
    """Join two accounts of one person: every way into `close` leads to `keep` from now on.

    `keep` gets what `close` was given: its dashboard, its rights, and what administrators decided
    of its roles; nothing is taken from `close`, and its folders stay under its name, so that
    `separate` can undo it. Raises `Refused` for a blocked account, which joining would let in
    again; `Conflict` for one that was joined already.
    """
    if keep == close:
        raise Invalid(problems=[("close", "choose two different accounts")])
    ids = [_row(session, close).id, _row(session, keep).id]
    _lock_identities(session, ids)
    locked = {row.id: row for row in _lock_people(session, ids)}
    closed, kept = locked[ids[0]], locked[ids[1]]
    administrators = _administrators(session, now, role_days)
    if administrators & set(ids) and any(_from_platform(session, one) for one in ids):
        name = kept.name if kept.id in administrators else closed.name
        raise Conflict("administrator-from-platform", name=name)
    for row in (closed, kept):
        if row.joined_to_id is not None:
            raise Conflict("account-joined-already", name=row.name)
        if row.blocked_at is not None:
            raise Refused("account-blocked", log_detail=row.name)
    identities = _lock_identities(session, [closed.id])
    for identity in identities:
        identity.person_id = kept.id
    copied = {
        "enrolments": _copy_enrolments(session, closed, kept),
        "rights": _copy_rights(session, closed, kept),
        "image_rights": _copy_image_rights(session, closed, kept),
        "courses": _copy_courses(session, closed, kept),
        "decisions": _copy_decisions(session, closed, kept, now),
    }
    closed.joined_to_id = kept.id
    closed.standing_changed_at = kept.standing_changed_at = now
    session.flush()
    if administrators and not _administrators(session, now, role_days):
        raise Conflict("last-administrator")
    detail = {"kept": kept.name, "closed": closed.name}
    audit(session, actor, "accounts-joined", kept.name, now, **detail, copied=copied)
    audit(session, actor, "accounts-joined", closed.name, now, **detail)
    session.flush()


def separate(session: Session, identity_id: int, actor: str, now: datetime) -> str:
    """Take a way in out of an account: back to the account that it came with, or to a new one.

    The account that it goes back to is opened again, and what the other one got from it by the
    join is taken back. Answers the name of the account that the identity opens now. Raises
    `Conflict` for the only way into an account.
    """
    identity = session.scalar(
        select(IdentityRow)
        .where(IdentityRow.id == identity_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if identity is None:
        raise NotFound()
    _lock_people(session, [identity.person_id, identity.first_person_id])
    person = session.get_one(PersonRow, identity.person_id)
    others = select(IdentityRow.id).where(
        IdentityRow.person_id == person.id, IdentityRow.id != identity.id
    )
    if session.scalar(others.limit(1)) is None:
        raise Conflict("identity-alone")
    goal = session.get_one(PersonRow, identity.first_person_id)
    if goal.id == person.id:
        goal = _fresh_account(session, identity, now)
        identity.first_person_id = goal.id
    elif goal.joined_to_id is not None:
        _take_back(session, goal, person, now)
        goal.joined_to_id = None
    identity.person_id = goal.id
    person.standing_changed_at = goal.standing_changed_at = now
    detail = {"from": person.name, "to": goal.name, "provider": identity.provider}
    audit(session, actor, "identity-separated", person.name, now, **detail)
    audit(session, actor, "identity-separated", goal.name, now, **detail)
    session.flush()
    return goal.name


def _fresh_account(session: Session, identity: IdentityRow, now: datetime) -> PersonRow:
    base = usernames.base_name("", "", identity.display_name)
    for _ in range(50):
        row = PersonRow(
            name=people.free_name(session, base),
            display_name=identity.display_name,
            mail=identity.mail,
            created_at=now,
        )
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # somebody took the name meanwhile
            continue
        return row
    raise Conflict(log_detail="no free user name was found")


def _copy_enrolments(session: Session, closed: PersonRow, kept: PersonRow) -> list[int]:
    copied = []
    for row in session.scalars(select(EnrolmentRow).where(EnrolmentRow.person_id == closed.id)):
        if session.get(EnrolmentRow, (kept.id, row.environment_id)) is None:
            session.add(
                EnrolmentRow(
                    person_id=kept.id,
                    environment_id=row.environment_id,
                    join_link_id=row.join_link_id,
                    created_at=row.created_at,
                    left_at=row.left_at,
                )
            )
            copied.append(row.environment_id)
    return copied


def _copy_rights(
    session: Session, closed: PersonRow, kept: PersonRow
) -> list[tuple[int, str, str]]:
    """(environment, level before, level now) of each right that grew."""
    order = [right.value for right in Right]
    copied = []
    for row in session.scalars(select(RightRow).where(RightRow.person_id == closed.id)):
        mine = session.get(RightRow, (kept.id, row.environment_id))
        if mine is None:
            session.add(
                RightRow(person_id=kept.id, environment_id=row.environment_id, level=row.level)
            )
            copied.append((row.environment_id, "", row.level))
        elif order.index(mine.level) < order.index(row.level):
            copied.append((row.environment_id, mine.level, row.level))
            mine.level = row.level
    return copied


def _copy_image_rights(
    session: Session, closed: PersonRow, kept: PersonRow
) -> list[tuple[int, str, str]]:
    """(image, level before, level now) of each right that grew."""
    order = [right.value for right in Right]
    copied = []
    for row in session.scalars(select(ImageRightRow).where(ImageRightRow.person_id == closed.id)):
        mine = session.get(ImageRightRow, (kept.id, row.image_id))
        if mine is None:
            session.add(ImageRightRow(person_id=kept.id, image_id=row.image_id, level=row.level))
            copied.append((row.image_id, "", row.level))
        elif order.index(mine.level) < order.index(row.level):
            copied.append((row.image_id, mine.level, row.level))
            mine.level = row.level
    return copied


def _copy_courses(session: Session, closed: PersonRow, kept: PersonRow) -> list[int]:
    copied = []
    for row in session.scalars(
        select(CourseMemberRow).where(CourseMemberRow.person_id == closed.id)
    ):
        if session.get(CourseMemberRow, (row.course_id, kept.id)) is None:
            session.add(
                CourseMemberRow(
                    course_id=row.course_id,
                    person_id=kept.id,
                    role=row.role,
                    launched_at=row.launched_at,
                )
            )
            copied.append(row.course_id)
    return copied


def _copy_decisions(
    session: Session, closed: PersonRow, kept: PersonRow, now: datetime
) -> list[int]:
    """What was withdrawn from one of the two stays withdrawn: joining is no way around it."""
    holding = {
        (row.person_id, row.role): row
        for row in session.scalars(
            select(RoleDecisionRow)
            .where(RoleDecisionRow.person_id.in_([closed.id, kept.id]), *_holding(now))
            .order_by(RoleDecisionRow.id)
        )
    }
    copied = []
    for role in DECIDED_ROLES:
        theirs, mine = holding.get((closed.id, role)), holding.get((kept.id, role))
        if theirs is None or (mine is not None and (theirs.granted or not mine.granted)):
            continue
        _end_decisions(session, kept, role, now)
        row = RoleDecisionRow(
            person_id=kept.id,
            role=role,
            granted=theirs.granted,
            reason=theirs.reason,
            decided_by=theirs.decided_by,
            decided_at=theirs.decided_at,
            until=theirs.until,
        )
        session.add(row)
        session.flush()
        copied.append(row.id)
    return copied


def _take_back(session: Session, opened: PersonRow, kept: PersonRow, now: datetime) -> None:
    """Undo what a join gave to `kept`, as the audit log has it; what was used since stays."""
    rows = session.scalars(
        select(AuditRow)
        .where(AuditRow.action == "accounts-joined", AuditRow.subject == kept.name)
        .order_by(AuditRow.id.desc())
    )
    copied: dict[str, Any] = next(
        (row.detail["copied"] for row in rows if row.detail.get("closed") == opened.name), {}
    )
    for environment in copied.get("enrolments", ()):
        enrolment = session.get(EnrolmentRow, (kept.id, environment))
        if enrolment is not None and enrolment.last_start_at is None:
            session.delete(enrolment)
    for environment, before, level in copied.get("rights", ()):
        _give_back(session, session.get(RightRow, (kept.id, environment)), before, level)
    for image, before, level in copied.get("image_rights", ()):
        _give_back(session, session.get(ImageRightRow, (kept.id, image)), before, level)
    for course in copied.get("courses", ()):
        member = session.get(CourseMemberRow, (course, kept.id))
        theirs = session.get(CourseMemberRow, (course, opened.id))
        if member is not None and theirs is not None:
            # what they did in the course since the join is theirs
            theirs.role, theirs.launched_at = member.role, member.launched_at
            session.delete(member)
    for decision in copied.get("decisions", ()):
        row = session.get(RoleDecisionRow, decision)
        if row is not None and row.ended_at is None:
            row.ended_at = now


def _give_back(
    session: Session, right: RightRow | ImageRightRow | None, before: str, level: str
) -> None:
    """Bring a right to what it was before a join, unless it was changed since."""
    if right is None or right.level != level:
        return
    if before:
        right.level = before
    else:
        session.delete(right)


# --- small parts ---------------------------------------------------------------------------------


class _AdministratorStays:
    """Holds an account for a change, after which somebody still has to be administrator.

    Only where its person is one: two administrators who withdraw each other wait for one another.
    """

    def __init__(self, session: Session, name: str, now: datetime, role_days: int) -> None:
        self._session, self._name, self._now, self._days = session, name, now, role_days

    def __enter__(self) -> PersonRow:
        row = _row(self._session, self._name)
        administrators = self._administrators()
        locked = _lock_people(self._session, {row.id, *administrators})
        self._was = row.id in self._administrators()
        found = next(one for one in locked if one.id == row.id)
        if found.joined_to_id is not None:
            raise Conflict("account-joined-already", name=found.name)
        return found

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None or not self._was:
            return
        self._session.flush()
        if not self._administrators():
            raise Conflict("last-administrator")

    def _administrators(self) -> set[int]:
        return _administrators(self._session, self._now, self._days)


def _administrators(session: Session, now: datetime, role_days: int) -> set[int]:
    return set(
        session.scalars(
            select(PersonRow.id).where(
                _has(Role.ADMIN, None, now, role_days),
                PersonRow.blocked_at.is_(None),
                PersonRow.joined_to_id.is_(None),
            )
        )
    )


def _from_platform(session: Session, person_id: int) -> bool:
    """Whether somebody can come in from an LTI platform."""
    found = select(IdentityRow.id).where(
        IdentityRow.person_id == person_id,
        IdentityRow.door.in_([door.value for door in LTI_DOORS]),
    )
    return session.scalar(found.limit(1)) is not None


def _has(role: Role, origin: Origin | None, now: datetime, role_days: int) -> ColumnElement[bool]:
    """`identity.roles.effective_roles` as a condition on people; tests hold the two together."""
    decided = [RoleDecisionRow.person_id == PersonRow.id, RoleDecisionRow.role == role]
    decided += _holding(now)
    claims = (
        IdentityRow.configured_admin.is_(True)
        if role is Role.ADMIN
        else IdentityRow.claimed_role == role
    )
    by_decision = exists().where(*decided, RoleDecisionRow.granted.is_(True))
    by_claim = ~exists().where(*decided) & exists().where(
        IdentityRow.person_id == PersonRow.id,
        IdentityRow.signed_in_at > now - timedelta(days=role_days),
        claims,
    )
    from_platform = exists().where(
        IdentityRow.person_id == PersonRow.id,
        IdentityRow.door.in_([door.value for door in LTI_DOORS]),
    )
    may: ColumnElement[bool] = ~from_platform if role is Role.ADMIN else true()
    if origin is None:
        return and_(may, or_(by_decision, by_claim))
    if origin is Origin.DECIDED:
        return and_(may, by_decision)
    expected = Origin.CONFIGURED if role is Role.ADMIN else Origin.CLAIMED
    return and_(may, by_claim) if origin is expected else PersonRow.id.is_(None)


def _holding(now: datetime) -> list[ColumnElement[bool]]:
    return [
        RoleDecisionRow.ended_at.is_(None),
        or_(RoleDecisionRow.until.is_(None), RoleDecisionRow.until > now),
    ]


def _end_decisions(session: Session, row: PersonRow, role: Role, now: datetime) -> bool:
    """End all decisions on a role; whether there was one that held."""
    ended = False
    for decision in session.scalars(
        select(RoleDecisionRow).where(
            RoleDecisionRow.person_id == row.id,
            RoleDecisionRow.role == role,
            RoleDecisionRow.ended_at.is_(None),
        )
    ):
        decision.ended_at = now
        ended = ended or decision.until is None or decision.until > now
    return ended


def _check_role(role: Role) -> None:
    if role not in DECIDED_ROLES:
        raise Invalid(problems=[("role", "choose teacher or admin")])


def _row(session: Session, name: str, *, lock: bool = False) -> PersonRow:
    query = select(PersonRow).where(PersonRow.name == name)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.scalar(query)
    if row is None:
        raise NotFound("account-unknown", name=name)
    return row


def _lock_people(session: Session, ids: Iterable[int]) -> Sequence[PersonRow]:
    return session.scalars(
        select(PersonRow)
        .where(PersonRow.id.in_(sorted(set(ids))))
        .order_by(PersonRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _lock_identities(session: Session, person_ids: Iterable[int]) -> Sequence[IdentityRow]:
    # Identities before people, as a sign-in locks them: otherwise the two could wait for each other
    return session.scalars(
        select(IdentityRow)
        .where(IdentityRow.person_id.in_(sorted(set(person_ids))))
        .order_by(IdentityRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _names(session: Session, ids: Iterable[int | None]) -> dict[int, str]:
    wanted = {one for one in ids if one is not None}
    found = session.execute(select(PersonRow.id, PersonRow.name).where(PersonRow.id.in_(wanted)))
    return {row.id: row.name for row in found}


def _identity(session: Session, row: IdentityRow, first_account: str) -> Identity:
    values = session.execute(
        select(IdentityValueRow.name, IdentityValueRow.value)
        .where(IdentityValueRow.identity_id == row.id, IdentityValueRow.is_identifier.is_(True))
        .order_by(IdentityValueRow.name)
    )
    return Identity(
        id=row.id,
        door=row.door,
        provider=row.provider,
        issuer=row.issuer,
        identifiers=tuple((one.name, one.value) for one in values),
        display_name=row.display_name,
        mail=row.mail,
        institution=row.institution,
        role=Role(row.claimed_role),
        configured_admin=row.configured_admin,
        since=row.claimed_since,
        signed_in_at=row.signed_in_at,
        first_account=first_account,
    )


def _used(session: Session, row: PersonRow) -> Iterable[Used]:
    found = session.execute(
        select(EnvironmentRow.slug, EnvironmentRow.definition["title"], EnrolmentRow.last_start_at)
        .join(EnrolmentRow, EnrolmentRow.environment_id == EnvironmentRow.id)
        .where(EnrolmentRow.person_id == row.id)
        .order_by(EnrolmentRow.last_start_at.desc().nulls_last(), EnvironmentRow.slug)
    )
    return (Used(slug=slug, title=title, last_start_at=started) for slug, title, started in found)


def _taught(session: Session, row: PersonRow) -> Iterable[Taught]:
    found = session.execute(
        select(CourseRow, PlatformRow)
        .join(CourseMemberRow, CourseMemberRow.course_id == CourseRow.id)
        .join(PlatformRow, PlatformRow.id == CourseRow.platform_id)
        .where(CourseMemberRow.person_id == row.id, CourseMemberRow.role == CourseRole.TEACHER)
        .order_by(CourseRow.title, CourseRow.id)
    )
    return (
        Taught(id=course.id, title=course.title, platform=people.as_platform(platform).name)
        for course, platform in found
    )


def _entry(row: AuditRow) -> Entry:
    return Entry(
        at=row.at, actor=row.actor, action=row.action, subject=row.subject, detail=row.detail
    )
