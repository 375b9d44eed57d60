"""How long a start takes.

In one run, on one machine, with one small image, until the server answers HTTP:

  raw    the Docker API alone: create a Swarm service, look at its task, ask its port
  stock  a hub with dockerspawner.SwarmSpawner, until the hub says that the server is ready
  ours   a hub with mydocker_hub, until the hub says that the server is ready
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import docker
import requests

from tests.conftest import (
    TINY_IMAGE,
    build_tiny_image,
    end,
    free_ports,
    proxy_folder,
    remove_all,
    start_hub,
)

PORT = 8888
LIMIT_SECONDS = 300

CATALOGUE = f"""\
version: 1
environments:
  - slug: bench
    title: Bench
    status: ready
    public: true
    image: {TINY_IMAGE}
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
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.JupyterHub.services = [{{"name": "bench", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"],
    "scopes": ["admin:users", "admin:servers", "servers"]}}]
c.JupyterHub.log_level = "WARN"
c.SwarmSpawner.image = "{image}"
c.SwarmSpawner.cmd = ["/bin/httpd", "-f", "-p", "8888", "-h", "/tmp"]
c.SwarmSpawner.use_internal_ip = False
c.SwarmSpawner.host_ip = "127.0.0.1"
c.SwarmSpawner.port = 8888
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


def raw(client: docker.DockerClient, count: int) -> list[float]:
    """Seconds until each of `count` Swarm services, created at once, answers HTTP."""
    api = client.api
    label = f"bench-{secrets.token_hex(4)}"
    names = [f"{label}-{number}" for number in range(count)]

    def create(name: str) -> None:
        template = docker.types.TaskTemplate(
            docker.types.ContainerSpec(
                TINY_IMAGE, labels={"mydocker.hub": label}, healthcheck={"Test": ["NONE"]}
            ),
            restart_policy=docker.types.RestartPolicy(condition="none"),
        )
        endpoint = docker.types.EndpointSpec(mode="dnsrr", ports={None: (PORT, "tcp", "host")})
        api.create_service(
            template, name=name, labels={"mydocker.hub": label}, endpoint_spec=endpoint
        )

    done: dict[str, float] = {}
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for creation in [pool.submit(create, name) for name in names]:
            creation.result()
        while len(done) < count and time.monotonic() - started < LIMIT_SECONDS:
            for task in api.tasks(filters={"label": f"mydocker.hub={label}"}):
                ports = (task["Status"].get("PortStatus") or {}).get("Ports")
                if task["Status"]["State"] == "running" and ports and task["ID"] not in done:
                    try:
                        requests.get(f"http://127.0.0.1:{ports[0]['PublishedPort']}/", timeout=2)
                        done[task["ID"]] = time.monotonic() - started
                    except requests.ConnectionError:
                        pass
            time.sleep(0.05)
    remove_all(client, label)
    return sorted(done.values())


async def through_a_hub(url: str, token: str, server: str, count: int) -> list[float]:
    """Seconds until each of `count` people's servers, asked for at once, is ready."""
    headers = {"Authorization": f"token {token}"}
    people = [f"bench-{count}-{number}" for number in range(count)]
    times: list[float] = []
    async with aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        async with session.post(f"{url}/hub/api/users", json={"usernames": people}) as answer:
            assert answer.status == 201, await answer.text()
        path = f"servers/{server}" if server else "server"
        started = time.monotonic()

        async def start(person: str) -> None:
            address = f"{url}/hub/api/users/{person}"
            async with session.post(f"{address}/{path}", json={}) as answer:
                assert answer.status in {201, 202}, await answer.text()
            # The hub's own event stream: it ends when the server is ready, or failed.
            async with session.get(
                f"{address}/{path}/progress", timeout=aiohttp.ClientTimeout(LIMIT_SECONDS)
            ) as events:
                async for line in events.content:
                    if line.startswith(b"data:"):
                        event = json.loads(line[5:])
                        if event.get("ready"):
                            times.append(time.monotonic() - started)
                            return
                        assert not event.get("failed"), event

        await asyncio.gather(*(start(person) for person in people))

        async def stop(person: str) -> None:
            async with session.delete(f"{url}/hub/api/users/{person}/{path}") as answer:
                assert answer.status in {202, 204}, await answer.text()

        await asyncio.gather(*(stop(person) for person in people))
    return sorted(times)


class stock_hub:
    """A hub with the stock SwarmSpawner, and a token that may do everything."""

    def __init__(self, state: Path, connect_ip: str) -> None:
        self.state, self.connect_ip, self.token = state, connect_ip, secrets.token_hex(16)

    def __enter__(self) -> tuple[str, str]:
        public, hub, proxy_api = free_ports(3)
        file = self.state / "config.py"
        file.write_text(
            STOCK.format(
                public=public, hub=hub, proxy_api=proxy_api, connect_ip=self.connect_ip,
                state=self.state, token=self.token, image=TINY_IMAGE,
            )
        )  # fmt: skip
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), str(proxy_folder()), os.environ["PATH"]]
        )
        self.log = (self.state / "hub.log").open("wb")
        self.process = subprocess.Popen(
            [*("env", "--default-signal=INT,QUIT"), sys.executable, "-m", "jupyterhub", "-f", str(file)],
            env={**os.environ, "PATH": path},
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{public}"
        try:
            wait_for(f"{url}/hub/health")
        except SystemExit:
            end(self.process)
            print((self.state / "hub.log").read_text()[-3000:], file=sys.stderr)
            raise
        return url, self.token

    def __exit__(self, *exc_info: object) -> None:
        end(self.process)
        self.log.close()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="1,20,50", help="how many starts at once")


def run(options: argparse.Namespace) -> dict[str, Any]:
    client = docker.from_env(timeout=120)
    build_tiny_image(client)
    config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = config.get("Gateway") or config["Subnet"].rsplit(".", 1)[0] + ".1"
    sizes = [int(size) for size in options.sizes.split(",")]
    results: dict[str, dict[int, list[float]]] = {"raw": {}, "stock": {}, "ours": {}}
    raw(client, 1)  # warm
    hub_id = f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        (state / "stock").mkdir()
        (state / "ours").mkdir()
        (state / "catalogue.yaml").write_text(CATALOGUE)
        extra = "c.JupyterHub.log_level = 'WARN'\n"
        try:
            with (
                stock_hub(state / "stock", address) as (stock_url, stock_token),
                start_hub(
                    state / "ours", hub_id, address,
                    config=extra, catalogue=str(state / "catalogue.yaml"),
                ) as ours,
                ours.signed_in("carol") as carol,
            ):  # fmt: skip
                token = carol.token()
                for size in sizes:
                    results["raw"][size] = raw(client, size)
                    results["stock"][size] = asyncio.run(
                        through_a_hub(stock_url, stock_token, "", size)
                    )
                    results["ours"][size] = asyncio.run(
                        through_a_hub(ours.url, token, "bench", size)
                    )
                    print_row(size, results)
        finally:
            remove_all(client, hub_id)
    return results


def print_row(size: int, results: dict[str, dict[int, list[float]]]) -> None:
    base = results["raw"][size]
    for name, by_size in results.items():
        times = by_size[size]
        median, last = statistics.median(times), times[-1]
        print(
            f"{size:4} at once  {name:5}  median {median:6.2f} s ({median / statistics.median(base):.2f} x raw)"
            f"  last {last:6.2f} s ({last / base[-1]:.2f} x raw)",
            flush=True,
        )
