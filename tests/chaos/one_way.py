"""A container behind a router that only lets it dial out, as NAT does: the engine's host has no route to it.

For root on Linux with the command ``ip``. There is no packet filter everywhere, so the router relays connections
instead of rewriting packets: nothing but what the container has dialled gets through, either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .netns import inside, ip, started_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

__all__ = ["CONTAINER", "ENGINE", "OneWay"]

ROOT = Path(__file__).parent.parent.parent
ENGINE, CONTAINER = "10.213.78.1", "10.213.79.1"
OUTSIDE, INSIDE = "10.213.78.2", "10.213.79.2"
"""The two addresses of the router."""


class OneWay:
    """Two hosts and a router between them. Use it as ``with OneWay() as net, net.on_engine():``."""

    _made = 0

    def __init__(self) -> None:
        OneWay._made += 1
        prefix = f"mpzmq{os.getpid()}o{OneWay._made}"
        self._engine, self._router, self._container = (f"{prefix}{host}" for host in ("engine", "router", "container"))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for name in (self._engine, self._router, self._container):
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                ip("-n", name, "link", "set", "lo", "up")
            legs = (("out", self._engine, ENGINE, OUTSIDE), ("in", self._container, CONTAINER, INSIDE))
            for leg, name, host, router in legs:
                peer = ("peer", "name", "eth0", "netns", name)
                ip("-n", self._router, "link", "add", leg, "type", "veth", *peer)
                ip("-n", self._router, "address", "add", f"{router}/24", "dev", leg)
                ip("-n", self._router, "link", "set", leg, "up")
                ip("-n", name, "address", "add", f"{host}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def on_engine(self) -> contextlib.AbstractContextManager[None]:
        """This thread lives on the engine's host."""
        return inside(self._engine)

    def on_container(self, start: Callable[[], _T]) -> _T:
        """Starts something on the container's host."""
        return started_in(self._container, start)

    def relay(self, port: int) -> str:
        """Lets the container dial the engine's port. Returns the endpoint at which it does."""
        command = [sys.executable, "-m", "tests.chaos.one_way", str(port)]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

        process = started_in(self._router, start)
        self._stack.callback(self._ended, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "relays\n"
        return f"tcp://{INSIDE}:{port}"

    @staticmethod
    def _ended(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def cut(self) -> None:
        """Drops all packets of the container in silence, until :meth:`heal`."""
        ip("-n", self._router, "link", "set", "in", "down")

    def heal(self) -> None:
        """They arrive again."""
        ip("-n", self._router, "link", "set", "in", "up")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _relay(port: int) -> None:
    async def accepted(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, forth = await asyncio.open_connection(ENGINE, port)
        except OSError:
            back.transport.abort()
            return
        await asyncio.gather(_pass_on(near, forth), _pass_on(far, back))

    async with await asyncio.start_server(accepted, INSIDE, port) as server:
        sys.stdout.write("relays\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1])))
