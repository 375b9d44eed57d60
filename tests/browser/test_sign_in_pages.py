"""Nobody is kept out of the pages of signing in: both languages, both colours, a phone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..hub import RunningHub
from ..identity_hub import ADMIN, IdentityHub
from ..peers.lti_platforms import DEEP_LINKING, MEMBERSHIP
from .conftest import DESKTOP, PHONE, Window
from .people import come, sign_in_at_institution
from .test_accessibility import complaints

pytestmark = pytest.mark.peers

SERVICE = "/services/catalogue"
KEY = "TinyTinyTinyTinyTiny"
OpenWindow = Callable[..., Window]

PICTURES = os.environ.get("MYDOCKER_TEST_PICTURES", "")
"""A folder for a picture of each page, where somebody wants to look at them."""


@pytest.fixture(scope="module")
def hub(identity_hub: IdentityHub) -> RunningHub:
    return identity_hub.hub


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_page_of_signing_in(
    window: OpenWindow, identity_hub: IdentityHub, axe: str, lang: str, colours: str
) -> None:
    world = identity_hub
    phone = (lang, colours) in {("fr", "dark"), ("en", "light")}
    found: list[str] = []

    def anybody() -> Window:
        return window(lang=lang, colours=colours, size=PHONE if phone else DESKTOP)

    def look(opened: Window, name: str) -> None:
        page = opened.page
        expect(page.locator("html")).to_have_attribute("lang", lang)
        expect(page.locator("h1")).to_have_count(1)
        assert page.title().endswith(" – mydocker"), name
        found.extend(f"{name}: {one}" for one in complaints(page, axe))
        if not opened.is_as_wide_as_the_window():
            found.append(f"{name}: wider than the window")
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(PICTURES) / f"{name}-{lang}-{colours}.png", full_page=True)

    visitor = anybody()
    visitor.open("/hub/login")
    look(visitor, "sign-in")
    visitor.page.locator("#institution").fill("universit")
    expect(visitor.page.locator("#institutions a").nth(3)).to_be_visible()
    look(visitor, "sign-in-search")
    visitor.open("/hub/login?q=xyzzy")
    look(visitor, "sign-in-nothing-found")
    come(world, visitor, "nobody")
    look(visitor, "refused")
    late = anybody()
    come(world, late, "alice", idp=world.late)
    look(late, "refused-clock")

    student = anybody()
    come(world, student, "alice")
    for path, name in ((f"{SERVICE}/account", "account"), ("/hub/link", "link")):
        student.open(path)
        look(student, name)
    student.page.locator("main form button[type=submit]").click()
    look(student, "link-doors")
    student.page.locator("#institution").fill("loire")
    student.page.locator("#institutions a").first.click()
    sign_in_at_institution(student.page, "dan")
    student.page.wait_for_url("**/hub/link/confirm?**")
    look(student, "link-confirm")
    student.open("/hub/logout")
    look(student, "signed-out")
    student.open("/hub/login")
    look(student, "sign-in-last-choice")

    administrator = anybody()
    come(world, administrator, ADMIN)
    for path, name in (
        (f"{SERVICE}/admin/people", "people"),
        (f"{SERVICE}/admin/people?q=xyzzy", "people-nobody"),
        (f"{SERVICE}/admin/sign-ins", "refusals"),
        (f"{SERVICE}/admin/platforms", "platforms"),
        (f"{SERVICE}/admin/platforms/new", "platform-new"),
        (f"{SERVICE}/admin/platforms/{world.numbers['Moodle']}", "platform"),
        (f"{SERVICE}/courses", "courses"),
        (f"{SERVICE}/account", "account-admin"),
    ):
        administrator.open(path)
        look(administrator, name)
    administrator.open(f"{SERVICE}/admin/people?q=alice")
    administrator.page.locator("#people tbody a").first.click()
    look(administrator, "person")

    teacher = anybody()
    teacher.page.goto(
        world.p13.start_url(
            "8001", name="Grace Hopper", role=f"{MEMBERSHIP}Instructor", message=DEEP_LINKING
        )
    )
    teacher.page.wait_for_url("**/lti/choose/**")
    look(teacher, "choose")
    teacher.page.goto(
        world.p13.start_url("8001", name="Grace Hopper", role=f"{MEMBERSHIP}Instructor")
    )
    look(teacher, "nothing-chosen")
    teacher.open(f"{SERVICE}/courses")
    look(teacher, "courses-teacher")
    teacher.page.locator("#courses a").first.click()
    look(teacher, "course")
    learner = anybody()
    learner.page.goto(world.p13.start_url("8002", name="Ada Lovelace"))
    look(learner, "refused-lti")
    assert not found, "\n".join(found)
