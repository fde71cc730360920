"""Counters, as immutable snapshots."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from .common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Durations", "FunctionStatistics", "GroupStatistics", "ServerStatistics", "Statistics", "plain"]


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of how long something took, since ``keep_durations()`` was called.

    Attributes:
        buckets: upper bounds in seconds, the last of them infinity, and how many took no longer than each.
        seconds: the sum of all.
    """

    buckets: tuple[tuple[float, int], ...]
    seconds: float

    @property
    def count(self) -> int:
        """How many they were."""
        return self.buckets[-1][1]

    def __add__(self, other: Durations) -> Durations:
        if [bound for bound, _ in self.buckets] != [bound for bound, _ in other.buckets]:
            raise ValueError("histograms with different buckets cannot be added up")
        pairs = zip(self.buckets, other.buckets, strict=True)
        return Durations(
            tuple((bound, count + more) for (bound, count), (_, more) in pairs), self.seconds + other.seconds
        )


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class Statistics:
    """What has become of the requests of one link, or of all links of a worker.

    ``issued == replied + failed + cancelled + in_flight`` holds at every moment.

    Attributes:
        issued: requests that the application made.
        replied: requests that ended with a reply.
        failed: requests that ended with an error.
        cancelled: requests whose caller was cancelled.
        in_flight: requests that have not ended.
        late: replies to requests that had already ended; dropped.
        resent: requests that were sent again after a reconnect.
        reconnects: how often a lost link came back.
        attempts: redials that failed, over the life of the link.
        rtt: the smoothed round trip of a heartbeat in seconds; None before the first, an interval after the greeting.
        errors: the requests that ended with an error, by the name of its class.
        sent_bytes, received_bytes: of messages to the container, and from it.
        seconds: from when requests were made until their replies, in all; streams do not count here.
        timed: how many requests those seconds are of.
        p50, p99: seconds within which half, and all but one in a hundred, of the last 256 had their replies; None: none
            had one yet. Of several links the slowest counts.
        durations: the same seconds as a histogram; None: none is kept.
    """

    issued: int = 0
    replied: int = 0
    failed: int = 0
    cancelled: int = 0
    in_flight: int = 0
    late: int = 0
    resent: int = 0
    reconnects: int = 0
    attempts: int = 0
    rtt: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict, hash=False)
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    timed: int = 0
    p50: float | None = None
    p99: float | None = None
    durations: Durations | None = None

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            issued=self.issued + other.issued,
            replied=self.replied + other.replied,
            failed=self.failed + other.failed,
            cancelled=self.cancelled + other.cancelled,
            in_flight=self.in_flight + other.in_flight,
            late=self.late + other.late,
            resent=self.resent + other.resent,
            reconnects=self.reconnects + other.reconnects,
            attempts=self.attempts + other.attempts,
            rtt=_slowest(self.rtt, other.rtt),
            errors=dict(Counter(self.errors) + Counter(other.errors)),
            sent_bytes=self.sent_bytes + other.sent_bytes,
            received_bytes=self.received_bytes + other.received_bytes,
            seconds=self.seconds + other.seconds,
            timed=self.timed + other.timed,
            p50=_slowest(self.p50, other.p50),
            p99=_slowest(self.p99, other.p99),
            durations=_both(self.durations, other.durations),
        )

    def totals(self) -> Statistics:
        """What stays of it when the link has ended: what was counted, and nothing that speaks of now."""
        return replace(self, rtt=None, p50=None, p99=None)


def _both(one: Durations | None, other: Durations | None) -> Durations | None:
    return one + other if one is not None and other is not None else one or other


def _slowest(one: float | None, other: float | None) -> float | None:
    """The slowest one is what someone who looks at a sum wants to know of."""
    return one if other is None else other if one is None else max(one, other)


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class FunctionStatistics:
    """What has become of the requests to one function of a container.

    Attributes:
        replied: requests whose handler returned.
        failed: requests whose handler raised, or whose reply could not be carried.
        refused: requests for which no handler ran to do work.
        cancelled: requests whose handler was cancelled.
        rejected: those of the refused ones that were turned away before anything of the application was asked: no such
            function, wrong arguments, no permission, no room, draining ...
        running: requests whose handler is at work.
        queued: requests that wait for their turn.
        seconds: for which handlers were at work in all, with the middleware and the dependencies around them.
        waiting_seconds: for which requests had waited in the container before.
        timed: how many requests those seconds are of: those whose handler, or what stands around it, had begun.
        p50, p99: seconds for which half, and all but one in a hundred, of the last 256 were at work; None: none was. Of
            several containers the slowest counts.
        durations: the same seconds as a histogram; None: none is kept.
    """

    replied: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    rejected: int = 0
    running: int = 0
    queued: int = 0
    seconds: float = 0.0
    waiting_seconds: float = 0.0
    timed: int = 0
    p50: float | None = None
    p99: float | None = None
    durations: Durations | None = None

    def __add__(self, other: FunctionStatistics) -> FunctionStatistics:
        return FunctionStatistics(
            replied=self.replied + other.replied,
            failed=self.failed + other.failed,
            refused=self.refused + other.refused,
            cancelled=self.cancelled + other.cancelled,
            rejected=self.rejected + other.rejected,
            running=self.running + other.running,
            queued=self.queued + other.queued,
            seconds=self.seconds + other.seconds,
            waiting_seconds=self.waiting_seconds + other.waiting_seconds,
            timed=self.timed + other.timed,
            p50=_slowest(self.p50, other.p50),
            p99=_slowest(self.p99, other.p99),
            durations=_both(self.durations, other.durations),
        )

    def totals(self) -> FunctionStatistics:
        """What stays of it when the container is closed: what was counted, and nothing that speaks of now."""
        return replace(self, running=0, queued=0, p50=None, p99=None)


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What has become of the requests that a container read.

    ``received == replied + failed + refused + cancelled + in_flight`` holds at every moment.

    Attributes:
        received: requests read, each counted once.
        replied: requests whose handler returned.
        failed: requests whose handler raised, or whose reply could not be carried.
        refused: requests for which no handler ran to do work: unknown function, draining, ``Refused`` ...
        cancelled: requests whose handler was cancelled, for the engine or its absence, a deadline, or the server's end.
        in_flight: requests whose handler has not ended.
        sessions: engines that are connected.
        undeliverable: replies that their engine has not acknowledged, and can not get any more.
        repeated: requests that came again after a connection was lost: joined, or answered without a second run.
        waiting_bytes: bytes of replies and items that wait in the container for its engines, at most.
        ignored: messages or records that could not be used: malformed, unknown, from before a HELLO, or from a
            connection that another one has superseded.
        functions: the same by function, for those that were asked. What is not a function stands under the word for its
            permission (``"data:invoke"``, ``"state:get"`` ...), all functions that there are not under ``"(unknown)"``.
    """

    received: int = 0
    replied: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    in_flight: int = 0
    sessions: int = 0
    undeliverable: int = 0
    repeated: int = 0
    ignored: int = 0
    waiting_bytes: int = 0
    functions: Mapping[str, FunctionStatistics] = field(default_factory=dict, hash=False)

    def __add__(self, other: ServerStatistics) -> ServerStatistics:
        functions = dict(self.functions)
        for name, one in other.functions.items():
            functions[name] = functions[name] + one if name in functions else one
        return ServerStatistics(
            received=self.received + other.received,
            replied=self.replied + other.replied,
            failed=self.failed + other.failed,
            refused=self.refused + other.refused,
            cancelled=self.cancelled + other.cancelled,
            in_flight=self.in_flight + other.in_flight,
            sessions=self.sessions + other.sessions,
            undeliverable=self.undeliverable + other.undeliverable,
            repeated=self.repeated + other.repeated,
            ignored=self.ignored + other.ignored,
            waiting_bytes=self.waiting_bytes + other.waiting_bytes,
            functions=functions,
        )

    def totals(self) -> ServerStatistics:
        """What stays of it when the container is closed: what was counted, and nothing that speaks of now."""
        functions = {name: one.totals() for name, one in self.functions.items()}
        received = self.received - self.in_flight
        return replace(self, received=received, in_flight=0, sessions=0, waiting_bytes=0, functions=functions)


@set_module("mpzmq")
@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """What has become of the requests to one group, each counted once, however many members were asked.

    ``issued == replied + failed + cancelled + in_flight`` holds at every moment.

    Attributes:
        issued: requests that the application made.
        replied: requests that ended with a reply.
        failed: requests that ended with an error.
        cancelled: requests whose caller was cancelled.
        in_flight: requests that have not ended.
        retried: tries behind the first of a request, with another member.
        hedged: requests that were sent to a second member, because the first took its time.
        ejections: how often a member was ejected.
        errors: the requests that ended with an error, by the name of its class.
        links: the counters of its links, added up, those of members that have left included.
    """

    issued: int = 0
    replied: int = 0
    failed: int = 0
    cancelled: int = 0
    in_flight: int = 0
    retried: int = 0
    hedged: int = 0
    ejections: int = 0
    errors: Mapping[str, int] = field(default_factory=dict, hash=False)
    links: Statistics = field(default_factory=Statistics, repr=False)

    def __add__(self, other: GroupStatistics) -> GroupStatistics:
        return GroupStatistics(
            issued=self.issued + other.issued,
            replied=self.replied + other.replied,
            failed=self.failed + other.failed,
            cancelled=self.cancelled + other.cancelled,
            in_flight=self.in_flight + other.in_flight,
            retried=self.retried + other.retried,
            hedged=self.hedged + other.hedged,
            ejections=self.ejections + other.ejections,
            errors=dict(Counter(self.errors) + Counter(other.errors)),
            links=self.links + other.links,
        )

    def totals(self) -> GroupStatistics:
        """What stays of it when the group is closed: what was counted, and nothing that speaks of now."""
        return replace(self, links=self.links.totals())


def plain(statistics: ServerStatistics) -> dict[str, Any]:
    """The counters of a container as a message or JSON carries them."""
    functions = {name: _plain_function(one) for name, one in statistics.functions.items()}
    return {**_by_name(statistics), "functions": functions}


def _plain_function(one: FunctionStatistics) -> dict[str, Any]:
    durations = one.durations
    if durations is None:
        return _by_name(one)
    # JSON has no infinity, and whoever passes this on as JSON is not to stumble over it.
    buckets = [[None if bound == math.inf else bound, count] for bound, count in durations.buckets]
    return {**_by_name(one), "durations": {"buckets": buckets, "seconds": durations.seconds}}


def _by_name(statistics: ServerStatistics | FunctionStatistics) -> dict[str, Any]:
    return {one.name: getattr(statistics, one.name) for one in fields(statistics)}
