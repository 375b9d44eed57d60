"""A server that nobody uses, from the warning to the next start: on the real engine, in a browser.

Its times are put back by the hub itself (`AGE`): hours are too long for a test.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import docker
import pytest
import requests
from playwright.sync_api import expect

from tests.conftest import remove_all, start_hub
from tests.hub import RunningHub

from .conftest import PHONE, OpenWindow, Window
from .test_accessibility import complaints
from .test_lifetime import NOTIFICATIONS

DASHBOARD = "/services/catalogue/"
LOOK_SECONDS = 0.5

CONFIG = """
import sys
from datetime import timedelta
from mydocker_hub import hubpages

class Age(hubpages.MydockerHandler):
    def check_xsrf_cookie(self):
        pass

    async def post(self, name, server, minutes):
        spawner = self.find_user(name).spawners[server].orm_spawner
        spawner.started -= timedelta(minutes=float(minutes))
        spawner.last_activity -= timedelta(minutes=float(minutes))
        self.db.commit()

hubpages.HANDLERS.append((r"/api/test/age/([^/]+)/([^/]+)/([0-9.]+)", Age))
hubpages.culler_seen.since -= 3600  # as if the hub had run for an hour
OFTEN = '''
import dataclasses
from mydocker_hub.services.gateway.state import Settings
usual = Settings.from_environ()
Settings.from_environ = lambda: dataclasses.replace(usual, presence_seconds=1)
from mydocker_hub.services.gateway.__main__ import main
main()
'''
for service in c.JupyterHub.services:
    if service["name"] == "culler":
        service["environment"]["MYDOCKER_CULLER_SECONDS"] = "0.5"
    if service["name"] == "gateway":
        service["command"] = [sys.executable, "-c", OFTEN]
"""

# A page as many have it: it polls, and keeps a WebSocket open over which the server pings.
PROGRAM = r"""
import asyncio, pathlib
import tornado.web, tornado.websocket
file = pathlib.Path.home() / "starts"
file.write_text((file.read_text() if file.exists() else "") + "x")
PAGE = '''<!DOCTYPE html><html lang="en"><title>Env</title>
<h1>Start number %d</h1><p id="state"></p>
<script>
const state = document.getElementById("state");
const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
socket.onopen = () => { state.textContent = "open"; };
socket.onclose = () => { state.textContent = "closed"; };
setInterval(() => fetch("poll"), 500);
</script></html>'''
class Socket(tornado.websocket.WebSocketHandler):
    pings = 0
    def on_pong(self, data):
        Socket.pings += 1
class Poll(tornado.web.RequestHandler):
    def get(self):
        self.write(str(Socket.pings))
class Page(tornado.web.RequestHandler):
    def get(self):
        self.write(PAGE % len(file.read_text()))
async def main():
    tornado.web.Application(
        [("/", Page), ("/poll", Poll), ("/socket", Socket)],
        websocket_ping_interval=1, websocket_ping_timeout=1,
    ).listen(8888)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def definition(slug: str, **changes: object) -> dict[str, object]:
    return {
        "slug": slug,
        "title": {"fr": "Fugace", "en": "Brief"},
        "status": "ready",
        "public": True,
        "image": "mydocker/jupyterlab-python:1",
        "command": shlex.join(["python3", "-c", f"exec({PROGRAM!r})"]),
        "interfaces": [{"name": "web", "title": "Web", "kind": "web", "port": 8888}],
        "resources": {"memory_bytes": "256 MB"},
        "storage": {"dedicated": "/home/jovyan"},
        **changes,
    }


@pytest.fixture(scope="module")
def hub(
    engine: docker.DockerClient, bridge_address: str, sample_image: str, tmp_path_factory
) -> Iterator[RunningHub]:
    hub_id = f"test-{secrets.token_hex(4)}"
    with start_hub(tmp_path_factory.mktemp("shutdown"), hub_id, bridge_address, config=CONFIG) as h:
        with h.signed_in("carol") as carol:
            headers = {"Authorization": f"Bearer {carol.token()}"}

        def put(method: str, path: str, body: dict[str, object]) -> None:
            url = f"{h.url}{DASHBOARD}api/{path}"
            answer = requests.request(method, url, json=body, headers=headers, timeout=30)
            assert answer.ok, answer.text

        lifetime = {"idle_limit": "PT20M", "maximum": "PT20H"}
        put("POST", "environments", definition("brief", lifetime=lifetime))
        asked = {"slug": "costly", "title": "GPU", "ask_every": "PT1H"}
        put("PUT", "compute-types/costly", asked)
        resources = {"memory_bytes": "256 MB", "compute_type": "costly"}
        title = {"fr": "Carte graphique", "en": "Graphics card"}
        put("POST", "environments", definition("gpu", resources=resources, title=title))
        yield h
    remove_all(engine, hub_id)


def age(hub: RunningHub, slug: str, minutes: float) -> None:
    url = f"{hub.url}/hub/api/test/age/alice/{slug}/{minutes}"
    answer = requests.post(url, timeout=10)
    assert answer.ok, answer.text


def last_activity(hub: RunningHub, slug: str) -> str:
    with hub.signed_in("alice") as alice:
        server = alice.server(slug)
    assert server is not None
    return str(server["last_activity"])


def the_warning_is_over(hub: RunningHub, slug: str) -> None:
    """As if it had been given some minutes before, and its time came."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(hub.state / "catalogue.sqlite", timeout=10)) as database, database:
        database.execute(
            "UPDATE launches SET warned_at = ?, stops_at = ? WHERE ended_at IS NULL AND"
            " environment_id = (SELECT id FROM environments WHERE slug = ?)",
            (str(now - timedelta(minutes=11)), str(now - timedelta(seconds=1)), slug),
        )


def wait_for(what: Callable[[], bool], why: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


def starts(window: Window, slug: str) -> None:
    """From the dashboard into the environment."""
    window.open(f"{DASHBOARD}environments/{slug}")
    window.page.locator(f"#start-{slug}").click()
    window.wait_for_landing(f"/user/alice/{slug}/")


def warning(window: Window, slug: str) -> object:
    """The warning on the dashboard, which is shown anew until it is there."""

    def is_there() -> bool:
        window.open(DASHBOARD)
        return window.card(slug).locator("[data-warning]").count() > 0

    wait_for(is_there, f"no warning is shown:\n{window.hub.log()[-3000:]}")
    return window.card(slug).locator("[data-warning]")


def no_warning(window: Window, slug: str) -> None:
    def is_gone() -> bool:
        window.open(DASHBOARD)
        return window.card(slug).locator("[data-warning]").count() == 0

    wait_for(is_gone, "the warning stays")


def comes_back(window: Window, slug: str, heading: str) -> None:
    """Go to the environment, until what is announced is shown first."""

    def is_shown() -> bool:
        window.open(f"/user/alice/{slug}/")
        return window.page.get_by_role("heading", level=1).inner_text() == heading

    wait_for(is_shown, "no notice is shown")


def would(hub: RunningHub) -> list[str]:
    """What the culler says that it would do."""
    with hub.signed_in("carol") as carol:
        token = carol.token()
    environ = {
        **os.environ,
        "MYDOCKER_DATABASE_URL": f"sqlite:///{hub.state / 'catalogue.sqlite'}",
        "JUPYTERHUB_API_URL": f"{hub.url}/hub/api",
        "JUPYTERHUB_API_TOKEN": token,
    }
    done = subprocess.run(
        [sys.executable, "-m", "mydocker_hub.services.culler", "--dry-run"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_from_the_warning_to_the_next_start(hub: RunningHub, window: OpenWindow, axe: str) -> None:
    student, elsewhere = window("alice"), window("alice", size=PHONE)
    starts(student, "brief")
    page = student.page
    expect(page.locator("#state")).to_have_text("open")
    expect(page.get_by_role("heading")).to_have_text("Start number 1")

    # The tab stays open. It polls, and answers the pings: that is nobody.
    time.sleep(2)
    age(hub, "brief", 12)
    before = last_activity(hub, "brief")
    time.sleep(3)
    assert last_activity(hub, "brief") == before
    assert int(page.evaluate("fetch('poll').then((answer) => answer.text())")) >= 3
    expect(page.locator("#state")).to_have_text("open")

    # They are warned on the dashboard and by the browser; one click, and it goes on.
    elsewhere.context.add_init_script(NOTIFICATIONS + 'window.Notification.permission = "granted";')
    told = warning(elsewhere, "brief")
    expect(told).to_contain_text(
        re.compile(r"Rien n’y a été fait depuis un moment\s: il s’éteint à \d\d:\d\d")
    )
    wait_for(lambda: elsewhere.page.evaluate("window.shown.length") > 0, "no notification")
    assert elsewhere.page.evaluate("window.shown")[0].startswith("Fugace – Rien n’y a été fait")
    assert re.fullmatch(
        r"alice/brief: warn: idle, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "".join(would(hub))
    )
    elsewhere.card("brief").get_by_role("button", name="Continuer Fugace").click()
    elsewhere.page.wait_for_url(f"**{DASHBOARD}")
    no_warning(elsewhere, "brief")
    time.sleep(3 * LOOK_SECONDS)
    no_warning(elsewhere, "brief")

    # The next time they come back themselves: they read of it first, and going on keeps it running.
    age(hub, "brief", 12)
    execute(hub, "UPDATE launches SET used_at = NULL")
    warning(elsewhere, "brief")
    comes_back(student, "brief", "Cet environnement va bientôt s’éteindre")
    assert complaints(page, axe) == []
    time.sleep(2)  # reading it is not yet coming back
    assert elsewhere.card("brief").locator("[data-warning]").count() == 1
    page.locator("#onward").click()
    expect(page.locator("#state")).to_have_text("open")
    no_warning(elsewhere, "brief")

    # Then nobody does anything.
    time.sleep(2)
    age(hub, "brief", 12)
    warning(elsewhere, "brief")
    age(hub, "brief", 9)
    the_warning_is_over(hub, "brief")
    expect(page.locator("#state")).to_have_text("closed")
    with hub.signed_in("alice") as alice:
        alice.wait_until_gone("brief")
    assert "alice/brief: stop: idle, " in hub.log()

    def tells_why() -> bool:
        elsewhere.open(DASHBOARD)
        return "rien n’y a été fait" in elsewhere.card("brief").inner_text().replace("\xa0", " ")

    wait_for(tells_why, "it is not told why")
    card = elsewhere.card("brief")
    expect(card).to_contain_text("pendant 20 minutes")
    expect(card).to_contain_text(re.compile(r"Fin \(\d\d:\d\d\)\s:"))
    expect(card).to_contain_text("Vos fichiers sont conservés")
    assert complaints(elsewhere.page, axe) == []
    assert elsewhere.is_as_wide_as_the_window()

    # What was written in the folder is there at the next start.
    elsewhere.page.locator("#start-brief").click()
    elsewhere.wait_for_landing("/user/alice/brief/")
    expect(elsewhere.page.get_by_role("heading")).to_have_text("Start number 2")
    student.page.close()
    with hub.signed_in("alice") as alice:
        alice.stop_and_wait("brief")


def test_what_is_expensive_is_asked_about(hub: RunningHub, window: OpenWindow, axe: str) -> None:
    student, elsewhere = window("alice", lang="en"), window("alice", lang="en", size=PHONE)
    starts(student, "gpu")
    page = student.page
    expect(page.locator("#state")).to_have_text("open")
    time.sleep(2)

    def is_asked() -> None:
        age(hub, "gpu", 61)
        told = warning(elsewhere, "gpu")
        expect(told).to_contain_text(
            re.compile(r"Are you still using it\? Without an answer it stops at \d\d:\d\d\.")
        )

    is_asked()
    assert complaints(elsewhere.page, axe) == []
    elsewhere.card("gpu").get_by_role("button", name="Yes, I still use it Graphics card").click()
    elsewhere.page.wait_for_url(f"**{DASHBOARD}")
    no_warning(elsewhere, "gpu")

    # An hour later again; who comes back is asked there.
    execute(hub, "UPDATE launches SET used_at = NULL")
    is_asked()
    comes_back(student, "gpu", "This environment stops soon")
    expect(page.locator("main")).to_contain_text("Are you still using it?")
    assert complaints(page, axe) == []
    time.sleep(2)
    assert elsewhere.card("gpu").locator("[data-warning]").count() == 1
    page.get_by_role("link", name="Yes, go on to the environment").click()
    expect(page.locator("#state")).to_have_text("open")
    no_warning(elsewhere, "gpu")

    # And nobody answers.
    time.sleep(2)
    execute(hub, "UPDATE launches SET used_at = NULL")
    is_asked()
    age(hub, "gpu", 16)
    the_warning_is_over(hub, "gpu")
    with hub.signed_in("alice") as alice:
        alice.wait_until_gone("gpu")
    assert "alice/gpu: stop: unanswered, " in hub.log()

    def tells_why() -> bool:
        elsewhere.open(DASHBOARD)
        return "nobody answered" in elsewhere.card("gpu").inner_text()

    wait_for(tells_why, "it is not told why")


def execute(hub: RunningHub, statement: str) -> None:
    """Forget in the catalogue's database when the person answered: that was an hour ago."""
    with closing(sqlite3.connect(hub.state / "catalogue.sqlite", timeout=10)) as database, database:
        database.execute(statement)
