"""Servers and clients as processes of their own, each with an end."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from .peers import load
from .peers.base import Count, Stopwatch
from .scenarios import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .scenarios import Scenario

__all__ = ["PeerFailed", "Process", "Server", "measure_here", "run_client", "serve_here", "serve_until_ended"]

START_TIMEOUT = 60.0
"""Seconds for a server to say where it listens: a thousand containers take some."""

SPARE = 60.0
"""Seconds that a client may take beside the measuring: to connect, to warm up, and to end."""


class PeerFailed(Exception):
    """A peer's process did not do what it should; says which, and its last words."""


class Process:
    """A process that serves, started with a command of ``python -m bench``; it says first where it listens."""

    def __init__(self, what: str, command: Sequence[str]) -> None:
        self._what = what
        whole = [sys.executable, "-m", "bench", *command]
        self.process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._words: deque[str] = deque(maxlen=5)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        timer = threading.Timer(START_TIMEOUT, self.process.kill)
        timer.start()
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self.close()
            raise PeerFailed(f"{self._what} did not start: {self.last_words}")
        self.endpoints: list[str] = json.loads(line)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self._words.extend(self.process.stderr)

    @property
    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        return self._words[-1].strip() if self._words else f"exit code {self.process.poll()}"

    def check(self) -> None:
        """Raises PeerFailed if it has ended."""
        if self.process.poll() is not None:
            self._listener.join(1.0)
            raise PeerFailed(f"{self._what} has ended with exit code {self.process.returncode}: {self.last_words}")

    def close(self) -> None:
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(1.0)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Server(Process):
    """The server process of one peer for one row."""

    def __init__(self, peer: str, scenario: Scenario, loop: str) -> None:
        super().__init__(f"{peer}: the server for {scenario.name}", ["serve", peer, scenario.name, "--loop", loop])


def run_client(server: Process, command: Sequence[str], seconds: float, what: str) -> Any:
    """Runs one measurement and returns what it printed.

    Raises:
        PeerFailed: it ended otherwise, or did not end.
    """
    server.check()
    whole = [sys.executable, "-m", "bench", *command, "--server-pid", str(server.process.pid), *server.endpoints]
    try:
        done = subprocess.run(whole, capture_output=True, text=True, timeout=seconds + SPARE, check=False)
    except subprocess.TimeoutExpired:
        server.check()
        raise PeerFailed(f"{what}: no result after {seconds + SPARE:.0f} s") from None
    if done.returncode:
        server.check()
        words = done.stderr.strip().splitlines() or [""]
        raise PeerFailed(f"{what}: the client ended with exit code {done.returncode}: {words[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


# What the children do


def serve_here(peer: str, scenario: str, loop: str) -> None:
    """The server process of a row."""
    serve_until_ended(lambda ready: load(peer).serve(ROWS[scenario], loop, ready))


def serve_until_ended(serve: Callable[[Callable[[Sequence[str]], None]], None]) -> None:
    """A process that serves: prints its endpoints, then answers until it is ended."""

    def ready(endpoints: Sequence[str]) -> None:
        print(json.dumps(list(endpoints)), flush=True)

    raise_descriptors()
    # So that a peer ends what it has started, such as a broker.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve(ready)


def measure_here(
    peer: str, scenario: str, loop: str, seconds: float, server_pid: int, endpoints: Sequence[str]
) -> Count:
    """The client process of one measurement."""
    raise_descriptors()
    return load(peer).measure(ROWS[scenario], endpoints, loop, seconds, Stopwatch(server_pid))


def raise_descriptors() -> None:
    """A thousand links take four thousand descriptors, and many shells allow one thousand."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
