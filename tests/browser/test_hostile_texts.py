"""A person's text is text: on every page that shows the environment `hostile`."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

TITLE = "<script>alert(1)</script>"
DESCRIPTION = '<img src=x onerror="alert(2)"> & <b>gras</b> {{ 7*7 }} {% raw %}'


@pytest.fixture
def visitor(window, anew):
    """Somebody in whose window no dialog opens and nothing of the texts becomes an element."""
    anew("alice", "carol")
    dialogs: list[str] = []

    def visit(name: str):
        opened = window(name)
        opened.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        return opened

    yield visit
    assert dialogs == []


def shows_text(page: Page, text: str = TITLE, part: str = "main") -> None:
    expect(page.locator(part)).to_contain_text(text)
    # What the texts would be if they were read as HTML.
    made = "main :is(script:not([id]):not([src]), img, svg, iframe, u, b, em, i[onmouseover])"
    written = page.locator(made).filter(has_text="alert")
    expect(written).to_have_count(0)
    expect(page.locator("main :is([onerror], [onload], [onmouseover], iframe)")).to_have_count(0)


def test_on_the_catalogue_s_pages(visitor) -> None:
    student = visitor("alice")
    page = student.page
    student.open("/services/catalogue/environments")
    shows_text(page)
    shows_text(page, DESCRIPTION)
    shows_text(page, "<em>Web</em>")
    student.open("/services/catalogue/environments?q=%3Cscript%3Ealert(1)%3C/script%3E")
    shows_text(page)
    expect(page.get_by_role("searchbox")).to_have_value(TITLE)

    student.open("/services/catalogue/environments/hostile")
    expect(page).to_have_title(f"{TITLE} – mydocker")
    for text in (
        TITLE,
        DESCRIPTION,
        "</div><script>alert(3)</script>",
        '"><svg onload=alert(4)>',
        '<iframe src="javascript:alert(5)"></iframe>',
        "<i onmouseover=alert(6)>Mallory</i>",
        "<u>link</u>",
    ):
        shows_text(page, text)

    # The waiting page, then the card.
    page.get_by_role("button", name=f"Démarrer {TITLE}").click()
    page.wait_for_url("**/hub/spawn-pending/alice/hostile**", wait_until="domcontentloaded")
    shows_text(page)
    student.wait_for_landing("/user/alice/hostile/")
    student.open("/services/catalogue/")
    shows_text(page)
    student.card("hostile").locator("summary").click()
    shows_text(page, f"Retirer « {TITLE} » de votre tableau de bord ?")


def test_on_the_hub_s_pages(visitor, hub) -> None:
    student = visitor("alice")
    page = student.page
    student.open("/hub/spawn/alice/hostile")
    shows_text(page)
    student.open("/hub/spawn/alice/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    expect(page.locator("main :is(script:not([src]))").filter(has_text="alert")).to_have_count(0)

    # A link on a foreign site to an environment that is new to the person asks first.
    def foreign(route: Route) -> None:
        link = f'<a href="{hub.url}/join/HostileHostileHostil">environment</a>'
        route.fulfill(body=f"<!doctype html><title>elsewhere</title>{link}")

    student.context.route("http://elsewhere.test/", foreign)
    page.goto("http://elsewhere.test/")
    page.get_by_role("link", name="environment").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLE)
    shows_text(page)
    shows_text(page, DESCRIPTION)
    with hub.signed_in("alice") as alice:
        assert alice.server("hostile") is None, "a foreign page started something"
    page.get_by_role("button", name="Démarrer l’environnement").click()
    student.wait_for_landing("/user/alice/hostile/")

    student.open("/hub/home")
    shows_text(page)
    student.open("/hub/token")
    admin = visitor("carol")
    admin.open("/hub/admin")
    expect(admin.page.get_by_role("cell", name=TITLE)).to_be_visible()
    shows_text(admin.page)
