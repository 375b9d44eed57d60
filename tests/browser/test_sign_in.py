"""Coming in through the doors, in a browser, at providers that nobody here wrote."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote

import pytest
import requests
from playwright.sync_api import expect

from ..hub import RunningHub
from ..identity_hub import IdentityHub
from ..peers.lti_platforms import form_page
from .people import DASHBOARD, come, expect_refusal, model_of, sign_in_at_institution

pytestmark = pytest.mark.peers

TINY = "/join/TinyTinyTinyTinyTiny"


@pytest.fixture(scope="module")
def hub(identity_hub: IdentityHub) -> RunningHub:
    return identity_hub.hub


@pytest.fixture
def world(identity_hub: IdentityHub) -> IdentityHub:
    return identity_hub


# --- the sign-in page ----------------------------------------------------------------------------


def test_the_institution_is_found_while_typing(window) -> None:
    visitor = window(lang="fr")
    page = visitor.page
    visitor.open("/hub/login")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    found = page.locator("#institutions a")
    expect(found).to_have_count(0)  # too many to list

    field = page.locator("#institution")
    expect(field).to_be_focused()
    for typed, name in (
        ("electricite ile", "École supérieure d'électricité de l'Île"),  # no accents
        ("ÉLECTRICITÉ", "École supérieure d'électricité de l'Île"),
        ("amber coast", "Université de la Côte d'Ambre"),  # its English name
        ("hautes etudes coeur", "École des hautes études en cœur de ville"),
    ):
        field.fill(typed)
        expect(found).to_have_count(1)
        expect(found).to_have_text(re.compile(re.escape(name)))
    expect(page.locator("#institutions-status")).not_to_be_empty()

    field.fill("université")
    expect(found.nth(5)).to_be_visible()
    field.fill("xyzzy")
    expect(found).to_have_count(0)
    expect(page.locator("#institutions-status")).not_to_be_empty()
    field.fill("")
    expect(page.locator("#institutions-status")).to_be_empty()


def test_the_search_by_keyboard_alone(window, world) -> None:
    visitor = window(lang="en")
    page = visitor.page
    visitor.open("/hub/login")
    page.keyboard.type("brittany")
    found = page.locator("#institutions a")
    expect(found).to_have_count(2)
    page.keyboard.press("ArrowDown")
    expect(found.first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(found.nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#institution")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("Brittany-Loire")
    expect(found).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{world.univ_b.url}/**")
    sign_in_at_institution(page, "alice")
    page.wait_for_url(f"**{DASHBOARD}")


def test_without_javascript(window, world) -> None:
    visitor = window(lang="fr", scripts=False)
    page = visitor.page
    visitor.open(f"/hub/login?next={quote('/hub/home', safe='')}")
    page.locator("#institution").fill("alpes nord")
    page.get_by_role("search").get_by_role("button").click()
    expect(page.locator("#institutions a")).to_have_count(1)
    page.locator("#institutions a").click()
    sign_in_at_institution(page, "alice")
    page.locator("form[action] button").click()
    page.wait_for_url("**/hub/home")


def test_the_last_choice_is_remembered(window, world) -> None:
    visitor = come(world, window(lang="fr"), "alice", idp=world.univ_b)
    page = visitor.page
    visitor.open("/hub/logout")
    visitor.open("/hub/login")
    last = page.locator("#last-institution")
    expect(last).to_contain_text("Université de Bretagne-Loire")
    last.click()  # the institution's own session goes on
    page.wait_for_url(f"**{DASHBOARD}*")
    assert "ticket" not in page.url


def test_a_search_that_is_no_text_is_answered(window, world) -> None:
    for asked in ("%00", "%F0%9F%92%A9", "%", "_" * 200, quote("' OR 1=1 --"), "%C3"):
        answer = requests.get(f"{world.hub.url}/hub/institutions?q={asked}", timeout=30)
        assert answer.status_code < 500, asked
        page = requests.get(f"{world.hub.url}/hub/login?q={asked}", timeout=30)
        assert page.status_code < 500, asked


# --- the doors -----------------------------------------------------------------------------------


def test_a_student_and_a_teacher_come_by_the_federation(window, world) -> None:
    student = come(world, window(), "alice")
    assert student.path == DASHBOARD
    assert "mydocker-teachers" not in model_of(student)["groups"]
    teacher = come(world, window(), "bob")
    model = model_of(teacher)
    assert "mydocker-teachers" in model["groups"]
    assert not model["admin"]
    admin = come(world, window(), "carol")
    assert model_of(admin)["admin"]
    # the same names at another institution are other people
    other = come(world, window(), "carol", idp=world.univ_b)
    assert not model_of(other)["admin"]
    assert model_of(other)["name"] != model_of(admin)["name"]


def test_a_provider_of_openid_connect(window, world) -> None:
    for user, teaches in (("alice", False), ("bob", True)):
        visitor = window(lang="fr")
        page = visitor.page
        visitor.open(TINY)
        page.get_by_role("link", name="Compte du campus").click()
        sign_in_at_openid(page, user)
        visitor.wait_for_landing("/user/")
        assert "/tiny/" in page.url
        assert ("mydocker-teachers" in model_of(visitor)["groups"]) == teaches


def sign_in_at_openid(page, user: str) -> None:
    page.locator("input[name=login]").fill(user)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.locator("button[type=submit]").click()  # what the hub may know


@pytest.mark.parametrize("button", ["University portal", "CAS login"])
def test_lemonldaps_openid_connect_and_cas(window, world, button) -> None:
    for user, teaches in (("rtyler", False), ("dwho", True)):
        visitor = window(lang="en")
        page = visitor.page
        visitor.open(f"/hub/login?next={quote('/hub/token', safe='')}")
        page.get_by_role("link", name=button).click()
        sign_in_at_portal(page, user)
        page.wait_for_url("**/hub/token")
        assert ("mydocker-teachers" in model_of(visitor)["groups"]) == teaches


def sign_in_at_portal(page, user: str) -> None:
    page.locator("input[name=user]").fill(user)
    page.locator("input[name=password]").fill(user)
    page.locator("input[name=password]").press("Enter")


def test_lemonldaps_saml(window, world) -> None:
    visitor = window(lang="en")
    entity_id = quote(world.llng.entity_id, safe="")
    visitor.open(f"/hub/saml/login?idp={entity_id}&next={quote('/hub/token', safe='')}")
    sign_in_at_portal(visitor.page, "dwho")
    visitor.page.wait_for_url("**/hub/token")
    assert "mydocker-teachers" in model_of(visitor)["groups"]


def test_back_to_the_page_that_was_asked_for(window, world) -> None:
    visitor = window(lang="fr")
    visitor.open(TINY)
    assert visitor.path == "/hub/login"
    visitor.page.locator("#institution").fill("alpes nord")
    visitor.page.locator("#institutions a").click()
    sign_in_at_institution(visitor.page, "alice")
    visitor.wait_for_landing("/user/")
    assert "/tiny/" in visitor.page.url

    elsewhere = window(lang="fr")
    elsewhere.open(world.login_path(world.univ_a, "https://evil.example/"))
    sign_in_at_institution(elsewhere.page, "alice")
    elsewhere.page.wait_for_url(lambda url: url.startswith(f"{world.hub.url}/"))
    assert elsewhere.path == DASHBOARD


def test_two_tabs_at_once(window, world) -> None:
    visitor = window()
    visitor.open(world.login_path(world.univ_a, "/hub/token"))
    second = visitor.context.new_page()
    second.goto(f"{world.hub.url}{world.login_path(world.univ_a, '/hub/home')}")
    sign_in_at_institution(visitor.page, "alice")
    visitor.page.wait_for_url("**/hub/token")
    sign_in_at_institution(second, "alice")
    second.wait_for_url("**/hub/home")


def test_signing_out_says_what_has_ended(window, world) -> None:
    visitor = come(world, window(lang="en"), "alice")
    page = visitor.page
    visitor.open("/hub/logout")
    main = page.locator("#logout-main")
    expect(main).to_contain_text("Ended: your session here")
    expect(main).to_contain_text("University of the Northern Alps")
    expect(page.locator("#provider-logout")).to_have_count(0)
    visitor.open("/hub/home")
    assert visitor.path == "/hub/login"

    page.get_by_role("link", name="Campus account").click()
    sign_in_at_openid(page, "alice")
    page.wait_for_url("**/hub/home")
    visitor.open("/hub/logout")
    expect(main).to_contain_text("Campus account")
    page.locator("#provider-logout").click()
    page.wait_for_url(f"{world.op.url}/**")
    page.locator("button[name=logout], button[type=submit]").first.click()
    page.wait_for_url(f"{world.hub.url}/hub/**")


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_each_refusal_has_a_sentence(window, world, lang) -> None:
    for user, idp, code, words in (
        ("nobody", world.univ_a, "sign-in-no-identifier", "subject-id"),
        ("mallory", world.univ_a, "sign-in-foreign-scope", ""),
        ("alice", world.late, "sign-in-clock", "minutes"),
    ):
        visitor = window(lang=lang)
        visitor.open(world.login_path(idp))
        sign_in_at_institution(visitor.page, user)
        visitor.page.wait_for_url(lambda url: url.startswith(f"{world.hub.url}/"))
        said = expect_refusal(visitor.page, code, lang)
        assert words in said
        title = {
            world.univ_a: ("Université des Alpes du Nord", "University of the Northern Alps"),
            world.late: ("Université de l'Heure d'été", "Summertime University"),
        }[idp]
        assert title[lang == "en"] in said
        expect(visitor.page.locator("#refused")).to_contain_text("support@example.org")
        visitor.page.get_by_role("link", name=re.compile("Begin again|Recommencer")).click()
        assert visitor.path == "/hub/login"

    visitor = window(lang=lang)
    visitor.open(world.login_path(world.closed))
    expect_refusal(visitor.page, "sign-in-institution-refused", lang)
    visitor.open("/hub/saml/login?idp=https%3A%2F%2Fnowhere.example%2F")
    expect_refusal(visitor.page, "sign-in-institution-unknown", lang)
    visitor.open("/hub/oidc/univ-gone/login")
    expect_refusal(visitor.page, "sign-in-provider-unavailable", lang)
    visitor.open("/hub/oidc/nowhere/login")
    expect_refusal(visitor.page, "sign-in-provider-unknown", lang)


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_an_answer_of_another_browser(window, world, lang) -> None:
    """What somebody began elsewhere opens nothing here (login CSRF)."""
    with requests.Session() as attacker:
        answer = world.answer(attacker, "bob")
    victim = window(lang=lang)
    victim.page.set_content(form_page(answer.action, answer.fields))
    victim.page.get_by_role("button").click()
    victim.page.wait_for_url(lambda url: url.startswith(f"{world.hub.url}/"))
    expect_refusal(victim.page, "sign-in-other-browser", lang)
    victim.open("/hub/home")
    assert victim.path == "/hub/login"


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_an_answer_opens_the_door_once(window, world, lang) -> None:
    """Sent again in the browser that began it, and later on: back, reload, a page left open."""
    visitor = window(lang=lang)
    page = visitor.page
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.post_data or "") if "acs" in one.url else None)
    come(world, visitor, "alice")
    assert visitor.path == DASHBOARD
    (answer,) = sent
    fields = {name: values[0] for name, values in parse_qs(answer).items()}
    page.set_content(form_page(f"{world.hub.url}/hub/saml/acs", fields))
    page.get_by_role("button").click()
    page.wait_for_url(f"{world.hub.url}/hub/saml/**")
    code = page.locator("#refused code").first.inner_text()
    assert code in {"sign-in-replayed", "sign-in-other-browser", "sign-in-expired"}
    expect_refusal(page, code, lang)

    visitor.open("/hub/saml/done?ticket=of-long-ago")
    expect_refusal(page, "sign-in-expired", lang)
