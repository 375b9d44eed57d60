"""The hub's records of servers: made before a class comes, forgotten with their environment."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from ...domain.errors import MydockerError
from ...hubapi import RECORDS_AT_ONCE, HubServers
from ...store import arrivals, leftovers
from ...store.arrivals import Arrival
from ...store.database import Database
from ...web.service import now

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
FORGET_SECONDS = 3600.0
_PAUSE_SECONDS = 0.1  # between two requests: whoever clicks goes first


class Records:
    """Looks each minute until it is cancelled, for sessions that begin within `before`.

    With no time at all, none are made. Those of environments that are deleted are forgotten within
    an hour, whatever `before` is.
    """

    def __init__(self, database: Database, hub: HubServers, *, before: timedelta) -> None:
        self._database = database
        self._hub = hub
        self._before = before
        self._asked: set[tuple[str, str]] = set()
        self._forgot = time.monotonic()  # the hub may be starting; nothing hurries

    async def run(self) -> None:
        while True:
            try:
                if self._before:
                    await self.make()
                if time.monotonic() > self._forgot + FORGET_SECONDS:
                    self._forgot = time.monotonic()
                    await self.forget()
            except MydockerError as error:  # the database or the hub is away
                log.warning("records of servers: %s", error)
            except Exception:
                log.exception("records of servers")
            await asyncio.sleep(LOOK_SECONDS)

    async def make(self) -> int:
        """How many records were made. What the hub was asked for is not asked again."""
        found = await self._database.read(arrivals.arrivals, now(), self._before)
        self._asked &= {_key(one) for one in found}
        waiting = [one for one in found if _key(one) not in self._asked]
        made = 0
        for first in range(0, len(waiting), RECORDS_AT_ONCE):
            batch = waiting[first : first + RECORDS_AT_ONCE]
            made += await self._hub.make_records(
                [(one.user, one.server, one.title.in_("fr")) for one in batch]
            )
            self._asked.update(map(_key, batch))
            await asyncio.sleep(_PAUSE_SECONDS)
        if made:
            log.info("the hub has %d records of servers more, for sessions that are near", made)
        return made

    async def forget(self) -> int:
        """How many records were removed, of servers whose environment is deleted.

        Nobody can come back to them: files are in folders, and what was made again is none of them.
        """
        servers = await self._database.read(leftovers.deleted)
        removed = 0
        for first in range(0, len(servers), RECORDS_AT_ONCE):
            batch = servers[first : first + RECORDS_AT_ONCE]
            while some := await self._hub.forget_records(batch):
                removed += some
                await asyncio.sleep(_PAUSE_SECONDS)
        if removed:
            log.info("the hub has forgotten %d servers of deleted environments", removed)
        return removed


def _key(one: Arrival) -> tuple[str, str]:
    return one.user, one.server
