"""The door that all requests for servers come through."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.utils import url_path_join
from tornado.web import RequestHandler, stream_request_body

from ...domain.errors import MydockerError, NotFound, Unavailable
from ...domain.passing import Outside, credentials, to_container
from ...domain.presence import request_shows_person
from ...domain.route import (
    Choose,
    Redirect,
    Route,
    ToEndpoint,
    ToPort,
    at_origin,
    resolve,
    server_of,
)
from .access import Model
from .forward import Inside, Lost, Upload, http, websocket
from .signin import ORIGIN_PREFIX, SignInHandler

_WATCH_SECONDS = 60.0
_NOTICE = "mydocker-notice"
_NOTICE_SECONDS = 3600
_ANY_SIZE = 1 << 62
_METHODS = (
    *RequestHandler.SUPPORTED_METHODS,
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"),
)  # with WebDAV's (RFC 4918)


@stream_request_body
class Door(SignInHandler):
    """Everything that people ask of their servers."""

    SUPPORTED_METHODS = _METHODS
    _upload: Upload | None = None
    _refusal: MydockerError | None = None
    _passing: asyncio.Task[None] | None = None
    _plan: tuple[Route, ToEndpoint | ToPort, Outside]

    async def prepare(self) -> None:
        # Without a body everything is decided once the request is read: tornado closes a
        # connection on which it answers before, and the proxy may just have used it again.
        if self._has_body:
            connection: Any = self.request.connection
            connection.set_max_body_size(_ANY_SIZE)
            self.set_header("Connection", "close")  # for what is answered before the body is read
            try:
                await self._decide()
            except MydockerError as error:
                if "Expect" in self.request.headers:
                    raise  # nothing of the body has been sent
                self._refusal = error  # said when all is read: see Upload.throw_away
                return
            self.clear_header("Connection")
            self._upload = Upload()

    async def _decide(self) -> None:
        """Who asks, for what: sets `_plan`, or answers, or raises."""
        if not self.request.path.startswith("/"):
            raise MydockerError("bad-request")  # would be read as part of a container's address
        found = self._own_origin(self.request.host.lower())
        if found is not None:
            await self._at_origin(*found)
        else:
            await self._on_path()

    # --- whose server ----------------------------------------------------------------------------

    async def _on_path(self) -> None:
        """A server at its path at the hub."""
        base_url = self.gateway.settings.base_url
        found = server_of(self.request.path, base_url) or server_of(
            f"{self.request.path}/", base_url
        )
        route = await self.gateway.routes.find(found[0], found[1]) if found else None
        if found is None or route is None:
            raise NotFound("server-not-running")
        rest = found[2]
        if self._reads and not self.request.path.startswith(route.base_url):
            # The same server, with other escapes: its cookie is for the path as the hub writes it.
            self._redirect_keeping_query(route.base_url + rest)
            return
        if rest == "oauth_callback" and self._reads:
            await self._signed_in(route)
            return
        model = await self._enter(route, port=None)
        if model is None:
            return
        if rest == "oauth_origin" and self._reads:
            self._carry_over(route)
            return
        target = resolve(route, rest)
        if target is None:
            raise NotFound()
        if isinstance(target, Redirect):
            self._redirect_keeping_query(target.path)
        elif isinstance(target, Choose):
            self._choose(route, model)
        elif self.gateway.settings.wildcard_url:
            if not self._reads:
                raise MydockerError("method-not-allowed")
            port = target.port if isinstance(target, ToPort) else target.endpoint.port
            self._redirect_keeping_query(self._origin(route, port) + target.path)
        else:
            strips = isinstance(target, ToPort) or target.endpoint.base_path == "/"
            outside = self._outside(target.prefix, strips=strips)
            self._plan = (route, target, outside)

    def _own_origin(self, host: str) -> tuple[str, int] | None:
        """Label and port, where `host` is one of the wildcard domain."""
        pattern = urlsplit(self.gateway.settings.wildcard_url).netloc.lower()
        before, star, after = pattern.partition("*")
        if not star or not host.startswith(before) or not host.endswith(after):
            return None
        port, dash, label = host[len(before) : len(host) - len(after)].partition("-")
        if not dash or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise NotFound()
        return label, int(port)

    async def _at_origin(self, label: str, port: int) -> None:
        """A port at the origin that it has of its own."""
        route = await self.gateway.routes.find_label(label)
        if route is None:
            raise NotFound("server-not-running")
        if self.request.path == f"{ORIGIN_PREFIX}sign-in" and self._reads:
            self._take_ticket(route, port)
            return
        model = await self._enter(route, port=port)
        if model is None:
            return
        outside = self._outside("/", strips=False, own_origin=True)
        self._plan = (route, at_origin(route, port, self.request.path), outside)

    def _outside(self, prefix: str, *, strips: bool, own_origin: bool = False) -> Outside:
        return Outside(
            self._scheme,
            self.request.host,
            prefix,
            strips=strips,
            own_origin=own_origin,
            frame_origins=self.gateway.settings.frame_origins,
        )

    def _choose(self, route: Route, model: Model) -> None:
        """The server's own address, with several interfaces: the page that shows them."""
        if model.get("name") == route.user:
            path = url_path_join(
                self.gateway.settings.base_url, "services/catalogue/open", route.server
            )
        else:  # who was let in by its person has no such page
            path = route.base_url + route.entrances[0].path
        self.redirect(path)

    def _redirect_keeping_query(self, path: str) -> None:
        query = self.request.query
        self.redirect(f"{path}?{query}" if query else path)

    def _warns(self, route: Route) -> bool:
        """Show somebody who comes to a server that it stops soon: once for each such stop."""
        headers = self.request.headers
        comes = (
            self.request.method == "GET"
            and headers.get("Sec-Fetch-Mode") == "navigate"
            and headers.get("Sec-Fetch-Dest") == "document"
        )
        announced = self.gateway.notices.find(route.user, route.server) if comes else None
        cookie = f"{_NOTICE}-{route.launch_id}"
        if announced is None or self.get_cookie(cookie) == announced.key:
            return False
        own_origin = self._plan[2].own_origin
        self._remember(
            cookie,
            announced.key,
            path="/" if own_origin else route.base_url,
            seconds=_NOTICE_SECONDS,
        )
        # A browser opens by itself what was open when it was closed. Going on is somebody's doing.
        if not announced.put_off_by_presence:
            self.gateway.presence.seen(route)
        self.set_header("Cache-Control", "no-store")
        onward = "/" + (self.request.uri or "").lstrip("/")  # `//` would lead to another host
        self.write_page("gateway/notice.html", announced=announced, onward=onward)
        self.finish()
        return True

    # --- through ---------------------------------------------------------------------------------

    async def data_received(self, chunk: bytes) -> None:
        if self._upload is None or self._finished:
            return
        if self._passing is None:
            self._passing = asyncio.create_task(self._pass_on())
        await self._upload.put(chunk)

    async def _through(self, *path: str) -> None:
        if self._refusal is not None:
            raise self._refusal
        if self._upload is None:
            await self._decide()
            if self._finished or self._warns(self._plan[0]):
                return
        if self._passing is None:
            self._passing = asyncio.create_task(self._pass_on())
        if self._upload is not None:
            await self._upload.end()
        await asyncio.wait([self._passing])
        if not self._passing.cancelled():
            self._passing.result()  # raises what it raised

    get = head = post = put = patch = delete = options = _through
    propfind = proppatch = mkcol = copy = move = lock = unlock = report = search = _through

    def on_connection_close(self) -> None:
        if self._passing is not None:
            self._passing.cancel()

    async def _pass_on(self) -> None:
        """Ask the container and answer; a task, so that it ends when the browser leaves."""
        route, target, outside = self._plan
        try:
            address = await self._address(route, target)
            inside = self._inside(route, target, outside, address)
            if self._wants_websocket:
                await websocket(
                    self,
                    inside,
                    outside,
                    on_presence=lambda: self.gateway.presence.seen(route),
                    still_allowed=lambda: self._still_allowed(route),
                )
                return
            method = self.request.method or ""
            if request_shows_person(method, target.path, self.request.headers):
                self.gateway.presence.seen(route)
            await http(self.gateway.containers, self, inside, outside, self._upload)
        except Lost as error:
            if isinstance(target, ToPort):
                raise Unavailable(
                    "port-silent", port=str(target.port), log_detail=str(error)
                ) from error
            raise Unavailable("interface-lost", log_detail=str(error)) from error
        finally:
            if self._upload is not None:
                self._upload.close()  # nobody wants what is still to come

    async def _address(self, route: Route, target: ToEndpoint | ToPort) -> str:
        port = target.endpoint.port if isinstance(target, ToEndpoint) else target.port
        return route.addresses.get(port) or await self.gateway.routes.address(route, port)

    def _inside(
        self, route: Route, target: ToEndpoint | ToPort, outside: Outside, address: str
    ) -> Inside:
        sign_in = []
        if isinstance(target, ToEndpoint):
            secret = route.secret.get_secret_value() if route.secret else None
            sign_in = credentials(target.endpoint.sign_in, user=route.user, secret=secret)
        query = self.request.query
        return Inside(
            address=address,
            target=f"{target.path}?{query}" if query else target.path,
            headers=to_container(
                self.request.headers.get_all(),
                outside,
                client=self.request.remote_ip or "",
                keep_authorization=not self._hub_token,
                sign_in=sign_in,
            ),
        )

    async def _still_allowed(self, route: Route) -> bool:
        await asyncio.sleep(_WATCH_SECONDS)
        if not self.gateway.routes.is_current(route):
            return False
        try:
            model = await self.gateway.access.identify(route, self._token)
        except Unavailable:
            return True
        return model is not None and self.gateway.access.may_enter(route, model)
