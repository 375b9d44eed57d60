"""The calendar's pages: months, weeks and lists, booking, requests that wait, and feeds.

Everything works without scripts: a month is a table, and each session is a link to its page. On a
wide screen `calendar.js` draws months and weeks instead, from `calendar/events`, which answers what
the table shows.
"""

from __future__ import annotations

import calendar as months
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Literal
from urllib.parse import urlencode

from babel.dates import format_date, get_day_names
from babel.lists import format_list
from tornado.web import RequestHandler

from ...domain import calendar
from ...domain.access import may_edit, works_on
from ...domain.calendar import Occurrence, SessionState, Site
from ...domain.environment import Effect, Text
from ...domain.errors import N_, Conflict, Invalid, MydockerError, NotFound, Refused
from ...domain.people import Person
from ...domain.pulling import Readiness
from ...store import feeds, pulls, reading, sessions
from ...store.database import Session
from ...store.feeds import Feed, Kind
from ...store.reading import Found
from ...store.sessions import Booked, Time
from ...web.i18n import SITE_ZONE, Translator, choose_language, translator
from ...web.service import ServiceHandler, now
from . import api, sessions_api
from .feeds import feed
from .pages import SLUG, CataloguePage
from .people_pages import AdminPage
from .session_form import FIELDS, Typed, Wrong, empty, one_day, session_from, typed_from
from .workshop_pages import DONE as WORKSHOP_DONE
from .workshop_pages import OfEnvironment, Rights, WorkshopPage

VIEWS = ("month", "week", "list")
PAGE_SIZE = 100
IN_A_DAY = 4
"""How many sessions of a day a month shows; the rest are one click away."""
IN_A_DAY_OF_A_WEEK = 40
WORKING_HOURS = (8, 19)
"""What a week shows at least."""
COMING = 20
_FEED_BACK, _FEED_AHEAD = timedelta(days=90), timedelta(days=400)
_REASON = 1000
_ZONE = str(SITE_ZONE)
_INSTANT = "%Y%m%dT%H%M%SZ"
_MOST_DAYS = 5
"""How many days that are left out a line names; more are counted."""
_CALLED_OFF = frozenset({SessionState.CANCELLED, SessionState.WITHDRAWN})
_NOT_SHOWN = frozenset({SessionState.REFUSED, SessionState.WITHDRAWN})
"""What does not take place, and nobody could count on."""
NUMBER = "([0-9]{1,18})"
KEY = "([a-z0-9]{24})"

DONE = {
    **WORKSHOP_DONE,
    "booked": N_("The session is in the calendar."),
    "changed": N_("The session was changed."),
    "changed-following": N_(
        "This day and all that follow were changed: they are a series of their own now."
    ),
    "cancelled": N_("The session was cancelled. It stays in the calendar, struck through."),
    "request-withdrawn": N_("The request was withdrawn."),
    "copied-sessions": N_("The sessions were booked again at the new dates."),
    "approved": N_("The session was approved."),
    "refused": N_("The session was refused; its teacher reads why."),
    "feed-withdrawn": N_("The address was withdrawn: calendars that use it stop being updated."),
}
"""What a page says after an action; the key is in its address."""


# --- what is shown --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One time that a session takes place, or would."""

    booked: Booked
    slot: Occurrence

    @property
    def day(self) -> date:
        return self.slot.starts.astimezone(SITE_ZONE).date()


@dataclass
class DayCell:
    """A day of a month or a week: what begins on it; `more` were left out."""

    day: date
    within: bool  # the month that is shown
    times: list[Time] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)  # the same with their sessions
    more: int = 0


@dataclass(frozen=True)
class Span:
    """The days that a view shows, and where its neighbours begin."""

    first: date
    last: date
    earlier: date
    later: date

    @property
    def window(self) -> tuple[datetime, datetime]:
        """From midnight to midnight by the clock on the wall, as instants."""
        starts = datetime.combine(self.first, time(), SITE_ZONE)
        ends = datetime.combine(self.last + timedelta(days=1), time(), SITE_ZONE)
        return starts.astimezone(UTC), ends.astimezone(UTC)


def span(view: str, day: date) -> Span:
    """The days of a view that shows `day`; weeks begin on Monday."""
    if view == "week":
        monday = day - timedelta(days=day.weekday())
        week = timedelta(days=7)
        return Span(monday, monday + timedelta(days=6), monday - week, monday + week)
    first = day.replace(day=1)
    earlier = (first - timedelta(days=1)).replace(day=1)
    later = (first + timedelta(days=32)).replace(day=1)
    if view == "list":
        return Span(first, later - timedelta(days=1), earlier, later)
    weeks = months.Calendar().monthdatescalendar(day.year, day.month)
    return Span(weeks[0][0], weeks[-1][-1], earlier, later)


def cells(shown: Span, found: Iterable[Time], month: int | None, limit: int) -> list[list[DayCell]]:
    """The days of a view in weeks; what began before its first day is on that one."""
    days = {
        shown.first + timedelta(days=number): DayCell(
            day := shown.first + timedelta(days=number), month is None or day.month == month
        )
        for number in range((shown.last - shown.first).days + 1)
    }
    for one in found:
        cell = days[max(one[0].astimezone(SITE_ZONE).date(), shown.first)]
        if len(cell.times) < limit:
            cell.times.append(one)
        else:
            cell.more += 1
    everything = list(days.values())
    return [everything[start : start + 7] for start in range(0, len(everything), 7)]


class Words:
    """Days, hours and rules in one language."""

    def __init__(self, tr: Translator) -> None:
        self._tr = tr

    def day(self, day: date) -> str:
        """lundi 18 janvier 2027."""
        return self._tr.day(day, "EEEE d MMMM y")

    def short_day(self, day: date) -> str:
        return self._tr.day(day, "EEE d MMM")

    def days(self, asked: Asked) -> str:
        """The month or the week that a calendar shows."""
        if asked.view == "week":
            return f"{self.short_day(asked.span.first)} – {self.short_day(asked.span.last)}"
        return self.month(asked.day)

    def month(self, day: date) -> str:
        return str(format_date(day, "LLLL y", locale=self._tr.locale))

    def weekdays(self, width: Literal["abbreviated", "wide"] = "abbreviated") -> list[str]:
        names = get_day_names(width, locale=self._tr.locale)
        return [str(names[number]) for number in range(7)]

    def slot(self, slot: Occurrence) -> str:
        """lundi 18 janvier 2027, 08:30 – 12:30; the second day as well where there is one."""
        first, last = (one.astimezone(SITE_ZONE).date() for one in slot)
        ends = self._tr.time(slot.ends) if first == last else self._tr.datetime(slot.ends)
        return f"{self.day(first)}, {self._tr.time(slot.starts)} – {ends}"

    def clock(self, slot: Occurrence) -> str:
        return f"{self._tr.time(slot.starts)} – {self._tr.time(slot.ends)}"

    @property
    def colon(self) -> str:
        return "\xa0: " if self._tr.lang == "fr" else ": "

    def title(self, booked: Booked) -> str:
        """The environment's title, with the session's own where it has one."""
        if not booked.session.title:
            return self._tr.text(booked.title)
        return self._tr.gettext(
            N_("%(environment)s: %(session)s"),
            environment=booked.title,
            session=booked.session.title,
        )

    def rule(self, session: calendar.Session) -> str:
        """How a series goes on, and when it does not; a rule that no form makes, as it is."""
        if session.rule is None:
            return self._tr.gettext("once")
        rule, days = self._goes_on(session, session.rule), _days_without(session)
        if not days:
            return rule
        if len(days) > _MOST_DAYS:
            return self._tr.ngettext(
                "%(rule)s, except on %(n)s day", "%(rule)s, except on %(n)s days", len(days),
                rule=rule,
            )  # fmt: skip
        named = format_list([self.short_day(day) for day in days], locale=self._tr.locale)
        return self._tr.gettext(N_("%(rule)s, except on %(days)s"), rule=rule, days=named)

    def times(self, session: calendar.Session) -> str:
        """How many times a series takes place."""
        slots = sum(1 for _ in calendar.occurrences(session, *calendar.bounds(session)))
        return self._tr.ngettext("%(n)s time", "%(n)s times", slots)

    def _goes_on(self, session: calendar.Session, rule: str) -> str:
        typed = typed_from(session)
        if typed["repeat"] != "weekly":
            return rule
        names = self.weekdays("wide")
        days = ", ".join(names[int(one)] for one in typed["weekdays"])
        until = date.fromisoformat(typed["until"])
        if typed["every"] == "1":
            sentence = N_("each week (%(days)s) until %(until)s")
        else:
            sentence = N_("every %(n)s weeks (%(days)s) until %(until)s")
        return self._tr.gettext(sentence, n=int(typed["every"]), days=days, until=until)

    def state(self, state: SessionState) -> str:
        return self._tr.gettext(
            {
                SessionState.REQUESTED: N_("waits for approval"),
                SessionState.APPROVED: N_("confirmed"),
                SessionState.REFUSED: N_("refused"),
                SessionState.CANCELLED: N_("cancelled"),
                SessionState.WITHDRAWN: N_("request withdrawn"),
            }[state]
        )


def _days_without(series: calendar.Session) -> list[date]:
    """The days on which a series would take place, had they not been left out."""
    whole = series.model_copy(update={"left_out": ()})
    days = [
        series.day_of(slot.starts) for slot in calendar.occurrences(whole, *calendar.bounds(whole))
    ]
    return [day for day in days if day in series.left_out]


# --- the calendar ---------------------------------------------------------------------------------


class WithCalendar(CataloguePage):
    def query(self, name: str, limit: int = 60) -> str:
        return self.get_query_argument(name, "")[:limit].replace("\x00", "")

    def render_page(self, template: str, **context: Any) -> None:
        shown = {
            "done": DONE.get(self.query("done"), ""),
            "refusal": None,
            "words": Words(self.translator),
            "here": self.request.uri if self._reads else self.request.path,
            **context,
        }
        super().render_page(template, **shown)


@dataclass(frozen=True)
class Asked:
    """Which calendar, and which days of it."""

    view: str
    day: date
    everything: bool
    slug: str
    page: int

    @property
    def span(self) -> Span:
        return span(self.view, self.day)

    @property
    def whose(self) -> dict[str, str]:
        """The same in an address."""
        if self.slug:
            return {"environment": self.slug}
        return {"show": "all"} if self.everything else {}


@dataclass(frozen=True)
class Shown:
    """What a calendar shows of these days: `weeks`, or a page of `entries` where it is a list."""

    weeks: list[list[DayCell]]
    entries: list[Entry]
    total: int
    page: int
    pages: int
    environment: Found | None


class OfDays(WithCalendar):
    """What the calendar's page and its script ask for alike."""

    def asked(self) -> Asked:
        number = self.query("page", 5)
        return Asked(
            view=self.query("view") if self.query("view") in VIEWS else "month",
            day=one_day(self.query("day")) or now().astimezone(SITE_ZONE).date(),
            everything=self.query("show") == "all",
            slug=self.query("environment", 30),
            page=max(1, int(number)) if number.isascii() and number.isdecimal() else 1,
        )

    async def shown(self, asked: Asked) -> Shown:
        return await self.database.read(_shown, self.person, asked)

    def address(self, asked: Asked, **changes: Any) -> str:
        """The address of these days, or with `view`, `day` or `page` of others."""
        query = {"view": asked.view, "day": asked.day, **asked.whose, **changes}
        return f"{self.addresses.service_prefix}calendar?{urlencode(query)}"


class CalendarPage(OfDays):
    """`/calendar?view=month|week|list&day=DAY&show=mine|all&environment=SLUG`."""

    async def get(self) -> None:
        asked = self.asked()
        shown = await self.shown(asked)
        self.set_policy(fonts="'self' data:")  # FullCalendar's icons are a font in its script
        self.render_page(
            "sessions/calendar.html",
            view=asked.view,
            day=asked.day,
            today=now().astimezone(SITE_ZONE).date(),
            span=asked.span,
            shown=shown,
            heading=Words(self.translator).days(asked),
            everything=asked.everything,
            environment=shown.environment,
            address=partial(self.address, asked),
            events=f"{self.addresses.service_prefix}calendar/events?{urlencode(asked.whose)}",
        )


class EventsFile(OfDays):
    """`/calendar/events`, asked as the page is: the same month or week, for its script.

    `events` have a title, wall times of the site's zone, and where they lead; one that is `more`
    stands for what a day has beyond those. `heading` and `addresses` are those of the page.
    """

    async def get(self) -> None:
        asked = self.asked()
        if asked.view == "list":
            raise Invalid("bad-request")
        shown = await self.shown(asked)
        tr, days = self.translator, asked.span
        first, last = _hours(cell for week in shown.weeks for cell in week)
        self.set_header("Cache-Control", "no-store")
        self.write(
            {
                "view": asked.view,
                "day": asked.day.isoformat(),
                "heading": Words(tr).days(asked),
                "from": f"{first:02}:00",
                "to": f"{last:02}:00",
                "addresses": {
                    "today": self.address(asked, day=now().astimezone(SITE_ZONE).date()),
                    "earlier": self.address(asked, day=days.earlier),
                    "later": self.address(asked, day=days.later),
                    **{view: self.address(asked, view=view) for view in VIEWS},
                },
                "events": [
                    event for week in shown.weeks for cell in week for event in self._events(cell)
                ],
                "empty": not shown.total,
            }
        )

    def _events(self, cell: DayCell) -> Iterator[dict[str, Any]]:
        words, tr = Words(self.translator), self.translator
        for entry in cell.entries:
            title = words.title(entry.booked)
            state = entry.booked.state
            if state is not SessionState.APPROVED:
                title = f"{title} ({words.state(state)})"
            starts, ends = (one.astimezone(SITE_ZONE).replace(tzinfo=None) for one in entry.slot)
            yield {
                "title": title,
                "start": starts.isoformat(),
                "end": ends.isoformat(),
                "url": f"{self.addresses.service_prefix}calendar/sessions/{entry.booked.id}",
                "state": state,
            }
        if cell.more:
            yield {
                "title": tr.ngettext("and %(n)s more", "and %(n)s more", cell.more),
                "start": cell.day.isoformat(),
                "url": self.address(self.asked(), view="list", day=cell.day),
                "more": True,
            }


def _hours(cells: Iterable[DayCell]) -> tuple[int, int]:
    """The first and the last hour that a week has to show: those of a working day, and more."""
    first, last = WORKING_HOURS
    for entry in (one for cell in cells for one in cell.entries):
        starts, ends = (one.astimezone(SITE_ZONE) for one in entry.slot)
        if starts.date() != ends.date():
            return 0, 24
        first, last = min(first, starts.hour), max(last, ends.hour + bool(ends.minute))
    return first, last


def _shown(session: Session, person: Person, asked: Asked) -> Shown:
    found, environment = _times(session, person, asked)
    weeks: list[list[DayCell]] = []
    pages = max(1, -(-len(found) // PAGE_SIZE))
    page = min(asked.page, pages)
    if asked.view == "list":
        listed = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    else:
        month = asked.day.month if asked.view == "month" else None
        limit = IN_A_DAY if asked.view == "month" else IN_A_DAY_OF_A_WEEK
        weeks = cells(asked.span, found, month, limit)
        listed = [one for week in weeks for cell in week for one in cell.times]
    booked = sessions.some(session, {number for _, _, number in listed})
    entries = {
        (starts, ends, number): Entry(booked[number], Occurrence(starts, ends))
        for starts, ends, number in listed
        if number in booked
    }
    for cell in (cell for week in weeks for cell in week):
        cell.entries += (entries[one] for one in cell.times if one in entries)
    return Shown(
        weeks=weeks,
        entries=list(entries.values()) if asked.view == "list" else [],
        total=len(found),
        page=page,
        pages=pages,
        environment=environment,
    )


def _times(session: Session, person: Person, asked: Asked) -> tuple[list[Time], Found | None]:
    """What was refused or withdrawn does not take place, and is not in the calendar."""
    states = frozenset(SessionState) - _NOT_SHOWN
    window = asked.span.window
    if asked.slug:
        found = api.visible(session, asked.slug, person)
        if not works_on(person, found.environment, found.standing):
            states &= sessions.PUBLIC_STATES
        return sessions.times(session, *window, environment_id=found.id, states=states), found
    if asked.everything:
        sessions_api.only_admins(person)
    whose = None if asked.everything else person
    return sessions.times(session, *window, person=whose, states=states), None


# --- one session ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """What the page of a session shows."""

    booked: Booked
    found: Found
    edits: bool
    works: bool
    coming: list[Occurrence]
    more: int
    past: int
    changed: list[Booked]  # rows of their own for single days of a series
    series: Booked | None
    overlaps: list[tuple[Booked, Occurrence]]
    ready: dict[datetime, Readiness]
    effect: Effect


def _sheet(session: Session, session_id: int, person: Person, at: datetime, site: Site) -> Sheet:
    booked = sessions_api.visible(session, session_id, person)
    found = reading.find(session, booked.slug, person)
    works = works_on(person, found.environment, found.standing)
    slots = list(booked.occurrences(*calendar.bounds(booked.session)))
    coming = [slot for slot in slots if slot.ends > at]
    family = [] if booked.session.rule is None and booked.series_id is None else [
        one for one in sessions_api.of_environment(session, booked.slug, person)
        if one.series_id == booked.id or one.id == booked.series_id
    ]  # fmt: skip
    counts = works and booked.state in {SessionState.APPROVED, SessionState.REQUESTED}
    overlapping = (
        sessions.overlapping(session, booked.environment_id, booked.effective, but=booked.id)
        if counts
        else []
    )
    ready = pulls.readiness(session, [booked.id]) if works else {}
    return Sheet(
        booked=booked,
        found=found,
        edits=may_edit(person, found.environment, found.standing).allowed,
        works=works,
        coming=coming[:COMING],
        more=max(0, len(coming) - COMING),
        past=len(slots) - len(coming),
        changed=[one for one in family if one.series_id == booked.id],
        series=next((one for one in family if one.id == booked.series_id), None),
        overlaps=[pair for pair in overlapping if pair[0].id != booked.series_id],
        ready={starts: one for (_, starts), one in ready.items()},
        effect=calendar.effect_of(found.environment.sessions, site),
    )


class SessionPage(WithCalendar):
    """`/calendar/sessions/ID`."""

    async def get(self, number: str) -> None:
        moment = now()
        sheet = await self.database.read(_sheet, int(number), self.person, moment, self.site)
        self.render_page(
            "sessions/session.html", sheet=sheet, instant=instant_text, bounds=calendar.bounds
        )


def instant_text(instant: datetime) -> str:
    """An occurrence's start in an address."""
    return instant.astimezone(UTC).strftime(_INSTANT)


def instant_of(text: str) -> datetime:
    """The same back. Raises `NotFound` for what is none."""
    try:
        return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)
    except ValueError:
        raise NotFound("session-unknown") from None


# --- booking --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """What a form is about: a session or series, `at` one day of it, or that and what `follows`."""

    at: datetime | None = None
    follows: bool = False

    @property
    def query(self) -> str:
        """The same in an address."""
        if self.at is None:
            return ""
        return f"?{'from' if self.follows else 'at'}={instant_text(self.at)}"


@dataclass(frozen=True)
class Asking:
    """A session that somebody is about to change or to cancel, and its series if it is a day."""

    booked: Booked
    found: Found
    series: Booked | None

    @property
    def is_agreed(self) -> bool:
        """Whether people count on it: of a day that was to change, on the one of the series."""
        states = {self.booked.state, self.series.state if self.series else self.booked.state}
        return SessionState.APPROVED in states

    def about(self, part: Part) -> calendar.Session:
        """The session that a form is about. Raises `NotFound` where it has no such day."""
        booked = self.booked.session
        if part.at is None:
            return booked
        try:
            rest = calendar.split(booked, part.at)[1]
        except LookupError:
            raise NotFound("session-unknown") from None
        if part.follows:
            return rest
        return rest.model_copy(update={"rule": None, "left_out": ()})

    def choices(self, part: Part) -> list[tuple[str, int, str, bool]]:
        """The parts of its series: name, session and query for the address, whether it is shown."""
        series, at = self.series or self.booked, part.at or self.booked.replaces_at
        if at is None or series.state in _CALLED_OFF:
            return []
        alone = "" if self.series else Part(at).query
        found = [("one", self.booked.id, alone, not part.follows)]
        if calendar.split(series.session, at)[0] is not None:  # what follows the first is all
            found.append(("following", series.id, Part(at, follows=True).query, part.follows))
        found.append(("all", series.id, "", False))
        return found


class OfSession(WorkshopPage):
    """What the pages share that change or cancel a session."""

    def part(self) -> Part:
        for name in ("at", "from"):
            if name in self.request.query_arguments:
                instant = instant_of(self.get_query_argument(name, "")[:20])
                return Part(instant, follows=name == "from")
        return Part()

    async def asking(self, number: str) -> Asking:
        asking = await self.database.read(_asking, int(number), self.person)
        if asking.booked.state in _CALLED_OFF:
            raise Conflict("session-cancelled")
        return asking


def _asking(session: Session, session_id: int, person: Person) -> Asking:
    booked = sessions_api.editable(session, session_id, person)
    return Asking(
        booked,
        api.editable(session, booked.slug, person),
        None if booked.series_id is None else sessions.get(session, booked.series_id),
    )


class SessionForm(WorkshopPage):
    """What the pages with the form share."""

    def typed(self) -> Typed:
        typed: Typed = {
            name: self.get_body_argument(name, "")[:10_000].strip().replace("\r\n", "\n")
            for name in FIELDS
        }
        typed["weekdays"] = self.get_body_arguments("weekdays")[:7]
        return typed

    def render_form(self, found: Found, typed: Typed, **context: Any) -> None:
        self.render_page(
            "sessions/form.html",
            **{
                "found": found,
                "environment": found.environment,
                "rights": Rights.of(self.person, found),
                "tab": "sessions",
                "typed": typed,
                "problems": {},
                "words": Words(self.translator),
                "booked": None,
                "part": Part(),
                "choices": [],
                **context,
            },
        )

    def after(self, booked: Booked, done: str) -> None:
        self.redirect(
            f"{self.addresses.service_prefix}calendar/sessions/{booked.id}?done={done}", status=303
        )


class BookPage(SessionForm):
    """`/workshop/environments/SLUG/sessions/new`."""

    async def get(self, slug: str) -> None:
        found = await self.database.read(api.editable, slug, self.person)
        day = one_day(self.query("day")) or now().astimezone(SITE_ZONE).date()
        self.render_form(found, empty(day))

    async def post(self, slug: str) -> None:
        found = await self.database.read(api.editable, slug, self.person)
        typed = self.typed()
        try:
            wanted = session_from(typed, self.translator, _ZONE)
        except Wrong as wrong:
            self.set_status(422)
            self.render_form(found, typed, problems=wrong.problems)
            return
        booked = await self.database.write(
            sessions_api.book, slug, wanted, self.person, now(), self.site
        )
        self.after(booked, "booked")


class EditPage(OfSession, SessionForm):
    """`/calendar/sessions/ID/edit`: a session or a series.

    With `?at=INSTANT` one day of the series, with `?from=INSTANT` that day and all that follow.
    """

    async def get(self, number: str) -> None:
        asking, part = await self.asking(number), self.part()
        self.show(asking, part, typed_from(asking.about(part), self.translator.lang))

    def show(self, asking: Asking, part: Part, typed: Typed, **context: Any) -> None:
        self.render_form(
            asking.found,
            typed,
            booked=asking.booked,
            part=part,
            choices=asking.choices(part),
            one=_alone(asking, part),
            **context,
        )

    async def post(self, number: str) -> None:
        asking, part = await self.asking(number), self.part()
        asking.about(part)
        typed = self.typed()
        if _alone(asking, part):
            typed["repeat"] = "once"
        try:
            wanted = session_from(typed, self.translator, asking.booked.session.zone)
        except Wrong as wrong:
            self.set_status(422)
            self.show(asking, part, typed, problems=wrong.problems)
            return
        sequence = self.version_field() - 1
        if part.follows and part.at is not None:
            changed = await self.database.write(
                sessions_api.change_following, asking.booked.id, wanted, self.person, now(),
                self.site, expected_sequence=sequence, at=part.at,
            )  # fmt: skip
        else:
            changed = await self.database.write(
                sessions_api.change, asking.booked.id, wanted, self.person, now(), self.site,
                expected_sequence=sequence, at=part.at,
            )  # fmt: skip
        is_new = part.follows and changed.id != asking.booked.id
        self.after(changed, "changed-following" if is_new else "changed")


def _alone(asking: Asking, part: Part) -> bool:
    """Whether the form is of a single day of a series."""
    return asking.series is not None or (part.at is not None and not part.follows)


class CancelPage(OfSession):
    """`/calendar/sessions/ID/cancel`, with `at` or `from` as `EditPage`: asks why, then cancels."""

    async def get(self, number: str) -> None:
        asking, part = await self.asking(number), self.part()
        about = asking.about(part)
        self.render_page(
            "sessions/cancel.html",
            booked=asking.booked,
            found=asking.found,
            part=part,
            choices=asking.choices(part),
            about=about,
            first=next(calendar.occurrences(about, *calendar.bounds(about))),
            agreed=asking.is_agreed,
            words=Words(self.translator),
        )

    async def post(self, number: str) -> None:
        part, reason = self.part(), self.line("reason", _REASON)
        sequence = self.version_field() - 1
        if part.follows and part.at is not None:
            cancelled = await self.database.write(
                sessions_api.cancel_following, int(number), self.person, now(), self.site,
                expected_sequence=sequence, reason=reason, at=part.at,
            )  # fmt: skip
        else:
            cancelled = await self.database.write(
                sessions_api.cancel, int(number), self.person, now(), self.site,
                expected_sequence=sequence, reason=reason, at=part.at,
            )  # fmt: skip
        withdrawn = cancelled.state is SessionState.WITHDRAWN
        self.redirect(
            f"{self.addresses.service_prefix}calendar/sessions/{cancelled.id}"
            f"?done={'request-withdrawn' if withdrawn else 'cancelled'}",
            status=303,
        )


# --- the sessions of an environment ---------------------------------------------------------------


class OfEnvironmentPage(OfEnvironment):
    """`/workshop/environments/SLUG/sessions`: all of them, and copies to new dates."""

    tab = "sessions"

    async def get(self, slug: str) -> None:
        await self.show(slug, {"first": "", "until": "", "sessions": []}, {})

    async def show(self, slug: str, typed: dict[str, Any], problems: dict[str, str]) -> None:
        found, booked = await self.database.read(_of_environment, slug, self.person)
        moment = now()
        own = [one for one in booked if one.series_id is None]
        self.render_environment(
            "sessions/of_environment.html",
            found,
            booked=[one for one in own if calendar.bounds(one.session).ends > moment],
            past=[one for one in own if calendar.bounds(one.session).ends <= moment],
            changed={one.series_id for one in booked},
            bounds=calendar.bounds,
            words=Words(self.translator),
            typed=typed,
            problems=problems,
            effect=calendar.effect_of(found.environment.sessions, self.site),
            done=DONE.get(self.query("done"), ""),
        )

    async def post(self, slug: str) -> None:
        await self.database.read(api.editable, slug, self.person)
        typed: dict[str, Any] = {
            "first": self.get_body_argument("first", "")[:60],
            "until": self.get_body_argument("until", "")[:60],
            "sessions": self.get_body_arguments("sessions")[:200],
        }
        tr = self.translator
        problems = {}
        first, until = one_day(typed["first"]), one_day(typed["until"])
        chosen = [int(one) for one in typed["sessions"] if one.isascii() and one.isdecimal()]
        if first is None:
            problems["first"] = tr.gettext("choose a day")
        if typed["until"] and until is None:
            problems["until"] = tr.gettext("choose a day")
        if not chosen:
            problems["sessions"] = tr.gettext("choose at least one session")
        if not problems:
            assert first is not None  # noqa: S101 - it is a problem otherwise
            try:
                await self.database.write(
                    sessions_api.copy, slug, [one for one in chosen if one < 10**18], self.person,
                    now(), self.site, first=first, until=until,
                )  # fmt: skip
            except Invalid as error:
                problems = {name: tr.known(text) for name, text in error.problems}
            else:
                self.back(slug, "copied-sessions")
                return
        self.set_status(422)
        await self.show(slug, typed, problems)


def _of_environment(session: Session, slug: str, person: Person) -> tuple[Found, list[Booked]]:
    found = api.visible(session, slug, person)
    return found, sessions_api.of_environment(session, slug, person)


# --- what waits -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """A session that waits, why, and what else is booked at its first time."""

    booked: Booked
    large: bool
    machines: Text | None  # the compute type that asks for approval
    meanwhile: int  # people expected in other sessions at its first time


def _waiting(session: Session, person: Person, site: Site) -> list[Waiting]:
    found = []
    for booked in sessions.waiting(session):
        environment = reading.find(session, booked.slug, person).environment
        compute_type = reading.compute_type(session, environment.resources.compute_type)
        first = next(booked.occurrences(*calendar.bounds(booked.session)), None)
        others = sessions.between(session, *first, states=[SessionState.APPROVED]) if first else []
        found.append(
            Waiting(
                booked,
                large=site.people_limit is not None and booked.session.expected > site.people_limit,
                machines=compute_type.title if compute_type.needs_approval else None,
                meanwhile=sum(
                    one.session.expected for one in others if first and any(one.occurrences(*first))
                ),
            )
        )
    return found


class WaitingPage(AdminPage):
    """`/admin/sessions`: requests, which are answered here."""

    async def get(self) -> None:
        await self.show()

    async def show(self, refusal: MydockerError | None = None, wrong: int = 0) -> None:
        waiting = await self.database.read(_waiting, self.person, self.site)
        self.render_page(
            "sessions/waiting.html",
            waiting=waiting,
            limit=self.site.people_limit,
            words=Words(self.translator),
            bounds=calendar.bounds,
            done=DONE.get(self.query("done"), ""),
            refusal=refusal,
            wrong=wrong,
            here=self.addresses.service_prefix + "admin/sessions",
        )

    async def post(self) -> None:
        number = self.get_body_argument("session", "")
        version = self.get_body_argument("version", "")
        if not all(
            one.isascii() and one.isdecimal() and len(one) < 18 for one in (number, version)
        ):
            raise Invalid("bad-request")
        approved = self.get_body_argument("decision", "") == "approve"
        try:
            await self.database.write(
                sessions_api.decide,
                int(number),
                self.person,
                approved=approved,
                reason=self.field("reason", _REASON),
                now=now(),
                site=self.site,
                expected_sequence=int(version) - 1,
            )
        except (Invalid, Conflict) as error:
            self.set_status(error.status)
            await self.show(error, int(number))
            return
        done = "approved" if approved else "refused"
        self.redirect(f"{self.addresses.service_prefix}admin/sessions?done={done}", status=303)


# --- feeds ----------------------------------------------------------------------------------------


class FeedsPage(WithCalendar):
    """`/calendar/feeds`: the person's secret addresses; a new one is shown once."""

    async def get(self) -> None:
        await self.show()

    async def show(self, address: str = "", refusal: MydockerError | None = None) -> None:
        found, usable = await self.database.read(_feeds, self.person)
        self.set_policy(frames="frame-ancestors 'none'")
        self.render_page(
            "sessions/feeds.html",
            feeds=found,
            environments=usable,
            address=address,
            refusal=refusal,
            chosen=self.query("environment", 30),
        )

    async def post(self) -> None:
        if self.get_body_argument("action", "") == "withdraw":
            digest = self.get_body_argument("feed", "")[:64]
            await self.database.write(feeds.revoke, self.person, digest, now())
            self.redirect(
                f"{self.addresses.service_prefix}calendar/feeds?done=feed-withdrawn", status=303
            )
            return
        what = self.get_body_argument("what", "")
        label = self.get_body_argument("label", "", strip=True)
        if len(label) > 200 or not label.isprintable():
            raise Invalid("bad-request")
        try:
            key = await self.database.write(_make_feed, self.person, what, label, now())
        except Conflict as error:
            self.set_status(error.status)
            await self.show(refusal=error)
            return
        await self.show(address=f"{_site(self)}feeds/{key}.ics")


def _feeds(session: Session, person: Person) -> tuple[list[Feed], list[Found]]:
    return feeds.of_person(session, person), reading.used_by(session, person)


def _make_feed(session: Session, person: Person, what: str, label: str, at: datetime) -> str:
    if what == "mine":
        return feeds.make(session, person, Kind.MINE, at, label=label)
    if what == "all":
        if not person.is_admin:
            raise Refused("not-allowed")
        return feeds.make(session, person, Kind.ALL, at, label=label)
    found = api.visible(session, what, person)
    return feeds.make(session, person, Kind.ENVIRONMENT, at, environment_id=found.id, label=label)


def _site(handler: ServiceHandler) -> str:
    """The address of the service as the outside knows it, with a / at its end."""
    context: api.Context = handler.settings["context"]
    host = context.public_url or f"{handler.request.protocol}://{handler.request.host}"
    return host.rstrip("/") + handler.addresses.service_prefix


class FeedFile(ServiceHandler):
    """`/feeds/KEY.ics`: for programs, by the secret in the address alone."""

    async def get(self, key: str) -> None:
        language = choose_language(None, self.request.headers.get("Accept-Language"))
        context: api.Context = self.settings["context"]
        moment = now()
        site = _site(self)
        role_days = context.sign_in.role_days
        digest, written = await context.database.read(
            _feed_file, key, moment, translator(language), site, role_days
        )
        await context.database.write(feeds.note_read, digest, moment)
        self.set_header("Content-Type", "text/calendar; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="mydocker.ics"')
        self.set_header("Cache-Control", "private, max-age=300")
        self.set_header("X-Robots-Tag", "noindex")
        self.write(written)

    head = get

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        status = error.status if isinstance(error, MydockerError) else status_code
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("There is no such calendar, or it was withdrawn.\n" if status == 404 else "")


def _feed_file(
    session: Session, key: str, at: datetime, tr: Translator, site: str, role_days: int
) -> tuple[str, bytes]:
    found, person = feeds.opened(session, key, at, role_days=role_days)
    window = at - _FEED_BACK, at + _FEED_AHEAD
    if found.kind is Kind.ENVIRONMENT:
        title = tr.text(found.title)
        booked = [
            one
            for one in sessions_api.of_environment(session, found.slug, person)
            if one.state not in _NOT_SHOWN and calendar.bounds(one.session).ends > window[0]
        ]
    else:
        whose = None if found.kind is Kind.ALL else person
        states = frozenset(SessionState) - _NOT_SHOWN
        booked = sessions.between(session, *window, person=whose, states=states)
        title = tr.gettext("All sessions") if whose is None else tr.gettext("My sessions")
    written = feed(
        _whole(session, booked, person),
        title=f"{title} – mydocker",
        address=lambda one: f"{site}calendar/sessions/{one.id}",
        translator=tr,
    )
    return found.digest, written


def _whole(session: Session, booked: list[Booked], person: Person) -> list[Booked]:
    """Each series before what stands for its days, which means nothing without it.

    Of a series that waits again, and is not for this person to hear of, the days that were agreed
    to stand by themselves, as the session pages show them.
    """
    lacking = {one.series_id for one in booked if one.series_id is not None}
    found, hidden = list(booked), set()
    for number in sorted(lacking - {one.id for one in booked}):
        try:
            found.append(sessions_api.visible(session, number, person))
        except NotFound:
            hidden.add(number)
    found = [
        replace(one, uid=f"{one.id}.{one.uid}", series_id=None, replaces_at=None)
        if one.series_id in hidden
        else one
        for one in found
    ]
    return sorted(found, key=lambda one: (one.series_id is not None, one.id))


ROUTES: list[tuple[str, type[RequestHandler]]] = [
    ("calendar", CalendarPage),
    ("calendar/events", EventsFile),
    ("calendar/feeds", FeedsPage),
    (f"calendar/sessions/{NUMBER}", SessionPage),
    (f"calendar/sessions/{NUMBER}/edit", EditPage),
    (f"calendar/sessions/{NUMBER}/cancel", CancelPage),
    ("admin/sessions", WaitingPage),
    (f"workshop/environments/{SLUG}/sessions", OfEnvironmentPage),
    (f"workshop/environments/{SLUG}/sessions/new", BookPage),
    (rf"feeds/{KEY}\.ics", FeedFile),
]
