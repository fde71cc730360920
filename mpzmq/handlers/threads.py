"""The threads of handlers, and those that are given up because their handlers do not return."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from ..daemon_threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HandlerThreads"]

GIVEN_UP_WORTH = 8
"""How many times as many threads as may work may have been given up and not have returned. Each holds its memory."""


class HandlerThreads:
    """At most ``size`` threads at work.

    One whose job is not waited for any more, because its future was cancelled, is given up: another takes its place
    until the job returns.
    """

    def __init__(self, size: int, name: str) -> None:
        self._threads = DaemonThreads(size, name)
        self._most_given_up = GIVEN_UP_WORTH * size
        self._given_up = 0

    @property
    def may_give_up(self) -> bool:
        """Whether one more may be given up."""
        return self._given_up < self._most_given_up

    def run(self, call: Callable[[], Any], late: Callable[[BaseException | None], None]) -> asyncio.Future[Any]:
        """Calls something in a thread, in the context of now.

        Args:
            call: what.
            late: called, on the event loop, when it returns after its thread was given up: with what it raised.

        Returns:
            A future that ends with what it returns or raises.

        Raises:
            RuntimeError: there is no thread, and none can be started.
        """
        loop = asyncio.get_running_loop()
        ends: list[None] = [
            None
        ]  # taken by whoever is first: the job that returns, or the loop that gives its thread up
        begun: list[None] = []

        def job() -> Any:
            begun.append(None)
            error: BaseException | None = None
            try:
                return call()
            except BaseException as raised:
                error = raised
                raise
            finally:
                if not _is_first(ends):
                    with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
                        loop.call_soon_threadsafe(self._returned_late, late, error)
                del error  # which its traceback would hold

        def done(future: asyncio.Future[Any]) -> None:
            if future.cancelled() and begun and _is_first(ends):
                self._given_up += 1
                self._threads.resize(1)

        future = self._threads.run(job)
        future.add_done_callback(done)
        return future

    def close(self) -> None:
        """Lets the threads end, each after the job it is at."""
        self._threads.close()

    def _returned_late(self, late: Callable[[BaseException | None], None], error: BaseException | None) -> None:
        self._given_up -= 1
        self._threads.resize(-1)
        late(error)


def _is_first(ends: list[None]) -> bool:
    try:
        ends.pop()
    except IndexError:
        return False
    return True
