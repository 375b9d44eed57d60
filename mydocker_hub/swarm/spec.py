"""From a launch plan to the Swarm service that runs it. Pure: nothing is sent.

Field names are those of the Engine API (`ServiceSpec`, version 1.41 and later). Operators' extra
keyword arguments are those of `docker.types`, as with dockerspawner's `SwarmSpawner`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from docker.types import (
    ContainerSpec,
    DriverConfig,
    EndpointSpec,
    Mount,
    Placement,
    Resources,
    RestartPolicy,
    TaskTemplate,
)

from ..domain import names
from ..domain.launch import FolderMount, LaunchPlan

HUB_LABEL = "mydocker.hub"
USER_LABEL = "mydocker.user"
SERVER_LABEL = "mydocker.server"
ENVIRONMENT_LABEL = "mydocker.environment"
VERSION_LABEL = "mydocker.version"
LAUNCH_LABEL = "mydocker.launch"
KIND_LABEL = "mydocker.kind"
TRIAL_LABEL = "mydocker.trial"
"""On what belongs to a trial, its volumes above all: what bears it may be removed when unused."""

DROPPED_CAPABILITIES = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"]
"""Of Docker's default set, what no environment of ours needs: with NET_RAW a student could forge
packets on the network that all share, with MKNOD make device files."""

STOP_GRACE = timedelta(seconds=10)

_BRACES = '{{"{{"}}'

# A folder that the image does not know comes from Docker as root's. It belongs to one person and
# is mounted for nobody else, so that everybody inside may write to it. Where the image has
# setfacl, new files too stay writable for the other images' user ids that share the folder.
# A folder must not stay empty: Docker would give it the image's owner and mode again at each start.
PREPARE_SCRIPT = """\
for folder in "$@"; do
  chmod a+rwx "$folder" || exit 1
  [ -n "$(ls -A "$folder")" ] || : >"$folder/.mydocker" || exit 1
  if command -v setfacl >/dev/null 2>&1; then
    setfacl -d -m u::rwx,g::rwx,o::rwx "$folder" 2>/dev/null || true
  fi
done
"""


@dataclass(frozen=True)
class Identity:
    """Whose server it is."""

    hub: str
    user: str
    server: str

    @property
    def service_name(self) -> str:
        return names.service_name(self.hub, self.user, self.server)

    def labels(self, plan: LaunchPlan, kind: str) -> dict[str, str]:
        return {
            HUB_LABEL: self.hub,
            USER_LABEL: self.user,
            SERVER_LABEL: self.server,
            ENVIRONMENT_LABEL: plan.environment,
            VERSION_LABEL: str(plan.version),
            LAUNCH_LABEL: str(plan.launch_id),
            KIND_LABEL: kind,
            **({TRIAL_LABEL: "true"} if plan.trial else {}),
        }


@dataclass(frozen=True)
class Extras:
    """Operators' additions: keyword arguments that replace ours, one dictionary a part."""

    container: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)


def server_spec(
    plan: LaunchPlan,
    identity: Identity,
    *,
    environment: Mapping[str, str],
    network: str = "",
    extras: Extras | None = None,
) -> dict[str, Any]:
    """The keyword arguments of `docker.APIClient.create_service` for a server.

    `environment` is what the hub gives the server; the plan's variables, secret ones included, come
    first and cannot replace it. Without `network`, its ports are published on the node that runs
    the server, as ports that Docker chooses; with it, the server is reached by its name on that
    network.
    """
    extras = extras or Extras()
    labels = identity.labels(plan, "server")
    container = ContainerSpec(
        **{
            "image": plan.image,
            "args": list(plan.command) if plan.command is not None else None,
            "env": _environment(
                {
                    **plan.variables,
                    **{
                        name: secret.get_secret_value()
                        for name, secret in plan.secret_variables.items()
                    },
                    **environment,
                }
            ),
            "labels": labels,
            "mounts": [
                *(_folder(mount, labels) for mount in plan.folders),
                Mount("/dev/shm", None, type="tmpfs", tmpfs_size=plan.resources.shm_bytes),  # noqa: S108
            ],
            # docker-stacks' health check ends a container that is only slow: Swarm stops an
            # unhealthy task. Readiness is ours to check.
            "healthcheck": {"Test": ["NONE"]},
            "init": True,
            "cap_drop": DROPPED_CAPABILITIES,
            "cap_add": ["SYS_PTRACE"] if plan.resources.ptrace else None,
            # Heard by engines from API 1.44 on; older ones have it as a setting of dockerd.
            "privileges": {"NoNewPrivileges": True},
            "stop_grace_period": _nanoseconds(STOP_GRACE),
            **extras.container,
        }
    )
    endpoint: dict[str, Any] = {"mode": "dnsrr"}
    if not network:
        endpoint["ports"] = [
            {"Protocol": "tcp", "TargetPort": port, "PublishMode": "host"} for port in plan.ports
        ]
    return _service(
        identity.service_name,
        labels,
        container,
        plan,
        endpoint=EndpointSpec(**{**endpoint, **extras.endpoint}),
        networks=[network] if network else [],
        extras=extras,
    )


def preparation_spec(
    plan: LaunchPlan, identity: Identity, folders: Sequence[FolderMount], extras: Extras
) -> dict[str, Any]:
    """What makes new folders and lets everybody inside write to them; it runs once and ends.

    Not a Swarm job: Docker 20.10 keeps the container of a finished job when the job is removed,
    and with it a hold on the folder.
    """
    labels = identity.labels(plan, "preparation")
    container = ContainerSpec(
        image=plan.image,
        command=["/bin/sh", "-c", PREPARE_SCRIPT, "prepare", *(mount.path for mount in folders)],
        user="0:0",
        labels=labels,
        mounts=[_folder(mount, labels) for mount in folders],
        healthcheck={"Test": ["NONE"]},
        init=True,  # a shell that is process 1 hears no SIGTERM: cancelling would take ten seconds
        # root of a teacher's image: no more than opening a folder takes
        cap_drop=[*DROPPED_CAPABILITIES, "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        privileges={"NoNewPrivileges": True},
    )
    return _service(
        names.preparation_name(f"{identity.service_name} {folders[0].volume}"),
        labels,
        container,
        plan,
        endpoint=None,
        networks=[],
        extras=extras,
    )


def cpu_weight(cpu_share: float) -> int:
    """Docker's CPU shares: 1024 for one CPU, at least 2 (the kernel's minimum)."""
    return max(2, round(cpu_share * 1024))


def _service(
    name: str,
    labels: dict[str, str],
    container: ContainerSpec,
    plan: LaunchPlan,
    *,
    endpoint: EndpointSpec | None,
    networks: list[str],
    extras: Extras,
) -> dict[str, Any]:
    template = TaskTemplate(
        **{
            "container_spec": container,
            "resources": _resources(plan, extras),
            "placement": Placement(
                **{"constraints": list(plan.constraints) or None, **extras.placement}
            ),
            # A server that ended has a reason, which its person is told; Swarm's own default
            # would start it again for ever.
            "restart_policy": RestartPolicy(condition="none"),
            "networks": [{"Target": network} for network in networks] or None,
            **extras.task,
        }
    )
    spec: dict[str, Any] = {
        "task_template": template,
        "name": name,
        "labels": labels,
        "mode": {"Replicated": {"Replicas": 1}},
    }
    if endpoint is not None:
        spec["endpoint_spec"] = endpoint
    return spec


def _resources(plan: LaunchPlan, extras: Extras) -> Resources:
    wanted = plan.resources
    reservation = wanted.cpu_reservation
    resources = Resources(
        **{
            "cpu_limit": _nano_cpus(wanted.cpu_limit),
            "mem_limit": wanted.memory_bytes,
            "cpu_reservation": _nano_cpus(reservation),
            "mem_reservation": wanted.memory_reservation_bytes,
            "generic_resources": dict(plan.generic_resources) or None,
            **extras.resources,
        }
    )
    # docker.types has no name for it (API 1.41).
    resources.setdefault("Limits", {})["Pids"] = wanted.pids_limit
    return resources


def _folder(mount: FolderMount, labels: dict[str, str]) -> Mount:
    return Mount(
        mount.path,
        mount.volume,
        type="volume",
        driver_config=DriverConfig(mount.driver, dict(mount.options) or None),
        labels={
            name: _literal(labels[name])
            for name in (HUB_LABEL, USER_LABEL, TRIAL_LABEL)
            if name in labels
        },
    )


def _environment(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in sorted(variables.items())]


def _literal(value: str) -> str:
    # Swarm reads variables and mounts as Go templates (swarmkit, template/expand.go): this one
    # stands for itself.
    return value.replace("{{", _BRACES)


def variables_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The variables that a Swarm service gives its container, as the container sees them."""
    lines = service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Env") or []
    pairs = (line.partition("=") for line in lines)
    return {name: value.replace(_BRACES, "{{") for name, _, value in pairs}


def _nano_cpus(cpus: float | None) -> int | None:
    return None if cpus is None else round(cpus * 1e9)


def _nanoseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1e9)
