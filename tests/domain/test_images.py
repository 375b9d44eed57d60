"""Builds take turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mydocker_hub.domain.images import in_turn


@pytest.mark.parametrize(
    ("queued", "building", "order"),
    [
        ([], [], []),
        ([(1, "a"), (2, "a"), (3, "b")], [], [1, 3, 2]),
        ([(1, "a"), (2, "b")], ["a"], [2, 1]),
        ([(1, "a"), (2, "a"), (3, "b"), (4, "c")], ["b"], [1, 4, 2, 3]),
        ([(1, "a"), (2, "b")], ["a", "a", "b"], [2, 1]),
    ],
)
def test_people_take_turns(queued, building, order) -> None:
    assert in_turn(queued, building) == order


@given(st.lists(st.sampled_from("abc"), max_size=20), st.lists(st.sampled_from("abc"), max_size=4))
def test_nobody_is_forgotten_and_each_keeps_their_own_order(people, building) -> None:
    queued = list(enumerate(people))
    order = in_turn(queued, building)
    assert sorted(order) == [number for number, _ in queued]
    for person in set(people):
        own = [number for number in order if people[number] == person]
        assert own == sorted(own)
