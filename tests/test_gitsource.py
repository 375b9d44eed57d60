"""Git repositories: what is fetched, what is refused, what is read of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest

from mydocker_hub import gitsource
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.gitsource import Source

from .gitserver import GitServer, run_git_server

FILES = {
    "README": "hello\n",
    "Dockerfile": "FROM x\n",
    ".binder/apt.txt": "graphviz\n",
    ".binder/requirements.txt": "numpy\n",
    "large": "x" * 3_000_000,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with run_git_server(tmp_path_factory.mktemp("git"), FILES) as running:
        yield running


async def fetch(server: GitServer, target: Path, branch: str | None = None, **options) -> Source:
    return await gitsource.fetch(
        options.pop("url", server.url),
        branch,
        target,
        private_allowed=options.pop("private_allowed", lambda host: True),
        ca=server.ca,
        **options,
    )


async def refused(server: GitServer, target: Path, **options) -> str:
    with pytest.raises(MydockerError) as caught:
        await fetch(server, target, **options)
    assert caught.value.code == "repository-unavailable"
    return caught.value.params["detail"]


async def test_a_repository(server: GitServer, tmp_path: Path) -> None:
    for number, branch in enumerate((None, "main")):
        target = tmp_path / f"{number}"
        source = await fetch(server, target, branch)
        # the folder that is there counts alone: not the Dockerfile beside it
        assert source == Source(server.commit, ".binder/", ("apt.txt", "requirements.txt"), "")
        assert (target / "README").read_text() == "hello\n"
        assert not (target / ".git").exists()


async def test_what_is_refused(server: GitServer, tmp_path: Path) -> None:
    target = tmp_path / "x"
    said = await refused(server, target, branch="no-such")
    assert "no-such" in said
    said = await refused(server, target, private_allowed=lambda host: False)
    assert "private network" in said
    for url in (
        "http://localhost/x",
        "file:///etc",
        "ssh://localhost/x",
        "https://a:b@localhost/x",
    ):
        assert "begin with https://" in await refused(server, target, url=url)
    assert "no such host" in await refused(server, target, url="https://nowhere.invalid/x")
    assert "too large" in await refused(server, target, max_bytes=2_000_000)
    gone = server.url.replace("course", "gone")
    assert await refused(server, tmp_path / "y", url=gone)


def commands() -> str:
    """What runs on this machine."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


async def test_it_takes_only_its_time(tmp_path: Path) -> None:
    """A host that says nothing, and a task that is cancelled: no git is left."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}/x"

    def fetch_silent(**options) -> asyncio.Task[Source]:
        allowed = {"private_allowed": lambda host: True}
        return asyncio.create_task(gitsource.fetch(url, None, tmp_path / "x", **allowed, **options))

    started = time.monotonic()
    with pytest.raises(MydockerError) as caught:
        await fetch_silent(seconds=1)
    assert "too long" in caught.value.params["detail"]
    task = fetch_silent()
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert time.monotonic() < started + 5
    assert url not in await asyncio.to_thread(commands)
    listener.close()


def test_what_a_repository_says(tmp_path: Path) -> None:
    def read(name: str, files: dict[str, str], links: dict[str, str] | None = None) -> Source:
        folder = tmp_path / name
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for path, target in (links or {}).items():
            os.symlink(target, folder / path)
        return gitsource._read("https://git.example/x", folder, "c")

    own = read("own", {"Dockerfile": "FROM y\n", "requirements.txt": ""})
    assert own == Source("c", "", ("Dockerfile", "requirements.txt"), "FROM y\n")
    # links lead nowhere
    for links in ({"Dockerfile": "/etc/passwd"}, {"binder": "/etc"}):
        linked = read(f"{sorted(links)}", {"requirements.txt": ""}, links)
        assert linked == Source("c", "", ("requirements.txt",), "")
    with pytest.raises(MydockerError) as caught:
        read("none", {"README": ""})
    assert caught.value.code == "repository-without-recipe"


async def test_what_a_server_says_is_bounded(tmp_path: Path) -> None:
    """Its messages, which git passes on, may not fill the memory."""
    flood = "head -c 100000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo gone >&2; exit 1"
    command = ["sh", "-c", flood]
    tracemalloc.start()
    try:
        said = await gitsource._run(command, dict(os.environ), tmp_path / "x", 60, 1000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert said == "gone"


async def test_many_small_files_are_large(tmp_path: Path) -> None:
    """A small pack may hold millions of empty files, which take a disk's inodes."""
    files = {f"{number}/x": "" for number in range(300)} | {"Dockerfile": "FROM x"}
    with run_git_server(tmp_path, files) as server:
        assert "too large" in await refused(server, tmp_path / "x", max_bytes=1_000_000)


async def test_hosts_that_are_written_oddly(server: GitServer, tmp_path: Path) -> None:
    """What git's library may look up as another name than we did."""
    for host in ("localhost.", "loc\u00e4lhost", "localho\u00dft", "[::1%25lo]", "a_b", "-x"):
        said = await refused(server, tmp_path / "x", url=f"https://{host}:1/x")
        assert said == "there is no such host"
