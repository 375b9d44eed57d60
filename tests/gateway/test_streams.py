"""A gigabyte each way, in constant memory; slow readers and writers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from aiohttp import web

from .world import Server, read_head, wait_for

GIB = 1 << 30
PIECE = bytes(1 << 20)
MOST = 50 << 20


class Watch:
    """The most memory that a process took meanwhile, above what it had."""

    def __init__(self, process) -> None:
        self._process = process
        self._before = self.most = process.rss()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self._process.rss())

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self.seconds = time.monotonic() - self._began

    @property
    def grown(self) -> int:
        return self.most - self._before

    def __str__(self) -> str:
        return f"memory grew by {self.grown / 1e6:.1f} MB in {self.seconds:.2f} s"


def _ask(world, server: Server, method: str, *lines: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", world.gateway.port), 20)
    head = [
        f"{method} {server.base}app/x HTTP/1.1",
        "Host: h",
        f"Cookie: {server.cookie()}",
        *lines,
    ]
    connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    return connection


def _read(connection: socket.socket, size: int) -> int:
    """Read so many bytes and forget them; how many came."""
    buffer = bytearray(1 << 20)
    got = 0
    while got < size and (piece := connection.recv_into(buffer, min(len(buffer), size - got))):
        got += piece
    return got


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gigabyte_down(world, framing):
    def sends(connection: socket.socket, head: bytes) -> None:
        if framing == "length":
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n".encode())
            for _ in range(GIB // len(PIECE)):
                connection.sendall(PIECE)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
            for _ in range(GIB // len(PIECE) // 8):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")

    server = world.server(world.raw_container(sends).url)
    with Watch(world.gateway) as watch, _ask(world, server, "GET", "Connection: close") as browser:
        head = read_head(browser)
        assert b" 200 " in head
        if framing == "length":
            assert _read(browser, GIB) == GIB
        else:
            assert _read(browser, GIB) >= GIB // 8
    print(framing, watch)
    assert watch.grown < MOST, watch


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gigabyte_up(world, framing):
    size = GIB if framing == "length" else GIB // 8
    got: list[int] = []

    def takes(connection: socket.socket, head: bytes) -> None:
        buffer = bytearray(1 << 20)
        count = 0
        if framing == "length":
            count = _read(connection, size)
        else:
            while piece := connection.recv_into(buffer):
                count += piece
                if bytes(buffer[max(0, piece - 5) : piece]) == b"0\r\n\r\n":
                    break
        got.append(count)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server = world.server(world.raw_container(takes).url)
    lines = [f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"]
    with Watch(world.gateway) as watch, _ask(world, server, "PUT", *lines) as browser:
        for _ in range(size // len(PIECE)):
            browser.sendall(PIECE if framing == "length" else b"%x\r\n%b\r\n" % (1 << 20, PIECE))
        if framing == "chunked":
            browser.sendall(b"0\r\n\r\n")
        assert b" 200 " in read_head(browser)
    print(framing, watch)
    assert got[0] == size if framing == "length" else got[0] > size
    assert watch.grown < MOST, watch


def test_a_browser_that_reads_slowly_holds_the_container_back(world):
    sent: list[int] = []

    def sends(connection: socket.socket, head: bytes) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n".encode())
        for n in range(GIB // len(PIECE)):
            connection.sendall(PIECE)
            sent.append(n)

    server = world.server(world.raw_container(sends).url)
    with Watch(world.gateway) as watch, _ask(world, server, "GET") as browser:
        read_head(browser)
        time.sleep(0.7)
        first = len(sent)
        time.sleep(0.3)
        assert len(sent) == first  # it stands still
    assert watch.grown < MOST, watch


def test_a_container_that_reads_slowly_holds_the_browser_back(world):
    go_on = threading.Event()

    def takes(connection: socket.socket, head: bytes) -> None:
        go_on.wait(10)

    server = world.server(world.raw_container(takes).url)
    lines = f"Content-Length: {GIB}"
    with Watch(world.gateway) as watch, _ask(world, server, "PUT", lines) as browser:
        browser.settimeout(0.7)
        with contextlib.suppress(TimeoutError):
            for _ in range(200):
                browser.sendall(PIECE)
            pytest.fail("200 MB went to a container that reads nothing")
    go_on.set()
    assert watch.grown < MOST, watch


def test_many_uploads_that_are_refused_take_no_memory(world):
    async def refuses(request):
        return web.Response(status=413, text="too large")

    path = world.container.on(refuses)
    server = world.server()
    cookie = server.cookie()
    size = 64 << 20

    def upload() -> None:
        with socket.create_connection(("127.0.0.1", world.gateway.port), 20) as browser:
            browser.sendall(
                f"POST {server.base}app/{path} HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n"
                f"Content-Length: {size}\r\n\r\n".encode()
            )
            for _ in range(size // len(PIECE)):
                browser.sendall(PIECE)
            statuses.append(read_head(browser).split()[1])

    statuses: list[bytes] = []
    with Watch(world.gateway) as watch:
        threads = [threading.Thread(target=upload) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert statuses == [b"413"] * 6
    assert watch.grown < MOST, watch
    wait_for(lambda: world.container.open == 0, "still open")
