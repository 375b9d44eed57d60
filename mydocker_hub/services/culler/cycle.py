"""The work of the culler: each minute, look at all servers, tell their people, stop some."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ...domain import culling
from ...domain.culling import Action, Clock, Decision, Hold, Notice
from ...domain.environment import LANGUAGES
from ...domain.errors import Conflict, MydockerError
from ...hubapi import HubCuller, ReadyServer
from ...store import lifetimes
from ...store.database import Database
from ...store.lifetimes import Known, Told
from ...web.i18n import translator
from ...web.service import now
from .state import Settings

log = logging.getLogger(__name__)

AT_ONCE = 40
"""Stops at the same time: an engine that is asked for more takes longer for each."""

ANNOUNCED = {"time-over", "exam-over"}
"""What somebody should read who comes back to a server: it comes though they are there."""


@dataclass(frozen=True)
class Judged:
    """A server, and what is to be done about it."""

    one: ReadyServer
    known: Known
    decision: Decision

    def __str__(self) -> str:
        decision = self.decision
        when = f", {decision.at:%Y-%m-%d %H:%M:%S}" if decision.at else ""
        why = f": {decision.code}{when}" if decision.code else ""
        return f"{self.one.user}/{self.one.server}: {decision.action}{why}"


class Culler:
    """Works until it is cancelled. What it cannot learn or say now, it tries in the next cycle.

    `clock` and `steady` are for tests: the clock of the day, and one that only counts seconds.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        hub: HubCuller | None = None,
        *,
        clock: Callable[[], datetime] = now,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._hub = hub or HubCuller(settings.hub_api_url, settings.token)
        self._now, self._steady = clock, steady
        self._clocks = Clock(clock(), steady())
        self._room = asyncio.Semaphore(AT_ONCE)
        self._stopping: dict[int, asyncio.Task[None]] = {}
        self._announced: list[dict[str, Any]] | None = None

    async def run(self) -> None:
        await self._wait_for_schema()
        try:
            while True:
                began = self._steady()
                try:
                    await self.cycle()
                except MydockerError as error:  # the hub or the database is away: nobody is stopped
                    log.warning("no look at the servers: %s", error)
                await asyncio.sleep(max(0.0, self._settings.seconds - (self._steady() - began)))
        finally:
            await self.close()

    async def close(self) -> None:
        """Stops that were asked for are the hub's by now."""
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)

    async def _wait_for_schema(self) -> None:
        """The catalogue brings the database to this release's schema."""
        while True:
            with suppress(MydockerError):
                if await asyncio.to_thread(self._database.is_current):
                    return
            await asyncio.sleep(1)

    async def cycle(self) -> list[Judged]:
        """Look once, and do what is decided. What is to stop may still be on its way after."""
        judged = await self.look()
        await self._tell(judged)
        for one in judged:
            if one.decision.action is Action.STOP:
                self._begin_stop(one)
        await self._announce(judged)
        return judged

    async def look(self) -> list[Judged]:
        """Decide about every server that runs, and change nothing."""
        moment = self._now()
        self._clocks = self._clocks.step(moment, self._steady())
        ready = await self._hub.ready()
        hold = self._clocks.hold(ready.hub_runs)
        if hold is Hold.CLOCK_JUMPED and self._clocks.jumped_at == self._clocks.seconds:
            log.warning("the clock jumped: nobody is stopped for %s", culling.SETTLING)
        known = await self._database.read(
            lifetimes.running,
            [one.launch_id for one in ready.items],
            moment,
            limits=self._settings.limits,
            site=self._settings.site,
            unbound=ready.admins,
        )
        return [
            self._judge(one, known[one.launch_id], moment, hold)
            for one in ready.items
            if one.launch_id in known and one.launch_id not in self._stopping
        ]

    def _judge(self, one: ReadyServer, known: Known, moment: datetime, hold: Hold) -> Judged:
        server = replace(known.server, started=one.started, last_activity=one.last_activity)
        server = self._clocks.corrected_server(server)
        return Judged(one, known, culling.decide(known.policy, server, moment, hold))

    # --- telling people ---

    async def _tell(self, judged: Iterable[Judged]) -> None:
        told = [one for item in judged if (one := _to_tell(item, self._now())) is not None]
        if told:
            await self._database.write(lifetimes.tell, told)

    async def _announce(self, judged: Iterable[Judged]) -> None:
        """Have the gateway know what to say to those who come back; again after any failure."""
        notices = [
            {
                "user": one.one.user,
                "server": one.one.server,
                "code": one.decision.code,
                "stops_at": one.decision.at.isoformat(),
            }
            for one in judged
            if one.decision.action is Action.WARN
            and one.decision.code in ANNOUNCED
            and one.decision.at is not None
        ]
        if not notices and not self._announced:
            return
        self._announced = notices  # what is announced is said each time: the gateway may be new
        try:
            await self._hub.announce(notices)
        except MydockerError as error:
            log.warning("announced stops: %s", error)

    # --- stopping ---

    def _begin_stop(self, one: Judged) -> None:
        launch_id = one.one.launch_id
        task = asyncio.create_task(self._stop(one))
        self._stopping[launch_id] = task
        task.add_done_callback(lambda _: self._stopping.pop(launch_id, None))

    async def _stop(self, judged: Judged) -> None:
        async with self._room:
            log.info("%s", judged)
            decision = judged.decision
            try:
                await self._hub.cull(judged.one, decision.code, worded(decision.params))
            except Conflict:
                log.info("%s/%s: not now after all", judged.one.user, judged.one.server)
            except MydockerError as error:
                log.warning("%s/%s: not stopped: %s", judged.one.user, judged.one.server, error)

    async def stopped(self) -> None:
        """Wait for the stops that are under way; for tests and measurements."""
        await asyncio.gather(*self._stopping.values())


def _to_tell(judged: Judged, moment: datetime) -> Told | None:
    """What is to be noted of a decision; None where it is noted so already."""
    decision, notice = judged.decision, judged.known.server.notice
    wanted = notice
    if decision.action in {Action.WARN, Action.ASK} and decision.at is not None:
        same = notice and (notice.code, notice.stops_at) == (decision.code, decision.at)
        wanted = notice if same else Notice(decision.code, moment, decision.at)
    elif decision.action is Action.KEEP:
        wanted = None
    if wanted == notice and decision.used_at is None:
        return None
    if wanted != notice and wanted is not None:
        log.info("%s", judged)
    return Told(judged.one.launch_id, wanted, decision.used_at)


def worded(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a sentence as JSON; durations in words, of each language."""

    def word(value: Any) -> Any:
        if isinstance(value, timedelta):
            return {language: translator(language).duration(value) for language in LANGUAGES}
        return value.isoformat() if isinstance(value, datetime) else value

    return {name: word(value) for name, value in params.items()}
