"""What is fuzzed: bytes to frames, frames through the reader of a side, records into that side's state machine.

One input is a side, and some messages one after the other, since a state machine has to be led somewhere first. Every
``AssertionError`` and every exception that comes out of :func:`WireDoor.push` is a finding.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from mpzmq.config import HeartbeatPolicy, Limits, ReconnectPolicy
from mpzmq.errors import EncodeError
from mpzmq.models import LinkState
from mpzmq.protocol import wire
from mpzmq.protocol.effects import ResolveRequests
from mpzmq.protocol.flow.receive_stream import ReceiveStream
from mpzmq.protocol.flow.send_stream import CROWDED, SendStream
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import GIVES, TAKES, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.protocol.wire.schema import NESTED_CALL_SCHEMA, OPTIONAL, SCHEMAS
from tests.support.protocol import Pair, same, tag

from .door import Door

if TYPE_CHECKING:
    from mpzmq.protocol.flow.stream_scheduler import StreamScheduler
    from mpzmq.protocol.responder.nested_calls import NestedCallReceiver
    from mpzmq.protocol.wire.values import Buffer

__all__ = ["LIMITS", "WireDoor", "packed_input", "unpacked_input"]

LIMITS = Limits(message_bytes=1 << 16, batch_records=32, depth=16, items=2000, in_flight=50, sessions=20)

_LENGTH = struct.Struct(">H")
_MOST_FRAMES, _MOST_MESSAGES = 8, 8
_ROUTES = (b"route-0", b"route-1")


def packed_input(side: int, messages: list[list[bytes]]) -> bytes:
    """One input of the corpus: the side, and for each message its frames, each with its length."""
    parts = [bytes((side,))]
    for frames in messages:
        parts.append(bytes((len(frames),)))
        parts += [_LENGTH.pack(len(frame)) + frame for frame in frames]
    return b"".join(parts)


def unpacked_input(data: bytes) -> tuple[int, list[list[bytes]]]:
    """The same in the other direction; whatever the bytes are, they are some messages."""
    side = data[0] & 1 if data else 0
    messages: list[list[bytes]] = []
    place = 1
    while place < len(data) and len(messages) < _MOST_MESSAGES:
        count = data[place] % (_MOST_FRAMES + 1)
        frames: list[bytes] = []
        place += 1
        for _ in range(count):
            size = int.from_bytes(data[place : place + 2], "big")
            frames.append(data[place + 2 : place + 2 + size])
            place += 2 + size
        messages.append(frames)
    return side, messages


class WireDoor(Door):
    """The readers of both sides, which live on after every message as those of a container and a worker do."""

    tokens: ClassVar = [
        bytes((byte,))
        for byte in bytes.fromhex(
            "00 01 02 03 0f 10 7f 80 8f 90 9f a0 c0 c1 c4 c6 c7 c9 ca cb cf d3 d4 d6 d7 d8 d9 db dc dd de df ff"
        )
    ]

    def __init__(self) -> None:
        self._readers = (MessageDecoder(LIMITS, Kind.REQUEST), MessageDecoder(LIMITS, Kind.RESPONSE))
        self._encoder = Encoder(Limits(depth=256, items=1 << 20))
        self._again = MessageDecoder(Limits(depth=64, batch_records=1), Kind.REQUEST)

    def push(self, data: bytes) -> int:
        """One input; returns how many records came out of it.

        Raises:
            AssertionError: a property does not hold.
        """
        side, messages = unpacked_input(data)
        read = [self._read(side, frames) for frames in messages]
        (self.to_engine if side else self.to_container)(read)
        return sum(len(message.records) for message in read)

    def _read(self, side: int, frames: list[bytes]) -> Message:
        message = self._readers[side].decode(list(frames))
        assert message.size == sum(map(len, frames))
        most = min(len(frames[0]) // 16 if frames else 0, LIMITS.batch_records)
        told = len(message.records) + len(message.malformed) + len(message.malformed_calls) + message.ignored
        assert told <= max(most, 1), "more was told of than there were tags"
        assert all(len(one) == 16 for one in message.malformed)
        for one, record in message.records:
            assert len(one) == 16 and type(record) is list and type(record[0]) is int
            length, check = NESTED_CALL_SCHEMA if side and record[0] == Kind.REQUEST else SCHEMAS[record[0]]
            assert length - OPTIONAL.get(record[0], 0) <= len(record) <= length
            assert check(record, self._readers[side]._decoder), "it does not satisfy its own shape"
            self._comes_again(record)
        return message

    def _comes_again(self, record: list[Any]) -> None:
        """What was decoded can be encoded, and is the same when it is decoded again."""
        buffers: list[Buffer] = []
        try:
            prepared = [self._encoder.prepare(field, "field", buffers) for field in record]
        except EncodeError as error:
            raise AssertionError(f"it was decoded, and cannot be encoded: {error}") from error
        body = self._encoder.pack(prepared)
        values, whole, complete = self._again._decoder.records(1, body, [bytes(buffer) for buffer in buffers])
        assert whole and complete, "what was encoded cannot be decoded"
        assert same(values[0], record), "it is not the same when it comes again"

    def to_container(self, messages: list[Message]) -> None:
        """Into the sessions of a container."""
        sessions = SessionTable(UUID(int=1), "fuzz", 2.0, LIMITS)
        now = 0.0
        for number, message in enumerate(messages):
            batch = RequestBatch()
            # The first connection has greeted; the second is a stranger unless it greets by itself.
            if number == 0:
                hello = wire.hello(UUID(int=7), 1, "engine", 2.0, LIMITS)
                sessions.receive(_ROUTES[0], Message([(LINK_TAG, hello)]), RequestBatch(), now)
            sessions.receive(_ROUTES[number % 2], message, batch, now)
            for request in batch.requests:
                assert request is None or (request[1] != LINK_TAG and request[2][0] == Kind.REQUEST)
                if request is not None:
                    self._begin(*request[:3])
            for _, peer, low_water, tags in batch.acks:
                peer.replies.acknowledge(low_water, tags)
                peer.replies.settle()
            now += 3.0
            sessions.tick(now, 10.0)
            assert len(sessions._peers) <= LIMITS.sessions
            for peer in list(sessions.writable):
                self._is_bounded(peer.send_streams, list(peer.receive_streams.values()))
                while (outgoing := peer.next_outgoing(now)) is not None:
                    assert max(map(len, outgoing.frames)) <= max(peer.message_bytes, 4096)
            sessions.writable.clear()
            sessions.sessionless.take()

    @staticmethod
    def _begin(peer: Any, tag: bytes, record: list[Any]) -> None:
        """What its handler would do first, if it is a stream, an upload or a channel."""
        if record[4] in TAKES and tag not in peer.receive_streams:
            peer.open_receive_stream(tag)
            peer.control(peer.receive_streams[tag].credit_record(), tag)
        if record[4] in GIVES and tag not in peer.send_streams:
            _fill(peer.send_streams, tag, SendStream(*peer.send_streams.credit_at_first))

    @staticmethod
    def _is_bounded(send_streams: StreamScheduler, receive_streams: list[ReceiveStream]) -> None:
        """Nothing is held beyond the limits, whatever credit was given or taken."""
        held = sum(receive_stream.received for receive_stream in receive_streams)
        assert held <= LIMITS.stream_items * len(receive_streams)
        assert send_streams.budget.cost <= LIMITS.queued_bytes + len(send_streams) * 2 * CROWDED
        for receive_stream in receive_streams:
            while receive_stream.pop_chunk():
                receive_stream.items.clear()

    def _called(self, nested_calls: NestedCallReceiver) -> None:
        """What a container has asked is for requests that are open."""
        batch, parents = nested_calls.take()
        assert all(entry.tag in nested_calls._pending for entry in parents)
        for request in batch.requests:
            assert request is None or nested_calls.parent_of(request[1]) is None or request[2][4] == Op.CALL
        while (outgoing := nested_calls.next_outgoing(0.0)) is not None:
            assert max(map(len, outgoing.frames)) <= max(nested_calls.message_bytes, 4096)

    def to_engine(self, messages: list[Message]) -> None:
        """Into a link that waits for the requests of :func:`known_tags`."""
        pair = Pair(reconnect=ReconnectPolicy(), heartbeat=HeartbeatPolicy(), limits=LIMITS)
        pair.up()
        pair.issue(1, 2, 3)
        pair.issue(4, chosen=True)
        pair.issue(5, wait=False, idempotent=True)
        for number, receive_stream, send_stream in (
            (6, ReceiveStream(8, 100), None),
            (7, None, SendStream()),
            (8, ReceiveStream(8, 100), SendStream()),
        ):
            entry = pair.entry(number)
            entry.receive_stream, entry.send_stream = receive_stream, send_stream
            pair.link.tracker.issued += 1
            pair.link.tracker.submit(entry)
            if send_stream is not None:
                _fill(pair.link.tracker.send_streams, entry.tag, send_stream)
        pair.flush()
        ended: set[Any] = set()
        for message in messages:
            pair.link.receive(message, pair.now)
            assert pair.adds_up()
            tracker = pair.link.tracker
            self._is_bounded(tracker.send_streams, [])
            for _, receive_stream in tracker.receive_streams():
                assert receive_stream.received <= 8
            self._called(pair.link.nested_calls)
            for waiter, outcome in pair.take(ResolveRequests):
                assert waiter not in ended, "a request ended twice"
                ended.add(waiter)
                assert not isinstance(outcome, Exception) or str(outcome)
            failure = pair.rejection() or pair.tick()
            if failure is not None:
                pair.lost(failure)
                if not pair.link.is_over:
                    pair.dialled()
                    pair.welcome()
            while (outgoing := pair.link.next_outgoing(pair.now)) is not None:
                pair.link.on_sent(outgoing, pair.now)
            pair.now += 0.5
        pair.link.close("the end", pair.now)
        ended |= {waiter for waiter, _ in pair.take(ResolveRequests)}
        assert len(ended) == 8, "a request never ended"
        assert not len(pair.link.tracker.send_streams) and not pair.link.tracker.send_streams.budget.cost
        assert pair.state() is LinkState.CLOSED or pair.link.is_over
        assert pair.adds_up()


def known_tags() -> list[bytes]:
    """The ids of the requests that wait in the engine of :class:`WireDoor`."""
    return [tag(number) for number in range(1, 9)]


def _fill(send_streams: StreamScheduler, tag: bytes, flow: SendStream) -> None:
    """A stream with some items, one of them large, and its end."""
    send_streams.open(tag, flow)
    for item in (b"\x01", b"\xc4\x64" + bytes(100), b"\x02"):
        flow.write(item, (), len(item))
    flow.finish()
    send_streams.mark_ready(tag)
