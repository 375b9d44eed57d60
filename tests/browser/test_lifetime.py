"""What people see of a stop to come, and what they say to it."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from tests.hub import RunningHub
from tests.services.conftest import API, definition

from .conftest import PHONE, Window
from .test_accessibility import complaints

DASHBOARD = "/services/catalogue/"

# What the page hands to the browser, in place of the browser's own.
NOTIFICATIONS = """
window.shown = [];
window.Notification = class extends EventTarget {
  constructor(title, options) { super(); window.shown.push(`${title} – ${options.body}`); }
  static permission = "default";
  static async requestPermission() { this.permission = "granted"; return "granted"; }
};
"""


@pytest.fixture(scope="module")
def slug(hub: RunningHub) -> Iterator[str]:
    """An environment behind the gateway that people may have go on for longer."""
    lifetime = {"idle_limit": "PT20M", "maximum": "PT2H", "protection": "PT8H"}
    web = {"name": "web", "title": "Web", "kind": "web", "port": 8888}
    title = {"fr": "Fugace", "en": "Brief"}
    sent = definition(title=title, public=True, lifetime=lifetime, interfaces=[web])
    with hub.signed_in("carol") as carol:
        headers = {"Authorization": f"Bearer {carol.token()}"}
    answer = requests.post(f"{hub.url}{API}/environments", json=sent, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text
    with hub.signed_in("alice") as alice:
        name = sent["slug"]
        alice.start(name, json={"user_options": {"environment": name}})
        alice.wait_until_ready(name)
        yield name
        alice.stop_and_wait(name)


def warn(hub: RunningHub, slug: str) -> None:
    """Note a warning as the culler does. (It takes it back in its next look: nothing is idle.)"""
    now = datetime.now(UTC).replace(tzinfo=None)
    with closing(sqlite3.connect(hub.state / "catalogue.sqlite")) as database, database:
        database.execute(
            "UPDATE launches SET warned_code = 'idle', warned_at = ?, stops_at = ? WHERE ended_at"
            " IS NULL AND environment_id = (SELECT id FROM environments WHERE slug = ?)",
            (str(now), str(now + timedelta(minutes=30)), slug),
        )


def warned(window: Window, slug: str) -> None:
    """Show the dashboard with a warning, also if the culler has just looked."""
    for _ in range(3):
        warn(window.hub, slug)
        window.open(DASHBOARD)
        if window.card(slug).locator("[data-warning]").count():
            return
    raise AssertionError("no warning is shown")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_warning_and_one_click(hub, window, slug: str, axe: str, scripts: bool) -> None:
    student = window("alice", size=PHONE, scripts=scripts)
    warned(student, slug)
    card = student.card(slug)
    expect(card.locator("[data-warning]")).to_contain_text(
        re.compile(r"Rien n’y a été fait depuis un moment\s: il s’éteint à \d\d:\d\d")
    )
    if scripts:
        assert complaints(student.page, axe) == []
        assert student.is_as_wide_as_the_window()
    card.get_by_role("button", name="Continuer Fugace").click()
    student.page.wait_for_url(f"**{DASHBOARD}")
    expect(card).to_be_visible()
    expect(card.locator("[data-warning]")).to_have_count(0)
    expect(card).to_contain_text("en marche depuis")


def test_the_browser_tells_who_wants_it_once(hub, window, slug: str) -> None:
    student = window("alice", lang="en")
    student.context.add_init_script(NOTIFICATIONS)
    student.open(DASHBOARD)
    student.page.get_by_role("button", name="Notify me here before an environment stops").click()
    expect(student.page.locator("#notify-on")).to_be_visible()
    student.context.add_init_script(NOTIFICATIONS + 'window.Notification.permission = "granted";')
    warned(student, slug)
    deadline = time.monotonic() + 10
    while not student.page.evaluate("window.shown.length") and time.monotonic() < deadline:
        student.page.wait_for_timeout(100)
    (told,) = student.page.evaluate("window.shown")
    assert told.startswith("Brief – Nothing has been done in it for a while: it stops at ")


def test_a_long_computation(hub, window, slug: str, axe: str) -> None:
    student = window("alice")
    student.open(DASHBOARD)
    card = student.card(slug)
    card.get_by_text("Laisser en marche pour un long calcul…").click()
    card.get_by_label("Même en votre absence, il n’est pas éteint pendant").select_option("60")
    assert complaints(student.page, axe) == []
    card.get_by_role("button", name="Ne pas l’éteindre pendant ce temps Fugace").click()
    expect(card).to_contain_text("Il reste en marche jusqu’au")
    assert complaints(student.page, axe) == []
    card.get_by_role("button", name="Ce n’est plus nécessaire").click()
    expect(card.get_by_text("Laisser en marche pour un long calcul…")).to_be_visible()


def test_who_comes_back_reads_it_first(hub, window, slug: str) -> None:
    port = re.search(r"gateway_port=(\d+)", (hub.state / "jupyterhub_config.py").read_text())
    assert port
    stops_at = datetime.now(UTC) + timedelta(minutes=8)
    item = {"user": "alice", "server": slug, "code": "time-over", "stops_at": stops_at.isoformat()}
    answer = requests.put(
        f"http://127.0.0.1:{port[1]}/-/notices",
        json={"items": [item]},
        headers={"Authorization": f"Bearer {(hub.state / 'gateway_secret').read_text()}"},
        timeout=10,
    )
    assert answer.status_code == 204
    student = window("alice", size=PHONE)
    student.open(f"/user/alice/{slug}/")
    page = student.page
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Cet environnement va bientôt s’éteindre"
    )
    expect(page.get_by_text("quoi que vous fassiez")).to_be_visible()
    assert student.is_as_wide_as_the_window()
    page.get_by_role("link", name="Poursuivre vers l’environnement").click()
    expect(page.get_by_text("Cet environnement va bientôt s’éteindre")).to_have_count(0)
    assert f"/user/alice/{slug}" in page.url
