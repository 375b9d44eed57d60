"""What tests of the spawner share: a hub and its engine, and what can be done to both."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.web.i18n import translator

from .conftest import TINY_IMAGE, remove_all, start_hub
from .hub import RunningHub


def sh(script: str) -> str:
    return f"sh -c '{script}'"


def environment(slug: str, image: str = TINY_IMAGE, **fields: Any) -> dict[str, Any]:
    return {
        "slug": slug,
        "title": slug.capitalize(),
        "status": "ready",
        "public": True,
        "image": image,
        "interfaces": [{"name": "web", "title": "Web", "kind": "hub", "port": 8888}],
        **fields,
    }


@dataclass(frozen=True)
class Lab:
    """A hub and what it has on the engine."""

    hub: RunningHub
    engine: docker.DockerClient

    def signed_in(self, name: str) -> Any:
        return self.hub.signed_in(name)

    def _labels(self, **labels: str) -> dict[str, list[str]]:
        wanted = {"hub": self.hub.hub_id, **labels}
        return {"label": [f"mydocker.{name}={value}" for name, value in wanted.items()]}

    def services(self, **labels: str) -> list[Any]:
        return self.engine.services.list(filters=self._labels(**labels))

    def containers(self, **labels: str) -> list[Any]:
        filters = self._labels(**labels)
        return self.engine.containers.list(all=True, filters=filters, ignore_removed=True)

    def running(self, **labels: str) -> list[Any]:
        return [
            container for container in self.containers(**labels) if container.status == "running"
        ]

    def volumes(self, **labels: str) -> list[Any]:
        return self.engine.volumes.list(filters=self._labels(**labels))

    def container(self, user: str, server: str) -> Any:
        """The one container of a server."""
        (found,) = self.containers(user=user, server=server, kind="server")
        return found

    def last_end(self) -> str:
        """How the last launch ended, as the catalogue has noted it."""
        file = f"file:{self.hub.state / 'catalogue.sqlite'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True)) as database:
            query = "SELECT end_code FROM launches ORDER BY id DESC LIMIT 1"
            return str(database.execute(query).fetchone()[0])

    def nothing_is_left(self, seconds: float = 15, **labels: str) -> None:
        """No service, no container, not that of a preparation either."""
        wait_for(
            lambda: not self.services(**labels) and not self.containers(**labels),
            seconds,
            lambda: f"left: {self.services(**labels)} {self.containers(**labels)}",
        )


def wait_for(
    condition: Callable[[], Any],
    seconds: float = 20,
    message: Callable[[], str] = lambda: "it did not happen",
) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, message()
        time.sleep(0.1)
    return result


def run(container: Any, script: str, **options: Any) -> str:
    """Run something inside, as the image's own user; what it wrote."""
    status, output = container.exec_run(["sh", "-c", script], **options)
    assert status == 0, (status, output)
    return str(output.decode().strip())


def sentence(code: str, language: str = "fr", **params: Any) -> str:
    """An error in words, with plain spaces."""
    return " ".join(translator(language).error(MydockerError(code, **params)).split())


class Starter:
    """Starts hubs with a catalogue; what they leave on the engine goes at the end."""

    def __init__(
        self, engine: docker.DockerClient, connect_ip: str, catalogue: Path, config: str
    ) -> None:
        self.engine = engine
        self.connect_ip = connect_ip
        self.catalogue = catalogue
        self.config = config

    @contextmanager
    def __call__(self, state: Path, config: str = "") -> Iterator[tuple[start_hub, Lab]]:
        hub_id = f"test-{secrets.token_hex(4)}"
        starter = start_hub(
            state,
            hub_id,
            self.connect_ip,
            config=self.config + config,
            catalogue=str(self.catalogue),
        )
        try:
            with starter as hub:
                yield starter, Lab(hub, self.engine)
        finally:
            remove_all(self.engine, hub_id)


def kill(starter_: start_hub) -> None:
    """The hub and its services end at once, as when their machine loses its power."""
    assert starter_.process is not None
    os.killpg(starter_.process.pid, signal.SIGKILL)
    starter_.process.wait()
