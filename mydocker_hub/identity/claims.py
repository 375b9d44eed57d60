"""What a verified message says of a person, whichever door it came through.

Nothing that was not verified gets in here: a door makes `Claims` when the signature, the
audience, the time and the browser are right, and not before.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..domain.people import Role

Line = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text without control characters: what comes from outside ends up in logs and pages."""

Words = Annotated[tuple[Line, ...], Field(max_length=100)]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Door(StrEnum):
    """The protocol of a sign-in."""

    SAML = "saml"
    OIDC = "oidc"
    CAS = "cas"
    LTI13 = "lti13"
    LTI11 = "lti11"


class Claims(Model):
    """What a door says of a person.

    `provider` is the name that the configuration gives the door (`federation`, that of an OpenID or
    CAS provider), or `lti-ID` with the id of the platform's row. `issuer` is who asserts: entityID,
    `iss`, the address of the CAS server, the platform's issuer (LTI 1.1: `lti11:` and its key).

    `identifiers` are the stable identifiers, the strongest first, as (kind, value): for the
    federation subject-id, pairwise-id, eduPersonPrincipalName; else one alone. The first is the key
    of the account, with `issuer`. Scoped ones are in lower case, as they compare (SAML V2.0 Subject
    Identifier Attributes Profile 1.0 §3.2). Never a mail address.

    `values` are further values by name, for the rules that join accounts and for naming
    administrators: `uid`, `user_username`, an eduPersonPrincipalName…
    """

    door: Door
    provider: Annotated[Line, Field(min_length=1, max_length=60)]
    issuer: Annotated[Line, Field(min_length=1)]
    identifiers: Annotated[tuple[tuple[Line, Line], ...], Field(min_length=1, max_length=10)]
    display_name: Annotated[Line, Field(max_length=255)] = ""
    given_name: Annotated[Line, Field(max_length=255)] = ""
    family_name: Annotated[Line, Field(max_length=255)] = ""
    mail: Annotated[Line, Field(max_length=255)] = ""
    institution: Annotated[Line, Field(max_length=255)] = ""
    affiliations: Words = ()
    primary_affiliation: Line = ""
    entitlements: Words = ()
    values: Annotated[dict[Line, Line], Field(max_length=30)] = Field(default_factory=dict)


class CourseRole(StrEnum):
    """What somebody is in a course of an LTI platform."""

    TEACHER = "teacher"
    STUDENT = "student"


class Course(Model):
    """The course that an LTI launch came from (LTI 1.3 Core §5.4.1, context claim).

    `platform` is the id of the platform's row. `join_key` is the join link that the activity
    opens, if it names one: it ties its environment to the course.
    """

    platform: int
    context: Annotated[Line, Field(min_length=1, max_length=255)]
    title: Annotated[Line, Field(max_length=255)] = ""
    deployment: Annotated[Line, Field(max_length=255)] = ""
    role: CourseRole = CourseRole.STUDENT
    memberships_url: Annotated[Line, Field(max_length=1000)] = ""
    join_key: Annotated[Line, Field(max_length=64)] = ""


class Spent(Model):
    """A thing that is used once, such as an assertion: its digest, and until when to remember."""

    key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+:[0-9a-f]{32,64}$", max_length=100)]
    until: datetime


class SignIn(Model):
    """What the hub asks the catalogue when a door was passed.

    `role` is what the door's attributes give (`identity.roles`); `admin` says that the
    configuration names this identity as an administrator. `link_to` is the account that its
    person, signed in, wants to reach by this door too.
    """

    claims: Claims
    role: Role = Role.STUDENT
    admin: bool = False
    spent: Annotated[tuple[Spent, ...], Field(max_length=5)] = ()
    link_to: Annotated[Line, Field(max_length=255)] = ""
    course: Course | None = None


class Standing(Model):
    """Who somebody is at the hub, and what they may do now.

    `other` is the account that a second door already leads to, when a person wants to join it to
    theirs: they are asked which of the two to keep.
    """

    name: str
    display_name: str = ""
    roles: frozenset[Role]
    blocked: bool = False
    new: bool = False
    other: str = ""
