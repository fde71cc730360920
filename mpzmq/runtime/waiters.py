"""Callers that wait: for their turn, and for an outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["FairQueue", "resolve_all"]


def resolve_all(outcomes: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
    """Give those who still wait their outcomes: an exception is raised there, anything else returned."""
    for waiter, outcome in outcomes:
        if waiter.done():
            continue
        if isinstance(outcome, Exception):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)


class FairQueue:
    """First come, first served; nobody is woken in vain but the first."""

    def __init__(self) -> None:
        self.waiting: deque[list[asyncio.Future[None] | None]] = deque()
        """Whoever waits, the first in front."""
        self.on_free: Callable[[], None] | None = None
        """Called where the first would be woken, and nobody waits."""

    async def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> None:
        """Waits until all who came before have gone and ``ready()`` is true.

        Args:
            ready: asked each time that it is woken.
            timeout: seconds that the first waits to be woken; None: for ever.

        Raises:
            TimeoutError: it did not come in time.
        """
        ticket: list[asyncio.Future[None] | None] = [None]
        self.waiting.append(ticket)
        try:
            while self.waiting[0] is not ticket or not ready():
                ticket[0] = future = asyncio.get_running_loop().create_future()
                async with asyncio.timeout(timeout if self.waiting[0] is ticket else None):
                    await future
        finally:
            self.waiting.remove(ticket)
            self.wake()

    def wake(self) -> None:
        """Lets the first look again."""
        if self.waiting:
            future = self.waiting[0][0]
            if future is not None and not future.done():
                future.set_result(None)
        elif self.on_free is not None:
            self.on_free()
