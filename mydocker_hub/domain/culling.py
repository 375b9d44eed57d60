"""When a running server's time is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

REPORTING_DELAY = timedelta(minutes=5)
"""The hub hears of what a person does every five minutes (`last_activity_interval`, and
`JUPYTERHUB_ACTIVITY_INTERVAL` of a server): what it knows may be older than the truth by that."""


class Stop(NamedTuple):
    """Stop now; `code` is of `domain.errors`, `limit` is what was reached."""

    code: str
    limit: timedelta


def decide(
    *,
    idle_limit: timedelta | None,
    maximum: timedelta | None,
    started: datetime | None,
    last_activity: datetime | None,
    now: datetime,
) -> Stop | None:
    """Whether a server has to stop, or None while it may go on.

    Nobody is stopped for being idle whose last activity may not have been reported yet.
    """
    if maximum is not None and started is not None and now - started >= maximum:
        return Stop("time-over", maximum)
    seen = max((time for time in (started, last_activity) if time is not None), default=None)
    if idle_limit is not None and seen is not None:
        limit = max(idle_limit, 2 * REPORTING_DELAY)
        if now - seen >= limit:
            return Stop("idle", idle_limit)
    return None
