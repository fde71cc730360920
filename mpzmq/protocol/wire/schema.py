"""The shape of each kind of record: what is looked at before anything of it is acted upon."""

from __future__ import annotations

import math
import reprlib
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from .decoder import CONTAINERS
from .kinds import NAMED, UNASKED, Kind, Op

if TYPE_CHECKING:
    from collections.abc import Callable

    from .decoder import Decoder

__all__ = ["MAX_TAGS", "NESTED_CALL_SCHEMA", "OPTIONAL", "SCHEMAS", "greeting_fault"]

MAX_TAGS = 1024
"""Tags that one RECEIVED names: it fits into any message with others."""

Record = list[Any]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_below(value: object, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def _is_announced(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and type(item) is int and item > 0 for key, item in value.items()
    )


_NAMED, _WITHOUT_ARGS = NAMED, (Op.GETSTATE, Op.DESCRIBE)
"""Names of the module, since each look-up in a class takes as long as three of them (Python 3.11)."""


def _check_request(record: Record, decoder: Decoder) -> bool:
    _, sequence, remaining, flags, op, function, args, kwargs, metadata = record
    if not (
        type(sequence) is type(flags) is type(op) is int
        and (remaining is None or type(remaining) is int)
        and (function is None or type(function) is str)
        and type(args) is list
    ):
        return False
    for value in args:
        if type(value) in CONTAINERS:
            decoder.check(args)
            break
    if kwargs is not None:
        if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
            return False
        decoder.check(kwargs)
    if metadata is not None:
        if type(metadata) is not dict or not all(type(key) is str for key in metadata):
            return False
        decoder.check(metadata)
    if op in _NAMED:
        return function is not None
    return len(args) == 1 or op in _WITHOUT_ARGS


def _check_call(record: Record, decoder: Decoder) -> bool:
    """A REQUEST of a container: the call of a function, inside a request of the engine."""
    return _check_request(record[:9], decoder) and record[4] == Op.CALL and isinstance(record[9], UUID)


def _check_response(record: Record, decoder: Decoder) -> bool:
    _, status, data = record
    if type(data) in CONTAINERS:
        decoder.check((data,))
    return type(status) is int and 0 <= status < 2


def _check_error(record: Record, decoder: Decoder) -> bool:
    _, code, executed, status, message, detail = record
    if not (type(code) is int and _is_below(executed, 3) and _is_below(status, 2) and type(message) is str):
        return False
    if detail is not None:
        if type(detail) is not dict:
            return False
        decoder.check(detail)
    return True


class _Field(NamedTuple):
    """One field of a greeting: who sends a wrong one is told its name."""

    name: str
    wanted: str
    fits: Callable[[Any], bool]


_UUID = "a UUID (ext type 2 of 16 bytes)"
_SECONDS = "a finite number of seconds above 0"
_LIMITS = "a map from text to int, each above 0"

_HELLO_FIELDS = (
    _Field("versions", "an array of unsigned ints", lambda value: type(value) is list and all(map(_is_count, value))),
    _Field("session", _UUID, lambda value: isinstance(value, UUID)),
    _Field("number", "an unsigned int", _is_count),
    _Field("name", "text", lambda value: type(value) is str),
    _Field("interval", _SECONDS, _is_seconds),
    _Field("limits", _LIMITS, _is_announced),
)
_WELCOME_FIELDS = (
    _Field("version", "an int", lambda value: type(value) is int),
    _Field("instance", _UUID, lambda value: isinstance(value, UUID)),
    _Field("number", "an unsigned int", _is_count),
    _Field("resumed", "a bool", lambda value: type(value) is bool),
    _Field("status", "0 or 1", lambda value: _is_below(value, 2)),
    _Field("name", "text", lambda value: type(value) is str),
    _Field("interval", _SECONDS, _is_seconds),
    _Field(
        "window",
        "an array of two ints above 0",
        lambda value: type(value) is list and len(value) == 2 and all(_is_count(size) and size > 0 for size in value),
    ),
    _Field("limits", _LIMITS, _is_announced),
)
_JOIN_FIELDS = (
    _Field("versions", "an array of unsigned ints", lambda value: type(value) is list and all(map(_is_count, value))),
    _Field("instance", _UUID, lambda value: isinstance(value, UUID)),
    _Field("number", "an unsigned int", _is_count),
    _Field("token", "text", lambda value: type(value) is str),
    _Field("name", "text", lambda value: type(value) is str),
    _Field(
        "labels",
        "a map from text to text",
        lambda value: type(value) is dict and all(type(word) is str for pair in value.items() for word in pair),
    ),
    _Field("limits", _LIMITS, _is_announced),
)
_GREETINGS = {
    Kind.HELLO: ("HELLO", _HELLO_FIELDS),
    Kind.WELCOME: ("WELCOME", _WELCOME_FIELDS),
    Kind.JOIN: ("JOIN", _JOIN_FIELDS),
}


def greeting_fault(record: Record) -> str:
    """What is wrong with a HELLO, a WELCOME or a JOIN, in words that name the field; empty: nothing is."""
    kind, fields = _GREETINGS[record[0]]
    for place, field in enumerate(fields, 1):
        if place == len(record):
            return f"{kind} has no field {field.name!r}, the {place + 1}. of its {len(fields) + 1} elements"
        if not field.fits(record[place]):
            shown = "of another type" if field.name == "token" else reprlib.repr(record[place])  # no secret is shown
            return f"the field {field.name!r} of {kind} should be {field.wanted}, and is {shown}"
    return ""


def _check_greeting(record: Record, decoder: Decoder) -> bool:
    return not greeting_fault(record)


def _check_nothing(record: Record, decoder: Decoder) -> bool:
    return True


def _check_ping(record: Record, decoder: Decoder) -> bool:
    return _is_count(record[1]) and record[1] != UNASKED


def _check_taken(record: Record, decoder: Decoder) -> bool:
    return _is_count(record[1])


def _check_pong(record: Record, decoder: Decoder) -> bool:
    _, number, messages, size, *load = record
    if not (_is_count(number) and _is_count(messages) and _is_count(size)):
        return False
    if not load:
        return True
    return len(load) == 3 and _is_below(load[0], 2) and _is_count(load[1]) and _is_count(load[2])


def _check_goodbye(record: Record, decoder: Decoder) -> bool:
    _, code, text = record
    return type(code) is int and type(text) is str


def _check_received(record: Record, decoder: Decoder) -> bool:
    _, low_water, tags = record
    return _is_count(low_water) and type(tags) is bytes and len(tags) % 16 == 0 and len(tags) <= 16 * MAX_TAGS


def _check_chunk(record: Record, decoder: Decoder) -> bool:
    _, first, size, last, items = record
    if not (_is_count(first) and _is_count(size) and type(last) is bool and type(items) is list and (items or last)):
        return False
    decoder.check(items)
    return True


def _check_credit(record: Record, decoder: Decoder) -> bool:
    _, received, items, size = record
    return _is_count(received) and _is_count(items) and _is_count(size)


def _check_part(record: Record, decoder: Decoder) -> bool:
    _, offset, sizes, pieces = record
    if not _is_count(offset) or type(pieces) is not list or not pieces:
        return False
    if sizes is not None and not (type(sizes) is bytes and sizes and len(sizes) % 8 == 0):
        return False
    for piece in pieces:
        if type(piece) is memoryview:
            if piece.format != "B" or piece.ndim != 1 or not piece.nbytes:
                return False
        elif type(piece) is not bytes or not piece:
            return False
    return True


# How many fields this version knows, and what it wants of them. Fields behind those are a later version's.
SCHEMAS: dict[int, tuple[int, Callable[[Record, Decoder], bool]]] = {
    Kind.HELLO: (7, _check_greeting),
    Kind.WELCOME: (10, _check_greeting),
    Kind.REQUEST: (9, _check_request),
    Kind.RESPONSE: (3, _check_response),
    Kind.ERROR: (6, _check_error),
    Kind.CANCEL: (1, _check_nothing),
    Kind.PING: (2, _check_ping),
    Kind.PONG: (7, _check_pong),
    Kind.GOODBYE: (3, _check_goodbye),
    Kind.STARTED: (1, _check_nothing),
    Kind.RECEIVED: (3, _check_received),
    Kind.CHUNK: (5, _check_chunk),
    Kind.CREDIT: (4, _check_credit),
    Kind.PART: (4, _check_part),
    Kind.TAKEN: (2, _check_taken),
    Kind.JOIN: (8, _check_greeting),
}

OPTIONAL: dict[int, int] = {Kind.PONG: 3}
"""How many of the last fields may be left out."""

NESTED_CALL_SCHEMA = (10, _check_call)
"""That of a REQUEST of a container."""
