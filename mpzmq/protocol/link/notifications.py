"""What the application is to be told of one link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...events import LinkBusy, LinkDown, LinkEvent, LinkUp

if TYPE_CHECKING:
    from uuid import UUID

    from ...failure import Failure
    from ..health.diagnostics import LinkDiagnostics
    from ..requester.error_factory import RequestErrors

__all__ = ["LinkEventSource"]


class LinkEventSource:
    """Makes the events of one link.

    Attributes:
        events: those that were made since this was last emptied.
    """

    def __init__(self, error_factory: RequestErrors, diagnostics: LinkDiagnostics) -> None:
        self.events: list[LinkEvent] = []
        self._error_factory = error_factory
        self._diagnostics = diagnostics

    def tell(self, event: type[LinkEvent], reason: str, now: float, **facts: Any) -> None:
        """One more."""
        self.events.append(event(self._error_factory.remote_id, self._error_factory.name, now, reason, **facts))

    def up(self, reason: str, now: float, instance: UUID | None, *, reconnected: bool) -> None:
        """The container can be talked to."""
        self.tell(LinkUp, reason, now, instance=instance, reconnected=reconnected)

    def busy(self, silence: float, now: float) -> None:
        """Nothing was heard of the container for some seconds."""
        reason = f"no answer for {silence:.1f} s, but its process may still live{self._diagnostics.local_lag_note()}"
        self.tell(LinkBusy, reason, now, evidence=self._diagnostics.snapshot())

    def down(self, failure: Failure, now: float) -> None:
        """The connection is lost."""
        reason = failure.detail + self._diagnostics.local_lag_note()
        self.tell(LinkDown, reason, now, evidence=self._diagnostics.snapshot())
