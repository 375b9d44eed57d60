"""From an environment and a person to a launch plan: everything that a start needs, resolved.

The plan is what the catalogue answers to the hub's spawner. It names no Docker concept beyond
image, volume and placement; `swarm.spec` turns it into a Swarm service.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import quote, urlencode, urlsplit

from pydantic import Field, SecretStr, field_serializer

from . import names
from .command import jupyter_command, port_of, render, split, variables
from .environment import (
    ComputeType,
    Content,
    Environment,
    Interface,
    InterfaceKind,
    Model,
    Prefix,
    Resources,
    SignIn,
    Title,
)
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


class Place(Model):
    """Where people find a server.

    `base_url` is its path at the hub, such as `/user/alice/jupyterlab-python/`; `public_url` the
    hub's scheme and host, empty where operators did not say. With `wildcard_url`, such as
    `https://*.env.example.org`, each port has an origin of its own, named by `label`.
    """

    base_url: str
    public_url: str = ""
    wildcard_url: str = ""
    label: str = ""

    def origin(self, port: int) -> str:
        """The origin of a port of its own, or "" without a wildcard domain."""
        return self.wildcard_url.replace("*", f"{port}-{self.label}")


class Endpoint(Model):
    """A port that the gateway leads to. People see it `prefix` below the server's address; the
    container is asked for it below `base_path`, which is `/` where the prefix is stripped."""

    name: str
    port: int
    prefix: str
    base_path: str
    sign_in: SignIn


class Entrance(Model):
    """An interface as people choose it; `path` is below the server's address."""

    name: str
    title: Title
    path: str


class LaunchPlan(Model):
    """What to start. `command` is None where the image's own command is meant.

    `environment` is empty for the trial of a build, which is of no environment. The folders of a
    `trial` are new and are removed after it.
    """

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
    endpoints: tuple[Endpoint, ...] = ()
    entrances: tuple[Entrance, ...] = ()
    folders: tuple[FolderMount, ...]
    resources: Resources
    constraints: tuple[str, ...] = ()
    generic_resources: dict[str, int] = Field(default_factory=dict)
    idle_limit: timedelta | None = None
    maximum: timedelta | None = None
    extension: timedelta | None = None
    protection: timedelta | None = None
    secret: SecretStr | None = None
    secret_variables: dict[str, SecretStr] = Field(default_factory=dict)
    trial: bool = False

    @property
    def ports(self) -> tuple[int, ...]:
        """The container's ports that people reach, the main one first."""
        return tuple(endpoint.port for endpoint in self.endpoints) or (self.port,)

    @field_serializer("secret", when_used="json")
    def _reveal(self, secret: SecretStr | None) -> str | None:
        # The plan travels once, from the catalogue to the hub; anywhere else it prints as ***.
        return secret.get_secret_value() if secret else None

    @field_serializer("secret_variables", when_used="json")
    def _reveal_variables(self, secrets: dict[str, SecretStr]) -> dict[str, str]:
        return {name: secret.get_secret_value() for name, secret in secrets.items()}


TRIAL_MAXIMUM = timedelta(hours=1)

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


def trial_mounts(
    environment: Environment, person: Person, hub: str, server: str, launch_id: int
) -> tuple[FolderMount, ...]:
    """What stands for the personal folders in one trial: empty, where the environment has them.

    On the machine's own disk whatever the compute type keeps folders on, so that removing the
    volume removes what is in it.
    """
    storage = environment.storage
    wanted = [(FolderKind.DEDICATED, storage.dedicated), (FolderKind.GLOBAL, storage.global_)]
    return tuple(
        FolderMount(
            kind=kind,
            volume=names.trial_volume(hub, person.name, server, launch_id, kind.value),
            path=path,
            driver="local",
        )
        for kind, path in sorted(wanted, key=lambda item: item[1] or "")
        if path
    )


def as_tried(environment: Environment) -> Environment:
    """The environment as a trial runs it: as for anybody, but never for longer than an hour."""
    maximum = min(environment.lifetime.maximum or TRIAL_MAXIMUM, TRIAL_MAXIMUM)
    lifetime = environment.lifetime.model_copy(update={"maximum": maximum})
    return environment.model_copy(update={"lifetime": lifetime})


def plan(
    environment: Environment,
    person: Person,
    *,
    compute_type: ComputeType,
    folders: tuple[FolderMount, ...],
    launch_id: int,
    version: int,
    place: Place,
    secret: SecretStr,
    secret_variables: Mapping[str, str] = MappingProxyType({}),
    trial_server: str = "",
) -> LaunchPlan:
    """The launch plan of an environment for a person; with `trial_server`, of a trial there.

    `secret` is fresh; it is handed on only where the command asks for it. `secret_variables` are
    variables whose values nobody is shown. A Jupyter server behind
    the gateway that was not told its path is told it here, by an option after its others.

    Raises `Refused` where the command names the public address and nobody has set it.
    """
    interface = environment.main_interface
    used = variables(environment.command or "")
    words = split(environment.command) if environment.command else None
    jupyter = jupyter_command(words) if words else None
    endpoints = _endpoints(environment, place) if environment.kind is InterfaceKind.WEB else ()
    if words is not None and jupyter and not jupyter.base_url_set:
        for endpoint in endpoints:
            if endpoint.port == jupyter.port and endpoint.base_path != "/":
                words.append(f"--ServerApp.base_url={endpoint.base_path}")
    values = {
        "USERNAME": person.name,
        "PASSWORD": secret.get_secret_value(),
        "BASE_URL": endpoints[0].base_path if endpoints else place.base_url,
        **_of_ports(used, endpoints, place),
    }
    return LaunchPlan(
        launch_id=launch_id,
        environment=environment.slug,
        version=version,
        title=environment.title,
        server=trial_server or names.server_name(environment.slug),
        image=environment.image,
        command=tuple(render(words, values)) if words is not None else None,
        variables={**thread_variables(environment.resources.cpu_limit), **environment.variables},
        kind=interface.kind,
        port=interface.port,
        path=quote(interface.path),
        endpoints=endpoints,
        entrances=entrances(environment),
        folders=folders,
        resources=environment.resources,
        constraints=compute_type.constraints + pinning(folders),
        generic_resources=compute_type.generic_resources,
        idle_limit=environment.lifetime.idle_limit,
        maximum=environment.lifetime.maximum,
        extension=environment.lifetime.extension,
        protection=environment.lifetime.protection,
        secret=secret if "PASSWORD" in used else None,
        secret_variables={name: SecretStr(value) for name, value in secret_variables.items()},
        trial=bool(trial_server),
    )


def entrances(environment: Environment) -> tuple[Entrance, ...]:
    """The interfaces of an environment as people choose them.

    Where there is content to fetch, the first leads through nbgitpuller, which fetches it and goes
    on to it.
    """
    prefixes = _prefixes(environment)
    found = [
        Entrance(
            name=interface.name,
            title=interface.title,
            path=prefixes[interface.port] + quote(interface.path).lstrip("/"),
        )
        for interface in environment.interfaces
    ]
    if environment.content is not None:
        main = environment.main_interface
        pull = content_path(environment.content, main.path)
        found[0] = found[0].model_copy(update={"path": prefixes[main.port] + pull})
    return tuple(found)


def content_path(content: Content, interface_path: str) -> str:
    """nbgitpuller's link for a repository, below a Jupyter server; it opens what was fetched.

    https://nbgitpuller.readthedocs.io/en/latest/topic/url-options.html; the folder is named, since
    nbgitpuller would keep a `.git` at the end of an address.
    """
    folder = content.repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    if not folder.strip("."):
        folder = "content"
    is_lab = interface_path == "/lab" or interface_path.startswith("/lab/")
    opened = "/".join(part for part in (folder, content.path.strip("/")) if part)
    query = {
        "repo": content.repository,
        **({"branch": content.branch} if content.branch else {}),
        "targetpath": folder,
        "urlpath": f"{'lab/' if is_lab else ''}tree/{quote(opened)}",
    }
    return f"git-pull?{urlencode(query, quote_via=quote)}"


def starts_alike(one: Environment, other: Environment) -> bool:
    """Whether both start the same server: they differ in texts, state or openness at most."""
    return _what_runs(one) == _what_runs(other)


def _what_runs(environment: Environment) -> dict[str, object]:
    return environment.model_dump(
        include={
            *("image", "command", "variables", "interfaces", "resources", "storage", "lifetime"),
            "content",  # it is where a running server's entrance leads
        },
        exclude={"interfaces": {"__all__": {"title"}}},
    )


def main_prefix(environment: Environment) -> str:
    """Where the main interface's port is seen, below the server's address: "" or `lab/`."""
    return _prefixes(environment)[environment.main_interface.port]


def _prefixes(environment: Environment) -> dict[int, str]:
    """The path of each port below the server's address: none for an only one."""
    first: dict[int, str] = {}
    for interface in environment.interfaces:
        first.setdefault(interface.port, f"{interface.name}/")
    return first if len(first) > 1 else dict.fromkeys(first, "")


def _endpoints(environment: Environment, place: Place) -> tuple[Endpoint, ...]:
    prefixes = _prefixes(environment)
    interfaces = {interface.port: interface for interface in reversed(environment.interfaces)}
    return tuple(
        _endpoint(environment, interfaces[port], prefix, place) for port, prefix in prefixes.items()
    )


def _endpoint(
    environment: Environment, interface: Interface, prefix: str, place: Place
) -> Endpoint:
    port = interface.port
    used = variables(environment.command or "")
    jupyter = jupyter_command(split(environment.command)) if environment.command else None
    is_jupyter = jupyter is not None and jupyter.port == port
    is_main = port == environment.main_interface.port
    told = is_jupyter or f"BASE_URL['{port}']" in used or (is_main and "BASE_URL" in used)
    keep = interface.prefix is Prefix.KEEP if interface.prefix else told
    sign_in = SignIn.JUPYTER if is_jupyter and "PASSWORD" in used else SignIn.NONE
    return Endpoint(
        name=interface.name,
        port=port,
        prefix=prefix,
        # An origin of its own needs no path.
        base_path=place.base_url + prefix if keep and not place.wildcard_url else "/",
        sign_in=interface.sign_in or sign_in,
    )


def _of_ports(used: set[str], endpoints: tuple[Endpoint, ...], place: Place) -> dict[str, str]:
    """The values of `HOST['n']`, `PORT['n']` and `BASE_URL['n']`."""
    base_paths = {endpoint.port: endpoint.base_path for endpoint in endpoints}
    values = {}
    for name in used:
        port = port_of(name)
        if port is None:
            continue
        if name.startswith("BASE_URL"):
            values[name] = base_paths[port]
            continue
        address = urlsplit(place.origin(port) or place.public_url)
        if not address.hostname:
            raise Refused("public-address-unknown")
        if name.startswith("HOST"):
            values[name] = address.hostname
        else:
            values[name] = str(address.port or (443 if address.scheme == "https" else 80))
    return values


def pinning(folders: tuple[FolderMount, ...]) -> tuple[str, ...]:
    """Keep a server on the machine that holds its folder, where no other machine sees it."""
    nodes = {folder.node for folder in folders if folder.node and not folder.shared}
    return tuple(f"node.id=={node}" for node in sorted(nodes))


def environment_of(server: str, user_options: object) -> str:
    """The environment that a start through the hub asks for.

    `user_options` is what anybody may send to the hub's REST API. Nothing in it is believed but
    the environment's name, which the server's name has to agree with; `profile` is what the
    admin panel shows and is written by us, so it may come back. For a trial it is the server's own
    name (`names.trial_name`): the catalogue knows what its person tries there.

    Raises `Invalid` for anything else, `Conflict` where the two names disagree.
    """
    if not server:
        raise Invalid("no-default-server")
    if not isinstance(user_options, dict) or set(user_options) - {"environment", "profile"}:
        raise Invalid("options-forged")
    environment = user_options.get("environment", server)
    if isinstance(environment, str) and names.is_trial(environment):
        if environment != server:
            raise Invalid("options-forged")
        return environment
    if not isinstance(environment, str) or not names.is_slug(environment):
        raise Invalid("options-forged")
    if names.server_name(environment) != server:
        raise Conflict(
            "server-name", environment=environment, expected=names.server_name(environment)
        )
    return environment
