"""Sessions as iCalendar (RFC 5545), for calendar programs that read a feed again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event
from icalendar.prop import vDuration, vRecur

from ...domain import calendar
from ...domain.calendar import SessionState
from ...domain.errors import N_
from ...store.sessions import PUBLIC_STATES, Booked
from ...web.i18n import Translator

REFRESH = timedelta(hours=1)
_STATUS = {
    SessionState.APPROVED: "CONFIRMED",
    SessionState.REQUESTED: "TENTATIVE",
    SessionState.CANCELLED: "CANCELLED",
}
_SUMMARIES = {
    SessionState.REQUESTED: N_("%(title)s (waits for approval)"),
    SessionState.CANCELLED: N_("%(title)s (cancelled)"),
}


class _Elapsed(vDuration):
    """A duration in hours and minutes: in days, it would be nominal (RFC 5545 §3.3.6)."""

    def to_ical(self) -> bytes:
        minutes = round(self.td.total_seconds() / 60)
        hours, minutes = divmod(minutes, 60)
        return f"PT{f'{hours}H' if hours else ''}{f'{minutes}M' if minutes else ''}".encode()


def feed(
    booked: Iterable[Booked],
    *,
    title: str,
    address: Callable[[Booked], str],
    translator: Translator,
) -> bytes:
    """A calendar of sessions; `address` says where the page of one is, "" for nowhere.

    What was refused or withdrawn is not in it, nor a change of a single day of a series that is not
    agreed to: the series' own stands for that day.
    """
    made = Calendar()
    made.add("prodid", "-//mydocker_hub//calendar//EN")
    made.add("version", "2.0")
    made.add("calscale", "GREGORIAN")
    made.add("method", "PUBLISH")
    made.add("name", title)
    made.add("x-wr-calname", title)
    made.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    made.add("x-published-ttl", "PT1H")
    for one in booked:
        if one.state not in _STATUS:
            continue
        if one.series_id is not None and one.state not in PUBLIC_STATES:
            continue
        made.add_component(event(one, address=address(one), translator=translator))
    made.add_missing_timezones()
    written: bytes = made.to_ical()
    return written


def event(one: Booked, *, address: str, translator: Translator) -> Event:
    """A session, a series, or what stands for a single day of a series."""
    session = one.session
    made = Event()
    made.add("uid", one.uid)
    made.add("dtstamp", one.changed_at)
    made.add("created", one.made_at)
    made.add("last-modified", one.changed_at)
    made.add("sequence", one.sequence)
    made.add("dtstart", _wall(session.starts, session.zone))
    made["duration"] = _Elapsed(session.duration)
    if one.replaces_at is not None:
        made.add("recurrence-id", one.replaces_at.astimezone(ZoneInfo(session.zone)))
    if session.rule is not None:
        made.add("rrule", _rule(session.rule, session.zone))
        left_out = [
            _wall(datetime.combine(day, session.starts.time()), session.zone)
            for day in session.left_out
        ]
        if left_out:
            made.add("exdate", left_out)
    made.add("status", _STATUS[one.state])
    made.add("transp", "TRANSPARENT" if one.state is SessionState.CANCELLED else "OPAQUE")
    made.add("summary", _summary(one, translator))
    described = [session.note, one.reason if one.state is SessionState.CANCELLED else ""]
    if any(described):
        made.add("description", "\n\n".join(text for text in described if text))
    if address:
        made.add("url", address)
    return made


def _summary(one: Booked, translator: Translator) -> str:
    title = translator.text(one.title)
    if one.session.title:
        title = translator.gettext("%(environment)s: %(session)s", environment=title,
                                   session=one.session.title)  # fmt: skip
    sentence = _SUMMARIES.get(one.state)
    return translator.gettext(sentence, title=title) if sentence else title


def _wall(wall: datetime, zone: str) -> datetime:
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0)


def _rule(rule: str, zone: str) -> vRecur:
    """The rule, whose UNTIL has to be an instant in UTC where the start has a zone."""
    parts = calendar.rule_parts(rule)
    until = parts.pop("UNTIL", None)
    made = vRecur.from_ical(";".join(f"{name}={value}" for name, value in parts.items()))
    if until is not None:
        day = date(int(until[:4]), int(until[4:6]), int(until[6:]))
        last = datetime.combine(day, time(23, 59, 59), ZoneInfo(zone))
        made["UNTIL"] = [last.astimezone(UTC)]
    return made
