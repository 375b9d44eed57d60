"""Whose clock is off: what is accepted, and what the person reads."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain.environment import Text
from mydocker_hub.domain.errors import Refused
from mydocker_hub.identity.clock import Times, check, instant
from mydocker_hub.web.i18n import translator

NOW = datetime(2026, 11, 23, 20, 14, 3, tzinfo=UTC)
TOLERANCE = timedelta(minutes=3)
NAME = Text(fr="Université A", en="University A")


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def made(issued: float, not_before: float | None = 0, lasts: float = 300) -> Times:
    """A message issued so many seconds after now, good for `lasts` seconds."""
    return Times(
        issued=after(issued),
        not_before=None if not_before is None else after(issued + not_before),
        not_on_or_after=after(issued + lasts),
    )


def judge(times: Times, asked: datetime | None = None) -> timedelta | str:
    try:
        return check(times, now=NOW, tolerance=TOLERANCE, provider=NAME, asked=asked)
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize(
    ("times", "asked", "answer"),
    [
        (made(0), after(-20), timedelta(0)),
        (made(90), after(-20), timedelta(seconds=90)),
        (made(-90), after(-20), timedelta(seconds=-90)),
        (made(180), after(-20), timedelta(minutes=3)),
        (made(181), after(-20), "sign-in-clock"),
        (made(-479), after(-20), timedelta(seconds=-479)),  # still good by its own words
        (made(-480), after(-20), "sign-in-clock"),
        (made(600), after(-20), "sign-in-clock"),
        (made(-600), after(-20), "sign-in-clock"),
        # made after we asked, and brought late: nobody's clock
        (made(-600), after(-700), "sign-in-message-expired"),
        (made(-600), after(-421), "sign-in-message-expired"),
        (made(-600), after(-419), "sign-in-clock"),
        # no page brings an answer before it is made
        (made(600), after(-700), "sign-in-clock"),
        # not known when we asked
        (made(-600), None, "sign-in-clock"),
        (made(-170, lasts=-20), None, "sign-in-message-expired"),
        # without NotBefore the time of issue counts
        (made(600, not_before=None), after(-20), "sign-in-clock"),
        # good from later on than it was issued
        (made(0, not_before=200), after(-20), "sign-in-clock"),
    ],
)
def test_table(times: Times, asked: datetime | None, answer: timedelta | str) -> None:
    assert judge(times, asked) == answer


def test_words() -> None:
    with pytest.raises(Refused) as caught:
        check(made(607), now=NOW, tolerance=TOLERANCE, provider=NAME)
    sentence = translator("en").error(caught.value)
    assert "University A" in sentence
    assert "10 minutes" in sentence
    assert "7 seconds" in sentence
    assert "21:14" in sentence  # in the site's zone
    assert "21:24" in sentence
    assert "Université A" in translator("fr").error(caught.value)


@given(
    st.integers(-(10**6), 10**6),
    st.none() | st.integers(-(10**6), 10**6),
    st.integers(-(10**6), 10**6),
    st.none() | st.integers(-(10**6), 10**6),
)
def test_what_we_asked_decides_the_words_alone(
    issued: int, not_before: int | None, ends: int, asked: int | None
) -> None:
    times = Times(after(issued), None if not_before is None else after(not_before), after(ends))
    answer = judge(times, None if asked is None else after(asked))
    good = (
        issued <= 180 and (not_before is None or not_before <= 180) and -ends < 180
    )  # `ends` seconds from now, with the tolerance, is still to come
    assert isinstance(answer, timedelta) == good
    assert isinstance(judge(times), timedelta) == good


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-23T20:14:03Z", NOW),
        ("2026-11-23T20:14:03", NOW),
        ("2026-11-23T21:14:03+01:00", NOW),
        ("2026-11-23T20:14:03.25Z", NOW + timedelta(milliseconds=250)),
        ("2026-11-23T20:14:03.2500000Z", NOW + timedelta(milliseconds=250)),
        ("2026-11-23", None),
        ("20261123T201403Z", None),
        ("2026-13-23T20:14:03Z", None),
        ("2026-11-23T20:14:03Z\n", None),
        ("٢٠٢٦-11-23T20:14:03Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("", None),
    ],
)
def test_instants(text: str, found: datetime | None) -> None:
    assert instant(text) == found


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?"))
def test_any_text_is_an_instant_or_none(text: str) -> None:
    found = instant(text)
    assert found is None or found.utcoffset() == timedelta(0)
