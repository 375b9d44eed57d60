"""What the hub asks the catalogue."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .domain.environment import Text
from .domain.launch import LaunchPlan
from .domain.people import Person
from .httpclient import JsonClient


class CatalogueApi:
    """The operations that only the hub may call; errors are those of `domain.errors`."""

    def __init__(self, url: str, secret: str) -> None:
        self._client = JsonClient(url, secret, unavailable_code="catalogue-unavailable")

    async def launch(
        self, person: Person, *, environment: str, server: str, base_url: str
    ) -> LaunchPlan:
        """What to start, or the refusal as an error."""
        answer = await self._client.request(
            "POST",
            "/launches",
            {
                "person": person.model_dump(mode="json"),
                "environment": environment,
                "server": server,
                "base_url": base_url,
            },
        )
        return LaunchPlan.model_validate(answer)

    async def ready(self, launch_id: int) -> None:
        await self._client.request("POST", f"/launches/{launch_id}/ready")

    async def notice(self, launch_id: int, code: str) -> None:
        await self._client.request("POST", f"/launches/{launch_id}/notice", {"code": code})

    async def ended(self, launch_id: int, code: str, params: dict[str, Any]) -> None:
        sent = {key: _parameter(value) for key, value in params.items()}
        await self._client.request(
            "POST", f"/launches/{launch_id}/ended", {"code": code, "params": sent}
        )

    async def look_at_join_link(self, key: str, person: Person) -> dict[str, Any]:
        """Where a join link leads (`JoinAnswer` of the catalogue), without entering."""
        return await self._join(key, "look", person)

    async def join(self, key: str, person: Person) -> dict[str, Any]:
        """Enrol a person; a second time changes nothing."""
        return await self._join(key, "join", person)

    async def choices(self, person: Person) -> list[dict[str, Any]]:
        """The environments that a person may start (`Choice` of the catalogue)."""
        answer = await self._client.request(
            "POST", "/choices", {"person": person.model_dump(mode="json")}
        )
        items: list[dict[str, Any]] = answer["items"]
        return items

    async def folder_prepared(self, volume: str, user: str, node: str) -> None:
        await self._client.request("PUT", f"/folders/{volume}", {"user": user, "node": node})

    async def _join(self, key: str, verb: str, person: Person) -> dict[str, Any]:
        answer: dict[str, Any] = await self._client.request(
            "POST",
            f"/join-links/{quote(key, safe='')}/{verb}",
            {"person": person.model_dump(mode="json")},
        )
        return answer


def _parameter(value: Any) -> Any:
    if isinstance(value, Text):
        return value.model_dump()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
