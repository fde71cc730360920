"""Engines that lie: plain DEALER sockets that finish the handshake and then say whatever they are told to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import msgpack
import zmq

from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.waiting import SECONDS, scaled

from .mutate import ENGINE, mutant
from .oracle import may_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .target import Target

__all__ = ["LyingEngine", "liars", "request"]

_ENCODER = Encoder(Limits())


def request(sequence: int, data: Any, flags: int = 0, function: str | None = None) -> list[Any]:
    """A REQUEST that keeps to the protocol."""
    op = Op.INVOKE if function is None else Op.CALL
    return [Kind.REQUEST, sequence, None, flags, op, function, [data], None, None]


class LyingEngine:
    """One raw engine; every well-formed request that it sends is noted in the target as allowed."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], target: Target) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(target.endpoint)
        self._target = target
        self.session = uuid4()

    async def send(self, *frames: bytes) -> None:
        """One message; waits while the container does not read."""
        self._target.allowed |= may_run(list(frames))
        while True:
            with contextlib.suppress(zmq.Again):
                self.socket.send_multipart(frames, zmq.NOBLOCK)
                return
            self.drop_replies()
            await asyncio.sleep(0.001)

    async def say(self, tag: bytes, *records: list[Any]) -> None:
        """Records of one tag each that keep to the protocol; ``tag`` is that of the first, repeated if need be."""
        await self.send(tag, b"".join(_ENCODER.pack(record) for record in records))

    async def greet(self, session: UUID | None = None, number: int = 1) -> list[Any]:
        """HELLO; returns the answer to it."""
        self.session = session or self.session
        await self.say(LINK_TAG, wire.hello(self.session, number, "liar", 60.0, Limits()))
        while True:
            for _, record in await self.receive():
                if record[0] in (Kind.WELCOME, Kind.GOODBYE):
                    return record

    async def greet_anew(self) -> list[Any]:
        """The same for a new session, maybe on the next connection: what is sent to one that is cut is lost."""
        async with asyncio.timeout(scaled(60)):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        return await self.greet(uuid4())

    async def receive(self, seconds: float = SECONDS) -> list[tuple[bytes, list[Any]]]:
        """The records of the next message, each with its tag."""
        async with asyncio.timeout(seconds):
            while not self.socket.poll(0):  # noqa: ASYNC110  (a raw socket sets no event)
                await asyncio.sleep(0.001)
        return self._records(self.socket.recv_multipart())

    async def answer_to(self, tag: bytes) -> list[Any]:
        """The record that comes under a tag; others are passed over."""
        while True:
            for told, record in await self.receive():
                if told == tag:
                    return record

    async def until_read(self, number: int = 1) -> None:
        """Waits until the container has read everything; the connection has greeted under this number."""
        await self.say(LINK_TAG, [Kind.PING, number])
        while not any(record[0] == Kind.PONG or record[:2] == [Kind.ERROR, 1] for _, record in await self.receive()):
            pass

    async def pinged(self, number: int = 1) -> list[Any]:
        """The PONG or ERROR that a PING gets, maybe on the next connection: what is sent to one that is cut is lost."""
        async with asyncio.timeout(scaled(60)):
            while True:
                await self.say(LINK_TAG, [Kind.PING, number])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while (answer := await self.answer_to(LINK_TAG))[0] not in (Kind.PONG, Kind.ERROR):
                            pass
                        return answer

    async def until_read_by_tag(self) -> None:
        """The same for a connection in whatever state: a malformed request is answered in each of them."""
        self.drop_replies()
        asked = set()
        async with asyncio.timeout(scaled(60)):
            while True:
                tag = uuid4().bytes
                asked.add(tag)
                await self.send(tag, b"\xc1")
                # To whoever does not read its answers in time, no answer is owed: then it is asked again.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        while not any(told in asked for told, _ in await self.receive()):
                            pass
                        return

    def drop_replies(self) -> None:
        """Whatever has come is of no interest."""
        with contextlib.suppress(zmq.Again):
            while True:
                self.socket.recv_multipart(zmq.NOBLOCK)

    async def lie(self, seed: int, numbers: range, kind: int | None = None) -> None:
        """Mutated messages; every few of them the event loop gets its turn."""
        for number in numbers:
            await self.send(*mutant(seed, number, ENGINE, kind))
            if number % 50 == 0:
                self.drop_replies()
                await asyncio.sleep(0)

    @staticmethod
    def _records(frames: list[bytes]) -> list[tuple[bytes, list[Any]]]:
        tags, body = frames[:2]
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(body)
        return [(tags[16 * index : 16 * index + 16], record) for index, record in enumerate(unpacker)]

    def close(self) -> None:
        self.socket.close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Liars:
    """Makes lying engines for one target."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], target: Target) -> None:
        self._context = context
        self._target = target
        self.made: list[LyingEngine] = []

    def __call__(self) -> LyingEngine:
        self.made.append(LyingEngine(self._context, self._target))
        return self.made[-1]


@contextlib.contextmanager
def liars(target: Target) -> Iterator[Liars]:
    """Makes lying engines, and closes them."""
    with zmq.Context() as context:
        made = Liars(context, target)
        try:
            yield made
        finally:
            for one in made.made:
                one.close()
