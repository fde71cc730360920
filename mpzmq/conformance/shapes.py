"""What the records of a peer have to look like: docs/protocol.md, section 3, as a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..protocol.wire.kinds import Code, Kind
from .frames import LINK, Heard

if TYPE_CHECKING:
    from collections.abc import Callable

    _Fields = list[tuple[str, Callable[[Any], bool]]]
    _Shapes = dict[int, _Fields]

__all__ = ["NAMES", "shape_fault"]

NAMES = {number: name for name, number in vars(Kind).items() if name.isupper()}
"""The kinds in words."""


def _uint(value: Any) -> bool:
    return type(value) is int and value >= 0


def _int(value: Any) -> bool:
    return type(value) is int


def _text(value: Any) -> bool:
    return type(value) is str


def _bool(value: Any) -> bool:
    return type(value) is bool


def _uuid(value: Any) -> bool:
    return type(value) is UUID


def _anything(value: Any) -> bool:
    return True


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _limits(value: Any) -> bool:
    return type(value) is dict and all(_text(key) and _uint(item) and item > 0 for key, item in value.items())


def _uints(value: Any) -> bool:
    return type(value) is list and all(map(_uint, value))


def _window(value: Any) -> bool:
    return _uints(value) and len(value) == 2 and all(value)


def _state(value: Any) -> bool:
    return _uint(value) and value < 2


def _executed(value: Any) -> bool:
    return _uint(value) and value < 3


def _list(value: Any) -> bool:
    return type(value) is list


def _named(value: Any) -> bool:
    return value is None or (type(value) is dict and all(map(_text, value)))


def _tags(value: Any) -> bool:
    return type(value) is bytes and len(value) % 16 == 0


def _sizes(value: Any) -> bool:
    return value is None or (type(value) is bytes and len(value) > 0 and len(value) % 8 == 0)


def _pieces(value: Any) -> bool:
    return type(value) is list and len(value) > 0 and all(type(piece) is bytes and piece for piece in value)


def _or_nil(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


_PING: _Fields = [("number", lambda value: _uint(value) and value > 0)]
_PONG: _Fields = [("number", _uint), ("messages", _uint), ("bytes", _uint)]
_GOODBYE: _Fields = [("code", _int), ("text", _text)]
_CHUNK: _Fields = [("first", _uint), ("size", _uint), ("last", _bool), ("items", _list)]
_CREDIT: _Fields = [("received", _uint), ("items", _uint), ("bytes", _uint)]
_PART: _Fields = [("offset", _uint), ("sizes", _sizes), ("pieces", _pieces)]

_OF_ENGINE: _Shapes = {
    Kind.HELLO: [
        ("versions", _uints), ("session", _uuid), ("number", _uint), ("name", _text), ("interval", _seconds),
        ("limits", _limits),
    ],
    Kind.REQUEST: [
        ("sequence", _int), ("remaining", _or_nil(_int)), ("flags", _int), ("op", _int), ("function", _or_nil(_text)),
        ("args", _list), ("kwargs", _named), ("metadata", _named),
    ],
    Kind.CANCEL: [],
    Kind.PING: _PING,
    Kind.PONG: _PONG,
    Kind.GOODBYE: _GOODBYE,
    Kind.RECEIVED: [("low water", _uint), ("tags", _tags)],
    Kind.CHUNK: _CHUNK,
    Kind.CREDIT: _CREDIT,
    Kind.PART: _PART,
    Kind.TAKEN: [("bytes", _uint)],
}  # fmt: skip
_OF_CONTAINER: _Shapes = {
    Kind.WELCOME: [
        ("version", _int), ("instance", _uuid), ("number", _uint), ("resumed", _bool), ("status", _state),
        ("name", _text), ("interval", _seconds), ("window", _window), ("limits", _limits),
    ],
    Kind.RESPONSE: [("status", _state), ("data", _anything)],
    Kind.ERROR: [
        ("code", _int), ("executed", _executed), ("status", _state), ("message", _text),
        ("detail", _or_nil(lambda value: type(value) is dict)),
    ],
    Kind.PING: _PING,
    Kind.PONG: [*_PONG, ("status", _state), ("running", _uint), ("queued", _uint)],
    Kind.GOODBYE: _GOODBYE,
    Kind.STARTED: [],
    Kind.CHUNK: _CHUNK,
    Kind.CREDIT: _CREDIT,
    Kind.PART: _PART,
    Kind.TAKEN: [("bytes", _uint)],
}  # fmt: skip
_OF_THE_LINK = {
    Kind.HELLO, Kind.WELCOME, Kind.PING, Kind.PONG, Kind.GOODBYE, Kind.RECEIVED, Kind.TAKEN,
}  # fmt: skip
_OPTIONAL = 3
"""The last fields of PONG, which a container may leave out together."""


def shape_fault(heard: Heard, *, of_engine: bool) -> str:
    """What is wrong with a record that a peer has sent; empty: nothing. Unknown kinds are a later version's."""
    kind, *fields = heard.record
    shapes, others = (_OF_ENGINE, _OF_CONTAINER) if of_engine else (_OF_CONTAINER, _OF_ENGINE)
    if kind not in shapes:
        return f"{NAMES[kind]}, which only the other side sends (section 3)" if kind in others else ""
    shape = shapes[kind]
    least = len(shape) - (_OPTIONAL if kind == Kind.PONG and not of_engine else 0)
    if len(fields) not in (least, len(shape)) and len(fields) <= len(shape):
        return f"{NAMES[kind]} with {len(fields)} fields of {len(shape)} (section 3)"
    for (name, fits), value in zip(shape, fields, strict=False):
        if not fits(value):
            return f"{NAMES[kind]} whose {name} is {value!r:.99} (section 3)"
    to_no_session = kind == Kind.ERROR and fields[0] == Code.NO_SESSION  # the answer to a PING
    if (kind in _OF_THE_LINK) != (heard.tag == LINK) and not to_no_session:
        return f"{NAMES[kind]} under the tag {heard.tag.hex()} (section 3)"
    return ""
