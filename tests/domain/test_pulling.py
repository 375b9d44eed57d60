"""What is brought to the machines, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mydocker_hub.domain.pulling import OnNode, Presence, Pull, Target, Wanted, decide

START = datetime(2026, 10, 5, 6, 30, tzinfo=UTC)
BEFORE = timedelta(minutes=30)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
IMAGE = Target("registry.example.org/class:1")


def session(number: int = 1, starts: datetime = START, target: Target = IMAGE) -> Wanted:
    return Wanted(number, starts, starts + 4 * HOUR, target)


def pull(one: Wanted, *presences: Presence, id: int = 1) -> Pull:
    nodes = {
        f"id{n}": OnNode(name=f"node{n}", presence=presence) for n, presence in enumerate(presences)
    }
    return Pull(id, one.session_id, one.starts, one.target, "sha256:" + "0" * 64, nodes)


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        (START - BEFORE - MINUTE, False),
        (START - BEFORE, True),
        (START, True),  # booked at the last moment: better late than never
        (START + 4 * HOUR - MINUTE, True),
        (START + 4 * HOUR, False),
    ],
)
def test_it_begins_half_an_hour_before(now: datetime, begins: bool) -> None:
    steps = decide([session()], [], now, before=BEFORE)
    assert steps == ([session()] if begins else [], [], [])


def test_what_was_begun_is_watched_until_the_session_ends() -> None:
    begun = pull(session(), Presence.READY)
    assert decide([session()], [begun], START + HOUR, before=BEFORE) == ([], [begun], [])
    assert decide([session()], [begun], START + 4 * HOUR, before=BEFORE) == ([], [], [begun])


def test_a_session_that_is_cancelled_or_moved_lets_its_image_go() -> None:
    begun = pull(session(), Presence.PULLING)
    assert decide([], [begun], START, before=BEFORE) == ([], [], [begun])
    moved = session(starts=START + MINUTE)
    assert decide([moved], [begun], START, before=BEFORE) == ([moved], [], [begun])


def test_an_image_that_was_changed_is_brought_anew() -> None:
    begun = pull(session(), Presence.READY)
    for target in (Target("registry.example.org/class:2"), IMAGE._replace(constraints=("a==b",))):
        changed = session(target=target)
        assert decide([changed], [begun], START, before=BEFORE) == ([changed], [], [begun])


def test_a_monday_morning_is_brought_a_few_at_a_time_the_first_class_first() -> None:
    classes = [
        session(n, START + (10 - n) * MINUTE, Target(f"example.org/{n}:1")) for n in range(10)
    ]
    steps = decide(classes, [], START - 10 * MINUTE, before=BEFORE, at_once=3)
    assert [one.session_id for one in steps.begin] == [9, 8, 7]
    on_their_way = [pull(classes[9], Presence.PULLING), pull(classes[8], Presence.READY)]
    steps = decide(classes, on_their_way, START - 10 * MINUTE, before=BEFORE, at_once=3)
    assert [one.session_id for one in steps.begin] == [7, 6]


def test_what_several_classes_need_is_brought_once() -> None:
    classes = [session(n) for n in range(5)]
    steps = decide(classes, [], START, before=BEFORE, at_once=1)
    assert steps.begin == classes
    here = pull(session(9), Presence.READY)
    full = pull(session(8, target=Target("other:1")), Presence.PULLING)
    wanted = [session(9), session(8, target=Target("other:1")), session(1)]
    assert decide(wanted, [here, full], START, before=BEFORE, at_once=1).begin == [session(1)]


def test_a_machine_that_failed_holds_up_no_other_class() -> None:
    begun = pull(session(), Presence.READY, Presence.FAILED)
    assert not begun.pulling
    other = session(2, target=Target("other:1"))
    assert decide([session(), other], [begun], START, before=BEFORE, at_once=1).begin == [other]


def test_ready_on_seven_of_eight() -> None:
    seven = pull(session(), *[Presence.READY] * 7, Presence.PULLING)
    readiness = seven.readiness
    assert (readiness.ready, readiness.total, readiness.complete) == (7, 8, False)
    assert readiness.verified
    assert pull(session(), Presence.READY).readiness.complete
    nothing = replace(pull(session()), digest="").readiness
    assert not nothing.complete  # no machine may run it: nobody is ready
    assert not nothing.verified
