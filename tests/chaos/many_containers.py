"""A process with many containers, each at a port of its own: ``tests.chaos.many_containers:server``.

``MANY_SERVERS`` says how many they are, ``MANY_HOST`` where. ``MANY_FILE`` names a file with the endpoints of all but
the first: the process serves those that stand there already, and else free ones.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpzmq import ContainerServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["server"]


FILE = Path(os.environ.get("MANY_FILE", os.devnull))


def _known() -> list[str]:
    """The endpoints of the others."""
    if FILE.exists():
        return list(json.loads(FILE.read_text()))
    return [f"tcp://{os.environ['MANY_HOST']}:0"] * (int(os.environ["MANY_SERVERS"]) - 1)


def _echoing(number: int, **options: Any) -> ContainerServer:
    made = ContainerServer(name=f"{os.getpid()}-{number}", **options)

    @made.function
    async def echo(value: Any) -> Any:
        return value

    return made


@contextlib.asynccontextmanager
async def _others(_: ContainerServer) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        bound = []
        for number, endpoint in enumerate(_known(), 1):
            other = await stack.enter_async_context(_echoing(number))
            bound.append(await other.bind(endpoint))
        FILE.write_text(json.dumps(bound))  # noqa: ASYNC240  (nobody is served yet)
        yield


server = _echoing(0, lifespan=_others)
"""The one whose endpoint :class:`~mpzmq.testing.ContainerProcess` knows; when it serves, all of them do."""
