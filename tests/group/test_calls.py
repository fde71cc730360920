"""The ways to ask a group are those of a handle."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import sys
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    AddressNotFound,
    ComputerEngineWorker,
    ConnectionClosed,
    ConnectRefused,
    EncodeError,
    Executed,
    GroupPolicy,
    InvalidArguments,
    NotConnected,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestTimeout,
    Unsupported,
)
from mpzmq.testing import Members
from tests.support.odd import NoText
from tests.support.scene import REDIAL
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpzmq import Call, Member
    from tests.group.conftest import Stage, Troupe


async def test_every_way_to_ask(troupe: Troupe) -> None:
    group = troupe.group
    assert (await group.request({"a": 1}))[1] == {"a": 1}
    assert await group.call("who", "x") in "abc"
    assert await group.function("who", timeout=5.0)("x") in "abc"
    items = [item async for item in group.stream("climb", 3)]
    assert [index for _, index in items] == [0, 1, 2] and len({name for name, _ in items}) == 1
    assert (await group.upload("add_up", range(10)))[1] == 45
    async with group.channel("double") as channel:
        for number in range(3):
            await channel.send(number)
            assert await anext(channel) == 2 * number
    view = group.options(timeout=5.0, metadata={"a": 1})
    assert await view.call("who", word="x") in "abc"
    assert (await view.request(1, method="INVOKE"))[1] == 1  # type: ignore[arg-type]
    assert [item[1] async for item in view.stream("climb", 2)] == [0, 1]
    assert group.statistics().replied == 9


async def test_requests_are_spread(troupe: Troupe) -> None:
    counts = Counter([await troupe.group.call("who") for _ in range(150)])
    assert set(counts) == {"a", "b", "c"} and min(counts.values()) > 20


async def test_who_has_something_to_do_is_not_asked(troupe: Troupe) -> None:
    waiting = [asyncio.create_task(troupe.group.call("wait", number)) for number in range(2)]
    await until(lambda: troupe.ran.total() == 2)
    idle = {name for name in "abc" if not troupe[name].ran}
    assert len(idle) == 1
    assert {await troupe.group.call("who") for _ in range(20)} == idle
    for name in "abc":
        troupe[name].gate.set()
    await asyncio.gather(*waiting)


async def test_long_jobs_go_to_whoever_is_idle(stage: Stage) -> None:
    async with stage("abcdefgh") as troupe:
        for _ in range(5):
            tasks = [asyncio.create_task(troupe.group.call("wait", "job")) for _ in range(8)]
            await until(lambda: sum(member.in_flight for member in troupe.group.members) == 8)
            assert [member.in_flight for member in troupe.group.members] == [1] * 8
            for name in "abcdefgh":
                troupe[name].gate.set()
            await asyncio.gather(*tasks)
            for name in "abcdefgh":
                troupe[name].gate.clear()


@pytest.mark.parametrize("pick", ["rotation", "ewma"])
async def test_other_ways_to_pick(stage: Stage, pick: Any) -> None:
    async with stage(policy=GroupPolicy(pick=pick)) as troupe:
        names = [await troupe.group.call("who") for _ in range(30)]
        assert set(names) == {"a", "b", "c"}
        if pick == "rotation":
            assert set(Counter(names).values()) == {10}


async def test_a_member_that_fails_is_not_asked_more_for_it(stage: Stage) -> None:
    """An error comes at once, and says nothing of how long a result would take."""
    async with stage(policy=GroupPolicy(pick="ewma")) as troupe:
        for name in "ab":
            troupe[name].server.function(lambda own=name: own, name="name")  # the third has no such function
        for _ in range(30):
            with contextlib.suppress(Unsupported):
                await troupe.group.call("name")
        assert troupe.group.statistics().failed < 20


async def test_a_member_that_hangs_is_asked_less_for_it(stage: Stage) -> None:
    """It never gives a result: the hedge does, and its caller has left by then."""
    async with stage(policy=GroupPolicy(pick="ewma")) as troupe:
        for name in "ab":
            troupe[name].gate.set()
        view = troupe.group.options(idempotent=True, hedge_after=0.02)
        for number in range(12):
            assert await view.call("wait", number) in "ab"
        assert len(troupe["c"].ran) < 6


async def test_views_are_asked_in_turns(stage: Stage) -> None:
    labels = {name: {"of": "one" if name in "ab" else "other"} for name in "abcd"}
    async with stage("abcd", policy=GroupPolicy(pick="rotation"), labels=labels) as troupe:
        names = [await troupe.group.where(of=of).call("who") for _ in range(5) for of in ("one", "other")]
        assert set(Counter(names).values()) <= {2, 3} and len(set(names)) == 4


async def test_a_function_that_picks(stage: Stage) -> None:
    seen: list[tuple[list[str], Call]] = []

    def pick(members: Sequence[Member], call: Call) -> Member:
        seen.append(([member.name for member in members], call))
        return members[-1]

    async with stage(policy=GroupPolicy(pick=pick)) as troupe:
        assert await troupe.group.options(metadata={"m": 1}).call("who", "x") == "c"
        names, call = seen[0]
        assert names == ["a", "b", "c"]
        assert (call.function, call.args, dict(call.kwargs), dict(call.metadata)) == ("who", ("x",), {}, {"m": 1})
        assert [item async for item in troupe.group.stream("climb", 1)] == [["c", 0]]
        await troupe.group.handle("c").set_state("STOP")  # type: ignore[arg-type]
        assert await troupe.group.call("who", word="y") == "b"
        assert dict(seen[-1][1].kwargs) == {"word": "y"}


@pytest.mark.parametrize("chosen", [None, 1, "a", [], {}, object()])
async def test_a_function_that_picks_nobody(stage: Stage, chosen: Any) -> None:
    async with stage(policy=GroupPolicy(pick=lambda members, call: chosen)) as troupe:
        with pytest.raises(ValueError, match=r"an object of type \w+, which is none of the members"):
            await troupe.group.call("who")


@pytest.mark.parametrize("hedge_after", [None, 5.0])
async def test_a_function_that_exits_while_it_picks(stage: Stage, hedge_after: float | None) -> None:
    """What it decides is one request's: the tasks of a hedge would carry the exit to the event loop."""
    codes: list[Any] = [3, NoText()]
    async with stage(policy=GroupPolicy(pick=lambda members, call: sys.exit(codes[0]))) as troupe:
        view = troupe.group.options(idempotent=True, hedge_after=hedge_after)
        with pytest.raises(ValueError, match=r"pick has called sys\.exit\(3\), and chosen no member") as caught:
            await view.call("who")
        assert isinstance(caught.value.__cause__, SystemExit)
        codes.pop(0)
        with pytest.raises(ValueError, match="chosen no member"):
            await view.call("who")
        statistics = troupe.group.statistics()
        assert (statistics.failed, statistics.in_flight) == (2, 0)


async def test_a_function_that_picks_who_was_not_given(stage: Stage) -> None:
    async with stage(
        policy=GroupPolicy(pick=lambda members, call: dataclasses.replace(members[0], name="z"))
    ) as troupe:
        with pytest.raises(ValueError, match="has chosen 'z', which is none of the members"):
            await troupe.group.call("who")


async def test_a_function_that_would_have_to_be_awaited(stage: Stage) -> None:
    async def later(members: Sequence[Member], call: Call) -> Member:
        raise AssertionError

    class Later:
        async def __call__(self, members: Sequence[Member], call: Call) -> Member:
            raise AssertionError

    for pick in (later, functools.partial(later), Later(), Later().__call__):
        with pytest.raises(TypeError, match="a plain function, 'def' and not 'async def'"):
            GroupPolicy(pick=pick)  # type: ignore[arg-type]
    async with stage(policy=GroupPolicy(pick=lambda members, call: later(members, call))) as troupe:  # type: ignore[arg-type, return-value]
        with pytest.raises(TypeError, match="it is to return a member"):
            await troupe.group.call("who")


async def test_who_picks_changes_nothing(stage: Stage) -> None:
    refused: list[type] = []

    def pick(members: Sequence[Member], call: Call) -> Member:
        for facts in (call.kwargs, call.metadata):
            try:
                facts["word"] = "y"  # type: ignore[index]
            except TypeError as error:
                refused.append(type(error))
        return members[0]

    async with stage(policy=GroupPolicy(pick=pick)) as troupe:
        await troupe.group.options(metadata={"word": "x"}).call("who", word="x")
        assert troupe.ran == {"x": 1} and refused == [TypeError] * 2


async def test_a_key_goes_to_one_member(troupe: Troupe) -> None:
    group = troupe.group
    homes = {key: await group.options(key=key).call("who") for key in range(30)}
    assert set(homes.values()) == {"a", "b", "c"}
    for key, home in homes.items():
        assert await group.options(key=key).call("who") == home
    troupe.members.remove("b")
    await until(lambda: len(group.members) == 2)
    for key, home in homes.items():
        now = await group.options(key=key).call("who")
        assert now == home if home != "b" else now != "b"


async def test_a_key_takes_its_member_back(troupe: Troupe) -> None:
    group = troupe.group
    view = group.options(key="user")
    home = await view.call("who")
    async with group.hold(home):
        away = {await view.call("who") for _ in range(5)}
        assert len(away) == 1 and home not in away
    assert await view.call("who") == home
    assert [item[0] async for item in view.stream("climb", 1)] == [home]


async def test_what_is_no_key(troupe: Troupe) -> None:
    with pytest.raises(TypeError, match="a key is"):
        troupe.group.options(key=1.5)
    deep: Any = ()
    for _ in range(3000):
        deep = (deep,)
    with pytest.raises(ValueError, match="a key is"):
        troupe.group.options(key=deep)


async def test_what_the_function_says_is_not_asked_again(troupe: Troupe) -> None:
    for call, kind in (
        (troupe.group.call("fail", "x"), RemoteError),
        (troupe.group.call("refuse"), Refused),
        (troupe.group.call("nope"), Unsupported),
        (troupe.group.call("who", 1, 2, 3, 4), InvalidArguments),
    ):
        with pytest.raises(kind) as caught:
            await call
        assert len(caught.value.tried) == 1
    assert troupe.ran == {"x": 1}
    with pytest.raises(EncodeError):
        await troupe.group.call("who", object())
    assert troupe.group.statistics().failed == 5


async def test_a_fallback(troupe: Troupe) -> None:
    name, data = await troupe.group.request("declined", "old")
    assert data == "old" and troupe[name].ran == ["old"]
    assert troupe.group.statistics().retried == 0


async def test_a_timeout_is_one_for_everything(troupe: Troupe) -> None:
    left = await troupe.group.call("remaining", timeout=7.0)
    assert 0 < left <= 7.01  # it goes over the wire in whole milliseconds, rounded up
    with pytest.raises(RequestTimeout) as caught:
        await troupe.group.call("wait", "x", timeout=0.05)
    assert caught.value.executed is not Executed.NO and len(caught.value.tried) == 1
    with pytest.raises(RequestTimeout) as caught:
        await troupe.group.call("who", timeout=0)
    assert caught.value.executed is Executed.NO


async def test_a_caller_that_leaves(troupe: Troupe) -> None:
    task = asyncio.create_task(troupe.group.call("wait", "x"))
    await until(lambda: troupe.ran["x"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: any(actor.cancelled for actor in troupe.actors.values()))
    assert troupe.group.statistics().cancelled == 1


async def test_an_empty_group() -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(AddressNotFound, match="'nobody' has no members"):
            await worker.group(Members(), name="nobody", timeout=0.05)
        assert not worker._connections
        group = await worker.group(Members(), name="nobody", wait=False)
        with pytest.raises(NotConnected, match="no members") as caught:
            await group.call("who", timeout=0.05)
        assert caught.value.executed is Executed.NO and caught.value.name == "nobody"
        with pytest.raises(NotConnected, match="no members"):
            await group.call("who", wait=False)
        assert (await group.call_all("who")).results == {}
        await group.close()


async def test_a_member_that_comes_is_waited_for(stage: Stage) -> None:
    async with stage("a") as troupe, ComputerEngineWorker(reconnect=REDIAL) as worker:
        members = Members()
        group = await worker.group(members, wait=False)
        calls = [asyncio.create_task(group.call("who", number)) for number in range(10)]
        calls.append(asyncio.create_task(group.options(key="k").call("who", 10)))
        await asyncio.sleep(0)
        members.add(troupe["a"].endpoint)
        assert await soon(asyncio.gather(*calls)) == ["a"] * 11
        in_line = [word for word in troupe["a"].ran if word < 10]
        assert in_line == list(range(10)), "first come, first served"


async def test_nobody_listens() -> None:
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        with pytest.raises(ConnectRefused, match="is not ready within"):
            await worker.group(["127.0.0.1:1", "127.0.0.1:2"], timeout=scaled(0.3))
        assert not worker._connections and not worker._groups.open
        group = await worker.group(["127.0.0.1:1"], wait=False)
        with pytest.raises(NotConnected, match="its members are"):
            await group.call("who", wait=False)
        with pytest.raises(RequestTimeout, match="could not be asked in time") as caught:
            await group.call("who", timeout=0.05)
        assert caught.value.executed is Executed.NO


async def test_sources_that_are_none() -> None:
    async with ComputerEngineWorker() as worker:
        with pytest.raises(ValueError):
            await worker.group("carrier-pigeon://calc:3010")
        with pytest.raises(ValueError):
            await worker.group(["host"])
        with pytest.raises(TypeError):
            await worker.group(3010)  # type: ignore[arg-type]
        assert not worker._groups.open


async def test_bad_members_cost_the_others_nothing(stage: Stage) -> None:
    async with stage("a") as troupe:

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-none\r\n")
            writer.close()

        stranger = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with stranger:
            port = stranger.sockets[0].getsockname()[1]
            addresses = [troupe["a"].endpoint, f"127.0.0.1:{port}", "127.0.0.1:1", troupe["a"].endpoint]
            async with troupe.worker.group(addresses) as group:
                assert [await soon(group.call("who")) for _ in range(20)] == ["a"] * 20
                assert len(group.members) == 3
                outcomes = await group.call_all("who")
                assert list(outcomes.results.values()) == ["a"] and len(outcomes.errors) == 2


async def test_a_closed_group(stage: Stage) -> None:
    async with stage("ab") as troupe:
        events = troupe.group.events()
        group = await troupe.worker.group(troupe.members, name="other")
        task = asyncio.create_task(group.call("wait", "x"))
        held = asyncio.create_task(group.options(key=1).call("wait", "y"))
        await until(lambda: troupe.ran.total() == 2)
        await group.close()
        await group.close()
        for one in (task, held):
            with pytest.raises(ConnectionError):
                await one
        with pytest.raises(NotConnected, match="closed"):
            await group.call("who")
        assert [event async for event in group.events()] == []
        assert await troupe.group.call("who") in "ab"
        for name in "ab":
            troupe[name].gate.set()
        await troupe.group.close()
        assert all(event.member is not None for event in [event async for event in events])  # type: ignore[union-attr]


async def test_what_had_left_when_its_group_was_closed(stage: Stage) -> None:
    async with stage("ab") as troupe:
        group = await troupe.worker.group(troupe.members, name="other")
        tasks = [
            asyncio.create_task(group.options(idempotent=True).call("wait", "x")),
            asyncio.create_task(group.options(idempotent=True, hedge_after=60.0).call("wait", "x")),
        ]
        await until(lambda: troupe.ran["x"] == 2)
        await group.close()
        for task in tasks:
            with pytest.raises(ConnectionClosed) as caught:
                await task
            assert caught.value.executed is not Executed.NO and len(caught.value.tried) == 1
        for name in "ab":
            troupe[name].gate.set()


async def test_the_worker_ends_its_groups(stage: Stage) -> None:
    async with stage("a") as troupe:
        async with ComputerEngineWorker(reconnect=REDIAL) as worker:
            group = await worker.group(troupe.members)
            task = asyncio.create_task(group.call("wait", "x"))
            await until(lambda: troupe.ran["x"])
        with pytest.raises(ConnectionError):
            await task
        assert not worker._groups.open and not worker._connections
        troupe["a"].gate.set()


async def test_a_block_closes_its_group(stage: Stage) -> None:
    async with stage("a") as troupe:
        async with troupe.worker.group(troupe.members) as group:
            assert await group.call("who") == "a"
        with pytest.raises(NotConnected):
            await group.call("who")


async def test_ids_that_the_caller_chose(troupe: Troupe) -> None:
    group = troupe.group
    tag = uuid.uuid4()
    assert await group.call("who", "x", request_id=tag) in "abc"
    with pytest.raises(ValueError, match="a reply was received"):
        await group.call("who", "x", request_id=tag)
    again = uuid.uuid4()
    first = asyncio.create_task(group.call("wait", "y", request_id=again, timeout=scaled(0.5)))
    await until(lambda: troupe.ran["y"])
    with pytest.raises(RequestTimeout):
        await first
    (home,) = [name for name in "abc" if "y" in troupe[name].ran]
    await until(lambda: troupe[home].cancelled)
    for _ in range(5):
        # What it has to say of its end, or that it has said it.
        with pytest.raises((RequestTimeout, RequestCancelled, ValueError)):
            await group.call("wait", "y", request_id=again, timeout=0.05)
    assert [name for name in "abc" if "y" in troupe[name].ran] == [home]
