"""Which processes are to run: decided here, without doing anything. Time goes in, effects come out."""

from __future__ import annotations

import enum
import signal
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Effect",
    "Kill",
    "Over",
    "Process",
    "Restarts",
    "Start",
    "State",
    "Supervisor",
    "Tell",
    "Terminate",
    "ending",
]

CANNOT_BIND = 71
"""The exit code of a container whose port is taken, as sysexits.h has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """How long things may take, and how often they are tried.

    Attributes:
        start_timeout: seconds within which a process has to serve.
        end_timeout: seconds that it has after a SIGTERM, until SIGKILL.
        max_restarts: of one slot, in a row.
        first_pause: seconds until the first of them; each further one waits twice as long.
        max_pause: seconds at most.
        sound_after: seconds of serving after which the failures before are forgotten.
    """

    start_timeout: float = 60.0
    end_timeout: float = 10.0
    max_restarts: int = 10
    first_pause: float = 0.5
    max_pause: float = 30.0
    sound_after: float = 10.0

    def pause(self, failures: int) -> float:
        """Seconds until the next start, after so many failures in a row."""
        return float(min(self.max_pause, self.first_pause * 2.0 ** min(failures - 1, 30)))


class State(enum.Enum):
    """Where a process stands."""

    STARTING = "starting"
    SERVING = "serving"
    ENDING = "ending"


@dataclass(slots=True, eq=False)
class Process:
    """One process.

    Attributes:
        key: its number among all that were started.
        slot: whose place it has.
        port: at which it is to serve; 0: any.
        state: where it stands.
        endpoint: where it serves.
        serves_since: when that began.
        deadline: when it is killed: for it is still not serving, or still there.
        is_outdated: it is to be replaced.
        was_ready: it has served.
    """

    key: int
    slot: int
    port: int
    deadline: float | None
    state: State = State.STARTING
    endpoint: str | None = None
    serves_since: float = 0.0
    is_outdated: bool = False
    was_ready: bool = False
    was_killed: bool = False


@dataclass(slots=True)
class Slot:
    """The place of one container, which one process after the other has.

    Attributes:
        failures: in a row.
        start_at: when the next process may start.
        is_given_up: nothing is started there any more.
        port: that of the last process.
        trouble: why there is no process that serves, if one has failed; empty: none has.
    """

    failures: int = 0
    start_at: float = 0.0
    is_given_up: bool = False
    port: int | None = None
    trouble: str = ""


# What is to be done.


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process."""

    process: Process


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a process to end."""

    key: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process."""

    key: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell whoever runs this; ``slot`` is the one of which it speaks."""

    text: str
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing runs, and nothing will: the exit code of the worst process."""

    code: int


Effect = Start | Terminate | Kill | Tell | Over


class Supervisor:
    """The books of all processes.

    Whatever happens, :meth:`_review` looks at all of it and decides what is missing, so that every order of events
    leads to the same.

    Args:
        replicas: how many slots there are.
        ports: at which processes serve, a port for one at a time; None: any.
        restarts: how long things may take.
    """

    def __init__(self, replicas: int, ports: Sequence[int] | None = None, restarts: Restarts | None = None) -> None:
        self.effects: deque[Effect] = deque()
        self.replicas = replicas
        self.is_stopping = False
        self.is_over = False
        self.worst = 0
        """The highest exit code of those that count: of slots that were given up, and of the end."""
        self._restarts = Restarts() if restarts is None else restarts
        self._ports = None if ports is None else deque(ports)
        self._slots: dict[int, Slot] = {}
        self._processes: dict[int, Process] = {}
        self._last_key = 0
        self._has_loaded = False
        self._replaced: int | None = None  # the slot whose turn it is in a reload

    # Questions

    @property
    def processes(self) -> tuple[Process, ...]:
        """Those that have not ended."""
        return tuple(self._processes.values())

    @property
    def is_reloading(self) -> bool:
        """Whether processes are being replaced."""
        return self._replaced is not None

    @property
    def is_settled(self) -> bool:
        """Whether each slot has the one process that it is to have, and nothing else is there."""
        alone = [process.slot for process in self._processes.values() if process.state is State.SERVING]
        return sorted(alone) == list(range(self.replicas)) and len(self._processes) == self.replicas

    def endpoints(self) -> dict[int, str]:
        """Where each slot is to be asked, by its number: at its newest process that serves."""
        newest = {process.slot: process for process in self._serving()}
        return {slot: process.endpoint or "" for slot, process in sorted(newest.items()) if slot < self.replicas}

    def trouble(self) -> dict[int, str]:
        """Why slots have no process that serves, where one has failed."""
        serving = self.endpoints()
        return {number: slot.trouble for number, slot in self._slots.items() if slot.trouble and number not in serving}

    def deadline(self) -> float | None:
        """When :meth:`on_time` has something to do."""
        moments = [process.deadline for process in self._processes.values() if process.deadline is not None]
        if not self.is_stopping:
            moments += [slot.start_at for number, slot in self._slots.items() if self._wants_start(number, slot)]
        return min(moments, default=None)

    # What is wanted

    def start(self, now: float) -> None:
        """Begin."""
        self._review(now)

    def scale(self, replicas: int, now: float) -> None:
        """Have so many slots from now on."""
        self.replicas = replicas
        for number in range(replicas):
            if (slot := self._slots.get(number)) is not None and slot.is_given_up:
                self._slots[number] = Slot()
        self._review(now)

    def reload(self, now: float) -> None:
        """Replace all processes, a slot at a time. Asked again meanwhile, it replaces the new ones, too."""
        if self.is_stopping:
            return
        self._tell("reload: each process is replaced, one after the other")
        for number, slot in self._slots.items():
            if slot.is_given_up:
                self._slots[number] = Slot()
        for process in self._processes.values():
            process.is_outdated = True
        self._review(now)

    def stop(self, now: float) -> None:
        """Drain and end everything."""
        self.is_stopping = True
        self._review(now)

    def stop_now(self, now: float, grace: float) -> None:
        """End everything, whatever runs; what is still there after ``grace`` seconds is killed."""
        self.is_stopping = True
        self._review(now)
        for process in self._processes.values():
            process.deadline = min(now + grace, now + grace if process.deadline is None else process.deadline)
            self.effects.append(Terminate(process.key))  # the second one closes it
        self._review(now)

    # What happens

    def on_loaded(self, key: int, now: float) -> None:
        """A process has found its server."""
        self._has_loaded = True
        self._review(now)

    def on_serving(self, key: int, endpoint: str, now: float) -> None:
        """A process serves."""
        process = self._processes[key]
        process.endpoint, process.was_ready = endpoint, True
        if process.state is State.STARTING:
            process.state, process.serves_since, process.deadline = State.SERVING, now, None
            self._slots[process.slot].trouble = ""
            self._tell(f"serves on {endpoint}", process.slot)
        self._has_loaded = True
        self._review(now)

    def on_ended(self, key: int, code: int, now: float) -> None:
        """A process has ended.

        Args:
            key: its number.
            code: its exit code, or the negative number of a signal.
            now: the time.
        """
        process = self._processes.pop(key)
        if self._ports is not None:
            self._ports.append(process.port)
        slot = self._slots[process.slot]
        if process.state is State.ENDING:
            self._ended_as_told(process, code)
        else:
            self._failed(process, slot, code, now)
        self._review(now)

    def on_time(self, now: float) -> None:
        """The time has come to look again."""
        for process in self._processes.values():
            if process.deadline is None or now < process.deadline:
                continue
            process.deadline = None
            process.was_killed = True
            why = "serving" if process.state is State.STARTING else "gone"
            self._tell(f"is not {why} in time, and is killed", process.slot)
            self.effects.append(Kill(process.key))
        self._review(now)

    # Inside

    def _serving(self) -> list[Process]:
        return [process for process in self._processes.values() if process.state is State.SERVING]

    def _of(self, slot: int) -> list[Process]:
        return [process for process in self._processes.values() if process.slot == slot]

    def _tell(self, text: str, slot: int | None = None) -> None:
        self.effects.append(Tell(text, slot))

    def _ended_as_told(self, process: Process, code: int) -> None:
        is_asked = code == -signal.SIGTERM and not process.was_ready  # it had no handler for it yet
        expected = code == 0 or is_asked
        self._tell(f"has ended {ending(code)}", process.slot)
        if self.is_stopping and not expected:
            self._count(code)

    def _failed(self, process: Process, slot: Slot, code: int, now: float) -> None:
        """A process has ended of itself."""
        was = "" if process.was_ready else " before it served"
        why = "did not serve in time, and was killed" if process.was_killed else f"has ended {ending(code)}{was}"
        slot.trouble = why
        if not process.was_ready and code == CANNOT_BIND:
            slot.port = None  # another one may be free
        if not self._has_loaded:
            self._tell(why, process.slot)
            self._count(code)
            self.is_stopping = True
            return
        if not process.is_outdated and self._replaced == process.slot and not process.was_ready:
            self._tell("the reload is given up: a new process does not serve; the other ones stay")
            self._replaced = None
            for other in self._processes.values():
                other.is_outdated = False
        if any(other.state is not State.ENDING for other in self._of(process.slot)):
            self._tell(why, process.slot)
            return  # another one has its place
        is_sound = process.was_ready and now - process.serves_since >= self._restarts.sound_after
        slot.failures = 1 if is_sound else slot.failures + 1
        if slot.failures > self._restarts.max_restarts:
            slot.is_given_up = True
            self._count(code)
            self._tell(f"{why}, and is given up after {slot.failures} failures in a row", process.slot)
            return
        pause = self._restarts.pause(slot.failures)
        slot.start_at = now + pause
        if process.slot < self.replicas:
            why += f"; it is started again in {pause:g} s"
        self._tell(why, process.slot)

    def _count(self, code: int) -> None:
        self.worst = max(self.worst, code if code >= 0 else 128 - code)

    def _review(self, now: float) -> None:
        """Looks at everything, and decides what is missing."""
        if self.is_stopping:
            for process in self.processes:
                self._end(process, now)
        else:
            self._retire(now)
            self._replace(now)
            self._fill(now)
        if not self.is_over and not self._processes and (self.is_stopping or self._is_hopeless()):
            self.is_over = self.is_stopping = True
            self.effects.append(Over(self.worst))

    def _is_hopeless(self) -> bool:
        return all(slot in self._slots and self._slots[slot].is_given_up for slot in range(self.replicas))

    def _retire(self, now: float) -> None:
        """Ends what has no place any more."""
        newest = {process.slot: process for process in self._serving()}
        for process in self.processes:
            has_successor = process.slot in newest and process.key < newest[process.slot].key
            if process.slot >= self.replicas or has_successor:
                self._end(process, now)
        for number in [number for number in self._slots if number >= self.replicas and not self._of(number)]:
            del self._slots[number]

    def _replace(self, now: float) -> None:
        """Takes a reload one step on."""
        if self._replaced is not None and self._is_replaced(self._replaced):
            self._replaced = None
        if self._replaced is None:
            outdated = [process.slot for process in self._processes.values() if process.is_outdated]
            if not outdated:
                return
            self._replaced = min(outdated)
        here = [process for process in self._of(self._replaced) if process.state is not State.ENDING]
        if any(process.state is State.STARTING for process in here) or not any(p.is_outdated for p in here):
            return
        if self._ports is None or self._ports:
            self._start(self._replaced, now)
            return
        for process in here:  # its successor needs its port
            self._end(process, now)

    def _is_replaced(self, number: int) -> bool:
        here = self._of(number)
        if number >= self.replicas or self._slots[number].is_given_up:
            return not here
        return len(here) == 1 and here[0].state is State.SERVING and not here[0].is_outdated

    def _fill(self, now: float) -> None:
        """Starts what is missing."""
        for number in range(self.replicas):
            slot = self._slots.setdefault(number, Slot(start_at=now))
            if self._wants_start(number, slot) and slot.start_at <= now:
                self._start(number, now)

    def _wants_start(self, number: int, slot: Slot) -> bool:
        if slot.is_given_up or number >= self.replicas or any(p.state is not State.ENDING for p in self._of(number)):
            return False
        # The first one has to find its server, before the others look for it: what is wrong is told once.
        if not self._has_loaded and self._processes:
            return False
        return self._ports is None or bool(self._ports)

    def _start(self, number: int, now: float) -> None:
        slot, port = self._slots[number], 0
        if self._ports is not None:
            port = slot.port if slot.port is not None and slot.port in self._ports else self._ports[0]
            self._ports.remove(port)
            slot.port = port
        self._last_key += 1
        process = Process(self._last_key, number, port, now + self._restarts.start_timeout)
        self._processes[process.key] = process
        self.effects.append(Start(process))

    def _end(self, process: Process, now: float) -> None:
        if process.state is not State.ENDING:
            process.state, process.deadline = State.ENDING, now + self._restarts.end_timeout
            self.effects.append(Terminate(process.key))


def ending(code: int) -> str:
    """How a process has ended, in words.

    Args:
        code: its exit code, or the negative number of a signal.
    """
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
