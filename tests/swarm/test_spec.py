"""A launch plan in, a Swarm service out: the whole dictionary."""

import pytest

from mydocker_hub.domain import names
from mydocker_hub.domain.launch import FolderMount, LaunchPlan
from mydocker_hub.swarm.spec import (
    PREPARE_SCRIPT,
    Extras,
    Identity,
    cpu_weight,
    preparation_spec,
    server_spec,
)

ALICE = Identity(hub="paris", user="alice@example.org", server="julia")
LABELS = {
    "mydocker.hub": "paris",
    "mydocker.user": "alice@example.org",
    "mydocker.server": "julia",
    "mydocker.environment": "julia",
    "mydocker.version": "3",
    "mydocker.launch": "7",
}
OWNER = {"mydocker.hub": "paris", "mydocker.user": "alice@example.org"}
MINE = FolderMount(
    kind="dedicated",
    volume="mine",
    path="/data/mine",
    driver="local",
    options={"type": "nfs", "device": ":/mine"},
)
HOME = FolderMount(kind="global", volume="home", path="/home/jovyan", driver="local")


def plan(**fields):
    return LaunchPlan.model_validate(
        {
            "launch_id": 7,
            "environment": "julia",
            "version": 3,
            "title": {"fr": "Julia", "en": "Julia"},
            "server": "julia",
            "image": "julia:1",
            "command": None,
            "variables": {},
            "kind": "hub",
            "port": 8888,
            "path": "/lab",
            "folders": (),
            "resources": {},
            **fields,
        }
    )


def as_sent(value):
    """What the engine sees: what is null is as good as left out."""
    if isinstance(value, dict):
        return {key: as_sent(item) for key, item in value.items() if item is not None}
    return [as_sent(item) for item in value] if isinstance(value, list) else value


def server(extras=None, network="", environment=None, **fields):
    return as_sent(
        server_spec(
            plan(**fields), ALICE, environment=environment or {}, network=network, extras=extras
        )
    )


def container(**arguments):
    return server(**arguments)["task_template"]["ContainerSpec"]


def test_everything():
    spec = server(
        image="registry.example.org/julia:1",
        command=("jupyterhub-singleuser", "--debug"),
        variables={"OMP_NUM_THREADS": "2", "LANG": "fr"},
        environment={"JUPYTERHUB_API_TOKEN": "t0ken"},
        folders=(MINE, HOME),
        resources={
            "cpu_limit": 1.5,
            "cpu_share": 0.5,
            "cpu_reservation": 0.25,
            "memory_bytes": 2_000_000_000,
            "memory_reservation_bytes": 500_000_000,
            "shm_bytes": 100_000_000,
            "pids_limit": 300,
            "ptrace": True,
        },
        constraints=("node.labels.kind==gpu",),
        generic_resources={"NVIDIA-GPU": 1},
    )
    labels = {**LABELS, "mydocker.kind": "server"}
    assert spec == {
        "name": names.service_name("paris", "alice@example.org", "julia"),
        "labels": labels,
        "mode": {"Replicated": {"Replicas": 1}},
        "endpoint_spec": {
            "Mode": "dnsrr",
            "Ports": [{"TargetPort": 8888, "Protocol": "tcp", "PublishMode": "host"}],
        },
        "task_template": {
            "ContainerSpec": {
                "Image": "registry.example.org/julia:1",
                "Args": ["jupyterhub-singleuser", "--debug"],
                "Env": ["JUPYTERHUB_API_TOKEN=t0ken", "LANG=fr", "OMP_NUM_THREADS=2"],
                "Labels": labels,
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": "mine",
                        "Target": "/data/mine",
                        "ReadOnly": False,
                        "VolumeOptions": {
                            "Labels": OWNER,
                            "DriverConfig": {
                                "Name": "local",
                                "Options": {"type": "nfs", "device": ":/mine"},
                            },
                        },
                    },
                    {
                        "Type": "volume",
                        "Source": "home",
                        "Target": "/home/jovyan",
                        "ReadOnly": False,
                        "VolumeOptions": {"Labels": OWNER, "DriverConfig": {"Name": "local"}},
                    },
                    {
                        "Type": "tmpfs",
                        "Target": "/dev/shm",
                        "ReadOnly": False,
                        "TmpfsOptions": {"SizeBytes": 100_000_000},
                    },
                ],
                "Healthcheck": {"Test": ["NONE"]},
                "Init": True,
                "CapabilityDrop": [
                    "AUDIT_WRITE",
                    "MKNOD",
                    "NET_RAW",
                    "SETFCAP",
                    "SETPCAP",
                    "SYS_CHROOT",
                ],
                "CapabilityAdd": ["SYS_PTRACE"],
                "Privileges": {"NoNewPrivileges": True},
                "StopGracePeriod": 10_000_000_000,
            },
            "Resources": {
                "Limits": {"NanoCPUs": 1_500_000_000, "MemoryBytes": 2_000_000_000, "Pids": 300},
                "Reservations": {
                    "NanoCPUs": 250_000_000,
                    "MemoryBytes": 500_000_000,
                    "GenericResources": [
                        {"DiscreteResourceSpec": {"Kind": "NVIDIA-GPU", "Value": 1}}
                    ],
                },
            },
            "Placement": {"Constraints": ["node.labels.kind==gpu"]},
            "RestartPolicy": {"Condition": "none", "Delay": 0, "MaxAttempts": 0, "Window": 0},
        },
    }


def test_the_least():
    spec = server()
    template = spec["task_template"]
    assert template["ContainerSpec"] == {
        "Image": "julia:1",
        "Env": [],
        "Labels": {**LABELS, "mydocker.kind": "server"},
        "Mounts": [
            {
                "Type": "tmpfs",
                "Target": "/dev/shm",
                "ReadOnly": False,
                "TmpfsOptions": {"SizeBytes": 64 * 1024 * 1024},
            }
        ],
        "Healthcheck": {"Test": ["NONE"]},
        "Init": True,
        "CapabilityDrop": ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"],
        "Privileges": {"NoNewPrivileges": True},
        "StopGracePeriod": 10_000_000_000,
    }
    assert template["Resources"] == {"Limits": {"Pids": 2048}}
    assert "Placement" not in template
    assert "Networks" not in template


@pytest.mark.parametrize(
    "wanted", [{"cpu_limit": 0.05}, {"memory_bytes": 6 * 1024 * 1024, "shm_bytes": 6 * 1024 * 1024}]
)
def test_the_smallest_limit_is_a_limit(wanted):
    assert len(server(resources=wanted)["task_template"]["Resources"]["Limits"]) == 2


def test_no_process_may_be_traced_unless_the_environment_asks():
    assert "CapabilityAdd" not in container()
    assert container(resources={"ptrace": True})["CapabilityAdd"] == ["SYS_PTRACE"]


def test_on_a_network_no_port_is_published():
    spec = server(network="students")
    assert spec["endpoint_spec"] == {"Mode": "dnsrr"}
    assert spec["task_template"]["Networks"] == [{"Target": "students"}]


def test_a_weight_alone_is_no_limit():
    resources = server(resources={"cpu_share": 2})["task_template"]["Resources"]
    assert resources == {"Limits": {"Pids": 2048}}


@pytest.mark.parametrize(
    ("share", "weight"), [(1, 1024), (0.5, 512), (2.25, 2304), (0.05, 51), (0.0001, 2)]
)
def test_cpu_weight(share, weight):
    assert cpu_weight(share) == weight


def test_what_the_hub_gives_is_not_replaced_by_the_environment():
    spec = container(
        variables={"JUPYTERHUB_API_TOKEN": "forged", "OTHER": "x"},
        environment={"JUPYTERHUB_API_TOKEN": "real"},
    )
    assert spec["Env"] == ["JUPYTERHUB_API_TOKEN=real", "OTHER=x"]


def test_values_are_no_templates_of_swarm():
    """Swarm reads variables and mounts as Go templates, and refuses what is not one."""
    identity = Identity(hub="paris", user="{{.Node.Hostname}}", server="julia")
    spec = server_spec(
        plan(folders=(HOME,)), identity, environment={"A": "{{.Service.Name}} {{", "B": "}} {x}"}
    )["task_template"]["ContainerSpec"]
    assert spec["Env"] == ['A={{"{{"}}.Service.Name}} {{"{{"}}', "B=}} {x}"]
    assert spec["Mounts"][0]["VolumeOptions"]["Labels"]["mydocker.user"] == (
        '{{"{{"}}.Node.Hostname}}'
    )
    assert spec["Labels"]["mydocker.user"] == "{{.Node.Hostname}}"  # which it does not read


def test_operators_extras_replace_ours():
    spec = server(
        extras=Extras(
            container={"hostname": "lab", "init": False, "hosts": {"licence": "192.0.2.1"}},
            resources={"mem_limit": 1_000_000_000},
            placement={"constraints": ["node.role==worker"], "maxreplicas": 1},
            task={"force_update": 3},
            endpoint={"mode": "vip"},
        ),
        constraints=("node.labels.kind==gpu",),
        resources={"memory_bytes": 2_000_000_000},
    )
    template = spec["task_template"]
    assert template["ContainerSpec"]["Hostname"] == "lab"
    assert template["ContainerSpec"]["Init"] is False
    assert template["ContainerSpec"]["Hosts"] == ["192.0.2.1 licence"]
    assert template["ContainerSpec"]["Healthcheck"] == {"Test": ["NONE"]}
    assert template["Resources"]["Limits"] == {"MemoryBytes": 1_000_000_000, "Pids": 2048}
    assert template["Placement"] == {"Constraints": ["node.role==worker"], "MaxReplicas": 1}
    assert template["ForceUpdate"] == 3
    assert spec["endpoint_spec"]["Mode"] == "vip"


def test_preparation():
    """What makes the folders: root, once, no port, no network, placed as the server will be."""
    extras = Extras(
        container={"hostname": "lab"}, placement={"preferences": [("spread", "node.labels.rack")]}
    )
    wanted = plan(
        image="julia:1",
        folders=(MINE, HOME),
        resources={"memory_bytes": 10**9, "memory_reservation_bytes": 10**9},
        constraints=("node.labels.kind==gpu",),
        variables={"SECRET": "x"},
    )
    labels = {**LABELS, "mydocker.kind": "preparation"}
    spec = as_sent(preparation_spec(wanted, ALICE, [MINE, HOME], extras))
    mounts = spec["task_template"]["ContainerSpec"].pop("Mounts")
    assert [(mount["Source"], mount["Target"]) for mount in mounts] == [
        ("mine", "/data/mine"),
        ("home", "/home/jovyan"),
    ]
    assert spec == {
        "name": names.preparation_name(f"{ALICE.service_name} mine"),
        "labels": labels,
        "mode": {"Replicated": {"Replicas": 1}},
        "task_template": {
            "ContainerSpec": {
                "Image": "julia:1",
                "Command": [
                    "/bin/sh",
                    "-c",
                    PREPARE_SCRIPT,
                    "prepare",
                    "/data/mine",
                    "/home/jovyan",
                ],
                "User": "0:0",
                "Labels": labels,
                "Healthcheck": {"Test": ["NONE"]},
                "Init": True,
                "CapabilityDrop": [
                    *("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"),
                    *("KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"),
                ],
                "Privileges": {"NoNewPrivileges": True},
            },
            "Resources": {
                "Limits": {"MemoryBytes": 10**9, "Pids": 2048},
                "Reservations": {"MemoryBytes": 10**9},
            },
            "Placement": {
                "Constraints": ["node.labels.kind==gpu"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.rack"}}],
            },
            "RestartPolicy": {"Condition": "none", "Delay": 0, "MaxAttempts": 0, "Window": 0},
        },
    }
    assert spec["name"] != ALICE.service_name
