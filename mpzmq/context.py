"""What a handler may know of the request that it works for."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

__all__ = ["RequestContext", "current_request", "detached"]


@set_module("mpzmq")
class RequestContext:
    """The request that a handler works for.

    A handler receives it through a parameter annotated ``RequestContext``; :func:`current_request` finds it
    anywhere below the handler. The container makes it, or the worker for its own functions.

    Attributes:
        function: the name of the function; None for plain INVOKE.
        peer: the name of the engine that asks; in a function of a worker, that of the container that calls it.
        user: the authenticated name of the engine; None on a connection without security, and in a worker.
        metadata: what the caller sent along.
        deadline: the time at which the caller stops waiting, on the event loop's clock; None: never.
        state: the value of the server's lifespan.
        cancelled: True once nobody waits for the result any more. A ``thread=True`` handler cannot be
            interrupted: it looks here.
    """

    __slots__ = ("_clock", "cancelled", "deadline", "function", "metadata", "peer", "state", "tag", "user")

    tag: bytes
    function: str | None
    peer: str
    user: str | None
    metadata: Mapping[str, Any]
    deadline: float | None
    state: Any
    cancelled: bool
    _clock: Callable[[], float]

    @property
    def request_id(self) -> UUID:
        """The id of the request."""
        return UUID(bytes=self.tag)

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0.0 when it has passed; None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    @property
    def connected(self) -> bool:
        """Whether the engine is connected now, or in a function of a worker the container; from any thread.

        If it is not, it may come back. A handler whose engine stays away is cancelled (``orphan_after``).
        """
        return False

    @property
    def parent(self) -> UUID | None:
        """In a function of a worker, the id of the request inside which it is called; None in a container."""
        return None

    @property
    def remote_id(self) -> UUID | None:
        """In a function of a worker, the id of the container that calls it; None in a container."""
        return None

    def call(
        self,
        function: str,
        /,
        *args: Any,
        timeout: float | None = 30.0,
        lost_after: float | None = 5.0,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Calls a function of the engine that asked, over the same connection; to be awaited in the request.

        Args:
            function: its name, as registered with ``@worker.function``.
            args, kwargs: its arguments.
            timeout: seconds until ``RequestTimeout``, though never longer than what is left of the request; None: as
                long as that.
            lost_after: seconds for which the call, once it has left, waits for an engine whose connection is lost,
                counted from when the container knows of it; 0: it ends then; None: not before its deadline.

        Returns:
            What the function returned.

        Raises:
            Unsupported, InvalidArguments, Refused, RemoteError, RequestTimeout, Overloaded: as for requests.
            RequestCancelled: the request has ended, and the call with it.
            ConnectionLost: the engine was away for ``lost_after``.
            ConnectionClosed: the engine's session has ended.
            EncodeError, MessageTooLarge: the arguments cannot be sent.
            RuntimeError: the handler cannot await, or is none of a container.
        """
        raise RuntimeError("this request has no engine that could be called")

    def __repr__(self) -> str:
        return f"<RequestContext {self.request_id} function={self.function!r} peer={self.peer!r}>"


current: contextvars.ContextVar[RequestContext | None] = contextvars.ContextVar("mpzmq_request", default=None)


@set_module("mpzmq")
def current_request() -> RequestContext | None:
    """The request that the running code works for; None outside a handler."""
    return current.get()


@set_module("mpzmq")
@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Calls made inside do not belong to the request that the handler works for: they do not inherit its deadline.

    For what has to be done however long the caller waits: ``with mpzmq.detached(): await service.call(...)``. A handler
    that is cancelled is cancelled here, too, unless it was registered with ``cancellable=False``.
    """
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)
