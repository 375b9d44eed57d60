"""One person: several doors, one account, the roles of today, in a browser."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import docker
import pytest
from playwright.sync_api import expect

from ..hub import RunningHub
from ..identity_hub import ADMIN, IdentityHub
from ..peers.lti_platforms import EdxPlatform
from .conftest import Window
from .people import come, expect_refusal, model_of, sign_in_at_institution

pytestmark = pytest.mark.peers

ACCOUNT = "/services/catalogue/account"
PEOPLE = "/services/catalogue/admin/people"
PLATFORMS = "/services/catalogue/admin/platforms"
KEY = "TinyTinyTinyTinyTiny"
NOTE = "/data/mine/note.txt"
TEACHERS = "mydocker-teachers"
OpenWindow = Callable[..., Window]


@pytest.fixture(scope="module")
def hub(identity_hub: IdentityHub) -> RunningHub:
    return identity_hub.hub


@pytest.fixture
def world(identity_hub: IdentityHub) -> IdentityHub:
    return identity_hub


@pytest.fixture
def somebody(world: IdentityHub) -> str:
    """Somebody who is new: a student at univ-a and at univ-b."""
    name = f"zoe{secrets.token_hex(3)}"
    for idp in (world.univ_a, world.univ_b):
        idp.says(name, uid=[name])
    return name


def run_inside(engine: docker.DockerClient, world: IdentityHub, name: str, command: str) -> str:
    """Run a command in somebody's environment “tiny”; what it prints."""
    labels = [
        f"mydocker.hub={world.hub.hub_id}",
        f"mydocker.user={name}",
        "mydocker.server=tiny",
    ]
    (container,) = engine.containers.list(filters={"label": labels})
    status, output = container.exec_run(["/bin/sh", "-c", command])
    assert status == 0, output
    return output.decode()


def launch(opened: Window, platform: EdxPlatform, subject: str, **more: str) -> Window:
    opened.page.goto(platform.start_url(subject, custom_join=KEY, **more))
    opened.wait_for_landing("/user/")
    return opened


def stop(opened: Window, world: IdentityHub) -> None:
    opened.page.goto("about:blank")
    opened.open("/services/catalogue/")
    opened.page.locator("#stop-tiny").click()
    expect(opened.card("tiny").locator(".badge")).to_have_text(
        re.compile("éteint|off|stopped"), timeout=45_000
    )


# --- one account, one folder ---------------------------------------------------------------------


def test_a_second_door_is_added_by_the_person(
    window: OpenWindow, world: IdentityHub, engine: docker.DockerClient, somebody: str
) -> None:
    student = launch(window(lang="en"), world.p13, f"m-{somebody}", name="Zoé Éàü")
    name = model_of(student)["name"]
    run_inside(engine, world, name, f"echo from Moodle > {NOTE}")
    stop(student, world)

    page = student.page
    student.open(ACCOUNT)
    expect(page.locator("#identities li")).to_have_count(1)
    page.locator("#add-door").click()
    page.get_by_role("button", name="Choose the other door").click()
    expect(page.get_by_role("main")).to_contain_text(name)
    page.locator("#institution").fill("northern alps")
    page.locator("#institutions a").click()
    sign_in_at_institution(page, somebody)
    page.wait_for_url("**/hub/link/confirm?**")
    expect(page.get_by_role("main")).to_contain_text(f"{somebody}@univ-a.example")
    page.get_by_role("button", name="Yes, it is me").click()
    page.wait_for_url(f"**{ACCOUNT}")
    expect(page.locator("#identities li")).to_have_count(2)

    elsewhere = come(world, window(lang="en"), somebody, to=f"/join/{KEY}")
    elsewhere.wait_for_landing(f"/user/{name}/tiny/")
    assert run_inside(engine, world, name, f"cat {NOTE}") == "from Moodle\n"


def test_two_accounts_are_joined_by_the_person(
    window: OpenWindow, world: IdentityHub, engine: docker.DockerClient, somebody: str
) -> None:
    """Both had a folder: the person says which account goes on; nothing of the other is lost."""
    moodle = launch(window(lang="en"), world.p13, f"m-{somebody}", name="Zoé Éàü")
    first = model_of(moodle)["name"]
    run_inside(engine, world, first, f"echo from Moodle > {NOTE}")
    stop(moodle, world)
    other = come(world, window(lang="en"), somebody)
    second = model_of(other)["name"]
    assert first != second
    other.open("/services/catalogue/environments/tiny")
    other.page.locator("#start-tiny").click()
    other.wait_for_landing(f"/user/{second}/tiny/")
    run_inside(engine, world, second, f"echo from the federation > {NOTE}")
    stop(other, world)

    page = moodle.page
    moodle.open("/hub/link")
    page.get_by_role("button", name="Choose the other door").click()
    page.locator("#institution").fill("northern alps")
    page.locator("#institutions a").click()
    sign_in_at_institution(page, somebody)
    page.wait_for_url("**/hub/link/confirm?**")
    page.get_by_label(second).check()
    page.get_by_role("button", name="Join the two accounts").click()
    page.wait_for_url(f"**{ACCOUNT}")
    expect(page.locator("#identities li")).to_have_count(2)
    assert model_of(moodle)["name"] == second

    again = launch(window(lang="en"), world.p13, f"m-{somebody}", name="Zoé Éàü")
    again.wait_for_landing(f"/user/{second}/tiny/")
    assert run_inside(engine, world, second, f"cat {NOTE}") == "from the federation\n"

    # an administrator separates them again: each has its own folder
    administrator = come(world, window(lang="en"), ADMIN)
    admin_page = administrator.page
    administrator.open(f"{PEOPLE}/{second}")
    row = admin_page.locator("#identities tbody tr", has_text="Moodle")
    row.locator("summary").click()
    row.get_by_role("button", name="Separate this way to sign in").click()
    expect(admin_page.locator("#done")).to_be_visible()
    apart = launch(window(lang="en"), world.p13, f"m-{somebody}", name="Zoé Éàü")
    apart.wait_for_landing(f"/user/{first}/tiny/")
    assert run_inside(engine, world, first, f"cat {NOTE}") == "from Moodle\n"


def test_accounts_are_joined_by_the_rule_of_a_platform(
    window: OpenWindow, world: IdentityHub, somebody: str
) -> None:
    """The platform is univ-b's: its user name is the first part of the principal name there."""
    before = come(world, window(lang="en"), somebody, idp=world.univ_b)
    name = model_of(before)["name"]
    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    number = world.numbers["edX"]
    try:
        administrator.open(f"{PLATFORMS}/{number}")
        page.locator("#field-join_issuer").fill(world.univ_b.entity_id)
        page.locator("#field-join_claim").fill("preferred_username")
        page.locator("#field-join_scope").fill(world.univ_b.scope)
        page.locator("#form-edit").get_by_role("button", name="Save").click()
        page.wait_for_url(f"**{PLATFORMS}/{number}")
        expect(page.locator("#field-join_claim")).to_have_value("preferred_username")
        page.wait_for_timeout(15_500)  # what was known of the platform is forgotten

        joined = launch(window(lang="en"), world.edx, f"x-{somebody}", username=somebody)
        assert model_of(joined)["name"] == name
        # of another scope: nobody's account
        foreign = f"{somebody}@univ-a.example"
        other = launch(window(lang="en"), world.edx, f"y-{somebody}", username=foreign)
        assert model_of(other)["name"] != name
    finally:
        administrator.open(f"{PLATFORMS}/{number}")
        page.locator("#field-join_issuer").fill("")
        page.locator("#form-edit").get_by_role("button", name="Save").click()
        page.wait_for_timeout(15_500)


def test_a_mail_address_joins_nobody(window: OpenWindow, world: IdentityHub, somebody: str) -> None:
    owner = come(world, window(lang="en"), somebody)
    thief = launch(
        window(lang="en"), world.edx, f"t-{somebody}", email=f"{somebody}@univ-a.example"
    )
    assert model_of(thief)["name"] != model_of(owner)["name"]


# --- roles ---------------------------------------------------------------------------------------


def test_a_role_ends_with_its_reason(window: OpenWindow, world: IdentityHub, somebody: str) -> None:
    world.univ_a.says(
        somebody,
        eduPersonAffiliation=["member", "faculty"],
        eduPersonScopedAffiliation=["member@univ-a.example", "faculty@univ-a.example"],
        eduPersonPrimaryAffiliation=["faculty"],
    )
    teacher = come(world, window(lang="en"), somebody)
    assert TEACHERS in model_of(teacher)["groups"]
    teacher.open(ACCOUNT)
    expect(teacher.page.locator("#roles")).to_contain_text("teacher")

    world.univ_a.says(
        somebody,
        eduPersonAffiliation=["member", "student"],
        eduPersonScopedAffiliation=["member@univ-a.example", "student@univ-a.example"],
        eduPersonPrimaryAffiliation=["student"],
    )
    again = come(world, window(lang="en"), somebody)
    assert TEACHERS not in model_of(again)["groups"]
    assert TEACHERS not in model_of(teacher)["groups"]  # in the other browser too


def test_an_administrator_gives_a_role_and_takes_it_away(
    window: OpenWindow, world: IdentityHub, somebody: str
) -> None:
    student = come(world, window(lang="en"), somebody)
    name = model_of(student)["name"]
    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    administrator.open(PEOPLE)
    page.locator("#q").fill(somebody)
    page.locator("#people-search button").click()
    page.locator("#people").get_by_role("link", name=name, exact=True).click()
    page.locator("#decide-role").select_option("teacher")
    in_a_month = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    page.locator("#decide-until").fill(in_a_month)
    page.locator("#decide-reason").fill("Replaces a colleague")
    page.get_by_role("button", name="Give the role").click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("#decisions")).to_contain_text("Replaces a colleague")
    wait_until(lambda: TEACHERS in model_of(student)["groups"], 60)
    wait_until(lambda: "administrator decided" in shown_roles(student), 60)
    # what the institution says at the next sign-in does not count against it
    assert TEACHERS in model_of(come(world, window(lang="en"), somebody))["groups"]

    page.get_by_role("button", name="Take it away").click()
    expect(page.locator("#done")).to_be_visible()
    wait_until(lambda: TEACHERS not in model_of(student)["groups"], 60)
    expect(page.locator("#history")).to_contain_text(ADMIN)


def test_who_is_blocked_is_out_of_running_servers(
    window: OpenWindow, world: IdentityHub, engine: docker.DockerClient, somebody: str
) -> None:
    student = come(world, window(lang="fr"), somebody, to="/services/catalogue/environments/tiny")
    name = model_of(student)["name"]
    student.open("/services/catalogue/environments/tiny")
    student.page.locator("#start-tiny").click()
    student.wait_for_landing(f"/user/{name}/tiny/")
    run_inside(engine, world, name, f"echo mine > {NOTE}")

    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    administrator.open(f"{PEOPLE}/{name}")
    page.locator("#block-reason").fill("Lost a laptop")
    page.get_by_role("button", name="Block the account").click()
    expect(page.locator("#blocked")).to_contain_text("Lost a laptop")

    labels = [f"mydocker.hub={world.hub.hub_id}", f"mydocker.user={name}"]
    wait_until(lambda: not engine.containers.list(filters={"label": labels}), 60)
    student.page.goto("about:blank")
    student.open("/hub/home")
    assert student.path != "/hub/home"
    refused = window(lang="fr")
    come(world, refused, somebody)
    expect_refusal(refused.page, "account-blocked", "fr")

    page.get_by_role("button", name="Open the account again").click()
    expect(page.locator("#blocked")).to_have_count(0)
    back = come(world, window(lang="fr"), somebody, to=f"/join/{KEY}")
    back.wait_for_landing(f"/user/{name}/tiny/")
    assert run_inside(engine, world, name, f"cat {NOTE}") == "mine\n"


def test_the_pages_of_people_are_for_administrators(window: OpenWindow, world: IdentityHub) -> None:
    teacher = come(world, window(lang="en"), "bob")
    for path in (PEOPLE, f"{PEOPLE}/{ADMIN}", "/services/catalogue/admin/sign-ins"):
        answer = teacher.open(path)
        assert answer is not None
        assert answer.status == 403, path


def test_support_finds_a_refusal_by_its_reference(window: OpenWindow, world: IdentityHub) -> None:
    visitor = come(world, window(lang="en"), "nobody")
    reference = visitor.page.locator("#refused code").nth(1).inner_text()
    administrator = come(world, window(lang="en"), ADMIN)
    administrator.open(f"/services/catalogue/admin/sign-ins?reference={reference}")
    main = administrator.page.get_by_role("main")
    expect(main).to_contain_text(reference)
    expect(main).to_contain_text("did not say who you are")


def shown_roles(opened: Window) -> str:
    opened.open(ACCOUNT)
    return opened.page.locator("#roles").inner_text()


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(1)


def test_an_administrator_joins_two_accounts(
    window: OpenWindow, world: IdentityHub, somebody: str
) -> None:
    names = [
        model_of(come(world, window(lang="en"), somebody, idp=idp))["name"]
        for idp in (world.univ_a, world.univ_b)
    ]
    assert len(set(names)) == 2
    administrator = come(world, window(lang="en"), ADMIN)
    page = administrator.page
    administrator.open(f"{PEOPLE}/{names[0]}")
    page.locator("#join-with").fill(names[1])
    page.get_by_role("button", name="Compare the two").click()
    expect(page.get_by_role("main")).to_contain_text(f"{somebody}@univ-b.example")
    page.locator(f"input[name=keep][value='{names[0]}']").check()
    page.locator("form:has(input[name=keep]) button[type=submit]").click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("#identities tbody tr")).to_have_count(2)
    for idp in (world.univ_a, world.univ_b):
        assert model_of(come(world, window(lang="en"), somebody, idp=idp))["name"] == names[0]
