"""Being shown inside another site's page, such as Moodle's, where an operator allows its origin.

A browser then sends only cookies with SameSite=None and Secure, and, where it blocks those of third
parties, only partitioned ones (CHIPS, draft-cutler-httpbis-partitioned-cookies).
"""

from __future__ import annotations

from collections.abc import Iterable
from http.cookies import Morsel
from typing import Any

COOKIE_OPTIONS: dict[str, Any] = {"samesite": "None", "secure": True, "partitioned": True}


def allow_partitioned_cookies() -> None:
    """Have `http.cookies`, which tornado uses, write the attribute Partitioned.

    Python has it from 3.14 on; before, these two private tables are all that is in the way.
    """
    Morsel._reserved.setdefault("partitioned", "Partitioned")  # type: ignore[attr-defined]
    Morsel._flags.add("partitioned")  # type: ignore[attr-defined]


def policy(origins: Iterable[str]) -> str:
    """The Content-Security-Policy by which these origins, and our own, may frame a page."""
    return f"frame-ancestors {ancestors(origins)}"


def ancestors(origins: Iterable[str]) -> str:
    return " ".join(["'self'", *origins])
