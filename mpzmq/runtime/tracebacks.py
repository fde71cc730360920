"""Tracebacks hold frames, and frames what they worked with."""

from __future__ import annotations

from typing import Any

__all__ = ["let_go_of_frames"]

MAX_ERRORS = 1000
"""Of one chain that are looked at: nobody knows what an application has put together there."""


# Of the base classes: a class of the application may have attributes of its own under these names, which raise.
_traceback: Any = BaseException.__traceback__
_cause: Any = BaseException.__cause__
_context: Any = BaseException.__context__
_exceptions: Any = BaseExceptionGroup.exceptions


def let_go_of_frames(error: BaseException) -> None:
    """Takes the tracebacks off an error that nobody raises any more, and off those that it came from.

    A frame that keeps an error, or a task that has failed, is kept by the error's traceback: only the cyclic garbage
    collector would free it, and the arguments in it, some time later.
    """
    left, seen = [error], {id(error)}
    while left and len(seen) < MAX_ERRORS:
        one = left.pop()
        _traceback.__set__(one, None)
        parts = _exceptions.__get__(one) if issubclass(type(one), BaseExceptionGroup) else ()
        for other in (_cause.__get__(one), _context.__get__(one), *parts):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append(other)
