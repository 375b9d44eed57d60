"""HTTP through the gateway: what is asked reaches the container as it was, and so the answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import http.client
import itertools
import socket
import threading
import time

import pytest
from aiohttp import web

from .world import Reply, Server, ask, raw, read_all, read_head, wait_for


@pytest.fixture(scope="module")
def server(world) -> Server:
    return world.server()


@pytest.fixture(scope="module")
def cookie(server) -> dict[str, str]:
    return {"Cookie": server.cookie()}


@pytest.fixture
def get(world, server, cookie):
    """Ask the server for something below its interface."""

    def ask_it(path="", headers=(), method="GET", body=None, **more) -> Reply:
        sent = [*cookie.items(), *(headers.items() if isinstance(headers, dict) else headers)]
        return ask(world.gateway.port, method, f"{server.base}app/{path}", sent, body=body, **more)

    return ask_it


def head_of(server: Server, cookie: dict[str, str], start: str, *lines: str) -> bytes:
    """A request's head as bytes; `start` has {} for the address of the interface."""
    lines = (start.replace("{}", f"{server.base}app/"), "Host: hub.test", *lines)
    return "\r\n".join([*lines, f"Cookie: {cookie['Cookie']}", "", ""]).encode("latin-1")


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "REPORT",
    ],
)
def test_methods(world, get, method):
    reply = get("x", method=method)
    assert (reply.status, reply.one("X-Echo")) == (200, method)
    assert world.container.last.target == "/x"


def test_head_has_the_length_and_no_body(world, get):
    async def two_ways(request):
        return web.Response(body=b"x" * 1234)

    reply = get(world.container.on(two_ways), method="HEAD")
    assert (reply.status, reply.one("Content-Length"), reply.body) == (200, "1234", b"")


def test_head_of_an_unknown_length_names_none(world, get):
    async def streams(request):
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        return answer

    assert get(world.container.on(streams), method="HEAD").one("Content-Length") is None


def test_methods_that_are_for_proxies_are_refused(get):
    assert get(method="TRACE").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "a%2Fb", "%2e%2e/secret", "..%2f..", "a//b", "//a", "a?x=1&x=2&y", "a?q=%20+%C3%A9",
        "a;v=1", "a'()*!,$@:", "%E9%00", "a?next=http://b/", "[1]|{}^", "a%zz", "./../x",
    ],
)  # fmt: skip
def test_addresses_are_handed_on_as_they_are(world, get, path):
    before = len(world.container.asked)
    assert get(path).status == 200
    assert len(world.container.asked) == before + 1
    assert world.container.last.target == f"/{path}"


def test_an_address_of_eight_thousand_characters(world, get):
    path = "x" * 4000 + "?" + "y" * 4000
    assert get(path).status == 200
    assert world.container.last.target == f"/{path}"


def test_headers_are_handed_on_repeated_and_not_utf8(world, server, cookie):
    sent = (
        "X-Two: 1",
        "X-Two: 2",
        "X-Raw: caf\xe9",
        "X-Utf8: caf\xc3\xa9",
        "Accept: a/b",
        "X-Tab: a\tb",
    )
    answer = raw(
        world.gateway.port,
        head_of(server, cookie, "GET {}x HTTP/1.1", *sent, "Connection: close"),
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    got = world.container.last
    assert got.all("X-Two") == ["1", "2"]
    assert got.one("X-Utf8") == "caf\xc3\xa9"
    assert got.one("X-Tab") == "a\tb"
    assert got.one("Accept") == "a/b"
    # A lone byte is not UTF-8: aiohttp's client writes it as such.
    assert got.one("X-Raw") in {"caf\xe9", "caf\xc3\xa9"}


def test_nothing_is_added_that_changes_the_answer(world, get):
    get("x")
    got = world.container.last
    for name in ("Accept", "Accept-Encoding", "User-Agent", "Content-Type", "Content-Length"):
        assert got.all(name) == [], name


def test_where_people_see_it_is_told(world, server, get):
    get("x", {"X-Forwarded-For": "6.6.6.6", "X-Real-Ip": "6.6.6.6", "Forwarded": "for=6.6.6.6"})
    got = world.container.last
    host = f"127.0.0.1:{world.gateway.port}"
    assert got.one("Host") == host
    assert got.one("X-Forwarded-Host") == host
    assert got.one("X-Forwarded-Proto") == "http"
    assert got.one("X-Forwarded-Port") == str(world.gateway.port)
    assert got.one("X-Forwarded-Prefix") == f"{server.base}app"
    assert len(got.all("X-Forwarded-For")) == 1
    assert got.one("Forwarded") is None


def test_a_prefix_that_the_container_knows_is_kept(world):
    server = world.server(keeps=True)
    reply = ask(world.gateway.port, "GET", f"{server.base}app/x%2Fy?z", {"Cookie": server.cookie()})
    assert reply.status == 200
    assert world.container.last.target == f"{server.base}app/x%2Fy?z"
    assert world.container.last.all("X-Forwarded-Prefix") == []


def test_headers_of_the_connection_stay_on_it(world, get):
    get(
        "x",
        {"Connection": "keep-alive, X-Private", "X-Private": "1", "TE": "trailers",
         "Keep-Alive": "timeout=5", "Upgrade": "h2c", "Proxy-Authorization": "Basic eA=="},
    )  # fmt: skip
    for name in ("X-Private", "TE", "Keep-Alive", "Upgrade", "Proxy-Authorization"):
        assert world.container.last.all(name) == [], name


# --- bodies of requests --------------------------------------------------------------------------


def test_a_body_with_its_length(world, get):
    body = bytes(range(256)) * 4096
    reply = get("x", method="POST", body=body)
    assert reply.body == body
    assert world.container.last.one("Content-Length") == str(len(body))
    assert world.container.last.all("Transfer-Encoding") == []


def test_an_empty_body(world, get):
    assert get("x", method="POST", body=b"").status == 200
    assert world.container.last.one("Content-Length") == "0"


def test_a_chunked_body(world, get):
    reply = get("x", method="PUT", body=iter([b"one", b"two" * 50_000, b"three"]))
    assert reply.body == b"one" + b"two" * 50_000 + b"three"
    assert world.container.last.one("Transfer-Encoding") == "chunked"
    assert world.container.last.all("Content-Length") == []


def test_gzip_is_nobodys_business(world, get):
    body = gzip.compress(b"hello" * 1000)
    path = world.container.says(headers=[("Content-Encoding", "gzip")], body=body)
    reply = get(path, {"Accept-Encoding": "gzip"})
    assert (reply.one("Content-Encoding"), reply.body) == ("gzip", body)
    assert get("x", {"Content-Encoding": "gzip"}, "POST", body).body == body
    assert world.container.last.one("Content-Encoding") == "gzip"


def test_expect_100_continue(world, server, cookie):
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        lines = ("Content-Length: 5", "Expect: 100-continue", "Connection: close")
        connection.sendall(head_of(server, cookie, "PUT {}x HTTP/1.1", *lines))
        assert read_head(connection).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert read_all(connection).endswith(b"\r\n\r\nhello")
    assert world.container.last.all("Expect") == []


def test_who_may_not_enter_is_not_told_to_continue(world, server):
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        lines = ("Content-Length: 5", "Expect: 100-continue")
        connection.sendall(head_of(server, {"Cookie": "a=b"}, "PUT {}x HTTP/1.1", *lines))
        assert read_head(connection).startswith(b"HTTP/1.1 401 ")


def test_a_body_and_its_answer_at_the_same_time(world, get):
    """A program that transforms what it reads as it comes."""

    async def shouts(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for piece in request.content.iter_chunked(10_000):
            await answer.write(piece.upper())
        return answer

    body = b"abcdefghij" * 200_000
    reply = get(world.container.on(shouts), method="POST", body=body)
    assert len(reply.body) == len(body)
    assert reply.body == body.upper()


def _sends_meanwhile(port: int, head: bytes, mebibytes: int) -> bytes:
    """What is answered to somebody who goes on sending, as node does."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head)

        def send() -> None:
            try:
                for _ in range(mebibytes):
                    connection.sendall(bytes(1 << 20))
            except OSError:
                pass

        sending = threading.Thread(target=send)
        sending.start()
        connection.settimeout(1)
        answer = read_all(connection)
        sending.join(10)
        return answer


def test_an_answer_before_the_body_was_read(world, server, cookie):
    async def refuses(request):
        return web.Response(status=413, text="too large", headers={"Connection": "close"})

    path = world.container.on(refuses)
    head = head_of(server, cookie, f"POST {{}}{path} HTTP/1.1", f"Content-Length: {30 << 20}")
    answer = _sends_meanwhile(world.gateway.port, head, 30)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"too large")


def test_an_upload_without_a_sign_in_is_answered(world, server):
    head = head_of(server, {"Cookie": "a=b"}, "POST {}x HTTP/1.1", f"Content-Length: {30 << 20}")
    answer = _sends_meanwhile(world.gateway.port, head, 30)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"sign-in-needed" in answer


def test_a_body_is_never_sent_twice(world):
    """The container takes the body and hangs up: whether it did something nobody knows."""

    def swallows(connection: socket.socket, head: bytes) -> None:
        connection.recv(1000)

    container = world.raw_container(swallows)
    server = world.server(container.url)
    cookie = {"Cookie": server.cookie()}
    before = len(container.heads)
    for method in ("PUT", "POST", "DELETE"):
        reply = ask(world.gateway.port, method, f"{server.base}app/x", cookie, b"hello")
        assert (reply.status, reply.code) == (502, "interface-lost")
    assert len(container.heads) == before + 3


def test_connections_that_the_container_closed_are_not_used(world):
    """It keeps a connection for one more request and then hangs up, as node does when idle."""

    def serve(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.settimeout(0.15)
        try:
            while True:
                read_head(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except TimeoutError:
            pass

    container = world.raw_container(serve)
    server = world.server(container.url)
    cookie = {"Cookie": server.cookie()}
    for method, pause in itertools.product(("GET", "POST"), (0, 0.14, 0.15, 0.16, 0.2)):
        reply = ask(world.gateway.port, method, f"{server.base}app/x", cookie)
        assert (reply.status, reply.body) == (200, b"ok"), (method, pause)
        time.sleep(pause)


def test_requests_without_a_body_that_change_things_are_sent_once(world):
    """POST …/restart: on a connection that just ended it would fail, or be done twice."""
    heads: list[bytes] = []

    def serve(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        heads.append(read_head(connection))  # and hangs up instead of an answer

    container = world.raw_container(serve)
    server = world.server(container.url)
    cookie = {"Cookie": server.cookie()}
    for method in ("GET", "POST", "PATCH", "MOVE"):
        heads.clear()
        reply = ask(world.gateway.port, method, f"{server.base}app/x", cookie)
        assert (reply.status, reply.body) == (200, b"ok"), method
        if method != "GET":
            assert sum(head.startswith(method.encode()) for head in heads) == 1


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [200, 201, 204, 205, 206, 207, 304, 400, 404, 418, 500, 503, 599]
)
def test_status_and_reason(world, get, status):
    reply = get(world.container.says(status, reason="Because of that"))
    assert (reply.status, reply.reason) == (status, "Because of that")


def test_answers_without_a_body(world, get):
    for status in (204, 304):
        path = world.container.says(status, [("ETag", '"1"'), ("X-A", "b")])
        reply = get(path, {"If-None-Match": '"1"'})
        assert (reply.status, reply.body, reply.one("ETag")) == (status, b"", '"1"')
        assert reply.all("Transfer-Encoding") == []


def test_the_containers_etag_is_the_containers_matter(world, get):
    path = world.container.says(200, [("ETag", '"1"')])
    reply = get(path, {"If-None-Match": '"1"'})
    assert (reply.status, reply.one("ETag")) == (200, '"1"')


def test_headers_of_answers(world, get):
    sent = [
        ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; HttpOnly"), ("X-Two", "1"), ("X-Two", "2"),
        ("Content-Type", "text/x-thing"), ("Server", "theirs"), ("X-Utf8", "café"),
        ("Cache-Control", "max-age=1"), ("Vary", "Cookie"), ("Content-Security-Policy", "sandbox"),
    ]  # fmt: skip
    reply = get(world.container.says(headers=sent, body=b"x"))
    assert len(reply.all("Set-Cookie")) == 2
    assert reply.all("X-Two") == ["1", "2"]
    assert reply.one("X-Utf8") == "caf\xc3\xa9"
    for name in ("Content-Type", "Server", "Cache-Control", "Vary"):
        assert reply.one(name) == dict(sent)[name]
    assert reply.all("Content-Security-Policy") == ["sandbox", "frame-ancestors 'self'"]
    assert reply.all("X-Frame-Options") == []


def _raw_answer(world, answer: bytes, *, method: str = "GET", close: bool = True) -> Reply:
    """What becomes of an answer that is sent as these bytes."""

    def talk(connection: socket.socket, head: bytes) -> None:
        connection.sendall(answer)
        if not close:
            connection.recv(1)

    server = world.server(world.raw_container(talk).url)
    return ask(world.gateway.port, method, f"{server.base}app/x", {"Cookie": server.cookie()})


def test_an_answer_that_ends_with_the_connection(world):
    reply = _raw_answer(world, b"HTTP/1.0 200 OK\r\n\r\nhello")
    assert (reply.status, reply.body) == (200, b"hello")


def test_header_bytes_that_are_not_utf8(world):
    reply = _raw_answer(world, b"HTTP/1.1 200 OK\r\nX-Raw: caf\xe9\tx\r\nContent-Length: 0\r\n\r\n")
    assert (reply.status, reply.one("X-Raw")) == (200, "caf\xe9\tx")


def test_a_reason_that_is_not_utf8(world):
    reply = _raw_answer(world, b"HTTP/1.1 200 Voil\xe0\r\nContent-Length: 2\r\n\r\nok")
    assert (reply.status, reply.body) == (200, b"ok")


@pytest.mark.parametrize("first", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_informational_answers_are_skipped(world, first):
    reply = _raw_answer(
        world,
        f"HTTP/1.1 {first}\r\nLink: </x>\r\nSet-Cookie: jupyterhub-session-id=1\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".encode(),
    )
    assert (reply.status, reply.body, reply.all("Set-Cookie")) == (200, b"ok", [])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX y: a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_said_to_be_none(world, answer):
    reply = _raw_answer(world, answer)
    assert (reply.status, reply.code) == (502, "interface-lost")
    assert "Traceback" not in world.gateway.log()


@pytest.mark.parametrize(
    "value", ["x\r\nSet-Cookie: jupyterhub-session-id=1", "x\n y", "x\rSet-Cookie: a=1"]
)
def test_an_answer_cannot_be_split(world, value):
    """Whatever the parser makes of it: one answer, and no cookie of ours."""
    answer = f"HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 2\r\n\r\nok".encode()
    reply = _raw_answer(world, answer)
    assert reply.status in {200, 502}
    assert all("jupyterhub" not in value for value in reply.all("Set-Cookie"))
    assert "\n" not in "".join(value for _, value in reply.headers)


def test_too_much_body_does_not_reach_the_next_answer(world):
    body = b"okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    server = world.server(
        world.raw_container(
            lambda connection, head: (
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body),
                connection.recv(1),
            )
        ).url
    )
    cookie = {"Cookie": server.cookie()}
    connection = http.client.HTTPConnection("127.0.0.1", world.gateway.port, timeout=5)
    for _ in range(3):
        reply = ask(world.gateway.port, "GET", f"{server.base}app/x", cookie, connection=connection)
        assert reply.body in {b"ok"} or reply.status == 502
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nok",
        b"204 No Content\r\nContent-Length: 2\r\n\r\nok",
        b"304 Not Modified\r\nContent-Length: 2\r\n\r\nok",
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    ],
)
def test_answers_of_two_lengths_spoil_no_connection(world, answer):
    """Passed on as one of them, refused or cut; the next on the same connection is itself."""
    server = world.server(
        world.raw_container(
            lambda connection, head: (connection.sendall(b"HTTP/1.1 " + answer), connection.recv(1))
        ).url
    )
    good = world.server()
    token, good_token = server.token(), good.token()
    connection = http.client.HTTPConnection("127.0.0.1", world.gateway.port, timeout=1)
    with contextlib.suppress(http.client.HTTPException, TimeoutError):
        ask(
            world.gateway.port,
            "GET",
            f"{server.base}app/x",
            {"Authorization": f"token {token}"},
            connection=connection,
        )
        reply = ask(
            world.gateway.port,
            "GET",
            f"{good.base}app/x",
            {"Authorization": f"token {good_token}"},
            connection=connection,
        )
        assert (reply.status, reply.one("X-Echo")) == (200, "GET")
    connection.close()
    assert "Traceback" not in world.gateway.log()


def test_ranges(world, get):
    async def file(request):
        assert request.headers["Range"] == "bytes=2-4"
        return web.Response(
            status=206, body=b"234", headers={"Content-Range": "bytes 2-4/10", "ETag": '"x"'}
        )

    reply = get(world.container.on(file), {"Range": "bytes=2-4", "If-Range": '"x"'})
    assert (reply.status, reply.body, reply.one("Content-Range")) == (206, b"234", "bytes 2-4/10")


def test_the_missing_slash_is_added_and_the_query_kept(world, server, cookie):
    for path, better in (("app", "app/"), ("proxy/8000", "proxy/8000/")):
        reply = ask(world.gateway.port, "GET", f"{server.base}{path}?a=b%20c", cookie)
        assert (reply.status, reply.one("Location")) == (302, f"{server.base}{better}?a=b%20c")


def test_redirects_lead_to_where_people_are(world, server, get):
    prefix = f"{server.base}app/"
    host = f"127.0.0.1:{world.gateway.port}"
    for sent, seen in {
        "/login?next=%2F": f"{prefix}login?next=%2F",
        f"{world.container.url}/tree": f"{prefix}tree",
        f"http://{host}/tree": f"{prefix}tree",
        f"{prefix}tree": f"{prefix}tree",
        "tree": "tree",
        "?a": "?a",
        "https://elsewhere.test/x": "https://elsewhere.test/x",
        "//elsewhere.test/x": "//elsewhere.test/x",
    }.items():
        assert get(world.container.says(302, [("Location", sent)])).one("Location") == seen, sent


def test_connections_are_kept(world, server, cookie):
    """By the gateway for those who ask, and to the container for the gateway."""
    ports: set[int] = set()

    async def notes(request):
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="ok")

    path = world.container.on(notes)
    connection = http.client.HTTPConnection("127.0.0.1", world.gateway.port, timeout=5)
    connection.connect()
    here = connection.sock.getsockname()
    for method in ["GET"] * 5 + ["HEAD", "GET"]:
        reply = ask(
            world.gateway.port,
            method,
            f"{server.base}app/{path}",
            cookie,
            connection=connection,
        )
        assert reply.status == 200
        assert connection.sock is not None
        assert connection.sock.getsockname() == here
    connection.close()
    assert len(ports) == 1


# --- streams -------------------------------------------------------------------------------------


def test_an_answer_begins_before_its_first_byte(world, server, cookie):
    """EventSource's `open`, long polls: headers are sent when the container sends them."""
    began = threading.Event()

    async def waits(request):
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        began.set()
        await asyncio.sleep(1.5)
        await answer.write(b"data: late\n\n")
        return answer

    path = world.container.on(waits)
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(head_of(server, cookie, f"GET {{}}{path} HTTP/1.1"))
        sent = time.monotonic()
        head = read_head(connection)
        assert b"text/event-stream" in head
        assert time.monotonic() - sent < 1


def test_events_arrive_at_once_and_end_when_the_browser_leaves(world, server, cookie):
    ended = threading.Event()

    async def events(request):
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(f"data: {time.monotonic()}\n\n".encode())
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    path = world.container.on(events)
    delays = []
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(head_of(server, cookie, f"GET {{}}{path} HTTP/1.1"))
        read_head(connection)
        while len(delays) < 30:
            for line in connection.recv(4096).split(b"\n"):
                if line.startswith(b"data: "):
                    delays.append(time.monotonic() - float(line[6:]))
    assert sorted(delays)[len(delays) // 2] < 0.02, delays  # Nagle's algorithm would cost 40 ms
    assert ended.wait(3), "the container goes on for nobody"


def test_a_download_cut_in_the_middle_is_seen_to_be_cut(world):
    def cuts(connection: socket.socket, head: bytes) -> None:
        if b" /chunked" in head:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            )
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    server = world.server(world.raw_container(cuts).url)
    cookie = {"Cookie": server.cookie()}
    for path in ("chunked", "length"):
        with pytest.raises(http.client.IncompleteRead) as cut:
            ask(world.gateway.port, "GET", f"{server.base}app/{path}", cookie)
        assert cut.value.partial == b"hello"
    assert "Traceback" not in world.gateway.log()


def test_a_download_that_is_left_is_left_at_the_container(world, server, cookie):
    async def endless(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(bytes(1 << 16))

    path = world.container.on(endless)
    idle = world.container.open
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(head_of(server, cookie, f"GET {{}}{path} HTTP/1.1"))
        connection.recv(1 << 20)
    wait_for(lambda: world.container.open == idle, "the container goes on for nobody")


@pytest.mark.parametrize("how", ["length", "chunked", "garbage"])
def test_an_upload_that_is_left_is_left_at_the_container(world, server, cookie, how):
    began, ended = threading.Event(), threading.Event()

    async def reads(request):
        began.set()
        try:
            await request.read()
        finally:
            ended.set()
        return web.Response(text="whole")

    path = world.container.on(reads)
    framing = "Content-Length: 1000" if how == "length" else "Transfer-Encoding: chunked"
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(head_of(server, cookie, f"POST {{}}{path} HTTP/1.1", framing))
        connection.sendall(b"hello" if how == "length" else b"5\r\nhello\r\n")
        assert began.wait(3)
        if how == "garbage":
            connection.sendall(b"zz\r\n")
            assert not read_all(connection).startswith(b"HTTP/1.1 200")
    assert ended.wait(3), "the container waits for nobody"


def test_who_leaves_before_the_answer_is_left_at_the_container(world, server, cookie):
    began, ended = threading.Event(), threading.Event()

    async def ponders(request):
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    path = world.container.on(ponders)
    with socket.create_connection(("127.0.0.1", world.gateway.port), 5) as connection:
        connection.sendall(head_of(server, cookie, f"GET {{}}{path} HTTP/1.1"))
        assert began.wait(3)
    assert ended.wait(3)


def test_the_gateways_log_is_clean(world):
    """After all of the above."""
    assert "Traceback" not in world.gateway.log()
    assert "never retrieved" not in world.gateway.log()


def test_hashes_of_many_at_once(world, get):
    """Bodies of several people do not mix."""
    bodies = {n: bytes([n]) * (100_000 + n) for n in range(12)}
    replies: dict[int, Reply] = {}

    def send(n: int) -> None:
        replies[n] = get(f"n{n}", method="POST", body=bodies[n])

    threads = [threading.Thread(target=send, args=(n,)) for n in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for n, body in bodies.items():
        assert hashlib.sha256(replies[n].body).digest() == hashlib.sha256(body).digest()
