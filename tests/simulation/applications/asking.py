"""The worker of an odd application, its group, and its callers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import uuid
import weakref
from typing import TYPE_CHECKING, Annotated, Any

from mpzmq import ComputerEngineWorker, Depends, GroupPolicy, ReconnectPolicy, RequestError

from ..odd import NoText, odd_answer
from .acts import around, exits, raise_plain
from .books import Asked, Closing, asker, books_of_now, run_of_now
from .plan import BLOCK, ITEMS, LOST_AFTER
from .serving import HEARTBEAT, endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from mpzmq import Call, CallDetails, Group, Member, OptionsView, Proceed, Progress
    from mpzmq.testing.simnet.network import MemoryHost, MemoryNetwork

    from .books import Books
    from .plan import Ask

__all__ = ["Engine"]

DATA_BYTES = 700
"""Of each argument: more than one part, where messages are cut."""


class Data(bytearray):
    """An argument that tells when it is gone."""


def _alone(place: str) -> None:
    """For what works for nobody's request: it is in nobody's context."""
    if asker.get() is not None or run_of_now.get() is not None:
        books_of_now().wrong.append(("context", f"{place} runs in the context of a request"))


def _for(number: Any, place: str, kind: str) -> Books:
    books = books_of_now()
    if asker.get() != number:
        books.wrong.append(("context", f"{place} of #{number} runs in the context of #{asker.get()}"))
    books.acts.add(f"{place}:{kind}")
    return books


async def _opened() -> AsyncIterator[str]:
    """A dependency of a function of the worker."""
    _alone("a dependency of the worker")
    yield "opened"


async def _note(number: int, opened: Annotated[Any, Depends(_opened)]) -> int:
    """A function of the worker."""
    _alone("a function of the worker")
    asker.set(number)
    await asyncio.sleep(0)
    return number


class _Resolver:
    """Does some odd things before it tells all members."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._acts = list(books.plan.resolver)
        self._addresses = [endpoint(container) for container in range(books.plan.containers)]
        if books.plan.poke:
            self.poke = self._poke

    def _poke(self) -> None:
        self._books.acts.add("resolver:poke")
        raise_plain(self._books.ask(0))

    async def watch(self) -> AsyncIterator[Any]:
        books = self._books
        while self._acts:
            _alone("a resolver")
            kind = self._acts.pop(0)
            books.acts.add(f"resolver:{kind}")
            match kind:
                case "raises":
                    raise_plain(books.ask(0))
                case "cancels":
                    raise asyncio.CancelledError
                case "exits":
                    exits()
                case "odd":
                    odd_answer(books.plan.seed)
                case "blocks":
                    books.block(BLOCK)
                case "waits":
                    await asyncio.sleep(0.5)
                case _:
                    async for found in self._tells(kind):
                        yield found
        yield self._addresses
        if books.plan.seed % 2:
            await asyncio.get_running_loop().create_future()

    async def _tells(self, kind: str) -> AsyncIterator[Any]:
        match kind:
            case "junk":
                yield [NoText(), 3, "", "nonsense::", None, *self._addresses]
            case "itself":
                yield self
            case "clears":
                told = list(self._addresses)
                yield told
                told.clear()
            case "breaks":
                yield (_broken() for _ in range(2))
            case "fewer":
                yield self._addresses[:1]
                await asyncio.sleep(0.2)
            case "ends_in_error":
                yield self._addresses
                raise_plain(self._books.ask(1))
            case "endless":
                yield _Endless(self._addresses)


class _Endless:
    """As many addresses as one likes to read."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    def __iter__(self) -> Any:
        while True:
            yield from self._addresses


def _broken() -> str:
    raise LookupError("no address")


def _pick(members: Sequence[Member], call: Call) -> Any:
    number = call.metadata["ask"]
    ask = books_of_now().ask(number)
    books = _for(number, "pick", ask.pick)
    match ask.pick:
        case "raises":
            raise_plain(ask)
        case "none":
            return None
        case "itself":
            return _pick
        case "foreign":
            return type("Foreign", (), {"name": members[0].name})()
        case "blocks":
            books.block(BLOCK)
        case "awaitable":
            return _never()
        case "odd" | "exits" if ask.hedge_after is not None:
            raise_plain(ask)  # in a task of its own: an exit would end the event loop
        case "odd":
            return odd_answer(number)
        case "exits":
            exits()
    return members[number % len(members)]


async def _never() -> None:
    raise AssertionError("nobody was to await it")


class Engine:
    """The worker and its callers."""

    def __init__(self, network: MemoryNetwork, books: Books) -> None:
        self.host: MemoryHost = network.host()
        self._books = books
        self._loop = books.loop
        policy = ReconnectPolicy(interval=0.2, lost_after=LOST_AFTER)
        self.worker = ComputerEngineWorker(name="asking", reconnect=policy, heartbeat=HEARTBEAT)
        self.worker._transport = self.host
        self.worker.function(_note, name="note")
        for index in range(books.plan.sent_through):
            self.worker.middleware(_sent(index))
        self.tasks: dict[asyncio.Task[None], Asked] = {}
        self.group: Group

    async def open(self) -> None:
        """Connects to all containers, one by one and as a group."""
        plan = self._books.plan
        await self.worker.__aenter__()
        self._handles = [
            await self.worker.connect(uuid.UUID(int=container + 1), endpoint(container), wait=False)
            for container in range(plan.containers)
        ]
        policy = GroupPolicy(pick=_pick if plan.picks else "least", lost_after=LOST_AFTER, refresh=0.5)
        self.group = await self.worker.group(_Resolver(self._books), name="all", policy=policy, wait=False)

    async def close(self, timeout: float = 0.0) -> None:
        """Ends everything."""
        if self._books.plan.seed % 3 == 0:
            await self._bounded("close of the group", 0.1, self.group.close())
        await self._bounded("close of the worker", timeout + 1.1, self.worker.close(timeout))
        self.sample()

    def sample(self) -> None:
        """Looks whether the counters add up."""
        sums = self._books.sums
        for what, seen in (("worker", self.worker.statistics()), ("group", self.group.statistics())):
            sums.append((f"{what} issued", seen.issued, seen.replied + seen.failed + seen.cancelled + seen.in_flight))
            if not self.tasks:
                sums.append((f"{what} in flight without callers", seen.in_flight, 0))
        if not self.tasks:
            for member in self.group.members:
                sums.append((f"in flight at {member.name} without callers", member.in_flight, 0))

    def begin(self, ask: Ask) -> None:
        """Asks."""
        asked = Asked(ask, self._loop.time())
        self._books.asked.append(asked)
        task = self._loop.create_task(self._ask(asked))
        self.tasks[task] = asked
        task.add_done_callback(self._ended)
        if ask.cancel_after is not None:
            timer = self._loop.call_later(ask.cancel_after, task.cancel)
            task.add_done_callback(lambda _: timer.cancel())

    def _ended(self, task: asyncio.Task[None]) -> None:
        asked = self.tasks.pop(task)
        if not task.cancelled():
            task.result()
        elif not asked.ends:  # before it had begun
            self._end(asked, "cancelled")

    def _end(self, asked: Asked, outcome: str) -> None:
        asked.ends += 1
        asked.ended = self._loop.time()
        asked.outcome = outcome

    async def _ask(self, asked: Asked) -> None:
        asker.set(asked.ask.number)
        try:
            value = await self._get(asked)
            asked.value = value if isinstance(value, list) else type(value).__name__  # it may hold the arguments
        except asyncio.CancelledError:
            self._end(asked, "cancelled")
        except BaseException as error:
            self._end(asked, type(error).__name__)
            if issubclass(type(error), RequestError):  # it may be one whose class cannot be had
                asked.executed = error.executed.name  # type: ignore[attr-defined]
            with contextlib.suppress(LookupError):
                asked.text = str(error)
        else:
            self._end(asked, "reply")
            del value
        if asker.get() != asked.ask.number:
            self._books.wrong.append(("context", f"the context of the caller of #{asked.ask.number} was changed"))

    async def _get(self, asked: Asked) -> Any:
        ask, view = asked.ask, self._view(asked.ask)
        data = Data(DATA_BYTES)
        self._books.refs.append((asked, "the caller", weakref.ref(data)))
        if ask.function == "invoke":
            return await view.request([ask.number, data])
        if ask.function == "stream":
            async with view.stream("stream", ask.number, data) as stream:
                del data
                asked.items.extend([item async for item in stream])
            return [ask.number, "streamed"]
        if ask.function == "upload":
            return await view.upload("upload", _numbered(ask.number), ask.number, data)
        if ask.function == "channel":
            async with view.channel("channel", ask.number, data) as channel:
                del data
                async for item in _numbered(ask.number):
                    await channel.send(item)
                await channel.send_eof()
                asked.items.extend([item async for item in channel])
            return [ask.number, "streamed"]
        return await view.call(ask.function, ask.number, data)

    def _view(self, ask: Ask) -> OptionsView:
        options: dict[str, Any] = {
            "timeout": ask.timeout,
            "idempotent": ask.idempotent,
            "metadata": {"ask": ask.number},
        }
        if ask.lost_after != LOST_AFTER:
            options["lost_after"] = ask.lost_after
        if ask.progress:
            task = asyncio.current_task()
            assert task is not None
            options["progress"] = _progress(ask, task.cancel)
        if ask.by_group:
            return self.group.options(**options, hedge_after=ask.hedge_after)
        return self._handles[ask.container].options(**options)

    async def _bounded(self, what: str, bound: float, end: Any) -> None:
        closing = Closing(what, self._loop.time(), bound)
        self._books.closings.append(closing)
        await end
        closing.ended = self._loop.time()


async def _numbered(number: int) -> AsyncIterator[list[int]]:
    for index in range(ITEMS):
        yield [number, index]
        await asyncio.sleep(0)


def _sent(index: int) -> Any:
    async def sent(call: CallDetails, proceed: Proceed) -> Any:
        number = call.metadata["ask"]
        ask = books_of_now().ask(number)
        kind = ask.sent_through[index]
        books = _for(number, "sent", kind)
        return await around(kind, ask, call, proceed, sent, books)

    return sent


def _progress(ask: Ask, cancel: Callable[[], object]) -> Callable[[Progress], Any]:
    def progress(seen: Progress) -> Any:
        books = _for(ask.number, "progress", ask.progress)
        match ask.progress:
            case "raises":
                raise_plain(ask)
            case "odd":
                return odd_answer(ask.number)
            case "exits":
                exits()
            case "cancels":
                raise asyncio.CancelledError
            case "cancels_caller":
                cancel()
            case "blocks":
                books.block(BLOCK)
            case "itself":
                return progress
            case "awaitable":
                never = _never()
                assert inspect.iscoroutine(never)
                never.close()
                return never
        return None

    return progress
