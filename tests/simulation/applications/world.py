"""Runs one odd application: from the first bind until nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import re
import sys
import warnings
from typing import TYPE_CHECKING, cast

from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop

from ..parts import parts_of
from ..violation import Violation
from .asking import Engine
from .books import Books, keep
from .invariants import violations
from .plan import HANG, STUBBORN, make_plan
from .serving import Process, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Ask, Fault, Plan

__all__ = ["Result", "World", "run", "trace"]

PATIENCE = 2 * HANG + 20.0
"""Seconds until everything that was asked has ended."""

SLOWEST = 4 * (HANG + STUBBORN)
"""Seconds that a request can take which heeds nothing: its handler, its mapping and its dependencies in turn."""

SETTLE = SLOWEST + 5.0
"""Seconds behind the last close in which what was left to itself ends."""

_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Result:
    """What came of one seed."""

    def __init__(self, books: Books, broken: list[Violation]) -> None:
        self.books = books
        self.violations = broken

    @property
    def reached(self) -> dict[str, bool]:
        """What was done by the application, and what was heard."""
        books = self.books
        found = dict.fromkeys(sorted(books.acts), True)
        found |= {f"heard {asked.outcome}": True for asked in books.asked}
        return found


class World:
    """Runs one plan."""

    def __init__(self, books: Books) -> None:
        plan = books.plan
        self._books = books
        self._loop = books.loop
        self._network = MemoryNetwork(plan.seed, latency=0.001, jitter=0.0005)
        self._engine = Engine(self._network, books)
        self._processes: dict[int, Process] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []

    async def run(self) -> None:
        """All of it."""
        books, plan = self._books, self._books.plan
        for container in range(plan.containers):
            await self._start(container, plan.lifespans[container])
        await self._engine.open()
        await asyncio.sleep(1.0)
        began = self._loop.time()
        for ask in plan.asks:
            self._timers.append(self._loop.call_at(began + ask.at, self._engine.begin, ask))
        for fault in plan.faults:
            self._timers.append(self._loop.call_at(began + fault.at, self._apply, fault))
        await self._until_done(began)
        for timer in self._timers:
            timer.cancel()
        if plan.ends_at is None:
            await self._until_idle()
            self._look_for_arguments()
        self._sample()
        await self._close()
        books.closed_at = self._loop.time()
        await asyncio.sleep(SETTLE)
        self._look_for_leftovers()

    async def _until_done(self, began: float) -> None:
        plan = self._books.plan
        until = self._loop.time() + (PATIENCE if plan.ends_at is None else plan.ends_at)
        last = began + max([ask.at for ask in plan.asks] + [fault.at for fault in plan.faults])
        while self._loop.time() < until:
            await asyncio.sleep(min(0.5, until - self._loop.time()))
            self._sample()
            if not self._engine.tasks and not self._chores and self._loop.time() > last:
                return

    async def _until_idle(self) -> None:
        """Nobody waits any more; what does not heed that goes on for a while."""
        await asyncio.sleep(1.0)
        for _ in range(int(SLOWEST)):
            if not self._is_at_work():
                return
            await asyncio.sleep(1.0)

    def _is_at_work(self) -> bool:
        # A container that has been closed counts nothing any more, and what does not heed that goes on in it.
        return (
            any(process.server.statistics().in_flight for process in self._processes.values())
            or any(run.started and run.ended is None for run in self._books.runs)
            or any(made.closed is None for made in self._books.dependencies)
        )

    def _sample(self) -> None:
        self._engine.sample()
        for process in self._processes.values():
            process.sample()

    async def _close(self) -> None:
        if self._books.plan.worker_first:
            await self._engine.close()
        while self._chores:
            await asyncio.wait(self._chores)
        for process in self._processes.values():
            if self._books.plan.drains:
                await process.drain(0.5)
            else:
                await process.close()
        if not self._books.plan.worker_first:
            await self._engine.close()

    async def _start(self, container: int, lifespan: str = "pass") -> None:
        process = Process(self._network, self._books, container, lifespan)
        if not await process.open():
            process = Process(self._network, self._books, container, "pass")
            await process.open()
        self._processes[container] = process

    # Faults

    def _apply(self, fault: Fault) -> None:
        where, process = endpoint(fault.container), self._processes.get(fault.container)
        self._books.acts.add(f"fault:{fault.kind}")
        if fault.kind == "cut":
            self._network.cut(where)
        elif fault.kind == "partition":
            self._network.partition(where)
            self._loop.call_later(fault.lasts, self._network.heal, where)
        elif process is not None:
            del self._processes[fault.container]
            task = self._loop.create_task(self._replace(process, fault))
            self._chores.add(task)
            task.add_done_callback(self._chore_done)

    async def _replace(self, process: Process, fault: Fault) -> None:
        if fault.kind == "drain":
            await process.drain(fault.lasts)
        else:
            process.served.killed_at = self._loop.time()
            process.host.kill(loses=True)
            await process.close()
        if fault.kind != "gone":
            await asyncio.sleep(fault.lasts)
            await self._start(fault.container)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        task.result()

    # At the end

    def _look_for_arguments(self) -> None:
        """Those of requests that have ended are gone, and nobody has to look for garbage."""
        books = self._books
        ended = [
            (whose, where, ref)
            for whose, where, ref in books.refs
            if whose.ended is not None and not _goes_on(whose.ask)
        ]
        books.alive += [f"{whose.ask.number} {where}" for whose, where, ref in ended if ref() is not None]

    def _look_for_leftovers(self) -> None:
        leftovers = self._books.leftovers
        leftovers += sorted(
            f"task {task.get_coro()!r}" for task in asyncio.all_tasks() if task is not asyncio.current_task()
        )
        timers = self._loop._scheduled  # type: ignore[attr-defined]  # asyncio has no other way to ask
        leftovers += sorted(f"timer {timer!r}" for timer in timers if not timer.cancelled())


def _goes_on(ask: Ask) -> bool:
    """Whether something of it may go on behind its end: the caller's own side, or what has not heard of that.

    A cancellation is heard once: where one part swallows it, another one that hangs hears of nothing.
    """
    swallows, hangs = (any(kind in odd for odd in ask.odd) for kind in (":stubborn", ":hangs"))
    return "left_behind" in ask.sent_through or (swallows and hangs)


class _Loud(logging.Handler):
    """It formats each line, and then raises."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)
        raise LookupError("no line")


@contextlib.contextmanager
def _logging(loud: bool) -> Iterator[None]:
    """Lets lines be logged to a handler that raises, or none at all."""
    before, shows = logging.root.manager.disable, logging.raiseExceptions
    logger, handler = logging.getLogger("mpzmq"), _Loud()
    level, passes_on = logger.level, logger.propagate
    logging.disable(logging.NOTSET if loud else logging.CRITICAL)
    if loud:
        logging.raiseExceptions = False
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        logging.disable(before)
        logging.raiseExceptions = shows
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = passes_on


@contextlib.contextmanager
def _observed(reports: list[str]) -> Iterator[None]:
    """Notes warnings, and errors that nobody could raise."""
    hook, state, collects = sys.unraisablehook, random.getstate(), gc.isenabled()
    sys.unraisablehook = lambda seen: reports.append(f"unraisable: {seen.exc_value!r} in {seen.object!r}")
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect(0)
        reports += [f"warning: {warning.message}" for warning in caught]
    finally:
        sys.unraisablehook = hook
        random.setstate(state)
        if collects:
            gc.enable()


def run(seed: int) -> Result:
    """Runs one seed. Always the same comes of it."""
    plan = make_plan(seed)
    broken: list[Violation] = []
    reports: list[str] = []
    books: Books | None = None

    async def scene() -> None:
        nonlocal books
        loop = cast("VirtualClockLoop", asyncio.get_running_loop())
        loop.set_exception_handler(
            lambda _, context: reports.append(f"{context['message']}: {context.get('exception')!r}")
        )
        books = Books(plan, loop)
        keep.set(books)
        await World(books).run()

    with parts_of(plan.part_bytes), _observed(reports), _logging(plan.loud):
        random.seed(seed)
        try:
            with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
                runner.run(scene())
        except BaseException as error:  # whatever it is, it is a finding, and belongs to its seed
            if isinstance(error, KeyboardInterrupt):
                raise
            broken.append(Violation("crash", f"{type(error).__name__}: {error}"))
    assert books is not None
    broken += [Violation("loop-exception", report) for report in reports]
    broken += violations(books)
    return Result(books, broken)


def trace(result: Result) -> Iterator[str]:
    """The plan and what came of it, a line each."""
    books, plan = result.books, result.books.plan
    yield f"application {plan.seed}: {_without_asks(plan)}"
    lines: list[tuple[float, str]] = [(fault.at, f"FAULT {fault}") for fault in plan.faults]
    for asked in books.asked:
        lines.append((asked.at, f"ASK   {_in_words(asked.ask)}"))
        if asked.ended is not None:
            text = _ID.sub("(an id)", asked.text)
            lines.append((asked.ended, f"GOT   #{asked.ask.number} {asked.outcome} {asked.executed} {text}"))
    lines += [(run.at, f"RUN   {run}, handler started at {run.started}, ended at {run.ended}") for run in books.runs]
    lines += [(made.made, f"MADE  {made.name} of {made.run}, closed at {made.closed}") for made in books.dependencies]
    lines += [(c.at, f"CLOSE {c.what} within {c.bound}, ended at {c.ended}") for c in books.closings]
    for at, line in sorted(lines, key=lambda entry: entry[0]):
        yield f"{at:9.4f}  {line}"
    yield from (f"VIOLATION {violation}" for violation in result.violations)


def _without_asks(plan: Plan) -> str:
    names = [name for name in plan.__slots__ if name not in ("asks", "faults", "seed")]
    return ", ".join(f"{name}={getattr(plan, name)!r}" for name in names)


def _in_words(ask: Ask) -> str:
    whom = "the group" if ask.by_group else f"c{ask.container}"
    how = f"timeout={ask.timeout} cancel_after={ask.cancel_after} idempotent={ask.idempotent} lost={ask.lost_after}"
    return f"#{ask.number} {ask.function} of {whom}: {', '.join(ask.odd) or 'nothing odd'}; {how}"
