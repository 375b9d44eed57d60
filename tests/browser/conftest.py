"""A real Chromium, people who use it, and what is kept of a test that failed.

Chromium lives as long as the tests of this folder, not as the session: Playwright's synchronous
interface keeps an event loop running in the thread, in which asynchronous tests cannot run.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    expect,
    sync_playwright,
)

from ..conftest import ROOT
from ..hub import RunningHub
from ..identity_hub import identity_hub  # noqa: F401  # a fixture of these tests

AXE = ROOT / ".venv" / "lib" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
KEPT = ROOT / "var" / "test" / "browser"
"""Of each test that failed: a picture and the source of each of its pages, and what went wrong."""

LOCALES = {"fr": "fr-FR", "en": "en-GB"}
DESKTOP = (1280, 800)
PHONE = (390, 844)
Language = Literal["fr", "en"]
Colours = Literal["light", "dark"]

expect.set_options(timeout=10_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for mark in ("browser", "hub", "engine"):
                item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "Chromium is missing: apt-get install chromium, or run scripts/test"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",  # the tests may run as root
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for what keeps people out of a page."""
    assert AXE.exists(), (
        f"axe-core is not in {AXE.relative_to(ROOT)}: scripts/test installs it, or "
        "npm install --prefix .venv/lib/axe axe-core"
    )
    return AXE.read_text()


@dataclass
class Window:
    """A browser window of one person, at the running hub."""

    hub: RunningHub
    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Response | None:
        return self.page.goto(f"{self.hub.url}{path}")

    def sign_in(self, name: str) -> Window:
        """As one does from the sign-in page; ends on the dashboard."""
        self.open("/hub/login")
        self.page.locator(f"#sign-in-{name}").click()
        self.page.wait_for_url("**/services/catalogue/")
        return self

    @property
    def path(self) -> str:
        """Where the page is, without the hub's address and without what follows a “?”."""
        return self.page.url.removeprefix(self.hub.url).split("?")[0].split("#")[0]

    def card(self, slug: str) -> Locator:
        """An environment on the dashboard, or on its sheet."""
        return self.page.locator(f'[data-environment="{slug}"]')

    def wait_for_landing(self, path: str, seconds: float = 90) -> None:
        """Wait until the browser is inside an environment, at an address that begins so."""
        pattern = re.compile(re.escape(f"{self.hub.url}{path}"))
        self.page.wait_for_url(pattern, timeout=seconds * 1000, wait_until="commit")

    def is_as_wide_as_the_window(self) -> bool:
        """Whether nothing sticks out sideways, so that one never scrolls but up and down."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


OpenWindow = Callable[..., Window]


@pytest.fixture
def window(hub: RunningHub, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open windows: `window("alice")`, `window(lang="en", size=PHONE, scripts=False)`.

    Each has cookies of its own. What a page of ours writes to the console as an error, or fails to
    load, fails the test at its end.
    """
    windows: list[Window] = []

    def open_window(
        name: str = "",
        *,
        lang: Language = "fr",
        size: tuple[int, int] = DESKTOP,
        colours: Colours = "light",
        scripts: bool = True,
    ) -> Window:
        context = chromium.new_context(
            locale=LOCALES[lang],
            viewport={"width": size[0], "height": size[1]},
            color_scheme=colours,
            java_script_enabled=scripts,
        )
        context.set_default_timeout(20_000)
        opened = Window(hub, context, context.new_page())
        context.on("console", lambda message: _note_message(opened, message))
        context.on("weberror", lambda error: _note_error(opened, str(error.error)))
        context.on("response", lambda response: _note_response(opened, response))
        windows.append(opened)
        return opened.sign_in(name) if name else opened

    yield open_window
    failed = request.node.stash.get(_FAILED, True)
    errors = [error for opened in windows for error in opened.errors]
    if failed or errors:
        _keep(request.node.name, windows, errors, hub)
    for opened in windows:
        opened.context.close()
    if not failed:
        assert not errors, "\n".join(errors)


def _note_message(window: Window, message: ConsoleMessage) -> None:
    """Note an error of a page of ours.

    Not: what an environment's own pages say, or those of another site, and that something could
    not be loaded, which `_note_response` notes with its address and status.
    """
    place = message.location.get("url", "")
    if (
        message.type == "error"
        and not _is_inside(window, place, message.page)
        and not message.text.startswith("Failed to load resource")
    ):
        window.errors.append(f"console: {message.text} ({place})")


def _note_error(window: Window, text: str) -> None:
    if not _is_inside(window, "", window.page):
        window.errors.append(f"script: {text} ({window.page.url})")


def _note_response(window: Window, response: Response) -> None:
    """Note what could not be loaded, but not the page itself: tests expect those that fail."""
    if (
        response.status >= 400
        and response.request.resource_type != "document"
        and not _is_inside(window, response.url, None)
    ):
        window.errors.append(f"{response.status} {response.request.method} {response.url}")


def _is_inside(window: Window, url: str, page: Page | None) -> bool:
    """Whether an address is inside an environment, or there is none and the page is.

    So is a page of another site, such as that of an identity provider.
    """
    address = url or (page.url if page else "")
    if address.startswith("http") and not address.startswith(f"{window.hub.url}/"):
        return True
    # The hub answers for an environment that has stopped while a page of it is still open.
    return address.startswith((f"{window.hub.url}/user/", f"{window.hub.url}/hub/user/"))


def _keep(test: str, windows: list[Window], errors: list[str], hub: RunningHub) -> None:
    folder = KEPT / re.sub(r"[^\w-]+", "-", test)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = list(errors)
    for number, opened in enumerate(windows, start=1):
        for page in opened.context.pages:
            lines.append(f"{number}: {page.url}")
            try:
                page.screenshot(path=folder / f"{number}.png", full_page=True, timeout=5000)
                (folder / f"{number}.html").write_text(page.content())
            except Exception as error:
                lines.append(f"{number}: no picture: {error}")
    (folder / "errors.txt").write_text("\n".join(lines) + "\n")
    (folder / "hub.log").write_text(hub.log()[-200_000:])


@pytest.fixture
def anew(hub: RunningHub) -> Callable[..., None]:
    """Give somebody an empty dashboard: no servers, no cards; the folders stay."""

    def make_anew(*names: str) -> None:
        for name in names:
            with hub.signed_in(name) as visitor:
                model = f"/users/{name}?include_stopped_servers=1"
                for server in visitor.api("GET", model).json()["servers"]:
                    gone = {"remove": True}
                    visitor.api("DELETE", f"/users/{name}/servers/{server}", json=gone)
                deadline = time.monotonic() + 60
                while visitor.api("GET", f"/users/{name}").json()["servers"]:
                    assert time.monotonic() < deadline, f"servers of {name} do not stop"
                    time.sleep(0.2)
                page = visitor.get("/services/catalogue/").text
                for slug in re.findall(r'id="leave-([a-z0-9-]+)-details"', page):
                    visitor.post_form("/services/catalogue/", f"/services/catalogue/leave/{slug}")

    return make_anew
