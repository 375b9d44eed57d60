"""The operator's `sign-in.yaml`: which doors there are, who may enter, who becomes what.

`docs/operators/sign-in.md` explains each field. It is read once, at start, and refused whole
where something cannot be right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ..domain.environment import Text
from ..domain.errors import Invalid
from ..domain.people import Role

MAX_BYTES = 1024 * 1024

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")]
"""The name of a provider: it is in addresses, and is stored with the people who come by it."""

_RESERVED_NAMES = {"federation", "demo", "lti", "password"}


def _web_address(url: str) -> str:
    if not url.startswith(("https://", "http://")) or any(c.isspace() for c in url):
        raise ValueError("write a whole address, such as https://idp.example.org")
    return url


Url = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_web_address)]
Fingerprint = Annotated[
    str, StringConstraints(pattern=r"^(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$", to_upper=True)
]
"""SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it."""

Affiliation = Annotated[str, StringConstraints(to_lower=True, min_length=1, max_length=100)]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoleTable(Model):
    """Affiliations (eduPerson, SupAnn) to roles; compared without regard to case.

    Who has both is what their primary affiliation says (`primary_decides`), as a doctoral student
    who teaches is first a student. `refuse` keeps out who has one of these and nothing better.
    """

    teacher: frozenset[Affiliation] = frozenset(
        {"faculty", "teacher", "researcher", "employee", "staff"}
    )
    student: frozenset[Affiliation] = frozenset(
        {"student", "alum", "affiliate", "library-walk-in", "member"}
    )
    refuse: frozenset[Affiliation] = frozenset()
    primary_decides: bool = True


class Institution(Model):
    """What holds for one identity provider of the federation, or one scope."""

    entity_id: str = Field(default="", max_length=1024)
    scope: str = Field(default="", max_length=255)
    allow: bool = True
    roles: RoleTable | None = None
    highest_role: Literal[Role.STUDENT, Role.TEACHER] = Role.TEACHER

    @model_validator(mode="after")
    def _one_of_both(self) -> Institution:
        if bool(self.entity_id) == bool(self.scope):
            raise ValueError("name an institution by its entity_id or by its scope")
        return self


class Metadata(Model):
    """Where the federation's metadata come from: an aggregate (`url`, `file`) or MDQ (`mdq`)."""

    url: Url | None = None
    file: Path | None = None
    mdq: Url | None = None
    fingerprints: Annotated[tuple[Fingerprint, ...], Field(min_length=1)]
    certificate_file: Path | None = None
    refresh_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600

    @model_validator(mode="after")
    def _one_source(self) -> Metadata:
        if sum(source is not None for source in (self.url, self.file, self.mdq)) != 1:
            raise ValueError("give one of url, file and mdq")
        return self


class Contact(Model):
    kind: Literal["technical", "support", "administrative", "security"] = "technical"
    name: str = Field(max_length=200)
    mail: str = Field(max_length=200)


class Federation(Model):
    """SAML 2.0 with one federation, or with a few identity providers of one's own."""

    entity_id: str = Field(default="", max_length=1024)
    title: Text = Text(fr="Votre établissement", en="Your institution")
    name: Text = Text(fr="mydocker", en="mydocker")
    description: Text = Text(
        fr="Environnements de travail à la demande", en="Working environments on demand"
    )
    information_url: Url | None = None
    privacy_url: Url | None = None
    logo_url: Url | None = None
    contacts: Annotated[tuple[Contact, ...], Field(max_length=10)] = ()
    entity_categories: Annotated[tuple[str, ...], Field(max_length=10)] = ()
    metadata: Metadata
    institutions: tuple[Institution, ...] = ()
    others_may_enter: bool = True
    entitlements_from: tuple[str, ...] = ()
    discovery_service: Url | None = None
    force_authentication: bool = False


class ClaimNames(Model):
    """The names that a provider gives what we read; OpenID federations use those of AARC/REFEDS."""

    display_name: str = "name"
    given_name: str = "given_name"
    family_name: str = "family_name"
    mail: str = "email"
    affiliations: str = "eduperson_affiliation"
    scoped_affiliations: str = "eduperson_scoped_affiliation"
    primary_affiliation: str = "eduperson_primary_affiliation"
    principal_name: str = "eduperson_principal_name"
    institution: str = "schac_home_organization"


class CasClaimNames(ClaimNames):
    """The names that CAS servers give: those of the LDAP attributes behind them."""

    display_name: str = "displayName"
    given_name: str = "givenName"
    family_name: str = "sn"
    mail: str = "mail"
    affiliations: str = "eduPersonAffiliation"
    scoped_affiliations: str = "eduPersonScopedAffiliation"
    primary_affiliation: str = "eduPersonPrimaryAffiliation"
    principal_name: str = "eduPersonPrincipalName"
    institution: str = "schacHomeOrganization"


class Provider(Model):
    """What OpenID Connect and CAS providers have in common."""

    name: Name
    title: Text
    help: Text | None = None
    roles: RoleTable | None = None
    highest_role: Literal[Role.STUDENT, Role.TEACHER] = Role.TEACHER
    claims: ClaimNames = ClaimNames()


class OpenIdProvider(Provider):
    """An OpenID Connect provider; its addresses come from its discovery document."""

    issuer: Url
    client_id: str = Field(min_length=1, max_length=500)
    client_secret_file: Path
    scopes: tuple[str, ...] = ("openid", "profile", "email")


class CasProvider(Provider):
    """A CAS 3.0 server; `url` is what comes before `/login` and `/p3/serviceValidate`."""

    claims: CasClaimNames = CasClaimNames()
    url: Url


class Lti(Model):
    """Moodle and others. Platforms are registered in the admin's pages.

    `frame_origins` are the origins that may show us inside their pages; others open a window.
    """

    frame_origins: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^https://[^/\s;,'\"]+$")], ...],
        Field(max_length=50),
    ] = ()


class Administrator(Model):
    """An administrator by configuration: an identity of a provider, never a user name."""

    provider: str
    identifier: str = Field(min_length=3, max_length=1000)

    @model_validator(mode="after")
    def _scoped(self) -> Administrator:
        if self.provider == "federation" and "@" not in self.identifier:
            raise ValueError("in the federation write a whole identifier, such as a.b@univ.example")
        return self


class Support(Model):
    mail: str = Field(default="", max_length=200)
    url: Url | None = None
    text: Text | None = None


class Link(Model):
    title: Text
    url: Url


class SignInSettings(Model):
    """All of `sign-in.yaml`."""

    version: Literal[1] = 1
    roles: RoleTable = RoleTable()
    role_days: Annotated[int, Field(ge=1, le=3660)] = 180
    clock_tolerance_seconds: Annotated[int, Field(ge=10, le=600)] = 180
    session_hours: Annotated[int, Field(ge=1, le=24 * 30)] = 24 * 14
    administrators: tuple[Administrator, ...] = ()
    federation: Federation | None = None
    openid: tuple[OpenIdProvider, ...] = ()
    cas: tuple[CasProvider, ...] = ()
    lti: Lti | None = None
    auto_login: bool = True
    support: Support = Support()
    links: Annotated[tuple[Link, ...], Field(max_length=20)] = ()

    @property
    def clock_tolerance(self) -> timedelta:
        return timedelta(seconds=self.clock_tolerance_seconds)

    @model_validator(mode="after")
    def _names_are_different(self) -> SignInSettings:
        names = [provider.name for provider in (*self.openid, *self.cas)]
        for name in names:
            if names.count(name) > 1 or name in _RESERVED_NAMES:
                raise ValueError(f"“{name}” is taken: give each provider a name of its own")
        return self


@dataclass(frozen=True)
class Place:
    """A hub, as far as the federation's functions need to know it (`federation.refresh.Site`)."""

    settings: SignInSettings
    state: Path
    hub_url: str


def load(path: Path) -> SignInSettings:
    """Read a file. Raises `Invalid` with the place and what to write instead."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(problems=[(str(path), f"cannot be read: {type(error).__name__}")]) from None
    if len(text) > MAX_BYTES:
        raise Invalid(problems=[(str(path), "this is too large for a configuration")])
    try:
        return SignInSettings.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise Invalid(problems=[(str(path), f"this is not YAML: {error}")]) from None
    except ValidationError as error:
        raise Invalid(
            problems=[
                (".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()
            ]
        ) from None
