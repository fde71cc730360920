"""How much one side may send before the other has read it.

libzmq stops reading from a connection whose pipe is full, and then does not see the heartbeats behind: a living
container was disconnected after 1.6 s behind 3,000 unread messages. So the pipe is never filled.
"""

from __future__ import annotations

from ..wire.kinds import UNASKED

__all__ = ["ReceiveWindow", "SendWindow"]

CONTROL_RESERVE = 256
"""Messages beyond the window for what must pass a full one: PING, CANCEL, GOODBYE."""


class SendWindow:
    """The sender's half."""

    def __init__(self) -> None:
        self._messages_limit = 1
        self._bytes_limit = 1
        self._sent_messages = self._sent_bytes = 0
        self._read_messages = self._read_bytes = 0

    def open(self, messages: int, size: int) -> None:
        """A new connection: nothing is unread; the receiver bears ``messages`` and ``size`` bytes."""
        self._messages_limit = messages
        self._bytes_limit = size
        self._sent_messages = self._sent_bytes = 0
        self._read_messages = self._read_bytes = 0

    def has_room(self) -> bool:
        """Whether one more message may leave. A message larger than the window passes when nothing is unread."""
        unread = self._sent_messages - self._read_messages
        return unread <= 0 or (
            unread < self._messages_limit and self._sent_bytes - self._read_bytes < self._bytes_limit
        )

    @property
    def is_read(self) -> bool:
        """Whether the receiver has read everything."""
        return self._sent_messages <= self._read_messages

    def has_control_room(self) -> bool:
        """Whether a message without requests may leave."""
        return self._sent_messages - self._read_messages < self._messages_limit + CONTROL_RESERVE

    def on_sent(self, size: int) -> None:
        """One message of ``size`` bytes has left."""
        self._sent_messages += 1
        self._sent_bytes += size

    def on_read(self, messages: int, size: int) -> None:
        """The receiver has told how much it has read since the connection began."""
        # A receiver that has read more than was sent is lying; believing it would close the window for ever.
        self._read_messages = min(max(messages, self._read_messages), self._sent_messages)
        self._read_bytes = min(max(size, self._read_bytes), self._sent_bytes)


class ReceiveWindow:
    """The receiver's half: counts what was read, and says when the sender should hear of it."""

    def __init__(self, window_messages: int, window_bytes: int) -> None:
        self._report_messages = max(1, window_messages // 4)
        self._report_bytes = max(1, window_bytes // 4)
        self.messages = self.bytes = 0
        self._reported_messages = self._reported_bytes = 0
        self.is_report_due = False
        """Whether a quarter of the window has been read without the sender knowing."""
        self.asked = UNASKED
        """The number of the sender's last PING, until that is answered."""

    def on_read(self, size: int) -> None:
        """One message of ``size`` bytes has been read."""
        self.messages += 1
        self.bytes += size
        if (
            self.messages - self._reported_messages >= self._report_messages
            or self.bytes - self._reported_bytes >= self._report_bytes
        ):
            self.is_report_due = True

    def on_reported(self) -> None:
        """The sender is being told of everything that was read."""
        self._reported_messages = self.messages
        self._reported_bytes = self.bytes
        self.is_report_due = False
        self.asked = UNASKED
