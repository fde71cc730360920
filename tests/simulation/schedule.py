"""From a seed to everything that will happen: what callers ask, and which faults come when."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mpzmq import HeartbeatPolicy, Limits, ReconnectPolicy

from .crashes import crash_of, is_late, orphan_after, with_crash

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LONGEST_NAP", "STREAMED", "Ask", "Attempt", "Fault", "Schedule", "make_schedule"]

FUNCTIONS = {
    "plain": 6,
    "nap": 6,
    "echo": 2,
    "large": 4,
    "fails": 1,
    "refuses": 1,
    "stubborn": 2,
    "missing": 1,
    "yields": 4,
    "stores": 3,
    "chats": 2,
    "asks": 4,
    "narrow": 3,
}
"""What is called how often."""

STREAMED = {"yields": 40, "stores": 30, "chats": 12}
"""Functions whose results or data come piece by piece, and how many pieces that are."""

FAULTS = {
    "cut": 4, "ghost": 3, "doom": 8, "partition": 4, "kill": 4, "drain": 3, "close": 1, "choke": 3, "block": 2,
    "block-worker": 2, "jump": 1, "slow": 2, "disconnect": 1, "close-worker": 1,
}  # fmt: skip

ODD = {"odd": 3, "odd_nap": 3, "unfit": 1, "unasked": 1}
"""What is called in place of a part of those that just run or fail, in half of the seeds: their answers are odd."""

LONGEST_NAP = 2.0


NOT_NAMED = -1.0
"""The ``lost_after`` of a request that has none of its own."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request under the id of its Ask.

    Attributes:
        delay: seconds after the end of the attempt before it, or after the begin of the traffic.
        body: attempts of one body are the same request.
        timeout: None: none.
        cancel_after: when its caller loses patience; None: never.
        wait: as in the API.
    """

    delay: float
    body: int
    timeout: float | None
    cancel_after: float | None
    wait: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a caller, and how it is issued again if it ends without its reply.

    Attributes:
        number: its place in the schedule.
        extra: seconds that a nap takes, or bytes of a large reply.
        lost_after: as in the API; NOT_NAMED: as the policy says.
        chosen: whether the caller chooses its id; only then can it be issued again.
    """

    number: int
    worker: int
    container: int
    function: str
    extra: float
    idempotent: bool
    chosen: bool
    attempts: tuple[Attempt, ...]
    lost_after: float | None = NOT_NAMED

    @property
    def pause(self) -> float:
        """Seconds for which its caller sleeps after every second item that it reads, every seventh that it sends."""
        return self.extra / 20 if self.number % 3 else 0.0

    @property
    def leaves(self) -> bool:
        """Whether its caller leaves a channel when it has sent everything."""
        return self.function == "chats" and self.number % 2 == 1

    @property
    def id(self) -> UUID:
        """The id that its caller chooses."""
        return UUID(int=(2 << 100) + self.number + 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to the world.

    Attributes:
        at: seconds after the begin of the traffic.
        lasts: seconds until it ends, or a successor is there.
        inward: the direction towards the container is meant; False: the other one; None: both. Of a crash: whether its
            connections break, so that it can be seen.
        amount: what the kind needs: messages, seconds, a choice.
    """

    at: float
    kind: str
    worker: int
    container: int
    lasts: float
    inward: bool | None
    amount: float

    def __str__(self) -> str:
        way = {None: "both ways", True: "inward", False: "outward"}[self.inward]
        return f"{self.kind} w{self.worker} c{self.container} for {self.lasts:.3f} s, {way}, amount {self.amount:.3f}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One simulation, before it runs.

    Attributes:
        part_bytes: the size of the parts that large messages are cut into; None: too large for any here.
        orphan_after: of the containers.
        orphans_by_function: whether it is that of each function instead.
    """

    seed: int
    workers: int
    containers: int
    heartbeat: HeartbeatPolicy
    reconnect: ReconnectPolicy
    engine_limits: Limits
    container_limits: Limits
    latency: float
    jitter: float
    capacity: int
    length: float
    close_timeout: float
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]
    part_bytes: int | None
    orphan_after: float | None
    orphans_by_function: bool

    @property
    def changes_state(self) -> bool:
        """Whether the run states of its containers are changed."""
        return any(ask.function == "state" for ask in self.asks)

    def lost_after(self, ask: Ask) -> float | None:
        """Seconds of DOWN after which a request ends that has left; None: it waits."""
        if ask.lost_after != NOT_NAMED:
            return ask.lost_after
        # Nobody has said that set_state() may wait because it could be done twice.
        waits = ask.idempotent and (ask.chosen or ask.function != "state")
        return None if waits else self.reconnect.lost_after

    @property
    def kinds(self) -> set[str]:
        """The kinds of its faults."""
        return {fault.kind for fault in self.faults}

    @property
    def patience(self) -> float:
        """Seconds after which everything is well again, once nothing goes wrong any more.

        Each side needs its time to give up connections that were silent, then a redial, and room for what has waited.
        """
        redial = 2 * self.reconnect.interval + self.reconnect.connect_timeout
        queue = len(self.asks) * LONGEST_NAP
        return 5 * self.heartbeat.down_after + 4 * redial + 2 * LONGEST_NAP + queue


def make_schedule(seed: int) -> Schedule:
    """The schedule of a seed, always the same."""
    chance = random.Random(seed)
    pick = chance.choice
    workers, containers = pick((1, 1, 2)), pick((1, 1, 2))
    interval = pick((0.2, 0.5, 1.0, 2.0))
    length = pick((0.3, 1.0, 3.0, 6.0))
    latency = pick((0.0005, 0.002, 0.02))
    faults = 0 if chance.random() < 0.12 else chance.randint(1, 8)
    # Some promises can only be checked where nothing else goes wrong: many seeds have few kinds of faults.
    few = chance.choices(list(FAULTS), list(FAULTS.values()), k=chance.choice((1, 2)))
    kinds = few if chance.random() < 0.4 else list(FAULTS)
    crash = crash_of(seed, workers, length)
    return Schedule(
        seed=seed,
        workers=workers,
        containers=containers,
        heartbeat=HeartbeatPolicy(interval=interval, down_after=interval * pick((2.2, 2.5, 4.0))),
        reconnect=ReconnectPolicy(
            enabled=chance.random() < 0.95,
            max_attempts=pick((None, None, None, None, 0, 1, 3)),
            interval=pick((0.05, 0.2, 0.5, 1.0)),
            connect_timeout=pick((0.2, 1.0, 3.0)),
            lost_after=random.Random(f"{seed} lost").choice((0.0, 0.3, 1.0, 5.0, None, None)),
        ),
        engine_limits=_limits(chance),
        container_limits=dataclasses.replace(_limits(chance), total_bytes=_total_bytes(seed)),
        latency=latency,
        jitter=pick((0.0, 0.0, latency, 0.05)),
        capacity=pick((1000, 1000, 3, 20)),
        length=length,
        close_timeout=pick((0.0, 0.0, 0.5)),
        asks=tuple(_varied(seed, _asks(chance, chance.randint(10, 60), workers, containers, length), crash)),
        faults=(
            *(_fault(chance, kinds, chance.random() * length, workers, containers) for _ in range(faults)),
            *(() if crash is None else [Fault(crash[1], "crash", crash[0], 0, 0.0, crash[2], 0.0)]),
        ),
        # Of a chance of its own: the other half of the seeds are what they were before there were parts.
        part_bytes=random.Random(f"{seed} parts").choice((None, None, 300, 1000)),
        orphan_after=orphan_after(seed),
        orphans_by_function=is_late(seed, crash),
    )


def _total_bytes(seed: int) -> int:
    """Of a chance of its own, as the parts: three quarters of the seeds have no use for the bound."""
    return 9000 if random.Random(f"{seed} total").random() < 0.25 else Limits().total_bytes


def _limits(chance: random.Random) -> Limits:
    if chance.random() < 0.5:
        return Limits()
    small = {
        "in_flight": (2, 5, 20),
        "window": (1, 2, 8),
        "batch_records": (1, 2, 5),
        "queued_bytes": (20_000, 50_000),
        "reply_entries": (1, 3, 20),
        "reply_bytes": (500, 5000),
        "stream_items": (1, 3, 20),
        "stream_bytes": (20, 200),
    }
    drawn: dict[str, Any] = {name: chance.choice(values) for name, values in small.items() if chance.random() < 0.4}
    return Limits(**drawn)


def _asks(chance: random.Random, count: int, workers: int, containers: int, length: float) -> list[Ask]:
    names, weights = list(FUNCTIONS), list(FUNCTIONS.values())
    asks: list[Ask] = []
    at = 0.0
    for number in range(count):
        if chance.random() < 0.6:  # the others are issued in the same pass of the event loop as the one before
            at = chance.random() * length
        function = chance.choices(names, weights)[0]
        chosen = chance.random() < 0.5 and function not in STREAMED
        extra = chance.choice((0.0, 0.01, 0.1, 0.5, LONGEST_NAP))
        if function == "large":
            extra = chance.choice((700, 7000, 7000))
        attempts = [_attempt(chance, at, 0)]
        while chosen and len(attempts) < 4 and chance.random() < 0.7:
            other = chance.random() < 0.1
            attempts.append(_attempt(chance, chance.choice((0.0, 0.01, 0.3, 1.0)), len(attempts) if other else 0))
        asks.append(
            Ask(
                number=number,
                worker=chance.randrange(workers),
                container=chance.randrange(containers),
                function=function,
                extra=extra,
                idempotent=chance.random() < 0.35 and function not in STREAMED,
                chosen=chosen,
                attempts=tuple(attempts),
            )
        )
    return asks


def _varied(seed: int, asks: list[Ask], crash: tuple[int, float, bool] | None) -> list[Ask]:
    """What came later: each draws from a chance of its own, so that other seeds are what they were."""
    return _with_patience(seed, with_crash(seed, _with_odd(seed, _with_changes(seed, asks)), crash))


def _with_patience(seed: int, asks: Iterable[Ask]) -> list[Ask]:
    """Some requests have a ``lost_after`` of their own, which that of the run state has not."""
    chance = random.Random(f"{seed} lost by request")
    return [
        dataclasses.replace(ask, lost_after=chance.choice((*[NOT_NAMED] * 4, 0.0, 0.5, 5.0, None)))
        if ask.function != "state"
        else ask
        for ask in asks
    ]


def _with_changes(seed: int, asks: list[Ask]) -> list[Ask]:
    """In some seeds, a change of the run state in place of some requests."""
    chance = random.Random(f"{seed} states")  # of its own: the other seeds are what they were before there were any
    if chance.random() < 0.65:
        return asks
    return [
        dataclasses.replace(
            ask,
            function="state",
            extra=chance.choice((0.0, 0.0, 0.01, 0.5)),
            # Ids are only chosen where the whole message is: set_state() is always idempotent.
            idempotent=ask.idempotent or not ask.chosen,
            attempts=tuple(dataclasses.replace(attempt, body=0) for attempt in ask.attempts),  # there are two states
        )
        if chance.random() < 0.2 and ask.function not in STREAMED
        else ask
        for ask in asks
    ]


def _with_odd(seed: int, asks: list[Ask]) -> list[Ask]:
    """In half of the seeds, odd answers in place of some others."""
    chance = random.Random(f"{seed} odd")  # of its own, too
    if chance.random() < 0.5:
        return asks
    return [
        dataclasses.replace(ask, function=chance.choices(list(ODD), list(ODD.values()))[0])
        if ask.function in ("plain", "nap", "fails") and chance.random() < 0.4
        else ask
        for ask in asks
    ]


def _attempt(chance: random.Random, delay: float, body: int) -> Attempt:
    return Attempt(
        delay=delay,
        body=body,
        timeout=chance.choice((None, 30.0, 30.0, 5.0, 1.0, 0.2, 0.05, 0.003)),
        cancel_after=chance.choice((0.0, 0.004, 0.05, 0.3, 1.0)) if chance.random() < 0.15 else None,
        wait=chance.random() < 0.8,
    )


def _fault(chance: random.Random, kinds: list[str], at: float, workers: int, containers: int) -> Fault:
    kind = chance.choices(kinds, [FAULTS[kind] for kind in kinds])[0]
    inward: bool | None = chance.random() < 0.5
    if kind == "partition" and chance.random() < 0.5:
        inward = None
    amount = chance.choice((0.0, 0.05, 0.5, 3.0, 8.0))
    if kind == "doom":
        amount = chance.choice((0, 0, 1, 1, 2, 3, 5))
    return Fault(
        at=at,
        kind=kind,
        worker=chance.randrange(workers),
        container=chance.randrange(containers),
        lasts=chance.choice((0.0, 0.02, 0.3, 1.0, 4.0)),
        inward=inward,
        amount=amount,
    )
