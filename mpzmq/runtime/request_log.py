"""The log of requests: one line for each that has ended, of the loggers ``mpzmq.access`` and ``mpzmq.requests``.

``mpzmq.access`` is that of whoever runs handlers, at INFO. It is off unless the application gives it that level.
``mpzmq.requests`` is that of both sides, at DEBUG.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..common.logs import Log, RequestFacts
from ..common.text import type_name

if TYPE_CHECKING:
    import asyncio

    from ..common.logs import LoggedRequest

__all__ = ["REQUEST_LOG"]

_access = Log("mpzmq.access")
_requests = Log("mpzmq.requests")

_MS: Final = 1000.0

_perf_counter: Final = time.perf_counter  # the event loop's clock may stand still during a pass


class _RequestLog:
    """The one of the process, as its loggers are.

    Attributes:
        is_on: whether anybody wants any of it, as far as was known when that was asked last: each request asks.
        is_detailed: the same of ``mpzmq.requests``.
    """

    __slots__ = ("_is_access_on", "is_detailed", "is_on")

    def __init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Asks whether anybody wants it."""
        self._is_access_on = _access.is_switched_on
        self.is_detailed = _requests.wants_debug
        self.is_on = self._is_access_on or self.is_detailed

    def switch_on_access(self) -> None:
        """Writes ``mpzmq.access`` from now on."""
        _access.switch_on()
        self.refresh()

    def handled(
        self, request: LoggedRequest, what: str, user: str | None, outcome: str, worked: float, waited: float
    ) -> None:
        """A request to a handler has ended.

        Args:
            request: which one.
            what: it asked for, in words.
            user: the authenticated name of who asked.
            outcome: how it has ended.
            worked: seconds for which it was at work.
            waited: seconds for which it had waited before that.
        """
        work_ms, waiting_ms = round(worked * _MS, 3), round(waited * _MS, 3)
        text = "%s: %s of %r (user %r), %.3f ms at work, %.3f ms waiting, request %s"
        args = outcome, what, request.peer, user, work_ms, waiting_ms, request.request_id
        if self._is_access_on:
            facts = {"outcome": outcome, "user": user, "work_ms": work_ms, "waiting_ms": waiting_ms}
            _access.info(text, *args, about=request, extra=facts)
        if self.is_detailed:
            _requests.debug(text, *args, about=request)

    def watch(self, waiter: asyncio.Future[object], tag: bytes, function: str | None, what: str, peer: str) -> None:
        """A request leaves for a container: its end is told, as its waiter learns of it.

        Args:
            waiter: gets what has become of it.
            tag: its id.
            function: that it asks for.
            what: it asks for, in words.
            peer: the name of the container.
        """
        began = _perf_counter()

        def ended(waiter: asyncio.Future[object]) -> None:
            if waiter.cancelled():
                outcome = "cancelled"
            else:
                error = waiter.exception()
                outcome = "replied" if error is None else f"failed with {type_name(error)}"
            about = RequestFacts.of(tag, function, peer)
            took = (_perf_counter() - began) * _MS
            _requests.debug(
                "%s: %s to %r, %.3f ms, request %s", outcome, what, peer, took, about.request_id, about=about
            )

        waiter.add_done_callback(ended)


REQUEST_LOG = _RequestLog()
