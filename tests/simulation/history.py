"""What was seen in one simulation, on both sides: plain values, recorded as they happen."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpzmq import Executed, LinkState, ServerStatistics, Statistics, StreamProgress
    from mpzmq.events import LinkEvent
    from mpzmq.protocol.session.session import EngineSession

    from .schedule import Ask, Attempt, Fault

__all__ = [
    "Absence",
    "Call",
    "Changed",
    "Closing",
    "EngineChange",
    "Heard",
    "History",
    "Incarnation",
    "Issue",
    "Noted",
    "Start",
]


@dataclass(slots=True)
class Issue:
    """One request, as its caller sees it.

    Attributes:
        ask: what the schedule wants.
        attempt: which of its attempts this is.
        index: the number of the attempt, from 0.
        generation: of the link; each has a session of its own.
        at: when it was issued.
        counted: whether a link took it, so that statistics have to count it.
        ended: when it ended; None: it has not.
        outcome: ``"reply"``, ``"cancelled"``, ``"left"`` for a channel that was left, or the name of the error's class.
        executed: what the error says of handlers.
        instance_changed: what a ConnectionLost says of the container.
        text: the error's text.
        error_type: what a RemoteError says of the exception.
        value: the reply.
        items: of a stream or channel, those that came: the serial of the start and a number each.
        progress: how far it got, as the error says.
    """

    ask: Ask
    attempt: Attempt
    index: int
    generation: int
    at: float
    counted: bool
    ended: float | None = None
    outcome: str = ""
    executed: Executed | None = None
    instance_changed: bool | None = None
    text: str = ""
    error_type: str = ""
    value: Any = None
    items: list[list[int]] = field(default_factory=list)
    progress: StreamProgress | None = None

    def __str__(self) -> str:
        return (
            f"request {self.ask.number}.{self.index} ({self.ask.function}, w{self.ask.worker} to c{self.ask.container})"
        )


@dataclass(slots=True)
class Start:
    """One start of a handler.

    Attributes:
        serial: its number among all starts.
        number: of the Ask that it works for.
        body: which of the bodies that were sent under this id.
        generation: of the link that the request came over.
        function: the handler.
        container, incarnation: where.
        request_id: what the handler's context says, as a number.
        at, ended: when it started, and when it ended.
        end: ``"returned"``, ``"raised"``, ``"cancelled"``, ``"lost"`` with its engine, or nothing while it runs.
        items: of an upload or channel, those that it read.
        received: how many had come, if they ended with the connection.
        met: the serial that another start has left in its context; None: none.
        is_stopped: whether the container was in STOP.
    """

    serial: int
    number: int
    body: int
    generation: int
    function: str
    container: int
    incarnation: int
    request_id: int
    at: float
    ended: float | None = None
    end: str = ""
    items: list[int] = field(default_factory=list)
    received: int | None = None
    met: int | None = None
    is_stopped: bool = False

    def __str__(self) -> str:
        return f"start {self.serial} of request {self.number} in c{self.container}.{self.incarnation}"


@dataclass(slots=True)
class Call:
    """One call of a handler to its engine, as the handler sees it; it is made once.

    Attributes:
        serial: its number among all calls.
        start: the serial of the start that made it.
        timeout: what was given to it; None: none.
        at, ended: when it was made, and when it ended.
        function: which is called.
        lost_after: what was given to it; None: none.
        engine: the session of the engine in the container.
        outcome, executed, text: as those of an Issue.
        value: the serial of the run that answered it.
    """

    serial: int
    start: int
    timeout: float | None
    at: float
    function: str
    lost_after: float | None
    engine: object
    ended: float | None = None
    outcome: str = ""
    executed: Executed | None = None
    text: str = ""
    value: Any = None

    def __str__(self) -> str:
        return f"call {self.serial} of start {self.start}"


@dataclass(slots=True)
class Absence:
    """A time in which an engine had no connection, as far as its container knew."""

    engine: EngineSession
    began: float
    ended: float = math.inf


@dataclass(slots=True)
class Noted:
    """One run of a function of an engine, for a call.

    Attributes:
        call: the serial of the call.
        worker: which engine.
        parent: the id of the request that its context names, as a number.
        at, ended: when it started, and when it ended.
        end: ``"returned"``, ``"raised"``, ``"cancelled"``, or nothing while it runs.
    """

    call: int
    worker: int
    parent: int
    at: float
    ended: float | None = None
    end: str = ""


@dataclass(slots=True)
class Incarnation:
    """One process of a container.

    Attributes:
        instance: its UUID, known once an engine was told.
        began, ended: when it was bound, and when it was told to end.
        killed: whether it ended without a word.
        drain_timeout: of a graceful end; None: it was just closed, or killed.
        statistics: when it was closed.
    """

    container: int
    number: int
    began: float
    ended: float | None = None
    killed: bool = False
    drain_timeout: float | None = None
    statistics: ServerStatistics | None = None


@dataclass(slots=True)
class Heard:
    """One event of a link, as a listener hears it."""

    at: float
    worker: int
    container: int
    generation: int
    event: LinkEvent


@dataclass(slots=True)
class Changed:
    """One change of a link's state, as it happens; not every one is told as an event."""

    at: float
    worker: int
    container: int
    generation: int
    state: LinkState


@dataclass(slots=True)
class Closing:
    """Something that promises to end in time."""

    what: str
    at: float
    bound: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class EngineChange:
    """An engine that came or went, as its container was told.

    Attributes:
        session: its id, as a number.
        joined: whether it came.
    """

    at: float
    container: int
    incarnation: int
    session: int
    joined: bool


@dataclass(slots=True)
class History:
    """Everything that was seen.

    Attributes:
        applied: the faults, and when each began.
        jumps: when the clock was set forward, and how far.
        sums: samples of counters that have to add up: what, when, the two sides of the equation.
        waiting: what waits in a container for its engines, in bytes: what, when, how much, and how much it says.
        leftovers: what was found after everything had been closed.
        stalled: requests that had not ended though the network had been well for long.
        totals: each worker's counters after it was closed.
        engine_changes: engines that came and went.
        sessions: the ids of those of each worker, as numbers.
        closed_at: when everything was closed.
    """

    issues: list[Issue] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    lost_engines: list[Absence] = field(default_factory=list)
    incarnations: list[Incarnation] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    applied: list[tuple[float, Fault]] = field(default_factory=list)
    jumps: list[tuple[float, float]] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    sums: list[tuple[str, float, int, int]] = field(default_factory=list)
    waiting: list[tuple[str, float, int, int]] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    stalled: list[Issue] = field(default_factory=list)
    totals: list[Statistics] = field(default_factory=list)
    engine_changes: list[EngineChange] = field(default_factory=list)
    sessions: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    calm_at: float = 0.0
    closed_at: float = 0.0

    def late_by(self, begin: float, end: float) -> float:
        """How long the clock stood still for everybody between two moments."""
        return sum(seconds for at, seconds in self.jumps if begin - 1e-6 <= at + seconds and at <= end)
