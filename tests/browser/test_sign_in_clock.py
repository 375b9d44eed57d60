"""“Être à l'heure”: a computer whose clock is wrong, in a browser whose clock really is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from ..hub import RunningHub
from ..identity_hub import IdentityHub
from ..peers.process import wrong_clock
from .conftest import Language, Window
from .people import DASHBOARD, come

pytestmark = pytest.mark.peers

LOCALES = {"fr": "fr-FR", "en": "en-GB"}


@pytest.fixture(scope="module")
def hub(identity_hub: IdentityHub) -> RunningHub:
    return identity_hub.hub


@pytest.fixture
def computer(hub: RunningHub, chromium: Browser) -> Iterator[Callable[..., Window]]:
    """`computer(timedelta(hours=25))`: a window of a browser whose clock is ahead by that."""
    browsers: list[Browser] = []

    def start(offset: timedelta, lang: Language = "fr") -> Window:
        browser = chromium.browser_type.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, **wrong_clock(offset)},
        )
        browsers.append(browser)
        context: BrowserContext = browser.new_context(locale=LOCALES[lang])
        context.set_default_timeout(30_000)
        return Window(hub, context, context.new_page())

    yield start
    for browser in browsers:
        browser.close()


@pytest.mark.parametrize(
    ("offset", "lang", "words"),
    [
        (timedelta(minutes=12), "fr", "12"),
        (timedelta(minutes=12), "en", "ahead by 12 minutes"),
        (timedelta(minutes=-12), "en", "behind by 12 minutes"),
        (timedelta(hours=25), "en", "ahead by 25 hours"),
    ],
)
def test_the_sign_in_page_says_that_the_computers_clock_is_off(
    computer, offset, lang, words
) -> None:
    opened = computer(offset, lang)
    opened.open("/hub/login")
    warning = opened.page.locator("#clock-warning")
    expect(warning).to_be_visible()
    expect(warning).to_contain_text(words)
    if lang == "fr":
        expect(warning).to_contain_text("minutes")
        expect(warning).not_to_contain_text("clock")


def test_a_clock_that_is_right_is_not_spoken_of(computer) -> None:
    opened = computer(timedelta(seconds=30))
    opened.open("/hub/login")
    expect(opened.page.locator("h1")).to_be_visible()
    expect(opened.page.locator("#clock-warning")).to_be_hidden()


@pytest.mark.parametrize("offset", [timedelta(hours=25), timedelta(hours=-25)])
def test_a_computer_a_day_off_still_signs_in(computer, identity_hub, offset) -> None:
    opened = computer(offset)
    come(identity_hub, opened, "alice")
    assert opened.path == DASHBOARD
    opened.page.reload()
    assert opened.path == DASHBOARD
