"""Threads that keep neither an event loop nor the process.

concurrent.futures joins its threads when the interpreter ends, and asyncio those of its default executor when a loop
does: one job that never returns would keep ``run()`` and the process for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .text import repr_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DaemonExecutor", "DaemonThreads", "in_daemon_thread"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaemonThreads:
    """At most ``size`` daemon threads, started when they are needed."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._busy = 0  # jobs that wait or are being done
        self._closed = False

    def run(self, job: Callable[[], _T]) -> asyncio.Future[_T]:
        """Calls ``job`` in a thread, in the context of now; the future ends with what it returns or raises.

        Raises:
            RuntimeError: the threads were closed, or there is none and none can be started.
        """
        surroundings = contextvars.copy_context()
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self.do(lambda: _run(future, lambda: surroundings.run(job)))
        return future

    def do(self, job: Callable[[], None]) -> None:
        """Calls ``job``, which raises nothing, in a thread.

        Raises:
            RuntimeError: the threads were closed, or there is none and none can be started.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads {self._name!r} were closed")
            if self._busy >= len(self._threads) < self._size:
                self._start_thread()
            self._busy += 1
            self._jobs.put(job)

    def resize(self, change: int) -> None:
        """So many threads more, or less: those that are too many end when they have nothing to do."""
        with self._lock:
            self._size += change
            while len(self._threads) > self._size:
                self._threads.pop()
                self._jobs.put(None)

    def close(self) -> None:
        """Lets the threads end, each after the jobs that are left for it; idempotent."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
            self._threads.clear()

    def _start_thread(self) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them, or the interpreter ends
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # a thread that waits for the next one must not hold the last one's arguments
            with self._lock:
                self._busy -= 1


def in_daemon_thread(name: str, job: Callable[[], _T]) -> asyncio.Future[_T]:
    """Calls ``job`` in a thread of its own; the future ends with what it returns or raises.

    Raises:
        RuntimeError: no thread can be started.
    """
    threads = DaemonThreads(1, name)
    future = threads.run(job)
    threads.close()
    return future


def _run(future: asyncio.Future[_T], job: Callable[[], _T]) -> None:
    outcome: _T | None = None
    error: BaseException | None = None
    try:
        outcome = job()
    except BaseException as raised:
        error = raised
    try:
        future.get_loop().call_soon_threadsafe(_settle, future, outcome, error)
    except RuntimeError:  # the event loop is closed: nobody waits
        pass
    finally:
        del future, job, error  # which its traceback would hold


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(outcome)
        return
    try:
        future.set_exception(error)
    except Exception:  # StopIteration: a future cannot hold it
        future.set_exception(RuntimeError(f"the handler raised {repr_of(error)}"))


class DaemonExecutor(ThreadPoolExecutor):
    """Daemon threads behind the face of an executor, for ``asyncio.to_thread()``.

    asyncio takes nothing else than a ``ThreadPoolExecutor`` as the default executor of a loop.

    Args:
        max_workers: threads at most.
        name: of the threads.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        super().__init__(max_workers)
        self.unfinished: set[Future[Any]] = set()
        """The jobs that have not ended."""
        self._daemons = DaemonThreads(max_workers, name)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Calls a function in a thread.

        Raises:
            RuntimeError: the executor was shut down, or there is no thread and none can be started.
        """
        future: Future[_T] = Future()
        self._daemons.do(lambda: _carry_out(future, lambda: fn(*args, **kwargs)))
        self.unfinished.add(future)
        future.add_done_callback(self.unfinished.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more jobs; those that were taken go on.

        Args:
            wait: not heeded: nothing waits for these threads.
            cancel_futures: those of the jobs that have not begun.
        """
        self._daemons.close()
        if cancel_futures:
            for future in list(self.unfinished):
                future.cancel()


def _carry_out(future: Future[_T], job: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
        del future, job  # which its traceback would hold
    else:
        future.set_result(result)
