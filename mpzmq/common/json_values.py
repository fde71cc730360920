"""JSON as people type it, and the values of a message: each way nothing is lost.

What JSON cannot say is an object with one key that begins with ``$``: ``{"$b64": "aGk="}`` is ``bytes``,
``{"$uuid": ...}``, ``{"$time": ISO 8601}``, ``{"$float": "nan" | "inf" | "-inf"}``, and
``{"$map": [[key, value], ...]}`` is a dict whose keys are not strings, or one that would look like one of these.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .text import repr_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["as_json_types", "finite_float", "from_json", "from_json_types", "to_json"]


def from_json(text: str) -> Any:
    """Reads a value.

    Raises:
        ValueError: it is no JSON, or one of the objects above is malformed; the text says where.
    """
    try:
        return json.loads(text, object_hook=_object, parse_constant=_no_constant, parse_float=finite_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def from_json_types(value: Any) -> Any:
    """The same for JSON that was parsed already.

    Raises:
        ValueError: one of the objects above is malformed.
    """
    if isinstance(value, dict):
        return _object({key: from_json_types(item) for key, item in value.items()})
    if isinstance(value, list):
        return [from_json_types(item) for item in value]
    return value


def to_json(value: Any) -> str:
    """Writes a value on one line."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def as_json_types(value: Any) -> Any:
    """The value in the types that JSON has, for those who know no ``$``: UUIDs and times are strings.

    So JSON Schema has it (formats ``uuid`` and ``date-time``). What cannot be said so stays an object with ``$``.
    """
    return _plain(value, _as_text)


def finite_float(text: str) -> float:
    """A number of JSON.

    Raises:
        ValueError: it is beyond what a float holds, and would be infinite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is more than a float holds")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f'{name} is no JSON: write {{"$float": "{name.lower().replace("infinity", "inf")}"}}')


def _object(found: dict[str, Any]) -> Any:
    if len(found) != 1:
        return found
    ((key, value),) = found.items()
    reader = _READERS.get(key)
    if reader is None:
        return found
    try:
        return reader(value)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:  # UUID(3) has no replace()
        raise ValueError(f"{repr_of(found, 80)} is no {key[1:]}: {error}") from None


def _map(pairs: Any) -> dict[Any, Any]:
    return {key: value for key, value in pairs}  # noqa: C416  (dict() would take other things than pairs)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$b64": lambda text: base64.b64decode(text, validate=True),
    "$uuid": UUID,
    "$time": datetime.fromisoformat,
    "$float": float,
    "$map": _map,
}


def _plain(value: Any, write: Callable[[UUID | datetime], Any] | None = None) -> Any:
    """The value in the types that JSON has.

    Args:
        value: of a message.
        write: what stands for a UUID or a time; None: an object with ``$``.
    """
    if isinstance(value, dict):
        fits = all(isinstance(key, str) for key in value) and not (len(value) == 1 and next(iter(value)) in _READERS)
        if fits:
            return {key: _plain(item, write) for key, item in value.items()}
        return {"$map": [[_plain(key, write), _plain(item, write)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_plain(item, write) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, UUID | datetime):
        return _tagged(value) if write is None else write(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return {"$b64": base64.b64encode(bytes(value)).decode()}  # bytes, and every other buffer: what it holds


def _tagged(value: UUID | datetime) -> dict[str, str]:
    return {"$uuid": str(value)} if isinstance(value, UUID) else {"$time": value.isoformat()}


def _as_text(value: UUID | datetime) -> str:
    return str(value) if isinstance(value, UUID) else value.isoformat()
