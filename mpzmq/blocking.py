"""The handle of a container for programs without an event loop: scripts, notebooks, REPLs, threads.

One implementation: behind each handle an asyncio worker runs in a thread of its own, and a call waits for it there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from .config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from .engine.options import UNSET
from .engine.worker import ComputerEngineWorker
from .errors import NotConnected
from .message import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from types import TracebackType
    from uuid import UUID

    from .config import HeartbeatPolicy, Limits, ReconnectPolicy
    from .engine.options import _U
    from .engine.writer import ComputerEngineWriter
    from .errors import ConnectError
    from .message import Description, LinkState, Status
    from .security import Security
    from .statistics import Statistics

__all__ = ["BlockingContainer", "connect"]

CANCEL_WITHIN = 1.0
"""Seconds in which a call that was interrupted ends on the other thread; it takes a few passes of its event loop."""

CLOSE_WITHIN = 5.0
"""Seconds, beyond its own timeout, for the thread to end."""

_T = TypeVar("_T")


def connect(
    address: str | tuple[str, int],
    *,
    name: str | None = None,
    timeout: float = 5.0,
    reconnect: ReconnectPolicy = DEFAULT_RECONNECT,
    heartbeat: HeartbeatPolicy = DEFAULT_HEARTBEAT,
    limits: Limits = DEFAULT_LIMITS,
    security: Security | None = None,
) -> BlockingContainer:
    """Connects to a container, and waits until it has answered.

    Args:
        address: as for :meth:`ComputerEngineWorker.connect`.
        name: what it is called in errors and logs; by default its address.
        timeout: seconds for all of it.
        reconnect: how a lost link is redialled.
        heartbeat: how the container's life is judged.
        limits: bounds on everything that could grow.
        security: the engine's keys, and the container's; None: plain.

    Returns:
        The handle. Close it, or use it in a ``with`` statement.

    Raises:
        ConnectError: it could not be reached, and why.
        ValueError, TypeError: the address is malformed.
    """
    policies: dict[str, Any] = {"reconnect": reconnect, "heartbeat": heartbeat, "limits": limits}
    thread = _LoopThread(ComputerEngineWorker(**policies, security=security))
    try:
        writer = thread.do(lambda: thread.worker.connect(uuid4(), address, name=name, timeout=timeout))
        return BlockingContainer(thread, writer)
    except BaseException:
        thread.close()
        raise


class BlockingContainer:
    """The handle of one container; :func:`connect` returns it. Any thread may use it, several at a time.

    A call blocks the thread that makes it, and an event loop that runs there. Ctrl-C ends the call: its handler is
    cancelled in the container, and the handle can be used again.
    """

    def __init__(self, thread: _LoopThread, writer: ComputerEngineWriter) -> None:
        self._thread = thread
        self._writer = writer
        self._forgotten = weakref.finalize(self, _forget, thread, repr(self))

    def __repr__(self) -> str:
        return f"<BlockingContainer {self.name!r} {self.state} {self.remote_id}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout: float = 0.0) -> None:
        """Ends the link and the thread behind it; idempotent, from any thread.

        Waits ``timeout`` seconds for what is in flight; what is left then ends with ``ConnectionClosed``.
        """
        self._forgotten.detach()
        self._thread.close(timeout)

    # What the link knows

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

        return self._writer.statistics() if self._thread.is_closed else self._do(taken)

    # Requests: as the methods of ComputerEngineWriter

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
        return self._do(
            lambda: self._writer.request(
                data,
                fallback,
                request_id=request_id,
                method=method,
                timeout=timeout,
                idempotent=idempotent,
                wait=wait,
                metadata=metadata,
            )
        )

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
        return self._do(
            lambda: self._writer.call(
                function,
                *args,
                request_id=request_id,
                timeout=timeout,
                idempotent=idempotent,
                wait=wait,
                metadata=metadata,
                **kwargs,
            )
        )

    def function(self, name: str, /, **options: Any) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments; see :meth:`EngineService.function`."""
        called = self._writer.function(name, **options)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._do(lambda: called(*args, **kwargs))

        return call

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
        self._do(lambda: self._writer.wait_ready(timeout))

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

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]], thread: _LoopThread) -> None:
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


class _LoopThread:
    """A worker on an event loop in a thread of its own."""

    def __init__(self, worker: ComputerEngineWorker) -> None:
        self.worker = worker
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._door = threading.Lock()
        self._closing: _Work | None = None
        self.is_abandoned = False
        # A daemon: a script that ends without close() must not wait for it. _forget() closes it then.
        self._thread = threading.Thread(target=self._run, name="mpzmq-blocking", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closing is not None or self._loop.is_closed()

    def do(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Runs a coroutine to its end, in the context variables of the calling thread.

        Raises:
            _Closed: the thread takes no more work.
            RuntimeError: this is a forked process, or the thread itself.
        """
        self._check()
        work = _Work(make, self)
        try:
            with self._door:
                if self.is_closed:
                    raise _Closed
                # It copies the caller's context: a call made inside a handler inherits the deadline of that handler.
                self._loop.call_soon_threadsafe(work.start)
            work.wait()
        except _Closed:
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
            raise _Closed
        result: _T = task.result()
        return result

    def close(self, timeout: float = 0.0) -> None:
        """Closes the worker and ends the thread; bounded."""
        self._check()
        with self._door:
            if not self.is_closed:
                # In a context of its own: the deadline of a handler that closes is none of its business.
                closing = _Work(lambda: self._close(timeout), self)
                self._loop.call_soon_threadsafe(closing.start)
                self._closing = closing
        self._thread.join(timeout + CLOSE_WITHIN)

    def abandon(self) -> None:
        """The same for a handle that was forgotten, wherever the garbage collector found it."""
        if self._pid != os.getpid():
            return  # the parent of a fork closes it
        self.is_abandoned = True
        with self._door:
            if self._closing is None:
                self._closing = _Work(lambda: self._close(0.0), self)
                self._loop.call_soon_threadsafe(self._closing.start)
        if threading.current_thread() is not self._thread:
            self._thread.join(CANCEL_WITHIN)

    def _check(self) -> None:
        if self._pid != os.getpid():
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
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_asyncgens()
            await loop.shutdown_default_executor()
        finally:
            loop.call_soon(loop.stop)


def _forget(thread: _LoopThread, shown: str) -> None:
    """The handle was collected, or the interpreter ends, without a close()."""
    warnings.warn(f"{shown} was never closed: use 'with', or close()", ResourceWarning, stacklevel=1)
    thread.abandon()
