"""Where one request ends and the next begins: nobody slips one past the proxy or the gateway."""

from __future__ import annotations

import socket

import pytest

from .world import Server, raw, read_all, read_head


@pytest.fixture(scope="module")
def server(world) -> Server:
    return world.server()


@pytest.fixture(scope="module")
def cookie(server) -> str:
    return server.cookie()


@pytest.fixture
def send(world, server, cookie):
    """Send a request with these lines and this body; all that is answered."""

    def send_it(lines: str, body: str = "", start: str = "POST {} HTTP/1.1") -> bytes:
        head = start.replace("{}", f"{server.base}app/x")
        data = f"{head}\r\nHost: h\r\nCookie: {cookie}\r\n{lines}\r\n{body}"
        return raw(world.gateway.port, data.encode("latin-1"), seconds=0.5)

    return send_it


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + SMUGGLED),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n" + SMUGGLED),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 4, 5\r\n", "hello"),
        ("Content-Length: +4\r\n", "hell"),
        ("Content-Length: -1\r\n", "hell"),
        ("Content-Length: 0x4\r\n", "hell"),
        ("Content-Length: 4_0\r\n", "hell"),
        ("Content-Length: \xb2\r\n", "hell"),
        ("Content-Length : 4\r\n", "hell"),
        ("Content-Length: 99999999999999999999999\r\n", "hell"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5;" + "a" * 100 + "\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX0\r\n\r\n"),
        ("X: a\x00b\r\n", ""),
        ("X: a\rb\r\n", ""),
        ("X y: a\r\n", ""),
        (": a\r\n", ""),
        ("X\r\n", ""),
    ],
)
def test_what_two_could_read_differently_is_refused(world, send, lines, body):
    """With 400, and the connection ends: what follows is nobody's request."""
    world.container.asked.clear()
    answer = send(lines, body)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b"", answer
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"smuggled" not in answer
    assert all("smuggled" not in got.target for got in world.container.asked)
    assert all(got.body == b"" for got in world.container.asked)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),  # what the proxy may have doubled
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Transfer-Encoding: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("content-length: 5\r\n", "hello"),
    ],
)
def test_what_is_clear_arrives_with_one_length(world, send, lines, body):
    world.container.asked.clear()
    answer = send(lines + "Connection: close\r\n", body)
    assert answer.startswith(b"HTTP/1.1 200 ")
    (got,) = world.container.asked
    assert got.body == b"hello"
    assert len(got.all("Content-Length")) + len(got.all("Transfer-Encoding")) == 1


def test_a_folded_header_becomes_one_line(world, send):
    """RFC 9112 section 5.2 lets one do so; no line of the container's begins with a space."""
    world.container.asked.clear()
    answer = send("X-Folded: a\r\n Transfer-Encoding: chunked\r\nConnection: close\r\n")
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    for got in world.container.asked:
        assert got.one("X-Folded") == "a Transfer-Encoding: chunked"
        assert got.all("Transfer-Encoding") == []


def test_lines_that_end_with_a_line_feed_alone_are_lines(world, server, cookie):
    """Tornado reads them as such, so that they are sent on as lines."""
    world.container.asked.clear()
    lines = [f"GET {server.base}app/x HTTP/1.1", "Host: h", f"Cookie: {cookie}", "X-One: 1"]
    data = "\n".join([*lines, "Connection: close", "", ""])
    assert raw(world.gateway.port, data.encode()).startswith(b"HTTP/1.1 200 ")
    (got,) = world.container.asked
    assert got.one("X-One") == "1"


@pytest.mark.parametrize(
    "start",
    ["GET {} HTTP/2.0", "GET {}", "GET  {} HTTP/1.1", "GET {} HTTP/1.1 x", "G\x00T {} HTTP/1.1",
     "GET {}\x00 HTTP/1.1", "GET {}\tx HTTP/1.1", "G(T {} HTTP/1.1", "GET {} http/1.1"],
)  # fmt: skip
def test_first_lines_that_are_none(world, send, start):
    before = len(world.container.asked)
    answer = send("", start=start)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
    assert len(world.container.asked) == before


def test_an_address_with_bytes_that_are_no_ascii_stays_one_line(world, send):
    world.container.asked.clear()
    answer = send("Connection: close\r\n", start="GET {}/caf\xe9\xc3\xa9\x85 HTTP/1.1")
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ", b"HTTP/1.1 502 ")), answer
    assert len(world.container.asked) <= 1


def test_requests_that_come_together_are_answered_in_order(world, server, cookie):
    world.container.asked.clear()
    common = f"HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n"
    one = f"POST {server.base}app/ONE {common}Content-Length: 3\r\n\r\none"
    two = f"GET {server.base}app/TWO {common}Connection: close\r\n\r\n"
    answer = raw(world.gateway.port, (one + two).encode())
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert [got.target for got in world.container.asked] == ["/ONE", "/TWO"]
    assert world.container.asked[0].body == b"one"


def test_a_refused_body_is_not_the_next_request(world, server, cookie):
    """The body of what was refused is read as a body, whatever it looks like."""
    world.container.asked.clear()
    inner = f"GET {server.base}app/inner HTTP/1.1\r\nHost: h\r\nCookie: {cookie}\r\n\r\n"
    head = f"POST {server.base}app/x HTTP/1.1\r\nHost: h\r\nContent-Length: {len(inner)}\r\n\r\n"
    answer = raw(world.gateway.port, (head + inner).encode(), seconds=0.5)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert world.container.asked == []


def test_a_header_that_never_ends_is_cut(world, server, cookie):
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(f"GET {server.base}app/ HTTP/1.1\r\nHost: h\r\nX: ".encode())
        try:
            for _ in range(64):
                connection.sendall(b"a" * 4096)
        except OSError:
            pass
        assert not read_all(connection).startswith(b"HTTP/1.1 200")


def test_many_headers_up_to_the_limit(world, send):
    """60 kB of headers pass; the container decides what is too much for it."""
    many = "".join(f"X-{n}: {'a' * 500}\r\n" for n in range(100))
    answer = send(many + "Connection: close\r\n", start="GET {} HTTP/1.1")
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))


def test_a_connection_can_be_used_after_an_error(world, server, cookie):
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        for headers, status in (("", b"302"), (f"Cookie: {cookie}\r\n", b"200")):
            connection.sendall(
                f"GET {server.base}app/ HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode()
            )
            head = read_head(connection)
            assert head.split()[1] == status
            assert b"Content-Length: 0" in head


def test_the_gateways_log_is_clean(world):
    assert "Traceback" not in world.gateway.log()
