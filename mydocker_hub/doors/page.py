"""The sign-in page, one for all doors, and the page after signing out."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub._xsrf_utils import _set_xsrf_cookie
from jupyterhub.handlers.base import SESSION_COOKIE_NAME
from jupyterhub.handlers.login import LoginHandler as UpstreamLoginHandler
from jupyterhub.handlers.login import LogoutHandler as UpstreamLogoutHandler
from tornado.httputil import url_concat

from ..domain.environment import Text
from ..domain.errors import MydockerError
from ..hubpages import MayBeFramed, language_of
from .base import DoorHandler, Doors

_FEW_INSTITUTIONS = 12
"""So many are listed without a search."""

_FOUND = 20


@dataclass(frozen=True)
class WayIn:
    """A button of the sign-in page."""

    provider: str
    title: Text
    help: Text | None
    url: str


def ways_in(doors: Doors, base_url: str) -> list[WayIn]:
    """The providers that are one button each; institutions and platforms are not."""
    settings = doors.settings
    return [
        *(
            WayIn(one.name, one.title, one.help, f"{base_url}oidc/{one.name}/login")
            for one in settings.openid
        ),
        *(
            WayIn(one.name, one.title, one.help, f"{base_url}cas/{one.name}/login")
            for one in settings.cas
        ),
    ]


class LoginHandler(DoorHandler, UpstreamLoginHandler):
    """`/login`: choose an institution or a provider; straight on where there is no choice.

    `q` searches the institutions, for browsers without JavaScript; `link` adds a door to the
    account that is signed in (`doors.link`).
    """

    async def get(self) -> None:
        link = self._linking()
        if self.current_user is not None and not link:
            self.set_login_cookie(self.current_user)
            self.redirect(self.get_next_url(self.current_user))
            return
        asked = {"next": self.get_argument("next", "")}
        if link:
            asked = {"next": "", "link": self.get_argument("link")}
        only = await self._only_way()
        if only and not link and self.doors.settings.auto_login:
            self.redirect(url_concat(only, asked))
            return
        # The form's time begins now (as upstream does).
        token = self.xsrf_token
        if self.request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate":
            _set_xsrf_cookie(
                self, self._xsrf_token_id, cookie_path=self.hub.base_url, xsrf_token=token
            )
        self.set_header("Cache-Control", "no-store")
        self.finish(await self._page(asked, link=link))

    async def _only_way(self) -> str:
        """Where to go straight away: the address of the only door, or nothing."""
        ways = ways_in(self.doors, self.hub.base_url)
        federation = self.doors.settings.federation
        if self.doors.demo:
            return ""
        if federation is None:
            return ways[0].url if len(ways) == 1 else ""
        if ways:
            return ""
        if federation.discovery_service:
            return f"{self.hub.base_url}saml/login"
        try:
            found = await self.doors.federation.search("", language_of(self), limit=1)
        except MydockerError:
            return ""
        return self._at(found.institutions[0].entity_id) if found.total == 1 else ""

    def _at(self, entity_id: str) -> str:
        return f"{self.hub.base_url}saml/login?idp={quote(entity_id, safe='')}"

    async def _page(self, asked: dict[str, str], *, link: str = "", login_error: str = "") -> str:
        federation = self.doors.settings.federation
        shown: dict[str, Any] = {}
        if federation is not None and not federation.discovery_service:
            try:
                shown = await self._institutions()
            except MydockerError as error:
                shown = {"unavailable": error}
        context = self._context(asked, link=link, login_error=login_error)
        return await self.render_template("login.html", **context | shown)

    async def _institutions(self) -> dict[str, Any]:
        """Those to be shown: found, or few, and the one of last time."""
        text = self.get_argument("q", "")[:100].replace("\x00", "")
        search = self.doors.federation.search
        found = await search(text, language_of(self), limit=_FOUND)
        few = text or found.total <= _FEW_INSTITUTIONS
        last = None
        provider, issuer = self.last_door()
        if provider == "federation":
            with suppress(MydockerError):  # it has left the federation, or may not enter now
                last = await self.doors.federation.idp(issuer)
        return {
            "text": text,
            "institutions": found.institutions if few else (),
            "total": found.total,
            "last": last,
        }

    def _context(
        self, asked: dict[str, str], *, link: str = "", login_error: str = ""
    ) -> dict[str, Any]:
        provider, _ = self.last_door()
        ways = ways_in(self.doors, self.hub.base_url)
        ways.sort(key=lambda way: way.provider != provider)  # that of last time comes first
        kept = {name: value for name, value in asked.items() if value}
        return {
            "ways": ways,
            "last_provider": provider,
            "federation": self.doors.settings.federation,
            "institutions": (),
            "total": 0,
            "text": "",
            "last": None,
            "unavailable": None,
            "asked": asked,
            "with_asked": lambda url: url_concat(url, kept),
            "at": lambda entity_id: url_concat(self._at(entity_id), kept),
            "linking": link,
            "support": self.doors.settings.support,
            "links": self.doors.settings.links,
            "lti": self.doors.settings.lti is not None,
            "milliseconds": int(time.time() * 1000),
            "login_error": login_error,
            "authenticator_login_url": url_concat(
                self.authenticator.login_url(self.hub.base_url), {"next": asked["next"]}
            ),
            "xsrf": self.xsrf_token.decode("ascii"),
        }

    def _render(self, login_error: str = "", **context: Any) -> Any:
        """The page again, after the demonstration's form was refused: awaited, or (sync) not."""
        asked = {"next": self.get_argument("next", "")}
        if context.get("sync"):
            shown = self._context(asked, login_error=login_error)
            return self.render_template("login.html", sync=True, **shown)
        return self._page(asked, login_error=login_error)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        UpstreamLoginHandler.write_error(self, status_code, **kwargs)


class LogoutHandler(MayBeFramed, DoorHandler, UpstreamLogoutHandler):
    """`/logout`: what has ended, and what has not."""

    async def default_handle_logout(self) -> None:
        user = self.current_user
        if user is not None and not self.get_cookie(SESSION_COOKIE_NAME):
            # Which session it was is not known: end all that services were told of this person.
            tokens = self.db.query(orm.APIToken).filter_by(user_id=user.id)
            for token in tokens.filter(orm.APIToken.session_id.is_not(None)):
                self.db.delete(token)
            self.db.commit()
        await super().default_handle_logout()

    async def render_logout_page(self) -> None:
        provider, issuer = self.last_door()
        title = None
        if provider == "federation" and self.doors.settings.federation is not None:
            try:
                title = (await self.doors.federation.idp(issuer)).name
            except MydockerError:
                title = self.doors.settings.federation.title
        for one in (*self.doors.settings.openid, *self.doors.settings.cas):
            if one.name == provider:
                title = one.title
        addresses = (address(self.doors, provider) for address in self.doors.logouts)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "logout.html",
                provider=title,
                provider_logout=next(filter(None, addresses), None),
            )
        )


HANDLERS: list[tuple[str, type]] = [(r"/login", LoginHandler), (r"/logout", LogoutHandler)]
