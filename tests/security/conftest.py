"""Keys, and containers and engines that have some."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, RequestContext, Security, keys
from tests.integration.conftest import QUICK, REDIAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mpzmq import ComputerEngineWriter
    from mpzmq.keys import KeyPair

CONTAINER, ENGINE, STRANGER = (keys.generate() for _ in range(3))


@dataclass
class Secured:
    """A container with keys and a folder of those who get in, and what its handlers have done."""

    server: ContainerServer
    endpoint: str
    folder: Path
    worker: ComputerEngineWorker
    ran: list[Any] = field(default_factory=list)

    def allow(self, name: str, pair: KeyPair, *functions: str) -> None:
        """Writes a key into the folder, in one step."""
        text = f'public-key = "{pair.public}"\n' + (f"allow = {list(functions)}\n" if functions else "")
        temporary = self.folder / f".{name}"
        temporary.write_text(text)
        temporary.rename(self.folder / f"{name}.pub")

    def revoke(self, name: str) -> None:
        """Takes a key out of the folder."""
        (self.folder / f"{name}.pub").unlink()

    async def connect(self, pair: KeyPair = ENGINE, **options: Any) -> ComputerEngineWriter:
        """A link with a pair of keys."""
        security = Security.client(pair, CONTAINER.public)
        return await self.worker.connect(uuid.uuid4(), self.endpoint, security=security, **options)


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    (tmp_path / "engine.pub").write_text(f'public-key = "{ENGINE.public}"\n')
    security = Security.server(CONTAINER, allow=tmp_path)
    server = ContainerServer(name="vault", security=security, heartbeat=QUICK)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        made = Secured(server, await server.bind("tcp://127.0.0.1:0"), tmp_path, worker)

        @server.on_invoke
        async def echo(data: Any) -> Any:
            made.ran.append(data)
            return data

        @server.function
        def whoami(context: RequestContext) -> list[Any]:
            made.ran.append("whoami")
            return [context.user, context.peer]

        @server.function
        async def add(a: int, b: int) -> int:
            made.ran.append("add")
            return a + b

        yield made


@pytest.fixture
def raw_curve(secured: Secured) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """Makes plain DEALERs with keys, which keep to no protocol."""
    with zmq.Context() as context:
        made: list[zmq.Socket[bytes]] = []

        def dealer(pair: KeyPair = ENGINE) -> zmq.Socket[bytes]:
            raw = context.socket(zmq.DEALER)
            raw.set(zmq.LINGER, 0)
            raw.curve_publickey, raw.curve_secretkey = pair.public.encode(), pair.secret.encode()
            raw.curve_serverkey = CONTAINER.public.encode()
            raw.connect(secured.endpoint)
            made.append(raw)
            return raw

        yield dealer
        for raw in made:
            raw.close(0)
