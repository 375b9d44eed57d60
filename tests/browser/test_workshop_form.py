"""The form of an environment as a teacher meets it: typing, preview, faults, another editor."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import RunHub
from tests.hub import RunningHub

from .conftest import DESKTOP, PHONE, Window
from .test_accessibility import complaints

HERE = "/services/catalogue/workshop/environments"


@pytest.fixture(scope="module")
def hub(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub of its own: the builder looks at images while one types."""
    with run_hub(install="builder=True") as running:
        yield running


def fill_title(page: Page, title: str) -> None:
    page.locator("#f-title-fr").fill(title)


def open_everything(page: Page) -> None:
    """All that is folded away, but not the help."""
    page.evaluate("document.querySelectorAll('details.more').forEach((one) => { one.open = true })")


def title() -> str:
    return f"Essai {secrets.token_hex(4)}"


@pytest.mark.parametrize(
    ("lang", "size", "colours"), [("fr", DESKTOP, "light"), ("en", PHONE, "dark")]
)
def test_an_environment_is_made(
    window: Any, axe: str, lang: str, size: tuple[int, int], colours: str
) -> None:
    """The preview follows, what is wrong is said and nothing typed is lost, then it is there."""
    teacher: Window = window("bob", lang=lang, size=size, colours=colours)
    page = teacher.page
    teacher.open(f"{HERE}/new")
    expect(page.locator("html")).to_have_attribute("lang", lang)
    expect(page.locator("h1")).to_have_count(1)
    name = title()
    fill_title(page, name)
    expect(page.locator("#preview .environment-title")).to_have_text(name)
    page.locator("#f-sheet-description-en").fill("For **week** one")
    expect(page.locator("#preview .environment-description")).to_have_text("For **week** one")
    expect(page.locator("#f-slug")).to_have_attribute("placeholder", name.lower().replace(" ", "-"))

    # Another base image brings its interfaces with it.
    expect(page.locator("[data-rows=interfaces] > *")).to_have_count(1)
    page.locator("#f-image-base").select_option("mydocker/jupyterlab-vscode:1")
    expect(page.locator("[data-rows=interfaces] > *")).to_have_count(2)
    expect(page.locator("#base-says")).to_contain_text("VS Code")

    page.locator("#f-resources-memory_bytes").fill("beaucoup")
    open_everything(page)
    assert not complaints(page, axe)
    assert teacher.is_as_wide_as_the_window()
    page.locator("#save").click()
    problems = page.locator("#problems")
    expect(problems).to_be_focused()
    expect(page.locator("#f-resources-memory_bytes")).to_have_value("beaucoup")
    expect(page.locator("#f-resources-memory_bytes")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-title-fr")).to_have_value(name)
    expect(page.locator("[data-rows=interfaces] > *")).to_have_count(2)
    assert not complaints(page, axe)
    assert teacher.is_as_wide_as_the_window()
    problems.get_by_role("link").click()
    expect(page.locator("#f-resources-memory_bytes")).to_be_focused()
    page.locator("#f-resources-memory_bytes").fill("3 Go")
    page.locator("#save").click()
    slug = name.lower().replace(" ", "-")
    page.wait_for_url(re.compile(rf"{HERE}/{slug}(\?|$)"))
    expect(page.locator("h1")).to_have_text(name)
    teacher.open(f"{HERE}/{slug}/edit")
    expect(page.locator("#f-resources-memory_bytes")).to_have_value(
        "3 Go" if lang == "fr" else "3 GB"
    )
    assert not complaints(page, axe)
    assert teacher.is_as_wide_as_the_window()


def test_what_is_known_of_an_image(window: Any, tiny_image: str) -> None:
    teacher: Window = window("bob", lang="en")
    page = teacher.page
    teacher.open(f"{HERE}/new")
    page.locator("label[for=source-reference]").click()
    page.locator("#f-image").fill(tiny_image)
    facts = page.locator("#image-facts")
    expect(facts).to_contain_text("The image is there", timeout=20_000)
    expect(facts).to_contain_text("2 MB on disk")
    expect(facts).to_contain_text("runs as 1234")
    expect(facts).to_contain_text("starts /bin/httpd")
    expect(facts).to_contain_text("has no health check")
    page.locator("#f-image").fill("mydocker-test/No Such")
    expect(facts).to_contain_text("this is not an image reference", timeout=20_000)
    page.locator("#f-image").fill("127.0.0.1:1/nothing:1")
    expect(facts).to_have_attribute("data-state", "bad", timeout=30_000)
    expect(facts).to_contain_text("127.0.0.1:1", timeout=30_000)
    # What was asked for in vain is noted by the window, and is what this test is about.
    teacher.errors = [one for one in teacher.errors if "/api/image-facts?" not in one]


def test_rows_and_help_by_keyboard(window: Any) -> None:
    teacher: Window = window("bob", lang="en")
    page = teacher.page
    teacher.open(f"{HERE}/new")
    rows = page.locator("[data-rows=interfaces] > *")
    expect(rows).to_have_count(1)
    page.locator("[data-add=interfaces]").press("Enter")
    expect(rows).to_have_count(2)
    expect(page.locator("#f-interfaces-1-title-fr")).to_be_focused()
    page.keyboard.type("Second")
    expect(page.locator("#preview .card").first).to_contain_text("Second")
    rows.nth(1).locator("[data-remove]").press("Enter")
    expect(rows).to_have_count(1)
    expect(page.locator("[data-add=interfaces]")).to_be_focused()
    summary = page.get_by_text("Help: Memory", exact=True).locator("..")
    summary.press("Enter")
    expect(page.get_by_text("Beyond it, a program is stopped. 2 GB suit")).to_be_visible()


def test_without_scripts(window: Any) -> None:
    """Each button sends the form; only what is live is missing."""
    teacher: Window = window("bob", lang="en", scripts=False)
    page = teacher.page
    teacher.open(f"{HERE}/new")
    name = title()
    page.locator("#f-title-en").fill(name)
    page.locator("#preview-button").click()
    expect(page.locator("#preview .environment-title")).to_have_text(name)
    page.locator("[data-add=interfaces]").click()
    expect(page.locator("[data-rows=interfaces] > *")).to_have_count(2)
    expect(page.locator("#f-title-en")).to_have_value(name)
    page.locator("[data-remove]").nth(1).click()
    expect(page.locator("[data-rows=interfaces] > *")).to_have_count(1)
    expect(page.locator("[data-source=built]")).to_be_hidden()
    page.locator("label[for=source-built]").click()
    expect(page.locator("[data-source=built]")).to_be_visible()
    page.locator("label[for=source-base]").click()
    page.locator("#save").click()
    page.wait_for_url(re.compile(rf"{HERE}/{name.lower().replace(' ', '-')}(\?|$)"))


def test_two_editors_at_once(window: Any, axe: str) -> None:
    """The second sees what the first saved, keeps what they wrote, and chooses where both did."""
    first: Window = window("bob", lang="en")
    page = first.page
    first.open(f"{HERE}/new")
    name = title()
    fill_title(page, name)
    page.locator("#save").click()
    slug = name.lower().replace(" ", "-")
    page.wait_for_url(re.compile(rf"{HERE}/{slug}(\?|$)"))
    first.open(f"{HERE}/{slug}/edit")

    second: Window = window("carol", lang="en", size=PHONE)
    second.open(f"{HERE}/{slug}/edit")
    second.page.locator("#f-title-en").fill("Carol's title")
    second.page.locator("#f-icon").fill("🎲")
    second.page.locator("#save").click()
    second.page.wait_for_url(re.compile(rf"{HERE}/{slug}(\?|$)"))

    page.locator("#f-title-en").fill("Bob's title")
    page.locator("#f-resources-cpu_limit").fill("1")
    page.locator("#save").click()
    meeting = page.locator("#meeting")
    expect(meeting).to_be_focused()
    expect(meeting).to_contain_text("carol")
    expect(meeting.locator("tbody tr")).to_have_count(2)
    expect(meeting.locator(".disputed")).to_contain_text("Title (in English)")
    expect(page.locator("#f-icon")).to_have_value("🎲")
    expect(page.locator("#f-title-en")).to_have_value("Bob's title")
    expect(page.locator("#f-resources-cpu_limit")).to_have_value("1")
    assert not complaints(page, axe)
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert first.is_as_wide_as_the_window()
    meeting.get_by_label("take theirs").check()
    meeting.get_by_role("button", name="Save both").click()
    page.wait_for_url(re.compile(rf"{HERE}/{slug}(\?|$)"))
    first.open(f"{HERE}/{slug}/edit")
    expect(page.locator("#f-title-en")).to_have_value("Carol's title")
    expect(page.locator("#f-icon")).to_have_value("🎲")
    expect(page.locator("#f-resources-cpu_limit")).to_have_value("1")
