"""What a handler may know of the request that it works for."""

from __future__ import annotations

import contextlib
import contextvars
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from .common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

__all__ = ["CurrentRequest", "RequestContext", "current_request", "detached"]


class CurrentRequest(Protocol):
    """A request at work, as its context shows it. What each is, :class:`RequestContext` says."""

    tag: bytes
    deadline: float | None
    state: Any

    @property
    def cancelled(self) -> bool:
        """See :class:`RequestContext`."""

    @property
    def propagated(self) -> Mapping[str, Any] | None:
        """What calls made inside it carry on of its metadata; None: nothing."""

    @property
    def context(self) -> RequestContext:
        """What its handler sees of it."""

    @property
    def function(self) -> str | None:
        """See :class:`RequestContext`."""

    @property
    def peer(self) -> str:
        """See :class:`RequestContext`."""

    @property
    def user_name(self) -> str | None:
        """See :attr:`RequestContext.user`."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """See :class:`RequestContext`."""

    @property
    def connected(self) -> bool:
        """See :class:`RequestContext`."""

    @property
    def parent(self) -> UUID | None:
        """See :class:`RequestContext`."""

    @property
    def remote_id(self) -> UUID | None:
        """See :class:`RequestContext`."""

    def remaining(self) -> float | None:
        """See :class:`RequestContext`."""

    def call(
        self,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        lost_after: float | None,
    ) -> Coroutine[Any, Any, Any]:
        """See :class:`RequestContext`."""


@set_module("mpzmq")
class RequestContext:
    """The request that a handler works for.

    A handler receives it through a parameter annotated ``RequestContext``; :func:`current_request` finds it
    anywhere below the handler. The container makes it, or the worker for its own functions.
    """

    __slots__ = ("_request",)

    def __init__(self, request: CurrentRequest) -> None:
        self._request = request

    @property
    def request_id(self) -> UUID:
        """The id of the request."""
        return UUID(bytes=self._request.tag)

    @property
    def function(self) -> str | None:
        """The name of the function; None for plain INVOKE."""
        return self._request.function

    @property
    def peer(self) -> str:
        """The name of the engine that asks; in a function of a worker, that of the container that calls it."""
        return self._request.peer

    @property
    def user(self) -> str | None:
        """The authenticated name of the engine; None on a connection without security, and in a worker."""
        return self._request.user_name

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller sent along."""
        return self._request.metadata

    @property
    def deadline(self) -> float | None:
        """The time at which the caller stops waiting, on the event loop's clock; None: never."""
        return self._request.deadline

    @property
    def state(self) -> Any:
        """The value of the server's lifespan."""
        return self._request.state

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for the result any more.

        A ``thread=True`` handler cannot be interrupted: it looks here.
        """
        return self._request.cancelled

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0.0 when it has passed; None when there is none."""
        return self._request.remaining()

    @property
    def connected(self) -> bool:
        """Whether the engine is connected now, or in a function of a worker the container; from any thread.

        If it is not, it may come back. A handler whose engine stays away is cancelled (``orphan_after``).
        """
        return self._request.connected

    @property
    def parent(self) -> UUID | None:
        """In a function of a worker, the id of the request inside which it is called; None in a container."""
        return self._request.parent

    @property
    def remote_id(self) -> UUID | None:
        """In a function of a worker, the id of the container that calls it; None in a container."""
        return self._request.remote_id

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
        return self._request.call(function, args, kwargs, timeout, lost_after)

    def __repr__(self) -> str:
        return f"<RequestContext {self.request_id} function={self.function!r} peer={self.peer!r}>"


current: contextvars.ContextVar[CurrentRequest | None] = contextvars.ContextVar("mpzmq_request", default=None)


@set_module("mpzmq")
def current_request() -> RequestContext | None:
    """The request that the running code works for; None outside a handler."""
    request = current.get()
    return None if request is None else request.context


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
