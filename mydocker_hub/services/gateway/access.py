"""Who may enter a server: one OAuth client of the hub for each, the server's own.

The protocol is upstream's `HubOAuth` (jupyterhub/services/auth.py). The cookies are ours, sealed:
they survive a restart of the gateway, and a browser's owner cannot read a token out of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import url_path_join
from tornado.httputil import url_concat
from tornado.log import app_log
from tornado.web import HTTPError

from ...domain.errors import Unavailable
from ...domain.route import Route

_FRESH_SECONDS = 60.0  # how long a right that was withdrawn goes on
_STALE_SECONDS = 600.0  # how long the last answer stands while the hub does not answer
_REFUSED_SECONDS = 5.0
_TIMEOUT_SECONDS = 10.0
_MAX_REMEMBERED = 20_000

Model = dict[str, Any]


@dataclass
class _Answer:
    model: Model | None
    at: float


class Access:
    """Asks the hub whose a token is, and remembers the answer for a minute.

    `api_url` is the hub's REST API, `base_url` the hub's path.
    """

    def __init__(self, api_url: str, base_url: str) -> None:
        self._api_url = api_url
        self._base_url = base_url
        self._clients: dict[str, HubOAuth] = {}
        self._answers: dict[tuple[str, bytes], _Answer] = {}
        self._asking: dict[tuple[str, bytes], asyncio.Task[Model | None]] = {}

    def client(self, route: Route) -> HubOAuth:
        """The server's OAuth client; a server that was started again has a new token."""
        token = route.token.get_secret_value()
        client = self._clients.get(route.client_id)
        if client is None or client.api_token != token:
            client = self._clients[route.client_id] = HubOAuth(
                api_url=self._api_url,
                api_token=token,
                oauth_client_id=route.client_id,
                base_url=route.base_url,
                hub_host="",
                hub_prefix=url_path_join(self._base_url, "hub/"),
                oauth_redirect_uri=url_path_join(route.base_url, "oauth_callback"),
                access_scopes=set(route.access_scopes),
            )
        return client

    async def identify(self, route: Route, token: str) -> Model | None:
        """The hub's model of whose token it is; None for a token that the hub does not know.

        Raises `Unavailable` where the hub does not answer and has not answered lately.
        """
        key = (route.client_id, hashlib.sha256(token.encode()).digest())
        now = asyncio.get_running_loop().time()
        known = self._answers.get(key)
        if known is not None:
            limit = _FRESH_SECONDS if known.model else _REFUSED_SECONDS
            if now - known.at < limit:
                return known.model
        if key not in self._asking:  # a page's fifty files ask once
            task = asyncio.create_task(self._ask(route, token, key))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            return await asyncio.shield(self._asking[key])
        except Unavailable:
            if known is not None and now - known.at < _STALE_SECONDS:
                return known.model  # people work on while the hub restarts
            raise

    async def _ask(self, route: Route, token: str, key: tuple[str, bytes]) -> Model | None:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                model: Model | None = await self.client(route).user_for_token(
                    token, use_cache=False, sync=False
                )
        except (HTTPError, OSError, TimeoutError) as error:
            raise Unavailable("hub-unavailable", log_detail=str(error)) from error
        if len(self._answers) >= _MAX_REMEMBERED:
            self._answers.clear()
        self._answers[key] = _Answer(model, asyncio.get_running_loop().time())
        return model

    def may_enter(self, route: Route, model: Model) -> bool:
        return bool(self.client(route).check_scopes(set(route.access_scopes), model))

    def sign_in_url(self, route: Route, *, state: str, challenge: str) -> str:
        """Where the browser is sent to sign in at the hub (RFC 6749 §4.1.1, RFC 7636 §4.3)."""
        client = self.client(route)
        address: str = url_concat(
            client.oauth_authorization_url,
            {
                "client_id": client.oauth_client_id,
                "redirect_uri": client.oauth_redirect_uri,
                "response_type": "code",
                "state": state,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )
        return address

    async def token(self, route: Route, code: str, verifier: str) -> str | None:
        """The person's token for a code that the hub gave; None where the hub gives none."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                token: str = await self.client(route).token_for_code(
                    code, code_verifier=verifier, sync=False
                )
        except (HTTPError, OSError, TimeoutError) as error:
            app_log.warning("no token for %s: %s", route.client_id, type(error).__name__)
            return None
        return token
