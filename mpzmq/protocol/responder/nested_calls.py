"""What a container asks of its engine, inside the requests that it works for: the engine's half of its calls."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ...models import Executed
from .. import wire
from ..effect_queue import EffectQueue
from ..effects import ServeCalls
from ..flow.fragmenter import FRAGMENT_BYTES
from ..flow.outbox import QueuedRecord
from ..flow.window import SendWindow
from ..wire.kinds import Code, Kind
from ..wire.records import LINK_TAG
from .batch import RequestBatch
from .reply_cache import Reply, ReplyCache
from .responder import Responder
from .session_state import SLOW_FACTOR, SessionState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...config import Limits
    from ..flow.outbox import OutgoingMessage
    from ..requester.request import PendingRequest
    from ..wire.records import Record
    from .reply_cache import ReplyBudget
    from .responder import HandlerHost

__all__ = ["NestedCallReceiver"]

_NO_PARENT = "the request inside which it is made is not open any more, or never was"


class NestedCallReceiver(Responder):
    """The container of one link, as what runs the engine's functions sees it.

    A call is only run inside a request of this link that has not ended. With that its calls end, and what was answered
    to them is forgotten. What comes before WELCOME does not get here: no answer could leave, and they would pile up
    from one connection to the next.

    Args:
        name: what the container is called.
        remote_id: the id under which the worker knows it.
        host: the worker.
        limits: its bounds.
        room: what all links of a worker keep together.

    Attributes:
        effects: what is to be done for the link.
        owner: whoever carries what waits in the outbox; the protocol only keeps it.
        batch: what the container has asked since it was last taken.
        was_asked: whether the container has ever called.
        credit: calls that were taken, and not yet counted against a flood.
    """

    def __init__(self, name: str, remote_id: UUID, host: HandlerHost, limits: Limits, room: ReplyBudget) -> None:
        self.effects = effects = EffectQueue()
        super().__init__(host, limits, effects, room)
        self.name = name
        self.remote_id = remote_id
        self.number = 0  # always: nothing of a container waits behind a change of state
        self.state = SessionState.CONNECTED
        self.message_bytes = min(limits.message_bytes, FRAGMENT_BYTES)
        self.owner: Any = None
        self.batch = RequestBatch()
        self.was_asked = self._has_asked = False
        self._pending: Mapping[bytes, PendingRequest] = {}
        self._window = SendWindow()
        self.credit = 0
        self.limit = min(limits.in_flight, limits.reply_entries)
        """So many calls may run at once, and be unanswered."""
        self._room = room
        self._inside: list[bytes] = []  # the parent of each request in the batch
        self._parents: dict[bytes, tuple[bytes, int]] = {}  # that of each call that is known, and the call's number
        self._open: dict[bytes, dict[bytes, None]] = {}  # parents, and their calls that are known
        self._highest = 0

    def attach(self, pending: Mapping[bytes, PendingRequest], window: SendWindow) -> None:
        """A link takes over what its container calls.

        Args:
            pending: the requests of the link that have not ended.
            window: how much the container lets its engine send: answers count against it, as requests do.
        """
        self._pending, self._window = pending, window

    # From the container

    def receive(self, tag: bytes, record: Record, share: int) -> bool:
        """One record of a call, with its share of the message in bytes; False: it means nothing to this side."""
        kind, batch = record[0], self.batch
        if (kind == Kind.RECEIVED) != (tag == LINK_TAG):
            return False
        self._ask()
        if kind == Kind.REQUEST:
            self._inside.append(record.pop().bytes)
            batch.requests.append((self, tag, record, share))
        elif kind == Kind.CANCEL:
            batch.cancel(self, tag)
            self._forget(tag)
            self.outbox.remove(tag)
            self.replies.acknowledge(0, tag)
        else:
            batch.acks.append((len(batch.requests), self, record[1], record[2]))
        return True

    def on_malformed(self, tags: Sequence[bytes]) -> None:
        """Calls could not be read."""
        for tag in tags:
            self._ask()  # so that somebody looks whether it is a flood
            text = "the call is malformed, or beyond the engine's Limits (depth, items, batch_records)"
            self._refuse(tag, Code.MALFORMED, Executed.NO, text)

    def take(self) -> tuple[RequestBatch, list[PendingRequest]]:
        """What is to be run and ended now, and the requests inside which a call was made for the first time."""
        batch, self.batch = self.batch, RequestBatch()
        inside, self._inside = self._inside, []
        self._has_asked = False
        parents: list[PendingRequest] = []
        receipts, batch.acks = deque(batch.acks), []
        for place, (request, parent) in enumerate(zip(batch.requests, inside, strict=True)):
            while receipts and receipts[0][0] <= place:
                batch.acks.append(self._received(*receipts.popleft()))
            if request is None:
                continue  # its CANCEL stood behind it
            _, tag, record, _ = request
            entry = self._pending.get(parent)
            if entry is None or not entry.sent:
                batch.requests[place] = None
                # What comes again may have run before its parent ended, and has been forgotten since.
                executed = Executed.NO if record[1] > self._highest else Executed.UNKNOWN
                self._refuse(tag, Code.CANCELLED, executed, _NO_PARENT)
                continue
            self.credit += 1
            self._highest = max(self._highest, record[1])
            if tag in self._parents:
                continue
            if parent not in self._open:
                self._open[parent] = {}
                parents.append(entry)
            self._open[parent][tag] = None
            self._parents[tag] = parent, record[1]
        batch.acks += [self._received(*receipt) for receipt in receipts]
        return batch, parents

    def next_outgoing(self, now: float) -> OutgoingMessage | None:
        """The next message with answers, which counts against the window; None: nothing may leave now."""
        return self.outbox.next_message(now) if self.outbox and self._window.has_room() else None

    def reply(self, item: QueuedRecord) -> int:
        """Answer a call. Returns how many bytes wait to leave now; 0: it is kept, or nobody waits."""
        if self.state is SessionState.CLOSED or item.tag not in self._parents:
            return 0
        if isinstance(item, Reply):
            self.replies.keep(item)
        if not self.connected:
            return 0  # it asks again
        self.outbox.put(item)
        self._host.writable[self] = None
        return self.outbox.bytes

    def parent_of(self, tag: bytes) -> UUID | None:
        """The request inside which a call was made; None: that has ended."""
        known = self._parents.get(tag)
        return None if known is None else UUID(bytes=known[0])

    @property
    def has_asked(self) -> bool:
        """Whether anything is to be taken."""
        return self._has_asked

    @property
    def is_overflowing(self) -> bool:
        """Whether more is asked than any container does that reads its answers, and acknowledges them."""
        max_items = self.replies.max_own
        return (
            len(self._parents) > max_items
            or len(self.outbox) > max_items
            or self.outbox.bytes > SLOW_FACTOR * self._limits.queued_bytes
        )

    # From the link

    def close(self, parent: bytes) -> None:
        """A request has ended: whatever was asked inside it is to end too, and is not known any more."""
        tags = self._open.pop(parent, {})
        for tag in tags:
            del self._parents[tag]
            self.outbox.remove(tag)
            self.batch.cancels.append((self, tag, None))
            self._ask()
        self.replies.acknowledge(0, b"".join(tags))
        # If its caller issues the request again under its id, what is not known of its calls must not run.
        self.replies.stale_below = max(self.replies.stale_below, self._highest + 1)

    def on_welcome(self, limits: Mapping[str, int], *, known: bool) -> None:
        """The container has said WELCOME: it asks again for what it has not got.

        Args:
            limits: what it accepts.
            known: whether it is the same as before, and knows the session. Else its calls are not known to it any
                more, and its new ones are numbered anew.
        """
        self.message_bytes = min(
            self._limits.message_bytes, limits.get("message_bytes", FRAGMENT_BYTES), FRAGMENT_BYTES
        )
        self.outbox.clear()
        self.outbox.accept(limits, self._limits.batch_records)
        if not known:
            for parent in list(self._open):
                self.close(parent)
            self._highest = 0
            self.replies.clear()
            self.replies = ReplyCache(self._limits, self._room)

    def end(self) -> None:
        """The link has ended."""
        self.state = SessionState.CLOSED
        self.batch, self._inside = RequestBatch(), []
        self.batch.closed_sessions.add(self)
        self._ask()
        self._open.clear()
        self._parents.clear()
        self.outbox.clear()
        self.replies.clear()

    def tell_started(self, tag: bytes) -> None:
        """Tells the container that a function has begun."""
        if tag in self._parents:
            super().tell_started(tag)

    def _received(
        self, place: int, responder: Responder, low_water: int, tags: bytes
    ) -> tuple[int, Responder, int, bytes]:
        """A RECEIVED of the batch; returns it with all that the container needs no more."""
        # A broken connection may have taken one along, and the requests inside which it was called may go on for ever.
        gone = itertools.takewhile(lambda known: known[1][1] < low_water, self._parents.items())
        tags += b"".join(tag for tag, _ in gone)
        for (tag,) in wire.TAG.iter_unpack(tags):
            self._forget(tag)
        return place, responder, low_water, tags

    def _forget(self, tag: bytes) -> None:
        """A call has been answered, or cancelled: nobody asks for it again."""
        known = self._parents.pop(tag, None)
        if known is not None:
            self._open[known[0]].pop(tag, None)

    def _ask(self) -> None:
        if not self._has_asked:
            self.was_asked = self._has_asked = True
            self._effects.append(ServeCalls())

    def _refuse(self, tag: bytes, code: int, executed: Executed, text: str) -> None:
        self.outbox.put(QueuedRecord(tag, self._host.encoder.pack(self._host.error_record(code, executed, text))))
