"""When a running server's time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mydocker_hub.domain.culling import Stop, decide

START = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def minutes(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(minutes=number)


@pytest.mark.parametrize(
    ("idle", "maximum", "active_after", "now_after", "expected"),
    [
        (None, None, 0, 100_000, None),
        (20, None, 0, 19.9, None),
        (20, None, 0, 20, "idle"),
        (20, None, 15, 34.9, None),
        (20, None, 15, 35, "idle"),
        (20, None, None, 20, "idle"),  # nothing was ever done in it
        (2, None, 0, 9, None),  # what happened meanwhile may not be known yet
        (2, None, 0, 10, "idle"),
        (None, 60, 59, 59.9, None),
        (None, 60, 59, 60, "time-over"),  # however busy
        (20, 60, 0, 60, "time-over"),  # the stricter reason is told
        (20, 60, 50, 59, None),
    ],
)
def test_decide(
    idle: float | None,
    maximum: float | None,
    active_after: float | None,
    now_after: float,
    expected: str | None,
) -> None:
    active = None if active_after is None else START + timedelta(minutes=active_after)
    decision = decide(
        idle_limit=minutes(idle),
        maximum=minutes(maximum),
        started=START,
        last_activity=active,
        now=START + timedelta(minutes=now_after),
    )
    assert (decision.code if decision else None) == expected


def test_the_limit_that_was_set_is_told() -> None:
    decision = decide(
        idle_limit=timedelta(minutes=2),
        maximum=None,
        started=START,
        last_activity=START,
        now=START + timedelta(hours=1),
    )
    assert decision == Stop("idle", timedelta(minutes=2))


def test_what_never_started_is_never_stopped() -> None:
    hour = timedelta(hours=1)
    assert (
        decide(idle_limit=hour, maximum=hour, started=None, last_activity=None, now=START) is None
    )
