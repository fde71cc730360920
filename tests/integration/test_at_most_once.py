"""Promise 3 over real sockets: what is sent again, or issued again, does not run again."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ConnectionLost,
    ContainerDraining,
    ContainerServer,
    Executed,
    Limits,
    LinkDown,
    LinkState,
    Overloaded,
    RequestCancelled,
    RequestContext,
    RequestIdReused,
    RequestTimeout,
)
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mpzmq.testing import Proxy, ProxyFactory


@dataclass
class Stage:
    """A container behind a proxy, and what its handlers have done."""

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    ran: list[Any] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def lose(self) -> None:
        """The connection breaks, and comes back."""
        events = self.worker.service().events()
        await self.proxy.reset()
        await event_of(events, LinkDown)

    def tallies(self) -> bool:
        """Whether the counters of both sides add up."""
        counted = self.server.statistics()
        ended = counted.replied + counted.failed + counted.refused + counted.cancelled
        return adds_up(self.worker.service().statistics()) and counted.received == ended + counted.in_flight


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, limits: Limits) -> AsyncIterator[Stage]:
    server = ContainerServer(name="stage", heartbeat=QUICK, limits=limits)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        container = await worker.connect(uuid.uuid4(), proxy.endpoint, name="stage")
        made = Stage(server, proxy, worker, container)

        @server.function
        async def wait(word: Any) -> Any:
            made.ran.append(word)
            await made.gate.wait()
            return word

        @server.function
        def note(word: Any) -> Any:
            made.ran.append(word)
            return word

        @server.function
        async def swell(number: int, size: int) -> bytes:
            made.ran.append(number)
            await made.gate.wait()
            return bytes(size)

        @server.function(cancellable=False)
        async def finish(word: Any) -> Any:
            made.ran.append(word)
            await made.gate.wait()
            return word

        @server.function
        def fail(word: Any) -> None:
            made.ran.append(word)
            raise LookupError(word)

        @server.function
        async def mine(context: RequestContext) -> str:
            made.ran.append(context.request_id)
            await made.gate.wait()
            return str(context.request_id)

        yield made
        made.gate.set()
        await worker.close()
        assert made.tallies()


async def test_a_running_request_is_joined_after_a_reconnect(stage: Stage) -> None:
    calls = [asyncio.create_task(stage.container.call("wait", number)) for number in range(20)]
    await until(lambda: len(stage.ran) == 20)
    for _ in range(3):
        await stage.lose()
        await stage.container.wait_ready()
        await until(lambda: stage.worker.service().statistics().resent % 20 == 0)
    stage.gate.set()
    assert await soon(asyncio.gather(*calls)) == list(range(20))
    assert stage.ran == list(range(20))
    counted = stage.server.statistics()
    assert (counted.received, counted.replied) == (20, 20) and counted.repeated >= 20


async def test_replies_that_were_lost_are_given_again(stage: Stage) -> None:
    stage.proxy.freeze()  # requests and replies wait in the network, and are lost with it
    calls = [asyncio.create_task(stage.container.call("wait", number)) for number in range(50)]
    await asyncio.sleep(0)
    stage.proxy.thaw()
    await until(lambda: len(stage.ran) == 50)
    stage.proxy.freeze()
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == 50)
    await stage.lose()
    stage.proxy.thaw()
    assert await soon(asyncio.gather(*calls)) == list(range(50))
    assert stage.ran == list(range(50))
    assert stage.server.statistics().received == 50


async def test_a_request_that_timed_out_may_be_issued_again_and_joins(stage: Stage) -> None:
    chosen = uuid.uuid4()
    with pytest.raises(RequestTimeout):
        await stage.container.call("finish", "x", request_id=chosen, timeout=0.05)
    again = asyncio.create_task(stage.container.call("finish", "x", request_id=chosen))
    await until(lambda: stage.server.statistics().repeated == 1)
    stage.gate.set()
    assert await soon(again) == "x"
    assert stage.ran == ["x"]
    with pytest.raises(ValueError, match="already"):
        await stage.container.call("finish", "x", request_id=chosen)


async def test_a_request_that_ended_meanwhile_is_answered_when_it_is_issued_again(stage: Stage) -> None:
    chosen = uuid.uuid4()
    with pytest.raises(RequestTimeout):
        await stage.container.call("finish", "x", request_id=chosen, timeout=0.05)
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == 1)
    await until(lambda: stage.container.statistics().late == 1)
    assert await stage.container.call("finish", "x", request_id=chosen) == "x"
    assert stage.ran == ["x"]


async def test_the_same_id_with_another_body_never_runs(stage: Stage) -> None:
    chosen = uuid.uuid4()
    with pytest.raises(RequestTimeout):
        await stage.container.call("finish", "x", request_id=chosen, timeout=0.05)
    with pytest.raises(RequestIdReused) as running:
        await stage.container.call("finish", "y", request_id=chosen)
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == 1)
    with pytest.raises(RequestIdReused) as answered:
        await stage.container.call("note", "x", request_id=chosen)
    assert running.value.executed is answered.value.executed is Executed.NO
    assert stage.ran == ["x"]


async def test_a_cancelled_request_that_is_issued_again_is_told_what_became_of_it(stage: Stage) -> None:
    chosen = uuid.uuid4()
    call = asyncio.create_task(stage.container.call("wait", "x", request_id=chosen))
    await until(lambda: stage.ran)
    call.cancel()
    await until(lambda: stage.server.statistics().cancelled == 1)
    with pytest.raises(RequestCancelled) as told:
        await stage.container.call("wait", "x", request_id=chosen)
    assert told.value.executed is Executed.YES
    assert stage.ran == ["x"]


async def test_an_error_is_an_answer_and_is_kept_as_well(stage: Stage) -> None:
    chosen = uuid.uuid4()
    stage.proxy.freeze()
    call = asyncio.create_task(stage.container.call("fail", "x", request_id=chosen, timeout=0.2))
    await asyncio.sleep(0)
    with pytest.raises(RequestTimeout):
        await call
    stage.proxy.thaw()
    await until(lambda: stage.ran or stage.server.statistics().cancelled or stage.server.statistics().refused)
    with pytest.raises(Exception, match="x") as raised:
        await stage.container.call("fail", "x", request_id=chosen)
    assert type(raised.value).__name__ in ("RemoteError", "RequestTimeout")
    assert stage.ran == ["x"]


async def test_a_cancel_that_is_lost_is_said_again(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("wait", "x"))
    await until(lambda: stage.ran)
    stage.proxy.freeze()
    call.cancel()
    await asyncio.wait([call])
    await stage.lose()
    stage.proxy.thaw()
    await until(lambda: stage.server.statistics().cancelled == 1)


async def test_a_mark_tells_that_a_handler_began(stage: Stage) -> None:
    with pytest.raises(RequestTimeout) as late:
        await stage.container.call("wait", "x", timeout=0.5)
    assert late.value.executed is Executed.YES and "its handler began" in str(late.value)


async def test_deadlines_go_on_while_the_link_is_down(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("wait", "x", timeout=0.4))
    await until(lambda: stage.ran)
    await stage.proxy.cut()
    with pytest.raises(RequestTimeout) as late:
        await soon(call)
    assert late.value.executed is not Executed.NO
    await until(lambda: stage.server.statistics().cancelled == 1)
    stage.proxy.restore()


@pytest.mark.parametrize("limits", [Limits(reply_bytes=1000)])
async def test_of_a_reply_that_is_too_large_to_keep_stays_that_it_was_given(stage: Stage) -> None:
    text = "x" * 2000
    call = asyncio.create_task(stage.container.call("wait", text, idempotent=True))
    await until(lambda: len(stage.ran) == 1)
    stage.proxy.freeze()
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == 1)
    await stage.lose()
    stage.proxy.thaw()
    with pytest.raises(ConnectionLost, match="its reply is not kept") as lost:
        await soon(call)
    assert lost.value.executed is Executed.YES and lost.value.instance_changed is False
    assert stage.ran == [text], "not even what may run twice does, in one container"


@pytest.mark.parametrize(("limits", "sent"), [(Limits(), 1500), (Limits(reply_entries=50), 50)], ids=["all", "few"])
async def test_as_many_calls_as_may_be_in_flight_survive_a_lost_connection(stage: Stage, sent: int) -> None:
    """All are answered while the connection takes nothing, but for those that the container has no place for."""
    calls = [asyncio.create_task(stage.container.call("wait", number)) for number in range(1500)]
    await until(lambda: len(stage.ran) == sent)
    stage.proxy.freeze()
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == sent)
    await stage.lose()
    stage.proxy.thaw()
    assert await soon(asyncio.gather(*calls)) == list(range(1500))
    assert sorted(stage.ran) == list(range(1500)) and stage.tallies()


@pytest.mark.parametrize("limits", [Limits(reply_entries=1)])
async def test_who_does_not_wait_is_told_that_the_container_keeps_no_more_replies(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("wait", 1))
    await until(lambda: stage.ran)
    with pytest.raises(Overloaded, match="reply_entries") as full:
        await stage.container.call("wait", 2, wait=False)
    assert full.value.executed is Executed.NO
    stage.gate.set()
    assert await soon(call) == 1 and stage.ran == [1]


@pytest.mark.parametrize("limits", [Limits(reply_ttl=0.2)])
async def test_what_was_forgotten_is_not_run_again(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("wait", "x"))
    await until(lambda: stage.ran)
    stage.proxy.freeze()
    stage.gate.set()
    sessions = stage.server._driver.sessions if stage.server._driver else None
    assert sessions is not None
    await until(lambda: stage.server.statistics().replied == 1)
    (peer,) = sessions._peers.values()
    await until(lambda: peer.replies.stale_below > 1)
    await stage.lose()
    stage.proxy.thaw()
    with pytest.raises(ConnectionLost) as lost:
        await soon(call)
    assert lost.value.executed is Executed.UNKNOWN and stage.ran == ["x"]


@pytest.mark.parametrize("limits", [Limits(in_flight=2)])
async def test_a_container_that_is_full_says_so(stage: Stage) -> None:
    calls = [asyncio.create_task(stage.container.call("wait", number)) for number in range(2)]
    await until(lambda: len(stage.ran) == 2)
    with pytest.raises(Overloaded) as full:
        await stage.container.call("wait", 3)
    assert full.value.executed is Executed.NO and full.value.retry_after > 0
    stage.gate.set()
    assert await asyncio.gather(*calls) == [0, 1]


@pytest.mark.parametrize("limits", [Limits(in_flight=2, reply_entries=1)])
async def test_replies_are_acknowledged_before_they_stand_in_the_way(stage: Stage) -> None:
    for number in range(200):
        assert await stage.container.call("note", number) == number
    assert stage.ran == list(range(200))


async def test_a_drain_waits_for_an_engine_that_has_lost_its_connection(stage: Stage) -> None:
    call = asyncio.create_task(stage.container.call("wait", "x"))
    await until(lambda: stage.ran)
    stage.proxy.freeze()
    stage.gate.set()
    await until(lambda: stage.server.statistics().replied == 1)
    draining = asyncio.create_task(stage.server.drain(8.0))
    await stage.lose()
    stage.proxy.thaw()
    assert await soon(call) == "x"
    await soon(draining)
    assert stage.container.state is LinkState.DRAINING
    with pytest.raises(ContainerDraining):
        await stage.container.call("note", "y", wait=False)


async def test_counters_of_both_sides_agree_after_many_losses(stage: Stage) -> None:
    stage.gate.set()
    answers: list[Any] = []

    async def caller(number: int) -> None:
        for turn in range(30):
            answer = await stage.container.call("wait", [number, turn])
            answers.append(answer)

    callers = asyncio.gather(*(caller(number) for number in range(20)))
    while not callers.done():
        await stage.proxy.reset()
        await asyncio.wait([callers], timeout=0.15)
    await callers
    assert len(answers) == len(stage.ran) == 600
    assert sorted(stage.ran) == sorted(answers)
    assert stage.server.statistics().received == stage.container.statistics().issued == 600


@pytest.mark.parametrize("limits", [Limits(queued_bytes=4 << 20)])
async def test_an_engine_that_is_asked_to_take_much_at_once_is_not_given_up(stage: Stage) -> None:
    """More than libzmq's 1,000 messages, and more than queued_bytes behind them; the engine reads as well as it can."""
    calls = [asyncio.create_task(stage.container.call("swell", number, 20_000)) for number in range(1300)]
    await until(lambda: len(stage.ran) == len(calls))
    stage.gate.set()
    assert [len(answer) for answer in await soon(asyncio.gather(*calls))] == [20_000] * len(calls)
    assert stage.container.statistics().reconnects == 0
