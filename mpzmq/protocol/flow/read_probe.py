"""How far the other side has read: a PING that is sent behind something is answered by whoever has read it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ..wire.records import BATCH_BYTES
from .window import CONTROL_RESERVE

if TYPE_CHECKING:
    from .window import ReceiveWindow

__all__ = ["ReadProbe"]

ASK_SHARE = 4
"""The part of ``Limits.queued_bytes`` after which the other side is asked for a sign that it has read so far."""


MIN_MESSAGES_BETWEEN_PINGS = 16
"""Messages: PONG is one, too, and with a small window it would make the next PING due."""


class ReadProbe:
    """Bounds what lies unread on one connection, and finds out who sends without heeding what it is told.

    libzmq would take 1,000 messages of any size for a peer that reads nothing.

    Args:
        window: messages that the other side may send before it hears that they were read.
        queued_bytes: bytes that may lie unread, in either direction.
        message_bytes: the largest message that is accepted.
    """

    def __init__(self, window: int, queued_bytes: int, message_bytes: int) -> None:
        self._max_messages = window
        self._max_bytes = queued_bytes
        self._largest = message_bytes
        self._max_unasked = queued_bytes // ASK_SHARE
        self._many_messages = max(MIN_MESSAGES_BETWEEN_PINGS, window // 4)
        self._many_bytes = max(BATCH_BYTES, queued_bytes // 4)
        self._sent = self._read = 0  # bytes on this connection: sent, and known to be read
        # In order: each PING that was not answered yet, what had been sent before it, and messages and bytes received.
        self._pings: dict[int, tuple[int, int, int]] = {}
        self._pinged_at = 0, 0  # messages and bytes that had been received when the last was due

    def restart(self) -> None:
        """Another connection begins."""
        self._sent = self._read = 0
        self._pings.clear()
        self._pinged_at = 0, 0

    def on_sent(self, size: int) -> bool:
        """The transport has taken a message; True: so much was sent that a PING may be due."""
        self._sent += size
        return self._sent - self._read > self._max_unasked

    def on_pong(self, number: int) -> bool:
        """The other side has read everything that was sent before a PING; False: none with that number waits for it."""
        if number not in self._pings:
            return False
        for older in list(self._pings):  # what stands in front of it has been read, too
            self._read, _, _ = self._pings.pop(older)
            if older == number:
                break
        return True

    @property
    def is_held_back(self) -> bool:
        """Whether the other side has so much to read that it gets no more."""
        return self._sent - self._read > self._max_bytes

    def has_received_much(self, received: ReceiveWindow) -> bool:
        """Whether a quarter of the window was received since the last PING, so that the next shows who heeds it."""
        messages, size = self._pinged_at
        return received.messages - messages >= self._many_messages or received.bytes - size >= self._many_bytes

    def is_due(self, received: ReceiveWindow) -> bool:
        """Whether a PING should be sent."""
        has_received_much = self.has_received_much(received)
        if self._sent - self._read <= self._max_unasked and not has_received_much:  # nearly always
            return False
        asked = next(reversed(self._pings.values()))[0] if self._pings else self._read
        return self._sent - asked > self._max_unasked or has_received_much

    def next_ping(self, received: ReceiveWindow) -> int:
        """The number of a PING that is sent now. Nobody can answer what was not read, since nobody can guess it."""
        number = random.randrange(1 << 31, 1 << 32)  # always five bytes, as MessagePack
        self._pings[number] = self._sent, received.messages, received.bytes
        self._pinged_at = received.messages, received.bytes
        return number

    def is_unanswered(self, number: int) -> bool:
        """Whether a PING of this connection has not been answered, nor one behind it."""
        return number in self._pings

    def violates_window(self, received: ReceiveWindow) -> bool:
        """Whether the other side sends more than its window allows: it does not read what it is told.

        Whoever has not read a PING can have sent no more than was open to it before, and a few messages behind.
        """
        if not self._pings:
            return False
        _, messages, size = next(iter(self._pings.values()))
        if received.messages - messages > self._max_messages + 2 * CONTROL_RESERVE:
            return True
        return received.bytes - size > self._max_bytes + self._largest + 2 * CONTROL_RESERVE * BATCH_BYTES
