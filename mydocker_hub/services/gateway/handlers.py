"""What the gateway's handlers have in common, and those that answer the hub alone."""

from __future__ import annotations

from typing import Any

from jupyterhub.utils import get_browser_protocol, url_path_join
from pydantic import ValidationError
from tornado.web import RequestHandler

from ...domain.errors import NotFound, Refused
from ...domain.route import Route
from ...httpclient import bears
from ...web import frames, i18n
from ...web.problems import CONTENT_TYPE, as_error, problem
from ...web.service import log_error
from .notices import Announcements
from .state import Gateway


class GatewayHandler(RequestHandler):
    """What both doors share: errors in words, nothing of tornado's own headers."""

    @property
    def gateway(self) -> Gateway:
        gateway: Gateway = self.settings["gateway"]
        return gateway

    def compute_etag(self) -> str | None:
        return None

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        log_error(self.request, kind, error, trace)

    @property
    def translator(self) -> i18n.Translator:
        return i18n.translator(
            i18n.choose_language(
                self.get_cookie(i18n.COOKIE), self.request.headers.get("Accept-Language")
            )
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        self.set_status(error.status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        if error.status == 503:
            self.set_header("Retry-After", "5")
        if self._has_body:
            self.set_header("Connection", "close")  # some of the body may still be on its way
        self.set_header("Content-Language", self.translator.lang)
        if self._for_a_person():
            self.write_page("gateway/error.html", error=error)
        else:
            self.set_header("Content-Type", CONTENT_TYPE)
            self.write(problem(error, self.translator).model_dump_json())
        self.finish()

    def _for_a_person(self) -> bool:
        return self.request.headers.get(
            "Sec-Fetch-Mode", "navigate"
        ) == "navigate" and "text/html" in self.request.headers.get("Accept", "")

    def write_page(self, template: str, **context: Any) -> None:
        """A page of ours; its templates say what they want to know."""
        settings = self.gateway.settings
        origin = settings.public_url
        hub = f"{origin}{url_path_join(settings.base_url, 'hub/')}"
        # A page between people and containers: the hub's own scripts run in it, nobody else's.
        ours = origin or "'self'"
        scripts = f"{hub}static/js/" if origin else ours
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src {scripts}; style-src {ours}; img-src {ours} data:; "
            f"font-src {ours}; {frames.policy(settings.frame_origins)}; base-uri 'none'",
        )
        translator = self.translator
        self.write(
            self.gateway.templates.get_template(template).render(
                tr=translator,
                _=translator.gettext,
                gettext=translator.gettext,
                ngettext=translator.ngettext,
                lang=translator.lang,
                hub=hub,
                catalogue=f"{origin}{url_path_join(settings.base_url, 'services/catalogue/')}",
                **context,
            )
        )

    @property
    def _has_body(self) -> bool:
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    @property
    def _wants_websocket(self) -> bool:
        """Whether this is the request of RFC 6455 section 4.1, and of nothing that resembles it:
        what the proxy before us does not see as one must not become a tunnel."""
        headers = self.request.headers
        options = headers.get("Connection", "").lower().split(",")
        return (
            self.request.method == "GET"
            and self.request.version == "HTTP/1.1"
            and not self._has_body
            and headers.get("Upgrade", "").lower() == "websocket"
            and "upgrade" in {option.strip() for option in options}
        )

    @property
    def _reads(self) -> bool:
        return self.request.method in {"GET", "HEAD"}

    @property
    def _scheme(self) -> str:
        scheme: str = get_browser_protocol(self.request)
        return scheme


class HubDoor(GatewayHandler):
    """`/-/…`: what the hub says, under the secret that both know."""

    def prepare(self) -> None:
        if not bears(self.request.headers.get("Authorization", ""), self.gateway.settings.secret):
            raise Refused("sign-in-needed")


class RoutesHandler(HubDoor):
    """`PUT /-/routes`: a server runs."""

    def put(self) -> None:
        try:
            route = Route.model_validate_json(self.request.body)
        except ValidationError as error:
            raise as_error(error) from None
        self.gateway.routes.add(route)
        self.set_status(204)


class RouteHandler(HubDoor):
    """`DELETE /-/routes/USER/SERVER`: a server runs no more."""

    def delete(self, user: str, server: str) -> None:
        self.gateway.routes.remove(user, server)
        self.set_status(204)


class NoticesHandler(HubDoor):
    """`PUT /-/notices`: all stops that are announced now."""

    def put(self) -> None:
        try:
            said = Announcements.model_validate_json(self.request.body)
        except ValidationError as error:
            raise as_error(error) from None
        self.gateway.notices.replace(said.items)
        self.set_status(204)
