"""The pages for accounts: administrators' alone, and everybody's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests

from tests.hub import RunningHub, Visitor, text_of

from .conftest import Asker, federation_sign_in

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PREFIX = "/services/catalogue/"
PEOPLE = f"{PREFIX}admin/people"
ADMIN_PAGES = ["admin/people", "admin/people/alice", "admin/people/alice/join", "admin/sign-ins"]
ACTIONS = ["grant", "withdraw", "end", "block", "unblock", "join", "separate"]


@pytest.fixture
def admin(hub: RunningHub):
    with hub.signed_in("carol") as visitor:
        visitor.session.headers["Accept-Language"] = "en"
        visitor.get(PREFIX)
        yield visitor


@pytest.fixture
def somebody(the_hub: Asker) -> str:
    """The name of a new account."""
    return new(the_hub)


def new(the_hub: Asker, **options) -> str:
    answer = the_hub.post("/sign-ins", federation_sign_in(**options))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["name"])


def act(visitor: Visitor, name: str, action: str, **fields: str) -> requests.Response:
    return visitor.post_form(
        f"{PREFIX}environments/tiny", f"{PEOPLE}/{name}", action=action, **fields
    )


def code_of(answer: requests.Response) -> str:
    match = re.search(r"<code>([a-z-]+)</code>", answer.text)
    assert match, answer.text[:3000]
    return match[1]


# --- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("page", ADMIN_PAGES)
def test_pages_for_administrators_alone(hub: RunningHub, who: str, page: str) -> None:
    with hub.signed_in(who) as visitor:
        answer = visitor.get(f"{PREFIX}{page}")
        assert answer.status_code == 403
        assert code_of(answer) == "not-allowed"
        assert "admin/people" not in visitor.get(PREFIX).text


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("action", [*ACTIONS, "nothing"])
def test_actions_for_administrators_alone(
    hub: RunningHub, the_hub: Asker, somebody: str, who: str, action: str
) -> None:
    with hub.signed_in(who) as visitor:
        visitor.get(PREFIX)
        page = visitor.get(f"{PREFIX}environments/tiny")
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert token
        answer = visitor.session.post(
            f"{hub.url}{PEOPLE}/{somebody}",
            data={"_xsrf": token[1], "action": action, "role": "admin", "other": who, "keep": who},
            timeout=30,
        )
        assert answer.status_code == 403
        assert code_of(answer) == "not-allowed"
    listed = the_hub.post("/standings", {"after": ""}).json()["items"]
    assert somebody not in {item["name"] for item in listed}


def test_a_form_of_another_site_does_nothing(admin: Visitor, the_hub: Asker, somebody: str) -> None:
    answer = admin.session.post(
        f"{admin.hub.url}{PEOPLE}/{somebody}",
        data={"action": "block"},
        headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        timeout=30,
    )
    assert answer.status_code == 403
    assert "Block the account" in admin.get(f"{PEOPLE}/{somebody}").text


def test_who_is_signed_out_is_sent_to_sign_in(hub: RunningHub) -> None:
    for page in [*ADMIN_PAGES, "account"]:
        answer = requests.get(f"{hub.url}{PREFIX}{page}", allow_redirects=False, timeout=30)
        assert answer.status_code == 302, page


# --- looking --------------------------------------------------------------------------------------


def test_searching(admin: Visitor, the_hub: Asker) -> None:
    name = new(the_hub, role="teacher")
    page = admin.get(f"{PEOPLE}?q={name}")
    assert page.status_code == 200
    assert f'href="{PEOPLE}/{name}"' in page.text
    assert "1 account" in text_of(page)
    for query, found in {
        "role=teacher": True,
        "role=teacher&origin=claimed": True,
        "role=teacher&origin=decided": False,
        "role=admin": False,
        "role=student": False,
        "state=blocked": False,
        "state=joined": False,
        "role=nonsense&origin=x&state=y&page=abc": True,
    }.items():
        page = admin.get(f"{PEOPLE}?q={name}&{query}")
        assert page.status_code == 200
        assert (f'href="{PEOPLE}/{name}"' in page.text) is found, query
    assert "Nobody was found" in text_of(admin.get(f"{PEOPLE}?q=%00nobody%25"))
    assert "There is no page 99" in text_of(admin.get(f"{PEOPLE}?page=99"))


def test_an_account(admin: Visitor, the_hub: Asker) -> None:
    sent = federation_sign_in(
        role="teacher",
        claims={"institution": "Université <A>", "mail": "x@univ-a.example"},
    )
    name = the_hub.post("/sign-ins", sent).json()["name"]
    page = admin.get(f"{PEOPLE}/{name}")
    assert "Université &lt;A&gt;" in page.text
    text = text_of(page)
    assert sent["claims"]["identifiers"][0][1] in text
    assert "account made at the first sign-in" in text
    assert "by a sign-in , since" in text or "by a sign-in, since" in text
    answer = admin.get(f"{PEOPLE}/nobody.at-all")
    assert (answer.status_code, code_of(answer)) == (404, "account-unknown")
    assert admin.get(f"{PEOPLE}/a%2Fb").status_code == 404


# --- deciding -------------------------------------------------------------------------------------


def standing(the_hub: Asker, name: str):
    items = the_hub.post("/standings", {"after": ""}).json()["items"]
    return next(item for item in items if item["name"] == name)


def test_giving_a_role_and_taking_it_back(admin: Visitor, the_hub: Asker, somebody: str) -> None:
    day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    page = act(admin, somebody, "grant", role="teacher", reason="teaches R", until=day)
    assert "The role was given." in text_of(page)
    assert "teaches R" in text_of(page)
    assert sorted(standing(the_hub, somebody)["roles"]) == ["student", "teacher"]
    page = act(admin, somebody, "withdraw", role="teacher", reason="no more")
    assert "taken away by carol" in text_of(page)
    assert standing(the_hub, somebody)["roles"] == ["student"]
    page = act(admin, somebody, "end", role="teacher")
    assert "decision taken back" in text_of(page)


def test_decisions_that_cannot_be(admin: Visitor, somebody: str) -> None:
    for fields in (
        {"role": "student"},
        {"role": "root"},
        {"role": "teacher", "until": "2020-01-01"},
        {"role": "teacher", "until": "9999-12-31"},
        {"role": "teacher", "until": "tomorrow"},
        {"role": "teacher", "reason": "x" * 1001},
    ):
        answer = act(admin, somebody, "grant", **fields)
        assert answer.status_code == 422, fields
    assert act(admin, somebody, "nonsense").status_code == 404


def test_blocking(admin: Visitor, the_hub: Asker, somebody: str) -> None:
    page = act(admin, somebody, "block", reason="mined coins")
    assert "mined coins" in text_of(page)
    assert standing(the_hub, somebody)["blocked"]
    assert somebody in admin.get(f"{PEOPLE}?state=blocked").text
    page = act(admin, somebody, "unblock")
    assert "The account is open again." in text_of(page)
    assert not standing(the_hub, somebody)["blocked"]
    assert act(admin, "carol", "block").status_code == 403


def test_joining_and_separating(admin: Visitor, the_hub: Asker) -> None:
    sent = [federation_sign_in(), federation_sign_in()]
    keep, close = (the_hub.post("/sign-ins", one).json()["name"] for one in sent)
    page = admin.get(f"{PEOPLE}/{close}/join?with={keep}")
    assert f'value="{keep}"' in page.text
    assert f'value="{close}"' in page.text
    page = act(admin, close, "join", other=keep, keep=keep)
    assert page.url.endswith(f"{PEOPLE}/{keep}?done=joined")
    assert the_hub.post("/sign-ins", sent[1]).json()["name"] == keep
    assert f"joined to {keep}" in text_of(admin.get(f"{PEOPLE}?state=joined&q={close}"))
    numbers = re.findall(r'name="identity" value="(\d+)"', admin.get(f"{PEOPLE}/{keep}").text)
    assert len(numbers) == 2
    # an identity of another account is none of this page
    other = new(the_hub)
    assert act(admin, other, "separate", identity=numbers[1]).status_code == 404
    page = act(admin, keep, "separate", identity=numbers[1])
    assert page.url.endswith(f"{PEOPLE}/{close}?done=separated")
    assert the_hub.post("/sign-ins", sent[1]).json()["name"] == close
    answer = act(admin, keep, "separate", identity=numbers[0])
    assert (answer.status_code, code_of(answer)) == (409, "identity-alone")


def test_joins_that_cannot_be(admin: Visitor, somebody: str) -> None:
    assert admin.get(f"{PEOPLE}/{somebody}/join?with={somebody}").status_code == 422
    assert admin.get(f"{PEOPLE}/{somebody}/join?with=nobody.at-all").status_code == 404
    assert admin.get(f"{PEOPLE}/{somebody}/join").status_code == 404
    assert act(admin, somebody, "join", other="alice", keep="carol").status_code == 422
    assert act(admin, somebody, "join", other="nobody.at-all", keep=somebody).status_code == 404


# --- refused sign-ins -----------------------------------------------------------------------------


def test_what_the_help_desk_finds(admin: Visitor, the_hub: Asker) -> None:
    note = {
        "code": "sign-in-no-identifier",
        "provider": "federation",
        "reference": "3f9a01bc",
        "detail": "<script>idp.univ-a.example",
    }
    assert the_hub.post("/refusals", note).status_code == 204
    page = admin.get(f"{PREFIX}admin/sign-ins?reference=3F9A01BC")
    assert "did not say who you are" in text_of(page)
    assert "<script>idp" not in page.text
    assert "1 refused sign-in" in text_of(page)
    page = admin.get(f"{PREFIX}admin/sign-ins?reference=fedcba98")
    assert "No refused sign-in has this reference" in text_of(page)
    for code in ("no-such-code", "internal"):  # of another release
        the_hub.post("/refusals", {**note, "code": code, "reference": "00000001"})
    assert admin.get(f"{PREFIX}admin/sign-ins").status_code == 200


# --- everybody's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "words"),
    [("alice", "student"), ("bob", "You make environments"), ("carol", "You see and steer")],
)
def test_my_account(hub: RunningHub, who: str, words: str) -> None:
    with hub.signed_in(who) as visitor:
        page = visitor.get(f"{PREFIX}account", headers={"Accept-Language": "en"})
        assert page.status_code == 200
        assert words in text_of(page)
        assert who in text_of(page)
        assert f'href="{PREFIX}account"' in visitor.get(PREFIX).text


def test_the_hubs_panel_leads_to_the_accounts(admin: Visitor) -> None:
    assert PEOPLE in admin.get("/hub/admin").text
    page = admin.get(PREFIX).text
    assert PEOPLE in page
    assert f"{PREFIX}admin/platforms" in page
