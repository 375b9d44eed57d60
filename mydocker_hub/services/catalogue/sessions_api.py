"""Sessions in the calendar: who may see, book, change, cancel and decide, and the REST API of it.

Who works on an environment books its sessions; administrators decide on those that wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from ...domain import calendar
from ...domain.access import works_on
from ...domain.calendar import Day, Occurrence, SessionState, Site
from ...domain.environment import Model, PlainText, Slug, Text, YesNo
from ...domain.errors import Invalid, NotFound, Refused
from ...domain.mails import told
from ...domain.people import Person
from ...store import mails, reading, sessions
from ...store.database import Session
from ...store.sessions import Booked
from ...web.operations import Answer, Operation
from . import api
from .api import ApiCall

LONGEST_WINDOW = timedelta(days=400)
_WINDOW = timedelta(days=31)

Reason = Annotated[PlainText, Field(max_length=1000)]


# --- who may -------------------------------------------------------------------------------------


def visible(session: Session, session_id: int, person: Person) -> Booked:
    """A session that the person may see; any other one does not exist for them.

    What waits, or was refused, is seen by the people who work on its environment alone.
    """
    booked = sessions.get(session, session_id)
    found = reading.find(session, booked.slug, person)
    works = works_on(person, found.environment, found.standing)
    if not works and booked.state not in sessions.PUBLIC_STATES:
        raise NotFound("session-unknown")
    try:
        api.visible(session, booked.slug, person)
    except NotFound:
        raise NotFound("session-unknown") from None
    return booked


def editable(session: Session, session_id: int, person: Person) -> Booked:
    """A session of an environment that the person may edit."""
    api.only_teachers(person)
    booked = visible(session, session_id, person)
    api.editable(session, booked.slug, person)
    return booked


def only_admins(person: Person) -> None:
    if not person.is_admin:
        raise Refused("not-allowed")


# --- what they do --------------------------------------------------------------------------------


def listed(
    session: Session,
    person: Person,
    after: datetime,
    before: datetime,
    *,
    everything: bool = False,
    states: Collection[SessionState] | None = None,
) -> list[Booked]:
    """What is in a person's calendar between two instants; `everything` is for administrators.

    Raises `Invalid` for a window that ends before it begins, or is longer than `LONGEST_WINDOW`.
    """
    if everything:
        only_admins(person)
    if not after < before <= after + LONGEST_WINDOW:
        days = LONGEST_WINDOW.days
        raise Invalid(problems=[("before", f"write a moment at most {days} days after the other")])
    whose = None if everything else person
    return sessions.between(session, after, before, person=whose, states=states)


def of_environment(session: Session, slug: str, person: Person) -> list[Booked]:
    """Every session of an environment, as far as this person may know of it."""
    found = api.visible(session, slug, person)
    works = works_on(person, found.environment, found.standing)
    return sessions.of_environment(
        session, found.id, states=None if works else sessions.PUBLIC_STATES
    )


def book(
    session: Session, slug: str, wanted: calendar.Session, person: Person, now: datetime, site: Site
) -> Booked:
    """Book a session of an environment; one that waits is told to administrators."""
    api.editable(session, slug, person)
    booked = sessions.book(session, slug, wanted, person, now, site)
    if site.mails:
        mails.tell(session, booked, told(None, booked.state, changed=True), person.name, now)
    return booked


def change(
    session: Session,
    session_id: int,
    wanted: calendar.Session,
    person: Person,
    now: datetime,
    site: Site,
    *,
    expected_sequence: int,
    at: datetime | None = None,
) -> Booked:
    """Change a session, or of a series what starts `at` an instant; others are told."""
    before, state = _as_it_is(session, editable(session, session_id, person), at)
    booked = sessions.change(
        session,
        session_id,
        wanted,
        person,
        now,
        site,
        expected_sequence=expected_sequence,
        at=at,
    )
    if site.mails:
        what = told(state, booked.state, changed=booked.session != before)
        mails.tell(session, booked, what, person.name, now, before=before)
    return booked


def cancel(
    session: Session,
    session_id: int,
    person: Person,
    now: datetime,
    site: Site,
    *,
    expected_sequence: int,
    reason: str = "",
    at: datetime | None = None,
) -> Booked:
    """Cancel a session, or of a series what starts `at` an instant; others are told."""
    _, state = _as_it_is(session, editable(session, session_id, person), at)
    booked = sessions.cancel(
        session, session_id, person, now, expected_sequence=expected_sequence, reason=reason, at=at
    )
    if site.mails:
        what = told(state, booked.state, changed=False)
        mails.tell(session, booked, what, person.name, now)
    return booked


def change_following(
    session: Session,
    session_id: int,
    wanted: calendar.Session,
    person: Person,
    now: datetime,
    site: Site,
    *,
    expected_sequence: int,
    at: datetime,
) -> Booked:
    """Change what of a series starts `at` an instant or later; others are told."""
    before, state = _from(editable(session, session_id, person), at)
    booked = sessions.change_following(
        session, session_id, wanted, person, now, site, expected_sequence=expected_sequence, at=at
    )
    if site.mails:
        what = told(state, booked.state, changed=booked.session != before)
        mails.tell(session, booked, what, person.name, now, before=before)
    return booked


def cancel_following(
    session: Session,
    session_id: int,
    person: Person,
    now: datetime,
    site: Site,
    *,
    expected_sequence: int,
    reason: str = "",
    at: datetime,
) -> Booked:
    """Cancel what of a series starts `at` an instant or later; others are told."""
    _, state = _from(editable(session, session_id, person), at)
    booked = sessions.cancel_following(
        session, session_id, person, now, expected_sequence=expected_sequence, reason=reason, at=at
    )
    if site.mails:
        mails.tell(session, booked, told(state, booked.state, changed=False), person.name, now)
    return booked


def _from(booked: Booked, at: datetime) -> tuple[calendar.Session, SessionState]:
    try:
        return calendar.split(booked.session, at)[1], booked.state
    except LookupError:
        raise NotFound("session-unknown") from None


def _as_it_is(
    session: Session, booked: Booked, at: datetime | None
) -> tuple[calendar.Session, SessionState]:
    """What is about to change: a session, or what takes place for the day of a series."""
    if at is None:
        return booked.session, booked.state
    for one in sessions.of_environment(session, booked.environment_id):
        if one.series_id == booked.id and one.replaces_at == at:
            return one.session, one.state
    occurrence = calendar.occurrence_at(booked.session, at)
    if occurrence is None:
        raise NotFound("session-unknown")
    return calendar.single(booked.session, occurrence), booked.state


def decide(
    session: Session,
    session_id: int,
    person: Person,
    *,
    approved: bool,
    reason: str,
    now: datetime,
    site: Site,
    expected_sequence: int,
) -> Booked:
    """Answer a request (administrators); who refuses says why, and its teacher is told."""
    only_admins(person)
    if not approved and not reason.strip():
        raise Invalid(problems=[("reason", "say why: it is what the teacher is told")])
    booked = sessions.decide(
        session,
        session_id,
        person,
        approved=approved,
        reason=reason.strip(),
        now=now,
        expected_sequence=expected_sequence,
    )
    if site.mails:
        what = told(SessionState.REQUESTED, booked.state, changed=False, decided=True)
        mails.tell(session, booked, what, person.name, now)
    return booked


def copy(
    session: Session,
    slug: str,
    session_ids: Collection[int],
    person: Person,
    now: datetime,
    site: Site,
    *,
    first: date,
    until: date | None = None,
    left_out: Collection[date] = (),
) -> list[Booked]:
    """Book sessions of an environment again at new dates; changes of single days are not copied.

    Raises `NotFound` where one is of another environment, or stands for a day of a series.
    """
    found = api.editable(session, slug, person)
    for session_id in session_ids:
        booked = sessions.get(session, session_id)
        if booked.environment_id != found.id or booked.series_id is not None:
            raise NotFound("session-unknown")
    copies = sessions.copy(
        session, session_ids, person, now, site, first=first, until=until, left_out=left_out
    )
    waiting = [one for one in copies if one.state is SessionState.REQUESTED]
    if site.mails and waiting:  # one mail for all of them
        what = told(None, SessionState.REQUESTED, changed=True)
        mails.tell(session, waiting[0], what, person.name, now, more=len(waiting) - 1)
    return copies


# --- models --------------------------------------------------------------------------------------


class Slot(Model):
    """One time that a session takes place."""

    starts: datetime
    ends: datetime


class Overlap(Model):
    """Another session of the same environment that takes place meanwhile, and when first."""

    id: int
    title: str | None
    starts: datetime
    ends: datetime


class SessionSummary(Model):
    """A session as it was booked. `title` is the environment's, `session.title` its own.

    One that stands for a single day of a series has the `series`, and in `replaces` the instant at
    which that would start. `slots` are those of the window that was asked for. `made_by` and
    `decided_by` are told to the people who work on the environment.
    """

    id: int
    uid: str
    environment: Slug
    title: Text
    session: calendar.Session
    state: SessionState
    series: int | None
    replaces: datetime | None
    version: int
    changed_at: datetime
    reason: str
    made_by: str | None = None
    decided_by: str | None = None
    slots: tuple[Slot, ...] = ()

    @classmethod
    def of(cls, booked: Booked, *, works: bool, slots: Iterable[Occurrence] = ()) -> SessionSummary:
        return cls(
            id=booked.id,
            uid=booked.uid,
            environment=booked.slug,
            title=booked.title,
            session=booked.session,
            state=booked.state,
            series=booked.series_id,
            replaces=booked.replaces_at,
            version=booked.sequence + 1,
            changed_at=booked.changed_at,
            # Of others, only why it does not take place: the rest is between those who decide.
            reason=booked.reason if works or booked.state is SessionState.CANCELLED else "",
            made_by=booked.made_by if works else None,
            decided_by=booked.decided_by if works else None,
            slots=tuple(Slot(starts=one.starts, ends=one.ends) for one in slots),
        )


class SessionDetail(SessionSummary):
    """With what else takes place meanwhile, for the people who work on the environment."""

    overlaps: tuple[Overlap, ...] = ()


class SessionList(Model):
    items: tuple[SessionSummary, ...]


class SessionQuery(Model):
    """Without `after`, from now on; without `before`, a month."""

    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    show: Literal["mine", "all"] = "mine"
    state: SessionState | None = None


class CancelQuery(Model):
    reason: Reason = ""


class DecisionRequest(Model):
    approved: YesNo
    reason: Reason = ""


class CopySessionsRequest(Model):
    """`sessions`: which ones; `until` and `left_out` are for all that are repeated."""

    sessions: tuple[Annotated[int, Field(ge=1, lt=10**18, strict=True)], ...] = Field(
        min_length=1, max_length=200
    )
    first: Day
    until: Day | None = None
    left_out: tuple[Day, ...] = Field(default=(), max_length=366)


# --- operations ----------------------------------------------------------------------------------


def _works(session: Session, slug: str, person: Person) -> bool:
    if person.is_admin:
        return True
    found = reading.find(session, slug, person)
    return works_on(person, found.environment, found.standing)


def _detail(session: Session, call: ApiCall, booked: Booked) -> Answer:
    works = _works(session, booked.slug, call.me)
    summary = SessionSummary.of(booked, works=works)
    overlaps = (
        sessions.overlapping(session, booked.environment_id, booked.effective, but=booked.id)
        if works and booked.state in {SessionState.APPROVED, SessionState.REQUESTED}
        else []
    )
    detail = SessionDetail(
        **{name: getattr(summary, name) for name in SessionSummary.model_fields},
        overlaps=tuple(
            Overlap(id=other.id, title=other.session.title, starts=one.starts, ends=one.ends)
            for other, one in overlaps
            if other.id not in {booked.series_id}
        ),
    )
    return Answer(detail, version=summary.version, location=f"sessions/{booked.id}")


def _list(session: Session, call: ApiCall) -> Answer:
    query: SessionQuery = call.query
    try:
        after = (query.after or call.now).astimezone(UTC)
        before = (query.before or after + _WINDOW).astimezone(UTC)
    except OverflowError:
        raise Invalid(problems=[("after", "write a moment of this century")]) from None
    found = listed(
        session,
        call.me,
        after,
        before,
        everything=query.show == "all",
        states=None if query.state is None else [query.state],
    )
    works = {slug: _works(session, slug, call.me) for slug in {booked.slug for booked in found}}
    items = []
    for booked in found:
        slots = list(booked.occurrences(after, before))
        if slots:
            items.append(SessionSummary.of(booked, works=works[booked.slug], slots=slots))
    return Answer(SessionList(items=tuple(items)))


def _of_environment(session: Session, call: ApiCall) -> Answer:
    found = of_environment(session, call.path["slug"], call.me)
    works = _works(session, call.path["slug"], call.me)
    return Answer(
        SessionList(items=tuple(SessionSummary.of(booked, works=works) for booked in found))
    )


def _book(session: Session, call: ApiCall) -> Answer:
    booked = book(session, call.path["slug"], call.body, call.me, call.now, call.context.sessions)
    return _detail(session, call, booked)


def _copy(session: Session, call: ApiCall) -> Answer:
    asked: CopySessionsRequest = call.body
    copies = copy(
        session,
        call.path["slug"],
        asked.sessions,
        call.me,
        call.now,
        call.context.sessions,
        first=asked.first,
        until=asked.until,
        left_out=asked.left_out,
    )
    return Answer(SessionList(items=tuple(SessionSummary.of(one, works=True) for one in copies)))


def _get(session: Session, call: ApiCall) -> Answer:
    return _detail(session, call, visible(session, _id(call), call.me))


def _put(session: Session, call: ApiCall) -> Answer:
    editable(session, _id(call), call.me)
    booked = change(
        session,
        _id(call),
        call.body,
        call.me,
        call.now,
        call.context.sessions,
        expected_sequence=call.expected_version() - 1,
        at=_instant(call),
    )
    return _detail(session, call, booked)


def _delete(session: Session, call: ApiCall) -> Answer:
    query: CancelQuery = call.query
    editable(session, _id(call), call.me)
    cancel(
        session,
        _id(call),
        call.me,
        call.now,
        call.context.sessions,
        expected_sequence=call.expected_version() - 1,
        reason=query.reason,
        at=_instant(call),
    )
    return Answer()


def _put_following(session: Session, call: ApiCall) -> Answer:
    editable(session, _id(call), call.me)
    booked = change_following(
        session,
        _id(call),
        call.body,
        call.me,
        call.now,
        call.context.sessions,
        expected_sequence=call.expected_version() - 1,
        at=_some_instant(call),
    )
    return _detail(session, call, booked)


def _delete_following(session: Session, call: ApiCall) -> Answer:
    query: CancelQuery = call.query
    editable(session, _id(call), call.me)
    cancel_following(
        session,
        _id(call),
        call.me,
        call.now,
        call.context.sessions,
        expected_sequence=call.expected_version() - 1,
        reason=query.reason,
        at=_some_instant(call),
    )
    return Answer()


def _decide(session: Session, call: ApiCall) -> Answer:
    asked: DecisionRequest = call.body
    only_admins(call.me)
    booked = decide(
        session,
        _id(call),
        call.me,
        approved=asked.approved,
        reason=asked.reason,
        now=call.now,
        site=call.context.sessions,
        expected_sequence=call.expected_version() - 1,
    )
    return _detail(session, call, booked)


def _id(call: ApiCall) -> int:
    return int(call.path["session_id"])


def _instant(call: ApiCall) -> datetime | None:
    return _some_instant(call) if "instant" in call.path else None


def _some_instant(call: ApiCall) -> datetime:
    try:
        return datetime.strptime(call.path["instant"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotFound("session-unknown") from None


OPERATIONS: list[Operation] = [
    Operation(
        "GET", "/sessions", "listSessions",
        "What is in your calendar between two instants; `show=all` is for administrators.",
        _list, query=SessionQuery, returns=SessionList,
    ),
    Operation(
        "GET", "/sessions/{session_id}", "getSession",
        "One session, once or repeated.",
        _get, returns=SessionDetail, versioned=True,
    ),
    Operation(
        "PUT", "/sessions/{session_id}", "changeSession",
        "Change a session or a whole series; refused (412) if it changed since you read it.",
        _put, caller="teacher", body=calendar.Session, returns=SessionDetail,
        versioned=True, errors=(409,),
    ),
    Operation(
        "DELETE", "/sessions/{session_id}", "cancelSession",
        "Cancel a session or a whole series: it stays in the calendar as cancelled.",
        _delete, caller="teacher", query=CancelQuery, status=204, versioned=True, errors=(409,),
    ),
    Operation(
        "PUT", "/sessions/{session_id}/occurrences/{instant}", "changeOccurrence",
        "Change one day of a series; the instant is when the series' own would start. "
        "If-Match is of the series.",
        _put, caller="teacher", body=calendar.Session, returns=SessionDetail,
        versioned=True, errors=(409,),
    ),
    Operation(
        "DELETE", "/sessions/{session_id}/occurrences/{instant}", "cancelOccurrence",
        "Cancel one day of a series. If-Match is of the series.",
        _delete, caller="teacher", query=CancelQuery, status=204, versioned=True, errors=(409,),
    ),
    Operation(
        "PUT", "/sessions/{session_id}/occurrences/{instant}/following", "changeFollowing",
        "Change a series from one of its days on: that is a series of its own then, which is the "
        "answer. If-Match is of the series.",
        _put_following, caller="teacher", body=calendar.Session, returns=SessionDetail,
        versioned=True, errors=(409,),
    ),
    Operation(
        "DELETE", "/sessions/{session_id}/occurrences/{instant}/following", "cancelFollowing",
        "Cancel a series from one of its days on. If-Match is of the series.",
        _delete_following, caller="teacher", query=CancelQuery, status=204, versioned=True,
        errors=(409,),
    ),
    Operation(
        "PUT", "/sessions/{session_id}/decision", "decideOnSession",
        "Approve a session that waits, or refuse it with a reason (administrators).",
        _decide, caller="teacher", body=DecisionRequest, returns=SessionDetail,
        versioned=True, errors=(409,),
    ),
    Operation(
        "GET", "/environments/{slug}/sessions", "listSessionsOfEnvironment",
        "Every session of an environment, past ones too.",
        _of_environment, returns=SessionList,
    ),
    Operation(
        "POST", "/environments/{slug}/sessions", "bookSession",
        "Book a session; a large one waits for an administrator.",
        _book, caller="teacher", body=calendar.Session, returns=SessionDetail,
        status=201, versioned=True,
    ),
    Operation(
        "POST", "/environments/{slug}/sessions/copy", "copySessions",
        "Book sessions again at new dates: the first from a day on, the others as far apart.",
        _copy, caller="teacher", body=CopySessionsRequest, returns=SessionList, status=201,
    ),
]  # fmt: skip
