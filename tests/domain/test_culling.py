"""When a running server's time is over, and what its person is told before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.culling import (
    ANSWER_TIME,
    LEAST_WARNING,
    SETTLING,
    Action,
    Clock,
    Decision,
    Hold,
    Notice,
    Policy,
    Server,
    SiteLimits,
    decide,
    extended,
    overdue,
    policy,
    protectable_until,
)
from mydocker_hub.domain.environment import Lifetime

START = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the night of a clock change
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def at(minutes: float) -> datetime:
    return START + minutes * MINUTE


def server(active: float | None = None, **said: object) -> Server:
    seen = None if active is None else at(active)
    return Server(started=START, last_activity=seen, **said)  # type: ignore[arg-type]


def notice(code: str, given: float, stops: float) -> Notice:
    return Notice(code, at(given), at(stops))


IDLE = Policy(idle_limit=20 * MINUTE)
TWO_HOURS = Policy(maximum=2 * HOUR)
ASKED = Policy(ask_every=HOUR)
EXAM = Policy(idle_limit=20 * MINUTE, ends=at(60), ends_as="exam-over")


@pytest.mark.parametrize(
    ("rules", "runs", "now", "action", "code", "ends"),
    [
        # without limits, for ever
        (Policy(), server(), 100_000, "keep", "", None),
        # without anybody
        (IDLE, server(0), 9.9, "keep", "idle", 20),
        (IDLE, server(0), 10, "warn", "idle", 20),
        (IDLE, server(None), 10, "warn", "idle", 20),  # nothing was ever done in it
        (IDLE, server(0, notice=notice("idle", 10, 20)), 19.9, "warn", "idle", 20),
        (IDLE, server(0, notice=notice("idle", 10, 20)), 20, "stop", "idle", 20),
        # nobody is stopped who was not warned, or warned of something else, or moved since
        (IDLE, server(0), 500, "warn", "idle", 505),
        (IDLE, server(0, notice=notice("time-over", 10, 20)), 20, "warn", "idle", 25),
        (IDLE, server(12, notice=notice("idle", 10, 20)), 20, "keep", "idle", 32),
        (IDLE, server(12, notice=notice("idle", 10, 20)), 40, "warn", "idle", 45),
        # a warning that came late is kept as it was given
        (IDLE, server(0, notice=notice("idle", 500, 505)), 504, "warn", "idle", 505),
        (IDLE, server(0, notice=notice("idle", 500, 505)), 505, "stop", "idle", 505),
        # an answer is something done
        (IDLE, server(0, used_at=at(15)), 24, "keep", "idle", 35),
        # what happened meanwhile may not be known yet
        (Policy(idle_limit=2 * MINUTE), server(0), 4, "keep", "idle", 10),
        (Policy(idle_limit=2 * MINUTE), server(0), 5, "warn", "idle", 10),
        # however busy
        (TWO_HOURS, server(109), 109, "keep", "time-over", 120),
        (TWO_HOURS, server(110), 110, "warn", "time-over", 120),
        (TWO_HOURS, server(120, notice=notice("time-over", 110, 120)), 120,
         "stop", "time-over", 120),
        # an extension counts as far as the environment allows it
        (TWO_HOURS, server(0, extended_until=at(180)), 120, "stop?", "time-over", 120),
        (
            replace(TWO_HOURS, extension=30 * MINUTE),
            server(0, extended_until=at(180)), 120, "keep", "time-over", 150,
        ),
        # so does “keep it running until”
        (IDLE, server(0, protected_until=at(300)), 10, "warn", "idle", 20),
        (
            replace(IDLE, protection=8 * HOUR),
            server(0, protected_until=at(300)), 289, "keep", "idle", 300,
        ),
        (
            replace(IDLE, protection=8 * HOUR),
            server(0, protected_until=at(300)), 290, "warn", "idle", 300,
        ),
        (
            replace(IDLE, protection=8 * HOUR, maximum=2 * HOUR),
            server(0, protected_until=at(300)), 110, "warn", "time-over", 120,
        ),
        # the earlier of two
        (replace(IDLE, maximum=HOUR), server(45), 50, "warn", "time-over", 60),
        (replace(IDLE, maximum=HOUR), server(30), 40, "warn", "idle", 50),
        # still using it?
        (ASKED, server(59), 59, "keep", "unanswered", 75),
        (ASKED, server(60), 60, "ask", "unanswered", 75),
        (ASKED, server(0, notice=notice("unanswered", 60, 75)), 75, "stop", "unanswered", 75),
        (ASKED, server(0, used_at=at(61), notice=notice("unanswered", 60, 75)), 75,
         "keep", "unanswered", 136),
        (ASKED, server(70, notice=notice("unanswered", 60, 75)), 75, "keep", "unanswered", 145),
        (
            replace(ASKED, protection=8 * HOUR),
            server(0, protected_until=at(300)), 300, "keep", "unanswered", 375,
        ),
        # an exam ends at its end: without a warning, with a later promise, extended or protected
        (EXAM, server(49), 49, "keep", "exam-over", 60),
        (EXAM, server(50), 50, "warn", "exam-over", 60),
        (EXAM, server(60), 60, "stop", "exam-over", 60),
        (EXAM, server(30, notice=notice("idle", 58, 63)), 60, "stop", "exam-over", 60),
        (
            replace(EXAM, maximum=HOUR, extension=HOUR, protection=HOUR),
            server(60, extended_until=at(120), protected_until=at(120)),
            60, "stop", "exam-over", 60,
        ),
        # trials
        (Policy(maximum=HOUR, trial=True), server(0), 50, "warn", "trial-over", 60),
        (Policy(maximum=HOUR, trial=True), server(0), 60, "stop", "trial-over", 60),
        (Policy(idle_limit=HOUR, trial=True), server(0), 60, "warn", "trial-over", 65),
    ],
)  # fmt: skip
def test_decide(
    rules: Policy, runs: Server, now: float, action: str, code: str, ends: float | None
) -> None:
    decision = decide(rules, runs, at(now))
    if action == "stop?":  # it is time, but for the warning
        assert decision.action is Action.WARN
        assert decision.at == at(now) + LEAST_WARNING
        return
    assert (decision.action, decision.code) == (action, code)
    assert decision.at == (None if ends is None else at(ends))


def test_the_limit_that_was_set_is_told() -> None:
    short = Policy(idle_limit=2 * MINUTE)
    warned = server(0, notice=notice("idle", 55, 60))
    assert decide(short, warned, at(60)) == Decision(
        Action.STOP, "idle", at(60), {"duration": 2 * MINUTE}
    )


def test_how_long_it_ran_is_told_with_its_extension() -> None:
    rules = Policy(maximum=2 * HOUR, extension=HOUR)
    runs = server(0, extended_until=at(180), notice=notice("time-over", 170, 180))
    assert decide(rules, runs, at(180)).params == {"duration": 3 * HOUR}


def test_who_works_has_answered_and_is_asked_again_later() -> None:
    runs = server(70, notice=notice("unanswered", 60, 75))
    decision = decide(ASKED, runs, at(71))
    assert decision.used_at == at(70)
    later = replace(runs, notice=None, used_at=decision.used_at)
    assert decide(ASKED, later, at(129)).action is Action.KEEP
    assert decide(ASKED, later, at(130)).action is Action.ASK


def test_what_never_started_is_never_stopped() -> None:
    rules = Policy(idle_limit=HOUR, maximum=HOUR, ask_every=HOUR)
    assert decide(rules, Server(started=None), at(10_000)).action is Action.KEEP


@pytest.mark.parametrize("hold", [Hold.HUB_STARTED, Hold.CLOCK_JUMPED])
def test_nobody_is_stopped_nor_warned_while_times_cannot_be_trusted(hold: Hold) -> None:
    warned = server(0, notice=notice("idle", 10, 20))
    assert decide(IDLE, warned, at(20), hold).action is Action.WAIT
    assert decide(IDLE, server(0), at(20), hold).action is Action.WAIT
    assert decide(IDLE, server(19), at(20), hold).action is Action.KEEP


def test_an_exam_ends_although_the_hub_has_just_started_but_not_by_a_clock_that_jumped() -> None:
    assert decide(EXAM, server(0), at(60), Hold.HUB_STARTED).action is Action.STOP
    assert decide(EXAM, server(0), at(60), Hold.CLOCK_JUMPED).action is Action.WAIT


def limits(minutes: float | None = None) -> st.SearchStrategy[timedelta | None]:
    return st.none() | st.integers(1, 600).map(lambda number: number * MINUTE)


moments = st.none() | st.integers(0, 2000).map(at)


@given(
    rules=st.builds(
        Policy,
        idle_limit=limits(), maximum=limits(), extension=limits(), protection=limits(),
        ask_every=limits(),
    ),
    active=moments, used=moments, extended_until=moments, protected=moments,
    begin=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_whatever_was_said_a_stop_comes_as_it_was_announced(
    rules: Policy,
    active: datetime | None,
    used: datetime | None,
    extended_until: datetime | None,
    protected: datetime | None,
    begin: int,
) -> None:
    """Minute by minute: somebody who does nothing more is stopped at the time they were told,
    which was told five minutes before at least."""
    runs = Server(START, active, None, used, extended_until, protected)
    for now in (at(minute) for minute in range(begin, 6000)):
        decision = decide(rules, runs, now)
        assert decision == decide(rules, runs, now)
        if decision.action is Action.STOP:
            assert runs.notice is not None
            assert runs.notice.code == decision.code
            assert runs.notice.stops_at <= now < runs.notice.stops_at + MINUTE
            assert now - runs.notice.given_at >= LEAST_WARNING - MINUTE
            return
        if decision.used_at:
            runs = replace(runs, used_at=decision.used_at)
        if decision.action is Action.KEEP:
            runs = replace(runs, notice=None)
        elif decision.at is not None:
            told = runs.notice
            if told is None or (told.code, told.stops_at) != (decision.code, decision.at):
                runs = replace(runs, notice=Notice(decision.code, now, decision.at))
    assert rules.idle_limit is rules.maximum is rules.ask_every is None


# --- limits of the site --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "site", "expected"),
    [
        (Lifetime(), SiteLimits(), Policy()),
        (Lifetime(), SiteLimits(HOUR, 2 * HOUR), Policy(HOUR, 2 * HOUR)),
        (
            Lifetime(idle_limit=2 * HOUR, maximum=HOUR),
            SiteLimits(HOUR, 2 * HOUR),
            Policy(HOUR, HOUR),
        ),
        (
            Lifetime(maximum=HOUR, extension=3 * HOUR),
            SiteLimits(maximum=2 * HOUR),
            Policy(maximum=HOUR, extension=HOUR),
        ),
        (
            Lifetime(maximum=4 * HOUR, extension=HOUR),
            SiteLimits(maximum=2 * HOUR),
            Policy(maximum=2 * HOUR),
        ),
        (
            Lifetime(maximum=HOUR, extension=HOUR),
            SiteLimits(),
            Policy(maximum=HOUR, extension=HOUR),
        ),
    ],
)
def test_the_stricter_of_an_environments_limits_and_the_sites(
    lifetime: Lifetime, site: SiteLimits, expected: Policy
) -> None:
    assert policy(lifetime, site) == expected


def test_a_trial_is_an_hour_at_most_and_is_neither_extended_nor_asked_about() -> None:
    lifetime = Lifetime(maximum=4 * HOUR, extension=HOUR, protection=HOUR)
    assert policy(lifetime, ask_every=HOUR, trial=True) == Policy(maximum=HOUR, trial=True)


# --- what a person may say -----------------------------------------------------------------------

LONG = Policy(idle_limit=20 * MINUTE, maximum=2 * HOUR, extension=90 * MINUTE)


@pytest.mark.parametrize(
    ("rules", "runs", "now", "used", "until"),
    [
        (IDLE, server(0), 15, 15, None),
        (ASKED, server(0), 65, 65, None),
        (TWO_HOURS, server(110), 115, None, None),  # no further
        (LONG, server(110), 115, 115, 180),
        (LONG, server(30), 35, 35, None),  # not yet: it is idleness that comes first
        (LONG, server(170, extended_until=at(180)), 175, 175, 210),  # as far as it goes
        (LONG, server(205, extended_until=at(210)), 206, None, None),
        (LONG, server(125), 125, 125, 185),  # warned late
        (EXAM, server(45), 55, None, None),
        (Policy(maximum=HOUR, trial=True), server(50), 55, None, None),
        (Policy(), server(0), 15, None, None),
    ],
)
def test_one_click(
    rules: Policy, runs: Server, now: float, used: float | None, until: float | None
) -> None:
    after = extended(rules, runs, at(now))
    if used is None:
        assert after is None
        return
    assert after is not None
    assert after.used_at == at(used)
    assert after.extended_until == (runs.extended_until if until is None else at(until))
    assert decide(rules, after, at(now)).action in {Action.KEEP, Action.WARN}


@pytest.mark.parametrize(
    ("rules", "now", "until"),
    [
        (IDLE, 5, None),
        (Policy(protection=8 * HOUR), 5, None),  # nothing to be protected from
        (replace(IDLE, protection=8 * HOUR), 5, 485),
        (replace(ASKED, protection=8 * HOUR), 5, 485),
        (replace(LONG, protection=8 * HOUR), 5, 210),
        (replace(EXAM, protection=8 * HOUR), 5, 60),
        (replace(EXAM, protection=8 * HOUR), 60, None),
    ],
)
def test_how_far_ahead_one_may_ask(rules: Policy, now: float, until: float | None) -> None:
    expected = None if until is None else at(until)
    assert protectable_until(rules, server(0), at(now)) == expected


# --- while the culler is away --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "runs", "now", "code"),
    [
        (IDLE, server(0), 19.9, None),
        (IDLE, server(0), 20, "idle"),
        (replace(IDLE, protection=HOUR), server(0), 59, None),
        (replace(IDLE, protection=HOUR), server(0), 60, "idle"),
        (TWO_HOURS, server(120), 120, "time-over"),
        (LONG, server(209), 209, None),
        (LONG, server(209), 210, "time-over"),
        (ASKED, server(0), 1000, None),
        (Policy(maximum=HOUR, trial=True), server(60), 60, "trial-over"),
    ],
)
def test_the_hub_alone_takes_for_granted_what_may_have_been_asked_for(
    rules: Policy, runs: Server, now: float, code: str | None
) -> None:
    decision = overdue(rules, runs, at(now))
    assert (decision.code if decision else None) == code


# --- clocks --------------------------------------------------------------------------------------


def walk(clock: Clock, *steps: tuple[float, float]) -> Clock:
    """Minutes that pass on the clock of the day, and on the other one."""
    for wall, steady in steps:
        clock = clock.step(clock.wall + wall * MINUTE, clock.seconds + 60 * steady)
    return clock


RUNS = timedelta(days=1)  # so has the hub


def test_clocks_that_agree_are_believed() -> None:
    clock = walk(Clock(START, 5.0), (1, 1), (1, 1.2), (60, 60))
    assert clock.hold(RUNS) is Hold.NO
    assert clock.corrected(START) == START
    assert clock.hold(SETTLING - MINUTE) is Hold.HUB_STARTED


@pytest.mark.parametrize("minutes", [2, 60, 24 * 60, 400 * 24 * 60])
def test_a_clock_that_jumps_ahead_stops_nobody(minutes: float) -> None:
    runs = server(19)
    clock = walk(Clock(at(20), 1000.0), (1 + minutes, 1))
    assert clock.hold(RUNS) is Hold.CLOCK_JUMPED
    clock = walk(clock, *[(1, 1)] * 10)
    assert clock.hold(RUNS) is Hold.NO
    # Eleven minutes have passed since, whatever the clock says.
    seen = clock.corrected_server(runs)
    assert decide(IDLE, seen, clock.wall).at == at(39 + minutes)
    assert decide(Policy(maximum=HOUR), seen, clock.wall).action is Action.KEEP
    # What happens from now on is noted with the new clock.
    active = replace(runs, last_activity=clock.wall)
    assert clock.corrected_server(active).last_activity == clock.wall


def test_a_clock_that_jumps_back_stops_nobody() -> None:
    clock = walk(Clock(at(20), 1000.0), (-600, 1))
    assert clock.hold(RUNS) is Hold.CLOCK_JUMPED
    clock = walk(clock, *[(1, 1)] * 60)
    assert decide(IDLE, clock.corrected_server(server(19)), clock.wall).action is Action.KEEP


def test_two_jumps_ahead_add_up() -> None:
    clock = walk(Clock(at(20), 0.0), (61, 1), (1, 1), (61, 1))
    assert clock.corrected(at(19)) == at(139)
    assert clock.corrected(at(80.5)) == at(80.5 + 60)


def test_time_to_answer_is_longer_than_a_report_may_take() -> None:
    assert ANSWER_TIME > SETTLING
