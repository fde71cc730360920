"""Leak guards: what a test opens, it closes.

Two autouse fixtures, taken over by `conftest.py`:

- `resource_guard` compares what is open before the test and its fixtures with what is open after: ZeroMQ
  sockets and contexts, file descriptors, non-daemon threads.
- `task_guard` does the same for asyncio tasks. It has to look while the test's loop is still there, because
  the runner cancels what is left in silence.

Nothing is patched. ZeroMQ objects are found through :mod:`gc`; to make that cheap, what survives a test is
moved out of the collector's sight after it (`gc.freeze`), so that each search and each collection sees the
objects of one test only. Collecting after every test has a use of its own: a ResourceWarning or a coroutine
that was never awaited is blamed on the test it belongs to. Comparing before with after leaves alone what
belongs to a wider scope: session fixtures, pytest's capture files, pyzmq's own zero-copy thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import zmq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["gc_prepared", "resource_guard", "task_guard", "task_watch"]

# libzmq closes sockets in a thread of its own, a little after `close()` has returned.
GRACE = 2.0
FD_DIRECTORY = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)


def open_descriptors() -> dict[int, str]:
    """What every open file descriptor refers to; empty where the system does not tell."""
    if FD_DIRECTORY is None:
        return {}
    found = {}
    for name in os.listdir(FD_DIRECTORY):
        descriptor = int(name)
        try:
            status = os.fstat(descriptor)
        except OSError:  # the one that listdir() itself had open
            continue
        try:
            found[descriptor] = os.readlink(f"{FD_DIRECTORY}/{name}")
        except OSError:  # macOS: /dev/fd has no links
            found[descriptor] = f"device {status.st_dev}, inode {status.st_ino}"
    return found


def open_zmq_objects() -> dict[int, Any]:
    """Sockets and contexts that nobody has closed, by `id`. Shadows own nothing and do not count."""
    return {
        id(thing): thing
        for thing in gc.get_objects()
        # type() and not isinstance(): the latter asks proxies and mocks for their __class__
        if issubclass(type(thing), (zmq.Socket, zmq.Context)) and not thing._shadow and not thing.closed
    }


def lasting_threads() -> set[threading.Thread]:
    """Threads that would keep the process alive."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def collect_and_hide() -> None:
    """Collect what is garbage and take the rest out of all later searches."""
    gc.collect()
    gc.freeze()


class Snapshot:
    """What is open at one moment."""

    def __init__(self) -> None:
        self.zmq = open_zmq_objects()
        self.descriptors = open_descriptors()
        self.threads = lasting_threads()

    def _leaked_descriptors(self) -> dict[int, str]:
        now = open_descriptors()
        return {fd: target for fd, target in now.items() if self.descriptors.get(fd) != target}

    def _leaked_threads(self) -> set[threading.Thread]:
        return lasting_threads() - self.threads

    def leaks(self) -> list[str]:
        """One line for each thing that is open now and was not then; what it can close, it closes."""
        # These need no grace: Python knows at once whether they were closed. The dictionary of the snapshot
        # keeps its objects alive, so an id is never used twice.
        zmq_leaks = [thing for key, thing in open_zmq_objects().items() if key not in self.zmq]
        found = sorted(f"not closed: {thing!r}" for thing in zmq_leaks)
        # Now rather than in a later test, which would be blamed for it.
        for thing in zmq_leaks:
            if isinstance(thing, zmq.Socket):
                thing.close(linger=0)
        for thing in zmq_leaks:
            if isinstance(thing, zmq.Context):
                thing.destroy(linger=0)
        del zmq_leaks

        self._wait_for(self._leaked_descriptors, self._leaked_threads)
        found += [f"file descriptor {fd}: {target}" for fd, target in sorted(self._leaked_descriptors().items())]
        found += sorted(f"thread still running: {thread.name}" for thread in self._leaked_threads())
        return found

    @staticmethod
    def _wait_for(*leaked: Any) -> None:
        """Until none of the functions finds anything, or GRACE is over."""
        deadline = time.monotonic() + GRACE
        pause = 0.0005
        collected = False
        while any(look() for look in leaked) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
            if pause == 0.05 and not collected:
                # An unclosed file in a reference cycle: its ResourceWarning says more than its number.
                gc.collect()
                collected = True


@pytest.fixture(scope="session", autouse=True)
def gc_prepared() -> Iterator[None]:
    """Start what lives for the whole session before anything is compared."""
    # A message sent without a copy starts pyzmq's garbage collector: a thread, a context and two sockets.
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://warm-up")
        other.connect("inproc://warm-up")
        other.send(bytes(1 << 17), copy=False)
        one.recv()
    collect_and_hide()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def resource_guard(gc_prepared: None) -> Iterator[None]:
    """Fail the test when a ZeroMQ object, a file descriptor or a thread outlives it and its fixtures."""
    before = Snapshot()
    yield
    leaks = before.leaks()
    collect_and_hide()
    if leaks:
        pytest.fail("the test leaks:\n  " + "\n  ".join(leaks), pytrace=False)


@pytest.fixture(autouse=True)
def task_guard(resource_guard: None, request: pytest.FixtureRequest) -> None:
    """Watch the tasks of async tests; the others get no loop from us."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("task_watch")


@pytest_asyncio.fixture
async def task_watch() -> AsyncIterator[None]:
    """Fail the test when a task outlives it and its fixtures. Requested by `task_guard`, before any other."""
    before = asyncio.all_tasks()
    yield
    allowed = before | {asyncio.current_task()}
    for _ in range(10):  # a task whose end is already due may take a few passes to get there
        leaked = asyncio.all_tasks() - allowed
        if not leaked:
            return
        await asyncio.sleep(0)
    names = sorted(f"task still running: {task.get_name()} {task.get_coro()!r}" for task in leaked)
    for task in leaked:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*leaked, return_exceptions=True), GRACE)
    pytest.fail("the test leaks:\n  " + "\n  ".join(names), pytrace=False)
