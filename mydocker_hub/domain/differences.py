"""What differs between two definitions, and what becomes of the work of two editors at once.

A definition is what `Environment.model_dump(mode="json", by_alias=True)` gives: mappings inside
mappings, down to leaves. A list is one leaf: whoever changes an interface changes the interfaces.
A leaf is named by its path, `resources.cpu_limit`; no key here has a dot in it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One leaf that differs; None stands for what is not there (a variable, say) as well."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Conflict3:
    """A leaf that two people changed, each to something else."""

    path: str
    base: Any
    theirs: Any
    mine: Any


@dataclass(frozen=True)
class Merge:
    """Both people's work in one definition; where they conflict, `merged` holds mine."""

    merged: dict[str, Any]
    conflicts: list[Conflict3]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The leaves that differ, in the order of the fields.

    What was or becomes a mapping on one side alone (content that is added, say) is one leaf.
    """
    return [
        Change(path, _shown(old), _shown(new)) for path, (old, new) in _leaves("", before, after)
    ]


def merge(base: Mapping[str, Any], theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Merge:
    """What both made of `base`: each leaf that one of them changed, as that person left it.

    Where both changed a leaf to the same, it is no conflict. None of the three is changed.
    """
    merged: dict[str, Any] = {}
    conflicts: list[Conflict3] = []
    _merge("", base, theirs, mine, merged, conflicts)
    return Merge(merged, conflicts)


def resolve(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], take_theirs: Iterable[str]
) -> dict[str, Any]:
    """My definition, with their value of each path in `take_theirs`; an unknown path is ignored."""
    resolved = copy.deepcopy(dict(mine))
    for path in take_theirs:
        *parents, last = path.split(".")
        source: Any = theirs
        target: Any = resolved
        for parent in parents:
            source = source.get(parent) if isinstance(source, Mapping) else None
            target = target.get(parent) if isinstance(target, dict) else None
        if not isinstance(source, Mapping) or not isinstance(target, dict):
            continue
        if last in source:
            target[last] = copy.deepcopy(source[last])
        else:
            target.pop(last, None)
    return resolved


def _leaves(
    path: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterable[tuple[str, tuple[Any, Any]]]:
    for key in _keys(before, after):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        here = f"{path}.{key}" if path else key
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _leaves(here, old, new)
        elif not _same(old, new):
            yield here, (old, new)


def _merge(
    path: str,
    base: Mapping[str, Any],
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    merged: dict[str, Any],
    conflicts: list[Conflict3],
) -> None:
    for key in _keys(base, theirs, mine):
        here = f"{path}.{key}" if path else key
        one, two, three = (side.get(key, _ABSENT) for side in (base, theirs, mine))
        if isinstance(one, Mapping) and isinstance(two, Mapping) and isinstance(three, Mapping):
            merged[key] = {}
            _merge(here, one, two, three, merged[key], conflicts)
            continue
        if _same(three, one):
            result = two  # untouched by me
        else:
            result = three
            if not _same(two, one) and not _same(two, three):
                conflicts.append(Conflict3(here, _shown(one), _shown(two), _shown(three)))
        if result is not _ABSENT:
            merged[key] = copy.deepcopy(result)


def _keys(*sides: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(key for side in sides for key in side))


def _same(one: Any, other: Any) -> bool:
    # 1 == True in Python, and a limit of 1 is not a yes.
    return (type(one) is type(other) and bool(one == other)) or _same_number(one, other)


def _same_number(one: Any, other: Any) -> bool:
    numbers = (int, float)
    return (
        isinstance(one, numbers)
        and isinstance(other, numbers)
        and not isinstance(one, bool)
        and not isinstance(other, bool)
        and one == other
    )


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value
