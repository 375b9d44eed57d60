"""Small secrets that leave our hands and come back: in a cookie, in the hub's database.

Sealed is encrypted and authenticated (Fernet, from `cryptography`). Each purpose has its own key,
so that what was sealed for one is nothing for another.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken


class Seal:
    """Seals and opens JSON values for one purpose, under a secret that its processes share."""

    def __init__(self, secret: str, purpose: str) -> None:
        key = hashlib.sha256(f"{purpose}\0{secret}".encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def close(self, value: Any) -> str:
        return self._fernet.encrypt(json.dumps(value).encode()).decode("ascii")

    def open(self, sealed: str, *, seconds: int | None = None) -> Any:
        """What was sealed, at most `seconds` ago; None where it was not, or not with this key."""
        try:
            return json.loads(self._fernet.decrypt(sealed.encode(), ttl=seconds))
        except (InvalidToken, ValueError):
            return None
