"""The limits of an environment's lifetime, on a real server."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from .conftest import remove_all, start_hub
from .hub import Visitor

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PREFIX = "/services/catalogue/"
QUIET = "Nothing has been done in it for a while: it stops at"
ENVIRONMENT = """
  - slug: {name}
    title: {{fr: {title}, en: {title}}}
    status: ready
    public: true
    image: mydocker-test/busybox:1
    interfaces: [{{name: web, title: Web, kind: hub, port: 8888}}]
    lifetime: {{idle_limit: PT20M, maximum: PT2H, protection: PT30M}}
"""
CATALOGUE = "version: 1\nenvironments:" + "".join(
    ENVIRONMENT.format(name=name, title=name.title())
    for name in ("active", "quiet", "idle", "old", "busy")
)

LONG = "hubpages.culler_seen.since -= 3600"  # as if the hub had run for an hour
CONFIG = """
from mydocker_hub import hubpages
LONG
for service in c.JupyterHub.services:
    if service["name"] == "culler":
        service["environment"]["MYDOCKER_CULLER_SECONDS"] = "0.5"
"""
CONFIG = CONFIG.replace("LONG", LONG)
AWAY = """
from mydocker_hub import hubpages
hubpages.culler_seen.at -= 3600
for service in c.JupyterHub.services:
    if service["name"] == "culler":
        service["command"] = ["sleep", "1000"]
"""


# What the hub is told of alice's servers: when they started and were last used; what she was told.
TIMES = {
    "active": ("-30 minutes", "-8 minutes", None),
    "quiet": ("-30 minutes", "-25 minutes", None),
    "idle": ("-30 minutes", "-21 minutes", ("idle", "-10 minutes", "-10 seconds")),
    "old": ("-121 minutes", "-1 minutes", ("time-over", "-10 minutes", "-10 seconds")),
    "busy": ("-30 minutes", "-21 minutes", None),
}


@pytest.fixture(scope="module")
def hub_of(
    engine: docker.DockerClient, bridge_address: str, tiny_image: str, tmp_path_factory
) -> Iterator[Callable[[str, str], start_hub]]:
    """Two hubs, by name, each of which can be started again and again with more configuration."""
    states = {name: tmp_path_factory.mktemp(name) for name in ("usual", "alone")}
    hub_ids = {name: f"test-{secrets.token_hex(4)}" for name in states}
    for state in states.values():
        (state / "catalogue.yaml").write_text(CATALOGUE)

    def hub(name: str, config: str) -> start_hub:
        state = states[name]
        catalogue = str(state / "catalogue.yaml")
        return start_hub(state, hub_ids[name], bridge_address, catalogue=catalogue, config=config)

    yield hub
    for hub_id in hub_ids.values():
        remove_all(engine, hub_id)


@pytest.fixture(scope="module")
def alice(hub_of) -> Iterator[Visitor]:
    """Alice, whose servers have run for long: hours are too long for a test, so that the hub is
    started again with other times in its database. Servers stay, as when a hub is upgraded."""
    with hub_of("usual", AWAY) as running, running.signed_in("alice") as alice:
        for name in TIMES:
            alice.api("POST", f"/users/alice/servers/{name}", json={})
        for name in TIMES:
            alice.wait_until_ready(name)
    for name, (started, active, told) in TIMES.items():
        set_times(running.state, name, started, active, told)
    with hub_of("usual", CONFIG.replace(LONG, "")) as running, running.signed_in("alice") as alice:
        time.sleep(3)
        for name in TIMES:  # a hub that has just started stops nobody
            assert alice.server(name) is not None, running.log()[-3000:]
    with hub_of("usual", CONFIG) as running, running.signed_in("alice") as alice:
        yield alice


def set_times(
    state: Path, name: str, started: str, active: str, told: tuple[str, str, str] | None = None
) -> None:
    execute(
        state / "jupyterhub.sqlite",
        "UPDATE spawners SET started = datetime('now', ?), last_activity = datetime('now', ?)"
        " WHERE name = ?",
        (started, active, name),
    )
    if told:
        execute(
            state / "catalogue.sqlite",
            "UPDATE launches SET warned_code = ?, warned_at = datetime('now', ?),"
            " stops_at = datetime('now', ?) WHERE ended_at IS NULL AND environment_id ="
            " (SELECT id FROM environments WHERE slug = ?)",
            (*told, name),
        )


def execute(path: Path, statement: str, values: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, values)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("idle", "nothing was done in it for 20 minutes"), ("old", "it had run for 2 hours")],
)
def test_a_server_is_stopped_when_its_time_is_over(
    alice: Visitor, name: str, sentence: str
) -> None:
    alice.wait_until_gone(name)
    wait_for(alice, name, sentence)


def test_who_is_active_is_not_warned(alice: Visitor) -> None:
    wait_for(alice, "quiet", QUIET)  # by then the others have been looked at
    page = card(alice, "active")
    assert "running since" in page
    assert QUIET not in page


def test_a_warning_one_click_and_it_goes_on(alice: Visitor) -> None:
    wait_for(alice, "quiet", QUIET)
    items = alice.get(f"{PREFIX}warnings", headers={"Accept-Language": "en"}).json()["items"]
    (told,) = [item for item in items if item["slug"] == "quiet"]
    assert told["title"] == "Quiet"
    assert told["text"].startswith(QUIET)
    assert told["key"].startswith("idle ")
    alice.post_form(PREFIX, f"{PREFIX}extend/quiet")
    assert QUIET not in card(alice, "quiet")
    time.sleep(2)
    assert QUIET not in card(alice, "quiet")
    assert alice.server("quiet") is not None


def test_a_long_computation_is_protected(alice: Visitor) -> None:
    assert "Keep it running for a long computation" in card(alice, "busy")
    wait_for(alice, "busy", QUIET)
    alice.post_form(PREFIX, f"{PREFIX}protect/busy", minutes="60")
    time.sleep(2)
    page = card(alice, "busy")
    assert "though nobody is there, as you asked" in page
    assert QUIET not in page
    alice.post_form(PREFIX, f"{PREFIX}protect/busy", minutes="0")
    assert "though nobody is there, as you asked" not in card(alice, "busy")


@pytest.mark.parametrize("minutes", ["", "-1", "1e3", "9999999", "600000"])
def test_what_cannot_be_asked_for_is_refused(alice: Visitor, minutes: str) -> None:
    answer = alice.post_form(PREFIX, f"{PREFIX}protect/active", minutes=minutes)
    assert answer.status_code == 400


@pytest.mark.parametrize("verb", ["extend", "protect"])
def test_what_does_not_run_goes_no_further(alice: Visitor, verb: str) -> None:
    answer = alice.post_form(PREFIX, f"{PREFIX}{verb}/idle", minutes="60")
    assert answer.status_code == 404


def test_while_the_culler_is_away_the_hub_itself_ends_what_is_overdue(hub_of) -> None:
    """Not after twenty minutes without anybody, but after the thirty that they may ask for."""
    with hub_of("alone", AWAY) as running, running.signed_in("bob") as bob:
        bob.start_and_wait("quiet")
        bob.start_and_wait("idle")
    set_times(running.state, "quiet", "-40 minutes", "-15 minutes")
    set_times(running.state, "idle", "-40 minutes", "-31 minutes")
    with hub_of("alone", AWAY) as running, running.signed_in("bob") as bob:
        bob.wait_until_gone("idle")
        wait_for(bob, "idle", "nothing was done in it for 20 minutes")
        assert bob.server("quiet") is not None


def card(person: Visitor, name: str) -> str:
    """What the dashboard says of an environment."""
    text = person.get(PREFIX, headers={"Accept-Language": "en"}).text.replace("\xa0", " ")
    _, _, rest = text.partition(f'data-environment="{name}"')
    return rest.partition("data-environment=")[0]


def wait_for(person: Visitor, name: str, sentence: str) -> None:
    deadline = time.monotonic() + 20
    while sentence not in card(person, name) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert sentence in card(person, name), person.hub.log()[-3000:]
