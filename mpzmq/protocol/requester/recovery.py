"""What was under way when a connection broke, and how it goes on on the next one."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from .outage import Outage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tracker import RequestTracker

__all__ = ["ResendBudget", "Resender", "UnconfirmedCancels"]


class Resender:
    """Sends again what the container may not have got, or whose answer may not have come.

    Args:
        tracker: the requests.
        in_flight: how many of them there may be.
        now: the time.

    Attributes:
        cancels: what was cancelled, and may not be known to the container.
        outage: for how long the container has been away.
        not_before: when requests may leave, if there was too much to send again.
    """

    def __init__(self, tracker: RequestTracker, in_flight: int, now: float) -> None:
        self.cancels = UnconfirmedCancels(in_flight)
        self.outage = Outage(tracker)
        self.not_before = now
        self._tracker = tracker
        self._budget = ResendBudget(in_flight, now)
        self._resending = False

    def expire(self, now: float, why: str) -> None:
        """Ends what waits no longer for a container that is away; if that comes back, it is told to end it, too."""
        for tag in self.outage.expire(now, why):
            self.cancels.add(tag)

    def begin(self, instance_changed: bool, resumed: bool, now: float) -> None:
        """The container has said WELCOME on a new connection.

        Args:
            instance_changed: whether it is another process than before.
            resumed: whether it knows the session.
            now: the time.
        """
        why = None
        if instance_changed:
            why = "the container was restarted"
        elif not resumed:
            why = "the container is the same, but has forgotten this session"
        if why is not None:
            self.cancels.clear()
            self._tracker.reply_acks.clear()
        self._resending = self._tracker.on_reconnected(why, instance_changed=instance_changed) > 0

    def waiting(self) -> int:
        """How many items stand in front that a container that drains takes: it takes no new requests."""
        count = self._tracker.old_first() if self._resending or self._tracker.send_streams.in_parts else 0
        self._resending = count > 0
        return count

    def next_try(self, now: float) -> float | None:
        """When requests may leave that may not now; None: they may."""
        return self.not_before if self.not_before > now else None

    def on_sent(self, count: int, now: float) -> None:
        """So many requests have left that had been sent before."""
        self.not_before = self._budget.spend(count, now)


class ResendBudget:
    """Requests that may be sent again: ``burst`` at once, and as many a second after that.

    It delays, by a second at most, and never refuses: what waits is bounded by the requests in flight.
    """

    def __init__(self, burst: int, now: float) -> None:
        self._burst = float(burst)
        self._left = float(burst)
        self._counted_at = now

    def spend(self, count: int, now: float) -> float:
        """Requests leave again.

        Returns:
            When the next ones may: now, or when what is overdrawn has been made up for.
        """
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._burst) - count
        self._left = max(self._left, -self._burst)
        self._counted_at = now
        return now if self._left >= 0 else now - self._left / self._burst


class UnconfirmedCancels:
    """The last of them, to be said again on the next connection. Said twice, a CANCEL does no harm.

    Args:
        max_ids: how many are remembered.
    """

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._tags: OrderedDict[bytes, None] = OrderedDict()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._tags)

    def add(self, tag: bytes) -> None:
        """A request that has left was cancelled."""
        self._tags[tag] = None
        if len(self._tags) > self._max_ids:
            self._tags.popitem(last=False)

    def discard(self, tag: bytes) -> None:
        """Its caller has issued the id again: it is to run."""
        self._tags.pop(tag, None)

    def clear(self) -> None:
        """All have been read, or there is nobody left who would know the requests."""
        self._tags.clear()
