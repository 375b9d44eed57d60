"""The load forecast in a browser: readable for everybody, on a phone as well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from mydocker_hub.domain import calendar
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import sessions
from mydocker_hub.store.database import Database
from mydocker_hub.web.i18n import SITE_ZONE
from tests.hub import RunningHub

from ..conftest import RunHub
from .conftest import DESKTOP, PHONE
from .test_accessibility import check

PAGE = "/services/catalogue/admin/forecast"
BOB = Person(name="bob", roles=frozenset({Role.STUDENT, Role.TEACHER}))


@pytest.fixture(scope="module")
def hub(run_hub: RunHub) -> Iterator[RunningHub]:
    """A hub that knows its Swarm's machines."""
    with run_hub(install="builder=True") as running:
        book(running, 2, 1)
        book(running, 3, 10_000)
        yield running


def book(hub: RunningHub, days: int, expected: int) -> None:
    day = datetime.now(SITE_ZONE) + timedelta(days=days)
    starts = day.replace(hour=9, minute=0, second=0, microsecond=0, tzinfo=None)
    wanted = calendar.Session(starts=starts, duration=timedelta(hours=3), expected=expected)
    database = Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    database.write_now(sessions.book, "tiny", wanted, BOB, datetime.now(UTC))
    database.close()


@pytest.mark.parametrize(
    ("lang", "colours", "size"), [("en", "light", DESKTOP), ("fr", "dark", PHONE)]
)
def test_readable_for_everybody(window, axe, lang, colours, size) -> None:
    opened = window("carol", lang=lang, colours=colours, size=size)
    opened.open(f"{PAGE}?days=28")
    page = opened.page
    expect(page.locator("#overfull > li")).to_have_count(1)
    expect(page.locator("#hours .short")).to_have_count(1)
    expect(page.locator("#quiet li").first).to_be_visible()
    assert not check(opened, axe, lang, "forecast")
    assert opened.is_as_wide_as_the_window()


def test_what_is_left_behind_is_readable(window, axe) -> None:
    opened = window("carol", lang="fr", colours="dark", size=PHONE)
    opened.open(PAGE)
    opened.page.locator("a[href$='admin/leftovers']").click()
    expect(opened.page.locator("#no-servers")).to_be_visible()
    assert not check(opened, axe, "fr", "leftovers")
    assert opened.is_as_wide_as_the_window()


def test_other_days(window) -> None:
    opened = window("carol", lang="en")
    opened.open(PAGE)
    page = opened.page
    page.get_by_label("First day").fill("2031-01-06")
    page.get_by_label("For").select_option("7")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#nothing")).to_be_visible()
    page.get_by_role("link", name="Earlier").click()
    expect(page.get_by_label("First day")).to_have_value("2030-12-30")
