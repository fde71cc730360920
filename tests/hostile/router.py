"""A container that lies: a plain ROUTER that answers engines with damaged messages."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import msgpack
import zmq

from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.records import LINK_TAG

from .mutate import CONTAINER, mutant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["LyingContainer", "lying"]

_ENCODER = Encoder(Limits())


class LyingContainer:
    """Reads what engines send, and answers as its plan says.

    Args:
        seed: of the messages.
        honest_welcomes: how many of ten HELLOs are answered as they should be; the others get mutated WELCOMEs.
        honest_replies: how many of ten requests are; the others get what the seed says, mostly under their own tag.
        unasked: messages that are sent for each one that is read.

    Attributes:
        number: of the next mutated message.
    """

    def __init__(self, seed: int, *, honest_welcomes: int, honest_replies: int, unasked: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, 200)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)  # what is not taken is not counted
        self._socket.bind("tcp://127.0.0.1:0")
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._seed = seed
        self._dice = random.Random(seed)
        self._honest_welcomes, self._honest_replies, self._unasked = honest_welcomes, honest_replies, unasked
        self._tags: deque[bytes] = deque([LINK_TAG], maxlen=50)
        self._routes: deque[bytes] = deque(maxlen=50)
        self.number = self.greeted = self.asked = 0

    def turn(self) -> bool:
        """Reads one message and answers; False: there was none."""
        if not self._socket.poll(0):
            return False
        route, *frames = self._socket.recv_multipart()
        for tag, record in self._records(frames):
            if record[0] == Kind.HELLO:
                self._greet(route, record)
            elif record[0] == Kind.REQUEST:
                self._reply(route, tag)
        for _ in range(self._unasked):
            self.lie(route)
        return True

    def lie(self, route: bytes, tag: bytes | None = None, kind: int | None = None) -> None:
        """The next mutated message; mostly under a tag that somebody waits for."""
        frames = mutant(self._seed, self.number, CONTAINER, kind)
        if self._dice.random() < 0.7 and frames[0] and frames[0][:16] != LINK_TAG:
            frames[0] = (tag or self._dice.choice(self._tags)) + frames[0][16:]
        self.number += self._send(route, frames)

    def lie_to_anybody(self) -> bool:
        """The next mutated message to an engine that has greeted; False: none of them takes it."""
        before = self.number
        for route in list(self._routes):
            self.lie(route)
        return self.number > before

    def flood(self, frames: list[bytes]) -> None:
        """One message to each engine that has greeted, if it takes it."""
        for route in list(self._routes):
            self._send(route, frames)

    def _greet(self, route: bytes, hello: list[Any]) -> None:
        self.greeted += 1
        self._routes.append(route)
        if self._dice.randrange(10) < self._honest_welcomes:
            record = wire.welcome(uuid4(), hello[3], False, wire.STATUSES[1], "liar", 1.0, Limits())
            self._send(route, [LINK_TAG, _ENCODER.pack(record)])
        else:
            for _ in range(10):
                self.lie(route, kind=Kind.WELCOME)

    def _reply(self, route: bytes, tag: bytes) -> None:
        self.asked += 1
        self._tags.append(tag)
        if self._dice.randrange(10) < self._honest_replies:
            self._send(route, [tag, b"\x93\x04\x01\xa6honest"])
        else:
            self.lie(route, tag)

    def _send(self, route: bytes, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart([route, *frames], zmq.NOBLOCK)
        except zmq.ZMQError as error:  # an engine that does not read gets no more, and one that is gone nothing
            if error.errno not in (errno.EAGAIN, errno.EHOSTUNREACH):
                raise
            if error.errno == errno.EHOSTUNREACH:
                with contextlib.suppress(ValueError):
                    self._routes.remove(route)
            return False
        return True

    @staticmethod
    def _records(frames: list[bytes]) -> list[tuple[bytes, list[Any]]]:
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(frames[1])
        return [(frames[0][16 * index : 16 * index + 16], record) for index, record in enumerate(unpacker)]

    async def run(self) -> None:
        """Answers until it is cancelled."""
        while True:  # noqa: ASYNC110  (a raw socket sets no event)
            await asyncio.sleep(0 if self.turn() else 0.001)

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@contextlib.asynccontextmanager
async def lying(container: LyingContainer) -> AsyncIterator[LyingContainer]:
    """It answers while the body runs."""
    with container:
        task = asyncio.create_task(container.run())
        try:
            yield container
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
