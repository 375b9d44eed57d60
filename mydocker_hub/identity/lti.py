"""What LTI 1.3 and 1.1 have in common: a launch, and the join link that its activity opens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote, unquote, urlsplit

from ..domain.errors import N_, Invalid
from .claims import Claims, Course, CourseRole, Model
from .platform import DeepLinkRequest, Platform

_KEY = re.compile(r"[A-Za-z0-9]{12,64}")  # domain.environment.JOIN_KEY_PATTERN
_JOIN_PATH = re.compile(
    rf"(?:hub/)?(?:(?:shell/)?join|lti/launch11)/({_KEY.pattern})"
    r"(?:/(?:hub/)?user-redirect/([^?]*))?/?(?:\?(.*))?"
)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_MAX_ADDRESS = 2000

# The ends of the sentence of `lti-message-invalid`, after the name of what is wrong.
MISSING = N_("this is missing")
MALFORMED = N_("this has not the form that the standard asks for")
NOT_TAKEN = N_("this is not what this service takes")
NOT_OURS = N_("this is not an address of this service")


class MessageType(StrEnum):
    """The messages that we answer; LTI 1.1 has only the first."""

    RESOURCE_LINK = "LtiResourceLinkRequest"
    DEEP_LINKING = "LtiDeepLinkingRequest"


class JoinLink(Model):
    """A join link, and what comes after it in the old addresses: path and query in the server."""

    key: str
    below: str = ""

    @property
    def path(self) -> str:
        """Its path below the hub's own."""
        return f"join/{self.key}/user-redirect/{self.below}" if self.below else f"join/{self.key}"


class Launch(Model):
    """What a verified launch says.

    `role` is that in the course, also where the platform names no course. `deep_link` is there
    with a deep linking request. `nonce` is for the door to compare or to spend. `return_url` is
    where the platform wants people back, if it says so.
    """

    message: MessageType
    claims: Claims
    role: CourseRole = CourseRole.STUDENT
    course: Course | None = None
    join: JoinLink | None = None
    deep_link: DeepLinkRequest | None = None
    resource_link: str = ""
    nonce: str
    issued_at: datetime
    return_url: str = ""


def invalid(platform: Platform, name: str, problem: str) -> Invalid:
    """A message that cannot be right; `problem` is a sentence's end, marked for translation."""
    return Invalid("lti-message-invalid", problems=[(name, problem)], provider=platform.name)


def line(value: object, limit: int = 255) -> str:
    """A text to show, such as a name: one line, cut at `limit`; empty where it is no text."""
    if not isinstance(value, str):
        return ""
    text = value[: 2 * limit].encode("utf-8", "replace").decode()
    return _CONTROL.sub(" ", text).strip()[:limit]


def exact(value: object, limit: int = 255) -> str:
    """A text that is compared: as it came, or empty where it is not usable as it is."""
    if not isinstance(value, str) or len(value) > limit or _CONTROL.search(value):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return ""
    return value


def web_address(value: object, limit: int = 1000) -> str:
    """An address with http or https, else the empty text: never `javascript:`."""
    text = exact(value, limit)
    if _UNSAFE.search(text):
        return ""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return text if usable else ""


def own_path(address: str, hub_url: str) -> str | None:
    """What comes after our base URL in an address of ours, with its query; None in any other.

    `hub_url` is `https://hub.example.org/hub/`, and the base URL then `/`.
    """
    ours = urlsplit(hub_url)
    if len(address) > _MAX_ADDRESS or _UNSAFE.search(address):
        return None
    try:
        parts = urlsplit(address)
        same_place = (
            parts.scheme == ours.scheme
            and parts.hostname == ours.hostname
            and (parts.port or _DEFAULT_PORTS[parts.scheme])
            == (ours.port or _DEFAULT_PORTS[ours.scheme])
        )
    except (ValueError, KeyError):
        return None
    base = ours.path.removesuffix("hub/")
    path = parts.path or "/"
    if not same_place or "@" in parts.netloc or not path.startswith(base):
        return None
    if ".." in unquote(path).split("/"):
        return None
    rest = path.removeprefix(base)
    return f"{rest}?{parts.query}" if parts.query else rest


def join_link(custom: str, target: str, hub_url: str) -> JoinLink | None:
    """Which join link an activity opens: its custom parameter `join`, or its own address.

    Each is a key or a whole address of ours: `/join/KEY`, the original's `/shell/join/KEY…`, and
    for LTI 1.1 also `/hub/lti/launch11/KEY`. Whatever else they hold opens nothing.
    """
    for written in (custom.strip(), target):
        if _KEY.fullmatch(written):
            return JoinLink(key=written)
        match = _JOIN_PATH.fullmatch(own_path(written, hub_url) or "")
        if match:
            key, below, query = match.groups()
            if not below:
                return JoinLink(key=key)
            below = f"{below}?{query}" if query else below
            return JoinLink(key=key, below=quote(below, safe="%/?:@!$&'()*+,;=~[]"))
    return None


def join_rule_value(platform: Platform, custom: Mapping[str, object]) -> dict[str, str]:
    """The custom parameter that the platform's join rule names as `custom.NAME`, if it does.

    A teacher writes custom parameters freely, unless the platform's administrator has set the one
    of that name for the whole tool; so no other is kept, and none under a plain name.
    """
    claim = platform.join_rule.claim if platform.join_rule else ""
    value = exact(custom.get(claim.removeprefix("custom."))) if claim.startswith("custom.") else ""
    return {claim: value} if value else {}


def tool_addresses(hub_url: str) -> dict[str, str]:
    """What a platform's administrator enters there, by the names of Dynamic Registration 1.0.

    `launch11_uri` is for LTI 1.1; a join link's key may come after it.
    """
    base = hub_url.removesuffix("hub/")
    return {
        "initiate_login_uri": f"{hub_url}lti/login",
        "redirect_uri": f"{hub_url}lti/launch",
        "target_link_uri": f"{hub_url}lti/launch",
        "deep_linking_uri": f"{hub_url}lti/launch",
        "jwks_uri": f"{base}services/catalogue/lti/jwks.json",
        "launch11_uri": f"{hub_url}lti/launch11",
    }
