"""What SIGTERM, SIGINT and SIGHUP do to a server."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from ..common.logs import Log

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Signals"]

log = Log(__name__)

SECOND_TIMEOUT = 3.0
"""Seconds after a second signal in which the process ends in any case."""

LAST_WORDS = 0.5
"""Seconds that the end of the lifespan may take after a second signal."""

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Drainable(Protocol):
    """What signals do to a server."""

    async def drain(self, timeout: float) -> None:
        """Takes no new work and ends what runs."""

    def _end_within(self, seconds: float) -> None:
        """Bounds the end of the lifespan."""

    async def close(self) -> None:
        """Ends at once."""


_active: WeakSet[Signals] = WeakSet()
_forking = threading.local()


def _before_fork() -> None:
    """What comes for a child before it is ready waits."""
    if _active:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def _after_fork() -> None:
    if (mask := _forking.__dict__.pop("mask", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    """The signals of a child are its own: else they would end nothing there, and the parent's event loop would hear."""
    for signals in _active:
        signals.restore()
    if _active:
        signal.set_wakeup_fd(-1)
    _active.clear()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


class Signals:
    """SIGTERM and SIGINT, while a server serves: the first drains, the second closes.

    SIGHUP, by which a terminal says that it is gone, drains as well, and is never the second one: it may come several
    times. Where it is ignored, as under ``nohup``, or blocked, or means something to the application, it is left so.

    A process that is still there :data:`SECOND_TIMEOUT` seconds after the second one is ended hard, with the exit code
    that a shell gives to a process which the signal has ended (143, 130).
    """

    def __init__(self, server: Drainable, loop: asyncio.AbstractEventLoop, drain_timeout: float) -> None:
        self._server = server
        self._loop = loop
        self._drain_timeout = drain_timeout
        self._first_at: float | None = None
        self._count = 0
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._before: dict[int, Any] = {}
        self._blocked: set[int] = set()
        self._is_watched = False
        self._left = _thread.allocate_lock()

    def __enter__(self) -> Signals:
        self._left.acquire()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for number in NUMBERS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and (before != signal.SIG_DFL or number in masked):
                continue
            # The event loop hears of signals whatever it waits for, but not while it is blocked; the handler itself is
            # called then, too.
            self._loop.add_signal_handler(number, self._received, number)
            signal.signal(number, self._counted)
            self._before[number] = signal.SIG_DFL if before is None else before
        # Whoever has started the process may have blocked them: it would serve for ever.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        self._blocked = masked.intersection(self._before)
        _active.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _active.discard(self)
        self._left.release()
        if not self._loop.is_closed():
            for number in self._before:
                self._loop.remove_signal_handler(number)
        self.restore()

    def restore(self) -> None:
        """Has signals do what they did before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)

    @property
    def time_left(self) -> float:
        """Seconds until the drain timeout is over, from the first signal, or from now if there was none."""
        if self._again.is_set():
            return 0.0
        if self._first_at is None:
            return self._drain_timeout
        return max(0.0, self._first_at + self._drain_timeout - time.monotonic())

    async def wait_for(self, futures: Iterable[asyncio.Future[Any]]) -> None:
        """Waits for futures until the time is over, or a second signal comes."""
        all_done = asyncio.gather(*futures, return_exceptions=True)
        again = asyncio.ensure_future(self._again.wait())
        await asyncio.wait((all_done, again), timeout=self.time_left, return_when=asyncio.FIRST_COMPLETED)
        all_done.cancel()
        again.cancel()
        await asyncio.gather(all_done, again, return_exceptions=True)

    def _counted(self, number: int, frame: object) -> None:
        """The signal handler: called between any two instructions, so it takes no lock and logs nothing."""
        if number == signal.SIGHUP:
            return
        self._count += 1
        if self._count == 2:
            self._watch(number)

    def _received(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._task is None:
            log.info("%s: draining", name)
            self._first_at = time.monotonic()
            self._task = self._loop.create_task(self._drain_and_close())
        elif number != signal.SIGHUP:
            log.info("%s again: closing", name)
            self._watch(number)
            self._again.set()
            self._server._end_within(LAST_WORDS)

    async def _drain_and_close(self) -> None:
        # Not by cancelling this task: both signals may have come before its first step.
        drain = self._loop.create_task(self._server.drain(self._drain_timeout))
        again = self._loop.create_task(self._again.wait())
        try:
            await asyncio.wait((drain, again), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (drain, again):
                task.cancel()
            await asyncio.gather(drain, again, return_exceptions=True)
            with contextlib.suppress(Exception):  # serve_forever() raises it
                await self._server.close()

    def _watch(self, number: int) -> None:
        if not self._is_watched:
            self._is_watched = True
            with contextlib.suppress(RuntimeError):  # there is no thread more
                # Not by threading, whose locks the interrupted code may hold.
                _thread.start_new_thread(self._end_process, (number,))

    def _end_process(self, number: int) -> None:
        if not self._left.acquire(timeout=SECOND_TIMEOUT):
            text = f"mpzmq: not closed {SECOND_TIMEOUT:g} s after a second {signal.Signals(number).name}: ended\n"
            with contextlib.suppress(OSError):
                os.write(2, text.encode())
            os._exit(128 + number)
