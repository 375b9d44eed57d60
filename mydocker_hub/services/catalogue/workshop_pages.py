"""The teacher's workshop: environments, their history, colleagues, invitations and participants.

All of it is for teachers and administrators; who else asks is refused before anything is looked
up. What a teacher may not see does not exist, and each action asks for its own right.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, cast, get_args
from urllib.parse import urlencode

import segno
from tornado.web import RequestHandler

from ...domain import names
from ...domain.access import Right, may_copy, may_delete, may_edit, may_try
from ...domain.differences import Change, differences
from ...domain.environment import Environment, Status, Text
from ...domain.errors import N_, Conflict, Invalid, MydockerError, NotFound, Refused
from ...domain.people import Person
from ...hubapi import RunningServer
from ...store import accounts, editing, reading, workshop
from ...store.database import Session
from ...store.reading import Found
from ...store.workshop import Colleague, Holder, LinkUse, Participant, Request, Version
from ...web.help import field_label, field_value
from ...web.i18n import SITE_ZONE, Translator
from ...web.service import now
from . import api, workshop_api
from .api import Context
from .pages import CataloguePage, nearby_pages

Show = Literal["mine", "shared", "public", "all"]
Sort = Literal["title", "changed"]
_LINE = 200
_MESSAGE = 2000

DONE = {
    "created": N_("The environment was made. Try it, then open it to your students."),
    "saved": N_("The changes were saved. What runs already goes on as it was started."),
    "copied": N_("The copy is yours: nobody else sees it until you say so. Change what you like."),
    "archived": N_("The environment is archived: nobody can start it; what runs goes on."),
    "unarchived": N_("The environment is back from the archive."),
    "status": N_("The state was changed."),
    "published": N_("The environment is in the public catalogue."),
    "withdrawn": N_("The environment is not in the public catalogue any more."),
    "deleted": N_("The environment was deleted. Personal folders were kept."),
    "restored": N_("The old version was restored, as a new version."),
    "given": N_("The right was given."),
    "taken": N_("The right was taken away."),
    "transferred": N_("The environment was handed over."),
    "link-added": N_("The join link was made."),
    "link-revoked": N_("The join link was withdrawn. Who came in by it stays."),
    "stopped": N_("The server is being stopped."),
    "asked": N_("The request was sent. The answer will be on this page."),
    "answered": N_("The answer was sent."),
    "accepted": N_("The request was accepted."),
}
"""What a page says after an action; the key is in its address."""


@dataclass(frozen=True)
class Rights:
    """What a person may do with an environment here."""

    edit: bool
    own: bool
    copy: bool
    try_it: bool
    publish: bool

    @classmethod
    def of(cls, person: Person, found: Found) -> Rights:
        environment, standing = found.environment, found.standing
        return cls(
            edit=may_edit(person, environment, standing).allowed,
            own=may_delete(person, environment, standing).allowed,
            copy=may_copy(person, environment, standing).allowed,
            try_it=may_try(person, environment, standing).allowed,
            publish=person.is_admin,
        )


@dataclass(frozen=True)
class Overview:
    """What the page of an environment shows of it."""

    found: Found
    origin: Found | None  # what it was copied from, where this person may see that
    made_by: str
    made_at: datetime | None
    changed_by: str
    holders: list[Holder]
    links: int = 0
    participants: int = 0


@dataclass(frozen=True)
class Step:
    """A version and what it changed."""

    version: Version
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Somebody who uses an environment, with their servers of it that run now."""

    name: str
    display_name: str
    participant: Participant | None
    servers: tuple[RunningServer, ...] = ()

    @property
    def last_start_at(self) -> datetime | None:
        return self.participant.last_start_at if self.participant else None


class WorkshopPage(CataloguePage):
    """A page for teachers and administrators; each of its actions is theirs alone too."""

    async def prepare(self) -> None:
        self.set_policy(frames="frame-ancestors 'none'")  # whatever operators allow for others
        await super().prepare()
        if not self._finished and not self.person.may_create:
            raise Refused("not-allowed")

    @property
    def context(self) -> Context:
        context: Context = self.settings["context"]
        return context

    def query(self, name: str, limit: int = _LINE) -> str:
        return self.get_query_argument(name, "")[:limit].replace("\x00", "")

    def line(self, name: str, limit: int = _LINE) -> str:
        """One line of a form, without spaces around it."""
        value = self.get_body_argument(name, "", strip=True)
        if len(value) > limit or not value.isprintable():
            raise Invalid(problems=[(name, N_("this is too long, or not one line"))])
        return value

    def message(self, name: str) -> str:
        """Some lines of a form."""
        value = self.get_body_argument(name, "", strip=True).replace("\r\n", "\n")
        if len(value) > _MESSAGE or any(ord(char) < 32 and char not in "\n\t" for char in value):
            raise Invalid(problems=[(name, N_("write at most 2000 characters of plain text"))])
        return value

    def version_field(self) -> int:
        """The version that the form was made from."""
        value = self.get_body_argument("version", "")
        if not value.isascii() or not value.isdecimal() or len(value) > 9:
            raise Conflict("changed-meanwhile")
        return int(value)

    def go(self, path: str, done: str = "") -> None:
        """After an action: to a page of the workshop, which says what was done."""
        query = f"?done={done}" if done else ""
        self.redirect(f"{self.addresses.service_prefix}workshop/{path}{query}", status=303)

    def render_page(self, template: str, **context: Any) -> None:
        shown = {
            "done": DONE.get(self.query("done"), ""),
            "refusal": None,
            # each form's address is a page too, which the language switch may come back to
            "here": self.request.uri if self._reads else self.request.path,
            **context,
        }
        super().render_page(template, **shown)


class OfEnvironment(WorkshopPage):
    """A page of one environment, below `workshop/environments/SLUG`."""

    tab = ""

    def render_environment(self, template: str, found: Found, **context: Any) -> None:
        self.render_page(
            template,
            found=found,
            environment=found.environment,
            rights=Rights.of(self.person, found),
            tab=self.tab,
            **context,
        )

    def back(self, slug: str, done: str = "", tab: str | None = None) -> None:
        below = self.tab if tab is None else tab
        self.go(f"environments/{slug}" + (f"/{below}" if below else ""), done)


# --- the list -------------------------------------------------------------------------------------


class ListPage(WorkshopPage):
    """`/workshop/environments`: search, filters, order, pages."""

    PAGE_SIZE = 30

    async def get(self) -> None:
        show = _choice(Show, self.query("show"), "mine")
        status = self.query("status")
        sort = _choice(Sort, self.query("sort"), "changed")
        text = self.query("q")
        wanted = self.query("page", 6)
        number = max(1, int(wanted)) if wanted.isascii() and wanted.isdecimal() else 1
        page, waiting = await self.database.read(
            _list,
            self.person,
            show=show,
            status=Status(status) if status in list(Status) else None,
            text=text,
            sort=sort,
            language=self.translator.lang,
            offset=(number - 1) * self.PAGE_SIZE,
            limit=self.PAGE_SIZE,
        )
        pages = max(1, -(-page.total // self.PAGE_SIZE))
        asked = {"q": text, "show": show, "status": status, "sort": sort}
        self.render_page(
            "workshop/list.html",
            items=[(found, Rights.of(self.person, found)) for found in page.items],
            total=page.total,
            waiting=waiting,
            asked=asked,
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.addresses.service_prefix}workshop/environments?{urlencode(asked)}",
        )


def _choice(choices: Any, value: str, default: str) -> Any:
    return value if value in get_args(choices) else default


def _list(session: Session, person: Person, **asked: Any) -> tuple[reading.Page, int]:
    page = workshop.listing(session, person, **asked)
    return page, len(workshop.requests(session, person))


# --- one environment ------------------------------------------------------------------------------


class EnvironmentPage(OfEnvironment):
    """`/workshop/environments/SLUG`: what it is; its forms come back here with `action`."""

    async def get(self, slug: str) -> None:
        await self.show(slug)

    async def show(self, slug: str, refusal: MydockerError | None = None) -> None:
        overview = await self.database.read(_overview, slug, self.person)
        self.render_environment(
            "workshop/environment.html", overview.found, overview=overview, refusal=refusal
        )

    async def post(self, slug: str) -> None:
        action = self.get_body_argument("action", "")
        changes: dict[str, dict[str, Any]] = {
            "archive": {"status": Status.ARCHIVED},
            "publish": {"public": True},
            "withdraw": {"public": False},
        }
        done = {"archive": "archived", "publish": "published", "withdraw": "withdrawn"}
        version = self.version_field()
        if action in changes:
            await self.change(slug, version, **changes[action])
            self.back(slug, done[action])
        elif action == "unarchive":
            await self.database.write(_unarchive, slug, self.person, version, now())
            self.back(slug, "unarchived")
        elif action == "status":
            status = self.get_body_argument("status", "")
            if status not in {Status.DRAFT, Status.TEST, Status.READY}:
                raise Invalid(problems=[("status", N_("choose a state"))])
            await self.change(slug, version, status=Status(status))
            self.back(slug, "status")
        else:
            raise NotFound()

    async def change(self, slug: str, version: int, **changes: Any) -> None:
        await self.database.write(_change, slug, self.person, version, now(), **changes)


def _overview(session: Session, slug: str, person: Person) -> Overview:
    found = api.visible(session, slug, person)
    history = workshop.history(session, found.id)
    edits = may_edit(person, found.environment, found.standing).allowed
    return Overview(
        found=found,
        origin=_origin(session, found, person),
        made_by=history[-1].changed_by if history else "",
        made_at=history[-1].changed_at if history else None,
        changed_by=history[0].changed_by if history else "",
        holders=workshop.rights(session, found.id),
        links=len(workshop.links(session, found.id)) if edits else 0,
        participants=len(workshop.participants(session, found.id)) if edits else 0,
    )


def _origin(session: Session, found: Found, person: Person) -> Found | None:
    if not found.origin:
        return None
    try:
        return api.visible(session, found.origin, person)
    except NotFound:  # deleted, or not for this person
        return None


def _change(
    session: Session, slug: str, person: Person, version: int, at: datetime, **changes: Any
) -> None:
    found = api.editable(session, slug, person)
    after = found.environment.model_copy(update=changes)
    api.replace(session, person, after, version, at)


def _unarchive(session: Session, slug: str, person: Person, version: int, at: datetime) -> None:
    """Back to the state that it was archived from."""
    found = api.editable(session, slug, person)
    if found.environment.status is not Status.ARCHIVED:
        raise Conflict("changed-meanwhile")
    status = Status.DRAFT
    for one in workshop.history(session, found.id):
        with suppress(NotFound):  # this release cannot read it
            was = workshop.version(session, found.id, one.number).status
            if was is not Status.ARCHIVED:
                status = was
                break
    _change(session, slug, person, version, at, status=status)


# --- copy and adapt -------------------------------------------------------------------------------


class DuplicatePage(OfEnvironment):
    """`/workshop/environments/SLUG/duplicate`: asks for a title and a name."""

    tab = "duplicate"

    async def get(self, slug: str) -> None:
        found = await self.database.read(copyable, slug, self.person)
        title = found.environment.title
        typed = {
            "title_fr": f"{title.fr} (copie)"[:120],
            "title_en": f"{title.en} (copy)"[:120],
            "slug": suggested_name(slug),
        }
        self.render_environment("workshop/duplicate.html", found, typed=typed, problems={})

    async def post(self, slug: str) -> None:
        found = await self.database.read(copyable, slug, self.person)
        typed = {
            name: self.get_body_argument(name, "", strip=True)
            for name in ("title_fr", "title_en", "slug")
        }
        problems = {}
        for name in ("title_fr", "title_en"):
            if len(typed[name]) > 120 or not typed[name].isprintable():
                problems[name] = N_("a title is one line of at most 120 characters")
        if not typed["title_fr"] and not typed["title_en"]:
            problems["title_fr"] = N_("write a title, in one of the languages at least")
        if typed["slug"] in api.RESERVED_SLUGS:
            problems["slug"] = N_("this name is taken: choose another one")
        elif not names.is_slug(typed["slug"]):
            problems["slug"] = N_(
                "write 1 to 30 small letters, digits and single hyphens, a letter first, such as "
                "python-week-2"
            )
        if not problems:
            title = Text(
                fr=typed["title_fr"] or typed["title_en"], en=typed["title_en"] or typed["title_fr"]
            )
            try:
                await self.database.write(
                    _duplicate, slug, self.person, new_slug=typed["slug"], title=title
                )
            except Conflict as error:
                if error.code != "exists-already":
                    raise
                problems["slug"] = N_(
                    "another environment has this name, or had it: choose another"
                )
            else:
                self.back(typed["slug"], "copied", tab="")
                return
        self.set_status(422)
        self.render_environment("workshop/duplicate.html", found, typed=typed, problems=problems)


def copyable(session: Session, slug: str, person: Person) -> Found:
    """An environment whose definition the person may take over."""
    found = api.visible(session, slug, person)
    may_copy(person, found.environment, found.standing).or_raise(found.environment)
    return found


def suggested_name(slug: str) -> str:
    """A name for a copy: `python-2` for `python`, `python-3` for `python-2`."""
    stem, hyphen, end = slug.rpartition("-")
    if hyphen and end.isdecimal() and len(end) < 4:
        following = f"-{int(end) + 1}"
    else:
        stem, following = slug, "-2"
    return stem[: names.SLUG_MAX_LENGTH - len(following)].rstrip("-") + following


def _duplicate(session: Session, slug: str, person: Person, *, new_slug: str, title: Text) -> Found:
    copyable(session, slug, person)
    return workshop_api.duplicate(session, slug, person, new_slug=new_slug, title=title, now=now())


# --- history --------------------------------------------------------------------------------------


class HistoryPage(OfEnvironment):
    """`/workshop/environments/SLUG/history`: who changed what, the newest first."""

    tab = "history"
    PAGE_SIZE = 20

    async def get(self, slug: str) -> None:
        wanted = self.query("page", 5)
        number = max(1, int(wanted)) if wanted.isascii() and wanted.isdecimal() else 1
        found, steps, total = await self.database.read(
            _history, slug, self.person, (number - 1) * self.PAGE_SIZE, self.PAGE_SIZE
        )
        pages = max(1, -(-total // self.PAGE_SIZE))
        self.render_environment(
            "workshop/history.html",
            found,
            steps=steps,
            worded=Worded(self.translator),
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.addresses.service_prefix}workshop/environments/{slug}/history?",
        )


class VersionPage(OfEnvironment):
    """`/workshop/environments/SLUG/history/N`: a version in words, and what became of it since."""

    tab = "history"

    async def get(self, slug: str, number: str) -> None:
        found, one, environment = await self.database.read(_version, slug, self.person, int(number))
        then, today = _plain(environment), _plain(found.environment)
        self.render_environment(
            "workshop/version.html",
            found,
            one=one,
            then=environment,
            leaves=list(_leaves(then)),
            changes=differences(then, today),
            worded=Worded(self.translator),
        )

    async def post(self, slug: str, number: str) -> None:
        version = self.version_field()
        await self.database.write(
            workshop_api.restore, slug, self.person, int(number), version, now()
        )
        self.back(slug, "restored")


def _plain(environment: Environment) -> dict[str, Any]:
    return environment.model_dump(mode="json", by_alias=True)


def _history(
    session: Session, slug: str, person: Person, offset: int, limit: int
) -> tuple[Found, list[Step], int]:
    found = api.editable(session, slug, person)
    versions = workshop.history(session, found.id)
    shown = versions[offset : offset + limit + 1]  # one more, which the last is compared with
    plain = [_plain_version(session, found.id, one.number) for one in shown]
    steps = [
        Step(one, differences(before, after) if before and after else [])
        for one, after, before in zip(shown[:limit], plain, [*plain[1:], {}], strict=False)
    ]
    return found, steps, len(versions)


def _plain_version(session: Session, environment_id: int, number: int) -> dict[str, Any]:
    """A version for comparing; nothing, where this release cannot read it."""
    try:
        return _plain(workshop.version(session, environment_id, number))
    except NotFound:
        return {}


def _version(
    session: Session, slug: str, person: Person, number: int
) -> tuple[Found, Version, Environment]:
    found = api.editable(session, slug, person)
    environment = workshop.version(session, found.id, number)
    one = next(one for one in workshop.history(session, found.id) if one.number == number)
    return found, one, environment


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a definition that say something, each with its path."""
    for key, one in value.items():
        here = f"{path}.{key}" if path else key
        if isinstance(one, Mapping):
            yield from _leaves(one, here)
        elif one not in (None, "", [], ()):
            yield here, one


@dataclass(frozen=True)
class Worded:
    """Fields of a definition and their values, as people read them."""

    tr: Translator

    def label(self, path: str) -> str:
        return field_label(path, self.tr)

    def value(self, path: str, value: Any) -> str:
        return field_value(path, value, self.tr) or self.tr.gettext("nothing")


# --- colleagues -----------------------------------------------------------------------------------


class SharingPage(OfEnvironment):
    """`/workshop/environments/SLUG/sharing`: who works on it, and who shall."""

    tab = "sharing"

    async def get(self, slug: str) -> None:
        await self.show(slug)

    async def show(self, slug: str, refusal: MydockerError | None = None) -> None:
        text = self.query("q").strip()
        found, holders, colleagues = await self.database.read(_sharing, slug, self.person, text)
        if refusal is not None:
            self.set_status(refusal.status)
        self.render_environment(
            "workshop/sharing.html",
            found,
            holders=holders,
            colleagues=colleagues,
            text=text,
            to=self.query("to", 255),
            refusal=refusal,
        )

    async def post(self, slug: str) -> None:
        run = {"give": self._give, "take": self._take, "transfer": self._transfer}.get(
            self.get_body_argument("action", "")
        )
        if run is None:
            raise NotFound()
        try:
            await run(slug)
        except (Conflict, Invalid) as error:
            await self.show(slug, error)
        except NotFound as error:
            if error.code != "account-unknown":
                raise
            await self.show(slug, error)

    async def _give(self, slug: str) -> None:
        name, right = self.line("name", 255), self._right("right")
        await self.database.write(_give, slug, self.person, name, right)
        self.back(slug, "given")

    async def _take(self, slug: str) -> None:
        name = self.line("name", 255)
        await self.database.write(workshop_api.take_right, slug, self.person, name, now())
        if name == self.person.name and not self.person.is_admin:
            self.go("environments", "taken")  # it may not be there for them any more
        else:
            self.back(slug, "taken")

    async def _transfer(self, slug: str) -> None:
        to = self.line("name", 255)
        keep = self._right("keep") if self.get_body_argument("keep", "") else None
        if not to:
            raise Invalid(problems=[("name", N_("write the user name of a colleague"))])
        await self.database.write(_transfer, slug, self.person, to, keep)
        self.go("environments", "transferred")

    def _right(self, name: str) -> Right:
        value = self.get_body_argument(name, "")
        if value not in list(Right):
            raise Invalid(problems=[(name, N_("choose what the colleague may do"))])
        return Right(value)


def _sharing(
    session: Session, slug: str, person: Person, text: str
) -> tuple[Found, list[Holder], list[Colleague]]:
    found = api.editable(session, slug, person)
    asked = may_delete(person, found.environment, found.standing).allowed and len(text) >= 3
    colleagues = workshop.colleagues(session, text) if asked else []
    holders = workshop.rights(session, found.id)
    return found, holders, colleagues


def _give(session: Session, slug: str, person: Person, name: str, right: Right) -> None:
    api.owned(session, slug, person)
    workshop.give_right(session, slug, person, name, right, now())


def _transfer(session: Session, slug: str, person: Person, to: str, keep: Right | None) -> None:
    api.owned(session, slug, person)
    try:
        workshop.transfer(session, slug, person, to, keep, now())
    except Conflict as error:
        if error.code != "exists-already":
            raise
        raise Invalid(problems=[("", N_("this colleague owns it already"))]) from None


# --- join links -----------------------------------------------------------------------------------


class LinksPage(OfEnvironment):
    """`/workshop/environments/SLUG/links`: invitations, with how often each was used."""

    tab = "links"

    async def get(self, slug: str) -> None:
        await self.show(slug, {"label": "", "until": ""}, {})

    async def show(self, slug: str, typed: dict[str, str], problems: dict[str, str]) -> None:
        found, links = await self.database.read(_links, slug, self.person)
        if problems:
            self.set_status(422)
        self.render_environment(
            "workshop/links.html",
            found,
            links=[
                (one, self.join_address(one.link.key), shown_end(one.link.expires_at))
                for one in links
            ],
            typed=typed,
            problems=problems,
            today=now().astimezone(SITE_ZONE).date(),
        )

    async def post(self, slug: str) -> None:
        action = self.get_body_argument("action", "")
        if action == "revoke":
            key = self.get_body_argument("key", "")
            await self.database.write(_revoke, slug, self.person, key)
            self.back(slug, "link-revoked")
        elif action == "add":
            await self._add(slug)
        else:
            raise NotFound()

    async def _add(self, slug: str) -> None:
        typed = {name: self.get_body_argument(name, "") for name in ("label", "until")}
        problems = {}
        label = typed["label"].strip()
        if len(label) > _LINE or not label.isprintable():
            problems["label"] = N_("this is too long, or not one line")
        try:
            expires_at = end_of(typed["until"].strip())
            if expires_at is not None and expires_at <= now():
                problems["until"] = N_("choose today or a later day")
        except ValueError:
            problems["until"] = N_("write a day such as 2026-12-31")
        if problems:
            await self.database.read(api.editable, slug, self.person)
            await self.show(slug, typed, problems)
            return
        await self.database.write(_add_link, slug, self.person, label, expires_at)
        self.back(slug, "link-added")

    def join_address(self, key: str) -> str:
        """An invitation as it is given away."""
        here = self.context.public_url or f"{self.request.protocol}://{self.request.host}"
        return f"{here}{self.addresses.base_url}join/{key}"


class QrPage(LinksPage):
    """`/workshop/environments/SLUG/links/KEY`: the invitation for a lecture room, full screen."""

    async def get(self, slug: str, key: str = "") -> None:
        found, links = await self.database.read(_links, slug, self.person)
        use = next((one for one in links if one.link.key == key), None)
        if use is None:
            raise NotFound("join-link-unknown")
        address = self.join_address(key)
        self.render_environment(
            "workshop/qr.html", found, link=use.link, address=address, code=qr_code(address)
        )

    async def post(self, slug: str, key: str = "") -> None:
        raise NotFound()


def qr_code(address: str) -> str:
    """The QR code of an address, as the source of a drawing (SVG) that scales.

    It has its white border (the quiet zone of four modules that ISO/IEC 18004 asks for), so that
    it is read on a dark page too; up to a quarter of it may be hidden (error correction Q).
    """
    drawing = io.BytesIO()
    segno.make(address, error="q", micro=False).save(
        drawing,
        kind="svg",
        border=4,
        light="#fff",
        dark="#000",
        xmldecl=False,
        svgns=False,
        omitsize=True,
        nl=False,
        svgclass=None,
        lineclass=None,
    )
    return drawing.getvalue().decode()


def end_of(day: str) -> datetime | None:
    """The end of a day of the site's calendar, `2026-12-31`; None for no day.

    Raises ValueError for what is no day between 2000 and 2199.
    """
    if not day:
        return None
    last = date.fromisoformat(day)
    if not 2000 <= last.year < 2200:
        raise ValueError("not between 2000 and 2199")
    return datetime.combine(last + timedelta(days=1), time(), SITE_ZONE)


def shown_end(end: datetime | None) -> datetime | None:
    """An end as people read it: midnight is the last minute of the day before."""
    if end is not None and end.astimezone(SITE_ZONE).time() == time():
        return end - timedelta(minutes=1)
    return end


def _links(session: Session, slug: str, person: Person) -> tuple[Found, list[LinkUse]]:
    found = api.editable(session, slug, person)
    return found, workshop.links(session, found.id)


def _add_link(
    session: Session, slug: str, person: Person, label: str, expires_at: datetime | None
) -> None:
    api.editable(session, slug, person)
    editing.add_join_link(session, slug, person, now(), label=label, expires_at=expires_at)


def _revoke(session: Session, slug: str, person: Person, key: str) -> None:
    api.editable(session, slug, person)
    editing.revoke_join_link(session, slug, key, person, now())


# --- people ---------------------------------------------------------------------------------------


class PeoplePage(OfEnvironment):
    """`/workshop/environments/SLUG/people`: who uses it, and what runs now. Never their files."""

    tab = "people"
    PAGE_SIZE = 50

    async def get(self, slug: str) -> None:
        found, participants = await self.database.read(_participants, slug, self.person)
        servers, unknown = await self.running_if_known(slug)
        rows = people_rows(participants, servers)
        wanted = self.query("page", 5)
        number = max(1, int(wanted)) if wanted.isascii() and wanted.isdecimal() else 1
        pages = max(1, -(-len(rows) // self.PAGE_SIZE))
        self.render_environment(
            "workshop/people.html",
            found,
            rows=rows[(number - 1) * self.PAGE_SIZE : number * self.PAGE_SIZE],
            total=len(rows),
            running=sum(len(row.servers) for row in rows),
            unknown=unknown,
            number=number,
            pages=pages,
            nearby=nearby_pages(number, pages),
            address=f"{self.addresses.service_prefix}workshop/environments/{slug}/people?",
        )

    async def running_if_known(self, slug: str) -> tuple[list[RunningServer], MydockerError | None]:
        """What runs; where the hub does not say, the page shows the rest all the same."""
        try:
            return await self.hub_servers.of_environment(slug), None
        except MydockerError as error:
            return [], error

    async def post(self, slug: str) -> None:
        if self.get_body_argument("action", "") != "stop":
            raise NotFound()
        user = self.line("user", 255)
        try:
            await workshop_api.stop_servers(self.context, slug, self.person, user, now())
        except NotFound as error:
            if error.code != "server-not-running":  # else it has stopped by itself
                raise
        self.back(slug, "stopped")


class LogPage(OfEnvironment):
    """`/workshop/environments/SLUG/people/log?user=…`: what somebody's running server wrote."""

    tab = "people"

    async def get(self, slug: str) -> None:
        found = await self.database.read(api.editable, slug, self.person)
        user = self.query("user", 255)
        log, refusal = "", None
        try:
            log = await workshop_api.server_log(self.context, slug, self.person, user, now())
        except MydockerError as error:
            refusal = error
            self.set_status(error.status)
        self.render_environment("workshop/log.html", found, user=user, log=log, refusal=refusal)


def people_rows(participants: list[Participant], servers: list[RunningServer]) -> list[Row]:
    """Everybody who uses an environment: first who runs it now, then by the last use."""
    by_user: dict[str, list[RunningServer]] = {}
    for server in servers:
        by_user.setdefault(server.user, []).append(server)
    known = {one.name: one for one in participants}
    rows = [
        Row(
            name=name,
            display_name=known[name].display_name if name in known else "",
            participant=known.get(name),
            servers=tuple(by_user.get(name, ())),
        )
        for name in [*known, *(name for name in by_user if name not in known)]
    ]
    rows.sort(key=lambda row: row.name)
    rows.sort(key=lambda row: row.last_start_at or _LONG_AGO, reverse=True)
    rows.sort(key=lambda row: not row.servers)
    return rows


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _participants(session: Session, slug: str, person: Person) -> tuple[Found, list[Participant]]:
    found = api.editable(session, slug, person)
    return found, workshop.participants(session, found.id)


# --- deleting -------------------------------------------------------------------------------------


class DeletePage(OfEnvironment):
    """`/workshop/environments/SLUG/delete`: what goes and what stays, before anything does."""

    tab = "delete"

    async def get(self, slug: str) -> None:
        await self.show(slug)

    async def show(self, slug: str, refusal: MydockerError | None = None) -> None:
        found, links, participants, folders = await self.database.read(
            _to_delete, slug, self.person, self.context.hub
        )
        servers = await self.hub_servers.of_environment(slug)
        if refusal is not None:
            self.set_status(refusal.status)
        self.render_environment(
            "workshop/delete.html",
            found,
            servers=servers,
            links=links,
            participants=participants,
            folders=folders,
            refusal=refusal,
        )

    async def post(self, slug: str) -> None:
        version = self.version_field()
        await self.database.read(api.owned, slug, self.person)
        try:
            if not self.get_body_argument("sure", ""):
                raise Invalid(problems=[("", N_("say that you are sure"))])
            await api.delete(self.context, slug, self.person, version, now())
        except (Conflict, Invalid) as error:
            await self.show(slug, error)
            return
        self.go("environments", "deleted")


def _to_delete(
    session: Session, slug: str, person: Person, hub: str
) -> tuple[Found, int, int, int]:
    found = api.owned(session, slug, person)
    links = [one for one in workshop.links(session, found.id) if not one.link.revoked]
    participants = workshop.participants(session, found.id)
    volumes = [names.dedicated_volume(hub, one.name, slug) for one in participants]
    return found, len(links), len(participants), accounts.folders_among(session, volumes)


# --- requests -------------------------------------------------------------------------------------


class AskPage(OfEnvironment):
    """`/workshop/environments/SLUG/ask?kind=…`: ask its owners for access, or to publish it."""

    tab = "ask"

    async def get(self, slug: str) -> None:
        kind = _choice(_Kind, self.query("kind"), "access")
        found = await self.database.read(_askable, slug, self.person, kind)
        self.render_environment("workshop/ask.html", found, kind=kind, typed="", problem="")

    async def post(self, slug: str) -> None:
        kind = cast(_Kind, _choice(_Kind, self.get_body_argument("kind", ""), "access"))
        found = await self.database.read(_askable, slug, self.person, kind)
        problem = ""
        try:
            message = self.message("message")
        except Invalid as error:
            message, problem = "", error.problems[0][1]
        if not message and not problem:
            problem = N_("write a sentence, so that they know why")
        if problem:
            self.set_status(422)
            typed = self.get_body_argument("message", "")[: 2 * _MESSAGE]
            self.render_environment(
                "workshop/ask.html", found, kind=kind, typed=typed, problem=problem
            )
            return
        await self.database.write(workshop_api.ask, slug, self.person, kind, message, now())
        self.go("requests", "asked")


_Kind = Literal["access", "publish"]


def _askable(session: Session, slug: str, person: Person, kind: _Kind) -> Found:
    """To publish is for who works on it to propose; access is for who does not to ask."""
    if kind == "publish":
        return api.editable(session, slug, person)
    return api.visible(session, slug, person)


class RequestsPage(WorkshopPage):
    """`/workshop/requests`: what colleagues ask for, and what became of one's own requests."""

    async def get(self) -> None:
        await self.show()

    async def show(
        self,
        typed: Mapping[str, str] | None = None,
        refusal: MydockerError | None = None,
    ) -> None:
        waiting, sent = await self.database.read(_requests, self.person)
        if refusal is not None:
            self.set_status(refusal.status)
        self.render_page(
            "workshop/requests.html",
            requests=waiting,
            sent=sent,
            waiting=len(waiting),
            typed=typed or {},
            refusal=refusal,
        )

    async def post(self) -> None:
        number = self.get_body_argument("id", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 18:
            raise NotFound()
        typed = {
            name: self.get_body_argument(name, "")[: 2 * _MESSAGE]
            for name in ("id", "text", "right")
        }
        version = self.version_field() if self.get_body_argument("version", "") else None
        decision = self.get_body_argument("decision", "")
        try:
            text = self.message("text")
            if decision not in {"accept", "decline"}:
                raise Invalid(problems=[("decision", N_("accept or decline"))])
            if decision == "decline" and not text:
                raise Invalid(problems=[("text", N_("say why not, in a sentence"))])
        except Invalid as error:
            await self.show(typed, error)
            return
        right = Right(typed["right"]) if typed["right"] in list(Right) else None
        accepted = decision == "accept"
        try:
            await self.database.write(
                workshop_api.answer,
                int(number),
                self.person,
                accepted=accepted,
                text=text,
                right=right,
                expected_version=version,
                now=now(),
            )
        except Conflict as error:  # answered by somebody else, or changed since this page was shown
            await self.show(typed, error)
            return
        self.go("requests", "accepted" if accepted else "answered")


def _requests(session: Session, person: Person) -> tuple[list[Request], list[Request]]:
    return workshop.requests(session, person), workshop.sent(session, person, now())


ENVIRONMENTS = "workshop/environments"
# `new` is the form's; every other name is an environment's.
SLUG = r"((?!new$)[a-z0-9-]{1,30})"
NUMBER = r"([1-9][0-9]{0,8})"
ROUTES: list[tuple[str, type[RequestHandler]]] = [
    (ENVIRONMENTS, ListPage),
    (f"{ENVIRONMENTS}/{SLUG}", EnvironmentPage),
    (f"{ENVIRONMENTS}/{SLUG}/duplicate", DuplicatePage),
    (f"{ENVIRONMENTS}/{SLUG}/history", HistoryPage),
    (f"{ENVIRONMENTS}/{SLUG}/history/{NUMBER}", VersionPage),
    (f"{ENVIRONMENTS}/{SLUG}/sharing", SharingPage),
    (f"{ENVIRONMENTS}/{SLUG}/links", LinksPage),
    (f"{ENVIRONMENTS}/{SLUG}/links/([A-Za-z0-9]{{12,64}})", QrPage),
    (f"{ENVIRONMENTS}/{SLUG}/people", PeoplePage),
    (f"{ENVIRONMENTS}/{SLUG}/people/log", LogPage),
    (f"{ENVIRONMENTS}/{SLUG}/delete", DeletePage),
    (f"{ENVIRONMENTS}/{SLUG}/ask", AskPage),
    ("workshop/requests", RequestsPage),
]
