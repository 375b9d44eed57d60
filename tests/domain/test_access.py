"""Who may do what, as one table.

Alice is a student. Bob is a teacher and owns the environment. Charlie is a teacher and a stranger
to it, until Bob gives him a right. Carol is an administrator.
"""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mydocker_hub.domain import access
from mydocker_hub.domain.access import Right, Standing
from mydocker_hub.domain.calendar import ALWAYS_OPEN, Opening
from mydocker_hub.domain.environment import Environment, Interface, Status
from mydocker_hub.domain.errors import NotFound, Refused
from mydocker_hub.domain.people import Person, Role

ALICE = Person(name="alice", roles={Role.STUDENT})
BOB = Person(name="bob", roles={Role.STUDENT, Role.TEACHER})
CHARLIE = Person(name="charlie", roles={Role.STUDENT, Role.TEACHER})
CAROL = Person(name="carol", roles={Role.STUDENT, Role.ADMIN})

OPEN = Standing(opening=ALWAYS_OPEN)
WHO = {
    "alice": (ALICE, OPEN),
    "alice, enrolled": (ALICE, Standing(opening=ALWAYS_OPEN, enrolled=True)),
    "alice, may view": (ALICE, Standing(opening=ALWAYS_OPEN, right=Right.VIEW)),
    # a teacher who has become a student keeps what was shared, not the power to change it
    "alice, may edit": (ALICE, Standing(opening=ALWAYS_OPEN, right=Right.EDIT)),
    "alice, owner": (ALICE, Standing(opening=ALWAYS_OPEN, right=Right.OWN)),
    "bob, owner": (BOB, Standing(opening=ALWAYS_OPEN, right=Right.OWN)),
    "charlie": (CHARLIE, OPEN),
    "charlie, enrolled": (CHARLIE, Standing(opening=ALWAYS_OPEN, enrolled=True)),
    "charlie, may view": (CHARLIE, Standing(opening=ALWAYS_OPEN, right=Right.VIEW)),
    "charlie, may edit": (CHARLIE, Standing(opening=ALWAYS_OPEN, right=Right.EDIT)),
    "carol": (CAROL, OPEN),
}

QUESTIONS = {
    "S": access.may_see,
    "s": access.may_start,
    "j": access.may_join,
    "e": access.may_edit,
    "d": access.may_delete,
    "c": access.may_copy,
}

# S see the sheet, s start, j come in by a valid join link, e edit, d delete or give away, c copy.
NOT_LISTED = """
                  | draft  | test   | ready  | archived
alice             | ------ | --j--- | --j--- | ------
alice, enrolled   | S----- | Ssj--- | Ssj--- | S-----
alice, may view   | Ssj--- | Ssj--- | Ssj--- | S-----
alice, may edit   | Ssj--- | Ssj--- | Ssj--- | S-----
alice, owner      | Ssj--- | Ssj--- | Ssj--- | S-----
bob, owner        | Ssjedc | Ssjedc | Ssjedc | S--edc
charlie           | ------ | --j--- | --j--- | ------
charlie, enrolled | S----- | Ssj--- | Ssj--- | S-----
charlie, may view | Ssj--c | Ssj--c | Ssj--c | S----c
charlie, may edit | Ssje-c | Ssje-c | Ssje-c | S--e-c
carol             | Ssjedc | Ssjedc | Ssjedc | S--edc
"""

# Listed publicly: strangers see and start it, once it is ready; else the same.
PUBLIC = """
                  | draft  | test   | ready  | archived
alice             | ------ | --j--- | Ssj--- | ------
alice, enrolled   | S----- | Ssj--- | Ssj--- | S-----
alice, may view   | Ssj--- | Ssj--- | Ssj--- | S-----
alice, may edit   | Ssj--- | Ssj--- | Ssj--- | S-----
alice, owner      | Ssj--- | Ssj--- | Ssj--- | S-----
bob, owner        | Ssjedc | Ssjedc | Ssjedc | S--edc
charlie           | ------ | --j--- | Ssj--c | ------
charlie, enrolled | S----- | Ssj--- | Ssj--c | S-----
charlie, may view | Ssj--c | Ssj--c | Ssj--c | S----c
charlie, may edit | Ssje-c | Ssje-c | Ssje-c | S--e-c
carol             | Ssjedc | Ssjedc | Ssjedc | S--edc
"""


def cases():
    for public, table in ((False, NOT_LISTED), (True, PUBLIC)):
        header, *rows = [
            [cell.strip() for cell in line.split("|")] for line in table.strip("\n").splitlines()
        ]
        assert [row[0] for row in rows] == list(WHO)
        assert header[1:] == list(Status)
        for who, *cells in rows:
            for status, allowed in zip(Status, cells, strict=True):
                yield pytest.param(who, status, public, allowed, id=f"{who}-{status}-{public}")


def environment(status, public=False):
    return Environment(
        slug="julia",
        title="Julia",
        image="julia",
        interfaces=[Interface(name="lab", title="Lab")],
        status=status,
        public=public,
    )


@pytest.mark.parametrize(("who", "status", "public", "allowed"), list(cases()))
def test_the_table(who, status, public, allowed):
    person, standing = WHO[who]
    subject = environment(status, public)
    answers = {
        letter: question(person, subject, standing) for letter, question in QUESTIONS.items()
    }
    said = "".join(letter if answer.allowed else "-" for letter, answer in answers.items())
    assert said == allowed
    for answer in answers.values():
        assert answer.allowed is (answer.code == "")  # a refusal always says why


@pytest.mark.parametrize(
    ("who", "status", "question", "code"),
    [
        ("alice", Status.DRAFT, "S", "environment-unknown"),
        ("alice", Status.READY, "s", "environment-unknown"),
        ("alice", Status.TEST, "s", "environment-unknown"),
        # what one may not see, one does not learn to be archived
        ("alice", Status.ARCHIVED, "s", "environment-unknown"),
        ("alice", Status.DRAFT, "j", "environment-draft"),
        ("alice", Status.ARCHIVED, "j", "environment-archived"),
        ("alice, enrolled", Status.DRAFT, "s", "environment-draft"),
        ("alice, enrolled", Status.ARCHIVED, "s", "environment-archived"),
        ("bob, owner", Status.ARCHIVED, "s", "environment-archived"),
        ("carol", Status.ARCHIVED, "j", "environment-archived"),
        ("alice, enrolled", Status.READY, "e", "not-allowed"),
        ("charlie, may edit", Status.READY, "d", "not-allowed"),
        ("alice, may view", Status.READY, "c", "not-allowed"),
        ("charlie, enrolled", Status.READY, "c", "not-allowed"),
        ("charlie", Status.READY, "c", "environment-unknown"),
    ],
)
def test_refusals_say_why(who, status, question, code):
    person, standing = WHO[who]
    subject = environment(status)
    decision = QUESTIONS[question](person, subject, standing)
    assert decision == (False, code, None)
    with pytest.raises(NotFound if code == "environment-unknown" else Refused) as refused:
        decision.or_raise(subject)
    assert refused.value.code == code
    assert refused.value.sentence % refused.value.params


@pytest.mark.parametrize(
    ("who", "access_", "publish"),
    [
        ("alice, owner", False, False),
        ("bob, owner", True, False),
        ("charlie, may edit", False, False),
        ("carol", True, True),
    ],
)
def test_who_answers_requests(who, access_, publish):
    person, standing = WHO[who]
    assert access.may_answer(person, "access", standing).allowed is access_
    assert access.may_answer(person, "publish", standing).allowed is publish


def test_a_yes_raises_nothing():
    access.may_see(CAROL, environment(Status.DRAFT), Standing()).or_raise(environment("draft"))


def test_rights_include_those_before():
    rights = list(Right)
    for given, right in enumerate(rights):
        standing = Standing(right=right)
        assert [standing.has(other) for other in rights] == [n <= given for n in range(3)]
    assert not any(Standing(enrolled=True).has(right) for right in rights)


CLOSED = Opening(False, "session-closed", next=datetime(2027, 1, 18, 7, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    ("who", "bound"),
    [
        ("alice, enrolled", True),
        ("charlie, enrolled", True),
        ("alice, may view", False),
        ("charlie, may view", False),
        ("bob, owner", False),
        ("carol", False),
    ],
)
def test_sessions_bind_those_who_do_not_work_on_it(who, bound):
    person, standing = WHO[who]
    standing = replace(standing, opening=CLOSED)
    subject = environment(Status.READY, public=True)
    decision = access.may_start(person, subject, standing)
    assert decision == ((False, "session-closed", CLOSED.next) if bound else access.YES)
    if bound:
        with pytest.raises(Refused) as refused:
            decision.or_raise(subject)
        assert refused.value.params["when"] == CLOSED.next
        words = {"day_and_time": "Monday"}  # of the translator: tests/web/test_i18n.py
        assert refused.value.sentence % {**refused.value.params, **words}


def test_who_comes_early_by_a_link_is_enrolled_and_starts_later():
    subject = environment(Status.READY)
    standing = Standing(opening=CLOSED)
    assert access.may_join(ALICE, subject, standing).allowed
    enrolled = replace(standing, enrolled=True)
    assert access.may_start(ALICE, subject, enrolled).code == "session-closed"


def test_nobody_starts_before_the_calendar_was_asked():
    subject = environment(Status.READY, public=True)
    assert access.may_start(ALICE, subject, Standing(enrolled=True)).code == "session-none"
    assert access.may_start(BOB, subject, Standing(right=Right.VIEW)).allowed


def test_what_is_outside_its_sessions_is_on_the_dashboards_of_who_works_on_it():
    hidden = Opening(True, shown=False)
    subject = environment(Status.READY, public=True)
    assert not access.is_shown(ALICE, subject, Standing(enrolled=True, opening=hidden))
    assert access.is_shown(BOB, subject, Standing(right=Right.OWN, opening=hidden))
    assert access.is_shown(ALICE, subject, Standing(enrolled=True, opening=CLOSED))
