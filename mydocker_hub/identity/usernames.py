"""User names: short, readable, stable, and nothing that somebody could choose to pass for another.

They are made once, of the name that a door gave, and stay when that name changes. Nothing depends
on what they say: which account is whose is a matter of identifiers (`identity.linking`).
"""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 40
FALLBACK = "person"

RESERVED = frozenset(
    {
        *("admin", "administrator", "administrateur", "root", "hub", "jupyterhub", "system"),
        *("systeme", "support", "help", "jovyan", "mydocker", "mydocker-hub", "catalogue"),
        *("gateway", "culler", "builder", "service", "services", "user", "users", "guest"),
        *("anonymous", "nobody", "none", "null", "me", "self", "api", "postmaster", "webmaster"),
        # the demonstration's and the tests' people
        *("alice", "bob", "carol", "dan", "erin", "frank", "grace", "heidi", "zoe"),
    }
)
"""What nobody may be called: it means a part of the service, or somebody of the demonstration."""

_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)
_APOSTROPHES = re.compile("['’‘ʼ`´]")


def base_name(given: str, family: str, display: str = "") -> str:
    """`first.last` in ASCII, `[a-z0-9][a-z0-9.-]*`, 1 to 40 characters; `person` for no name.

    Without given and family name, the display name is split at its first space; “Last, First” is
    understood.
    """
    if not (_fold(given) or _fold(family)):
        given, family = _split(display)
    first, last = _fold(given), _fold(family)
    name = ".".join(part for part in (first, last) if part)
    if len(name) > MAX_LENGTH:
        first = first[: MAX_LENGTH // 2].strip("-")
        name = ".".join(part for part in (first, last) if part)[:MAX_LENGTH].strip(".-")
    if not name:
        return FALLBACK
    return f"{FALLBACK}.{name}" if name in RESERVED else name


def numbered(base: str, number: int) -> str:
    """The name of the `number`-th person of this name: `first.last`, then `first.last-2`."""
    return base if number == 1 else f"{base}-{number}"


def _split(display: str) -> tuple[str, str]:
    family, comma, given = display.partition(",")
    if comma and _fold(given):
        return given, family
    given, _, family = display.strip().partition(" ")
    return given, family


def _fold(text: str) -> str:
    """One part of a name: lower-case ASCII letters and digits, with - between its words."""
    text = _APOSTROPHES.sub("", text.casefold()).translate(_LETTERS)
    text = unicodedata.normalize("NFKD", text).casefold().translate(_LETTERS)
    plain = "".join(char for char in text if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
