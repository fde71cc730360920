"""Sends the requests to one container, and tells it of their ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

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
    RequestIdReused,
    RequestTimeout,
    Unsupported,
)
from ..models import Executed, LinkState, Status
from ..protocol.requester.request import PendingRequest, encode_request, remaining_ms
from ..protocol.requester.request_ids import request_tags
from ..protocol.wire.digest import digest_of
from ..protocol.wire.kinds import Flag, Op
from ..protocol.wire.records import STATUSES
from .arguments import checked_function, description, operation_of
from .options import UNSET, Options

if TYPE_CHECKING:
    from ..config import Limits
    from ..models import Description, Method
    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.flow.send_stream import SendStream
    from ..protocol.wire.encoder import Encoder
    from ..protocol.wire.records import Record
    from ..protocol.wire.values import Buffer
    from ..runtime.loop_bound import LoopBound
    from .link_driver import LinkDriver

__all__ = ["RequestSender"]

_INVOKE, _CALL, _IDEMPOTENT, _CHOSEN, _CLOSED = Op.INVOKE, Op.CALL, Flag.IDEMPOTENT, Flag.CHOSEN, LinkState.CLOSED
"""Names of the module: looking one up in a class takes as long as three of them (Python 3.11)."""

_WORTH_A_FALLBACK = (Unsupported, InvalidArguments, Refused)


class RequestSender:
    """Encodes requests, waits for room, and hands them to the link.

    Args:
        connection: to the container.
        loop_bound: the event loop that the worker belongs to.
    """

    def __init__(self, connection: LinkDriver, loop_bound: LoopBound) -> None:
        self._connection = connection
        self._link = connection.link
        self._loop_bound = loop_bound
        self._new_tag = request_tags()
        self._lost_after = connection.link.attempts.policy.lost_after

    async def request(self, method: Method, data: Any, fallback: Any, options: Options, tag: bytes | None) -> Any:
        """Sends data to the container's handler for plain requests; returns the data of the reply."""
        op, args = operation_of(method, data)
        return (await self.send(op, None, args, None, options, tag, fallback)).pop()

    async def call(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, tag: bytes | None
    ) -> Any:
        """Calls a named function of the container; returns what it returns."""
        name = function if type(function) is str else checked_function(function)
        return (await self.send(_CALL, name, args, kwargs or None, options, tag)).pop()

    async def get_state(self, options: Options) -> Status:
        """Asks the container for its run state."""
        return STATUSES[(await self.send(Op.GETSTATE, None, (), None, options))[1]]

    async def set_state(self, status: Status, options: Options) -> Status:
        """Sets the container's run state, and returns it."""
        return STATUSES[(await self.send(Op.SETSTATE, None, (Status(status),), None, options))[1]]

    async def describe(self, options: Options) -> Description:
        """Asks the container what it offers."""
        record = await self.send(Op.DESCRIBE, None, (), None, options)
        try:
            return description(record)
        except (TypeError, KeyError, ValueError) as error:
            error_factory = self._link.error_factory
            text = f"{error_factory.whom} sent a description that this version cannot read ({error!r}); update it"
            raise ProtocolError(text, remote_id=error_factory.remote_id, name=error_factory.name) from None

    async def send(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None = None,
        fallback: Any = None,
    ) -> Record:
        """Sends one request and waits for its end.

        Args:
            op: what is asked, one of :class:`~mpzmq.protocol.wire.kinds.Op`.
            function: its name, in a CALL.
            args: the arguments.
            kwargs: those by name.
            options: how.
            tag: the request id; None: the caller chose none.
            fallback: data that is sent once instead when the container cannot or will not do what was asked.

        Returns:
            The RESPONSE record. Its data is best popped from it: the future that brought it holds it until the event
            loop's next pass, and a caller that asks for one large reply after another would have two of them.
        """
        entry = self._issue(op, function, args, kwargs, options, tag)
        if self._must_wait(entry):
            await self._wait_for_room(entry)
        self._submit(entry, options)
        try:
            return await entry.waiter  # type: ignore[no-any-return]
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self.cancel(entry)
            entry.waiter = None  # it keeps the error, whose traceback keeps this frame and the arguments
            if fallback is None or not isinstance(error, _WORTH_A_FALLBACK) or isinstance(error, NotPermitted):
                raise
        left = UNSET if entry.deadline is None else entry.deadline - self._connection.loop.time()
        rest = options.but(left, UNSET, UNSET, UNSET)
        try:
            return await self.send(Op.INVOKE, None, (fallback,), None, rest)
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
    ) -> PendingRequest:
        """Sends a request whose results or data go piece by piece. Its ``waiter`` is told of the end.

        Args:
            op: what is asked; function, args, kwargs and options are those of :meth:`send`.
            function: its name.
            args: the arguments.
            kwargs: those by name.
            options: how.
            receive_stream: takes its results; None: there is one.
            send_stream: its data; None: there is none beside the arguments.
        """
        entry = self._issue(op, function, args, kwargs, options, None)
        entry.receive_stream, entry.send_stream = receive_stream, send_stream
        if self._must_wait(entry):
            await self._wait_for_room(entry)
        self._submit(entry, options)
        return entry

    def cancel(self, entry: PendingRequest) -> None:
        """Nobody waits for a request any more: the container is told."""
        link = self._link
        if link.tracker.pending.get(entry.tag) is entry:  # another may have been issued under its id since it ended
            link.cancel(entry.tag)
            self._connection.queue.wake()
            self._connection.schedule_write()

    def grant_credit(self, entry: PendingRequest) -> None:
        """What had come of a stream was read: the container may send more."""
        if entry.receive_stream is not None and self._link.tracker.pending.get(entry.tag) is entry:
            self._link.credit(entry.tag, entry.receive_stream)
            self._connection.schedule_write()

    def wait(self, entry: PendingRequest) -> None:
        """What had come of a stream was read, and its reader waits for more."""
        if entry.receive_stream is not None and self._link.tracker.pending.get(entry.tag) is entry:
            self._link.wait(entry.tag, entry.receive_stream)
            if self._link.tracker.outbox.has_controls:
                self._connection.schedule_write()

    def flush_stream(self, entry: PendingRequest) -> None:
        """Items of an upload or a channel wait: they leave as soon as the container has given credit for them."""
        self._link.tracker.send_streams.mark_ready(entry.tag)
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

    @property
    def encoder(self) -> Encoder:
        """Writes the items of streams."""
        return self._link.encoder

    @property
    def limits(self) -> Limits:
        """The worker's bounds."""
        return self._connection.limits

    @property
    def message_bytes(self) -> int:
        """The largest message that both sides accept."""
        return self._link.tracker.message_bytes

    def _issue(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
    ) -> PendingRequest:
        """Encodes a request, and counts it."""
        loop = self._loop_bound.require()
        link = self._link
        now = loop.time()
        entry = self._encode(op, function, args, kwargs, options, tag, now)
        if tag is not None:
            self._check_id(entry)
        if link.state is _CLOSED:
            # Its counters have been added to those of the worker, and nobody would see another.
            raise link.error_factory.not_connected(entry, "its link is CLOSED", over=True)
        link.tracker.issued += 1
        if entry.deadline is not None and entry.deadline <= now:
            link.tracker.count_ended(cancelled=False)
            raise self._expired(entry, "its deadline had passed before it was sent")
        return entry

    def _must_wait(self, entry: PendingRequest) -> bool:
        link = self._link
        if link.is_running and link.tracker.has_room(entry.size, entry.buffers):
            return bool(self._connection.queue.waiting)
        return True

    def _submit(self, entry: PendingRequest, options: Options) -> None:
        """From here on the link knows it, and ends it."""
        tracker = self._link.tracker
        if entry.size > tracker.message_bytes:
            tracker.count_ended(cancelled=False)
            raise tracker.too_large(entry)
        entry.waiter = self._connection.loop.create_future()
        if options.progress is not None:
            self._connection.progress_callbacks.watch(entry.tag, options.progress, entry.waiter)
        if entry.digest is not None:
            self._link.reissued(entry.tag)
        tracker.submit(entry)
        self._connection.schedule_write(entry.deadline)

    def _check_id(self, entry: PendingRequest) -> None:
        """Holds an id that the caller chose against those in use and those used up."""
        link = self._link
        tracker = link.tracker
        entry.may_have_run_elsewhere = entry.tag in tracker.ended_ids
        if entry.tag in tracker.answered_ids:
            raise ValueError("a reply was received under this request id already: every request needs an id of its own")
        other = tracker.pending.get(entry.tag)
        if other is None and not tracker.ended_ids.is_taken(entry):
            return
        if other is not None and entry.digest == other.digest:
            raise ValueError("a request with this id and body is in flight already: await that one")
        text = f"{entry.what} to {link.error_factory.whom} was not sent: its id is in use for another request"
        raise link.error_factory.build(RequestIdReused, entry.tag, f"{text}; every request needs an id of its own")

    def _encode(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
        now: float,
    ) -> PendingRequest:
        remaining = options.milliseconds
        deadline = None if options.timeout is None else now + options.timeout
        context = current.get()
        if context is not None and context.deadline is not None:
            # A call made inside a handler inherits what is left of the handler's time.
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
            remaining = remaining_ms(deadline, now)
        link = self._link
        encoder = link.encoder
        buffers: list[Buffer] = []
        given = args, kwargs
        if op == _INVOKE:
            data = args[0]
            prepared = encoder.prepare(data, "data", buffers)
            if prepared is not data:
                args = (prepared,)
        else:
            args = encoder.prepare_all(args, "args", buffers)
        if kwargs is not None:
            kwargs = encoder.prepare_all(kwargs, "kwargs", buffers)
        metadata = encoder.prepare_all(dict(options.metadata), "metadata", buffers) if options.metadata else None
        sequence = link.tracker.next_sequence()
        flags = (_IDEMPOTENT if options.idempotent else 0) | (0 if tag is None else _CHOSEN)
        body = encode_request(encoder, sequence, remaining, flags, op, function, args, kwargs, metadata)
        entry = PendingRequest(
            self._new_tag(sequence) if tag is None else tag,
            sequence,
            op,
            function,
            body,
            buffers or (),
            now,
            deadline,
            options.wait,
            options.idempotent,
            None if tag is None else digest_of(encoder, op, function, *given),
        )
        entry.lost_after = self._lost_after if options.effective_lost_after is UNSET else options.effective_lost_after
        return entry

    async def _wait_for_room(self, entry: PendingRequest) -> None:
        """Waits until the link takes one more request.

        A link that is not up takes requests too, as long as they may wait.
        """
        link = self._link
        try:
            async with asyncio.timeout_at(entry.deadline):
                if self._refusal(entry) is None:
                    await self._connection.queue.wait(
                        lambda: link.tracker.has_room(entry.size, entry.buffers) or self._refusal(entry) is not None
                    )
            refusal = self._refusal(entry)
        except asyncio.CancelledError:
            link.tracker.count_ended(cancelled=True)
            raise
        except TimeoutError:
            refusal = self._expired(entry, "the link had no room for it, so it never left")
        if refusal is not None:
            link.tracker.count_ended(cancelled=False)
            try:
                raise refusal
            finally:
                del refusal  # its traceback keeps this frame
        if entry.digest is not None:
            try:
                self._check_id(entry)
            except ValueError:
                link.tracker.count_ended(cancelled=False)
                raise
        entry.renumber(link.tracker.next_sequence())

    def _refusal(self, entry: PendingRequest) -> RequestError | None:
        """Why the link will not take a request, however long it waits; None: it may."""
        link = self._link
        if link.is_over:
            failed = link.failure is not None and link.state is LinkState.FAILED
            why = f"its link is {link.state}" + (f" ({link.failure.detail})" if failed and link.failure else "")
            return link.error_factory.not_connected(entry, why, over=True)
        if entry.may_wait:
            return None
        if link.state is LinkState.DRAINING:
            return link.error_factory.draining(entry)
        if not link.is_running:
            return link.error_factory.not_connected(entry, f"its link is {link.state}")
        if not link.tracker.has_room(entry.size, entry.buffers):
            return link.error_factory.overloaded(entry, len(link.tracker.pending))
        return None

    def _expired(self, entry: PendingRequest, why: str) -> RequestTimeout:
        error_factory = self._link.error_factory
        text = f"{entry.what} to {error_factory.whom} timed out: {why}"
        return error_factory.build(RequestTimeout, entry.tag, text, entry.executed)
