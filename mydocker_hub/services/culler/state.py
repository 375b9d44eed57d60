"""What the culler is told when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ...domain.calendar import Site
from ...domain.culling import SiteLimits
from ...domain.environment import Effect


@dataclass(frozen=True)
class Settings:
    """`hubconfig` hands these over in the environment; the hub adds its address and a token."""

    database_url: str
    hub_api_url: str
    token: str = field(repr=False)
    limits: SiteLimits = field(default_factory=SiteLimits)
    site: Site = field(default_factory=Site)
    seconds: float = 60.0

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Raises KeyError naming what lacks."""
        return cls(
            database_url=environ["MYDOCKER_DATABASE_URL"],
            hub_api_url=environ["JUPYTERHUB_API_URL"],
            token=environ["JUPYTERHUB_API_TOKEN"],
            limits=limits_from(environ),
            site=Site(Effect(environ.get("MYDOCKER_SESSION_EFFECT") or Effect.INDICATIVE)),
            seconds=float(environ.get("MYDOCKER_CULLER_SECONDS", "60")),
        )


def limits_from(environ: Mapping[str, str]) -> SiteLimits:
    """The site's limits, as `hubconfig` hands them over."""
    return SiteLimits(
        _seconds(environ.get("MYDOCKER_LONGEST_IDLE_SECONDS", "")),
        _seconds(environ.get("MYDOCKER_LONGEST_RUN_SECONDS", "")),
    )


def _seconds(text: str) -> timedelta | None:
    return timedelta(seconds=float(text)) if text else None
