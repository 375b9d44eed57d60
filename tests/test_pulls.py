"""Images on several real machines, from a real registry, before anybody starts anything."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import docker
import pytest

from mydocker_hub.domain.pulling import OnNode, Presence, Target
from mydocker_hub.swarm import pulls
from mydocker_hub.swarm.client import SwarmClient
from mydocker_hub.swarm.pulls import PULL_LABEL, Job, Puller, nodes_of

from .lab import Lab, Node, run
from .registry import push_big, run_registry

pytestmark = pytest.mark.engine

HUB = "test-pulls"
SIZE = 20_000_000


@dataclass
class Machines:
    lab: Lab
    registry: str
    base: bytes

    @property
    def first(self) -> Node:
        return self.lab.nodes[0]

    @property
    def second(self) -> Node:
        return self.lab.nodes[1]

    def push(self, name: str, tiny_image: str) -> tuple[str, str]:
        self.first.client.images.load(self.base)
        image = f"{self.registry}/{name}"
        return image, push_big(self.first.client, image, tiny_image, SIZE)

    def cut_off(self, node: Node) -> None:
        """The node's registry is out of its reach, the Swarm is not."""
        run("ip", "-n", node.namespace, "route", "add", "blackhole", self.lab.gateway)

    def heal(self, node: Node) -> None:
        run("ip", "-n", node.namespace, "route", "del", "blackhole", self.lab.gateway)


@pytest.fixture(scope="module")
def machines(tiny_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("registry")
    image = subprocess.run(["docker", "save", tiny_image], check=True, capture_output=True).stdout
    with Lab(2) as lab, run_registry(folder, lab.gateway) as port:
        lab.load(image)
        yield Machines(lab, f"{lab.gateway}:{port}", image)


@pytest.fixture
async def puller(machines: Machines):
    client = SwarmClient({"base_url": machines.first.host})
    puller = Puller(client, HUB)
    yield puller
    await puller.end(await puller.tasks())
    client.close()


async def until(
    puller: Puller, job: Job, done: Callable[[dict[str, OnNode]], bool], seconds: float = 60
) -> dict[str, OnNode]:
    deadline = time.monotonic() + seconds
    while True:
        found = nodes_of(job, await puller.tasks(), await puller.machines())
        if done(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)


def presences(found: dict[str, OnNode]) -> dict[str, Presence]:
    return {one.name: one.presence for one in found.values()}


def everywhere(found: dict[str, OnNode]) -> bool:
    return presences(found) == {"node1": Presence.READY, "node2": Presence.READY}


def containers(node: Node) -> list[object]:
    return node.client.api.containers(all=True, filters={"label": f"{PULL_LABEL}={HUB}"})


async def test_brought_verified_kept_and_let_go(
    machines: Machines, puller: Puller, tiny_image: str
) -> None:
    image, digest = machines.push("class:1", tiny_image)
    job = await puller.job(Target(image))
    assert job.digest == digest
    await puller.begin(job)
    await puller.begin(job)  # twice is once
    assert set(await puller.tasks()) == set(job.names)
    await until(puller, job, everywhere)
    for node in machines.lab.nodes:
        found = node.client.images.get(image)  # by the name that servers are started with
        assert found.attrs["RepoDigests"] == [f"{machines.registry}/class@{digest}"]
        # whoever cleans up on a machine leaves it alone while it is kept
        node.client.images.prune(filters={"dangling": False})
        node.client.images.get(image)
    await puller.end(job.names)
    deadline = time.monotonic() + 20
    while any(containers(node) for node in machines.lab.nodes):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert await puller.tasks() == {}
    for node in machines.lab.nodes:
        node.client.images.get(image)


async def test_only_where_it_may_run(machines: Machines, puller: Puller, tiny_image: str) -> None:
    image, _ = machines.push("workers:1", tiny_image)
    job = await puller.job(Target(image, ("node.role==worker",)))
    await puller.begin(job)
    found = await until(puller, job, lambda found: Presence.READY in presences(found).values())
    assert presences(found) == {"node2": Presence.READY}
    with pytest.raises(docker.errors.ImageNotFound):
        machines.first.client.images.get(image)


async def test_an_older_image_of_the_same_name_does_not_pass(
    machines: Machines, puller: Puller, tiny_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "_RETRY_AFTER", timedelta(seconds=2))
    image, _ = machines.push("moved:1", tiny_image)
    machines.second.client.images.pull(image)
    _, newer = machines.push("moved:1", tiny_image)
    machines.cut_off(machines.second)
    try:
        job = await puller.job(Target(image))
        assert job.digest == newer
        await puller.begin(job)
        found = await until(
            puller,
            job,
            lambda found: presences(found) == {"node1": Presence.READY, "node2": Presence.FAILED},
        )
        (error,) = (one.error for one in found.values() if one.error)
        assert error.startswith("No such image")
    finally:
        machines.heal(machines.second)
    await until(puller, job, everywhere)  # it tries again by itself


async def test_an_image_of_no_registry(machines: Machines, puller: Puller, tiny_image: str) -> None:
    machines.first.client.images.get(tiny_image).tag("only-here", "1")
    job = await puller.job(Target("only-here:1"))
    assert job.digest == ""
    await puller.begin(job)
    await until(
        puller,
        job,
        lambda found: presences(found) == {"node1": Presence.READY, "node2": Presence.FAILED},
    )


async def test_a_machine_that_is_taken_out_meanwhile_does_not_count(
    machines: Machines, puller: Puller, tiny_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "_RETRY_AFTER", timedelta(seconds=2))
    image, _ = machines.push("drained:1", tiny_image)
    machines.cut_off(machines.second)
    node = next(one for one in machines.first.client.nodes.list() if _name(one) == "node2")
    try:
        job = await puller.job(Target(image))
        await puller.begin(job)
        await until(puller, job, lambda found: Presence.FAILED in presences(found).values())
        _set_availability(node, "drain")
        await until(puller, job, lambda found: presences(found) == {"node1": Presence.READY})
    finally:
        machines.heal(machines.second)
        _set_availability(node, "active")
    await until(puller, job, everywhere)  # it comes back to work, and the image with it


def _name(node: docker.models.nodes.Node) -> str:
    return str(node.attrs["Description"]["Hostname"])


def _set_availability(node: docker.models.nodes.Node, availability: str) -> None:
    node.reload()
    node.update({**node.attrs["Spec"], "Availability": availability})
