"""A real hub with many servers that are none: what the hub knows of them is all that there is.

For what depends on their number, which no test machine could run. They stop as slowly as wanted.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from jupyterhub import orm
from jupyterhub.spawner import Spawner
from sqlalchemy import create_engine, insert, select, text

from mydocker_hub.domain.environment import Environment
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import editing
from mydocker_hub.store.database import Database, Session
from mydocker_hub.store.tables import LaunchRow, PersonRow
from tests.conftest import ROOT, end, free_ports, proxy_folder

TOKEN = "culler-" + 32 * "0"
READER = "reader-" + 32 * "0"
"""May see servers, and stop none."""

CONFIG = """
from mydocker_hub import hubpages
from tests.simulated import READER, TOKEN, SimulatedSpawner
from jupyterhub.auth import DummyAuthenticator

class Authenticator(DummyAuthenticator):
    def get_handlers(self, app):
        ours = [one for one in hubpages.HANDLERS if issubclass(one[1], hubpages.CullerHandler)]
        return super().get_handlers(app) + ours

hubpages.culler_seen.since -= 3600  # as if it had run for an hour
c.JupyterHub.authenticator_class = Authenticator
c.DummyAuthenticator.allow_all = True
c.JupyterHub.spawner_class = SimulatedSpawner
c.JupyterHub.allow_named_servers = True
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 0
c.JupyterHub.services = [
    {"name": "culler", "api_token": TOKEN}, {"name": "reader", "api_token": READER}
]
c.JupyterHub.load_roles = [
    {"name": "culler", "services": ["culler"], "scopes": ["read:servers", "delete:servers"]},
    {"name": "reader", "services": ["reader"], "scopes": ["read:servers"]},
]
"""


class SimulatedSpawner(Spawner):
    """A server as our spawner has it, as far as the culler asks. Its state is written before."""

    launch_id = 0
    stop_seconds = 0.0
    environment_name, version, trial = "lab", 1, False
    ended_for: Any = None

    def load_state(self, state: dict[str, Any]) -> None:
        self.launch_id = state.get("launch_id", 0)
        self.stop_seconds = state.get("stop_seconds", 0.0)

    def get_state(self) -> dict[str, Any]:
        return {"launch_id": self.launch_id, "stop_seconds": self.stop_seconds}

    async def start(self) -> str:
        raise RuntimeError("nothing starts here")

    async def poll(self) -> int | None:
        return None if self.launch_id else 0

    async def stop(self, now: bool = False) -> None:
        await asyncio.sleep(self.stop_seconds)
        self.launch_id = 0
        code = self.ended_for.code if self.ended_for else "none"
        print(f"stopped {self.user.name} for {code}", flush=True)


@dataclass(frozen=True)
class SimulatedHub:
    url: str
    state: Path
    process: subprocess.Popen[bytes]
    database: Database

    @property
    def api(self) -> str:
        return f"{self.url}/hub/api"

    def log(self) -> str:
        return (self.state / "hub.log").read_text(errors="replace")

    def cpu_seconds(self) -> float:
        """What the hub's own process has computed so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for_stops(self, count: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.log().count("stopped person-") < count:
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.02)

    def ready(self) -> int:
        answer = requests.get(
            f"{self.api}/mydocker/servers", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )
        return len(answer.json()["items"])


class _Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def simulated_hub(
    state: Path,
    count: int,
    *,
    lifetime: dict[str, str],
    started: timedelta,
    last_activity: timedelta,
    stop_seconds: list[float] | None = None,
    sessions: dict[str, str] | None = None,
) -> Iterator[SimulatedHub]:
    """A hub with `count` servers (`person-0/lab`, …), which started and were used so long ago."""
    stop_seconds = stop_seconds or []
    answering = ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
    threading.Thread(target=answering.serve_forever, daemon=True).start()
    database = Database(f"sqlite:///{state / 'catalogue.sqlite'}")
    database.upgrade()
    now = datetime.now(UTC)
    launches = database.write_now(_fill, count, lifetime, sessions or {}, now)
    _fill_hub(
        state / "jupyterhub.sqlite",
        [(f"person-{i}", launch, *stop_seconds[i : i + 1]) for i, launch in enumerate(launches)],
        answering.server_address[1],
        now - started,
        now - last_activity,
    )
    public, hub, proxy_api = free_ports(3)
    file = state / "jupyterhub_config.py"
    file.write_text(
        f"c.JupyterHub.bind_url = 'http://127.0.0.1:{public}'\n"
        f"c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{hub}'\n"
        f"c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_api}'\n"
        f"c.ConfigurableHTTPProxy.pid_file = {str(state / 'proxy.pid')!r}\n"
        f"c.JupyterHub.db_url = 'sqlite:///{state / 'jupyterhub.sqlite'}'\n"
        f"c.JupyterHub.cookie_secret_file = {str(state / 'cookie_secret')!r}\n" + CONFIG
    )
    path = [str(Path(sys.executable).parent), str(proxy_folder()), os.environ["PATH"]]
    with (state / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(file)],
            env={**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)},
            cwd=state,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The hub's own address: what the proxy would add is not measured.
    running = SimulatedHub(f"http://127.0.0.1:{hub}", state, process, database)
    try:
        _wait_until_all_are_ready(running, count)
        yield running
    finally:
        end(process)
        answering.shutdown()
        answering.server_close()
        database.close()


def _wait_until_all_are_ready(running: SimulatedHub, count: int) -> None:
    deadline = time.monotonic() + 60 + count / 10
    while True:
        try:
            if running.ready() == count:
                return
        except (requests.RequestException, ValueError, KeyError):
            pass  # not yet
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the hub is not ready:\n{running.log()[-5000:]}")
        time.sleep(0.2)


def _fill(
    session: Session, count: int, lifetime: dict[str, str], rules: dict[str, str], now: datetime
) -> list[int]:
    """An environment and a launch of each person; the launches' ids."""
    teacher = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))
    environment = Environment.model_validate(
        {
            "slug": "lab",
            "title": "Lab",
            "status": "ready",
            "public": True,
            "image": "example.org/image:1",
            "interfaces": [{"name": "web", "title": "Web"}],
            "lifetime": lifetime,
            "sessions": rules,
        }
    )
    found = editing.create_environment(session, environment, teacher, now)
    people = [{"name": f"person-{i}", "created_at": now} for i in range(count)]
    session.execute(insert(PersonRow), people)
    ids = dict(session.execute(select(PersonRow.name, PersonRow.id)).all())
    launch = {"environment_id": found.id, "version": 1, "asked_at": now, "end_params": {}}
    session.execute(
        insert(LaunchRow), [{"person_id": ids[f"person-{i}"], **launch} for i in range(count)]
    )
    rows = dict(session.execute(select(LaunchRow.person_id, LaunchRow.id)).all())
    return [rows[ids[f"person-{i}"]] for i in range(count)]


def _fill_hub(
    file: Path, servers: list[tuple[Any, ...]], port: int, started: datetime, active: datetime
) -> None:
    url = f"sqlite:///{file}"
    orm.new_session_factory(url)().close()  # makes the tables
    engine = create_engine(url)
    naive = {"started": started.replace(tzinfo=None), "last_activity": active.replace(tzinfo=None)}
    with orm.sessionmaker(engine)() as session:
        session.execute(text("PRAGMA journal_mode=WAL"))  # as `hubconfig` has it
        for name, launch_id, *stop_seconds in servers:
            user = orm.User(name=name)
            server = orm.Server(
                proto="http", ip="127.0.0.1", port=port, base_url=f"/user/{name}/lab/"
            )
            state = {"launch_id": launch_id, "stop_seconds": (stop_seconds or [0.0])[0]}
            session.add_all([user, server])
            session.add(orm.Spawner(user=user, name="lab", server=server, state=state, **naive))
        session.commit()
    engine.dispose()
