"""What must not be read in a log, and a log without it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

HIDDEN = "•••"
_SHORTEST = 4
"""Shorter values are everywhere, and tell nothing."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]{0,20}://)[^\s/@'\"<>]{1,500}@", re.IGNORECASE)
_SETTING = re.compile(
    r"(?:_authToken|_password|_auth|password|passwd|token|secret)\s*[=:]\s*[\"']?([^\s\"';]+)",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"pass|secret|token|credential|auth|pwd|(?:^|_)key|key$|private", re.IGNORECASE
)


class Redactor:
    """Takes secrets out of texts: those that it was given, and passwords in any address."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        values = {secret.strip() for secret in secrets}
        values |= {unquote(value) for value in values}
        # a secret may span lines, and a log is read by line
        values |= {line.strip() for value in values for line in value.splitlines()}
        self._secrets = sorted(
            (value for value in values if len(value) >= _SHORTEST), key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)


def secrets_of_settings(text: str) -> set[str]:
    """Passwords and tokens in a pip.conf, npmrc, condarc or apt.conf."""
    found = set(_SETTING.findall(text))
    for address in _ADDRESS.findall(text):
        try:
            parts = urlsplit(address)
            found |= {part for part in (parts.password, _user(address)) if part}
        except ValueError:
            continue
    return found


def _user(address: str) -> str:
    """The user of an address, which is the token where there is no password."""
    parts = urlsplit(address)
    return "" if parts.password else parts.username or ""


def secrets_of_docker_config(text: str) -> set[str]:
    """Passwords and tokens in a Docker `config.json`; none where it is not one."""
    try:
        auths = json.loads(text).get("auths", {}).values()
    except (ValueError, AttributeError):
        return set()
    found: set[str] = set()
    for entry in auths:
        if not isinstance(entry, dict):
            continue
        for name in ("auth", "password", "identitytoken", "registrytoken"):
            value = entry.get(name)
            if isinstance(value, str) and value:
                found.add(value)
        try:
            found.add(base64.b64decode(entry.get("auth", "")).decode().partition(":")[2])
        except ValueError:
            continue
    return found - {""}


def secrets_of_arguments(arguments: Mapping[str, str]) -> set[str]:
    """The values of build arguments whose name says that they are secret."""
    return {value for name, value in arguments.items() if _SECRET_NAME.search(name)}
