"""The first class of the week: its image is on the machines before anybody clicks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import docker
import pytest

from mydocker_hub.store import pulls
from tests.monday import Monday, monday

pytestmark = [pytest.mark.hub, pytest.mark.engine]

SIZE = 200_000_000


@pytest.fixture(scope="module")
def morning(
    engine: docker.DockerClient, bridge_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Monday]:
    with monday(engine, tmp_path_factory.mktemp("monday"), bridge_address, size=SIZE) as morning:
        yield morning


def services(morning: Monday) -> list[str]:
    label = {"label": f"mydocker.pull={morning.hub.hub_id}"}
    return [service.name for service in morning.engine.services.list(filters=label)]


async def test_the_first_student_does_not_wait(morning: Monday) -> None:
    cold = morning.start()
    warm, brought = [], []
    for _ in range(5):
        warm.append(morning.start())
        morning.forget()
        booked = morning.book(minutes=20)
        readiness, _ = await morning.prepare(booked)
        assert (readiness.ready, readiness.total, readiness.verified) == (1, 1, True)
        brought.append(morning.start())
        morning.cancel(booked)
        await morning.look()
        assert not services(morning)
        assert morning.there()
    print(f"cold {cold:.2f} s, warm {warm}, brought before {brought}")
    assert statistics.median(brought) <= 1.2 * statistics.median(warm)
    assert cold > 1.5 * statistics.median(brought)


async def test_only_what_is_near_is_brought(morning: Monday) -> None:
    morning.forget()
    booked = morning.book(minutes=45)
    await morning.look()
    assert not services(morning)
    assert morning.database.read_now(pulls.readiness, [booked.id]) == {}
    morning.cancel(booked)
