"""How far large messages have come, for whoever has asked to be told."""

from __future__ import annotations

__all__ = ["ProgressTracker"]


class ProgressTracker:
    """Bytes of requests in parts, and of their replies, that were read by the other side or have come from it.

    Attributes:
        watched: by tag: bytes sent, to send, received, to receive. Whoever wants to know adds a tag, and removes it.
        changed: the tags of those that have changed since this was last emptied.
    """

    def __init__(self) -> None:
        self.watched: dict[bytes, list[int]] = {}
        self.changed: dict[bytes, None] = {}

    def on_sent(self, tag: bytes, size: int, total: int) -> None:
        """So much of a request was read by the container."""
        self._note(tag, 0, size, total)

    def on_received(self, tag: bytes, size: int, total: int) -> None:
        """So much of a reply has come."""
        self._note(tag, 2, size, total)

    def _note(self, tag: bytes, at: int, size: int, total: int) -> None:
        numbers = self.watched.get(tag)
        if numbers is not None:
            numbers[at : at + 2] = size, total
            self.changed[tag] = None
