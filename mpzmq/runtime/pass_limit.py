"""So much in one pass of the event loop, and the rest in later ones."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["PassLimit"]


class PassLimit:
    """Lets a bounded number of callers on in each pass of the event loop, first come, first served.

    Args:
        most: callers in one pass.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0  # in this pass
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Returns at once where there is room in this pass, and else in a later one."""
        loop = asyncio.get_running_loop()
        if self._taken < self._most:
            if not self._taken:
                loop.call_soon(self._next_pass, loop)
            self._taken += 1
            return
        future = loop.create_future()
        self._waiting.append(future)
        await future

    def _next_pass(self, loop: asyncio.AbstractEventLoop) -> None:
        self._taken = 0
        while self._waiting and self._taken < self._most:
            future = self._waiting.popleft()
            if not future.done():  # else its caller has been cancelled
                future.set_result(None)
                self._taken += 1
        if self._taken:
            loop.call_soon(self._next_pass, loop)
