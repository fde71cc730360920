"""Callers of a container that is gone are not left to their deadlines: ``lost_after``, through the whole interface."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionLost,
    ContainerServer,
    Executed,
    LinkDown,
    LinkState,
    ReconnectPolicy,
    RequestContext,
    RequestTimeout,
    Status,
)
from mpzmq.testing.simnet.network import MemoryHost, MemoryNetwork, VirtualClockLoop
from tests.support.scene import QUICK
from tests.support.waiting import event_of, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from mpzmq import EngineService
    from tests.support.container import Start

ENDPOINT = "tcp://127.0.0.1:3010"


class World:
    """A container that can be killed, and a worker that is connected to it, on a virtual clock."""

    def __init__(self, **policy: Any) -> None:
        self.network = MemoryNetwork(seed=1)
        self.host = self.network.host()
        self.worker = ComputerEngineWorker(reconnect=ReconnectPolicy(**policy))
        self.worker._transport = self.network
        self.loop = asyncio.get_running_loop()
        self.ran: list[Any] = []

    def server(self) -> ContainerServer:
        server = ContainerServer(name="gone")
        server._transport = self.host = self.network.host()

        @server.on_invoke
        @server.function
        async def work(word: Any) -> Any:
            self.ran.append(word)
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                self.ran.append("cancelled")
                raise
            return word

        @server.function
        async def count() -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(100)
            yield 2

        @server.function
        async def add_up(numbers: AsyncIterator[int]) -> int:
            return sum([number async for number in numbers])

        return server

    async def lost_after(self, asked: Awaitable[Any], partition: bool = False) -> tuple[float, ConnectionLost]:
        """How long after the loss of its container a request ends, and with what."""
        task = asyncio.ensure_future(asked)
        await asyncio.sleep(1)
        if partition:
            self.network.partition(ENDPOINT)
            events = self.worker.service().events()
            while not isinstance(await anext(events), LinkDown):
                pass
        else:
            self.host.kill()
        lost = self.loop.time()
        with pytest.raises(ConnectionLost) as caught:
            await task
        return round(self.loop.time() - lost, 1), caught.value


def simulate(scene: Callable[[World, ComputerEngineWriter], Coroutine[Any, Any, None]], **policy: Any) -> None:
    async def whole() -> None:
        world = World(**policy)
        server = world.server()
        async with world.worker as worker:
            await server.bind(ENDPOINT)
            await scene(world, await worker.connect(uuid.uuid4(), ENDPOINT, name="gone"))
        await server.close()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(whole())


async def streamed(container: ComputerEngineWriter, got: list[int]) -> None:
    async for number in container.stream("count"):
        got.append(number)  # noqa: PERF401  (what had come before the error counts)


def test_a_request_of_a_killed_container_ends_after_5_seconds_by_default() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        seconds, error = await world.lost_after(container.call("work", 1))
        assert (seconds, error.executed, error.instance_changed) == (5.0, Executed.YES, None)
        assert container.state is LinkState.DOWN
        waiting = asyncio.create_task(container.get_state())  # which did not leave: it waits
        async with world.server() as successor:
            await successor.bind(ENDPOINT)
            assert await waiting

    simulate(scene)


def test_everything_that_has_left_ends() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        got: list[int] = []
        asked: dict[str, Awaitable[Any]] = {
            "request": container.request("x", timeout=None),
            "call": container.call("work", "x", timeout=60.0),
            "function": container.function("work", timeout=60.0)("x"),
            "stream": streamed(container, got),
        }
        tasks = {name: asyncio.ensure_future(awaitable) for name, awaitable in asked.items()}
        seconds, _ = await world.lost_after(container.call("work", "x"))
        assert seconds == 2.0
        await asyncio.sleep(0)
        for name, task in tasks.items():
            assert task.done() and isinstance(task.exception(), ConnectionLost), name
        assert got == [1]

    simulate(scene, lost_after=2.0)


def test_an_upload_and_a_channel_end_at_the_loss() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        async def endless() -> AsyncIterator[int]:
            while True:
                yield 1
                await asyncio.sleep(0.1)

        seconds, error = await world.lost_after(container.options(lost_after=None).upload("add_up", endless()))
        assert seconds == 0.0 and error.progress is not None

    simulate(scene, lost_after=None)


def test_what_the_policy_says_gives_way_to_the_service_and_that_to_options() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        service = world.worker.service(lost_after=3.0)
        view = service.options(container.remote_id, lost_after=1.0)
        asked: dict[float, Awaitable[Any]] = {
            2.0: container.call("work", "x"),
            3.0: service.call(container.remote_id, "work", "x"),
            1.0: view.call("work", "x"),
            4.0: container.options(lost_after=4.0).request("x"),
        }
        ends: dict[float, float] = {}

        async def one(expected: float, awaitable: Awaitable[Any]) -> None:
            with pytest.raises(ConnectionLost):
                await awaitable
            ends[expected] = round(world.loop.time() - lost, 1)

        tasks = [asyncio.create_task(one(*item)) for item in asked.items()]
        await asyncio.sleep(1)
        world.host.kill()
        lost = world.loop.time()
        await asyncio.gather(*tasks)
        assert all(expected == seconds for expected, seconds in ends.items()), ends

    simulate(scene, lost_after=2.0)


def test_what_may_run_twice_waits_unless_its_own_options_name_it() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        service = world.worker.service(lost_after=1.0)
        waits = [
            asyncio.create_task(container.call("work", "x", idempotent=True, timeout=20.0)),
            asyncio.create_task(
                service.call(container.remote_id, "work", "x", idempotent=True, timeout=20.0),
            ),
        ]
        named = container.options(lost_after=1.5, idempotent=True)
        seconds, error = await world.lost_after(named.call("work", "x"))
        assert (seconds, error.executed) == (1.5, Executed.YES)
        for task in waits:
            with pytest.raises(RequestTimeout):
                await task

    simulate(scene, lost_after=1.0)


def test_state_and_description_do_not_wait_though_they_could_be_asked_twice() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        events = world.worker.service().events()
        world.network.partition(ENDPOINT)
        asked = [
            asyncio.create_task(container.get_state(timeout=None)),
            asyncio.create_task(container.describe(timeout=None)),
            asyncio.create_task(container.set_state(Status.STOP, timeout=None)),
        ]
        while not isinstance(await anext(events), LinkDown):
            pass
        lost = world.loop.time()
        for task in asked:
            with pytest.raises(ConnectionLost):
                await task
        assert round(world.loop.time() - lost, 1) == 2.0

    simulate(scene, lost_after=2.0)


@pytest.mark.parametrize("lost_after", [0, 0.0])
def test_0_is_at_the_loss(lost_after: float) -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        seconds, error = await world.lost_after(container.call("work", 1))
        assert (seconds, error.executed) == (0.0, Executed.YES)

    simulate(scene, lost_after=lost_after)


def test_none_waits_for_the_container() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        asked = asyncio.create_task(container.call("work", 1, timeout=None))
        await asyncio.sleep(1)
        world.network.partition(ENDPOINT)
        await asyncio.sleep(30)  # its handler is no orphan yet: the loss is seen after some seconds
        world.network.heal(ENDPOINT)
        assert await asked == 1
        assert world.ran == [1]

    simulate(scene, lost_after=None)


def test_a_partition_that_outlasts_it_cancels_what_runs_when_it_heals() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        seconds, error = await world.lost_after(container.call("work", 1), partition=True)
        assert (seconds, error.executed) == (5.0, Executed.YES)
        assert world.ran == [1]
        world.network.heal(ENDPOINT)
        await container.wait_ready()
        await asyncio.sleep(1)
        assert world.ran == [1, "cancelled"]

    simulate(scene)


def test_an_id_that_was_lost_may_be_issued_again_and_joins_what_runs() -> None:
    async def scene(world: World, container: ComputerEngineWriter) -> None:
        chosen = uuid.uuid4()
        await world.lost_after(container.call("work", 1, request_id=chosen, timeout=None), partition=True)
        again = asyncio.create_task(container.call("work", 1, request_id=chosen, timeout=None))
        await asyncio.sleep(1)
        world.network.heal(ENDPOINT)
        assert await again == 1
        assert world.ran == [1]

    simulate(scene)


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan"), float("inf"), 1_000_001])
def test_what_is_no_lost_after_is_a_value_error(bad: float) -> None:
    worker = ComputerEngineWorker()
    for given in _given(worker):
        with pytest.raises(ValueError, match="lost_after must be from 0 to 1,000,000 seconds, or None for never, not"):
            given(bad)


@pytest.mark.parametrize("bad", ["5", True, [], object()])
def test_what_is_no_number_is_a_type_error(bad: Any) -> None:
    worker = ComputerEngineWorker()
    for given in _given(worker):
        with pytest.raises(TypeError, match="lost_after is a number of seconds or None, not"):
            given(bad)


def _given(worker: ComputerEngineWorker) -> list[Callable[[Any], object]]:
    service: EngineService = worker.service()
    return [
        lambda bad: ReconnectPolicy(lost_after=bad),
        lambda bad: worker.service(lost_after=bad),
        lambda bad: service.options(uuid.uuid4(), lost_after=bad),
    ]


async def test_a_killed_process(start: Start) -> None:
    process = await start()
    reconnect = ReconnectPolicy(interval=0.05, lost_after=0.3)
    async with ComputerEngineWorker(reconnect=reconnect, heartbeat=QUICK) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        events = worker.service().events()
        asked = asyncio.create_task(container.call("slow", 60, timeout=None))
        while not await container.call("seen"):
            pass
        process.kill()
        await event_of(events, LinkDown)
        with pytest.raises(ConnectionLost, match=r"for more than 0\.3 s, which is lost_after"):
            await soon(asked)
        assert container.state is not LinkState.FAILED
        await process.restart()
        assert await soon(container.call("slow", 0, "back")) == "back"


# Calls of a container to an engine that is gone


def calls_of_a_lost_engine(
    scene: Callable[[MemoryNetwork, ComputerEngineWorker, list[Any]], Coroutine[Any, Any, None]], **options: Any
) -> list[Any]:
    """What became of calls whose engine was lost a second after they were made, and how long after that."""
    ended: list[Any] = []

    async def whole() -> None:
        network = MemoryNetwork(seed=1)
        loop = asyncio.get_running_loop()
        lost = loop.time()
        server, worker = ContainerServer(name="caller"), ComputerEngineWorker()
        server._transport, worker._transport = network, network.host()

        @server.function(cancellable=False)
        async def ask(context: RequestContext) -> Any:
            try:
                word = await context.call("answer", **options)
            except Exception as error:
                word = error
            ended.append((round(loop.time() - lost, 1), word))
            return str(word)

        @worker.function
        async def answer() -> str:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return "yes"

        async with server:
            await server.bind(ENDPOINT)
            await worker.__aenter__()
            container = await worker.connect(uuid.uuid4(), ENDPOINT)
            asked = asyncio.create_task(container.call("ask", timeout=None))
            await asyncio.sleep(1)
            lost = loop.time()
            await scene(network, worker, ended)
            asked.cancel()
            await worker.close()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(whole())
    return ended


async def killed(network: MemoryNetwork, worker: ComputerEngineWorker, ended: list[Any]) -> None:
    host = worker._transport
    assert isinstance(host, MemoryHost)
    host.kill()
    await asyncio.sleep(15)


@pytest.mark.parametrize(("options", "seconds"), [({}, 5.0), ({"lost_after": 0.5}, 0.5), ({"lost_after": 0}, 0.0)])
def test_a_call_to_an_engine_that_was_killed(options: dict[str, Any], seconds: float) -> None:
    (after, error), *_ = calls_of_a_lost_engine(killed, timeout=None, **options)
    assert isinstance(error, ConnectionLost) and error.executed is not Executed.NO
    assert "lost_after" in str(error) and "give it more time with lost_after=" in str(error)
    assert seconds <= after <= seconds + 0.1


def test_a_call_that_waits_as_long_as_it_may() -> None:
    (after, error), *_ = calls_of_a_lost_engine(killed, timeout=10.0, lost_after=None)
    assert isinstance(error, RequestTimeout) and after == 9.0


def test_an_engine_that_comes_back_is_told_to_end_what_was_given_up() -> None:
    async def scene(network: MemoryNetwork, worker: ComputerEngineWorker, ended: list[Any]) -> None:
        network.cut(ENDPOINT)
        await asyncio.sleep(5)

    (after, error), told = calls_of_a_lost_engine(scene, timeout=None, lost_after=0.01)
    assert isinstance(error, ConnectionLost) and after == 0.0
    assert told == "cancelled"


def test_an_engine_that_comes_back_in_time_answers() -> None:
    async def scene(network: MemoryNetwork, worker: ComputerEngineWorker, ended: list[Any]) -> None:
        for _ in range(4):
            network.cut(ENDPOINT)
            await asyncio.sleep(5)

    assert calls_of_a_lost_engine(scene, timeout=None, lost_after=4.0) == [(19.0, "yes")]


@pytest.mark.parametrize(("bad", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)])
def test_what_is_no_lost_after_of_a_call(bad: Any, kind: type) -> None:
    (_, error), *_ = calls_of_a_lost_engine(killed, lost_after=bad)
    assert isinstance(error, kind) and "lost_after" in str(error)
