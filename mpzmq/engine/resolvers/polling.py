"""Asking again: at an interval, and at once when somebody has a reason."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from .endpoint import Endpoint

__all__ = ["MIN_PAUSE", "Alarm", "Polled"]

MIN_PAUSE = 0.25
"""Seconds between two look-ups, however many members are lost at once."""


class Alarm:
    """A pause that can be cut short."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Ends the pause of now, or the next one; one that has only begun goes on for ``MIN_PAUSE``."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Pauses, until the time is over or the alarm rings."""
        shortest = min(seconds, MIN_PAUSE)
        await asyncio.sleep(shortest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - shortest):
                await self._rung.wait()
        self._rung.clear()


class Polled:
    """A resolver that looks up the members again and again.

    Args:
        look_up: returns all of them, or None if nothing has changed; what it raises ends the watch.
        interval: seconds between two look-ups.
    """

    def __init__(self, look_up: Callable[[], Awaitable[Iterable[str | Endpoint] | None]], interval: float) -> None:
        self._look_up = look_up
        self._interval = interval
        self._alarm = Alarm()

    def poke(self) -> None:
        """Look now."""
        self._alarm.ring()

    async def watch(self) -> AsyncIterator[Iterable[str | Endpoint]]:
        """What each look-up finds."""
        while True:
            found = await self._look_up()
            if found is not None:
                yield found
            await self._alarm.wait(self._interval)
