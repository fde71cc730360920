"""What the tests of the protocol share: values compared as the values table means it, and a link with a container."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy

from mpzmq.config import HeartbeatPolicy, Limits, ReconnectPolicy
from mpzmq.failure import Failure, FailureKind
from mpzmq.models import LinkState, Status
from mpzmq.protocol import wire
from mpzmq.protocol.effects import Disconnect, PublishEvents, ResolveRequests
from mpzmq.protocol.link.link import Link
from mpzmq.protocol.requester.error_factory import RequestErrors
from mpzmq.protocol.requester.request import PendingRequest, encode_request, remaining_ms
from mpzmq.protocol.requester.request_ids import EndedIds
from mpzmq.protocol.responder.nested_calls import NestedCallReceiver
from mpzmq.protocol.responder.reply_cache import ReplyBudget
from mpzmq.protocol.responder.responder import HandlerHost
from mpzmq.protocol.wire.digest import digest_of
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Flag, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpzmq.events import LinkEvent
    from mpzmq.protocol.effect_queue import EffectQueue
    from mpzmq.protocol.effects import Batch, Effect
    from mpzmq.protocol.flow.outbox import OutgoingMessage
    from mpzmq.protocol.wire.values import Buffer

REMOTE = UUID(int=0xA1)
SESSION = UUID(int=0xB2)
INSTANCE = UUID(int=0xC3)
LOST = Failure(FailureKind.LOST, "the connection broke", was_up=True)
REFUSED = Failure(FailureKind.REFUSED, "connection refused")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same kind, whole and in every part (NaN equals NaN)."""
    if isinstance(one, list | tuple):
        same_kind = type(one) is type(other) and len(one) == len(other)
        return same_kind and all(map(same, one, other))
    if isinstance(one, dict):
        same_keys = isinstance(other, dict) and [(type(k), k) for k in one] == [(type(k), k) for k in other]
        return same_keys and all(same(one[key], other[key]) for key in one)
    if isinstance(one, numpy.ndarray):
        return (
            isinstance(other, numpy.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, memoryview):
        return (
            isinstance(other, memoryview)
            and (one.format, one.shape) == (other.format, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, datetime) or isinstance(other, datetime):
        return isinstance(one, datetime) and isinstance(other, datetime) and one == other
    return type(one) is type(other) and (one == other or (one != one and other != other))


def tag(number: int) -> bytes:
    """The request id of the number."""
    return number.to_bytes(16, "big")


def taken(effects: EffectQueue) -> list[Effect]:
    """What a state machine wants done, in order; the queue is empty then."""
    return [effects.popleft() for _ in range(len(effects))]


def items(effects: EffectQueue, kind: type[Batch]) -> list[Any]:
    """What the effects of one kind hold; the others are gone, too."""
    return [item for effect in taken(effects) if isinstance(effect, kind) for item in effect.items]


class Pair:
    """A link and, in place of its transport and container, a script: whoever tests plays them.

    Attributes:
        link: the link.
        now: the time; the test moves it.
        sent: records that left, each with its tag, since they were last taken.
    """

    def __init__(
        self,
        *,
        reconnect: ReconnectPolicy | None = None,
        heartbeat: HeartbeatPolicy | None = None,
        limits: Limits | None = None,
        once: bool = False,
    ) -> None:
        self.now = 100.0
        self.limits = limits or Limits()
        self.encoder = Encoder(self.limits)
        self.sent: list[tuple[bytes, Record]] = []
        self.connection = 0
        self._issued = 0
        self._decoder = MessageDecoder(Limits(), Kind.REQUEST)
        self._taken: list[Effect] = []
        calls = NestedCallReceiver("worker-7", REMOTE, HandlerHost(self.encoder), self.limits, ReplyBudget(self.limits))
        self.link = Link(
            RequestErrors(REMOTE, "worker-7", "worker-7"),
            SESSION,
            "engine-1",
            reconnect or ReconnectPolicy(),
            heartbeat or HeartbeatPolicy(),
            self.limits,
            self.encoder,
            EndedIds(),
            once=once,
            now=self.now,
            nested_calls=calls,
        )

    # The transport

    def dialled(self) -> None:
        """The ZMTP handshake of a new connection is done."""
        self.connection += 1
        self.link.on_handshake(self.now)

    def lost(self, failure: Failure = LOST) -> None:
        """A dial failed or the connection broke."""
        self.link.on_connection_ended(failure, self.now)
        self.link.judge(self.now)

    def flush(self, most: int = 1000) -> list[tuple[bytes, Record]]:
        """Everything that may leave, leaves; returns its records."""
        left: list[tuple[bytes, Record]] = []
        for _ in range(most):
            outgoing = self.link.next_outgoing(self.now)
            if outgoing is None:
                break
            self.link.on_sent(outgoing, self.now)
            left += self.read(outgoing)
        self.sent += left
        return left

    def read(self, outgoing: OutgoingMessage) -> list[tuple[bytes, Record]]:
        """The records of a message, as a container reads them."""
        message = self._decoder.decode(outgoing.frames)
        assert not message.malformed and not message.ignored
        return message.records

    # The container

    def tell(self, *records: Record, tag: bytes = LINK_TAG) -> None:
        """The container sends records in one message."""
        self.link.receive(Message(records=[(tag, record) for record in records]), self.now)

    def welcome(self, *, number: int | None = None, limits: Limits | None = None, status: Status = Status.RUNNING,
                instance: UUID = INSTANCE, resumed: bool = False, version: int = wire.VERSION) -> None:  # fmt: skip
        """The container says WELCOME."""
        number = self.connection if number is None else number
        record = wire.welcome(instance, number, resumed, status, "worker-7", 2.0, limits or Limits())
        record[1] = version
        self.tell(record)

    def reply(self, number: int, value: Any = None, status: int = 1) -> None:
        """The container answers a request."""
        self.tell([Kind.RESPONSE, status, value], tag=tag(number))

    def error(self, number: int, code: int, executed: int = 0, text: str = "no", detail: Any = None) -> None:
        """The container answers a request with an error."""
        self.tell([Kind.ERROR, code, executed, 1, text, detail], tag=tag(number))

    # The application

    def state(self) -> LinkState:
        """The state now. (A type checker takes an attribute for what it was when it was compared last.)"""
        return self.link.state

    def status(self) -> Status | None:
        """The container's run state as the link knows it now."""
        return self.link.status

    def up(self, **welcome: Any) -> Pair:
        """The link is ALIVE, and its HELLO has left."""
        self.dialled()
        self.flush()
        self.welcome(**welcome)
        return self

    def entry(self, number: int, *, wait: bool = True, idempotent: bool = False, timeout: float | None = 30.0,
              chosen: bool = False, data: Any = None, function: str = "work",
              lost_after: float | None = None) -> PendingRequest:  # fmt: skip
        """A request, made as the engine makes it."""
        deadline = None if timeout is None else self.now + timeout
        entry = make_entry(
            self.encoder, number, self.link.tracker.next_sequence(), now=self.now, deadline=deadline, wait=wait,
            idempotent=idempotent, chosen=chosen, data=data, function=function,
        )  # fmt: skip
        entry.lost_after = lost_after
        return entry

    def issue(self, *numbers: int, **options: Any) -> None:
        """The application makes requests."""
        for number in numbers:
            entry = self.entry(number, **options)
            self.link.tracker.issued += 1
            if entry.digest is not None:
                self.link.requester.cancels.discard(entry.tag)
            self.link.tracker.submit(entry)

    def ended(self) -> dict[int, Any]:
        """What became of the requests that ended since the last look, by number."""
        ended = self.take(ResolveRequests)
        assert len(dict(ended)) == len(ended), "a request ended twice"
        return dict(ended)

    def take(self, kind: type[Batch]) -> list[Any]:
        """What the effects of a kind hold that came since the last look."""
        found = [item for effect in self.effects() if isinstance(effect, kind) for item in effect.items]
        self._taken = [effect for effect in self._taken if not isinstance(effect, kind)]
        return found

    def effects(self) -> list[Effect]:
        """What the link wants done, and nobody has looked at."""
        self._taken += taken(self.link.effects)
        return self._taken

    def rejection(self) -> Failure | None:
        """Why the connection is of no use, if the link has said so since this was asked last."""
        found = [effect.failure for effect in self.effects() if isinstance(effect, Disconnect)]
        self._taken = [effect for effect in self._taken if not isinstance(effect, Disconnect)]
        assert len(found) <= 1, "once for each connection"
        return found[0] if found else None

    def tick(self) -> Failure | None:
        """Time has passed. Why the connection is of no use, if the link says so."""
        self.link.tick(self.now)
        return self.rejection()

    def cancel(self, number: int) -> None:
        """The application waits for a request no more."""
        entry = self.link.tracker.pending.get(tag(number))
        if entry is not None:
            self.link.requester.cancel(entry)

    def wait(self, number: int) -> None:
        """The application has read all that came of a stream, and waits for more."""
        self.link.requester.wait(self.link.tracker.pending[tag(number)])

    def events(self) -> list[LinkEvent]:
        """What the application is told since the last look."""
        return self.take(PublishEvents)

    def told(self) -> list[str]:
        """The names of the events since the last look."""
        return [type(event).__name__ for event in self.events()]

    def adds_up(self) -> bool:
        """Whether the counters do."""
        counts = self.link.statistics()
        return counts.issued == counts.replied + counts.failed + counts.cancelled + counts.in_flight and (
            counts.in_flight == len(self.link.tracker.pending)
        )


def make_entry(
    encoder: Encoder,
    number: int,
    sequence: int = 1,
    *,
    now: float = 0.0,
    deadline: float | None = None,
    wait: bool = True,
    idempotent: bool = False,
    chosen: bool = False,
    data: Any = None,
    function: str = "work",
) -> PendingRequest:
    """One call as an engine encodes it."""
    buffers: list[Buffer] = []
    args = [encoder.prepare(data, "args[0]", buffers)]
    flags = Flag.IDEMPOTENT if idempotent else 0
    remaining = None if deadline is None else remaining_ms(deadline, now)
    body = encode_request(encoder, sequence, remaining, flags, Op.CALL, function, args, None, None)
    digest = digest_of(encoder, Op.CALL, function, [data], None) if chosen else None
    entry = PendingRequest(
        tag(number), sequence, Op.CALL, function, body, buffers, now=now, deadline=deadline,
        may_wait=wait, idempotent=idempotent, digest=digest,
    )  # fmt: skip
    entry.waiter = number  # who is told of the end, as the tests name it
    return entry


def numbers(records: Sequence[tuple[bytes, Record]], kind: int = Kind.REQUEST) -> list[int]:
    """The tags of the records of one kind, as numbers."""
    return [int.from_bytes(tag, "big") for tag, record in records if record[0] == kind]


def kinds(records: Sequence[tuple[bytes, Record]]) -> list[int]:
    """What the records are."""
    return [record[0] for _, record in records]
