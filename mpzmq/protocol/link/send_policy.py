"""What may leave one link now, and what goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...models import LinkState

if TYPE_CHECKING:
    from ..flow.outbox import OutgoingMessage
    from ..flow.window import SendWindow
    from ..requester.recovery import Resender
    from ..requester.tracker import RequestTracker

__all__ = ["SendPolicy"]

_DRAINING, _CLOSED = LinkState.DRAINING, LinkState.CLOSED


class SendPolicy:
    """Chooses between control records, requests, and the data of streams.

    Args:
        tracker: holds what waits to leave.
        window: how much the container can take.
        recovery: how much may be sent again.
    """

    def __init__(self, tracker: RequestTracker, window: SendWindow, recovery: Resender) -> None:
        self._tracker = tracker
        self._window = window
        self._resender = recovery

    def next_message(self, state: LinkState, running: bool, now: float) -> OutgoingMessage | None:
        """The next message; None: nothing may leave now.

        Args:
            state: of the link, whose ZMTP handshake is done.
            running: whether requests can leave.
            now: the time.
        """
        tracker = self._tracker
        if self._window.has_room() and now >= self._resender.not_before:
            max_items = tracker.may_leave if running else 0
            if max_items != 0:
                return tracker.in_order().next_message(now, max_items=max_items) or tracker.send_streams.next_message(
                    now, max_items=max_items
                )
            if running or state is _DRAINING:
                # What the container had taken before it said GOODBYE, or before it had enough, goes on.
                old = self._begun if running else self._old
                outgoing = old(now) or tracker.send_streams.next_message(now, max_items=0) or old(now)
                if outgoing is not None:
                    return outgoing
        if state is _CLOSED or self._window.has_control_room():
            return tracker.outbox.next_message(now, max_items=0)
        return None

    def _old(self, now: float) -> OutgoingMessage | None:
        """The next message with what is nothing new; such a thing may have come into the outbox just now."""
        count = self._resender.waiting()
        return self._tracker.outbox.next_message(now, max_items=count) if count else None

    def _begun(self, now: float) -> OutgoingMessage | None:
        """The next message with what goes on though no request may leave."""
        outbox = self._tracker.outbox
        if not (self._tracker.send_streams.in_parts or outbox.parts.item):
            return None
        return outbox.next_message(now, max_items=self._tracker.begun_first())

    def requeue(self, outgoing: OutgoingMessage) -> None:
        """The transport did not take a message: it goes first next time."""
        if outgoing.items or outgoing.control or outgoing.part:
            self._tracker.outbox.requeue(outgoing)
        else:
            self._tracker.send_streams.requeue(outgoing)

    def on_sent(self, outgoing: OutgoingMessage, now: float) -> None:
        """The transport has taken a message: its requests may be known to the container from now on."""
        if outgoing.part:
            self._tracker.outbox.on_sent(outgoing)
        again = 0
        for entry in outgoing.items:
            if entry.sent:  # type: ignore[attr-defined]
                again += 1
            else:
                entry.sent = True  # type: ignore[attr-defined]
        if again:
            self._tracker.resent += again
            self._resender.on_sent(again, now)
