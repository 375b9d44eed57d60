"""LTI: the door from a course. Launches of LTI 1.3 and 1.1, and the teacher's choice.

An LTI 1.3 launch goes: `/lti/login` (the platform begins; we make an attempt and send the browser
back to the platform), `/lti/launch` (the platform's signed answer, a cross-site POST, is verified
and kept as a ticket), `/lti/done` (the cookie says that it is the same browser). Inside a frame,
`/lti/begin` comes after the first and sees whether the browser keeps our cookies there; where not,
and where an operator does not allow the platform to frame us, a page with one button begins again
in a window of its own. Only that page may be framed by every known platform.

LTI 1.1 is `/lti/launch11` and `/lti/done11`. It has no beginning on our side, so no browser is
bound to it: each launch opens the door once, within minutes.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ltiauthenticator.lti13.constants import LTI13_INIT_LOGIN_REQUEST_ARGS
from tornado.httputil import url_concat
from tornado.web import authenticated

from ..catalogueapi import CatalogueApi
from ..domain.errors import Invalid, MydockerError, NotFound, Refused
from ..hubpages import JoinHandler, MayBeFramed, language_of
from ..identity import clock, lti11, lti13
from ..identity.claims import Course, CourseRole, Door, Spent
from ..identity.lti import MISSING, NOT_OURS, Launch, line, own_path, tool_addresses
from ..identity.platform import DeepLinkRequest, KnownPlatform, Platform, PlatformStatus
from ..identity.roles import sign_in_for
from ..web import i18n
from .attempts import Attempt, cookie_site, once_key, spent
from .base import DoorHandler, Doors, FormHandler
from .lti_keys import PlatformKeys

_MAX_BEGINNING = 8000  # characters of an initiation: it goes into addresses
_BEGINNING = {*LTI13_INIT_LOGIN_REQUEST_ARGS, "client_id", "lti_message_hint", "lti_deployment_id"}
_MAX_FIELDS = 500
_STATE = re.compile(r"[0-9a-f]{32}")
_PROBE = "mydocker-frame"
_PROBE_SECONDS = 300
_NOTE_SECONDS = 600
_KNOWN_SECONDS = 15  # a platform that was disabled is shut out after this
_MOST_KNOWN = 1000
_SPENT_LASTS = timedelta(minutes=15)  # longer than an LTI 1.1 timestamp counts


class Platforms:
    """Platforms as the catalogue knows them, remembered for some seconds."""

    def __init__(self) -> None:
        self._known: OrderedDict[
            tuple[str, str, str], tuple[float, asyncio.Future[list[KnownPlatform]]]
        ] = OrderedDict()

    async def find(
        self, catalogue: CatalogueApi, version: str, issuer: str, client_id: str = ""
    ) -> list[KnownPlatform]:
        key = (version, issuer[:1000], client_id[:255])
        until, answer = self._known.get(key, (0.0, None))
        if answer is None or until < time.monotonic():
            answer = asyncio.ensure_future(
                catalogue.platforms(version=version, issuer=key[1], client_id=key[2])
            )
            self._known[key] = (time.monotonic() + _KNOWN_SECONDS, answer)
            self._known.move_to_end(key)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(answer)
        except MydockerError:
            if self._known.get(key, (0.0, None))[1] is answer:
                del self._known[key]
            raise


@dataclass(frozen=True)
class Lti:
    """What this door keeps: `doors.extras["lti"]`."""

    platforms: Platforms
    keys: PlatformKeys


def start(doors: Doors) -> None:
    doors.extras["lti"] = Lti(Platforms(), PlatformKeys())


def tool_urls(doors: Doors) -> dict[str, str]:
    """The addresses that a platform's administrator enters there."""
    return tool_addresses(doors.hub_url)


# --- what waits for its browser ------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A verified answer of LTI 1.3, or, as `late`, one that is too old; when it came."""

    state: str
    platform: str
    came_at: datetime
    launch: Launch | None = None
    late: clock.Times | None = None


@dataclass(frozen=True)
class Answer11:
    """A verified form of LTI 1.1."""

    launch: Launch


@dataclass(frozen=True)
class Choice:
    """A teacher's choice that begins once they are signed in."""

    request: DeepLinkRequest
    course: Course | None


# --- shared --------------------------------------------------------------------------------------


class LtiHandler(MayBeFramed, DoorHandler):
    @property
    def lti(self) -> Lti:
        kept: Lti = self.doors.extras["lti"]
        return kept

    @property
    def in_frame(self) -> bool:
        """Whether the page is in a frame, allowed there or not."""
        return self.request.headers.get("Sec-Fetch-Dest") in {"iframe", "frame"}

    def query(self) -> list[tuple[str, str]]:
        return _pairs(self.request.query)

    def address(self, path: str, /, **query: str) -> str:
        """An address of this door, as a path of the hub."""
        return f"{self.hub.base_url}lti/{path}" + (f"?{urlencode(query)}" if query else "")

    async def enter(self, launch: Launch, attempt: Attempt, used: tuple[Spent, ...] = ()) -> None:
        """Let somebody in, and on to what their activity opens."""
        sign_in = sign_in_for(launch.claims, self.doors.settings, spent=used, course=launch.course)
        await self.welcome(sign_in, replace(attempt, next=self._target(launch)))

    def _target(self, launch: Launch) -> str:
        teaches = launch.role is CourseRole.TEACHER
        if launch.deep_link is not None:
            if not teaches:
                raise Refused("lti-teachers-only")
            return self._choice(launch, launch.deep_link)
        if launch.join is not None:
            # They came from the activity that their teacher made: nothing more to ask.
            self.set_signed_cookie(
                JoinHandler._NOTE,
                launch.join.key,
                expires_days=None,
                path=self.hub.base_url,
                max_age=_NOTE_SECONDS,
                httponly=True,
                **cookie_site(self, framed=self.framed),
            )
            return f"{self.hub.base_url}{launch.join.path}"
        if not teaches:
            raise NotFound("lti-nothing-chosen")
        return self.address("nothing-chosen")

    def _choice(self, launch: Launch, request: DeepLinkRequest) -> str:
        """The choice waits while the teacher signs in, bound to their browser."""
        once = once_key("lti-choice", f"{launch.claims.provider}\0{launch.nonce}")
        ticket = self.doors.tickets.keep(Choice(request, launch.course), once=once)
        attempt = Attempt(
            door=Door.LTI13, provider=launch.claims.provider, extra={"choice": ticket}
        )
        self.doors.attempts.begin(self, attempt, framed=self.framed)
        return self.address("choose", state=attempt.id)


class LtiFormHandler(FormHandler, LtiHandler):
    """Takes forms that platforms send."""

    async def form(self) -> list[tuple[str, str]]:
        body = self.body
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Invalid("bad-request")
        return await asyncio.to_thread(_pairs, body)  # much of it would hold the hub up


def _pairs(encoded: str | bytes) -> list[tuple[str, str]]:
    text = encoded.decode("utf-8", "replace") if isinstance(encoded, bytes) else encoded
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Invalid("bad-request") from None


def _fields(pairs: list[tuple[str, str]]) -> dict[str, str]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Invalid("bad-request", log_detail="a name comes twice")
    return fields


def _require_active(platform: Platform) -> None:
    if platform.status is not PlatformStatus.ACTIVE:
        raise Refused("lti-platform-closed", provider=platform.name)


# --- LTI 1.3: the beginning ----------------------------------------------------------------------


class LoginHandler(LtiFormHandler):
    """`/lti/login`: the platform begins (Security 1.0 §5.1.1.1, third-party initiated login)."""

    async def get(self) -> None:
        await self._begin(self.query())

    async def post(self) -> None:
        await self._begin([*self.query(), *await self.form()])

    def _after_cookie(self, asked: dict[str, str]) -> str:
        """Where to look whether a frame keeps our cookies; empty where that was tried."""
        return self.address("begin", **asked)

    async def _begin(self, pairs: list[tuple[str, str]]) -> None:
        if sum(len(name) + len(value) for name, value in pairs) > _MAX_BEGINNING:
            raise Invalid("too-large", limit=_MAX_BEGINNING)
        asked = {name: value for name, value in _fields(pairs).items() if name in _BEGINNING}
        platform = await self._platform(asked)
        if self.in_frame:
            if not self._may_frame(platform):
                await self._offer_window(asked, platform)
                return
            if self.get_cookie(_PROBE) is None:
                self.set_cookie(
                    _PROBE,
                    "1",
                    path=self.hub.base_url,
                    max_age=_PROBE_SECONDS,
                    httponly=True,
                    **cookie_site(self, framed=self.framed),
                )
                following = self._after_cookie(asked)
                if 0 < len(following) <= _MAX_BEGINNING:
                    self.redirect(following, status=303)
                else:
                    await self._offer_window(asked, platform)
                return
        attempt = self.begin(
            Door.LTI13, platform.provider, next_url="", platform_name=platform.name
        )
        # All of it in letters, digits, - and _: Moodle strips what else is in state and nonce.
        question = {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "client_id": platform.client_id,
            "redirect_uri": tool_urls(self.doors)["redirect_uri"],
            "login_hint": asked["login_hint"],
            "state": attempt.id,
            "nonce": attempt.nonce,
        }
        if "lti_message_hint" in asked:
            question["lti_message_hint"] = asked["lti_message_hint"]
        self.set_header("Cache-Control", "no-store")
        self.redirect(url_concat(platform.authorization_url or "", question), status=303)

    async def _platform(self, asked: Mapping[str, str]) -> Platform:
        issuer = line(asked.get("iss"), 200)
        for name in LTI13_INIT_LOGIN_REQUEST_ARGS:
            if not asked.get(name):
                raise Invalid(
                    "lti-message-invalid", problems=[(name, MISSING)], provider=issuer or "LTI"
                )
        found = await self.lti.platforms.find(self.catalogue, "1.3", asked["iss"])
        client = asked.get("client_id", "")
        fitting = [known.platform for known in found if client in {"", known.platform.client_id}]
        if not fitting:
            raise Refused("lti-platform-unknown", issuer=issuer)
        if len(fitting) > 1:
            raise Invalid(
                "lti-message-invalid",
                problems=[("client_id", MISSING)],
                provider=fitting[0].name,
            )
        platform = fitting[0]
        _require_active(platform)
        if own_path(asked["target_link_uri"], self.doors.hub_url) is None:
            raise Invalid(
                "lti-message-invalid",
                problems=[("target_link_uri", NOT_OURS)],
                provider=platform.name,
            )
        return platform

    def _may_frame(self, platform: Platform) -> bool:
        settings = self.doors.settings.lti
        return bool(settings and _origins(platform) & set(settings.frame_origins))

    async def _offer_window(self, asked: Mapping[str, str], platform: Platform) -> None:
        """One button that begins again in a window of its own; nothing was used up so far."""
        allowed = " ".join(sorted(_origins(platform)))
        self.set_header("Content-Security-Policy", f"frame-ancestors 'self' {allowed}")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "lti_window.html",
                action=self.address("login"),
                fields=dict(asked),
                platform=platform.name,
            )
        )


def _origins(platform: Platform) -> set[str]:
    """Where a platform's own pages are."""
    parts = [urlsplit(url) for url in (platform.issuer, platform.authorization_url or "")]
    return {
        f"{part.scheme}://{part.netloc}"
        for part in parts
        if part.scheme in {"https", "http"} and re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", part.netloc)
    }


class BeginHandler(LoginHandler):
    """`/lti/begin`: the same, after a cookie was set in a frame: is it there?"""

    def _after_cookie(self, asked: dict[str, str]) -> str:
        return ""


# --- LTI 1.3: the answer -------------------------------------------------------------------------


class LaunchHandler(LtiFormHandler):
    """`/lti/launch`: the platform's answer (Security 1.0 §5.1.1.3)."""

    async def get(self) -> None:
        raise Refused("sign-in-expired")  # such as a page that was loaded again

    async def post(self) -> None:
        sent = _fields(await self.form())
        state = sent.get("state", "")
        if not _STATE.fullmatch(state):
            raise Refused("sign-in-other-browser", log_detail="no state of ours")
        if "id_token" in sent:
            answer = await self._verified(sent["id_token"], state)
            # By what was signed: `state` is not, nor is there one way to write a signature.
            once = once_key("lti13", sent["id_token"].rpartition(".")[0])
            done = self.address("done", ticket=self.doors.tickets.keep(answer, once=once))
        else:
            # Shown to the browser that asked, and to no other that was made to send this.
            done = self.address(
                "done",
                state=state,
                error=sent.get("error", "")[:100],
                error_description=sent.get("error_description", "")[:300],
            )
        self.redirect(done, status=303)

    async def _verified(self, id_token: str, state: str) -> Answer:
        header, payload = lti13.read(id_token)
        platform = await self._platform(payload)
        _require_active(platform)
        key = await self.lti.keys.key(platform, header.kid)
        lti13.verify(id_token, header, key, platform)
        now = datetime.now(UTC)
        try:
            launch = lti13.validate(
                payload,
                platform,
                now=now,
                tolerance=self.doors.settings.clock_tolerance,
                hub_url=self.doors.hub_url,
            )
        except lti13.Late as error:
            return Answer(state, platform.name, now, late=error.times)
        return Answer(state, platform.name, now, launch=launch)

    async def _platform(self, payload: Mapping[str, Any]) -> Platform:
        issuer, audiences = lti13.audience(payload)
        found = await self.lti.platforms.find(self.catalogue, "1.3", issuer)
        if not found:
            raise Refused("lti-platform-unknown", issuer=line(issuer, 200))
        for known in found:
            if known.platform.client_id in audiences:
                return known.platform
        raise Refused("sign-in-not-for-us", provider=found[0].platform.name)


class DoneHandler(LtiHandler):
    """`/lti/done`: the answer again, now as a GET, which brings the cookie of the beginning."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        if "state" in self.request.arguments:
            self._refused_there()
        ticket = self.get_argument("ticket", "")
        answer = self.doors.tickets.look(ticket)
        if not isinstance(answer, Answer):
            raise Refused("sign-in-expired")
        attempt = self.take(answer.state, Door.LTI13)
        self.doors.tickets.take(ticket)
        if answer.late is not None:
            # An answer that is older than its question comes from a clock that is behind.
            clock.check(
                answer.late,
                now=answer.came_at,
                tolerance=self.doors.settings.clock_tolerance,
                provider=answer.platform,
                asked=datetime.fromtimestamp(attempt.began_at, UTC),
            )
        launch = answer.launch
        if (
            launch is None
            or attempt.provider != launch.claims.provider
            or not hmac.compare_digest(launch.nonce.encode(), attempt.nonce.encode())
        ):
            raise Refused(
                "sign-in-message-invalid",
                provider=answer.platform,
                log_detail="provider or nonce",
            )
        await self.enter(launch, attempt)

    def _refused_there(self) -> None:
        attempt = self.take(self.get_argument("state"), Door.LTI13)
        reason = [self.get_argument("error", ""), self.get_argument("error_description", "")]
        raise Refused(
            "sign-in-provider-refused",
            provider=attempt.extra.get("platform_name", "LTI"),
            reason=": ".join(line(part, 200) for part in reason if part) or "–",
        )


class ChooseHandler(LtiHandler):
    """`/lti/choose`: a teacher, signed in now, chooses on the catalogue's page."""

    @authenticated
    async def get(self) -> None:
        user, _ = self.signed_in
        attempt = self.take(self.get_argument("state", ""), Door.LTI13)
        choice = self.doors.tickets.take(attempt.extra.get("choice", ""))
        if not isinstance(choice, Choice):
            raise Refused("sign-in-expired")
        found = await self.catalogue.begin_deep_link(user.name, choice.request, choice.course)
        catalogue = self.settings["template_vars"]["catalogue_url"]
        self.redirect(f"{catalogue}lti/choose/{quote(found, safe='')}", status=303)


class NothingChosenHandler(LtiHandler):
    """`/lti/nothing-chosen`: says to a teacher how to choose what the activity opens."""

    @authenticated
    async def get(self) -> None:
        self.finish(await self.render_template("lti_nothing_chosen.html"))


# --- LTI 1.1 -------------------------------------------------------------------------------------


class Launch11Handler(LtiFormHandler):
    """`/lti/launch11[/KEY]`: a signed form."""

    async def get(self, key: str | None = None) -> None:
        raise Refused("sign-in-expired")

    async def post(self, key: str | None = None) -> None:
        form = await self.form()
        consumer = lti11.consumer_key(form)
        found = await self.lti.platforms.find(self.catalogue, "1.1", "", consumer)
        known = next((one for one in found if one.platform.client_id == consumer), None)
        if known is None:
            raise Refused("lti-platform-unknown", issuer=line(consumer, 200))
        platform = known.platform
        url = f"{self.doors.public_url}{self.request.path}"
        lti11.verify(
            form,
            self.query(),
            url=url,
            platform=platform,
            secret=known.secret.get_secret_value(),
        )
        try:
            _require_active(platform)
            launch = lti11.validate(
                form,
                platform,
                url=url,
                now=datetime.now(UTC),
                tolerance=self.doors.settings.clock_tolerance,
                hub_url=self.doors.hub_url,
            )
        except MydockerError as error:
            self._send_back(form, error)
            return
        # Not by its nonce: two people's launches may have the same, and one would get the other's.
        once = once_key("lti11", f"{consumer}\0{dict(form)['oauth_signature']}")
        ticket = self.doors.tickets.keep(Answer11(launch), once=once)
        self.redirect(self.address("done11", ticket=ticket), status=303)

    def _send_back(self, form: lti11.Pairs, error: MydockerError) -> None:
        """The platform shows why, if it asks for that; else we do."""
        sentence = i18n.translator(language_of(self)).error(error)
        back = lti11.return_address(form, self.request.headers.get("Origin", ""), sentence)
        if not back:
            raise error
        self.log.warning("sign-in refused: %s %s, sent back", self.request.path, error)
        self.redirect(back, status=303)


class Done11Handler(LtiHandler):
    """`/lti/done11`: as a GET, which brings the cookies of who is signed in already."""

    async def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        ticket = self.get_argument("ticket", "")
        answer = self.doors.tickets.look(ticket)
        if not isinstance(answer, Answer11):
            raise Refused("sign-in-expired")
        self.doors.tickets.take(ticket)
        launch = answer.launch
        used = spent("lti11", f"{launch.claims.issuer}\0{launch.nonce}", _SPENT_LASTS)
        attempt = Attempt(door=Door.LTI11, provider=launch.claims.provider)
        await self.enter(launch, attempt, (used,))


HANDLERS: list[tuple[str, type]] = [
    (r"/lti/login", LoginHandler),
    (r"/lti/begin", BeginHandler),
    (r"/lti/launch", LaunchHandler),
    (r"/lti/done", DoneHandler),
    (r"/lti/choose", ChooseHandler),
    (r"/lti/nothing-chosen", NothingChosenHandler),
    (r"/lti/launch11(?:/([A-Za-z0-9]{12,64}))?", Launch11Handler),
    (r"/lti/done11", Done11Handler),
]
