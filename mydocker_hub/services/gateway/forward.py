"""Passing a request on to a container, and its answer back, in constant memory.

HTTP goes through aiohttp's client, piece by piece, each side as fast as the other takes it. A
WebSocket is handed on as the bytes that it is, once both sides agreed to it: whatever the two speak
stays between them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    ResponseStartLine,
    parse_response_start_line,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.log import app_log
from tornado.tcpclient import TCPClient
from tornado.web import RequestHandler
from yarl import URL

from ...domain.frames import FrameReader
from ...domain.passing import Headers, Outside, from_container
from ...domain.presence import frame_shows_person
from ...web.service import summary

PIECE_BYTES = 64 * 1024
_CONNECT_SECONDS = 5.0
_UPGRADE_SECONDS = 30.0
_LINGER_SECONDS = 30.0
_HEAD_BYTES = 64 * 1024
# Shorter than node's five seconds, after which it closes a connection that we might just reuse.
_KEEP_ALIVE_SECONDS = 3.0


class Lost(Exception):
    """The container did not answer, and the browser has been told nothing yet."""


@dataclass(frozen=True)
class Inside:
    """What is asked of a container: `address` such as `http://127.0.0.1:32768`, path and query."""

    address: str
    target: str
    headers: Headers


class Containers:
    """The HTTP client for all containers: no cookies, no redirects, no limits of its own.

    Connections are used again, but for what only reads: one that the container just closed would
    swallow a request that cannot be sent twice.
    """

    def __init__(self) -> None:
        self._reusing = _session(
            aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        )
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))

    def session(self, method: str, *, with_body: bool) -> aiohttp.ClientSession:
        reads = method in {"GET", "HEAD", "OPTIONS"} and not with_body
        return self._reusing if reads else self._fresh

    async def close(self) -> None:
        await self._reusing.close()
        await self._fresh.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=PIECE_BYTES,
        max_line_size=_HEAD_BYTES,
        max_field_size=_HEAD_BYTES,
    )


class Upload:
    """A request's body on its way, one piece at a time."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._closed = asyncio.Event()
        self._ended = asyncio.Event()
        self._begun = False

    async def put(self, piece: bytes) -> None:
        """Hand over a piece; returns when it was taken, or when nobody wants it any more."""
        if self._closed.is_set():
            return
        putting = asyncio.ensure_future(self._pieces.put(piece))
        closing = asyncio.ensure_future(self._closed.wait())
        await asyncio.wait({putting, closing}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        closing.cancel()

    async def end(self) -> None:
        await self.put(b"")
        self._ended.set()

    def close(self) -> None:
        """The container has answered: what is still to come is thrown away."""
        self._closed.set()

    async def throw_away(self) -> None:
        """Let the rest come, for a while: to whoever is still sending, as the proxy is, a
        connection that is closed has failed, whatever was answered on it."""
        self.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _LINGER_SECONDS)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise OSError("a body is sent once")  # aiohttp tries some requests again
        self._begun = True
        while piece := await self._pieces.get():
            yield piece


async def http(
    containers: Containers,
    handler: RequestHandler,
    inside: Inside,
    outside: Outside,
    upload: Upload | None,
) -> None:
    """Ask the container and answer the browser.

    Raises `Lost` where the container does not answer. Where it stops in the middle of its answer,
    the browser's connection is cut, so that half a file is not taken for a whole one.
    """
    begun = False
    method = handler.request.method or "GET"
    try:
        async with containers.session(method, with_body=upload is not None).request(
            method,
            # A # would begin what is not sent.
            URL(inside.address + _as_sent(inside.target).replace("#", "%23"), encoded=True),
            headers=CIMultiDict((name, _as_sent(value)) for name, value in inside.headers),
            data=upload,
            allow_redirects=False,
        ) as answer:
            if answer.status < 200:
                raise Lost(f"HTTP {answer.status}, which was not asked for")
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in answer.raw_headers
            ]
            _begin(handler, answer.status, answer.reason or "", headers, outside, inside.address)
            begun = True
            await handler.flush()  # the first event of a stream may be long in coming
            async for piece in answer.content.iter_any():
                handler.write(piece)
                await handler.flush()
            if upload is not None:
                await upload.throw_away()
            handler.finish()
    except StreamClosedError:
        return  # the browser left
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if not begun:
            raise Lost(_said(error)) from error
        app_log.info("%s: cut in the middle: %s", summary(handler.request), _said(error))
        _cut(handler)


def _said(error: Exception) -> str:
    """An error for the log; aiohttp's of a bad answer holds the address, and of the answer."""
    name = type(error).__name__
    return name if isinstance(error, aiohttp.ClientResponseError) else f"{name}: {error}"


def _as_sent(value: str) -> str:
    """A header's value so that aiohttp, which writes UTF-8, writes the bytes that came."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _cut(handler: RequestHandler) -> None:
    """End the browser's connection."""
    connection: Any = handler.request.connection
    if connection is not None and connection.stream is not None:
        connection.stream.close()


def _begin(
    handler: RequestHandler,
    status: int,
    reason: str,
    headers: Headers,
    outside: Outside,
    address: str,
) -> None:
    for name in ("Server", "Content-Type", "Date"):
        handler.clear_header(name)
    handler.set_status(status, reason or None)
    for name, value in from_container(headers, outside, address=address):
        handler.add_header(name, value)


async def websocket(
    handler: RequestHandler,
    inside: Inside,
    outside: Outside,
    *,
    on_presence: Callable[[], None],
    still_allowed: Callable[[], Any],
) -> None:
    """Hand a WebSocket on. Raises `Lost` where the container does not answer.

    `on_presence` is called when somebody does something; `still_allowed` is awaited from time to
    time, and both connections are closed when it says no.
    """
    container = await _connect(inside)
    try:
        async with asyncio.timeout(_UPGRADE_SECONDS):
            status, headers = await _upgrade(container, handler, inside)
    except BaseException as error:
        container.close()
        if isinstance(error, StreamClosedError | TimeoutError | HTTPInputError | OSError):
            raise Lost(f"{type(error).__name__}: {error}") from error
        raise
    lines = [f"HTTP/1.1 {status.code} {status.reason}"]
    lines += [
        f"{name}: {value}"
        for name, value in from_container(headers, outside, address=inside.address)
    ]
    if status.code == 101:
        lines += ["Connection: Upgrade", "Upgrade: websocket"]
    else:
        # The rest of the answer follows as it comes, until its end.
        lines += [f"{name}: {value}" for name, value in headers if name == "Transfer-Encoding"]
        lines += ["Connection: close"]
    browser = handler.detach()
    browser.set_nodelay(True)
    reader = FrameReader()

    def look(data: bytes) -> None:
        if any(frame_shows_person(frame, inside.target) for frame in reader.feed(data)):
            on_presence()

    watching = asyncio.create_task(_watch(still_allowed))
    passing = [asyncio.create_task(_pass(container, browser))]
    if status.code == 101:  # else nothing that the browser says is meant for the container
        passing.append(asyncio.create_task(_pass(browser, container, look)))
    try:
        await _write(browser, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await asyncio.wait({watching, *passing}, return_when=asyncio.FIRST_COMPLETED)
    except StreamClosedError:
        pass
    finally:
        for task in (watching, *passing):
            task.cancel()
        await asyncio.gather(watching, *passing, return_exceptions=True)
        browser.close()
        container.close()


async def _connect(inside: Inside) -> IOStream:
    """A connection to the container."""
    address = urlsplit(inside.address)
    try:
        stream = await TCPClient().connect(
            address.hostname or "", address.port or 80, timeout=_CONNECT_SECONDS
        )
        stream.set_nodelay(True)
    except (StreamClosedError, TimeoutError, OSError) as error:
        raise Lost(f"{type(error).__name__}: {error}") from error
    return stream


async def _upgrade(
    container: IOStream, handler: RequestHandler, inside: Inside
) -> tuple[ResponseStartLine, Headers]:
    """Ask the container for a WebSocket; the head of its answer."""
    lines = [f"{handler.request.method} {inside.target} HTTP/1.1"]
    # Without extensions frames stay legible, and nothing is compressed twice.
    lines += [
        f"{name}: {value}"
        for name, value in inside.headers
        if name.lower() != "sec-websocket-extensions"
    ]
    lines += ["Connection: Upgrade", "Upgrade: websocket"]
    await _write(container, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    while True:
        head = await container.read_until(b"\r\n\r\n", max_bytes=_HEAD_BYTES)
        start, _, rest = head.decode("latin-1").partition("\r\n")
        status = parse_response_start_line(start)
        # What follows an informational answer would pass unread, with any header.
        if status.code == 101 or status.code >= 200:
            return status, list(HTTPHeaders.parse(rest).get_all())


async def _pass(
    source: IOStream, target: IOStream, look: Callable[[bytes], None] | None = None
) -> None:
    """Hand bytes on until one side ends; as fast as the other takes them."""
    try:
        while True:
            data = await source.read_bytes(PIECE_BYTES, partial=True)
            if look is not None:
                look(data)
            await _write(target, data)
    except StreamClosedError:
        pass


async def _write(stream: IOStream, data: bytes) -> None:
    """Returns when all is written. Tornado logs a write that is cancelled as an error of its own
    (iostream.py, `write`), so that it is left to end with its connection."""
    await asyncio.shield(stream.write(data))


async def _watch(still_allowed: Callable[[], Any]) -> None:
    while await still_allowed():
        pass
