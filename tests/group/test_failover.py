"""Another member is asked where nothing has run, and nobody where something may have."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import time
import uuid
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ConnectRefused,
    ContainerDraining,
    ContainerServer,
    ContainerStopped,
    EncodeError,
    Endpoint,
    Executed,
    GroupPolicy,
    Limits,
    LinkDown,
    LinkFailed,
    MemberEjected,
    MemberReturned,
    NotConnected,
    Overloaded,
    RequestContext,
    RequestTimeout,
    Status,
)
from mpzmq.protocol.group.rendezvous import winner, written_key
from mpzmq.testing import Members, connected
from tests.support.scene import QUICK
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq import ComputerEngineWriter, Group
    from mpzmq.testing import ProxyFactory
    from tests.group.conftest import Actor, Stage, Troupe


def narrow(name: str) -> tuple[ContainerServer, asyncio.Event, list[int]]:
    """A server that takes one request at a time, and refuses all others."""
    server = ContainerServer(name=name, limits=Limits(in_flight=1, reply_entries=1000), heartbeat=QUICK)
    gate, ran = asyncio.Event(), []

    @server.function
    async def wait(number: int) -> str:
        ran.append(number)
        await gate.wait()
        return name

    return server, gate, ran


async def test_who_is_stopped_is_passed_over(troupe: Troupe) -> None:
    group = troupe.group
    await group.handle("a").set_state(Status.STOP)
    assert {await group.call("who") for _ in range(20)} == {"b", "c"}
    for name in "bc":
        await group.handle(name).set_state(Status.STOP)
    for wait in (True, False):
        with pytest.raises(ContainerStopped) as caught:
            await group.call("who", "never", timeout=scaled(5.0), wait=wait)
        assert caught.value.executed is Executed.NO
    assert troupe.ran["never"] == 0
    await group.handle("b").set_state(Status.RUNNING)
    assert await group.call("who") == "b"


async def test_a_word_that_comes_late_moves_the_request(troupe: Troupe) -> None:
    """A member is stopped by somebody else: the group learns of it by an error, and asks another one."""
    async with elsewhere(troupe, "a") as other:
        await other.set_state(Status.STOP)
        names = [await troupe.group.call("who") for _ in range(30)]
    assert set(names) == {"b", "c"}
    assert troupe.group.statistics().failed == 0


async def test_a_member_that_drains(troupe: Troupe) -> None:
    group = troupe.group
    waiting = [asyncio.create_task(group.call("wait", number)) for number in range(6)]
    await until(lambda: troupe.ran.total() == 6)
    draining = asyncio.create_task(troupe["a"].server.drain())
    assert {await group.call("who") for _ in range(20)} == {"b", "c"}
    for name in "abc":
        troupe[name].gate.set()
    assert sorted(await asyncio.gather(*waiting)) == list("aabbcc")
    await draining
    assert group.statistics().failed == 0


async def test_the_last_member_drains(stage: Stage) -> None:
    async with stage("a") as troupe:
        task = asyncio.create_task(troupe.group.call("wait", 1))
        await until(lambda: troupe.ran[1])
        draining = asyncio.create_task(troupe["a"].server.drain())
        await until(lambda: not troupe.group.handle("a").is_running())
        with pytest.raises((NotConnected, ContainerDraining)) as caught:
            await troupe.group.call("who", wait=False)
        assert caught.value.executed is Executed.NO
        waiting = asyncio.create_task(troupe.group.call("who", "successor"))
        troupe["a"].gate.set()
        assert await task == "a"
        await draining
        await troupe["a"].server.close()
        successor = ContainerServer(name="a2")
        successor.function(lambda word: "a2", name="who")
        async with successor:
            await successor.bind(troupe["a"].endpoint)
            assert await soon(waiting) == "a2"


async def test_who_refuses_is_passed_over_for_this_request() -> None:
    one, gate_one, ran_one = narrow("one")
    two, gate_two, ran_two = narrow("two")
    async with connected(one, two) as group:
        # Each takes one request of an engine: by the handle, so that the group does not know of it.
        blocked = asyncio.create_task(group.handle("one").call("wait", 0))
        await until(lambda: ran_one)
        task = asyncio.create_task(group.options(key=key_of(group, "one")).call("wait", 1))
        await until(lambda: ran_two)
        with pytest.raises(Overloaded) as caught:
            await group.call("wait", 2)
        assert caught.value.executed is Executed.NO
        assert sorted(attempt.member.name for attempt in caught.value.tried) == ["one", "two"]
        assert all(isinstance(attempt.error, Overloaded) for attempt in caught.value.tried)
        gate_one.set()
        gate_two.set()
        assert await task == "two" and await blocked == "one"
        assert group.statistics().retried == 2
    assert ran_one == [0] and ran_two == [1]


def key_of(group: Group, name: str) -> int:
    """A key that belongs to a member."""
    members = list(group._state.members.values())
    return next(key for key in range(1000) if winner(members, written_key(key)).name == name)


@contextlib.asynccontextmanager
async def elsewhere(troupe: Troupe, name: str) -> AsyncIterator[ComputerEngineWriter]:
    """Another engine's handle of a member."""
    async with ComputerEngineWorker() as worker:
        yield await worker.connect(troupe[name].endpoint)


async def test_max_attempts() -> None:
    made = [narrow(name) for name in ("one", "two", "three")]
    servers = [server for server, _, _ in made]
    async with connected(*servers, policy=GroupPolicy(max_attempts=2)) as group:
        blocked = [asyncio.create_task(group.call("wait", number)) for number in range(3)]
        await until(lambda: all(ran for _, _, ran in made))
        with pytest.raises(Overloaded) as caught:
            await group.call("wait", 9)
        assert len(caught.value.tried) == 2
        for _, gate, _ in made:
            gate.set()
        await asyncio.gather(*blocked)


async def test_the_retry_budget() -> None:
    made = [narrow(name) for name in ("one", "two")]
    policy = GroupPolicy(retry_floor=0.0, retry_ratio=0.0)
    async with connected(*[server for server, _, _ in made], policy=policy) as group:
        blocked = [asyncio.create_task(group.call("wait", number)) for number in range(2)]
        await until(lambda: all(ran for _, _, ran in made))
        with pytest.raises(Overloaded) as caught:
            await group.call("wait", 9)
        assert len(caught.value.tried) == 1
        for _, gate, _ in made:
            gate.set()
        await asyncio.gather(*blocked)


async def test_a_lost_connection(stage: Stage, mpzmq_proxy: ProxyFactory) -> None:
    """What may have run is not run again, unless it may run twice."""
    async with stage("ab") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        members = Members([Endpoint(proxy.endpoint, name="a"), Endpoint(troupe["b"].endpoint, name="b")])
        policy = GroupPolicy(lost_after=0.0, pick=lambda members, call: members[0])
        group = await troupe.worker.group(members, policy=policy)
        await group.wait_ready(2)
        once = asyncio.create_task(group.call("wait", "once"))
        twice = asyncio.create_task(group.call("wait", "twice", idempotent=True))
        await until(lambda: troupe.ran.total() == 2)
        assert troupe["a"].ran == ["once", "twice"]
        troupe["b"].gate.set()
        await proxy.cut()
        assert await soon(twice) == "b"
        with pytest.raises(ConnectionLost) as caught:
            await soon(once)
        assert caught.value.executed is not Executed.NO
        assert [attempt.member.name for attempt in caught.value.tried] == ["a"]
        assert troupe["b"].ran == ["twice"]
        assert await group.call("who") == "b"
        await group.close()
        troupe["a"].gate.set()


async def test_an_id_whose_member_has_left(stage: Stage, mpzmq_proxy: ProxyFactory) -> None:
    async with stage("ab") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        members = Members([Endpoint(proxy.endpoint, name="a"), Endpoint(troupe["b"].endpoint, name="b")])
        policy = GroupPolicy(lost_after=0.0, pick=lambda members, call: members[0])
        group = await troupe.worker.group(members, policy=policy)
        await group.wait_ready(2)
        tag = uuid.uuid4()
        task = asyncio.create_task(group.call("wait", "x", request_id=tag))
        await until(lambda: troupe["a"].ran)
        await proxy.cut()
        with pytest.raises(ConnectionLost):
            await soon(task)
        # Only this member knows what became of it.
        with pytest.raises(RequestTimeout) as late:
            await group.call("wait", "x", request_id=tag, timeout=0.05)
        assert late.value.executed is Executed.UNKNOWN
        with pytest.raises(NotConnected) as refused:
            await group.call("wait", "x", request_id=tag, wait=False)
        assert refused.value.executed is Executed.UNKNOWN
        troupe["a"].gate.set()
        proxy.restore()
        assert await soon(group.call("wait", "x", request_id=tag)) == "a"
        assert troupe.ran == {"x": 1}

        other = uuid.uuid4()
        troupe["a"].gate.clear()
        task = asyncio.create_task(group.call("wait", "y", request_id=other))
        await until(lambda: "y" in troupe["a"].ran)
        await proxy.cut()
        with pytest.raises(ConnectionLost):
            await soon(task)
        members.remove("a")
        await until(lambda: len(group.members) == 1)
        with pytest.raises(ConnectionLost, match="has left") as gone:
            await group.call("wait", "y", request_id=other)
        assert gone.value.executed is Executed.UNKNOWN
        assert troupe["b"].ran == []
        await group.close()
        troupe["a"].gate.set()


async def test_streams_go_to_another_member(troupe: Troupe) -> None:
    group = troupe.group
    async with elsewhere(troupe, "a") as other:
        await other.set_state(Status.STOP)
    # Whoever is asked first: the group's own links may not know of it yet.
    for _ in range(10):
        items = [item async for item in group.stream("climb", 2)]
        assert items[0][0] in "bc"
        assert (await group.upload("add_up", iter([1, 2, 3])))[1] == 6
        async with group.channel("double") as channel:
            await channel.send(4)
            assert await anext(channel) == 8
    assert troupe["a"].ran == [] and group.statistics().failed == 0


async def test_a_stream_that_has_begun_stays(troupe: Troupe) -> None:
    group = troupe.group
    async with group.stream("ponder", 3) as items:
        await until(lambda: troupe.ran["ponder"])
        (home,) = [name for name in "abc" if troupe[name].ran]
        assert {member.name: member.in_flight for member in group.members}[home] == 1
        troupe[home].gate.set()
        assert [item async for item in items] == [0, 1, 2]
    assert group.statistics().replied == 1


async def test_a_stream_that_nobody_reads_to_its_end(troupe: Troupe) -> None:
    group = troupe.group
    async for item in group.stream("climb", 1_000_000):
        assert item
        break
    await until(lambda: group.statistics().cancelled == 1)
    assert all(member.in_flight == 0 for member in group.members)


async def test_a_stream_that_stands_still(troupe: Troupe) -> None:
    with pytest.raises(RequestTimeout, match="idle_timeout"):
        async for _ in troupe.group.stream("ponder", 1, idle_timeout=scaled(0.3)):
            raise AssertionError
    for name in "abc":
        troupe[name].gate.set()


async def test_options_that_are_not_for_streams(troupe: Troupe) -> None:
    for view in (troupe.group.options(hedge_after=1.0), troupe.group.options(idempotent=True)):
        with pytest.raises(TypeError):
            async for _ in view.stream("climb", 1):
                raise AssertionError
        with pytest.raises(TypeError):
            await view.upload("add_up", [1])


async def test_a_member_that_fails_again_and_again_is_ejected(stage: Stage) -> None:
    policy = GroupPolicy(eject_errors=3, eject_for=scaled(0.5))
    async with stage("abc", policy=policy) as troupe:
        group = troupe.group
        for name in "bc":
            troupe[name].gate.set()
        with_events = group.events()
        failed = 0
        while not any(member.ejected for member in group.members):
            try:
                await group.call("wait", "x", timeout=scaled(0.3))
            except RequestTimeout:
                failed += 1
        assert failed >= 3
        ejected = await event_of(with_events, MemberEjected)
        assert ejected.member is not None and ejected.member.name == "a" and ejected.member.ejected
        assert {await group.call("who") for _ in range(20)} == {"b", "c"}
        returned = await event_of(with_events, MemberReturned)
        assert returned.name == "a" and not group.members[0].ejected
        await until_asked(troupe, "a")
        assert group.statistics().ejections == 1
        troupe["a"].gate.set()


def has_begun(actor: Actor, word: int, count: int) -> bool:
    return actor.ran.count(word) == count


async def test_one_loss_is_one_error(stage: Stage, mpzmq_proxy: ProxyFactory) -> None:
    """However many requests it takes along: a container that was restarted once has not failed again and again."""
    async with stage("ab") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        members = [Endpoint(proxy.endpoint, name="a"), Endpoint(troupe["b"].endpoint, name="b")]
        policy = GroupPolicy(lost_after=0.0, eject_errors=2, pick=lambda members, call: members[0])
        async with troupe.worker.group(members, policy=policy) as group:
            for losses in 1, 2:
                await group.wait_ready(2)
                calls = [asyncio.create_task(group.call("wait", losses)) for _ in range(5)]
                await until(functools.partial(has_begun, troupe["a"], losses, 5))
                await proxy.reset()
                outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
                assert [type(outcome) for outcome in outcomes] == [ConnectionLost] * 5
                assert group.statistics().ejections == losses - 1
        troupe["a"].gate.set()


async def until_asked(troupe: Troupe, name: str) -> None:
    """A member that has returned is warmed: it gets something soon."""
    async with asyncio.timeout(scaled(10.0)):
        while await troupe.group.call("who") != name:
            pass


async def test_a_hedge(stage: Stage) -> None:
    async with stage("ab") as troupe:
        group = troupe.group
        view = group.options(idempotent=True, hedge_after=0.05)
        task = asyncio.create_task(view.call("wait", "x"))
        await until(lambda: troupe.ran["x"] == 2)
        assert [actor.ran for actor in troupe.actors.values()] == [["x"], ["x"]]
        troupe["b"].gate.set()
        assert await task == "b"
        await until(lambda: troupe["a"].cancelled == ["x"])
        assert group.statistics().hedged == 1
        troupe["a"].gate.set()
        assert await view.call("who", "y") in "ab"
        assert troupe.ran["y"] == 1, "who is quick is asked alone"


async def test_a_hedge_whose_both_sides_fail(stage: Stage) -> None:
    async with stage("ab") as troupe:
        view = troupe.group.options(idempotent=True, hedge_after=0.02, timeout=scaled(0.5))
        with pytest.raises(RequestTimeout) as caught:
            await view.call("wait", "x")
        assert sorted(attempt.member.name for attempt in caught.value.tried) == ["a", "b"]
        for name in "ab":
            troupe[name].gate.set()


@pytest.mark.parametrize("how", ["nobody is picked", "nobody is picked later on", "both time out"])
async def test_a_hedge_that_failed_holds_none_of_its_arguments(stage: Stage, how: str) -> None:
    """Its tasks end with errors whose tracebacks hold what was asked."""

    class Data(bytearray):
        """An argument that tells when it is gone."""

    policy = GroupPolicy(pick=(lambda members, call: None) if how.startswith("nobody") else "least")  # type: ignore[arg-type,return-value]
    held: list[weakref.ref[Data]] = []

    async def ask(group: Group) -> None:
        data = Data(10)
        held.append(weakref.ref(data))
        with contextlib.suppress(RequestTimeout, ValueError):
            await group.options(idempotent=True, hedge_after=0.02, timeout=scaled(0.4)).call("wait", data)

    async with stage("ab", policy=policy) as troupe:
        gc.collect()
        gc.disable()
        try:
            if how.endswith("later on"):
                async with troupe.group.hold("a"), troupe.group.hold("b"):
                    asking = asyncio.create_task(ask(troupe.group))
                    begun = time.monotonic()
                    await until(lambda: time.monotonic() > begun + 0.04)  # hedge_after has passed
            else:
                asking = asyncio.create_task(ask(troupe.group))
            await asking
            await until(lambda: held[0]() is None)
        finally:
            gc.enable()


async def test_a_hedge_has_the_deadline_of_its_caller(stage: Stage) -> None:
    left = []
    async with stage("ab") as troupe:
        for actor in troupe.actors.values():

            @actor.server.function
            async def measure(context: RequestContext, actor: Actor = actor) -> None:
                left.append(context.remaining() or 0.0)
                if len(left) == 1:
                    await actor.gate.wait()

        await troupe.group.options(idempotent=True, hedge_after=0.2, timeout=60.0).call("measure")
        assert len(left) == 2 and 0.0 < left[1] <= 60.0 - 0.2


async def test_a_caller_of_a_hedge_that_leaves(stage: Stage) -> None:
    async with stage("ab") as troupe:
        task = asyncio.create_task(troupe.group.options(idempotent=True, hedge_after=0.02).call("wait", "x"))
        await until(lambda: troupe.ran["x"] == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: troupe["a"].cancelled and troupe["b"].cancelled)


async def test_a_hedge_is_for_what_may_run_twice(troupe: Troupe) -> None:
    with pytest.raises(ValueError, match="idempotent=True"):
        await troupe.group.options(hedge_after=1.0).call("who", "never")
    with pytest.raises(ValueError, match="hedge_after"):
        troupe.group.options(hedge_after=0)
    assert troupe.ran["never"] == 0


async def test_max_in_flight(stage: Stage) -> None:
    async with stage("ab", policy=GroupPolicy(max_in_flight=2)) as troupe:
        group = troupe.group
        tasks = [asyncio.create_task(group.call("wait", number)) for number in range(10)]
        await until(lambda: troupe.ran.total() == 4)
        assert [member.in_flight for member in group.members] == [2, 2]
        with pytest.raises(Overloaded, match="max_in_flight") as caught:
            await group.call("who", wait=False)
        assert caught.value.executed is Executed.NO
        with pytest.raises(RequestTimeout, match="full") as late:
            await group.call("who", "never", timeout=0.05)
        assert late.value.executed is Executed.NO
        keyed = asyncio.create_task(group.options(key="k").call("who", "keyed"))
        for name in "ab":
            troupe[name].gate.set()
        await soon(asyncio.gather(*tasks, keyed))
        assert troupe.ran == Counter([*range(10), "keyed"])


async def test_a_container_tells_what_others_ask(stage: Stage) -> None:
    async with stage("ab") as troupe, elsewhere(troupe, "a") as other:
        tasks = [asyncio.create_task(other.call("wait", number)) for number in range(3)]
        await until(lambda: troupe.group._state.members["a"].load.others == 3)
        assert {await troupe.group.call("who") for _ in range(20)} == {"b"}
        troupe["a"].gate.set()
        await asyncio.gather(*tasks)
        await until(lambda: troupe.group._state.members["a"].load.others == 0)


async def test_the_loss_of_a_member_is_told(stage: Stage, mpzmq_proxy: ProxyFactory) -> None:
    async with stage("a") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        group = await troupe.worker.group([Endpoint(proxy.endpoint, name="far")])
        events = group.events()
        await proxy.reset()
        down = await event_of(events, LinkDown)
        assert down.member is not None and down.member.name == down.name == "far"
        await group.close()


async def test_a_hedge_under_a_chosen_id(stage: Stage) -> None:
    async with stage("ab") as troupe:
        tag = uuid.uuid4()
        view = troupe.group.options(idempotent=True, hedge_after=0.02, request_id=tag)
        task = asyncio.create_task(view.call("wait", "x"))
        await until(lambda: troupe.ran["x"] == 2)
        troupe["b"].gate.set()
        assert await task == "b"
        await until(lambda: troupe["a"].cancelled)
        with pytest.raises(ValueError, match="a reply was received"):
            await view.call("wait", "x")
        troupe["a"].gate.set()


async def test_what_may_run_twice_moves_under_a_chosen_id(stage: Stage, mpzmq_proxy: ProxyFactory) -> None:
    async with stage("ab") as troupe:
        proxy = await mpzmq_proxy(troupe["a"].endpoint)
        members = Members([Endpoint(proxy.endpoint, name="a"), Endpoint(troupe["b"].endpoint, name="b")])
        policy = GroupPolicy(lost_after=0.0, pick=lambda members, call: members[0])
        group = await troupe.worker.group(members, policy=policy)
        await group.wait_ready(2)
        task = asyncio.create_task(group.call("wait", "x", request_id=uuid.uuid4(), idempotent=True))
        await until(lambda: troupe["a"].ran)
        troupe["b"].gate.set()
        await proxy.cut()
        assert await soon(task) == "b"
        await group.close()
        troupe["a"].gate.set()


async def test_what_has_not_left_binds_no_id(stage: Stage) -> None:
    """An id that no member took may go anywhere."""
    async with stage("ab") as troupe:
        tag = uuid.uuid4()
        await troupe.group.handle("b").set_state(Status.STOP)
        with pytest.raises(EncodeError):
            await troupe.group.call("who", object(), request_id=tag)
        await troupe.group.handle("a").set_state(Status.STOP)
        with pytest.raises(ContainerStopped):
            await troupe.group.call("who", "x", request_id=tag)
        await troupe.group.handle("b").set_state(Status.RUNNING)
        assert await troupe.group.call("who", "x", request_id=tag) == "b"


async def test_a_link_that_has_failed_is_made_anew() -> None:
    server = ContainerServer(name="late")
    server.function(lambda: "late", name="who")
    async with server, ComputerEngineWorker().with_auto_reconnect(False) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        await server.close()
        group = await worker.group([endpoint], wait=False, policy=GroupPolicy(eject_for=scaled(0.3)))
        events = group.events()
        await event_of(events, LinkFailed)
        with pytest.raises(ConnectRefused, match="is not ready: 0 of its 1 members") as caught:
            await group.wait_ready(timeout=60.0)
        assert "within" not in str(caught.value), "nothing was waited for"
        await server.__aenter__()
        await server.bind(endpoint)
        assert await soon(group.call("who")) == "late"
        assert len(worker._connections) == 1
