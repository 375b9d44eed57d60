"""A platform registers itself by an administrator's link; and who tries to without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from sqlalchemy import delete, select, update

from mydocker_hub.identity.platform import PlatformStatus
from mydocker_hub.services.catalogue.lti_calls import MEMBERS_SCOPE
from mydocker_hub.store import platforms
from mydocker_hub.store.tables import PlatformRow, RegistrationLinkRow
from tests.hub import RunningHub, Visitor, in_database, text_of
from tests.peers.lti_platforms import TOOL_CONFIGURATION, EdxPlatform, P13Platform

from .lti import ADMIN, PREFIX, code_of, known, send, tool, value_of
from .test_lti_calls import Server, configured, serving

pytestmark = [pytest.mark.hub, pytest.mark.engine, pytest.mark.peers]


@pytest.fixture(autouse=True)
def _clean(hub: RunningHub) -> Iterator[None]:
    yield
    for row in (PlatformRow, RegistrationLinkRow):
        in_database(hub, lambda session, row=row: session.execute(delete(row)))


@pytest.fixture(scope="module")
def carol_here(hub: RunningHub) -> Iterator[Visitor]:
    with hub.signed_in("carol") as visitor:
        visitor.get(PREFIX)
        yield visitor


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def make_link(visitor: Visitor, **fields: str) -> str:
    """A new registration link, as an administrator copies it."""
    answer = send(visitor, ADMIN, {"action": "link", "label": "Our Moodle", **fields})
    assert answer.status_code == 200
    return value_of(answer, "new-link")


@pytest.fixture
def link(carol_here: Visitor) -> str:
    return make_link(carol_here, private="1")


def open_link(link: str, configuration: str, token: str = "t0ken", **options: Any) -> Any:
    """The platform opens the link in its administrator's browser, where nobody is signed in."""
    return requests.get(
        link,
        params={"openid_configuration": configuration, "registration_token": token},
        headers={"Accept-Language": "en"},
        timeout=60,
        allow_redirects=False,
        **options,
    )


def registered(hub: RunningHub) -> list[platforms.Kept]:
    return list(in_database(hub, platforms.platforms))


@pytest.mark.parametrize("kind", [P13Platform, EdxPlatform])
def test_registering(hub: RunningHub, carol_here: Visitor, link: str, kind: Any) -> None:
    """From the link to a token that the platform gives for our key."""
    nothing = dict.fromkeys(("login_url", "launch_url", "tool_jwks_url"), "")
    with kind(**nothing) as peer:
        answer = open_link(link, peer.configuration_url, peer.registration_token)
        assert answer.status_code == 200, text_of(answer)
        assert 'data-close="org.imsglobal.lti.close"' in answer.text
        policy = answer.headers["Content-Security-Policy"]
        assert f"frame-ancestors {peer.url};" in policy
        assert "script-src" not in policy  # as default-src 'self': no inline scripts
        assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)

        # what Moodle 4.5 looks at, and what it would store
        (sent,) = peer.registrations
        ours = sent[TOOL_CONFIGURATION]
        assert sent["application_type"] == "web"
        assert sent["response_types"] == ["id_token"]
        assert set(sent["grant_types"]) == {"implicit", "client_credentials"}
        assert sent["token_endpoint_auth_method"] == "private_key_jwt"
        assert sent["scope"] == MEMBERS_SCOPE
        assert (
            ours["domain"] == urlsplit(ours["target_link_uri"]).netloc == urlsplit(hub.url).netloc
        )
        assert sent["redirect_uris"] == [tool(hub)["launch_url"]]
        assert sent["initiate_login_uri"] == tool(hub)["login_url"]
        assert requests.get(sent["jwks_uri"], timeout=30).json()["keys"]
        assert (
            requests.get(sent["logo_uri"], timeout=30).headers["Content-Type"].startswith("image")
        )
        assert {message["type"] for message in ours["messages"]} == {
            "LtiResourceLinkRequest",
            "LtiDeepLinkingRequest",
        }
        assert {"iss", "sub"} <= set(ours["claims"])

        # it waits, and says who it is
        (kept,) = registered(hub)
        assert kept.platform.status is PlatformStatus.PENDING
        assert (kept.platform.name, kept.platform.issuer) == ("Our Moodle", peer.url)
        assert kept.platform.deployments == (peer.deployment,)
        path = f"{ADMIN}/{kept.platform.id}"
        page = text_of(carol_here.get(path, headers={"Accept-Language": "en"}))
        assert "Is this the platform that you know?" in page
        assert send(carol_here, path, {"action": "open", "version": "1"}).status_code == 303
        tested = text_of(send(carol_here, path, {"action": "test"}))
        assert "It recognised our signature and gave a token." in tested


def test_a_link_is_shown_once_and_can_be_withdrawn(hub: RunningHub, carol_here: Visitor) -> None:
    link = make_link(carol_here, private="1")
    assert link.startswith(f"{hub.url}{PREFIX}lti/register/")
    page = carol_here.get(ADMIN, headers={"Accept-Language": "en"})
    assert link.rsplit("/", 1)[1] not in page.text
    assert "Our Moodle, made by carol" in text_of(page)
    digest = re.search(r'name="digest" value="([0-9a-f]+)"', page.text)
    assert digest
    answer = send(carol_here, ADMIN, {"action": "withdraw", "digest": digest[1]})
    assert answer.status_code == 303
    with serving() as server:
        refused = open_link(link, configured(server))
        assert (refused.status_code, code_of(refused)) == (410, "registration-link-used")
        assert server.asked == []
    assert link.rsplit("/", 1)[1] not in hub.log()


def test_a_look_is_no_registration(hub: RunningHub, link: str, server: Server) -> None:
    url = f"{link}?openid_configuration={quote(configured(server), safe='')}"
    assert requests.head(url, timeout=30).status_code == 405
    assert requests.post(url, timeout=30).status_code in {403, 405}
    by_hand = requests.get(link, headers={"Accept-Language": "en"}, timeout=30)
    assert by_hand.status_code == 200
    assert "It is opened by a platform" in text_of(by_hand)
    assert server.asked == []
    assert open_link(link, configured(server)).status_code == 200


# --- attacks: each time the honest one first -----------------------------------------------------


def test_a_link_is_used_once(hub: RunningHub, link: str, server: Server) -> None:
    assert open_link(link, configured(server)).status_code == 200
    server.asked.clear()
    again = open_link(link, configured(server))
    assert (again.status_code, code_of(again)) == (410, "registration-link-used")
    # its administrator reads that in the platform's own frame, and no other
    policy = again.headers["Content-Security-Policy"]
    assert f"frame-ancestors {server.url};" in policy
    assert "form-action 'none'" in policy
    evil = open_link(link, "https://evil.example; script-src 'unsafe-inline'")
    assert "frame-ancestors 'none';" in evil.headers["Content-Security-Policy"]
    assert "script-src" not in evil.headers["Content-Security-Policy"]
    assert server.asked == []
    assert len(registered(hub)) == 1


def test_a_link_ends(hub: RunningHub, carol_here: Visitor, link: str, server: Server) -> None:
    assert open_link(link, configured(server)).status_code == 200
    server.asked.clear()
    old = make_link(carol_here, private="1")
    past = datetime.now(UTC) - timedelta(seconds=1)
    change = update(RegistrationLinkRow).values(expires_at=past)
    in_database(hub, lambda session: session.execute(change))
    answer = open_link(old, configured(server))
    assert (answer.status_code, code_of(answer)) == (410, "registration-link-used")
    assert server.asked == []


def test_a_guess(hub: RunningHub, link: str, server: Server) -> None:
    key = link.rsplit("/", 1)[1]
    other = ("0" if key[-1] != "0" else "1").join([key[:-1], ""])
    digest = in_database(hub, lambda s: s.scalars(select(RegistrationLinkRow.digest)).one())
    for guess in (other, "o" + key[1:], digest, "o" + "0" * 40):
        answer = open_link(link.replace(key, guess), configured(server))
        assert (answer.status_code, code_of(answer)) == (410, "registration-link-used")
    assert server.asked == []
    assert open_link(link, configured(server)).status_code == 200


def test_a_known_platform_is_not_overwritten(
    hub: RunningHub, carol_here: Visitor, link: str, server: Server
) -> None:
    url = configured(server)
    assert open_link(link, url).status_code == 200
    (before,) = registered(hub)
    second = make_link(carol_here, private="1")
    answer = open_link(second, configured(server, jwks_uri=f"{server.url}/other"))
    assert (answer.status_code, code_of(answer)) == (409, "platform-known-already")
    assert registered(hub) == [before]
    server.json("/register", {"client_id": "c-2", TOOL_CONFIGURATION: {"deployment_id": "8"}})
    assert open_link(second, url).status_code == 200  # another tool of the same platform
    assert len(registered(hub)) == 2


def test_what_fails_can_be_tried_again(hub: RunningHub, link: str, server: Server) -> None:
    """Words for the administrator, nothing stored, and the link is as good as before."""
    with serving() as other:
        for changes, words in (
            ({"issuer": other.url}, "it speaks for an issuer on another host"),
            ({"registration_endpoint": f"{other.url}/r"}, "its registration is on another host"),
        ):
            answer = open_link(link, configured(server, **changes))
            assert (answer.status_code, code_of(answer)) == (503, "platform-unreachable")
            assert words in text_of(answer)
            assert f"frame-ancestors {server.url};" in answer.headers["Content-Security-Policy"]
        server.pages["/configuration"] = (302, {"Location": f"{other.url}/configuration"}, b"")
        configured(other)
        assert "it sends us elsewhere" in text_of(open_link(link, f"{server.url}/configuration"))
        server.pages["/configuration"] = (200, {}, b"<html>" + b"x" * 400_000)
        answer = open_link(link, f"{server.url}/configuration")
        assert "sent more than it should" in text_of(answer)
        assert other.asked == []
    assert registered(hub) == []
    assert open_link(link, configured(server)).status_code == 200


def test_addresses_that_are_not_asked(
    hub: RunningHub, carol_here: Visitor, link: str, server: Server
) -> None:
    public = make_link(carol_here)
    local = configured(server)
    private = "its address is on this machine or on a private network"
    for one, url, words in (
        (public, local, "its address does not begin with https://"),
        (public, local.replace("http:", "https:"), private),
        (public, "https://10.1.2.3/c", private),
        (public, "https://169.254.169.254/latest/meta-data", private),
        (link, "http://169.254.169.254/latest/meta-data", private),
        (link, "file:///etc/passwd", "its address does not begin with https://"),
        (link, "https://u:p@moodle.example.org/", "its address does not begin with https://"),
    ):
        answer = open_link(one, url)
        assert (answer.status_code, code_of(answer)) == (503, "platform-unreachable"), url
        assert words in text_of(answer)
    assert server.asked == []
    assert open_link(link, local).status_code == 200


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "é", "x" * 8001])
def test_tokens_that_are_none(link: str, server: Server, token: str) -> None:
    answer = open_link(link, configured(server), token)
    assert answer.status_code in {400, 414, 431}
    assert server.asked == []
    assert open_link(link, configured(server)).status_code == 200


def test_words_of_others_are_text(hub: RunningHub, carol_here: Visitor, server: Server) -> None:
    xss = "<script>alert(1)</script>"
    answer = send(carol_here, ADMIN, {"action": "link", "label": xss, "private": "1"})
    assert xss not in answer.text
    link = value_of(answer, "new-link")
    failed = open_link(link, f"https://{xss}.example/")
    assert failed.status_code == 503
    assert xss not in failed.text
    done = open_link(link, configured(server))
    assert done.status_code == 200
    assert xss not in done.text
    assert xss not in carol_here.get(ADMIN).text


def test_an_approval_shows_addresses_elsewhere(
    hub: RunningHub, carol_here: Visitor, link: str, server: Server
) -> None:
    assert open_link(link, configured(server, jwks_uri="http://10.0.0.1/keys")).status_code == 200
    (kept,) = registered(hub)
    path = f"{ADMIN}/{kept.platform.id}"
    page = carol_here.get(path, headers={"Accept-Language": "en"})
    assert "<code>http://10.0.0.1/keys</code>" in page.text
    # nor is it asked when it is tested: only the platform's own host may be private
    tested = text_of(send(carol_here, path, {"action": "test"}))
    assert "its address does not begin with https://" in tested


def test_a_pending_platform_begins_nothing(
    hub: RunningHub, the_hub: Any, carol_here: Visitor
) -> None:
    with P13Platform(**tool(hub)) as peer:
        waiting = known(hub, peer, status=PlatformStatus.PENDING)
        request = {
            "platform": waiting.id,
            "return_url": f"{peer.url}/dl_return",
            "deployment": peer.deployment,
        }
        answer = the_hub.post("/deep-links", {"user": "carol", "request": request})
        assert (answer.status_code, answer.json()["code"]) == (403, "lti-platform-closed")
