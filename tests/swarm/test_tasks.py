"""What Swarm says of a task, and what that means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.swarm.tasks import (
    Step,
    Task,
    failure,
    newest,
    read_task,
    registry_is_silent,
    scarce,
)

MOUNT_FAILED = (
    "starting container failed: error while mounting volume '/var/lib/docker/volumes/v/_data': "
    "failed to mount local volume: mount /nope:/var/lib/docker/volumes/v/_data, "
    "flags: 0x1000: no such file or directory"
)
NO_COMMAND = (
    "starting container failed: failed to create shim task: OCI runtime create failed: runc create "
    'failed: unable to start container process: exec: "/x": stat /x: no such file or directory'
)
NO_ROOM = "no suitable node (insufficient resources on 1 node)"


def task(state="running", desired="running", **fields):
    return Task(service_id="s", id="t", state=state, desired=desired, **fields)


# --- states --------------------------------------------------------------------------------------

STATES = [
    # state, desired, step, running, ended
    ("new", "running", Step.NODE, False, False),
    ("allocated", "running", Step.NODE, False, False),
    ("pending", "running", Step.NODE, False, False),
    ("assigned", "running", Step.IMAGE, False, False),
    ("accepted", "running", Step.IMAGE, False, False),
    ("preparing", "running", Step.IMAGE, False, False),
    ("ready", "running", Step.CONTAINER, False, False),
    ("starting", "running", Step.CONTAINER, False, False),
    ("running", "running", Step.INTERFACE, True, False),
    ("complete", "shutdown", Step.NODE, False, True),
    ("shutdown", "shutdown", Step.NODE, False, True),
    ("failed", "running", Step.NODE, False, True),
    ("rejected", "shutdown", Step.NODE, False, True),
    ("remove", "remove", Step.NODE, False, True),
    ("orphaned", "shutdown", Step.NODE, False, True),
    # a dead node: what its task is stays as it was, only what Swarm wants tells
    ("running", "shutdown", Step.INTERFACE, False, True),
    ("preparing", "shutdown", Step.IMAGE, False, True),
    ("running", "remove", Step.INTERFACE, False, True),
    ("a state of the future", "running", Step.NODE, False, False),
]


@pytest.mark.parametrize(("state", "desired", "step", "running", "ended"), STATES)
def test_states(state, desired, step, running, ended):
    subject = task(state, desired)
    assert (subject.step, subject.running, subject.ended) == (step, running, ended)


@pytest.mark.parametrize(
    ("state", "error", "waits"),
    [
        ("pending", NO_ROOM, True),
        ("pending", "", False),
        ("running", NO_ROOM, False),
    ],
)
def test_waits_for_room(state, error, waits):
    assert task(state, error=error).waits_for_room is waits


# --- failures ------------------------------------------------------------------------------------

FAILURES = [
    # what happened, task, whether the kernel says out of memory, code
    ("it ended by itself", {"state": "complete", "exit_code": 0}, False, None),
    ("it was stopped", {"state": "shutdown", "exit_code": 0}, False, None),
    (
        "no such image",
        {"state": "rejected", "error": "No such image: x:1"},
        False,
        "image-not-found",
    ),
    (
        "private image",
        {"state": "rejected", "error": "pull access denied for x, repository does not exist"},
        False,
        "image-not-found",
    ),
    (
        "a volume option that the driver does not know",
        {"state": "rejected", "error": 'create mydocker-home: invalid option: "x"'},
        False,
        "folder-not-mounted",
    ),
    (
        "a folder that is not there",
        {"state": "failed", "error": MOUNT_FAILED, "exit_code": 128, "container_id": "c"},
        False,
        "folder-not-mounted",
    ),
    (
        "a command that is not there",
        {"state": "failed", "error": NO_COMMAND, "exit_code": 127, "container_id": "c"},
        False,
        "container-refused",
    ),
    ("refused", {"state": "rejected", "error": "is not directory"}, False, "container-refused"),
    ("no container", {"state": "failed", "error": "boom"}, False, "container-refused"),
    (
        "a crash",
        {"state": "failed", "exit_code": 3, "container_id": "c"},
        False,
        "container-exited",
    ),
    (
        "killed, not for its memory",
        {"state": "failed", "exit_code": 137, "container_id": "c"},
        False,
        "container-exited",
    ),
    (
        "killed for its memory",
        {"state": "failed", "exit_code": 137, "container_id": "c"},
        True,
        "out-of-memory",
    ),
    (
        "a crash, and earlier a program that was killed for its memory",
        {"state": "failed", "exit_code": 1, "container_id": "c"},
        True,
        "container-exited",
    ),
    ("orphaned", {"state": "orphaned", "node_id": "n"}, False, "node-lost"),
    ("its node died", {"state": "running", "desired": "shutdown"}, False, "node-lost"),
]


@pytest.mark.parametrize(
    ("fields", "out_of_memory", "code"),
    [case[1:] for case in FAILURES],
    ids=[case[0] for case in FAILURES],
)
def test_failures(fields, out_of_memory, code):
    error = failure(task(**fields), image="x:1", memory=10**9, out_of_memory=out_of_memory)
    assert (error and error.code) == code


REGISTRIES = [
    # what the engine answers when it is asked for an image's manifest (Docker 20.10)
    (404, "manifest unknown", False),
    (401, "errors:\ndenied: requested access to the resource is denied", False),
    (403, "pull access denied, repository does not exist or may require authorization", False),
    (500, 'Head "http://r/v2/x/manifests/1": no basic auth credentials', False),
    (500, "unauthorized: authentication required", False),
    (500, 'Get "http://r/v2/": dial tcp 127.0.0.1:1: connect: connection refused', True),
    (500, 'Get "https://r/v2/": dial tcp: lookup r on 10.0.0.1:53: no such host', True),
    (500, 'Get "http://r/v2/": context deadline exceeded (Client.Timeout exceeded)', True),
    (500, "received unexpected HTTP status: 503 Service Unavailable", True),
    (500, 'Get "https://r/v2/": x509: certificate signed by unknown authority', True),
]


@pytest.mark.parametrize(("status", "reason", "silent"), REGISTRIES)
def test_registries(status, reason, silent):
    assert registry_is_silent(status, reason) is silent


def test_parameters_of_failures():
    crash = task("failed", exit_code=3, container_id="c")
    error = failure(crash, image="x", memory=10**9, out_of_memory=False)
    assert error.params == {"exit_code": 3}
    killed = task("failed", exit_code=137, container_id="c")
    error = failure(killed, image="x", memory=10**9, out_of_memory=True)
    assert error.params == {"memory": 10**9}
    rejected = task("rejected", error="No such image: x:1")
    error = failure(rejected, image="x:1", memory=None, out_of_memory=False)
    assert error.params == {"image": "x:1"}


# --- which resource lacks ------------------------------------------------------------------------

NODES = [
    {"Description": {"Resources": {"NanoCPUs": 4 * 10**9, "MemoryBytes": 8 * 10**9}}},
    {
        "Description": {
            "Resources": {
                "NanoCPUs": 2 * 10**9,
                "MemoryBytes": 32 * 10**9,
                "GenericResources": [
                    {"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": "uuid-1"}},
                    {"NamedResourceSpec": {"Kind": "NVIDIA-GPU", "Value": "uuid-2"}},
                    {"DiscreteResourceSpec": {"Kind": "licence", "Value": 5}},
                ],
            }
        }
    },
    {"Description": None},
]


def gpus(number):
    return [{"DiscreteResourceSpec": {"Kind": "NVIDIA-GPU", "Value": number}}]


@pytest.mark.parametrize(
    ("reserved", "lacking"),
    [
        ({"MemoryBytes": 10**12, "NanoCPUs": 10**9}, {"memory": 10**12}),
        ({"MemoryBytes": 10**9, "NanoCPUs": 5 * 10**9}, {"cpus": 5.0}),
        ({"NanoCPUs": 10**9, "GenericResources": gpus(3)}, {"NVIDIA-GPU": 3}),
        # each is there, but not free: all that was asked for
        ({"MemoryBytes": 10**9, "NanoCPUs": 10**9}, {"memory": 10**9, "cpus": 1.0}),
        ({"GenericResources": gpus(2)}, {"NVIDIA-GPU": 2}),
        ({}, {}),
    ],
)
def test_what_lacks(reserved, lacking):
    assert scarce(task("pending", error=NO_ROOM), reserved, NODES) == lacking


@pytest.mark.parametrize(
    "reason", ["scheduling constraints not satisfied on 2 nodes", "missing plugin on 1 node", "?"]
)
def test_no_node_of_that_kind(reason):
    waiting = task("pending", error=f"no suitable node ({reason})")
    assert scarce(waiting, {"MemoryBytes": 1}, NODES) == {"kind": 1}


# --- reading -------------------------------------------------------------------------------------

RAW = {
    "ID": "t1",
    "ServiceID": "s1",
    "NodeID": "n1",
    "CreatedAt": "2026-02-03T10:00:00.5Z",
    "DesiredState": "running",
    "Spec": {"ContainerSpec": {"Labels": {"mydocker.hub": "paris"}}},
    "Status": {
        "State": "running",
        "ContainerStatus": {"ContainerID": "c1", "PID": 42, "ExitCode": 0},
        "PortStatus": {
            "Ports": [
                {"Protocol": "tcp", "TargetPort": 8888, "PublishedPort": 32768},
                # IPv6, whose number may be the one of another server on IPv4
                {"Protocol": "tcp", "TargetPort": 8888, "PublishedPort": 32770},
                {"Protocol": "tcp", "TargetPort": 22, "PublishedPort": 32769},
            ],
        },
    },
}


def test_read_task():
    assert read_task(RAW) == Task(
        service_id="s1",
        id="t1",
        state="running",
        desired="running",
        created_at="2026-02-03T10:00:00.5Z",
        node_id="n1",
        container_id="c1",
        exit_code=0,
        ports={8888: 32768, 22: 32769},
        labels={"mydocker.hub": "paris"},
    )


def pruned(value):
    """Any part of a task that the engine might leave out, or send as null."""
    if isinstance(value, dict):
        return st.fixed_dictionaries(
            {}, optional={key: st.none() | pruned(item) for key, item in value.items()}
        )
    if isinstance(value, list):
        return st.lists(pruned(value[0]), max_size=2)
    return st.just(value)


@given(pruned(RAW))
def test_a_task_that_lacks_something_is_read(raw):
    subject = read_task(raw)
    assert subject.step in Step
    assert subject.running in (True, False)
    failure(subject, image="x", memory=None, out_of_memory=False)
    newest([subject, subject])


# --- the newest ----------------------------------------------------------------------------------


def created(id_, at, service="s"):
    return Task(service_id=service, id=id_, state="running", desired="running", created_at=at)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-02-03T10:00:00.1Z", "2026-02-03T10:00:00.12Z"),
        ("2026-02-03T10:00:00Z", "2026-02-03T10:00:00.000001Z"),
        ("2026-02-03T10:00:00.999Z", "2026-02-03T10:00:01Z"),
        ("", "2026-02-03T10:00:01Z"),
    ],
)
def test_newest(older, newer):
    old, new = created("old", older), created("new", newer)
    assert newest([old, new])["s"].id == newest([new, old])["s"].id == "new"


def test_newest_of_each_service():
    first, second = created("1", "", service="a"), created("2", "", service="ab")
    assert newest([first, second]) == {"a": first, "ab": second}
    assert newest([]) == {}
