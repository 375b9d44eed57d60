"""The part of the REST API for teachers: copies, history, sharing, secrets, people, requests.

The functions before the operations decide who may and then ask the store: pages use them too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from ...domain.access import Right, may_answer, may_edit
from ...domain.environment import (
    Environment,
    FreeVariableName,
    Model,
    PersonName,
    PlainText,
    Slug,
    Status,
    Text,
    Title,
    VariableValue,
)
from ...domain.errors import Conflict, NotFound, Refused
from ...domain.people import Person
from ...hubapi import RunningServer
from ...store import editing, reading, workshop
from ...store.database import Session
from ...store.images import ImageHolder
from ...store.reading import Found
from ...store.workshop import RequestKind
from ...web.operations import Answer, Awaited, Operation
from .api import (
    ApiCall,
    Context,
    check_definition,
    check_slug,
    editable,
    only_teachers,
    owned,
    visible,
)
from .models import EnvironmentDetail, PrintableText

SECRETS_PURPOSE = "environment-secrets"
Message = PlainText


# --- what comes in and goes out ------------------------------------------------------------------


class Holder(Model):
    name: str
    display_name: str
    right: Right


class HolderList(Model):
    items: tuple[Holder, ...]

    @classmethod
    def of(cls, holders: Iterable[workshop.Holder | ImageHolder]) -> HolderList:
        return cls(
            items=tuple(
                Holder(name=one.name, display_name=one.display_name, right=one.right)
                for one in holders
            )
        )


class RightRequest(Model):
    right: Right


class TransferRequest(Model):
    """`keep` is what you may do with it afterwards; without it, nothing."""

    to: PersonName
    keep: Right | None = None


class CopyRequest(Model):
    slug: Slug
    title: Title


class Version(Model):
    version: int
    changed_by: str
    changed_at: datetime


class VersionList(Model):
    items: tuple[Version, ...]


class VersionDetail(Version):
    definition: Environment


class RestoreRequest(Model):
    """`expected_version` is the one that you read: refused (412) if there is a newer one."""

    expected_version: int = Field(ge=1, le=999_999_999, strict=True)


class SecretName(Model):
    name: str
    changed_by: str
    changed_at: datetime


class SecretList(Model):
    items: tuple[SecretName, ...]


class SecretRequest(Model):
    """The value is never read again, but by the servers that start from now on."""

    value: VariableValue = Field(repr=False)


class Secret(SecretRequest):
    """A secret variable; its name is held to what that of any variable is."""

    name: FreeVariableName


class Participant(Model):
    """`left`: they took it off their dashboard; their folder is kept."""

    name: str
    display_name: str
    since: datetime
    last_start_at: datetime | None
    left: bool


class ParticipantList(Model):
    items: tuple[Participant, ...]


class Server(Model):
    """A server of the environment. `version` is the environment's as it was at its start."""

    user: str
    server: str
    state: Literal["starting", "running", "stopping"]
    started: datetime | None
    last_activity: datetime | None
    version: int
    trial: bool


class ServerList(Model):
    items: tuple[Server, ...]


class ServerLog(Model):
    """The last 200 lines that the server wrote, without its secrets."""

    log: str


class AskRequest(Model):
    """`access`: to work on it. `publish`: to have it put into the public catalogue."""

    kind: RequestKind
    message: Message = Field(default="", max_length=2000)


class Asked(Model):
    id: int


class Request(Model):
    """What somebody asks for; open while `answered_at` is null. `version` is the present one."""

    id: int
    kind: RequestKind
    slug: Slug
    title: Text
    status: Status
    version: int
    person: str
    display_name: str
    message: str
    made_at: datetime
    answered_at: datetime | None
    accepted: bool
    answer: str
    answered_by: str


class RequestLists(Model):
    """Open requests that you may answer, and your own, with the answers of the last 30 days."""

    to_answer: tuple[Request, ...]
    sent: tuple[Request, ...]


class AnswerRequest(Model):
    """`right` is what an accepted request for access gives; without it, to view.

    To publish needs `expected_version`, which you looked at: refused (412) if there is a newer one.
    """

    accepted: bool = Field(strict=True)
    text: Message = Field(default="", max_length=2000)
    right: Right | None = None
    expected_version: int | None = Field(default=None, ge=1, le=999_999_999, strict=True)


class ColleagueQuery(Model):
    """The start of a part of a name (three letters at least), or a whole mail address."""

    q: PrintableText = Field(max_length=200)


class Colleague(Model):
    name: str
    display_name: str


class ColleagueList(Model):
    items: tuple[Colleague, ...]


# --- who may, and then do ------------------------------------------------------------------------


def readable(session: Session, slug: str, person: Person) -> Found:
    """An environment whose definition this person may read: it was shared with them."""
    only_teachers(person)
    found = visible(session, slug, person)
    edits = may_edit(person, found.environment, found.standing).allowed
    if not edits and found.standing.right is None:
        raise Refused("not-allowed")
    return found


def restore(
    session: Session, slug: str, person: Person, number: int, expected_version: int, now: datetime
) -> Found:
    """`store.workshop.restore`, within what this person may change."""
    found = editable(session, slug, person)
    if found.version != expected_version:
        raise Conflict("changed-meanwhile")
    again = workshop.restored(session, found, number)
    check_definition(session, person, again, before=found.environment)
    return workshop.restore(session, slug, person, number, expected_version, now)


def duplicate(
    session: Session, slug: str, person: Person, *, new_slug: str, title: Text, now: datetime
) -> Found:
    """`store.workshop.duplicate`, under a name that the workshop has an address for."""
    only_teachers(person)
    check_slug(new_slug)
    return workshop.duplicate(session, slug, person, new_slug=new_slug, title=title, now=now)


def take_right(session: Session, slug: str, person: Person, name: str, now: datetime) -> None:
    """`store.workshop.take_right`, by owners; anybody may give up their own."""
    only_teachers(person)
    (visible if name == person.name else owned)(session, slug, person)
    workshop.take_right(session, slug, person, name, now)


def ask(
    session: Session, slug: str, person: Person, kind: RequestKind, message: str, now: datetime
) -> int:
    """`store.workshop.ask`: its editors propose it, others ask to become one."""
    only_teachers(person)
    (editable if kind == "publish" else visible)(session, slug, person)
    return workshop.ask(session, slug, person, kind, message, now)


def answer(
    session: Session,
    request_id: int,
    person: Person,
    *,
    accepted: bool,
    text: str,
    right: Right | None,
    expected_version: int | None,
    now: datetime,
) -> None:
    """`store.workshop.answer`: by owners for access, by administrators for anything."""
    only_teachers(person)
    asked = workshop.request(session, request_id)
    found = reading.find(session, asked.slug, person)
    if not may_answer(person, asked.kind, found.standing).allowed:
        raise NotFound()
    workshop.answer(
        session,
        request_id,
        person,
        accepted=accepted,
        text=text,
        right=right,
        expected_version=expected_version,
        now=now,
    )


async def servers_of(context: Context, slug: str, person: Person) -> list[RunningServer]:
    """The servers of an environment that start, run or stop, for its editors."""
    only_teachers(person)
    await context.database.read(editable, slug, person)
    return await context.hub_servers.of_environment(slug)


async def stop_servers(
    context: Context, slug: str, person: Person, user: str, now: datetime
) -> None:
    """Stop what somebody runs of an environment. Raises `NotFound` where that is nothing."""
    for server in await _servers_of_user(context, slug, person, user):
        await context.hub_servers.stop(user, server.server, slug)
    await context.database.write(editing.audit, person.name, "server-stopped", slug, now, user=user)


async def server_log(context: Context, slug: str, person: Person, user: str, now: datetime) -> str:
    """What somebody's server of an environment wrote; who read it is in the audit log."""
    servers = await _servers_of_user(context, slug, person, user)
    server = min(servers, key=lambda one: one.trial)  # a trial's only if there is no other
    log = await context.hub_servers.log(user, server.server, slug)
    await context.database.write(
        editing.audit, person.name, "server-log-read", slug, now, user=user
    )
    return log


async def _servers_of_user(
    context: Context, slug: str, person: Person, user: str
) -> list[RunningServer]:
    found = [one for one in await servers_of(context, slug, person) if one.user == user]
    if not found:
        raise NotFound("server-not-running")
    return found


# --- operations ----------------------------------------------------------------------------------


def _copy(session: Session, call: ApiCall) -> Answer:
    asked: CopyRequest = call.body
    found = duplicate(
        session, call.path["slug"], call.me, new_slug=asked.slug, title=asked.title, now=call.now
    )
    return Answer(
        EnvironmentDetail.of(found, call.me),
        version=found.version,
        location=f"../{asked.slug}",
    )


def _versions(session: Session, call: ApiCall) -> Answer:
    found = readable(session, call.path["slug"], call.me)
    return Answer(
        VersionList(
            items=tuple(
                Version(version=one.number, changed_by=one.changed_by, changed_at=one.changed_at)
                for one in workshop.history(session, found.id)
            )
        )
    )


def _version(session: Session, call: ApiCall) -> Answer:
    found = readable(session, call.path["slug"], call.me)
    number = int(call.path["version"])
    definition = workshop.version(session, found.id, number)
    one = next(one for one in workshop.history(session, found.id) if one.number == number)
    return Answer(
        VersionDetail(
            version=number,
            changed_by=one.changed_by,
            changed_at=one.changed_at,
            definition=definition,
        )
    )


def _restore(session: Session, call: ApiCall) -> Answer:
    asked: RestoreRequest = call.body
    number = int(call.path["version"])
    found = restore(session, call.path["slug"], call.me, number, asked.expected_version, call.now)
    return Answer(EnvironmentDetail.of(found, call.me), version=found.version)


def _rights(session: Session, call: ApiCall) -> Answer:
    found = readable(session, call.path["slug"], call.me)
    return Answer(HolderList.of(workshop.rights(session, found.id)))


def _put_right(session: Session, call: ApiCall) -> Answer:
    asked: RightRequest = call.body
    owned(session, call.path["slug"], call.me)
    workshop.give_right(
        session, call.path["slug"], call.me, call.path["user"], asked.right, call.now
    )
    return Answer()


def _take_right(session: Session, call: ApiCall) -> Answer:
    take_right(session, call.path["slug"], call.me, call.path["user"], call.now)
    return Answer()


def _transfer(session: Session, call: ApiCall) -> Answer:
    asked: TransferRequest = call.body
    owned(session, call.path["slug"], call.me)
    workshop.transfer(session, call.path["slug"], call.me, asked.to, asked.keep, call.now)
    return Answer()


def _secrets(session: Session, call: ApiCall) -> Answer:
    found = editable(session, call.path["slug"], call.me)
    return Answer(
        SecretList(
            items=tuple(
                SecretName(name=one.name, changed_by=one.changed_by, changed_at=one.changed_at)
                for one in workshop.secrets(session, found.id)
            )
        )
    )


def _put_secret(session: Session, call: ApiCall) -> Answer:
    asked: SecretRequest = call.body
    editable(session, call.path["slug"], call.me)
    secret = Secret(name=call.path["variable"], value=asked.value)
    workshop.put_secret(
        session,
        call.path["slug"],
        call.me,
        secret.name,
        secret.value,
        call.context.seal(SECRETS_PURPOSE),
        call.now,
    )
    return Answer()


def _delete_secret(session: Session, call: ApiCall) -> Answer:
    slug, variable = call.path["slug"], call.path["variable"]
    editable(session, slug, call.me)
    workshop.delete_secret(session, slug, call.me, variable, call.now)
    return Answer()


def _people(session: Session, call: ApiCall) -> Answer:
    found = editable(session, call.path["slug"], call.me)
    return Answer(
        ParticipantList(
            items=tuple(
                Participant(
                    name=one.name,
                    display_name=one.display_name,
                    since=one.since,
                    last_start_at=one.last_start_at,
                    left=one.left,
                )
                for one in workshop.participants(session, found.id)
            )
        )
    )


async def _servers(call: ApiCall) -> Answer:
    servers = await servers_of(call.context, call.path["slug"], call.me)
    return Answer(
        ServerList(
            items=tuple(
                Server(
                    user=one.user,
                    server=one.server,
                    state=one.state,
                    started=one.started,
                    last_activity=one.last_activity,
                    version=one.version,
                    trial=one.trial,
                )
                for one in servers
            )
        )
    )


async def _stop_servers(call: ApiCall) -> Answer:
    await stop_servers(call.context, call.path["slug"], call.me, call.path["user"], call.now)
    return Answer()


async def _server_log(call: ApiCall) -> Answer:
    user = call.path["user"]
    log = await server_log(call.context, call.path["slug"], call.me, user, call.now)
    return Answer(ServerLog(log=log))


def _ask(session: Session, call: ApiCall) -> Answer:
    asked: AskRequest = call.body
    request_id = ask(session, call.path["slug"], call.me, asked.kind, asked.message, call.now)
    return Answer(Asked(id=request_id))


def _requests(session: Session, call: ApiCall) -> Answer:
    only_teachers(call.me)
    return Answer(
        RequestLists(
            to_answer=tuple(map(_request, workshop.requests(session, call.me))),
            sent=tuple(map(_request, workshop.sent(session, call.me, call.now))),
        )
    )


def _request(one: workshop.Request) -> Request:
    return Request(**vars(one))


def _answer(session: Session, call: ApiCall) -> Answer:
    asked: AnswerRequest = call.body
    answer(
        session,
        int(call.path["request_id"]),
        call.me,
        accepted=asked.accepted,
        text=asked.text,
        right=asked.right,
        expected_version=asked.expected_version,
        now=call.now,
    )
    return Answer()


def _colleagues(session: Session, call: ApiCall) -> Answer:
    only_teachers(call.me)
    asked: ColleagueQuery = call.query
    found = workshop.colleagues(session, asked.q)
    return Answer(
        ColleagueList(
            items=tuple(Colleague(name=one.name, display_name=one.display_name) for one in found)
        )
    )


OPERATIONS: list[Operation] = [
    Operation(
        "POST", "/environments/{slug}/duplicate", "copyEnvironment",
        "Copy an environment into a private draft of your own (teachers).",
        _copy, caller="teacher", body=CopyRequest, returns=EnvironmentDetail,
        status=201, versioned=True, errors=(409,),
    ),
    Operation(
        "GET", "/environments/{slug}/versions", "listVersions",
        "Every change of an environment, the newest first.",
        _versions, caller="teacher", returns=VersionList,
    ),
    Operation(
        "GET", "/environments/{slug}/versions/{version}", "getVersion",
        "An environment as it was.",
        _version, caller="teacher", returns=VersionDetail,
    ),
    Operation(
        "POST", "/environments/{slug}/versions/{version}/restore", "restoreVersion",
        "Make an old version the newest; refused (412) if it changed since you read it.",
        _restore, caller="teacher", body=RestoreRequest, returns=EnvironmentDetail,
        versioned=True, errors=(412,),
    ),
    Operation(
        "GET", "/environments/{slug}/rights", "listRights",
        "With whom an environment is shared.",
        _rights, caller="teacher", returns=HolderList,
    ),
    Operation(
        "PUT", "/environments/{slug}/rights/{user}", "giveRight",
        "Share an environment with a colleague (its owners).",
        _put_right, caller="teacher", body=RightRequest, status=204, errors=(409,),
    ),
    Operation(
        "DELETE", "/environments/{slug}/rights/{user}", "takeRight",
        "Take a right away (owners), or give up your own.",
        _take_right, caller="teacher", status=204, errors=(409,),
    ),
    Operation(
        "POST", "/environments/{slug}/transfer", "transferEnvironment",
        "Give an environment to a colleague (its owners).",
        _transfer, caller="teacher", body=TransferRequest, status=204, errors=(409,),
    ),
    Operation(
        "GET", "/environments/{slug}/secrets", "listSecrets",
        "The names of the secret variables; nobody reads their values.",
        _secrets, caller="teacher", returns=SecretList,
    ),
    Operation(
        "PUT", "/environments/{slug}/secrets/{variable}", "putSecret",
        "Set a secret variable.",
        _put_secret, caller="teacher", body=SecretRequest, status=204,
    ),
    Operation(
        "DELETE", "/environments/{slug}/secrets/{variable}", "deleteSecret",
        "Forget a secret variable.",
        _delete_secret, caller="teacher", status=204, errors=(422,),
    ),
    Operation(
        "GET", "/environments/{slug}/people", "listParticipants",
        "Who is or was enrolled in an environment.",
        _people, caller="teacher", returns=ParticipantList,
    ),
    Operation(
        "GET", "/environments/{slug}/servers", "listServers",
        "Which servers of an environment run now.",
        Awaited(_servers), caller="teacher", returns=ServerList,
    ),
    Operation(
        "DELETE", "/environments/{slug}/servers/{user}", "stopServer",
        "Stop somebody's server of an environment; their files are kept.",
        Awaited(_stop_servers), caller="teacher", status=204,
    ),
    Operation(
        "GET", "/environments/{slug}/servers/{user}/log", "readServerLog",
        "What somebody's server of an environment wrote.",
        Awaited(_server_log), caller="teacher", returns=ServerLog,
    ),
    Operation(
        "POST", "/environments/{slug}/requests", "ask",
        "Ask for a right on an environment, or for the public catalogue.",
        _ask, caller="teacher", body=AskRequest, returns=Asked, status=201,
    ),
    Operation(
        "GET", "/requests", "listRequests",
        "What you may answer, and what you asked for.",
        _requests, caller="teacher", returns=RequestLists,
    ),
    Operation(
        "POST", "/requests/{request_id}", "answerRequest",
        "Answer a request: what is accepted is done at once.",
        _answer, caller="teacher", body=AnswerRequest, status=204, errors=(409, 412, 428),
    ),
    Operation(
        "GET", "/colleagues", "findColleagues",
        "People by the start of a name, or by their whole mail address (teachers).",
        _colleagues, caller="teacher", query=ColleagueQuery, returns=ColleagueList,
    ),
]  # fmt: skip
