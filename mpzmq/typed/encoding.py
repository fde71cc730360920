"""What values of the application's types travel as.

One step at a time: a value becomes one of those that a message carries, whose elements may be of such types again.
So nothing is copied that can go as it is, an array in a field of a dataclass neither.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import operator
import os
import pathlib
import uuid
from typing import TYPE_CHECKING, Any

from ..protocol.wire.values import AS_IT_IS
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["carried", "is_model"]

MAX_KNOWN = 4096
"""Classes that are remembered: programs that make them as they go are not to fill the memory."""

_ways: dict[type, Callable[[Any], Any]] = {}


def carried(value: Any) -> Any:
    """What a value travels as; ``AS_IT_IS`` where it is none of the application's types."""
    kind = type(value)
    way = _ways.get(kind)
    if way is None:
        if len(_ways) >= MAX_KNOWN:
            _ways.clear()
        way = _ways[kind] = _way_of(kind)
    return way(value)


def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic's models."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate")


def _way_of(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, enum.Enum):
        return _value_of
    if hasattr(kind, "__struct_fields__"):
        return _struct_way(kind)
    if is_model(kind):
        return _dump
    if hasattr(kind, "__dataclass_fields__"):
        return _fields_way(list(kind.__dataclass_fields__.values()))
    if hasattr(kind, "__attrs_attrs__"):
        return _fields_way(kind.__attrs_attrs__)
    for base, way in _SCALARS.items():
        if issubclass(kind, base):
            return way
    return _as_it_is


def _as_it_is(value: Any) -> Any:
    return AS_IT_IS


def _value_of(value: enum.Enum) -> Any:
    return value.value


def _dump(value: Any) -> Any:
    return value.model_dump(by_alias=True)


def _date(value: datetime.date) -> str:
    return value.isoformat()


def _time(value: datetime.time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("in its time zone it means nothing without a date: send a datetime, or leave the zone out")
    return value.isoformat()


def _duration(value: datetime.timedelta) -> Any:
    return msgspec_for("a timedelta").to_builtins(value)


_SCALARS: dict[type, Callable[[Any], Any]] = {
    decimal.Decimal: str,
    datetime.datetime: _as_it_is,  # a date, too, but with a form of its own
    datetime.date: _date,
    datetime.time: _time,
    datetime.timedelta: _duration,
    pathlib.PurePath: os.fspath,
    uuid.UUID: _as_it_is,
}


def _fields_way(fields: Any) -> Callable[[Any], dict[str, Any]]:
    names = [field.name for field in fields if getattr(field, "_field_type", None) is None or _is_field(field)]
    if len(names) < 2:
        return lambda value: {name: getattr(value, name) for name in names}
    all_of, in_order = operator.attrgetter(*names), tuple(names)

    def way(value: Any) -> dict[str, Any]:
        own: dict[str, Any] | None = getattr(value, "__dict__", None)
        if own is not None and tuple(own) == in_order:
            return own  # nobody writes to it: a third of the time
        return dict(zip(names, all_of(value), strict=True))

    return way


def _is_field(field: Any) -> bool:
    """Whether it is a field of a dataclass, and no ClassVar or InitVar."""
    return getattr(field._field_type, "name", "") == "_FIELD"


def _struct_way(kind: Any) -> Callable[[Any], Any]:
    unset = msgspec_for("a msgspec.Struct").UNSET
    config = kind.__struct_config__
    fields = list(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    if config.array_like:
        front = [] if config.tag is None else [config.tag]
        return lambda value: front + [getattr(value, name) for _, name in fields]
    tag = {} if config.tag is None else {config.tag_field: config.tag}

    def way(value: Any) -> dict[str, Any]:
        result = dict(tag)
        for shown, name in fields:
            held = getattr(value, name)
            if held is not unset:
                result[shown] = held
        return result

    return way
