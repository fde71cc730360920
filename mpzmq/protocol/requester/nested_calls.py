"""The calls of a container's handlers to one engine: the books of them, whatever connection that engine has."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import Overloaded, RequestCancelled, RequestError, RequestTimeout, Unsupported
from ..flow.fragmenter import FRAGMENT_BYTES
from ..wire.kinds import Code, Kind, Op
from ..wire.records import LINK_TAG
from ..wire.values import EXT_UUID
from .error_factory import RequestErrors
from .outage import Outage
from .recovery import UnconfirmedCancels
from .request import PendingRequest, encode_request, remaining_ms
from .request_ids import EndedIds, request_tags
from .tracker import RequestTracker

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from uuid import UUID

    from ...config import Limits
    from ...errors import ConnectionClosed
    from ...models import LinkState
    from ..flow.outbox import Outbox, OutgoingMessage
    from ..wire.encoder import Encoder
    from ..wire.records import Record
    from ..wire.values import Buffer

__all__ = ["NestedCallDriver", "NestedCallErrors", "NestedCalls"]

_TEN = b"\x9a"
"""The front of an array of ten in MessagePack: a REQUEST has nine fields, and the parent stands behind them."""

_PARENT = bytes((0xD8, EXT_UUID))
"""The front of a UUID."""

_NEVER = (Code.NO_SESSION, Code.DRAINING)
"""What a container says of itself: no engine does."""


class NestedCallDriver(Protocol):
    """Carries out the calls that handlers make to whoever has asked for them."""

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


class _Engine(Protocol):
    """The session of an engine, as far as calls to it need it."""

    session: tuple[str | None, UUID]
    name: str
    max_calls: int
    message_bytes: int
    outbox: Outbox

    def control(self, record: Record, tag: bytes = LINK_TAG) -> bool:
        """Queues a record of the link, or of a call."""


class NestedCallErrors(RequestErrors):
    """Builds the errors of calls to one engine."""

    side = "engine"
    if_away = "give it more time with lost_after="
    if_too_large = "calls are not sent in parts: large data goes in requests, replies and streams"
    advice = {  # noqa: RUF012  (never changed)
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
        peer: the engine.
        limits: the container's bounds.
        encoder: writes the records.
        answered: takes this caller when calls have ended, so that those who made them are told.

    Attributes:
        tracker: the books.
        outage: for how long the engine has been away.
        error_factory: the errors.
    """

    def __init__(self, peer: _Engine, limits: Limits, encoder: Encoder, answered: dict[NestedCalls, None]) -> None:
        limits = dataclasses.replace(limits, in_flight=max(1, min(limits.in_flight, peer.max_calls)))
        self.error_factory = NestedCallErrors(peer.session[1], peer.name)
        self.tracker = RequestTracker(self.error_factory, limits, EndedIds())
        self.outage = Outage(self.tracker)
        self._peer = peer
        self._encoder = encoder
        self._answered = answered
        self._batch_records = limits.batch_records
        self._new_tag = request_tags()
        self._cancels = UnconfirmedCancels(limits.in_flight)
        self._inside: dict[bytes, set[bytes]] = {}  # the calls of each request that have not ended
        self.tracker.message_bytes = min(peer.message_bytes, FRAGMENT_BYTES)
        # The same object takes what the engine accepts: it has told it in HELLO.
        self.tracker.outbox.batch_records = peer.outbox.batch_records
        self.tracker.outbox.batch_bytes = peer.outbox.batch_bytes

    # From handlers

    def encode(
        self,
        parent: bytes,
        function: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        deadline: float | None,
        now: float,
    ) -> PendingRequest:
        """A call that is not sent yet.

        Raises:
            EncodeError: a message cannot carry its arguments.
        """
        encoder = self._encoder
        buffers: list[Buffer] = []
        given = encoder.prepare_all(args, "args", buffers)
        named = encoder.prepare_all(kwargs, "kwargs", buffers) if kwargs else None
        remaining = None if deadline is None else remaining_ms(deadline, now)
        sequence = self.tracker.next_sequence()
        body = encode_request(encoder, sequence, remaining, 0, Op.CALL, function, given, named, None)
        body = _TEN + body[1:] + _PARENT + parent
        tag = self._new_tag(sequence)
        return PendingRequest(tag, sequence, Op.CALL, function, body, buffers, now, deadline, True, False, None)

    def submit(self, entry: PendingRequest, parent: bytes) -> None:
        """Takes a call, made inside a request; it leaves when the engine can take it."""
        self._inside.setdefault(parent, set()).add(entry.tag)
        self.tracker.issued += 1
        self.tracker.submit(entry)

    def discard(self, tag: bytes, parent: bytes) -> None:
        """A call has ended, and whoever made it knows."""
        tags = self._inside.get(parent)
        if tags is not None:
            tags.discard(tag)
            if not tags:
                del self._inside[parent]

    def cancel(self, tag: bytes) -> None:
        """Whoever made a call waits no more."""
        if self.tracker.cancel(tag):
            self._tell_cancelled(tag)

    def expire(self, now: float) -> None:
        """Ends the calls whose deadline has come."""
        for tag in self.tracker.expire(now, lambda entry, _: self.error_factory.expired(entry)):
            self._tell_cancelled(tag)
        self._note()

    def on_parent_ended(self, parent: bytes) -> bool:
        """A request has ended; True: calls inside it had not, and have now."""
        tags = self._inside.pop(parent, None)
        if tags is None:
            return False
        tracker = self.tracker
        for tag in tags:
            entry = tracker.pending.get(tag)
            if entry is not None:
                tracker.ended.append((entry.waiter, self.error_factory.parent_over(entry)))
                self.cancel(tag)
        self._note()
        if not self._inside:
            self._cancels.clear()
        return True

    # From the engine

    def receive(self, tag: bytes, record: Record, size: int) -> bool:
        """A record came under the tag of a call; False: it means nothing to this side."""
        kind, tracker = record[0], self.tracker
        if kind == Kind.RESPONSE:
            tracker.on_response(tag, record)
        elif kind == Kind.ERROR:
            if record[1] in _NEVER:
                return self.on_malformed(tag)
            tracker.on_error(tag, record)
        elif kind == Kind.STARTED:
            tracker.on_started(tag)
        else:
            return False
        self._note()
        if tracker.reply_acks.tags and tracker.reply_acks.on_message(size):
            self._acknowledge()
        return True

    def on_malformed(self, tag: bytes) -> bool:
        """Something that is not a record came under a tag; False: no call has that tag."""
        if tag not in self.tracker.pending:
            return False
        self.tracker.on_malformed(tag)
        self._note()
        return True

    # From the session

    def on_hello(self, message_bytes: int, limits: Mapping[str, int]) -> None:
        """The engine has said HELLO on a new connection: what was sent on earlier ones is sent again."""
        self.outage.end()
        self.tracker.limit_messages(min(message_bytes, FRAGMENT_BYTES))
        self.tracker.outbox.accept(limits, self._batch_records)
        self.tracker.on_reconnected(None, instance_changed=False)
        for tag in self._cancels:
            self._peer.control([Kind.CANCEL], tag)
        self._note()

    def give_up(self, now: float) -> None:
        """Ends the calls that wait no longer for an engine that is away; if it comes back, it is told."""
        for tag in self.outage.expire(now, "the engine is away"):
            self._cancels.add(tag)
        self._note()

    def on_engine_lost(self, why: str) -> None:
        """The engine was away for too long."""
        self.tracker.end_all(lambda entry: self.error_factory.lost(entry, why))
        self._note()

    def on_session_ended(self, why: str) -> None:
        """The session has ended."""
        self.tracker.end_all(lambda entry: self.error_factory.closed(entry, why))
        self._note()

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message with calls; None: none waits."""
        if not self.tracker.outbox:
            return None
        if self.tracker.reply_acks.should_piggyback:
            self._acknowledge()
        return self.tracker.in_order().next_message(now)

    def on_sent(self, outgoing: OutgoingMessage) -> None:
        """The transport has taken a message, of this caller or not."""
        for entry in outgoing.items:
            if not isinstance(entry, PendingRequest):
                return  # all are of one sort
            self.tracker.resent += entry.sent
            entry.sent = True

    def requeue(self, outgoing: OutgoingMessage) -> bool:
        """The transport did not take a message; False: it is none of this caller."""
        if not (outgoing.items and isinstance(outgoing.items[0], PendingRequest)):
            return False
        self.tracker.outbox.requeue(outgoing)
        return True

    def _tell_cancelled(self, tag: bytes) -> None:
        self._cancels.add(tag)
        self._peer.control([Kind.CANCEL], tag)

    def _acknowledge(self) -> None:
        tracker = self.tracker
        if not self._peer.outbox.has_control(Kind.RECEIVED):  # whose place it would take: what it names would be lost
            self._peer.control(tracker.reply_acks.record(tracker.low_water, tracker.message_bytes))

    def _note(self) -> None:
        if self.tracker.ended:
            self._answered[self] = None
