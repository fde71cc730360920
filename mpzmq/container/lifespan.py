"""The lifespan of a server: what the application opens before the first bind, and closes after the drain."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from ..common.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["END_TIMEOUT", "ClosedWhileStarting", "Lifespan"]

log = Log(__name__)

END_TIMEOUT = 30.0
"""Seconds that the end of a lifespan may take where nobody is in a hurry; then it is cancelled."""

CANCEL_TIMEOUT = 0.5
"""Seconds for a lifespan that was cancelled."""


class ClosedWhileStarting(RuntimeError):
    """The server was closed before its lifespan had started."""

    def __init__(self) -> None:
        super().__init__("this server was closed while its lifespan started")


class Lifespan:
    """Enters and leaves a context manager, in one task of its own.

    In one task, because task groups, timeouts and cancel scopes have to be left where they were entered; of its own,
    because it can be given up there, whoever waits for it.

    Args:
        manager: the application's.
        on_lost: called when it has ended while the server serves.
    """

    def __init__(self, manager: AbstractAsyncContextManager[Any], on_lost: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        """In which it runs; what it sets there is for the handlers."""
        self._on_lost = on_lost
        self._entered: asyncio.Future[Any] = loop.create_future()
        self._leaving = asyncio.Event()
        self._waiting = 0
        self._end_timeout = END_TIMEOUT
        self._ending: asyncio.Timeout | None = None
        self._task = loop.create_task(self._live(manager), context=self.context)
        self._task.add_done_callback(self._on_done)

    async def _live(self, manager: AbstractAsyncContextManager[Any]) -> None:
        async with manager as state:
            if not self._entered.cancelled():
                self._entered.set_result(state)
                await self._leaving.wait()

    @property
    def has_ended(self) -> bool:
        """Whether it has failed to start, or was left."""
        return self._task.done()

    async def start(self) -> Any:
        """Waits until it has been entered; several may. Where all of them are cancelled, so is the lifespan.

        Returns:
            The value of the context manager.

        Raises:
            ClosedWhileStarting: it was ended before.
            BaseException: what it has raised.
        """
        self._waiting += 1
        try:
            await asyncio.wait((self._entered, self._task), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self._waiting == 1 and not self._entered.done():
                await self._cancel()
            raise
        finally:
            self._waiting -= 1
        if self._leaving.is_set() or self._entered.cancelled() or self._task.cancelled():
            raise ClosedWhileStarting
        if self._entered.done():
            return self._entered.result()
        self._task.result()
        raise RuntimeError("the lifespan has ended before it had started")

    def end_within(self, seconds: float) -> None:
        """Its end may take that long, from now on or from when it begins, and not longer than was said before."""
        self._end_timeout = min(self._end_timeout, seconds)
        if self._ending is not None:
            when = asyncio.get_running_loop().time() + seconds
            self._ending.reschedule(min(when, self._ending.when() or when))

    async def end(self) -> None:
        """Leaves it, or cancels its start; bounded.

        Raises:
            BaseException: what it has raised.
        """
        if self._task.done() and not self._entered.done():
            return  # it has failed to start, and whoever started it has heard
        self._leaving.set()
        if self._entered.done():
            try:
                async with asyncio.timeout(self._end_timeout) as self._ending:
                    await asyncio.wait((self._task,))
            except TimeoutError:
                log.error("the end of the lifespan takes too long, and is cancelled")
            finally:
                self._ending = None
        if not self._task.done():
            await self._cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=CANCEL_TIMEOUT)
        if not self._task.done():
            self._entered.cancel()  # whoever waits for its start waits no more
            log.error("the lifespan did not end when it was cancelled, and is left behind")

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if self._leaving.is_set() or task.cancelled() or not self._entered.done():
            return
        error = task.exception()
        log.error("the lifespan has ended while the container serves: it is closed", exc_info=error)
        self._on_lost()
