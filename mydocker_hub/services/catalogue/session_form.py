"""The form of a session: what was typed, as a `domain.calendar.Session` and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from pydantic import ValidationError

from ...domain import calendar
from ...domain.calendar import Session
from ...domain.errors import N_
from ...domain.quantities import read_duration, write_duration
from ...web.faults import fault_text, message_text
from ...web.i18n import Translator

FIELDS = ("title", "day", "time", "duration", "repeat", "every", "until", "rule", "left_out",
          "expected", "note")  # fmt: skip
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_FORM_FIELD = {"starts": "day"}
_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")
_LONGEST_BREAK = 366
Typed = dict[str, Any]


class Wrong(Exception):
    """What is wrong with a form: by field, in the person's language."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(problems)
        self.problems = problems


def empty(today: date, expected: int | None = None) -> Typed:
    """A form that nothing was typed into."""
    return {
        **dict.fromkeys(FIELDS, ""),
        "day": f"{today:%Y-%m-%d}",
        "time": "08:30",
        "duration": "2 h",
        "repeat": "once",
        "every": "1",
        "weekdays": [],
        "expected": "" if expected is None else str(expected),
    }


def typed_from(session: Session, language: str = "en") -> Typed:
    """The form of a session that there is, with units in a language."""
    typed = {
        **empty(session.starts.date(), session.expected),
        "title": session.title or "",
        "time": f"{session.starts:%H:%M}",
        "duration": write_duration(session.duration, language),
        "left_out": "\n".join(_days(session.left_out)),
        "note": session.note,
    }
    if session.rule is None:
        return typed
    parts = calendar.rule_parts(session.rule)
    if parts["FREQ"] == "WEEKLY" and set(parts) <= {"FREQ", "INTERVAL", "BYDAY", "UNTIL"}:
        until = parts["UNTIL"]
        days = parts.get("BYDAY", _WEEKDAYS[session.starts.weekday()]).split(",")
        return {
            **typed,
            "repeat": "weekly",
            "every": parts.get("INTERVAL", "1"),
            "until": f"{until[:4]}-{until[4:6]}-{until[6:]}",
            "weekdays": [str(_WEEKDAYS.index(day)) for day in days],
        }
    return {**typed, "repeat": "rule", "rule": session.rule}


def session_from(typed: Mapping[str, Any], translator: Translator, zone: str) -> Session:
    """The session that was typed, in wall time of `zone`. Raises `Wrong`."""
    tr = translator
    problems: dict[str, str] = {}
    day, at = one_day(typed["day"]), _time(typed["time"])
    if day is None:
        problems["day"] = tr.gettext(N_("choose a day"))
    if at is None:
        problems["time"] = tr.gettext(N_("write a time such as 08:30"))
    left_out: list[date] = []
    try:
        left_out = days_in(typed["left_out"])
    except ValueError:
        problems["left_out"] = tr.gettext(
            N_("write one day on each line, such as 2027-04-19, or the first and the last of many")
        )
    duration = timedelta(0)
    try:
        duration = read_duration(typed["duration"])
    except ValueError as error:
        problems["duration"] = message_text(str(error), tr)
    expected = typed["expected"].replace("\u202f", "").replace("\xa0", "").replace(" ", "")
    if not re.fullmatch("[0-9]{1,7}", expected):
        problems["expected"] = tr.gettext(N_("write a whole number"))
    rule = None
    if typed["repeat"] == "weekly" and day is not None:
        until = one_day(typed["until"])
        if until is None:
            problems["until"] = tr.gettext(N_("choose the last day"))
        elif until - day > calendar.LONGEST_SERIES:
            problems["until"] = message_text(
                "a series lasts at most five years: let it end earlier", tr
            )
        elif not re.fullmatch("[1-9][0-9]?", typed["every"]):
            problems["every"] = tr.gettext(N_("write a whole number"))
        else:
            chosen = [int(one) for one in typed["weekdays"] if one in set("0123456")]
            rule = calendar.weekly_rule(chosen or [day.weekday()], until, int(typed["every"]))
    elif typed["repeat"] == "rule":
        rule = typed["rule"]
        if not rule:
            problems["rule"] = tr.gettext(N_("write something here"))
    if problems:
        raise Wrong(problems)
    assert day is not None and at is not None  # noqa: S101, PT018 - they are problems otherwise
    try:
        return Session.model_validate(
            {
                "title": typed["title"] or None,
                "starts": datetime.combine(day, at),
                "duration": duration,
                "zone": zone,
                "rule": rule,
                "left_out": tuple(left_out) if rule else (),
                "expected": int(expected),
                "note": typed["note"],
            }
        )
    except ValidationError as error:
        raise Wrong(_problems(error, typed, translator)) from None


def _problems(
    error: ValidationError, typed: Mapping[str, Any], translator: Translator
) -> dict[str, str]:
    found: dict[str, str] = {}
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else _field_of(fault["msg"])
        if name == "rule" and typed["repeat"] == "weekly":
            name = "until"
        found.setdefault(_FORM_FIELD.get(name, name), fault_text(fault, name, translator))
    return found


def _field_of(message: str) -> str:
    """Which field a finding on the whole is about."""
    if "the first day is none" in message:
        return "starts"
    return "left_out" if "left out" in message else "rule"


# --- days and times ------------------------------------------------------------------------------


def one_day(text: str) -> date | None:
    """A day as a browser's field, or a person, writes it: 2027-01-18, 18/01/2027."""
    match = _DAY.fullmatch(text.strip())
    return _date(match) if match else None


def _date(match: re.Match[str]) -> date | None:
    year, month, day = (
        (match[1], match[2], match[3]) if match[1] else (match[6], match[5], match[4])
    )
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if 2000 <= found.year < 2200 else None


def _time(text: str) -> time | None:
    match = re.fullmatch(r"([01]?[0-9]|2[0-3])\s*[:hH]\s*([0-5][0-9])(:00)?", text.strip())
    return time(int(match[1]), int(match[2])) if match else None


def days_in(text: str) -> list[date]:
    """The days that were written, one or a first and a last on each line. Raises `ValueError`."""
    found: set[date] = set()
    for line in re.split(r"[\n;,]", text):
        if not line.strip():
            continue
        days = [_date(match) for match in _DAY.finditer(line)]
        words = re.sub(r"[^0-9]", "", _DAY.sub("", line))
        if words or not 1 <= len(days) <= 2 or None in days:
            raise ValueError(line)
        first, last = days[0], days[-1]
        assert first is not None and last is not None  # noqa: S101, PT018
        if not 0 <= (last - first).days < _LONGEST_BREAK:
            raise ValueError(line)
        found |= {first + timedelta(days=one) for one in range((last - first).days + 1)}
    return sorted(found)


def _days(days: Iterable[date]) -> list[str]:
    """The same as lines: days that follow each other as the first and the last."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and (day - spans[-1][1]).days == 1:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return [
        first.isoformat() if first == last else f"{first.isoformat()} – {last.isoformat()}"
        for first, last in spans
    ]
