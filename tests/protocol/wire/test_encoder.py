"""The way out: every row of the values table, and the path to whatever cannot be carried."""

from __future__ import annotations

import array
import collections
import decimal
import enum
import fractions
import mmap
import os
import re
import warnings
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from time import gmtime
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import msgpack
import numpy
import pytest

from mpzmq.config import Limits
from mpzmq.errors import EncodeError
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.values import LARGE_BYTES
from tests.protocol.wire.test_values import there_and_back
from tests.support.odd import RESULTS
from tests.support.protocol import same

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.13 and newer
    _WIDE = array.array("u", "ab")
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    _MATRIX = numpy.asmatrix([[1, 2]])


def stable_repr(value: object) -> str:
    """Without the addresses that repr() shows of memoryviews."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class Point(NamedTuple):
    x: int
    y: int


class Color(enum.IntEnum):
    RED = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Plain(enum.Enum):
    ONE = 1


class Text(str):
    pass


class Raw(bytes):
    pass


class Talkative(str):
    """It has more to say than it holds."""

    def __str__(self) -> str:
        return "something else"

    __format__ = None  # type: ignore[assignment]


class BadBytes(bytes):
    def __bytes__(self) -> bytes:
        raise KeyError("its content is asked for, and not for this")


class Rows(list[int]):
    def __len__(self) -> int:
        return 1000  # of which two are here


class Moment(datetime):
    pass


class Precise(datetime):
    """As pandas has it: with nanoseconds, by which it does not equal what it is made of."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Precise and super().__eq__(other)

    __hash__ = datetime.__hash__


class Meters(numpy.ndarray[Any, Any]):
    """An array with a unit."""


class Unsure(tzinfo):
    """A time zone that does not know where it is, and one that cannot be asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def utcoffset(self, moment: datetime | None) -> None:
        if self.error is not None:
            raise self.error

    dst = tzname = utcoffset


class Id(UUID):
    pass


def view_of(owner: Any) -> memoryview:
    return memoryview(owner)


def refused(value: Any, name: str = "data", limits: Limits | None = None) -> EncodeError:
    """The error with which a value is refused."""
    encoder = Encoder(limits or Limits())
    with pytest.raises(EncodeError) as caught:
        prepared = encoder.prepare(value, name, [])
        encoder.pack(prepared, name)
    assert isinstance(caught.value, TypeError)
    assert f"cannot send {caught.value.path}: " in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    return caught.value


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        (float("inf"), float("inf")),
        ("ü🚀\0", "ü🚀\0"),
        (b"", b""),
        ([1, [2]], [1, [2]]),
        ((1, (2,)), [1, [2]]),
        ({"a": {1: b"", b"b": None}}, {"a": {1: b"", b"b": None}}),
        (UUID(int=1), UUID(int=1)),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (bytearray(b"ab"), memoryview(b"ab")),
        (memoryview(b"ab"), memoryview(b"ab")),
        (array.array("d", [1.0]), memoryview(array.array("d", [1.0]))),
        (numpy.array([[1, 2]]), numpy.array([[1, 2]])),
        (numpy.array(7), numpy.array(7)),
        (numpy.zeros((0, 3)), numpy.zeros((0, 3))),
    ],
    ids=stable_repr,
)
def test_the_values_table(sent: Any, arrived: Any) -> None:
    assert same(there_and_back(sent), arrived)
    assert same(there_and_back([sent, {"k": sent}]), [arrived, {"k": arrived}])


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (Point(1, 2), [1, 2]),
        (Color.RED, 1),
        (Mode.FAST, "fast"),
        (Text("t"), "t"),
        (Raw(b"r"), b"r"),
        (Raw(b"r" * LARGE_BYTES), b"r" * LARGE_BYTES),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, {"a": [()]}), {"a": [[]]}),
        (Id(int=1), UUID(int=1)),
        (numpy.float64(1.5), 1.5),
        (numpy.str_("s"), "s"),
        (numpy.bytes_(b"b"), b"b"),
        ({Text("k"): 1, Color.RED: 2}, {"k": 1, 1: 2}),
        (Talkative("t"), "t"),
        (BadBytes(b"r"), b"r"),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (Rows([1, 2]), [1, 2]),
        (_MATRIX, numpy.array([[1, 2]])),
    ],
    ids=stable_repr,
)
def test_subclasses_arrive_as_what_they_are_at_heart(sent: Any, arrived: Any) -> None:
    assert same(there_and_back(sent), arrived)


def test_a_datetime_of_a_subclass_arrives_as_a_datetime() -> None:
    moment = Moment(2026, 1, 2, tzinfo=UTC)
    assert same(there_and_back([moment]), [datetime(2026, 1, 2, tzinfo=UTC)])


@pytest.mark.parametrize("moment", [datetime.min, datetime.max], ids=["first", "last"])
def test_a_moment_outside_the_years_of_utc_is_refused_where_it_is_sent(moment: datetime) -> None:
    hours = 5 if moment is datetime.min else -5
    error = refused([moment.replace(tzinfo=timezone(timedelta(hours=hours)))])
    assert error.path == "data[0]"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (decimal.Decimal(1), "Decimal"),
        (fractions.Fraction(1, 2), "Fraction"),
        (1j, "complex"),
        ({1}, "set"),
        (range(3), "range"),
        (iter([]), "list_iterator"),
        (object(), "object"),
        (object, "type"),
        (Plain.ONE, "Plain"),
        (date(2026, 1, 2), "date"),
        (time(1), "time"),
        (timedelta(1), "timedelta"),
        (msgpack.Timestamp(1), "Timestamp"),
        (collections.deque(), "deque"),
        (numpy.int64(1), "numpy.int64, a numpy scalar: send its .item()"),
        (numpy.bool_(True), "a numpy scalar"),
        (numpy.datetime64("2026-01-02"), "numpy.datetime64, a numpy scalar"),
        (numpy.float32(1), "numpy.float32"),
        (numpy.array([object()]), "an array of dtype object"),
        (numpy.zeros(2, "i4,i4"), "an array of dtype"),
        (datetime(2026, 1, 2), "a datetime without a time zone: make it aware"),
        (numpy.ma.array([1, 2], mask=[True, False]), "MaskedArray, an array that may hold more than its elements"),
        (numpy.ma.masked, "MaskedConstant, an array that may hold more"),
        (numpy.zeros(2).view(Meters), "Meters, an array that may hold more"),
        (numpy.zeros(2, "i4,i4").view(numpy.recarray), "recarray, an array that may hold more"),
        (os.stat("."), "stat_result, which has fields beside its elements"),
        (gmtime(0), "struct_time, which has fields beside its elements"),
        (Precise(2026, 1, 2, tzinfo=UTC), "Precise that is not the datetime it is made of"),
        (datetime(2026, 1, 2, tzinfo=Unsure()), "a datetime without a time zone: make it aware"),
        (datetime(2026, 1, 2, tzinfo=Unsure(LookupError("lost"))), "datetime, and reading it raised LookupError: lost"),
        (2**64, "an int of more than 64 bits"),
        (-(2**63) - 1, "an int of more than 64 bits"),
        ("\ud800", "a str that is no Unicode (a lone surrogate)"),
        (memoryview(b"abcd")[::2], "a memoryview that is not contiguous: copy it first"),
        (view_of(numpy.asfortranarray(numpy.eye(2))), "a memoryview that is not contiguous"),
        (_WIDE, "a array of format 'w', which memoryview cannot cast to"),
        (view_of(numpy.zeros(2, ">i4")), "a memoryview of format '>i'"),
        (view_of(numpy.zeros((0, 2))), "an empty memoryview of 2 dimensions"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else None,
)
def test_anything_else_is_refused_with_its_path(value: Any, what: str) -> None:
    for nested, path in (
        (value, "data"),
        ([0, value], "data[1]"),
        ((value,), "data[0]"),
        ({"a": value}, "data['a']"),
        ({3: [value]}, "data[3][0]"),
        ({b"k": {"l": (1, 2, value)}}, "data[b'k']['l'][2]"),
    ):
        error = refused(nested)
        assert error.path == path
        # The name of the type code of wide characters has changed in Python 3.13.
        assert what.replace("'w'", "") in str(error).replace("'w'", "").replace("'u'", "")


def test_the_path_names_keys_and_indexes_as_the_caller_wrote_them() -> None:
    assert refused({"user": {"created": decimal.Decimal(1)}}).path == "data['user']['created']"
    assert refused({"user": [None, {"created": 2**64}]}).path == "data['user'][1]['created']"
    assert refused([{"n": "\udfff"}], "args[2]").path == "args[2][0]['n']"
    assert refused(object(), "result").path == "result"


def test_reading_a_value_may_raise_anything() -> None:
    for what, make in RESULTS.items():
        error = refused([1, {"a": make()}])
        # A class that cannot be looked up is met when those of all elements are, before any has a path.
        assert error.path.startswith("data" if what == "an object of an odd class" else "data[1]['a']"), what
        assert len(str(error)) < 1000


def test_an_interrupt_is_no_matter_of_the_value() -> None:
    class Slow(dict[Any, Any]):
        def keys(self) -> NoReturn:
            raise KeyboardInterrupt

        def __iter__(self) -> NoReturn:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Encoder(Limits()).prepare([{"a": Slow(a=1)}], "data", [])


def test_a_long_key_is_not_said_in_full() -> None:
    assert refused({"k" * 100_000: object()}).path == "data['" + "k" * 79 + " [cut]]"


def test_nothing_of_a_mask_is_lost_inside_other_values() -> None:
    masked = numpy.ma.array([1.0, 2.0], mask=[False, True])
    assert refused({"rows": [masked]}, "result").path == "result['rows'][0]"
    parts = {"data": masked.data, "mask": numpy.ma.getmaskarray(masked)}
    assert same(there_and_back(parts), {"data": numpy.array([1.0, 2.0]), "mask": numpy.array([False, True])})


def test_the_advice_tells_what_a_message_carries() -> None:
    text = str(refused(object()))
    for word in ("None", "bool", "int (64 bit)", "bytes", "numpy arrays", "UUID", "aware datetime", "convert it first"):
        assert word in text


@pytest.mark.parametrize("key", [None, True, 1.5, (1,), UUID(int=1), frozenset()], ids=stable_repr)
def test_keys_are_str_int_or_bytes(key: Any) -> None:
    error = refused({"a": {key: 1}})
    assert error.path == f"data['a'][{key!r}]"
    assert f"a dict key of type {type(key).__name__}" in str(error)


@pytest.mark.parametrize("key", [2**64, "\ud800"])
def test_keys_that_messagepack_refuses(key: Any) -> None:
    assert refused([{key: 1}]).path == f"data[0][{key!r}]"


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def test_depth_from_both_sides() -> None:
    limits = Limits(depth=5)
    encoder = Encoder(limits)
    assert encoder.prepare(nested(5), "data", []) == nested(5)
    error = refused(nested(6), limits=limits)
    assert "nested deeper than Limits.depth, 5" in str(error)
    assert error.path.count("[") == 5


def test_items_from_both_sides() -> None:
    limits = Limits(items=10)
    encoder = Encoder(limits)
    fits: list[Any] = [[1] * 10, {n: n for n in range(10)}, [[1, 2, 3], {"a": [1, 2]}, 5, ()], [[]] * 10]
    for value in fits:
        encoder.prepare(value, "data", [])
    for value in ([1] * 11, {n: n for n in range(11)}, [[1, 2, 3], {"a": [1, 2]}, 5, (6,)], [[0]] * 6):
        assert "more elements than Limits.items allows" in str(refused(value, limits=limits))
    # Each value has the whole allowance, and an encoder forgets a value that it refused.
    encoder.prepare([1] * 10, "data", [])


def test_circular_values_end() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert "nested deeper" in str(refused(circle))
    ring: dict[str, Any] = {}
    ring["ring"] = [ring]
    assert refused(ring).path.startswith("data['ring'][0]['ring']")


def test_scalars_are_not_copied_or_walked() -> None:
    encoder = Encoder(Limits())
    for value in ([1, "a", None], {"a": 1}, (1, 2)):
        assert encoder.prepare(value, "data", []) is value


def test_buffers_are_taken_out_in_order_and_not_copied() -> None:
    encoder = Encoder(Limits())
    large, changing, matrix = b"x" * LARGE_BYTES, bytearray(b"abc"), numpy.arange(3)
    buffers: list[Any] = []
    body = encoder.pack([encoder.prepare([large, {"b": changing}, matrix, b"small"], "data", buffers)])
    assert len(buffers) == 3 and len(body) < 100
    assert buffers[0] is large
    changing[0] = ord("z")
    assert bytes(buffers[1]) == b"zbc"
    assert numpy.shares_memory(numpy.frombuffer(buffers[2], numpy.int64), matrix)
    del buffers  # while a view of it lives, a bytearray cannot change its size


def test_any_buffer_will_do() -> None:
    with mmap.mmap(-1, 4096) as memory:
        buffers: list[Any] = []
        Encoder(Limits()).prepare(memory, "data", buffers)
        assert len(buffers[0]) == 4096
        buffers[0].release()


def test_an_encoder_works_on_after_every_refusal() -> None:
    encoder = Encoder(Limits())
    for wrong in (2**64, "\ud800", [1, {"a": 2**64}]):
        with pytest.raises(EncodeError):
            encoder.pack([1, "half a record", wrong], "data")
        assert encoder.pack([1]) == b"\x91\x01"


def test_a_record_that_nobody_named_is_refused_too() -> None:
    with pytest.raises(EncodeError) as caught:
        Encoder(Limits()).pack([1, 2**64])
    assert caught.value.path == "the record[1]"


def test_uuids_of_records_need_no_preparation() -> None:
    assert Encoder(Limits()).pack([UUID(int=1)]) == b"\x91\xd8\x02" + UUID(int=1).bytes
