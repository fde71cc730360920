"""Many containers, one engine."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Self, overload
from uuid import UUID, uuid4

from ..address import RUST
from ..admin.host import AdminHost
from ..common.durations import checked_timeout, checked_wait
from ..common.histograms import KeepsHistograms
from ..common.set_module import set_module
from ..config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS, DEFAULT_RECONNECT
from ..handlers.registration import Registration
from ..models import LinkState, Progress
from ..protocol.requester.options import UNSET, Options
from ..protocol.requester.request_ids import EndedIds
from ..protocol.rust.params import JsonEncoder
from ..protocol.wire.encoder import Encoder
from ..protocol.wire.kinds import Kind
from ..protocol.wire.messages import MessageDecoder
from ..runtime.lifecycle import Lifecycle
from ..runtime.names import checked_name, process_name
from ..runtime.opening import Opening
from ..runtime.pass_limit import PassLimit
from ..runtime.transports import AnyTransport
from ..security.credentials import of_engine
from .arguments import checked_connect
from .callbacks import EngineFunctions
from .event_stream import EventStream
from .group_opening import GroupOpening
from .groups import Groups
from .link_driver import LinkDriver
from .links import Links
from .middleware_registration import MiddlewareRegistration
from .reconnect_settings import ReconnectSettings
from .service import EngineService
from .worker_status import WorkerStatus
from .writer import ComputerEngineWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ..address import Address
    from ..config import HeartbeatPolicy, Limits, ReconnectPolicy
    from ..events import LinkEvent
    from ..protocol.requester.options import _U
    from ..security.credentials import Security
    from ..statistics import Statistics
    from ..transport.interface import DealerMaker, Transport
    from .group import Group

__all__ = ["ComputerEngineWorker"]

LINKS_AT_ONCE = 16
"""Links that a worker begins, or ends when it closes, in one pass of the event loop: a few milliseconds."""

_CLOSED = "the worker was closed"


@set_module("mpzmq")
class ComputerEngineWorker(
    GroupOpening, ReconnectSettings, Registration, MiddlewareRegistration, KeepsHistograms, AdminHost
):
    """The engine's side: connects to containers and talks to them.

    Constructing opens nothing and binds to no event loop. Use it as ``async with worker:``, or start
    ``asyncio.create_task(worker.run())``; requests work as soon as :meth:`connect` has returned, either way.

    Args:
        reconnect: how lost links dial again.
        heartbeat: how the life of containers is judged.
        limits: bounds on everything that could grow.
        security: the engine's keys, and those of the containers; None: plain, and whoever answers.
        name: what containers know it by; by default ``HOST/PID``.
        typed: values may be of the application's types (dataclasses, enums, dates ...), and what containers pass to
            functions of the worker is converted by their annotations (extra ``typed``).

    Raises:
        ImportError: ``typed`` without the extra.
        ValueError, TypeError: the security is that of a container, or none; or the name is none.
    """

    _streams = False
    _call_options = frozenset({"timeout", "lost_after"})  # those of RequestContext.call()
    _detour = "it given by position"

    def __init__(
        self,
        *,
        reconnect: ReconnectPolicy = DEFAULT_RECONNECT,
        heartbeat: HeartbeatPolicy = DEFAULT_HEARTBEAT,
        limits: Limits = DEFAULT_LIMITS,
        security: Security | None = None,
        name: str | None = None,
        typed: bool = False,
    ) -> None:
        ReconnectSettings.__init__(self, reconnect)
        Registration.__init__(self, typed=typed)
        MiddlewareRegistration.__init__(self)
        AdminHost.__init__(self)
        self.name = process_name() if name is None else checked_name(name)
        self._security = of_engine(security)
        self._heartbeat = heartbeat
        self.limits = limits
        self._codec = Encoder(limits, self._registry.carried), MessageDecoder(limits, answered=Kind.RESPONSE)
        self._functions = EngineFunctions(self._registry, limits, self._codec[0])
        self.ended_ids = EndedIds()
        self._transport: Transport = AnyTransport(limits)
        self._lifecycle = Lifecycle("worker")
        self._links = Links()
        self._dials = PassLimit(LINKS_AT_ONCE)
        self._end = self._links.end
        self._connections, self._writers = self._links.connections, self._links.writers
        # A listener that is dropped without a word is forgotten.
        self._listeners: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._running = False
        self._groups: Groups[Group] = Groups()

    def __repr__(self) -> str:
        return f"<ComputerEngineWorker {len(self.get_connected_containers())} of {len(self._connections)} connected>"

    # Life

    async def __aenter__(self) -> Self:
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self) -> None:
        """Returns when the worker is closed; cancelling it closes the worker.

        Raises:
            RuntimeError: it is running already.
        """
        if self._lifecycle.is_closed:
            return
        self._lifecycle.loop_bound.bind()
        if self._running:
            raise RuntimeError("this worker is running already: one run() at a time")
        self._running = True
        try:
            await self._lifecycle.ended()
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._running = False

    async def close(self, timeout: float = 0.0) -> None:
        """Ends all links: waits that long for what is in flight, then ends what is left with ``ConnectionClosed``.

        Idempotent; takes little more than ``timeout`` seconds whatever the containers do.

        Args:
            timeout: seconds for what is in flight.
        """
        checked_wait(timeout)
        await self._lifecycle.close(lambda: self._close(timeout))

    async def _close(self, timeout: float) -> None:
        try:
            if timeout > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        for connection in list(self._connections.values()):
                            while connection.link.in_flight:
                                await connection.changed()
            for group in list(self._groups.open.values()):
                await group.close()
            self._lifecycle.is_closed = True
            for number, remote_id in enumerate(list(self._connections), 1):
                if remote_id in self._connections:  # it may be disconnected meanwhile
                    self._end(remote_id, _CLOSED)
                if number % LINKS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            await self._functions.close()
            await self._transport.release()
        finally:
            for remote_id in list(self._connections):  # if this was cancelled
                self._end(remote_id, _CLOSED)
            for stream in list(self._listeners):
                stream.end()
            self._listeners.clear()
            await self._close_admin()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        lifecycle = getattr(self, "_lifecycle", None)
        if lifecycle is not None and lifecycle.loop_bound.is_taken:
            _warn(f"{self!r} was never closed: use 'async with', or await close()", ResourceWarning, source=self)

    # Containers

    # fmt: off
    @overload
    def connect(
        self, address: str | tuple[str, int], /, *,
        name: str | None = None, timeout: float | None = 5.0, wait: bool = True, security: Security | None = None,
    ) -> Opening[ComputerEngineWriter]: ...

    @overload
    def connect(
        self, *, address: str | tuple[str, int],
        name: str | None = None, timeout: float | None = 5.0, wait: bool = True, security: Security | None = None,
    ) -> Opening[ComputerEngineWriter]: ...

    @overload
    def connect(
        self, remote_id: UUID, address: str | tuple[str, int], *,
        name: str | None = None, timeout: float | None = 5.0, wait: bool = True, security: Security | None = None,
    ) -> Opening[ComputerEngineWriter]: ...
    # fmt: on

    def connect(
        self,
        remote_id: UUID | str | tuple[str, int] | _U = UNSET,
        address: str | tuple[str, int] | _U = UNSET,
        *,
        name: str | None = None,
        timeout: float | None = 5.0,
        wait: bool = True,
        security: Security | None = None,
    ) -> Opening[ComputerEngineWriter]:
        """Connects to one container: ``container = await worker.connect("127.0.0.1:3010")``.

        ``async with worker.connect("127.0.0.1:3010") as container`` disconnects it at the end of the block.

        Args:
            remote_id: the id under which this worker is to know it; by default a new one, ``container.remote_id``.
            address: ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``(host, port)`` or ``"ipc://path"``; the
                first argument where the id is left out.
            name: what it is called in errors, events and logs; by default the address.
            timeout: seconds to wait for its WELCOME.
            wait: False: returns at once, and dials in the background by the reconnect policy.
            security: keys for this container; None: the worker's.

        Returns:
            What gives the container's handle when it is awaited or entered; it opens nothing before.

        Raises:
            ConnectError: one of its subclasses; nothing stays registered.
            ValueError: the id is in use or nil, or the address is malformed.
            TypeError: the id is no UUID, or the address is of no known form.
            RuntimeError: the worker is closed, or belongs to another event loop.
        """
        opening = self._connect(remote_id, address, name, timeout, security, wait=wait)
        return Opening(opening, self._leave, "ComputerEngineWorker.connect")

    async def _connect(
        self, given_id: object, given: object, name: str | None, timeout: float | None, security: Security | None, *,
        wait: bool,
    ) -> ComputerEngineWriter:  # fmt: skip
        remote_id, parsed = checked_connect(given_id, given)
        checked_timeout(timeout)
        if not self._lifecycle.is_ending:
            self._lifecycle.loop_bound.bind()
            await self._dials.turn()
        if self._lifecycle.is_ending:
            raise RuntimeError("this worker is closed: enter it again with 'async with', or make another one")
        if (known := self._connections.get(remote_id)) is not None:
            if known.link.state is not LinkState.FAILED:
                raise ValueError(
                    f"{remote_id} is {known.link.state} at {known.address.text} already:"
                    " disconnect() it first, or choose another id"
                )
            self._end(remote_id, "it was connected anew")
        name = parsed.text if name is None else checked_name(name)
        connection, writer = self._register(remote_id, parsed, name, security, once=wait)
        try:
            connection.start()
            if wait:
                await connection.first_dial(timeout)
        except BaseException:
            if self._connections.get(remote_id) is connection:
                self._end(remote_id, "connect() did not succeed")
            raise
        return writer

    def _register(
        self,
        remote_id: UUID,
        address: Address,
        name: str,
        security: Security | None,
        *,
        once: bool,
        reconnect: ReconnectPolicy | None = None,
        publish: Callable[[LinkEvent], None] | None = None,
        transport: DealerMaker | None = None,
    ) -> tuple[LinkDriver, ComputerEngineWriter]:
        connection = LinkDriver(
            remote_id,
            address,
            name,
            # A session of its own: two links to one container must not supersede each other.
            uuid4(),
            self.name,
            reconnect=self._reconnect if reconnect is None else reconnect,
            heartbeat=self._heartbeat,
            limits=self.limits,
            codec=self._codec_of(address),
            ended_ids=self.ended_ids,
            functions=self._functions,
            security=self._security_of(address, security),
            transport=self._transport if transport is None else transport,
            publish=self._publish if publish is None else publish,
            once=once,
        )
        writer = ComputerEngineWriter(
            connection, self._lifecycle.loop_bound, Options(), self.disconnect, self._outgoing
        )
        self._links.add(connection, writer, is_member=publish is not None)
        return connection, writer

    def _codec_of(self, address: Address) -> tuple[Encoder, MessageDecoder]:
        """What writes and reads the records of a link."""
        if address.scheme == RUST:
            return JsonEncoder(self.limits, self._registry.carried), self._codec[1]
        return self._codec

    def _security_of(self, address: Address, security: Security | None) -> Security | None:
        security = of_engine(security) or self._security
        if security is not None and address.scheme == RUST:
            raise ValueError(f"{address.text} has no keys: connect to it with a worker that has no security")
        return security

    async def _leave(self, writer: ComputerEngineWriter) -> None:
        """The block that has connected a container is left; the id may be that of another link by now."""
        if self._writers.get(writer.remote_id) is writer:
            await self.disconnect(writer.remote_id)

    async def disconnect(self, remote_id: UUID, timeout: float = 0.0) -> None:
        """Ends one link: waits that long for what is in flight, then ends what is left with ``ConnectionClosed``.

        An id that is not connected is nothing to do.

        Args:
            remote_id: the id of the container.
            timeout: seconds for what is in flight.
        """
        if not isinstance(remote_id, UUID):
            raise TypeError(f"remote_id is a UUID, not {type(remote_id).__name__}")
        checked_wait(timeout)
        connection = self._connections.get(remote_id)
        if connection is None:
            return
        self._lifecycle.loop_bound.bind()
        if timeout > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    while connection.link.in_flight:
                        await connection.changed()
        if self._connections.get(remote_id) is connection:
            self._end(remote_id, "it was disconnected")

    def get_engine(self, remote_id: UUID) -> ComputerEngineWriter | None:
        """The handle of a container; None if the id is not known.

        Args:
            remote_id: the id of the container.

        Returns:
            The handle, or None.
        """
        return self._writers.get(remote_id)

    def containers(self) -> tuple[ComputerEngineWriter, ...]:
        """The handles of all containers but those in groups, connected or not. Any thread may ask."""
        return self._links.single()

    def groups(self) -> tuple[Group, ...]:
        """All groups. Any thread may ask."""
        return tuple(self._groups.open.values())

    def get_connected_containers(self) -> list[UUID]:
        """The containers that can be talked to now: ALIVE, and BUSY but greeted."""
        return [remote_id for remote_id, connection in self._connections.items() if connection.link.is_running]

    def service(
        self,
        *,
        timeout: float | None = 30.0,
        wait: bool = True,
        idempotent: bool = False,
        metadata: Mapping[str, Any] | None = None,
        progress: Callable[[Progress], object] | None = None,
        lost_after: float | _U | None = UNSET,
    ) -> EngineService:
        """A handle for requests with these defaults; as many as one likes.

        Args:
            timeout, wait, idempotent, metadata, progress: as in :meth:`EngineService.request`.
            lost_after: as in :meth:`EngineService.options`; by default that of the ``ReconnectPolicy``.
        """
        return EngineService(self, Options(timeout, wait, idempotent, metadata, progress, lost_after))

    # For the service

    def listen(self, remote_id: UUID | None) -> EventStream:
        """A new listener to the events of one link or of all."""
        stream = EventStream(remote_id, self.limits.events)
        if self._lifecycle.is_closed:
            stream.end()
        else:
            self._listeners.add(stream)
        return stream

    def statistics(self) -> Statistics:
        """The counters of all links, those that have ended included."""
        return self._links.statistics()

    def _keep_durations(self, buckets: tuple[float, ...]) -> None:
        self._links.keep_durations(buckets)

    def _subject(self) -> WorkerStatus:
        return WorkerStatus(self, self.name, self._lifecycle, self._links, self._groups.open)

    def _publish(self, event: LinkEvent) -> None:
        for stream in list(self._listeners):
            stream.publish(event)
