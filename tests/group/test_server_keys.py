"""A member has the key that its source says, or it is not talked to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mpzmq import AddressNotFound, AuthenticationFailed, ComputerEngineWorker, ContainerServer, Endpoint, Security
from tests.support.scene import REDIAL
from tests.support.secured import CONTAINER, ENGINE, STRANGER
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def served() -> AsyncIterator[str]:
    """Where a container with keys serves."""
    server = ContainerServer(security=Security.server(CONTAINER, allow={"engine": ENGINE.public}))
    server.function(lambda: "here", name="where")
    async with server:
        yield await server.bind("tcp://127.0.0.1:0")


@pytest.mark.parametrize("by", ["the worker", "the group"])
async def test_the_key_of_a_member_comes_before_that_of_the_others(served: str, by: str) -> None:
    def keys(public: str) -> tuple[Security | None, Security | None]:
        own = Security.client(ENGINE, public)
        return (own, None) if by == "the worker" else (None, own)

    security, own = keys(STRANGER.public)
    async with ComputerEngineWorker(security=security, reconnect=REDIAL) as worker:
        member = Endpoint(served, server_key=CONTAINER.public)
        async with worker.group([member], security=own, timeout=scaled(5.0)) as group:
            assert await group.call("where") == "here"
    security, own = keys(CONTAINER.public)
    async with ComputerEngineWorker(security=security, reconnect=REDIAL) as worker:
        member = Endpoint(served, name="stranger", server_key=STRANGER.public)
        async with worker.group([member], security=own, wait=False) as group:
            handle = group.handle("stranger")
            await until(lambda: isinstance(handle.last_error, AuthenticationFailed))


async def test_a_file_picks_a_key_and_vouches_for_none(served: str, tmp_path: Path) -> None:
    """Whoever can write there may be somebody whose key is no good."""
    for name, key in ("here", CONTAINER), ("elsewhere", STRANGER):
        told = {"name": name, "addresses": [served], "server_key": key.public}
        (tmp_path / "it.json").write_text(json.dumps(told))
        own = Security.client(ENGINE, [ENGINE.public, CONTAINER.public])
        async with ComputerEngineWorker(security=own, reconnect=REDIAL) as worker:
            if key is CONTAINER:
                async with worker.group(f"dir://{tmp_path}", timeout=scaled(5.0)) as group:
                    assert await group.call("where") == "here"
            else:
                with pytest.raises(
                    AddressNotFound, match="'elsewhere' cannot be dialled: the server_key in its file is"
                ):
                    await worker.group(f"dir://{tmp_path}", timeout=scaled(0.2))


async def test_a_member_with_a_key_is_not_talked_to_without_one() -> None:
    """An engine that has no keys could only ask in the open, and would not know whom."""
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        server.function(lambda: "here", name="where")
        keyed = Endpoint(await server.bind("tcp://127.0.0.1:0"), name="keyed", server_key=CONTAINER.public)
        with pytest.raises(AddressNotFound, match="'keyed' cannot be dialled: it has a server_key, and this engine"):
            await worker.group([keyed], timeout=0.01)
        members = [keyed, Endpoint(await server.bind("tcp://127.0.0.1:0"), name="open")]
        async with worker.group(members, timeout=scaled(5.0)) as group:
            assert [member.name for member in group.members] == ["open"]
            assert await group.call("where") == "here"
