"""A listener's view of what happens to links."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from ..common.set_module import set_module
from ..events import EventsDropped, LinkEvent

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["EventStream"]


@set_module("mpzmq")
class EventStream:
    """Events as an async iterator; from its making on, to the worker's close.

    A listener that is too slow loses the oldest events and is told how many.
    """

    def __init__(self, remote_id: UUID | None, size: int) -> None:
        self._remote_id = remote_id
        self._events: deque[LinkEvent] = deque()
        self._size = size
        self._dropped = 0
        self._ended = False
        self._waiting: list[asyncio.Future[None]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LinkEvent | EventsDropped:
        while not self._events and not self._ended:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        if self._dropped:
            count, self._dropped = self._dropped, 0
            return EventsDropped(count)
        if self._events:
            return self._events.popleft()
        raise StopAsyncIteration

    def publish(self, event: LinkEvent) -> None:
        """Adds an event."""
        if self._remote_id is not None and event.remote_id != self._remote_id:
            return
        self._events.append(event)
        if len(self._events) > self._size:
            self._events.popleft()
            self._dropped += 1
        self._wake()

    def end(self) -> None:
        """No more events: what is there can still be read."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
