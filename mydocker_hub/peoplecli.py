"""`mydocker-hub people …` and `mydocker-hub whoami-test`: accounts from a shell."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .domain.errors import Invalid, MydockerError, Refused
from .domain.people import Role
from .identity import lti13
from .identity.claims import Claims, SignIn, Standing
from .identity.explain import explain
from .identity.roles import Held, sign_in_for
from .identity.settings import Place, SignInSettings, load
from .seal import Seal
from .store import accounts, people, platforms
from .store.database import Database, Session
from .web.i18n import SITE_ZONE, translator

ACTOR = "mydocker-hub"
"""Who decides from the command line, in the audit log."""

_MAX_BYTES = 1024 * 1024


def add_to(commands: Any, *, state: Path, sign_in: str, database: str, public_url: str) -> None:
    """Add the commands to a parser; the rest are the defaults of their options."""
    whoami = commands.add_parser(
        "whoami-test", help="what would be decided of a recorded sign-in, and why"
    )
    whoami.add_argument(
        "file",
        help="a SAML response (base64 or XML), an LTI id_token, claims as JSON; - for input",
    )
    whoami.add_argument("--public-url", default=public_url, metavar="URL")
    whoami.add_argument("--base-url", default="/", metavar="PATH", help="the hub's path")
    whoami.set_defaults(run=whoami_test)

    group = commands.add_parser("people", help="accounts and their roles")
    actions = group.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="accounts, by words of their name or mail address")
    listed.add_argument("words", nargs="*")
    listed.add_argument("--role", type=Role, choices=list(Role))
    listed.add_argument("--blocked", action="store_true")
    listed.set_defaults(run=people_list)
    show = actions.add_parser("show", help="one account: roles, ways to sign in, history")
    show.set_defaults(run=people_show)
    grant = actions.add_parser("grant", help="give a role, whatever sign-ins say")
    grant.set_defaults(run=people_decide, granted=True)
    withdraw = actions.add_parser("withdraw", help="take a role away, whatever sign-ins say")
    withdraw.set_defaults(run=people_decide, granted=False)
    reset = actions.add_parser("reset", help="let sign-ins decide on a role again")
    reset.set_defaults(run=people_reset)
    block = actions.add_parser("block", help="keep somebody out; running servers stop")
    block.set_defaults(run=people_block)
    unblock = actions.add_parser("unblock", help="let somebody in again")
    unblock.set_defaults(run=people_unblock)
    for command in (show, grant, withdraw, reset, block, unblock):
        command.add_argument("name", help="the user name")
    for command in (grant, withdraw, reset):
        command.add_argument("role", type=Role, choices=list(accounts.DECIDED_ROLES))
    for command in (grant, withdraw):
        command.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="2026-12-31")
    for command in (grant, withdraw, block, unblock):
        command.add_argument("--reason", default="", help="for those who look later")

    for command in (whoami, listed, show, grant, withdraw, reset, block, unblock):
        command.set_defaults(state=state)
        command.add_argument(
            "--sign-in",
            default=sign_in,
            metavar="FILE",
            help="default: $MYDOCKER_SIGN_IN_FILE, else sign-in.yaml in $MYDOCKER_HUB_STATE",
        )
        command.add_argument("--database", default=database, metavar="URL")


# --- accounts ------------------------------------------------------------------------------------


def people_list(options: argparse.Namespace) -> None:
    found = _database(options).read_now(
        accounts.search,
        _now(),
        text=" ".join(options.words),
        role=options.role,
        state="blocked" if options.blocked else "",
        limit=10_000,
        role_days=_settings(options).role_days,
    )
    for line in found.items:
        roles = ", ".join(held.role for held in line.roles)
        blocked = " (blocked)" if line.blocked else ""
        print(f"{line.name}\t{roles}{blocked}\t{line.display_name}\t{line.mail}".rstrip())


def people_show(options: argparse.Namespace) -> None:
    database = _database(options)
    account = database.read_now(
        accounts.account, options.name, _now(), role_days=_settings(options).role_days
    )
    print(f"{account.name}: {account.display_name} {account.mail}".rstrip())
    if account.joined_to:
        print(f"joined to {account.joined_to}")
    if account.blocked_at:
        print(f"blocked since {_day(account.blocked_at)}: {account.blocked_reason or 'no reason'}")
    for line in _roles(account.roles):
        print(line)
    for one in account.identities:
        listed = ", ".join(f"{kind} {value}" for kind, value in one.identifiers)
        print(f"comes in by {one.provider} ({one.issuer}): {listed}; last {_day(one.signed_in_at)}")
    for entry in database.read_now(accounts.history, options.name):
        print(f"{_day(entry.at)} {entry.action} {entry.actor}".rstrip())


def people_decide(options: argparse.Namespace) -> None:
    until = None
    if options.until is not None:
        until = datetime.combine(options.until + timedelta(days=1), time(), SITE_ZONE)
    _database(options).write_now(
        accounts.decide,
        options.name,
        options.role,
        granted=options.granted,
        actor=ACTOR,
        now=_now(),
        reason=options.reason,
        until=until,
        role_days=_settings(options).role_days,
    )
    _say(options)


def people_reset(options: argparse.Namespace) -> None:
    _database(options).write_now(
        accounts.end_decision,
        options.name,
        options.role,
        actor=ACTOR,
        now=_now(),
        role_days=_settings(options).role_days,
    )
    _say(options)


def people_block(options: argparse.Namespace) -> None:
    _database(options).write_now(
        accounts.block,
        options.name,
        actor=ACTOR,
        now=_now(),
        reason=options.reason,
        role_days=_settings(options).role_days,
    )
    print(f"{options.name} is blocked")


def people_unblock(options: argparse.Namespace) -> None:
    _database(options).write_now(
        accounts.unblock, options.name, actor=ACTOR, now=_now(), reason=options.reason
    )
    print(f"{options.name} may come in again")


def _say(options: argparse.Namespace) -> None:
    standing = _database(options).read_now(
        accounts.standing, options.name, _now(), role_days=_settings(options).role_days
    )
    print(f"{standing.name}: {', '.join(sorted(standing.roles))}")


def _roles(held: tuple[Held, ...]) -> Iterator[str]:
    for one in held:
        since = f", since {_day(one.since)}" if one.since else ""
        yield f"{one.role}: {one.origin}{since}"


# --- what would be decided -----------------------------------------------------------------------


def whoami_test(options: argparse.Namespace) -> int:
    """Print step by step what would be decided; 1 where the person would be refused."""
    place = Place(
        settings=_settings(options),
        state=options.state,
        hub_url=f"{options.public_url.rstrip('/')}{options.base_url.rstrip('/')}/hub/",
    )
    database = _database(options)
    try:
        claims, request = _read(_content(options.file), place, database)
        for line in explain(claims, place.settings):
            print(line)
        if request is None:
            request = sign_in_for(claims, place.settings)
        for line in _decided(database, request, place.settings):
            print(line)
    except MydockerError as error:
        print(f"refused: {error.code}")
        print(f"  {translator('en').error(error)}")
        if error.log_detail:
            print(f"  {error.log_detail}")
        return 1
    return 0


def _read(text: str, place: Place, database: Database) -> tuple[Claims, SignIn | None]:
    """What a recorded sign-in says, whatever it is. Raises what its person would have met."""
    if text.startswith("{"):
        return _read_json(text)
    if re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]*", text, re.ASCII):
        return _read_launch(text, place, database)
    if place.settings.federation is None:
        raise Invalid(problems=[("file", "this is a SAML response, and no federation is set up")])
    from .federation import response  # a second of pysaml2, for this alone

    found = response.explain(text, place)
    print(f"read: a SAML response of {found.issuer} ({found.name.in_('en')})")
    for note in found.notes:
        print(f"  {note}")
    return found.claims, None


def _read_json(text: str) -> tuple[Claims, SignIn | None]:
    try:
        recorded: SignIn | Claims = TypeAdapter(SignIn | Claims).validate_json(text)
    except ValidationError as error:
        raise Invalid(
            problems=[
                (".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()
            ]
        ) from None
    print("read: claims; nothing of them was verified")
    return (recorded, None) if isinstance(recorded, Claims) else (recorded.claims, recorded)


def _read_launch(text: str, place: Place, database: Database) -> tuple[Claims, SignIn | None]:
    _, payload = lti13.read(text)
    issuer, audiences = lti13.audience(payload)
    found = database.read_now(
        platforms.find, version="1.3", issuer=issuer, client_id="", seal=Seal("", "")
    )
    known = [one.platform for one in found if one.platform.client_id in audiences]
    if not known:
        raise Refused("lti-platform-unknown", issuer=issuer)
    print(f"read: a launch of {known[0].name}; its signature and its nonce were not looked at")
    explained = lti13.explain(text, known[0], place.settings, hub_url=place.hub_url)
    if explained.refusal is not None or explained.launch is None:
        raise explained.refusal or Refused("sign-in-failed")
    launch = explained.launch
    print(f"  in the course: {launch.role}; made at {launch.issued_at}")
    return launch.claims, sign_in_for(launch.claims, place.settings, course=launch.course)


class _DryRunError(Exception):
    """Rolls back a sign-in that was only tried."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines


def _decided(database: Database, request: SignIn, settings: SignInSettings) -> list[str]:
    try:
        database.write_now(_try, request, settings)
    except _DryRunError as done:
        return done.lines
    return []


def _try(session: Session, request: SignIn, settings: SignInSettings) -> None:
    """Sign in as the hub would, say what came of it, and undo it all."""
    days, now = settings.role_days, _now()
    request = request.model_copy(update={"spent": (), "link_to": ""})
    before = people.look(session, request, now, role_days=days)
    standing = people.sign_in(session, request, now, role_days=days)
    session.flush()
    raise _DryRunError(
        [
            _account(before, standing),
            "roles then:",
            *(
                f"  {line}"
                for line in _roles(
                    accounts.account(session, standing.name, now, role_days=days).roles
                )
            ),
        ]
    )


def _account(before: Standing | None, standing: Standing) -> str:
    if before is not None:
        return f"account: {standing.name}, which it opened before"
    if standing.new:
        return f"account: a new one, {standing.name}"
    return f"account: {standing.name}, by the rule of a platform"


# --- small parts ---------------------------------------------------------------------------------


def _content(name: str) -> str:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SystemExit(f"{name}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise MydockerError("too-large", limit=_MAX_BYTES)
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise Invalid(problems=[("file", "this is no text")]) from None


def _settings(options: argparse.Namespace) -> SignInSettings:
    """The operator's file, or the defaults where there is none."""
    path = Path(options.sign_in)
    return load(path) if path.exists() else SignInSettings()


def _database(options: argparse.Namespace) -> Database:
    database = Database(options.database, threads=1)
    database.upgrade()
    return database


def _now() -> datetime:
    return datetime.now(UTC)


def _day(instant: datetime) -> str:
    return instant.astimezone(SITE_ZONE).strftime("%Y-%m-%d %H:%M")
