"""What an image reference names: registry, repository, tag, digest (distribution/reference)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .command import check_image

DOCKER_HUB = "docker.io"
_ALIASES_OF_DOCKER_HUB = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class Reference:
    """An image reference in its parts, with what goes without saying filled in.

    `registry` is a host with its port if one was written; `docker.io` where none was.
    """

    registry: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @property
    def wanted(self) -> str:
        """What is asked for at the registry: the digest, which no tag can move, or the tag."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """The parts of a reference. Raises ValueError, worded for the person who wrote it.

    As Docker does it: what stands before the first / is a registry if it has a dot or a port, is
    `localhost`, or has a capital letter; a name without a / is one of `library`.
    """
    rest, _, digest = check_image(text).partition("@")
    first, slash, others = rest.partition("/")
    if slash and (set(first) & set(".:") or first == "localhost" or first != first.lower()):
        registry, rest = first.lower(), others
    else:
        registry = DOCKER_HUB
    if registry in _ALIASES_OF_DOCKER_HUB:
        registry = DOCKER_HUB
        rest = rest if "/" in rest else f"library/{rest}"
    repository, _, tag = rest.partition(":")
    return Reference(registry, repository, tag or "latest", digest)


def host_of(place: str) -> str:
    """The host of `host[:port]`, in lower case."""
    return place.rsplit("@", 1)[-1].partition(":")[0].lower()


def is_this_machine(host: str) -> bool:
    """Whether a host name means this machine in so many words."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
