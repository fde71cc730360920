"""The engine of the chaos: callers that ask at random, and write down how each request ended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid4

from mpzmq import EventsDropped, RemoteError, RequestError
from tests.support.odd import RAISED, RESULTS

from .history import EngineLog, Request

if TYPE_CHECKING:
    from random import Random

    from mpzmq import ComputerEngineWorker, ComputerEngineWriter
    from mpzmq.engine.options_view import OptionsView
    from mpzmq.events import LinkEvent

__all__ = ["Caller", "Job", "Watch", "ask", "random_job"]


@dataclass(frozen=True, slots=True)
class Job:
    """What one request asks, and what the right answer is."""

    function: str
    args: tuple[Any, ...]
    answer: Any = None
    raises: bool = False
    way: Literal["call", "stream", "upload", "channel"] = "call"

    def fits(self, error: RemoteError) -> bool:
        """Whether it is the function's own error."""
        if self.function == "odd":
            return bool(error.error_type == self.answer)
        return self.raises and error.code == "chaos" and bool(error.data == self.answer)

    def may_become(self, answer: Any) -> bool:
        """Whether what a stream has given so far is the beginning of the right answer."""
        return bool(answer == self.answer[: len(answer)])


ODD = [(name, "EncodeError") for name in RESULTS] + [
    # contextlib, which stands around our handlers, cannot bear this one.
    (name, error_type)
    for name, (_, error_type, _) in RAISED.items()
    if name != "without text"
]
"""What a handler may do that no encoder expects, and the type of the error that its caller hears."""


WEIGHTS = {
    "quick": 40,
    "plain": 20,
    "slow": 20,
    "raising": 8,
    "big": 6,
    "up": 6,
    "odd": 8,
    "numbers": 6,
    "store": 6,
    "chat": 3,
}
"""How often each is asked."""


def random_job(rng: Random) -> Job:
    """Mostly small ones; some slow, some large, some that raise, some whose data goes piece by piece."""
    data = [rng.getrandbits(48), rng.randbytes(int(rng.expovariate(1 / 200)))]
    match rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]:
        case "odd":
            name, error_type = rng.choice(ODD)
            return Job("odd", (name,), error_type, raises=True)
        case "numbers" | "store" | "chat" as function:
            items = [[number, data] for number in range(rng.randrange(150))]
            match function:
                case "numbers":
                    return Job("numbers", (len(items), data), items, way="stream")
                case "store":
                    return Job("store", (items,), len(items), way="upload")
                case _:
                    return Job("chat", (items,), items, way="channel")
        case "slow":
            return Job("slow", (rng.uniform(0, 0.6), data), data)
        case "raising":
            return Job("raising", (data,), data, raises=True)
        case "big":
            size = rng.randrange(1, 1 << 20)
            return Job("big", (size,), bytes(size))
        case "up":
            large = bytes(rng.randrange(1, 1 << 20))
            return Job("quick", (large,), large)
        case function:
            return Job(function, (data,), data)


async def _answer(asked: OptionsView, job: Job, got: list[Any]) -> Any:
    """What the container answers; ``got`` is what it has given of it when it fails."""
    match job.way:
        case "stream":
            async with asked.stream(job.function, *job.args) as stream:
                async for item in stream:
                    got.append(item)  # noqa: PERF401  (what came before an error counts)
            return got
        case "upload":
            return await asked.upload(job.function, *job.args)
        case "channel":
            async with asked.channel(job.function) as channel:
                for item in job.args[0]:
                    await channel.send(item)
                    got.append(await anext(channel))
                await channel.send_eof()
                got += [item async for item in channel]
            return got
        case _:
            return await asked.call(job.function, *job.args)


async def ask(
    log: EngineLog,
    container: ComputerEngineWriter,
    job: Job,
    *,
    timeout: float | None = 30.0,
    idempotent: bool = False,
    tainted: bool = False,
) -> Request:
    """One request, written down however it ends; only a cancellation is raised."""
    # What goes piece by piece takes no id of ours, so that the container finds it in the metadata.
    request_id = uuid4()
    idempotent = idempotent and job.way == "call"  # what goes piece by piece never runs twice
    link = container.name if job.way == "call" else ""
    request = Request(request_id.hex, job.function, idempotent, timeout, link, tainted, issued=time.monotonic())
    if job.way == "call":
        asked = container.options(timeout=timeout, request_id=request_id, idempotent=idempotent)
    else:
        asked = container.options(timeout=timeout, metadata={"id": request_id.bytes})
    got: list[Any] = []
    log.issued(request)
    try:
        answer = await _answer(asked, job, got)
        request.outcome, request.right = "replied", not job.raises and bool(answer == job.answer)
    except asyncio.CancelledError:
        request.outcome = "cancelled"
        raise
    except RemoteError as error:
        request.outcome, request.error, request.executed = "failed", type(error).__name__, str(error.executed)
        request.right = job.fits(error)
    except RequestError as error:
        request.outcome, request.error, request.executed = "failed", type(error).__name__, str(error.executed)
        request.instance_changed = getattr(error, "instance_changed", None)
    except Exception as error:
        # No RequestError: the checker complains, and goes on.
        request.outcome, request.error = "failed", repr(error)
    finally:
        request.ended = time.monotonic()
        request.right = request.right and (not got or job.may_become(got))
        log.ended(request)
    return request


class Watch:
    """What is told of the links, with the time at which this process heard of it; and who has answered."""

    def __init__(self, worker: ComputerEngineWorker) -> None:
        self._stream = worker.service().events()
        self._seen: deque[tuple[float, LinkEvent]] = deque(maxlen=10_000)
        self._changed = asyncio.Event()
        self._answered: dict[UUID, float] = {}
        self._answer = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._stream:
            if isinstance(event, EventsDropped):
                raise AssertionError(f"{event}: this listener only appends")
            self._seen.append((time.monotonic(), event))
            self._changed.set()
            self._changed = asyncio.Event()

    def first(self, remote_id: UUID, kind: type[LinkEvent], since: float) -> float | None:
        """When the first event of a class came after a time; None: none has come."""
        found = (at for at, event in self._seen if event.remote_id == remote_id and at >= since)
        kinds = (event for at, event in self._seen if event.remote_id == remote_id and at >= since)
        return next((at for at, event in zip(found, kinds, strict=True) if isinstance(event, kind)), None)

    async def wait_for(self, remote_id: UUID, kind: type[LinkEvent], since: float, timeout: float) -> float:
        """The same, waiting for it.

        Raises:
            TimeoutError: it did not come.
        """
        async with asyncio.timeout(timeout):
            while (at := self.first(remote_id, kind, since)) is None:
                await self._changed.wait()
        return at

    def answered(self, remote_id: UUID) -> None:
        """A container has answered a request."""
        self._answered[remote_id] = time.monotonic()
        self._answer.set()
        self._answer = asyncio.Event()

    async def next_answer(self, remote_id: UUID, since: float, timeout: float) -> float:
        """When a container answered for the first time after now, which is little later than ``since``.

        Raises:
            TimeoutError: it did not.
        """
        async with asyncio.timeout(timeout):
            while (at := self._answered.get(remote_id, 0.0)) < since:
                await self._answer.wait()
        return at

    async def close(self) -> None:
        """After the worker is closed, which ends the events."""
        await self._task


class Caller:
    """One of many that ask at random, until the end.

    Args:
        links: the containers that it asks, by any of their links; looked at anew for each request.
        tainted: whether bytes of these links may be flipped.
        pause: seconds between two requests, on average.
    """

    def __init__(
        self,
        rng: Random,
        log: dict[UUID, EngineLog],
        links: list[ComputerEngineWriter],
        watch: Watch,
        *,
        tainted: bool = False,
        pause: float = 0.1,
    ) -> None:
        self._rng = rng
        self._log = log
        self._links = links
        self._watch = watch
        self._tainted = tainted
        self._pause = pause

    async def run(self, until: asyncio.Event) -> None:
        """Asks until the event is set, then waits for what it asked."""
        rng = self._rng
        while not until.is_set():
            await asyncio.sleep(rng.expovariate(1 / self._pause))
            container = rng.choice(self._links)
            # Without a deadline such a request ends by its reply or a restart; on a tainted link neither may come.
            timeout = None if rng.random() < 0.1 and not self._tainted else rng.choice((0.0005, 0.1, 0.5, 2.0, 5.0))
            idempotent = rng.random() < 0.4
            job = random_job(rng)
            asking = asyncio.create_task(
                ask(
                    self._log[container.remote_id],
                    container,
                    job,
                    timeout=timeout,
                    idempotent=idempotent,
                    tainted=self._tainted,
                )
            )
            if rng.random() < 0.1:
                await asyncio.wait([asking], timeout=rng.uniform(0, 0.3))
                asking.cancel()
            await asyncio.wait([asking])
            if not asking.cancelled() and asking.result().outcome == "replied":
                self._watch.answered(container.remote_id)
