"""A message over which this side itself fails ends its own connection, and takes nothing else along."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from mpzmq import ComputerEngineWorker, ContainerServer, LinkDown
from mpzmq.transport.libzmq.transport import ZmqTransport
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest

    from mpzmq.transport.interface import Frames, Transport

POISON = "poisoned"


class _Unreadable(list[Any]):
    """The frames of a message, of which only the route can be had."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            raise LookupError("unreadable")
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[NoReturn]:
        raise LookupError("unreadable")


class _Handler:
    """Takes what a socket has read, and spoils one message."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._spoiled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def on_messages(self, messages: Sequence[Frames]) -> None:
        self._handler.on_messages([self._read(frames) for frames in messages])

    def _read(self, frames: Frames) -> Frames:
        if self._spoiled or not any(POISON.encode() in bytes(frame) for frame in frames):
            return frames
        self._spoiled = True
        return _Unreadable(frames)


class _Spoiling:
    """libzmq, but for one message."""

    def __init__(self) -> None:
        self._transport: Transport = ZmqTransport()

    def router(self, settings: Any, handler: Any) -> Any:
        return self._transport.router(settings, _Handler(handler))

    def dealer(self, endpoint: str, settings: Any, handler: Any) -> Any:
        return self._transport.dealer(endpoint, settings, _Handler(handler))

    async def release(self) -> None:
        await self._transport.release()


async def test_a_container_fails_over_one_message(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[Any] = []
    server = ContainerServer(heartbeat=QUICK)
    server._transport = _Spoiling()

    @server.function
    async def work(what: Any) -> Any:
        ran.append(what)
        await asyncio.sleep(0)
        return what

    options: Any = {"reconnect": REDIAL, "heartbeat": QUICK}
    async with server, ComputerEngineWorker(**options) as worker, ComputerEngineWorker(**options) as another:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        first = await worker.connect(uuid.uuid4(), endpoint)
        second = await another.connect(uuid.uuid4(), endpoint)
        events = worker.service().events()
        asked = [(container, number) for number in range(20) for container in (first, second)]
        asked.insert(20, (first, POISON))  # type: ignore[arg-type]
        answers = await soon(asyncio.gather(*(container.call("work", what) for container, what in asked)))
        assert answers == [what for _, what in asked]
        assert (await event_of(events, LinkDown)).remote_id == first.remote_id
        assert (first.statistics().reconnects, second.statistics().reconnects) == (1, 0)
        assert adds_up(first.statistics()) and adds_up(second.statistics())
        assert sorted(map(str, ran)) == sorted(str(what) for _, what in asked)
        await until(lambda: not server.statistics().in_flight)
    assert "the container failed over a message" in caplog.text


async def test_an_engine_fails_over_one_message(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[Any] = []
    worker = ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK)
    worker._transport = _Spoiling()
    async with ContainerServer(heartbeat=QUICK) as server, ContainerServer(heartbeat=QUICK) as another, worker:
        for one in (server, another):

            @one.function
            async def work(what: Any) -> Any:
                ran.append(what)
                return f"{POISON} answer" if what == POISON else what

        first = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        second = await worker.connect(uuid.uuid4(), await another.bind("tcp://127.0.0.1:0"))
        asked: list[Any] = [(container, number) for number in range(20) for container in (first, second)]
        poisoned = asyncio.create_task(first.call("work", POISON))
        answers = await soon(asyncio.gather(*(container.call("work", what) for container, what in asked)))
        assert answers == [what for _, what in asked]
        assert await soon(poisoned) == f"{POISON} answer"
        assert (first.statistics().reconnects, second.statistics().reconnects) == (1, 0)
        assert ran.count(POISON) == 1 and len(ran) == 41
        assert adds_up(worker.service().statistics())
    assert "a message could not be processed" in caplog.text
