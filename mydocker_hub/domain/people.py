"""People and their roles."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Role(StrEnum):
    """What a person may do in the service; inside a server everybody is equal."""

    STUDENT = "student"
    TEACHER = "teacher"
    ADMIN = "admin"


GROUPS: dict[Role, str] = {
    Role.STUDENT: "mydocker-students",
    Role.TEACHER: "mydocker-teachers",
}
"""The hub group of each role. Administrators are the hub's own administrators."""


class Person(BaseModel):
    """Somebody who is signed in; `name` is the hub's user name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=255)
    display_name: str = Field(default="", max_length=255)
    roles: frozenset[Role] = frozenset({Role.STUDENT})

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    @property
    def may_create(self) -> bool:
        """Whether this person may make environments."""
        return bool(self.roles & {Role.TEACHER, Role.ADMIN})


def roles_of(groups: Iterable[str], admin: bool) -> frozenset[Role]:
    """The roles that hub groups and the hub's admin flag give; everybody is at least a student."""
    groups = set(groups)
    roles = {role for role, group in GROUPS.items() if group in groups}
    roles.add(Role.STUDENT)
    if admin:
        roles.add(Role.ADMIN)
    return frozenset(roles)
