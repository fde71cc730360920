"""What has become of the requests to handlers, by function."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ..common.logs import RequestFacts
from ..common.timings import Timings
from ..protocol.requester.request import request_in_words
from ..runtime.request_log import REQUEST_LOG
from ..statistics import FunctionStatistics
from .admission import PERMISSIONS
from .state_changes import BEHIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..protocol.responder.responder import Responder
    from ..protocol.wire.records import Record
    from .admission import Admission
    from .invocation import Invocation
    from .registry import Function

__all__ = ["CANCELLED", "FAILED", "REFUSED", "REPLIED", "RequestCounters"]

REPLIED: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
CANCELLED: Final = 3
"""How a request ends. Ints and no members of an enum: looking one up takes 0.1 us (Python 3.11)."""

_OUTCOMES: Final = ("replied", "failed", "refused", "cancelled")
"""The same in words."""

UNKNOWN = "(unknown)"
"""Stands for all functions that there are not: whoever calls chooses the names, and they are not counted apart."""

_perf_counter: Final = time.perf_counter


class FunctionCounters:
    """Those of one function.

    Args:
        name: of the function.

    Attributes:
        outcomes: requests that have ended, by how.
        rejected: those of them that were turned away before anything of the application was asked.
        timings: for how long they were at work.
        waiting_seconds: for which they had waited before that, in all.
    """

    __slots__ = ("name", "outcomes", "rejected", "timings", "waiting_seconds")

    def __init__(self, name: str, timings: Timings) -> None:
        self.name = name
        self.outcomes = [0, 0, 0, 0]
        self.rejected = 0
        self.timings = timings
        self.waiting_seconds = 0.0


class RequestCounters:
    """Those of one dispatcher.

    ``received == ended + in flight`` holds at every moment.

    Args:
        admission: knows the functions.
        running: the requests that have not ended, as the dispatcher has them.

    Attributes:
        received: requests that were read, each counted once.
        ended: those of them that have ended.
        read_at: when the burst was read that is being started, by :func:`time.perf_counter`.
    """

    def __init__(self, admission: Admission, running: Mapping[Any, Invocation]) -> None:
        self.received = self.ended = 0
        self.read_at = 0.0
        self._admission = admission
        self._running = running
        self._of: dict[Function | None, FunctionCounters] = {}
        self._by_name: dict[str, FunctionCounters] = {}
        self._buckets: tuple[float, ...] | None = None

    def on_ended(self, running: Invocation, outcome: int) -> None:
        """A request that was taken has ended."""
        self.ended += 1
        counters = self._of.get(running.handler) or self._counters_of(running)
        counters.outcomes[outcome] += 1
        began = running.began
        if began:
            counters.timings.add(_perf_counter() - began)
            counters.waiting_seconds += began - running.read_at
        if REQUEST_LOG.is_on:
            now = _perf_counter()
            began = began or now
            worked, waited = now - began, began - running.read_at
            REQUEST_LOG.handled(running, running.what, running.user_name, _OUTCOMES[outcome], worked, waited)

    def on_rejected(self, peer: Responder, tag: bytes, record: Record, outcome: int) -> None:
        """A request has ended before anything of the application was asked.

        Args:
            peer: who asks.
            tag: the id of the request.
            record: the REQUEST.
            outcome: whether it was refused or cancelled, or this side has failed over it.
        """
        self.ended += 1
        _, _, _, _, op, name, *_ = record
        counters = self._find(self._admission.find(op, name), op)
        counters.outcomes[outcome] += 1
        counters.rejected += outcome == REFUSED
        if REQUEST_LOG.is_on:
            user = None if peer.user is None else peer.user.name
            waited = _perf_counter() - self.read_at
            facts = RequestFacts.of(tag, name, peer.name)
            REQUEST_LOG.handled(facts, request_in_words(op, name), user, _OUTCOMES[outcome], 0.0, waited)

    def by_function(self) -> dict[str, FunctionStatistics]:
        """A snapshot, function by function. May be called from any thread."""
        at_work: dict[FunctionCounters, list[int]] = {}
        for one in list(self._running.values()):
            waits = one.ticket is not None and one.ticket.is_waiting
            at_work.setdefault(self._counters_of(one), [0, 0])[waits] += 1
        return {
            name: _snapshot(counters, *at_work.get(counters, (0, 0))) for name, counters in list(self._by_name.items())
        }

    def at_work(self) -> Iterator[str]:
        """The functions whose handlers have begun, a name for each request."""
        for one in list(self._running.values()):
            if one.started and not one.ended:
                yield self._counters_of(one).name

    def keep_durations(self, buckets: tuple[float, ...] | None) -> None:
        """From now on there is a histogram for each function, with these upper bounds in seconds; None: no change.

        Raises:
            ValueError: there are some already with others.
        """
        if buckets is not None:
            self._buckets = buckets
            for counters in list(self._by_name.values()):
                counters.timings.keep(buckets)

    def _counters_of(self, running: Invocation) -> FunctionCounters:
        function: Function | None = running.handler
        if function is BEHIND:
            function = self._admission.find(running.op, running.function)
        return self._find(function, running.op)

    def _find(self, function: Function | None, op: int) -> FunctionCounters:
        counters = self._of.get(function)
        if counters is None:
            name = UNKNOWN if function is None else function.name or PERMISSIONS[op]
            # A function may have one of those words for its name: then both are counted as one, and the sums are right.
            # At once, for the event loop and a thread that asks may both be the first.
            counters = self._by_name.setdefault(name, FunctionCounters(name, Timings(self._buckets)))
            self._of[function] = counters
        return counters


def _snapshot(counters: FunctionCounters, running: int, queued: int) -> FunctionStatistics:
    replied, failed, refused, cancelled = counters.outcomes
    return FunctionStatistics(
        replied=replied,
        failed=failed,
        refused=refused,
        cancelled=cancelled,
        rejected=counters.rejected,
        running=running,
        queued=queued,
        seconds=counters.timings.seconds,
        waiting_seconds=counters.waiting_seconds,
        timed=counters.timings.count,
        durations=counters.timings.durations(),
        **counters.timings.quantiles(),
    )
