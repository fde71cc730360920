"""What has gone over a link: bytes, and how long replies took."""

from __future__ import annotations

from typing import Any

from ...common.timings import Timings

__all__ = ["LinkTraffic"]


class LinkTraffic:
    """What has gone over one link, on all of its connections.

    Attributes:
        sent_bytes: of messages to the container.
        received_bytes: of messages from it; whoever reads them counts.
        timings: from when requests were made until their replies; whoever makes them knows.
    """

    __slots__ = ("received_bytes", "sent_bytes", "timings")

    def __init__(self) -> None:
        self.sent_bytes = self.received_bytes = 0
        self.timings = Timings()

    def counters(self) -> dict[str, Any]:
        """All of it, by the names of :class:`mpzmq.Statistics`."""
        return {
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "seconds": self.timings.seconds,
            "timed": self.timings.count,
            "durations": self.timings.durations(),
            **self.timings.quantiles(),
        }
