"""How long a start takes.

In one run, on one machine, the same container each time, until its server answers HTTP:

  raw    the Docker API alone: create a Swarm service, look at its task, ask its port
  stock  a hub with dockerspawner.SwarmSpawner, until the hub says that the server is ready
  ours   a hub with mydocker_hub, until the hub says that the server is ready

They take turns, each repeat in another order. `median` and `last` are of the starts of one repeat,
and what is printed is the median of the repeats. Starts come after one that is not counted, for
new people each. At the end, calls to the engine are counted on the way to its socket, by a hub of
ours that is not timed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import docker
import requests

from tests.conftest import (
    build_tiny_image,
    end,
    free_ports,
    proxy_folder,
    remove_all,
    start_hub,
)
from tests.relay import Relay

# An engine asks the registry at each start of an image that is not named by its digest
# (moby, `containerAdapter.pullImage`). Nothing listens at this one, so that the answer comes at
# once; a resolver that takes five seconds to say no would be all that is measured.
IMAGE = "127.0.0.1:1/mydocker-bench/busybox:1"
PORT = 8888
LIMIT_SECONDS = 300
GOAL = 1.2  # times raw
COUNTED = 20  # starts whose calls are counted
# Those of the watcher, for all servers at once: a tick, the sweep of each minute, the event stream.
TICK = "GET /tasks"
SHARED = (TICK, "GET /services", "GET /events")

CATALOGUE = f"""\
version: 1
environments:
  - slug: bench
    title: Bench
    status: ready
    public: true
    image: {IMAGE}
    interfaces: [{{name: web, title: Web, kind: hub, port: {PORT}}}]
    resources: {{memory_bytes: 64 MB, shm_bytes: 16 MB}}
"""

STOCK = """\
c.JupyterHub.spawner_class = "docker-swarm"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://{connect_ip}:{hub}"
c.JupyterHub.hub_connect_ip = "{connect_ip}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api}"
c.JupyterHub.db_url = "sqlite:///{state}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{state}/cookie"
c.ConfigurableHTTPProxy.pid_file = "{state}/proxy.pid"
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0.5}}
c.JupyterHub.services = [{{"name": "bench", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"],
    "scopes": ["admin:users", "admin:servers", "servers"]}}]
c.JupyterHub.log_level = "WARN"
c.SwarmSpawner.image = "{image}"
c.SwarmSpawner.cmd = ["/bin/httpd", "-f", "-p", "8888", "-h", "/tmp"]
c.SwarmSpawner.mem_limit = "64M"
c.SwarmSpawner.use_internal_ip = False
c.SwarmSpawner.host_ip = "127.0.0.1"
c.SwarmSpawner.port = 8888
c.SwarmSpawner.extra_container_spec = {{
    "labels": {{"mydocker.hub": "{label}"}}, "healthcheck": {{"Test": ["NONE"]}}, "init": True,
    "mounts": [
        {{"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {{"SizeBytes": 16000000}}}}
    ],
}}
c.SwarmSpawner.extra_create_kwargs = {{"labels": {{"mydocker.hub": "{label}"}}}}
c.SwarmSpawner.extra_task_spec = {{"restart_policy": {{"Condition": "none"}}}}
c.SwarmSpawner.extra_endpoint_spec = {{"mode": "dnsrr", "ports": {{None: (8888, "tcp", "host")}}}}
c.SwarmSpawner.remove = True
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 120

# Stock SwarmSpawner reads the port from the service's endpoint, which stays empty for ports that
# are published on the node; this kernel has no routing mesh. Only the look-up is replaced.
from dockerspawner import SwarmSpawner


async def get_ip_and_port(self):
    task = await self.get_task()
    ports = task["Status"]["PortStatus"]["Ports"]
    return self.host_ip, ports[0]["PublishedPort"]


SwarmSpawner.get_ip_and_port = get_ip_and_port
"""


class Way(Protocol):
    """A way to start servers; all that it makes bears the label `mydocker.hub=LABEL`."""

    @property
    def label(self) -> str: ...

    def __call__(self, count: int) -> list[float]:
        """Seconds until each of `count` servers, asked for at once, answers; in order."""


class Raw:
    """What any client of the Docker API has to do, and no more."""

    def __init__(self, client: docker.DockerClient, spec: dict[str, Any]) -> None:
        self.client, self.spec = client, spec
        self.label = f"bench-{secrets.token_hex(4)}"

    def __call__(self, count: int) -> list[float]:
        api = self.client.api
        labels = {**self.spec["Labels"], "mydocker.hub": self.label}
        container = {**self.spec["TaskTemplate"]["ContainerSpec"], "Labels": labels}
        template = {**self.spec["TaskTemplate"], "ContainerSpec": container}

        def create(number: int) -> None:
            api.create_service(
                template,
                name=f"{self.label}-{number}",
                labels=labels,
                endpoint_spec=self.spec["EndpointSpec"],
            )

        def answered(port: int) -> float:
            while True:
                try:
                    requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                    return time.monotonic() - started
                except requests.ConnectionError:
                    time.sleep(0.02)

        seen: dict[str, Future[float]] = {}
        started = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            creations = [pool.submit(create, number) for number in range(count)]
            while len(seen) < count:
                assert time.monotonic() - started < LIMIT_SECONDS, f"{len(seen)} of {count}"
                asked = time.monotonic()
                for task in api.tasks(filters={"label": f"mydocker.hub={self.label}"}):
                    ports = (task["Status"].get("PortStatus") or {}).get("Ports")
                    if task["Status"]["State"] == "running" and ports and task["ID"] not in seen:
                        seen[task["ID"]] = pool.submit(answered, ports[0]["PublishedPort"])
                # As quick as helps: on two CPUs, asking without a rest makes the engine slower.
                time.sleep(max(0.02, time.monotonic() - asked))
            for creation in creations:
                creation.result()
            times = sorted(future.result() for future in seen.values())
        remove_all(self.client, self.label)
        return times


@dataclass(frozen=True)
class Hub:
    """A running hub, as a client with a token sees it."""

    url: str
    token: str
    server: str  # "" for the unnamed one
    label: str

    def __call__(self, count: int) -> list[float]:
        return asyncio.run(self._run(count))

    async def _run(self, count: int) -> list[float]:
        people = [f"bench-{secrets.token_hex(4)}" for _ in range(count)]
        path = f"servers/{self.server}" if self.server else "server"
        async with aiohttp.ClientSession(
            f"{self.url}/hub/api/",
            headers={"Authorization": f"token {self.token}"},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(LIMIT_SECONDS),
        ) as session:
            async with session.post("users", json={"usernames": people}) as answer:
                assert answer.status == 201, await answer.text()
            started = time.monotonic()

            async def start(person: str) -> float:
                async with session.post(f"users/{person}/{path}", json={}) as answer:
                    assert answer.status in {201, 202}, await answer.text()
                    if answer.status == 201:  # ready
                        return time.monotonic() - started
                # The hub's own event stream: it ends when the server is ready, or failed.
                async with session.get(f"users/{person}/{path}/progress") as events:
                    async for line in events.content:
                        if line.startswith(b"data:"):
                            event = json.loads(line[5:])
                            assert not event.get("failed"), event
                            if event.get("ready"):
                                return time.monotonic() - started
                raise AssertionError("the event stream ended early")

            times = await asyncio.gather(*(start(person) for person in people))

            async def stop(person: str) -> None:
                async with session.delete(f"users/{person}/{path}") as answer:
                    assert answer.status in {202, 204}, await answer.text()
                while True:  # 202: it is on its way
                    async with session.get(f"users/{person}") as answer:
                        if not (await answer.json())["servers"]:
                            return
                    await asyncio.sleep(0.5)

            await asyncio.gather(*(stop(person) for person in people))
        return sorted(times)


@contextmanager
def stock_hub(state: Path, connect_ip: str) -> Iterator[Hub]:
    """A hub with the stock SwarmSpawner."""
    public, hub, proxy_api = free_ports(3)
    found = Hub(f"http://127.0.0.1:{public}", secrets.token_hex(16), "", f"bench-{hub}-stock")
    file = state / "config.py"
    file.write_text(
        STOCK.format(
            public=public, hub=hub, proxy_api=proxy_api, connect_ip=connect_ip,
            state=state, token=found.token, image=IMAGE, label=found.label,
        )
    )  # fmt: skip
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), str(proxy_folder()), os.environ["PATH"]]
    )
    command = [sys.executable, "-m", "jupyterhub", "-f", str(file)]
    with (state / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            ["env", "--default-signal=INT,QUIT", *command],
            env={**os.environ, "PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(f"{found.url}/hub/health", state / "hub.log")
            yield found
        finally:
            end(process)


@contextmanager
def our_hub(state: Path, connect_ip: str, config: str = "") -> Iterator[Hub]:
    """A hub with mydocker_hub."""
    catalogue = state / "catalogue.yaml"
    catalogue.write_text(CATALOGUE)
    label = f"bench-{secrets.token_hex(4)}"
    config += "c.JupyterHub.log_level = 'WARN'\n"
    with (
        start_hub(state, label, connect_ip, config=config, catalogue=str(catalogue)) as running,
        running.signed_in("carol") as carol,
    ):
        yield Hub(running.url, carol.token(), "bench", label)


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer:\n{log.read_text()[-3000:]}")


def spec_of_a_server(client: docker.DockerClient, hub: Hub) -> dict[str, Any]:
    """The Swarm service that a hub of ours makes, as the engine describes it."""
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(hub, 1)
        while not found and not starting.done():
            for service in client.api.services(filters={"label": f"mydocker.hub={hub.label}"}):
                found = service["Spec"]
        starting.result()
    return found


def count_calls(state: Path, connect_ip: str) -> dict[str, float]:
    """Calls of one start and of one stop, and of the watcher meanwhile."""
    relay = Relay()
    config = (
        "c.SwarmEnvironmentSpawner.client_kwargs = "
        f"{{'base_url': 'tcp://127.0.0.1:{relay.port}'}}\n"
    )
    try:
        with our_hub(state, connect_ip, config) as hub:
            hub(1)
            relay.calls.clear()
            hub(COUNTED)
            calls = Counter(relay.calls)
    finally:
        relay.close()
    ticks = calls[TICK]
    for call in SHARED:
        del calls[call]
    stops = sum(number for call, number in calls.items() if call.startswith("DELETE "))
    return {
        "starts": COUNTED,
        "per_start": (calls.total() - stops) / COUNTED,
        "per_stop": stops / COUNTED,
        "ticks": ticks,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="1,20,50", help="how many starts at once")
    parser.add_argument(
        "--repeats", type=int, default=0, help="of each size (15 of one at once, 5 of others)"
    )
    parser.add_argument("--without-stock", action="store_true", help="raw and ours only")
    parser.add_argument("--config", type=Path, help="a file with more lines of our hub's settings")


def run(options: argparse.Namespace) -> dict[str, Any]:
    client = docker.from_env(timeout=120)
    client.images.get(build_tiny_image(client)).tag(IMAGE)
    more = options.config.read_text() if options.config else ""
    config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = config.get("Gateway") or config["Subnet"].rsplit(".", 1)[0] + ".1"
    figures: dict[str, Any] = {"sizes": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.callback(client.images.remove, IMAGE, noprune=True)
        for name in ("stock", "ours", "counted"):
            (Path(folder) / name).mkdir()
        ours = stack.enter_context(our_hub(Path(folder) / "ours", address, more))
        stack.callback(remove_all, client, ours.label)
        raw = Raw(client, spec_of_a_server(client, ours))
        stack.callback(remove_all, client, raw.label)
        ways: dict[str, Way] = {"raw": raw, "ours": ours}
        if not options.without_stock:
            stock = stack.enter_context(stock_hub(Path(folder) / "stock", address))
            stack.callback(remove_all, client, stock.label)
            ways["stock"] = stock
        for way in ways.values():
            way(1)  # imports, connections, caches
        for size in [int(size) for size in options.sizes.split(",")]:
            repeats = options.repeats or (15 if size == 1 else 5)
            times = take_turns(client, ways, size, repeats)
            figures["sizes"][size] = summary(times)
            print_size(size, figures["sizes"][size])
        figures["calls"] = count_calls(Path(folder) / "counted", address)
    print(
        "calls to the engine: {per_start:.2f} a start, {per_stop:.2f} a stop; "
        "beside them {ticks} ticks of one call for {starts} starts and stops".format(
            **figures["calls"]
        )
    )
    return figures


def take_turns(
    client: docker.DockerClient, ways: dict[str, Way], size: int, repeats: int
) -> dict[str, list[list[float]]]:
    names = list(ways)
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for repeat in range(repeats):
        for turn in range(len(names)):
            name = names[(repeat + turn) % len(names)]
            times[name].append(ways[name](size))
            assert len(times[name][-1]) == size
            while any(containers(client, way.label) for way in ways.values()):
                time.sleep(0.2)
            time.sleep(0.5)  # the engine clears away after containers are gone, too
    return times


def containers(client: docker.DockerClient, label: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.api.containers(
        all=True, filters={"label": f"mydocker.hub={label}"}
    )
    return found


def summary(times: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """What the repeats of one size come to."""
    result: dict[str, dict[str, Any]] = {}
    for name, repeats in times.items():
        medians = [statistics.median(repeat) for repeat in repeats]
        lasts = [max(repeat) for repeat in repeats]
        row: dict[str, Any] = {
            "median": statistics.median(medians),
            "last": statistics.median(lasts),
            "medians": medians,
            "lasts": lasts,
        }
        result[name] = row
    for row in result.values():
        row["median_ratio"] = row["median"] / result["raw"]["median"]
        row["last_ratio"] = row["last"] / result["raw"]["last"]
    return result


def print_size(size: int, rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        met = ""
        if name == "ours":
            worse = max(row["median_ratio"], row["last_ratio"])
            met = f"  {'met' if worse <= GOAL else 'not met'}: {GOAL} x raw"
        print(
            f"{size:4} at once  {name:5}"
            f"  median {row['median']:6.2f} s ({row['median_ratio']:.2f} x raw)"
            f"  last {row['last']:6.2f} s ({row['last_ratio']:.2f} x raw){met}",
            flush=True,
        )
