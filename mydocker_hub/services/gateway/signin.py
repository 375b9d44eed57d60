"""Who asks for a server: by a cookie of ours, by a token of the hub, or after a sign-in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from jupyterhub.services.auth import HubOAuth
from tornado.httputil import url_concat

from ...domain.errors import MydockerError, NotFound, Refused
from ...domain.passing import is_trusted
from ...domain.route import Route
from ...web.frames import COOKIE_OPTIONS
from .access import Model
from .handlers import GatewayHandler
from .state import Ticket

ORIGIN_PREFIX = "/.mydocker/"
_COOKIE = "mydocker-server"
_STATE_COOKIE = "mydocker-sign-in-"
_HUB_SESSION = "jupyterhub-session-id"  # jupyterhub/handlers/base.py
_COOKIE_SECONDS = 14 * 24 * 3600  # as the hub's own
_SIGN_IN_SECONDS = 600
_TICKET_SECONDS = 60
_LONGEST_ADDRESS = 2000  # sealed, in a cookie of at most 4096 bytes (RFC 6265 section 6.1)


class SignInHandler(GatewayHandler):
    """A request that somebody makes who is known, or is sent to sign in."""

    _token: str  # by which the hub knows who asks
    _hub_token: bool  # whether they sent it themselves, in a header

    # --- who asks --------------------------------------------------------------------------------

    async def _enter(self, route: Route, *, port: int | None) -> Model | None:
        """Who asks, and may; None where the answer has been given (they were sent to sign in).

        `port` is None at the hub's origin. Raises `Refused` for those who may not.
        """
        access = self.gateway.access
        self._hub_token = False
        scheme, _, sent = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() in {"token", "bearer"} and sent.strip():
            model = await access.identify(route, sent.strip())
            if model is not None:
                self._hub_token = True  # never for the container
                if not access.may_enter(route, model):
                    raise Refused("server-not-yours")
                self._token = sent.strip()
                return model
        cookie = _COOKIE if port is None else self._origin_cookie
        token = self._token_of(route, self.get_cookie(cookie), port)
        if token is not None:
            headers = list(self.request.headers.get_all())
            if not is_trusted(self.request.method or "", headers, self.request.host):
                raise Refused("cross-site")
            model = await access.identify(route, token)
            if model is not None:
                if not access.may_enter(route, model):
                    raise Refused("server-not-yours")
                self._token = token
                return model
        if not self._reads or not self._navigates:
            raise Refused("sign-in-needed")
        if port is None:
            self._send_to_sign_in(route)
        else:
            self._fetch_sign_in(route, port)
        return None

    @property
    def _navigates(self) -> bool:
        headers = self.request.headers
        if headers.get("Upgrade", "").lower() == "websocket":
            return False
        return headers.get("Sec-Fetch-Mode", "navigate") == "navigate"

    def _token_of(self, route: Route, sealed: str | None, port: int | None) -> str | None:
        opened = self.gateway.cookies.open(sealed, seconds=_COOKIE_SECONDS) if sealed else None
        if not isinstance(opened, dict):
            return None
        if (opened["client"], opened["port"]) != (route.client_id, port):
            return None
        if port is None and opened.get("session", "") != self._session:
            return None
        return str(opened["token"])

    def _remember(self, name: str, sealed: str, *, path: str, seconds: int) -> None:
        self.set_cookie(
            name,
            sealed,
            path=path,
            max_age=seconds,
            httponly=True,
            **self._cookie_site,
        )

    @property
    def _cookie_site(self) -> dict[str, Any]:
        if self.gateway.settings.frame_origins:
            return COOKIE_OPTIONS
        return {"samesite": "Lax", "secure": self._scheme == "https"}

    @property
    def _session(self) -> str:
        """The hub's session of this browser, which ends when somebody signs out.

        At an origin of its own the browser does not send it; there the hub's word counts, which is
        asked for each minute.
        """
        return self.get_cookie(_HUB_SESSION, "") or ""

    @property
    def _next(self) -> str:
        """Where to go on after the sign-in: here."""
        address = self.request.uri or ""
        if len(address) > _LONGEST_ADDRESS:
            address = self.request.path
        return address if len(address) <= _LONGEST_ADDRESS else "/"

    def _note(self, name: str) -> dict[str, Any] | None:
        """What this browser was to go on with."""
        sealed = self.get_cookie(name)
        note = self.gateway.notes.open(sealed, seconds=_SIGN_IN_SECONDS) if sealed else None
        return note if isinstance(note, dict) else None

    def _send_to_sign_in(self, route: Route) -> None:
        """To the hub, with a note in a cookie of what to go on with (RFC 6749 §10.12)."""
        state = secrets.token_urlsafe(16)
        verifier, challenge, _ = HubOAuth.generate_pkce_code_challenge(None)
        note = {
            "state": state,
            "verifier": verifier,
            "client": route.client_id,
            "next": self._next,
        }
        name = _STATE_COOKIE + state[:8]
        sealed = self.gateway.notes.close(note)
        self._remember(name, sealed, path=_callback(route), seconds=_SIGN_IN_SECONDS)
        self.redirect(self.gateway.access.sign_in_url(route, state=state, challenge=challenge))

    async def _signed_in(self, route: Route) -> None:
        """The hub sends somebody back."""
        state = self.get_argument("state", "")
        name = _STATE_COOKIE + state[:8]
        note = self._note(name)
        if (
            note is None
            or note.get("client") != route.client_id
            or not hmac.compare_digest(note["state"].encode(), state.encode())
        ):
            raise MydockerError("sign-in-interrupted")
        self.clear_cookie(name, path=_callback(route))
        if self.get_argument("error", ""):
            raise Refused("server-not-yours")
        access = self.gateway.access
        token = await access.token(route, self.get_argument("code", ""), note["verifier"])
        if token is None:
            raise MydockerError("sign-in-interrupted")
        model = await access.identify(route, token)
        if model is None or not access.may_enter(route, model):
            raise Refused("server-not-yours")
        value = {
            "client": route.client_id,
            "port": None,
            "token": token,
            "session": self._session,
        }
        sealed = self.gateway.cookies.close(value)
        self._remember(_COOKIE, sealed, path=route.base_url, seconds=_COOKIE_SECONDS)
        self.redirect(note["next"])

    # --- to an origin of its own -----------------------------------------------------------------
    #
    # A sign-in at the hub's origin is carried to the origin of a port by a ticket that is used
    # once, within a minute, in the browser that asked for it: that browser holds, as a cookie of
    # that origin, what the ticket was made for. So nobody can be made to use another's sign-in.

    @property
    def _origin_cookie(self) -> str:
        # With the prefix, no neighbour's page can set it (RFC 6265bis §4.1.3.2).
        return self._guarded(_COOKIE)

    def _guarded(self, name: str) -> str:
        return f"__Host-{name}" if self._scheme == "https" else name

    def _fetch_sign_in(self, route: Route, port: int) -> None:
        proof = secrets.token_urlsafe(16)
        note = {"proof": proof, "next": self._next}
        name = self._guarded(_STATE_COOKIE + proof[:8])
        sealed = self.gateway.notes.close(note)
        self._remember(name, sealed, path="/", seconds=_SIGN_IN_SECONDS)
        self.redirect(
            url_concat(
                f"{self.gateway.settings.public_url}{route.base_url}oauth_origin",
                {"port": str(port), "state": _fingerprint(proof), "note": proof[:8]},
            )
        )

    def _carry_over(self, route: Route) -> None:
        port = self.get_argument("port", "")
        state = self.get_argument("state", "")
        note = self.get_argument("note", "")
        if not self.gateway.settings.wildcard_url or not port.isdigit() or len(port) > 5:
            raise NotFound()
        tickets = self.gateway.tickets
        now = self.request._start_time
        for name in [name for name, ticket in tickets.items() if ticket.until < now]:
            del tickets[name]
        ticket = secrets.token_urlsafe(32)
        tickets[ticket] = Ticket(
            client_id=route.client_id,
            port=int(port),
            state=state,
            token=self._token,
            until=now + _TICKET_SECONDS,
        )
        self.redirect(
            url_concat(
                f"{self._origin(route, int(port))}{ORIGIN_PREFIX}sign-in",
                {"ticket": ticket, "note": note},
            )
        )

    def _take_ticket(self, route: Route, port: int) -> None:
        name = self._guarded(_STATE_COOKIE + self.get_argument("note", ""))
        note = self._note(name)
        ticket = self.gateway.tickets.pop(self.get_argument("ticket", ""), None)
        if (
            note is None
            or ticket is None
            or ticket.until < self.request._start_time
            or (ticket.client_id, ticket.port) != (route.client_id, port)
            or not hmac.compare_digest(ticket.state.encode(), _fingerprint(note["proof"]).encode())
        ):
            raise MydockerError("sign-in-interrupted")
        self.clear_cookie(name, path="/", secure=self._scheme == "https")
        value = {"client": route.client_id, "port": port, "token": ticket.token}
        sealed = self.gateway.cookies.close(value)
        self._remember(self._origin_cookie, sealed, path="/", seconds=_COOKIE_SECONDS)
        # With the origin: an address that begins with // would be another host's.
        self.redirect(self._origin(route, port) + note["next"])

    def _origin(self, route: Route, port: int) -> str:
        return self.gateway.settings.wildcard_url.replace("*", f"{port}-{route.label}")


def _callback(route: Route) -> str:
    return f"{route.base_url}oauth_callback"


def _fingerprint(proof: str) -> str:
    return hashlib.sha256(proof.encode()).hexdigest()
