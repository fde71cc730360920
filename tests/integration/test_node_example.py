"""The example in Node, against Python: both directions, a restart, and a drain."""

from __future__ import annotations

import asyncio
import signal
import uuid
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerServer,
    Executed,
    MessageTooLarge,
    RemoteError,
    RequestTimeout,
    Status,
    Unsupported,
)
from mpzmq.protocol.wire.kinds import Code, Kind
from tests.support.node import Served
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.raw import Raw


BOMB = b"\xdc\xff\xff" * 300_000
"""Arrays of 65,535 elements in each other, as they say: memory for all of them would be 150 GB."""
UNREADABLE = (
    (b"short", b"\xc1"),
    (LINK_TAG,),
    (LINK_TAG, b""),
    (LINK_TAG, b"\xc1"),
    (LINK_TAG, BOMB),
    (bytes(range(16)), b"\xdd\xff\xff\xff\xff"),
    (LINK_TAG, b"\x91\x63", b"a buffer that nothing refers to"),
    (LINK_TAG, b"\xd9\x05hello"),
)


@pytest.fixture
async def node(node_example: Path) -> AsyncIterator[Served]:
    async with Served(["node", "serve.mjs"], node_example) as container:
        yield container


async def test_python_calls_node(node: Served) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        assert await soon(container.call("add", 1, 2)) == 3
        assert await soon(container.get_state()) is Status.RUNNING
        data = {"list": [1, 2.5, None, True, "\N{ROCKET}"], "bytes": b"small", "large": bytes(100_000)}
        assert await soon(container.request(data)) == data
        with pytest.raises(RemoteError, match="odd") as raised:
            await soon(container.call("fail", "odd"))
        assert raised.value.error_type == "TypeError" and raised.value.executed is Executed.YES
        with pytest.raises(Unsupported, match="there is no function nothing"):
            await soon(container.call("nothing"))
        with pytest.raises(RequestTimeout) as late:
            await soon(container.call("later", 1, 30.0, timeout=0.3))
        assert late.value.executed is Executed.YES
        with pytest.raises(MessageTooLarge):
            await soon(container.call("add", bytes(2_000_000), 1))
        sums = await soon(asyncio.gather(*(container.call("add", number, 1) for number in range(3000))))
        assert sums == list(range(1, 3001))
        assert adds_up(container.statistics()) and not container.statistics().in_flight


async def test_nothing_that_a_stranger_sends_ends_node(node: Served, raw: Callable[[int], Raw]) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        peer = raw(zmq.DEALER).connect(node.endpoint)
        for hello in (
            [1],
            [1, "x"],
            [1, [99], None, 1],
            [1, [1], "no session", 1],
            [1, [1], uuid.uuid4(), "one", 5, 6, 7],
        ):
            peer.send(LINK_TAG, peer.pack(hello))
            ((_, answer),) = peer.unpack(await peer.receive())
            assert answer[0] == Kind.GOODBYE
        assert (await peer.greet())[0] == Kind.WELCOME
        for record in (
            [3],
            [3, 1, "soon", 0, 3, "add", [1, 2], None, None],
            [3, 1, None, 0, 3, "add", 5, None, None],
        ):
            tag = uuid.uuid4().bytes
            peer.send(tag, peer.pack(record))
            ((answered, answer),) = peer.unpack(await peer.receive())
            assert (answered, answer[:3]) == (tag, [Kind.ERROR, Code.MALFORMED, 0])
        for frames in UNREADABLE:
            peer.send(*frames)
        peer.send(uuid.uuid4().bytes, peer.pack([3, 2, None, 0, 3, "x" * 1_000_000, [], None, None]))
        ((_, answer),) = peer.unpack(await peer.receive())
        assert answer[:3] == [Kind.ERROR, Code.UNSUPPORTED, 0]
        assert await soon(container.call("add", 1, 2)) == 3


async def test_nothing_that_a_liar_answers_ends_the_client(node_example: Path, raw: Callable[[int], Raw]) -> None:
    liar = raw(zmq.ROUTER).bind()

    async def greeted(*fields: object) -> bytes:
        route, *frames = await liar.receive()
        ((tag, hello),) = liar.unpack(frames)
        assert (tag, hello[:2], hello[3]) == (LINK_TAG, [Kind.HELLO, [2]], 1)
        for unreadable in UNREADABLE:
            liar.send(route, *unreadable)
        liar.send(route, LINK_TAG, liar.pack([2, 2, uuid.uuid4(), 1, *fields]))
        return route

    process = await asyncio.create_subprocess_exec(
        "node", "call.mjs", liar.endpoint, "add", "1", "2", cwd=node_example, stdout=asyncio.subprocess.PIPE
    )
    route = await greeted(False, 1, "liar", 2.0, "no window", {})
    ((_, answer),) = liar.unpack((await liar.receive())[1:])
    assert answer == [Kind.GOODBYE, 6, "WELCOME is wrong: window"]
    route = await greeted(False, 1, "liar", 2.0, [8, 1 << 20], {"message_bytes": 1 << 20, "more": 1})
    _, tag, body = await liar.receive()
    for odd in (LINK_TAG, [99, 1]), (LINK_TAG, [2]), (LINK_TAG, [9]), (uuid.uuid4().bytes, [4, 1, 4]), (tag, [4]):
        liar.send(route, odd[0], liar.pack(odd[1]))
    for unreadable in UNREADABLE:
        liar.send(route, *unreadable)
    liar.send(route, tag, body)
    liar.send(route, tag, liar.pack([4, 1, 3]))
    out, _ = await soon(process.communicate())
    assert (process.returncode, out) == (0, b"3\n")


async def test_a_restart_of_node_is_told_as_it_is(node: Served) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        lost = asyncio.create_task(container.call("later", "lost", 30.0))
        again = asyncio.create_task(container.call("later", "again", 0.5, idempotent=True))
        await until(lambda: container.statistics().in_flight == 2)
        await node.end(signal.SIGKILL)
        await node.start()
        with pytest.raises(ConnectionLost):
            await soon(lost)
        assert await soon(again) == "again"
        assert await soon(container.call("add", 1, 1)) == 2


async def test_node_drains(node: Served) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(node.endpoint)
        running = asyncio.create_task(container.call("later", "done", 0.5))
        await until(lambda: container.statistics().in_flight == 1)
        assert await soon(container.call("add", 1, 1)) == 2  # behind it, so that it has begun
        node.process.send_signal(signal.SIGTERM)
        assert await soon(running) == "done"
        assert await soon(node.process.wait()) == 0


async def test_node_calls_python(node_example: Path) -> None:
    server = ContainerServer(heartbeat=QUICK)
    server.function(lambda a, b: a + b, name="add")

    @server.function
    def fail(text: str) -> None:
        raise ValueError(text)

    async def call(*args: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            "node",
            "call.mjs",
            *args,
            cwd=node_example,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await soon(process.communicate())
        return process.returncode, out.decode().strip()

    async with server:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        assert await call(endpoint, "add", "1", "2.5") == (0, "3.5")
        assert await call(endpoint, "fail", '"odd"') == (1, "odd (executed: YES)")
        code, text = await call(endpoint, "nothing")
        assert code == 1 and "it has no function 'nothing'" in text and text.endswith("(executed: NO)")
        counted = server.statistics()
        assert (counted.replied, counted.failed, counted.refused, counted.in_flight) == (1, 1, 1, 0)
