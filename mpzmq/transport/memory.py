"""The face of a transport over a simulated network, on a virtual clock.

Whole workers and containers run on it, in one process and in no time: the event loop never waits, it sets its clock
forward. The network behaves as libzmq over TCP does: dealers redial by themselves after the interval and a jitter, a
connection keeps its messages in order and loses what is under way when it breaks, a silent partition is noticed
after ``down_after``. Chance comes from one seed.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import TYPE_CHECKING, Any

from ..failure import Failure, FailureKind
from .base import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Dealer, DealerHandler, Frames, Router, RouterHandler, SocketSettings

__all__ = ["MemoryNetwork", "VirtualClockLoop"]


class _Impatient(selectors.DefaultSelector):
    """Never waits: tells the loop how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen: every task waits for another")
        if not ready and timeout:
            self.skipped += timeout
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it.

    A run in which every task waits and no timer is set ends with a ``RuntimeError`` instead of hanging.
    """

    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        """Virtual seconds."""
        return self._impatient.skipped


class MemoryNetwork:
    """Hosts, and the connections between them.

    Args:
        seed: where all chance comes from.
        latency: seconds that a message takes from one side to the other.
        capacity: messages that a connection takes before its receiver has got them; beyond that a send is refused.
    """

    def __init__(self, seed: int = 0, *, latency: float = 0.001, capacity: int = 1000) -> None:
        self.chance = random.Random(seed)
        self.latency = latency
        self.capacity = capacity
        self._bound: dict[str, MemoryRouter] = {}
        self._connections: list[_Connection] = []
        self._partitioned: set[str] = set()
        self._ports = 49152
        self._routes = 0

    # The Transport's face

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""
        return MemoryDealer(self, endpoint, settings, handler)

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet."""
        return MemoryRouter(self, settings, handler)

    async def release(self) -> None:
        """Nothing is shared."""

    # Faults

    def cut(self, endpoint: str) -> None:
        """Breaks all connections to an endpoint: both sides see it at once, what is under way is lost."""
        for connection in self._to(endpoint):
            connection.break_(Failure(FailureKind.LOST, f"the connection to {endpoint} was cut", was_up=True))

    def partition(self, endpoint: str) -> None:
        """Drops in silence whatever is sent to or from an endpoint, and every dial."""
        self._partitioned.add(endpoint)
        for connection in self._to(endpoint):
            connection.fall_silent()

    def heal(self, endpoint: str) -> None:
        """Ends a partition. Connections that were not given up meanwhile go on, as TCP sends again what was lost."""
        self._partitioned.discard(endpoint)
        for connection in self._to(endpoint):
            connection.speak_again()

    # For the sockets

    def bind(self, endpoint: str, router: MemoryRouter) -> str:
        """Gives an endpoint to a router; port 0 becomes a free one."""
        if endpoint.endswith(":0"):
            self._ports += 1
            endpoint = f"{endpoint[:-2]}:{self._ports}"
        if endpoint in self._bound:
            raise OSError(98, f"cannot bind {endpoint}: Address already in use")
        self._bound[endpoint] = router
        return endpoint

    def unbind(self, endpoint: str) -> None:
        """Takes an endpoint back."""
        self._bound.pop(endpoint, None)

    def answer(self, dealer: MemoryDealer) -> _Connection | Failure:
        """What a dial that has taken its time comes to."""
        endpoint = dealer.endpoint
        if endpoint in self._partitioned:
            return Failure(FailureKind.TIMEOUT, f"no answer from {endpoint}")
        router = self._bound.get(endpoint)
        if router is None:
            return Failure(FailureKind.REFUSED, f"nothing listens at {endpoint}: connection refused")
        self._routes += 1
        connection = _Connection(self, dealer, router, b"\0" + self._routes.to_bytes(4, "big"))
        self._connections.append(connection)
        return connection

    def forget(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._connections.remove(connection)

    def dial_time(self, dealer: MemoryDealer, timeout: float) -> float:
        """How long a dial takes before it is answered."""
        return timeout if dealer.endpoint in self._partitioned else self.latency

    def _to(self, endpoint: str) -> list[_Connection]:
        return [connection for connection in self._connections if connection.dealer.endpoint == endpoint]


class _Connection:
    """One connection: two lanes, each in order."""

    def __init__(self, network: MemoryNetwork, dealer: MemoryDealer, router: MemoryRouter, route: bytes) -> None:
        self.dealer = dealer
        self.router = router
        self.route = route
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._silent = False
        self._held: list[tuple[Callable[..., None], Any]] = []
        self._under_way = {True: 0, False: 0}
        self._giving_up: asyncio.TimerHandle | None = None
        router.routes[route] = self

    def carry(self, frames: Frames, *, inward: bool) -> bool:
        """Takes a message; False: the lane is full."""
        if self._under_way[inward] >= self._network.capacity:
            return False
        self._under_way[inward] += 1
        # As a real transport does, the receiver gets memory of its own, and cannot write to it.
        copies: Frames = [memoryview(bytes(frame)) if isinstance(frame, memoryview) else frame for frame in frames]
        self._loop.call_later(self._network.latency, self._arrive, copies, inward)
        return True

    def break_(self, failure: Failure | None) -> None:
        """Ends the connection; the dealer hears of it if there is a failure."""
        if not self._open:
            return
        self._open = False
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._network.forget(self)
        self.router.routes.pop(self.route, None)
        if failure is not None:
            self.dealer.lost(failure)

    def fall_silent(self) -> None:
        """Nothing passes; after ``down_after`` the dealer's side gives the connection up."""
        self._silent = True
        if self._giving_up is None:
            failure = Failure(FailureKind.LOST, f"nothing heard from {self.dealer.endpoint}", was_up=True)
            self._giving_up = self._loop.call_later(self.dealer.settings.down_after, self.break_, failure)

    def speak_again(self) -> None:
        """What was held back arrives."""
        self._silent = False
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        held, self._held = self._held, []
        for frames, inward in held:
            self._arrive(frames, inward)

    def _arrive(self, frames: Any, inward: bool) -> None:
        if not self._open:
            return
        if self._silent:
            self._held.append((frames, inward))
            return
        self._under_way[inward] -= 1
        if inward:
            self.router.arrived([self.route, *frames])
        else:
            self.dealer.arrived(frames)
        if not inward:
            return
        self.dealer.has_room()


class MemoryDealer:
    """The dealer's face, over the simulated network."""

    def __init__(self, network: MemoryNetwork, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self._network = network
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._refused = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._dial()

    @property
    def is_accepted(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now."""
        sent = self._connection is not None and self._connection.carry(frames, inward=True)
        self._refused = not sent
        return sent

    def drain(self) -> None:
        """Everything that has arrived was given to the handler when it did."""

    def redirect(self, endpoint: str) -> None:
        """Dials another endpoint, at once and from now on."""
        self._drop()
        self.endpoint = endpoint
        self._dial()

    def redial(self) -> None:
        """Gives the connection up and dials anew after the interval."""
        self._drop()
        if not self._closed:
            self._dial_later()

    def close(self, linger: float) -> None:
        """Closes; what was sent still arrives if ``linger`` allows."""
        self._closed = True
        connection, self._connection = self._connection, None
        if self._timer is not None:
            self._timer.cancel()
        if connection is not None:
            self._loop.call_later(2 * self._network.latency if linger else 0, connection.break_, None)

    # From the network

    def lost(self, failure: Failure) -> None:
        """The connection has ended."""
        self._connection = None
        if not self._closed:
            self._dial_later()
            self._loop.call_soon(self._tell, failure)

    def arrived(self, frames: Frames) -> None:
        """A message has come."""
        if not self._closed:
            self._handler.on_messages([frames])

    def has_room(self) -> None:
        """A message that was under way has arrived."""
        if self._refused and not self._closed:
            self._refused = False
            self._handler.on_writable()

    def _dial_later(self) -> None:
        wait = self.settings.redial_interval * (1 + self._network.chance.random())
        self._timer = self._loop.call_later(wait, self._dial)

    def _dial(self) -> None:
        time = self._network.dial_time(self, self.settings.connect_timeout)
        self._timer = self._loop.call_later(time, self._answered)

    def _answered(self) -> None:
        answer = self._network.answer(self)
        if isinstance(answer, Failure):
            self._dial_later()
            self._tell(answer)
        else:
            self._connection = answer
            self._tell(None)

    def _tell(self, change: Failure | None) -> None:
        if not self._closed:
            self._handler.on_connection([change])

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.break_(None)


class MemoryRouter:
    """The router's face, over the simulated network."""

    def __init__(self, network: MemoryNetwork, settings: SocketSettings, handler: RouterHandler) -> None:
        self.routes: dict[bytes, _Connection] = {}
        self._network = network
        self._handler = handler
        self._endpoints: list[str] = []
        self._closed = False

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its port."""
        bound = self._network.bind(endpoint, self)
        self._endpoints.append(bound)
        return bound

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        connection = self.routes.get(route)
        if connection is None:
            return Delivery.GONE
        return Delivery.SENT if connection.carry(frames, inward=False) else Delivery.FULL

    def arrived(self, frames: Frames) -> None:
        """A message has come."""
        if not self._closed:
            self._handler.on_messages([frames])

    async def close(self, linger: float) -> None:
        """Closes; what was sent still arrives if ``linger`` allows."""
        for endpoint in self._endpoints:
            self._network.unbind(endpoint)
        self._closed = True
        loop = asyncio.get_running_loop()
        for connection in list(self.routes.values()):
            failure = Failure(FailureKind.LOST, "the connection was closed by the other side", was_up=True)
            loop.call_later(2 * self._network.latency if linger else 0, connection.break_, failure)
