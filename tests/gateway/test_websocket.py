"""WebSockets through the gateway: the bytes of both sides, and nothing else gets in that way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
import threading
import time

import pytest
from aiohttp import WSMsgType, web

from .world import Reply, Server, ask, read_all, read_head, wait_for

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    """A browser's side of a WebSocket, frame by frame (RFC 6455 section 5)."""

    def __init__(
        self, port: int, target: str, *lines: str, host: str = "", origin: str = ""
    ) -> None:
        host = host or f"127.0.0.1:{port}"
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = [
            f"GET {target} HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *([f"Origin: {origin or f'http://{host}'}"] if origin != "none" else []),
            *lines,
        ]
        self.socket.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        self.head = read_head(self.socket).decode("latin-1")
        self.status = int(self.head.split()[1]) if self.head else 0

    def header(self, name: str) -> list[str]:
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return [value for key, _, value in lines if key.lower() == name.lower()]

    def send(self, opcode: int, payload: bytes, *, last: bool = True) -> None:
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 1 << 16:
            length = bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            length = bytes([0x80 | 127]) + struct.pack(">Q", size)
        mask = bytes(4)  # of zeros: the payload stays what it is
        self.socket.sendall(bytes([0x80 * last | opcode]) + length + mask + payload)

    def receive(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._exactly(8))[0]
        return first & 0x0F, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = self.socket.recv(min(1 << 20, size - len(received)))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)

    def body(self) -> bytes:
        return read_all(self.socket)

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def server(world) -> Server:
    return world.server()


@pytest.fixture(scope="module")
def cookie(server) -> str:
    return server.cookie()


@pytest.fixture
def connect(world, server, cookie):
    def connect_to(path: str, *lines: str, **more: str) -> WebSocket:
        return WebSocket(
            world.gateway.port, f"{server.base}app/{path}", f"Cookie: {cookie}", *lines, **more
        )

    return connect_to


@pytest.fixture(scope="module")
def echo(world) -> str:
    """A path that says everything back, and chooses `second` of the subprotocols."""

    async def say_back(request):
        ws = web.WebSocketResponse(protocols=("second",), max_msg_size=0, compress=True)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
        return ws

    return world.container.on(say_back)


# --- what passes ---------------------------------------------------------------------------------


def test_messages(connect, echo):
    with connect(echo) as ws:
        assert ws.status == 101
        for opcode, payload in ((TEXT, "où ?".encode()), (BINARY, bytes(range(256))), (TEXT, b"")):
            ws.send(opcode, payload)
            assert ws.receive() == (opcode, payload)


def test_a_message_in_fragments_with_a_ping_between(connect, echo):
    with connect(echo) as ws:
        ws.send(TEXT, b"one ", last=False)
        ws.send(PING, b"there?")
        ws.send(0, b"two ", last=False)
        ws.send(0, b"three")
        assert ws.receive() == (PONG, b"there?")
        assert ws.receive() == (TEXT, b"one two three")


def test_a_message_of_sixteen_megabytes(connect, echo):
    payload = os.urandom(1 << 16) * 256
    with connect(echo) as ws:
        sending = threading.Thread(target=ws.send, args=(BINARY, payload))
        sending.start()
        assert ws.receive() == (BINARY, payload)
        sending.join(10)


def test_the_container_chooses_the_subprotocol(world, connect, echo):
    with connect(echo, "Sec-WebSocket-Protocol: first, second") as ws:
        assert ws.header("Sec-WebSocket-Protocol") == ["second"]
    assert world.container.last.one("Sec-WebSocket-Protocol") == "first, second"


def test_no_extension_is_agreed_to(world, connect, echo):
    with connect(echo, "Sec-WebSocket-Extensions: permessage-deflate") as ws:
        assert ws.status == 101
        assert ws.header("Sec-WebSocket-Extensions") == []
    assert world.container.last.all("Sec-WebSocket-Extensions") == []


def test_the_containers_pings_reach_the_browser(world, connect):
    async def pings(request):
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await ws.ping(b"there?")
        answer = await ws.receive()
        await ws.send_str(f"{answer.type.name} {answer.data.decode()}")
        return ws

    with connect(world.container.on(pings)) as ws:
        assert ws.receive() == (PING, b"there?")
        ws.send(PONG, b"there?")
        assert ws.receive() == (TEXT, b"PONG there?")


def test_the_browsers_close_code_reaches_the_container(world, connect):
    codes: list[object] = []

    async def notes(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        codes.append(ws.close_code)
        return ws

    with connect(world.container.on(notes)) as ws:
        ws.send(CLOSE, struct.pack(">H", 4321) + b"enough")
        assert ws.receive()[0] == CLOSE
        with pytest.raises(EOFError):
            ws.receive()
    wait_for(lambda: codes == [4321], "another code")


def test_the_containers_close_code_reaches_the_browser(world, connect):
    async def closes(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str("the last")
        await ws.close(code=4001, message=b"enough")
        return ws

    with connect(world.container.on(closes)) as ws:
        assert ws.receive() == (TEXT, b"the last")
        assert ws.receive() == (CLOSE, struct.pack(">H", 4001) + b"enough")
        ws.send(CLOSE, struct.pack(">H", 4001))
        with pytest.raises(EOFError):
            ws.receive()


def test_a_container_that_dies_ends_the_browsers_connection(world, connect):
    async def dies(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str("bye")
        request.transport.abort()
        return ws

    with connect(world.container.on(dies)) as ws:
        assert ws.receive() == (TEXT, b"bye")
        with pytest.raises((EOFError, ConnectionResetError)):
            ws.receive()


def test_a_browser_that_leaves_ends_the_containers_connection(world, connect):
    ended = threading.Event()

    async def waits(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        try:
            await ws.receive()
        finally:
            ended.set()
        return ws

    with connect(world.container.on(waits)) as ws:
        assert ws.status == 101
    assert ended.wait(3)


def test_a_browser_that_leaves_before_the_answer_ends_it_too(world, connect):
    begun, ended = threading.Event(), threading.Event()

    def ponders(connection: socket.socket, head: bytes) -> None:
        begun.set()
        if not connection.recv(1):
            ended.set()

    server = world.server(world.raw_container(ponders).url)
    lines = (
        f"GET {server.base}app/x HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nCookie: {server.cookie()}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", world.gateway.port)) as browser:
        browser.sendall(lines.encode())
        assert begun.wait(3)
    assert ended.wait(3)


def test_small_messages_do_not_wait_for_each_other(world, connect):
    """A terminal's output comes in small pieces: Nagle's algorithm would hold each for 40 ms."""

    async def talks(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for _ in range(30):
            await ws.send_str(str(time.monotonic()))
            await asyncio.sleep(0.005)
        return ws

    with connect(world.container.on(talks)) as ws:
        delays = [-(float(ws.receive()[1]) - time.monotonic()) for _ in range(30)]
    assert sorted(delays)[15] < 0.02, delays


def test_memory_does_not_grow_when_one_side_is_slow(world, connect):
    """Neither a container that reads nothing nor a browser that does fills the gateway."""

    async def sends_and_reads_nothing(request):
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        while True:
            await ws.send_bytes(bytes(1 << 20))

    path = world.container.on(sends_and_reads_nothing)
    before = world.gateway.rss()
    with connect(path) as ws:
        ws.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(100):
                ws.send(BINARY, bytes(1 << 20))
            pytest.fail("100 MB went to a container that reads nothing")
        assert world.gateway.rss() - before < 20 << 20


# --- what is refused -----------------------------------------------------------------------------


def _ask_for_websocket(world, server: Server, path: str) -> Reply:
    """As an ordinary request, for what is answered with one."""
    headers = {
        "Cookie": server.cookie(),
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Origin": f"http://127.0.0.1:{world.gateway.port}",
    }
    return ask(world.gateway.port, "GET", f"{server.base}app/{path}", headers)


def test_a_refusal_is_passed_on(world, server):
    async def refuses(request):
        return web.Response(status=403, text="not you", headers={"X-Why": "because"})

    reply = _ask_for_websocket(world, server, world.container.on(refuses))
    assert (reply.status, reply.body) == (403, b"not you")
    assert reply.one("X-Why") == "because"
    assert reply.one("Connection") == "close"


def test_a_refusal_in_chunks_is_passed_on(world):
    def refuses(connection: socket.socket, head: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nnot you\r\n0\r\n\r\n"
        )
        connection.recv(1)  # it does not close the connection: the answer has an end

    reply = _ask_for_websocket(world, world.server(world.raw_container(refuses).url), "x")
    assert (reply.status, reply.body) == (403, b"not you")


@pytest.mark.parametrize("first", ["100 Continue", "103 Early Hints", "100"])
def test_nothing_gets_past_behind_an_informational_answer(world, first):
    """What follows it is the answer, and bears neither our cookies nor a kept connection.

    The proxy uses its connections to the gateway for everybody: one that is not closed here would
    lead the next person's request, cookies and all, straight to this container.
    """

    def tricks(connection: socket.socket, head: bytes) -> None:
        connection.sendall(
            f"HTTP/1.1 {first}\r\n\r\n"
            "HTTP/1.1 200 OK\r\nSet-Cookie: jupyterhub-session-id=evil; Path=/\r\n"
            "Connection: keep-alive\r\nClear-Site-Data: *\r\nContent-Length: 2\r\n\r\nok".encode()
        )
        connection.recv(1000)

    server = world.server(world.raw_container(tricks).url)
    with WebSocket(world.gateway.port, f"{server.base}app/x", f"Cookie: {server.cookie()}") as ws:
        ws.socket.settimeout(0.5)
        answer = ws.head.encode() + ws.body()
    assert b"jupyterhub-session-id" not in answer
    assert b"Clear-Site-Data" not in answer
    assert b"keep-alive" not in answer.lower()
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 "))


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 101\r\n\r\n", b"HTTP/1.1 101 OK\r\nX y: z\r\n\r\n",
     b"HTTP/1.1 101 OK\r\nX: " + b"a" * 70_000],
)  # fmt: skip
def test_what_is_no_answer_is_said_to_be_none(world, answer):
    server = world.server(world.raw_container(lambda it, head: it.sendall(answer)).url)
    with WebSocket(world.gateway.port, f"{server.base}app/x", f"Cookie: {server.cookie()}") as ws:
        assert ws.status == 502
    assert "Traceback" not in world.gateway.log()


def test_a_port_where_nothing_listens(world):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = world.server(f"http://127.0.0.1:{port}")
    reply = _ask_for_websocket(world, server, "x")
    assert (reply.status, reply.code) == (502, "interface-lost")


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "none", "http://127.0.0.1:1"])
def test_another_site_opens_none(world, connect, echo, origin):
    before = len(world.container.asked)
    with connect(echo, origin=origin) as ws:
        assert ws.status == 403
    assert len(world.container.asked) == before


def test_a_token_opens_one_from_anywhere(world, server, echo):
    """No browser sends a header that a page of another site did not set itself."""
    with WebSocket(
        world.gateway.port,
        f"{server.base}app/{echo}",
        f"Authorization: token {server.token()}",
        origin="none",
    ) as ws:
        assert ws.status == 101
    assert world.container.last.all("Authorization") == []


def test_who_is_signed_out_opens_none(world, server, echo):
    with WebSocket(world.gateway.port, f"{server.base}app/{echo}") as ws:
        assert ws.status == 401


@pytest.mark.parametrize(
    "head",
    [
        "POST {} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n",
        "GET {} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n",
        "POST {} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Transfer-Encoding: chunked\r\n",
        "GET {} HTTP/1.1\r\nUpgrade: websocket\r\n",
        "GET {} HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    ],
)
def test_what_is_no_request_for_a_websocket_is_an_ordinary_one(world, server, cookie, head):
    """No connection becomes a tunnel that the proxy before us takes for one of its own."""
    before = len(world.container.asked)
    host = f"127.0.0.1:{world.gateway.port}"
    body = "5\r\nhello\r\n0\r\n\r\n" if "chunked" in head else "hello" if "Length" in head else ""
    lines = head.replace("{}", f"{server.base}app/x") + (
        f"Host: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\n\r\n{body}"
    )
    with socket.create_connection(("127.0.0.1", world.gateway.port), 3) as connection:
        connection.sendall(lines.encode())
        answer = read_head(connection)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert len(world.container.asked) == before + 1
    assert world.container.last.all("Upgrade") == []
    assert world.container.last.body == (b"hello" if body else b"")


def test_the_gateways_log_is_clean(world):
    assert "Traceback" not in world.gateway.log()
    assert "never retrieved" not in world.gateway.log()
