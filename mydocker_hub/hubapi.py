"""What our services ask the hub: its REST API with the caller's own token, and our part of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from .domain.errors import MydockerError, NotFound, Refused, Unavailable
from .domain.names import display_name
from .httpclient import JsonClient

_TIMEOUT_SECONDS = 20
RECORDS_AT_ONCE = 20
"""So many records of servers the hub makes for one request: a tenth of a second of its time."""


@dataclass(frozen=True)
class Server:
    """A running or pending server, as the hub knows it. `pending` is spawn, stop or empty."""

    name: str
    ready: bool
    pending: str
    url: str
    started: datetime | None
    last_activity: datetime | None


class HubApi:
    """The hub's REST API for one person or service.

    Raises `Refused` or `NotFound` as the hub answers, `Unavailable` where it does not.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    async def servers(self, user: str) -> dict[str, Server]:
        """The servers of a person that are running, starting or stopping, by name."""
        model = json.loads((await self._call("GET", _path(user))).body)
        return {
            name: _server(name, server) for name, server in (model.get("servers") or {}).items()
        }

    async def start_server(self, user: str, server: str, *, title: str, environment: str) -> None:
        """Ask for a start. How it goes, well or badly, is for the hub's waiting page to show."""
        try:
            await self._call(
                "POST",
                _path(user, server),
                {
                    "display_name": display_name(title),
                    # "profile" is what the hub's admin panel shows
                    "user_options": {"environment": environment, "profile": title},
                },
            )
        except (NotFound, Refused, Unavailable):
            raise
        except MydockerError:
            pass  # it failed at once: the waiting page says why

    async def stop_server(self, user: str, server: str) -> None:
        await self._call("DELETE", _path(user, server))

    async def remove_server(self, user: str, server: str) -> None:
        """Forget a server that does not run; the hub counts those that it remembers."""
        await self._call("DELETE", _path(user, server), {"remove": True})

    async def _call(self, method: str, path: str, body: Any = None) -> HTTPResponse:
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
            connect_timeout=_TIMEOUT_SECONDS,
            request_timeout=_TIMEOUT_SECONDS,
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except Exception as error:  # tornado has no common class for "did not answer"
            raise Unavailable("internal", log_detail=f"hub: {type(error).__name__}") from error
        if response.code < 400:
            return response
        detail = f"hub: {method} {path}: HTTP {response.code} {response.body[:300]!r}"
        if response.code == 404:
            raise NotFound(log_detail=detail)
        if response.code in {401, 403}:
            raise Refused(log_detail=detail)
        if response.code == 429:
            raise Unavailable("too-many-starts", log_detail=detail)
        raise MydockerError("internal", log_detail=detail)


@dataclass(frozen=True)
class RunningServer:
    """A server of an environment, whoever it belongs to. `version` is the environment's own as it
    was when the server started; a trial is of its maker alone, and of no student."""

    user: str
    server: str
    state: Literal["starting", "running", "stopping"]
    started: datetime | None
    last_activity: datetime | None
    version: int
    trial: bool


class HubServers:
    """The servers of an environment, for the people who work on it.

    The hub answers whoever bears the secret that it shares with the catalogue, so that the
    catalogue decides first who asks. What is of another environment is not there
    (`server-not-running`). Raises `Unavailable` where the hub does not answer.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._client = JsonClient(url, secret, unavailable_code="servers-unavailable", timeout=20)

    async def of_environment(self, slug: str) -> list[RunningServer]:
        """What starts, runs or stops, in order of the user names."""
        answer = await self._client.request(
            "GET", f"/mydocker/environments/{quote(slug, safe='')}/servers"
        )
        return [_running_server(item) for item in answer["items"]]

    async def by_environment(self) -> dict[str, list[RunningServer]]:
        """What starts, runs or stops, by the slug of its environment as it was at the start."""
        answer = await self._client.request("GET", "/mydocker/all-servers")
        return {
            slug: [_running_server(item) for item in items]
            for slug, items in answer["environments"].items()
        }

    async def stop(self, user: str, server: str, environment: str) -> None:
        """Stop a server, or its start; its person is told that it was not them."""
        await self._client.request(
            "POST",
            "/mydocker/servers/stop",
            {"user": user, "server": server, "environment": environment},
        )

    async def make_records(self, servers: Sequence[tuple[str, str, str]]) -> int:
        """Have the hub know servers, which are given by user, name and title, before they start.

        At most `RECORDS_AT_ONCE`; how many it did not know yet. Nothing starts.
        """
        items = [
            {"user": user, "server": server, "title": title} for user, server, title in servers
        ]
        answer = await self._client.request("POST", "/mydocker/records", {"items": items})
        return int(answer["made"])

    async def forget_records(self, servers: Sequence[str]) -> int:
        """Have the hub forget servers of these names, of whomever, that do not run.

        At most `RECORDS_AT_ONCE` names and records; how many were forgotten.
        """
        answer = await self._client.request(
            "POST", "/mydocker/records/forget", {"servers": list(servers)}
        )
        return int(answer["removed"])

    async def log(self, user: str, server: str, environment: str) -> str:
        """The last 200 lines that a server wrote, without the secrets that it was given."""
        answer = await self._client.request(
            "POST",
            "/mydocker/servers/log",
            {"user": user, "server": server, "environment": environment},
        )
        return str(answer["log"])


@dataclass(frozen=True)
class ReadyServer:
    """A server that runs, or that starts (`ready` is false), as the hub knows it."""

    user: str
    server: str
    launch_id: int
    started: datetime | None
    last_activity: datetime | None
    ready: bool = True


@dataclass(frozen=True)
class ReadyServers:
    """All that run or start; `hub_runs` is since when the hub does, `admins` its administrators."""

    items: list[ReadyServer]
    admins: frozenset[str]
    hub_runs: timedelta


class HubCuller:
    """What the culler asks of the hub, with its own token.

    Raises `Unavailable` where the hub does not answer.
    """

    def __init__(self, url: str, token: str) -> None:
        self._client = JsonClient(
            f"{url.rstrip('/')}/mydocker", token, unavailable_code="hub-unavailable", timeout=30
        )

    async def ready(self) -> ReadyServers:
        answer = await self._client.request("GET", "/servers")
        return ReadyServers(
            items=[
                ReadyServer(
                    user=item["user"],
                    server=item["server"],
                    launch_id=item["launch_id"],
                    started=_time(item["started"]),
                    last_activity=_time(item["last_activity"]),
                    ready=item["ready"],
                )
                for item in answer["items"]
            ],
            admins=frozenset(answer["admins"]),
            hub_runs=timedelta(seconds=answer["runs_seconds"]),
        )

    async def cull(
        self, one: ReadyServer, code: str, params: dict[str, Any], *, firm: bool = False
    ) -> None:
        """Stop a server as it was seen; its person reads why.

        Raises `Conflict`, where it is another one by now, or somebody did something meanwhile. With
        `firm` that does not count, and a start is ended too.
        """
        seen = one.last_activity
        await self._client.request(
            "POST",
            "/servers/cull",
            {
                "user": one.user,
                "server": one.server,
                "launch_id": one.launch_id,
                "last_activity": seen.isoformat() if seen else None,
                "firm": firm,
                "code": code,
                "params": params,
            },
        )

    async def announce(self, notices: list[dict[str, Any]]) -> None:
        """Tell the gateway, through the hub, which stops are announced."""
        await self._client.request("PUT", "/notices", {"items": notices})


def _running_server(item: dict[str, Any]) -> RunningServer:
    return RunningServer(
        user=item["user"],
        server=item["server"],
        state=item["state"],
        started=_time(item["started"]),
        last_activity=_time(item["last_activity"]),
        version=item["version"],
        trial=item["trial"],
    )


def _path(user: str, server: str = "") -> str:
    path = f"/users/{quote(user, safe='')}"
    return f"{path}/servers/{quote(server, safe='')}" if server else path


def _server(name: str, model: dict[str, Any]) -> Server:
    return Server(
        name=name,
        ready=bool(model.get("ready")),
        pending=model.get("pending") or "",
        url=model.get("url") or "",
        started=_time(model.get("started")),
        last_activity=_time(model.get("last_activity")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
