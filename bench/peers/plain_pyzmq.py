"""Plain pyzmq in a tight loop: what the wire can do, without an event loop, ids, deadlines or errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .base import WARM_UP, Count, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zmq

    from ..scenarios import Scenario

LARGE = 64 * 1024
"""From here on ``copy=False`` is faster, and a good user of pyzmq would pass it."""

SILENCE = 10_000
"""Milliseconds without any message after which the run has failed."""


def open_sockets(context: zmq.Context[zmq.Socket[bytes]], kind: int, count: int) -> list[zmq.Socket[bytes]]:
    """Sockets that never drop and never linger."""
    import zmq

    context.set(zmq.MAX_SOCKETS, count + 16)
    sockets = []
    for _ in range(count):
        socket = context.socket(kind)
        for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
            socket.set(option, 0)
        sockets.append(socket)
    return sockets


class PlainPyzmq:
    """Blocking DEALERs and ROUTERs; a ``zmq.Poller`` where there are many."""

    name = "plain-pyzmq"
    title = "plain pyzmq, blocking"
    unfair = (
        "No event loop, no concurrency of callers, no encoding, no ids: one thread in a tight loop. For a memoryview"
        " nothing is copied either way; for bytes, bytes are received and sent without a copy."
    )
    loops = ("none",)

    def missing(self) -> str | None:
        """pyzmq is what mpzmq stands on."""
        return None

    def supports(self, scenario: Scenario) -> bool:
        """All but dicts, which it would have to encode, and coroutines, which it has not."""
        return scenario.kind != "dict" and scenario.handler == "def"

    def serve(self, scenario: Scenario, loop: str, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo ROUTER for each container."""
        import zmq

        context = zmq.Context()
        sockets = open_sockets(context, zmq.ROUTER, scenario.containers)
        ready([f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}" for socket in sockets])
        copied = scenario.kind != "view"
        copy = scenario.size < LARGE
        if len(sockets) == 1:
            while True:
                route = sockets[0].recv()
                sockets[0].send(route, zmq.SNDMORE)
                sockets[0].send(sockets[0].recv(copy=copied), copy=copy)  # type: ignore[arg-type]
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        while True:
            for socket, _ in poller.poll():
                socket.send_multipart(socket.recv_multipart())

    def measure(
        self, scenario: Scenario, endpoints: Sequence[str], loop: str, seconds: float, stopwatch: Stopwatch
    ) -> Count:
        """Sends one more for each that comes back."""
        import zmq

        with zmq.Context() as context:
            sockets = open_sockets(context, zmq.DEALER, len(endpoints))
            try:
                for socket, endpoint in zip(sockets, endpoints, strict=True):
                    socket.set(zmq.RCVTIMEO, SILENCE)
                    socket.connect(endpoint)
                return self._run(sockets, scenario, seconds, stopwatch)
            finally:
                for socket in sockets:
                    socket.close(0)

    def _run(self, sockets: list[zmq.Socket[bytes]], scenario: Scenario, seconds: float, stopwatch: Stopwatch) -> Count:
        import zmq

        payload = scenario.payload()
        copied = scenario.kind != "view"
        copy = scenario.size < LARGE
        for number in range(scenario.in_flight):
            sockets[number % len(sockets)].send(payload, copy=copy)
        done = 0
        count: Count | None = None
        ends = [time.perf_counter() + WARM_UP, time.perf_counter() + WARM_UP + seconds]
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        while count is None:
            if len(sockets) == 1:
                sockets[0].recv(copy=copied)
                sockets[0].send(payload, copy=copy)
                done += 1
            else:
                ready = poller.poll(SILENCE)
                if not ready:
                    raise TimeoutError("no reply for 10 s")
                for socket, _ in ready:
                    socket.recv()
                    socket.send(payload)
                    done += 1
            if time.perf_counter() >= ends[0]:
                del ends[0]
                if ends:
                    stopwatch.start(done)
                else:
                    count = stopwatch.stop(done)
        for number in range(scenario.in_flight):  # what is still under way
            sockets[number % len(sockets)].recv(copy=False)
        return count


PEER = PlainPyzmq()
