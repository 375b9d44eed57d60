"""Attributes as OpenID Connect and CAS providers send them, in one shape.

A single value comes as a string or as a list of one; several as a list, or as one string with
commas or semicolons between them. What cannot be shown in a line is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .claims import Claims, Door
from .settings import CasProvider, OpenIdProvider

PRINCIPAL_NAME = "eduPersonPrincipalName"
_MOST_VALUES = 100


def is_line(text: object, most: int) -> bool:
    """Whether something is text of 1 to `most` characters, all of which can be seen."""
    return isinstance(text, str) and 0 < len(text) <= most and text.isprintable()


def one(value: Any, most: int = 255) -> str:
    """The only value there is; nothing where there are several, or what is no line of text."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    text = value.strip() if isinstance(value, str) else ""
    return text if is_line(text, most) else ""


def several(value: Any) -> tuple[str, ...]:
    """All values, each once, in their order. A string is never taken letter by letter."""
    items = value if isinstance(value, list | tuple) else [value]
    words: dict[str, None] = {}
    for item in items[:_MOST_VALUES]:
        for part in item[:10_000].replace(";", ",").split(",") if isinstance(item, str) else ():
            if is_line(part.strip(), 255):
                words[part.strip()] = None
    return tuple(words)[:_MOST_VALUES]


def claims_of(
    provider: OpenIdProvider | CasProvider,
    said: Mapping[str, Any],
    *,
    door: Door,
    issuer: str,
    identifier: tuple[str, str],
) -> Claims:
    """What a provider says of a person, by the names that the configuration gives."""
    names = provider.claims
    affiliations = {
        **dict.fromkeys(several(said.get(names.affiliations))),
        **dict.fromkeys(
            scoped.partition("@")[0]
            for scoped in several(said.get(names.scoped_affiliations))
            if not scoped.startswith("@")
        ),
    }
    principal = one(said.get(names.principal_name)).lower()
    return Claims(
        door=door,
        provider=provider.name,
        issuer=issuer,
        identifiers=(identifier,),
        display_name=one(said.get(names.display_name)),
        given_name=one(said.get(names.given_name)),
        family_name=one(said.get(names.family_name)),
        mail=one(said.get(names.mail)),
        institution=one(said.get(names.institution)),
        affiliations=tuple(affiliations)[:_MOST_VALUES],
        primary_affiliation=one(said.get(names.primary_affiliation)),
        values={PRINCIPAL_NAME: principal} if principal.count("@") == 1 else {},
    )
