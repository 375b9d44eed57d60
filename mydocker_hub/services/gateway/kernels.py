"""A notebook that computes is in use, though nobody is there: Jupyter itself says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from tornado.log import app_log
from yarl import URL

from ...domain.environment import SignIn
from ...domain.launch import Endpoint
from ...domain.passing import credentials
from ...domain.route import Route
from .presence import Presence
from .routes import Routes

_TIMEOUT_SECONDS = 5.0
_AT_ONCE = 20
_LONGEST_ANSWER = 1 << 20


class Kernels:
    """Asks the Jupyter servers behind the gateway, from time to time, whether a kernel is busy.

    What a kernel's messages say is not enough: one that computes in silence sends none. Those of
    kind `hub` report to the hub themselves.
    """

    def __init__(self, routes: Routes, presence: Presence, *, seconds: float) -> None:
        self._routes = routes
        self._presence = presence
        self._seconds = seconds
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def keep_asking(self, session: aiohttp.ClientSession) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            jupyter = [
                self._ask(session, route, endpoint)
                for route in self._routes.all()
                for endpoint in route.endpoints
                if endpoint.sign_in is SignIn.JUPYTER and endpoint.port in route.addresses
            ]
            await asyncio.gather(*jupyter)

    async def _ask(self, session: aiohttp.ClientSession, route: Route, endpoint: Endpoint) -> None:
        secret = route.secret.get_secret_value() if route.secret else None
        # The query keeps Jupyter from taking our question for somebody's activity.
        path = f"{endpoint.base_path}api/kernels?no_track_activity=1"
        try:
            async with (
                self._room,
                session.get(
                    URL(route.addresses[endpoint.port] + path, encoded=True),
                    headers=dict(credentials(endpoint.sign_in, user=route.user, secret=secret)),
                    timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
                    allow_redirects=False,
                ) as answer,
            ):
                text = await _read(answer) if answer.status == 200 else b""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            app_log.debug("kernels of %s/%s: %r", route.user, route.server, error)
            return
        if busy(text):
            self._presence.seen(route)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > _LONGEST_ANSWER:
            return b""
    return bytes(data)


def busy(answer: bytes) -> bool:
    """Whether one of the kernels computes. The answer is a container's: it may be anything."""
    try:
        kernels: Any = json.loads(answer)
    except (ValueError, RecursionError):
        return False
    if not isinstance(kernels, list):
        return False
    return any(
        isinstance(kernel, dict) and kernel.get("execution_state") == "busy" for kernel in kernels
    )
