"""Looking things up in the catalogue."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, String, Text, and_, cast, exists, func, or_, select
from sqlalchemy.orm import Session

from ..domain import culling
from ..domain.access import Right, Standing
from ..domain.environment import ComputeType, Environment, JoinLink, Status
from ..domain.errors import NotFound
from ..domain.people import Person
from .tables import (
    AudienceRow,
    AuditRow,
    ComputeTypeRow,
    CourseMemberRow,
    EnrolmentRow,
    EnvironmentRow,
    EnvironmentVersionRow,
    IdentityRow,
    JoinLinkRow,
    LaunchRow,
    PersonRow,
    RightRow,
)


@dataclass(frozen=True)
class Found:
    """An environment as one person finds it."""

    id: int
    environment: Environment
    version: int
    updated_at: datetime
    standing: Standing = field(default_factory=Standing)
    last_start_at: datetime | None = None
    origin: str = ""  # the slug of the environment that it was copied from


@dataclass(frozen=True)
class Page:
    """Part of a list: `total` counts all that matched."""

    items: list[Found]
    total: int


@dataclass(frozen=True)
class LastLaunch:
    """The newest start of a person's server of an environment."""

    version: int
    definition: str = field(repr=False)
    asked_at: datetime
    ready_at: datetime | None
    ended_at: datetime | None
    end_code: str
    end_params: dict[str, Any]
    notice_code: str
    notice_at: datetime | None
    secrets_changed: bool  # since then, so that another start would be told others
    server: culling.Server  # what its person was told and said; its times are the hub's to say

    @property
    def environment(self) -> Environment:
        """The environment as it was at that start."""
        return parsed(self.definition)


def find(session: Session, slug: str, person: Person) -> Found:
    """One environment. Raises `NotFound`; what the person may do is for `domain.access`."""
    row = session.execute(with_standing(person).where(EnvironmentRow.slug == slug)).first()
    if row is None:
        raise NotFound("environment-unknown", environment=slug)
    return as_found(row)


def knows(session: Session, person: Person) -> bool:
    """Whether there is an account of this name, for others to find."""
    return session.scalar(select(PersonRow.id).where(PersonRow.name == person.name)) is not None


def used_by(session: Session, person: Person) -> list[Found]:
    """What is on a person's dashboard: used or joined and not left; the last used first."""
    rows = session.execute(
        with_standing(person)
        .where(EnrolmentRow.person_id.is_not(None), EnrolmentRow.left_at.is_(None))
        .order_by(EnrolmentRow.last_start_at.desc().nulls_last(), EnrolmentRow.created_at.desc())
    )
    return [as_found(row) for row in rows]


def startable_by(session: Session, person: Person) -> list[Found]:
    """What a person may choose in a spawn form: their own, then the public ones."""
    query = with_standing(person).where(EnvironmentRow.status != Status.ARCHIVED)
    if not person.is_admin:
        query = query.where(visible(person))
    rows = session.execute(
        query.order_by(EnrolmentRow.last_start_at.desc().nulls_last(), EnvironmentRow.slug)
    )
    return [as_found(row) for row in rows]


def search(
    session: Session,
    person: Person,
    *,
    text: str = "",
    tag: str = "",
    status: Status | None = None,
    open_only: bool = False,
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """The environments that a person may see, by words of their texts; in order of their slug.

    With `open_only`, those that are ready for everybody, or for this person by their audience.
    """
    query = with_standing(person)
    if open_only:
        query = query.where(
            EnvironmentRow.status == Status.READY,
            or_(EnvironmentRow.public.is_(True), invited(person)),
        )
    elif not person.is_admin:
        query = query.where(visible(person))
    if status is not None:
        query = query.where(EnvironmentRow.status == status)
    query = query.where(*matching(text, tag))
    total = session.scalar(query.with_only_columns(func.count())) or 0
    rows = session.execute(query.order_by(EnvironmentRow.slug).offset(offset).limit(limit))
    return Page([as_found(row) for row in rows], total)


def matching(text: str, tag: str) -> list[Any]:
    """The conditions of a search by words of an environment's texts, and by a tag of its own."""
    conditions = [
        EnvironmentRow.search_text.contains(word, autoescape=True)
        for word in normalise(text).split()[:10]
    ]
    if tag:
        conditions.append(EnvironmentRow.search_text.contains(f"\n#{tag}\n", autoescape=True))
    return conditions


def tags(session: Session) -> list[tuple[str, int]]:
    """The tags of the public catalogue with how many environments bear each, most used first."""
    rows = session.scalars(
        select(EnvironmentRow.definition["tags"]).where(
            EnvironmentRow.public.is_(True), EnvironmentRow.status == Status.READY
        )
    )
    counts = Counter(tag for row in rows for tag in row or ())
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def join_link(session: Session, key: str) -> tuple[JoinLink, str]:
    """A join link and its environment's slug. Raises `NotFound`; dates are for the caller."""
    row = session.scalar(select(JoinLinkRow).where(JoinLinkRow.key == key))
    if row is None:
        raise NotFound("join-link-unknown")
    return as_join_link(row), row.environment.slug


def join_links(session: Session, environment_id: int) -> list[JoinLink]:
    rows = session.scalars(
        select(JoinLinkRow)
        .where(JoinLinkRow.environment_id == environment_id)
        .order_by(JoinLinkRow.id)
    )
    return [as_join_link(row) for row in rows]


def compute_types(session: Session) -> list[ComputeType]:
    rows = session.scalars(select(ComputeTypeRow).order_by(ComputeTypeRow.slug))
    return [ComputeType.model_validate(row.definition) for row in rows]


def compute_type(session: Session, slug: str) -> ComputeType:
    row = session.scalar(select(ComputeTypeRow).where(ComputeTypeRow.slug == slug))
    if row is None:
        raise NotFound()
    return ComputeType.model_validate(row.definition)


def environments(session: Session) -> list[tuple[Environment, list[JoinLink]]]:
    """Everything, for `catalogue export`; in order of the slugs."""
    rows = session.scalars(select(EnvironmentRow).order_by(EnvironmentRow.slug)).all()
    return [
        (Environment.model_validate(row.definition), join_links(session, row.id)) for row in rows
    ]


def last_launches(
    session: Session, person: Person, environment_ids: Iterable[int]
) -> dict[int, LastLaunch]:
    """The newest start of each environment by a person, by environment id."""
    newest = (
        select(func.max(LaunchRow.id))
        .join(PersonRow, PersonRow.id == LaunchRow.person_id)
        .where(
            PersonRow.name == person.name,
            LaunchRow.environment_id.in_(list(environment_ids)),
            LaunchRow.trial.is_(False),
        )
        .group_by(LaunchRow.environment_id)
    )
    secrets_changed = exists().where(
        AuditRow.action.in_(["secret-set", "secret-deleted"]),
        AuditRow.subject == EnvironmentRow.slug,
        AuditRow.at > LaunchRow.asked_at,
    )
    rows = session.execute(
        select(LaunchRow, cast(EnvironmentVersionRow.definition, Text), secrets_changed)
        .join(EnvironmentRow, EnvironmentRow.id == LaunchRow.environment_id)
        .join(
            EnvironmentVersionRow,
            and_(
                EnvironmentVersionRow.environment_id == LaunchRow.environment_id,
                EnvironmentVersionRow.version == LaunchRow.version,
            ),
        )
        .where(LaunchRow.id.in_(newest))
    )
    return {
        row.environment_id: LastLaunch(
            version=row.version,
            definition=definition,
            asked_at=row.asked_at,
            ready_at=row.ready_at,
            ended_at=row.ended_at,
            end_code=row.end_code,
            end_params=row.end_params,
            notice_code=row.notice_code,
            notice_at=row.notice_at,
            secrets_changed=changed,
            server=as_server(row),
        )
        for row, definition, changed in rows
        if row.environment_id is not None
    }


def deleted(session: Session, slug: str) -> Found:
    """An environment that is not there any more, as it was at last. Raises `NotFound`.

    For who still has a server of it, and nobody else: who could see it then is not known.
    """
    row = session.scalar(
        select(AuditRow)
        .where(AuditRow.action == "environment-deleted", AuditRow.subject == slug)
        .order_by(AuditRow.id.desc())
        .limit(1)
    )
    if row is None:
        raise NotFound("environment-unknown", environment=slug)
    environment = Environment.model_validate(row.detail["definition"])
    return Found(id=0, environment=environment, version=0, updated_at=row.at)


def versions(session: Session, environment_id: int) -> list[tuple[int, str, datetime]]:
    """(version, who, when) of each change, newest first."""
    rows = session.execute(
        select(
            EnvironmentVersionRow.version,
            EnvironmentVersionRow.changed_by,
            EnvironmentVersionRow.changed_at,
        )
        .where(EnvironmentVersionRow.environment_id == environment_id)
        .order_by(EnvironmentVersionRow.version.desc())
    )
    return [tuple(row) for row in rows]  # type: ignore[misc]


def normalise(text: str) -> str:
    """Lower case without accents, for searching: « Algèbre » is found by “algebre”."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()  # “𝐀” decomposes into a capital
    decomposed = unicodedata.normalize("NFKD", decomposed)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def search_text(environment: Environment) -> str:
    """What `search` looks into: titles, descriptions, software, courses, maintainers, tags.

    Only tags are on lines of their own, so that no description can pass for one.
    """
    sheet = environment.sheet
    words = [
        environment.slug,
        *(
            text.in_(language)
            for text in (environment.title, sheet.description)
            for language in ("fr", "en")
        ),
        *(
            interface.title.in_(language)
            for interface in environment.interfaces
            for language in ("fr", "en")
        ),
        *sheet.software,
        *sheet.courses,
        *(maintainer.name for maintainer in sheet.maintainers),
    ]
    tags = "".join(f"\n#{tag}\n" for tag in environment.tags)
    return " ".join(normalise(" ".join(words)).split()) + tags


def with_standing(
    person: Person,
) -> Select[int, str, int, datetime, bool, bool, datetime | None, str, bool, str]:
    """All environments as one person finds them: rows for `as_found`."""
    me = select(PersonRow.id).where(PersonRow.name == person.name).scalar_subquery()
    return (
        select(
            EnvironmentRow.id,
            cast(EnvironmentRow.definition, Text).label("definition"),
            EnvironmentRow.version,
            EnvironmentRow.updated_at,
            and_(EnrolmentRow.person_id.is_not(None), EnrolmentRow.left_at.is_(None)).label(
                "enrolled"
            ),
            listed(),
            EnrolmentRow.last_start_at,
            RightRow.level,
            invited(person).label("invited"),
            EnvironmentRow.origin,
        )
        .select_from(EnvironmentRow)
        .outerjoin(
            EnrolmentRow,
            and_(EnrolmentRow.environment_id == EnvironmentRow.id, EnrolmentRow.person_id == me),
        )
        .outerjoin(
            RightRow,
            and_(RightRow.environment_id == EnvironmentRow.id, RightRow.person_id == me),
        )
    )


def listed() -> Any:
    """Whether a person came by a link of the maintainers', as a column of `with_standing`.

    Whoever teaches a course may give it a link to what is public: that opens no exam.
    """
    theirs = exists().where(JoinLinkRow.id == EnrolmentRow.join_link_id, ~JoinLinkRow.lent)
    return and_(EnrolmentRow.left_at.is_(None), theirs).label("listed")


def invited(person: Person) -> Any:
    """Whether an environment's audience holds this person, as a condition."""
    me = select(PersonRow.id).where(PersonRow.name == person.name).scalar_subquery()
    courses = (
        select(cast(CourseMemberRow.course_id, String))
        .where(CourseMemberRow.person_id == me)
        .scalar_subquery()
    )
    institutions = (
        select(func.lower(IdentityRow.institution))
        .where(IdentityRow.person_id == me, IdentityRow.institution != "")
        .scalar_subquery()
    )
    kind, value = AudienceRow.kind, AudienceRow.value
    named = [
        and_(kind == "person", or_(value == person.name, value.in_(_names(person)))),
        and_(kind == "course", value.in_(courses)),
        and_(kind == "institution", value.in_(institutions)),
    ]
    if person.may_create:
        named.append(kind == "teachers")
    return exists().where(AudienceRow.environment_id == EnvironmentRow.id, or_(*named))


def _names(person: Person) -> Any:
    """The names of a person's account and of those that were joined to it, as a subquery.

    Asked at each reading, so that nothing is to be undone where accounts are separated again.
    """
    account = (
        select(PersonRow.id, PersonRow.name)
        .where(PersonRow.name == person.name)
        .cte(recursive=True)
    )
    joined = select(PersonRow.id, PersonRow.name).join(
        account, PersonRow.joined_to_id == account.c.id
    )
    names = account.union(joined)
    return select(names.c.name).scalar_subquery()


def visible(person: Person) -> Any:
    """`domain.access.may_see` as a condition on `with_standing`, but for administrators."""
    # Tests hold the two together.
    return or_(
        and_(EnvironmentRow.status.in_([Status.TEST, Status.READY]), invited(person)),
        and_(EnvironmentRow.public.is_(True), EnvironmentRow.status == Status.READY),
        and_(EnrolmentRow.person_id.is_not(None), EnrolmentRow.left_at.is_(None)),
        RightRow.level.is_not(None),
    )


def as_found(row: Any) -> Found:
    """A row of `with_standing` as one person finds the environment."""
    return Found(
        id=row.id,
        environment=parsed(row.definition),
        version=row.version,
        updated_at=row.updated_at,
        standing=Standing(
            enrolled=row.enrolled,
            listed=row.listed,
            invited=row.invited,
            right=Right(row.level) if row.level else None,
        ),
        last_start_at=row.last_start_at,
        origin=row.origin,
    )


# To check a definition takes longer than all the rest of a page, and the same ones are read again
# and again. The key is the definition's own text, so that nothing ever has to be forgotten.
@lru_cache(maxsize=2000)
def parsed(definition: str) -> Environment:
    """A stored definition."""
    return Environment.model_validate_json(definition)


def as_server(row: LaunchRow) -> culling.Server:
    """What a person was told of their running server, and said of it; its times are the hub's."""
    notice = None
    if row.warned_at is not None and row.stops_at is not None:
        notice = culling.Notice(row.warned_code, row.warned_at, row.stops_at)
    return culling.Server(
        started=None,
        notice=notice,
        used_at=row.used_at,
        extended_until=row.extended_until,
        protected_until=row.protected_until,
    )


def as_join_link(row: JoinLinkRow) -> JoinLink:
    """A row as the domain knows it."""
    return JoinLink(
        key=row.key,
        label=row.label,
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
    )
