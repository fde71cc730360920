"""Containers and engines that have keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, RequestContext, Security
from mpzmq.transport.libzmq import authenticator
from tests.support.scene import QUICK, REDIAL
from tests.support.secured import CONTAINER, ENGINE, Secured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mpzmq.keys import KeyPair


@pytest.fixture
async def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Secured]:
    monkeypatch.setattr(authenticator, "REFRESH_INTERVAL", 0.05)  # how soon a list is read again is nothing of a test
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
