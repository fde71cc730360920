"""From a seed to an application and what is asked of it: which piece of it does what for which request."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AROUND", "ASYNC_DEPENDENCY", "ASYNC_HANDLER", "BLOCK", "GIVES", "HANG", "ITEMS", "LOST_AFTER", "MAPPING", "PICK",
    "PLAIN_DEPENDENCY", "PROGRESS", "STUBBORN", "TIMEOUT", "Ask", "Fault", "Plan", "make_plan",
]  # fmt: skip

HANG = 8.0
"""Seconds for which what hangs does."""

STUBBORN = 2.0
"""Seconds for which something goes on that was cancelled."""

TIMEOUT = 5.0
"""Seconds that most callers wait."""

LOST_AFTER = 1.0
"""Seconds of the policies; who wants others names them."""

BLOCK = 0.06
"""Seconds for which something holds the event loop."""

ITEMS = 6
"""Of a stream, an upload or a channel."""

FUNCTIONS = {
    "plain": 4,
    "coroutine": 6,
    "made": 3,
    "narrow": 2,
    "steady": 1,
    "invoke": 2,
    "nested": 2,
    "stream": 3,
    "upload": 3,
    "channel": 2,
}
"""What is called how often."""

GIVES = frozenset({"stream", "channel"})
"""Functions whose results come piece by piece."""

DEPENDENT = frozenset({"coroutine", "stream", "upload", "channel"})
"""Functions with both dependencies; "made" has the inner one."""

PLAIN = frozenset({"plain", "made", "invoke"})
"""Functions that cannot wait."""

AROUND = (
    "raises", "raises_after", "refuses", "refuses_after", "hangs", "hangs_after", "blocks", "stubborn", "twice",
    "foreign", "itself", "returns_call", "unawaited", "left_behind", "replaces", "hastens", "swallows", "cancels",
    "odd", "shares", "in_a_task", "late", "wraps", "breaks_items",
)  # fmt: skip
"""What a middleware may do, on either side."""

ASYNC_DEPENDENCY = (
    "raises", "refuses", "hangs", "blocks", "raises_at_end", "hangs_at_end", "swallows", "twice", "itself", "odd",
    "never_yields", "stubborn_at_end",
)  # fmt: skip
PLAIN_DEPENDENCY = ("raises", "refuses", "blocks", "raises_at_end", "swallows", "twice", "odd", "never_yields")
PLAIN_HANDLER = ("raises", "odd", "blocks", "refuses", "itself", "mutates", "cancels", "context", "remote", "shared")
ASYNC_HANDLER = (*PLAIN_HANDLER, "hangs", "stubborn", "gives_up")
MAPPING = ("raises", "wrong", "itself", "hangs", "cancels", "shared", "blocks", "odd")
PROGRESS = ("raises", "odd", "exits", "cancels", "cancels_caller", "blocks", "itself", "awaitable")
PICK = ("raises", "none", "itself", "foreign", "blocks", "awaitable", "exits", "odd")
RESOLVER = (
    "raises", "junk", "itself", "cancels", "clears", "breaks", "blocks", "exits", "fewer", "waits", "ends_in_error",
    "endless", "odd",
)  # fmt: skip
LIFESPAN = ("raises_at_start", "hangs_at_start", "raises_at_end", "hangs_at_end", "blocks_at_end", "stubborn_at_end")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        number: its place in the plan, which is in its metadata, its arguments and its answer.
        by_group: whether a group is asked, and not a container's own handle.
        layers: what the middleware of the container does for it, outermost first.
        sent_through: the same of the middleware of the worker.
        outer, inner: what the dependencies do.
        handler: what the handler does.
        mapping: what ``on_error`` does.
        progress: what the callback of its progress does; empty: there is none.
        pick: what the group's own way to choose does.
        cancel_after: seconds until its caller leaves; None: it stays.
        is_neighbour: whether nothing about it is odd.
    """

    number: int
    at: float
    function: str
    by_group: bool
    container: int
    timeout: float | None
    idempotent: bool = False
    hedge_after: float | None = None
    lost_after: float | None = LOST_AFTER
    cancel_after: float | None = None
    layers: tuple[str, ...] = ()
    sent_through: tuple[str, ...] = ()
    outer: str = "pass"
    inner: str = "pass"
    handler: str = "returns"
    mapping: str = "says"
    progress: str = ""
    pick: str = "first"
    is_neighbour: bool = False

    @property
    def odd(self) -> list[str]:
        """What about it is odd, with where that is."""
        found = [f"layer:{kind}" for kind in self.layers if kind != "pass"]
        found += [f"sent:{kind}" for kind in self.sent_through if kind != "pass"]
        places = {"outer": "pass", "inner": "pass", "handler": "returns", "mapping": "says", "pick": "first"}
        found += [f"{place}:{kind}" for place, plain in places.items() if (kind := getattr(self, place)) != plain]
        if self.progress not in ("", "pass"):
            found.append(f"progress:{self.progress}")
        return found


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a container.

    Attributes:
        lasts: seconds until it is over, or a successor is there; of a container that is gone there is none.
    """

    at: float
    kind: str
    container: int
    lasts: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One application, before it runs.

    Attributes:
        layers, sent_through: how many middleware the container has, and the worker.
        mapping: whether there is an ``on_error``: ``""``, ``"def"`` or ``"async"``.
        picks: whether the group has its own way to choose.
        resolver: what it does before it tells all members.
        poke: whether its ``poke()`` raises.
        lifespans: of the containers.
        loud: whether lines are logged, to a handler that raises.
        ends_at: when everything is closed, whatever is under way; None: when all is done.
    """

    seed: int
    containers: int
    layers: int
    sent_through: int
    mapping: str
    picks: bool
    resolver: tuple[str, ...]
    poke: bool
    lifespans: tuple[str, ...]
    loud: bool
    ends_at: float | None
    drains: bool
    worker_first: bool
    part_bytes: int | None
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...] = field(default=())

    @property
    def is_calm(self) -> bool:
        """Whether nothing happens to the containers, so that it is certain what is heard."""
        return not self.faults and self.ends_at is None


def make_plan(seed: int) -> Plan:
    """Draws an application."""
    chance = random.Random(f"{seed} application")
    containers = chance.choice((1, 2, 2, 3))
    layers, sent_through = chance.choice((0, 1, 1, 2, 3)), chance.choice((0, 0, 1, 2))
    mapping, picks = chance.choice(("", "def", "async")), chance.random() < 0.5
    part_bytes = chance.choice((None, 200))
    length = chance.choice((0.0, 0.5, 2.0))
    shape = _Shape(containers, layers, sent_through, mapping, picks, part_bytes, length)
    asks = tuple(_ask(chance, number, shape) for number in range(chance.randint(4, 14)))
    is_calm = chance.random() < 0.55
    faults = () if is_calm else tuple(_fault(chance, containers, length) for _ in range(chance.randint(0, 2)))
    return Plan(
        seed=seed,
        containers=containers,
        layers=layers,
        sent_through=sent_through,
        mapping=mapping,
        picks=picks,
        resolver=tuple(chance.choices(RESOLVER, k=chance.choice((0, 0, 1, 2)))),
        poke=chance.random() < 0.3,
        lifespans=tuple(chance.choice(LIFESPAN) if chance.random() < 0.15 else "pass" for _ in range(containers)),
        loud=chance.random() < 0.3,
        ends_at=None if is_calm else chance.choice((None, 0.02, 0.5, 2.0)),
        drains=chance.random() < 0.3,
        worker_first=chance.random() < 0.5,
        part_bytes=part_bytes,
        asks=asks,
        faults=faults,
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    containers: int
    layers: int
    sent_through: int
    mapping: str
    picks: bool
    part_bytes: int | None
    length: float


def _ask(chance: random.Random, number: int, shape: _Shape) -> Ask:
    is_neighbour = chance.random() < 0.4
    function = chance.choices(list(FUNCTIONS), list(FUNCTIONS.values()))[0]
    if is_neighbour and function == "narrow":
        function = "coroutine"  # it would wait for others, as it should
    by_group = chance.random() < 0.5
    idempotent = function not in ("stream", "upload", "channel") and chance.random() < 0.25
    calm = Ask(
        number=number,
        at=shape.length * chance.random() if chance.random() < 0.6 else 0.0,
        function=function,
        by_group=by_group,
        container=chance.randrange(shape.containers),
        timeout=TIMEOUT,
        idempotent=idempotent,
        layers=("pass",) * shape.layers,
        sent_through=("pass",) * shape.sent_through,
        progress="pass" if shape.part_bytes and chance.random() < 0.5 else "",
        is_neighbour=True,
    )
    return calm if is_neighbour else _with_odd(chance, calm, shape)


def _with_odd(chance: random.Random, calm: Ask, shape: _Shape) -> Ask:
    """In half of them one thing is odd, so that it is certain what is heard; in the others more may be."""
    function = calm.function
    handlers = PLAIN_HANDLER if function in PLAIN else ASYNC_HANDLER
    mappings = [kind for kind in MAPPING if shape.mapping == "async" or kind != "hangs"]
    places: dict[str, Sequence[str]] = {"handler": handlers}
    if shape.layers:
        places["layers"] = AROUND
    if shape.sent_through:
        places["sent_through"] = AROUND
    if function in DEPENDENT:
        places |= {"outer": ASYNC_DEPENDENCY, "inner": PLAIN_DEPENDENCY}
    if function == "made":
        places["inner"] = PLAIN_DEPENDENCY
    if shape.mapping:
        places["mapping"] = mappings
    if calm.progress:
        places["progress"] = PROGRESS
    if calm.by_group and shape.picks:
        places["pick"] = PICK
    is_single = chance.random() < 0.5
    changed: dict[str, object] = {}
    for place in chance.sample(list(places), 1 if is_single else min(len(places), chance.choice((1, 2, 3)))):
        kind = chance.choice(places[place])
        if place in ("layers", "sent_through"):
            kinds = list(getattr(calm, place))
            kinds[chance.randrange(len(kinds))] = kind
            if not is_single and chance.random() < 0.4:
                kinds[chance.randrange(len(kinds))] = chance.choice(places[place])
            if "unawaited" in kinds:  # the coroutine that it returns is for mpzmq, and not for another middleware
                kinds = ["unawaited", *("pass" for _ in kinds[1:])]
            changed[place] = tuple(kinds)
        else:
            changed[place] = kind
        if place == "mapping":
            changed["handler"] = "raises"
        if kind == "left_behind" and place == "layers" and function not in PLAIN and chance.random() < 0.5:
            changed["handler"] = "stubborn"
    if not is_single:
        changed["timeout"] = chance.choice((None, TIMEOUT, 2.0, 0.3, 0.02))
        changed["cancel_after"] = chance.choice((0.0, 0.004, 0.1, 1.0)) if chance.random() < 0.25 else None
        changed["lost_after"] = chance.choice((0.0, 0.5, LOST_AFTER, None))
        if calm.by_group and calm.idempotent and chance.random() < 0.5:
            changed["hedge_after"] = 0.05
    values = {name: getattr(calm, name) for name in calm.__slots__} | changed
    return Ask(**{**values, "is_neighbour": False})


def _fault(chance: random.Random, containers: int, length: float) -> Fault:
    return Fault(
        at=chance.random() * (length + 1.0),
        kind=chance.choice(("kill", "gone", "cut", "partition", "drain")),
        container=chance.randrange(containers),
        lasts=chance.choice((0.0, 0.3, 2.0)),
    )
