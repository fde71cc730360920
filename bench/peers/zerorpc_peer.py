"""zerorpc: ZeroMQ and MessagePack on gevent, one greenlet for each request under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import WARM_UP, Count, Stopwatch, absent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..scenarios import Scenario

TIMEOUT = 30


class Zerorpc:
    """``zerorpc.Server`` with a method, one ``zerorpc.Client``."""

    name = "zerorpc"
    title = "zerorpc (gevent)"
    unfair = "Another concurrency: greenlets and not coroutines. Every call is a channel with its own heartbeat."
    loops = ("none",)

    def missing(self) -> str | None:
        """The package, or gevent."""
        return absent("zerorpc", "gevent")

    def supports(self, scenario: Scenario) -> bool:
        """Small rows: a larger message holds its heartbeats up, and it gives the connection up."""
        return scenario.containers == 1 and scenario.kind != "view" and scenario.size <= 64 * 1024

    def serve(self, scenario: Scenario, loop: str, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo."""
        import zerorpc

        class Echo:
            def echo(self, data: Any) -> Any:
                return data

        # Its pool size bounds the calls at work.
        server = zerorpc.Server(Echo(), pool_size=scenario.in_flight + 10, heartbeat=TIMEOUT)
        server.bind("tcp://127.0.0.1:0")
        endpoint = server._events._socket.getsockopt(32)  # zmq.LAST_ENDPOINT
        ready([endpoint.decode().rstrip("\0")])
        server.run()

    def measure(
        self, scenario: Scenario, endpoints: Sequence[str], loop: str, seconds: float, stopwatch: Stopwatch
    ) -> Count:
        """Greenlets that call one after the other."""
        import gevent
        import zerorpc

        payload = scenario.payload()
        client = zerorpc.Client(endpoints[0], timeout=TIMEOUT, heartbeat=TIMEOUT)
        if client.echo(payload) != payload:
            raise RuntimeError("no echo")
        done = 0
        ending = False

        def caller() -> None:
            nonlocal done
            while not ending:
                client.echo(payload)
                done += 1

        callers = [gevent.spawn(caller) for _ in range(scenario.in_flight)]
        gevent.sleep(WARM_UP)
        stopwatch.start(done)
        gevent.sleep(seconds)
        count = stopwatch.stop(done)
        ending = True
        gevent.joinall(callers, timeout=TIMEOUT)
        client.close()
        return count


PEER = Zerorpc()
