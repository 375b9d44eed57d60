"""Joining, starting, leaving; what is noted of servers and folders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from mydocker_hub.domain.errors import Conflict, MydockerError, NotFound, Refused
from mydocker_hub.domain.launch import Place
from mydocker_hub.domain.people import Person
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, editing, reading
from mydocker_hub.store.tables import AuditRow, EnrolmentRow, FolderRow, LaunchRow, PersonRow

from .conftest import ALICE, BOB, CAROL, LATER, NOW, ZOE, make


@pytest.fixture
def invite(database):
    def invite(slug: str = "lab", **options: object) -> str:
        return database.write_now(editing.add_join_link, slug, BOB, NOW, **options).key

    return invite


@pytest.fixture
def start(database):
    def start(person: Person = ALICE, slug: str = "lab", server: str = "", now=NOW):
        return database.write_now(
            activity.begin_launch,
            person=person,
            environment=slug,
            server=server or slug,
            place=Place(base_url=f"/user/{person.name}/{slug}/"),
            hub="test",
            secret=SecretStr("s3cret"),
            seal=Seal("hub", "environment-secrets"),
            now=now,
        )

    return start


def count(database, row, *where) -> int:
    return database.read_now(
        lambda session: session.scalar(select(func.count()).select_from(row).where(*where))
    )


def code_of(action, *args, **kwargs) -> str:
    with pytest.raises(MydockerError) as caught:
        action(*args, **kwargs)
    return caught.value.code


# --- joining and leaving -------------------------------------------------------------------------


def test_join_twice(database, add, invite) -> None:
    add("lab")
    key = invite()
    assert not database.read_now(activity.look_at_join_link, key, ALICE, NOW).standing.enrolled
    assert count(database, EnrolmentRow) == 0  # looking enrols nobody
    first = database.write_now(activity.join, key, ALICE, NOW)
    second = database.write_now(activity.join, key, ALICE, LATER)
    assert first.standing.enrolled
    assert second.standing.enrolled
    assert count(database, EnrolmentRow) == 1
    assert count(database, AuditRow, AuditRow.action == "joined") == 1


def test_joining_at_once(database, add, invite) -> None:
    add("lab")
    key = invite()
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: database.write_now(activity.join, key, ALICE, NOW), range(8))
        )
    assert all(item.standing.enrolled for item in found)
    assert count(database, EnrolmentRow) == 1
    assert count(database, PersonRow, PersonRow.name == "alice") == 1


def test_leave_and_come_back(database, add, invite, start) -> None:
    add("lab")
    key = invite()
    database.write_now(activity.join, key, ALICE, NOW)
    start()
    database.write_now(activity.leave, "lab", ALICE, LATER)
    assert database.read_now(reading.used_by, ALICE) == []
    assert code_of(start) == "environment-unknown"  # not “archived” or “not enrolled”: unseen
    assert code_of(database.write_now, activity.leave, "lab", ALICE, LATER) == "environment-unknown"
    found = database.write_now(activity.join, key, ALICE, LATER)
    assert found.standing.enrolled
    assert found.last_start_at == NOW  # it was used before, and says so
    start(now=LATER)


def test_leaving_what_is_public(database, add, start) -> None:
    add("lab", public=True)
    assert code_of(database.write_now, activity.leave, "lab", ALICE, NOW) == "environment-unknown"
    start()
    assert len(database.read_now(reading.used_by, ALICE)) == 1
    database.write_now(activity.leave, "lab", ALICE, NOW)
    start(now=LATER)
    assert len(database.read_now(reading.used_by, ALICE)) == 1


def test_links_that_lead_nowhere(database, add, invite) -> None:
    add("lab")
    add("old", status="archived")
    add("new", status="draft")
    add("trial", status="test")
    revoked, ended, open_ = invite(), invite(expires_at=NOW), invite(expires_at=LATER)
    database.write_now(editing.revoke_join_link, "lab", revoked, BOB, NOW)
    expected = {
        "NoSuchKeyNoSuchKeyNo": "join-link-unknown",
        open_.swapcase(): "join-link-unknown",  # letter case counts
        revoked: "join-link-revoked",
        ended: "join-link-expired",
        invite("old"): "environment-archived",
        invite("new"): "environment-draft",
    }
    for key, code in expected.items():
        for action in (activity.look_at_join_link, activity.join):
            assert code_of(database.write_now, action, key, ALICE, NOW) == code
    assert count(database, EnrolmentRow) == 0
    last_moment = LATER - timedelta(microseconds=1)
    assert database.write_now(activity.join, open_, ALICE, last_moment).standing.enrolled
    assert code_of(database.write_now, activity.join, open_, ZOE, LATER) == "join-link-expired"
    assert database.write_now(activity.join, invite("trial"), ALICE, NOW).standing.enrolled


def test_who_came_in_stays_after_the_link_is_withdrawn(database, add, invite, start) -> None:
    add("lab")
    key = invite()
    database.write_now(activity.join, key, ALICE, NOW)
    database.write_now(editing.revoke_join_link, "lab", key, BOB, NOW)
    start()


# --- starting ------------------------------------------------------------------------------------


def test_begin_launch(database, add, start) -> None:
    add("lab", public=True, storage={"dedicated": "/data", "global": "/home/jovyan"})
    plan = start()
    assert (plan.environment, plan.version, plan.server) == ("lab", 1, "lab")
    assert [(folder.prepared, folder.node) for folder in plan.folders] == [(False, None)] * 2
    launch = database.read_now(last, ALICE)
    assert (launch.version, launch.asked_at, launch.ready_at, launch.end_code) == (1, NOW, None, "")
    assert database.read_now(reading.used_by, ALICE)[0].last_start_at == NOW


@pytest.mark.parametrize(
    ("person", "slug", "code"),
    [
        (ALICE, "nothing", "environment-unknown"),
        (ALICE, "private", "environment-unknown"),
        (ALICE, "draft", "environment-unknown"),
        (ALICE, "old", "environment-unknown"),
        (BOB, "old", "environment-archived"),
        (CAROL, "old", "environment-archived"),
    ],
)
def test_starts_that_are_refused(database, add, start, person, slug, code) -> None:
    add("private")
    add("draft", status="draft", public=True)
    add("old", status="archived", public=True)
    assert code_of(start, person, slug) == code
    assert count(database, LaunchRow) == 0
    assert count(database, EnrolmentRow) == 0


def test_the_server_bears_the_environments_name(database, add, start) -> None:
    add("lab", public=True)
    with pytest.raises(Conflict) as caught:
        start(server="other")
    assert caught.value.code == "server-name"
    assert count(database, LaunchRow) == 0


def test_a_student_who_joined_sees_why_not(database, add, invite, start) -> None:
    add("lab")
    database.write_now(activity.join, invite(), ALICE, NOW)
    for version, status in enumerate(("archived", "draft"), start=1):
        changed = make("lab", status=status)
        database.write_now(editing.update_environment, changed, BOB, version, NOW)
        with pytest.raises(Refused) as caught:
            start()
        assert caught.value.code == f"environment-{status}"


def test_starting_at_once(database, add, start) -> None:
    add("lab", public=True)
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda _: start(), range(8)))
    assert len({plan.launch_id for plan in plans}) == 8
    assert count(database, EnrolmentRow) == 1


# --- what is noted -------------------------------------------------------------------------------


def last(session: Session, person: Person, slug: str = "lab"):
    found = reading.find(session, slug, person)
    return reading.last_launches(session, person, [found.id]).get(found.id)


def test_marks_of_a_launch(database, add, start) -> None:
    add("lab", public=True)
    launch = start().launch_id
    database.write_now(activity.mark_ready, launch, NOW)
    database.write_now(activity.mark_notice, launch, "memory-limit", NOW)
    database.write_now(activity.mark_notice, launch, "memory-limit", LATER)
    database.write_now(activity.mark_ended, launch, "out-of-memory", {"memory": 10**9}, LATER)
    # the first reason stands, whatever comes later
    database.write_now(activity.mark_ended, launch, "", {}, LATER)
    database.write_now(activity.mark_ready, launch, LATER)
    database.write_now(activity.mark_notice, launch, "other", LATER)
    seen = database.read_now(last, ALICE)
    assert (seen.ready_at, seen.ended_at, seen.end_code) == (NOW, LATER, "out-of-memory")
    assert seen.end_params == {"memory": 10**9}
    assert (seen.notice_code, seen.notice_at) == ("memory-limit", LATER)


def test_the_newest_launch_counts_each_for_themselves(database, add, start) -> None:
    add("lab", public=True)
    add("other", public=True)
    old = start().launch_id
    new = start(now=LATER).launch_id
    theirs = start(ZOE).launch_id
    database.write_now(activity.mark_ended, old, "node-lost", {}, LATER)
    database.write_now(activity.mark_ended, theirs, "out-of-memory", {}, LATER)
    assert new > old
    seen = database.read_now(last, ALICE)
    assert (seen.asked_at, seen.end_code) == (LATER, "")
    assert database.read_now(last, ZOE).end_code == "out-of-memory"
    assert database.read_now(last, ALICE, "other") is None
    assert database.read_now(reading.last_launches, ALICE, []) == {}


def test_a_launch_keeps_the_definition_that_it_started_with(database, add, start) -> None:
    add("lab", public=True, image="example.org/image:1")
    add("other", public=True)
    start()
    changed = make("lab", public=True, image="example.org/image:2")
    database.write_now(editing.update_environment, changed, BOB, 1, LATER)
    start(ZOE)
    start(slug="other")
    seen = database.read_now(last, ALICE)
    assert (seen.version, seen.environment.image) == (1, "example.org/image:1")
    assert database.read_now(last, ZOE).environment == changed
    assert database.read_now(last, ALICE, "other").environment.slug == "other"
    start(now=LATER)
    assert database.read_now(last, ALICE).environment == changed
    assert "example.org" not in repr(seen)  # a definition may hold a licence


def test_the_launches_of_a_dashboard_are_one_query(database, add, start) -> None:
    ids = [add(slug, public=True).id for slug in ("lab", "other", "third")]
    for slug in ("lab", "other", "third"):
        start(slug=slug)
    queries = []

    def note(connection, cursor, statement, *rest) -> None:
        queries.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    launches = database.read_now(reading.last_launches, ALICE, ids)
    event.remove(database.engine, "before_cursor_execute", note)
    assert sorted(launches) == sorted(ids)
    assert {launch.environment.slug for launch in launches.values()} == {"lab", "other", "third"}
    assert sum("launches" in query for query in queries) == 1


def test_a_deleted_environment_is_found_as_it_was_at_last(database, add) -> None:
    add("lab", person=CAROL)
    changed = make("lab", title="At last")
    database.write_now(editing.update_environment, changed, CAROL, 1, NOW)
    assert code_of(database.read_now, reading.deleted, "lab") == "environment-unknown"
    database.write_now(editing.delete_environment, "lab", CAROL, 2, LATER)
    found = database.read_now(reading.deleted, "lab")
    assert (found.environment, found.version, found.updated_at) == (changed, 0, LATER)
    assert not found.standing.enrolled
    add("lab", person=CAROL, title="Again")
    database.write_now(editing.delete_environment, "lab", CAROL, 1, LATER)
    assert database.read_now(reading.deleted, "lab").environment.title.en == "Again"


def test_marks_of_an_unknown_launch_change_nothing(database, add, start) -> None:
    add("lab", public=True)
    start()
    huge = 999_999_999_999_999_999
    database.write_now(activity.mark_ready, huge, NOW)
    database.write_now(activity.mark_ended, huge, "node-lost", {}, NOW)
    assert database.read_now(last, ALICE).ready_at is None


# --- folders -------------------------------------------------------------------------------------


def test_a_prepared_folder_is_known_at_the_next_start(database, add, start) -> None:
    add("lab", public=True, storage={"dedicated": "/data", "global": "/home/jovyan"})
    folders = {folder.kind: folder for folder in start().folders}
    database.write_now(activity.mark_folder, folders["global"].volume, "alice", "node1", NOW)
    again = {folder.kind: folder for folder in start().folders}
    assert (again["global"].prepared, again["global"].node) == (True, "node1")
    assert not again["dedicated"].prepared
    assert start().constraints == ("node.id==node1",)


def test_the_first_writer_of_a_folder_wins(database, add, start) -> None:
    add("lab", public=True, storage={"global": "/home/jovyan"})
    volume = start().folders[0].volume
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda n: database.write_now(activity.mark_folder, volume, "alice", f"n{n}", NOW),
                range(8),
            )
        )
    nodes = {folder.node for folder in start().folders}
    assert len(nodes) == 1
    database.write_now(activity.mark_folder, volume, "alice", "late", LATER)
    assert {folder.node for folder in start().folders} == nodes
    assert count(database, FolderRow) == 1


def test_a_folder_of_somebody_unknown(database) -> None:
    database.write_now(activity.mark_folder, "mydocker-home-x", "nobody", "", NOW)
    assert count(database, FolderRow, FolderRow.person_id.is_(None)) == 1


HOSTILE = [
    *("alice", "Alice", "ALICE", "alice ", "al.ice", "al-ice", "al_ice", "àlice", "a\u0300lice"),
    *("a" * 200, "a" * 199, "alice@université.fr", "alice@universite.fr", "../alice", "alice/lab"),
]


def test_two_people_never_share_a_folder(database, add, start) -> None:
    add("lab", public=True, storage={"dedicated": "/data", "global": "/home/jovyan"})
    add("lab2", public=True, storage={"dedicated": "/data", "global": "/home/jovyan"})
    owner: dict[str, tuple[str, ...]] = {}
    for name in HOSTILE:
        for slug in ("lab", "lab2"):
            for folder in start(Person(name=name), slug).folders:
                database.write_now(activity.mark_folder, folder.volume, name, "", NOW)
                identity = (name,) if folder.kind == "global" else (name, slug)
                assert owner.setdefault(folder.volume, identity) == identity
    assert len(owner) == 3 * len(HOSTILE)
    assert count(database, FolderRow) == 3 * len(HOSTILE)
    # and what one of them has prepared is not taken for prepared for another
    assert not any(folder.prepared for folder in start(Person(name="new")).folders)


def test_not_found_is_all_that_a_stranger_hears(database, add) -> None:
    add("lab")
    with pytest.raises(NotFound):
        database.write_now(activity.leave, "lab", ALICE, NOW)
