"""What the fixtures ``mpzmq_container`` and ``mpzmq_proxy`` are: they make things, and end them after the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, overload

from ..common.set_module import set_module
from ..container.server import ContainerServer
from .in_process import ANY_PORT
from .process import ContainerProcess
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path

__all__ = ["ContainerFactory", "ProxyFactory", "ServedHere", "ServedProcess"]


@set_module("mpzmq.testing")
class ServedHere:
    """A server that is served in the event loop of the test.

    Attributes:
        server: itself.
        endpoint: where it serves.
    """

    def __init__(self, server: ContainerServer, endpoint: str) -> None:
        self.server = server
        self.endpoint = endpoint

    @property
    def name(self) -> str:
        """What the server calls itself."""
        return self.server.name

    async def close(self) -> None:
        """Closes the server. Idempotent."""
        await self.server.close()


@set_module("mpzmq.testing")
class ServedProcess:
    """A container in a process of its own: :class:`ContainerProcess` for coroutines."""

    def __init__(self, process: ContainerProcess) -> None:
        self._process = process

    @property
    def name(self) -> str:
        """What it is called in errors."""
        return self._process.name

    @property
    def endpoint(self) -> str:
        """Where it serves; a restart keeps it."""
        return self._process.endpoint

    @property
    def pid(self) -> int:
        """The id of the process; a restart makes a new one."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it has written so far, to standard output too."""
        return self._process.stderr

    def kill(self) -> None:
        """SIGKILL: the process has no say in it."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """Sends a signal; to a process that has ended, nothing happens.

        Args:
            number: one of ``signal.Signals``.
        """
        self._process.send_signal(number)

    async def wait(self, timeout: float = 10.0) -> int:
        """Waits until the process has ended; returns its exit code, or the negative number of a signal.

        Args:
            timeout: seconds; None: any time.

        Raises:
            TimeoutError: it still runs.
        """
        return await asyncio.to_thread(self._process.wait, timeout)

    async def restart(self) -> None:
        """Starts a successor on the same port; what still runs is stopped first.

        Raises:
            StartFailed: it ended, or does not serve in time.
        """
        await asyncio.to_thread(self._process.restart)

    async def close(self) -> None:
        """Ends the process: by SIGTERM, and where that does not help, by SIGKILL. Idempotent."""
        await asyncio.to_thread(self._process.stop)


@set_module("mpzmq.testing")
class ContainerFactory:
    """Serves containers: ``served = await mpzmq_container(server)``, or with ``"module:server"`` in place of a server.

    Args:
        stack: ends what was made here.
        folder: where modules are looked for unless a call says otherwise.
    """

    def __init__(self, stack: AsyncExitStack, folder: str | Path) -> None:
        self._stack = stack
        self._folder = folder

    @overload
    async def __call__(self, server: ContainerServer, /, *, endpoint: str = ...) -> ServedHere: ...

    @overload
    async def __call__(
        self,
        spec: str,
        /,
        *,
        endpoint: str = ...,
        folder: str | Path = ...,
        env: Mapping[str, str] | None = ...,
        name: str | None = ...,
        drain_timeout: float = ...,
        start_timeout: float = ...,
    ) -> ServedProcess: ...

    async def __call__(
        self, container: ContainerServer | str, /, *, endpoint: str = ANY_PORT, **options: Any
    ) -> ServedHere | ServedProcess:
        """Serves a server in this event loop, or that of a module in a process of its own.

        Args:
            container: a server, or ``"module:server"``.
            endpoint: where it serves; by default on a free port of 127.0.0.1.
            options: of a process, those of :class:`ContainerProcess`; ``folder`` is the folder of the test file by
                default.

        Raises:
            StartFailed: the process did not serve.
        """
        if isinstance(container, ContainerServer):
            if options:
                raise TypeError(f"{', '.join(options)}: only for a container in a process of its own")
            await self._stack.enter_async_context(container)
            return ServedHere(container, await container.bind(endpoint))
        if not isinstance(container, str):
            raise TypeError(f"pass a ContainerServer or 'module:server', not {type(container).__name__}")
        process = ContainerProcess(container, endpoint=endpoint, **{"folder": self._folder, **options})
        served = ServedProcess(process)
        self._stack.push_async_callback(served.close)
        await asyncio.to_thread(process.start)
        return served


@set_module("mpzmq.testing")
class ProxyFactory:
    """Opens proxies: ``proxy = await mpzmq_proxy(served.endpoint)``.

    Args:
        stack: ends what was made here.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def __call__(self, target: str | tuple[str, int], /) -> Proxy:
        """Opens a :class:`Proxy` in front of an endpoint."""
        return await self._stack.enter_async_context(Proxy(target))
