"""The items of a stream or a channel, watched until the last one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from . import conventions as names

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from .observed_call import ObservedCall

__all__ = ["ObservedItems"]


class ObservedItems:
    """An async iterator with the items of another one: their call ends with them, or when nobody reads any more.

    No generator: one that was never begun does nothing when it is closed, and its call would not end.

    Args:
        items: the other one.
        call: of which they are.
    """

    def __init__(self, items: AsyncIterable[Any], call: ObservedCall) -> None:
        self._call = call
        self._count = 0
        self._is_over = False
        self._iterator: Any = aiter(items)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await anext(self._iterator)
        except StopAsyncIteration:
            self._end(names.LAST_ITEM, None)
            raise
        except BaseException as error:
            self._end(names.STREAM_LEFT, error)
            raise
        self._count += 1
        if self._count == 1:
            self._call.add_event(names.FIRST_ITEM)
        return item

    async def aclose(self) -> None:
        """Nobody reads any more."""
        try:
            if hasattr(self._iterator, "aclose"):
                await self._iterator.aclose()
        finally:
            self._leave()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        # A container is told so by a cancellation, wherever its handler stands then.
        self._end(names.STREAM_LEFT, None if self._call.is_client else asyncio.CancelledError())

    def _end(self, event: str, error: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._call.add_event(event, self._count)
            self._call.end(error)
