"""One answer at every door: what sessions decide, with the sentence and the next date.

The doors are the join link, the dashboard's button, the hub's form and its REST API with the
student's own token, and an activity of an LTI platform; the hub asks the catalogue at each.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
import yaml

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.web.i18n import translator

from .conftest import RunHub
from .hub import RunningHub, Visitor, text_of
from .peers.forms import form
from .peers.lti_platforms import EdxPlatform
from .services.lti import known, tool
from .workshop_hub import PREFIX, api, definition

pytestmark = [pytest.mark.hub, pytest.mark.engine, pytest.mark.peers]

MINUTES = timedelta(minutes=1)


@pytest.fixture(scope="module")
def hub(run_hub: RunHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub of the demonstration that LTI platforms lead to as well."""
    folder = tmp_path_factory.mktemp("doors")
    settings = folder / "sign-in.yaml"
    settings.write_text(yaml.safe_dump({"lti": {}}))
    install = f"sign_in=Path({str(settings)!r})"
    with run_hub(state=folder, install=install) as running:
        yield running


@pytest.fixture(scope="module")
def moodle(hub: RunningHub) -> Iterator[EdxPlatform]:
    with EdxPlatform(**tool(hub)) as peer:
        known(hub, peer)
        yield peer


@dataclass
class Exam:
    """An environment of bob's, and how alice comes to it."""

    hub: RunningHub
    bob: Visitor
    slug: str
    key: str = ""

    def book(self, starts: datetime, minutes: int = 60) -> dict[str, Any]:
        sent = {
            "starts": f"{starts:%Y-%m-%dT%H:%M}",
            "zone": "UTC",
            "duration": f"PT{minutes}M",
            "expected": 5,
        }
        answer = api(self.bob, "POST", f"/environments/{self.slug}/sessions", sent)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def bob(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("bob") as bob:
        yield bob


@pytest.fixture
def alice(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("alice") as alice:
        yield alice
        for name in alice.api("GET", "/users/alice").json()["servers"]:
            with suppress(AssertionError):
                alice.stop_and_wait(name)


@pytest.fixture
def make(hub: RunningHub, bob: Visitor) -> Callable[..., Exam]:
    def make(effect: str, *, enrolled: bool = True, **rules: Any) -> Exam:
        sent = definition(sessions={"effect": effect, **rules})
        carol_makes = not enrolled  # only what is public is seen without an invitation
        with hub.signed_in("carol") as carol:
            owner = carol if carol_makes else bob
            answer = api(owner, "POST", "/environments", {**sent, "public": carol_makes})
            assert answer.status_code == 201, answer.text
            if carol_makes:
                answer = api(
                    carol, "PUT", f"/environments/{sent['slug']}/rights/bob", {"right": "edit"}
                )
                assert answer.status_code < 300, answer.text
        link = api(bob, "POST", f"/environments/{sent['slug']}/join-links", {})
        return Exam(hub, bob, sent["slug"], link.json()["key"])

    return make


# --- the doors -----------------------------------------------------------------------------------
# Each answers what alice is told, or "" where it starts.


def by_link(alice: Visitor, exam: Exam) -> str:
    return _told(alice.get(f"/hub/join/{exam.key}", headers={"Accept-Language": "fr"}))


def by_button(alice: Visitor, exam: Exam) -> str:
    return _told(alice.post_form(f"{PREFIX}environments", f"{PREFIX}start/{exam.slug}"))


def by_the_hubs_form(alice: Visitor, exam: Exam) -> str:
    address = f"/hub/spawn/alice/{exam.slug}"
    return _told(alice.post_form("/hub/home", address, environment=exam.slug))


def by_token(alice: Visitor, exam: Exam) -> str:
    """`POST /hub/api/users/alice/servers/…`, as a script of alice's would."""
    answer = requests.post(
        f"{alice.hub.url}/hub/api/users/alice/servers/{exam.slug}",
        headers={"Authorization": f"token {alice.token()}"},
        json={"environment": exam.slug},
        timeout=60,
    )
    if answer.status_code in {201, 202}:
        return ""
    assert answer.status_code == 403, answer.text
    return " ".join(answer.json()["message"].split())


DOORS = {
    "link": by_link,
    "button": by_button,
    "hub's form": by_the_hubs_form,
    "REST": by_token,
}


def _told(page: requests.Response) -> str:
    page.encoding = "utf-8"
    if "/hub/spawn-pending/" in page.url or "/user/" in page.url:
        return ""
    assert page.status_code == 403, f"{page.status_code} {page.url} {text_of(page)[:2000]}"
    return text_of(page)


def sentence(code: str, **params: Any) -> str:
    title = definition()["title"]
    return " ".join(translator("fr").error(MydockerError(code, title=title, **params)).split())


def refused_everywhere(alice: Visitor, exam: Exam, why: str, *, link: bool = True) -> None:
    for name, door in DOORS.items():
        if name == "link" and not link:
            continue
        told = door(alice, exam)
        assert why in told, f"{name}: {told[:600]}"
        assert alice.server(exam.slug) is None or not alice.server(exam.slug)["ready"], name


def soon() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def enrol(alice: Visitor, exam: Exam) -> None:
    """By the link, whatever it starts."""
    alice.get(f"/hub/join/{exam.key}")


# --- reserved ------------------------------------------------------------------------------------


def test_reserved_outside_before_and_within(make, alice: Visitor) -> None:
    room = make("reserved", open_before="PT20M")
    enrol(alice, room)
    refused_everywhere(alice, room, sentence("session-none"))
    later = soon() + timedelta(days=3)
    room.book(later)
    closed = sentence("session-closed", when=later - 20 * MINUTES)
    refused_everywhere(alice, room, closed)
    assert closed in alice.dashboard()
    # too early by one minute; then within the minutes before
    early = room.book(soon() + 22 * MINUTES)
    closed = sentence("session-closed", when=soon() + 2 * MINUTES)
    told = by_token(alice, room)
    assert told.startswith(closed[:40]), told
    answer = api(
        room.bob, "PUT", f"/sessions/{early['id']}",
        {**early["session"], "starts": f"{soon() + 18 * MINUTES:%Y-%m-%dT%H:%M}"}, '"1"',
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert by_token(alice, room) == ""
    alice.wait_until_ready(room.slug)
    alice.stop_and_wait(room.slug)
    for door in (by_link, by_button, by_the_hubs_form):
        assert door(alice, room) == ""
        alice.wait_until_ready(room.slug)
        alice.stop_and_wait(room.slug)
    # the time is over: nobody starts again
    answer = api(room.bob, "DELETE", f"/sessions/{early['id']}", etag='"2"')
    assert answer.status_code == 204, answer.text
    refused_everywhere(alice, room, sentence("session-closed", when=later - 20 * MINUTES))


def test_indicative_hides_and_refuses_nobody(make, alice: Visitor) -> None:
    room = make("indicative")
    room.book(soon() + timedelta(days=3))
    enrol(alice, room)
    alice.wait_until_ready(room.slug)
    alice.stop_and_wait(room.slug)
    assert f"start/{room.slug}" not in alice.get(PREFIX).text
    for door in DOORS.values():
        assert door(alice, room) == ""
        alice.wait_until_ready(room.slug)
        alice.stop_and_wait(room.slug)


# --- exams ---------------------------------------------------------------------------------------


def test_an_exam_for_those_on_its_list(make, alice: Visitor) -> None:
    """Public, so that everybody sees it: alice is not enrolled, until her teacher's link."""
    exam = make("exam", enrolled=False)
    exam.book(soon() - 10 * MINUTES)
    refused_everywhere(alice, exam, sentence("exam-not-enrolled"), link=False)
    assert by_link(alice, exam) == ""
    server = alice.wait_until_ready(exam.slug)
    assert server["ready"]
    # whatever anybody clicks, it ends with the exam
    page = f"{PREFIX}environments"
    for path, fields in (("extend", {}), ("protect", {"minutes": "600"})):
        answer = alice.post_form(page, f"{PREFIX}{path}/{exam.slug}", **fields)
        assert answer.status_code == 409, (path, text_of(answer)[:500])


def test_an_exam_outside_its_hours(make, alice: Visitor) -> None:
    exam = make("exam")
    over = exam.book(soon() - 10 * MINUTES, minutes=30)
    enrol(alice, exam)
    alice.wait_until_ready(exam.slug)  # the honest case
    alice.stop_and_wait(exam.slug)
    earlier = {**over["session"], "starts": f"{soon() - 40 * MINUTES:%Y-%m-%dT%H:%M}"}
    answer = api(exam.bob, "PUT", f"/sessions/{over['id']}", earlier, '"1"')
    assert answer.status_code == 200, answer.text
    refused_everywhere(alice, exam, sentence("session-none"))
    later = soon() + timedelta(days=2)
    exam.book(later)
    refused_everywhere(alice, exam, sentence("session-closed", when=later))


def test_what_a_token_may_not_ask(make, alice: Visitor) -> None:
    """Names that disagree, options that nobody offers, other people, a trial beside the exam."""
    exam = make("exam")
    exam.book(soon() + timedelta(days=2))
    enrol(alice, exam)
    token = alice.token()
    other = make("indicative")
    enrol(alice, other)

    def ask(path: str, options: Any) -> requests.Response:
        return requests.post(
            f"{alice.hub.url}/hub/api/users/{path}",
            headers={"Authorization": f"token {token}"},
            json=options,
            timeout=60,
        )

    alice.wait_until_ready(other.slug)  # the honest case
    alice.stop_and_wait(other.slug)
    for path, options in (
        (f"alice/servers/{other.slug}", {"environment": exam.slug}),
        (f"alice/servers/{exam.slug}", {"environment": other.slug}),
        (f"alice/servers/{exam.slug}", {"environment": exam.slug, "now": "2030-01-01"}),
        (f"alice/servers/{exam.slug}", {"environment": exam.slug, "sessions": {}}),
        (f"alice/servers/{exam.slug}", ["environment", exam.slug]),
        ("alice/servers/try-0123456789", {"environment": "try-0123456789"}),
        (f"alice/servers/try-{exam.slug}"[:36], {"environment": exam.slug}),
        ("alice/server", {"environment": exam.slug}),
        (f"bob/servers/{exam.slug}", {"environment": exam.slug}),
    ):
        answer = ask(path, options)
        assert 400 <= answer.status_code < 500, (path, options, answer.status_code, answer.text)
    servers = alice.api("GET", "/users/alice").json()["servers"]
    assert not any(one["ready"] for one in servers.values())
    # and the catalogue believes nobody but the hub
    sent = {
        "person": {"name": "alice", "roles": ["student", "admin"]},
        "environment": exam.slug,
        "server": exam.slug,
        "base_url": "/",
    }
    answer = api(alice, "POST", "/launches", sent)
    assert answer.status_code in {401, 403}, answer.text


# --- LTI -----------------------------------------------------------------------------------------


def launch(moodle: EdxPlatform, browser: requests.Session, exam: Exam, user: str) -> str:
    """Open an activity of a course that leads to the exam; what is said, or "" where it starts."""
    site = moodle.launch_url.removesuffix("/hub/lti/launch")
    page = browser.get(moodle.start_url(user, target=f"{site}/join/{exam.key}"), timeout=30)
    filled = form(page, having="id_token")
    page = browser.post(filled.action, data=filled.fields, timeout=60, allow_redirects=False)
    for _ in range(8):
        if page.status_code not in {302, 303} or "spawn-pending" in page.headers["Location"]:
            break
        address = urljoin(page.url, page.headers["Location"])
        page = browser.get(
            address, headers={"Accept-Language": "fr"}, timeout=60, allow_redirects=False
        )
    if page.status_code in {302, 303}:
        assert "spawn-pending" in page.headers["Location"]
        return ""
    page.encoding = "utf-8"
    assert page.status_code == 403, f"{page.status_code} {page.url} {text_of(page)[:1500]}"
    return text_of(page)


def name_of(hub: RunningHub, browser: requests.Session) -> str:
    found = re.search(r'user: "([^"]+)"', browser.get(f"{hub.url}/hub/home", timeout=60).text)
    assert found
    return found[1]


def stop(hub: RunningHub, name: str, slug: str) -> None:
    with hub.signed_in("carol") as carol:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            server = carol.api("GET", f"/users/{name}").json()["servers"].get(slug)
            if server is None or not (server["ready"] or server["pending"]):
                return
            carol.api("DELETE", f"/users/{name}/servers/{slug}")
            time.sleep(0.5)
    raise AssertionError(f"{slug} of {name} does not stop")


@pytest.mark.parametrize("effect", ["reserved", "exam"])
def test_an_activity_of_a_course_opens_when_its_sessions_do(
    hub: RunningHub, moodle: EdxPlatform, make, effect: str
) -> None:
    exam = make(effect)
    user = f"u-{secrets.token_hex(4)}"
    with requests.Session() as browser:
        assert sentence("session-none") in launch(moodle, browser, exam, user)
        later = soon() + timedelta(days=4)
        exam.book(later)
        early = 0 if effect == "exam" else 15
        closed = sentence("session-closed", when=later - early * MINUTES)
        assert closed in launch(moodle, browser, exam, user)
        # who is told so is enrolled: the dashboard has it, with the same sentence
        page = browser.get(f"{hub.url}{PREFIX}", headers={"Accept-Language": "fr"}, timeout=60)
        page.encoding = "utf-8"
        assert closed in text_of(page)
        exam.book(soon() - 10 * MINUTES)
        assert launch(moodle, browser, exam, user) == ""
        stop(hub, name_of(hub, browser), exam.slug)


def test_an_activity_whose_link_was_withdrawn_does_not_enrol(
    hub: RunningHub, moodle: EdxPlatform, make, bob: Visitor
) -> None:
    exam = make("exam")
    exam.book(soon() - 10 * MINUTES)
    with requests.Session() as early:
        assert launch(moodle, early, exam, f"u-{secrets.token_hex(4)}") == ""
        stop(hub, name_of(hub, early), exam.slug)
    answer = api(bob, "DELETE", f"/environments/{exam.slug}/join-links/{exam.key}")
    assert answer.status_code == 204
    with requests.Session() as late:
        with pytest.raises(AssertionError, match=r"^410 "):
            launch(moodle, late, exam, f"u-{secrets.token_hex(4)}")
        name = name_of(hub, late)
        token = late.post(
            f"{hub.url}/hub/api/users/{name}/tokens",
            headers={"X-XSRFToken": _xsrf(hub, late), "Sec-Fetch-Mode": "cors"},
            json={"expires_in": 600},
            timeout=60,
        ).json()["token"]
        answer = requests.post(
            f"{hub.url}/hub/api/users/{name}/servers/{exam.slug}",
            headers={"Authorization": f"token {token}"},
            timeout=60,
        )
        assert answer.status_code == 404, answer.text
        assert urlsplit(answer.url).path.endswith(exam.slug)


def _xsrf(hub: RunningHub, browser: requests.Session) -> str:
    page = browser.get(
        f"{hub.url}/hub/home", headers={"Sec-Fetch-Mode": "navigate"}, timeout=60
    ).text
    found = re.search(r'xsrf_token: "([^"]+)"', page)
    assert found
    return found[1]
