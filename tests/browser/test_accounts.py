"""The pages for accounts as an administrator and everybody else see them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ..hub import RunningHub
from ..services.conftest import Asker, federation_sign_in
from .conftest import DESKTOP, PHONE
from .test_accessibility import complaints

PEOPLE = "/services/catalogue/admin/people"


@pytest.fixture(scope="module")
def the_hub(hub: RunningHub) -> Asker:
    return Asker(hub.url, (hub.state / "catalogue_secret").read_text())


def new(the_hub: Asker, **claims: str) -> str:
    sent = federation_sign_in(
        role="teacher",
        claims={"institution": "Université Paris-Saclay", "mail": "x@univ-a.example", **claims},
    )
    return str(the_hub.post("/sign-ins", sent).json()["name"])


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_page(window, axe, the_hub: Asker, lang, colours) -> None:
    mine, other = new(the_hub), new(the_hub)
    note = {"code": "sign-in-replayed", "provider": "federation", "reference": "0123abcd"}
    assert the_hub.post("/refusals", note).status_code == 204
    size = PHONE if colours == "dark" else DESKTOP
    opened = window("carol", lang=lang, colours=colours, size=size)
    page = opened.page
    # an account with all that an account can have
    opened.open(f"{PEOPLE}/{mine}")
    page.locator("#decide-until").fill("2099-12-31")
    page.locator("#decide-reason").fill("teaches R")
    page.locator("#decide button[value=grant]").click()
    expect(page.locator("#done")).to_be_visible()
    found = []
    for path in (
        PEOPLE,
        f"{PEOPLE}?q=xyzzy",
        f"{PEOPLE}/{mine}",
        f"{PEOPLE}/{mine}/join?with={other}",
        f"{PEOPLE}/nobody",
        "/services/catalogue/admin/sign-ins",
        "/services/catalogue/admin/sign-ins?reference=ffffffff",
        "/services/catalogue/account",
    ):
        opened.open(path)
        name = path.rsplit("/", 1)[-1]
        assert opened.is_as_wide_as_the_window(), path
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("html")).to_have_attribute("lang", lang)
        found += [f"{path}: {complaint}" for complaint in complaints(page, axe)]
        if pictures := os.environ.get("PICTURES"):
            file = f"{lang}-{colours}-{name.replace('?', '-')}.png"
            page.screenshot(path=Path(pictures) / file, full_page=True)
    assert not found, "\n".join(found)


def test_an_administrator_joins_blocks_and_separates(window, the_hub: Asker) -> None:
    keep, close = new(the_hub), new(the_hub)
    opened = window("carol", lang="en")
    page = opened.page
    opened.open("/services/catalogue/")
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_label("Name, mail address or identifier").fill(keep)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=keep).click()

    page.get_by_label("User name of the other account").fill(close)
    page.get_by_role("button", name="Compare the two").click()
    page.get_by_label(f"Keep {keep}").check()
    page.get_by_role("button", name="Join the two accounts").click()
    expect(page.locator("#done")).to_contain_text("are joined")
    expect(page.locator("#identities tbody tr")).to_have_count(2)

    page.get_by_text("Separate…").last.click()
    page.get_by_role("button", name="Separate this way to sign in").last.click()
    expect(page.get_by_text(close, exact=True).first).to_be_visible()

    page.locator("#block-reason").fill("for the test")
    page.get_by_role("button", name="Block the account").click()
    expect(page.locator("#blocked")).to_contain_text("for the test")
    page.get_by_role("button", name="Open the account again").click()
    expect(page.locator("#blocked")).to_have_count(0)


def test_without_scripts(window, the_hub: Asker) -> None:
    mine = new(the_hub)
    opened = window("carol", lang="en", scripts=False)
    opened.open(f"{PEOPLE}/{mine}")
    opened.page.locator("#decide button[value=withdraw]").click()
    expect(opened.page.locator("#decisions")).to_contain_text("taken away by carol")


@pytest.mark.parametrize("width", [390, 800, 1000, 1210])
def test_the_menu_fits(window, width) -> None:
    for name in ("alice", "carol"):
        opened = window(name, size=(width, 800))
        opened.open("/services/catalogue/account")
        assert opened.is_as_wide_as_the_window()
        menu = opened.page.locator("#thenavbar")
        if not menu.is_visible():
            opened.page.get_by_role("button", name="Menu").click()
        expect(menu.get_by_role("link", name="Mon compte")).to_be_visible()
        if width >= 1000 and name == "alice":
            expect(opened.page.get_by_role("button", name="Menu")).to_be_hidden()
