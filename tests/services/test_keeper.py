"""The process that keeps a service running, and ends it with the hub."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import free_ports
from tests.hub import RunningHub

COMMAND = [sys.executable, "-m", "mydocker_hub.services", "catalogue"]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this does not happen"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.fixture
def service(tmp_path: Path):
    """The environment of a catalogue service that needs no hub to answer; and its address."""
    port = free_ports(1)[0]
    environ = {
        **os.environ,
        "MYDOCKER_DATABASE_URL": f"sqlite:///{tmp_path / 'catalogue.sqlite'}",
        "MYDOCKER_HUB_ID": "test",
        "MYDOCKER_CATALOGUE_SECRET": "secret",
        "JUPYTERHUB_API_URL": "http://127.0.0.1:1/hub/api",
        "JUPYTERHUB_API_TOKEN": "token",
        "JUPYTERHUB_SERVICE_PREFIX": "/services/catalogue/",
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
        "JUPYTERHUB_CLIENT_ID": "service-catalogue",
    }
    return environ, f"http://127.0.0.1:{port}/services/catalogue/api/openapi.json"


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.ConnectionError:
        return False


def takes_connections(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=2).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def test_it_starts_again_what_dies_and_ends_it_when_asked(service) -> None:
    environ, url = service
    keeper = subprocess.Popen(COMMAND, env=environ, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(url))
        (first,) = children(keeper.pid)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        eventually(lambda: answers(url))
        (second,) = children(keeper.pid)
        assert second != first
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(20) == 0
        assert not is_alive(second)
        assert not answers(url)
    finally:
        keeper.kill()
        keeper.wait()


@pytest.mark.parametrize("victim", ["hub", "keeper"])
def test_nothing_outlives_a_crash(service, victim: str) -> None:
    """A service of a hub that was killed would hold the port of the next one."""
    environ, url = service
    script = f"import subprocess; subprocess.Popen({COMMAND!r}).wait()"
    hub = subprocess.Popen([sys.executable, "-c", script], env=environ, stderr=subprocess.DEVNULL)
    keeper = child = 0
    try:
        eventually(lambda: answers(url))
        (keeper,) = children(hub.pid)
        (child,) = children(keeper)
        os.kill(hub.pid if victim == "hub" else keeper, signal.SIGKILL)
        eventually(lambda: not is_alive(keeper) and not is_alive(child))
        assert not answers(url)
    finally:
        for pid in (hub.pid, keeper, child):
            if pid and is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        hub.wait()


@pytest.mark.hub
@pytest.mark.engine
def test_what_the_hub_asks_meanwhile_waits(hub: RunningHub, direct: str) -> None:
    services = [child for pid in children(hub.process.pid) for child in children(pid)]
    (catalogue,) = [
        pid
        for pid in services
        if b"mydocker_hub.services.catalogue" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    with hub.signed_in("alice") as alice:
        alice.get("/services/catalogue/")
        os.kill(catalogue, signal.SIGKILL)
        # Until its last thread is gone its port takes connections, which break: no call is made
        # again that may have been heard.
        eventually(lambda: not takes_connections(direct))
        answer = alice.get("/join/NoSuchKeyNoSuchKeyNo")
        assert answer.status_code == 404, answer.text  # the catalogue's own answer, after a pause
        eventually(lambda: alice.get("/services/catalogue/").ok)
