"""What teachers ask of images before they use one: base images by name, facts of any reference."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Annotated
from weakref import WeakKeyDictionary

from pydantic import StringConstraints

from ...builderapi import BuilderApi
from ...domain.environment import Model
from ...domain.errors import Conflict, Unavailable
from ...domain.images import BaseImage, ImageFacts, ImageReference
from ...store.database import Session
from ...web.operations import Answer, Awaited, Operation
from .api import ApiCall, Context, only_teachers

REMEMBERED_SECONDS = 60.0
_MOST_REMEMBERED = 500


class BaseImageList(Model):
    """In the order in which they are proposed."""

    items: tuple[BaseImage, ...]


class FactsQuery(Model):
    reference: Annotated[ImageReference, StringConstraints(strip_whitespace=True)]


class _Desk:
    """Asks the builder: for each person one question at a time, and none twice in a minute."""

    def __init__(self, builder: BuilderApi) -> None:
        self._builder = builder
        self._known: OrderedDict[str, tuple[float, ImageFacts]] = OrderedDict()
        self._newest: dict[str, object] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def facts(self, person: str, reference: str) -> ImageFacts:
        """Raises what the builder says, or `Conflict` where the person asked again meanwhile."""
        until, known = self._known.get(reference, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        question = self._newest[person] = object()
        lock = self._locks.setdefault(person, asyncio.Lock())
        try:
            async with lock:
                if self._newest.get(person) is not question:
                    # Somebody types, and has typed on: what they wrote before is no question now.
                    raise Conflict("asked-again")
                found = await self._builder.facts(reference)
        finally:
            if self._newest.get(person) is question:
                del self._newest[person], self._locks[person]
        self._known[reference] = (time.monotonic() + REMEMBERED_SECONDS, found)
        self._known.move_to_end(reference)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return found


_desks: WeakKeyDictionary[BuilderApi, _Desk] = WeakKeyDictionary()


async def image_facts(context: Context, person: str, reference: str) -> ImageFacts:
    """What is known of an image, as a person asks; raises errors of `domain.errors`."""
    if context.builder is None:
        raise Unavailable("builder-unavailable", log_detail="there is no builder")
    desk = _desks.setdefault(context.builder, _Desk(context.builder))
    return await desk.facts(person, reference)


async def _facts(call: ApiCall) -> Answer:
    only_teachers(call.me)
    query: FactsQuery = call.query
    return Answer(await image_facts(call.context, call.me.name, query.reference))


def _base_images(session: Session, call: ApiCall) -> Answer:
    only_teachers(call.me)
    return Answer(BaseImageList(items=call.context.base_images))


OPERATIONS: list[Operation] = [
    Operation(
        "GET", "/base-images", "listBaseImages",
        "The images that others are based on, with a sentence each (teachers).",
        _base_images, returns=BaseImageList,
    ),
    Operation(
        "GET", "/image-facts", "getImageFacts",
        "What is known of an image: on the engine that builds, else in its registry (teachers).",
        Awaited(_facts), query=FactsQuery, returns=ImageFacts, errors=(404, 409),
    ),
]  # fmt: skip
