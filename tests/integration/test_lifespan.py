"""A lifespan lives in one task, and can be given up at its start and at its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from mpzmq import ContainerServer
from mpzmq.container import lifespan as lifespans
from tests.support.waiting import soon, until

Made = Callable[[ContainerServer], AbstractAsyncContextManager[Any]]
LOCAL = "127.0.0.1:0"


class Script:
    """A lifespan that does as the test says, and what was seen of it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.tasks: set[asyncio.Task[Any] | None] = set()
        self.hangs_at = ""
        self.deaf = False
        self.go_on = asyncio.Event()

    @contextlib.asynccontextmanager
    async def __call__(self, server: ContainerServer) -> AsyncIterator[str]:
        await self._reach("start")
        yield "state"
        await self._reach("end")

    async def _reach(self, place: str) -> None:
        self.tasks.add(asyncio.current_task())
        self.seen.append(place)
        while self.hangs_at == place and not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                if not self.deaf:
                    raise


async def test_it_starts_once_for_all_binds_and_ends_in_the_task_it_began_in() -> None:
    script = Script()
    async with ContainerServer(lifespan=script) as server:
        assert len(set(await soon(asyncio.gather(*(server.bind(LOCAL) for _ in range(3)))))) == 3
        await server.bind(LOCAL)
        assert script.seen == ["start"]
    assert script.seen == ["start", "end"]
    assert len(script.tasks) == 1


async def test_a_task_group_lives_in_it() -> None:
    ended: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("work")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(work())
            yield
            task.cancel()

    async with ContainerServer(lifespan=lifespan) as server:
        await server.bind(LOCAL)
    assert ended == ["work"]


async def test_one_that_breaks_down_while_the_server_serves_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    break_down = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        async def work() -> None:
            await break_down.wait()
            raise LookupError("the database is gone")

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            yield

    async with ContainerServer(lifespan=lifespan) as server:
        await server.bind(LOCAL)
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        break_down.set()
        with pytest.raises(ExceptionGroup) as caught:
            await soon(serving)
        assert isinstance(caught.value.exceptions[0], LookupError)
    assert "the lifespan has ended while the container serves" in caplog.text


async def test_an_error_at_its_end_reaches_who_closes_and_who_serves() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        yield
        raise LookupError("cannot flush")

    async with ContainerServer(lifespan=lifespan) as server:
        await server.bind(LOCAL)
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        with pytest.raises(LookupError, match="cannot flush"):
            await soon(server.close())
        with pytest.raises(LookupError, match="cannot flush"):
            await soon(serving)


async def test_a_start_that_failed_can_be_tried_again() -> None:
    script, fails = Script(), [True]

    @contextlib.asynccontextmanager
    async def lifespan(server: ContainerServer) -> AsyncIterator[None]:
        if fails.pop():
            fails.append(False)
            raise LookupError("not yet")
        async with script(server):
            yield

    async with ContainerServer(lifespan=lifespan) as server:
        with pytest.raises(LookupError):
            await server.bind(LOCAL)
        await server.bind(LOCAL)
    assert script.seen == ["start", "end"]


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_close_ends_its_start(deaf: bool, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    script.hangs_at, script.deaf = "start", deaf
    async with ContainerServer(lifespan=script) as server:
        binding = asyncio.create_task(server.bind(LOCAL))
        await until(lambda: script.seen)
        await soon(server.close())
        with pytest.raises(RuntimeError, match="closed while its lifespan started"):
            await soon(binding)
        assert script.seen == ["start", "cancelled"]
        assert ("left behind" in caplog.text) is deaf
    script.go_on.set()
    await until(lambda: all(task is not None and task.done() for task in script.tasks))
    assert script.seen == ["start", "cancelled"] + ["end"] * deaf


async def test_a_bind_that_is_cancelled_takes_the_start_along_unless_others_wait_for_it() -> None:
    script = Script()
    script.hangs_at = "start"
    async with ContainerServer(lifespan=script) as server:
        one, other = (asyncio.create_task(server.bind(LOCAL)) for _ in range(2))
        await until(lambda: script.seen)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(one)
        assert script.seen == ["start"]
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(other)
        assert script.seen == ["start", "cancelled"]
        script.hangs_at = ""
        await soon(server.bind(LOCAL))


@pytest.mark.parametrize("deaf", [False, True])
async def test_its_end_is_bounded(
    deaf: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifespans, "END_TIMEOUT", 0.02)
    monkeypatch.setattr(lifespans, "CANCEL_TIMEOUT", 0.02)
    script = Script()
    script.hangs_at, script.deaf = "end", deaf
    async with ContainerServer(lifespan=script) as server:
        await server.bind(LOCAL)
        await soon(server.close())
    assert script.seen == ["start", "end", "cancelled"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * (1 + deaf)
    script.go_on.set()
    await until(lambda: all(task is not None and task.done() for task in script.tasks))
