"""Callers that go in other ways than by being cancelled, and callers that do not wait in line."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, Limits, Overloaded, RequestContext
from mpzmq.runtime import names
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import ComputerEngineWriter
    from tests.support.raw import Liar, Raw


class OddError(Exception):
    """Whatever is thrown into a coroutine."""


def leave(coroutine: Any, how: str) -> None:
    """Ends a coroutine that has begun and waits."""
    coroutine.send(None)
    if how == "closed":
        coroutine.close()
        return
    with pytest.raises(OddError):
        coroutine.throw(OddError())


@pytest.mark.parametrize("how", ["closed", "thrown"])
async def test_a_call_whose_coroutine_is_ended_takes_no_other_along(
    lied: tuple[ComputerEngineWriter, Liar], how: str
) -> None:
    container, liar = lied
    leave(container.request("gone", timeout=0.2), how)
    assert container.statistics().cancelled == 1
    waiting = asyncio.create_task(container.request("stays"))
    gone, stays = await liar.requests(2)
    answers = [[1, "late"], [1, "done"]]
    liar.say(gone + stays, *[[4, *answer] for answer in answers])
    assert await soon(waiting) == "done"
    assert adds_up(container.statistics()) and not container.statistics().in_flight


@pytest.mark.parametrize("how", ["closed", "thrown"])
async def test_a_call_of_a_handler_whose_coroutine_is_ended(how: str) -> None:
    server = ContainerServer(heartbeat=QUICK)
    worker = ComputerEngineWorker(heartbeat=QUICK, reconnect=REDIAL)
    begun: list[int] = []

    @worker.function
    async def wait(number: int) -> None:
        begun.append(number)
        await asyncio.Event().wait()

    worker.function(lambda: "here", name="fine")

    @server.function
    async def work(context: RequestContext) -> Any:
        leave(context.call("wait", 1, timeout=0.2), how)
        return await context.call("fine")

    async with server, worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        for _ in range(3):
            assert await soon(container.call("work")) == "here"


async def test_who_does_not_wait_is_refused_at_once_where_others_wait_in_front() -> None:
    server = ContainerServer(heartbeat=QUICK)
    server.on_invoke(lambda data: len(data))
    limits = Limits(queued_bytes=100_000)
    async with server, ComputerEngineWorker(heartbeat=QUICK, limits=limits) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        loop = asyncio.get_running_loop()
        calls = [loop.create_task(container.request(bytes(60_000))) for _ in range(8)]
        await asyncio.sleep(0)  # the first of them has left, the second waits to leave, the third for room
        assert container._connection.queue.waiting
        with pytest.raises(Overloaded, match="not ended"):
            await container.request("small", wait=False)
        assert await soon(asyncio.gather(*calls)) == [60_000] * 8
        assert adds_up(container.statistics())


async def test_who_waited_for_room_and_is_closed_is_counted(raw: Callable[[int], Raw]) -> None:
    async with ComputerEngineWorker(limits=Limits(in_flight=1), reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), raw(zmq.ROUTER).bind().endpoint, wait=False)
        first = asyncio.create_task(container.request("fills the link"))
        await until(lambda: container.statistics().in_flight == 1)
        leave(container.request("waits"), "closed")
        counted = container.statistics()
        assert (counted.issued, counted.cancelled, counted.in_flight) == (2, 1, 1)
        first.cancel()
        await asyncio.wait([first])


async def test_a_lookup_that_fails_behind_who_has_asked_is_no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def fails(*given: Any, **named: Any) -> Any:
        go_on.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    heard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(names.resolve("nobody.example", 1), 0.01)
    go_on.set()
    await until(lambda: not names._under_way)
    gc.collect()
    await asyncio.sleep(0)
    assert not heard
