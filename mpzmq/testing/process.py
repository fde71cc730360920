"""A container in a process of its own."""

from __future__ import annotations

import os
import selectors
import signal
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING, Self

from ..common.durations import checked_wait
from ..common.set_module import set_module
from ..fleets.child import Child, container_command, inherited_path
from ..fleets.supervisor import ending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ContainerProcess", "StartFailed"]


@set_module("mpzmq.testing")
class StartFailed(Exception):
    """A container process did not serve; the text says why, and what the process wrote."""


@set_module("mpzmq.testing")
class ContainerProcess:
    """A server of some module, served by a process of its own: it can be killed, frozen and started again.

    Use it as ``with ContainerProcess("container:server", folder="...") as process:``. Its methods block, so that tests
    without an event loop can use it, too; in a coroutine, wait with ``await asyncio.to_thread(process.restart)``, or
    take the fixture ``mpzmq_container``.

    The process finds modules where this one does. It ends with this one, however this one ends.

    Args:
        spec: ``"module:server"``.
        endpoint: where it serves; port 0 picks a free one.
        folder: where its module is looked for before everywhere else.
        env: environment variables that it gets besides those of this process.
        name: what it is called in errors; by default ``spec``.
        drain_timeout: seconds that it takes at most, after a SIGTERM, for what runs and for its replies.
        start_timeout: seconds within which it has to serve.
    """

    def __init__(
        self,
        spec: str,
        *,
        endpoint: str = "tcp://127.0.0.1:0",
        folder: str | Path = ".",
        env: Mapping[str, str] | None = None,
        name: str | None = None,
        drain_timeout: float = 8.0,
        start_timeout: float = 20.0,
    ) -> None:
        self.name = spec if name is None else name
        self._endpoint = endpoint
        self._env = {} if env is None else dict(env)
        self._start_timeout = checked_wait(start_timeout, "start_timeout")
        self._spec = spec
        self._folder = str(folder)
        self._drain_timeout = checked_wait(drain_timeout, "drain_timeout")
        self._process: Child | None = None
        self._log: IO[bytes] | None = None
        self._said = b""
        # A caller whose start() was given up in another thread may want to stop it.
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<ContainerProcess {self.name!r} at {self._endpoint}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """Where it serves: after the start the real endpoint, which a restart keeps."""
        return self._endpoint

    @property
    def pid(self) -> int:
        """The id of the process, of the last one if there were several."""
        return self._started().pid

    @property
    def stderr(self) -> str:
        """What it has written so far, to standard output too; after restarts, what all of them have written."""
        log = self._log
        now = b"" if log is None else os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0)
        return (self._said + now).decode(errors="replace")

    def start(self) -> None:
        """Starts the process, and returns when it serves.

        Raises:
            StartFailed: it ended, or does not serve in time.
            RuntimeError: it runs already.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise RuntimeError(f"{self.name} runs already, as process {self._process.pid}")
            self._free()
            # Not a pipe: nobody would read it while a test runs, and a full one would block the container.
            self._log = tempfile.TemporaryFile()  # noqa: SIM115
            process = self._process = Child(
                container_command(self._spec, self._endpoint, self._folder, self._drain_timeout),
                stderr=self._log,
                env={**inherited_path(), **self._env},
            )
            try:
                self._endpoint = self._announced(process)
            except BaseException:
                process.kill()
                process.wait()
                self._free()
                raise

    def kill(self) -> None:
        """SIGKILL: the process has no say in it."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Sends a signal; to a process that has ended, nothing happens.

        Args:
            number: one of ``signal.Signals``.
        """
        self._started().send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Waits until the process has ended by itself or by a signal; returns its exit code.

        Args:
            timeout: seconds; None: any time.

        Returns:
            0 after a drain; for a process that was ended by a signal the negative number of that signal.

        Raises:
            TimeoutError: it still runs.
        """
        checked_wait(timeout)
        process = self._started()
        try:
            return process.wait(timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.name} (process {process.pid}) still runs after {timeout:g} s") from None

    def stop(self, timeout: float = 2.0) -> None:
        """Ends the process: by SIGTERM, which drains, and where that takes longer, by SIGKILL. Idempotent.

        Args:
            timeout: seconds until SIGKILL.
        """
        checked_wait(timeout)
        with self._lock:
            process = self._process
            if process is None:
                return
            process.terminate()
            try:
                process.wait(timeout)
            except TimeoutError:
                process.kill()
                process.wait()
            self._free()

    def restart(self) -> None:
        """Starts a successor on the same port; what still runs is stopped first.

        Raises:
            StartFailed: as for :meth:`start`.
        """
        with self._lock:
            self.stop()
            self.start()

    def _started(self) -> Child:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started: use 'with', or call start()")
        return self._process

    def _announced(self, process: Child) -> str:
        """The endpoint, as soon as the process tells it."""
        deadline = time.monotonic() + self._start_timeout
        with selectors.DefaultSelector() as selector:
            selector.register(process.told, selectors.EVENT_READ)
            while process.endpoint is None:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise StartFailed(self._failure(f"it does not serve within {self._start_timeout:g} s"))
                if not process.read():
                    raise StartFailed(self._failure(f"it ended {ending(process.wait())}"))
        return process.endpoint

    def _failure(self, why: str) -> str:
        said = self.stderr.strip()
        return f"the container {self.name} did not start: {why}. It wrote" + (f":\n{said}" if said else " nothing.")

    def _free(self) -> None:
        """Lets go of what belongs to a process that has ended."""
        if self._process is not None:
            self._process.close()
        if self._log is not None:
            said = self.stderr.encode()
            self._log.close()
            self._log, self._said = None, said
