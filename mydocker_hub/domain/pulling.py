"""Which images are brought to which machines before a session begins, and how far that is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from .environment import Model

AT_ONCE = 4
"""So many images are pulled at a time: the classes of a Monday morning would all be late if all of
them shared the network, whereas those that begin first are to be ready first."""


class Presence(StrEnum):
    """Whether an image is on a machine."""

    WAITING = "waiting"
    PULLING = "pulling"
    READY = "ready"
    FAILED = "failed"


class OnNode(Model):
    """An image on one machine; `error` is the engine's own words."""

    name: str
    presence: Presence
    error: str = ""


class Target(NamedTuple):
    """An image and the machines that it is for: those that the constraints let run it."""

    image: str
    constraints: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """One occurrence of a session, and what its servers need."""

    session_id: int
    starts: datetime
    ends: datetime
    target: Target


@dataclass(frozen=True)
class Pull:
    """What was begun for one occurrence of a session; `nodes` by the machines' ids.

    `digest` is what the registry had when it began; empty where no registry knows the image, which
    then can only be on the machines already.
    """

    id: int
    session_id: int
    starts: datetime
    target: Target
    digest: str = ""
    nodes: Mapping[str, OnNode] = field(default_factory=dict)
    begun: datetime | None = None
    ended: datetime | None = None

    @property
    def pulling(self) -> bool:
        """Whether some machine still fetches it, or was not yet heard of."""
        unsettled = {Presence.WAITING, Presence.PULLING}
        return not self.nodes or any(node.presence in unsettled for node in self.nodes.values())

    @property
    def readiness(self) -> Readiness:
        nodes = sorted(self.nodes.values(), key=lambda node: node.name)
        ready = sum(node.presence is Presence.READY for node in nodes)
        return Readiness(ready, len(nodes), tuple(nodes), bool(self.digest))


class Readiness(NamedTuple):
    """“Ready on `ready` of `total` machines”; `verified` says that a registry vouches for which
    image that is."""

    ready: int
    total: int
    nodes: tuple[OnNode, ...]
    verified: bool

    @property
    def complete(self) -> bool:
        return 0 < self.total == self.ready


class Steps(NamedTuple):
    """What to do now: begin for these occurrences, look at these, and let these go."""

    begin: list[Wanted]
    watch: list[Pull]
    end: list[Pull]


def decide(
    wanted: Sequence[Wanted],
    known: Sequence[Pull],
    now: datetime,
    *,
    before: timedelta,
    at_once: int = AT_ONCE,
) -> Steps:
    """What to do about the sessions that are near, given what was begun and has not ended.

    An image is brought from `before` ahead until its session ends, and kept for so long. At most
    `at_once` different images are on their way; those of the sessions that begin first go first.
    What several sessions need is brought once, and so takes no place of its own.
    """
    near = {
        (one.session_id, one.starts): one for one in wanted if one.starts - before <= now < one.ends
    }
    watch, end = [], []
    for pull in known:
        key = (pull.session_id, pull.starts)
        still = near.get(key)
        if still is not None and still.target == pull.target:
            watch.append(pull)
            del near[key]
        else:
            end.append(pull)
    on_their_way = {pull.target for pull in watch if pull.pulling}
    there = {pull.target for pull in watch if not pull.pulling}
    begin = []
    for one in sorted(near.values(), key=lambda one: (one.starts, one.session_id)):
        if one.target not in on_their_way | there:
            if len(on_their_way) >= at_once:
                continue
            on_their_way.add(one.target)
        begin.append(one)
    return Steps(begin, watch, end)
