"""Facts of images for teachers: remembered for a minute, one question at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mydocker_hub.baseimages import load
from mydocker_hub.domain.errors import Conflict, NotFound, Unavailable
from mydocker_hub.domain.images import ImageFacts
from mydocker_hub.services.catalogue import facts_api
from mydocker_hub.services.catalogue.facts_api import _Desk

from .conftest import Asker, problem


class Builder:
    """A builder that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def facts(self, reference: str) -> ImageFacts:
        self.asked.append(reference)
        await self.may_answer.wait()
        if reference.startswith("no/"):
            raise NotFound("image-unknown", image=reference)
        return ImageFacts(reference=reference, found="engine")


def desk() -> tuple[Any, Builder]:
    builder = Builder()
    return _Desk(builder), builder  # type: ignore[arg-type]


async def test_what_was_asked_is_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    one, builder = desk()
    for person in ("bob", "carol", "bob"):
        assert (await one.facts(person, "a:1")).reference == "a:1"
    assert builder.asked == ["a:1"]
    monkeypatch.setattr(facts_api.time, "monotonic", lambda: 1e9)
    await one.facts("bob", "a:1")
    assert builder.asked == ["a:1", "a:1"]


async def test_failures_are_not_remembered() -> None:
    one, builder = desk()
    for _ in range(2):
        with pytest.raises(NotFound):
            await one.facts("bob", "no/x")
    assert len(builder.asked) == 2


async def test_a_memory_has_its_end() -> None:
    one, _ = desk()
    for number in range(600):
        await one.facts("bob", f"a:{number}")
    assert len(one._known) == 500
    assert not one._locks
    assert not one._newest


async def test_one_question_at_a_time_and_the_last_one_counts() -> None:
    one, builder = desk()
    builder.may_answer.clear()
    typed = [asyncio.create_task(one.facts("bob", f"pyth{'on'[:n]}")) for n in range(3)]
    other = asyncio.create_task(one.facts("carol", "r"))
    await asyncio.sleep(0.01)
    assert builder.asked == ["pyth", "r"]  # carol does not wait for bob
    builder.may_answer.set()
    first, second, third = await asyncio.gather(*typed, return_exceptions=True)
    assert isinstance(first, ImageFacts)
    assert isinstance(second, Conflict)
    assert second.code == "asked-again"
    assert isinstance(third, ImageFacts)
    assert third.reference == "python"
    assert (await other).reference == "r"
    assert builder.asked == ["pyth", "r", "python"]
    assert not one._locks


@pytest.mark.hub
@pytest.mark.engine
def test_base_images(bob: Asker, alice: Asker) -> None:
    answer = bob.get("/base-images")
    assert answer.status_code == 200
    assert [item["slug"] for item in answer.json()["items"]] == [image.slug for image in load()]
    problem(alice.get("/base-images"), 403, "not-allowed")


@pytest.mark.hub
@pytest.mark.engine
def test_questions_that_cannot_be_right(bob: Asker) -> None:
    for reference in ("", "Not an image", "x" * 300, "https://quay.io/x"):
        details = problem(bob.get("/image-facts", params={"reference": reference}), 422, "invalid")
        assert details["errors"][0]["field"] == "reference"


@pytest.mark.hub
@pytest.mark.engine
def test_without_a_builder(bob: Asker) -> None:
    """Tests' hubs have none: forms go on without facts."""
    answer = bob.get("/image-facts", params={"reference": "mydocker-test/busybox:1"})
    problem(answer, 503, "builder-unavailable")


async def test_without_a_builder_it_is_said() -> None:
    class Context:
        builder = None

    with pytest.raises(Unavailable) as caught:
        await facts_api.image_facts(Context(), "bob", "a:1")  # type: ignore[arg-type]
    assert caught.value.code == "builder-unavailable"
