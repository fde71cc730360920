"""Numbers of seconds, as users give them, checked."""

from __future__ import annotations

__all__ = ["MAX_SECONDS", "checked_after", "checked_seconds", "checked_timeout", "checked_wait"]

MAX_SECONDS = 1_000_000
"""libzmq counts milliseconds in 32 bits: 24 days."""


def checked_seconds(value: object, what: str) -> float:
    """A duration that has to be above 0: an interval, or a time after which something is given up.

    Args:
        value: what the user has given.
        what: what it is called in errors.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not above 0, or more than ``MAX_SECONDS``, or not a number of seconds at all (NaN).
    """
    seconds = _number(value, what, "a number of seconds")
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{what} must be more than 0 and at most {MAX_SECONDS:,} seconds, not {seconds}")
    return seconds


def checked_after(value: object, what: str) -> float | None:
    """A duration after which something is given up. None: never; 0: at once.

    Raises:
        TypeError: it is neither a number nor None.
        ValueError: it is negative, or more than ``MAX_SECONDS``, or not a number of seconds at all (NaN).
    """
    if value is None:
        return None
    seconds = _number(value, what, "a number of seconds or None")
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{what} must be from 0 to {MAX_SECONDS:,} seconds, or None for never, not {seconds}")
    return seconds


def checked_timeout(value: object, what: str = "timeout") -> float | None:
    """How long something may take, in seconds. None: no deadline; 0 or less: the time is over already.

    Raises:
        TypeError: it is neither a number nor None.
        ValueError: it is not finite, or more than ``MAX_SECONDS``.
    """
    if value is None:
        return None
    return _finite(_number(value, what, "a number of seconds or None"), what, ": None is not a deadline")


def checked_wait(value: object, what: str = "timeout") -> float:
    """How long to wait for others to end by themselves, in seconds; 0 or less: not at all.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not finite, or more than ``MAX_SECONDS``.
    """
    return _finite(_number(value, what, "a number of seconds"), what, "")


def _number(value: object, what: str, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is {wanted}, not {type(value).__name__}")
    return value


def _finite(seconds: float, what: str, hint: str) -> float:
    if not -float("inf") < seconds <= MAX_SECONDS:  # NaN compares with nothing
        raise ValueError(f"{what} is {seconds}, and at most {MAX_SECONDS:,} seconds{hint}")
    return seconds
