"""Carries out what a container's sessions decide: sends and receives, runs handlers and timers, on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

from ..common.logs import Log, LogRateLimit
from ..handlers.admission import Admission
from ..handlers.dispatcher import Dispatcher
from ..handlers.timers import Timers
from ..protocol.effects import (
    CutConnections,
    GiveUpEngines,
    LogRejection,
    LogState,
    NotifyConnection,
    ResolveRequests,
    TellPresence,
    WakeStreams,
)
from ..protocol.responder.batch import RequestBatch
from ..protocol.session.backlog import Backlog
from ..protocol.session.table import SessionTable
from ..protocol.wire.kinds import Goodbye, Kind
from ..protocol.wire.messages import MessageDecoder
from ..runtime.item_streams import wake_all
from ..runtime.request_log import REQUEST_LOG
from ..runtime.waiters import resolve_all
from ..runtime.wire_log import WIRE_LOG
from ..runtime.write_coalescer import WriteCoalescer
from ..security.watcher import AllowListWatcher
from ..statistics import ServerStatistics
from ..transport.interface import Curve, Delivery, SocketSettings
from .builtin import builtin
from .joining import OWN_REDIALS, JoiningRouter
from .lost_engines import LostEngines
from .nested_calls import NestedCallRunner
from .ticks import Ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ..config import HeartbeatPolicy, Limits
    from ..handlers.registry import Registry
    from ..protocol.session.session import EngineSession
    from ..security.allow_list import User
    from ..security.credentials import Security
    from ..transport.interface import Frames, Transport

__all__ = ["SessionDriver"]

log = Log(__name__)

_SENT: Final = Delivery.SENT  # a name of the module: looking it up in its enum takes 0.1 us (Python 3.11)

FULL_RETRY = 0.01
"""Seconds until a message that an engine's connection did not take is tried again."""

LINGER = 0.2
"""Seconds that engines have to read the last words when the server closes."""

HANDSHAKE_TIMEOUT = 3.0
"""Seconds for an engine's ZMTP handshake: a mute connection is not kept longer."""

FAILED_OVER = "the container failed over a message of it; its engine dials anew, and asks again for what it lacks"

NOT_ALLOWED = "the key of this engine is not on the container's allow-list any more"


class SessionDriver:
    """Carries out what a :class:`~mpzmq.protocol.session.table.SessionTable` decides, from first bind to close."""

    def __init__(
        self,
        instance: UUID,
        name: str,
        registry: Registry,
        heartbeat: HeartbeatPolicy,
        limits: Limits,
        security: Security | None,
        transport: Transport,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.sessions = SessionTable(instance, name, heartbeat.interval, limits, registry.carried)
        admission = Admission(registry, self.sessions, limits, builtin(registry, self.sessions, name, self.statistics))
        self._writes = WriteCoalescer(self._loop, self._flush)
        self.dispatcher = Dispatcher(admission, self.sessions, limits, self._writes.schedule, name)
        self.sessions.is_running, self.sessions.load = self.dispatcher.is_running, self.dispatcher.load
        self.backlog = Backlog(self.sessions, limits.total_bytes)
        self._timers = Timers(self.dispatcher, self._loop, self._flush)
        self._calls = self.sessions.calls = NestedCallRunner(self.sessions, self._schedule_call)
        self._reader = MessageDecoder(limits, answered=Kind.REQUEST)
        self.security = security
        self._allow_list_watcher: AllowListWatcher | None = None
        settings = SocketSettings(
            redial_interval=1.0,
            connect_timeout=HANDSHAKE_TIMEOUT,
            # It only frees the session of an engine that is gone, and every one of them answers it: seldom is enough.
            heartbeat_interval=heartbeat.down_after,
            down_after=heartbeat.down_after,
            message_bytes=limits.message_bytes,
            handshakes=limits.handshakes,
            curve=self._curve(security),
        )
        dialled = dataclasses.replace(settings, redial_interval=OWN_REDIALS, handshakes=1, curve=None)
        accepted = transport.router(settings, self)
        self.router = JoiningRouter(accepted, self, transport, dialled, self.sessions.session_of)
        self._lost_engines = LostEngines(
            registry, self.sessions, self.dispatcher, self._calls, self._timers, self.router, self._flush
        )
        self._heartbeat = heartbeat
        self._rejections, self._cuts = LogRateLimit(), LogRateLimit()
        self._to_notify: dict[bytes, Frames] = {}  # connections that take nothing now
        WIRE_LOG.refresh()
        REQUEST_LOG.refresh()
        self._progress = asyncio.Event()
        # Whose connections did not take a message; each attempt costs what waits.
        self._full: dict[EngineSession, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self.ticks = Ticks(heartbeat.interval / 2, self._tick, self.dispatcher.counters.at_work)

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived: the whole burst is decoded before any of it is started."""
        now = self._loop.time()
        batch = RequestBatch()
        for frames in messages:
            route = bytes(frames[0])
            if WIRE_LOG.is_on:
                WIRE_LOG.received(self.sessions.name_of(route), frames[1:])
            try:
                self._receive(route, frames[1:], batch, now)
            except Exception as failure:  # over this message: those of others are not to be lost with it
                log.error("the container failed over a message", exc_info=failure)
                self.sessions.cut(route, FAILED_OVER, now)
        if self.sessions.effects:
            self._run_effects()
        # The replies of handlers that end at once leave together.
        was_corked = self._writes.hold()
        try:
            self.sessions.answer_unread(batch)
            self.dispatcher.start(batch, now)
        finally:
            self._writes.release(was_corked)
        if len(batch.requests) > 1 and not was_corked:
            # Their tasks run in the next pass: the first reply alone would wake the engine for it.
            self._writes.cork()
        self._timers.arm()

    def _receive(self, route: bytes, frames: Frames, batch: RequestBatch, now: float) -> None:
        user = None
        if self.router.is_dialled(route):
            user = self.router.user_of(route)
        elif self._allow_list_watcher is not None:
            user = self._allow_list_watcher.user(self.router.key_of(route))
            if user is None:
                self.sessions.turn_away_unread(route, NOT_ALLOWED)
                return
        self.sessions.receive(route, self._reader.decode(frames), batch, now, user)

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        """Connections may have ended."""
        if not self._calls.is_closed:
            self._lost_engines.on_disconnected(routes)

    def _curve(self, security: Security | None) -> Curve | None:
        if security is None:
            return None
        assert security.allow is not None
        loop = self._loop

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended before it
                loop.call_soon_threadsafe(self._review)

        self._allow_list_watcher = AllowListWatcher(security.allow, changed)
        return Curve(public=security.keys.public, secret=security.keys.secret, key_verifier=self._allow_list_watcher)

    def _review(self) -> None:
        """The allow-list has changed: whoever is not on it any more is cut off, and what runs for it is ended."""
        assert self._allow_list_watcher is not None
        if self._calls.is_closed:
            return
        batch = RequestBatch()
        for peer, user in self.sessions.review(self._user_of, NOT_ALLOWED):
            log.warning("engine %r is cut off: the key of %r is not on the allow-list any more", peer.name, user)
            batch.closed_sessions.add(peer)
        self._run_effects()
        self.dispatcher.start(batch, self._loop.time())
        self._notify()
        self._flush()

    def _user_of(self, key: str | None) -> User | None:
        """Whose sessions have a key: those of engines that were dialled are no matter of the allow-list."""
        assert self._allow_list_watcher is not None
        return self.router.dialled_user(key) or self._allow_list_watcher.user(key)

    def _run_effects(self) -> None:
        """Does what the sessions want done."""
        effects = self.sessions.effects
        while effects:
            match effects.popleft():
                case ResolveRequests(outcomes):
                    resolve_all(outcomes)
                case WakeStreams(wakers):
                    wake_all(wakers)
                case TellPresence(changes):
                    self._lost_engines.on_change(dict(changes))
                case CutConnections(broken):
                    self._cut(dict(broken))
                case LogRejection(text):
                    if self._rejections.allows(self._loop.time()):
                        log.warning("%s", text)
                case GiveUpEngines(unheard):
                    for peer, why in dict(unheard).items():
                        self._give_up(peer, why)
                case LogState(whom, state, reason):
                    if WIRE_LOG.is_on:
                        WIRE_LOG.state(whom, state, reason)
                case NotifyConnection(route, frames):
                    self._to_notify[route] = frames

    def _cut(self, broken: Mapping[bytes, str]) -> None:
        """Cuts connections that broke a rule, and says why: once in a while, for a flood must not fill the log."""
        for route in broken:
            self.router.cut(route)
        if self._cuts.allows(self._loop.time()):
            log.warning("a connection was cut: %s", next(iter(broken.values())))

    def statistics(self) -> ServerStatistics:
        """The counters since the first bind. May be called from any thread."""
        dispatcher, sessions = self.dispatcher, self.sessions
        functions = dispatcher.counters.by_function()
        every = functions.values()
        in_flight = dispatcher.in_flight
        replied, failed = sum(one.replied for one in every), sum(one.failed for one in every)
        refused, cancelled = sum(one.refused for one in every), sum(one.cancelled for one in every)
        return ServerStatistics(
            received=replied + failed + refused + cancelled + in_flight,
            replied=replied,
            failed=failed,
            refused=refused,
            cancelled=cancelled,
            in_flight=in_flight,
            sessions=len(sessions.presence.here),
            undeliverable=sessions.undeliverable,
            repeated=dispatcher.deduplicator.count,
            ignored=sessions.ignored,
            waiting_bytes=self.backlog.bytes,
            functions=functions,
        )

    def broadcast_goodbye(self, code: int, text: str) -> None:
        """Says GOODBYE to all engines."""
        self.sessions.broadcast_goodbye(code, text)
        self._flush()

    async def drained(self) -> None:
        """Waits until nothing runs, and every engine has read its replies."""
        await self.dispatcher.idle()
        await self._all_read()

    async def _all_read(self) -> None:
        """Waits until every engine has answered a PING: linger is not an acknowledgement (seen: 99 of 300 arrived)."""
        while not self.sessions.all_acknowledged(self._loop.time(), self._heartbeat.down_after):
            self._flush()
            self._progress.clear()
            await self._progress.wait()  # which is set every now and then at least, see _tick

    async def close(self) -> None:
        """Cancels what runs, says GOODBYE, and closes the socket."""
        self.sessions.draining = self.sessions.draining or "the container was closed"  # nothing more is started
        await self.dispatcher.close()
        self.broadcast_goodbye(Goodbye.CLOSED, "the container was closed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._all_read()
        await self._lost_engines.close()
        for timer in (self._retry, self.ticks):
            if timer is not None:
                timer.cancel()
        self._timers.close()
        self._calls.is_closed = True
        await self.router.close(LINGER)

    def _schedule_call(self, peer: EngineSession) -> None:
        """A call, or word of one, may leave."""
        self.sessions.writable[peer] = None
        self._writes.schedule(0)

    def _give_up(self, peer: EngineSession, why: str) -> None:
        """Ends the connection of an engine that does not read, if it has one."""
        if self.sessions.give_up(peer, why, self._loop.time()):
            log.warning("the connection of engine %r is given up: it %s", peer.name, why)
            self._full.pop(peer, None)

    def _relieve(self) -> None:
        """More waits than may: whoever holds most loses it, streams that nobody reads included."""
        for peer in self.backlog.heaviest():
            self._give_up(peer, f"left {peer.waiting} bytes unread, the most of all (Limits.total_bytes)")
            streams = [(peer, tag) for tag in peer.close_heavy_streams()]
            self.backlog.count(peer)
            self.dispatcher.end_unread(streams)

    def _flush(self) -> None:
        """The only place from which messages leave."""
        self._progress.set()
        sessions = self.sessions
        for route, frames in sessions.take_sessionless():
            # To a connection that is gone or does not read, nothing is owed.
            self.router.send(route, frames)
            if WIRE_LOG.is_on:
                WIRE_LOG.sent(self.sessions.name_of(route), frames)
        self._flush_peers(sessions)
        if sessions.effects:
            self._run_effects()

    def _flush_peers(self, sessions: SessionTable) -> None:
        """Sends what waits for engines, as far as their connections take it."""
        now = self._loop.time()
        while (peer := sessions.next_writable()) is not None:
            if peer in self._full:
                self.backlog.count(peer)
                continue
            while (outgoing := peer.next_outgoing(now)) is not None:
                delivery = self.router.send(peer.route, outgoing.frames)
                if delivery is _SENT:
                    if WIRE_LOG.is_on:
                        WIRE_LOG.sent(self.sessions.name_of(peer.route), outgoing.frames)
                    if peer.on_sent(outgoing):
                        continue
                    break
                outgoing.origin.requeue(outgoing)
                if delivery is Delivery.GONE:
                    sessions.detach(peer, "its connection was lost", now)
                    break
                self._full[peer] = None
                peer.on_refused(now)
                if self._retry is None:
                    self._retry = self._loop.call_later(FULL_RETRY, self._try_again)
                break
            if peer.has_backlog:
                self.backlog.count(peer)
        if self.backlog.is_full:
            self._relieve()

    def _try_again(self) -> None:
        """Those whose connections took nothing have a message tried once more."""
        self._retry = None
        self.sessions.writable.update(self._full)
        self._full.clear()
        self._flush()

    def _tick(self, now: float) -> None:
        WIRE_LOG.refresh()
        REQUEST_LOG.refresh()
        self.sessions.tick(now, self._heartbeat.down_after)
        self._run_effects()
        self._notify()
        self._lost_engines.look_again()
        self._flush()

    def _notify(self) -> None:
        """Tells connections that were given up why, as soon as they take it."""
        for route, frames in list(self._to_notify.items()):
            if self.router.send(route, frames) is not Delivery.FULL:
                del self._to_notify[route]
