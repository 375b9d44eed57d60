"""Who may enter: the sign-in at the hub, cookies, tokens, and what the container sees of them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from mydocker_hub.seal import Seal
from mydocker_hub.web import i18n

from .world import SECRET, Browser, Server, ask, broken

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
HUB_COOKIES = (
    "jupyterhub-session-id=S1; jupyterhub-hub-login=S2; service-catalogue=S3; _xsrf=app; "
    "jupyterhub-user-alice-other=S4; mydocker-language=fr; __Host-mydocker-server=S5"
)


@pytest.fixture(scope="module")
def server(world) -> Server:
    return world.server()


def new_browser(world, **more) -> Browser:
    return Browser(world.gateway.port, f"127.0.0.1:{world.gateway.port}", **more)


# --- the sign-in ---------------------------------------------------------------------------------


def test_the_way_in(world, hub, server):
    """Signed out → the hub → back → where they wanted to go, query and all."""
    browser = new_browser(world)
    wanted = f"{server.base}app/tree?path=a%20b&x=%2F"
    reply = browser.get(wanted, PAGE)
    assert reply.status == 302
    address = reply.one("Location") or ""
    asked = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    assert urlsplit(address)[:3] == ("", "", "/hub/api/oauth2/authorize")
    assert asked["client_id"] == server.route["client_id"]
    assert asked["redirect_uri"] == f"{server.base}oauth_callback"
    note = reply.one("Set-Cookie") or ""
    assert {"HttpOnly", "SameSite=Lax", f"Path={server.base}oauth_callback"} <= set(
        note.split("; ")
    )
    back = browser.get(hub.authorize(address, "alice", server.name))
    assert (back.status, back.one("Location")) == (302, wanted)
    cookie, gone = sorted(back.all("Set-Cookie"), key=lambda line: "sign-in" in line)
    assert {"HttpOnly", "SameSite=Lax", f"Path={server.base}"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "sign-in" in gone
    assert browser.get(wanted).status == 200
    assert [kept.path for kept in browser.cookies] == [server.base]


def test_cookies_are_secure_where_the_hub_is(world, hub, server):
    browser = new_browser(world, scheme="https")
    browser.follow(f"{server.base}app/", hub, "alice", server.name)
    reply = new_browser(world, scheme="https").get(f"{server.base}app/")
    assert "Secure" in (reply.one("Set-Cookie") or "").split("; ")
    assert browser.get(f"{server.base}app/").status == 200


def test_a_cookie_says_nothing_of_the_token(world, hub, server):
    cookie = server.cookie()
    for token in hub.people:
        assert token not in cookie
        assert base64.b64encode(token.encode()).decode().rstrip("=") not in cookie


def test_a_long_address_survives_the_sign_in(world, hub, server):
    """Browsers keep no cookie of more than 4096 bytes: such an address loses its query."""
    wanted = f"{server.base}app/x?state={'y' * 6000}"
    where, reply = new_browser(world).follow(wanted, hub, "alice", server.name)
    assert (reply.status, where) == (200, server.base + "app/x")


def test_a_path_with_other_escapes_is_the_same_server(world, hub, server):
    """The cookie is for the path as the hub writes it."""
    wanted = server.base.replace("alice", "%61lice") + "app/x?y"
    where, reply = new_browser(world).follow(wanted, hub, "alice", server.name)
    assert (reply.status, where) == (200, f"{server.base}app/x?y")


def _way_back(world, hub, server, person: str = "alice", *servers: str) -> tuple[Browser, str]:
    """A browser that the hub sends back, and the address."""
    browser = new_browser(world)
    reply = browser.get(f"{server.base}app/")
    return browser, hub.authorize(reply.one("Location") or "", person, *servers or [server.name])


def interrupted(reply) -> bool:
    return reply.status == 400 and b"sign-in-interrupted" in reply.body


def test_the_way_back_works_once(world, hub, server):
    browser, back = _way_back(world, hub, server)
    cookies = list(browser.cookies)
    assert browser.get(back).status == 302
    browser.cookies += cookies  # somebody kept them
    assert interrupted(browser.get(back))  # the hub does not give a token twice


def test_the_way_back_needs_the_browser_that_asked(world, hub, server):
    _, back = _way_back(world, hub, server)
    victim = new_browser(world)
    assert interrupted(victim.get(back))
    victim.get(f"{server.base}app/")  # with a note of its own
    assert interrupted(victim.get(back))
    assert not [cookie for cookie in victim.cookies if cookie.name == "mydocker-server"]


@pytest.mark.parametrize(
    "query", ["", "?state=x", "?code=x&state=x", "?state=None", "?state=%C3%A9"]
)
def test_a_way_back_that_nobody_asked_for(world, server, query):
    assert interrupted(new_browser(world).get(f"{server.base}oauth_callback{query}"))


def test_a_code_that_the_hub_does_not_know(world, hub, server):
    browser, back = _way_back(world, hub, server)
    hub.codes.clear()
    assert interrupted(browser.get(back))


def test_a_code_for_another_verifier(world, hub, server):
    """A code that was stolen on its way is worth nothing (RFC 7636)."""
    browser, back = _way_back(world, hub, server)
    code = next(iter(hub.codes))
    hub.codes[code]["code_challenge"] = base64.urlsafe_b64encode(hashlib.sha256().digest()).decode()
    assert interrupted(browser.get(back))


def test_the_hub_says_no(world, hub, server):
    browser, back = _way_back(world, hub, server)
    state = parse_qs(urlsplit(back).query)["state"][0]
    reply = browser.get(f"{server.base}oauth_callback?error=access_denied&state={state}")
    assert reply.status == 403
    assert b"server-not-yours" in reply.body
    assert browser.get(f"{server.base}app/").status == 302


def test_another_person_is_refused_in_words(world, hub, server):
    browser, back = _way_back(world, hub, server, "bob", "bob/other")
    reply = browser.get(back, PAGE)
    assert reply.status == 403
    assert b"server-not-yours" in reply.body
    assert not [cookie for cookie in browser.cookies if cookie.name == "mydocker-server"]


def test_who_was_let_in_by_its_person_enters(world, server):
    browser = server.signed_in("bob")  # the hub says that the token opens it
    assert browser.get(f"{server.base}app/").status == 200


def test_a_right_that_was_withdrawn_ends(world, hub):
    server = world.server()
    token = server.token("bob")
    hub.people[token]["scopes"] = []
    reply = ask(
        world.gateway.port, "GET", f"{server.base}app/", {"Authorization": f"token {token}"}
    )
    assert (reply.status, reply.code) == (403, "server-not-yours")


# --- signed out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Sec-Fetch-Mode": "cors"}),
        ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("POST", {}),
        ("DELETE", {}),
        ("PROPFIND", {}),
        ("OPTIONS", {}),
    ],
)
def test_a_program_is_told_to_sign_in(world, server, method, headers):
    before = len(world.container.asked)
    reply = ask(world.gateway.port, method, f"{server.base}app/", headers)
    assert (reply.status, reply.code) == (401, "sign-in-needed")
    assert reply.all("Set-Cookie") == []
    assert len(world.container.asked) == before


def _cookie(value: object, server: Server, *, secret: str = SECRET) -> dict[str, str]:
    return {"Cookie": f"mydocker-server={Seal(secret, 'cookie').close(value)}"}


def test_cookies_that_are_not_ours(world, server):
    """First the honest one; then each way of making one oneself."""
    good = {"client": server.route["client_id"], "port": None, "token": server.token()}
    address = f"{server.base}app/"

    def status(headers: dict[str, str]) -> int:
        return ask(world.gateway.port, "GET", address, headers).status

    assert status(_cookie(good, server)) == 200
    assert status(_cookie(good, server, secret="another")) == 302
    assert status(_cookie({**good, "port": 8888}, server)) == 302
    assert status(_cookie({**good, "client": "jupyterhub-user-bob-x"}, server)) == 302
    assert status(_cookie({**good, "token": "unknown"}, server)) == 302
    assert status(_cookie([], server)) == 302
    honest = _cookie(good, server)["Cookie"]
    for tampered in (
        honest[:-1],
        honest[:40] + "A" + honest[41:],
        "mydocker-server=",
        "mydocker-server",
    ):
        assert status({"Cookie": tampered}) == 302


def test_a_note_of_a_sign_in_is_no_sign_in(world, server):
    """What was sealed for one purpose is nothing for another."""
    browser = new_browser(world)
    browser.get(f"{server.base}app/")
    note = browser.cookies[0].value
    reply = ask(
        world.gateway.port, "GET", f"{server.base}app/", {"Cookie": f"mydocker-server={note}"}
    )
    assert reply.status == 302
    cookie = server.cookie().removeprefix("mydocker-server=")
    reply = ask(
        world.gateway.port,
        "GET",
        f"{server.base}oauth_callback?state=None&code=x",
        {"Cookie": f"mydocker-sign-in-None={cookie}"},
    )
    assert (reply.status, reply.code) == (400, "sign-in-interrupted")


def test_the_cookie_of_one_server_opens_no_other(world):
    """Also where the name of one begins as the other's."""
    one, other = world.server(name="lab"), world.server(name="lab-2")
    cookie = {"Cookie": one.cookie()}
    assert ask(world.gateway.port, "GET", f"{one.base}app/", cookie).status == 200
    assert ask(world.gateway.port, "GET", f"{other.base}app/", cookie).status == 302
    other_cookie = {"Cookie": other.cookie()}
    assert ask(world.gateway.port, "GET", f"{other.base}app/", other_cookie).status == 200
    assert ask(world.gateway.port, "GET", f"{one.base}app/", other_cookie).status == 302


# --- what the container sees ---------------------------------------------------------------------


def test_the_hubs_cookies_stay_outside(world, server):
    cookie = server.cookie(session="S1")
    sent = {"Cookie": f"theirs=1; {HUB_COOKIES}; {cookie}; more=a=b"}
    assert ask(world.gateway.port, "GET", f"{server.base}app/", sent).status == 200
    assert world.container.last.cookies == {"theirs": "1", "_xsrf": "app", "more": "a=b"}
    for number in range(1, 6):
        assert f"S{number}" not in str(world.container.last)
    assert cookie.partition("=")[2] not in str(world.container.last)


def test_cookies_in_several_lines(world, server):
    token = ("Authorization", f"token {server.token()}")
    sent = [token, ("Cookie", "a=1; jupyterhub-session-id=S"), ("Cookie", "b=2")]
    assert ask(world.gateway.port, "GET", f"{server.base}app/", sent).status == 200
    assert world.container.last.cookies == {"a": "1", "b": "2"}
    assert len(world.container.last.all("Cookie")) == 1


@pytest.mark.parametrize("scheme", ["token", "Bearer", "TOKEN", "bearer"])
def test_a_token_of_the_hub_enters_and_stays_outside(world, server, scheme):
    token = server.token()
    sent = {"Authorization": f"{scheme} {token}"}
    assert ask(world.gateway.port, "POST", f"{server.base}app/", sent, b"x").status == 200
    assert token not in str(world.container.last)
    assert world.container.last.all("Authorization") == []


def test_a_token_of_another_person_is_refused_and_stays_outside(world, hub, server):
    before = len(world.container.asked)
    for more in ({}, {"Cookie": server.cookie()}):
        sent = {"Authorization": f"token {hub.token('bob', 'bob/x')}", **more}
        reply = ask(world.gateway.port, "GET", f"{server.base}app/", sent)
        assert (reply.status, reply.code) == (403, "server-not-yours")
    assert len(world.container.asked) == before


@pytest.mark.parametrize(
    "value", ["Bearer eyJ.a.b", "Basic eDp5", "Digest a=b", "token theirs", "x"]
)
def test_what_an_app_authorizes_with_is_the_apps(world, server, value):
    sent = {"Authorization": value, "Cookie": server.cookie()}
    assert ask(world.gateway.port, "GET", f"{server.base}app/", sent).status == 200
    assert world.container.last.one("Authorization") == value


def test_the_secret_is_shown_to_the_container_alone(world):
    for sign_in in ("jupyter", "basic", "code-server"):
        server = world.server(sign_in=sign_in)
        cookie = server.cookie()
        sent = {
            "Cookie": f"code-server-session=old; a=1; {cookie}",
            "Authorization": "Bearer the.apps.own",
        }
        reply = ask(world.gateway.port, "GET", f"{server.base}app/", sent)
        got = world.container.last
        pair = base64.b64encode(f"alice:{server.secret}".encode()).decode()
        assert (
            got.one("Authorization")
            == {
                "jupyter": f"token {server.secret}",
                "basic": f"Basic {pair}",
                "code-server": "Bearer the.apps.own",
            }[sign_in]
        )
        session = server.secret if sign_in == "code-server" else "old"
        assert got.cookies == {"a": "1", "code-server-session": session}
        assert server.secret not in repr(reply)
        # a program that the person started is no part of the image: it gets no secret
        ask(world.gateway.port, "GET", f"{server.base}proxy/8888/", {"Cookie": cookie})
        assert server.secret not in str(world.container.last)


def test_the_container_sets_no_cookie_of_ours(world, server):
    sent = [
        ("Set-Cookie", line)
        for line in (
            "jupyterhub-session-id=evil; Path=/", "mydocker-server=evil", "=jupyterhub-x=evil",
            "JupyterHub-x=evil", "__Host-mydocker-server=evil; Path=/; Secure", "service-x=evil",
            "own=1; Path=/; Domain=test; HttpOnly", "own2=2; Path=/user/bob/", "own3=3",
        )
    ]  # fmt: skip
    path = world.container.says(headers=sent)
    reply = ask(world.gateway.port, "GET", f"{server.base}app/{path}", {"Cookie": server.cookie()})
    kept = reply.all("Set-Cookie")
    assert [line.partition("=")[0] for line in kept] == ["own", "own2", "own3"]
    for line in kept:
        assert f"Path={server.base}app/" in line
        assert "Domain" not in line
    assert kept[0].endswith("HttpOnly")


def test_the_container_speaks_for_no_origin(world, server):
    sent = [
        ("Clear-Site-Data", '"*"'), ("Strict-Transport-Security", "max-age=1"),
        ("Service-Worker-Allowed", "/"), ("NEL", "{}"), ("Report-To", "{}"), ("Alt-Svc", "h3=':1'"),
    ]  # fmt: skip
    path = world.container.says(headers=sent)
    reply = ask(world.gateway.port, "GET", f"{server.base}app/{path}", {"Cookie": server.cookie()})
    assert reply.one("Service-Worker-Allowed") == f"{server.base}app/"
    for name, _ in sent:
        assert name == "Service-Worker-Allowed" or reply.all(name) == [], name


# --- other sites ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}, 403),
        (
            "POST",
            {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
            403,
        ),
        ("POST", {"Origin": "https://evil.test"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("PUT", {"Origin": "http://other.hub.test", "Sec-Fetch-Site": "same-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        (
            "GET",
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": "http://x"},
            403,
        ),
        ("OPTIONS", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", {"Origin": "http://HUB"}, 200),
        ("POST", {}, 200),
    ],
)
def test_a_page_of_another_site_can_only_lead_here(world, server, method, headers, status):
    host = f"127.0.0.1:{world.gateway.port}"
    headers = {name: value.replace("HUB", host) for name, value in headers.items()}
    before = len(world.container.asked)
    reply = ask(
        world.gateway.port,
        method,
        f"{server.base}app/",
        {**headers, "Cookie": server.cookie()},
        b"",
    )
    assert reply.status == status
    assert len(world.container.asked) == before + (status == 200)
    if status == 403:
        assert reply.code == "cross-site"


# --- while the hub is away -----------------------------------------------------------------------


def test_people_work_on_while_the_hub_is_away(world, hub):
    """The last answers stand, those to an app's own tokens too. Who is new is told to wait."""
    server = world.server()
    cookie = server.cookie()
    own = {"Cookie": cookie, "Authorization": "Bearer the.apps.own"}
    assert ask(world.gateway.port, "GET", f"{server.base}app/", own).status == 200
    new = server.token()
    with broken(hub):
        for headers in ({"Cookie": cookie}, own):
            assert ask(world.gateway.port, "GET", f"{server.base}app/", headers).status == 200
        sent = {"Authorization": f"token {new}"}
        reply = ask(world.gateway.port, "GET", f"{server.base}app/", sent)
        assert (reply.status, reply.code) == (503, "hub-unavailable")
        assert reply.one("Retry-After")
    assert ask(world.gateway.port, "GET", f"{server.base}app/", sent).status == 200


@pytest.mark.parametrize(("stale", "status"), [(600.0, 200), (0.0, 503)])
def test_answers_that_stand_do_so_for_a_while(world, hub, stale, status):
    """Here each answer is old at once."""
    process = world.new_gateway(
        before="from mydocker_hub.services.gateway import access\n"
        f"access._STALE_SECONDS, access._FRESH_SECONDS, access._REFUSED_SECONDS = {stale}, 0, 0"
    ).start()
    server = world.server()
    server.push(process)
    cookie = server.cookie()
    own = {"Cookie": cookie, "Authorization": "Bearer the.apps.own"}
    sents = ({"Authorization": f"token {server.token()}"}, {"Cookie": cookie}, own)
    for sent in sents:
        assert ask(process.port, "GET", f"{server.base}app/", sent).status == 200
    with broken(hub):
        for sent in sents:
            assert ask(process.port, "GET", f"{server.base}app/", sent).status == status
    process.stop()


def test_a_page_of_many_files_asks_the_hub_once(world, hub):
    server = world.server()
    cookie = {"Cookie": server.cookie()}
    before = hub.asked_for("/hub/api/user")
    for _ in range(20):
        assert ask(world.gateway.port, "GET", f"{server.base}app/", cookie).status == 200
    assert hub.asked_for("/hub/api/user") == before


# --- pages ---------------------------------------------------------------------------------------


def test_errors_in_the_language_and_form_of_who_asks(world):
    address = "/user/nobody/nothing/"
    english = ask(world.gateway.port, "GET", address, {**PAGE, "Accept-Language": "en"})
    french = ask(world.gateway.port, "GET", address, {**PAGE, "Accept-Language": "fr"})
    chosen = ask(
        world.gateway.port,
        "GET",
        address,
        {**PAGE, "Accept-Language": "en", "Cookie": f"{i18n.COOKIE}=fr"},
    )
    assert {english.status, french.status, chosen.status} == {404}
    assert "No server runs" in english.body.decode()
    assert english.one("Content-Language") == "en"
    assert french.one("Content-Language") == chosen.one("Content-Language") == "fr"
    assert 'lang="fr"' in french.body.decode()
    assert "No server runs" not in french.body.decode()
    program = ask(world.gateway.port, "GET", address, {"Accept-Language": "fr"})
    assert program.code == "server-not-running"
    assert json.loads(program.body)["detail"] in french.body.decode().replace("&#39;", "'")
    fetch = ask(world.gateway.port, "GET", address, {**PAGE, "Sec-Fetch-Mode": "cors"})
    assert fetch.code == "server-not-running"
    for reply in (english, program):
        assert reply.one("Cache-Control") == "no-store"
        assert reply.one("X-Content-Type-Options") == "nosniff"
    assert "default-src 'none'" in (english.one("Content-Security-Policy") or "")
    scripts = re.findall(r"<script[^>]*>", english.body.decode())
    assert scripts == ['<script src="/hub/static/js/darkmode.js">']  # the hub's own, none inline


def test_an_error_page_repeats_nothing_that_was_sent(world, server):
    for address in (
        "/user/<script>alert(1)</script>/x/",
        f"{server.base}<script>alert(1)</script>",
    ):
        sent = {**PAGE, "Cookie": server.cookie()}
        assert b"alert(1)" not in ask(world.gateway.port, "GET", address, sent).body


# --- the log -------------------------------------------------------------------------------------


def test_the_log_holds_no_secret(world, hub, server):
    """After all of the above, and some requests that go wrong with something to hide."""
    container = world.raw_container(
        lambda it, head: it.sendall(b"HTTP/1.1 2x0 TOPSECRET-answer\r\n\r\n")
    )
    bad = world.server(container.url)
    cookie = bad.cookie()
    for path in ("app/x?token=TOPSECRET-query", "app/x?ticket=TOPSECRET-ticket"):
        reply = ask(world.gateway.port, "GET", f"{bad.base}{path}", {"Cookie": cookie})
        assert reply.status == 502
    log = world.gateway.log()
    assert f"GET {bad.base}app/x" in log
    assert "TOPSECRET" not in log
    for secret in (SECRET, *hub.people, *hub.codes, cookie.partition("=")[2], bad.secret):
        assert secret not in log
    for route in hub.routes.values():
        assert route["token"] not in log
        assert route["secret"] not in log
    assert "code=" not in log
    assert "state=" not in log
    assert "Traceback" not in log


def test_who_signs_out_at_the_hub_is_out_here(world, server):
    cookie = server.cookie(session="S1")
    address = f"{server.base}app/"

    def status(cookies: str) -> int:
        return ask(world.gateway.port, "GET", address, {**PAGE, "Cookie": cookies}).status

    assert status(f"{cookie}; jupyterhub-session-id=S1") == 200
    # The hub took its session cookie away, or somebody else signed in with the same browser.
    assert status(cookie) == 302
    assert status(f"{cookie}; jupyterhub-session-id=S2") == 302
