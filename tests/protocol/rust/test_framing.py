"""Frames of the Rust crate's wire."""

from __future__ import annotations

import pytest

from mpzmq.protocol.rust.framing import FrameReader, FrameTooLarge, framed


def test_a_frame_is_a_length_and_as_many_bytes() -> None:
    assert framed(b"{}") == bytes.fromhex("02000000 7b7d")
    assert framed(b"") == bytes(4)


def test_frames_come_in_whatever_pieces() -> None:
    stream = framed(b"one") + framed(b"") + framed(b"three")
    for step in range(1, len(stream) + 1):
        reader = FrameReader(5)
        found = [body for at in range(0, len(stream), step) for body in reader.feed(stream[at : at + step])]

        assert found == [b"one", b"", b"three"]
        assert not reader.is_partial


def test_what_is_not_complete_waits() -> None:
    reader = FrameReader(10)

    assert reader.feed(framed(b"1234567890")[:-1]) == []
    assert reader.is_partial
    assert reader.feed(b"0") == [b"1234567890"]


def test_a_header_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = FrameReader(10)

    with pytest.raises(FrameTooLarge, match=r"a frame of 1,347,703,880 bytes is announced, and at most 10 are"):
        reader.feed(b"HTTP/1.1 400 Bad Request\r\n")
