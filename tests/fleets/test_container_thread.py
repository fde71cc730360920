"""A container in a thread of a process that does something else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, keys
from mpzmq.container.process import loop_factory
from mpzmq.fleets.container_thread import ContainerThread, NotServing
from mpzmq.security.credentials import Security
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVER = """
import asyncio, os, threading
from mpzmq import ContainerServer, Security, keys

server, other = ContainerServer(), ContainerServer()
own = ContainerServer(security=Security.server(keys.generate(), allow=["{key}"]))


@server.function
def where() -> tuple[str, str | None]:
    return threading.current_thread().name, os.environ.get("COLOUR")


@server.function
async def leave() -> None:
    asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(server.close()))
"""

ENGINE = keys.generate()


@pytest.fixture(scope="module", autouse=True)
def first_loop() -> None:
    """The first event loop of uvloop opens what stays for the life of the process."""
    loop_factory("auto")().close()


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thread_served.py").write_text(SERVER.replace("{key}", ENGINE.public))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "thread_served", raising=False)


def thread(source: str = "thread_served:server", owner: str = "one", **options: Any) -> ContainerThread:
    settings: dict[str, Any] = {"env": {}, "on_end": print} | options
    return ContainerThread(source, "127.0.0.1", owner=owner, engine_key=ENGINE.public, **settings)


@contextlib.asynccontextmanager
async def serving(container: ContainerThread) -> AsyncIterator[Any]:
    """A handle of it, by an engine with the key that may come."""
    try:
        served = await soon(container.start())
        async with ComputerEngineWorker(security=Security.client(ENGINE, served.key)) as worker:
            yield await worker.connect(served.address)
    finally:
        await container.stop()


async def test_it_serves_in_its_own_thread_and_is_over_when_it_was_stopped() -> None:
    async with serving(thread(env={"COLOUR": "green"})) as handle:
        assert await handle.call("where") == ["mpzmq-thread_served:server", "green"]
    assert "COLOUR" not in os.environ
    assert not [one for one in threading.enumerate() if "thread_served" in one.name]
    async with serving(thread()) as handle:  # once more, on another event loop
        assert await handle.call("where") == ["mpzmq-thread_served:server", None]


async def test_an_engine_with_another_key_is_refused() -> None:
    container = thread()
    try:
        served = await container.start()
        async with ComputerEngineWorker(security=Security.client(keys.generate(), served.key)) as worker:
            with pytest.raises(PermissionError):
                await worker.connect(served.address)
    finally:
        await container.stop()


async def test_a_blocked_event_loop_beside_it_does_not_matter() -> None:
    """That of a Dask worker: here it is the engine's own, so that the thread of the container is asked from a third."""
    container = thread()
    served = await container.start()
    answered = threading.Event()

    async def ask() -> None:
        async with ComputerEngineWorker(security=Security.client(ENGINE, served.key)) as worker:
            await (await worker.connect(served.address)).call("where")
            answered.set()

    asking = threading.Thread(target=lambda: asyncio.run(ask()))
    asking.start()
    assert answered.wait(10)  # and this event loop with it
    asking.join()
    await container.stop()


async def test_one_server_object_serves_one_owner() -> None:
    async with serving(thread()):
        rival = thread(owner="another")
        with pytest.raises(NotServing, match="serves one already, and one server object serves one fleet at a time"):
            await soon(rival.start())
        await rival.stop()
        async with serving(thread("thread_served:other", owner="another")):
            pass


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere:server", "there is no module 'nowhere'"),
        ("thread_served:missing", "there is no 'missing' in it"),
        ("thread_served:own", "has a security of its own"),
    ],
)
async def test_why_it_does_not_serve(source: str, why: str) -> None:
    container = thread(source)
    with pytest.raises(NotServing, match=why):
        await soon(container.start())
    await container.stop()


async def test_a_variable_has_one_value_in_a_process() -> None:
    async with serving(thread(env={"COLOUR": "green"})):
        rival = thread("thread_served:other", env={"COLOUR": "red"})
        with pytest.raises(NotServing, match="the variable COLOUR has another value here, for one"):
            await soon(rival.start())
        await rival.stop()
        async with serving(thread("thread_served:other", env={"COLOUR": "green"})):
            pass
        assert os.environ["COLOUR"] == "green"


async def test_an_end_that_nobody_asked_for_is_told() -> None:
    ends: list[str] = []
    async with serving(thread(on_end=ends.append)) as handle:
        await handle.call("leave")
        await until(lambda: ends)
    assert ends == ["it was closed from within"]


async def test_it_is_stopped_while_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "slow_served.py").write_text(
        "import threading\n"
        "began, go_on = threading.Event(), threading.Event()\n"
        "began.set()\n"
        "go_on.wait()\n"
        "from mpzmq import ContainerServer\n"
        "server = ContainerServer()\n"
    )
    container = thread("slow_served:server")
    starting = asyncio.create_task(container.start())
    await until(lambda: "slow_served" in sys.modules and hasattr(sys.modules["slow_served"], "go_on"))
    stopping = asyncio.create_task(container.stop())
    await asyncio.sleep(0)
    sys.modules["slow_served"].go_on.set()
    await soon(stopping)
    with pytest.raises(NotServing):
        await starting
    del sys.modules["slow_served"]
