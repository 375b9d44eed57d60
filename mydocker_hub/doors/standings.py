"""What administrators decide reaches people who are signed in: roles at once, blocking too.

The hub asks the catalogue every few seconds whose standing changed. Who is blocked, or whose
account was joined to another, loses sessions, tokens and running servers; files are kept.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from jupyterhub import orm, roles
from jupyterhub.utils import new_token

from ..catalogueapi import CatalogueApi
from ..domain.errors import MydockerError
from ..domain.people import GROUPS, Role
from ..identity.claims import Standing

log = logging.getLogger("jupyterhub.mydocker.standings")

_PERIOD_SECONDS = 10


def groups_of(standing: Standing) -> list[str]:
    """The hub's groups that stand for somebody's roles."""
    return sorted(GROUPS[role] for role in standing.roles if role in GROUPS)


class Standings:
    """Follows the catalogue; `run` never ends. `app` is the hub's `JupyterHub`."""

    def __init__(self, app: Any, catalogue: CatalogueApi) -> None:
        self._app = app
        self._catalogue = catalogue
        self._after = ""
        self._to_empty: dict[str, Any] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            try:
                await self.look()
            except MydockerError as error:
                log.info("standings: %s", error)
            except Exception:
                log.exception("standings")

    async def look(self) -> None:
        """Ask once and do what follows."""
        changed, self._after = await self._catalogue.standings(self._after)
        for standing in changed:
            user = self._user(standing.name)
            if user is None:
                continue
            if standing.blocked:
                self._shut_out(user)
                self._to_empty[user.name] = user
            else:
                self._to_empty.pop(user.name, None)
                self._apply(user, standing)
        for name, user in list(self._to_empty.items()):
            try:
                if await self._stop_servers(user):
                    del self._to_empty[name]
            except Exception:  # the others are not kept waiting; this one is tried again
                log.exception("the servers of %s, who is blocked, are not stopped yet", name)

    def _user(self, name: str) -> Any:
        found = orm.User.find(self._app.db, name)
        return None if found is None else self._app.users[found]

    def _apply(self, user: Any, standing: Standing) -> None:
        admin = Role.ADMIN in standing.roles
        groups = groups_of(standing)
        if admin == user.admin and set(groups) == {group.name for group in user.groups}:
            return
        user.admin = admin
        roles.assign_default_roles(self._app.db, entity=user.orm_user)
        user.sync_groups(groups)
        self._app.db.commit()
        log.info("standing of %s: groups %s, admin %s", user.name, groups, admin)

    def _shut_out(self, user: Any) -> None:
        """End the sessions and tokens of somebody who is blocked."""
        database = self._app.db
        for token in [*user.orm_user.api_tokens, *user.orm_user.oauth_codes]:
            database.delete(token)
        user.orm_user.cookie_id = new_token()
        database.commit()
        log.info("%s is blocked: sessions and tokens ended", user.name)

    async def _stop_servers(self, user: Any) -> bool:
        """Stop what runs; False while a start or a stop is under way."""
        done = True
        for name, spawner in list(user.spawners.items()):
            if not spawner.active:
                continue
            if spawner.pending:
                done = False  # the next look finds it ready, or gone
                continue
            await self._app.proxy.delete_user(user, name)
            await user.stop(name)
            log.info("stopped %s/%s: its person is blocked", user.name, name)
        return done
