"""Images that are brought to the machines before sessions: what is wanted, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ..domain.environment import ComputeType, Environment, Status
from ..domain.pulling import OnNode, Pull, Readiness, Target, Wanted
from . import sessions
from .tables import ComputeTypeRow, EnvironmentRow, PullRow

KEPT_FOR = timedelta(days=90)
"""How long it is remembered how a pull went."""


def wanted(session: Session, now: datetime, before: timedelta) -> list[Wanted]:
    """The occurrences that begin within `before` or are under way, with what their servers need."""
    near = sessions.upcoming(session, now, before)
    slugs = {booked.slug for booked, _ in near}
    targets = {
        row.slug: _target(session, Environment.model_validate(row.definition))
        for row in session.scalars(select(EnvironmentRow).where(EnvironmentRow.slug.in_(slugs)))
        if row.status != Status.ARCHIVED
    }
    return [
        Wanted(booked.id, occurrence.starts, occurrence.ends, targets[booked.slug])
        for booked, occurrence in near
        if booked.slug in targets
    ]


def _target(session: Session, environment: Environment) -> Target:
    slug = environment.resources.compute_type
    row = session.scalar(select(ComputeTypeRow).where(ComputeTypeRow.slug == slug))
    found = ComputeType.model_validate(row.definition) if row is not None else None
    return Target(environment.image, found.constraints if found else ())


def known(session: Session) -> list[Pull]:
    """What was begun and has not ended."""
    query = select(PullRow).where(PullRow.ended_at.is_(None)).order_by(PullRow.id)
    return [_pull(row) for row in session.scalars(query)]


def begin(session: Session, one: Wanted, digest: str, now: datetime) -> Pull:
    """Note that bringing an image has begun, over again where it was begun before."""
    row = session.scalar(
        select(PullRow).where(PullRow.session_id == one.session_id, PullRow.starts_at == one.starts)
    )
    if row is None:
        row = PullRow(session_id=one.session_id, starts_at=one.starts)
        session.add(row)
    row.image, row.constraints = one.target.image, list(one.target.constraints)
    row.digest, row.nodes = digest, {}
    row.begun_at, row.ended_at, row.end_code = now, None, ""
    session.flush()
    return _pull(row)


def note(session: Session, pull_id: int, nodes: Mapping[str, OnNode], digest: str) -> None:
    """Keep how far it is."""
    values: dict[str, Any] = {
        "nodes": {node: one.model_dump(mode="json") for node, one in nodes.items()},
        "digest": digest,
    }
    session.execute(update(PullRow).where(PullRow.id == pull_id).values(**values))


def end(session: Session, pull_id: int, now: datetime) -> None:
    """Note that the image is no longer kept on the machines for this occurrence."""
    session.execute(update(PullRow).where(PullRow.id == pull_id).values(ended_at=now))


def forget(session: Session, now: datetime) -> None:
    """Remove what is not worth remembering any more."""
    session.execute(delete(PullRow).where(PullRow.ended_at < now - KEPT_FOR))


def readiness(
    session: Session, session_ids: Iterable[int]
) -> dict[tuple[int, datetime], Readiness]:
    """On how many machines the images of sessions are, by session and the start of its occurrence.

    Only what is near has any: what has not begun is not in it, and neither is what is over.
    """
    query = select(PullRow).where(
        PullRow.session_id.in_(list(session_ids)), PullRow.ended_at.is_(None)
    )
    pulls = [_pull(row) for row in session.scalars(query)]
    return {(pull.session_id, pull.starts): pull.readiness for pull in pulls}


def _pull(row: PullRow) -> Pull:
    return Pull(
        id=row.id,
        session_id=row.session_id,
        starts=row.starts_at,
        target=Target(row.image, tuple(row.constraints)),
        digest=row.digest,
        nodes={node: OnNode.model_validate(one) for node, one in row.nodes.items()},
        begun=row.begun_at,
        ended=row.ended_at,
    )
