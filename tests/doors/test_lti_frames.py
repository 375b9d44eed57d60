"""LTI inside a platform's frame, in a Chromium: our cookies are kept there, and the page shown.

The platform's pages are the test's own, since a frame needs a platform with https; what it says
and who signed it is judged by `test_lti.py` with real ones.
"""

from __future__ import annotations

import html
import json
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.sync_api import Error, Page, expect, sync_playwright

from mydocker_hub.identity.lti13 import CLAIM
from mydocker_hub.identity.platform import Platform

from ..conftest import free_ports
from ..hub import RunningHub
from ..peers.keys import key_pair
from ..peers.lti_platforms import MEMBERSHIP, form_page
from .test_lti import KeyServer, register, started

pytestmark = [pytest.mark.peers, pytest.mark.hub, pytest.mark.browser]

ALLOWED = "https://moodle.example"
OTHER = "https://elsewhere.example"
STRANGER = "https://stranger.example"
SIGNING = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def port() -> int:
    """Where all platforms are."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def hub(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("frames")
    with KeyServer() as keys, started(folder, frame_origins=[ALLOWED]) as hub:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(SIGNING.public_key(), as_dict=True)
        keys.answer = (200, {}, json.dumps({"keys": [{**public, "kid": "k"}]}).encode())
        for issuer in (ALLOWED, OTHER):
            register(
                hub,
                Platform(
                    name=issuer,
                    issuer=issuer,
                    client_id="c",
                    # On the host of the keys, which the hub cannot reach by the issuer's name.
                    authorization_url=f"https://127.0.0.1:{port}/auth/{urlsplit(issuer).netloc}",
                    jwks_url=keys.url,
                    deployments=("1",),
                ),
            )
        yield hub
        assert "Traceback" not in hub.log()


@pytest.fixture(scope="module")
def platforms(
    hub: RunningHub, port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """All sites of `.example`, with TLS; the port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            body = answer(hub, self.headers["Host"], self.path).encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    key, certificate = key_pair(tmp_path_factory.mktemp("tls"), "platform")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    yield port
    server.shutdown()
    server.server_close()


def answer(hub: RunningHub, host: str, address: str) -> str:
    """`/course` frames the activity, `/auth` signs a launch as a teacher, `/frame` frames all."""
    url = urlsplit(address)
    issuer = f"https://{host}"
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    if url.path == "/course":
        asked = {"iss": issuer, "login_hint": "2", "target_link_uri": f"{hub.url}/hub/lti/launch"}
        return frame(f"{hub.url}/hub/lti/login?{urlencode(asked)}")
    if url.path == "/frame":
        return frame(query["url"])
    if url.path.startswith("/auth/"):
        issuer = f"https://{url.path.removeprefix('/auth/')}"
        fields = {"state": query["state"], "id_token": token(hub, issuer, query["nonce"])}
        return form_page(query["redirect_uri"], fields, sent=True)
    return ""


def frame(url: str) -> str:
    source = html.escape(url)
    return f'<!doctype html><h1>Course</h1><iframe width=900 height=600 src="{source}"></iframe>'


def token(hub: RunningHub, issuer: str, nonce: str) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": "c",
        "sub": "2",
        "nonce": nonce,
        "iat": now,
        "exp": now + 60,
        CLAIM + "version": "1.3.0",
        CLAIM + "message_type": "LtiResourceLinkRequest",
        CLAIM + "deployment_id": "1",
        CLAIM + "target_link_uri": f"{hub.url}/hub/lti/launch",
        CLAIM + "resource_link": {"id": "1"},
        CLAIM + "roles": [f"{MEMBERSHIP}Instructor"],
    }
    return jwt.encode(claims, SIGNING, "RS256", headers={"kid": "k"})


@pytest.fixture(params=[0, 1], ids=["third-party cookies allowed", "third-party cookies blocked"])
def page(request: pytest.FixtureRequest, platforms: int, tmp_path: Path) -> Iterator[Page]:
    profile = tmp_path / "Default"
    profile.mkdir()
    # Without it this depends on how Chromium was built.
    preferences = {"profile": {"cookie_controls_mode": request.param}}
    (profile / "Preferences").write_text(json.dumps(preferences))
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path,
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                f"--host-resolver-rules=MAP *.example 127.0.0.1:{platforms}",
            ],
            locale="en-GB",
            ignore_https_errors=True,
        )
        context.set_default_timeout(30_000)
        expect.set_options(timeout=20_000)
        yield context.pages[0]
        context.close()


def test_an_activity_works_inside_the_frame(page: Page) -> None:
    page.goto(f"{ALLOWED}/course")
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("main")).to_contain_text("join=KEY", timeout=20_000)
    assert page.url == f"{ALLOWED}/course"
    assert page.frames[1].url.endswith("/hub/lti/nothing-chosen")


def test_signing_out_inside_the_frame(page: Page, hub: RunningHub) -> None:
    """A cookie that was set for the frame is cleared as one of the frame."""
    page.goto(f"{ALLOWED}/course")
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("main")).to_contain_text("join=KEY")
    frame = page.frames[1]
    frame.goto(f"{hub.url}/hub/lti/nothing-chosen")
    expect(inside.get_by_role("main")).to_contain_text("join=KEY")
    frame.goto(f"{hub.url}/hub/logout")
    expect(inside.get_by_role("heading", level=1)).to_have_text("You are signed out")
    with suppress(Error):  # to the sign-in page, which is not for frames
        frame.goto(f"{hub.url}/hub/lti/nothing-chosen")
    page.wait_for_timeout(500)
    assert page.frames[1].url.startswith("chrome-error:")


def test_an_activity_of_another_platform_opens_a_window(page: Page) -> None:
    page.goto(f"{OTHER}/course")
    button = page.frame_locator("iframe").get_by_role("button", name="Open the activity")
    expect(button).to_be_visible()
    with page.context.expect_page() as opened:
        button.click()
    window = opened.value
    expect(window.get_by_role("main")).to_contain_text("join=KEY", timeout=20_000)
    assert urlsplit(window.url).path == "/hub/lti/nothing-chosen"


@pytest.mark.parametrize(
    ("path", "by_allowed"),
    [("/hub/lti/login?iss=" + STRANGER, True), ("/hub/login", False), ("/hub/home", False)],
)
def test_other_sites_frame_nothing_of_ours(
    page: Page, hub: RunningHub, path: str, by_allowed: bool
) -> None:
    """Nor does one that operators allow frame more than a launch leads to."""
    for site, shown in ((ALLOWED, by_allowed), (OTHER, False), (STRANGER, False)):
        page.goto(f"{site}/frame?{urlencode({'url': hub.url + path})}")
        main = page.frame_locator("iframe").get_by_role("main")
        if shown:
            expect(main).to_be_visible()
        else:
            deadline = time.monotonic() + 20
            while not page.frames[1].url.startswith("chrome-error:"):
                assert time.monotonic() < deadline, (site, page.frames[1].url)
                page.wait_for_timeout(50)


@pytest.mark.parametrize(
    ("path", "framed"),
    [("", True), ("admin/people", False), ("admin/platforms", False), ("account", False)],
)
def test_pages_of_administrators_and_accounts_are_framed_by_nobody(
    hub: RunningHub, path: str, framed: bool
) -> None:
    url = f"{hub.url}/services/catalogue/{path}"
    policy = requests.get(url, allow_redirects=False, timeout=30).headers["Content-Security-Policy"]
    assert (ALLOWED in policy) == framed
    assert ("frame-ancestors 'none'" in policy) == (not framed)
