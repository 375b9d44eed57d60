"""What the calendar asks of the machines, and what was really used: for the forecast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ..domain import forecast
from ..domain.calendar import SessionState
from ..domain.environment import ComputeType, Environment, Text
from ..domain.forecast import Amounts, Demand, Hour, Past, Period
from ..domain.machines import Machine
from . import reading, sessions
from .sessions import Booked
from .tables import EnvironmentRow, LaunchRow

LOOK_BACK = timedelta(days=56)
"""How far back it is looked how many came, and when people work by themselves."""

Stay = tuple[datetime, datetime]


@dataclass(frozen=True)
class Forecast:
    """Hours of a span of time, with what will not fit and when nobody comes.

    `there` is what the machines have, by compute type (`""`: all together), or None where that is
    not known; `turnout` how many come of those who are expected, if that is known; `waiting` how
    many sessions in it wait for an administrator: they are counted, as if they were agreed to.
    """

    hours: list[Hour]
    overfull: list[Period]
    quiet: list[Period]
    there: dict[str, dict[str, float]] | None
    turnout: float | None
    waiting: int = 0
    titles: dict[str, Text] = field(default_factory=dict)  # of compute types


def forecasted(
    session: Session,
    starts: datetime,
    ends: datetime,
    now: datetime,
    *,
    machines: list[Machine] | None,
    zone: str,
) -> Forecast:
    """The forecast between two whole hours (UTC)."""
    types = reading.compute_types(session)
    there = None if machines is None else forecast.capacity(machines, types)
    stays = _stays(session, now - LOOK_BACK, now)
    came = forecast.turnout(_past(session, stays, now))
    states = [SessionState.APPROVED, SessionState.REQUESTED]
    booked = sessions.between(session, starts, ends, states=states)
    ids = {one.environment_id for one in booked} | set(stays)
    needs = _needs(session, ids, types)
    everybody = [stay for of_one in stays.values() for stay in of_one]
    first = max(starts, forecast.floor(now - LOOK_BACK))
    last = min(ends, forecast.floor(now))
    used = forecast.used_by_hour(everybody, forecast.floor(now - LOOK_BACK), forecast.floor(now))
    taken = forecast.taken_by_hour(
        [
            (came_at, left_at, needs[key][1])
            for key, of_one in stays.items()
            for came_at, left_at in of_one
        ],
        first,
        last,
    )
    found = forecast.hours(
        [demand for one in booked for demand in _demands(one, needs, came, starts, ends)],
        starts,
        ends,
        there=there,
        used={hour: people for hour, people in used.items() if first <= hour < last},
        taken=taken,
    )
    coming = [hour for hour in found if hour.starts >= forecast.floor(now)]
    return Forecast(
        hours=found,
        overfull=forecast.overfull(coming),
        quiet=forecast.quiet(coming, forecast.usual(used, zone), zone),
        there=there,
        turnout=came.get(None),
        waiting=sum(one.state is SessionState.REQUESTED for one in booked),
        titles={one.slug: one.title for one in types},
    )


def _demands(
    booked: Booked,
    needs: dict[int, tuple[str, Amounts]],
    came: dict[int | None, float],
    starts: datetime,
    ends: datetime,
) -> Iterable[Demand]:
    compute_type, each = needs[booked.environment_id]
    people = booked.session.expected
    share = came.get(booked.environment_id, came.get(None, 1.0))
    for one in booked.occurrences(starts, ends):
        yield Demand(one.starts, one.ends, people, people * share, each, compute_type)


def _needs(
    session: Session, ids: set[int], types: list[ComputeType]
) -> dict[int, tuple[str, Amounts]]:
    """What one server of each environment needs, with the type of machine that it is for."""
    known = {one.slug: one for one in types}
    rows = session.execute(
        select(EnvironmentRow.id, EnvironmentRow.definition).where(EnvironmentRow.id.in_(ids))
    )
    found: dict[int, tuple[str, Amounts]] = {}
    for environment_id, definition in rows:
        resources = Environment.model_validate(definition).resources
        slug = resources.compute_type
        compute_type = known.get(slug) or ComputeType(slug=slug, title=slug)
        found[environment_id] = slug, forecast.need(resources, compute_type)
    return found


def _stays(session: Session, after: datetime, now: datetime) -> dict[int, list[Stay]]:
    """From when to when people had a server, by environment; trials do not count.

    An end that nobody noted, as the hub was away, is at the next start of the same server at the
    latest. What was in an environment that is deleted is deleted with it.
    """
    rows = session.execute(
        select(
            LaunchRow.person_id, LaunchRow.environment_id, LaunchRow.ready_at, LaunchRow.ended_at
        )
        .where(
            LaunchRow.ready_at.is_not(None),
            LaunchRow.trial.is_(False),
            or_(LaunchRow.ended_at.is_(None), LaunchRow.ended_at > after),
        )
        .order_by(LaunchRow.id.desc())
    )
    found: dict[int, list[Stay]] = defaultdict(list)
    next_start: dict[tuple[int, int], datetime] = {}
    for person_id, environment_id, ready_at, ended_at in rows:
        if environment_id is None or ready_at is None:  # which the query leaves out
            continue
        key = person_id, environment_id
        left = ended_at or next_start.get(key, now)
        next_start[key] = ready_at
        if left > after:
            found[environment_id].append((ready_at, left))
    return found


def _past(session: Session, stays: dict[int, list[Stay]], now: datetime) -> list[Past]:
    booked = sessions.between(session, now - LOOK_BACK, now, states=[SessionState.APPROVED])
    return [
        Past(
            one.environment_id,
            one.session.expected,
            forecast.peak(stays.get(one.environment_id, ()), occurrence.starts, occurrence.ends),
        )
        for one in booked
        for occurrence in one.occurrences(now - LOOK_BACK, now)
        if occurrence.ends <= now
    ]
