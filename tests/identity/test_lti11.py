"""LTI 1.1: signed forms; the names of 1EdTech's certification are those that hypothesis/lms has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oauthlib.oauth1 import SIGNATURE_TYPE_BODY, Client

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.identity import lti11
from mydocker_hub.identity.claims import CourseRole
from mydocker_hub.identity.lti import JoinLink, Launch
from mydocker_hub.identity.platform import JoinRule, Platform

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
HUB = "https://hub.example.org/hub/"
URL = f"{HUB}lti/launch11"
KEY = "AbCdEfGhIjKlMnOpQrSt"
SECRET = "a secret & more"
MOODLE = Platform(id=3, version="1.1", name="Moodle 1.1", client_id="key-1")
ORIGIN = "https://moodle.example.org"

FORM = {
    "lti_version": "LTI-1p0",
    "lti_message_type": "basic-lti-launch-request",
    "resource_link_id": "5",
    "user_id": "42",
    "roles": "Instructor",
    "context_id": "3",
    "context_title": "Algorithmique",
    "lis_person_name_full": "Zoé Martin",
    "lis_person_name_given": "Zoé",
    "lis_person_name_family": "Martin",
    "lis_person_contact_email_primary": "zoe@example.org",
    "ext_user_username": "zmartin",
    "launch_presentation_return_url": f"{ORIGIN}/return?id=1",
}
ABSENT = None

Form = list[tuple[str, str]]


def signed(
    *,
    secret: str = SECRET,
    url: str = URL,
    timestamp: Any = SECONDS,
    method: str = "HMAC-SHA1",
    nonce: str = "nonce-1",
    **changed: str | None,
) -> Form:
    """A form as a platform signs it; `changed` are other fields, None: left out."""
    fields = {name: value for name, value in {**FORM, **changed}.items() if value is not None}
    client = Client(
        "key-1",
        secret,
        signature_method=method,
        signature_type=SIGNATURE_TYPE_BODY,
        timestamp=str(timestamp),
        nonce=nonce,
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    _, _, body = client.sign(url, "POST", fields, headers)
    return parse_qsl(body, keep_blank_values=True)


def check(form: Form, *, query: Form | None = None, url: str = URL, secret: str = SECRET) -> Launch:
    assert lti11.consumer_key(form) == "key-1"
    lti11.verify(form, query or [], url=url, platform=MOODLE, secret=secret)
    return lti11.validate(
        form, MOODLE, url=url, now=NOW, tolerance=timedelta(minutes=3), hub_url=HUB
    )


def refusal(form: Form, **options: Any) -> str:
    with pytest.raises(MydockerError) as caught:
        check(form, **options)
    return caught.value.code


def test_what_an_honest_launch_says() -> None:
    launch = check(signed(custom_join=KEY))

    assert launch.join == JoinLink(key=KEY)
    assert (launch.nonce, launch.resource_link) == ("nonce-1", "5")
    assert launch.role is CourseRole.TEACHER
    claims = launch.claims
    assert (claims.provider, claims.issuer) == ("lti-3", "lti11:key-1")
    assert claims.identifiers == (("user_id", "42"),)
    assert (claims.display_name, claims.mail) == ("Zoé Martin", "zoe@example.org")
    assert claims.values == {"user_username": "zmartin"}
    course = launch.course
    assert course is not None
    assert (course.platform, course.context, course.title) == (3, "3", "Algorithmique")
    assert (course.role, course.join_key) == (CourseRole.TEACHER, KEY)


def test_the_address_of_a_launch_may_name_the_join_link() -> None:
    url = f"{URL}/{KEY}"
    assert check(signed(url=url), url=url).join == JoinLink(key=KEY)
    assert check(signed()).join is None


def test_the_query_is_signed_too() -> None:
    form = [pair for pair in signed(url=f"{URL}?id=1&a=b") if pair[0] not in {"id", "a"}]
    assert check(form, query=[("id", "1"), ("a", "b")]).nonce == "nonce-1"
    assert refusal(form, query=[("id", "2"), ("a", "b")]) == "sign-in-message-invalid"
    assert refusal(form) == "sign-in-message-invalid"


# --- 1EdTech's certification ---------------------------------------------------------------------

INVALID = "lti-message-invalid"
BAD_PAYLOADS: list[Any] = [
    pytest.param({"resource_link_id": ABSENT}, INVALID, id="1.1 No resource_link_id"),
    pytest.param(
        {"resource_link_id": ABSENT, "launch_presentation_return_url": ABSENT},
        INVALID,
        id="1.2 No resource_link_id or return URL",
    ),
    pytest.param({"secret": "wrong"}, "sign-in-message-invalid", id="1.4 Invalid OAuth signature"),
    pytest.param({"lti_version": "LTI-1"}, INVALID, id="1.5 Invalid LTI version"),
    pytest.param({"lti_version": "LTI-2p0"}, INVALID, id="1.6 Wrong LTI version"),
    pytest.param({"lti_version": ABSENT}, INVALID, id="1.7 Missing LTI version"),
    pytest.param({"lti_message_type": "a-basic-launch"}, INVALID, id="1.8 Invalid message type"),
    pytest.param({"lti_message_type": ABSENT}, INVALID, id="1.9 Missing message type"),
]


@pytest.mark.parametrize(("changed", "code"), BAD_PAYLOADS)
def test_known_bad_payloads_of_1edtech(changed: dict[str, Any], code: str) -> None:
    assert refusal(signed(**changed)) == code


ROLE = "urn:lti:role:ims/lis/"
ROLES: list[Any] = [
    pytest.param(f"{ROLE}Instructor", True, id="3.1 Instructor URN"),
    pytest.param("Learner,Instructor,Observer", True, id="3.2 List of roles"),
    pytest.param(f"Learner, {ROLE}Instructor", True, id="3.3 URN in list"),
    pytest.param(f"Observer,{ROLE}Learner", False, id="3.4 Learner URN in list"),
    pytest.param(None, False, id="3.5 No context role"),
    pytest.param("urn:lti:instrole:ims/lis/Instructor", False, id="3.6 Institution role only"),
    pytest.param("urn:lti:instrole:ims/lis/Alumni", False, id="3.7 Without context equivalent"),
    pytest.param("urn:lti:role:example/Wizard", False, id="3.8 Unrecognised role"),
    ("", False),
    (f"{ROLE}TeachingAssistant", True),
    (f"{ROLE}TeachingAssistant/TeachingAssistantSection", True),
    ("ContentDeveloper", True),
    (f"{ROLE}Administrator,urn:lti:sysrole:ims/lis/SysAdmin", False),
    ("Administrator", False),
    (f"{ROLE}Learner/Instructor", False),
    (f"{ROLE}Instructor/GuestInstructor", False),
]


@pytest.mark.parametrize(("roles", "teaches"), ROLES)
def test_roles(roles: str | None, teaches: bool) -> None:
    assert (check(signed(roles=roles)).role is CourseRole.TEACHER) is teaches


PERSON = [name for name in FORM if name.startswith("lis_person")]
CONTEXT = ["context_id", "context_title"]
VALID_LAUNCHES = {
    "4.1 Email, no name": [name for name in PERSON if "name" in name],
    "4.2 Given and family name only": ["lis_person_name_full", PERSON[-1]],
    "4.3 Full name only": ["lis_person_name_given", "lis_person_name_family", PERSON[-1]],
    "4.4 Instructor, no PII": [*PERSON, "ext_user_username"],
    "4.5 No PII, context id alone": [*PERSON, "context_title"],
    "4.6 No context": CONTEXT,
    "4.7 Only resource_link_id": [*PERSON, *CONTEXT, "launch_presentation_return_url"],
}


@pytest.mark.parametrize("name", VALID_LAUNCHES)
def test_valid_launches_of_1edtech(name: str) -> None:
    launch = check(signed(**dict.fromkeys(VALID_LAUNCHES[name])))
    assert (launch.course is None) is ("context_id" in VALID_LAUNCHES[name])


# --- the matrix ----------------------------------------------------------------------------------

REFUSED: list[tuple[str, Any, str]] = [
    ("tampered", lambda: [*signed()[:-1], ("x", "y"), signed()[-1]], "sign-in-message-invalid"),
    ("another user", lambda: _with(signed(), "user_id", "1"), "sign-in-message-invalid"),
    ("no signature", lambda: signed()[:-1], "sign-in-message-invalid"),
    ("empty signature", lambda: _with(signed(), "oauth_signature", ""), "sign-in-message-invalid"),
    ("signature é", lambda: _with(signed(), "oauth_signature", "é"), "sign-in-message-invalid"),
    ("HMAC-SHA256", lambda: signed(method="HMAC-SHA256"), INVALID),
    ("PLAINTEXT", lambda: signed(method="PLAINTEXT"), INVALID),
    ("no user", lambda: signed(user_id=None), INVALID),
    ("an empty user", lambda: signed(user_id=""), INVALID),
    ("a very long user", lambda: signed(user_id="x" * 256), INVALID),
    ("a minute too old", lambda: signed(timestamp=SECONDS - 240), "sign-in-clock"),
    ("a minute too new", lambda: signed(timestamp=SECONDS + 240), "sign-in-clock"),
    ("a timestamp of words", lambda: signed(timestamp="soon"), INVALID),
    ("a timestamp with a sign", lambda: signed(timestamp=f"+{SECONDS}"), INVALID),
    ("a timestamp of other digits", lambda: signed(timestamp="١٧٩٥٤٢٠٨٠٠"), INVALID),
    ("a very long timestamp", lambda: signed(timestamp="9" * 5000), INVALID),
]


def _with(form: Form, name: str, value: str) -> Form:
    return [(one, value if one == name else old) for one, old in form]


@pytest.mark.parametrize(
    ("make", "code"),
    [pytest.param(make, code, id=name) for name, make, code in REFUSED],
)
def test_what_is_refused(make: Any, code: str) -> None:
    assert check(signed()).nonce == "nonce-1"
    assert refusal(make()) == code


@pytest.mark.parametrize("second", ["https://evil.example", KEY])
def test_nothing_is_said_twice(second: str) -> None:
    """Signed or not, in the body or in the query: who reads the last would read another value."""
    honest = signed(custom_next="/", custom_join=KEY)
    assert check(honest).join == JoinLink(key=KEY)
    for name in ("custom_next", "custom_join", "user_id"):
        assert refusal([*honest, (name, second)]) == INVALID
        assert refusal(honest, query=[(name, second)]) == INVALID


def test_the_signature_may_not_come_in_the_address() -> None:
    form = signed()
    oauth = [pair for pair in form if pair[0].startswith("oauth_")]
    rest = [pair for pair in form if not pair[0].startswith("oauth_")]
    with pytest.raises(MydockerError):
        lti11.verify(rest, oauth, url=URL, platform=MOODLE, secret=SECRET)


def test_custom_next_leads_nowhere() -> None:
    launch = check(signed(custom_next="https://evil.example", custom_join="https://evil.example"))
    assert launch.join is None
    assert "evil" not in launch.model_dump_json()


def test_a_platform_without_a_secret_opens_to_nobody() -> None:
    assert refusal(signed(secret=""), secret="") == "sign-in-message-invalid"


@pytest.mark.parametrize("keys", [[], ["a", "b"], [""], ["x" * 300], ["a\nb"]])
def test_a_form_without_one_key(keys: list[str]) -> None:
    with pytest.raises(MydockerError) as caught:
        lti11.consumer_key([("oauth_consumer_key", key) for key in keys])
    assert caught.value.code == INVALID


@pytest.mark.parametrize("nonce", [None, "", "x" * 256, "a\nb"])
def test_a_form_without_a_nonce(nonce: str | None) -> None:
    form = [pair for pair in signed() if pair[0] != "oauth_nonce"]
    form += [] if nonce is None else [("oauth_nonce", nonce)]
    with pytest.raises(MydockerError) as caught:
        lti11.validate(form, MOODLE, url=URL, now=NOW, tolerance=timedelta(minutes=3), hub_url=HUB)
    assert caught.value.code == INVALID


def test_a_tolerance_of_ten_minutes_is_five_here() -> None:
    form = signed(timestamp=SECONDS - 400)
    with pytest.raises(MydockerError) as caught:
        lti11.validate(form, MOODLE, url=URL, now=NOW, tolerance=timedelta(minutes=10), hub_url=HUB)
    assert caught.value.code == "sign-in-clock"


def test_a_teachers_custom_parameter_is_no_authority() -> None:
    rule = JoinRule(issuer="https://idp.example.org", claim="custom.login", attribute="uid")
    platform = MOODLE.model_copy(update={"join_rule": rule})
    form = signed(custom_login="zmartin", custom_user_username="rector", ext_user_username=None)
    options: dict[str, Any] = {"url": URL, "now": NOW, "tolerance": timedelta(minutes=3)}
    named = lti11.validate(form, platform, hub_url=HUB, **options)
    assert named.claims.values == {"custom.login": "zmartin"}
    assert lti11.validate(form, MOODLE, hub_url=HUB, **options).claims.values == {}


# --- back to the platform ------------------------------------------------------------------------


def test_the_platform_is_told_why() -> None:
    address = lti11.return_address(signed(), ORIGIN, "Trop tard & <fermé>.")
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ORIGIN}/return"
    assert parse_qs(parts.query) == {"id": ["1"], "lti_errormsg": ["Trop tard & <fermé>."]}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (f"{ORIGIN}/return", "https://other.example"),
        (f"{ORIGIN}/return", "null"),
        (f"{ORIGIN}/return", ""),
        ("https://evil.example/return", ORIGIN),
        (f"{ORIGIN}@evil.example/", ORIGIN),
        (f"{ORIGIN}.evil.example/", ORIGIN),
        ("http://moodle.example.org/return", ORIGIN),
        ("//moodle.example.org/return", ORIGIN),
        ("javascript:alert(1)", ORIGIN),
        ("javascript://moodle.example.org/%0aalert(1)", "javascript://moodle.example.org"),
        ("https://moodle.example.org\\@evil.example/", ORIGIN),
        ("", ORIGIN),
        (None, ORIGIN),
    ],
)
def test_nobody_is_sent_elsewhere(url: str | None, origin: str) -> None:
    assert lti11.return_address(signed(launch_presentation_return_url=url), origin, "x") == ""


# --- garbage -------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
NAMES = st.sampled_from([*FORM, "custom_join", "oauth_timestamp", "oauth_nonce", "oauth_version"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, TEXT, max_size=6))
def test_garbage_is_a_launch_or_refused(garbage: dict[str, str]) -> None:
    form = list({**dict(signed()), **garbage}.items())
    try:
        found: Launch | str = lti11.validate(
            form, MOODLE, url=URL, now=NOW, tolerance=timedelta(minutes=3), hub_url=HUB
        )
    except MydockerError as error:
        found = error.code
    assert isinstance(found, Launch) or found in {INVALID, "sign-in-clock"}


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=5), st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_garbage_is_not_signed(form: Form, query: Form) -> None:
    form = [*form, ("oauth_signature_method", "HMAC-SHA1"), ("oauth_signature", "x")]
    with pytest.raises(MydockerError):
        lti11.verify(form, query, url=URL, platform=MOODLE, secret=SECRET)
