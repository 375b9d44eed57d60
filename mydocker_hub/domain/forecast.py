"""What the sessions of the coming weeks ask of the machines, and when nobody needs them. Pure.

Counted is what a server is promised: what it reserves, or where it reserves nothing, what it may
use. Time goes by whole hours; an hour has the most that comes together within it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .environment import ComputeType, Resources
from .machines import Machine

HOUR = timedelta(hours=1)
CPUS, MEMORY = "cpus", "memory"
"""The kinds of resources; others are generic ones by their own names. Memory is in bytes."""

QUIET_AT_LEAST = timedelta(hours=3)
_QUIET_SHARE = 0.1  # of what is usual in the busiest hour of a week
_NOTHING = 1e-9  # what sums of fractions leave over
_LEAST_PEOPLE_COUNTED = 10  # of fewer than that one cannot say how many come

Amounts = Mapping[str, float]


class Demand(NamedTuple):
    """So many people at a time, each with a server that needs `each`, on machines of one type.

    `likely` is how many come if it goes as it went before.
    """

    starts: datetime
    ends: datetime
    people: float
    likely: float
    each: Amounts
    compute_type: str


class Past(NamedTuple):
    """A session that is over: how many were expected, and how many were there at once."""

    environment_id: int
    expected: int
    came: int


class Shortage(NamedTuple):
    """More is needed of a kind than there is on the machines of a type."""

    compute_type: str
    kind: str
    needed: float
    there: float


@dataclass(frozen=True)
class Hour:
    """An hour: `people` and `needed` as booked, `likely` as it went before.

    `used` is how many were really there, in an hour that is over, and `taken` what their servers
    were promised. `shortages` are what will not fit.
    """

    starts: datetime
    people: float = 0
    likely: float = 0
    needed: Amounts = field(default_factory=dict)
    used: float | None = None
    taken: Amounts = field(default_factory=dict)
    shortages: tuple[Shortage, ...] = ()


class Period(NamedTuple):
    """From an hour to another one, with all that is short in it (quiet ones: nothing)."""

    starts: datetime
    ends: datetime
    shortages: tuple[Shortage, ...] = ()

    @property
    def length(self) -> timedelta:
        return self.ends - self.starts


def need(resources: Resources, compute_type: ComputeType) -> dict[str, float]:
    """What one server is promised."""
    cpus = resources.cpu_reservation or resources.cpu_share or resources.cpu_limit
    memory = resources.memory_reservation_bytes or resources.memory_bytes
    found: dict[str, float] = dict(compute_type.generic_resources)
    if cpus:
        found[CPUS] = cpus
    if memory:
        found[MEMORY] = memory
    return found


def capacity(
    machines: Iterable[Machine], compute_types: Iterable[ComputeType]
) -> dict[str, dict[str, float]]:
    """What the machines have together, by the type whose servers may run on them.

    `""` is the whole Swarm. Machines that are down or out of service have nothing.
    """
    up = [machine for machine in machines if machine.up]
    found = {"": _sum(up)}
    for compute_type in compute_types:
        fitting = [machine for machine in up if machine.may_run(compute_type.constraints)]
        found[compute_type.slug] = _sum(fitting)
    return found


def _sum(machines: Iterable[Machine]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float, {CPUS: 0, MEMORY: 0})
    for machine in machines:
        total[CPUS] += machine.cpus
        total[MEMORY] += machine.memory_bytes
        for kind, amount in machine.generic.items():
            total[kind] += amount
    return dict(total)


def turnout(past: Iterable[Past]) -> dict[int | None, float]:
    """How many come of those who are expected: of each environment, and under None of all.

    Of environments whose sessions were too small, or had nobody at all, nothing is said.
    """
    expected: dict[int | None, int] = defaultdict(int)
    came: dict[int | None, int] = defaultdict(int)
    for one in past:
        for key in (one.environment_id, None):
            expected[key] += one.expected
            came[key] += one.came
    return {
        key: came[key] / expected[key]
        for key in expected
        if expected[key] >= _LEAST_PEOPLE_COUNTED and came[key]
    }


def peak(stays: Iterable[tuple[datetime, datetime]], starts: datetime, ends: datetime) -> int:
    """The most that were there at once between two instants, of stays from one to another."""
    changes = []
    for came, left in stays:
        if came < ends and left > starts:
            changes += [(max(came, starts), 1), (left, -1)]
    most = now = 0
    for _, change in sorted(changes):  # who leaves goes before who comes at the same moment
        now += change
        most = max(most, now)
    return most


def hours(
    demands: Sequence[Demand],
    starts: datetime,
    ends: datetime,
    *,
    there: Mapping[str, Amounts] | None = None,
    used: Mapping[datetime, float] | None = None,
    taken: Mapping[datetime, Amounts] | None = None,
) -> list[Hour]:
    """The hours between two instants (UTC, whole hours).

    `there` is what `capacity` answers; without it nothing is known to be short. `used` are the
    people who were really there, by the hour, and `taken` what their servers were promised.
    """
    by_hour: dict[datetime, list[Demand]] = defaultdict(list)
    for demand in demands:
        hour = max(floor(demand.starts), starts)
        while hour < min(demand.ends, ends):
            by_hour[hour].append(demand)
            hour += HOUR
    found = []
    hour = starts
    while hour < ends:
        seen = used.get(hour) if used else None
        promised = taken.get(hour, {}) if taken else {}
        found.append(_hour(hour, by_hour.get(hour, []), there, seen, promised))
        hour += HOUR
    return found


def floor(instant: datetime) -> datetime:
    """The whole hour that an instant is in, UTC."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _hour(
    starts: datetime,
    demands: list[Demand],
    there: Mapping[str, Amounts] | None,
    used: float | None,
    taken: Amounts,
) -> Hour:
    people = likely = 0.0
    needed: dict[str, float] = {}
    short: dict[tuple[str, str], Shortage] = {}
    for instant in {max(demand.starts, starts) for demand in demands}:
        together = [one for one in demands if one.starts <= instant < one.ends]
        people = max(people, sum(one.people for one in together))
        likely = max(likely, sum(one.likely for one in together))
        by_type = _needed(together)
        for kind, amount in by_type[""].items():
            needed[kind] = max(needed.get(kind, 0), amount)
        for shortage in _shortages(by_type, there):
            key = shortage.compute_type, shortage.kind
            if key not in short or short[key].needed < shortage.needed:
                short[key] = shortage
    return Hour(starts, people, likely, needed, used, taken, tuple(sorted(short.values())))


def _needed(together: Iterable[Demand]) -> dict[str, dict[str, float]]:
    """What is needed at once by type, and under `""` in all."""
    needed: dict[str, dict[str, float]] = {"": {}}
    for demand in together:
        for key in ("", demand.compute_type):
            kinds = needed.setdefault(key, {})
            for kind, amount in demand.each.items():
                kinds[kind] = kinds.get(kind, 0) + amount * demand.people
    return needed


def _shortages(
    needed: Mapping[str, Amounts], there: Mapping[str, Amounts] | None
) -> list[Shortage]:
    if there is None:
        return []
    found = []
    for compute_type, kinds in needed.items():
        for kind, amount in kinds.items():
            have = there.get(compute_type, {}).get(kind, 0)
            if amount > have:
                found.append(Shortage(compute_type, kind, amount, have))
    # What one type lacks the whole lacks as well, mostly: said once, where it is more precise.
    precise = {one.kind for one in found if one.compute_type}
    return [one for one in found if one.compute_type or one.kind not in precise]


def overfull(found: Iterable[Hour]) -> list[Period]:
    """The times that will not fit, each as long as the same is short, with the most of it."""
    periods: list[Period] = []
    for hour in found:
        if not hour.shortages:
            continue
        keys = {(one.compute_type, one.kind) for one in hour.shortages}
        last = periods[-1] if periods else None
        if (
            last is not None
            and last.ends == hour.starts
            and {(one.compute_type, one.kind) for one in last.shortages} == keys
        ):
            most: dict[tuple[str, str], Shortage] = {}
            for one in (*last.shortages, *hour.shortages):
                key = one.compute_type, one.kind
                if key not in most or most[key].needed < one.needed:
                    most[key] = one
            periods[-1] = Period(last.starts, hour.starts + HOUR, tuple(sorted(most.values())))
        else:
            periods.append(Period(hour.starts, hour.starts + HOUR, hour.shortages))
    return periods


def usual(used: Mapping[datetime, float], zone: str) -> dict[int, float]:
    """How many people are there on average in each hour of a week, from Monday 0:00 on.

    The weeks have wall time, so that a Monday at eight is one in winter as well.
    """
    sums: dict[int, float] = defaultdict(float)
    counts: dict[int, int] = defaultdict(int)
    for instant, people in used.items():
        slot = hour_of_week(instant, zone)
        sums[slot] += people
        counts[slot] += 1
    return {slot: sums[slot] / counts[slot] for slot in sums}


def hour_of_week(instant: datetime, zone: str) -> int:
    wall = instant.astimezone(ZoneInfo(zone))
    return wall.weekday() * 24 + wall.hour


def quiet(
    found: Sequence[Hour],
    usually: Mapping[int, float],
    zone: str,
    *,
    at_least: timedelta = QUIET_AT_LEAST,
) -> list[Period]:
    """The times without any session in which few people come of their own accord either."""
    most = max(usually.values(), default=0)
    periods: list[Period] = []
    for hour in found:
        if hour.people or usually.get(hour_of_week(hour.starts, zone), 0) > most * _QUIET_SHARE:
            continue
        if periods and periods[-1].ends == hour.starts:
            periods[-1] = periods[-1]._replace(ends=hour.starts + HOUR)
        else:
            periods.append(Period(hour.starts, hour.starts + HOUR))
    return [period for period in periods if period.length >= at_least]


def used_by_hour(
    stays: Iterable[tuple[datetime, datetime]], starts: datetime, ends: datetime
) -> dict[datetime, float]:
    """How many were there at once, at most, in each hour between two whole ones."""
    by_hour: dict[datetime, list[tuple[datetime, datetime]]] = defaultdict(list)
    for came, left in stays:
        hour = max(floor(came), starts)
        while hour < min(left, ends):
            by_hour[hour].append((came, left))
            hour += HOUR
    count = int((ends - starts) / HOUR)
    marks = [starts + number * HOUR for number in range(count + 1)]
    return {
        hour: float(peak(by_hour.get(hour, ()), hour, after)) for hour, after in pairwise(marks)
    }


def taken_by_hour(
    stays: Iterable[tuple[datetime, datetime, Amounts]], starts: datetime, ends: datetime
) -> dict[datetime, dict[str, float]]:
    """The most that was promised at once, of each kind, in each hour between two whole ones.

    A stay is from when to when, and what its server was promised.
    """
    changes: list[tuple[datetime, int, Amounts]] = []
    for came, left, each in stays:
        if came < ends and left > starts:
            changes += [(max(came, starts), 1, each), (left, -1, each)]
    changes.sort(key=lambda change: change[:2])  # who leaves goes before who comes
    now: dict[str, float] = defaultdict(float)
    found: dict[datetime, dict[str, float]] = {}
    hour, position = starts, 0
    while hour < ends:
        most: dict[str, float] | None = None
        while position < len(changes) and changes[position][0] < hour + HOUR:
            instant, sign, each = changes[position]
            if most is None and (instant > hour or sign > 0):
                most = dict(now)  # without those who leave as the hour begins
            for kind, amount in each.items():
                now[kind] += sign * amount
                if most is not None:
                    most[kind] = max(most.get(kind, 0), now[kind])
            position += 1
        promised = now if most is None else most
        found[hour] = {kind: amount for kind, amount in promised.items() if amount > _NOTHING}
        hour += HOUR
    return found
