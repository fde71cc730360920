"""An engine in a process of its own: it asks a container for one thing, and is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any, Self

from mpzmq import ComputerEngineWorker, Security, Status
from mpzmq.keys import KeyPair
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq import ComputerEngineWriter

__all__ = ["EngineProcess"]


class EngineProcess:
    """Use it as ``with EngineProcess(endpoint, "call slow", "invoke") as engine:``; leaving kills it.

    Args:
        endpoint: of the container.
        asks: what it asks at once, each as a way (``call``, ``invoke``, ``state``, ``stream``, ``upload``, ``channel``)
            and the name of a function.
        keys: its own keys and those of the container, if there is security.
    """

    def __init__(self, endpoint: str, *asks: str, keys: tuple[KeyPair, KeyPair] | None = None) -> None:
        shown = "" if keys is None else f"{keys[0].public} {keys[0].secret} {keys[1].public}"
        self._arguments = [endpoint, shown, *asks]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.engine", *self._arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None and self._process.stdin is not None
        self.kill()
        self._process.stdin.close()

    def kill(self) -> None:
        """Ends it without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Lets it end as a program does: it says GOODBYE."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


async def _ask(container: ComputerEngineWriter, way: str, function: str = "") -> Any:
    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    if way == "invoke":
        return await container.request(None, timeout=None)
    if way == "state":
        return await container.set_state(Status.STOP, timeout=None)
    if way == "stream":
        return [item async for item in container.stream(function, timeout=None)]
    if way == "upload":
        return await container.upload(function, items(), timeout=None)
    if way == "channel":
        async with container.channel(function, timeout=None) as channel:
            await channel.send(1)
            return [item async for item in channel]
    return await container.call(function, timeout=None)


async def _main(endpoint: str, keys: str, *asks: str) -> None:
    security = None
    if keys:
        public, secret, server = keys.split()
        security = Security.client(KeyPair(public=public, secret=secret), server)
    async with ComputerEngineWorker(security=security) as worker:

        @worker.function
        async def wait() -> None:
            await asyncio.Event().wait()

        container = await worker.connect(uuid.uuid4(), endpoint)
        asking = asyncio.gather(*(_ask(container, *ask.split()) for ask in asks))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        asking.cancel()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
