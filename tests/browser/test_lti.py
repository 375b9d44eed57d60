"""From a course into an environment, in a browser, from platforms that nobody here wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from ..hub import RunningHub
from ..identity_hub import ADMIN, IdentityHub
from ..peers.lti_platforms import (
    DEEP_LINKING,
    MEMBERSHIP,
    P13Platform,
    Platform,
    edx_lti11,
    form_page,
    pylti_lti11,
)
from .conftest import Window
from .people import come, expect_refusal, model_of

pytestmark = pytest.mark.peers

PLATFORMS = "/services/catalogue/admin/platforms"
KEY = "TinyTinyTinyTinyTiny"
TEACHER = {"edx": "instructor", "p13": f"{MEMBERSHIP}Instructor"}
MEMBERS = [
    {"user_id": "9001", "roles": ["Learner"], "status": "Active", "name": "Ada Lovelace"},
    {"user_id": "9002", "roles": ["Learner"], "status": "Active", "name": "Emmy Noether"},
]
OpenWindow = Callable[..., Window]


@pytest.fixture(scope="module")
def hub(identity_hub: IdentityHub) -> RunningHub:
    return identity_hub.hub


@pytest.fixture
def world(identity_hub: IdentityHub) -> IdentityHub:
    for platform in (identity_hub.edx, identity_hub.p13):
        platform.members = MEMBERS  # from the start: a list is asked for again after five minutes
    return identity_hub


def platform_of(world: IdentityHub, name: str) -> Platform:
    platform: Platform = getattr(world, name)
    return platform


@pytest.mark.parametrize("name", ["edx", "p13"])
def test_a_launch_opens_the_environment(window: OpenWindow, world: IdentityHub, name: str) -> None:
    """Named by a custom parameter, or by the activity's own address; no sign-in, no question."""
    platform = platform_of(world, name)
    for number, how in (
        ("1001", {"custom_join": KEY}),
        ("1002", {"target": f"{world.hub.url}/join/{KEY}"}),
    ):
        student = window()
        student.page.goto(platform.start_url(number, name="Ada Lovelace", **how))
        student.wait_for_landing("/user/")
        assert re.fullmatch(r"/user/[^/]+/tiny/", student.path)
        model = model_of(student)
        assert not model["admin"]
        assert "mydocker-teachers" not in model["groups"]
        student.page.goto(platform.start_url(number, name="Ada Lovelace", **how))  # and again
        student.wait_for_landing("/user/")
        assert model_of(student)["name"] == model["name"]


@pytest.mark.parametrize(("name", "role"), [("edx", "staff"), ("edx", "instructor"), ("p13", "")])
def test_nobody_becomes_administrator_or_teacher_by_a_launch(
    window: OpenWindow, world: IdentityHub, name: str, role: str
) -> None:
    """Open edX calls its course staff administrators; a platform may say what it likes."""
    roles = role or ",".join(
        [
            f"{MEMBERSHIP}Instructor",
            f"{MEMBERSHIP}Administrator",
            "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator",
            "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
        ]
    )
    visitor = window()
    visitor.page.goto(
        platform_of(world, name).start_url(f"boss-{role}", role=roles, custom_join=KEY)
    )
    visitor.wait_for_landing("/user/")
    model = model_of(visitor)
    assert not model["admin"]
    assert "mydocker-teachers" not in model["groups"]


def test_a_platform_cannot_choose_a_user_name(window: OpenWindow, world: IdentityHub) -> None:
    names = set()
    for subject in ("carol", "admin", "ADMIN"):
        visitor = window()
        visitor.page.goto(
            world.p13.start_url(
                subject, username="carol", email="carol@univ-a.example", custom_join=KEY
            )
        )
        visitor.wait_for_landing("/user/")
        model = model_of(visitor)
        assert not model["admin"], subject
        names.add(model["name"])
    assert len(names) == 3
    administrator = come(world, window(), ADMIN)
    assert model_of(administrator)["name"] not in names


@pytest.mark.parametrize("name", ["edx", "p13"])
def test_a_teacher_chooses_what_an_activity_opens(
    window: OpenWindow, world: IdentityHub, name: str
) -> None:
    platform = platform_of(world, name)
    platform.items = None
    teacher = window(lang="en")
    page = teacher.page
    asked: dict[str, Any] = {"role": TEACHER[name], "message": DEEP_LINKING}
    page.goto(platform.start_url("2001", name="Grace Hopper", **asked))
    page.wait_for_url("**/services/catalogue/lti/choose/**")
    address = page.url
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("open"))
    page.locator("#search").fill("tiny")
    expect(page.locator("#environments > li:visible")).to_have_count(1)
    page.locator("#choose-tiny").check()
    page.locator("#title-tiny").fill("TP 1 : les listes")
    page.locator("#done").click()
    expect(page.get_by_role("heading", name="Back in the course")).to_be_visible()

    items = platform.items
    assert items is not None
    assert [item["title"] for item in items] == ["TP 1 : les listes"]
    custom = {f"custom_{k}": v for k, v in items[0]["custom"].items()}

    # once, and by nobody else
    page.goto(address)
    expect(page.get_by_role("main")).to_contain_text("has ended")
    stranger = come(world, window(lang="en"), "bob")
    stranger.page.goto(address)
    expect(stranger.page.locator("#done")).to_have_count(0)

    student = window()
    student.page.goto(platform.start_url("2002", link="rl-chosen", **custom))
    student.wait_for_landing("/user/")
    assert "/tiny/" in student.page.url

    # the teacher sees who came, without being a teacher of the whole service
    teacher.open("/services/catalogue/courses")
    page.locator("#courses a").first.click()
    expect(page.locator("#members")).to_contain_text("Tiny: last on")
    expect(page.locator("#members")).to_contain_text("Grace Hopper")
    assert "mydocker-teachers" not in model_of(teacher)["groups"]


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_refusals(window: OpenWindow, world: IdentityHub, lang: str) -> None:
    for platform, arguments, code in (
        (world.p13, {}, "lti-nothing-chosen"),
        (world.edx, {"message": DEEP_LINKING}, "lti-teachers-only"),
        (world.p13, {"custom_join": "https://evil.example/"}, "lti-nothing-chosen"),
    ):
        visitor = window(lang=lang)
        visitor.page.goto(platform.start_url("3001", **arguments))
        expect_refusal(visitor.page, code, lang)

    unknown = P13Platform(login_url=world.p13.login_url, launch_url=world.p13.launch_url)
    with unknown:
        visitor = window(lang=lang)
        visitor.page.goto(unknown.start_url("1", custom_join=KEY))
        expect_refusal(visitor.page, "lti-platform-unknown", lang)

    deployment = world.edx.deployment
    world.edx.deployment = "another"
    try:
        visitor = window(lang=lang)
        visitor.page.goto(world.edx.start_url("1", custom_join=KEY))
        expect_refusal(visitor.page, "lti-deployment-unknown", lang)
    finally:
        world.edx.deployment = deployment


def test_a_launch_that_another_browser_began(window: OpenWindow, world: IdentityHub) -> None:
    """The answer of a platform, caught and sent in somebody else's browser."""
    caught: list[dict[str, str]] = []
    world.p13.tamper = lambda fields: caught.append(fields) or {"state": "", "id_token": ""}
    try:
        attacker = window(lang="en")
        attacker.page.goto(world.p13.start_url("4001", custom_join=KEY))
        attacker.page.wait_for_url("**/hub/lti/launch")
    finally:
        world.p13.tamper = None
    victim = window(lang="en")
    victim.page.set_content(form_page(world.p13.launch_url, caught[0]))
    victim.page.get_by_role("button").click()
    expect_refusal(victim.page, "sign-in-other-browser", "en")


def test_inside_a_frame_one_click_opens_a_window(window: OpenWindow, world: IdentityHub) -> None:
    """No origin may frame us here: nothing is lost, the activity opens beside the course."""
    student = window(lang="en")
    student.page.goto(world.p13.frame_url("5001", custom_join=KEY))
    frame = student.page.frame_locator("iframe")
    with student.context.expect_page() as opened:
        frame.get_by_role("button", name="Open the activity").click()
    opened.value.wait_for_url(re.compile(r"/user/[^/]+/tiny/"), timeout=90_000)


def test_lti_11(window: OpenWindow, world: IdentityHub) -> None:
    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    administrator.open(f"{PLATFORMS}/new")
    page.locator("#name-11").fill("Old platform")
    page.locator("#form-11 button").click()
    key, secret = (page.locator(css).input_value() for css in ("#consumer-key", "#secret"))
    url = page.locator("#tool-url").input_value()
    page.get_by_role("link", name="I have copied them").click()
    expect(page.get_by_role("main")).not_to_contain_text(secret)
    expect(page.locator(f"input[value='{secret}']")).to_have_count(0)

    for user, launch in (
        ("6001", edx_lti11(url, key, secret, "6001", "Learner", custom={"join": KEY})),
        ("6002", pylti_lti11(url, key, secret, "6002", "Learner", custom_join=KEY)),
    ):
        student = window(lang="en")
        student.page.set_content(form_page(url, launch))
        student.page.get_by_role("button").click()
        student.wait_for_landing("/user/")
        assert "/tiny/" in student.page.url, user

        again = window(lang="en")
        again.page.set_content(form_page(url, launch))
        again.page.get_by_role("button").click()
        expect_refusal(again.page, "sign-in-replayed", "en")

    forged = edx_lti11(url, key, "another secret", "6001", "Learner", custom={"join": KEY})
    visitor = window(lang="en")
    visitor.page.set_content(form_page(url, forged))
    visitor.page.get_by_role("button").click()
    expect(visitor.page.locator("#refused")).to_be_visible()


def test_a_platform_registers_itself(window: OpenWindow, world: IdentityHub) -> None:
    """By a link of one use; it waits until an administrator has looked at it."""
    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    administrator.open(PLATFORMS)
    page.locator("#link-label").fill("Faculty Moodle")
    page.locator("#link-private").check()
    page.get_by_role("button", name="Make a registration link").click()
    link = page.locator("#new-link").input_value()

    platform = P13Platform(login_url="", launch_url="")
    with platform:
        there = window(lang="en")
        asked = f"openid_configuration={platform.configuration_url}"
        token = f"registration_token={platform.registration_token}"
        there.page.goto(f"{link}?{asked}&{token}")
        expect(there.page.get_by_role("heading", level=1)).to_contain_text("Registered")
        assert platform.login_url == f"{world.hub.url}/hub/lti/login"

        student = window(lang="en")
        student.page.goto(platform.start_url("7001", custom_join=KEY))
        expect_refusal(student.page, "lti-platform-closed", "en")

        there.page.goto(f"{link}?{asked}&{token}")  # once
        expect(there.page.get_by_role("main")).to_contain_text("has been used")
        assert len(platform.registrations) == 1

        administrator.open(PLATFORMS)
        row = page.get_by_role("row", name="Faculty Moodle")
        expect(row).to_contain_text("waits for approval")
        row.get_by_role("link").click()
        expect(page.locator("#approve")).to_contain_text(platform.url)
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("button", name="Test the connection").click()
        expect(page.locator("#findings")).to_contain_text("key was read")

        student.page.wait_for_timeout(15_500)  # what was known of it is forgotten
        student.page.goto(platform.start_url("7001", custom_join=KEY))
        student.wait_for_landing("/user/")

        page.get_by_role("button", name="Close it").click()
        expect(page.get_by_role("button", name="Open it again")).to_be_visible()
        page.locator("#delete-details summary").click()
        page.get_by_role("button", name="Delete this platform").click()
        page.wait_for_url(f"**{PLATFORMS}")
        expect(page.get_by_role("main")).not_to_contain_text("Faculty Moodle")


def test_the_pages_of_platforms_are_for_administrators(
    window: OpenWindow, world: IdentityHub
) -> None:
    teacher = come(world, window(lang="en"), "bob")
    for path in (PLATFORMS, f"{PLATFORMS}/new", f"{PLATFORMS}/1"):
        answer = teacher.open(path)
        assert answer is not None
        assert answer.status == 403, path


@pytest.mark.parametrize("name", ["edx", "p13"])
def test_a_teacher_sees_who_has_not_come(window: OpenWindow, world: IdentityHub, name: str) -> None:
    platform = platform_of(world, name)
    student = window()
    student.page.goto(platform.start_url("9001", custom_join=KEY))
    student.wait_for_landing("/user/")
    teacher = window(lang="en")
    page = teacher.page
    page.goto(platform.start_url("9003", role=TEACHER[name], custom_join=KEY))
    teacher.wait_for_landing("/user/")
    page.goto("about:blank")
    teacher.open("/services/catalogue/courses")
    page.locator("#courses a").first.click()
    page.wait_for_url("**/courses/*")
    row = page.locator("#members tr", has_text="Emmy Noether")
    expect(row).to_contain_text("has not come yet")
    row = page.locator("#members tr", has_text="Ada Lovelace").first
    expect(row).not_to_contain_text("has not come yet")


@pytest.mark.parametrize("name", ["edx", "p13"])
def test_new_keys_on_both_sides(window: OpenWindow, world: IdentityHub, name: str) -> None:
    platform = platform_of(world, name)
    platform.change_keys()
    student = window()
    student.page.goto(platform.start_url("9101", custom_join=KEY))
    student.wait_for_landing("/user/")

    administrator = come(world, window(lang="en"), ADMIN)
    administrator.open(PLATFORMS)
    administrator.page.get_by_role("button", name="Sign with a new key").click()
    expect(administrator.page.locator("#keys li").nth(1)).to_be_visible()
    teacher = window(lang="en")
    page = teacher.page
    asked: dict[str, Any] = {"role": TEACHER[name], "message": DEEP_LINKING}
    page.goto(platform.start_url("9102", **asked))
    page.wait_for_url("**/services/catalogue/lti/choose/**")
    page.locator("#choose-tiny").check()
    page.locator("#done").click()
    expect(page.get_by_role("heading", name="Back in the course")).to_be_visible()
