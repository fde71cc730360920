"""The way in: messages of one container to the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..protocol.link import Link
    from ..protocol.wire import MessageReader
    from ..transport.base import Frames

__all__ = ["ComputerEngineReader"]


class ComputerEngineReader:
    """Reads what one container sends. A link makes its own; there is nothing for users to call."""

    def __init__(self, link: Link, messages: MessageReader) -> None:
        self._link = link
        self._messages = messages

    def feed(self, messages: Sequence[Frames], now: float) -> None:
        """Decodes a burst of messages and gives it to the protocol."""
        for frames in messages:
            self._link.receive(self._messages.read(frames), now)
