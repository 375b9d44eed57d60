"""The limits of an environment's lifetime, on a real server."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from .conftest import remove_all, start_hub
from .hub import Visitor

pytestmark = [pytest.mark.hub, pytest.mark.engine]

CATALOGUE = """\
version: 1
environments:
  - slug: short
    title: {fr: Court, en: Short}
    status: ready
    public: true
    image: mydocker-test/busybox:1
    interfaces: [{name: web, title: Web, kind: hub, port: 8888}]
    lifetime: {idle_limit: PT20M, maximum: PT2H}
"""


@pytest.fixture(scope="module")
def short_hub(
    engine: docker.DockerClient,
    bridge_address: str,
    tiny_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, str]]:
    """The state of a hub that is started and stopped by the tests, and its name."""
    state = tmp_path_factory.mktemp("short")
    (state / "catalogue.yaml").write_text(CATALOGUE)
    hub_id = f"test-{secrets.token_hex(4)}"
    yield state, hub_id
    remove_all(engine, hub_id)


@pytest.mark.parametrize(
    ("started", "last_activity", "sentence"),
    [
        ("-30 minutes", "-19 minutes", None),
        ("-30 minutes", "-21 minutes", "nothing was done in it for 20 minutes"),
        ("-121 minutes", "-1 minutes", "it had run for 2 hours"),
    ],
)
def test_a_server_is_stopped_when_its_time_is_over(
    short_hub: tuple[Path, str],
    bridge_address: str,
    started: str,
    last_activity: str,
    sentence: str | None,
) -> None:
    """The hub is restarted with other times in its database: two hours are too long for a test."""
    state, hub_id = short_hub

    def hub() -> start_hub:
        # A stopped hub leaves its servers running, as when it is upgraded.
        return start_hub(
            state,
            hub_id,
            bridge_address,
            catalogue=str(state / "catalogue.yaml"),
        )

    with hub() as running, running.signed_in("alice") as alice:
        alice.api("POST", "/users/alice/servers/short", json={})
        alice.wait_until_ready("short")
    with sqlite3.connect(state / "jupyterhub.sqlite") as database:
        database.execute(
            "UPDATE spawners SET started = datetime('now', ?), last_activity = datetime('now', ?)"
            " WHERE name = 'short'",
            (started, last_activity),
        )
    database.close()
    with hub() as running, running.signed_in("alice") as alice:
        if sentence is None:
            assert alice.server("short") is not None
            page = dashboard(alice)
            assert "running since" in page
            alice.api("DELETE", "/users/alice/servers/short")
        alice.wait_until_gone("short")
        wait_for_end_on_dashboard(alice, sentence)


def wait_for_end_on_dashboard(alice: Visitor, sentence: str | None) -> None:
    page = dashboard(alice)
    for _ in range(50):
        if sentence is None or sentence in page:
            break
        page = dashboard(alice)
    assert sentence is None or sentence in page
    assert sentence is not None or "was stopped because" not in page


def dashboard(person: Visitor) -> str:
    text = person.get("/services/catalogue/", headers={"Accept-Language": "en"}).text
    return text.replace("\xa0", " ")
