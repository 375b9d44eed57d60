"""A Monday morning: nobody has used an environment since the week-end, and a class begins.

A real hub, a real registry, and an image of some size that is only there.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import docker
import requests

from mydocker_hub.domain import calendar
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.domain.pulling import Readiness
from mydocker_hub.services.builder.preparation import Preparation
from mydocker_hub.store import pulls, sessions
from mydocker_hub.store.database import Database
from mydocker_hub.swarm.client import SwarmClient

from .conftest import build_tiny_image, remove_all, start_hub
from .hub import RunningHub
from .registry import push_big, run_registry

BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
SLUG = "monday"
_CATALOGUE = """\
version: 1
environments:
  - slug: {slug}
    title: Monday
    status: ready
    public: true
    image: {image}
    interfaces: [{{name: web, title: Web, kind: hub, port: 8888}}]
    resources: {{memory_bytes: 64 MB, shm_bytes: 16 MB}}
"""


@dataclass
class Monday:
    engine: docker.DockerClient
    hub: RunningHub
    image: str
    database: Database

    def start(self) -> float:
        """Seconds that a student waits, from the click until the server is ready."""
        with self.hub.signed_in("alice") as alice:
            # What was just fetched is still being written; half an hour later it would not be.
            os.sync()
            time.sleep(2)
            began = time.monotonic()
            assert alice.start(SLUG).status_code in {201, 202}
            last = alice.progress(SLUG, seconds=300)[-1]
            seconds = time.monotonic() - began
            assert last.get("ready"), last
            alice.wait_until_ready(SLUG)  # the hub has a last word to say
            alice.stop_and_wait(SLUG)
        return seconds

    def forget(self) -> None:
        """Have the machine lose the image, as a clean-up at the week-end does."""
        deadline = time.monotonic() + 30
        while self.there():
            assert time.monotonic() < deadline, "a container keeps the image"
            with suppress(docker.errors.APIError):  # the last server's container goes
                self.engine.images.remove(self.engine.images.get(self.image).id, force=True)
            time.sleep(0.2)

    def there(self) -> bool:
        try:
            self.engine.images.get(self.image)
        except docker.errors.ImageNotFound:
            return False
        return True

    def book(self, *, minutes: int) -> sessions.Booked:
        """A session that begins in some minutes."""
        starts = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(second=0, microsecond=0)
        wall = starts.astimezone(ZoneInfo("Europe/Paris")).replace(tzinfo=None)
        wanted = calendar.Session(starts=wall, duration=timedelta(hours=1), expected=30)
        return self.database.write_now(sessions.book, SLUG, wanted, BOB, datetime.now(UTC))

    def cancel(self, booked: sessions.Booked) -> None:
        self.database.write_now(
            sessions.cancel, booked.id, BOB, datetime.now(UTC), expected_sequence=booked.sequence
        )

    async def prepare(self, booked: sessions.Booked) -> tuple[Readiness, float]:
        """Bring the image to the machines, as the builder does; how long that took."""
        began = time.monotonic()
        with self._preparation() as preparation:
            while True:
                await preparation.look()
                found = self.database.read_now(pulls.readiness, [booked.id])
                for readiness in found.values():
                    if readiness.complete:
                        return readiness, time.monotonic() - began
                assert time.monotonic() < began + 300, found
                await asyncio.sleep(0.1)

    async def look(self) -> None:
        with self._preparation() as preparation:
            await preparation.look()

    @contextmanager
    def _preparation(self) -> Iterator[Preparation]:
        client = SwarmClient()
        before = timedelta(minutes=30)
        yield Preparation(self.database, client, self.hub.hub_id, before=before)
        client.close()


@contextmanager
def monday(
    engine: docker.DockerClient, folder: Path, connect_ip: str, *, size: int
) -> Iterator[Monday]:
    """`size` is how many bytes the image has that nobody can compress."""
    hub_id = f"test-{secrets.token_hex(4)}"
    state, registry = folder / "state", folder / "registry"
    state.mkdir()
    registry.mkdir()
    with run_registry(registry) as port:
        image = f"127.0.0.1:{port}/{hub_id}:1"
        push_big(engine, image, build_tiny_image(engine), size)
        catalogue = folder / "catalogue.yaml"
        catalogue.write_text(_CATALOGUE.format(slug=SLUG, image=image))
        try:
            with start_hub(state, hub_id, connect_ip, catalogue=str(catalogue)) as hub:
                database = Database(f"sqlite:///{state / 'catalogue.sqlite'}")
                found = Monday(engine, hub, image, database)
                yield found
                database.close()
        finally:
            remove_all(engine, hub_id)
            label = {"label": f"mydocker.pull={hub_id}"}
            for service in engine.services.list(filters=label):
                service.remove()
            with suppress(docker.errors.ImageNotFound, requests.RequestException):
                engine.images.remove(engine.images.get(image).id, force=True)
