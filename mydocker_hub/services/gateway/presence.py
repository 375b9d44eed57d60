"""Tells the hub in which servers somebody is at work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import aiohttp
from jupyterhub.utils import url_path_join
from tornado.log import app_log
from yarl import URL

from ...domain.route import Route

_REPORT_SECONDS = 60.0
_TIMEOUT_SECONDS = 10.0


class Presence:
    """Remembers when somebody did something, and reports it with the server's own token.

    Every `seconds` there is one request to the hub for each server in which something was done;
    at once where `matters_now(user, server)`: it would be stopped otherwise.
    """

    def __init__(
        self,
        api_url: str,
        *,
        seconds: float = _REPORT_SECONDS,
        matters_now: Callable[[str, str], bool] = lambda user, server: False,
    ) -> None:
        self._api_url = api_url
        self._seconds = seconds
        self._matters_now = matters_now
        self._hurry = asyncio.Event()
        self._seen: dict[tuple[str, str], tuple[Route, datetime]] = {}

    def seen(self, route: Route) -> None:
        """Somebody does something, now."""
        self._seen[route.user, route.server] = (route, datetime.now(UTC))
        if self._matters_now(route.user, route.server):
            self._hurry.set()

    async def keep_reporting(self, session: aiohttp.ClientSession) -> None:
        """Report from time to time; runs until it is cancelled, and then once more."""
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), self._seconds)
                self._hurry.clear()
                await self.report(session)
        finally:
            await self.report(session)

    async def report(self, session: aiohttp.ClientSession) -> None:
        """Tell the hub. Where it does not answer, what is left is told the next time."""
        seen, self._seen = self._seen, {}
        while seen:
            key, (route, at) = next(iter(seen.items()))
            try:
                await self._tell(session, route, at)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                app_log.warning("activity of %s/%s: %r", route.user, route.server, error)
                self._seen = seen | self._seen
                return
            del seen[key]

    async def _tell(self, session: aiohttp.ClientSession, route: Route, at: datetime) -> None:
        url = url_path_join(self._api_url, "users", URL.build(path=route.user).raw_path, "activity")
        when = at.isoformat()
        async with session.post(
            URL(url, encoded=True),
            json={"servers": {route.server: {"last_activity": when}}, "last_activity": when},
            headers={"Authorization": f"token {route.token.get_secret_value()}"},
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
        ) as answer:
            if answer.status >= 500:
                answer.raise_for_status()
            elif answer.status >= 400:  # the server has ended, and its token with it
                app_log.info("activity of %s/%s: HTTP %d", route.user, route.server, answer.status)
