"""The middleware of a worker: what stands around the calls that it sends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from ..context import current
from ..errors import RequestTimeout
from ..handlers.middleware import CallDetails, Chain, checked_middleware, checked_result
from ..models import Executed, Status
from ..protocol.requester.options import UNSET
from ..protocol.requester.request import request_in_words
from ..protocol.wire.kinds import Op
from .arguments import checked_function, operation_of
from .request_sender import propagating

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from ..config import Limits
    from ..errors import ResultMismatch
    from ..handlers.middleware import Middleware
    from ..models import Method
    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.flow.send_stream import SendStream
    from ..protocol.requester.options import Options
    from .request_sender import OpenedStream, RequestSender, Sender

    _S = TypeVar("_S", bound=Sender)
    Send = Callable[[tuple[Any, ...], dict[str, Any], Options], Awaitable[Any]]

__all__ = ["Facts", "MiddlewareSender", "WorkerMiddleware"]

GRACE: Final = 0.01
"""Seconds behind its deadline after which a call ends whose middleware goes on: the request inside of it, which knows
more, ends first."""

UNCOUNTED: Final = 0.001
"""Seconds that middleware may take before they are taken off the timeout of the request inside of it."""


class WorkerMiddleware:
    """The middleware of one worker.

    Attributes:
        middleware: outermost first.
    """

    def __init__(self) -> None:
        self.middleware: tuple[Middleware, ...] = ()
        self._is_used = False

    def add(self, middleware: object) -> None:
        """One more, inside of the others.

        Raises:
            TypeError: it is none.
            RuntimeError: there are ways out already that would pass it by.
        """
        if self._is_used:
            raise RuntimeError("this worker has connected already: middleware is registered before that")
        self.middleware = (*self.middleware, checked_middleware(middleware))

    def around(self, sender: _S, peer: str, remote_id: UUID | None = None) -> _S | MiddlewareSender:
        """A way out with the middleware around it; the same one, where there is none.

        Args:
            sender: the way out.
            peer: the name of who is asked.
            remote_id: the id of the container; None: it is a group.
        """
        self._is_used = True
        return MiddlewareSender(sender, self.middleware, peer, remote_id) if self.middleware else sender

    async def through(
        self, facts: Facts, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, send: Send
    ) -> Any:
        """A call that the caller himself sends to one member of a group, with the middleware around it.

        Args:
            facts: what is asked, and of whom.
            args: the arguments.
            kwargs: those by name.
            options: how.
            send: sends it.
        """
        if not self.middleware:
            return await send(args, kwargs, options)
        return await _through(self.middleware, facts, args, kwargs, options, send)


class Facts:
    """What stays as it is of a call that is sent; :class:`CallDetails` says what each means."""

    __slots__ = ("_tag", "function", "op", "peer", "remote_id")

    user_name = None

    def __init__(self, op: int, function: str | None, peer: str, remote_id: UUID | None, tag: bytes | None) -> None:
        self.op = op
        self.function = function
        self.peer = peer
        self.remote_id = remote_id
        self._tag = tag

    @property
    def request_id(self) -> UUID | None:
        """The id that the caller has chosen."""
        return None if self._tag is None else UUID(bytes=self._tag)


class MiddlewareSender:
    """A way out for requests, with middleware around it.

    Args:
        way_out: the one inside.
        middleware: outermost first.
        peer: the name of who is asked.
        remote_id: the id of the container; None: it is a group.
    """

    def __init__(self, way_out: Sender, middleware: tuple[Middleware, ...], peer: str, remote_id: UUID | None) -> None:
        self.way_out = way_out
        self._middleware = middleware
        self._peer = peer
        self._remote_id = remote_id

    @property
    def limits(self) -> Limits:
        """The worker's bounds."""
        return self.way_out.limits

    def mismatch(self, text: str, tag: bytes | None) -> ResultMismatch:
        """The error for an answer that does not fit the caller's interface."""
        return self.way_out.mismatch(text, tag)

    def request(
        self, method: Method, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Sends data to the handler for plain requests. What is asked of the container itself passes no middleware."""
        op, args = operation_of(method, data)
        if op != Op.INVOKE:
            return self.way_out.request(method, data, fallback, options, tag)

        def send(args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Awaitable[Any]:
            return self.way_out.request(method, _data(args, kwargs), fallback, options, tag)

        return self.through(op, None, args, {}, options, send, tag)

    async def exchange(
        self, method: Method, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> tuple[Status, Any]:
        """The same, with the container's status beside the data; that is RUNNING where middleware has answered."""
        sender: RequestSender = self.way_out  # type: ignore[assignment]  # a group has no exchange()
        op, args = operation_of(method, data)
        if op != Op.INVOKE:
            return await sender.exchange(method, data, fallback, options, tag)
        status = Status.RUNNING

        async def send(args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Any:
            nonlocal status
            status, answer = await sender.exchange(method, _data(args, kwargs), fallback, options, tag)
            return answer

        answer = await self.through(op, None, args, {}, options, send, tag)
        return status, answer

    def call(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Calls a named function; returns what it returns."""
        name = checked_function(function)

        def send(args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Awaitable[Any]:
            return self.way_out.call(name, args, kwargs, options, tag)

        return self.through(Op.CALL, name, args, kwargs, options, send, tag)

    async def open_stream(
        self,
        op: int,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        receive_stream: ReceiveStream | None,
        send_stream: SendStream | None,
        idle_timeout: float | None = None,
    ) -> OpenedStream:
        """Sends a request whose results or data go piece by piece: inside of the middleware, which stands around the
        whole of it (:mod:`.wrapped_streams`)."""
        given = options, receive_stream, send_stream, idle_timeout
        return await self.way_out.open_stream(op, function, args, kwargs, *given)

    def through(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        options: Options,
        send: Send,
        tag: bytes | None = None,
        given: list[Any] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Goes through the middleware, and sends.

        Args:
            op: what is asked; function, args, kwargs and options are those of :meth:`RequestSender.send`.
            function: its name.
            args: the arguments.
            kwargs: those by name.
            options: how.
            send: what the middleware stands around.
            tag: the request id; None: the caller chose none.
            given: takes the items that each step gives, which the caller closes in the end.

        Returns:
            What the outermost middleware returns.
        """
        facts = Facts(op, function, self._peer, self._remote_id, tag)
        return _through(self._middleware, facts, args, kwargs, options, send, given)


class _OutgoingChain(Chain):
    """The middleware around one call that is sent."""

    __slots__ = ("_began", "_given", "_loop", "_options", "_send", "has_begun")

    def __init__(
        self, middleware: tuple[Middleware, ...], call: CallDetails, options: Options, send: Send, began: float
    ) -> None:
        super().__init__(middleware, call)
        self._given = call
        self._options = options
        self._send: Send | None = send
        self._began = began
        self._loop = asyncio.get_running_loop()
        self.has_begun = False

    async def innermost(self) -> Any:
        """Sends the call, as it is now."""
        self.check_open()
        call, options, send, now = self.call, self._options, self._send, self._loop.time()
        assert send is not None  # it is open
        if call is not self._given:
            options = options.but(UNSET, UNSET, UNSET, dict(call.metadata))
        deadline = call.deadline
        if deadline is not None and (call is not self._given or now - self._began > UNCOUNTED):
            options = options.but(max(0.0, deadline - now), UNSET)
        self.has_begun = True
        self.task = asyncio.current_task()
        try:
            return await send(call.args, dict(call.kwargs), options)
        finally:
            self.task = None

    def release(self) -> None:
        """The call has ended: whoever keeps its ``proceed`` does not keep its arguments."""
        self.call = self._given = CallDetails(self._given._facts, (), None, None, None)
        self._send = None


async def _through(
    middleware: tuple[Middleware, ...],
    facts: Facts,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    options: Options,
    send: Send,
    given: list[Any] | None = None,
) -> Any:
    now = asyncio.get_running_loop().time()
    deadline = None if options.timeout is None else now + options.timeout
    enclosing = current.get()
    if enclosing is not None:
        options = propagating(options, enclosing)
        if enclosing.deadline is not None:
            deadline = enclosing.deadline if deadline is None else min(deadline, enclosing.deadline)
    call = CallDetails(facts, args, kwargs, options.metadata, deadline)
    chain = _OutgoingChain(middleware, call, options, send, now)
    if given is not None:
        chain.given = given
    bound = asyncio.timeout_at(None if deadline is None else max(deadline, now) + GRACE)
    where: BaseException | None = None
    try:
        async with bound:
            return checked_result(await chain.step(0))
    except TimeoutError as error:
        if not bound.expired():
            raise
        where = error.__cause__  # its traceback ends in the middleware
    finally:
        del bound  # which has the task, which may end with an error whose traceback keeps this frame
        chain.is_over = True
        try:
            await chain.end_left_behind()
        finally:
            chain.release()
    executed = Executed.UNKNOWN if chain.has_begun else Executed.NO
    what = request_in_words(facts.op, facts.function)
    text = f"{what} to {facts.peer!r} was not done by its deadline: a middleware of this worker went on"
    ids = {"request_id": facts.request_id, "remote_id": facts.remote_id, "name": facts.peer}
    try:
        raise RequestTimeout(text, executed=executed, **ids) from where  # type: ignore[arg-type]
    finally:
        del where


def _data(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The data of a plain request.

    Raises:
        TypeError: middleware has made something else of it.
    """
    if len(args) != 1 or kwargs:
        raise TypeError(f"a plain request has one argument, its data, and not {len(args)} and {len(kwargs)} by name")
    return args[0]
