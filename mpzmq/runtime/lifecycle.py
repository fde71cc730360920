"""The life of a worker or a server: from its first await to the end of its close, and perhaps once more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .loop_bound import LoopBound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Lifecycle"]


class Lifecycle:
    """What opening and closing have in common, whatever is opened.

    Args:
        owner: what it is called in errors.

    Attributes:
        loop_bound: the event loop that it belongs to, until it is closed.
        is_closed: whether it takes nothing new.
    """

    def __init__(self, owner: str) -> None:
        self.loop_bound = LoopBound(owner)
        self.is_closed = False
        self._closing: asyncio.Task[None] | None = None
        self._ended: list[asyncio.Future[None]] = []

    @property
    def is_ending(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.is_closed or self._closing is not None

    async def enter(self) -> None:
        """It is entered, perhaps again; a close that is under way is waited for.

        Raises:
            RuntimeError: it belongs to another event loop, thread or process.
        """
        self.loop_bound.bind()
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self.loop_bound.bind()
        self.is_closed = False

    def ended(self) -> asyncio.Future[None]:
        """A future that is done when it has been closed, with the error of the close if there was one.

        Raises:
            RuntimeError: it belongs to another event loop, thread or process.
        """
        ended: asyncio.Future[None] = self.loop_bound.bind().create_future()
        self._ended.append(ended)
        return ended

    async def close(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Closes it; idempotent, and goes on if the caller is cancelled meanwhile.

        Args:
            work: what there is to be done; a close that is under way is joined instead.

        Raises:
            RuntimeError: it belongs to another event loop, thread or process.
            Exception: what the work raises.
        """
        if not self.loop_bound.is_taken:
            self.is_closed = True
            return
        self.loop_bound.bind()
        await asyncio.shield(self.begin_close(work))

    def begin_close(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        """Begins to close it, and waits for nothing."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(work))
            # Whoever waits for the end is told of an error; nobody may.
            self._closing.add_done_callback(lambda closing: closing.cancelled() or closing.exception())
        return self._closing

    async def _close(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        error: BaseException | None = None
        try:
            await work()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._closing = None
            for ended in self._ended:
                if not ended.done():
                    ended.set_exception(error) if isinstance(error, Exception) else ended.set_result(None)
            self._ended.clear()
            self.loop_bound.release()
            del error  # its traceback keeps this frame
