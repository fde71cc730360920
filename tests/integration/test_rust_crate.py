"""The wire of the Rust crate mp-executor-engine, over real sockets and to real processes."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectError,
    ConnectionLost,
    ConnectRefused,
    ContainerServer,
    EncodeError,
    Executed,
    HeartbeatPolicy,
    InsecureBind,
    LinkFailed,
    LinkState,
    NotConnected,
    ProtocolError,
    ReconnectPolicy,
    RequestTimeout,
    Security,
    Status,
    Unsupported,
    keys,
)
from mpzmq.container.process import loop_factory
from tests.support import ROOT
from tests.support.shared import one_at_a_time
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Factory = Callable[[], asyncio.AbstractEventLoop]

REDIAL = ReconnectPolicy(interval=0.05, connect_timeout=scaled(1.0))
ID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def framed(record: dict[str, Any] | bytes) -> bytes:
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return struct.pack("<I", len(body)) + body


async def read(reader: asyncio.StreamReader) -> dict[str, Any]:
    (size,) = struct.unpack("<I", await soon(reader.readexactly(4)))
    record: dict[str, Any] = json.loads(await soon(reader.readexactly(size)))
    return record


class RustPeer:
    """A container that speaks that wire: it echoes, and what else it does the data of a request says."""

    def __init__(self) -> None:
        self.port = 0
        self.came: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"rust+tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends all connections, and listens no more."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                asked = await read(reader)
                self.came.append(asked)
                for reply in self._replies(asked):
                    writer.write(reply)
                if asked["data"] == "hang up":
                    break
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _replies(self, asked: dict[str, Any]) -> list[bytes]:
        match asked["data"]:
            case "quiet" | "hang up":
                self.kept.append(asked)
                return []
            case "late":
                return [framed(one) for one in self.kept] + [framed(asked)]
            case "stranger":
                return [framed({**asked, "id": str(uuid.uuid4())}), framed(asked)]
            case "no method":
                return [framed({"id": asked["id"]})]
            case "no JSON":
                return [framed(b"{"), framed(asked)]
            case "no frame":
                return [b"HTTP/1.1 400 Bad Request\r\n"]
        return [framed(asked)]


@pytest.fixture
async def peer() -> AsyncIterator[RustPeer]:
    peer = RustPeer()
    await peer.start()
    yield peer
    await peer.stop()


async def test_requests_and_state(peer: RustPeer) -> None:
    async with ComputerEngineWorker() as worker, worker.connect(peer.address) as container:
        assert await container.request({"a": [1, 2.5, None, "ü"]}) == {"a": [1, 2.5, None, "ü"]}
        assert await asyncio.gather(*map(container.request, range(500))) == list(range(500))
        assert await container.get_state() is Status.RUNNING
        assert await container.set_state(Status.STOP) is Status.STOP
        large = "x" * 3_000_000
        assert await container.request(large) == large
        assert container.state is LinkState.ALIVE
    assert [one["method"] for one in peer.came[-3:]] == ["Getstate", "Setstate", "Invoke"]


async def test_what_the_wire_does_not_have(peer: RustPeer) -> None:
    async with ComputerEngineWorker() as worker, worker.connect(peer.address) as container:
        ways: list[Callable[[], Awaitable[Any]]] = [
            lambda: container.call("add", 1, 2),
            container.describe,
            container.get_statistics,
            lambda: container.upload("takes", [1]),
            lambda: anext(container.stream("gives")),
        ]
        for way in ways:
            with pytest.raises(Unsupported, match="the wire of the Rust crate") as unsupported:
                await way()
            assert unsupported.value.executed is Executed.NO
        with pytest.raises(EncodeError, match=r"data\['id'\]: UUID"):
            await container.request({"id": uuid.uuid4()})
    assert not peer.came


async def test_replies_that_are_late_or_odd(peer: RustPeer) -> None:
    async with ComputerEngineWorker() as worker, worker.connect(peer.address) as container:
        with pytest.raises(RequestTimeout) as timeout:
            await container.request("quiet", timeout=0.05)
        assert timeout.value.executed is Executed.UNKNOWN
        assert await container.request("late") == "late"
        assert await container.request("stranger") == "stranger"
        assert container.statistics().late == 2
        with pytest.raises(ProtocolError) as malformed:
            await container.request("no method")
        assert malformed.value.executed is Executed.UNKNOWN
        assert await container.request("no JSON") == "no JSON"
        assert container.statistics().reconnects == 0


@pytest.mark.parametrize("word", ["hang up", "no frame"])
@pytest.mark.parametrize("idempotent", [False, True])
async def test_what_was_lost_is_not_sent_again(peer: RustPeer, word: str, idempotent: bool) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL) as worker, worker.connect(peer.address) as container:
        with pytest.raises(ConnectionLost) as lost:
            await container.request(word, idempotent=idempotent)
        assert lost.value.executed is Executed.UNKNOWN
        assert await container.request("next") == "next"
        assert container.statistics().reconnects == 1
    assert [one["data"] for one in peer.came] == [word, "next"]


async def test_what_has_not_left_waits_for_the_next_connection(peer: RustPeer) -> None:
    async with ComputerEngineWorker(reconnect=REDIAL) as worker, worker.connect(peer.address) as container:
        await peer.stop()
        await until(lambda: container.state is LinkState.DOWN)
        asked = asyncio.create_task(container.request("later"))
        await peer.start()
        assert await soon(asked) == "later"


async def test_attempts_are_exact(peer: RustPeer) -> None:
    policy = ReconnectPolicy(interval=0.02, connect_timeout=scaled(1.0), max_attempts=3)
    async with ComputerEngineWorker(reconnect=policy) as worker:
        container = await worker.connect(peer.address)
        events = worker.service().events(container.remote_id)
        asked = asyncio.create_task(container.request("quiet"))
        await until(lambda: peer.came)
        await peer.stop()
        failed = await event_of(events, LinkFailed)

        assert failed.attempts == 3
        with pytest.raises(ConnectionLost):
            await asked
        with pytest.raises(NotConnected):
            await container.request(1)


async def test_a_dial_that_fails_says_why() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"rust+tcp://127.0.0.1:{closed.getsockname()[1]}"
        async with ComputerEngineWorker() as worker:
            with pytest.raises(ConnectRefused, match="connection refused"):
                await worker.connect(address)
            own = keys.generate()
            with pytest.raises(ValueError, match="has no keys"):
                await worker.connect(address, security=Security.client(own, own.public))
            with pytest.raises(ValueError, match="has no JOIN"):
                await worker.accept("rust+tcp://127.0.0.1:0", tokens="word")


async def test_a_container_that_reads_nothing_holds_back_its_callers_and_nobody_else(peer: RustPeer) -> None:
    """Its connection fills up, and what waits is bounded by the window and the deadline."""
    silent = socket.create_server(("127.0.0.1", 0))  # which the system accepts for
    address = f"rust+tcp://127.0.0.1:{silent.getsockname()[1]}"
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        full, other = await worker.connect(address), await worker.connect(peer.address)
        asked = [asyncio.create_task(full.request("x" * 1_000_000, timeout=0.5)) for _ in range(100)]
        assert await other.request("quick", timeout=scaled(5.0)) == "quick"
        ended = await soon(asyncio.gather(*asked, return_exceptions=True))
        assert {type(one) for one in ended} <= {RequestTimeout, ConnectionLost}
    silent.close()


async def test_a_group_of_both(peer: RustPeer) -> None:
    async with own_server() as (_, endpoint), ComputerEngineWorker(reconnect=REDIAL) as worker:
        plain = await worker.group([endpoint, peer.address])
        await plain.wait_ready(2)
        assert await asyncio.gather(*(plain.request(n) for n in range(50))) == list(range(50))
        assert peer.came
        assert len(peer.came) < 50
        await peer.stop()
        await until(lambda: sum(member.state is LinkState.ALIVE for member in plain.members) == 1)
        assert await plain.request("on") == "on"


# The other direction


@asynccontextmanager
async def own_server(endpoint: str = "127.0.0.1:0") -> AsyncIterator[tuple[ContainerServer, str]]:
    server = ContainerServer(name="both")

    @server.on_invoke
    async def answer(data: Any) -> Any:
        if data == "boom":
            raise ValueError("it broke")
        if data == "bytes":
            return b"x"
        if data == "hang":
            await asyncio.Event().wait()
        return data

    async with server:
        yield server, await server.bind(endpoint)


@asynccontextmanager
async def client(endpoint: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = endpoint.removeprefix("rust+tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=8_000_000)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


def asking(data: Any, method: str = "Invoke", status: str = "RUNNING") -> bytes:
    return framed({"id": ID, "method": method, "status": status, "data": data})


async def test_a_container_serves_both_wires() -> None:
    async with own_server("rust+tcp://127.0.0.1:0") as (server, endpoint), client(endpoint) as (reader, writer):
        assert endpoint.startswith("rust+tcp://127.0.0.1:")
        writer.write(asking({"x": [1]}))
        assert await read(reader) == {"id": ID, "method": "Invoke", "status": "RUNNING", "data": {"x": [1]}}
        (engine,) = server.engines()
        assert engine.name.startswith("rust+tcp 127.0.0.1:")
        large = "x" * 3_000_000
        writer.write(asking(large))
        assert (await read(reader))["data"] == large

        writer.write(asking(None, "Setstate", "STOP"))
        assert (await read(reader))["status"] == "STOP"
        writer.write(asking(None))
        stopped = await read(reader)
        assert (stopped["data"]["error"]["type"], stopped["data"]["error"]["executed"]) == ("ContainerStopped", "NO")
        writer.write(asking(None, "Getstate"))
        assert (await read(reader))["status"] == "STOP"
        server.status = Status.RUNNING
        async with ComputerEngineWorker() as worker, worker.connect(await server.bind("127.0.0.1:0")) as container:
            assert await container.request("own") == "own"


async def test_errors_are_told_as_data() -> None:
    async with own_server("rust+tcp://127.0.0.1:0") as (_, endpoint), client(endpoint) as (reader, writer):
        for word, kind in (("boom", "ValueError"), ("bytes", "EncodeError")):
            writer.write(asking(word))
            told = (await read(reader))["data"]["error"]
            assert (told["type"], told["executed"], told["error_type"]) == ("RemoteError", "YES", kind)


async def test_bytes_without_sense_end_their_own_connection() -> None:
    async with (
        own_server("rust+tcp://127.0.0.1:0") as (server, endpoint),
        client(endpoint) as (reader, writer),
        client(endpoint) as (good_reader, good_writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await soon(reader.read()) == b""
        good_writer.write(asking("on"))
        assert (await read(good_reader))["data"] == "on"
        await until(lambda: len(server.engines()) == 1)
        assert server._driver is not None
        assert len(server._driver.sessions.all()) == 1  # who has not asked for anything takes nobody's place


async def test_a_client_that_goes_is_missed_and_its_work_is_an_orphan() -> None:
    server = ContainerServer(orphan_after=0.05)
    ended = asyncio.Event()

    @server.on_invoke
    async def hang(data: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with server:
        endpoint = await server.bind("rust+tcp://127.0.0.1:0")
        async with client(endpoint) as (_, writer):
            writer.write(asking(1))
            await until(lambda: server.statistics().in_flight == 1)
        await soon(ended.wait())
        assert not server.engines()


async def test_a_drain_hands_over_every_reply() -> None:
    server = ContainerServer()
    gate = asyncio.Event()

    @server.on_invoke
    async def wait(data: Any) -> Any:
        await gate.wait()
        return data

    async with server:
        endpoint = await server.bind("rust+tcp://127.0.0.1:0")
        async with client(endpoint) as (reader, writer):
            for n in range(300):
                writer.write(asking(n))
            await until(lambda: server.statistics().in_flight == 300)
            draining = asyncio.create_task(server.drain(scaled(8.0)))
            await until(lambda: server._driver is not None and server._driver.sessions.draining)
            writer.write(asking("new"))
            refused = await read(reader)
            assert refused["data"]["error"]["type"] == "ContainerDraining"
            gate.set()
            assert sorted([(await read(reader))["data"] for _ in range(300)]) == list(range(300))
            await soon(draining)
            await server.close()
            assert await soon(reader.read()) == b""


async def test_a_server_that_closes_ends_the_connections() -> None:
    async with own_server("rust+tcp://127.0.0.1:0") as (server, endpoint), client(endpoint) as (reader, writer):
        writer.write(asking("hang"))
        await until(lambda: server.statistics().in_flight == 1)
        await server.close()
        told = await read(reader)
        assert told["data"]["error"]["type"] == "RequestCancelled"
        assert await soon(reader.read()) == b""


async def test_strangers_are_not_let_in_unasked() -> None:
    own = keys.generate()
    async with ContainerServer() as server:
        with pytest.raises(InsecureBind):
            await server.bind("rust+tcp://0.0.0.0:0")
        with pytest.raises(ValueError, match="nobody dials in over the wire of the Rust crate"):
            await server.join("rust+tcp://127.0.0.1:3010", token="word")
    async with ContainerServer(security=Security.server(own, allow=[own.public])) as server:
        with pytest.raises(ValueError, match="has no keys"):
            await server.bind("rust+tcp://127.0.0.1:0")


async def test_the_command_line_speaks_it(peer: RustPeer) -> None:
    async def out_of(*words: str) -> str:
        command = [sys.executable, "-m", "mpzmq", *words]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        out, _ = await soon(process.communicate(), scaled(20.0))
        assert process.returncode == 0
        return out.decode()

    answered, pinged, found = await asyncio.gather(
        out_of("call", peer.address, "--invoke", '{"a": 1}'),
        out_of("ping", peer.address, "-c", "1"),
        out_of("doctor", peer.address),
    )
    assert answered == '{"a": 1}\n'
    assert "status=RUNNING" in pinged
    assert "the wire of the Rust crate begins with a request" in found


async def test_a_client_that_reads_nothing_is_held_back_and_gets_every_answer() -> None:
    """Its requests are malformed, so that each is answered without running, as fast as it comes."""
    async with own_server("rust+tcp://127.0.0.1:0") as (_, endpoint):
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as flooding:
            flooding.setblocking(False)
            flood = asking(None, "Stop") * 1000
            sent = 0
            with pytest.raises(TimeoutError):  # what the system holds is a few MiB
                while sent < 100_000_000:
                    async with asyncio.timeout(1.0):
                        await loop.sock_sendall(flooding, flood)
                    sent += len(flood)
            async with client(endpoint) as (reader, writer):
                writer.write(asking("other"))
                assert (await read(reader))["data"] == "other"
            whole, left = sent // len(flood) * 1000, b""
            while whole > 0:
                left += await soon(loop.sock_recv(flooding, 1_000_000))
                while len(left) >= 4 and len(left) >= 4 + (size := int.from_bytes(left[:4], "little")):
                    assert json.loads(left[4 : 4 + size])["data"]["error"]["executed"] == "NO"
                    left, whole = left[4 + size :], whole - 1


# Ends at bad moments: after each of the first passes of the event loop


@pytest.fixture(scope="module", autouse=True)
def first_loop() -> None:
    """The first event loop of uvloop opens what stays for the life of the process."""
    if find_spec("uvloop") is not None:
        loop_factory("uvloop")().close()


@pytest.fixture(params=["asyncio", "uvloop"])
def factory(request: pytest.FixtureRequest) -> Factory:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="the extra fast is not installed")
    return loop_factory(request.param)


@pytest.mark.parametrize("passes", range(12))
def test_an_engine_closes_while_it_dials(factory: Factory, passes: int) -> None:
    async def close_early() -> None:
        peer = RustPeer()
        await peer.start()
        worker = ComputerEngineWorker(reconnect=REDIAL)
        connecting = asyncio.ensure_future(worker.connect(peer.address))
        for _ in range(passes):
            await asyncio.sleep(0)
        await soon(worker.close())
        await soon(asyncio.wait((connecting,)))
        assert connecting.exception() is None or isinstance(connecting.exception(), ConnectError | NotConnected)
        await peer.stop()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(close_early())


@pytest.mark.parametrize("passes", range(8))
def test_a_container_closes_while_clients_come(factory: Factory, passes: int) -> None:
    async def close_early() -> None:
        async with own_server("rust+tcp://127.0.0.1:0") as (server, endpoint):
            port = int(endpoint.rpartition(":")[2])
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
            for _ in range(passes):
                await asyncio.sleep(0)
            await soon(server.close())
            for one in clients:
                one.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(close_early())


@pytest.mark.parametrize("down_after", [5.0, 200_000.0, 1e6])
async def test_whatever_a_silence_may_last(peer: RustPeer, down_after: float) -> None:
    policy = HeartbeatPolicy(down_after=down_after)
    async with ComputerEngineWorker(heartbeat=policy) as worker, worker.connect(peer.address) as container:
        assert await container.request(1) == 1


# A program in Rust


@pytest.fixture(scope="session")
def rust_peer(shared_folder: Path) -> Path:
    """The program of tests/support/rust_peer.rs."""
    compiler = shutil.which("rustc")
    if compiler is None:
        pytest.skip("rustc is not installed (Debian: rustc)")
    program = shared_folder / "rust_peer"
    with one_at_a_time(shared_folder, "rust_peer"):
        if not program.exists():
            source = ROOT / "tests" / "support" / "rust_peer.rs"
            command = [compiler, "--edition", "2021", "-o", str(program), str(source)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=scaled(50.0))
    return program


async def test_a_container_in_rust(rust_peer: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        rust_peer, "serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await soon(process.stdout.readline()))
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(f"rust+tcp://127.0.0.1:{port}")
        assert await asyncio.gather(*map(container.request, range(1000))) == list(range(1000))
        assert await container.request({"a": ["ü", None]}) == {"a": ["ü", None]}
        assert await container.get_state() is Status.RUNNING
        with pytest.raises(ConnectionLost) as lost:
            await container.request("exit")
        assert lost.value.executed is Executed.UNKNOWN
    process.stdin.close()
    await soon(process.wait())


async def test_a_client_in_rust(rust_peer: Path) -> None:
    async with own_server("rust+tcp://127.0.0.1:0") as (_, endpoint):
        port = endpoint.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(rust_peer, "call", port, "1000", stdout=subprocess.PIPE)
        out, _ = await soon(process.communicate())
    assert out.decode().split() == [str(n) for n in range(1000)]
