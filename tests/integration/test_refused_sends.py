"""A connection that takes nothing more: how often it is asked must not grow with what waits for it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from mpzmq.address import parse_address
from mpzmq.config import HeartbeatPolicy, Limits, ReconnectPolicy
from mpzmq.container.session_driver import SessionDriver
from mpzmq.engine.callbacks import EngineFunctions
from mpzmq.engine.link_driver import FEW, LinkDriver
from mpzmq.errors import ConnectionClosed
from mpzmq.failure import Failure, FailureKind
from mpzmq.handlers.registry import Function, Registry
from mpzmq.models import Executed, Status
from mpzmq.protocol.flow.receive_stream import ReceiveStream
from mpzmq.protocol.requester.request_ids import EndedIds
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import EXECUTED_NUMBER, LINK_TAG, hello, welcome
from mpzmq.transport.interface import Delivery
from tests.support.protocol import make_entry, tag
from tests.support.waiting import until

if TYPE_CHECKING:
    from mpzmq.transport.interface import DealerHandler, Frames, RouterHandler, SocketSettings

LIMITS = Limits()
ENCODER = Encoder(LIMITS)


class Full:
    """A transport whose only socket takes what it likes."""

    def __init__(self) -> None:
        self.takes = True
        self.attempts = 0
        self.sent: list[Frames] = []
        self.unread: list[Frames] = []
        self.is_accepted = True

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Any:
        self.handler = handler
        return _Dealer(self)

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Any:
        return _Router(self)

    async def release(self) -> None:
        pass


class _Dealer:
    def __init__(self, full: Full) -> None:
        self._full = full

    def send(self, frames: Frames) -> bool:
        self._full.attempts += 1
        if self._full.takes:
            self._full.sent.append(frames)
        return self._full.takes

    def drain(self, most: int) -> None:
        unread, self._full.unread = self._full.unread[:most], self._full.unread[most:]
        if unread:
            self._full.handler.on_messages(unread)

    def close(self, linger: float) -> None:
        pass


class _Router(_Dealer):
    def send(self, route: bytes, frames: Frames) -> Delivery:  # type: ignore[override]
        return Delivery.SENT if super().send(frames) else Delivery.FULL

    async def close(self, linger: float) -> None:  # type: ignore[override]
        pass


async def test_a_container_asks_a_full_connection_once_in_a_while() -> None:
    registry = Registry()
    registry.invoke = Function(None, lambda data: data, thread=False, cancellable=True)
    full = Full()
    hub = SessionDriver(uuid.uuid4(), "hub", registry, HeartbeatPolicy(), LIMITS, None, full)
    hub.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(uuid.uuid4(), 1, "engine", 60.0, LIMITS))]])
    assert full.attempts == 1
    full.takes = False
    request = ENCODER.pack([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [bytes(1000)], None, None])
    messages: list[Frames] = [
        [b"route", b"".join(uuid.uuid4().bytes for _ in range(50)), request * 50] for _ in range(10)
    ]
    hub.on_messages(messages)
    assert hub.statistics().replied == 500
    assert full.attempts <= 3
    full.takes = True
    await hub.close()


async def test_a_reply_that_still_waits_is_not_replaced_by_what_is_kept_of_it() -> None:
    registry = Registry()
    registry.invoke = Function(None, lambda data: data)
    full = Full()
    limits = Limits(reply_bytes=100)
    hub = SessionDriver(uuid.uuid4(), "hub", registry, HeartbeatPolicy(), limits, None, full)
    session, tag = uuid.uuid4(), uuid.uuid4().bytes
    hub.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(session, 1, "engine", 60.0, LIMITS))]])
    full.takes = False
    request = ENCODER.pack([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [bytes(1000)], None, None])
    hub.on_messages([[b"route", tag, request]])
    hub.on_messages([[b"other", LINK_TAG, ENCODER.pack(hello(session, 2, "engine", 60.0, LIMITS))]])
    hub.on_messages([[b"other", tag, request]])
    (peer,) = hub.sessions.connected()
    assert tag in peer.replies.tombstones and peer.outbox.bytes > 1000
    assert (hub.statistics().replied, hub.dispatcher.deduplicator.count) == (1, 1)
    full.takes = True
    await hub.close()


async def test_an_engine_whose_connection_was_given_up_hears_of_it_once_it_reads() -> None:
    """It may wait for a PONG that was lost with the replies, and have nothing to send."""
    registry = Registry()
    registry.invoke = Function(None, lambda data: data)
    full = Full()
    limits = Limits(queued_bytes=1000)
    hub = SessionDriver(
        uuid.uuid4(), "hub", registry, HeartbeatPolicy(interval=0.02, down_after=0.1), limits, None, full
    )
    hub.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(uuid.uuid4(), 1, "engine", 60.0, LIMITS))]])
    full.takes = False
    request = ENCODER.pack([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [bytes(900)], None, None])
    other = ENCODER.pack([Kind.REQUEST, 2, None, 0, Op.INVOKE, None, [bytes(900)], None, None])
    hub.on_messages([[b"route", uuid.uuid4().bytes + uuid.uuid4().bytes, request + other]])
    assert hub.sessions.connected(), "it may only be slow"
    await until(lambda: list(hub._to_notify) == [b"route"])
    assert not hub.sessions.connected()
    attempts = full.attempts
    await until(lambda: full.attempts > attempts + 1)
    assert hub._to_notify, "it takes nothing yet"
    full.takes = True
    await until(lambda: not hub._to_notify)
    tag, error = full.sent[-1]
    assert tag == LINK_TAG and msgpack.unpackb(error)[:3] == [Kind.ERROR, Code.NO_SESSION, 0]
    await hub.close()


async def test_what_waits_for_a_slow_engine_is_bounded() -> None:
    registry = Registry()
    registry.invoke = Function(None, lambda data: data)
    full = Full()
    limits = Limits(queued_bytes=1000)
    hub = SessionDriver(uuid.uuid4(), "hub", registry, HeartbeatPolicy(), limits, None, full)
    hub.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(uuid.uuid4(), 1, "engine", 60.0, LIMITS))]])
    full.takes = False
    for number in range(1, 16):
        request = ENCODER.pack([Kind.REQUEST, number, None, 0, Op.INVOKE, None, [bytes(900)], None, None])
        hub.on_messages([[b"route", uuid.uuid4().bytes, request]])
    (peer,) = hub.sessions.connected()
    assert 7 * 1000 < peer.outbox.bytes <= 9 * 1000 and len(peer.outbox) == 15
    sent = len(full.sent)
    full.takes = True
    await until(lambda: not peer.outbox)
    answers = []
    for _, body in full.sent[sent:]:
        unpacker = msgpack.Unpacker()
        unpacker.feed(body)
        answers += [record[:3] if record[0] == Kind.ERROR else record[0] for record in unpacker]
    answers = [answer for answer in answers if answer not in (Kind.PONG, Kind.PING)]
    not_kept = [Kind.ERROR, Code.NOT_KEPT, EXECUTED_NUMBER[Executed.YES]]
    assert 7 <= answers.count(Kind.RESPONSE) < 15 == len(answers)
    assert all(answer in (Kind.RESPONSE, not_kept) for answer in answers)
    await hub.close()


def connected(full: Full) -> LinkDriver:
    """An engine's connection that was greeted."""
    connection = LinkDriver(
        uuid.uuid4(), parse_address("127.0.0.1:1"), "full", uuid.uuid4(), "engine",
        reconnect=ReconnectPolicy(), heartbeat=HeartbeatPolicy(), limits=LIMITS,
        codec=(ENCODER, MessageDecoder(LIMITS, answered=Kind.RESPONSE)), ended_ids=EndedIds(), security=None,
        functions=EngineFunctions(Registry(), LIMITS, ENCODER), transport=full,
        publish=lambda event: None, once=True,
    )  # fmt: skip
    connection.start()
    connection.on_connection([None])
    greeting = welcome(uuid.uuid4(), 1, False, Status.RUNNING, "full", 60.0, LIMITS)
    connection.on_messages([[LINK_TAG, ENCODER.pack(greeting)]])
    return connection


def ask(connection: LinkDriver, number: int, size: int = 10) -> asyncio.Future[Any]:
    """One request more; returns what its caller waits for."""
    connection.link.tracker.issued += 1
    entry = make_entry(ENCODER, number, number, data=bytes(size))
    entry.waiter = waiter = connection.loop.create_future()
    connection.link.tracker.submit(entry)
    connection.schedule_write()
    return waiter


async def test_what_a_connection_brought_before_it_ended_comes_before_the_news_of_its_end() -> None:
    """Whichever of the two the event loop is told of first."""
    full = Full()
    connection = connected(full)
    waiter = ask(connection, 1)
    full.unread = [[tag(1), ENCODER.pack([Kind.RESPONSE, 1, "answer"])]]
    connection.on_connection([Failure(FailureKind.LOST, "the connection was lost", was_up=True)])
    assert (await waiter)[2] == "answer"
    connection.close("the test was over")


@pytest.mark.parametrize("items", [1, 3])
async def test_all_that_a_connection_brought_of_a_stream_comes_before_the_news_of_its_end(items: int) -> None:
    """What came after WELCOME on the next connection would stand across what is sent there once more."""
    full = Full()
    connection = connected(full)
    waiter = ask(connection, 1)
    receive_stream = connection.link.tracker.pending[tag(1)].receive_stream = ReceiveStream(10_000, 1 << 20)
    count = 5 * FEW
    full.unread = [
        [tag(1), ENCODER.pack([Kind.CHUNK, items * number, items, number == count - 1, [None] * items])]
        for number in range(count)
    ]
    full.unread.append([tag(1), ENCODER.pack([Kind.RESPONSE, 1, items * count])])
    connection.on_connection([Failure(FailureKind.LOST, "the connection was lost", was_up=True)])
    assert (await waiter)[2] == items * count == receive_stream.received
    connection.close("the test was over")


async def test_of_a_flood_only_what_may_matter_is_read_at_once() -> None:
    full = Full()
    connection = connected(full)
    waiters = [ask(connection, number) for number in range(1, 11)]
    full.unread = [[LINK_TAG, ENCODER.pack([99])] for _ in range(FEW + 100)]
    connection.on_connection([Failure(FailureKind.LOST, "the connection was lost", was_up=True)])
    assert len(full.unread) == 100 - 2 * len(waiters)
    connection.close("the test was over")
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_an_engine_asks_a_full_connection_once_in_a_while() -> None:
    full = Full()
    connection = connected(full)
    assert connection.link.is_running and full.attempts == 1
    full.takes = False
    for number in range(1, 501):
        ask(connection, number, 1000)
    assert full.attempts <= 3
    full.takes = True
    connection.on_writable()
    assert full.attempts > 3 and not connection.link.tracker.outbox
    waiters = [entry.waiter for entry in connection.link.tracker.pending.values()]
    connection.close("the test was over")
    ended = await asyncio.gather(*waiters, return_exceptions=True)
    assert len(ended) == 500 and all(isinstance(error, ConnectionClosed) for error in ended)
