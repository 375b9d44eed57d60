"""The time of one's own running server in the REST API of a real hub."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.hub import RunningHub

from .conftest import Asker, definition, problem

pytestmark = [pytest.mark.hub, pytest.mark.engine]

LIFETIME = {"idle_limit": "PT20M", "maximum": "PT2H", "extension": "PT2H", "protection": "PT8H"}
MINUTE = timedelta(minutes=1)
CALLS = [
    ("GET", "server", None),
    ("POST", "server/extend", None),
    ("PUT", "server/protection", {"minutes": 60}),
    ("DELETE", "server/protection", None),
]


@pytest.fixture(scope="module")
def server(hub: RunningHub, carol: Asker) -> Iterator[str]:
    """The address of alice's running server in the API."""
    sent = definition(title="Brief", public=True, lifetime=LIFETIME)
    assert carol.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    with hub.signed_in("alice") as alice:
        alice.start(slug, json={"user_options": {"environment": slug}})
        alice.wait_until_ready(slug)
        yield f"/me/environments/{slug}/server"
        alice.stop_and_wait(slug)


def at(value: str) -> datetime:
    return datetime.fromisoformat(value)


def near(value: str, other: datetime) -> bool:
    return abs(at(value) - other) < MINUTE / 2


def test_when_it_stops_and_what_may_be_said(alice: Asker, server: str) -> None:
    told = alice.get(server)
    assert told.status_code == 200
    assert told.headers["Cache-Control"] == "no-store"
    time = told.json()
    assert (time["code"], time["firm"], time["warning"]) == ("idle", False, None)
    seen = max(at(time["started"]), at(time["last_activity"] or time["started"]))
    assert near(time["stops_at"], seen + 20 * MINUTE)
    assert time["extendable"] is True
    assert time["protected_until"] is None
    assert near(time["protectable_until"], at(time["started"]) + 240 * MINUTE)


def test_one_says_so_and_takes_it_back(alice: Asker, server: str) -> None:
    now = datetime.now(UTC)
    extended = alice.post(f"{server}/extend")
    assert extended.status_code == 200, extended.text
    assert near(extended.json()["stops_at"], now + 20 * MINUTE)
    protected = alice.put(f"{server}/protection", {"minutes": 60})
    assert protected.status_code == 200, protected.text
    assert near(protected.json()["protected_until"], now + 60 * MINUTE)
    assert near(protected.json()["stops_at"], now + 60 * MINUTE)
    longest = alice.put(f"{server}/protection", {"minutes": 10_000}).json()
    assert longest["protected_until"] == longest["protectable_until"]
    # the same server, as its page has it
    assert alice.get(server).json()["protected_until"] == longest["protected_until"]
    again = alice.delete(f"{server}/protection")
    assert again.status_code == 200
    assert again.json()["protected_until"] is None


@pytest.mark.parametrize("minutes", [0, -1, 1.5, "60", None, 366 * 24 * 60 + 1])
def test_what_cannot_be_asked_for(alice: Asker, server: str, minutes: object) -> None:
    problem(alice.put(f"{server}/protection", {"minutes": minutes}), 422, "invalid")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_nobody_elses(
    nobody: Asker, bob: Asker, carol: Asker, server: str, method: str, path: str, body: object
) -> None:
    at = server.removesuffix("server") + path
    problem(nobody(method, at, json=body), 401, "sign-in-needed")
    for other in (bob, carol):  # they have none; an administrator either
        problem(other(method, at, json=body), 404, "server-not-running")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_of_what_does_not_run(alice: Asker, method: str, path: str, body: object) -> None:
    answer = alice(method, f"/me/environments/nothing-here/{path}", json=body)
    problem(answer, 404, "server-not-running")


def test_what_nothing_ends_is_not_extended(hub: RunningHub, alice: Asker, carol: Asker) -> None:
    sent = definition(title="Endless", public=True)
    assert carol.post("/environments", sent).status_code == 201
    slug = sent["slug"]
    with hub.signed_in("alice") as visitor:
        visitor.start(slug, json={"user_options": {"environment": slug}})
        visitor.wait_until_ready(slug)
        server = f"/me/environments/{slug}/server"
        time = alice.get(server).json()
        assert (time["stops_at"], time["code"], time["extendable"]) == (None, "", False)
        problem(alice.post(f"{server}/extend"), 409, "not-extendable")
        problem(alice.put(f"{server}/protection", {"minutes": 5}), 409, "not-protectable")
        visitor.stop_and_wait(slug)
