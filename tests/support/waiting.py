"""Waits that end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TIMEOUT_FACTOR = float(os.environ.get("TIMEOUT_FACTOR", "1"))
"""What times of the tests are multiplied by: 3 on a slow machine, more under a debugger."""


def scaled(seconds: float) -> float:
    """Seconds on this machine: of a limit on waiting, of a heartbeat, and whatever else a slow one cannot keep to."""
    return seconds * TIMEOUT_FACTOR


SECONDS = scaled(10.0)

_T = TypeVar("_T")


async def soon(awaitable: Awaitable[_T], seconds: float = SECONDS) -> _T:
    """What must not hang."""
    return await asyncio.wait_for(awaitable, seconds)


async def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Waits for something that tells nobody when it happens."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.002)


async def event_of(stream: AsyncIterator[Any], kind: type[_T], seconds: float = SECONDS) -> _T:
    """The next event of a class; others are passed over."""
    async with asyncio.timeout(seconds):
        async for event in stream:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the events ended before {kind.__name__}")
