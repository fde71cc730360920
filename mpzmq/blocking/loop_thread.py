"""A worker on an event loop in a thread of its own, and what other threads wait for there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine.worker import ComputerEngineWorker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Future


__all__ = ["Closed", "Feed", "LoopThread", "worker_with"]

CANCEL_WITHIN = 1.0
"""Seconds in which a call that was interrupted ends on the other thread; it takes a few passes of its event loop."""

CLOSE_WITHIN = 5.0
"""Seconds, beyond its own timeout, for the thread to end."""

AHEAD = 8
"""Items of a :class:`Feed` that are taken before the first of them is wanted."""

_T = TypeVar("_T")


class Closed(Exception):
    """The thread takes no more work."""


class Work:
    """One coroutine on the loop's thread, waited for by another thread."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]], thread: LoopThread) -> None:
        self._make = make
        self._thread = thread
        self.task: asyncio.Task[Any] | None = None
        # Not an Event: Ctrl-C between two lines of its wait() can become a RuntimeError.
        self._end = threading.Lock()
        self._end.acquire()

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._make())
        self.task.add_done_callback(self._finished)

    def wait(self, timeout: float = -1) -> None:
        """Waits for the end; once."""
        self._end.acquire(timeout=timeout)

    def cancel(self) -> None:
        if self.task is None:
            self._end.release()  # the interrupt came before it could be started
        else:
            self.task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # or asyncio complains of it where an interrupt has kept its caller from looking
        # Where the interpreter ends, whoever waits is a daemon, and ends with it: woken, it could only complain.
        if not self._thread.is_abandoned:
            self._end.release()


class Feed:
    """Items that one thread takes from their source, and that an event loop on another one reads.

    Args:
        items: the source; it is used only by the thread that calls :meth:`give`.
    """

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._room: SimpleQueue[bool] = SimpleQueue()  # True: for one item more; False: nothing more is wanted
        self._given: asyncio.Queue[Any] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False

    def give(self) -> None:
        """Takes items as they are wanted, to the last one, or until nobody wants them any more."""
        while self._room.get() and not self._is_over:
            assert self._loop is not None
            given = self._next()
            is_end = given[1] is not None
            with contextlib.suppress(RuntimeError):  # the event loop has ended, and so has the reader
                self._loop.call_soon_threadsafe(self._given.put_nowait, given)
            del given  # an error keeps the frames that it came through, and those that called them
            if is_end:
                return

    async def items(self) -> AsyncIterator[Any]:
        """Reads them; raises what the source has raised."""
        self._loop = asyncio.get_running_loop()
        for _ in range(AHEAD):
            self._room.put(True)
        while True:
            item, end = await self._given.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                try:
                    raise end
                finally:
                    del end  # its traceback keeps this frame
            self._room.put(True)
            yield item

    def _next(self) -> tuple[Any, Exception | None]:
        """An item, or how the source has ended: a StopIteration, too, as it is the reader who has to know."""
        try:
            return next(self._items), None
        except Exception as error:
            return None, error

    def over(self) -> None:
        """Nobody reads any more."""
        self._is_over = True
        self._room.put(False)


def worker_with(middleware: Iterable[Any], **options: Any) -> ComputerEngineWorker:
    """A worker with these options, and this middleware.

    Raises:
        TypeError: one of it is none.
    """
    worker = ComputerEngineWorker(**options)
    for one in middleware:
        worker.middleware(one)
    return worker


class LoopThread:
    """A worker on an event loop in a thread of its own."""

    def __init__(self, worker: ComputerEngineWorker) -> None:
        self.worker = worker
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._door = threading.Lock()
        self._closing: Work | None = None
        self.is_abandoned = False
        # A daemon: a script that ends without close() must not wait for it. _forget() closes it then.
        self._thread = threading.Thread(target=self._run, name="mpzmq-blocking", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closing is not None or self._loop.is_closed()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a child of a fork: its parent closes what is its own."""
        return self._pid != os.getpid()

    def do(self, make: Callable[[], Coroutine[Any, Any, _T]], meanwhile: Callable[[], None] | None = None) -> _T:
        """Runs a coroutine to its end, in the context variables of the calling thread.

        Args:
            make: makes it, on the loop's thread.
            meanwhile: what the calling thread does before it waits for the end; what it raises cancels the coroutine.

        Raises:
            Closed: the thread takes no more work.
            RuntimeError: this is a forked process, or the thread itself.
        """
        self._check()
        work = Work(make, self)
        try:
            with self._door:
                if self.is_closed:
                    raise Closed
                # It copies the caller's context: a call made inside a handler inherits the deadline of that handler.
                self._loop.call_soon_threadsafe(work.start)
            if meanwhile is not None:
                meanwhile()
            work.wait()
        except Closed:
            raise
        except BaseException:  # Ctrl-C, as a rule: nobody waits for it any more, so it is cancelled
            with self._door:
                if not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(work.cancel)
            if work.task is None or not work.task.done():
                work.wait(CANCEL_WITHIN)
            raise
        task = work.task
        if task is None or task.cancelled():
            raise Closed
        try:
            result: _T = task.result()
            return result
        finally:
            del task, work  # they keep the error that is raised, whose traceback keeps this frame

    def submit(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
        """Runs a coroutine, and returns its future at once. Arguments and errors are those of :meth:`do`."""
        self._check()
        with self._door:
            if self.is_closed:
                raise Closed
            return asyncio.run_coroutine_threadsafe(make(), self._loop)

    def close(self, timeout: float = 0.0) -> None:
        """Closes the worker and ends the thread; bounded. In a child of a fork nothing happens."""
        if self.is_inherited:
            return
        self._check()
        with self._door:
            if not self.is_closed:
                # In a context of its own: the deadline of a handler that closes is none of its business.
                closing = Work(lambda: self._close(timeout), self)
                self._loop.call_soon_threadsafe(closing.start)
                self._closing = closing
        self._thread.join(timeout + CLOSE_WITHIN)

    def abandon(self) -> None:
        """The same for a handle that was forgotten, wherever the garbage collector found it."""
        if self.is_inherited:
            return
        self.is_abandoned = True
        with self._door:
            if self._closing is None:
                self._closing = Work(lambda: self._close(0.0), self)
                self._loop.call_soon_threadsafe(self._closing.start)
        if threading.current_thread() is not self._thread:
            self._thread.join(CANCEL_WITHIN)

    def _check(self) -> None:
        if self.is_inherited:
            raise RuntimeError("this handle belongs to the parent of this process: connect() after the fork")
        if threading.current_thread() is self._thread:
            raise RuntimeError("a blocking call on the handle's own thread would wait for itself for ever")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            asyncio.set_event_loop(None)
            with self._door:
                self._loop.close()

    async def _close(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self.worker.close(timeout)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                # Their requests have ended, and each is to say how: one that is cancelled could not.
                await asyncio.wait(others, timeout=CANCEL_WITHIN)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_asyncgens()
        finally:
            loop.call_soon(loop.stop)
