"""Promise 11: handlers start in the order in which their requests were issued, in whatever bursts these are read."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.config import HeartbeatPolicy, Limits
from mpzmq.container.session_driver import SessionDriver
from mpzmq.handlers.registry import Function, Registry
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG, hello
from mpzmq.transport.interface import Delivery
from tests.support.waiting import until

if TYPE_CHECKING:
    from mpzmq.transport.interface import Frames, RouterHandler, SocketSettings

LIMITS = Limits()
ENCODER = Encoder(LIMITS)


class Silent:
    """A transport whose only socket takes everything; what arrives is handed to its driver by the test."""

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Any:
        return self

    def is_dialled(self, route: bytes) -> bool:
        return False

    def send(self, route: bytes, frames: Frames) -> Delivery:
        return Delivery.SENT

    def end_silent(self, seconds: float) -> None:
        pass

    async def close(self, linger: float) -> None:
        pass


@pytest.mark.parametrize("bursts", [*itertools.product(["plain", "task", "task plain"], repeat=4)], ids=" | ".join)
async def test_what_is_read_later_does_not_overtake(bursts: tuple[str, ...]) -> None:
    """Two bursts are read in one pass of the event loop; the third, due before the second, in the next one."""
    started: list[int] = []

    async def task(number: int) -> None:
        started.append(number)

    registry = Registry()
    registry.functions["plain"] = Function("plain", started.append)
    registry.functions["task"] = Function("task", task)
    driver = SessionDriver(uuid.uuid4(), "driver", registry, HeartbeatPolicy(), LIMITS, None, Silent())  # type: ignore[arg-type]
    driver.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(uuid.uuid4(), 1, "engine", 60.0, LIMITS))]])
    numbers, unread, loop = itertools.count(1), iter(bursts), asyncio.get_running_loop()

    def read() -> None:
        requests = [
            [Kind.REQUEST, number, None, 0, Op.CALL, name, [number], None, None]
            for name, number in zip(next(unread).split(), numbers, strict=False)
        ]
        tags = b"".join(uuid.uuid4().bytes for _ in requests)
        driver.on_messages([[b"route", tags, b"".join(map(ENCODER.pack, requests))]])

    def read_and_look_again() -> None:
        read()
        loop.call_soon(read)
        loop.call_soon(loop.call_soon, read)

    loop.call_soon(read_and_look_again)
    loop.call_soon(read)
    asked = sum(len(burst.split()) for burst in bursts)
    await until(lambda: len(started) == asked)
    assert started == sorted(started)
    await driver.close()


@pytest.mark.parametrize("behind", ["plain", "task"])
async def test_what_a_handler_lets_be_read_does_not_overtake_those_read_with_it(behind: str) -> None:
    """A handler that begins may let the socket be looked at, by what it sends: others of its burst have not begun."""
    started: list[int] = []
    numbers = itertools.count(1)
    driver: SessionDriver

    def read(*names: str) -> None:
        requests = [
            [Kind.REQUEST, number, None, 0, Op.CALL, name, [number], None, None]
            for name, number in zip(names, numbers, strict=False)
        ]
        tags = b"".join(uuid.uuid4().bytes for _ in requests)
        driver.on_messages([[b"route", tags, b"".join(map(ENCODER.pack, requests))]])

    async def task(number: int) -> None:
        started.append(number)
        if number == 2:
            read(behind)

    registry = Registry()
    registry.functions["plain"] = Function("plain", started.append)
    registry.functions["task"] = Function("task", task)
    driver = SessionDriver(uuid.uuid4(), "driver", registry, HeartbeatPolicy(), LIMITS, None, Silent())  # type: ignore[arg-type]
    driver.on_messages([[b"route", LINK_TAG, ENCODER.pack(hello(uuid.uuid4(), 1, "engine", 60.0, LIMITS))]])
    read("task", "task", "task")
    await until(lambda: len(started) == 4)
    assert started == [1, 2, 3, 4]
    await driver.close()
