"""Every limit that defends, crossed by a lying engine and by a lying container: at the limit, and one beyond.

What is beyond is refused with a typed error, and nothing runs for it. Elsewhere: engines that keep to the protocol and
are beyond (``tests/integration/test_bad_input.py``), links and containers that are full (``test_admission.py`` there),
the decoder by itself (``tests/protocol/wire/``), and the window (``tests/protocol/flow/test_window.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack
import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, Executed, LinkState, MpzmqError, ProtocolError, RequestTimeout
from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.raw import Liar, Raw
from tests.support.scene import REDIAL, adds_up
from tests.support.waiting import SECONDS, soon, until

from .liar import request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mpzmq import ComputerEngineWriter

DEPTH, ITEMS, RECORDS, BYTES = 5, 20, 4, 8192
LIMITS = Limits(
    message_bytes=BYTES, batch_records=RECORDS, depth=DEPTH, items=ITEMS, in_flight=4, queued_bytes=5000, sessions=2,
    window=8,
)  # fmt: skip


def nest(depth: int) -> Any:
    value: Any = []
    for level in range(depth - 1):
        value = {"k": value} if level % 2 else [value]
    return value


VALUES: dict[str, tuple[Any, Any]] = {
    "depth": (nest(DEPTH), nest(DEPTH + 1)),
    "an array": ([0] * ITEMS, [0] * (ITEMS + 1)),
    "a map": ({str(key): 0 for key in range(ITEMS)}, {str(key): 0 for key in range(ITEMS + 1)}),
    "all items": ([[0] * (ITEMS // 2 - 1)] * 2, [[0] * (ITEMS // 2 - 1), [0] * (ITEMS // 2)]),
    "an ext type": (uuid4(), msgpack.ExtType(3, b"x")),
    "a key": ({1: 1}, {1.5: 1}),
}
"""What is at the limit, and what is one beyond."""


def by_buffers(size: int, head: bytes, tail: bytes) -> list[bytes]:
    """A record with two buffers, with so many bytes in all and its tag: no frame is beyond the limit by itself."""
    references = b"".join(msgpack.packb(msgpack.ExtType(1, msgpack.packb(index))) for index in range(2))
    body = head + b"\x92" + references + tail
    first = (size - len(body) - 16) // 2
    return [body, bytes(first), bytes(size - len(body) - 16 - first)]


class Stage:
    """A container with small limits that notes what runs."""

    def __init__(self) -> None:
        self.server = ContainerServer(limits=LIMITS)
        self.ran: list[Any] = []
        self.release = asyncio.Event()
        self.endpoint = ""

        @self.server.on_invoke
        async def note(data: Any) -> None:
            self.ran.append(data)

        @self.server.function
        async def hold(data: Any) -> None:
            self.ran.append(data)
            await self.release.wait()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    one = Stage()
    async with one.server:
        one.endpoint = await one.server.bind("127.0.0.1:0")
        yield one
        counted = one.server.statistics()
        assert counted.received == sum(
            (counted.replied, counted.failed, counted.refused, counted.cancelled, counted.in_flight)
        )


@pytest.fixture
async def peer(stage: Stage, raw: Callable[[int], Raw]) -> Raw:
    """An engine that has greeted, and keeps to no limit."""
    one = raw(zmq.DEALER).connect(stage.endpoint)
    await one.greet()
    return one


async def answers(peer: Raw, count: int = 1) -> list[list[Any]]:
    """The next so many answers to requests."""
    found: list[list[Any]] = []
    while len(found) < count:
        found += [record for tag, record in peer.unpack(await peer.receive()) if tag != LINK_TAG]
    return found


def packed_request(value: Any) -> bytes:
    return b"\x99\x03\x01\xc0\x00\x00\xc0\x91" + packed(value) + b"\xc0\xc0"


def packed(value: Any) -> bytes:
    def default(other: Any) -> msgpack.ExtType:
        return msgpack.ExtType(2, other.bytes)

    data: bytes = msgpack.packb(value, default=default)
    return data


# An engine that keeps to no limit


@pytest.mark.parametrize("name", VALUES)
async def test_a_container_refuses_values_beyond_the_limit(stage: Stage, peer: Raw, name: str) -> None:
    allowed, beyond = VALUES[name]
    peer.send(uuid4().bytes, packed_request(allowed))
    assert (await answers(peer))[0][0] == Kind.RESPONSE
    peer.send(uuid4().bytes, packed_request(beyond))
    assert (await answers(peer))[0][:3] == [Kind.ERROR, Code.MALFORMED, 0]
    assert stage.ran == [allowed]


async def test_a_container_refuses_a_frame_beyond_the_limit(stage: Stage, peer: Raw) -> None:
    empty = len(packed_request("x" * 300)) - 300
    for size in (BYTES, BYTES + 1):
        body = packed_request("x" * (size - empty))
        assert len(body) == size
        peer.send(uuid4().bytes, body)
        if size == BYTES:
            assert (await answers(peer))[0][0] == Kind.RESPONSE
    # libzmq ends the connection, and dials again: without HELLO it is a stranger's.
    answer: list[Any] = []
    async with asyncio.timeout(SECONDS):
        while not answer:
            peer.send(uuid4().bytes, packed_request("late"))
            with contextlib.suppress(TimeoutError):
                answer = (await asyncio.wait_for(answers(peer), 0.2))[0]
    assert answer[:2] == [Kind.ERROR, Code.NO_SESSION]
    assert len(stage.ran) == 1


async def test_a_container_refuses_buffers_that_are_beyond_the_limit_together(stage: Stage, peer: Raw) -> None:
    for size in (BYTES, BYTES + 1):
        message = by_buffers(size, b"\x99\x03\x01\xc0\x00\x00\xc0\x91", b"\xc0\xc0")
        peer.send(uuid4().bytes, *message)
        expected = [Kind.RESPONSE] if size == BYTES else [Kind.ERROR, Code.MALFORMED, 0]
        answer = (await answers(peer))[0]
        assert answer[: len(expected)] == expected
    assert len(stage.ran) == 1


async def test_a_container_refuses_more_records_than_the_limit(stage: Stage, peer: Raw) -> None:
    def send(count: int) -> None:
        tags = b"".join(uuid4().bytes for _ in range(count))
        peer.send(tags, b"".join(packed_request(number) for number in range(count)))

    send(RECORDS)
    assert [answer[0] for answer in await answers(peer, RECORDS)] == [Kind.RESPONSE] * RECORDS
    send(RECORDS + 1)
    refused = await answers(peer, RECORDS)
    assert [answer[:3] for answer in refused] == [[Kind.ERROR, Code.MALFORMED, 0]] * RECORDS
    assert len(stage.ran) == RECORDS


async def test_a_container_refuses_more_requests_in_flight_than_the_limit(stage: Stage, peer: Raw) -> None:
    for number in range(1, LIMITS.in_flight + 2):
        peer.send(uuid4().bytes, peer.pack(request(number, number, 0, "hold")))
    assert (await answers(peer))[0][:3] == [Kind.ERROR, Code.OVERLOADED, 0]
    stage.release.set()
    assert [answer[0] for answer in await answers(peer, LIMITS.in_flight)] == [Kind.RESPONSE] * LIMITS.in_flight
    assert stage.ran == list(range(1, LIMITS.in_flight + 1))


async def test_a_container_refuses_more_bytes_in_flight_than_the_limit(stage: Stage, peer: Raw) -> None:
    def send(number: int, size: int) -> None:
        shorter = len(peer.pack(request(number, "x" * 1000, 0, "hold"))) - 1000
        peer.send(uuid4().bytes, peer.pack(request(number, "x" * (size - shorter - 16), 0, "hold")))

    half = LIMITS.queued_bytes // 2
    send(1, half)
    send(2, half)
    await until(lambda: len(stage.ran) == 2)
    send(3, 600)
    assert (await answers(peer))[0][:3] == [Kind.ERROR, Code.OVERLOADED, 0]
    stage.release.set()
    assert [answer[0] for answer in await answers(peer, 2)] == [Kind.RESPONSE] * 2
    stage.release.clear()
    send(4, half)
    send(5, half + 1)
    assert (await answers(peer))[0][:3] == [Kind.ERROR, Code.OVERLOADED, 0]
    assert len(stage.ran) == 3


async def test_a_container_refuses_more_sessions_than_the_limit(
    stage: Stage, peer: Raw, raw: Callable[[int], Raw]
) -> None:
    second, third = raw(zmq.DEALER).connect(stage.endpoint), raw(zmq.DEALER).connect(stage.endpoint)
    assert (await second.greet())[0] == Kind.WELCOME
    assert (await third.greet())[:2] == [Kind.GOODBYE, Goodbye.TOO_MANY_SESSIONS]
    third.send(uuid4().bytes, third.pack(request(1, "x")))
    assert (await answers(third))[0][:2] == [Kind.ERROR, Code.NO_SESSION]
    assert stage.ran == []


async def test_what_is_beyond_the_window_is_read_like_the_rest(stage: Stage, raw: Callable[[int], Raw]) -> None:
    """libzmq does not stop an engine that ignores the window: a queue with a limit lets strangers end the process."""
    peer = raw(zmq.DEALER)
    peer.socket.set(zmq.SNDHWM, 0)
    peer.connect(stage.endpoint)
    await peer.greet()
    for _ in range(20 * LIMITS.window):
        peer.socket.send_multipart([LINK_TAG, b"\x92\x07" + b"\x05" + bytes(100)], zmq.NOBLOCK)
    tag = uuid4().bytes
    peer.send(tag, peer.pack(request(1, "behind all of it")))
    assert (await answers(peer))[0][0] == Kind.RESPONSE


# A container that keeps to no limit


@pytest.fixture
async def deceived(raw: Callable[[int], Raw]) -> AsyncIterator[tuple[ComputerEngineWriter, Liar]]:
    """A worker with small limits that is connected to a liar."""
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker(reconnect=REDIAL, limits=LIMITS) as worker:
        connecting = asyncio.create_task(worker.connect(uuid4(), liar.router.endpoint))
        await liar.hello()
        liar.say(LINK_TAG, liar.welcome())
        container = await soon(connecting)
        yield container, liar
        assert adds_up(container.statistics())


def response(value: Any) -> bytes:
    return b"\x93\x04\x01" + packed(value)


@pytest.mark.parametrize("name", VALUES)
async def test_an_engine_refuses_values_beyond_the_limit(
    deceived: tuple[ComputerEngineWriter, Liar], name: str
) -> None:
    container, liar = deceived
    allowed, beyond = VALUES[name]
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.router.send(liar.route, await liar.request(), response(allowed))
    assert await soon(call) == allowed
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.router.send(liar.route, await liar.request(), response(beyond))
    with pytest.raises(ProtocolError) as caught:
        await soon(call)
    assert caught.value.executed is Executed.UNKNOWN
    assert container.state is LinkState.ALIVE


async def test_an_engine_refuses_buffers_that_are_beyond_the_limit_together(
    deceived: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = deceived
    for size in (BYTES, BYTES + 1):
        call = asyncio.create_task(container.request("x", timeout=20.0))
        liar.router.send(liar.route, await liar.request(), *by_buffers(size, b"\x93\x04\x01", b""))
        if size == BYTES:
            assert len(await soon(call)) == 2
        else:
            with pytest.raises(ProtocolError):
                await soon(call)


async def test_an_engine_ends_a_connection_with_a_frame_beyond_the_limit(
    deceived: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = deceived
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.router.send(liar.route, await liar.request(), response("x" * (BYTES - 6)))
    assert len(await soon(call)) == BYTES - 6
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.router.send(liar.route, await liar.request(), response("x" * (BYTES - 5)))
    # It dials again, to what says that it does not know the session: what was sent may have run.
    await liar.hello()
    liar.say(LINK_TAG, liar.welcome())
    with pytest.raises(MpzmqError) as caught:
        await soon(call)
    assert getattr(caught.value, "executed", None) is Executed.UNKNOWN


async def test_an_engine_refuses_more_records_than_the_limit(deceived: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = deceived
    for more in (0, 1):
        calls = [asyncio.create_task(container.request(number, timeout=20.0)) for number in range(3)]
        tags = await liar.requests(3)
        tags += [uuid4().bytes for _ in range(RECORDS - 3 + more)]
        liar.router.send(liar.route, b"".join(tags), response("y") * len(tags))
        outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert [type(outcome) for outcome in outcomes] == [ProtocolError if more else str] * 3


@pytest.mark.parametrize("window", [[1, 1 << 40], [1 << 40, 1], [1, 1]])
async def test_an_engine_keeps_to_a_window_that_never_opens(raw: Callable[[int], Raw], window: list[int]) -> None:
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker(reconnect=REDIAL, limits=LIMITS) as worker:
        connecting = asyncio.create_task(worker.connect(uuid4(), liar.router.endpoint))
        await liar.hello()
        welcome = liar.welcome()
        welcome[8] = window
        liar.say(LINK_TAG, welcome)
        container = await soon(connecting)
        calls = [asyncio.create_task(container.request("x", timeout=0.3)) for _ in range(20)]
        outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert {type(outcome) for outcome in outcomes} == {RequestTimeout}
        sent = [outcome for outcome in outcomes if getattr(outcome, "executed", None) is Executed.UNKNOWN]
        assert 1 <= len(sent) <= LIMITS.in_flight, "what one message holds"
        assert adds_up(container.statistics())


@pytest.mark.parametrize("key", ["message_bytes", "batch_records", "depth", "items"])
@pytest.mark.parametrize("value", [1, (1 << 64) - 1])
async def test_an_engine_bears_limits_that_make_no_sense(raw: Callable[[int], Raw], key: str, value: int) -> None:
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker(reconnect=REDIAL, limits=LIMITS) as worker:
        connecting = asyncio.create_task(worker.connect(uuid4(), liar.router.endpoint))
        await liar.hello()
        welcome = liar.welcome()
        welcome[9] = {key: value}
        liar.say(LINK_TAG, welcome)
        container = await soon(connecting)
        call = asyncio.create_task(container.request("x", timeout=5.0))
        if key == "message_bytes" and value == 1:
            with pytest.raises(MpzmqError):
                await soon(call)
        else:
            liar.say(await liar.request(), [Kind.RESPONSE, 1, "y"])
            assert await soon(call) == "y"


def test_the_names_of_the_announced_limits() -> None:
    """The test above would say nothing about a limit of another name."""
    assert set(wire.announced(LIMITS)) == {"message_bytes", "batch_records", "depth", "items"}
    assert Op.INVOKE == 0  # the packed requests above are written by hand
