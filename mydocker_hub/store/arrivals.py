"""Who will probably start an environment for the first time when a session of it begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import String, and_, cast, or_, select
from sqlalchemy.orm import Session

from ..domain.environment import Status, Text
from ..domain.names import server_name
from . import sessions
from .tables import AudienceRow, CourseMemberRow, EnrolmentRow, EnvironmentRow, PersonRow


class Arrival(NamedTuple):
    """A person, and the server that they will start; `title` is the environment's."""

    user: str
    server: str
    title: Text


def arrivals(session: Session, now: datetime, before: timedelta) -> list[Arrival]:
    """Who is enrolled, or named by the environment, and has never startable it.

    Of the approved sessions that begin within `before`, and of each no more people than it expects.
    Of whole institutions, and of all teachers, nobody knows who comes.
    """
    open_to_people = EnvironmentRow.status.in_([Status.TEST, Status.READY])
    startable = set(session.scalars(select(EnvironmentRow.slug).where(open_to_people)))
    found: dict[tuple[str, str], Arrival] = {}
    for booked, occurrence in sessions.upcoming(session, now, before):
        if occurrence.starts <= now or booked.slug not in startable:
            continue
        server = server_name(booked.slug)
        for name in _names(session, booked.environment_id, booked.session.expected):
            found.setdefault((name, server), Arrival(name, server, booked.title))
    return list(found.values())


def _names(session: Session, environment_id: int, limit: int) -> Iterator[str]:
    audience = AudienceRow.environment_id == environment_id
    by_name = select(AudienceRow.value).where(audience, AudienceRow.kind == "person")
    courses = select(AudienceRow.value).where(audience, AudienceRow.kind == "course")
    attends = select(CourseMemberRow.person_id).where(
        cast(CourseMemberRow.course_id, String).in_(courses)
    )
    named = or_(PersonRow.name.in_(by_name), PersonRow.id.in_(attends))
    query = (
        select(PersonRow.name)
        .outerjoin(
            EnrolmentRow,
            and_(
                EnrolmentRow.person_id == PersonRow.id,
                EnrolmentRow.environment_id == environment_id,
            ),
        )
        .where(
            or_(EnrolmentRow.person_id.is_not(None), named),
            EnrolmentRow.last_start_at.is_(None),
            EnrolmentRow.left_at.is_(None),
            PersonRow.blocked_at.is_(None),
            PersonRow.joined_to_id.is_(None),
        )
        .order_by(PersonRow.id)
        .limit(limit)
    )
    yield from session.scalars(query)
