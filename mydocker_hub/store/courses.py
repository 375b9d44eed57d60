"""Courses of LTI platforms: who came from them, what they open, and a teacher's choice for one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..domain.access import may_edit, may_use
from ..domain.environment import Environment, JoinLink, Status
from ..domain.errors import NotFound, Refused
from ..domain.people import Person
from ..identity.claims import Course, CourseRole
from ..identity.platform import DeepLinkRequest
from . import editing, reading
from .editing import audit
from .reading import Found
from .tables import (
    CourseEnvironmentRow,
    CourseMemberRow,
    CourseRow,
    DeepLinkRow,
    EnvironmentRow,
    IdentityRow,
    LaunchRow,
    PersonRow,
    PlatformRow,
)

CHOICE_LASTS = timedelta(hours=1)


@dataclass(frozen=True)
class KeptCourse:
    id: int
    platform: int
    platform_name: str
    deployment: str
    context: str
    title: str
    memberships_url: str


@dataclass(frozen=True)
class Start:
    """How often somebody started an environment of the course, and when first and last."""

    environment: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Participant:
    """Somebody who came from a course. `subjects` are what the platform calls them."""

    name: str
    display_name: str
    role: CourseRole
    launched_at: datetime
    subjects: frozenset[str] = frozenset()
    starts: tuple[Start, ...] = ()


@dataclass(frozen=True)
class CourseView:
    """A course as its teachers see it."""

    course: KeptCourse
    environments: tuple[Environment, ...]
    participants: tuple[Participant, ...]


@dataclass(frozen=True)
class Choice:
    """A teacher's choice that is under way."""

    request: DeepLinkRequest
    course: KeptCourse | None


@dataclass(frozen=True)
class Chosen:
    """An environment that was chosen, and the link that opens it from the course."""

    environment: Environment
    link: JoinLink = field(repr=False)


# --- what a launch leaves ------------------------------------------------------------------------


def course_row(session: Session, course: Course, now: datetime) -> CourseRow:
    """The row of a course; what its last message said of it is kept.

    A context is a course within its deployment alone (LTI 1.3 Core §5.4.1).
    """
    query = select(CourseRow).where(
        CourseRow.platform_id == course.platform,
        CourseRow.deployment == course.deployment,
        CourseRow.context == course.context,
    )
    row = session.scalar(query)
    if row is None:
        row = CourseRow(
            platform_id=course.platform,
            deployment=course.deployment,
            context=course.context,
            updated_at=now,
        )
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # a class comes at once
            row = session.scalar(query)
            if row is None:  # no such platform any more
                raise NotFound() from None
    row.title = course.title or row.title or ""
    row.memberships_url = course.memberships_url or row.memberships_url or ""
    row.updated_at = now
    session.flush()
    return row


def note_member(session: Session, course: Course, person_id: int, now: datetime) -> int:
    """Somebody came from a course with this role; the id of the course's row."""
    row = course_row(session, course, now)
    member = session.get(CourseMemberRow, (row.id, person_id))
    if member is None:
        member = CourseMemberRow(
            course_id=row.id, person_id=person_id, role=course.role, launched_at=now
        )
        try:
            with session.begin_nested():
                session.add(member)
        except IntegrityError:  # two tabs at once
            member = session.get_one(CourseMemberRow, (row.id, person_id))
    member.role = course.role
    member.launched_at = now
    session.flush()
    return row.id


def attach(
    session: Session, course_id: int, environment_id: int, actor: str, now: datetime
) -> None:
    """An activity of the course opens this environment; a second time changes nothing."""
    key = (course_id, environment_id)
    if session.get(CourseEnvironmentRow, key) is not None:
        return
    try:
        with session.begin_nested():
            session.add(
                CourseEnvironmentRow(
                    course_id=course_id, environment_id=environment_id, attached_at=now
                )
            )
    except IntegrityError:  # in another tab
        return
    slug = session.get_one(EnvironmentRow, environment_id).slug
    subject = f"course {course_id}"
    audit(session, actor, "course-environment-attached", subject, now, environment=slug)


# --- a teacher's choice --------------------------------------------------------------------------


def begin_choice(
    session: Session, user: str, request: DeepLinkRequest, course: Course | None, now: datetime
) -> str:
    """Begin a choice of this person's, for an hour: its id (192 bits).

    Raises `NotFound` for people and platforms that are not there, `Refused` for who is no teacher
    of the course.
    """
    if course is not None and course.role is not CourseRole.TEACHER:
        raise Refused("lti-teachers-only")
    person_id = session.scalar(select(PersonRow.id).where(PersonRow.name == user))
    if person_id is None:
        raise NotFound("account-unknown", name=user)
    if session.get(PlatformRow, request.platform) is None:
        raise NotFound()
    session.execute(delete(DeepLinkRow).where(DeepLinkRow.expires_at <= now))
    row = DeepLinkRow(
        id=secrets.token_hex(24),
        person_id=person_id,
        course_id=None if course is None else course_row(session, course, now).id,
        platform_id=request.platform,
        request=request.model_dump(mode="json"),
        expires_at=now + CHOICE_LASTS,
    )
    session.add(row)
    return row.id


def choice(session: Session, choice_id: str, person: Person, now: datetime) -> Choice:
    """A choice that this person began. Raises `NotFound` where it has ended or is another's."""
    return _choice(session, _choice_row(session, choice_id, person, now))


def can_be_chosen(session: Session, person: Person) -> list[Found]:
    """What a teacher may put into a course: what they work on, and the public catalogue.

    Not what a colleague only let them use: the link would let everybody in.
    """
    return [
        found
        for found in reading.startable_by(session, person)
        if _may_be_chosen(person, found)
        and may_use(person, found.environment, found.standing).allowed
    ]


def choose(
    session: Session, choice_id: str, slugs: Iterable[str], person: Person, now: datetime
) -> tuple[Choice, list[Chosen]]:
    """End a choice: a join link for each environment, which then belongs to the course.

    A choice ends once: of two who send it at the same time, one is refused. Raises `NotFound`
    for a choice that has ended, `Refused` for an environment that may not be chosen.
    """
    row = _choice_row(session, choice_id, person, now)
    found = _choice(session, row)
    ended = session.execute(delete(DeepLinkRow).where(DeepLinkRow.id == row.id))
    if ended.rowcount != 1:  # type: ignore[attr-defined]
        raise NotFound("lti-choice-expired")
    platform = session.get_one(PlatformRow, found.request.platform)
    title = found.course.title if found.course else ""
    label = ": ".join(part for part in (platform.definition["name"], title) if part)[:200]
    course_id = found.course.id if found.course else None
    chosen = [_open(session, slug, person, label, course_id, now) for slug in dict.fromkeys(slugs)]
    if found.course is not None:
        for one, environment_id in chosen:
            attach(session, found.course.id, environment_id, person.name, now)
            slug = one.environment.slug
            subject = f"course {found.course.id}"
            audit(session, person.name, "course-environment-chosen", subject, now, environment=slug)
    return found, [one for one, _ in chosen]


def _may_be_chosen(person: Person, found: Found) -> bool:
    environment = found.environment
    public = environment.public and environment.status is Status.READY
    return public or may_edit(person, environment, found.standing).allowed


def _open(
    session: Session, slug: str, person: Person, label: str, course_id: int | None, now: datetime
) -> tuple[Chosen, int]:
    # Held from here on: it must not stop being public before the link is there to be revoked.
    session.execute(select(EnvironmentRow.id).where(EnvironmentRow.slug == slug).with_for_update())
    found = reading.find(session, slug, person)
    may_use(person, found.environment, found.standing).or_raise(found.environment)
    if not _may_be_chosen(person, found):
        raise Refused("not-allowed")
    # Everybody may start what is public: a link to it gives nothing away, whoever makes it. Who may
    # not edit gets one that ends when it is public no more.
    lent = not may_edit(person, found.environment, found.standing).allowed
    link = editing.add_join_link(
        session, slug, person, now, label=label, lent=lent, course_id=course_id
    )
    return Chosen(found.environment, link), found.id


def _choice_row(session: Session, choice_id: str, person: Person, now: datetime) -> DeepLinkRow:
    row = session.get(DeepLinkRow, choice_id)
    if row is None or row.expires_at <= now:
        raise NotFound("lti-choice-expired")
    if session.get_one(PersonRow, row.person_id).name != person.name:
        raise Refused("lti-teachers-only")
    return row


def _choice(session: Session, row: DeepLinkRow) -> Choice:
    course = None if row.course_id is None else session.get(CourseRow, row.course_id)
    return Choice(
        request=DeepLinkRequest.model_validate(row.request),
        course=None if course is None else _kept(session, course),
    )


# --- for teachers --------------------------------------------------------------------------------


def courses_of(session: Session, person: Person, now: datetime, role_days: int) -> list[KeptCourse]:
    """The courses that a person teaches; an administrator's are all. By title.

    Who has not come from a course for `role_days` teaches there no more.
    """
    query = select(CourseRow)
    if not person.is_admin:
        query = (
            query.join(CourseMemberRow, CourseMemberRow.course_id == CourseRow.id)
            .join(PersonRow, PersonRow.id == CourseMemberRow.person_id)
            .where(PersonRow.name == person.name, *_teaching(now, role_days))
        )
    rows = session.scalars(query.order_by(CourseRow.title, CourseRow.id).limit(1000))
    return [_kept(session, row) for row in rows]


def course_for(
    session: Session, course_id: int, person: Person, now: datetime, role_days: int
) -> CourseView:
    """A course with who came from it, for its teachers (as `courses_of`) and administrators.

    Raises `Refused` for anybody else, whether there is such a course or not.
    """
    if not person.is_admin and not _teaches(session, course_id, person, now, role_days):
        raise Refused("not-allowed")
    row = session.get(CourseRow, course_id)
    if row is None:
        raise NotFound()
    environments = session.execute(
        select(EnvironmentRow.id, EnvironmentRow.definition)
        .join(CourseEnvironmentRow, CourseEnvironmentRow.environment_id == EnvironmentRow.id)
        .where(CourseEnvironmentRow.course_id == course_id)
        .order_by(EnvironmentRow.slug)
    ).all()
    by_id = {one.id: Environment.model_validate(one.definition) for one in environments}
    return CourseView(
        course=_kept(session, row),
        environments=tuple(by_id.values()),
        participants=tuple(_participants(session, row, by_id)),
    )


def _teaching(now: datetime, role_days: int) -> tuple[ColumnElement[bool], ...]:
    """What a teacher's membership is: the word of a launch that is not too long ago."""
    return (
        CourseMemberRow.role == CourseRole.TEACHER,
        CourseMemberRow.launched_at > now - timedelta(days=role_days),
    )


def _teaches(
    session: Session, course_id: int, person: Person, now: datetime, role_days: int
) -> bool:
    found = session.scalar(
        select(CourseMemberRow.course_id)
        .join(PersonRow, PersonRow.id == CourseMemberRow.person_id)
        .where(
            CourseMemberRow.course_id == course_id,
            PersonRow.name == person.name,
            *_teaching(now, role_days),
        )
    )
    return found is not None


def _participants(
    session: Session, course: CourseRow, environments: dict[int, Environment]
) -> list[Participant]:
    rows = session.execute(
        select(CourseMemberRow, PersonRow)
        .join(PersonRow, PersonRow.id == CourseMemberRow.person_id)
        .where(CourseMemberRow.course_id == course.id)
        .order_by(PersonRow.name)
    ).all()
    people = [person.id for _, person in rows]
    subjects: dict[int, set[str]] = {}
    for person_id, subject in session.execute(
        select(IdentityRow.person_id, IdentityRow.subject).where(
            IdentityRow.provider == f"lti-{course.platform_id}", IdentityRow.person_id.in_(people)
        )
    ):
        subjects.setdefault(person_id, set()).add(subject)
    starts: dict[int, list[Start]] = {}
    for person_id, environment_id, count, first_at, last_at in session.execute(
        select(
            LaunchRow.person_id,
            CourseEnvironmentRow.environment_id,
            func.count(),
            func.min(LaunchRow.asked_at),
            func.max(LaunchRow.asked_at),
        )
        .join(CourseEnvironmentRow, CourseEnvironmentRow.environment_id == LaunchRow.environment_id)
        .where(
            CourseEnvironmentRow.course_id == course.id,
            LaunchRow.person_id.in_(people),
            LaunchRow.environment_id.in_(list(environments)),
            LaunchRow.trial.is_(False),
            # What they did before is no business of the course.
            LaunchRow.asked_at >= CourseEnvironmentRow.attached_at,
        )
        .group_by(LaunchRow.person_id, CourseEnvironmentRow.environment_id)
        .order_by(CourseEnvironmentRow.environment_id)
    ):
        slug = environments[environment_id].slug
        starts.setdefault(person_id, []).append(Start(slug, count, first_at, last_at))
    return [
        Participant(
            name=person.name,
            display_name=person.display_name,
            role=CourseRole(member.role),
            launched_at=member.launched_at,
            subjects=frozenset(subjects.get(person.id, ())),
            starts=tuple(starts.get(person.id, ())),
        )
        for member, person in rows
    ]


def _kept(session: Session, row: CourseRow) -> KeptCourse:
    platform = session.get_one(PlatformRow, row.platform_id)
    return KeptCourse(
        id=row.id,
        platform=row.platform_id,
        platform_name=platform.definition["name"],
        deployment=row.deployment,
        context=row.context,
        title=row.title,
        memberships_url=row.memberships_url,
    )
