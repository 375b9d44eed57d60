"""With a wildcard domain: each port has an origin of its own, and a sign-in of its own."""

from __future__ import annotations

import hashlib
import threading
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from .test_websocket import WebSocket
from .world import WILDCARD, Browser, Server, ask, raw

HUB = "hub.test"


@pytest.fixture
def server(world, wild) -> Server:
    server = world.server()
    server.push(wild)
    return server


def origin_of(server: Server, port: int = 8888) -> str:
    return f"{port}-{server.route['label']}.{WILDCARD}"


def new_browser(wild, **more) -> Browser:
    return Browser(wild.port, HUB, **more)


def signed_in(world, wild, server: Server, person: str = "alice", port: int = 8888) -> Browser:
    browser = new_browser(wild)
    where, reply = browser.follow(
        f"http://{origin_of(server, port)}/", world.hub, person, server.name
    )
    assert (reply.status, where) == (200, f"http://{origin_of(server, port)}/")
    return browser


def at(browser: Browser, server: Server, path: str = "/") -> dict[str, str]:
    return {"Cookie": browser.cookie_header(origin_of(server), path)}


def test_from_the_hubs_address_to_the_origin(world, wild, hub, server):
    browser = new_browser(wild)
    where, reply = browser.follow(
        f"http://{HUB}{server.base}app/tree?a=b%20c", hub, "alice", server.name
    )
    assert (reply.status, where) == (200, f"http://{origin_of(server)}/tree?a=b%20c")
    got = world.container.last
    assert got.target == "/tree?a=b%20c"
    assert got.one("Host") == got.one("X-Forwarded-Host") == origin_of(server)
    assert got.all("X-Forwarded-Prefix") == got.all("Cookie") == []
    assert sorted((cookie.host, cookie.path) for cookie in browser.cookies) == [
        (origin_of(server), "/"),
        (HUB, server.base),
    ]
    assert "ticket" not in wild.log()


def test_the_hubs_address_itself_takes_nothing(world, wild, server):
    """The container answers at the hub's origin in no way."""
    browser = signed_in(world, wild, server)
    cookie = {"Cookie": browser.cookie_header(HUB, server.base)}
    before = len(world.container.asked)
    for method in ("POST", "PUT", "OPTIONS", "DELETE"):
        reply = ask(wild.port, method, f"{server.base}app/x", cookie, b"x", host=HUB)
        assert (reply.status, reply.code) == (405, "method-not-allowed")
    reply = ask(wild.port, "GET", f"{server.base}proxy/8000/x?y", cookie, host=HUB)
    assert reply.one("Location") == f"http://{origin_of(server, 8000)}/x?y"
    assert len(world.container.asked) == before


def test_whole_origins_are_the_containers(world, wild, server):
    browser = signed_in(world, wild, server)
    sent = [
        ("Set-Cookie", "own=1; Path=/"), ("Service-Worker-Allowed", "/"),
        ("Set-Cookie", "tossed=1; Domain=env.test; Path=/"), ("Clear-Site-Data", '"cache"'),
    ]  # fmt: skip
    reply = browser.get(f"http://{origin_of(server)}/{world.container.says(headers=sent)}")
    assert reply.all("Set-Cookie")[0] == "own=1; Path=/"
    assert "Domain" not in reply.all("Set-Cookie")[1]
    assert reply.one("Service-Worker-Allowed") == "/"
    assert reply.one("Clear-Site-Data") == '"cache"'


def test_a_port_that_is_not_declared(world, wild, hub, server):
    hub.ports["alice", server.route["server"], 8000] = world.container.url
    browser = signed_in(world, wild, server, port=8000)
    reply = browser.get(f"http://{origin_of(server, 8000)}//a%2Fb?c")
    assert reply.status == 200
    assert world.container.last.target == "//a%2Fb?c"


def test_the_sign_in_of_one_port_is_not_that_of_another(world, wild, server):
    cookie = at(signed_in(world, wild, server), server)
    assert ask(wild.port, "GET", "/", cookie, host=origin_of(server)).status == 200
    assert ask(wild.port, "GET", "/", cookie, host=origin_of(server, 8000)).status == 302
    other = world.server()
    other.push(wild)
    assert ask(wild.port, "GET", "/", cookie, host=origin_of(other)).status == 302
    # nor is the one at the hub's origin that of a port, nor the other way round
    hub_cookie = {"Cookie": signed_in(world, wild, server).cookie_header(HUB, server.base)}
    assert ask(wild.port, "GET", "/", hub_cookie, host=origin_of(server)).status == 302
    reply = ask(wild.port, "GET", f"{server.base}app/", cookie, host=HUB)
    assert "/hub/api/oauth2/authorize" in (reply.one("Location") or "")


def test_over_https_no_neighbour_can_set_the_cookie(world, wild, server):
    browser = new_browser(wild, scheme="https")
    reply = browser.get(f"http://{origin_of(server)}/")
    # what the front leads to is http; the browser's side is https
    location = reply.one("Location") or ""
    _, reply = browser.follow(location, world.hub, "alice", server.name)
    assert reply.status == 200
    assert "__Host-mydocker-server" in {cookie.name for cookie in browser.cookies}
    sealed = next(c.value for c in browser.cookies if c.name == "__Host-mydocker-server")
    sent = {"X-Forwarded-Proto": "https", "Cookie": f"mydocker-server={sealed}"}
    assert ask(wild.port, "GET", "/", sent, host=origin_of(server)).status == 302


# --- tickets -------------------------------------------------------------------------------------


def _ticket(world, wild, server: Server) -> tuple[Browser, str]:
    """A browser on its way from the hub to an origin, and the address with the ticket."""
    browser = signed_in(world, wild, server)
    browser.cookies = [cookie for cookie in browser.cookies if cookie.host == HUB]
    there = browser.get(f"http://{origin_of(server)}/wanted?a=b").one("Location") or ""
    assert urlsplit(there)[:3] == ("http", HUB, f"{server.base}oauth_origin")
    back = browser.get(there).one("Location") or ""
    assert urlsplit(back)[:3] == ("http", origin_of(server), "/.mydocker/sign-in")
    return browser, back


def interrupted(reply) -> bool:
    return reply.status == 400 and b"sign-in-interrupted" in reply.body


def test_a_ticket_is_used_once(world, wild, server):
    browser, back = _ticket(world, wild, server)
    cookies = list(browser.cookies)
    reply = browser.get(back)
    assert reply.one("Location") == f"http://{origin_of(server)}/wanted?a=b"
    browser.cookies = cookies
    assert interrupted(browser.get(back))


def test_two_at_once_do_not_share_a_ticket(world, wild, server):
    browser, back = _ticket(world, wild, server)
    statuses: list[int] = []
    cookie = {"Cookie": browser.cookie_header(origin_of(server), "/.mydocker/sign-in")}
    target = back.removeprefix(f"http://{origin_of(server)}")

    def use() -> None:
        statuses.append(ask(wild.port, "GET", target, cookie, host=origin_of(server)).status)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(statuses) == [302] + [400] * 7


def test_another_browser_cannot_use_a_ticket(world, wild, server):
    """Neither one without a note nor one with its own; and then it is used up."""
    browser, back = _ticket(world, wild, server)
    thief = new_browser(wild)
    assert interrupted(thief.get(back))
    assert interrupted(browser.get(back))
    browser, back = _ticket(world, wild, server)
    thief.get(f"http://{origin_of(server)}/")
    own = thief.cookies[0].name.removeprefix("mydocker-sign-in-")
    assert interrupted(thief.get(back.replace(parse_qs(urlsplit(back).query)["note"][0], own)))
    assert not [cookie for cookie in thief.cookies if cookie.name == "mydocker-server"]


def test_nobody_is_signed_in_as_somebody_else(world, wild, server):
    """Mallory leads Alice to a ticket of his own: she asked for none."""
    _, back = _ticket(world, wild, server)
    alice = new_browser(wild)
    assert interrupted(alice.get(back, {"Sec-Fetch-Site": "cross-site"}))


def test_a_ticket_for_one_origin_is_none_for_another(world, wild, server):
    browser, back = _ticket(world, wild, server)
    target = back.removeprefix(f"http://{origin_of(server)}")
    cookie = {"Cookie": browser.cookie_header(origin_of(server), "/.mydocker/sign-in")}
    assert ask(wild.port, "GET", target, cookie, host=origin_of(server, 8000)).status == 400


def test_what_a_ticket_was_not_made_for(world, wild, server):
    """`state` is the sender's: that of no proof at all is not enough."""
    browser = signed_in(world, wild, server)
    for proof in ("None", ""):
        state = hashlib.sha256(proof.encode()).hexdigest()
        reply = browser.get(f"http://{HUB}{server.base}oauth_origin?port=8888&state={state}&note=x")
        sealed = browser.cookie_header(origin_of(server), "/").partition("=")[2]
        target = (reply.one("Location") or "").removeprefix(f"http://{origin_of(server)}")
        cookie = {"Cookie": f"mydocker-sign-in-x={sealed}"}
        assert interrupted(ask(wild.port, "GET", target, cookie, host=origin_of(server)))
    for query in ("", "?ticket=x", "?ticket=x&note=%C3%A9", "?note=a;b"):
        reply = ask(wild.port, "GET", f"/.mydocker/sign-in{query}", host=origin_of(server))
        assert interrupted(reply)
    reply = browser.get(f"http://{HUB}{server.base}oauth_origin?port=8888&state=%C3%A9&note=x")
    assert interrupted(browser.get(reply.one("Location") or ""))


def test_a_ticket_ends(world, hub):
    gateway = world.new_gateway(
        MYDOCKER_PUBLIC_URL=f"http://{HUB}",
        MYDOCKER_WILDCARD_URL=f"http://*.{WILDCARD}",
        before="from mydocker_hub.services.gateway import signin\nsignin._TICKET_SECONDS = -1",
    ).start()
    server = world.server()
    server.push(gateway)
    browser = new_browser(gateway)
    where, reply = browser.follow(f"http://{origin_of(server)}/", hub, "alice", server.name)
    assert "/.mydocker/sign-in" in where
    assert interrupted(reply)
    gateway.stop()


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "99999", "123456", "-1", "8888@evil.test"])
def test_ports_that_are_none(world, wild, server, port):
    browser = signed_in(world, wild, server)
    reply = browser.get(f"http://{HUB}{server.base}oauth_origin?port={quote(port)}&state=x&note=x")
    if reply.status == 302:  # to an origin that is none either
        assert urlsplit(reply.one("Location") or "").netloc.endswith(f".{WILDCARD}")
        reply = browser.get(reply.one("Location") or "")
    assert reply.status == 404


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["//evil.test/x", "///evil.test", "/\\evil.test", "//evil.test@x/"]
)
def test_nobody_is_led_elsewhere_after_the_sign_in(world, wild, server, path):
    browser = new_browser(wild)
    reply = browser.get(f"http://{origin_of(server)}{path}")
    for _ in range(6):
        location = reply.one("Location") or ""
        if "/hub/api/oauth2/authorize" in location:
            location = f"http://{HUB}" + world.hub.authorize(location, "alice", server.name)
        elif location.startswith("/") and not location.startswith("//"):
            location = f"http://{HUB}{location}"
        assert urlsplit(location).netloc in {HUB, origin_of(server)}, location
        reply = browser.get(location)
        if reply.status == 200:
            break
    assert reply.status == 200
    assert world.container.last.target == path


@pytest.mark.parametrize(
    "target", ["@evil.test/", ":80@evil.test/", "x", "*", "9/", "?x", ".evil.test/"]
)
def test_an_address_is_never_part_of_a_containers(world, wild, server, target):
    """`GET @evil.test/` would make `http://127.0.0.1:8888@evil.test/` of a container's address."""
    cookie = at(signed_in(world, wild, server), server)["Cookie"]
    before = len(world.container.asked)
    for method in ("GET", "OPTIONS"):
        head = f"{method} {target} HTTP/1.1\r\nHost: {origin_of(server)}\r\nCookie: {cookie}\r\n"
        answer = raw(wild.port, f"{head}Connection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert len(world.container.asked) == before


@pytest.mark.parametrize(
    "host",
    ["evil.test", f"8888-unknown.{WILDCARD}", f"x.{WILDCARD}", f".{WILDCARD}", f"8888.{WILDCARD}",
     f"0-LABEL.{WILDCARD}", f"65536-LABEL.{WILDCARD}", f"\xb2-LABEL.{WILDCARD}",
     f"8888-LABEL.{WILDCARD}.", f"8888-LABEL.{WILDCARD}:81", f"8888-LABEL.evil.{WILDCARD}",
     f"8888-LABEL.{WILDCARD}.evil.test", f"x8888-LABEL.{WILDCARD}"],
)  # fmt: skip
def test_hosts_that_are_none(world, wild, server, host):
    """No Host header leads to the container without a sign-in for just that origin."""
    cookie = at(signed_in(world, wild, server), server)
    before = len(world.container.asked)
    host = host.replace("LABEL", server.route["label"])
    for target in ("/", f"{server.base}app/"):
        reply = ask(wild.port, "GET", target, cookie, host=host)
        assert reply.status in {302, 400, 404}
        if reply.status == 302:  # as at any name: to the hub's sign-in
            assert (reply.one("Location") or "").startswith("/hub/api/oauth2/authorize?")
    assert len(world.container.asked) == before


def test_a_host_in_capitals_is_the_same(world, wild, server):
    cookie = at(signed_in(world, wild, server), server)
    assert ask(wild.port, "GET", "/", cookie, host=origin_of(server).upper()).status == 200


@pytest.mark.parametrize("lines", ["Host: a\r\nHost: b\r\n", "Host: a,b\r\n", "Host: a/b\r\n", ""])
def test_a_host_that_is_not_one_is_refused(wild, lines):
    answer = raw(wild.port, f"GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")


# --- neighbours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Sec-Fetch-Site": "same-site", "Origin": "http://8888-bob.env.test"}),
        ("POST", {"Sec-Fetch-Site": "same-site"}),
        ("POST", {"Origin": "http://8888-bob.env.test"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": "http://x"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
    ],
)
def test_a_neighbour_on_the_domain_is_another_site(world, wild, server, method, headers):
    cookie = at(signed_in(world, wild, server), server)
    before = len(world.container.asked)
    reply = ask(wild.port, method, "/", {**headers, **cookie}, b"", host=origin_of(server))
    assert (reply.status, reply.code) == (403, "cross-site")
    assert len(world.container.asked) == before


def test_a_neighbour_opens_no_websocket(world, wild, server):
    cookie = at(signed_in(world, wild, server), server)["Cookie"]
    before = len(world.container.asked)
    host = origin_of(server)
    for origin in ("http://8888-bob.env.test", f"http://{HUB}", "none"):
        with WebSocket(wild.port, "/", f"Cookie: {cookie}", host=host, origin=origin) as ws:
            assert ws.status == 403
    assert len(world.container.asked) == before
    with WebSocket(wild.port, "/", f"Cookie: {cookie}", host=host) as ws:
        assert ws.status == 200  # the container has none, and was asked
    assert len(world.container.asked) == before + 1


def test_a_page_that_fetches_while_signed_out_is_told(wild, server):
    reply = ask(wild.port, "GET", "/x", {"Sec-Fetch-Mode": "cors"}, host=origin_of(server))
    assert (reply.status, reply.code) == (401, "sign-in-needed")


def test_the_wild_gateways_log_is_clean(wild):
    assert "Traceback" not in wild.log()
