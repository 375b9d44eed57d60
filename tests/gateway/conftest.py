"""The gateway as a service, without a container engine: `tests/gateway/world.py` says how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .world import WILDCARD, FakeHub, GatewayProcess, World


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    running = World()
    yield running
    running.close()


@pytest.fixture
def hub(world: World) -> FakeHub:
    return world.hub


@pytest.fixture(scope="session")
def wild(world: World) -> GatewayProcess:
    """A gateway for a wildcard domain; it stands before the same servers."""
    process = world.new_gateway(
        MYDOCKER_PUBLIC_URL="http://hub.test", MYDOCKER_WILDCARD_URL=f"http://*.{WILDCARD}"
    )
    return process.start()
