"""An event loop on a virtual clock: simulated hours pass in no time."""

from __future__ import annotations

import asyncio
import selectors

__all__ = ["VirtualClockLoop"]


class _NoWaitSelector(selectors.DefaultSelector):
    """Never waits: tells the loop how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: every task waits for another")
        if not ready and timeout:
            self.skipped += timeout
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it.

    A run in which every task waits and no timer is set ends with a ``RuntimeError`` instead of hanging.
    """

    def __init__(self) -> None:
        self._impatient = _NoWaitSelector()
        super().__init__(self._impatient)

    def time(self) -> float:
        """Virtual seconds."""
        return self._impatient.skipped

    def jump(self, seconds: float) -> None:
        """Sets the clock forward at once, as for a process that was suspended: whatever falls due fires late."""
        self._impatient.skipped += seconds
