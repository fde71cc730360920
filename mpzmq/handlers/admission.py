"""May a request run? The question is answered before anything is done, so every no means: it has not run."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..common.text import text_of
from ..models import Status
from ..protocol.flow.fragmenter import FRAGMENT_BYTES
from ..protocol.responder.reply_cache import SESSIONS_FACTOR
from ..protocol.wire.kinds import GIVES, NAMED, STREAMED, TAKES, Code, Op
from .isolation import context_factory
from .state_changes import BEHIND, PASSING, StateChanges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import Limits
    from ..protocol.responder.reply_cache import ReplyCache
    from ..protocol.responder.responder import HandlerHost, Responder
    from ..protocol.wire.records import Record
    from ..security.allow_list import User
    from .invocation import Invocation
    from .registry import Function, Registry

__all__ = ["Admission", "Rejection"]

RETRY_AFTER: Final = 0.1
"""Seconds after which an engine may try again where there was no room."""

RETRY_CRAMMED: Final = 1.0
"""The same where it has to forget first."""

MAX_NAME, SIMILAR_OF = 32, 64
"""How much of a mistyped name is compared with how many functions: a stranger must not buy much work with one frame."""

PERMISSIONS: Final = {
    Op.GETSTATE: "state:get",
    Op.SETSTATE: "state:set",
    Op.DESCRIBE: "functions:describe",
    Op.INVOKE: "data:invoke",
    Op.STATISTICS: "stats",
}
"""What a user needs for what is not a function; for a function, its name."""

_STOP: Final = Status.STOP
_INVOKE: Final = Op.INVOKE
"""Names of the module: looking a member up in its enum takes 0.1 us (Python 3.11), and every request asks."""

MAX_SHOWN = 256
"""How much of it is said again: as a literal it may be four times as long as it came."""


class Rejection(NamedTuple):
    """Why a request may not run."""

    code: int
    text: str
    detail: dict[str, Any] | None = None


_NO_STREAM_ROOM: Final = Rejection(
    Code.OVERLOADED,
    "the uploads and channels of this engine hold all that they may (Limits.queued_bytes)",
    {"retry_after": RETRY_CRAMMED},
)

_WAYS = {Op.CALL: "call()", Op.STREAM: "stream()", Op.UPLOAD: "upload()", Op.CHANNEL: "channel()"}
_BY_NATURE = {(op in GIVES, op in TAKES): ticket for op, ticket in _WAYS.items()}


def _misfit(op: int, function: Function) -> str | None:
    """Why a function cannot be asked in this way; None: it can."""
    if op not in NAMED or (function.gives == (op in GIVES) and function.takes in (None, op in TAKES)):
        return None
    what = f"the function {function.name!r}"
    if op in TAKES and not function.takes:
        why = "its first parameter is no AsyncIterator" if function.is_async else "it is plain def, and not async def"
        return f"{what} takes no stream of data: {why}"
    hidden = op in GIVES and not function.gives
    then = "; if it yields behind a decorator, use functools.wraps() in that" if hidden else ""
    return f"{what} is to be asked by {_BY_NATURE[function.gives, bool(function.takes)]}, and not by {_WAYS[op]}{then}"


class Admission:
    """Holds requests against what the container has, and against what it bears.

    Args:
        registry: the handlers.
        sessions: whose they are, for status and draining.
        limits: bounds.
        builtin: what is answered without a handler of the user's, by operation.
        requester: who asks, in a word.
    """

    def __init__(
        self,
        registry: Registry,
        sessions: HandlerHost,
        limits: Limits,
        builtin: Mapping[int, Function],
        requester: str = "engine",
    ) -> None:
        self._requester = requester
        self._registry = registry
        self._functions = registry.functions
        self._sessions = sessions
        self._max_in_flight, self._max_bytes = limits.in_flight, limits.queued_bytes
        self._max_of_all = SESSIONS_FACTOR * limits.in_flight
        self.is_closing = False
        """Whether not even the container itself answers any more."""
        self.changes = StateChanges()
        """Those that are under way."""
        self._count = self._bytes = self._large = 0
        self._builtin = builtin
        self._new_context = context_factory()

    def check(self, peer: Responder, record: Record, size: int, *, has_waited: bool = False) -> Function | Rejection:
        """What is to be called for a REQUEST, or why it is not.

        Args:
            peer: who asks.
            record: what.
            size: of the record, in bytes.
            has_waited: whether this was ``BEHIND`` before: there is room for it, and it has waited long enough.
        """
        _, _, remaining, _, op, name, args, kwargs, _ = record
        if self.changes.closed and not has_waited and peer in self.changes.closed and op not in PASSING:
            return self._judge_room(peer, op, size) or BEHIND
        user = peer.user
        if user is not None and user.allow is not None:
            permission = name if op in NAMED else PERMISSIONS.get(op, "")
            if permission not in user.allow:
                return Rejection(Code.NOT_PERMITTED, f"the user {user.name!r} has no permission for {permission!r}")
        function = self.find(op, name)
        sessions = self._sessions
        if sessions.draining is not None and (self.is_closing or op not in self._builtin):
            return Rejection(Code.DRAINING, sessions.draining)
        if sessions.status is _STOP and op not in self._builtin:
            return Rejection(Code.STOPPED, "its status is STOP")
        if function is None:
            return Rejection(Code.UNSUPPORTED, self._unsupported(op, name, user))
        if remaining is not None and remaining <= 0:
            return Rejection(Code.EXPIRED, "its deadline had passed when it was read")
        replies = peer.replies
        # Rather than a call for every request: only where one of the bounds may be reached is looked at them.
        if not has_waited and (
            (
                self._count
                and (
                    peer.in_flight >= self._max_in_flight
                    or self._count >= self._max_of_all
                    or self._bytes + size > self._max_bytes
                    or size > FRAGMENT_BYTES
                )
            )
            or len(replies.entries) + len(replies.tombstones) >= replies.max_entries
        ):
            refusal = self._judge_count(peer, size)
            if refusal is not None:
                return refusal
        if op in STREAMED or function.is_streamed:
            misfit = _misfit(op, function)
            if misfit is not None:
                return Rejection(Code.UNSUPPORTED, misfit)
            if op in TAKES:
                if not (has_waited or peer.stream_room):
                    return _NO_STREAM_ROOM
                args = [None, *args]
        if kwargs or not function.least <= len(args) <= function.most:
            try:
                if function.typed is None:
                    function.check(args, kwargs)
                elif kwargs or tuple(map(type, args)) != function.typed.exact:
                    # The application's classes do it, whose context variables are nobody else's.
                    args, record[7] = self._new_context().run(function.convert, args, kwargs)
                    record[6] = args[1:] if op in TAKES else args
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a TypeError, but for signatures of the application's own making
                what = f"{name or 'the handler'}{function.shown}"
                return Rejection(Code.INVALID_ARGUMENTS, f"{text_of(error)}; it is {what}")
        return function

    def find(self, op: int, name: str | None) -> Function | None:
        """What a request asks for; None: there is no such thing."""
        if op in NAMED:
            return self._functions.get(name)  # type: ignore[arg-type]  # a str, by the operation
        return self._registry.invoke if op == _INVOKE else self._builtin.get(op)

    def _judge_room(self, peer: Responder, op: int, size: int) -> Rejection | None:
        """Why there is no room for a REQUEST that has to wait before it is judged; None: there is."""
        if op in TAKES and not peer.stream_room:
            return _NO_STREAM_ROOM
        return self._judge_count(peer, size)

    def _judge_count(self, peer: Responder, size: int) -> Rejection | None:
        full = self._full(peer, size)
        if full is not None:
            return Rejection(Code.OVERLOADED, full, {"retry_after": RETRY_AFTER})
        replies = peer.replies
        if len(replies) >= replies.max_entries and self._is_crammed(replies):
            text = (
                f"{len(replies)} of this {self._requester}'s requests ended without their replies being acknowledged,"
                " and no more can be remembered (Limits.in_flight, reply_entries, reply_ttl)"
            )
            return Rejection(Code.OVERLOADED, text, {"retry_after": RETRY_CRAMMED})
        return None

    def _is_crammed(self, replies: ReplyCache) -> bool:
        replies.settle()
        return len(replies) >= replies.max_entries

    def acquire(self, running: Invocation) -> None:
        """A request runs, or waits to."""
        peer, size = running.engine, running.size
        if running.op in TAKES:
            peer.open_receive_stream(running.tag)
        peer.in_flight += 1
        self._count += 1
        self._weigh(peer, size, size)

    def release(self, running: Invocation) -> None:
        """It has ended."""
        peer, size = running.engine, running.size
        if running.op in TAKES:
            peer.close_receive_stream(running.tag)
        peer.in_flight -= 1
        self._count -= 1
        self._weigh(peer, size, -size)

    def _weigh(self, peer: Responder, size: int, change: int) -> None:
        # Large ones, which may be larger than all that the others may have, do not stand in the way of those.
        if size > FRAGMENT_BYTES:
            peer.large_in_flight += change
            self._large += change
        else:
            peer.bytes_in_flight += change
            self._bytes += change

    def _full(self, peer: Responder, size: int) -> str | None:
        if peer.in_flight >= self._max_in_flight:
            return f"this {self._requester} has {peer.in_flight} requests running already (Limits.in_flight)"
        own, all_ = (
            (peer.large_in_flight, self._large) if size > FRAGMENT_BYTES else (peer.bytes_in_flight, self._bytes)
        )
        if own and own + size > self._max_bytes:
            return f"the requests of this {self._requester} that run have {own} bytes (Limits.queued_bytes)"
        if self._count >= self._max_of_all:
            return (
                f"{self._count} requests of all {self._requester}s run already ({SESSIONS_FACTOR} x Limits.in_flight)"
            )
        if all_ and all_ + size > SESSIONS_FACTOR * self._max_bytes:
            return f"the requests that run have {all_} bytes ({SESSIONS_FACTOR} x Limits.queued_bytes)"
        return None

    def _unsupported(self, op: int, name: str | None, user: User | None) -> str:
        if op not in NAMED:
            if op != _INVOKE:
                return f"it does not know the operation {op}, which may be of a later version of the protocol"
            return "it has no handler for plain requests: call one of its functions, or add @server.on_invoke"
        functions = sorted(known for known in self._registry.functions if user is None or user.may(known))
        shown = ", ".join(functions[:8]) + (", ..." if len(functions) > 8 else "")
        close = difflib.get_close_matches(str(name)[:MAX_NAME], functions[:SIMILAR_OF], n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ";"
        return f"it has no function {str(name)[:MAX_SHOWN]!r}{meant} " + (
            f"it has {shown}" if functions else "it has none at all"
        )
