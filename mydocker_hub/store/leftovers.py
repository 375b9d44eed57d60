"""What deleted environments and people have left behind: personal folders, and records of servers.

A folder is left behind when nobody can come to it any more: its person's account is gone, or it
belongs to one environment alone and that was deleted. An environment that is made again under the
same name has its people's folders again, since volumes are named by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ..domain import names
from .editing import audit
from .tables import AuditRow, EnvironmentRow, FolderRow, LaunchRow, PersonRow


class Gone(StrEnum):
    """What a folder belonged to that is not there any more."""

    PERSON = "person"
    ENVIRONMENT = "environment"


@dataclass(frozen=True)
class LeftFolder:
    """A volume that nobody can come to. `node` holds it where disks are local, if that is known;
    `left_at` is when that was first noticed."""

    volume: str
    person: str
    node: str
    prepared_at: datetime
    gone: Gone
    left_at: datetime | None = None


def folders(session: Session, hub: str) -> list[LeftFolder]:
    """The folders that are left behind, as things are now, in order of their names.

    `hub` is the id that volumes are named by; volumes of another one are not in the database.
    """
    people = {row.id: row.name for row in session.execute(select(PersonRow.id, PersonRow.name))}
    slugs = list(session.scalars(select(EnvironmentRow.slug)))
    used = defaultdict(set)
    launches = select(LaunchRow.person_id, EnvironmentRow.slug).join(
        EnvironmentRow, EnvironmentRow.id == LaunchRow.environment_id
    )
    for person_id, slug in session.execute(launches.distinct()):
        used[person_id].add(slug)
    found = []
    for row in session.scalars(select(FolderRow).order_by(FolderRow.volume)):
        name = people.get(row.person_id) if row.person_id is not None else None
        gone = None
        if name is None or row.person_id is None:
            if _is_somebodys(row.volume, hub, people.values(), slugs):
                continue  # an account of the same name was made since
            gone = Gone.PERSON
        elif row.volume != names.global_volume(hub, name) and not (
            # what they have started is nearly always it; all the names are a lot of arithmetic
            _is_of(row.volume, hub, name, used[row.person_id])
            or _is_of(row.volume, hub, name, slugs)
        ):
            gone = Gone.ENVIRONMENT
        if gone is not None:
            found.append(
                LeftFolder(row.volume, name or "", row.node, row.prepared_at, gone, row.left_at)
            )
    return found


def _is_of(volume: str, hub: str, person: str, slugs: Iterable[str]) -> bool:
    return any(volume == names.dedicated_volume(hub, person, slug) for slug in slugs)


def _is_somebodys(volume: str, hub: str, people: Iterable[str], slugs: Iterable[str]) -> bool:
    return any(
        volume == names.global_volume(hub, name) or _is_of(volume, hub, name, slugs)
        for name in people
        if names.may_be_of(volume, name)
    )


def note(session: Session, hub: str, now: datetime) -> list[LeftFolder]:
    """Note what is left behind from now on, and what somebody can come to again; what is left."""
    left = folders(session, hub)
    volumes = {one.volume for one in left}
    noted = set(session.scalars(select(FolderRow.volume).where(FolderRow.left_at.is_not(None))))
    for volume in volumes - noted:
        session.execute(update(FolderRow).where(FolderRow.volume == volume).values(left_at=now))
    for volume in noted - volumes:
        session.execute(update(FolderRow).where(FolderRow.volume == volume).values(left_at=None))
    deleted = _deleted_since(
        session, min((one.left_at for one in left if one.left_at), default=now)
    )
    for one in left:
        # An environment that was made again meanwhile, and deleted again, begins anew.
        last = max(
            (at for slug, at in deleted if _is_of(one.volume, hub, one.person, [slug])),
            default=None,
        )
        if one.left_at is not None and last is not None and last > one.left_at:
            session.execute(
                update(FolderRow).where(FolderRow.volume == one.volume).values(left_at=last)
            )
    session.expire_all()
    return folders(session, hub)


def _deleted_since(session: Session, since: datetime) -> list[tuple[str, datetime]]:
    """The slugs of environments that were deleted after an instant, and when."""
    query = select(AuditRow.subject, AuditRow.at).where(
        AuditRow.action == "environment-deleted", AuditRow.at > since
    )
    return [(slug, at) for slug, at in session.execute(query)]


def expired(
    session: Session, hub: str, now: datetime, kept_for: timedelta, nodes: Iterable[str]
) -> list[str]:
    """The volumes on one of these nodes that go by the rule: left behind for long enough.

    Volumes of which no node is known may be shared by all, and hold more than their name: they are
    not removed by themselves.
    """
    there = set(nodes)
    return [
        one.volume
        for one in folders(session, hub)
        if one.left_at is not None and one.left_at <= now - kept_for and one.node in there
    ]


def forget(session: Session, volumes: Iterable[str], actor: str, now: datetime) -> None:
    """Note that volumes are removed."""
    for volume in volumes:
        session.execute(delete(FolderRow).where(FolderRow.volume == volume))
        audit(session, actor, "folder-removed", volume, now)


def deleted(session: Session) -> list[str]:
    """The slugs of environments that are deleted, and were not made again."""
    slugs = set(
        session.scalars(
            select(AuditRow.subject).where(AuditRow.action == "environment-deleted").distinct()
        )
    )
    return sorted(slugs - set(session.scalars(select(EnvironmentRow.slug))))


def unknown(session: Session, slugs: Iterable[str]) -> set[str]:
    """Which of these are no environments (any more)."""
    wanted = set(slugs)
    return wanted - set(
        session.scalars(select(EnvironmentRow.slug).where(EnvironmentRow.slug.in_(wanted)))
    )


def note_stop(session: Session, actor: str, user: str, server: str, now: datetime) -> None:
    """Note who stopped a server that was left behind."""
    audit(session, actor, "left-server-stopped", user, now, server=server)
