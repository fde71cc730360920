"""One large payload one way, with mpzmq and with plain pyzmq: what the two processes of a transfer do.

The container's process holds what an engine asks for; the engine's process times the move, from the request to its
answer, and with mpzmq meanwhile asks for small things on the same link.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .peers.base import loop_factory, peak_memory
from .peers.plain_pyzmq import open_sockets
from .processes import serve_until_ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import mpzmq

__all__ = ["DIRECTIONS", "MESSAGE_BYTES", "MIB", "MOVERS", "PROBE_INTERVAL", "Moved", "move_here", "serve_moves_here"]

UP, DOWN = DIRECTIONS = ("up", "down")
"""From the engine to the container, and from the container to the engine."""

MIB = 1024 * 1024

MESSAGE_BYTES = 2048 * MIB
"""``Limits.message_bytes`` of both sides."""

TIMEOUT = 100.0
"""Seconds after which a transfer has failed."""

PROBE_INTERVAL = 0.005
"""Seconds between two small requests of a kind."""

_BLOCK = bytes(range(256)) * (MIB // 256)


@dataclass(frozen=True, slots=True)
class Moved:
    """What one transfer saw.

    Attributes:
        seconds: from the call to its result.
        engine_rss, container_rss: the most memory that each process has held, in bytes.
        echoes, pings: milliseconds of each small request that was due meanwhile, from its scheduled time.
        events: what the link told meanwhile, as the names of the events.
    """

    seconds: float
    engine_rss: int
    container_rss: int
    echoes: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


def payload(mib: int) -> memoryview:
    """So many MiB, every page of them written: untouched memory would cost nothing to send."""
    view = memoryview(bytearray(mib * MIB))
    for start in range(0, len(view), MIB):
        view[start : start + MIB] = _BLOCK
    return view


def check(content: Any, mib: int) -> None:
    """Raises RuntimeError if it is not the payload, as far as its length and its ends tell."""
    if len(content) != mib * MIB or content[:256] != _BLOCK[:256] or content[-256:] != _BLOCK[-256:]:
        raise RuntimeError(f"{len(content):,} bytes arrived, which are not the {mib * MIB:,} that were sent")


class Mover(Protocol):
    """One way to move a payload."""

    def serve(self, direction: str, loop: str, mib: int, ready: Callable[[Sequence[str]], None]) -> None:
        """The container's side: takes or gives payloads until the process is ended."""

    def move(self, direction: str, loop: str, mib: int, server_pid: int, endpoint: str) -> Moved:
        """The engine's side of one transfer."""


class Probe:
    """Starts a small call every :data:`PROBE_INTERVAL`, whatever became of those before it, until it is ended.

    A latency counts from the time at which the call was due: an event loop that is held up hides nothing.
    """

    def __init__(self, call: Callable[[], Awaitable[Any]]) -> None:
        self._call = call
        self._ended: float | None = None
        self._latencies: list[float] = []
        self._failure: Exception | None = None
        self._task = asyncio.create_task(self._run())

    async def end(self, now: float) -> list[float]:
        """Waits for the calls that were due before ``now``; returns milliseconds, or raises what one of them raised."""
        self._ended = now
        await asyncio.wait_for(self._task, TIMEOUT)
        if self._failure is not None:
            raise self._failure
        return self._latencies

    async def _run(self) -> None:
        due = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            while True:
                until = time.perf_counter() if self._ended is None else self._ended
                while due <= until:
                    group.create_task(self._one(due))
                    due += PROBE_INTERVAL
                if self._ended is not None:
                    return
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def _one(self, due: float) -> None:
        try:
            await self._call()
        except Exception as error:
            self._failure = error
        else:
            self._latencies.append((time.perf_counter() - due) * 1000)


class Mpzmq:
    """A memoryview as the argument of a function, or as its result."""

    def serve(self, direction: str, loop: str, mib: int, ready: Callable[[Sequence[str]], None]) -> None:
        """The functions ``take`` and ``give``, and an echo."""
        import mpzmq

        content = payload(mib) if direction == DOWN else None

        def take(data: memoryview) -> int:
            check(data, mib)
            return len(data)

        def give() -> memoryview | None:
            return content

        async def serve() -> None:
            async with mpzmq.ContainerServer(limits=mpzmq.Limits(message_bytes=MESSAGE_BYTES)) as server:
                server.on_invoke(lambda data: data)
                server.function(take)
                server.function(give)
                ready([await server.bind("127.0.0.1:0")])
                await server.serve_forever()

        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(serve())

    def move(self, direction: str, loop: str, mib: int, server_pid: int, endpoint: str) -> Moved:
        """One call on a link that is up, and small requests beside it."""
        import mpzmq

        async def measure() -> Moved:
            content = payload(mib) if direction == UP else None
            async with mpzmq.ComputerEngineWorker(limits=mpzmq.Limits(message_bytes=MESSAGE_BYTES)) as worker:
                container = await worker.connect(uuid.uuid4(), endpoint, timeout=30)
                events = worker.service().events()
                moved = await self._measure(container, content, mib, server_pid)
            told = [type(event).__name__ async for event in events if not isinstance(event, mpzmq.LinkClosed)]
            return dataclasses.replace(moved, events=told)

        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            return runner.run(measure())

    async def _measure(
        self,
        container: mpzmq.ComputerEngineWriter,
        content: memoryview | None,
        mib: int,
        server_pid: int,
    ) -> Moved:
        await container.request(bytes(64))
        echo = Probe(lambda: container.request(bytes(64)))
        ping = Probe(container.get_state)
        await asyncio.sleep(0)
        began = time.perf_counter()
        given = None  # held until the small requests have ended: the system takes 75 ms to take 1 GiB back
        if content is None:
            given = await container.call("give", timeout=TIMEOUT)
            check(given, mib)
        elif (taken := await container.call("take", content, timeout=TIMEOUT)) != len(content):
            raise RuntimeError(f"the container has taken {taken:,} of {len(content):,} bytes")
        ended = time.perf_counter()
        echoes, pings = await echo.end(ended), await ping.end(ended)
        del given
        return Moved(ended - began, peak_memory("self"), peak_memory(server_pid), echoes, pings)


class PlainPyzmq:
    """One frame with ``copy=False`` on both sides, and a short one the other way. Blocking, so without a loop."""

    def serve(self, direction: str, loop: str, mib: int, ready: Callable[[Sequence[str]], None]) -> None:
        """A ROUTER that answers each payload with its length, and anything shorter with the payload."""
        import zmq

        content = payload(mib) if direction == DOWN else None
        (socket,) = open_sockets(zmq.Context(), zmq.ROUTER, 1)
        ready([f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"])
        while True:
            route = socket.recv()
            frame = socket.recv(copy=False)
            if len(frame) < mib * MIB:
                socket.send(route, zmq.SNDMORE)
                # The first one asks whether the connection is up.
                socket.send(content if content is not None and len(frame) else b"", copy=False)
                continue
            check(frame.buffer, mib)
            socket.send_multipart([route, b"%d" % len(frame)])

    def move(self, direction: str, loop: str, mib: int, server_pid: int, endpoint: str) -> Moved:
        """A DEALER that is connected."""
        import zmq

        content = payload(mib) if direction == UP else None
        with zmq.Context() as context:
            (socket,) = open_sockets(context, zmq.DEALER, 1)
            try:
                socket.set(zmq.RCVTIMEO, int(TIMEOUT * 1000))
                socket.connect(endpoint)
                socket.send(b"")
                socket.recv()
                began = time.perf_counter()
                if content is None:
                    socket.send(b"give")
                    check(socket.recv(copy=False).buffer, mib)
                else:
                    socket.send(content, copy=False)
                    if int(socket.recv()) != len(content):
                        raise RuntimeError("the container has not taken all of it")
                ended = time.perf_counter()
            finally:
                socket.close(0)
        return Moved(ended - began, peak_memory("self"), peak_memory(server_pid))


MOVERS: dict[str, Mover] = {"mpzmq": Mpzmq(), "plain-pyzmq": PlainPyzmq()}
"""By the names of the peers."""


def serve_moves_here(mover: str, direction: str, loop: str, mib: int) -> None:
    """The container's process."""
    serve_until_ended(lambda ready: MOVERS[mover].serve(direction, loop, mib, ready))


def move_here(mover: str, direction: str, loop: str, mib: int, server_pid: int, endpoint: str) -> Moved:
    """The engine's process."""
    return MOVERS[mover].move(direction, loop, mib, server_pid, endpoint)
