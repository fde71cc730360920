"""Callers that wait: for their turn, for a change, and for an outcome."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ChangeNotifier", "FairQueue", "resolve_all"]


def resolve_all(outcomes: Iterable[tuple[asyncio.Future[Any], Any]]) -> None:
    """Give those who still wait their outcomes: an exception is raised there, anything else returned."""
    for waiter, outcome in outcomes:
        if waiter.done():
            continue
        if isinstance(outcome, Exception):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)


class ChangeNotifier:
    """Lets those go on who wait for any change, all of them at once: they look again for themselves.

    Args:
        loop: the event loop on which they wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def wait(self) -> None:
        """Waits for the next change."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)  # of who waits no more, though nothing may change for long

    def notify_all(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)


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
