"""Sessions in the REST API of a real hub: booked, decided upon, and what they let in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.web.i18n import translator
from tests.hub import RunningHub, text_of

from .conftest import Asker, definition, person, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PARIS = ZoneInfo("Europe/Paris")
MONDAYS = {
    "starts": "2027-01-18T08:30:00",
    "duration": "PT4H",
    "rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=4",
    "expected": 30,
}
SECOND = "20270125T073000Z"
WINDOW = {"after": "2027-01-01T00:00:00Z", "before": "2027-03-01T00:00:00Z"}


def wall(instant: datetime) -> str:
    return f"{instant.astimezone(PARIS):%Y-%m-%dT%H:%M:00}"


def once(starts: datetime, hours: int = 1, **changes: Any) -> dict[str, Any]:
    return {"starts": wall(starts), "duration": f"PT{hours}H", "expected": 20, **changes}


@pytest.fixture
def environment(bob: Asker) -> str:
    """An environment of bob's that bears no session yet."""
    sent = definition()
    assert bob.post("/environments", sent).status_code == 201
    return sent["slug"]


@pytest.fixture
def booked(bob: Asker, environment: str) -> dict[str, Any]:
    answer = bob.post(f"/environments/{environment}/sessions", MONDAYS)
    assert answer.status_code == 201, answer.text
    assert answer.headers["ETag"] == '"1"'
    return answer.json()


@pytest.fixture
def gpu(bob: Asker, carol: Asker) -> Iterator[str]:
    """An environment of bob's whose sessions wait for carol."""
    compute_type = {"slug": "gpu-sessions", "title": "GPU", "needs_approval": True}
    assert carol.put("/compute-types/gpu-sessions", compute_type).status_code == 200
    sent = definition(resources={"compute_type": "gpu-sessions"})
    assert bob.post("/environments", sent).status_code == 201
    yield sent["slug"]
    made = carol.get(f"/environments/{sent['slug']}")
    assert carol.delete(f"/environments/{sent['slug']}", made.headers["ETag"]).status_code == 204
    assert carol.delete("/compute-types/gpu-sessions").status_code == 204


def mine(asker: Asker, slug: str, **query: str) -> list[dict[str, Any]]:
    answer = asker.get("/sessions", params={**WINDOW, **query})
    assert answer.status_code == 200, answer.text
    return [item for item in answer.json()["items"] if item["environment"] == slug]


def join(bob: Asker, the_hub: Asker, slug: str, name: str = "alice") -> str:
    key = bob.post(f"/environments/{slug}/join-links", {}).json()["key"]
    assert the_hub.post(f"/join-links/{key}/join", {"person": person(name)}).status_code == 200
    return key


def start(the_hub: Asker, slug: str, name: str = "alice"):
    sent = {
        "person": person(name),
        "environment": slug,
        "server": slug,
        "base_url": f"/user/{name}/{slug}/",
    }
    return the_hub.post("/launches", sent)


# --- booking -------------------------------------------------------------------------------------


def test_a_series_with_one_day_moved_and_one_cancelled(
    alice: Asker, bob: Asker, the_hub: Asker, environment: str, booked: dict[str, Any]
) -> None:
    at = f"/sessions/{booked['id']}"
    moved = bob.put(
        f"{at}/occurrences/{SECOND}",
        {**MONDAYS, "starts": "2027-01-26T14:00:00", "rule": None},
        etag='"1"',
    )
    assert moved.status_code == 200, moved.text
    assert moved.json()["series"] == booked["id"]
    assert moved.json()["replaces"] == "2027-01-25T07:30:00Z"
    cancelled = bob(
        "DELETE",
        f"{at}/occurrences/20270201T073000Z",
        params={"reason": "Holiday"},
        headers={"If-Match": '"1"'},
    )
    assert cancelled.status_code == 204, cancelled.text
    join(bob, the_hub, environment)
    for asker in (alice, bob):
        found = mine(asker, environment)
        slots = sorted(
            (slot["starts"], item["state"], item["reason"])
            for item in found
            for slot in item["slots"]
        )
        assert slots == [
            ("2027-01-18T07:30:00Z", "approved", ""),
            ("2027-01-26T13:00:00Z", "approved", ""),
            ("2027-02-01T07:30:00Z", "cancelled", "Holiday"),
            ("2027-02-08T07:30:00Z", "approved", ""),
        ]
        assert {item["made_by"] for item in found} == {None if asker is alice else "bob"}
    assert len(alice.get(f"/environments/{environment}/sessions").json()["items"]) == 3
    problem(bob.put(f"{at}/occurrences/20270126T073000Z", MONDAYS, etag='"1"'), 404,
            "session-unknown")  # fmt: skip
    problem(bob.put(f"{at}/occurrences/20271399T073000Z", MONDAYS, etag='"1"'), 404,
            "session-unknown")  # fmt: skip


def test_the_series_is_changed_copied_and_cancelled(
    bob: Asker, environment: str, booked: dict[str, Any]
) -> None:
    at = f"/sessions/{booked['id']}"
    problem(bob.put(at, MONDAYS), 428, "precondition-needed")
    changed = bob.put(at, {**MONDAYS, "expected": 40}, etag='"1"')
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    problem(bob.put(at, MONDAYS, etag='"1"'), 412, "changed-meanwhile")
    copied = bob.post(
        f"/environments/{environment}/sessions/copy",
        {"sessions": [booked["id"]], "first": "2028-01-12", "until": "2028-02-01"},
    )
    assert copied.status_code == 201, copied.text
    [copy] = copied.json()["items"]
    assert copy["session"]["starts"] == "2028-01-17T08:30:00"
    assert copy["session"]["rule"] == "FREQ=WEEKLY;BYDAY=MO;UNTIL=20280201"
    assert copy["session"]["expected"] == 40
    assert bob.delete(at, '"2"').status_code == 204
    problem(bob.put(at, MONDAYS, etag='"3"'), 409, "session-cancelled")
    assert [item["state"] for item in mine(bob, environment)] == ["cancelled"]


def test_a_series_from_one_day_on(
    alice: Asker, bob: Asker, environment: str, booked: dict[str, Any]
) -> None:
    at = f"/sessions/{booked['id']}/occurrences"
    wanted = {**MONDAYS, "starts": "2027-01-25T10:00:00", "rule": "FREQ=WEEKLY;BYDAY=MO;COUNT=3"}
    following = f"{at}/{SECOND}/following"
    problem(alice.put(following, wanted, etag='"1"'), 403, "not-allowed")
    problem(bob.put(following, wanted), 428, "precondition-needed")
    changed = bob.put(following, wanted, etag='"1"')
    assert changed.status_code == 200, changed.text
    new = changed.json()
    assert (new["id"] != booked["id"], new["version"], new["overlaps"]) == (True, 1, [])
    first = bob.get(f"/sessions/{booked['id']}").json()
    assert (first["session"]["rule"], first["version"]) == (
        "FREQ=WEEKLY;BYDAY=MO;UNTIL=20270124",
        2,
    )
    problem(bob.put(following, wanted, etag='"2"'), 404, "session-unknown")
    last = f"/sessions/{new['id']}/occurrences/20270208T090000Z/following"
    assert bob.delete(last, '"1"').status_code == 204
    slots = sorted(
        (slot["starts"], item["state"]) for item in mine(bob, environment) for slot in item["slots"]
    )
    assert slots == [
        ("2027-01-18T07:30:00Z", "approved"),
        ("2027-01-25T09:00:00Z", "approved"),
        ("2027-02-01T09:00:00Z", "approved"),
        ("2027-02-08T09:00:00Z", "cancelled"),
    ]


def test_who_changes_a_large_one_asks_again_and_an_administrator_does_not(
    bob: Asker, carol: Asker, gpu: str
) -> None:
    at = f"/environments/{gpu}/sessions"
    own = carol.post(at, MONDAYS).json()
    assert (own["state"], own["decided_by"]) == ("approved", "carol")
    url = f"/sessions/{own['id']}"
    smaller = bob.put(url, {**MONDAYS, "expected": 20}, etag='"1"').json()
    assert (smaller["state"], smaller["version"]) == ("approved", 2)
    for version, changes in ((2, {"expected": 40}), (3, {"starts": "2027-01-18T10:00:00"})):
        larger = bob.put(url, {**MONDAYS, **changes}, etag=f'"{version}"').json()
        assert (larger["state"], larger["decided_by"]) == ("requested", "")
        # who may approve is asked in the operation
        problem(
            bob.put(f"{url}/decision", {"approved": True}, etag=f'"{version + 1}"'),
            403,
            "not-allowed",
        )
    agreed = carol.put(url, {**MONDAYS, "expected": 60}, etag='"4"').json()
    assert (agreed["state"], agreed["decided_by"]) == ("approved", "carol")


def test_overlaps_are_told(bob: Asker, environment: str, booked: dict[str, Any]) -> None:
    other = bob.post(
        f"/environments/{environment}/sessions",
        {"starts": "2027-01-25T12:00:00", "duration": "PT2H", "expected": 5},
    ).json()
    assert other["overlaps"] == [
        {
            "id": booked["id"],
            "title": None,
            "starts": "2027-01-25T07:30:00Z",
            "ends": "2027-01-25T11:30:00Z",
        }
    ]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"rule": "FREQ=WEEKLY"}, "rule", "say when it ends"),
        ({"rule": "FREQ=WEEKLY;BYDAY=TU;COUNT=2"}, "", "begin on 2027-01-19"),
        ({"zone": "Mars/Olympus"}, "zone", "time zone"),
        ({"expected": 0}, "expected", "1"),
        ({"starts": "2027-01-18T08:30:00+01:00"}, "starts", "2027-01-18T08:30"),
    ],
)
def test_what_cannot_be(bob: Asker, environment: str, changes, field: str, words: str) -> None:
    answer = bob.post(f"/environments/{environment}/sessions", {**MONDAYS, **changes})
    [error] = problem(answer, 422, "invalid")["errors"]
    assert error["field"] == field
    assert words in error["message"]


def test_windows_have_an_end(bob: Asker) -> None:
    for query in ({"before": "2026-12-31T00:00:00Z"}, {"before": "2029-01-01T00:00:00Z"}):
        problem(bob.get("/sessions", params={**WINDOW, **query}), 422, "invalid")
    assert bob.get("/sessions").status_code == 200


# --- who may -------------------------------------------------------------------------------------


def test_strangers(
    alice: Asker, carol: Asker, nobody: Asker, the_hub: Asker, bob: Asker, booked: dict[str, Any]
) -> None:
    at = f"/sessions/{booked['id']}"
    environment = booked["environment"]
    problem(nobody.get(at), 401, "sign-in-needed")
    problem(alice.get(at), 404, "session-unknown")
    problem(alice.get(f"/environments/{environment}/sessions"), 404, "environment-unknown")
    assert mine(alice, environment) == []
    problem(alice.get("/sessions", params={"show": "all"}), 403, "not-allowed")
    problem(bob.get("/sessions", params={"show": "all"}), 403, "not-allowed")
    assert mine(carol, environment) == []
    assert len(mine(carol, environment, show="all")) == 1
    # another teacher, who may start what is public, and not book it
    made = definition(public=True)
    assert carol.post("/environments", made).status_code == 201
    public = f"/environments/{made['slug']}/sessions"
    problem(bob.post(public, MONDAYS), 403, "not-allowed")
    of_carol = carol.post(public, MONDAYS).json()
    assert bob.get(f"/sessions/{of_carol['id']}").status_code == 200
    problem(bob.put(f"/sessions/{of_carol['id']}", MONDAYS, etag='"1"'), 403, "not-allowed")
    problem(bob.delete(f"/sessions/{of_carol['id']}", '"1"'), 403, "not-allowed")
    problem(
        bob.post(f"{public}/copy", {"sessions": [1], "first": "2028-01-17"}), 403, "not-allowed"
    )


def test_sessions_of_another_environment_are_not_copied(
    bob: Asker, environment: str, booked: dict[str, Any], carol: Asker
) -> None:
    made = definition()
    carol.post("/environments", made)
    foreign = carol.post(f"/environments/{made['slug']}/sessions", MONDAYS).json()["id"]
    sent = {"sessions": [booked["id"], foreign], "first": "2028-01-17"}
    answer = bob.post(f"/environments/{environment}/sessions/copy", sent)
    problem(answer, 404, "session-unknown")
    assert len(bob.get(f"/environments/{environment}/sessions").json()["items"]) == 1


def test_an_administrator_decides(
    alice: Asker, bob: Asker, carol: Asker, the_hub: Asker, gpu: str
) -> None:
    join(bob, the_hub, gpu)
    asked = bob.post(f"/environments/{gpu}/sessions", MONDAYS).json()
    at = f"/sessions/{asked['id']}"
    assert asked["state"] == "requested"
    assert mine(alice, gpu) == []
    problem(alice.get(at), 404, "session-unknown")
    [waiting] = mine(carol, gpu, show="all", state="requested")
    assert waiting["id"] == asked["id"]
    problem(bob.put(f"{at}/decision", {"approved": True}, etag='"1"'), 403, "not-allowed")
    problem(carol.put(f"{at}/decision", {"approved": False}, etag='"1"'), 422, "invalid")
    refused = carol.put(f"{at}/decision", {"approved": False, "reason": "Too many."}, etag='"1"')
    assert (refused.json()["state"], refused.json()["reason"]) == ("refused", "Too many.")
    assert bob.get(at).json()["decided_by"] == "carol"
    problem(carol.put(f"{at}/decision", {"approved": True}, etag='"2"'), 409, "session-decided")
    again = bob.put(at, {**MONDAYS, "expected": 10}, etag='"2"')
    assert (again.json()["state"], again.json()["reason"]) == ("requested", "")
    approved = carol.put(f"{at}/decision", {"approved": True}, etag='"3"')
    assert approved.json()["state"] == "approved"
    assert [item["state"] for item in mine(alice, gpu)] == ["approved"]


# --- what they let in ----------------------------------------------------------------------------


def bind(bob: Asker, slug: str, effect: str) -> None:
    found = bob.get(f"/environments/{slug}")
    sent = {**found.json()["definition"], "sessions": {"effect": effect}}
    answer = bob.put(f"/environments/{slug}", sent, etag=found.headers["ETag"])
    assert answer.status_code == 200, answer.text


def test_what_is_reserved_gives_the_same_answer_everywhere(
    alice: Asker, bob: Asker, the_hub: Asker, environment: str
) -> None:
    bind(bob, environment, "reserved")
    key = join(bob, the_hub, environment)
    problem(start(the_hub, environment), 403, "session-none")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)
    booked = bob.post(f"/environments/{environment}/sessions", once(tomorrow)).json()
    opens = (tomorrow - timedelta(minutes=15)).isoformat()
    details = problem(start(the_hub, environment), 403, "session-closed")
    assert details["params"]["when"] == opens
    assert wall(tomorrow - timedelta(minutes=15))[11:16].lstrip("0") in details["detail"]
    [mine_] = [
        item
        for item in alice.get("/me/environments").json()["items"]
        if item["slug"] == environment
    ]
    assert (mine_["may_start"], mine_["opens_at"]) == (False, opens.replace("+00:00", "Z"))
    choices = the_hub.post("/choices", {"person": person("alice")}).json()["items"]
    assert environment not in [item["environment"] for item in choices]
    # the link lets in, and the start is refused
    assert the_hub.post(f"/join-links/{key}/look", {"person": person("zoe")}).status_code == 200
    assert start(the_hub, environment, "bob").status_code == 200
    soon = datetime.now(UTC) + timedelta(minutes=10)
    answer = bob.put(f"/sessions/{booked['id']}", once(soon.replace(second=0)), etag='"1"')
    assert answer.status_code == 200, answer.text
    assert start(the_hub, environment).status_code == 200
    choices = the_hub.post("/choices", {"person": person("alice")}).json()["items"]
    assert environment in [item["environment"] for item in choices]


def test_an_exam_is_for_those_on_its_list(
    bob: Asker, carol: Asker, the_hub: Asker, environment: str
) -> None:
    bind(carol, environment, "exam")
    found = carol.get(f"/environments/{environment}")
    public = {**found.json()["definition"], "public": True}
    carol.put(f"/environments/{environment}", public, etag=found.headers["ETag"])
    began = datetime.now(UTC) - timedelta(minutes=10)
    assert bob.post(f"/environments/{environment}/sessions", once(began)).status_code == 201
    problem(start(the_hub, environment, "mallory"), 403, "exam-not-enrolled")
    join(bob, the_hub, environment, "mallory")
    assert start(the_hub, environment, "mallory").status_code == 200


def test_what_is_indicative_leaves_the_dashboard_and_its_link_starts_it(
    alice: Asker, bob: Asker, the_hub: Asker, environment: str
) -> None:
    join(bob, the_hub, environment)

    def shown() -> bool:
        items = alice.get("/me/environments").json()["items"]
        return environment in [item["slug"] for item in items]

    assert shown()
    later = datetime.now(UTC) + timedelta(days=3)
    bob.post(f"/environments/{environment}/sessions", once(later))
    assert not shown()
    assert start(the_hub, environment).status_code == 200
    bob.post(f"/environments/{environment}/sessions", once(datetime.now(UTC)))
    assert shown()


@pytest.mark.parametrize("language", ["fr", "en"])
def test_link_dashboard_and_the_hubs_api_say_the_same(
    hub: RunningHub, bob: Asker, environment: str, language: str
) -> None:
    """With the sentence and the next date; who has the link is enrolled, and starts later."""
    bind(bob, environment, "reserved")
    key = bob.post(f"/environments/{environment}/join-links", {}).json()["key"]
    later = (datetime.now(UTC) + timedelta(days=40)).replace(second=0, microsecond=0)
    bob.post(f"/environments/{environment}/sessions", once(later))
    closed = MydockerError("session-closed", title="Test", when=later - timedelta(minutes=15))
    why = " ".join(translator(language).error(closed).split())
    headers = {"Accept-Language": language}
    with hub.signed_in("alice") as alice:
        page = alice.get(f"/join/{key}", headers=headers)
        assert page.status_code == 403
        assert why in text_of(page)
        assert why in alice.dashboard(language)
        assert why in text_of(
            alice.get(f"/services/catalogue/environments/{environment}", headers=headers)
        )
        answer = alice.start(environment)
        assert answer.status_code == 403
        french = " ".join(translator("fr").error(closed).split())  # it says no language
        assert french in " ".join(answer.json()["message"].split())
        assert alice.server(environment) is None
        token = re.search(r'name="_xsrf" value="([^"]+)"', alice.get("/services/catalogue/").text)
        assert token
        page = alice.session.post(
            f"{hub.url}/services/catalogue/start/{environment}",
            data={"_xsrf": token[1]},
            headers=headers,
            timeout=60,
        )
        assert page.status_code == 403
        page.encoding = "utf-8"
        assert why in text_of(page)
        alice.post_form("/services/catalogue/", f"/services/catalogue/leave/{environment}")


def test_an_indicative_one_is_on_the_dashboard_while_it_takes_place_or_runs(
    hub: RunningHub, bob: Asker
) -> None:
    sent = definition(title="Indicative one")
    assert bob.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    key = bob.post(f"/environments/{slug}/join-links", {}).json()["key"]
    later = datetime.now(UTC) + timedelta(days=3)
    booked = bob.post(f"/environments/{slug}/sessions", once(later)).json()
    with hub.signed_in("alice") as alice:
        # its link starts it: it waits, or is in it already, which has no page at that address
        assert f"/alice/{slug}" in alice.get(f"/join/{key}").url
        alice.wait_until_ready(slug)
        assert "Indicative one" in alice.dashboard()  # what runs can be stopped
        alice.stop_and_wait(slug)
        assert "Indicative one" not in alice.dashboard()
        now = once(datetime.now(UTC))
        assert bob.put(f"/sessions/{booked['id']}", now, etag='"1"').status_code == 200
        assert "Indicative one" in alice.dashboard()
        alice.post_form("/services/catalogue/", f"/services/catalogue/leave/{slug}")
