"""What the client asks about a registry, and how often."""

import asyncio

import pytest

from mydocker_hub.swarm import client
from mydocker_hub.swarm.client import SwarmClient, registry_of


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("jupyter/base:1", "docker.io"),
        ("busybox", "docker.io"),
        ("registry.example.org/group/image:1", "registry.example.org"),
        ("127.0.0.1:5000/x@sha256:0", "127.0.0.1:5000"),
        ("-bad.example-/x", "-bad.example-"),
    ],
)
def test_the_registry_of_an_image(image, registry):
    assert registry_of(image) == registry


@pytest.fixture
def asked(monkeypatch):
    """The images that the engine was asked for; a registry whose name begins with s is silent."""
    images = []

    def ask(self, image):
        images.append(image)
        return ("no answer", True) if image.startswith("s") else ("", False)

    monkeypatch.setattr(SwarmClient, "_connect", lambda self, **_: None)
    monkeypatch.setattr(SwarmClient, "_ask_registry", ask)
    return images


async def test_a_silent_registry_is_asked_once_for_all(asked, monkeypatch):
    """A class of thirty whose registry is down does not keep thirty threads waiting."""
    swarm = SwarmClient()
    class_ = [swarm.registry_trouble("s.example.org/x:1") for _ in range(30)]
    assert set(await asyncio.gather(*class_)) == {"no answer"}
    assert await swarm.registry_trouble("s.example.org/y:1") == "no answer"
    assert asked == ["s.example.org/x:1"]
    # but not for ever
    monkeypatch.setattr(client, "REGISTRY_MEMORY_SECONDS", 0)
    swarm._silent_registries.clear()
    for _ in range(2):
        await swarm.registry_trouble("s.example.org/x:1")
    assert len(asked) == 3
    swarm.close()


async def test_a_registry_that_answers_is_asked_each_time(asked):
    swarm = SwarmClient()
    for _ in range(2):
        assert await swarm.registry_trouble("r.example.org/x:1") == ""
    assert len(asked) == 2
    swarm.close()
