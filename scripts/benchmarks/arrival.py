"""What records that were made before the class save when all click at once.

A real hub, and servers of our spawner that are none: a start ends where the engine would be called.
People's first start of an environment, in one moment:

  nothing    each is asked for by somebody of whom the hub knows nothing but the sign-in
  records    the record of the server was made before (`prepare_records`)

In seconds from the first click: until half of the starts, and the last one, are where the engine is
called (median, last), and what the hub's own process computed (hub). `making` is what making the
records took. With `--newcomers` nobody has ever signed in, which is then part of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from mydocker_hub.hubapi import RECORDS_AT_ONCE
from mydocker_hub.spawner import SwarmEnvironmentSpawner
from tests.conftest import ROOT, end, free_ports, proxy_folder

SECRET = "arrival-" + 32 * "0"
SERVER = "lab"
_CONNECTIONS = 100  # at a time: the hub's socket keeps 128 waiting, and refuses the next one
CONFIG = """
from jupyterhub.auth import DummyAuthenticator
from mydocker_hub import hubpages
from mydocker_hub.hubconfig import _with_wal
from pathlib import Path
from scripts.benchmarks.arrival import SECRET, ArrivalSpawner

class Authenticator(DummyAuthenticator):
    def get_handlers(self, app):
        app.tornado_settings["mydocker_catalogue_secret"] = SECRET
        ours = [one for one in hubpages.HANDLERS if issubclass(one[1], hubpages.CatalogueHandler)]
        return super().get_handlers(app) + ours

c.JupyterHub.authenticator_class = Authenticator
c.DummyAuthenticator.allow_all = True
c.JupyterHub.spawner_class = ArrivalSpawner
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 100
c.JupyterHub.cleanup_servers = False
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.last_activity_interval = 0
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0.5}
c.JupyterHub.db_url = f"sqlite:///{_with_wal(Path('jupyterhub.sqlite'))}"
c.JupyterHub.services = [{"name": "clicks", "api_token": SECRET}]
c.JupyterHub.load_roles = [
    {"name": "clicks", "services": ["clicks"], "scopes": ["admin:users", "admin:servers"]}
]
"""


class ArrivalSpawner(SwarmEnvironmentSpawner):
    """Ours, as far as the hub's work goes: it says when the engine would be called, and waits."""

    async def start(self) -> str:
        print(f"engine called at {time.time():.6f} for {self.user.name}", flush=True)
        await asyncio.sleep(3600)
        raise RuntimeError("nothing starts here")

    async def poll(self) -> int | None:
        return 0

    async def stop(self, now: bool = False) -> None:
        pass

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def get_state(self) -> dict[str, Any]:
        return {}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--people", default="50,300", help="how many click at once (50,300)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--newcomers", action="store_true", help="nobody has ever signed in")


def run(options: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}
    for people in map(int, options.people.split(",")):
        times: dict[str, list[dict[str, float]]] = {"nothing": [], "records": []}
        for _ in range(options.repeats):
            for case, found in times.items():  # in turns
                found.append(asyncio.run(_measure(people, case, options.newcomers)))
        print(f"{people} at once, the median (and the least) of {options.repeats}")
        for case, found in times.items():
            columns = {name: [one[name] for one in found] for name in found[0]}
            said = (
                f"{name} {statistics.median(values):.2f} ({min(values):.2f})"
                for name, values in columns.items()
            )
            print(f"  {case:<9}", "  ".join(said))
        figures[str(people)] = times
    return figures


async def _measure(people: int, case: str, newcomers: bool) -> dict[str, float]:
    names = [f"person-{number}" for number in range(people)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _hub(Path(folder)) as hub:
        client = SimpleAsyncHTTPClient(force_instance=True, max_clients=_CONNECTIONS)
        if not newcomers:
            await hub.call(client, "POST", "/api/users", {"usernames": names})
        began = time.time()
        if case == "records":
            items = [{"user": name, "server": SERVER, "title": "Lab"} for name in names]
            for first in range(0, people, RECORDS_AT_ONCE):
                batch = items[first : first + RECORDS_AT_ONCE]
                await hub.call(client, "POST", "/api/mydocker/records", {"items": batch})
        making = time.time() - began
        computed, began = hub.cpu_seconds(), time.time()
        await asyncio.gather(*(hub.click(client, name, newcomers) for name in names))
        called = sorted(await asyncio.to_thread(hub.called, people))
        return {
            "median": statistics.median(called) - began,
            "last": called[-1] - began,
            "hub": hub.cpu_seconds() - computed,
            "making": making,
        }


class _Hub:
    def __init__(self, url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.folder = folder
        self.process = process

    async def call(
        self, client: SimpleAsyncHTTPClient, method: str, path: str, body: Any
    ) -> HTTPResponse:
        return await client.fetch(
            HTTPRequest(
                f"{self.url}/hub{path}",
                method=method,
                headers={"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"},
                body=json.dumps(body),
                request_timeout=600,
                connect_timeout=600,
            )
        )

    async def click(self, client: SimpleAsyncHTTPClient, name: str, newcomer: bool) -> None:
        if newcomer:
            await self._sign_in(client, name)
        await self.call(client, "POST", f"/api/users/{name}/servers/{SERVER}", {})

    async def _sign_in(self, client: SimpleAsyncHTTPClient, name: str) -> None:
        values = {"request_timeout": 600, "connect_timeout": 600, "follow_redirects": False}
        page = await client.fetch(HTTPRequest(f"{self.url}/hub/login", **values))
        cookies = "; ".join(one.split(";")[0] for one in page.headers.get_list("Set-Cookie"))
        token = re.search(r"_xsrf=([^;]+)", cookies)
        assert token, cookies
        body = urlencode({"username": name, "password": "", "_xsrf": token[1]})
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.fetch(
            HTTPRequest(
                f"{self.url}/hub/login", method="POST", body=body, headers=headers, **values
            ),
            raise_error=False,
        )
        assert answer.code == 302, answer.body

    def called(self, people: int) -> list[float]:
        """When the engine would have been called, for each start."""
        deadline = time.monotonic() + 300
        while True:
            log = (self.folder / "hub.log").read_text(errors="replace")
            found = re.findall(r"^engine called at ([0-9.]+) ", log, re.MULTILINE)
            if len(found) == people:
                return [float(one) for one in found]
            assert time.monotonic() < deadline, log[-5000:]
            time.sleep(0.1)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _hub(folder: Path) -> Iterator[_Hub]:
    public, hub, proxy_api = free_ports(3)
    (folder / "jupyterhub_config.py").write_text(
        f"c.JupyterHub.bind_url = 'http://127.0.0.1:{public}'\n"
        f"c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{hub}'\n"
        f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_api}'\n" + CONFIG
    )
    path = [str(Path(sys.executable).parent), str(proxy_folder()), os.environ["PATH"]]
    with (folder / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", "jupyterhub_config.py"],
            env={**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        running = _Hub(f"http://127.0.0.1:{hub}", folder, process)
        deadline = time.monotonic() + 60
        while True:
            try:
                if requests.get(f"{running.url}/hub/api", timeout=5).ok:
                    break
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, (folder / "hub.log").read_text()[-5000:]
            time.sleep(0.2)
        yield running
    finally:
        end(process)
