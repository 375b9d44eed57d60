"""A platform registers itself: LTI Dynamic Registration 1.0, the tool's side.

An administrator of the platform opens our one-time link there; the platform adds where its
configuration is, and a token. We read the configuration, tell the platform who we are, and keep
what it says of itself; it waits until an administrator of ours has looked at it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from ...domain.errors import N_
from ...identity.claims import Line
from ...identity.lti import tool_addresses
from ...identity.platform import Platform, PlatformStatus
from ...identity.settings import Url
from .lti_api import origin
from .lti_calls import MEMBERS_SCOPE, as_json, ask, check_address, unreachable

TOOL_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"
_PLATFORM_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-platform-configuration"


@dataclass(frozen=True)
class ToolAddresses:
    """What an administrator pastes into a platform, and what a registration says."""

    login: str
    launch: str
    launch11: str
    jwks: str
    logo: str

    @classmethod
    def at(cls, hub_url: str) -> ToolAddresses:
        """`hub_url` is the hub's address as people see it, with a / at its end."""
        ours = tool_addresses(hub_url)
        return cls(
            login=ours["initiate_login_uri"],
            launch=ours["target_link_uri"],
            launch11=ours["launch11_uri"],
            jwks=ours["jwks_uri"],
            logo=f"{hub_url}logo",
        )


class _About(BaseModel):
    product_family_code: Annotated[str, StringConstraints(max_length=100)] = ""


class Configuration(BaseModel):
    """What we read of a platform's OpenID configuration (Dynamic Registration §3.4)."""

    issuer: Annotated[Url, StringConstraints(max_length=1000)]
    authorization_endpoint: Url
    registration_endpoint: Url
    jwks_uri: Url
    token_endpoint: Url | None = None
    about: Annotated[_About, Field(alias=_PLATFORM_CONFIGURATION)] = _About()


class _ToolConfiguration(BaseModel):
    deployment_id: Annotated[Line, Field(max_length=255)] = ""


class _Registered(BaseModel):
    """The platform's answer (§3.6)."""

    client_id: Annotated[Line, Field(min_length=1, max_length=255)]
    tool: Annotated[_ToolConfiguration, Field(alias=TOOL_CONFIGURATION)] = _ToolConfiguration()


def our_registration(tool: ToolAddresses, *, title: str, contacts: list[str]) -> dict[str, Any]:
    """What we tell a platform of ourselves (§3.5)."""
    return {
        "application_type": "web",
        "response_types": ["id_token"],
        "grant_types": ["implicit", "client_credentials"],
        "initiate_login_uri": tool.login,
        "redirect_uris": [tool.launch],
        "client_name": title,
        "jwks_uri": tool.jwks,
        "logo_uri": tool.logo,
        "token_endpoint_auth_method": "private_key_jwt",
        "contacts": contacts,
        "scope": MEMBERS_SCOPE,
        TOOL_CONFIGURATION: {
            "domain": urlsplit(tool.launch).netloc,
            "description": title,
            "target_link_uri": tool.launch,
            "claims": ["iss", "sub", "name", "given_name", "family_name", "email"],
            "messages": [
                {"type": "LtiResourceLinkRequest", "target_link_uri": tool.launch},
                {"type": "LtiDeepLinkingRequest", "target_link_uri": tool.launch},
            ],
        },
    }


async def register_at(
    configuration_url: str, token: str, ours: dict[str, Any], *, name: str, private: bool
) -> Platform:
    """Register with a platform, and what is to be stored of it. Raises `Unavailable`.

    `name` is how an administrator called it, "" if not at all. A platform speaks for its own host
    alone: its configuration and its registration lie where its issuer is.
    """
    shown = name or urlsplit(configuration_url).netloc or configuration_url[:100]
    answer = await ask(shown, configuration_url, private=private)
    try:
        theirs = Configuration.model_validate(as_json(shown, answer))
    except ValidationError as error:
        fields = sorted({str(fault["loc"][0]) for fault in error.errors()})
        detail = N_("its configuration is not that of an LTI 1.3 platform")
        raise unreachable(shown, detail, ", ".join(fields)) from None
    home = origin(theirs.issuer)
    if not home or home != origin(configuration_url):
        raise unreachable(shown, N_("it speaks for an issuer on another host"))
    if home != origin(theirs.registration_endpoint):
        raise unreachable(shown, N_("its registration is on another host"))
    for url in (theirs.authorization_endpoint, theirs.jwks_uri, theirs.token_endpoint):
        if url is not None:
            check_address(shown, url, private=private)
    answer = await ask(
        shown,
        theirs.registration_endpoint,
        private=private,
        method="POST",
        headers={
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        },
        body=json.dumps(ours),
    )
    try:
        registered = _Registered.model_validate(as_json(shown, answer))
        deployment = registered.tool.deployment_id
        return Platform(
            name=(name or _name(theirs))[:100],
            issuer=theirs.issuer,
            client_id=registered.client_id,
            authorization_url=theirs.authorization_endpoint,
            token_url=theirs.token_endpoint,
            jwks_url=theirs.jwks_uri,
            deployments=(deployment,) if deployment else (),
            status=PlatformStatus.PENDING,
        )
    except ValidationError as error:
        detail = N_("its answer to the registration is not one")
        raise unreachable(shown, detail, f"{error.error_count()} faults") from None


def _name(configuration: Configuration) -> str:
    host = urlsplit(configuration.issuer).netloc
    family = "".join(
        char for char in configuration.about.product_family_code if char.isalnum() or char in " -_."
    )
    return f"{family.capitalize()} ({host})" if family else host
