"""``mpzmq demo``: three containers under load, one of them is killed and comes back."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ... import (
    ComputerEngineWorker,
    LinkBusy,
    LinkDown,
    LinkEvent,
    LinkFailed,
    LinkRetry,
    LinkState,
    LinkUp,
    ReconnectPolicy,
    RequestError,
    __version__,
)
from ..outcome import CommandFailed, carry_out
from ..output import FAILED, OK, print_error
from .display import choose
from .process import Child
from .report import Book, Moment, Report, Row

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from ... import ComputerEngineWriter
    from ...engine.event_stream import EventStream
    from .display import Display

__all__ = ["Demo", "run"]

NAMES = ("container-1", "container-2", "container-3")
VICTIM = 1

SENDERS = 20
PAUSE = 0.03
"""Seconds between two requests of one sender: some 600 requests a second in all."""
ANSWER_WITHIN = 1.0
NAPS = 5
"""Requests that the container works on when it is killed."""

REDIAL_INTERVAL = 0.2
STEADY = 1.5
"""Seconds of traffic before the kill, and again after the return."""
MISSING = 1.0
"""Seconds between the loss and the restart."""
DOWN_WITHIN = 5.0
UP_WITHIN = 10.0

_STATES: dict[type[LinkEvent], LinkState] = {
    LinkUp: LinkState.ALIVE,
    LinkBusy: LinkState.BUSY,
    LinkDown: LinkState.DOWN,
    LinkFailed: LinkState.FAILED,
}
_SHOWN = (LinkUp, LinkBusy, LinkDown, LinkRetry, LinkFailed)


class Demo:
    """One run of the demo. What happens is told to the display as it happens."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._children = [Child(name) for name in NAMES]
        self._books = [Book(name) for name in NAMES]
        self._ids = [uuid4() for _ in NAMES]
        self._worker = ComputerEngineWorker(reconnect=ReconnectPolicy(interval=REDIAL_INTERVAL))
        # wait=False: what cannot be sent now is an error now, so that the table shows it.
        self._service = self._worker.service(timeout=ANSWER_WITHIN, wait=False)
        self._writers: list[ComputerEngineWriter] = []
        self._moments: list[Moment] = []
        self._began = time.monotonic()
        self._stopping = False
        self._down: asyncio.Future[Moment] | None = None
        self._up: asyncio.Future[Moment] | None = None

    def rows(self) -> list[Row]:
        """How the containers are now."""
        self._count_reconnects()
        states = itertools.chain((writer.state for writer in self._writers), itertools.repeat(LinkState.CONNECTING))
        return [Row(book, state) for book, state in zip(self._books, states, strict=False)]

    async def run(self) -> tuple[Report, list[str]]:
        """Plays the demo; whatever happens, no process is left.

        Returns:
            The report, and why its counters cannot be right, if they cannot.
        """
        try:
            async with self._worker, asyncio.TaskGroup() as group:
                background = [group.create_task(self._listen(self._service.events()))]
                if self._display.interval is not None:
                    background.append(group.create_task(self._refresh(self._display.interval)))
                report, faults = await self._play(group)
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            await asyncio.gather(*(child.stop() for child in self._children))
        return report, faults

    async def _play(self, group: asyncio.TaskGroup) -> tuple[Report, list[str]]:
        loop = asyncio.get_running_loop()
        self._down, self._up = loop.create_future(), loop.create_future()
        victim = self._children[VICTIM]

        self._note("Starting", None, f"starting {len(NAMES)} containers, each in a process of its own")
        await _all(child.start() for child in self._children)
        for child in self._children:
            self._note_started(child)
        for remote_id, child in zip(self._ids, self._children, strict=True):
            self._writers.append(await self._worker.connect(remote_id, child.address, name=child.name))
        senders = [group.create_task(self._send(number)) for number in range(SENDERS)]
        await asyncio.sleep(STEADY)
        self._note_traffic()

        naps = await self._occupy(group, VICTIM)
        victim.kill()
        killed = self._note("Killed", victim.name, f"SIGKILL to process {victim.pids[-1]}, at work on {NAPS} requests")
        down = await self._until(self._down, DOWN_WITHIN, "was killed, and its link did not go DOWN")
        await asyncio.sleep(MISSING)
        self._note_traffic()

        restarted = self._note("Restarted", victim.name, f"starting it again on {victim.address}")
        await victim.start()
        self._note_started(victim)
        up = await self._until(self._up, UP_WITHIN, "serves again, and its link did not come back")
        await asyncio.sleep(STEADY)

        self._stopping = True
        await asyncio.gather(*senders, *naps)
        self._count_reconnects()
        report = Report(
            version=__version__,
            seconds=time.monotonic() - self._began,
            killed=victim.name,
            down_after=down.seconds - killed.seconds,
            up_after=up.seconds - restarted.seconds,
            moments=self._moments,
            books=self._books,
            processes={child.name: (child.address, child.pids) for child in self._children},
        )
        return report, self._faults(report)

    def _faults(self, report: Report) -> list[str]:
        statistics = [writer.statistics() for writer in self._writers]
        faults = [book.fault(counted) for book, counted in zip(self._books, statistics, strict=True)]
        faults.append(report.total.fault(self._service.statistics()))
        return [fault for fault in faults if fault is not None]

    # Requests

    async def _send(self, number: int) -> None:
        """One sender: every container in turn."""
        await asyncio.sleep(number * PAUSE / SENDERS)
        for turn in itertools.count(number):
            if self._stopping:
                return
            await self._request(turn % len(NAMES), "echo", turn)
            await asyncio.sleep(PAUSE)

    async def _occupy(self, group: asyncio.TaskGroup, number: int) -> list[asyncio.Task[None]]:
        """Gives a container work that takes longer than it will live; returns once it is at work."""
        naps = [group.create_task(self._request(number, "nap", 60.0, timeout=30.0)) for _ in range(NAPS)]
        # Requests to one container start in the order in which they were issued.
        await asyncio.sleep(0)
        await self._request(number, "echo", None)
        return naps

    async def _request(self, number: int, function: str, value: Any, **options: Any) -> None:
        """One request, to its end, whatever that is."""
        book = self._books[number]
        book.requests += 1
        began = time.perf_counter_ns()
        try:
            answer = await self._service.call(self._ids[number], function, value, **options)
        except RequestError as error:
            book.failures[type(error).__name__, error.executed] += 1
        except asyncio.CancelledError:
            book.cancelled += 1
            raise
        else:
            book.answered += 1
            book.latencies.append((time.perf_counter_ns() - began) // 1000)
            if answer != value:
                raise CommandFailed(f"{book.name} was sent {value!r} and answered {answer!r}")

    def _count_reconnects(self) -> None:
        # The writers come one by one, as the containers are connected.
        for book, writer in zip(self._books, self._writers, strict=False):
            book.reconnects = writer.statistics().reconnects

    # What happens

    def _note(self, event: str, container: str | None, text: str, **facts: Any) -> Moment:
        moment = Moment(time.monotonic() - self._began, event, container, text, facts)
        self._moments.append(moment)
        self._display.happened(moment)
        return moment

    def _note_started(self, child: Child) -> None:
        pid = child.pids[-1]
        self._note("Started", child.name, f"process {pid} serves on {child.address}", pid=pid, address=child.address)

    def _note_traffic(self) -> None:
        total = sum(self._books, Book("total"))
        self._note(
            "Traffic", None, f"{total.requests:,} requests, {total.answered:,} answered, {total.failed:,} failed"
        )

    async def _listen(self, events: EventStream) -> None:
        async for event in events:
            if isinstance(event, _SHOWN):
                self._on_event(event)

    def _on_event(self, event: LinkEvent) -> None:
        facts: dict[str, Any] = {}
        if isinstance(event, LinkUp):
            facts["reconnected"] = event.reconnected
        elif isinstance(event, LinkRetry):
            facts["attempt"] = event.attempt
        if (state := _STATES.get(type(event))) is not None:
            facts["state"] = str(state)
        moment = self._note(type(event).__name__, event.name, event.reason, **facts)
        if event.remote_id != self._ids[VICTIM]:
            return
        if isinstance(event, LinkDown):
            _set(self._down, moment)
        elif isinstance(event, LinkUp) and event.reconnected:
            _set(self._up, moment)

    async def _until(self, happened: asyncio.Future[Moment], seconds: float, otherwise: str) -> Moment:
        try:
            return await asyncio.wait_for(happened, seconds)
        except TimeoutError:
            raise CommandFailed(f"{NAMES[VICTIM]} {otherwise} within {seconds:g} s") from None

    async def _refresh(self, interval: float) -> None:
        while True:
            self._display.refresh(self.rows())
            await asyncio.sleep(interval)


def _set(future: asyncio.Future[Moment] | None, moment: Moment) -> None:
    if future is not None and not future.done():
        future.set_result(moment)


async def _all(starts: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for start in starts:
            group.create_task(start)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group of groups: the others follow from it."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(*, as_json: bool, svg: str | None = None) -> int:
    """Plays the demo on this process's terminal; returns the exit code."""

    async def play() -> int:
        with choose(as_json=as_json, svg=svg) as display:
            report, faults = await Demo(display).run()
            display.finish(report)
        for fault in faults:
            print_error(f"mpzmq demo: the counters do not add up: {fault}")
        return FAILED if faults else OK

    return carry_out("mpzmq demo", play)
