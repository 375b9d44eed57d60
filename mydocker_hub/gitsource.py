"""Git repositories that images are made from: fetched with bounds, and read by convention.

Whoever makes an image names the repository, so that nothing in it is believed: only https, only
addresses of the internet (or hosts that operators named), no credentials, no submodules, no hooks,
and no link that leads out of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import processes
from .domain.addresses import is_private, is_public
from .domain.dockerfile import CONVENTIONS
from .domain.errors import N_, MydockerError

SECONDS = 120.0
MAX_BYTES = 1_000_000_000
_MAX_DOCKERFILE = 200_000  # bytes
_LOOK_SECONDS = 0.3
_BLOCK = 4096
"""What a file or a folder takes at least, even an empty one."""
_MOST_SAID = 65536
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|[0-9a-f:.]+")
_FOLDERS = ("binder/", ".binder/", "")
"""Where repo2docker looks; the first that is there counts alone."""


@dataclass(frozen=True)
class Source:
    """A repository that was fetched.

    `folder` is where the files of `domain.dockerfile.CONVENTIONS` that were `found` are in it, with
    a / at its end or empty; `dockerfile` is the text of its own, where it has one.
    """

    commit: str
    folder: str
    found: tuple[str, ...]
    dockerfile: str


async def fetch(
    repository: str,
    branch: str | None,
    target: Path,
    *,
    private_allowed: Callable[[str], bool] = lambda host: False,
    ca: Path | None = None,
    seconds: float = SECONDS,
    max_bytes: int = MAX_BYTES,
) -> Source:
    """Fetch the newest commit of a branch (the repository's own without one) into a new folder.

    `private_allowed` says of a `host[:port]` whether it may be on a private network; `ca` is a file
    of certificates that stands for the machine's own. Raises `MydockerError`
    repository-unavailable. Cancelled, it leaves no process.
    """
    parts = urlsplit(repository)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise _unavailable(repository, N_("its address does not begin with https://"))
    port = parts.port or 443
    address = await _address(repository, parts.hostname, port, private_allowed(parts.netloc))
    options = {
        "protocol.allow": "never",
        "protocol.https.allow": "always",
        "core.hooksPath": "/dev/null",
        "core.symlinks": "true",
        "credential.helper": "",
        "http.followRedirects": "false",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "30",
        # The very address that was looked at: a name cannot change in between.
        "http.curloptResolve": f"{parts.hostname}:{port}:{address}",
    }
    command = ["git"]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    command += ["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags"]
    command += ["--no-recurse-submodules", "--template="]
    command += [f"--branch={branch}"] if branch else []
    environ = _environ(ca)
    failed = await _run(
        [*command, "--", repository, str(target)], environ, target, seconds, max_bytes
    )
    if failed:
        raise _unavailable(repository, failed)
    commit = await asyncio.to_thread(_head, target)
    await asyncio.to_thread(shutil.rmtree, target / ".git")
    return await asyncio.to_thread(_read, repository, target, commit)


async def _address(repository: str, host: str, port: int, private: bool) -> str:
    # Any other name could be another one for git's library, which would look it up by itself.
    if not _HOST.fullmatch(host):
        raise _unavailable(repository, N_("there is no such host"))
    try:
        async with asyncio.timeout(10):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError):
        raise _unavailable(repository, N_("there is no such host")) from None
    for *_, place in found:
        address = str(place[0])
        if is_public(address) or (private and is_private(address)):
            return f"[{address}]" if ":" in address else address
    raise _unavailable(repository, N_("its address is on this machine or on a private network"))


def _environ(ca: Path | None) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_LFS_SKIP_SMUDGE": "1",
        **({"GIT_SSL_CAINFO": str(ca)} if ca else {}),
    }


async def _run(
    command: list[str], environ: dict[str, str], target: Path, seconds: float, max_bytes: int
) -> str:
    """Run git; why it failed, or nothing."""
    process = await processes.start(
        command,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    watch = asyncio.create_task(_watch_size(target, max_bytes))
    work = asyncio.create_task(_said(process))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            return N_("it is too large")
        errors = await work
        if process.returncode == 0 and await asyncio.to_thread(_size, target) > max_bytes:
            return N_("it is too large")
    except TimeoutError:
        return N_("it takes too long")
    finally:
        watch.cancel()
        work.cancel()
        await processes.end(process)
    if process.returncode == 0:
        return ""
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return (lines[-1] if lines else "git failed").removeprefix("fatal: ")[:300]


async def _said(process: asyncio.subprocess.Process) -> bytes:
    """The last that a process says before it ends: a server has it say as much as it likes."""
    last = b""
    while process.stderr and (piece := await process.stderr.read(_MOST_SAID)):
        last = (last + piece)[-_MOST_SAID:]
    await process.wait()
    return last


async def _watch_size(target: Path, max_bytes: int) -> None:
    """Ends once the folder is too large."""
    while await asyncio.to_thread(_size, target) <= max_bytes:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)  # git tells nobody how large it gets


def _size(folder: Path) -> int:
    total = 0
    for root, folders, files in os.walk(folder):
        total += len(folders) * _BLOCK
        for name in files:
            with suppress(OSError):
                total += max(os.lstat(os.path.join(root, name)).st_size, _BLOCK)
    return total


def _head(target: Path) -> str:
    """The commit that was fetched: a shallow clone of one branch has one."""
    head = (target / ".git" / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head[:64]
    name = head.removeprefix("ref: ")
    with suppress(OSError):
        return (target / ".git" / name).read_text().strip()[:64]
    for line in (target / ".git" / "packed-refs").read_text().splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit[:64]
    return ""


def _read(repository: str, target: Path, commit: str) -> Source:
    """What the repository says of its image."""
    folder = next(folder for folder in _FOLDERS if not folder or _is_ours(target, folder))
    found = tuple(name for name in CONVENTIONS if _is_file(target, f"{folder}{name}"))
    if not found:
        raise MydockerError("repository-without-recipe", repository=repository)
    dockerfile = ""
    if "Dockerfile" in found:
        file = target / folder / "Dockerfile"
        if file.stat().st_size > _MAX_DOCKERFILE:
            raise _unavailable(repository, N_("its Dockerfile is too large"))
        dockerfile = file.read_text(errors="replace").replace("\0", "")
    return Source(commit, folder, found, dockerfile)


def _is_ours(target: Path, folder: str) -> bool:
    path = target / folder
    return path.is_dir() and not path.is_symlink()


def _is_file(target: Path, name: str) -> bool:
    path = target / name
    return path.is_file() and not path.is_symlink()


def _unavailable(repository: str, detail: str) -> MydockerError:
    return MydockerError("repository-unavailable", repository=repository, detail=detail)
