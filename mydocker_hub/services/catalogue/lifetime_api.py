"""The REST API of the time of one's own running server: when it stops, and what one says to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from ...domain import culling
from ...domain.culling import Server
from ...domain.environment import Model
from ...domain.errors import NotFound
from ...store import lifetimes
from ...store.database import Session
from ...web.operations import Answer, Awaited, Operation
from .api import ApiCall

LONGEST_MINUTES = 366 * 24 * 60


class StopWarning(Model):
    """What you were told: that your server stops at `stops_at`, and why."""

    code: str
    given_at: datetime
    stops_at: datetime


class ServerTime(Model):
    """When your server stops, if you do nothing more, and why (`code`); both may be none.

    `firm`: nothing puts that off. `warning` is what you were told and still holds. `extendable`:
    saying so now has it go on for longer. `protected_until`: until when it goes on though nobody
    is there; `protectable_until`: how far ahead you may have that.
    """

    started: datetime | None
    last_activity: datetime | None
    stops_at: datetime | None
    code: str
    firm: bool
    warning: StopWarning | None
    extendable: bool
    protected_until: datetime | None
    protectable_until: datetime | None


class ProtectionRequest(Model):
    minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES, strict=True)]


async def get_time(call: ApiCall) -> Answer:
    return Answer(await call.context.database.read(_time, call, await _seen(call)))


async def extend(call: ApiCall) -> Answer:
    return Answer(await call.context.database.write(_extend, call, await _seen(call)))


async def protect(call: ApiCall) -> Answer:
    request: ProtectionRequest = call.body
    wanted = timedelta(minutes=request.minutes)
    return Answer(await call.context.database.write(_protect, call, await _seen(call), wanted))


async def unprotect(call: ApiCall) -> Answer:
    seen = await _seen(call)
    return Answer(await call.context.database.write(_protect, call, seen, timedelta()))


async def _seen(call: ApiCall) -> Server:
    """The person's own server as the hub knows it. Raises `NotFound` where none runs."""
    for one in await call.context.hub_servers.of_environment(call.path["slug"]):
        if one.user == call.me.name and one.state == "running" and not one.trial:
            return Server(started=one.started, last_activity=one.last_activity)
    raise NotFound("server-not-running")


def _extend(session: Session, call: ApiCall, seen: Server) -> ServerTime:
    limits, site = call.context.limits, call.context.sessions
    slug = call.path["slug"]
    lifetimes.extend(session, slug, call.me, seen, call.now, limits=limits, site=site)
    return _time(session, call, seen)


def _protect(session: Session, call: ApiCall, seen: Server, wanted: timedelta) -> ServerTime:
    limits, site = call.context.limits, call.context.sessions
    slug = call.path["slug"]
    lifetimes.protect(session, slug, call.me, seen, wanted, call.now, limits=limits, site=site)
    return _time(session, call, seen)


def _time(session: Session, call: ApiCall, seen: Server) -> ServerTime:
    limits, site, now = call.context.limits, call.context.sessions, call.now
    known = lifetimes.own(session, call.path["slug"], call.me, seen, now, limits=limits, site=site)
    policy, server = known.policy, known.server
    end, notice = culling.first_end(policy, server), culling.announced(policy, server)
    until = server.protected_until
    return ServerTime(
        started=server.started,
        last_activity=server.last_activity,
        stops_at=notice.stops_at if notice else end.at if end else None,
        code=end.code if end else "",
        firm=end is not None and end.firm,
        warning=StopWarning(code=notice.code, given_at=notice.given_at, stops_at=notice.stops_at)
        if notice
        else None,
        extendable=culling.extended(policy, server, now) is not None,
        protected_until=until if until is not None and until > now else None,
        protectable_until=culling.protectable_until(policy, server, now),
    )


OPERATIONS: list[Operation] = [
    Operation(
        "GET", "/me/environments/{slug}/server", "getServerTime",
        "When your running server stops, why, and what you may say to that.",
        Awaited(get_time), returns=ServerTime,
    ),
    Operation(
        "POST", "/me/environments/{slug}/server/extend", "extendServer",
        "You still use it: it goes on, beyond its longest time by an hour where that is allowed.",
        Awaited(extend), returns=ServerTime, errors=(409,),
    ),
    Operation(
        "PUT", "/me/environments/{slug}/server/protection", "protectServer",
        "Keep it running for some time though nobody is there, as far as the environment allows.",
        Awaited(protect), body=ProtectionRequest, returns=ServerTime, errors=(409,),
    ),
    Operation(
        "DELETE", "/me/environments/{slug}/server/protection", "unprotectServer",
        "It need not be kept running any more.",
        Awaited(unprotect), returns=ServerTime,
    ),
]  # fmt: skip
