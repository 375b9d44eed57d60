"""What the configuration decides of somebody, and by which of its lines: for `whoami-test`."""

from __future__ import annotations

from collections.abc import Iterator

from .claims import Claims
from .roles import (
    FEDERATION,
    LTI_DOORS,
    affiliations,
    institutions,
    is_administrator,
    rule,
)
from .settings import SignInSettings


def explain(claims: Claims, settings: SignInSettings) -> Iterator[str]:
    """Line after line, in English. Raises `Refused` where the person would be refused."""
    yield f"door: {claims.door} ({claims.provider}), issuer {claims.issuer}"
    yield "identifiers, the strongest first:"
    for kind, value in claims.identifiers:
        yield f"  {kind}: {value}"
    others = {name: value for name, value in claims.values.items() if (name, value)
              not in claims.identifiers}  # fmt: skip
    if others:
        yield "other values, for the rules of platforms:"
        for name, value in sorted(others.items()):
            yield f"  {name}: {value}"
    if claims.door not in LTI_DOORS:
        listed = ", ".join(sorted(affiliations(claims))) or "none"
        yield f"affiliations: {listed}; the primary one: {claims.primary_affiliation or 'none'}"
    if claims.provider == FEDERATION and settings.federation is not None:
        found = institutions(claims, settings)
        for line in found:
            yield (
                f"institution: the line of {line.entity_id or line.scope} speaks of it "
                f"({'may enter' if line.allow else 'may not enter'}, at most {line.highest_role}"
                f"{', with a table of its own' if line.roles else ''})"
            )
        if not found:
            may = "may" if settings.federation.others_may_enter else "may not"
            yield f"institution: no line speaks of it; others {may} enter"
    ruling = rule(claims, settings)
    yield f"role: {ruling.role}, because: {ruling.because}"
    named = "yes" if is_administrator(claims, settings) else "no"
    yield f"named as administrator in the configuration: {named}"
