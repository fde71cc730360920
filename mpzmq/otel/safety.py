"""What the application has given OpenTelemetry may fail: a request goes on without its span."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..common.logs import Log, LogRateLimit

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SAFELY"]

log = Log(__name__)


class _Safely:
    """Around calls into OpenTelemetry: what processors, samplers and propagators raise is logged, once in a while."""

    def __init__(self) -> None:
        self._lines = LogRateLimit()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if self._lines.allows(time.monotonic()):
            log.error("telemetry has failed, and requests go on without it", exc_info=error)
        return True


SAFELY: Final = _Safely()
