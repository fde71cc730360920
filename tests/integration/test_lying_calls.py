"""Calls with processes that die, with containers that call as they like, and with engines that answer as they like."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionLost,
    ContainerServer,
    Limits,
    LinkDown,
    ProtocolError,
    RequestContext,
    Unsupported,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK, REDIAL, worker_of
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.container import Start
    from tests.support.raw import Liar, Raw

Lied = tuple[ComputerEngineWriter, "Liar"]


def call(parent: bytes, *args: Any, sequence: int = 1, function: Any = "note", op: int = Op.CALL) -> list[Any]:
    return [Kind.REQUEST, sequence, None, 0, op, function, list(args), None, None, uuid.UUID(bytes=parent)]


def functions(worker: ComputerEngineWorker) -> tuple[list[Any], list[Any]]:
    """What was run, and what has ended."""
    ran: list[Any] = []
    ended: list[Any] = []

    @worker.function
    def note(word: Any) -> Any:
        ran.append(word)
        return word

    @worker.function
    async def wait(word: Any) -> Any:
        ran.append(word)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(word)

    return ran, ended


async def answers(liar: Liar, *kinds: int) -> list[tuple[bytes, list[Any]]]:
    """The next records of some kinds."""
    found: list[tuple[bytes, list[Any]]] = []
    while not found:
        records = liar.router.unpack(await liar.router.receive())
        found = [(tag, record) for tag, record in records if record[0] in kinds]
    return found


# Processes that end


async def test_a_container_that_is_killed_takes_its_calls_along(start: Start) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        ran, ended = functions(worker)
        served = await start()
        container = await worker.connect(uuid.uuid4(), served.endpoint)
        request = asyncio.ensure_future(container.call("ask", "wait", 1))
        await until(lambda: ran)
        served.kill()
        await served.restart()
        with pytest.raises(ConnectionLost):
            await soon(request)
        await until(lambda: ended == [1])
        assert await soon(container.call("ask", "note", 2)) == 2
        assert ran == [1, 2]


async def test_a_successor_calls_anew(start: Start) -> None:
    """The request may run twice, and is open all the time; what the first process has called is ended all the same."""
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        ran, ended = functions(worker)
        served = await start()
        container = await worker.connect(uuid.uuid4(), served.endpoint)
        request = asyncio.ensure_future(container.call("ask", "wait", 1, idempotent=True))
        await until(lambda: ran == [1])
        served.kill()
        await served.restart()
        await until(lambda: ran == [1, 1])
        assert ended == [1]
        request.cancel()
        await until(lambda: ended == [1, 1])


# Containers that lie


@pytest.fixture
async def open_call(lied: Lied) -> AsyncIterator[tuple[Liar, bytes, list[Any], list[Any]]]:
    """A liar that has got a request, and what is run of what it calls."""
    container, liar = lied
    ran, ended = functions(worker_of(container))
    request = asyncio.ensure_future(container.call("anything", timeout=30))
    yield liar, await liar.request(), ran, ended
    request.cancel()
    await asyncio.wait([request])


async def test_a_call_inside_no_request_is_not_run(lied: Lied) -> None:
    container, liar = lied
    ran, _ = functions(worker_of(container))
    liar.say(b"c" * 16, call(b"p" * 16, 1))
    ((tag, record),) = await answers(liar, Kind.ERROR, Kind.RESPONSE)
    assert tag == b"c" * 16 and record[:3] == [Kind.ERROR, Code.CANCELLED, 0]
    request = asyncio.ensure_future(container.call("anything"))
    parent = await liar.request()
    liar.say(b"d" * 16, call(parent, 2, sequence=5))
    assert await answers(liar, Kind.ERROR, Kind.RESPONSE) == [(b"d" * 16, [Kind.RESPONSE, 1, 2])]
    liar.say(parent, [Kind.RESPONSE, 1, "reply"])
    assert await soon(request) == "reply"
    liar.say(b"d" * 16, call(parent, 2, sequence=5))
    ((_, record),) = await answers(liar, Kind.ERROR, Kind.RESPONSE)
    assert record[:3] == [Kind.ERROR, Code.CANCELLED, 1]  # it may have run: nobody knows any more
    liar.say(b"e" * 16, call(parent, 3, sequence=6))
    ((_, record),) = await answers(liar, Kind.ERROR, Kind.RESPONSE)
    assert record[:3] == [Kind.ERROR, Code.CANCELLED, 0]
    assert ran == [2]


async def test_a_call_that_comes_again_does_not_run_again(open_call: Any) -> None:
    liar, parent, ran, _ = open_call
    for _ in range(3):
        liar.say(b"c" * 16, call(parent, 1))
        assert await answers(liar, Kind.RESPONSE) == [(b"c" * 16, [Kind.RESPONSE, 1, 1])]
    liar.say(b"c" * 16, call(parent, 1, sequence=2))
    ((_, record),) = await answers(liar, Kind.ERROR)
    assert record[1] == Code.ID_REUSED
    liar.say(LINK_TAG, [Kind.RECEIVED, 9, b"c" * 16])
    liar.say(b"c" * 16, call(parent, 1))
    ((_, record),) = await answers(liar, Kind.ERROR)
    assert record[1:3] == [Code.STALE, 1]
    assert ran == [1]


async def test_a_request_that_is_issued_again_does_not_make_old_calls_new(lied: Lied) -> None:
    container, liar = lied
    ran, ended = functions(worker_of(container))
    request_id = uuid.uuid4()
    for sequence in (1, 2):
        request = asyncio.ensure_future(container.call("anything", request_id=request_id))
        assert await liar.request() == request_id.bytes
        liar.say(b"c" * 16, call(request_id.bytes, 1, function="wait"))
        if sequence == 1:
            await until(lambda: ran)
            request.cancel()
            await until(lambda: ended)
    ((tag, record),) = await answers(liar, Kind.ERROR)
    assert tag == b"c" * 16 and record[1:3] == [Code.STALE, 1]
    assert ran == [1]
    request.cancel()
    await asyncio.wait([request])


async def test_a_call_that_is_no_call(open_call: Any) -> None:
    liar, parent, ran, _ = open_call
    for record in (
        [*call(parent, 1)[:9]],
        [*call(parent, 1)[:9], b"p" * 16],
        call(parent, 1, op=Op.INVOKE),
        call(parent, op=Op.GETSTATE),
        call(parent, 1, function=None),
        call(parent, 1, sequence="1"),  # type: ignore[arg-type]
    ):
        liar.say(b"c" * 16, record)
        ((_, record),) = await answers(liar, Kind.ERROR)
        assert record[1:3] == [Code.MALFORMED, 0]
    liar.say(LINK_TAG, call(parent, 1))
    liar.say(b"x" * 16, [Kind.CANCEL])
    liar.say(LINK_TAG, [Kind.CANCEL])
    liar.say(b"x" * 16, [Kind.RECEIVED, 1, b""])
    liar.say(b"d" * 16, call(parent, 2))
    assert (await answers(liar, Kind.ERROR, Kind.RESPONSE))[0][1] == [Kind.RESPONSE, 1, 2]
    assert ran == [2]


async def test_a_call_under_the_id_of_its_own_request(open_call: Any) -> None:
    liar, parent, ran, _ = open_call
    liar.say(parent, call(parent, 1))
    assert await answers(liar, Kind.RESPONSE) == [(parent, [Kind.RESPONSE, 1, 1])]
    assert ran == [1]


async def test_a_cancel_right_behind_its_call_stops_it(open_call: Any) -> None:
    liar, parent, ran, ended = open_call
    record = liar.router.pack(call(parent, 1, function="wait"), [Kind.CANCEL], call(parent, 2, sequence=2))
    liar.router.send(liar.route, b"c" * 32 + b"d" * 16, record)
    assert (await answers(liar, Kind.RESPONSE))[0][0] == b"d" * 16
    assert (ran, ended) == ([2], [])


@pytest.mark.parametrize("inside", ["no request", "a request, without reading"])
async def test_a_flood_of_calls_is_cut(lied: Lied, inside: str) -> None:
    container, liar = lied
    ran, _ = functions(worker_of(container))
    request = asyncio.ensure_future(container.call("anything"))
    parent = await liar.request()
    events = worker_of(container).service().events()
    tags = [(b"%16d" % number) for number in range(250)]
    down = asyncio.ensure_future(event_of(events, LinkDown, 60.0))
    sequence = 0
    while not down.done():
        records = []
        for _ in tags:
            sequence += 1
            records.append(call(b"p" * 16 if inside == "no request" else parent, sequence, sequence=sequence))
        heads = b"".join(uuid.uuid4().bytes for _ in tags)
        liar.router.send(liar.route, heads, liar.router.pack(*records))
        await asyncio.sleep(0)
    event = down.result()
    assert "floods" in event.reason or "more of this engine than it takes answers for" in event.reason
    if inside == "no request":
        assert not ran
    request.cancel()
    await asyncio.wait([request])


# Engines that lie


@pytest.fixture
async def asking() -> AsyncIterator[tuple[ContainerServer, list[Any]]]:
    """A container whose handler calls its engine, and the outcomes."""
    outcomes: list[Any] = []
    async with ContainerServer(name="asking") as server:

        @server.function
        async def work(context: RequestContext) -> Any:
            try:
                outcomes.append(await context.call("note", 1))
            except Exception as error:
                outcomes.append(error)
            return "done"

        yield server, outcomes


def work() -> list[Any]:
    return [Kind.REQUEST, 1, None, 0, Op.CALL, "work", [], None, None]


async def greeted(server: ContainerServer, raw: Callable[[int], Raw], calls: int) -> Raw:
    engine = raw(zmq.DEALER).connect(await server.bind("tcp://127.0.0.1:0"))
    engine.send(LINK_TAG, engine.pack(wire.hello(uuid.uuid4(), 1, "raw", 60.0, Limits(), calls=calls)))
    assert engine.unpack(await engine.receive())[0][1][0] == Kind.WELCOME
    return engine


async def test_an_engine_that_takes_no_calls_gets_none(asking: Any, raw: Callable[[int], Raw]) -> None:
    server, outcomes = asking
    engine = await greeted(server, raw, 0)
    engine.send(b"p" * 16, engine.pack(work()))
    assert engine.unpack(await engine.receive()) == [(b"p" * 16, [Kind.RESPONSE, 1, "done"])]
    assert isinstance(outcomes[0], Unsupported) and "update it" in str(outcomes[0])


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ([Kind.RESPONSE, 1, "fine"], "fine"),
        ([Kind.RESPONSE, 7, "no such status"], ProtocolError),
        ([Kind.ERROR, Code.NO_SESSION, 0, 1, "again and again", None], ProtocolError),
        ([Kind.ERROR, Code.DRAINING, 0, 1, "again and again", None], ProtocolError),
        ([Kind.ERROR, 99, 0, 1, "unknown", None], ProtocolError),
        ([Kind.ERROR, "1", 0, 1, "of another type", None], ProtocolError),
        (None, ProtocolError),
    ],
)
async def test_an_engine_that_answers_as_it_likes(
    asking: Any, raw: Callable[[int], Raw], answer: Any, outcome: Any
) -> None:
    server, outcomes = asking
    engine = await greeted(server, raw, 10)
    for lie in ([Kind.RESPONSE, 1, 1], [Kind.ERROR, 3, 0, 1, "no", None], [Kind.STARTED], [Kind.RESPONSE, 9, 9]):
        engine.send(b"x" * 16, engine.pack(lie))  # there is no call yet
    engine.send(b"p" * 16, engine.pack(work()))
    ((tag, record),) = engine.unpack(await engine.receive())
    assert record[:7] == [Kind.REQUEST, 1, record[2], 0, Op.CALL, "note", [1]]
    assert record[9].data == b"p" * 16
    engine.send(b"x" * 16, engine.pack([Kind.RESPONSE, 1, 1]))
    engine.send(tag, b"\xc1" if answer is None else engine.pack(answer))
    assert engine.unpack(await engine.receive()) == [(b"p" * 16, [Kind.RESPONSE, 1, "done"])]
    assert outcomes[0] == outcome if isinstance(outcome, str) else isinstance(outcomes[0], outcome)
