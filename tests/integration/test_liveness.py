"""Busy is not dead, dead is seen, and redials are counted: with real processes."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    AddressNotFound,
    ComputerEngineWorker,
    ConnectionLost,
    ContainerServer,
    Executed,
    HeartbeatPolicy,
    LinkBusy,
    LinkDown,
    LinkFailed,
    LinkRetry,
    LinkState,
    LinkUp,
    NotConnected,
    ReconnectPolicy,
    RequestError,
)
from tests.support.ports import free_port
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import event_of, scaled, soon

if TYPE_CHECKING:
    from mpzmq.testing import ProxyFactory
    from tests.support.container import Start


def quick_worker() -> ComputerEngineWorker:
    return ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK)


async def recorded(worker: ComputerEngineWorker, seen: list[Any]) -> None:
    """Every event until the worker closes."""
    seen.extend([event async for event in worker.service().events()])


async def test_a_killed_process_is_down_and_its_successor_on_the_port_is_found(start: Start) -> None:
    process = await start()
    async with quick_worker() as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        first = container.instance
        events = worker.service().events()
        sent = asyncio.create_task(container.call("slow", 60))
        again = asyncio.create_task(container.call("slow", 0.2, "twice", idempotent=True))
        while len(await container.call("seen")) < 2:
            pass
        process.kill()
        await event_of(events, LinkDown)
        assert container.state in (LinkState.DOWN, LinkState.BUSY)
        assert not container.is_running()
        assert worker.get_connected_containers() == []
        assert not sent.done(), "only the next WELCOME tells whether the same container is back"
        with pytest.raises(NotConnected) as refused:
            await container.request("x", wait=False)
        assert refused.value.executed is Executed.NO
        waiting = asyncio.create_task(container.request("waits"))
        await event_of(events, LinkRetry)
        await process.restart()
        up = await event_of(events, LinkUp)
        assert up.reconnected
        assert up.instance == container.instance != first
        with pytest.raises(ConnectionLost) as caught:
            await soon(sent)
        assert caught.value.executed is Executed.UNKNOWN and caught.value.instance_changed is True
        assert await soon(waiting) == "waits"
        assert await soon(again) == "twice"
        counted = container.statistics()
        assert (counted.reconnects, counted.resent, counted.failed) == (1, 1, 2)
        assert counted.attempts >= 1


async def test_a_frozen_process_is_down_within_the_promise_and_comes_back(start: Start) -> None:
    process = await start()
    async with quick_worker() as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        instance = container.instance
        events = worker.service().events()
        process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        call = asyncio.create_task(container.request("x"))
        await event_of(events, LinkDown)
        # Promise 5, with a second for a machine that has other things to do.
        assert time.monotonic() - frozen_at < QUICK.down_after + QUICK.interval + scaled(1.0)
        process.send_signal(signal.SIGCONT)
        await event_of(events, LinkUp)
        assert container.instance == instance
        assert await soon(call) == "x", "it is the same container: it is asked again"
        assert await soon(container.request("thawed")) == "thawed"


async def test_a_blocked_container_is_busy_and_another_one_answers_meanwhile(start: Start) -> None:
    async with quick_worker() as worker:
        blocked = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        other = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        seen: list[Any] = []
        recording = asyncio.create_task(recorded(worker, seen))
        events = worker.service().events(blocked.remote_id)
        call = asyncio.create_task(blocked.call("block", scaled(2.0)))
        await event_of(events, LinkBusy)
        assert str(blocked.state) == "BUSY"
        assert blocked.is_running()
        assert blocked.remote_id in worker.get_connected_containers()
        answered = 0
        while not call.done():
            assert await other.request(answered, timeout=scaled(1.0)) == answered
            answered += 1
            await asyncio.wait([call], timeout=0.01)
        assert await call == "done"
        await event_of(events, LinkUp)
        assert blocked.state is LinkState.ALIVE
        assert answered > 10
        await worker.close()
        await recording
        assert not [event for event in seen if isinstance(event, LinkDown | LinkRetry | LinkFailed)]
        assert not [e for e in seen if e.remote_id == other.remote_id and isinstance(e, LinkBusy)]
        assert blocked.statistics().attempts == 0


async def test_stuck_after_bounds_how_long_busy_lasts(start: Start) -> None:
    heartbeat = HeartbeatPolicy(interval=scaled(0.2), down_after=scaled(0.6), stuck_after=scaled(1.0))
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=heartbeat) as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        events = worker.service().events()
        call = asyncio.create_task(container.call("block", scaled(2.0)))
        await event_of(events, LinkBusy)
        down = await event_of(events, LinkDown)
        assert "stuck_after" in down.reason
        await event_of(events, LinkUp)
        assert await soon(call) == "done"
        assert await soon(container.request("x")) == "x"


async def test_a_redial_to_a_busy_process_is_no_failed_attempt(start: Start, mpzmq_proxy: ProxyFactory) -> None:
    proxy = await mpzmq_proxy((await start()).endpoint)
    async with quick_worker().with_max_reconnect_attempts(1) as worker:
        container = await worker.connect(uuid.uuid4(), proxy.endpoint)
        events = worker.service().events()
        blocked = asyncio.create_task(container.call("block", scaled(2.0)))
        await event_of(events, LinkBusy)
        await proxy.reset()
        await event_of(events, LinkDown)
        await event_of(events, LinkBusy)
        assert container.state is LinkState.BUSY
        assert not container.is_running()
        waiting = asyncio.create_task(container.request("waits"))
        await event_of(events, LinkUp)
        assert await soon(waiting) == "waits"
        assert await soon(blocked) == "done"
        assert container.statistics().attempts == 0


async def test_a_worker_whose_own_loop_was_blocked_accuses_nobody(start: Start) -> None:
    async with quick_worker() as worker:
        container = await worker.connect(uuid.uuid4(), (await start()).endpoint)
        instance = container.instance
        seen: list[Any] = []
        recording = asyncio.create_task(recorded(worker, seen))
        call = asyncio.create_task(container.call("slow", scaled(0.2), timeout=scaled(0.7)))
        await asyncio.sleep(0.05)
        time.sleep(scaled(1.5))  # noqa: ASYNC251  (on purpose)
        assert await soon(call) == "done"
        for _ in range(5):
            assert await container.request("x") == "x"
            await asyncio.sleep(0.05)
        time.sleep(scaled(1.5))  # noqa: ASYNC251
        await asyncio.sleep(0.2)
        assert container.state is LinkState.ALIVE
        assert container.instance == instance
        await worker.close()
        await recording
        assert [type(event).__name__ for event in seen] == ["LinkClosed"]


async def test_both_sides_may_have_other_heartbeats() -> None:
    slow, fast = (
        HeartbeatPolicy(interval=scaled(5), down_after=scaled(11)),
        HeartbeatPolicy(interval=scaled(0.1), down_after=scaled(0.3)),
    )
    for server_heartbeat, worker_heartbeat in ((slow, fast), (fast, slow)):
        async with (
            ContainerServer(heartbeat=server_heartbeat) as server,
            ComputerEngineWorker(reconnect=REDIAL, heartbeat=worker_heartbeat) as worker,
        ):
            server.on_invoke(lambda data: data)
            container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
            seen: list[Any] = []
            recording = asyncio.create_task(recorded(worker, seen))
            await asyncio.sleep(scaled(1.2))
            assert await soon(container.request("x")) == "x"
            assert server.statistics().sessions == 1
            await worker.close()
            await recording
            assert [type(event).__name__ for event in seen] == ["LinkClosed"]


# Redials, counted


class Counter:
    """A listener that accepts, counts and closes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            writer.close()

        self._server = await asyncio.start_server(serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


@pytest.mark.parametrize("attempts", [0, 1, 3, 10])
async def test_the_number_of_redials_after_a_loss_is_exact(
    start: Start, mpzmq_proxy: ProxyFactory, attempts: int
) -> None:
    process = await start()
    proxy = await mpzmq_proxy(process.endpoint)  # which accepts, and ends what it cannot pass on
    reconnect = ReconnectPolicy(interval=0.1, max_attempts=attempts)
    async with ComputerEngineWorker(reconnect=reconnect) as worker:
        container = await worker.connect(uuid.uuid4(), proxy.endpoint)
        events = worker.service().events()
        sent = asyncio.create_task(container.call("slow", 60))
        while not await container.call("seen"):
            pass
        process.kill()
        failed = await event_of(events, LinkFailed)
        assert failed.attempts == attempts
        with pytest.raises(RequestError) as caught:
            await soon(sent)
        assert isinstance(caught.value, ConnectionLost)
        await asyncio.sleep(0.4)  # nothing more may come
        assert proxy.connections == 1 + attempts
        assert container.statistics().attempts == attempts
        assert container.state is LinkState.FAILED
        await worker.close()
        assert not [event async for event in events if isinstance(event, LinkFailed)]


async def test_the_first_redial_behind_a_greeted_connection_does_not_wait_for_the_interval(
    start: Start, mpzmq_proxy: ProxyFactory
) -> None:
    process = await start()
    proxy = await mpzmq_proxy(process.endpoint)
    async with ComputerEngineWorker(reconnect=ReconnectPolicy(interval=60.0)) as worker:
        container = await worker.connect(uuid.uuid4(), proxy.endpoint)
        running = asyncio.create_task(container.call("slow", 0.5))
        while not await container.call("seen"):
            pass
        await proxy.reset()
        assert await soon(running) is not None
        assert (container.statistics().reconnects, container.statistics().attempts) == (1, 0)


@pytest.mark.parametrize("attempts", [0, 1, 3])
async def test_without_waiting_the_first_dial_comes_before_the_redials(attempts: int) -> None:
    counter = Counter(free_port())
    await counter.start()
    reconnect = ReconnectPolicy(interval=0.05, max_attempts=attempts)
    async with ComputerEngineWorker(reconnect=reconnect) as worker:
        container = await worker.connect(uuid.uuid4(), ("127.0.0.1", counter.port), wait=False)
        events = worker.service().events()
        waiting = asyncio.create_task(container.request("x"))
        failed = await event_of(events, LinkFailed)
        assert failed.attempts == attempts
        with pytest.raises(NotConnected):
            await soon(waiting)
        await asyncio.sleep(0.2)
        assert counter.accepted == attempts + 1
    await counter.close()


async def test_auto_reconnect_off_fails_at_the_loss(start: Start) -> None:
    process = await start()
    async with quick_worker().with_auto_reconnect(False) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        events = worker.service().events()
        process.kill()
        assert (await event_of(events, LinkFailed)).attempts == 0
        assert container.state is LinkState.FAILED


async def test_the_count_begins_anew_at_welcome(start: Start) -> None:
    process = await start()
    async with ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.2, max_attempts=20)) as worker:
        container = await worker.connect(uuid.uuid4(), process.endpoint)
        events = worker.service().events()
        for _ in range(2):
            process.kill()
            await event_of(events, LinkDown)
            assert (await event_of(events, LinkRetry)).attempt == 1
            await process.restart()
            await event_of(events, LinkUp)
        assert container.statistics().reconnects == 2


async def test_a_name_that_is_not_found_is_a_failed_dial() -> None:
    async with ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.05, max_attempts=2)) as worker:
        container = await worker.connect(uuid.uuid4(), "no-such-host.invalid:3010", wait=False)
        events = worker.service().events()
        assert (await event_of(events, LinkFailed)).attempts == 2
        assert isinstance(container.last_error, AddressNotFound)


async def test_a_name_is_dialled_again_like_a_number(start: Start) -> None:
    process = await start()
    async with quick_worker() as worker:
        port = process.endpoint.rpartition(":")[2]
        container = await worker.connect(uuid.uuid4(), f"localhost:{port}")
        events = worker.service().events()
        for _ in range(2):
            process.kill()
            await event_of(events, LinkRetry)
            await process.restart()
            await event_of(events, LinkUp)
            assert await soon(container.request("x")) == "x"
