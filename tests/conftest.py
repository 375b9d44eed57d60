"""Fixtures that start the real thing: a hub with its services, an engine, a browser.

Everything that is started is ended, by process id; every container, Swarm service and volume
bears the hub's own label and is removed at the end.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import docker
import pytest
import requests

from .hub import RunningHub

ROOT = Path(__file__).parent.parent
SAMPLE_IMAGE = "mydocker/jupyterlab-python:1"
VSCODE_IMAGE = "mydocker/jupyterlab-vscode:1"
TINY_IMAGE = "mydocker-test/busybox:1"

# Its own session, so that Ctrl-C reaches pytest alone, and it answers SIGINT although bash
# starts background processes with it ignored.
_CLEAN_SIGNALS = ["env", "--default-signal=INT,QUIT"]


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine, in a Swarm. `scripts/test` starts one where there is none."""
    client = docker.from_env(timeout=60)
    assert client.info()["Swarm"]["LocalNodeState"] == "active", "the engine is in no Swarm"
    yield client
    client.close()


@pytest.fixture(scope="session")
def sample_image(engine: docker.DockerClient) -> str:
    """The image of the environment “JupyterLab et Python”; `scripts/up --image-only` makes it."""
    engine.images.get(SAMPLE_IMAGE)
    return SAMPLE_IMAGE


@pytest.fixture(scope="session")
def vscode_image(engine: docker.DockerClient) -> str:
    """JupyterLab and VS Code, which know nothing of the hub; `scripts/up --image-only` makes it."""
    engine.images.get(VSCODE_IMAGE)
    return VSCODE_IMAGE


@pytest.fixture(scope="session")
def tiny_image(engine: docker.DockerClient) -> str:
    """2 MB of static busybox (Debian's busybox-static): starts at once."""
    return build_tiny_image(engine)


@pytest.fixture(scope="session")
def bridge_address(engine: docker.DockerClient) -> str:
    """This machine's address on Docker's bridge, where containers reach the hub."""
    config = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    return config.get("Gateway") or config["Subnet"].split("/")[0].rsplit(".", 1)[0] + ".1"


class RunHub(Protocol):
    """`with run_hub(install="builder=True") as hub:`, with the arguments of `start_hub`.

    `state` is its folder, if something of the test's has to be there before it starts.
    """

    def __call__(
        self, *, state: Path | None = None, config: str = "", catalogue: str = "", install: str = ""
    ) -> AbstractContextManager[RunningHub]: ...


@pytest.fixture(scope="session")
def run_hub(
    engine: docker.DockerClient,
    bridge_address: str,
    tiny_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunHub:
    """Starts hubs of tests' own, and clears away what they left in the engine."""

    @contextmanager
    def run(*, state: Path | None = None, **arguments: str) -> Iterator[RunningHub]:
        hub_id = f"test-{secrets.token_hex(4)}"
        folder = state or tmp_path_factory.mktemp("hub")
        try:
            with start_hub(folder, hub_id, bridge_address, **arguments) as running:
                yield running
        finally:
            remove_all(engine, hub_id)

    return run


@pytest.fixture(scope="session")
def hub(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub with the demonstration sign-in and the catalogue of `tests/catalogue.yaml`."""
    with run_hub() as running:
        yield running


class start_hub:
    """Start a hub of our own configuration as a process, and end it."""

    def __init__(
        self,
        state: Path,
        hub_id: str,
        connect_ip: str,
        *,
        config: str = "",
        catalogue: str = "",
        install: str = "",
        demo: bool = True,
    ) -> None:
        self.state = state
        self.hub_id = hub_id
        self.connect_ip = connect_ip
        self.config = config
        self.install = install  # further arguments of hubconfig.install; {gateway} is its port
        self.demo = demo
        self.catalogue = catalogue or str(ROOT / "tests" / "catalogue.yaml")
        self.ports = free_ports(6)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningHub:
        public, hub, proxy_api, catalogue, gateway, builder = self.ports
        builds = "builder=" in self.install
        environ = {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(proxy_folder()), os.environ["PATH"]]
            ),
            "MYDOCKER_HUB_STATE": str(self.state),
        }
        environ.pop("MYDOCKER_DATABASE_URL", None)
        file = self.state / "jupyterhub_config.py"
        file.write_text(
            "from pathlib import Path\n"
            "from mydocker_hub import hubconfig\n"
            f"hubconfig.install(c, state=Path({str(self.state)!r}), hub_id={self.hub_id!r},\n"
            f"    catalogue_port={catalogue}, gateway_port={gateway}, demo={self.demo},\n"
            f"    builder_port={builder}, {'' if builds else 'builder=False,'}\n"
            f"    public_url='http://localhost:{public}', {self.install.format(gateway=gateway)})\n"
            f"c.JupyterHub.bind_url = 'http://127.0.0.1:{public}'\n"
            f"c.JupyterHub.hub_bind_url = 'http://{self.connect_ip}:{hub}'\n"
            f"c.JupyterHub.hub_connect_ip = {self.connect_ip!r}\n"
            f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_api}'\n"
            f"c.ConfigurableHTTPProxy.pid_file = {str(self.state / 'proxy.pid')!r}\n"
            "c.SwarmEnvironmentSpawner.answer_timeout = 20\n"
            "c.SwarmEnvironmentSpawner.room_timeout = 4\n"
            "c.JupyterHub.log_level = 'DEBUG'\n" + self.config
        )
        subprocess.run(
            [sys.executable, "-m", "mydocker_hub.cli", "catalogue", "import", self.catalogue],
            check=True,
            env=environ,
            stdout=subprocess.DEVNULL,
        )
        self.log = (self.state / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [*_CLEAN_SIGNALS, sys.executable, "-m", "jupyterhub", "-f", str(file)],
            env=environ,
            cwd=self.state,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = RunningHub(
            url=f"http://localhost:{public}",
            hub_id=self.hub_id,
            state=self.state,
            process=self.process,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{running.url}/services/catalogue/", timeout=2).ok:
                    return running
            except requests.ConnectionError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                pytest.fail(f"the hub did not start:\n{running.log()[-5000:]}")
            time.sleep(0.1)

    def __exit__(self, *exc_info: object) -> None:
        assert self.process is not None
        end(self.process)
        self.log.close()


TINY_DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN ["/bin/sh", "-c", "mkdir -p /etc /home/user /tmp && chmod 1777 /tmp \
  && echo root:x:0:0::/:/bin/sh > /etc/passwd \
  && echo user:x:1234:1234::/home/user:/bin/sh >> /etc/passwd \
  && echo root:x:0: > /etc/group \
  && chown 1234:1234 /home/user"]
USER 1234
WORKDIR /home/user
CMD ["/bin/httpd", "-f", "-p", "8888", "-h", "/tmp"]
"""


def build_tiny_image(engine: docker.DockerClient) -> str:
    """Make the tiny image where it is not there yet, or is an older one; its name."""
    source = hashlib.sha256(TINY_DOCKERFILE.encode()).hexdigest()
    present = ""
    with suppress(docker.errors.ImageNotFound):
        present = engine.images.get(TINY_IMAGE).labels.get("mydocker.source", "")
    if present != source:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy("/bin/busybox", f"{folder}/busybox")
            (Path(folder) / "Dockerfile").write_text(TINY_DOCKERFILE)
            label = {"mydocker.source": source}
            engine.images.build(path=folder, tag=TINY_IMAGE, rm=True, labels=label)
    return TINY_IMAGE


def end(process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """End a process that we started in a session of its own."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def remove_all(engine: docker.DockerClient, hub_id: str) -> None:
    """Remove what a hub has left on the engine; volumes are, on purpose, what it leaves."""
    label = {"label": f"mydocker.hub={hub_id}"}
    for service in engine.services.list(filters=label):
        with suppress(docker.errors.NotFound):  # its hub was still about to remove it
            service.remove()
    deadline = time.monotonic() + 30
    while engine.api.containers(all=True, filters=label):
        assert time.monotonic() < deadline, f"containers of {hub_id} are left"
        time.sleep(0.2)
    for volume in engine.volumes.list(filters=label):
        volume.remove(force=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment.

    Below those that the kernel gives to whoever connects somewhere, and Docker to containers
    (net.ipv4.ip_local_port_range): one of them may be taken by the time that it is used.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def proxy_folder() -> Path:
    """Where `scripts/test` put configurable-http-proxy."""
    return ROOT / ".venv" / "lib" / "proxy" / "node_modules" / ".bin"
