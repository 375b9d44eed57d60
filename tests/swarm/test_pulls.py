"""Images brought to machines: the Swarm services that do it, and what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from mydocker_hub.domain.machines import Machine
from mydocker_hub.domain.pulling import Presence, Target
from mydocker_hub.swarm.pulls import PULL_LABEL, Job, nodes_of, pull_specs, read_machine, read_nodes
from mydocker_hub.swarm.tasks import Task

DIGEST = "sha256:" + "a" * 64
IMAGE = "registry.example.org/class:1"
JOB = Job("hub", Target(IMAGE, ("node.labels.pool==students",)), DIGEST)
MACHINES = [
    Machine(id="a", name="one", labels={"pool": "students"}),
    Machine(id="b", name="two", labels={"pool": "students"}),
    Machine(id="c", name="down", labels={"pool": "students"}, up=False),
    Machine(id="d", name="staff", labels={"pool": "staff"}),
]


def task(node: str, state: str, **values: Any) -> Task:
    return Task(service_id="s", id=node, node_id=node, state=state, desired="complete", **values)


def test_it_runs_once_on_each_machine_that_matches() -> None:
    by_digest, by_tag = pull_specs(JOB)
    assert [by_digest["name"], by_tag["name"]] == list(JOB.names)
    assert by_digest["mode"] == {"Global": {}}
    assert by_digest["labels"] == {PULL_LABEL: "hub"}
    template = by_digest["task_template"]
    assert template["ContainerSpec"]["Image"] == f"{IMAGE}@{DIGEST}"
    assert template["Placement"]["Constraints"] == ["node.labels.pool==students"]
    assert template["RestartPolicy"]["Condition"] == "on-failure"
    assert "Resources" not in template  # a machine that is full fetches as well
    assert by_tag["task_template"]["ContainerSpec"]["Image"] == IMAGE


def test_an_image_that_is_named_by_its_digest_is_fetched_once() -> None:
    (spec,) = pull_specs(Job("hub", Target(f"{IMAGE}@{DIGEST}"), DIGEST))
    assert spec["task_template"]["ContainerSpec"]["Image"] == f"{IMAGE}@{DIGEST}"
    (spec,) = pull_specs(Job("hub", Target("only/here:1")))
    assert spec["task_template"]["ContainerSpec"]["Image"] == "only/here:1"


def test_names_tell_apart_what_differs() -> None:
    others = [
        JOB._replace(hub="other"),
        JOB._replace(digest="sha256:" + "b" * 64),
        JOB._replace(target=Target(IMAGE)),
        JOB._replace(target=JOB.target._replace(image="registry.example.org/class:2")),
    ]
    names = [name for job in (JOB, *others) for name in job.names]
    assert len(set(names)) == len(names) == 10
    assert all(len(name) <= 63 for name in names)
    assert Job("hub", Target(*JOB.target), DIGEST).names == JOB.names


@pytest.mark.parametrize(
    ("tasks", "presence"),
    [
        ([], Presence.WAITING),
        ([task("a", "pending")], Presence.WAITING),
        ([task("a", "preparing")], Presence.PULLING),
        ([task("a", "starting", container_id="c")], Presence.READY),
        ([task("a", "complete", container_id="c")], Presence.READY),
        # no /bin/true in it: the image is there all the same
        ([task("a", "failed", container_id="c", error="starting")], Presence.READY),
        ([task("a", "rejected", error="No such image")], Presence.FAILED),
        ([task("a", "rejected", error="No such image"), task("a", "ready")], Presence.READY),
        ([task("a", "rejected", error="No such image"), task("a", "preparing")], Presence.FAILED),
        # what waits for its next try has no machine's id yet, or the state that it waits in
        ([task("a", "rejected", error="No such image"), task("a", "pending")], Presence.FAILED),
    ],
)
def test_where_the_image_is(tasks: list[Task], presence: Presence) -> None:
    found = read_nodes(tasks, MACHINES[:1], JOB.target.constraints)["a"]
    assert found.presence is presence
    assert found.error == ("No such image" if presence is Presence.FAILED else "")


def test_machines_that_may_not_run_it_do_not_count() -> None:
    assert set(read_nodes([], MACHINES, JOB.target.constraints)) == {"a", "b"}


def test_a_machine_is_ready_with_both_names_of_the_image() -> None:
    proof, named = JOB.names
    done, pulling = task("a", "complete", container_id="c"), task("b", "preparing")
    tasks = {proof: [done, pulling], named: [done, task("b", "complete", container_id="c")]}
    found = nodes_of(JOB, tasks, MACHINES)
    assert {node: one.presence for node, one in found.items()} == {
        "a": Presence.READY,
        "b": Presence.PULLING,
    }
    tasks[named] = []  # somebody removed the service
    assert nodes_of(JOB, tasks, MACHINES)["a"].presence is Presence.WAITING


def test_a_node_as_the_engine_describes_it() -> None:
    raw = {
        "ID": "n1",
        "Spec": {"Role": "worker", "Availability": "active", "Labels": {"gpu": "a100"}},
        "Description": {
            "Hostname": "gpu-1",
            "Platform": {"OS": "linux", "Architecture": "x86_64"},
            "Resources": {
                "NanoCPUs": 32_000_000_000,
                "MemoryBytes": 256_000_000_000,
                "GenericResources": [
                    {"NamedResourceSpec": {"Kind": "gpu", "Value": "GPU-1"}},
                    {"NamedResourceSpec": {"Kind": "gpu", "Value": "GPU-2"}},
                    {"DiscreteResourceSpec": {"Kind": "ssd", "Value": 3}},
                ],
            },
            "Engine": {"Labels": {"disk": "nvme"}},
        },
        "Status": {"State": "ready"},
    }
    machine = read_machine(raw)
    assert machine == Machine(
        id="n1",
        name="gpu-1",
        up=True,
        role="worker",
        system="linux",
        architecture="x86_64",
        labels={"gpu": "a100"},
        engine_labels={"disk": "nvme"},
        cpus=32,
        memory_bytes=256_000_000_000,
        generic={"gpu": 2, "ssd": 3},
    )
    assert not read_machine({**raw, "Status": {"State": "down"}}).up
    assert not read_machine({**raw, "Spec": {"Availability": "drain"}}).up
    assert read_machine({}) == Machine(id="", name="", up=False)
