"""One engine, containers that dial in, and a thief who repeats what they have said: a third world to be simulated.

The members come and go by themselves here, and whom a request reaches is the group's choice; so it has callers and
invariants of its own, which are the promises as a caller of a group sees them.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    GroupPolicy,
    HeartbeatPolicy,
    Limits,
    LinkDown,
    LinkState,
    LinkUp,
    MemberLeft,
    ReconnectPolicy,
    RequestError,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.testing.simnet.network import MemoryNetwork, VirtualClockLoop
from mpzmq.transport.interface import SocketSettings

from .violation import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence

    from mpzmq.failure import Failure
    from mpzmq.transport.interface import Dealer, Frames

__all__ = ["Result", "run", "trace"]

LOBBY = "tcp://127.0.0.1:3011"
TOKEN = "secret"
HEARTBEAT = HeartbeatPolicy(interval=0.5, down_after=1.5)
LENGTH = 8.0
"""Seconds of traffic."""

PATIENCE = 90.0
"""Seconds after the last fault in which everything has to be as it was: longer than any deadline."""

TOLERANCE = 0.2
SETTINGS = SocketSettings(
    redial_interval=3600.0, connect_timeout=3.0, heartbeat_interval=2.0, down_after=5.0, message_bytes=1 << 20
)


@dataclass(slots=True)
class Result:
    """What came of one seed.

    Attributes:
        reached: states that the world is meant to reach, and whether this seed did.
    """

    seed: int
    violations: list[Violation] = field(default_factory=list)
    reached: dict[str, bool] = field(default_factory=dict)
    lines: list[tuple[float, str]] = field(default_factory=list)


class _Thief:
    """Says a JOIN that is not its own, and must not hear anything."""

    def __init__(self, world: _World, record: list[Any]) -> None:
        self._world = world
        self._record = record
        self._dealer: Dealer = world.network.host().dealer(LOBBY, SETTINGS, self)

    def on_messages(self, messages: Sequence[Frames]) -> None:
        self._world.require("a thief gets nothing", kept=False, text=f"{len(messages)} messages")

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        if changes[-1] is None:
            self._dealer.send([LINK_TAG, Encoder(Limits()).pack(self._record)])

    def on_redial(self) -> bool:
        return False

    def on_writable(self) -> None:
        """It has said what it had to."""

    def close(self) -> None:
        self._dealer.close(0.0)


class _World:
    def __init__(self, seed: int) -> None:
        self.seen = Result(seed)
        self.chance = chance = random.Random(f"{seed} joining")
        self.network = MemoryNetwork(
            seed, latency=chance.choice((0.001, 0.05)), jitter=chance.choice((0.0, 0.02, 0.2)), capacity=50
        )
        self._loop = asyncio.get_running_loop()
        self._rejoin_within = chance.choice((0.3, 3.0, 30.0))
        self._host = self.network.host()
        self._worker = ComputerEngineWorker(name="w", heartbeat=HEARTBEAT, reconnect=ReconnectPolicy(interval=0.5))
        self._worker._transport = self._host
        self._servers: list[ContainerServer | None] = [None] * chance.choice((1, 2, 3))
        self._hosts = [self.network.host() for _ in self._servers]
        self._chores: set[asyncio.Task[None]] = set()
        self._thieves: list[_Thief] = []
        self._ran: Counter[int] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._group_is_ending = False

    def require(self, promise: str, *, kept: object, text: str) -> None:
        if not kept:
            self.seen.violations.append(Violation(promise, text))

    def _note(self, line: str) -> None:
        self.seen.lines.append((self._loop.time(), line))

    async def run(self) -> None:
        chance = self.chance
        async with self._worker:
            await self._accept()
            for number in range(len(self._servers)):
                await self._start(number)
            callers = [
                self._later(chance.random() * LENGTH, self._ask(number)) for number in range(chance.choice((20, 80)))
            ]
            for number in range(chance.choice((1, 4, 10))):
                self._chore(self._later(chance.random() * LENGTH, self._fault(number)))
            await asyncio.sleep(LENGTH)
            while self._chores:
                await asyncio.wait(self._chores)
            self._heal()
            _, hanging = await asyncio.wait(callers, timeout=PATIENCE)
            self.require("every request ends", kept=not hanging, text=f"{len(hanging)} hang")
            for task in callers:
                task.cancel()
            await self._all_are_back()
            self._judge()
            for thief in self._thieves:
                thief.close()
            await self._group.close()
        await self._watching
        for server in self._servers:
            if server is not None:
                await server.close()

    async def _accept(self) -> None:
        self._group = await self._worker.accept(
            LOBBY,
            tokens=TOKEN,
            policy=GroupPolicy(lost_after=self.chance.choice((0.0, 1.0, None))),
            rejoin_within=self._rejoin_within,
        )
        self._watching = self._loop.create_task(self._watch(self._group.events()))

    async def _watch(self, events: AsyncIterator[Any]) -> None:
        """Nobody leaves who has not been away for long enough."""
        down: dict[Any, float] = {}  # links that were up once
        up: set[Any] = set()
        async for event in events:
            now = self._loop.time()
            self._note(f"{type(event).__name__} {event.name} ({event.reason})")
            if isinstance(event, LinkDown):
                down.setdefault(event.remote_id, now)
            elif isinstance(event, LinkUp):
                down.pop(event.remote_id, None)
                up.add(event.remote_id)
            elif isinstance(event, MemberLeft) and "rejoin_within" in event.reason:
                away = now - down.get(event.remote_id, now)
                enough = event.remote_id not in up or away >= self._rejoin_within - TOLERANCE
                self.require("who is back in time stays", kept=enough, text=f"{event.name} after {away:.3f} s")
                self.seen.reached["left"] = True
            elif isinstance(event, MemberLeft) and "another process" in event.reason:
                self.seen.reached["replaced"] = True

    def _later(self, seconds: float, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def begin() -> None:
            await asyncio.sleep(seconds)
            await work

        return self._loop.create_task(begin())

    def _chore(self, task: asyncio.Task[None]) -> None:
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    # The containers

    async def _start(self, number: int) -> None:
        server = ContainerServer(name=f"c{number}", heartbeat=HEARTBEAT)
        server._transport = self._hosts[number] = self.network.host()

        @server.function
        async def work(ask: int, seconds: float) -> int:
            self._ran[ask] += 1
            await asyncio.sleep(seconds)
            return ask

        @server.function
        async def climb(ask: int, seconds: float) -> AsyncIterator[int]:
            self._ran[ask] += 1
            for index in range(10):
                await asyncio.sleep(seconds / 10)
                yield index

        self._servers[number] = server
        await server.join(LOBBY, token=TOKEN, labels={"number": str(number)}, wait=False)

    async def _restart(self, number: int, how: str, lasts: float) -> None:
        server, self._servers[number] = self._servers[number], None
        if server is None:
            return
        if how == "kill":
            self._hosts[number].kill(loses=self.chance.random() < 0.5)
        else:
            await server.drain(1.0)
        await server.close()
        await asyncio.sleep(lasts)
        await self._start(number)

    # The faults

    async def _fault(self, _: int) -> None:
        chance, network = self.chance, self.network
        kind = chance.choice(
            ("cut", "ghost", "doom", "partition", "kill", "drain", "block", "block-engine", "replay", "again", "wrong")
        )
        number, lasts, inward = (
            chance.randrange(len(self._servers)),
            chance.choice((0.05, 0.5, 4.0)),
            chance.random() < 0.5,
        )
        self._note(f"FAULT {kind} c{number} {lasts} s")
        if kind == "cut":
            network.cut(LOBBY)
        elif kind == "ghost":
            network.cut(LOBBY, ghost=lasts)
        elif kind == "doom":
            network.doom(LOBBY, inward=inward, after=chance.randrange(4))
        elif kind == "partition":
            both = chance.random() < 0.5
            network.partition(LOBBY, inward=both or inward, outward=both or not inward)
            await asyncio.sleep(lasts)
            network.heal(LOBBY)
        elif kind in ("kill", "drain"):
            await self._restart(number, kind, lasts)
        elif kind in ("block", "block-engine"):
            host = self._hosts[number] if kind == "block" else self._host
            host.freeze()
            await asyncio.sleep(lasts)
            host.thaw()
        elif kind == "again" and not self._group_is_ending:
            self._group_is_ending = True
            for thief in self._thieves:  # what an engine has heard before its restart it does not remember
                thief.close()
            self._thieves.clear()
            await self._group.close()
            await self._watching
            await asyncio.sleep(lasts)
            await self._accept()
            self._group_is_ending = False
            self.seen.reached["accepted again"] = True
        elif kind in ("replay", "wrong"):
            self._steal(wrong=kind == "wrong")

    def _steal(self, *, wrong: bool) -> None:
        members = list(self._group._lobby._table.members.values())
        if members:
            victim = self.chance.choice(members)
            number = victim.number + 1 if wrong else self.chance.randint(0, victim.number)
            token = "wrong" if wrong else TOKEN
            self._thieves.append(_Thief(self, wire.join(victim.instance, number, token, "thief", {}, Limits())))
            self.seen.reached["wrong" if wrong else "replay"] = True

    def _heal(self) -> None:
        self._note("CALM")
        self.network.conditions.doomed.clear()
        self.network.heal(LOBBY)
        for host in (self._host, *self._hosts):
            host.thaw()

    # The callers

    async def _ask(self, number: int) -> None:
        chance, began = self.chance, self._loop.time()
        idempotent, timeout = chance.random() < 0.3, chance.choice((0.5, 3.0, 30.0))
        streams, seconds = not idempotent and chance.random() < 0.2, chance.choice((0.0, 0.3, 2.0))
        options = self._group.options(timeout=timeout, idempotent=idempotent)
        outcome = "reply"
        try:
            if streams:
                async with options.stream("climb", number, seconds) as items:
                    self.require("streams are whole", kept=[i async for i in items] == [*range(10)], text=f"{number}")
            else:
                self.require(
                    "its own reply", kept=await options.call("work", number, seconds) == number, text=f"{number}"
                )
            self.require("a reply means yes", kept=self._ran[number], text=f"{number}")
        except RequestError as error:
            outcome, ran = type(error).__name__, self._ran[number]
            self.require("no means no", kept=error.executed.name != "NO" or not ran, text=f"{number}: {error}")
            self.require("yes means yes", kept=error.executed.name != "YES" or ran, text=f"{number}: {error}")
        self._outcomes[outcome] += 1
        took = self._loop.time() - began
        self._note(f"ASK {number} {outcome} after {took:.3f} s, ran {self._ran[number]} times")
        self.require("at most once", kept=idempotent or self._ran[number] <= 1, text=f"{number}")
        self.require("deadlines", kept=streams or took <= timeout + TOLERANCE, text=f"{number} took {took:.3f} s")

    async def _all_are_back(self) -> None:
        until = self._loop.time() + PATIENCE
        while self._loop.time() < until:
            members = self._group.members
            if len(members) == len(self._servers) and all(member.state is LinkState.ALIVE for member in members):
                break
            await asyncio.sleep(0.1)
        else:
            self.require("all are back", kept=False, text=f"{self._group.members}")
            return
        for member in self._group.members:
            answer = await self._group.handle(member.name).call("work", -1, 0.0, timeout=3.0)
            self.require("all are back", kept=answer == -1, text=member.name)

    def _judge(self) -> None:
        counted = self._worker.service().statistics()
        ends = counted.replied + counted.failed + counted.cancelled + counted.in_flight
        self.require("every request is counted", kept=counted.issued == ends, text=f"{counted}")
        table = self._group._lobby._table
        by_route = {member.route: member for member in table.members.values() if member.route is not None}
        self.require("the lobby agrees with itself", kept=by_route == table.by_route, text=f"{table.by_route}")
        self.seen.reached |= dict.fromkeys(self._outcomes, True)


def run(seed: int) -> Result:
    """Runs one seed. Always the same comes of it."""
    seen = Result(seed)
    reports: list[str] = []

    async def scene() -> None:
        nonlocal seen
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reports.append(f"{context['message']}: {context.get('exception')!r}")
        )
        world = _World(seed)
        seen = world.seen
        await world.run()

    state = random.getstate()
    random.seed(seed)  # pauses of containers have a jitter
    try:
        with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(scene())
    except Exception as error:  # whatever it is, it is a finding, and belongs to its seed
        seen.violations.append(Violation("crash", f"{type(error).__name__}: {error}"))
    finally:
        random.setstate(state)
    seen.violations += [Violation("loop-exception", report) for report in reports]
    return seen


def trace(result: Result) -> Iterator[str]:
    """What happened, a line each, in the order of time."""
    yield f"seed {result.seed}"
    for at, line in result.lines:
        yield f"{at:9.4f}  {line}"
    yield from (f"VIOLATION {violation}" for violation in result.violations)
