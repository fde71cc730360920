"""grpc.aio with a generic handler and MessagePack, so that both sides carry the same values."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgpack

from .base import AsyncPeer, serve_until_killed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call, Open

OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class GrpcAio(AsyncPeer):
    """One unary method, and one that streams its responses."""

    name = "grpc"
    title = "grpc.aio"
    unfair = "HTTP/2 with its headers and flow control; it has deadlines, errors, TLS and many languages as well."
    needs = ("grpc",)

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo, and a stream."""
        import grpc.aio

        async def echo(request: Any, context: Any) -> Any:
            return request

        async def items(count: int, context: Any) -> AsyncIterator[bytes]:
            item = bytes(scenario.size)
            for _ in range(count):
                yield item

        handlers = {
            "echo": grpc.unary_unary_rpc_method_handler(echo, msgpack.unpackb, msgpack.packb),
            "items": grpc.unary_stream_rpc_method_handler(items, msgpack.unpackb, msgpack.packb),
        }
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ready([f"127.0.0.1:{port}"])
        await serve_until_killed()

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """One channel."""
        import grpc.aio

        async with grpc.aio.insecure_channel(endpoints[0], options=OPTIONS) as channel:
            yield [channel.unary_unary("/bench/echo", msgpack.packb, msgpack.unpackb)]

    @contextlib.asynccontextmanager
    async def streaming(self, endpoints: Sequence[str]) -> AsyncIterator[Open]:
        """The same channel."""
        import grpc.aio

        async with grpc.aio.insecure_channel(endpoints[0], options=OPTIONS) as channel:
            yield channel.unary_stream("/bench/items", msgpack.packb, msgpack.unpackb)

    def supports(self, scenario: Scenario) -> bool:
        """All but memoryviews, which MessagePack turns into bytes."""
        return scenario.containers == 1 and scenario.kind != "view"


PEER = GrpcAio()
