"""Counters, as immutable snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from .common.set_module import set_module

__all__ = ["GroupStatistics", "ServerStatistics", "Statistics"]


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

    def __add__(self, other: Statistics) -> Statistics:
        rtts = [rtt for rtt in (self.rtt, other.rtt) if rtt is not None]
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
            # The slowest link is what someone who looks at a sum wants to know of.
            rtt=max(rtts) if rtts else None,
        )


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
    """

    issued: int = 0
    replied: int = 0
    failed: int = 0
    cancelled: int = 0
    in_flight: int = 0
    retried: int = 0
    hedged: int = 0
    ejections: int = 0
