"""The look at MessagePack before it is decoded: it sees exactly what the decoder would."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.protocol.wire.prescan import MalformedData, has_long_headers, prescan

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
    max_leaves=40,
)


def size_of(value: Any) -> tuple[int, int]:
    """Elements in all lists and dicts of a value, and how deep they are nested."""
    if isinstance(value, msgpack.ExtType) or not isinstance(value, list | dict):
        return 0, 0
    below = [size_of(item) for item in (value.values() if isinstance(value, dict) else value)]
    return len(value) + sum(items for items, _ in below), 1 + max((depth for _, depth in below), default=0)


@given(st.lists(TREES, min_size=1, max_size=4))
def test_it_counts_what_is_there(values: list[Any]) -> None:
    data = b"".join(msgpack.packb(value) for value in values)
    sizes = [size_of(value) for value in values]
    items = max(items for items, _ in sizes)
    # An empty list needs no level: nothing is below it.
    depth = max(depth for _, depth in sizes)
    prescan(data, items, depth)
    if items:
        with pytest.raises(MalformedData, match="too many elements"):
            prescan(data, items - 1, depth)


@given(TREES, st.data())
def test_a_value_cut_short_is_seen(value: Any, data: st.DataObject) -> None:
    packed = msgpack.packb(value)
    cut = data.draw(st.integers(1, len(packed)))
    if packed[:-cut]:
        with pytest.raises(MalformedData):
            prescan(packed[:-cut], 10_000, 100)


def test_depth_from_both_sides() -> None:
    for header in (b"\x91", b"\x81\xa1k", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\xde\x00\x01\x00"):
        data = header * 5 + b"\x01"
        prescan(data, 100, 5)
        with pytest.raises(MalformedData, match="nested too deep"):
            prescan(data, 100, 4)


def test_values_behind_the_last_are_not_looked_at() -> None:
    data = msgpack.packb([1, [2, 3]]) + msgpack.packb("x") + msgpack.packb({})
    prescan(data, 100, 5, 3)
    with pytest.raises(MalformedData, match="more values"):
        prescan(data, 100, 5, 2)
    # Its own byte would be another error, if it were reached.
    with pytest.raises(MalformedData, match="more values"):
        prescan(b"\xc0" * 2 + b"\xc1", 100, 5, 2)


@pytest.mark.parametrize("code", range(256))
def test_every_first_byte(code: int) -> None:
    """With enough bytes behind it a value of any type ends where the decoder says."""
    data = bytes([code]) + b"\x00" * 40
    unpacker = msgpack.Unpacker(ext_hook=lambda _code, content: content, strict_map_key=False, max_ext_len=1000)
    unpacker.feed(data)
    try:
        unpacker.unpack()
        end = unpacker.tell()
    except Exception:
        with pytest.raises(MalformedData):
            prescan(data[:1] if code != 0xC1 else data, 1000, 10)
        return
    prescan(data[:end], 1000, 10)


@given(st.binary(max_size=300))
def test_random_bytes_raise_only_hostile_data(data: bytes) -> None:
    try:
        prescan(data, 1000, 20)
    except MalformedData:
        return
    if data:
        # What the scan lets pass is made of whole values: the decoder finds an end too, or dislikes their content.
        unpacker = msgpack.Unpacker(strict_map_key=False, raw=True, ext_hook=lambda code, content: (code, content))
        unpacker.feed(data)
        try:
            list(unpacker)
        except (ValueError, TypeError):  # a timestamp, or a key that cannot be one
            return
        assert unpacker.tell() == len(data)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", False),
        (b"\x01" * 10, False),
        (b"\x9f\x8f" * 5000, False),
        (b"\x01\xdc", True),
        (b"\xdd" * 5000, True),
        (b"\x01\xde", True),
        (b"\xdf" * 5000, True),
        (memoryview(b"\xdc" * 5000), True),
        (memoryview(b"\xdb\xe0"), False),
    ],
)
def test_long_headers_are_found(data: bytes | memoryview, found: bool) -> None:
    assert has_long_headers(data) is found


def test_a_view_is_scanned_like_bytes() -> None:
    prescan(memoryview(msgpack.packb([1, "a" * 70_000, {"k": [2.5]}])), 10, 3)
