"""What traces cost: the same calls with and without them, taken in turns, and the medians.

    python bench/tracing.py [SECONDS]

Engine and container share one process and one event loop, so that a call pays for the spans of both sides. What is made
goes to an exporter that throws it away.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from mpzmq import CallDetails, ComputerEngineWorker, ContainerServer, Proceed, otel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from mpzmq import ComputerEngineWriter

CALLS = 300
WAYS = ("without", "empty middleware", "not sampled", "traced")


class Nowhere(SpanExporter):
    """Throws spans away."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def nothing(call: CallDetails, proceed: Proceed) -> object:
    return await proceed(call)


async def scene(way: str, stack: AsyncExitStack) -> ComputerEngineWriter:
    server, worker = ContainerServer(), ComputerEngineWorker()
    server.function(lambda a, b: a + b, name="add")
    if way == "empty middleware":
        server.middleware(nothing)
        worker.middleware(nothing)
    elif way != "without":
        tracers = TracerProvider(sampler=ALWAYS_ON if way == "traced" else ALWAYS_OFF)
        tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
        meters = MeterProvider([InMemoryMetricReader()])
        otel.instrument(server, tracer_provider=tracers, meter_provider=meters)
        otel.instrument(worker, tracer_provider=tracers, meter_provider=meters)
    await stack.enter_async_context(server)
    await stack.enter_async_context(worker)
    return await worker.connect(await server.bind("tcp://127.0.0.1:0"))


async def one_by_one(container: ComputerEngineWriter) -> None:
    for _ in range(CALLS):
        await container.call("add", 1, 2)


async def together(container: ComputerEngineWriter) -> None:
    await asyncio.gather(*[container.call("add", 1, 2) for _ in range(CALLS)])


async def main(seconds: float) -> None:
    async with AsyncExitStack() as stack:
        containers = {way: await scene(way, stack) for way in WAYS}
        for load in (one_by_one, together):
            took: dict[str, list[float]] = {way: [] for way in WAYS}
            end = time.monotonic() + seconds / 2
            while time.monotonic() < end:
                for way, container in containers.items():
                    began = time.perf_counter()
                    await load(container)
                    took[way].append((time.perf_counter() - began) / CALLS * 1e6)
            base = statistics.median(took[WAYS[0]])
            for way in WAYS:
                median = statistics.median(took[way])
                print(f"{load.__name__:<11} {way:<17} {median:6.0f} us a call {median / base:6.2f}")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
