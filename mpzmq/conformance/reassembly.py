"""Messages that come in parts, and messages cut into parts (docs/protocol.md, "Parts")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..protocol.wire.kinds import Kind
from .frames import PART_BYTES, Heard, UnreadableMessage, in_frame, pack, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..transport.interface import Frames

__all__ = ["UNREAD", "Reassembly", "in_parts"]

UNREAD = 4 << 20
"""Bytes of pieces that may be sent and not yet read."""


def in_parts(tag: bytes, record: list[object], *buffers: bytes) -> Iterator[Frames]:
    """The messages of one record that is sent in parts, each with one piece of 1 MiB."""
    frames = [pack(record), *buffers]
    sizes = b"".join(struct.pack("!Q", len(frame)) for frame in frames)
    whole = b"".join(frames)
    for offset in range(0, len(whole), PART_BYTES):
        piece = whole[offset : offset + PART_BYTES]
        view = in_frame(0, "v", "B", [len(piece)])
        yield [tag, pack([Kind.PART, offset, None if offset else sizes, [view]]), piece]


class Reassembly:
    """The parts of one message after the other, put together."""

    def __init__(self) -> None:
        self.taken = 0
        """Bytes of all pieces so far."""
        self._tag = b""
        self._sizes: list[int] = []
        self._data = bytearray()

    def add(self, part: Heard) -> Heard | None:
        """Takes one part; returns the record when it is whole.

        Raises:
            UnreadableMessage: it is not the next one.
        """
        _, offset, sizes, pieces, *_ = part.record  # what is behind is a later version's
        if sizes is not None:
            if self._tag and offset == 0 and self._tag != part.tag:
                raise UnreadableMessage("a first PART while another message is under way (Parts)")
            self._tag, self._data = part.tag, bytearray()
            self._sizes = [size for (size,) in struct.iter_unpack("!Q", sizes)]
        if part.tag != self._tag or offset != len(self._data):
            raise UnreadableMessage(f"a PART at {offset:,} where {len(self._data):,} bytes have come (Parts)")
        for piece in pieces:
            self._data += piece
            self.taken += len(piece)
        if len(self._data) > sum(self._sizes):
            raise UnreadableMessage("PARTs with more bytes than their sizes tell (Parts)")
        if len(self._data) < sum(self._sizes):
            return None
        frames: list[bytes] = []
        begin = 0
        for size in self._sizes:
            frames.append(bytes(self._data[begin : begin + size]))
            begin += size
        self._tag, whole = b"", part.tag
        (heard,) = read([whole, *frames], 1)
        return heard
