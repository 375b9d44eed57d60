"""What a container or a build wrote, made fit to be shown: no control characters, no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

_MASK = "…"
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, movements of the cursor (ECMA-48 §5.4)
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles of windows, links
    r"|\x1b."
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WHOLE_LINE = 8  # characters; a shorter line of a secret is in too many other texts


def plain(text: str) -> str:
    """Text as a terminal would show it in the end: no control characters but line ends and tabs.

    Of a line that was written over, as progress bars do, the last state remains.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", "\n".join(lines))


def masked(text: str, secrets: Iterable[str]) -> str:
    """Text without these secrets, as they are, in addresses, in JSON, and line by line."""
    pieces = set()
    for secret in secrets:
        pieces |= {secret, *(line for line in secret.splitlines() if len(line) >= _WHOLE_LINE)}
    forms = {
        form for piece in pieces for form in (piece, quote(piece, safe=""), json.dumps(piece)[1:-1])
    }
    for form in sorted(forms - {""}, key=len, reverse=True):  # one may be part of another
        text = text.replace(form, _MASK)
    return text
