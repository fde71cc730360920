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

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["from_json", "to_json"]


def from_json(text: str) -> Any:
    """Reads a value.

    Raises:
        ValueError: it is no JSON, or one of the objects above is malformed; the text says where.
    """
    try:
        return json.loads(text, object_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def to_json(value: Any) -> str:
    """Writes a value on one line."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


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
    except (AttributeError, TypeError, ValueError) as error:  # UUID(3) has no replace()
        raise ValueError(f"{json.dumps(found, default=repr)[:80]} is no {key[1:]}: {error}") from None


def _map(pairs: Any) -> dict[Any, Any]:
    return {key: value for key, value in pairs}  # noqa: C416  (dict() would take other things than pairs)


_READERS: dict[str, Callable[[Any], Any]] = {
    "$b64": lambda text: base64.b64decode(text, validate=True),
    "$uuid": UUID,
    "$time": datetime.fromisoformat,
    "$float": float,
    "$map": _map,
}


def _plain(value: Any) -> Any:
    """The value in the types that JSON has."""
    if isinstance(value, dict):
        fits = all(isinstance(key, str) for key in value) and not (len(value) == 1 and next(iter(value)) in _READERS)
        if fits:
            return {key: _plain(item) for key, item in value.items()}
        return {"$map": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, UUID):
        return {"$uuid": str(value)}
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return {"$b64": base64.b64encode(bytes(value)).decode()}  # bytes, and every other buffer: what it holds
