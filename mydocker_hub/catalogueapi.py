"""What the hub asks the catalogue."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .domain.environment import Text
from .domain.launch import LaunchPlan
from .domain.people import Person
from .httpclient import JsonClient
from .identity.claims import Course, SignIn, Standing
from .identity.platform import DeepLinkRequest, KnownPlatform


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

    async def sign_in(self, sign_in: SignIn) -> Standing:
        """Who came in by a door, and what they may do; raises why they may not come in."""
        answer = await self._client.request("POST", "/sign-ins", sign_in.model_dump(mode="json"))
        return Standing.model_validate(answer)

    async def look_at_sign_in(self, sign_in: SignIn) -> Standing | None:
        """Whose account an identity opens already, changing nothing; None where nobody's."""
        answer = await self._client.request(
            "POST", "/sign-ins/look", sign_in.model_dump(mode="json")
        )
        found = answer["standing"]
        return None if found is None else Standing.model_validate(found)

    async def join_accounts(self, keep: str, close: str) -> Standing:
        """Join two accounts of one person, who showed both doors: `close` leads to `keep` then."""
        answer = await self._client.request("POST", "/people/join", {"keep": keep, "close": close})
        return Standing.model_validate(answer)

    async def standings(self, after: str) -> tuple[list[Standing], str]:
        """Whose standing changed since `after` (at first ""), and the next `after`."""
        answer = await self._client.request("POST", "/standings", {"after": after})
        return [Standing.model_validate(item) for item in answer["items"]], answer["next"]

    async def refused(self, *, code: str, provider: str, reference: str, detail: str) -> None:
        """Note in the audit log that somebody was not let in."""
        await self._client.request(
            "POST",
            "/refusals",
            {"code": code, "provider": provider, "reference": reference, "detail": detail},
        )

    async def platforms(self, *, version: str, issuer: str, client_id: str) -> list[KnownPlatform]:
        """LTI platforms of an issuer or a consumer key, of any status; `client_id` may be ""."""
        answer = await self._client.request(
            "POST",
            "/platforms/find",
            {"version": version, "issuer": issuer, "client_id": client_id},
        )
        return [KnownPlatform.model_validate(item) for item in answer["items"]]

    async def begin_deep_link(
        self, user: str, request: DeepLinkRequest, course: Course | None
    ) -> str:
        """Begin a teacher's choice for a course: its id, for the catalogue's page."""
        answer = await self._client.request(
            "POST",
            "/deep-links",
            {
                "user": user,
                "request": request.model_dump(mode="json"),
                "course": None if course is None else course.model_dump(mode="json"),
            },
        )
        return str(answer["id"])

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
