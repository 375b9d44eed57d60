"""Bringing images to the machines of a Swarm before they are needed.

A Swarm service that runs once on each machine that matches, and does nothing there: to run it, a
machine has to fetch its image. What is decided is pure (`pull_specs`, `read_nodes`), `Puller` sends
it.

It is a service of mode `global` that is not started again, and no `global-job`, although that would
be its name: Docker 20.10 keeps a job's containers when the job is removed, one more on each machine
for each session, and with each of them its image.

Several machines may fetch at the same time; an engine that is told twice to fetch the same layers
does it once (moby, `distribution/xfer`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from docker.errors import APIError
from docker.types import ContainerSpec, Placement, RestartPolicy, TaskTemplate

from ..domain.errors import Unavailable
from ..domain.machines import Machine
from ..domain.pulling import OnNode, Presence, Target
from .client import NameTaken, SwarmClient
from .tasks import Task

PULL_LABEL = "mydocker.pull"
"""Whose it is: the hub's id. Not the label of servers: unknown ones of those are removed."""

_RETRY_AFTER = timedelta(seconds=60)
_TRIES = 60
_CREATED = frozenset({"ready", "starting", "running", "complete"})
_ERROR_LENGTH = 300


class Job(NamedTuple):
    """An image to bring, and the digest that it must have (empty: none is known)."""

    hub: str
    target: Target
    digest: str = ""

    @property
    def pinned(self) -> str:
        """The image by its digest, or as it was named where that says all there is to say."""
        if not self.digest or "@" in self.target.image:
            return self.target.image
        return f"{self.target.image}@{self.digest}"

    def name(self, image: str) -> str:
        """The Swarm service that brings `image`; the same for all who want the same."""
        identity = json.dumps([*self, image])
        return f"mydocker-pull-{hashlib.sha256(identity.encode()).hexdigest()[:32]}"

    @property
    def names(self) -> tuple[str, ...]:
        """The Swarm services of this job; the first one is the one that proves the digest."""
        return tuple(self.name(image) for image in self._images)

    @property
    def _images(self) -> tuple[str, ...]:
        # By its digest, which proves what it is: where the registry does not answer, an engine
        # would make do with an older image of the same tag. And by its tag as well, which is how
        # servers ask for it: they then start without the registry, too.
        return tuple(dict.fromkeys([self.pinned, self.target.image]))


def pull_specs(job: Job) -> list[dict[str, Any]]:
    """The keyword arguments of `docker.APIClient.create_service` for each of a job's services."""
    return [_spec(job, image) for image in job._images]


def _spec(job: Job, image: str) -> dict[str, Any]:
    labels = {PULL_LABEL: job.hub}
    template = TaskTemplate(
        container_spec=ContainerSpec(
            image=image,
            # An image without it serves as well: its container is made, which is all that is
            # wanted, and does not start.
            command=["/bin/true"],
            labels=labels,
            healthcheck={"Test": ["NONE"]},
            cap_drop=["ALL"],
            privileges={"NoNewPrivileges": True},
            read_only=True,
        ),
        # One that could not fetch the image tries again: a registry may be back in a minute.
        restart_policy=RestartPolicy(
            condition="on-failure",
            delay=int(_RETRY_AFTER.total_seconds() * 1e9),
            max_attempts=_TRIES,
        ),
        # Nothing is reserved: a machine that is full fetches as well.
        placement=Placement(constraints=list(job.target.constraints) or None),
    )
    return {
        "task_template": template,
        "name": job.name(image),
        "labels": labels,
        "mode": {"Global": {}},
    }


def read_nodes(
    tasks: Iterable[Task], machines: Iterable[Machine], constraints: Iterable[str]
) -> dict[str, OnNode]:
    """Where the image of one Swarm service is, by the machines' ids.

    A container can be made only where the image is. Machines that may run it and have not heard of
    it yet wait; those that are down are none of the machines of the moment.
    """
    constraints = tuple(constraints)
    by_node: dict[str, list[Task]] = {}
    for task in tasks:
        if task.node_id:
            by_node.setdefault(task.node_id, []).append(task)
    return {
        machine.id: _on_node(machine, by_node.get(machine.id, []))
        for machine in machines
        if machine.up and machine.may_run(constraints)
    }


def _on_node(machine: Machine, tasks: list[Task]) -> OnNode:
    if any(task.state in _CREATED or task.container_id for task in tasks):
        return OnNode(name=machine.name, presence=Presence.READY)
    # The newest one may be waiting for its next try: an error before it is still why it waits.
    errors = [task.error for task in tasks if task.state in {"rejected", "failed"} and task.error]
    if any(task.state == "preparing" for task in tasks) and not errors:
        return OnNode(name=machine.name, presence=Presence.PULLING)
    if errors:
        return OnNode(name=machine.name, presence=Presence.FAILED, error=errors[-1][:_ERROR_LENGTH])
    return OnNode(name=machine.name, presence=Presence.WAITING)


def read_machine(raw: Mapping[str, Any]) -> Machine:
    """A node as the Engine API answers it (`GET /nodes`)."""
    spec, description = raw.get("Spec") or {}, raw.get("Description") or {}
    resources, platform = description.get("Resources") or {}, description.get("Platform") or {}
    generic: dict[str, float] = {}
    for item in resources.get("GenericResources") or []:
        if discrete := item.get("DiscreteResourceSpec"):
            generic[discrete["Kind"]] = generic.get(discrete["Kind"], 0) + discrete["Value"]
        elif named := item.get("NamedResourceSpec"):
            generic[named["Kind"]] = generic.get(named["Kind"], 0) + 1
    return Machine(
        id=raw.get("ID") or "",
        name=description.get("Hostname") or "",
        up=(raw.get("Status") or {}).get("State") == "ready"
        and spec.get("Availability", "active") == "active",
        role=spec.get("Role") or "worker",
        system=platform.get("OS") or "",
        architecture=platform.get("Architecture") or "",
        labels=spec.get("Labels") or {},
        engine_labels=(description.get("Engine") or {}).get("Labels") or {},
        cpus=(resources.get("NanoCPUs") or 0) / 1e9,
        memory_bytes=resources.get("MemoryBytes") or 0,
        generic=generic,
    )


class Puller:
    """Sends what bringing images takes. Raises `Unavailable("engine-unavailable")`."""

    def __init__(self, client: SwarmClient, hub: str) -> None:
        self.client = client
        self.hub = hub

    async def job(self, target: Target) -> Job:
        """What bringing an image is at this moment: with the digest that its tag has now."""
        digest = target.image.partition("@")[2] or await self.client.digest(target.image)
        return Job(self.hub, target, digest)

    async def begin(self, job: Job) -> None:
        """Have it done; where it is being done already, nothing changes.

        Raises `Unavailable` where the engine does not take it, too.
        """
        for spec in pull_specs(job):
            try:
                await self.client.create_service(spec)
            except NameTaken:
                continue
            except APIError as error:
                raise Unavailable("engine-unavailable", log_detail=str(error)) from error

    async def machines(self) -> list[Machine]:
        return [read_machine(raw) for raw in await self.client.nodes()]

    async def tasks(self) -> dict[str, list[Task]]:
        """The tasks of all pulls of this hub by the name of their Swarm service."""
        label = f"{PULL_LABEL}={self.hub}"
        names = {
            service["ID"]: service["Spec"]["Name"]
            for service in await self.client.labelled_services(label)
        }
        found: dict[str, list[Task]] = {name: [] for name in names.values()}
        for task in await self.client.labelled_tasks(label):
            if task.service_id in names:
                found[names[task.service_id]].append(task)
        for tasks in found.values():
            tasks.sort(key=lambda task: task.created_at.removesuffix("Z"))
        return found

    async def end(self, names: Iterable[str]) -> None:
        """Remove Swarm services of pulls, and their containers; the image stays."""
        for name in names:
            await self.client.remove_service(name)


def nodes_of(
    job: Job, tasks: Mapping[str, list[Task]], machines: Iterable[Machine]
) -> dict[str, OnNode]:
    """Where a job's image is: on a machine it is ready once all of its services were there."""
    machines = list(machines)
    views = [
        read_nodes(tasks.get(name, []), machines, job.target.constraints) for name in job.names
    ]
    order = [Presence.FAILED, Presence.WAITING, Presence.PULLING, Presence.READY]
    return {
        node: min((view[node] for view in views), key=lambda one: order.index(one.presence))
        for node in views[0]
    }
