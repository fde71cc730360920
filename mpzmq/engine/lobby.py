"""The lobby: one socket for all containers that dial in; each of them gets a link like one that was dialled."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import read_small_file
from ..common.logs import Log, LogRateLimit
from ..failure import Failure, FailureKind
from ..protocol.lobby.lobby import MAX_JOIN_BYTES, JoinedContainer, LobbyTable
from ..protocol.lobby.tokens import Tokens, given_tokens, parse_tokens
from ..protocol.wire.kinds import Kind
from ..protocol.wire.messages import MessageDecoder
from ..security.trusted_keys import TrustedKeys
from ..transport.interface import Curve, Delivery
from .resolvers import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from uuid import UUID

    from ..config import Limits
    from ..security.credentials import Security
    from ..transport.interface import Frames, LinkHandler, Router, SocketSettings, Transport

__all__ = ["Lobby", "LobbyTransport"]

log = Log(__name__)

FULL_RETRY = 0.01
"""Seconds until a message that a connection did not take is tried again."""

FIRST_DOUBT, LAST_DOUBT = 0.01, 1.28
"""Seconds until a connection that may have ended is asked once more, twice as many each time until it is heard or shown
to be gone: it takes messages for a while after its end was told."""

LAST_WORDS = 0.2
"""Seconds that a container has to read that its link was closed."""

TOKENS_LOOK = 0.1
"""Seconds between two looks at the file of tokens, however many JOINs come."""

SWEEP = 1.0
"""Seconds between two looks at connections that say nothing."""

MAX_SILENCE = 6.0
"""Seconds after which a connection is ended that has said nothing, its handshake included."""


@dataclass(frozen=True, slots=True)
class JoinedEndpoint(Endpoint):
    """A container that has joined, as its group knows it."""

    instance: UUID | None = None

    @property
    def place(self) -> tuple[object, ...]:
        """Another incarnation is another place."""
        return self.address, self.server_key, self.instance


class TokenSource:
    """The tokens as they are now; those of a file are read again when it has changed."""

    def __init__(self, tokens: str | Mapping[str, str] | Path) -> None:
        self._path = tokens if isinstance(tokens, Path) else None
        self._stamp: object = None
        self._look_at = -math.inf
        self._tokens = Tokens([]) if isinstance(tokens, Path) else given_tokens(tokens)
        if self._path is not None:
            self._read(self._path)

    def current(self, now: float) -> Tokens:
        """What is good now. A file that cannot be read changes nothing."""
        if self._path is not None and now >= self._look_at:
            self._look_at = now + TOKENS_LOOK
            try:
                self._read(self._path)
            except (OSError, ValueError) as error:
                if str(error) != self._stamp:
                    self._stamp = str(error)
                    log.error("the tokens stay as they are: %s", error)
        return self._tokens

    def _read(self, path: Path) -> None:
        found = path.stat()
        stamp = found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
        if stamp == self._stamp:
            return
        try:
            self._tokens = parse_tokens(read_small_file(path)[0].decode("utf-8-sig"))
        except UnicodeDecodeError:  # whose repr has all that was to be decoded
            raise ValueError(f"the tokens in {path} cannot be read: it is no UTF-8") from None
        except ValueError as error:
            raise ValueError(f"the tokens in {path} cannot be read: {error}") from None
        self._stamp = stamp


class JoinedDealer:
    """What a link has in place of a socket of its own: whatever connection its container has come on last."""

    def __init__(self, lobby: Lobby, member: JoinedContainer, handler: LinkHandler) -> None:
        self._lobby = lobby
        self.member = member
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._route: bytes | None = None
        self._next: bytes | None = member.route
        self._retry: asyncio.TimerHandle | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._received = 0
        self._closed = False
        self._loop.call_soon(self._switch)

    @property
    def is_accepted(self) -> bool:
        """Whether there is a connection."""
        return self._route is not None

    def send(self, frames: Frames) -> bool:
        """Sends a message; False: not now."""
        if self._route is None or self._closed:
            return False
        delivery = self._lobby.router.send(self._route, frames)
        if delivery is Delivery.GONE:
            self.on_lost(self._route)
        elif delivery is Delivery.FULL and self._retry is None:
            self._retry = self._loop.call_later(FULL_RETRY, self._try_again)
        return delivery is Delivery.SENT

    def drain(self, max_messages: int) -> None:
        """Reads what has arrived. Connections take turns: a round without a message of its own is the last."""
        while max_messages > 0:
            received = self._received
            self._lobby.drain_round()
            if self._received == received:
                return
            max_messages -= self._received - received

    def redirect(self, endpoint: str) -> None:
        """Never asked: it dials nobody."""

    def redial(self) -> None:
        """Gives the connection up, and waits for the next JOIN."""
        if self._route is not None:
            route, self._route = self._route, None
            self._lobby.give_up(self.member, route)

    def close(self, linger: float) -> None:
        """It is no member any more."""
        self._closed = True
        self._believe()
        if self._retry is not None:
            self._retry.cancel()
        self._lobby.on_link_closed(self.member, self._route)

    # What the lobby tells

    def deliver(self, route: bytes, messages: list[Frames]) -> None:
        """Messages have come on a connection of its container."""
        if route == self._route and not self._closed:
            self._believe()
            self._received += len(messages)
            self._handler.on_messages(messages)

    def on_joined(self, route: bytes) -> None:
        """Its container has come on a new connection."""
        self._next = route
        self._loop.call_soon(self._switch)

    def on_doubt(self, route: bytes) -> None:
        """A connection may have ended: it is asked, now and again."""
        if route == self._route and not self._closed:
            self._believe()
            self._ask(route, FIRST_DOUBT)

    def _ask(self, route: bytes, wait: float) -> None:
        self._doubt = None
        if route == self._route and not self._closed:
            self._handler.on_doubt()
            if wait <= LAST_DOUBT:
                self._doubt = self._loop.call_later(wait, self._ask, route, 2 * wait)

    def _believe(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    def on_lost(self, route: bytes) -> None:
        """A connection has ended."""
        self._loop.call_soon(self._end, route, Failure(FailureKind.LOST, "the container's connection was lost", True))

    def on_left(self, why: str) -> None:
        """Its container will not come back."""
        if not self._closed:
            self._route = self._next = None
            self._handler.on_connection([Failure(FailureKind.LEFT, why)])

    def _switch(self) -> None:
        route, self._next = self._next, None
        if route is None or self._closed:
            return
        former, self._route = self._route, route
        if former is not None:
            text = "the container has come on another connection"
            self._handler.on_connection([Failure(FailureKind.LOST, text, was_up=True)])
        self._handler.on_connection([None])
        # It may have ended before this link knew of it; who answers at once is not asked.
        self._believe()
        self._doubt = self._loop.call_later(FIRST_DOUBT, self._ask, route, FIRST_DOUBT)

    def _end(self, route: bytes, failure: Failure) -> None:
        if route == self._route and not self._closed:
            self._route = None
            self._lobby.on_lost(self.member, route)
            self._handler.on_connection([failure])

    def _try_again(self) -> None:
        self._retry = None
        if not self._closed:
            self._handler.on_writable()


class Lobby:
    """Where containers dial in. It names the members of a group, as a source does, and makes their sockets.

    Args:
        tokens: what lets them in.
        rejoin_within: seconds for which one may be without a connection.
        limits: bounds of this engine.
        settings: of its socket.
        transport: makes that.
        security: its keys, and those that it trusts; None: it has none.

    Raises:
        OSError, ValueError, TypeError: the tokens or the trusted keys cannot be read.
    """

    vouches = True

    def __init__(
        self,
        tokens: str | Mapping[str, str] | Path,
        rejoin_within: float,
        limits: Limits,
        settings: SocketSettings,
        transport: Transport,
        security: Security | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        trust = None
        if security is not None:
            assert security.allow is not None
            trust = TrustedKeys(security.allow, self._on_trust)
            curve = Curve(public=security.keys.public, secret=security.keys.secret, key_verifier=trust)
            settings = dataclasses.replace(settings, curve=curve)
        self._tokens = TokenSource(tokens)
        self._table = LobbyTable(rejoin_within, limits.sessions, trust)
        self._decoder = MessageDecoder(limits, answered=Kind.RESPONSE)
        self._dealers: dict[UUID, JoinedDealer] = {}
        self._closing: set[bytes] = set()  # connections of closed links, which have the time to hear so
        self._lines = LogRateLimit()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._reasons: dict[str, str] = {}
        self._closed = False
        self.router: Router = transport.router(settings, self)
        self.text = ""
        self.trouble = ""

    def bind(self, endpoint: str) -> str:
        """Listens. Returns the real endpoint."""
        self.text = self.router.bind(endpoint)
        self.trouble = f"no container has joined at {self.text}"
        self._sweep()
        return self.text

    async def close(self, linger: float) -> None:
        """Frees the endpoint. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()
        await self.router.close(linger)

    @property
    def refused(self) -> dict[str, int]:
        """How many JOINs were not heeded, by the reason."""
        return dict(self._table.refused)

    # As a source of members

    async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
        """The members, now and whenever they change."""
        while True:
            yield tuple(
                JoinedEndpoint(self.text, name=member.name, labels=member.labels, instance=member.instance)
                for member in self._table.members.values()
            )
            self._reasons.clear()
            await self._changed.wait()
            self._changed.clear()

    def poke(self) -> None:
        """Whether somebody was lost is known here."""

    def why_joined(self, endpoint: Endpoint) -> str:
        """Why a member is there."""
        return f"it has joined at {self.text}"

    def why_left(self, name: str) -> str:
        """Why a member is not named any more."""
        return self._reasons.get(name, "it has left")

    # As a transport of links

    def dealer_of(self, name: str, handler: LinkHandler) -> JoinedDealer:
        """What a link has in place of a socket.

        Raises:
            OSError: the container has left meanwhile.
        """
        member = self._table.by_name.get(name)
        if member is None:
            raise OSError(f"{name!r} has left meanwhile")
        dealer = self._dealers[member.instance] = JoinedDealer(self, member, handler)
        return dealer

    def drain_round(self) -> None:
        """Reads a message of each connection that has one, or a few more."""
        self.router.drain(len(self._table.by_route) + 1)

    def give_up(self, member: JoinedContainer, route: bytes) -> None:
        """A link does not want its connection any more."""
        self.router.end(route)
        self.on_lost(member, route)

    def on_lost(self, member: JoinedContainer, route: bytes) -> None:
        """A connection has ended."""
        if member.route == route:
            self._table.on_lost(member, self._loop.time())
            self._arm()

    def on_link_closed(self, member: JoinedContainer, route: bytes | None) -> None:
        """A link has ended for good."""
        if route is not None and not self._closed:
            self._closing.add(route)
            self._loop.call_later(LAST_WORDS, self._end, route)
        self._leave(member, "its link was closed")

    # What the router tells

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""
        bursts: dict[bytes, list[Frames]] = {}
        for frames in messages:
            route = bytes(frames[0])
            if route in self._table.by_route:
                bursts.setdefault(route, []).append(frames[1:])
            elif route not in self._closing:
                self._on_stranger(route, frames[1:])
        for route, burst in bursts.items():
            member = self._table.by_route.get(route)
            if member is not None and (dealer := self._dealers.get(member.instance)) is not None:
                dealer.deliver(route, burst)

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections may have ended: one that has takes no message any more, one that was mistaken for it does."""
        for route in routes:
            member = self._table.by_route.get(route)
            if member is not None and (dealer := self._dealers.get(member.instance)) is not None:
                dealer.on_doubt(route)

    def _on_stranger(self, route: bytes, frames: Frames) -> None:
        """Only a JOIN is heeded, which stands alone."""
        record = None
        if sum(map(len, frames)) <= MAX_JOIN_BYTES:
            records = self._decoder.decode(frames).records
            record = records[0][1] if len(records) == 1 and records[0][1][0] == Kind.JOIN else None
        if record is None:
            self._table.refused["no JOIN"] += 1
            self._turn_away(route, "it did not say JOIN")
            return
        now = self._loop.time()
        key = self.router.key_of(route)
        known = self._table.members.get(record[2])
        former = None if known is None else known.route
        joined, left, fault = self._table.on_join(route, record, self._tokens.current(now), now, time.time(), key)
        for member in left:
            self._told_left(member, "another process has joined under its name")
        if joined is None:
            self._turn_away(route, fault)
            return
        if former is not None:
            self.router.end(former)
        if (dealer := self._dealers.get(joined.instance)) is not None:
            dealer.on_joined(route)
        else:
            log.info("container %r has joined at %s", joined.name, self.text)
            self._changed.set()

    def _on_trust(self) -> None:
        """From the authenticator's thread: what is trusted was read again."""
        with contextlib.suppress(RuntimeError):  # the event loop has ended before it
            self._loop.call_soon_threadsafe(self._review)

    def _review(self) -> None:
        if self._closed:
            return
        for member in self._table.distrusted():
            log.warning("container %r is cut off: its key is not trusted any more", member.name)
            if member.route is not None:
                self.router.end(member.route)
            self._leave(member, "its key is not trusted any more")

    def _turn_away(self, route: bytes, why: str) -> None:
        self.router.end(route)
        if self._lines.allows(self._loop.time()):
            log.warning("a connection to the lobby at %s gets nothing: %s", self.text, why)

    def _end(self, route: bytes) -> None:
        self._closing.discard(route)
        if not self._closed:
            self.router.end(route)

    def _leave(self, member: JoinedContainer, why: str) -> None:
        if self._table.has(member):
            self._table.leave(member)
            self._told_left(member, why)

    def _told_left(self, member: JoinedContainer, why: str) -> None:
        self._reasons[member.name] = why
        if (dealer := self._dealers.pop(member.instance, None)) is not None:
            self._loop.call_soon(dealer.on_left, why)
        self._changed.set()

    def _sweep(self) -> None:
        """Ends the connections of those who come and say nothing: they cost a descriptor each."""
        self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        self.router.end_silent(MAX_SILENCE)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._table.next_due()
        if when < math.inf and not self._closed:
            self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        self.router.drain(256)  # if this loop was blocked, who came back meanwhile has to be heard first
        for member in self._table.overdue(self._loop.time()):
            self._leave(member, "it has not come back in time (rejoin_within)")
        self._arm()


class LobbyTransport:
    """The transport of one link: its dealer is a connection that its container has dialled."""

    def __init__(self, lobby: Lobby, name: str) -> None:
        self._lobby = lobby
        self._name = name

    def dealer(self, endpoint: str, settings: SocketSettings, handler: LinkHandler) -> JoinedDealer:
        """What the link sends through."""
        return self._lobby.dealer_of(self._name, handler)
