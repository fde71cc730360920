"""The promises hold where the container has dialled: connections that are cut, half cut, replayed, or gone for good."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ConnectionLost,
    ContainerServer,
    Executed,
    GroupPolicy,
    Limits,
    LinkDown,
    LinkUp,
    MemberJoined,
    MemberLeft,
    RequestContext,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.testing import Proxy
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mpzmq.engine.joined_group import JoinedGroup
    from mpzmq.testing.proxy import Side
    from tests.support.raw import Raw

PATIENT = GroupPolicy(lost_after=None)


class Joined:
    """A container in this process that has joined a worker through a proxy."""

    def __init__(self, worker: ComputerEngineWorker, group: JoinedGroup, proxy: Proxy, server: ContainerServer) -> None:
        self.worker = worker
        self.group = group
        self.proxy = proxy
        self.server = server
        self.events = group.events()
        self.ran: list[Any] = []
        self.cancelled: list[Any] = []
        self.go = asyncio.Event()
        """Handlers wait for it."""
        server.function(self.work)
        server.function(self.climb)
        server.function(self.add_up)
        server.function(self.echo)
        server.function(self.asks)

    async def work(self, word: Any) -> Any:
        self.ran.append(word)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(word)
            raise
        return word

    async def climb(self, number: int) -> AsyncIterator[int]:
        for index in range(number):
            if index == number // 2:
                self.ran.append("half")
                await self.go.wait()
            yield index

    async def add_up(self, numbers: AsyncIterator[int]) -> int:
        total = 0
        async for number in numbers:
            total += number
            self.ran.append(number)
        return total

    async def echo(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number

    async def asks(self, word: Any, context: RequestContext) -> Any:
        return await context.call("answer", word)


@contextlib.asynccontextmanager
async def joined(
    *, policy: GroupPolicy = PATIENT, rejoin_within: float = 60.0, **options: Any
) -> AsyncIterator[Joined]:
    """Waits until it can be called."""
    server = ContainerServer(name="calc", heartbeat=QUICK, **options)
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker, server:
        opening = worker.accept("tcp://127.0.0.1:0", tokens="secret", policy=policy, rejoin_within=rejoin_within)
        async with opening as group, Proxy(group.endpoint) as proxy:
            scene = Joined(worker, group, proxy, server)
            await server.join(proxy.endpoint, token="secret")
            await group.wait_ready()
            yield scene
            assert adds_up(worker.service().statistics())


async def test_a_cut_loses_nothing_and_nothing_runs_twice() -> None:
    async with joined() as scene:
        sent = [asyncio.ensure_future(scene.group.call("work", number)) for number in range(50)]
        await until(lambda: len(scene.ran) == 50)
        instance = scene.group.members[0].instance
        await scene.proxy.reset()
        await event_of(scene.events, LinkDown)
        sent += [asyncio.ensure_future(scene.group.call("work", number)) for number in range(50, 60)]
        await event_of(scene.events, LinkUp)
        scene.go.set()
        assert await soon(asyncio.gather(*sent)) == list(range(60))
        assert sorted(scene.ran) == list(range(60))
        assert [member.instance for member in scene.group.members] == [instance]


@pytest.mark.parametrize("keep", ["container", "worker"])
async def test_one_side_does_not_know_of_the_loss(keep: Side) -> None:
    """The engine's half stays ("container": it is what the proxy dials), so the newest route wins; or the other one."""
    async with joined() as scene:
        sent = [asyncio.ensure_future(scene.group.call("work", number)) for number in range(20)]
        await until(lambda: len(scene.ran) == 20)
        scene.proxy.half_open(keep=keep)
        await event_of(scene.events, LinkUp)
        scene.go.set()
        assert await soon(asyncio.gather(*sent)) == list(range(20))
        assert sorted(scene.ran) == list(range(20))
        assert len(scene.server.engines()) == 1
        assert scene.proxy.connections == 2


async def test_many_cuts_at_any_byte() -> None:
    async with joined() as scene:
        scene.go.set()
        for number in range(12):
            scene.proxy.reset_after(10 + 17 * number, to=("container", "worker")[number % 2])
            results = await soon(
                asyncio.gather(*(scene.group.call("work", 100 * number + index) for index in range(10)))
            )
            assert results == [100 * number + index for index in range(10)]
        assert len(scene.ran) == 120
        assert scene.proxy.connections > 6


async def test_streams_go_on_after_a_cut_and_uploads_and_channels_end_with_it() -> None:
    """As over a link that was dialled: what is not idempotent and was sent in items is not sent again."""
    async with joined() as scene:
        more = asyncio.Event()

        async def numbers() -> AsyncIterator[int]:
            yield 7
            await more.wait()

        async def down() -> list[int]:
            async with scene.group.stream("climb", 100) as items:
                return [item async for item in items]

        async def both() -> None:
            async with scene.group.channel("echo") as channel:
                await channel.send(1)
                assert await anext(channel) == 1
                scene.ran.append("channel")
                await anext(channel)

        stream, upload, channel = (
            asyncio.ensure_future(task) for task in (down(), scene.group.upload("add_up", numbers()), both())
        )
        await until(lambda: {"half", 7, "channel"} <= set(scene.ran))
        await scene.proxy.reset()
        for task in (upload, channel):
            with pytest.raises(ConnectionLost) as lost:
                await soon(task)
            assert lost.value.executed in (Executed.UNKNOWN, Executed.YES)
        scene.go.set()
        assert await soon(stream) == list(range(100))
        assert len(scene.ran) == 3


async def test_streams_both_ways_at_the_same_time() -> None:
    async with joined() as scene:
        scene.go.set()

        async def numbers(size: int) -> AsyncIterator[int]:
            for number in range(size):
                yield number

        async def both() -> list[int]:
            seen: list[int] = []
            async with scene.group.channel("echo") as channel:
                for number in range(100):
                    await channel.send(number)
                    seen.append(await anext(channel))
                await channel.send_eof()
                return seen + [item async for item in channel]

        async def down() -> list[int]:
            async with scene.group.stream("climb", 2000) as items:
                return [item async for item in items]

        upload, channel, stream = await soon(
            asyncio.gather(scene.group.upload("add_up", numbers(2000)), both(), down())
        )
        assert (upload, channel, stream) == (sum(range(2000)), list(range(100)), list(range(2000)))


async def test_calls_of_the_container_survive_a_cut() -> None:
    async with joined() as scene:
        asked: list[Any] = []
        go = asyncio.Event()

        @scene.worker.function
        async def answer(word: Any) -> Any:
            asked.append(word)
            await go.wait()
            return word

        sent = asyncio.ensure_future(scene.group.call("asks", "x"))
        await until(lambda: asked)
        await scene.proxy.reset()
        await event_of(scene.events, LinkUp)
        go.set()
        assert await soon(sent) == "x"
        assert asked == ["x"]


async def test_who_stays_away_takes_what_is_in_flight_with_it() -> None:
    async with joined(rejoin_within=scaled(0.3)) as scene:
        sent = asyncio.ensure_future(scene.group.call("work", 1, timeout=None))
        await until(lambda: scene.ran)
        await scene.proxy.cut()
        left = await event_of(scene.events, MemberLeft)
        assert "rejoin_within" in left.reason
        with pytest.raises(ConnectionLost) as lost:
            await soon(sent)
        assert lost.value.executed in (Executed.UNKNOWN, Executed.YES)
        assert scene.group.members == ()
        scene.proxy.restore()
        back = await event_of(scene.events, MemberJoined)
        assert back.name == "calc"
        scene.go.set()
        assert await soon(scene.group.call("work", 2)) == 2
        assert scene.ran == [1, 2]


async def test_who_is_back_in_time_has_not_left() -> None:
    async with joined(rejoin_within=scaled(60.0)) as scene:
        sent = asyncio.ensure_future(scene.group.call("work", 1))
        await until(lambda: scene.ran)
        await scene.proxy.cut()
        await event_of(scene.events, LinkDown)
        scene.proxy.restore()
        await event_of(scene.events, LinkUp)
        scene.go.set()
        assert await soon(sent) == 1
        assert scene.ran == [1]


async def test_a_caller_is_not_left_to_its_deadline() -> None:
    async with joined(policy=GroupPolicy(lost_after=scaled(0.2))) as scene:
        sent = asyncio.ensure_future(scene.group.call("work", 1, timeout=None))
        await until(lambda: scene.ran)
        await scene.proxy.cut()
        with pytest.raises(ConnectionLost, match="lost_after"):
            await soon(sent)
        assert len(scene.group.members) == 1


async def test_handlers_do_not_outlive_an_engine_that_stays_away() -> None:
    async with joined(orphan_after=scaled(0.2)) as scene:
        sent = asyncio.ensure_future(scene.group.call("work", 1))
        await until(lambda: scene.ran)
        await scene.proxy.cut()
        await until(lambda: scene.cancelled == [1])
        scene.proxy.restore()
        with pytest.raises(Exception, match="orphan_after"):
            await soon(sent)


async def test_a_join_that_was_given_up_is_not_held_against_the_next() -> None:
    """The engine has heard it, so the number of the next one has to be higher."""
    server = ContainerServer(name="calc")
    server.function(lambda word: word, name="echo")
    async with (
        server,
        ComputerEngineWorker(reconnect=REDIAL) as worker,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        events = group.events()
        joining = asyncio.ensure_future(server.join(group.endpoint, token="secret"))
        await event_of(events, MemberJoined)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        await server.join(group.endpoint, token="secret")
        assert await soon(group.call("echo", "x")) == "x"
        assert len(group.members) == 1


class Visitor:
    """A raw DEALER that plays a container."""

    def __init__(self, raw: Raw, endpoint: str) -> None:
        self.raw = raw.connect(endpoint)

    def join(self, instance: uuid.UUID, number: int, token: str = "secret") -> None:
        self.raw.send(LINK_TAG, self.raw.pack(wire.join(instance, number, token, "visitor", {}, Limits())))

    async def greeted(self) -> bool:
        """Whether HELLO comes."""
        return bool(self.raw.unpack(await self.raw.receive())[0][1][0] == Kind.HELLO)

    def has_heard(self) -> bool:
        return bool(self.raw.socket.poll(0))


async def test_a_replayed_join_gets_nothing_and_moves_nobody(raw: Callable[[int], Raw]) -> None:
    async with (
        ComputerEngineWorker(reconnect=REDIAL) as worker,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
    ):
        instance = uuid.uuid4()
        own, thief, later = (Visitor(raw(zmq.DEALER), group.endpoint) for _ in range(3))
        own.join(instance, 5)
        assert await own.greeted()
        for number in (5, 4, 0):
            thief.join(instance, number)
        await until(lambda: group._lobby.refused.get("its JOIN has come before: it is a replay"))
        assert not thief.has_heard()
        assert len(group.members) == 1
        later.join(instance, 6)  # of its own: the newest route wins
        assert await later.greeted()
        assert not thief.has_heard()
        assert len(group.members) == 1
