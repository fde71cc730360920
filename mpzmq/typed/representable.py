"""What of a schema both JSON and a message can carry: what they cannot is left out, and costs nothing else."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["is_representable", "representable"]

_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1

_VALUES: Final = ("default", "const", "enum", "examples")
"""Keywords that have values, and no schemas: all of one is carried, or nothing."""


def is_representable(value: Any) -> bool:
    """Whether a value is one of JSON that a message can carry."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _LEAST <= value <= _MOST
    if isinstance(value, list):
        return all(map(is_representable, value))
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and is_representable(key) and is_representable(one) for key, one in value.items()
        )
    return value is None


def representable(schema: Any) -> Any:
    """A schema, or a part of it, without what they cannot carry.

    Args:
        schema: of the application's, or of another library.
    """
    if isinstance(schema, dict):
        return {
            key: representable(value)
            for key, value in schema.items()
            if is_representable(key)
            and (is_representable(value) or (isinstance(value, dict | list) and key not in _VALUES))
        }
    if isinstance(schema, list):
        return [representable(value) for value in schema if is_representable(value) or isinstance(value, dict | list)]
    return schema
