"""Middleware that makes spans and measures, for either side."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from ..address import parse_address
from ..common.set_module import set_module
from ..common.text import clean, repr_of
from ..container.server import ContainerServer
from ..engine.worker import ComputerEngineWorker
from ..errors import RequestTimeout
from ..models import Executed
from . import conventions as names
from .observed_call import Telemetry
from .observed_items import ObservedItems
from .propagation import carried_keys, context_in, with_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from ..handlers.middleware import CallDetails, Proceed
    from .observed_call import ObservedCall

__all__ = ["client_middleware", "instrument"]


@set_module("mpzmq.otel")
def instrument(
    target: ContainerServer | ComputerEngineWorker,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Makes a span of each request that a server handles, or of each call that a worker sends, and measures it.

    The spans of both sides belong to one trace: the metadata of a request carries its context, as the application's
    propagator writes it. That is what calls made inside a handler carry on, too.

    Args:
        target: a server, or a worker that has not connected yet. What stands around the spans, such as middleware that
            is not to be part of them, is registered before.
        tracer_provider: makes the spans; None: the one that the application has set for the process.
        meter_provider: takes the durations; None: as above.

    Raises:
        TypeError: it is neither of them.
        ValueError: it is instrumented already.
        RuntimeError: the worker has connected already.
    """
    if not isinstance(target, ContainerServer | ComputerEngineWorker):
        raise TypeError(f"a ContainerServer or a ComputerEngineWorker can be instrumented, not {repr_of(target)}")
    if any(isinstance(one, _ServerSpans | _ClientSpans) for one in target.registered_middleware):
        raise ValueError(f"{target!r} is instrumented already")
    providers = tracer_provider, meter_provider
    if isinstance(target, ContainerServer):
        target.middleware(_ServerSpans(Telemetry(SpanKind.SERVER, *providers)))
    else:
        target.middleware(_ClientSpans(Telemetry(SpanKind.CLIENT, *providers), target))
    target.propagate(*carried_keys())


@set_module("mpzmq.otel")
def client_middleware(
    *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Callable[[CallDetails, Proceed], Awaitable[Any]]:
    """What :func:`instrument` registers with a worker, for ``mpzmq.blocking.connect(..., middleware=[...])``.

    Args:
        tracer_provider: as there.
        meter_provider: as there.
    """
    return _ClientSpans(Telemetry(SpanKind.CLIENT, tracer_provider, meter_provider), None)


class _ServerSpans:
    """Around every handler of a server."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """One request."""
        context = context_in(call.metadata)
        observed = self._telemetry.begin(call, context, {})
        # Handlers, and calls inside them that know nothing of spans, see this one's context in the metadata.
        call, observed.inside = with_context(call, observed.span, context)
        contexts.attach(observed.inside)  # for good: each request has a context of its own, which ends with it
        return await _watched(call, proceed, observed)


class _ClientSpans:
    """Around every call of a worker.

    Args:
        telemetry: makes the spans.
        worker: knows where the containers are; None: their names have to do.
    """

    def __init__(self, telemetry: Telemetry, worker: ComputerEngineWorker | None) -> None:
        self._telemetry = telemetry
        self._worker = worker

    async def __call__(self, call: CallDetails, proceed: Proceed) -> Any:
        """One call."""
        context = contexts.get_current()
        if not trace.get_current_span(context).get_span_context().is_valid:
            # A function of a worker has no span, and what it was called with carries that of the container.
            context = context_in(call.metadata) or context
        observed = self._telemetry.begin(call, context, self._server(call))
        call, observed.inside = with_context(call, observed.span, context)
        return await _watched(call, proceed, observed)

    def _server(self, call: CallDetails) -> dict[str, Any]:
        writer = None
        if self._worker is not None and call.remote_id is not None:
            writer = self._worker.get_engine(call.remote_id)
        return _server_attributes(call.peer if writer is None else writer.address)


async def _watched(call: CallDetails, proceed: Proceed, observed: ObservedCall) -> Any:
    """Goes on, and ends the span as the call ends, of what comes piece by piece with its last item."""
    try:
        result = await proceed(call)
        if call.op in ("stream", "channel"):
            return ObservedItems(result, observed)
    except BaseException as error:
        observed.end(_as_told(error, call) if observed.is_client else error)
        raise
    observed.end()
    return result


def _as_told(error: BaseException, call: CallDetails) -> BaseException:
    """What the caller gets: where the worker ends middleware behind the deadline, that is no cancellation."""
    is_cancelled = isinstance(error, asyncio.CancelledError)
    if is_cancelled and call.deadline is not None and asyncio.get_running_loop().time() >= call.deadline:
        return RequestTimeout("its deadline has come", executed=Executed.UNKNOWN)
    return error


@functools.lru_cache(maxsize=1024)
def _server_attributes(address: str) -> dict[str, Any]:
    """Where a call goes, as its span says it."""
    try:
        parsed = parse_address(address)
    except ValueError:  # the source of a group, or a name that the application has given
        return {names.SERVER_ADDRESS: clean(address)}
    if parsed.path:
        return {names.SERVER_ADDRESS: parsed.path}
    return {names.SERVER_ADDRESS: parsed.host, names.SERVER_PORT: parsed.port}
