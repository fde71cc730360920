"""Requests that come again: joined or answered, never run twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..config import MAX_COUNT, Limits
from ..models import Executed
from ..protocol.responder.reply_cache import NOT_KEPT_TEXT, Reply
from ..protocol.responder.session_state import SessionState
from ..protocol.wire.digest import digest_of
from ..protocol.wire.encoder import Encoder
from ..protocol.wire.kinds import Code, Flag
from .invocation import CancelReason

if TYPE_CHECKING:
    from ..protocol.flow.outbox import QueuedRecord
    from ..protocol.responder.responder import HandlerHost, Responder
    from ..protocol.wire.records import Record
    from .invocation import Invocation
    from .responses import ResponseEncoder

__all__ = ["Deduplicator"]

_CHOSEN: Final = Flag.CHOSEN

_ANY = Limits(depth=256, items=MAX_COUNT)
"""What has been decoded can be encoded, whatever it is."""


class Deduplicator:
    """What a container knows of requests that it has seen before.

    Attributes:
        count: how many came again, and did not run again.
    """

    def __init__(self, responses: ResponseEncoder, sessions: HandlerHost) -> None:
        self.count = 0
        self._responses = responses
        self._sessions = sessions
        self._encoder = Encoder(_ANY)

    def fingerprint(self, record: Record) -> bytes | None:
        """What tells a REQUEST from others under the same id; None: no other will come under it."""
        if not record[3] & _CHOSEN:
            return None
        _, _, _, _, op, function, args, kwargs, _ = record
        return digest_of(self._encoder, op, function, args, kwargs)

    def is_same(self, known: Invocation | Reply, record: Record) -> bool:
        """Whether a REQUEST is the one that is known: sent again by the engine, or issued again by its caller."""
        if known.sequence == record[1]:
            return True
        return known.digest is not None and known.digest == self.fingerprint(record)

    def join(self, running: Invocation) -> None:
        """The request of a handler that runs has come again: the reply goes to the engine's newest connection."""
        self.count += 1
        if running.cancel_reason is CancelReason.ENGINE:
            # Cancelled, and then issued again: it is told what became of it.
            running.cancel_reason = CancelReason.REISSUED
        if running.started:
            running.engine.tell_started(running.tag)
            self._sessions.writable[running.engine] = None

    def replay(self, peer: Responder, tag: bytes, reply: Reply | None) -> QueuedRecord | None:
        """The answer to a request that had one; None: it still waits to leave.

        Args:
            peer: who asks.
            tag: of the request.
            reply: what was kept of the answer; None: nothing is known any more.
        """
        self.count += 1
        if tag in peer.outbox:
            return None  # and it may be larger than what is kept
        if reply is not None and tag not in peer.replies.tombstones:
            return self._responses.again(reply)
        if reply is None:
            text = "it came again, when what became of it was forgotten (Limits.reply_ttl)"
            code, executed = Code.STALE, Executed.UNKNOWN
        else:
            text, code, executed = NOT_KEPT_TEXT, Code.NOT_KEPT, Executed.YES
        return self._responses.error(peer, tag, code, executed, text)

    def as_reply(self, running: Invocation, item: QueuedRecord) -> Reply:
        """An error as the answer of a request whose handler has begun: it must not begin again."""
        return Reply(item.tag, item.body, item.buffers, running.sequence, running.digest)

    def on_cancelled(self, running: Invocation) -> None:
        """A handler was ended because nobody waits: nothing is sent, but its caller may issue the id again."""
        if running.started and running.digest is not None and running.engine.state is not SessionState.CLOSED:
            code, why = Code.CANCELLED, CancelReason.ENGINE.value
            item = self._responses.error(running.engine, running.tag, code, Executed.YES, why)
            running.engine.replies.keep(self.as_reply(running, item))
