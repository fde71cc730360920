"""Frames of the Rust crate's wire: a length, and as many bytes."""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["FrameReader", "FrameTooLarge", "framed"]

_LENGTH: Final = struct.Struct("<I")


class FrameTooLarge(Exception):
    """A header announces more than is accepted; where the next frame begins, nobody can know then.

    Attributes:
        size: the bytes that it announces.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a frame of {size:,} bytes is announced, and at most {limit:,} are accepted")
        self.size = size


def framed(body: bytes) -> bytes:
    """A frame."""
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come, and gives the bodies of the frames that are complete.

    Args:
        max_bytes: the largest body.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()

    @property
    def is_partial(self) -> bool:
        """Whether a frame has begun, and not ended."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now.

        Raises:
            FrameTooLarge: a header announces more than is accepted. What came before it is lost with it.
        """
        self._data += data
        bodies: list[bytes] = []
        start = 0
        while len(self._data) - start >= 4:
            size: int = _LENGTH.unpack_from(self._data, start)[0]
            if size > self._max_bytes:
                raise FrameTooLarge(size, self._max_bytes)
            if len(self._data) - start - 4 < size:
                break
            bodies.append(bytes(self._data[start + 4 : start + 4 + size]))
            start += 4 + size
        if start:
            del self._data[:start]
        return bodies
