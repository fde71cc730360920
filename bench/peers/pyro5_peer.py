"""Pyro5: remote objects, one thread with a proxy of its own for each request under way."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from .base import WARM_UP, Count, Stopwatch, absent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..scenarios import Scenario

TIMEOUT = 30.0


class Pyro5Peer:
    """A daemon with threads; MessagePack."""

    name = "pyro5"
    title = "Pyro5 (threads)"
    unfair = "Another concurrency: a thread and a connection for each request under way, so not for 1,000 of them."
    loops = ("none",)

    def missing(self) -> str | None:
        """The package."""
        return absent("Pyro5")

    def supports(self, scenario: Scenario) -> bool:
        """What threads can do."""
        return scenario.containers == 1 and scenario.kind != "view" and scenario.in_flight <= 64

    def serve(self, scenario: Scenario, loop: str, ready: Callable[[Sequence[str]], None]) -> None:
        """An echo."""
        import Pyro5.api
        from Pyro5 import config

        config.THREADPOOL_SIZE = scenario.in_flight + 10

        class Echo:
            @Pyro5.api.expose  # type: ignore[untyped-decorator, unused-ignore]
            def echo(self, data: Any) -> Any:
                return data

        daemon = Pyro5.api.Daemon("127.0.0.1", 0)
        ready([str(daemon.register(Echo()))])
        daemon.requestLoop()

    def measure(
        self, scenario: Scenario, endpoints: Sequence[str], loop: str, seconds: float, stopwatch: Stopwatch
    ) -> Count:
        """Threads that call one after the other."""
        import Pyro5.api
        from Pyro5 import config

        config.SERIALIZER = "msgpack"
        config.COMMTIMEOUT = TIMEOUT
        payload = scenario.payload()
        done = [0] * scenario.in_flight
        ending = threading.Event()
        failed: list[Exception] = []

        def caller(number: int) -> None:
            try:
                with Pyro5.api.Proxy(endpoints[0]) as proxy:
                    while not ending.is_set():
                        proxy.echo(payload)
                        done[number] += 1
            except Exception as error:
                failed.append(error)

        callers = [threading.Thread(target=caller, args=(number,), daemon=True) for number in range(len(done))]
        for thread in callers:
            thread.start()
        time.sleep(WARM_UP)
        stopwatch.start(sum(done))
        time.sleep(seconds)
        count = stopwatch.stop(sum(done))
        ending.set()
        for thread in callers:
            thread.join(TIMEOUT)
        if failed:
            raise failed[0]
        return count


PEER = Pyro5Peer()
