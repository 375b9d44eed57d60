"""What people say of the time of their running servers, and what they are warned of."""

from __future__ import annotations

import re
from datetime import timedelta

from tornado.web import RequestHandler

from ...domain import names
from ...domain.culling import Server
from ...domain.errors import Invalid, NotFound
from ...store import lifetimes
from ...web.service import now
from .lifetime_api import LONGEST_MINUTES
from .pages import SLUG, Action, CataloguePage


class LifetimeAction(Action):
    """What a form's POST says of the time of the person's running server."""

    async def seen(self, slug: str) -> Server:
        """The server as the hub knows it. Raises `NotFound` where none runs."""
        server = (await self.hub_api.servers(self.person.name)).get(names.server_name(slug))
        if server is None or not server.ready or names.is_trial(slug):
            raise NotFound("server-not-running")
        return Server(started=server.started, last_activity=server.last_activity)


class ExtendAction(LifetimeAction):
    """`POST /extend/SLUG`: somebody is there, and goes on as far as one click does."""

    async def post(self, slug: str) -> None:
        await self.database.write(
            lifetimes.extend,
            slug,
            self.person,
            await self.seen(slug),
            now(),
            limits=self.limits,
            site=self.site,
        )
        self.redirect(self.addresses.service_prefix, status=303)


class ProtectAction(LifetimeAction):
    """`POST /protect/SLUG`: keep it running for `minutes` though nobody is there; 0 ends that."""

    async def post(self, slug: str) -> None:
        minutes = self.get_body_argument("minutes", "")
        if not re.fullmatch("[0-9]{1,6}", minutes) or int(minutes) > LONGEST_MINUTES:
            raise Invalid("bad-request")
        await self.database.write(
            lifetimes.protect,
            slug,
            self.person,
            await self.seen(slug),
            timedelta(minutes=int(minutes)),
            now(),
            limits=self.limits,
            site=self.site,
        )
        self.redirect(self.addresses.service_prefix, status=303)


class WarningsPage(CataloguePage):
    """`/warnings`: what the person is told of stops to come, for notifications of the browser."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        cards, _ = await self.cards()
        tr = self.translator
        self.write(
            {
                "items": [
                    {
                        "slug": card.environment.slug,
                        "title": tr.text(card.environment.title),
                        "text": tr.warning(card.announced.code, card.announced.stops_at),
                        "key": f"{card.announced.code} {card.announced.stops_at.isoformat()}",
                    }
                    for card in cards
                    if card.announced is not None
                ]
            }
        )

    def write_error(self, status_code: int, **kwargs: object) -> None:
        self.set_status(status_code)
        self.finish({"items": []})


ROUTES: list[tuple[str, type[RequestHandler]]] = [
    (f"extend/{SLUG}", ExtendAction),
    (f"protect/{SLUG}", ProtectAction),
    ("warnings", WarningsPage),
]
