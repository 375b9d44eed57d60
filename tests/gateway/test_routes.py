"""Which servers run: what the hub says, what the gateway asks, and what happens in between."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import threading
import time

import pytest
from aiohttp import web

from .world import SECRET, Browser, ask, broken, wait_for

HONEST = {"Authorization": f"Bearer {SECRET}"}


def get(port: int, server, path: str = "app/x", **headers: str):
    sent = headers or {"Authorization": f"token {server.token()}"}
    return ask(port, "GET", f"{server.base}{path}", sent)


def forget(world, server) -> None:
    """The hub stops the server, and says so."""
    del world.hub.routes[server.route["user"], server.route["server"]]
    reply = ask(world.gateway.port, "DELETE", f"/-/routes/{server.name}", HONEST)
    assert reply.status == 204


# --- the hub's door ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x"}, {"Authorization": SECRET},
     {"Authorization": f"Basic {SECRET}"}, {"Authorization": f"Bearer {SECRET}x"},
     {"Authorization": "Bearer \xe9"}],
)  # fmt: skip
def test_the_hubs_door_asks_for_the_secret(world, headers):
    server = world.server(known=False)
    del world.hub.routes["alice", server.route["server"]]
    body = json.dumps(server.route).encode()
    for method, path in (
        ("PUT", "/-/routes"),
        ("DELETE", "/-/routes/alice/x"),
        ("GET", "/-/routes"),
    ):
        reply = ask(world.gateway.port, method, path, headers, body)
        assert (reply.status, reply.code) == (401, "sign-in-needed")
    assert get(world.gateway.port, server).status == 404


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"user": "alice"}', b"\xff", b"[" * 100_000]
)
def test_routes_that_are_none(world, body):
    reply = ask(world.gateway.port, "PUT", "/-/routes", HONEST, body)
    assert (reply.status, reply.code) == (422, "invalid")
    assert "Traceback" not in world.gateway.log()


def test_a_route_comes_and_goes(world):
    server = world.server()
    cookie = {"Cookie": server.cookie()}
    assert ask(world.gateway.port, "GET", f"{server.base}app/", cookie).status == 200
    before = len(world.container.asked)
    forget(world, server)
    for _ in range(3):
        reply = ask(world.gateway.port, "GET", f"{server.base}app/", cookie)
        assert (reply.status, reply.code) == (404, "server-not-running")
    assert len(world.container.asked) == before


def test_a_server_that_was_never_there_can_be_removed(world):
    assert ask(world.gateway.port, "DELETE", "/-/routes/no/one", HONEST).status == 204


def test_names_with_escapes(world):
    server = world.server(user="zoé@univ.fr", name="lab")
    assert get(world.gateway.port, server).status == 200
    path = "/-/routes/zo%C3%A9%40univ.fr/lab"
    del world.hub.routes["zoé@univ.fr", "lab"]
    assert ask(world.gateway.port, "DELETE", path, HONEST).status == 204
    assert get(world.gateway.port, server).status == 404


@pytest.mark.parametrize(
    "path",
    ["/", "/user/", "/user/alice", "/user/alice/lab", "/user//lab/", "/user/alice//app/",
     "//user/alice/lab/", "/user/alice/../bob/lab/", "/user/%00/%00/", "/-/", "/-/routes/alice",
     "/hub/home"],
)  # fmt: skip
def test_addresses_where_no_server_is(world, path):
    reply = ask(world.gateway.port, "GET", path)
    assert (reply.status, reply.code) == (404, "server-not-running")


# --- asking the hub ------------------------------------------------------------------------------


def wait_until_it_asks_again(hub) -> None:
    """It does so every two seconds at most."""
    wait_for(lambda: time.monotonic() - hub.routes_asked_at > 2.1, "it asks all the time")


def test_an_unknown_server_makes_the_gateway_ask_but_not_often(world, hub):
    wait_until_it_asks_again(hub)
    before = hub.asked_for("/hub/api/mydocker/routes")
    new = world.server(known=False)
    assert get(world.gateway.port, new).status == 200
    assert hub.asked_for("/hub/api/mydocker/routes") == before + 1
    for n in range(30):
        assert ask(world.gateway.port, "GET", f"/user/alice/no{n}/").status == 404
    assert hub.asked_for("/hub/api/mydocker/routes") <= before + 2


def test_what_the_hub_says_later_wins_over_what_it_said_before(world, hub):
    """A DELETE while the hub's answer, made before, is on its way."""
    wait_until_it_asks_again(hub)
    server = world.server()
    token = server.token()
    asked, go_on = threading.Event(), threading.Event()

    async def slow() -> None:
        hub.before_routes = None
        asked.set()
        await asyncio.to_thread(go_on.wait, 10)

    hub.before_routes = slow
    waiting = threading.Thread(target=get, args=(world.gateway.port, world.server(known=False)))
    waiting.start()
    assert asked.wait(5)  # the answer holds the server
    forget(world, server)
    go_on.set()
    waiting.join(10)
    reply = ask(
        world.gateway.port, "GET", f"{server.base}app/", {"Authorization": f"token {token}"}
    )
    assert reply.status == 404


def test_servers_whose_names_begin_alike(world):
    one, other = world.server(name="r"), world.server(name="r-studio")
    assert get(world.gateway.port, one).status == 200
    forget(world, one)
    assert get(world.gateway.port, one).status == 404
    assert get(world.gateway.port, other).status == 200
    reply = ask(world.gateway.port, "GET", "/user/alice/r", HONEST)
    assert reply.status == 404


def test_a_server_that_was_started_again_has_another_secret(world):
    server = world.server(sign_in="jupyter")
    cookie = {"Cookie": server.cookie()}
    server.route.update(secret="the-new-secret", token="the-new-token", launch_id=10**6)
    server.push(world.gateway)
    assert ask(world.gateway.port, "GET", f"{server.base}app/", cookie).status == 200
    assert world.container.last.one("Authorization") == "token the-new-secret"
    assert server.signed_in("alice")  # with the new token as the client's secret


# --- restarts ------------------------------------------------------------------------------------


def test_a_gateway_that_starts_again_knows_everybody(world, hub):
    server = world.server(known=False)
    process = world.new_gateway().start()
    browser = Browser(process.port, f"127.0.0.1:{process.port}")
    _, reply = browser.follow(f"{server.base}app/x", hub, "alice", server.name)
    assert reply.status == 200
    process.stop(9)  # it dies
    process.start()
    assert browser.get(f"{server.base}app/x").status == 200  # the same cookie
    seconds = process.stop()
    assert seconds < 5
    assert "Traceback" not in process.log()


def test_while_the_hub_has_said_nothing_yet(world, hub):
    """503, which programs try again: a 404 would tell JupyterLab that its kernel is gone."""
    server = world.server(known=False)
    with broken(hub):
        process = world.new_gateway().start()
        for address in (f"{server.base}app/", "/user/no/body/"):
            reply = ask(process.port, "GET", address)
            assert (reply.status, reply.code) == (503, "hub-unavailable")
            assert reply.one("Retry-After")
    assert get(process.port, server).status == 200
    with broken(hub):
        assert ask(process.port, "GET", "/user/no/body/").status == 404
    process.stop()


def test_it_ends_while_people_are_connected(world):
    process = world.new_gateway().start()
    server = world.server()
    server.push(process)

    async def endless(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"data: x\n\n")
            await asyncio.sleep(0.05)

    path = world.container.on(endless)
    idle = world.container.open
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=5)
    headers = {"Authorization": f"token {server.token()}"}
    connection.request("GET", f"{server.base}app/{path}", headers=headers)
    assert connection.getresponse().status == 200
    assert process.stop() < 7
    assert "Traceback" not in process.log()
    connection.close()
    wait_for(lambda: world.container.open <= idle, "the container goes on for nobody")


# --- ports ---------------------------------------------------------------------------------------


def test_a_program_on_a_port_of_its_own(world, hub):
    server = world.server(sign_in="jupyter")
    name = server.route["server"]
    hub.ports["alice", name, 8000] = world.container.url
    asked = f"/hub/api/mydocker/routes/alice/{name}/ports/8000"
    for _ in range(3):
        assert get(world.gateway.port, server, "proxy/8000/a%2Fb?c=d").status == 200
    got = world.container.last
    assert got.target == "/a%2Fb?c=d"
    assert got.one("X-Forwarded-Prefix") == f"{server.base}proxy/8000"
    assert got.all("Authorization") == []  # no secret for what is not the image's
    assert hub.asked_for(asked) == 1
    path = world.container.says(302, [("Location", "/there"), ("Set-Cookie", "a=1; Path=/")])
    reply = get(world.gateway.port, server, f"proxy/8000/{path}")
    assert reply.one("Location") == f"{server.base}proxy/8000/there"
    assert reply.one("Set-Cookie") == f"a=1; Path={server.base}proxy/8000/"


def test_ports_that_nothing_can_be_asked_of(world, hub):
    server = world.server()
    name = server.route["server"]
    reply = get(world.gateway.port, server, "proxy/8001/")
    assert (reply.status, reply.code) == (501, "port-out-of-reach")
    assert json.loads(reply.body)["params"] == {"port": "8001"}
    hub.ports["alice", name, 8002] = "http://127.0.0.1:1"
    reply = get(world.gateway.port, server, "proxy/8002/")
    assert (reply.status, reply.code) == (502, "port-silent")
    assert "8002" in json.loads(reply.body)["detail"]
    page = get(
        world.gateway.port,
        server,
        "proxy/8002/",
        **{"Accept": "text/html", "Accept-Language": "fr", "Cookie": server.cookie()},
    )
    assert page.status == 502
    assert b"port-silent" in page.body
    for path in ("proxy/0/", "proxy/65536/", "proxy/080/", "proxy/x/", "proxy/8002%2F/", "nothing"):
        assert get(world.gateway.port, server, path).status == 404, path


def test_the_servers_own_address(world):
    """With one interface below it, the page that shows them all is the catalogue's."""
    server = world.server()
    assert get(world.gateway.port, server, "").one("Location") == (
        f"/services/catalogue/open/{server.route['server']}"
    )
    token = server.token("bob")  # who was let in has no such page
    reply = get(world.gateway.port, server, "", Authorization=f"token {token}")
    assert reply.one("Location") == f"{server.base}app/"
    whole = world.server(prefix="")
    assert get(world.gateway.port, whole, "anything").status == 200
    assert get(world.gateway.port, whole, "").status == 200


def test_many_servers_at_once(world):
    """Each request reaches its own."""
    servers = [world.server(sign_in="jupyter") for _ in range(8)]
    wrong: list[str] = []

    def use(server) -> None:
        token = server.token()
        for n in range(5):
            path = f"app/{server.route['server']}-{n}"
            get(world.gateway.port, server, path, Authorization=f"token {token}")

    before = len(world.container.asked)
    threads = [threading.Thread(target=use, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    secrets_by_name = {server.route["server"]: server.secret for server in servers}
    for got in itertools.islice(world.container.asked, before, None):
        name = got.target.strip("/").partition("-")[0]
        if got.one("Authorization") != f"token {secrets_by_name[name]}":
            wrong.append(got.target)
    assert wrong == []
    assert len(world.container.asked) == before + 40


def test_the_last_slash_may_be_left_out(world):
    server = world.server()
    address = server.base.rstrip("/")
    reply = ask(world.gateway.port, "GET", f"{address}?a=1")
    assert reply.status == 302
    assert ("Location", f"{server.base}?a=1") in reply.headers
