"""What teachers do with their environments beside editing them.

Lists of the workshop, copies, rights, history, secrets, requests, and who takes part. Who may do it
is asked of `domain.access` by the caller; here only what is consistent is held.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from ..domain.access import Right, may_copy, may_edit
from ..domain.environment import Audience, Environment, JoinLink, Status, Text
from ..domain.errors import Conflict, Invalid, NotFound
from ..domain.people import Person
from ..identity.claims import CourseRole
from ..seal import Seal
from . import editing, people, reading
from .editing import audit
from .reading import Found, Page, normalise
from .tables import (
    BuildRow,
    CourseMemberRow,
    CourseRow,
    EnrolmentRow,
    EnvironmentRow,
    EnvironmentSecretRow,
    EnvironmentVersionRow,
    IdentityRow,
    ImageRightRow,
    ImageRow,
    JoinLinkRow,
    PersonRow,
    PlatformRow,
    RequestRow,
    RightRow,
)

SECRETS_MAX = 100
COLLEAGUE_MIN_LETTERS = 3
_ANSWERED_SHOWN = timedelta(days=30)
_ORDER = list(Right)

Show = Literal["mine", "shared", "public", "all"]
Sort = Literal["slug", "title", "changed"]
RequestKind = Literal["access", "publish"]


@dataclass(frozen=True)
class Holder:
    """Somebody with a right on an environment."""

    name: str
    display_name: str
    right: Right


@dataclass(frozen=True)
class Colleague:
    """Somebody with an account here, as others may find them."""

    name: str
    display_name: str


@dataclass(frozen=True)
class Version:
    """One change of an environment."""

    number: int
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True)
class SecretName:
    """A secret variable, without its value."""

    name: str
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True)
class LinkUse:
    """A join link and how many people it brought."""

    link: JoinLink = field(repr=False)
    created_at: datetime
    uses: int


@dataclass(frozen=True)
class Participant:
    """Somebody who is enrolled in an environment; `left` says that they took it off their list."""

    name: str
    display_name: str
    since: datetime
    last_start_at: datetime | None
    left: bool


@dataclass(frozen=True)
class Request:
    """What somebody asks for an environment; open while `answered_at` is empty.

    `version` is the environment's present one: who accepts says which they have seen.
    """

    id: int
    kind: RequestKind
    slug: str
    title: Text
    status: Status
    version: int
    person: str
    display_name: str
    message: str
    made_at: datetime
    answered_at: datetime | None
    accepted: bool
    answer: str
    answered_by: str


@dataclass(frozen=True)
class TaughtCourse:
    """A course of an LTI platform in which somebody teaches."""

    id: int
    title: str
    platform: str


# --- finding -------------------------------------------------------------------------------------


def listing(
    session: Session,
    person: Person,
    *,
    show: Show | None = None,
    status: Status | None = None,
    text: str = "",
    tag: str = "",
    sort: Sort = "slug",
    language: str = "fr",
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """The environments that a person may see, by words of their texts.

    `mine`: they own it. `shared`: a colleague gave them a right, or its audience names them.
    `public`: of the public catalogue. `all`: each of these, but none that is archived unless
    `status` asks for it, as `shared` and `public`; without `show`, archived ones as well.
    `sort` is by the title in `language`, or by the last change, the newest first.
    """
    conditions = [_shown(show, person)]
    if not person.is_admin:
        conditions.append(reading.visible(person))
    if status is not None:
        conditions.append(EnvironmentRow.status == status)
    elif show not in {None, "mine"}:
        conditions.append(EnvironmentRow.status != Status.ARCHIVED)
    conditions += reading.matching(text, tag)
    query = reading.with_standing(person).where(*conditions)
    if sort != "title":
        order = [EnvironmentRow.updated_at.desc()] if sort == "changed" else []
        total = session.scalar(query.with_only_columns(func.count())) or 0
        rows = session.execute(
            query.order_by(*order, EnvironmentRow.slug).offset(offset).limit(limit)
        )
        return Page([reading.as_found(row) for row in rows], total)
    # Databases sort accents each in their own way, SQLite behind z.
    title = EnvironmentRow.definition["title"]["en" if language == "en" else "fr"].as_string()
    titles = session.execute(query.with_only_columns(EnvironmentRow.id, title)).all()
    ids = [row[0] for row in sorted(titles, key=lambda row: (normalise(row[1]), row[0]))]
    wanted = ids[offset : offset + limit]
    rows = session.execute(reading.with_standing(person).where(EnvironmentRow.id.in_(wanted)))
    by_id = {row.id: reading.as_found(row) for row in rows}
    return Page([by_id[one] for one in wanted], len(ids))


def _shown(show: Show | None, person: Person) -> ColumnElement[bool]:
    owned = func.coalesce(RightRow.level == Right.OWN, False)
    if show == "mine":
        return owned
    if show == "shared":
        invited = and_(
            EnvironmentRow.status.in_([Status.TEST, Status.READY]), reading.invited(person)
        )
        return and_(~owned, or_(RightRow.level.is_not(None), invited))
    if show == "public":
        return EnvironmentRow.public.is_(True)
    return EnvironmentRow.id.is_not(None)


def colleagues(session: Session, text: str, limit: int = 10) -> list[Colleague]:
    """Accounts by the start of a part of their name, or by their whole mail address.

    Nothing for less than three letters; whose account is blocked or was joined to another one is
    not found. In order of the display name.
    """
    wanted = " ".join(text.split()).lower()
    if len(wanted) < COLLEAGUE_MIN_LETTERS:
        return []
    starts = []
    for column in (PersonRow.name, PersonRow.display_name):
        lower = func.lower(column)
        starts += [lower.startswith(wanted, autoescape=True)]
        starts += [lower.contains(mark + wanted, autoescape=True) for mark in " -.@"]
    rows = session.scalars(
        select(PersonRow)
        .where(
            PersonRow.joined_to_id.is_(None),
            PersonRow.blocked_at.is_(None),
            or_(*starts, func.lower(PersonRow.mail) == wanted),
        )
        .order_by(func.lower(PersonRow.display_name), PersonRow.name)
        .limit(limit)
    )
    return [Colleague(row.name, row.display_name) for row in rows]


def participants(session: Session, environment_id: int) -> list[Participant]:
    """Who is or was enrolled, the last start first. Trials enrol nobody, and are no start."""
    rows = session.execute(
        select(PersonRow, EnrolmentRow)
        .join(EnrolmentRow, EnrolmentRow.person_id == PersonRow.id)
        .where(EnrolmentRow.environment_id == environment_id)
        .order_by(EnrolmentRow.last_start_at.desc().nulls_last(), PersonRow.name)
    )
    return [
        Participant(
            name=person.name,
            display_name=person.display_name,
            since=row.created_at,
            last_start_at=row.last_start_at,
            left=row.left_at is not None,
        )
        for person, row in rows
    ]


def links(session: Session, environment_id: int) -> list[LinkUse]:
    """The join links with how many people each brought, in the order in which they were made."""
    uses = (
        select(EnrolmentRow.join_link_id, func.count().label("uses"))
        .where(EnrolmentRow.environment_id == environment_id)
        .group_by(EnrolmentRow.join_link_id)
        .subquery()
    )
    rows = session.execute(
        select(JoinLinkRow, func.coalesce(uses.c.uses, 0))
        .outerjoin(uses, uses.c.join_link_id == JoinLinkRow.id)
        .where(JoinLinkRow.environment_id == environment_id)
        .order_by(JoinLinkRow.id)
    )
    return [LinkUse(reading.as_join_link(row), row.created_at, count) for row, count in rows]


# --- copies and versions -------------------------------------------------------------------------


def duplicate(
    session: Session, slug: str, person: Person, *, new_slug: str, title: Text, now: datetime
) -> Found:
    """Copy an environment: a private draft of this person's that knows where it comes from.

    Links, secrets, rights and audience stay with the original. Raises `Refused` or `NotFound` for
    who may not copy it, `Conflict` where the new name is taken, or was.
    """
    source = reading.find(session, slug, person)
    may_copy(person, source.environment, source.standing).or_raise(source.environment)
    copy = Environment.model_validate(
        {
            **source.environment.model_dump(by_alias=True),
            "slug": new_slug,
            "title": title,
            "status": Status.DRAFT,
            "public": False,
            "audience": Audience(),
        }
    )
    found = editing.create_environment(session, copy, person, now)
    session.get_one(EnvironmentRow, found.id).origin = slug
    audit(session, person.name, "environment-copied", new_slug, now, origin=slug)
    session.flush()
    return reading.find(session, new_slug, person)


def history(session: Session, environment_id: int) -> list[Version]:
    """Every change of an environment, the newest first."""
    return [Version(*row) for row in reading.versions(session, environment_id)]


def version(session: Session, environment_id: int, number: int) -> Environment:
    """An environment as it was then. Raises `NotFound`, also where this release cannot read it."""
    row = session.get(EnvironmentVersionRow, (environment_id, number))
    if row is None:
        raise NotFound()
    try:
        return Environment.model_validate(row.definition)
    except ValidationError:
        raise NotFound() from None


def restored(session: Session, found: Found, number: int) -> Environment:
    """What restoring a version would make: that one, under the same name and as public as now."""
    old = version(session, found.id, number)
    return old.model_copy(
        update={"slug": found.environment.slug, "public": found.environment.public}
    )


def restore(
    session: Session, slug: str, person: Person, number: int, expected_version: int, now: datetime
) -> Found:
    """Make a new version that is equal to an old one; the name stays, and whether it is public.

    Raises `NotFound` for a version that there never was, `Conflict` if somebody changed the
    environment meanwhile.
    """
    found = reading.find(session, slug, person)
    again = restored(session, found, number)
    after = editing.update_environment(session, again, person, expected_version, now)
    audit(session, person.name, "environment-restored", slug, now, version=number)
    return after


# --- rights --------------------------------------------------------------------------------------


def rights(session: Session, environment_id: int) -> list[Holder]:
    """Who was given a right on an environment; owners first, then by name."""
    rows = session.execute(
        select(PersonRow.name, PersonRow.display_name, RightRow.level)
        .join(RightRow, RightRow.person_id == PersonRow.id)
        .where(RightRow.environment_id == environment_id)
    )
    holders = [Holder(name, shown, Right(level)) for name, shown, level in rows]
    return sorted(holders, key=lambda one: (-_ORDER.index(one.right), one.name))


def give_right(
    session: Session, slug: str, actor: Person, name: str, right: Right, now: datetime
) -> None:
    """Give a colleague a right on an environment, more or less than before.

    Raises `NotFound` for somebody who is not known, `Conflict` where nobody would own it then.
    """
    environment = editing.locked(session, slug)
    person = _account(session, name)
    _put_right(session, environment, person, right, actor, now)


def take_right(session: Session, slug: str, actor: Person, name: str, now: datetime) -> None:
    """Take a right away. Raises `NotFound` where there is none, `Conflict` for the last owner's."""
    environment = editing.locked(session, slug)
    person = session.scalar(select(PersonRow).where(PersonRow.name == name))
    row = session.get(RightRow, (person.id, environment.id)) if person is not None else None
    if person is None or row is None:
        raise NotFound("account-unknown", name=name)
    if row.level == Right.OWN:
        _somebody_else_owns(session, environment, person)
    session.delete(row)
    audit(session, actor.name, "right-taken", slug, now, user=name)
    session.flush()


def transfer(
    session: Session, slug: str, actor: Person, to: str, keep: Right | None, now: datetime
) -> None:
    """Give an environment to a colleague. `keep` is what its giver may do from now on.

    Other owners stay. Raises `NotFound` for somebody who is not known, `Conflict` for who owns it
    already.
    """
    environment = editing.locked(session, slug)
    person = _account(session, to)
    held = session.get(RightRow, (person.id, environment.id))
    if held is not None and held.level == Right.OWN:
        raise Conflict("exists-already", name=to)
    _put_right(session, environment, person, Right.OWN, actor, now)
    giver = session.scalar(select(PersonRow).where(PersonRow.name == actor.name))
    if giver is not None and session.get(RightRow, (giver.id, environment.id)) is not None:
        if keep is None:
            take_right(session, slug, actor, actor.name, now)
        else:
            _put_right(session, environment, giver, keep, actor, now)
    audit(session, actor.name, "environment-transferred", slug, now, user=to)
    session.flush()


def _put_right(
    session: Session,
    environment: EnvironmentRow,
    person: PersonRow,
    right: Right,
    actor: Person,
    now: datetime,
) -> None:
    row = session.get(RightRow, (person.id, environment.id))
    if row is not None and row.level == right:
        return
    if row is None:
        row = RightRow(person_id=person.id, environment_id=environment.id)
        session.add(row)
    elif row.level == Right.OWN:
        _somebody_else_owns(session, environment, person)
    row.level = right.value
    audit(session, actor.name, "right-given", environment.slug, now, user=person.name, right=right)
    session.flush()


def _somebody_else_owns(session: Session, environment: EnvironmentRow, person: PersonRow) -> None:
    # Whoever changes owners holds the environment's row, so that two do not both leave at once.
    # An account that is closed keeps its rights, and nobody comes in by it.
    other = session.scalar(
        select(RightRow.person_id)
        .join(PersonRow, PersonRow.id == RightRow.person_id)
        .where(
            RightRow.environment_id == environment.id,
            RightRow.level == Right.OWN,
            RightRow.person_id != person.id,
            PersonRow.joined_to_id.is_(None),
            PersonRow.blocked_at.is_(None),
        )
        .limit(1)
    )
    if other is None:
        raise Conflict("last-owner")


def _account(session: Session, name: str) -> PersonRow:
    """The account of this name, if it is in use. Raises `NotFound`."""
    row = session.scalar(
        select(PersonRow).where(PersonRow.name == name, PersonRow.joined_to_id.is_(None))
    )
    if row is None:
        raise NotFound("account-unknown", name=name)
    return row


# --- secrets -------------------------------------------------------------------------------------


def secrets(session: Session, environment_id: int) -> list[SecretName]:
    """The names of an environment's secret variables, never their values."""
    rows = session.scalars(
        select(EnvironmentSecretRow)
        .where(EnvironmentSecretRow.environment_id == environment_id)
        .order_by(EnvironmentSecretRow.name)
    )
    return [SecretName(row.name, row.changed_by, row.changed_at) for row in rows]


def put_secret(
    session: Session, slug: str, actor: Person, name: str, value: str, seal: Seal, now: datetime
) -> None:
    """Set a secret variable. Raises `Invalid` as `_for_secrets`, and where there are too many."""
    environment = _for_secrets(session, slug, actor)
    if name in environment.definition.get("variables", {}):
        text = "a variable that everybody reads has this name: remove it first"
        raise Invalid(problems=[("secrets", text)])
    row = session.get(EnvironmentSecretRow, (environment.id, name))
    if row is None:
        if len(secrets(session, environment.id)) >= SECRETS_MAX:
            raise Invalid(problems=[("secrets", f"there are {SECRETS_MAX} secrets already")])
        row = EnvironmentSecretRow(environment_id=environment.id, name=name)
        session.add(row)
    row.sealed_value = seal.close({"environment": slug, "name": name, "value": value})
    row.changed_by, row.changed_at = actor.name, now
    audit(session, actor.name, "secret-set", slug, now, variable=name)
    session.flush()


def delete_secret(session: Session, slug: str, actor: Person, name: str, now: datetime) -> None:
    """Forget a secret variable. Raises `NotFound`, and `Invalid` as `_for_secrets`."""
    environment = _for_secrets(session, slug, actor)
    row = session.get(EnvironmentSecretRow, (environment.id, name))
    if row is None:
        raise NotFound()
    session.delete(row)
    audit(session, actor.name, "secret-deleted", slug, now, variable=name)
    session.flush()


def _for_secrets(session: Session, slug: str, actor: Person) -> EnvironmentRow:
    """An environment for a change of its secrets, which belong to what runs.

    Raises `Invalid` where administrators alone decide that: in the public catalogue.
    """
    environment = editing.locked(session, slug)
    if environment.public and not actor.is_admin:
        text = "ask an administrator: everybody may start this environment"
        raise Invalid(problems=[("secrets", text)])
    return environment


def secret_values(session: Session, environment_id: int, seal: Seal) -> dict[str, str]:
    """The secret variables with their values: for a launch, and for nothing else.

    What cannot be opened (sealed under another secret, or for another environment) is left out.
    """
    rows = session.execute(
        select(EnvironmentSecretRow, EnvironmentRow.slug)
        .join(EnvironmentRow, EnvironmentRow.id == EnvironmentSecretRow.environment_id)
        .where(EnvironmentSecretRow.environment_id == environment_id)
        .order_by(EnvironmentSecretRow.name)
    )
    values = {}
    for row, slug in rows:
        opened = seal.open(row.sealed_value)
        if opened and (opened["environment"], opened["name"]) == (slug, row.name):
            values[row.name] = opened["value"]
    return values


# --- requests ------------------------------------------------------------------------------------


def ask(
    session: Session, slug: str, person: Person, kind: RequestKind, message: str, now: datetime
) -> int:
    """Ask for a right on an environment (`access`), or for the public catalogue (`publish`).

    One request of a kind is open for a person and an environment: a newer text replaces the
    older. Answers its id. Raises `Invalid` where there is nothing to ask for any more.
    """
    environment = editing.locked(session, slug)
    found = reading.find(session, slug, person)
    if kind == "publish" and environment.public:
        raise Invalid(problems=[("kind", "it is in the public catalogue already")])
    if kind == "access" and may_edit(person, found.environment, found.standing).allowed:
        raise Invalid(problems=[("kind", "you may change it already")])
    asker = editing.person_row(session, person, now)
    row = session.scalar(
        select(RequestRow).where(
            RequestRow.environment_id == environment.id,
            RequestRow.person_id == asker.id,
            RequestRow.kind == kind,
            RequestRow.answered_at.is_(None),
        )
    )
    if row is None:
        row = RequestRow(kind=kind, environment_id=environment.id, person_id=asker.id)
        session.add(row)
        audit(session, person.name, f"{kind}-asked", slug, now)
    row.message, row.made_at = message, now
    session.flush()
    return row.id


def answer(
    session: Session,
    request_id: int,
    actor: Person,
    *,
    accepted: bool,
    text: str,
    right: Right | None,
    expected_version: int | None,
    now: datetime,
) -> None:
    """Answer a request: an accepted one is done at once.

    `access` gives `right` (to view, if none), and never less than the person has already;
    `publish` puts the environment into the public catalogue as it was in `expected_version`, the
    one that was looked at. Raises `NotFound`, and `Conflict` for what has been answered already,
    or was changed since.
    """
    row = session.scalar(select(RequestRow).where(RequestRow.id == request_id).with_for_update())
    if row is None:
        raise NotFound()
    if row.answered_at is not None:
        raise Conflict("request-answered", name=row.answered_by)
    slug = session.get_one(EnvironmentRow, row.environment_id).slug
    row.answered_at, row.answered_by = now, actor.name
    row.accepted, row.answer = accepted, text
    audit(session, actor.name, f"{row.kind}-answered", slug, now, accepted=accepted)
    session.flush()
    if accepted and row.kind == "access":
        asker = session.get_one(PersonRow, row.person_id)
        while asker.joined_to_id is not None:  # since they asked
            asker = session.get_one(PersonRow, asker.joined_to_id)
        held = session.get(RightRow, (asker.id, row.environment_id))
        wanted = right or Right.VIEW
        if held is None or _ORDER.index(Right(held.level)) < _ORDER.index(wanted):
            _put_right(session, editing.locked(session, slug), asker, wanted, actor, now)
    elif accepted:
        if expected_version is None:
            raise Conflict("precondition-needed")
        found = reading.find(session, slug, actor)
        public = found.environment.model_copy(update={"public": True})
        editing.update_environment(session, public, actor, expected_version, now)


def request(session: Session, request_id: int) -> Request:
    """One request, whoever may answer it. Raises `NotFound`."""
    row = session.execute(_requests().where(RequestRow.id == request_id)).first()
    if row is None:
        raise NotFound()
    return _request(row)


def requests(session: Session, person: Person) -> list[Request]:
    """The open requests that this person may answer, the oldest first.

    Owners answer for access to what is theirs; administrators answer all.
    """
    query = _requests().where(RequestRow.answered_at.is_(None))
    if not person.is_admin:
        owned = (
            select(RightRow.environment_id)
            .join(PersonRow, PersonRow.id == RightRow.person_id)
            .where(PersonRow.name == person.name, RightRow.level == Right.OWN)
        )
        query = query.where(RequestRow.kind == "access", RequestRow.environment_id.in_(owned))
    rows = session.execute(query.order_by(RequestRow.made_at, RequestRow.id))
    return [_request(row) for row in rows]


def sent(session: Session, person: Person, now: datetime) -> list[Request]:
    """A person's own requests, the newest first: open ones, and those answered in 30 days."""
    rows = session.execute(
        _requests()
        .where(
            PersonRow.name == person.name,
            or_(RequestRow.answered_at.is_(None), RequestRow.answered_at > now - _ANSWERED_SHOWN),
        )
        .order_by(RequestRow.made_at.desc(), RequestRow.id.desc())
    )
    return [_request(row) for row in rows]


def _requests() -> Select[Any]:
    return (
        select(
            RequestRow,
            EnvironmentRow.slug,
            EnvironmentRow.definition["title"].label("title"),
            EnvironmentRow.status,
            EnvironmentRow.version,
            PersonRow.name,
            PersonRow.display_name,
        )
        .join(EnvironmentRow, EnvironmentRow.id == RequestRow.environment_id)
        .join(PersonRow, PersonRow.id == RequestRow.person_id)
    )


def _request(found: Any) -> Request:
    row: RequestRow = found[0]
    return Request(
        id=row.id,
        kind="publish" if row.kind == "publish" else "access",
        slug=found.slug,
        title=Text.model_validate(found.title),
        status=Status(found.status),
        version=found.version,
        person=found.name,
        display_name=found.display_name,
        message=row.message,
        made_at=row.made_at,
        answered_at=row.answered_at,
        accepted=row.accepted,
        answer=row.answer,
        answered_by=row.answered_by,
    )


# --- what a definition may name ------------------------------------------------------------------


def hides_image(session: Session, person: Person, reference: str) -> bool:
    """Whether a reference names an image that is made here and that this person may not see.

    However it is written: with another tag, with a digest, by another name of the registry.
    """
    name = _repository(reference)
    image = session.execute(
        select(ImageRow.id, ImageRow.public).where(ImageRow.slug == name.rpartition("/")[2])
    ).first()
    if image is None or image.public or person.is_admin:
        return False
    built = session.scalars(
        select(BuildRow.reference).where(BuildRow.image_id == image.id, BuildRow.reference != "")
    )
    if all(_repository(one) != name for one in built):
        return False
    given = exists().where(
        ImageRightRow.image_id == image.id,
        ImageRightRow.person_id == PersonRow.id,
        PersonRow.name == person.name,
    )
    return not session.scalar(select(given))


def _repository(reference: str) -> str:
    """What a reference names, without the registry's host, a tag and a digest."""
    folder, slash, last = reference.partition("@")[0].rpartition("/")
    path = folder + slash + last.partition(":")[0]
    host, slash, rest = path.partition("/")
    return rest if slash and ("." in host or ":" in host or host == "localhost") else path


def unknown_people(session: Session, names: Iterable[str]) -> list[str]:
    """Those of the user names that no account in use bears."""
    wanted = list(names)
    known = set(
        session.scalars(
            select(PersonRow.name).where(
                PersonRow.name.in_(wanted), PersonRow.joined_to_id.is_(None)
            )
        )
    )
    return [name for name in wanted if name not in known]


def courses(session: Session, person: Person) -> list[TaughtCourse]:
    """The courses that this person may name: those in which they teach; administrators, all."""
    query = (
        select(CourseRow, PlatformRow)
        .join(PlatformRow, PlatformRow.id == CourseRow.platform_id)
        .order_by(CourseRow.title, CourseRow.id)
    )
    if not person.is_admin:
        taught = exists().where(
            CourseMemberRow.course_id == CourseRow.id,
            CourseMemberRow.person_id == PersonRow.id,
            CourseMemberRow.role == CourseRole.TEACHER,
            PersonRow.name == person.name,
        )
        query = query.where(taught)
    return [
        TaughtCourse(course.id, course.title, people.as_platform(platform).name)
        for course, platform in session.execute(query)
    ]


def institutions(session: Session, person: Person) -> list[str]:
    """The institutions that this person's identities are of; for administrators, all known."""
    query = select(func.lower(IdentityRow.institution)).where(IdentityRow.institution != "")
    if not person.is_admin:
        query = query.join(PersonRow, PersonRow.id == IdentityRow.person_id).where(
            PersonRow.name == person.name
        )
    return sorted(set(session.scalars(query)))
