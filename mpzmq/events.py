"""What happens to the links of a worker and to the engines of a container, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .common.set_module import set_module

if TYPE_CHECKING:
    from uuid import UUID

    from .models import LinkState, Member, Status

__all__ = [
    "EngineInfo",
    "EngineJoined",
    "EngineLeft",
    "EventsDropped",
    "Evidence",
    "LinkBusy",
    "LinkClosed",
    "LinkDown",
    "LinkEvent",
    "LinkFailed",
    "LinkRetry",
    "LinkUp",
    "MemberEjected",
    "MemberHeld",
    "MemberJoined",
    "MemberLeft",
    "MemberReturned",
    "StateChange",
    "StatusChanged",
]


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkEvent:
    """Something happened to one link.

    Attributes:
        remote_id: the id of the container.
        name: the name of its link.
        time: seconds since the epoch, UTC.
        reason: why, in words.
        member: in the events of a group, whose link it is, as it is behind the event; None in those of a worker.
    """

    remote_id: UUID
    name: str
    time: float
    reason: str
    member: Member | None = field(default=None, kw_only=True)


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkUp(LinkEvent):
    """The container can be talked to: it has greeted on a new connection, or answers again after BUSY.

    Attributes:
        instance: the id of the container's process incarnation.
        reconnected: True when the link had been up before.
    """

    instance: UUID
    reconnected: bool


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkBusy(LinkEvent):
    """The container's process lives, but its event loop does not answer.

    Attributes:
        evidence: what the link knew when it said so.
    """

    evidence: Evidence


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkDown(LinkEvent):
    """The connection is lost.

    Attributes:
        evidence: what the link knew when it said so.
    """

    evidence: Evidence


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkRetry(LinkEvent):
    """One redial failed, and another one will follow.

    Attributes:
        attempt: the number of the redial that failed, from 1; 0 for the first dial of a link.
    """

    attempt: int


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkFailed(LinkEvent):
    """The link has given up.

    Attributes:
        attempts: redials that failed since the loss.
    """

    attempts: int


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class LinkClosed(LinkEvent):
    """The link was ended by this side."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class StatusChanged(LinkEvent):
    """The container's run state is another one than before.

    Attributes:
        status: the new state.
        previous: the state before, None when none was known.
    """

    status: Status
    previous: Status | None


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class MemberJoined(LinkEvent):
    """A group has a member more, which is being dialled."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class MemberLeft(LinkEvent):
    """A member is not named any more: it is not asked again, and what it has goes on to its end."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class MemberEjected(LinkEvent):
    """A member has failed again and again, and is left out for a while."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class MemberHeld(LinkEvent):
    """A member gets no new requests of the group, because ``group.hold()`` says so."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class MemberReturned(LinkEvent):
    """A member that was ejected or held may be asked again."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class EventsDropped:
    """The listener was too slow: ``count`` events, the oldest, are lost to it."""

    count: int


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """An engine, as its container knows it.

    Attributes:
        session: the id of its session, which outlives its connections.
        name: what it calls itself.
        user: its authenticated name; None on a connection without security.
        reason: why it is there, or is not any more, in words.
    """

    session: UUID
    name: str
    user: str | None
    reason: str


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineJoined(EngineInfo):
    """An engine has connected: with a new session, or again after :class:`EngineLeft`."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLeft(EngineInfo):
    """An engine is not connected any more. It may come back with the same session."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a link's state.

    Attributes:
        state: the state that began.
        ago: seconds since then.
        reason: why, in words.
    """

    state: LinkState
    ago: float
    reason: str


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Evidence:
    """What a link knew, for whoever has to judge what it said: of ``LinkBusy``, ``LinkDown`` and failed requests.

    Attributes:
        last_heard: seconds since the container was last heard on its connection.
        missed: heartbeat intervals since then, whole ones.
        rtt: the smoothed round trip of a heartbeat in seconds; None before the first.
        lag: seconds by which this worker's own event loop was late, at most, within the last 30: what seems to be the
            container's silence may be the worker's own.
        attempts: redials that failed since the last loss.
        history: the last few changes of the link's state, the oldest first.
    """

    last_heard: float
    missed: int
    rtt: float | None
    lag: float
    attempts: int
    history: tuple[StateChange, ...]

    def __str__(self) -> str:
        rtt = "unknown" if self.rtt is None else f"{self.rtt * 1000:.1f} ms"
        states = ", ".join(f"{change.state} {change.ago:.1f} s ago" for change in self.history)
        return (
            f"last heard {self.last_heard:.1f} s ago, {self.missed} heartbeats missed, round trip {rtt}, own event loop"
            f" late by up to {self.lag:.1f} s, {self.attempts} redials failed; {states}"
        )
