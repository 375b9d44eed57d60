"""What the hub asks of people: sign-ins, whose standing changed, joined accounts, refusals."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from ...domain.environment import Model
from ...identity.claims import Line, SignIn, Standing
from ...store import accounts, people
from ...store.database import Session
from ...web.operations import Answer, Operation
from .api import ApiCall

AccountName = Annotated[Line, Field(min_length=1, max_length=255)]


class Found(Model):
    """Whose account an identity opens; null where it opens none."""

    standing: Standing | None = None


class AccountsToJoin(Model):
    """Two accounts of one person: `close` leads to `keep` then."""

    keep: AccountName
    close: AccountName


class StandingsRequest(Model):
    """`after` is the `next` of the last answer; at first it is empty."""

    after: Annotated[str, StringConstraints(pattern=r"^[0-9T:.+-]*$", max_length=40)] = ""


class StandingList(Model):
    items: tuple[Standing, ...]
    next: str


class Refusal(Model):
    """Somebody was not let in. `reference` is what they tell the support."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z-]+$", max_length=40)]
    provider: Annotated[Line, Field(max_length=200)] = ""
    reference: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
    detail: Annotated[Line, Field(max_length=1000)] = ""


def sign_in(session: Session, call: ApiCall) -> Answer:
    days = call.context.sign_in.role_days
    return Answer(people.sign_in(session, call.body, call.now, role_days=days))


def look_at_sign_in(session: Session, call: ApiCall) -> Answer:
    days = call.context.sign_in.role_days
    return Answer(Found(standing=people.look(session, call.body, call.now, role_days=days)))


def join_accounts(session: Session, call: ApiCall) -> Answer:
    asked: AccountsToJoin = call.body
    days = call.context.sign_in.role_days
    accounts.join(session, asked.keep, asked.close, asked.keep, call.now, role_days=days)
    return Answer(accounts.standing(session, asked.keep, call.now, role_days=days))


def standings(session: Session, call: ApiCall) -> Answer:
    asked: StandingsRequest = call.body
    items, following = people.standings_since(
        session, asked.after, call.now, role_days=call.context.sign_in.role_days
    )
    return Answer(StandingList(items=tuple(items), next=following))


def refused(session: Session, call: ApiCall) -> Answer:
    refusal: Refusal = call.body
    accounts.note_refusal(
        session,
        code=refusal.code,
        provider=refusal.provider,
        reference=refusal.reference,
        detail=refusal.detail,
        now=call.now,
    )
    return Answer()


OPERATIONS: list[Operation] = [
    Operation(
        "POST", "/sign-ins", "signIn",
        "Let somebody in who passed a door.",
        sign_in, caller="hub", body=SignIn, returns=Standing, errors=(404, 409, 412),
    ),
    Operation(
        "POST", "/sign-ins/look", "lookAtSignIn",
        "Whose account an identity opens, changing nothing.",
        look_at_sign_in, caller="hub", body=SignIn, returns=Found,
    ),
    Operation(
        "POST", "/people/join", "joinAccounts",
        "Join two accounts of one person, who showed both doors.",
        join_accounts, caller="hub", body=AccountsToJoin, returns=Standing, errors=(404, 409),
    ),
    Operation(
        "POST", "/standings", "listStandings",
        "Whose standing changed since the last time.",
        standings, caller="hub", body=StandingsRequest, returns=StandingList,
    ),
    Operation(
        "POST", "/refusals", "noteRefusal",
        "Note that somebody was not let in, and why.",
        refused, caller="hub", body=Refusal, status=204,
    ),
]  # fmt: skip
