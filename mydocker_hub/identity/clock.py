"""Times of messages, and whose clock is off. Pure: `now` is a parameter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..domain.environment import Text
from ..domain.errors import Refused

_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,12})?(?:Z|[+-]\d{2}:\d{2})?", re.ASCII
)


def instant(text: str) -> datetime | None:
    """An xs:dateTime as an aware instant, or None. Without a zone it is UTC (SAML Core §1.3.3)."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Times:
    """When a message was issued, by its issuer's clock, and from when until when it is good."""

    issued: datetime
    not_before: datetime | None
    not_on_or_after: datetime

    @property
    def make_sense(self) -> bool:
        return self.not_before is None or self.not_before < self.not_on_or_after


def check(
    times: Times,
    *,
    now: datetime,
    tolerance: timedelta,
    provider: Text | str,
    asked: datetime | None = None,
) -> timedelta:
    """How far the issuer's clock is ahead of ours, where the message is good.

    A message takes no time worth speaking of from its issuer to us, so that `issued` against `now`
    tells the clocks apart. The exception is a page that was left open: the message was made after
    we asked for it (`asked`), and came late. That decides the words alone.

    Raises `Refused`: `sign-in-clock`, or `sign-in-message-expired` for the page left open.
    """
    ahead = times.issued - now
    early = ahead > tolerance or (
        times.not_before is not None and times.not_before - now > tolerance
    )
    late = now - times.not_on_or_after >= tolerance
    if not early and not late:
        return ahead
    left_open = asked is not None and times.issued >= asked - tolerance
    if not early and (left_open or abs(ahead) <= tolerance):
        raise Refused("sign-in-message-expired", provider=provider, log_detail=f"skew {ahead}")
    raise Refused(
        "sign-in-clock",
        provider=provider,
        ours=now,
        theirs=times.issued,
        difference=abs(ahead),
        log_detail=f"skew {ahead}, good from {times.not_before} to {times.not_on_or_after}",
    )
