"""What a message can carry: the values table, there and back."""

from __future__ import annotations

import array
import math
import mmap
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mpzmq.config import Limits
from mpzmq.protocol.wire.decoder import Decoder
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder
from mpzmq.protocol.wire.values import (
    ARRAY_KINDS,
    EXT_BUFFER,
    EXT_UUID,
    KEYS,
    LARGE_BYTES,
    VIEW_FORMATS,
    unchanging,
)
from tests.support.protocol import same


def there_and_back(value: Any) -> Any:
    """The value as the other side gets it, having travelled as bytes."""
    buffers: list[Any] = []
    encoder = Encoder(Limits())
    body = encoder.pack([encoder.prepare(value, "data", buffers)])
    frames = [bytes(buffer) for buffer in buffers]
    records, buffers_fit, complete = Decoder(Limits()).records(1, body, frames)
    assert buffers_fit and complete and len(records) == 1
    Decoder(Limits()).check(records[0])
    return records[0][0]


def arrives(value: Any) -> Any:
    """What the values table says of a value that was sent."""
    if isinstance(value, list | tuple):
        return [arrives(item) for item in value]
    if isinstance(value, dict):
        return {key: arrives(item) for key, item in value.items()}
    if isinstance(value, bytearray | array.array):
        return memoryview(value)
    return value


KEY = st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary()
# Offsets near the first and the last year would leave the years 1 to 9999 in UTC.
MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 3),
    max_value=datetime(9999, 12, 29),
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
VIEWS = st.builds(
    lambda values, format_: memoryview(array.array(format_, values)),
    st.lists(st.integers(0, 127), max_size=20),
    st.sampled_from("bBhHiIlLqQfd"),
)
ARRAYS = npst.arrays(
    st.one_of(
        npst.integer_dtypes(endianness="?"),
        npst.unsigned_integer_dtypes(endianness="?"),
        npst.floating_dtypes(endianness="?"),
        npst.complex_number_dtypes(endianness="?"),
        npst.boolean_dtypes(),
        npst.datetime64_dtypes(endianness="?"),
        npst.timedelta64_dtypes(endianness="?"),
        npst.byte_string_dtypes(min_len=1, max_len=5),
        npst.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
    ),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(),
    st.binary(),
    st.sampled_from([b"x" * (LARGE_BYTES - 1), b"x" * LARGE_BYTES, b"x" * (LARGE_BYTES + 1)]),
    st.binary().map(bytearray),
    st.uuids(),
    MOMENTS,
    VIEWS,
    ARRAYS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(KEY, inner, max_size=5),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_arrives_as_the_table_says(value: Any) -> None:
    assert same(there_and_back(value), arrives(value))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # several large values: what is tested
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_values_of_several_records_keep_their_buffers_apart(values: list[Any]) -> None:
    encoder = Encoder(Limits())
    decoder = Decoder(Limits())
    for value in values:  # the same encoder and decoder, one message behind the other
        buffers: list[Any] = []
        body = encoder.pack([encoder.prepare(value, "data", buffers)])
        records, buffers_fit, complete = decoder.records(1, body, [bytes(buffer) for buffer in buffers])
        assert buffers_fit and complete
        assert same(records[0][0], arrives(value))


@pytest.mark.parametrize("size", [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1])
def test_size_never_changes_a_type(size: int) -> None:
    content = b"\xa5" * size
    assert same(there_and_back(content), content)
    view = there_and_back(bytearray(content))
    assert isinstance(view, memoryview) and view.readonly and view == content
    matrix = there_and_back(numpy.frombuffer(content, numpy.uint8))
    assert isinstance(matrix, numpy.ndarray) and matrix.tobytes() == content


@pytest.mark.parametrize("format_", sorted(VIEW_FORMATS))
def test_every_format_of_a_view(format_: str) -> None:
    view: memoryview = memoryview(bytes(range(16)) * 3).cast(format_)  # type: ignore[call-overload]
    found = there_and_back(view)
    assert same(found, view) and found.readonly


@pytest.mark.parametrize("shape", [[], [1], [6], [2, 3], [1, 2, 3], [6, 1, 1, 1]])
def test_every_shape_of_a_view(shape: list[int]) -> None:
    view = memoryview(bytes(4 * max(1, math.prod(shape)))).cast("i", shape)
    assert same(there_and_back(view), view)


@pytest.mark.parametrize("format_", "bBhHiIlLqQfd")
def test_empty_views_keep_their_format(format_: str) -> None:
    assert same(there_and_back(array.array(format_)), memoryview(array.array(format_)))


@pytest.mark.parametrize("kind", sorted(ARRAY_KINDS - {"?"}))
def test_every_kind_of_array(kind: str) -> None:
    sizes = {"b": "b1", "c": "c16", "S": "S3", "U": "U3", "V": "V5", "m": "m8[ns]", "M": "M8[us]"}
    array_ = numpy.zeros((2, 2), sizes.get(kind, kind + "8"))
    found = there_and_back(array_)
    assert same(found, array_)
    assert not found.flags.writeable


def test_arrays_of_any_layout_arrive_in_rows() -> None:
    matrix = numpy.arange(12).reshape(3, 4)
    for array_ in (matrix.T, matrix[:, ::2], matrix[::-1], numpy.asfortranarray(matrix)):
        assert same(there_and_back(array_), numpy.ascontiguousarray(array_))


def test_an_array_lies_over_the_received_memory() -> None:
    buffers: list[Any] = []
    encoder = Encoder(Limits())
    body = encoder.pack([encoder.prepare(numpy.arange(4, dtype="<i4"), "data", buffers)])
    frame = bytes(buffers[0])
    records, _, _ = Decoder(Limits()).records(1, body, [frame])
    assert numpy.shares_memory(records[0][0], numpy.frombuffer(frame, numpy.uint8))


def test_moments_arrive_in_utc_to_the_microsecond() -> None:
    local = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=-5, minutes=-30)))
    found = there_and_back(local)
    assert found == local and found.tzinfo is UTC and found.microsecond == 678901


def test_constants_are_those_of_the_page() -> None:
    assert (EXT_BUFFER, EXT_UUID, LARGE_BYTES) == (1, 2, 16_384)
    assert {str, int, bytes} == KEYS
    assert there_and_back({"a": 1, 2: UUID(int=3), b"c": None}) == {"a": 1, 2: UUID(int=3), b"c": None}


def received_view(content: memoryview) -> Any:
    """A view of a buffer that came with a message."""
    reference = msgpack.ExtType(EXT_BUFFER, msgpack.packb([0, "v", "B", [len(content)]]))
    record = msgpack.packb([Kind.RESPONSE, 1, reference])
    message = MessageDecoder(Limits(), Kind.RESPONSE).decode([bytes(15) + b"1", record, content])
    ((_, (_, _, view)),) = message.records
    return view


def test_a_received_buffer_is_kept_without_a_copy_whoever_seems_to_own_it() -> None:
    content = memoryview(mmap.mmap(-1, 50_000))
    assert type(unchanging(content)) is bytes, "an application may write to a mapping of its own"
    view = received_view(content)
    assert view.readonly and unchanging(view) is view
    assert type(unchanging(view[:100])) is bytes, "a small part would hold the whole"


def test_a_received_buffer_whose_owner_cannot_be_remembered_arrives_too() -> None:
    view = received_view(memoryview(bytearray(b"abc")))
    assert view == b"abc" and type(unchanging(view)) is bytes
