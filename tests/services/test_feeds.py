"""Sessions as iCalendar, read again by libraries that nobody here wrote."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain import calendar
from mydocker_hub.domain.calendar import SessionState
from mydocker_hub.domain.environment import Text
from mydocker_hub.services.catalogue.feeds import feed
from mydocker_hub.store.sessions import Booked
from mydocker_hub.web.i18n import translator

PARIS = ZoneInfo("Europe/Paris")
YEARS = (datetime(2025, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
WHEN = datetime(2026, 10, 1, 9, tzinfo=UTC)


def booked(session: dict[str, Any], **changes: Any) -> Booked:
    values: dict[str, Any] = {
        "id": 1,
        "uid": "one@mydocker-hub",
        "environment_id": 1,
        "slug": "lab",
        "title": Text(fr="Labo", en="Lab"),
        "session": calendar.Session.model_validate(
            {"starts": "2027-01-18T08:30", "duration": "PT4H", "expected": 30, **session}
        ),
        "state": SessionState.APPROVED,
        "series_id": None,
        "replaces_at": None,
        "replaced": frozenset(),
        "sequence": 0,
        "made_by": "bob",
        "made_at": WHEN,
        "changed_at": WHEN,
        "decided_by": "",
        "decided_at": None,
        "reason": "",
    }
    return Booked(**{**values, **changes})


def written(*all_of_them: Booked, lang: str = "en") -> bytes:
    return feed(
        all_of_them,
        title="My sessions",
        address=lambda one: f"https://mydocker.example.org/calendar/sessions/{one.id}",
        translator=translator(lang),
    )


def read(text: bytes) -> list[icalendar.Event]:
    return list(icalendar.Calendar.from_ical(text).walk("VEVENT"))


def slots(text: bytes, *, cancelled: bool = False) -> list[calendar.Occurrence]:
    """When things take place, as a calendar program works it out."""
    found = recurring_ical_events.of(icalendar.Calendar.from_ical(text)).between(*YEARS)
    return sorted(
        calendar.Occurrence(
            event["DTSTART"].dt.astimezone(UTC),
            event["DTSTART"].dt.astimezone(UTC) + event.duration,
        )
        for event in found
        if (event["STATUS"] == "CANCELLED") is cancelled
    )


def expected(one: Booked) -> list[calendar.Occurrence]:
    return sorted(one.occurrences(*YEARS))


def test_the_file() -> None:
    text = written(booked({"note": "Room 5, é, \\ ; and\nmore", "title": "Group A"}))
    assert text.startswith(b"BEGIN:VCALENDAR\r\n")
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))
    calendar_ = icalendar.Calendar.from_ical(text)
    assert calendar_["VERSION"] == "2.0"
    assert calendar_["X-WR-CALNAME"] == "My sessions"
    assert [zone["TZID"] for zone in calendar_.walk("VTIMEZONE")] == ["Europe/Paris"]
    [event] = read(text)
    assert event["SUMMARY"] == "Lab: Group A"
    assert event["DESCRIPTION"] == "Room 5, é, \\ ; and\nmore"
    assert event["URL"] == "https://mydocker.example.org/calendar/sessions/1"
    assert event["UID"] == "one@mydocker-hub"
    assert event["STATUS"] == "CONFIRMED"
    assert b"DTSTART;TZID=Europe/Paris:20270118T083000" in text
    assert slots(text) == [
        (datetime(2027, 1, 18, 7, 30, tzinfo=UTC), datetime(2027, 1, 18, 11, 30, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    "session",
    [
        {"rule": "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630", "left_out": ["2027-04-19", "2027-05-17"]},
        {"rule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;UNTIL=20270401"},  # its last day is in
        {"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=15", "left_out": ["2027-01-25"]},
        {"rule": "FREQ=MONTHLY;BYDAY=3MO;COUNT=9"},
        {"rule": "FREQ=DAILY;UNTIL=20270419", "starts": "2027-03-20T23:30"},
        # a week at the same hour through the night when clocks are put back
        {"rule": "FREQ=DAILY;COUNT=6", "starts": "2026-10-22T20:00", "duration": "PT10H"},
        {"starts": "2026-10-24T18:00", "duration": "PT24H"},
        {"starts": "2026-10-25T01:30", "duration": "PT2H"},
        {"starts": "2027-01-18T08:30", "zone": "America/New_York"},
    ],
    ids=lambda session: " ".join(str(value) for value in session.values()),
)
def test_programs_find_the_same_times(session: dict[str, Any]) -> None:
    one = booked(session)
    assert expected(one)
    assert slots(written(one)) == expected(one)


@given(
    first=st.dates(date(2026, 9, 1), date(2027, 8, 1)),
    minutes=st.integers(4 * 12, 24 * 12 - 1).map(lambda five: 5 * five),  # 4:00 to 23:55
    days=st.sets(st.integers(0, 6)),
    weeks=st.integers(1, 30),
    every=st.integers(1, 3),
    out=st.sets(st.integers(1, 200), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_any_series(
    first: date, minutes: int, days: set[int], weeks: int, every: int, out: set[int]
) -> None:
    rule = calendar.weekly_rule(days | {first.weekday()}, first + timedelta(weeks=weeks), every)
    one = booked(
        {
            "starts": f"{first}T{minutes // 60:02}:{minutes % 60:02}",
            "rule": rule,
            "left_out": [f"{first + timedelta(days=number)}" for number in out],
        }
    )
    assert slots(written(one)) == expected(one)


SERIES = {"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=4"}
SECOND = datetime(2027, 1, 25, 7, 30, tzinfo=UTC)
THIRD = datetime(2027, 2, 1, 7, 30, tzinfo=UTC)


def test_a_day_that_was_moved_and_one_that_was_cancelled() -> None:
    series = booked(SERIES, replaced=frozenset({date(2027, 1, 25), date(2027, 2, 1)}))
    moved = booked({"starts": "2027-01-26T14:00"}, id=2, series_id=1, replaces_at=SECOND)
    cancelled = booked(
        {"starts": "2027-02-01T08:30"},
        id=3,
        series_id=1,
        replaces_at=THIRD,
        state=SessionState.CANCELLED,
        reason="Strike",
    )
    text = written(series, moved, cancelled)
    assert [f"{slot.starts:%m-%d %H:%M}" for slot in slots(text)] == [
        "01-18 07:30",
        "01-26 13:00",
        "02-08 07:30",
    ]
    assert [slot.starts for slot in slots(text, cancelled=True)] == [THIRD]
    gone = read(text)[2]
    assert (gone["STATUS"], gone["SUMMARY"]) == ("CANCELLED", "Lab (cancelled)")
    assert gone["DESCRIPTION"] == "Strike"
    assert b"RECURRENCE-ID;TZID=Europe/Paris:20270125T083000" in text


def test_what_is_not_agreed_to_stands_for_nothing() -> None:
    series = booked(SERIES)
    wanted = booked(
        {"starts": "2027-01-26T14:00"}, id=2, series_id=1, replaces_at=SECOND,
        state=SessionState.REQUESTED,
    )  # fmt: skip
    assert slots(written(series, wanted)) == expected(series)
    [asked] = read(written(booked({}, state=SessionState.REQUESTED), lang="fr"))
    assert asked["STATUS"] == "TENTATIVE"
    assert asked["SUMMARY"].startswith("Labo (")
    for state in (SessionState.REFUSED, SessionState.WITHDRAWN):
        assert not read(written(booked({}, state=state)))


def test_changes_are_newer() -> None:
    [before] = read(written(booked({})))
    [after] = read(written(booked({}, sequence=3, changed_at=WHEN + timedelta(days=1))))
    assert after["SEQUENCE"] > before["SEQUENCE"]
    assert after["DTSTAMP"].dt > before["DTSTAMP"].dt
    assert written(booked({})) == written(booked({}))  # the same file, as long as nothing changed
