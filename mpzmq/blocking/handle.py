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
from ..errors import NotConnected
from ..protocol.requester.options import UNSET
from .loop_thread import LoopThread, worker_with
from .request_methods import BlockingRequests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from uuid import UUID

    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ..engine.writer import ComputerEngineWriter
    from ..errors import ConnectError
    from ..handlers.middleware import CallDetails, Proceed
    from ..models import Description, LinkState, Status
    from ..protocol.requester.options import _U
    from ..security.credentials import Security
    from ..statistics import ServerStatistics, Statistics

__all__ = ["BlockingContainer", "connect", "forget"]

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
    typed: bool = False,
    middleware: Iterable[Callable[[CallDetails, Proceed], Awaitable[Any]]] = (),
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
        typed: values may be of the application's types; see :class:`mpzmq.ComputerEngineWorker`.
        middleware: around every call, the first one outermost; see :meth:`mpzmq.ComputerEngineWorker.middleware`. It
            runs on the event loop of the handle, in a thread of its own.

    Returns:
        The handle. Close it, or use it in a ``with`` statement.

    Raises:
        ConnectError: it could not be reached, and why.
        ValueError, TypeError: the address is malformed.
    """
    policies: dict[str, Any] = {"reconnect": reconnect, "heartbeat": heartbeat, "limits": limits}
    thread = LoopThread(worker_with(middleware, **policies, security=security, typed=typed))
    try:
        writer = thread.do(lambda: thread.worker.connect(address, name=name, timeout=timeout))
        return BlockingContainer(thread, writer)
    except BaseException:
        thread.close()
        raise


@set_module("mpzmq.blocking")
class BlockingContainer(BlockingRequests):
    """The handle of one container; :func:`connect` returns it. Any thread may use it, several at a time.

    A call blocks the thread that makes it, and an event loop that runs there. Ctrl-C ends the call: its handler is
    cancelled in the container, and the handle can be used again.
    """

    def __init__(self, thread: LoopThread, writer: ComputerEngineWriter, *, is_member: bool = False) -> None:
        super().__init__(thread, writer, writer.name)
        self._writer = writer
        # A member's handle is its group's, which is closed by itself.
        self._forgotten = None if is_member else weakref.finalize(self, forget, thread, repr(self))

    def __repr__(self) -> str:
        return f"<BlockingContainer {self.name!r} {self.state} {self.remote_id}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout: float = 0.0) -> None:
        """Ends the link and the thread behind it; idempotent, from any thread. Of a member of a group: nothing happens.

        Args:
            timeout: seconds for what is in flight; what is left then ends with ``ConnectionClosed``.
        """
        checked_wait(timeout)
        if self._forgotten is not None:
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

    def describe(
        self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET, schema: bool = False
    ) -> Description:
        """Asks the container what it offers.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            schema: whether its functions are described as JSON Schema, too, if they are typed.

        Returns:
            Its name, version, status and functions.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return self._do(lambda: self._writer.describe(timeout=timeout, wait=wait, schema=schema))

    def get_statistics(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> ServerStatistics:
        """Asks the container for its counters; those of this side are :meth:`statistics`.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its counters, by function, too.

        Raises:
            Unsupported: the container is of a version that does not tell them.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return self._do(lambda: self._writer.get_statistics(timeout=timeout, wait=wait))

    def check(self, interface: type, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> None:
        """Compares an interface with what the container offers; see :meth:`mpzmq.ComputerEngineWriter.check`.

        The interface is that of :meth:`of`, with ``def``.

        Args:
            interface: the class.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Raises:
            TypeError: the container does not offer that, and where the two differ; or it is no interface.
            Unsupported: the container is not typed, so that it has no schema.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        self._do(lambda: self._writer.check(interface, timeout=timeout, wait=wait, blocking=True))

    def wait_ready(self, timeout: float | None = 30.0) -> None:
        """Waits until the container can be talked to; see :meth:`ComputerEngineWriter.wait_ready`.

        Args:
            timeout: seconds; None: any time.

        Raises:
            ConnectError: the link has FAILED, or was CLOSED, with the reason.
            ConnectTimeout: it was not ready in time.
        """
        self._do(lambda: self._writer.wait_ready(timeout))

    def _closed(self) -> NotConnected:
        text = f"container {self.name!r} was not asked: this handle is closed; connect() again"
        return NotConnected(text, remote_id=self.remote_id, name=self.name)


def forget(thread: LoopThread, shown: str) -> None:
    """The handle was collected, or the interpreter ends, without a close()."""
    try:
        warnings.warn(f"{shown} was never closed: use 'with', or close()", ResourceWarning, stacklevel=1)
    finally:  # the warning may be an error
        thread.abandon()
