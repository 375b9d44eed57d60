"""“Try it”: starts an environment, or a build of an image, as a new student would get it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tornado.web import RequestHandler

from ...domain import names
from ...domain.errors import NotFound
from ...hubapi import Server
from ...store import trials
from ...store.trials import Trial
from ...web.service import now
from . import api
from .pages import SLUG, CataloguePage, is_active, tried


class _Try(CataloguePage):
    async def get(self, *path: str) -> None:
        # Somebody signed in again, or went back: what runs is on the dashboard.
        self.redirect(self.addresses.service_prefix, status=303)

    async def try_it(self, what: str, prepare: Any, subject: Any) -> None:
        """Start what `prepare` notes of `subject` in its own server, unless it runs already."""
        person = self.person
        api.only_teachers(person)
        servers = await self.hub_api.servers(person.name)
        running = is_active(servers.get(names.trial_name(what)))
        trial: Trial = await self.database.write(prepare, subject, person, now(), keep=running)
        environment = tried(trial)
        await self._forget_old(servers, trial.server)
        await self.start(
            trial.server,
            servers.get(trial.server),
            title=environment.title.in_(self.translator.lang),
            target=api.landing(self.addresses, person, environment),
        )

    async def _forget_old(self, servers: Mapping[str, Server], current: str) -> None:
        """Let the hub forget trials that ended: it lets each person have so many names."""
        person = self.person
        for trial in await self.database.read(trials.of_person, person):
            if trial.server != current and not is_active(servers.get(trial.server)):
                with suppress(NotFound):  # it never began
                    await self.hub_api.remove_server(person.name, trial.server)
                await self.database.write(trials.forget, person, trial.server)


class TryEnvironment(_Try):
    """`POST /trial/SLUG`: try an environment as it is saved."""

    async def post(self, slug: str) -> None:
        await self.try_it(f"environment/{slug}", trials.prepare, slug)


class TryBuild(_Try):
    """`POST /trial/build/ID`: try a build, with what its image's recipe proposes."""

    async def post(self, build_id: str) -> None:
        await self.try_it(f"build/{build_id}", trials.prepare_build, int(build_id))


ROUTES: list[tuple[str, type[RequestHandler]]] = [
    (f"trial/{SLUG}", TryEnvironment),
    ("trial/build/([1-9][0-9]{0,17})", TryBuild),
]
