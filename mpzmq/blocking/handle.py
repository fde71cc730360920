"""The handle of a container for programs without an event loop: scripts, notebooks, REPLs, threads.

One implementation: behind each handle an asyncio worker runs in a thread of its own, and a call waits for it there.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..common.durations import checked_wait
from ..common.set_module import set_module
from ..config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from ..engine.options import UNSET
from ..engine.streams import checked_items
from ..engine.worker import ComputerEngineWorker
from ..errors import ConnectionClosed, NotConnected
from ..models import Executed, Method, StreamProgress
from .loop_thread import Closed, Feed, LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
    from types import TracebackType
    from uuid import UUID

    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ..engine.options import _U
    from ..engine.options_view import OptionsView
    from ..engine.streams import ReplyStream
    from ..engine.writer import ComputerEngineWriter
    from ..errors import ConnectError
    from ..models import Description, LinkState, Progress, Status
    from ..security.credentials import Security
    from ..statistics import Statistics

__all__ = ["BlockingContainer", "BlockingOptionsView", "BlockingStream", "connect"]

_T = TypeVar("_T")


@set_module("mpzmq.blocking")
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
    thread = LoopThread(ComputerEngineWorker(**policies, security=security))
    try:
        writer = thread.do(lambda: thread.worker.connect(address, name=name, timeout=timeout))
        return BlockingContainer(thread, writer)
    except BaseException:
        thread.close()
        raise


@set_module("mpzmq.blocking")
class BlockingContainer:
    """The handle of one container; :func:`connect` returns it. Any thread may use it, several at a time.

    A call blocks the thread that makes it, and an event loop that runs there. Ctrl-C ends the call: its handler is
    cancelled in the container, and the handle can be used again.
    """

    def __init__(self, thread: LoopThread, writer: ComputerEngineWriter) -> None:
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
        checked_wait(timeout)
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
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`.

        ``progress`` is called on the handle's own thread.
        """
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
                progress=progress,
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
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments: options are given here.

        The same as ``options(...).function(name)``.
        """
        return self.options(
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            lost_after=lost_after,
            progress=progress,
        ).function(name)

    def stream(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> BlockingStream:
        """Calls a function that yields: ``for item in container.stream("count", 10)``.

        Arguments, options and errors are those of :meth:`EngineService.stream`.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.stream(function, *args, **kwargs)

    def upload(
        self,
        function: str,
        items: Iterable[Any],
        /,
        *args: Any,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Sends items to a function that takes a stream, and returns what it returns.

        The calling thread takes them from ``items``, and is told of an early end with the next one. Arguments, options
        and errors are those of :meth:`EngineService.upload`.
        """
        view = self.options(timeout=timeout, idle_timeout=idle_timeout, wait=wait, metadata=metadata)
        return view.upload(function, items, *args, **kwargs)

    def options(
        self,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        request_id: UUID | None = None,
        idle_timeout: float | None = None,
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> BlockingOptionsView:
        """The container, asked with these options: every keyword of a call of the view goes to the function.

        See :meth:`EngineService.options`. ``progress`` is called on the handle's own thread.
        """
        view = self._writer.options(
            timeout=timeout,
            idempotent=idempotent,
            wait=wait,
            metadata=metadata,
            request_id=request_id,
            idle_timeout=idle_timeout,
            lost_after=lost_after,
            progress=progress,
        )
        return BlockingOptionsView(view, self._do, self._stream, self._upload)

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

    def _stream(self, ask: Callable[[], ReplyStream]) -> BlockingStream:
        async def made() -> ReplyStream:
            return ask()

        return BlockingStream(self._do(made), self._thread, repr(self.name))

    def _upload(self, send: Callable[[AsyncIterator[Any]], Coroutine[Any, Any, Any]], items: Iterable[Any]) -> Any:
        feed = Feed(iter(checked_items(items)))

        async def sent() -> Any:
            try:
                return await send(feed.items())
            finally:
                feed.over()

        return self._do(sent, feed.give)

    def _do(self, work: Callable[[], Coroutine[Any, Any, _T]], meanwhile: Callable[[], None] | None = None) -> _T:
        try:
            return self._thread.do(work, meanwhile)
        except Closed:
            text = f"container {self.name!r} was not asked: this handle is closed; connect() again"
            raise NotConnected(text, remote_id=self.remote_id, name=self.name) from None


@set_module("mpzmq.blocking")
class BlockingOptionsView:
    """One container, asked with options of its own; ``container.options(...)`` makes it.

    No keyword is taken for an option: all go to the function, as with :class:`mpzmq.OptionsView`.
    """

    def __init__(
        self,
        view: OptionsView,
        do: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any],
        stream: Callable[[Callable[[], ReplyStream]], BlockingStream],
        upload: Callable[[Callable[[AsyncIterator[Any]], Coroutine[Any, Any, Any]], Iterable[Any]], Any],
    ) -> None:
        self._view = view
        self._do = do
        self._stream = stream
        self._upload = upload

    def request(self, data: Any, fallback: Any = None, *, method: Method = Method.INVOKE) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`."""
        return self._do(lambda: self._view.request(data, fallback, method=method))

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a named function of the container, with any keywords, and returns what it returns."""
        return self._do(lambda: self._view.call(function, *args, **kwargs))

    def function(self, name: str, /) -> Callable[..., Any]:
        """A named function of the container, to be called with any arguments."""
        called = self._view.function(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._do(lambda: called(*args, **kwargs))

        return call

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> BlockingStream:
        """Calls a function that yields, with any keywords; see :meth:`EngineService.stream`."""
        return self._stream(lambda: self._view.stream(function, *args, **kwargs))

    def upload(self, function: str, items: Iterable[Any], /, *args: Any, **kwargs: Any) -> Any:
        """Sends items to a function, with any keywords; see :meth:`EngineService.upload`."""
        return self._upload(lambda taken: self._view.upload(function, taken, *args, **kwargs), items)


_END = object()


@set_module("mpzmq.blocking")
class BlockingStream:
    """The items of a function that yields: an iterator that ends as the function does.

    The request is sent when the first item is asked for, or by ``with``. Leaving the loop early, ``close()``, or Ctrl-C
    ends the function. One thread at a time reads it.

    Raises:
        RequestError: from the iteration, as from that of a :class:`mpzmq.ReplyStream`.
    """

    def __init__(self, stream: ReplyStream, thread: LoopThread, shown: str) -> None:
        self._stream: ReplyStream | None = stream
        self._thread = thread
        self._shown = shown
        self._here: list[Any] = []  # the next one at the end
        self._received = 0
        self._asked = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._here:
            self._here = self._fetch()
            self._received += len(self._here)
        return self._here.pop()

    def __enter__(self) -> Self:
        if self._stream is not None:
            self._do(self._stream.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the function if it has not ended; nothing more comes. Idempotent."""
        stream, self._stream = self._stream, None
        self._here.clear()
        if stream is not None:
            with contextlib.suppress(Closed):
                self._thread.do(stream.aclose)

    def _fetch(self) -> list[Any]:
        """All that came together: a change of threads for each item would take longer than most of them."""
        stream = self._stream
        if stream is None:
            raise StopIteration

        async def fetched() -> list[Any]:
            item = await anext(stream, _END)
            return [] if item is _END else [*stream.take_buffered(), item]

        try:
            items = self._do(fetched)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, which may have come before the stream was even asked
                self.close()
            raise
        if not items:
            self._stream = None
            raise StopIteration
        return items

    def _do(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        try:
            result = self._thread.do(work)
        except Closed:
            self._stream = None
            executed = Executed.UNKNOWN if self._asked else Executed.NO
            if self._received:
                executed = Executed.YES
            text = f"the stream of container {self._shown} ended early: its handle is closed"
            error = ConnectionClosed(text, executed=executed)
            error.progress = StreamProgress(received=self._received)
            try:
                raise error from None
            finally:
                del error  # its traceback keeps this frame
        self._asked = True
        return result


def _forget(thread: LoopThread, shown: str) -> None:
    """The handle was collected, or the interpreter ends, without a close()."""
    try:
        warnings.warn(f"{shown} was never closed: use 'with', or close()", ResourceWarning, stacklevel=1)
    finally:  # the warning may be an error
        thread.abandon()
