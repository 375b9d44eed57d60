"""What the hub asks of people, over HTTP."""

from __future__ import annotations

import secrets

import pytest

from .conftest import Asker, federation_sign_in, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]


def test_only_the_hub_asks(alice: Asker, carol: Asker, nobody: Asker, the_hub: Asker) -> None:
    bodies = {
        "/sign-ins": federation_sign_in("someone"),
        "/sign-ins/look": federation_sign_in("someone"),
        "/people/join": {"keep": "a", "close": "b"},
        "/standings": {"after": ""},
        "/refusals": {"code": "internal", "reference": "0123abcd"},
    }
    for path, body in bodies.items():
        for asker in (alice, carol, nobody):
            problem(asker.post(path, body), 401, "sign-in-needed")
    assert the_hub.post("/sign-ins/look", bodies["/sign-ins"]).json() == {"standing": None}


def test_a_sign_in_and_the_next(the_hub: Asker) -> None:
    sent = federation_sign_in(role="teacher")
    first = the_hub.post("/sign-ins", sent)
    assert first.status_code == 200, first.text
    standing = first.json()
    assert standing["new"]
    assert sorted(standing["roles"]) == ["student", "teacher"]
    assert standing["name"] == f"test.{sent['claims']['family_name']}"
    again = the_hub.post("/sign-ins", {**sent, "role": "student"}).json()
    assert (again["name"], again["roles"], again["new"]) == (standing["name"], ["student"], False)
    found = the_hub.post("/sign-ins/look", sent).json()["standing"]
    assert found["name"] == standing["name"]


def test_a_replay(the_hub: Asker) -> None:
    spent = [{"key": f"attempt:{secrets.token_hex(32)}", "until": "2099-01-01T00:00:00Z"}]
    sent = federation_sign_in(spent=spent)
    assert the_hub.post("/sign-ins", sent).status_code == 200
    problem(the_hub.post("/sign-ins", sent), 403, "sign-in-replayed")
    assert the_hub.post("/sign-ins/look", sent).status_code == 200  # looking spends nothing


def test_joining(the_hub: Asker) -> None:
    mine, other = federation_sign_in(), federation_sign_in()
    names = [the_hub.post("/sign-ins", sent).json()["name"] for sent in (mine, other)]
    asked = the_hub.post("/sign-ins", {**other, "link_to": names[0]}).json()
    assert (asked["name"], asked["other"]) == (names[0], names[1])
    body = {"keep": names[0], "close": names[1]}
    joined = the_hub.post("/people/join", body)
    assert joined.json()["name"] == names[0]
    assert the_hub.post("/sign-ins", other).json()["name"] == names[0]
    problem(the_hub.post("/people/join", body), 409, "account-joined-already")
    problem(the_hub.post("/people/join", {"keep": names[0], "close": "x"}), 404, "account-unknown")
    changed = the_hub.post("/standings", {"after": ""}).json()
    closed = next(item for item in changed["items"] if item["name"] == names[1])
    assert (closed["blocked"], closed["other"]) == (True, names[0])
    assert the_hub.post("/standings", {"after": changed["next"]}).status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"identifiers": []},
        {"identifiers": [["subject-id", "a\nb"]]},
        {"door": "password"},
        {"provider": ""},
        {"values": {"x" * 2000: "y"}},
        {"mail": "x" * 300},
    ],
)
def test_claims_that_cannot_be(the_hub: Asker, claims) -> None:
    problem(the_hub.post("/sign-ins", federation_sign_in(claims=claims)), 422, "invalid")
