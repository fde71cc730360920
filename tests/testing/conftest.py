"""Where the containers are, and waiting for events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
SPEC = "tests.container:quick"
SECONDS = 10.0

_T = TypeVar("_T")


async def event_of(events: AsyncIterator[Any], kind: type[_T]) -> _T:
    """The next event of a class; others are passed over."""
    async with asyncio.timeout(SECONDS):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the events ended before {kind.__name__}")
