"""Several interfaces of one environment: the page with one button each; a newer version."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import editing

from ..hub import RunningHub, in_database
from .conftest import DESKTOP, PHONE, Window
from .test_accessibility import check
from .test_dashboard import go_to, has_focus_ring

DASHBOARD = "/services/catalogue/"
OPEN = "/services/catalogue/open"
HINT = {
    "fr": "Ces boutons restent utilisables tant que",
    "en": "These buttons work as long as the environment runs",
}
NEWER = {
    "fr": "Une version plus récente de cet environnement est disponible.",
    "en": "A newer version of this environment is there.",
}


class Admin:
    """Carol, who changes environments by the REST API."""

    def __init__(self, hub: RunningHub) -> None:
        with hub.signed_in("carol") as carol:
            self._headers = {"Authorization": f"Bearer {carol.token()}"}
        self._hub = hub
        self._url = f"{hub.url}/services/catalogue/api/environments"

    def make(self, **fields: Any) -> dict[str, Any]:
        """A new environment of two interfaces, open to all; its definition."""
        sent = {
            "slug": f"e-{secrets.token_hex(4)}x",
            "title": {"fr": "Deux portes", "en": "Two doors"},
            "status": "ready",
            "public": True,
            "image": "mydocker-test/busybox:1",
            "interfaces": [
                {"name": "one", "title": {"fr": "Première", "en": "First"}},
                {"name": "two", "title": {"fr": "Seconde", "en": "Second"}, "path": "/two/"},
            ],
            "resources": {"memory_bytes": 64_000_000, "shm_bytes": 16_000_000},
            **fields,
        }
        answer = requests.post(self._url, json=sent, headers=self._headers, timeout=30)
        assert answer.status_code == 201, answer.text
        return sent

    def change(self, sent: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """The environment with other values from now on."""
        address = f"{self._url}/{sent['slug']}"
        version = requests.get(address, headers=self._headers, timeout=30).headers["ETag"]
        headers = {**self._headers, "If-Match": version}
        changed = {**sent, **fields}
        answer = requests.put(address, json=changed, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return changed

    def delete(self, slug: str) -> None:
        """As if it had been asked for before anything ran, which the API refuses."""
        address = f"{self._url}/{slug}"
        version = requests.get(address, headers=self._headers, timeout=30).json()["version"]
        admin = Person(name="carol", roles=frozenset(Role))
        in_database(self._hub, editing.delete_environment, slug, admin, version, datetime.now(UTC))


@pytest.fixture
def admin(hub: RunningHub) -> Admin:
    return Admin(hub)


def start(opened: Window, slug: str, button: str) -> None:
    """Start from the sheet, and wait until the page with the interfaces is there."""
    opened.open(f"/services/catalogue/environments/{slug}")
    opened.page.get_by_role("button", name=button).click()
    opened.wait_for_landing(f"{OPEN}/{slug}")


# --- two interfaces of one server ----------------------------------------------------------------


def test_from_the_start_into_each_interface_and_back(window, anew) -> None:
    anew("bob")
    teacher = window("bob", lang="en")
    page = teacher.page
    teacher.open("/join/TwoTwoTwoTwoTwoTwoTw")
    teacher.wait_for_landing(f"{OPEN}/two")
    expect(page.get_by_role("heading", level=1)).to_have_text("Two interfaces")
    expect(page).to_have_title("Two interfaces – mydocker")
    links = page.get_by_role("list", name="Interfaces").get_by_role("link")
    expect(links).to_have_text(["JupyterLab", "Files"])
    expect(page.locator("main")).to_contain_text(HINT["en"])

    # In the same tab, and back with the browser's button.
    links.get_by_text("JupyterLab").click()
    teacher.wait_for_landing("/user/bob/two/lab")
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)
    page.go_back(wait_until="commit")
    teacher.wait_for_landing(f"{OPEN}/two")
    links.get_by_text("Files").click()
    teacher.wait_for_landing("/user/bob/two/lab/tree")
    expect(page.get_by_role("menuitem", name="Fichier")).to_be_visible(timeout=60_000)

    # From the card, each in a tab of its own; the page stays.
    teacher.open(DASHBOARD)
    card = teacher.card("two")
    expect(card).to_contain_text(re.compile(r"Interfaces:\s+JupyterLab, Files"))
    card.get_by_role("link", name="Open Two interfaces").click()
    assert teacher.path == f"{OPEN}/two"
    for title, path in (("JupyterLab", "/user/bob/two/lab"), ("Files", "/user/bob/two/lab/tree")):
        with teacher.context.expect_page() as other:
            links.get_by_text(title).click(modifiers=["ControlOrMeta"])
        other.value.wait_for_url(f"**{path}*", wait_until="commit")
        other.value.close()
    assert teacher.path == f"{OPEN}/two"

    # The link again, while the server runs, leads here as well.
    teacher.open("/join/TwoTwoTwoTwoTwoTwoTw")
    assert teacher.path == f"{OPEN}/two"
    page.get_by_role("button", name="Stop Two interfaces").click()
    page.wait_for_url(f"**{DASHBOARD}")
    expect(card.locator(".badge")).to_have_text(re.compile("stopped"), timeout=45_000)


def test_the_page_follows_the_server(window, anew, admin, hub) -> None:
    """Stopped, starting, running, stopped: the page that stays open shows what there is."""
    anew("alice")
    slug = admin.make(command="sh -c 'sleep 4; exec httpd -f -p 8888 -h /tmp'")["slug"]
    student = window("alice")
    page = student.page
    student.open(f"{OPEN}/{slug}")
    expect(page.locator("main")).not_to_contain_text(HINT["fr"])
    page.get_by_role("button", name="Démarrer Deux portes").click()
    page.wait_for_url("**/hub/spawn-pending/**")

    student.open(f"{OPEN}/{slug}")
    waiting = page.get_by_role("link", name="Suivre le démarrage : Deux portes")
    expect(waiting).to_have_attribute(
        "href", f"/hub/spawn-pending/alice/{slug}?next=/services/catalogue/open/{slug}"
    )
    links = page.locator(".entrances a")
    expect(links).to_have_text(["Première", "Seconde"], timeout=45_000)
    expect(page.locator("#live")).to_contain_text("Deux portes : en marche")
    with hub.signed_in("alice") as alice:
        alice.stop_and_wait(slug)
    expect(page.get_by_role("button", name="Démarrer Deux portes")).to_be_visible(timeout=45_000)
    expect(links).to_have_count(0)

    # Over the waiting page to the choice.
    page.get_by_role("button", name="Démarrer Deux portes").click()
    student.wait_for_landing(f"{OPEN}/{slug}")
    expect(links).to_have_count(2)


def test_an_only_interface_opens_at_once(window, anew) -> None:
    anew("alice")
    student = window("alice", lang="en")
    student.open("/join/TinyTinyTinyTinyTiny")
    student.wait_for_landing("/user/alice/tiny/")
    for path in (DASHBOARD, "/services/catalogue/environments"):
        student.open(path)
        student.page.get_by_role("link", name="Open Tiny").click()
        student.wait_for_landing("/user/alice/tiny/")
    student.open(f"{OPEN}/tiny")
    assert student.path == "/user/alice/tiny/"


# --- a newer version -----------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_newer_version_is_announced(window, anew, admin, lang) -> None:
    anew("alice")
    sent = admin.make(storage={"dedicated": "/home/user"})
    slug = sent["slug"]
    open_ = {"fr": "Ouvrir Deux portes", "en": "Open Two doors"}[lang]
    stop = {"fr": "Éteindre Deux portes", "en": "Stop Two doors"}[lang]
    begin = {"fr": "Démarrer Deux portes", "en": "Start Two doors"}[lang]
    first, second = {"fr": ("Première", "Seconde"), "en": ("First", "Second")}[lang]
    student = window("alice", lang=lang)
    page = student.page
    start(student, slug, begin)
    links = page.locator(".entrances a")

    # Words alone are nothing that a server would have to be started again for.
    sent = admin.change(sent, tags=["new-words"], sheet={"description": "Nouveau"})
    for path in (DASHBOARD, f"{OPEN}/{slug}"):
        student.open(path)
        expect(page.locator("main")).not_to_contain_text(NEWER[lang])

    third = {"name": "three", "title": "Troisième", "path": "/three/"}
    admin.change(
        sent,
        interfaces=[*sent["interfaces"], third],
        resources={"memory_bytes": 128_000_000, "shm_bytes": 16_000_000},
    )
    student.open(f"{OPEN}/{slug}")
    expect(page.locator(".note")).to_contain_text(NEWER[lang])
    expect(links).to_have_text([first, second])  # what runs has no third one
    student.open(DASHBOARD)
    card = student.card(slug)
    expect(card.locator(".note")).to_have_count(1)
    expect(card.locator(".note")).to_contain_text(NEWER[lang])
    expect(card.locator(".facts")).to_contain_text("64")  # what runs has no more
    expect(card.get_by_role("link", name=open_)).to_have_attribute("href", f"{OPEN}/{slug}")

    card.get_by_role("button", name=stop).click()
    again = card.get_by_role("button", name=begin)
    expect(again).to_be_visible(timeout=45_000)
    expect(card).not_to_contain_text(NEWER[lang])
    again.click()
    student.wait_for_landing(f"{OPEN}/{slug}")
    expect(links).to_have_text([first, second, "Troisième"])
    expect(page.locator("main")).not_to_contain_text(NEWER[lang])


def test_what_runs_can_be_opened_whatever_became_of_it(window, anew, admin) -> None:
    """Archived, then deleted: the person's server goes on, and so does the way to it."""
    anew("alice")
    sent = admin.make()
    student = window("alice", lang="en")
    page = student.page
    start(student, sent["slug"], "Start Two doors")
    links = page.locator(".entrances a")
    admin.change(sent, status="archived", public=False, command="sleep 1")
    page.reload()
    expect(links).to_have_text(["First", "Second"])
    expect(page.locator(".note")).to_have_text(re.compile("is archived and cannot be started"))
    admin.delete(sent["slug"])
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two doors")
    expect(links).to_have_text(["First", "Second"])
    expect(page.locator(".note")).to_have_text(re.compile("not open to you any more"))
    page.get_by_role("button", name="Stop Two doors").click()
    page.wait_for_url(f"**{DASHBOARD}")


# --- for everybody -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "colours", "size"),
    [
        ("fr", "light", DESKTOP),
        ("en", "dark", DESKTOP),
        ("fr", "dark", PHONE),
        ("en", "light", PHONE),
    ],
)
def test_nobody_is_kept_out(window, anew, admin, axe, lang, colours, size) -> None:
    """axe-core, and nothing sticks out: with a long title, a newer version, before and after."""
    anew("alice")
    long = "Environnement-de-développement-intégré pour le traitement du signal"
    interfaces = [
        {"name": "lab", "title": "JupyterLab"},
        {"name": "code", "title": "Visual Studio Code", "path": "/code/"},
        {"name": "desktop", "title": long, "path": "/desktop/"},
    ]
    sent = admin.make(title=long, interfaces=interfaces)
    slug = sent["slug"]
    opened = window("alice", lang=lang, colours=colours, size=size)
    found = []

    def look(path: str, name: str) -> None:
        opened.open(path)
        assert opened.is_as_wide_as_the_window(), name
        found.extend(check(opened, axe, lang, name))

    look(f"{OPEN}/{slug}", "stopped")
    opened.page.locator(f"#start-{slug}").click()
    opened.wait_for_landing(f"{OPEN}/{slug}")
    look(f"{OPEN}/{slug}", "running")
    admin.change(sent, command="httpd -f -p 8888 -h /home")
    look(f"{OPEN}/{slug}", "newer version")
    expect(opened.page.locator(".entrances a")).to_have_count(3)
    look(DASHBOARD, "card")
    look(f"{OPEN}/nowhere", "not found")
    assert not found, "\n".join(found)


def test_with_the_keyboard_and_without_scripts(window, anew, admin) -> None:
    anew("alice")
    slug = admin.make()["slug"]
    student = window("alice", lang="en", scripts=False)
    start(student, slug, "Start Two doors")
    student.page.locator(".entrances").get_by_role("link", name="First").click()
    student.wait_for_landing(f"/user/alice/{slug}/")

    keys = window("alice", lang="en")
    page = keys.page
    keys.open(f"{OPEN}/{slug}")
    go_to(page, f"#open-{slug}-one")
    assert has_focus_ring(page)
    page.keyboard.press("Tab")
    expect(page.locator(f"#open-{slug}-two")).to_be_focused()
    page.keyboard.press("Enter")
    keys.wait_for_landing(f"/user/alice/{slug}/two/")
