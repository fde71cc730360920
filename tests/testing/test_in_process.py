"""A server and a handle in one loop."""

from __future__ import annotations

import asyncio

import pytest

import mpzmq
from mpzmq import ConnectionClosed, ContainerServer, LinkState, Refused, testing


@pytest.fixture
def server() -> ContainerServer:
    server = ContainerServer(name="calculator")

    @server.function
    async def add(a: int, b: int) -> int:
        return a + b

    @server.function
    async def forever() -> None:
        await asyncio.Event().wait()

    @server.function
    def decline() -> None:
        raise Refused("not today")

    return server


async def test_the_handle_is_connected(server: ContainerServer) -> None:
    async with testing.connected(server) as container:
        assert container.state is LinkState.ALIVE
        assert container.name == "calculator"
        assert container.instance == server.instance
        assert await container.call("add", 1, 2) == 3
        with pytest.raises(Refused, match="not today"):
            await container.call("decline")
    assert not container.is_running()
    assert server.instance is None


async def test_a_server_can_be_used_again_and_again(server: ContainerServer) -> None:
    instances = set()
    for name in ("one", "two"):
        async with testing.connected(server, name=name) as container:
            assert container.name == name
            assert await container.call("add", 1, 2) == 3
            instances.add(container.instance)
    assert len(instances) == 2


async def test_two_servers_at_once(server: ContainerServer) -> None:
    other = ContainerServer()
    other.on_invoke(lambda data: data)
    async with testing.connected(server) as one, testing.connected(other) as two:
        assert list(await asyncio.gather(one.call("add", 1, 2), two.request("x"))) == [3, "x"]


async def test_what_runs_is_ended_when_the_block_is_left_by_an_error(server: ContainerServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with testing.connected(server) as container:
            call = asyncio.create_task(container.call("forever"))
            while not server.statistics().in_flight:  # noqa: ASYNC110  (a counter sets no event)
                await asyncio.sleep(0)
            raise ZeroDivisionError
    with pytest.raises(ConnectionClosed):
        await call


def test_the_names_are_those_of_all() -> None:
    assert mpzmq.testing is testing
    assert set(testing.__all__) <= set(dir(testing))
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'conected'"):
        testing.conected  # type: ignore[attr-defined]  # noqa: B018
