"""A small HTTP/1.1 server for GET and HEAD, which bears hostile clients: everything of it has a bound.

One request a connection, and no body of a request: what stands behind the head is thrown away. A slow client costs a
timer, a silent one its place: where all places are taken, the connection that is there for longest is closed for the
next one, so that whoever holds hundreds open keeps nobody else out.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import weakref
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.logs import Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["HttpServer", "Reply", "Request", "text_reply"]

log = Log(__name__)

MAX_HEAD = 8192
"""Bytes of a request line and its headers."""

MAX_CONNECTIONS = 64
"""At the same time."""

BACKLOG = 16
"""Connections that the system keeps until they are accepted; so many at most are accepted in one pass of the event
loop, which requests to the process have to share with them."""

REQUEST_SECONDS = 5.0
"""For a request to arrive."""

REPLY_SECONDS = 10.0
"""For a reply to be taken."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_ALWAYS = (
    "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
)


_listening: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forked() -> None:
    """In a child process: the port is the parent's, and free when that has ended."""
    for listening in list(_listening):
        listening.close()


os.register_at_fork(after_in_child=_forked)


class Request(NamedTuple):
    """What a client asks for.

    Attributes:
        method: ``"GET"`` or ``"HEAD"``.
        path: without what stands behind a question mark.
        host: the ``Host`` that it names; None: an HTTP/1.0 client that names none.
    """

    method: str
    path: str
    host: str | None


class Reply(NamedTuple):
    """What it is answered."""

    status: HTTPStatus
    body: bytes
    content_type: str
    headers: Mapping[str, str] = {}

    def head(self) -> bytes:
        """The status line and the headers."""
        lines = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: {self.content_type}\r\n"
        lines += f"Content-Length: {len(self.body)}\r\n{_ALWAYS}"
        return "".join([lines, *(f"{name}: {value}\r\n" for name, value in self.headers.items()), "\r\n"]).encode()


def text_reply(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A line or more for people."""
    return Reply(status, f"{text}\n".encode(errors="replace"), "text/plain; charset=utf-8", headers or {})


class HttpServer:
    """Listens on one address, and answers.

    Args:
        respond: makes the reply to a request; what it raises is logged, and answered with 500.
    """

    def __init__(self, respond: Callable[[Request], Awaitable[Reply]]) -> None:
        self.respond = respond
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, None] = {}  # in the order in which they came

    async def listen(self, host: str, port: int) -> int:
        """Begins to listen; returns the port.

        Raises:
            OSError: it cannot listen there.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        _listening.add(listening)
        make = partial(_Connection, self)
        self._server = await loop.create_server(make, sock=listening, backlog=BACKLOG, start_serving=False)
        await self._server.start_serving()
        bound: int = listening.getsockname()[1]
        return bound

    async def close(self) -> None:
        """Ends all connections."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        answering = [connection.answering for connection in self._connections if connection.answering is not None]
        for connection in list(self._connections):
            connection.abort()
        while self._connections:  # noqa: ASYNC110  (each hears of its end in the next pass of the event loop)
            await asyncio.sleep(0)
        if answering:
            await asyncio.wait(answering)
        await server.wait_closed()

    def add(self, connection: _Connection) -> bool:
        """A client has come. Returns whether it may stay."""
        if self._server is None:
            return False
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.abort()
        self._connections[connection] = None
        return True

    def remove(self, connection: _Connection) -> None:
        """It has gone."""
        self._connections.pop(connection, None)


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: Any  # that of uvloop is no asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._head = bytearray()
        self._surplus = 0
        self.answering: asyncio.Task[None] | None = None
        self._is_heard = self._is_answered = self._has_ended = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self._server.add(self):
            self._timer = self._loop.call_later(REQUEST_SECONDS, self._be_late)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_heard:  # a body, or another request: nobody reads it, and closing on it could cost the reply
            self._surplus += len(data)
            if self._surplus > MAX_HEAD:
                self.abort()
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end >= 0:
            self._surplus = len(self._head) - end - 4
            self._hear(_parsed(bytes(self._head[:end])))
        elif not 65 <= self._head[0] <= 90:  # no letter, as from a client that speaks TLS
            self._hear(text_reply(HTTPStatus.BAD_REQUEST, "this is plain HTTP/1.1"))
        elif len(self._head) >= MAX_HEAD:
            text = f"a request has at most {MAX_HEAD} bytes"
            self._hear(text_reply(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text))

    def eof_received(self) -> bool:
        # A client may say that it has no more to ask, and wait for its reply.
        self._has_ended = True
        return self._is_heard and not self._is_answered

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.answering is not None:
            self.answering.cancel()
        self._server.remove(self)

    def abort(self) -> None:
        """Ends it at once."""
        self._transport.abort()

    def _be_late(self) -> None:
        self._hear(text_reply(HTTPStatus.REQUEST_TIMEOUT, f"no request within {REQUEST_SECONDS:g} s"))

    def _hear(self, request: Request | Reply) -> None:
        """The request has come whole, or will not."""
        self._is_heard = True
        self._head.clear()
        if isinstance(request, Reply):
            self._send(request, "GET")
        else:
            self.answering = self._loop.create_task(self._answer(request))
            self._arm(REPLY_SECONDS)

    async def _answer(self, request: Request) -> None:
        try:
            reply = await self._server.respond(request)
        except Exception as error:
            log.error("%s could not be answered", request.path, exc_info=error)
            reply = text_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "it could not be told; the log says why")
        self._send(reply, request.method)

    def _send(self, reply: Reply, method: str) -> None:
        self._is_answered = True
        if self._transport.is_closing():
            return
        self._transport.write(reply.head() if method == "HEAD" else reply.head() + reply.body)
        if self._has_ended:
            self._transport.close()
        else:
            # Its client closes it; to close it here, with something unread, could cost the client the reply.
            self._transport.write_eof()
            self._arm(REPLY_SECONDS)

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.abort)


def _parsed(head: bytes) -> Request | Reply:
    """A request, or what is wrong with it."""
    first, *lines = head.split(b"\r\n")
    asked = _REQUEST_LINE.fullmatch(first)
    headers = [_HEADER.fullmatch(line) for line in lines]
    if asked is None or not all(headers):
        return text_reply(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    named = [(found[1].lower(), found[2].strip(b" \t")) for found in headers if found is not None]
    hosts = [value for name, value in named if name == b"host"]
    if len(hosts) > 1 or (not hosts and asked[3] == b"1"):
        return text_reply(HTTPStatus.BAD_REQUEST, "a request names one host")
    if asked[1] not in (b"GET", b"HEAD"):
        return text_reply(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", {"Allow": "GET, HEAD"})
    if any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in named):
        return text_reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here")
    path = asked[2].partition(b"?")[0].decode("ascii")
    return Request(asked[1].decode("ascii"), path, hosts[0].decode("latin-1") if hosts else None)
