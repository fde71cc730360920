"""How a worker's links dial again, set in the seed's words."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..config import ReconnectPolicy

__all__ = ["ReconnectSettings"]


class ReconnectSettings:
    """The settings of a worker that apply to later connects.

    Args:
        reconnect: what holds at first.
    """

    def __init__(self, reconnect: ReconnectPolicy) -> None:
        self._reconnect = reconnect

    def with_auto_reconnect(self, enabled: bool) -> Self:
        """Whether lost links dial again. Applies to later connects.

        Args:
            enabled: True: they do, as the policy says.

        Returns:
            The worker.

        Raises:
            TypeError: it is not a bool.
        """
        self._reconnect = dataclasses.replace(self._reconnect, enabled=enabled)
        return self

    def with_max_reconnect_attempts(self, attempts: int | None) -> Self:
        """How many redials may fail after a loss; None: any number. Applies to later connects.

        Args:
            attempts: how many; None: any number.

        Returns:
            The worker.
        """
        self._reconnect = dataclasses.replace(self._reconnect, max_attempts=attempts)
        return self

    def with_reconnect_interval(self, interval: int | timedelta) -> Self:
        """The time between redials, an int in milliseconds or a timedelta. Applies to later connects.

        Args:
            interval: 10 ms or more.

        Returns:
            The worker.

        Raises:
            TypeError: a float, which could be meant in seconds.
            ValueError: less than 10 ms.
        """
        if isinstance(interval, timedelta):
            seconds = interval.total_seconds()
        elif isinstance(interval, int) and not isinstance(interval, bool):
            seconds = interval / 1000
        else:
            raise TypeError(
                f"the reconnect interval is an int in milliseconds or a timedelta, not {type(interval).__name__}"
            )
        self._reconnect = dataclasses.replace(self._reconnect, interval=seconds)
        return self
