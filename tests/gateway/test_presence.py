"""What the hub is told of people at work."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from .test_websocket import BINARY, PING, TEXT, WebSocket
from .world import GatewayProcess, Server, ask, broken, wait_for

OFTEN = """
import dataclasses
from mydocker_hub.services.gateway.state import Settings
usual = Settings.from_environ()
Settings.from_environ = lambda: dataclasses.replace(usual, presence_seconds=0.2)
"""
SILENCE = 0.5  # seconds: two rounds


@pytest.fixture(scope="module")
def often(world) -> GatewayProcess:
    """A gateway that reports every 0.2 seconds instead of every minute."""
    return world.new_gateway(before=OFTEN).start()


@pytest.fixture
def server(world, often) -> Server:
    server = world.server()
    server.push(often)
    world.hub.activity.clear()
    return server


def reports(server: Server) -> list[tuple[str, dict, str]]:
    """What was said of this server."""
    name = server.route["server"]
    return [one for one in server.world.hub.activity if name in one[1]["servers"]]


def visit(often: GatewayProcess, server: Server, method: str = "GET", path: str = "x", **headers):
    sent = {"Authorization": f"token {server.token()}", **headers}
    assert ask(often.port, method, f"{server.base}app/{path}", sent).status == 200


def test_a_visit_is_reported_with_the_servers_own_token(often, server):
    began = datetime.now(UTC)
    visit(often, server)
    wait_for(lambda: reports(server), "nothing was reported")
    ((name, body, authorization),) = reports(server)
    assert name == "alice"
    assert authorization == f"token {server.route['token']}"
    assert set(body) == {"servers", "last_activity"}
    at = datetime.fromisoformat(body["last_activity"])
    assert began - timedelta(seconds=1) < at < datetime.now(UTC)
    assert body["servers"] == {server.route["server"]: {"last_activity": body["last_activity"]}}
    time.sleep(SILENCE)
    assert len(reports(server)) == 1  # nobody did anything since


def test_much_is_reported_once_in_an_interval(often, server):
    began = time.monotonic()
    for _ in range(30):
        visit(often, server)
        time.sleep(0.01)
    time.sleep(0.3)
    rounds = (time.monotonic() - began) / 0.2
    assert 1 <= len(reports(server)) <= rounds + 1


def test_what_pages_do_on_their_own_is_not(often, server):
    """First that it works with somebody: a POST counts, a poll does not."""
    fetch = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
    visit(often, server, "POST", "api/contents/x", **fetch)
    wait_for(lambda: reports(server), "nothing was reported")
    server.world.hub.activity.clear()
    visit(often, server, "GET", "api/kernels", **fetch)
    visit(often, server, "HEAD", "api/kernels", **fetch)
    visit(
        often, server, "GET", "frame", **{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    )
    visit(often, server, "PUT", "lab/api/workspaces/default", **fetch)
    time.sleep(SILENCE)
    assert reports(server) == []


def test_who_may_not_enter_is_nobody_at_work(often, server):
    ask(often.port, "GET", f"{server.base}app/")
    other = server.world.hub.token("bob", "bob/x")
    ask(often.port, "POST", f"{server.base}app/", {"Authorization": f"token {other}"}, b"x")
    time.sleep(SILENCE)
    assert reports(server) == []


def test_an_open_websocket_is_nobody_but_what_is_sent_is(often, server):
    async def beats(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        while not ws.closed:
            await ws.send_str("beat")
            await asyncio.sleep(0.05)
        return ws

    path = server.world.container.on(beats)
    token = f"Authorization: token {server.token()}"
    with WebSocket(often.port, f"{server.base}app/{path}", token) as ws:
        assert ws.status == 101
        ws.send(PING, b"")
        ws.send(BINARY, b"\3\0\0\0\0\0\0\0\0\0")  # a desktop's viewer asks for the next picture
        time.sleep(SILENCE)
        assert reports(server) == []
        ws.send(TEXT, b"print(1)")
        wait_for(lambda: reports(server), "nothing was reported")


def test_a_hub_that_is_away_is_told_later(often, server):
    server.world.hub.broken = True
    try:
        server.world.gateway
        token = server.token()
        server.world.hub.broken = False
        visit(often, server)  # who asks is known from now on
        sent = {"Authorization": f"token {token}"}
        assert ask(often.port, "GET", f"{server.base}app/", sent).status == 200
        time.sleep(0.5)
        server.world.hub.activity.clear()
        server.world.hub.broken = True
        assert ask(often.port, "GET", f"{server.base}app/", sent).status == 200
        at = datetime.now(UTC)
        time.sleep(0.7)
        assert reports(server) == []
    finally:
        server.world.hub.broken = False
    wait_for(lambda: reports(server), "it was forgotten")
    said = datetime.fromisoformat(reports(server)[0][1]["last_activity"])
    assert abs(said - at) < timedelta(seconds=0.3)  # when it was, not when it was told


def test_the_last_word_at_the_end(world):
    """An ordinary gateway, that would report in a minute."""
    process = world.new_gateway().start()
    servers = [world.server(user=user) for user in ("alice", "zoé@univ.fr")]
    for server in servers:
        server.push(process)
        for _ in range(3):
            visit(process, server)
    world.hub.activity.clear()
    assert process.stop() < 5
    assert sorted(name for name, _, _ in world.hub.activity) == ["alice", "zoé@univ.fr"]
    assert all(len(reports(server)) == 1 for server in servers)
    assert "Traceback" not in process.log()


def test_a_websocket_ends_when_its_right_does(world):
    """Looked at every minute; here every 0.2 seconds."""
    process = world.new_gateway(
        before="from mydocker_hub.services.gateway import access, door\n"
        "door._WATCH_SECONDS, access._FRESH_SECONDS = 0.2, 0"
    ).start()

    async def waits(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        return ws

    path = world.container.on(waits)

    def opened(server: Server, token: str) -> WebSocket:
        server.push(process)
        ws = WebSocket(process.port, f"{server.base}app/{path}", f"Authorization: token {token}")
        assert ws.status == 101
        ws.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ws.receive()
        return ws

    server = world.server()
    token = server.token("bob")
    with opened(server, token) as ws:
        with broken(world.hub), pytest.raises(TimeoutError):
            ws.receive()  # a hub that is away takes nothing back
        world.hub.people[token]["scopes"] = []
        ws.socket.settimeout(3)
        with pytest.raises(EOFError):
            ws.receive()
    server = world.server()
    with opened(server, server.token()) as ws:
        server.route["launch_id"] += 1000  # it was started again
        server.push(process)
        ws.socket.settimeout(3)
        with pytest.raises(EOFError):
            ws.receive()
    process.stop()
