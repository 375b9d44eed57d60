"""The public keys of LTI platforms: fetched without holding anybody up, and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import HTTPRequest
from tornado.log import app_log

from ..domain.environment import Text
from ..domain.errors import Refused, Unavailable
from ..httpclient import guarded_client
from ..identity.platform import Platform
from .outside import fetch, is_safe

_LIFE_SECONDS = 3600  # a key that the platform withdrew counts no longer than this
_PAUSE_SECONDS = 30  # between two fetches, whatever key is asked for
_MOST_KEYS = 100

Key = Mapping[str, Any]


@dataclass
class _Held:
    keys: dict[str, Key] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    failed: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PlatformKeys:
    """Key sets (RFC 7517) by their address, each key by its `kid`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._held: dict[str, _Held] = {}
        self._clock = clock

    async def key(self, platform: Platform, kid: str) -> Key:
        """A key of a platform.

        Raises `Refused` where the platform has none of this name, `Unavailable` where it does not
        say. What was fetched last counts while a platform does not answer.
        """
        held = self._held.setdefault(platform.jwks_url or "", _Held())
        if self._is_wanting(held, kid):
            async with held.lock:  # a class that comes together asks once
                now = self._clock()
                if self._is_wanting(held, kid) and now - held.tried_at >= _PAUSE_SECONDS:
                    held.tried_at = now
                    await self._refresh(held, platform)
        if kid in held.keys:
            return held.keys[kid]
        if held.failed:
            raise _unreachable(platform, "")
        raise Refused("sign-in-message-invalid", provider=platform.name, log_detail="unknown kid")

    def _is_wanting(self, held: _Held, kid: str) -> bool:
        return kid not in held.keys or self._clock() - held.fetched_at > _LIFE_SECONDS

    async def _refresh(self, held: _Held, platform: Platform) -> None:
        try:
            held.keys = await _fetch(platform)
        except Unavailable as error:
            held.failed = True
            app_log.warning("keys of LTI platform %s: %s", platform.id, error.log_detail)
        else:
            held.fetched_at = self._clock()
            held.failed = False


async def _fetch(platform: Platform) -> dict[str, Key]:
    url = platform.jwks_url or ""
    if not is_safe(url, loopback=True):  # nobody vouches for keys that come in the clear
        raise _unreachable(platform, "the address is not https")
    name = Text(fr=platform.name, en=platform.name)
    answer = await fetch(
        HTTPRequest(url, headers={"Accept": "application/json"}),
        name,
        guarded_client(private=_may_be_private(platform)),
    )
    value = answer.json() if answer.status == 200 else None
    keys = value.get("keys") if value else None
    if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
        raise _unreachable(platform, f"HTTP {answer.status}, and no key set")
    return {
        key["kid"]: key for key in keys if isinstance(key, dict) and isinstance(key.get("kid"), str)
    }


def _may_be_private(platform: Platform) -> bool:
    """Whether the keys are on a host that an administrator approved, wherever that is."""
    host = _host(platform.jwks_url)
    return host != "" and host in {_host(platform.issuer), _host(platform.authorization_url)}


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:  # an issuer may be any text
        return ""


def _unreachable(platform: Platform, log_detail: str) -> Unavailable:
    return Unavailable(
        "platform-unreachable", provider=platform.name, detail="JWKS", log_detail=log_detail
    )
