"""Errors that are raised in place of others."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["alone"]

_E = TypeVar("_E", bound=BaseException)


def alone(error: _E) -> _E:
    """``raise alone(error) from None``: a traceback shows this error, and not the one that it replaces.

    mypyc leaves ``from None`` out of what it compiles, so that there the error itself has to say so.
    """
    error.__suppress_context__ = True
    return error
