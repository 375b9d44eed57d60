"""Who may see, start and change an environment: one table, read by pages, API and spawner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from .calendar import NOT_ASKED, Opening
from .environment import Environment, Status
from .errors import MydockerError, NotFound, Refused
from .people import Person


class Right(StrEnum):
    """What a colleague was given on an environment; each includes those before."""

    VIEW = "view"
    EDIT = "edit"
    OWN = "own"


_ORDER = list(Right)


@dataclass(frozen=True)
class Standing:
    """How a person stands to an environment: came in by a link? was given a right?

    `enrolled` is also who started what is public; `listed` are those of them who came by a link
    that its maintainers gave: they are on the list of its exams. `invited`: its audience names
    them, a course of theirs, their institution or all teachers. `opening`: whether the sessions in
    the calendar let in (`store.sessions.opened`); until that was asked, they do not.
    """

    enrolled: bool = False
    listed: bool = False
    invited: bool = False
    right: Right | None = None
    opening: Opening = NOT_ASKED

    def has(self, right: Right) -> bool:
        return self.right is not None and _ORDER.index(self.right) >= _ORDER.index(right)


class Decision(NamedTuple):
    """The answer to “may this person…?”; `code` says why not, `next` when they may, if ever."""

    allowed: bool
    code: str = ""
    next: datetime | None = None

    def or_raise(self, environment: Environment) -> None:
        """Raise the refusal with its sentence, if it is one."""
        if not self.allowed:
            raise self.refusal(environment)

    def refusal(self, environment: Environment) -> MydockerError:
        """The refusal as an error with its sentence."""
        if self.code == "environment-unknown":
            return NotFound(self.code, environment=environment.slug)
        if self.code == "not-allowed":
            return Refused(self.code)
        if self.next is not None:
            return Refused(self.code, title=environment.title, when=self.next)
        return Refused(self.code, title=environment.title)


YES = Decision(True)


def may_see(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether the sheet may be shown. What may not be seen does not exist, for that person."""
    if works_on(person, environment, standing):
        return YES
    if standing.enrolled:
        return YES
    if standing.invited and environment.status in {Status.TEST, Status.READY}:
        return YES
    if environment.public and environment.status is Status.READY:
        return YES
    return Decision(False, "environment-unknown")


def may_start(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether a server may be started: the rule for the dashboard, the links and the REST API."""
    uses = may_use(person, environment, standing)
    if not uses.allowed or works_on(person, environment, standing):
        return uses
    opening = standing.opening
    return YES if opening.allowed else Decision(False, opening.code, opening.next)


def may_use(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether a server may be started at some time: `may_start` but for the calendar."""
    sees = may_see(person, environment, standing)
    if not sees.allowed and environment.status is not Status.READY:
        return sees
    if environment.status is Status.ARCHIVED:
        return Decision(False, "environment-archived")
    if works_on(person, environment, standing):
        return YES
    if environment.status is Status.DRAFT:
        return Decision(False, "environment-draft")
    if standing.enrolled or standing.invited:
        return YES
    if environment.public and environment.status is Status.READY:
        return YES
    return sees


def works_on(person: Person, environment: Environment, standing: Standing) -> bool:
    """Whether somebody edits an environment or was shown it: sessions do not bind them."""
    return may_edit(person, environment, standing).allowed or standing.has(Right.VIEW)


def is_shown(person: Person, environment: Environment, standing: Standing) -> bool:
    """Whether an environment of theirs is on a person's dashboard now."""
    return standing.opening.shown or works_on(person, environment, standing)


def may_join(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether a valid join link lets this person in: everybody, once it can be started.

    Also outside sessions: who comes early is enrolled, and told when it opens.
    """
    return may_use(person, environment, replace(standing, enrolled=True))


def may_edit(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether the definition and its join links may be changed."""
    if person.is_admin:
        return YES
    if person.may_create and standing.has(Right.EDIT):
        return YES
    return Decision(False, "not-allowed")


def may_copy(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether the definition may be taken over into an environment of one's own.

    For teachers: what was shared with them, and the public catalogue, of which whoever starts it
    sees everything anyway. An invitation lets in, and gives nothing away.
    """
    if not person.may_create:
        return Decision(False, "not-allowed")
    if works_on(person, environment, standing):
        return YES
    if environment.public and environment.status is Status.READY:
        return YES
    sees = may_see(person, environment, standing)
    return Decision(False, "not-allowed") if sees.allowed else sees


def may_try(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether it may be started beside one's own folder, as a new student would get it.

    For the teachers who work on it or were shown it; what may not be started is not tried either.
    """
    if not person.may_create:
        return Decision(False, "not-allowed")
    uses = may_use(person, environment, standing)
    if uses.allowed and not works_on(person, environment, standing):
        return Decision(False, "not-allowed")
    return uses


def may_delete(person: Person, environment: Environment, standing: Standing) -> Decision:
    """Whether the environment may be deleted or given away."""
    if person.is_admin or (person.may_create and standing.has(Right.OWN)):
        return YES
    return Decision(False, "not-allowed")


def may_answer(person: Person, kind: Literal["access", "publish"], standing: Standing) -> Decision:
    """Whether a request may be answered: owners give access, administrators publish."""
    if person.is_admin:
        return YES
    if kind == "access" and person.may_create and standing.has(Right.OWN):
        return YES
    return Decision(False, "not-allowed")
