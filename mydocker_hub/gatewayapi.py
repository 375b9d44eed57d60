"""What the hub tells the gateway: which servers run, and where."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .domain.route import Route
from .httpclient import JsonClient


class GatewayApi:
    """The gateway's own addresses, for the hub alone; errors are those of `domain.errors`."""

    def __init__(self, url: str, secret: str) -> None:
        self._client = JsonClient(f"{url}/-", secret, unavailable_code="gateway-unavailable")

    async def add(self, route: Route) -> None:
        await self._client.request("PUT", "/routes", route.model_dump(mode="json"))

    async def remove(self, user: str, server: str) -> None:
        """No request reaches this server any more; one that is not known is fine."""
        await self._client.request("DELETE", f"/routes/{quote(user, safe='')}/{quote(server)}")

    async def announce(self, notices: list[dict[str, Any]]) -> None:
        """All stops that are announced now: `user`, `server`, `code` and `stops_at` of each."""
        await self._client.request("PUT", "/notices", {"items": notices})
