"""When a running server's time is over, and what its person is told before.

Every decision is a value with a code of `domain.errors`: the log, the pages and the tests have the
same. What is decided is what should be so: asked a second time, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from .calendar import Opening
from .environment import Lifetime
from .launch import TRIAL_MAXIMUM

REPORTING_DELAY = timedelta(minutes=5)
"""The hub hears of what a person does every five minutes (`JUPYTERHUB_ACTIVITY_INTERVAL` of a
server): what it knows may be older than the truth by that."""

WARNING = timedelta(minutes=10)
"""How long before a stop its person is warned; half of the limit where that is shorter."""

LEAST_WARNING = timedelta(minutes=5)
"""The same where it could not be said in time: the culler was away, or the limits changed."""

ANSWER_TIME = timedelta(minutes=15)
"""How long the question “still using it?” waits for an answer."""

EXTENSION_STEP = timedelta(hours=1)
"""How much longer one click lets a server run."""

SETTLING = 2 * REPORTING_DELAY
"""How long the hub's times are not believed after it started, or after its clock jumped."""

_JUMP = timedelta(seconds=30)
_JUMPS_KEPT = 50


class Action(StrEnum):
    """`WAIT`: it would be time, but what is known cannot be trusted now; nothing is changed."""

    KEEP = "keep"
    WARN = "warn"
    ASK = "ask"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True)
class SiteLimits:
    """What no environment goes beyond, and what holds for those that say nothing."""

    idle_limit: timedelta | None = None
    maximum: timedelta | None = None


@dataclass(frozen=True)
class Policy:
    """What ends a server. `ends` is when its session does, and `ends_as` the code of that end;
    `protection`, how long ahead its person may say that nobody needs to be there; `extension`, how
    much longer than `maximum` they may go."""

    idle_limit: timedelta | None = None
    maximum: timedelta | None = None
    extension: timedelta | None = None
    protection: timedelta | None = None
    ask_every: timedelta | None = None
    ends: datetime | None = None
    ends_as: str = ""
    trial: bool = False


def policy(
    lifetime: Lifetime,
    site: SiteLimits = SiteLimits(),
    *,
    ask_every: timedelta | None = None,
    opening: Opening | None = None,
    trial: bool = False,
) -> Policy:
    """What holds for a server of an environment: the stricter of its limits and the site's."""
    idle_limit = _shorter(lifetime.idle_limit, site.idle_limit)
    maximum = _shorter(lifetime.maximum, site.maximum)
    if trial:
        return Policy(idle_limit=idle_limit, maximum=_shorter(maximum, TRIAL_MAXIMUM), trial=True)
    extension = lifetime.extension
    if extension is not None and maximum is not None and site.maximum is not None:
        extension = min(extension, site.maximum - maximum) or None
    return Policy(
        idle_limit=idle_limit,
        maximum=maximum,
        extension=extension,
        protection=lifetime.protection,
        ask_every=ask_every,
        ends=opening.ends if opening else None,
        ends_as=opening.ends_as if opening else "",
    )


@dataclass(frozen=True)
class Notice:
    """What a person was told: that their server stops at `stops_at`, and why."""

    code: str
    given_at: datetime
    stops_at: datetime


@dataclass(frozen=True)
class Server:
    """What is known of a running server, and what its person said of it.

    `used_at`: “yes, I still use it”. `extended_until`: beyond its maximum. `protected_until`:
    “keep it running until then, though nobody is there”.
    """

    started: datetime | None
    last_activity: datetime | None = None
    notice: Notice | None = None
    used_at: datetime | None = None
    extended_until: datetime | None = None
    protected_until: datetime | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, why, and when the server stops (None: it does not).

    `params` are those of the sentence of `code`. `used_at` is to be noted: the person answered
    the question by what they did. `firm`: nothing that anybody does changes it.
    """

    action: Action
    code: str = ""
    at: datetime | None = None
    params: dict[str, Any] = field(default_factory=dict)
    used_at: datetime | None = None
    firm: bool = False


@dataclass(frozen=True)
class End:
    """A reason for a stop, and when it comes. `ahead`: how long before the person is told.
    `firm`: nobody postpones it, and it waits for no warning."""

    at: datetime
    code: str
    ahead: timedelta
    params: dict[str, Any] = field(default_factory=dict)
    firm: bool = False


class Hold(StrEnum):
    """Why nobody is stopped now: the hub has just started and has not heard of everybody, or its
    clock has jumped."""

    NO = ""
    HUB_STARTED = "hub-started"
    CLOCK_JUMPED = "clock-jumped"


def decide(policy: Policy, server: Server, now: datetime, hold: Hold = Hold.NO) -> Decision:
    """Whether a server goes on, and what its person is told.

    Nobody is stopped without a warning that was given in time, but for the end of an exam, which
    everybody knew. A warning counts for the end that it named: when the person does something, the
    end is later, and so is the next warning.
    """
    answered = _answer(server)
    if answered is not None:
        server = replace(server, used_at=answered)
    decisions = [_judge(end, server.notice, now, hold) for end in _ends(policy, server)]
    urgent = min(decisions, key=lambda one: (_URGENCY[one.action], one.at), default=None)
    return replace(urgent or Decision(Action.KEEP), used_at=answered)


_URGENCY = {Action.STOP: 0, Action.WARN: 1, Action.ASK: 1, Action.WAIT: 2, Action.KEEP: 3}


def _judge(end: End, notice: Notice | None, now: datetime, hold: Hold) -> Decision:
    """What is to be done because of one end."""

    def decision(action: Action, at: datetime) -> Decision:
        return Decision(action, end.code, at, end.params, firm=end.firm)

    if now < end.at - end.ahead:
        return decision(Action.KEEP, end.at)
    if hold is Hold.CLOCK_JUMPED or (hold is Hold.HUB_STARTED and not end.firm):
        return decision(Action.WAIT, end.at)
    tell = Action.ASK if end.code == "unanswered" else Action.WARN
    if end.firm:
        return decision(Action.STOP if now >= end.at else tell, end.at)
    if notice is None or notice.code != end.code or notice.stops_at < end.at:
        return decision(tell, max(end.at, now + min(LEAST_WARNING, end.ahead)))
    # What was promised is kept, also where the end is earlier by now.
    return decision(Action.STOP if now >= notice.stops_at else tell, notice.stops_at)


def overdue(policy: Policy, server: Server, now: datetime) -> Decision | None:
    """The stop of a server while nobody warns and nobody listens; None while it may go on.

    For the hub, when the culler is away: it does not know what people said, so that everything is
    taken as granted that they may have asked for.
    """
    known = replace(server, extended_until=_latest(policy, server))
    if policy.protection is not None and known.last_activity is not None:
        known = replace(known, protected_until=known.last_activity + policy.protection)
    end = first_end(replace(policy, ask_every=None, ends=None), known)
    if end is None or now < end.at:
        return None
    return Decision(Action.STOP, end.code, end.at, end.params)


def announced(policy: Policy, server: Server) -> Notice | None:
    """What the person was told and what still holds, after all that they did since."""
    end, notice = first_end(policy, server), server.notice
    if end is None or notice is None or notice.code != end.code or notice.stops_at < end.at:
        return None
    return None if _answer(server) is not None else notice


def first_end(policy: Policy, server: Server) -> End | None:
    """What ends a server first, as far as is known; of two at once, the one that is firm."""
    return min(_ends(policy, server), key=lambda end: (end.at, not end.firm), default=None)


def _ends(policy: Policy, server: Server) -> Iterator[End]:
    if policy.ends is not None:
        yield End(policy.ends, policy.ends_as, WARNING, {"when": policy.ends}, firm=True)
    maximum = policy.maximum
    if maximum is not None and server.started is not None:
        at = server.started + maximum
        latest = _latest(policy, server)
        if server.extended_until is not None and latest is not None:
            at = max(at, min(server.extended_until, latest))
        named = _named("time-over", at - server.started, policy)
        yield End(at, *named, firm=policy.trial)  # its maker knows, and nothing of it is kept
    seen = _last(server.started, server.last_activity, server.used_at)
    if policy.idle_limit is not None and seen is not None:
        # Who was active may not have been reported yet.
        at = seen + max(policy.idle_limit, SETTLING)
        if policy.protection is not None and server.protected_until is not None:
            at = max(at, server.protected_until)
        yield End(at, *_named("idle", policy.idle_limit, policy))
    asked = _last(server.started, server.used_at)
    if policy.ask_every is not None and asked is not None:
        if policy.protection is not None:
            asked = max(asked, server.protected_until or asked)
        yield End(asked + policy.ask_every + ANSWER_TIME, "unanswered", ANSWER_TIME)


def _named(code: str, limit: timedelta, policy: Policy) -> tuple[str, timedelta, dict[str, Any]]:
    """A limit's code, how long before it comes people are told, and its sentence's parameters."""
    ahead = min(WARNING, max(limit, SETTLING) / 2)
    return ("trial-over", ahead, {}) if policy.trial else (code, ahead, {"duration": limit})


def _answer(server: Server) -> datetime | None:
    """When the person answered “still using it?” by doing something, if they did.

    Who works in a tab does not see the dashboard, where the question is.
    """
    notice, seen = server.notice, server.last_activity
    if notice is None or notice.code != "unanswered" or seen is None or seen <= notice.given_at:
        return None
    return _last(seen, server.used_at)


def while_starting(policy: Policy) -> Policy:
    """What ends a server that is not ready yet: sessions alone. A start has a time limit itself."""
    return Policy(ends=policy.ends, ends_as=policy.ends_as)


# --- what a person may say -----------------------------------------------------------------------


def extended(policy: Policy, server: Server, now: datetime) -> Server | None:
    """The server after one click on “go on”; None where that would change nothing.

    Somebody is there: that answers the question, and what was idle is so no more. What reaches its
    maximum goes on for `EXTENSION_STEP`, as often as `extension` allows.
    """
    end = first_end(policy, server)
    if end is None or end.firm:
        return None
    after = replace(server, used_at=now)
    if end.code == "time-over":
        latest = _latest(policy, server)
        if latest is None or end.at >= latest or end.at > now + EXTENSION_STEP:
            return None
        return replace(after, extended_until=min(max(end.at, now) + EXTENSION_STEP, latest))
    moved = first_end(policy, after)
    return after if moved is not None and moved.at > end.at else None


def protectable_until(policy: Policy, server: Server, now: datetime) -> datetime | None:
    """How far ahead “keep it running” may reach; None where it may not be said.

    Never beyond what ends it however busy it is.
    """
    if policy.protection is None or (policy.idle_limit is None and policy.ask_every is None):
        return None
    others = replace(policy, idle_limit=None, ask_every=None)
    end = first_end(others, replace(server, extended_until=_latest(policy, server)))
    until = now + policy.protection
    until = until if end is None else min(until, end.at)
    return until if until > now else None


def protection_choices(latest: timedelta) -> list[timedelta]:
    """For how long a person may be offered to say so: some durations, and the longest."""
    hours = (1, 2, 4, 8, 12, 24, 48, 72, 168)
    found = [timedelta(hours=number) for number in hours if timedelta(hours=number) < latest]
    whole = timedelta(minutes=latest // timedelta(minutes=1))
    return [*found, whole] if whole else found


def _latest(policy: Policy, server: Server) -> datetime | None:
    """When a server ends though it was extended as often as it may be."""
    if policy.maximum is None or server.started is None:
        return None
    return server.started + policy.maximum + (policy.extension or timedelta())


# --- clocks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """Two clocks side by side: that of the day, which may be set, and one that only counts seconds.

    Where they differ, the former jumped (somebody set it, or the machine slept). Then what was
    noted before seems older than it is, and `corrected` says when it was on the clock of now.
    """

    wall: datetime
    seconds: float
    jumps: tuple[tuple[datetime, timedelta], ...] = ()  # when, on the clock before, and how far
    jumped_at: float | None = None

    def step(self, wall: datetime, seconds: float) -> Clock:
        """The same, some time later."""
        far = wall - self.wall - timedelta(seconds=seconds - self.seconds)
        if abs(far) < _JUMP:
            return replace(self, wall=wall, seconds=seconds)
        jumps = self.jumps
        if far > timedelta():
            # Backwards, times of before cannot be told from those of now: they seem younger than
            # they are, which ends nobody too early.
            jumps = (*jumps, (self.wall, far))[-_JUMPS_KEPT:]
        return Clock(wall, seconds, jumps, seconds)

    def corrected(self, instant: datetime | None) -> datetime | None:
        """An instant that was noted in the past, on the clock as it is now."""
        for before, far in self.jumps:
            if instant is not None and instant < before + far:
                instant += far
        return instant

    def corrected_server(self, server: Server) -> Server:
        """The same for what happened to a server. What was promised stands as it was said."""
        return replace(
            server,
            started=self.corrected(server.started),
            last_activity=self.corrected(server.last_activity),
            used_at=self.corrected(server.used_at),
        )

    def hold(self, hub_runs: timedelta) -> Hold:
        """Whether times can be trusted; `hub_runs` is since when the hub does."""
        settling = SETTLING.total_seconds()
        if self.jumped_at is not None and self.seconds - self.jumped_at < settling:
            return Hold.CLOCK_JUMPED
        return Hold.HUB_STARTED if hub_runs < SETTLING else Hold.NO


def _shorter(one: timedelta | None, other: timedelta | None) -> timedelta | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _last(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)
