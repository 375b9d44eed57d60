"""What the hub asks the catalogue of LTI platforms."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from ...domain.errors import Refused
from ...identity.claims import Course, Line, Model
from ...identity.platform import DeepLinkRequest, Platform, PlatformStatus
from ...store import courses, platforms
from ...store.database import Session
from ...web.operations import Answer, Operation
from .api import ApiCall

SEAL = "lti"
"""The purpose under which secrets of LTI are sealed in the database."""


class PlatformQuery(Model):
    """LTI 1.3: the issuer, and the client where it is known; 1.1: the consumer key alone."""

    version: Literal["1.3", "1.1"]
    issuer: Annotated[Line, Field(max_length=1000)] = ""
    client_id: Annotated[Line, Field(max_length=255)] = ""


class FoundPlatform(Model):
    platform: Platform
    secret: str = Field(default="", repr=False)


class FoundPlatforms(Model):
    items: tuple[FoundPlatform, ...]


class ChoiceRequest(Model):
    user: Annotated[Line, Field(min_length=1, max_length=255)]
    request: DeepLinkRequest
    course: Course | None = None


class ChoiceBegun(Model):
    id: str


_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")  # it goes into headers


def origin(url: str | None) -> str:
    """Scheme and host, as a browser compares them; "" for what has none."""
    try:
        parts = urlsplit(url or "")
        port = parts.port
    except ValueError:
        return ""
    usual = {"https": 443, "http": 80}
    host = parts.hostname or ""
    if parts.scheme not in usual or "@" in parts.netloc or not _HOST.fullmatch(host):
        return ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + ("" if port in {None, usual[parts.scheme]} else f":{port}")


def origins(platform: Platform) -> set[str]:
    """The origins that are a platform's own."""
    return {origin(platform.issuer), origin(platform.authorization_url)} - {""}


def check_return(platform: Platform, return_url: str) -> None:
    """Refuse to send anything to an address that is not the platform's own."""
    if platform.status is not PlatformStatus.ACTIVE:
        raise Refused("lti-platform-closed", provider=platform.name)
    if origin(return_url) not in origins(platform):
        raise Refused(
            "lti-message-invalid",
            provider=platform.name,
            detail="the address for the answer is not its own",
        )


def find_platforms(session: Session, call: ApiCall) -> Answer:
    query: PlatformQuery = call.body
    found = platforms.find(
        session,
        version=query.version,
        issuer=query.issuer,
        client_id=query.client_id,
        seal=call.context.seal(SEAL),
    )
    return Answer(
        FoundPlatforms(
            items=tuple(
                FoundPlatform(platform=one.platform, secret=one.secret.get_secret_value())
                for one in found
            )
        )
    )


def begin_choice(session: Session, call: ApiCall) -> Answer:
    asked: ChoiceRequest = call.body
    platform = platforms.platform(session, asked.request.platform).platform
    check_return(platform, asked.request.return_url)
    if asked.course is not None and asked.course.platform != platform.id:
        raise Refused("not-allowed")
    return Answer(
        ChoiceBegun(
            id=courses.begin_choice(session, asked.user, asked.request, asked.course, call.now)
        )
    )


OPERATIONS: list[Operation] = [
    Operation(
        "POST", "/platforms/find", "findPlatforms",
        "The LTI platforms of an issuer or a consumer key.",
        find_platforms, caller="hub", body=PlatformQuery, returns=FoundPlatforms,
    ),
    Operation(
        "POST", "/deep-links", "beginDeepLink",
        "Begin a teacher's choice for a course.",
        begin_choice, caller="hub", body=ChoiceRequest, returns=ChoiceBegun, errors=(404,),
    ),
]  # fmt: skip
