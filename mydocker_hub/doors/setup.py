"""Which doors the configuration opens, and the handlers of those alone."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from jupyterhub import log as hublog

from ..identity.settings import SignInSettings
from . import link, page
from .attempts import Attempts, Tickets
from .base import Doors

_QUESTION_SECONDS = 600  # to read, and perhaps to look for the other account


def has_doors(settings: SignInSettings) -> bool:
    """Whether anybody could come in."""
    return bool(settings.federation or settings.openid or settings.cas or settings.lti)


def open_doors(
    settings: SignInSettings,
    *,
    secret: str,
    state: Path,
    public_url: str,
    hub_prefix: str,
    demo: bool,
) -> tuple[Doors, list[tuple[str, Any]]]:
    """The doors and their handlers. Raises ValueError for what cannot work, such as a missing key.

    A door that is not configured has no address at all.
    """
    if "ticket" not in hublog.SCRUB_PARAM_KEYS:  # what the hub's log cuts out of addresses
        hublog.SCRUB_PARAM_KEYS += ("ticket",)
    doors = Doors(
        settings=settings,
        secret=secret,
        state=state,
        public_url=public_url.rstrip("/"),
        hub_url=f"{public_url.rstrip('/')}{hub_prefix}",
        attempts=Attempts(secret),
        tickets=Tickets(),
        questions=Tickets(_QUESTION_SECONDS),
        demo=demo,
    )
    handlers: list[tuple[str, Any]] = [*page.HANDLERS]
    for configured, name in (
        (settings.federation, "saml"),
        (settings.openid, "oidc"),
        (settings.cas, "cas"),
        (settings.lti, "lti"),
    ):
        if configured:  # a door's libraries take up to a second to load
            module = import_module(f".{name}", __package__)
            module.start(doors)
            handlers += module.HANDLERS
    if has_doors(settings):
        handlers += link.HANDLERS
    return doors, handlers
