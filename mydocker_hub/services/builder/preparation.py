"""Has the images of sessions that are near brought to the machines that may run them."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from ...domain import pulling
from ...domain.errors import MydockerError
from ...domain.machines import Machine
from ...domain.pulling import Pull, Wanted
from ...store import pulls
from ...store.database import Database
from ...swarm.client import SwarmClient
from ...swarm.pulls import Job, Puller, nodes_of
from ...swarm.tasks import Task
from ...web.service import now
from .state import wait_for_schema

log = logging.getLogger(__name__)

QUICK_SECONDS = 5.0
SLOW_SECONDS = 15.0
SWEEP_SECONDS = 600.0
_ASK_AGAIN_SECONDS = 120.0


class Preparation:
    """Looks at the calendar until it is cancelled.

    Nothing is lost with it: what was begun is in the database, and the Swarm goes on without it.
    """

    def __init__(
        self, database: Database, client: SwarmClient, hub: str, *, before: timedelta
    ) -> None:
        self._database = database
        self._puller = Puller(client, hub)
        self._before = before
        self._asked: dict[int, float] = {}  # when a registry was asked for a digest in vain
        self._swept = float("-inf")

    async def run(self) -> None:
        await wait_for_schema(self._database)
        while self._before:
            busy = False
            try:
                busy = await self.look()
            except MydockerError as error:  # the database or the engine is away
                log.warning("images for sessions: %s", error)
            except Exception:
                log.exception("images for sessions")
            await asyncio.sleep(QUICK_SECONDS if busy else SLOW_SECONDS)
        await asyncio.Event().wait()  # operators want no images brought

    async def machines(self) -> list[Machine]:
        """The Swarm's machines. Raises `Unavailable`."""
        return await self._puller.machines()

    async def look(self) -> bool:
        """One look: begin, note how far it is, and end. Whether something is on its way."""
        at = now()
        wanted = await self._database.read(pulls.wanted, at, self._before)
        known = await self._database.read(pulls.known)
        steps = pulling.decide(wanted, known, at, before=self._before)
        for pull in steps.end:
            await self._database.write(pulls.end, pull.id, at)
        watched = list(steps.watch)
        for one in steps.begin:
            watched.append(await self._begin(one))
        if watched or steps.end or time.monotonic() > self._swept + SWEEP_SECONDS:
            return await self._note(watched)
        return False  # most of the time: the engine is not asked

    async def _begin(self, one: Wanted) -> Pull:
        job = await self._puller.job(one.target)
        log.info("bringing %s to the machines: a session begins at %s", job.pinned, one.starts)
        # Noted first: what the Swarm has and nobody knows of is removed.
        pull = await self._database.write(pulls.begin, one, job.digest, now())
        await self._have_done(job)
        return pull

    async def _have_done(self, job: Job) -> None:
        """What the Swarm does not take of one session does not hold up the others."""
        try:
            await self._puller.begin(job)
        except MydockerError as error:
            log.warning("%s is not brought to the machines: %s", job.pinned, error)

    async def _note(self, watched: list[Pull]) -> bool:
        tasks = await self._puller.tasks()
        machines = await self._puller.machines()
        busy = False
        needed: set[str] = set()
        for pull in watched:
            job = await self._job(pull)
            needed.update(job.names)
            if not tasks.keys() >= set(job.names):
                await self._have_done(job)  # somebody removed it, or its digest is known now
            nodes = nodes_of(job, tasks, machines)
            if nodes != pull.nodes or job.digest != pull.digest:
                await self._database.write(pulls.note, pull.id, nodes, job.digest)
                self._say(pull, nodes)
            busy = busy or any(
                node.presence is not pulling.Presence.READY for node in nodes.values()
            )
        await self._sweep(tasks, needed)
        return busy

    async def _job(self, pull: Pull) -> Job:
        job = Job(self._puller.hub, pull.target, pull.digest)
        if job.digest or time.monotonic() < self._asked.get(pull.id, 0) + _ASK_AGAIN_SECONDS:
            return job
        if pull.id in self._asked:  # the registry did not answer when it began
            job = await self._puller.job(pull.target)
        self._asked[pull.id] = time.monotonic()
        return job

    def _say(self, pull: Pull, nodes: dict[str, pulling.OnNode]) -> None:
        before = {name for name, node in pull.nodes.items() if node.error}
        for name, node in nodes.items():
            if node.error and name not in before:
                log.warning("%s is not on %s: %s", pull.target.image, node.name, node.error)

    async def _sweep(self, tasks: dict[str, list[Task]], needed: set[str]) -> None:
        """Remove the Swarm services that no session needs any more."""
        await self._puller.end(sorted(tasks.keys() - needed))
        if time.monotonic() > self._swept + SWEEP_SECONDS:
            self._swept = time.monotonic()
            await self._database.write(pulls.forget, now())
            self._asked = {key: at for key, at in self._asked.items() if at > self._swept - 3600}
