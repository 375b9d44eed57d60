"""How often a hub asks the engine, counted on the way to its socket."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import docker
import pytest

from ..conftest import remove_all, start_hub
from ..hub import RunningHub
from ..relay import Relay
from ..spawning import environment, wait_for

pytestmark = [pytest.mark.hub, pytest.mark.engine]

TICK = "GET /tasks"
SWEEP = {"GET /services", "GET /volumes"}  # once a minute, for all
CREATE = "POST /services/create"
REMOVE = "DELETE /services/*"
WEIGH = "POST /containers/*/update"

CATALOGUE = {
    "version": 1,
    "environments": [
        environment("plain"),
        environment("weighed", resources={"cpu_share": 0.5}),
        environment("with-folder", storage={"dedicated": "/data/mine"}),
    ],
}


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def hub(
    engine: docker.DockerClient,
    tiny_image: str,
    bridge_address: str,
    relay: Relay,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningHub]:
    state = tmp_path_factory.mktemp("calls")
    (state / "catalogue.yaml").write_text(json.dumps(CATALOGUE))  # which is YAML
    config = (
        "c.SwarmEnvironmentSpawner.client_kwargs = "
        f"{{'base_url': 'tcp://127.0.0.1:{relay.port}'}}\n"
    )
    hub_id = f"test-calls-{relay.port}"
    catalogue = str(state / "catalogue.yaml")
    try:
        with start_hub(
            state, hub_id, bridge_address, config=config, catalogue=catalogue
        ) as running:
            with running.signed_in("alice") as alice:  # who the engine is, once for all
                alice.start_and_wait("plain")
                alice.stop_and_wait("plain")
            yield running
    finally:
        remove_all(engine, hub_id)


@pytest.fixture(autouse=True)
def forgotten(hub: RunningHub, relay: Relay) -> None:
    relay.calls.clear()


def counted(relay: Relay) -> dict[str, int]:
    """Calls beside the watcher's, since the last time that this was asked."""
    calls = Counter(relay.calls)
    relay.calls.clear()
    assert calls.pop(TICK, 0) > 0
    return {call: count for call, count in calls.items() if call not in SWEEP}


def test_a_start_is_one_call_and_a_stop_is_one(hub: RunningHub, relay: Relay) -> None:
    with hub.signed_in("alice") as alice:
        alice.start_and_wait("plain")
        assert counted(relay) == {CREATE: 1}
        alice.stop_and_wait("plain")
        assert counted(relay) == {REMOVE: 1}


def test_a_cpu_weight_is_one_more(hub: RunningHub, relay: Relay) -> None:
    with hub.signed_in("alice") as alice:
        alice.start_and_wait("weighed")
        assert counted(relay) == {CREATE: 1, WEIGH: 1}
        alice.stop_and_wait("weighed")
        assert counted(relay) == {REMOVE: 1}


def test_a_new_folder_is_two_more_the_first_time(hub: RunningHub, relay: Relay) -> None:
    with hub.signed_in("alice") as alice:
        for expected in ({CREATE: 2, REMOVE: 1}, {CREATE: 1}):
            alice.start_and_wait("with-folder")
            assert counted(relay) == expected
            alice.stop_and_wait("with-folder")
            assert counted(relay) == {REMOVE: 1}


def test_while_servers_run_ticks_are_all_and_no_more_for_many(
    hub: RunningHub, relay: Relay
) -> None:
    def next_ticks(count: int) -> None:
        relay.calls.clear()
        wait_for(lambda: len(relay.calls) >= count, 30)

    with hub.signed_in("alice") as alice, hub.signed_in("bob") as bob:
        people = (alice, bob)
        names = ("plain", "weighed")
        for person in people:
            for name in names:
                person.start(name)
        for person in people:
            for name in names:
                person.wait_until_ready(name)
        time.sleep(2)  # the watcher is slow again
        began = time.monotonic()
        next_ticks(3)
        elapsed = time.monotonic() - began
        assert set(relay.calls) <= {TICK, *SWEEP}
        # five seconds between two, whatever there is to see
        assert relay.calls.count(TICK) <= elapsed / 4 + 2
        for person in people:
            for name in names:
                person.stop_and_wait(name)
