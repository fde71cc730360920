"""Requests that have not ended: the truth, since libzmq never tells what it lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .outbox import Item
from .wire import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .encoder import Encoder
    from .values import Buffer
    from .wire import Record

__all__ = ["Deadlines", "Entry", "PendingTable", "remaining_ms", "request_in_words"]

_STALE_AFTER = 0.05
_STALE_SHARE = 0.1
"""Seconds, and share of what remains, for which a request may wait before its remaining time is written anew."""

_PLENTY = _STALE_AFTER / _STALE_SHARE

_SWEEP_INTERVAL = 0.005
"""Seconds between two sweeps at least, so that many deadlines close together cost one."""


class Entry(Item):
    """One request that has not ended.

    Attributes:
        record: the REQUEST record, its remaining time to be written anew.
        deadline: when it ends without a reply; None: never.
        waiter: whoever is told of the end; the protocol only keeps it.
        outcome: how it ended: the RESPONSE record, or the error to raise; None until then.
        wait: whether it may wait for a link that cannot take it now.
        idempotent: whether it may be sent again after it was lost.
        sent: whether it has left this process, so that a handler may have seen it.
        resent: whether it was lost with a connection and queued again.
        chosen: whether the caller chose its id.
    """

    __slots__ = (
        "_encoder", "chosen", "deadline", "idempotent", "outcome", "record", "resent", "sent", "wait", "waiter",
    )  # fmt: skip

    # Positional: a class called with keywords takes twice as long (Python 3.11: 0.9 against 0.45 us).
    def __init__(
        self,
        tag: bytes,
        record: Record,
        encoder: Encoder,
        body: bytes,
        buffers: Sequence[Buffer],
        now: float,
        deadline: float | None,
        wait: bool,
        idempotent: bool,
        chosen: bool,
    ) -> None:
        # Not by Item.__init__: one call less for every request (0.15 us).
        self.tag = tag
        self.body = body
        self.buffers = buffers
        self.size = len(body) + 16
        if buffers:
            self.size += sum(map(len, buffers))
        self.record = record
        self.deadline = deadline
        self.waiter: Any = None
        self.outcome: Any = None
        self.wait = wait
        self.idempotent = idempotent
        self.sent = False
        self.resent = False
        self.chosen = chosen
        self._encoder = encoder
        if deadline is None:
            self.stale_at = math.inf
        else:
            remaining = deadline - now
            self.stale_at = now + (_STALE_AFTER if remaining > _PLENTY else _STALE_SHARE * remaining)

    @property
    def what(self) -> str:
        """The request in words, for errors."""
        return request_in_words(self.record[4], self.record[5])

    def has_body_of(self, other: Entry) -> bool:
        """Whether both ask for the same: operation, function, arguments and metadata."""
        mine, theirs = (entry._encoder.pack(entry.record[4:]) for entry in (self, other))
        return mine == theirs and list(map(bytes, self.buffers)) == list(map(bytes, other.buffers))

    def refresh(self, now: float) -> None:
        """Writes the remaining time anew: the request has waited."""
        if self.deadline is not None:
            self.stale_at = now + min(_STALE_AFTER, _STALE_SHARE * (self.deadline - now))
            self.record[2] = remaining_ms(self.deadline, now)
            self.body = self._encoder.pack(self.record)


def request_in_words(op: int, function: str | None) -> str:
    """What a request asks for."""
    return f"the call of {function!r}" if op == Op.CALL else f"the {_OPS.get(op, 'unknown')} request"


_OPS = {Op.INVOKE: "INVOKE", Op.SETSTATE: "SETSTATE", Op.GETSTATE: "GETSTATE", Op.DESCRIBE: "describe"}


def remaining_ms(deadline: float | None, now: float) -> int | None:
    """What is left until a deadline in milliseconds, rounded up so that it never ends early at the container."""
    if deadline is None:
        return None
    return int((deadline - now) * 1000) + 1 if deadline > now else 1


class Deadlines:
    """The earliest of many deadlines, at no cost per request that ends in time.

    Most deadlines are never reached, so none is kept in order: only a bound below all of them is, and a sweep that
    finds it too low raises it again.
    """

    def __init__(self) -> None:
        self.bound = math.inf
        """No deadline is earlier."""
        self._swept_at = -math.inf

    def add(self, deadline: float | None) -> None:
        """A deadline more."""
        if deadline is not None and deadline < self.bound:
            self.bound = deadline

    def next(self) -> float | None:
        """When to sweep next; None: no deadline."""
        return None if self.bound == math.inf else max(self.bound, self._swept_at + _SWEEP_INTERVAL)

    def sweep(self, now: float, deadlines: Callable[[], Iterator[float | None]]) -> bool:
        """Whether any deadline has been reached.

        Args:
            now: the time.
            deadlines: all deadlines there are; only asked when the bound is reached.
        """
        if now < self.bound:
            return False
        self._swept_at = now
        left = [deadline for deadline in deadlines() if deadline is not None]
        self.bound = min((deadline for deadline in left if deadline > now), default=math.inf)
        return any(deadline <= now for deadline in left)


class PendingTable(dict[bytes, Entry]):
    """All requests of one link that have not ended, by tag, in the order in which they were issued."""

    def __init__(self) -> None:
        super().__init__()
        self._deadlines = Deadlines()

    def add(self, entry: Entry) -> None:
        """A request more."""
        self[entry.tag] = entry
        if entry.deadline is not None and entry.deadline < self._deadlines.bound:
            self._deadlines.add(entry.deadline)

    def take(self, which: Callable[[Entry], bool]) -> list[Entry]:
        """Takes out all requests of a kind."""
        taken = [entry for entry in self.values() if which(entry)]
        for entry in taken:
            del self[entry.tag]
        return taken

    def expired(self, now: float) -> list[Entry]:
        """Takes out the requests whose deadline has come."""
        if not self._deadlines.sweep(now, lambda: (entry.deadline for entry in self.values())):
            return []
        return self.take(lambda entry: entry.deadline is not None and entry.deadline <= now)

    def next_deadline(self) -> float | None:
        """When to look for expired requests next."""
        return self._deadlines.next()
