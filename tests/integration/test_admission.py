"""Who may run, who has to wait, and who is turned away: over real sockets, in one process where that is enough."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import zmq

import mpzmq
from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    Executed,
    Limits,
    LinkBusy,
    LinkDown,
    LinkState,
    MpzmqError,
    Overloaded,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestContext,
    RequestTimeout,
)
from mpzmq.protocol.responder.reply_cache import SESSIONS_FACTOR
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from mpzmq.testing import connected
from tests.support import ROOT
from tests.support.scene import QUICK, REDIAL, Scene, adds_up
from tests.support.waiting import SECONDS, event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq.testing import Proxy, ProxyFactory
    from tests.support.container import Start
    from tests.support.raw import Raw

FORMS = ["async def", "plain def", "thread"]


class Work:
    """One handler in the form that is asked for: it notes who runs, and waits until it is let go."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.cancelled: list[Any] = []
        self.inside = self.most = 0
        self._lock = threading.Lock()
        self._permits = asyncio.Semaphore(0)
        self._thread_permits = threading.Semaphore(0)

    def register(self, server: ContainerServer, form: str, name: str = "work", **options: Any) -> None:
        """Registers it with a server."""
        handler = {"async def": self._asynchronous, "plain def": self._plain, "thread": self._in_thread}[form]
        server.function(handler, name=name, thread=form == "thread", **options)

    def let_go(self, count: int = 1) -> None:
        """So many runs may end."""
        for _ in range(count):
            self._permits.release()
            self._thread_permits.release()

    async def _asynchronous(self, word: Any) -> Any:
        self._enter(word)
        try:
            await self._permits.acquire()
        except asyncio.CancelledError:
            self.cancelled.append(word)
            raise
        finally:
            self._leave()
        return self._result(word)

    def _plain(self, word: Any) -> Any:
        return self._asynchronous(word)

    def _in_thread(self, word: Any) -> Any:
        self._enter(word)
        try:
            assert self._thread_permits.acquire(timeout=SECONDS)
        finally:
            self._leave()
        return self._result(word)

    def _enter(self, word: Any) -> None:
        with self._lock:
            self.started.append(word)
            self.inside += 1
            self.most = max(self.most, self.inside)

    def _leave(self) -> None:
        with self._lock:
            self.inside -= 1

    @staticmethod
    def _result(word: Any) -> Any:
        match word:
            case "raise":
                raise LookupError(word)
            case "refuse":
                raise Refused(word)
            case "what cannot be sent":
                return object()
        return word


@dataclass
class Stage:
    """A container with one such handler, and engines that reach it through a proxy each."""

    server: ContainerServer
    work: Work
    worker: ComputerEngineWorker
    containers: list[ComputerEngineWriter]
    proxies: list[Proxy]
    calls: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def container(self) -> ComputerEngineWriter:
        """The handle of the first engine."""
        return self.containers[0]

    def call(self, word: Any, engine: int = 0, name: str = "work", **options: Any) -> asyncio.Task[Any]:
        """Calls the handler; whatever comes of it is looked at where the test wants to."""
        self.calls.append(asyncio.create_task(self.containers[engine].call(name, word, **options)))
        return self.calls[-1]

    async def arrived(self, count: int) -> None:
        """Waits until the container has read so many requests."""
        await until(lambda: self.server.statistics().received == count)

    def tallies(self) -> bool:
        """Whether the counters of both sides add up, and nothing is under way."""
        counted = self.server.statistics()
        ended = counted.replied + counted.failed + counted.refused + counted.cancelled
        return adds_up(self.worker.service().statistics()) and counted.received == ended and not counted.in_flight


@pytest.fixture
def form() -> str:
    return "async def"


@pytest.fixture
def most() -> int | None:
    return 2


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, form: str, limits: Limits, most: int | None) -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage", heartbeat=QUICK, limits=limits)
    work = Work()
    work.register(server, form, max_concurrency=most)
    # One worker has a link, and so a session, of its own for each of them: to the container they are two engines.
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        proxies = [await mpzmq_proxy(endpoint) for _ in range(2)]
        containers = [await worker.connect(uuid.uuid4(), proxy.endpoint) for proxy in proxies]
        made = Stage(server, work, worker, containers, proxies)
        yield made
        work.let_go(1000)
        await asyncio.gather(*made.calls, return_exceptions=True)
        await worker.close()
        await until(made.tallies)


# At most so many runs of a function at once


@pytest.mark.parametrize("form", FORMS)
async def test_never_more_than_so_many_at_once_over_all_engines(stage: Stage) -> None:
    calls = [stage.call(number, engine=number % 2) for number in range(20)]
    await stage.arrived(20)
    for done in range(1, 21):
        await until(lambda: len(stage.work.started) == min(20, done + 1))  # noqa: B023  (awaited in the loop)
        stage.work.let_go()
        await until(lambda: sum(call.done() for call in calls) == done)  # noqa: B023
    assert await asyncio.gather(*calls) == list(range(20))
    assert stage.work.most == 2
    assert sorted(stage.work.started) == list(range(20)), "each ran once"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("most", [1])
async def test_first_come_first_served(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(10)]
    await stage.arrived(10)
    calls += [stage.call(number, engine=1) for number in range(10, 15)]
    await stage.arrived(15)
    stage.work.let_go(15)
    assert await soon(asyncio.gather(*calls)) == list(range(15))
    assert stage.work.started == list(range(15)) and stage.work.most == 1


@pytest.mark.parametrize("form", FORMS)
async def test_another_function_does_not_wait(stage: Stage) -> None:
    stage.server.function(lambda word: word, name="free")
    for number in range(5):
        stage.call(number)
    await stage.arrived(5)
    assert await soon(stage.container.call("free", "x")) == "x"
    await until(lambda: stage.work.inside == 2)  # a thread takes a moment to begin


@pytest.mark.parametrize("form", FORMS)
async def test_what_waits_until_its_deadline_never_runs(stage: Stage) -> None:
    first = [stage.call(number) for number in range(2)]
    await until(lambda: stage.work.inside == 2)
    with pytest.raises(RequestTimeout) as late:
        await stage.call("late", timeout=0.1)
    assert late.value.executed is not Executed.YES
    await until(lambda: stage.server.statistics().cancelled == 1)  # before there is room for it
    assert stage.work.inside == 2
    stage.work.let_go(2)
    assert await soon(asyncio.gather(*first)) == [0, 1]
    stage.work.let_go()
    assert await soon(stage.call("next")) == "next"
    assert stage.work.started == [0, 1, "next"]


@pytest.mark.parametrize("form", FORMS)
async def test_what_waits_and_is_cancelled_never_runs(stage: Stage) -> None:
    first = [stage.call(number) for number in range(2)]
    await until(lambda: stage.work.inside == 2)
    waiting = [stage.call(number) for number in range(2, 6)]
    await stage.arrived(6)
    for call in waiting[:3]:
        call.cancel()
    await until(lambda: stage.server.statistics().cancelled == 3)
    stage.work.let_go(3)
    assert await soon(asyncio.gather(*first, waiting[3])) == [0, 1, 5]
    assert stage.work.started == [0, 1, 5] and not stage.work.cancelled


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", ["raise", "refuse", "what cannot be sent"])
async def test_a_place_is_given_back_whatever_the_handler_says(stage: Stage, word: str) -> None:
    failing = [stage.call(word) for _ in range(6)]
    stage.work.let_go(6)
    await asyncio.wait(failing)
    assert {type(call.exception()) for call in failing} == {Refused if word == "refuse" else RemoteError}
    stage.work.let_go(4)
    assert await soon(asyncio.gather(*(stage.call(number) for number in range(4)))) == list(range(4))
    assert stage.work.most <= 2 and len(stage.work.started) == 10


@pytest.mark.parametrize("form", FORMS[:2])
@pytest.mark.parametrize("ending", ["cancelled", "late"])
async def test_a_place_is_given_back_when_nobody_waits_any_more(stage: Stage, ending: str) -> None:
    first = [stage.call(number, timeout=0.3 if ending == "late" else 30.0) for number in range(2)]
    await until(lambda: stage.work.inside == 2)
    waiting = [stage.call(number) for number in range(2, 4)]
    if ending == "cancelled":
        for call in first:
            call.cancel()
    await asyncio.wait(first)
    await until(lambda: stage.work.started == [0, 1, 2, 3])
    assert sorted(stage.work.cancelled) == [0, 1]
    stage.work.let_go(2)
    assert await soon(asyncio.gather(*waiting)) == [2, 3]


@pytest.mark.parametrize("form", ["thread"])
async def test_a_thread_keeps_its_place_until_it_has_ended(stage: Stage) -> None:
    first = [stage.call(number) for number in range(2)]
    await until(lambda: stage.work.inside == 2)
    waiting = stage.call(2)
    await stage.arrived(3)
    for call in first:
        call.cancel()
    await asyncio.wait(first)
    await stage.container.get_state()  # the CANCELs, which were sent before, have been read
    assert stage.work.started == [0, 1] and not waiting.done()
    stage.work.let_go(3)
    assert await soon(waiting) == 2
    assert stage.work.most == 2


async def test_what_may_not_be_cancelled_keeps_its_place_too(stage: Stage) -> None:
    stage.work.register(stage.server, "async def", "must_end", max_concurrency=1, cancellable=False)
    first = stage.call(0, name="must_end")
    await until(lambda: stage.work.inside == 1)
    waiting = [stage.call(number, name="must_end") for number in (1, 2)]
    await stage.arrived(3)
    first.cancel()
    waiting[0].cancel()
    await until(lambda: stage.server.statistics().cancelled == 1)  # what waits has not begun, and need not end
    assert stage.work.started == [0]
    stage.work.let_go(2)
    assert await soon(waiting[1]) == 2
    assert stage.work.started == [0, 2] and stage.work.most == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_close_ends_what_waits_as_not_run(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(6)]
    await stage.arrived(6)
    await until(lambda: stage.work.inside == 2)
    closing = asyncio.create_task(stage.server.close())
    await soon(asyncio.wait(calls))
    errors = [call.exception() for call in calls]
    assert all(isinstance(error, RequestCancelled) for error in errors)
    assert [error.executed for error in errors if isinstance(error, RequestCancelled)] == [Executed.YES] * 2 + [
        Executed.NO
    ] * 4
    stage.work.let_go(6)
    await soon(closing)
    assert sorted(stage.work.started) == [0, 1]


@pytest.mark.parametrize("form", FORMS)
async def test_a_drain_lets_those_who_wait_have_their_turn(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(6)]
    await stage.arrived(6)
    draining = asyncio.create_task(stage.server.drain())
    await until(lambda: stage.container.state is LinkState.DRAINING and stage.work.inside == 2)
    stage.work.let_go(6)
    assert await soon(asyncio.gather(*calls)) == list(range(6))
    await soon(draining)
    assert stage.work.most == 2 and len(stage.work.started) == 6


async def test_a_drain_waits_for_what_is_on_its_way_although_every_reply_was_read(stage: Stage) -> None:
    """What has not been read is not refused, and only what was refused is carried over to the successor."""
    hub = stage.server._driver
    assert hub is not None
    for peer in hub.sessions.connected():
        peer.has_sent = False  # as when an engine was silent for two intervals, and has answered the PING
    stage.proxies[0].delay = 0.1
    call = stage.call("under way")
    await asyncio.sleep(0)
    await soon(stage.server.drain())
    assert stage.server.statistics().refused == 1
    assert not call.done() and stage.work.started == []
    call.cancel()


@pytest.mark.parametrize("form", FORMS)
async def test_a_drain_that_runs_out_ends_what_still_waits_as_not_run(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(4)]
    await stage.arrived(4)
    await until(lambda: stage.work.inside == 2)
    await soon(stage.server.drain(0.05))
    assert stage.work.inside == 2 and not any(call.done() for call in calls)
    closing = asyncio.create_task(stage.server.close())
    await soon(asyncio.wait(calls))
    said = [error.executed for call in calls if isinstance(error := call.exception(), RequestCancelled)]
    assert said == [Executed.YES, Executed.YES, Executed.NO, Executed.NO]
    stage.work.let_go(4)
    await soon(closing)
    assert sorted(stage.work.started) == [0, 1]


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_lost_while_it_waits_is_joined_and_keeps_its_turn(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(6)]
    await stage.arrived(6)
    await until(lambda: stage.work.inside == 2)
    for turn in range(1, 3):
        events = stage.worker.service().events(stage.container.remote_id)
        await stage.proxies[0].reset()
        await event_of(events, LinkDown)
        await stage.container.wait_ready()
        await until(lambda: stage.server.statistics().repeated == 6 * turn)  # noqa: B023  (awaited in the loop)
    assert stage.work.inside == 2 and stage.server.statistics().received == 6
    stage.work.let_go(6)
    assert await soon(asyncio.gather(*calls)) == list(range(6))
    assert stage.work.most == 2 and sorted(stage.work.started) == list(range(6))


@pytest.mark.parametrize("form", FORMS)
async def test_what_is_joined_while_it_waits_still_has_its_deadline(stage: Stage) -> None:
    first = [stage.call(number) for number in range(2)]
    await until(lambda: stage.work.inside == 2)
    late = stage.call("late", timeout=0.5)
    await stage.arrived(3)
    events = stage.worker.service().events(stage.container.remote_id)
    await stage.proxies[0].reset()
    await event_of(events, LinkDown)
    await until(lambda: stage.server.statistics().repeated == 3)
    with pytest.raises(RequestTimeout):
        await late
    await until(lambda: stage.server.statistics().cancelled == 1)
    stage.work.let_go(2)
    assert await soon(asyncio.gather(*first)) == [0, 1]
    assert sorted(stage.work.started) == [0, 1]


async def test_what_waits_and_is_cancelled_while_its_connection_is_lost_never_runs(stage: Stage) -> None:
    calls = [stage.call(number) for number in range(4)]
    await stage.arrived(4)
    events = stage.worker.service().events(stage.container.remote_id)
    await stage.proxies[0].cut()
    await event_of(events, LinkDown)
    calls[2].cancel()
    stage.proxies[0].restore()
    await until(lambda: stage.server.statistics().cancelled == 1)
    stage.work.let_go(3)
    assert await soon(asyncio.gather(*(calls[number] for number in (0, 1, 3)))) == [0, 1, 3]
    assert stage.work.started == [0, 1, 3]


# The container's own word, which the engine's deadline often comes before


class Client:
    """An engine without deadlines of its own: it tells what the container says."""

    def __init__(self, dealer: Raw) -> None:
        self._dealer = dealer
        self._sequence = 0

    def call(self, function: str, *args: Any, milliseconds: int | None = None) -> bytes:
        """Sends a request; returns its tag."""
        self._sequence += 1
        tag = self._sequence.to_bytes(16, "big")
        self._dealer.send(
            tag, self._dealer.pack([Kind.REQUEST, self._sequence, milliseconds, 0, Op.CALL, function, args, None, None])
        )
        return tag

    async def answer(self) -> tuple[bytes, list[Any]]:
        """The next ERROR or RESPONSE."""
        while True:
            for tag, record in self._dealer.unpack(await self._dealer.receive()):
                if record[0] in (Kind.ERROR, Kind.RESPONSE):
                    return tag, record


@pytest.fixture
async def client(stage: Stage, raw: Callable[[int], Raw]) -> Client:
    dealer = raw(zmq.DEALER).connect(stage.proxies[1].endpoint)
    await dealer.greet()
    return Client(dealer)


EXPIRED_NOT_RUN = [Kind.ERROR, Code.EXPIRED, 0]


@pytest.mark.parametrize("form", FORMS)
async def test_the_container_says_no_of_what_waited_until_its_deadline(stage: Stage, client: Client) -> None:
    for number in range(2):
        stage.call(number)
    await until(lambda: stage.work.inside == 2)
    tag = client.call("work", "late", milliseconds=50)
    told, record = await client.answer()
    assert told == tag and record[:3] == EXPIRED_NOT_RUN
    assert stage.work.started == [0, 1]


# Threads


@pytest.mark.parametrize("form", ["thread"])
@pytest.mark.parametrize("most", [None])
@pytest.mark.parametrize("limits", [Limits(threads=3)])
async def test_functions_wait_for_a_thread_together(stage: Stage) -> None:
    stage.work.register(stage.server, "thread", "other")
    calls = [stage.call(number, engine=number % 2, name=("work", "other")[number // 2 % 2]) for number in range(12)]
    await stage.arrived(12)
    for done in range(1, 13):
        await until(lambda: len(stage.work.started) == min(12, done + 2))  # noqa: B023  (awaited in the loop)
        stage.work.let_go()
        await until(lambda: sum(call.done() for call in calls) == done)  # noqa: B023
    assert await asyncio.gather(*calls) == list(range(12))
    assert stage.work.most == 3


@pytest.mark.parametrize("form", ["thread"])
@pytest.mark.parametrize("limits", [Limits(threads=1)])
@pytest.mark.parametrize("most", [None, 1, 5])
async def test_what_waits_for_a_thread_until_its_deadline_ends_in_time(
    stage: Stage, client: Client, most: int | None
) -> None:
    """In time: while all threads are still at work."""
    stage.work.register(stage.server, "thread", "other")
    stage.call("first", name="other")
    await until(lambda: stage.work.inside == 1)
    tag = client.call("work", "late", milliseconds=50)
    told, record = await client.answer()
    assert told == tag and record[:3] == EXPIRED_NOT_RUN
    assert stage.work.inside == 1, "the only thread is still taken"
    cancelled = stage.call("cancelled")
    await stage.arrived(3)
    cancelled.cancel()
    await until(lambda: stage.server.statistics().cancelled == 2)
    stage.work.let_go()
    await soon(asyncio.wait([stage.calls[0]]))
    stage.work.let_go()
    assert await soon(stage.call("next")) == "next"
    assert stage.work.started == ["first", "next"]


# A full container


@pytest.mark.parametrize("most", [None, 1])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limits", [Limits(in_flight=3, threads=8)])
async def test_a_container_that_is_full_turns_away_and_lets_go_again(stage: Stage, most: int | None) -> None:
    for number in range(3):
        stage.call(number)
    await stage.arrived(3)
    # The engine's own limit is larger, and it does not know the container's: so it sends, and hears of it.
    with pytest.raises(Overloaded, match="in_flight") as full:
        await stage.call("too many")
    assert full.value.executed is Executed.NO and full.value.retry_after > 0
    other = stage.call("other", engine=1)
    await stage.arrived(5)
    stage.work.let_go(5)
    assert await soon(other) == "other", "each engine has its share"
    await until(lambda: not stage.server.statistics().in_flight)
    again = [stage.call(number) for number in range(3, 6)]
    await stage.arrived(8)
    stage.work.let_go(3)
    assert await soon(asyncio.gather(*again)) == [3, 4, 5], "all of its places are free again"
    assert sorted(word for word in stage.work.started if word != "other") == list(range(6))


@pytest.mark.parametrize("limits", [Limits(in_flight=1)])
@pytest.mark.parametrize("most", [None, 1])
async def test_all_engines_together_may_have_so_many_running(stage: Stage, most: int | None) -> None:
    endpoint = stage.proxies[0].endpoint
    while len(stage.containers) < SESSIONS_FACTOR + 1:
        stage.containers.append(await stage.worker.connect(uuid.uuid4(), endpoint))
    for engine in range(SESSIONS_FACTOR):
        stage.call(engine, engine)
    await stage.arrived(SESSIONS_FACTOR)
    with pytest.raises(Overloaded, match="all engines") as full:
        await stage.call("too many", SESSIONS_FACTOR)
    assert full.value.executed is Executed.NO and full.value.retry_after > 0
    stage.work.let_go()
    await until(lambda: stage.server.statistics().replied)
    stage.work.let_go(SESSIONS_FACTOR)
    assert await soon(stage.call("next", SESSIONS_FACTOR)) == "next"
    await soon(asyncio.gather(*stage.calls[:SESSIONS_FACTOR]))


@pytest.mark.parametrize("limits", [Limits(queued_bytes=100_000)])
@pytest.mark.parametrize("most", [None, 1])
async def test_a_container_that_is_full_of_bytes_turns_away_and_lets_go_again(stage: Stage, most: int | None) -> None:
    text = "x" * 40_000
    first = [stage.call(text) for _ in range(2)]
    await stage.arrived(2)
    with pytest.raises(Overloaded, match="queued_bytes") as full:
        await stage.call(text)
    assert full.value.executed is Executed.NO and full.value.retry_after > 0
    small = stage.call("small")
    await stage.arrived(4)
    stage.work.let_go(3)
    assert await soon(asyncio.gather(*first, small)) == [text, text, "small"]
    stage.work.let_go(2)
    assert await soon(asyncio.gather(*(stage.call(text) for _ in range(2)))) == [text, text]
    alone = stage.call("x" * 150_000)
    stage.work.let_go()
    assert len(await soon(alone)) == 150_000, "one that exceeds the limit by itself goes alone"


# A full link


@pytest.fixture
async def narrow() -> AsyncIterator[tuple[Work, ComputerEngineWriter]]:
    """A link that takes two requests."""
    server, work = ContainerServer(heartbeat=QUICK), Work()
    work.register(server, "async def")
    limits = Limits(in_flight=2)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK, limits=limits) as worker:
        yield work, await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))


async def test_without_waiting_a_full_link_is_overloaded_at_once(narrow: tuple[Work, ComputerEngineWriter]) -> None:
    work, container = narrow
    calls = [asyncio.create_task(container.call("work", number)) for number in range(2)]
    await until(lambda: work.inside == 2)
    refused = asyncio.create_task(container.call("work", "no", wait=False))
    await asyncio.sleep(0)
    assert refused.done(), "at once"
    error = refused.exception()
    assert isinstance(error, Overloaded) and error.executed is Executed.NO
    waiting = asyncio.create_task(container.call("work", 2))
    with pytest.raises(RequestTimeout) as late:
        await container.call("work", "late", timeout=0.05)
    assert late.value.executed is Executed.NO, "it never left"
    given_up = asyncio.create_task(container.call("work", "given up"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    work.let_go(3)
    assert await soon(asyncio.gather(*calls, waiting)) == [0, 1, 2]
    assert work.started == [0, 1, 2]
    counted = container.statistics()
    assert (counted.issued, counted.replied, counted.failed, counted.cancelled) == (6, 3, 2, 1) and adds_up(counted)


async def test_a_link_is_full_of_bytes_that_wait_to_leave() -> None:
    server, work = ContainerServer(limits=Limits(window=1)), Work()
    work.register(server, "async def")
    async with server, ComputerEngineWorker(limits=Limits(queued_bytes=100_000)) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        # In one pass of the event loop: the container reads none of them before all have been issued.
        text = "x" * 60_000
        calls = [asyncio.create_task(container.call("work", text)) for _ in range(3)]
        refused = asyncio.create_task(container.call("work", text, wait=False))
        small = asyncio.create_task(container.call("work", "small"))
        await asyncio.sleep(0)
        error = refused.exception()
        assert isinstance(error, Overloaded) and error.executed is Executed.NO
        work.let_go(4)
        assert await soon(asyncio.gather(*calls, small)) == [text, text, text, "small"]
        assert work.started == [text, text, text, "small"], "who waits for room keeps its place"


# Deadlines and cancellation through two containers


@dataclass
class Chain:
    """A container whose handlers call another container."""

    front: ComputerEngineWriter
    back: ComputerEngineWriter
    work: Work
    left: list[float | None] = field(default_factory=list)
    ended: list[BaseException | None] = field(default_factory=list)


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    work = Work()
    behind, before = ContainerServer(name="behind"), ContainerServer(name="before")
    work.register(behind, "async def")
    async with connected(behind) as back, connected(before) as front:
        made = Chain(front, back, work)

        @behind.function
        def remaining(context: RequestContext) -> None:
            made.left.append(context.remaining())

        @before.function
        async def pass_on(word: Any, detached: bool, limit: float | None) -> Any:
            try:
                if not detached:
                    return await back.call("work", word, timeout=limit)
                with mpzmq.detached():
                    return await back.call("work", word, timeout=limit)
            except BaseException as error:
                made.ended.append(error)
                raise

        @before.function
        async def ask(limit: float | None) -> None:
            await asyncio.gather(*(back.call("remaining", timeout=limit) for _ in range(2)))  # tasks inherit, too
            with mpzmq.detached():
                await back.call("remaining", timeout=limit)
            await back.call("remaining", timeout=limit)

        yield made
        work.let_go(100)


@pytest.mark.parametrize(("outer", "inner"), [(5.0, None), (5.0, 60.0), (60.0, 5.0), (None, None), (None, 5.0)])
async def test_a_deadline_goes_through_two_containers(chain: Chain, outer: float | None, inner: float | None) -> None:
    await chain.front.call("ask", inner, timeout=outer)
    least = min((timeout for timeout in (outer, inner) if timeout is not None), default=None)
    for index, remaining in enumerate(chain.left):
        expected = inner if index == 2 else least  # the third call was detached
        if expected is None:
            assert remaining is None
        else:
            # Each hop rounds up to whole milliseconds.
            assert remaining is not None and expected - SECONDS < remaining <= expected + 0.002
    assert len(chain.left) == 4


async def test_the_first_callers_deadline_ends_the_second_handler(chain: Chain) -> None:
    with pytest.raises(RequestTimeout):
        await chain.front.call("pass_on", "x", False, None, timeout=0.2)
    await until(lambda: chain.work.cancelled == ["x"])
    await until(lambda: chain.ended)
    assert not chain.work.inside


async def test_cancelling_the_first_caller_cancels_the_second_handler(chain: Chain) -> None:
    call = asyncio.create_task(chain.front.call("pass_on", "x", False, None))
    await until(lambda: chain.work.inside)
    call.cancel()
    await until(lambda: chain.work.cancelled == ["x"])
    assert [type(error) for error in chain.ended] == [asyncio.CancelledError]


async def test_what_is_detached_is_cancelled_with_its_handler_all_the_same(chain: Chain) -> None:
    call = asyncio.create_task(chain.front.call("pass_on", "x", True, None))
    await until(lambda: chain.work.inside)
    call.cancel()
    await until(lambda: chain.work.cancelled == ["x"])


async def test_an_error_of_the_second_container_is_the_first_handlers(chain: Chain) -> None:
    chain.work.let_go()
    with pytest.raises(RemoteError) as raised:
        await chain.front.call("pass_on", "raise", False, None)
    assert raised.value.executed is Executed.YES and raised.value.error_type == "RemoteError"


# Evidence


async def test_a_blocked_container_is_accused_with_evidence(start: Start) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        events = worker.service().events()
        blocked = asyncio.create_task(container.call("block", scaled(1.5)))
        busy = await event_of(events, LinkBusy)
        assert busy.evidence.missed >= 2 and busy.evidence.last_heard >= 2 * QUICK.interval
        assert busy.evidence.attempts == 0
        assert [change.state for change in busy.evidence.history][-1] is LinkState.BUSY
        assert "heartbeats missed" in str(busy.evidence)
        with pytest.raises(RequestTimeout) as late:
            await container.request("x", timeout=0.05)
        assert late.value.evidence is not None and late.value.evidence.missed >= 2
        assert await soon(blocked) == "done"


async def test_a_request_that_fails_carries_evidence(stage: Stage) -> None:
    with pytest.raises(RequestTimeout) as late:
        await stage.call("late", timeout=0.1)
    seen = late.value.evidence
    assert seen is not None and seen.missed == 0 and seen.attempts == 0
    assert [change.state for change in seen.history] == [LinkState.CONNECTING, LinkState.ALIVE]
    events = stage.worker.service().events(stage.container.remote_id)
    await stage.proxies[0].cut()
    down = await event_of(events, LinkDown)
    assert [change.state for change in down.evidence.history][-1] is LinkState.DOWN
    with pytest.raises(MpzmqError) as away:
        await stage.call("away", wait=False)
    assert away.value.evidence is not None  # type: ignore[attr-defined]
    stage.proxies[0].restore()


# Whoever is not at home


PREPARED = """
import asyncio, os, sys, threading, uuid, mpzmq

async def prepare():
    server = mpzmq.ContainerServer()
    server.on_invoke(lambda data: data)
    worker = mpzmq.ComputerEngineWorker()
    container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
    assert await container.request("before") == "before"
    return server, worker, container

def attempts(server, worker, container):
    yield container.request("x")
    yield container.call("x", wait=False)
    yield container.wait_ready()
    yield worker.service().get_state(container.remote_id)
    yield worker.connect(uuid.uuid4(), "127.0.0.1:1")
    yield worker.run()
    yield worker.disconnect(container.remote_id)
    yield server.bind("127.0.0.1:0")
    yield server.drain()
    yield server.serve_forever()

def refused(run, *things):
    for attempt in attempts(*things):
        try:
            run(attempt)
        except RuntimeError as error:
            assert "belongs to another event loop, thread or process" in str(error), error
        else:
            raise AssertionError(f"{attempt} was not refused")

def child(what):
    # Ends without cleaning up, as multiprocessing's children do: what is open belongs to the parent.
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            what()
            code = 0
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0

async def end(server, worker, container):
    assert await container.request("after") == "after"
    await worker.close()
    await server.close()
    print("good")
"""

IN_A_COROUTINE = """
async def main():
    things = await prepare()
    def by_hand(attempt):
        try:
            attempt.send(None)
        finally:
            attempt.close()
    child(lambda: refused(by_hand, *things))
    await end(*things)
asyncio.run(main())
"""

IN_A_NEW_LOOP = """
async def main():
    things = await prepare()
    child(lambda: refused(asyncio.run, *things))
    await end(*things)
asyncio.run(main())
"""

IN_THE_SAME_LOOP = """
with asyncio.Runner() as runner:
    things = runner.run(prepare())
    loop = runner.get_loop()
    child(lambda: refused(loop.run_until_complete, *things))
    runner.run(end(*things))
"""

CLOSED_AND_MADE_ANEW = """
async def main():
    things = await prepare()
    async def anew():
        await things[1].close()
        await things[0].close()
        await end(*await prepare())
    child(lambda: asyncio.run(anew()))
    await end(*things)
asyncio.run(main())
"""

IN_MULTIPROCESSING = """
import multiprocessing
async def main():
    things = await prepare()
    process = multiprocessing.get_context("fork").Process(target=refused, args=(asyncio.run, *things))
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode == 0
    await end(*things)
asyncio.run(main())
"""

IN_ANOTHER_LOOP = """
with asyncio.Runner() as first, asyncio.Runner() as second:
    things = first.run(prepare())
    refused(lambda attempt: second.get_loop().run_until_complete(attempt), *things)
    first.run(end(*things))
"""

IN_ANOTHER_THREAD = """
async def main():
    things = await prepare()
    failed = []
    def elsewhere():
        try:
            refused(asyncio.run, *things)
        except BaseException as error:
            failed.append(error)
    await asyncio.to_thread(elsewhere)
    assert not failed, failed
    await end(*things)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    "program",
    [
        IN_A_COROUTINE,
        IN_A_NEW_LOOP,
        IN_THE_SAME_LOOP,
        CLOSED_AND_MADE_ANEW,
        IN_MULTIPROCESSING,
        IN_ANOTHER_LOOP,
        IN_ANOTHER_THREAD,
    ],
    ids=["coroutine", "new loop", "same loop", "anew", "multiprocessing", "another loop", "thread"],
)
def test_elsewhere_is_a_clear_error_and_never_an_abort(program: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARED + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=scaled(30))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its forked children, too
        process.communicate()
        raise
    assert process.returncode == 0, err
    assert "good" in out and "child:" not in err, err


@pytest.mark.parametrize("form", ["call", "channel"])
async def test_what_is_given_up_makes_room_for_whoever_waits(form: str) -> None:
    """Nothing else may happen on the link that could wake it: no reply comes, and nothing leaves."""
    async with ContainerServer() as server, ComputerEngineWorker(limits=Limits(in_flight=1)) as worker:

        @server.function
        async def hold() -> None:
            await asyncio.Event().wait()

        @server.function
        async def echo(items: AsyncIterator[int]) -> AsyncIterator[int]:
            async for item in items:
                yield item

        @server.function
        def add(one: int, other: int) -> int:
            return one + other

        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))

        async def wait() -> asyncio.Task[int]:
            waiting = asyncio.create_task(container.call("add", 1, 2, timeout=None))
            await asyncio.sleep(0)
            return waiting

        if form == "call":
            holding = asyncio.create_task(container.call("hold", timeout=None))
            await until(lambda: server.statistics().in_flight == 1)
            waiting = await wait()
            holding.cancel()
        else:
            async with container.channel("echo") as channel:
                await channel.send(1)
                assert await anext(channel) == 1
                waiting = await wait()
        assert await soon(waiting) == 3


@pytest.mark.parametrize("form", ["async def", "thread"])
async def test_pong_tells_how_many_run_and_how_many_wait(scene: Scene, raw: Callable[[int], Raw], form: str) -> None:
    """Those that came in front of PING are counted, though all were read together."""
    work = Work()
    work.register(scene.server, form, "first", max_concurrency=2)
    work.register(scene.server, form, "second", max_concurrency=1)
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    tags = [uuid.uuid4().bytes for _ in range(8)]
    requests = [
        [Kind.REQUEST, number, None, 0, Op.CALL, "first" if number < 6 else "second", [number], None, None]
        for number in range(1, 9)
    ]

    async def load(number: int, tags: list[bytes], records: list[list[Any]]) -> list[Any]:
        peer.send(b"".join([*tags, bytes(16)]), peer.pack(*records, [Kind.PING, number]))
        while True:
            for _, record in peer.unpack(await peer.receive()):
                if record[:2] == [Kind.PONG, number]:
                    return record[4:]

    assert await load(1, tags, requests) == [1, 3, 5]
    waiting = [tags[4], tags[7]]
    await until(lambda: len(work.started) == 3)
    await load(2, waiting, [[Kind.CANCEL]] * 2)
    assert await load(3, [], []) == [1, 3, 3]
    work.let_go(6)
    answered = 0
    while answered < 6:
        answered += sum(record[0] == Kind.RESPONSE for _, record in peer.unpack(await peer.receive()))
    assert await load(4, [], []) == [1, 0, 0]
