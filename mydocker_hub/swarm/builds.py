"""Building images on an engine, pushing them to a registry, and removing them again.

Builds run through a docker command line (`build_client`): BuildKit's sessions, by which alone a
build can be shown a secret without keeping it, are not in docker-py. Everything else goes through
docker-py, off the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.auth import resolve_repository_name
from docker.errors import APIError, DockerException, ImageNotFound
from urllib3.exceptions import HTTPError

from .. import processes
from ..domain.dockerfile import SETTINGS
from ..domain.errors import N_, MydockerError, Unavailable
from ..domain.images import ImageFacts
from .spec import HUB_LABEL

T = TypeVar("T")
Listener = Callable[[str], None]
"""Is told each line of a log, without its end."""

BUILD_LABEL = "mydocker.build"
"""Slug and number of the build that an image is of."""

_CALL_SECONDS = 60
_REGISTRY_SECONDS = 20
_LINE_MAX = 4000
_GIGABYTE = 1_000_000_000
_PUSHED = re.compile(r"\S+: digest: (sha256:[0-9a-f]{64}) size: \d+")
_CHECKSUM_LINE = re.compile(r"#\d+ sha256:[0-9a-f]{64}")
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.oci.image.manifest.v1+json"
)


@dataclass(frozen=True)
class Setup:
    """Where images are built and where they go, as operators say.

    `engine` is as DOCKER_HOST; empty, the environment says. `settings` is a folder whose files
    (`domain.dockerfile.SETTINGS`) builds are shown as secrets; `network` as `docker build
    --network`. `registry` is the prefix of what is pushed, or empty; `registry_auth` a Docker
    `config.json`.
    """

    hub: str
    engine: str = ""
    network: str = ""
    settings: Path | None = None
    registry: str = ""
    registry_auth: Path | None = None

    def tag(self, slug: str, number: int) -> str:
        """How the image of a build is called: `PREFIX/SLUG:NUMBER`."""
        hub = re.sub(r"[^a-z0-9]+", "-", self.hub.lower()).strip("-") or "hub"
        prefix = self.registry.rstrip("/") or f"mydocker-built/{hub}"
        return f"{prefix}/{slug}:{number}"


@dataclass(frozen=True)
class Limits:
    """What a build may take. `free_bytes` have to stay free on the engine's disk, where it is ours
    to see (an engine on this machine)."""

    seconds: float = 3600
    image_bytes: int = 20 * _GIGABYTE
    free_bytes: int = 5 * _GIGABYTE


@dataclass(frozen=True)
class BuiltImage:
    """`digest` is the registry's where it was pushed, else the engine's id of the image."""

    reference: str
    digest: str
    size_bytes: int


class CommandFailed(Exception):
    """The command line ended with an error; its log says which."""


class ImageEngine:
    """The engine that builds. Raises `Unavailable("engine-unavailable")` where it is silent."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self.setup = setup
        self.limits = limits
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="images")
        self._api: docker.APIClient | None = None
        self._client: tuple[str, bool] | None = None

    # --- what there is ---

    async def facts(self, reference: str) -> ImageFacts | None:
        """What the engine knows of an image, or None where it has none of that name."""

        def inspect(api: docker.APIClient) -> dict[str, Any] | None:
            with suppress(ImageNotFound):
                image: dict[str, Any] = api.inspect_image(reference)
                return image
            return None

        image = await self._call(inspect)
        return None if image is None else read_facts(reference, image)

    async def free_bytes(self) -> int | None:
        """What is free on the engine's disk; None where that cannot be seen from here."""
        info = await self._call(lambda api: api.info())
        if not self._is_local():
            return None
        try:
            return await asyncio.to_thread(lambda: shutil.disk_usage(info["DockerRootDir"]).free)
        except OSError:
            return None

    async def built(self) -> dict[str, list[str]]:
        """The names of this hub's images on the engine by their mark, with digests."""

        def look(api: docker.APIClient) -> dict[str, list[str]]:
            labels = [f"{HUB_LABEL}={self.setup.hub}", BUILD_LABEL]
            found: dict[str, list[str]] = {}
            for image in api.images(filters={"label": labels}):
                mark = image["Labels"][BUILD_LABEL]
                # An image that is based on one of ours has its labels, too: not its names.
                if not re.fullmatch(r"[a-z0-9-]+:[0-9]+", mark):
                    continue
                digests = [digest.partition("@")[2] for digest in image.get("RepoDigests") or []]
                for tag in image.get("RepoTags") or []:
                    if tag == self.setup.tag(*_parts(mark)):
                        found.setdefault(mark, []).append("@".join([tag, *digests[:1]]))
            return found

        return await self._call(look)

    # --- making images ---

    async def build(
        self,
        context: Path,
        dockerfile: str,
        tag: str,
        listen: Listener,
        *,
        scratch: Path,
        arguments: Mapping[str, str] | None = None,
        mark: str = "",
    ) -> None:
        """Build a folder's files by a Dockerfile's text; cancel the task to end it.

        `scratch` is a folder for what it needs meanwhile, `mark` what `built` tells the image by
        later.

        Raises `CommandFailed`, and `MydockerError`: build-timeout, build-no-room,
        build-not-possible.
        """
        await self.check_room()
        client, is_buildx = await self._build_client()
        with TemporaryDirectory(dir=scratch) as folder:
            # Alone in its folder: all that is beside it could be read by the build.
            file = Path(folder, "dockerfile", "Dockerfile")
            file.parent.mkdir()
            await asyncio.to_thread(file.write_text, dockerfile)
            command = [client, "build", "--progress=plain", f"--file={file}", f"--tag={tag}"]
            if is_buildx:
                # one image, which the engine takes under its name
                command += ["--load", "--provenance=false"]
            if self.setup.network:
                command.append(f"--network={self.setup.network}")
            command += [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
            # What `RUN --mount=type=cache` keeps is this image's: others could have put it there.
            own = f"{self.setup.hub}/{mark.partition(':')[0]}"
            command.append(f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={own}")
            labels = {HUB_LABEL: self.setup.hub, BUILD_LABEL: mark}
            command += [f"--label={name}={value}" for name, value in labels.items()]
            command += [f"--secret=id={name},src={path}" for name, path in self._settings()]
            await self._run([*command, str(context)], Path(folder), listen)

    async def pull(self, reference: str, listen: Listener, *, scratch: Path) -> None:
        """Fetch an image to the engine. Raises as `build`."""
        await self.check_room()
        client, _ = await self._build_client()
        with TemporaryDirectory(dir=scratch) as folder:
            await self._run([client, "pull", reference], Path(folder), listen)

    async def check_room(self) -> None:
        """Raises `MydockerError` build-no-room."""
        free = await self.free_bytes()
        if free is not None and free < self.limits.free_bytes:
            raise MydockerError("build-no-room", log_detail=f"{free} bytes are free")

    async def finished(self, tag: str) -> BuiltImage:
        """The image that was built. Raises `MydockerError` build-too-large, and removes it then."""
        image = await self._call(lambda api: api.inspect_image(tag))
        size = int(image["Size"])
        if size > self.limits.image_bytes:
            await self.remove(tag)
            raise MydockerError(
                "build-too-large",
                size=round(size / _GIGABYTE, 1),
                most=round(self.limits.image_bytes / _GIGABYTE, 1),
            )
        return BuiltImage(tag, str(image["Id"]), size)

    async def push(self, image: BuiltImage, listen: Listener, *, scratch: Path) -> BuiltImage:
        """Push an image to its registry; what it is called there, with its digest.

        Cancel the task to end it. Raises `MydockerError`: push-failed, build-timeout.
        """
        client, _ = await self._build_client()
        digest = last = ""

        def hear(line: str) -> None:
            nonlocal digest, last
            if match := _PUSHED.fullmatch(line):
                digest = match[1]
            last = line or last
            listen(line)

        with TemporaryDirectory(dir=scratch) as folder:
            try:
                await self._run([client, "push", image.reference], Path(folder), hear)
            except CommandFailed:
                raise MydockerError("push-failed", detail=last[:500]) from None
        if not digest:
            raise MydockerError("push-failed", detail=N_("it named no digest"))
        return BuiltImage(f"{image.reference}@{digest}", digest, image.size_bytes)

    # --- taking them away ---

    async def remove(self, reference: str) -> None:
        """Remove an image's name from the engine, and the image with its last; gone is fine."""

        def remove(api: docker.APIClient) -> None:
            with suppress(ImageNotFound):
                # A container that still runs keeps its image: only the name goes then.
                api.remove_image(reference.partition("@")[0], force=True)

        with suppress(APIError):  # a container still uses the very id
            await self._call(remove)

    async def remove_from_registry(self, reference: str) -> bool:
        """Delete a manifest (`PREFIX/SLUG:NUMBER@DIGEST`).

        False where the registry does not answer or lets nobody delete.
        """
        name, _, digest = reference.partition("@")
        if not digest:
            return True
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._delete_manifest, name.rpartition(":")[0], digest
        )

    def _delete_manifest(self, name: str, digest: str) -> bool:
        host, path = resolve_repository_name(name)
        try:
            account = self._account()
        except (OSError, ValueError, KeyError):  # the file is being written anew
            return False
        basic = (account["username"], account["password"]) if "username" in account else None
        scheme = "http" if host.rpartition(":")[0] in {"127.0.0.1", "localhost"} else "https"
        try:
            answer = requests.delete(
                f"{scheme}://{host}/v2/{path}/manifests/{digest}",
                auth=basic,
                headers={"Accept": _MANIFESTS},
                timeout=_REGISTRY_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException:
            return False
        return answer.status_code in {202, 404}

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()

    # --- the command line ---

    async def _run(self, command: list[str], folder: Path, listen: Listener) -> None:
        """Run it in a process group of its own, which is ended whole."""
        process = await processes.start(
            command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ(folder),
            cwd=str(folder),
        )
        watch = asyncio.create_task(self._watch_room())
        work = asyncio.create_task(_read(process, listen))
        try:
            async with asyncio.timeout(self.limits.seconds):
                await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()  # raises
            await work
            if await process.wait():
                raise CommandFailed
        except TimeoutError:
            minutes = round(self.limits.seconds / 60)
            raise MydockerError("build-timeout", minutes=minutes) from None
        finally:
            watch.cancel()
            work.cancel()
            await processes.end(process)

    async def _watch_room(self) -> None:
        while True:
            await asyncio.sleep(5)
            with suppress(Unavailable):
                await self.check_room()

    def _environ(self, folder: Path) -> dict[str, str]:
        """A home of its own, so that only the operators' credentials are used."""
        home = folder / "home"
        home.mkdir(mode=0o700)
        if self.setup.registry_auth is not None:
            auths = _auths(self.setup.registry_auth)
            (home / "config.json").write_text(json.dumps({"auths": auths}))
        passed = ("PATH", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "LANG")
        environ = {name: os.environ[name] for name in passed if name in os.environ}
        if self.setup.engine:
            environ["DOCKER_HOST"] = self.setup.engine
        return environ | {
            "HOME": str(home),
            "DOCKER_CONFIG": str(home),
            "DOCKER_BUILDKIT": "1",
            "BUILDKIT_PROGRESS": "plain",
        }

    def _settings(self) -> list[tuple[str, Path]]:
        folder = self.setup.settings
        if folder is None:
            return []
        return [(name, folder / name) for name in SETTINGS if (folder / name).is_file()]

    async def _build_client(self) -> tuple[str, bool]:
        if self._client is None:
            self._client = await asyncio.to_thread(build_client)
        return self._client

    # --- docker-py ---

    def _account(self) -> dict[str, str]:
        """The account at our registry, as docker-py takes it; {} where there is none."""
        if self.setup.registry_auth is None or not self.setup.registry:
            return {}
        host, _ = resolve_repository_name(self.setup.registry)
        for place, entry in _auths(self.setup.registry_auth).items():
            named = urlsplit(place if "://" in place else f"//{place}").netloc
            if named == host or (host == "docker.io" and named == "index.docker.io"):
                if "auth" in entry:
                    user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                    return {"username": user, "password": password}
                return {"username": entry["username"], "password": entry["password"]}
        return {}

    def _is_local(self) -> bool:
        engine = self.setup.engine or os.environ.get("DOCKER_HOST", "")
        return not engine or engine.startswith("unix:")

    def _new_client(self, timeout: int) -> docker.APIClient:
        options: dict[str, Any] = docker.utils.kwargs_from_env()
        if self.setup.engine:
            options["base_url"] = self.setup.engine
        return docker.APIClient(version="auto", timeout=timeout, **options)

    async def _call(self, function: Callable[[docker.APIClient], T]) -> T:
        def run() -> T:
            if self._api is None:
                self._api = self._new_client(_CALL_SECONDS)
            return function(self._api)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except APIError as error:
            if error.status_code is not None and error.status_code < 500:
                raise
            raise Unavailable("engine-unavailable", log_detail=str(error)) from error
        except (requests.RequestException, HTTPError, DockerException, OSError) as error:
            raise Unavailable("engine-unavailable", log_detail=str(error)) from error


def read_facts(reference: str, image: Mapping[str, Any]) -> ImageFacts:
    """What an engine's description of an image says."""
    config = image.get("Config") or {}
    ports = [port.partition("/") for port in config.get("ExposedPorts") or {}]
    test = (config.get("Healthcheck") or {}).get("Test") or []
    digests = [digest.partition("@")[2] for digest in image.get("RepoDigests") or []]
    return ImageFacts(
        reference=reference,
        found="engine",
        digest=digests[0] if digests else str(image.get("Id", "")),
        size_bytes=image.get("Size"),
        user=config.get("User") or "",
        ports=tuple(
            sorted(
                int(port)
                for port, _, kind in ports
                if kind in {"", "tcp"} and re.fullmatch("[0-9]{1,5}", port, re.ASCII)
            )
        ),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        working_dir=config.get("WorkingDir") or "",
        has_healthcheck=bool(test) and test[0] != "NONE",
    )


def _parts(mark: str) -> tuple[str, int]:
    slug, _, number = mark.rpartition(":")
    return slug, int(number)


def build_client() -> tuple[str, bool]:
    """A docker command line that builds with BuildKit, and whether it is one with buildx.

    Any with buildx will do; without, only Debian's own of 19 or 20 knows BuildKit. Blocks. Raises
    `MydockerError` build-not-possible.
    """
    for folder in os.get_exec_path():
        path = os.path.join(folder, "docker")
        if not os.access(path, os.X_OK):
            continue
        if _output([path, "buildx", "version"]) is not None:
            return path, True
        version = _output([path, "--version"]) or ""
        if re.match(r"Docker version (19|20)\.", version):
            return path, False
    raise MydockerError(
        "build-not-possible",
        detail=N_("there is no docker command line that builds with BuildKit"),
    )


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=10,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"},  # as builds run
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _auths(path: Path) -> dict[str, Any]:
    auths: dict[str, Any] = json.loads(path.read_text()).get("auths", {})
    return auths


async def _read(process: asyncio.subprocess.Process, listen: Listener) -> None:
    """Tell each line, cut where it is too long to be read by anybody."""
    rest = b""
    while process.stdout and (piece := await process.stdout.read(65536)):
        *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            _tell(line, listen)
        if len(rest) > _LINE_MAX:
            _tell(rest, listen)
            rest = b""
    if rest:
        _tell(rest, listen)


def _tell(line: bytes, listen: Listener) -> None:
    # PostgreSQL takes no NUL in a text
    text = line.replace(b"\0", b"").decode(errors="replace").rstrip()
    if not _CHECKSUM_LINE.fullmatch(text):
        listen(text if len(text) <= _LINE_MAX else f"{text[:_LINE_MAX]} …")
