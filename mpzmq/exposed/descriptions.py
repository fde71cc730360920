"""What is known of the functions that are open: asked for seldom, and once for all who want it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

from ..errors import MpzmqError
from .functions import described

if TYPE_CHECKING:
    from .allowed import Allowed
    from .functions import ExposedFunction
    from .target import OpenedTarget

__all__ = ["Descriptions"]

KEPT_FOR = 5.0
"""Seconds for which it is known what functions there are."""

WITHIN = 5.0
"""Seconds to find that out; less where a call has less."""


class Descriptions:
    """The descriptions of the functions of a target.

    Args:
        target: whom to ask.
        allowed: which of its functions.
        timeout: seconds that a call may take.

    Attributes:
        known: what was told last, by name; nothing before anybody has.
    """

    def __init__(self, target: OpenedTarget, allowed: Allowed, timeout: float) -> None:
        self.known: tuple[ExposedFunction, ...] = ()
        self._target = target
        self._allowed = allowed
        self._timeout = min(timeout, WITHIN)
        self._asking = asyncio.Lock()
        self._until = 0.0
        self._failure: MpzmqError | None = None
        self._failed_at = 0.0

    async def get(self) -> tuple[ExposedFunction, ...]:
        """The functions, by name.

        Raises:
            MpzmqError: there is nobody who tells. Who has waited meanwhile does not wait for the same once more.
        """
        loop = asyncio.get_running_loop()
        came = loop.time()
        async with self._asking:
            if loop.time() >= self._until:
                if self._failure is not None and self._failed_at >= came:
                    raise copy.copy(self._failure)
                try:
                    self.known = await described(await self._target.get(), self._allowed, self._timeout)
                except MpzmqError as error:
                    self._failure, self._failed_at = copy.copy(error), loop.time()
                    raise
                self._failure = None
                self._until = loop.time() + KEPT_FOR
            return self.known

    def doubt(self) -> None:
        """What is known has turned out to be of another version of a container: the next who wants it asks."""
        self._until = 0.0
