"""``mpzmq up``: several processes of one container, supervised."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

from ..common.daemon_threads import DaemonThreads
from ..fleets.local import LocalProcesses
from ..fleets.output import LAST_WORDS
from ..fleets.supervisor import Restarts, Supervisor
from .arguments import check_endpoint
from .early_signals import has_terminal
from .outcome import finish
from .output import OutputLost, has_stdout, say

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

GRACE = 2.0
"""Seconds beyond its drain that a process has to end, until it is killed."""

AT_ONCE = 1.0
"""The same after a second signal: it closes, and tells its callers."""


def run(
    spec: str,
    replicas: int,
    *,
    host: str,
    ports: Sequence[int] | None,
    cpus: Sequence[int],
    options: Sequence[str],
    start_timeout: float,
    drain_timeout: float,
    max_restarts: int,
    as_json: bool,
) -> int:
    """Keeps processes running until a signal; returns the exit code.

    Args:
        spec: what they serve, as ``module:server``.
        replicas: how many there are.
        host: where they serve.
        ports: at which ports, at least as many; None: any.
        cpus: shared out among them; empty: they run anywhere.
        options: of ``mpzmq serve``, for each of them.
        start_timeout: seconds until one has to serve.
        drain_timeout: seconds for what runs, when one is to end.
        max_restarts: of one that fails again and again.
        as_json: whether endpoints are printed as JSON.
    """
    restarts = Restarts(start_timeout=start_timeout, end_timeout=drain_timeout + GRACE, max_restarts=max_restarts)

    def command(port: int) -> list[str]:
        # With -P, the current folder is on its path only as --app-dir.
        serve = [sys.executable, "-P", "-m", "mpzmq", "serve", spec, "--child", "--bind", endpoint_of(host, port)]
        return [*serve, *options, "--drain-timeout", str(drain_timeout)]

    async def main() -> int:
        lost: list[OutputLost] = []
        stdout = DaemonThreads(1, "mpzmq-stdout")  # a reader who takes no more must not keep signals from being heard
        unsaid: set[asyncio.Future[None]] = set()

        def on_serving(name: str, endpoint: str) -> None:
            if has_stdout():  # it serves all the same
                text = json.dumps({"endpoint": endpoint, "process": name}) if as_json else endpoint
                saying = stdout.run(lambda: say(text))
                unsaid.add(saying)
                saying.add_done_callback(on_said)

        def on_said(saying: asyncio.Future[None]) -> None:
            unsaid.discard(saying)
            if isinstance(error := saying.exception(), OutputLost):
                lost.append(error)
                processes.stop()

        name = spec.partition(":")[0].rpartition(".")[2]
        supervisor = Supervisor(replicas, ports, restarts)
        processes = LocalProcesses(supervisor, command, name, env={}, cpus=cpus, on_serving=on_serving)
        _Signals(processes).listen()
        processes.start()
        code = await processes.over()
        stdout.close()
        if unsaid:
            await asyncio.wait(unsaid, timeout=LAST_WORDS)
        if lost:
            raise lost[0]
        return code

    def work() -> int:
        check_endpoint(endpoint_of(host, 0), bind=True)
        return asyncio.run(main())

    return finish("mpzmq up", work)


def endpoint_of(host: str, port: int) -> str:
    """Where a process serves."""
    return f"tcp://[{host}]:{port}" if ":" in host and not host.startswith("[") else f"tcp://{host}:{port}"


class _Signals:
    """What signals mean: SIGHUP a reload, SIGTERM and SIGINT the end, a second one of these the end at once."""

    def __init__(self, processes: LocalProcesses) -> None:
        self._processes = processes
        self._had_terminal = has_terminal()
        self._stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        """Whether it is to outlive its terminal: nohup says so."""

    def listen(self) -> None:
        """From now on they mean that."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_signal_handler(signal.SIGINT, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # whoever has started this may have blocked them

    def _end(self) -> None:
        if self._processes.supervisor.is_stopping:
            self._processes.stop_now(AT_ONCE)
        else:
            self._processes.stop()

    def _reload(self) -> None:
        if not self._had_terminal or has_terminal():
            self._processes.reload()
            return
        self._had_terminal = False  # it was closed: nobody has asked for a reload
        if not self._stays:
            self._processes.stop()
