"""The hub's authenticator: who may come in, and with which role. The doors are in `doors`."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.auth import Authenticator
from traitlets import Bool, Unicode, default

from . import hubpages
from .catalogueapi import CatalogueApi
from .domain.errors import N_, Invalid
from .domain.people import GROUPS, Role
from .doors import setup
from .doors.standings import Standings, groups_of
from .identity import settings as sign_in_settings
from .identity.claims import SignIn
from .web.i18n import translator

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

    sign_in_file = Unicode(
        "",
        config=True,
        help="""
        The file that says which doors there are and who may enter: docs/operators/sign-in.md.
        """,
    )

    state = Unicode(
        "",
        config=True,
        help="""
        The folder for what the doors keep: keys of the SAML service provider, the federation's
        metadata. Made for its owner alone.
        """,
    )

    public_url = Unicode(
        "",
        config=True,
        help="""
        Scheme and host at which people reach the hub, such as https://hub.example.org: providers
        send people back there.
        """,
    )

    @default("manage_groups")
    def _default_manage_groups(self) -> bool:
        return True

    @default("allow_all")
    def _default_allow_all(self) -> bool:
        return True  # who may come in is decided by `authenticate`

    @default("auth_refresh_age")
    def _default_auth_refresh_age(self) -> int:
        return 0  # `Standings` brings what changes; no page and no start waits for a provider

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """The hub's own hook for adding pages; called once, at start-up.

        So it is also where a configuration that cannot work is refused, with ValueError.
        """
        settings = self._settings()
        if not self.demo and not setup.has_doors(settings):
            raise ValueError(
                "nobody could sign in: no door is configured. Write a sign-in.yaml "
                "(docs/operators/sign-in.md) and give it to mydocker_hub.hubconfig.install(c, "
                "sign_in=…). To try mydocker_hub out, use demo=True"
            )
        if self.admin_users and setup.has_doors(settings):
            raise ValueError(
                "admin_users goes by user names, and another person could come first and get the "
                "name: name administrators by their provider's identifier, under administrators "
                "in sign-in.yaml, or give the role on the page People"
            )
        if self.demo and not listens_on_loopback(app.bind_url):
            raise ValueError(
                f"the demonstration sign-in lets anybody in, so it does not run on {app.bind_url}: "
                "listen on http://127.0.0.1:8000, or turn the demonstration off"
            )
        app.spawner_class.check_config(app.config)
        spawner = app.config.SwarmEnvironmentSpawner
        catalogue = CatalogueApi(spawner.catalogue_url, spawner.catalogue_secret)
        app.tornado_settings["mydocker_catalogue"] = catalogue
        app.tornado_settings["mydocker_catalogue_secret"] = spawner.catalogue_secret
        app.tornado_settings["mydocker_gateway_secret"] = spawner.gateway_secret
        doors, handlers = setup.open_doors(
            settings,
            secret=spawner.catalogue_secret,
            state=Path(self.state or "."),
            public_url=self.public_url or app.bind_url.rstrip("/"),
            hub_prefix=app.hub_prefix,
            demo=self.demo,
        )
        app.tornado_settings["mydocker_doors"] = doors
        self._standings = asyncio.get_running_loop().create_task(Standings(app, catalogue).run())
        return [*handlers, *hubpages.HANDLERS]

    def _settings(self) -> sign_in_settings.SignInSettings:
        if not self.sign_in_file:
            return sign_in_settings.SignInSettings()
        try:
            return sign_in_settings.load(Path(self.sign_in_file))
        except Invalid as error:
            raise ValueError(translator("en").error(error)) from error

    async def authenticate(self, handler: Any, data: dict[str, Any]) -> dict[str, Any] | None:
        """Who came in by a door (`doors.base`), or the demonstration account that was chosen."""
        sign_in = data.get("sign_in")
        if isinstance(sign_in, SignIn):  # never from a form: fields of forms are strings
            standing = await handler.catalogue.sign_in(sign_in)
            return {
                "name": standing.name,
                "admin": Role.ADMIN in standing.roles,
                "groups": groups_of(standing),
            }
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
