"""``connect()`` with and without an id, awaited and entered."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, ConnectRefused, ContainerServer, LinkClosed, LinkState, NotConnected
from tests.support.ports import free_port
from tests.support.waiting import event_of, soon

if TYPE_CHECKING:
    from tests.support.scene import Scene


async def test_without_an_id_the_worker_makes_one(scene: Scene) -> None:
    one = await scene.worker.connect(scene.endpoint)
    other = await scene.worker.connect(address=scene.endpoint, name="other")
    assert len({one.remote_id, other.remote_id, scene.container.remote_id}) == 3
    assert scene.worker.get_engine(one.remote_id) is one
    assert (one.address, other.name) == (scene.endpoint, "other")
    service = scene.worker.service()
    assert await service.request(uuid.uuid4(), one.remote_id, "x") == await other.request("x") == "x"


async def test_a_pair_is_an_address_too(scene: Scene) -> None:
    host, port = scene.endpoint.removeprefix("tcp://").rsplit(":", 1)
    assert await (await scene.worker.connect((host, int(port)))).request(1) == 1


async def test_by_keyword(scene: Scene) -> None:
    remote_id = uuid.uuid4()
    container = await scene.worker.connect(address=scene.endpoint, remote_id=remote_id)
    assert container.remote_id == remote_id


async def test_the_end_of_the_block_disconnects(scene: Scene) -> None:
    events = scene.worker.service().events()
    async with scene.worker.connect(scene.endpoint) as container:
        assert await container.request("x") == "x"
        remote_id = container.remote_id
    assert container.state is LinkState.CLOSED
    assert (await event_of(events, LinkClosed)).remote_id == remote_id
    assert scene.worker.get_engine(remote_id) is None
    with pytest.raises(NotConnected):
        await container.request("x")
    assert await scene.container.request("others go on") == "others go on"


async def test_the_end_of_the_block_disconnects_nothing_else(scene: Scene) -> None:
    remote_id = uuid.uuid4()
    async with scene.worker.connect(remote_id, scene.endpoint) as container:
        await container.disconnect()
        successor = await scene.worker.connect(remote_id, scene.endpoint)
    assert await successor.request("still there") == "still there"


async def test_the_worker_may_be_closed_inside() -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        async with worker.connect(await server.bind("tcp://127.0.0.1:0")) as container:
            await worker.close()
        assert container.state is LinkState.CLOSED


async def test_both_in_one_line_of_a_worker_that_is_made_there() -> None:
    async with ContainerServer() as server:

        @server.on_invoke
        def echo(data: Any) -> Any:
            return data

        endpoint = await server.bind("tcp://127.0.0.1:0")
        async with ComputerEngineWorker() as worker, worker.connect(endpoint) as container:
            assert await container.request("x") == "x"


async def test_a_container_that_is_not_there_leaves_nothing() -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(ConnectRefused):
            async with worker.connect(("127.0.0.1", free_port())):
                pytest.fail("there is nobody")
        assert not worker._connections


@pytest.mark.parametrize("entered", [True, False])
async def test_who_is_cancelled_while_it_dials_leaves_nothing(entered: bool) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        await reader.read()
        writer.close()

    dialled = asyncio.Event()
    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with silent, ComputerEngineWorker() as worker:
        opening = worker.connect(silent.sockets[0].getsockname())

        async def enter() -> None:
            async with opening:
                pytest.fail("nobody has answered")

        task = asyncio.create_task(enter() if entered else opening)
        await soon(dialled.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not worker._connections


async def test_nothing_is_opened_before_it_is_awaited() -> None:
    worker = ComputerEngineWorker()
    opening = worker.connect("127.0.0.1:1")
    assert not worker._lifecycle.loop_bound.is_taken and not worker._connections
    opening.close()
    with pytest.warns(RuntimeWarning, match=r"coroutine 'ComputerEngineWorker.connect' was never awaited"):
        worker.connect("127.0.0.1:1")


UNKNOWN: Any = "calculator"
TEXT: Any = "0b5c0d3e-9b1f-4d57-9c0c-0a6f3f6f8a11"


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ((), TypeError, "connect() is not given an address: use connect(address), or connect(remote_id, address)"),
        ((uuid.uuid4(),), TypeError, "connect() is not given an address"),
        ((UNKNOWN,), ValueError, "'calculator' has no port: use \"host:port\""),
        ((TEXT,), TypeError, "is neither an address nor a UUID: use connect(uuid.UUID(...), address)"),
        ((TEXT, "127.0.0.1:1"), TypeError, "remote_id is a UUID, not str: use uuid.uuid4(), or leave it out"),
        (("127.0.0.1:1", "127.0.0.1:1"), TypeError, "remote_id is a UUID, not str"),
        ((5,), TypeError, "an address is a string or a pair, not int"),
        ((None, "127.0.0.1:1"), TypeError, "remote_id is a UUID, not NoneType"),
        ((None,), TypeError, "an address is a string or a pair, not NoneType"),
        ((uuid.UUID(int=0), "127.0.0.1:1"), ValueError, "the nil UUID is not a remote id"),
    ],
)
async def test_what_is_given_wrongly_is_told(given: tuple[Any, ...], kind: type[Exception], text: str) -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(kind) as caught:
            await worker.connect(*given)
        assert text in str(caught.value)
        assert not worker._connections
