"""What all doors share: the way in once a message is verified, and the page for a refusal."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyterhub.handlers.base import SESSION_COOKIE_NAME
from tornado.httputil import url_concat
from tornado.log import app_log
from tornado.web import HTTPError, stream_request_body

from ..domain.environment import Text
from ..domain.errors import Invalid, MydockerError, NotFound
from ..hubpages import MydockerHandler, language_of
from ..identity.claims import Door, SignIn
from ..identity.settings import SignInSettings
from ..seal import Seal
from ..web import i18n
from ..web.problems import as_error
from .attempts import Attempt, Attempts, Tickets, cookie_site

LAST_DOOR = "mydocker-door"
"""The cookie that remembers by which door somebody came in last: `PROVIDER ISSUER`, sealed."""

_LAST_DOOR_SECONDS = 365 * 86400
_MOST_NOTES_A_MINUTE = 60
_LONGEST_NEXT = 2000  # sealed, in a cookie of at most 4096 bytes (RFC 6265 §6.1)

MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Switch:
    """A sign-in that would make somebody who is signed in somebody else; where to go then."""

    sign_in: SignIn
    next: str


@dataclass(frozen=True)
class Doors:
    """What the handlers of the doors share; `app` of it is in the hub's tornado settings.

    `public_url` is scheme and host as people see them, without a / at its end; `hub_url` is the
    hub's part of it: `https://hub.example.org/hub/`. `state` is a folder for what a door keeps.
    `questions` are the sign-ins that their person is asked about (`doors.link`).
    """

    settings: SignInSettings
    secret: str = field(repr=False)
    state: Path
    public_url: str
    hub_url: str
    attempts: Attempts
    tickets: Tickets
    questions: Tickets
    demo: bool = False
    extras: dict[str, Any] = field(default_factory=dict)
    """What one door keeps for itself, under its own name."""
    logouts: list[Callable[[Doors, str], str | None]] = field(default_factory=list)
    """Where somebody signs out of a provider too, by the doors that know; None: not of theirs."""

    _noted: list[float] = field(default_factory=list, repr=False)

    def may_note(self) -> bool:
        """Whether one more refusal goes into the audit log: a flood of them only into the log."""
        now = time.monotonic()
        self._noted[:] = [at for at in self._noted if now - at < 60]
        if len(self._noted) >= _MOST_NOTES_A_MINUTE:
            return False
        self._noted.append(now)
        return True

    @property
    def can_be_framed(self) -> bool:
        return bool(self.settings.lti and self.settings.lti.frame_origins)

    @property
    def federation(self) -> Any:
        """The institutions (`federation.refresh.Federation`); there where it is configured."""
        return self.extras["federation"]


class DoorHandler(MydockerHandler):
    """A page of a door. It raises errors of `domain.errors`, which are shown in their words."""

    _wanted = ""  # where its person wanted to go, to begin again from there

    @property
    def doors(self) -> Doors:
        doors: Doors = self.settings["mydocker_doors"]
        return doors

    @property
    def framed(self) -> bool:
        """Whether the page is shown inside a page of another site (Fetch Metadata)."""
        return self.doors.can_be_framed and self.request.headers.get("Sec-Fetch-Dest") in {
            "iframe",
            "frame",
        }

    def begin(
        self, door: Door, provider: str, *, next_url: str | None = None, **extra: Any
    ) -> Attempt:
        """Begin a sign-in: the browser is bound to it. `next_url` defaults to the argument `next`.

        Who is signed in and wants to add this door to their account comes with `link`, which the
        hub sealed for them (`doors.link`).
        """
        wanted = self.get_argument("next", "") if next_url is None else next_url
        if len(wanted) > _LONGEST_NEXT:
            wanted = ""
        attempt = Attempt(
            door=door,
            provider=provider,
            next=self._validate_next_url(wanted) if wanted else "",
            link_to=self._linking(),
            extra=extra,
        )
        self.doors.attempts.begin(self, attempt, framed=self.framed)
        return attempt

    def _linking(self) -> str:
        sealed = self.get_argument("link", "")
        name = Seal(self.doors.secret, "link").open(sealed, seconds=300) if sealed else None
        user = self.current_user
        return name if isinstance(name, str) and user is not None and user.name == name else ""

    def take(self, attempt_id: str, door: Door) -> Attempt:
        """The attempt that this answer belongs to. Raises `Refused` in another browser."""
        attempt = self.doors.attempts.take(self, attempt_id, door)
        self._wanted = attempt.next
        return attempt

    async def welcome(self, sign_in: SignIn, attempt: Attempt) -> None:
        """Let somebody in, or, where they add a door to their account, ask them first."""
        sign_in = sign_in.model_copy(update={"spent": (attempt.spent, *sign_in.spent)})
        if attempt.link_to:
            sign_in = sign_in.model_copy(update={"link_to": attempt.link_to})
            ticket = self.doors.questions.keep(sign_in)
            self.redirect(f"{self.hub.base_url}link/confirm?ticket={ticket}", status=303)
            return
        before = self.get_current_user_cookie()
        if before is not None and await self._is_somebody_else(before.name, sign_in):
            # Nobody is made somebody else behind their back (login CSRF): they are asked.
            ticket = self.doors.questions.keep(Switch(sign_in, attempt.next))
            self.redirect(f"{self.hub.base_url}link/switch?ticket={ticket}", status=303)
            return
        await self.let_in(sign_in, attempt.next)

    async def _is_somebody_else(self, name: str, sign_in: SignIn) -> bool:
        found = await self.catalogue.look_at_sign_in(sign_in)
        return found is None or found.name != name

    async def let_in(self, sign_in: SignIn, next_url: str) -> None:
        """Sign somebody in, in a session of their own, and lead them on."""
        before = self.get_current_user_cookie()
        if before is None:
            # Whoever set the session before (session fixation) gets nothing.
            self._new_session()
        user = await self.login_user({"sign_in": sign_in})
        if user is None:
            raise MydockerError("sign-in-failed")
        if before is not None and before.name != user.name:
            self.clear_login_cookie()  # with what services and servers were told of the other one
            self._new_session()
            self.set_login_cookie(user)
            self.set_hub_cookie(user)
        self._remember(sign_in)
        self.redirect(next_url or self.get_next_url(user), status=303)

    def set_session_cookie(self) -> str:
        """Upstream's, but as long as the sign-in: what it names ends with it, after a restart too.

        Otherwise a browser that was closed in between would keep the other cookies alone, and
        signing out would end nothing of what services were told.
        """
        if not hasattr(self, "_session_id"):
            self._session_id = secrets.token_hex(16)
        days = self.cookie_max_age_days or 14
        self._set_cookie(
            SESSION_COOKIE_NAME,
            self._session_id,
            encrypted=False,
            path=self.base_url,
            max_age=int(days * 86400),
        )
        return self._session_id

    def clear_cookie(self, cookie_name: str, **options: Any) -> None:
        """With the attributes that the hub sets its own with: a partitioned cookie is another."""
        if cookie_name.startswith(("jupyterhub-", "_xsrf")):
            options = {**self.settings.get("cookie_options", {}), **options}
        super().clear_cookie(cookie_name, **options)

    def append_query_parameters(self, url: str, exclude: Any = None) -> str:
        """Upstream takes this page's query along to the next: here that is a code or a ticket."""
        return url

    def _new_session(self) -> None:
        self._session_id = secrets.token_hex(16)
        self.set_session_cookie()

    def _remember(self, sign_in: SignIn) -> None:
        claims = sign_in.claims
        self.set_cookie(
            LAST_DOOR,
            Seal(self.doors.secret, "last door").close([claims.provider, claims.issuer]),
            path=self.hub.base_url,
            max_age=_LAST_DOOR_SECONDS,
            httponly=True,
            **cookie_site(self, framed=self.framed),
        )

    def last_door(self) -> tuple[str, str]:
        """The provider and issuer that this browser came in by last; empty where there is none."""
        sealed = self.get_cookie(LAST_DOOR)
        value = Seal(self.doors.secret, "last door").open(sealed) if sealed else None
        if isinstance(value, list) and len(value) == 2:
            return str(value[0]), str(value[1])
        return "", ""

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, MydockerError):
            self.log.warning(
                "sign-in refused: %s reference=%s %s", self.request.path, self.reference, error
            )
            if self.doors.may_note():
                note = asyncio.get_running_loop().create_task(self._note_refusal(error))
                note.add_done_callback(_seen)
        elif isinstance(error, HTTPError):
            self.log.warning("%s %s: %s", self.request.method, self.request.path, error)
        else:
            super().log_exception(kind, error, trace)

    async def _note_refusal(self, error: MydockerError) -> None:
        """For the audit log, where the support finds the reference; a try, not a promise."""
        provider = error.params.get("provider", "")
        if isinstance(provider, Text):
            provider = provider.fr
        await self.catalogue.refused(
            code=error.code,
            provider=str(provider)[:200],
            reference=self.reference,
            detail=error.log_detail[:500],
        )

    @property
    def reference(self) -> str:
        """What a person tells the support, and the log holds: eight digits of no meaning."""
        if not hasattr(self, "_reference"):
            self._reference = secrets.token_hex(4)
        return self._reference

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if not hasattr(self, "_jupyterhub_user"):  # before `prepare`, as upstream has it
            self._jupyterhub_user = None
            self._resolve_roles_and_scopes()
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        translator = i18n.translator(language_of(self))
        self.set_status(error.status if error.status != 499 else 400)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            self.render_template(
                "refused.html",
                sync=True,
                sentence=translator.error(error),
                code=error.code,
                reference=self.reference,
                support=self.doors.settings.support,
                again=url_concat(
                    self.settings["login_url"], {"next": self._wanted} if self._wanted else {}
                ),
            )
        )


@stream_request_body
class FormHandler(DoorHandler):
    """Takes forms that pages of other sites send: no token of ours is in them.

    What is in such a form is signed, or only begins a sign-in. `body` is what was sent.
    """

    def check_xsrf_cookie(self) -> None:
        """There can be none."""

    async def prepare(self) -> None:
        self._received = bytearray()
        self._left_out = False
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        if len(self._received) + len(chunk) > MAX_BODY_BYTES:
            self._left_out = True  # read on, so that the refusal reaches the browser
        else:
            self._received += chunk

    @property
    def body(self) -> bytes:
        """Raises `Invalid` where it was too much."""
        if self._left_out:
            raise Invalid("too-large", limit=MAX_BODY_BYTES)
        return bytes(self._received)


def _seen(note: asyncio.Task[None]) -> None:
    if not note.cancelled() and note.exception() is not None:
        app_log.info("a refusal was not noted: %s", note.exception())
