"""The container's side, as users see it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload
from uuid import UUID, uuid4

from ..address import RUST, parse_address
from ..admin.host import AdminHost
from ..common.durations import checked_after, checked_wait
from ..common.histograms import KeepsHistograms
from ..common.logs import Log
from ..common.set_module import set_module
from ..config import DEFAULT_HEARTBEAT, DEFAULT_LIMITS
from ..handlers.interfaces import fitting_methods
from ..handlers.registry import Function
from ..models import Status
from ..protocol.wire.kinds import Goodbye
from ..runtime.lifecycle import Lifecycle
from ..runtime.names import checked_name, process_name
from ..runtime.transports import AnyTransport
from ..security.credentials import of_container
from ..statistics import ServerStatistics
from .binding import bindable
from .handler_registration import HandlerRegistration
from .lifespan import ClosedWhileStarting, Lifespan
from .lobby_joining import LobbyJoining
from .process import importing, loop_factory, run
from .server_status import ServerStatus
from .session_driver import SessionDriver
from .signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from ..config import HeartbeatPolicy, Limits
    from ..events import EngineInfo
    from ..security.credentials import Security
    from ..transport.interface import Transport
    from .lobby_joining import Join

__all__ = ["ContainerServer"]

log = Log(__name__)

_H = TypeVar("_H", bound="Callable[..., Any]")


@set_module("mpzmq")
class ContainerServer(HandlerRegistration, LobbyJoining, KeepsHistograms, AdminHost):
    """Serves functions and plain requests to any number of engines.

    Constructing opens nothing and binds to no event loop; serving starts with :meth:`bind`.

    Args:
        name: what it calls itself; by default host and process id.
        lifespan: an async context manager made from the server, entered before the first bind and left after the
            drain, in one task; its value is ``context.state``. A close cancels its start, and its end after 30
            seconds; if it breaks down in between, the server is closed.
        heartbeat: how the life of engines is judged.
        limits: bounds on everything that could grow.
        security: its keys, and who may come, on all its endpoints; None: whoever can reach it.
        orphan_after: seconds for which an engine may be without a connection before what runs for it is cancelled,
            counted from when that is known; None: any time. A ``cancellable=False`` handler runs to its end.
        typed: convert arguments by the annotations of the handlers before these start: what does not fit is
            ``InvalidArguments``, and no handler has run. Results may be of the same types (extra ``typed``).
        propagate: keys of a request's metadata that calls made inside its handler carry on, such as ``"traceparent"``;
            what such a call sends along itself goes first.

    Raises:
        ImportError: ``typed`` without the extra.
        ValueError, TypeError: the security is that of an engine, or none; ``orphan_after`` is not a number of seconds;
            ``propagate`` is no tuple of str.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        lifespan: Callable[[ContainerServer], AbstractAsyncContextManager[Any]] | None = None,
        heartbeat: HeartbeatPolicy = DEFAULT_HEARTBEAT,
        limits: Limits = DEFAULT_LIMITS,
        security: Security | None = None,
        orphan_after: float | None = 30.0,
        typed: bool = False,
        propagate: Iterable[str] = (),
    ) -> None:
        HandlerRegistration.__init__(self, propagate, typed=typed)
        AdminHost.__init__(self)
        self._registry.orphan_after = checked_after(orphan_after, "orphan_after")
        self.name = process_name() if name is None else checked_name(name)
        self._lifespan = lifespan
        self._heartbeat = heartbeat
        self._limits = limits
        self._transport: Transport = AnyTransport(limits)
        self._lifecycle = Lifecycle("server")
        self._status = Status.RUNNING
        self._driver: SessionDriver | None = None
        self.security = security
        self._final = ServerStatistics()  # at the end of the last close
        # Any thread may ask for counters, and at a close they move from the one to the other.
        self._lock = threading.Lock()
        self._life: Lifespan | None = None

    def __repr__(self) -> str:
        return f"<ContainerServer {self.name!r} {self.status}{' closed' if self._lifecycle.is_closed else ''}>"

    # Handlers

    # fmt: off
    @overload
    def function(
        self, handler: _H, /, *,
        name: str | None = None, thread: bool = False, cancellable: bool = True, max_concurrency: int | None = None,
        orphan_after: float | Literal["server"] | None = "server",
    ) -> _H: ...

    @overload
    def function(
        self, handler: None = None, /, *,
        name: str | None = None, thread: bool = False, cancellable: bool = True, max_concurrency: int | None = None,
        orphan_after: float | Literal["server"] | None = "server",
    ) -> Callable[[_H], _H]: ...
    # fmt: on

    def function(
        self,
        handler: _H | None = None,
        /,
        *,
        name: str | None = None,
        thread: bool = False,
        cancellable: bool = True,
        max_concurrency: int | None = None,
        orphan_after: float | Literal["server"] | None = "server",
    ) -> _H | Callable[[_H], _H]:
        """Registers a function that engines call by name; as a decorator, or as a plain call for bound methods.

        ``async def`` handlers run in tasks of their own, plain ones on the event loop.

        Args:
            handler: the function.
            name: under which it is called; by default its own.
            thread: run it in a worker thread, for code that blocks.
            cancellable: False: it runs to its end whatever caller and deadline do, and its reply is kept.
            max_concurrency: how many of its runs work at once, whoever asks; others wait, in order. None: any number.
            orphan_after: seconds for which its engine may be without a connection before a run is cancelled; None: any
                time; ``"server"``: as long as the server says.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: the name is taken, ``max_concurrency`` is less than 1, ``orphan_after`` is not a time,
                or given for a handler that is not cancellable.
            TypeError: it cannot be called this way.

        Warns:
            UserWarning: a parameter of it has the name of an option of ``call()`` or ``stream()``, which takes that
                keyword for its own.
        """
        if orphan_after == "server":
            after = self._registry.orphan_after if cancellable else None
        elif not cancellable:
            raise ValueError("a handler with cancellable=False is never an orphan: leave orphan_after out")
        else:
            after = checked_after(orphan_after, "orphan_after")
        options = {"cancellable": cancellable, "max_concurrency": max_concurrency, "orphan_after": after}
        return self._registering(handler, name, thread=thread, **options)

    def functions(self, of: object, *, interface: type) -> None:
        """Registers the methods of an object that an interface names: all of them, or none.

        Args:
            of: the object.
            interface: the class that callers give to ``container.of()``.

        Raises:
            TypeError: a method is missing, or does not fit what the interface says; or it is no interface.
            ValueError: the name of one is taken.
            ImportError: the extra ``typed`` is missing.
        """
        handlers = fitting_methods(of, interface)
        taken = [name for name in handlers if name in self._registry.functions]
        if taken:
            raise ValueError(f"there is a function {taken[0]!r} already: none of these was registered")
        for name, handler in handlers.items():
            self.function(handler, name=name)

    def on_invoke(self, handler: _H) -> _H:
        """Registers the handler of plain requests: data in, data out.

        Args:
            handler: takes the data, and returns that of the reply.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: there is one already.
        """
        if self._registry.invoke is not None:
            raise ValueError("there is a handler for plain requests already: a server has one")
        self._registry.invoke = self._registry.adopt(Function(None, handler, orphan_after=self._registry.orphan_after))
        return handler

    # State

    @property
    def status(self) -> Status:
        """The run state. In STOP, plain requests and functions are refused."""
        return self._status if self._driver is None else self._driver.sessions.status

    @status.setter
    def status(self, status: Status) -> None:
        self._status = Status(status)
        if self._driver is not None:
            self._driver.sessions.status = self._status

    @property
    def security(self) -> Security | None:
        """Its keys, and who may come; None: whoever can reach it. To be set before the first bind.

        Raises:
            ValueError, TypeError: the security is that of an engine, or none.
            RuntimeError: it serves already.
        """
        return self._security

    @security.setter
    def security(self, security: Security | None) -> None:
        if self._driver is not None:
            raise RuntimeError("this server serves already: its security is set before the first bind")
        self._security = of_container(security)

    @property
    def instance(self) -> UUID | None:
        """The id of this incarnation, from the first bind to the close; a restart makes a new one."""
        return None if self._driver is None else self._driver.sessions.instance

    def engines(self) -> tuple[EngineInfo, ...]:
        """The engines that are connected now, in the order in which they came. May be called from any thread."""
        driver = self._driver
        return () if driver is None else tuple(driver.sessions.presence.here.values())

    def statistics(self) -> ServerStatistics:
        """The counters since the first bind, those from before a close included; after a close, those at its end."""
        with self._lock:
            driver, ended = self._driver, self._final
        return ended if driver is None else ended.totals() + driver.statistics()

    def _keep_durations(self, buckets: tuple[float, ...]) -> None:
        if self._driver is not None:
            self._driver.dispatcher.counters.keep_durations(buckets)

    # Life

    async def bind(self, endpoint: str | tuple[str, int], *, insecure: bool = False) -> str:
        """Serves on an endpoint, from now on; several times for several endpoints.

        Args:
            endpoint: ``"host:port"``, ``"tcp://host:port"``, ``(host, port)``, ``"ipc://path"``, or
                ``"rust+tcp://host:port"`` for clients of the Rust crate mp-executor-engine. Port 0 picks a free one,
                host ``*`` is every interface. At a path the socket of a server that is gone is replaced, and nothing
                else. ``"ipc://@name"`` is an abstract socket, which has no file, and which every user of the host can
                reach (Linux).
            insecure: allow an endpoint that other hosts can reach, although there is no security.

        Returns:
            The real endpoint.

        Raises:
            InsecureBind: other hosts could reach it, there is no security, and ``insecure`` is not set.
            OSError: it cannot be bound: in use (EADDRINUSE), no such interface, no permission, no such folder; or
                something stands at the path that is not the socket of a dead server (EEXIST).
            ValueError, TypeError: it is malformed.
            RuntimeError: the server is draining or closed, or belongs to another event loop.
        """
        address = parse_address(endpoint, bind=True)
        if self._lifecycle.is_ending:
            raise RuntimeError("this server is closed: enter it again with 'async with', or make another one")
        self._lifecycle.loop_bound.bind()
        security = self._security if self._driver is None else self._driver.security
        if security is not None and address.scheme == RUST:
            raise ValueError(f"{address.text} has no keys, and whoever comes there would pass by those of this server")
        host = await bindable(address, self.name, secure=security is not None, insecure=insecure)
        driver = await self._start(security)
        if driver.security is not security:
            raise RuntimeError("the security of this server was changed while it started")
        if driver.sessions.draining is not None:
            raise RuntimeError("this server is draining: it takes no new endpoint")
        bound = driver.router.bind(address.endpoint(host))
        log.info("container %r serves on %s", self.name, bound)
        return bound

    async def _start(self, security: Security | None) -> SessionDriver:
        state = None
        if self._driver is None and self._lifespan is not None:
            if self._life is None or self._life.has_ended:
                self._life = Lifespan(self._lifespan(self), self._begin_close)
            state = await self._life.start()
        if self._lifecycle.is_ending:
            raise ClosedWhileStarting
        if self._driver is None:
            self._registry.resolve_types()
            settings = self._heartbeat, self._limits, security
            make = partial(SessionDriver, uuid4(), self.name, self._registry, *settings, self._transport)
            # Handlers run in the context of the bind, lifespan included.
            self._driver = make() if self._life is None else self._life.context.run(make)
            self._driver.sessions.status = self._status
            self._driver.dispatcher.state = state
            self._driver.dispatcher.counters.keep_durations(self._buckets)
        return self._driver

    async def __aenter__(self) -> Self:
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def serve_forever(self, *, handle_signals: bool = False, drain_timeout: float = 8.0) -> None:
        """Returns when the server is closed; cancelling it closes the server.

        Args:
            handle_signals: on SIGTERM or SIGINT drain and close; on a second one close at once, or end the process, as
                :meth:`run` does. Once this has returned, signals do what they did before. What comes then is the
                program's: ``asyncio.run()`` and the interpreter wait for each thread of ``asyncio.to_thread()``,
                however long; for those of ``thread=True`` nobody does.
            drain_timeout: seconds that a drain may take.

        Raises:
            Exception: what the lifespan has raised at its end.
        """
        checked_wait(drain_timeout, "drain_timeout")
        if self._lifecycle.is_closed:
            return
        loop, ended = self._lifecycle.loop_bound.bind(), self._lifecycle.ended()
        with Signals(self, loop, drain_timeout) if handle_signals else contextlib.nullcontext():
            try:
                await ended
            except asyncio.CancelledError:
                await self.close()
                raise

    async def drain(self, timeout: float = 8.0) -> None:
        """Takes no new work, and waits until what runs has ended and every engine has its replies.

        Engines are told at once. Ends after ``timeout`` seconds anyway. The endpoints are freed by :meth:`close`:
        libzmq cannot stop listening without ending the connections it has accepted.

        Args:
            timeout: seconds for all of it.
        """
        checked_wait(timeout)
        self._lifecycle.loop_bound.require()
        driver = self._driver
        if driver is None:
            return
        if driver.sessions.draining is None:
            driver.broadcast_goodbye(Goodbye.DRAINING, "the container is draining")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await driver.drained()

    async def close(self) -> None:
        """Cancels what runs, tells the engines, and frees everything. Idempotent and bounded.

        Raises:
            Exception: what the lifespan has raised at its end.
        """
        await self._lifecycle.close(self._close)

    def _begin_close(self) -> asyncio.Task[None]:
        return self._lifecycle.begin_close(self._close)

    async def _close(self) -> None:
        self._lifecycle.is_closed = True
        driver = self._driver
        if driver is not None:
            await driver.close()
            self._status = driver.sessions.status
            final = self.statistics()
            with self._lock:
                self._final, self._driver = final, None
        try:
            if self._life is not None:
                await self._life.end()
        finally:
            self._life = None
            await self._transport.release()
            await self._close_admin()

    def _subject(self) -> ServerStatus:
        return ServerStatus(self, self._lifecycle, lambda: self._driver)

    def _end_within(self, seconds: float) -> None:
        """The end of the lifespan may not take longer."""
        if self._life is not None:
            self._life.end_within(seconds)

    def run(
        self,
        *endpoints: str | tuple[str, int],
        insecure: bool = False,
        drain_timeout: float = 8.0,
        loop: str = "auto",
        on_bound: Callable[[str], object] | None = None,
        admin: str | tuple[str, int] | None = None,
        join: Join | None = None,
    ) -> None:
        """Serves on the endpoints until SIGTERM or SIGINT, then drains; a second signal closes at once.

        SIGHUP, the end of a terminal, drains as well, unless it is ignored, blocked, or handled by the application.

        A process that is still there 3 seconds after the second signal, because something blocks it, is ended hard,
        with the exit code 143 (130 for SIGINT). Nothing waits for a thread of ``asyncio.to_thread()`` for longer than
        the drain may take.

        Args:
            endpoints, insecure: as for :meth:`bind`; at least one endpoint, or ``join``.
            drain_timeout: seconds that the drain may take; 8 stays under Docker's 10 and Kubernetes' 30.
            loop: ``"asyncio"``, ``"uvloop"``, or ``"auto"``: uvloop where it is installed.
            on_bound: called with each real endpoint, once it is served; for port 0.
            admin: where to answer over HTTP how the server is, as for :meth:`bind_admin`; None: nowhere.
            join: an engine to dial, which accepts containers. It need not be there yet: this goes on until it is.

        Raises:
            RuntimeError: an event loop is running already: use :meth:`serve_forever` there.
            InsecureBind, OSError, ValueError: as for :meth:`bind`.
            Exception: what the lifespan has raised.
        """
        checked_wait(drain_timeout, "drain_timeout")
        if not endpoints and join is None:
            raise ValueError("run() needs an endpoint, such as 'tcp://127.0.0.1:3010'")
        if (module := importing.get()) is not None:
            raise RuntimeError(f"{module} is only imported: put its server.run() below if __name__ == '__main__':")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("an event loop is running already: use 'await server.bind(...)' and serve_forever()")
        run(
            lambda: self._serve(endpoints, insecure, on_bound, admin, join),
            loop_factory(loop),
            lambda loop: Signals(self, loop, drain_timeout),
        )

    async def _serve(
        self,
        endpoints: tuple[str | tuple[str, int], ...],
        insecure: bool,
        on_bound: Callable[[str], object] | None,
        admin: str | tuple[str, int] | None,
        join: Join | None,
    ) -> None:
        async with self:
            if admin is not None:
                await self.bind_admin(admin, insecure=insecure)
            with contextlib.suppress(ClosedWhileStarting):
                for endpoint in endpoints:
                    if not self._lifecycle.is_closed:
                        bound = await self.bind(endpoint, insecure=insecure)
                        if on_bound is not None:
                            on_bound(bound)
                if join is not None and not self._lifecycle.is_closed:
                    await self.join(
                        join.address,
                        token=join.token,
                        name=join.name,
                        labels=join.labels,
                        security=join.security,
                        insecure=insecure,
                        wait=False,
                    )
            await self.serve_forever()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        lifecycle = getattr(self, "_lifecycle", None)
        if lifecycle is not None and lifecycle.loop_bound.is_taken:
            _warn(f"{self!r} was never closed: use 'async with', or await close()", ResourceWarning, source=self)
