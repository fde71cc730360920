"""zmq.asyncio as its documentation shows it: await the send, await the receive, a task that hands replies out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from .base import AsyncPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call


class ZmqAsyncio(AsyncPeer):
    """``zmq.asyncio.Context``, MessagePack, a number for each request."""

    name = "zmq-asyncio"
    title = "zmq.asyncio"
    unfair = "No deadlines, errors, batches or liveness: the fifty lines that one writes first."

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo ROUTER."""
        import msgpack
        import zmq
        import zmq.asyncio

        context = zmq.asyncio.Context()
        socket = context.socket(zmq.ROUTER)
        ready([f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"])
        while True:
            route, number, body = await socket.recv_multipart()
            await socket.send_multipart([route, number, msgpack.packb(msgpack.unpackb(body))])

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One DEALER, and a task that reads."""
        import msgpack
        import zmq
        import zmq.asyncio

        loop = asyncio.get_running_loop()
        waiting: dict[bytes, asyncio.Future[Any]] = {}
        numbers = itertools.count()
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.set(zmq.LINGER, 0)
            socket.connect(endpoints[0])

            async def read() -> None:
                while True:
                    number, body = await socket.recv_multipart()
                    waiting.pop(number).set_result(msgpack.unpackb(body))

            async def call(payload: Any) -> Any:
                number = next(numbers).to_bytes(8, "big")
                waiting[number] = future = loop.create_future()
                await socket.send_multipart([number, msgpack.packb(payload)])
                return await future

            reading = asyncio.create_task(read())
            try:
                yield [call]
            finally:
                reading.cancel()

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = ZmqAsyncio()
