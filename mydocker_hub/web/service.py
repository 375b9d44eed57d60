"""What the pages and APIs of our hub-managed services share: sign-in, language, errors."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated, UserNotAllowed
from jupyterhub.utils import url_escape_path, url_path_join
from pydantic import BaseModel
from tornado.httputil import HTTPServerRequest
from tornado.log import access_log, app_log
from tornado.web import HTTPError, RequestHandler

from ..domain.errors import Invalid, MydockerError, NotFound, Refused
from ..domain.people import Person, roles_of
from ..httpclient import bears
from . import i18n
from .frames import policy
from .help import help_for
from .operations import OCTETS, PATH_LIMITS, PATH_PATTERNS, Answer, Awaited, Call, Operation
from .problems import CONTENT_TYPE, as_error, phrase, problem

MAX_BODY_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024
READ_BYTES = 8 * MAX_BODY_BYTES
"""What is larger than `MAX_BODY_BYTES` is refused in words; above this, the connection is cut."""

# Pages take scripts and styles from the hub and from here, never from elsewhere, and are framed
# by nobody, but for the origins that operators allow.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src {fonts}; "
    "{frames}; base-uri 'none'; form-action {forms}"
)
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def now() -> datetime:
    return datetime.now(UTC)


def summary(request: HTTPServerRequest) -> str:
    """A request for the log. The path may hold a key, a secret of sorts: it is cut."""
    path = urlsplit(request.uri or "").path
    path = re.sub(r"((?:join[^/]*|links|register|feeds)/)[A-Za-z0-9]{4,}", r"\1…", path)
    return f"{request.method} {path}"


def log_error(request: HTTPServerRequest, kind: Any, error: Any, trace: Any) -> None:
    """Why a request failed: a line for what we have words for, all that is known for the rest."""
    if isinstance(error, MydockerError) and error.status < 500:
        app_log.info("%s: %s", summary(request), error)
    elif isinstance(error, MydockerError | HTTPError):
        app_log.warning("%s: %s", summary(request), error)
    else:
        app_log.error("%s", summary(request), exc_info=(kind, error, trace))


def log_request(handler: RequestHandler) -> None:
    """One line for each request; tornado's own would show queries, and keys in paths."""
    status = handler.get_status()
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    milliseconds = 1000 * handler.request.request_time()
    access_log.log(level, "%d %s %.0f ms", status, summary(handler.request), milliseconds)


@dataclass(frozen=True)
class HubAddresses:
    """Where the hub's pages are, as the browser sees them."""

    base_url: str  # "/" or "/mydocker/"
    service_prefix: str  # "/services/catalogue/"

    @property
    def hub(self) -> str:
        return url_path_join(self.base_url, "hub/")

    def server(self, user: str, server: str) -> str:
        """The address of a person's server, with a / at its end."""
        return url_path_join(self.base_url, "user", url_escape_path(user), server) + "/"


class ServiceHandler(HubOAuthenticated, RequestHandler):
    """A request by a person who is signed in at the hub, by cookie or by token.

    Upstream's mixin asks the hub in a blocking call; here it is awaited, before the method runs.
    """

    _user_model: dict[str, Any] | None = None

    def set_default_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        self.set_policy()

    def set_policy(self, *, forms: str = "'self'", frames: str = "", fonts: str = "'self'") -> None:
        """The page's Content-Security-Policy; `forms` says where its forms may lead."""
        origins = self.settings.get("frame_origins", ())
        own = policy(origins) if origins else "frame-ancestors 'none'"
        self.set_header(
            "Content-Security-Policy",
            _POLICY.format(frames=frames or own, forms=forms, fonts=fonts),
        )

    @property
    def addresses(self) -> HubAddresses:
        addresses: HubAddresses = self.settings["addresses"]
        return addresses

    @property
    def translator(self) -> i18n.Translator:
        return i18n.translator(
            i18n.choose_language(
                self.get_cookie(i18n.COOKIE),
                self.request.headers.get("Accept-Language"),
            )
        )

    def check_size(self) -> None:
        """Refuse a body that nothing here can need."""
        if len(self.request.body) > MAX_BODY_BYTES:
            raise MydockerError("too-large", limit=MAX_BODY_BYTES)

    async def identify(self) -> dict[str, Any] | None:
        """The hub's model of who asks, or None. Raises `Refused` for whom the service is closed."""
        model = await self.hub_auth.get_user(self, sync=False)
        if not model:
            return None
        try:
            self._user_model = self.check_hub_user(model)
        except UserNotAllowed:
            raise Refused("not-allowed") from None
        return self._user_model

    def get_current_user(self) -> dict[str, Any] | None:
        return self._user_model

    @property
    def person(self) -> Person:
        model = self._user_model
        if model is None or not self._is_person:
            raise Refused("sign-in-needed")
        return Person(
            name=model["name"],
            display_name=(model.get("auth_state") or {}).get("display_name", ""),
            roles=roles_of(model.get("groups", []), bool(model.get("admin"))),
        )

    @property
    def _is_person(self) -> bool:
        return self._user_model is not None and self._user_model.get("kind") == "user"

    @property
    def own_token(self) -> str:
        """The person's own token: what we do for them at the hub, they could do themselves."""
        token: str = self.hub_auth.get_token(self)
        return token

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        log_error(self.request, kind, error, trace)


class PageHandler(ServiceHandler):
    """A page. Who is not signed in is sent to sign in and comes back."""

    async def prepare(self) -> None:
        self.check_size()
        if await self.identify() is None:
            if self._reads:
                self.redirect(self.get_login_url())
            elif self.get_cookie(self.hub_auth.cookie_name):
                raise Refused("form-expired")  # the form's token or the sign-in is not valid now
            else:
                raise Refused("sign-in-needed")

    @property
    def _reads(self) -> bool:
        return self.request.method in {"GET", "HEAD"}

    async def head(self, *path: str) -> None:
        answer = self.get(*path)
        if answer is not None:
            await answer  # tornado sends the headers alone

    def render_page(self, template: str, **context: Any) -> None:
        translator = self.translator
        environment: jinja2.Environment = self.settings["templates"]
        self.set_header("Vary", "Accept-Language, Cookie")
        self.set_header("Cache-Control", "no-store")
        self.write(
            environment.get_template(template).render(
                tr=translator,
                help_for=partial(help_for, translator=translator),
                _=translator.gettext,
                gettext=translator.gettext,
                ngettext=translator.ngettext,
                lang=translator.lang,
                languages=i18n.LANGUAGES,
                person=self.person if self._is_person else None,
                addresses=self.addresses,
                prefix=self.addresses.service_prefix,
                hub=self.addresses.hub,
                # where the language switch comes back to: never to what only takes a POST
                path=self.request.uri if self._reads else self.addresses.service_prefix,
                static_url=self.static_url,
                xsrf=self.xsrf_token.decode() if self._user_model else "",
                now=now(),
                demo=self.settings["demo"],
                **context,
            )
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        self.set_status(_known_status(error.status))
        self.render_page("catalogue/error.html", error=error)


class CallbackHandler(HubOAuthCallbackHandler):
    """The end of the sign-in (upstream's); only who is signed in already is asked differently."""

    def get_current_user(self) -> None:
        return None


class ApiHandler(ServiceHandler):
    """Runs the operations of one path. Errors are problem details, with the right status."""

    def initialize(self, operations: dict[str, Operation]) -> None:
        self.operations = operations

    async def prepare(self) -> None:
        operation = self.operations.get(self.request.method or "")
        if operation is None:
            raise HTTPError(405)
        self.check_size()
        if operation.caller == "hub":
            if not self._is_hub():
                raise MydockerError("sign-in-needed")
        elif await self.identify() is None:
            raise MydockerError("sign-in-needed")
        elif operation.caller == "teacher" and not self.person.may_create:
            raise Refused("not-allowed")

    def _is_hub(self) -> bool:
        return bears(self.request.headers.get("Authorization", ""), self.settings["hub_secret"])

    async def _run(self, **path: str) -> None:
        operation = self.operations[self.request.method or ""]
        await self.perform(operation, self.as_call(operation, path))

    def as_call(self, operation: Operation, path: dict[str, str]) -> Call[Any]:
        """The request as the operation takes it. Raises what it is refused for."""
        for name, value in path.items():
            if not re.fullmatch(PATH_PATTERNS[name], value) or len(value) > PATH_LIMITS[name]:
                raise NotFound()
        return Call(
            context=self.settings["context"],
            now=now(),
            person=None if operation.caller == "hub" else self.person,
            path=path,
            query=self._query(operation.query),
            body=self._body(operation.body),
            if_match=self.request.headers.get("If-Match"),
        )

    async def perform(self, operation: Operation, call: Call[Any]) -> None:
        """Run the operation and answer."""
        if isinstance(operation.run, Awaited):
            answer = await operation.run.run(call)
        else:
            database = self.settings["context"].database
            run = database.write if operation.writes else database.read
            answer = await run(operation.run, call)
        self._answer(operation, answer)
        if answer.file is not None:
            await send_file(self, answer.file, answer.file_name)

    get = post = put = patch = delete = _run

    def _query(self, model: type[BaseModel] | None) -> BaseModel | None:
        if model is None:
            return None
        values: dict[str, str] = {}
        for name, raw in self.request.query_arguments.items():
            if len(raw) > 1:
                raise Invalid(problems=[(name, "give this once")])
            try:
                values[name] = raw[0].decode()
            except UnicodeDecodeError:
                raise Invalid(problems=[(name, "this is not valid UTF-8")]) from None
        values.pop("_xsrf", None)
        return model.model_validate(values)

    def _body(self, model: type[BaseModel] | None) -> BaseModel | None:
        if model is None:
            return None
        try:
            data = json.loads(self.request.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Invalid("not-json") from None
        return model.model_validate(data)

    def _answer(self, operation: Operation, answer: Answer) -> None:
        self.set_status(operation.status)
        self.set_header("Cache-Control", "no-store")
        if answer.version is not None:
            self.set_header("ETag", f'"{answer.version}"')
        if answer.location is not None:
            self.set_header("Location", answer.location)
        if answer.value is not None:
            self.set_header("Content-Type", "application/json")
            self.write(answer.value.model_dump_json(by_alias=True))

    def compute_etag(self) -> str | None:
        return None  # only the versions of what is stored are ETags here

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else HTTPError(status_code)
        error = as_error(cause)
        details = problem(error, self.translator)
        if isinstance(cause, HTTPError):
            details = details.model_copy(
                update={"status": cause.status_code, "title": phrase(cause.status_code)}
            )
        self.set_status(_known_status(details.status))
        if details.status == 405:
            self.set_header("Allow", ", ".join(sorted(self.operations)))
        self.set_header("Content-Type", CONTENT_TYPE)
        self.set_header("Content-Language", self.translator.lang)
        self.finish(details.model_dump_json())


async def send_file(handler: RequestHandler, path: Path, name: str) -> None:
    """Answer with a file for saving, never for showing, piece by piece. Raises `NotFound`."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError:
        raise NotFound() from None
    with file:
        handler.set_header("Content-Type", OCTETS)
        handler.set_header("Content-Length", str(os.fstat(file.fileno()).st_size))
        handler.set_header(
            "Content-Disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        )
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            handler.write(piece)
            await handler.flush()


class NoSuchApi(ApiHandler):
    """Any other address below the API's."""

    def initialize(self, operations: dict[str, Operation] | None = None) -> None:
        super().initialize(operations or {})

    async def prepare(self) -> None:
        raise NotFound()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _known_status(status: int) -> int:
    try:
        return HTTPStatus(status).value
    except ValueError:
        return 400  # 499 has a meaning in our table, none in HTTP
