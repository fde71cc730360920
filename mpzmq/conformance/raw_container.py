"""A container that does whatever a check wants done to the engine that is judged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..protocol.wire.kinds import UNASKED, Kind
from ..protocol.wire.records import VERSION
from ..transport.interface import Delivery
from .checks import Violation, expect
from .conversation import Conversation
from .frames import Heard, shown
from .raw_engine import SETTINGS
from .shapes import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..transport.interface import Frames, Router, Transport

__all__ = ["RawConnection", "RawContainer"]

_INTERVAL = 2.0
_WINDOW = (512, 1 << 26)
_LIMITS = {
    "message_bytes": 1 << 26, "batch_records": 1, "depth": 64, "items": 100_000, "in_flight": 10_000,
    "reply_entries": 10_000, "reply_bytes": 8 << 20,
}  # fmt: skip
_LINGER = 0.2
_LIBZMQ = b"\0"
"""Routing ids that begin with it are the ROUTER's own; one that the engine has chosen must not (ZMTP)."""


class RawConnection(Conversation):
    """One connection of the engine."""

    def __init__(self, router: Router, route: bytes, patience: float) -> None:
        super().__init__(of_engine=True, patience=patience)
        self.route = route
        self.greeting: list[Any] = []
        """Its HELLO."""
        self._told = 0
        self._router = router

    @property
    def session(self) -> Any:
        """What HELLO says of it."""
        return self.greeting[2]

    @property
    def limits(self) -> dict[str, int]:
        """What HELLO announces."""
        return dict(self.greeting[6])

    @property
    def level(self) -> int:
        """1, if HELLO announces nothing beyond it."""
        is_simple = self.limits.get("batch_records", 1) == 1 and self.limits.get("message_bytes", 0) <= 1 << 20
        return 1 if is_simple and "stream_items" not in self.limits else 3

    def send(self, frames: Frames) -> None:
        """Sends frames as they are."""
        if self._router.send(self.route, frames) is not Delivery.SENT:
            raise Violation(f"the connection takes no more; {self.what_came()}")

    def tell(self, number: int = UNASKED) -> None:
        """Says PONG, with what was read."""
        self._told = self.messages
        # To whom it does not reach, it is nothing to tell.
        self._router.send(self.route, self.framed([Kind.PONG, number, self.messages, self.size]))

    def answer(self, heard: Heard) -> bool:
        """A PING gets its PONG; and PONG goes out where a quarter of the usual window was read."""
        if not self.greeting:
            return False
        if heard.kind == Kind.PING:
            self.tell(heard.record[1])
        elif self.messages - self._told >= _WINDOW[0] // 4:
            self.tell()
        return heard.kind == Kind.PING

    async def hello(self) -> list[Any]:
        """Waits for its HELLO, in front of everything; returns the record."""
        heard = await self.hear(*NAMES)
        expect(heard.kind == Kind.HELLO, f"the first record of a connection is {shown(heard, NAMES)}")
        self.greeting = heard.record
        return self.greeting

    def welcome(self, *more: object, **changes: Any) -> list[Any]:
        """A WELCOME that fits, with changes to its fields, and with more fields behind."""
        fields: dict[str, Any] = {
            "version": VERSION, "instance": uuid4(), "number": self.greeting[3], "resumed": False, "status": 1,
            "name": "conformance", "interval": _INTERVAL, "window": list(_WINDOW), "limits": dict(_LIMITS),
        }  # fmt: skip
        limits = changes.pop("limits", {})
        fields |= changes
        if isinstance(limits, dict):
            fields["limits"] = fields["limits"] | limits
        else:
            fields["limits"] = limits
        return [Kind.WELCOME, *fields.values(), *more]

    async def greet(self, **changes: Any) -> None:
        """Waits for HELLO, and answers it with WELCOME."""
        await self.hello()
        self.say(self.welcome(**changes))

    async def request(self, seconds: float | None = None) -> Heard:
        """The next REQUEST."""
        return await self.hear(Kind.REQUEST, seconds=seconds)

    def respond(self, request: Heard, value: object, *buffers: bytes) -> None:
        """Answers a request."""
        self.say([Kind.RESPONSE, 1, value], request.tag, *buffers)

    async def respond_large(self, request: Heard, value: object, *buffers: bytes) -> None:
        """Answers a request in parts."""
        await self.say_large([Kind.RESPONSE, 1, value], request.tag, *buffers)

    def refuse(self, request: Heard, code: int, executed: int) -> None:
        """Answers a request with ERROR."""
        self.say([Kind.ERROR, code, executed, 1, f"code {code}, on purpose", None], request.tag)

    def goodbye(self, code: int) -> None:
        """Says GOODBYE."""
        self.say([Kind.GOODBYE, code, "on purpose"])


class RawContainer:
    """Listens at an endpoint of its own, and knows the connections in the order in which they have said something."""

    def __init__(self, transport: Transport, patience: float) -> None:
        self.patience = patience
        self.endpoint = ""
        self._transport = transport
        self.connections: list[RawConnection] = []
        self._router: Router = transport.router(SETTINGS, self)
        self._by_route: dict[bytes, RawConnection] = {}
        self._given = 0
        self._news = asyncio.Event()

    def bind(self, endpoint: str) -> None:
        """Listens.

        Raises:
            OSError: the endpoint cannot be bound.
        """
        self.endpoint = self._router.bind(endpoint)

    async def close(self) -> None:
        """Ends all connections."""
        await self._router.close(_LINGER)

    async def cut(self) -> None:
        """Ends all connections without a word, and listens at the same endpoint again."""
        await self._router.close(0.0)
        for connection in self.connections:
            connection.end()
        self._by_route.clear()
        self._router = self._transport.router(SETTINGS, self)
        self._router.bind(self.endpoint)

    async def connection(self, seconds: float | None = None) -> RawConnection:
        """The next connection, once it has said something."""
        limit = self.patience if seconds is None else seconds
        end = asyncio.get_running_loop().time() + limit
        while len(self.connections) == self._given:
            self._news.clear()
            try:
                async with asyncio.timeout(end - asyncio.get_running_loop().time()):
                    await self._news.wait()
            except TimeoutError:
                raise Violation(f"no connection that says something within {limit:g} s") from None
        self._given += 1
        return self.connections[self._given - 1]

    async def greeted(self, seconds: float | None = None, **changes: Any) -> RawConnection:
        """The next connection, behind WELCOME."""
        connection = await self.connection(seconds)
        await connection.greet(**changes)
        return connection

    def blame(self) -> None:
        """Ends the check if something was wrong with a message by itself, on any connection."""
        for connection in self.connections:
            connection.blame()

    # What the transport tells

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""
        for route, *frames in messages:
            key = bytes(route)
            connection = self._by_route.get(key)
            if connection is None:
                connection = self._by_route[key] = RawConnection(self._router, key, self.patience)
                self.connections.append(connection)
            connection.take(frames)
        self._news.set()

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections have ended."""
        for route in routes:
            if (connection := self._by_route.get(bytes(route))) is not None:
                connection.end()

    def chosen_routes(self) -> list[bytes]:
        """Routing ids that the engine has set itself."""
        return [route for route in self._by_route if not route.startswith(_LIBZMQ)]
