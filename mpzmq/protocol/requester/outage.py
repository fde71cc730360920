"""For how long the other side has been away, and which requests that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pending import DeadlineSweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tracker import RequestTracker

__all__ = ["Outage"]


class Outage:
    """Counts the seconds of DOWN since the last WELCOME, and ends what waits for no more of them (``lost_after``).

    It ends only what has left. Nothing leaves while a link is DOWN, so all that may have to end is known as soon as the
    count begins, and a request that is issued or answered costs nothing here.

    Args:
        tracker: the requests.
    """

    def __init__(self, tracker: RequestTracker) -> None:
        self._tracker = tracker
        self._counted = 0.0  # before the count was paused
        self._since: float | None = None  # when it would have begun without a pause; None: it does not run
        self._ends = DeadlineSweep()

    def begin(self, now: float) -> None:
        """The link is DOWN: the count begins, or goes on."""
        if self._since is None:
            self._since = now - self._counted
            self._ends = DeadlineSweep()
            for end in self._each_end():
                self._ends.add(end)

    def pause(self, now: float) -> None:
        """A process was reached that has not said WELCOME yet: it is busy, and not away."""
        if self._since is not None:
            self._counted, self._since = now - self._since, None

    def end(self) -> None:
        """WELCOME: whatever is lost next is counted from its beginning."""
        self._counted, self._since = 0.0, None

    def next_end(self) -> float | None:
        """When :meth:`expire` has something to do next; None: not before something else happens."""
        return None if self._since is None else self._ends.next()

    def expire(self, now: float, why: str) -> list[bytes]:
        """Ends the requests that do not wait any longer.

        Args:
            now: the time.
            why: what is known of the loss, in words.

        Returns:
            Their tags: all of them have left.
        """
        since = self._since
        if since is None or not self._ends.sweep(now, self._each_end):
            return []
        error_factory = self._tracker.error_factory
        return self._tracker.end_those(
            lambda entry: entry.sent and entry.lost_after is not None and since + entry.lost_after <= now,
            lambda entry: error_factory.away(entry, why),
        )

    def _each_end(self) -> Iterator[float]:
        assert self._since is not None
        for entry in self._tracker.pending.values():
            if entry.sent and entry.lost_after is not None:
                yield self._since + entry.lost_after
