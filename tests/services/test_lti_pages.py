"""The pages of LTI through a running hub: platforms, a teacher's choice, who came."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import requests
from sqlalchemy import delete, select, update

from mydocker_hub.domain.people import Person
from mydocker_hub.identity.claims import Course
from mydocker_hub.identity.platform import Platform, PlatformStatus
from mydocker_hub.store import courses, editing, platforms
from mydocker_hub.store.tables import (
    AuditRow,
    CourseMemberRow,
    DeepLinkRow,
    EnvironmentRow,
    IdentityRow,
    JoinLinkRow,
    LaunchRow,
    PlatformRow,
    ToolKeyRow,
)
from tests.hub import RunningHub, Visitor, in_database, text_of
from tests.peers.lti_platforms import EdxPlatform, P13Platform

from .conftest import Asker, definition
from .lti import ADMIN, PREFIX, code_of, known, send, tool, value_of

pytestmark = [pytest.mark.hub, pytest.mark.engine, pytest.mark.peers]

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DEEP_LINK = "https://purl.imsglobal.org/spec/lti-dl/claim/"
NOW = datetime.now(UTC)
XSS = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _clean(hub: RunningHub) -> Iterator[None]:
    """No platform is left for the next test."""
    yield
    in_database(hub, lambda session: session.execute(delete(PlatformRow)))


def visitors(name: str) -> Any:
    @pytest.fixture(scope="module", name=f"{name}_here")
    def fixture(hub: RunningHub) -> Iterator[Visitor]:
        with hub.signed_in(name) as visitor:
            visitor.get(PREFIX)
            yield visitor

    return fixture


alice_here = visitors("alice")
bob_here = visitors("bob")
carol_here = visitors("carol")


@pytest.fixture(params=[P13Platform, EdxPlatform])
def peer(request: pytest.FixtureRequest, hub: RunningHub) -> Iterator[Any]:
    """A platform that nobody here wrote."""
    with request.param(**tool(hub)) as platform:
        yield platform


@pytest.fixture
def p13(hub: RunningHub) -> Iterator[P13Platform]:
    with P13Platform(**tool(hub)) as platform:
        yield platform


def english(visitor: Visitor, path: str) -> requests.Response:
    return visitor.get(path, headers={"Accept-Language": "en"})


# --- our keys ------------------------------------------------------------------------------------


def test_jwks(hub: RunningHub, carol_here: Visitor) -> None:
    in_database(hub, lambda session: session.execute(delete(ToolKeyRow)))
    url = f"{hub.url}{PREFIX}lti/jwks.json"
    answer = requests.get(url, timeout=30)  # by nobody
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}
    assert requests.get(url, timeout=30).json()["keys"] == [key]

    assert send(carol_here, ADMIN, {"action": "rotate"}).status_code == 303
    both = {one["kid"] for one in requests.get(url, timeout=30).json()["keys"]}
    assert len(both) == 2
    assert key["kid"] in both
    page = english(carol_here, ADMIN)
    assert all(kid in page.text for kid in both)
    assert send(carol_here, ADMIN, {"action": "drop", "kid": key["kid"]}).status_code == 303
    (left,) = requests.get(url, timeout=30).json()["keys"]
    assert {left["kid"]} == both - {key["kid"]}
    # the one that signs stays
    assert send(carol_here, ADMIN, {"action": "drop", "kid": left["kid"]}).status_code == 404
    assert requests.get(url, timeout=30).json()["keys"] == [left]


# --- for administrators alone --------------------------------------------------------------------

ACTIONS = [
    (ADMIN, {"action": "link", "label": "x"}),
    (ADMIN, {"action": "withdraw", "digest": "0" * 64}),
    (ADMIN, {"action": "rotate"}),
    (ADMIN, {"action": "drop", "kid": "x"}),
    (f"{ADMIN}/new", {"version": "1.1", "name": "x"}),
    *(
        (f"{ADMIN}/ID", {"action": action, "version": "1"})
        for action in ("save", "open", "close", "secret", "delete", "test")
    ),
]


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_others_get_nothing(
    request: pytest.FixtureRequest, hub: RunningHub, p13: P13Platform, who: str
) -> None:
    visitor = request.getfixturevalue(f"{who}_here")
    platform = known(hub, p13, status=PlatformStatus.PENDING)
    for path in (ADMIN, f"{ADMIN}/new", f"{ADMIN}/{platform.id}", f"{ADMIN}/999999"):
        answer = english(visitor, path)
        assert (answer.status_code, code_of(answer)) == (403, "not-allowed"), path
    before = in_database(hub, lambda s: s.scalars(select(AuditRow.id)).all())
    for path, fields in ACTIONS:
        answer = send(visitor, path.replace("ID", str(platform.id)), fields)
        assert (answer.status_code, code_of(answer)) == (403, "not-allowed"), (path, fields)
    assert in_database(hub, lambda s: s.scalars(select(AuditRow.id)).all()) == before
    assert p13.log == []


def test_who_is_signed_out_gets_nothing(hub: RunningHub) -> None:
    for path in (ADMIN, f"{ADMIN}/new", f"{ADMIN}/1", f"{PREFIX}courses", f"{PREFIX}courses/1"):
        answer = requests.get(f"{hub.url}{path}", allow_redirects=False, timeout=30)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/hub/api/oauth2/authorize?")
    for path, fields in ACTIONS:
        url = f"{hub.url}{path.replace('ID', '1')}"
        answer = requests.post(url, data=fields, allow_redirects=False, timeout=30)
        assert answer.status_code == 401


def test_a_form_of_another_site_does_nothing(
    hub: RunningHub, p13: P13Platform, carol_here: Visitor
) -> None:
    platform = known(hub, p13)
    for path, fields in ACTIONS:
        url = f"{hub.url}{path.replace('ID', str(platform.id))}"
        answer = carol_here.session.post(url, data=fields, allow_redirects=False, timeout=30)
        assert (answer.status_code, code_of(answer)) == (403, "form-expired"), (path, fields)
    # the same with the page's token
    assert send(carol_here, ADMIN, {"action": "rotate"}).status_code == 303


def test_an_empty_list_says_what_to_do(carol_here: Visitor) -> None:
    page = text_of(english(carol_here, ADMIN))
    assert "There are three ways to connect one" in page
    for way in ("a registration link", "by hand", "with a key and a secret"):
        assert way in page


FORM = {
    "version": "1.3",
    "name": f"Moodle {XSS}",
    "issuer": "https://moodle.example.org",
    "client_id": "cLiEnT",
    "authorization_url": "https://moodle.example.org/mod/lti/auth.php",
    "token_url": "https://moodle.example.org/mod/lti/token.php",
    "jwks_url": "https://moodle.example.org/mod/lti/certs.php",
    "deployments": " 1 \r\n\r\n2\r\n1\r\n",
    "teachers": "1",
    "join_issuer": "https://idp.example.org",
    "join_claim": "user_username",
    "join_scope": "example.org",
}


def test_by_hand(hub: RunningHub, carol_here: Visitor, the_hub: Asker) -> None:
    answer = send(carol_here, f"{ADMIN}/new", FORM)
    assert answer.status_code == 303
    page = english(carol_here, answer.headers["Location"])
    assert page.status_code == 200
    assert XSS not in page.text
    assert html.escape(XSS) in page.text
    found = the_hub.post(
        "/platforms/find", {"version": "1.3", "issuer": FORM["issuer"], "client_id": "cLiEnT"}
    ).json()["items"]
    (platform,) = [Platform.model_validate(one["platform"]) for one in found]
    assert platform.deployments == ("1", "2")
    assert platform.teachers
    assert platform.join_rule is not None
    assert platform.join_rule.attribute == "eduPersonPrincipalName"
    assert platform.status is PlatformStatus.ACTIVE
    assert the_hub.post("/platforms/find", {"version": "1.3", "issuer": "https://x"}).json() == {
        "items": []
    }

    again = send(carol_here, f"{ADMIN}/new", FORM)
    assert (again.status_code, code_of(again)) == (409, "platform-known-already")

    # changing: from what was read, else refused
    path = f"{ADMIN}/{platform.id}"
    save = {**FORM, "action": "save", "version": "1", "teachers": "", "deployments": "3"}
    assert send(carol_here, path, save).status_code == 303
    late = send(carol_here, path, save)
    assert (late.status_code, code_of(late)) == (412, "changed-meanwhile")
    kept = in_database(hub, platforms.platform, platform.id)
    assert (kept.version, kept.platform.deployments, kept.platform.teachers) == (2, ("3",), False)
    # who it is cannot be changed by what is sent
    send(carol_here, path, {**save, "version": "2", "issuer": "https://evil.example"})
    assert in_database(hub, platforms.platform, platform.id).platform.issuer == FORM["issuer"]
    # what cannot be is shown again, with what was typed
    wrong = send(carol_here, path, {**save, "version": "2", "jwks_url": "nonsense<"})
    assert wrong.status_code == 422
    assert "jwks_url" in text_of(wrong)
    assert 'value="nonsense&lt;"' in wrong.text


def test_what_cannot_be_is_shown_again(carol_here: Visitor) -> None:
    answer = send(carol_here, f"{ADMIN}/new", {**FORM, "authorization_url": "ftp://x"})
    assert answer.status_code == 422
    assert "write a whole address" in text_of(answer)
    assert value_of(answer, "field-client_id") == "cLiEnT"


def test_closing_opening_deleting(
    hub: RunningHub, p13: P13Platform, carol_here: Visitor, the_hub: Asker
) -> None:
    platform = known(hub, p13, status=PlatformStatus.PENDING)
    path = f"{ADMIN}/{platform.id}"
    page = text_of(english(carol_here, path))
    assert "Is this the platform that you know?" in page
    assert p13.url in page
    for action, version, status in (("open", 1, "active"), ("close", 2, "disabled")):
        answer = send(carol_here, path, {"action": action, "version": str(version)})
        assert answer.status_code == 303
        assert in_database(hub, platforms.platform, platform.id).platform.status == status
    stale = send(carol_here, path, {"action": "delete", "version": "1"})
    assert (stale.status_code, code_of(stale)) == (412, "changed-meanwhile")
    assert send(carol_here, path, {"action": "delete", "version": "3"}).status_code == 303
    assert english(carol_here, path).status_code == 404
    for action in ("", "nonsense", "__class__"):
        assert send(carol_here, ADMIN, {"action": action}).status_code == 404


def test_a_second_platform_of_an_issuer_is_named(
    hub: RunningHub, p13: P13Platform, carol_here: Visitor
) -> None:
    known(hub, p13, name="The first")
    second = known(hub, p13, client_id="another", status=PlatformStatus.PENDING)
    page = text_of(english(carol_here, f"{ADMIN}/{second.id}"))
    assert "There is another platform with this issuer: The first" in page


def test_lti_11(hub: RunningHub, carol_here: Visitor, the_hub: Asker) -> None:
    answer = send(carol_here, f"{ADMIN}/new", {"version": "1.1", "name": "Old one"})
    assert answer.status_code == 200
    key, secret = value_of(answer, "consumer-key"), value_of(answer, "secret")

    def find(client_id: str) -> list[Any]:
        asked = {"version": "1.1", "client_id": client_id}
        return the_hub.post("/platforms/find", asked).json()["items"]

    (found,) = find(key)
    assert found["secret"] == secret
    assert len(secret) >= 32
    assert find("") == []
    path = f"{ADMIN}/{found['platform']['id']}"
    page = english(carol_here, path)
    assert key in page.text
    assert secret not in page.text
    assert secret not in english(carol_here, ADMIN).text
    save = {"action": "save", "version": "1", "name": "Renamed", "client_id": "mine"}
    assert send(carol_here, path, save).status_code == 303
    (found,) = find(key)
    assert found["platform"]["name"] == "Renamed"
    new = send(carol_here, path, {"action": "secret", "version": "2"})
    assert find(key)[0]["secret"] == value_of(new, "secret") != secret
    assert secret not in hub.log()


def test_secrets_are_for_the_hub(alice: Asker, carol: Asker, nobody: Asker) -> None:
    for asker in (alice, carol, nobody):
        answer = asker.post("/platforms/find", {"version": "1.1", "client_id": "x"})
        assert answer.status_code == 401


def test_testing_the_connection(hub: RunningHub, peer: Any, carol_here: Visitor) -> None:
    platform = known(hub, peer)
    path = f"{ADMIN}/{platform.id}"
    page = text_of(send(carol_here, path, {"action": "test"}))
    assert "1 key was read." in page
    assert "It recognised our signature and gave a token." in page
    # with another key of ours than the platform knows
    peer.tool_jwks_url = f"{peer.url}/jwks"
    page = text_of(send(carol_here, path, {"action": "test"}))
    assert "1 key was read." in page
    assert "gave a token" not in page
    assert "it refused what we asked" in page


def test_testing_what_is_not_there(hub: RunningHub, p13: P13Platform, carol_here: Visitor) -> None:
    platform = known(
        hub, p13, jwks_url=f"{p13.url}/nothing", token_url="http://169.254.169.254/token"
    )
    page = text_of(send(carol_here, f"{ADMIN}/{platform.id}", {"action": "test"}))
    assert "does not answer, or not as it should (it refused what we asked)" in page
    assert "its address does not begin with https://" in page


# --- a teacher chooses ---------------------------------------------------------------------------


@pytest.fixture
def lab(bob: Asker) -> str:
    """An environment of bob's; its name."""
    sent = definition(title=f"Lab {XSS}", sheet={"description": f"Words {XSS}"})
    assert bob.post("/environments", sent).status_code == 201
    return str(sent["slug"])


def begin(the_hub: Asker, platform: Platform, peer: Any, **changes: Any) -> requests.Response:
    """A launch of bob's with a deep linking request has been verified by the hub."""
    request = {
        "platform": platform.id,
        "deployment": peer.deployment,
        "return_url": f"{peer.url}/dl_return",
        "accept_multiple": True,
        "data": "opaque-data-42",
        **changes,
    }
    course = {
        "platform": platform.id,
        "context": "ctx-1",
        "title": f"Course {XSS}",
        "role": "teacher",
    }
    return the_hub.post("/deep-links", {"user": "bob", "request": request, "course": course})


def begun(the_hub: Asker, platform: Platform, peer: Any, **changes: Any) -> str:
    answer = begin(the_hub, platform, peer, **changes)
    assert answer.status_code == 200, answer.text
    return f"{PREFIX}lti/choose/{answer.json()['id']}"


def items_of(peer: Any, answer: requests.Response) -> list[dict[str, Any]]:
    """Post the answer to the platform, as the page does; what the platform reads in it."""
    action = re.search(
        r'<form method="post" action="([^"]+)" id="answer" data-submit>', answer.text
    )
    token = re.search(r'name="JWT" value="([^"]+)"', answer.text)
    assert action, answer.text
    assert token, answer.text
    peer.items = None
    sent = requests.post(html.unescape(action[1]), data={"JWT": token[1]}, timeout=30)
    assert sent.status_code == 200, sent.text
    assert peer.items is not None
    return list(peer.items)


def test_choosing_two(
    hub: RunningHub, peer: Any, lab: str, bob_here: Visitor, the_hub: Asker
) -> None:
    platform = known(hub, peer)
    path = begun(the_hub, platform, peer)
    page = english(bob_here, path)
    assert page.status_code == 200
    assert XSS not in page.text
    assert html.escape(XSS) in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    shown = set(re.findall(r'name="environment" id="choose-([a-z0-9-]+)"', page.text))
    assert {lab, "tiny"} <= shown
    title = 'TP "1" <i>&amp;</i>'
    answer = send(
        bob_here,
        path,
        [("environment", lab), ("environment", "tiny"), (f"title-{lab}", title)],
    )
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert f"form-action {peer.url}" in policy
    assert "form-action 'self'" not in policy
    first, second = items_of(peer, answer)
    assert first["title"] == title
    assert {first["type"], second["type"]} == {"ltiResourceLink"}
    assert "url" not in first  # Moodle would forget which tool it is
    assert first["window"] == {"targetName": "_blank"}

    # what neither platform looks at
    token = re.search(r'name="JWT" value="([^"]+)"', answer.text)
    assert token
    key = jwt.PyJWKClient(f"{hub.url}{PREFIX}lti/jwks.json").get_signing_key_from_jwt(token[1])
    claims = jwt.decode(
        token[1],
        key.key,
        algorithms=["RS256"],
        audience=platform.issuer,
        issuer=platform.client_id,
        options={"require": ["exp", "iat", "nonce"]},
    )
    assert isinstance(claims["aud"], str)
    assert claims["exp"] - claims["iat"] <= 300
    assert claims[f"{CLAIM}deployment_id"] == peer.deployment
    assert claims[f"{CLAIM}message_type"] == "LtiDeepLinkingResponse"
    assert claims[f"{CLAIM}version"] == "1.3.0"
    assert claims[f"{DEEP_LINK}data"] == "opaque-data-42"

    # whoever comes with the activity's link is let in
    joined = the_hub.post(
        f"/join-links/{first['custom']['join']}/join", {"person": {"name": "alice"}}
    )
    assert joined.json()["environment"] == lab
    # once
    for again in (english(bob_here, path), send(bob_here, path, {"environment": lab})):
        assert (again.status_code, code_of(again)) == (410, "lti-choice-expired")


def test_no_data_and_one_only(
    hub: RunningHub, p13: P13Platform, lab: str, bob_here: Visitor, the_hub: Asker
) -> None:
    path = begun(the_hub, known(hub, p13), p13, accept_multiple=False, data=None)
    for wrong in ([], [("environment", lab), ("environment", "tiny")]):
        answer = send(bob_here, path, wrong)
        assert answer.status_code == 422
        assert "Choose one environment." in text_of(answer)
    assert 'type="radio"' in english(bob_here, path).text
    answer = send(bob_here, path, {"environment": lab})
    token = re.search(r'name="JWT" value="([^"]+)"', answer.text)
    assert token
    claims = jwt.decode(token[1], options={"verify_signature": False})
    assert f"{DEEP_LINK}data" not in claims
    (item,) = claims[f"{DEEP_LINK}content_items"]
    assert item["title"] == f"Lab {XSS}"  # as text: the platform escapes it
    assert len(items_of(p13, answer)) == 1


@pytest.mark.parametrize("who", ["alice", "carol"])
def test_a_choice_is_for_who_began_it(
    request: pytest.FixtureRequest,
    hub: RunningHub,
    p13: P13Platform,
    lab: str,
    the_hub: Asker,
    bob_here: Visitor,
    who: str,
) -> None:
    visitor = request.getfixturevalue(f"{who}_here")
    path = begun(the_hub, known(hub, p13), p13)
    for answer in (english(visitor, path), send(visitor, path, {"environment": "tiny"})):
        assert (answer.status_code, code_of(answer)) == (403, "lti-teachers-only")
    assert len(items_of(p13, send(bob_here, path, {"environment": lab}))) == 1


def test_what_cannot_be_chosen(
    hub: RunningHub, p13: P13Platform, carol: Asker, bob_here: Visitor, the_hub: Asker
) -> None:
    hidden = definition()
    assert carol.post("/environments", hidden).status_code == 201
    path = begun(the_hub, known(hub, p13), p13)
    links = in_database(hub, lambda s: s.scalars(select(JoinLinkRow.id)).all())
    for slug in (hidden["slug"], "nothing", "../x", ""):
        answer = send(bob_here, path, [("environment", "tiny"), ("environment", slug)])
        assert answer.status_code == 404, slug
    assert in_database(hub, lambda s: s.scalars(select(JoinLinkRow.id)).all()) == links
    assert len(items_of(p13, send(bob_here, path, {"environment": "tiny"}))) == 1


def test_an_old_choice(
    hub: RunningHub, p13: P13Platform, bob_here: Visitor, the_hub: Asker
) -> None:
    path = begun(the_hub, known(hub, p13), p13)
    assert english(bob_here, path).status_code == 200
    past = datetime.now(UTC) - timedelta(seconds=1)
    in_database(hub, lambda s: s.execute(update(DeepLinkRow).values(expires_at=past)))
    for answer in (english(bob_here, path), send(bob_here, path, {"environment": "tiny"})):
        assert (answer.status_code, code_of(answer)) == (410, "lti-choice-expired")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/dl_return",
        "http://127.0.0.1:1/dl_return",
        "{url}@evil.example/",
        "{url}.evil.example/",
        "https://127.0.0.1/",
    ],
)
def test_an_answer_goes_to_the_platform_alone(
    hub: RunningHub, p13: P13Platform, bob_here: Visitor, the_hub: Asker, url: str
) -> None:
    platform = known(hub, p13)
    foreign = url.format(url=p13.url)
    refused = begin(the_hub, platform, p13, return_url=foreign)
    assert (refused.status_code, refused.json()["code"]) == (400, "lti-message-invalid")
    # nor later: an administrator may have changed the platform meanwhile
    path = begun(the_hub, platform, p13)

    def change(session: Any) -> None:
        row = session.get_one(DeepLinkRow, path.rsplit("/", 1)[1])
        row.request = {**row.request, "return_url": foreign}

    in_database(hub, change)
    for answer in (english(bob_here, path), send(bob_here, path, {"environment": "tiny"})):
        assert (answer.status_code, code_of(answer)) == (400, "lti-message-invalid")


def test_javascript_is_no_address(hub: RunningHub, p13: P13Platform, the_hub: Asker) -> None:
    platform = known(hub, p13)
    answer = begin(the_hub, platform, p13, return_url="javascript:alert(1)")
    assert answer.status_code == 422


def test_a_closed_platform(
    hub: RunningHub, p13: P13Platform, bob_here: Visitor, the_hub: Asker
) -> None:
    platform = known(hub, p13)
    path = begun(the_hub, platform, p13)
    closed = platform.model_copy(update={"status": PlatformStatus.DISABLED})
    in_database(hub, platforms.edit, closed, 1, "carol", datetime.now(UTC))
    for answer in (english(bob_here, path), send(bob_here, path, {"environment": "tiny"})):
        assert (answer.status_code, code_of(answer)) == (403, "lti-platform-closed")
    assert begin(the_hub, platform, p13).json()["code"] == "lti-platform-closed"


def test_the_hub_alone_begins_a_choice(
    hub: RunningHub, p13: P13Platform, bob: Asker, carol: Asker
) -> None:
    platform = known(hub, p13)
    for asker in (bob, carol):
        assert begin(asker, platform, p13).status_code == 401


# --- who came ------------------------------------------------------------------------------------


@pytest.fixture
def course(hub: RunningHub, lab: str) -> Any:
    """Makes a course of a platform: bob teaches, alice has started the lab; its number."""

    def make(platform: Platform, memberships_url: str = "") -> int:
        def write(session: Any) -> int:
            number = 0
            for name, role in (("bob", "teacher"), ("alice", "student")):
                row = editing.person_row(session, Person(name=name), NOW)
                launched = Course.model_validate(
                    {
                        "platform": platform.id,
                        "context": "ctx-1",
                        "title": f"Course {XSS}",
                        "role": role,
                        "memberships_url": memberships_url,
                    }
                )
                number = courses.note_member(session, launched, row.id, NOW)
                session.add(
                    IdentityRow(
                        person_id=row.id,
                        first_person_id=row.id,
                        door="lti13",
                        provider=platform.provider,
                        issuer=platform.issuer,
                        subject=f"sub-{name}",
                        claimed_role="student",
                        claimed_since=NOW,
                        created_at=NOW,
                        signed_in_at=NOW,
                    )
                )
            environment = session.scalars(
                select(EnvironmentRow.id).where(EnvironmentRow.slug == lab)
            ).one()
            courses.attach(session, number, environment, "bob", NOW)
            alice = editing.person_row(session, Person(name="alice"), NOW)
            session.add(
                LaunchRow(
                    person_id=alice.id,
                    environment_id=environment,
                    version=1,
                    asked_at=NOW,
                    end_params={},
                )
            )
            return number

        return int(in_database(hub, write))

    yield make
    in_database(hub, lambda session: session.execute(delete(IdentityRow)))


def row_of(page: requests.Response, name: str) -> str:
    """What the list says of somebody."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.text, re.DOTALL)
    (row,) = [row for row in rows if name.casefold() in row.casefold()]
    return " ".join(re.sub("<[^>]+>", " ", row).split())


def test_who_has_started(
    hub: RunningHub, peer: Any, course: Any, bob_here: Visitor, carol_here: Visitor
) -> None:
    peer.members = [
        {"user_id": "sub-alice", "name": "Alice A.", "roles": ["Learner"], "status": "Active"},
        {"user_id": "sub-bob", "name": "Bob B.", "roles": ["Instructor"], "status": "Active"},
        {"user_id": "77", "name": f"Zoé {XSS}", "roles": ["Learner"], "status": "Active"},
        {"user_id": "78", "name": "Gone", "roles": ["Learner"], "status": "Inactive"},
    ]
    number = course(known(hub, peer), f"{peer.url}/members")
    for visitor in (bob_here, carol_here):
        page = english(visitor, f"{PREFIX}courses/{number}")
        assert page.status_code == 200
        assert XSS not in page.text
        assert "(1 start)" in row_of(page, "Alice")
        assert "nothing yet" in row_of(page, "Bob")
        assert "teacher" in row_of(page, "Bob")
        assert "has not come yet" in row_of(page, "Zoé")
        assert "Gone" not in page.text
        assert 'id="no-members"' not in page.text
        assert f"courses/{number}" in english(visitor, f"{PREFIX}courses").text
    asked = [path for _, path, _ in peer.log]
    assert asked.count("/members") == 1  # the second page did not ask again


def test_the_lists_of_two_deployments(
    hub: RunningHub, p13: P13Platform, course: Any, bob_here: Visitor
) -> None:
    """The same context in another deployment is another course, with a list of its own."""
    platform = known(hub, p13)
    first = course(platform, f"{p13.url}/members")

    def write(session: Any) -> int:
        row = editing.person_row(session, Person(name="bob"), NOW)
        other = Course.model_validate(
            {
                "platform": platform.id,
                "context": "ctx-1",
                "deployment": "other",
                "role": "teacher",
                "memberships_url": f"{p13.url}/members",
            }
        )
        return courses.note_member(session, other, row.id, NOW)

    second = in_database(hub, write)
    assert second != first
    for number, name in ((first, "Zoé"), (second, "Yann")):
        p13.members = [{"user_id": name, "name": name, "roles": ["Learner"], "status": "Active"}]
        page = english(bob_here, f"{PREFIX}courses/{number}")
        assert "has not come yet" in row_of(page, name)


def test_a_teacher_who_comes_no_more(
    hub: RunningHub, p13: P13Platform, course: Any, bob_here: Visitor
) -> None:
    number = course(known(hub, p13))
    long_ago = NOW - timedelta(days=181)
    in_database(hub, lambda s: s.execute(update(CourseMemberRow).values(launched_at=long_ago)))
    answer = english(bob_here, f"{PREFIX}courses/{number}")
    assert (answer.status_code, code_of(answer)) == (403, "not-allowed")
    assert f"courses/{number}" not in english(bob_here, f"{PREFIX}courses").text


def test_a_course_is_not_for_students(
    hub: RunningHub, p13: P13Platform, course: Any, alice_here: Visitor, bob_here: Visitor
) -> None:
    number = course(known(hub, p13))
    assert english(bob_here, f"{PREFIX}courses/{number}").status_code == 200
    for path in (f"courses/{number}", "courses/999999", "courses"):
        answer = english(alice_here, f"{PREFIX}{path}")
        assert (answer.status_code, code_of(answer)) == (403, "not-allowed"), path


def test_a_platform_that_does_not_answer(
    hub: RunningHub, p13: P13Platform, course: Any, bob_here: Visitor
) -> None:
    """What is known here is shown all the same."""
    p13.tool_jwks_url = f"{p13.url}/jwks"  # it does not know our key: no token
    number = course(known(hub, p13), f"{p13.url}/members")
    page = english(bob_here, f"{PREFIX}courses/{number}")
    assert page.status_code == 200
    assert "it refused what we asked" in text_of(page)
    assert "(1 start)" in row_of(page, "Alice")


def test_a_list_on_another_host(
    hub: RunningHub, p13: P13Platform, course: Any, bob_here: Visitor
) -> None:
    with EdxPlatform(**tool(hub)) as other:
        number = course(known(hub, p13), f"{other.url}/members")
        page = english(bob_here, f"{PREFIX}courses/{number}")
        assert "on a host that is not its own" in text_of(page)
        assert "(1 start)" in row_of(page, "Alice")
        assert other.log == []


def test_a_course_without_a_list(
    hub: RunningHub, p13: P13Platform, course: Any, bob_here: Visitor
) -> None:
    page = english(bob_here, f"{PREFIX}courses/{course(known(hub, p13))}")
    assert "gives no list of members" in text_of(page)
    assert p13.log == []
