"""The one event loop that a worker or a server belongs to."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import NoReturn

__all__ = ["LoopBound"]

_bound: weakref.WeakSet[LoopBound] = weakref.WeakSet()


def _forked() -> None:
    """In a child process: what belongs to an event loop that came through fork stays in the parent."""
    for one in _bound:
        one.on_fork()


os.register_at_fork(after_in_child=_forked)


class LoopBound:
    """Holds an object to the event loop, and so to the thread and process, of its first await.

    libzmq aborts the process when two threads use one socket; the check turns that into an exception.

    Attributes:
        is_lost: whether this is a child process, and the object belongs to its parent.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since = 0.0
        self.is_lost = False
        _bound.add(self)

    @property
    def is_taken(self) -> bool:
        """Whether the object belongs to a loop of this process now."""
        return self._loop is not None

    def bind(self) -> asyncio.AbstractEventLoop:
        """Checks that the caller runs on its loop; the first caller decides which that is.

        Raises:
            RuntimeError: another loop, thread or process, or none running.
        """
        if self.is_lost:
            self._refuse()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None:
                self._refuse()
            self._loop, self._since = loop, loop.time()
        return loop

    def require(self) -> asyncio.AbstractEventLoop:
        """Checks that the caller runs on its loop, without choosing one: for what a closed object may still be asked.

        Raises:
            RuntimeError: another loop, thread or process, or none running.
        """
        # There may be none that runs: in a child process, in the middle of a coroutine that came through fork.
        loop = asyncio._get_running_loop()
        if loop is not None and (loop is self._loop or self._loop is None) and not self.is_lost:
            return loop
        return self.bind() if self.is_lost or self._loop is not None else asyncio.get_running_loop()

    def age(self) -> float:
        """Seconds since the object was first used on its loop; 0: it has none now."""
        return 0.0 if self._loop is None else self._loop.time() - self._since

    def release(self) -> None:
        """The object is closed, and may be bound to another loop."""
        self._loop = None

    def on_fork(self) -> None:
        """This is a child process, and the object belongs to the parent."""
        self.is_lost, self._loop = self._loop is not None, None

    def _refuse(self) -> NoReturn:
        raise RuntimeError(
            f"this {self._owner} belongs to another event loop, thread or process: use it where it was first"
            " awaited, close it there before it moves, or make one of its own for each"
        )
