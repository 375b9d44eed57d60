"""The builder: real builds on the real engine, and what becomes of them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest
import requests
from tornado.httpserver import HTTPServer

from mydocker_hub import filestore
from mydocker_hub.builderapi import BuilderApi
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.images import BuildState, ContextFile, Recipe
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.filestore import FileStore
from mydocker_hub.services.builder.app import make_app
from mydocker_hub.services.builder.preparation import Preparation
from mydocker_hub.services.builder.state import Settings
from mydocker_hub.services.builder.worker import Worker
from mydocker_hub.store import builds, images
from mydocker_hub.store.builds import Build
from mydocker_hub.store.database import Database
from mydocker_hub.swarm.builds import Limits, Setup, read_facts
from mydocker_hub.swarm.client import SwarmClient
from tests.conftest import ROOT, end, free_ports, start_hub
from tests.gitserver import run_git_server
from tests.hub import RunningHub, processes
from tests.registry import Door, run_registry

from .conftest import Asker

pytestmark = pytest.mark.engine

BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
SLEEP = f"sleep {secrets.randbelow(900) + 100}.{secrets.randbelow(10**9)}"
"""What no other process of this machine runs."""
SLOW = f"FROM mydocker-test/busybox:1\nRUN echo begun && {SLEEP}\n"


@pytest.fixture(scope="module")
def hub(engine: docker.DockerClient) -> Iterator[str]:
    """The name of a hub of our own, which bears all that is built; its images are removed."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    for image in engine.images.list(filters={"label": f"mydocker.hub={name}"}):
        engine.images.remove(image.id, force=True)
    assert not engine.images.list(filters={"label": f"mydocker.hub={name}"})


@pytest.fixture
def settings(hub: str, tmp_path: Path, tiny_image: str) -> Settings:
    (port,) = free_ports(1)
    return Settings(
        database_url=f"sqlite:///{tmp_path / 'catalogue.sqlite'}",
        files=tmp_path / "images",
        secret="hush-hush",
        host="127.0.0.1",
        port=port,
        setup=Setup(hub=hub),
    )


class Workshop:
    """A catalogue's database and files, without a catalogue."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.database.upgrade()
        self.files = FileStore(settings.files)

    def ask(self, slug: str = "", files: dict[str, bytes] | None = None, **recipe) -> Build:
        made = Recipe.model_validate({"title": "Test", **recipe})
        slug = slug or f"i{secrets.token_hex(4)}"
        now = datetime.now(UTC)
        try:
            image = self.database.read_now(images.find, slug, BOB)
        except MydockerError:
            image = self.database.write_now(images.create, slug, made, BOB, now)
        kept = tuple(self._put(path, data) for path, data in (files or {}).items())
        return self.database.write_now(builds.ask, image.id, made, kept, "bob", now)

    def _put(self, path: str, data: bytes) -> ContextFile:
        sha256, size = self.files.put([data])
        return ContextFile(path=path, sha256=sha256, size_bytes=size)

    def get(self, build: Build) -> Build:
        return self.database.read_now(builds.get, build.id)

    def log(self, build: Build) -> str:
        return "".join(text for _, text in self.database.read_now(builds.log, build.id))

    def cancel(self, build: Build) -> None:
        self.database.write_now(builds.cancel, build.id, "bob", datetime.now(UTC))

    async def until(self, build: Build, *states: BuildState, seconds: float = 60) -> Build:
        """Wait for one of these states, or for the end."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.get(build)
            if found.state in states or found.finished:
                return found
            assert time.monotonic() < deadline, self.log(build)
            await asyncio.sleep(0.1)

    async def until_log(self, build: Build, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.log(build):
            assert time.monotonic() < deadline, self.log(build)
            await asyncio.sleep(0.1)


@pytest.fixture
def workshop(settings: Settings) -> Iterator[Workshop]:
    made = Workshop(settings)
    yield made
    made.database.close()


@asynccontextmanager
async def builder(settings: Settings, **options) -> AsyncIterator[Worker]:
    """A builder in this process."""
    database = Database(settings.database_url)
    worker = Worker(settings, database, **options)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        database.close()


async def run(workshop: Workshop, build: Build, seconds: float = 60, **changes) -> Build:
    """Have a builder of these settings make one build."""
    async with builder(replace(workshop.settings, **changes)):
        return await workshop.until(build, seconds=seconds)


def done(workshop: Workshop, build: Build) -> Build:
    assert build.state is BuildState.DONE, (build, workshop.log(build))
    return build


# --- images --------------------------------------------------------------------------------------


async def test_an_image_with_files_and_a_start_script(
    workshop: Workshop, engine: docker.DockerClient, tiny_image: str
) -> None:
    start = (
        "#!/bin/sh\nset -e\n"
        "echo \"it's $(id -u)\" '# \\' \\\n >/tmp/started\n"
        "cat /opt/files/d/a.txt >>/tmp/started"
    )
    asked = workshop.ask(base=tiny_image, files={"d/a.txt": b"data\n"}, start=start)
    build = done(workshop, await run(workshop, asked))
    assert build.reference == workshop.settings.setup.tag(build.image_slug, 1)
    assert build.size_bytes
    assert build.dockerfile.startswith(f"FROM {tiny_image}\n")
    container = engine.containers.run(
        build.reference, ["/bin/sh", "-c", "cat /tmp/started; echo $$"], remove=True
    )
    assert container.decode().split("\n") == ["it's 1234 # \\", "data", "1", ""]
    config = engine.images.get(build.reference).attrs["Config"]
    base = engine.images.get(tiny_image).attrs["Config"]
    assert (config["Cmd"], config["WorkingDir"]) == (base["Cmd"], base["WorkingDir"])
    assert config["User"] == "1234"


@pytest.fixture
def build_settings(tmp_path: Path) -> Path:
    """This machine's way to its package index, as scripts/up shows it to builds."""
    folder = tmp_path / "settings"
    folder.mkdir()
    ca = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or ""
    if ca:
        (folder / "ca.pem").write_bytes(Path(ca).read_bytes())
    machine = [sys.executable, str(ROOT / "scripts/lib/machine.py"), "pip-settings"]
    environ = {**os.environ, "MYDOCKER_BUILD_CA": ca}
    answer = subprocess.run(machine, env=environ, capture_output=True, check=True)
    (folder / "pip.conf").write_bytes(answer.stdout)
    return folder


async def test_a_package_from_the_index(
    workshop: Workshop, engine: docker.DockerClient, sample_image: str, build_settings: Path
) -> None:
    asked = workshop.ask(base=sample_image, pip=["cowsay==6.1; python_version > '3.8'"])
    setup = replace(workshop.settings.setup, settings=build_settings, network="host")
    build = done(workshop, await run(workshop, asked, 180, setup=setup))
    said = engine.containers.run(
        build.reference, ["python", "-c", "import cowsay; cowsay.cow('moo')"], remove=True
    )
    assert b"| moo |" in said
    assert engine.images.get(build.reference).attrs["Config"]["User"] == "1000"


async def test_secrets_are_neither_in_the_log_nor_in_the_image(
    workshop: Workshop, engine: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "pip.conf").write_text("[global]\nindex-url = https://bot:T0PS3CRET@x.y/z\n")
    text = (
        "FROM mydocker-test/busybox:1\nUSER root\nARG API_TOKEN\nARG PLAIN\n"
        "RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false"
        " cat /etc/pip.conf && echo $API_TOKEN $PLAIN and git+https://me:unheard@h/x"
        f" && : {secrets.token_hex(8)}\n"  # not from the cache
    )
    asked = workshop.ask(
        source="dockerfile", dockerfile=text, arguments={"API_TOKEN": "t0ken", "PLAIN": "visible"}
    )
    setup = replace(workshop.settings.setup, settings=tmp_path / "s")
    build = done(workshop, await run(workshop, asked, setup=setup))
    log = workshop.log(build)
    assert "index-url = https://•••@x.y/z" in log
    assert "••• visible and git+https://•••@h/x" in log
    image = engine.images.get(build.reference)
    assert "T0PS3CRET" not in json.dumps([image.attrs, image.history()])
    assert b"T0PS3CRET" not in b"".join(image.save())
    assert b"pip.conf" not in engine.containers.run(build.reference, ["ls", "/etc"], remove=True)


async def test_a_step_that_fails(workshop: Workshop, engine: docker.DockerClient) -> None:
    text = "FROM mydocker-test/busybox:1\nRUN echo fine\nRUN echo 'E: no such thing' >&2; exit 7\n"
    asked = workshop.ask(source="dockerfile", dockerfile=text)
    build = await run(workshop, asked)
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-failed")
    assert build.end_params == {
        "step": "3/3",
        "command": "RUN echo 'E: no such thing' >&2; exit 7",
        "words": "E: no such thing",
    }
    assert "echo fine" in workshop.log(build)
    assert not engine.images.list(workshop.settings.setup.tag(build.image_slug, 1))
    # mended
    text = text.replace("exit 7", "exit 0")
    mended = workshop.ask(build.image_slug, source="dockerfile", dockerfile=text)
    assert done(workshop, await run(workshop, mended)).number == 2


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        ({"base": "127.0.0.1:1/nosuch:1"}, "build-base-unavailable"),
        (
            {"source": "dockerfile", "dockerfile": "FROM 127.0.0.1:1/nosuch:1\n"},
            "build-base-unavailable",
        ),
        ({"source": "dockerfile", "dockerfile": "NONSENSE here\n"}, "build-failed"),
        ({"source": "git", "repository": "https://127.0.0.1:1/x"}, "repository-unavailable"),
    ],
)
async def test_what_cannot_be_built(workshop: Workshop, recipe: dict, code: str) -> None:
    build = await run(workshop, workshop.ask(**recipe))
    assert (build.state, build.end_code) == (BuildState.FAILED, code), workshop.log(build)
    MydockerError(build.end_code, **build.end_params).sentence % build.end_params


async def test_a_file_that_is_gone(workshop: Workshop, tiny_image: str) -> None:
    asked = workshop.ask(base=tiny_image, files={"a": b"1"})
    workshop.files.path(asked.files[0].sha256).unlink()
    build = await run(workshop, asked)
    assert (build.end_code, build.end_params) == ("build-file-missing", {"path": "a"})


# --- limits --------------------------------------------------------------------------------------


async def test_time_and_size(workshop: Workshop, engine: docker.DockerClient) -> None:
    slow = workshop.ask(source="dockerfile", dockerfile=SLOW)
    build = await run(workshop, slow, limits=Limits(seconds=3))
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-timeout")
    large = workshop.ask(base="mydocker-test/busybox:1")
    build = await run(workshop, large, limits=Limits(image_bytes=1000))
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-too-large")
    assert not engine.images.list(workshop.settings.setup.tag(build.image_slug, 1))
    no_room = workshop.ask(base="mydocker-test/busybox:1")
    build = await run(workshop, no_room, limits=Limits(free_bytes=10**18))
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-no-room")


def commands() -> str:
    """What runs on this machine, in containers too."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


async def test_queue_and_cancel(workshop: Workshop) -> None:
    asked = [workshop.ask(source="dockerfile", dockerfile=SLOW + f"# {n}\n") for n in range(3)]
    async with builder(workshop.settings):
        for build in asked[:2]:
            await workshop.until(build, BuildState.BUILDING)
            await workshop.until_log(build, "begun")
        # two at once: the third waits
        await asyncio.sleep(1)
        third = workshop.get(asked[2])
        assert third.state is BuildState.QUEUED
        assert workshop.database.read_now(builds.position, third) == 0
        workshop.cancel(asked[0])
        assert (await workshop.until(asked[0], seconds=15)).state is BuildState.CANCELLED
        assert asked[0].image_slug not in await asyncio.to_thread(commands)
        # its place is free
        await workshop.until(asked[2], BuildState.BUILDING)
        workshop.cancel(asked[2])
        assert (await workshop.until(asked[2], seconds=15)).state is BuildState.CANCELLED
    # the builder was ended in good order: what was under way says so at once
    build = workshop.get(asked[1])
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-interrupted")
    left = await asyncio.to_thread(commands)
    assert asked[1].image_slug not in left
    assert SLEEP not in left


async def test_two_builders(workshop: Workshop, tiny_image: str) -> None:
    asked = [workshop.ask(base=tiny_image, files={f"{number}": b"x"}) for number in range(5)]
    async with builder(workshop.settings) as one, builder(workshop.settings) as two:
        for build in asked:
            one.wake()
            two.wake()
            done(workshop, await workshop.until(build))
            assert workshop.log(build).count(" DONE ") >= 1
            assert workshop.log(build).count("load build definition") == 1


async def test_it_ends_at_every_moment(workshop: Workshop) -> None:
    """Being woken and being told to end at once: the end counts."""
    for moment in range(4):
        worker = Worker(workshop.settings, workshop.database)
        task = asyncio.create_task(worker.run())
        while not worker._awake._waiters:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        worker.wake()
        for _ in range(moment):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=3)
        ended = task.done()
        task.cancel()
        assert ended, moment


def start_process(settings: Settings) -> subprocess.Popen[bytes]:
    """The builder as the hub runs it, kept alive."""
    environ = {
        **os.environ,
        "MYDOCKER_DATABASE_URL": settings.database_url,
        "MYDOCKER_FILES_DIR": str(settings.files),
        "MYDOCKER_HUB_ID": settings.setup.hub,
        "MYDOCKER_BUILDER_SECRET": settings.secret,
        "MYDOCKER_BUILDER_HOST": settings.host,
        "MYDOCKER_BUILDER_PORT": str(settings.port),
    }
    command = [sys.executable, "-m", "mydocker_hub.services", "builder"]
    return subprocess.Popen(command, env=environ, start_new_session=True)


def child_of(pid: int) -> int:
    answer = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
    return int(answer.stdout.split()[0])


async def test_a_builder_that_is_killed(workshop: Workshop, tiny_image: str) -> None:
    slow = workshop.ask(source="dockerfile", dockerfile=SLOW)
    keeper = start_process(workshop.settings)
    try:
        await workshop.until(slow, BuildState.BUILDING)
        await workshop.until_log(slow, "begun")
        os.kill(child_of(keeper.pid), signal.SIGKILL)
        asked = workshop.ask(base=tiny_image)
        done(workshop, await workshop.until(asked, seconds=30))  # by the next one
        build = await workshop.until(slow, seconds=60)
        assert (build.state, build.end_code) == (BuildState.FAILED, "build-interrupted")
        assert "begun" in workshop.log(build)
        left = await asyncio.to_thread(commands)
        assert slow.image_slug not in left
        assert SLEEP not in left
    finally:
        end(keeper)


# --- the registry --------------------------------------------------------------------------------


def status_of(manifest: str) -> int:
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    return requests.get(manifest, headers=accept, timeout=5).status_code


async def test_pushed_and_pulled_by_digest(
    workshop: Workshop, engine: docker.DockerClient, tiny_image: str, tmp_path: Path
) -> None:
    auth = tmp_path / "config.json"
    with run_registry(tmp_path) as port:
        account = base64.b64encode(b"bot:PUSHS3CRET").decode()
        auth.write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": account}}}))
        registry = f"127.0.0.1:{port}/teachers"
        setup = replace(workshop.settings.setup, registry=registry, registry_auth=auth)
        settings = replace(workshop.settings, setup=setup)
        first = workshop.ask(base=tiny_image, files={"a": b"1"})
        slug = first.image_slug
        async with builder(settings) as worker:
            first = done(workshop, await workshop.until(first))
            assert first.reference == f"{registry}/{slug}:1@{first.digest}"
            engine.images.remove(f"{registry}/{slug}:1", force=True)
            pulled = engine.images.pull(f"{registry}/{slug}@{first.digest}")
            assert pulled.labels["mydocker.build"] == f"{slug}:1"
            assert "PUSHS3CRET" not in workshop.log(first)
            engine.images.remove(pulled.id, force=True)
            second = workshop.ask(slug, base=tiny_image, files={"a": b"2"})
            worker.wake()
            second = done(workshop, await workshop.until(second))
        # the rule for old builds
        old = datetime.now(UTC) - timedelta(days=2)
        workshop.database.write_now(builds.note, first.id, asked_at=old)
        workshop.database.write_now(builds.note, second.id, asked_at=old)
        worker = Worker(settings, workshop.database, keep=1)
        left = settings.files.parent / "builds" / "left"
        left.mkdir()
        os.utime(left, (0, 0))
        await worker.clean()
        assert not left.exists()
        assert workshop.get(first).removed_at
        assert not workshop.get(second).removed_at
        manifests = f"http://127.0.0.1:{port}/v2/teachers/{slug}/manifests"
        assert [status_of(f"{manifests}/{build.digest}") for build in (first, second)] == [404, 200]
        # an image that was deleted takes its builds along
        image = workshop.database.read_now(images.find, slug, BOB)
        workshop.database.write_now(
            images.delete, image.slug, BOB, image.version, datetime.now(UTC)
        )
        await worker.clean()
        await worker.engine.close()
        assert status_of(f"{manifests}/{second.digest}") == 404
        assert not engine.images.list(f"{registry}/{slug}")


async def test_a_registry_that_is_away(workshop: Workshop, tiny_image: str) -> None:
    setup = replace(workshop.settings.setup, registry="127.0.0.1:1/x")
    build = await run(workshop, workshop.ask(base=tiny_image), setup=setup)
    assert (build.state, build.end_code) == (BuildState.FAILED, "push-failed")
    assert build.end_params["detail"]


async def test_a_registry_that_says_nothing(
    workshop: Workshop, tiny_image: str, engine: docker.DockerClient
) -> None:
    """A push takes its time and no more, and ends when it is cancelled."""
    door = Door(0)
    door.mode = "silent"
    try:
        registry = f"127.0.0.1:{door.port}/x"
        settings = replace(
            workshop.settings, setup=replace(workshop.settings.setup, registry=registry)
        )
        slow = workshop.ask(base=tiny_image)
        build = await run(workshop, slow, 30, setup=settings.setup, limits=Limits(seconds=4))
        assert (build.state, build.end_code) == (BuildState.FAILED, "build-timeout")
        asked = workshop.ask(base=tiny_image)
        async with builder(settings):
            await workshop.until(asked, BuildState.PUSHING)
            workshop.cancel(asked)
            assert (await workshop.until(asked, seconds=15)).state is BuildState.CANCELLED
            assert registry not in await asyncio.to_thread(commands)
        assert not engine.images.list(settings.setup.tag(asked.image_slug, 1))
    finally:
        door.mode = "closed"


# --- teachers apart from each other --------------------------------------------------------------


async def test_a_build_sees_its_own_dockerfile_alone(
    workshop: Workshop, tiny_image: str, tmp_path: Path
) -> None:
    """A build may read all of the folder that its Dockerfile is in: the account is elsewhere."""
    auth = tmp_path / "config.json"
    auth.write_text(json.dumps({"auths": {"r.example": {"auth": "Ym90OlBVU0hTM0NSRVQ="}}}))
    setup = replace(workshop.settings.setup, registry_auth=auth)
    asked = workshop.ask(source="dockerfile", dockerfile=SLOW)
    async with builder(replace(workshop.settings, setup=setup)) as worker:
        await workshop.until_log(asked, "begun")
        (file,) = worker.scratch.rglob("Dockerfile")
        assert [path.name for path in file.parent.iterdir()] == ["Dockerfile"]
        assert list(worker.scratch.rglob("config.json"))  # it was there to be read
        workshop.cancel(asked)
        await workshop.until(asked)


async def test_what_a_step_caches_is_its_images_own(workshop: Workshop) -> None:
    mount = "RUN --mount=type=cache,id=pip,target=/c,mode=0777"
    mark = secrets.token_hex(8)

    def asked(step: str, slug: str = "", **arguments: str) -> Build:
        text = f"FROM mydocker-test/busybox:1\nUSER root\n{mount} {step}; : {mark}\n"
        return workshop.ask(slug, source="dockerfile", dockerfile=text, arguments=arguments)

    mine = done(workshop, await run(workshop, asked(f"echo mine >/c/{mark}")))
    theirs = asked(f"cat /c/{mark} || echo none")
    assert " none" in workshop.log(done(workshop, await run(workshop, theirs)))
    again = asked(f"cat /c/{mark} || echo none", mine.image_slug)
    assert " mine" in workshop.log(done(workshop, await run(workshop, again)))


@pytest.mark.parametrize("line", ["# syntax=127.0.0.1:1/evil:1", "// syntax=evil/x"])
async def test_a_frontend_of_their_own(workshop: Workshop, line: str) -> None:
    text = f"{line}\nFROM mydocker-test/busybox:1\n"
    build = await run(workshop, workshop.ask(source="dockerfile", dockerfile=text))
    assert (build.state, build.end_code) == (BuildState.FAILED, "build-failed")
    assert build.end_params["command"].endswith(line[2:].strip())
    assert not workshop.log(build)


async def test_no_room_for_the_files(
    workshop: Workshop, tiny_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = workshop.ask(base=tiny_image, files={"a": b"1"})
    monkeypatch.setattr(filestore, "ROOM_LEFT_BYTES", 10**18)
    build = await run(workshop, asked)
    assert (build.state, build.end_code) == (BuildState.FAILED, "files-no-room")


def test_what_an_image_says_of_itself() -> None:
    ports = {"80": {}, "8888/tcp": {}, "53/udp": {}, "http/tcp": {}, "1-9/tcp": {}}
    assert read_facts("x:1", {"Id": "1", "Config": {"ExposedPorts": ports}}).ports == (80, 8888)


# --- repositories --------------------------------------------------------------------------------


async def test_a_git_repository(
    workshop: Workshop, engine: docker.DockerClient, tiny_image: str, tmp_path: Path
) -> None:
    files = {
        "README": "hello\n",
        "binder/postBuild": "#!/bin/sh\nid -u >built\n",
        "binder/start": '#!/bin/sh\necho started >/tmp/started\nexec "$@"\n',
        "requirements.txt": "does-not-count==1\n",
    }
    with run_git_server(tmp_path, files) as server:
        asked = workshop.ask(
            source="git", repository=server.url, branch="main", base=tiny_image, home="/home/user"
        )
        settings = tmp_path / "settings"
        settings.mkdir()
        (settings / "ca.pem").write_bytes(server.ca.read_bytes())
        setup = replace(workshop.settings.setup, settings=settings)
        # of this machine, and nobody allowed it
        refused = await run(workshop, asked, setup=setup)
        assert refused.end_code == "repository-unavailable"
        assert "private network" in refused.end_params["detail"]
        asked = workshop.ask(
            refused.image_slug, **refused.recipe.model_dump(exclude={"title"}), files=None
        )
        build = done(
            workshop,
            await run(workshop, asked, setup=setup, private_hosts=frozenset({"localhost"})),
        )
        assert build.git_commit == server.commit
        shown = engine.containers.run(
            build.reference, ["cat", "README", "built", "/tmp/started"], remove=True
        )
        assert shown == b"hello\n1234\nstarted\n"


# --- its own addresses ---------------------------------------------------------------------------


@pytest.fixture
async def address(settings: Settings, workshop: Workshop) -> AsyncIterator[str]:
    worker = Worker(settings, workshop.database)
    swarm = SwarmClient()
    preparation = Preparation(workshop.database, swarm, settings.setup.hub, before=timedelta(0))
    server = HTTPServer(make_app(settings, worker, preparation))
    server.listen(settings.port, settings.host)
    yield f"http://{settings.host}:{settings.port}"
    server.stop()
    swarm.close()
    await worker.engine.close()


async def asked(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(MydockerError) as caught:
        await call()
    return caught.value.code


async def test_its_addresses(
    address: str, settings: Settings, tiny_image: str, bridge_address: str
) -> None:
    api = BuilderApi(address, settings.secret)
    await api.wake()
    facts = await api.facts(tiny_image)
    assert (facts.found, facts.user, facts.working_dir) == ("engine", "1234", "/home/user")
    assert facts.command == ("/bin/httpd", "-f", "-p", "8888", "-h", "/tmp")
    stranger = BuilderApi(address, "guess")
    await stranger.wake()  # says nothing
    assert await asked(lambda: stranger.facts(tiny_image)) == "sign-in-needed"
    assert await asked(lambda: api.facts("No Such")) == "invalid"
    # nobody makes it look around in our own network
    private = f"{bridge_address}:5000/x:1"
    assert await asked(lambda: api.facts(private)) == "registry-unavailable"
    (machine,) = await api.machines()
    assert machine.up
    assert machine.cpus > 0
    assert machine.memory_bytes > 10**8
    for path in ("/", "/wake", "/facts", "/machines"):
        answer = await asyncio.to_thread(requests.get, f"{address}{path}", timeout=5)
        assert answer.status_code == 401


# --- in a hub ------------------------------------------------------------------------------------


@pytest.fixture
def whole_hub(
    engine: docker.DockerClient, bridge_address: str, tiny_image: str, tmp_path: Path, hub: str
) -> Iterator[RunningHub]:
    """A hub with its builder, whose images are removed with the others of this file."""
    with start_hub(tmp_path, hub, bridge_address, install="builder=True") as running:
        yield running


@pytest.mark.hub
def test_the_builder_of_a_hub(whole_hub: RunningHub, tiny_image: str, hub: str) -> None:
    with whole_hub.signed_in("bob") as bob:
        ask = Asker(whole_hub.url, bob.token())
        recipe = {"title": "Through the hub", "base": tiny_image, "start": "true"}
        slug = f"i{secrets.token_hex(4)}"
        assert ask.post("/images", {"slug": slug, "recipe": recipe}).status_code == 201
        started = time.monotonic()
        answer = ask.post(f"/images/{slug}/builds")
        assert answer.status_code in {201, 202}, answer.text
        deadline = started + 60
        while (build := ask.get(f"/images/{slug}/builds/1").json())["state"] != "done":
            assert build["state"] != "failed", build
            assert time.monotonic() < deadline, build
            time.sleep(0.2)
    assert build["reference"] == f"mydocker-built/{hub}/{slug}:1"
    below = processes(whole_hub)
    assert sum("mydocker_hub.services.builder" in command for command in below.values()) == 1
