"""What the gateway's handlers share while it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import jinja2
from jupyterhub.utils import url_path_join

from ...httpclient import JsonClient
from ...seal import Seal
from ...share import share_path
from .access import Access
from .forward import Containers
from .notices import Notices
from .presence import Presence
from .routes import Routes


@dataclass(frozen=True)
class Settings:
    """What the gateway needs to run; `hubconfig` hands it over in the environment."""

    secret: str = field(repr=False)
    hub_api_url: str
    base_url: str
    public_url: str = ""
    wildcard_url: str = ""
    frame_origins: tuple[str, ...] = ()
    presence_seconds: float = 60.0
    kernels_seconds: float = 240.0

    @classmethod
    def from_environ(cls) -> Settings:
        """Read what the hub and `hubconfig` set. Raises KeyError naming what lacks."""
        return cls(
            secret=os.environ["MYDOCKER_GATEWAY_SECRET"],
            hub_api_url=os.environ["JUPYTERHUB_API_URL"],
            base_url=os.environ.get("JUPYTERHUB_BASE_URL", "/"),
            public_url=os.environ.get("MYDOCKER_PUBLIC_URL", ""),
            wildcard_url=os.environ.get("MYDOCKER_WILDCARD_URL", ""),
            frame_origins=tuple(os.environ.get("MYDOCKER_FRAME_ORIGINS", "").split()),
        )


@dataclass
class Ticket:
    """A sign-in on its way from the hub's origin to that of a port; used once."""

    client_id: str
    port: int
    state: str
    token: str
    until: float


@dataclass
class Gateway:
    """What the handlers share."""

    settings: Settings
    routes: Routes
    access: Access
    presence: Presence
    containers: Containers
    cookies: Seal
    notes: Seal  # what to go on with after a sign-in
    templates: jinja2.Environment
    notices: Notices
    tickets: dict[str, Ticket] = field(default_factory=dict)

    @classmethod
    def make(cls, settings: Settings) -> Gateway:
        """To be called on the event loop."""
        hub = JsonClient(
            url_path_join(settings.hub_api_url, "mydocker"),
            settings.secret,
            unavailable_code="hub-unavailable",
        )
        notices = Notices()
        return cls(
            settings=settings,
            routes=Routes(hub),
            access=Access(settings.hub_api_url, settings.base_url),
            presence=Presence(
                settings.hub_api_url,
                seconds=settings.presence_seconds,
                matters_now=notices.puts_off,
            ),
            notices=notices,
            containers=Containers(),
            cookies=Seal(settings.secret, "cookie"),
            notes=Seal(settings.secret, "note"),
            templates=jinja2.Environment(
                loader=jinja2.FileSystemLoader(share_path("templates")),
                extensions=["jinja2.ext.i18n"],
                autoescape=True,
                undefined=jinja2.StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
            ),
        )
