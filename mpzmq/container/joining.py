"""Joining: connections that a container dials, on which it then serves as on those that it has accepted."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import read_small_file
from ..common.logs import Log
from ..errors import ConnectError, ConnectRefused, ConnectTimeout
from ..failure import Failure, FailureKind
from ..protocol import wire
from ..protocol.lobby.lobby import MAX_JOIN_BYTES
from ..protocol.wire.encoder import Encoder
from ..protocol.wire.records import LINK_TAG
from ..runtime.names import resolve
from ..security.allow_list import User
from ..transport.interface import Curve, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from ..address import Address
    from ..config import Limits
    from ..security.credentials import Security
    from ..transport.interface import Dealer, Frames, Router, RouterHandler, SocketSettings, Transport

__all__ = ["OWN_REDIALS", "JoinRequest", "JoiningRouter", "read_token"]

log = Log(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.1, 15.0
"""Seconds between two dials: twice as many after each that has failed, with a jitter of up to as many more."""

OWN_REDIALS = 3600.0
"""Seconds: libzmq does not dial again by itself before this side has dialled with a fresh socket."""

DIALLED = "joined"
"""What stands before a lobby's key, in the id of its sessions."""

REFUSED = (
    "the engine does not accept the token (by its clock, it may have expired) or the key, or it is no lobby of"
    " worker.accept()"
)
"""What it may be: nobody is told why he is not let in."""

ROUTE = b"joined-"
"""Those of libzmq begin with a zero, or with a key."""


def read_token(path: Path) -> str:
    """The token that a file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file of one word; the text names it, and nothing of what stands there.
    """
    try:
        words = read_small_file(path)[0].decode("utf-8-sig").split()
    except UnicodeDecodeError:
        raise ValueError(f"{path} holds no token: it is no UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{path} holds no token: it {error}") from None
    if len(words) != 1:
        text = "it is empty" if not words else "a token is one word; files of several tokens are for the engine"
        raise ValueError(f"{path} holds no token: {text}")
    return words[0]


class JoinRequest:
    """What a container says of itself in JOIN.

    Args:
        instance: its id.
        token: that lets it in; a file is read again at each dial; None: its key does.
        name: what it is called.
        labels: what it can be chosen by.
        limits: its own.
    """

    def __init__(
        self, instance: UUID, token: str | Path | None, name: str, labels: Mapping[str, str], limits: Limits
    ) -> None:
        self._token = token
        self._facts = instance, name, dict(labels), limits
        self._encoder = Encoder(limits)

    def frames(self, number: int) -> Frames:
        """A JOIN.

        Args:
            number: higher than that of every JOIN of this instance before.

        Raises:
            OSError, ValueError: the file of the token cannot be read, or all of it is too large.
        """
        instance, name, labels, limits = self._facts
        token = self._token
        if isinstance(token, Path):
            token = read_token(token)
        packed = self._encoder.pack(wire.join(instance, number, token or "", name, labels, limits))
        if len(LINK_TAG) + len(packed) > MAX_JOIN_BYTES:
            raise ValueError(f"token, name and labels have more than {MAX_JOIN_BYTES} bytes together")
        return [LINK_TAG, packed]


class JoinedConnection:
    """One engine that this container dials: again and again, each time with a fresh socket.

    Args:
        address: of the engine's lobby.
        request: what is said there.
        host: what the connection belongs to.
        security: the container's keys, and those that the lobby may have; None: there are none.
        once: the first dial is the only one if it fails.
    """

    def __init__(
        self, address: Address, request: JoinRequest, host: JoiningRouter, security: Security | None, *, once: bool
    ) -> None:
        self._settings = host.settings
        self.user: User | None = None
        if security is not None:
            own = security.keys
            curve = Curve(public=own.public, secret=own.secret, server_keys=security.server_keys)
            self._settings = dataclasses.replace(host.settings, curve=curve)
            # Not the key itself: the same one may also knock at an endpoint, where the allow-list is asked.
            self.user = User(security.server_keys[0], f"{DIALLED} {security.server_keys[0]}")
        self.address = address
        self._request = request
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._dealer: Dealer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = FIRST_PAUSE
        self._candidates: list[str] = []
        self._dialling: asyncio.Task[None] | None = None
        self._once = once
        self._closed = False
        self.failure = ""
        """Why there is no connection, as far as a dial has failed; empty: none has."""
        self._session: UUID | None = None  # on the connection that stands; None: no HELLO has come on it
        self.latest_session: UUID | None = None
        """What the engine's session was when it was connected last."""
        self.route: bytes | None = None
        self.greeted = self._loop.create_future()

    @property
    def is_joined(self) -> bool:
        """Whether the engine has said HELLO on the connection that stands."""
        return self._session is not None

    def start(self) -> None:
        """Dials."""
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        settings = self._settings
        try:
            if not self._candidates:
                if self.address.is_numeric:
                    self._candidates = [self.address.endpoint()]
                else:
                    async with asyncio.timeout(settings.connect_timeout):
                        found = await resolve(self.address.host, self.address.port)
                    self._candidates = [self.address.endpoint(number) for _, number in found]
            self._dealer = self._host.transport.dealer(self._candidates.pop(0), settings, self)
        except OSError as error:
            self._failed(Failure(FailureKind.NOT_FOUND, error.strerror or str(error) or "no answer of the resolver"))
            return
        self._arm(2 * settings.connect_timeout, self._no_hello)

    # What the dealer tells

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""
        route = self.route
        if route is None:
            return
        self._host.handler.on_messages([[route, *frames] for frames in messages])
        if self.route != route:
            return  # it has ended over them
        session = self._host.session_of(route)
        if session is None:
            if self._session is not None:
                self._failed(Failure(FailureKind.LOST, "the engine has ended its session"))
        elif self._session is None:
            other = self._host.joined_as(session)
            if other is not None and other is not self:
                self._give_way_to(other)
                return
            self._disarm()
            self._pause = FIRST_PAUSE
            if not self.greeted.done():
                self.greeted.set_result(None)
            self._once = False
            self._session = self.latest_session = session
            self.failure = ""
            log.info("joined the engine at %s", self.address.text)

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        """A connection stands, or has ended."""
        for failure in changes:
            if self._dealer is None:
                return
            if failure is not None:
                self._dealer.drain(1024)
                self._failed(failure)
                return
            self._session = None
            try:
                frames = self._request.frames(self._host.next_join())
            except (OSError, ValueError) as error:
                self._failed(Failure(FailureKind.LOCAL, f"it cannot say JOIN: {error}"))
                return
            self.route = self._host.new_route(self)
            self._dealer.send(frames)
            self._arm(self._settings.connect_timeout, self._no_hello)

    def on_redial(self) -> bool:
        """Never asked: this side dials with a fresh socket."""
        return False

    def on_writable(self) -> None:
        """Sends are tried again by the sessions."""

    # For the router

    def send(self, frames: Frames) -> Delivery:
        """Sends a message."""
        if self._dealer is None:
            return Delivery.GONE
        return Delivery.SENT if self._dealer.send(frames) else Delivery.FULL

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived."""
        if self._dealer is not None:
            self._dealer.drain(max_messages)

    def cut(self) -> None:
        """Gives the connection up."""
        self._loop.call_soon(self._end, self.route)

    def _end(self, route: bytes | None) -> None:
        if route == self.route:  # it may have been lost meanwhile, and the next one be dialled
            self._failed(Failure(FailureKind.LOST, "the connection broke a rule"))

    def close(self, linger: float) -> None:
        """Ends it."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
        self._leave(linger)
        if not self.greeted.done():
            if self._once:
                self.greeted.set_exception(RuntimeError("this server was closed meanwhile"))
            else:
                self.greeted.cancel()

    def _give_way_to(self, other: JoinedConnection) -> None:
        """Both lead to one engine, and would take the link from each other for ever."""
        text = f"{self.address.text} is the engine that this server joins at {other.address.text} already"
        if self._once:
            self.greeted.set_exception(ValueError(text))
        else:
            log.error("%s: it is not dialled any more", text)
        self._host.forget(self)
        self.close(0.0)

    def _no_hello(self) -> None:
        if self.route is None:
            text = f"no answer from {self.address.text} to a dial"
        else:
            seconds = self._settings.connect_timeout
            text = f"no HELLO from {self.address.text} within {seconds:g} s of JOIN: {REFUSED}"
        self._failed(Failure(FailureKind.TIMEOUT, text))

    def _failed(self, failure: Failure) -> None:
        if self._closed:
            return
        detail = failure.detail
        if self.route is not None and self._session is None and failure.kind is not FailureKind.TIMEOUT:
            detail = f"no HELLO came after JOIN: {REFUSED} ({detail})"
        was_up = self.route is not None
        self._leave(0.0)
        if self._once and (was_up or not self._candidates):
            kind = {FailureKind.TIMEOUT: ConnectTimeout, FailureKind.REFUSED: ConnectRefused}.get(
                failure.kind, ConnectError
            )
            error = kind(f"cannot join {self.address.text}: {detail}", address=self.address.text)
            if not self.greeted.done():
                self.greeted.set_exception(error)
            return
        self.failure = detail
        log.warning("cannot talk to the engine at %s: %s", self.address.text, detail)
        delay = 0.0 if self._candidates else self._pause * (1 + random.random())
        if not self._candidates:
            self._pause = min(2 * self._pause, LAST_PAUSE)
        self._arm(delay, self.start)

    def _leave(self, linger: float) -> None:
        self._disarm()
        dealer, self._dealer = self._dealer, None
        route, self.route = self.route, None
        self._session = None
        if dealer is not None:
            dealer.close(linger)
        if route is not None:
            self._host.on_route_lost(route)

    def _arm(self, delay: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._loop.call_later(delay, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class JoiningRouter:
    """A router whose connections are those that it has accepted, and those that were dialled.

    Args:
        accepted: the router of those that come.
        handler: takes what all of them say.
        transport: makes the sockets that dial.
        settings: of them.
        session_of: the session of the engine that has said HELLO on a route; None: none has.
    """

    def __init__(
        self,
        accepted: Router,
        handler: RouterHandler,
        transport: Transport,
        settings: SocketSettings,
        session_of: Callable[[bytes], UUID | None],
    ) -> None:
        self._accepted = accepted
        self.handler = handler
        self.transport = transport
        self.settings = settings
        self.session_of = session_of
        self._connections: list[JoinedConnection] = []
        self._has_bound = False
        self._by_route: dict[bytes, JoinedConnection] = {}
        self._routes = 0
        self._joins = 0

    async def join(
        self,
        address: Address,
        request: JoinRequest,
        security: Security | None,
        timeout: float | None,
        *,
        wait: bool,
    ) -> None:
        """Dials an engine, and dials it again whenever that is lost, until :meth:`close`.

        Raises:
            ConnectError: it did not say HELLO; only where that is waited for.
            ValueError: it is dialled already: each connection would take the link from the other, for ever.
            RuntimeError: the server was closed meanwhile.
        """
        if any(other.address == address for other in self._connections):
            raise ValueError(f"this server joins {address.text} already")
        connection = JoinedConnection(address, request, self, security, once=wait)
        self._connections.append(connection)
        connection.start()
        if not wait:
            return
        try:
            async with asyncio.timeout(timeout):
                await connection.greeted
        except BaseException as error:
            connection.greeted.cancel()  # nobody waits any more
            connection.close(0.0)
            self.forget(connection)
            if isinstance(error, TimeoutError) and not isinstance(error, ConnectError):
                text = f"cannot join {address.text}: no HELLO came after JOIN within {timeout:g} s"
                raise ConnectTimeout(text, address=address.text) from None
            raise

    def joined_as(self, session: UUID) -> JoinedConnection | None:
        """The connection to the engine that has, or had last, this session; None: there is none."""
        return next((other for other in self._connections if other.latest_session == session), None)

    @property
    def joins(self) -> tuple[JoinedConnection, ...]:
        """The engines that are dialled."""
        return tuple(self._connections)

    @property
    def is_reachable(self) -> bool:
        """Whether an engine can ask: it may come to an endpoint, or has been joined."""
        return self._has_bound or any(connection.is_joined for connection in self._connections)

    def forget(self, connection: JoinedConnection) -> None:
        """An engine is not dialled any more. Idempotent."""
        if connection in self._connections:
            self._connections.remove(connection)

    def next_join(self) -> int:
        """The number of the next JOIN: they rise for the instance, since it may be told to join an engine again."""
        self._joins += 1
        return self._joins

    def new_route(self, connection: JoinedConnection) -> bytes:
        """The route of a new connection."""
        self._routes += 1
        route = ROUTE + self._routes.to_bytes(8, "big")
        self._by_route[route] = connection
        return route

    def on_route_lost(self, route: bytes) -> None:
        """A connection has ended."""
        self._by_route.pop(route, None)
        self.handler.on_disconnected([route])

    def bind(self, endpoint: str) -> str:
        """Listens on an endpoint and returns it with its real port."""
        bound = self._accepted.bind(endpoint)
        self._has_bound = True
        return bound

    def send(self, route: bytes, frames: Frames) -> Delivery:
        """Sends a message to one route."""
        if not route.startswith(ROUTE):
            return self._accepted.send(route, frames)
        connection = self._by_route.get(route)
        return Delivery.GONE if connection is None else connection.send(frames)

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived."""
        self._accepted.drain(max_messages)
        for connection in list(self._by_route.values()):
            connection.drain(max_messages)

    def is_dialled(self, route: bytes) -> bool:
        """Whether a route is that of a connection which this side has dialled."""
        return route.startswith(ROUTE)

    def user_of(self, route: bytes) -> User | None:
        """Who was authenticated on a connection that this side has dialled; None: there are no keys."""
        connection = self._by_route.get(route)
        return None if connection is None else connection.user

    def dialled_user(self, key: str | None) -> User | None:
        """The same, by the key of a session."""
        users = (connection.user for connection in self._connections)
        return next((user for user in users if user is not None and user.key == key), None)

    def key_of(self, route: bytes) -> str | None:
        """The public key that was authenticated on a route."""
        return None if route.startswith(ROUTE) else self._accepted.key_of(route)

    def cut(self, route: bytes) -> None:
        """Ends a connection."""
        if not route.startswith(ROUTE):
            self._accepted.cut(route)
        elif (connection := self._by_route.get(route)) is not None:
            connection.cut()

    def end(self, route: bytes) -> None:
        """Ends a connection at once."""
        if route.startswith(ROUTE):
            self.cut(route)
        else:
            self._accepted.end(route)

    def end_silent(self, seconds: float) -> None:
        """Ends connections that were accepted, and have not sent a message for so long."""
        self._accepted.end_silent(seconds)

    async def close(self, linger: float) -> None:
        """Closes everything."""
        for connection in self._connections:
            connection.close(linger)
        await self._accepted.close(linger)
