"""A bad network in front of real links, and in front of plain TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from mpzmq import (
    ComputerEngineWorker,
    ConnectError,
    ContainerServer,
    LinkDown,
    LinkRetry,
    LinkUp,
)
from mpzmq.testing import Proxy
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import SECONDS, event_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import ContainerFactory, ProxyFactory
    from mpzmq.testing.proxy import Side


def echo_server() -> ContainerServer:
    server = ContainerServer(name="echo", heartbeat=QUICK)

    @server.on_invoke
    async def echo(data: Any) -> Any:
        return data

    return server


# Links


async def cut_and_restored() -> None:
    """What is told of a link that is cut, and that it comes back."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(echo_server())
        proxy = await stack.enter_async_context(Proxy(await server.bind("tcp://127.0.0.1:0")))
        worker = await stack.enter_async_context(ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK))
        endpoint = proxy.endpoint
        container = await worker.connect(uuid.uuid4(), endpoint)
        assert await container.request("x") == "x"
        for times in (1, 2):
            events = worker.service().events()
            await proxy.cut()
            await event_of(events, LinkDown)
            assert "refused" in (await event_of(events, LinkRetry)).reason
            waiting = asyncio.create_task(container.request("waits"))
            proxy.restore()
            proxy.restore()  # nothing is left to do
            assert (await event_of(events, LinkUp)).reconnected
            assert await waiting == "waits"
            assert proxy.endpoint == endpoint
            assert proxy.connections == 1 + times


async def test_a_link_that_is_cut_is_down_at_once_and_comes_back() -> None:
    await cut_and_restored()


@pytest.fixture(scope="module")
def uvloop_used_once() -> None:
    """It keeps one pipe for the life of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.mark.usefixtures("uvloop_used_once")
def test_the_same_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(cut_and_restored())


async def test_a_frozen_link_is_found_out_by_the_heartbeat(
    mpzmq_container: ContainerFactory, mpzmq_proxy: ProxyFactory
) -> None:
    proxy = await mpzmq_proxy((await mpzmq_container(echo_server())).endpoint)
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        container = await worker.connect(uuid.uuid4(), proxy.endpoint)
        events = worker.service().events()
        proxy.freeze()
        passed_on = proxy.bytes
        swallowed = asyncio.create_task(container.request("x"))
        await event_of(events, LinkDown)
        # The redial is accepted and gets no answer.
        await event_of(events, LinkRetry)
        assert proxy.connections > 1
        assert proxy.bytes == passed_on
        waiting = asyncio.create_task(container.request("waits"))
        proxy.thaw()
        await event_of(events, LinkUp)
        assert await waiting == "waits"
        assert await swallowed == "x"


async def test_a_delay_is_added_in_each_direction_and_keeps_the_order(
    mpzmq_worker: ComputerEngineWorker, mpzmq_container: ContainerFactory, mpzmq_proxy: ProxyFactory
) -> None:
    server = echo_server()
    started: list[int] = []
    server.function(started.append, name="start")
    proxy = await mpzmq_proxy((await mpzmq_container(server)).endpoint)
    container = await mpzmq_worker.connect(uuid.uuid4(), proxy.endpoint)
    loop = asyncio.get_running_loop()
    proxy.delay = 0.1
    asked = loop.time()
    assert await container.request("x") == "x"
    assert loop.time() - asked >= 0.2
    slow = [asyncio.create_task(container.call("start", number)) for number in range(10)]
    await asyncio.sleep(0)
    proxy.delay = 0.0  # the later ones wait behind the earlier ones
    fast = [asyncio.create_task(container.call("start", number)) for number in range(10, 20)]
    await asyncio.gather(*slow, *fast)
    assert started == list(range(20))


async def test_a_rate_holds_in_each_direction(
    mpzmq_worker: ComputerEngineWorker, mpzmq_container: ContainerFactory, mpzmq_proxy: ProxyFactory
) -> None:
    proxy = await mpzmq_proxy((await mpzmq_container(echo_server())).endpoint)
    container = await mpzmq_worker.connect(uuid.uuid4(), proxy.endpoint)
    loop = asyncio.get_running_loop()
    proxy.rate = 200_000
    before, asked = proxy.bytes, loop.time()
    assert await container.request(bytes(20_000)) == bytes(20_000)
    took = loop.time() - asked
    assert proxy.bytes - before >= 40_000
    assert took >= 0.9 * 40_000 / 200_000
    proxy.rate = None
    assert await container.request(bytes(2_000_000)) == bytes(2_000_000)


async def test_a_container_that_is_not_there(mpzmq_worker: ComputerEngineWorker, mpzmq_proxy: ProxyFactory) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = await mpzmq_proxy(closed.getsockname())
        with pytest.raises(ConnectError):
            await mpzmq_worker.connect(uuid.uuid4(), proxy.endpoint)
        assert proxy.connections == 1


# Plain TCP


class Peers:
    """What has been connected to a TCP server."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.endpoint = ""
        self.accepted = 0

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._queue.put_nowait((reader, writer))
        self._writers.append(writer)

    async def dial(self, endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = endpoint.removeprefix("tcp://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self._writers.append(writer)
        return reader, writer

    async def next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(SECONDS):
            return await self._queue.get()

    async def __aenter__(self) -> Peers:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.endpoint = "tcp://{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    async with Peers() as peers:
        yield peers


async def test_a_cut_resets_both_sides_and_refuses_until_it_is_restored(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        near, forth = await peers.dial(proxy.endpoint)
        far, back = await peers.next()
        forth.write(b"ping")
        assert await far.readexactly(4) == b"ping"
        back.write(b"pong")
        assert await near.readexactly(4) == b"pong"
        assert (proxy.connections, proxy.bytes) == (1, 8)
        await proxy.cut()
        for reader in (near, far):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await peers.dial(proxy.endpoint)
        proxy.restore()
        await peers.dial(proxy.endpoint)
        await peers.next()
        assert proxy.connections == 2
    with pytest.raises(ConnectionRefusedError):
        await peers.dial(proxy.endpoint)
    await proxy.close()
    with pytest.raises(RuntimeError, match="not open"):
        proxy.restore()


async def test_a_reset_of_one_side_is_a_reset_of_the_other(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        near, _ = await peers.dial(proxy.endpoint)
        _, back = await peers.next()
        linger = b"\1\0\0\0\0\0\0\0"
        back.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        back.transport.abort()
        with pytest.raises(ConnectionResetError):
            await near.read()


async def test_an_end_of_file_is_passed_on_alone_and_last(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        proxy.delay = 0.02
        near, forth = await peers.dial(proxy.endpoint)
        forth.write(bytes(1_000_000))
        forth.write_eof()
        far, back = await peers.next()
        assert len(await far.read()) == 1_000_000
        # Most of it waits in the kernel when the proxy is done with it: nobody reads here.
        near_transport = forth.transport
        assert isinstance(near_transport, asyncio.ReadTransport)
        near_transport.pause_reading()
        back.write(bytes(1_000_000))
        back.close()
        for _ in range(500):  # no longer: on some systems the kernel does not take all of it
            if proxy.bytes == 2_000_000:
                break
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        near_transport.resume_reading()
        assert len(await near.read()) == 1_000_000


@pytest.mark.parametrize("how", ["freeze", "rate", "delay"])
async def test_what_is_held_up_is_not_lost_and_bounded(peers: Peers, how: str) -> None:
    async with Proxy(peers.endpoint) as proxy:
        _, forth = await peers.dial(proxy.endpoint)
        far, _ = await peers.next()
        forth.write(b"first")
        assert await far.readexactly(5) == b"first"
        match how:
            case "freeze":
                proxy.freeze()
            case "rate":
                proxy.rate = 20
            case "delay":
                proxy.delay = 1.0
        sent = 0
        piece = bytes(range(256)) * 256
        with socket.socket(fileno=forth.get_extra_info("socket").fileno()) as sender:
            for _ in range(1_000):  # the proxy may take a little more at each pass of the loop
                with contextlib.suppress(BlockingIOError):
                    while sent < 100_000_000:
                        sent += sender.send(piece[sent % len(piece) :])
                await asyncio.sleep(0)
            sender.detach()
        # Two pairs of socket buffers, each with up to 6 MiB by Linux's defaults, and at most 4 MiB here.
        assert 0 < sent < 32_000_000
        assert proxy.bytes < 100
        proxy.rate = None
        proxy.thaw()
        assert await far.readexactly(sent) == (piece * (sent // len(piece) + 1))[:sent]


async def test_a_frozen_proxy_dials_later(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        proxy.freeze()
        _, forth = await peers.dial(proxy.endpoint)
        forth.write(b"hello")
        while not proxy.connections:  # noqa: ASYNC110  (a counter sets no event)
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert peers.accepted == 0
        proxy.thaw()
        far, _ = await peers.next()
        assert await far.readexactly(5) == b"hello"


async def test_a_connection_that_is_cut_while_it_is_accepted_or_dialled_is_closed(peers: Peers) -> None:
    """The guards see what is left open."""
    async with Proxy(peers.endpoint) as proxy:
        for passes in range(8):
            with socket.socket() as dialling:
                dialling.setblocking(False)
                dialling.connect_ex(("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])))
                # The test sees it before the proxy's task has begun.
                while proxy.connections == passes:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                for _ in range(passes):
                    await asyncio.sleep(0)
                await proxy.cut()
            proxy.restore()
        assert proxy.connections == 8
        await peers.dial(proxy.endpoint)
        await proxy.reset()
        await peers.dial(proxy.endpoint)
        proxy.freeze()


def test_impossible_settings() -> None:
    proxy = Proxy("localhost:3010")
    assert repr(proxy) == "<Proxy 0 -> localhost:3010>"
    with pytest.raises(ValueError, match="delay is 0 or more seconds, not -1"):
        proxy.delay = -1
    with pytest.raises(ValueError, match="rate is more than 0 bytes per second, or None, not 0"):
        proxy.rate = 0
    with pytest.raises(ValueError, match="count is 1 byte or more, not 0"):
        proxy.reset_after(0, to="worker")
    with pytest.raises(ValueError, match="mask has bits of one byte, 1 to 255, not 256"):
        proxy.flip(256, to="worker")
    for wrong in (proxy.bytes_to, lambda side: proxy.half_open(keep=side), lambda side: proxy.reset_after(1, to=side)):
        with pytest.raises(ValueError, match="a side is 'worker' or 'container', not 'engine'"):
            wrong("engine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no TCP endpoint"):
        Proxy("ipc:///tmp/socket")
    with pytest.raises(ValueError, match="no port"):
        Proxy("localhost")


async def test_a_connection_is_reset_after_so_many_bytes(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        near, forth = await peers.dial(proxy.endpoint)
        far, back = await peers.next()
        forth.write(b"12345")
        assert await far.readexactly(5) == b"12345"
        proxy.reset_after(3, to="worker")
        back.write(b"ab")
        assert await near.readexactly(2) == b"ab"
        back.write(b"cde")
        assert await near.readexactly(1) == b"c"
        with pytest.raises(ConnectionResetError):
            await near.read()
        with pytest.raises(ConnectionResetError):
            await far.read()
        assert (proxy.bytes_to("container"), proxy.bytes_to("worker"), proxy.bytes) == (5, 3, 8)
        near, _ = await peers.dial(proxy.endpoint)  # it was for once
        _, back = await peers.next()
        back.write(b"123456")
        assert await near.readexactly(6) == b"123456"


async def test_one_byte_is_flipped(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        near, forth = await peers.dial(proxy.endpoint)
        far, back = await peers.next()
        proxy.flip(0b101, to="container", after=2)
        proxy.flip(to="worker")
        forth.write(b"\0\0")
        assert await far.readexactly(2) == b"\0\0"
        forth.write(bytes(3))
        assert await far.readexactly(3) == b"\x05\0\0"
        back.write(bytes(2))
        assert await near.readexactly(2) == b"\1\0"


@pytest.mark.parametrize("keep", ["container", "worker"])
async def test_one_half_of_a_connection_stays(peers: Peers, keep: Side) -> None:
    async with Proxy(peers.endpoint) as proxy:
        ends = dict(zip(("worker", "container"), [await peers.dial(proxy.endpoint), await peers.next()], strict=True))
        ends["worker"][1].write(b"hello")  # when it arrives, the proxy knows both halves
        assert await ends["container"][0].readexactly(5) == b"hello"
        kept, kept_writer = ends.pop(keep)
        ((lost, _),) = ends.values()
        proxy.half_open(keep=keep)
        proxy.half_open(keep=keep)
        with pytest.raises(ConnectionResetError):
            await lost.read()
        kept_writer.write(b"swallowed")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.read(), 0.05)
        await peers.dial(proxy.endpoint)
        await peers.next()
        kept_writer.close()
        await kept_writer.wait_closed()
        assert proxy.bytes == 5


async def test_a_proxy_that_hangs_up(peers: Peers) -> None:
    async with Proxy(peers.endpoint) as proxy:
        proxy.hang_up = True
        near, _ = await peers.dial(proxy.endpoint)
        assert await near.read() == b""
        assert (proxy.connections, peers.accepted) == (1, 0)
        proxy.hang_up = False
        await peers.dial(proxy.endpoint)
        await peers.next()
