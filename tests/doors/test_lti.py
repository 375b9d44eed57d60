"""LTI launches of two real platforms and two real LTI 1.1 consumers, and what must not get in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from oauthlib.oauth1.rfc5849 import signature
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.doors.lti_keys import PlatformKeys
from mydocker_hub.identity.lti13 import CLAIM
from mydocker_hub.identity.platform import Platform, PlatformStatus
from mydocker_hub.seal import Seal
from mydocker_hub.store import platforms as stored

from ..conftest import free_ports, start_hub
from ..hub import RunningHub
from ..peers.forms import Form, form
from ..peers.lti_platforms import (
    DEEP_LINKING,
    MEMBERSHIP,
    EdxPlatform,
    P13Platform,
    edx_lti11,
    pylti_lti11,
)

pytestmark = [pytest.mark.peers, pytest.mark.hub]

KEY = "TinyTinyTinyTinyTiny"
SECRET = "secret-of-moodle-1.1"
FRAMED = "https://framed.example"

Peer = EdxPlatform | P13Platform


# --- a hub with nothing but LTI ------------------------------------------------------------------


def register(hub: RunningHub, new: Platform, secret: str = "") -> Platform:
    """As an administrator does; the pages for it have their own tests."""
    engine = create_engine(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    seal = Seal((hub.state / "catalogue_secret").read_text().strip(), "lti")
    with Session(engine) as session, session.begin():
        kept = stored.create(
            session, new, "test", datetime.now(UTC), seal=seal, secret=secret
        ).platform
    engine.dispose()
    return kept


def described(peer: Peer, **changed: Any) -> Platform:
    known: dict[str, Any] = {
        "name": type(peer).__name__,
        "issuer": peer.url,
        "client_id": peer.client_id,
        "authorization_url": peer.authorization_url,
        "token_url": peer.token_url,
        "jwks_url": peer.jwks_url,
        "deployments": (peer.deployment,),
    }
    return Platform(**{**known, **changed})


@contextmanager
def started(folder: Path, **lti: Any) -> Iterator[RunningHub]:
    settings = folder / "sign-in.yaml"
    settings.write_text(yaml.safe_dump({"lti": lti}))
    hub_id = f"test-{secrets.token_hex(4)}"
    install = f"sign_in=Path({str(settings)!r})"
    with start_hub(folder, hub_id, "127.0.0.1", install=install, demo=False) as hub:
        yield hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with started(tmp_path_factory.mktemp("lti")) as hub:
        register(hub, Platform(version="1.1", name="Moodle 1.1", client_id="key-11"), SECRET)
        yield hub
        assert "Traceback" not in hub.log()  # what is refused is no surprise


@pytest.fixture(scope="module")
def framing_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with started(tmp_path_factory.mktemp("framed"), frame_origins=[FRAMED]) as hub:
        for issuer in (FRAMED, "https://other.example"):
            register(
                hub,
                Platform(
                    name=issuer,
                    issuer=issuer,
                    client_id="c",
                    authorization_url=f"{issuer}/auth?x=1",
                    jwks_url=f"{issuer}/jwks",
                ),
            )
        yield hub
        assert "Traceback" not in hub.log()


def tool(hub: RunningHub) -> dict[str, str]:
    return {"login_url": f"{hub.url}/hub/lti/login", "launch_url": f"{hub.url}/hub/lti/launch"}


@pytest.fixture(scope="module")
def edx(hub: RunningHub) -> Iterator[EdxPlatform]:
    with EdxPlatform(**tool(hub)) as peer:
        register(hub, described(peer))
        yield peer


@pytest.fixture(scope="module")
def p13(hub: RunningHub) -> Iterator[P13Platform]:
    with P13Platform(**tool(hub)) as peer:
        register(hub, described(peer))
        yield peer


@pytest.fixture(params=["edx", "p13"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    peer: Peer = request.getfixturevalue(request.param)
    yield peer
    peer.tamper = None


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


TEACHER = {"EdxPlatform": "instructor", "P13Platform": f"{MEMBERSHIP}Instructor"}


def begin(peer: Peer, browser: requests.Session, user: str = "alice", **arguments: str) -> Form:
    """Up to the platform's answer, not sent yet."""
    arguments = {"target": f"{peer.launch_url.removesuffix('/hub/lti/launch')}/join/{KEY}"} | (
        arguments
    )
    page = browser.get(peer.start_url(user, **arguments), timeout=30)
    return form(page, having="id_token")


def send(browser: requests.Session, filled: Form, **fields: str) -> requests.Response:
    """Post the answer and go on while it is the door's own pages; the next is not asked for."""
    page = browser.post(
        filled.action, data={**filled.fields, **fields}, timeout=60, allow_redirects=False
    )
    while page.status_code == 303 and "/hub/lti/" in page.headers["Location"]:
        page = browser.get(_whole(page), timeout=60, allow_redirects=False)
    page.encoding = "utf-8"
    return page


def _whole(page: requests.Response) -> str:
    return requests.compat.urljoin(page.url, page.headers["Location"])


def code_of(page: requests.Response) -> str:
    """Why somebody was not let in."""
    assert page.status_code >= 400, f"{page.status_code} {page.headers.get('Location')}"
    found = re.search(r"<code>([a-z-]+)</code>", page.text)
    assert found, page.text[-3000:]
    return found[1]


def account(hub: RunningHub, browser: requests.Session) -> str:
    page = browser.get(f"{hub.url}/hub/home", timeout=60)
    found = re.search(r'user: "([^"]+)"', page.text)
    assert found, page.text[:3000]
    return found[1]


def is_signed_in(hub: RunningHub, browser: requests.Session) -> bool:
    answer = browser.get(f"{hub.url}/hub/home", timeout=60, allow_redirects=False)
    return answer.status_code == 200


# --- LTI 1.3: honest -----------------------------------------------------------------------------


def test_a_launch_opens_what_its_activity_names(
    hub: RunningHub, peer: Peer, browser: requests.Session
) -> None:
    page = send(browser, begin(peer, browser))
    assert (page.status_code, page.headers["Location"]) == (303, f"/hub/join/{KEY}")
    assert is_signed_in(hub, browser)
    # The join page does not ask again whether they want it.
    assert browser.cookies["mydocker-typed"]


def test_the_same_person_has_the_same_account(
    hub: RunningHub, peer: Peer, browser: requests.Session
) -> None:
    send(browser, begin(peer, browser, "bob"))
    first = account(hub, browser)
    with requests.Session() as other, requests.Session() as third:
        send(other, begin(peer, other, "bob"))
        assert account(hub, other) == first
        send(third, begin(peer, third, "bob2"))
        assert account(hub, third) != first


def test_the_platforms_own_words_come_back_as_they_went(
    peer: Peer, browser: requests.Session
) -> None:
    begin(peer, browser, "zoé é+ü")
    sent = next(args for _, path, args in reversed(peer.log) if path == "/auth")
    assert sent["login_hint"] == "zoé é+ü"
    assert sent["redirect_uri"] == peer.launch_url
    assert (sent["scope"], sent["response_mode"], sent["prompt"]) == ("openid", "form_post", "none")
    for name in ("state", "nonce"):
        assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", sent[name])


def test_a_hint_of_any_characters_comes_back(hub: RunningHub, p13: P13Platform) -> None:
    """Moodle's is JSON, and is used once."""
    hint = '{"cmid":2,"launchid":"a+b/c==&é %22"}'
    asked = {
        "iss": p13.url,
        "client_id": p13.client_id,
        "login_hint": "2",
        "target_link_uri": p13.launch_url,
        "lti_message_hint": hint,
        "lti_deployment_id": "dep-1",
    }
    for answer in (
        requests.get(p13.login_url, asked, timeout=30, allow_redirects=False),
        requests.post(p13.login_url, asked, timeout=30, allow_redirects=False),
    ):
        assert answer.status_code == 303
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        assert query["lti_message_hint"] == [hint]


def test_the_custom_parameter_names_the_join_link(peer: Peer, browser: requests.Session) -> None:
    target = peer.launch_url
    page = send(browser, begin(peer, browser, target=target, custom_join=KEY))
    assert page.headers["Location"] == f"/hub/join/{KEY}"


def test_an_old_address_keeps_its_path(peer: Peer, browser: requests.Session) -> None:
    site = peer.launch_url.removesuffix("/hub/lti/launch")
    target = f"{site}/shell/join/{KEY}/hub/user-redirect/lab/tree/a.ipynb"
    page = send(browser, begin(peer, browser, target=target))
    assert page.headers["Location"] == f"/hub/join/{KEY}/user-redirect/lab/tree/a.ipynb"


def test_nothing_chosen(hub: RunningHub, peer: Peer, browser: requests.Session) -> None:
    student = send(browser, begin(peer, browser, target=peer.launch_url))
    assert code_of(student) == "lti-nothing-chosen"
    with requests.Session() as other:
        role = TEACHER[type(peer).__name__]
        teacher = send(other, begin(peer, other, "teacher", target=peer.launch_url, role=role))
        assert teacher.status_code == 200
        assert "join=KEY" in teacher.text
        assert is_signed_in(hub, other)


def test_a_teacher_chooses(hub: RunningHub, peer: Peer, browser: requests.Session) -> None:
    role = TEACHER[type(peer).__name__]
    page = send(browser, begin(peer, browser, "teacher", message=DEEP_LINKING, role=role))
    assert page.status_code == 303
    assert re.fullmatch(r"/services/catalogue/lti/choose/[a-z0-9]{20,64}", page.headers["Location"])
    assert browser.get(_whole(page), timeout=60).status_code == 200


def test_a_student_does_not_choose(hub: RunningHub, peer: Peer, browser: requests.Session) -> None:
    page = send(browser, begin(peer, browser, message=DEEP_LINKING))
    assert code_of(page) == "lti-teachers-only"
    assert not is_signed_in(hub, browser)


def test_a_choice_belongs_to_one_browser(p13: P13Platform, browser: requests.Session) -> None:
    role = TEACHER["P13Platform"]
    filled = begin(p13, browser, "teacher", message=DEEP_LINKING, role=role)
    page = browser.post(filled.action, data=filled.fields, timeout=60, allow_redirects=False)
    page = browser.get(_whole(page), timeout=60, allow_redirects=False)
    choose = _whole(page)
    assert "/hub/lti/choose?state=" in choose
    with requests.Session() as other:
        send(other, begin(p13, other, "victim", role=role))
        assert code_of(other.get(choose, timeout=60)) == "sign-in-other-browser"
    assert browser.get(choose, timeout=60).url.startswith(choose.split("/hub/")[0] + "/services")
    assert code_of(browser.get(choose, timeout=60)) == "sign-in-other-browser"


def test_a_platforms_administrator_is_nobody_here(
    hub: RunningHub, edx: EdxPlatform, browser: requests.Session
) -> None:
    """Open edX sends membership#Administrator for the staff of a course."""
    send(browser, begin(edx, browser, "chief", role="staff"))
    assert is_signed_in(hub, browser)
    assert browser.get(f"{hub.url}/hub/admin", timeout=60).status_code == 403


def test_two_tabs_at_once(peer: Peer, browser: requests.Session) -> None:
    first, second = begin(peer, browser), begin(peer, browser)
    assert first.fields["state"] != second.fields["state"]
    for tab in (second, first):
        assert send(browser, tab).headers["Location"] == f"/hub/join/{KEY}"


# --- LTI 1.3: who answers, and how often ---------------------------------------------------------


def test_an_answer_opens_once(hub: RunningHub, peer: Peer, browser: requests.Session) -> None:
    answer = begin(peer, browser)
    cookies = list(browser.cookies)
    assert send(browser, answer).status_code == 303
    assert code_of(send(browser, answer)) == "sign-in-other-browser"
    with requests.Session() as thief:  # who has the cookies of that browser too
        for cookie in cookies:
            thief.cookies.set_cookie(cookie)
        assert code_of(send(thief, answer)) == "sign-in-replayed"
        assert not is_signed_in(hub, thief)


def test_an_answer_opens_in_the_browser_that_asked(
    hub: RunningHub, peer: Peer, browser: requests.Session
) -> None:
    answer = begin(peer, browser)
    with requests.Session() as other:
        assert code_of(send(other, answer)) == "sign-in-other-browser"
        begin(peer, other)  # it has a beginning of its own
        assert code_of(send(other, answer)) == "sign-in-other-browser"
        assert not is_signed_in(hub, other)
    assert send(browser, answer).status_code == 303


def test_a_ticket_opens_in_the_browser_that_asked(
    hub: RunningHub, p13: P13Platform, browser: requests.Session
) -> None:
    filled = begin(p13, browser)
    page = browser.post(filled.action, data=filled.fields, timeout=60, allow_redirects=False)
    done = _whole(page)
    with requests.Session() as other:
        assert code_of(other.get(done, timeout=60)) == "sign-in-other-browser"
    honest = browser.get(done, timeout=60, allow_redirects=False)
    assert honest.headers["Location"] == f"/hub/join/{KEY}"
    assert code_of(browser.get(done, timeout=60)) == "sign-in-expired"


def post_only(browser: requests.Session, filled: Form, **fields: str) -> str:
    """Where an answer leads, not gone to yet."""
    data = {**filled.fields, **fields}
    page = browser.post(filled.action, data=data, timeout=60, allow_redirects=False)
    assert page.status_code == 303
    return _whole(page)


@pytest.mark.parametrize("age", [0, 1200])
def test_an_answer_sent_again_and_again_has_one_ticket(
    age: int, p13: P13Platform, browser: requests.Session
) -> None:
    """Whatever its state, which is not signed; and when it is too late already."""
    made = int(time.time()) - age
    p13.tamper = signed_anew(p13, iat=made, exp=made + 60)
    answer, second = begin(p13, browser), begin(p13, browser)
    p13.tamper = None
    place = post_only(browser, answer)
    assert "/hub/lti/done?ticket=" in place
    assert place == post_only(browser, answer)
    assert place == post_only(browser, answer, state=secrets.token_hex(16))
    assert place != post_only(browser, second)
    honest = send(browser, answer)
    if age:
        assert code_of(honest) == "sign-in-clock"
    else:
        assert honest.headers["Location"] == f"/hub/join/{KEY}"


def test_a_choice_begun_again_and_again_has_one_ticket(
    hub: RunningHub, p13: P13Platform, browser: requests.Session
) -> None:
    """Up to 20 kB of the platform's `data` wait with it; only the catalogue sees what was spent."""
    seal = Seal((hub.state / "catalogue_secret").read_text().strip(), "sign-in attempt")
    role = TEACHER["P13Platform"]
    answer = begin(p13, browser, "teacher", message=DEEP_LINKING, role=role)
    cookies = list(browser.cookies)
    tickets = []
    for _ in range(3):
        with requests.Session() as same:
            for cookie in cookies:
                same.cookies.set_cookie(cookie)
            same.get(post_only(same, answer), timeout=60, allow_redirects=False)
            old = {cookie.name for cookie in cookies}
            begun = [c for c in same.cookies if c.name not in old and "sign-in-" in c.name]
            tickets.append([seal.open(c.value, seconds=900)["extra"]["choice"] for c in begun])
    assert len(tickets[0]) == 1
    assert tickets == [tickets[0]] * 3


def test_an_answer_without_a_token_has_no_ticket(
    p13: P13Platform, browser: requests.Session
) -> None:
    answer = begin(p13, browser)
    assert "ticket=" in post_only(browser, answer)
    del answer.fields["id_token"]
    assert "ticket=" not in post_only(browser, answer)


def test_an_answer_for_one_beginning_does_not_do_for_another(
    p13: P13Platform, edx: EdxPlatform, browser: requests.Session
) -> None:
    """Another nonce of the same platform; another platform altogether (mix-up)."""
    first, second, other = begin(p13, browser), begin(p13, browser), begin(edx, browser)
    mixed = send(browser, first, state=second.fields["state"])
    assert code_of(mixed) == "sign-in-message-invalid"
    mixed = send(browser, first, state=other.fields["state"])
    assert code_of(mixed) == "sign-in-message-invalid"
    assert send(browser, first).status_code == 303


@pytest.mark.parametrize("state", ["", "x", "0" * 32, "g" * 32, "../../admin", "<script>"])
def test_an_answer_without_a_beginning(
    state: str, p13: P13Platform, browser: requests.Session
) -> None:
    answer = begin(p13, browser)
    assert code_of(send(browser, answer, state=state)) == "sign-in-other-browser"
    assert send(browser, answer).status_code == 303


def test_a_platform_that_says_no(
    hub: RunningHub, p13: P13Platform, browser: requests.Session
) -> None:
    answer = begin(p13, browser)
    no = Form(
        answer.action,
        "post",
        {
            "state": answer.fields["state"],
            "error": "access_denied",
            "error_description": "<script>alert(1)</script>",
        },
    )
    with requests.Session() as other:
        page = send(other, no)
        assert code_of(page) == "sign-in-other-browser"
        assert "alert(1)" not in page.text
    page = send(browser, no)
    assert code_of(page) == "sign-in-provider-refused"
    assert "access_denied" in page.text
    assert "<script>alert(1)" not in page.text


# --- LTI 1.3: forged -----------------------------------------------------------------------------


def signed_anew(peer: Peer, **claims: Any) -> Callable[[dict[str, str]], dict[str, str]]:
    """The platform's own answer with other claims, signed by the platform's own key."""

    def tamper(fields: dict[str, str]) -> dict[str, str]:
        token = fields["id_token"]
        payload = jwt.decode(token, options={"verify_signature": False})
        headers = {"kid": jwt.get_unverified_header(token)["kid"]}
        for name, value in claims.items():
            payload[
                name if name in {"azp", "aud", "iss", "sub", "iat", "exp", "x"} else CLAIM + name
            ] = value
        token = jwt.encode(payload, peer.private_key, "RS256", headers=headers)
        return {**fields, "id_token": token}

    return tamper


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "another deployment": ({"deployment_id": "elsewhere"}, "lti-deployment-unknown"),
    "a foreign azp": ({"azp": "somebody"}, "sign-in-not-for-us"),
    "another audience": ({"aud": "somebody"}, "sign-in-not-for-us"),
    "valid for ten years": ({"exp": 2**31}, "lti-message-invalid"),
    "a very long sub": ({"sub": "x" * 5000}, "lti-message-invalid"),
    "a foreign target": ({"target_link_uri": "https://evil.example/"}, "lti-message-invalid"),
    "no object": ({"resource_link": "rl-1"}, "lti-message-invalid"),
    "a choice without settings": ({"message_type": DEEP_LINKING}, "lti-message-invalid"),
    "another version": ({"version": "1.0"}, "lti-message-invalid"),
    "an unknown issuer": ({"iss": "https://evil.example"}, "lti-platform-unknown"),
    "half a megabyte": ({"x": "x" * 500_000}, "too-large"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_a_platform_may_not_say(
    name: str, hub: RunningHub, p13: P13Platform, browser: requests.Session
) -> None:
    p13.tamper = signed_anew(p13)
    assert send(browser, begin(p13, browser)).status_code == 303
    claims, code = FORGED[name]
    p13.tamper = signed_anew(p13, **claims)
    with requests.Session() as other:
        page = send(other, begin(p13, other))
        p13.tamper = None
        assert code_of(page) == code
        assert not is_signed_in(hub, other)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_platform_whose_clock_is_off(
    hours: int, hub: RunningHub, p13: P13Platform, browser: requests.Session
) -> None:
    """An answer that is older than its question is no page that was left open."""
    made = int(time.time()) + 3600 * hours
    p13.tamper = signed_anew(p13, iat=made, exp=made + 60)
    page = send(browser, begin(p13, browser))
    p13.tamper = None
    assert code_of(page) == "sign-in-clock"
    assert not is_signed_in(hub, browser)


def test_signatures_that_are_none(hub: RunningHub, peer: Peer, browser: requests.Session) -> None:
    answer = begin(peer, browser)
    token = answer.fields["id_token"]
    payload = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = {
        "the same kid": jwt.encode(payload, own, "RS256", headers={"kid": kid}),
        "another kid": jwt.encode(payload, own, "RS256", headers={"kid": "mine"}),
        "jku": jwt.encode(
            payload, own, "RS256", headers={"kid": kid, "jku": "https://evil.example/jwks"}
        ),
        "none": jwt.encode(payload, None, "none", headers={"kid": kid}),
        "without": token.rpartition(".")[0] + ".",
        "garbage": "x.y.z",
    }
    for name, one in forged.items():
        code = code_of(send(browser, answer, id_token=one))
        assert code in {"sign-in-message-invalid", "lti-message-invalid"}, name
    assert not is_signed_in(hub, browser)
    assert send(browser, answer).status_code == 303


def test_two_megabytes_are_not_read(p13: P13Platform, browser: requests.Session) -> None:
    answer = begin(p13, browser)
    assert code_of(send(browser, answer, x="x" * 2_000_000)) == "too-large"
    assert send(browser, answer).status_code == 303


def test_nothing_is_said_twice(p13: P13Platform, browser: requests.Session) -> None:
    answer = begin(p13, browser)
    twice = [*answer.fields.items(), ("state", "0" * 32)]
    page = browser.post(answer.action, data=twice, timeout=60)
    assert code_of(page) == "bad-request"
    assert send(browser, answer).status_code == 303


# --- LTI 1.3: the beginning ----------------------------------------------------------------------

BEGINNINGS: dict[str, tuple[dict[str, str], str]] = {
    "unknown issuer": ({"iss": "https://evil.example"}, "lti-platform-unknown"),
    "unknown client": ({"client_id": "somebody"}, "lti-platform-unknown"),
    "foreign target": ({"target_link_uri": "https://evil.example/"}, "lti-message-invalid"),
    "script as target": ({"target_link_uri": "javascript:alert(1)"}, "lti-message-invalid"),
    "no login_hint": ({"login_hint": ""}, "lti-message-invalid"),
    "no issuer": ({"iss": ""}, "lti-message-invalid"),
    "ten thousand characters": ({"lti_message_hint": "x" * 10_000}, "too-large"),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_which_beginnings_are_refused(name: str, hub: RunningHub, p13: P13Platform) -> None:
    honest = {
        "iss": p13.url,
        "client_id": p13.client_id,
        "login_hint": "2",
        "target_link_uri": p13.launch_url,
    }
    changed, code = BEGINNINGS[name]
    for ask in (requests.get, requests.post):
        options: dict[str, Any] = {"timeout": 30, "allow_redirects": False}
        argument = "params" if ask is requests.get else "data"
        assert ask(p13.login_url, **{argument: honest}, **options).status_code == 303
        page = ask(p13.login_url, **{argument: {**honest, **changed}}, **options)
        assert code_of(page) == code
        assert "Set-Cookie" not in page.headers or "sign-in" not in page.headers["Set-Cookie"]


@pytest.mark.parametrize("status", [PlatformStatus.PENDING, PlatformStatus.DISABLED])
def test_a_platform_that_is_closed(hub: RunningHub, status: PlatformStatus) -> None:
    with P13Platform(**tool(hub)) as peer, requests.Session() as browser:
        register(hub, described(peer, status=status))
        page = browser.get(peer.start_url("alice"), timeout=30)
        assert code_of(page) == "lti-platform-closed"


def test_several_clients_of_one_issuer(hub: RunningHub, browser: requests.Session) -> None:
    with P13Platform(**tool(hub)) as peer:
        register(hub, described(peer))
        register(hub, described(peer, client_id="second"))
        assert send(browser, begin(peer, browser)).status_code == 303
        asked = {"iss": peer.url, "login_hint": "2", "target_link_uri": peer.launch_url}
        page = requests.get(peer.login_url, asked, timeout=30, allow_redirects=False)
        assert code_of(page) == "lti-message-invalid"


# --- inside a frame ------------------------------------------------------------------------------


def framed(hub: RunningHub, issuer: str, path: str = "login", cookie: str = "") -> Any:
    return requests.get(
        f"{hub.url}/hub/lti/{path}",
        {
            "iss": issuer,
            "login_hint": "2",
            "target_link_uri": f"{hub.url}/join/{KEY}",
            "lti_message_hint": '{"a":"<b>"}',
            "path": "further words are left out",
        },
        headers={"Sec-Fetch-Dest": "iframe", "Cookie": cookie},
        timeout=30,
        allow_redirects=False,
    )


def test_a_frame_that_keeps_our_cookies(framing_hub: RunningHub) -> None:
    first = framed(framing_hub, FRAMED)
    assert first.status_code == 303
    assert urlsplit(first.headers["Location"]).path == "/hub/lti/begin"
    probe = first.headers["Set-Cookie"]
    for attribute in ("SameSite=None", "Secure", "Partitioned", "HttpOnly"):
        assert attribute in probe
    second = requests.get(
        requests.compat.urljoin(first.url, first.headers["Location"]),
        headers={"Sec-Fetch-Dest": "iframe", "Cookie": probe.partition(";")[0]},
        timeout=30,
        allow_redirects=False,
    )
    assert second.status_code == 303
    where = urlsplit(second.headers["Location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{FRAMED}/auth"
    query = parse_qs(where.query)
    assert query["x"] == ["1"]
    assert query["lti_message_hint"] == ['{"a":"<b>"}']
    assert "Partitioned" in second.headers["Set-Cookie"]


def test_a_frame_that_drops_our_cookies(framing_hub: RunningHub) -> None:
    """A button begins the same again in a window of its own."""
    page = framed(framing_hub, FRAMED, "begin")
    assert page.status_code == 200
    assert 'target="_blank"' in page.text
    again = form(page, having="login_hint")
    assert again.action == f"{framing_hub.url}/hub/lti/login"
    assert again.fields["lti_message_hint"] == '{"a":"<b>"}'
    assert "path" not in again.fields
    with requests.Session() as window:
        answer = window.post(again.action, again.fields, timeout=30, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{FRAMED}/auth?")


def test_a_platform_that_may_not_frame_us(framing_hub: RunningHub) -> None:
    page = framed(framing_hub, "https://other.example")
    assert page.status_code == 200
    assert "sign-in" not in page.headers.get("Set-Cookie", "")
    policy = page.headers["Content-Security-Policy"]
    assert policy == "frame-ancestors 'self' https://other.example"
    assert form(page, having="iss").fields["iss"] == "https://other.example"


def test_without_frames_only_the_button_may_be_framed(hub: RunningHub, p13: P13Platform) -> None:
    page = framed(hub, p13.url)
    assert page.headers["Content-Security-Policy"] == f"frame-ancestors 'self' {p13.url}"
    assert form(page, having="iss").fields["iss"] == p13.url
    other = framed(hub, "https://evil.example")
    assert code_of(other) == "lti-platform-unknown"
    assert "frame-ancestors 'none'" in other.headers["Content-Security-Policy"]


# --- LTI 1.1 -------------------------------------------------------------------------------------


@pytest.fixture(params=[edx_lti11, pylti_lti11])
def consumer(request: pytest.FixtureRequest) -> Any:
    return request.param


def launch11(browser: requests.Session, url: str, fields: Any, **headers: str) -> requests.Response:
    return send11(browser, url, list(fields.items()), **headers)


def send11(
    browser: requests.Session, url: str, fields: list[tuple[str, str]], **headers: str
) -> requests.Response:
    page = browser.post(url, data=fields, timeout=60, allow_redirects=False, headers=headers)
    while page.status_code == 303 and "/hub/lti/" in page.headers["Location"]:
        page = browser.get(_whole(page), timeout=60, allow_redirects=False)
    page.encoding = "utf-8"
    return page


def test_an_lti11_launch(hub: RunningHub, consumer: Any, browser: requests.Session) -> None:
    url = f"{hub.url}/hub/lti/launch11/{KEY}"
    fields = consumer(url, "key-11", SECRET, "zoe", "Learner")
    page = launch11(browser, url, fields)
    assert (page.status_code, page.headers["Location"]) == (303, f"/hub/join/{KEY}")
    assert is_signed_in(hub, browser)
    with requests.Session() as other:
        assert code_of(launch11(other, url, fields)) == "sign-in-replayed"
        assert not is_signed_in(hub, other)


def test_an_lti11_launch_sent_again_and_again_has_one_ticket(
    hub: RunningHub, browser: requests.Session
) -> None:
    """Another launch has another, also with the same nonce: it may be somebody else's."""
    url = f"{hub.url}/hub/lti/launch11/{KEY}"
    first, second = (
        Form(url, "post", signed11(url, {"oauth_nonce": "n-1", "user_id": user}))
        for user in ("yan", "yve")
    )
    place = post_only(browser, first)
    assert "/hub/lti/done11?ticket=" in place
    assert place == post_only(browser, first)
    assert place != post_only(browser, second)
    assert place == post_only(browser, first)


def signed11(url: str, changed: dict[str, str]) -> dict[str, str]:
    """A form as a consumer that chooses its nonces badly would sign it."""
    fields = {**pylti_lti11(url, "key-11", SECRET, "x", "Learner"), **changed}
    del fields["oauth_signature"]
    base = signature.signature_base_string(
        "POST",
        signature.base_string_uri(url),
        signature.normalize_parameters(list(fields.items())),
    )
    key = f"{SECRET}&".encode()
    digest = hmac.new(key, base.encode(), hashlib.sha1).digest()
    return {**fields, "oauth_signature": base64.b64encode(digest).decode()}


def test_an_lti11_launch_names_its_join_link(hub: RunningHub, browser: requests.Session) -> None:
    url = f"{hub.url}/hub/lti/launch11"
    fields = edx_lti11(url, "key-11", SECRET, "zoe", "Learner", custom={"join": KEY})
    assert launch11(browser, url, fields).headers["Location"] == f"/hub/join/{KEY}"
    nothing = edx_lti11(url, "key-11", SECRET, "zoe", "Learner")
    assert code_of(launch11(browser, url, nothing)) == "lti-nothing-chosen"


def test_what_a_forged_lti11_launch_leaves_behind(
    hub: RunningHub, consumer: Any, browser: requests.Session
) -> None:
    """Nothing: a nonce is used up by a good signature alone."""
    url = f"{hub.url}/hub/lti/launch11/{KEY}"
    fields = consumer(url, "key-11", SECRET, "max", "Learner")
    forged = {**fields, "user_id": "admin"}
    assert code_of(launch11(browser, url, forged)) == "sign-in-message-invalid"
    wrong = consumer(url, "key-11", "another secret", "max", "Learner")
    assert code_of(launch11(browser, url, wrong)) == "sign-in-message-invalid"
    unknown = consumer(url, "key-12", SECRET, "max", "Learner")
    assert code_of(launch11(browser, url, unknown)) == "lti-platform-unknown"
    twice = [*fields.items(), ("custom_next", "https://evil.example")]
    assert code_of(send11(browser, url, [*twice, twice[-1]])) == "lti-message-invalid"
    assert code_of(send11(browser, url, twice)) == "sign-in-message-invalid"
    late = {**fields, "oauth_timestamp": "soon"}
    assert code_of(launch11(browser, url, late)) == "sign-in-message-invalid"
    assert not is_signed_in(hub, browser)
    assert launch11(browser, url, fields).headers["Location"] == f"/hub/join/{KEY}"


def test_lti11_leads_to_our_own_addresses_alone(hub: RunningHub, browser: requests.Session) -> None:
    url = f"{hub.url}/hub/lti/launch11/{KEY}"
    evil = "https://evil.example/"
    fields = pylti_lti11(
        url, "key-11", SECRET, "eve", "Learner", custom_next=evil, custom_join=evil
    )
    assert launch11(browser, url, fields).headers["Location"] == f"/hub/join/{KEY}"


def test_an_lti11_platform_is_told_why(hub: RunningHub, browser: requests.Session) -> None:
    url = f"{hub.url}/hub/lti/launch11"
    origin = "https://moodle.example.org"
    more = {"lti_version": "LTI-2p0", "launch_presentation_return_url": f"{origin}/return?id=1"}
    fields = pylti_lti11(url, "key-11", SECRET, "eve", "Learner", **more)
    back = launch11(browser, url, fields, Origin=origin)
    assert back.status_code == 303
    assert back.headers["Location"].startswith(f"{origin}/return?id=1&lti_errormsg=")
    assert (
        "lti_version" in dict(parse_qsl(urlsplit(back.headers["Location"]).query))["lti_errormsg"]
    )
    elsewhere = launch11(browser, url, fields, Origin="https://evil.example")
    assert code_of(elsewhere) == "lti-message-invalid"
    forged = {**fields, "user_id": "admin"}
    assert code_of(launch11(browser, url, forged, Origin=origin)) == "sign-in-message-invalid"


# --- the platform's keys -------------------------------------------------------------------------


class KeyServer:
    """A platform's JWKS, honest or not; `answer` is (status, headers, body)."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/jwks"
        self.asked = 0
        self.held = threading.Event()
        self.held.set()
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, key_set("a"))

    def __enter__(self) -> KeyServer:
        keys = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                keys.asked += 1
                keys.held.wait(20)
                status, headers, body = keys.answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:  # who asked has heard enough
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()


def key_set(*kids: str) -> bytes:
    return json.dumps({"keys": [{"kty": "RSA", "kid": kid} for kid in kids]}).encode()


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    with KeyServer() as server:
        yield server


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def known(url: str, issuer: str = "http://127.0.0.1", auth: str = "") -> Platform:
    return Platform(
        name="Moodle",
        issuer=issuer,
        client_id="c",
        authorization_url=auth or f"{issuer}/auth",
        jwks_url=url,
    )


async def refused(held: PlatformKeys, platform: Platform, kid: str = "a") -> str:
    with pytest.raises(MydockerError) as caught:
        await held.key(platform, kid)
    return caught.value.code


async def test_keys_are_fetched_once_and_again_when_they_change(keys: KeyServer) -> None:
    clock = Clock()
    held, platform = PlatformKeys(clock), known(keys.url)
    class_ = await asyncio.gather(*(held.key(platform, "a") for _ in range(50)))
    assert {key["kid"] for key in class_} == {"a"}
    assert keys.asked == 1

    keys.answer = (200, {}, key_set("b"))
    assert await refused(held, platform, "b") == "sign-in-message-invalid"  # asked a moment ago
    assert keys.asked == 1
    clock.now = 31
    assert (await held.key(platform, "b"))["kid"] == "b"
    assert await refused(held, platform, "a") == "sign-in-message-invalid"  # withdrawn
    assert keys.asked == 2


async def test_a_key_that_was_withdrawn_counts_no_longer_than_an_hour(keys: KeyServer) -> None:
    clock = Clock()
    held, platform = PlatformKeys(clock), known(keys.url)
    await held.key(platform, "a")
    keys.answer = (200, {}, key_set("b"))
    clock.now = 3599
    await held.key(platform, "a")
    clock.now = 3601
    assert await refused(held, platform, "a") == "sign-in-message-invalid"


BROKEN: dict[str, tuple[int, dict[str, str], bytes]] = {
    "error": (500, {}, key_set("b")),
    "not found": (404, {}, b""),
    "a page": (200, {"Content-Type": "text/html"}, b"<html>"),
    "a list": (200, {}, b"[]"),
    "no list of keys": (200, {}, b'{"keys":{"a":1}}'),
    "brackets": (200, {}, b'{"keys":' + b"[" * 200_000),
    "no text": (200, {}, b"\xff\xfe\xfa"),
    "too many keys": (200, {}, key_set(*map(str, range(1000)))),
    "two megabytes": (200, {}, b'{"x":"' + b"x" * 2_000_000 + b'",' + key_set("b")[1:]),
    "compressed": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00"),
    "to another host": (302, {"Location": "http://localhost:1/jwks"}, key_set("b")),
    "to a file": (302, {"Location": "file:///etc/passwd"}, key_set("b")),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_platform_that_does_not_give_keys(name: str, keys: KeyServer) -> None:
    """What was fetched before goes on; what was not is refused in words."""
    clock = Clock()
    held, platform = PlatformKeys(clock), known(keys.url)
    await held.key(platform, "a")
    keys.answer = BROKEN[name]
    clock.now = 4000
    assert await refused(held, platform, "b") == "platform-unreachable"
    assert (await held.key(platform, "a"))["kid"] == "a"
    assert await refused(PlatformKeys(), platform) == "platform-unreachable"


async def test_a_platform_that_is_gone() -> None:
    platform = known(f"http://127.0.0.1:{free_ports(1)[0]}/jwks")
    assert await refused(PlatformKeys(), platform) == "platform-unreachable"


@pytest.mark.parametrize(
    "url",
    [
        "http://moodle.example.org/jwks",
        "http://192.168.1.1/jwks",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost.evil.example/jwks",
        "http://user@127.0.0.1/jwks",
    ],
)
async def test_keys_do_not_come_in_the_clear(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*arguments: Any) -> Any:
        raise AssertionError("it was asked")

    monkeypatch.setattr("mydocker_hub.doors.lti_keys.fetch", never)
    assert await refused(PlatformKeys(), known(url)) == "platform-unreachable"
    with pytest.raises(AssertionError):
        await PlatformKeys().key(known("https://moodle.example.org/jwks"), "a")


PUBLIC = "https://moodle.example.org"


async def test_keys_inside_our_network_are_its_own_platforms_alone(
    keys: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    here = f"http://127.0.0.1:{keys.port}"
    for issuer, auth in ((here, ""), (PUBLIC, f"{here}/auth"), (here, f"{PUBLIC}/auth")):
        keys.asked = 0
        assert await PlatformKeys().key(known(keys.url, issuer, auth), "a")
        assert keys.asked == 1
    keys.asked = 0
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        for scheme in ("http", "https"):
            caplog.clear()
            platform = known(f"{scheme}://{host}:{keys.port}/jwks", PUBLIC)
            assert await refused(PlatformKeys(), platform) == "platform-unreachable"
            if scheme == "https" or host in {"127.0.0.1", "localhost"}:
                assert "NotAllowed" in caplog.text
    for url in ("https://10.255.255.1/jwks", "https://169.254.7.7/jwks"):
        caplog.clear()
        assert await refused(PlatformKeys(), known(url, PUBLIC)) == "platform-unreachable"
        assert "NotAllowed" in caplog.text
    assert keys.asked == 0


async def test_keys_are_never_where_clouds_keep_theirs(caplog: pytest.LogCaptureFixture) -> None:
    """Link-local, not even for a platform that says to be there. (This one is nobody's.)"""
    url = "https://169.254.7.7/jwks"
    platform = known(url, "https://169.254.7.7")
    assert await refused(PlatformKeys(), platform) == "platform-unreachable"
    assert "NotAllowed" in caplog.text


async def test_an_issuer_that_is_no_address(keys: KeyServer) -> None:
    platform = known(keys.url, "https://[moodle", f"http://127.0.0.1:{keys.port}/auth")
    assert await PlatformKeys().key(platform, "a")


def test_a_slow_platform_holds_up_nobody_else(
    hub: RunningHub, p13: P13Platform, browser: requests.Session, keys: KeyServer
) -> None:
    with P13Platform(**tool(hub)) as slow, requests.Session() as waiting:
        register(hub, described(slow, jwks_url=keys.url))
        keys.held.clear()
        answer = begin(slow, waiting)
        codes: list[str] = []
        thread = threading.Thread(target=lambda: codes.append(code_of(send(waiting, answer))))
        thread.start()
        deadline = time.monotonic() + 30
        while not keys.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        assert keys.asked == 1
        assert send(browser, begin(p13, browser)).status_code == 303
        assert codes == []  # still waiting
        keys.answer = (500, {}, b"")
        keys.held.set()
        thread.join(30)
        assert codes == ["platform-unreachable"]
