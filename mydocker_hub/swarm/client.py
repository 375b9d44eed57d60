"""Calls to the Docker engine, off the event loop, each with a time limit.

docker-py blocks, so calls run in a few threads of their own. What the engine answers is given back
as it is; an engine that does not answer is `Unavailable("engine-unavailable")`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import docker
import requests
from docker.auth import resolve_repository_name
from docker.errors import APIError, DockerException
from urllib3.exceptions import HTTPError

from ..domain.errors import Unavailable
from .spec import HUB_LABEL, TRIAL_LABEL, variables_of
from .tasks import Task, read_task, registry_is_silent

T = TypeVar("T")
log = logging.getLogger(__name__)

CALL_TIMEOUT_SECONDS = 15
REGISTRY_TIMEOUT_SECONDS = 8
REGISTRY_MEMORY_SECONDS = 30  # a class whose registry is down asks it once, not thirty times


class NameTaken(Exception):
    """A Swarm service of this name exists already."""


class SwarmClient:
    """The few engine calls that the spawner makes. `calls` counts them, for the benchmarks.

    `options` are keyword arguments of `docker.APIClient`; without a `base_url` among them,
    DOCKER_HOST and its companions say where the engine is.
    """

    def __init__(self, options: dict[str, Any] | None = None, *, threads: int = 8) -> None:
        self._options = options or {}
        self._api: docker.APIClient | None = None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        self._node_id: str | None = None
        self._addresses: dict[str, str] = {}
        self._asking_registries = asyncio.Lock()  # one thread at most waits for a registry
        self._silent_registries: dict[str, tuple[float, str]] = {}
        self.calls = 0

    async def create_service(self, spec: dict[str, Any]) -> str:
        """Create a Swarm service; its id. Raises `NameTaken`."""

        def create(api: docker.APIClient) -> str:
            try:
                return str(api.create_service(**spec)["ID"])
            except APIError as error:
                if error.status_code == 409:
                    raise NameTaken(spec["name"]) from error
                raise

        return await self._call(create)

    async def remove_service(self, service: str) -> None:
        """Remove a Swarm service by id or name; one that is gone already is fine."""

        def remove(api: docker.APIClient) -> None:
            try:
                api.remove_service(service)
            except APIError as error:
                if error.status_code != 404:
                    raise

        await self._call(remove)

    async def variables(self, service_id: str) -> dict[str, str]:
        """The variables that a Swarm service gives its container; none where it is gone.

        They hold what the container was told in confidence.
        """

        def inspect(api: docker.APIClient) -> dict[str, str]:
            try:
                return variables_of(api.inspect_service(service_id))
            except APIError as error:
                if error.status_code != 404:
                    raise
                return {}

        return await self._call(inspect)

    async def remove_volumes(self, volumes: Sequence[str]) -> list[str]:
        """Remove volumes of this engine; those that a container still holds, and so stay.

        What is not here is fine: it is gone, or on another node, where this engine cannot reach it.
        """

        def remove(api: docker.APIClient) -> list[str]:
            held = []
            for volume in volumes:
                try:
                    api.remove_volume(volume)
                except APIError as error:
                    if error.status_code == 409:
                        held.append(volume)
                    elif error.status_code != 404:
                        raise
            return held

        return await self._call(remove)

    async def on_own_disk(self, volumes: Sequence[str]) -> list[str]:
        """Which of these volumes are plain folders on this engine's disk, or not there at all.

        Removing another one would not remove what is in it (NFS), or would do so everywhere.
        """

        def look(api: docker.APIClient) -> list[str]:
            plain = []
            for volume in volumes:
                try:
                    found = api.inspect_volume(volume)
                except APIError as error:
                    if error.status_code != 404:
                        raise
                    plain.append(volume)
                else:
                    if found["Driver"] == "local" and not found.get("Options"):
                        plain.append(volume)
            return plain

        return await self._call(look)

    async def old_trial_volumes(self, hub: str, before: datetime) -> list[str]:
        """The volumes of trials on this engine that no container holds, made before an instant."""

        def find(api: docker.APIClient) -> list[str]:
            labels = [f"{HUB_LABEL}={hub}", f"{TRIAL_LABEL}=true"]
            found = api.volumes(filters={"label": labels, "dangling": True})["Volumes"] or []
            return [
                volume["Name"]
                for volume in found
                if datetime.fromisoformat(volume["CreatedAt"]) < before
            ]

        return await self._call(find)

    async def tasks(self, hub: str) -> list[Task]:
        """All tasks of this hub's Swarm services: one call, however many there are."""

        def read(api: docker.APIClient) -> list[Task]:
            raw = api.tasks(filters={"label": f"{HUB_LABEL}={hub}"})
            return [read_task(item) for item in raw]

        return await self._call(read)

    async def services(self, hub: str) -> list[dict[str, Any]]:
        """This hub's Swarm services as the engine describes them."""
        services: list[dict[str, Any]] = await self._call(
            lambda api: api.services(filters={"label": f"{HUB_LABEL}={hub}"})
        )
        return services

    async def nodes(self) -> list[dict[str, Any]]:
        """The Swarm's nodes as the engine describes them."""
        nodes: list[dict[str, Any]] = await self._call(lambda api: api.nodes())
        return nodes

    async def labelled_services(self, label: str) -> list[dict[str, Any]]:
        """The Swarm services that bear a label (`name=value`), as the engine describes them."""
        services: list[dict[str, Any]] = await self._call(
            lambda api: api.services(filters={"label": label})
        )
        return services

    async def labelled_tasks(self, label: str) -> list[Task]:
        """All tasks of the Swarm services that bear a label (`name=value`)."""

        def read(api: docker.APIClient) -> list[Task]:
            return [read_task(raw) for raw in api.tasks(filters={"label": label})]

        return await self._call(read)

    async def digest(self, image: str) -> str:
        """What a registry says an image is at the moment (`sha256:…`).

        Nothing where it knows no such image, or does not answer.
        """

        def ask(_: docker.APIClient) -> str:
            with self._connect(timeout=REGISTRY_TIMEOUT_SECONDS) as api:
                try:
                    return str(api.inspect_distribution(image)["Descriptor"]["digest"])
                except (APIError, requests.ReadTimeout) as error:
                    log.info("no digest of %s: %s", image, error)
                    return ""

        return await self._call(ask)

    async def last_lines(self, service_id: str, lines: int = 30) -> str:
        """The last lines that a Swarm service wrote, or nothing where they cannot be had.

        They may hold what the container was told in confidence.
        """

        def read(api: docker.APIClient) -> str:
            chunks = api.service_logs(
                service_id, stdout=True, stderr=True, tail=lines, follow=False
            )
            return b"".join(chunks).decode(errors="replace")

        try:
            return await asyncio.wait_for(self._call(read), 5)
        except (TimeoutError, Unavailable, APIError) as error:
            log.warning("no log of Swarm service %s: %s", service_id, error)
            return ""

    async def registry_trouble(self, image: str) -> str:
        """Why the registry of an image cannot be had; nothing where it knows no such image.

        For after a failure: Swarm says "No such image" of both (moby #33521). The engine is asked
        once, for all who ask meanwhile and for some time afterwards.
        """
        registry = registry_of(image)
        loop = asyncio.get_running_loop()
        async with self._asking_registries:
            until, trouble = self._silent_registries.get(registry, (0.0, ""))
            if loop.time() < until:
                return trouble
            trouble, lasts = await self._call(lambda _: self._ask_registry(image))
            if lasts:
                until = loop.time() + REGISTRY_MEMORY_SECONDS
                self._silent_registries[registry] = (until, trouble)
            return trouble

    def _ask_registry(self, image: str) -> tuple[str, bool]:
        # With a connection of its own, since it has a time limit of its own.
        with self._connect(timeout=REGISTRY_TIMEOUT_SECONDS) as api:
            try:
                api.inspect_distribution(image)
            except APIError as error:
                reason = error.explanation or str(error)
                silent = registry_is_silent(error.status_code or 500, reason)
                return (reason if silent else ""), silent
            except requests.ReadTimeout:
                return f"no answer within {REGISTRY_TIMEOUT_SECONDS} seconds", True
        return "it answers the manager, but the node could not pull from it", False

    async def is_local(self, node_id: str) -> bool:
        """Whether a node is the engine that we talk to."""
        return node_id == await self.own_node()

    async def address(self, node_id: str) -> str:
        """Where the ports that a node publishes are reached from here."""
        if await self.is_local(node_id) and self._talks_to_this_machine():
            return "127.0.0.1"
        if node_id not in self._addresses:
            nodes = await self.nodes()
            self._addresses = {node["ID"]: node["Status"].get("Addr", "") for node in nodes}
        return self._addresses.get(node_id, "")

    async def container_address(self, node_id: str, container_id: str) -> str:
        """The address of a container of this machine, or "" for one that is elsewhere."""
        if not (await self.is_local(node_id) and self._talks_to_this_machine()):
            return ""

        def inspect(api: docker.APIClient) -> str:
            try:
                networks = api.inspect_container(container_id)["NetworkSettings"]["Networks"]
            except APIError:
                return ""  # it ended meanwhile
            return next((one["IPAddress"] for one in networks.values() if one["IPAddress"]), "")

        return await self._call(inspect)

    async def set_cpu_weight(self, container_id: str, shares: int) -> None:
        """Give a container of this engine its CPU shares, which a Swarm service cannot name."""

        def update(api: docker.APIClient) -> None:
            try:
                api.update_container(container_id, cpu_shares=shares)
            except APIError as error:  # it ended meanwhile, which is noticed elsewhere
                log.warning("no CPU weight for container %s: %s", container_id, error)

        await self._call(update)

    async def was_out_of_memory(self, container_id: str) -> bool:
        """Whether the kernel ended a container of this engine for its memory limit."""

        def inspect(api: docker.APIClient) -> bool:
            try:
                return bool(api.inspect_container(container_id)["State"]["OOMKilled"])
            except APIError:
                return False  # on another node, or removed meanwhile

        return await self._call(inspect)

    def container_events(self, hub: str) -> Iterator[dict[str, Any]]:
        """What happens to this hub's containers on this engine (`start`, `die`, `oom`).

        Blocks, and does not end: for a thread of its own.
        """
        with self._connect(timeout=None) as api:
            yield from api.events(
                decode=True,
                filters={
                    "event": ["start", "die", "oom"],
                    "type": "container",
                    "label": f"{HUB_LABEL}={hub}",
                },
            )

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()

    async def own_node(self) -> str:
        """The id of the node whose engine we talk to; "" where it is in no Swarm."""
        if self._node_id is None:
            info = await self._call(lambda api: api.info())
            self._node_id = str((info.get("Swarm") or {}).get("NodeID", ""))
        return self._node_id

    def _talks_to_this_machine(self) -> bool:
        return self._api is not None and self._api.base_url.startswith("http+docker://")

    def _connect(self, **others: Any) -> docker.APIClient:
        ours = {"version": "auto", "timeout": CALL_TIMEOUT_SECONDS}
        return docker.APIClient(
            **{**ours, **docker.utils.kwargs_from_env(), **self._options, **others}
        )

    async def _call(self, function: Callable[[docker.APIClient], T]) -> T:
        def run() -> T:
            if self._api is None:
                self._api = self._connect()
            self.calls += 1
            return function(self._api)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except APIError as error:
            if error.status_code is not None and error.status_code < 500:
                raise
            raise Unavailable("engine-unavailable", log_detail=str(error)) from error
        except (requests.RequestException, HTTPError, DockerException, OSError) as error:
            raise Unavailable("engine-unavailable", log_detail=str(error)) from error


def registry_of(image: str) -> str:
    """The registry that an image's name leads to: `docker.io` where it names none."""
    try:
        return str(resolve_repository_name(image)[0])
    except DockerException:  # no name that Docker takes
        return image.partition("/")[0]
