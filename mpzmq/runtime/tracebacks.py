"""Tracebacks hold frames, and frames what they worked with."""

from __future__ import annotations

__all__ = ["let_go_of_frames"]

MAX_ERRORS = 1000
"""Of one chain that are looked at: nobody knows what an application has put together there."""


def let_go_of_frames(error: BaseException) -> None:
    """Takes the tracebacks off an error that nobody raises any more, and off those that it came from.

    A frame that keeps an error, or a task that has failed, is kept by the error's traceback: only the cyclic garbage
    collector would free it, and the arguments in it, some time later.
    """
    left, seen = [error], {id(error)}
    while left and len(seen) < MAX_ERRORS:
        one = left.pop()
        one.__traceback__ = None
        parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        for other in (one.__cause__, one.__context__, *parts):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append(other)
