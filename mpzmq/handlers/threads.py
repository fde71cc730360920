"""The threads of handlers, and those that are given up because their handlers do not return."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..common.daemon_threads import DaemonThreads
from ..common.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.requester.pending import DeadlineSweep
    from .concurrency import Ticket
    from .invocation import Invocation, Surroundings

__all__ = ["HandlerThreads"]

log = Log(__name__)

THREAD_GRACE = 1.0
"""Seconds for a handler in a thread to look at ``context.cancelled`` before its thread is given up."""

NO_ROOM_RETRY = 60.0
"""Seconds until that is tried again, where too many were given up already."""

GIVEN_UP_FACTOR = 8
"""How many times as many threads as may work may have been given up and not have returned. Each holds its memory."""


class HandlerThreads:
    """At most ``size`` threads at work.

    One whose job is not waited for any more, because its future was cancelled, is given up: another takes its place
    until the job returns.

    Args:
        size: how many.
        name: of the container or worker.
        deadlines: of the requests of the same dispatcher.
        let_pass: called when those that wait behind a request may pass.
    """

    def __init__(self, size: int, name: str, deadlines: DeadlineSweep, let_pass: Callable[[Ticket], None]) -> None:
        self._threads = DaemonThreads(size, name)
        self._max_given_up = GIVEN_UP_FACTOR * size
        self._given_up = 0
        self._deadlines = deadlines
        self._let_pass = let_pass
        self._clock = asyncio.get_running_loop().time

    async def call(self, running: Invocation) -> Any:
        """Calls the handler of a request in a thread; what it gives is awaited on the event loop if it has to be."""
        result = await self._run(
            running.in_thread,
            functools.partial(self._given_up_at, running, running.chain),
            functools.partial(self._returned_late, running, running.chain),
        )
        return await result if type(result) is CoroutineType else result

    def give_up_after(self, running: Invocation, seconds: float) -> None:
        """Nobody will ask again for a handler that is cancelled then: a thread is not left to it for ever."""
        self._look_again(running, seconds + THREAD_GRACE)

    def give_up(self, running: Invocation) -> None:
        """A handler goes on though it was cancelled: its request ends, and another thread takes its place.

        Of its own ``max_concurrency`` it still takes its part: so many run, whoever waits for them.
        """
        assert running.task is not None
        if running.may_interrupt(force=False):  # the thread has returned, and middleware is at work behind it
            running.task.cancel()
            return
        if self._given_up >= self._max_given_up:
            text = "%r goes on though it was cancelled, and too many threads were given up already"
            log.error(text, running, about=running)
            self._look_again(running, NO_ROOM_RETRY)
            return
        text = "%r goes on though it was cancelled: its thread is given up, and replaced"
        log.warning(text, running, about=running)
        running.task.cancel()

    def _look_again(self, running: Invocation, seconds: float) -> None:
        if running.handler.thread and running.started and not running.ended:
            running.due = self._clock() + seconds
            self._deadlines.add(running.due)

    def _run(
        self, call: Callable[[], Any], given_up: Callable[[], None], late: Callable[[BaseException | None], None]
    ) -> asyncio.Future[Any]:
        """Calls something in a thread, in the context of now.

        Args:
            call: what.
            given_up: called when its thread is given up.
            late: called, on the event loop, when it returns after its thread was given up: with what it raised.

        Returns:
            A future that ends with what it returns or raises.

        Raises:
            RuntimeError: there is no thread, and none can be started.
        """
        loop = asyncio.get_running_loop()
        # Taken by whoever is first: the job that returns, or the loop that gives its thread up.
        ends: list[None] = [None]
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
                        loop.call_soon_threadsafe(self._free, late, error)
                del error  # which its traceback would hold

        def done(future: asyncio.Future[Any]) -> None:
            if future.cancelled() and begun and _is_first(ends):
                self._given_up += 1
                if self._given_up <= self._max_given_up:
                    self._threads.resize(1)
                given_up()

        future = self._threads.run(job)
        future.add_done_callback(done)
        return future

    def close(self) -> None:
        """Lets the threads end, each after the job it is at."""
        self._threads.close()

    def _free(self, late: Callable[[BaseException | None], None], error: BaseException | None) -> None:
        if self._given_up <= self._max_given_up:
            self._threads.resize(-1)
        self._given_up -= 1
        late(error)

    def _given_up_at(self, running: Invocation, chain: Surroundings | None) -> None:
        """The thread of a handler is given up: by this side, or by middleware that has cancelled it."""
        assert running.ticket is not None
        running.ticket.keep(all_but_last=True)
        if chain is not None:
            chain.on_thread_given_up()

    def _returned_late(self, running: Invocation, chain: Surroundings | None, error: BaseException | None) -> None:
        """A handler has returned whose thread was given up."""
        if chain is not None:
            chain.on_thread_returned(error)
        if error is None or issubclass(type(error), asyncio.CancelledError):
            log.info("request %s: %s has returned in the end", running.request_id, running.what, about=running)
        else:
            text = "request %s: %s raised in the end"
            log.error(text, running.request_id, running.what, exc_info=error, about=running)
        assert running.ticket is not None
        running.ticket.keep(all_but_last=False)
        self._let_pass(running.ticket)


def _is_first(ends: list[None]) -> bool:
    try:
        ends.pop()
    except IndexError:
        return False
    return True
