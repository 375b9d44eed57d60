"""A Swarm of several machines on one: each node is an engine in a network namespace of its own.

Needs root, dockerd, iproute2 and iptables. Everything has names of its own and is taken away at
the end: processes by id, namespaces, links, mounts.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import docker

_SUBNET = "10.98.7"  # of the bridge; this machine is .254, node K is .K


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass
class Node:
    number: int
    folder: Path
    namespace: str
    link: str
    process: subprocess.Popen[bytes]
    client: docker.DockerClient

    @property
    def address(self) -> str:
        return f"{_SUBNET}.{self.number}"

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def id(self) -> str:
        return str(self.client.info()["Swarm"]["NodeID"])

    def kill(self) -> None:
        """End the engine and all its containers at once, as a power cut does."""
        for pid in _processes_with(str(self.folder)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


@dataclass
class Lab:
    """`with Lab(2) as lab`: node 1 is the manager, the others are workers."""

    size: int
    name: str = field(default_factory=lambda: secrets.token_hex(2))
    nodes: list[Node] = field(default_factory=list)

    gateway = f"{_SUBNET}.254"

    def __enter__(self) -> Lab:
        self.bridge = f"lab{self.name}"
        # A short path: the engine makes unix sockets below it.
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        # Docker's own engine on this machine drops what is forwarded: let the nodes talk.
        run("iptables", "-I", "FORWARD", *self._forward())
        for number in range(1, self.size + 1):
            self.nodes.append(self._start(number))
        for node in self.nodes:
            _wait_for(node)
        manager = self.nodes[0].client
        manager.swarm.init(advertise_addr=self.nodes[0].address)
        token = manager.swarm.attrs["JoinTokens"]["Worker"]
        for node in self.nodes[1:]:
            node.client.swarm.join([f"{self.nodes[0].address}:2377"], token)

    def _forward(self) -> list[str]:
        return ["-i", self.bridge, "-o", self.bridge, "-j", "ACCEPT"]

    def _start(self, number: int) -> Node:
        folder = self.folder / str(number)
        (folder / "run").mkdir(parents=True)
        namespace, link = f"{self.bridge}n{number}", f"{self.bridge}v{number}"
        run("ip", "netns", "add", namespace)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "link", "set", link, "master", self.bridge, "up")
        run("ip", "-n", namespace, "addr", "add", f"{_SUBNET}.{number}/24", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "route", "add", "default", "via", self.gateway)
        # nsenter, since `ip netns exec` hides the cgroups. No name server: what is looked up in a
        # public registry fails at once.
        script = f"""
            hostname node{number}
            mount --make-rprivate /
            mkdir -p /run/docker && mount --bind {folder}/run /run/docker
            echo nameserver 127.0.0.1 > {folder}/resolv.conf
            mount --bind {folder}/resolv.conf /etc/resolv.conf
            exec dockerd --no-new-privileges --data-root {folder}/data --exec-root {folder}/exec \
                --pidfile {folder}/pid -H unix://{folder}/docker.sock --cgroup-parent /{namespace} \
                --insecure-registry {_SUBNET}.0/24
        """
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{namespace}",
                    "unshare",
                    "-u",
                    "-m",
                    "sh",
                    "-c",
                    script,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        client = docker.DockerClient(f"unix://{folder}/docker.sock", version="1.41", timeout=60)
        return Node(number, folder, namespace, link, process, client)

    def load(self, image: bytes) -> None:
        """Give an image (`docker save`) to every node."""
        for node in self.nodes:
            node.client.images.load(image)

    def __exit__(self, *exc_info: object) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            try:
                node.process.wait(15)
            except subprocess.TimeoutExpired:
                node.process.kill()
            for pid in _processes_with(str(node.folder)):
                os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", node.namespace], check=False)
            subprocess.run(["ip", "link", "del", node.link], check=False, capture_output=True)
        subprocess.run(
            ["iptables", "-D", "FORWARD", *self._forward()], check=False, capture_output=True
        )
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _wait_for(node: Node) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            node.client.ping()
            return
        except Exception:
            time.sleep(0.3)
    raise AssertionError((node.folder / "log").read_text()[-3000:])


def _processes_with(text: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if text in (folder / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
