"""The engine's side: section 3 of the contract, word for word."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import subprocess
import sys
import uuid
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    AddressNotFound,
    ComputerEngineWorker,
    ConnectError,
    ConnectionClosed,
    ConnectRefused,
    ConnectTimeout,
    ContainerServer,
    EncodeError,
    EventsDropped,
    Executed,
    InvalidArguments,
    Limits,
    LinkClosed,
    LinkDown,
    LinkFailed,
    LinkRetry,
    LinkState,
    LinkUp,
    Method,
    NotConnected,
    Overloaded,
    Params,
    Refused,
    RemoteError,
    RequestContext,
    RequestError,
    RequestIdReused,
    RequestTimeout,
    Status,
    StatusChanged,
    Unsupported,
)
from mpzmq.protocol.wire.kinds import Code, Kind
from tests.support import ROOT
from tests.support.ports import free_port
from tests.support.scene import REDIAL, Scene, adds_up
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq import ComputerEngineWriter
    from tests.support.raw import Liar

# Connecting


@pytest.mark.parametrize("form", ["{}:{}", "tcp://{}:{}", None])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_every_form_of_a_tcp_address(form: str | None, host: str) -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        endpoint = await server.bind(f"{host}:0")
        port = int(endpoint.rpartition(":")[2])
        address = (host.strip("[]"), port) if form is None else form.format(host, port)
        container = await worker.connect(uuid.uuid4(), address)
        assert container.state is LinkState.ALIVE
        assert container.is_running()
        assert container.name == container.address
        assert container.status is Status.RUNNING
        assert container.instance == server.instance
        assert container.last_error is None


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_localhost_tries_every_address(host: str) -> None:
    found = {entry[4][0] for entry in socket.getaddrinfo("localhost", None)}
    if host.strip("[]") not in found:
        pytest.skip(f"on this host localhost is {sorted(map(str, found))}")
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        endpoint = await server.bind(f"{host}:0")
        container = await worker.connect(uuid.uuid4(), "localhost:" + endpoint.rpartition(":")[2])
        assert await container.get_state() is Status.RUNNING
        assert container.statistics().attempts == 0


async def test_ipc(tmp_path: Path) -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        endpoint = await server.bind(f"ipc://{tmp_path}/s")
        container = await worker.connect(uuid.uuid4(), endpoint, name="by path")
        assert await container.get_state() is Status.RUNNING
        assert container.name == "by path"
        with pytest.raises(ConnectError) as caught:
            await soon(worker.connect(uuid.uuid4(), f"ipc://{tmp_path}/nobody"))
        assert caught.value.address == f"ipc://{tmp_path}/nobody"


async def test_an_ipc_path_that_no_system_takes_is_an_error_and_nothing_stays() -> None:
    worker = ComputerEngineWorker()
    remote_id = uuid.uuid4()
    with pytest.raises((ConnectError, ValueError)):
        await soon(worker.connect(remote_id, "ipc:///tmp/" + "x" * 200))
    assert worker.get_engine(remote_id) is None
    await soon(worker.close())


@pytest.mark.parametrize(
    "address",
    ["", "nowhere", "127.0.0.1", "127.0.0.1:", ":3010", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x",
     "http://127.0.0.1:80", "::1:3010", "a b:3010", "*:3010", "ipc://", "tcp://", ("127.0.0.1",), ("127.0.0.1", "80"),
     ("127.0.0.1", True), ("", 80), "127.0.0.1:٣٠١٠"],
)  # fmt: skip
async def test_a_malformed_address_is_a_value_error(address: Any) -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(ValueError, match=r"address|port|host|path|scheme|ambiguous"):
            await worker.connect(uuid.uuid4(), address)


@pytest.mark.parametrize("address", [None, 3010, b"127.0.0.1:3010", ["127.0.0.1", 3010]])
async def test_an_address_of_another_type_is_a_type_error(address: Any) -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(TypeError):
            await worker.connect(uuid.uuid4(), address)


@pytest.mark.parametrize("remote_id", ["x", None, 5, str(uuid.UUID(int=1)), uuid.UUID(int=1).bytes])
async def test_a_remote_id_that_is_no_uuid(scene: Scene, remote_id: Any) -> None:
    service = scene.worker.service()
    with pytest.raises(TypeError):
        await scene.worker.connect(remote_id, scene.endpoint)
    with pytest.raises(TypeError):
        await scene.worker.disconnect(remote_id)
    with pytest.raises(TypeError):
        await service.request(uuid.uuid4(), remote_id, "x")
    with pytest.raises(TypeError):
        await service.request(remote_id, scene.container.remote_id, "x")
    with pytest.raises(TypeError):
        await service.call(scene.container.remote_id, "f", request_id=remote_id or "")  # type: ignore[arg-type]


async def test_the_nil_uuid_is_a_value_error(scene: Scene) -> None:
    nil = uuid.UUID(int=0)
    with pytest.raises(ValueError, match="nil"):
        await scene.worker.connect(nil, scene.endpoint)
    with pytest.raises(ValueError, match="nil"):
        await scene.worker.service().request(nil, scene.container.remote_id, "x")


async def test_a_refused_dial_is_typed_and_nothing_stays_registered() -> None:
    async with ComputerEngineWorker() as worker:
        remote_id = uuid.uuid4()
        address = f"127.0.0.1:{free_port()}"
        with pytest.raises(ConnectionRefusedError) as caught:
            await soon(worker.connect(remote_id, address))
        assert type(caught.value) is ConnectRefused
        assert (caught.value.address, caught.value.attempts) == (address, 0)
        assert worker.get_engine(remote_id) is None
        assert worker.get_connected_containers() == []


@pytest.mark.parametrize("timeout", [0, -1, 0.2])
async def test_a_connect_that_times_out_leaves_nothing(timeout: float) -> None:
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []
    port = silent.sockets[0].getsockname()[1]
    async with ComputerEngineWorker() as worker:
        remote_id = uuid.uuid4()
        with pytest.raises(ConnectTimeout) as caught:
            await soon(worker.connect(remote_id, ("127.0.0.1", port), timeout=timeout))
        assert isinstance(caught.value, TimeoutError)
        assert worker.get_engine(remote_id) is None
    silent.close()
    for writer in writers:
        writer.close()
    await silent.wait_closed()


async def test_a_cancelled_connect_leaves_nothing_and_the_id_is_taken_meanwhile() -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with ComputerEngineWorker() as worker:
        remote_id = uuid.uuid4()
        connecting = asyncio.create_task(worker.connect(remote_id, ("127.0.0.1", port)))
        await until(lambda: writers)
        with pytest.raises(ValueError, match="CONNECTING"):
            await worker.connect(remote_id, ("127.0.0.1", port))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert worker.get_engine(remote_id) is None
    silent.close()
    for writer in writers:
        writer.close()
    await silent.wait_closed()


async def test_connect_without_waiting_takes_requests_and_finds_the_server_later() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with ComputerEngineWorker(reconnect=REDIAL) as worker, ContainerServer() as server:
        server.on_invoke(lambda data: data)
        container = await worker.connect(uuid.uuid4(), address, wait=False)
        assert container.state is LinkState.CONNECTING
        assert worker.get_engine(container.remote_id) is container
        assert worker.get_connected_containers() == []
        with pytest.raises(NotConnected) as caught:
            await container.request("x", wait=False)
        assert caught.value.executed is Executed.NO
        early = asyncio.create_task(container.request("early"))
        events = worker.service().events(container.remote_id)
        await event_of(events, LinkRetry)
        await server.bind(address)
        assert await soon(early) == "early"
        await container.wait_ready()
        assert worker.get_connected_containers() == [container.remote_id]


async def test_wait_ready_tells_why_not() -> None:
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), f"127.0.0.1:{free_port()}", wait=False)
        with pytest.raises(ConnectTimeout):
            await container.wait_ready(timeout=0.2)
    async with ComputerEngineWorker(reconnect=REDIAL).with_auto_reconnect(False) as worker:
        container = await worker.connect(uuid.uuid4(), f"127.0.0.1:{free_port()}", wait=False)
        with pytest.raises(ConnectRefused):
            await soon(container.wait_ready())
        assert container.state is LinkState.FAILED
        assert isinstance(container.last_error, ConnectRefused)


async def test_a_used_id_is_a_value_error_and_a_failed_one_may_be_connected_again() -> None:
    async with ComputerEngineWorker(reconnect=REDIAL).with_max_reconnect_attempts(0) as worker:
        remote_id = uuid.uuid4()
        async with ContainerServer() as server:
            endpoint = await server.bind("127.0.0.1:0")
            first = await worker.connect(remote_id, endpoint)
            with pytest.raises(ValueError, match="already"):
                await worker.connect(remote_id, endpoint)
            events = worker.service().events(remote_id)
        failed = await event_of(events, LinkFailed)
        assert failed.attempts == 0
        assert first.state is LinkState.FAILED
        with pytest.raises(NotConnected):
            await first.request("x")
        async with ContainerServer() as successor:
            successor.on_invoke(lambda data: data)
            second = await worker.connect(remote_id, await successor.bind("127.0.0.1:0"))
            assert await second.request("again") == "again"
            assert worker.get_engine(remote_id) is second


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".invalid", "256.1.1.1"])
async def test_a_name_without_an_address(host: str) -> None:
    async with ComputerEngineWorker() as worker:
        remote_id = uuid.uuid4()
        with pytest.raises(AddressNotFound):
            await soon(worker.connect(remote_id, f"{host}:3010"))
        assert worker.get_engine(remote_id) is None


async def test_close_and_disconnect_end_a_connect_under_way() -> None:
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    address = ("127.0.0.1", silent.sockets[0].getsockname()[1])
    async with ComputerEngineWorker() as worker:
        ids = [uuid.uuid4(), uuid.uuid4()]
        connecting = [asyncio.create_task(worker.connect(remote_id, address)) for remote_id in ids]
        await until(lambda: len(writers) == 2)
        await worker.disconnect(ids[0])
        with pytest.raises(ConnectError):
            await soon(connecting[0])
        await worker.close()
        with pytest.raises(ConnectError):
            await soon(connecting[1])
    silent.close()
    for writer in writers:
        writer.close()
    await silent.wait_closed()


# Settings


def test_settings_return_the_worker_and_check_their_values() -> None:
    worker = ComputerEngineWorker()
    assert worker.with_auto_reconnect(True) is worker
    assert worker.with_max_reconnect_attempts(None) is worker
    assert worker.with_max_reconnect_attempts(0) is worker
    assert worker.with_reconnect_interval(10) is worker
    assert worker.with_reconnect_interval(timedelta(seconds=1)) is worker
    for interval in (1000.0, 0.5, "1000", None, True):
        with pytest.raises(TypeError):
            worker.with_reconnect_interval(interval)  # type: ignore[arg-type]
    for too_short in (9, 0, -1, timedelta(milliseconds=9), timedelta(0)):
        with pytest.raises(ValueError):
            worker.with_reconnect_interval(too_short)
    for attempts in (1.5, "5", True):
        with pytest.raises(TypeError):
            worker.with_max_reconnect_attempts(attempts)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        worker.with_max_reconnect_attempts(-1)
    with pytest.raises(TypeError):
        worker.with_auto_reconnect("yes")  # type: ignore[arg-type]


async def test_settings_apply_to_later_connects(scene: Scene) -> None:
    scene.worker.with_auto_reconnect(False)
    later = await scene.worker.connect(uuid.uuid4(), scene.endpoint)
    events = scene.worker.service().events(later.remote_id)
    await scene.server.close()
    await event_of(events, LinkFailed)
    assert scene.container.state is not LinkState.FAILED


# Life


async def test_run_returns_when_closed_and_only_one_at_a_time(scene: Scene) -> None:
    running = asyncio.create_task(scene.worker.run())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="running"):
        await scene.worker.run()
    assert await scene.container.request("x") == "x"
    await scene.worker.close()
    await soon(running)


async def test_cancelling_run_closes() -> None:
    worker = ComputerEngineWorker()
    async with ContainerServer() as server:
        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(running)
        assert container.state is LinkState.CLOSED
        with pytest.raises(RuntimeError, match="closed"):
            await worker.connect(uuid.uuid4(), "127.0.0.1:1")


async def test_a_closed_worker_may_be_entered_again() -> None:
    worker = ComputerEngineWorker()
    async with ContainerServer() as server:
        server.on_invoke(lambda data: data)
        endpoint = await server.bind("127.0.0.1:0")
        remote_id = uuid.uuid4()
        for word in ("first", "second"):
            async with worker:
                container = await worker.connect(remote_id, endpoint)
                assert await container.request(word) == word
            assert container.state is LinkState.CLOSED
            assert worker.get_engine(remote_id) is None
        await worker.close()
        await worker.close()


def test_a_closed_worker_and_server_may_be_entered_on_another_loop() -> None:
    worker = ComputerEngineWorker()
    server = ContainerServer()
    server.on_invoke(lambda data: data)
    instances = []

    async def once() -> None:
        async with server, worker:
            container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
            assert await container.request("x") == "x"
            instances.append(server.instance)

    asyncio.run(once())
    asyncio.run(once())
    assert len(set(instances)) == 2


def test_a_handle_used_after_the_close_does_not_bind_the_worker_again() -> None:
    worker = ComputerEngineWorker()
    servers: list[ContainerServer] = []

    async def use_and_close() -> None:
        async with ContainerServer() as server, worker:
            servers.append(server)
            container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        with pytest.raises(NotConnected):
            await container.request("x")
        with pytest.raises(ConnectError):
            await container.wait_ready(1)
        await container.disconnect()
        await worker.run()
        await server.drain()
        await server.serve_forever()

    async def enter_again() -> None:
        async with worker:
            pass

    asyncio.run(use_and_close())
    asyncio.run(enter_again())
    gc.collect()
    # Nothing is left open, so nobody is warned.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker.__del__()
        servers[0].__del__()


async def test_close_waits_for_what_is_in_flight_and_ends_the_rest(scene: Scene) -> None:
    cancelled = asyncio.Event()

    @scene.server.function
    async def slow(seconds: float) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return seconds

    fast = asyncio.create_task(scene.container.call("slow", 0.1))
    never = asyncio.create_task(scene.container.call("slow", 60))
    await asyncio.sleep(0)
    await soon(scene.worker.close(timeout=1.0))
    assert await fast == 0.1
    with pytest.raises(ConnectionClosed) as caught:
        await never
    assert caught.value.executed in (Executed.UNKNOWN, Executed.YES)
    assert isinstance(caught.value, BrokenPipeError)
    await soon(cancelled.wait())
    counted = scene.worker.statistics()
    assert adds_up(counted)
    assert (counted.issued, counted.replied, counted.failed) == (2, 1, 1)


async def test_disconnect_ends_one_link_only(scene: Scene) -> None:
    @scene.server.function
    async def for_ever() -> None:
        await asyncio.Event().wait()

    other = await scene.worker.connect(uuid.uuid4(), scene.endpoint)
    remote_id = scene.container.remote_id
    waiting = asyncio.create_task(scene.container.call("for_ever"))
    await until(lambda: scene.server.statistics().in_flight)
    await scene.worker.disconnect(remote_id)
    with pytest.raises(ConnectionClosed):
        await soon(waiting)
    await scene.worker.disconnect(remote_id)
    await scene.worker.disconnect(uuid.uuid4())
    assert scene.worker.get_engine(remote_id) is None
    assert scene.container.state is LinkState.CLOSED
    assert not scene.container.is_running()
    assert await other.request("x") == "x"
    assert scene.worker.get_connected_containers() == [other.remote_id]
    await until(lambda: not scene.server.statistics().in_flight)
    await other.disconnect()
    assert scene.worker.get_connected_containers() == []


async def test_another_thread_and_another_loop_are_a_runtime_error(scene: Scene) -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        async def attempt(what: Any) -> None:
            with pytest.raises(RuntimeError) as error:
                await what
            caught.append(error.value)

        for what in (
            scene.container.request("x"),
            scene.worker.connect(uuid.uuid4(), scene.endpoint),
            scene.worker.close(),
            scene.worker.disconnect(scene.container.remote_id),
            scene.worker.run(),
            scene.server.bind("127.0.0.1:0"),
            scene.server.drain(),
            scene.server.close(),
            scene.server.serve_forever(),
        ):
            asyncio.run(attempt(what))

    await asyncio.to_thread(elsewhere)
    assert len(caught) == 9
    assert await scene.container.request("x") == "x"


def test_a_worker_and_a_server_that_are_never_closed_are_resource_warnings() -> None:
    async def enter(thing: Any) -> None:
        await thing.__aenter__()

    for thing in (ComputerEngineWorker(), ContainerServer()):
        asyncio.run(enter(thing))
        with pytest.warns(ResourceWarning, match="never closed"):
            thing.__del__()
        thing._lifecycle.loop_bound.release()


def test_a_program_that_closes_nothing_still_ends() -> None:
    program = """
import asyncio, uuid, mpzmq
async def main():
    server = mpzmq.ContainerServer()
    worker = mpzmq.ComputerEngineWorker()
    container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
    print(await container.get_state())
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=scaled(20), cwd=ROOT, check=False,
        env={"PYTHONWARNINGS": "default", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "RUNNING\n"


# Requests


async def test_request_exchange_call_and_function(scene: Scene) -> None:
    @scene.server.function
    def options(**named: Any) -> list[Any]:
        return list(named.values())

    @scene.server.function
    def add(a: int, b: int = 10) -> int:
        """Adds.

        And more."""
        return a + b

    service = scene.worker.service()
    remote_id = scene.container.remote_id
    values: tuple[Any, ...] = (None, 0, "", [], {}, b"", "text", {"a": [1, 2.5, None]}, bytes(100_000), {1: 2, b"k": 3})
    for data in values:
        assert await service.request(uuid.uuid4(), remote_id, data) == data
        assert await scene.container.request(data) == data
    request_id = uuid.uuid4()
    reply = await service.exchange(Params(request_id, Method.INVOKE, Status.RUNNING, "x"), remote_id)
    assert reply == Params(request_id, Method.INVOKE, Status.RUNNING, "x")
    assert await service.call(remote_id, "add", 1, 2) == 3
    assert await scene.container.call("add", 1) == 11
    assert await scene.container.call("add", b=1, a=1) == 2
    assert await service.function(remote_id, "options")(wait="w", metadata=5) == ["w", 5]
    assert await scene.container.function("options", timeout=5)(timeout=1, wait="w", metadata=5) == [1, "w", 5]
    assert await service.request(uuid.uuid4(), remote_id, None, method=Method.GETSTATE) is None
    description = await service.describe(remote_id)
    assert description == await scene.container.describe()
    assert (description.name, description.instance) == ("scene", scene.server.instance)
    assert description.status is Status.RUNNING
    told = {function.name: (function.signature, function.doc) for function in description.functions}
    assert re.fullmatch(r"\(a: '?int'?, b: '?int'? = 10\) -> '?int'?", told["add"][0])
    assert told["add"][1] == "Adds."


async def test_state_over_every_way(scene: Scene) -> None:
    service = scene.worker.service()
    remote_id = scene.container.remote_id
    assert await service.get_state(remote_id) is Status.RUNNING
    assert await service.set_state(remote_id, Status.STOP) is Status.STOP
    assert scene.server.status is Status.STOP
    assert scene.container.status is Status.STOP
    assert await scene.container.set_state(Status.RUNNING) is Status.RUNNING
    reply = await service.exchange(Params(uuid.uuid4(), Method.SETSTATE, Status.STOP), remote_id)
    assert (reply.method, reply.status) == (Method.SETSTATE, Status.STOP)
    await service.request(uuid.uuid4(), remote_id, Status.RUNNING, method=Method.SETSTATE)
    assert await scene.container.get_state() is Status.RUNNING
    with pytest.raises(ValueError):
        await service.set_state(remote_id, "BROKEN")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        await service.request(uuid.uuid4(), remote_id, "BROKEN", method=Method.SETSTATE)
    assert adds_up(scene.worker.statistics())


async def test_an_unknown_remote_is_not_connected_at_once(scene: Scene) -> None:
    service = scene.worker.service()
    request_id, nobody = uuid.uuid4(), uuid.uuid4()
    with pytest.raises(NotConnected) as caught:
        await soon(service.request(request_id, nobody, "x", timeout=None))
    assert (caught.value.request_id, caught.value.remote_id) == (request_id, nobody)
    assert caught.value.executed is Executed.NO
    for attempt in (
        service.call(nobody, "f"),
        service.get_state(nobody),
        service.set_state(nobody, Status.STOP),
        service.describe(nobody),
        service.exchange(Params(request_id), nobody),
        service.function(nobody, "f")(),
    ):
        with pytest.raises(NotConnected):
            await soon(attempt)


async def test_fallback_is_sent_once_under_an_id_of_its_own() -> None:
    seen: list[tuple[uuid.UUID, Any]] = []
    async with ContainerServer() as server, ComputerEngineWorker() as worker:

        @server.on_invoke
        def picky(data: Any, context: RequestContext) -> Any:
            seen.append((context.request_id, data))
            if data == "refuse":
                raise Refused("no")
            if data == "break":
                raise LookupError("broken")
            return data

        remote_id = (await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))).remote_id
        service = worker.service()
        request_id = uuid.uuid4()
        assert await service.request(request_id, remote_id, "refuse", 0) == 0
        assert [data for _, data in seen] == ["refuse", 0]
        assert seen[0][0] == request_id != seen[1][0]
        seen.clear()
        with pytest.raises(Refused) as refused:
            await service.request(request_id := uuid.uuid4(), remote_id, "refuse", "refuse")
        assert (refused.value.request_id, refused.value.fallback_sent) == (request_id, True)
        assert len(seen) == 2
        seen.clear()
        with pytest.raises(RemoteError) as remote:
            await service.request(uuid.uuid4(), remote_id, "break", "unused")
        assert not remote.value.fallback_sent
        assert [data for _, data in seen] == ["break"]
        seen.clear()
        with pytest.raises(Refused):
            await service.request(uuid.uuid4(), remote_id, "refuse")
        assert len(seen) == 1
        counted = worker.statistics()
        assert adds_up(counted)
        assert (counted.issued, counted.replied) == (6, 1)


async def test_timeouts(scene: Scene) -> None:
    started = asyncio.Event()

    @scene.server.function
    async def for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    for timeout in (0, -1, -0.001):
        with pytest.raises(RequestTimeout) as caught:
            await soon(scene.container.call("for_ever", timeout=timeout))
        assert caught.value.executed is Executed.NO
        assert isinstance(caught.value, TimeoutError)
    assert not started.is_set()
    with pytest.raises(RequestTimeout) as caught:
        await soon(scene.container.call("for_ever", timeout=0.1))
    assert caught.value.executed in (Executed.UNKNOWN, Executed.YES)
    assert started.is_set()
    for wrong in ("1", True, [1]):
        with pytest.raises(TypeError):
            await scene.container.call("for_ever", timeout=wrong)  # type: ignore[arg-type]
    waiting = asyncio.create_task(scene.container.call("for_ever", timeout=None))
    await until(lambda: scene.container.statistics().in_flight)
    waiting.cancel()
    await asyncio.wait([waiting])
    counted = scene.container.statistics()
    assert adds_up(counted)
    assert (counted.failed, counted.cancelled, counted.in_flight) == (4, 1, 0)


async def test_what_never_left_times_out_with_no() -> None:
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), f"127.0.0.1:{free_port()}", wait=False)
        with pytest.raises(RequestTimeout) as caught:
            await soon(container.request("x", timeout=0.2))
        assert caught.value.executed is Executed.NO


async def test_a_full_link_waits_or_is_overloaded() -> None:
    release = asyncio.Event()
    limits = Limits(in_flight=2)
    async with ContainerServer() as server, ComputerEngineWorker(limits=limits) as worker:

        @server.function
        async def held(number: int) -> int:
            await release.wait()
            return number

        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        calls = [asyncio.create_task(container.call("held", number)) for number in range(4)]
        await until(lambda: server.statistics().in_flight == 2)
        with pytest.raises(Overloaded) as caught:
            await soon(container.call("held", 9, wait=False))
        assert caught.value.executed is Executed.NO
        assert caught.value.retry_after > 0
        with pytest.raises(RequestTimeout) as timed_out:
            await soon(container.call("held", 9, timeout=0.1))
        assert timed_out.value.executed is Executed.NO
        assert container.statistics().in_flight == 4
        calls[3].cancel()
        release.set()
        assert await soon(asyncio.gather(*calls[:3])) == [0, 1, 2]
        assert adds_up(container.statistics())
        assert container.statistics().in_flight == 0


async def test_metadata_reaches_the_handler(scene: Scene) -> None:
    @scene.server.function
    def told(context: RequestContext) -> Any:
        return dict(context.metadata)

    assert await scene.container.call("told") == {}
    assert await scene.container.call("told", metadata={"user": 5}) == {"user": 5}
    service = scene.worker.service(metadata={"trace": "t"})
    assert await service.call(scene.container.remote_id, "told") == {"trace": "t"}
    assert await service.call(scene.container.remote_id, "told", metadata=None) == {}
    with pytest.raises(TypeError):
        await scene.container.call("told", metadata={1: 2})  # type: ignore[dict-item]
    with pytest.raises(EncodeError, match=r"metadata\['x'\]"):
        await scene.container.call("told", metadata={"x": object()})


async def test_values_that_cannot_be_sent_name_their_path_and_send_nothing(scene: Scene) -> None:
    received = scene.server.statistics().received
    issued = scene.container.statistics().issued
    with pytest.raises(EncodeError) as caught:
        await scene.container.request({"user": [{"created": object()}]})
    assert caught.value.path == "data['user'][0]['created']"
    assert isinstance(caught.value, TypeError)
    for value in (1 << 64, "\ud800", {1.5: 2}, {None: 1}, object(), {1, 2}, 1j):
        with pytest.raises(EncodeError):
            await scene.container.request(value)
        with pytest.raises(EncodeError, match=r"args\[1\]"):
            await scene.container.call("f", 1, value)
        with pytest.raises(EncodeError, match=r"kwargs\['k'\]"):
            await scene.container.call("f", k=value)
    assert scene.server.statistics().received == received
    assert scene.container.statistics().issued == issued
    assert await scene.container.request("next") == "next"


# Request ids


async def test_a_chosen_id_whose_reply_was_received_is_spent(scene: Scene) -> None:
    request_id = uuid.uuid4()
    assert await scene.container.request("x", request_id=request_id) == "x"
    for data in ("x", "another"):
        with pytest.raises(ValueError, match="reply"):
            await scene.container.request(data, request_id=request_id)
    assert scene.server.statistics().received == 1


async def test_an_id_in_flight(scene: Scene) -> None:
    release = asyncio.Event()

    @scene.server.function
    async def held(word: str) -> str:
        await release.wait()
        return word

    request_id = uuid.uuid4()
    first = asyncio.create_task(scene.container.call("held", "a", request_id=request_id))
    await until(lambda: scene.server.statistics().in_flight)
    with pytest.raises(RequestIdReused) as caught:
        await scene.container.call("held", "b", request_id=request_id)
    assert (caught.value.executed, caught.value.request_id) == (Executed.NO, request_id)
    with pytest.raises(ValueError):
        await scene.container.call("held", "a", request_id=request_id)
    release.set()
    assert await soon(first) == "a"


async def test_an_id_that_ended_without_its_reply_joins_the_running_handler(scene: Scene) -> None:
    release = asyncio.Event()
    runs: list[str] = []

    @scene.server.function(cancellable=False)
    async def held(word: str) -> str:
        runs.append(word)
        await release.wait()
        return word

    request_id = uuid.uuid4()
    with pytest.raises(RequestTimeout):
        await scene.container.call("held", "a", request_id=request_id, timeout=0.1)
    with pytest.raises(RequestIdReused) as caught:
        await soon(scene.container.call("held", "b", request_id=request_id))
    assert caught.value.executed is Executed.NO
    again = asyncio.create_task(scene.container.call("held", "a", request_id=request_id))
    await until(lambda: scene.container.statistics().in_flight)
    release.set()
    assert await soon(again) == "a"
    assert runs == ["a"]


@pytest.mark.parametrize("passes", [0, 1, 3])
async def test_an_id_issued_again_right_after_its_cancellation_ends(scene: Scene, passes: int) -> None:
    @scene.server.function
    async def slow() -> str:
        try:
            await asyncio.sleep(0.2)
        finally:
            await asyncio.sleep(0.05)
        return "done"

    request_id = uuid.uuid4()
    first = asyncio.create_task(scene.container.call("slow", request_id=request_id))
    await asyncio.sleep(0)
    if passes:
        await until(lambda: scene.server.statistics().in_flight)
    first.cancel()
    for _ in range(passes):
        await asyncio.sleep(0)
    await asyncio.wait([first])
    # Run, joined, or told what became of it: never left without an answer.
    try:
        assert await soon(scene.container.call("slow", request_id=request_id, timeout=None), 3) == "done"
    except RequestError as error:
        assert error.request_id == request_id


async def test_one_id_twice_behind_a_full_link_ends_both() -> None:
    limits = Limits(in_flight=2)
    async with ContainerServer() as server, ComputerEngineWorker(limits=limits) as worker:
        runs: list[str] = []

        @server.function
        async def slow(word: str) -> str:
            runs.append(word)
            await asyncio.sleep(0.1)
            return word

        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        before = [asyncio.create_task(container.call("slow", "before")) for _ in range(2)]
        await until(lambda: server.statistics().in_flight == 2)
        request_id = uuid.uuid4()
        twice = [asyncio.create_task(container.call("slow", "same", request_id=request_id)) for _ in range(2)]
        done, waiting = await asyncio.wait(twice, timeout=3)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*before, *twice, return_exceptions=True)
        assert not waiting
        assert runs.count("same") == 1
        outcomes = sorted(type(task.exception()).__name__ for task in done)
        assert outcomes == ["NoneType", "ValueError"]
        assert adds_up(container.statistics())
        assert container.statistics().in_flight == 0


async def test_a_call_inside_a_handler_inherits_its_deadline(scene: Scene) -> None:
    left: list[float | None] = []

    @scene.server.function
    def inner(context: RequestContext) -> None:
        left.append(context.remaining())

    @scene.server.function
    async def outer() -> None:
        await scene.container.call("inner", timeout=100)
        await scene.container.call("inner", timeout=None)
        await scene.container.call("inner", timeout=1)

    await scene.container.call("outer", timeout=5)
    assert left[0] is not None
    assert left[1] is not None
    assert left[2] is not None
    # Each hop rounds up to whole milliseconds.
    assert left[0] <= 5.001
    assert left[1] <= 5.001
    assert left[2] <= 1.001
    await scene.container.call("inner", timeout=None)
    assert left[3] is None


# Events and statistics


async def test_events_tell_the_life_of_a_link() -> None:
    port = free_port()
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        service = worker.service()
        remote_id = uuid.uuid4()
        events, others = service.events(remote_id), service.events(uuid.uuid4())
        every = service.events()
        container = await worker.connect(remote_id, ("127.0.0.1", port), name="it", wait=False)
        retry = await event_of(events, LinkRetry)
        assert (retry.attempt, retry.remote_id, retry.name) == (0, remote_id, "it")
        async with ContainerServer() as server:
            await server.bind(("127.0.0.1", port))
            changed = await event_of(events, StatusChanged)
            assert (changed.previous, changed.status) == (None, Status.RUNNING)
            up = await event_of(events, LinkUp)
            assert (up.instance, up.reconnected) == (server.instance, False)
            assert up.reason
            assert up.time > 1_700_000_000
            await container.set_state(Status.STOP)
            changed = await event_of(events, StatusChanged)
            assert (changed.previous, changed.status) == (Status.RUNNING, Status.STOP)
        await event_of(events, LinkDown)
        assert (await event_of(events, LinkRetry)).attempt >= 1
        await container.disconnect()
        await event_of(events, LinkClosed)
        await worker.close()
        assert [event async for event in others] == []
        assert len([event async for event in every]) >= 6
        assert [event async for event in events] == []
        assert [event async for event in service.events()] == []


async def test_a_slow_listener_is_told_what_it_lost() -> None:
    async with ContainerServer() as server, ComputerEngineWorker(limits=Limits(events=3)) as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        slow, quick = worker.service().events(), worker.service().events()
        seen: list[Any] = []
        for status in (Status.STOP, Status.RUNNING) * 5:
            await container.set_state(status)
            seen.append(await event_of(quick, StatusChanged))
        dropped = await soon(anext(slow))
        assert dropped == EventsDropped(7)
        assert [await soon(anext(slow)) for _ in range(3)] == seen[7:]


async def test_several_may_wait_on_one_stream_and_close_ends_them(scene: Scene) -> None:
    events = scene.worker.service().events()
    waiting = [asyncio.create_task(anext(events, "ended")) for _ in range(3)]
    await asyncio.sleep(0)
    await scene.worker.close()
    outcomes = await soon(asyncio.gather(*waiting))
    assert sum(isinstance(outcome, LinkClosed) for outcome in outcomes) == 1
    assert outcomes.count("ended") == 2


async def test_statistics_add_up_at_every_moment(scene: Scene) -> None:
    @scene.server.function
    async def slow(seconds: float) -> None:
        await asyncio.sleep(seconds)

    calls = [asyncio.create_task(scene.container.call("slow", 0.001 * n, timeout=0.03)) for n in range(60)]
    calls += [asyncio.create_task(scene.container.call("nope")) for _ in range(10)]
    calls += [asyncio.create_task(scene.container.call("slow", 5)) for _ in range(10)]
    while any(not call.done() for call in calls[:70]):
        assert adds_up(scene.container.statistics())
        assert adds_up(scene.worker.statistics())
        await asyncio.sleep(0.001)
    for call in calls[70:]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    counted = scene.container.statistics()
    assert adds_up(counted)
    assert counted.in_flight == 0
    assert counted.issued == 80
    assert counted.cancelled == 10
    assert counted.replied == sum(outcome is None for outcome in outcomes)
    await scene.container.disconnect()
    assert scene.worker.statistics().issued == 80


async def test_unknown_functions_and_wrong_arguments(scene: Scene) -> None:
    @scene.server.function
    def two(a: int, *, b: int) -> None: ...

    for attempt, kind in (
        (scene.container.call("nope"), Unsupported),
        (scene.container.call(""), Unsupported),
        (scene.container.call("two"), InvalidArguments),
        (scene.container.call("two", 1, 2), InvalidArguments),
        (scene.container.call("two", 1, b=1, c=1), InvalidArguments),
        (scene.container.call("two", 1, a=1, b=1), InvalidArguments),
    ):
        with pytest.raises(RequestError) as caught:
            await soon(attempt)
        assert type(caught.value) is kind
        assert caught.value.executed is Executed.NO
        assert caught.value.remote_id == scene.container.remote_id
        assert caught.value.name == "scene"
        assert caught.value.request_id is not None
    with pytest.raises(TypeError):
        await scene.container.call(5)  # type: ignore[arg-type]


async def test_a_late_cancellation_does_not_touch_another_request_of_the_same_id(
    lied: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = lied
    request_id = uuid.uuid4()
    first = asyncio.create_task(container.request("one", request_id=request_id))
    await liar.request()
    tracker = container._link.tracker
    liar.say(request_id.bytes, [Kind.ERROR, Code.STOPPED, 0, 1, "not now", None])

    async def supervisor() -> Any:
        # It runs in the pass in which the error has arrived, before the one that waits for it.
        while tracker.pending:  # noqa: ASYNC110  (a moment that sets no event)
            await asyncio.sleep(0)
        assert not first.done()
        first.cancel()
        return await container.request("one", request_id=request_id)

    second = asyncio.create_task(supervisor())
    assert await soon(liar.request()) == request_id.bytes
    with pytest.raises(asyncio.CancelledError):
        await first
    liar.say(request_id.bytes, [Kind.RESPONSE, 1, "two"])
    assert await soon(second) == "two"
    assert adds_up(container.statistics())
