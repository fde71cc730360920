"""What is known of the functions that are open: asked for seldom, and once for all who want it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..exposed.functions import described

if TYPE_CHECKING:
    from ..exposed.allowed import Allowed
    from ..exposed.functions import ExposedFunction
    from ..exposed.target import OpenedTarget

__all__ = ["Descriptions"]

KEPT_FOR = 5.0
"""Seconds."""


class Descriptions:
    """The descriptions of the functions of a target.

    Args:
        target: whom to ask.
        allowed: which of its functions.
        timeout: seconds for an answer.
    """

    def __init__(self, target: OpenedTarget, allowed: Allowed, timeout: float) -> None:
        self._target = target
        self._allowed = allowed
        self._timeout = timeout
        self._asking = asyncio.Lock()
        self._known: tuple[ExposedFunction, ...] = ()
        self._until = 0.0

    async def get(self) -> tuple[ExposedFunction, ...]:
        """The functions, by name.

        Raises:
            MpzmqError: there is nobody who tells.
        """
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() >= self._until:
                self._known = await described(await self._target.get(), self._allowed, self._timeout)
                self._until = loop.time() + KEPT_FOR
            return self._known
