"""An error of a group says who was asked, and whether anything has run: of what goes piece by piece, too."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectionLost,
    Endpoint,
    Executed,
    Group,
    GroupPolicy,
    Limits,
    Overloaded,
    RequestError,
    RequestTimeout,
    Status,
)
from mpzmq.testing import Members
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import Proxy, ProxyFactory
    from tests.group.conftest import Stage, Troupe

FIRST = GroupPolicy(lost_after=0.0, pick=lambda members, call: members[0])


@contextlib.asynccontextmanager
async def cuttable(troupe: Troupe, mpzmq_proxy: ProxyFactory, names: str = "ab") -> AsyncIterator[tuple[Group, Proxy]]:
    """A group of a, whose connection can be cut, and b. They are asked in the order of the names."""
    proxy = await mpzmq_proxy(troupe["a"].endpoint)
    endpoints = {"a": proxy.endpoint, "b": troupe["b"].endpoint}
    members = Members([Endpoint(endpoints[name], name=name) for name in names])
    async with troupe.worker.group(members, policy=FIRST) as group:
        await group.wait_ready(2)
        yield group, proxy
    for actor in troupe.actors.values():
        actor.gate.set()


def check(error: RequestError, *expected: tuple[str, type[Exception]]) -> None:
    assert [(attempt.member.name, type(attempt.error)) for attempt in error.tried] == list(expected)
    assert all(not getattr(attempt.error, "tried", ()) for attempt in error.tried)


async def read(group: Group) -> None:
    async for _ in group.stream("ponder", 3):
        raise AssertionError


async def send(group: Group) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    await group.upload("add_up", items())


async def read_channel(group: Group) -> None:
    async with group.channel("double") as channel:
        await anext(channel)


async def fill_channel(group: Group) -> None:
    async with group.channel("double") as channel:
        while True:
            await channel.send(bytes(100_000))


async def leave_channel(group: Group) -> None:
    async with group.channel("hoard") as channel:
        await channel.send(1)


WAYS = [read, send, read_channel, fill_channel, leave_channel]


@pytest.mark.parametrize("way", WAYS)
async def test_what_breaks_behind_its_beginning(stage: Stage, mpzmq_proxy: ProxyFactory, way: Any) -> None:
    async with stage("ab") as troupe, cuttable(troupe, mpzmq_proxy) as (group, proxy):
        task = asyncio.create_task(way(group))
        await until(lambda: troupe["a"].ran)
        await until(lambda: group.members[0].in_flight == 1)
        await proxy.cut()
        with pytest.raises(ConnectionLost) as caught:
            await soon(task)
        check(caught.value, ("a", ConnectionLost))
        assert caught.value.executed is not Executed.NO
        assert troupe["b"].ran == []


@pytest.mark.parametrize("way", WAYS)
async def test_the_tries_before_it_began_are_told(stage: Stage, mpzmq_proxy: ProxyFactory, way: Any) -> None:
    async with stage("ba", limits=Limits(in_flight=1)) as troupe, cuttable(troupe, mpzmq_proxy, "ba") as (group, proxy):
        # It takes one request of an engine: by the handle, so that the group does not know of it.
        blocked = asyncio.create_task(group.handle("b").call("wait", 0))
        await until(lambda: troupe["b"].ran)
        task = asyncio.create_task(way(group))
        await until(lambda: group.members[1].in_flight == 1 and troupe["a"].ran)
        await proxy.cut()
        with pytest.raises(ConnectionLost) as caught:
            await soon(task)
        check(caught.value, ("b", Overloaded), ("a", ConnectionLost))
        check(pickle.loads(pickle.dumps(caught.value)), ("b", Overloaded), ("a", ConnectionLost))
        troupe["b"].gate.set()
        await blocked


async def stand_still(group: Group) -> None:
    async for _ in group.stream("ponder", 3, idle_timeout=0.05):
        raise AssertionError


async def be_late(group: Group) -> None:
    async for _ in group.stream("ponder", 3, timeout=scaled(0.3)):
        raise AssertionError


async def upload_too_late(group: Group) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    await group.upload("add_up", items(), timeout=scaled(0.3))


@pytest.mark.parametrize("way", [stand_still, be_late, upload_too_late])
async def test_what_takes_too_long(troupe: Troupe, way: Any) -> None:
    with pytest.raises(RequestTimeout) as caught:
        await soon(way(troupe.group))
    (attempt,) = caught.value.tried
    assert isinstance(attempt.error, RequestTimeout) and caught.value.executed is not Executed.NO


async def test_who_sends_to_a_function_that_has_ended(troupe: Troupe) -> None:
    async with troupe.group.channel("greet") as channel:
        assert await anext(channel) == "hello"
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await soon(channel.send(1))
    assert [type(attempt.error) for attempt in caught.value.tried] == [ConnectionClosed]


@pytest.mark.parametrize("way", ["stop", "empty", "refuse", "close"])
async def test_it_may_have_run_whatever_came_last(stage: Stage, mpzmq_proxy: ProxyFactory, way: str) -> None:
    """What is idempotent was lost on one member, and then nobody could be asked."""
    async with stage("ab") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        members = Members([Endpoint(proxy.endpoint, name="a"), Endpoint(troupe["b"].endpoint, name="b")])
        group = await troupe.worker.group(members, policy=FIRST)
        await group.wait_ready(2)
        await group.handle("b").set_state(Status.STOP)
        view = group.options(idempotent=True, timeout=scaled(0.5), wait=way != "refuse")
        task = asyncio.create_task(view.call("wait", "x"))
        await until(lambda: troupe["a"].ran)
        if way == "empty":
            members.remove("b")
            await until(lambda: len(group.members) == 1)
            members.remove("a")
            await until(lambda: not group.members)
        await proxy.cut()
        if way == "close":
            await until(lambda: group.members[0].in_flight == 0)
            await group.close()
        with pytest.raises(RequestError) as caught:
            await soon(task)
        assert caught.value.executed is not Executed.NO
        assert isinstance(caught.value, ConnectionLost if way in ("refuse", "close") else RequestTimeout)
        check(caught.value, ("a", ConnectionLost))
        await group.close()
        troupe["a"].gate.set()
