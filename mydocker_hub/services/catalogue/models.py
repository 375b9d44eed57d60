"""What the catalogue's API takes and gives, beside the models of `domain`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from ...domain.access import may_edit, may_start
from ...domain.environment import (
    ComputeType,
    Environment,
    Interface,
    JoinLink,
    Lifetime,
    Model,
    Moment,
    PlainText,
    Resources,
    Sheet,
    Slug,
    Status,
    Storage,
    Text,
    Title,
    no_control_characters,
)
from ...domain.people import Person
from ...store.reading import Found
from ...store.workshop import Show, Sort

PrintableText = Annotated[str, AfterValidator(no_control_characters)]
UserName = Annotated[PrintableText, StringConstraints(min_length=1, max_length=255)]


class EnvironmentSummary(Model):
    """An environment as everybody who may see it sees it; how it is made is not in here.

    `opens_at` is when its sessions let it be started again, where they do not now.
    """

    slug: Slug
    title: Title
    sheet: Sheet
    icon: str
    tags: tuple[str, ...]
    status: Status
    public: bool
    interfaces: tuple[Interface, ...]
    resources: Resources
    storage: Storage
    lifetime: Lifetime
    version: int
    updated_at: datetime
    enrolled: bool
    may_start: bool
    may_edit: bool
    opens_at: datetime | None = None

    @classmethod
    def of(cls, found: Found, person: Person) -> EnvironmentSummary:
        environment = found.environment
        start = may_start(person, environment, found.standing)
        return cls(
            **{
                name: getattr(environment, name)
                for name in (
                    *("slug", "title", "sheet", "icon", "tags", "status", "public"),
                    *("interfaces", "resources", "storage", "lifetime"),
                )
            },
            version=found.version,
            updated_at=found.updated_at,
            enrolled=found.standing.enrolled,
            may_start=start.allowed,
            opens_at=start.next,
            may_edit=may_edit(person, environment, found.standing).allowed,
        )


class EnvironmentList(Model):
    items: tuple[EnvironmentSummary, ...]
    total: int
    offset: int
    limit: int


class EnvironmentDetail(EnvironmentSummary):
    """With the whole definition, for the people who work on the environment.

    `origin` is the name of the environment that it was copied from.
    """

    definition: Environment | None = None
    origin: str | None = None

    @classmethod
    def of(cls, found: Found, person: Person) -> EnvironmentDetail:
        summary = EnvironmentSummary.of(found, person)
        shown = summary.may_edit or (person.may_create and found.standing.right is not None)
        return cls(
            **{name: getattr(summary, name) for name in EnvironmentSummary.model_fields},
            definition=found.environment if shown else None,
            origin=(found.origin or None) if shown else None,
        )


class EnvironmentQuery(Model):
    q: PrintableText = Field(default="", max_length=200)
    tag: Slug | None = None
    status: Status | None = None
    show: Show | None = None
    sort: Sort = "slug"
    offset: int = Field(default=0, ge=0, le=1_000_000)
    limit: int = Field(default=50, ge=1, le=200)


class JoinLinkRequest(Model):
    label: PlainText = Field(default="", max_length=200, pattern=r"^[^\n\t]*$")
    expires_at: Moment | None = None


class JoinLinkList(Model):
    items: tuple[JoinLink, ...]


class ComputeTypeList(Model):
    items: tuple[ComputeType, ...]


def _printable_names(person: Person) -> Person:
    no_control_characters(person.name)
    no_control_characters(person.display_name)
    return person


class PersonRequest(Model):
    """On whose behalf the hub asks."""

    person: Annotated[Person, AfterValidator(_printable_names)]


class JoinAnswer(Model):
    """Where a join link leads. `new` says that the person was not enrolled before.

    `landing` is the address once the server is ready; what follows `user-redirect/` in a link goes
    below `main_prefix` of the server.
    """

    environment: Slug
    title: Title
    icon: str
    sheet: Sheet
    server: str
    landing: str
    main_prefix: str
    new: bool


class Choice(Model):
    """One environment that a person may start, for the hub's spawn form."""

    environment: Slug
    server: str
    title: Title
    icon: str
    sheet: Sheet
    resources: Resources
    storage: Storage
    lifetime: Lifetime
    used: bool


class ChoiceList(Model):
    items: tuple[Choice, ...]


class LaunchRequest(PersonRequest):
    """What the spawner asks. `base_url` is the server's path at the hub, from `/` to `/`."""

    environment: Annotated[PrintableText, StringConstraints(min_length=1, max_length=100)]
    server: Annotated[PrintableText, StringConstraints(max_length=255)]
    base_url: Annotated[PrintableText, StringConstraints(pattern=r"^/\S*$", max_length=2000)]


def _no_argument(name: str) -> str:
    if name in {"code", "log_detail"}:
        raise ValueError("choose another name")
    return name


ParameterName = Annotated[
    str, StringConstraints(pattern=r"^[a-z_]{1,40}$"), AfterValidator(_no_argument)
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Parameter = Annotated[PrintableText, Field(max_length=4000)] | int | Number | bool | Text | None
"""What a sentence of `domain.errors` may hold."""


class LaunchEnd(Model):
    """How a server ended: a code of `domain.errors`, or none where it was stopped as asked."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z-]*$", max_length=40)] = ""
    params: dict[ParameterName, Parameter] = Field(default_factory=dict, max_length=20)


class LaunchNotice(Model):
    """A code of `domain.errors` that is told on the dashboard while the server runs."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z-]+$", max_length=40)]


class FolderReport(Model):
    user: UserName
    node: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]*$", max_length=64)] = ""
