"""HTTP between our own processes, and to addresses that others named.

Ours: JSON, with time-outs, retries, and errors as `domain.errors`. Others': guarded, so that nobody
makes us ask inside our own network.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any
from weakref import WeakKeyDictionary

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.netutil import DefaultLoopResolver
from tornado.simple_httpclient import (
    HTTPStreamClosedError,
    HTTPTimeoutError,
    SimpleAsyncHTTPClient,
)

from .domain.addresses import is_private, is_public
from .domain.errors import MydockerError, Unavailable, error_for

_RETRY_PAUSES = (
    0.1,
    0.2,
    0.4,
    0.8,
    1.5,
    2.0,
    3.0,
    4.0,
)  # seconds; the hub restarts a service in one or two

GUARDED_MAX_BYTES = 256 * 1024


class JsonClient:
    """Calls below `url`, each with the same bearer token.

    Raises the error that the other side named (problem details with a code of ours), `Unavailable`
    with `unavailable_code` where it does not answer in `timeout` seconds or not at all. A
    connection that is refused is tried again for twelve seconds: nothing was done yet. Anything
    else is not, since it might have been.
    """

    def __init__(
        self, url: str, token: str, *, unavailable_code: str, timeout: float = 10.0
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._unavailable_code = unavailable_code
        self._timeout = timeout

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that was answered, or None where the answer is empty."""
        request = HTTPRequest(
            f"{self._url}{path}",
            method=method,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            connect_timeout=self._timeout,
            request_timeout=self._timeout,
            follow_redirects=False,
        )
        response = await self._fetch(request)
        if not 200 <= response.code < 300:
            raise self._error(response)
        try:
            return json.loads(response.body) if response.body else None
        except ValueError as error:
            raise self._unavailable(error) from error

    async def _fetch(self, request: HTTPRequest) -> HTTPResponse:
        fetch = client().fetch
        for pause in (*_RETRY_PAUSES, None):
            try:
                return await fetch(request, raise_error=False)
            except ConnectionRefusedError as error:
                if pause is None:
                    raise self._unavailable(error) from error
                await asyncio.sleep(pause)
            except (OSError, HTTPTimeoutError, HTTPStreamClosedError, HTTPClientError) as error:
                raise self._unavailable(error) from error
        raise AssertionError("unreachable")

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable(self._unavailable_code, log_detail=f"{type(error).__name__}: {error}")

    def _error(self, response: HTTPResponse) -> MydockerError:
        try:
            problem = json.loads(response.body)
            return error_for(problem["code"], problem["params"])
        except (ValueError, KeyError, TypeError):  # not from us
            return Unavailable(self._unavailable_code, log_detail=f"HTTP {response.code}")


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, SimpleAsyncHTTPClient] = WeakKeyDictionary()


def bears(authorization: str, token: str) -> bool:
    """Whether an Authorization header is that of a `JsonClient` with this token."""
    scheme, _, sent = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), token.encode())


def client() -> SimpleAsyncHTTPClient:
    """The client of this event loop, apart from the hub's.

    Tornado's own default of ten requests at once would queue a class that starts together; and
    pycurl, which a hub may be set to use, does not say that a connection was refused.
    """
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=200, defaults={"user_agent": "mydocker_hub"}
        )
    return _clients[loop]


class NotAllowed(OSError):
    """An address that a name leads to, and that nobody should make us ask."""


class _Resolver(DefaultLoopResolver):
    """Checks the very addresses that are connected to: a name cannot change in between."""

    private = False

    async def resolve(self, host: str, port: int, family: Any = 0) -> list[tuple[int, Any]]:
        found = [
            (kind, address)
            for kind, address in await super().resolve(host, port, family)
            if is_public(address[0]) or (self.private and is_private(address[0]))
        ]
        if not found:
            raise NotAllowed(f"{host} is on this machine or on a private network")
        return found


class _PrivateToo(_Resolver):
    private = True


_guarded: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[bool, int], SimpleAsyncHTTPClient]
] = WeakKeyDictionary()


def guarded_client(*, private: bool, max_bytes: int = GUARDED_MAX_BYTES) -> SimpleAsyncHTTPClient:
    """A client of this event loop for addresses that others named.

    It connects to the internet alone, or (`private`) to this machine and private networks too, and
    reads at most `max_bytes`. Its `fetch` raises `NotAllowed` where that leaves no address.
    """
    clients = _guarded.setdefault(asyncio.get_running_loop(), {})
    kind = (private, max_bytes)
    if kind not in clients:
        clients[kind] = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=20,
            max_body_size=max_bytes,
            max_buffer_size=4 * max_bytes,
            resolver=_PrivateToo() if private else _Resolver(),
            defaults={"user_agent": "mydocker_hub"},
        )
    return clients[kind]
