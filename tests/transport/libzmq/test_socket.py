"""A zmq socket on the event loop: routes that were cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq.transport.libzmq.socket import DROP_BURST, MAX_UNWANTED, READ_BURST, READ_BYTES, Routed, ZmqSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpzmq.transport.interface import Frames


@pytest.mark.parametrize("endpoint", ["inproc://cut", "tcp://127.0.0.1:*"])
async def test_nothing_of_a_route_that_was_cut_is_told(endpoint: str) -> None:
    """Also where libzmq does not say which connection it is (inproc has none): frames stay in step."""
    told: list[Frames] = []
    ended: list[int] = []
    arrived = asyncio.Event()

    def on_messages(messages: Sequence[Frames]) -> None:
        told.extend(messages)
        arrived.set()

    with zmq.Context() as context, context.socket(zmq.DEALER) as one, context.socket(zmq.DEALER) as other:
        raw = context.socket(zmq.ROUTER)
        raw.bind(endpoint)
        one.connect(raw.getsockopt_string(zmq.LAST_ENDPOINT))
        other.connect(raw.getsockopt_string(zmq.LAST_ENDPOINT))
        loop = asyncio.get_running_loop()
        socket = ZmqSocket(raw, loop, on_messages, lambda: None, routed=Routed.PLAIN, shut=ended.append)
        try:
            one.send_multipart([b"hello", b"", b"x"])
            await asyncio.wait_for(arrived.wait(), 10)
            route, *frames = told.pop()
            assert frames == [b"hello", b"", b"x"]
            socket.cut(bytes(route))
            for _ in range(DROP_BURST + 10):
                one.send_multipart([b"a", b"", b"b", b"c"])
            arrived.clear()
            other.send_multipart([b"others", b"are", b"heard"])
            await asyncio.wait_for(arrived.wait(), 10)
            assert [frames[1:] for frames in told] == [[b"others", b"are", b"heard"]]
            assert len(ended) == (endpoint[:3] == "tcp")
            for number in range(MAX_UNWANTED):
                socket.cut(b"%d" % number)
            assert len(socket._unwanted) == MAX_UNWANTED
        finally:
            socket.close()
            one.set(zmq.LINGER, 0)
            other.set(zmq.LINGER, 0)


@pytest.mark.parametrize(("size", "most"), [(1, READ_BURST), (READ_BYTES // 4, 4), (2 * READ_BYTES, 1)])
async def test_a_burst_is_bounded_in_messages_and_in_bytes(size: int, most: int) -> None:
    """Whoever floods has no more than that in front of the others."""
    bursts: list[int] = []
    count = 3 * READ_BURST
    arrived = asyncio.Event()

    def on_messages(messages: Sequence[Frames]) -> None:
        bursts.append(len(messages))
        if sum(bursts) == count:
            arrived.set()

    with zmq.Context() as context, context.socket(zmq.PUSH) as one:
        raw = context.socket(zmq.PULL)
        raw.bind("inproc://bursts")
        one.connect("inproc://bursts")
        for _ in range(count):
            one.send(bytes(size))
        socket = ZmqSocket(raw, asyncio.get_running_loop(), on_messages, lambda: None)
        try:
            socket.drain(1)
            assert bursts == [most], "a drain reads no more than it was asked for, rounded up to a burst"
            await asyncio.wait_for(arrived.wait(), 10)
        finally:
            socket.close()
    assert max(bursts) == most
