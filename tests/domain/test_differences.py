"""What differs, and what two editors at once make of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.differences import Change, Conflict3, differences, merge, resolve
from mydocker_hub.domain.environment import Environment

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(0, 3), st.text("ab", max_size=2), st.lists(st.integers())
)
DOCUMENTS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(LEAVES, inner), max_size=3),
    max_leaves=8,
)
few = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [Change("a", 1, True)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [Change("a.c", 2, 3)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [Change("a", [1, 2], [2, 1])]),
        ({"v": {}}, {"v": {"NAME": ""}}, [Change("v.NAME", None, "")]),
        ({"v": {"NAME": "x"}}, {"v": {}}, [Change("v.NAME", "x", None)]),
        ({"c": None}, {"c": {"d": 1}}, [Change("c", None, {"d": 1})]),
    ],
)
def test_differences(before: Any, after: Any, changes: list[Change]) -> None:
    assert differences(before, after) == changes


def test_of_environments() -> None:
    one = Environment(
        slug="x", title="X", image="a", interfaces=[{"name": "w", "title": "W"}]
    )  # fmt: skip
    two = Environment.model_validate(
        {**one.model_dump(by_alias=True), "resources": {"memory_bytes": "4 GB"}}
    )
    found = differences(
        one.model_dump(mode="json", by_alias=True), two.model_dump(mode="json", by_alias=True)
    )
    assert found == [Change("resources.memory_bytes", None, 4 * 10**9)]


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "merged", "conflicts"),
    [
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 3}, {"a": 2, "b": 3}, []),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}, [Conflict3("a", 1, 2, 3)]),
        # variables: one is taken away, one is added, one is changed by both
        (
            {"v": {"A": "1", "B": "1"}},
            {"v": {"B": "2"}},
            {"v": {"A": "1", "B": "3", "C": "1"}},
            {"v": {"B": "3", "C": "1"}},
            [Conflict3("v.B", "1", "2", "3")],
        ),
        ({"a": "1"}, {"a": "2"}, {}, {}, [Conflict3("a", "1", "2", None)]),
        # what was nothing becomes something on both sides
        (
            {"c": None},
            {"c": {"d": 1}},
            {"c": {"d": 2}},
            {"c": {"d": 2}},
            [Conflict3("c", None, {"d": 1}, {"d": 2})],
        ),
        ({"c": {"d": 1, "e": 1}}, {"c": {"d": 2, "e": 1}}, {"c": {"d": 1, "e": 2}},
         {"c": {"d": 2, "e": 2}}, []),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [1]}, {"l": [1, 2]}, []),
    ],
)  # fmt: skip
def test_merge(base: Any, theirs: Any, mine: Any, merged: Any, conflicts: Any) -> None:
    done = merge(base, theirs, mine)
    assert done.merged == merged
    assert done.conflicts == conflicts


@few
@given(DOCUMENTS, DOCUMENTS)
def test_who_is_alone_loses_nothing(base: Any, other: Any) -> None:
    """Where one side changed nothing, the other side's work is the result."""
    assert merge(base, base, other).merged == other
    assert merge(base, other, base).merged == other
    assert merge(base, other, other).merged == other
    for sides in ((base, base, other), (base, other, base), (base, other, other)):
        assert not merge(*sides).conflicts
    assert not differences(base, base)


@few
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_nothing_is_lost_in_silence(base: Any, theirs: Any, mine: Any) -> None:
    """Each of their changes is in the result, or a conflict; so is each of mine in any case."""
    done = merge(base, theirs, mine)
    disputed = {conflict.path for conflict in done.conflicts}
    by_me = {change.path for change in differences(base, mine)}
    for change in differences(theirs, done.merged):
        assert any(_related(change.path, path) for path in disputed | by_me)
    taken = resolve(done.merged, theirs, disputed)
    for conflict in done.conflicts:
        assert _at(taken, conflict.path) == _at(theirs, conflict.path)


def _related(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document.get(key, "absent") if isinstance(document, dict) else "absent"
    return document


def test_resolve_ignores_what_is_not_there() -> None:
    mine = {"a": {"b": 1}, "c": None}
    assert resolve(mine, {"a": {"b": 2}}, ["a.b", "a.x.y", "z", "c.d", ""]) == {
        "a": {"b": 2},
        "c": None,
    }
