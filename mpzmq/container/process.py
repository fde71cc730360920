"""How a server lives in a process of its own: its event loop and its signals."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..logs import Log
from ..runtime.standard_streams import hold_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Signals", "importing", "loop_factory"]

log = Log(__name__)

importing: ContextVar[str | None] = ContextVar("importing", default=None)
"""The module that is imported for its server, while it is: whoever imports it serves it, and the module must not."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The maker of event loops for a name.

    Args:
        name: ``"asyncio"``, ``"uvloop"``, or ``"auto"``: uvloop where it is installed.

    Raises:
        ValueError: another name.
        ImportError: uvloop is asked for and not installed.
    """
    if name not in ("auto", "asyncio", "uvloop"):
        raise ValueError(f"loop is 'auto', 'asyncio' or 'uvloop', not {name!r}")
    installed = importlib.util.find_spec("uvloop") is not None
    if name == "asyncio" or (name == "auto" and not installed):
        return asyncio.new_event_loop
    if not installed:
        raise ImportError("loop='uvloop' needs uvloop: install mpzmq-engine with its extra 'fast', or use 'auto'")
    import uvloop

    return uvloop.new_event_loop


LAST_WORDS = 1.0
"""Seconds for tasks that are still there when the server has closed."""


class Drainable(Protocol):
    """What signals do to a server."""

    async def drain(self, timeout: float) -> None:
        """Takes no new work and ends what runs."""

    async def close(self) -> None:
        """Ends at once."""


class Signals:
    """SIGTERM and SIGINT, while a server serves: the first drains, the second closes."""

    def __init__(self, server: Drainable, loop: asyncio.AbstractEventLoop, drain_timeout: float) -> None:
        self._server = server
        self._loop = loop
        self._drain_timeout = drain_timeout
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received, number)

    def __exit__(self, *exc_info: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def _received(self, number: int) -> None:
        if self._task is None:
            log.info("%s: draining", signal.Signals(number).name)
            self._task = self._loop.create_task(self._drain_and_close())
        else:
            log.info("%s again: closing", signal.Signals(number).name)
            self._again.set()

    async def _drain_and_close(self) -> None:
        # Not by cancelling this task: both signals may have come before its first step.
        drain = self._loop.create_task(self._server.drain(self._drain_timeout))
        again = self._loop.create_task(self._again.wait())
        try:
            await asyncio.wait((drain, again), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (drain, again):
                task.cancel()
            await asyncio.gather(drain, again, return_exceptions=True)
            await self._server.close()


def run(main: Coroutine[Any, Any, None], factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As ``asyncio.run()``, but with an end: a handler that swallows its cancellation does not keep the process."""
    hold_standard_descriptors()
    runner = asyncio.Runner(loop_factory=factory)
    try:
        runner.run(main)
    finally:
        loop = runner.get_loop()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LAST_WORDS))
        deaf = [task for task in left if not task.done()]
        if not deaf:
            runner.close()
        else:
            log.warning("%d tasks did not end when they were cancelled, and are left behind", len(deaf))
            for task in deaf:  # asyncio would say of each, as an error, what was just said of all
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()
