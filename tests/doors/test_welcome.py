"""The way in that all doors share: whose session it is, what is asked, what signing out ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from ..conftest import start_hub
from ..hub import RunningHub
from ..peers.forms import form
from ..peers.lti_platforms import P13Platform
from .test_lti import KEY, account, begin, code_of, described, is_signed_in, register, send

pytestmark = [pytest.mark.peers, pytest.mark.hub]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("welcome")
    (folder / "sign-in.yaml").write_text(
        "auto_login: false\nlti: {}\ncas: [{name: ent, title: ENT, url: 'http://127.0.0.1:9/cas'}]\n"
    )
    install = f"sign_in=Path({str(folder / 'sign-in.yaml')!r})"
    with start_hub(folder, "test-welcome", "127.0.0.1", install=install, demo=False) as hub:
        yield hub
        assert "Traceback" not in hub.log()


@pytest.fixture(scope="module")
def peer(hub: RunningHub) -> Iterator[P13Platform]:
    tool = {"login_url": f"{hub.url}/hub/lti/login", "launch_url": f"{hub.url}/hub/lti/launch"}
    with P13Platform(**tool) as peer:
        register(hub, described(peer))
        yield peer


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def path_of(page: requests.Response) -> str:
    return urlsplit(page.headers.get("Location", "")).path


# --- somebody else -------------------------------------------------------------------------------


def test_the_same_person_goes_straight_in_again(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    send(browser, begin(peer, browser, "ada"))
    name = account(hub, browser)
    page = send(browser, begin(peer, browser, "ada"))
    assert path_of(page) == f"/hub/join/{KEY}"
    assert account(hub, browser) == name


def test_nobody_is_made_somebody_else_unasked(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    send(browser, begin(peer, browser, "ada"))
    ada = account(hub, browser)
    page = send(browser, begin(peer, browser, "grace"))
    assert path_of(page) == "/hub/link/switch"
    assert account(hub, browser) == ada
    question = browser.get(f"{hub.url}{page.headers['Location']}", timeout=30)
    assert ada in question.text
    # Without the token of our page, which no page elsewhere has:
    ticket = re.search(r'name="ticket" value="([^"]+)"', question.text)
    assert ticket
    forged = browser.post(
        f"{hub.url}/hub/link/switch",
        data={"ticket": ticket[1]},
        headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        timeout=30,
    )
    assert forged.status_code == 403
    assert account(hub, browser) == ada
    # And by the person:
    form(question, having="ticket").send(browser)
    assert account(hub, browser) != ada


def test_a_question_is_answered_once(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    send(browser, begin(peer, browser, "ada"))
    page = send(browser, begin(peer, browser, "alan"))
    question = browser.get(f"{hub.url}{page.headers['Location']}", timeout=30)
    form(question, having="ticket").send(browser)
    again = browser.get(f"{hub.url}{page.headers['Location']}", timeout=30)
    assert code_of(again) == "sign-in-expired"


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_of_ones_own(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    """Who set the session before (session fixation) gets nothing."""
    browser.cookies.set("jupyterhub-session-id", "0" * 32, path="/")
    page = send(browser, begin(peer, browser, "fix"))
    sessions = {cookie.value for cookie in browser.cookies if "session-id" in cookie.name}
    assert page.status_code == 303
    assert sessions - {"0" * 32}, sessions


def test_the_session_lasts_as_long_as_the_sign_in(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    send(browser, begin(peer, browser, "ada"))
    (session,) = [one for one in browser.cookies if one.name == "jupyterhub-session-id"]
    assert session.expires, "it would end with the browser, and the other cookies would not"


def test_signing_out_ends_what_services_were_told(
    hub: RunningHub, peer: P13Platform, browser: requests.Session
) -> None:
    """Also where the browser forgot which session it was."""
    send(browser, begin(peer, browser, "ada"))
    catalogue = f"{hub.url}/services/catalogue/"
    assert browser.get(catalogue, timeout=60, allow_redirects=True).status_code == 200
    kept = [one for one in browser.cookies if one.name.startswith("service-")]
    assert kept
    browser.cookies.clear(kept[0].domain, "/", "jupyterhub-session-id")
    browser.get(f"{hub.url}/hub/logout", timeout=60)
    assert not is_signed_in(hub, browser)
    assert any(one.name.startswith("service-") for one in browser.cookies)
    answer = browser.get(catalogue, timeout=60, allow_redirects=False)
    assert answer.status_code == 302, "the service still knows who it was"


# --- what cannot be right ------------------------------------------------------------------------


def test_a_method_that_there_is_not(hub: RunningHub) -> None:
    answer = requests.request("PROPFIND", f"{hub.url}/hub/lti/launch", timeout=30)
    assert answer.status_code in {400, 405}
    assert "</html>" in answer.text


def test_a_form_that_is_none(hub: RunningHub) -> None:
    """Refused before the page knows who asks; by the hub itself, without the proxy before it."""
    match = re.search(r"Hub API listening on (http://\S+)", hub.log())
    assert match
    url = urlsplit(match[1])
    with socket.create_connection((url.hostname, url.port), timeout=30) as connection:
        connection.sendall(
            b"POST /hub/link/switch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n\r\nwrong"
        )
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer


def test_where_to_go_then_may_be_too_long(hub: RunningHub, browser: requests.Session) -> None:
    """Browsers drop cookies above 4096 bytes: the sign-in would fail each time."""
    address = f"{hub.url}/hub/cas/ent/login"
    for length, kept in ((1500, True), (5000, False)):
        asked = {"next": "/hub/home?" + "x" * length}
        answer = browser.get(address, params=asked, timeout=30, allow_redirects=False)
        assert answer.status_code == 303
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert len(cookie) <= 4096
        assert (len(cookie) > length) is kept


def test_administrators_are_not_named_by_user_names(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("admin-users")
    (folder / "sign-in.yaml").write_text("lti: {}\n")
    install = f"sign_in=Path({str(folder / 'sign-in.yaml')!r})"
    config = "c.Authenticator.admin_users = {'marie.curie'}\n"
    starting = start_hub(
        folder, "test-admin-users", "127.0.0.1", install=install, config=config, demo=False
    )
    with pytest.raises(pytest.fail.Exception, match="admin_users goes by user names"), starting:
        pass
