"""The pages of LTI in a browser: nobody is kept out, and a choice goes back to the course."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from sqlalchemy import delete

from mydocker_hub.domain.people import Person
from mydocker_hub.identity.claims import Course
from mydocker_hub.identity.platform import DeepLinkRequest, PlatformStatus
from mydocker_hub.store import courses, editing, platforms
from mydocker_hub.store.tables import PlatformRow
from tests.hub import RunningHub, in_database
from tests.peers.lti_platforms import P13Platform
from tests.services.lti import ADMIN, PREFIX, known, seal_of, tool
from tests.services.test_lti_calls import Server, configured, serving

from .conftest import DESKTOP, PHONE
from .test_accessibility import check

pytestmark = pytest.mark.peers


@pytest.fixture
def p13(hub: RunningHub) -> Iterator[P13Platform]:
    with P13Platform(**tool(hub)) as platform:
        yield platform
    in_database(hub, lambda session: session.execute(delete(PlatformRow)))


def in_course(hub: RunningHub, peer: Any, name: str, **changes: Any) -> tuple[int, str]:
    """Somebody teaches a course of a platform, and chooses what it opens: course and choice."""
    platform = known(hub, peer, name="Moodle")
    now = datetime.now(UTC)
    course = Course.model_validate(
        {
            "platform": platform.id,
            "context": "ctx-1",
            "title": "Algorithmique",
            "role": "teacher",
            "memberships_url": f"{peer.url}/members",
        }
    )
    request = DeepLinkRequest.model_validate(
        {
            "platform": platform.id,
            "deployment": peer.deployment,
            "return_url": f"{peer.url}/dl_return",
            "accept_multiple": True,
            "data": "opaque-data-42",
            **changes,
        }
    )

    def write(session: Any) -> tuple[int, str]:
        row = editing.person_row(session, Person(name=name), now)
        number = courses.note_member(session, course, row.id, now)
        return number, courses.begin_choice(session, name, request, course, now)

    return in_database(hub, write)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_nobody_is_kept_out(hub: RunningHub, window, axe, p13, lang, colours) -> None:
    p13.members = [
        {"user_id": "77", "name": "Zoé Étudiante", "roles": ["Learner"], "status": "Active"}
    ]
    size = PHONE if colours == "dark" else DESKTOP
    opened = window("carol", lang=lang, colours=colours, size=size)
    opened.open(ADMIN)
    found = check(opened, axe, lang, "no platform")
    number, choice = in_course(hub, p13, "carol")
    now = datetime.now(UTC)
    pending = known(hub, p13, name="New", client_id="new", status=PlatformStatus.PENDING)
    in_database(hub, platforms.rotate, "carol", now, seal_of(hub))
    in_database(hub, platforms.rotate, "carol", now, seal_of(hub))
    opened.open(ADMIN)
    opened.page.locator("#link-label").fill("Moodle")
    opened.page.locator("#link-label").press("Enter")
    link = opened.page.locator("#new-link").input_value()
    found += check(opened, axe, lang, "a link")
    for path in (
        f"{ADMIN}/new",
        f"{ADMIN}/{pending.id}",
        f"{PREFIX}courses",
        f"{PREFIX}courses/{number}",
        f"{PREFIX}lti/choose/{choice}",
        f"{PREFIX}lti/choose/{choice}?q=xyzzy",
        link.removeprefix(hub.url),
    ):
        opened.open(path)
        found += check(opened, axe, lang, path)
    opened.open(f"{ADMIN}/{pending.id}")
    opened.page.get_by_role("button").filter(has_text="est").first.click()
    expect(opened.page.locator("#findings")).to_be_visible()
    found += check(opened, axe, lang, "tested")
    opened.page.close()
    assert not found, "\n".join(found)


def test_a_choice_goes_back_by_itself(hub: RunningHub, window, p13) -> None:
    _, choice = in_course(hub, p13, "carol")
    opened = window("carol", lang="en")
    opened.open(f"{PREFIX}lti/choose/{choice}")
    page = opened.page
    every = page.locator("#environments > li")
    assert every.count() > 3
    page.locator("#search").fill("PETIT")
    expect(every.filter(visible=True)).to_have_count(1)
    page.locator("#choose-tiny").check()
    page.locator("#search").fill("no such thing")
    expect(every.filter(visible=True)).to_have_count(1)  # what is chosen stays in sight
    name = f"TP {secrets.token_hex(4)}"
    page.locator("#title-tiny").fill(name)
    page.locator("#done").click()
    page.wait_for_url(f"{p13.url}/dl_return")
    assert p13.items is not None
    assert [item["title"] for item in p13.items] == [name]
    page.go_back()
    expect(page.locator("code")).to_have_text("lti-choice-expired")


def test_a_choice_without_javascript(hub: RunningHub, window, p13) -> None:
    _, choice = in_course(hub, p13, "carol")
    opened = window("carol", lang="en", scripts=False)
    opened.open(f"{PREFIX}lti/choose/{choice}?q=petit")
    opened.page.locator("#choose-tiny").check()
    opened.page.locator("#done").click()
    opened.page.get_by_role("button", name="Continue").click()
    opened.page.wait_for_url(f"{p13.url}/dl_return")
    assert p13.items is not None
    assert len(p13.items) == 1


def framing(server: Server, link: str, configuration: str) -> None:
    """A page of a platform that shows a registration link, as Moodle does."""
    address = f"{link}?openid_configuration={quote(configuration, safe='')}&registration_token=t"
    server.pages["/admin"] = (
        200,
        {"Content-Type": "text/html"},
        (
            "<title>waits</title><script>"
            "onmessage = (event) => { document.title = event.data.subject; }"
            f"</script><iframe width=800 height=500 src='{address}'></iframe>"
        ).encode(),
    )


def test_a_registration_inside_the_platform(hub: RunningHub, window, p13) -> None:
    """It is shown there, and says that it is done; another site cannot show it."""
    opened = window("carol", lang="en")
    opened.open(ADMIN)
    opened.page.locator("#link-private").check()
    opened.page.locator("#link-label").fill("Our Moodle")
    opened.page.locator("#link-label").press("Enter")
    link = opened.page.locator("#new-link").input_value()
    administrator = window(lang="en").page  # signed in nowhere here
    with serving() as moodle, serving() as evil:
        configuration = configured(moodle)
        framing(moodle, link, configuration)
        administrator.goto(f"{moodle.url}/admin")
        expect(administrator).to_have_title("org.imsglobal.lti.close")
        inside = administrator.frame_locator("iframe")
        expect(inside.get_by_role("heading", level=1)).to_have_text("Registered: Our Moodle")
        framing(evil, link, configuration)
        administrator.goto(f"{evil.url}/admin")
        administrator.wait_for_timeout(500)
        expect(inside.get_by_role("heading", level=1)).to_have_count(0)
    opened.open(ADMIN)
    expect(opened.page.locator("#platforms")).to_contain_text("waits for approval")
