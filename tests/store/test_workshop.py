"""The workshop of teachers: lists, copies, history, rights, secrets, requests, who takes part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from mydocker_hub.domain.access import Right
from mydocker_hub.domain.environment import Audience, Status, Text
from mydocker_hub.domain.errors import Conflict, Invalid, MydockerError, NotFound, Refused
from mydocker_hub.domain.images import BuildState, Recipe
from mydocker_hub.identity.claims import Course, CourseRole
from mydocker_hub.seal import Seal
from mydocker_hub.store import activity, courses, editing, images, people, reading, workshop
from mydocker_hub.store.database import Database
from mydocker_hub.store.tables import (
    AuditRow,
    BuildRow,
    EnrolmentRow,
    EnvironmentSecretRow,
    EnvironmentVersionRow,
    IdentityRow,
    PersonRow,
)

from .conftest import ALICE, BOB, CAROL, DAN, LATER, NOW, ZOE, make
from .test_platforms import create, moodle

SEAL = Seal("secret", "environment-secrets")
EVE = DAN.model_copy(update={"name": "eve", "display_name": "Ève Martin"})


@pytest.fixture(autouse=True)
def everybody(database: Database) -> None:
    for person in (ALICE, ZOE, BOB, DAN, CAROL, EVE):
        database.write_now(editing.person_row, person, NOW)


def found(database: Database, slug: str = "lab", person=CAROL) -> reading.Found:
    return database.read_now(reading.find, slug, person)


def listed(database: Database, person, **asked) -> list[str]:
    page = database.read_now(workshop.listing, person, **asked)
    assert page.total == len(page.items)
    return [item.environment.slug for item in page.items]


def audited(database: Database, *actions: str) -> list[tuple[str, str, str, object]]:
    rows = database.read_now(
        lambda s: s.scalars(select(AuditRow).where(AuditRow.action.in_(actions))).all()
    )
    return [(row.actor, row.action, row.subject, row.detail.get("user")) for row in rows]


def rights(database: Database, slug: str = "lab") -> dict[str, Right]:
    holders = database.read_now(workshop.rights, found(database, slug).id)
    return {one.name: one.right for one in holders}


# --- lists ---------------------------------------------------------------------------------------


@pytest.fixture
def shelf(database: Database, add) -> None:
    """Environments of every kind, seen from Dan."""
    add("mine", person=DAN, status="draft", title={"fr": "Écologie", "en": "Zoology"})
    add("mine-old", person=DAN, status="archived", title="Anatomie")
    add("given", status="draft", title="Botanique")
    add("edited", status="test", title="chimie")
    add("public", public=True, title="Algèbre")
    add("public-old", public=True, status="archived", title="Vieux")
    add("for-teachers", audience={"teachers": True}, title="Faune")
    add("for-dan", status="draft", audience={"people": ["dan"]})
    add("secret")
    database.write_now(workshop.give_right, "given", BOB, "dan", Right.VIEW, NOW)
    database.write_now(workshop.give_right, "edited", BOB, "dan", Right.EDIT, NOW)
    database.write_now(workshop.give_right, "public-old", BOB, "dan", Right.EDIT, NOW)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"show": "mine"}, ["mine", "mine-old"]),
        ({"show": "mine", "status": Status.DRAFT}, ["mine"]),
        ({"show": "shared"}, ["edited", "for-teachers", "given"]),
        ({"show": "shared", "status": Status.ARCHIVED}, ["public-old"]),
        ({"show": "public"}, ["public"]),
        ({"show": "all"}, ["edited", "for-teachers", "given", "mine", "public"]),
        ({"show": "all", "status": Status.ARCHIVED}, ["mine-old", "public-old"]),
        ({"show": "all", "text": "ALGEBRE"}, ["public"]),
        ({"show": "all", "text": "écologie zoo"}, ["mine"]),
        (
            {},
            ["edited", "for-teachers", "given", "mine", "mine-old", "public", "public-old"],
        ),
        # accents do not sort behind z, nor capitals before small letters
        (
            {"show": "all", "sort": "title"},
            ["public", "given", "edited", "mine", "for-teachers"],
        ),
        (
            {"show": "all", "sort": "title", "language": "en"},
            ["public", "given", "edited", "for-teachers", "mine"],
        ),
    ],
)
def test_a_teacher_lists(database: Database, shelf, asked, expected) -> None:
    assert listed(database, DAN, **asked) == expected


def test_administrators_see_all(database: Database, shelf) -> None:
    seen = listed(database, CAROL, show="all")
    assert len(seen) == 7
    assert listed(database, CAROL, show="mine") == []
    assert listed(database, CAROL, show="public", status=Status.ARCHIVED) == ["public-old"]


def test_students_see_no_more_than_elsewhere(database: Database, shelf) -> None:
    assert listed(database, ALICE) == listed(database, ALICE, show="all") == ["public"]


@pytest.mark.parametrize("sort", ["slug", "title", "changed"])
def test_pages_of_a_list(database: Database, add, sort) -> None:
    for number in range(5):
        add(f"lab-{number}", title=f"Lab {number}")
    slugs = []
    for offset in (0, 2, 4, 6):
        page = database.read_now(workshop.listing, BOB, sort=sort, offset=offset, limit=2)
        assert page.total == 5
        slugs += [item.environment.slug for item in page.items]
    assert slugs == [f"lab-{number}" for number in range(5)]


def test_the_last_changed_comes_first(database: Database, add) -> None:
    add("older")
    add("newer")
    changed = make("older", title="Changed")
    database.write_now(editing.update_environment, changed, BOB, 1, LATER)
    assert listed(database, BOB, show="all", sort="changed") == ["older", "newer"]


# --- copies --------------------------------------------------------------------------------------


def test_a_copy_is_a_private_draft_that_knows_its_origin(database: Database, add) -> None:
    add(public=True, variables={"A": "1"}, audience={"people": ["alice"]}, tags=["a"])
    database.write_now(workshop.put_secret, "lab", CAROL, "KEY", "x", SEAL, NOW)
    database.write_now(editing.add_join_link, "lab", BOB, NOW)
    title = Text(fr="La mienne", en="Mine")
    copy = database.write_now(
        workshop.duplicate, "lab", DAN, new_slug="mine", title=title, now=LATER
    )
    environment = copy.environment
    assert (copy.origin, copy.version, copy.standing.right) == ("lab", 1, Right.OWN)
    assert (environment.status, environment.public) == (Status.DRAFT, False)
    assert environment.audience == Audience()
    assert (environment.title, environment.variables, environment.tags) == (
        title,
        {"A": "1"},
        ("a",),
    )
    assert rights(database, "mine") == {"dan": Right.OWN}
    assert database.read_now(workshop.secrets, copy.id) == []
    assert database.read_now(workshop.links, copy.id) == []
    assert found(database).origin == ""
    # and it stays what it is when the original goes
    database.write_now(editing.delete_environment, "lab", BOB, 1, LATER)
    assert found(database, "mine").origin == "lab"


def test_who_may_copy(database: Database, add) -> None:
    add(audience={"teachers": True})

    def copy(person, slug: str = "lab"):
        title = Text(fr="Copie", en="Copy")
        return database.write_now(
            workshop.duplicate, slug, person, new_slug=f"of-{person.name}", title=title, now=NOW
        )

    with pytest.raises(Refused):  # may start it, and nothing of it was given
        copy(DAN)
    with pytest.raises(Refused):
        copy(ALICE)
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.VIEW, NOW)
    copy(DAN)
    copy(CAROL)
    add("hidden")
    with pytest.raises(NotFound):
        copy(EVE, "hidden")


def test_the_name_of_a_copy_is_free(database: Database, add) -> None:
    add()
    add("gone")
    database.write_now(editing.delete_environment, "gone", BOB, 1, NOW)
    title = Text(fr="Copie", en="Copy")
    for slug in ("lab", "gone"):
        with pytest.raises(Conflict) as caught:
            database.write_now(workshop.duplicate, "lab", BOB, new_slug=slug, title=title, now=NOW)
        assert caught.value.code == "exists-already"


# --- history -------------------------------------------------------------------------------------


def test_history_and_restore(database: Database, add) -> None:
    number = add(title="First").id
    database.write_now(editing.update_environment, make(title="Second"), CAROL, 1, LATER)
    public = make(title="Third", public=True)
    database.write_now(editing.update_environment, public, CAROL, 2, LATER)
    again = database.write_now(workshop.restore, "lab", CAROL, 1, 3, LATER)
    # which names an environment that is public still
    assert again.version == 4
    assert again.environment == make(title="First", public=True)
    assert [
        (one.number, one.changed_by) for one in database.read_now(workshop.history, number)
    ] == [(4, "carol"), (3, "carol"), (2, "carol"), (1, "bob")]
    assert database.read_now(workshop.version, number, 2) == make(title="Second")
    assert audited(database, "environment-restored") == [
        ("carol", "environment-restored", "lab", None)
    ]
    with pytest.raises(Conflict) as caught:
        database.write_now(workshop.restore, "lab", CAROL, 2, 3, LATER)
    assert caught.value.code == "changed-meanwhile"
    for missing in (0, 5):
        with pytest.raises(NotFound):
            database.write_now(workshop.restore, "lab", CAROL, missing, 4, LATER)


def test_a_version_that_this_release_cannot_read(database: Database, add) -> None:
    number = add().id
    database.write_now(editing.update_environment, make(title="Second"), CAROL, 1, LATER)

    def spoil(session):
        session.get(EnvironmentVersionRow, (number, 1)).definition = {"slug": "lab"}

    database.write_now(spoil)
    with pytest.raises(NotFound):
        database.read_now(workshop.version, number, 1)
    with pytest.raises(NotFound):
        database.write_now(workshop.restore, "lab", CAROL, 1, 2, LATER)


# --- images of colleagues ------------------------------------------------------------------------

BUILT = "registry.example.org:5000/mydocker/stats"


@pytest.mark.parametrize(
    ("reference", "hidden"),
    [
        (f"{BUILT}:1@sha256:{'a' * 64}", True),
        (f"{BUILT}:1", True),
        (f"{BUILT}:7", True),
        (BUILT, True),
        (f"{BUILT}@sha256:{'b' * 64}", True),
        # by another name of the registry
        ("registry.example.org/mydocker/stats:1", True),
        ("10.0.0.7:5000/mydocker/stats:1", True),
        ("localhost/mydocker/stats:1", True),
        ("mydocker-built/hub/stats:1", True),
        ("docker.io/mydocker-built/hub/stats:1", True),
        # others, which are called so as well
        ("quay.io/jupyter/stats:1", False),
        ("stats", False),
        ("registry.example.org:5000/mydocker/other:1", False),
    ],
)
def test_images_of_colleagues(database: Database, reference: str, hidden: bool) -> None:
    recipe = Recipe.model_validate({"title": "Stats", "base": "example.org/base:1"})
    database.write_now(images.create, "stats", recipe, BOB, NOW)
    database.write_now(images.create, "other", recipe, BOB, NOW)  # never built

    def build(session):
        for built in (f"{BUILT}:1@sha256:{'a' * 64}", "mydocker-built/hub/stats:2"):
            number = images.ask_build(session, "stats", BOB, NOW).id
            row = session.get_one(BuildRow, number)
            row.state, row.reference = BuildState.DONE, built

    database.write_now(build)

    def hides(person) -> bool:
        return database.read_now(workshop.hides_image, person, reference)

    assert hides(DAN) is hidden
    assert not hides(BOB)
    assert not hides(CAROL)
    database.write_now(images.give_right, "stats", BOB, "dan", Right.VIEW, NOW)
    assert not hides(DAN)
    assert hides(EVE) is hidden
    database.write_now(images.set_public, "stats", BOB, True, NOW)
    assert not hides(EVE)
    database.write_now(images.delete, "stats", BOB, 1, NOW)
    assert hides(EVE) is hides(BOB) is hidden


# --- rights --------------------------------------------------------------------------------------


def test_rights_are_given_and_taken(database: Database, add) -> None:
    number = add().id
    for right in (Right.VIEW, Right.EDIT, Right.EDIT, Right.OWN, Right.VIEW):
        database.write_now(workshop.give_right, "lab", BOB, "dan", right, NOW)
        assert found(database, person=DAN).standing.right is right
    database.write_now(workshop.give_right, "lab", BOB, "eve", Right.EDIT, NOW)
    assert database.read_now(workshop.rights, number) == [
        workshop.Holder("bob", "", Right.OWN),
        workshop.Holder("eve", "Ève Martin", Right.EDIT),
        workshop.Holder("dan", "", Right.VIEW),
    ]
    database.write_now(workshop.take_right, "lab", BOB, "dan", NOW)
    assert found(database, person=DAN).standing.right is None
    with pytest.raises(NotFound):
        database.write_now(workshop.take_right, "lab", BOB, "dan", NOW)
    given = audited(database, "right-given", "right-taken")
    assert given == [("bob", "right-given", "lab", "dan")] * 4 + [  # not for what was so already
        ("bob", "right-given", "lab", "eve"),
        ("bob", "right-taken", "lab", "dan"),
    ]


@pytest.mark.parametrize("name", ["nobody", "closed"])
def test_rights_are_for_accounts_in_use(database: Database, add, name: str) -> None:
    add()

    def join(session):
        kept = session.scalars(select(PersonRow).where(PersonRow.name == "dan")).one()
        session.add(PersonRow(name="closed", created_at=NOW, joined_to_id=kept.id))

    database.write_now(join)
    for give in (
        lambda: database.write_now(workshop.give_right, "lab", BOB, name, Right.VIEW, NOW),
        lambda: database.write_now(workshop.transfer, "lab", BOB, name, None, NOW),
    ):
        with pytest.raises(NotFound) as caught:
            give()
        assert (caught.value.code, caught.value.params) == ("account-unknown", {"name": name})


def test_somebody_owns_it(database: Database, add) -> None:
    add()
    for change in (
        lambda: database.write_now(workshop.give_right, "lab", CAROL, "bob", Right.EDIT, NOW),
        lambda: database.write_now(workshop.take_right, "lab", CAROL, "bob", NOW),
    ):
        with pytest.raises(Conflict) as caught:
            change()
        assert caught.value.code == "last-owner"
    assert rights(database) == {"bob": Right.OWN}


@pytest.mark.parametrize("closed", ["joined_to_id", "blocked_at"])
def test_who_is_locked_out_is_no_owner(database: Database, add, closed: str) -> None:
    """An account that was joined to another, or is blocked, keeps its rights and uses none."""
    add()
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.OWN, NOW)

    def close(session):
        names = {row.name: row for row in session.scalars(select(PersonRow))}
        setattr(names["dan"], closed, names["bob"].id if closed == "joined_to_id" else NOW)

    database.write_now(close)
    with pytest.raises(Conflict) as caught:
        database.write_now(workshop.take_right, "lab", BOB, "bob", NOW)
    assert caught.value.code == "last-owner"


def test_two_owners_who_go_at_once(database: Database, add) -> None:
    add()
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.OWN, NOW)

    def go(person) -> str:
        try:
            database.write_now(workshop.take_right, "lab", person, person.name, NOW)
        except MydockerError as error:
            return error.code
        return "gone"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(go, [BOB, DAN])) == ["gone", "last-owner"]


@pytest.mark.parametrize(
    ("actor", "keep", "expected"),
    [
        (BOB, None, {"dan": Right.OWN}),
        (BOB, Right.EDIT, {"dan": Right.OWN, "bob": Right.EDIT}),
        (BOB, Right.OWN, {"dan": Right.OWN, "bob": Right.OWN}),
        # an administrator gives away what is not theirs, and has no right to keep
        (CAROL, Right.EDIT, {"dan": Right.OWN, "bob": Right.OWN}),
    ],
)
def test_transfer(database: Database, add, actor, keep, expected) -> None:
    add()
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.VIEW, NOW)
    database.write_now(workshop.transfer, "lab", actor, "dan", keep, NOW)
    assert rights(database) == expected
    assert audited(database, "environment-transferred") == [
        (actor.name, "environment-transferred", "lab", "dan")
    ]
    with pytest.raises(Conflict):
        database.write_now(workshop.transfer, "lab", CAROL, "dan", None, NOW)


# --- colleagues ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mar", ["eve"]),
        ("MARTIN", ["eve"]),
        ("alice", ["alice"]),
        ("ali", ["alice"]),
        ("lic", []),  # within a name
        ("al", []),
        ("", []),
        ("%%%", []),
        ("dan@univ-a.example", ["dan"]),
        ("DAN@univ-a.example ", ["dan"]),
        ("dan@univ", []),
        ("univ", ["zoé@université.fr"]),  # of a user name
        ("blocked", []),
        ("joined", []),
    ],
)
def test_colleagues(database: Database, text: str, expected: list[str]) -> None:
    def write(session):
        dan = session.scalars(select(PersonRow).where(PersonRow.name == "dan")).one()
        dan.mail = "Dan@Univ-A.example"
        session.add(PersonRow(name="blocked", created_at=NOW, blocked_at=NOW))
        session.add(PersonRow(name="joined", created_at=NOW, joined_to_id=dan.id))

    database.write_now(write)
    assert [one.name for one in database.read_now(workshop.colleagues, text)] == expected


def test_few_colleagues_at_once(database: Database) -> None:
    def write(session):
        for number in range(12):
            session.add(PersonRow(name=f"many-{number:02}", created_at=NOW))

    database.write_now(write)
    assert len(database.read_now(workshop.colleagues, "many")) == 10
    assert len(database.read_now(workshop.colleagues, "many", limit=3)) == 3


# --- secrets -------------------------------------------------------------------------------------


def test_secrets_are_written_and_never_read(database: Database, add) -> None:
    number = add().id
    database.write_now(workshop.put_secret, "lab", BOB, "TOKEN", "first", SEAL, NOW)
    database.write_now(workshop.put_secret, "lab", CAROL, "TOKEN", "sécond\n", SEAL, LATER)
    database.write_now(workshop.put_secret, "lab", BOB, "A", "x", SEAL, NOW)
    assert database.read_now(workshop.secrets, number) == [
        workshop.SecretName("A", "bob", NOW),
        workshop.SecretName("TOKEN", "carol", LATER),
    ]
    values = database.read_now(workshop.secret_values, number, SEAL)
    assert values == {"A": "x", "TOKEN": "sécond\n"}
    other = Seal("another", "environment-secrets")
    assert database.read_now(workshop.secret_values, number, other) == {}
    rows = database.read_now(lambda s: s.scalars(select(EnvironmentSecretRow)).all())
    logged = database.read_now(lambda s: s.scalars(select(AuditRow)).all())
    assert not any("first" in repr(vars(row)) for row in [*rows, *logged])
    database.write_now(workshop.delete_secret, "lab", BOB, "TOKEN", NOW)
    assert database.read_now(workshop.secret_values, number, SEAL) == {"A": "x"}
    with pytest.raises(NotFound):
        database.write_now(workshop.delete_secret, "lab", BOB, "TOKEN", NOW)


def test_a_sealed_value_is_of_its_own_place(database: Database, add) -> None:
    """Whoever can write to the database cannot show a secret under another name."""
    number, other = add().id, add("other").id
    database.write_now(workshop.put_secret, "lab", BOB, "TOKEN", "first", SEAL, NOW)

    def move(session):
        row = session.get_one(EnvironmentSecretRow, (number, "TOKEN"))
        for environment, name in ((other, "TOKEN"), (number, "SHOWN")):
            session.add(
                EnvironmentSecretRow(
                    environment_id=environment,
                    name=name,
                    sealed_value=row.sealed_value,
                    changed_by="mallory",
                    changed_at=NOW,
                )
            )

    database.write_now(move)
    assert database.read_now(workshop.secret_values, other, SEAL) == {}
    assert database.read_now(workshop.secret_values, number, SEAL) == {"TOKEN": "first"}


def test_secrets_have_an_end(database: Database, add, monkeypatch) -> None:
    monkeypatch.setattr(workshop, "SECRETS_MAX", 1)
    add()
    for value in "ab":
        database.write_now(workshop.put_secret, "lab", BOB, "A", value, SEAL, NOW)
    with pytest.raises(Invalid):
        database.write_now(workshop.put_secret, "lab", BOB, "B", "x", SEAL, NOW)


def test_secrets_are_of_what_runs(database: Database, add) -> None:
    add(variables={"SHOWN": "1"})
    with pytest.raises(Invalid, match="everybody reads"):
        database.write_now(workshop.put_secret, "lab", BOB, "SHOWN", "x", SEAL, NOW)
    public = add("public", public=True).id
    with pytest.raises(Invalid, match="administrator"):
        database.write_now(workshop.put_secret, "public", BOB, "A", "x", SEAL, NOW)
    database.write_now(workshop.put_secret, "public", CAROL, "A", "x", SEAL, NOW)
    with pytest.raises(Invalid, match="administrator"):
        database.write_now(workshop.delete_secret, "public", BOB, "A", NOW)
    assert database.read_now(workshop.secret_values, public, SEAL) == {"A": "x"}


# --- requests ------------------------------------------------------------------------------------


def ask(database: Database, person=DAN, kind="access", message="Please", now=NOW) -> int:
    return database.write_now(workshop.ask, "lab", person, kind, message, now)


def answer(database: Database, number: int, actor=BOB, **said) -> None:
    said = {
        "accepted": True,
        "text": "",
        "right": None,
        "expected_version": None,
        "now": LATER,
        **said,
    }
    database.write_now(workshop.answer, number, actor, **said)


def open_for(database: Database, person) -> list[int]:
    return [one.id for one in database.read_now(workshop.requests, person)]


def test_a_request_for_access(database: Database, add) -> None:
    add(public=True)
    number = ask(database, message="Please")
    assert ask(database, message="It is for algebra", now=LATER) == number
    (request,) = database.read_now(workshop.requests, BOB)
    assert request == workshop.Request(
        id=number,
        kind="access",
        slug="lab",
        title=Text(fr="Lab", en="Lab"),
        status=Status.READY,
        version=1,
        person="dan",
        display_name="",
        message="It is for algebra",
        made_at=LATER,
        answered_at=None,
        accepted=False,
        answer="",
        answered_by="",
    )
    assert open_for(database, DAN) == open_for(database, EVE) == []
    assert open_for(database, CAROL) == [number]
    answer(database, number, right=Right.EDIT, text="Welcome")
    assert rights(database) == {"bob": Right.OWN, "dan": Right.EDIT}
    assert open_for(database, BOB) == []
    (own,) = database.read_now(workshop.sent, DAN, LATER)
    assert (own.accepted, own.answer, own.answered_by) == (True, "Welcome", "bob")
    assert database.read_now(workshop.sent, DAN, LATER + timedelta(days=31)) == []
    with pytest.raises(Conflict) as caught:
        answer(database, number, CAROL)
    assert (caught.value.code, caught.value.params) == ("request-answered", {"name": "bob"})
    with pytest.raises(NotFound):
        answer(database, number + 1)


def test_an_answer_takes_no_right_away(database: Database, add) -> None:
    add(public=True)
    number = ask(database)
    database.write_now(workshop.give_right, "lab", BOB, "dan", Right.EDIT, NOW)
    answer(database, number)
    assert rights(database)["dan"] is Right.EDIT


def test_a_declined_request_changes_nothing(database: Database, add) -> None:
    add(public=True)
    number = ask(database)
    answer(database, number, accepted=False, text="Copy it")
    assert rights(database) == {"bob": Right.OWN}
    assert ask(database) != number  # and may be asked again


def test_a_request_for_the_public_catalogue(database: Database, add) -> None:
    add()
    number = ask(database, BOB, "publish")
    assert open_for(database, BOB) == []  # theirs, and not theirs to answer
    assert open_for(database, CAROL) == [number]
    answer(database, number, CAROL, expected_version=1)
    after = found(database)
    assert (after.environment, after.version) == (make(public=True), 2)
    assert listed(database, ALICE) == ["lab"]


def test_what_is_published_is_what_was_looked_at(database: Database, add) -> None:
    """Its maker may change it, and ask again, while an administrator reads."""
    add()
    number = ask(database, BOB, "publish")
    (request,) = database.read_now(workshop.requests, CAROL)
    database.write_now(editing.update_environment, make(image="evil.example/x"), BOB, 1, LATER)
    assert ask(database, BOB, "publish", now=LATER) == number
    for version, code in ((request.version, "changed-meanwhile"), (None, "precondition-needed")):
        with pytest.raises(Conflict) as caught:
            answer(database, number, CAROL, expected_version=version)
        assert caught.value.code == code
        assert not found(database).environment.public
        assert open_for(database, CAROL) == [number]


def test_an_answer_finds_who_asked_in_another_account(database: Database, add) -> None:
    add(public=True)
    number = ask(database, DAN)

    def join(session):
        names = {row.name: row for row in session.scalars(select(PersonRow))}
        names["dan"].joined_to_id = names["eve"].id

    database.write_now(join)
    answer(database, number, right=Right.EDIT)
    assert rights(database) == {"bob": Right.OWN, "eve": Right.EDIT}


def test_nothing_to_ask_for(database: Database, add) -> None:
    add(public=True)
    for person, kind in ((BOB, "publish"), (BOB, "access"), (CAROL, "access")):
        with pytest.raises(Invalid) as caught:
            ask(database, person, kind)
        assert caught.value.problems[0][0] == "kind"


def test_requests_go_with_the_environment(database: Database, add) -> None:
    add(public=True)
    ask(database)
    database.write_now(editing.delete_environment, "lab", BOB, 1, NOW)
    assert open_for(database, CAROL) == []


# --- who takes part ------------------------------------------------------------------------------


def test_participants_and_links(database: Database, add) -> None:
    number = add().id
    used = database.write_now(editing.add_join_link, "lab", BOB, NOW, label="Group A")
    idle = database.write_now(editing.add_join_link, "lab", BOB, NOW)
    for person in (ALICE, ZOE):
        database.write_now(activity.join, used.key, person, NOW)
    database.write_now(activity.leave, "lab", ZOE, LATER)

    def started(session):
        row = session.scalars(select(EnrolmentRow).order_by(EnrolmentRow.person_id)).first()
        row.last_start_at = LATER

    database.write_now(started)
    assert database.read_now(workshop.participants, number) == [
        workshop.Participant("alice", "Alice", NOW, LATER, False),
        workshop.Participant("zoé@université.fr", "", NOW, None, True),
    ]
    counted = [(one.link.key, one.uses) for one in database.read_now(workshop.links, number)]
    assert counted == [(used.key, 2), (idle.key, 0)]


# --- whom an audience may name -------------------------------------------------------------------


def test_known_people(database: Database) -> None:
    names = ["alice", "nobody", "zoé@université.fr", "Alice"]
    assert database.read_now(workshop.unknown_people, names) == ["nobody", "Alice"]


def test_courses_and_institutions_of_ones_own(database: Database) -> None:
    platform = create(database, moodle()).platform.id

    def write(session):
        ids = {}
        for title, role in (("Algèbre", CourseRole.TEACHER), ("Chimie", CourseRole.STUDENT)):
            course = Course(platform=platform, context=title, title=title, role=role)
            row = editing.person_row(session, DAN, NOW)
            ids[title] = courses.note_member(session, course, row.id, NOW)
        for person, institution in ((DAN, "Univ-A.fr"), (EVE, "univ-b.fr")):
            row = editing.person_row(session, person, NOW)
            session.add(
                IdentityRow(
                    person_id=row.id,
                    first_person_id=row.id,
                    door="saml",
                    provider="federation",
                    issuer="https://idp.example",
                    subject=person.name,
                    institution=institution,
                    claimed_role="student",
                    claimed_since=NOW,
                    created_at=NOW,
                    signed_in_at=NOW,
                )
            )
        return ids

    ids = database.write_now(write)
    platform_name = database.read_now(people.active_platforms)[0].name
    algebra = workshop.TaughtCourse(ids["Algèbre"], "Algèbre", platform_name)
    chemistry = workshop.TaughtCourse(ids["Chimie"], "Chimie", platform_name)
    assert database.read_now(workshop.courses, DAN) == [algebra]
    assert database.read_now(workshop.courses, EVE) == []
    assert database.read_now(workshop.courses, CAROL) == [algebra, chemistry]
    assert database.read_now(workshop.institutions, DAN) == ["univ-a.fr"]
    assert database.read_now(workshop.institutions, BOB) == []
    assert database.read_now(workshop.institutions, CAROL) == ["univ-a.fr", "univ-b.fr"]
