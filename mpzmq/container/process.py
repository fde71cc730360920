"""How a server lives in a process of its own: its event loop, and what is left of it at the end."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from contextlib import nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..common.daemon_threads import DaemonExecutor
from ..common.logs import Log
from ..runtime.standard_streams import hold_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .signals import Signals

__all__ = ["importing", "loop_factory", "run"]

log = Log(__name__)

importing: ContextVar[str | None] = ContextVar("importing", default=None)
"""The module that is imported for its server, while it is: whoever imports it serves it, and the module must not."""

LAST_WORDS = 1.0
"""Seconds for tasks, and for generators, that are still there when the server has closed."""


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


def run(
    main: Callable[[], Coroutine[Any, Any, None]],
    factory: Callable[[], asyncio.AbstractEventLoop],
    signals_of: Callable[[asyncio.AbstractEventLoop], Signals],
) -> None:
    """As ``asyncio.run()``, but with an end.

    A handler that swallows its cancellation does not keep the process, nor does what never returns in a thread of
    ``asyncio.to_thread()``.

    Args:
        main: makes the coroutine to run.
        factory: makes the event loop.
        signals_of: what signals do, for that loop; they are heeded in the main thread only.
    """
    hold_standard_descriptors()
    runner = asyncio.Runner(loop_factory=factory)
    loop = runner.get_loop()
    executor = DaemonExecutor(min(32, (os.cpu_count() or 1) + 4), "asyncio")  # as many as asyncio would have
    loop.set_default_executor(executor)
    signals = signals_of(loop)
    on_main_thread = threading.current_thread() is threading.main_thread()
    # Before the first bind: whoever sees the port open may send a signal.
    with signals if on_main_thread else nullcontext():
        try:
            runner.run(main())
        finally:
            if loop.run_until_complete(_end_what_is_left(executor, signals)):
                runner.close()
            else:
                loop.close()


async def _end_what_is_left(executor: DaemonExecutor, signals: Signals) -> bool:
    """Ends tasks, generators and threads as far as they can be ended; returns whether all have."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=LAST_WORDS)
    generators = asyncio.create_task(asyncio.get_running_loop().shutdown_asyncgens())
    await asyncio.wait((generators,), timeout=LAST_WORDS)
    await signals.wait_for(asyncio.wrap_future(future) for future in list(executor.unfinished))
    deaf = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for number, what in (
        (len(deaf), "tasks did not end when they were cancelled"),
        (len(executor.unfinished), "threads of asyncio.to_thread() did not end"),
    ):
        if number:
            log.warning("%d %s, and are left behind", number, what)
    for task in deaf:  # asyncio would say of each, as an error, what was just said of all
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    return not (deaf or executor.unfinished)
