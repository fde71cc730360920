"""The handle of a container for programs without an event loop: scripts, notebooks, REPLs, threads.

One implementation: behind each handle an asyncio worker runs in a thread of its own, and a call waits for it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from .config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from .engine.options import UNSET
from .engine.worker import ComputerEngineWorker
from .errors import ConnectError, ConnectionClosed, NotConnected
from .message import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from uuid import UUID

    from .config import HeartbeatPolicy, Limits, ReconnectPolicy
    from .engine.options import _U
    from .engine.writer import ComputerEngineWriter
    from .message import Description, LinkState, Status
    from .statistics import Statistics

__all__ = ["BlockingContainer", "connect"]

CANCEL_WITHIN = 1.0
"""Seconds in which a call that was interrupted ends on the other thread; it takes a few passes of its event loop."""

CLOSE_WITHIN = 5.0
"""Seconds, beyond its own timeout, for the thread to end; a name server that does not answer may hold it."""

_T = TypeVar("_T")


def connect(
    address: str | tuple[str, int],
    *,
    name: str | None = None,
    timeout: float = 5.0,
    reconnect: ReconnectPolicy = DEFAULT_RECONNECT,
    heartbeat: HeartbeatPolicy = DEFAULT_HEARTBEAT,
    limits: Limits = DEFAULT_LIMITS,
) -> BlockingContainer:
    """Connects to a container, and waits until it has answered.

    Args:
        address: as for :meth:`ComputerEngineWorker.connect`.
        name: what it is called in errors and logs; by default its address.
        timeout: seconds for all of it.
        reconnect: how a lost link is redialled.
        heartbeat: how the container's life is judged.
        limits: bounds on everything that could grow.

    Returns:
        The handle. Close it, or use it in a ``with`` statement.

    Raises:
        ConnectError: it could not be reached, and why.
        ValueError, TypeError: the address is malformed.
    """
    thread = _LoopThread(ComputerEngineWorker(reconnect=reconnect, heartbeat=heartbeat, limits=limits))
    try:
        thread.start()
        writer = thread.do(lambda: thread.worker.connect(uuid4(), address, name=name, timeout=timeout))
        return BlockingContainer(thread, writer)
    except BaseException:
        thread.close()
        raise


class BlockingContainer:
    """The handle of one container; :func:`connect` returns it. Any thread may use it, several at a time.

    A call blocks the thread that makes it, and an event loop that runs there: in a notebook, nothing else of its loop
    runs meanwhile. Ctrl-C ends the call: its handler is cancelled in the container, and the handle can be used again.
    A call made inside a handler inherits the deadline of that handler.

    After :meth:`close`, requests are ``NotConnected``. In a forked child they are a ``RuntimeError``: connect there.
    """

    def __init__(self, thread: _LoopThread, writer: ComputerEngineWriter) -> None:
        self._thread = thread
        self._writer = writer
        # Also when the interpreter ends, which __del__ is not sure to see.
        weakref.finalize(self, thread.forget, f"{self!r} was never closed: use 'with', or close()")

    def __repr__(self) -> str:
        return f"<BlockingContainer {self.name!r} {self.state} {self.remote_id}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self, timeout: float = 0.0) -> None:
        """Ends the link and the thread behind it; idempotent, from any thread.

        New calls are refused at once. It waits ``timeout`` seconds for those in flight; what is left then ends with
        ``ConnectionClosed``. Of several closes at a time, the most impatient decides. In a forked child nothing
        happens: the handle is the parent's.
        """
        self._thread.close(timeout)

    @property
    def remote_id(self) -> UUID:
        """The id under which the worker behind this handle knows the container."""
        return self._writer.remote_id

    @property
    def name(self) -> str:
        """What the container is called in errors and logs."""
        return self._writer.name

    @property
    def address(self) -> str:
        """The container's address, as it was given to :func:`connect`."""
        return self._writer.address

    @property
    def instance(self) -> UUID | None:
        """The id of the container's process incarnation."""
        return self._writer.instance

    @property
    def state(self) -> LinkState:
        """The state of the link."""
        return self._writer.state

    @property
    def status(self) -> Status | None:
        """The container's run state as last heard."""
        return self._writer.status

    @property
    def last_error(self) -> ConnectError | None:
        """Why the last dial or connection ended; None if none did."""
        return self._writer.last_error

    def is_running(self) -> bool:
        """Whether the container can be talked to now; it speaks of the link, not of the container's ``Status``."""
        return self._writer.is_running()

    def statistics(self) -> Statistics:
        """The counters of the link."""

        async def taken() -> Statistics:
            return self._writer.statistics()

        try:
            return self._thread.do(taken)
        except _Closed:
            return self._writer.statistics()

    def request(
        self,
        data: Any,
        fallback: Any = None,
        *,
        request_id: UUID | None = None,
        method: Method = Method.INVOKE,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`."""
        work = partial(self._writer.request, data, fallback, request_id=request_id, method=method, timeout=timeout)
        return self._do(partial(work, idempotent=idempotent, wait=wait, metadata=metadata))

    def call(
        self,
        function: str,
        /,
        *args: Any,
        request_id: UUID | None = None,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Calls a named function of the container; see :meth:`EngineService.call`."""
        work = partial(self._writer.call, function, *args, request_id=request_id, timeout=timeout)
        return self._do(partial(work, idempotent=idempotent, wait=wait, metadata=metadata, **kwargs))

    def function(
        self,
        name: str,
        /,
        *,
        request_id: UUID | None = None,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments; see :meth:`EngineService.function`."""
        options = {"timeout": timeout, "idempotent": idempotent, "wait": wait, "metadata": metadata}
        called = self._writer.function(name, request_id=request_id, **options)

        def function(*args: Any, **kwargs: Any) -> Any:
            return self._do(lambda: called(*args, **kwargs))

        return function

    def get_state(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Asks the container for its run state."""
        return self._do(lambda: self._writer.get_state(timeout=timeout, wait=wait))

    def set_state(self, status: Status, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Sets the container's run state; see :meth:`EngineService.set_state`."""
        return self._do(lambda: self._writer.set_state(status, timeout=timeout, wait=wait))

    def describe(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Description:
        """Asks the container what it offers."""
        return self._do(lambda: self._writer.describe(timeout=timeout, wait=wait))

    def wait_ready(self, timeout: float | None = 30.0) -> None:
        """Waits until the container can be talked to; see :meth:`ComputerEngineWriter.wait_ready`."""
        try:
            self._do(lambda: self._writer.wait_ready(timeout))
        except NotConnected as closed:
            raise ConnectError(str(closed), address=self.address, name=self.name) from None

    def _do(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        try:
            return self._thread.do(work)
        except _Closed:
            text = f"container {self.name!r} was not asked: this handle is closed; connect() again"
            raise NotConnected(text, remote_id=self.remote_id, name=self.name) from None


class _Closed(Exception):
    """The thread takes no more work."""


class _Work:
    """One coroutine on the loop's thread, waited for by another thread."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.make = make
        self.task: asyncio.Task[Any] | None = None
        self.ended = threading.Event()


class _LoopThread:
    """A worker on an event loop in a thread of its own."""

    def __init__(self, worker: ComputerEngineWorker) -> None:
        self.worker = worker
        self._is_closed = False
        self._is_forgotten = False
        self._pid = os.getpid()
        self._works: set[_Work] = set()
        # Held for moments only; reentrant, as the garbage collector may run somebody's __del__ in them.
        self._door = threading.RLock()
        self._stop = asyncio.Event()
        self._over = threading.Event()
        self._loop = asyncio.new_event_loop()
        # A daemon: a script that ends without close() must not wait for it. forget() ends it then.
        self._thread = threading.Thread(target=self._run, name="mpzmq-blocking", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # the system has no more threads
            self._loop.close()
            self._over.set()
            raise

    def do(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Runs a coroutine to its end, in the context variables of the calling thread. ``_Closed``: it did not."""
        if self._pid != os.getpid():
            raise RuntimeError("this handle belongs to the parent of this process: connect() after the fork")
        self._check_thread()
        if self._is_forgotten and threading.current_thread().daemon:
            threading.Event().wait()  # the interpreter ends, and this thread with it: an error would be noise
        work = _Work(make)
        try:
            with self._door:
                if self._is_closed:
                    raise _Closed
                self._works.add(work)
                # It copies the caller's context: a call made inside a handler inherits the deadline of that handler.
                self._loop.call_soon_threadsafe(self._start, work)
            work.ended.wait()
        except BaseException:  # Ctrl-C, as a rule: nobody waits for it any more, so it is cancelled
            if work in self._works:
                self._tell(partial(self._cancel, work))
                work.ended.wait(CANCEL_WITHIN)
            raise
        try:
            if work.task is None or work.task.cancelled():
                raise ConnectionClosed("the handle was closed, and the call did not end")
            result: _T = work.task.result()
            return result
        finally:
            del work  # or the error, by its traceback, refers to itself, and keeps the handle alive

    def close(self, timeout: float = 0.0) -> None:
        """Ends the worker and the thread; bounded, and without its timeout when it is interrupted."""
        if self._pid != os.getpid():
            return
        self._check_thread()
        try:
            with self._door:
                self._is_closed = True
            deadline = time.monotonic() + timeout
            for work in list(self._works):
                if self._over.is_set() or (left := deadline - time.monotonic()) <= 0:
                    break
                work.ended.wait(left)
        finally:
            self._end(CLOSE_WITHIN)

    def forget(self, text: str) -> None:
        """Ends what nobody has closed: its handle was collected, or the interpreter ends."""
        if self._pid != os.getpid() or self._over.is_set():
            return
        self._is_forgotten = True
        try:
            if not self._is_closed:
                warnings.warn(text, ResourceWarning, stacklevel=1)
        finally:
            self._end(CANCEL_WITHIN)

    def _check_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("on the handle's own thread this would wait for itself for ever: call it on another one")

    def _tell(self, what: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(what)

    def _end(self, within: float) -> None:
        with self._door:
            self._is_closed = True
        self._tell(self._stop.set)  # after all that was begun
        if threading.current_thread() is self._thread:
            return
        try:
            self._over.wait(within)
        except BaseException:  # Ctrl-C: it ends in a moment, all the same
            self._over.wait(CANCEL_WITHIN)
            raise
        if self._over.is_set() and self._thread.is_alive():
            self._thread.join(within)

    # On the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except RuntimeError:
            # From Python 3.12 on, no thread starts when the interpreter ends, as the end of the loop's executor needs.
            if not self._is_forgotten:
                raise
        finally:
            for work in list(self._works):
                self._finish(work)
            self._over.set()

    async def _serve(self) -> None:
        await self._stop.wait()
        await self.worker.close()
        # Every call has been told; it takes them a few passes of the loop to end.
        tasks = [work.task for work in list(self._works) if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_WITHIN)

    def _start(self, work: _Work) -> None:
        work.task = self._loop.create_task(work.make())
        work.task.add_done_callback(lambda _: self._finish(work))

    def _cancel(self, work: _Work) -> None:
        if work.task is None:  # it never came this far
            self._finish(work)
        else:
            work.task.cancel()

    def _finish(self, work: _Work) -> None:
        self._works.discard(work)
        if work.task is not None and work.task.done() and not work.task.cancelled():
            work.task.exception()  # or asyncio complains that nobody looked at it, when nobody waits any more
        # Where the interpreter ends, whoever waits is a daemon, and ends with it: woken, it could only complain.
        if not self._is_forgotten:
            work.ended.set()
