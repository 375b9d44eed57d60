"""LTI platforms, such as a university's Moodle, and what an administrator decided of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from .claims import Line, Model
from .settings import Url


class PlatformStatus(StrEnum):
    """A platform that registered itself waits until an administrator has looked at it."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"


class JoinRule(Model):
    """“This platform is run by institution X”: its users are those of X's identity provider.

    The platform's value `claim` (as in `Claims.values`), with `@scope` after it where it has no @
    and `scope` is given, equals the value `attribute` of a sign-in whose issuer is `issuer`. A
    value of another scope joins nobody.
    """

    issuer: Annotated[Line, Field(min_length=1)]
    claim: Annotated[Line, Field(min_length=1, max_length=100)]
    attribute: Annotated[Line, Field(min_length=1, max_length=100)] = "eduPersonPrincipalName"
    scope: Annotated[Line, Field(max_length=255)] = ""


class Platform(Model):
    """What we know of a platform. `id` is its row's, 0 while it has none.

    `version` is that of LTI. With 1.3 the platform is known by `issuer` and `client_id`; with 1.1
    by its consumer key alone, which is `client_id`, and `issuer` is empty. A 1.3 launch has to
    come from one of `deployments`.
    """

    id: int = 0
    version: Literal["1.3", "1.1"] = "1.3"
    name: Annotated[Line, Field(min_length=1, max_length=100)]
    issuer: Annotated[Line, Field(max_length=1000)] = ""
    client_id: Annotated[Line, Field(min_length=1, max_length=255)]
    authorization_url: Url | None = None
    token_url: Url | None = None
    jwks_url: Url | None = None
    deployments: Annotated[
        tuple[Annotated[Line, Field(min_length=1, max_length=255)], ...], Field(max_length=200)
    ] = ()
    status: PlatformStatus = PlatformStatus.ACTIVE
    teachers: bool = False
    join_rule: JoinRule | None = None

    @property
    def provider(self) -> str:
        """How `Claims.provider` names it."""
        return f"lti-{self.id}"

    @model_validator(mode="after")
    def _complete(self) -> Platform:
        if self.version == "1.1":
            if self.issuer:
                raise ValueError("a platform of LTI 1.1 has a consumer key and no issuer")
            return self
        if not (self.issuer and self.authorization_url and self.jwks_url):
            raise ValueError("LTI 1.3 needs issuer, authorization_url and jwks_url")
        return self


class KnownPlatform(Model):
    """What the hub is told when somebody comes from a platform. `secret` is LTI 1.1's alone."""

    platform: Platform
    secret: SecretStr = SecretStr("")


class DeepLinkRequest(Model):
    """What a platform wants of a teacher's choice (LTI Deep Linking 2.0 §4.4).

    `return_url` is where the signed answer goes; `data` goes back as it came (None: there was
    none).
    """

    platform: int
    deployment: Annotated[Line, Field(max_length=255)] = ""
    return_url: Url
    accept_multiple: bool = False
    data: Annotated[str, Field(max_length=20_000)] | None = None
