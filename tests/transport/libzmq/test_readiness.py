"""Many sockets of one event loop: asked together whether they can be read, and none is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from functools import partial
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq.transport.libzmq.readiness import MANY, ReadinessCheck, readiness_check
from mpzmq.transport.libzmq.socket import ZmqSocket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mpzmq.transport.interface import Frames

BURST = 5


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as made:
        made.linger = 0
        yield made


def pair(context: zmq.Context[zmq.Socket[bytes]], name: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    near, far = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    near.bind(f"inproc://{name}")
    far.connect(f"inproc://{name}")
    return near, far


@pytest.mark.parametrize("count", [MANY - 1, MANY])
async def test_each_message_is_read_where_there_are_many_sockets_and_where_there_are_few(
    context: zmq.Context[zmq.Socket[bytes]], count: int
) -> None:
    """Also those that have come before anybody waited for a signal, and those whose signal a send has used up."""
    loop = asyncio.get_running_loop()
    told: list[list[bytes]] = [[] for _ in range(count)]
    finished = asyncio.Event()
    sockets: list[ZmqSocket] = []

    def reader_of(number: int) -> None:
        def on_messages(messages: Sequence[Frames]) -> None:
            for (frame,) in messages:
                told[number].append(bytes(frame))
                # What an echo brings in again: its signal comes while this socket sends.
                sockets[number].send([frame])
                if len(told[number]) <= BURST:
                    fars[number].send(b"again %d" % len(told[number]))
            if all(len(each) == 2 * BURST for each in told):
                finished.set()

        sockets.append(ZmqSocket(nears[number], loop, on_messages, lambda: None))

    nears, fars = zip(*(pair(context, str(number)) for number in range(count)), strict=True)
    with contextlib.ExitStack() as stack:
        for far in fars:
            stack.callback(far.close)
            for number in range(BURST):
                far.send(b"%d" % number)
        for number in range(count):
            reader_of(number)
            stack.callback(sockets[number].close)
        assert readiness_check(loop).is_shared == (count >= MANY)
        await asyncio.wait_for(finished.wait(), 10)
    first = [b"%d" % number for number in range(BURST)]
    assert told == [first + [b"again %d" % number for number in range(1, BURST + 1)]] * count
    assert not readiness_check(loop).is_shared


async def test_a_drain_reads_all_where_there_are_many_sockets(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """It comes before somebody is judged for silence."""
    loop = asyncio.get_running_loop()
    told: list[Frames] = []
    near, far = pair(context, "drained")
    readiness = readiness_check(loop)
    for _ in range(MANY):
        readiness.join()
    socket = ZmqSocket(near, loop, told.extend, lambda: None)
    try:
        for _ in range(BURST):
            far.send(b"x")
        socket.drain(BURST)
        assert len(told) == BURST
    finally:
        socket.close()
        far.close()


async def test_a_closed_socket_does_not_stand_in_the_way_of_others(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """libzmq would take it for standard input."""
    loop = asyncio.get_running_loop()
    readiness = ReadinessCheck()
    asked: list[str] = []
    done = asyncio.Event()

    def on_readable(name: str) -> None:
        asked.append(name)
        done.set()

    ends = [pair(context, name) for name in ("closed", "open")]
    for name, (near, far) in zip(("closed", "open"), ends, strict=True):
        far.send(b"x")
        readiness.join()
        readiness.schedule(loop, near, partial(on_readable, name))
    readiness.leave(ends[0][0])
    ends[0][0].close()
    await asyncio.wait_for(done.wait(), 10)
    assert asked == ["open"]
    for end in ends:
        for socket in end:
            socket.close()


def test_it_does_not_outlive_its_event_loop() -> None:
    loop = asyncio.new_event_loop()
    readiness = weakref.ref(readiness_check(loop))
    assert readiness() is readiness_check(loop)
    loop.close()
    del loop
    gc.collect()
    assert readiness() is None
