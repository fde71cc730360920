"""What the admin endpoints of a server tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..admin.status import about, counters
from ..models import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from ..events import EngineInfo
    from ..runtime.lifecycle import Lifecycle
    from ..statistics import ServerStatistics
    from .joining import JoinedConnection
    from .session_driver import SessionDriver

__all__ = ["ServerStatus"]


class _Server(Protocol):
    name: str

    @property
    def status(self) -> Status: ...
    @property
    def instance(self) -> UUID | None: ...
    def engines(self) -> tuple[EngineInfo, ...]: ...
    def statistics(self) -> ServerStatistics: ...


class ServerStatus:
    """How a server is.

    Args:
        server: which.
        lifecycle: its life.
        driver: what serves, once it does.
    """

    def __init__(self, server: _Server, lifecycle: Lifecycle, driver: Callable[[], SessionDriver | None]) -> None:
        self.target = server
        self.name = f"container {server.name!r}"
        self._lifecycle = lifecycle
        self._driver = driver

    def not_ready(self) -> list[str]:
        """Why it takes no requests."""
        driver = self._driver()
        if self._lifecycle.is_ending:
            return ["closing: it has ended what ran, and told its engines"]
        if driver is None:
            return ["starting: it serves on no endpoint yet"]
        draining = driver.sessions.draining is not None
        reasons = ["draining: it ends what runs, and takes nothing new"] if draining else []
        if not driver.router.is_reachable:
            reasons += [
                f"not joined: {join.address.text}: {join.failure or 'dialling'}" for join in driver.router.joins
            ]
        if self.target.status is Status.STOP:
            reasons.append("stopped: its state is STOP, and it refuses functions and plain requests")
        return reasons

    def status(self) -> dict[str, Any]:
        """All that is told."""
        server, driver = self.target, self._driver()
        statistics = server.statistics()
        return {
            **about("server", server.name, self._lifecycle.loop_bound.age(), self.not_ready()),
            "instance": None if server.instance is None else str(server.instance),
            "status": str(server.status),
            "draining": driver is not None and driver.sessions.draining is not None,
            "loop_lag": 0.0 if driver is None else round(driver.ticks.worst_lag(), 3),
            "statistics": counters(statistics),
            "functions": ({"name": name, **counters(function)} for name, function in statistics.functions.items()),
            "engines": _engines(server.engines()),
            "joins": [] if driver is None else [_join(join) for join in driver.router.joins],
        }


def _join(join: JoinedConnection) -> dict[str, Any]:
    return {"address": join.address.text, "joined": join.is_joined, "failure": join.failure or None}


def _engines(engines: tuple[EngineInfo, ...]) -> Iterator[dict[str, Any]]:
    for engine in engines:
        yield {"name": engine.name, "user": engine.user, "session": str(engine.session), "reason": engine.reason}
