"""What Swarm says of a task, and what that means for its person. Pure.

States are swarmkit's (`api/types.proto`, TaskState). A task has two: what it is and what Swarm
wants it to be. On a node that died the first stays "running" for ever; only the second tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..domain.errors import LaunchFailed, MydockerError


class Step(StrEnum):
    """The five steps of a start, as the service page names them; in order."""

    NODE = "node"
    IMAGE = "image"
    CONTAINER = "container"
    FOLDER = "folder"
    INTERFACE = "interface"


_STEPS = {
    "new": Step.NODE,
    "allocated": Step.NODE,
    "pending": Step.NODE,
    "assigned": Step.IMAGE,
    "accepted": Step.IMAGE,
    "preparing": Step.IMAGE,
    "ready": Step.CONTAINER,
    "starting": Step.CONTAINER,
    "running": Step.INTERFACE,
}
_ENDED = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})

OUT_OF_MEMORY_EXIT = 137  # 128 + SIGKILL, which is how the kernel ends a process


@dataclass(frozen=True)
class Task:
    """The newest task of a Swarm service."""

    service_id: str
    id: str
    state: str
    desired: str
    created_at: str = ""
    error: str = ""
    node_id: str = ""
    container_id: str = ""
    exit_code: int | None = None
    ports: dict[int, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more, or nothing that can be reached."""
        return self.state in _ENDED or self.desired in {"shutdown", "remove"}

    @property
    def running(self) -> bool:
        return self.state == "running" and not self.ended

    @property
    def step(self) -> Step:
        return _STEPS.get(self.state, Step.NODE)

    @property
    def waits_for_room(self) -> bool:
        """Whether no node fits, for now: Swarm goes on looking."""
        return self.state == "pending" and "no suitable node" in self.error


def read_task(raw: dict[str, Any]) -> Task:
    """A task as the Engine API answers it (`GET /tasks`)."""
    status = raw.get("Status") or {}
    container = status.get("ContainerStatus") or {}
    ports = (status.get("PortStatus") or {}).get("Ports") or []
    spec = (raw.get("Spec") or {}).get("ContainerSpec") or {}
    return Task(
        service_id=raw.get("ServiceID") or "",
        id=raw.get("ID") or "",
        state=status.get("State") or "new",
        desired=raw.get("DesiredState") or "",
        created_at=raw.get("CreatedAt") or "",
        error=status.get("Err") or "",
        node_id=raw.get("NodeID") or "",
        container_id=container.get("ContainerID") or "",
        exit_code=container.get("ExitCode"),
        # A port is published twice, on IPv4 first and then on IPv6, under a number that may differ
        # and belong to another server on IPv4: the first one counts.
        ports={
            port["TargetPort"]: port["PublishedPort"]
            for port in reversed(ports)
            if "TargetPort" in port and "PublishedPort" in port
        },
        labels=spec.get("Labels") or {},
    )


def newest(tasks: Iterable[Task]) -> dict[str, Task]:
    """The newest task of each Swarm service, by the service's id."""
    result: dict[str, Task] = {}
    for task in tasks:
        known = result.get(task.service_id)
        if known is None or _instant(task) > _instant(known):
            result[task.service_id] = task
    return result


def _instant(task: Task) -> str:
    # Docker drops the zeros at the end of a fraction: without the Z, text sorts as time does.
    return task.created_at.removesuffix("Z")


def failure(
    task: Task, *, image: str, memory: int | None, out_of_memory: bool
) -> MydockerError | None:
    """Why a task ended, worded for its person; None where it just ended (exit code 0).

    `out_of_memory` says that the kernel ended a process of the container for its memory limit.
    """
    if task.state == "rejected":
        return _rejection(task, image)
    if task.state == "orphaned" or (task.state == "running" and task.ended):
        return LaunchFailed("node-lost", log_detail=f"node {task.node_id}")
    if task.state == "failed":
        if out_of_memory and memory is not None and task.exit_code == OUT_OF_MEMORY_EXIT:
            return LaunchFailed("out-of-memory", memory=memory)
        code = task.exit_code if task.exit_code is not None else "?"
        if _MOUNT_FAILED in task.error:
            return LaunchFailed("folder-not-mounted", log_detail=task.error)
        if not task.container_id or "starting container failed" in task.error:
            return LaunchFailed("container-refused", log_lines=task.error, log_detail=task.error)
        return LaunchFailed("container-exited", exit_code=code, log_detail=task.error)
    return None


CPUS, MEMORY, KIND = "cpus", "memory", "kind"


def scarce(
    task: Task, reserved: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """What no node has enough of, with how much is wanted.

    `reserved` is the `Reservations` of the Swarm service, `nodes` what the Engine API lists. What
    is more than any node has at all comes alone; otherwise it is everything that is reserved, since
    Swarm does not say which of it is used up. `KIND` stands for a node of the wanted kind; other
    names are those of generic resources.
    """
    if "insufficient resources" not in task.error:
        return {KIND: 1}
    have: dict[str, float] = {}
    for node in nodes:
        for name, amount in _amounts((node.get("Description") or {}).get("Resources")).items():
            have[name] = max(have.get(name, 0), amount)
    wanted = _amounts(reserved)
    return {name: n for name, n in wanted.items() if n > have.get(name, 0)} or wanted


def _amounts(resources: Mapping[str, Any] | None) -> dict[str, float]:
    resources = resources or {}
    amounts: dict[str, float] = {}
    if resources.get("NanoCPUs"):
        amounts[CPUS] = resources["NanoCPUs"] / 1e9
    if resources.get("MemoryBytes"):
        amounts[MEMORY] = resources["MemoryBytes"]
    for generic in resources.get("GenericResources") or []:
        if discrete := generic.get("DiscreteResourceSpec"):
            amounts[discrete["Kind"]] = discrete["Value"]
        elif named := generic.get("NamedResourceSpec"):
            amounts[named["Kind"]] = amounts.get(named["Kind"], 0) + 1
    return amounts


# What an engine answers with a 500 although the registry has spoken: who asks may not have it.
_NOT_FOR_US = re.compile(r"no basic auth credentials|unauthorized|denied|authentication required")


def registry_is_silent(status: int, reason: str) -> bool:
    """Whether a registry could not be asked for an image, by the engine's answer to
    `GET /distribution/{image}/json`; otherwise it has answered that there is no such image."""
    return status >= 500 and not _NOT_FOR_US.search(reason)


_MOUNT_FAILED = "error while mounting volume"
_MOUNT = re.compile(r"mount|volume|^create ", re.IGNORECASE)


def _rejection(task: Task, image: str) -> MydockerError:
    if "No such image" in task.error or "pull access denied" in task.error:
        return LaunchFailed("image-not-found", image=image, log_detail=task.error)
    if _MOUNT.search(task.error):
        return LaunchFailed("folder-not-mounted", log_detail=task.error)
    return LaunchFailed("container-refused", log_lines=task.error, log_detail=task.error)
