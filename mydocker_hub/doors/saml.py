"""The door of the federation: SAML 2.0, Web Browser SSO Profile (SAML Profiles §4.1).

`/saml/login` leads to an institution, `/saml/acs` takes its answer, a form that the browser posts
from there. It brings none of our cookies, so that it is verified, kept, and taken up by the GET of
`/saml/done`. RelayState is neither sent nor read: where to go then is in the sealed cookie.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from tornado.httputil import url_concat

from ..domain.errors import Invalid, MydockerError, NotFound, Refused
from ..federation import sp
from ..federation.refresh import Federation
from ..federation.response import Responses, Verified, attempt_of, request_id
from ..hubpages import language_of
from ..identity.claims import Door, Spent
from ..identity.roles import sign_in_for
from ..identity.saml import PROVIDER
from ..identity.settings import Federation as FederationSettings
from ..web import i18n
from .attempts import Attempt, spent
from .base import DoorHandler, Doors, FormHandler

_MOST_FIELDS = 10
_PAGE = 20
_CACHE_SECONDS = 60


@dataclass(frozen=True)
class Saml:
    """What this door keeps: `doors.extras["saml"]`. `starting` is over once metadata are read."""

    responses: Responses
    starting: asyncio.Task[None]


def start(doors: Doors) -> None:
    """Begin to read the metadata; make our keys where there are none. Needs a running loop.

    Raises ValueError where the machine has no xmlsec1.
    """
    federation = Federation(doors)
    sp.sp_config(doors)
    doors.extras["federation"] = federation
    doors.extras["saml"] = Saml(
        Responses(federation), asyncio.get_running_loop().create_task(federation.start())
    )


class SamlHandler(DoorHandler):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    @property
    def responses(self) -> Responses:
        kept: Saml = self.doors.extras["saml"]
        return kept.responses

    @property
    def federation(self) -> Federation:
        federation: Federation = self.doors.federation
        return federation

    @property
    def rules(self) -> FederationSettings:
        return self.federation.rules

    async def ask(self, entity_id: str, attempt: Attempt | None = None) -> None:
        """Send the browser to an institution; `attempt` is one that was to choose it."""
        idp = await self.federation.idp(entity_id)
        if attempt is None:
            begun = self.begin(Door.SAML, PROVIDER, idp=idp.entity_id)
        else:
            begun = Attempt(
                door=Door.SAML,
                provider=PROVIDER,
                next=attempt.next,
                link_to=attempt.link_to,
                extra={"idp": idp.entity_id},
            )
            self.doors.attempts.begin(self, begun)
        url = await self.responses.login_request(
            idp,
            request_id(begun.id, begun.began_at),
            force=self.rules.force_authentication,
        )
        self.redirect(url, status=303)


class LoginHandler(SamlHandler):
    """`/saml/login?idp=ENTITY_ID&next=…`: to an institution, or to where it is chosen."""

    async def get(self) -> None:
        entity_id = self.get_query_argument("idp", "") or self.get_query_argument("entityID", "")
        if entity_id:
            await self.ask(entity_id)
        elif self.rules.discovery_service:
            self._discover(self.rules.discovery_service)
        else:
            asked = {name: self.get_query_argument(name, "") for name in ("next", "link")}
            given = {name: value for name, value in asked.items() if value}
            self.redirect(url_concat(f"{self.hub.base_url}login", given))

    def _discover(self, service: str) -> None:
        """To a discovery service (Identity Provider Discovery Service Protocol 1.0 §2.4.1)."""
        attempt = self.begin(Door.SAML, PROVIDER)
        asked = {
            "entityID": sp.entity_id(self.doors),
            "return": url_concat(sp.disco_url(self.doors), {"attempt": attempt.id}),
            "returnIDParam": "entityID",
        }
        self.redirect(url_concat(service, asked), status=303)


class DiscoHandler(SamlHandler):
    """`/saml/disco?attempt=…&entityID=…`: back from a discovery service, with an institution.

    Which one may have been said by anybody: it has to be on our list as any other.
    """

    async def get(self) -> None:
        entity_id = self.get_query_argument("entityID", "")
        if not entity_id:
            raise NotFound("sign-in-institution-unknown", log_detail="none was chosen")
        asked = self.get_query_argument("attempt", "")
        attempt = self.take(asked, Door.SAML) if asked else None
        if attempt is not None and attempt.extra:
            raise Refused("sign-in-other-browser", log_detail="not an attempt to choose")
        await self.ask(entity_id, attempt)


class MetadataHandler(SamlHandler):
    """`/saml/metadata`: our metadata, for the federation's desk."""

    async def get(self) -> None:
        metadata = await asyncio.to_thread(sp.own_metadata, self.doors)
        self.set_header("Content-Type", sp.MEDIA_TYPE)
        self.set_header("Cache-Control", f"public, max-age={_CACHE_SECONDS}")
        self.finish(metadata)


class AcsHandler(FormHandler, SamlHandler):
    """`/saml/acs`: an institution's answer, by the browser (SAML Bindings §3.5, HTTP POST)."""

    async def get(self) -> None:
        """Somebody loads the page again, or comes back to it by a bookmark."""
        raise Refused("sign-in-expired", log_detail="no answer in it")

    async def post(self) -> None:
        try:
            # Reading a form of this size would hold the hub up.
            sent = await asyncio.to_thread(self._saml_response)
            verified = await self.responses.check(sent)
        except MydockerError as error:
            _say_in_each_language(error)
            raise
        ticket = self.doors.tickets.keep(verified, once=_spent(verified).key)
        self.redirect(url_concat(f"{self.hub.base_url}saml/done", {"ticket": ticket}), status=303)

    def _saml_response(self) -> str:
        try:
            fields = parse_qsl(
                self.body.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_MOST_FIELDS,
            )
        except ValueError:
            raise Invalid("bad-request", log_detail="not a form") from None
        found = [value for name, value in fields if name == "SAMLResponse"]
        if len(found) != 1:
            raise Invalid("bad-request", log_detail=f"{len(found)} fields SAMLResponse")
        return found[0]


class DoneHandler(SamlHandler):
    """`/saml/done?ticket=…`: the browser that began the sign-in takes up the verified answer."""

    async def prepare(self) -> None:
        await super().prepare()
        # The ticket has been read: neither the hub's log nor a link of a page repeats it.
        self.request.uri = self.request.path

    async def get(self) -> None:
        ticket = self.get_query_argument("ticket", "")
        verified = self.doors.tickets.look(ticket)
        if not isinstance(verified, Verified):
            raise Refused("sign-in-expired", log_detail="no ticket of this door")
        attempt = self.take(attempt_of(verified.in_response_to), Door.SAML)
        self.doors.tickets.take(ticket)
        if attempt.extra.get("idp") != verified.issuer:
            raise Refused(
                "sign-in-message-invalid",
                provider=verified.claims.institution or verified.issuer,
                log_detail=f"{verified.issuer} answers for {attempt.extra.get('idp')}",
            )
        sign_in = sign_in_for(verified.claims, self.doors.settings, spent=(_spent(verified),))
        await self.welcome(sign_in, attempt)


def _spent(verified: Verified) -> Spent:
    return spent("assertion", f"{verified.issuer} {verified.assertion_id}", verified.remember)


class InstitutionsHandler(SamlHandler):
    """`/institutions?q=&offset=`: a page of the institutions, for the search on the sign-in page.

    `{"items": [{"entity_id", "name": {"fr", "en"}, "logo"}], "total"}`
    """

    async def get(self) -> None:
        text = self.get_query_argument("q", "")[:100].replace("\x00", "")
        offset = self.get_query_argument("offset", "0")
        if not (offset.isascii() and offset.isdecimal() and len(offset) < 7):
            raise Invalid("bad-request", log_detail="offset")
        found = await self.federation.search(
            text, language_of(self), limit=_PAGE, offset=int(offset)
        )
        self.set_header("Cache-Control", f"private, max-age={_CACHE_SECONDS}")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(
            {
                "items": [
                    {
                        "entity_id": one.entity_id,
                        "name": one.name.model_dump(),
                        "logo": one.logo,
                    }
                    for one in found.institutions
                ],
                "total": found.total,
            }
        )


def _say_in_each_language(error: MydockerError) -> None:
    """The reason that an institution gives (`identity.saml.reason`)."""
    reason: Any = error.params.get("reason")
    if isinstance(reason, str):
        error.params["reason"] = {
            language: i18n.translator(language).known(reason) for language in i18n.LANGUAGES
        }


HANDLERS: list[tuple[str, type]] = [
    (r"/saml/login", LoginHandler),
    (r"/saml/disco", DiscoHandler),
    (r"/saml/metadata", MetadataHandler),
    (r"/saml/acs", AcsHandler),
    (r"/saml/done", DoneHandler),
    (r"/institutions", InstitutionsHandler),
]
