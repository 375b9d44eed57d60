"""Whether two sets of identifiers mean the same person. Nothing here knows of a mail address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ..domain.errors import Refused
from .claims import Claims, Door
from .platform import JoinRule

T = TypeVar("T")

Identifiers = Sequence[tuple[str, str]]
"""(kind, value), the strongest first, as in `Claims.identifiers`."""


class Match(StrEnum):
    SAME = "same"
    OTHER = "other"
    REASSIGNED = "reassigned"
    """A weak identifier went from one person to another, as the strong one shows."""


def family(door: Door) -> str:
    """Doors whose issuers are of one kind: one's `iss` says nothing about another's entityID."""
    return "lti" if door in {Door.LTI13, Door.LTI11} else door.value


def compare(stored: Mapping[str, str], shown: Identifiers) -> tuple[Match, int]:
    """Compare what is stored of an identity with what its issuer says now.

    The strongest kind that both have decides; the number is its place in `shown`.
    """
    common = [place for place, (kind, _) in enumerate(shown) if kind in stored]
    equal = [place for place in common if stored[shown[place][0]] == shown[place][1]]
    if not equal:
        return Match.OTHER, -1
    if equal[0] == common[0]:
        return Match.SAME, equal[0]
    return Match.REASSIGNED, common[0]


def find(
    candidates: Sequence[tuple[T, Mapping[str, str]]], shown: Identifiers, *, provider: str = ""
) -> T | None:
    """Which of the stored identities of this issuer it is; None for a new one.

    Raises `Refused` where an identifier belonged to somebody else, or means two people.
    """
    same: list[tuple[int, T]] = []
    reassigned = False
    for candidate, stored in candidates:
        match, place = compare(stored, shown)
        if match is Match.SAME:
            same.append((place, candidate))
        reassigned = reassigned or match is Match.REASSIGNED
    if same:
        best = min(place for place, _ in same)
        found = [candidate for place, candidate in same if place == best]
        if len(found) == 1:
            return found[0]
        raise Refused(
            "sign-in-identifier-reassigned", provider=provider, log_detail="two identities match"
        )
    if reassigned:
        raise Refused("sign-in-identifier-reassigned", provider=provider)
    return None


class Wanted(NamedTuple):
    """Whom a rule joins a new identity to: who has one of these values under this name."""

    name: str
    values: tuple[str, ...]


def known_values(claims: Claims) -> dict[str, str]:
    """Every value of a sign-in by its name, identifiers included."""
    return {**claims.values, **dict(claims.identifiers)}


def wanted_of_institution(rule: JoinRule, claims: Claims) -> Wanted | None:
    """For somebody of the platform: whom to look for among the people of `rule.issuer`."""
    value = known_values(claims).get(rule.claim, "")
    if not value:
        return None
    local, at, scope = value.rpartition("@")
    if not rule.scope:
        return Wanted(rule.attribute, (value,))
    if not at:
        return Wanted(rule.attribute, (f"{value}@{rule.scope.lower()}",))
    if not local or scope.lower() != rule.scope.lower():
        return None  # of another institution: joins nobody
    return Wanted(rule.attribute, (f"{local}@{scope.lower()}",))


def wanted_of_platform(rule: JoinRule, claims: Claims) -> Wanted | None:
    """For somebody of the institution: whom to look for among the people of the platform."""
    if claims.issuer != rule.issuer or claims.door in {Door.LTI13, Door.LTI11}:
        return None
    value = known_values(claims).get(rule.attribute, "")
    if not value:
        return None
    if not rule.scope:
        return Wanted(rule.claim, (value,))
    local, _, scope = value.rpartition("@")
    if not local or scope.lower() != rule.scope.lower():
        return None
    return Wanted(rule.claim, (f"{local}@{scope.lower()}", local))
