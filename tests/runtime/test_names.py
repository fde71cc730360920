"""Names that are no text, and names that have no address: the name is at fault, and nobody else is blamed."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from typing import Any
from unittest import mock

import pytest

from mpzmq import AddressNotFound, ComputerEngineWorker, ContainerServer
from mpzmq.runtime.names import process_name, resolve
from mpzmq.testing import connected
from mpzmq.transport.interface import SocketSettings
from mpzmq.transport.libzmq.transport import ZmqTransport
from tests.support.waiting import soon, until

NOT_IDNA = ["x..y", ".a", "a" * 64 + ".example", "ß" * 70]


async def test_a_host_whose_own_name_is_not_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box\udce9")
    assert process_name() == f"box\\udce9/{os.getpid()}"
    async with connected(ContainerServer()) as container:
        assert (await soon(container.describe())).name == process_name()


@pytest.mark.parametrize(("name", "error"), [(5, TypeError), (b"x", TypeError), ("x\udce9", ValueError)])
async def test_a_name_that_cannot_be_sent(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="name is"):
        ContainerServer(name=name)
    with pytest.raises(error, match="name is"):
        ComputerEngineWorker(name=name)
    async with ComputerEngineWorker() as worker:
        with pytest.raises(error, match="name is"):
            await worker.connect(uuid.uuid4(), "127.0.0.1:1", name=name)


async def test_a_container_knows_its_engine_by_name() -> None:
    server = ContainerServer()
    async with server, ComputerEngineWorker(name="billing") as worker:
        await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert [engine.name for engine in server.engines()] == ["billing"]


@pytest.mark.parametrize("host", NOT_IDNA)
async def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(OSError, match=r"it is not a host name: .*label "):
        await resolve(host, 1)
    async with ComputerEngineWorker() as worker, ContainerServer() as server:
        with pytest.raises(AddressNotFound) as told:
            await soon(worker.connect(uuid.uuid4(), f"{host}:1", name="it"))
        assert f"the host name {host!r} has no address (it is not a host name: " in str(told.value)
        with pytest.raises(OSError, match=r"cannot bind .*: the host name .* has no address \(it is not a host name"):
            await server.bind(f"{host}:0", insecure=True)


async def test_a_dial_that_raises_leaves_no_socket() -> None:
    """Whatever it is: a context that closes would wait for the socket, and its monitor be asked for ever."""
    transport = ZmqTransport()
    settings = SocketSettings(
        redial_interval=1.0, connect_timeout=1.0, heartbeat_interval=1.0, down_after=5.0, message_bytes=4096
    )
    handler: Any = mock.Mock()  # nothing comes of this dial
    with pytest.raises(UnicodeEncodeError):
        transport.dealer("tcp://x\udce9:1", settings, handler)
    await soon(transport.release())


async def test_a_name_is_looked_up_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer gets one thread for each name, however often it is asked for."""
    go_on, asked = threading.Event(), []
    lookup = socket.getaddrinfo

    def hang(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        go_on.wait()
        return lookup("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolve("mute.example", 1), 0.01)
    others = [asyncio.create_task(resolve(f"{host}.example", 1)) for host in ("mute", "other")]
    await until(lambda: len(asked) == 2)
    go_on.set()
    assert await soon(asyncio.gather(*others)) == [[(socket.AF_INET, "127.0.0.1")]] * 2
    assert asked == ["mute.example", "other.example"]
    assert await soon(resolve("mute.example", 1))
    assert len(asked) == 3
