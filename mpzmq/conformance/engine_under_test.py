"""The engine that is judged: a driver beside it asks here what to do, and reports here what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..protocol.wire.kinds import Code, Kind
from .checks import Violation, expect
from .frames import PART_BYTES, pack
from .raw_container import RawConnection, RawContainer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..address import Address
    from ..transport.interface import Transport
    from .frames import Heard

__all__ = ["EngineUnderTest", "Job", "Told"]

CALL, CLOSE, STREAM, UPLOAD = "call", "close", "stream", "upload"


@dataclass(frozen=True, slots=True)
class Told:
    """What the driver has told of one call.

    Attributes:
        value: what the call gave.
        executed: ``NO``, ``UNKNOWN`` or ``YES``, if it ended with an error; else None.
        error: the text of the error.
    """

    value: Any = None
    executed: str | None = None
    error: str = ""

    def __str__(self) -> str:
        if self.executed is None:
            return f"the value {self.value!r:.120}"
        return f"an error with executed {self.executed} ({self.error[:120]})"


class Job:
    """One thing that the driver was asked to do."""

    def __init__(self, number: int, name: str, patience: float) -> None:
        self._name = name
        self._patience = patience
        self.number = number
        self._told: asyncio.Future[list[Told]] = asyncio.get_running_loop().create_future()

    @property
    def is_done(self) -> bool:
        """Whether it was reported."""
        return self._told.done()

    def tell(self, outcomes: list[Told]) -> None:
        """It was reported."""
        if not self._told.done():
            self._told.set_result(outcomes)

    async def outcomes(self, seconds: float | None = None) -> list[Told]:
        """What came of it; of each call, where there are several.

        Raises:
            Violation: nothing is reported in time.
        """
        limit = self._patience if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(self._told)
        except TimeoutError:
            raise Violation(f"the driver has not reported the end of {self._name} within {limit:g} s") from None

    async def gives(self, value: object, seconds: float | None = None) -> None:
        """It ends with a value."""
        (told,) = await self.outcomes(seconds)
        expect(told.executed is None and told.value == value, f"{self._name} gave {told}, not {value!r:.120}")

    async def fails(self, *executed: str, seconds: float | None = None) -> None:
        """It ends with an error, and with one of these words on whether it has run."""
        (told,) = await self.outcomes(seconds)
        due = " or ".join(executed)
        expect(told.executed in executed, f"{self._name} gave {told}, not an error with executed {due}")


class EngineUnderTest:
    """Listens for the driver, and gives each check an endpoint of its own.

    Args:
        transport: makes the sockets.
        address: where the driver finds the judge.
        patience: seconds within which the engine has to do what it is to do.
    """

    def __init__(self, transport: Transport, address: Address, patience: float) -> None:
        self.patience = patience
        self._transport = transport
        self._address = address
        self._control = RawContainer(transport, patience)
        self._jobs: dict[int, Job] = {}
        self._waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self.driver: RawConnection | None = None
        self.is_resuming = False
        """Whether all connections of a client are one session: level 2."""
        self._used: set[str] = set()

    @property
    def endpoint(self) -> str:
        """Where the driver has to connect to."""
        return self._control.endpoint

    @property
    def levels(self) -> set[int]:
        """The levels that it announces: by what HELLO says, and by the session of its second connection."""
        assert self.driver is not None
        limits = self.driver.limits
        several = limits.get("batch_records", 1) > 1 or limits.get("message_bytes", 0) > 1 << 20
        told = {2: self.is_resuming, 3: several, 4: "stream_items" in limits}
        return {1, *(level for level, is_told in told.items() if is_told)}

    def listen(self) -> None:
        """Begins to listen for the driver.

        Raises:
            OSError: the endpoint cannot be bound.
        """
        self._control.bind(self._address.endpoint())

    async def look(self, seconds: float) -> None:
        """Waits for the driver, which asks for what it is to do.

        Raises:
            Violation: it does not.
        """
        self.driver = await self._control.connection(seconds)
        self.driver.is_judged = False  # it reports whatever it has read
        self.driver.greeting = (await self.driver.hear(Kind.HELLO)).record
        self.driver.say(self.driver.welcome())
        self._tasks.append(asyncio.create_task(self._serve(self.driver)))
        with contextlib.suppress(Violation):  # a check will find it
            async with self.listening() as container:
                self.call(container, "look", timeout=1.0)
                first = await container.greeted()
                await container.cut()
                second = await container.greeted()
                self.is_resuming = first.session == second.session

    async def close(self) -> None:
        """Sends the driver home."""
        self._waiting.put_nowait(None)
        if self.driver is not None:
            with contextlib.suppress(Violation):
                await self.driver.hear(Kind.GOODBYE, seconds=self.patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._control.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[RawContainer]:
        """A container of its own for one check."""
        expect(self.driver is not None and not self.driver.has_ended, "the driver has gone, though next gave it no nil")
        container = RawContainer(self._transport, self.patience)
        number = next(self._numbers)
        path = self._address.path and f"{self._address.path}.{number}"
        own = replace(self._address, path=path, port=0)
        container.bind(own.endpoint())
        while container.endpoint in self._used:  # the driver would take it for the client of a check that is over
            container.bind(own.endpoint())
        self._used.add(container.endpoint)
        try:
            yield container
            container.blame()
        finally:
            await self._leave(container)

    def call(self, container: RawContainer, function: str, *args: object, timeout: float = 30.0, times: int = 1) -> Job:
        """Has the engine call a function of a container, so many times at once."""
        return self._put(container, CALL, function, args, timeout, times)

    def stream(self, container: RawContainer, function: str, *args: object, timeout: float = 30.0) -> Job:
        """Has the engine read a stream to its end; the value that is reported is the list of its items."""
        return self._put(container, STREAM, function, args, timeout, 1)

    def upload(self, container: RawContainer, function: str, items: list[object], *, timeout: float = 30.0) -> Job:
        """Has the engine send items to a function."""
        return self._put(container, UPLOAD, function, (items,), timeout, 1)

    def leave(self, container: RawContainer) -> Job:
        """Has the engine close its client of a container."""
        return self._put(container, CLOSE, "", (), 0.0, 1)

    async def _leave(self, container: RawContainer) -> None:
        """The client of a check that is over is closed: none dials for ever."""
        if self.driver is not None and not self.driver.has_ended:
            job = self.leave(container)
            with contextlib.suppress(Violation):
                await job.outcomes()
        await container.close()

    def _put(
        self, container: RawContainer, what: str, function: str, args: tuple[object, ...], timeout: float, times: int
    ) -> Job:
        number = next(self._numbers)
        job = Job(number, what if what == CLOSE else f"{function}()", self.patience)
        self._jobs[number] = job
        self._waiting.put_nowait(
            {
                "id": number,
                "endpoint": container.endpoint,
                "do": what,
                "function": function,
                "args": list(args),
                "timeout": timeout,
                "times": times,
            }
        )
        return job

    # What the driver is served

    async def _serve(self, driver: RawConnection) -> None:
        while not driver.has_ended:
            await driver.until(lambda: bool(driver.unclaimed(Kind.REQUEST)) or driver.has_ended, 3600.0)
            for request in driver.unclaimed(Kind.REQUEST):
                driver.claim(request)
                function, args = request.record[5], request.record[6]
                if function == "next":
                    self._tasks.append(asyncio.create_task(self._give(driver, request)))
                elif function == "report":
                    try:
                        self._report(*args)
                    except (TypeError, ValueError, AttributeError):  # other arguments than those that it should have
                        driver.refuse(request, Code.INVALID_ARGUMENTS, 0)
                    else:
                        driver.respond(request, None)
                else:
                    driver.refuse(request, Code.UNSUPPORTED, 0)

    async def _give(self, driver: RawConnection, request: Heard) -> None:
        job = await self._waiting.get()
        if len(pack(job)) < PART_BYTES:
            driver.respond(request, job)
        else:
            await driver.respond_large(request, job)

    def _report(self, number: int, outcomes: list[dict[str, Any]]) -> None:
        if (job := self._jobs.pop(number, None)) is not None:
            told = [Told(one.get("value"), one.get("executed"), str(one.get("error", ""))) for one in outcomes]
            job.tell(told)
