"""How much a container does, as far as it has told."""

from __future__ import annotations

__all__ = ["ContainerLoad"]


class ContainerLoad:
    """What the last PONG has told.

    Attributes:
        running: handlers that run.
        queued: requests that wait for their turn there.
        others: how many of both are not this side's: those of other engines.
    """

    __slots__ = ("others", "queued", "running")

    def __init__(self) -> None:
        self.running = self.queued = self.others = 0

    def on_told(self, running: int, queued: int, own: int) -> None:
        """A PONG has come.

        Args:
            running: handlers that ran when it left.
            queued: requests that waited then.
            own: requests of this side that have not ended.
        """
        self.running, self.queued = running, queued
        self.others = max(0, running + queued - own)
