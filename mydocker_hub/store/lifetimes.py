"""How long running servers go on: their limits, what their people were told, and what they said."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Text, bindparam, cast, exists, func, select, tuple_, update
from sqlalchemy.orm import Session

from ..domain import calendar, culling, names
from ..domain.calendar import Opening, SessionState, Site
from ..domain.culling import Notice, Policy, Server, SiteLimits
from ..domain.environment import Effect, Lifetime, SessionRules
from ..domain.errors import Conflict, NotFound
from ..domain.people import Person
from . import reading, sessions
from .tables import (
    EnvironmentRow,
    EnvironmentVersionRow,
    LaunchRow,
    PersonRow,
    RightRow,
)

_NO_LIMITS = SiteLimits()
_SITE = Site()


@dataclass(frozen=True)
class Known:
    """A running server, but for the hub's times: `server.started` and `last_activity` are None.

    `slug` is its environment's, or empty for the trial of a build. Of what is not `recorded` the
    database knows nothing, and keeps nothing.
    """

    launch_id: int
    person: str
    slug: str
    policy: Policy
    server: Server
    recorded: bool = True

    def is_of(self, person: str, server: str) -> bool:
        """Whether this is the launch of that server. After a database was restored, one that runs
        may bear the number of another one's."""
        if self.person != person or self.policy.trial != names.is_trial(server):
            return False
        return self.policy.trial or names.server_name(self.slug) == server


def unrecorded(launch_id: int, person: str, server: str, limits: SiteLimits) -> Known:
    """A server whose launch is not in the database, or has ended there: its environment was
    deleted meanwhile, or the database restored. The site's limits hold for it."""
    found = culling.policy(Lifetime(), limits, trial=names.is_trial(server))
    return Known(launch_id, person, "", found, Server(started=None), recorded=False)


def running(
    session: Session,
    launch_ids: Collection[int],
    now: datetime,
    *,
    limits: SiteLimits = _NO_LIMITS,
    site: Site = _SITE,
    unbound: Collection[str] = (),
) -> dict[int, Known]:
    """What is known of the launches that have not ended, by id.

    The limits are those of the environment as it was started; sessions are those of now. They end
    for all but the people who work on the environment, and those named in `unbound`.
    """
    works_on_it = exists().where(
        RightRow.person_id == LaunchRow.person_id,
        RightRow.environment_id == LaunchRow.environment_id,
    )
    rows = session.execute(
        select(LaunchRow, PersonRow.name, EnvironmentRow.slug, works_on_it)
        .join(PersonRow, PersonRow.id == LaunchRow.person_id)
        .outerjoin(EnvironmentRow, EnvironmentRow.id == LaunchRow.environment_id)
        .where(LaunchRow.id.in_(list(launch_ids)), LaunchRow.ended_at.is_(None))
    ).all()
    lifetimes = _lifetimes(session, {(row.environment_id, row.version) for row, *_ in rows})
    ends = _SessionEnds(session, {row.environment_id for row, *_ in rows}, now, site)
    found = {}
    for row, name, slug, works in rows:
        lifetime, ask_every = lifetimes.get((row.environment_id, row.version), _NO_LIFETIME)
        bound = not (row.trial or works or name in unbound)
        policy = culling.policy(
            lifetime,
            limits,
            ask_every=ask_every,
            opening=ends.of(row.environment_id, row.asked_at) if bound else None,
            trial=row.trial,
        )
        found[row.id] = Known(row.id, name, slug or "", policy, reading.as_server(row))
    return found


def session_ends(
    session: Session, after: datetime, before: datetime, *, site: Site = _SITE
) -> list[datetime]:
    """When sessions that end servers are over between two instants: then somebody has to look."""
    booked = sessions.between(session, after, before, states=[SessionState.APPROVED])
    ending = _ending_rules(session, {one.environment_id for one in booked}, site)
    ends = {
        found.ends
        for one in booked
        if one.environment_id in ending
        for found in calendar.occurrences(one.effective, after, before)
        if after <= found.ends < before
    }
    return sorted(ends)


@dataclass(frozen=True)
class Told:
    """What is to be noted of a launch: the warning that holds now, or none; `used_at` if given."""

    launch_id: int
    notice: Notice | None
    used_at: datetime | None = None


def tell(session: Session, told: Iterable[Told]) -> None:
    """Note what people are told. What they said meanwhile stands."""
    told = list(told)
    this = update(LaunchRow).where(
        LaunchRow.id == bindparam("launch"), LaunchRow.ended_at.is_(None)
    )
    # One statement for many rows: a class may be told at once.
    notices = [
        {
            "launch": one.launch_id,
            "code": one.notice.code if one.notice else "",
            "given": one.notice.given_at if one.notice else None,
            "stops": one.notice.stops_at if one.notice else None,
        }
        for one in told
    ]
    used = [{"launch": one.launch_id, "used": one.used_at} for one in told if one.used_at]
    connection = session.connection()
    if notices:
        connection.execute(
            this.values(
                warned_code=bindparam("code"),
                warned_at=bindparam("given"),
                stops_at=bindparam("stops"),
            ),
            notices,
        )
    if used:
        connection.execute(this.values(used_at=bindparam("used")), used)


def own(
    session: Session,
    slug: str,
    person: Person,
    seen: Server,
    now: datetime,
    *,
    limits: SiteLimits = _NO_LIMITS,
    site: Site = _SITE,
) -> Known:
    """A person's running server, with its times: `seen` is it as the hub knows it.

    Raises `NotFound` where none runs.
    """
    return _own(session, slug, person, seen, now, limits, site)[1]


def extend(
    session: Session,
    slug: str,
    person: Person,
    seen: Server,
    now: datetime,
    *,
    limits: SiteLimits = _NO_LIMITS,
    site: Site = _SITE,
) -> Server:
    """Let a person's server go on, as far as one click does. `seen` is it as the hub knows it.

    Raises `NotFound` where none runs, `Conflict` where it goes no further.
    """
    row, known = _own(session, slug, person, seen, now, limits, site)
    after = culling.extended(known.policy, known.server, now)
    if after is None:
        raise Conflict("not-extendable")
    row.used_at, row.extended_until = after.used_at, after.extended_until
    return _without_notice(row, after)


def protect(
    session: Session,
    slug: str,
    person: Person,
    seen: Server,
    wanted: timedelta,
    now: datetime,
    *,
    limits: SiteLimits = _NO_LIMITS,
    site: Site = _SITE,
) -> Server:
    """Keep a person's server running for some time though nobody is there; no time ends that.

    Reaches as far as the environment allows. Raises `NotFound` where none runs, `Conflict` where
    it may not be said.
    """
    row, known = _own(session, slug, person, seen, now, limits, site)
    if not wanted:
        row.protected_until = None
        row.used_at = now  # somebody is there
        return _without_notice(row, replace(known.server, protected_until=None, used_at=now))
    latest = culling.protectable_until(known.policy, known.server, now)
    if latest is None:
        raise Conflict("not-protectable")
    row.protected_until = min(now + wanted, latest)
    row.used_at = now
    after = replace(known.server, protected_until=row.protected_until, used_at=now)
    return _without_notice(row, after)


def _own(
    session: Session,
    slug: str,
    person: Person,
    seen: Server,
    now: datetime,
    limits: SiteLimits,
    site: Site,
) -> tuple[LaunchRow, Known]:
    launch_id = session.scalar(
        select(func.max(LaunchRow.id))
        .join(PersonRow, PersonRow.id == LaunchRow.person_id)
        .join(EnvironmentRow, EnvironmentRow.id == LaunchRow.environment_id)
        .where(
            PersonRow.name == person.name,
            EnvironmentRow.slug == slug,
            LaunchRow.trial.is_(False),
        )
    )
    unbound = {person.name} if person.is_admin else set()
    found = running(
        session, [launch_id] if launch_id else [], now, limits=limits, site=site, unbound=unbound
    )
    if launch_id is None or launch_id not in found or seen.started is None:
        raise NotFound("server-not-running")
    known = found[launch_id]
    server = replace(known.server, started=seen.started, last_activity=seen.last_activity)
    return session.get_one(LaunchRow, launch_id), replace(known, server=server)


def _without_notice(row: LaunchRow, after: Server) -> Server:
    """What was announced holds no more; where it still does, the culler says so again."""
    row.warned_code, row.warned_at, row.stops_at = "", None, None
    return replace(after, notice=None)


_NO_LIFETIME = (Lifetime(), None)


def _lifetimes(
    session: Session, versions: set[tuple[int | None, int]]
) -> dict[tuple[int | None, int], tuple[Lifetime, timedelta | None]]:
    """The lifetime of each version of an environment, and how often its people are asked."""
    if not versions:
        return {}
    row = EnvironmentVersionRow
    rows = session.execute(
        select(row.environment_id, row.version, cast(row.definition, Text)).where(
            tuple_(row.environment_id, row.version).in_([one for one in versions if one[0]])
        )
    )
    asks = {one.slug: one.ask_every for one in reading.compute_types(session)}
    found: dict[tuple[int | None, int], tuple[Lifetime, timedelta | None]] = {}
    for environment_id, version, text in rows:
        definition = reading.parsed(text)
        asked = asks.get(definition.resources.compute_type)
        found[environment_id, version] = (definition.lifetime, asked)
    return found


def _ending_rules(
    session: Session, environment_ids: Collection[int], site: Site
) -> dict[int, tuple[Effect, SessionRules]]:
    """Of those environments whose sessions end servers, what they decide and their rules."""
    if not environment_ids:
        return {}
    rows = session.execute(
        select(EnvironmentRow.id, cast(EnvironmentRow.definition, Text)).where(
            EnvironmentRow.id.in_(list(environment_ids))
        )
    )
    rules = {one: reading.parsed(text).sessions for one, text in rows}
    found = {one: (calendar.effect_of(rule, site), rule) for one, rule in rules.items()}
    return {
        one: (effect, rule)
        for one, (effect, rule) in found.items()
        if effect is Effect.EXAM or rule.stop_at_end
    }


class _SessionEnds:
    """When what was started in sessions of some environments has to end with them."""

    def __init__(
        self, session: Session, environment_ids: set[int | None], now: datetime, site: Site
    ) -> None:
        known = [one for one in environment_ids if one is not None]
        self._rules = _ending_rules(session, known, site)
        self._sessions = sessions.approved(session, self._rules, now) if self._rules else {}
        self._now = now
        self._known: dict[tuple[int, datetime], Opening | None] = {}

    def of(self, environment_id: int | None, started: datetime) -> Opening | None:
        """The opening whose `ends` binds what was started at that moment: of the session in which
        it was, or else of the first one that began since. What is in none ends by its other limits.
        """
        if environment_id not in self._rules:
            return None
        assert environment_id is not None  # noqa: S101 - None has no rules
        # Whoever starts in a class starts in the same second as many others.
        key = (environment_id, started.replace(microsecond=0))
        if key not in self._known:
            found = self._opening(environment_id, key[1])
            bound = found.allowed and found.ends is not None
            if not bound and found.next is not None and found.next <= self._now:
                found = self._opening(environment_id, found.next)
            self._known[key] = found if found.allowed else None
        return self._known[key]

    def _opening(self, environment_id: int, at: datetime) -> Opening:
        effect, rules = self._rules[environment_id]
        booked = self._sessions.get(environment_id, [])
        return calendar.opening(effect, rules, booked, at, enrolled=True)
