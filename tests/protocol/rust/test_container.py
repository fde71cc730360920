"""A container of the Rust crate, as a link sees it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from mpzmq import Limits
from mpzmq.protocol.rust.container import RustContainer
from mpzmq.protocol.rust.framing import FrameReader, framed
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Flag, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG, hello

LIMITS = Limits(window=8)
ID = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
ENCODER = Encoder(LIMITS)


class Side:
    """A link, as far as a container needs one."""

    def __init__(self) -> None:
        self.container = RustContainer("rust", LIMITS, 1.5)
        self._decoder = MessageDecoder(LIMITS, Kind.RESPONSE)
        self.connect(1)

    def connect(self, number: int) -> None:
        self.container.on_connected(UUID(int=number))
        self.say(LINK_TAG, hello(UUID(int=9), number, "engine", 2.0, LIMITS))
        ((_, welcome),) = self.heard()
        assert welcome[:5] == [Kind.WELCOME, 2, UUID(int=number), number, False]

    def say(self, tag: bytes, record: list[Any]) -> None:
        self.container.take([tag, ENCODER.pack(record)])

    def ask(self, sequence: int, op: int = Op.INVOKE, *args: Any, tag: bytes = ID.bytes, flags: int = 0) -> None:
        function = "f" if op == Op.CALL else None
        self.say(tag, [Kind.REQUEST, sequence, 30_000, flags, op, function, list(args), None, None])

    def heard(self) -> list[tuple[bytes, list[Any]]]:
        found: list[tuple[bytes, list[Any]]] = []
        for frames in self.container.to_link:
            found += self._decoder.decode(frames).records
        self.container.to_link.clear()
        return found

    def left(self) -> list[Any]:
        data, self.container.to_peer = b"".join(self.container.to_peer), []
        reader = FrameReader(10_000)
        reader.feed(data)
        return [json.loads(body) for body in iter(reader.next_body, None)]


@pytest.fixture
def side() -> Side:
    return Side()


def test_a_request_is_a_frame_and_a_frame_a_reply(side: Side) -> None:
    side.ask(1, Op.INVOKE, {"x": 1})

    assert side.left() == [{"id": str(ID), "method": "Invoke", "status": "RUNNING", "data": {"x": 1}}]
    side.container.feed(framed(json.dumps({"id": str(ID), "method": "Invoke", "status": "STOP", "data": [1]}).encode()))
    assert side.heard() == [(ID.bytes, [Kind.RESPONSE, 0, [1]])]


def test_state_is_asked_for_and_set(side: Side) -> None:
    side.ask(1, Op.GETSTATE)
    side.ask(2, Op.SETSTATE, "STOP")

    assert [(one["method"], one["status"], one["data"]) for one in side.left()] == [
        ("Getstate", "RUNNING", None),
        ("Setstate", "STOP", None),
    ]


@pytest.mark.parametrize("op", [Op.CALL, Op.DESCRIBE, Op.STREAM, Op.UPLOAD, Op.CHANNEL, Op.STATISTICS])
def test_everything_else_has_not_run(side: Side, op: int) -> None:
    side.say(ID.bytes, [Kind.REQUEST, 1, None, 0, op, "f", [None], None, None])

    ((tag, record),) = side.heard()
    assert (tag, record[:3]) == (ID.bytes, [Kind.ERROR, Code.UNSUPPORTED, 0])
    assert not side.left()


def test_nothing_that_has_left_leaves_again(side: Side) -> None:
    side.ask(1, Op.INVOKE, 1, flags=Flag.IDEMPOTENT)
    side.left()
    side.connect(2)
    side.ask(1, Op.INVOKE, 1, flags=Flag.IDEMPOTENT)

    assert not side.left()
    assert side.heard()[0][1][:3] == [Kind.ERROR, Code.STALE, 1]
    side.ask(2, Op.INVOKE, 1, tag=bytes(15) + b"2")
    assert len(side.left()) == 1


def test_an_id_that_a_caller_has_chosen_leaves_once(side: Side) -> None:
    side.ask(1, Op.INVOKE, 1, flags=Flag.CHOSEN)
    side.ask(2, Op.INVOKE, 1, flags=Flag.CHOSEN)

    assert len(side.left()) == 1
    assert side.heard()[0][1][:3] == [Kind.ERROR, Code.STALE, 1]


def test_a_ping_is_answered_while_the_connection_stands(side: Side) -> None:
    side.say(LINK_TAG, [Kind.PING, 7])

    assert [record[:2] for _, record in side.heard()] == [[Kind.PONG, 7]]


def test_what_was_read_is_told_before_the_window_is_full(side: Side) -> None:
    for number in range(1, 9):
        side.ask(number, Op.INVOKE, number, tag=number.to_bytes(16))

    assert [record[:3] for _, record in side.heard()] == [[Kind.PONG, 0, count] for count in (2, 4, 6, 8)]


def test_a_reply_without_sense_is_the_end_of_its_request(side: Side) -> None:
    decoder = MessageDecoder(LIMITS, Kind.RESPONSE)
    for body in (f'{{"id":"{ID}"}}', f'{{"id":"{ID}","method":"Invoke","status":"STOP","data":{2**70}}}'):
        side.container.feed(framed(body.encode()))
        (frames,) = side.container.to_link
        side.container.to_link.clear()
        assert decoder.decode(frames).malformed == [ID.bytes]

    side.container.feed(framed(b"{"))
    (frames,) = side.container.to_link
    assert decoder.decode(frames).ignored == 1
    assert not side.container.failure


def test_a_header_without_sense_is_the_end_of_the_connection(side: Side) -> None:
    side.container.feed(b"\xff\xff\xff\xff")

    assert "4,294,967,295 bytes" in side.container.failure
    side.connect(2)
    assert not side.container.failure


def test_a_large_request_comes_in_parts(side: Side) -> None:
    data = "x" * 3_000_000
    whole = ENCODER.pack([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [data], None, None])
    sizes = len(whole).to_bytes(8, "big")
    half = len(whole) // 2
    side.say(ID.bytes, [Kind.PART, 0, sizes, [whole[:half]]])
    assert [record[0] for _, record in side.heard()] == [Kind.TAKEN]
    side.say(ID.bytes, [Kind.PART, half, None, [whole[half:]]])

    assert json.loads(b"".join(side.container.to_peer)[4:])["data"] == data
