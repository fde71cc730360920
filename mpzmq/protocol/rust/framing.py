"""Frames of the Rust crate's wire: a length, and as many bytes."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["FrameReader", "framed"]

_LENGTH: Final = struct.Struct("<I")


def framed(body: bytes) -> bytes:
    """A frame."""
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come, and gives the bodies of the frames that are complete, one at a time.

    Args:
        max_bytes: the largest body.

    Attributes:
        failure: why there are no more frames, in words: a header announces more than is accepted, and where the next
            frame begins, nobody can know then; empty: there may be.
    """

    def __init__(self, max_bytes: int) -> None:
        self.failure = ""
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._start = 0  # of what was not given yet

    def feed(self, data: bytes) -> None:
        """Takes bytes."""
        if not self.failure:
            del self._data[: self._start]
            self._start = 0
            self._data += data

    def next_body(self) -> bytes | None:
        """The body of the next frame; None: it is not complete, or there has been a failure."""
        begin = self._start + 4
        if self.failure or len(self._data) < begin:
            return None
        size: int = _LENGTH.unpack_from(self._data, self._start)[0]
        if size > self._max_bytes:
            self.failure = f"a frame of {size:,} bytes is announced, and at most {self._max_bytes:,} are accepted"
            self._data.clear()
            self._start = 0
            return None
        if len(self._data) - begin < size:
            return None
        self._start = begin + size
        return bytes(self._data[begin : self._start])
