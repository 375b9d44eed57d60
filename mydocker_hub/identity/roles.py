"""From what a door says to a role: the tables of affiliations, and an administrator's word.

Who is an administrator is said by the configuration or by another administrator, never by an
attribute, and never of who comes from an LTI platform: a platform's own administrators can sign in
as anybody there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ..domain.errors import Refused
from ..domain.people import Role
from .claims import Claims, Course, Door, SignIn, Spent
from .settings import Institution, RoleTable, SignInSettings

FEDERATION = "federation"
LTI_DOORS = frozenset({Door.LTI13, Door.LTI11})

_ORDER = (Role.STUDENT, Role.TEACHER, Role.ADMIN)
_SAYS_NOTHING = "member"  # of whom: students and staff are members alike (eduPerson §2.2.1)


def sign_in_for(
    claims: Claims,
    settings: SignInSettings,
    *,
    spent: Sequence[Spent] = (),
    course: Course | None = None,
) -> SignIn:
    """What the catalogue is asked for somebody who passed a door.

    From an LTI platform everybody is a student here: the catalogue knows whether the platform's
    teachers are ours. Raises `Refused` where the institution or the affiliation may not enter.
    """
    ruling = rule(claims, settings)
    return SignIn(
        claims=claims,
        role=ruling.role,
        admin=is_administrator(claims, settings),
        spent=tuple(spent),
        course=course,
    )


class Ruling(NamedTuple):
    """The role that attributes give, and why, in English for the operator."""

    role: Role
    because: str


def rule(claims: Claims, settings: SignInSettings) -> Ruling:
    """The role that a door's attributes give. Raises `Refused`."""
    if claims.door in LTI_DOORS:
        return Ruling(Role.STUDENT, "a platform's roles hold in its courses alone")
    found = institutions(claims, settings)
    check_institution(claims, settings, found)
    table, highest = _limits(claims, settings, found)
    ruling = by_table(affiliations(claims), plain(claims.primary_affiliation), table)
    if ruling is None:
        raise Refused(
            "sign-in-affiliation-refused",
            provider=claims.institution or claims.provider,
            affiliations=", ".join(sorted(affiliations(claims))),
        )
    if _ORDER.index(ruling.role) > _ORDER.index(highest):
        return Ruling(highest, f"{ruling.because}; {highest} is the highest role for this door")
    return ruling


def institutions(claims: Claims, settings: SignInSettings) -> list[Institution]:
    """The lines of the configuration that speak of a person's institution."""
    if claims.provider != FEDERATION or settings.federation is None:
        return []
    scopes = _scopes(claims)
    return [
        institution
        for institution in settings.federation.institutions
        if institution.entity_id == claims.issuer
        or (institution.scope and institution.scope.lower() in scopes)
    ]


def check_institution(
    claims: Claims, settings: SignInSettings, found: Sequence[Institution]
) -> None:
    """Whether the institution may enter. Raises `Refused`; one line that says no is enough."""
    if claims.provider != FEDERATION or settings.federation is None:
        return
    may = all(line.allow for line in found) if found else settings.federation.others_may_enter
    if not may:
        raise Refused("sign-in-institution-refused", provider=claims.institution or claims.issuer)


def affiliations(claims: Claims) -> frozenset[str]:
    """All affiliations of a person, without scope, in lower case."""
    found = {plain(one) for one in (*claims.affiliations, claims.primary_affiliation)}
    return frozenset(found - {""})


def plain(affiliation: str) -> str:
    """`Staff@univ.example` as the tables name it: `staff`."""
    return affiliation.partition("@")[0].strip().lower()


def by_table(found: frozenset[str], primary: str, table: RoleTable) -> Ruling | None:
    """What a table says of affiliations; None where they keep somebody out."""
    teacher, student = found & table.teacher, found & table.student
    if found & table.refuse and not (teacher | student) - table.refuse - {_SAYS_NOTHING}:
        return None
    if not teacher:
        if student:
            return Ruling(Role.STUDENT, _listed("student", student))
        return Ruling(Role.STUDENT, "no affiliation that the table knows: student")
    if table.primary_decides and student:
        if primary in table.teacher:
            return Ruling(Role.TEACHER, f"the primary affiliation is {primary}")
        if primary in table.student and primary != _SAYS_NOTHING:
            return Ruling(Role.STUDENT, f"the primary affiliation is {primary}")
        if "student" in student:
            return Ruling(Role.STUDENT, "teacher and student, and no primary affiliation decides")
    return Ruling(Role.TEACHER, _listed("teacher", teacher))


def is_administrator(claims: Claims, settings: SignInSettings) -> bool:
    """Whether the configuration names this very identity as an administrator.

    Only by what its issuer vouches for: in a federation anybody's provider may say any `uid`.
    """
    if claims.door in LTI_DOORS:
        return False
    known = {value for _, value in claims.identifiers}
    if claims.door is not Door.SAML:  # there it is an identifier, and its scope was checked
        known.add(claims.values.get("eduPersonPrincipalName", ""))
    return any(
        administrator.provider == claims.provider
        and bool({administrator.identifier, _as_compared(administrator.identifier)} & known)
        for administrator in settings.administrators
    )


def _as_compared(identifier: str) -> str:
    return identifier.lower() if "@" in identifier else identifier  # scoped: lower case in Claims


def _listed(role: str, found: frozenset[str]) -> str:
    return f"the table makes a {role} of: {', '.join(sorted(found))}"


def _scopes(claims: Claims) -> set[str]:
    scoped = [value for _, value in claims.identifiers]
    scoped += [*claims.affiliations, claims.primary_affiliation]
    return {value.rpartition("@")[2].lower() for value in scoped if "@" in value}


def _limits(
    claims: Claims, settings: SignInSettings, found: Sequence[Institution]
) -> tuple[RoleTable, Role]:
    if found:
        tables = [line.roles for line in found if line.roles is not None]
        highest = min((line.highest_role for line in found), key=_ORDER.index)
        return (tables[0] if tables else settings.roles), highest
    for provider in (*settings.openid, *settings.cas):
        if provider.name == claims.provider:
            return provider.roles or settings.roles, provider.highest_role
    return settings.roles, Role.TEACHER


# --- what somebody may do now --------------------------------------------------------------------


class Origin(StrEnum):
    """Where a role comes from."""

    EVERYBODY = "everybody"
    CLAIMED = "claimed"  # a door said so at the last sign-in
    DECIDED = "decided"  # an administrator said so
    CONFIGURED = "configured"


@dataclass(frozen=True)
class Claimed:
    """What one identity gives: its role, since when, and its last sign-in."""

    role: Role
    since: datetime
    signed_in_at: datetime
    configured_admin: bool = False
    from_platform: bool = False


@dataclass(frozen=True)
class Decision:
    """An administrator's word on a role, until when it holds (None: until another one)."""

    role: Role
    granted: bool
    decided_at: datetime
    until: datetime | None = None


class Held(NamedTuple):
    """A role that somebody has; `since` is None for what everybody has."""

    role: Role
    origin: Origin
    since: datetime | None


def effective_roles(
    claimed: Iterable[Claimed],
    decisions: Iterable[Decision],
    now: datetime,
    *,
    role_days: int = 180,
) -> list[Held]:
    """The roles that somebody has now, each once, and why.

    What a door said ends `role_days` after that identity's last sign-in. The newest decision on a
    role wins over it, in both directions, while it holds.
    """
    fresh = [one for one in claimed if now < one.signed_in_at + timedelta(days=role_days)]
    newest: dict[Role, Decision] = {}
    for decision in sorted(decisions, key=lambda one: one.decided_at):
        newest[decision.role] = decision
    held = [Held(Role.STUDENT, Origin.EVERYBODY, None)]
    for role in (Role.TEACHER, Role.ADMIN):
        if role is Role.ADMIN and any(one.from_platform for one in claimed):
            continue
        decision_now = newest.get(role)
        if decision_now and (decision_now.until is None or now < decision_now.until):
            if decision_now.granted:
                held.append(Held(role, Origin.DECIDED, decision_now.decided_at))
            continue
        if role is Role.ADMIN:
            since = [one.since for one in fresh if one.configured_admin]
            origin = Origin.CONFIGURED
        else:
            since = [one.since for one in fresh if one.role is Role.TEACHER]
            origin = Origin.CLAIMED
        if since:
            held.append(Held(role, origin, min(since)))
    return held
