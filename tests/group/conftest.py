"""Groups whose members are in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    Endpoint,
    Group,
    GroupPolicy,
    Limits,
    Refused,
    RequestContext,
)
from mpzmq.testing import Members
from tests.support.scene import QUICK, REDIAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Stage = Callable[..., contextlib.AbstractAsyncContextManager["Troupe"]]


@dataclass
class Actor:
    """A member, and what its handlers have done."""

    server: ContainerServer
    endpoint: str = ""
    ran: list[Any] = field(default_factory=list)
    cancelled: list[Any] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """What ``wait`` waits for."""
    busy: bool = False
    """Whether it refuses what it is asked."""


@dataclass
class Troupe:
    """Several members, their group, and who belongs to it."""

    actors: dict[str, Actor]
    worker: ComputerEngineWorker
    members: Members
    group: Group

    def __getitem__(self, name: str) -> Actor:
        return self.actors[name]

    @property
    def ran(self) -> Counter[Any]:
        """How often each word was worked on, on all members together."""
        return Counter(word for actor in self.actors.values() for word in actor.ran)

    def tallies(self) -> bool:
        """Whether the group's counters add up."""
        counted = self.group.statistics()
        return counted.issued == counted.replied + counted.failed + counted.cancelled + counted.in_flight


def actor(name: str, max_concurrency: int | None = None, limits: Limits | None = None) -> Actor:
    """A server with functions for all kinds of trouble."""
    made = Actor(ContainerServer(name=name, heartbeat=QUICK, limits=limits or Limits()))
    server = made.server

    @server.on_invoke
    def echo(data: Any) -> Any:
        if data == "declined":
            raise Refused("not today")
        made.ran.append(data)
        return [name, data]

    @server.function
    def who(word: Any = None, context: RequestContext | None = None) -> str:
        made.ran.append(word)
        return name

    @server.function
    def remaining(context: RequestContext) -> float | None:
        return context.remaining()

    @server.function
    async def wait(word: Any) -> str:
        made.ran.append(word)
        try:
            await made.gate.wait()
        except asyncio.CancelledError:
            made.cancelled.append(word)
            raise
        return name

    @server.function(max_concurrency=max_concurrency)
    async def doze(seconds: float, word: Any = None) -> str:
        made.ran.append(word)
        await asyncio.sleep(seconds)
        return name

    @server.function
    def fail(word: Any) -> None:
        made.ran.append(word)
        raise LookupError(word)

    @server.function
    def refuse() -> None:
        raise Refused("not today")

    @server.function
    async def climb(number: int) -> AsyncIterator[Any]:
        made.ran.append("climb")
        for index in range(number):
            yield [name, index]

    @server.function
    async def ponder(number: int) -> AsyncIterator[int]:
        """Yields when it may."""
        made.ran.append("ponder")
        await made.gate.wait()
        for index in range(number):
            yield index

    @server.function
    async def add_up(items: AsyncIterator[int]) -> Any:
        made.ran.append("add_up")
        return [name, sum([item async for item in items])]

    @server.function
    async def double(items: AsyncIterator[int]) -> AsyncIterator[int]:
        made.ran.append("double")
        async for item in items:
            yield 2 * item

    @server.function
    async def hoard(items: AsyncIterator[int]) -> AsyncIterator[int]:
        made.ran.append("hoard")
        async for _ in items:
            await made.gate.wait()
        yield 0

    @server.function
    async def greet(items: AsyncIterator[int]) -> AsyncIterator[str]:
        yield "hello"

    return made


@contextlib.asynccontextmanager
async def troupe_of(
    names: str = "abc",
    *,
    policy: GroupPolicy | None = None,
    labels: dict[str, dict[str, str]] | None = None,
    max_concurrency: int | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Troupe]:
    """Members with these names, and a group of all of them."""
    actors = {name: actor(name, max_concurrency, limits) for name in names}
    async with contextlib.AsyncExitStack() as stack:
        members = Members()
        for name, one in actors.items():
            await stack.enter_async_context(one.server)
            one.endpoint = await one.server.bind("tcp://127.0.0.1:0")
            members.add(Endpoint(one.endpoint, name=name, labels=(labels or {}).get(name, {})))
        worker = await stack.enter_async_context(ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK))
        group = await worker.group(members, name="troupe", policy=policy or GroupPolicy())
        await group.wait_ready(len(actors))
        troupe = Troupe(actors, worker, members, group)
        yield troupe
        assert troupe.tallies()
        assert group.statistics().in_flight == 0
        assert all(member.in_flight == 0 for member in group.members)


@pytest.fixture
def stage() -> Stage:
    """Makes groups."""
    return troupe_of


@pytest.fixture
async def troupe() -> AsyncIterator[Troupe]:
    """Three members."""
    async with troupe_of() as made:
        yield made
