"""The workers of a simulated world, and the callers that ask through them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mpzmq import ComputerEngineWorker, LinkState, Method, RequestContext, RequestError, Status
from mpzmq.events import LinkClosed, LinkEvent

from .containers import endpoint
from .history import Changed, Closing, Heard, Issue, Noted
from .odd import odd_answer
from .schedule import NOT_NAMED, STREAMED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from mpzmq import OptionsView
    from mpzmq.engine.event_stream import EventStream
    from mpzmq.protocol.link.link import Link
    from mpzmq.testing.simnet.network import MemoryHost, MemoryNetwork

    from .history import History
    from .schedule import Ask, Attempt, Schedule

__all__ = ["Engine"]

ENDED_FOR_GOOD = {
    "reply", "RemoteError", "Refused", "Unsupported", "InvalidArguments", "ValueError", "RequestIdReused",
}  # fmt: skip
"""Outcomes after which a caller does not issue its request again."""


def remote_id(container: int) -> UUID:
    """The id of a container, for every worker."""
    return UUID(int=(1 << 100) + container)


class Engine:
    """One worker and its callers."""

    def __init__(self, network: MemoryNetwork, schedule: Schedule, history: History, number: int) -> None:
        self.number = number
        self.host: MemoryHost = network.host()
        # By itself it would be called after this process, whose number has as many digits as it happens to have.
        self.worker = ComputerEngineWorker(
            name=f"w{number}",
            reconnect=schedule.reconnect,
            heartbeat=schedule.heartbeat,
            limits=schedule.engine_limits,
        )
        self.worker._transport = self.host
        self.worker.function(self._note, name="note")
        self.worker.function(self._dwell, name="dwell")
        self.worker.function(self._oddly, name="oddly")
        self.tasks: dict[asyncio.Task[None], asyncio.TimerHandle | None] = {}
        """Attempts that have not ended, and when their callers lose patience."""
        self.has_crashed = False
        """Whether its process has ended without a word."""
        self.is_ending = False
        """Whether nothing is issued again any more."""
        self.counted = 0
        """Requests that a link took, and has to count."""
        self.planned = 0
        """Attempts that will begin."""
        self._history = history
        self._in_parts = schedule.part_bytes is not None
        self._containers = range(schedule.containers)
        self._generations = dict.fromkeys(self._containers, 0)
        self._heard_ends = dict.fromkeys(self._containers, 1)
        self._service = self.worker.service()
        self._loop = asyncio.get_running_loop()
        self._listening: asyncio.Task[None] | None = None
        self._is_closed = False

    # The functions, which containers call

    def _noted(self, call: int, context: RequestContext) -> Noted:
        assert context.parent is not None
        noted = Noted(call, self.number, context.parent.int, self._loop.time())
        self._history.noted.append(noted)
        return noted

    def _note(self, call: int, seconds: float, context: RequestContext) -> int:
        noted = self._noted(call, context)
        noted.ended, noted.end = self._loop.time(), "returned"
        return call

    def _oddly(self, call: int, seconds: float, context: RequestContext) -> Any:
        noted = self._noted(call, context)
        noted.ended, noted.end = self._loop.time(), "raised"
        return odd_answer(call)

    async def _dwell(self, call: int, seconds: float, context: RequestContext) -> int:
        noted = self._noted(call, context)
        noted.end = "cancelled"
        try:
            await asyncio.sleep(seconds)
            noted.end = "returned"
        finally:
            noted.ended = self._loop.time()
        return call

    # The links

    async def open(self) -> None:
        """Connects to all containers."""
        await self.worker.__aenter__()
        self._listening = self._loop.create_task(self._listen(self._service.events()))
        for container in self._containers:
            await self.connect(container)

    async def connect(self, container: int) -> None:
        """Connects to a container if it is not connected, or its link has FAILED."""
        engine = self.worker.get_engine(remote_id(container))
        if not self.has_crashed and (engine is None or engine.state is LinkState.FAILED):
            self._generations[container] += 1
            connected = await self.worker.connect(remote_id(container), endpoint(container), wait=False)
            self._history.sessions[self.number].add(connected._link._greeting[0].int)
            self._watch(connected._link, container, self._generations[container])

    def _watch(self, link: Link, container: int, generation: int) -> None:
        """Writes down each state of a link: its events do not tell that a redial has reached a busy process."""
        told = link.diagnostics.on_state_changed

        def changed(state: LinkState, reason: str) -> None:
            now = self._loop.time()
            self._history.changed.append(Changed(now, self.number, container, generation, state))
            told(state, reason)

        setattr(link.diagnostics, "on_state_changed", changed)  # noqa: B010  (a method, as far as mypy knows)

    async def disconnect(self, container: int, timeout: float) -> None:
        """Ends the link to a container."""
        what = f"disconnect w{self.number} from c{container}"
        await self._bounded(what, timeout, lambda: self.worker.disconnect(remote_id(container), timeout))

    async def close(self, timeout: float) -> None:
        """Ends all links."""
        await self._bounded(f"close of worker w{self.number}", timeout, lambda: self.worker.close(timeout))
        if self._listening is not None:
            await self._listening
        self.sample()

    async def open_again(self) -> None:
        """Connects to whatever is not connected, or whose link has FAILED."""
        for container in self._containers:
            await self.connect(container)

    async def disconnect_for(self, container: int, timeout: float, pause: float) -> None:
        """Ends the link to a container, and makes another one after a pause."""
        await self.disconnect(container, timeout)
        await asyncio.sleep(pause)
        if not self._is_closed:
            await self.connect(container)

    async def close_for(self, timeout: float, pause: float) -> None:
        """Closes the worker, and enters it again after a pause."""
        if self._is_closed:
            return
        self._is_closed = True
        await self.close(timeout)
        await asyncio.sleep(pause)
        if not self.has_crashed:
            self._is_closed = False
            await self.open()

    def crash(self, *, seen: bool) -> None:
        """Ends its process without a word."""
        self.has_crashed = self.is_ending = True
        if seen:
            self.host.kill(loses=self.number % 2 == 0)
        else:
            self.host.vanish()

    async def end(self) -> None:
        """Clears up behind a crash."""
        if not self._is_closed:
            self._is_closed = True
            await self.close(0.0)

    def has_failed(self, container: int) -> bool:
        """Whether the link to a container has given up."""
        engine = self.worker.get_engine(remote_id(container))
        return engine is not None and engine.state is LinkState.FAILED

    def sample(self) -> None:
        """Records counters that have to agree now, with each other and with what the callers know."""
        seen = self._service.statistics()
        now = self._loop.time()
        ends = seen.replied + seen.failed + seen.cancelled + seen.in_flight
        sums = self._history.sums
        sums.append((f"w{self.number} issued", now, seen.issued, ends))
        sums.append((f"w{self.number} issued, by its callers,", now, self.counted, seen.issued))
        dispatcher = self.worker._functions.dispatcher
        if dispatcher is not None:
            ends = dispatcher.counters.ended
            ends += len(dispatcher._running)
            sums.append((f"w{self.number} calls that were read", now, dispatcher.counters.received, ends))
        if seen.in_flight > len(self.tasks):
            sums.append((f"w{self.number} callers that wait", now, len(self.tasks), seen.in_flight))

    async def _bounded(self, what: str, bound: float, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        closing = Closing(what, self._loop.time(), bound)
        self._history.closings.append(closing)
        await end()
        closing.ended = self._loop.time()

    async def _listen(self, stream: EventStream) -> None:
        numbers = {remote_id(container): container for container in self._containers}
        async for event in stream:
            if isinstance(event, LinkEvent):
                container = numbers[event.remote_id]
                # Not the generation of now: an event is heard a pass after it was told.
                generation = self._heard_ends[container]
                self._heard_ends[container] += isinstance(event, LinkClosed)
                self._history.heard.append(Heard(self._loop.time(), self.number, container, generation, event))

    # The callers

    def plan(self, ask: Ask, index: int = 0) -> None:
        """Begins an attempt when it is due."""
        self.planned += 1
        self._loop.call_later(ask.attempts[index].delay, self._begin, ask, index)

    def _begin(self, ask: Ask, index: int) -> None:
        self.planned -= 1
        if self.has_crashed:
            return
        task = self._loop.create_task(self._attempt(ask, index))
        patience = ask.attempts[index].cancel_after
        self.tasks[task] = None if patience is None else self._loop.call_later(patience, task.cancel)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        timer = self.tasks.pop(task)
        if timer is not None:
            timer.cancel()
        if not task.cancelled():
            task.result()

    async def _attempt(self, ask: Ask, index: int) -> None:
        attempt = ask.attempts[index]
        known = self.worker.get_engine(remote_id(ask.container)) is not None
        now = self._loop.time()
        generation = self._generations[ask.container]
        issue = Issue(ask, attempt, index, generation, now, counted=known)
        self._history.issues.append(issue)
        self.counted += known
        try:
            if ask.function in STREAMED:
                issue.value = await self._stream(ask, issue)
            else:
                issue.value = await self._request(ask, index, generation)
            issue.outcome = "left" if issue.value is None else "reply"
        except asyncio.CancelledError:
            issue.outcome = "cancelled"
        except (RequestError, ValueError, RuntimeError) as error:
            issue.outcome = type(error).__name__
            issue.text = str(error)
            issue.executed = getattr(error, "executed", None)
            issue.error_type = getattr(error, "error_type", "")
            issue.instance_changed = getattr(error, "instance_changed", None)
            issue.progress = getattr(error, "progress", None)
        issue.ended = self._loop.time()
        if issue.ended == issue.at and issue.outcome in ("ValueError", "RuntimeError", "RequestIdReused"):
            self.counted -= issue.counted
            issue.counted = False  # refused before it was a request
        if index + 1 < len(ask.attempts) and issue.outcome not in ENDED_FOR_GOOD and not self.is_ending:
            self.plan(ask, index + 1)

    async def _stream(self, ask: Ask, issue: Issue) -> Any:
        attempt, count = issue.attempt, STREAMED[ask.function]
        facts = (ask.number, attempt.body, issue.generation, ask.extra)

        async def source() -> AsyncIterator[int]:
            for item in range(count):
                yield item
                if item % 7 == 6:
                    await asyncio.sleep(ask.pause)

        async def loaded() -> AsyncIterator[list[Any]]:
            async for item in source():
                yield [item, *([memoryview(bytes(1200))] if item % 8 == 5 else [])]

        view = self._options(ask, attempt)
        if ask.function == "stores":
            return await view.upload("stores", loaded(), *facts)
        if ask.function == "yields":
            async for item in view.stream("yields", *facts):
                issue.items.append(item[:2])
                if len(issue.items) % 2 == 0:
                    await asyncio.sleep(ask.pause)
        else:
            channel = view.channel("chats", *facts)
            async with channel:
                async for item in source():
                    await channel.send(item)
                    if ask.leaves and item == count - 1:
                        return None  # with what was yielded last unread
                    issue.items.append(await anext(channel))
                await channel.send_eof()
                issue.items += [item async for item in channel]
        return [ask.number, issue.items[0][0]]

    async def _change_state(self, ask: Ask, attempt: Attempt, facts: tuple[int, int, int]) -> list[int]:
        remote = remote_id(ask.container)
        # STOP less often, and never for long: most requests are to run.
        status = Status.STOP if ask.number % 3 == 0 else Status.RUNNING
        told = {"facts": [*facts, ask.extra]}
        if ask.chosen:
            given: dict[str, Any] = {"method": Method.SETSTATE, "metadata": told, "idempotent": ask.idempotent}
            await self._service.request(ask.id, remote, status, timeout=attempt.timeout, wait=attempt.wait, **given)
        else:
            service = self.worker.service(metadata=told)
            found = await service.set_state(remote, status, timeout=attempt.timeout, wait=attempt.wait)
            assert found in (Status.STOP, Status.RUNNING)
        mine = [start for start in self._history.starts if (start.number, start.body) == facts[:2]]
        return [ask.number, mine[-1].serial]

    async def _request(self, ask: Ask, index: int, generation: int) -> Any:
        attempt = ask.attempts[index]
        facts = (ask.number, attempt.body, generation)
        if ask.function == "state":
            return await self._change_state(ask, attempt, facts)
        view = self._options(ask, attempt, request_id=ask.id if ask.chosen else None, idempotent=ask.idempotent)
        if ask.function in ("unfit", "unasked"):
            return await view.call(ask.function)
        if ask.function == "echo" and ask.chosen:
            return await view.request(list(facts))
        return await view.call(
            "plain" if ask.function == "echo" else ask.function,
            *facts,
            bytes(int(ask.extra)) if self._in_parts and ask.function == "large" else ask.extra,
        )

    def _options(self, ask: Ask, attempt: Attempt, **more: Any) -> OptionsView:
        if ask.lost_after != NOT_NAMED:
            more["lost_after"] = ask.lost_after
        return self._service.options(remote_id(ask.container), timeout=attempt.timeout, wait=attempt.wait, **more)
