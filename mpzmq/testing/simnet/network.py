"""A transport over a simulated network, on a virtual clock.

Whole workers and containers run on it, in one process and in no time: the event loop never waits, it sets its clock
forward. The network behaves as libzmq over TCP does: dealers redial by themselves after the interval and a jitter, a
connection keeps its messages in order and loses what is under way when it breaks, a silent partition is noticed
after ``down_after``. Chance comes from one seed.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from ...failure import Failure, FailureKind
from ...transport.interface import Delivery
from .clock import VirtualClockLoop
from .connection import Conditions, Connection, SimProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...transport.interface import Dealer, DealerHandler, Frames, Router, RouterHandler, SocketSettings

__all__ = ["MemoryHost", "MemoryNetwork", "VirtualClockLoop"]


class Ends:
    """How a router hears that connections ended, as libzmq's do: late, not of those alone, and before it is so.

    Args:
        chance: one of its own, so that all else is what it would be without.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def told_after(self) -> float:
        """Seconds until an end is told."""
        return 0.005 * self._chance.random()

    def open_for(self) -> float:
        """Seconds for which messages into a connection that has ended are still taken, and lost."""
        return 0.0 if self._chance.random() < 0.85 else 0.02 * self._chance.random()

    def mistaken_for(self, routes: Iterable[bytes]) -> list[bytes]:
        """Connections that live, and of which the same is told, since they were given the same descriptor."""
        return [route for route in routes if self._chance.random() < 0.1]


class MemoryNetwork:
    """Hosts, and the connections between them.

    It is a transport itself, that of a host which nothing ever happens to; :meth:`host` makes others.

    Args:
        seed: where all chance comes from.
        latency: seconds that a message takes from one side to the other.
        capacity: messages that a connection takes before its receiver has got them; beyond that a send is refused.
        jitter: up to so many seconds more for each message, by chance; the order within a connection is kept.
    """

    def __init__(self, seed: int = 0, *, latency: float = 0.001, capacity: int = 1000, jitter: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.ends = Ends(random.Random(f"{seed} ends"))
        self.conditions = Conditions(self.chance, latency, capacity, jitter)
        self._bound: dict[str, MemoryRouter] = {}
        self._connections: list[Connection] = []
        self._ports = 49152
        self._routes = 0
        self._host = MemoryHost(self)

    def host(self) -> MemoryHost:
        """A process of its own, which can be blocked and killed."""
        return MemoryHost(self)

    # The Transport's face

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""
        return self._host.dealer(endpoint, settings, handler)

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet."""
        return self._host.router(settings, handler)

    async def release(self) -> None:
        """Nothing is shared."""

    # Faults

    def cut(self, endpoint: str, *, ghost: float | None = None) -> None:
        """Breaks all connections to an endpoint.

        Args:
            endpoint: to which.
            ghost: None: both sides see it at once, and what is under way is lost. Otherwise only the dealers see it:
                what they have sent still arrives so many seconds later, when they may have been back for long.
        """
        failure = Failure(FailureKind.LOST, f"the connection to {endpoint} was cut", was_up=True)
        for connection in self._to(endpoint):
            if ghost is None:
                connection.break_(failure)
            else:
                connection.inward.hold_up(ghost)
                connection.leave(connection.outward.receiver, failure)

    def doom(self, endpoint: str, *, inward: bool, after: int) -> None:
        """Lets ``after`` more messages through in one direction; the next is lost, and its connection breaks."""
        self.conditions.doomed[endpoint, inward] = after

    def partition(self, endpoint: str, *, inward: bool = True, outward: bool = True) -> None:
        """Drops in silence whatever is sent to or from an endpoint, and every dial."""
        self.conditions.silent |= {(endpoint, way) for way, chosen in ((True, inward), (False, outward)) if chosen}
        for connection in self._to(endpoint):
            connection.silence_changed()

    def heal(self, endpoint: str) -> None:
        """Ends a partition. Connections that were not given up meanwhile go on, as TCP sends again what was lost."""
        self.conditions.silent -= {(endpoint, True), (endpoint, False)}
        for connection in self._to(endpoint):
            connection.silence_changed()

    def choke(self, endpoint: str, *, inward: bool) -> None:
        """Lets connections refuse what is sent in one direction: the receiver reads too slowly."""
        self.conditions.choked.add((endpoint, inward))

    def unchoke(self, endpoint: str, *, inward: bool) -> None:
        """Ends :meth:`choke`."""
        self.conditions.choked.discard((endpoint, inward))
        for connection in self._to(endpoint):
            connection.outward.receiver.on_room()

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

    def is_silent(self, endpoint: str) -> bool:
        """Whether there is no way to the endpoint and back."""
        return (endpoint, True) in self.conditions.silent or (endpoint, False) in self.conditions.silent

    def answer(self, dealer: MemoryDealer) -> Connection | Failure:
        """What a dial that has taken its time comes to."""
        endpoint = dealer.endpoint
        if self.is_silent(endpoint):
            return Failure(FailureKind.TIMEOUT, f"no answer from {endpoint}")
        router = self._bound.get(endpoint)
        if router is None:
            return Failure(FailureKind.REFUSED, f"nothing listens at {endpoint}: connection refused")
        patience = self._patience(dealer.settings), self._patience(router.settings)
        connection = Connection(self.conditions, endpoint, dealer, router, patience, self._connections.remove)
        self._routes += 1
        connection.route = b"\0" + self._routes.to_bytes(4, "big")
        router.routes[connection.route] = connection
        self._connections.append(connection)
        return connection

    def touching(self, host: SimProcess) -> Iterable[Connection]:
        """The connections with an end in a host."""
        return [c for c in self._connections if host in (c.inward.receiver.host, c.outward.receiver.host)]

    def _to(self, endpoint: str) -> list[Connection]:
        return [connection for connection in self._connections if connection.endpoint == endpoint]

    def _patience(self, settings: SocketSettings) -> float:
        # libzmq asks once an interval, so the other side is given up that much later.
        return settings.down_after + settings.heartbeat_interval * self.chance.random()


class MemoryHost(SimProcess):
    """The transport of one process of the simulated network."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__()
        self._network = network
        self._sockets: list[MemoryRouter | MemoryDealer] = []

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""
        dealer = MemoryDealer(self._network, self, endpoint, settings, handler)
        self._sockets.append(dealer)
        return dealer

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet."""
        router = MemoryRouter(self._network, self, settings, handler)
        self._sockets.append(router)
        return router

    async def release(self) -> None:
        """Nothing is shared."""

    def freeze(self) -> None:
        """Blocks the event loop of the process: its transport lives on, and keeps its connections."""
        self.held = True

    def thaw(self) -> None:
        """Ends :meth:`freeze`: what has come meanwhile arrives as one burst."""
        if self.held:
            self.held = False
            missed, self.on_release = self.on_release, []
            for tell in missed:
                tell()
            for connection in self._network.touching(self):
                connection.resume()

    def kill(self, *, loses: bool = False) -> None:
        """Ends the process without a word: its connections break, its endpoints are free.

        Args:
            loses: what it has sent and is still under way is lost with it.
        """
        self.thaw()
        self.dead = True
        for socket in self._sockets:
            socket.kill(loses=loses)

    def vanish(self) -> None:
        """Ends the host with all that runs on it, as a power failure does: nothing tells the other sides."""
        self.thaw()
        self.dead = True
        for connection in self._network.touching(self):
            for one_way in (connection.inward, connection.outward):
                if one_way.receiver.host is self:
                    connection.vanish(one_way.receiver)
        for socket in self._sockets:
            socket.kill(loses=True)


class MemoryDealer:
    """The dealer's face, over the simulated network."""

    def __init__(
        self, network: MemoryNetwork, host: SimProcess, endpoint: str, settings: SocketSettings, handler: DealerHandler
    ) -> None:
        self.host = host
        self.endpoint = endpoint
        self.settings = settings
        self._network = network
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._untold: list[Failure | None] = []
        self._refused = False
        self._closed = False
        self._lost = False  # whether the next dial waits until the handler has been told
        self._timer: asyncio.TimerHandle | None = None
        self._dial()

    @property
    def is_accepted(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now."""
        sent = self._connection is not None and self._connection.inward.carry(frames)
        self._refused = not sent
        return sent

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now."""
        if self._connection is not None:
            self._connection.outward.deliver()

    def redirect(self, endpoint: str) -> None:
        """Dials another endpoint, at once and from now on."""
        self._drop()
        self.endpoint = endpoint
        self._dial()

    def redial(self) -> None:
        """Gives the connection up and dials anew."""
        self._drop()
        if not self._closed:
            self._dial_anew()

    def close(self, linger: float) -> None:
        """Closes; what was sent still arrives if ``linger`` allows."""
        self._closed = True
        if not linger and self._connection is not None:
            self._connection.inward.clear()
        self._drop()

    def kill(self, *, loses: bool) -> None:
        """Its process has ended."""
        self.close(0.0 if loses else 1.0)

    # From the network

    def on_arrived(self, connection: Connection, messages: list[Frames]) -> None:
        """Messages have come."""
        self._handler.on_messages(messages)

    def on_room(self) -> None:
        """Messages that were under way have arrived."""
        if self._refused and not self._closed:
            self._refused = False
            self._loop.call_soon(self._writable)

    def on_ended(self, connection: Connection, failure: Failure) -> None:
        """The connection has ended."""
        if connection is self._connection:
            self._connection = None
            self._lost = True
            self._tell(failure)

    def _writable(self) -> None:
        if not self._closed:
            self._handler.on_writable()

    def _dial_anew(self) -> None:
        self._lost = False
        self._dial_later(prompt=self._handler.on_redial())

    def _dial_later(self, *, prompt: bool = False) -> None:
        delay = self.settings.redial_delay(self._network.chance.random(), prompt=prompt)
        self._timer = self._loop.call_later(delay, self._dial)

    def _dial(self) -> None:
        silent = self._network.is_silent(self.endpoint)
        time = self.settings.connect_timeout if silent else self._network.conditions.delay()
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
        self._untold.append(change)
        if len(self._untold) == 1:
            if self.host.held:
                self.host.on_release.append(self._pass_on)
            else:
                self._loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        changes, self._untold = self._untold, []
        if changes and not self._closed:
            self._handler.on_connection(changes)
        if self._lost and not self._closed:
            self._dial_anew()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._lost = False
        self._untold = [change for change in self._untold if change is not None]
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave(self)


class MemoryRouter:
    """The router's face, over the simulated network."""

    def __init__(
        self, network: MemoryNetwork, host: SimProcess, settings: SocketSettings, handler: RouterHandler
    ) -> None:
        self.host = host
        self.settings = settings
        self.routes: dict[bytes, Connection] = {}
        self._network = network
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._endpoints: list[str] = []
        self._closed = False
        self._ended: list[bytes] = []
        self._still_open: dict[bytes, float] = {}

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its port."""
        bound = self._network.bind(endpoint, self)
        self._endpoints.append(bound)
        return bound

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        connection = self.routes.get(route)
        if connection is None:
            if self._still_open.get(route, 0.0) > self._loop.time():
                return Delivery.SENT
            self._still_open.pop(route, None)
            return Delivery.GONE
        return Delivery.SENT if connection.outward.carry(frames) else Delivery.FULL

    def key_of(self, route: bytes) -> str | None:
        """There are no keys here."""
        return None

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived, now."""
        for connection in list(self.routes.values()):
            connection.inward.deliver()

    def cut(self, route: bytes) -> None:
        """Ends a connection."""
        connection = self.routes.get(route)
        if connection is not None:
            connection.break_(Failure(FailureKind.LOST, "the container has cut the connection", was_up=True))

    def end(self, route: bytes) -> None:
        """Ends a connection at once."""
        self.cut(route)

    def end_silent(self, seconds: float) -> None:
        """There are none: whoever connects here speaks."""

    async def close(self, linger: float) -> None:
        """Closes; what was sent still arrives if ``linger`` allows."""
        self.kill(loses=not linger)

    def kill(self, *, loses: bool) -> None:
        """Its process has ended."""
        self._closed = True
        for endpoint in self._endpoints:
            self._network.unbind(endpoint)
        self._endpoints.clear()
        routes, self.routes = self.routes, {}
        for connection in routes.values():
            if loses:
                connection.outward.clear()
            connection.leave(self)

    # From the network

    def on_arrived(self, connection: Connection, messages: list[Frames]) -> None:
        """Messages have come."""
        self._handler.on_messages([[connection.route, *frames] for frames in messages])

    def on_room(self) -> None:
        """Nobody waits for it: a container tries again by itself."""

    def on_ended(self, connection: Connection, failure: Failure) -> None:
        """The connection has ended."""
        ends, route = self._network.ends, connection.route
        if self.routes.pop(route, None) is not None:
            self._still_open[route] = self._loop.time() + ends.open_for()
            self._loop.call_later(ends.told_after(), self._tell, route)

    def _tell(self, route: bytes) -> None:
        if self.host.held:
            self.host.on_release.append(lambda: self._tell(route))
        elif not self._closed:
            self.drain(1)
            self._handler.on_disconnected([route, *self._network.ends.mistaken_for(self.routes)])
