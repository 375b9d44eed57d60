"""From an environment and a person to a launch plan: everything that a start needs, resolved.

The plan is what the catalogue answers to the hub's spawner. It names no Docker concept beyond
image, volume and placement; `swarm.spec` turns it into a Swarm service.
"""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum
from urllib.parse import quote

from pydantic import Field, SecretStr, field_serializer

from . import names
from .command import render, split, variables
from .environment import ComputeType, Environment, InterfaceKind, Model, Resources, Title
from .errors import Conflict, Invalid, Refused
from .people import Person


class FolderKind(StrEnum):
    DEDICATED = "dedicated"
    GLOBAL = "global"


class FolderMount(Model):
    """A personal folder and where it is mounted.

    `prepared` says that the folder exists and everybody inside may write to it; until then the
    first start has to see to that. `node` is the machine that holds the folder, where the driver
    keeps it on one machine.
    """

    kind: FolderKind
    volume: str
    path: str
    driver: str
    options: dict[str, str] = Field(default_factory=dict)
    prepared: bool = False
    shared: bool = False
    node: str | None = None


class LaunchPlan(Model):
    """What to start. `command` is None where the image's own command is meant."""

    launch_id: int
    environment: str
    version: int
    title: Title
    server: str
    image: str
    command: tuple[str, ...] | None = Field(repr=False)  # may hold the secret
    variables: dict[str, str]
    kind: InterfaceKind
    port: int
    path: str
    folders: tuple[FolderMount, ...]
    resources: Resources
    constraints: tuple[str, ...] = ()
    generic_resources: dict[str, int] = Field(default_factory=dict)
    idle_limit: timedelta | None = None
    maximum: timedelta | None = None
    secret: SecretStr | None = None

    @field_serializer("secret", when_used="json")
    def _reveal(self, secret: SecretStr | None) -> str | None:
        # The plan travels once, from the catalogue to the hub; anywhere else it prints as ***.
        return secret.get_secret_value() if secret else None


THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "POLARS_MAX_THREADS",
    "TORCH_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "GOMAXPROCS",
    "JULIA_NUM_THREADS",
    "PYTHON_CPU_COUNT",
)
"""What libraries read to know how many threads to start. Without them they count the machine's
CPUs, and 64 threads in a 2-CPU quota are slower than 2."""


def thread_variables(cpu_limit: float | None) -> dict[str, str]:
    """Thread counts for a CPU limit, rounded up; none without a limit."""
    if cpu_limit is None:
        return {}
    threads = str(max(1, math.ceil(cpu_limit)))
    return dict.fromkeys(THREAD_VARIABLES, threads)


def folder_mounts(
    environment: Environment, person: Person, hub: str, compute_type: ComputeType
) -> tuple[FolderMount, ...]:
    """The personal folders of a start, outer paths first; not yet known to be prepared."""
    storage = environment.storage
    wanted = []
    if storage.dedicated:
        volume = names.dedicated_volume(hub, person.name, environment.slug)
        wanted.append((FolderKind.DEDICATED, volume, storage.dedicated))
    if storage.global_:
        volume = names.global_volume(hub, person.name)
        wanted.append((FolderKind.GLOBAL, volume, storage.global_))
    driver = compute_type.volumes
    return tuple(
        FolderMount(
            kind=kind,
            volume=volume,
            path=path,
            driver=driver.driver,
            options={
                key: value.replace("{{VOLUME}}", volume) for key, value in driver.options.items()
            },
            shared=driver.shared,
        )
        for kind, volume, path in sorted(wanted, key=lambda item: item[2])
    )


def plan(
    environment: Environment,
    person: Person,
    *,
    compute_type: ComputeType,
    folders: tuple[FolderMount, ...],
    launch_id: int,
    version: int,
    base_url: str,
    secret: SecretStr,
) -> LaunchPlan:
    """The launch plan of an environment for a person.

    `base_url` is the server's path on the hub, such as `/user/alice/jupyterlab-python/`. `secret`
    is fresh; it is handed on only where the command asks for it.

    Raises `Refused` where the environment's interface needs a part that is not there.
    """
    interface = environment.main_interface
    if any(one.kind is not InterfaceKind.HUB for one in environment.interfaces):
        raise Refused("interface-unsupported", title=environment.title)
    values = {
        "USERNAME": person.name,
        "PASSWORD": secret.get_secret_value(),
        "BASE_URL": base_url,
    }
    used = variables(environment.command or "")
    return LaunchPlan(
        launch_id=launch_id,
        environment=environment.slug,
        version=version,
        title=environment.title,
        server=names.server_name(environment.slug),
        image=environment.image,
        command=(
            tuple(render(split(environment.command), values)) if environment.command else None
        ),
        variables={**thread_variables(environment.resources.cpu_limit), **environment.variables},
        kind=interface.kind,
        port=interface.port,
        path=quote(interface.path),
        folders=folders,
        resources=environment.resources,
        constraints=compute_type.constraints + pinning(folders),
        generic_resources=compute_type.generic_resources,
        idle_limit=environment.lifetime.idle_limit,
        maximum=environment.lifetime.maximum,
        secret=secret if "PASSWORD" in used else None,
    )


def pinning(folders: tuple[FolderMount, ...]) -> tuple[str, ...]:
    """Keep a server on the machine that holds its folder, where no other machine sees it."""
    nodes = {folder.node for folder in folders if folder.node and not folder.shared}
    return tuple(f"node.id=={node}" for node in sorted(nodes))


def environment_of(server: str, user_options: object) -> str:
    """The environment that a start through the hub asks for.

    `user_options` is what anybody may send to the hub's REST API. Nothing in it is believed but
    the environment's name, which the server's name has to agree with; `profile` is what the
    admin panel shows and is written by us, so it may come back.

    Raises `Invalid` for anything else, `Conflict` where the two names disagree.
    """
    if not server:
        raise Invalid("no-default-server")
    if not isinstance(user_options, dict) or set(user_options) - {"environment", "profile"}:
        raise Invalid("options-forged")
    environment = user_options.get("environment", server)
    if not isinstance(environment, str) or not names.is_slug(environment):
        raise Invalid("options-forged")
    if names.server_name(environment) != server:
        raise Conflict(
            "server-name", environment=environment, expected=names.server_name(environment)
        )
    return environment
