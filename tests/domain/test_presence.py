"""Somebody at work, or an open tab: what was watched, and the rules of the protocols."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from mydocker_hub.domain.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HEAD_BYTES,
    PING,
    PONG,
    TEXT,
    Frame,
)
from mydocker_hub.domain.presence import frame_shows_person, request_shows_person

PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
LAB = "/user/alice/lab/"


@pytest.mark.parametrize(
    ("method", "path", "headers", "shows"),
    [
        # going to a page
        ("GET", LAB, PAGE, True),
        ("HEAD", LAB, PAGE, True),
        ("GET", f"{LAB}lab/tree/a.ipynb", PAGE, True),
        # without a browser that says so, it is believed
        ("GET", LAB, {}, True),
        ("GET", LAB, {"Sec-Fetch-Mode": "navigate"}, True),
        ("GET", LAB, {"Sec-Fetch-Dest": "document"}, True),
        # what a page fetches, and the pages inside a page
        ("GET", f"{LAB}api/kernels", FETCH, False),
        ("GET", f"{LAB}api/contents", FETCH, False),
        ("GET", "/x.js", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, False),
        ("GET", "/webview", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, False),
        ("GET", "/x.css", {"Sec-Fetch-Dest": "style"}, False),
        ("OPTIONS", "/", FETCH, False),
        # sending something
        ("PUT", f"{LAB}api/contents/a.ipynb", FETCH, True),
        ("POST", f"{LAB}api/sessions", FETCH, True),
        ("PATCH", f"{LAB}api/sessions/1", FETCH, True),
        ("DELETE", f"{LAB}api/terminals/1", FETCH, True),
        ("POST", "/rpc/console_input", FETCH, True),
        ("MKCOL", "/dav/new", {}, True),
        # but what pages send on their own
        ("PUT", f"{LAB}lab/api/workspaces/default", FETCH, False),
        ("PUT", f"{LAB}lab/api/workspaces/auto-x", FETCH, False),
        ("POST", "/events/get_events", FETCH, False),
        ("POST", "/events/get_events/more", FETCH, True),
    ],
)
def test_requests(method, path, headers, shows):
    assert request_shows_person(method, path, headers) is shows
    spelled = HTTPHeaders({name.lower(): value for name, value in headers.items()})
    assert request_shows_person(method, path, spelled) is shows


def frame(opcode, payload):
    return Frame(opcode, len(payload), payload[:HEAD_BYTES])


KERNEL = "/user/alice/lab/api/kernels/1/channels?session_id=2"


@pytest.mark.parametrize(
    ("opcode", "shows"),
    [(TEXT, True), (BINARY, True), (CONTINUATION, True)]
    + [(opcode, False) for opcode in range(3, 16)],
)
def test_messages_show_somebody_and_control_frames_do_not(opcode, shows):
    assert frame_shows_person(frame(opcode, b'["stdin","e"]'), KERNEL) is shows
    assert {CLOSE, PING, PONG} <= set(range(3, 16))


CODE = "/stable-1a2b/?reconnectionToken=1&reconnection=false&skipWebSocketFrames=false"
HEADER = bytes(13)


@pytest.mark.parametrize(
    ("payload", "shows"),
    [
        # VS Code: hands on the keys or the mouse
        (HEADER + b"\x01\0\0\0\x18$onDidChangeWindowActive\0\0\0\x06[true]", True),
        (HEADER + b"\x01\0\0\0\x13$acceptModelChanged\0\0", True),
        (HEADER + b"\x01\0\0\0\x1e$acceptEditorPropertiesChanged\0", True),
        (HEADER + b"\x01\0\0\0\x1f$acceptDocumentsAndEditorsDelta", True),
        (HEADER + b"\x01\0\0\0\x1a$acceptTerminalInteraction", True),
        (HEADER + b"\x04\x04\x01\x0eremoteterminal\x01\x06$input\x04", True),
        # and all that it says without anybody
        (b"\x09" + bytes(12), False),  # a beat
        (HEADER, False),
        (HEADER + b"\x01\0\0\0\x18$onDidChangeWindowActive\0\0\0\x07[false]", False),
        (HEADER + b"\x01\0\0\0\x0c$onFileEvent\0", False),
        (HEADER + b"\x04remoteFilesystem\x01\x04stat", False),
        (HEADER + b"\x04remoteterminal\x01\x0e$acknowledgeDa", False),
        (HEADER + b"\x04telemetryAppender\x01\x04ping", False),
        (b"", False),
        # what only a file says
        (HEADER + b"x" * 60 + b"$acceptModelChanged", False),
    ],
)
def test_vs_code(payload, shows):
    assert frame_shows_person(frame(BINARY, payload), CODE) is shows
    assert frame_shows_person(frame(PONG, payload), CODE) is False


DESKTOP = "/websockify"


@pytest.mark.parametrize(
    ("payload", "shows"),
    [
        (b"\x03\x01" + bytes(8), False),  # FramebufferUpdateRequest: the next picture
        (b"\x03\x00" + bytes(8), False),
        (b"\x04\x01\0\0\0\0\0a", True),  # KeyEvent
        (b"\x05\0\0\x01\0\x01", True),  # PointerEvent
        (b"\x06\0\0\0\0\0\0\x02ab", True),  # ClientCutText: ten bytes too
        (b"\x03\x01" + bytes(9), True),
        (b"", True),
    ],
)
def test_desktops(payload, shows):
    assert frame_shows_person(frame(BINARY, payload), DESKTOP) is shows


@given(st.integers(0, 15), st.binary(max_size=200), st.text(max_size=50))
def test_anything_is_judged(opcode, payload, target):
    assert frame_shows_person(frame(opcode, payload), target) in {True, False}
