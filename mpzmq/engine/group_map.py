"""Many jobs for a group: a bounded number of them under way."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from ..runtime.item_streams import Waker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

__all__ = ["MapRun"]

AHEAD = 2
"""How many times as many jobs as are under way may have been begun whose results nobody has taken: where results come
in order, one that takes long does not keep the others from being worked on."""


class MapRun:
    """Calls a function for each of some items: an async iterator of what it returns, for one reader at a time.

    Args:
        items: the items.
        call: makes one call.
        limit: says how many may be under way now.
        ordered: whether the results come in the order of the items, or as they end.
        return_exceptions: whether errors are results.

    Raises:
        Exception: from the iteration, which it ends: what a call has raised, unless errors are results; what the items
            have raised.
    """

    def __init__(
        self,
        items: AsyncIterator[Any],
        call: Callable[[Any], Coroutine[Any, Any, Any]],
        limit: Callable[[], int],
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._items = items
        self._call = call
        self._limit = limit
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._begun: deque[asyncio.Task[Any]] = deque()  # whose results nobody has taken, in the order of the items
        self._ended: deque[asyncio.Task[Any]] = deque()  # of these, in the order in which they have ended
        self._running: set[asyncio.Task[Any]] = set()
        self._untaken = 0
        self._is_over = False
        self._room, self._news = Waker(), Waker()
        self._feeding = asyncio.create_task(self._feed())
        self._feeding.add_done_callback(self._news.wake)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        self._news.check_free()
        while not self._is_over:
            if self._is_next_ready():
                return self._take_next()
            if self._feeding.done() and not self._untaken:
                self._is_over = True
                self._feeding.result()  # what the items have raised comes behind all that came before it
                break
            await self._news.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Ends what is still under way. For a task that waits for a result there is none."""
        self._is_over = True
        self._news.wake()
        running = [task for task in (self._feeding, *self._running) if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in (self._feeding, *self._begun, *self._ended, *self._running):
            if not task.cancelled():
                task.exception()  # nobody has looked at it
        self._begun.clear()
        self._ended.clear()

    def _is_next_ready(self) -> bool:
        return bool(self._begun and self._begun[0].done()) if self._ordered else bool(self._ended)

    def _take_next(self) -> Any:
        task = (self._begun if self._ordered else self._ended).popleft()
        self._untaken -= 1
        self._room.wake()
        error = task.exception()
        if error is None:
            return task.result()
        if self._return_exceptions and isinstance(error, Exception):
            return error
        self._is_over = True
        try:
            raise error
        finally:
            del error, task  # either keeps the error, whose traceback keeps this frame

    async def _feed(self) -> None:
        items = self._items
        try:
            await self._wait_for_room()
            async for item in items:
                self._begin(item)
                await self._wait_for_room()
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    def _begin(self, item: Any) -> None:
        task = asyncio.create_task(self._call(item))
        self._running.add(task)
        self._untaken += 1
        if self._ordered:
            self._begun.append(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not self._ordered:
            self._ended.append(task)
        self._news.wake()
        self._room.wake()

    async def _wait_for_room(self) -> None:
        while len(self._running) >= (limit := max(1, self._limit())) or self._untaken >= AHEAD * limit:
            await self._room.wait()
