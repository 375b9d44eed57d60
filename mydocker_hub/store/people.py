"""Who comes in: identities, the accounts that they open, and what these may do at the hub."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.errors import Conflict, NotFound, Refused
from ..domain.people import Role
from ..identity import linking, usernames
from ..identity.claims import Claims, Course, CourseRole, Door, SignIn, Spent, Standing
from ..identity.platform import Platform, PlatformStatus
from ..identity.roles import LTI_DOORS, Claimed, Decision, Held, effective_roles
from . import courses
from .editing import audit
from .tables import (
    CourseMemberRow,
    CourseRow,
    IdentityRow,
    IdentityValueRow,
    JoinLinkRow,
    PersonRow,
    PlatformRow,
    RoleDecisionRow,
    SpentRow,
)

ROLE_DAYS = 180
_OVERLAP = timedelta(seconds=60)
_LONGEST_SPENT = timedelta(days=1)
_NAME_LENGTH = 100  # of `IdentityValueRow.name`
# The strongest first; a provider of another protocol has one kind alone.
_KINDS = ("subject-id", "pairwise-id", "eduPersonPrincipalName")


def sign_in(
    session: Session, request: SignIn, now: datetime, *, role_days: int = ROLE_DAYS
) -> Standing:
    """Let somebody in who passed a door: find or make their account, and note what the door said.

    With `link_to`, the identity is added to that account; where it opens another one already,
    nothing is joined and that one is `Standing.other`.

    Raises `Refused` for what was used before, for an identifier that went to somebody else, and
    for a blocked account; `NotFound` for an account to link to that is not there.
    """
    claims = request.claims
    _spend(session, request.spent, now)
    platform = _platform_of(session, request)
    target = _account_to_link(session, request.link_to)
    row = find_identity(session, claims, lock=True)
    new = False
    if row is None:
        if target is not None and platform is not None:
            _no_administrator(session, target, now, role_days)
        row, new = _add_identity(session, request, platform, target, now, role_days)
    person = session.get_one(PersonRow, row.person_id)
    if person.blocked_at is not None:
        raise Refused("account-blocked", log_detail=person.name)
    _keep_identifiers(session, row, claims, now)
    row.provider, row.door = claims.provider, claims.door
    row.display_name, row.mail = _display_name(claims), claims.mail
    row.institution = claims.institution
    row.signed_in_at = now
    configured = request.admin and claims.door not in LTI_DOORS
    if bool(row.configured_admin) != configured:
        row.configured_admin = configured
        audit(
            session, person.name, "admin-by-configuration", person.name, now,
            provider=claims.provider, named=configured,
        )  # fmt: skip
    role = Role.TEACHER if request.role is Role.TEACHER else Role.STUDENT
    if platform is not None:
        role = Role.STUDENT
        if request.course is not None:
            _note_course(session, request.course, person, now)
        if platform.teachers and _teaches(session, platform.id, person, now, role_days):
            role = Role.TEACHER
    _claim(session, row, role, person, now)
    _describe(session, person, row, now)
    session.flush()
    standing = standing_of(session, person, now, role_days=role_days)
    if target is not None and target.id != person.id:
        mine = standing_of(session, target, now, role_days=role_days)
        return mine.model_copy(update={"other": person.name})
    return standing.model_copy(update={"new": new})


def look(
    session: Session, request: SignIn, now: datetime, *, role_days: int = ROLE_DAYS
) -> Standing | None:
    """Whose account an identity opens already; changes nothing. None where it opens none.

    Raises `Refused` as `sign_in` does, but for what was used before.
    """
    row = find_identity(session, request.claims)
    if row is None:
        return None
    person = session.get_one(PersonRow, row.person_id)
    return standing_of(session, person, now, role_days=role_days)


def standing_of(
    session: Session, person: PersonRow, now: datetime, *, role_days: int = ROLE_DAYS
) -> Standing:
    """Who somebody is, and what they may do. A joined account is closed: `other` leads on."""
    kept = "" if person.joined_to_id is None else _followed(session, person).name
    held = roles_of(session, [person.id], now, role_days=role_days)[person.id]
    return Standing(
        name=person.name,
        display_name=person.display_name,
        roles=frozenset({Role.STUDENT} if kept else {one.role for one in held}),
        blocked=person.blocked_at is not None or bool(kept),
        other=kept,
    )


def standings_since(
    session: Session, after: str, now: datetime, *, role_days: int = ROLE_DAYS
) -> tuple[list[Standing], str]:
    """Whose standing changed since `after`, by a change or because a time came; the next `after`.

    The last minute comes again each time: what was written meanwhile may be seen late. The first
    `after` is "": all that ever changed.
    """
    since = _instant(after)
    days = timedelta(days=role_days)
    # Times before the first of the calendar are no times.
    ended_before = max(since, datetime.min.replace(tzinfo=UTC) + days) - days
    role_ended = exists().where(
        IdentityRow.person_id == PersonRow.id,
        IdentityRow.signed_in_at > ended_before,
        IdentityRow.signed_in_at <= now - days,
        or_(IdentityRow.claimed_role == Role.TEACHER, IdentityRow.configured_admin.is_(True)),
    )
    decision_ended = exists().where(
        RoleDecisionRow.person_id == PersonRow.id,
        RoleDecisionRow.until > since,
        RoleDecisionRow.until <= now,
    )
    rows = session.scalars(
        select(PersonRow)
        .where(or_(PersonRow.standing_changed_at > since, decision_ended, role_ended))
        .order_by(PersonRow.id)
    ).all()
    items = [standing_of(session, row, now, role_days=role_days) for row in rows]
    return items, max(since, now - _OVERLAP).isoformat()


def roles_of(
    session: Session, person_ids: Sequence[int], now: datetime, *, role_days: int = ROLE_DAYS
) -> dict[int, list[Held]]:
    """The roles that each of some people holds now, and why; for all of them in two queries."""
    claimed: dict[int, list[Claimed]] = {one: [] for one in person_ids}
    for row in session.scalars(select(IdentityRow).where(IdentityRow.person_id.in_(person_ids))):
        claimed[row.person_id].append(
            Claimed(
                role=Role(row.claimed_role),
                since=row.claimed_since,
                signed_in_at=row.signed_in_at,
                configured_admin=row.configured_admin,
                from_platform=Door(row.door) in LTI_DOORS,
            )
        )
    decided: dict[int, list[Decision]] = {one: [] for one in person_ids}
    for decision in session.scalars(
        select(RoleDecisionRow)
        .where(RoleDecisionRow.person_id.in_(person_ids), RoleDecisionRow.ended_at.is_(None))
        .order_by(RoleDecisionRow.id)
    ):
        decided[decision.person_id].append(
            Decision(
                role=Role(decision.role),
                granted=decision.granted,
                decided_at=decision.decided_at,
                until=decision.until,
            )
        )
    return {
        one: effective_roles(claimed[one], decided[one], now, role_days=role_days)
        for one in person_ids
    }


def find_identity(session: Session, claims: Claims, *, lock: bool = False) -> IdentityRow | None:
    """The stored identity that claims mean; None for a new one. Raises `Refused` (`linking`)."""
    shown = or_(
        *(
            and_(IdentityValueRow.name == kind, IdentityValueRow.value == value)
            for kind, value in claims.identifiers
        )
    )
    query = (
        select(IdentityRow)
        .where(
            IdentityRow.issuer == claims.issuer,
            or_(
                IdentityRow.subject == claims.identifiers[0][1],
                IdentityRow.id.in_(
                    select(IdentityValueRow.identity_id).where(
                        IdentityValueRow.is_identifier.is_(True), shown
                    )
                ),
            ),
        )
        .order_by(IdentityRow.id)
    )
    if lock:  # waits for a join of accounts that is under way, and reads what it made
        query = query.with_for_update().execution_options(populate_existing=True)
    rows = session.scalars(query).all()
    candidates = [(row, _identifiers(session, row)) for row in rows]
    found = linking.find(candidates, claims.identifiers, provider=claims.provider)
    if found is None:
        if any(row.subject == claims.identifiers[0][1] for row in rows):
            raise Refused(
                "sign-in-identifier-reassigned",
                provider=claims.provider,
                log_detail="the same value as an identifier of another kind",
            )
        return None
    if not _same_source(session, found, claims):
        raise Refused(
            "sign-in-identifier-reassigned",
            provider=claims.provider,
            log_detail=f"the issuer came by {found.provider} before",
        )
    return found


def joined_by_rule(
    session: Session,
    claims: Claims,
    platform: Platform | None,
    now: datetime,
    *,
    role_days: int = ROLE_DAYS,
) -> PersonRow | None:
    """The account that a new identity joins by the rule of a platform, if by any.

    Only one that is in use, has nobody of this door yet, and is no administrator's: whoever runs
    a platform can sign in there as anybody.
    """
    owners: set[int] = set()
    recent = IdentityRow.signed_in_at > now - timedelta(days=role_days)
    if platform is not None:
        rule = platform.join_rule
        wanted = rule and linking.wanted_of_institution(rule, claims)
        if rule and wanted:
            owners |= _owners(
                session,
                wanted,
                IdentityRow.issuer == rule.issuer,
                IdentityRow.door.not_in([door.value for door in LTI_DOORS]),
                recent,
            )
    else:
        for other in active_platforms(session):
            wanted = other.join_rule and linking.wanted_of_platform(other.join_rule, claims)
            if wanted:
                issuer = other.issuer or f"lti11:{other.client_id}"  # as `Claims.issuer`
                here = [IdentityRow.provider == other.provider, IdentityRow.issuer == issuer]
                owners |= _owners(session, wanted, *here, recent)
    if len(owners) != 1:
        return None
    person = _locked_person(session, owners.pop())
    from_here = select(IdentityRow.id).where(
        IdentityRow.person_id == person.id, IdentityRow.issuer == claims.issuer
    )
    held = roles_of(session, [person.id], now, role_days=role_days)[person.id]
    if session.scalar(from_here.limit(1)) or any(one.role is Role.ADMIN for one in held):
        return None
    return person


def active_platforms(session: Session) -> list[Platform]:
    rows = session.scalars(select(PlatformRow).where(PlatformRow.status == PlatformStatus.ACTIVE))
    return [as_platform(row) for row in rows]


def as_platform(row: PlatformRow) -> Platform:
    """A row as `identity.platform` knows it."""
    return Platform.model_validate({**row.definition, "id": row.id, "status": row.status})


def platform_changed(
    session: Session, platform: Platform, now: datetime, *, deleted: bool = False
) -> None:
    """End the global teacher role of a platform's people where it does not give it any more."""
    if platform.teachers and platform.status is PlatformStatus.ACTIVE and not deleted:
        return  # who is a teacher is seen when they come
    rows = session.scalars(
        select(IdentityRow).where(
            IdentityRow.provider == platform.provider, IdentityRow.claimed_role == Role.TEACHER
        )
    )
    for row in rows:
        person = session.get_one(PersonRow, row.person_id)
        _claim(session, row, Role.STUDENT, person, now)
        person.standing_changed_at = now


# --- the steps of a sign-in ----------------------------------------------------------------------


def _spend(session: Session, spent: Iterable[Spent], now: datetime) -> None:
    """Remember what is used once. Raises `Refused` the second time."""
    old = (
        select(SpentRow.key)
        .where(SpentRow.until < now - _LONGEST_SPENT)
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        delete(SpentRow)
        .where(SpentRow.key.in_(session.scalars(old).all()))
        .execution_options(synchronize_session=False)
    )
    rows = [{"key": one.key, "until": _until(one.until, now)} for one in spent]
    if not rows:
        return
    try:
        with session.begin_nested():
            session.execute(insert(SpentRow), sorted(rows, key=lambda row: str(row["key"])))
    except IntegrityError:
        raise Refused("sign-in-replayed") from None


def _until(until: datetime, now: datetime) -> datetime:
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return now + _LONGEST_SPENT if aware > now + _LONGEST_SPENT else max(aware, now)


def _platform_of(session: Session, request: SignIn) -> Platform | None:
    """The platform that somebody came from; None for the other doors. Raises `Refused`."""
    claims = request.claims
    if claims.door not in LTI_DOORS:
        if request.course is not None:
            raise Refused("not-allowed", log_detail="a course without a platform")
        return None
    number = claims.provider.removeprefix("lti-")
    row = None
    if number.isascii() and number.isdigit() and len(number) < 18:
        row = session.get(PlatformRow, int(number))
    closed = row is None or row.status != PlatformStatus.ACTIVE
    if row is None or closed or (request.course and request.course.platform != row.id):
        raise Refused("lti-platform-closed", provider=claims.provider)
    return as_platform(row)


def _account_to_link(session: Session, name: str) -> PersonRow | None:
    if not name:
        return None
    row = session.scalar(select(PersonRow).where(PersonRow.name == name).with_for_update())
    if row is None:
        raise NotFound("account-unknown", name=name)
    if row.joined_to_id is not None:
        raise Conflict("account-joined-already", name=name)
    if row.blocked_at is not None:
        raise Refused("account-blocked", log_detail=name)
    return row


def _no_administrator(session: Session, person: PersonRow, now: datetime, role_days: int) -> None:
    """An administrator would lose the role by a way in from a platform: say so instead."""
    held = roles_of(session, [person.id], now, role_days=role_days)[person.id]
    if any(one.role is Role.ADMIN for one in held):
        raise Conflict("administrator-from-platform", name=person.name)


def _add_identity(
    session: Session,
    request: SignIn,
    platform: Platform | None,
    target: PersonRow | None,
    now: datetime,
    role_days: int,
) -> tuple[IdentityRow, bool]:
    """A new identity, in the account that it belongs to; whether that account is new too.

    Whom the configuration names as administrator is joined to nobody: who runs the platform could
    have come first, in their name.
    """
    claims = request.claims
    how = "linked"
    if target is None and not request.admin:
        target, how = joined_by_rule(session, claims, platform, now, role_days=role_days), "rule"
    base = usernames.base_name(claims.given_name, claims.family_name, claims.display_name)
    for _ in range(50):
        person = target or PersonRow(
            name=free_name(session, base), created_at=now, display_name="", mail=""
        )
        try:
            with session.begin_nested():
                session.add(person)
                session.flush()
                row = IdentityRow(
                    person_id=person.id,
                    first_person_id=person.id,
                    issuer=claims.issuer,
                    subject=claims.identifiers[0][1],
                    door=claims.door,
                    provider=claims.provider,
                    claimed_role=Role.STUDENT,
                    claimed_since=now,
                    created_at=now,
                    signed_in_at=now,
                )
                session.add(row)
        except IntegrityError:  # somebody took the name, or the same person came twice at once
            found = find_identity(session, claims, lock=True)
            if found is not None:
                return found, False
            continue
        if target is not None:
            audit(
                session, person.name, "identity-added", person.name, now,
                provider=claims.provider, how=how,
            )  # fmt: skip
            person.standing_changed_at = now
        else:
            audit(
                session, person.name, "account-created", person.name, now, provider=claims.provider
            )
        return row, target is None
    raise Conflict(log_detail="no free user name was found")


def free_name(session: Session, base: str) -> str:
    """A user name that nobody has or ever had, whatever the letter case."""
    lowered = func.lower(PersonRow.name)
    taken = set(
        session.scalars(select(lowered).where(or_(lowered == base, lowered.startswith(f"{base}-"))))
    )
    number = 1
    while usernames.numbered(base, number) in taken:
        number += 1
    return usernames.numbered(base, number)


def _identifiers(session: Session, row: IdentityRow) -> dict[str, str]:
    found = session.execute(
        select(IdentityValueRow.name, IdentityValueRow.value).where(
            IdentityValueRow.identity_id == row.id, IdentityValueRow.is_identifier.is_(True)
        )
    )
    return {row.name: row.value for row in found}


def _same_source(session: Session, row: IdentityRow, claims: Claims) -> bool:
    """Whether an issuer's name means the same issuer: the key is its name alone.

    Another protocol's issuer of this name is another one; and so is a platform of this name whose
    keys are elsewhere, unless the first one was deleted.
    """
    if linking.family(Door(row.door)) != linking.family(claims.door):
        return False
    if claims.door not in LTI_DOORS or row.provider == claims.provider:
        return True
    before, here = (
        session.get(PlatformRow, int(provider.removeprefix("lti-")))
        for provider in (row.provider, claims.provider)
    )
    if before is None or here is None:
        return True
    return bool(as_platform(before).jwks_url == as_platform(here).jwks_url)


def _keep_identifiers(session: Session, row: IdentityRow, claims: Claims, now: datetime) -> None:
    """Store what an identity is known by now; a stronger identifier becomes its key."""
    shown = {kind: value for kind, value in claims.identifiers if len(kind) <= _NAME_LENGTH}
    stored = {
        one.name: one
        for one in session.scalars(
            select(IdentityValueRow).where(IdentityValueRow.identity_id == row.id)
        )
    }
    identifiers = {name: one.value for name, one in stored.items() if one.is_identifier} | shown
    strongest = min(identifiers, key=lambda kind: _KINDS.index(kind) if kind in _KINDS else -1)
    key = identifiers[strongest]
    if row.subject != key:
        taken = select(IdentityRow.id).where(
            IdentityRow.issuer == row.issuer, IdentityRow.subject == key
        )
        if session.scalar(taken) is not None:
            raise Refused(
                "sign-in-identifier-reassigned",
                provider=claims.provider,
                log_detail="the key belongs to another identity",
            )
        row.subject = key
        person = session.get_one(PersonRow, row.person_id)
        audit(
            session, person.name, "identity-key-changed", person.name, now,
            provider=claims.provider, kind=strongest,
        )  # fmt: skip
    values = {
        name: value
        for name, value in claims.values.items()
        if len(name) <= _NAME_LENGTH and name not in identifiers
    }
    for name, one in stored.items():
        if not one.is_identifier and name not in values and name not in identifiers:
            session.delete(one)
    for name, value in {**identifiers, **values}.items():
        if name in stored:
            stored[name].value = value
            stored[name].is_identifier = name in identifiers
        else:
            session.add(
                IdentityValueRow(
                    identity_id=row.id, name=name, value=value, is_identifier=name in identifiers
                )
            )
    for kind, value in shown.items():  # what went over to this identity means the old one no more
        others = select(IdentityRow.id).where(
            IdentityRow.issuer == row.issuer, IdentityRow.id != row.id
        )
        session.execute(
            delete(IdentityValueRow)
            .where(
                IdentityValueRow.identity_id.in_(others),
                IdentityValueRow.is_identifier.is_(True),
                IdentityValueRow.name == kind,
                IdentityValueRow.value == value,
            )
            .execution_options(synchronize_session=False)
        )


def _owners(session: Session, wanted: linking.Wanted, *where: Any) -> set[int]:
    return set(
        session.scalars(
            select(IdentityRow.person_id)
            .join(IdentityValueRow, IdentityValueRow.identity_id == IdentityRow.id)
            .where(
                IdentityValueRow.name == wanted.name,
                IdentityValueRow.value.in_(wanted.values),
                *where,
            )
        )
    )


def _claim(
    session: Session, row: IdentityRow, role: Role, person: PersonRow, now: datetime
) -> None:
    if row.claimed_role == role:
        return
    audit(
        session, person.name, "role-claimed", person.name, now,
        provider=row.provider, role=role, before=row.claimed_role,
    )  # fmt: skip
    row.claimed_role, row.claimed_since = role, now


def _describe(session: Session, person: PersonRow, row: IdentityRow, now: datetime) -> None:
    """Name and address follow the sign-in; what a platform says yields to what others said."""
    person.signed_in_at = now
    if Door(row.door) in LTI_DOORS:
        other = select(IdentityRow.id).where(
            IdentityRow.person_id == person.id,
            IdentityRow.door.not_in([door.value for door in LTI_DOORS]),
        )
        if session.scalar(other.limit(1)) is not None:
            return
    person.display_name = row.display_name or person.display_name
    person.mail = row.mail or person.mail


def _display_name(claims: Claims) -> str:
    whole = claims.display_name or f"{claims.given_name} {claims.family_name}".strip()
    return whole[:255]


def _note_course(session: Session, course: Course, person: PersonRow, now: datetime) -> None:
    """Note the course that somebody came from, their role there, and what its activity opens."""
    platform = session.get_one(PlatformRow, course.platform)
    if platform.last_launch_at is None or platform.last_launch_at < now - timedelta(minutes=1):
        platform.last_launch_at = now
    course_id = courses.note_member(session, course, person.id, now)
    environment = course.join_key and session.scalar(
        select(JoinLinkRow.environment_id).where(
            JoinLinkRow.key == course.join_key,
            JoinLinkRow.revoked_at.is_(None),
            or_(JoinLinkRow.expires_at.is_(None), JoinLinkRow.expires_at > now),
        )
    )
    if environment:
        courses.attach(session, course_id, environment, person.name, now)


def _teaches(
    session: Session, platform: int, person: PersonRow, now: datetime, role_days: int
) -> bool:
    """Whether somebody teaches in a course of a platform, as their last launches there said."""
    session.flush()
    found = session.scalar(
        select(CourseRow.id)
        .join(CourseMemberRow, CourseMemberRow.course_id == CourseRow.id)
        .where(
            CourseRow.platform_id == platform,
            CourseMemberRow.person_id == person.id,
            CourseMemberRow.role == CourseRole.TEACHER,
            CourseMemberRow.launched_at > now - timedelta(days=role_days),
        )
        .limit(1)
    )
    return found is not None


def _locked_person(session: Session, person_id: int) -> PersonRow:
    """An account, or the one that it was joined to, held until this transaction ends."""
    row = session.scalars(
        select(PersonRow)
        .where(PersonRow.id == person_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    return _followed(session, row)


def _followed(session: Session, row: PersonRow) -> PersonRow:
    seen = {row.id}
    while row.joined_to_id is not None and row.joined_to_id not in seen:
        row = session.get_one(PersonRow, row.joined_to_id)
        seen.add(row.id)
    return row


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime(1, 1, 2, tzinfo=UTC)
