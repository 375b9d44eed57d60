"""The calendar in a browser: booked without scripts, by keyboard, readable for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from mydocker_hub.services.catalogue.calendar_pages import instant_text
from mydocker_hub.web.i18n import SITE_ZONE

from ..conftest import RunHub
from ..hub import RunningHub
from .conftest import DESKTOP, PHONE
from .test_accessibility import check

CATALOGUE = "/services/catalogue/"
NEW = f"{CATALOGUE}workshop/environments/tiny/sessions/new"


def tomorrow() -> datetime:
    return datetime.now(UTC).astimezone(SITE_ZONE) + timedelta(days=1)


@pytest.fixture(scope="module")
def hub(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub of its own: where `tiny` has sessions, it is not on dashboards outside them."""
    with run_hub() as running:
        yield running


def book(window, title: str, **options) -> int:
    """Book a weekly session of tomorrow as carol, by keyboard and without scripts; its number."""
    opened = window("carol", lang="en", scripts=False, **options)
    opened.open(NEW)
    page = opened.page
    page.get_by_label("Name of the session", exact=True).fill(title)
    page.get_by_label("Day", exact=True).fill(f"{tomorrow():%Y-%m-%d}")
    page.get_by_label("Length", exact=True).fill("1 h 30")
    expect(page.get_by_label("Last day")).to_be_hidden()
    page.get_by_label("each week").focus()
    page.keyboard.press("Space")
    page.get_by_label("Last day").fill(f"{tomorrow() + timedelta(weeks=3):%Y-%m-%d}")
    page.get_by_label("Expected people", exact=True).fill("20")
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_have_text("The session is in the calendar.")
    expect(page.locator("#coming li")).to_have_count(4)
    return int(re.search(r"sessions/([0-9]+)", page.url)[1])


def test_booked_and_found_by_keyboard_without_scripts(window) -> None:
    book(window, "By keyboard")
    opened = window("carol", lang="en", scripts=False)
    opened.open(f"{CATALOGUE}calendar?show=all&day={tomorrow():%Y-%m-%d}")
    page = opened.page
    page.locator(".session-entry", has_text="By keyboard").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("By keyboard")


def test_drawn_and_used_by_keyboard(window) -> None:
    for number in range(4):
        book(window, f"At once {number}")
    opened = window("bob", lang="en")
    opened.open(f"{CATALOGUE}calendar?environment=tiny&day={tomorrow():%Y-%m-%d}")
    page = opened.page
    drawn = page.locator("#calendar-drawn")
    expect(drawn.get_by_role("link", name="At once 0").first).to_be_visible()
    expect(page.locator("#calendar-table")).to_be_hidden()

    # to the week, and the next one: the focus stays, the address and the titles follow
    week = page.get_by_role("link", name="Week", exact=True)
    week.focus()
    page.keyboard.press("Enter")
    expect(drawn.locator(".fc-timeGridWeek-view")).to_be_visible()
    expect(week).to_be_focused()
    expect(week).to_have_attribute("aria-current", "true")
    first = page.locator("#calendar-title").inner_text()
    page.get_by_role("link", name="Later").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#calendar-title")).not_to_have_text(first)
    assert f"day={tomorrow() + timedelta(days=7):%Y-%m-%d}"[:8] in page.url
    assert page.locator("#calendar-title").inner_text() in page.title()
    page.go_back()
    expect(page.locator("#calendar-title")).to_have_text(first)

    # what has no room beside the others
    more = drawn.locator(".fc-timegrid-more-link").first
    more.focus()
    page.keyboard.press("Enter")
    expect(drawn.locator(".fc-popover")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawn.locator(".fc-popover")).to_be_hidden()

    # a session is a link; a day of a month leads to its week; the list is a page of its own
    drawn.get_by_role("link", name="At once").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("At once")
    opened.open(f"{CATALOGUE}calendar?environment=tiny&day={tomorrow():%Y-%m-%d}")
    drawn.locator("[data-navlink]").nth(10).focus()
    page.keyboard.press("Enter")
    expect(drawn.locator(".fc-timeGridWeek-view")).to_be_visible()
    page.reload()
    expect(drawn.locator(".fc-timeGridWeek-view")).to_be_visible()
    page.get_by_role("link", name="List", exact=True).click()
    expect(drawn).to_have_count(0)
    expect(page.locator(".calendar-title")).to_be_visible()


def test_this_day_and_all_that_follow_by_keyboard_without_scripts(window) -> None:
    number = book(window, "In two parts")
    opened = window("carol", lang="en", scripts=False)
    opened.open(f"{CATALOGUE}calendar/sessions/{number}")
    page = opened.page
    page.get_by_role("link", name="Change this day").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Change one day")).to_be_visible()
    which = page.get_by_role("navigation", name="Which days")
    expect(which.locator("[aria-current]")).to_have_text("This day alone")
    which.get_by_role("link", name="This day and all that follow").focus()
    page.keyboard.press("Enter")
    expect(which.locator("[aria-current]")).to_have_text("This day and all that follow")
    page.get_by_label("Name of the session", exact=True).fill("The second part")
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_contain_text("a series of their own now")
    expect(page.get_by_role("heading", level=1)).to_contain_text("The second part")
    expect(page.locator("#coming li")).to_have_count(2)
    opened.open(f"{CATALOGUE}calendar/sessions/{number}")
    expect(page.locator("#coming li")).to_have_count(2)


def test_a_window_that_becomes_narrow_and_wide(window) -> None:
    book(window, "In any width")
    opened = window("carol", lang="fr")
    opened.open(f"{CATALOGUE}calendar?show=all&day={tomorrow():%Y-%m-%d}")
    page = opened.page
    drawn, table = page.locator("#calendar-drawn"), page.locator("#calendar-table")
    expect(drawn.get_by_text("08:30 – 10:00").first).to_be_visible()
    page.evaluate("document.body.dataset.kept = 'yes'")
    for width, is_drawn in ((390, False), (1280, True)):
        page.set_viewport_size({"width": width, "height": 800})
        expect(drawn).to_be_visible(visible=is_drawn)
        expect(table).to_be_visible(visible=not is_drawn)
    expect(page.locator("body[data-kept]")).to_have_count(1)  # it was not loaded again

    # other days than those of the table: now it is, and the script leaves its links alone
    heading = page.locator("#calendar-title")
    now = heading.text_content()
    page.get_by_role("link", name="Plus tard").click()
    expect(heading).not_to_have_text(now)
    later = heading.text_content()
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("body[data-kept]")).to_have_count(0)
    expect(heading).to_have_text(later)
    expect(table).to_be_visible()


@pytest.mark.parametrize("lost", ["**/vendor/fullcalendar.js*", "**/calendar/events?*"])
def test_what_does_not_load(window, lost) -> None:
    book(window, "Still there")
    opened = window("carol", lang="en")
    opened.page.route(lost, lambda route: route.abort())
    opened.open(f"{CATALOGUE}calendar?show=all&day={tomorrow():%Y-%m-%d}")
    opened.page.wait_for_load_state("networkidle")
    expect(opened.page.locator("#calendar-table .session-entry").first).to_be_visible()
    opened.page.get_by_role("link", name="Week", exact=True).click()
    expect(opened.page.locator("#calendar-table.calendar-week")).to_be_visible()


@pytest.mark.parametrize(
    ("lang", "colours", "size"),
    [("en", "light", DESKTOP), ("fr", "dark", DESKTOP), ("fr", "dark", PHONE)],
)
def test_readable_for_everybody(window, axe, lang, colours, size) -> None:
    for group in "ABCD":
        number = book(window, f"Readable {lang}, group {group}")
    wall = (tomorrow() + timedelta(weeks=1)).replace(hour=8, minute=30, second=0, microsecond=0)
    second = instant_text(wall)
    opened = window("carol", lang=lang, colours=colours, size=size)
    found = []
    for path in (
        f"calendar?show=all&day={tomorrow():%Y-%m-%d}",
        f"calendar?show=all&view=week&day={tomorrow():%Y-%m-%d}",
        f"calendar?show=all&view=list&day={tomorrow():%Y-%m-%d}",
        "calendar?day=2199-01-01",
        "calendar/feeds",
        "admin/sessions",
        f"calendar/sessions/{number}",
        f"calendar/sessions/{number}/edit",
        f"calendar/sessions/{number}/cancel",
        f"calendar/sessions/{number}/edit?from={second}",
        f"calendar/sessions/{number}/cancel?at={second}",
        "workshop/environments/tiny/sessions",
    ):
        opened.open(CATALOGUE + path)
        is_drawn = size == DESKTOP and path.startswith("calendar?") and "list" not in path
        if is_drawn:
            expect(opened.page.locator("#calendar-drawn .fc-view")).to_be_visible()
        assert opened.is_as_wide_as_the_window(), path
        found += check(opened, axe, lang, path)
    opened.open(NEW)
    opened.page.locator("#field-duration").fill("for ever")
    opened.page.locator("#field-expected").fill("x")
    opened.page.locator("#session-form button[type=submit]").click()
    expect(opened.page.locator("#problems")).to_be_visible()
    found += check(opened, axe, lang, "a form that is refused")
    assert not found, "\n".join(found)
