"""The hub's authenticator. Today it has one door: the demonstration sign-in."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.auth import Authenticator
from traitlets import Bool, default

from . import hubpages
from .catalogueapi import CatalogueApi
from .domain.errors import N_
from .domain.people import GROUPS, Role

DEMO_ACCOUNTS: dict[str, tuple[str, Role]] = {
    "alice": ("Alice", Role.STUDENT),
    "bob": ("Bob", Role.TEACHER),
    "carol": ("Carol", Role.ADMIN),
}
"""The demonstration's people: user name to display name and role."""

ROLE_NAMES = {
    Role.STUDENT: N_("student"),
    Role.TEACHER: N_("teacher"),
    Role.ADMIN: N_("administrator"),
}


class MyDockerAuthenticator(Authenticator):
    """Who may come in, and with which role. Roles are hub groups (`domain.people.GROUPS`)."""

    demo = Bool(
        False,
        config=True,
        help="""
        Let anybody sign in as one of three demonstration accounts, without a password.
        For trying out on one machine: refused unless the hub listens on a loopback address.
        """,
    )

    @default("manage_groups")
    def _default_manage_groups(self) -> bool:
        return True

    @default("allow_all")
    def _default_allow_all(self) -> bool:
        return True  # who may come in is decided by `authenticate`

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """The hub's own hook for adding pages; called once, at start-up.

        So it is also where a configuration that cannot work is refused, with ValueError.
        """
        if not self.demo:
            raise ValueError(
                "nobody could sign in: no door is configured. To try mydocker_hub out, call "
                "mydocker_hub.hubconfig.install(c, demo=True, …)"
            )
        if not listens_on_loopback(app.bind_url):
            raise ValueError(
                f"the demonstration sign-in lets anybody in, so it does not run on {app.bind_url}: "
                "listen on http://127.0.0.1:8000, or turn the demonstration off"
            )
        app.spawner_class.check_config(app.config)
        settings = app.config.SwarmEnvironmentSpawner
        app.tornado_settings["mydocker_catalogue"] = CatalogueApi(
            settings.catalogue_url, settings.catalogue_secret
        )
        app.tornado_settings["mydocker_gateway_secret"] = settings.gateway_secret
        return [*super().get_handlers(app), *hubpages.HANDLERS]

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """The demonstration account that was chosen; anything else is refused."""
        name = data.get("username", "")
        if not self.demo or name not in DEMO_ACCOUNTS:
            return None
        if not asked_on_this_machine(handler.request):
            self.log.warning("demonstration sign-in refused: it was asked for from elsewhere")
            return None
        _, role = DEMO_ACCOUNTS[name]
        return {
            "name": name,
            "admin": role is Role.ADMIN,
            "groups": [GROUPS[role]] if role in GROUPS else [],
        }


def asked_on_this_machine(request: Any) -> bool:
    """Whether a request came through this machine's proxy, for a page of this machine.

    Containers reach the hub without the proxy, and could sign in as the administrator. They can
    forge every header, but not the address that they connect from: the proxy's is one of this
    machine's own. The Host keeps out web pages whose name was made to point here (DNS rebinding).
    """
    peer = request.connection.stream.socket.getpeername()[0]
    return _is_own_address(peer) and listens_on_loopback(f"//{request.host}")


def _is_own_address(address: str) -> bool:
    """Whether this machine has an address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listens_on_loopback(bind_url: str) -> bool:
    """Whether only this machine reaches an address; no host means every interface."""
    host = urlsplit(bind_url).hostname or ""
    return host == "localhost" or _is_loopback(host)
