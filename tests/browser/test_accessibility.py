"""Nobody is kept out of a page: axe-core on every page, in both languages and colours."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import DESKTOP, PHONE, Window

# The administration panel is JupyterHub's own program (React); what is around it is ours.
UPSTREAM_PANEL = "#react-admin-hook"
EXEMPT_IN_UPSTREAM_PANEL = {
    "button-name",  # the buttons that unfold a row have a picture only
    "color-contrast",  # the grey names of servers
    "label",  # the search field has a placeholder instead of a label
    "target-size",  # names of servers, one below the other
}

CATALOGUE = "/services/catalogue/environments"
PAGES = [
    "/services/catalogue/",
    CATALOGUE,
    f"{CATALOGUE}?q=xyzzy",
    f"{CATALOGUE}/lab",
    f"{CATALOGUE}/hostile",
    f"{CATALOGUE}/nowhere",
    "/hub/home",
    "/hub/token",
    "/hub/spawn/alice/lab",
    "/hub/spawn/alice/foo",
    "/hub/user/alice/",
    "/hub/user/alice/lab/",
    "/hub/nowhere",
    "/join/RevokedRevokedRevoke",
]


def complaints(page: Page, axe: str, exempt_in_panel: set[str] = frozenset()) -> list[str]:
    """What axe-core has against a page, one line each."""
    page.evaluate(axe)
    result: dict[str, Any] = page.evaluate(
        """() => axe.run(document, {
             runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
           })"""
    )
    found = []
    for violation in result["violations"]:
        for node in violation["nodes"]:
            target = " ".join(map(str, node["target"]))
            ours = violation["id"] not in exempt_in_panel or not page.evaluate(
                "([css, panel]) => Boolean(document.querySelector(css)?.closest(panel))",
                [target, UPSTREAM_PANEL],
            )
            if ours:
                found.append(f"{violation['id']}: {target}: {node['failureSummary']}")
    return found


def check(opened: Window, axe: str, lang: str, name: str) -> list[str]:
    page = opened.page
    expect(page.locator("html")).to_have_attribute("lang", lang)
    title = page.title()
    assert title.endswith(" – mydocker"), f"{name}: title {title!r}"
    assert len(title) > len(" – mydocker"), f"{name}: an empty title"
    expect(page.locator("h1")).to_have_count(1)
    return [f"{name}: {complaint}" for complaint in complaints(page, axe)]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("lang", ["fr", "en"])
def test_every_page(window, anew, axe, lang, colours) -> None:
    anew("alice")
    size = PHONE if colours == "dark" else DESKTOP
    opened = window(lang=lang, colours=colours, size=size)
    found = []
    for path in ("/hub/login", "/hub/logout"):
        opened.open(path)
        found += check(opened, axe, lang, path)
    opened.sign_in("alice")
    found += check(opened, axe, lang, "empty dashboard")

    # A failure, in place and on its own page; a start; a running environment, being left.
    opened.open(f"{CATALOGUE}/exits")
    opened.page.locator("#start-exits").click()
    expect(opened.page.get_by_text("no licence found").first).to_be_attached(timeout=45_000)
    found += check(opened, axe, lang, "failure in place")
    opened.page.reload()
    found += check(opened, axe, lang, "failure")
    opened.open(f"{CATALOGUE}/mute")
    opened.page.locator("#start-mute").click()
    opened.page.wait_for_url("**/hub/spawn-pending/alice/mute**")
    found += check(opened, axe, lang, "waiting page")
    opened.open("/services/catalogue/")
    found += check(opened, axe, lang, "dashboard with a start")
    opened.page.locator("#stop-mute").click()
    opened.page.wait_for_url("**/services/catalogue/")
    opened.open("/join/TinyTinyTinyTinyTiny")
    opened.wait_for_landing("/user/alice/tiny/")
    for path in PAGES:
        opened.open(path)
        if path == "/services/catalogue/":
            opened.page.locator("#leave-tiny-summary").click()
        found += check(opened, axe, lang, path)
    opened.page.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_administration_panel(window, axe, colours) -> None:
    opened = window("carol", lang="en", colours=colours)
    opened.open("/hub/admin")
    expect(opened.page.get_by_role("button", name="Add Users")).to_be_visible()
    expect(opened.page.locator("html")).to_have_attribute("lang", "en")
    assert opened.page.title() == "Administration – mydocker"
    assert not complaints(opened.page, axe, EXEMPT_IN_UPSTREAM_PANEL)
