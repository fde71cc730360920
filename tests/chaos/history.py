"""What each side wrote down, and whether the two agree.

The container appends one line per start and end of a handler, by one ``os.write`` to a file opened with O_APPEND: what
was written survives a SIGKILL. The engine appends one line per request that ended. Times are those of the monotonic
clock, which the processes of one host share.

:func:`check` and the functions below it are pure: histories in, violations out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from mpzmq.statistics import Statistics

__all__ = [
    "ContainerHistory",
    "ContainerLog",
    "Counters",
    "EngineLog",
    "Request",
    "Run",
    "Stall",
    "Violation",
    "check",
    "check_counters",
    "check_memory",
    "check_worker",
    "described",
    "read_container",
    "read_engine",
]


@dataclass(slots=True)
class Request:
    """One request, as the engine saw it.

    Attributes:
        id: its request id, as hex digits.
        function: what it called.
        idempotent: whether it may run in more than one instance.
        timeout: its seconds, None for no deadline.
        link: the name of the link that was asked; empty: it is one of many, whose order nobody has promised.
        tainted: bytes of its connection may have been flipped.
        issued: when.
        ended: when; None: it has not.
        outcome: ``"replied"``, ``"failed"`` or ``"cancelled"``; None: it has not ended.
        error: the class of its error.
        executed: what its error says; None for an error that is no RequestError.
        instance_changed: what its error says of a restart.
        right: whether its reply, or the handler's own error, was the one that the function gives.
    """

    id: str
    function: str
    idempotent: bool = False
    timeout: float | None = None
    link: str = ""
    tainted: bool = False
    issued: float = 0.0
    ended: float | None = None
    outcome: str | None = None
    error: str | None = None
    executed: str | None = None
    instance_changed: bool | None = None
    right: bool = True


@dataclass(slots=True)
class Run:
    """One start of a handler.

    Attributes:
        id: the request id that it was given.
        instance: of the container.
        function: its name.
        started: when.
        how: ``"returned"``, ``"raised"`` or ``"cancelled"``; None: it has not ended, or its process was killed before.
        ended: when.
    """

    id: str
    instance: str
    function: str
    started: float = 0.0
    how: str | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """A container's own counters at one moment, and its memory; ``final`` are those of an instance that has closed."""

    instance: str
    received: int
    replied: int
    failed: int
    refused: int
    cancelled: int
    in_flight: int
    rss: int = 0
    final: bool = False


class Stall(NamedTuple):
    """A time in which an event loop did not come to what was due."""

    due: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise.

    Attributes:
        kind: which, in a few words; the same words for the same promise.
        text: where.
    """

    kind: str
    text: str


def described(violations: Iterable[Violation]) -> str:
    """One line for each."""
    return "\n".join(f"{violation.kind}: {violation.text}" for violation in violations)


@dataclass(slots=True)
class ContainerHistory:
    """What all instances behind one endpoint wrote."""

    runs: list[Run] = field(default_factory=list)
    counters: list[Counters] = field(default_factory=list)

    def memory(self) -> dict[str, list[int]]:
        """By instance, its resident set again and again."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for now in self.counters:
            found[now.instance].append(now.rss)
        return dict(found)


# Writing


class ContainerLog:
    """The container's pen."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._runs = 0

    def write(self, **facts: object) -> None:
        """One line, by one system call."""
        os.write(self._file, json.dumps(facts).encode() + b"\n")

    @contextlib.contextmanager
    def run(self, request_id: UUID, instance: UUID | None, function: str) -> Iterator[None]:
        """Around the body of a handler."""
        self._runs += 1
        # A number of its own: one id that runs twice in one instance is what the checker looks for.
        number, pid = self._runs, os.getpid()
        at = time.monotonic()
        facts = {"id": request_id.hex, "instance": str(instance), "function": function, "at": at}
        self.write(what="start", run=number, pid=pid, **facts)
        how = "raised"
        try:
            yield
            how = "returned"
        except (asyncio.CancelledError, GeneratorExit):
            how = "cancelled"
            raise
        finally:
            self.write(what="end", run=number, pid=pid, how=how, at=time.monotonic())

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


class EngineLog:
    """The engine's pen: a file, so that its memory does not grow with the run."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self._open: dict[int, Request] = {}

    def issued(self, request: Request) -> None:
        """A request begins."""
        self._open[id(request)] = request

    def ended(self, request: Request) -> None:
        """It has ended; after :meth:`close` that is too late."""
        if self._open.pop(id(request), None) is not None:
            self._write(request)

    def close(self) -> None:
        """Writes what has not ended, as that, and closes the file."""
        for request in self._open.values():
            self._write(request)
        self._open.clear()
        self._file.close()

    def _write(self, request: Request) -> None:
        self._file.write(json.dumps(asdict(request)) + "\n")


# Reading


def read_engine(path: Path) -> list[Request]:
    """The requests of a file that is closed."""
    return [Request(**json.loads(line)) for line in path.read_text().splitlines()]


def read_container(path: Path) -> ContainerHistory:
    """The runs and counters of all instances that wrote to one file."""
    history = ContainerHistory()
    runs: dict[tuple[int, int], Run] = {}
    for line in path.read_text().splitlines():
        facts: dict[str, Any] = json.loads(line)
        match facts.pop("what"):
            case "start":
                run = Run(facts["id"], facts["instance"], facts["function"], facts["at"])
                runs[facts["pid"], facts["run"]] = run
                history.runs.append(run)
            case "end":
                run = runs[facts["pid"], facts["run"]]
                run.how, run.ended = facts["how"], facts["at"]
            case "counters":
                history.counters.append(Counters(**facts))
    return history


# Comparing


def check(
    requests: Iterable[Request],
    runs: Iterable[Run],
    *,
    slack: float = 1.0,
    stalls: Sequence[Stall] = (),
    strangers: bool = False,
) -> list[Violation]:
    """Compares what the engine was told with what one container did.

    Of a tainted request, only this is asked: that it ended in time. A flipped byte that TCP's checksum did not see
    (ours are flipped behind it) may sit in the arguments, in an error's code, in the request id: its value and its
    ``executed`` mean nothing then, and the container may have run it under an id that nobody issued. Such strangers
    are counted apart, see ``strangers``. It may sit in the number of a request, too: its reply is then settled before
    it was read, and the request runs once more when it is sent again.

    Args:
        requests: all that were issued to this container, by any link.
        runs: all that its instances did.
        slack: seconds by which a request may end after its deadline, on a machine that has other things to do.
        stalls: of the engine's event loop; for as long as it stood still behind a deadline, nobody can be told.
        strangers: whether runs of ids that nobody issued may be, because bytes were flipped.
    """
    found: list[Violation] = []
    by_id: defaultdict[str, list[Run]] = defaultdict(list)
    runs = sorted(runs, key=lambda run: run.started)
    for run in runs:
        by_id[run.id].append(run)
    found += _in_old_instances(runs)
    requests, known = list(requests), set[str]()
    for request in requests:
        if request.id in known:
            found.append(Violation("ended twice", f"{request}"))
        known.add(request.id)
        ran = by_id.get(request.id, [])
        broken = (*_late(request, slack, stalls), *_too_often(request, ran), *_untrue(request, ran))
        found += [Violation(kind, f"{request} ran {len(ran)} times: {ran}") for kind in broken]
    found += _out_of_order(requests, by_id)
    if not strangers:
        found += [Violation("ran for nobody", f"{ran}") for id_, ran in by_id.items() if id_ not in known]
    return found


def _out_of_order(requests: Iterable[Request], runs: Mapping[str, Sequence[Run]]) -> Iterator[Violation]:
    """Requests of one link start in one instance in the order in which they were issued.

    All functions here run on the event loop, and have no limit of their own, so that this holds across them, too.
    """
    latest: dict[tuple[str, str], tuple[Request, Run]] = {}
    for request in sorted(requests, key=lambda request: request.issued):
        if request.tainted or not request.link:
            continue
        for run in runs.get(request.id, ()):
            before = latest.get((request.link, run.instance))
            if before is not None and run.started < before[1].started:
                yield Violation("started out of order", f"{request} ran as {run}, and before it {before}")
            else:
                latest[request.link, run.instance] = request, run


def _in_old_instances(runs: Iterable[Run]) -> Iterator[Violation]:
    """Of the instances behind one endpoint, nothing starts in one after something has started in its successor."""
    over, current = set[str](), ""
    for run in runs:
        if run.instance in over:
            yield Violation("ran in an instance that was over", f"{run}, behind runs in {current}")
        elif run.instance != current:
            over.add(current)
            current = run.instance


def _late(request: Request, slack: float, stalls: Sequence[Stall]) -> Iterator[str]:
    if request.ended is None or request.outcome is None:
        yield "never ended"
    elif request.timeout is not None:
        deadline, ended = request.issued + max(0.0, request.timeout), request.ended
        if ended > deadline + slack + sum(
            stall.seconds for stall in stalls if stall.due <= ended and stall.due + stall.seconds >= deadline
        ):
            yield "ended after its deadline"


def _too_often(request: Request, ran: Sequence[Run]) -> Iterator[str]:
    if request.tainted:
        return
    instances = [run.instance for run in ran]
    if len(instances) > len(set(instances)):
        yield "ran twice in one instance"
    elif len(instances) > 1 and not request.idempotent:
        yield "ran in two instances without being idempotent"
    if any(run.started < request.issued for run in ran):
        yield "ran before it was issued"


def _untrue(request: Request, ran: Sequence[Run]) -> Iterator[str]:
    if request.outcome not in ("replied", "failed"):
        return
    if request.outcome == "failed" and request.executed is None:
        yield "an error that is no RequestError"
    if request.tainted:
        return
    if not request.right:
        yield "another answer than the function's"
    # What the engine was told must be true when it was told: a run that came later is no excuse.
    assert request.ended is not None
    begun = [run for run in ran if run.started <= request.ended]
    over = [run for run in begun if run.ended is not None and run.ended <= request.ended]
    if request.outcome == "replied" and not any(run.how == "returned" for run in over):
        yield "acknowledged but not executed"
    if request.error == "RemoteError" and not any(
        run.how == "raised" or (run.function == "odd" and run.how == "returned") for run in over
    ):
        yield "a handler's error without a handler"
    if request.executed == "NO" and ran:
        yield "NO, but it ran"
    if request.executed == "YES" and not begun:
        yield "YES, but it never ran"


def check_counters(history: ContainerHistory) -> list[Violation]:
    """Whether the counters of one container add up, at every moment that it wrote down, and with its runs."""
    found = []
    runs = Counter(run.instance for run in history.runs)
    for now in history.counters:
        if now.received != now.replied + now.failed + now.refused + now.cancelled + now.in_flight:
            found.append(Violation("a container's counters do not add up", f"{now}"))
        # Before its end, an instance may have written runs after its counters.
        if now.final and runs[now.instance] > now.received:
            found.append(Violation("more runs than requests received", f"{now}, {runs[now.instance]} runs"))
    return found


def check_worker(counted: Statistics, requests: Sequence[Request]) -> list[Violation]:
    """Whether a worker's counters add up when all is over, and with what its callers saw."""
    found = []
    outcomes = Counter(request.outcome for request in requests)
    if counted.issued != counted.replied + counted.failed + counted.cancelled + counted.in_flight:
        found.append(Violation("a worker's counters do not add up", f"{counted}"))
    if counted.in_flight:
        found.append(Violation("in flight after the end", f"{counted}"))
    # A caller that is cancelled in the pass in which its reply arrives sees the cancellation, the books the reply.
    cancelled = outcomes["cancelled"]
    # Who asks a link that has been ended already is told so, and no link counts it.
    told = sum(request.error == "NotConnected" for request in requests)
    fits = (
        len(requests) - told <= counted.issued <= len(requests)
        and outcomes["replied"] <= counted.replied <= outcomes["replied"] + cancelled
        and outcomes["failed"] - told <= counted.failed <= outcomes["failed"] + cancelled
    )
    if not fits:
        found.append(Violation("a worker's counters are not what its callers saw", f"{counted}, {dict(outcomes)}"))
    return found


def check_memory(samples: Sequence[int], *, whose: str, warm: int | None = None) -> list[Violation]:
    """Whether memory is flat: the median of the second half is little above that of the first third.

    Args:
        samples: of the resident set.
        whose: it is.
        warm: so many samples are of a process that warms up; behind them it has to be flatter. None: it never was
            warm.
    """
    factor, room = (1.3, 16 << 20) if warm is None else (1.05, 4 << 20)
    samples = samples[warm:]
    if len(samples) < 12:
        return []
    early, late = median(samples[: len(samples) // 3]), median(samples[len(samples) // 2 :])
    if late <= factor * early + room:
        return []
    return [Violation("memory grows", f"{whose}: {early / 2**20:.0f} MiB early, {late / 2**20:.0f} MiB late")]
