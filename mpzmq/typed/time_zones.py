"""Datetimes without a time zone: nobody who is elsewhere can tell which moment they are."""

from __future__ import annotations

import datetime
from typing import Any

from ..common.text import repr_of
from .encoding import carried, is_model

__all__ = ["naive_in"]

_OTHERS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that have none, and are met most."""


def naive_in(value: Any) -> str | None:
    """Where a value that was converted has such a one, as a path within it; None: nowhere."""
    if type(value) in _OTHERS:
        return None
    if isinstance(value, datetime.datetime):
        return "" if value.utcoffset() is None else None
    if isinstance(value, dict):
        return _in_dict(value)
    if isinstance(value, set | frozenset):
        return "[...]" if any(naive_in(element) is not None for element in value) else None
    if isinstance(value, list | tuple):
        for index, element in enumerate(value):
            if (place := naive_in(element)) is not None:
                return f"[{index}]{place}"
        return None
    fields = None if is_model(type(value)) else carried(value)  # a model has judged for itself
    if isinstance(fields, dict):
        for name, element in fields.items():
            if (place := naive_in(element)) is not None:
                return f".{name}{place}"
        return None
    return naive_in(fields) if isinstance(fields, list) else None


def _in_dict(values: dict[Any, Any]) -> str | None:
    for key, element in values.items():
        place = naive_in(key)
        if place is None:
            place = naive_in(element)
        if place is not None:
            return f"[{repr_of(key, 80)}]{place}"
    return None
