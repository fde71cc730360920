"""Large data over real sockets, to containers in processes of their own: in parts, and others between them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import numpy
import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionLost,
    ContainerServer,
    Executed,
    Limits,
    LinkDown,
    LinkState,
    MessageTooLarge,
    NotConnected,
    Overloaded,
    Progress,
    RemoteError,
    RequestTimeout,
)
from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES
from tests.support import ROOT
from tests.support.large import LIMITS, MIB, filled, is_filled
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import TIMEOUT_FACTOR, event_of, scaled, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import ContainerFactory, ProxyFactory, ServedProcess

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
SECONDS = scaled(30.0)


@pytest.fixture
async def process(mpzmq_container: ContainerFactory) -> ServedProcess:
    return await mpzmq_container("tests.support.large:server", folder=ROOT)


@pytest.fixture
async def worker() -> AsyncIterator[ComputerEngineWorker]:
    async with ComputerEngineWorker(limits=LIMITS, reconnect=REDIAL, heartbeat=QUICK) as one:
        yield one


@pytest.fixture
async def container(process: ServedProcess, worker: ComputerEngineWorker) -> ComputerEngineWriter:
    return await worker.connect(uuid.uuid4(), process.endpoint, name="large")


class Watcher:
    """Notes how far a request has come, and waits for it to come so far."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self._half = asyncio.Event()

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        total = progress.to_send or progress.to_receive
        if (progress.sent if progress.to_send else progress.received) * 4 >= total:
            self._half.set()

    async def well_under_way(self) -> None:
        """A quarter of it has come."""
        await soon(self._half.wait(), SECONDS)


# What arrives


async def test_every_kind_of_buffer_arrives_as_it_was(container: ComputerEngineWriter, worker: Any) -> None:
    server = ContainerServer(limits=LIMITS)

    @server.on_invoke
    def echo(data: Any) -> Any:
        return data

    values = [
        filled(3 * MIB),
        bytes(3 * MIB),
        numpy.arange(600_000, dtype="f8").reshape(3, -1),
        "text" * MIB,
        {"a": [filled(MIB), b"x" * 3 * MIB], "b": numpy.zeros((0, 4)), "c": [memoryview(b"y") for _ in range(100)]},
        [memoryview(bytes(4000)) for _ in range(1000)],
    ]
    async with server:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        for value in values:
            watcher = Watcher()
            echoed = await soon(here.request(value, timeout=SECONDS), SECONDS)
            again = await soon(worker.service(progress=watcher).request(uuid.uuid4(), here.remote_id, value), SECONDS)
            assert watcher.told, "it did travel in parts"
            for received in (echoed, again):
                assert type(received) is type(value)
                numpy.testing.assert_equal(received, value)
                if isinstance(received, (memoryview, numpy.ndarray)):
                    assert received.readonly if isinstance(received, memoryview) else not received.flags.writeable


async def test_there_and_back(container: ComputerEngineWriter) -> None:
    assert await soon(container.call("check", filled(40 * MIB), timeout=SECONDS), SECONDS) is True
    received = await soon(container.call("give", 40, timeout=SECONDS), SECONDS)
    assert len(received) == 40 * MIB and is_filled(received)


async def test_one_that_is_larger_than_what_may_be_queued(mpzmq_container: Any) -> None:
    limits = Limits(message_bytes=64 * MIB, queued_bytes=4 * MIB)
    server = ContainerServer(limits=limits)

    @server.function
    async def hold(data: Any) -> Any:
        holding.set()
        await go.wait()
        return data

    @server.function
    def small(number: int) -> int:
        return number

    holding, go = asyncio.Event(), asyncio.Event()
    async with server, ComputerEngineWorker(limits=limits) as worker:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        data = filled(20 * MIB)
        large = asyncio.create_task(here.call("hold", data, timeout=SECONDS))
        await soon(holding.wait(), SECONDS)
        assert await soon(here.call("small", 1)) == 1, "it does not stand in the way of small ones"
        with pytest.raises(Overloaded) as caught:
            await soon(here.call("hold", data, timeout=SECONDS), SECONDS)
        assert caught.value.executed is Executed.NO
        go.set()
        assert await soon(large, SECONDS) == data


# Others pass


async def test_small_requests_and_heartbeats_pass_in_both_directions(
    process: ServedProcess, mpzmq_proxy: ProxyFactory, worker: ComputerEngineWorker
) -> None:
    proxy = await mpzmq_proxy(process.endpoint)
    container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="large")
    await soon(container.call("give", 24), SECONDS)
    proxy.rate = 16 * MIB
    data = filled(24 * MIB)
    states: set[LinkState] = set()
    for large in (container.call("length", data, timeout=SECONDS), container.call("give", 24, timeout=SECONDS)):
        under_way = asyncio.create_task(large)
        passed = 0
        while not under_way.done():
            await soon(container.call("seen"))
            states.add(container.state)
            passed += 1
        await under_way
        # One and a half seconds: if they had waited for it, there would be one. 4 MiB are before each.
        assert passed > 3
    assert states == {LinkState.ALIVE}


async def test_order_is_kept_for_one_function(process: ServedProcess, worker: ComputerEngineWorker) -> None:
    server = ContainerServer(limits=LIMITS)
    ran: list[Any] = []

    @server.function
    def note(data: Any) -> None:
        ran.append(len(data))

    @server.function
    def other(data: Any) -> None:
        ran.append(data)

    async with server:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        data = filled(32 * MIB)
        calls: list[Any] = [("note", b"1"), ("note", data), ("note", b"22"), ("other", "x"), ("note", data[: 2 * MIB])]
        await soon(asyncio.gather(*(here.call(name, value, timeout=SECONDS) for name, value in calls)), SECONDS)
    assert [one for one in ran if one != "x"] == [1, 32 * MIB, 2, 2 * MIB]
    assert ran.index("x") < ran.index(32 * MIB), "those to other functions pass"


# Ends in the middle


async def test_a_container_that_is_killed_in_the_middle_of_a_request(
    process: ServedProcess, container: ComputerEngineWriter, worker: ComputerEngineWorker
) -> None:
    watcher = Watcher()
    service = worker.service(progress=watcher, timeout=SECONDS)
    data = filled(200 * MIB)
    waits = asyncio.create_task(service.function(container.remote_id, "length")(data))
    await watcher.well_under_way()
    process.kill()
    await process.wait()
    await soon(process.restart(), SECONDS)
    assert await soon(waits, SECONDS) == 200 * MIB, "not all of it had left: it is sent to the next one"
    assert await container.call("seen") == [200 * MIB]
    sent = [progress.sent for progress in watcher.told]
    assert sum(later < earlier for earlier, later in itertools.pairwise(sent)) == 1, "from its beginning"
    assert container.statistics().resent == 0


async def test_a_request_that_may_not_wait_has_not_run(
    process: ServedProcess, container: ComputerEngineWriter, worker: ComputerEngineWorker
) -> None:
    watcher = Watcher()
    function = worker.service(progress=watcher, wait=False).function(container.remote_id, "length")
    lost = asyncio.create_task(function(filled(200 * MIB)))
    await watcher.well_under_way()
    process.kill()
    with pytest.raises(NotConnected) as caught:
        await soon(lost, SECONDS)
    assert caught.value.executed is Executed.NO


async def test_a_connection_that_breaks_in_the_middle_of_a_reply(
    process: ServedProcess, mpzmq_proxy: ProxyFactory, worker: ComputerEngineWorker
) -> None:
    proxy = await mpzmq_proxy(process.endpoint)
    container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="large")
    events = worker.service().events()
    for mib, kept in ((20, False), (6, True)):
        proxy.reset_after(4 * MIB, to="worker")
        waits = asyncio.create_task(container.call("give", mib, timeout=SECONDS))
        await event_of(events, LinkDown)
        if kept:
            assert is_filled(await soon(waits, SECONDS)), "the container kept it, and sends it again"
            continue
        # It is too large to be kept; but if the engine is back before the container has seen it go, it still waits.
        try:
            assert is_filled(await soon(waits, SECONDS))
        except ConnectionLost as error:
            assert error.executed is Executed.YES
    assert adds_up(worker.service().statistics())


@pytest.mark.parametrize("way", ["cancelled", "deadline"])
async def test_a_request_given_up_in_the_middle_does_not_run(
    process: ServedProcess, mpzmq_proxy: ProxyFactory, worker: ComputerEngineWorker, way: str
) -> None:
    proxy = await mpzmq_proxy(process.endpoint)
    container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="large")
    proxy.rate = int(20 * MIB / TIMEOUT_FACTOR)
    watcher = Watcher()
    function = worker.service(progress=watcher, timeout=SECONDS if way == "cancelled" else scaled(2.0)).function(
        container.remote_id, "length"
    )
    given_up = asyncio.create_task(function(filled(60 * MIB)))
    if way == "cancelled":
        await watcher.well_under_way()
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(given_up)
    else:
        with pytest.raises(RequestTimeout, match=r"not all of its \d+ bytes had left; it is safe") as caught:
            await soon(given_up)
        assert caught.value.executed is Executed.NO
        assert watcher.told[-1].sent > 0, "it was under way"
    proxy.rate = None
    assert await soon(container.call("seen")) == []
    assert proxy.bytes_to("container") < 50 * MIB, "the rest was not sent"
    assert await soon(container.call("length", filled(4 * MIB)), SECONDS) == 4 * MIB


async def test_a_reply_whose_caller_is_gone_is_not_sent_on(
    process: ServedProcess, mpzmq_proxy: ProxyFactory, worker: ComputerEngineWorker
) -> None:
    proxy = await mpzmq_proxy(process.endpoint)
    container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="large")
    await soon(container.call("seen"))
    proxy.rate = 20 * MIB
    watcher = Watcher()
    waits = asyncio.create_task(worker.service(progress=watcher).function(container.remote_id, "give")(60))
    await watcher.well_under_way()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(waits)
    proxy.rate = None
    assert await soon(container.call("seen")) == []
    assert proxy.bytes_to("worker") < 50 * MIB
    assert is_filled(await soon(container.call("give", 4), SECONDS))
    assert adds_up(container.statistics())


async def test_a_container_that_closes_in_the_middle(
    process: ServedProcess, container: ComputerEngineWriter, worker: ComputerEngineWorker
) -> None:
    watcher = Watcher()
    service = worker.service(progress=watcher, timeout=SECONDS, wait=False)
    waits = asyncio.create_task(service.function(container.remote_id, "give")(200))
    await watcher.well_under_way()
    process.send_signal(15)
    assert is_filled(await soon(waits, SECONDS)), "a drain waits for its last part"


async def test_too_large(container: ComputerEngineWriter, worker: ComputerEngineWorker) -> None:
    server = ContainerServer(limits=Limits(message_bytes=3 * MIB))

    @server.function
    def take(data: Any) -> Any:
        return [data, data]

    async with server:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        with pytest.raises(MessageTooLarge):
            await here.call("take", bytes(4 * MIB))
        with pytest.raises(RemoteError, match="MessageTooLarge"):
            await here.call("take", bytes(FRAGMENT_BYTES + 1))


# Progress


async def test_progress(container: ComputerEngineWriter, worker: ComputerEngineWorker) -> None:
    server = ContainerServer(limits=LIMITS)

    @server.on_invoke
    def twice(data: Any) -> Any:
        return [data, data]

    async with server:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        watcher, request_id = Watcher(), uuid.uuid4()
        await soon(here.request(filled(10 * MIB), request_id=request_id, progress=watcher), SECONDS)
        told = watcher.told
        assert {progress.request_id for progress in told} == {request_id}
        assert [(p.sent, p.received) for p in told] == sorted((p.sent, p.received) for p in told)
        last = told[-1]
        assert 10 * MIB < last.sent == last.to_send < 10 * MIB + 200
        assert 20 * MIB < last.received == last.to_receive < 20 * MIB + 200
        assert len(told) > 10
        assert told[0].sent < last.sent and told[0].to_receive == 0
        told.clear()
        await soon(here.request(b"small", progress=watcher))
        await soon(here.request(filled(2 * MIB), progress=None))
        assert not told


async def test_a_callback_that_raises(worker: ComputerEngineWorker, caplog: pytest.LogCaptureFixture) -> None:
    server = ContainerServer(limits=LIMITS)
    called = []

    @server.function
    def size(data: Any) -> int:
        return len(data)

    def progress(progress: Progress) -> None:
        called.append(progress)
        raise ValueError("not today")

    async with server:
        here = await worker.connect(uuid.uuid4(), await server.bind("tcp://127.0.0.1:0"))
        function = worker.service().function(here.remote_id, "size", progress=progress)
        with caplog.at_level(logging.ERROR, "mpzmq"):
            assert await soon(function(filled(5 * MIB)), SECONDS) == 5 * MIB
        assert len(called) == 1
        assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("not today",)]  # type: ignore[union-attr]


async def test_nothing_is_left_of_a_callback(container: ComputerEngineWriter, worker: ComputerEngineWorker) -> None:
    watcher = Watcher()
    service = worker.service(progress=watcher)
    await soon(service.function(container.remote_id, "length")(filled(3 * MIB)), SECONDS)
    with pytest.raises(RequestTimeout):
        await service.function(container.remote_id, "hold", timeout=0.05)(b"", 10)
    await asyncio.sleep(0)
    book = container._link.tracker.progress
    assert not book.watched and not container._connection.progress_callbacks._callbacks


def test_progress_that_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="int cannot be called"):
        ComputerEngineWorker().service(progress=1)  # type: ignore[arg-type]


# Memory

ONE_WAY = """
import asyncio, sys, uuid
from mpzmq import ComputerEngineWorker
from tests.support.large import LIMITS, MIB, filled, peak

async def main(endpoint, way, mib):
    async with ComputerEngineWorker(limits=LIMITS) as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        await container.call("seen")
        there = await container.call("memory")
        if way == "up":
            data = filled(mib * MIB)
            here = peak() - mib * MIB
            if sys.argv[4] == "array":
                import numpy
                data = numpy.frombuffer(data, "u1").reshape(-1, MIB)
                here = peak() - mib * MIB
            await container.call("check", data, timeout=60)
        else:
            here = peak()
            received = await container.call("give_array" if sys.argv[4] == "array" else "give", mib, timeout=60)
            assert received.nbytes == mib * MIB
        print(peak() - here, await container.call("memory") - there)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@linux
@pytest.mark.parametrize("what", ["view", "array"])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_the_sender_copies_nothing_and_the_receiver_once(process: ServedProcess, way: str, what: str) -> None:
    mib = 160
    command = [sys.executable, "-c", ONE_WAY, process.endpoint, way, str(mib), what]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=scaled(60), env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    here, there = (int(word) / MIB for word in result.stdout.split())
    # numpy itself takes some 20 MiB in the process that imports it.
    for grown in (here, there):
        assert mib - 16 < grown < mib + 64, f"{here:.0f} MiB here, {there:.0f} MiB there"
