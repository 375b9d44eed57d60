"""The hub's spawner: asks the catalogue what to start, starts it on the Swarm, says how it goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Container, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from docker.errors import APIError
from dockerspawner import DockerSpawner, SwarmSpawner
from jupyterhub.spawner import Spawner
from jupyterhub.utils import url_path_join
from pydantic import SecretStr
from tornado.httpclient import HTTPClientError
from traitlets import Float, Integer, Unicode, default
from traitlets.config import Config

from .catalogueapi import CatalogueApi
from .domain import culling
from .domain.environment import LANGUAGES, InterfaceKind, Text
from .domain.errors import N_, LaunchFailed, MydockerError, NotFound, Refused, Unavailable
from .domain.launch import FolderMount, LaunchPlan, environment_of, pinning
from .domain.logtext import masked, plain
from .domain.names import origin_label
from .domain.people import Person, roles_of
from .domain.route import Route
from .gatewayapi import GatewayApi
from .httpclient import client
from .hubpages import culler_seen, hub_error, language_of, spawn_form
from .seal import Seal
from .swarm import spec
from .swarm.client import NameTaken, SwarmClient, registry_of
from .swarm.tasks import CPUS, KIND, MEMORY, OUT_OF_MEMORY_EXIT, Step, Task, failure, scarce
from .swarm.watcher import Watcher
from .web.i18n import Translator, translator

# What operators may set of what we inherit. Everything else of SwarmSpawner and DockerSpawner,
# and these of Spawner, is decided by the catalogue: a setting that would be ignored is refused.
_HONOURED = frozenset(
    {
        "client_kwargs", "network_name", "extra_container_spec", "extra_endpoint_spec",
        "extra_placement_spec", "extra_resources_spec", "extra_task_spec",
    }
)  # fmt: skip
_DECIDED_BY_THE_CATALOGUE = frozenset(
    {
        "apply_user_options", "args", "cmd", "cpu_guarantee", "cpu_limit", "default_url",
        "env_keep", "group_overrides", "ip", "mem_guarantee", "mem_limit", "notebook_dir",
        "options_form", "options_from_form", "options_from_query", "port", "progress_ready_hook",
        "ssl_alt_names", "ssl_alt_names_include_local",
    }
)  # fmt: skip

_PROGRESS = {
    Step.NODE: 10,
    Step.FOLDER: 25,
    Step.IMAGE: 35,
    Step.CONTAINER: 60,
    Step.INTERFACE: 80,
}
_SENTENCES = {
    Step.NODE: N_("Looking for a machine with room for you."),
    Step.FOLDER: N_("Making your personal folder, which happens only once."),
    Step.IMAGE: N_("Bringing the software to the machine. A first time can take some minutes."),
    Step.CONTAINER: N_("Starting the container with your personal folder."),
    Step.INTERFACE: N_("Waiting for the interface to answer."),
}
_STEP_OF_FAILURE = {
    "image-not-found": Step.IMAGE,
    "registry-unreachable": Step.IMAGE,
    "container-refused": Step.CONTAINER,
    "folder-not-mounted": Step.FOLDER,
}  # a failure may come before its step was seen to begin
_NO_ROOM_YET = N_("All machines are full at the moment: waiting for one to have room.")
_DONE = N_("Ready.")
_LOG_LENGTH = 8000  # characters of a container's log that a page shows
_WHOLE_LOG_LENGTH = 100_000  # of 200 lines, for who looks after the environment
_VOLUME_TRIES = 60  # one a second
_LIMITS = ("idle_limit", "maximum", "extension", "protection")  # of a `culling.Policy`
_TOKEN_VARIABLES = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")  # both hold the server's own token


@dataclass
class StartLog:
    """What a start has said so far; pages that open late read it from the beginning."""

    events: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    finished: bool = False

    @property
    def step(self) -> Step:
        return Step(self.events[-1]["step"]) if self.events else Step.NODE

    def say(self, step: Step, sentence: str, *, state: str = "active", progress: int) -> None:
        """Add an event. What was said before is not said again, and progress never goes back."""
        if any((event["step"], event["message"]) == (step, sentence) for event in self.events):
            return
        if self.events:
            progress = max(progress, self.events[-1]["progress"])
        sentences = {lang: translator(lang).gettext(sentence) for lang in LANGUAGES}
        self._add(step, sentence, sentences, state=state, progress=progress)

    def fail(self, error: MydockerError) -> None:
        """The last event: why the start failed, and at which step."""
        sentences = {lang: translator(lang).error(error) for lang in LANGUAGES}
        event = {"log": error.log_lines} if isinstance(error, LaunchFailed) else {}
        step = _STEP_OF_FAILURE.get(error.code, self.step)
        self._add(step, sentences["en"], sentences, state="failed", progress=100, **event)

    def finish(self) -> None:
        self.finished = True
        self._wake()

    def _add(self, step: Step, message: str, sentences: dict[Any, str], **event: Any) -> None:
        self.events.append(
            {"step": step.value, "message": message, "sentences": sentences, **event}
        )
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class SwarmEnvironmentSpawner(SwarmSpawner):
    """Runs each named server as a Swarm service, as the catalogue's environment says.

    Of `dockerspawner.SwarmSpawner` it keeps the settings that operators know (`network_name`,
    `client_kwargs`, `extra_*_spec`) and replaces the life cycle. One watcher serves all servers
    of the hub, so `poll` costs nothing and the engine is asked once for everybody.
    """

    catalogue_url = Unicode(
        config=True,
        help="Address of the catalogue's REST API as the hub reaches it. Set by `hubconfig`.",
    )
    catalogue_secret = Unicode(
        config=True,
        help="The secret that the hub and the catalogue share. Set by `hubconfig`.",
    )
    gateway_url = Unicode(
        config=True,
        help="Address of the gateway as the hub and its proxy reach it. Set by `hubconfig`.",
    )
    gateway_secret = Unicode(
        config=True,
        help="The secret that the hub and the gateway share. Set by `hubconfig`.",
    )
    hub_id = Unicode(
        "mydocker",
        config=True,
        help="""
        Name of this hub on its Swarm, for labels and for the names of personal folders.
        Two hubs on one Swarm need two. Never change it afterwards: folders bear it.
        """,
    )
    answer_timeout = Integer(
        120,
        config=True,
        help="""
        Seconds that an interface may take to answer once its container runs. Raise it where
        images start slowly; a start as a whole still ends after `start_timeout` seconds.
        """,
    )
    room_timeout = Float(
        60,
        config=True,
        help="Seconds to wait for a machine with room, before the person is told to come back.",
    )
    service_id = Unicode()  # replaces upstream's alias; "" while there is no Swarm service

    _watcher: ClassVar[Watcher | None] = None
    _by_service: ClassVar[dict[str, SwarmEnvironmentSpawner]] = {}
    _background: ClassVar[set[asyncio.Task[Any]]] = set()

    user_options: dict[str, Any]
    launch_id = 0
    memory_bytes: int | None = None
    image_name = ""
    policy = culling.Policy()  # what ends the server while the culler is away
    route: Route | None = None  # how the gateway leads here; None where it does not
    environment_name = ""  # of the plan; "" before there is one, and for the trial of a build
    version = 0
    trial = False
    ended_for: MydockerError | None = None  # why somebody else than its person stops the server
    _trial_volumes: tuple[str, ...] = ()
    _secret = ""
    _secret_names: tuple[str, ...] = ()  # of variables whose values are nobody's to read
    _secret_values: tuple[str, ...] | None = None  # None after a restart: the engine knows them
    _starting = False
    _created: asyncio.Future[str] | None = None  # the engine's answer to the last create
    _clearing: asyncio.Task[None] | None = None  # after a start that failed or was cancelled

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_log = StartLog()

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return 600  # an image of several GB on a slow day; shorter failures end by themselves

    @default("http_timeout")
    def _default_http_timeout(self) -> int:
        # `start` has seen an answer already. A hub that restarts waits so long for each server
        # before it ends it: time enough for one that computes at its CPU limit.
        return 120

    @default("poll_interval")
    def _default_poll_interval(self) -> int:
        return 5  # reads memory

    @default("options_form")
    def _default_options_form(self) -> Any:
        return spawn_form

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        return _nothing_to_apply  # `start` reads the options, and believes only a name

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return options_from_form

    def options_from_query(self, query_data: dict[str, list[str]]) -> dict[str, str]:
        """`/hub/spawn/…?opt-environment=…` would start at once, from whatever page leads there."""
        raise hub_error(Refused("start-by-address"), self._language())

    @classmethod
    def check_config(cls, config: Config) -> None:
        """Refuse settings that would be ignored. Raises ValueError naming them; for start-up."""
        ours = set(cls.class_own_traits(config=True))
        inherited = set(DockerSpawner.class_traits(config=True)) | set(
            SwarmSpawner.class_traits(config=True)
        )
        allowed = ours | _HONOURED | set(Spawner.class_traits(config=True))
        refused = (inherited - allowed) | _DECIDED_BY_THE_CATALOGUE
        sections = [item.__name__ for item in cls.__mro__ if issubclass(item, Spawner)]
        found = [
            f"c.{section}.{name}"
            for section in sections
            if section in config
            for name in config[section]
            if name in refused and not (name == "options_form" and section == cls.__name__)
        ]
        if found:
            raise ValueError(
                "these settings have no effect with mydocker_hub, because the catalogue decides "
                f"them for each environment; please remove: {', '.join(sorted(found))}"
            )

    # --- what all servers share ------------------------------------------------------------------

    @property
    def watcher(self) -> Watcher:
        """The one watcher of this hub, started at first use."""
        cls = SwarmEnvironmentSpawner
        if cls._watcher is None:
            cls._watcher = Watcher(
                SwarmClient(dict(self.client_kwargs)),
                self.hub_id,
                on_out_of_memory=cls._someone_out_of_memory,
            )
        cls._watcher.start()
        return cls._watcher

    @property
    def catalogue(self) -> CatalogueApi:
        return CatalogueApi(self.catalogue_url, self.catalogue_secret)

    @property
    def gateway(self) -> GatewayApi:
        return GatewayApi(self.gateway_url, self.gateway_secret)

    @property
    def person(self) -> Person:
        """Whose server it is, whoever pressed the button."""
        groups = [group.name for group in self.user.groups]
        return Person(name=self.user.name, roles=roles_of(groups, bool(self.user.admin)))

    @property
    def identity(self) -> spec.Identity:
        return spec.Identity(self.hub_id, self.user.name, self.name)

    # --- start -----------------------------------------------------------------------------------

    async def start(self) -> str:
        """Start what the catalogue says; the server's address.

        A start that fails or is cancelled leaves nothing behind: the hub calls `stop` only for
        what `poll` says is alive.
        """
        if self._start_log.finished:
            self._start_log = StartLog()
        log = self._start_log
        deadline = asyncio.get_running_loop().time() + max(5, self.start_timeout - 10)
        self._starting = True
        self._begin_anew()
        try:
            async with asyncio.timeout_at(deadline):
                url = await self._start(log)
        except BaseException as error:
            self._clearing = self._soon(self._clear_away())
            problem = self._explain(error)
            self._report_end(problem)
            if isinstance(error, asyncio.CancelledError):
                raise  # whoever cancelled calls `stop`, which waits until all is cleared away
            log.fail(problem)
            log.finish()
            await asyncio.shield(self._clearing)
            raise hub_error(problem, self._language()) from error
        finally:
            log.finish()
            self._starting = False
        self._soon(self.catalogue.ready(self.launch_id))
        return url

    def _begin_anew(self) -> None:
        """Forget what the last server was of."""
        self.environment_name, self.version, self.trial = "", 0, False
        self.ended_for = None
        self._secret, self._secret_names, self._secret_values = "", (), ()

    def _take(self, plan: LaunchPlan) -> None:
        """Keep what is asked of a running server later on."""
        self.launch_id = plan.launch_id
        self.environment_name, self.version = plan.environment, plan.version
        self.trial = plan.trial
        self._trial_volumes = tuple(mount.volume for mount in plan.folders) if plan.trial else ()
        self.memory_bytes = plan.resources.memory_bytes
        self.image_name = plan.image
        self.policy = culling.Policy(
            idle_limit=plan.idle_limit,
            maximum=plan.maximum,
            extension=plan.extension,
            protection=plan.protection,
            trial=plan.trial,
        )
        self._secret = plan.secret.get_secret_value() if plan.secret else ""
        secrets = plan.secret_variables
        self._secret_names = tuple(secrets)
        self._secret_values = tuple(secret.get_secret_value() for secret in secrets.values())
        tr = translator(self._language())
        title = plan.title.in_(tr.lang)
        if plan.trial:
            title = tr.gettext("Trial: %(title)s", title=title)
        # The admin panel's column "profile" shows this.
        self._remember({"environment": self.name, "profile": title})

    async def _start(self, log: StartLog) -> str:
        try:
            environment = environment_of(self.name, self.user_options)
        except MydockerError:
            self._remember({})  # else the next start would find them and fail as well
            raise
        log.say(Step.NODE, _SENTENCES[Step.NODE], progress=5)
        plan = await self.catalogue.launch(
            self.person,
            environment=environment,
            server=self.name,
            base_url=self.server.base_url,
        )
        self._take(plan)
        plan = await self._prepare_folders(plan, log)
        service = spec.server_spec(
            plan,
            self.identity,
            environment=self._environment(plan),
            network=self.network_name,
            extras=self._extras,
        )
        await self._create(service)
        task = await self._follow(service, log, until="running", say=tuple(Step))
        if task.ended:
            raise await self._early_end(task)
        ports = plan.ports
        addresses = {port: await self._address(task, port) for port in ports}
        await self._set_weight(task, plan)
        log.say(Step.INTERFACE, _SENTENCES[Step.INTERFACE], progress=_PROGRESS[Step.INTERFACE])
        if plan.kind is InterfaceKind.HUB:
            url = addresses[plan.port]
            await self._wait_for_answer(url + url_path_join(self.server.base_url, "api"), plan.port)
        else:
            for endpoint in plan.endpoints:
                address = addresses[endpoint.port]
                await self._wait_for_answer(address + endpoint.base_path, endpoint.port)
            url = await self._open_door(plan, addresses)
        log.say(Step.INTERFACE, _DONE, state="done", progress=100)
        return url

    async def _open_door(self, plan: LaunchPlan, addresses: dict[int, str]) -> str:
        """Tell the gateway of this server; the gateway's address, which is the server's now."""
        route = Route(
            user=self.user.name,
            server=self.name,
            launch_id=plan.launch_id,
            base_url=self.server.base_url,
            label=origin_label(self.hub_id, self.user.name, self.name),
            client_id=self.oauth_client_id,
            access_scopes=tuple(self.oauth_access_scopes),
            token=SecretStr(self.api_token),
            secret=plan.secret,
            endpoints=plan.endpoints,
            entrances=plan.entrances,
            addresses=addresses,
        )
        await self.gateway.add(route)
        self.route = route
        return self.gateway_url

    async def _close_door(self) -> None:
        """No request reaches this server any more: its ports will be somebody else's."""
        if self.route is not None:
            self.route = None
            with suppress(MydockerError):  # a gateway that is down asks when it comes back
                await self.gateway.remove(self.user.name, self.name)

    async def _prepare_folders(self, plan: LaunchPlan, log: StartLog) -> LaunchPlan:
        """Make the folders that do not exist yet; afterwards the plan knows where they are."""
        new = [mount for mount in plan.folders if not mount.prepared]
        if not new:
            return plan
        log.say(Step.FOLDER, _SENTENCES[Step.FOLDER], progress=_PROGRESS[Step.FOLDER])
        service = spec.preparation_spec(plan, self.identity, new, self._extras)
        await self._create(service)
        ended = await self._follow(service, log, until="ended", say=(Step.IMAGE,))
        problem = failure(ended, image=plan.image, memory=None, out_of_memory=False)
        if ended.state == "failed" and problem and problem.code != "folder-not-mounted":
            # An image without a shell, say: Docker made the folder, with the image's own owner.
            self.log.warning("could not open the folders of %s: %s", self._log_name, ended.error)
        elif ended.state != "complete":
            problem = await self._told_apart(problem)
            raise problem or LaunchFailed("folder-not-mounted", log_detail=ended.error)
        for mount in () if plan.trial else new:  # a trial's folders are no one's
            await self.catalogue.folder_prepared(
                mount.volume, self.user.name, "" if mount.shared else ended.node_id
            )
        await self.watcher.client.remove_service(self.service_id)
        self._forget(self.service_id)
        return _at_home(plan, ended.node_id)

    async def _create(self, service: dict[str, Any]) -> None:
        """Create a Swarm service. One of the same name is left from a start that nobody knows."""
        for attempt in range(3):
            try:
                with self.watcher.creating(service["name"]):
                    # A create that was sent happens, even if we are cancelled meanwhile:
                    # `_clear_away` waits for its answer.
                    self._created = asyncio.ensure_future(
                        self.watcher.client.create_service(service)
                    )
                    self.service_id = await asyncio.shield(self._created)
            except NameTaken:
                if attempt == 2:
                    raise
                self.log.warning("removing the old Swarm service %s", service["name"])
                await self.watcher.client.remove_service(service["name"])
                await asyncio.sleep(0.5)
            except APIError as error:
                reason = self._redact(error.explanation or "")
                raise LaunchFailed("container-refused", log_lines=reason) from error
            else:
                break
        self.watcher.claim(self.service_id)
        self._by_service[self.service_id] = self

    async def _follow(
        self, service: dict[str, Any], log: StartLog, *, until: str, say: Container[Step]
    ) -> Task:
        """Wait until the task runs or has ended; say those steps meanwhile."""
        loop = asyncio.get_running_loop()
        full_since: float | None = None
        async for task in self.watcher.follow(self.service_id):
            if task is None:
                if self.watcher.is_gone(self.service_id):
                    raise LaunchFailed("node-lost", log_detail="its Swarm service is gone")
            elif task.ended or (until == "running" and task.running):
                return task
            elif task.waits_for_room:
                full_since = full_since or loop.time()
                log.say(Step.NODE, _NO_ROOM_YET, progress=_PROGRESS[Step.NODE])
                if loop.time() - full_since > self.room_timeout:
                    raise await self._no_room(task, service)
            else:
                full_since = None
                if task.step in say:
                    log.say(task.step, _SENTENCES[task.step], progress=_PROGRESS[task.step])
        raise AssertionError("unreachable")

    async def address_of(self, port: int) -> str:
        """Where any port of the running container is reached.

        Raises `port-out-of-reach` where it is not: published ports are those of the interfaces,
        and a container's own address is known on this machine only.
        """
        task = self.watcher.task(self.service_id)
        if task is None or not task.running:
            raise NotFound("server-not-running")
        if self.network_name or port in task.ports:
            return await self._address(task, port)
        address = await self.watcher.client.container_address(task.node_id, task.container_id)
        if not address:
            raise Refused("port-out-of-reach", port=str(port))
        return f"http://{address}:{port}"

    async def _address(self, task: Task, port: int) -> str:
        if self.network_name:
            return f"http://{self.identity.service_name}:{port}"
        published = task.ports.get(port)
        address = await self.watcher.client.address(task.node_id)
        if not published or not address:
            raise LaunchFailed("node-lost", log_detail=f"no address of node {task.node_id}")
        return f"http://{address}:{published}"

    async def _set_weight(self, task: Task, plan: LaunchPlan) -> None:
        # A Swarm service cannot name a weight; the engine that we talk to can be told of its own
        # containers. On other nodes this is the node agent's task.
        share = plan.resources.cpu_share
        client = self.watcher.client
        if share is not None and await client.is_local(task.node_id):
            await client.set_cpu_weight(task.container_id, spec.cpu_weight(share))

    async def _wait_for_answer(self, target: str, port: int) -> None:
        """Wait until an interface answers, or its container ends, or the time is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.answer_timeout
        status = None
        while loop.time() < deadline:
            if (answer := await _answer(target)) is not None and answer < 500:
                return
            status = answer or status
            task = self.watcher.task(self.service_id)
            if task is not None and task.ended:
                raise await self._early_end(task)
            # Noticed within an eighth of the time that it took, and half a second at most.
            await asyncio.sleep(min(max(0.03, (loop.time() - began) / 8), 0.5))
        # The last view may be some seconds old; an engine that is gone says so here.
        async for task in self.watcher.follow(self.service_id):
            if task is not None and task.ended:
                raise await self._early_end(task)
            break
        lines = await self._last_lines(self.service_id)
        seconds = self.answer_timeout
        if status is not None:
            raise LaunchFailed(
                "interface-failing", status=str(status), seconds=seconds, log_lines=lines
            )
        raise LaunchFailed(
            "not-answering",
            port=str(port),  # a name, not a quantity
            seconds=seconds,
            log_lines=lines,
        )

    def _environment(self, plan: LaunchPlan) -> dict[str, str]:
        """What the hub gives the server; only a Hub-aware server gets the hub's token."""
        if plan.kind is not InterfaceKind.HUB:
            return {}
        environment = Spawner.get_env(self)
        environment["JUPYTERHUB_SERVICE_URL"] = f"http://0.0.0.0:{plan.port}{self.server.base_url}"
        environment["JUPYTERHUB_DEFAULT_URL"] = plan.path
        kept = ("JUPYTERHUB_", "JPY_")
        return {
            name: str(value)
            for name, value in environment.items()
            if name.startswith(kept) or name in self.environment
        }

    @property
    def _extras(self) -> spec.Extras:
        return spec.Extras(
            container=self.extra_container_spec,
            resources=self.extra_resources_spec,
            placement=self.extra_placement_spec,
            task=self.extra_task_spec,
            endpoint=self.extra_endpoint_spec,
        )

    # --- failures --------------------------------------------------------------------------------

    async def _failure(self, task: Task) -> MydockerError | None:
        """Why a task ended, with what its container wrote last."""
        watcher = self.watcher
        out_of_memory = watcher.was_out_of_memory(task.service_id)
        if not out_of_memory and task.exit_code == OUT_OF_MEMORY_EXIT:
            with suppress(Unavailable):
                if await watcher.client.is_local(task.node_id):
                    out_of_memory = await watcher.client.was_out_of_memory(task.container_id)
        error = failure(
            task,
            image=self.image_name,
            memory=self.memory_bytes,
            out_of_memory=out_of_memory,
        )
        if isinstance(error, LaunchFailed) and not error.log_lines and task.container_id:
            error.log_lines = await self._last_lines(task.service_id)
        return await self._told_apart(error)

    async def _early_end(self, task: Task) -> MydockerError:
        """Why a server ended that was to go on: an exit code of 0 is a failure too, here."""
        error = await self._failure(task)
        if error is None:
            lines = await self._last_lines(task.service_id)
            error = LaunchFailed("container-exited", exit_code=0, log_lines=lines)
        return error

    async def _told_apart(self, error: MydockerError | None) -> MydockerError | None:
        """A registry that does not answer is not an image that does not exist."""
        if error is None or error.code != "image-not-found":
            return error
        trouble = await self.watcher.client.registry_trouble(self.image_name)
        if not trouble:
            return error
        return LaunchFailed(
            "registry-unreachable",
            image=self.image_name,
            registry=registry_of(self.image_name),
            log_detail=trouble,
        )

    async def _no_room(self, task: Task, service: dict[str, Any]) -> MydockerError:
        """Why no node is good enough, as far as can be known."""
        reserved = service["task_template"]["Resources"].get("Reservations") or {}
        wanted = scarce(task, reserved, await self.watcher.client.nodes())
        missing = {lang: ", ".join(_in_words(wanted, translator(lang))) for lang in LANGUAGES}
        return LaunchFailed(
            "no-node-fits", missing=Text.model_validate(missing), log_detail=task.error
        )

    def _explain(self, error: BaseException) -> MydockerError:
        if isinstance(error, MydockerError):
            return error
        if isinstance(error, asyncio.CancelledError):
            return self.ended_for or MydockerError("start-cancelled")
        if isinstance(error, TimeoutError):
            step = self._start_log.step.value
            return LaunchFailed("start-timeout", seconds=self.start_timeout, step=step)
        self.log.error("start of %s", self._log_name, exc_info=error)
        return MydockerError("internal")

    def _language(self) -> str:
        return language_of(self.handler) if self.handler is not None else LANGUAGES[0]

    async def log_text(self) -> str:
        """The last lines that the running container wrote, without the secrets it was given."""
        if not self.service_id:
            return ""
        return await self._last_lines(self.service_id, lines=200, length=_WHOLE_LOG_LENGTH)

    async def _last_lines(
        self, service_id: str, *, lines: int = 30, length: int = _LOG_LENGTH
    ) -> str:
        text = await self.watcher.client.last_lines(service_id, lines)
        if text and self._secret_values is None:
            told = await self.watcher.client.variables(service_id)
            names = (*self._secret_names, *_TOKEN_VARIABLES)
            self._secret_values = tuple(told[name] for name in names if name in told)
        return self._redact(text)[-length:]

    def _redact(self, text: str) -> str:
        """What a container wrote, without the secrets that it was given."""
        return masked(plain(text), (self.api_token, self._secret, *(self._secret_values or ())))

    # --- progress --------------------------------------------------------------------------------

    @property
    def start_events(self) -> list[dict[str, Any]]:
        """What the current or last start has said, for the first paint of the waiting page."""
        return self._start_log.events

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The five steps as they happen, for the hub's event stream."""
        log = self._start_log
        sent = 0
        while True:
            changed = log.changed
            while sent < len(log.events):
                yield dict(log.events[sent])
                sent += 1
            if log.finished:
                return
            await changed.wait()

    # --- while it runs ---------------------------------------------------------------------------

    async def poll(self) -> int | None:
        """None while the server lives, else its exit code. Reads memory; never asks Docker."""
        watcher = self.watcher  # it watches from now on: a hub that restarted begins here
        if self._starting or (self._clearing and not self._clearing.done()):
            return None
        if not self.service_id:
            return 0
        task = watcher.task(self.service_id)
        if task is None:
            if not watcher.is_gone(self.service_id):
                return None  # unknown is alive
            self._report_end(LaunchFailed("node-lost", log_detail="its Swarm service is gone"))
            self._forget(self.service_id)
            self._drop_trial_folders()
            return 1
        if not task.ended:
            return self._end_if_overdue()
        # The hub will not call stop for what has ended, and clears our state.
        self._soon(self._bury(task, self.launch_id, self._trial_volumes))
        self._trial_volumes = ()
        self._soon(self._close_door())
        self.service_id, self.launch_id = "", 0
        return task.exit_code or (0 if task.state == "complete" else 1)

    def _end_if_overdue(self) -> int | None:
        """End what is over its limits while the culler, whose task that is, has long not asked."""
        if not culler_seen.away:
            return None
        started, seen = self.orm_spawner.started, self.orm_spawner.last_activity
        server = culling.Server(started=_aware(started), last_activity=_aware(seen))
        over = culling.overdue(self.policy, server, datetime.now(UTC))
        if over is None:
            return None
        self.log.warning("%s: %s, and the culler is away", self._log_name, over.code)
        params: dict[str, Any] = {
            name: Text.model_validate(
                {lang: translator(lang).duration(limit) for lang in LANGUAGES}
            )
            for name, limit in over.params.items()
        }
        self._report_end(LaunchFailed(over.code, **params))
        self._clearing = self._soon(self._end())
        return 0

    async def _bury(self, task: Task, launch_id: int, trial_volumes: tuple[str, ...]) -> None:
        error = await self._failure(task)
        if error is not None and error.code == "container-exited":
            error = LaunchFailed("container-ended", **error.params)  # long after its start
        self._forget(task.service_id)
        self._soon(self._tell_end(launch_id, error))
        await self.watcher.client.remove_service(task.service_id)
        await self._remove_volumes(trial_volumes)

    @classmethod
    def _someone_out_of_memory(cls, service_id: str) -> None:
        spawner = cls._by_service.get(service_id)
        if spawner is not None:
            spawner.log.warning("%s went over its memory limit", spawner._log_name)
            spawner._soon(spawner.catalogue.notice(spawner.launch_id, "memory-limit"))

    # --- stop ------------------------------------------------------------------------------------

    async def stop(self, now: bool = False) -> None:
        """End the server; what is left of a start that was cancelled as well."""
        if self._clearing:
            await asyncio.shield(self._clearing)
        if self.service_id:
            await self._end()
            self._report_end(self.ended_for)

    async def _end(self) -> None:
        """Remove the Swarm service and wait until nothing of it runs: its folder is free then.

        The hub forgets the server whatever happens here, so this does not raise. What could not be
        removed belongs to nobody then, and the watcher's sweep removes it later.
        """
        service_id = self.service_id
        await self._close_door()
        try:
            await self.watcher.client.remove_service(service_id)
            async with asyncio.timeout(spec.STOP_GRACE.total_seconds() + 20):
                await self.watcher.gone(service_id)
        except (TimeoutError, MydockerError, APIError) as error:
            self.log.error("%s, Swarm service %s, stays: %r", self._log_name, service_id, error)
        finally:
            self._forget(service_id)
            self._drop_trial_folders()

    async def _clear_away(self) -> None:
        """After a start that failed or was cancelled: take away what was made."""
        if self._created and not self.service_id:
            with suppress(MydockerError, NameTaken, APIError):
                self.service_id = await self._created
        if self.service_id:
            await self._end()
        self._drop_trial_folders()

    def _drop_trial_folders(self) -> None:
        """Nothing of a trial is kept. On other nodes than the engine's own, its label is left."""
        if self._trial_volumes:
            self._soon(self._remove_volumes(self._trial_volumes))
            self._trial_volumes = ()

    async def _remove_volumes(self, volumes: tuple[str, ...]) -> None:
        # The container goes some moments after its service. What is held for longer, the watcher's
        # sweep removes.
        for _ in range(_VOLUME_TRIES):
            if not volumes:
                return
            volumes = tuple(await self.watcher.client.remove_volumes(volumes))
            await asyncio.sleep(1)

    def _forget(self, service_id: str) -> None:
        self.watcher.release(service_id)
        self._by_service.pop(service_id, None)
        if self.service_id == service_id:
            self.service_id = ""

    def _report_end(self, error: MydockerError | None) -> None:
        """Tell the catalogue how it ended; the dashboard shows why."""
        launch_id, self.launch_id = self.launch_id, 0
        self._soon(self._tell_end(launch_id, error))

    async def _tell_end(self, launch_id: int, error: MydockerError | None) -> None:
        if launch_id and error:
            await self.catalogue.ended(launch_id, error.code, dict(error.params))
        elif launch_id:
            await self.catalogue.ended(launch_id, "", {})

    def _remember(self, options: dict[str, str]) -> None:
        """What the hub keeps as the options of this server, for the next start too."""
        self.user_options = options
        if self.orm_spawner.user_options != options:
            self.orm_spawner.user_options = options
            self.user.db.commit()  # the hub rolls back what it finds open at the next await

    # --- what outlives the hub -------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        return {
            "service_id": self.service_id,
            "launch_id": self.launch_id,
            "memory_bytes": self.memory_bytes,
            "image": self.image_name,
            "environment": self.environment_name,
            "version": self.version,
            "trial": self.trial,
            "trial_volumes": list(self._trial_volumes),
            "secret_names": list(self._secret_names),  # the values are with the engine
            **{name: _seconds(getattr(self.policy, name)) for name in _LIMITS},
            "route": self._seal.close(self.route.model_dump(mode="json")) if self.route else "",
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.service_id = state.get("service_id", "")
        self.launch_id = state.get("launch_id", 0)
        self.memory_bytes = state.get("memory_bytes")
        self.image_name = state.get("image", "")
        # A release before this one kept no "environment": then the server bears its name.
        self.environment_name = str(state.get("environment", self.name if self.service_id else ""))
        self.version = state.get("version", 0)
        self.trial = state.get("trial", False)
        self._trial_volumes = tuple(state.get("trial_volumes", ()))
        self._secret_names = tuple(state.get("secret_names", ()))
        self._secret_values = None
        limits: dict[str, Any] = {name: _duration(state.get(name)) for name in _LIMITS}
        self.policy = culling.Policy(**limits, trial=self.trial)
        if opened := self._seal.open(state.get("route", "")):
            self.route = Route.model_validate(opened)
            self.api_token = self.route.token.get_secret_value()
            self._secret = self.route.secret.get_secret_value() if self.route.secret else ""
        if self.service_id:
            self.watcher.claim(self.service_id)
            self._by_service[self.service_id] = self

    def clear_state(self) -> None:
        self.service_id = ""
        self.launch_id = 0
        self.environment_name, self.version, self.trial = "", 0, False
        self._trial_volumes = self._secret_names = ()
        self.ended_for = None
        self.api_token = ""

    @property
    def _seal(self) -> Seal:
        # The hub's database holds tokens as hashes only; a route holds one as it is.
        return Seal(self.gateway_secret, "route")

    def _soon(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that nobody waits for; a failure is logged."""

        async def run() -> None:
            try:
                await work
            except Exception as error:
                logging.getLogger(__name__).warning("in the background: %s", error)

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _nothing_to_apply(spawner: Any, user_options: Any) -> None:
    pass


def options_from_form(form: dict[str, list[str]]) -> dict[str, str]:
    """The environment that was chosen in the spawn form.

    Whatever else was sent stays in, so that `environment_of` refuses it.
    """
    return {name: values[0] for name, values in form.items() if name != "_xsrf" and values}


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None  # the hub's database keeps naive UTC


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration else None


def _duration(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds else None


def _at_home(plan: LaunchPlan, node_id: str) -> LaunchPlan:
    """The plan once its folders exist: on that node, where the folder is seen from no other."""
    folders: tuple[FolderMount, ...] = tuple(
        mount
        if mount.prepared
        else mount.model_copy(update={"prepared": True, "node": None if mount.shared else node_id})
        for mount in plan.folders
    )
    pins = tuple(pin for pin in pinning(folders) if pin not in plan.constraints)
    return plan.model_copy(update={"folders": folders, "constraints": plan.constraints + pins})


def _in_words(wanted: dict[str, float], tr: Translator) -> Iterator[str]:
    """Resources that lack, as people read them."""
    for name, amount in wanted.items():
        if name == KIND:
            yield tr.gettext("no machine of the wanted kind")
        elif name == MEMORY:
            yield tr.gettext("memory: %(size)s", size=tr.bytes(int(amount)))
        elif name == CPUS:
            yield tr.gettext("processors: %(count)s", count=amount)
        else:
            yield tr.gettext("%(resource)s: %(count)s", resource=name, count=amount)


async def _answer(url: str) -> int | None:
    """The HTTP status that a web server answers with; None where nothing answers."""
    try:
        response = await client().fetch(
            url, raise_error=False, follow_redirects=False, connect_timeout=2, request_timeout=5
        )
    except (OSError, HTTPClientError):
        return None
    return None if response.code == 599 else response.code  # 599 is tornado's own: no answer
