"""Containers that dial in."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, ConnectError, ContainerServer, Join, LinkState, MemberLeft, ReconnectPolicy
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


def _server(name: str) -> ContainerServer:
    server = ContainerServer(name=name)
    server.function(lambda a, b: a + b, name="add")
    return server


async def test_a_container_that_dials_in_is_called_and_chosen_by_its_labels() -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        await server.join(group.endpoint, token="secret", labels={"gpu": "1"})
        assert await group.where(gpu="1").call("add", 1, 2) == 3
        assert [member.name for member in group.members] == ["a"]
        assert len(server.engines()) == 1


async def test_a_container_joins_at_a_path(tmp_path: Path) -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept(f"ipc://{tmp_path}/lobby", tokens="secret") as group,
    ):
        await server.join(group.endpoint, token="secret")
        assert await group.call("add", 1, 2) == 3


async def test_an_engine_that_is_joined_already() -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        await server.join(group.endpoint, token="secret")
        with pytest.raises(ValueError, match=f"joins {group.endpoint} already"):
            await server.join(group.endpoint, token="secret")
        assert await group.call("add", 1, 2) == 3


@pytest.mark.parametrize("wait", [True, False])
async def test_an_engine_that_is_joined_already_under_another_address(
    wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        await server.join(group.endpoint, token="secret")
        other = f"localhost:{group.endpoint.rpartition(':')[2]}"
        text = f"{other} is the engine that this server joins at {group.endpoint} already"
        if wait:
            with pytest.raises(ValueError, match=text):
                await server.join(other, token="secret")
        else:
            await server.join(other, token="secret", wait=False)
            await until(lambda: text in caplog.text)
        await until(lambda: group.members[0].state is LinkState.ALIVE)
        assert [connection.address.text for connection in server._driver.router._connections] == [group.endpoint]  # type: ignore[union-attr]
        assert await group.call("add", 1, 2) == 3


@pytest.mark.parametrize("wrong", ["wrong", "expired"])
async def test_a_wrong_or_expired_token_gets_nothing(tmp_path: Path, wrong: str) -> None:
    tokens = tmp_path / "tokens"
    past, future = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    tokens.write_text(f"old expired {past.isoformat()}\nnew good {future.isoformat()}  # a comment\n")
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        _server("b") as stranger,
        worker.accept("tcp://127.0.0.1:0", tokens=tokens) as group,
    ):
        await server.join(group.endpoint, token="good")
        with pytest.raises(ConnectError, match="JOIN: the engine does not accept the token"):
            await stranger.join(group.endpoint, token=wrong)
        assert [member.name for member in group.members] == ["a"]
        assert await group.call("add", 1, 2) == 3


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"labels": {"gpu": 1}}, TypeError, "labels is a mapping of str to str"),
        ({"labels": ["gpu"]}, TypeError, "labels is a mapping of str to str, not list"),
        ({"labels": {"gpu": "\udc80"}}, ValueError, "UTF-8"),
        ({"labels": dict.fromkeys(map(str, range(65)), "1")}, ValueError, "more than 64"),
        ({"token": ""}, ValueError, "token is empty"),
        ({"token": "hidden\n"}, ValueError, "token begins or ends with white space, as a file ends with a line feed"),
        ({"token": "hidden\udc80"}, ValueError, "token is empty, or cannot be written in UTF-8"),
        ({"token": 20_000 * "hidden"}, ConnectError, "more than 16384 bytes together"),
    ],
)
async def test_what_cannot_be_said_is_told_at_once(given: dict[str, Any], error: type[Exception], text: str) -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        with pytest.raises(error, match=text) as told:
            await server.join(group.endpoint, **{"token": "secret", **given})
        assert "hidden" not in str(told.value)
        await server.join(group.endpoint, token="secret")
        assert await group.call("add", 1, 2) == 3


async def test_each_address_of_the_engine_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = socket.getaddrinfo

    def look_up(host: str, *args: Any, **kwargs: Any) -> list[Any]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "localhost" else [host]
        return [entry for host in hosts for entry in lookup(host, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        await server.join(("localhost", int(group.endpoint.rpartition(":")[2])), token="secret")
        assert await group.call("add", 1, 2) == 3


async def test_a_server_that_is_closed_while_it_joins_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with _server("a") as server:
            joining = asyncio.create_task(server.join(mute.getsockname(), token="secret"))
            connection, _ = await asyncio.get_running_loop().run_in_executor(None, mute.accept)
            with connection:
                await server.close()
                with pytest.raises(RuntimeError, match="closed meanwhile"):
                    await joining


async def test_a_server_that_is_draining_joins_nobody() -> None:
    async with (
        ComputerEngineWorker() as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        await server.bind("tcp://127.0.0.1:0")
        await server.drain()
        with pytest.raises(RuntimeError, match="draining"):
            await server.join(group.endpoint, token="secret")
        assert group.members == ()


async def test_a_container_that_stays_away_has_left() -> None:
    async with (
        ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.05)) as worker,
        _server("a") as server,
        worker.accept("tcp://127.0.0.1:0", tokens={"one": "secret"}, rejoin_within=0.1) as group,
    ):
        events = group.events()
        await server.join(group.endpoint, token="secret")
        await group.wait_ready()
        await server.close()
        async with asyncio.timeout(10):
            async for event in events:
                if isinstance(event, MemberLeft):
                    assert "rejoin_within" in event.reason
                    break
        assert group.members == ()


async def test_a_group_whose_close_is_cancelled_frees_its_endpoint() -> None:
    async with ComputerEngineWorker() as worker:
        group = await worker.accept("tcp://127.0.0.1:0", tokens="secret")
        closing = asyncio.create_task(group.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        async with worker.accept(group.endpoint, tokens="secret") as again:
            assert again.endpoint == group.endpoint


def test_what_is_said_to_run_does_not_show_its_token() -> None:
    assert "secret" not in repr(Join(address="127.0.0.1:3011", token="secret", labels={"gpu": "1"}))
    with pytest.raises(TypeError, match="token is a str or a Path, not int"):
        Join(address="127.0.0.1:3011", token=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no port"):
        Join(address="nowhere", token="secret")
