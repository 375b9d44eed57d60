"""The door of OpenID Connect providers: authorization code with PKCE, state and nonce.

`/oidc/NAME/login` leads to the provider, which sends people back to `/oidc/NAME/callback`: an
address for each provider, so that none can answer for another (RFC 9700 §4.4). The token and
userinfo requests are oauthenticator's; what comes back is checked in `identity.oidc`.

No token is kept: a provider is asked at a sign-in, never at the start of a server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus

from oauthenticator.generic import GenericOAuthenticator
from tornado.httpclient import HTTPRequest
from tornado.httputil import url_concat
from tornado.web import HTTPError

from ..domain.errors import Refused
from ..identity import oidc
from ..identity.claims import Claims, Door
from ..identity.roles import sign_in_for
from ..identity.settings import OpenIdProvider
from . import outside
from .attempts import Attempt
from .base import Doors
from .provider import ProviderHandler, check_address, is_on_loopback, named, refused

log = logging.getLogger("jupyterhub.mydocker.oidc")

FRESH_SECONDS = 3600
"""How long discovery documents and keys are used before they are asked for again."""

_PAUSE_SECONDS = 10  # between two requests for the same document, whatever is sent to us

T = TypeVar("T")


class Kept(Generic[T]):
    """A document of a provider: fetched when it is first needed, and renewed while it is used.

    Who needs it while the provider does not answer has the last good one.
    """

    def __init__(self, name: str, fetch: Callable[[], Awaitable[T]]) -> None:
        self.value: T | None = None
        self._name = name
        self._fetch = fetch
        self._fetching: asyncio.Task[T] | None = None
        self._due_at = 0.0
        self._asked_at = float("-inf")

    async def get(self) -> T:
        """Raises what the first fetch raises, `Unavailable`."""
        if self.value is None:
            return await asyncio.shield(self._begin())
        if time.monotonic() >= self._due_at:
            self._begin()
        return self.value

    async def renewed(self) -> T:
        """As `get`, from the provider itself unless it has been asked a moment ago."""
        rested = time.monotonic() >= self._asked_at + _PAUSE_SECONDS
        if self.value is None or self._fetching is not None or rested:
            return await asyncio.shield(self._begin())
        return self.value

    def _begin(self) -> asyncio.Task[T]:
        if self._fetching is None:
            self._asked_at = time.monotonic()
            self._due_at = self._asked_at + _PAUSE_SECONDS  # later, where it succeeds
            self._fetching = asyncio.ensure_future(self._fetch())
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, task: asyncio.Task[T]) -> None:
        self._fetching = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.value = task.result()
            self._due_at = time.monotonic() + FRESH_SECONDS
        else:
            log.warning("%s: %s", self._name, error)


@dataclass(frozen=True)
class Metadata:
    """What we use of a discovery document (OpenID Connect Discovery 1.0 §3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    basic_auth: bool
    names_itself: bool  # its answers carry `iss` (RFC 9207)


def read_metadata(document: dict[str, Any], provider: OpenIdProvider) -> Metadata:
    """Read a discovery document. Raises `Unavailable`: whatever it is, it is not the provider's."""
    if document.get("issuer") != provider.issuer:
        raise outside.unavailable(
            provider.title,
            f"the discovery document is of {document.get('issuer')!r:.200}, "
            f"the configuration says {provider.issuer!r}",
        )
    loopback = is_on_loopback(provider.issuer)

    def address(name: str) -> str:
        url = document.get(name)
        if not outside.is_safe(url, loopback=loopback):
            raise outside.unavailable(provider.title, f"discovery document: {name} {url!r:.200}")
        return str(url)

    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or not {"client_secret_basic", "client_secret_post"} & {
        method for method in methods if isinstance(method, str)
    }:
        raise outside.unavailable(provider.title, f"clients authenticate by {methods!r:.200}")
    return Metadata(
        authorization_endpoint=address("authorization_endpoint"),
        token_endpoint=address("token_endpoint"),
        jwks_uri=address("jwks_uri"),
        userinfo_endpoint=address("userinfo_endpoint") if "userinfo_endpoint" in document else "",
        end_session_endpoint=(
            address("end_session_endpoint") if "end_session_endpoint" in document else ""
        ),
        basic_auth="client_secret_basic" in methods,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


class BackChannel(GenericOAuthenticator):
    """oauthenticator's token and userinfo requests, with answers that are bounded and never logged.

    Upstream puts what came back into its log and its exceptions, follows redirects, and does not
    encode client ids and secrets as RFC 6749 §2.3.1 has it.
    """

    def __init__(self, provider: OpenIdProvider, secret: str, metadata: Metadata) -> None:
        super().__init__(
            client_id=provider.client_id,
            client_secret=secret,
            token_url=metadata.token_endpoint,
            userdata_url=metadata.userinfo_endpoint,
            basic_auth=metadata.basic_auth,
            # upstream takes the defaults of these from the environment
            validate_server_cert=True,
            userdata_token_method="header",  # noqa: S106 - not in the address
        )
        self._provider = provider

    def build_token_info_request_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super().build_token_info_request_headers()
        if self.basic_auth:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers

    async def fetch(
        self, req: HTTPRequest, label: str = "", parse_json: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        answer = await outside.fetch(req, self._provider.title)
        said = answer.json()
        if answer.status == 200 and said is not None:
            return said
        error = (said or {}).get("error")
        where = f"{outside.without_query(req.url)}: HTTP {answer.status}"
        if 400 <= answer.status < 500 and isinstance(error, str):
            raise refused(self._provider, oidc.reason(error), f"{where} {error!r:.80}")
        raise outside.unavailable(self._provider.title, where)

    async def tokens(self, code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
        """Exchange a code (RFC 6749 §4.1.3): the answer, with an `access_token`."""
        params = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        if not self.basic_auth:
            params |= {"client_id": self.client_id, "client_secret": self.client_secret}
        try:
            tokens: dict[str, Any] = await self.get_token_info(None, params)
        except HTTPError:  # whose message holds what came back
            raise self._invalid("token response without an access token") from None
        access_token, kind = tokens.get("access_token"), tokens.get("token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise self._invalid("token_type")
        if not isinstance(access_token, str) or not access_token.isascii():
            raise self._invalid("access_token")
        return tokens

    def _invalid(self, log_detail: str) -> Refused:
        return Refused(
            "sign-in-message-invalid", provider=self._provider.title, log_detail=log_detail
        )


class Client:
    """What we are to one provider."""

    def __init__(self, provider: OpenIdProvider, secret: str, hub_url: str) -> None:
        self.provider = provider
        self.redirect_uri = f"{hub_url}oidc/{provider.name}/callback"
        self._secret = secret
        self.metadata = Kept(f"discovery of {provider.name}", self._fetch_metadata)
        self.keys = Kept(f"keys of {provider.name}", self._fetch_keys)

    async def _fetch_metadata(self) -> Metadata:
        url = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        return read_metadata(await self._document(url), self.provider)

    async def _fetch_keys(self) -> tuple[oidc.SigningKey, ...]:
        url = (await self.metadata.get()).jwks_uri
        keys = oidc.signing_keys(await self._document(url))
        if not keys:
            raise outside.unavailable(self.provider.title, f"{url}: no key that can be used")
        return keys

    async def _document(self, url: str) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        answer = await outside.fetch(HTTPRequest(url, headers=headers), self.provider.title)
        document = answer.json()
        if answer.status != 200 or document is None:
            raise outside.unavailable(self.provider.title, f"{url}: HTTP {answer.status}, no JSON")
        return document

    async def request(self, attempt: Attempt) -> str:
        """The address that an attempt goes to (OpenID Connect Core §3.1.2.1)."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
        return url_concat(
            (await self.metadata.get()).authorization_endpoint,
            {
                "response_type": "code",
                "client_id": self.provider.client_id,
                "redirect_uri": self.redirect_uri,
                "scope": " ".join(dict.fromkeys(("openid", *self.provider.scopes))),
                "state": attempt.id,
                "nonce": attempt.nonce,
                "code_challenge": challenge.rstrip(b"=").decode(),
                "code_challenge_method": "S256",
            },
        )

    async def check_answerer(self, issuer: str) -> None:
        """Compare the `iss` of an answer with the provider that was asked (RFC 9207 §2.4)."""
        expected = (await self.metadata.get()).names_itself
        if (issuer or expected) and issuer != self.provider.issuer:
            raise Refused(
                "sign-in-message-invalid",
                provider=self.provider.title,
                log_detail=f"iss of the answer {issuer!r:.200}",
            )

    async def claims(self, code: str, attempt: Attempt, tolerance: timedelta) -> Claims:
        """Who a code stands for. Raises `Refused` and `Unavailable`."""
        metadata = await self.metadata.get()
        channel = BackChannel(self.provider, self._secret, metadata)
        tokens = await channel.tokens(code, self.redirect_uri, attempt.verifier)
        verified = await self._verify(tokens.get("id_token"))
        checked = oidc.check(
            verified,
            self.provider,
            nonce=attempt.nonce,
            access_token=tokens["access_token"],
            began_at=datetime.fromtimestamp(attempt.began_at, UTC),
            now=datetime.now(UTC),
            tolerance=tolerance,
        )
        log.info(
            "%s: clock ahead of ours by %.0f s",
            self.provider.name,
            checked.ahead.total_seconds(),
        )
        userinfo = {}
        if metadata.userinfo_endpoint:
            userinfo = await channel.token_to_user(tokens)
            oidc.check_userinfo(userinfo, checked.subject, self.provider)
        return oidc.claims(self.provider, checked.subject, verified.claims, userinfo)

    async def _verify(self, token: object) -> oidc.Verified:
        try:
            return oidc.verify(token, await self.keys.get(), self.provider)
        except oidc.UnknownKey:
            pass
        try:
            return oidc.verify(token, await self.keys.renewed(), self.provider)
        except oidc.UnknownKey:
            raise Refused(
                "sign-in-message-invalid",
                provider=self.provider.title,
                log_detail="signed with a key that the provider does not publish",
            ) from None


class OidcHandler(ProviderHandler):
    def client(self, name: str) -> Client:
        named(self.doors.settings.openid, name)
        clients: dict[str, Client] = self.doors.extras["oidc"]
        return clients[name]


class LoginHandler(OidcHandler):
    """`/oidc/NAME/login?next=…`: to the provider."""

    async def get(self, name: str) -> None:
        client = self.client(name)
        await client.metadata.get()
        attempt = self.begin(Door.OIDC, name)
        self.redirect(await client.request(attempt), status=303)


class CallbackHandler(OidcHandler):
    """`/oidc/NAME/callback`: back from the provider, with a code or an error."""

    async def get(self, name: str) -> None:
        client = self.client(name)
        provider = client.provider
        attempt = self.take(self.single("state", provider), Door.OIDC)
        if attempt.provider != name:
            raise Refused(
                "sign-in-message-invalid",
                provider=provider.title,
                log_detail=f"answers an attempt at {attempt.provider}",
            )
        await client.check_answerer(self.single("iss", provider))
        if error := self.single("error", provider):
            raise refused(provider, oidc.reason(error), f"{error!r:.80}")
        code = self.single("code", provider)
        if not code:
            raise Refused("sign-in-message-invalid", provider=provider.title, log_detail="no code")
        claims = await client.claims(code, attempt, self.doors.settings.clock_tolerance)
        await self.welcome(sign_in_for(claims, self.doors.settings), attempt)


HANDLERS: list[tuple[str, type]] = [
    (r"/oidc/([a-z][a-z0-9-]{0,29})/login", LoginHandler),
    (r"/oidc/([a-z][a-z0-9-]{0,29})/callback", CallbackHandler),
]


def start(doors: Doors) -> None:
    """Read the secrets. Raises ValueError for a file or an address that cannot be used."""
    clients = {}
    for provider in doors.settings.openid:
        check_address(provider.issuer, provider)
        clients[provider.name] = Client(provider, _secret(provider), doors.hub_url)
    doors.extras["oidc"] = clients
    doors.logouts.append(logout_url)


def _secret(provider: OpenIdProvider) -> str:
    file = provider.client_secret_file
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"client_secret_file of the provider “{provider.name}” cannot be read: "
            f"{file} ({type(error).__name__})"
        ) from None
    if not secret or not secret.isprintable():
        raise ValueError(
            f"client_secret_file of the provider “{provider.name}” holds no secret: {file}"
        )
    return secret


def logout_url(doors: Doors, provider: str) -> str | None:
    """Where somebody signs out of a provider too (OpenID Connect RP-Initiated Logout 1.0 §2).

    None where it is not an OpenID provider, has no such address or was not asked for it yet.
    """
    client: Client | None = doors.extras.get("oidc", {}).get(provider)
    metadata = client.metadata.value if client else None
    if client is None or metadata is None or not metadata.end_session_endpoint:
        return None
    return url_concat(
        metadata.end_session_endpoint,
        {
            "client_id": client.provider.client_id,
            "post_logout_redirect_uri": f"{doors.hub_url}logout",
        },
    )
