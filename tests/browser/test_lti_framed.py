"""An activity inside the page of a course, up to the running environment, in a Chromium.

The platform's origin may frame us. Cookies of third parties are allowed, or blocked as browsers do
more and more; ours are partitioned.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, expect

from ..conftest import ROOT, RunHub
from ..hub import RunningHub
from ..peers.keys import key_pair
from ..peers.lti_platforms import P13Platform

pytestmark = pytest.mark.peers

SITE = "https://moodle.example"
PLATFORMS = "/services/catalogue/admin/platforms"


@pytest.fixture(scope="module")
def hub(run_hub: RunHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    state = tmp_path_factory.mktemp("framed")
    settings = str(state / "sign-in.yaml")
    Path(settings).write_text(yaml.safe_dump({"lti": {"frame_origins": [SITE]}}))
    catalogue = str(ROOT / "tests" / "gateway.yaml")
    install = f"sign_in=Path({settings!r})"
    with run_hub(state=state, catalogue=catalogue, install=install) as running:
        yield running


@pytest.fixture(scope="module")
def platform(
    hub: RunningHub, chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[P13Platform]:
    """Registered in the pages, by the administrator of the demonstration."""
    with P13Platform(
        login_url=f"{hub.url}/hub/lti/login",
        launch_url=f"{hub.url}/hub/lti/launch",
        site=SITE,
        tls=key_pair(tmp_path_factory.mktemp("tls"), "moodle.example"),
    ) as started:
        context = chromium.new_context(locale="en-GB")
        page = context.new_page()
        page.goto(f"{hub.url}/hub/login")
        page.locator("#sign-in-carol").click()
        page.wait_for_url("**/services/catalogue/")
        page.goto(f"{hub.url}{PLATFORMS}/new")
        for name, value in (
            ("name", "Moodle"),
            ("issuer", started.url),
            ("client_id", started.client_id),
            ("authorization_url", started.authorization_url),
            ("token_url", started.token_url),
            ("jwks_url", started.jwks_url),
            ("deployments", started.deployment),
        ):
            page.locator(f"#field-{name}").fill(value)
        page.locator("#form-13").get_by_role("button", name="Add this platform").click()
        page.wait_for_url(f"**{PLATFORMS}/1")
        context.close()
        yield started


@pytest.fixture(params=[0, 1], ids=["third-party-cookies-allowed", "third-party-cookies-blocked"])
def browser(
    request: pytest.FixtureRequest, chromium: Browser, platform: P13Platform, tmp_path: Path
) -> Iterator[BrowserContext]:
    profile = tmp_path / "Default"
    profile.mkdir()
    # Without it this depends on how Chromium was built.
    preferences = {"profile": {"cookie_controls_mode": request.param}}
    (profile / "Preferences").write_text(json.dumps(preferences))
    context = chromium.browser_type.launch_persistent_context(
        tmp_path,
        executable_path=shutil.which("chromium"),
        args=[
            "--no-sandbox",
            "--disable-gpu",
            f"--host-resolver-rules=MAP *.example 127.0.0.1:{platform.tls_port}",
        ],
        locale="en-GB",
        ignore_https_errors=True,
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()


def test_the_environment_runs_inside_the_course(
    browser: BrowserContext, platform: P13Platform, request: pytest.FixtureRequest
) -> None:
    """Through the gateway, whose own cookies have to be kept there too."""
    page = browser.pages[0]
    subject = f"student-{request.node.callspec.id}"
    page.goto(platform.frame_url(subject, name="Ada Lovelace", custom_join="WebWebWebWebWebWebWe"))
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="bonjour")).to_be_visible(timeout=90_000)
    assert page.url.startswith(f"{SITE}/frame")
    page.reload()  # it runs already
    expect(inside.get_by_role("heading", name="bonjour")).to_be_visible(timeout=30_000)
