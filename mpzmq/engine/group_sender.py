"""Sends requests to one of several containers: the counterpart of :class:`RequestSender` for a group."""

from __future__ import annotations

import asyncio
import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from ..errors import NotConnected, RequestError, ResultMismatch
from ..models import Attempt, Call, Executed
from ..protocol.group.tries import Tries
from ..protocol.requester.request import PendingRequest
from ..protocol.wire.kinds import Op
from ..runtime.item_streams import Waker
from .arguments import checked_function, operation_of
from .group_call import GroupCall

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..config import Limits
    from ..models import Method
    from ..protocol.flow.receive_stream import ReceiveStream
    from ..protocol.flow.send_stream import SendStream
    from ..protocol.requester.options import Options
    from .group_member import GroupMember
    from .group_state import GroupState, Room
    from .request_sender import OpenedStream, RequestSender

    _Asked = tuple[int, str | None, tuple[Any, ...], dict[str, Any] | None, Options, bytes | None, Any]

__all__ = ["GroupSender"]


class GroupSender:
    """Asks a member of a group, and where nothing has run there, another one.

    Args:
        state: the group's books.
        room: the members that may be asked.
        key: what belongs to one of them; None: any may be asked.
        key_given: the same, as the caller gave it.
        hedge_after: seconds without an answer after which another one is asked, too; None: never.
    """

    def __init__(
        self,
        state: GroupState,
        room: Room,
        key: bytes | None = None,
        key_given: Any = None,
        hedge_after: float | None = None,
    ) -> None:
        self._state = state
        self._room = room
        self._key = key
        self._key_given = key_given
        self._hedge_after = hedge_after
        self._picks = isinstance(state.policy.pick, str)

    @property
    def limits(self) -> Limits:
        """The worker's bounds."""
        return self._state.limits

    def mismatch(self, text: str, tag: bytes | None) -> ResultMismatch:
        """The error for an answer that does not fit the caller's interface."""
        request_id = None if tag is None else UUID(bytes=tag)
        return ResultMismatch(f"{self._state.whom}: {text}", request_id=request_id, name=self._state.name)

    def request(
        self, method: Method, data: Any, fallback: Any, options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Sends data to the handler for plain requests of a member; returns the data of the reply."""
        op, args = operation_of(method, data)
        return self.send(op, None, args, None, options, tag, fallback)

    def call(
        self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, tag: bytes | None
    ) -> Coroutine[Any, Any, Any]:
        """Calls a named function of a member; returns what it returns."""
        name = function if type(function) is str else checked_function(function)
        return self.send(Op.CALL, name, args, kwargs or None, options, tag)

    def send(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None = None,
        fallback: Any = None,
    ) -> Coroutine[Any, Any, Any]:
        """Sends one request to a member, and waits for the end of the whole. Arguments are those of
        :meth:`RequestSender.send`."""
        if self._hedge_after is None:
            return self._run(op, function, args, kwargs, options, tag, fallback)
        return self._hedged(self._hedge_after, (op, function, args, kwargs, options, tag, fallback), options)

    async def ask(
        self,
        member: GroupMember,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> Any:
        """Calls a named function of one member, and of no other; a member that cannot be asked now fails at once."""
        state, submitted = self._state, list[PendingRequest]()
        asked_at = state.begin()
        error: BaseException | None = None
        if member.holds:
            error = NotConnected(f"member {member.name!r} of {state.whom} was not asked: it is held", name=member.name)
            state.end(error)
            raise error
        member.in_flight += 1
        try:
            return await member.sender.send(
                Op.CALL, function, args, kwargs or None, options.of_one_try(), submitted=submitted
            )
        except BaseException as raised:
            error = raised
            raise
        finally:
            state.on_answered(member, error, asked_at, left=_has_left(submitted))
            state.end(error)
            del error  # its traceback keeps this frame

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
        """Sends a request whose results or data go piece by piece, and returns when a member's handler has begun, or
        has yielded: until then another member may be asked. Arguments are those of
        :meth:`RequestSender.open_stream`."""
        if self._hedge_after is not None:
            raise TypeError("hedge_after is not for what goes piece by piece: that is sent to one member only")
        state = self._state
        began = state.begin()
        try:
            call = self._call(op, function, args, kwargs, options, None, began, None)
            while True:
                member, given = await call.next_member()
                asked_at = state.loop.time()
                entry: PendingRequest | None = None
                state.on_asked(member)
                try:
                    streams = receive_stream, send_stream
                    sender, entry, _ = await member.sender.open_stream(op, function, args, kwargs, given, *streams)
                    await _begun(sender, entry, idle_timeout)
                except BaseException as error:
                    left = entry is not None and entry.sent
                    if entry is not None:
                        sender.cancel(entry)
                        entry.waiter.cancel()
                    state.on_answered(member, error, asked_at, left=left)
                    if not isinstance(error, RequestError):
                        raise
                    call.on_error(member, error, left=left)
                else:
                    entry.waiter.add_done_callback(functools.partial(_stream_over, state, member))
                    return sender, entry, functools.partial(_told, call.tries, member)
        except BaseException as error:
            state.end(error)
            raise

    def _call(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
        began: float,
        tries: Tries | None,
    ) -> GroupCall:
        facts = None
        if not self._picks:
            given = MappingProxyType(kwargs or {}), MappingProxyType(options.metadata or {})  # to be looked at
            facts = Call(function, tuple(args), *given, self._key_given)
        return GroupCall(self._state, self._room, options, began, self._key, tag, facts, tries)

    async def _run(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
        fallback: Any,
        tries: Tries | None = None,
        hedged_at: float | None = None,
    ) -> Any:
        """Asks one member after the other, until one has answered or no other may be asked.

        One coroutine for all of it, and no object of its own where the first member answers: each would take 0.3 us of
        every request.

        Args:
            tries: those of a hedged request, which is counted elsewhere.
            hedged_at: when that was made: its deadline is one for both of its ways.
        """
        state, room = self._state, self._room
        asked_at = state.begin() if tries is None else state.loop.time()
        began = asked_at if hedged_at is None else hedged_at
        call: GroupCall | None = None
        member: GroupMember | None = None
        given = options.of_one_try()
        try:
            if tag is None and tries is None and self._picks and not room.queue.waiting:
                member = room.pool.choose(began, self._key)
            while True:
                if member is None:
                    call = call or self._call(op, function, args, kwargs, options, tag, began, tries)
                    member, given = await call.next_member()
                    asked_at = state.loop.time()
                submitted: list[PendingRequest] = []
                member.in_flight += 1
                try:
                    result = await member.sender.send(
                        op, function, args, kwargs, given, tag, fallback, list.pop, submitted
                    )
                except BaseException as error:
                    left = _has_left(submitted)
                    state.on_answered(member, error, asked_at, left=left)
                    if not isinstance(error, RequestError):
                        if call is not None and not left:
                            call.on_not_sent(member)
                        raise
                    call = call or self._call(op, function, args, kwargs, options, tag, began, tries)
                    call.on_error(member, error, left=left)
                    member = None
                else:
                    state.on_answered(member, None, asked_at, left=True)
                    break
        except BaseException as error:
            if tries is None:
                state.end(error)
            raise
        if tries is None:
            state.end(None)
        if tag is not None:
            state.ids.on_answered(tag)
        return result

    async def _hedged(self, seconds: float, asked: _Asked, options: Options) -> Any:
        """Asks one member, and another one if the first takes its time; the one that answers last is told to stop.

        Raises:
            ValueError: it may not run twice.
        """
        if not options.idempotent:
            raise ValueError("hedge_after asks two members for the same: it is only for what is idempotent=True")
        state = self._state
        began = state.begin()
        try:
            result = await self._race(seconds, asked, options, began)
        except BaseException as error:
            state.end(error)
            raise
        state.end(None)
        return result

    async def _race(self, seconds: float, asked: _Asked, options: Options, began: float) -> Any:
        state = self._state
        tries = Tries(state.policy.max_attempts, options.idempotent, state.budget)
        tasks = [asyncio.create_task(self._run(*asked, tries, began))]
        try:
            done, pending = await asyncio.wait(tasks, timeout=seconds)
            now, asked_already = state.loop.time(), cast("set[GroupMember]", tries.passed)
            if not done and self._room.pool.able(now, asked_already) and state.budget.withdraw(now):
                state.hedged += 1
                tasks.append(asyncio.create_task(self._run(*asked, tries, began)))
            pending = set(tasks)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                best = next((task for task in done if task.exception() is None), None)
                if best is not None:
                    return best.result()
            first, *other = (task.exception() for task in tasks)
            last = next((error for error in other if isinstance(error, RequestError)), first)
            assert last is not None
            if isinstance(last, RequestError):
                last = tries.summed_up(last)
            try:
                raise last
            finally:
                del first, other, last
        finally:
            running = [task for task in tasks if not task.done()]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # the other one's answer counts
            # Whoever keeps this frame is not to keep the tasks: each has its error, which keeps the frame.
            tasks.clear()
            running.clear()
            done = pending = set()
            del task


async def _begun(sender: RequestSender, entry: PendingRequest, idle_timeout: float | None) -> None:
    """Waits until the handler of a stream has begun, as far as that is told, or it has ended.

    Raises:
        RequestError: nothing has run; or it stood still for too long.
    """
    receive_stream, send_stream, waiter = entry.receive_stream, entry.send_stream, entry.waiter
    bell = Waker() if receive_stream is None or receive_stream.waker is None else receive_stream.waker
    if send_stream is not None:
        send_stream.waker = bell
    waiter.add_done_callback(bell.wake)
    is_idle = False
    while not (entry.started or waiter.done() or (send_stream is not None and send_stream.has_credit)):
        try:
            await bell.wait(idle_timeout)
        except TimeoutError:
            is_idle = True
        if is_idle:
            # Not where that was caught: its traceback has the Timeout, which has the task, which may end with this.
            assert idle_timeout is not None
            raise sender.idle_error(entry, idle_timeout)
    if waiter.done() and not waiter.cancelled():
        error = waiter.exception()
        if isinstance(error, RequestError) and error.executed is Executed.NO:
            raise error


def _has_left(submitted: list[PendingRequest]) -> bool:
    return any(entry.sent for entry in submitted)


def _told(tries: Tries, member: GroupMember, error: RequestError) -> RequestError:
    """The error of what has broken behind its beginning, with the tries before it."""
    return tries.summed_up(error, Attempt(member.shown, error.with_traceback(None)))


def _stream_over(state: GroupState, member: GroupMember, waiter: asyncio.Future[Any]) -> None:
    """What went piece by piece has ended."""
    error = asyncio.CancelledError() if waiter.cancelled() else waiter.exception()
    state.on_stream_over(member, error)
    state.end(error)
