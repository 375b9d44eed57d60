"""What sessions keep apart, tried from outside on a real hub: each attack after the honest case."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import pytest
import requests
from sqlalchemy import select

from mydocker_hub.domain.people import Person, Role
from mydocker_hub.identity.claims import Course, CourseRole
from mydocker_hub.identity.platform import DeepLinkRequest, Platform
from mydocker_hub.store import courses, editing, platforms
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import FeedRow, PersonRow
from tests.hub import RunningHub, in_database, text_of

from .conftest import Asker, definition, person, problem
from .lti import seal_of
from .test_sessions_api import bind, join, mine, once, start

pytestmark = [pytest.mark.hub, pytest.mark.engine]

PREFIX = "/services/catalogue/"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MINUTES = timedelta(minutes=1)
AROUND = {
    "after": (NOW - timedelta(days=30)).isoformat(),
    "before": (NOW + timedelta(days=300)).isoformat(),
}
WEEKLY = {**once(NOW + timedelta(days=7)), "rule": "FREQ=WEEKLY;COUNT=4"}


def make(asker: Asker, **changes: Any) -> str:
    sent = definition(**changes)
    answer = asker.post("/environments", sent)
    assert answer.status_code == 201, answer.text
    return str(sent["slug"])


def book(asker: Asker, slug: str, session: dict[str, Any]) -> dict[str, Any]:
    answer = asker.post(f"/environments/{slug}/sessions", session)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def states(asker: Asker, slug: str) -> list[str]:
    return [one["state"] for one in mine(asker, slug, **AROUND)]


@pytest.fixture
def student() -> str:
    """Somebody new."""
    return f"s-{secrets.token_hex(4)}"


@pytest.fixture
def exam(bob: Asker) -> str:
    """An exam of bob's that takes place now."""
    slug = make(bob, sessions={"effect": "exam"})
    book(bob, slug, once(NOW - 10 * MINUTES))
    return slug


@pytest.fixture
def needing(carol: Asker) -> Iterator[str]:
    """A compute type whose sessions wait for an administrator."""
    slug = f"gpu-{secrets.token_hex(3)}"
    compute_type = {"slug": slug, "title": "GPU", "needs_approval": True}
    assert carol.put(f"/compute-types/{slug}", compute_type).status_code == 200
    made: list[str] = []
    yield slug
    for one in carol.get("/environments", params={"show": "all", "limit": 200}).json()["items"]:
        if one["resources"]["compute_type"] == slug:
            made.append(one["slug"])
    for one in made:
        etag = carol.get(f"/environments/{one}").headers["ETag"]
        assert carol.delete(f"/environments/{one}", etag).status_code == 204
    assert carol.delete(f"/compute-types/{slug}").status_code == 204


# --- an exam's list ------------------------------------------------------------------------------


def test_an_exam_is_not_entered_by_a_link_that_was_withdrawn(
    bob: Asker, the_hub: Asker, exam: str, student: str
) -> None:
    early = join(bob, the_hub, exam, student)
    assert start(the_hub, exam, student).status_code == 200
    assert bob.delete(f"/environments/{exam}/join-links/{early}").status_code == 204
    late = {"person": person(f"{student}-late")}
    problem(the_hub.post(f"/join-links/{early}/look", late), 410, "join-link-revoked")
    problem(the_hub.post(f"/join-links/{early}/join", late), 410, "join-link-revoked")
    problem(start(the_hub, exam, f"{student}-late"), 404, "environment-unknown")
    assert start(the_hub, exam, student).status_code == 200  # who came in stays


def test_a_public_exam_is_for_those_on_its_list(
    carol: Asker, the_hub: Asker, exam: str, student: str
) -> None:
    join(carol, the_hub, exam, student)
    assert start(the_hub, exam, student).status_code == 200
    found = carol.get(f"/environments/{exam}")
    public = {**found.json()["definition"], "public": True}
    assert carol.put(f"/environments/{exam}", public, found.headers["ETag"]).status_code == 200
    for roles in ([], ["teacher"]):
        sent = {"person": person(f"{student}-x", *roles), "environment": exam, "server": exam}
        answer = the_hub.post("/launches", {**sent, "base_url": f"/user/x/{exam}/"})
        assert "next" not in problem(answer, 403, "exam-not-enrolled")["params"]
    choices = the_hub.post("/choices", {"person": person(f"{student}-x")}).json()["items"]
    assert exam not in [one["environment"] for one in choices]


def test_who_started_what_was_public_is_on_no_list(
    bob: Asker, carol: Asker, the_hub: Asker, student: str
) -> None:
    """A start enrols, but it is their teacher who puts people on the list of an exam."""
    slug = make(carol, public=True)
    invited = definition(audience={"people": [student]}, sessions={"effect": "exam"})
    assert start(the_hub, slug, student).status_code == 200
    bind(carol, slug, "exam")
    book(carol, slug, once(NOW - 10 * MINUTES))
    problem(start(the_hub, slug, student), 403, "exam-not-enrolled")
    join(carol, the_hub, slug, student)
    assert start(the_hub, slug, student).status_code == 200
    # by the audience: its teacher named them
    assert bob.post("/environments", invited).status_code == 201
    book(bob, invited["slug"], once(NOW - 10 * MINUTES))
    assert start(the_hub, invited["slug"], student).status_code == 200
    problem(start(the_hub, invited["slug"], f"{student}-x"), 404, "environment-unknown")
    found = bob.get(f"/environments/{invited['slug']}")
    changed = {**found.json()["definition"], "audience": {"people": []}}
    assert bob.put(f"/environments/{invited['slug']}", changed,
                   found.headers["ETag"]).status_code == 200  # fmt: skip
    problem(start(the_hub, invited["slug"], student), 403, "exam-not-enrolled")


@pytest.mark.parametrize("with_course", [True, False])
def test_a_link_of_somebody_elses_course_is_no_way_into_a_public_exam(
    hub: RunningHub, carol: Asker, the_hub: Asker, student: str, with_course: bool
) -> None:
    """Whoever teaches in an LTI platform may give a link to what is public to a course of theirs,
    or to none: not every platform names one."""
    issuer = f"https://{student}.example"
    moodle = Platform(name="Moodle", issuer=issuer, client_id="c", deployments=("1",),
                      authorization_url=f"{issuer}/a", jwks_url=f"{issuer}/j")  # fmt: skip
    platform = in_database(hub, platforms.create, moodle, "carol", NOW, seal=seal_of(hub)).platform

    mallory = Person(name="mallory", roles=frozenset({Role.STUDENT, Role.TEACHER}))

    def chosen(session: Any, slug: str) -> str:
        editing.person_row(session, mallory, NOW)
        context = {"platform": platform.id, "context": student}
        course = Course(**context, role=CourseRole.TEACHER) if with_course else None
        request = DeepLinkRequest(platform=platform.id, return_url=f"{issuer}/r")
        choice = courses.begin_choice(session, mallory.name, request, course, NOW)
        _, [one] = courses.choose(session, choice, [slug], mallory, NOW)
        return one.link.key

    slug = make(carol, public=True, sessions={"effect": "exam"})
    book(carol, slug, once(NOW - 10 * MINUTES))
    theirs = in_database(hub, chosen, slug)
    entering = {"person": person(student)}
    assert the_hub.post(f"/join-links/{theirs}/join", entering).status_code == 200
    problem(start(the_hub, slug, student), 403, "exam-not-enrolled")
    join(carol, the_hub, slug, student)
    assert start(the_hub, slug, student).status_code == 200
    assert the_hub.post(f"/join-links/{theirs}/join", entering).status_code == 200
    assert start(the_hub, slug, student).status_code == 200  # it takes nobody off the list


def test_who_left_an_exam_comes_back_by_its_link_only(
    alice: Asker, bob: Asker, the_hub: Asker, exam: str
) -> None:
    key = join(bob, the_hub, exam)
    assert start(the_hub, exam).status_code == 200
    assert alice.delete(f"/me/environments/{exam}").status_code == 204
    problem(start(the_hub, exam), 404, "environment-unknown")
    assert the_hub.post(f"/join-links/{key}/join", {"person": person("alice")}).status_code == 200
    assert start(the_hub, exam).status_code == 200
    assert alice.delete(f"/me/environments/{exam}").status_code == 204


def test_a_teacher_who_takes_an_exam_is_a_student_of_it(
    bob: Asker, carol: Asker, the_hub: Asker
) -> None:
    """Bob, in an exam of carol's: no trial beside it, no right of his own, no look before."""
    slug = make(carol, sessions={"effect": "exam"})
    book(carol, slug, once(NOW + timedelta(days=2)))
    problem(start(the_hub, slug, "bob"), 404, "environment-unknown")
    join(carol, the_hub, slug, "bob")
    sent = {
        "person": person("bob", "teacher"),
        "environment": slug,
        "server": slug,
        "base_url": f"/user/bob/{slug}/",
    }
    details = problem(the_hub.post("/launches", sent), 403, "session-closed")
    opens = NOW + timedelta(days=2)  # exams never open early
    assert datetime.fromisoformat(details["params"]["when"]) == opens
    copy = {"slug": f"{slug}-copy"[:30], "title": "Copy"}
    assert bob.post(f"/environments/{slug}/duplicate", copy).status_code in {403, 404}
    assert bob.get(f"/environments/{slug}").json().get("definition") is None
    trial = {**sent, "environment": "try-12345678", "server": "try-12345678"}
    assert the_hub.post("/launches", trial).status_code in {404, 422}


def test_a_trial_is_not_a_students_way_in(hub: RunningHub, bob: Asker, exam: str) -> None:
    with hub.signed_in("bob") as visitor:
        page = visitor.get(f"{PREFIX}workshop/environments/{exam}")
        assert page.status_code == 200  # who works on it may try it
    with hub.signed_in("alice") as visitor:
        page = visitor.post_form(f"{PREFIX}environments", f"{PREFIX}trial/{exam}")
        assert page.status_code == 403
        answer = visitor.start("try-0123456789", json={"environment": "try-0123456789"})
        assert answer.status_code in {400, 403, 404, 422}, answer.text
        assert visitor.server("try-0123456789") is None


# --- approval ------------------------------------------------------------------------------------


def test_what_was_agreed_to_opens_no_more_than_that(
    bob: Asker, carol: Asker, the_hub: Asker, needing: str, student: str
) -> None:
    slug = make(bob, sessions={"effect": "reserved"}, resources={"compute_type": needing})
    join(bob, the_hub, slug, student)
    asked = book(bob, slug, once(NOW - 10 * MINUTES))
    at = f"/sessions/{asked['id']}"
    assert asked["state"] == "requested"
    problem(start(the_hub, slug, student), 403, "session-none")
    problem(bob.put(f"{at}/decision", {"approved": True}, '"1"'), 403, "not-allowed")
    assert carol.put(f"{at}/decision", {"approved": True}, '"1"').status_code == 200
    assert start(the_hub, slug, student).status_code == 200
    shorter = bob.put(at, {**once(NOW - 10 * MINUTES), "duration": "PT30M"}, '"2"')
    assert shorter.json()["state"] == "approved"  # less of it needs no second answer
    for number, larger in enumerate(
        (
            {**once(NOW - 10 * MINUTES), "expected": 5000},
            once(NOW - 10 * MINUTES, 8),
            {**once(NOW - 10 * MINUTES), "rule": "FREQ=DAILY;COUNT=30"},
            {**once(NOW - 10 * MINUTES), "zone": "Asia/Tokyo"},
        )
    ):
        version = 3 + 2 * number
        changed = bob.put(at, larger, f'"{version}"')
        assert changed.json()["state"] == "requested", larger
        problem(start(the_hub, slug, student), 403, "session-none")
        again = carol.put(at, {**once(NOW - 10 * MINUTES), "duration": "PT30M"},
                          f'"{version + 1}"')  # fmt: skip
        assert again.json()["state"] == "approved"  # an administrator agrees to what they write


def test_a_single_day_of_an_agreed_series_is_no_way_around(
    bob: Asker, carol: Asker, needing: str
) -> None:
    slug = make(bob, resources={"compute_type": needing})
    series = book(bob, slug, WEEKLY)
    at = f"/sessions/{series['id']}"
    assert carol.put(f"{at}/decision", {"approved": True}, '"1"').status_code == 200
    day = datetime.fromisoformat(mine(bob, slug, **AROUND)[0]["slots"][1]["starts"])
    of_day = f"{at}/occurrences/{day:%Y%m%dT%H%M%SZ}"
    honest = bob.put(of_day, {**once(day), "expected": 5}, '"2"')
    assert honest.json()["state"] == "approved"
    for larger in (
        {**once(day), "expected": 900},
        once(day + timedelta(hours=3)),
        once(day, 10),
    ):
        changed = bob.put(of_day, larger, '"2"')
        assert changed.json()["state"] == "requested", larger
    copied = bob.post(
        f"/environments/{slug}/sessions/copy",
        {"sessions": [series["id"]], "first": f"{NOW + timedelta(days=100):%Y-%m-%d}"},
    )
    assert [one["state"] for one in copied.json()["items"]] == ["requested"]


def test_machines_that_need_approval_are_not_chosen_afterwards(
    bob: Asker, carol: Asker, needing: str
) -> None:
    """Booked on machines that are everybody's, and then moved to the others."""
    slug = make(bob)
    booked = book(bob, slug, once(NOW + timedelta(days=3)))
    assert booked["state"] == "approved"
    found = bob.get(f"/environments/{slug}")
    resources = {**found.json()["definition"]["resources"], "compute_type": needing}
    changed = {**found.json()["definition"], "resources": resources}
    assert bob.put(f"/environments/{slug}", changed, found.headers["ETag"]).status_code == 200
    assert bob.get(f"/sessions/{booked['id']}").json()["state"] == "requested"
    at = f"/sessions/{booked['id']}"
    etag = carol.get(at).headers["ETag"]
    assert carol.put(f"{at}/decision", {"approved": True}, etag).status_code == 200
    found = bob.get(f"/environments/{slug}")
    texts = {**found.json()["definition"], "title": "Another title"}
    assert bob.put(f"/environments/{slug}", texts, found.headers["ETag"]).status_code == 200
    assert bob.get(at).json()["state"] == "approved"  # what was agreed to stays so


# --- what is nobody else's business --------------------------------------------------------------


def test_sessions_of_what_one_may_not_see(
    hub: RunningHub, alice: Asker, bob: Asker, the_hub: Asker
) -> None:
    draft = make(bob, status="draft")
    booked = book(bob, draft, {**once(NOW + MINUTES), "note": "TOPSECRET"})
    assert bob.get(f"/sessions/{booked['id']}").json()["session"]["note"] == "TOPSECRET"
    problem(alice.get(f"/sessions/{booked['id']}"), 404, "session-unknown")
    problem(alice.get(f"/environments/{draft}/sessions"), 404, "environment-unknown")
    assert mine(alice, draft, **AROUND) == []
    with hub.signed_in("alice") as visitor:
        for path in (
            f"calendar/sessions/{booked['id']}",
            f"calendar?environment={draft}",
            f"calendar/events?environment={draft}",
            "calendar/events",
            f"calendar/feeds?environment={draft}",
            "calendar?view=list",
        ):
            assert "TOPSECRET" not in visitor.get(PREFIX + path).text
        for path in ("calendar/events?show=all", "calendar?show=all", "admin/sessions"):
            assert visitor.get(PREFIX + path).status_code == 403
        made = visitor.post_form(
            f"{PREFIX}calendar/feeds", f"{PREFIX}calendar/feeds", what=draft, label=""
        )
        assert made.status_code == 404


def test_a_request_that_was_withdrawn_was_never_announced(
    alice: Asker, bob: Asker, the_hub: Asker, needing: str
) -> None:
    slug = make(bob, resources={"compute_type": needing})
    join(bob, the_hub, slug)
    asked = book(bob, slug, {**once(NOW + timedelta(days=5)), "note": "TOPSECRET"})
    assert states(bob, slug) == ["requested"]
    assert states(alice, slug) == []
    assert bob.delete(f"/sessions/{asked['id']}", '"1"').status_code == 204
    assert states(alice, slug) == []
    problem(alice.get(f"/sessions/{asked['id']}"), 404, "session-unknown")
    alice.delete(f"/me/environments/{slug}")


def test_texts_of_sessions_are_texts(
    hub: RunningHub, alice: Asker, bob: Asker, the_hub: Asker
) -> None:
    slug = make(bob)
    join(bob, the_hub, slug)
    evil = '<img src=x onerror="alert(1)">'
    note = f"{evil}\nEND:VEVENT\nBEGIN:VEVENT\nSUMMARY:forged\u2028ATTENDEE:x"
    booked = book(bob, slug, {**once(NOW + timedelta(days=1)), "title": evil, "note": note})
    with hub.signed_in("alice") as visitor:
        for path in (f"calendar/sessions/{booked['id']}", f"calendar?environment={slug}"):
            page = visitor.get(PREFIX + path)
            assert page.status_code == 200
            assert "<img src=x" not in page.text
            assert "&lt;img src=x" in page.text
        feed = requests.get(_feed(visitor, slug), timeout=30).content
        visitor.post_form(f"{PREFIX}environments", f"{PREFIX}leave/{slug}")
    [event] = icalendar.Calendar.from_ical(feed).walk("VEVENT")
    assert evil in event["SUMMARY"]
    assert event["DESCRIPTION"].startswith(note[:60])
    assert not re.search(rb"(?m)^(ATTENDEE|SUMMARY:forged)", feed)
    for sign in ("\r", "\x00", "\x0b"):
        sent = {**once(NOW + timedelta(days=2)), "note": f"a{sign}b"}
        problem(bob.post(f"/environments/{slug}/sessions", sent), 422, "invalid")
    sent = {**once(NOW + timedelta(days=2)), "title": "a\nb"}
    problem(bob.post(f"/environments/{slug}/sessions", sent), 422, "invalid")


# --- feeds ---------------------------------------------------------------------------------------


def _feed(visitor: Any, what: str) -> str:
    """A new feed of a person, at the address where their program reads it."""
    page = f"{PREFIX}calendar/feeds"
    made = visitor.post_form(page, page, what=what, label="test")
    found = re.search(r"https?://[^\s\"<]+/feeds/([a-z0-9]{24})\.ics", made.text)
    assert found, made.text[:2000]
    return f"{visitor.hub.url}{PREFIX}feeds/{found[1]}.ics"


def _uids(address: str) -> set[str]:
    answer = requests.get(address, timeout=30)
    assert answer.status_code == 200, answer.text
    return {str(one["UID"]) for one in icalendar.Calendar.from_ical(answer.content).walk("VEVENT")}


def test_a_feed_shows_what_its_person_may_see_now(
    hub: RunningHub, bob: Asker, the_hub: Asker
) -> None:
    slug = make(bob)
    join(bob, the_hub, slug)
    booked = book(bob, slug, once(NOW + timedelta(days=1)))
    with hub.signed_in("alice") as visitor:
        own, of_it = _feed(visitor, "mine"), _feed(visitor, slug)
        assert booked["uid"] in _uids(own)
        assert _uids(of_it) == {booked["uid"]}
        visitor.post_form(f"{PREFIX}environments", f"{PREFIX}leave/{slug}")
        assert booked["uid"] not in _uids(own)
        assert requests.get(of_it, timeout=30).status_code == 404


def test_a_feed_ends_with_its_persons_account(hub: RunningHub) -> None:
    def block(session: Any, name: str, when: datetime | None) -> None:
        session.scalars(select(PersonRow).where(PersonRow.name == name)).one().blocked_at = when

    with hub.signed_in("alice") as visitor:
        address = _feed(visitor, "mine")
        assert requests.get(address, timeout=30).status_code == 200
        in_database(hub, block, "alice", NOW)
        try:
            assert requests.get(address, timeout=30).status_code == 404
        finally:
            in_database(hub, block, "alice", None)
        assert requests.get(address, timeout=30).status_code == 200


def test_the_secret_of_a_feed(hub: RunningHub) -> None:
    with hub.signed_in("alice") as alice, hub.signed_in("bob") as bob:
        address = _feed(alice, "mine")
        key = address.rsplit("/", 1)[1].removesuffix(".ics")
        answer = requests.get(address, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"].startswith("private")
        assert "Set-Cookie" not in answer.headers
        assert requests.head(address, timeout=30).content == b""
        # neither in the database nor in the log
        with closing(Database(f"sqlite:///{hub.state / 'catalogue.sqlite'}")) as database:
            rows = database.read_now(lambda session: session.scalars(select(FeedRow.digest)).all())
        assert key not in rows
        assert key not in hub.log()
        assert key not in alice.get(f"{PREFIX}calendar/feeds").text  # shown once
        # the digest leads nobody to it, and nobody else withdraws it
        [digest, *_] = re.findall(
            r'name="feed" value="([0-9a-f]{64})"', alice.get(f"{PREFIX}calendar/feeds").text
        )
        for guess in (digest[:24], key[:-1] + ("a" if key[-1] != "a" else "b"), "a" * 24):
            guessed = address.replace(key, guess)
            assert requests.get(guessed, timeout=30).status_code == 404
        page = f"{PREFIX}calendar/feeds"
        assert bob.post_form(page, page, action="withdraw", feed=digest).status_code == 404
        assert bob.post_form(page, page, what="all", label="").status_code == 403
        assert requests.get(address, timeout=30).status_code == 200
        assert alice.post_form(page, page, action="withdraw", feed=digest).status_code == 200
        assert requests.get(address, timeout=30).status_code == 404  # at once


def test_a_feed_says_nothing_of_a_series_that_waits_again(
    hub: RunningHub, bob: Asker, carol: Asker, the_hub: Asker, needing: str
) -> None:
    """One day of it was agreed to, and stands; the series became larger meanwhile."""
    slug = make(bob, resources={"compute_type": needing})
    join(bob, the_hub, slug)
    series = book(bob, slug, WEEKLY)
    at = f"/sessions/{series['id']}"
    assert carol.put(f"{at}/decision", {"approved": True}, '"1"').status_code == 200
    with hub.signed_in("alice") as visitor:
        addresses = [_feed(visitor, "mine"), _feed(visitor, slug)]
        assert all(series["uid"] in _uids(one) for one in addresses)
        [slot, *_] = mine(bob, slug, **AROUND)[0]["slots"]
        instant = datetime.fromisoformat(slot["starts"])
        day = f"{at}/occurrences/{instant:%Y%m%dT%H%M%SZ}"
        moved = bob.put(day, {**once(instant), "expected": 5}, '"2"')
        assert moved.json()["state"] == "approved", moved.text
        larger = {**WEEKLY, "expected": 900, "title": "TOPSECRET"}
        assert bob.put(at, larger, '"2"').json()["state"] == "requested"
        asker = Asker(hub.url, visitor.token())
        assert states(asker, slug) == ["approved"]
        problem(asker.get(at), 404, "session-unknown")
        for one in addresses:
            assert b"TOPSECRET" not in requests.get(one, timeout=30).content
        visitor.post_form(f"{PREFIX}environments", f"{PREFIX}leave/{slug}")


# --- what takes long -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY;COUNT=9999",
        "FREQ=DAILY;COUNT=9999",
        "FREQ=DAILY;UNTIL=99991231",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31;UNTIL=20310101",
        "FREQ=DAILY;COUNT=2;COUNT=3",
        "FREQ=YEARLY;BYEASTER=0;COUNT=3",
        "FREQ=WEEKLY;BYDAY=" + ",".join(["MO"] * 60) + ";COUNT=2",
    ],
)
def test_rules_without_bounds(bob: Asker, private: tuple[str, str], rule: str) -> None:
    sent = {"starts": "2027-02-01T08:30", "duration": "PT1H", "expected": 1, "rule": rule}
    began = datetime.now(UTC)
    problem(bob.post(f"/environments/{private[0]}/sessions", sent), 422, "invalid")
    assert datetime.now(UTC) - began < timedelta(seconds=3)


@pytest.mark.parametrize(
    "dates",
    [
        {"first": "9999-01-01"},
        {"first": "9999-12-31"},
        {"first": "0001-01-01"},
        {"first": "2028-01-03", "until": "0001-01-01"},
        {"first": "2028-01-03", "until": "9999-12-31"},
    ],
)
def test_copies_to_no_time(bob: Asker, private: tuple[str, str], dates: dict[str, str]) -> None:
    ids = [book(bob, private[0], one)["id"] for one in (WEEKLY, once(NOW + timedelta(days=40)))]
    sent = {"sessions": ids, **dates}
    problem(bob.post(f"/environments/{private[0]}/sessions/copy", sent), 422, "invalid")
    assert len(bob.get(f"/environments/{private[0]}/sessions").json()["items"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        {"after": "0001-01-01T00:00:00+14:00"},
        {"after": "9999-12-31T23:59:59-12:00"},
        {"after": "2027-01-01T00:00:00Z", "before": "2029-01-01T00:00:00Z"},
        {"after": "2027-01-01T00:00:00Z", "before": "2026-01-01T00:00:00Z"},
        {"after": "2027-01-01T00:00:00"},
    ],
)
def test_windows_without_bounds(alice: Asker, query: dict[str, str]) -> None:
    problem(alice.get("/sessions", params=query), 422, "invalid")


@pytest.mark.parametrize(
    "path",
    [
        "calendar?day=9999-12-31",
        "calendar?day=0001-01-01&view=list",
        "calendar?view=week&day=2199-12-31",
        "calendar?view=month&day=2000-01-01",
        "calendar?view=list&page=99999",
        "calendar?view=%00&day=%00&environment=%00",
        "calendar/sessions/999999999999999999",
        "calendar/sessions/1/edit?at=99991231T235959Z",
        "calendar/sessions/1/cancel?at=99991231T235959Z",
    ],
)
def test_pages_of_no_time(hub: RunningHub, path: str) -> None:
    with hub.signed_in("bob") as visitor:
        assert visitor.get(PREFIX + path).status_code in {200, 404}


def test_days_of_no_series(hub: RunningHub, bob: Asker, private: tuple[str, str]) -> None:
    series = book(bob, private[0], WEEKLY)
    with hub.signed_in("bob") as visitor:
        page = f"{PREFIX}calendar/sessions/{series['id']}"
        assert visitor.get(f"{page}/edit").status_code == 200
        for at in ("99991231T235959Z", "00010101T000000Z", "20270101T000000", "x", "%00"):
            for form in ("edit", "cancel"):
                shown = visitor.get(f"{page}/{form}?at={at}")
                assert shown.status_code == 404, (form, at, text_of(shown)[:300])
