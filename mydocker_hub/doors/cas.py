"""The door of CAS 3.0 servers: a service ticket that the server itself validates.

`/cas/NAME/login` leads to the server, which sends people back to `/cas/NAME/callback` with a
ticket. The address of the service holds the attempt, so that a ticket that was made for another
browser's attempt, or for another service, is validated for nobody.
"""

from __future__ import annotations

from datetime import timedelta

from tornado.httpclient import HTTPRequest
from tornado.httputil import url_concat

from ..domain.errors import Refused
from ..identity import cas
from ..identity.claims import Claims, Door
from ..identity.roles import sign_in_for
from ..identity.settings import CasProvider
from . import outside
from .attempts import spent
from .base import Doors
from .provider import ProviderHandler, check_address, named, refused

_TICKET_LASTS = timedelta(hours=1)  # much longer than any server honours one (§3.1.1: 5 minutes)


class CasHandler(ProviderHandler):
    def provider(self, name: str) -> CasProvider:
        return named(self.doors.settings.cas, name)


class LoginHandler(CasHandler):
    """`/cas/NAME/login?next=…`: to the server."""

    async def get(self, name: str) -> None:
        provider = self.provider(name)
        attempt = self.begin(Door.CAS, name)
        service = service_url(self.doors.hub_url, provider, attempt.id)
        self.redirect(url_concat(f"{cas.issuer(provider)}/login", {"service": service}), status=303)


class CallbackHandler(CasHandler):
    """`/cas/NAME/callback`: back from the server, with a ticket."""

    async def get(self, name: str) -> None:
        provider = self.provider(name)
        attempt = self.take(self.single("state", provider), Door.CAS)
        ticket = self.single("ticket", provider)
        if attempt.provider != name or not cas.is_ticket(ticket):
            raise Refused(
                "sign-in-message-invalid",
                provider=provider.title,
                log_detail=f"an attempt at {attempt.provider}, a ticket of {len(ticket)} letters",
            )
        service = service_url(self.doors.hub_url, provider, attempt.id)
        claims = await validate(provider, service, ticket)
        once = spent("casticket", f"{claims.issuer} {ticket}", _TICKET_LASTS)
        await self.welcome(sign_in_for(claims, self.doors.settings, spent=(once,)), attempt)


def service_url(hub_url: str, provider: CasProvider, attempt_id: str) -> str:
    """The service that a ticket is asked for, and validated for."""
    return f"{hub_url}cas/{provider.name}/callback?state={attempt_id}"


async def validate(provider: CasProvider, service: str, ticket: str) -> Claims:
    """Ask the server who a ticket stands for. Raises `Refused` and `Unavailable`."""
    url = url_concat(
        f"{cas.issuer(provider)}/p3/serviceValidate", {"service": service, "ticket": ticket}
    )
    request = HTTPRequest(url, headers={"Accept": "application/xml"})
    answer = await outside.fetch(request, provider.title)
    if answer.status != 200:
        raise outside.unavailable(provider.title, f"serviceValidate: HTTP {answer.status}")
    said = cas.read(answer.body)
    if isinstance(said, cas.Failure):
        raise _refusal(said, provider)
    return cas.claims(said, provider)


def _refusal(failure: cas.Failure, provider: CasProvider) -> Exception:
    if failure.code == "INVALID_SERVICE":
        return Refused("sign-in-not-for-us", provider=provider.title, log_detail=failure.code)
    if failure.code == "INTERNAL_ERROR":
        return outside.unavailable(provider.title, failure.code)
    return refused(provider, cas.reason(failure.code), f"{failure.code!r:.80}")


HANDLERS: list[tuple[str, type]] = [
    (r"/cas/([a-z][a-z0-9-]{0,29})/login", LoginHandler),
    (r"/cas/([a-z][a-z0-9-]{0,29})/callback", CallbackHandler),
]


def start(doors: Doors) -> None:
    """Check the addresses. Raises ValueError."""
    for provider in doors.settings.cas:
        check_address(provider.url, provider)
    doors.logouts.append(logout_url)


def logout_url(doors: Doors, provider: str) -> str | None:
    """Where somebody signs out of a CAS server too (CAS Protocol 3.0 §2.3); None for others."""
    for one in doors.settings.cas:
        if one.name == provider:
            back = {"service": f"{doors.hub_url}logout"}
            return url_concat(f"{cas.issuer(one)}/logout", back)
    return None
