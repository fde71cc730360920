"""How far large messages have come, for whoever has asked to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..effects import ReportProgress

if TYPE_CHECKING:
    from ..effect_queue import EffectQueue

__all__ = ["ProgressTracker"]


class ProgressTracker:
    """Bytes of requests in parts, and of their replies, that were read by the other side or have come from it.

    Attributes:
        watched: by tag: bytes sent, to send, received, to receive. Whoever wants to know adds a tag, and removes it.
    """

    def __init__(self, effects: EffectQueue) -> None:
        self.watched: dict[bytes, list[int]] = {}
        self._effects = effects

    def on_acked(self, tag: bytes, size: int, total: int) -> None:
        """So much of a request was read by the container."""
        self._note(tag, 0, size, total)

    def on_received(self, tag: bytes, size: int, total: int) -> None:
        """So much of a reply has come."""
        self._note(tag, 2, size, total)

    def _note(self, tag: bytes, at: int, size: int, total: int) -> None:
        numbers = self.watched.get(tag)
        if numbers is not None:
            numbers[at : at + 2] = size, total
            self._effects.add(ReportProgress, tag)
