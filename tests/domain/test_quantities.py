"""Sizes, durations and lines as people type them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.quantities import (
    read_bytes,
    read_duration,
    read_number,
    read_variables,
    write_bytes,
    write_duration,
    write_variables,
)

few = settings(max_examples=50, deadline=None)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("20 min", 20 * MINUTE),
        ("20min", 20 * MINUTE),
        ("2 h", 120 * MINUTE),
        ("2\u00a0h", 120 * MINUTE),
        ("1 h 30", 90 * MINUTE),
        ("1h30", 90 * MINUTE),
        ("1,5 heure", 90 * MINUTE),
        ("1 day and 2 hours", 26 * 60 * MINUTE),
        ("1 jour et 2 heures", 26 * 60 * MINUTE),
        ("2 j", 48 * 60 * MINUTE),
        ("90 seconds", 1.5 * MINUTE),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert read_duration(text) == duration


@pytest.mark.parametrize("text", ["", "20", "h", "2 x", "2 h 3 h", "30 min 1 h", "-2 h", "PT2H x"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        read_duration(text)


@few
@given(st.integers(60, 366 * 86400), st.sampled_from(["fr", "en"]))
def test_durations_both_ways(seconds: int, language: str) -> None:
    duration = timedelta(seconds=seconds)
    assert read_duration(write_duration(duration, language)) == duration


@few
@given(
    st.one_of(
        st.integers(6 * 1024**2, 16 * 10**12),
        st.integers(7, 999).map(lambda n: n * 10**6),
        st.integers(6, 999).map(lambda n: n * 1024**2),
        st.integers(1, 200).map(lambda n: n * 10**8),
    ),
    st.sampled_from(["fr", "en"]),
)
def test_sizes_both_ways(size: int, language: str) -> None:
    assert read_bytes(write_bytes(size, language)) == size


@pytest.mark.parametrize(
    ("size", "fr", "en"),
    [
        (4 * 10**9, "4 Go", "4 GB"),
        (1_500_000_000, "1,5 Go", "1.5 GB"),
        (64 * 1024**2, "64 Mio", "64 MiB"),
        (512 * 10**6, "512 Mo", "512 MB"),
        (10**9 + 1, "1000000001 o", "1000000001 B"),
    ],
)
def test_sizes(size: int, fr: str, en: str) -> None:
    assert write_bytes(size, "fr") == fr
    assert write_bytes(size, "en") == en


@pytest.mark.parametrize(("text", "number"), [("2", 2), ("0,5", 0.5), (" 0.25 ", 0.25)])
def test_numbers(text: str, number: float) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize("text", ["", "two", "1e3", "-1", "nan", "1.2.3"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="write a number"):
        read_number(text)


@few
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        max_size=4,
    )
)
def test_variables_both_ways(variables: dict[str, str]) -> None:
    assert read_variables(write_variables(variables)) == (variables, [])


def test_lines_that_are_no_variables() -> None:
    found, wrong = read_variables('A=1\n\nnonsense\n=2\nA=3\nB="a\\nb"\nC="half\nD.E=1')
    assert found == {"A": "1", "B": "a\nb", "C": '"half'}
    assert wrong == [3, 4, 5, 8]
