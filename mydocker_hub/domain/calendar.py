"""Sessions in a calendar: when they take place, and whether an environment may be started now.

A session is booked in wall time of a zone, so that a class at half past eight is at half past eight
on both sides of a change to summer time; its occurrences are instants (aware, UTC), at most one a
day. Repetition is an RRULE (RFC 5545 §3.3.10) of the kinds that classes have, with an end.

A wall time that there is not, in the night when clocks are put forward, is read with the offset
from before; one that there is twice is the first of the two (RFC 5545 §3.3.5). A duration is time
that passes, whatever clocks say meanwhile.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Self
from zoneinfo import ZoneInfo, available_timezones

from dateutil.rrule import DAILY, FR, MO, MONTHLY, SA, SU, TH, TU, WE, WEEKLY, rrule
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NaiveDatetime,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from .environment import (
    ComputeType,
    Duration,
    Effect,
    Line,
    Model,
    PlainText,
    SessionRules,
)

LONGEST_LOOK = timedelta(days=400)
"""How far ahead the next occurrence is looked for, and behind the last one."""
LONGEST_SERIES = timedelta(days=5 * 366)
MOST_OCCURRENCES = 1000
_LAST_YEAR = 2200


class SessionState(StrEnum):
    """Requested: waits for an administrator; until then it opens nothing and reserves nothing.

    Cancelled is what people could count on, withdrawn what nobody had agreed to yet.
    """

    REQUESTED = "requested"
    APPROVED = "approved"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"


# --- rules ---------------------------------------------------------------------------------------

_FREQUENCIES = {"DAILY": DAILY, "WEEKLY": WEEKLY, "MONTHLY": MONTHLY}
_WEEKDAYS = {"MO": MO, "TU": TU, "WE": WE, "TH": TH, "FR": FR, "SA": SA, "SU": SU}
_ONE_DAY = r"(?:-?[1-5])?(?:" + "|".join(_WEEKDAYS) + ")"
_ONE_NUMBER = r"-?(?:[1-9]|[12][0-9]|3[01])"
_PARTS = {
    "FREQ": re.compile("|".join(_FREQUENCIES)),
    "INTERVAL": re.compile(r"[1-9][0-9]?"),
    "COUNT": re.compile(r"[1-9][0-9]{0,3}"),
    "UNTIL": re.compile(r"[0-9]{8}"),
    "BYDAY": re.compile(f"{_ONE_DAY}(?:,{_ONE_DAY}){{0,30}}"),
    "BYMONTHDAY": re.compile(f"{_ONE_NUMBER}(?:,{_ONE_NUMBER}){{0,30}}"),
    "WKST": re.compile("|".join(_WEEKDAYS)),
}
_HOW = "write a rule such as FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"


def rule_parts(rule: str) -> dict[str, str]:
    """The parts of a rule by their names. Raises `ValueError` with what to write instead."""
    parts: dict[str, str] = {}
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        if name in parts:
            raise ValueError(f"{name} is there twice: {_HOW}")
        if name not in _PARTS:
            raise ValueError(f"“{name[:20]}” is no part of a rule that is known here: {_HOW}")
        if not _PARTS[name].fullmatch(value):
            raise ValueError(f"{name} cannot be “{value[:40]}” here: {_HOW}")
        parts[name] = value
    if "FREQ" not in parts:
        raise ValueError(f"FREQ is missing: {_HOW}")
    if ("UNTIL" in parts) == ("COUNT" in parts):
        raise ValueError("say when it ends: with UNTIL (the last day) or COUNT, not both")
    if "UNTIL" in parts:
        _day(parts["UNTIL"])
    # Not only are others odd: dateutil looks for days of a rule that has none up to the year 9999,
    # which with these takes a tenth of a second at most.
    by = {"BYDAY", "BYMONTHDAY"} & set(parts)
    if parts["FREQ"] == "DAILY" and by:
        raise ValueError("certain days of the week are for FREQ=WEEKLY")
    if parts["FREQ"] == "WEEKLY" and (by - {"BYDAY"} or re.search("[0-9]", parts.get("BYDAY", ""))):
        raise ValueError("days such as 1MO, the first Monday, are for FREQ=MONTHLY")
    if len(by) > 1:
        raise ValueError("write either BYDAY or BYMONTHDAY")
    return parts


def weekly_rule(weekdays: Iterable[int], until: date, interval: int = 1) -> str:
    """Every `interval` weeks on these days (Monday is 0) up to and with `until`."""
    names = list(_WEEKDAYS)
    days = ",".join(names[day] for day in sorted(set(weekdays)))
    every = f"INTERVAL={interval};" if interval > 1 else ""
    return f"FREQ=WEEKLY;{every}BYDAY={days};UNTIL={until:%Y%m%d}"


def _rule(parts: Mapping[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in parts.items())


def _day(text: str) -> date:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise ValueError(f"UNTIL is a day such as 20270630, which {text} is not") from None


def _walls(starts: datetime, rule: str) -> list[datetime]:
    """When a series takes place in wall time; more than `MOST_OCCURRENCES` are cut there."""
    parts = rule_parts(rule)
    days = [
        _WEEKDAYS[day[-2:]](int(day[:-2])) if day[:-2] else _WEEKDAYS[day[-2:]]
        for day in parts.get("BYDAY", "").split(",")
        if day
    ]
    until = starts + LONGEST_SERIES + timedelta(days=1)
    if "UNTIL" in parts:
        until = min(until, datetime.combine(_day(parts["UNTIL"]), time.max))
    found = []
    for wall in rrule(
        _FREQUENCIES[parts["FREQ"]],
        dtstart=starts,
        interval=int(parts.get("INTERVAL", "1")),
        until=until,
        byweekday=days or None,
        bymonthday=[int(day) for day in parts.get("BYMONTHDAY", "").split(",") if day] or None,
        wkst=_WEEKDAYS[parts.get("WKST", "MO")],
    ):
        found.append(wall)
        if len(found) > MOST_OCCURRENCES or len(found) == int(parts.get("COUNT", "0")):
            break
    return found


# --- sessions ------------------------------------------------------------------------------------


_WALL_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?"


def _wall_time(value: Any) -> Any:
    # pydantic would read a number as well, and a time with an offset.
    if isinstance(value, datetime) or (isinstance(value, str) and re.fullmatch(_WALL_TIME, value)):
        return value
    raise ValueError("write a day and a time such as 2027-01-18T08:30, as clocks show it there")


def _day_as_written(value: Any) -> Any:
    if isinstance(value, date) or (isinstance(value, str) and len(value) == len("2027-01-18")):
        return value
    raise ValueError("write a day such as 2027-01-18")


def _of_this_century(day: date) -> date:
    if not 2000 <= day.year < _LAST_YEAR:
        raise ValueError("write a year of this century")
    return day


Day = Annotated[date, BeforeValidator(_day_as_written), AfterValidator(_of_this_century)]


def _whole_minute(starts: datetime) -> datetime:
    if starts.second or starts.microsecond:
        raise ValueError("write whole minutes, such as 2027-01-18T08:30")
    _of_this_century(starts)
    return starts


def _known_zone(zone: str) -> str:
    if zone not in _zones():
        raise ValueError("write a time zone such as Europe/Paris")
    return zone


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


class Session(Model):
    """A session, once or repeated.

    `starts` is wall time in `zone` (IANA), without an offset; `rule` an RRULE without its name,
    such as `FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630`, whose UNTIL is a day in that zone and included;
    `left_out` the days on which it does not take place. `expected` is how many people come.
    """

    title: Line | None = None
    starts: Annotated[
        NaiveDatetime,
        AfterValidator(_whole_minute),
        BeforeValidator(_wall_time),
        WithJsonSchema(
            {"type": "string", "pattern": f"^{_WALL_TIME}$", "examples": ["2027-01-18T08:30:00"]}
        ),
    ]
    duration: Duration
    zone: Annotated[str, StringConstraints(max_length=60), AfterValidator(_known_zone)] = (
        "Europe/Paris"
    )
    rule: Annotated[str, StringConstraints(max_length=300)] | None = None
    left_out: tuple[Day, ...] = Field(default=(), max_length=366)
    expected: int = Field(ge=1, le=100_000, strict=True)
    note: PlainText = Field(default="", max_length=2000)

    @field_validator("rule", mode="before")
    @classmethod
    def _upper_case(cls, rule: Any) -> Any:
        return (rule.strip().upper() or None) if isinstance(rule, str) else rule

    @field_validator("rule")
    @classmethod
    def _known_parts(cls, rule: str | None) -> str | None:
        if rule is not None:
            rule_parts(rule)
        return rule

    @field_validator("left_out")
    @classmethod
    def _each_day_once(cls, days: tuple[date, ...]) -> tuple[date, ...]:
        return tuple(sorted(set(days)))

    @model_validator(mode="after")
    def _takes_place(self) -> Self:
        if self.rule is not None:
            walls = _walls(self.starts, self.rule)
            if not walls:
                raise ValueError("this rule leaves no day: look at its end and at the first day")
            if walls[0] != self.starts:
                # Calendars differ in whether such a first day counts.
                raise ValueError(
                    f"the first day is none of the rule's: begin on {walls[0]:%Y-%m-%d}"
                )
            if len(walls) > MOST_OCCURRENCES or walls[-1] - walls[0] > LONGEST_SERIES:
                raise ValueError(
                    f"a series has at most {MOST_OCCURRENCES} sessions within five years: "
                    "let it end earlier"
                )
            # What is beyond was not even looked for: it is refused whole, never cut.
            parts = rule_parts(self.rule)
            last = self.starts.date() + LONGEST_SERIES
            if ("UNTIL" in parts and _day(parts["UNTIL"]) > last) or (
                "COUNT" in parts and len(walls) < int(parts["COUNT"])
            ):
                raise ValueError("a series lasts at most five years: let it end earlier")
        if not _kept(self):
            raise ValueError("every day of it is left out")
        return self

    def day_of(self, instant: datetime) -> date:
        """The day in the session's own zone on which an occurrence that starts then begins."""
        return instant.astimezone(ZoneInfo(self.zone)).date()


class Occurrence(NamedTuple):
    """One time that a session takes place: instants in UTC."""

    starts: datetime
    ends: datetime

    def overlaps(self, other: Occurrence) -> bool:
        """Whether both take place at some moment; one that begins as another ends does not."""
        return self.starts < other.ends and other.starts < self.ends


def instant(wall: datetime, zone: str) -> datetime:
    """The instant of a wall time, as RFC 5545 §3.3.5 reads those of the two odd nights."""
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


# The same series are looked at by every page of the calendar. What counts is the whole of the key.
@lru_cache(maxsize=8192)
def _expanded(
    starts: datetime, duration: timedelta, zone: str, rule: str | None
) -> tuple[tuple[Occurrence, date], ...]:
    """Each occurrence with its day in the zone, days left out among them, in order."""
    walls = [starts] if rule is None else _walls(starts, rule)
    instants = [(instant(wall, zone), wall.date()) for wall in walls]
    return tuple((Occurrence(begins, begins + duration), day) for begins, day in instants)


def _all(session: Session) -> tuple[tuple[Occurrence, date], ...]:
    return _expanded(session.starts, session.duration, session.zone, session.rule)


def _kept(session: Session) -> list[Occurrence]:
    return [found for found, day in _all(session) if day not in session.left_out]


def occurrences(session: Session, after: datetime, before: datetime) -> Iterator[Occurrence]:
    """When a session takes place, as far as it overlaps the time from `after` to `before`."""
    everything = _all(session)
    first = bisect_right(everything, after, key=lambda pair: pair[0].ends)
    last = bisect_left(everything, before, key=lambda pair: pair[0].starts)
    for found, day in everything[first:last]:
        if day not in session.left_out:
            yield found


def takes_place(session: Session) -> bool:
    """Whether any day is left; one is at first, but other sessions may stand for each of them."""
    return bool(_kept(session))


def bounds(session: Session) -> Occurrence:
    """From the start of the first occurrence to the end of the last one; `takes_place` it must."""
    kept = _kept(session)
    return Occurrence(kept[0].starts, kept[-1].ends)


def occurrence_at(session: Session, starts: datetime) -> Occurrence | None:
    """The occurrence that starts at this very instant, if there is one."""
    everything = _all(session)
    place = bisect_left(everything, starts, key=lambda pair: pair[0].starts)
    for found, day in everything[place : place + 1]:
        if found.starts == starts and day not in session.left_out:
            return found
    return None


def overlaps(one: Session, other: Session) -> list[tuple[Occurrence, Occurrence]]:
    """Each pair of occurrences of two sessions that take place at the same time, in order."""
    pairs = []
    for occurrence in occurrences(one, *bounds(one)):
        pairs += [(occurrence, found) for found in occurrences(other, *occurrence)]
    return pairs


def single(session: Session, occurrence: Occurrence) -> Session:
    """One occurrence of a series as a session of its own, with the texts of the series."""
    # Not the wall time of the instant: in the night of a change that would be another one.
    wall = datetime.combine(session.day_of(occurrence.starts), session.starts.time())
    return session.model_copy(update={"starts": wall, "rule": None, "left_out": ()})


def split(session: Session, starts: datetime) -> tuple[Session | None, Session]:
    """A series in two: before the occurrence that starts at an instant, and from it on.

    The first is None where none is left of it. Raises LookupError for no such occurrence.
    """
    one = occurrence_at(session, starts)
    if session.rule is None or one is None:
        raise LookupError("no series takes place then")
    day = session.day_of(starts)
    parts = rule_parts(session.rule)
    rest = single(session, one).model_copy(
        update={"left_out": tuple(other for other in session.left_out if other >= day)}
    )
    earlier = sum(other < day for _, other in _all(session))
    count = {"COUNT": str(int(parts["COUNT"]) - earlier)} if "COUNT" in parts else {}
    rest = rest.model_copy(update={"rule": _rule({**parts, **count})})
    parts.pop("COUNT", None)
    ended = {**parts, "UNTIL": f"{day - timedelta(days=1):%Y%m%d}"}
    left_out = tuple(other for other in session.left_out if other < day)
    first = session.model_copy(update={"rule": _rule(ended), "left_out": left_out})
    return first if takes_place(first) else None, rest


def moved(
    session: Session,
    first: date,
    *,
    until: date | None = None,
    left_out: tuple[date, ...] = (),
) -> Session:
    """The same session at new dates: from `first` on, or the next day that its rule knows.

    A series ends on `until`; without one it goes on for as long, or as many times, as it did. The
    days that were left out are those of another year: new ones are given. Raises pydantic's
    `ValidationError` where nothing of it is left.
    """
    starts = datetime.combine(first, session.starts.time())
    rule = session.rule
    if rule is not None:
        parts = rule_parts(rule)
        if until is not None:
            parts.pop("COUNT", None)
            parts["UNTIL"] = f"{until:%Y%m%d}"
        elif "UNTIL" in parts:
            parts["UNTIL"] = f"{_day(parts['UNTIL']) + (first - session.starts.date()):%Y%m%d}"
        rule = _rule(parts)
        starts = next(iter(_walls(starts, rule)), starts)
    return Session.model_validate(
        {**dict(session), "starts": starts, "rule": rule, "left_out": left_out}
    )


# --- whether they let in -------------------------------------------------------------------------


class Site(NamedTuple):
    """What the operators decided of sessions, where an environment does not.

    `people_limit` is the largest session that waits for nobody; without one there is no limit.
    `mails` is whether people are told by e-mail of what happens to sessions.
    """

    effect: Effect = Effect.INDICATIVE
    people_limit: int | None = None
    mails: bool = False


DEFAULT_SITE = Site()


def needs_approval(
    session: Session, site: Site, compute_type: ComputeType, before: Session | None = None
) -> bool:
    """Whether an administrator has to agree to a session, or to what it was changed into.

    `before` is what one agreed to: less of it, or other texts, need no second answer.
    """
    large = site.people_limit is not None and session.expected > site.people_limit
    if not (large or compute_type.needs_approval):
        return False
    if before is None or session.expected > before.expected:
        return True
    agreed = {found.starts: found.ends for found in _kept(before)}
    return any(found.ends > agreed.get(found.starts, found.starts) for found in _kept(session))


class Opening(NamedTuple):
    """Whether an environment's sessions let it be started at a moment.

    `code` says why not; `next` is when it can be again, if ever. `ends` is when what starts at that
    moment has to end, whatever anybody clicks (in exams, and where rules have `stop_at_end`): of
    what runs, ask with the moment of its start, so that the next exam does not prolong this one.
    `shown` is whether the environment is on students' dashboards, `exam` whether it is an exam.
    """

    allowed: bool
    code: str = ""
    next: datetime | None = None
    ends: datetime | None = None
    shown: bool = True
    exam: bool = False

    @property
    def ends_as(self) -> str:
        """The code of `domain.errors` for such an end."""
        return "exam-over" if self.exam else "session-over"


ALWAYS_OPEN = Opening(True)
NOT_ASKED = Opening(False, "session-none")
"""Until the calendar was asked, nobody comes in."""


def opening(
    effect: Effect,
    rules: SessionRules,
    sessions: Iterable[Session],
    now: datetime,
    *,
    enrolled: bool,
) -> Opening:
    """Whether approved `sessions` let their environment be started at `now`.

    What was never booked is bound by nothing, where sessions are indicative; exams never open
    early. The people who work on an environment are not bound either: that is for `domain.access`.
    """
    sessions = list(sessions)
    if effect is Effect.INDICATIVE and not sessions:
        return ALWAYS_OPEN
    near = [
        found
        for session in sessions
        for found in occurrences(session, now - LONGEST_LOOK, now + LONGEST_LOOK)
    ]
    ahead = timedelta() if effect is Effect.EXAM else rules.open_before
    running = [found for found in near if found.starts <= now < found.ends]
    coming = sorted(found for found in near if found.starts > now)
    is_open = bool(running) or any(found.starts - ahead <= now for found in coming)
    follows = coming[0].starts - ahead if coming and not is_open else None
    ends = _over(near, now, ahead) if is_open and rules.stop_at_end else None
    if effect is Effect.INDICATIVE:
        return Opening(True, next=follows, ends=ends, shown=is_open)
    exam = effect is Effect.EXAM
    if exam:
        past = [found.ends for found in near if found.ends <= now]
        ends = max((found.ends for found in running), default=max(past, default=now))
        if not enrolled:
            return Opening(False, "exam-not-enrolled", follows, ends, exam=True)
    code = "" if is_open else "session-closed" if follows else "session-none"
    return Opening(is_open, code, follows, ends, exam=exam)


def _over(near: Iterable[Occurrence], now: datetime, ahead: timedelta) -> datetime:
    """When no session takes place any more: who works on into the next one is not interrupted."""
    ends = now
    for found in sorted(near):
        if found.starts - ahead <= ends < found.ends:
            ends = found.ends
    return ends


def effect_of(rules: SessionRules, site: Site) -> Effect:
    """What the sessions of an environment decide: as it says, or else as the site does."""
    return rules.effect or site.effect
