"""What a request asks for, in a few bytes: it tells two requests under one id apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .encoder import Encoder
    from .values import Buffer

__all__ = ["digest_of"]

_BYTES = 16


def digest_of(
    encoder: Encoder, op: int, function: str | None, args: Sequence[Any], kwargs: dict[str, Any] | None
) -> bytes:
    """The digest of an operation, its function and its arguments.

    Raises:
        EncodeError: a message cannot carry the arguments.
    """
    buffers: list[Buffer] = []
    asked = [op, function, encoder.prepare_all(_in_order(args), "args", buffers)]
    if kwargs:
        asked.append(encoder.prepare_all(_in_order(kwargs), "kwargs", buffers))
    result = hashlib.blake2b(encoder.pack(asked), digest_size=_BYTES)
    for buffer in buffers:
        result.update(len(buffer).to_bytes(8))
        result.update(buffer)
    return result.digest()


def _in_order(value: Any) -> Any:
    """The same, with all dicts in one order: equal ones are the same, however they were made."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (isinstance(key, int), isinstance(key, bytes), key))
        return {key: _in_order(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    return value
