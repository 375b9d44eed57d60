"""LTI 1.3: is this message for us and from now, and what does it say (LTI 1.3 Core, Security 1.0).

The claims that ltiauthenticator lists are those that are read here. It is not imported: it brings
the whole hub with it, and checks neither deployment, `exp`, sizes nor `target_link_uri`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import jwt

from ..domain.errors import N_, Invalid, MydockerError, Refused
from . import clock
from .claims import Claims, Course, CourseRole, Door
from .lti import (
    MALFORMED,
    MISSING,
    NOT_OURS,
    NOT_TAKEN,
    Launch,
    MessageType,
    exact,
    invalid,
    join_link,
    join_rule_value,
    line,
    own_path,
    web_address,
)
from .platform import DeepLinkRequest, Platform
from .settings import SignInSettings

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DEEP_LINKING_SETTINGS = "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"
NAMES_AND_ROLES = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256")
MAX_TOKEN_BYTES = 256 * 1024
_MAX_LIFE = timedelta(hours=1)
_MAX_AGE = timedelta(minutes=10)
_MIN_RSA_BITS = 2048  # NIST SP 800-131A
_MAX_DATA = 20_000

_MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
_TEACHING = re.compile(
    # The sub-role is written with / in the standard (§A.2.3.2), with # by some platforms. Other
    # sub-roles come with their principal role, and count by it.
    re.escape(_MEMBERSHIP)
    + r"(?:#(?:Instructor|ContentDeveloper|TeachingAssistant)|[/#]Instructor#TeachingAssistant\w*)"
)

_NOT_READABLE = N_("this is no signed message")


@dataclass(frozen=True)
class Header:
    """What says which key verifies a message. `jku`, `x5u` and keys in a header are never read."""

    algorithm: str
    kid: str


class Late(Refused):
    """A message that came too late; its times say whether a clock is behind (`clock.check`)."""

    def __init__(self, times: clock.Times, platform: Platform) -> None:
        super().__init__("sign-in-message-expired", provider=platform.name)
        self.times = times


def read(id_token: str) -> tuple[Header, dict[str, Any]]:
    """Header and payload, not verified: only to know whose key to take. Raises `Invalid`."""
    if len(id_token) > MAX_TOKEN_BYTES:
        raise Invalid("too-large", limit=MAX_TOKEN_BYTES)
    try:
        whole = jwt.decode_complete(id_token, options={"verify_signature": False})
        header, payload = whole["header"], whole["payload"]
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _unreadable("id_token", type(error).__name__) from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _unreadable("alg", "algorithm")
    if not exact(kid):
        raise _unreadable("kid", "no kid")
    return Header(algorithm, kid), payload


def _unreadable(name: str, detail: str) -> Invalid:
    return Invalid(
        "lti-message-invalid", problems=[(name, _NOT_READABLE)], provider="LTI", log_detail=detail
    )


def verify(id_token: str, header: Header, key: Mapping[str, Any], platform: Platform) -> None:
    """Check the signature with a key of the platform's own set (RFC 7517). Raises `Refused`."""
    try:
        jwk = _usable(key, header.algorithm)
        jwt.decode_complete(
            id_token,
            jwk,
            algorithms=[header.algorithm],
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise Refused(
            "sign-in-message-invalid", provider=platform.name, log_detail=type(error).__name__
        ) from None


def _usable(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK:
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        raise ValueError("a key for something else")
    if key.get("kty") != ("EC" if algorithm.startswith("ES") else "RSA"):
        raise ValueError("a key of another kind")
    jwk = jwt.PyJWK(dict(key), algorithm)
    if jwk.key_type == "RSA" and jwk.key.key_size < _MIN_RSA_BITS:
        raise ValueError("a short key")
    return jwk


def audience(payload: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Issuer and audiences of a message, not verified; raises `Invalid` where they are none."""
    issuer, audiences = exact(payload.get("iss"), 1000), payload.get("aud")
    if isinstance(audiences, str):
        audiences = [audiences]
    if not issuer:
        raise _unreadable("iss", "no issuer")
    if not isinstance(audiences, list) or not 1 <= len(audiences) <= 20:
        raise _unreadable("aud", "no audience")
    if not all(exact(one) for one in audiences):
        raise _unreadable("aud", "no audience")
    return issuer, tuple(audiences)


def validate(
    payload: Mapping[str, Any],
    platform: Platform,
    *,
    now: datetime,
    tolerance: timedelta,
    hub_url: str,
) -> Launch:
    """What a message says whose signature is right.

    That its nonce is the one that was sent is for the door to compare: `Launch.nonce`. Raises
    `Invalid` and `Refused`: `sign-in-not-for-us`, `sign-in-clock`, `sign-in-message-expired`,
    `lti-deployment-unknown`, `lti-message-invalid`.
    """
    message = _Message(payload, platform)
    message.check_parties()
    issued_at = message.check_times(now, tolerance)
    kind = message.kind()
    deployment = message.deployment()
    subject = message.required("sub")
    target = message.target(hub_url)
    custom = message.object(CLAIM + "custom")
    role = message.role()
    resource_link = message.object(CLAIM + "resource_link")
    if kind is MessageType.RESOURCE_LINK and not exact(resource_link.get("id")):
        raise invalid(platform, "resource_link", MISSING)
    join = join_link(exact(custom.get("join"), 2000), target, hub_url)
    return Launch(
        message=kind,
        claims=message.claims(subject, custom),
        role=role,
        course=message.course(deployment, role, join.key if join else ""),
        join=join,
        deep_link=message.deep_link(deployment) if kind is MessageType.DEEP_LINKING else None,
        resource_link=exact(resource_link.get("id")),
        nonce=message.required("nonce"),
        issued_at=issued_at,
        return_url=web_address(
            message.object(CLAIM + "launch_presentation").get("return_url"), 2000
        ),
    )


@dataclass(frozen=True)
class _Message:
    payload: Mapping[str, Any]
    platform: Platform

    def required(self, name: str) -> str:
        value = self.payload.get(name)
        if value is None or value == "":
            raise invalid(self.platform, _short(name), MISSING)
        if not exact(value):
            raise invalid(self.platform, _short(name), MALFORMED)
        return str(value)

    def object(self, name: str) -> Mapping[str, Any]:
        value = self.payload.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise invalid(self.platform, _short(name), MALFORMED)
        return value

    def check_parties(self) -> None:
        """Security 1.0 §5.1.3: issuer, audience, authorised party."""
        issuer, audiences = audience(self.payload)
        party = self.payload.get("azp")
        client = self.platform.client_id
        wrong = (
            issuer != self.platform.issuer
            or client not in audiences
            or (party is not None and party != client)
            or (party is None and len(audiences) > 1)
        )
        if wrong:
            raise Refused("sign-in-not-for-us", provider=self.platform.name)

    def check_times(self, now: datetime, tolerance: timedelta) -> datetime:
        issued, expires = self.instant("iat"), self.instant("exp")
        begins = self.instant("nbf") if self.payload.get("nbf") is not None else None
        times = clock.Times(issued, begins, min(expires, issued + _MAX_AGE))
        if not timedelta() < expires - issued <= _MAX_LIFE or not times.make_sense:
            raise invalid(self.platform, "exp", NOT_TAKEN)
        if now - times.not_on_or_after >= tolerance:
            raise Late(times, self.platform)
        clock.check(times, now=now, tolerance=tolerance, provider=self.platform.name)
        return issued

    def instant(self, name: str) -> datetime:
        value = self.payload.get(name)
        if value is None:
            raise invalid(self.platform, name, MISSING)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(self.platform, name, MALFORMED)
        if not 0 <= value < 2**35:  # nor infinite, nor no number at all
            raise invalid(self.platform, name, MALFORMED)
        return datetime.fromtimestamp(value, UTC)

    def kind(self) -> MessageType:
        if self.required(CLAIM + "version") != "1.3.0":
            raise invalid(self.platform, "version", NOT_TAKEN)
        kind = self.required(CLAIM + "message_type")
        if kind not in set(MessageType):
            raise invalid(self.platform, "message_type", NOT_TAKEN)
        return MessageType(kind)

    def deployment(self) -> str:
        deployment = self.required(CLAIM + "deployment_id")
        if deployment not in self.platform.deployments:
            raise Refused(
                "lti-deployment-unknown", provider=self.platform.name, deployment=deployment
            )
        return deployment

    def target(self, hub_url: str) -> str:
        value = self.payload.get(CLAIM + "target_link_uri")
        if value is None or value == "":
            raise invalid(self.platform, "target_link_uri", MISSING)
        if not isinstance(value, str) or own_path(value, hub_url) is None:
            raise invalid(self.platform, "target_link_uri", NOT_OURS)
        return value

    def role(self) -> CourseRole:
        """Teaching roles of this course alone; not those of an institution or of its system."""
        roles = self.payload.get(CLAIM + "roles")
        if roles is None:
            return CourseRole.STUDENT
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise invalid(self.platform, "roles", MALFORMED)
        teaches = any(_TEACHING.fullmatch(role) for role in roles)
        return CourseRole.TEACHER if teaches else CourseRole.STUDENT

    def claims(self, subject: str, custom: Mapping[str, Any]) -> Claims:
        payload = self.payload
        values = {
            "user_username": exact(self.object(CLAIM + "ext").get("user_username")),
            "person_sourcedid": exact(self.object(CLAIM + "lis").get("person_sourcedid")),
            "preferred_username": exact(payload.get("preferred_username")),
            **join_rule_value(self.platform, custom),
        }
        return Claims(
            door=Door.LTI13,
            provider=self.platform.provider,
            issuer=self.platform.issuer,
            identifiers=(("sub", subject),),
            display_name=line(payload.get("name")),
            given_name=line(payload.get("given_name")),
            family_name=line(payload.get("family_name")),
            mail=exact(payload.get("email")),
            values={name: value for name, value in values.items() if value},
        )

    def course(self, deployment: str, role: CourseRole, join_key: str) -> Course | None:
        context = self.object(CLAIM + "context")
        identifier = context.get("id")
        if identifier is None or identifier == "":
            return None
        if not exact(identifier):
            raise invalid(self.platform, "context", MALFORMED)
        service = self.object(NAMES_AND_ROLES)
        return Course(
            platform=self.platform.id,
            context=identifier,
            title=line(context.get("title")) or line(context.get("label")),
            deployment=deployment,
            role=role,
            memberships_url=web_address(service.get("context_memberships_url")),
            join_key=join_key,
        )

    def deep_link(self, deployment: str) -> DeepLinkRequest:
        """LTI Deep Linking 2.0 §4.4."""
        wanted = self.object(DEEP_LINKING_SETTINGS)
        return_url = web_address(wanted.get("deep_link_return_url"), 2000)
        # The answer goes there through the teacher's browser: not in the clear, but for trying out.
        if not return_url or urlsplit(return_url).scheme not in {"https", self._scheme}:
            raise invalid(self.platform, "deep_link_return_url", MALFORMED)
        types = wanted.get("accept_types")
        if not isinstance(types, list) or "ltiResourceLink" not in types:
            raise invalid(self.platform, "accept_types", NOT_TAKEN)
        data = wanted.get("data")
        if data is not None and not (isinstance(data, str) and _is_text(data)):
            raise invalid(self.platform, "data", MALFORMED)
        return DeepLinkRequest(
            platform=self.platform.id,
            deployment=deployment,
            return_url=return_url,
            accept_multiple=wanted.get("accept_multiple") is True,
            data=data,
        )

    @property
    def _scheme(self) -> str:
        return urlsplit(self.platform.authorization_url or "https:").scheme


def _is_text(data: str) -> bool:
    try:
        return len(data.encode()) <= _MAX_DATA
    except UnicodeEncodeError:
        return False


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Explanation:
    """What would be decided of a recorded launch. Its signature and its nonce are not judged."""

    launch: Launch | None = None
    refusal: MydockerError | None = None
    issued_at: datetime | None = None


def explain(
    id_token: str, platform: Platform, settings: SignInSettings, *, hub_url: str
) -> Explanation:
    """For the help desk: a pasted message, judged as at the moment at which it was made."""
    issued_at = None
    try:
        _, payload = read(id_token)
        issued_at = _Message(payload, platform).instant("iat")
        launch = validate(
            payload,
            platform,
            now=issued_at,
            tolerance=settings.clock_tolerance,
            hub_url=hub_url,
        )
    except MydockerError as error:
        return Explanation(refusal=error, issued_at=issued_at)
    return Explanation(launch=launch, issued_at=issued_at)
