"""The words of the protocol as an application sees them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = [
    "Attempt",
    "Call",
    "Description",
    "Executed",
    "FunctionDescription",
    "LinkState",
    "Member",
    "Method",
    "Params",
    "Progress",
    "Status",
    "StreamProgress",
]


@set_module("mpzmq")
class Method(enum.StrEnum):
    """What a message asks for."""

    INVOKE = "INVOKE"
    SETSTATE = "SETSTATE"
    GETSTATE = "GETSTATE"


@set_module("mpzmq")
class Status(enum.StrEnum):
    """The run state of a container, carried in every reply. It is not a result code."""

    RUNNING = "RUNNING"
    STOP = "STOP"


@set_module("mpzmq")
class Executed(enum.StrEnum):
    """Whether a handler has worked for a failed request.

    NO: no handler has done, or will do, work for this request id. YES: a handler was started. UNKNOWN: the
    engine cannot tell.
    """

    NO = "NO"
    UNKNOWN = "UNKNOWN"
    YES = "YES"


@set_module("mpzmq")
class LinkState(enum.StrEnum):
    """The state of the link to one container."""

    CONNECTING = "CONNECTING"
    """The first dial is under way."""
    ALIVE = "ALIVE"
    """The container has greeted on this connection and answers."""
    BUSY = "BUSY"
    """The container's process lives, but its event loop does not answer."""
    DRAINING = "DRAINING"
    """The container said GOODBYE: it takes no new work."""
    DOWN = "DOWN"
    """The connection is lost; the link is redialling."""
    FAILED = "FAILED"
    """The link has given up. ``connect()`` may start it anew."""
    CLOSED = "CLOSED"
    """The link was ended by this side."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Params:
    """One message as the application sees it.

    Attributes:
        id: the request id; the reply carries the same.
        method: what is asked for.
        status: in a reply, the container's run state; in a SETSTATE request, the state to set.
        data: the payload.
    """

    id: UUID
    method: Method = Method.INVOKE
    status: Status = Status.RUNNING
    data: Any = None


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class StreamProgress:
    """How far a stream, an upload or a channel got, in items.

    Attributes:
        sent: items that have left this side.
        taken: those of them that the other side has said it has.
        received: items that have come from the other side.
    """

    sent: int = 0
    taken: int = 0
    received: int = 0


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Progress:
    """How far a large request and its reply have come, in bytes.

    Only what travels in parts has any: where a message does not, or is not known yet, its total is 0. After a
    connection was lost, both begin again.

    Attributes:
        request_id: the request.
        sent: bytes of it that the container has read.
        to_send: all its bytes.
        received: bytes of its reply that have come.
        to_receive: all bytes of that.
    """

    request_id: UUID
    sent: int
    to_send: int
    received: int
    to_receive: int


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class FunctionDescription:
    """One function of a container: its name, its signature as text, and the first line of its docstring."""

    name: str
    signature: str
    doc: str


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Description:
    """What a container says of itself.

    Attributes:
        name: the server's name.
        instance: the id of this incarnation of the container's process; a restart makes a new one.
        version: the version of mpzmq that it runs.
        status: its run state.
        invokes: whether it has a handler for plain INVOKE.
        functions: its functions, by name.
        schema: what they take and return, as JSON Schema, where that was asked for and they are typed; else None.
    """

    name: str
    instance: UUID
    version: str
    status: Status
    invokes: bool
    functions: tuple[FunctionDescription, ...]
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group, as it was when somebody asked.

    Attributes:
        name: its name, which no other member of the group has.
        address: where it serves.
        labels: what it can be chosen by.
        weight: its share of the requests, compared with the others'.
        remote_id: the id under which the worker knows it.
        instance: the id of its process incarnation; None before it has greeted for the first time.
        state: the state of its link.
        in_flight: requests of the group that it has, and that have not ended.
        ejected: whether it is left out for a while, because it failed again and again.
        held: whether it gets no new requests, because ``group.hold()`` says so.
    """

    name: str
    address: str
    labels: Mapping[str, str] = field(hash=False)
    weight: float
    remote_id: UUID
    instance: UUID | None
    state: LinkState
    in_flight: int
    ejected: bool
    held: bool


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Attempt:
    """What one member of a group has answered to a request that failed.

    Attributes:
        member: who was asked.
        error: what came of it.
    """

    member: Member
    error: Exception


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Call:
    """What a group is asked, for whoever chooses the member: ``GroupPolicy(pick=...)``. It is to be read only.

    Attributes:
        function: the name of the function; None: a plain request.
        args: its arguments; of a plain request the data alone.
        kwargs: those by name.
        metadata: what is sent along.
        key: what the caller has given as ``key=``; None: nothing.
    """

    function: str | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    metadata: Mapping[str, Any]
    key: Any = None
