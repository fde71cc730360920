"""Frames of the Rust crate's wire."""

from __future__ import annotations

from mpzmq.protocol.rust.framing import FrameReader, framed


def test_a_frame_is_a_length_and_as_many_bytes() -> None:
    assert framed(b"{}") == bytes.fromhex("02000000 7b7d")
    assert framed(b"") == bytes(4)


def bodies(reader: FrameReader, data: bytes) -> list[bytes]:
    reader.feed(data)
    return list(iter(reader.next_body, None))


def test_frames_come_in_whatever_pieces() -> None:
    stream = framed(b"one") + framed(b"") + framed(b"three")
    for step in range(1, len(stream) + 1):
        reader = FrameReader(5)
        found = [body for at in range(0, len(stream), step) for body in bodies(reader, stream[at : at + step])]

        assert found == [b"one", b"", b"three"]


def test_what_is_not_complete_waits() -> None:
    reader = FrameReader(10)

    assert bodies(reader, framed(b"1234567890")[:-1]) == []
    assert bodies(reader, b"0") == [b"1234567890"]


def test_what_is_not_asked_for_waits() -> None:
    reader = FrameReader(10)
    reader.feed(framed(b"one") + framed(b"two"))

    assert reader.next_body() == b"one"
    assert bodies(reader, framed(b"three")) == [b"two", b"three"]


def test_a_header_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    reader = FrameReader(10)

    assert bodies(reader, framed(b"one") + b"HTTP/1.1 400 Bad Request\r\n") == [b"one"]
    assert reader.failure == "a frame of 1,347,703,880 bytes is announced, and at most 10 are accepted"
    assert bodies(reader, framed(b"two")) == []
