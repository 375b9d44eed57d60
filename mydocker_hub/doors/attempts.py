"""Sign-ins that are under way: bound to the browser that began them, each used once.

An `Attempt` lies sealed in a cookie of its own, named after its id, so that two tabs do not
disturb each other and a restart of the hub loses none. The id goes out with the request (SAML: the
request's ID, OpenID Connect and LTI: `state`) and comes back with the answer.

Answers that come as a cross-site POST bring no cookie. They are verified, kept here as a ticket for
a minute, and the browser is sent on with 303 to a GET, which brings the cookie (measured in
Chromium; SameSite=Lax, RFC 6265bis §5.6.7.1).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..domain.errors import Refused
from ..identity.claims import Door, Spent
from ..seal import Seal

ATTEMPT_SECONDS = 15 * 60
"""How long somebody may take at their provider: a second factor, a forgotten password."""

TICKET_SECONDS = 60
_MOST_TICKETS = 10_000
_MOST_ATTEMPTS = 8
_COOKIE = "mydocker-sign-in-"


@dataclass(frozen=True)
class Attempt:
    """One sign-in that was begun. `id` has 32 hexadecimal digits."""

    door: Door
    provider: str
    next: str = ""  # a path of ours, validated
    link_to: str = ""  # the account of the signed-in person who adds a door to it
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))  # PKCE, RFC 7636
    began_at: float = field(default_factory=time.time)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def spent(self) -> Spent:
        """What the catalogue remembers, so that no answer is taken twice."""
        return spent("attempt", self.id, timedelta(seconds=ATTEMPT_SECONDS))


def spent(kind: str, value: str, lasts: timedelta) -> Spent:
    """Something that is used once: only its digest is kept."""
    return Spent(key=once_key(kind, value), until=datetime.now(UTC) + lasts)


def once_key(kind: str, value: str) -> str:
    """A short name of something that is there once."""
    return f"{kind}:{hashlib.sha256(value.encode()).hexdigest()}"


class Attempts:
    """Puts attempts into cookies and takes them out again."""

    def __init__(self, secret: str) -> None:
        self._seal = Seal(secret, "sign-in attempt")

    def begin(self, handler: Any, attempt: Attempt, *, framed: bool = False) -> None:
        """Remember an attempt in the browser.

        `framed` is for a page inside another site's frame, where only a cookie with SameSite=None,
        Secure and Partitioned is kept, if any is.
        """
        self._drop_old(handler)
        handler.set_cookie(
            _COOKIE + attempt.id,
            self._seal.close(asdict(attempt)),
            path=handler.hub.base_url,
            max_age=ATTEMPT_SECONDS,  # not Expires: the browser's clock may be wrong
            httponly=True,
            **cookie_site(handler, framed=framed),
        )

    def has(self, handler: Any, attempt_id: str) -> bool:
        """Whether this browser holds the attempt."""
        return self._open(handler, attempt_id) is not None

    def take(self, handler: Any, attempt_id: str, door: Door) -> Attempt:
        """The attempt that an answer belongs to, which the browser forgets with this.

        Raises `Refused` where the browser did not begin it. That it is used once is for the
        catalogue to see to (`Attempt.spent`).
        """
        attempt = self._open(handler, attempt_id)
        if attempt is None or attempt.door is not door:
            raise Refused("sign-in-other-browser", log_detail=f"attempt {attempt_id[:8]}")
        self._clear(handler, _COOKIE + attempt.id)
        return attempt

    def _open(self, handler: Any, attempt_id: str) -> Attempt | None:
        sealed = handler.get_cookie(_COOKIE + attempt_id) if attempt_id.isalnum() else None
        value = self._seal.open(sealed, seconds=ATTEMPT_SECONDS) if sealed else None
        if not isinstance(value, dict) or value.get("id") != attempt_id:
            return None
        return Attempt(**{**value, "door": Door(value["door"])})

    def _drop_old(self, handler: Any) -> None:
        names = [name for name in handler.request.cookies if name.startswith(_COOKIE)]
        for name in names[: max(0, len(names) - _MOST_ATTEMPTS + 1)]:
            self._clear(handler, name)

    @staticmethod
    def _clear(handler: Any, name: str) -> None:
        # With the attributes that it was set with: a partitioned cookie is another one.
        site = cookie_site(handler, framed=handler.framed)
        handler.clear_cookie(name, path=handler.hub.base_url, **site)


def cookie_site(handler: Any, *, framed: bool = False) -> dict[str, Any]:
    """The attributes of a cookie of ours that say where it may be sent."""
    if framed:
        return {"samesite": "None", "secure": True, "partitioned": True}
    return {"samesite": "Lax", "secure": handler.request.protocol == "https"}


class Tickets:
    """Verified answers that wait for their browser, in memory, for a while, each for one use."""

    def __init__(self, seconds: float = TICKET_SECONDS) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, str, Any]] = OrderedDict()
        self._names: dict[str, str] = {}  # by `once`

    def keep(self, value: Any, *, once: str = "") -> str:
        """The name under which `value` can be taken once.

        What has the same `once` has one ticket while it lives, with the newest value: an answer
        that is sent again and again does not push out those of others.
        """
        self._forget_old()
        name = self._names.get(once) or secrets.token_urlsafe(24)
        self._kept[name] = (time.monotonic() + self._seconds, once, value)
        self._kept.move_to_end(name)  # they lie in the order in which they end
        if once:
            self._names[once] = name
        return name

    def look(self, name: str) -> Any:
        """The value, which stays; None where there is none."""
        self._forget_old()
        return self._kept.get(name, (0, "", None))[2]

    def take(self, name: str) -> Any:
        """The value, once. Raises `Refused`."""
        value = self.look(name)
        if value is None:
            raise Refused("sign-in-expired")
        self._drop(name)
        return value

    def _forget_old(self) -> None:
        now = time.monotonic()
        while self._kept:
            name, (until, _, _) = next(iter(self._kept.items()))
            if until > now and len(self._kept) <= _MOST_TICKETS:
                return
            self._drop(name)

    def _drop(self, name: str) -> None:
        _, once, _ = self._kept.pop(name)
        self._names.pop(once, None)
