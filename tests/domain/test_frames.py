"""Frames of a WebSocket are read alike wherever the stream is cut."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mydocker_hub.domain.frames import BINARY, HEAD_BYTES, PING, TEXT, Frame, FrameReader


def bytes_of(opcode, payload, *, mask=None, width=None, flags=0x80):
    """A frame as it is sent. `width` is that of its length: 7, 16 or 64 bits."""
    length = len(payload)
    width = width or (7 if length < 126 else 16 if length < 65536 else 64)
    masked = 0x80 if mask else 0
    short = {7: length, 16: 126, 64: 127}[width]
    header = bytes([flags | opcode, masked | short])
    if width > 7:
        header += length.to_bytes(width // 8, "big")
    if mask:
        header += mask
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return header + payload


def frame_of(opcode, payload):
    return Frame(opcode, len(payload), payload[:HEAD_BYTES])


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 125, 126, 127, 65535, 65536, 100_000])
@pytest.mark.parametrize("mask", [None, b"\0\0\0\0", b"\x12\x34\x56\x78"])
def test_every_length(length, mask):
    payload = bytes(index % 251 for index in range(length))
    sent = bytes_of(BINARY, payload, mask=mask) + bytes_of(PING, b"after", mask=mask)
    assert FrameReader().feed(sent) == [frame_of(BINARY, payload), Frame(PING, 5, b"after")]


@pytest.mark.parametrize("width", [7, 16, 64])
def test_a_length_may_be_written_longer_than_it_needs(width):
    sent = bytes_of(TEXT, b"ten bytes.", mask=b"abcd", width=width)
    assert FrameReader().feed(sent) == [Frame(TEXT, 10, b"ten bytes.")]


def test_flags_are_no_part_of_the_opcode():
    assert FrameReader().feed(bytes_of(TEXT, b"x", flags=0x70)) == [Frame(TEXT, 1, b"x")]


def test_a_frame_is_known_once_its_head_is_there():
    reader = FrameReader()
    sent = bytes_of(BINARY, b"x" * 1000, mask=b"abcd")
    assert reader.feed(sent[: 8 + HEAD_BYTES - 1]) == []
    assert reader.feed(sent[8 + HEAD_BYTES - 1 : 8 + HEAD_BYTES]) == [
        Frame(BINARY, 1000, b"x" * HEAD_BYTES)
    ]
    assert reader.feed(sent[8 + HEAD_BYTES :]) == []  # not a second time
    assert reader.feed(b"") == []


frames = st.tuples(
    st.integers(0, 15),
    st.one_of(
        st.binary(max_size=300),
        st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda n: b"a" * n),
    ),
    st.none() | st.binary(min_size=4, max_size=4),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(frames, max_size=6), st.data())
def test_frames_cut_anywhere_are_the_same(sent, data):
    stream = b"".join(
        bytes_of(opcode, payload, mask=mask, width=64 if long else None)
        for opcode, payload, mask, long in sent
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader()
    read = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        read += reader.feed(stream[start:end])
    assert read == [frame_of(opcode, payload) for opcode, payload, _, _ in sent]


@given(st.lists(frames.filter(lambda frame: len(frame[1]) < 1000), max_size=3))
def test_frames_that_come_byte_by_byte_are_the_same(sent):
    stream = b"".join(bytes_of(*frame[:2], mask=frame[2]) for frame in sent)
    reader = FrameReader()
    read = [frame for index in range(len(stream)) for frame in reader.feed(stream[index:][:1])]
    assert read == [frame_of(opcode, payload) for opcode, payload, _, _ in sent]


@given(st.lists(st.binary(max_size=2000), max_size=10))
def test_anything_is_read_and_hardly_anything_kept(pieces):
    reader = FrameReader()
    for piece in pieces:
        for frame in reader.feed(piece):
            assert len(frame.head) == min(frame.length, HEAD_BYTES)
            assert 0 <= frame.opcode < 16
        assert len(reader._start) < 100


def test_a_length_that_nobody_sends_is_waited_for():
    reader = FrameReader()
    reader.feed(bytes([0x82, 0xFF]) + b"\xff" * 8 + b"mask" + b"x" * HEAD_BYTES)
    assert reader.feed(b"x" * 10_000) == []
    assert reader._start == b""


@pytest.mark.parametrize("frame", [bytes_of(PING, b""), bytes_of(PING, b"", mask=b"abcd")])
def test_thousands_of_empty_frames_take_no_time(frame):
    stream = frame * (1_000_000 // len(frame))
    start = time.monotonic()
    assert len(FrameReader().feed(stream)) == 1_000_000 // len(frame)
    assert time.monotonic() - start < 10  # cut off one by one it would be minutes
