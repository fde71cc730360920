"""What is written down while an odd application runs."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import weakref

    from mpzmq.testing.simnet.network import VirtualClockLoop

    from .plan import Ask, Plan

__all__ = ["Asked", "Books", "Closing", "Dependency", "Run", "Served", "asker", "books_of_now", "keep", "run_of_now"]


@dataclass(slots=True, eq=False)
class Asked:
    """A request, as its caller sees it."""

    ask: Ask
    at: float
    ends: int = 0
    ended: float | None = None
    outcome: str = ""
    executed: str = ""
    text: str = ""
    value: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Served:
    """One incarnation of a container."""

    container: int
    number: int
    killed_at: float | None = None
    ended_at: float | None = None

    def __str__(self) -> str:
        return f"c{self.container}.{self.number}"


@dataclass(slots=True, eq=False)
class Run:
    """A request, as a container sees it: from the first code of the application on."""

    ask: Ask
    served: Served
    request_id: int
    at: float
    started: list[float] = field(default_factory=list)
    ended: float | None = None

    def __str__(self) -> str:
        return f"#{self.ask.number} at {self.served}"


@dataclass(slots=True, eq=False)
class Dependency:
    """Something that was made for a run."""

    name: str
    run: Run
    made: float
    closed: float | None = None


@dataclass(slots=True)
class Closing:
    """Something that has to end."""

    what: str
    at: float
    bound: float
    ended: float | None = None


@dataclass(slots=True)
class Books:
    """All of one seed.

    Attributes:
        wrong: what was seen to be wrong at once, with the kind of violation.
        refs: arguments that were seen, by request and place, to see whether they are gone.
        alive: those that were not when they should have been.
        sums: counters that have to be equal: what, one, the other.
        blocked: seconds in which the event loop was held, added up.
        kept: the ``proceed`` of middleware that has ended.
        acts: what has been done, with where.
    """

    plan: Plan
    loop: VirtualClockLoop
    asked: list[Asked] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    refs: list[tuple[Run | Asked, str, weakref.ref[Any]]] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    sums: list[tuple[str, int, int]] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    acts: set[str] = field(default_factory=set)
    blocked: float = 0.0
    closed_at: float | None = None

    def block(self, seconds: float) -> None:
        """Holds the event loop."""
        self.blocked += seconds
        self.loop.jump(seconds)

    def ask(self, number: int) -> Ask:
        """What was planned under a number."""
        return self.plan.asks[number]


keep: contextvars.ContextVar[Books] = contextvars.ContextVar("books")
"""Those of now, for what has no other way to them."""

asker: contextvars.ContextVar[int | None] = contextvars.ContextVar("asker", default=None)
"""The request that a caller's context belongs to."""

run_of_now: contextvars.ContextVar[Run | None] = contextvars.ContextVar("run", default=None)
"""The run that a container's context belongs to."""


def books_of_now() -> Books:
    """The books."""
    return keep.get()
