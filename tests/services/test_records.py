"""The hub's records of servers: made before a class, once, and forgotten with an environment."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from mydocker_hub.domain import calendar
from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.hubapi import RECORDS_AT_ONCE, HubServers
from mydocker_hub.services.catalogue.records import Records
from mydocker_hub.store import editing, sessions
from mydocker_hub.store.database import Database, Session
from mydocker_hub.store.tables import EnrolmentRow, PersonRow
from tests.hub import RunningHub
from tests.services.conftest import Asker
from tests.store.conftest import BOB, make

pytestmark = [pytest.mark.hub, pytest.mark.engine]

BEFORE = timedelta(minutes=30)


@pytest.fixture
def hub_servers(hub: RunningHub, the_hub: Asker) -> HubServers:
    secret = (hub.state / "catalogue_secret").read_text()
    return HubServers(f"{hub.url}/hub/api", secret)


@pytest.fixture
def database(hub: RunningHub) -> Iterator[Database]:
    database = Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")
    yield database
    database.close()


def records(hub: RunningHub, server: str) -> list[tuple[str, str]]:
    """Whose servers of this name the hub knows, with their titles."""
    engine = create_engine(f"sqlite:///{hub.state / 'jupyterhub.sqlite'}")
    query = text(
        "SELECT users.name, spawners.display_name FROM spawners JOIN users"
        " ON users.id = spawners.user_id WHERE spawners.name = :name ORDER BY users.id"
    )
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(query, {"name": server})]
    engine.dispose()
    return found


def test_a_class_is_known_before_it_comes(
    hub: RunningHub, hub_servers: HubServers, database: Database
) -> None:
    slug = f"class-{secrets.token_hex(3)}"
    people = [f"{slug}-{number}" for number in range(RECORDS_AT_ONCE + 5)] + ["alice"]
    now = datetime.now(UTC)

    def fill(session: Session) -> None:
        found = editing.create_environment(session, make(slug), BOB, now)
        for name in people:
            person = session.query(PersonRow).filter_by(name=name).one_or_none()
            if person is None:
                person = PersonRow(name=name, created_at=now)
                session.add(person)
                session.flush()
            session.add(EnrolmentRow(person_id=person.id, environment_id=found.id, created_at=now))

    with hub.signed_in("alice") as alice:
        database.write_now(fill)
        starts = (now + timedelta(minutes=20)).astimezone(ZoneInfo("Europe/Paris"))
        wanted = calendar.Session(
            starts=starts.replace(second=0, microsecond=0, tzinfo=None),
            duration=timedelta(hours=1),
            expected=len(people),
        )
        booked = database.write_now(sessions.book, slug, wanted, BOB, now)
        try:
            records_ = Records(database, hub_servers, before=BEFORE)
            assert asyncio.run(records_.make()) == len(people)
            assert sorted(records(hub, slug)) == sorted((name, slug.title()) for name in people)
            assert asyncio.run(records_.make()) == 0
            again = Records(database, hub_servers, before=BEFORE)  # as after a restart
            assert asyncio.run(again.make()) == 0
            assert alice.server(slug) is None  # nothing has started
        finally:
            database.write_now(
                sessions.cancel, booked.id, BOB, now, expected_sequence=booked.sequence
            )


def test_she_starts_in_what_was_made(hub: RunningHub, hub_servers: HubServers) -> None:
    name = "tiny"
    with hub.signed_in("alice") as alice:
        asyncio.run(hub_servers.make_records([("alice", name, "Before")]))
        alice.start_and_wait(name)
        assert asyncio.run(hub_servers.make_records([("alice", name, "Other")])) == 0
        alice.stop_and_wait(name)
        assert [user for user, _ in records(hub, name)].count("alice") == 1


def test_what_is_deleted_is_forgotten_but_what_runs(
    hub: RunningHub, hub_servers: HubServers, database: Database
) -> None:
    gone, runs, again = (f"{what}-{secrets.token_hex(3)}" for what in ("gone", "runs", "again"))
    now = datetime.now(UTC)
    image = {"image": "mydocker-test/busybox:1", "public": True}
    for slug in (gone, runs, again):
        database.write_now(editing.create_environment, make(slug, **image), BOB, now)
        people = [(f"person-{number}", slug, "x") for number in range(RECORDS_AT_ONCE)]
        asyncio.run(hub_servers.make_records(people))
    with hub.signed_in("alice") as alice:
        alice.start_and_wait(runs)
        for slug in (gone, runs, again):
            database.write_now(editing.delete_environment, slug, BOB, 1, now)
        admin = Person(name="carol", roles=frozenset({Role.ADMIN}))
        database.write_now(editing.create_environment, make(again, **image), admin, now)
        forgetting = Records(database, hub_servers, before=timedelta(0))
        assert asyncio.run(forgetting.forget()) >= 2 * RECORDS_AT_ONCE
        assert records(hub, gone) == []
        assert [user for user, _ in records(hub, runs)] == ["alice"]
        assert len(records(hub, again)) == RECORDS_AT_ONCE
        assert alice.server(runs)["ready"]
        alice.api("DELETE", f"/users/alice/servers/{runs}")
        alice.wait_until_gone(runs)
        assert asyncio.run(forgetting.forget()) == 1
        assert records(hub, runs) == []


def test_what_may_not_be_is_refused(hub: RunningHub, hub_servers: HubServers) -> None:
    for items in (
        [("alice", "Not A Slug", "x")],
        [("alice", "../bob", "x")],
        [("alice", "lab", "")],
        [("", "lab", "x")],
        [("alice", "lab", "x")] * (RECORDS_AT_ONCE + 1),
    ):
        with pytest.raises(MydockerError) as refused:
            asyncio.run(hub_servers.make_records(items))
        assert refused.value.code == "bad-request"
    for servers in ([""], ["Not A Slug"], ["lab"] * (RECORDS_AT_ONCE + 1)):
        with pytest.raises(MydockerError) as refused:
            asyncio.run(hub_servers.forget_records(servers))
        assert refused.value.code == "bad-request"
    # no user name: nothing is made of it, and the others are
    name = f"odd-{secrets.token_hex(3)}"
    made = asyncio.run(hub_servers.make_records([("a/b", name, "x"), ("zoe", name, "x")]))
    assert made == 1
    assert records(hub, name) == [("zoe", "x")]


def test_half_of_the_names_is_left_to_people(hub: RunningHub, hub_servers: HubServers) -> None:
    user = f"many-{secrets.token_hex(3)}"
    servers = [(user, f"many-{number}", "x") for number in range(60)]
    made = 0
    for first in range(0, 60, RECORDS_AT_ONCE):
        batch = servers[first : first + RECORDS_AT_ONCE]
        made += asyncio.run(hub_servers.make_records(batch))
    assert made == 50  # of the 100 that the hub lets each have


@pytest.mark.parametrize("who", ["alice", "bob", "carol"])
def test_nobody_else_makes_any(hub: RunningHub, request: pytest.FixtureRequest, who: str) -> None:
    asker: Asker = request.getfixturevalue(who)
    name = f"no-{secrets.token_hex(3)}"
    servers = HubServers(f"{hub.url}/hub/api", asker.token)
    with pytest.raises(MydockerError):
        asyncio.run(servers.make_records([("alice", name, "x")]))
    with pytest.raises(MydockerError):
        asyncio.run(servers.forget_records(["tiny"]))
    assert records(hub, name) == []
