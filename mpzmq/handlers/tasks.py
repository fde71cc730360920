"""The tasks of handlers, and whether what was read before has begun."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from ..common.logs import Log

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Iterable

    from .invocation import Invocation

__all__ = ["Tasks"]

log = Log(__name__)

_EAGER = sys.version_info >= (3, 12)


class Tasks:
    """Makes the tasks of one dispatcher.

    Args:
        loop: the event loop.

    Attributes:
        beginning: bursts of which a task or a call has not begun: what was asked for after them must not start before.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.beginning = 0
        self._loop = loop
        self._in_burst = False
        self._is_counted = False  # whether this burst is one of those that are beginning
        self._abandoned: list[asyncio.Task[None]] = []  # the event loop does not hold them

    def on_burst(self) -> None:
        """A burst of requests begins."""
        self.on_burst_end()  # one inside of another: what that has begun so far counts by itself
        self._in_burst = True

    def on_burst_end(self) -> None:
        """All of it has been scheduled. Not earlier: between its tasks, one of them may let the next burst be read."""
        self._in_burst = False
        if self._is_counted:
            self._is_counted = False
            self._loop.call_soon(self._have_begun)

    def start(
        self,
        coroutine: Coroutine[Any, Any, None],
        inner: Coroutine[Any, Any, Any] | None,
        context: contextvars.Context | None,
    ) -> asyncio.Task[None]:
        """Makes a task.

        Args:
            coroutine: what it runs.
            inner: what that awaits, if it is there already.
            context: in which; None: in a copy of the current one.
        """
        try:
            if _EAGER:
                return asyncio.Task(coroutine, loop=self._loop, context=context, eager_start=True)  # type: ignore[call-arg, unused-ignore]  # since 3.12
            task = self._loop.create_task(coroutine, context=context)
        except BaseException:  # a task factory of the application
            for unstarted in (coroutine, inner):
                if unstarted is not None:
                    unstarted.close()
            raise
        self._count()
        return task

    def call_behind(self, call: Callable[[Invocation], None], running: Invocation) -> None:
        """Calls something behind the tasks and calls that have not begun; what comes later does not overtake it."""
        self._loop.call_soon(call, running)
        self._count()

    def cancel(self, running: Invocation) -> None:
        """Cancels the task of a request."""
        assert running.task is not None
        try:
            running.task.cancel()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # what the handler awaits is the application's, and has a word in it
            text = "request %s: %s cannot be cancelled"
            log.error(text, running.request_id, running.what, exc_info=error, about=running)

    def abandon(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Holds those that did not end when they were cancelled."""
        self._abandoned = [task for task in tasks if not task.done()]

    def _count(self) -> None:
        """Something has been scheduled: a burst counts once."""
        if not self._in_burst:
            self.beginning += 1
            self._loop.call_soon(self._have_begun)
        elif not self._is_counted:
            self._is_counted = True
            self.beginning += 1

    def _have_begun(self) -> None:
        self.beginning -= 1
