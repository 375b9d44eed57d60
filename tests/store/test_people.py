"""Sign-ins: identities, accounts, names, roles, joined and separated accounts, refusals."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from mydocker_hub.domain.errors import MydockerError
from mydocker_hub.domain.images import Recipe
from mydocker_hub.domain.people import Role
from mydocker_hub.identity.claims import Claims, Course, CourseRole, Door, SignIn, Spent
from mydocker_hub.identity.platform import JoinRule, Platform, PlatformStatus
from mydocker_hub.identity.roles import Origin
from mydocker_hub.store import accounts, activity, courses, editing, images, people
from mydocker_hub.store.tables import (
    AuditRow,
    EnrolmentRow,
    IdentityRow,
    PersonRow,
    PlatformRow,
    RightRow,
    SpentRow,
)

from .conftest import ALICE, BOB, CAROL, LATER, NOW, make

IDP = "https://idp.univ-a.example/idp/shibboleth"
MOODLE = "https://moodle.univ-a.example"
DAY = timedelta(days=1)


def federation(
    uid: str = "jean", *, role: Role = Role.STUDENT, kinds: str = "s", issuer: str = IDP, **more
) -> SignIn:
    """Somebody of the university; `kinds` are the identifiers shown: s, p, e."""
    known = {
        "s": ("subject-id", f"{uid}-s@univ-a.example"),
        "p": ("pairwise-id", f"{uid}-p@univ-a.example"),
        "e": ("eduPersonPrincipalName", f"{uid}@univ-a.example"),
    }
    claims = {
        "door": Door.SAML,
        "provider": "federation",
        "issuer": issuer,
        "identifiers": tuple(known[kind] for kind in kinds),
        "given_name": "Jean",
        "family_name": "Dupont",
        "mail": "jean.dupont@univ-a.example",
        "values": {"eduPersonPrincipalName": f"{uid}@univ-a.example"},
        **more,
    }
    return SignIn(claims=Claims(**claims), role=role)


def oidc(sub: str = "1", *, issuer: str = "https://op.example", **more) -> SignIn:
    claims = {
        "door": Door.OIDC,
        "provider": "keycloak",
        "issuer": issuer,
        "identifiers": (("sub", sub),),
        "display_name": "Marie Curie",
        **more,
    }
    return SignIn(claims=Claims(**claims))


@pytest.fixture
def platform(database):
    """Add a platform: `platform(teachers=True)` answers it with its id."""

    def add(issuer: str = MOODLE, client_id: str = "c1", **changes) -> Platform:
        made = Platform.model_validate(
            {
                "name": "Moodle",
                "issuer": issuer,
                "client_id": client_id,
                "authorization_url": f"{MOODLE}/auth",
                "jwks_url": f"{MOODLE}/jwks",
                **changes,
            }
        )

        def store(session) -> int:
            row = PlatformRow(
                issuer=made.issuer,
                client_id=made.client_id,
                status=made.status,
                definition=made.model_dump(mode="json", exclude={"id"}),
                version=1,
                created_at=NOW,
                updated_at=NOW,
            )
            session.add(row)
            session.flush()
            return row.id

        return made.model_copy(update={"id": database.write_now(store)})

    return add


def launch(
    platform: Platform,
    sub: str = "7",
    *,
    role: CourseRole = CourseRole.STUDENT,
    username: str = "jean",
    context: str = "42",
    join_key: str = "",
    **more,
) -> SignIn:
    claims = {
        "door": Door.LTI13,
        "provider": platform.provider,
        "issuer": platform.issuer,
        "identifiers": (("sub", sub),),
        "display_name": "Jean D.",
        "values": {"user_username": username},
        **more,
    }
    course = Course(
        platform=platform.id, context=context, title="Algebra", role=role, join_key=join_key
    )
    return SignIn(claims=Claims(**claims), course=course)


@pytest.fixture
def enter(database):
    def enter(request: SignIn, now=NOW, **changes):
        request = request.model_copy(update=changes)
        return database.write_now(people.sign_in, request, now)

    return enter


def code_of(action, *args, **kwargs) -> str:
    with pytest.raises(MydockerError) as caught:
        action(*args, **kwargs)
    return caught.value.code


def names_of(database) -> list[str]:
    return sorted(database.read_now(lambda session: list(session.scalars(select(PersonRow.name)))))


def of(database, name: str, now=NOW):
    return database.read_now(accounts.account, name, now)


# --- coming in -----------------------------------------------------------------------------------


def test_the_first_sign_in_makes_an_account_and_the_second_finds_it(database, enter) -> None:
    first = enter(federation())
    assert (first.name, first.display_name, first.new) == ("jean.dupont", "Jean Dupont", True)
    assert first.roles == {Role.STUDENT}
    second = enter(federation(given_name="Jeanne"), LATER)
    assert (second.name, second.display_name, second.new) == ("jean.dupont", "Jeanne Dupont", False)
    found = of(database, "jean.dupont")
    assert (found.mail, found.signed_in_at) == ("jean.dupont@univ-a.example", LATER)
    assert [identity.provider for identity in found.identities] == ["federation"]
    history = database.read_now(accounts.history, "jean.dupont")
    assert [entry.action for entry in history] == ["account-created"]


def test_two_people_of_one_name_are_numbered_whatever_the_case(database, enter) -> None:
    database.write_now(editing.person_row, ALICE.model_copy(update={"name": "Jean.Dupont"}), NOW)
    assert enter(federation("a")).name == "jean.dupont-2"
    assert enter(federation("b")).name == "jean.dupont-3"
    assert enter(federation("a")).name == "jean.dupont-2"


def test_a_mail_address_joins_nobody(database, enter) -> None:
    mine = enter(federation("a", mail="same@univ-a.example"))
    assert enter(federation("b", mail="same@univ-a.example")).name != mine.name
    assert enter(oidc(mail="same@univ-a.example")).name != mine.name


def test_nobody_chooses_their_user_name(database, enter) -> None:
    for index, sub in enumerate(("admin", "jean.dupont", "root")):
        standing = enter(oidc(sub, issuer=f"https://op{index}.example", display_name=sub))
        assert standing.name != sub or sub == "jean.dupont"
        assert Role.ADMIN not in standing.roles
    assert enter(oidc("x", issuer="https://op9.example", display_name="")).name == "person"


def test_the_same_identifier_of_another_issuer_is_another_person(database, enter) -> None:
    mine = enter(federation())
    other = enter(federation(issuer="https://idp.other.example"))
    assert other.name != mine.name


def test_an_issuer_of_another_protocol_is_refused(database, enter) -> None:
    mine = enter(oidc("1", issuer="https://same.example"))
    stolen = oidc("1", issuer="https://same.example", door=Door.CAS, provider="cas")
    assert code_of(enter, stolen) == "sign-in-identifier-reassigned"
    assert enter(oidc("1", issuer="https://same.example")).name == mine.name


def test_a_message_is_used_once(database, enter) -> None:
    spent = (
        Spent(key=f"assertion:{'a' * 64}", until=NOW + DAY),
        Spent(key=f"attempt:{'b' * 64}", until=NOW),
    )
    enter(federation(), spent=spent)
    assert code_of(enter, federation(), spent=spent[:1]) == "sign-in-replayed"
    assert code_of(enter, federation(), spent=spent[1:]) == "sign-in-replayed"
    assert code_of(enter, federation(), spent=(spent[0], spent[0])) == "sign-in-replayed"
    new = Spent(key=f"attempt:{'c' * 64}", until=NOW)
    assert code_of(enter, federation(), spent=(new, spent[0])) == "sign-in-replayed"
    enter(federation(), spent=(new,))  # nothing of what was refused is kept
    later = NOW + timedelta(days=3)
    enter(federation(), later, spent=(Spent(key=f"attempt:{'d' * 64}", until=later),))
    keys = database.read_now(lambda session: list(session.scalars(select(SpentRow.key))))
    assert keys == [f"attempt:{'d' * 64}"]  # the old ones are forgotten


def test_many_first_sign_ins_at_once_make_one_account(database, enter) -> None:
    barrier = threading.Barrier(4)

    def come(_) -> str:
        barrier.wait()
        return enter(federation()).name

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(come, range(4))) == {"jean.dupont"}
    assert names_of(database) == ["jean.dupont"]


def test_many_people_of_one_name_at_once(database, enter) -> None:
    barrier = threading.Barrier(4)

    def come(number: int) -> str:
        barrier.wait()
        return enter(federation(f"u{number}")).name

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(come, range(4)))
    assert found == ["jean.dupont", "jean.dupont-2", "jean.dupont-3", "jean.dupont-4"]


# --- identifiers ---------------------------------------------------------------------------------


def test_a_stronger_identifier_becomes_the_key(database, enter) -> None:
    enter(federation(kinds="e"))
    assert enter(federation(kinds="se")).name == "jean.dupont"
    assert enter(federation(kinds="s")).name == "jean.dupont"
    assert enter(federation(kinds="pe")).name == "jean.dupont"
    assert enter(federation(kinds="p")).name == "jean.dupont"
    subjects = database.read_now(lambda session: list(session.scalars(select(IdentityRow.subject))))
    assert subjects == ["jean-s@univ-a.example"]


def test_an_identifier_that_went_to_somebody_else_opens_nothing(database, enter) -> None:
    enter(federation("jean", kinds="se"))
    thief = federation(
        identifiers=(
            ("subject-id", "new-s@univ-a.example"),
            ("eduPersonPrincipalName", "jean@univ-a.example"),
        )
    )
    assert code_of(enter, thief) == "sign-in-identifier-reassigned"
    assert code_of(database.read_now, people.look, thief, NOW) == "sign-in-identifier-reassigned"
    assert names_of(database) == ["jean.dupont"]


def test_a_name_that_changed_goes_along(database, enter) -> None:
    """After a marriage eduPersonPrincipalName changes, and the subject-id stays."""
    enter(federation("jean", kinds="se"))
    renamed = federation(
        identifiers=(
            ("subject-id", "jean-s@univ-a.example"),
            ("eduPersonPrincipalName", "new@univ-a.example"),
        )
    )
    assert enter(renamed).name == "jean.dupont"
    assert enter(federation("new", kinds="e")).name == "jean.dupont"
    assert enter(federation("jean", kinds="e")).new  # the old one means nobody any more


def test_values_of_different_kinds_never_meet(database, enter) -> None:
    enter(federation(identifiers=(("eduPersonPrincipalName", "x@univ-a.example"),)))
    other = federation(identifiers=(("subject-id", "x@univ-a.example"),))
    assert code_of(enter, other) == "sign-in-identifier-reassigned"


# --- roles ---------------------------------------------------------------------------------------


def test_a_role_ends_when_its_identity_says_it_no_more(database, enter) -> None:
    assert Role.TEACHER in enter(federation(role=Role.TEACHER)).roles
    assert Role.TEACHER not in enter(federation(), LATER).roles
    actions = [entry.action for entry in database.read_now(accounts.history, "jean.dupont")]
    assert actions == ["role-claimed", "role-claimed", "account-created"]


def test_a_role_ends_long_after_the_last_sign_in(database, enter) -> None:
    enter(federation(role=Role.TEACHER))
    kept = NOW + 180 * DAY - timedelta(seconds=1)
    assert Role.TEACHER in database.read_now(accounts.standing, "jean.dupont", kept).roles
    gone = NOW + 180 * DAY
    assert Role.TEACHER not in database.read_now(accounts.standing, "jean.dupont", gone).roles
    changed, _ = database.read_now(people.standings_since, (gone - DAY).isoformat(), gone)
    assert [standing.name for standing in changed] == ["jean.dupont"]


def test_an_administrator_by_configuration(database, enter) -> None:
    assert enter(federation(), admin=True).roles == {Role.STUDENT, Role.ADMIN}
    assert enter(federation()).roles == {Role.STUDENT}


def test_no_attribute_makes_an_administrator(database, enter, platform) -> None:
    assert Role.ADMIN not in enter(federation(role=Role.ADMIN)).roles
    assert Role.ADMIN not in enter(launch(platform()), admin=True).roles


def test_a_decision_wins_in_both_directions_and_ends(database, enter) -> None:
    enter(federation(role=Role.TEACHER))

    def decide(granted: bool, now, **options) -> None:
        database.write_now(
            accounts.decide, "jean.dupont", Role.TEACHER,
            granted=granted, actor="carol", now=now, **options,
        )  # fmt: skip

    def roles(now):
        return database.read_now(accounts.standing, "jean.dupont", now).roles

    decide(False, NOW, reason="not any more", until=NOW + DAY)
    assert roles(NOW) == {Role.STUDENT}
    assert enter(federation(role=Role.TEACHER), LATER).roles == {Role.STUDENT}
    assert roles(NOW + DAY) == {Role.STUDENT, Role.TEACHER}
    changed, _ = database.read_now(
        people.standings_since, (NOW + timedelta(hours=2)).isoformat(), NOW + DAY
    )
    assert [standing.name for standing in changed] == ["jean.dupont"]
    enter(federation(), LATER)
    decide(True, LATER)
    assert roles(LATER) == {Role.STUDENT, Role.TEACHER}
    database.write_now(accounts.end_decision, "jean.dupont", Role.TEACHER, actor="carol", now=LATER)
    assert roles(LATER) == {Role.STUDENT}
    entry = database.read_now(accounts.history, "jean.dupont")[0]
    assert (entry.action, entry.actor) == ("role-decision-ended", "carol")
    assert code_of(decide, True, LATER, until=NOW) == "invalid"


def test_the_last_administrator_stays(database, enter) -> None:
    enter(federation("a"), admin=True)
    enter(federation("b"))
    change = {"actor": "carol", "now": NOW}

    def decide(name: str, granted: bool) -> None:
        database.write_now(accounts.decide, name, Role.ADMIN, granted=granted, **change)

    assert code_of(decide, "jean.dupont", False) == "last-administrator"
    assert code_of(database.write_now, accounts.block, "jean.dupont", **change) == (
        "last-administrator"
    )
    decide("jean.dupont-2", True)
    decide("jean.dupont", False)
    assert code_of(decide, "jean.dupont-2", False) == "last-administrator"
    ended = code_of(
        database.write_now, accounts.end_decision, "jean.dupont-2", Role.ADMIN, **change
    )
    assert ended == "last-administrator"
    assert Role.ADMIN in database.read_now(accounts.standing, "jean.dupont-2", NOW).roles


def test_two_administrators_who_withdraw_each_other_at_once(database, enter) -> None:
    enter(federation("a"), admin=True)
    enter(federation("b"), admin=True)
    barrier = threading.Barrier(2)

    def withdraw(name: str) -> str:
        barrier.wait()
        try:
            database.write_now(
                accounts.decide, name, Role.ADMIN, granted=False, actor="carol", now=NOW
            )
        except MydockerError as error:
            return error.code
        return ""

    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(withdraw, ["jean.dupont", "jean.dupont-2"]))
    assert found == ["", "last-administrator"]


def test_the_search_finds_whom_the_rules_mean(database, enter) -> None:
    """`accounts._has` and `identity.roles.effective_roles` say the same."""
    soon = NOW + 190 * DAY
    for number in range(24):
        teacher = Role.TEACHER if number % 2 else Role.STUDENT
        when = NOW if number % 3 else soon - DAY
        enter(federation(f"u{number}", role=teacher), when, admin=number % 5 == 0)
    for number in range(1, 25, 4):
        name = "jean.dupont" if number == 1 else f"jean.dupont-{number}"
        for role in accounts.DECIDED_ROLES:
            database.write_now(
                accounts.decide, name, role,
                granted=number % 8 == 1, actor="carol", now=NOW,
                until=soon if number % 3 else soon + DAY,
            )  # fmt: skip
    everybody = database.read_now(accounts.search, soon, limit=200).items
    assert len(everybody) == 24
    seen = set()
    for role in accounts.DECIDED_ROLES:
        for origin in (None, *Origin):
            found = database.read_now(accounts.search, soon, role=role, origin=origin, limit=200)
            expected = [
                line.name
                for line in everybody
                if any(held.role is role and origin in {None, held.origin} for held in line.roles)
            ]
            assert [line.name for line in found.items] == expected
            assert found.total == len(expected)
            if expected:
                seen.add((role, origin))
    assert len(seen) == 6
    students = database.read_now(accounts.search, soon, role=Role.STUDENT, limit=200)
    assert [line.name for line in students.items] == [
        line.name for line in everybody if {held.role for held in line.roles} == {Role.STUDENT}
    ]


def test_searching(database, enter) -> None:
    enter(federation("a", given_name="Élodie", family_name="Martin", mail="em@univ-a.example"))
    enter(federation("b", kinds="se"))
    enter(oidc())

    def found(**asked) -> list[str]:
        return [line.name for line in database.read_now(accounts.search, NOW, **asked).items]

    assert found() == ["elodie.martin", "jean.dupont", "marie.curie"]
    assert (
        found(text="Élodie")
        == found(text="mart elod")
        == found(text="EM@univ")
        == ["elodie.martin"]
    )
    assert found(text="b@univ-a.example") == ["jean.dupont"]
    assert found(text="%") == found(text="nobody") == []
    assert found(offset=1, limit=1) == ["jean.dupont"]
    database.write_now(accounts.block, "marie.curie", actor="carol", now=NOW)
    database.write_now(accounts.join, "jean.dupont", "elodie.martin", "carol", NOW)
    assert found(state="blocked") == ["marie.curie"]
    assert found(state="joined") == ["elodie.martin"]
    assert found() == ["jean.dupont", "marie.curie"]


# --- blocking ------------------------------------------------------------------------------------


def test_blocked_is_out_by_every_door(database, enter) -> None:
    enter(federation())
    enter(oidc(), link_to="jean.dupont")
    _, after = database.read_now(people.standings_since, "", NOW)
    database.write_now(accounts.block, "jean.dupont", actor="carol", now=LATER, reason="spam")
    changed, _ = database.read_now(people.standings_since, after, LATER)
    assert [(one.name, one.blocked) for one in changed] == [("jean.dupont", True)]
    for request in (federation(), oidc()):
        assert code_of(enter, request) == "account-blocked"
    assert code_of(enter, oidc("2"), link_to="jean.dupont") == "account-blocked"
    enter(oidc("3"))
    assert code_of(enter, federation(), link_to="marie.curie") == "account-blocked"
    for keep, close in (("marie.curie", "jean.dupont"), ("jean.dupont", "marie.curie")):
        code = code_of(database.write_now, accounts.join, keep, close, "carol", LATER)
        assert code == "account-blocked"
    database.write_now(accounts.unblock, "jean.dupont", actor="carol", now=LATER)
    assert enter(oidc()).name == "jean.dupont"
    assert code_of(database.write_now, accounts.block, "carol", actor="carol", now=NOW) == (
        "not-allowed"
    )
    assert code_of(database.write_now, accounts.block, "ghost", actor="carol", now=NOW) == (
        "account-unknown"
    )


# --- one person, several doors -------------------------------------------------------------------


def test_adding_a_door(database, enter) -> None:
    enter(federation())
    assert database.read_now(people.look, oidc(), NOW) is None
    linked = enter(oidc(), link_to="jean.dupont")
    assert (linked.name, linked.new, linked.other) == ("jean.dupont", False, "")
    assert enter(oidc()).name == "jean.dupont"
    assert database.read_now(people.look, oidc(), NOW).name == "jean.dupont"
    assert names_of(database) == ["jean.dupont"]
    assert enter(oidc(), link_to="jean.dupont").other == ""  # a second time changes nothing
    assert code_of(enter, oidc("2"), link_to="ghost") == "account-unknown"


def test_a_door_that_leads_elsewhere_joins_nothing_by_itself(database, enter) -> None:
    enter(federation())
    enter(oidc())
    asked = enter(oidc(), link_to="jean.dupont")
    assert (asked.name, asked.other) == ("jean.dupont", "marie.curie")
    assert enter(oidc()).name == "marie.curie"


def test_joining_and_separating(database, enter, add) -> None:
    enter(federation(role=Role.TEACHER))
    enter(oidc())
    add("lab", public=True)
    add("other", public=True)
    key = database.write_now(editing.add_join_link, "lab", BOB, NOW).key
    marie = ALICE.model_copy(update={"name": "marie.curie"})
    jean = ALICE.model_copy(update={"name": "jean.dupont"})
    database.write_now(activity.join, key, marie, NOW)
    database.write_now(
        editing.create_environment,
        make("hers"),
        marie.model_copy(update={"roles": BOB.roles}),
        NOW,
    )
    recipe = Recipe.model_validate({"title": "Image", "base": "example.org/base:1"})
    database.write_now(images.create, "image", recipe, marie, NOW)
    _, after = database.read_now(people.standings_since, "", NOW)
    database.write_now(accounts.join, "jean.dupont", "marie.curie", "carol", LATER)

    assert enter(oidc(), LATER).name == "jean.dupont"
    assert database.read_now(images.find, "image", jean).right == "own"
    changed, _ = database.read_now(people.standings_since, after, LATER)
    assert [(one.name, one.blocked, one.other) for one in changed] == [
        ("jean.dupont", False, ""),
        ("marie.curie", True, "jean.dupont"),
    ]
    assert used(database, jean) == ["lab"]
    assert used(database, marie) == ["lab"]
    assert right(database, "jean.dupont", "hers") == "own"
    assert of(database, "marie.curie").joined_to == "jean.dupont"
    assert of(database, "jean.dupont").joined_from == ("marie.curie",)
    joined = code_of(
        database.write_now, accounts.join, "jean.dupont", "marie.curie", "carol", LATER
    )
    assert joined == "account-joined-already"
    assert code_of(enter, oidc("9"), link_to="marie.curie") == "account-joined-already"

    identity = next(
        one for one in of(database, "jean.dupont").identities if one.provider == "keycloak"
    )
    assert identity.first_account == "marie.curie"
    goal = database.write_now(accounts.separate, identity.id, "carol", LATER)
    assert goal == "marie.curie"
    assert enter(oidc(), LATER).name == "marie.curie"
    assert enter(federation(), LATER).name == "jean.dupont"
    assert used(database, jean) == []
    assert used(database, marie) == ["lab"]
    assert right(database, "jean.dupont", "hers") is None
    assert database.read_now(images.find, "image", jean).right is None
    assert right(database, "marie.curie", "hers") == "own"
    assert code_of(database.write_now, accounts.separate, identity.id, "carol", LATER) == (
        "identity-alone"
    )


def used(database, person) -> list[str]:
    def read(session):
        rows = session.scalars(
            select(EnrolmentRow)
            .join(PersonRow, PersonRow.id == EnrolmentRow.person_id)
            .where(PersonRow.name == person.name)
        )
        return sorted(row.environment_id for row in rows)

    found = database.read_now(read)
    slugs = {line.slug for line in database.read_now(accounts.account, person.name, NOW).used}
    assert len(found) == len(slugs)
    return sorted(slugs)


def right(database, name: str, slug: str) -> str | None:
    from mydocker_hub.store.tables import EnvironmentRow

    return database.read_now(
        lambda session: session.scalar(
            select(RightRow.level)
            .join(PersonRow, PersonRow.id == RightRow.person_id)
            .join(EnvironmentRow, EnvironmentRow.id == RightRow.environment_id)
            .where(PersonRow.name == name, EnvironmentRow.slug == slug)
        )
    )


def test_a_door_that_was_added_gets_an_account_of_its_own(database, enter) -> None:
    enter(federation())
    enter(oidc(), link_to="jean.dupont")
    identity = of(database, "jean.dupont").identities[1]
    assert database.write_now(accounts.separate, identity.id, "carol", NOW) == "marie.curie"
    assert enter(oidc()).name == "marie.curie"
    assert names_of(database) == ["jean.dupont", "marie.curie"]


def test_joining_is_no_way_around_a_withdrawal(database, enter) -> None:
    enter(federation(role=Role.TEACHER))
    database.write_now(
        accounts.decide, "jean.dupont", Role.TEACHER, granted=False, actor="carol", now=NOW
    )
    enter(oidc())
    database.write_now(accounts.join, "marie.curie", "jean.dupont", "marie.curie", LATER)
    assert enter(federation(role=Role.TEACHER), LATER).roles == {Role.STUDENT}
    identity = of(database, "marie.curie").identities[0]
    database.write_now(accounts.separate, identity.id, "carol", LATER)
    assert of(database, "marie.curie").decisions == ()
    assert len(of(database, "jean.dupont").decisions) == 1


def test_joining_and_signing_in_at_once(database, enter) -> None:
    enter(federation())
    enter(oidc())
    barrier = threading.Barrier(4)

    def act(number: int) -> None:
        barrier.wait()
        if number == 0:
            database.write_now(accounts.join, "jean.dupont", "marie.curie", "carol", NOW)
        else:
            enter(oidc())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4)))
    assert enter(oidc()).name == "jean.dupont"


# --- platforms -----------------------------------------------------------------------------------

RULE = JoinRule(issuer=IDP, claim="user_username", scope="univ-a.example")


@pytest.mark.parametrize("federation_first", [True, False])
def test_the_rule_of_a_platform_joins_in_both_directions(
    database, enter, platform, federation_first
) -> None:
    moodle = platform(join_rule=RULE)
    doors = [federation(), launch(moodle)]
    first, second = doors if federation_first else reversed(doors)
    name = enter(first).name
    assert enter(second).name == name
    assert enter(first).name == name
    assert len(names_of(database)) == 1
    assert of(database, name).display_name == "Jean Dupont"  # what the university says


@pytest.mark.parametrize(
    ("rule", "username"),
    [
        (None, "jean"),
        (RULE, "somebody"),
        (RULE, ""),
        (RULE, "jean@other.example"),
        (RULE.model_copy(update={"scope": "other.example"}), "jean"),
        (RULE.model_copy(update={"issuer": "https://idp.other.example"}), "jean"),
        (RULE.model_copy(update={"scope": ""}), "jean"),
        (RULE.model_copy(update={"attribute": "mail"}), "jean"),
    ],
)
@pytest.mark.parametrize("federation_first", [True, False])
def test_what_the_rule_does_not_say_joins_nobody(
    database, enter, platform, rule, username, federation_first
) -> None:
    moodle = platform(join_rule=rule)
    doors = [federation(), launch(moodle, username=username)]
    first, second = doors if federation_first else reversed(doors)
    assert enter(first).name != enter(second).name


def test_a_rule_joins_no_administrator(database, enter, platform) -> None:
    """Whoever runs a platform can sign in there as anybody."""
    moodle = platform(join_rule=RULE)
    mine = enter(federation(), admin=True).name
    standing = enter(launch(moodle))
    assert standing.name != mine
    assert Role.ADMIN not in standing.roles


def test_who_came_first_in_an_administrators_name_is_not_that_administrator(
    database, enter, platform
) -> None:
    """The platform launches as the user name of somebody that the configuration names."""
    moodle = platform(join_rule=RULE)
    forged = enter(launch(moodle, "666", username="jean")).name
    honest = enter(federation(), admin=True)
    assert honest.name != forged
    assert Role.ADMIN in honest.roles
    assert Role.ADMIN not in enter(launch(moodle, "666", username="jean")).roles


def test_who_comes_from_a_platform_too_is_never_an_administrator(database, enter, platform) -> None:
    moodle = platform(join_rule=RULE)
    mine = enter(federation()).name
    assert enter(launch(moodle)).name == mine
    decide = {"granted": True, "actor": "carol", "now": NOW}
    refused = code_of(database.write_now, accounts.decide, mine, Role.ADMIN, **decide)
    assert refused == "administrator-from-platform"
    database.write_now(accounts.decide, mine, Role.TEACHER, **decide)
    assert Role.ADMIN not in enter(federation(), admin=True).roles, "named later"
    found = [one.provider for one in of(database, mine).identities]
    assert found == ["federation", moodle.provider]
    assert Role.ADMIN not in database.read_now(accounts.standing, mine, NOW).roles


def test_an_administrator_gets_no_way_in_from_a_platform(database, enter, platform) -> None:
    moodle = platform()
    mine = enter(federation(), admin=True).name
    asked = launch(moodle).model_copy(update={"link_to": mine})
    assert code_of(enter, asked) == "administrator-from-platform"
    other = enter(launch(moodle)).name
    for pair in ((mine, other), (other, mine)):
        joined = code_of(database.write_now, accounts.join, *pair, "carol", NOW)
        assert joined == "administrator-from-platform"
    assert Role.ADMIN in enter(federation(), admin=True).roles


def test_a_join_leaves_somebody_administrator(database, enter) -> None:
    keep = enter(oidc()).name
    close = enter(federation(), admin=True).name
    withdrawn = {"granted": False, "actor": "carol", "now": NOW}
    database.write_now(accounts.decide, keep, Role.ADMIN, **withdrawn)
    refused = code_of(database.write_now, accounts.join, keep, close, close, NOW)
    assert refused == "last-administrator"
    assert Role.ADMIN in enter(federation(), admin=True).roles


def test_that_the_configuration_names_somebody_is_in_the_history(database, enter) -> None:
    mine = enter(federation(), admin=True).name
    enter(federation())
    history = [
        (entry.action, entry.detail["named"])
        for entry in database.read_now(accounts.history, mine)
        if entry.action == "admin-by-configuration"
    ]
    assert history == [("admin-by-configuration", False), ("admin-by-configuration", True)]


def test_a_rule_joins_one_of_each_door(database, enter, platform) -> None:
    """A user name that the platform gave to somebody else opens nobody's account."""
    moodle = platform(join_rule=RULE)
    mine = enter(federation()).name
    assert enter(launch(moodle, "7")).name == mine
    assert enter(launch(moodle, "8")).name != mine
    assert enter(launch(moodle, "7")).name == mine


def test_a_rule_joins_nobody_whose_name_is_stale(database, enter, platform) -> None:
    moodle = platform(join_rule=RULE)
    mine = enter(federation()).name
    assert enter(launch(moodle), NOW + 200 * DAY).name != mine


def test_a_rule_joins_nobody_who_is_blocked(database, enter, platform) -> None:
    moodle = platform(join_rule=RULE)
    mine = enter(federation()).name
    database.write_now(accounts.block, mine, actor="carol", now=NOW)
    assert code_of(enter, launch(moodle)) == "account-blocked"


def test_closed_platforms_let_nobody_in(database, enter, platform) -> None:
    for status in (PlatformStatus.PENDING, PlatformStatus.DISABLED):
        closed = platform(client_id=status, status=status)
        assert code_of(enter, launch(closed)) == "lti-platform-closed"
    open_ = platform()
    enter(launch(open_))
    other = launch(open_).course.model_copy(update={"platform": open_.id + 1})
    assert code_of(enter, launch(open_), course=other) == "lti-platform-closed"
    ghost = open_.model_copy(update={"id": 999})
    assert code_of(enter, launch(ghost)) == "lti-platform-closed"
    assert code_of(enter, federation(), course=launch(open_).course) == "not-allowed"


def test_another_platform_that_takes_the_issuers_name(database, enter, platform) -> None:
    moodle = platform()
    mine = enter(launch(moodle)).name
    again = platform(client_id="c2")  # a second registration of the same one
    assert enter(launch(again)).name == mine
    false = platform(client_id="c3", jwks_url="https://evil.example/jwks")
    assert code_of(enter, launch(false)) == "sign-in-identifier-reassigned"


def test_teachers_of_a_platform(database, enter, platform) -> None:
    plain = platform(issuer="https://one.example")
    trusted = platform(issuer="https://two.example", teachers=True)
    teacher = {"role": CourseRole.TEACHER}
    assert Role.TEACHER not in enter(launch(plain, **teacher)).roles
    assert Role.TEACHER in enter(launch(trusted, **teacher)).roles
    # what a course says holds in others too, until no course says it
    assert Role.TEACHER in enter(launch(trusted, context="43")).roles
    assert Role.TEACHER not in enter(launch(trusted)).roles
    assert Role.TEACHER not in enter(launch(trusted), role=Role.TEACHER).roles
    standing = enter(launch(trusted, **teacher))
    closed = trusted.model_copy(update={"teachers": False})
    database.write_now(people.platform_changed, closed, LATER)
    assert database.read_now(accounts.standing, standing.name, LATER).roles == {Role.STUDENT}
    changed, _ = database.read_now(people.standings_since, "", LATER)
    assert standing.name in [one.name for one in changed]


def test_a_launch_notes_course_and_environment(database, enter, platform, add) -> None:
    add("lab")
    key = database.write_now(editing.add_join_link, "lab", BOB, NOW).key
    moodle = platform()
    standing = enter(launch(moodle, role=CourseRole.TEACHER, join_key=key))
    enter(launch(moodle, "8", join_key=key))
    enter(launch(moodle, "8", join_key="NoSuchKeyNoSuchKeyNo"), LATER)
    teacher = ALICE.model_copy(update={"name": standing.name})
    (course,) = database.read_now(courses.courses_of, teacher, LATER, 180)
    view = database.read_now(courses.course_for, course.id, teacher, LATER, 180)
    assert view.course.title == "Algebra"
    assert [environment.slug for environment in view.environments] == ["lab"]
    assert [(one.name, one.role) for one in view.participants] == [
        ("jean.d", "teacher"),
        ("jean.d-2", "student"),
    ]
    found = of(database, standing.name)
    assert [(one.title, one.platform) for one in found.courses] == [("Algebra", "Moodle")]


def test_a_link_that_ended_attaches_nothing(database, enter, platform, add) -> None:
    for slug in ("lab", "old", "gone"):
        add(slug)
    key = database.write_now(editing.add_join_link, "lab", BOB, NOW, expires_at=LATER).key
    old = database.write_now(editing.add_join_link, "old", BOB, NOW, expires_at=LATER).key
    gone = database.write_now(editing.add_join_link, "gone", BOB, NOW).key
    database.write_now(editing.revoke_join_link, "gone", gone, BOB, NOW)
    moodle = platform()
    teacher = ALICE.model_copy(
        update={"name": enter(launch(moodle, role=CourseRole.TEACHER, join_key=key)).name}
    )
    enter(launch(moodle, "8", join_key=old), LATER)
    enter(launch(moodle, "8", join_key=gone), LATER)
    (course,) = database.read_now(courses.courses_of, teacher, LATER, 180)
    view = database.read_now(courses.course_for, course.id, teacher, LATER, 180)
    assert [environment.slug for environment in view.environments] == ["lab"]


# --- refusals ------------------------------------------------------------------------------------


def test_refused_sign_ins(database) -> None:
    def note(reference: str, now=NOW) -> None:
        database.write_now(
            accounts.note_refusal,
            code="sign-in-replayed", provider="federation", reference=reference, detail="", now=now,
        )  # fmt: skip

    note("00000001")
    note("00000002", LATER)
    found, total = database.read_now(accounts.refusals)
    assert ([entry.subject for entry in found], total) == (["00000002", "00000001"], 2)
    found, total = database.read_now(accounts.refusals, reference=" 00000001 ")
    assert ([entry.detail["code"] for entry in found], total) == (["sign-in-replayed"], 1)
    note("00000003", NOW + 31 * DAY)
    assert database.read_now(accounts.refusals)[1] == 1


def test_anybody_can_be_refused_but_not_fill_the_disk(database, monkeypatch) -> None:
    monkeypatch.setattr(accounts, "_MOST_REFUSALS_AN_HOUR", 3)
    for number in range(5):
        database.write_now(
            accounts.note_refusal,
            code="internal", provider="", reference=f"{number:08}", detail="", now=NOW,
        )  # fmt: skip
    assert database.read_now(accounts.refusals)[1] == 3


def test_no_secret_of_a_sign_in_is_in_the_audit_log(database, enter) -> None:
    enter(federation(role=Role.TEACHER))
    rows = database.read_now(lambda session: list(session.scalars(select(AuditRow))))
    assert rows
    assert "univ-a.example" not in str([row.detail for row in rows])


def test_carol_of_the_demonstration_can_decide_without_an_identity(database, enter) -> None:
    enter(federation())
    database.write_now(editing.person_row, CAROL, NOW)
    database.write_now(accounts.decide, "carol", Role.TEACHER, granted=True, actor="carol", now=NOW)
    assert of(database, "carol").identities == ()
