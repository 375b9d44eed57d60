"""Which traffic shows that somebody is at work, and which only that a tab is open.

The hub stops what nobody uses, and an open tab talks without end: pages poll, editors beat. So a
request counts when a person's doing is behind it. Where it cannot be told, it counts: to stop the
server of somebody who works is worse than to keep one for nobody.

What JupyterLab and code-server send was watched for minutes, with and without hands on the keys
(docs/developers/gateway.md); the other rules are those of the protocols.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .frames import BINARY, CONTINUATION, TEXT, Frame

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# Sent by pages on their own: JupyterLab keeps the layout of its panels, RStudio waits for news.
_OWN_POSTS = re.compile(r"/api/workspaces/|/events/get_events\Z")


def request_shows_person(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Whether an HTTP request is somebody's doing.

    Going to a page is, and sending something is. What a page fetches is not: it polls (JupyterLab
    asks for kernels, sessions and folders every ten seconds).
    """
    if method not in _SAFE:
        return _OWN_POSTS.search(path) is None
    # Of what does not say how it came to ask, we believe that it was sent.
    return (
        headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        and headers.get("Sec-Fetch-Dest", "document") == "document"
    )


def frame_shows_person(frame: Frame, target: str) -> bool:
    """Whether what a browser sent over a WebSocket is somebody's doing.

    `target` is what the WebSocket was opened for: path and query.
    """
    if frame.opcode not in {TEXT, BINARY, CONTINUATION}:
        return False  # pings, pongs, the end
    if "reconnectionToken=" in target:
        return _VSCODE.search(frame.head) is not None
    return not _asks_for_picture(frame)


# VS Code talks all the time. These calls are sent when hands are on the keys or the mouse: the
# window becomes active, a text is changed or selected, a file opened, a terminal typed into
# (vs/workbench/api/common/extHost.protocol.ts, vs/workbench/contrib/terminal/common/remote).
_VSCODE = re.compile(
    rb"\$onDidChangeWindowActive\0\0\0\x06\[true\]"
    rb"|\$acceptModelChanged"
    rb"|\$acceptEditorPropertiesChanged"
    rb"|\$acceptDocumentsAndEditorsDelta"
    rb"|\$acceptTerminalInteraction"
    rb"|remoteterminal\x01\x06\$input",
    re.DOTALL,
)

_RFB_UPDATE_REQUEST, _RFB_UPDATE_REQUEST_BYTES = 3, 10


def _asks_for_picture(frame: Frame) -> bool:
    """Whether a desktop's viewer only asks for the next picture (RFC 6143 section 7.5.3)."""
    return (
        frame.opcode == BINARY
        and frame.length == _RFB_UPDATE_REQUEST_BYTES
        and frame.head[0] == _RFB_UPDATE_REQUEST
    )
