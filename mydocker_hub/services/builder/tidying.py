"""Notes which personal folders are left behind, and removes them by the operators' rule."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from ...domain.errors import MydockerError
from ...store import leftovers
from ...store.database import Database
from ...swarm.client import SwarmClient
from ...web.service import now
from .state import wait_for_schema

log = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0
ACTOR = "builder"


class Tidying:
    """Looks each hour until it is cancelled. Without `kept_for`, nothing is removed."""

    def __init__(
        self, database: Database, client: SwarmClient, hub: str, *, kept_for: timedelta | None
    ) -> None:
        self._database = database
        self._client = client
        self._hub = hub
        self._kept_for = kept_for

    async def run(self) -> None:
        await wait_for_schema(self._database)
        while True:
            try:
                await self.look()
            except MydockerError as error:  # the database or the engine is away
                log.warning("folders that were left behind: %s", error)
            except Exception:
                log.exception("folders that were left behind")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> list[str]:
        """One look; the volumes that were removed.

        What a container still holds stays until the next look. What is on another machine stays,
        since an engine removes its own volumes alone, and so does what is on storage for all.
        """
        left = await self._database.write(leftovers.note, self._hub, now())
        if self._kept_for is None or not left:
            return []
        node = await self._client.own_node()
        if not node:
            return []
        volumes = await self._database.read(
            leftovers.expired, self._hub, now(), self._kept_for, [node]
        )
        volumes = await self._client.on_own_disk(volumes)
        held = set(await self._client.remove_volumes(volumes))
        removed = [volume for volume in volumes if volume not in held]
        if removed:
            await self._database.write(leftovers.forget, removed, ACTOR, now())
            log.info("removed what nobody can come to: %s", ", ".join(removed))
        return removed
