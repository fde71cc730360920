"""Carries out what one link decides: sends and receives, sets futures and timers, on the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ..common.logs import Log
from ..errors import ConnectError, ConnectTimeout
from ..failure import Failure, FailureKind
from ..protocol.effects import (
    Disconnect,
    EndLink,
    LogState,
    PublishEvents,
    ReportProgress,
    ResolveRequests,
    ServeCalls,
    WakeStreams,
)
from ..protocol.link.link import Link
from ..protocol.requester.error_factory import RequestErrors
from ..runtime.clock import finer_time
from ..runtime.item_streams import wake_all
from ..runtime.request_log import REQUEST_LOG
from ..runtime.waiters import ChangeNotifier, FairQueue, resolve_all
from ..runtime.wire_log import WIRE_LOG
from ..runtime.write_coalescer import WriteCoalescer
from ..transport.interface import Curve, SocketSettings
from .connect_errors import connect_error, how_far
from .dial_targets import DialTargets, look_up
from .progress_callbacks import ProgressCallbacks
from .reader import ComputerEngineReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from ..address import Address
    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ..events import LinkEvent
    from ..protocol.requester.request_ids import EndedIds
    from ..protocol.wire.encoder import Encoder
    from ..protocol.wire.messages import MessageDecoder
    from ..security.credentials import Security
    from ..transport.interface import Dealer, DealerMaker, Frames
    from .callbacks import EngineFunctions

__all__ = ["LinkDriver"]

log = Log(__name__)

GOODBYE_LINGER = 0.2
"""Seconds in which a GOODBYE may leave in the background after the socket was closed."""

FEW = 256
"""Messages of a container that are on no request, at most: what else waits to be read is a flood."""

ZMTP_SHARE = 0.75
"""Of an interval, between libzmq's own heartbeats: a silent host is given up between ``down_after`` and
``down_after`` plus this, which leaves time to tell it before the whole interval is over."""


class LinkDriver:
    """Carries out what a :class:`~mpzmq.protocol.link.link.Link` decides, for one remote.

    Args:
        remote_id: the id under which the worker knows the container.
        address: where it is.
        name: what it is called in errors, events and logs.
        session: the id of the link's session.
        engine_name: what the worker calls itself.
        codec: writes and reads records; all links of a worker share one (16 KiB of memory a link).
        ended_ids: what all links of a worker remember together.
        functions: what the container may call.
        security: the engine's keys, and the container's.
        transport: makes the socket.
        publish: takes the events of the link.
        once: the first dial is the only one if it fails.
    """

    def __init__(
        self,
        remote_id: UUID,
        address: Address,
        name: str,
        session: UUID,
        engine_name: str,
        *,
        reconnect: ReconnectPolicy,
        heartbeat: HeartbeatPolicy,
        limits: Limits,
        codec: tuple[Encoder, MessageDecoder],
        ended_ids: EndedIds,
        functions: EngineFunctions,
        security: Security | None,
        transport: DealerMaker,
        publish: Callable[[LinkEvent], None],
        once: bool,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = address
        self.limits = limits
        encoder, messages = codec
        now = self.loop.time()
        error_factory = RequestErrors(remote_id, name, address.text)
        policies = reconnect, heartbeat, limits
        self._functions = functions
        self._nested_calls = nested_calls = functions.nested_calls(name, remote_id, self)
        given = *policies, encoder, ended_ids
        self.link = Link(error_factory, session, engine_name, *given, once=once, now=now, nested_calls=nested_calls)
        self.progress_callbacks = ProgressCallbacks(self.link.tracker.progress, name)
        self._reader = ComputerEngineReader(self.link, messages)
        self._settings = SocketSettings(
            redial_interval=reconnect.interval,
            connect_timeout=reconnect.connect_timeout,
            heartbeat_interval=ZMTP_SHARE * heartbeat.interval,
            down_after=heartbeat.down_after,
            message_bytes=limits.message_bytes,
            curve=None
            if security is None
            else Curve(public=security.keys.public, secret=security.keys.secret, server_keys=security.server_keys),
        )
        self._transport = transport
        self._publish = publish
        self._dealer: Dealer | None = None
        self._targets: DialTargets | None = None
        self._lookup: asyncio.Task[None] | None = None
        self._writes = WriteCoalescer(self.loop, self._flush)
        WIRE_LOG.refresh()
        REQUEST_LOG.refresh()
        self._refused = False  # whether the last message was: an attempt costs as much as what waits
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        self._changes = ChangeNotifier(self.loop)
        self.queue = FairQueue()
        """Callers that wait for room in the link."""

    # For the writer and the worker

    def start(self) -> None:
        """Begins the first dial."""
        if self.address.is_numeric:
            self._dial([self.address.endpoint()])
        else:
            self._look_up(0.0)

    def schedule_write(self, deadline: float | None = None) -> None:
        """Something waits to leave: the first of a pass of the event loop at once, the others at the pass's end."""
        self._writes.schedule(0 if self._refused else self.link.outbox.corked)
        if deadline is not None and deadline < self._armed_for:
            self._arm()

    async def changed(self) -> None:
        """Waits until the link's state may have changed, or a request has ended."""
        await self._changes.wait()

    async def first_dial(self, timeout: float | None) -> None:
        """Waits until the container has said WELCOME.

        Args:
            timeout: seconds; None: any time.

        Raises:
            ConnectError: it did not, and why.
        """
        link = self.link
        try:
            async with asyncio.timeout(timeout):
                while not link.welcomed:
                    if link.is_over:
                        raise self.connect_error() or ConnectError(
                            f"the link to {link.error_factory.whom} was closed while it was being connected",
                            address=self.address.text,
                            name=link.error_factory.name,
                        )
                    await self.changed()
        except TimeoutError as error:
            if isinstance(error, ConnectError):
                raise
            raise ConnectTimeout(
                f"cannot connect to {link.error_factory.whom} within {timeout} s: {self.how_far()}",
                address=self.address.text,
                name=link.error_factory.name,
            ) from None

    def connect_error(self) -> ConnectError | None:
        """Why the last dial or connection ended, as ``connect()`` raises it."""
        link = self.link
        return None if link.failure is None else connect_error(link.failure, link, self.address.text)

    def how_far(self) -> str:
        """Where a dial that has not succeeded stands, and what to do, in words."""
        return how_far(self.link, self._dealer, self._settings)

    def close(self, why: str) -> None:
        """Ends the link: GOODBYE best effort, what is pending fails, nothing is left behind."""
        self.link.close(why, self.loop.time())
        self.run_effects()
        self._shut(GOODBYE_LINGER)

    # What the transport calls

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""
        self._writes.on_arrival()
        if WIRE_LOG.is_on:
            for frames in messages:
                WIRE_LOG.received(self.link.whom, frames)
        failure = self._reader.feed(messages, self.loop.time(), finer_time(self.loop))
        if failure is not None:
            self._abort_connection(failure)
        self.run_effects()

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        """Connections began or ended."""
        # Whatever a connection delivered before it ended comes before the news of its end.
        self._drain()
        if self._dealer is None:
            return
        link = self.link
        now = self.loop.time()
        for failure in changes:
            if failure is None:
                link.on_handshake(now)
            elif not (failure.was_up or failure.fatal) and (endpoint := self._next_candidate()) is not None:
                self._redirect(endpoint)
            else:
                link.on_connection_ended(failure, now)
                if not self.address.is_numeric and not link.is_over:
                    self._look_up(0.0)
        link.judge(now)
        self.run_effects()
        # A heartbeat begins or ends: what was armed before may be too late now.
        self._arm()

    def on_redial(self) -> bool:
        """A fresh dial is about to be scheduled. Returns whether it may leave promptly."""
        return self.link.on_redial(self.loop.time())

    def on_writable(self) -> None:
        """A refused send may succeed now."""
        self._flush()

    def on_doubt(self) -> None:
        """The connection may have ended: the container is asked at once."""
        self.link.on_doubt()
        self._flush()

    # Acting on what was decided

    def run_effects(self) -> None:
        """Does what the link wants done, and sends what may leave."""
        self._take_effects()
        self._flush()
        if self._timer is None:
            self._arm()

    def _take_effects(self) -> None:
        effects = self.link.effects
        while effects:
            match effects.popleft():
                case ResolveRequests(outcomes):
                    self._resolve(outcomes)
                case WakeStreams(wakers):
                    wake_all(wakers)
                case PublishEvents(events):
                    self._publish_all(events)
                case ReportProgress(tags):
                    self.progress_callbacks.tell(tags)
                case ServeCalls():
                    self._serve()
                case Disconnect(failure):
                    self._disconnect(failure)
                case LogState(whom, state, reason):
                    if WIRE_LOG.is_on:
                        WIRE_LOG.state(whom, state, reason)
                case EndLink():
                    self._send()
                    self._shut(GOODBYE_LINGER)

    def _disconnect(self, failure: Failure) -> None:
        """Ends a connection that the link does not want, when what it has to say has left."""
        if self.link.is_handshaken:  # else the connection has ended meanwhile
            if not self.link.welcomed:
                self._send()  # its last word, and no request can go along
            self._abort_connection(failure)

    def _serve(self) -> None:
        """Starts and ends what the container has asked."""
        self._functions.serve(self._nested_calls)
        if self._nested_calls.is_overflowing:
            detail = "it asks more of this engine than it takes answers for"
            self._abort_connection(Failure(FailureKind.LOST, detail, was_up=True))

    def _resolve(self, outcomes: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
        """Tells those who wait for requests of their ends."""
        resolve_all(outcomes)
        if len(outcomes) > 1 and not self._writes.is_corked:
            # Those who wait run in the next pass, and what they ask then leaves as one message, behind the last of
            # them: the first alone would wake the container for one request (64 in flight: half the messages).
            self._writes.cork()
        self.wake()

    def _publish_all(self, events: Sequence[LinkEvent]) -> None:
        now = time.time()
        for event in events:
            log.info("%s: %s (%s)", self.link.whom, type(event).__name__, event.reason)
            self._publish(dataclasses.replace(event, time=now))
        self._arm()
        self.wake()

    def wake(self) -> None:
        """Lets those look again who wait for room, or for another state."""
        self.queue.wake()
        if self._changes.has_waiters:
            self._changes.notify_all()

    def _flush(self) -> None:
        """Sends what may leave, and does what follows from it."""
        self._send()
        if self.link.effects:
            self._take_effects()

    def _send(self) -> None:
        """The only place from which messages leave."""
        dealer = self._dealer
        if dealer is None:
            return
        link = self.link
        now = self.loop.time()
        while (outgoing := link.next_outgoing(now)) is not None:
            self._refused = not dealer.send(outgoing.frames)
            if self._refused:
                outgoing.origin.requeue(outgoing)
                return
            if WIRE_LOG.is_on:
                WIRE_LOG.sent(self.link.whom, outgoing.frames)
            link.on_sent(outgoing, now)

    def _arm(self) -> None:
        self._disarm()
        if not self.link.is_over:
            when = self.link.next_tick(self.loop.time())
            if when is not None:
                # In none of its own: a timer holds its context, here that of a request, and hands it down to the next.
                self._timer = self.loop.call_at(when, self._tick, context=Context())
                self._armed_for = when

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed_for = math.inf

    def _tick(self) -> None:
        self._timer = None
        WIRE_LOG.refresh()
        REQUEST_LOG.refresh()
        now = self.loop.time()
        self.link.on_timer(now, now - self._armed_for)
        self._armed_for = math.inf
        # If this loop was blocked, what it missed has to be heard before anybody is judged.
        self._drain()
        self.link.tick(self.loop.time(), finer_time(self.loop))
        self.run_effects()

    def _drain(self) -> None:
        """Reads what has arrived, before somebody is judged for silence."""
        # All that may matter: a container has a word or two on each request, and little else to say. What was asked for
        # comes on top, items of streams and parts of replies: no more of them than there was credit for.
        link = self.link
        most, asked_for = 2 * link.in_flight + FEW, link.count_asked_for()
        while most > 0 and self._dealer is not None:
            self._dealer.drain(most)
            now_asked_for = link.count_asked_for()
            most, asked_for = now_asked_for - asked_for, now_asked_for

    def _abort_connection(self, failure: Failure) -> None:
        """Ends a connection that stands but is of no use."""
        now = self.loop.time()
        self.link.on_connection_ended(failure, now)
        self.link.judge(now)
        if self._dealer is not None and not self.link.is_over:
            self._dealer.redial()

    def _shut(self, linger: float) -> None:
        """Frees everything that the link holds here; what is queued may leave in the background."""
        self._disarm()
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        if self._dealer is not None:
            dealer, self._dealer = self._dealer, None
            dealer.close(linger)
            self._functions.depart(self._nested_calls)
        self.wake()

    # Names

    def _dial(self, endpoints: list[str]) -> None:
        self._targets = DialTargets(endpoints)
        self._dealer = self._transport.dealer(self._targets.current, self._settings, self)

    def _next_candidate(self) -> str | None:
        """An address of the name that was not tried in this attempt; None: all were."""
        return None if self._targets is None else self._targets.next_untried()

    def _redirect(self, endpoint: str) -> None:
        """Dials another address of the same name, without a failed attempt."""
        if self._dealer is not None:
            self._dealer.redirect(endpoint)

    def _look_up(self, delay: float) -> None:
        if self._lookup is None or self._lookup.done():
            self._lookup = self.loop.create_task(self._looked_up(delay))

    async def _looked_up(self, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                endpoints = await look_up(self.address)
        except OSError as error:  # TimeoutError is one
            if self._targets is not None:
                return  # the last answer still stands; libzmq goes on dialling it
            reason = "the resolver did not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            detail = f"the host name {self.address.host!r} has no address ({reason})"
            self._not_dialled(Failure(FailureKind.NOT_FOUND, detail))
            return
        if self._targets is None:
            try:
                self._dial(endpoints)
            except OSError as error:
                self._targets = None
                self._not_dialled(Failure(FailureKind.LOCAL, error.strerror or str(error)))
        elif not self.link.welcomed and self._targets.refreshed(endpoints):
            self._redirect(self._targets.current)

    def _not_dialled(self, failure: Failure) -> None:
        """A dial ended before there was anything to dial with; another lookup begins the next one."""
        self._lookup = None
        now = self.loop.time()
        self.link.on_connection_ended(failure, now)
        self.link.judge(now)
        if not self.link.is_over:
            self._look_up(self._settings.redial_interval)
        self.run_effects()
