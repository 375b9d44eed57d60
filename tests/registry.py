"""A real image registry on loopback, behind a door that fails in the ways that registries fail."""

from __future__ import annotations

import io
import secrets
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import requests

from .conftest import end, free_ports


class Door:
    """What stands between the engine and the registry.

    `mode` is `open`; or `closed` (connections are refused), `silent` (a request is never
    answered), `broken` (503), `locked` (401), or `slow` (the image is there, its layers never
    come). What was held back is dropped when the mode changes.
    """

    def __init__(self, registry_port: int) -> None:
        self._registry = f"http://127.0.0.1:{registry_port}"
        (self.port,) = free_ports(1)
        self._mode = "closed"
        self._changed = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.requests: list[str] = []

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        self._changed.set()
        self._changed = threading.Event()
        if self._server and mode == "closed":
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        elif not self._server and mode != "closed":
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
            self._server.daemon_threads = True
            self._server.block_on_close = False
            threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def image(self, name: str) -> str:
        """How environments name an image behind this door."""
        return f"127.0.0.1:{self.port}/{name}:1"

    def _handler(door) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                door.requests.append(f"{self.command} {self.path}")
                held = door._changed
                if door.mode == "silent" or (door.mode == "slow" and "/blobs/" in self.path):
                    held.wait(120)
                    self.close_connection = True
                    return
                if door.mode in {"broken", "locked"}:
                    self.send_response(503 if door.mode == "broken" else 401)
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                    self.end_headers()
                    return
                answer = requests.request(
                    self.command,
                    door._registry + self.path,
                    headers={"Accept": self.headers.get("Accept", "*/*")},
                    timeout=10,
                )
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.content)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def run_registry(folder: Path, address: str = "127.0.0.1") -> Iterator[int]:
    """Debian's docker-registry, as a process of ours; its port."""
    (port,) = free_ports(1)
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        "storage:\n"
        f"  filesystem: {{rootdirectory: {folder / 'images'}}}\n"
        "  delete: {enabled: true}\n"
        f"http: {{addr: '{address}:{port}'}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                requests.get(f"http://{address}:{port}/v2/", timeout=2).raise_for_status()
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield port
    finally:
        end(process)


def push_big(client: docker.DockerClient, tag: str, base: str, size: int) -> str:
    """Make an image with that many bytes which nobody can compress, for a registry; its digest.

    It is nowhere but there then.
    """
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, data in (
            ("Dockerfile", f"FROM {base}\nCOPY big /tmp/big\n".encode()),
            ("big", secrets.token_bytes(size)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    digest = ""
    try:
        for line in client.images.push(tag, stream=True, decode=True):
            assert "error" not in line, line
            digest = (line.get("aux") or {}).get("Digest", digest)
    finally:
        client.images.remove(tag, force=True)
    return digest


def push_only(engine: docker.DockerClient, port: int, base: str, name: str) -> None:
    """Make an image that is nowhere but in the registry."""
    tag = f"127.0.0.1:{port}/{name}:1"
    dockerfile = f"FROM {base}\nRUN echo {secrets.token_hex(16)} >/tmp/only-here\n"
    engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)
    try:
        for line in engine.images.push(tag, stream=True, decode=True):
            assert "error" not in line, line
    finally:
        engine.images.remove(tag, force=True)
