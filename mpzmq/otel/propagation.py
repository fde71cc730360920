"""The context of a trace in the metadata of a request, as the propagator of the application writes it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context

from .safety import SAFELY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.propagators.textmap import TextMapPropagator

    from ..handlers.middleware import CallDetails

__all__ = ["carried_keys", "context_in", "with_context"]


def carried_keys() -> tuple[str, ...]:
    """The keys that the propagator writes: W3C's traceparent, tracestate and baggage, if it is that of the API."""
    return _fields_of(propagate.get_global_textmap())


@functools.lru_cache(maxsize=8)
def _fields_of(propagator: TextMapPropagator) -> tuple[str, ...]:
    """They are put together each time that somebody asks; the application sets another propagator once, if at all."""
    return tuple(sorted(propagator.fields))


def context_in(metadata: Mapping[str, Any]) -> Context:
    """The context that came along; an empty one where none did."""
    # What else than text stands there is of somebody who does not keep to the rules, and propagators expect text.
    carrier = {key: value for key in carried_keys() if isinstance(value := metadata.get(key), str)}
    context = Context()
    if carrier:
        with SAFELY:
            context = propagate.extract(carrier, context=context)
    return context


def with_context(call: CallDetails, span: trace.Span, context: Context) -> tuple[CallDetails, Context]:
    """A call whose metadata says that what it causes belongs below a span, and the context that says so here.

    Args:
        call: as it was.
        span: the span.
        context: in which the span was begun.
    """
    inside = trace.set_span_in_context(span, context)
    carrier: dict[str, str] = {}
    with SAFELY:
        propagate.inject(carrier, context=inside)
    return (call.replace(metadata={**call.metadata, **carrier}) if carrier else call), inside
