"""The one event loop that a worker or a server belongs to."""

from __future__ import annotations

import asyncio
import os

__all__ = ["Home"]


class Home:
    """Holds an object to the event loop, and so to the thread and process, of its first await.

    libzmq aborts the process when two threads use one socket; the check turns that into an exception.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    @property
    def is_taken(self) -> bool:
        """Whether the object belongs to a loop of this process now."""
        return self._loop is not None and self._pid == os.getpid()

    def enter(self) -> asyncio.AbstractEventLoop:
        """Checks that the caller is at home; the first caller decides where that is.

        Raises:
            RuntimeError: another loop, thread or process, or none running.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                raise RuntimeError(
                    f"this {self._owner} belongs to another event loop, thread or process: use it where it was first"
                    " awaited, close it there before it moves, or make one of its own for each"
                )
            self._loop = loop
            self._pid = os.getpid()
        return loop

    def check(self) -> asyncio.AbstractEventLoop:
        """Checks that the caller is at home, without making it one: for what a closed object may still be asked.

        Raises:
            RuntimeError: another loop, thread or process, or none running.
        """
        loop = asyncio.get_running_loop()
        return loop if loop is self._loop or self._loop is None else self.enter()

    def leave(self) -> None:
        """The object is closed and may find another home."""
        self._loop = None
