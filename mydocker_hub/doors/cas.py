"""To be written."""

from __future__ import annotations

from .base import Doors

HANDLERS: list[tuple[str, type]] = []


def start(doors: Doors) -> None:
    """Nothing yet."""


def logout_url(doors: Doors, provider: str) -> str | None:
    """Nothing yet."""
    return None
