"""When sessions take place, through both odd nights of Europe/Paris, and what they let in."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mydocker_hub.domain import calendar
from mydocker_hub.domain.calendar import Occurrence, Session, Site
from mydocker_hub.domain.environment import ComputeType, Effect, SessionRules

PARIS = ZoneInfo("Europe/Paris")
ALL = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def session(starts: str, duration: str = "PT2H", rule: str | None = None, **changes) -> Session:
    return Session.model_validate(
        {"starts": starts, "duration": duration, "rule": rule, "expected": 20, **changes}
    )


def at(text: str) -> datetime:
    """An instant from wall time in Paris; the first one, where there are two."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts_of(one: Session) -> list[str]:
    return [f"{found.starts:%Y-%m-%d %H:%M}" for found in calendar.occurrences(one, *ALL)]


# --- when ----------------------------------------------------------------------------------------


def test_each_monday_until_the_end_of_june_but_not_on_holidays():
    one = session(
        "2027-04-26T08:30",
        "PT4H",
        "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630",
        left_out=["2027-05-17", "2027-06-28"],
    )
    days = [one.day_of(found.starts) for found in calendar.occurrences(one, *ALL)]
    assert [f"{day:%m-%d}" for day in days] == (
        ["04-26", "05-03", "05-10", "05-24", "05-31", "06-07", "06-14", "06-21"]
    )
    assert calendar.bounds(one) == (at("2027-04-26T08:30"), at("2027-06-21T12:30"))


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        # The night of 28 March 2027: 02:00 is followed by 03:00.
        ("2027-03-27T08:30", ["03-27 07:30", "03-28 06:30", "03-29 06:30"]),
        ("2027-03-27T01:59", ["03-27 00:59", "03-28 00:59", "03-28 23:59"]),
        ("2027-03-27T02:30", ["03-27 01:30", "03-28 01:30", "03-29 00:30"]),  # is 03:30 that night
        # The night of 31 October 2027: 03:00 is followed by 02:00.
        ("2027-10-30T08:30", ["10-30 06:30", "10-31 07:30", "11-01 07:30"]),
        ("2027-10-30T02:30", ["10-30 00:30", "10-31 00:30", "11-01 01:30"]),  # the first 02:30
        ("2027-10-30T03:00", ["10-30 01:00", "10-31 02:00", "11-01 02:00"]),
    ],
)
def test_wall_time_is_kept_through_both_odd_nights(starts, expected):
    one = session(starts, rule="FREQ=DAILY;COUNT=3")
    assert [text[5:] for text in starts_of(one)] == expected


@pytest.mark.parametrize(
    ("starts", "ends"),
    [("2027-03-27T22:00", "2027-03-28T07:00"), ("2027-10-30T22:00", "2027-10-31T05:00")],
)
def test_a_duration_is_time_that_passes(starts, ends):
    [found] = calendar.occurrences(session(starts, "PT8H"), *ALL)
    assert found.ends - found.starts == timedelta(hours=8)
    assert f"{found.ends.astimezone(PARIS):%Y-%m-%dT%H:%M}" == ends


def test_other_zones_keep_their_own_clocks():
    one = session("2027-03-12T09:00", rule="FREQ=DAILY;COUNT=3", zone="America/New_York")
    assert starts_of(one) == ["2027-03-12 14:00", "2027-03-13 14:00", "2027-03-14 13:00"]


@pytest.mark.parametrize(
    ("starts", "rule", "expected"),
    [
        ("2027-01-18T10:00", None, ["01-18"]),
        ("2027-01-18T10:00", "FREQ=WEEKLY;COUNT=3", ["01-18", "01-25", "02-01"]),
        ("2027-01-18T10:00", "FREQ=WEEKLY;INTERVAL=2;COUNT=2", ["01-18", "02-01"]),
        ("2027-01-18T10:00", "freq=weekly;byday=mo,th;until=20270122", ["01-18", "01-21"]),
        ("2027-01-18T23:30", "FREQ=DAILY;UNTIL=20270120", ["01-18", "01-19", "01-20"]),
        ("2027-01-04T10:00", "FREQ=MONTHLY;BYDAY=1MO;COUNT=3", ["01-04", "02-01", "03-01"]),
        ("2027-01-31T10:00", "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3", ["01-31", "02-28", "03-31"]),
    ],
)  # fmt: skip
def test_rules(starts, rule, expected):
    one = session(starts, rule=rule)
    days = [one.day_of(found.starts) for found in calendar.occurrences(one, *ALL)]
    assert [f"{day:%m-%d}" for day in days] == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "FREQ=HOURLY;COUNT=3"}, "FREQ cannot be"),
        ({"rule": "BYDAY=MO;COUNT=3"}, "FREQ is missing"),
        ({"rule": "FREQ=WEEKLY"}, "when it ends"),
        ({"rule": "FREQ=WEEKLY;COUNT=3;UNTIL=20270630"}, "when it ends"),
        ({"rule": "FREQ=WEEKLY;COUNT=3;COUNT=3"}, "twice"),
        ({"rule": "FREQ=WEEKLY;BYHOUR=9;COUNT=3"}, "no part"),
        ({"rule": "FREQ=WEEKLY;BYDAY=1MO;COUNT=3"}, "FREQ=MONTHLY"),
        ({"rule": "FREQ=WEEKLY;UNTIL=20270631"}, "UNTIL is a day"),
        ({"rule": "FREQ=WEEKLY;UNTIL=20270101"}, "leaves no day"),
        ({"rule": "FREQ=WEEKLY;UNTIL=20270630T100000Z"}, "UNTIL cannot be"),
        ({"rule": "FREQ=WEEKLY;BYDAY=TU;COUNT=3"}, "begin on 2027-01-19"),
        ({"rule": "FREQ=DAILY;COUNT=1001"}, "at most 1000"),
        ({"rule": "FREQ=WEEKLY;COUNT=300"}, "five years"),
        ({"rule": "FREQ=WEEKLY;UNTIL=20330118"}, "lasts at most five years"),
        ({"rule": "FREQ=WEEKLY;INTERVAL=52;UNTIL=21990118"}, "lasts at most five years"),
        ({"rule": "FREQ=MONTHLY;UNTIL=20320123"}, "lasts at most five years"),
        ({"rule": "FREQ=WEEKLY;INTERVAL=99;COUNT=4"}, "lasts at most five years"),
        ({"rule": "FREQ=DAILY;UNTIL=20300118"}, "at most 1000"),
        ({"rule": "FREQ=DAILY;BYDAY=MO;COUNT=3"}, "FREQ=WEEKLY"),
        ({"rule": "FREQ=WEEKLY;BYMONTHDAY=13;COUNT=3"}, "FREQ=MONTHLY"),
        ({"rule": "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR;COUNT=3"}, "either"),
        ({"rule": "FREQ=MONTHLY;BYMONTHDAY=0;COUNT=3"}, "BYMONTHDAY cannot"),
        (
            {
                "starts": "2027-02-18T10:00",
                "rule": "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=30;COUNT=1",
            },
            "leaves no day",
        ),
        ({"rule": "FREQ=DAILY;COUNT=1", "left_out": ["2027-01-18"]}, "every day"),
        ({"starts": "2027-01-18T10:00:30"}, "whole minutes"),
        ({"starts": "2027-01-18T10:00+01:00"}, "a day and a time"),
        ({"starts": 1_800_000_000}, "a day and a time"),
        ({"left_out": [1_800_000_000]}, "a day such as"),
        ({"starts": "9999-12-31T10:00"}, "year"),
        ({"zone": "Europe/Lutetia"}, "time zone"),
        ({"zone": "../../etc/passwd"}, "time zone"),
        ({"expected": 0}, "greater"),
        ({"duration": "PT0S"}, "duration"),
    ],
)
def test_what_cannot_be_says_what_to_write_instead(changes, words):
    with pytest.raises(ValidationError, match=words):
        session(**{"starts": "2027-01-18T10:00", **changes})


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="FREQ=WKLYDAIMONTH;UBSP-,0123456789 é", max_size=60))
def test_any_rule_is_a_session_or_a_validation_error(rule):
    try:
        one = session("2027-01-18T10:00", rule=rule)
    except ValidationError:
        return
    assert list(calendar.occurrences(one, *ALL))


_WEEKDAY = st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
_NTH = st.builds("{}{}".format, st.sampled_from([*range(-5, 0), *range(1, 6)]), _WEEKDAY)


@st.composite
def rules(draw) -> str:
    """Rules of every kind that is known, within their bounds and a little beyond."""
    kind = draw(st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]))
    parts = [f"FREQ={kind}", f"INTERVAL={draw(st.integers(1, 99))}"]
    if kind == "WEEKLY":
        days = draw(st.sets(_WEEKDAY, max_size=7))
        parts += [f"BYDAY={','.join(sorted(days))}"] if days else []
    if kind == "MONTHLY":
        by = draw(st.sampled_from(["", "BYDAY", "BYMONTHDAY"]))
        numbers = st.sampled_from([*range(-31, 0), *range(1, 32)]).map(str)
        chosen = draw(st.sets(_NTH if by == "BYDAY" else numbers, min_size=1, max_size=5))
        parts += [f"{by}={','.join(sorted(chosen))}"] if by else []
    if draw(st.booleans()):
        parts.append(f"COUNT={draw(st.integers(1, 1200))}")
    else:
        until = date(2027, 1, 1) + timedelta(days=draw(st.integers(0, 2400)))
        parts.append(f"UNTIL={until:%Y%m%d}")
    if draw(st.booleans()):
        parts.append(f"WKST={draw(_WEEKDAY)}")
    return ";".join(parts)


def days_of(rule: str, first: date) -> list[date]:
    """The days of a rule as RFC 5545 §3.3.10 says, looked for one by one over seven years."""
    parts = calendar.rule_parts(rule)
    interval, names = int(parts["INTERVAL"]), ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
    by = parts.get("BYDAY", "").split(",") if "BYDAY" in parts else []
    until = parts.get("UNTIL", "99991231")
    week = first - timedelta(days=(first.weekday() - names.index(parts.get("WKST", "MO"))) % 7)

    def is_one(day: date) -> bool:
        after = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        length = (after - timedelta(days=1)).day
        if parts["FREQ"] == "DAILY":
            return (day - first).days % interval == 0
        if parts["FREQ"] == "WEEKLY":
            in_week = (day - week).days // 7 % interval == 0
            return in_week and names[day.weekday()] in (by or [names[first.weekday()]])
        if ((day.year - first.year) * 12 + day.month - first.month) % interval:
            return False
        if by:
            name = names[day.weekday()]
            ways = {f"{(day.day - 1) // 7 + 1}{name}", f"{-((length - day.day) // 7 + 1)}{name}"}
            return bool(ways & set(by))
        numbers = parts.get("BYMONTHDAY", str(first.day)).split(",")
        return bool({str(day.day), str(day.day - length - 1)} & set(numbers))

    near = (first + timedelta(days=one) for one in range(7 * 366))
    found = [day for day in near if is_one(day) and f"{day:%Y%m%d}" <= until]
    return found[: int(parts.get("COUNT", "9999"))]


@settings(max_examples=150, deadline=None)
@given(rule=rules(), offset=st.integers(0, 800))
def test_a_rule_is_refused_or_takes_place_on_each_of_its_days_and_soon_said(rule, offset):
    first = date(2026, 11, 2) + timedelta(days=offset)
    expected = days_of(rule, first)
    began = time.process_time()
    try:
        one = session(f"{first}T10:00", rule=rule)
    except ValidationError:
        # Only what has no such day, begins on another one, or is longer than a series may be.
        long = expected and expected[-1] - expected[0] > calendar.LONGEST_SERIES - timedelta(7)
        ends = calendar.rule_parts(rule).get("UNTIL", "0")
        late = ends > f"{first + calendar.LONGEST_SERIES:%Y%m%d}"
        short = len(expected) < int(calendar.rule_parts(rule).get("COUNT", "0"))
        many = len(expected) > calendar.MOST_OCCURRENCES
        assert expected[:1] != [first] or long or late or short or many
    else:
        found = [one.day_of(occurrence.starts) for occurrence in calendar.occurrences(one, *ALL)]
        assert found == expected
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("starts", "rule"),
    [
        ("2027-02-18T10:00", "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=30,31;UNTIL=20310101"),
        ("2027-02-18T10:00", "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=-30,-31;COUNT=9999"),
        ("2027-01-18T10:00", "FREQ=DAILY;COUNT=9999"),
        ("2027-01-18T10:00", "FREQ=MONTHLY;INTERVAL=48;BYDAY=5MO;COUNT=9999"),
        ("2199-12-01T10:00", "FREQ=WEEKLY;INTERVAL=99;BYDAY=SU;UNTIL=99991231"),
    ],
)
def test_no_rule_is_looked_at_for_ever(starts, rule):
    began = time.process_time()
    with pytest.raises(ValidationError):
        session(starts, rule=rule)
    assert time.process_time() - began < 1.0


@settings(max_examples=50, deadline=None)
@given(
    first=st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2027-12-31")),
    days=st.sets(st.integers(0, 6), min_size=1),
    weeks=st.integers(1, 60),
    hours=st.integers(1, 40),
)
def test_windows_cut_a_series_without_losing_anything(first, days, weeks, hours):
    first = first.replace(second=0, microsecond=0)
    rule = calendar.weekly_rule({*days, first.weekday()}, (first + timedelta(weeks=weeks)).date())
    one = session(first.isoformat(), f"PT{hours}H", rule)
    everything = list(calendar.occurrences(one, *ALL))
    assert everything == sorted(set(everything))
    assert calendar.bounds(one) == (everything[0].starts, everything[-1].ends)
    for found in everything:
        wall = found.starts.astimezone(PARIS)
        exists = wall.replace(fold=0).astimezone(UTC).astimezone(PARIS).hour == first.hour
        assert wall.hour == first.hour or not exists or wall.hour == first.hour + 1
    middle = everything[len(everything) // 2]
    near = set(calendar.occurrences(one, middle.starts, middle.ends))
    assert near == {found for found in everything if found.overlaps(middle)}
    assert calendar.occurrence_at(one, middle.starts) == middle
    assert calendar.occurrence_at(one, middle.starts + timedelta(minutes=1)) is None
    assert list(calendar.occurrences(calendar.single(one, middle), *ALL)) == [middle]


def test_overlaps():
    class_ = session("2027-01-18T08:30", "PT4H", "FREQ=WEEKLY;COUNT=4")
    touching = session("2027-01-25T12:30", "PT1H")
    across = session("2027-01-18T12:00", "PT1H", "FREQ=WEEKLY;INTERVAL=2;COUNT=2")
    assert calendar.overlaps(class_, touching) == []
    pairs = calendar.overlaps(class_, across)
    assert [(one.starts, other.starts) for one, other in pairs] == [
        (at("2027-01-18T08:30"), at("2027-01-18T12:00")),
        (at("2027-02-01T08:30"), at("2027-02-01T12:00")),
    ]
    assert calendar.overlaps(across, class_) == [(other, one) for one, other in pairs]


def test_overlaps_in_the_night_in_which_an_hour_comes_twice():
    # The first 02:30 is meant; an hour and a half later it is three, not four.
    one, other = session("2027-10-31T02:30", "PT1H30M"), session("2027-10-31T03:00", "PT1H")
    assert calendar.overlaps(one, other) == []
    assert calendar.overlaps(session("2027-10-31T02:30", "PT1H31M"), other)


# --- a series in two -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "cut", "first", "rest"),
    [
        ("FREQ=WEEKLY;COUNT=4", "2027-02-01", "FREQ=WEEKLY;UNTIL=20270131", "FREQ=WEEKLY;COUNT=2"),
        ("FREQ=WEEKLY;COUNT=4", "2027-01-18", None, "FREQ=WEEKLY;COUNT=4"),
        (
            "FREQ=WEEKLY;BYDAY=MO,TH;INTERVAL=2;UNTIL=20270301",
            "2027-02-04",
            "FREQ=WEEKLY;BYDAY=MO,TH;INTERVAL=2;UNTIL=20270203",
            "FREQ=WEEKLY;BYDAY=MO,TH;INTERVAL=2;UNTIL=20270301",
        ),
    ],
)
def test_a_series_in_two(rule, cut, first, rest):
    one = session("2027-01-18T08:30", rule=rule)
    found = calendar.split(one, at(f"{cut}T08:30"))
    assert (found[0] and found[0].rule, found[1].rule) == (first, rest)


def test_what_is_left_of_a_series_may_be_nothing():
    one = session("2027-01-18T08:30", rule="FREQ=WEEKLY;COUNT=3", left_out=["2027-01-18"])
    assert calendar.split(one, at("2027-01-25T08:30"))[0] is None
    for other, when in ((one, "2027-01-18"), (session("2027-01-18T08:30"), "2027-01-18")):
        with pytest.raises(LookupError, match="no series"):
            calendar.split(other, at(f"{when}T08:30"))


@settings(max_examples=100, deadline=None)
@given(rule=rules(), offset=st.integers(0, 400), data=st.data())
def test_both_parts_of_a_series_are_all_of_it(rule, offset, data):
    try:
        one = session(f"{date(2026, 11, 2) + timedelta(days=offset)}T02:30", rule=rule)
    except ValidationError:
        return
    everything = list(calendar.occurrences(one, *ALL))
    cut = data.draw(st.sampled_from(everything))
    left_out = data.draw(st.sets(st.sampled_from(everything), max_size=5)) - {cut}
    days = tuple(one.day_of(found.starts) for found in left_out)
    one = Session.model_validate({**dict(one), "left_out": days})
    first, rest = calendar.split(one, cut.starts)
    before = list(calendar.occurrences(first, *ALL)) if first else []
    found = [*before, *calendar.occurrences(rest, *ALL)]
    assert found == list(calendar.occurrences(one, *ALL))
    for part in filter(None, (first, rest)):
        assert Session.model_validate(dict(part)) == part


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "changes", "expected"),
    [
        (None, {}, ["2028-01-12"]),
        # the weekday is kept, and the series lasts as long as it did
        ("FREQ=WEEKLY;BYDAY=MO;UNTIL=20270201", {}, ["2028-01-17", "2028-01-24"]),
        ("FREQ=WEEKLY;BYDAY=MO;COUNT=3", {}, ["2028-01-17", "2028-01-24", "2028-01-31"]),
        (
            "FREQ=WEEKLY;BYDAY=MO;COUNT=3",
            {"until": date(2028, 2, 8), "left_out": (date(2028, 1, 24),)},
            ["2028-01-17", "2028-01-31", "2028-02-07"],
        ),
        ("FREQ=MONTHLY;BYDAY=3MO;COUNT=2", {}, ["2028-01-17", "2028-02-21"]),
    ],
)
def test_copies_at_new_dates(rule, changes, expected):
    old = session("2027-01-18T08:30", rule=rule, note="Bring a pen.")
    new = calendar.moved(old, date(2028, 1, 12), **changes)
    assert [str(new.day_of(one.starts)) for one in calendar.occurrences(new, *ALL)] == expected
    assert (new.note, new.expected, new.starts.time()) == (old.note, 20, old.starts.time())


def test_a_copy_of_nothing_says_so():
    old = session("2027-01-18T08:30", rule="FREQ=WEEKLY;BYDAY=MO;UNTIL=20270201")
    with pytest.raises(ValidationError, match="leaves no day"):
        calendar.moved(old, date(2028, 1, 12), until=date(2028, 1, 14))


# --- what they let in ----------------------------------------------------------------------------

RULES = SessionRules(open_before=timedelta(minutes=15))
MONDAYS = session("2027-01-18T08:30", "PT4H", "FREQ=WEEKLY;BYDAY=MO;COUNT=3")
NEXT = at("2027-01-25T08:15")


def asked(effect: Effect, sessions: list[Session], now: str, enrolled: bool = True):
    return calendar.opening(effect, RULES, sessions, at(now), enrolled=enrolled)


@pytest.mark.parametrize(
    ("now", "is_open", "opens"),
    [
        ("2027-01-10T00:00", False, at("2027-01-18T08:15")),
        ("2027-01-18T08:14", False, at("2027-01-18T08:15")),
        ("2027-01-18T08:15", True, None),
        ("2027-01-18T08:30", True, None),
        ("2027-01-18T12:29", True, None),
        ("2027-01-18T12:30", False, NEXT),
        ("2027-02-01T12:30", False, None),
        ("2029-02-01T12:30", False, None),
    ],
)
def test_what_is_reserved_opens_shortly_before_and_closes_at_the_end(now, is_open, opens):
    reserved = asked(Effect.RESERVED, [MONDAYS], now)
    code = "" if is_open else "session-closed" if opens else "session-none"
    assert reserved == (is_open, code, opens, None, True, False)
    indicative = asked(Effect.INDICATIVE, [MONDAYS], now)
    long_ago = now.startswith("2029")
    assert indicative == (True, "", opens, None, is_open, False) or long_ago


@pytest.mark.parametrize(
    ("now", "code", "opens"),
    [
        ("2027-01-10T00:00", "session-closed", at("2027-01-18T08:30")),
        ("2027-01-18T08:29", "session-closed", at("2027-01-18T08:30")),  # nobody reads it early
        ("2027-01-18T08:30", "", None),
        ("2027-01-18T12:29", "", None),
        ("2027-01-18T12:30", "session-closed", at("2027-01-25T08:30")),
        ("2027-02-01T12:30", "session-none", None),
    ],
)
def test_an_exam_begins_when_it_begins(now, code, opens):
    assert asked(Effect.EXAM, [MONDAYS], now)[:3] == (not code, code, opens)


def test_what_was_never_booked():
    now = "2027-01-18T10:00"
    assert asked(Effect.INDICATIVE, [], now) == calendar.ALWAYS_OPEN
    assert asked(Effect.RESERVED, [], now) == (False, "session-none", None, None, True, False)
    assert asked(Effect.EXAM, [], now) == (False, "session-none", None, at(now), True, True)


def test_an_exam_is_for_those_on_its_list():
    inside = asked(Effect.EXAM, [MONDAYS], "2027-01-18T10:00", enrolled=False)
    assert inside[:2] == (False, "exam-not-enrolled")
    outside = asked(Effect.EXAM, [MONDAYS], "2027-01-19T10:00", enrolled=False)
    assert outside[:3] == (False, "exam-not-enrolled", at("2027-01-25T08:30"))
    assert asked(Effect.RESERVED, [MONDAYS], "2027-01-18T10:00", enrolled=False).allowed


@pytest.mark.parametrize(
    ("started", "ends"),
    [
        ("09:00", "11:00"),
        ("10:59", "11:00"),  # the next one is near, and does not prolong this one
        ("11:00", "13:00"),
        ("12:30", "14:00"),  # both take place
        ("14:00", "14:00"),  # what runs then should have ended
        ("15:00", "14:00"),
    ],
)
def test_an_exam_ends_with_the_session_in_which_one_started(started, ends):
    exams = [session(f"2027-01-18T{hour}", "PT2H") for hour in ("09:00", "11:00", "12:00")]
    found = asked(Effect.EXAM, exams, f"2027-01-18T{started}")
    assert found.ends == at(f"2027-01-18T{ends}")


def test_one_of_a_series_is_at_its_hour_also_in_the_night_of_a_change():
    nights = session("2027-03-21T02:30", "PT2H", rule="FREQ=WEEKLY;COUNT=3")
    [second] = calendar.occurrences(nights, at("2027-03-27T00:00"), at("2027-03-29T00:00"))
    assert second.starts == at("2027-03-28T03:30")  # there is no half past two
    assert calendar.single(nights, second).starts.isoformat() == "2027-03-28T02:30:00"


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("08:44", None),  # of those that are indicative; the others are not open
        ("08:45", "13:00"),  # open early
        ("09:30", "13:00"),  # the next one follows
        ("12:59", "13:00"),
        ("13:00", None),
        ("13:45", "16:00"),
        ("16:00", None),
    ],
)
def test_rules_may_stop_what_runs_when_sessions_are_over(now, ends):
    rules = RULES.model_copy(update={"stop_at_end": True})
    hours = ("14:00", "09:00", "11:00")
    booked = [session(f"2027-01-18T{hour}", "PT2H") for hour in hours]
    for effect in (Effect.INDICATIVE, Effect.RESERVED):
        found = calendar.opening(effect, rules, booked, at(f"2027-01-18T{now}"), enrolled=True)
        assert found.ends == (ends and at(f"2027-01-18T{ends}"))
        assert (found.ends_as, found.exam) == ("session-over", False)
        free = asked(effect, booked, f"2027-01-18T{now}")
        assert free == found._replace(ends=None)


# --- approval ------------------------------------------------------------------------------------

CPU = ComputeType(slug="cpu", title="CPU")
GPU = ComputeType(slug="gpu", title="GPU", needs_approval=True)


@pytest.mark.parametrize(
    ("people", "limit", "compute_type", "waits"),
    [
        (20, None, CPU, False),
        (20, 20, CPU, False),
        (21, 20, CPU, True),
        (1, None, GPU, True),
        (100_000, None, CPU, False),
    ],
)
def test_what_waits_for_an_administrator(people, limit, compute_type, waits):
    one = session("2027-01-18T08:30", expected=people)
    assert calendar.needs_approval(one, Site(people_limit=limit), compute_type) is waits


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"note": "another", "title": "TD 1"}, False),
        ({"expected": 200}, False),
        ({"duration": "PT1H"}, False),
        ({"left_out": ["2027-01-25"]}, False),
        ({"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=2"}, False),
        ({"expected": 301}, True),
        ({"duration": "PT5H"}, True),
        ({"starts": "2027-01-18T09:00"}, True),
        ({"rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=4"}, True),
    ],
)
def test_what_becomes_no_larger_needs_no_second_answer(changes, waits):
    before = MONDAYS.model_copy(update={"expected": 300})
    after = Session.model_validate({**before.model_dump(), **changes})
    assert calendar.needs_approval(after, Site(people_limit=100), CPU, before) is waits


def test_occurrences_are_instants_in_utc():
    [found] = calendar.occurrences(session("2027-01-18T08:30"), *ALL)
    assert found == Occurrence(utc("2027-01-18T07:30"), utc("2027-01-18T09:30"))
