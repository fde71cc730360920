"""Containers that dial in with keys: a token is shown once, and the key is trusted from then on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectError,
    ContainerServer,
    InsecureBind,
    MemberLeft,
    RequestContext,
    Security,
    keys,
)
from mpzmq.common.files import read_small_file
from mpzmq.security.allow_list import read_users
from mpzmq.transport.libzmq import authenticator
from tests.support.scene import QUICK
from tests.support.secured import CONTAINER, ENGINE, STRANGER
from tests.support.waiting import event_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOBBY, ANYWHERE = ENGINE, "tcp://127.0.0.1:0"
KNOWN, OTHER = Security.client(CONTAINER, LOBBY.public), Security.client(STRANGER, LOBBY.public)


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ComputerEngineWorker]:
    monkeypatch.setattr(authenticator, "REFRESH_INTERVAL", 0.05)  # how soon a list is read again is nothing of a test
    async with ComputerEngineWorker(heartbeat=QUICK) as made:
        yield made


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    file = tmp_path / "trusted.toml"
    file.write_text("# by hand")
    return file


def _list(file: Path, **users: keys.KeyPair) -> None:
    file.write_text("".join(f'[{name}]\npublic-key = "{pair.public}"\n' for name, pair in users.items()))


def _server(name: str) -> ContainerServer:
    server = ContainerServer(name=name, heartbeat=QUICK)

    @server.function
    def whoami(context: RequestContext) -> str | None:
        return context.user

    return server


async def test_a_token_is_exchanged_for_the_key_which_needs_none_from_then_on(
    worker: ComputerEngineWorker, trusted: Path
) -> None:
    security = Security.server(LOBBY, allow=trusted)
    tokens = {"one": "secret"}
    async with worker.accept(ANYWHERE, tokens=tokens, security=security) as group, _server("a") as server:
        await server.join(group.endpoint, token="secret", security=KNOWN)
        await group.wait_ready()
        assert await group.call("whoami") == LOBBY.public
    assert {key: user.name for key, user in read_users(trusted).items()} == {CONTAINER.public: "one"}
    assert "# by hand" in read_small_file(trusted)[0].decode()
    # Another engine process, which never saw that token: the file is all that it knows.
    security = Security.server(LOBBY, allow=trusted)
    async with worker.accept(ANYWHERE, tokens="another", security=security) as group, _server("again") as server:
        await server.join(group.endpoint, security=KNOWN)
        assert [member.name for member in group.members] == ["again"]


async def test_the_token_of_a_runner_is_good_for_one_key(worker: ComputerEngineWorker, trusted: Path) -> None:
    security = Security.server(LOBBY, allow=trusted)
    lobby = worker.accept(ANYWHERE, tokens={"one": "secret"}, security=security)
    async with lobby as group, _server("a") as server, _server("thief") as thief:
        await server.join(group.endpoint, token="secret", security=KNOWN)
        with pytest.raises(ConnectError, match="JOIN"):
            await thief.join(group.endpoint, token="secret", security=OTHER, timeout=0.3)
        assert [member.name for member in group.members] == ["a"]
    assert list(read_users(trusted)) == [CONTAINER.public]


async def test_a_key_without_a_token_gets_nothing(worker: ComputerEngineWorker) -> None:
    security = Security.server(LOBBY, allow=())
    async with worker.accept(ANYWHERE, tokens="secret", security=security) as group, _server("a") as server:
        with pytest.raises(ConnectError, match="JOIN"):
            await server.join(group.endpoint, security=KNOWN, timeout=0.3)
        assert group.members == ()
        await server.join(group.endpoint, token="secret", security=KNOWN)
        assert len(group.members) == 1


async def test_a_lobby_with_another_key_hears_no_token(worker: ComputerEngineWorker) -> None:
    security = Security.server(STRANGER, allow=())
    async with worker.accept(ANYWHERE, tokens="secret", security=security) as group, _server("a") as server:
        with pytest.raises(ConnectError):
            await server.join(group.endpoint, token="secret", security=KNOWN, timeout=0.3)
        assert group.members == ()


async def test_who_is_taken_out_of_the_file_is_cut_off(worker: ComputerEngineWorker, trusted: Path) -> None:
    _list(trusted, one=CONTAINER, two=STRANGER)
    security = Security.server(LOBBY, allow=trusted)
    lobby = worker.accept(ANYWHERE, tokens="secret", security=security)
    async with lobby as group, _server("a") as server, _server("b") as other:
        await server.join(group.endpoint, security=KNOWN)
        await other.join(group.endpoint, security=OTHER)
        assert [member.name for member in group.members] == ["a", "b"]
        events = group.events()
        _list(trusted, two=STRANGER)
        left = await event_of(events, MemberLeft)
        assert left.member is not None
        assert (left.member.name, left.reason) == ("a", "its key is not trusted any more")
        assert await group.call("whoami") == LOBBY.public
        await until(lambda: not server.engines())
        assert [member.name for member in group.members] == ["b"]


async def test_a_token_that_cannot_be_written_down_as_exchanged_is_not(
    worker: ComputerEngineWorker, trusted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    security = Security.server(LOBBY, allow=trusted)
    async with worker.accept(ANYWHERE, tokens={"one": "secret"}, security=security) as group, _server("a") as server:
        os.unlink(trusted)
        with pytest.raises(ConnectError, match="JOIN"):
            await server.join(group.endpoint, token="secret", security=KNOWN, timeout=0.3)
        assert group.members == ()
        assert "cannot be kept" in caplog.text


async def test_a_server_with_keys_serves_its_endpoint_and_the_lobby(worker: ComputerEngineWorker) -> None:
    server = ContainerServer(name="a", security=Security.server(keys.generate(), allow=[STRANGER.public]))
    server.function(lambda: 1, name="one")
    async with worker.accept(ANYWHERE, tokens="secret", security=Security.server(LOBBY, allow=())) as group, server:
        await server.bind(ANYWHERE)
        with pytest.raises(RuntimeError, match="has keys"):
            await server.join(group.endpoint, token="secret")
        await server.join(group.endpoint, token="secret", security=KNOWN)
        assert await group.call("one") == 1


async def test_without_keys_no_token_is_sent_to_another_host(caplog: pytest.LogCaptureFixture) -> None:
    async with _server("a") as server:
        with pytest.raises(InsecureBind, match="unencrypted"):
            await server.join("192.0.2.1:3011", token="secret")
        with pytest.raises(ConnectError):
            await server.join("192.0.2.1:3011", token="secret", insecure=True, timeout=0.01)
        assert "without security" in caplog.text
        with pytest.raises(ValueError, match="token is missing"):
            await server.join("127.0.0.1:3011")


async def test_keys_of_the_wrong_side_and_folders_are_refused(worker: ComputerEngineWorker, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dialling"):
        await worker.accept(ANYWHERE, tokens="secret", security=KNOWN)
    with pytest.raises(ValueError, match="is a folder"):
        await worker.accept(ANYWHERE, tokens="secret", security=Security.server(LOBBY, allow=tmp_path))
    async with _server("a") as server:
        with pytest.raises(ValueError, match="listening"):
            await server.join("127.0.0.1:3011", token="secret", security=Security.server(LOBBY, allow=()))
