"""Members come and go, are held, and are told of."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectTimeout,
    ContainerServer,
    Endpoint,
    EventsDropped,
    GroupPolicy,
    Limits,
    LinkState,
    LinkUp,
    MemberHeld,
    MemberJoined,
    MemberLeft,
    MemberReturned,
    NotConnected,
    RequestTimeout,
)
from mpzmq.testing import Members, connected
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from tests.group.conftest import Stage, Troupe


async def test_what_is_known_of_a_member(stage: Stage) -> None:
    async with stage("ab", labels={"a": {"gpu": "1"}}) as troupe:
        one, other = troupe.group.members
        handle = troupe.group.handle("a")
        assert (one.name, one.address, one.labels, one.weight) == ("a", troupe["a"].endpoint, {"gpu": "1"}, 1.0)
        assert (one.state, one.instance, one.remote_id) == (LinkState.ALIVE, handle.instance, handle.remote_id)
        assert (one.in_flight, one.ejected, one.held) == (0, False, False)
        assert other.labels == {}
        assert await handle.call("who") == "a"
        with pytest.raises(KeyError, match="no member 'z'; it has a, b"):
            troupe.group.handle("z")
        with pytest.raises(KeyError, match=r"no member 'b'; it has a\W*$"):
            troupe.group.where(gpu="1").handle("b")
        with pytest.raises(KeyError, match="it has none at all"):
            troupe.group.where(gpu="2").handle("a")


async def test_members_come_and_go(stage: Stage) -> None:
    async with stage("abc") as troupe:
        group = troupe.group
        events = group.events()
        troupe.members.remove("c")
        left = await event_of(events, MemberLeft)
        assert left.member is not None and left.name == left.member.name == "c"
        assert {await group.call("who") for _ in range(30)} == {"a", "b"}
        troupe.members.add(Endpoint(troupe["c"].endpoint, name="c"))
        assert (await event_of(events, MemberJoined)).name == "c"
        assert (await event_of(events, LinkUp)).member.name == "c"  # type: ignore[union-attr]
        assert [member.name for member in group.members] == ["a", "b", "c"]


async def test_what_a_member_has_goes_on_to_its_end(troupe: Troupe) -> None:
    group = troupe.group
    tasks = [asyncio.create_task(group.call("wait", number)) for number in range(3)]
    await until(lambda: troupe.ran.total() == 3)
    by_handle = asyncio.create_task(group.handle("a").call("wait", "handle"))
    await until(lambda: troupe.ran["handle"])
    remote_id = group.handle("a").remote_id
    troupe.members.remove("a")
    await until(lambda: len(group.members) == 2)
    assert troupe.worker.get_engine(remote_id) is not None
    for name in "abc":
        troupe[name].gate.set()
    assert sorted(await asyncio.gather(*tasks)) == ["a", "b", "c"] and await by_handle == "a"
    await until(lambda: troupe.worker.get_engine(remote_id) is None)


async def test_a_member_that_moves(troupe: Troupe) -> None:
    group = troupe.group
    other = ContainerServer(name="new")
    other.function(lambda: "new", name="who")
    async with other:
        troupe.members.add(Endpoint(await other.bind("tcp://127.0.0.1:0"), name="a"))
        await until(lambda: group.members[-1].name == "a" and group.members[-1].state is LinkState.ALIVE)
        assert await group.handle("a").call("who") == "new"
        assert len(group.members) == 3
        remote_id = group.handle("a").remote_id
        troupe.members.add(Endpoint(group.members[-1].address, name="a", labels={"x": "1"}, weight=2.0))
        await until(lambda: group.where(x="1").members)
        assert group.handle("a").remote_id == remote_id and group.members[-1].weight == 2.0
        await group.close()


async def test_two_addresses_of_one_container(stage: Stage) -> None:
    async with stage("a") as troupe:
        second = await troupe["a"].server.bind("tcp://127.0.0.1:0")
        group = await troupe.worker.group([troupe["a"].endpoint, second])
        await until(lambda: sum(m.link.is_running for m in group._state.members.values()) == 2)
        assert len(group.members) == 1
        assert (await group.call_all("who", "x")).results == {group.members[0].name: "a"}
        assert troupe["a"].ran == ["x"]
        await group.close()


async def test_wait_ready(stage: Stage) -> None:
    async with stage("ab") as troupe:
        group = troupe.group
        await group.wait_ready(2)
        with pytest.raises(ConnectTimeout, match="2 of its 2 members can be talked to, and not 3"):
            await group.wait_ready(3, timeout=0.05)
        waiting = asyncio.create_task(group.wait_ready(3))
        other = ContainerServer(name="c")
        async with other:
            troupe.members.add(await other.bind("tcp://127.0.0.1:0"))
            await soon(waiting)
            await group.close()


async def test_hold(troupe: Troupe) -> None:
    group = troupe.group
    events = group.events()
    tasks = [asyncio.create_task(group.call("wait", number)) for number in range(3)]
    await until(lambda: troupe.ran.total() == 3)
    entered = asyncio.Event()
    leave = asyncio.Event()

    async def held() -> None:
        async with group.hold("a") as container:
            entered.set()
            assert await container.call("who", "by hand") == "a"
            await leave.wait()

    holding = asyncio.create_task(held())
    assert (await event_of(events, MemberHeld)).name == "a"
    assert group.members[0].held and not entered.is_set()
    assert {await group.call("who") for _ in range(20)} == {"b", "c"}
    everyone = await group.call_all("who", "all")
    assert list(everyone.results) == ["b", "c"] and isinstance(everyone.errors["a"], NotConnected)
    troupe["a"].gate.set()
    await soon(entered.wait())
    assert [member.in_flight for member in group.members] == [0, 1, 1]
    leave.set()
    await holding
    assert (await event_of(events, MemberReturned)).name == "a"
    assert not group.members[0].held
    for name in "bc":
        troupe[name].gate.set()
    await asyncio.gather(*tasks)
    assert "a" in {await group.call("who") for _ in range(50)}


async def test_a_hold_that_takes_too_long(troupe: Troupe) -> None:
    task = asyncio.create_task(troupe.group.options(key=1).call("wait", "x"))
    await until(lambda: troupe.ran["x"])
    (home,) = [member.name for member in troupe.group.members if member.in_flight]
    with pytest.raises(TimeoutError, match="1 requests in flight"):
        async with troupe.group.hold(home, timeout=0.05):
            raise AssertionError
    assert not any(member.held for member in troupe.group.members)
    with pytest.raises(KeyError):
        async with troupe.group.hold("z"):
            raise AssertionError
    troupe[home].gate.set()
    await task


async def test_whoever_takes_the_place_of_a_held_member_is_held(troupe: Troupe) -> None:
    group = troupe.group
    events = group.events()
    endpoint = Endpoint(troupe["a"].endpoint, name="a")
    async with group.hold("a"):
        troupe.members.remove("a")
        await event_of(events, MemberLeft)
        troupe.members.add(endpoint)
        await event_of(events, LinkUp)
        assert [member.name for member in group.members if member.held] == ["a"]
        assert {await group.call("who") for _ in range(50)} == {"b", "c"}
    assert not any(member.held for member in group.members)
    assert "a" in {await group.call("who") for _ in range(50)}


async def test_nothing_is_held_in_a_group_that_is_closed(stage: Stage) -> None:
    async with stage("a") as troupe:
        group = troupe.group
        asked = asyncio.create_task(group.call("wait", 1))
        await until(lambda: troupe.ran.total() == 1)

        async def held() -> None:
            async with group.hold("a"):
                raise AssertionError("a request is under way")

        holding = asyncio.create_task(held())
        await until(lambda: group.members[0].held)
        closing = asyncio.create_task(group.close())
        with pytest.raises(NotConnected, match="it is closed"):
            await soon(holding)
        troupe["a"].gate.set()
        await soon(closing)
        await asyncio.gather(asked, return_exceptions=True)


async def test_everybody_is_held(stage: Stage) -> None:
    async with stage("a") as troupe:
        async with troupe.group.hold("a"), troupe.group.hold("a"):
            with pytest.raises(RequestTimeout, match="held"):
                await troupe.group.call("who", timeout=0.05)
            waiting = asyncio.create_task(troupe.group.call("who"))
            await asyncio.sleep(0)
        assert await soon(waiting) == "a"


async def test_any_thread_may_look(troupe: Troupe) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append((troupe.group.statistics(), troupe.group.members))

    await troupe.group.call("who")
    thread = threading.Thread(target=look)
    thread.start()
    await asyncio.to_thread(thread.join)
    statistics, members = seen[0]
    assert statistics.issued == statistics.replied == 1 and [member.name for member in members] == ["a", "b", "c"]


async def test_another_loop_may_not_ask(troupe: Troupe) -> None:
    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            asyncio.run(troupe.group.call("who"))

    await asyncio.to_thread(elsewhere)
    assert troupe.group.statistics().issued == 0


async def test_a_group_of_servers_for_tests() -> None:
    servers = [ContainerServer(name="calc"), ContainerServer(name="calc"), ContainerServer(name="other")]
    for server in servers:
        server.function(lambda: 1, name="one")
    async with connected(*servers, policy=GroupPolicy(pick="rotation")) as group:
        assert [member.name for member in group.members] == ["calc", "calc-2", "other"]
        assert (await group.call_all("one")).check().results == {"calc": 1, "calc-2": 1, "other": 1}
    assert all(server.instance is None for server in servers)


async def test_a_slow_listener_is_told_what_it_has_missed(stage: Stage) -> None:
    async with stage("a") as troupe, ComputerEngineWorker(limits=Limits(events=4)) as worker:
        group = await worker.group(troupe.members)
        slow, prompt = group.events(), group.events()
        for _ in range(10):
            async with group.hold("a"):
                assert isinstance(await anext(prompt), MemberHeld)
            assert isinstance(await anext(prompt), MemberReturned)
        dropped = await anext(slow)
        assert isinstance(dropped, EventsDropped) and dropped.count == 16
        told = [await anext(slow) for _ in range(4)]
        assert [type(event) for event in told] == [MemberHeld, MemberReturned] * 2
        await group.close()


async def test_what_is_no_member_cannot_be_removed(stage: Stage) -> None:
    async with stage("ab") as troupe:
        for name in ("z", "127.0.0.1:1", ""):
            with pytest.raises(KeyError, match="there is no member"):
                troupe.members.remove(name)
        members = Members([troupe["a"].endpoint, Endpoint(troupe["b"].endpoint, name="b")])
        members.remove(troupe["a"].endpoint)
        members.remove("b")
        async for named in members.watch():
            assert named == ()
            break
