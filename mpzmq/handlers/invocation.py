"""One request at work, in a container or in a worker."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any, Final, Protocol, final
from uuid import UUID

from ..context import RequestContext
from ..protocol.requester.request import request_in_words
from .middleware import CallDetails

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from ..protocol.responder.responder import Responder
    from ..protocol.wire.records import Record
    from .concurrency import Ticket
    from .registry import Function

__all__ = ["CancelReason", "Invocation", "Surroundings", "send_started_notices"]


_ENDED: Final[Record] = []
"""What is left of what was asked, once it has ended."""


class CancelReason(enum.Enum):
    """Why a running handler is cancelled."""

    ENGINE = "the engine does not wait for it any more"
    DEADLINE = "its deadline has come"
    REISSUED = "it had been cancelled before it was issued again"
    SERVER = "the container ended it"
    INTERRUPTED = "the process was interrupted (KeyboardInterrupt)"
    AWAY = "its engine was away for longer than its orphan_after"
    UNREAD = "its engine leaves too much unread (Limits.total_bytes)"


class Surroundings(Protocol):
    """What stands around the handler of a request: middleware, and dependencies.

    Attributes:
        call: what middleware sees of the request.
        has_begun: whether its task has.
        in_thread: whether the handler is at work in a thread now, which cannot be interrupted.
        made: the dependencies of the handler, by parameter.
    """

    call: CallDetails
    has_begun: bool
    in_thread: bool
    made: dict[str, Any] | None

    def begin(self) -> Coroutine[Any, Any, Any]:
        """The whole of the request, to be awaited in its task."""

    def result(self) -> Coroutine[Any, Any, Any]:
        """What the outermost middleware returns."""

    def items(self) -> Coroutine[Any, Any, Any]:
        """What it returns for what comes piece by piece."""

    def on_thread_given_up(self) -> None:
        """Nobody waits any more for a handler that is at work in a thread."""

    def on_thread_returned(self, error: BaseException | None) -> None:
        """It has returned in the end."""

    def release(self) -> None:
        """The request has ended: nothing of what was asked is held any longer."""


@final
class Invocation:
    """One request whose handler has not ended.

    What the handler may know of it is a :class:`~mpzmq.context.RequestContext`, made when it is asked for.

    Attributes:
        engine: who asks.
        tag: the id of the request.
        record: the REQUEST; empty once it has ended: a task that the handler has left behind holds the context, and
            must not hold the arguments.
        op: what it asks for.
        function: its name, if it asks for a function.
        handler: what is called.
        deadline: the time at which who asks stops waiting; None: never.
        due: when the handler is ended; None: never, or it has been told already.
        state: the value of the server's lifespan.
        cancel_reason: why it is cancelled: nobody waits for the result any more. None: it is not.
        chain: the middleware and the dependencies that stand around its handler; None: there are none.
        read_at: the time at which it was read, by :func:`time.perf_counter`.
        began: the same when its handler, or what stands around it, began; 0: it has not.
        started: whether the handler has begun.
        ended: whether the request has been answered, or needs no answer any more.
        tracked: whether the dispatcher holds it, since it did not end at once.
        started_sent: whether the engine has been told that it has started; None: nor was it asked yet whether it should
            be.
        sequence: its number in the session.
        digest: what it asks for, if the caller may issue its id again; else None.
        size: of the request in bytes.
        claim_token: holds one element until a handler that is for a thread begins, or is not to begin any more.
        ticket: through the limiters that it has to pass; None: there are none.
        task: in which the handler runs, held until it ends (the event loop does not); None: in none, or in none yet.
    """

    __slots__ = (
        "_clock",
        "_context",
        "_metadata",
        "began",
        "cancel_reason",
        "chain",
        "claim_token",
        "deadline",
        "digest",
        "due",
        "ended",
        "engine",
        "function",
        "handler",
        "op",
        "read_at",
        "record",
        "sequence",
        "size",
        "started",
        "started_sent",
        "state",
        "tag",
        "task",
        "ticket",
        "tracked",
    )  # fmt: skip

    def __init__(
        self,
        engine: Responder,
        tag: bytes,
        record: Record,
        size: int,
        digest: bytes | None,
        handler: Function,
        deadline: float | None,
        state: Any,
        clock: Callable[[], float],
    ) -> None:
        self.engine = engine
        self.tag = tag
        self.record = record
        self.op: int = record[4]
        self.function: str | None = record[5]
        self.handler = handler
        self.claim_token: list[None] | None = [None] if handler.thread else None
        self.deadline = self.due = deadline
        self.state = state
        self.cancel_reason: CancelReason | None = None
        self.sequence: int = record[1]
        self.digest = digest
        self.size = size
        self.ticket: Ticket | None = None
        self.chain: Surroundings | None = None
        self.started = self.ended = self.tracked = False
        self.started_sent: bool | None = None
        self.task: asyncio.Task[None] | None = None
        self._metadata: dict[str, Any] | None = record[8]
        self._context: RequestContext | None = None
        self._clock = clock
        self.read_at = self.began = 0.0

    @property
    def context(self) -> RequestContext:
        """What the handler sees of it."""
        context = self._context
        if context is None:
            context = RequestContext(self)
            if self.record:  # else it has ended, and they are not to hold each other
                self._context = context
        return context

    def release(self) -> None:
        """It has ended: its arguments are not held any longer."""
        self.record = _ENDED
        self._context = None
        if self.chain is not None:
            self.chain.release()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self.cancel_reason is not None

    def may_interrupt(self, *, force: bool) -> bool:
        """Whether what runs ends if its task is cancelled. One that has not begun looks for itself whether it may.

        Args:
            force: whether a task that only waits for a thread is to end, too.
        """
        if self.chain is not None:
            return self.chain.has_begun and (force or not self.chain.in_thread)
        return self.started and (force or not self.handler.thread)

    @property
    def made(self) -> dict[str, Any] | None:
        """The dependencies of its handler, by parameter; None: it has none."""
        return None if self.chain is None else self.chain.made

    def details(self) -> CallDetails:
        """What middleware sees of it."""
        if self.chain is not None:
            return self.chain.call
        _, _, _, _, _, _, args, kwargs, metadata = self.record
        return CallDetails(self, args, kwargs, metadata, self.deadline)

    def replace(self, args: list[Any], kwargs: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Middleware has put others in the place of what was asked."""
        self.record = [*self.record[:6], args, kwargs, metadata]
        self._metadata = metadata

    @property
    def propagated(self) -> dict[str, Any] | None:
        """What calls made inside it carry on of its metadata; None: nothing."""
        pipeline = self.handler.pipeline
        if pipeline is None or not pipeline.propagate or not self._metadata:
            return None
        metadata = self._metadata
        return {key: metadata[key] for key in pipeline.propagate if key in metadata} or None

    def assign(self, handler: Function) -> None:
        """A request that had to wait was judged: this is to be called."""
        self.handler = handler
        self.claim_token = [None] if handler.thread else None

    def is_late(self) -> bool:
        """Whether it has been cancelled, or its deadline has come, before it was started."""
        if self.cancel_reason is None and self.due is not None and self._clock() >= self.due:
            self.cancel_reason = CancelReason.DEADLINE
        return self.cancel_reason is not None

    def claim(self) -> bool:
        """Whether the handler may begin; only once: of the thread it is for and the event loop, one gets it."""
        if self.claim_token is not None:
            try:
                self.claim_token.pop()
            except IndexError:
                return False
        self.started = True
        return True

    def in_thread(self) -> Any:
        """Calls the handler in a worker thread, unless nobody waits for it any more."""
        _, _, _, _, _, _, args, kwargs, _ = self.record
        if self.deadline is not None and self.deadline <= self._clock():
            self.cancel_reason = self.cancel_reason or CancelReason.DEADLINE
        if self.cancel_reason is not None or not self.claim():
            raise asyncio.CancelledError
        return self.handler.call(self, args, kwargs, self.made)

    @property
    def request_id(self) -> UUID:
        """The id of the request."""
        return UUID(bytes=self.tag)

    @property
    def peer(self) -> str:
        """The name of who asks."""
        return self.engine.name

    @property
    def user_name(self) -> str | None:
        """The authenticated name of who asks; None: there is no security."""
        user = self.engine.user
        return None if user is None else user.name

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was sent along."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    @property
    def connected(self) -> bool:
        """Whether who asks is connected now."""
        return self.engine.connected

    @property
    def parent(self) -> UUID | None:
        """The engine's request inside which a container has called; None in a container."""
        return self.engine.parent_of(self.tag)

    @property
    def remote_id(self) -> UUID | None:
        """The id under which the worker knows the container that has called; None in a container."""
        return self.engine.remote_id

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0.0 when it has passed; None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    def call(
        self,
        function: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: Any,
        lost_after: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Calls a function of the engine that asked; :meth:`RequestContext.call` hands on what it is given."""
        if not isinstance(function, str):
            raise TypeError(f"a function is called by its name, a str, not by {type(function).__name__}")
        calls = self.engine.calls
        if calls is None:
            raise RuntimeError(
                "a function of a worker has no engine to call: to call the container,"
                " use worker.service().call(context.remote_id, ...)"
            )
        if asyncio._get_running_loop() is None:
            raise RuntimeError(
                f"the engine's {function!r} is called in a thread, which cannot await: register the handler as async"
                " def, without thread=True, and leave what blocks to asyncio.to_thread()"
            )
        if asyncio.current_task() is None:
            raise RuntimeError(
                f"the engine's {function!r} is called in a plain def handler, which cannot await: make it async def"
            )
        return calls.call(self, str.__str__(function), args, kwargs, timeout, lost_after)

    @property
    def what(self) -> str:
        """The request in words, for logs."""
        return request_in_words(self.op, self.function)

    def __repr__(self) -> str:
        return f"<Invocation {self.request_id} function={self.function!r} peer={self.peer!r}>"


def send_started_notices(all_running: Iterable[Invocation], dirty: dict[Any, None]) -> bool:
    """Tells who asks which requests are at work, and were the last time this was called, too.

    Args:
        all_running: the requests that have not ended.
        dirty: takes those that are to be told something.

    Returns:
        Whether there are others.
    """
    untold = False
    for running in all_running:
        if running.started_sent:
            continue
        if running.started and running.started_sent is False:
            running.started_sent = True
            running.engine.tell_started(running.tag)
            dirty[running.engine] = None
        else:
            running.started_sent = False if running.started else None
            untold = True
    return untold
