"""A featureless ping-pong over a plain zmq socket on the event loop: what mpzmq's own way of driving sockets costs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call


class FdReader(AsyncPeer):
    """``loop.add_reader`` on the socket's descriptor, sends at once, one future a request, replies in order."""

    name = "fd-reader"
    title = "FD reader, no features"
    unfair = "It sends raw bytes: no encoding, ids, deadlines, errors, batches or liveness. Replies must come in order."

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo ROUTER."""
        import zmq

        context = zmq.Context()
        socket = context.socket(zmq.ROUTER)
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def on_ready() -> None:
            while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                with contextlib.suppress(zmq.Again):
                    while True:
                        socket.send_multipart(socket.recv_multipart(zmq.NOBLOCK), zmq.NOBLOCK)

        asyncio.get_running_loop().add_reader(int(socket.get(zmq.FD)), on_ready)
        ready([f"tcp://127.0.0.1:{port}"])
        await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One DEALER."""
        import zmq

        loop = asyncio.get_running_loop()
        waiting: deque[asyncio.Future[bytes]] = deque()
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.set(zmq.LINGER, 0)
            socket.connect(endpoints[0])

            def on_ready() -> None:
                while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                    with contextlib.suppress(zmq.Again):
                        while True:
                            reply = socket.recv(zmq.NOBLOCK)
                            waiting.popleft().set_result(reply)

            def call(payload: Any) -> asyncio.Future[bytes]:
                future: asyncio.Future[bytes] = loop.create_future()
                waiting.append(future)
                socket.send(payload, zmq.NOBLOCK)
                # libzmq's descriptor is edge-triggered: without another look wake-ups are missed.
                if int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                    loop.call_soon(on_ready)
                return future

            descriptor = int(socket.get(zmq.FD))
            loop.add_reader(descriptor, on_ready)
            try:
                yield [call]
            finally:
                loop.remove_reader(descriptor)

    def supports(self, scenario: Scenario) -> bool:
        """One request at a time: more is what the others are for."""
        return scenario.containers == 1 and scenario.kind == "bytes" and scenario.in_flight == 1


PEER = FdReader()
