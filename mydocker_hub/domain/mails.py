"""Who is told by e-mail of what happens to a session, and what.

Administrators are told of what waits for them; the people who maintain an environment of what
others did to its sessions. Nobody is told of their own click. Students are not told: their calendar
shows what changed, and a mail to each of three hundred would be one too many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from .calendar import SessionState

PAUSES = tuple(timedelta(minutes=one) for one in (1, 5, 15, 60))
"""How long to wait after each try that failed; the last one again and again."""
GIVEN_UP_AFTER = timedelta(days=1)


class Kind(StrEnum):
    """What a mail says."""

    REQUESTED = "session-requested"
    APPROVED = "session-approved"
    REFUSED = "session-refused"
    CHANGED = "session-changed"
    CANCELLED = "session-cancelled"


class Told(NamedTuple):
    """What each side is told, if anything."""

    administrators: Kind | None = None
    maintainers: Kind | None = None


class Concerned(NamedTuple):
    """Somebody who may be told: by user name, and on which sides they are."""

    name: str
    administers: bool = False
    maintains: bool = False


NOTHING = Told()


def told(
    before: SessionState | None, after: SessionState, *, changed: bool, decided: bool = False
) -> Told:
    """What is told when a session goes from one state to another; `before` is None for a new one.

    `changed` is whether it is now something else than it was, `decided` whether an administrator
    answered the request. A request that is changed while it waits is not sent to administrators
    again: they have one mail of it, and read on its page what it asks for now.
    """
    if after in {SessionState.CANCELLED, SessionState.WITHDRAWN}:
        took_place = before in {SessionState.APPROVED, SessionState.REQUESTED}
        return Told(maintainers=Kind.CANCELLED) if took_place else NOTHING
    if decided:
        approved = after is SessionState.APPROVED
        return Told(maintainers=Kind.APPROVED if approved else Kind.REFUSED)
    waits = after is SessionState.REQUESTED and before is not SessionState.REQUESTED
    other = before is not None and (changed or before is not after)
    return Told(Kind.REQUESTED if waits else None, Kind.CHANGED if other else None)


def recipients(what: Told, people: Iterable[Concerned], actor: str) -> dict[str, Kind]:
    """Who gets which mail: at most one each, and none for whoever did it."""
    found = {}
    for one in people:
        kind = (one.administers and what.administrators) or (one.maintains and what.maintainers)
        if kind and one.name != actor:
            found[one.name] = kind
    return found


def next_try(made_at: datetime, tries: int, now: datetime) -> datetime | None:
    """When a mail that was not taken is tried again, after so many tries; None: no more."""
    if now >= made_at + GIVEN_UP_AFTER:
        return None
    return now + PAUSES[min(max(tries, 1), len(PAUSES)) - 1]


_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")


def is_address(text: str) -> bool:
    """Whether mail can be sent there: a plain address (RFC 5321 §4.1.2), and nothing beside it."""
    return _ADDRESS.fullmatch(text) is not None and ".." not in text


def one_line(text: str) -> str:
    """A text of somebody's for a header or a line: without breaks and what cannot be seen."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
