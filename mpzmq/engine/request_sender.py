"""Sends the requests to one container, and tells it of their ends."""

from __future__ import annotations

import asyncio
import copy
import operator
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from uuid import UUID

from ..common.chaining import alone
from ..context import current
from ..errors import (
    ConnectionClosed,
    EncodeError,
    InvalidArguments,
    MessageTooLarge,
    NotPermitted,
    ProtocolError,
    Refused,
    RequestError,
    RequestTimeout,
    ResultMismatch,
    Unsupported,
)
from ..models import Executed, Status
from ..protocol.requester.options import UNSET, Options
from ..protocol.wire.kinds import Op
from ..protocol.wire.records import STATUSES
from ..runtime.request_log import REQUEST_LOG
from .arguments import checked_function, operation_of
from .container_reports import description, server_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sized

    from ..config import Limits
    from ..context import CurrentRequest
    from ..models import Description, Method
    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.flow.send_stream import SendStream
    from ..protocol.requester.request import PendingRequest
    from ..protocol.wire.encoder import Encoder
    from ..protocol.wire.records import Record
    from ..runtime.loop_bound import LoopBound
    from ..statistics import ServerStatistics
    from .link_driver import LinkDriver

    OpenedStream = tuple["RequestSender", PendingRequest, Callable[[RequestError], RequestError]]

__all__ = ["RequestSender", "Sender", "propagating"]

_T = TypeVar("_T")

_get_running_loop: Final = asyncio._get_running_loop
_perf_counter: Final = time.perf_counter  # the event loop's clock may stand still during a pass

_CALL: Final = Op.CALL  # a name of the module: looking it up in its class takes three times as long (Python 3.11)

_STATUS, _WHOLE = operator.itemgetter(1), operator.itemgetter(slice(None))
"""What is wanted of a RESPONSE that carries no data of the application."""

_WORTH_A_FALLBACK = (Unsupported, InvalidArguments, Refused)


class Sender(Protocol):
    """A way out for requests: to one container, or to one of several."""

    @property
    def limits(self) -> Limits:
        """The worker's bounds."""

    def request(
        self, method: Method, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Sends data to the handler for plain requests; returns the data of the reply."""

    def call(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Calls a named function; returns what it returns."""

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
        """Sends a request whose results or data go piece by piece.

        Returns:
            Through whom it goes on, the request, and what makes of its error a copy, as its caller is told of it.
        """

    def mismatch(self, text: str, tag: bytes | None) -> ResultMismatch:
        """The error for an answer that does not fit the caller's interface."""


def propagating(options: Options, enclosing: CurrentRequest) -> Options:
    """Options with what a call made inside a handler carries on of the metadata of its request."""
    carried = enclosing.propagated
    if carried is None:
        return options
    return options.but(UNSET, UNSET, metadata={**carried, **(options.metadata or {})})


class RequestSender:
    """Encodes requests, waits for room, and hands them to the link.

    Args:
        connection: to the container.
        loop_bound: the event loop that the worker belongs to.
    """

    def __init__(self, connection: LinkDriver, loop_bound: LoopBound) -> None:
        self._connection = connection
        self._link = connection.link
        self._timings = self._link.diagnostics.traffic.timings
        self._submission = connection.link.submission
        self._requester = connection.link.requester
        self._loop_bound = loop_bound

    # These two are no coroutines of their own: each would take 0.3 us of every request.
    def request(
        self, method: object, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Sends data to the container's handler for plain requests; returns the data of the reply."""
        op, args = operation_of(method, data)
        return self.send(op, None, args, None, options, tag, fallback)

    def call(
        self, function: object, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Calls a named function of the container; returns what it returns."""
        name = function if type(function) is str else checked_function(function)
        return self.send(_CALL, name, args, kwargs or None, options, tag)

    async def exchange(
        self, method: object, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> tuple[Status, Any]:
        """Sends data as :meth:`request` does; returns the container's status and the data of the reply."""
        op, args = operation_of(method, data)
        record = await self.send(op, None, args, None, options, tag, fallback, _WHOLE)
        return STATUSES[record[1]], record[2]

    async def get_state(self, options: Options) -> Status:
        """Asks the container for its run state."""
        status = await self.send(Op.GETSTATE, None, (), None, options, take=_STATUS)
        return STATUSES[status]

    async def set_state(self, status: Status, options: Options) -> Status:
        """Sets the container's run state, and returns it."""
        changed = await self.send(Op.SETSTATE, None, (Status(status),), None, options, take=_STATUS)
        return STATUSES[changed]

    async def describe(self, options: Options, *, schema: bool = False) -> Description:
        """Asks the container what it offers."""
        try:
            record = await self.send(Op.DESCRIBE, None, ("schema",) if schema else (), None, options, take=_WHOLE)
        except InvalidArguments:  # an older one, which has no schema
            if not schema:
                raise
            return await self.describe(options)
        return self._read(description, record, "a description")

    async def get_statistics(self, options: Options) -> ServerStatistics:
        """Asks the container for its counters."""
        record = await self.send(Op.STATISTICS, None, (None,), None, options, take=_WHOLE)
        return self._read(server_statistics, record, "statistics")

    def _read(self, reader: Callable[[Record], _T], record: Record, what: str) -> _T:
        """What a container has told of itself.

        Raises:
            ProtocolError: it cannot be read.
        """
        try:
            return reader(record)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            error_factory = self._link.error_factory
            text = f"{error_factory.whom} sent {what} that this version cannot read ({error!r}); update it"
            raise alone(ProtocolError(text, remote_id=error_factory.remote_id, name=error_factory.name)) from None

    async def send(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None = None,
        fallback: Any = None,
        take: Callable[[Record], Any] = list.pop,
        submitted: list[PendingRequest] | None = None,
    ) -> Any:
        """Sends one request and waits for its end.

        Args:
            op: what is asked, one of :class:`~mpzmq.protocol.wire.kinds.Op`.
            function: its name, in a CALL.
            args: the arguments.
            kwargs: those by name.
            options: how.
            tag: the request id; None: the caller chose none.
            fallback: data that is sent once instead when the container cannot or will not do what was asked.
            take: what is wanted of the RESPONSE record: its data. That is popped from it, for the future that brought
                the record holds it until the event loop's next pass, and a caller that asks for one large reply after
                another would have two of them.
            submitted: gets what the link has taken, for whoever has to know whether it has left.

        Returns:
            What was wanted of the record.
        """
        began = _perf_counter()
        entry, is_ready = self._issue(op, function, args, kwargs, options, tag)
        if not is_ready or self._connection.queue.waiting:
            await self._wait_for_room(entry)
        self._submit(entry, options)
        if submitted is not None:
            submitted.append(entry)
        try:
            taken = take(await entry.waiter)
            self._timings.add(_perf_counter() - began)
            return taken
        except BaseException as error:
            self.cancel(entry)  # unless it has ended: whatever ends this coroutine, nobody waits any more
            entry.waiter = None  # it keeps the error, whose traceback keeps this frame and the arguments
            if fallback is None or not isinstance(error, _WORTH_A_FALLBACK) or isinstance(error, NotPermitted):
                raise
        left = UNSET if entry.deadline is None else entry.deadline - self._connection.loop.time()
        rest = options.but(left, UNSET, UNSET, UNSET)
        try:
            return await self.send(Op.INVOKE, None, (fallback,), None, rest, take=take, submitted=submitted)
        except (RequestError, EncodeError, MessageTooLarge) as error:
            if isinstance(error, RequestError):
                error.request_id = UUID(bytes=entry.tag)
                error.fallback_sent = True
            raise

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
        """Sends a request whose results or data go piece by piece. Its ``waiter`` is told of the end.

        Args:
            op: what is asked; function, args, kwargs and options are those of :meth:`send`.
            function: its name.
            args: the arguments.
            kwargs: those by name.
            options: how.
            receive_stream: takes its results; None: there is one.
            send_stream: its data; None: there is none beside the arguments.
            idle_timeout: for senders that wait until it was taken; this one does not.

        Returns:
            As :meth:`Sender.open_stream`.
        """
        entry, is_ready = self._issue(op, function, args, kwargs, options, None)
        entry.receive_stream, entry.send_stream = receive_stream, send_stream
        if not is_ready or self._connection.queue.waiting:
            await self._wait_for_room(entry)
        self._submit(entry, options)
        return self, entry, copy.copy

    async def wait_idle(self) -> None:
        """Waits until none of its requests is in flight any more."""
        while self._link.in_flight:
            await self._connection.changed()

    def cancel(self, entry: PendingRequest) -> None:
        """Nobody waits for a request any more: the container is told."""
        if self._requester.cancel(entry):
            self._connection.wake()
            self._connection.schedule_write()

    def watch_room(self, on_room: Callable[[], None]) -> None:
        """Has it called when the link has room again, perhaps, and nobody else waits for that."""
        self._connection.queue.on_free = on_room

    @property
    def in_line(self) -> Sized:
        """Those who wait for room: it tells how many, now and later."""
        return self._connection.queue.waiting

    def grant_credit(self, entry: PendingRequest) -> None:
        """What had come of a stream was read: the container may send more."""
        if self._requester.credit(entry):
            self._connection.schedule_write()

    def wait(self, entry: PendingRequest) -> None:
        """What had come of a stream was read, and its reader waits for more."""
        if self._requester.wait(entry):
            self._connection.schedule_write()

    def flush_stream(self, entry: PendingRequest) -> None:
        """Items of an upload or a channel wait: they leave as soon as the container has given credit for them."""
        self._requester.on_items_ready(entry)
        self._connection.schedule_write()

    def idle_error(self, entry: PendingRequest, seconds: float) -> RequestTimeout:
        """The error for a stream on which nothing came for so long; it ends."""
        self.cancel(entry)
        error_factory = self._link.error_factory
        text = f"{entry.what} to {error_factory.whom} was ended: nothing came on it for {seconds} s (idle_timeout)"
        return error_factory.build(RequestTimeout, entry.tag, text, entry.executed)

    def closed_error(self, entry: PendingRequest, *, here: bool = False) -> ConnectionClosed:
        """The error for who puts items into a stream whose handler has ended, or that was closed on this side."""
        error_factory = self._link.error_factory
        why = "it was closed on this side" if here else "its handler has ended"
        text = f"{entry.what} to {error_factory.whom} takes no more: {why}"
        error = error_factory.build(ConnectionClosed, entry.tag, text, entry.executed if here else Executed.YES)
        error.progress = entry.progress
        return error

    def mismatch(self, text: str, tag: bytes | None) -> ResultMismatch:
        """The error for an answer that does not fit the caller's interface."""
        error_factory = self._link.error_factory
        return ResultMismatch(
            f"{error_factory.whom}: {text}",
            request_id=None if tag is None else UUID(bytes=tag),
            remote_id=error_factory.remote_id,
            name=error_factory.name,
        )

    @property
    def encoder(self) -> Encoder:
        """Writes the items of streams."""
        return self._requester.encoder

    @property
    def limits(self) -> Limits:
        """The worker's bounds."""
        return self._connection.limits

    @property
    def message_bytes(self) -> int:
        """The largest message that both sides accept."""
        return self._requester.tracker.message_bytes

    def _issue(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
    ) -> tuple[PendingRequest, bool]:
        """Writes a request, and counts it; returns it, and whether there is room for it."""
        loop = self._connection.loop
        if _get_running_loop() is not loop or self._loop_bound.is_lost:
            self._loop_bound.require()
        now = loop.time()
        enclosing, ends = current.get(), None
        if enclosing is not None:
            ends = enclosing.deadline  # a call made inside a handler inherits what is left of the handler's time
            options = propagating(options, enclosing)
        entry = self._submission.write(op, function, args, kwargs, options, tag, now, ends)
        return entry, self._submission.begin(entry, now)

    def _submit(self, entry: PendingRequest, options: Options) -> None:
        """From here on the link knows it, and ends it."""
        waiter = self._connection.loop.create_future()
        self._submission.submit(entry, waiter)
        if options.progress is not None:
            self._connection.progress_callbacks.watch(entry, options.progress, waiter)
        if REQUEST_LOG.is_detailed:
            REQUEST_LOG.watch(waiter, entry.tag, entry.function, entry.what, self._link.error_factory.name)
        self._connection.schedule_write(entry.deadline)

    async def _wait_for_room(self, entry: PendingRequest) -> None:
        """Waits until the link takes one more request, or does not any more."""
        submission = self._submission
        if not entry.may_wait:
            submission.reject(entry)
        is_over = False
        try:
            async with asyncio.timeout_at(entry.deadline):
                if submission.refusal(entry) is None:
                    await self._connection.queue.wait(lambda: submission.is_decided(entry))
        except TimeoutError:
            is_over = True
        except BaseException:  # also who closes this coroutine: it is nobody's any more
            submission.cancel()
            raise
        if is_over:
            # Not where that was caught: its traceback has the Timeout, which has the task, which may end with this.
            raise submission.timed_out(entry, "the link had no room for it, so it never left")
        submission.resume(entry)
