"""The frames of a WebSocket as they pass by, without keeping what is in them (RFC 6455 section 5).

The gateway hands bytes on as they come; it only wants to know what kinds of messages a browser
sends, because an open tab that says "I am still here" is nobody at work.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
HEAD_BYTES = 64  # what `presence` looks at


@dataclass(frozen=True)
class Frame:
    """One frame: its opcode, the length of its payload in bytes, and how the payload begins.

    `head` has at most `HEAD_BYTES` bytes, unmasked.
    """

    opcode: int
    length: int
    head: bytes


class FrameReader:
    """Reads frames from pieces of a stream, cut anywhere; keeps less than 100 bytes."""

    def __init__(self) -> None:
        self._start = b""  # of the frame that has begun: its header, and its payload's head
        self._skip = 0  # bytes of a payload that are still to come and not looked at

    def feed(self, data: bytes) -> list[Frame]:
        """The frames whose heads are complete with `data`, in order."""
        frames = []
        position = 0  # not cut off at each frame: somebody may send thousands of empty ones
        while position < len(data):
            if self._skip:
                skipped = min(self._skip, len(data) - position)
                self._skip -= skipped
                position += skipped
                continue
            taken = data[position : position + self._wanted() - len(self._start)]
            self._start += taken
            position += len(taken)
            if len(self._start) == self._wanted():
                frames.append(self._frame())
        return frames

    def _wanted(self) -> int:
        """Bytes of header and head, as far as known: more is known with every part."""
        start = self._start
        if len(start) < 2:
            return 2
        header = self._header_length()
        if len(start) < header:
            return header
        return header + min(HEAD_BYTES, self._length())

    def _header_length(self) -> int:
        masked, short = self._start[1] & 0x80, self._start[1] & 0x7F
        return 2 + {126: 2, 127: 8}.get(short, 0) + (4 if masked else 0)

    def _length(self) -> int:
        short = self._start[1] & 0x7F
        if short < 126:
            return short
        return int.from_bytes(self._start[2 : 4 if short == 126 else 10], "big")

    def _frame(self) -> Frame:
        header, length = self._header_length(), self._length()
        head = self._start[header:]
        if self._start[1] & 0x80:
            mask = self._start[header - 4 : header]
            head = bytes(byte ^ mask[index % 4] for index, byte in enumerate(head))
        frame = Frame(self._start[0] & 0x0F, length, head)
        self._skip = length - len(head)
        self._start = b""
        return frame
