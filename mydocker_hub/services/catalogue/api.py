"""The catalogue's REST API: one table, one small function for each line of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import SecretStr

from ...domain import names
from ...domain.access import Standing, is_shown, may_delete, may_edit, may_see, may_start
from ...domain.calendar import DEFAULT_SITE, Site
from ...domain.culling import SiteLimits
from ...domain.environment import Audience, ComputeType, Environment, JoinLink
from ...domain.errors import Conflict, Invalid, Refused
from ...domain.images import BaseImage
from ...domain.launch import LaunchPlan, Place, entrances, main_prefix
from ...domain.people import Person
from ...hubapi import HubServers
from ...identity.settings import SignInSettings
from ...seal import Seal
from ...store import activity, editing, reading, sessions, workshop
from ...store.database import Database, Session
from ...store.reading import Found
from ...web.operations import Answer, Awaited, Call, Operation
from ...web.service import HubAddresses
from .models import (
    Choice,
    ChoiceList,
    ComputeTypeList,
    EnvironmentDetail,
    EnvironmentList,
    EnvironmentQuery,
    EnvironmentSummary,
    FolderReport,
    JoinAnswer,
    JoinLinkList,
    JoinLinkRequest,
    LaunchEnd,
    LaunchNotice,
    LaunchRequest,
    PersonRequest,
)

RESERVED_SLUGS = frozenset({"new", "preview"})
"""Addresses of the workshop that are no environments."""

if TYPE_CHECKING:
    from ...builderapi import BuilderApi
    from ...filestore import FileStore


@dataclass(frozen=True)
class Context:
    """What the operations need beside the database session: whose hub this is, and where."""

    database: Database
    hub: str
    addresses: HubAddresses
    public_url: str = ""
    wildcard_url: str = ""
    sign_in: SignInSettings = field(default_factory=SignInSettings)
    hub_api_url: str = ""
    secret: str = field(default="", repr=False)
    files: FileStore | None = None  # none: no folder was named for what images are made of
    base_images: tuple[BaseImage, ...] = ()
    builder: BuilderApi | None = None
    sessions: Site = DEFAULT_SITE
    limits: SiteLimits = field(default_factory=SiteLimits)
    languages: dict[str, str] = field(default_factory=dict)  # by user name, as they are stored

    def seal(self, purpose: str) -> Seal:
        """Seals what lies in a column that nobody who reads the database may understand."""
        return Seal(self.secret, purpose)

    @property
    def hub_servers(self) -> HubServers:
        """Everybody's servers of an environment: ask only for who may edit it."""
        return HubServers(self.hub_api_url, self.secret)


ApiCall = Call[Context]


def landing(addresses: HubAddresses, person: Person, environment: Environment) -> str:
    """Where a person goes once their server is ready: its only interface, or the choice."""
    found = entrances(environment)
    if len(found) > 1:
        return f"{addresses.service_prefix}open/{environment.slug}"
    return addresses.server(person.name, names.server_name(environment.slug)) + found[0].path


def visible(session: Session, slug: str, person: Person) -> Found:
    """An environment that the person may see; any other one does not exist for them."""
    found = reading.find(session, slug, person)
    may_see(person, found.environment, found.standing).or_raise(found.environment)
    return found


def editable(session: Session, slug: str, person: Person) -> Found:
    only_teachers(person)
    found = visible(session, slug, person)
    may_edit(person, found.environment, found.standing).or_raise(found.environment)
    return found


def owned(session: Session, slug: str, person: Person) -> Found:
    """An environment that the person may delete, share and give away."""
    only_teachers(person)
    found = visible(session, slug, person)
    may_delete(person, found.environment, found.standing).or_raise(found.environment)
    return found


def only_teachers(person: Person) -> None:
    """Refuse students, before anything is looked up: what there is, is none of their business."""
    if not person.may_create:
        raise Refused("not-allowed")


def create(session: Session, person: Person, environment: Environment, now: datetime) -> Found:
    """Make an environment for its teacher, within what teachers may."""
    only_teachers(person)
    check_slug(environment.slug)
    check_definition(session, person, environment, before=None)
    return editing.create_environment(session, environment, person, now)


def check_slug(slug: str) -> None:
    """Refuse what could not be reached. Raises `Invalid`."""
    if slug in RESERVED_SLUGS:
        raise Invalid(problems=[("slug", "this name is taken: choose another one")])


def replace(
    session: Session, person: Person, environment: Environment, expected_version: int, now: datetime
) -> Found:
    """Replace a definition, within what this person may."""
    before = editable(session, environment.slug, person)
    if before.version != expected_version:  # what is checked is what is replaced
        raise Conflict("changed-meanwhile")
    check_definition(session, person, environment, before=before.environment)
    return editing.update_environment(session, environment, person, expected_version, now)


async def delete(
    context: Context, slug: str, person: Person, expected_version: int, now: datetime
) -> None:
    """Remove an environment of which no server runs; personal folders are kept.

    Raises `Conflict` with how many run, and if somebody changed the environment meanwhile.
    """
    found = await context.database.read(owned, slug, person)
    if found.version != expected_version:
        raise Conflict("changed-meanwhile")
    running = await context.hub_servers.of_environment(slug)
    if running:
        raise Conflict("servers-running", title=found.environment.title, count=len(running))
    await context.database.write(_delete_owned, slug, person, expected_version, now)


def _delete_owned(
    session: Session, slug: str, person: Person, expected_version: int, now: datetime
) -> None:
    owned(session, slug, person)  # the right may be gone since the hub was asked
    editing.delete_environment(session, slug, person, expected_version, now)


# --- for people ----------------------------------------------------------------------------------


def list_environments(session: Session, call: ApiCall) -> Answer:
    query: EnvironmentQuery = call.query
    page = workshop.listing(
        session,
        call.me,
        show=query.show,
        status=query.status,
        text=query.q,
        tag=query.tag or "",
        sort=query.sort,
        offset=query.offset,
        limit=query.limit,
    )
    return Answer(
        EnvironmentList(
            items=tuple(
                EnvironmentSummary.of(found, call.me)
                for found in _opened(session, call, page.items)
            ),
            total=page.total,
            offset=query.offset,
            limit=query.limit,
        )
    )


def create_environment(session: Session, call: ApiCall) -> Answer:
    environment: Environment = call.body
    found = create(session, call.me, environment, call.now)
    return Answer(
        EnvironmentDetail.of(found, call.me),
        version=found.version,
        location=f"environments/{environment.slug}",
    )


def get_environment(session: Session, call: ApiCall) -> Answer:
    [found] = _opened(session, call, [visible(session, call.path["slug"], call.me)])
    return Answer(EnvironmentDetail.of(found, call.me), version=found.version)


def put_environment(session: Session, call: ApiCall) -> Answer:
    environment: Environment = call.body
    editable(session, call.path["slug"], call.me)
    if environment.slug != call.path["slug"]:
        raise Invalid(problems=[("slug", "the name of an environment never changes")])
    found = replace(session, call.me, environment, call.expected_version(), call.now)
    return Answer(EnvironmentDetail.of(found, call.me), version=found.version)


async def delete_environment(call: ApiCall) -> Answer:
    await delete(call.context, call.path["slug"], call.me, call.expected_version(), call.now)
    return Answer()


def _opened(session: Session, call: ApiCall, found: Iterable[Found]) -> list[Found]:
    return sessions.opened(session, found, call.now, call.context.sessions)


def list_join_links(session: Session, call: ApiCall) -> Answer:
    found = editable(session, call.path["slug"], call.me)
    return Answer(JoinLinkList(items=tuple(reading.join_links(session, found.id))))


def add_join_link(session: Session, call: ApiCall) -> Answer:
    editable(session, call.path["slug"], call.me)
    request: JoinLinkRequest = call.body
    link = editing.add_join_link(
        session,
        call.path["slug"],
        call.me,
        call.now,
        label=request.label,
        expires_at=request.expires_at,
    )
    return Answer(link)


def revoke_join_link(session: Session, call: ApiCall) -> Answer:
    editable(session, call.path["slug"], call.me)
    editing.revoke_join_link(session, call.path["slug"], call.path["key"], call.me, call.now)
    return Answer()


def my_environments(session: Session, call: ApiCall) -> Answer:
    items = tuple(
        EnvironmentSummary.of(found, call.me)
        for found in _opened(session, call, reading.used_by(session, call.me))
        if is_shown(call.me, found.environment, found.standing)
    )
    return Answer(EnvironmentList(items=items, total=len(items), offset=0, limit=len(items)))


def leave(session: Session, call: ApiCall) -> Answer:
    activity.leave(session, call.path["slug"], call.me, call.now)
    return Answer()


def list_compute_types(session: Session, call: ApiCall) -> Answer:
    only_teachers(call.me)
    return Answer(ComputeTypeList(items=tuple(reading.compute_types(session))))


def put_compute_type(session: Session, call: ApiCall) -> Answer:
    _only_admins(call)
    compute_type: ComputeType = call.body
    if compute_type.slug != call.path["slug"]:
        raise Invalid(problems=[("slug", "write the name that is in the address")])
    editing.put_compute_type(session, compute_type, call.me, call.now)
    return Answer(compute_type)


def delete_compute_type(session: Session, call: ApiCall) -> Answer:
    _only_admins(call)
    editing.delete_compute_type(session, call.path["slug"], call.me, call.now)
    return Answer()


def _only_admins(call: ApiCall) -> None:
    if not call.me.is_admin:
        raise Refused("not-allowed")


_WHAT_RUNS = (
    *("image", "command", "variables", "interfaces", "resources", "storage"),
    *("content", "audience"),
)


def check_definition(
    session: Session, person: Person, after: Environment, before: Environment | None
) -> None:
    """Whether this person may make `after` out of `before`. Raises `Invalid` with the fields."""
    _may_publish(person, after, before)
    _check_image(session, person, after.image, before.image if before else "")
    _check_audience(session, person, after.audience, before.audience if before else Audience())


def _may_publish(person: Person, after: Environment, before: Environment | None) -> None:
    """Only administrators decide what is in the public catalogue, and what runs from there.

    Otherwise a harmless environment, once public, could be given another image, which everybody
    would start with their own folder: whoever used it, also after it was taken out.
    """
    was_public = before is not None and before.public
    if person.is_admin or not (after.public or was_public):
        return
    if before is None or not was_public:
        raise Invalid(
            problems=[("public", "ask an administrator to put it into the public catalogue")]
        )
    if not after.public:
        raise Invalid(
            problems=[("public", "ask an administrator to take it out of the public catalogue")]
        )
    for name in _WHAT_RUNS:
        if getattr(after, name) != getattr(before, name):
            raise Invalid(
                problems=[(name, "ask an administrator: everybody may start this environment")]
            )


def _check_image(session: Session, person: Person, after: str, before: str) -> None:
    """A colleague's image that was not shared is nobody else's to start, and to look into.

    Only where it is new: an editor may keep what a colleague chose.
    """
    if after != before and workshop.hides_image(session, person, after):
        raise Invalid(
            problems=[("image", "a colleague made this image here: ask them to share it with you")]
        )


def _check_audience(session: Session, person: Person, after: Audience, before: Audience) -> None:
    """Teachers name courses and institutions of their own, administrators any; people are known.

    Only of what is new: an editor may keep whom a colleague named.
    """
    problems = []
    people = [name for name in after.people if name not in before.people]
    for name in workshop.unknown_people(session, people):
        problems.append(("audience.people", f"nobody is known as “{name}” here: leave it out"))
    courses = set(after.courses) - set(before.courses)
    if courses:
        courses -= {course.id for course in workshop.courses(session, person)}
    for course in sorted(courses):
        problems.append(("audience.courses", f"you do not teach in course {course}: leave it out"))
    institutions = set(after.institutions) - set(before.institutions)
    if institutions and not person.is_admin:
        institutions -= set(workshop.institutions(session, person))
        for domain in sorted(institutions):
            problems.append(
                ("audience.institutions", f"you are not of “{domain}”: ask an administrator")
            )
    if problems:
        raise Invalid(problems=problems)


# --- for the hub ---------------------------------------------------------------------------------


def launch(session: Session, call: ApiCall) -> Answer:
    request: LaunchRequest = call.body
    plan = activity.begin_launch(
        session,
        person=request.person,
        environment=request.environment,
        server=request.server,
        place=Place(
            base_url=request.base_url,
            public_url=call.context.public_url,
            wildcard_url=call.context.wildcard_url,
            label=names.origin_label(call.context.hub, request.person.name, request.server),
        ),
        hub=call.context.hub,
        secret=SecretStr(secrets.token_urlsafe(32)),
        seal=call.context.seal("environment-secrets"),
        now=call.now,
        site=call.context.sessions,
    )
    return Answer(plan)


def launch_ready(session: Session, call: ApiCall) -> Answer:
    activity.mark_ready(session, int(call.path["launch_id"]), call.now)
    return Answer()


def launch_notice(session: Session, call: ApiCall) -> Answer:
    notice: LaunchNotice = call.body
    activity.mark_notice(session, int(call.path["launch_id"]), notice.code, call.now)
    return Answer()


def launch_ended(session: Session, call: ApiCall) -> Answer:
    end: LaunchEnd = call.body
    activity.mark_ended(
        session,
        int(call.path["launch_id"]),
        end.code,
        end.model_dump(mode="json")["params"],
        call.now,
    )
    return Answer()


def look_at_join_link(session: Session, call: ApiCall) -> Answer:
    person = call.body.person
    found = activity.look_at_join_link(session, call.path["key"], person, call.now)
    return Answer(_join_answer(call, found, new=not found.standing.enrolled))


def join(session: Session, call: ApiCall) -> Answer:
    person = call.body.person
    before = activity.look_at_join_link(session, call.path["key"], person, call.now)
    found = activity.join(session, call.path["key"], person, call.now)
    return Answer(_join_answer(call, found, new=not before.standing.enrolled))


def choices(session: Session, call: ApiCall) -> Answer:
    person = call.body.person
    return Answer(
        ChoiceList(
            items=tuple(
                _choice(found)
                for found in _opened(session, call, reading.startable_by(session, person))
                if may_start(person, found.environment, found.standing).allowed
            )
        )
    )


def folder(session: Session, call: ApiCall) -> Answer:
    report: FolderReport = call.body
    activity.mark_folder(session, call.path["volume"], report.user, report.node, call.now)
    return Answer()


def _join_answer(call: ApiCall, found: Found, *, new: bool) -> JoinAnswer:
    environment = found.environment
    return JoinAnswer(
        environment=environment.slug,
        title=environment.title,
        icon=environment.icon,
        sheet=environment.sheet,
        server=names.server_name(environment.slug),
        landing=landing(call.context.addresses, call.body.person, environment),
        main_prefix=main_prefix(environment),
        new=new,
    )


def _choice(found: Found) -> Choice:
    environment = found.environment
    return Choice(
        environment=environment.slug,
        server=names.server_name(environment.slug),
        title=environment.title,
        icon=environment.icon,
        sheet=environment.sheet,
        resources=environment.resources,
        storage=environment.storage,
        lifetime=environment.lifetime,
        used=found.standing != Standing(opening=found.standing.opening),
    )


OPERATIONS: list[Operation] = [
    Operation(
        "GET", "/environments", "listEnvironments",
        "The environments that you may see.",
        list_environments, query=EnvironmentQuery, returns=EnvironmentList,
    ),
    Operation(
        "POST", "/environments", "createEnvironment",
        "Make an environment (teachers); it is yours.",
        create_environment, caller="teacher", body=Environment, returns=EnvironmentDetail,
        status=201, versioned=True, errors=(409,),
    ),
    Operation(
        "GET", "/environments/{slug}", "getEnvironment",
        "One environment; with its definition for the people who work on it.",
        get_environment, returns=EnvironmentDetail, versioned=True,
    ),
    Operation(
        "PUT", "/environments/{slug}", "replaceEnvironment",
        "Replace a definition; refused (412) if it changed since you read it.",
        put_environment, caller="teacher", body=Environment, returns=EnvironmentDetail,
        versioned=True,
    ),
    Operation(
        "DELETE", "/environments/{slug}", "deleteEnvironment",
        "Remove an environment of which no server runs; personal folders are kept.",
        Awaited(delete_environment), caller="teacher", status=204, versioned=True, errors=(409,),
    ),
    Operation(
        "GET", "/environments/{slug}/join-links", "listJoinLinks",
        "The invitations to an environment, for the people who work on it.",
        list_join_links, caller="teacher", returns=JoinLinkList,
    ),
    Operation(
        "POST", "/environments/{slug}/join-links", "addJoinLink",
        "Make an invitation.",
        add_join_link, caller="teacher", body=JoinLinkRequest, returns=JoinLink, status=201,
    ),
    Operation(
        "DELETE", "/environments/{slug}/join-links/{key}", "revokeJoinLink",
        "Withdraw an invitation; who came in by it stays.",
        revoke_join_link, caller="teacher", status=204, errors=(410,),
    ),
    Operation(
        "GET", "/me/environments", "listMyEnvironments",
        "What is on your dashboard, the last used first.",
        my_environments, returns=EnvironmentList,
    ),
    Operation(
        "DELETE", "/me/environments/{slug}", "leaveEnvironment",
        "Take an environment off your dashboard; your folder is kept.",
        leave, status=204,
    ),
    Operation(
        "GET", "/compute-types", "listComputeTypes",
        "Where servers may run (teachers).",
        list_compute_types, caller="teacher", returns=ComputeTypeList,
    ),
    Operation(
        "PUT", "/compute-types/{slug}", "putComputeType",
        "Add or replace a compute type (administrators).",
        put_compute_type, caller="teacher", body=ComputeType, returns=ComputeType,
    ),
    Operation(
        "DELETE", "/compute-types/{slug}", "deleteComputeType",
        "Remove a compute type that no environment uses (administrators).",
        delete_compute_type, caller="teacher", status=204, errors=(409,),
    ),
    Operation(
        "POST", "/launches", "launch",
        "Decide on a start and say how.",
        launch, caller="hub", body=LaunchRequest, returns=LaunchPlan, errors=(404, 409, 501),
    ),
    Operation(
        "POST", "/launches/{launch_id}/ready", "launchReady",
        "A server is ready.",
        launch_ready, caller="hub", status=204,
    ),
    Operation(
        "POST", "/launches/{launch_id}/notice", "launchNotice",
        "Something that its person should know of a server that goes on running.",
        launch_notice, caller="hub", body=LaunchNotice, status=204,
    ),
    Operation(
        "POST", "/launches/{launch_id}/ended", "launchEnded",
        "A server ended, or never became ready.",
        launch_ended, caller="hub", body=LaunchEnd, status=204,
    ),
    Operation(
        "POST", "/join-links/{key}/look", "lookAtJoinLink",
        "Where a join link leads, without entering.",
        look_at_join_link, caller="hub", body=PersonRequest, returns=JoinAnswer, errors=(410,),
    ),
    Operation(
        "POST", "/join-links/{key}/join", "join",
        "Enrol a person by a join link.",
        join, caller="hub", body=PersonRequest, returns=JoinAnswer, errors=(410,),
    ),
    Operation(
        "POST", "/choices", "choices",
        "What a person may start.",
        choices, caller="hub", body=PersonRequest, returns=ChoiceList,
    ),
    Operation(
        "PUT", "/folders/{volume}", "reportFolder",
        "A personal folder exists and is writable.",
        folder, caller="hub", body=FolderReport, status=204,
    ),
]  # fmt: skip
