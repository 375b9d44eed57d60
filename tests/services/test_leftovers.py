"""What is left behind: listed for administrators, stopped by them, removed by the rule."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import docker
import pytest

from mydocker_hub.services.builder.tidying import Tidying
from mydocker_hub.store import editing, leftovers
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import FolderRow
from mydocker_hub.swarm.client import SwarmClient
from tests.hub import RunningHub, text_of
from tests.services.conftest import Asker
from tests.store.conftest import BOB, make

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PAGE = "/services/catalogue/admin/leftovers"
SHEET = "/services/catalogue/environments/tiny"  # a page with a form
HUB = "hub"


@pytest.fixture
def volume(engine: docker.DockerClient) -> Iterator[str]:
    name = f"mydocker-test-{secrets.token_hex(4)}"
    engine.volumes.create(name)
    yield name
    for found in engine.volumes.list(filters={"name": name}):
        found.remove(force=True)


@pytest.fixture
def database(tmp_path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    database.upgrade()
    yield database
    database.close()


def there(engine: docker.DockerClient, volume: str) -> bool:
    found = engine.volumes.list(filters={"name": volume})  # any part of a name
    return any(one.name == volume for one in found)


async def test_the_rule_removes_what_nobody_can_come_to(
    engine: docker.DockerClient, database: Database, volume: str, tiny_image: str
) -> None:
    now = datetime.now(UTC)
    client = SwarmClient()
    node = await client.own_node()
    old = now - timedelta(days=40)
    remote, shared = f"{volume}-remote", f"{volume}-shared"
    engine.volumes.create(shared, driver_opts={"type": "tmpfs", "device": "tmpfs"})

    def leave(session) -> None:
        for name, where in ((volume, node), (remote, "another"), (shared, node)):
            session.add(FolderRow(volume=name, node=where, prepared_at=old, left_at=old))

    database.write_now(leave)
    holder = engine.containers.create(tiny_image, volumes={volume: {"bind": "/data"}})
    try:
        never = Tidying(database, client, HUB, kept_for=None)
        assert await never.look() == []
        later = Tidying(database, client, HUB, kept_for=timedelta(days=60))
        assert await later.look() == []
        rule = Tidying(database, client, HUB, kept_for=timedelta(days=30))
        assert await rule.look() == []  # a container holds it
        assert there(engine, volume)
    finally:
        holder.remove(force=True)
    assert await rule.look() == [volume]
    assert not there(engine, volume)
    assert there(engine, shared)
    kept = {one.volume for one in database.read_now(leftovers.folders, HUB)}
    assert kept == {remote, shared}
    client.close()


def test_listed_and_stopped_by_administrators_alone(hub: RunningHub, the_hub: Asker) -> None:
    slug = f"gone-{secrets.token_hex(3)}"
    database = Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    environment = make(slug, image="mydocker-test/busybox:1", public=True)
    now = datetime.now(UTC)
    database.write_now(editing.create_environment, environment, BOB, now)
    with hub.signed_in("alice") as alice, hub.signed_in("carol") as carol:
        carol.session.headers["Accept-Language"] = "en"
        alice.start_and_wait(slug)
        page = carol.get(PAGE)
        assert page.status_code == 200
        assert slug not in page.text
        form = {"user": "alice", "server": slug}
        carol.post_form(SHEET, PAGE, **form)  # it is not left behind: nothing happens
        assert alice.server(slug)
        database.write_now(editing.delete_environment, slug, BOB, 1, now)
        database.write_now(
            lambda session: session.add(
                FolderRow(volume=f"{slug}-folder", node="n1", prepared_at=now)
            )
        )
        page = carol.get(PAGE)
        assert f"alice {slug}" in text_of(page)
        assert f"{slug}-folder – the account n1" in text_of(page)
        assert alice.get(PAGE).status_code == 403
        answer = carol.post_form(PAGE, PAGE, **form)
        assert "The server is being stopped." in text_of(answer)
        alice.wait_until_gone(slug)
        assert slug not in carol.get(PAGE).text.replace(f"{slug}-folder", "")
    database.write_now(leftovers.forget, [f"{slug}-folder"], "test", now)
    database.close()
