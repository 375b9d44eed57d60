"""The running servers, as the hub knows them.

The hub says when one comes or goes. A gateway that starts asks for all, and again from time to
time, so that what was missed is made good.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote, unquote

from tornado.log import app_log

from ...domain.errors import MydockerError, Unavailable
from ...domain.route import Route
from ...httpclient import JsonClient

_REFRESH_SECONDS = 30.0
_LEAST_SECONDS_BETWEEN = 2.0
_TRIES = 3


class Routes:
    """Routes in memory, found by server or by label. `hub` answers below `/mydocker/`."""

    def __init__(self, hub: JsonClient) -> None:
        self._hub = hub
        self._routes: dict[tuple[str, str], Route] = {}
        self._labels: dict[str, Route] = {}
        self._changes = 0
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._ports: dict[tuple[int, int], str] = {}  # (launch, port) -> address

    def add(self, route: Route) -> None:
        self._changes += 1
        self._put(route)

    def remove(self, user: str, server: str) -> None:
        self._changes += 1
        route = self._routes.pop((user, server), None)
        if route is not None:
            self._labels.pop(route.label, None)
            self._ports = {key: at for key, at in self._ports.items() if key[0] != route.launch_id}

    def all(self) -> list[Route]:
        return list(self._routes.values())

    def is_current(self, route: Route) -> bool:
        """Whether a server still runs, and is still the same."""
        now = self._routes.get((route.user, route.server))
        return now is not None and now.launch_id == route.launch_id

    async def find(self, user: str, server: str) -> Route | None:
        """The route of a server; `user` and `server` as they stand in an address, escaped."""
        key = (unquote(user), unquote(server))
        if key not in self._routes:
            await self._look_again()
        return self._known(self._routes.get(key))

    async def find_label(self, label: str) -> Route | None:
        if label not in self._labels:
            await self._look_again()
        return self._known(self._labels.get(label))

    def _known(self, route: Route | None) -> Route | None:
        """Of what is not found before the hub has said anything nothing can be said: JupyterLab
        takes a 404 for the end of a kernel."""
        if route is None and self._asked_at < 0:
            raise Unavailable("hub-unavailable")
        return route

    async def address(self, route: Route, port: int) -> str:
        """Where a port is reached that is not among the interfaces. Raises `port-out-of-reach`."""
        key = (route.launch_id, port)
        if key not in self._ports:
            path = f"/routes/{quote(route.user, safe='')}/{quote(route.server)}/ports/{port}"
            self._ports[key] = str((await self._hub.request("GET", path))["address"])
        return self._ports[key]

    async def keep_fresh(self) -> None:
        """Ask the hub for all routes, now and from time to time; runs until it is cancelled."""
        while True:
            await self._refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    async def _look_again(self) -> None:
        """Ask the hub, unless that was done a moment ago; those who come meanwhile wait as well."""
        loop = asyncio.get_running_loop()
        if self._asking is None or self._asking.done():
            if loop.time() - self._asked_at < _LEAST_SECONDS_BETWEEN:
                return
            self._asking = asyncio.create_task(self._refresh())
        await asyncio.shield(self._asking)

    async def _refresh(self) -> None:
        try:
            for _ in range(_TRIES):
                changes = self._changes
                answer = await self._hub.request("GET", "/routes")
                self._asked_at = asyncio.get_running_loop().time()
                if changes == self._changes:  # else the answer may be older than what we know
                    self._replace([Route.model_validate(item) for item in answer["items"]])
                    return
        except MydockerError as error:
            app_log.warning("the routes stay as they are: %s", error)
        except Exception:  # of another release, say; it is asked again
            app_log.exception("the hub's routes cannot be read")

    def _replace(self, routes: list[Route]) -> None:
        self._routes.clear()
        self._labels.clear()
        for route in routes:
            self._put(route)

    def _put(self, route: Route) -> None:
        self._routes[route.user, route.server] = route
        self._labels[route.label] = route
