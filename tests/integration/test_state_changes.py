"""What stands behind a change of state is judged when that has ended, whatever it takes and however it ends."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerDraining,
    ContainerServer,
    ContainerStopped,
    Executed,
    Limits,
    LinkDown,
    LinkUp,
    Method,
    Overloaded,
    Params,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestTimeout,
    Status,
)
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.scene import QUICK, REDIAL, adds_up
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mpzmq.testing import Proxy, ProxyFactory
    from tests.support.raw import Raw

STOP, RUNNING = Status.STOP, Status.RUNNING


@dataclass
class Stage:
    """A container behind a proxy, whose changes of state do what a test wants, and its engine."""

    server: ContainerServer
    proxy: Proxy
    worker: ComputerEngineWorker
    container: ComputerEngineWriter
    ran: list[Any] = field(default_factory=list)
    changes: list[Status] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    change: Callable[[Status], Awaitable[None]] | None = None

    async def hold(self) -> asyncio.Task[Status]:
        """Begins a change to STOP that hangs at the gate."""
        self.change = lambda status: self.gate.wait()  # type: ignore[assignment, return-value]  # whatever it returns
        changing = asyncio.create_task(self.container.set_state(STOP))
        await until(lambda: self.changes)
        return changing

    def waiting(self) -> int:
        """How many requests wait behind a change."""
        assert self.server._driver is not None
        running = self.server._driver.dispatcher._running.values()
        return sum(one.ticket is not None and one.ticket.is_waiting for one in running)

    def is_tidy(self) -> bool:
        """Whether nothing is at work, and the books of both sides add up."""
        there, here = self.server.statistics(), self.worker.statistics()
        ended = there.replied + there.failed + there.refused + there.cancelled
        hub = self.server._driver
        left = [] if hub is None else [*hub.dispatcher._running, *hub.dispatcher._admission.changes.closed]
        return adds_up(here) and not (here.in_flight or there.in_flight or left) and there.received == ended


def _functions(stage: Stage) -> None:
    server = stage.server

    def note(value: Any) -> Any:
        stage.ran.append(value)
        return value

    async def later(value: Any) -> Any:
        return note(value)

    server.on_invoke(note)
    server.function(note)
    server.function(later)
    server.function(note, name="threaded", thread=True)
    server.function(note, name="narrow", max_concurrency=1)

    @server.function
    async def stream(value: Any) -> AsyncIterator[Any]:
        yield note(value)

    @server.function
    async def upload(items: AsyncIterator[Any]) -> Any:
        return note(await anext(aiter(items)))

    @server.function
    async def channel(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for value in items:
            yield note(value)

    @server.on_state_change
    async def changed(status: Status) -> None:
        stage.changes.append(status)
        if stage.change is not None:
            await stage.change(status)


async def _ask(container: ComputerEngineWriter, form: str, value: Any) -> Any:
    """Asks in one of all ways; each answers the value."""
    if form == "invoke":
        return await container.request(value)
    if form == "stream":
        return await anext(container.stream("stream", value))
    if form == "upload":
        return await container.upload("upload", [value])
    if form == "channel":
        async with container.channel("channel") as channel:
            await channel.send(value)
            return await anext(channel)
    return await container.call(form, value)


FORMS = ["invoke", "note", "later", "threaded", "narrow", "stream", "upload", "channel"]


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def stage(mpzmq_proxy: ProxyFactory, limits: Limits) -> AsyncIterator[Stage]:
    server = ContainerServer(heartbeat=QUICK, limits=limits)
    async with server, ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        proxy = await mpzmq_proxy(await server.bind("tcp://127.0.0.1:0"))
        made = Stage(server, proxy, worker, await worker.connect(uuid.uuid4(), proxy.endpoint))
        _functions(made)
        yield made
        made.gate.set()
        await until(made.is_tidy)


@pytest.mark.parametrize("form", FORMS)
async def test_what_was_asked_behind_it_finds_the_new_state(stage: Stage, form: str) -> None:
    container = stage.container
    for _ in range(5):
        outcomes = await soon(
            asyncio.gather(
                _ask(container, form, 1),
                container.set_state(STOP),
                _ask(container, form, 2),
                container.set_state(RUNNING),
                _ask(container, form, 3),
                return_exceptions=True,
            )
        )
        stopped = outcomes[2]
        assert (outcomes[0], outcomes[1]) == (1, STOP)
        assert (outcomes[3], outcomes[4]) == (RUNNING, 3)
        assert isinstance(stopped, ContainerStopped)
        assert stopped.executed is Executed.NO
    if form == "threaded":
        stage.ran.sort()  # of two threads, the one that was started first may be given the processor later
        assert stage.ran == 5 * [1] + 5 * [3]
    else:
        assert stage.ran == 5 * [1, 3]


async def test_replies_carry_the_state_in_which_they_were_given(stage: Stage) -> None:
    service, remote_id = stage.worker.service(), stage.container.remote_id

    def ask(method: Method, data: Any = None) -> Awaitable[Params]:
        return service.exchange(Params(uuid.uuid4(), method, data=data), remote_id)

    before, stop, run, after = await soon(
        asyncio.gather(
            ask(Method.INVOKE, 1),
            ask(Method.SETSTATE, STOP),
            ask(Method.SETSTATE, RUNNING),
            ask(Method.INVOKE, 2),
        )
    )
    assert [reply.status for reply in (before, stop, run, after)] == [RUNNING, STOP, RUNNING, RUNNING]
    assert [before.data, after.data] == [1, 2]


async def test_what_waits_hangs_nobody_else(stage: Stage) -> None:
    changing = await stage.hold()
    waiting = asyncio.create_task(stage.container.call("note", 1))
    await until(stage.waiting)
    assert await soon(stage.container.get_state()) is RUNNING
    assert (await soon(stage.worker.service().describe(stage.container.remote_id))).status is RUNNING
    async with ComputerEngineWorker() as other:
        container = await other.connect(uuid.uuid4(), stage.proxy.endpoint)
        assert await soon(container.call("note", 2)) == 2
    assert not (changing.done() or waiting.done())
    stage.gate.set()
    assert await soon(changing) is STOP
    with pytest.raises(ContainerStopped):
        await soon(waiting)
    assert stage.ran == [2]


@pytest.mark.parametrize("error", [Refused("no"), LookupError("oh")], ids=["vetoed", "failed"])
async def test_a_change_that_is_not_made_stops_nothing(stage: Stage, error: Exception) -> None:
    async def fail(status: Status) -> None:
        await stage.gate.wait()
        raise error

    stage.change = fail
    both = asyncio.gather(stage.container.set_state(STOP), stage.container.call("note", 1), return_exceptions=True)
    await until(stage.waiting)
    stage.gate.set()
    changed, ran = await soon(both)
    assert isinstance(changed, Refused | RemoteError)
    assert ran == 1


@pytest.mark.parametrize("heeds", [True, False], ids=["is cancelled", "goes on"])
async def test_a_change_that_hangs_holds_others_until_its_deadline(stage: Stage, heeds: bool) -> None:
    cancelled = asyncio.Event()

    async def hang(status: Status) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            if heeds:
                raise
            await stage.gate.wait()

    stage.change = hang
    changing = asyncio.create_task(stage.container.set_state(STOP, timeout=0.3))
    await until(lambda: stage.changes)
    behind = asyncio.create_task(stage.container.call("note", 1))
    await until(stage.waiting)
    with pytest.raises(RequestTimeout):
        await soon(changing)
    assert await soon(behind) == 1
    assert cancelled.is_set()
    stage.gate.set()
    await until(stage.is_tidy)
    assert stage.server.status is RUNNING, "what was judged without it would not be true"


async def test_a_change_whose_caller_has_gone_holds_nobody(stage: Stage) -> None:
    changing = await stage.hold()
    behind = asyncio.create_task(stage.container.call("note", 1))
    await until(stage.waiting)
    changing.cancel()
    assert await soon(behind) == 1


async def test_who_waits_ends_by_its_own_deadline(stage: Stage) -> None:
    changing = await stage.hold()
    with pytest.raises(RequestTimeout):
        await soon(stage.container.call("note", 1, timeout=0.2))
    await until(lambda: not stage.waiting())
    stage.gate.set()
    assert await soon(changing) is STOP
    assert stage.ran == []


async def test_who_is_cancelled_does_not_wait(stage: Stage) -> None:
    changing = await stage.hold()
    behind = [asyncio.create_task(stage.container.call("note", number)) for number in range(3)]
    await until(lambda: stage.waiting() == 3)
    behind[1].cancel()
    await until(lambda: stage.waiting() == 2)
    await soon(stage.container.get_state())
    stage.change = None
    again = asyncio.create_task(stage.container.set_state(RUNNING))
    last = asyncio.create_task(stage.container.call("note", 3))
    await until(lambda: stage.waiting() == 4)
    stage.gate.set()
    assert await soon(changing) is STOP
    assert await soon(again) is RUNNING
    assert await soon(last) == 3
    outcomes = await asyncio.gather(*behind, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ContainerStopped, asyncio.CancelledError, ContainerStopped]


async def test_a_drain_lets_the_change_end_and_runs_nothing_new(stage: Stage) -> None:
    changing = await stage.hold()
    behind = asyncio.create_task(stage.container.call("note", 1, wait=False))
    await until(stage.waiting)
    draining = asyncio.create_task(stage.server.drain())
    await until(lambda: stage.container.state.name == "DRAINING")
    stage.gate.set()
    assert await soon(changing) is STOP
    with pytest.raises(ContainerDraining) as caught:
        await soon(behind)
    assert caught.value.executed is Executed.NO
    await soon(draining)
    assert stage.ran == []


async def test_a_close_ends_those_that_wait(stage: Stage) -> None:
    changing = await stage.hold()
    behind = [asyncio.create_task(stage.container.call("note", number)) for number in range(3)]
    await until(lambda: stage.waiting() == 3)
    await soon(stage.server.close())
    with pytest.raises(RequestCancelled):
        await soon(changing)
    for outcome in await soon(asyncio.gather(*behind, return_exceptions=True)):
        assert isinstance(outcome, RequestCancelled)
        assert outcome.executed is Executed.NO
    assert stage.ran == []


async def test_a_lost_connection_keeps_the_order(stage: Stage) -> None:
    """Both are sent again, and known: neither runs twice, and what waited still waits."""
    events = stage.worker.service().events()
    changing = await stage.hold()
    behind = [asyncio.create_task(stage.container.call("note", number)) for number in range(3)]
    await until(lambda: stage.waiting() == 3)
    await stage.proxy.reset()
    await event_of(events, LinkDown)
    await event_of(events, LinkUp)
    assert await soon(stage.container.get_state()) is RUNNING
    assert stage.waiting() == 3
    stage.change = None
    run = asyncio.create_task(stage.container.set_state(RUNNING))
    last = asyncio.create_task(stage.container.call("note", 3))
    await until(lambda: stage.waiting() == 5)
    stage.gate.set()
    assert [await soon(changing), await soon(run), await soon(last)] == [STOP, RUNNING, 3]
    for outcome in await soon(asyncio.gather(*behind, return_exceptions=True)):
        assert isinstance(outcome, ContainerStopped)
    assert stage.changes == [STOP, RUNNING]
    assert stage.ran == [3]


async def test_an_upload_whose_connection_breaks_while_it_waits_does_not_run_on(stage: Stage) -> None:
    changing = await stage.hold()
    upload = asyncio.create_task(stage.container.upload("upload", [1]))
    await until(stage.waiting)
    await stage.proxy.reset()
    with pytest.raises(ConnectionError):
        await soon(upload)
    stage.gate.set()
    assert await soon(changing) is STOP


async def test_an_engine_that_leaves_takes_what_waits_along(stage: Stage) -> None:
    async with ComputerEngineWorker() as other:
        container = await other.connect(uuid.uuid4(), stage.proxy.endpoint)
        stage.change = lambda status: stage.gate.wait()  # type: ignore[assignment, return-value]  # whatever it returns
        tasks = [asyncio.create_task(container.set_state(STOP)), asyncio.create_task(container.call("note", 1))]
        await until(stage.waiting)
    await asyncio.wait(tasks)
    assert all(isinstance(task.exception(), ConnectionError) for task in tasks)
    await until(stage.is_tidy)
    assert (stage.ran, stage.server.status) == ([], RUNNING)


@pytest.mark.parametrize("limits", [Limits(in_flight=4)])
async def test_those_that_wait_are_counted(stage: Stage) -> None:
    changing = await stage.hold()
    outcomes = asyncio.gather(*(stage.container.call("note", n) for n in range(6)), return_exceptions=True)
    await until(lambda: stage.waiting() == 3)
    with pytest.raises(Overloaded) as caught:
        await soon(stage.container.call("note", 7, wait=False))
    assert caught.value.executed is Executed.NO
    stage.gate.set()
    await soon(changing)
    kinds = [type(outcome) for outcome in await soon(outcomes)]
    assert kinds == 3 * [ContainerStopped] + 3 * [Overloaded]


async def test_a_large_request_waits_as_well(stage: Stage) -> None:
    changing = await stage.hold()
    behind = asyncio.create_task(stage.container.call("later", bytes(3 << 20)))
    await until(stage.waiting)
    stage.gate.set()
    assert await soon(changing) is STOP
    with pytest.raises(ContainerStopped):
        await soon(behind)


async def test_a_request_that_waits_may_be_issued_again(stage: Stage) -> None:
    changing = await stage.hold()
    chosen = uuid.uuid4()
    first = asyncio.create_task(stage.container.call("later", 1, request_id=chosen))
    await until(stage.waiting)
    first.cancel()
    await until(lambda: not stage.waiting())
    again = asyncio.create_task(stage.container.call("later", 1, request_id=chosen))
    await until(stage.waiting)
    changing.cancel()
    assert await soon(again) == 1
    assert stage.ran == [1]


@pytest.mark.parametrize("comes_again", ["behind the refusal", "in front of it"])
async def test_a_refusal_does_not_overtake_what_is_asked_again_on_a_new_connection(
    stage: Stage, raw: Callable[[int], Raw], comes_again: str
) -> None:
    """The engine would be told NO, and what it has asked meanwhile might run all the same."""
    stage.change = lambda status: stage.gate.wait()  # type: ignore[assignment, return-value]  # whatever it returns
    session, changing, behind = uuid.uuid4(), uuid.uuid4().bytes, uuid.uuid4().bytes
    old = raw(zmq.DEALER).connect(stage.proxy.endpoint)
    await old.greet(session, 1)
    request = [Kind.REQUEST, 2, None, 0, Op.INVOKE, None, ["x"], None, None]
    old.send(changing, old.pack([Kind.REQUEST, 1, None, 0, Op.SETSTATE, None, [STOP.value], None, None]))
    old.send(behind, old.pack(request))
    await until(lambda: stage.waiting() == 1)
    new = raw(zmq.DEALER).connect(stage.proxy.endpoint)
    assert (await new.greet(session, 2))[0] == Kind.WELCOME
    seen: list[tuple[bytes, int]] = []

    async def receive_until(tag: bytes, kind: int) -> None:
        while (tag, kind) not in seen:
            seen.extend((told, record[0]) for told, record in new.unpack(await new.receive()))

    if comes_again == "in front of it":
        new.send(behind, new.pack(request))
        assert stage.server._driver is not None
        deduplicator = stage.server._driver.dispatcher.deduplicator
        await until(lambda: deduplicator.count == 1)
    stage.gate.set()
    await receive_until(changing, Kind.RESPONSE)
    if comes_again == "behind the refusal":
        new.send(LINK_TAG, new.pack([Kind.PING, 2]))
        await receive_until(LINK_TAG, Kind.PONG)
        assert (behind, Kind.ERROR) not in seen
        new.send(behind, new.pack(request))
    await receive_until(behind, Kind.ERROR)
    assert seen.count((behind, Kind.ERROR)) == 1 and not stage.ran
    await until(stage.is_tidy)
