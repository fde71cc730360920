"""One connection of the simulated network: two directions, each in order, between two ends that may close apart."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ...failure import Failure, FailureKind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from ...transport.interface import Frames

__all__ = ["Conditions", "Connection", "DirectionKey", "OneWay", "SimProcess"]

_ROUNDING = 1e-6
"""Seconds by which a timer may fire before its time."""

DirectionKey = tuple[str, bool]
"""An endpoint, and whether towards it: faults are set for one direction of all connections to one endpoint."""


class SimProcess:
    """One process: what runs in it stops together."""

    def __init__(self) -> None:
        self.held = False
        """Whether its event loop is blocked: nothing reaches it, nothing leaves it. Its transport lives on."""
        self.dead = False
        """Whether it was killed."""
        self.on_release: list[Callable[[], None]] = []
        """What its sockets missed meanwhile."""


@dataclass(slots=True)
class Conditions:
    """What the network is like now, for every connection.

    Attributes:
        latency: seconds that a message takes from one side to the other.
        jitter: up to so many seconds more, by chance; the order within a direction is kept.
        capacity: messages that a direction takes before its receiver has got them.
        silent: directions in which nothing passes, and nobody is told.
        choked: directions that take no message for the time being.
        doomed: directions that lose everything after so many more messages, and then break.
    """

    chance: random.Random
    latency: float
    capacity: int
    jitter: float = 0.0
    silent: set[DirectionKey] = field(default_factory=set)
    choked: set[DirectionKey] = field(default_factory=set)
    doomed: dict[DirectionKey, int] = field(default_factory=dict)

    def delay(self) -> float:
        """How long the next message is under way."""
        return self.latency + self.jitter * self.chance.random() if self.jitter else self.latency


class End(Protocol):
    """The socket at one end of a connection."""

    host: SimProcess

    def on_arrived(self, connection: Connection, messages: list[Frames]) -> None:
        """Messages have come."""

    def on_room(self) -> None:
        """Messages that were under way have arrived."""

    def on_ended(self, connection: Connection, failure: Failure) -> None:
        """The connection has ended, and not by this end's own doing."""


class _Marker(enum.Enum):
    """What stands in a direction behind the last message that arrives."""

    FIN = "the sender has closed"
    BREAK = "the connection breaks here"


class OneWay:
    """One direction of a connection."""

    def __init__(self, connection: Connection, key: DirectionKey, sender: End, receiver: End) -> None:
        self.receiver = receiver
        self.is_open = True
        """Whether the receiver's end is."""
        self._connection = connection
        self._conditions = connection.conditions
        self._key = key
        self._sender = sender
        self._queue: deque[tuple[float, Frames | _Marker]] = deque()
        self._latest = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether nothing passes."""
        return self._key in self._conditions.silent or self._sender.host.held or self.receiver.host.held

    def carry(self, frames: Frames) -> bool:
        """Takes a message; False: not now."""
        conditions = self._conditions
        if self._key in conditions.choked or len(self._queue) >= conditions.capacity:
            return False
        left = conditions.doomed.get(self._key)
        if left is None:
            # As a real transport does, the receiver gets memory of its own, and cannot write to it.
            copies: Frames = [memoryview(bytes(frame)) if isinstance(frame, memoryview) else frame for frame in frames]
            self._put(copies)
        elif left:
            conditions.doomed[self._key] = left - 1
            self._put(frames)
        else:
            del conditions.doomed[self._key]
            self._put(_Marker.BREAK)
        return True

    def finish(self) -> None:
        """The sender has closed: what was sent before still arrives."""
        if self.is_open:
            self._put(_Marker.FIN)

    def hold_up(self, seconds: float) -> None:
        """Everything that is under way takes so much longer."""
        self._queue = deque((when + seconds, item) for when, item in self._queue)
        self._latest = max(self._latest, self._loop.time()) + seconds
        self.resume()

    def close(self) -> None:
        """The receiver's end has closed: what is under way is lost."""
        self.is_open = False
        self.clear()

    def clear(self) -> None:
        """Loses what is under way."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Delivers when the first message is due, if anything passes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue and not self.is_stopped:
            self._timer = self._loop.call_at(max(self._queue[0][0], self._loop.time()), self._fire)

    def deliver(self) -> None:
        """Gives the receiver what has arrived by now, as one burst."""
        if self.is_stopped:
            return
        queue = self._queue
        now = self._loop.time() + _ROUNDING
        burst: list[Frames] = []
        marker: _Marker | None = None
        while queue and queue[0][0] <= now and marker is None:
            _, item = queue.popleft()
            if isinstance(item, _Marker):
                marker = item
            else:
                burst.append(item)
        if burst:
            self.receiver.on_arrived(self._connection, burst)
            self._sender.on_room()
        if marker is _Marker.BREAK:
            self._connection.break_(Failure(FailureKind.LOST, "the connection broke", was_up=True))
        elif marker is _Marker.FIN:
            failure = Failure(FailureKind.LOST, "the connection was closed by the other side", was_up=True)
            self._connection.leave(self.receiver, failure)

    def _put(self, item: Frames | _Marker) -> None:
        if self.is_open:
            self._latest = max(self._latest, self._loop.time() + self._conditions.delay())
            self._queue.append((self._latest, item))
            if self._timer is None:
                self.resume()

    def _fire(self) -> None:
        self._timer = None
        self.deliver()
        if self._timer is None:
            self.resume()


class Connection:
    """Two directions between a dealer and a router.

    Either end may close, or give the other one up, before the other knows.

    Args:
        patience: seconds of silence after which the dealer's side, and the router's, give the other one up.
        forget: called when both ends have closed.
    """

    def __init__(
        self,
        conditions: Conditions,
        endpoint: str,
        dealer: End,
        router: End,
        patience: tuple[float, float],
        forget: Callable[[Connection], None],
    ) -> None:
        self.conditions = conditions
        self.endpoint = endpoint
        self.route = b""
        self.inward = OneWay(self, (endpoint, True), dealer, router)
        self.outward = OneWay(self, (endpoint, False), router, dealer)
        self._patience = patience
        self._forget = forget
        self._giving_up: list[asyncio.TimerHandle] = []
        self._vanished = False

    def break_(self, failure: Failure) -> None:
        """Both sides lose the connection at once, with all that is under way."""
        open_ends = [one_way.receiver for one_way in (self.outward, self.inward) if one_way.is_open]
        self.outward.close()
        self.inward.close()
        self._end()
        for end in open_ends:
            end.on_ended(self, failure)

    def leave(self, end: End, failure: Failure | None = None) -> None:
        """One end closes; the other hears of it behind what was sent before.

        Args:
            end: which.
            failure: why it has to, for its socket to hear; None: it wants to.
        """
        own, other = (self.outward, self.inward) if end is self.outward.receiver else (self.inward, self.outward)
        if not own.is_open:
            return
        own.close()
        if other.is_open:
            other.finish()
        else:
            self._end()
        if failure is not None:
            end.on_ended(self, failure)

    def vanish(self, end: End) -> None:
        """One end is gone for ever, and nothing tells: the other one gives it up in its own time."""
        own, other = (self.outward, self.inward) if end is self.outward.receiver else (self.inward, self.outward)
        own.close()
        other.clear()
        self._stop_giving_up()
        self._vanished = True
        if not other.is_open:
            self._end()
            return
        patience = self._patience[other.receiver is self.inward.receiver]
        failure = Failure(FailureKind.LOST, f"nothing heard from the other side of {self.endpoint}", was_up=True)
        self._giving_up = [asyncio.get_running_loop().call_later(patience, self.leave, other.receiver, failure)]

    def silence_changed(self) -> None:
        """A direction has fallen silent, or speaks again.

        The heartbeat of either side needs both directions: it asks in one and is answered in the other.
        """
        if self._vanished:
            return
        silent = any((self.endpoint, inward) in self.conditions.silent for inward in (True, False))
        if silent and not self._giving_up:
            failure = Failure(FailureKind.LOST, f"nothing heard from {self.endpoint}", was_up=True)
            loop = asyncio.get_running_loop()
            self._giving_up = [
                loop.call_later(patience, self.leave, one_way.receiver, failure)
                for patience, one_way in zip(self._patience, (self.outward, self.inward), strict=True)
            ]
        elif not silent:
            self._stop_giving_up()
        self.resume()

    def resume(self) -> None:
        """What was held back may pass."""
        self.inward.resume()
        self.outward.resume()

    def _stop_giving_up(self) -> None:
        for timer in self._giving_up:
            timer.cancel()
        self._giving_up = []

    def _end(self) -> None:
        self._stop_giving_up()
        self._forget(self)
