"""Which traffic shows that somebody is at work, and which only that a tab is open.

The hub stops what nobody uses, and an open tab talks without end: pages poll, editors beat. So a
request counts when a person's doing is behind it. Where it cannot be told, it counts: to stop the
server of somebody who works is worse than to keep one for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

from .frames import BINARY, CLOSE, PING, PONG, Frame

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def request_shows_person(method: str, headers: Mapping[str, str]) -> bool:
    """Whether an HTTP request is somebody's doing.

    Going to a page is, and sending something is. What a page fetches is not: it polls (JupyterLab
    asks for kernels, sessions and folders every ten seconds).
    """
    if method not in _SAFE:
        return True
    return headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def frame_shows_person(frame: Frame) -> bool:
    """Whether what a browser sent over a WebSocket is somebody's doing."""
    if frame.opcode in {PING, PONG, CLOSE}:
        return False
    return not _is_beat(frame)


# VS Code's messages begin with 13 bytes: type, id, acknowledged id, length of what follows
# (src/vs/base/parts/ipc/common/ipc.net.ts, ProtocolMessageType).
_VSCODE_HEADER_BYTES = 13
_VSCODE_WITHOUT_CONTENT = frozenset({3, 9})  # Ack, KeepAlive


def _is_beat(frame: Frame) -> bool:
    return (
        frame.opcode == BINARY
        and frame.length == _VSCODE_HEADER_BYTES
        and frame.head[0] in _VSCODE_WITHOUT_CONTENT
    )
