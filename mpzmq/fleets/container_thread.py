"""A container in a thread of a process that does something else, on an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..address import parse_address
from ..common.logs import Log
from ..common.text import text_of, type_name
from ..container.loading import LoadError, load_server
from ..container.process import loop_factory, run
from ..container.signals import Signals
from ..keys import generate
from ..security.credentials import Security

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..container.server import ContainerServer

__all__ = ["ContainerThread", "NotServing", "Served"]

log = Log(__name__)

DRAIN_TIMEOUT = 8.0
"""Seconds that a drain may take."""

END_TIMEOUT = DRAIN_TIMEOUT + 4.0
"""Seconds until a thread that does not end is given up."""

_lock = threading.Lock()
_owners: dict[ContainerServer, str] = {}
_variables: dict[str, tuple[str, str]] = {}  # those that were set: their values, and for whom


class NotServing(Exception):
    """The container does not serve; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where a container serves.

    Attributes:
        address: host and port.
        key: its public key, made for this run; its secret has not left the process.
    """

    address: str
    key: str


class ContainerThread:
    """A server that is imported in this process, and serves in a thread of its own until it is stopped.

    Not on an event loop that does something else, too: whatever keeps that one busy would keep the container's
    engines waiting. See "Fleets" in ``docs/architecture.md``.

    Args:
        source: ``"module:server"``.
        host: where to listen; where this process has no such address, on all of them.
        owner: for whom it serves, for errors. One server serves one owner at a time.
        engine_key: the public key of the one engine that may come.
        env: variables that are set in this process for as long as it serves.
        on_end: called in that thread, with the reason, if it ends though it was not stopped.
    """

    def __init__(
        self,
        source: str,
        host: str,
        *,
        owner: str,
        engine_key: str,
        env: Mapping[str, str],
        on_end: Callable[[str], None],
    ) -> None:
        self._source = source
        self._host = host
        self._owner = owner
        self._engine_key = engine_key
        self._env = env
        self._on_end = on_end
        self._served: Future[Served] = Future()
        self._ended: Future[None] = Future()
        for future in (self._served, self._ended):
            future.set_running_or_notify_cancel()  # whoever waits may be cancelled, and cancels nothing here
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._live, name=f"mpzmq-{source}", daemon=True)

    async def start(self) -> Served:
        """Imports the server and serves.

        Raises:
            NotServing: it does not, or was stopped before.
        """
        self._thread.start()
        return await asyncio.wrap_future(self._served)

    async def stop(self) -> None:
        """Drains the container and ends its thread; bounded, and idempotent."""
        self._is_stopped = True
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.ident is None:
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._ended), END_TIMEOUT)
        except TimeoutError:
            log.error("%s does not end in %g s, and its thread is left behind", self._source, END_TIMEOUT)
        else:
            self._thread.join()  # it has nothing more to do

    # In the thread

    def _live(self) -> None:
        try:
            with self._environment():
                server = load_server(self._source)
                with self._owned(server):
                    run(lambda: self._serve(server), loop_factory("auto"), lambda loop: Signals(server, loop, 0.0))
        except (LoadError, NotServing) as error:
            self._tell_end(text_of(error), error)
        except BaseException as error:
            self._tell_end(f"{type_name(error)}: {text_of(error)}", error)
        else:
            self._tell_end("it was closed from within", None)
        finally:
            self._ended.set_result(None)

    async def _serve(self, server: ContainerServer) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._is_stopped:  # while it was imported
            return
        async with server:
            endpoint = await self._bound(server)
            port = parse_address(endpoint).port
            assert server.security is not None
            self._served.set_result(Served(parse_address((self._host, port)).text, server.security.keys.public))
            forever, stopping = asyncio.create_task(server.serve_forever()), asyncio.create_task(self._stopping.wait())
            await asyncio.wait((forever, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if forever.done():
                await forever  # it raises what its lifespan has raised
            else:
                await server.drain(DRAIN_TIMEOUT)
                await server.close()
                await forever

    async def _bound(self, server: ContainerServer) -> str:
        try:
            return await server.bind((self._host, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            # Behind NAT the address at which others find this host is none of its own.
            return await server.bind(("*", 0))

    def _tell_end(self, why: str, error: BaseException | None) -> None:
        if not self._served.done():
            self._served.set_exception(NotServing(why))
        elif not self._is_stopped:
            log.error("%s has ended: %s", self._source, why, exc_info=error)
            self._on_end(why)

    @contextlib.contextmanager
    def _owned(self, server: ContainerServer) -> Iterator[None]:
        """The server is ours, with keys made for this run."""
        with _lock:
            if server in _owners or server.instance is not None:
                whom = _owners.get(server, "somebody else in this process")
                raise NotServing(
                    f"{self._source} serves {whom} already, and one server object serves one fleet at a time: run this"
                    " fleet on other workers, or give it a server object of its own"
                )
            if server.security is not None:
                raise NotServing(
                    f"{self._source} has a security of its own, and the fleet makes keys itself: leave security= out"
                )
            _owners[server] = self._owner
        try:
            server.security = Security.server(generate(), allow={"fleet": self._engine_key})
            yield
        finally:
            with contextlib.suppress(RuntimeError):  # it could not be closed, and stays as it is
                server.security = None
            with _lock:
                del _owners[server]

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """The variables are set, and have their old values behind it."""
        with _lock:
            for name, value in self._env.items():
                held, whom = _variables.get(name, (value, ""))
                if held != value:
                    raise NotServing(f"the variable {name} has another value here, for {whom}")
            ours = {name: value for name, value in self._env.items() if name not in _variables}
            before = {name: os.environ.get(name) for name in ours}
            _variables.update({name: (value, self._owner) for name, value in ours.items()})
            os.environ.update(ours)
        try:
            yield
        finally:
            with _lock:
                for name, old in before.items():
                    del _variables[name]
                    if old is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = old
