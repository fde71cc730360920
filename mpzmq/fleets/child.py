"""A container in a process of its own, as its parent has it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import weakref
from typing import IO, TYPE_CHECKING

from .lifeline import LOADED, SERVING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

__all__ = ["Child", "container_command", "inherited_folders", "inherited_path"]

MAX_TOLD = 64 * 1024
"""Bytes that a child may tell in one line."""


def container_command(spec: str, endpoint: str, folder: str | Path, drain_timeout: float) -> list[str]:
    """The command of a process that serves a container."""
    # With -P, the current folder is on its path only where it is on ours.
    python = [sys.executable, "-P", "-m", "mpzmq.fleets.child_main"]
    return [*python, spec, endpoint, str(folder), str(drain_timeout)]


def inherited_folders() -> list[str]:
    """Where this process finds modules: imports heed nothing but texts in ``sys.path``."""
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        here = os.curdir
    return [folder or here for folder in sys.path if isinstance(folder, str)]


def inherited_path() -> dict[str, str]:
    """The variable by which a child finds modules where this process does."""
    return {"PYTHONPATH": os.pathsep.join(inherited_folders())}


class Child:
    """A process that was started, with a group and a session of its own: a Ctrl-C is for its parent.

    It ends with this process, however this one ends, if it holds a :class:`~mpzmq.fleets.lifeline.Lifeline`; when it
    ends, whatever it has started is ended, too.

    Args:
        command: of the process.
        stderr: where it writes what it has to say: a file, or its descriptor.
        env: environment variables that it gets besides those of this process.
        cpus: the processors on which it may run; empty: those of this process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stderr: int | IO[bytes],
        env: Mapping[str, str],
        cpus: Collection[int] = (),
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=0,
            env={**os.environ, **env},
            start_new_session=True,
        )
        _living.add(self)
        os.set_blocking(self.told, False)
        self.endpoint: str | None = None
        """Where it serves, as far as it has told."""
        self.is_loaded = False
        self._untold = b""
        if cpus:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self.pid, cpus)  # what threads it starts later have it, too

    def __repr__(self) -> str:
        return f"<Child {self.pid}{f' at {self.endpoint}' if self.endpoint else ''}>"

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def told(self) -> int:
        """A descriptor that can be read when the process tells something, or has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def read(self) -> bool:
        """Takes in what it has told; returns whether there may be more."""
        try:
            part = os.read(self.told, 4096)
        except BlockingIOError:
            return True
        *lines, rest = (self._untold + part).split(b"\n")
        self._untold = rest[:MAX_TOLD]
        for line in lines:
            text = line.decode(errors="replace").strip()
            if text == LOADED:
                self.is_loaded = True
            elif text.startswith(SERVING):
                self.endpoint = text.removeprefix(SERVING)
        return bool(part)

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that has ended it; None: it runs."""
        return self._ended(self._process.poll())

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; returns what :meth:`poll` does.

        Raises:
            TimeoutError: it still runs.
        """
        try:
            code = self._ended(self._process.wait(timeout))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} still runs after {timeout:g} s") from None
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal; to a process that has ended, nothing happens."""
        if self.poll() is None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, which drains it; a frozen one is woken for it."""
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started."""
        if self.poll() is None:
            self._kill_group()

    def close(self) -> None:
        """Lets go of the pipes; a process that still runs ends for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ended(self, code: int | None) -> int | None:
        if code is not None and self in _living:
            _living.discard(self)
            # At once: later its number may be another's.
            self._kill_group()
        return code

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            os.killpg(self.pid, signal.SIGKILL)

    def forget(self) -> None:
        """Lets go of the pipe that keeps it alive, in a process that was forked from its parent."""
        if self._process.stdin is not None:
            self._process.stdin.close()


_living: weakref.WeakSet[Child] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """A forked process must not keep alive the children of one that has ended."""
    for child in list(_living):
        child.forget()
    _living.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
