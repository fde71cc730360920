"""What becomes of handlers whose engines are gone: real processes, real kills, and engines that come back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectionClosed,
    ContainerServer,
    Executed,
    Limits,
    LinkState,
    RequestCancelled,
    RequestContext,
    Status,
)
from mpzmq.handlers import threads
from mpzmq.testing import ContainerProcess
from tests.support.engine import EngineProcess
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from mpzmq import ComputerEngineWriter
    from mpzmq.testing import Proxy, ProxyFactory

SOON = 0.3
"""An ``orphan_after`` for which a test can wait."""


class Stage:
    """A container whose handlers write down when they begin and end."""

    def __init__(self, **options: Any) -> None:
        self.server = ContainerServer(name="stage", heartbeat=QUICK, **options)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.release = threading.Event()
        self.worker: ComputerEngineWorker | None = None

        @self.server.on_invoke
        async def invoked(data: Any) -> None:
            with self.noted("invoked"):
                await asyncio.Event().wait()

        @self.server.on_state_change
        async def changes(status: Status) -> None:
            with self.noted("changes"):
                await asyncio.Event().wait()

        @self.server.function
        async def waits() -> None:
            with self.noted("waits"):
                await asyncio.Event().wait()

        @self.server.function(max_concurrency=1)
        async def narrow() -> None:
            with self.noted("narrow"):
                await asyncio.Event().wait()

        @self.server.function
        async def gives() -> AsyncIterator[bytes]:
            with self.noted("gives"):
                while True:
                    yield bytes(1000)

        @self.server.function
        async def takes(items: AsyncIterator[int]) -> None:
            with self.noted("takes"):
                async for _ in items:
                    pass

        @self.server.function
        async def talks(items: AsyncIterator[int]) -> AsyncIterator[int]:
            with self.noted("talks"):
                async for item in items:
                    yield item

        @self.server.function
        async def calls(context: RequestContext) -> None:
            with self.noted("calls"):
                await context.call("wait", timeout=None)

        @self.server.function(thread=True)
        def looks(context: RequestContext) -> None:
            with self.noted("looks"):
                while not context.cancelled:
                    time.sleep(0.005)

        @self.server.function(thread=True)
        def stuck() -> None:
            with self.noted("stuck"):
                self.release.wait(60)

        @self.server.function(thread=True)
        def quick() -> str:
            return "quick"

    @contextlib.contextmanager
    def noted(self, name: str) -> Iterator[None]:
        self.begun.append(name)
        try:
            yield
        finally:
            self.ended.append(name)

    @property
    def adds_up(self) -> bool:
        seen = self.server.statistics()
        ends = seen.replied + seen.failed + seen.refused + seen.cancelled
        return seen.received == ends + seen.in_flight


@contextlib.asynccontextmanager
async def on_stage(**options: Any) -> AsyncIterator[tuple[Stage, str]]:
    stage = Stage(**options)
    async with stage.server:
        try:
            yield stage, await stage.server.bind("tcp://127.0.0.1:0")
        finally:
            stage.release.set()


ASKS = {
    "invoked": "invoke",
    "waits": "call waits",
    "calls": "call calls",
    "looks": "call looks",
    "narrow": "call narrow",
    "gives": "stream gives",
    "takes": "upload takes",
    "talks": "channel talks",
}
"""What an engine asks, by what the handler writes down."""


async def test_what_runs_for_an_engine_that_was_killed_is_ended() -> None:
    async with on_stage(orphan_after=SOON) as (stage, endpoint), ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        asked = [*ASKS.values(), "call narrow", "state", "call waits"]
        with EngineProcess(endpoint, *asked) as engine:
            await until(lambda: sorted(stage.begun) == sorted([*ASKS, "changes"]))
            await until(lambda: stage.server.statistics().in_flight == len(asked))
            await asyncio.to_thread(engine.kill)
            await until(lambda: sorted(stage.ended) == ["takes", "talks"])
            mine = asyncio.create_task(container.call("narrow", timeout=None))
            await until(lambda: sorted(stage.ended) == sorted([*ASKS, "changes"]))
        await until(lambda: stage.begun.count("narrow") == 2)
        seen = stage.server.statistics()
        assert (seen.in_flight, seen.received, seen.cancelled) == (1, len(asked) + 1, len(asked))
        assert stage.begun.count("waits") == 1, "the other one stood behind the change of state"
        assert stage.adds_up
        assert stage.server.status is Status.RUNNING
        mine.cancel()


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are given up a moment after they were told to end, so that nobody has to wait a second each time."""
    monkeypatch.setattr(threads, "THREAD_GRACE", 0.02)


def threads_of_stage() -> int:
    return sum(thread.name.startswith("stage-") for thread in threading.enumerate())


@pytest.mark.usefixtures("grace")
async def test_threads_that_never_return_do_not_end_all_service() -> None:
    async with (
        on_stage(orphan_after=SOON, limits=Limits(threads=2)) as (stage, endpoint),
        ComputerEngineWorker() as worker,
    ):
        container = await worker.connect(uuid.uuid4(), endpoint)
        with EngineProcess(endpoint, *["call stuck"] * 3) as engine:
            await until(lambda: stage.server.statistics().in_flight == 3)
            await asyncio.to_thread(engine.kill)
            assert await soon(container.call("quick")) == "quick"
        await until(lambda: stage.server.statistics().in_flight == 0)
        assert stage.adds_up
        assert stage.begun == ["stuck", "stuck"], "those that waited for a thread never began"
        assert threads_of_stage() == 3
        stage.release.set()
        await until(lambda: len(stage.ended) == 2)
        await until(lambda: threads_of_stage() <= 2)
        assert await soon(container.call("quick")) == "quick"


@contextlib.asynccontextmanager
async def behind_proxy(
    proxy_of: ProxyFactory, **options: Any
) -> AsyncIterator[tuple[Stage, Proxy, ComputerEngineWriter]]:
    """A stage, and an engine that is away whenever its proxy is cut."""
    async with (
        on_stage(**options) as (stage, endpoint),
        ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker,
    ):
        stage.worker = worker
        proxy = await proxy_of(endpoint)
        yield stage, proxy, await worker.connect(uuid.uuid4(), proxy.endpoint)


@pytest.mark.usefixtures("grace")
async def test_there_is_an_end_to_the_threads_that_are_given_up(
    mpzmq_proxy: ProxyFactory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "GIVEN_UP_FACTOR", 2)
    monkeypatch.setattr(threads, "NO_ROOM_RETRY", 0.05)
    async with behind_proxy(mpzmq_proxy, orphan_after=0.0, limits=Limits(threads=1)) as (stage, proxy, container):
        for crash in range(1, 4):
            calling = asyncio.create_task(container.call("stuck", timeout=None))
            await until(lambda crash=crash: len(stage.begun) == crash)  # type: ignore[misc]
            await proxy.cut()
            if crash < 3:
                await until(lambda: stage.server.statistics().in_flight == 0)
                proxy.restore()
                with pytest.raises(RequestCancelled):
                    await soon(calling)
        await until(lambda: "too many threads were given up" in caplog.text)
        assert stage.server.statistics().in_flight == 1
        stage.release.set()
        await until(lambda: stage.server.statistics().in_flight == 0)
        assert stage.adds_up
        calling.cancel()


@pytest.mark.usefixtures("grace")
async def test_a_thread_that_is_given_up_still_counts_for_its_function(mpzmq_proxy: ProxyFactory) -> None:
    async with behind_proxy(mpzmq_proxy, orphan_after=0.0) as (stage, proxy, container):
        running: list[int] = []

        @stage.server.function(thread=True, max_concurrency=1)
        def alone() -> None:
            with stage.noted("alone"):
                running.append(len(stage.begun) - len(stage.ended))
                stage.release.wait(60)

        calling = asyncio.create_task(container.call("alone", timeout=None))
        await until(lambda: stage.begun == ["alone"])
        await proxy.cut()
        await until(lambda: stage.server.statistics().in_flight == 0)
        proxy.restore()
        with pytest.raises(RequestCancelled):
            await soon(calling)
        again = asyncio.create_task(container.call("alone"))
        assert await soon(container.call("quick")) == "quick"
        assert stage.begun == ["alone"], "it says that one of it may run, and one does"
        stage.release.set()
        await soon(again)
        assert running == [1, 1]


@pytest.mark.usefixtures("grace")
async def test_threads_of_an_engine_that_says_goodbye_are_given_up_too() -> None:
    async with on_stage(orphan_after=0.1, limits=Limits(threads=1)) as (stage, endpoint):
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), endpoint)
            calling = asyncio.create_task(container.call("stuck", timeout=None))
            await until(lambda: stage.begun == ["stuck"])
        async with ComputerEngineWorker() as worker:
            container = await worker.connect(uuid.uuid4(), endpoint)
            assert await soon(container.call("quick")) == "quick"
        assert stage.server.statistics().cancelled == 1
        assert stage.adds_up
        with pytest.raises(ConnectionClosed):
            await calling


@pytest.mark.usefixtures("grace")
async def test_what_a_thread_raises_after_it_was_given_up_is_logged(
    mpzmq_proxy: ProxyFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_proxy(mpzmq_proxy, orphan_after=0.0) as (stage, proxy, container):

        @stage.server.function(thread=True)
        def fails() -> None:
            with stage.noted("fails"):
                stage.release.wait(60)
                raise ArithmeticError("in the end")

        calling = asyncio.create_task(container.call("fails", timeout=None))
        await until(lambda: stage.begun == ["fails"])
        await proxy.cut()
        await until(lambda: stage.server.statistics().in_flight == 0)
        stage.release.set()
        await until(lambda: "ArithmeticError: in the end" in caplog.text)
        calling.cancel()


async def test_each_function_may_choose_for_itself(mpzmq_proxy: ProxyFactory) -> None:
    async with behind_proxy(mpzmq_proxy, orphan_after=SOON) as (stage, proxy, container):

        async def work(name: str) -> None:
            with stage.noted(name):
                await asyncio.Event().wait()

        stage.server.function(work, name="at_once", orphan_after=0)
        stage.server.function(work, name="never", orphan_after=None)
        stage.server.function(work, name="insists", cancellable=False)
        names = ["at_once", "insists", "never"]
        calling = asyncio.gather(
            container.call("waits", timeout=None), *(container.call(name, name, timeout=None) for name in names)
        )
        await until(lambda: sorted(stage.begun) == [*names, "waits"])
        await proxy.cut()
        await until(lambda: stage.ended == ["at_once", "waits"])
        assert stage.server.statistics().in_flight == 2
        calling.cancel()


async def test_an_engine_that_comes_back_in_time_has_its_answer(mpzmq_proxy: ProxyFactory) -> None:
    async with behind_proxy(mpzmq_proxy, orphan_after=30.0) as (stage, proxy, container):
        contexts: list[RequestContext] = []
        turn = asyncio.Event()

        @stage.server.function
        async def answers(context: RequestContext) -> str:
            contexts.append(context)
            await turn.wait()
            return "here"

        calling = asyncio.create_task(container.call("answers", timeout=None))
        await until(lambda: contexts)
        assert contexts[0].connected
        await proxy.cut()
        await until(lambda: not contexts[0].connected)
        proxy.restore()
        await until(lambda: contexts[0].connected)
        turn.set()
        assert await soon(calling) == "here"


async def test_an_engine_that_comes_back_late_is_told(mpzmq_proxy: ProxyFactory) -> None:
    async with behind_proxy(mpzmq_proxy, orphan_after=SOON) as (stage, proxy, container):
        asked = [asyncio.create_task(container.call(name, timeout=None)) for name in ("waits", "looks")]
        await until(lambda: sorted(stage.begun) == ["looks", "waits"])
        await proxy.cut()
        await until(lambda: sorted(stage.ended) == ["looks", "waits"])
        proxy.restore()
        for calling in asked:
            with pytest.raises(RequestCancelled, match="orphan_after") as told:
                await soon(calling)
            assert told.value.executed is Executed.YES
        assert len(stage.begun) == 2


async def test_a_function_of_a_worker_sees_whether_its_container_is_there(mpzmq_proxy: ProxyFactory) -> None:
    async with behind_proxy(mpzmq_proxy) as (stage, proxy, container):
        contexts: list[RequestContext] = []
        ended: list[bool] = []

        assert stage.worker is not None

        @stage.worker.function
        async def wait(context: RequestContext) -> None:
            contexts.append(context)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(context.cancelled)

        calling = asyncio.create_task(container.call("calls", timeout=None))
        await until(lambda: contexts)
        assert contexts[0].connected
        await proxy.cut()
        await until(lambda: not contexts[0].connected)
        calling.cancel()
        await until(lambda: ended == [True])


BLOCKED = """
import asyncio, time
from mpzmq import ContainerServer

server = ContainerServer(orphan_after=1.0)
ended = []

@server.function
async def waits():
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(1)

@server.function
def engines():
    return server.statistics().sessions

@server.function
def block():
    time.sleep(2.0)

@server.function
def ends():
    return len(ended)
"""


async def test_a_container_whose_loop_was_blocked_hears_first_who_is_back(
    tmp_path: Path, mpzmq_proxy: ProxyFactory
) -> None:
    (tmp_path / "blocked.py").write_text(BLOCKED)
    with ContainerProcess("blocked:server", folder=tmp_path) as process:
        async with ComputerEngineWorker(reconnect=REDIAL) as worker:
            proxy = await mpzmq_proxy(process.endpoint)
            away = await worker.connect(uuid.uuid4(), proxy.endpoint)
            there = await worker.connect(uuid.uuid4(), process.endpoint)
            calling = asyncio.create_task(away.call("waits", timeout=None))
            async with asyncio.timeout(10):
                while await there.call("engines") != 2:
                    pass
                await proxy.cut()
                while await there.call("engines") != 1:
                    pass
                blocking = asyncio.create_task(there.call("block"))
                proxy.restore()
                # Its HELLO waits to be read when the handler would be due.
                await until(lambda: away.state is LinkState.BUSY)
                await blocking
                await until(lambda: away.state is LinkState.ALIVE)
                assert await there.call("ends") == 0
            calling.cancel()


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e9])
def test_seconds_that_are_none(value: float) -> None:
    with pytest.raises(ValueError, match="orphan_after"):
        ContainerServer(orphan_after=value)
    with pytest.raises(ValueError, match="orphan_after"):
        ContainerServer().function(len, orphan_after=value)


@pytest.mark.parametrize("value", ["30", True, [1]])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="orphan_after"):
        ContainerServer(orphan_after=value)
    with pytest.raises(TypeError, match="orphan_after"):
        ContainerServer().function(len, orphan_after=value)


def test_one_that_cannot_be_cancelled_is_no_orphan() -> None:
    server = ContainerServer()
    for after in (5.0, None):
        with pytest.raises(ValueError, match="cancellable=False"):
            server.function(len, cancellable=False, orphan_after=after)
    server.function(len, cancellable=False)
