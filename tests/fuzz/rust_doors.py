"""The wire of the Rust crate: bytes of a client, and bytes of a container.

One input is how the bytes come in pieces, and the bytes. What comes out of the translation goes on into the state
machines of sessions and of a link, as :mod:`tests.fuzz.wire_door` has them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from mpzmq.models import Executed, Status
from mpzmq.protocol import wire
from mpzmq.protocol.flow.window import CONTROL_RESERVE
from mpzmq.protocol.rust.client import RustClient
from mpzmq.protocol.rust.container import RustContainer
from mpzmq.protocol.rust.framing import FrameReader
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import UNASKED, Code, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG, error

from .door import Door
from .wire_door import LIMITS, WireDoor, known_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpzmq.protocol.wire.messages import Message

__all__ = ["RustClientDoor", "RustContainerDoor"]

_TOKENS = [
    b'{"id":"', b'","method":"Invoke"', b'"Getstate"', b'"Setstate"', b',"status":"RUNNING"', b'"STOP"', b',"data":',
    b"null", b"1e999", b"NaN", b"\\ud800", b"[", b"]", b"{", b"}", b'"', b"\x00\x00\x00", b"\xff\xff\xff\xff",
    b"9" * 30, b"\xff",
]  # fmt: skip


def _pieces(data: bytes) -> Iterator[bytes]:
    """The first byte says how large they are."""
    step = (data[0] if data else 0) * 7 + 1
    for begin in range(1, len(data), step):
        yield data[begin : begin + step]


class RustClientDoor(Door):
    """A container's side of a connection that a client of the crate has made."""

    tokens: ClassVar = _TOKENS

    def __init__(self) -> None:
        self._encoder = Encoder(LIMITS)
        self._sessions = WireDoor()

    def push(self, data: bytes) -> int:
        """One input; returns how many requests came out of it, and answers to those that are none."""
        client = RustClient(UUID(int=9), "fuzz", 1.5, LIMITS)
        decoder = MessageDecoder(LIMITS, Kind.REQUEST)
        answers = FrameReader(1 << 26)
        asked: list[bytes] = []
        said: list[Message] = []
        answered = messages = size = 0
        for number, piece in enumerate(_pieces(data)):
            client.feed(piece)
            if number % 3 == 0:
                client.take([LINK_TAG, self._encoder.pack([Kind.PING, number + 1])])
                assert client.is_held_back
                client.on_left(client.written)
            while True:
                waiting, client.to_sessions = client.to_sessions, []
                assert len(waiting) <= LIMITS.window + CONTROL_RESERVE
                for frames in waiting:
                    message = decoder.decode(frames)
                    assert not (message.fault or message.malformed or message.ignored), "the sessions cannot read it"
                    messages, size = messages + 1, size + message.size
                    asked += [tag for tag, record in message.records if record[0] == Kind.REQUEST]
                    said.append(message)
                assert len(asked) <= LIMITS.in_flight
                told = b"".join(client.to_peer)
                client.to_peer.clear()
                answers.feed(told)
                for body in iter(answers.next_body, None):
                    reply = json.loads(body)
                    assert len(reply["id"]) == 36 and reply["method"] in ("Invoke", "Getstate", "Setstate")
                    answered += 1
                if not waiting and not asked:
                    break
                # The HELLO is not counted: the window begins behind it.
                client.take([LINK_TAG, self._encoder.pack([Kind.PONG, UNASKED, messages - 1, size])])
                for tag in asked:
                    client.take([tag, self._encoder.pack(self._reply(number))])
                asked.clear()
            assert not answers.failure and not client.is_held_back
            if client.failure:
                break
        self._sessions.to_container(said)
        return answered

    @staticmethod
    def _reply(number: int) -> list[Any]:
        if number % 2:
            return error(Code.REMOTE, Executed.YES, Status.RUNNING, "it failed", {"type": "ValueError", "data": b"odd"})
        return [Kind.RESPONSE, 1, [number, b"bytes"] if number % 4 else None]


class RustContainerDoor(Door):
    """An engine's side of a connection to a container of the crate."""

    tokens: ClassVar = _TOKENS

    def __init__(self) -> None:
        self._encoder = Encoder(LIMITS)
        self._engine = WireDoor()

    def push(self, data: bytes) -> int:
        """One input; returns how many replies came out of it."""
        container = RustContainer("fuzz", LIMITS, 1.5)
        decoder = MessageDecoder(LIMITS, Kind.RESPONSE)
        container.on_connected(UUID(int=1))
        container.take([LINK_TAG, self._encoder.pack(wire.hello(UUID(int=7), 1, "engine", 2.0, LIMITS))])
        for sequence, tag in enumerate(known_tags(), 1):
            record = [Kind.REQUEST, sequence, 1000, 0, Op.INVOKE, None, [sequence], None, None]
            container.take([tag, self._encoder.pack(record)])
        container.to_link.clear()
        said: list[Message] = []
        for piece in _pieces(data):
            container.feed(piece)
            for frames in container.to_link:
                message = decoder.decode(frames)
                assert len(message.records) + len(message.malformed) + message.ignored == 1
                said.append(message)
            container.to_link.clear()
            if container.failure:
                break
        self._engine.to_engine(said[:64])
        return sum(len(message.records) for message in said)
