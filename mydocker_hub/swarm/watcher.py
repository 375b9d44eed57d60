"""One view of all servers of a hub.

Swarm sends no events about tasks (moby #37403), so somebody has to ask. Here one loop asks for all:
a tick is one call however many servers there are, quick while something starts, slow otherwise.
Events of the containers on the engine's own node make it look again at once; containers elsewhere
are seen by the next tick. Spawners read memory. When the engine does not answer, the last view
stands: what is unknown is alive, since taking a running server for dead would throw its person out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from ..domain.errors import MydockerError, Unavailable
from .client import SwarmClient
from .tasks import Task, newest

log = logging.getLogger(__name__)

QUICKEST_SECONDS = 0.03
QUICK_SECONDS = 0.25
SLOW_SECONDS = 5.0
LONGEST_REST_SECONDS = 0.5
STIRRED_SECONDS = 1.0  # Swarm notes what a container does a tenth of a second later, or two
SWEEP_AFTER = timedelta(minutes=2)
SWEEP_EVERY_SECONDS = 60.0
TRIAL_KEPT = timedelta(minutes=30)  # longer than any start, in which nothing holds a new volume
SILENCE_SECONDS = 30.0  # an engine that restarts, or a Swarm that elects a leader, needs less
_GONE_AFTER_SECONDS = 3.0  # a service that was just made may have no task for a moment


def pause(*, busy: bool, call_seconds: float, still_seconds: float) -> tuple[float, float]:
    """Seconds from one tick to the next: at least, and at most where nothing asks for one before.

    `busy` says that somebody waits for news, `call_seconds` how long the last call took, and
    `still_seconds` for how long nothing has changed.
    """
    # An engine that answers slowly has work to do: half of the time it is left alone.
    at_least = min(max(QUICKEST_SECONDS, call_seconds), LONGEST_REST_SECONDS)
    if not busy:
        return at_least, max(at_least, SLOW_SECONDS)
    # What has not changed for a second need not be noticed within an eighth of that.
    return at_least, max(at_least, min(still_seconds / 8, QUICK_SECONDS))


class Watcher:
    """The newest task of every Swarm service of a hub, as of the last tick.

    `on_out_of_memory` is called with a Swarm service's id when the kernel ended a process of it.
    """

    def __init__(
        self,
        client: SwarmClient,
        hub: str,
        *,
        on_out_of_memory: Callable[[str], None] = lambda service_id: None,
    ) -> None:
        self.client = client
        self.hub = hub
        self._tasks: dict[str, Task] = {}
        self._asked_at = -1.0  # loop time at which the view's call was sent
        self._changed_at = self._stirred_at = -STIRRED_SECONDS  # loop times
        self._ticked = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._quick = 0
        self._claims: dict[str, float] = {}  # service id -> loop time of the claim
        self._creating: set[str] = set()  # names of services on their way
        self._out_of_memory: set[str] = set()
        self._on_out_of_memory = on_out_of_memory
        self._loop_task: asyncio.Task[None] | None = None
        self.ticks = 0

    def start(self) -> None:
        """Begin to watch; a second time changes nothing."""
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run())
            threading.Thread(
                target=self._listen,
                args=(asyncio.get_running_loop(),),
                name="docker-events",
                daemon=True,
            ).start()

    async def stop(self) -> None:
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)

    # --- whose is what ---------------------------------------------------------------------------

    def claim(self, service_id: str) -> None:
        """Say that a Swarm service has a spawner: the sweep leaves it alone."""
        self._claims.setdefault(service_id, asyncio.get_running_loop().time())

    def release(self, service_id: str) -> None:
        self._claims.pop(service_id, None)
        self._out_of_memory.discard(service_id)

    @contextmanager
    def creating(self, name: str) -> Any:
        """While a Swarm service of this name is being made, before its id is known."""
        self._creating.add(name)
        try:
            yield
        finally:
            self._creating.discard(name)

    # --- what is known ---------------------------------------------------------------------------

    def task(self, service_id: str) -> Task | None:
        """The newest task as last seen."""
        return self._tasks.get(service_id)

    def is_gone(self, service_id: str) -> bool:
        """Whether a Swarm service that we claimed has certainly no task any more."""
        claimed_at = self._claims.get(service_id)
        return (
            claimed_at is not None
            and service_id not in self._tasks
            and self._asked_at > claimed_at + _GONE_AFTER_SECONDS
        )

    def was_out_of_memory(self, service_id: str) -> bool:
        return service_id in self._out_of_memory

    async def follow(self, service_id: str) -> AsyncIterator[Task | None]:
        """The task of a Swarm service at each tick from now on; quick ticks meanwhile.

        Raises `Unavailable` where the engine says nothing for `SILENCE_SECONDS`.
        """
        with self._quickly():
            seen = asyncio.get_running_loop().time()

            def is_news() -> bool:
                return self._asked_at > seen

            while True:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS), self._ticked:
                        await self._ticked.wait_for(is_news)
                        seen = self._asked_at
                except TimeoutError as error:
                    raise Unavailable("engine-unavailable", log_detail="no news") from error
                yield self._tasks.get(service_id)

    async def gone(self, service_id: str) -> None:
        """Wait until nothing of a removed Swarm service runs any more."""
        async for task in self.follow(service_id):
            if task is None or task.state not in {"running", "starting", "ready", "preparing"}:
                return
            if task.desired in {"shutdown", "remove"} and task.error:
                return

    # --- how it is known -------------------------------------------------------------------------

    @contextmanager
    def _quickly(self) -> Any:
        self._quick += 1
        self._changed_at = asyncio.get_running_loop().time()
        self._wanted.set()
        try:
            yield
        finally:
            self._quick -= 1

    async def _run(self) -> None:
        failing = False
        loop = asyncio.get_running_loop()
        next_sweep = loop.time() + SWEEP_AFTER.total_seconds()
        while True:
            started = loop.time()
            self._wanted.clear()
            try:
                await self._tick()
                if started > next_sweep:
                    next_sweep = started + SWEEP_EVERY_SECONDS
                    await self.sweep()
                if failing:
                    log.warning("the Docker engine answers again")
                failing = False
            except MydockerError as error:
                if not failing:
                    log.error("the last view of the servers stands: %s", error)
                failing = True
            except Exception:
                log.exception("while watching the Swarm")
            now = loop.time()
            at_least, at_most = pause(
                busy=self._quick > 0 or now - self._stirred_at < STIRRED_SECONDS,
                call_seconds=now - started,
                still_seconds=now - max(self._changed_at, self._stirred_at),
            )
            await asyncio.sleep(at_least)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), at_most - at_least)

    async def _tick(self) -> None:
        asked_at = asyncio.get_running_loop().time()
        tasks = newest(await self.client.tasks(self.hub))
        async with self._ticked:
            if tasks != self._tasks:
                self._changed_at = asked_at
            self._tasks = tasks
            self._asked_at = asked_at
            self.ticks += 1
            self._ticked.notify_all()

    async def sweep(self) -> list[str]:
        """Remove Swarm services of this hub that no spawner knows; their names.

        They are left by a hub that ended in the middle of a start. What is younger than
        `SWEEP_AFTER` may belong to a start that goes on. The volumes of trials that it left go as
        well.
        """
        oldest = datetime.now(UTC) - SWEEP_AFTER
        removed = []
        for service in await self.client.services(self.hub):
            name = service["Spec"]["Name"]
            created = datetime.fromisoformat(service["CreatedAt"][:19] + "+00:00")
            known = service["ID"] in self._claims or name in self._creating
            if not known and created < oldest:
                log.warning("removing Swarm service %s: no server belongs to it", name)
                await self.client.remove_service(service["ID"])
                removed.append(name)
        old = await self.client.old_trial_volumes(self.hub, datetime.now(UTC) - TRIAL_KEPT)
        if old:
            await self.client.remove_volumes(old)
        return removed

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        # The engine's event stream blocks; other nodes' events are the node agent's to report.
        while not loop.is_closed():
            try:
                for event in self.client.container_events(self.hub):
                    attributes = event.get("Actor", {}).get("Attributes", {})
                    service_id = attributes.get("com.docker.swarm.service.id")
                    if service_id:
                        loop.call_soon_threadsafe(self._note, str(event.get("Action")), service_id)
            except RuntimeError:
                return  # the loop was closed
            except Exception as error:
                log.debug("the engine's event stream ended: %s", error)
            threading.Event().wait(SLOW_SECONDS)

    def _note(self, action: str, service_id: str) -> None:
        if action == "oom":
            self._out_of_memory.add(service_id)
            self._on_out_of_memory(service_id)
        else:
            self._stirred_at = asyncio.get_running_loop().time()
            self._wanted.set()
