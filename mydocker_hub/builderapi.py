"""What the catalogue asks of the builder: to look at the queue, and what an image is."""

from __future__ import annotations

from urllib.parse import urlencode

from .domain.errors import MydockerError
from .domain.images import ImageFacts
from .domain.machines import Machine
from .httpclient import JsonClient


class BuilderApi:
    """The builder's own addresses, for the catalogue alone; errors are those of `domain.errors`."""

    def __init__(self, url: str, secret: str) -> None:
        # A registry is given 25 seconds.
        self._client = JsonClient(url, secret, unavailable_code="builder-unavailable", timeout=30)

    async def wake(self) -> None:
        """There is something to do. The builder also looks by itself: its silence is no error."""
        try:
            await self._client.request("POST", "/wake", {})
        except MydockerError:
            return

    async def facts(self, reference: str) -> ImageFacts:
        """What is known of an image: on the engine that builds, else in its registry.

        Raises `Invalid`, `NotFound` (image-unknown), `Unavailable`.
        """
        answer = await self._client.request("GET", f"/facts?{urlencode({'reference': reference})}")
        return ImageFacts.model_validate(answer)

    async def machines(self) -> list[Machine]:
        """The machines of the Swarm that servers run on. Raises `Unavailable`."""
        answer = await self._client.request("GET", "/machines")
        return [Machine.model_validate(one) for one in answer["machines"]]
