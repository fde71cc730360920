"""What may leave one link now, and what goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...models import LinkState
from ..requester.recovery import Resender

if TYPE_CHECKING:
    from ..flow.outbox import OutgoingMessage
    from ..flow.window import SendWindow
    from ..requester.requester import Requester

__all__ = ["SendPolicy"]

_DRAINING: Final = LinkState.DRAINING
_CLOSED: Final = LinkState.CLOSED


class SendPolicy:
    """Chooses between control records, requests, and the data of streams.

    Args:
        requester: what waits to leave.
        window: how much the container can take.
        in_flight: how many requests there may be.
        now: the time.
    """

    def __init__(self, requester: Requester, window: SendWindow, in_flight: int, now: float) -> None:
        self._tracker = requester.tracker
        self._window = window
        self._resender = Resender(requester, in_flight, now)

    def on_reconnected(self, instance_changed: bool, resumed: bool, now: float) -> None:
        """The container has said WELCOME on a new connection; see :meth:`Resender.begin`."""
        self._resender.begin(instance_changed, resumed, now)

    def next_try(self, now: float) -> float | None:
        """When requests may leave that may not now, since too many were sent again; None: they may."""
        return self._resender.next_try(now)

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

    def on_sent(self, outgoing: OutgoingMessage, now: float) -> None:
        """The transport has taken a message: its requests may be known to the container from now on."""
        if outgoing.part:
            outgoing.origin.on_sent(outgoing)
        again = 0
        for entry in outgoing.items:
            if entry.sent:  # type: ignore[attr-defined]
                again += 1
            else:
                entry.sent = True  # type: ignore[attr-defined]
        if again:
            self._tracker.resent += again
            self._resender.on_sent(again, now)
