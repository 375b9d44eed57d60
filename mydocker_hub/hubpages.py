"""What we add to the hub itself: join links, the language switch, the choice of an environment."""

from __future__ import annotations

import asyncio
import html
import json
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.pages import SpawnPendingHandler
from jupyterhub.slugs import is_valid_safe_slug
from jupyterhub.spawner import SpawnException
from jupyterhub.user import User
from jupyterhub.utils import url_escape_path, url_path_join
from tornado.httputil import url_concat
from tornado.web import HTTPError, authenticated

from .catalogueapi import CatalogueApi
from .domain.environment import Text
from .domain.errors import Conflict, Invalid, MydockerError, NotFound, Refused, error_for
from .domain.names import display_name
from .domain.people import Person, roles_of
from .httpclient import bears
from .hubapi import RECORDS_AT_ONCE
from .web import i18n
from .web.problems import CONTENT_TYPE, as_error, problem

_SHORT_WAIT_SECONDS = 0.5  # a refusal is known by then; a start goes on while its page shows
_STOP_WAIT_SECONDS = 40  # a container that does not want to end is given ten
_YEAR_DAYS = 365
_SIGN_IN_SECONDS = 600


def language_of(handler: Any) -> str:
    """The language of the person who made a request to the hub."""
    return i18n.choose_language(
        handler.get_cookie(i18n.COOKIE), handler.request.headers.get("Accept-Language")
    )


def hub_error(error: MydockerError, language: str) -> SpawnException:
    """One of our errors as the hub knows it: its pages show the sentence, its log the code."""
    sentence = i18n.translator(language).error(error)
    exception = SpawnException(
        sentence,
        reason=error.code,
        log_message=str(error),
        message_html=html.escape(sentence),
        status_code=error.status if error.status != 499 else 400,
    )
    exception.jupyterhub_message = sentence
    exception.jupyterhub_html_message = html.escape(sentence)
    exception.mydocker_error = error
    return exception


class MydockerHandler(BaseHandler):
    """A page of ours inside the hub; it raises our errors and the hub's error page words them."""

    @property
    def catalogue(self) -> CatalogueApi:
        api: CatalogueApi = self.settings["mydocker_catalogue"]
        return api

    @property
    def signed_in(self) -> tuple[User, Person]:
        """Who asks: the hub's user, and the person as the catalogue knows them."""
        user = self.current_user
        if not isinstance(user, User):
            raise self.error(Refused("sign-in-needed"))
        groups = [group.name for group in user.groups]
        return user, Person(name=user.name, roles=roles_of(groups, bool(user.admin)))

    def error(self, error: MydockerError) -> HTTPError:
        return hub_error(error, language_of(self))


class MayBeFramed(BaseHandler):
    """A page that may be shown inside pages of the origins that operators allow, if any."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        policy = self.settings.get("mydocker_frame_policy")
        if policy:
            self.set_header("Content-Security-Policy", policy)


class FramedSpawnPendingHandler(MayBeFramed, SpawnPendingHandler):
    """Upstream's waiting page."""


class JoinHandler(MayBeFramed, MydockerHandler):
    """`/join/KEY[/hub/user-redirect/PATH]`: enrol the person and start the environment.

    The addresses of the original system keep working (`/shell/join/KEY…`). Who types the address,
    or opens it from a mail or a bookmark, starts at once. Who comes from a page, of whatever site,
    to an environment that is new to them is shown what it is first, so that no page out there can
    start things for its visitors. The browser says which it is (Fetch Metadata, Sec-Fetch-Site);
    a sign-in in between hides it, so that it is noted before.
    """

    _NOTE = "mydocker-typed"

    async def get(self, key: str, path: str | None = None) -> None:
        if self._typed() and self.current_user is None:
            self.set_signed_cookie(
                self._NOTE,
                key,
                path=self.hub.base_url,
                max_age=_SIGN_IN_SECONDS,
                httponly=True,
                samesite="Lax",
                secure=self.request.protocol == "https",
            )
        looking = self._look(key, path)
        if looking is not None:  # None: tornado has sent the visitor to sign in
            await looking

    def _typed(self) -> bool:
        return self.request.headers.get("Sec-Fetch-Site") == "none"

    def _typed_before_sign_in(self, key: str) -> bool:
        note = self.get_signed_cookie(self._NOTE, max_age_days=_SIGN_IN_SECONDS / 86400)
        return note == key.encode()

    @authenticated
    async def _look(self, key: str, path: str | None) -> None:
        _, person = self.signed_in
        try:
            where = await self.catalogue.look_at_join_link(key, person)
        except MydockerError as error:
            raise self.error(_about_link(error)) from error
        if where["new"] and not self._typed() and not self._typed_before_sign_in(key):
            html_ = await self.render_template(
                "join.html",
                title=Text.model_validate(where["title"]),
                icon=where["icon"],
                description=Text.model_validate(where["sheet"]["description"]),
                action=self.request.uri,
            )
            self.finish(html_)
            return
        await self._enter(key, path or "")

    @authenticated
    async def post(self, key: str, path: str | None = None) -> None:
        await self._enter(key, path or "")

    async def _enter(self, key: str, path: str) -> None:
        user, person = self.signed_in
        if not self.has_scope(f"servers!user={user.name}"):
            raise self.error(Refused("not-allowed"))
        if ".." in path.split("/"):
            raise self.error(NotFound())
        try:
            where = await self.catalogue.join(key, person)
        except MydockerError as error:
            raise self.error(_about_link(error)) from error
        server = where["server"]
        target = where["landing"]
        if path:
            below = quote(where["main_prefix"] + path)
            target = url_path_join(user.server_url(server), below)
            if self.request.query:
                target = f"{target}?{self.request.query}"
        title = display_name(Text.model_validate(where["title"]).in_(language_of(self)))
        await self._check_named_server_request(user, server, title)
        spawner = user.get_or_create_spawner(server, title, replace_failed=True)
        if spawner.pending == "stop" and spawner._stop_future:
            await asyncio.wait([spawner._stop_future], timeout=_STOP_WAIT_SECONDS)
            spawner = user.get_or_create_spawner(server, title, replace_failed=True)
        if spawner.ready and await spawner.poll_and_notify() is None:
            if not path:  # what runs may be an older version, with other interfaces
                catalogue = self.settings["template_vars"]["catalogue_url"]
                target = url_path_join(catalogue, "open", where["environment"])
            self.redirect(target)
            return
        if not spawner.pending:
            await self._start(user, server, title, where["environment"])
        pending = url_path_join(
            self.hub.base_url, "spawn-pending", user.escaped_name, url_escape_path(server)
        )
        self.redirect(url_concat(pending, {"next": target}))

    async def _start(self, user: User, server: str, title: str, environment: str) -> None:
        async def spawn() -> None:
            # Another tab may have been quicker; between here and the hub's own mark nobody is.
            if not user.spawners[server].active:
                options = {"environment": environment, "profile": title}
                await self.spawn_single_user(user, server, title, options=options)

        start = asyncio.ensure_future(spawn())
        await asyncio.wait([start], timeout=_SHORT_WAIT_SECONDS)
        if start.done():
            start.result()  # a refusal is shown here, at once
        else:
            start.add_done_callback(_seen)


def _about_link(error: MydockerError) -> MydockerError:
    """What the catalogue answers about a join link, as people are told."""
    if error.code == "not-found":  # the key has not even the form of one
        return NotFound("join-link-unknown")
    return error


def _seen(start: asyncio.Future[Any]) -> None:
    # The waiting page shows how it ended; asyncio need not complain as well.
    if not start.cancelled():
        start.exception()


class LanguageHandler(MydockerHandler):
    """`/language/fr?next=/…`: remember a language and go back."""

    async def get(self, language: str) -> None:
        self.set_cookie(
            i18n.COOKIE,
            language,
            path=self.base_url,
            expires_days=_YEAR_DAYS,
            samesite="Lax",
            secure=self.request.protocol == "https",
            httponly=True,
        )
        self.redirect(self.get_next_url())


class ProcessHandler(MydockerHandler):
    """What another process of ours asks the hub, under the secret that both know.

    No cookies, no people: so that no token against forged forms is asked for either.
    """

    SECRET: str  # the setting that holds it

    def check_xsrf_cookie(self) -> None:
        pass

    async def prepare(self) -> None:
        if not bears(self.request.headers.get("Authorization", ""), self.settings[self.SECRET]):
            raise Refused("sign-in-needed")

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, MydockerError):  # words enough: the hub would log a whole trace
            self.log.info("%s %s: %s", self.request.method, self.request.path, error)
        else:
            super().log_exception(kind, error, trace)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        self.set_status(error.status)
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(problem(error, i18n.translator(language_of(self))).model_dump_json())


class GatewayHandler(ProcessHandler):
    """What the gateway asks."""

    SECRET = "mydocker_gateway_secret"  # noqa: S105 - the name of a setting


class RoutesHandler(GatewayHandler):
    """`GET /api/mydocker/routes`: all servers that the gateway stands before."""

    async def get(self) -> None:
        routes = [
            spawner.route.model_dump(mode="json")
            for user in list(self.users.values())
            for spawner in list(user.spawners.values())
            if getattr(spawner, "route", None) is not None
        ]
        self.finish({"items": routes})


class PortHandler(GatewayHandler):
    """`GET /api/mydocker/routes/USER/SERVER/ports/PORT`: where the gateway reaches a port."""

    async def get(self, name: str, server: str, port: str) -> None:
        user = self.find_user(name)
        spawner = user.spawners.get(server) if user else None
        if spawner is None or getattr(spawner, "route", None) is None:
            raise NotFound("server-not-running")
        self.finish({"address": await spawner.address_of(int(port))})


class CatalogueHandler(ProcessHandler):
    """What the catalogue asks, once it has decided that whoever asks it may."""

    SECRET = "mydocker_catalogue_secret"  # noqa: S105 - the name of a setting

    def one(self) -> tuple[User, Any]:
        """The user and the spawner that the body names: `user`, `server` and `environment`.

        Raises `Invalid`, and `NotFound` also where the server is of another environment.
        """
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise Invalid("not-json") from None
        names = ("user", "server", "environment")
        if not isinstance(body, dict) or not all(isinstance(body.get(key), str) for key in names):
            raise Invalid("bad-request")
        user = self.find_user(body["user"]) if body["user"] else None
        spawner = user.spawners.get(body["server"]) if user and body["environment"] else None
        if spawner is None or not spawner.active or spawner.environment_name != body["environment"]:
            raise NotFound("server-not-running")
        return user, spawner


class EnvironmentServersHandler(CatalogueHandler):
    """`GET /api/mydocker/environments/SLUG/servers`: all that start, run or stop, from memory."""

    async def get(self, slug: str) -> None:
        found = [
            (user, spawner)
            for user in list(self.users.values())
            for spawner in list(user.spawners.values())
            if spawner.active and spawner.environment_name == slug
        ]
        found.sort(key=lambda one: (one[0].name, one[1].name))
        self.finish({"items": [_running(user, spawner) for user, spawner in found]})


class AllServersHandler(CatalogueHandler):
    """`GET /api/mydocker/all-servers`: what starts, runs or stops, by the environments' slugs; of
    the trial of a build there is none."""

    async def get(self) -> None:
        found: dict[str, list[dict[str, Any]]] = {}
        for user in list(self.users.values()):
            for spawner in list(user.spawners.values()):
                if spawner.active and spawner.environment_name:
                    running = _running(user, spawner)
                    found.setdefault(spawner.environment_name, []).append(running)
        self.finish({"environments": found})


class StopServerHandler(CatalogueHandler):
    """`POST /api/mydocker/servers/stop`: as if its person had, but that the reason is noted."""

    async def post(self) -> None:
        user, spawner = self.one()
        if spawner.pending == "stop":
            self.set_status(202)
            return
        spawner.ended_for = MydockerError("stopped-by-maintainer")
        await _stop(self, user, spawner)
        self.set_status(202)


class RecordsHandler(CatalogueHandler):
    """`POST /api/mydocker/records`: have the records of servers before they are asked for.

    `items` names up to `RECORDS_AT_ONCE` of `user`, `server` and `title`. What is there stays as it
    is, and nothing starts. Answers how many were `made`.
    """

    async def post(self) -> None:
        # Each name leaves a row, and the hub counts them: half is left to what people start.
        most = (await self.get_current_user_named_server_limit() or math.inf) / 2
        made = 0
        for name, server, title in self._items():
            made += self._make(name, server, title, most)
            await asyncio.sleep(0)  # whoever clicks meanwhile is served in between
        self.finish({"made": made})

    def _items(self) -> list[tuple[str, str, str]]:
        try:
            items = json.loads(self.request.body)["items"]
            found = [(one["user"], one["server"], one["title"]) for one in items]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise Invalid("bad-request") from None
        if len(found) > RECORDS_AT_ONCE or not all(
            isinstance(text, str) and text for one in found for text in one
        ):
            raise Invalid("bad-request")
        if not all(is_valid_safe_slug(server) for _, server, _ in found):
            raise Invalid("bad-request")
        return found

    def _make(self, name: str, server: str, title: str, most: float) -> bool:
        if not self.authenticator.validate_username(name):
            return False
        user = self.user_from_username(name)
        named = [known for known in user.orm_spawners if known]  # the unnamed one always is there
        if server in named or len(named) >= most:
            return False
        user.get_or_create_spawner(server, display_name(title))
        return True


class ForgetRecordsHandler(CatalogueHandler):
    """`POST /api/mydocker/records/forget`: remove records of the `servers` of these names.

    What starts, runs or stops stays. Up to `RECORDS_AT_ONCE`; answers how many were `removed`.
    """

    async def post(self) -> None:
        rows = (
            self.db.query(orm.Spawner)
            .filter(orm.Spawner.name.in_(self._names()), orm.Spawner.server_id.is_(None))
            .limit(RECORDS_AT_ONCE)
            .all()
        )
        removed = 0
        for row in rows:
            removed += self._remove(row)
            await asyncio.sleep(0)
        self.finish({"removed": removed})

    def _names(self) -> list[str]:
        try:
            servers = json.loads(self.request.body)["servers"]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise Invalid("bad-request") from None
        if not isinstance(servers, list) or len(servers) > RECORDS_AT_ONCE:
            raise Invalid("bad-request")
        if not all(isinstance(name, str) and is_valid_safe_slug(name) for name in servers):
            raise Invalid("bad-request")
        return servers

    def _remove(self, row: orm.Spawner) -> bool:
        if row not in self.db or row.server_id is not None:  # something happened meanwhile
            return False
        user = self.users[row.user]
        spawner = dict.get(user.spawners, row.name)  # made ones only
        if spawner is not None and spawner.active:
            return False
        user.spawners.pop(row.name, None)
        self.db.delete(row)
        self.db.commit()
        return True


class ServerLogHandler(CatalogueHandler):
    """`POST /api/mydocker/servers/log`: the last lines of a container, without its secrets."""

    async def post(self) -> None:
        _, spawner = self.one()
        self.finish({"log": await spawner.log_text()})


class CullerHandler(ProcessHandler):
    """What the culler asks, with a token of its own: the hub's scopes say what it may."""

    _accept_token_auth = True

    SCOPE: str

    async def prepare(self) -> None:
        await BaseHandler.prepare(self)
        # A cookie will not do: there is no token against forged forms here.
        if not getattr(self, "_token_authenticated", False):
            raise Refused("sign-in-needed")
        if not self.has_scope(self.SCOPE):
            raise Refused("not-allowed")

    def body(self, **kinds: Any) -> dict[str, Any]:
        """The JSON that was sent: an object with these names and kinds. Raises `Invalid`."""
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise Invalid("not-json") from None
        if not isinstance(body, dict):
            raise Invalid("bad-request")
        if not all(isinstance(body.get(name), kind) for name, kind in kinds.items()):
            raise Invalid("bad-request")
        return body


class CullerSeen:
    """When the culler last asked, on a clock that nobody sets: without it, the hub itself ends
    what is overdue (`domain.culling.overdue`)."""

    AWAY_SECONDS = 15 * 60.0

    def __init__(self) -> None:
        self.since = self.at = time.monotonic()

    @property
    def away(self) -> bool:
        return time.monotonic() - self.at > self.AWAY_SECONDS


culler_seen = CullerSeen()


class RunningServersHandler(CullerHandler):
    """`GET /api/mydocker/servers`: all that are ready, and those whose start was granted, from
    memory; what stops or is being checked after a restart is left alone. `admins` are those whom
    no exam binds."""

    SCOPE = "read:servers"

    async def get(self) -> None:
        culler_seen.at = time.monotonic()
        items = [
            {
                "user": user.name,
                "server": spawner.name,
                "launch_id": spawner.launch_id,
                "started": _utc(spawner.orm_spawner.started),
                "last_activity": _utc(spawner.orm_spawner.last_activity),
                "ready": spawner.ready,
            }
            for user in list(self.users.values())
            for spawner in list(user.spawners.values())
            if spawner.ready or _is_granted(spawner)
        ]
        self.finish(
            {
                "runs_seconds": time.monotonic() - culler_seen.since,
                "admins": [user.name for user in list(self.users.values()) if user.admin],
                "items": items,
            }
        )


class CullHandler(CullerHandler):
    """`POST /api/mydocker/servers/cull`: stop one launch, for a reason that its person reads.

    Answers once it has stopped, or after some seconds. Refuses with `changed-meanwhile` where the
    server is another one by now, or somebody did something after `last_activity`. What is `firm`
    does not wait for anybody, and ends a start as well.
    """

    SCOPE = "delete:servers"

    async def post(self) -> None:
        body = self.body(user=str, server=str, launch_id=int, firm=bool, code=str, params=dict)
        user = self.find_user(body["user"])
        spawner = user.spawners.get(body["server"]) if user else None
        if spawner is None or spawner.launch_id != body["launch_id"]:
            raise Conflict("changed-meanwhile")
        if not spawner.ready and not (body["firm"] and _is_granted(spawner)):
            raise Conflict("changed-meanwhile")
        seen = _utc(spawner.orm_spawner.last_activity)
        if not body["firm"] and body.get("last_activity") != seen:
            raise Conflict("changed-meanwhile")
        reason = error_for(body["code"], body["params"])
        params: dict[str, Any] = {
            name: Text.model_validate(value) if isinstance(value, dict) else value
            for name, value in reason.params.items()
        }
        spawner.ended_for = MydockerError(reason.code, **params)
        await _stop(self, user, spawner)
        self.set_status(202)


class NoticesHandler(CullerHandler):
    """`PUT /api/mydocker/notices`: all stops that are announced; the gateway is told of them."""

    SCOPE = "read:servers"

    async def put(self) -> None:
        items = self.body(items=list)["items"]
        spawners = (one for user in list(self.users.values()) for one in user.spawners.values())
        gateway = next((one.gateway for one in spawners if hasattr(one, "gateway")), None)
        if gateway is not None:
            await gateway.announce(items)
        self.set_status(204)


def _is_granted(spawner: Any) -> bool:
    """Whether a server starts, and the catalogue has said how."""
    return spawner.pending == "spawn" and bool(spawner.launch_id)


async def _stop(handler: BaseHandler, user: User, spawner: Any) -> None:
    """Stop a server, or cancel its start."""
    if spawner.pending:
        if spawner._spawn_future:
            spawner._spawn_future.cancel()
        await asyncio.sleep(1)  # as the hub's own: a cancelled start needs a moment
    with suppress(RuntimeError, KeyError):  # it is stopping already, or gone
        await handler.stop_single_user(user, spawner.name)


def _running(user: User, spawner: Any) -> dict[str, Any]:
    states = {"spawn": "starting", "stop": "stopping"}
    return {
        "user": user.name,
        "server": spawner.name,
        "state": states.get(spawner.pending, "running"),
        "started": _utc(spawner.orm_spawner.started),
        "last_activity": _utc(spawner.orm_spawner.last_activity),
        "version": spawner.version,
        "trial": spawner.trial,
    }


def _utc(time: datetime | None) -> str | None:
    return time.replace(tzinfo=UTC).isoformat() if time else None  # the hub keeps naive UTC


_REST = r"(?:/(?:hub/)?user-redirect/(.*))?"
HANDLERS: list[tuple[str, type[BaseHandler]]] = [
    (rf"/join/([^/]+){_REST}/?", JoinHandler),
    (rf"/shell/join/([^/]+){_REST}/?", JoinHandler),
    (r"/spawn-pending/([^/]+)/([^/]+)", FramedSpawnPendingHandler),
    (rf"/language/({'|'.join(i18n.LANGUAGES)})", LanguageHandler),
    (r"/api/mydocker/routes", RoutesHandler),
    (r"/api/mydocker/routes/([^/]+)/([^/]+)/ports/([0-9]{1,5})", PortHandler),
    (r"/api/mydocker/environments/([a-z0-9-]{1,30})/servers", EnvironmentServersHandler),
    (r"/api/mydocker/all-servers", AllServersHandler),
    (r"/api/mydocker/servers", RunningServersHandler),
    (r"/api/mydocker/servers/cull", CullHandler),
    (r"/api/mydocker/notices", NoticesHandler),
    (r"/api/mydocker/servers/stop", StopServerHandler),
    (r"/api/mydocker/servers/log", ServerLogHandler),
    (r"/api/mydocker/records", RecordsHandler),
    (r"/api/mydocker/records/forget", ForgetRecordsHandler),
]


async def spawn_form(spawner: Any) -> str:
    """The hub's spawn form: the environments that the person may start, as HTML.

    Each has a button that posts to the server that bears its name, whatever name is in the
    address, because an environment runs in its own server. If the catalogue does not answer, the
    form says so.
    """
    handler = spawner.handler
    if handler is None:
        # After a refusal the hub asks without a request and shows the refusal above the form.
        # Without any form it would start the server, with the options of the last time.
        return "<p></p>"
    tr = i18n.translator(language_of(handler))
    try:
        choices = await spawner.catalogue.choices(spawner.person)
    except MydockerError as error:
        return f'<p class="alert alert-danger" role="alert">{html.escape(tr.error(error))}</p>'
    for choice in choices:
        choice["action"] = url_concat(
            url_path_join(
                handler.hub.base_url, "spawn", spawner.user.escaped_name, choice["server"]
            ),
            {"_xsrf": handler.xsrf_token.decode("ascii")},
        )
        choice["title"] = Text.model_validate(choice["title"])
        choice["description"] = Text.model_validate(choice["sheet"]["description"])
    choices.sort(key=lambda choice: choice["server"] != spawner.name)
    return str(
        await handler.render_template(
            "choices.html", choices=choices, wanted=spawner.name, person=spawner.user.name
        )
    )
