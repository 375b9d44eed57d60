"""What we ask of platforms: bounded, to the right hosts only. Against servers of this test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Environment, JoinLink
from mydocker_hub.domain.errors import Unavailable
from mydocker_hub.httpclient import GUARDED_MAX_BYTES
from mydocker_hub.identity.claims import CourseRole
from mydocker_hub.identity.platform import Platform
from mydocker_hub.identity.settings import Lti
from mydocker_hub.services.catalogue import lti_calls, lti_register
from mydocker_hub.services.catalogue.lti_api import origin
from mydocker_hub.services.catalogue.lti_calls import Member
from mydocker_hub.services.catalogue.lti_pages import content_item, framers, rows_of
from mydocker_hub.services.catalogue.lti_register import TOOL_CONFIGURATION, ToolAddresses
from mydocker_hub.store.courses import Chosen, Participant
from mydocker_hub.store.platforms import new_tool_key
from mydocker_hub.web.i18n import translator
from tests.conftest import free_ports

NOW = datetime.now(UTC)
KEY = new_tool_key()
TOOL = ToolAddresses.at("https://hub.example.org/hub/")
OURS = lti_register.our_registration(TOOL, title="mydocker", contacts=[])


class Server:
    """Answers what `pages` says: by path, (status, headers, body) or a function of the request."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    def json(self, path: str, value: Any, **headers: str) -> None:
        self.pages[path] = (200, headers, json.dumps(value).encode())


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            server.asked.append((self.command, self.path, dict(self.headers), body))
            status, headers, answer = server.pages.get(self.path, (404, {}, b""))
            if callable(answer):
                answer = answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(answer)
            except OSError:  # who asked has hung up, as is right
                self.close_connection = True

        do_POST = do_GET

    http = ThreadingHTTPServer(("127.0.0.1", server.port), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as one:
        yield one


# --- which addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://moodle.example.org/a/b?c", "https://moodle.example.org"),
        ("https://MOODLE.example.org:443/", "https://moodle.example.org"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://[::1]:1/", "https://[::1]:1"),
        ("https://moodle.example.org@evil.example/", ""),
        ("https://evil.example#moodle.example.org", "https://evil.example"),
        ("https://moodle.example.org.evil.example/", "https://moodle.example.org.evil.example"),
        ("javascript:alert(1)", ""),
        ("https://moodle.example.org:x/", ""),
        ("https://moodle.example.org; script-src *", ""),
        ("https://a.example 'unsafe-inline'/", ""),
        ("https://é.example/", ""),
        ("https://", ""),
        ("", ""),
    ],
)
def test_origin(url: str, expected: str) -> None:
    assert origin(url) == expected


@given(st.text(max_size=60))
def test_origin_of_anything(text: str) -> None:
    found = origin(f"https://{text}")
    assert re.fullmatch(r"|https://[][a-z0-9._:-]+", found)


async def ask(url: str, private: bool = True) -> dict[str, Any]:
    return lti_calls.as_json("P", await lti_calls.ask("P", url, private=private))


async def refused(waiting: Any) -> str:
    """Why a call was refused, in words."""
    with pytest.raises(Unavailable) as caught:
        await waiting
    assert caught.value.code == "platform-unreachable"
    assert caught.value.params["detail"]
    return str(caught.value.params["detail"])


async def test_private_addresses_are_not_asked(server: Server) -> None:
    server.json("/a", {"b": 1})
    assert await ask(f"{server.url}/a") == {"b": 1}
    server.asked.clear()
    private = "its address is on this machine or on a private network"
    for host in (
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "127.1",
        "[::7f00:1]",
    ):
        url = f"https://{host}:{server.port}/a"
        assert await refused(ask(url, private=False)) == private, host
    assert await refused(ask(f"{server.url}/a", private=False)) == (
        "its address does not begin with https://"
    )
    for private_too in (False, True):
        assert await refused(ask("https://169.254.169.254/latest", private_too)) == private
    assert await refused(ask("https://10.255.255.1/", private=False)) == private
    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "https://user:pass@moodle.example.org/",
        "https://",
        "https://moodle.example.org:99999/",
        "https://moodle.example.org/a b",
        "https://moodle.example.org/a\r\nX: y",
        "",
    ],
)
async def test_what_is_no_address(url: str) -> None:
    assert await refused(ask(url)) == "its address does not begin with https://"


async def test_answers_that_are_none(
    server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.json("/a", {"b": 1})
    server.json("/good", {"b": "x" * (GUARDED_MAX_BYTES - 100)})
    assert len((await ask(f"{server.url}/good"))["b"]) > 1000
    server.json("/huge", {"b": "x" * GUARDED_MAX_BYTES})
    server.pages["/elsewhere"] = (302, {"Location": f"{other.url}/a"}, b"")
    server.pages["/html"] = (200, {"Content-Type": "text/html"}, b"<html>{}</html>")
    server.pages["/list"] = (200, {}, b"[1]")
    server.pages["/deep"] = (200, {}, b"[" * 100_000)
    server.pages["/error"] = (500, {}, b"{}")
    for path, detail in (
        ("/huge", "it closed the connection, or sent more than it should"),
        ("/elsewhere", "it sends us elsewhere"),
        ("/html", "its answer is not JSON"),
        ("/list", "its answer is not JSON"),
        ("/deep", "its answer is not JSON"),
        ("/error", "it refused what we asked"),
        ("/nothing", "it refused what we asked"),
    ):
        assert await refused(ask(server.url + path)) == detail, path
    assert other.asked == []
    monkeypatch.setattr(lti_calls, "SECONDS", 0.3)
    gone = threading.Event()
    server.pages["/slow"] = (200, {}, lambda: (gone.wait(10) and b"{}") or b"{}")
    assert await refused(ask(f"{server.url}/slow")) == "it takes too long"
    gone.set()
    nobody = free_ports(1)[0]
    assert await refused(ask(f"http://127.0.0.1:{nobody}/")) == "no connection could be made"
    assert await refused(ask("https://nothing.invalid/")) == "no connection could be made"


# --- registration --------------------------------------------------------------------------------


def configured(server: Server, **changes: Any) -> str:
    """A platform that is as Moodle's; the address of its configuration."""
    configuration = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/auth",
        "token_endpoint": f"{server.url}/token",
        "jwks_uri": f"{server.url}/certs",
        "registration_endpoint": f"{server.url}/register",
        "https://purl.imsglobal.org/spec/lti-platform-configuration": {
            "product_family_code": "moodle",
            "version": "4.5.6",
        },
        **changes,
    }
    server.json("/configuration", configuration)
    server.json("/register", {"client_id": "c-1", TOOL_CONFIGURATION: {"deployment_id": "7"}})
    return f"{server.url}/configuration"


async def register(url: str, **options: Any) -> Platform:
    given = {"name": "", "private": True, **options}
    return await lti_register.register_at(url, "t0ken", OURS, **given)


async def test_registering(server: Server) -> None:
    platform = await register(configured(server))
    assert platform.model_dump(mode="json") == {
        "id": 0,
        "version": "1.3",
        "name": f"Moodle (127.0.0.1:{server.port})",
        "issuer": server.url,
        "client_id": "c-1",
        "authorization_url": f"{server.url}/auth",
        "token_url": f"{server.url}/token",
        "jwks_url": f"{server.url}/certs",
        "deployments": ["7"],
        "status": "pending",
        "teachers": False,
        "join_rule": None,
    }
    (_, _, asking, _), (method, path, headers, body) = server.asked
    assert (method, path) == ("POST", "/register")
    assert headers["Authorization"] == "Bearer t0ken"
    assert "Authorization" not in asking
    assert json.loads(body) == OURS


async def test_a_platform_speaks_for_its_own_host_alone(server: Server, other: Server) -> None:
    assert (await register(configured(server))).issuer == server.url
    server.asked.clear()
    for changes, detail in (
        ({"issuer": other.url}, "it speaks for an issuer on another host"),
        ({"issuer": "https://moodle.example.org"}, "it speaks for an issuer on another host"),
        ({"issuer": "https://x:y/"}, "it speaks for an issuer on another host"),
        (
            {"registration_endpoint": f"{other.url}/register"},
            "its registration is on another host",
        ),
        (
            {"jwks_uri": "file:///etc/passwd"},
            "its configuration is not that of an LTI 1.3 platform",
        ),
        ({"jwks_uri": None}, "its configuration is not that of an LTI 1.3 platform"),
        (
            {"issuer": "https://a.example/" + "x" * 1000},
            "its configuration is not that of an LTI 1.3 platform",
        ),
    ):
        assert await refused(register(configured(server, **changes))) == detail
    assert {method for method, *_ in server.asked} == {"GET"}  # the token went nowhere
    assert other.asked == []


async def test_registration_answers_that_are_none(server: Server, other: Server) -> None:
    url = configured(server)
    assert (await register(url)).client_id == "c-1"
    server.json("/register", {"client_id": "c-1"})
    assert (await register(url)).deployments == ()  # an administrator adds it
    for answer in ({}, {"client_id": ""}, {"client_id": 5}, {"client_id": "a\nb"}):
        server.json("/register", answer)
        assert await refused(register(url)) == "its answer to the registration is not one"
    server.pages["/register"] = (307, {"Location": f"{other.url}/register"}, b"")
    assert await refused(register(url)) == "it sends us elsewhere"
    assert other.asked == []


async def test_a_name_is_text(server: Server) -> None:
    about = {"product_family_code": "<script>alert(1)</script>"}
    url = configured(
        server, **{"https://purl.imsglobal.org/spec/lti-platform-configuration": about}
    )
    assert "<" not in (await register(url)).name
    assert (await register(url, name="Our Moodle")).name == "Our Moodle"


# --- tokens and members --------------------------------------------------------------------------


def platform_at(server: Server) -> Platform:
    return Platform(
        name="Moodle",
        issuer=server.url,
        client_id="c-1",
        authorization_url=f"{server.url}/auth",
        token_url=f"{server.url}/token",
        jwks_url=f"{server.url}/certs",
    )


async def test_a_token_is_asked_for_as_rfc_7523_says(server: Server) -> None:
    server.json("/token", {"access_token": "abc", "token_type": "Bearer"})
    now = datetime.now(UTC)  # not when this file was read: that may be half an hour ago
    assert await lti_calls.access_token(platform_at(server), KEY, now) == "abc"
    form = dict(pair.split("=") for pair in server.asked[0][3].decode().split("&"))
    assert form["grant_type"] == "client_credentials"
    claims = jwt.decode(
        form["client_assertion"],
        jwt.PyJWK(KEY.public).key,
        algorithms=["RS256"],
        audience=f"{server.url}/token",
        issuer="c-1",
        options={"require": ["exp", "iat", "jti", "sub"]},
    )
    assert claims["sub"] == "c-1"
    assert claims["exp"] - claims["iat"] <= 300
    for bad in ("", "a b", "a\r\nX: y", "é", "x" * 9000, 5, None):
        server.json("/token", {"access_token": bad})
        assert await refused(lti_calls.access_token(platform_at(server), KEY, NOW)) == (
            "it gave no token"
        )


async def test_members_over_several_pages(server: Server) -> None:
    server.json("/token", {"access_token": "abc"})
    server.json("/m", {"members": [{"user_id": "1", "name": "Ada"}]}, Link="</m?p=2>; rel=next")
    server.json(
        "/m?p=2", {"members": [{"user_id": "2", "roles": ["Instructor"]}]}, Link='</m>; rel="self"'
    )
    found = await lti_calls.members(platform_at(server), f"{server.url}/m", KEY, NOW)
    assert [(one.user_id, one.shown_name, one.teaches) for one in found.items] == [
        ("1", "Ada", False),
        ("2", "", True),
    ]
    assert found.whole
    assert all(asked[2]["Authorization"] == "Bearer abc" for asked in server.asked[1:])


async def test_the_token_goes_to_the_platform_alone(server: Server, other: Server) -> None:
    server.json("/token", {"access_token": "abc"})
    other.json("/m", {"members": []})
    foreign = "its list of members is on a host that is not its own"
    calls = lti_calls.members
    assert await refused(calls(platform_at(server), f"{other.url}/m", KEY, NOW)) == foreign
    for link in (
        f"<{other.url}/m>; rel=next",
        f"<//127.0.0.1:{other.port}/m>; rel=next",
        f"<{server.url}@127.0.0.1:{other.port}/m>; rel=next",
    ):
        server.json("/m", {"members": []}, Link=link)
        assert await refused(calls(platform_at(server), f"{server.url}/m", KEY, NOW)) == foreign
    assert other.asked == []


async def test_members_are_bounded(server: Server) -> None:
    server.json("/token", {"access_token": "abc"})
    server.json("/m", {"members": [{"user_id": "1"}]}, Link="</m>; rel=next")  # for ever
    found = await lti_calls.members(platform_at(server), f"{server.url}/m", KEY, NOW)
    assert len(found.items) == 20
    assert not found.whole
    for bad in (
        {"members": [{"name": "Ada"}]},
        {"members": 5},
        {},
        {"members": [{"user_id": "x" * 300}]},
    ):
        server.json("/m", bad)
        waiting = lti_calls.members(platform_at(server), f"{server.url}/m", KEY, NOW)
        assert await refused(waiting) == "its list of members is not one"


@given(st.lists(st.text(max_size=200), max_size=3))
def test_next_link_of_anything(headers: list[str]) -> None:
    found = lti_calls.next_link(headers)
    assert found == "" or any(f"<{found}>" in header for header in headers)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('<https://m.example/p?a=1&b=2>; rel="next"', "https://m.example/p?a=1&b=2"),
        ("<https://m.example/1>; rel=differences, </2>; rel=next", "/2"),
        ("<https://m.example/1>; rel=prev", ""),
        ("https://m.example/1; rel=next", ""),
    ],
)
def test_next_link(header: str, expected: str) -> None:
    assert lti_calls.next_link([header]) == expected


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (("https://moodle.example.org", "https://other.example"), ["https://moodle.example.org"]),
        (("https://moodle.example.org:443",), ["https://moodle.example.org"]),
        (("https://other.example",), []),
        ((), []),
    ],
)
def test_who_may_frame_a_choice(allowed: tuple[str, ...], expected: list[str]) -> None:
    platform = Platform(
        name="Moodle",
        issuer="https://moodle.example.org",
        client_id="c-1",
        authorization_url="https://moodle.example.org/mod/lti/auth.php",
        jwks_url="https://elsewhere.example/certs",
    )
    assert framers(platform, Lti(frame_origins=allowed)) == expected
    assert framers(platform, None) == []


def test_an_activity_opens_in_a_frame_where_it_may() -> None:
    environment = Environment.model_validate(
        {
            "slug": "lab",
            "title": {"fr": "Labo", "en": "Lab"},
            "image": "example.org/image:1",
            "interfaces": [{"name": "web", "title": "Web"}],
        }
    )
    one = Chosen(environment, JoinLink(key="TinyTinyTinyTinyTiny"))
    item = content_item(one, "", translator("fr"), framed=True)
    assert item == {
        "type": "ltiResourceLink",
        "title": "Labo",
        "text": "",
        "custom": {"join": "TinyTinyTinyTinyTiny"},
        "iframe": {},
    }
    item = content_item(one, "TP 1", translator("en"), framed=False)
    assert item["title"] == "TP 1"
    assert "iframe" not in item
    assert item["window"] == {"targetName": "_blank"}


def test_rows_join_who_came_with_who_is_there() -> None:
    came = Participant("ada", "", CourseRole.STUDENT, NOW, frozenset({"5"}))
    grace = Participant("grace", "Grace H.", CourseRole.TEACHER, NOW, frozenset({"6"}))
    members = (
        Member(user_id="5", name="Ada L.", roles=["Learner"]),
        Member(user_id="6", given_name="G.", family_name="Hopper"),
        Member(user_id="7", family_name="Émile"),
        Member(user_id="8", status="Inactive", name="Gone"),
        Member(user_id="9", roles=["http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"]),
    )
    rows = [(row.name, row.teaches, row.came) for row in rows_of((came, grace), members)]
    assert rows == [
        ("Ada L.", False, came),  # the platform's name, as we have none
        ("Émile", False, None),
        ("9", True, None),
        ("Grace H.", True, grace),
    ]
    assert [row.name for row in rows_of((came,), ())] == ["ada"]
