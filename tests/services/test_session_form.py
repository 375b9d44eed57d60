"""The form of a session, to a session and back."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.calendar import Session
from mydocker_hub.services.catalogue.session_form import (
    Wrong,
    days_in,
    empty,
    one_day,
    session_from,
    typed_from,
)
from mydocker_hub.web.i18n import translator

EN, FR = translator("en"), translator("fr")
MONDAY = date(2027, 1, 18)


def typed(**changes):
    return {**empty(MONDAY, 30), **changes}


def read(**changes) -> Session:
    return session_from(typed(**changes), EN, "Europe/Paris")


def test_once() -> None:
    one = read(duration="1 h 30", title="Group A", rule="nonsense", left_out="2027-01-18")
    assert one.model_dump(mode="json") == {
        "title": "Group A",
        "starts": "2027-01-18T08:30:00",
        "duration": "PT1H30M",
        "zone": "Europe/Paris",
        "rule": None,
        "left_out": [],
        "expected": 30,
        "note": "",
    }


def test_each_week() -> None:
    one = read(
        repeat="weekly", until="2027-06-30", weekdays=["0", "3", "9", "x"], every="2",
        left_out="2027-04-19 – 2027-05-02\n17/05/2027", expected="1 200",
    )  # fmt: skip
    assert one.rule == "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH;UNTIL=20270630"
    assert len(one.left_out) == 15
    assert one.left_out[-1] == date(2027, 5, 17)
    assert one.expected == 1200
    assert read(repeat="weekly", until="2027-06-30").rule == "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630"
    assert typed_from(one)["left_out"] == "2027-04-19 – 2027-05-02\n2027-05-17"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"day": "2027-02-30"}, "day", "choose a day"),
        ({"day": "0001-01-01"}, "day", "choose a day"),
        ({"time": "25:00"}, "time", "write a time such as 08:30"),
        ({"duration": "long"}, "duration", "write a duration such as"),
        ({"expected": "0"}, "expected", "write at least 1"),
        ({"expected": "-5"}, "expected", "write a whole number"),
        ({"title": "x" * 300}, "title", "write at most"),
        ({"repeat": "weekly"}, "until", "choose the last day"),
        ({"repeat": "weekly", "until": "2026-01-01"}, "until", "this rule leaves no day"),
        ({"repeat": "weekly", "until": "2050-01-01"}, "until", "at most five years"),
        ({"repeat": "weekly", "until": "2027-06-30", "every": "0"}, "every", "whole number"),
        (
            {"repeat": "weekly", "until": "2027-06-30", "weekdays": ["2"]},
            "day",
            "does not take place on this first day: begin on 2027-01-20",
        ),
        (
            {"repeat": "weekly", "until": "2027-01-20", "left_out": "2027-01-18"},
            "left_out",
            "every day of it is left out",
        ),
        ({"left_out": "Easter"}, "left_out", "write one day on each line"),
        ({"left_out": "2027-01-18 – 2037-01-18"}, "left_out", "write one day on each line"),
        ({"repeat": "rule"}, "rule", "write something here"),
        ({"repeat": "rule", "rule": "FREQ=HOURLY;COUNT=2"}, "rule", "FREQ cannot be “HOURLY”"),
        ({"repeat": "rule", "rule": "FREQ=DAILY"}, "rule", "say when it ends"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(changes, field, words) -> None:
    with pytest.raises(Wrong) as wrong:
        read(**changes)
    assert words in wrong.value.problems[field]


@pytest.mark.parametrize(
    "rule",
    [
        None,
        "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270630",
        "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,FR;UNTIL=20270630",
        "FREQ=WEEKLY;BYDAY=MO;COUNT=4",
        "FREQ=MONTHLY;BYDAY=3MO;COUNT=6",
        "FREQ=DAILY;UNTIL=20270301",
    ],
)
@pytest.mark.parametrize("duration", ["PT4H", "PT1H30M", "PT45M", "P1D"])
def test_there_and_back(rule, duration) -> None:
    one = Session.model_validate(
        {
            "starts": "2027-01-18T08:30",
            "duration": duration,
            "rule": rule,
            "expected": 30,
            "title": "A",
            "note": "Room 5\nUpstairs",
            "left_out": ["2027-02-15", "2027-02-16"] if rule else [],
        }
    )
    assert session_from(typed_from(one), FR, one.zone) == one


@given(st.text(max_size=60))
@settings(max_examples=50)
def test_any_text_for_days(text: str) -> None:
    assert one_day(text) is None or 2000 <= one_day(text).year < 2200
    try:
        found = days_in(text)
    except ValueError:
        return
    assert found == sorted(set(found))
