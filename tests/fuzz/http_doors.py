"""The doors of HTTP: the gateway, and admin endpoints.

One input of the gateway is how its body comes in pieces, a method, a path, headers, an empty line, and the body. One
of an admin endpoint is how the bytes come in pieces, and the bytes, over a pair of real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from mpzmq import ContainerServer, RemoteError
from mpzmq.admin.http_server import HttpServer, Reply, Request, _Connection, text_reply
from mpzmq.asgi import gateway
from mpzmq.runtime.reach import is_known_host
from mpzmq.testing import connected

from .door import Door

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

__all__ = ["AdminDoor", "GatewayDoor"]

STATUSES = {200, 400, 404, 405, 406, 409, 413, 415, 422, 429, 502, 504}
"""Of the gateway. 500 would be a fault of its own, 503 of its containers, and 408 of a client that says no more."""

_HTTP = [
    b"\r\n", b"\r\n\r\n", b": ", b"GET ", b"HEAD ", b"POST ", b" HTTP/1.1", b"host", b"Host: ", b"localhost",
    b"[::1]:80", b"%00", b"/",
]  # fmt: skip


def _pieces(data: bytes) -> Iterator[bytes]:
    step = (data[0] if data else 0) * 3 + 1
    for begin in range(1, len(data), step):
        yield data[begin : begin + step]


def _server() -> ContainerServer:
    server = ContainerServer(name="fuzz")

    @server.function
    def add(a: int, b: int = 1) -> Any:
        return a + b

    @server.function
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @server.function
    def fail(code: str = "code", data: Any = None) -> None:
        raise RemoteError("it failed", code=code, data=data)

    @server.function
    async def few(fail: bool = False) -> AsyncIterator[int]:
        for number in range(3):
            yield number
        if fail:
            raise ValueError

    @server.function
    async def total(items: AsyncIterator[Any]) -> Any:
        return [item async for item in items]

    @server.function
    async def talk(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in items:
            yield item

    return server


class _LoopDoor(Door):
    """An event loop that runs while an input is pushed, and not between."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()

    def close(self) -> None:
        """Ends everything."""
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class GatewayDoor(_LoopDoor):
    """A gateway with a container behind it."""

    tokens: ClassVar = [
        b"accept: ", b"content-type: application/json\n", b"content-type: application/x-ndjson\n",
        b"text/event-stream", b"*/*", b"application/json", b";q=0.5", b"mpzmq-timeout: ", b"1e-9", b"1e400",
        b"idempotency-key: ", b"6ba7b810-9dad-41d1-80b4-00c04fd430c8", b"content-length: ", b"origin: null\n",
        b'{"$b64":"aGk="}', b'{"$map":[[1,2]]}', b'{"$uuid":', b'{"$float":"nan"}', b"1e999", b"9" * 30, b"[", b"]",
        b"{", b"}", b",", b'"', b"\n", b"\n\n", b"POST /call/", b"/openapi.json", b"/healthz", b"echo", b"\\ud800",
        b"\xff",
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._server = _server()
        self._pushed = 0
        logger = logging.getLogger("mpzmq")
        self.stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)  # each error of a handler has a traceback
        self._app = gateway(self.loop.run_until_complete(self._open()), allow=["*"], max_body=10_000)

    async def _open(self) -> Any:
        return await self.stack.enter_async_context(connected(self._server))

    def push(self, data: bytes) -> int:
        """One input; returns 1 when a function was called."""
        return self.loop.run_until_complete(self._ask(data))

    async def _ask(self, data: bytes) -> int:
        head, _, body = data[1:].partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, path = first.decode(errors="replace").partition(" ")
        scope = {
            "type": "http", "method": method or "POST", "path": path or "/", "query_string": b"", "root_path": "",
            "headers": [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)],
        }  # fmt: skip
        pieces = [*_pieces(data[:1] + body), b""]
        messages: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        async with asyncio.timeout(20):
            await self._app(scope, receive, send)
        start, *rest = messages
        assert start["status"] in STATUSES, (start, rest)
        assert rest and not rest[-1].get("more_body", False)
        said = b"".join(message.get("body", b"") for message in rest)
        headers = dict(start["headers"])
        assert all(b"\n" not in value and b"\r" not in value for value in headers.values())
        if headers[b"content-type"] == b"application/json" and method != "HEAD":
            assert int(headers[b"content-length"]) == len(said)
            document = json.loads(said)
            assert start["status"] == 200 or document["executed"] == document["error"]["executed"]
        self._pushed += 1
        if self._pushed % 200 == 0:
            async with asyncio.timeout(20):
                while self._server.statistics().in_flight:  # noqa: ASYNC110  (nothing tells of it)
                    await asyncio.sleep(0)
        return int(start["status"] in (200, 502) and path.startswith("/call/"))


class AdminDoor(_LoopDoor):
    """The HTTP server of admin endpoints."""

    tokens: ClassVar = _HTTP

    def __init__(self) -> None:
        super().__init__()
        self._http = HttpServer(self._respond)
        self.loop.run_until_complete(self._http.listen("127.0.0.1", 0))
        self.stack.push_async_callback(self._http.close)

    @staticmethod
    async def _respond(request: Request) -> Reply:
        assert request.method in ("GET", "HEAD") and request.path.startswith("/")
        is_known_host(request.host, ("admin.example.org",))
        return text_reply(HTTPStatus.OK, request.path)

    def push(self, data: bytes) -> int:
        """One input; returns 1 when it was a request."""
        return self.loop.run_until_complete(self._ask(data))

    async def _ask(self, data: bytes) -> int:
        own, far = socket.socketpair()
        own.setblocking(False)
        with own:
            await self.loop.connect_accepted_socket(partial(_Connection, self._http), far)
            said = b""
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    for piece in _pieces(data):
                        await self.loop.sock_sendall(own, piece)
                        await asyncio.sleep(0)
                    own.shutdown(socket.SHUT_WR)
                    while part := await self.loop.sock_recv(own, 65_536):
                        said += part
        if not said:
            return 0  # it was closed on half a request, or on too much behind one
        head, _, body = said.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = int(first.removeprefix(b"HTTP/1.1 ")[:3])
        assert status in (200, 400, 405, 413, 431), said
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(body) in (0, int(headers[b"Content-Length"]))
        return int(status == 200)
