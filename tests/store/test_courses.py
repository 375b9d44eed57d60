"""Courses: who came, what they open, and a teacher's choice; in both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from mydocker_hub.domain.access import Right
from mydocker_hub.domain.errors import MydockerError, NotFound, Refused
from mydocker_hub.identity.claims import Course, CourseRole
from mydocker_hub.identity.platform import DeepLinkRequest
from mydocker_hub.store import activity, courses, editing, platforms, reading
from mydocker_hub.store.courses import CHOICE_LASTS
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import (
    AuditRow,
    CourseEnvironmentRow,
    EnvironmentRow,
    IdentityRow,
    JoinLinkRow,
    LaunchRow,
    RightRow,
)

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, make
from .test_platforms import create, moodle

ROLE_DAYS = 30


@pytest.fixture
def platform(database: Database) -> int:
    for person in (ALICE, BOB, CAROL, DAN):
        database.write_now(editing.person_row, person, NOW)
    return create(database, moodle()).platform.id


def course(platform: int, **changes: object) -> Course:
    return Course.model_validate(
        {"platform": platform, "context": "42", "title": "Algèbre", "role": "teacher", **changes}
    )


def asked(platform: int, **changes: object) -> DeepLinkRequest:
    return DeepLinkRequest.model_validate(
        {
            "platform": platform,
            "deployment": "1",
            "return_url": "https://moodle.example.org/mod/lti/contentitem_return.php",
            "accept_multiple": True,
            **changes,
        }
    )


def begin(database: Database, platform: int, user: str = "bob") -> str:
    return database.write_now(courses.begin_choice, user, asked(platform), course(platform), NOW)


def choose(database: Database, choice: str, *slugs: str, person=BOB, now=LATER):
    now = min(now, NOW + timedelta(minutes=30))
    return database.write_now(courses.choose, choice, slugs, person, now)[1]


def note(database: Database, one: Course, person, now=NOW) -> int:
    def write(session):
        row = editing.person_row(session, person, NOW)
        return courses.note_member(session, one, row.id, now)

    return database.write_now(write)


def seen(database: Database, number: int, person, now=LATER) -> courses.CourseView:
    return database.read_now(courses.course_for, number, person, now, ROLE_DAYS)


def taught(database: Database, person, now=LATER) -> list[courses.KeptCourse]:
    return database.read_now(courses.courses_of, person, now, ROLE_DAYS)


def audited(database: Database, action: str) -> list[tuple[str, str, dict[str, object]]]:
    query = select(AuditRow).where(AuditRow.action == action).order_by(AuditRow.id)
    rows = database.read_now(lambda s: s.scalars(query).all())
    return [(row.actor, row.subject, row.detail) for row in rows]


def refused(code: str):
    class Context:
        def __enter__(self):
            self.raises = pytest.raises(MydockerError)
            self.caught = self.raises.__enter__()

        def __exit__(self, *info):
            assert self.raises.__exit__(*info)
            assert self.caught.value.code == code
            return True

    return Context()


# --- a choice ------------------------------------------------------------------------------------


def test_what_is_chosen_gets_a_link_and_belongs_to_the_course(
    database: Database, platform: int, add
) -> None:
    add("lab")
    add("open", CAROL, public=True)
    choice = begin(database, platform)
    lab, opened = choose(database, choice, "lab", "open", "lab")
    assert [lab.environment.slug, opened.environment.slug] == ["lab", "open"]
    assert lab.link.label == "Moodle: Algèbre"
    # whoever comes by it is let in
    found = database.write_now(activity.join, lab.link.key, ALICE, LATER)
    assert found.environment.slug == "lab"
    view = seen(database, 1, CAROL)
    assert [one.slug for one in view.environments] == ["lab", "open"]


def test_a_choice_ends_once(database: Database, platform: int, add) -> None:
    add("lab")
    choice = begin(database, platform)
    choose(database, choice, "lab")
    with refused("lti-choice-expired"):
        choose(database, choice, "lab")
    assert len(database.read_now(lambda s: s.scalars(select(JoinLinkRow)).all())) == 1


def test_of_two_at_once_one_chooses(database: Database, platform: int, add) -> None:
    add("lab")
    choice = begin(database, platform)
    got: list[str] = []
    start = threading.Barrier(3)

    def one() -> None:
        start.wait()
        try:
            choose(database, choice, "lab")
        except MydockerError as error:
            got.append(error.code)
        else:
            got.append("chosen")

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == ["chosen", "lti-choice-expired", "lti-choice-expired"]


def test_a_choice_is_its_persons(database: Database, platform: int, add) -> None:
    add("lab")
    choice = begin(database, platform)
    for other in (ALICE, DAN, CAROL):
        with refused("lti-teachers-only"):
            database.read_now(courses.choice, choice, other, LATER - timedelta(minutes=40))
        with refused("lti-teachers-only"):
            choose(database, choice, "lab", person=other)
    assert len(choose(database, choice, "lab")) == 1


def test_a_choice_lasts_an_hour(database: Database, platform: int) -> None:
    choice = begin(database, platform)
    database.read_now(courses.choice, choice, BOB, NOW + CHOICE_LASTS - timedelta(seconds=1))
    with refused("lti-choice-expired"):
        database.read_now(courses.choice, choice, BOB, NOW + CHOICE_LASTS)
    with refused("lti-choice-expired"):
        database.read_now(courses.choice, "0" * 48, BOB, NOW)


def test_a_student_begins_none(database: Database, platform: int) -> None:
    with refused("lti-teachers-only"):
        database.write_now(
            courses.begin_choice, "alice", asked(platform), course(platform, role="student"), NOW
        )
    with refused("account-unknown"):
        begin(database, platform, "nobody")
    with pytest.raises(NotFound):
        database.write_now(courses.begin_choice, "bob", asked(99), None, NOW)


def test_what_one_may_only_use_is_not_for_a_course(database: Database, platform: int, add) -> None:
    """A link to it would let everybody in."""
    add("secret", DAN)
    add("mine")
    add("draft", CAROL, public=True, status="draft")
    add("old", status="archived")
    add("public", CAROL, public=True)
    link = database.write_now(editing.add_join_link, "secret", DAN, NOW)
    database.write_now(activity.join, link.key, BOB, NOW)
    found = database.read_now(courses.can_be_chosen, BOB)
    assert {one.environment.slug for one in found} == {"mine", "public"}
    choice = begin(database, platform)
    for slug, code in (
        ("secret", "not-allowed"),
        ("draft", "environment-unknown"),
        ("old", "environment-archived"),
        ("nothing", "environment-unknown"),
    ):
        with refused(code):
            choose(database, choice, slug)
        with refused(code):  # nor beside one that may
            choose(database, choice, "mine", slug)
    assert [one.environment.slug for one in choose(database, choice, "mine")] == ["mine"]
    count = len(database.read_now(lambda s: s.scalars(select(JoinLinkRow)).all()))
    assert count == 2  # what was refused left nothing


def test_what_a_colleague_lets_one_view_is_not_either(
    database: Database, platform: int, add
) -> None:
    found = add("theirs", DAN)

    def give(level: Right):
        def write(session):
            row = editing.person_row(session, BOB, NOW)
            session.merge(RightRow(person_id=row.id, environment_id=found.id, level=level))

        database.write_now(write)

    choice = begin(database, platform)
    give(Right.VIEW)
    with refused("not-allowed"):
        choose(database, choice, "theirs")
    give(Right.EDIT)
    assert len(choose(database, choice, "theirs")) == 1


def test_a_choice_without_a_course(database: Database, platform: int, add) -> None:
    add("lab")
    choice = database.write_now(courses.begin_choice, "bob", asked(platform), None, NOW)
    (one,) = choose(database, choice, "lab")
    assert one.link.label == "Moodle"
    assert database.read_now(lambda s: s.scalars(select(CourseEnvironmentRow)).all()) == []


# --- what was public -----------------------------------------------------------------------------


def hide(database: Database, slug: str, person=CAROL) -> None:
    database.write_now(editing.update_environment, make(slug), person, 1, LATER)


def revoked(database: Database) -> dict[str, bool]:
    query = select(JoinLinkRow)
    rows = database.read_now(lambda s: s.scalars(query).all())
    return {row.key: row.revoked_at is not None for row in rows}


def test_a_link_to_what_is_public_ends_with_that(database: Database, platform: int, add) -> None:
    add("open", CAROL, public=True)
    add("mine", public=True)
    (open_,) = choose(database, begin(database, platform), "open")
    (mine,) = choose(database, begin(database, platform), "mine")
    by_admin = choose(database, begin(database, platform, "carol"), "open", person=CAROL)[0]
    by_hand = database.write_now(editing.add_join_link, "open", CAROL, NOW)
    assert set(revoked(database).values()) == {False}

    changed = make("open", public=True, title="Another")
    database.write_now(editing.update_environment, changed, CAROL, 1, LATER)
    assert set(revoked(database).values()) == {False}  # it is public still

    database.write_now(editing.update_environment, make("open"), CAROL, 2, LATER)
    hide(database, "mine", BOB)
    assert revoked(database) == {
        open_.link.key: True,  # bob may not edit it
        mine.link.key: False,
        by_admin.link.key: False,
        by_hand.key: False,
    }
    with refused("join-link-revoked"):
        database.write_now(activity.join, open_.link.key, ALICE, LATER)
    assert audited(database, "join-link-revoked") == [
        ("carol", "open", {"label": "Moodle: Algèbre"})
    ]
    # public again: a new choice, and a new link
    again = make("open", public=True)
    database.write_now(editing.update_environment, again, CAROL, 3, LATER)
    assert revoked(database)[open_.link.key]


def test_an_import_that_hides_ends_them_too(database: Database, platform: int, add) -> None:
    add("open", CAROL, public=True)
    before = database.read_now(editing.export_catalogue)
    (one,) = choose(database, begin(database, platform), "open")
    (entry,) = before.environments
    hidden = entry.model_copy(update={"public": False})
    file = before.model_copy(update={"environments": (hidden,)})
    database.write_now(editing.import_catalogue, file, CAROL, LATER)
    assert revoked(database) == {one.link.key: True}


def test_a_choice_waits_for_who_hides_it(database: Database, platform: int, add) -> None:
    add("open", CAROL, public=True)
    choice = begin(database, platform)
    got: list[str] = []

    def one() -> None:
        try:
            choose(database, choice, "open")
        except MydockerError as error:
            got.append(error.code)

    thread = threading.Thread(target=one)

    def hiding(session):
        editing.update_environment(session, make("open"), CAROL, 1, LATER)
        thread.start()
        thread.join(0.5)  # it would have looked by now

    database.write_now(hiding)
    thread.join()
    assert got == ["environment-unknown"]
    assert revoked(database) == {}


# --- who came ------------------------------------------------------------------------------------


def test_a_course_follows_its_last_message(database: Database, platform: int) -> None:
    first = note(database, course(platform, memberships_url="https://m.example.org/1"), BOB)
    again = note(database, course(platform, title="Algèbre 2", memberships_url=""), ALICE)
    assert first == again
    view = seen(database, first, CAROL)
    assert (view.course.title, view.course.memberships_url) == (
        "Algèbre 2",
        "https://m.example.org/1",
    )
    assert note(database, course(platform, context="43"), BOB) != first


def test_a_context_is_a_course_of_its_deployment(database: Database, platform: int) -> None:
    """LTI 1.3 Core §5.4.1: in another deployment, the same context is another course."""
    first = note(database, course(platform, deployment="1"), BOB)
    second = note(database, course(platform, deployment="2", role="student"), BOB)
    note(database, course(platform, deployment="2", title="Analyse"), DAN)
    none = note(database, course(platform), DAN)  # LTI 1.1
    assert len({first, second, none}) == 3
    assert note(database, course(platform, deployment="1"), ALICE) == first
    assert note(database, course(platform), ALICE) == none
    assert [one.id for one in taught(database, BOB)] == [first]
    view = seen(database, second, DAN)
    assert (view.course.title, view.course.deployment) == ("Analyse", "2")
    assert [one.name for one in view.participants] == ["bob", "dan"]
    with pytest.raises(Refused):
        seen(database, second, BOB)


def test_a_teacher_who_comes_no_more(database: Database, platform: int) -> None:
    number = note(database, course(platform), BOB)
    end = NOW + timedelta(days=ROLE_DAYS)
    before = end - timedelta(seconds=1)
    assert seen(database, number, BOB, before).course.id == number
    assert [one.id for one in taught(database, BOB, before)] == [number]
    with pytest.raises(Refused):
        seen(database, number, BOB, end)
    assert taught(database, BOB, end) == []
    assert seen(database, number, CAROL, end).course.id == number
    assert [one.id for one in taught(database, CAROL, end)] == [number]
    note(database, course(platform), BOB, end)
    assert seen(database, number, BOB, end).course.id == number


def test_who_may_see_a_course(database: Database, platform: int) -> None:
    number = note(database, course(platform), BOB)
    note(database, course(platform, role="student"), ALICE)
    for person in (BOB, CAROL):
        assert seen(database, number, person).course.id == number
    for person in (ALICE, DAN):
        for which in (number, 99):
            with pytest.raises(Refused):
                seen(database, which, person)
    # who is no teacher there any more
    note(database, course(platform, role="student"), BOB, LATER)
    with pytest.raises(Refused):
        seen(database, number, BOB)
    assert taught(database, BOB) == []
    assert [one.id for one in taught(database, CAROL)] == [number]


def test_who_has_started_what(database: Database, platform: int, add) -> None:
    lab, other = add("lab"), add("other")
    number = note(database, course(platform), BOB)
    note(database, course(platform, role="student"), ALICE)

    def happen(session):
        courses.attach(session, number, lab.id, "bob", NOW)
        courses.attach(session, number, lab.id, "bob", NOW)  # a second time changes nothing
        alice = editing.person_row(session, ALICE, NOW)
        dan = editing.person_row(session, DAN, NOW)
        for person, environment, at in (
            (alice, lab, NOW - timedelta(seconds=1)),  # not for this course
            (alice, lab, NOW),
            (alice, lab, LATER),
            (alice, other, NOW),  # not of this course
            (dan, lab, NOW),  # not in this course
        ):
            session.add(
                LaunchRow(
                    person_id=person.id,
                    environment_id=environment.id,
                    version=1,
                    asked_at=at,
                    end_params={},
                )
            )
        session.add(
            IdentityRow(
                person_id=alice.id,
                first_person_id=alice.id,
                door="lti13",
                provider=f"lti-{platform}",
                issuer="https://moodle.example.org",
                subject="5",
                claimed_role="student",
                claimed_since=NOW,
                created_at=NOW,
                signed_in_at=NOW,
            )
        )

    database.write_now(happen)
    assert audited(database, "course-environment-attached") == [
        ("bob", f"course {number}", {"environment": "lab"})
    ]
    view = seen(database, number, BOB)
    alice, bob = view.participants
    assert (alice.name, alice.role, alice.subjects) == ("alice", CourseRole.STUDENT, {"5"})
    assert [(one.environment, one.count, one.first_at, one.last_at) for one in alice.starts] == [
        ("lab", 2, NOW, LATER)
    ]
    assert (bob.name, bob.role, bob.starts) == ("bob", CourseRole.TEACHER, ())


def test_a_platform_that_goes_takes_its_courses(database: Database, platform: int, add) -> None:
    add("lab")
    choice = begin(database, platform)
    (one,) = choose(database, choice, "lab")
    other = begin(database, platform)
    database.write_now(platforms.remove, platform, 1, "carol", LATER)
    assert taught(database, CAROL) == []
    with refused("lti-choice-expired"):
        database.read_now(courses.choice, other, BOB, NOW)
    # the environment and the link are the teacher's: they stay
    assert database.read_now(reading.join_link, one.link.key)[1] == "lab"
    assert database.read_now(lambda s: s.scalars(select(EnvironmentRow.slug)).all()) == ["lab"]
