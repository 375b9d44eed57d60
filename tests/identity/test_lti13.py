"""LTI 1.3: what is accepted of a platform, and what is not.

The names of 1EdTech's certification are those that hypothesis/lms carries in its tests. The matrix
after them is what ltiauthenticator 1.6.3 refuses, and what it accepts and should not.
"""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from ltiauthenticator.lti13.constants import (
    LTI13_CUSTOM_CLAIM,
    LTI13_LIS_CLAIMS,
    LTI13_RESOURCE_LINK_REQUEST_REQUIRED_CLAIMS,
)

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.identity import lti13
from mydocker_hub.identity.claims import CourseRole
from mydocker_hub.identity.lti import JoinLink, Launch, MessageType, join_link, own_path
from mydocker_hub.identity.platform import JoinRule, Platform
from mydocker_hub.identity.settings import SignInSettings

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
HUB = "https://hub.example.org/hub/"
KEY = "AbCdEfGhIjKlMnOpQrSt"
CLAIM = lti13.CLAIM
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
INSTITUTION = "http://purl.imsglobal.org/vocab/lis/v2/institution/person"
SYSTEM = "http://purl.imsglobal.org/vocab/lis/v2/system/person"
ABSENT = object()

MOODLE = Platform(
    id=7,
    name="Moodle",
    issuer="https://moodle.example.org",
    client_id="client-1",
    authorization_url="https://moodle.example.org/mod/lti/auth.php",
    jwks_url="https://moodle.example.org/mod/lti/certs.php",
    deployments=("1", "2"),
)

LAUNCH: dict[str, Any] = {
    "iss": "https://moodle.example.org",
    "aud": "client-1",
    "sub": "42",
    "nonce": "nonce-1",
    "iat": SECONDS - 1,
    "exp": SECONDS + 59,
    "given_name": "Zoé",
    "family_name": "Martin",
    "name": "Zoé Martin",
    "email": "zoe@example.org",
    CLAIM + "version": "1.3.0",
    CLAIM + "message_type": "LtiResourceLinkRequest",
    CLAIM + "deployment_id": "1",
    CLAIM + "target_link_uri": f"https://hub.example.org/join/{KEY}",
    CLAIM + "roles": [f"{MEMBERSHIP}#Instructor"],
    CLAIM + "resource_link": {"id": "5", "title": "TP 1"},
    CLAIM + "context": {
        "id": "3",
        "label": "ALGO",
        "title": "Algorithmique",
        "type": ["CourseSection"],
    },
    CLAIM + "ext": {"lms": "moodle-2", "user_username": "zmartin"},
    CLAIM + "launch_presentation": {"return_url": "https://moodle.example.org/return"},
    lti13.NAMES_AND_ROLES: {
        "context_memberships_url": "https://moodle.example.org/members",
        "service_versions": ["1.0", "2.0"],
    },
}

DEEP_LINKING: dict[str, Any] = {
    **{name: value for name, value in LAUNCH.items() if name != CLAIM + "resource_link"},
    CLAIM + "message_type": "LtiDeepLinkingRequest",
    lti13.DEEP_LINKING_SETTINGS: {
        "deep_link_return_url": "https://moodle.example.org/return?id=1",
        "accept_types": ["ltiResourceLink"],
        "accept_multiple": True,
        "data": "opaque=42",
    },
}


def changed(base: dict[str, Any], **claims: Any) -> dict[str, Any]:
    """A message with other claims: LTI's by their short names, others as they are."""
    message = dict(base)
    for name, value in claims.items():
        full = name if name in _PLAIN else CLAIM + name
        if value is ABSENT:
            message.pop(full, None)
        else:
            message[full] = value
    return message


_PLAIN = {
    *("iss", "aud", "azp", "sub", "nonce", "iat", "exp", "nbf"),
    *("name", "given_name", "family_name", "email", "preferred_username"),
}


def validate(message: Any, platform: Platform = MOODLE, hub_url: str = HUB) -> Launch:
    return lti13.validate(
        message, platform, now=NOW, tolerance=timedelta(minutes=3), hub_url=hub_url
    )


def refusal(message: Any, platform: Platform = MOODLE) -> MydockerError:
    with pytest.raises(MydockerError) as caught:
        validate(message, platform)
    return caught.value


def about(error: MydockerError) -> str:
    """Which claim an error of the message's form is about."""
    problems: list[tuple[str, str]] = getattr(error, "problems", [])
    return problems[0][0] if problems else ""


def test_what_an_honest_launch_says() -> None:
    launch = validate(LAUNCH)

    assert launch.message is MessageType.RESOURCE_LINK
    assert launch.nonce == "nonce-1"
    assert launch.join == JoinLink(key=KEY)
    assert launch.resource_link == "5"
    assert launch.role is CourseRole.TEACHER
    assert launch.return_url == "https://moodle.example.org/return"
    claims = launch.claims
    assert (claims.provider, claims.issuer) == ("lti-7", "https://moodle.example.org")
    assert claims.identifiers == (("sub", "42"),)
    assert (claims.display_name, claims.mail) == ("Zoé Martin", "zoe@example.org")
    assert claims.values == {"user_username": "zmartin"}
    course = launch.course
    assert course is not None
    assert (course.platform, course.context, course.title) == (7, "3", "Algorithmique")
    assert (course.deployment, course.role, course.join_key) == ("1", CourseRole.TEACHER, KEY)
    assert course.memberships_url == "https://moodle.example.org/members"


def test_what_an_honest_choice_says() -> None:
    launch = validate(DEEP_LINKING)

    assert launch.message is MessageType.DEEP_LINKING
    assert launch.deep_link is not None
    assert launch.deep_link.return_url == "https://moodle.example.org/return?id=1"
    assert launch.deep_link.accept_multiple
    assert (launch.deep_link.platform, launch.deep_link.deployment) == (7, "1")
    assert launch.deep_link.data == "opaque=42"


def test_no_data_is_not_empty_data() -> None:
    wanted = dict(DEEP_LINKING[lti13.DEEP_LINKING_SETTINGS])
    del wanted["data"]
    without = validate({**DEEP_LINKING, lti13.DEEP_LINKING_SETTINGS: wanted})
    assert without.deep_link is not None
    assert without.deep_link.data is None
    wanted["data"] = ""
    empty = validate({**DEEP_LINKING, lti13.DEEP_LINKING_SETTINGS: wanted})
    assert empty.deep_link is not None
    assert empty.deep_link.data == ""


@pytest.mark.parametrize("name", LTI13_RESOURCE_LINK_REQUEST_REQUIRED_CLAIMS)
def test_claims_that_ltiauthenticator_asks_for_are_asked_for_here(name: str) -> None:
    """All but the roles, without which 1EdTech has a launch succeed."""
    message = {claim: value for claim, value in LAUNCH.items() if claim != name}
    if name == CLAIM + "roles":
        assert validate(message).role is CourseRole.STUDENT
    else:
        assert refusal(message).code in {"lti-message-invalid", "sign-in-not-for-us"}


def test_the_names_of_claims_are_those_that_ltiauthenticator_knows() -> None:
    assert CLAIM + "custom" == LTI13_CUSTOM_CLAIM
    assert CLAIM + "lis" in LTI13_LIS_CLAIMS


# --- 1EdTech's certification ---------------------------------------------------------------------

INSTRUCTOR = [f"{MEMBERSHIP}#Instructor"]
STUDENT = [f"{MEMBERSHIP}#Learner"]
NO_NAMES = {"name": ABSENT, "given_name": ABSENT, "family_name": ABSENT}

VALID_LAUNCHES = [
    pytest.param({"roles": INSTRUCTOR}, True, id="LTI 1.3 Message as Instructor"),
    pytest.param({"roles": STUDENT}, False, id="LTI 1.3 Message as Student"),
    pytest.param(
        {"roles": [*INSTRUCTOR, f"{INSTITUTION}#Instructor"]},
        True,
        id="Multiple Role Values (instructor)",
    ),
    pytest.param(
        {"roles": [*STUDENT, f"{INSTITUTION}#Student"]},
        False,
        id="Multiple Role Values (student)",
    ),
    pytest.param({"roles": ["Instructor"]}, False, id="Short Role Value (instructor)"),
    pytest.param({"roles": ["Learner"]}, False, id="Short Role Value (student)"),
    pytest.param({"roles": ["https://example.org/roles#Wizard"]}, False, id="Unknown Role"),
    pytest.param({"roles": []}, False, id="No Role (empty)"),
    pytest.param({"roles": ABSENT}, False, id="No Role"),
    pytest.param({"roles": INSTRUCTOR, **NO_NAMES}, True, id="Only Email"),
    pytest.param({"roles": INSTRUCTOR, "email": ABSENT}, True, id="Only Names"),
    pytest.param({"roles": STUDENT, **NO_NAMES, "email": ABSENT}, False, id="No PII"),
    pytest.param({**NO_NAMES, "context": ABSENT}, True, id="Email No Context"),
]


@pytest.mark.parametrize(("claims", "teaches"), VALID_LAUNCHES)
def test_valid_launches_of_1edtech(claims: dict[str, Any], teaches: bool) -> None:
    launch = validate(changed(LAUNCH, **claims))
    assert (launch.role is CourseRole.TEACHER) is teaches
    assert (launch.course is None) is (claims.get("context") is ABSENT)


BAD_PAYLOADS = [
    pytest.param({"version": "2.0"}, "version", id="Wrong LTI Version"),
    pytest.param({"version": ABSENT}, "version", id="No LTI Version"),
    pytest.param({"message_type": "ltiBasic"}, "message_type", id="Invalid LTI message"),
    pytest.param(
        dict.fromkeys(("version", "message_type", "deployment_id", "resource_link"), ABSENT),
        "version",
        id="Missing LTI Claims",
    ),
    pytest.param({"iat": 11111, "exp": 22222}, "exp", id="Timestamps Incorrect"),
    pytest.param({"message_type": ABSENT}, "message_type", id="message_type Claim Missing"),
    pytest.param({"deployment_id": ABSENT}, "deployment_id", id="deployment_id Claim Missing"),
    pytest.param({"resource_link": ABSENT}, "resource_link", id="resource_link_id Claim Missing"),
    pytest.param({"sub": ABSENT}, "sub", id="user (sub) Claim Missing"),
]


@pytest.mark.parametrize(("claims", "name"), BAD_PAYLOADS)
def test_known_bad_payloads_of_1edtech(claims: dict[str, Any], name: str) -> None:
    error = refusal(changed(LAUNCH, **claims))
    assert (error.code, about(error)) == ("lti-message-invalid", name)


# --- the matrix ----------------------------------------------------------------------------------

INVALID = "lti-message-invalid"
LATE = "sign-in-message-expired"

MATRIX: list[tuple[str, dict[str, Any], str]] = [
    ("another audience", {"aud": "client-2"}, "sign-in-not-for-us"),
    ("audience in another case", {"aud": "CLIENT-1"}, "sign-in-not-for-us"),
    ("no audience at all", {"aud": []}, INVALID),
    ("audience is a number", {"aud": 1}, INVALID),
    ("two audiences, no azp", {"aud": ["client-1", "x"]}, "sign-in-not-for-us"),
    ("two audiences, foreign azp", {"aud": ["client-1", "x"], "azp": "x"}, "sign-in-not-for-us"),
    ("one audience, foreign azp", {"azp": "x"}, "sign-in-not-for-us"),
    ("azp is no text", {"azp": ["client-1"]}, "sign-in-not-for-us"),
    ("another issuer", {"iss": "https://evil.example"}, "sign-in-not-for-us"),
    ("the issuer with a slash more", {"iss": MOODLE.issuer + "/"}, "sign-in-not-for-us"),
    ("no issuer", {"iss": ABSENT}, INVALID),
    ("just expired", {"iat": SECONDS - 240, "exp": SECONDS - 180}, LATE),
    ("iat two hours ago", {"iat": SECONDS - 7200, "exp": SECONDS - 7100}, LATE),
    ("iat an hour ago, exp to come", {"iat": SECONDS - 3590, "exp": SECONDS + 9}, LATE),
    ("iat in an hour", {"iat": SECONDS + 3600, "exp": SECONDS + 3660}, "sign-in-clock"),
    ("not before in an hour", {"nbf": SECONDS + 3600, "exp": SECONDS + 3500}, INVALID),
    ("not before soon", {"nbf": SECONDS + 400, "exp": SECONDS + 1200}, "sign-in-clock"),
    ("exp in ten years", {"exp": SECONDS + 315_360_000}, INVALID),
    ("exp before iat", {"exp": SECONDS - 2}, INVALID),
    ("no exp", {"exp": ABSENT}, INVALID),
    ("no iat", {"iat": ABSENT}, INVALID),
    ("exp is a text", {"exp": str(SECONDS + 59)}, INVALID),
    ("exp is true", {"exp": True}, INVALID),
    ("exp is infinite", {"exp": float("inf")}, INVALID),
    ("exp is beyond all calendars", {"exp": 10**30}, INVALID),
    ("iat is not a number", {"iat": float("nan")}, INVALID),
    ("no nonce", {"nonce": ABSENT}, INVALID),
    ("an empty nonce", {"nonce": ""}, INVALID),
    ("nonce is a number", {"nonce": 1}, INVALID),
    ("an unknown deployment", {"deployment_id": "3"}, "lti-deployment-unknown"),
    ("an empty deployment", {"deployment_id": ""}, INVALID),
    ("deployment is a number", {"deployment_id": 1}, INVALID),
    ("an empty sub", {"sub": ""}, INVALID),
    ("sub is a number", {"sub": 42}, INVALID),
    ("sub of 5000 characters", {"sub": "x" * 5000}, INVALID),
    ("sub of 256 characters", {"sub": "x" * 256}, INVALID),
    ("sub with a line break", {"sub": "42\nadmin"}, INVALID),
    ("sub with half a character", {"sub": "\ud800"}, INVALID),
    ("resource_link is a text", {"resource_link": "5"}, INVALID),
    ("resource_link is a list", {"resource_link": ["5"]}, INVALID),
    ("resource_link without id", {"resource_link": {"title": "TP"}}, INVALID),
    ("resource_link with an object as id", {"resource_link": {"id": {"a": 1}}}, INVALID),
    ("context is a text", {"context": "3"}, INVALID),
    ("context with a number as id", {"context": {"id": 3}}, INVALID),
    ("custom is a list", {"custom": ["join=x"]}, INVALID),
    ("ext is a text", {"ext": "moodle"}, INVALID),
    ("lis is a number", {"lis": 1}, INVALID),
    ("launch_presentation is a text", {"launch_presentation": "window"}, INVALID),
    ("roles are a text", {"roles": f"{MEMBERSHIP}#Instructor"}, INVALID),
    ("roles are numbers", {"roles": [1]}, INVALID),
    ("roles are an object", {"roles": {f"{MEMBERSHIP}#Instructor": 1}}, INVALID),
    ("no target", {"target_link_uri": ABSENT}, INVALID),
    ("a foreign target", {"target_link_uri": f"https://evil.example/join/{KEY}"}, INVALID),
    ("a target in the clear", {"target_link_uri": f"http://hub.example.org/join/{KEY}"}, INVALID),
    ("in the clear, same port", {"target_link_uri": "http://hub.example.org:443/"}, INVALID),
    ("a target with our name in front", {"target_link_uri": HUB[:-5] + ".evil.example/"}, INVALID),
    (
        "a target for our name",
        {"target_link_uri": "https://hub.example.org@evil.example/"},
        INVALID,
    ),
    ("a target with a user", {"target_link_uri": "https://u@hub.example.org/"}, INVALID),
    ("a target on another port", {"target_link_uri": "https://hub.example.org:8443/"}, INVALID),
    ("a target that is a script", {"target_link_uri": "javascript:alert(1)"}, INVALID),
    ("a target with a backslash", {"target_link_uri": "https://hub.example.org\\@evil/"}, INVALID),
    ("a target that is a path", {"target_link_uri": f"/join/{KEY}"}, INVALID),
    ("a target that is no address", {"target_link_uri": "https://[hub"}, INVALID),
    ("a target that is no text", {"target_link_uri": {"url": HUB}}, INVALID),
]


@pytest.mark.parametrize(
    ("claims", "code"), [pytest.param(claims, code, id=name) for name, claims, code in MATRIX]
)
def test_what_is_refused(claims: dict[str, Any], code: str) -> None:
    assert refusal(changed(LAUNCH, **claims)).code == code


DEEP_LINKING_MATRIX: list[tuple[str, Any]] = [
    ("no settings", ABSENT),
    ("settings are a text", "x"),
    ("no return address", {"deep_link_return_url": ABSENT}),
    ("a script", {"deep_link_return_url": "javascript:alert(1)"}),
    ("a data address", {"deep_link_return_url": "data:text/html,x"}),
    ("in the clear", {"deep_link_return_url": "http://moodle.example.org/return"}),
    ("no host", {"deep_link_return_url": "https:///return"}),
    ("takes no links", {"accept_types": ["html"]}),
    ("takes nothing", {"accept_types": ABSENT}),
    ("types are a text", {"accept_types": "ltiResourceLink"}),
    ("data are an object", {"data": {}}),
    ("data are too large", {"data": "x" * 20_001}),
]


@pytest.mark.parametrize(
    "wanted", [pytest.param(wanted, id=name) for name, wanted in DEEP_LINKING_MATRIX]
)
def test_which_choices_are_refused(wanted: Any) -> None:
    if isinstance(wanted, dict):
        merged = {**DEEP_LINKING[lti13.DEEP_LINKING_SETTINGS], **wanted}
        wanted = {name: value for name, value in merged.items() if value is not ABSENT}
    message = {**DEEP_LINKING, lti13.DEEP_LINKING_SETTINGS: wanted}
    if wanted is ABSENT:
        del message[lti13.DEEP_LINKING_SETTINGS]
    assert refusal(message).code == INVALID


TOLERATED: list[tuple[str, dict[str, Any]]] = [
    ("three minutes of skew, ahead", {"iat": SECONDS + 180, "exp": SECONDS + 240}),
    ("three minutes of skew, behind", {"iat": SECONDS - 180, "exp": SECONDS - 120}),
    ("fractions of seconds", {"iat": SECONDS - 0.5, "exp": SECONDS + 59.5}),
    ("the audience in a list", {"aud": ["client-1"]}),
    ("the audience and azp", {"aud": ["client-1", "x"], "azp": "client-1"}),
    ("the second deployment", {"deployment_id": "2"}),
    ("a context without id", {"context": {"title": "T"}}),
    ("null for what is absent", {"context": None, "custom": None, "roles": None}),
    ("names that are no text", {"name": 5, "given_name": ["x"], "email": {}}),
    ("a name with a line break", {"name": "a\r\nb"}),
    ("a very long name", {"name": "é" * 5000}),
    ("half a character in a name", {"name": "\ud83d"}),
    ("sub of 255 characters", {"sub": "x" * 255}),
]


@pytest.mark.parametrize("claims", [pytest.param(claims, id=name) for name, claims in TOLERATED])
def test_what_is_tolerated(claims: dict[str, Any]) -> None:
    assert validate(changed(LAUNCH, **claims)).claims.door == "lti13"


def test_a_clock_that_is_off_is_said_with_its_difference() -> None:
    error = refusal(changed(LAUNCH, iat=SECONDS + 1800, exp=SECONDS + 1860))
    assert error.code == "sign-in-clock"
    assert error.params["difference"] == timedelta(minutes=30)


def test_a_late_message_says_when_it_was_made() -> None:
    """Whether that is a clock or a page left open is known once the cookie is there."""
    error = refusal(changed(LAUNCH, iat=SECONDS - 3600, exp=SECONDS - 3540))
    assert isinstance(error, lti13.Late)
    assert error.times.issued == NOW - timedelta(hours=1)


# --- roles ---------------------------------------------------------------------------------------

ROLES = [
    (f"{MEMBERSHIP}#Instructor", True),
    (f"{MEMBERSHIP}#ContentDeveloper", True),
    (f"{MEMBERSHIP}/Instructor#TeachingAssistant", True),
    (f"{MEMBERSHIP}#Instructor#TeachingAssistant", True),
    (f"{MEMBERSHIP}/Instructor#TeachingAssistantSection", True),
    (f"{MEMBERSHIP}#TeachingAssistant", True),
    (f"{MEMBERSHIP}#Learner", False),
    (f"{MEMBERSHIP}#Mentor", False),
    (f"{MEMBERSHIP}#Manager", False),
    (f"{MEMBERSHIP}#Administrator", False),
    (f"{MEMBERSHIP}/Learner#Instructor", False),
    (f"{MEMBERSHIP}#Learner#Instructor", False),
    (f"{MEMBERSHIP}/Instructor#GuestInstructor", False),
    (f"{MEMBERSHIP}#Instructor ", False),
    (f"{MEMBERSHIP}#instructor", False),
    (f"x{MEMBERSHIP}#Instructor", False),
    (f"{INSTITUTION}#Instructor", False),
    (f"{INSTITUTION}#Faculty", False),
    (f"{INSTITUTION}#Administrator", False),
    (f"{SYSTEM}#Administrator", False),
    (f"{SYSTEM}#SysAdmin", False),
]


@pytest.mark.parametrize(("role", "teaches"), ROLES)
def test_roles(role: str, teaches: bool) -> None:
    launch = validate(changed(LAUNCH, roles=[role]))
    assert (launch.role is CourseRole.TEACHER) is teaches
    assert launch.course is not None
    assert launch.course.role is launch.role


# --- what it opens -------------------------------------------------------------------------------

SITE = "https://hub.example.org"
OPENS: list[tuple[str, str, JoinLink | None]] = [
    ("", f"{SITE}/join/{KEY}", JoinLink(key=KEY)),
    ("", f"{SITE}/hub/join/{KEY}/", JoinLink(key=KEY)),
    ("", f"{SITE}/shell/join/{KEY}", JoinLink(key=KEY)),
    ("", f"{SITE}:443/hub/shell/join/{KEY}", JoinLink(key=KEY)),
    ("", f"{SITE}/join/{KEY}?x=1", JoinLink(key=KEY)),
    (
        "",
        f"{SITE}/shell/join/{KEY}/hub/user-redirect/lab/tree/a%20b.ipynb?reset=1&x=é",
        JoinLink(key=KEY, below="lab/tree/a%20b.ipynb?reset=1&x=%C3%A9"),
    ),
    (
        "",
        f"{SITE}/join/{KEY}/user-redirect/git-pull?repo=https%3A%2F%2Fgit.example.org%2Fx",
        JoinLink(key=KEY, below="git-pull?repo=https%3A%2F%2Fgit.example.org%2Fx"),
    ),
    ("", f"{SITE}/hub/lti/launch", None),
    ("", f"{SITE}/", None),
    ("", f"{SITE}", None),
    ("", f"{SITE}/join/short", None),
    ("", f"{SITE}/join/{KEY}/user-redirect/../../admin", None),
    ("", f"{SITE}/join/{KEY}/user-redirect/%2e%2e/admin", None),
    ("", f"{SITE}/x/join/{KEY}", None),
    ("", f"{SITE}/jo\tin/{KEY}", None),
    ("", f"{SITE}/join/{KEY}/user-redirect/\\evil", None),
    ("", f"https://evil.example/join/{KEY}", None),
    (KEY, f"{SITE}/", JoinLink(key=KEY)),
    (f" {KEY} ", f"{SITE}/", JoinLink(key=KEY)),
    (f"{SITE}/join/{KEY}", f"{SITE}/", JoinLink(key=KEY)),
    (KEY, f"{SITE}/join/Another{KEY}", JoinLink(key=KEY)),
    ("$Unknown.variable", f"{SITE}/join/{KEY}", JoinLink(key=KEY)),
    (f"https://evil.example/join/{KEY}", f"{SITE}/", None),
    (f"//evil.example/join/{KEY}", f"{SITE}/", None),
    ("../admin", f"{SITE}/", None),
]


@pytest.mark.parametrize(("custom", "target", "opens"), OPENS)
def test_which_join_link_is_opened(custom: str, target: str, opens: JoinLink | None) -> None:
    assert join_link(custom, target, HUB) == opens


def test_only_what_is_below_our_base_url_is_ours() -> None:
    below = "https://hub.example.org/jupyter/hub/"
    assert join_link("", f"{SITE}/jupyter/join/{KEY}", below) == JoinLink(key=KEY)
    assert own_path(f"{SITE}/jupyter/", below) == ""
    assert own_path(f"{SITE}/wiki/join/{KEY}", below) is None


def test_the_custom_parameter_of_a_launch_is_read() -> None:
    launch = validate(changed(LAUNCH, target_link_uri=f"{SITE}/", custom={"join": KEY, "n": 5}))
    assert launch.join == JoinLink(key=KEY)


# --- values for joining accounts -----------------------------------------------------------------


def test_a_teachers_custom_parameter_is_no_authority() -> None:
    """Whatever a teacher writes into an activity, no rule is met by it under a plain name."""
    rule = JoinRule(issuer="https://idp.example.org", claim="user_username", attribute="uid")
    platform = MOODLE.model_copy(update={"join_rule": rule})
    custom = {"user_username": "rector", "person_sourcedid": "rector", "custom.x": "rector"}
    launch = validate(changed(LAUNCH, custom=custom, ext=ABSENT), platform)
    assert launch.claims.values == {}


def test_a_custom_parameter_counts_where_the_administrator_named_it() -> None:
    rule = JoinRule(issuer="https://idp.example.org", claim="custom.login", attribute="uid")
    platform = MOODLE.model_copy(update={"join_rule": rule})
    message = changed(LAUNCH, custom={"login": "zmartin", "other": "x"}, ext=ABSENT)
    assert validate(message, platform).claims.values == {"custom.login": "zmartin"}
    assert validate(message).claims.values == {}


@pytest.mark.parametrize("value", ["", "x" * 256, "a\nb", "\udc00", 5, None, ["a"]])
def test_a_value_that_cannot_be_compared_is_left_out(value: Any) -> None:
    assert validate(changed(LAUNCH, ext={"user_username": value})).claims.values == {}


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", 5])
def test_only_web_addresses_are_returned_to(url: Any) -> None:
    launch = validate(changed(LAUNCH, launch_presentation={"return_url": url}))
    assert launch.return_url == ""
    message = {**LAUNCH, lti13.NAMES_AND_ROLES: {"context_memberships_url": url}}
    course = validate(message).course
    assert course is not None
    assert course.memberships_url == ""


# --- the signature -------------------------------------------------------------------------------

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.ECAlgorithm
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else jwt.algorithms.RSAAlgorithm
    )
    found: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {**found, "kid": "key-1", **more}


def signed(message: Any = LAUNCH, key: Any = RSA, algorithm: str = "RS256", **headers: Any) -> str:
    return jwt.encode(message, key, algorithm, headers={"kid": "key-1", **headers})


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "RS384"), (RSA, "RS512"), (EC, "ES256")]
)
def test_an_honest_signature(key: Any, algorithm: str) -> None:
    token = signed(key=key, algorithm=algorithm)
    header, payload = lti13.read(token)
    assert (header.algorithm, header.kid) == (algorithm, "key-1")
    assert payload == LAUNCH
    lti13.verify(token, header, jwk(key), MOODLE)


def test_fields_of_a_header_that_name_keys_are_not_read() -> None:
    """The platform's own key verifies, whatever `jku` says; another key does not."""
    named = {"jku": "https://evil.example/jwks", "jwk": jwk(OTHER), "x5u": "https://evil.example"}
    honest = signed(**named)
    lti13.verify(honest, lti13.read(honest)[0], jwk(RSA), MOODLE)
    forged = signed(key=OTHER, **named)
    with pytest.raises(MydockerError) as caught:
        lti13.verify(forged, lti13.read(forged)[0], jwk(RSA), MOODLE)
    assert caught.value.code == "sign-in-message-invalid"


def _unsigned() -> str:
    return jwt.encode(LAUNCH, None, "none", headers={"kid": "key-1"})


def _by_public_key() -> str:
    """HS256 with the public key as its secret; PyJWT itself refuses to make this one."""

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    head = part({"alg": "HS256", "kid": "key-1"}) + b"." + part(LAUNCH)
    pem = json.dumps(jwk(RSA)).encode()
    signature = base64.urlsafe_b64encode(hmac.digest(pem, head, "sha256")).rstrip(b"=")
    return (head + b"." + signature).decode()


def _deep() -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"k"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(b"[" * 100_000).rstrip(b"=").decode()
    return f"{head}.{body}.eA"


UNREADABLE = {
    "No KID Sent in JWT header": lambda: jwt.encode(LAUNCH, RSA, "RS256"),
    "an empty kid": lambda: signed(kid=""),
    "alg none": _unsigned,
    "HS256 with the public key": _by_public_key,
    "PS256": lambda: signed(algorithm="PS256"),
    "a hundred thousand brackets": _deep,
    "two parts": lambda: signed().rpartition(".")[0],
    "four parts": lambda: signed() + ".x",
    "empty": str,
    "no base64": lambda: "é.é.é",
    "a list": lambda: signed().split(".")[0] + ".W10." + signed().split(".")[2],
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_signed_message(name: str) -> None:
    with pytest.raises(MydockerError) as caught:
        lti13.read(UNREADABLE[name]())
    assert caught.value.code == "lti-message-invalid"


def test_a_message_of_two_megabytes_is_not_read() -> None:
    with pytest.raises(MydockerError) as caught:
        lti13.read(signed({**LAUNCH, "x": "x" * 2_000_000}))
    assert caught.value.code == "too-large"


def _changed_payload() -> str:
    head, _, signature = signed().split(".")
    body = signed({**LAUNCH, "sub": "1"}).split(".")[1]
    return f"{head}.{body}.{signature}"


FORGED: dict[str, tuple[Any, dict[str, Any]]] = {
    "Incorrect key of the same kid": (lambda: signed(key=OTHER), jwk(RSA)),
    "another payload": (_changed_payload, jwk(RSA)),
    "no signature": (lambda: signed().rpartition(".")[0] + ".", jwk(RSA)),
    "a key for encryption": (signed, jwk(RSA, use="enc")),
    "a key for another algorithm": (signed, jwk(RSA, alg="RS512")),
    "a key of another kind": (signed, jwk(EC)),
    "a secret as key": (signed, {"kty": "oct", "k": "eA", "kid": "key-1"}),
    "a broken key": (signed, {"kty": "RSA", "kid": "key-1"}),
    "a key of nonsense": (signed, {"kty": "RSA", "n": 5, "e": None, "kid": "key-1"}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_wrong_signature(name: str) -> None:
    make, key = FORGED[name]
    token = make()
    header, _ = lti13.read(token)
    with pytest.raises(MydockerError) as caught:
        lti13.verify(token, header, key, MOODLE)
    assert caught.value.code == "sign-in-message-invalid"


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_a_short_key() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    token = signed(key=key)
    with pytest.raises(MydockerError) as caught:
        lti13.verify(token, lti13.read(token)[0], jwk(key), MOODLE)
    assert caught.value.code == "sign-in-message-invalid"


# --- for the help desk ---------------------------------------------------------------------------


def test_an_old_launch_is_explained_as_it_was() -> None:
    old = changed(LAUNCH, iat=SECONDS - 864_000, exp=SECONDS - 863_940)
    found = lti13.explain(signed(old), MOODLE, SignInSettings(), hub_url=HUB)
    assert found.launch is not None
    assert found.refusal is None
    assert found.issued_at == NOW - timedelta(days=10)

    wrong = changed(old, deployment_id="9")
    found = lti13.explain(signed(wrong), MOODLE, SignInSettings(), hub_url=HUB)
    assert found.refusal is not None
    assert found.refusal.code == "lti-deployment-unknown"
    assert lti13.explain("x", MOODLE, SignInSettings(), hub_url=HUB).refusal is not None


# --- garbage -------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=300)
    | st.sampled_from([MOODLE.issuer, "1", HUB, f"{MEMBERSHIP}#Instructor", "\ud800", "a\x00b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=10,
)
NAMES = sorted({*LAUNCH, *DEEP_LINKING, "azp", "nbf", CLAIM + "custom", CLAIM + "lis"})
INNER = ["id", "title", "data", "join", "accept_types", "deep_link_return_url", "user_username"]
OBJECTS = st.dictionaries(st.sampled_from(INNER), JSON)


@settings(deadline=None)
@given(
    st.sampled_from([LAUNCH, DEEP_LINKING]),
    st.dictionaries(st.sampled_from(NAMES), JSON | OBJECTS, max_size=6),
)
def test_garbage_is_a_launch_or_refused(base: dict[str, Any], garbage: dict[str, Any]) -> None:
    try:
        found: Launch | str = validate({**base, **garbage})
    except MydockerError as error:
        found = error.code
    assert isinstance(found, Launch) or found in {
        "lti-message-invalid",
        "lti-deployment-unknown",
        "sign-in-not-for-us",
        "sign-in-clock",
        "sign-in-message-expired",
    }


@settings(deadline=None)
@given(st.text(max_size=400) | st.binary(max_size=400).map(lambda data: data.decode("latin-1")))
def test_garbage_is_no_token(text: str) -> None:
    with pytest.raises(MydockerError):
        lti13.read(text)


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_garbage_opens_nothing_outside(custom: str, target: str) -> None:
    found = join_link(custom, target, HUB)
    assert found is None or found.path.startswith("join/")
