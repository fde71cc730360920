"""One request: its bytes, its remaining time, its words."""

from __future__ import annotations

import math

import msgpack
import pytest

from mpzmq.config import Limits
from mpzmq.protocol.requester.request import encode_request, remaining_ms, request_in_words
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Flag, Kind, Op
from tests.support.protocol import make_entry

ENCODER = Encoder(Limits())


@pytest.mark.parametrize("remaining", [None, 1, 1_000_000_001])
@pytest.mark.parametrize(
    ("op", "function", "args", "kwargs", "metadata"),
    [
        (Op.INVOKE, None, ("data",), None, None),
        (Op.INVOKE, None, (b"data",), None, {"trace": "1"}),
        (Op.SETSTATE, None, (1,), None, None),
        (Op.GETSTATE, None, (), None, None),
        (Op.CALL, "add", (1, [2]), None, None),
        (Op.CALL, "add", (), {"a": 1}, None),
        (Op.CALL, "add", (1,), {"b": 2}, {"trace": "1"}),
    ],
)
def test_a_request_is_one_array(remaining, op, function, args, kwargs, metadata) -> None:  # type: ignore[no-untyped-def]
    body = encode_request(ENCODER, 2**40, remaining, Flag.IDEMPOTENT, op, function, args, kwargs, metadata)
    expected = [Kind.REQUEST, 2**40, remaining, Flag.IDEMPOTENT, op, function, list(args), kwargs, metadata]
    assert msgpack.unpackb(body) == expected


@pytest.mark.parametrize(
    ("deadline", "now", "expected"),
    [(6.0, 5.0, 1001), (5.0005, 5.0, 1), (5.0, 5.0, 1), (4.0, 5.0, 1), (5.0015, 5.0, 2)],
)
def test_remaining_time_is_rounded_up(deadline: float, now: float, expected: int) -> None:
    assert remaining_ms(deadline, now) == expected


def test_the_remaining_time_is_written_anew_when_a_request_has_waited() -> None:
    entry = make_entry(ENCODER, 1, now=10.0, deadline=12.0, data="x")
    body = entry.body
    assert entry.stale_at == pytest.approx(10.05)
    entry.refresh(11.0)
    assert entry.stale_at == pytest.approx(11.05)
    assert msgpack.unpackb(entry.body)[2] == 1001
    assert msgpack.unpackb(entry.body)[:2] + msgpack.unpackb(entry.body)[3:] == (
        msgpack.unpackb(body)[:2] + msgpack.unpackb(body)[3:]
    )
    entry.refresh(13.0)
    assert msgpack.unpackb(entry.body)[2] == 1


def test_a_request_without_deadline_is_never_written_anew() -> None:
    entry = make_entry(ENCODER, 1, now=10.0)
    assert entry.stale_at == math.inf and msgpack.unpackb(entry.body)[2] is None


def test_a_short_deadline_makes_a_request_stale_sooner() -> None:
    assert make_entry(ENCODER, 1, now=10.0, deadline=10.1).stale_at == pytest.approx(10.01)


def test_a_request_that_has_waited_for_room_gets_a_new_number() -> None:
    entry = make_entry(ENCODER, 1, 3, deadline=5.0, data=b"x" * 20_000)
    before = msgpack.unpackb(entry.body)
    entry.renumber(70_000)
    assert msgpack.unpackb(entry.body) == [before[0], 70_000, *before[2:]] and entry.sequence == 70_000
    assert entry.size == len(entry.body) + 16 + 20_000


def test_requests_in_words() -> None:
    assert make_entry(ENCODER, 1, function="add").what == "the call of 'add'"
    assert request_in_words(Op.INVOKE, None) == "the INVOKE request"
    assert request_in_words(Op.SETSTATE, None) == "the SETSTATE request"
    assert request_in_words(Op.GETSTATE, None) == "the GETSTATE request"
    assert request_in_words(Op.DESCRIBE, None) == "the describe request"
    assert request_in_words(99, None) == "the unknown request"
