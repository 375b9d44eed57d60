"""Builds of images: asked for by people, worked off by the builder, and their logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Update, func, select, update
from sqlalchemy.orm import Session

from ..domain.errors import Conflict, NotFound
from ..domain.images import TRANSITIONS, UNFINISHED, BuildState, ContextFile, Recipe, in_turn
from .editing import audit
from .tables import BuildLogRow, BuildRow, EnvironmentRow, ImageRow

LOG_MAX_CHARACTERS = 2_000_000
LOG_CUT = "\n… the log is longer than what is kept of it\n"
LOST_AFTER = timedelta(seconds=15)
"""A builder that says nothing of its build for so long is dead."""
KEPT_BUILDS = 5
KEPT_FOR = timedelta(days=1)

_UNFINISHED = [str(state) for state in UNFINISHED]
_AT_WORK = [str(BuildState.BUILDING), str(BuildState.PUSHING)]


@dataclass(frozen=True)
class Build:
    """One build of an image; `number` counts those of the image and is its tag.

    `reference` is where the image is when it is done, with its digest where a registry has it.
    `end_code` and `end_params` say why it failed, as an error of `domain.errors`. `removed_at` is
    set once the image was removed by the rule for old ones.
    """

    id: int
    image_id: int
    image_slug: str
    number: int
    state: BuildState
    recipe: Recipe
    files: tuple[ContextFile, ...]
    dockerfile: str
    made_by: str
    asked_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cancel_asked: bool = False
    reference: str = ""
    digest: str = ""
    size_bytes: int | None = None
    git_commit: str = ""
    end_code: str = ""
    end_params: Mapping[str, Any] = field(default_factory=dict)
    removed_at: datetime | None = None

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED


# --- for people ----------------------------------------------------------------------------------


def ask(
    session: Session,
    image_id: int,
    recipe: Recipe,
    files: tuple[ContextFile, ...],
    made_by: str,
    now: datetime,
) -> Build:
    """Put a build in the queue. Raises `Conflict` while another one of the image is unfinished."""
    image = session.scalar(select(ImageRow).where(ImageRow.id == image_id).with_for_update())
    if image is None:
        raise NotFound()
    under_way = select(BuildRow.id).where(
        BuildRow.image_id == image_id, BuildRow.state.in_(_UNFINISHED)
    )
    if session.scalar(under_way.limit(1)) is not None:
        raise Conflict("build-running", image=image.slug)
    last = session.scalar(select(func.max(BuildRow.number)).where(BuildRow.image_id == image_id))
    row = BuildRow(
        image_id=image_id,
        number=(last or 0) + 1,
        state=BuildState.QUEUED,
        recipe=recipe.model_dump(mode="json"),
        files=[file.model_dump(mode="json") for file in files],
        made_by=made_by,
        asked_at=now,
        dockerfile="",
        cancel_asked=False,
        reference="",
        digest="",
        git_commit="",
        end_code="",
        end_params={},
    )
    session.add(row)
    session.flush()
    audit(session, made_by, "build-asked", image.slug, now, number=row.number)
    return _build(row, image.slug)


def get(session: Session, build_id: int) -> Build:
    """Raises `NotFound`."""
    found = session.execute(_with_slug().where(BuildRow.id == build_id)).first()
    if found is None:
        raise NotFound("build-unknown")
    return _build(*found)


def by_number(session: Session, image_id: int, number: int) -> Build:
    """Raises `NotFound`."""
    query = _with_slug().where(BuildRow.image_id == image_id, BuildRow.number == number)
    found = session.execute(query).first()
    if found is None:
        raise NotFound("build-unknown")
    return _build(*found)


def of_image(session: Session, image_id: int, limit: int = 50) -> list[Build]:
    """The builds of an image, newest first."""
    query = _with_slug().where(BuildRow.image_id == image_id).order_by(BuildRow.number.desc())
    return [_build(row, slug) for row, slug in session.execute(query.limit(limit))]


def position(session: Session, build: Build) -> int:
    """How many builds are before this one in the queue: 0 is next."""
    queue = _queue(session)
    return queue.index(build.id) if build.id in queue else 0


def _queue(session: Session) -> list[int]:
    """The waiting builds, the next one first."""
    queued = session.execute(
        select(BuildRow.id, BuildRow.made_by)
        .where(BuildRow.state == BuildState.QUEUED, BuildRow.cancel_asked.is_(False))
        .order_by(BuildRow.id)
    ).all()
    building = session.scalars(select(BuildRow.made_by).where(BuildRow.state.in_(_AT_WORK))).all()
    return in_turn([(row.id, row.made_by) for row in queued], building)


def cancel(session: Session, build_id: int, actor: str, now: datetime) -> Build:
    """Have a build end: at once while it waits, by the builder otherwise.

    Raises `Conflict` where it has ended already.
    """
    build = get(session, build_id)
    waiting = _changed(
        session,
        update(BuildRow)
        .where(BuildRow.id == build_id, BuildRow.state == BuildState.QUEUED)
        .values(state=BuildState.CANCELLED, cancel_asked=True, ended_at=now),
    )
    if not waiting:
        asked = _changed(
            session,
            update(BuildRow)
            .where(BuildRow.id == build_id, BuildRow.state.in_(_AT_WORK))
            .values(cancel_asked=True),
        )
        if not asked:
            raise Conflict("build-ended")
    audit(session, actor, "build-cancelled", build.image_slug, now, number=build.number)
    session.expire_all()
    return get(session, build_id)


def log(session: Session, build_id: int, after: int = -1) -> list[tuple[int, str]]:
    """The pieces of a build's log that come after a position, from -1 on for all."""
    query = (
        select(BuildLogRow.position, BuildLogRow.text)
        .where(BuildLogRow.build_id == build_id, BuildLogRow.position > after)
        .order_by(BuildLogRow.position)
    )
    return [(position, text) for position, text in session.execute(query)]


# --- for the builder -----------------------------------------------------------------------------


def claim(session: Session, now: datetime) -> Build | None:
    """Take the next build from the queue, in which people take turns; None where there is none.

    Two builders never get the same one: who changes its state has it.
    """
    for build_id in _queue(session)[:5]:
        if move(session, build_id, BuildState.BUILDING, now):
            return get(session, build_id)
    return None


def move(session: Session, build_id: int, state: BuildState, now: datetime, **values: Any) -> bool:
    """Bring a build into a state, with what is known by then (columns of `BuildRow`).

    False where it is in no state that leads there: somebody else has ended it, or has it.
    """
    sources = [str(source) for source, targets in TRANSITIONS.items() if state in targets]
    if state is BuildState.BUILDING:
        values["started_at"] = now
    values["seen_at"] = now
    if state not in UNFINISHED:
        values["ended_at"] = now
    changed = _changed(
        session,
        update(BuildRow)
        .where(BuildRow.id == build_id, BuildRow.state.in_(sources))
        .values(state=str(state), **values),
    )
    session.expire_all()
    return bool(changed)


def note(session: Session, build_id: int, **values: Any) -> None:
    """Keep what was learnt of a build under way (columns of `BuildRow`, such as `dockerfile`)."""
    session.execute(update(BuildRow).where(BuildRow.id == build_id).values(**values))
    session.expire_all()


def beat(session: Session, build_id: int, now: datetime) -> bool:
    """Say that the builder is at it; False where the build is to end: cancelled, or given up."""
    alive = _changed(
        session,
        update(BuildRow)
        .where(
            BuildRow.id == build_id,
            BuildRow.state.in_(_AT_WORK),
            BuildRow.cancel_asked.is_(False),
        )
        .values(seen_at=now),
    )
    return bool(alive)


def append_log(session: Session, build_id: int, text: str) -> bool:
    """Add a piece to a build's log. False once nothing more is kept of it."""
    last, length = session.execute(
        select(func.max(BuildLogRow.position), func.sum(func.length(BuildLogRow.text))).where(
            BuildLogRow.build_id == build_id
        )
    ).one()
    room = LOG_MAX_CHARACTERS - (length or 0)
    if room <= 0:
        return False
    whole = len(text) <= room
    # PostgreSQL takes no NUL in a text
    kept = (text if whole else text[:room] + LOG_CUT).replace("\0", "")
    session.add(BuildLogRow(build_id=build_id, position=0 if last is None else last + 1, text=kept))
    session.flush()
    return whole


def recover(session: Session, now: datetime, *, lost_after: timedelta = LOST_AFTER) -> list[int]:
    """Fail the builds whose builder is dead: it has not said anything of them for so long.

    Their ids are answered.
    """
    query = (
        select(BuildRow.id)
        .where(BuildRow.state.in_(_AT_WORK), BuildRow.seen_at <= now - lost_after)
        .order_by(BuildRow.id)
    )
    return [
        build_id
        for build_id in session.scalars(query).all()
        if move(session, build_id, BuildState.FAILED, now, end_code="build-interrupted")
    ]


def expired(session: Session, now: datetime, *, keep: int = KEPT_BUILDS) -> list[Build]:
    """Builds whose image goes by the rule, oldest first.

    Kept are the newest `keep` successful ones of each image, those that an environment uses (by
    its reference, with or without the digest), and what was asked for in the last day. Of an image
    that was deleted all go.
    """
    query = (
        _with_slug()
        .where(
            BuildRow.state == BuildState.DONE,
            BuildRow.removed_at.is_(None),
        )
        .order_by(BuildRow.number.desc())
    )
    used = set(session.scalars(select(EnvironmentRow.image).distinct()))
    deleted = set(session.scalars(select(ImageRow.id).where(ImageRow.deleted_at.is_not(None))))
    seen: dict[int, int] = {}
    found = []
    for row, slug in session.execute(query):
        seen[row.image_id] = seen.get(row.image_id, 0) + 1
        young = seen[row.image_id] <= keep or row.asked_at > now - KEPT_FOR
        if young and row.image_id not in deleted:
            continue
        if row.reference in used or row.reference.partition("@")[0] in used:
            continue
        found.append(_build(row, slug))
    return sorted(found, key=lambda build: build.id)


def known(session: Session) -> set[tuple[str, int]]:
    """Image (its slug) and number of each build whose image may be there."""
    query = (
        select(ImageRow.slug, BuildRow.number)
        .join(ImageRow, ImageRow.id == BuildRow.image_id)
        .where(
            BuildRow.removed_at.is_(None),
            BuildRow.state.in_([*_UNFINISHED, str(BuildState.DONE)]),
        )
    )
    return {(slug, number) for slug, number in session.execute(query)}


def mark_removed(session: Session, build_id: int, now: datetime) -> None:
    """Note that the image of an expired build is gone."""
    note(session, build_id, removed_at=now)


# --- reading rows --------------------------------------------------------------------------------


def _changed(session: Session, change: Update) -> int:
    """Change rows; how many those were."""
    count: int = session.execute(change).rowcount  # type: ignore[attr-defined]
    return count


def _with_slug() -> Any:
    return select(BuildRow, ImageRow.slug).join(ImageRow, ImageRow.id == BuildRow.image_id)


def _build(row: BuildRow, slug: str) -> Build:
    return Build(
        id=row.id,
        image_id=row.image_id,
        image_slug=slug,
        number=row.number,
        state=BuildState(row.state),
        recipe=Recipe.model_validate(row.recipe),
        files=tuple(ContextFile.model_validate(file) for file in row.files),
        dockerfile=row.dockerfile,
        made_by=row.made_by,
        asked_at=row.asked_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        cancel_asked=row.cancel_asked,
        reference=row.reference,
        digest=row.digest,
        size_bytes=row.size_bytes,
        git_commit=row.git_commit,
        end_code=row.end_code,
        end_params=row.end_params,
        removed_at=row.removed_at,
    )
