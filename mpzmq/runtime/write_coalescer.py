"""When what waits to leave is written: at once, or together with what else one pass of the event loop brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.flow.outbox import CORKED_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["WriteCoalescer"]


class WriteCoalescer:
    """The first write of a pass of the event loop leaves at once, the others together at its end.

    Nothing is scheduled for the first: whatever arrives next begins a new pass as well (a lone request: -9 us). So a
    write that is the first since something arrived is not delayed, and the ones behind it share a message.

    Args:
        loop: the event loop.
        flush: writes what waits.

    Attributes:
        is_corked: whether what waits is written at the end of the pass.
    """

    __slots__ = ("_first_left", "_flush", "_loop", "is_corked")

    def __init__(self, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]) -> None:
        self._loop = loop
        self._flush = flush
        self._first_left = self.is_corked = False

    def schedule(self, waiting: int) -> None:
        """Something waits to leave.

        Args:
            waiting: how many bytes wait beside it, of the same sort: much is not kept until the end of the pass.
        """
        if not self._first_left:
            self._first_left = True
            self._flush()
        elif not self.is_corked:
            self.cork()
        elif waiting >= CORKED_BYTES:
            self._flush()

    def cork(self) -> None:
        """Keeps what waits until the end of the pass."""
        self._first_left = self.is_corked = True
        self._loop.call_soon(self._uncork)

    def on_arrival(self) -> None:
        """Messages have arrived: a new pass."""
        self._first_left = self.is_corked

    def hold(self) -> bool:
        """Keeps what waits until :meth:`release`, which is given what this returns."""
        was_corked, self.is_corked = self.is_corked, True
        self._first_left = True
        return was_corked

    def release(self, was_corked: bool) -> None:
        """Ends :meth:`hold`, and writes what waits."""
        self._first_left = self.is_corked = was_corked
        self._flush()

    def _uncork(self) -> None:
        self._first_left = self.is_corked = False
        self._flush()
