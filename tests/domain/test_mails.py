"""Who is told of what happens to a session; when a mail is tried again; addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.calendar import SessionState
from mydocker_hub.domain.mails import (
    NOTHING,
    Concerned,
    Kind,
    Told,
    is_address,
    next_try,
    one_line,
    recipients,
    told,
)

REQUESTED, APPROVED, REFUSED, CANCELLED, WITHDRAWN = SessionState
NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after", "changed", "expected"),
    [
        (None, APPROVED, True, NOTHING),
        (None, REQUESTED, True, Told(Kind.REQUESTED)),
        (APPROVED, APPROVED, False, NOTHING),
        (APPROVED, APPROVED, True, Told(None, Kind.CHANGED)),
        (APPROVED, REQUESTED, True, Told(Kind.REQUESTED, Kind.CHANGED)),
        (REFUSED, REQUESTED, True, Told(Kind.REQUESTED, Kind.CHANGED)),
        (REFUSED, REQUESTED, False, Told(Kind.REQUESTED, Kind.CHANGED)),
        (REQUESTED, REQUESTED, True, Told(None, Kind.CHANGED)),
        (REQUESTED, APPROVED, True, Told(None, Kind.CHANGED)),
        (CANCELLED, APPROVED, True, Told(None, Kind.CHANGED)),
        (APPROVED, CANCELLED, False, Told(None, Kind.CANCELLED)),
        (REQUESTED, CANCELLED, False, Told(None, Kind.CANCELLED)),
        (REQUESTED, WITHDRAWN, False, Told(None, Kind.CANCELLED)),
        (REFUSED, WITHDRAWN, False, NOTHING),
    ],
)
def test_what_is_told(before, after, changed, expected):
    assert told(before, after, changed=changed) == expected


@pytest.mark.parametrize(("after", "kind"), [(APPROVED, Kind.APPROVED), (REFUSED, Kind.REFUSED)])
def test_a_decision_is_told_to_those_who_asked(after, kind):
    assert told(REQUESTED, after, changed=False, decided=True) == Told(None, kind)


def test_everybody_gets_one_mail_and_nobody_that_of_their_own_click():
    people = [
        Concerned("carol", administers=True),
        Concerned("dora", administers=True, maintains=True),
        Concerned("bob", maintains=True),
        Concerned("ben", maintains=True),
        Concerned("alice"),
    ]
    both = Told(Kind.REQUESTED, Kind.CHANGED)
    assert recipients(both, people, "bob") == {
        "carol": Kind.REQUESTED,
        "dora": Kind.REQUESTED,
        "ben": Kind.CHANGED,
    }
    changed = {"bob": Kind.CHANGED, "ben": Kind.CHANGED}
    assert recipients(Told(None, Kind.CHANGED), people, "dora") == changed
    assert recipients(NOTHING, people, "zoe") == {}


def test_pauses_grow_and_end_after_a_day():
    at, minutes = NOW, []
    tries = 1
    while (again := next_try(NOW, tries, at)) is not None:
        minutes.append((again - at) // timedelta(minutes=1))
        at, tries = again, tries + 1
    assert minutes[:6] == [1, 5, 15, 60, 60, 60]
    assert timedelta(hours=23) < at - NOW < timedelta(hours=26)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("carol@univ-a.example", True),
        ("c.o+tag@mail.univ-a.example", True),
        ("", False),
        ("carol", False),
        ("carol@univ-a.example,dan@univ-a.example", False),
        ("carol@univ-a.example\nBcc: dan@univ-a.example", False),
        ("Carol <carol@univ-a.example>", False),
        ("carol@@univ-a.example", False),
        ("zoé@université.example", False),
        (f"{'c' * 65}@univ-a.example", False),
    ],
)
def test_addresses(text, is_one):
    assert is_address(text) is is_one


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_one_line_is_one(text):
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(one_line(text)) == one_line(text)
    assert one_line("a\r\nBcc: b\u202ec") == "a Bcc: b c"
