"""Roles from groups."""

import pytest
from pydantic import ValidationError

from mydocker_hub.domain.people import GROUPS, Person, Role, roles_of

STUDENTS, TEACHERS = GROUPS[Role.STUDENT], GROUPS[Role.TEACHER]


@pytest.mark.parametrize(
    ("groups", "admin", "roles", "may_create"),
    [
        ([], False, {Role.STUDENT}, False),
        ([STUDENTS], False, {Role.STUDENT}, False),
        ([TEACHERS], False, {Role.STUDENT, Role.TEACHER}, True),
        ([], True, {Role.STUDENT, Role.ADMIN}, True),
        ([STUDENTS, TEACHERS], True, set(Role), True),
        (["teachers", "admin", "mydocker-admins", TEACHERS.upper()], False, {Role.STUDENT}, False),
    ],
)
def test_roles(groups, admin, roles, may_create):
    person = Person(name="alice", roles=roles_of(iter(groups), admin))
    assert person.roles == roles
    assert person.may_create is may_create
    assert person.is_admin is admin


def test_nobody_is_more_than_a_student_by_default():
    assert Person(name="alice").roles == {Role.STUDENT}
    assert not Person(name="alice").may_create


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": ""},
        {"name": "a" * 256},
        {"name": "alice", "roles": ["root"]},
        {"name": "alice", "admin": True},
    ],
)
def test_bad_people(fields):
    with pytest.raises(ValidationError):
        Person.model_validate(fields)


def test_a_person_cannot_be_promoted_in_place():
    person = Person(name="alice")
    with pytest.raises(ValidationError):
        person.roles = frozenset({Role.ADMIN})
