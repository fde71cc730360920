"""Which build of mpzmq runs."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

__all__ = ["build_name"]

COMPILED_FIRST = "mpzmq.protocol.link.link"
"""Compiled if anything is."""


def build_name() -> str:
    """``compiled``, or ``pure Python``: whether a compiled module stands beside the source, where Python prefers it."""
    spec = find_spec(COMPILED_FIRST)
    is_extension = spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if is_extension else "pure Python"
