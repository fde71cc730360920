"""What of a schema both JSON and a message can carry: what cannot be told is left out, and costs nothing else."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["can_be_told", "tellable"]

_LEAST: Final = -(2**63)
_MOST: Final = 2**64 - 1

_VALUES: Final = ("default", "const", "enum", "examples")
"""Keywords that have values, and no schemas: all of one is told, or nothing."""


def can_be_told(value: Any) -> bool:
    """Whether a value is one of JSON that a message can carry."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _LEAST <= value <= _MOST
    if isinstance(value, list):
        return all(map(can_be_told, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and can_be_told(key) and can_be_told(one) for key, one in value.items())
    return value is None


def tellable(schema: Any) -> Any:
    """A schema, or a part of it, without what cannot be told.

    Args:
        schema: of the application's, or of another library.
    """
    if isinstance(schema, dict):
        return {
            key: tellable(value)
            for key, value in schema.items()
            if can_be_told(key) and (can_be_told(value) or (isinstance(value, dict | list) and key not in _VALUES))
        }
    if isinstance(schema, list):
        return [tellable(value) for value in schema if can_be_told(value) or isinstance(value, dict | list)]
    return schema
