"""A term, walked through: a class that is booked, approved, prepared and held, and its exam.

With the clock as it is, the builder, the culler, the gateway, the engine and a real registry. Hours
are minutes here, and of the one who does nothing for long the hub is told so.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import icalendar
import pytest
import recurring_ical_events
import requests
from babel.dates import format_date
from playwright.sync_api import Locator, Page, expect

from mydocker_hub.web.i18n import SITE_ZONE

from ..conftest import build_tiny_image, remove_all, start_hub
from ..hub import RunningHub
from ..registry import push_big, run_registry
from ..services.conftest import API, definition
from .conftest import PHONE, OpenWindow, Window

CATALOGUE = "/services/catalogue/"
CLASS, EXAM = "statistics", "statistics-exam"
CLASS_TITLE, EXAM_TITLE = "Statistiques L2", "Statistiques L2 : examen"
LIMIT = 40
OPENS_BEFORE = timedelta(minutes=1)
EXAM_LASTS = timedelta(minutes=2)
ON_TIME = timedelta(seconds=10)
"""How long after its end everybody is out of an exam."""
IMAGE_BYTES = 20_000_000

# Two more students at the demonstration sign-in; a hub that seems to have run for an hour, as one
# that has just started stops nobody; and a way to say that somebody has done nothing for minutes.
CONFIG = """
from datetime import UTC, datetime, timedelta
from jupyterhub.handlers import BaseHandler
from mydocker_hub import hubpages
from mydocker_hub.authenticator import DEMO_ACCOUNTS
from mydocker_hub.domain.people import Role
for name in ("dave", "erin"):
    DEMO_ACCOUNTS[name] = (name.title(), Role.STUDENT)
    account = {"name": name, "display_name": name.title(), "role": "student"}
    c.JupyterHub.template_vars["demo_accounts"].append(account)
hubpages.culler_seen.since -= 3600

class Idle(BaseHandler):
    def get(self, name, server, minutes):
        row = self.find_user(name).spawners[server].orm_spawner
        ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=int(minutes))
        row.started = row.last_activity = ago
        self.db.commit()

c.JupyterHub.extra_handlers = [(r"/idle/([a-z]+)/([a-z-]+)/([0-9]+)", Idle)]
"""


@dataclass
class Term:
    """The hub of a term, and when its first class and its exam begin and end."""

    hub: RunningHub
    engine: docker.DockerClient
    image: str
    digest: str
    begins: datetime

    @property
    def opens(self) -> datetime:
        return self.begins - OPENS_BEFORE

    @property
    def exam_ends(self) -> datetime:
        return self.begins + EXAM_LASTS

    def opens_in_words(self, slug: str) -> str:
        """lundi 23 novembre 2026 à 08:30; an exam does not open early."""
        local = (self.begins if slug == EXAM else self.opens).astimezone(SITE_ZONE)
        return f"{format_date(local, 'EEEE d MMMM y', locale='fr')} à {local:%H:%M}"

    def is_on_the_machine(self) -> bool:
        with suppress(docker.errors.ImageNotFound):
            names = self.engine.images.get(self.image).attrs["RepoDigests"]
            return any(name.endswith(self.digest) for name in names)
        return False


@pytest.fixture(scope="module")
def term(
    engine: docker.DockerClient,
    bridge_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Term]:
    hub_id = f"test-{secrets.token_hex(4)}"
    with run_registry(tmp_path_factory.mktemp("registry")) as port:
        image = f"127.0.0.1:{port}/{hub_id}:1"
        digest = push_big(engine, image, build_tiny_image(engine), IMAGE_BYTES)
        state = tmp_path_factory.mktemp("hub")
        install = f"builder=True, session_people_limit={LIMIT}"
        try:
            with start_hub(state, hub_id, bridge_address, install=install, config=CONFIG) as hub:
                make_environments(hub, image)
                yield Term(hub, engine, image, digest, whole_minute(timedelta(seconds=100)))
        finally:
            remove_all(engine, hub_id)
            for service in engine.services.list(filters={"label": f"mydocker.pull={hub_id}"}):
                service.remove()
            with suppress(docker.errors.ImageNotFound):
                engine.images.remove(engine.images.get(image).id, force=True)


@pytest.fixture(scope="module")
def hub(term: Term) -> RunningHub:
    return term.hub


def whole_minute(ahead: timedelta) -> datetime:
    """The first whole minute that is at least so far ahead."""
    later = datetime.now(UTC) + ahead + timedelta(seconds=59)
    return later.replace(second=0, microsecond=0)


def make_environments(hub: RunningHub, image: str) -> None:
    """One for the class and one for its exam, which bob works on."""
    rules = {"open_before": f"PT{OPENS_BEFORE.seconds}S"}
    common = {
        "public": True,
        "image": image,
        "resources": {"memory_bytes": "64 MB", "shm_bytes": "16 MB"},
        "storage": {"dedicated": "/home/user"},
    }
    web = {"name": "web", "title": "Web", "port": 8888}
    lifetime = {"idle_limit": "PT10M", "maximum": "PT4H", "extension": "PT2H", "protection": "PT1H"}
    with hub.signed_in("carol") as carol:
        headers = {"Authorization": f"Bearer {carol.token()}"}

    def send(method: str, path: str, body: dict[str, Any]) -> None:
        answer = requests.request(
            method, f"{hub.url}{API}{path}", json=body, headers=headers, timeout=30
        )
        assert answer.ok, answer.text

    with hub.signed_in("bob") as bob:
        bob.dashboard()  # who never came cannot be given anything
    for slug, fr, en, effect, kind in (
        (CLASS, CLASS_TITLE, "Statistics, year 2", "reserved", "hub"),
        (EXAM, EXAM_TITLE, "Statistics, year 2: exam", "exam", "web"),
    ):
        made = definition(
            slug,
            title={"fr": fr, "en": en},
            sessions={**rules, "effect": effect},
            lifetime=lifetime,
            interfaces=[{**web, "kind": kind}],
            **common,
        )
        send("POST", "/environments", made)
        send("PUT", f"/environments/{slug}/rights/bob", {"right": "own"})


class Walk:
    """Everybody's windows, and what each stage looks like, in French and in English."""

    def __init__(self, window: OpenWindow, folder: Path) -> None:
        self._window = window
        self._folder = folder
        self._windows: dict[str, tuple[Window, Window]] = {}
        self._number = 0

    def __getitem__(self, name: str) -> Window:
        return self._both(name)[0]

    def _both(self, name: str) -> tuple[Window, Window]:
        if name not in self._windows:
            phone = self._window(name, lang="en", size=PHONE, colours="dark")
            self._windows[name] = self._window(name), phone
        return self._windows[name]

    def look(self, name: str, stage: str) -> None:
        """What somebody has in front of them: as it is, and the same on a phone."""
        large, phone = self._both(name)
        phone.page.goto(large.page.url)
        self._number += 1
        for one, suffix in ((large, "fr"), (phone, "en")):
            path = self._folder / f"{self._number:02}-{stage}-{suffix}.png"
            one.page.screenshot(path=path, full_page=True)
            assert one.is_as_wide_as_the_window(), path.name


@pytest.fixture
def walk(window: OpenWindow, tmp_path: Path) -> Walk:
    return Walk(window, tmp_path)


@pytest.mark.timeout(600)
def test_a_term(walk: Walk, term: Term, hub: RunningHub) -> None:
    teacher, student = walk["bob"], walk["alice"]
    links = {slug: link_to(teacher, slug) for slug in (CLASS, EXAM)}

    assert not term.is_on_the_machine()

    # The teacher books a weekly class, which is large, and an exam, which is not.
    local = term.begins.astimezone(SITE_ZONE)
    weeks = [local.date() + timedelta(weeks=number) for number in range(6)]
    open_form(teacher, CLASS)
    walk.look("bob", "form")
    fill(teacher.page, local, "1 h 30", LIMIT + 5, title="Travaux dirigés")
    teacher.page.get_by_label("chaque semaine").check()
    teacher.page.get_by_label("Dernier jour").fill(f"{weeks[-1]:%Y-%m-%d}")
    teacher.page.locator("#field-left_out").fill(f"{weeks[2]:%d/%m/%Y} – {weeks[3]:%d/%m/%Y}")
    book = teacher.page.get_by_role("button", name="Réserver", exact=True)
    book.click()
    expect(teacher.page.locator("#waits")).to_be_visible()
    expect(teacher.page.locator("#coming li")).to_have_count(4)
    walk.look("bob", "waits")
    the_class = teacher.path
    open_form(teacher, EXAM)
    fill(teacher.page, local, "2 min", 3, title="Examen")
    book.click()
    expect(teacher.page.locator("#done")).to_have_text("La séance est dans le calendrier.")

    # Until it is approved it opens nothing; somebody who has the link is told.
    student.open(links[CLASS])
    refused(student, f"« {CLASS_TITLE} » ne peut être démarré que pendant ses séances, et aucune")
    walk.look("alice", "none-to-come")

    # An administrator approves it, and the teacher reads that.
    admin = walk["carol"]
    admin.open(f"{CATALOGUE}calendar")
    admin.page.get_by_role("link", name="Demandes", exact=True).click()
    expect(admin.page.locator(".session-request")).to_contain_text(f"plus de {LIMIT} personnes")
    walk.look("carol", "request")
    admin.page.locator("button[value=approve]").click()
    expect(admin.page.locator("#done")).to_contain_text("La séance a été a")
    walk.look("carol", "approved")
    teacher.open(the_class)
    expect(teacher.page.locator("#waits")).to_have_count(0)
    expect(teacher.page.get_by_role("main")).to_contain_text("carol")

    # Who comes too early reads when it opens, by the link and on the dashboard.
    sentences = {slug: f"Il ouvre le {term.opens_in_words(slug)}." for slug in (CLASS, EXAM)}
    student.open(links[CLASS])
    refused(student, sentences[CLASS])
    walk.look("alice", "too-early")
    for name in ("alice", "dave"):
        walk[name].open(links[EXAM])
        refused(walk[name], sentences[EXAM])
    student.open(CATALOGUE)
    for slug in (CLASS, EXAM):
        expect(student.card(slug)).to_contain_text(sentences[slug])
        expect(start_button(student, slug)).to_have_count(0)
    walk.look("alice", "dashboard-too-early")
    student.open(f"{CATALOGUE}calendar")
    booked = student.page.get_by_role("link", name=re.compile("Travaux dirigés"))
    expect(booked.first).to_be_visible()
    with hub.signed_in("alice") as alice:
        assert alice.start(CLASS).status_code == 403

    # An exam is for those on its list.
    outsider = walk["erin"]
    outsider.open(f"{CATALOGUE}environments/{EXAM}")
    not_on_the_list = "est un examen, et vous n’êtes pas sur sa liste"
    expect(outsider.page.get_by_role("main")).to_contain_text(not_on_the_list)
    walk.look("erin", "not-on-the-list")

    # The image is on the machines before anybody may start.
    badge = teacher.page.get_by_text("Prête sur 1 machine sur 1").first
    until(term.opens, badge.is_visible, teacher.page.reload)
    assert term.is_on_the_machine()
    walk.look("bob", "ready")

    # It opens: students start by the dashboard and by the link.
    wait_until(term.opens)
    student.open(CATALOGUE)
    expect(start_button(student, EXAM)).to_have_count(0)
    walk.look("alice", "dashboard-open")
    start_button(student, CLASS).click()
    student.wait_for_landing(f"/user/alice/{CLASS}/")
    walk["dave"].open(links[CLASS])
    walk["dave"].wait_for_landing(f"/user/dave/{CLASS}/")

    # One does nothing for long, is warned, and goes on by one click.
    student.open(CATALOGUE)
    requests.get(f"{hub.url}/hub/idle/alice/{CLASS}/6", timeout=30).raise_for_status()
    warning = student.card(CLASS).locator("[data-warning]")
    until(term.exam_ends, warning.is_visible, student.page.reload)
    expect(warning).to_contain_text("Rien n’y a été fait depuis un moment")
    walk.look("alice", "warned")
    student.card(CLASS).get_by_role("button", name=f"Continuer {CLASS_TITLE}").click()
    expect(student.card(CLASS)).to_be_visible()
    expect(warning).to_have_count(0)
    walk.look("alice", "extended")
    walk["dave"].open(CATALOGUE)
    expect(walk["dave"].card(CLASS).locator("[data-warning]")).to_have_count(0)

    # The exam: who is on its list starts, whoever is not does not.
    wait_until(term.begins)
    walk["dave"].open(CATALOGUE)
    expect(walk["dave"].card(EXAM)).to_contain_text("L’examen se termine le")
    student.open(links[EXAM])
    student.wait_for_landing(f"/user/alice/{EXAM}/")
    start_button(walk["dave"], EXAM).click()
    walk["dave"].wait_for_landing(f"/user/dave/{EXAM}/")
    outsider.page.goto("about:blank")
    outsider.open(f"{CATALOGUE}environments/{EXAM}")
    expect(start_button(outsider, EXAM)).to_have_count(0)
    with hub.signed_in("erin") as erin:
        assert erin.start(EXAM).status_code == 403
    student.open(CATALOGUE)
    expect(student.card(EXAM)).to_contain_text("quoi que vous fassiez")
    walk.look("alice", "exam")
    with hub.signed_in("alice") as alice:
        for verb, fields in (("extend", {}), ("protect", {"minutes": "60"})):
            alice.post_form(CATALOGUE, f"{CATALOGUE}{verb}/{EXAM}", **fields)
    assert datetime.now(UTC) < term.exam_ends

    # It ends for everybody, on time, and says so; the class goes on.
    wait_until(term.exam_ends)
    for name in ("alice", "dave"):
        with hub.signed_in(name) as visitor:
            until(term.exam_ends + ON_TIME, lambda v=visitor: v.server(EXAM) is None)
            assert visitor.server(CLASS) is not None
            assert visitor.start(EXAM).status_code == 403
    for name in ("alice", "dave"):
        walk[name].open(CATALOGUE)
        expect(walk[name].card(EXAM)).to_contain_text("L’examen s’est terminé le")
        expect(start_button(walk[name], EXAM)).to_have_count(0)
    walk.look("alice", "exam-over")

    # The student's own calendar has the class, without the holidays.
    student.open(f"{CATALOGUE}calendar/feeds")
    student.page.get_by_role("button", name="Créer l’adresse").click()
    address = student.page.locator("#made input")
    expect(address).to_be_visible()
    answer = requests.get(address.input_value(), timeout=30)
    assert answer.ok
    assert class_days(answer.content, local) == [*weeks[:2], *weeks[4:]]


# --- what people do ------------------------------------------------------------------------------


def link_to(teacher: Window, slug: str) -> str:
    """The path of a new join link."""
    teacher.open(f"{CATALOGUE}workshop/environments/{slug}/links")
    teacher.page.get_by_role("button", name="Créer le lien").click()
    address = teacher.page.locator("#links input[readonly]").first.input_value()
    return address.removeprefix(teacher.hub.url)


def open_form(teacher: Window, slug: str) -> None:
    teacher.open(f"{CATALOGUE}workshop/environments/{slug}")
    teacher.page.get_by_role("link", name="Séances", exact=True).click()
    teacher.page.get_by_role("link", name="Réserver une séance").click()
    expect(teacher.page.locator("#session-form")).to_be_visible()


def fill(page: Page, local: datetime, duration: str, expected: int, *, title: str) -> None:
    page.locator("#field-title").fill(title)
    page.locator("#field-day").fill(f"{local:%Y-%m-%d}")
    page.locator("#field-time").fill(f"{local:%H:%M}")
    page.locator("#field-duration").fill(duration)
    page.locator("#field-expected").fill(str(expected))


def refused(window: Window, sentence: str) -> None:
    """On the link's own page, or, if the machine is slow, on the one that shows the start."""
    expect(window.page.locator(".lead")).to_contain_text(sentence)


def start_button(window: Window, slug: str) -> Locator:
    return window.card(slug).get_by_role("button", name=re.compile("^Démarrer"))


def class_days(feed: bytes, local: datetime) -> list[Any]:
    """The days on which the class takes place, as a calendar program works it out."""
    year = (local - timedelta(days=1), local + timedelta(days=365))
    events = recurring_ical_events.of(icalendar.Calendar.from_ical(feed)).between(*year)
    times = [event["DTSTART"].dt for event in events if "Travaux dirigés" in event["SUMMARY"]]
    assert {found.strftime("%H:%M") for found in times} == {f"{local:%H:%M}"}
    return sorted(found.date() for found in times)


# --- time ----------------------------------------------------------------------------------------


def wait_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def until(
    moment: datetime, done: Callable[[], bool], again: Callable[[], object] = lambda: None
) -> None:
    """Wait for something that has to come before a moment."""
    while not done():
        assert datetime.now(UTC) < moment
        time.sleep(0.5)
        again()
