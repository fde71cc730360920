"""What a side of this protocol sends to a translator: records, large ones put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..flow.reassembler import FragmentResult, Reassembler
from ..wire.kinds import Kind
from ..wire.messages import Message, MessageDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...config import Limits
    from ..wire.values import Buffer

__all__ = ["Inbox"]


class Inbox:
    """Reads the messages of one connection.

    Args:
        limits: of both sides.
        answered: the kind of record that somebody waits for an answer to, or for: REQUEST or RESPONSE.

    Attributes:
        was_part: whether the last message was one; its sender is told then that it was :meth:`taken`.
    """

    def __init__(self, limits: Limits, answered: int) -> None:
        self._decoder = MessageDecoder(limits, answered)
        self._parts = Reassembler(limits.message_bytes)
        self.was_part = False

    def read(self, frames: Sequence[Buffer]) -> Message:
        """One message; that of a last part is the whole one."""
        message = self._decoder.decode(frames)
        self.was_part = len(message.records) == 1 and message.records[0][1][0] == Kind.PART
        if self.was_part:
            return self._part(*message.records[0], message.size)
        return message

    def taken(self) -> int:
        """How many bytes of parts were read, for the sender to know."""
        return self._parts.read()

    def forget(self, tag: bytes) -> None:
        """Nobody waits for it any more."""
        self._parts.forget(tag)

    def _part(self, tag: bytes, record: list[object], size: int) -> Message:
        _, offset, sizes, pieces = record
        assert isinstance(offset, int) and isinstance(pieces, list)
        self._parts.count(record)
        outcome = FragmentResult.TAKEN
        if isinstance(sizes, bytes):
            outcome = self._parts.begin(tag, sizes, 0.0)
        if outcome is FragmentResult.TAKEN:
            outcome = self._parts.on_fragment(tag, offset, pieces, 0.0)
        if outcome is FragmentResult.WHOLE:
            whole = self._decoder.decode(self._parts.take_whole())
            whole.size = size
            return whole
        lost = outcome not in (FragmentResult.TAKEN, FragmentResult.DROPPED)
        return Message([], size, [tag] if lost else [])
