"""Many jobs for a group: a bounded number of them under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..runtime.item_streams import Waker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

__all__ = ["MapRun"]

AHEAD = 2
"""How many times as many jobs as are under way may have been begun whose results nobody has taken: where results come
in order, one that takes long does not keep the others from being worked on."""


class MapRun:
    """Calls a function for each of some items.

    Args:
        items: the items.
        call: makes one call.
        limit: says how many may be under way now.
        ordered: whether the results come in the order of the items, or as they end.
        return_exceptions: whether errors are results.
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
        self._ready: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue()
        self._running: set[asyncio.Task[Any]] = set()
        self._untaken = 0
        self._room = Waker()
        self._feeding = asyncio.create_task(self._feed())

    async def results(self) -> AsyncGenerator[Any, None]:
        """What the function returns for each.

        Raises:
            Exception: what a call has raised, unless errors are results; what the items have raised.
        """
        is_fed = False
        while not is_fed or self._untaken:
            task = await self._ready.get()
            if task is None:
                is_fed = True
                if self._ordered or not self._untaken:
                    break
                continue
            if not task.done():
                await asyncio.wait((task,))
            self._untaken -= 1
            self._room.wake()
            error = task.exception()
            if error is None:
                yield task.result()
            elif self._return_exceptions and isinstance(error, Exception):
                yield error
            else:
                raise error
        self._feeding.result()  # what the items have raised comes behind all that came before it

    async def close(self) -> None:
        """Ends what is still under way."""
        running = [task for task in (self._feeding, *self._running) if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        if not self._feeding.cancelled():
            self._feeding.exception()
        while not self._ready.empty():
            ended = self._ready.get_nowait()
            if ended is not None and ended.done() and not ended.cancelled():
                ended.exception()  # nobody has looked at it

    async def _feed(self) -> None:
        items = self._items
        try:
            await self._wait_for_room()
            async for item in items:
                self._begin(item)
                await self._wait_for_room()
        finally:
            try:
                if hasattr(items, "aclose"):
                    await items.aclose()
            finally:
                self._ready.put_nowait(None)

    def _begin(self, item: Any) -> None:
        task = asyncio.create_task(self._call(item))
        self._running.add(task)
        self._untaken += 1
        if self._ordered:
            self._ready.put_nowait(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not self._ordered:
            self._ready.put_nowait(task)
        self._room.wake()

    async def _wait_for_room(self) -> None:
        while len(self._running) >= (limit := max(1, self._limit())) or self._untaken >= AHEAD * limit:
            await self._room.wait()
