"""One call as a span and as a measurement."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from .._version import __version__
from ..common.logs import traceback_text
from ..common.text import clean, text_of
from ..errors import InvalidArguments, NotPermitted, Overloaded, Refused, RemoteError, RequestError
from ..models import Executed
from . import conventions as names
from .safety import SAFELY

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from ..handlers.middleware import CallDetails

__all__ = ["ObservedCall", "Telemetry"]

_REFUSALS = (Refused, NotPermitted, Overloaded, InvalidArguments)
"""What a container answers by: that is no failure of its own."""


class Telemetry:
    """Makes the spans of one side, and measures its calls.

    Args:
        kind: which side.
        tracer_provider: makes the tracer; None: the one that the application has set.
        meter_provider: the same for the histogram.
    """

    def __init__(
        self,
        kind: SpanKind,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        self.kind = kind
        self._tracer = trace.get_tracer("mpzmq", __version__, tracer_provider, names.SCHEMA_URL)
        meter = metrics.get_meter("mpzmq", __version__, meter_provider, names.SCHEMA_URL)
        is_client = kind is SpanKind.CLIENT
        self.histogram = meter.create_histogram(
            names.CLIENT_DURATION if is_client else names.SERVER_DURATION,
            unit="s",
            description=f"Measures the duration of an {'outgoing' if is_client else 'incoming'} call.",
            explicit_bucket_boundaries_advisory=names.BUCKETS,
        )

    def begin(self, call: CallDetails, context: Context, more: dict[str, Any]) -> ObservedCall:
        """A call begins.

        Args:
            call: which one.
            context: what it belongs below.
            more: attributes of the span.
        """
        measured: dict[str, Any] = {names.RPC_SYSTEM: names.SYSTEM}
        if call.function is not None:
            measured[names.RPC_METHOD] = clean(call.function)
        attributes = {**measured, names.OPERATION: call.op, names.PEER: clean(call.peer), **more}
        if call.request_id is not None:
            attributes[names.REQUEST_ID] = str(call.request_id)
        name = measured.get(names.RPC_METHOD, names.SYSTEM)
        span: trace.Span = trace.INVALID_SPAN
        with SAFELY:
            span = self._tracer.start_span(name, context, self.kind, attributes)
        return ObservedCall(self, span, measured)


class ObservedCall:
    """A call that has not ended.

    Args:
        telemetry: takes its duration.
        span: its span.
        measured: the attributes of the measurement.

    Attributes:
        span: its span.
        inside: the context of what it causes.
        is_client: which side it is seen from.
    """

    __slots__ = ("_began", "_has_ended", "_histogram", "_measured", "inside", "is_client", "span")

    def __init__(self, telemetry: Telemetry, span: trace.Span, measured: dict[str, Any]) -> None:
        self.span = span
        self.inside: Context | None = None
        self.is_client = telemetry.kind is SpanKind.CLIENT
        self._histogram = telemetry.histogram
        self._measured = measured
        self._has_ended = False
        self._began = time.perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """It has ended; a second time nothing happens."""
        if self._has_ended:
            return
        self._has_ended = True
        seconds = time.perf_counter() - self._began
        if error is not None:
            kind = self._measured[names.ERROR_TYPE] = _class_name(error)
            with SAFELY:
                if self.span.is_recording():
                    self.span.set_attributes({names.ERROR_TYPE: kind, **self._facts(error)})
                    self._tell(kind, error)
        with SAFELY:
            self._histogram.record(seconds, self._measured, self.inside)
        with SAFELY:
            self.span.end()

    def add_event(self, name: str, count: int | None = None) -> None:
        """Something has happened to its items.

        Args:
            name: of the event.
            count: of the items until now, if that is to be told, too.
        """
        with SAFELY:
            if count is None:
                self.span.add_event(name)
            else:
                self.span.add_event(name, {names.ITEMS: count})
                self.span.set_attribute(names.ITEMS, count)

    def _facts(self, error: BaseException) -> dict[str, Any]:
        if not self.is_client:
            return {names.EXECUTED: str(Executed.NO)} if isinstance(error, _REFUSALS) else {}
        if not isinstance(error, RequestError):
            return {}
        facts: dict[str, Any] = {names.EXECUTED: str(error.executed)}
        if error.request_id is not None:
            facts[names.REQUEST_ID] = str(error.request_id)
        if isinstance(error, RemoteError):
            facts[names.REMOTE_TYPE] = clean(error.error_type)
            if error.code is not None:
                facts[names.REMOTE_CODE] = clean(error.code)
        return facts

    def _tell(self, kind: str, error: BaseException) -> None:
        """The status of the span, and what was raised."""
        text = text_of(error)
        if self.is_client:
            self.span.set_status(Status(StatusCode.ERROR, text))
        elif not isinstance(error, (*_REFUSALS, asyncio.CancelledError)):
            self.span.set_status(Status(StatusCode.ERROR, text))
            told = {names.EXCEPTION_TYPE: kind, names.EXCEPTION_MESSAGE: text}
            self.span.add_event(names.EXCEPTION, {**told, names.EXCEPTION_STACKTRACE: traceback_text(error)})


def _class_name(error: BaseException) -> str:
    kind = type(error)
    return clean(kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}")
