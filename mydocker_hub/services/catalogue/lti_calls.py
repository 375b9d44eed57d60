"""What we ask of LTI platforms: addresses that others named, bounded in every way.

Errors are `platform-unreachable` with a `detail` in words, marked for translation.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode, urljoin, urlsplit

import jwt
from pydantic import BaseModel, Field, StringConstraints, ValidationError
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

from ...domain.errors import N_, Unavailable
from ...httpclient import NotAllowed, guarded_client
from ...identity.platform import Platform
from ...store.platforms import ToolKey

CONNECT_SECONDS = 5.0
SECONDS = 10.0

MEMBERS_SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
_MEMBERS_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
_MOST_PAGES = 20
_MOST_MEMBERS = 10_000
_ASSERTION_LASTS = timedelta(minutes=5)


def unreachable(name: str, detail: str, log_detail: str = "") -> Unavailable:
    return Unavailable(
        "platform-unreachable", provider=name, detail=detail, log_detail=log_detail[:500]
    )


def check_address(name: str, url: str, *, private: bool) -> None:
    """Refuse an address that nobody should be asked at; it is checked again when connecting."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:
        whole = False
    whole = whole and url.isprintable() and " " not in url
    if not whole or (parts.scheme != "https" and not (private and parts.scheme == "http")):
        raise unreachable(name, N_("its address does not begin with https://"))


async def ask(
    name: str,
    url: str,
    *,
    private: bool,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> HTTPResponse:
    """One request: no redirect is followed, at most 256 kB are read, within ten seconds.

    `private` allows addresses that are not of the internet, and http. Raises `Unavailable`.
    """
    check_address(name, url, private=private)
    request = HTTPRequest(
        url,
        method=method,
        headers={"Accept": "application/json", **(headers or {})},
        body=body,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SECONDS,
        follow_redirects=False,
        decompress_response=False,  # what is small on the wire stays small here
    )
    try:
        return await guarded_client(private=private).fetch(request, raise_error=False)
    except NotAllowed as error:
        detail = N_("its address is on this machine or on a private network")
        raise unreachable(name, detail) from error
    except HTTPTimeoutError as error:
        raise unreachable(name, N_("it takes too long"), str(error)) from error
    except HTTPStreamClosedError as error:
        detail = N_("it closed the connection, or sent more than it should")
        raise unreachable(name, detail, str(error)) from error
    except (OSError, HTTPClientError, ValueError) as error:
        detail = N_("no connection could be made")
        raise unreachable(name, detail, f"{type(error).__name__}: {error}") from error


def as_json(name: str, answer: HTTPResponse) -> dict[str, Any]:
    """The JSON object of an answer that says that all went well. Raises `Unavailable`."""
    if answer.code in range(300, 400):
        raise unreachable(name, N_("it sends us elsewhere"), f"HTTP {answer.code}")
    if answer.code not in range(200, 300):
        raise unreachable(name, N_("it refused what we asked"), f"HTTP {answer.code}")
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise unreachable(name, N_("its answer is not JSON"))
    return value


def may_be_private(platform: Platform, url: str) -> bool:
    """Whether an address is on the host that an administrator approved, wherever that is."""
    host = urlsplit(url).hostname
    return host is not None and host == urlsplit(platform.issuer).hostname


# --- tokens (RFC 7523 §2.2, LTI Security Framework 1.0 §4) ---------------------------------------


def client_assertion(platform: Platform, key: ToolKey, now: datetime) -> str:
    assert platform.token_url is not None  # noqa: S101 - callers have looked
    return jwt.encode(
        {
            "iss": platform.client_id,
            "sub": platform.client_id,
            "aud": platform.token_url,
            "iat": now,
            "exp": now + _ASSERTION_LASTS,
            "jti": secrets.token_urlsafe(16),
        },
        key.private_pem,
        algorithm="RS256",
        headers={"kid": key.kid},
    )


async def access_token(platform: Platform, key: ToolKey, now: datetime) -> str:
    """A token for the names and roles of courses. Raises `Unavailable`."""
    if platform.token_url is None:
        raise unreachable(platform.name, N_("it has no address for tokens"))
    answer = await ask(
        platform.name,
        platform.token_url,
        private=may_be_private(platform, platform.token_url),
        method="POST",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(
            {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": client_assertion(platform, key, now),
                "scope": MEMBERS_SCOPE,
            }
        ),
    )
    token = as_json(platform.name, answer).get("access_token")
    # It goes into a header: no spaces, no line ends.
    if not isinstance(token, str) or not token.isascii() or not 0 < len(token) <= 8000:
        raise unreachable(platform.name, N_("it gave no token"))
    if any(char <= " " for char in token):
        raise unreachable(platform.name, N_("it gave no token"))
    return token


async def count_of_keys(platform: Platform) -> int:
    """How many keys the platform publishes. Raises `Unavailable`."""
    assert platform.jwks_url is not None  # noqa: S101 - of LTI 1.3
    private = may_be_private(platform, platform.jwks_url)
    answer = await ask(platform.name, platform.jwks_url, private=private)
    keys = as_json(platform.name, answer).get("keys")
    if not isinstance(keys, list) or not keys:
        raise unreachable(platform.name, N_("it publishes no key"))
    return len(keys)


# --- names and roles (LTI NRPS 2.0) --------------------------------------------------------------

Short = Annotated[str, StringConstraints(max_length=255)]


class Member(BaseModel):
    """Somebody in a course, as the platform says."""

    user_id: Short
    name: Short | None = None
    given_name: Short | None = None
    family_name: Short | None = None
    status: Short = "Active"
    roles: Annotated[list[Short], Field(max_length=100)] = []

    @property
    def shown_name(self) -> str:
        whole = " ".join(part for part in (self.given_name, self.family_name) if part)
        return self.name or whole

    @property
    def teaches(self) -> bool:
        """Instructors, teaching assistants, content developers; short names as Moodle's too."""
        names = {role.rpartition("#")[2].rpartition("/")[2] for role in self.roles}
        return bool(names & {"Instructor", "TeachingAssistant", "ContentDeveloper"})


class _Members(BaseModel):
    members: Annotated[list[Member], Field(max_length=_MOST_MEMBERS)]


@dataclass(frozen=True)
class Members:
    """`whole` says whether these are all."""

    items: tuple[Member, ...]
    whole: bool = True


_LINK = re.compile(r"<([^<>]*)>([^<]*)")


def next_link(headers: list[str]) -> str:
    """The address of the next page among Link headers (RFC 8288, `rel="next"`), or ""."""
    for header in headers:
        for address, attributes in _LINK.findall(header[:8000]):
            names = [part.strip(" ,").replace('"', "").lower() for part in attributes.split(";")]
            if "rel=next" in names:
                return str(address)
    return ""


async def members(platform: Platform, url: str, key: ToolKey, now: datetime) -> Members:
    """Who is in a course. The token goes to the platform's own hosts only. Raises `Unavailable`."""
    _own_host(platform, url)
    token = await access_token(platform, key, now)
    found: list[Member] = []
    for _ in range(_MOST_PAGES):
        answer = await ask(
            platform.name,
            url,
            private=may_be_private(platform, url),
            headers={"Authorization": f"Bearer {token}", "Accept": _MEMBERS_TYPE},
        )
        try:
            found += _Members.model_validate(as_json(platform.name, answer)).members
        except ValidationError as error:
            detail = N_("its list of members is not one")
            raise unreachable(platform.name, detail, f"{error.error_count()} faults") from None
        following = next_link(answer.headers.get_list("Link"))
        if not following:
            return Members(tuple(found))
        if len(found) >= _MOST_MEMBERS:
            break
        url = urljoin(url, following)
        _own_host(platform, url)
    return Members(tuple(found[:_MOST_MEMBERS]), whole=False)


def _own_host(platform: Platform, url: str) -> None:
    """Refuse to show a token to a host that is not the platform's."""
    own = {_place(one) for one in (platform.issuer, platform.token_url, platform.authorization_url)}
    if _place(url) not in own - {None}:
        raise unreachable(
            platform.name,
            N_("its list of members is on a host that is not its own"),
            f"host {urlsplit(url).netloc}"[:200],
        )


def _place(url: str | None) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url or "")
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
