"""Worker threads that do not keep a process alive.

concurrent.futures joins its threads when the interpreter ends: one handler that never returns would then keep
``run()`` from returning, whatever the drain timeout.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]

_Job = tuple["asyncio.Future[Any]", "Callable[[], Any]"]


class Threads:
    """At most ``size`` daemon threads, started when they are needed."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Calls ``job`` in a thread, in the context of now; the future ends with what it returns or raises."""
        surroundings = contextvars.copy_context()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._busy += 1
        future.add_done_callback(self._done)
        self._jobs.put((future, lambda: surroundings.run(job)))
        if self._busy > len(self._threads) < self._size:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Lets the threads end, each after the job it is at."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._busy -= 1

    def _work(self) -> None:
        while self._do_one():
            pass

    def _do_one(self) -> bool:
        """One job, in a frame of its own: a thread that waits for the next must not hold the last one's arguments."""
        item = self._jobs.get()
        if item is None:
            return False
        future, job = item
        try:
            outcome, error = job(), None
        except BaseException as raised:
            outcome, error = None, raised
        try:
            future.get_loop().call_soon_threadsafe(_settle, future, outcome, error)
        except RuntimeError:
            return False  # the event loop is closed: nobody waits
        return True


def _settle(future: asyncio.Future[Any], outcome: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(outcome)
    elif isinstance(error, StopIteration):  # a future cannot hold it
        future.set_exception(RuntimeError(f"the handler raised {error!r}"))
    else:
        future.set_exception(error)
