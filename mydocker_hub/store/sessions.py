"""Sessions in the calendar: booked, changed, cancelled, decided upon, and found again.

Who may do it is asked of `domain.access` by the caller; here only what is consistent is held.
One occurrence of a series that was changed or cancelled is a row of its own, which stands for it
once it is approved; until then, and where it was refused, the series' own takes place.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Text, and_, cast, exists, or_, select
from sqlalchemy.orm import Session

from ..domain import calendar, environment
from ..domain.calendar import DEFAULT_SITE, Occurrence, SessionState, Site
from ..domain.environment import Environment
from ..domain.errors import Conflict, Invalid, NotFound
from ..domain.people import Person
from . import reading
from .editing import audit
from .reading import Found
from .tables import EnrolmentRow, EnvironmentRow, PersonRow, RightRow, SessionRow

PUBLIC_STATES = frozenset({SessionState.APPROVED, SessionState.CANCELLED})
"""What everybody hears of; the rest is for the people who work on the environment."""


@dataclass(frozen=True)
class Booked:
    """A session as it was booked.

    `title` is the environment's. `replaced` are the days of a series for which a row of its own
    stands, approved or cancelled; that row has the `series_id` and, in `replaces_at`, the instant
    at which the series' own occurrence would start.
    """

    id: int
    uid: str
    environment_id: int
    slug: str
    title: environment.Text
    session: calendar.Session
    state: SessionState
    series_id: int | None
    replaces_at: datetime | None
    replaced: frozenset[date]
    sequence: int
    made_by: str
    made_at: datetime
    changed_at: datetime
    decided_by: str
    decided_at: datetime | None
    reason: str

    @property
    def effective(self) -> calendar.Session:
        """The session without the days for which rows of their own stand."""
        if not self.replaced:
            return self.session
        left_out = tuple(sorted({*self.session.left_out, *self.replaced}))
        return self.session.model_copy(update={"left_out": left_out})

    def occurrences(self, after: datetime, before: datetime) -> Iterator[Occurrence]:
        """When it takes place, or would, but for what other rows stand for."""
        return calendar.occurrences(self.effective, after, before)


Time = tuple[datetime, datetime, int]
"""From when to when a session takes place, or would, and its id.

A page looks at tens of thousands: plain tuples of these are what Python's collector of garbage
does not have to look at again and again.
"""


# --- finding -------------------------------------------------------------------------------------


def get(session: Session, session_id: int) -> Booked:
    """One session. Raises `NotFound`."""
    found = _find(session, SessionRow.id == session_id)
    if not found:
        raise NotFound("session-unknown")
    return found[0]


def between(
    session: Session,
    after: datetime,
    before: datetime,
    *,
    person: Person | None = None,
    environment_id: int | None = None,
    states: Collection[SessionState] | None = None,
) -> list[Booked]:
    """The sessions that may take place between two instants, in order of their first one.

    With `person`, those of what they are enrolled in or work on, and what waits or was refused
    only of the latter. With `environment_id`, those of one environment.
    """
    return _find(session, *_within(after, before, person, environment_id, states))


def times(
    session: Session,
    after: datetime,
    before: datetime,
    *,
    person: Person | None = None,
    environment_id: int | None = None,
    states: Collection[SessionState] | None = None,
) -> list[Time]:
    """When those sessions take place between two instants, in order; `some` has the sessions.

    A page shows a few of thousands: what it does not is not read.
    """
    conditions = _within(after, before, person, environment_id, states)
    rows = session.execute(
        select(SessionRow.id, cast(SessionRow.definition, Text)).where(*conditions)
    ).all()
    replaced = _replaced(session, conditions) if rows else {}
    found: list[Time] = []
    for row_id, text in rows:
        definition = _definition(text)
        slots = calendar.occurrences(definition, after, before)
        if row_id in replaced:
            left_out = {definition.day_of(at) for at in replaced[row_id]}
            slots = (slot for slot in slots if definition.day_of(slot.starts) not in left_out)
        found += [(starts, ends, row_id) for starts, ends in slots]
    found.sort()
    return found


def some(session: Session, session_ids: Collection[int]) -> dict[int, Booked]:
    """These sessions by their ids, as far as they are there."""
    return {one.id: one for one in _find(session, SessionRow.id.in_(list(session_ids)))}


def of_environment(
    session: Session, environment_id: int, *, states: Collection[SessionState] | None = None
) -> list[Booked]:
    """Every session of an environment, past ones too, in order of their first one."""
    conditions: list[ColumnElement[bool]] = [SessionRow.environment_id == environment_id]
    if states is not None:
        conditions.append(SessionRow.state.in_(states))
    return _find(session, *conditions)


def waiting(session: Session) -> list[Booked]:
    """What waits for an administrator, the session that comes first before the others."""
    return _find(session, SessionRow.state == SessionState.REQUESTED)


def upcoming(session: Session, now: datetime, within: timedelta) -> list[tuple[Booked, Occurrence]]:
    """What takes place now or begins within some time, approved, in order of its start."""
    found = between(session, now, now + within, states=[SessionState.APPROVED])
    pairs = [(booked, one) for booked in found for one in booked.occurrences(now, now + within)]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0].id))


def approved(
    session: Session, environment_ids: Collection[int], around: datetime
) -> dict[int, list[calendar.Session]]:
    """What `domain.calendar.opening` asks for, of each environment; nothing where there is none.

    Sessions within `LONGEST_LOOK` of `around`; what rows of their own stand for is left out.
    """
    found = defaultdict(list)
    look = calendar.LONGEST_LOOK
    for booked in _find(
        session,
        SessionRow.environment_id.in_(list(environment_ids)),
        SessionRow.state == SessionState.APPROVED,
        SessionRow.first_at < around + look,
        _ends_after(around - look),
    ):
        found[booked.environment_id].append(booked.effective)
    return dict(found)


def opened(session: Session, found: Iterable[Found], now: datetime, site: Site) -> list[Found]:
    """The same environments, with whether their sessions let each be started now."""
    found = list(found)
    if not found:
        return found
    by_environment = approved(session, {item.id for item in found}, now)
    return [_opened(item, by_environment.get(item.id, []), now, site) for item in found]


def opened_one(session: Session, found: Found, now: datetime, site: Site) -> Found:
    """The same for one environment."""
    return opened(session, [found], now, site)[0]


def _opened(found: Found, booked: Iterable[calendar.Session], now: datetime, site: Site) -> Found:
    rules = found.environment.sessions
    standing = found.standing
    opening = calendar.opening(
        calendar.effect_of(rules, site),
        rules,
        booked,
        now,
        enrolled=standing.listed or standing.invited,  # its teacher gave a link, or named them
    )
    return replace(found, standing=replace(standing, opening=opening))


def overlapping(
    session: Session,
    environment_id: int,
    wanted: calendar.Session,
    *,
    but: int | None = None,
) -> list[tuple[Booked, Occurrence]]:
    """The other sessions of an environment that take place meanwhile, each with the first time.

    `but` is the session itself, which is being changed; what stands for days of it does not count.
    """
    if not calendar.takes_place(wanted):
        return []
    first, last = calendar.bounds(wanted)
    states = [SessionState.APPROVED, SessionState.REQUESTED]
    found = []
    for booked in between(session, first, last, environment_id=environment_id, states=states):
        if but is not None and but in {booked.id, booked.series_id}:
            continue
        pairs = calendar.overlaps(wanted, booked.effective)
        if pairs:
            found.append((booked, pairs[0][1]))
    return found


def _within(
    after: datetime,
    before: datetime,
    person: Person | None,
    environment_id: int | None,
    states: Collection[SessionState] | None,
) -> list[ColumnElement[bool]]:
    conditions = [SessionRow.first_at < before, _ends_after(after)]
    if person is not None:
        conditions.append(_of_person(person))
    if environment_id is not None:
        conditions.append(SessionRow.environment_id == environment_id)
    if states is not None:
        conditions.append(SessionRow.state.in_(states))
    return conditions


def _ends_after(after: datetime) -> ColumnElement[bool]:
    return or_(SessionRow.last_at.is_(None), SessionRow.last_at > after)


def _of_person(person: Person) -> ColumnElement[bool]:
    me = select(PersonRow.id).where(PersonRow.name == person.name).scalar_subquery()
    enrolled = exists().where(
        EnrolmentRow.environment_id == SessionRow.environment_id,
        EnrolmentRow.person_id == me,
        EnrolmentRow.left_at.is_(None),
    )
    right = exists().where(
        RightRow.environment_id == SessionRow.environment_id, RightRow.person_id == me
    )
    return or_(and_(enrolled, SessionRow.state.in_(PUBLIC_STATES)), right)


def _find(session: Session, *conditions: ColumnElement[bool]) -> list[Booked]:
    title = EnvironmentRow.definition["title"]
    rows = session.execute(
        select(
            SessionRow.id,
            SessionRow.uid,
            SessionRow.environment_id,
            EnvironmentRow.slug,
            title["fr"].as_string().label("title_fr"),
            title["en"].as_string().label("title_en"),
            cast(SessionRow.definition, Text).label("definition"),
            SessionRow.state,
            SessionRow.series_id,
            SessionRow.replaces_at,
            SessionRow.sequence,
            SessionRow.made_by,
            SessionRow.made_at,
            SessionRow.changed_at,
            SessionRow.decided_by,
            SessionRow.decided_at,
            SessionRow.reason,
        )
        .join(EnvironmentRow, EnvironmentRow.id == SessionRow.environment_id)
        .where(*conditions)
        .order_by(SessionRow.first_at, SessionRow.id)
    ).all()
    replaced = _replaced(session, conditions) if rows else {}
    return [_booked(row, replaced.get(row.id, ())) for row in rows]


def _replaced(
    session: Session, conditions: Iterable[ColumnElement[bool]]
) -> dict[int, list[datetime]]:
    """Of each series, when what rows of their own stand for would start."""
    series = select(SessionRow.id).where(*conditions).scalar_subquery()
    found: dict[int, list[datetime]] = defaultdict(list)
    for series_id, at in session.execute(_standing_for(series)):
        found[series_id].append(at)
    return found


def _standing_for(series: Any) -> Any:
    return select(SessionRow.series_id, SessionRow.replaces_at).where(
        SessionRow.series_id.in_(series), SessionRow.state.in_(PUBLIC_STATES)
    )


def _booked(row: Any, replaced: Iterable[datetime]) -> Booked:
    definition = _definition(row.definition)
    return Booked(
        id=row.id,
        uid=row.uid,
        environment_id=row.environment_id,
        slug=row.slug,
        title=_title(row.title_fr, row.title_en),
        session=definition,
        state=SessionState(row.state),
        series_id=row.series_id,
        replaces_at=row.replaces_at,
        replaced=frozenset(definition.day_of(at) for at in replaced),
        sequence=row.sequence,
        made_by=row.made_by,
        made_at=row.made_at,
        changed_at=row.changed_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        reason=row.reason,
    )


# To check a definition takes longer than all the rest of a calendar's page; as in `reading`.
@lru_cache(maxsize=8192)
def _definition(text: str) -> calendar.Session:
    return calendar.Session.model_validate_json(text)


@lru_cache(maxsize=2048)
def _title(french: str, english: str) -> environment.Text:
    return environment.Text(fr=french, en=english)


# --- changing ------------------------------------------------------------------------------------


def book(
    session: Session,
    slug: str,
    wanted: calendar.Session,
    actor: Person,
    now: datetime,
    site: Site = DEFAULT_SITE,
) -> Booked:
    """Put a session into the calendar; it waits for an administrator where the site says so."""
    found = _environment(session, slug)
    row = SessionRow(
        uid=f"{uuid.uuid4()}@mydocker-hub",
        environment_id=found.id,
        sequence=0,
        made_by=actor.name,
        made_at=now,
    )
    _write(session, row, wanted, found, actor, now, site, agreed=None)
    session.add(row)
    session.flush()
    audit(session, actor.name, "session-booked", slug, now, id=row.id, state=row.state)
    return get(session, row.id)


def change(
    session: Session,
    session_id: int,
    wanted: calendar.Session,
    actor: Person,
    now: datetime,
    site: Site = DEFAULT_SITE,
    *,
    expected_sequence: int,
    at: datetime | None = None,
) -> Booked:
    """Change a session, or of a series the occurrence that starts `at` an instant.

    What was agreed to and becomes no larger stays so. Occurrences that were changed one by one
    follow a series to its new hours, and go with the days that it no longer has. Raises
    `Conflict` if somebody else changed it meanwhile or it was cancelled, `NotFound` where there is
    no such occurrence.
    """
    row, found = _locked(session, session_id, expected_sequence)
    if at is not None:
        row = _one_of(session, row, at, actor, now)
    if row.series_id is not None and wanted.rule is not None:
        raise Invalid(problems=[("rule", "one session of a series has no rule of its own")])
    agreed = _agreed(session, row)
    _write(session, row, wanted, found, actor, now, site, agreed=agreed)
    row.sequence += 1
    session.flush()
    if row.series_id is None:
        _follow(session, row, wanted)
    audit(session, actor.name, "session-changed", found.slug, now, id=row.id, state=row.state)
    return get(session, row.id)


def change_following(
    session: Session,
    session_id: int,
    wanted: calendar.Session,
    actor: Person,
    now: datetime,
    site: Site = DEFAULT_SITE,
    *,
    expected_sequence: int,
    at: datetime,
) -> Booked:
    """Change what of a series starts `at` an instant or later, which is a series of its own then.

    What was before stays as it is. Raises as `change` does.
    """
    row, found, rest = _cut(session, session_id, expected_sequence, at, now)
    if rest is None:
        return change(
            session, session_id, wanted, actor, now, site, expected_sequence=expected_sequence
        )
    agreed = rest if row.state == SessionState.APPROVED else None
    new = _tail(row, actor, now)
    _write(session, new, wanted, found, actor, now, site, agreed=agreed)
    session.add(new)
    session.flush()
    _hand_over(session, row, new, at)
    _follow(session, new, wanted)
    audit(
        session, actor.name, "session-changed", found.slug, now, id=new.id, state=new.state,
        series=row.id,
    )  # fmt: skip
    return get(session, new.id)


def cancel_following(
    session: Session,
    session_id: int,
    actor: Person,
    now: datetime,
    *,
    expected_sequence: int,
    at: datetime,
    reason: str = "",
) -> Booked:
    """Say that of a series nothing takes place that starts `at` an instant or later.

    Of its own state it is as after `cancel`. Raises as `change` does.
    """
    row, found, rest = _cut(session, session_id, expected_sequence, at, now)
    if rest is None:
        return cancel(
            session, session_id, actor, now, expected_sequence=expected_sequence, reason=reason
        )
    new = _tail(row, actor, now)
    _set(new, rest)
    new.state, new.reason = _called_off(row.state), reason
    session.add(new)
    session.flush()
    for day in _hand_over(session, row, new, at):
        day.state, day.reason = _called_off(day.state), reason
    session.flush()
    audit(
        session, actor.name, "session-cancelled", found.slug, now, id=new.id, reason=reason,
        series=row.id,
    )  # fmt: skip
    return get(session, new.id)


def cancel(
    session: Session,
    session_id: int,
    actor: Person,
    now: datetime,
    *,
    expected_sequence: int,
    reason: str = "",
    at: datetime | None = None,
) -> Booked:
    """Say that a session does not take place, or of a series the occurrence that starts `at`.

    It stays in the calendar as cancelled; what nobody had agreed to is withdrawn, and was never
    announced. Raises as `change` does.
    """
    row, found = _locked(session, session_id, expected_sequence)
    if at is not None:
        row = _one_of(session, row, at, actor, now)
    # Of a day that was to change, the one that the series has was agreed to.
    row.state = _called_off(SessionState.APPROVED if _agreed(session, row) else row.state)
    rows = [row]
    if row.series_id is None:
        days = list(session.scalars(select(SessionRow).where(SessionRow.series_id == row.id)))
        for day in days:
            day.state = _called_off(day.state)
        rows += days
    for one_row in rows:
        one_row.reason = reason
        one_row.sequence += 1
        one_row.changed_at = now
    session.flush()
    audit(session, actor.name, "session-cancelled", found.slug, now, id=row.id, reason=reason)
    return get(session, row.id)


def decide(
    session: Session,
    session_id: int,
    actor: Person,
    *,
    approved: bool,
    reason: str = "",
    now: datetime,
    expected_sequence: int,
) -> Booked:
    """Answer a request. Raises `Conflict` where somebody has, or it was changed meanwhile.

    (An administrator who changes a session agrees to what it becomes: `change`.)
    """
    row, found = _locked(session, session_id, expected_sequence)
    if row.state != SessionState.REQUESTED:
        raise Conflict("session-decided", name=row.decided_by)
    row.state = SessionState.APPROVED if approved else SessionState.REFUSED
    row.decided_by, row.decided_at, row.reason = actor.name, now, reason
    row.changed_at = now
    row.sequence += 1
    session.flush()
    action = "session-approved" if approved else "session-refused"
    audit(session, actor.name, action, found.slug, now, id=row.id, reason=reason)
    return get(session, row.id)


def copy(
    session: Session,
    session_ids: Collection[int],
    actor: Person,
    now: datetime,
    site: Site = DEFAULT_SITE,
    *,
    first: date,
    until: date | None = None,
    left_out: Collection[date] = (),
) -> list[Booked]:
    """Book sessions again at new dates: the first of them from `first` on, the others as far apart.

    Each series keeps its weekdays. Raises `Invalid` where nothing of one would be left.
    """
    found = [get(session, one) for one in sorted(set(session_ids))]
    if not found:
        return []
    origin = min(booked.session.starts.date() for booked in found)
    copies = []
    for booked in found:
        old = booked.session
        day = first + (old.starts.date() - origin)
        try:
            wanted = calendar.moved(old, day, until=until, left_out=tuple(left_out))
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False)[0]["msg"]
            raise Invalid(problems=[("first", told.removeprefix("Value error, "))]) from None
        copies.append(book(session, booked.slug, wanted, actor, now, site))
    return copies


@dataclass(frozen=True)
class _Environment:
    id: int
    slug: str
    definition: Environment


def _environment(session: Session, slug: str) -> _Environment:
    row = session.execute(
        select(EnvironmentRow.id, EnvironmentRow.definition).where(EnvironmentRow.slug == slug)
    ).first()
    if row is None:
        raise NotFound("environment-unknown", environment=slug)
    return _Environment(row.id, slug, Environment.model_validate(row.definition))


def _locked(
    session: Session, session_id: int, expected_sequence: int
) -> tuple[SessionRow, _Environment]:
    row = session.scalar(select(SessionRow).where(SessionRow.id == session_id).with_for_update())
    if row is None:
        raise NotFound("session-unknown")
    if row.sequence != expected_sequence:
        raise Conflict("changed-meanwhile")
    if row.state in {SessionState.CANCELLED, SessionState.WITHDRAWN}:
        raise Conflict("session-cancelled")
    slug = session.scalars(
        select(EnvironmentRow.slug).where(EnvironmentRow.id == row.environment_id)
    ).one()
    return row, _environment(session, slug)


def _one_of(
    session: Session, series: SessionRow, at: datetime, actor: Person, now: datetime
) -> SessionRow:
    """The row that stands for one occurrence of a series: the one there is, or an equal one."""
    definition = _definition_of(series)
    one = calendar.occurrence_at(definition, at)
    if definition.rule is None or one is None:
        raise NotFound("session-unknown")
    row = session.scalar(
        select(SessionRow).where(SessionRow.series_id == series.id, SessionRow.replaces_at == at)
    )
    if row is None:
        row = SessionRow(
            uid=series.uid,
            environment_id=series.environment_id,
            series_id=series.id,
            replaces_at=one.starts,
            state=series.state,
            sequence=series.sequence,
            made_by=actor.name,
            made_at=now,
            changed_at=now,
        )
        _set(row, calendar.single(definition, one))
        session.add(row)
    return row


def _cut(
    session: Session, session_id: int, expected_sequence: int, at: datetime, now: datetime
) -> tuple[SessionRow, _Environment, calendar.Session | None]:
    """End a series before what starts `at` an instant; what is cut off, or None: all of it."""
    row, found = _locked(session, session_id, expected_sequence)
    try:
        first, rest = calendar.split(_definition_of(row), at)
    except LookupError:
        raise NotFound("session-unknown") from None
    if first is None:
        return row, found, None
    _set(row, first)
    row.changed_at = now
    row.sequence += 1
    return row, found, rest


def _tail(series: SessionRow, actor: Person, now: datetime) -> SessionRow:
    return SessionRow(
        uid=f"{uuid.uuid4()}@mydocker-hub",
        environment_id=series.environment_id,
        sequence=0,
        made_by=actor.name,
        made_at=now,
        changed_at=now,
    )


def _hand_over(
    session: Session, series: SessionRow, new: SessionRow, at: datetime
) -> list[SessionRow]:
    """Let what stands for days of a series from an instant on stand for those of another one."""
    rows = list(
        session.scalars(
            select(SessionRow).where(
                SessionRow.series_id == series.id, SessionRow.replaces_at >= at
            )
        )
    )
    for row in rows:
        row.series_id, row.uid = new.id, new.uid
        row.sequence += 1
    session.flush()
    return rows


def _called_off(state: str) -> SessionState:
    """The state of what does not take place: what was never agreed to is nobody's to hear of."""
    never = {SessionState.REQUESTED, SessionState.REFUSED, SessionState.WITHDRAWN}
    return SessionState.WITHDRAWN if state in never else SessionState.CANCELLED


def _agreed(session: Session, row: SessionRow) -> calendar.Session | None:
    """What was agreed to of a session that is about to change, if anything."""
    if row.state == SessionState.APPROVED:
        return _definition_of(row)
    if row.series_id is not None and row.replaces_at is not None:
        series = session.get_one(SessionRow, row.series_id)
        one = calendar.occurrence_at(_definition_of(series), row.replaces_at)
        if series.state == SessionState.APPROVED and one is not None:
            return calendar.single(_definition_of(series), one)
    return None


def _write(
    session: Session,
    row: SessionRow,
    wanted: calendar.Session,
    found: _Environment,
    actor: Person,
    now: datetime,
    site: Site,
    *,
    agreed: calendar.Session | None,
) -> None:
    compute_type = reading.compute_type(session, found.definition.resources.compute_type)
    waits = calendar.needs_approval(wanted, site, compute_type, agreed)
    _set(row, wanted)
    row.changed_at = now
    before, row.state = row.state, SessionState.APPROVED
    if waits and not actor.is_admin:
        row.state = SessionState.REQUESTED
    if waits and actor.is_admin:
        row.decided_by, row.decided_at, row.reason = actor.name, now, ""
    elif row.state != before:
        row.decided_by, row.decided_at, row.reason = "", None, ""


def _set(row: SessionRow, wanted: calendar.Session) -> None:
    row.definition = wanted.model_dump(mode="json")
    row.first_at, row.last_at = calendar.bounds(wanted)


def _definition_of(row: SessionRow) -> calendar.Session:
    return calendar.Session.model_validate(row.definition)


def _follow(session: Session, series: SessionRow, wanted: calendar.Session) -> None:
    """Let what stands for single days of a series stand for them at their new hours."""
    starts = {
        wanted.day_of(one.starts): one.starts
        for one in calendar.occurrences(wanted, *calendar.bounds(wanted))
    }
    for row in session.scalars(select(SessionRow).where(SessionRow.series_id == series.id)):
        assert row.replaces_at is not None  # noqa: S101 - it stands for something
        at = starts.get(wanted.day_of(row.replaces_at))
        if at is None:
            session.delete(row)
        else:
            row.replaces_at = at
    session.flush()
