"""The handle of a container for programs without an event loop: scripts, notebooks, REPLs, threads.

One implementation: behind each handle an asyncio worker runs in a thread of its own, and a call waits for it there.
"""

from __future__ import annotations

import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..common.durations import checked_wait
from ..common.set_module import set_module
from ..config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from ..engine.streams import checked_items
from ..engine.worker import ComputerEngineWorker
from ..errors import NotConnected
from ..models import Method
from ..protocol.requester.options import UNSET
from .loop_thread import Closed, Feed, LoopThread
from .options_view import BlockingOptionsView
from .stream import BlockingStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
    from types import TracebackType
    from uuid import UUID

    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ..engine.streams import ReplyStream
    from ..engine.writer import ComputerEngineWriter
    from ..errors import ConnectError
    from ..models import Description, LinkState, Progress, Status
    from ..protocol.requester.options import _U
    from ..security.credentials import Security
    from ..statistics import Statistics

__all__ = ["BlockingContainer", "connect"]

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

        Args:
            timeout: seconds for what is in flight; what is left then ends with ``ConnectionClosed``.
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

        Args:
            data: any value that a message can carry.
            fallback: data that is sent once instead after ``Unsupported``, ``InvalidArguments`` or ``Refused``; None:
                no fallback.
            request_id: the id of the request, chosen by the caller; None: a new one.
            method: INVOKE; or GETSTATE or SETSTATE, whose data is the new status.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            The data of the reply.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
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
        """Calls a named function of the container; see :meth:`EngineService.call`.

        Args:
            function: the name of the function.
            args: passed to it by position.
            request_id: the id of the request, chosen by the caller; None: a new one.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            EncodeError, MessageTooLarge: nothing was sent.
        """
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
        """A named function of the container, to be called with any arguments: ``options(...).function(name)``.

        Args:
            name: the name of the function.
            request_id: the id of the request, chosen by the caller; None: a new one.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            A function that passes its arguments on.
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

        Args:
            function: the name of the function.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            Its items, as an iterator that raises the errors of a call.
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

        The calling thread takes them from ``items``, and is told of an early end with the next one.

        Args:
            function: the name of the function.
            items: the items.
            args: passed to it by position.
            timeout: seconds for the whole of it; None: no deadline of its own.
            idle_timeout: seconds without an item; None: any time.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            kwargs: passed to it by name.

        Returns:
            What the function returns.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
            Exception: whatever ``items`` raises; the function is ended then.
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

        Args:
            timeout: seconds for the whole of each; by default the handle's for calls, and none for what goes piece by
                piece.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            request_id: the id of the one request that is made; not for streams, uploads and channels.
            idle_timeout: seconds without an item; None: any time.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`mpzmq.Progress` as parts of a large request or reply pass.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of its range.
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
        """Asks the container for its run state.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its run state.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return self._do(lambda: self._writer.get_state(timeout=timeout, wait=wait))

    def set_state(self, status: Status, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Sets the container's run state; see :meth:`EngineService.set_state`.

        Args:
            status: the new status.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            The run state that it has now.

        Raises:
            Refused: the container's ``on_state_change`` said no.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return self._do(lambda: self._writer.set_state(status, timeout=timeout, wait=wait))

    def describe(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Description:
        """Asks the container what it offers.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its name, version, status and functions.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return self._do(lambda: self._writer.describe(timeout=timeout, wait=wait))

    def wait_ready(self, timeout: float | None = 30.0) -> None:
        """Waits until the container can be talked to; see :meth:`ComputerEngineWriter.wait_ready`.

        Args:
            timeout: seconds; None: any time.

        Raises:
            ConnectError: the link has FAILED, or was CLOSED, with the reason.
            ConnectTimeout: it was not ready in time.
        """
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


def _forget(thread: LoopThread, shown: str) -> None:
    """The handle was collected, or the interpreter ends, without a close()."""
    try:
        warnings.warn(f"{shown} was never closed: use 'with', or close()", ResourceWarning, stacklevel=1)
    finally:  # the warning may be an error
        thread.abandon()
