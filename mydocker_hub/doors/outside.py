"""Requests of a door to a server of other people: bounded in time and size, never redirected."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPInputError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from ..domain.environment import Text
from ..domain.errors import Unavailable
from ..httpclient import client

SECONDS = 10.0
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any] | None:
        """The JSON object in it; None where it holds anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
            return None
        return value if isinstance(value, dict) else None


def unavailable(provider: Text, log_detail: str) -> Unavailable:
    """A provider that does not answer, or not as it should."""
    return Unavailable("sign-in-provider-unavailable", provider=provider, log_detail=log_detail)


async def fetch(
    request: HTTPRequest, provider: Text, through: SimpleAsyncHTTPClient | None = None
) -> Answer:
    """Send a request. Raises `Unavailable` where no whole answer comes.

    `through` is the client to send it with, where the address is not an operator's own.
    Nothing is decompressed: a few kilobytes could become gigabytes.
    """
    received: list[bytes] = []
    size = 0

    def keep(chunk: bytes) -> None:
        nonlocal size
        size += len(chunk)
        if size <= MAX_BYTES:
            received.append(chunk)

    request.connect_timeout = request.request_timeout = SECONDS
    request.follow_redirects = False
    request.decompress_response = False
    request.validate_cert = True
    request.streaming_callback = keep
    where = without_query(request.url)
    try:
        response = await (through or client()).fetch(request, raise_error=False)
    except (OSError, HTTPClientError, HTTPInputError, ValueError) as error:
        raise unavailable(provider, f"{where}: {type(error).__name__}: {error}") from error
    if response.code == 599:  # as tornado calls what was no answer
        raise unavailable(provider, f"{where}: {response.error}")
    if size > MAX_BYTES:
        raise unavailable(provider, f"{where}: more than {MAX_BYTES} bytes")
    return Answer(response.code, b"".join(received))


def without_query(url: str) -> str:
    """An address as the log may hold it: queries carry codes and tickets."""
    return url.partition("?")[0]


def is_safe(url: Any, *, loopback: bool = False) -> bool:
    """Whether a secret may be sent to this address: https, or (`loopback`) this machine itself."""
    if not isinstance(url, str) or len(url) > 2000 or any(c <= " " or c == "\x7f" for c in url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (
        loopback and parts.scheme == "http" and is_loopback_host(host)
    )


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
