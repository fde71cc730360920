"""The errors with which requests end, built from what the link knows.

Every text says what happened, to whom, and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from ...errors import (
    ConnectionClosed,
    ConnectionLost,
    ContainerDraining,
    ContainerStopped,
    InvalidArguments,
    NotConnected,
    NotPermitted,
    Overloaded,
    ProtocolError,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestError,
    RequestIdReused,
    RequestTimeout,
    Unsupported,
)
from ...models import Executed, LinkState
from ..wire.kinds import Code
from ..wire.records import EXECUTED

if TYPE_CHECKING:
    from ..health.diagnostics import LinkDiagnostics
    from ..wire.records import Record
    from .request import PendingRequest

__all__ = ["ERROR_CLASSES", "RequestErrors"]

_E = TypeVar("_E", bound=RequestError)

ERROR_CLASSES: dict[int, type[RequestError]] = {
    Code.MALFORMED: ProtocolError,
    Code.UNSUPPORTED: Unsupported,
    Code.INVALID_ARGUMENTS: InvalidArguments,
    Code.STOPPED: ContainerStopped,
    Code.DRAINING: ContainerDraining,
    Code.REFUSED: Refused,
    Code.OVERLOADED: Overloaded,
    Code.CANCELLED: RequestCancelled,
    Code.EXPIRED: RequestTimeout,
    Code.REMOTE: RemoteError,
    Code.ID_REUSED: RequestIdReused,
    Code.STALE: ConnectionLost,
    Code.NOT_KEPT: ConnectionLost,
    Code.NOT_PERMITTED: NotPermitted,
}
"""What a caller is raised, by the code of an ERROR record."""

_ADVICE: dict[int, str] = {
    Code.MALFORMED: "the two sides may run different versions of mpzmq",
    Code.STOPPED: "set its status to RUNNING first: set_state(remote_id, Status.RUNNING)",
    Code.DRAINING: "it takes no new work: send it again with wait=True, to reach its successor",
    Code.EXPIRED: "give it more time with timeout=",
    Code.NOT_PERMITTED: "the container's allow-list, or its middleware, says so",
    Code.OVERLOADED: "try again later, or raise what the container allows",
}


_WITHOUT_TRACEBACK = {"EncodeError", "MessageTooLarge"}
"""What is raised behind the handler, by the library: its log has a line that says so, and no traceback."""


def _safe(entry: PendingRequest) -> str:
    """What may be done, if nothing is known to have run under the id."""
    return "; it is safe to send again" if entry.executed is Executed.NO else ""


def _how_far(entry: PendingRequest) -> str:
    """How far a stream got, in words; nothing for a request with one result."""
    progress = entry.progress
    if progress is None:
        return ""
    parts = []
    if entry.send_stream is not None:
        parts.append(f"{progress.sent} items had been sent, {progress.taken} of them received there")
    if entry.receive_stream is not None:
        parts.append(f"{progress.received} items had come")
    return ", ".join(parts) + ", as .progress tells"


class RequestErrors:
    """Builds the errors of one link."""

    side: ClassVar[str] = "container"
    """Who runs what was asked."""
    advice: ClassVar[dict[int, str]] = _ADVICE

    if_too_large: ClassVar[str] = "send less at a time, or raise Limits.message_bytes on both sides"
    if_away: ClassVar[str] = (
        "give it more time with lost_after=, or pass idempotent=True to what may run twice: that waits"
    )

    def __init__(self, remote_id: UUID, name: str, address: str) -> None:
        self.remote_id = remote_id
        self.name = name
        self.diagnostics: LinkDiagnostics | None = None
        """What the link has seen, once there is one."""
        self.whom = f"container {name!r}" if name == address else f"container {name!r} at {address}"

    def build(self, cls: type[_E], tag: bytes, text: str, executed: Executed | None = None) -> _E:
        """An error of this link."""
        error = cls(
            text,
            request_id=UUID(bytes=tag),
            remote_id=self.remote_id,
            name=self.name,
            executed=executed,
        )
        if self.diagnostics is not None:
            error.evidence = self.diagnostics.snapshot()
        return error

    def timed_out(
        self, entry: PendingRequest, state: LinkState, window_full: bool, cut: bool = False
    ) -> RequestTimeout:
        """The deadline has come; ``cut``: when some parts of it had left."""
        if entry.sent:
            why = f"it was sent, and no reply came (the link is {state})"
            if entry.started:
                why = f"its handler began, and no reply came (the link is {state})"
            request = UUID(bytes=entry.tag)
            then = f"look at the {self.side}'s log under request {request}, or give it more time with timeout="
            text = f"{entry.what} to {self.whom} timed out: {why}; {then}{self._own_fault()}"
            return self.build(RequestTimeout, entry.tag, text, entry.executed)
        if cut:
            why = f"not all of its {entry.size} bytes had left"
        elif window_full:
            why = "it never left, because the container has not read what was sent before it"
        else:
            why = f"it never left (the link is {state})"
        text = f"{entry.what} to {self.whom} timed out: {why}{_safe(entry)}{self._own_fault()}"
        return self.build(RequestTimeout, entry.tag, text, entry.executed)

    def unsent(self, entry: PendingRequest, why: str) -> RequestTimeout:
        """The deadline has come before the request was taken."""
        return self.build(RequestTimeout, entry.tag, f"{entry.what} to {self.whom} timed out: {why}", entry.executed)

    def _own_fault(self) -> str:
        return "" if self.diagnostics is None else self.diagnostics.local_lag_note()

    def lost(
        self, entry: PendingRequest, why: str, *, instance_changed: bool | None = None, over: bool = False
    ) -> RequestError:
        """The connection broke, and did not come back to what it was. What left may have run; what did not, has not."""
        if not entry.sent:
            return self.not_connected(entry, why, over=over)
        then = "pass idempotent=True to what may run twice, and it is sent again"
        error = self._lost(entry, f"({why})", then)
        error.instance_changed = instance_changed
        return error

    def forgotten(self, entry: PendingRequest, why: str) -> RequestError:
        """The same, where the other side keeps nothing of what it was asked."""
        if not entry.sent:
            return self.not_connected(entry, why)
        return self._lost(entry, f"({why})", "look whether it has, or ask again if it may run twice")

    def away(self, entry: PendingRequest, why: str) -> RequestError:
        """The other side has been away for longer than a request waits that had left."""
        return self._lost(entry, f"for more than {entry.lost_after:g} s, which is lost_after ({why})", self.if_away)

    def _lost(self, entry: PendingRequest, how: str, then: str) -> ConnectionLost:
        ran = "its handler had begun" if entry.started else "it may or may not have run"
        then = _how_far(entry) or then
        text = f"{entry.what} to {self.whom} was sent, and then the connection was lost {how}; {ran}: {then}"
        error = self.build(ConnectionLost, entry.tag, text, entry.executed)
        error.progress = entry.progress
        return error

    def closed(self, entry: PendingRequest, why: str) -> ConnectionClosed:
        """The connection was ended on purpose, by either side."""
        text = f"{entry.what} to {self.whom} got no reply before {why}"
        if not entry.sent:
            text += f"; it never left{_safe(entry)}"
        else:
            text += "; its handler had begun" if entry.started else "; it may or may not have run"
            how_far = _how_far(entry)
            text += f": {how_far}" if how_far else ""
        error = self.build(ConnectionClosed, entry.tag, text, entry.executed)
        error.progress = entry.progress
        return error

    def not_connected(self, entry: PendingRequest, why: str, *, over: bool = False) -> NotConnected:
        """The link cannot be used; ``over``: nor will it ever be."""
        then = "connect() it again, and use the new handle" if over else "pass wait=True to wait for it"
        text = f"{entry.what} to {self.whom} was not sent: {why}; {then}"
        if entry.executed is not Executed.NO:
            text += "; an earlier one under this id may have run"
        return self.build(NotConnected, entry.tag, text, entry.executed)

    def draining(self, entry: PendingRequest) -> ContainerDraining:
        """The container goes away, and the caller does not wait."""
        text = f"{entry.what} to {self.whom} was not sent: the container is draining; {_ADVICE[Code.DRAINING]}"
        return self.build(ContainerDraining, entry.tag, text, entry.executed)

    def overloaded(self, entry: PendingRequest, in_flight: int) -> Overloaded:
        """The link is full, and the caller does not wait."""
        text = (
            f"{entry.what} to {self.whom} was not sent: the link is full ({in_flight} requests have not ended);"
            " pass wait=True to wait for room, or raise Limits.in_flight or queued_bytes here, or Limits.in_flight,"
            " reply_entries or reply_bytes of the container"
        )
        return self.build(Overloaded, entry.tag, text, entry.executed)

    def malformed_reply(self, entry: PendingRequest) -> ProtocolError:
        """Something came under the request's id that is not a reply."""
        text = (
            f"{entry.what} to {self.whom} ran, perhaps, but its reply cannot be decoded: it is malformed or beyond"
            " this side's Limits (depth, items); the two sides may run different versions of mpzmq"
        )
        return self.build(ProtocolError, entry.tag, text)

    def stream_violation(self, entry: PendingRequest) -> ProtocolError:
        """The container sends items that the stream may not have now."""
        text = (
            f"{entry.what} to {self.whom} ended: it sent items out of order, too few of them, or more than it was given"
            " credit for;"
            " the two sides may run different versions of mpzmq"
        )
        return self.build(ProtocolError, entry.tag, text, Executed.YES)

    def from_record(self, entry: PendingRequest, record: Record) -> RequestError:
        """What an ERROR record says."""
        _, code, executed, _, message, detail = record
        detail = detail or {}
        cls = ERROR_CLASSES.get(code, ProtocolError)
        if cls is RemoteError:
            return self._remote(entry, message, detail, EXECUTED[executed])
        advice = self.advice.get(code)
        text = f"{entry.what} to {self.whom}: {message}" + (f"; {advice}" if advice else "")
        truth = EXECUTED[executed]
        if truth is Executed.NO and entry.may_have_run_elsewhere:
            # It may have run before, where this container does not know of it.
            truth = entry.executed
        error = self.build(cls, entry.tag, text, truth)
        if isinstance(error, ConnectionLost):
            error.instance_changed = False
        if isinstance(error, Overloaded) and isinstance(retry_after := detail.get("retry_after"), int | float):
            error.retry_after = float(retry_after)
        return error

    def _remote(self, entry: PendingRequest, message: str, detail: dict[Any, Any], executed: Executed) -> RemoteError:
        error_type = str(detail.get("type", "Exception"))
        code = detail.get("code")
        shown = "RemoteError" if error_type == "RemoteError" else error_type
        what = "a line on it" if error_type in _WITHOUT_TRACEBACK else "the traceback"
        text = (
            f"{entry.what} to {self.whom} raised {shown}: {message}"
            f" ({what} is in the {self.side}'s log, under request {UUID(bytes=entry.tag)})"
        )
        error = self.build(RemoteError, entry.tag, text, executed)
        error.error_type = error_type
        error.error_message = message
        error.code = code if isinstance(code, str) else None
        error.data = detail.get("data")
        return error
