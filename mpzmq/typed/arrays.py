"""Arrays of numpy, and what annotations such as ``NDArray[np.float64]`` say of them. numpy may be missing."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any

from ..common.text import type_name

__all__ = ["is_array", "misfit_of_array"]


def is_array(kind: Any) -> bool:
    """Whether it is ``numpy.ndarray``."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray


def misfit_of_array(annotation: Any, value: Any) -> str | None:
    """What is expected, and what a value is instead; None: it fits.

    Args:
        annotation: ``numpy.ndarray``, alone or with shape and dtype.
        value: anything.
    """
    numpy = sys.modules["numpy"]
    if not isinstance(value, numpy.ndarray):
        return f"expected numpy.ndarray, got {type_name(value)}"
    shape, dtype = typing.get_args(annotation) or (Any, Any)
    scalars = _scalar_types(dtype)
    if scalars and not issubclass(value.dtype.type, scalars):
        wanted = " | ".join(scalar.__name__ for scalar in scalars)
        return f"expected numpy.ndarray of {wanted}, got one of {value.dtype.type.__name__}"
    sizes = typing.get_args(shape)
    if sizes and ... not in sizes and value.ndim != len(sizes):
        return f"expected numpy.ndarray with {len(sizes)} dimensions, got one with {value.ndim}"
    return None


def _scalar_types(dtype: Any) -> tuple[type, ...]:
    """The types that ``numpy.dtype[...]`` speaks of; none: any."""
    found: list[type] = []
    for one in typing.get_args(dtype):
        union = typing.get_origin(one) is typing.Union or isinstance(one, types.UnionType)
        for member in typing.get_args(one) if union else (one,):
            scalar = typing.get_origin(member) or member  # np.floating[Any]
            if not (isinstance(scalar, type) and issubclass(scalar, sys.modules["numpy"].generic)):
                return ()
            found.append(scalar)
    return tuple(found)
