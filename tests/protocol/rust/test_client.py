"""A client of the Rust crate, as a container's sessions see it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from mpzmq import Executed, Limits, Status
from mpzmq.protocol.rust.client import ACKNOWLEDGED_EVERY, RustClient
from mpzmq.protocol.rust.framing import FrameReader, framed
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import UNASKED, Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG, error

LIMITS = Limits()
ID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
ENCODER = Encoder(LIMITS)


class Side:
    """The sessions of a container, as far as a client needs them."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.client = RustClient(UUID(int=9), "rust", 1.5, limits)
        self._decoder = MessageDecoder(LIMITS, Kind.REQUEST)
        ((_, greeting),) = self.heard()
        assert greeting[:5] == [Kind.HELLO, [2], UUID(int=9), 1, "rust"]

    def ask(self, method: str = "Invoke", data: Any = None, status: str = "RUNNING", own_id: str = ID) -> None:
        record = {"id": own_id, "method": method, "status": status, "data": data}
        self.client.feed(framed(json.dumps(record).encode()))

    def say(self, tag: bytes, record: list[Any]) -> None:
        self.client.take([tag, ENCODER.pack(record)])

    def heard(self) -> list[tuple[bytes, list[Any]]]:
        found: list[tuple[bytes, list[Any]]] = []
        for frames in self.client.to_sessions:
            found += self._decoder.decode(frames).records
        self.client.to_sessions.clear()
        return found

    def left(self) -> list[Any]:
        data, self.client.to_peer = b"".join(self.client.to_peer), []
        reader = FrameReader(10_000)
        reader.feed(data)
        return [json.loads(body) for body in iter(reader.next_body, None)]


@pytest.fixture
def side() -> Side:
    return Side()


def test_a_frame_is_a_request_and_a_reply_has_its_id(side: Side) -> None:
    side.ask(data={"x": [1]})

    ((tag, record),) = side.heard()
    assert record == [Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [{"x": [1]}], None, None]
    side.say(tag, [Kind.RESPONSE, 1, "done"])
    assert side.left() == [{"id": ID, "method": "Invoke", "status": "RUNNING", "data": "done"}]


def test_state_is_asked_for_and_set(side: Side) -> None:
    side.ask("Getstate")
    side.ask("Setstate", status="STOP")

    assert [(record[4], record[6]) for _, record in side.heard()] == [(Op.GETSTATE, []), (Op.SETSTATE, ["STOP"])]


def test_an_id_that_comes_twice_is_two_requests(side: Side) -> None:
    side.ask(data=1)
    side.ask(data=2, own_id=ID)

    (first, _), (second, _) = side.heard()
    assert first != second
    side.say(second, [Kind.RESPONSE, 1, 2])
    side.say(first, [Kind.RESPONSE, 1, 1])
    assert [(one["id"], one["data"]) for one in side.left()] == [(ID, 2), (ID, 1)]


def test_an_error_is_told_as_data(side: Side) -> None:
    side.ask()
    ((tag, _),) = side.heard()
    detail: dict[str, object] = {"type": "ValueError", "code": "no_stock", "data": b"no JSON"}
    side.say(tag, error(Code.REMOTE, Executed.YES, Status.RUNNING, "it failed", detail))

    told = {"type": "RemoteError", "message": "it failed", "executed": "YES", "error_type": "ValueError"}
    assert side.left()[0]["data"] == {"error": {**told, "code": "no_stock"}}


def test_a_reply_that_json_cannot_carry_is_an_error(side: Side) -> None:
    side.ask()
    ((tag, _),) = side.heard()
    side.say(tag, [Kind.RESPONSE, 1, b"bytes"])

    told = side.left()[0]["data"]["error"]
    assert (told["type"], told["executed"], told["error_type"]) == ("RemoteError", "YES", "EncodeError")


def test_a_request_that_cannot_be_read_is_answered(side: Side) -> None:
    side.ask("Stop")
    side.ask(data=2**70)

    assert [one["data"]["error"]["executed"] for one in side.left()] == ["NO", "NO"]
    assert not side.heard()
    assert not side.client.failure


@pytest.mark.parametrize("data", [framed(b"{"), framed(b"{}"), b"GET / HTTP/1.1\r\n"])
def test_what_nobody_can_be_answered_for_is_the_end(side: Side, data: bytes) -> None:
    side.client.feed(data)

    assert side.client.failure


def test_frames_in_front_of_bytes_without_sense_count(side: Side) -> None:
    first = json.dumps({"id": ID, "method": "Invoke", "status": "RUNNING", "data": 1}).encode()
    side.client.feed(framed(first) + b"GET / HTTP/1.1\r\n")

    assert [record[6] for _, record in side.heard()] == [[1]]
    assert side.client.failure


def test_a_flood_waits_for_the_window(side: Side) -> None:
    for n in range(3 * LIMITS.window):
        side.ask(data=n)
    assert side.client.is_held_back
    assert len(side.heard()) == LIMITS.window

    side.say(LINK_TAG, [Kind.PONG, UNASKED, LIMITS.window // 2, 1_000])
    assert [record[6][0] for _, record in side.heard()] == [LIMITS.window + n for n in range(LIMITS.window // 2)]


def test_whoever_has_not_read_asks_no_more(side: Side) -> None:
    side.ask("Stop")  # which is answered
    side.say(LINK_TAG, [Kind.PING, 7])
    side.ask(data="behind it")
    assert side.client.is_held_back

    side.client.on_left(side.client.written - 1)
    assert not side.heard()
    side.client.on_left(side.client.written)
    assert [record[0] for _, record in side.heard()] == [Kind.PONG, Kind.REQUEST]
    assert not side.client.is_held_back


def test_no_more_run_than_may_be_in_flight() -> None:
    side = Side(Limits(in_flight=2))
    for n in range(3):
        side.ask(data=n)
    ((first, _), _) = side.heard()
    assert side.client.is_held_back

    side.say(first, [Kind.RESPONSE, 1, None])
    assert [record[6] for _, record in side.heard()] == [[2]]


def test_answers_are_acknowledged(side: Side) -> None:
    for _ in range(ACKNOWLEDGED_EVERY):
        side.ask()
    for tag, _ in side.heard():
        side.say(tag, [Kind.RESPONSE, 1, None])

    assert side.heard() == [(LINK_TAG, [Kind.RECEIVED, ACKNOWLEDGED_EVERY + 1, b""])]


def test_a_ping_waits_until_it_is_told(side: Side) -> None:
    side.say(LINK_TAG, [Kind.PING, 7])

    assert not side.heard()
    side.client.on_left(0)
    assert [record[:2] for _, record in side.heard()] == [[Kind.PONG, 7]]


def test_a_goodbye_ends_it_and_a_drain_does_not(side: Side) -> None:
    side.say(LINK_TAG, [Kind.GOODBYE, Goodbye.DRAINING, "it drains"])
    assert not side.client.failure

    side.say(LINK_TAG, [Kind.GOODBYE, Goodbye.CLOSED, "it was closed"])
    assert "was closed" in side.client.failure
