"""What state machines want done, as values in one queue: a driver takes them in order, and does one after the other.

Bytes are no effect: a driver asks for the next message when the transport can take one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..events import LinkEvent
    from ..failure import Failure
    from .wire.records import Frames

__all__ = [
    "Batch",
    "CutConnections",
    "Disconnect",
    "Effect",
    "EndLink",
    "GiveUpEngines",
    "LogRejection",
    "LogState",
    "NotifyConnection",
    "PublishEvents",
    "ReportProgress",
    "ResolveRequests",
    "ServeCalls",
    "TellPresence",
    "WakeStreams",
]


@dataclass(slots=True)
class ResolveRequests:
    """Those who wait for requests are told of their ends.

    Attributes:
        items: who waits, each with the outcome: the RESPONSE record, or the error to raise.
    """

    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(slots=True)
class WakeStreams:
    """Those who wait at streams are woken: items, credit or the end have come.

    Attributes:
        items: their wakers; None: nobody has waited for that stream yet.
    """

    items: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class ReportProgress:
    """Callers are told how far their large requests and replies have come.

    Attributes:
        items: the tags of those requests; one may be there twice.
    """

    items: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class PublishEvents:
    """The application is told.

    Attributes:
        items: the events, without the time of day.
    """

    items: list[LinkEvent] = field(default_factory=list)


@dataclass(slots=True)
class ServeCalls:
    """What a container has asked of its engine is started and ended."""


@dataclass(slots=True)
class Disconnect:
    """The connection stands, but is of no use: it is ended, and the next one dialled.

    Attributes:
        failure: why.
    """

    failure: Failure


@dataclass(slots=True)
class EndLink:
    """The link has ended for good: once its last word has left, nothing of it stays."""


@dataclass(slots=True)
class CutConnections:
    """Connections to a container that broke a rule are ended.

    Attributes:
        items: each route, with the rule in words; one may be there twice.
    """

    items: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass(slots=True)
class LogRejection:
    """A greeting was not accepted, on either side: the log is to say so.

    Attributes:
        text: what it is to say.
    """

    text: str


@dataclass(slots=True)
class LogState:
    """A link, or the session of an engine, is in another state: the log of the wire shows it, where it is on.

    Attributes:
        whom: whose.
        state: the state now.
        reason: what has led there.
    """

    whom: str
    state: str
    reason: str


@dataclass(slots=True)
class NotifyConnection:
    """A connection that may take nothing now is told something as soon as it does.

    Attributes:
        route: which.
        frames: the message.
    """

    route: bytes
    frames: Frames


@dataclass(slots=True)
class GiveUpEngines:
    """Engines that do not read what they are sent lose it, and their connections.

    Attributes:
        items: their sessions, each with the reason, behind "it"; one may be there twice.
    """

    items: list[tuple[Any, str]] = field(default_factory=list)


@dataclass(slots=True)
class TellPresence:
    """Whoever looks after engines is told which have come or gone.

    Attributes:
        items: the engines, each with the reason.
    """

    items: list[tuple[Any, str]] = field(default_factory=list)


Batch = ResolveRequests | WakeStreams | ReportProgress | PublishEvents | CutConnections | GiveUpEngines | TellPresence
"""Effects that hold many things of one kind."""

Effect = Batch | ServeCalls | Disconnect | EndLink | LogRejection | LogState | NotifyConnection
