"""The way in: limits and hostile MessagePack, record by record."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any
from uuid import UUID

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.protocol.wire.decoder import Decoder
from mpzmq.protocol.wire.prescan import MalformedData
from tests.support.protocol import same

MIB = 1024 * 1024


def decode(data: bytes, *buffers: bytes, count: int = 1, limits: Limits | None = None) -> tuple[list[Any], bool, bool]:
    return Decoder(limits or Limits()).records(count, data, buffers)


def packed(*values: Any) -> bytes:
    return b"".join(msgpack.packb(value) for value in values)


def reference(*parts: Any) -> msgpack.ExtType:
    """Ext type 1: an index alone, or an index with kind, format and shape."""
    return msgpack.ExtType(1, msgpack.packb(parts[0] if len(parts) == 1 else list(parts)))


def refused(data: bytes, *buffers: bytes, limits: Limits | None = None) -> bool:
    records, _, complete = decode(data, *buffers, limits=limits)
    return records == [] and not complete


def test_values_back_to_back() -> None:
    assert decode(packed([1], [2, "a"], 3), count=3) == ([[1], [2, "a"], 3], True, True)


def test_those_before_a_malformed_one_are_kept() -> None:
    decoder = Decoder(Limits())
    assert decoder.records(3, packed([1]) + b"\xc1" + packed([3]), ()) == ([[1]], True, False)
    assert decoder.records(2, packed([1]), ()) == ([[1]], True, False)
    assert decoder.records(1, packed([7]), ()) == ([[7]], True, True), "it works on"


def test_bytes_behind_the_last_value() -> None:
    decoder = Decoder(Limits())
    assert decoder.records(1, packed([1], [2]), ()) == ([[1]], True, False)
    assert decoder.records(1, packed([3]), ()) == ([[3]], True, True), "nothing is left over for the next message"


@pytest.mark.parametrize(
    "malformed",
    [packed([1]) + b"\xdc\x00", packed([1]) + packed([0xDC] * 16), b"\xc1\xdc", packed(["x" * 300])[:-1] + b"\xdc"],
    ids=["cut short behind it", "one too many", "no MessagePack", "another byte at its end"],
)
def test_nothing_of_a_message_is_left_for_the_next_one(malformed: bytes) -> None:
    decoder = Decoder(Limits())
    decoder.records(1, malformed, [])
    for value in ([1, bytes([0xDC])], list(range(20))):
        assert decoder.records(2, packed(value, value), []) == ([value, value], True, True)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_cut_short(cut: int) -> None:
    whole = packed([1, "abc", {"k": 1.5}])
    decoder = Decoder(Limits())
    assert decoder.records(1, whole[:-cut], ()) == ([], True, False)
    assert decoder.records(1, whole, ()) == ([[1, "abc", {"k": 1.5}]], True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xa2\xff\xfe",  # a str that is no UTF-8
        b"\xa3\xed\xa0\x80",  # a surrogate
        b"\xd9\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x81\x90\x01",  # a list as a key
        b"\x81\x80\x01",
        packed(msgpack.ExtType(0, b"")),
        packed(msgpack.ExtType(3, b"")),
        packed(msgpack.ExtType(127, b"x")),
        b"\xc7\x01\xfe\x00",  # ext type -2
        b"\xc7\x01\x80\x00",  # ext type -128
        packed(msgpack.ExtType(2, bytes(15))),
        packed(msgpack.ExtType(2, bytes(17))),
        packed(msgpack.ExtType(2, b"")),
        b"\xc7\x05\xff" + bytes(5),  # a timestamp of no known size
        b"\xc7\x00\xff",
        b"\xc7\x0c\xff" + b"\xff" * 4 + bytes(8),  # 4 294 967 295 nanoseconds
        b"\xc7\x0c\xff" + bytes(4) + b"\x7f" + b"\xff" * 7,  # in the year 292 277 026 596
        b"\xc7\x0c\xff" + bytes(4) + b"\x80" + bytes(7),
        b"\xd7\xff" + b"\xff" * 8,
    ],
    ids=bytes.hex,
)
def test_what_no_peer_of_ours_sends(data: bytes) -> None:
    assert refused(data)
    assert refused(b"\x91" + data)


def test_known_extensions() -> None:
    assert decode(packed(msgpack.ExtType(2, UUID(int=5).bytes)))[0] == [UUID(int=5)]
    (moment,), _, _ = decode(b"\xd6\xff\x00\x00\x00\x01")
    assert moment.timestamp() == 1 and moment.utcoffset().total_seconds() == 0


# Buffers


def test_the_three_forms() -> None:
    data = packed([reference(0), reference(1, "v", "h", [2]), reference(2, "a", "<i2", [1, 2])])
    ((content, view, array),), fit, complete = decode(data, b"abcd", b"\1\0\2\0", b"\1\0\2\0")
    assert fit and complete
    assert content == b"abcd" and type(content) is bytes
    assert same(view, memoryview(b"\1\0\2\0").cast("h")) and view.readonly
    assert same(array, numpy.array([[1, 2]], "<i2")) and not array.flags.writeable


def test_buffers_of_several_records_count_over_the_message() -> None:
    records, fit, complete = decode(packed([reference(0)], [reference(1)]), b"a", b"b", count=2)
    assert (records, fit, complete) == ([[b"a"], [b"b"]], True, True)


@pytest.mark.parametrize(
    ("order", "buffers"),
    [
        ((1, 0), 2),  # out of order
        ((0, 0), 1),  # twice
        ((0, 0), 2),
        ((1,), 2),
        ((0, 2), 3),
        ((0, 1), 1),  # not there
        ((-1,), 1),
        ((2**63,), 1),
        ((True,), 2),
        ((0.5,), 1),
        ((None,), 1),
        (("0",), 1),
    ],
)
def test_references_out_of_order_twice_or_to_nothing(order: tuple[Any, ...], buffers: int) -> None:
    data = packed([reference(index) for index in order])
    assert refused(data, *[b"x"] * buffers)


def test_a_buffer_that_nobody_refers_to() -> None:
    assert decode(packed([1]), b"x") == ([[1]], False, True)
    assert decode(packed([reference(0)]), b"x", b"y") == ([[b"x"]], False, True)


def test_a_reference_that_was_read_in_the_last_message_does_not_count() -> None:
    decoder = Decoder(Limits())
    for _ in range(2):
        assert decoder.records(1, packed(reference(0)), (b"x",)) == ([b"x"], True, True)
    assert decoder.records(1, packed(reference(1)), (b"x", b"y")) == ([], False, False)


@pytest.mark.parametrize(
    "parts",
    [
        (0, "v"),
        (0, "v", "B"),
        (0, "v", "B", [4], 1),
        (0, "x", "B", [4]),
        (0, 1, "B", [4]),
        (0, None, None, None),
        (0, "v", "w", [1]),
        (0, "v", "u", [2]),
        (0, "v", "BB", [2]),
        (0, "v", "<i", [1]),
        (0, "v", "", [4]),
        (0, "v", None, [4]),
        (0, "v", ["B"], [4]),
        (0, "v", "B", [5]),
        (0, "v", "B", [3]),
        (0, "v", "B", [-4]),
        (0, "v", "B", [2, -2]),
        (0, "v", "B", [0]),
        (0, "v", "B", ["4"]),
        (0, "v", "B", [4.0]),
        (0, "v", "B", None),
        (0, "v", "B", 4),
        (0, "v", "B", [1] * 65 + [4]),
        (0, "v", "B", [2**62, 2**62]),
        (0, "v", "q", [1]),
        (0, "a", "O", [1]),
        (0, "a", "|O", [1]),
        (0, "a", "|O8", [1]),
        (0, "a", "<i4,O", [1]),
        (0, "a", "<i2,<i2", [1]),
        (0, "a", "<i4", [2]),
        (0, "a", "<i8", []),
        (0, "a", "<i4", [True]),
        (0, "a", "<i4", [-1]),
        (0, "a", "<i4", [-1, -1]),
        (0, "a", "<i4", [1.0]),
        (0, "a", "<i4", None),
        (0, "a", "<i4", [1] * 100),
        (0, "a", "<i4" + " " * 30, [1]),
        (0, "a", "<U99999999", [1]),
        (0, "a", "<x4", [1]),
        (0, "a", "", [4]),
        (0, "a", "<", [4]),
        (0, "a", 4, [1]),
        (0, "a", b"<i4", [1]),
        (0, "a", "(2,)<i2", [1]),
        (0, "a", "<i3", [1]),
        (0, "a", "<M8[parsec]", [0]),
    ],
    ids=repr,
)
def test_malformed_references(parts: tuple[Any, ...]) -> None:
    assert refused(packed(reference(*parts)), b"\0\0\0\0")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("|S0", [10**6]), ("<U0", [10**9]), ("|V0", [3]), ("<i4", [0, 2**63]), ("<i4", [2**62, 0, 2**62])],
)
def test_empty_buffers_are_no_large_arrays(dtype: str, shape: list[int]) -> None:
    assert refused(packed(reference(0, "a", dtype, shape)), b"")


@pytest.mark.parametrize("shape", [[], [1], [0, 0], [0, 1], None])
def test_an_empty_view_has_one_dimension(shape: Any) -> None:
    assert refused(packed(reference(0, "v", "B", shape)), b"")


def test_a_view_of_a_format_that_arrays_do_not_have() -> None:
    (view,), _, _ = decode(packed(reference(0, "v", "?", [0])), b"")
    assert isinstance(view, memoryview) and view.nbytes == 0 and view.readonly


def test_ext_payload_that_is_no_messagepack() -> None:
    for payload in (b"", b"\xc1", b"\x00\x00", b"\xdd\xff\xff\xff\xff", b"\x91" * 2000, b"\x81\x00\x00"):
        assert refused(packed(msgpack.ExtType(1, payload)), b"x")


# Without numpy


@pytest.fixture
def no_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)


@pytest.mark.usefixtures("no_numpy")
@pytest.mark.parametrize(
    ("dtype", "format_"),
    [("<i2", "h"), ("<i4", "i"), ("<u8", "Q"), ("<f8", "d"), ("|b1", "?"), ("|u1", "B"), ("<f4", "f")],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="the vectors of this test are little-endian")
def test_an_array_is_a_view_where_numpy_is_missing(dtype: str, format_: str) -> None:
    content = bytes(16)
    count = 16 // int(dtype[2:])
    (view,), fit, complete = decode(packed(reference(0, "a", dtype, [count, 1])), content)
    assert fit and complete
    assert same(view, memoryview(content).cast(format_, [count, 1]))  # type: ignore[call-overload]


@pytest.mark.usefixtures("no_numpy")
@pytest.mark.parametrize("dtype", [">i4", "<c16", "<U1", "<M8[s]", "|V4"])
def test_an_array_that_no_view_can_show_is_its_bytes(dtype: str) -> None:
    (view,), _, _ = decode(packed(reference(0, "a", dtype, [1])), bytes(16))
    assert same(view, memoryview(bytes(16)))


@pytest.mark.usefixtures("no_numpy")
def test_a_wrong_shape_is_refused_without_numpy_too() -> None:
    assert refused(packed(reference(0, "a", "<i4", [3])), bytes(16))
    assert refused(packed(reference(0, "a", "O", [3])), bytes(16))
    (view,), _, _ = decode(packed(reference(0, "a", "<i4", [0, 2])), b"")
    assert view.nbytes == 0


# Limits


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def test_depth_from_both_sides() -> None:
    decoder = Decoder(Limits(depth=5))
    decoder.check([nested(5)])
    decoder.check({"a": nested(5)})
    for values in ([nested(6)], {"a": nested(6)}, (1, nested(6))):
        with pytest.raises(MalformedData, match="nested deeper than 5"):
            decoder.check(values)


def test_items_from_both_sides() -> None:
    decoder = Decoder(Limits(items=10))
    values: Any
    for values in ([[1] * 10], [[1] * 10, {n: n for n in range(10)}], [[[]] * 10], [[[1, 2, 3, 4]] * 2], [1] * 100):
        decoder.check(values)
    for values in ([[1] * 11], [[1] * 5, {n: n for n in range(11)}], [[[0]] * 6], [[[1, 2, 3, 4], [1, 2, 3, 4, 5]]]):
        with pytest.raises(MalformedData, match="more than 10 elements"):
            decoder.check(values)


@pytest.mark.parametrize("key", [None, True, 1.5, UUID(int=1)], ids=repr)
def test_keys(key: Any) -> None:
    decoder = Decoder(Limits())
    decoder.check([{"a": 1, 1: 2, b"b": 3}])
    for values in ([{key: 1}], {key: 1}, [[{"a": {key: 1}}]]):
        with pytest.raises(MalformedData, match="a dict key"):
            decoder.check(values)


def test_the_largest_message() -> None:
    limits = Limits(message_bytes=4096)
    assert decode(packed(b"x" * 4000), limits=limits)[2]
    assert refused(packed(b"x" * 5000), limits=limits)


@pytest.mark.parametrize(
    "data",
    [
        b"\xdc\xff\xff" * 1000,
        b"\xdd\x00\x01\x86\xa0" * 800,
        b"\xdc\xff\xff" * 20_000,
        b"\xdd\x00\x01\x86\xa0" * 20_000,
        b"\xde\xff\xff" * 20_000,
        b"\x81\xa1k" * 20_000,
        b"\x91" * MIB,
        b"\xdc\x40\x00" + b"\x90" * 0x4000 + b"\xdc\xff\xff" * 5000,
        b"\xdc\xff\xff" + b"\x90" * 50_000,
        b"\xdd\x00\x20\x00\x00" + b"\x90" * 0x200000,  # 2 MiB of empty lists
        b"\xc9" + (100_000).to_bytes(4, "big") + b"\x01" + b"\xdd\x00\x01\x80\x00" * 20_000,
    ],
    ids=lambda data: f"{data[:6].hex()}, {len(data)} bytes",
)
def test_headers_that_ask_for_memory_do_not_get_it(data: bytes) -> None:
    decoder = Decoder(Limits())
    decoder.records(1, packed([1]), ())  # the parser's own buffer is there already
    tracemalloc.start()
    try:
        records, _, complete = decoder.records(1, data, (b"",))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(records) <= 1 and not complete
    # A slot of 8 bytes for each byte, at most, and what the parser itself needs.
    assert peak < 2 * MIB + 12 * len(data)


@given(st.binary(max_size=200), st.integers(1, 5), st.lists(st.binary(max_size=8), max_size=3))
def test_random_bytes_never_raise(data: bytes, count: int, buffers: list[bytes]) -> None:
    decoder = Decoder(Limits())
    records, _, complete = decoder.records(count, data, buffers)
    assert len(records) <= count
    assert not complete or len(records) == count
    assert decoder.records(1, packed(["next"]), ()) == ([["next"]], True, True)
