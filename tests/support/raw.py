"""Raw peers, which keep to no protocol."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from mpzmq import ComputerEngineWorker, ComputerEngineWriter, Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from tests.support.scene import REDIAL
from tests.support.waiting import SECONDS, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

LINK_TAG = bytes(16)


class Raw:
    """A plain ZeroMQ socket that says whatever it likes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], kind: int) -> None:
        self.socket = context.socket(kind)
        self.socket.set(zmq.LINGER, 0)
        self.endpoint = ""
        self._encoder = Encoder(Limits())

    def bind(self, endpoint: str = "tcp://127.0.0.1:0") -> Raw:
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        return self

    async def bind_soon(self, endpoint: str) -> Raw:
        """Binds once the port is free, which libzmq makes it a moment after it was asked to."""

        def bound() -> bool:
            with contextlib.suppress(zmq.ZMQError):
                self.bind(endpoint)
            return bool(self.endpoint)

        await until(bound)
        return self

    def connect(self, endpoint: str) -> Raw:
        self.socket.connect(endpoint)
        return self

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    async def receive(self, seconds: float = SECONDS) -> list[bytes]:
        """The next message."""
        await until(lambda: self.socket.poll(0), seconds)
        return self.socket.recv_multipart()

    async def greet(self, session: uuid.UUID | None = None, number: int = 1) -> list[Any]:
        """Says HELLO; returns the first record of the answer."""
        record = wire.hello(session or uuid.uuid4(), number, "raw", 60.0, Limits())
        self.send(LINK_TAG, self.pack(record))
        answer: list[Any] = self.unpack(await self.receive())[0][1]
        return answer

    @staticmethod
    def unpack(frames: list[bytes]) -> list[tuple[bytes, list[Any]]]:
        """The records of a message with their tags."""
        tags, body = frames[-2:]
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(body)
        return [(tags[16 * index : 16 * index + 16], record) for index, record in enumerate(unpacker)]

    def pack(self, *records: list[Any]) -> bytes:
        """Records as one frame."""
        return b"".join(self._encoder.pack(record) for record in records)


@pytest.fixture
def raw() -> Iterator[Callable[[int], Raw]]:
    """Makes raw sockets; they are closed after the test."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[Raw] = []

    def make(kind: int) -> Raw:
        made.append(Raw(context, kind))
        return made[-1]

    yield make
    for one in made:
        one.socket.close(0)
    context.term()


class Liar:
    """A raw ROUTER that plays a container."""

    def __init__(self, router: Raw) -> None:
        self.router = router
        self.route = b""
        self.number = 0

    async def hello(self) -> list[Any]:
        """The engine's HELLO."""
        frames = await self.router.receive()
        self.route = frames[0]
        record = self.router.unpack(frames)[0][1]
        assert record[0] == Kind.HELLO
        self.number = record[3]
        return record

    def welcome(self) -> list[Any]:
        """A WELCOME that fits."""
        return wire.welcome(uuid.uuid4(), self.number, False, wire.STATUSES[1], "liar", 1.0, Limits())

    def say(self, tag: bytes, *records: list[Any]) -> None:
        self.router.send(self.route, tag, self.router.pack(*records))

    async def request(self) -> bytes:
        """The tag of the next REQUEST."""
        return (await self.requests(1))[0]

    async def requests(self, number: int) -> list[bytes]:
        """The tags of the next REQUESTs."""
        tags: list[bytes] = []
        while len(tags) < number:
            tags += [
                tag for tag, record in self.router.unpack(await self.router.receive()) if record[0] == Kind.REQUEST
            ]
        return tags


@pytest.fixture
async def lied(raw: Callable[[int], Raw]) -> AsyncIterator[tuple[ComputerEngineWriter, Liar]]:
    """A worker that is connected to a liar."""
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        connecting = asyncio.create_task(worker.connect(uuid.uuid4(), liar.router.endpoint))
        await liar.hello()
        liar.say(LINK_TAG, liar.welcome())
        yield await soon(connecting), liar
