"""A source, watched by a test."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.waiting import SECONDS, soon

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from mpzmq import Endpoint
    from mpzmq.engine.resolvers import Source

__all__ = ["Watch", "watching"]


class Watch:
    """What a source tells, an item after the other."""

    def __init__(self, items: AsyncGenerator[tuple[Endpoint, ...]]) -> None:
        self._items = items

    async def next(self) -> tuple[Endpoint, ...]:
        """The next item."""
        return await soon(anext(self._items))

    async def addresses(self) -> list[str]:
        """Those of the next item."""
        return [endpoint.address for endpoint in await self.next()]

    async def until(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """The addresses of the first item that is as wanted; for changes that can be seen in one step or in several."""
        while not wanted(found := await self.addresses()):
            pass
        return found


@contextlib.asynccontextmanager
async def watching(source: Source) -> AsyncGenerator[Watch]:
    """Watches a source, and ends that."""
    items = source.watch()
    try:
        yield Watch(items)
    finally:
        await soon(items.aclose(), SECONDS)
