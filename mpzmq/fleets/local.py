"""Processes of this host: started, watched and ended as their supervisor decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..common.daemon_threads import in_daemon_thread
from ..common.logs import Log
from ..common.text import text_of, type_name
from ..engine.resolvers.endpoint import Endpoint
from ..errors import ConnectError
from .child import Child, container_command, inherited_folders, inherited_path
from .cpus import share_of, usable_cpus
from .output import Lines, Output, safe
from .supervisor import Kill, Over, Process, Restarts, Start, State, Supervisor, Tell, Terminate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from ..security.credentials import Security

__all__ = ["LocalBackend", "LocalProcesses"]

log = Log(__name__)

LAST_LINES = 20
"""Lines of a process that are kept for an error."""

LAST_READS = 2
"""How often what an ended process has written is read: what it has started may go on writing there for ever."""

MAX_REPLICAS = 1000
"""Processes of a fleet, as ``mpzmq up`` has it."""

CANNOT_START = 126
"""The exit code of a process that could not be started, as shells count."""

LAST_WAIT = 5.0
"""Seconds beyond all deadlines in which killed processes have to be gone."""

DRAIN_TIMEOUT = 8.0
"""Seconds that the containers of a fleet have for what runs."""


@dataclass(slots=True, eq=False)
class _Running:
    """A process, and what it is read by."""

    process: Process
    child: Child
    log: int
    lines: Lines = field(default_factory=Lines)


class LocalProcesses:
    """Carries out what a supervisor decides.

    Args:
        supervisor: decides.
        command: the command of a process, by the port at which it is to serve.
        name: of what runs; its processes are called ``name-1`` and so on.
        env: environment variables that they get besides those of this process.
        cpus: processors that are shared out among them; empty: all run where this process does.
        tell: called with what becomes of them, line by line; None: it is written among their own lines.
        on_serving: called when one serves, with its name and its endpoint.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        command: Callable[[int], Sequence[str]],
        name: str,
        *,
        env: Mapping[str, str],
        cpus: Iterable[int] = (),
        tell: Callable[[str], object] | None = None,
        on_serving: Callable[[str, str], object] | None = None,
    ) -> None:
        self.supervisor = supervisor
        self._command = command
        self._name = safe(name)
        self._env = env
        self._cpus = list(cpus)
        self._on_serving = on_serving
        self._running: dict[int, _Running] = {}
        self._last_lines: dict[int, deque[str]] = {}
        self._loop = asyncio.get_running_loop()
        self._output = Output()
        self._tell = self._output.put if tell is None else tell
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    def name_of(self, slot: int) -> str:
        """What a process is called."""
        return f"{self._name}-{slot + 1}"

    def last_words(self, slot: int) -> str:
        """The last lines that the processes of a slot have written."""
        return "\n".join(self._last_lines.get(slot, ()))

    async def change(self) -> None:
        """Waits until something has changed."""
        await self._changed.wait()

    # What is wanted

    def start(self) -> None:
        """Begin."""
        self.supervisor.start(self._loop.time())
        self._carry_out()

    def reload(self) -> None:
        """Replace all processes, one after the other."""
        self.supervisor.reload(self._loop.time())
        self._carry_out()

    def scale(self, replicas: int) -> None:
        """Have so many processes from now on."""
        self.supervisor.scale(replicas, self._loop.time())
        self._carry_out()

    def stop(self) -> None:
        """Drain and end all processes."""
        self.supervisor.stop(self._loop.time())
        self._carry_out()

    def stop_now(self, grace: float) -> None:
        """End all processes; what is there after so many seconds is killed."""
        self.supervisor.stop_now(self._loop.time(), grace)
        self._carry_out()
        if grace <= 0:
            self._on_time()

    async def over(self) -> int:
        """Waits until nothing runs any more, lets go of everything, and returns the exit code of the worst."""
        try:
            while not self.supervisor.is_over:
                await self.change()
        finally:
            if not self.supervisor.is_over:
                self.stop_now(0.0)
            await self._release()
        return self.supervisor.worst

    # Inside

    def _carry_out(self) -> None:
        effects = self.supervisor.effects
        while effects:
            match effects.popleft():
                case Start(process):
                    self._start(process)
                case Terminate(key):
                    if key in self._running:
                        self._running[key].child.terminate()
                case Kill(key):
                    if key in self._running:
                        self._running[key].child.kill()
                case Tell(text, slot):
                    self._tell(f"{self._name if slot is None else self.name_of(slot)}: {safe(text)}")
                case Over():
                    pass
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self.supervisor.deadline()) is not None:
            self._timer = self._loop.call_at(deadline, self._on_time)
        self._changed.set()
        self._changed = asyncio.Event()

    def _on_time(self) -> None:
        # The timer may fire a little early.
        self.supervisor.on_time(max(self._loop.time(), self._timer.when() if self._timer is not None else 0.0))
        self._carry_out()

    def _start(self, process: Process) -> None:
        try:
            self._begin(process)
        except Exception as error:  # whatever is missing: descriptors, threads, memory, a sound command
            why = f"cannot be started: {text_of(error) or type_name(error)}"
            self._keep(process.slot, why)
            self._tell(f"{self.name_of(process.slot)}: {safe(why)}")
            self._loop.call_soon(self._gone, process.key, CANNOT_START)

    def _begin(self, process: Process) -> None:
        """Starts a process; where that fails, nothing of it is left."""
        with contextlib.ExitStack() as undoing:
            reading, writing = os.pipe()
            undoing.callback(os.close, reading)
            os.set_blocking(reading, False)
            try:
                child = Child(
                    self._command(process.port),
                    stderr=writing,
                    env=self._env,
                    cpus=share_of(process.slot, self.supervisor.replicas, self._cpus),
                )
            finally:
                os.close(writing)
            for undo in (child.close, child.wait, child.kill):  # the last one comes first
                undoing.callback(undo)
            ended = in_daemon_thread("mpzmq-child", child.wait)
            undoing.pop_all()
        running = self._running[process.key] = _Running(process, child, reading)
        self._tell(f"{self.name_of(process.slot)}: process {child.pid} is started")
        self._loop.add_reader(reading, self._read_log, running)
        self._loop.add_reader(child.told, self._read_told, running)
        ended.add_done_callback(lambda future: self._ended(running, future))

    def _read_told(self, running: _Running) -> None:
        child, key = running.child, running.process.key
        was_loaded, was_at = child.is_loaded, child.endpoint
        if not child.read():
            self._loop.remove_reader(child.told)
        now = self._loop.time()
        if child.is_loaded and not was_loaded:
            self.supervisor.on_loaded(key, now)
        if child.endpoint is not None and was_at is None:
            self.supervisor.on_serving(key, child.endpoint, now)
            if self._on_serving is not None and running.process.state is State.SERVING:
                self._on_serving(self.name_of(running.process.slot), child.endpoint)
        self._carry_out()

    def _read_log(self, running: _Running) -> bool:
        """Passes on what a process has written; returns whether there may be more."""
        try:
            data = os.read(running.log, 65536)
        except BlockingIOError:
            return False
        self._pass_on(running, running.lines.feed(data) if data else running.lines.end())
        if not data:
            self._loop.remove_reader(running.log)
        return bool(data)

    def _pass_on(self, running: _Running, lines: list[str]) -> None:
        slot = running.process.slot
        for line in lines:
            self._keep(slot, line)
            self._output.put(f"{self.name_of(slot)} | {line}")

    def _keep(self, slot: int, line: str) -> None:
        self._last_lines.setdefault(slot, deque(maxlen=LAST_LINES)).append(line)

    def _ended(self, running: _Running, future: asyncio.Future[int]) -> None:
        if running.process.key not in self._running:
            return  # it was let go of
        self._read_told(running)
        for _ in range(LAST_READS):
            if not self._read_log(running):
                break
        self._pass_on(running, running.lines.end())
        self._let_go(running)
        self._gone(running.process.key, future.result())

    def _gone(self, key: int, code: int) -> None:
        self.supervisor.on_ended(key, code, self._loop.time())
        self._carry_out()

    def _let_go(self, running: _Running) -> None:
        del self._running[running.process.key]
        self._loop.remove_reader(running.log)
        self._loop.remove_reader(running.child.told)
        os.close(running.log)
        running.child.close()

    async def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for running in list(self._running.values()):
            self._let_go(running)
        await self._output.close()


class LocalBackend:
    """A fleet of processes of this host.

    Args:
        source: what they serve, as ``"module:server"``.
        env: environment variables that they get besides those of this process.
        restarts: how long things may take, and how often they are tried.
    """

    security: Security | None = None

    def __init__(self, source: str, *, env: Mapping[str, str], restarts: Restarts | None = None) -> None:
        self._source = source
        self._env = env
        self._restarts = Restarts(end_timeout=DRAIN_TIMEOUT + 2.0) if restarts is None else restarts
        self._processes: LocalProcesses | None = None
        self._end: asyncio.Task[int] | None = None

    async def start(self, replicas: int | None) -> None:
        """As :class:`Backend` has it; None is one process for each processor that this one may use."""
        count = len(usable_cpus()) if replicas is None else _checked(replicas)
        supervisor = Supervisor(count, restarts=self._restarts)
        folder = next(iter(inherited_folders()), os.curdir)
        command = container_command(self._source, "tcp://127.0.0.1:0", folder, DRAIN_TIMEOUT)
        self._processes = LocalProcesses(
            supervisor,
            lambda port: command,
            self._source.partition(":")[0].rpartition(".")[2],
            env={**inherited_path(), **self._env},
            tell=log.info,
        )
        self._end = asyncio.create_task(self._processes.over())
        self._processes.start()
        await self._settled(self._processes)

    def resolver(self) -> LocalBackend:
        """What names the containers: this one."""
        return self

    async def watch(self) -> AsyncIterator[list[Endpoint]]:
        """The containers that are to be asked, now and whenever they change."""
        processes = self._processes
        assert processes is not None
        while not processes.supervisor.is_over:
            found = processes.supervisor.endpoints()
            yield [Endpoint(address, name=processes.name_of(slot)) for slot, address in found.items()]
            await processes.change()

    async def scale(self, replicas: int) -> None:
        """As :class:`Backend` has it."""
        processes = self._processes
        assert processes is not None
        processes.scale(_checked(replicas))
        await self._settled(processes)

    async def close(self) -> None:
        """As :class:`Backend` has it."""
        if self._processes is None or self._end is None:
            return
        self._processes.stop()
        # Cancelled, this cancels that task, which then kills what is left.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._restarts.end_timeout + LAST_WAIT):
                await self._end

    async def _settled(self, processes: LocalProcesses) -> None:
        """Waits until each slot has its process, and no other one is left.

        Raises:
            ConnectError: one does not serve.
        """
        supervisor = processes.supervisor
        while not supervisor.is_settled:
            for slot, trouble in supervisor.trouble().items():
                said = processes.last_words(slot)
                text = f"{self._source!r} is not served: {processes.name_of(slot)} {trouble}"
                raise ConnectError(f"{text}. It wrote:\n{said}" if said else text, address=self._source)
            if supervisor.is_over:
                raise ConnectError(f"{self._source!r} is not served: all processes have ended", address=self._source)
            await processes.change()


def _checked(replicas: int) -> int:
    if replicas > MAX_REPLICAS:
        raise ValueError(f"replicas must be at most {MAX_REPLICAS} on one host, not {replicas}")
    return replicas
