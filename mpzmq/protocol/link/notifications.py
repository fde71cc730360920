"""What the application is to be told of one link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...events import LinkBusy, LinkDown, LinkEvent, LinkUp
from ..effects import PublishEvents

if TYPE_CHECKING:
    from uuid import UUID

    from ...failure import Failure
    from ..effect_queue import EffectQueue
    from ..health.diagnostics import LinkDiagnostics
    from ..requester.error_factory import RequestErrors

__all__ = ["LinkEventSource"]


class LinkEventSource:
    """Makes the events of one link, and puts them among its effects."""

    def __init__(self, error_factory: RequestErrors, diagnostics: LinkDiagnostics, effects: EffectQueue) -> None:
        self._effects = effects
        self._is_busy_told = False
        self._error_factory = error_factory
        self._diagnostics = diagnostics

    def tell(self, event: type[LinkEvent], reason: str, now: float, **facts: Any) -> None:
        """One more."""
        errors = self._error_factory
        self._effects.add(PublishEvents, event(errors.remote_id, errors.name, now, reason, **facts))

    def up(self, reason: str, now: float, instance: UUID | None, *, reconnected: bool) -> None:
        """The container can be talked to."""
        self.tell(LinkUp, reason, now, instance=instance, reconnected=reconnected)

    def on_heard(self) -> None:
        """Something was heard, or a connection begins: the next silence is another."""
        self._is_busy_told = False

    def busy(self, silence: float, now: float) -> None:
        """Nothing was heard of the container for some seconds; told once in a silence."""
        if self._is_busy_told:
            return
        self._is_busy_told = True
        reason = f"no answer for {silence:.1f} s, but its process may still live{self._diagnostics.local_lag_note()}"
        self.tell(LinkBusy, reason, now, evidence=self._diagnostics.snapshot())

    def down(self, failure: Failure, now: float) -> None:
        """The connection is lost."""
        reason = failure.detail + self._diagnostics.local_lag_note()
        self.tell(LinkDown, reason, now, evidence=self._diagnostics.snapshot())
