"""Looking things up: who sees what, search, paging."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from mydocker_hub.domain.access import Right, may_see, may_start
from mydocker_hub.domain.calendar import DEFAULT_SITE
from mydocker_hub.domain.environment import Status
from mydocker_hub.domain.errors import NotFound
from mydocker_hub.domain.people import Person, Role
from mydocker_hub.store import activity, editing, reading, sessions
from mydocker_hub.store.reading import Found
from mydocker_hub.store.tables import (
    CourseMemberRow,
    CourseRow,
    EnrolmentRow,
    IdentityRow,
    RightRow,
)

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, ZOE, make
from .test_platforms import create, moodle


def slugs(database, person=ALICE, **query) -> list[str]:
    page = database.read_now(reading.search, person, **query)
    assert page.total >= len(page.items)
    return [found.environment.slug for found in page.items]


def opened(database, found: list[Found]) -> list[Found]:
    """The same, after the calendar was asked: no session is booked, and none is needed."""
    return database.read_now(sessions.opened, found, NOW, DEFAULT_SITE)


def test_sql_agrees_with_the_table_of_rights(database) -> None:
    """Each status × public × right × enrolment × role, through the lists and one by one."""
    standings = list(
        itertools.product(Status, (True, False), (None, *Right), ("never", "enrolled", "left"))
    )
    roles = [set(), {Role.TEACHER}, {Role.ADMIN}, {Role.TEACHER, Role.ADMIN}]
    people = [Person(name=f"p{n}", roles=frozenset(roles)) for n, roles in enumerate(roles)]

    def build(session: Session) -> None:
        ids = [editing.person_row(session, person, NOW).id for person in people]
        for number, (status, public, right, enrolment) in enumerate(standings):
            environment = make(f"e{number}", status=status, public=public)
            found = editing.create_environment(session, environment, BOB, NOW)
            for person_id in ids:
                key = {"person_id": person_id, "environment_id": found.id}
                if right:
                    session.add(RightRow(**key, level=right))
                if enrolment != "never":
                    left = NOW if enrolment == "left" else None
                    session.add(EnrolmentRow(**key, created_at=NOW, left_at=left))

    database.write_now(build)
    seen = set()
    for person in [*people, Person(name="unknown")]:
        found = opened(
            database,
            [
                database.read_now(reading.find, f"e{number}", person)
                for number in range(len(standings))
            ],
        )
        visible = {
            item.environment.slug
            for item in found
            if may_see(person, item.environment, item.standing).allowed
        }
        startable = {
            item.environment.slug
            for item in found
            if may_start(person, item.environment, item.standing).allowed
        }
        listed = database.read_now(reading.search, person, limit=1000)
        assert {item.environment.slug for item in listed.items} == visible
        assert listed.total == len(visible)
        # the spawn form asks may_start once more; it must be offered all that can be started
        choices = {
            item.environment.slug for item in database.read_now(reading.startable_by, person)
        }
        assert startable <= choices <= visible
        seen.add((len(visible), len(startable)))
    assert len(seen) == 3  # strangers, people with a standing, administrators


AUDIENCES = {
    "nobody": {},
    "person": {"people": ["alice"]},
    "other-person": {"people": ["alic", "ALICE", "zoé@université.fr"]},
    "course": {"courses": [1]},
    "other-course": {"courses": [11]},
    "institution": {"institutions": ["univ-a.fr"]},
    "other-institution": {"institutions": ["univ-b.fr", "a.fr", "sub.univ-a.fr"]},
    "teachers": {"teachers": True},
}


@pytest.fixture
def audiences(database):
    """Each kind of audience, in each state, open to all and not; Alice is in one of each kind."""
    standings = list(itertools.product(AUDIENCES.items(), Status, (True, False)))
    platform = create(database, moodle()).platform.id

    def build(session: Session) -> dict[str, tuple[str, Status, bool]]:
        alice = editing.person_row(session, ALICE, NOW)
        session.flush()
        session.add(
            IdentityRow(
                person_id=alice.id,
                first_person_id=alice.id,
                door="cas",
                provider="p",
                issuer="i",
                subject="s",
                institution="Univ-A.fr",
                claimed_role="student",
                claimed_since=NOW,
                created_at=NOW,
                signed_in_at=NOW,
            )
        )
        for course in (1, 11):
            row = CourseRow(id=course, platform_id=platform, context=str(course), updated_at=NOW)
            session.add(row)
        session.flush()
        session.add(
            CourseMemberRow(course_id=1, person_id=alice.id, role="student", launched_at=NOW)
        )
        made = {}
        for number, ((name, audience), status, public) in enumerate(standings):
            environment = make(f"e{number}", status=status, public=public, audience=audience)
            editing.create_environment(session, environment, BOB, NOW)
            made[f"e{number}"] = (name, status, public)
        return made

    return database.write_now(build)


@pytest.mark.parametrize(
    ("person", "named"),
    [
        (ALICE, {"person", "course", "institution"}),
        (
            ALICE.model_copy(update={"roles": frozenset({Role.TEACHER})}),
            {"person", "course", "institution", "teachers"},
        ),
        (ZOE, {"other-person"}),
        (DAN, {"teachers"}),
        (CAROL, {"teachers"}),
        (Person(name="unknown"), set()),
    ],
    ids=lambda value: value.name if isinstance(value, Person) else "",
)
def test_the_catalogue_holds_what_an_audience_names(database, audiences, person, named) -> None:
    """What is ready and public, or names this person; no more than they may see and start."""
    expected = {
        slug
        for slug, (name, status, public) in audiences.items()
        if status is Status.READY and (public or name in named)
    }
    page = database.read_now(reading.search, person, open_only=True, limit=1000)
    assert {item.environment.slug for item in page.items} == expected
    assert page.total == len(expected)
    for item in opened(database, page.items):
        assert may_see(person, item.environment, item.standing).allowed
        assert may_start(person, item.environment, item.standing).allowed
    # and one by one: what is ready and may be seen, by whom nothing else was given
    if not person.is_admin:
        seen = set()
        for slug in audiences:
            found = database.read_now(reading.find, slug, person)
            assert found.standing.invited == (audiences[slug][0] in named)
            if may_see(person, found.environment, found.standing).allowed:
                seen.add(slug)
        assert {slug for slug in seen if audiences[slug][1] is Status.READY} == expected
        listed = database.read_now(reading.search, person, limit=1000)
        assert {item.environment.slug for item in listed.items} == seen


def test_an_audience_follows_its_person_into_another_account(database, add) -> None:
    """Who is named as one account is found as the one that it was joined to; and back again."""
    add("lab", audience={"people": ["zoe-old"]})

    def accounts(session: Session, *joined: tuple[str, str | None]) -> None:
        rows = {
            name: editing.person_row(session, Person(name=name), NOW)
            for name in ("zoe-old", "zoe-middle", "alice", "other")
        }
        session.flush()
        for name, to in joined:
            rows[name].joined_to_id = rows[to].id if to else None

    database.write_now(accounts)
    assert slugs(database, ALICE, open_only=True) == []
    database.write_now(accounts, ("zoe-old", "zoe-middle"), ("zoe-middle", "alice"))
    assert slugs(database, ALICE, open_only=True) == slugs(database, ALICE) == ["lab"]
    assert database.read_now(reading.find, "lab", ALICE).standing.invited
    assert slugs(database, Person(name="other")) == []
    database.write_now(accounts, ("zoe-old", None), ("zoe-middle", None))
    assert slugs(database, ALICE) == []


def test_find_says_how_one_stands(database, add) -> None:
    add("lab")
    assert database.read_now(reading.find, "lab", BOB).standing.right is Right.OWN
    standing = database.read_now(reading.find, "lab", ALICE).standing
    assert (standing.enrolled, standing.right) == (False, None)
    with pytest.raises(NotFound) as caught:
        database.read_now(reading.find, "no-such", BOB)
    assert caught.value.code == "environment-unknown"


def test_a_definition_is_checked_once(database, add) -> None:
    """Checking takes longer than reading: one gets the same object, until it changes."""
    first = add("lab", public=True)
    assert database.read_now(reading.find, "lab", ALICE).environment is first.environment
    assert database.read_now(reading.search, ZOE).items[0].environment is first.environment
    database.write_now(editing.update_environment, make("lab", title="New"), BOB, 1, NOW)
    assert database.read_now(reading.find, "lab", ALICE).environment == make("lab", title="New")


@pytest.fixture
def library(add):
    """Environments with texts that search has to cope with."""
    add("algebra", title={"fr": "Algèbre linéaire", "en": "Linear algebra"}, public=True)
    add("percent", title="100% Python_3", public=True, tags=["python"])
    add("plain", title="100 Python 3", public=True, tags=["python", "data-science"])
    add(
        "liar",
        title="Liar",
        public=True,
        sheet={
            "description": "See  #python  and\n#python\nand #data-science here",
            "software": ["scikit-learn", "Œuvre"],
            "courses": ["M1 Été"],
            "maintainers": [{"name": "Ångström İnci"}],
        },
    )
    add(
        "interface",
        public=True,
        interfaces=[{"name": "w", "title": {"fr": "Bureau", "en": "Desk"}}],
    )
    add("hidden", title="Algèbre cachée", tags=["secret"])
    add("draft", title="Algèbre en travaux", status="draft", public=True, tags=["secret"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("algebre", ["algebra"]),
        ("ALGÈBRE", ["algebra"]),
        ("alge\u0300bre", ["algebra"]),
        ("linear ALGEBRA", ["algebra"]),
        ("linear python", []),
        ("100%", ["percent"]),
        ("%", ["percent"]),
        ("_", ["percent"]),
        ("％", ["percent"]),
        ("\\", []),
        ("/", []),
        ("'", []),
        ('"; drop table people; --', []),
        ("scikit-learn", ["liar"]),
        ("œuvre", ["liar"]),
        ("ete m1", ["liar"]),
        ("angstrom", ["liar"]),
        ("ınci", []),
        ("inci", ["liar"]),
        ("𝐏𝐲𝐭𝐡𝐨𝐧 100", ["percent", "plain"]),
        ("bureau", ["interface"]),
        ("desk", ["interface"]),
        ("   ", ["algebra", "interface", "liar", "percent", "plain"]),
        ("\u0301", ["algebra", "interface", "liar", "percent", "plain"]),
    ],
)
def test_search_by_words(database, library, text, expected) -> None:
    assert slugs(database, text=text) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("python", ["percent", "plain"]),
        ("data-science", ["plain"]),
        ("data", []),
        ("secret", []),
        ("%", []),
        ("python\n\n#data-science", ["plain"]),  # tags in their order: harmless
    ],
)
def test_search_by_tag_finds_tags_only(database, library, tag, expected) -> None:
    assert slugs(database, tag=tag) == expected


def test_search_together(database, library) -> None:
    assert slugs(database, text="100", tag="data-science") == ["plain"]
    assert slugs(database, CAROL, text="algebre") == ["algebra", "draft", "hidden"]
    assert slugs(database, CAROL, text="algebre", open_only=True) == ["algebra"]
    assert slugs(database, BOB, status=Status.DRAFT) == ["draft"]
    assert slugs(database, ALICE, status=Status.DRAFT) == []


def test_tags_of_the_public_catalogue(database, library) -> None:
    assert database.read_now(reading.tags) == [("python", 2), ("data-science", 1)]


def test_no_tags(database, add) -> None:
    add("lab", public=True)
    assert database.read_now(reading.tags) == []


def test_pages_hold_each_once(database, add) -> None:
    for number in range(7):
        add(f"e{number}", public=True)
    pages = [
        database.read_now(reading.search, ALICE, offset=offset, limit=3) for offset in (0, 3, 6, 9)
    ]
    assert [page.total for page in pages] == [7] * 4
    found = [item.environment.slug for page in pages for item in page.items]
    assert found == [f"e{number}" for number in range(7)]


@given(st.text())
def test_normalised_is_normal(text) -> None:
    once = reading.normalise(text)
    assert reading.normalise(once) == once
    assert once == once.casefold()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_any_title_is_found_by_its_words(title) -> None:
    if not title.strip():
        return
    text = reading.search_text(make(title=title))
    assert all(word in text for word in reading.normalise(title).split())
    assert text.count("\n") == 0


def test_the_dashboard_shows_the_last_used_first(database, add) -> None:
    for slug in ("a", "b", "c", "d"):
        add(slug, public=True)

    def use(session: Session) -> None:
        editing.person_row(session, ALICE, NOW)
        start(session, "a", NOW)
        start(session, "b", LATER)
        start(session, "c", NOW + timedelta(minutes=1))

    def start(session: Session, slug, when) -> None:
        activity._enrol(
            session, reading.find(session, slug, ALICE), ALICE, when, None, starting=True
        )

    database.write_now(use)
    found = database.read_now(reading.used_by, ALICE)
    assert [item.environment.slug for item in found] == ["b", "c", "a"]
    assert found[0].last_start_at == LATER
    assert database.read_now(reading.used_by, ZOE) == []
    database.write_now(activity.leave, "c", ALICE, LATER)
    assert [i.environment.slug for i in database.read_now(reading.used_by, ALICE)] == ["b", "a"]
    # in the spawn form: what was used first, then the others by name
    choices = database.read_now(reading.startable_by, ALICE)
    assert [item.environment.slug for item in choices][:2] == ["b", "c"]
    assert [item.environment.slug for item in choices][-1] == "d"


def test_unknown_compute_type(database) -> None:
    with pytest.raises(NotFound):
        database.read_now(reading.compute_type, "nowhere")
