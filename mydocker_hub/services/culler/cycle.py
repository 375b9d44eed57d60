"""The work of the culler: each minute, look at all servers, tell their people, stop some."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
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
from ...store.database import Database, Session
from ...store.lifetimes import Known, Told
from ...web.i18n import translator
from ...web.service import now
from .state import Settings

log = logging.getLogger(__name__)

AT_ONCE = 40
"""Stops at the same time: an engine that is asked for more takes longer for each."""

FIRM_AT_ONCE = 150
"""The same for what is firm: an exam ends for everybody, also for who has a container that takes
its time. Fewer than the requests that our client has room for."""

LATE_STARTS = timedelta(seconds=15)
"""How long after the end of an exam it is looked again for what was granted just before: the
catalogue's answer was on its way."""

_AGAIN_SECONDS = 2.0
_AT_LEAST_SECONDS = 0.1


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
        note = "" if self.known.recorded else " (not in the catalogue)"
        return f"{self.one.user}/{self.one.server}: {decision.action}{why}{note}"


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
        self._room, self._firm_room = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(FIRM_AT_ONCE)
        self._stopping: dict[_Key, asyncio.Task[None]] = {}
        self._announced: list[dict[str, Any]] | None = None
        # What was said of servers that the database does not know.
        self._told: dict[_Key, Notice | None] = {}
        self._session_ends: list[datetime] = []

    async def run(self) -> None:
        await self._wait_for_schema()
        try:
            while True:
                began = self._steady()
                try:
                    await self.cycle()
                except MydockerError as error:  # the hub or the database is away: nobody is stopped
                    log.warning("no look at the servers: %s", error)
                await asyncio.sleep(self._pause(self._steady() - began))
        finally:
            await self.close()

    def _pause(self, took: float) -> float:
        """Seconds until the next look: at the end of an exam, and for some seconds after it, or
        else as often as usual."""
        moment = self._now()
        pauses = [self._settings.seconds - took]
        for at in self._session_ends:
            if at > moment:
                pauses.append((at - moment).total_seconds())
            elif moment - at < LATE_STARTS:
                pauses.append(_AGAIN_SECONDS)
        return max(_AT_LEAST_SECONDS, min(pauses))

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
        running, self._session_ends = await self._database.read(
            self._read, [one.launch_id for one in ready.items], moment, ready.admins
        )
        looked_at = [one for one in ready.items if _key(one) not in self._stopping]
        known = {_key(one): self._known(one, running) for one in looked_at}
        self._told = {key: told for key, told in self._told.items() if key in known}
        return [self._judge(one, known[_key(one)], moment, hold) for one in looked_at]

    def _read(
        self, session: Session, launch_ids: list[int], moment: datetime, admins: Collection[str]
    ) -> tuple[dict[int, Known], list[datetime]]:
        settings = self._settings
        running = lifetimes.running(
            session,
            launch_ids,
            moment,
            limits=settings.limits,
            site=settings.site,
            unbound=admins,
        )
        soon = moment + timedelta(seconds=2 * settings.seconds)
        ends = lifetimes.session_ends(session, moment - LATE_STARTS, soon, site=settings.site)
        return running, ends

    def _known(self, one: ReadyServer, running: dict[int, Known]) -> Known:
        known = running.get(one.launch_id)
        if known is not None and known.is_of(one.user, one.server):
            return known
        known = lifetimes.unrecorded(one.launch_id, one.user, one.server, self._settings.limits)
        return replace(known, server=replace(known.server, notice=self._told.get(_key(one))))

    def _judge(self, one: ReadyServer, known: Known, moment: datetime, hold: Hold) -> Judged:
        server = replace(known.server, started=one.started, last_activity=one.last_activity)
        server = self._clocks.corrected_server(server)
        policy = known.policy if one.ready else culling.while_starting(known.policy)
        return Judged(one, known, culling.decide(policy, server, moment, hold))

    # --- telling people ---

    async def _tell(self, judged: Iterable[Judged]) -> None:
        told = []
        for item in judged:
            found = _to_tell(item, self._now())
            if found is not None and item.known.recorded:
                told.append(found)
            elif found is not None:
                self._told[_key(item.one)] = found.notice
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
            if one.decision.action in {Action.WARN, Action.ASK} and one.decision.at is not None
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
        key = _key(one.one)
        task = asyncio.create_task(self._stop(one))
        self._stopping[key] = task
        task.add_done_callback(lambda _: self._stopping.pop(key, None))

    async def _stop(self, judged: Judged) -> None:
        decision = judged.decision
        async with self._firm_room if decision.firm else self._room:
            log.info("%s", judged)
            params = worded(decision.params)
            try:
                await self._hub.cull(judged.one, decision.code, params, firm=decision.firm)
            except Conflict:
                log.info("%s/%s: not now after all", judged.one.user, judged.one.server)
            except MydockerError as error:
                log.warning("%s/%s: not stopped: %s", judged.one.user, judged.one.server, error)

    async def stopped(self) -> None:
        """Wait for the stops that are under way; for tests and measurements."""
        await asyncio.gather(*self._stopping.values())


_Key = tuple[str, str, int]


def _key(one: ReadyServer) -> _Key:
    return one.user, one.server, one.launch_id


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
