"""The pages of LTI: platforms and how they register, what a teacher chooses, who came."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from pydantic import ValidationError
from tornado.web import HTTPError, RequestHandler

from ...domain.errors import N_, Invalid, MydockerError, NotFound, Refused, Unavailable
from ...domain.people import Person
from ...identity.platform import Platform, PlatformStatus
from ...identity.settings import Lti
from ...store import courses, platforms, reading
from ...store.courses import Choice, Chosen, CourseView, Participant
from ...store.database import Session
from ...store.platforms import Kept, ToolKey
from ...store.reading import Found
from ...web.i18n import Translator
from ...web.problems import as_error, invalid
from ...web.service import now
from . import lti_calls, lti_register
from .api import Context
from .lti_api import SEAL, check_return, origin, origins
from .lti_calls import Member, Members
from .lti_register import ToolAddresses
from .pages import CataloguePage

_MEMBERS_KEPT_SECONDS = 300
_MEMBERS_WAIT_SECONDS = 20
_MOST_CHOSEN = 20
_ANSWER_LASTS = timedelta(minutes=5)
_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
_DEEP_LINK_CLAIM = "https://purl.imsglobal.org/spec/lti-dl/claim/"
_TITLE = 200


class LtiPage(CataloguePage):
    @property
    def context(self) -> Context:
        context: Context = self.settings["context"]
        return context

    @property
    def tool(self) -> ToolAddresses:
        """Our own addresses, as platforms know them."""
        here = self.context.public_url or f"{self.request.protocol}://{self.request.host}"
        return ToolAddresses.at(here + self.addresses.hub)

    async def signing_key(self) -> ToolKey:
        return await self.database.write(platforms.signing_key, now(), self.context.seal(SEAL))

    def field(self, name: str, limit: int = 2000) -> str:
        """One line of a form, without spaces around it."""
        value = self.get_body_argument(name, "", strip=True)
        if len(value) > limit or not value.isprintable():
            raise Invalid(problems=[(name, N_("this is too long, or not one line"))])
        return value

    def worded(self, error: MydockerError) -> MydockerError:
        """The error with the detail of `platform-unreachable` in the person's language."""
        if error.code == "platform-unreachable":
            error.params["detail"] = self.translator.known(error.params["detail"])
        return error

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if "exc_info" in kwargs:
            self.worded(as_error(kwargs["exc_info"][1]))
        super().write_error(status_code, **kwargs)


def _frames(*origins: str) -> str:
    """The part of a Content-Security-Policy that says who may frame a page."""
    return "frame-ancestors " + (" ".join(one for one in origins if one) or "'none'")


class AdminPage(LtiPage):
    """For administrators alone, whatever is asked for."""

    async def prepare(self) -> None:
        self.set_policy(frames="frame-ancestors 'none'")  # whatever operators allow for others
        await super().prepare()
        if not self._finished and not self.person.is_admin:
            raise Refused("not-allowed")


class Jwks(RequestHandler):
    """`/lti/jwks.json`: our public keys, for platforms."""

    async def get(self) -> None:
        context: Context = self.settings["context"]
        seal = context.seal(SEAL)
        keys = await context.database.read(platforms.jwks, now(), seal)
        if not keys["keys"]:  # nobody has asked yet
            await context.database.write(platforms.signing_key, now(), seal)
            keys = await context.database.read(platforms.jwks, now(), seal)
        self.set_header("Cache-Control", "public, max-age=300")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(keys)


# --- platforms -----------------------------------------------------------------------------------


def _overview(session: Session, at: datetime) -> dict[str, Any]:
    return {
        "platforms": platforms.platforms(session),
        "links": platforms.open_links(session, at),
        "keys": platforms.tool_keys(session, at),
    }


class PlatformsPage(AdminPage):
    """`/admin/platforms`: those that are known, registration links, our keys."""

    async def get(self) -> None:
        await self._show()

    async def post(self) -> None:
        actions: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "link": self._make_link,
            "withdraw": self._withdraw,
            "rotate": self._rotate,
            "drop": self._drop,
        }
        action = actions.get(self.field("action"))
        if action is None:
            raise NotFound()
        await action()

    async def _make_link(self) -> None:
        key = await self.database.write(
            platforms.make_link,
            self.field("label", 100),
            self.person.name,
            now(),
            private=bool(self.field("private")),
        )
        here = self.tool.jwks.removesuffix("jwks.json")
        await self._show(new_link=f"{here}register/{key}")

    async def _withdraw(self) -> None:
        digest = self.field("digest", 64)
        await self.database.write(platforms.withdraw_link, digest, self.person.name, now())
        self._back()

    async def _rotate(self) -> None:
        seal = self.context.seal(SEAL)
        await self.database.write(platforms.rotate, self.person.name, now(), seal)
        self._back()

    async def _drop(self) -> None:
        await self.database.write(
            platforms.drop_key, self.field("kid", 64), self.person.name, now()
        )
        self._back()

    def _back(self) -> None:
        self.redirect(f"{self.addresses.service_prefix}admin/platforms", status=303)

    async def _show(self, new_link: str = "") -> None:
        at = now()
        shown = await self.database.read(_overview, at)
        self.render_page("lti/platforms.html", tool=self.tool, new_link=new_link, **shown)


class NewPlatformPage(AdminPage):
    """`/admin/platforms/new`: by hand, LTI 1.3 or 1.1."""

    async def get(self) -> None:
        self._show({}, [])

    async def post(self) -> None:
        secret = ""
        try:
            if self.field("version") == "1.1":
                secret = secrets.token_urlsafe(32)
                new = Platform(
                    version="1.1",
                    name=self.field("name"),
                    client_id=f"mydocker-{secrets.token_hex(8)}",
                )
            else:
                new = Platform.model_validate({"version": "1.3", **_sent(self)})
        except ValidationError as error:
            self._show(_typed(self), invalid(error).problems)
            return
        kept = await self.database.write(
            platforms.create,
            new,
            self.person.name,
            now(),
            seal=self.context.seal(SEAL),
            secret=secret,
        )
        if secret:
            self.render_page("lti/secret.html", kept=kept, secret=secret, tool=self.tool)
        else:
            self.redirect(_address(self, kept), status=303)

    def _show(self, typed: dict[str, str], problems: list[tuple[str, str]]) -> None:
        if problems:
            self.set_status(422)
        self.render_page("lti/platform_new.html", tool=self.tool, typed=typed, problems=problems)


def _address(page: LtiPage, kept: Kept) -> str:
    return f"{page.addresses.service_prefix}admin/platforms/{kept.platform.id}"


_FIELDS = ("name", "issuer", "client_id", "authorization_url", "token_url", "jwks_url")
_RULE_FIELDS = ("issuer", "claim", "attribute", "scope")


def _typed(page: LtiPage) -> dict[str, str]:
    """What is in a form, to show it again."""
    names = (*_FIELDS, "teachers", *(f"join_{name}" for name in _RULE_FIELDS))
    typed = {name: page.field(name) for name in names}
    return {**typed, "deployments": page.get_body_argument("deployments", "")[:20_000]}


def _sent(page: LtiPage) -> dict[str, Any]:
    """A form as the fields of a `Platform`."""
    typed = _typed(page)
    rule = {name: typed[f"join_{name}"] for name in _RULE_FIELDS if typed[f"join_{name}"]}
    return {
        **{name: typed[name] for name in _FIELDS if typed[name]},
        "deployments": tuple(
            dict.fromkeys(
                line.strip() for line in typed["deployments"].splitlines() if line.strip()
            )
        ),
        "teachers": bool(typed["teachers"]),
        "join_rule": rule if "issuer" in rule else None,
    }


def _as_typed(platform: Platform) -> dict[str, str]:
    typed = {name: str(getattr(platform, name) or "") for name in _FIELDS}
    rule = platform.join_rule
    return {
        **typed,
        "deployments": "\n".join(platform.deployments),
        "teachers": "1" if platform.teachers else "",
        **{f"join_{name}": str(getattr(rule, name)) if rule else "" for name in _RULE_FIELDS},
    }


@dataclass(frozen=True)
class Finding:
    """What one address of a platform answered; `error` says why not as it should."""

    what: str
    good: str
    error: MydockerError | None = None


def _one_platform(session: Session, platform_id: int) -> tuple[Kept, list[Kept]]:
    kept = platforms.platform(session, platform_id)
    return kept, platforms.same_issuer(session, kept.platform)


class PlatformPage(AdminPage):
    """`/admin/platforms/ID`: what is known of a platform; change, test, open, close, delete it."""

    async def get(self, number: str) -> None:
        await self._show(int(number))

    async def post(self, number: str) -> None:
        actions: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
            "save": self._save,
            "open": self._open,
            "close": self._close,
            "secret": self._secret,
            "delete": self._delete,
            "test": self._test,
        }
        action = actions.get(self.field("action"))
        if action is None:
            raise NotFound()
        await action(int(number))

    @property
    def _version(self) -> int:
        """The version that the form was made from."""
        sent = self.field("version", 9)
        return int(sent) if re.fullmatch("[1-9][0-9]{0,8}", sent) else 0

    async def _save(self, number: int) -> None:
        kept, _ = await self.database.read(_one_platform, number)
        before = kept.platform
        sent = _sent(self)
        fixed = {"id": before.id, "version": before.version, "status": before.status}
        try:
            if before.version == "1.1":
                known = {name: sent[name] for name in ("teachers", "join_rule")}
                known |= {"name": self.field("name"), "client_id": before.client_id}
                changed = Platform.model_validate({**known, **fixed})
            else:
                changed = Platform.model_validate({**sent, "issuer": before.issuer, **fixed})
        except ValidationError as error:
            await self._show(number, typed=_typed(self), problems=invalid(error).problems)
            return
        await self._edit(changed)

    async def _open(self, number: int) -> None:
        await self._set_status(number, PlatformStatus.ACTIVE)

    async def _close(self, number: int) -> None:
        await self._set_status(number, PlatformStatus.DISABLED)

    async def _set_status(self, number: int, status: PlatformStatus) -> None:
        kept, _ = await self.database.read(_one_platform, number)
        await self._edit(kept.platform.model_copy(update={"status": status}))

    async def _edit(self, changed: Platform) -> None:
        kept = await self.database.write(
            platforms.edit, changed, self._version, self.person.name, now()
        )
        self.redirect(_address(self, kept), status=303)

    async def _secret(self, number: int) -> None:
        secret = await self.database.write(
            platforms.new_secret,
            number,
            self._version,
            self.person.name,
            now(),
            self.context.seal(SEAL),
        )
        kept, _ = await self.database.read(_one_platform, number)
        self.render_page("lti/secret.html", kept=kept, secret=secret, tool=self.tool)

    async def _delete(self, number: int) -> None:
        await self.database.write(platforms.remove, number, self._version, self.person.name, now())
        self.redirect(f"{self.addresses.service_prefix}admin/platforms", status=303)

    async def _test(self, number: int) -> None:
        kept, _ = await self.database.read(_one_platform, number)
        await self._show(number, findings=await self._findings(kept.platform))

    async def _findings(self, platform: Platform) -> list[Finding]:
        if platform.version == "1.1":
            raise NotFound()
        tr = self.translator
        found = []
        what = tr.gettext(N_("Its public keys"))
        try:
            count = await lti_calls.count_of_keys(platform)
            good = tr.ngettext("%(n)s key was read.", "%(n)s keys were read.", count)
            found.append(Finding(what, good))
        except Unavailable as error:
            found.append(Finding(what, "", self.worded(error)))
        what = tr.gettext(N_("Access to the lists of members"))
        try:
            await lti_calls.access_token(platform, await self.signing_key(), now())
            good = tr.gettext(N_("It recognised our signature and gave a token."))
            found.append(Finding(what, good))
        except Unavailable as error:
            found.append(Finding(what, "", self.worded(error)))
        return found

    async def _show(
        self,
        number: int,
        *,
        typed: dict[str, str] | None = None,
        problems: list[tuple[str, str]] | None = None,
        findings: list[Finding] | None = None,
    ) -> None:
        kept, same = await self.database.read(_one_platform, number)
        platform = kept.platform
        home = origin(platform.issuer)
        urls = (platform.authorization_url, platform.token_url, platform.jwks_url)
        if problems:
            self.set_status(422)
        self.render_page(
            "lti/platform.html",
            kept=kept,
            platform=platform,
            same=same,
            elsewhere=sorted({url for url in urls if url and origin(url) != home}),
            typed=_as_typed(platform) if typed is None else typed,
            problems=problems or [],
            findings=findings,
            tool=self.tool,
        )


# --- a platform registers itself -----------------------------------------------------------------


class RegisterPage(LtiPage):
    """`/lti/register/KEY?openid_configuration=URL&registration_token=…`: opened by a platform.

    Nobody is signed in here: the link that an administrator made is what allows it, once. The
    platform shows the page in a frame or a window of its own.
    """

    _framer = ""

    async def prepare(self) -> None:
        self.check_size()

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_policy(frames=_frames(self._framer), forms="'none'")

    async def head(self, *path: str) -> None:
        raise HTTPError(405)  # a look is no registration

    async def get(self, key: str) -> None:
        url = self.get_query_argument("openid_configuration", "")[:2000]
        token = self.get_query_argument("registration_token", "")
        self._framer = origin(url)  # it shows refusals too
        self.set_default_headers()
        await self.database.read(platforms.check_link, key, now())
        if not url:
            self.render_page("lti/register.html", error=None, platform=None, close=False)
            return
        if not re.fullmatch(r"[\x21-\x7e]{0,8000}", token):
            raise MydockerError("bad-request")
        label = await self.database.write(platforms.take_link, key, now())
        try:
            kept = await self._register(key, label, url, token)
        except MydockerError as error:
            await self.database.write(platforms.give_link_back, key, origin(url), error.code, now())
            raise
        self.render_page("lti/register.html", error=None, platform=kept.platform, close=True)

    async def _register(self, key: str, label: str, url: str, token: str) -> Kept:
        support = self.context.sign_in.support.mail
        ours = lti_register.our_registration(
            self.tool, title="mydocker", contacts=[support] if support else []
        )
        new = await lti_register.register_at(
            url, token, ours, name=label, private=platforms.is_private(key)
        )
        return await self.database.write(
            platforms.register, key, new, now(), seal=self.context.seal(SEAL)
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = as_error(kwargs["exc_info"][1]) if "exc_info" in kwargs else NotFound()
        self.set_status(error.status)
        self.render_page("lti/register.html", error=self.worded(error), platform=None, close=False)


# --- a teacher chooses ---------------------------------------------------------------------------


def _choice(
    session: Session, choice_id: str, person: Person, at: datetime
) -> tuple[Choice, Platform, list[Found]]:
    choice = courses.choice(session, choice_id, person, at)
    platform = platforms.platform(session, choice.request.platform).platform
    check_return(platform, choice.request.return_url)
    return choice, platform, courses.can_be_chosen(session, person)


def _choose(
    session: Session, choice_id: str, slugs: list[str], person: Person, at: datetime
) -> tuple[Choice, Platform, list[Chosen]]:
    choice, chosen = courses.choose(session, choice_id, slugs, person, at)
    platform = platforms.platform(session, choice.request.platform).platform
    check_return(platform, choice.request.return_url)
    return choice, platform, chosen


class ChoosePage(LtiPage):
    """`/lti/choose/ID`: what an activity opens (LTI Deep Linking 2.0); for who began it, once."""

    async def get(self, choice_id: str) -> None:
        text = self.get_query_argument("q", "")[:200].replace("\x00", "")
        await self._show(choice_id, text)

    async def post(self, choice_id: str) -> None:
        slugs = self.get_body_arguments("environment")
        at = now()
        choice, _, _ = await self.database.read(_choice, choice_id, self.person, at)
        most = _MOST_CHOSEN if choice.request.accept_multiple else 1
        if not 1 <= len(set(slugs)) <= most:
            await self._show(choice_id, "", chosen=set(slugs), most=most)
            return
        titles = {slug: self.field(f"title-{slug}"[:60], _TITLE) for slug in slugs}
        key = await self.signing_key()
        choice, platform, chosen = await self.database.write(
            _choose, choice_id, slugs, self.person, at
        )
        framed = bool(self._framers(platform))
        items = [
            content_item(one, titles[one.environment.slug], self.translator, framed=framed)
            for one in chosen
        ]
        answer = _signed_answer(choice, platform, items, key, at)
        home = origin(choice.request.return_url)
        self.set_policy(forms=home, frames=_frames(*self._framers(platform)))
        self.render_page(
            "lti/answer.html", url=choice.request.return_url, answer=answer, platform=platform
        )

    def _framers(self, platform: Platform) -> list[str]:
        return framers(platform, self.context.sign_in.lti)

    async def _show(
        self, choice_id: str, text: str, *, chosen: set[str] | None = None, most: int = 0
    ) -> None:
        choice, platform, found = await self.database.read(_choice, choice_id, self.person, now())
        words = reading.normalise(text).split()[:10]
        shown = [
            one
            for one in found
            if all(word in reading.search_text(one.environment) for word in words)
        ]
        if chosen is not None:
            self.set_status(422)
        self.set_policy(frames=_frames(*self._framers(platform)))
        self.render_page(
            "lti/choose.html",
            choice=choice,
            platform=platform,
            found=shown,
            total=len(found),
            text=text,
            chosen=chosen or set(),
            wrong=chosen is not None,
            most=most,
            search_text=reading.search_text,
            address=f"{self.addresses.service_prefix}lti/choose/{choice_id}",
        )


def framers(platform: Platform, lti: Lti | None) -> list[str]:
    """The origins of a platform that the operators let frame us."""
    allowed = {origin(one) for one in lti.frame_origins} if lti else set()
    return sorted(origins(platform) & allowed)


def content_item(one: Chosen, title: str, tr: Translator, *, framed: bool) -> dict[str, Any]:
    """What an activity opens (LTI Deep Linking 2.0 §3.4), in a frame or in a new window.

    Without an address, so that Moodle keeps the tool that it belongs to.
    """
    environment = one.environment
    return {
        "type": "ltiResourceLink",
        "title": title or tr.text(environment.title)[:_TITLE],
        "text": tr.text(environment.sheet.description)[:2000],
        "custom": {"join": one.link.key},
        **({"iframe": {}} if framed else {"window": {"targetName": "_blank"}}),
    }


def _signed_answer(
    choice: Choice, platform: Platform, items: list[dict[str, Any]], key: ToolKey, at: datetime
) -> str:
    """The LtiDeepLinkingResponse (LTI Deep Linking 2.0 §4.5; Security Framework 1.0 §5.2)."""
    claims: dict[str, Any] = {
        "iss": platform.client_id,
        "aud": platform.issuer,
        "iat": at,
        "exp": at + _ANSWER_LASTS,
        "nonce": secrets.token_urlsafe(24),
        f"{_CLAIM}deployment_id": choice.request.deployment,
        f"{_CLAIM}message_type": "LtiDeepLinkingResponse",
        f"{_CLAIM}version": "1.3.0",
        f"{_DEEP_LINK_CLAIM}content_items": items,
    }
    if choice.request.data is not None:
        claims[f"{_DEEP_LINK_CLAIM}data"] = choice.request.data
    return jwt.encode(claims, key.private_pem, algorithm="RS256", headers={"kid": key.kid})


# --- who came ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Somebody of a course: came here, or is only on the platform's list."""

    name: str
    teaches: bool
    came: Participant | None


def rows_of(participants: tuple[Participant, ...], members: tuple[Member, ...]) -> list[Row]:
    """Who came joined with who is in the course, by name; the platform's names count for others."""
    by_subject = {subject: one for one in participants for subject in one.subjects}
    names: dict[str, str] = {}
    rows = []
    for member in members:
        came = by_subject.get(member.user_id)
        if came is not None:
            names[came.name] = member.shown_name
        elif member.status == "Active":
            rows.append(Row(member.shown_name or member.user_id, member.teaches, None))
    rows += [
        Row(one.display_name or names.get(one.name) or one.name, one.role == "teacher", one)
        for one in participants
    ]
    return sorted(rows, key=lambda row: (row.teaches, reading.normalise(row.name)))


class MembersKept:
    """Lists of members for five minutes, by platform, deployment and context.

    The hundred asked for last.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str, str], tuple[float, Members]] = OrderedDict()

    def get(self, course: tuple[int, str, str]) -> Members | None:
        at, found = self._kept.get(course, (0.0, None))
        return found if time.monotonic() - at < _MEMBERS_KEPT_SECONDS else None

    def put(self, course: tuple[int, str, str], found: Members) -> None:
        self._kept[course] = (time.monotonic(), found)
        self._kept.move_to_end(course)
        while len(self._kept) > 100:
            self._kept.popitem(last=False)


class CoursesPage(LtiPage):
    """`/courses`: the courses that a person teaches; administrators see all."""

    async def get(self) -> None:
        found = await self.database.read(
            courses.courses_of, self.person, now(), self.context.sign_in.role_days
        )
        if not found and not self.person.may_create:
            raise Refused("not-allowed")
        self.render_page("lti/courses.html", courses=found)


def _course(
    session: Session, course_id: int, person: Person, at: datetime, role_days: int
) -> tuple[CourseView, Platform]:
    view = courses.course_for(session, course_id, person, at, role_days)
    return view, platforms.platform(session, view.course.platform).platform


class CoursePage(LtiPage):
    """`/courses/ID`: who of a course has come and what they started; for its teachers."""

    async def get(self, number: str) -> None:
        view, platform = await self.database.read(
            _course, int(number), self.person, now(), self.context.sign_in.role_days
        )
        members, error = await self._members(view, platform)
        self.render_page(
            "lti/course.html",
            view=view,
            rows=rows_of(view.participants, members.items if members else ()),
            members=members,
            error=error,
        )

    async def _members(
        self, view: CourseView, platform: Platform
    ) -> tuple[Members | None, MydockerError | None]:
        """What the platform's list says; None where it gives none, with the reason if it failed."""
        url = view.course.memberships_url
        if not url or platform.version != "1.3" or platform.status is not PlatformStatus.ACTIVE:
            return None, None
        kept: MembersKept = self.settings.setdefault("lti_members", MembersKept())
        course = (platform.id, view.course.deployment, view.course.context)
        found = kept.get(course)
        if found is None:
            try:
                async with asyncio.timeout(_MEMBERS_WAIT_SECONDS):
                    found = await lti_calls.members(platform, url, await self.signing_key(), now())
            except TimeoutError:
                slow = lti_calls.unreachable(platform.name, N_("it takes too long"))
                return None, self.worded(slow)
            except Unavailable as error:
                return None, self.worded(error)
            kept.put(course, found)
        return found, None


NUMBER = "([1-9][0-9]{0,17})"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    (r"lti/jwks\.json", Jwks),
    ("lti/register/([a-z0-9]{20,64})", RegisterPage),
    ("lti/choose/([a-z0-9]{20,64})", ChoosePage),
    ("admin/platforms", PlatformsPage),
    ("admin/platforms/new", NewPlatformPage),
    (f"admin/platforms/{NUMBER}", PlatformPage),
    ("courses", CoursesPage),
    (f"courses/{NUMBER}", CoursePage),
]
