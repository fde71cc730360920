"""Values of all kinds, encoded and decoded as a message carries them, and converted by their annotation."""

from __future__ import annotations

import datetime
import pathlib
import random
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpzmq import EncodeError, Limits
from mpzmq.protocol.wire.decoder import Decoder
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.typed.conversion import Converter
from mpzmq.typed.encoding import carried
from tests.typed.kinds import KINDS, Color, Item, Point

ENCODER = Encoder(Limits(), carried)


def through_a_message(value: Any) -> Any:
    """The value as the other side decodes it."""
    buffers: list[Any] = []
    packed = ENCODER.pack(ENCODER.prepare(value, "value", buffers))
    values, _, _ = Decoder(Limits()).records(1, b"\x91" + packed, [memoryview(bytes(buffer)) for buffer in buffers])
    return values[0][0]


def converted(value: Any, annotation: Any) -> Any:
    return Converter(annotation, "the parameter 'x' of f").convert(through_a_message(value), "x")


def test_there_are_forty_kinds() -> None:
    assert len(KINDS) >= 40


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_value_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    annotation, values = KINDS[kind]
    value = data.draw(values)
    result = converted(value, annotation)
    assert result == value
    assert type(result) is type(value)


@settings(max_examples=50, deadline=None)
@given(st.sets(st.one_of(st.integers(0, 1000), st.text("abc", max_size=3), st.uuids()), max_size=8))
def test_equal_sets_are_the_same_bytes_however_they_were_made(values: set[Any]) -> None:
    shuffled = list(values)
    random.Random(4).shuffle(shuffled)
    packed = [ENCODER.pack(ENCODER.prepare(one, "value", [])) for one in (values, set(shuffled), frozenset(shuffled))]
    assert packed[0] == packed[1] == packed[2]


@dataclass
class Measured:
    name: str
    samples: npt.NDArray[np.float64]
    raw: memoryview


def test_an_array_in_a_dataclass_is_not_copied() -> None:
    samples = np.arange(10_000, dtype=np.float64)
    buffers: list[Any] = []
    ENCODER.prepare(Measured("m", samples, memoryview(b"raw")), "value", buffers)
    assert np.shares_memory(np.frombuffer(buffers[0], dtype=np.float64), samples)


def test_what_arrived_as_an_array_or_as_bytes_is_passed_as_it_is() -> None:
    samples, raw = np.arange(4, dtype=np.float64), memoryview(b"raw")
    result = Converter(Measured, "x").convert({"name": "m", "samples": samples, "raw": raw}, "x")
    assert result.samples is samples
    assert result.raw is raw
    large = b"x" * 100_000
    assert Converter(bytes, "x").convert(large, "x") is large
    assert Converter(list[bytes], "x").convert([large], "x")[0] is large


def test_text_is_not_taken_for_bytes() -> None:
    with pytest.raises(ValueError, match=r"^x: expected bytes, got str$"):
        Converter(bytes, "x").convert("eA==", "x")


def test_what_cannot_be_carried_is_named_by_its_path() -> None:
    with pytest.raises(EncodeError) as caught:
        ENCODER.prepare({"job": [Item("a", object())]}, "data", [])  # type: ignore[arg-type]  # that is the point
    assert caught.value.path == "data['job'][0]['price']"


class Zone(datetime.tzinfo):
    """As those of zoneinfo: its offset is that of a day."""

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta | None:
        return None if when is None else datetime.timedelta(hours=1)

    dst = utcoffset

    def tzname(self, when: datetime.datetime | None) -> None:
        """Has none."""


def test_a_time_in_a_zone_that_means_nothing_without_a_date_is_not_sent() -> None:
    with pytest.raises(EncodeError, match="in its time zone it means nothing without a date") as caught:
        ENCODER.prepare({"at": datetime.time(8, 30, tzinfo=Zone())}, "data", [])
    assert caught.value.path == "data['at']"


def test_keys_that_would_be_the_same_are_refused() -> None:
    with pytest.raises(EncodeError, match="keys that would be the same"):
        ENCODER.prepare({Color.RED: 1, "red": 2}, "data", [])


def test_an_encoder_that_knows_no_own_types_carries_none() -> None:
    plain = Encoder(Limits())
    for value in (Point(1, 2), {1, 2}, datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1), pathlib.Path("a")):
        with pytest.raises(EncodeError):
            plain.prepare(value, "data", [])
    with pytest.raises(EncodeError):
        plain.prepare({UUID(int=1): 2}, "data", [])
