"""The calls of a container's handlers to one engine: the books of them, whatever connection that engine has."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ...errors import Overloaded, RequestCancelled, RequestError, RequestTimeout, Unsupported
from ..effects import ResolveRequests
from ..flow.fragmenter import FRAGMENT_BYTES
from ..wire.kinds import Code, Kind, Op
from .error_factory import RequestErrors
from .request_ids import EndedIds
from .requester import Requester
from .submission import Submission

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from uuid import UUID

    from ...config import Limits
    from ...errors import ConnectionClosed
    from ...models import LinkState
    from ..effect_queue import EffectQueue
    from ..flow.outbox import Outbox, OutgoingMessage
    from ..wire.encoder import Encoder
    from ..wire.messages import Message
    from ..wire.records import Record
    from .options import Options
    from .request import PendingRequest

__all__ = ["GONE", "NestedCallDriver", "NestedCallErrors", "NestedCalls"]

_NEVER = (Code.NO_SESSION, Code.DRAINING)
"""What a container says of itself: no engine does."""


GONE = "it is not there any more"
"""Why an engine whose session has ended is not called."""


class NestedCallDriver(Protocol):
    """What the context of a handler needs to call whoever has asked; the container implements it."""

    def call(
        self,
        running: Any,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None,
        lost_after: float | None,
    ) -> Coroutine[Any, Any, Any]:
        """A call, made inside a request."""

    def on_parent_ended(self, session: Any, parent: bytes) -> None:
        """A request has ended, and with it all calls inside it."""


class NestedCallErrors(RequestErrors):
    """Builds the errors of calls to one engine."""

    side: ClassVar[str] = "engine"
    if_away: ClassVar[str] = "give it more time with lost_after="
    if_too_large: ClassVar[str] = "calls are not sent in parts: large data goes in requests, replies and streams"
    advice: ClassVar[dict[int, str]] = {
        Code.MALFORMED: "the two sides may run different versions of mpzmq",
        Code.OVERLOADED: "try again later, or raise the worker's Limits",
    }

    def __init__(self, session: UUID, name: str) -> None:
        super().__init__(session, name, name)
        self.whom = f"engine {name!r}"

    def build(self, cls: Any, tag: bytes, text: str, executed: Any = None) -> Any:
        """An error of a call: it is for no container."""
        error = super().build(cls, tag, text, executed)
        error.remote_id = None
        return error

    def timed_out(
        self, entry: PendingRequest, state: LinkState, window_full: bool, cut: bool = False
    ) -> RequestTimeout:
        """The deadline has come."""
        return self.expired(entry)

    def unsent(self, entry: PendingRequest, why: str) -> RequestTimeout:
        """The deadline has come before the call was taken."""
        return self.expired(entry)

    def expired(self, entry: PendingRequest) -> RequestTimeout:
        """The deadline has come: that of the call, or of the request inside which it is made."""
        if entry.started:
            why = "its function began, and no reply came"
        else:
            why = "it was sent, and no reply came" if entry.sent else "it never left"
        text = f"{entry.what} to {self.whom} timed out: {why}; give it more time with timeout=, or its request"
        return self.build(RequestTimeout, entry.tag, text, entry.executed)  # type: ignore[no-any-return]

    def lost(
        self, entry: PendingRequest, why: str, *, instance_changed: bool | None = None, over: bool = False
    ) -> RequestError:
        """The engine did not come back."""
        return self.closed(entry, why)

    def closed(self, entry: PendingRequest, why: str) -> ConnectionClosed:
        """The session of the engine has ended."""
        return super().closed(entry, f"its session ended ({why})")

    def parent_over(self, entry: PendingRequest) -> RequestCancelled:
        """The request inside which it is made has ended."""
        text = f"{entry.what} to {self.whom} was ended: so has the request inside which it is made"
        return self.build(RequestCancelled, entry.tag, text, entry.executed)  # type: ignore[no-any-return]

    def overloaded(self, entry: PendingRequest, in_flight: int) -> Overloaded:
        """There is no room for one more."""
        text = (
            f"{entry.what} to {self.whom} was not sent: {in_flight} calls to it have not ended; await some of them"
            " first, or raise Limits.in_flight or Limits.queued_bytes on both sides"
        )
        return self.build(Overloaded, entry.tag, text, entry.executed)  # type: ignore[no-any-return]

    def unable(self, entry: PendingRequest) -> Unsupported:
        """The engine knows no calls."""
        text = f"{entry.what} to {self.whom} was not sent: it runs a version of mpzmq that takes no calls; update it"
        return self.build(Unsupported, entry.tag, text, entry.executed)  # type: ignore[no-any-return]


class NestedCalls:
    """The calls to one engine that have not ended, and what the engine is still to be told of others.

    They wait while it has no connection, are sent again with their old ids on the next one, and end with its session.

    Args:
        session: the engine's.
        name: what the engine calls itself.
        limits: the container's bounds.
        max_calls: how many calls the engine takes at once; 0: it knows none.
        encoder: writes the records.
        effects: takes what is to be done about calls that have ended.
        outbox: of the engine; it takes what the engine is told beside the calls.
        message_bytes: the largest message that the engine accepts.

    Attributes:
        requester: the calls.
    """

    def __init__(
        self,
        session: UUID,
        name: str,
        limits: Limits,
        max_calls: int,
        encoder: Encoder,
        effects: EffectQueue,
        outbox: Outbox,
        message_bytes: int,
    ) -> None:
        limits = dataclasses.replace(limits, in_flight=max(1, min(limits.in_flight, max_calls)))
        self._errors = NestedCallErrors(session, name)
        self.requester = Requester(self._errors, limits, EndedIds(), encoder, effects, outbox)
        self._tracker = self.requester.tracker
        self._submission = Submission(self.requester, self._refusal, None)
        self._effects = effects
        self._max_calls = max_calls
        self._closed: str | None = None  # why there are no calls any more
        self._batch_records = limits.batch_records
        self._inside: dict[bytes, set[bytes]] = {}  # the calls of each request that have not ended
        self._tracker.message_bytes = min(message_bytes, FRAGMENT_BYTES)
        # The same object takes what the engine accepts: it has told it in HELLO.
        self._tracker.outbox.batch_records = outbox.batch_records
        self._tracker.outbox.batch_bytes = outbox.batch_bytes

    @property
    def waiting_bytes(self) -> int:
        """The size of the calls that wait to leave."""
        return self._tracker.outbox.bytes

    @property
    def waiting(self) -> int:
        """How many calls wait to leave."""
        return len(self._tracker.outbox)

    @property
    def next_end(self) -> float | None:
        """When :meth:`give_up` has something to do next; None: not before something else happens."""
        return self.requester.outage.next_end()

    # From handlers

    def issue(
        self,
        parent: bytes,
        enclosing: float | None,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        now: float,
        *,
        is_over: bool,
    ) -> PendingRequest:
        """A call that is to be submitted in the same pass.

        Args:
            parent: the tag of the request inside which it is made.
            enclosing: when that ends at the latest; None: it has no deadline.
            function: its name.
            args: the arguments.
            kwargs: those by name.
            options: how it is to be treated.
            now: the time.
            is_over: whether the request inside which it is made has ended.

        Raises:
            EncodeError, MessageTooLarge: a message cannot carry its arguments.
            RequestError: it cannot be made now.
        """
        given = Op.CALL, function, args, kwargs or None, options, None, now
        entry = self._submission.write(*given, enclosing, parent)
        if is_over:
            raise self._errors.parent_over(entry)
        if (refusal := self._refusal(entry)) is not None:
            raise refusal
        self._submission.begin(entry, now)
        return entry

    def submit(self, entry: PendingRequest, waiter: Any, parent: bytes) -> None:
        """Take a call, made inside a request; it leaves when the engine can take it."""
        self._submission.submit(entry, waiter)
        self._inside.setdefault(parent, set()).add(entry.tag)

    def discard(self, tag: bytes, parent: bytes) -> None:
        """A call has ended, and whoever made it knows."""
        tags = self._inside.get(parent)
        if tags is not None:
            tags.discard(tag)
            if not tags:
                del self._inside[parent]

    def cancel(self, entry: PendingRequest) -> bool:
        """Whoever made a call waits no more. False: it had ended before."""
        return self.requester.cancel(entry)

    def expire(self, now: float) -> None:
        """Ends the calls whose deadline has come."""
        for tag in self.requester.expire(now, lambda entry, _: self._errors.expired(entry)):
            self.requester.cancels.add(tag)

    def on_parent_ended(self, parent: bytes) -> bool:
        """A request has ended; True: calls inside it had not, and have now."""
        tags = self._inside.pop(parent, None)
        if tags is None:
            return False
        for tag in tags:
            entry = self._tracker.pending.get(tag)
            if entry is not None:
                self._effects.add(ResolveRequests, (entry.waiter, self._errors.parent_over(entry)))
                self.cancel(entry)
        if not self._inside:
            self.requester.cancels.clear()
        return True

    def _refusal(self, entry: PendingRequest) -> Exception | None:
        """Why a call cannot be made; None: it can."""
        if self._closed is not None:
            return self._errors.closed(entry, self._closed)
        if not self._max_calls:
            return self._errors.unable(entry)
        tracker = self._tracker
        if entry.size > tracker.message_bytes:
            return tracker.too_large(entry)
        if not tracker.has_room(entry.size):
            return self._errors.overloaded(entry, len(tracker.pending))
        return None

    # From the engine

    def receive(self, tag: bytes, record: Record, message: Message, size: int) -> bool:
        """A record came under the tag of a call, with its share of a message; False: it means nothing to this side."""
        if record[0] == Kind.ERROR and record[1] in _NEVER:
            return self.on_malformed(tag)
        if not self.requester.receive(tag, record, message):
            return False
        self.requester.on_message(size)
        return True

    def on_malformed(self, tag: bytes) -> bool:
        """Something that is not a record came under a tag; False: no call has that tag."""
        if tag not in self._tracker.pending:
            return False
        self._tracker.on_malformed(tag)
        return True

    # From the session

    def on_hello(self, message_bytes: int, limits: Mapping[str, int]) -> None:
        """The engine has said HELLO on a new connection: what was sent on earlier ones is sent again."""
        self._max_calls = limits.get("calls", 0)
        self.requester.outage.end()
        self._tracker.limit_messages(min(message_bytes, FRAGMENT_BYTES))
        self._tracker.outbox.accept(limits, self._batch_records)
        self._tracker.on_reconnected(None, instance_changed=False)
        self.requester.on_reconnected()

    def on_connection_lost(self, now: float) -> None:
        """The engine has no connection any more."""
        self.requester.outage.begin(now)

    def give_up(self, now: float) -> None:
        """Ends the calls that wait no longer for an engine that is away; if it comes back, it is told."""
        self.requester.give_up(now, "the engine is away")

    def on_engine_lost(self, why: str) -> None:
        """The engine was away for too long."""
        self._tracker.end_all(lambda entry: self._errors.lost(entry, why))

    def on_session_ended(self, why: str) -> None:
        """The session has ended."""
        self.close(GONE)
        self._tracker.end_all(lambda entry: self._errors.closed(entry, why))

    def close(self, why: str) -> None:
        """No more calls are taken."""
        self._closed = why

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message with calls; None: none waits."""
        if not self._tracker.outbox:
            return None
        if self._tracker.reply_acks.should_piggyback:
            self.requester.acknowledge()
        return self._tracker.in_order().next_message(now)

    def on_sent(self, outgoing: OutgoingMessage) -> None:
        """The transport has taken a message with calls."""
        for entry in outgoing.items:
            self._tracker.resent += entry.sent  # type: ignore[attr-defined]
            entry.sent = True  # type: ignore[attr-defined]
