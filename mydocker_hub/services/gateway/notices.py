"""The stops that are announced: who comes back to such a server reads of it first, once.

And where somebody's coming back keeps it running, the hub is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime

from ...domain.environment import Model

KEPT = timedelta(minutes=3)
"""The culler says everything anew each minute: what it no longer says holds no more."""


class Announced(Model):
    """A server stops at `stops_at`, for the reason `code` (`domain.culling`)."""

    user: str
    server: str
    code: str
    stops_at: AwareDatetime

    @property
    def put_off_by_presence(self) -> bool:
        """Whether it goes on as soon as somebody does something in it."""
        return self.code in {"idle", "unanswered"}

    @property
    def key(self) -> str:
        """Tells one announcement from another, in a cookie."""
        return f"{self.code}-{self.stops_at:%Y%m%dT%H%M%S}"


class Announcements(Model):
    items: tuple[Announced, ...]


class Notices:
    """What the hub said last."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Announced] = {}
        self._said_at = datetime.min.replace(tzinfo=UTC)
        self._put_off: set[tuple[str, str, str]] = set()

    def replace(self, items: Iterable[Announced]) -> None:
        self._of = {(one.user, one.server): one for one in items}
        self._said_at = datetime.now(UTC)
        self._put_off &= {(one.user, one.server, one.key) for one in self._of.values()}

    def puts_off(self, user: str, server: str) -> bool:
        """Whether it matters that somebody does something now: once for each announcement."""
        found = self.find(user, server)
        if found is None or not found.put_off_by_presence:
            return False
        one = (user, server, found.key)
        if one in self._put_off:
            return False
        self._put_off.add(one)
        return True

    def find(self, user: str, server: str) -> Announced | None:
        """The stop that is to come, if one is announced."""
        now = datetime.now(UTC)
        found = self._of.get((user, server))
        old = now - self._said_at > KEPT
        return None if found is None or old or found.stops_at <= now else found
