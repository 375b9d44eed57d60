"""What deleted environments and people have left behind, for administrators."""

from __future__ import annotations

from dataclasses import dataclass

from tornado.web import RequestHandler

from ...domain.errors import N_, MydockerError
from ...domain.machines import Machine
from ...hubapi import RunningServer
from ...store import leftovers
from ...store.leftovers import LeftFolder
from ...web.service import now
from .api import Context
from .people_pages import AdminPage

DONE = {"stopped": N_("The server is being stopped.")}


@dataclass(frozen=True)
class LeftServer:
    """A server whose environment is not there any more."""

    environment: str
    running: RunningServer


class LeftoversPage(AdminPage):
    """`/admin/leftovers`: listed, and servers stopped one by one (`action=stop`)."""

    async def get(self) -> None:
        context: Context = self.settings["context"]
        servers, trouble = await self._servers()
        folders = await self.database.read(leftovers.folders, context.hub)
        machines = {one.id: one.name for one in await self._machines(folders)}
        self.render_page(
            "forecast/leftovers.html",
            servers=servers,
            trouble=trouble,
            folders=folders,
            machines=machines,
            done=DONE.get(self.query("done"), ""),
        )

    async def _machines(self, folders: list[LeftFolder]) -> list[Machine]:
        """The Swarm's machines, for their names; none where they are not known."""
        context: Context = self.settings["context"]
        if context.builder is None or not folders:
            return []
        try:
            return await context.builder.machines()
        except MydockerError:
            return []

    async def post(self) -> None:
        name, server = self.field("user"), self.field("server")
        servers, trouble = await self._servers()
        if trouble is not None:
            raise trouble
        for one in servers:  # nothing else is stopped from here
            if (one.running.user, one.running.server) == (name, server):
                await self.hub_servers.stop(name, server, one.environment)
                await self.database.write(
                    leftovers.note_stop, self.person.name, name, server, now()
                )
        self.redirect(f"{self.addresses.service_prefix}admin/leftovers?done=stopped", status=303)

    async def _servers(self) -> tuple[list[LeftServer], MydockerError | None]:
        try:
            running = await self.hub_servers.by_environment()
        except MydockerError as error:
            return [], error
        unknown = await self.database.read(leftovers.unknown, running)
        found = [LeftServer(slug, one) for slug in unknown for one in running[slug]]
        return sorted(found, key=lambda one: (one.running.user, one.running.server)), None


ROUTES: list[tuple[str, type[RequestHandler]]] = [("admin/leftovers", LeftoversPage)]
