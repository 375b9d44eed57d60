"""Who may do what, as one table.

Alice is a student. Bob is a teacher and owns the environment. Charlie is a teacher and a stranger
to it, until Bob gives him a right. Carol is an administrator.
"""

import pytest

from mydocker_hub.domain import access
from mydocker_hub.domain.access import Right, Standing
from mydocker_hub.domain.environment import Environment, Interface, Status
from mydocker_hub.domain.errors import NotFound, Refused
from mydocker_hub.domain.people import Person, Role

ALICE = Person(name="alice", roles={Role.STUDENT})
BOB = Person(name="bob", roles={Role.STUDENT, Role.TEACHER})
CHARLIE = Person(name="charlie", roles={Role.STUDENT, Role.TEACHER})
CAROL = Person(name="carol", roles={Role.STUDENT, Role.ADMIN})

WHO = {
    "alice": (ALICE, Standing()),
    "alice, enrolled": (ALICE, Standing(enrolled=True)),
    "alice, may view": (ALICE, Standing(right=Right.VIEW)),
    # a teacher who has become a student keeps what was shared, not the power to change it
    "alice, may edit": (ALICE, Standing(right=Right.EDIT)),
    "alice, owner": (ALICE, Standing(right=Right.OWN)),
    "bob, owner": (BOB, Standing(right=Right.OWN)),
    "charlie": (CHARLIE, Standing()),
    "charlie, enrolled": (CHARLIE, Standing(enrolled=True)),
    "charlie, may view": (CHARLIE, Standing(right=Right.VIEW)),
    "charlie, may edit": (CHARLIE, Standing(right=Right.EDIT)),
    "carol": (CAROL, Standing()),
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
    assert decision == (False, code)
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
