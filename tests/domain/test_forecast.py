"""What sessions ask of the machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.environment import ComputeType, Resources
from mydocker_hub.domain.forecast import (
    CPUS,
    HOUR,
    MEMORY,
    Demand,
    Hour,
    Past,
    Period,
    Shortage,
    capacity,
    hours,
    need,
    overfull,
    peak,
    quiet,
    taken_by_hour,
    turnout,
    used_by_hour,
    usual,
)
from mydocker_hub.domain.machines import Machine

MONDAY = datetime(2026, 10, 5, tzinfo=UTC)  # 2:00 in Paris
GB = 10**9
PARIS = "Europe/Paris"
EACH = {CPUS: 2, MEMORY: 4 * GB}


def at(hour: float) -> datetime:
    return MONDAY + hour * HOUR


def demand(
    starts: float, ends: float, people: float = 30, each=EACH, compute_type="default"
) -> Demand:
    return Demand(at(starts), at(ends), people, people / 2, each, compute_type)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"cpu_limit": 4, "memory_bytes": 2 * GB}, {CPUS: 4, MEMORY: 2 * GB}),
        ({"cpu_limit": 4, "cpu_share": 1}, {CPUS: 1}),
        ({"cpu_limit": 4, "cpu_share": 1, "cpu_reservation": 0.5}, {CPUS: 0.5}),
        ({"memory_bytes": 2 * GB, "memory_reservation_bytes": GB}, {MEMORY: GB}),
    ],
)
def test_what_a_server_is_promised(resources: dict, expected: dict) -> None:
    plain = ComputeType(slug="default", title="Default")
    gpu = ComputeType(slug="gpu", title="GPU", generic_resources={"gpu": 1})
    assert need(Resources(**resources), plain) == expected
    assert need(Resources(**resources), gpu) == {**expected, "gpu": 1}


def test_what_the_machines_have() -> None:
    machines = [
        Machine(id="a", name="a", cpus=16, memory_bytes=64 * GB),
        Machine(
            id="b", name="b", cpus=32, memory_bytes=256 * GB, labels={"gpu": "a"},
            generic={"gpu": 4},
        ),
        Machine(id="c", name="c", up=False, cpus=99, memory_bytes=99 * GB),
    ]  # fmt: skip
    types = [
        ComputeType(slug="default", title="Default"),
        ComputeType(slug="gpu", title="GPU", constraints=("node.labels.gpu==a",)),
        ComputeType(slug="none", title="None", constraints=("node.labels.gpu==b",)),
    ]
    everything = {CPUS: 48, MEMORY: 320 * GB, "gpu": 4}
    assert capacity(machines, types) == {
        "": everything,
        "default": everything,
        "gpu": {CPUS: 32, MEMORY: 256 * GB, "gpu": 4},
        "none": {CPUS: 0, MEMORY: 0},
    }


def test_hours_have_the_most_that_comes_together_in_them() -> None:
    demands = [demand(6.5, 8.5), demand(8.5, 10), demand(7.75, 8, people=10)]
    found = hours(demands, at(6), at(11))
    assert [(hour.starts, hour.people, hour.likely) for hour in found] == [
        (at(6), 30, 15),
        (at(7), 40, 20),
        (at(8), 30, 15),  # one class leaves as the next one comes
        (at(9), 30, 15),
        (at(10), 0, 0),
    ]
    assert found[1].needed == {CPUS: 80, MEMORY: 160 * GB}
    assert found[4] == Hour(at(10))


def test_what_began_before_and_ends_after_counts() -> None:
    found = hours([demand(-100, 100)], at(6), at(8))
    assert [hour.people for hour in found] == [30, 30]


THERE = {
    "": {CPUS: 100, MEMORY: 400 * GB, "gpu": 4},
    "default": {CPUS: 70, MEMORY: 400 * GB},
    "gpu": {CPUS: 30, MEMORY: 100 * GB, "gpu": 4},
}


def test_hours_that_will_not_fit() -> None:
    gpus = demand(7, 9, 6, {CPUS: 1, "gpu": 1}, "gpu")
    found = hours([demand(6, 9), demand(8, 10, 10), gpus], at(5), at(11), there=THERE)
    assert [hour.shortages for hour in found] == [
        (),
        (),  # 60 CPUs
        (Shortage("gpu", "gpu", 6, 4),),
        (Shortage("default", CPUS, 80, 70), Shortage("gpu", "gpu", 6, 4)),
        (),
        (),
    ]
    assert overfull(found) == [
        Period(at(7), at(8), (Shortage("gpu", "gpu", 6, 4),)),
        Period(at(8), at(9), found[3].shortages),
    ]


def test_what_each_type_has_room_for_may_be_too_much_together() -> None:
    together = [demand(6, 8, 35), demand(6, 7, 10, {CPUS: 3.5}, "gpu")]
    there = {**THERE, "gpu": {CPUS: 50}}
    found = hours(together, at(6), at(8), there=there)
    assert found[0].shortages == (Shortage("", CPUS, 105, 100),)
    assert found[1].shortages == ()


def test_a_type_that_no_machine_has() -> None:
    found = hours([demand(6, 7, 1, {CPUS: 1}, "gone")], at(6), at(7), there=THERE)
    assert found[0].shortages == (Shortage("gone", CPUS, 1, 0),)


def test_without_machines_nothing_is_known_to_be_short() -> None:
    assert not overfull(hours([demand(6, 9, 10_000)], at(6), at(9)))


def test_what_is_short_for_hours_is_said_once() -> None:
    found = hours([demand(6, 9, 40), demand(7, 8, 10)], at(5), at(10), there=THERE)
    assert overfull(found) == [Period(at(6), at(9), (Shortage("default", CPUS, 100, 70),))]


def test_how_many_come() -> None:
    past = [Past(1, 30, 24), Past(1, 30, 18), Past(2, 20, 20), Past(3, 4, 1), Past(4, 100, 0)]
    assert turnout(past) == {1: 0.7, 2: 1, None: 63 / 184}
    assert turnout([]) == {}


def test_the_most_at_once() -> None:
    stays = [(at(0), at(2)), (at(1), at(3)), (at(2), at(4)), (at(9), at(10))]
    assert peak(stays, at(0), at(5)) == 2
    assert peak(stays, at(3), at(5)) == 1
    assert peak(stays, at(5), at(6)) == 0
    assert used_by_hour(stays, at(0), at(5)) == {
        at(0): 1, at(1): 2, at(2): 2, at(3): 1, at(4): 0,
    }  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 20)).map(
            lambda pair: (at(pair[0] / 4), at((pair[0] + pair[1]) / 4))
        ),
        max_size=8,
    )
)
def test_the_most_at_once_is_what_counting_each_quarter_says(stays) -> None:
    quarters = [at(number / 4) for number in range(60)]
    counted = max(
        (sum(came <= quarter < left for came, left in stays) for quarter in quarters), default=0
    )
    assert peak(stays, at(0), at(15)) == counted
    assert max(used_by_hour(stays, at(0), at(15)).values()) == counted
    # what is taken is the same count, where each takes one
    taken = taken_by_hour([(*stay, {CPUS: 1.0}) for stay in stays], at(0), at(15))
    assert {hour: kinds.get(CPUS, 0) for hour, kinds in taken.items()} == used_by_hour(
        stays, at(0), at(15)
    )


def test_what_was_taken() -> None:
    small, large = {CPUS: 0.5, MEMORY: 1.0}, {CPUS: 4.0, "gpu": 1.0}
    stays = [(at(-5), at(1), small), (at(0.5), at(2.5), large), (at(1), at(1.5), small)]
    assert taken_by_hour(stays, at(0), at(4)) == {
        at(0): {CPUS: 4.5, MEMORY: 1, "gpu": 1},
        at(1): {CPUS: 4.5, MEMORY: 1, "gpu": 1},
        at(2): {CPUS: 4, "gpu": 1},
        at(3): {},
    }


def test_quiet_times_are_long_enough_and_nobody_comes_of_their_own_accord() -> None:
    found = hours([demand(6, 8), demand(10, 12), demand(20, 21)], at(0), at(24))
    assert quiet(found, {}, PARIS) == [
        Period(at(0), at(6)),
        Period(at(12), at(20)),
        Period(at(21), at(24)),
    ]
    # on Mondays from 16 to 18, in Paris, people work by themselves
    usually = {slot: 40.0 if slot in (16, 17) else 1.0 for slot in range(24)}
    assert quiet(found, usually, PARIS) == [
        Period(at(0), at(6)),
        Period(at(16), at(20)),
        Period(at(21), at(24)),
    ]


def test_what_is_usual_goes_by_the_clock_on_the_wall() -> None:
    summer, winter = datetime(2026, 10, 19, 6, tzinfo=UTC), datetime(2026, 10, 26, 7, tzinfo=UTC)
    assert usual({summer: 10, winter: 20}, PARIS) == {8: 15}


def test_a_month_of_a_thousand_sessions_is_quick() -> None:
    demands = [demand(n % 600, n % 600 + 4) for n in range(1000)]
    began = datetime.now(UTC)
    assert len(hours(demands, at(0), at(28 * 24), there=THERE)) == 28 * 24
    assert datetime.now(UTC) - began < timedelta(seconds=1)
