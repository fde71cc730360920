"""Spans and durations, as the SDK gets them: no exporter of ours, and real containers."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from uuid import uuid4

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.semconv._incubating.attributes import rpc_attributes
from opentelemetry.semconv._incubating.metrics import rpc_metrics
from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    InvalidArguments,
    Overloaded,
    Proceed,
    Refused,
    RemoteError,
    RequestContext,
    RequestTimeout,
    Unsupported,
    blocking,
    otel,
)
from mpzmq.common.logs import LogRateLimit
from mpzmq.otel import conventions as names
from mpzmq.otel.safety import SAFELY
from tests.support.waiting import SECONDS, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from mpzmq import ComputerEngineWriter

CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER


class Sink(NamedTuple):
    """Where spans and durations go."""

    spans: InMemorySpanExporter
    tracers: TracerProvider
    metrics: InMemoryMetricReader
    meters: MeterProvider

    def instrument(self, *targets: Any) -> None:
        for target in targets:
            otel.instrument(target, tracer_provider=self.tracers, meter_provider=self.meters)

    async def ended(self, count: int) -> list[ReadableSpan]:
        """The spans, when there are so many: the container's may end behind the caller's."""
        await until(lambda: len(self.spans.get_finished_spans()) >= count)
        spans = self.spans.get_finished_spans()
        assert len(spans) == count, [(span.name, span.kind) for span in spans]
        return sorted(spans, key=lambda span: (span.start_time or 0, span.kind is SERVER))

    def durations(self) -> dict[str, list[Any]]:
        data = self.metrics.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "mpzmq" and scope.scope.schema_url == names.SCHEMA_URL
        assert {metric.unit for metric in scope.metrics} == {"s"}
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def sink() -> Iterator[Sink]:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([metrics], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    yield Sink(spans, tracers, metrics, meters)
    tracers.shutdown()
    meters.shutdown()


def desk() -> ContainerServer:
    server = ContainerServer(name="desk")
    server.on_invoke(lambda data: data)

    @server.function
    def add(a: int, b: int) -> int:
        return a + b

    @server.function
    async def trace_id(delay: float) -> str:
        await asyncio.sleep(delay)
        return f"{trace.get_current_span().get_span_context().trace_id:x}"

    @server.function(thread=True)
    def trace_id_in_thread() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:x}"

    @server.function
    def fail() -> None:
        raise ValueError("no \udc80")

    @server.function
    def decline() -> None:
        raise RemoteError("declined", code="funds")

    @server.function
    def refuse() -> None:
        raise Refused("not today")

    @server.function
    async def wait() -> None:
        await asyncio.Event().wait()

    @server.function
    async def count(to: int, fail: bool = False) -> AsyncIterator[int]:
        for number in range(to):
            yield number
        if fail:
            raise LookupError("no more")

    @server.function
    async def total(items: AsyncIterator[int]) -> int:
        return sum([item async for item in items])

    @server.function
    async def double(items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in items:
            yield 2 * item

    return server


@pytest.fixture
async def container(sink: Sink) -> AsyncIterator[ComputerEngineWriter]:
    server, worker = desk(), ComputerEngineWorker()
    sink.instrument(server, worker)
    async with server, worker:
        yield await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="here")


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_the_names_are_those_of_the_conventions() -> None:
    assert names.RPC_SYSTEM == rpc_attributes.RPC_SYSTEM_NAME
    assert names.RPC_METHOD == rpc_attributes.RPC_METHOD
    assert names.CLIENT_DURATION == rpc_metrics.RPC_CLIENT_CALL_DURATION
    assert names.SERVER_DURATION == rpc_metrics.RPC_SERVER_CALL_DURATION
    assert names.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert (names.SERVER_ADDRESS, names.SERVER_PORT) == (
        server_attributes.SERVER_ADDRESS,
        server_attributes.SERVER_PORT,
    )
    given = names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE, names.EXCEPTION_STACKTRACE
    assert given == (
        exception_attributes.EXCEPTION_TYPE,
        exception_attributes.EXCEPTION_MESSAGE,
        exception_attributes.EXCEPTION_STACKTRACE,
    )


async def test_a_call_is_a_span_on_both_sides(container: ComputerEngineWriter, sink: Sink) -> None:
    chosen = uuid4()
    assert await container.call("add", 1, 2, request_id=chosen) == 3
    client, server = await sink.ended(2)
    assert (client.name, client.kind, server.name, server.kind) == ("add", CLIENT, "add", SERVER)
    assert client.context is not None and server.context is not None
    assert client.parent is None and parent_of(server) == client.context.span_id
    assert server.context.trace_id == client.context.trace_id
    host, _, port = container.address.removeprefix("tcp://").partition(":")
    shared = {
        "rpc.system.name": "mpzmq",
        "rpc.method": "add",
        "mpzmq.operation": "call",
        "mpzmq.request_id": str(chosen),
    }
    assert facts(client) == {**shared, "mpzmq.peer": "here", "server.address": host, "server.port": int(port)}
    assert facts(server).items() >= shared.items() and facts(server)["mpzmq.peer"]
    assert {span.status.status_code for span in (client, server)} == {StatusCode.UNSET}
    durations = sink.durations()
    assert set(durations) == {"rpc.client.call.duration", "rpc.server.call.duration"}
    for span, name in ((client, "rpc.client.call.duration"), (server, "rpc.server.call.duration")):
        (point,) = durations[name]
        assert dict(point.attributes) == {"rpc.system.name": "mpzmq", "rpc.method": "add"}
        assert point.explicit_bounds == names.BUCKETS and point.count == 1
        assert span.start_time and span.end_time and 0 < point.sum <= (span.end_time - span.start_time) / 1e9


async def test_a_plain_request_has_no_method(container: ComputerEngineWriter, sink: Sink) -> None:
    assert await container.request("data") == "data"
    for span in await sink.ended(2):
        assert span.name == "mpzmq" and "rpc.method" not in facts(span)


async def test_one_trace_from_the_application_through_the_engine_and_back(sink: Sink) -> None:
    front, back, worker, inside = desk(), desk(), ComputerEngineWorker(), ComputerEngineWorker()
    sink.instrument(front, back, worker, inside)

    @front.function
    async def ask(context: RequestContext) -> Any:
        return await context.call("relay")

    async with front, back, worker, inside:
        here = await worker.connect(await front.bind("tcp://127.0.0.1:0"))
        there = await worker.connect(await back.bind("tcp://127.0.0.1:0"))
        below = await inside.connect(there.address)

        @front.function
        async def beside() -> Any:
            return await below.call("add", 1, 2)

        @worker.function
        async def relay() -> Any:
            return await there.call("add", 3, 4)

        with sink.tracers.get_tracer("application").start_as_current_span("application"):
            assert await here.call("ask") == 7
        spans = await sink.ended(5)
        assert [span.name for span in spans] == ["application", "ask", "ask", "add", "add"]
        sink.spans.clear()
        assert await here.call("beside") == 3
        others = await sink.ended(4)
        assert [span.kind for span in others] == [CLIENT, SERVER, CLIENT, SERVER]
    for chain in (spans, others):
        for outer, inner in itertools.pairwise(chain):
            assert outer.context is not None and parent_of(inner) == outer.context.span_id
    assert spans[0].context is not None and others[0].context is not None
    assert spans[0].context.trace_id != others[0].context.trace_id


async def test_a_worker_without_spans_carries_the_trace_on(sink: Sink) -> None:
    front, back, plain = desk(), desk(), ComputerEngineWorker()
    sink.instrument(front, back)
    async with front, back, plain:
        here = await plain.connect(await front.bind("tcp://127.0.0.1:0"))
        there = await plain.connect(await back.bind("tcp://127.0.0.1:0"))

        @front.function
        async def beside() -> Any:
            return await there.call("add", 1, 2)

        sent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": 5}
        assert await here.options(metadata=sent).call("beside") == 3
        outer, inner = await sink.ended(2)
    assert parent_of(outer) == 0xB7AD6B7169203331
    assert outer.context is not None and parent_of(inner) == outer.context.span_id


@pytest.mark.parametrize(
    "sent", [5, b"00", ["00"], None, "", "00-" + "f" * 100_000, "\udc80".encode("utf-8", "replace")]
)
async def test_whatever_stands_in_the_metadata_a_trace_begins(
    container: ComputerEngineWriter, sink: Sink, sent: Any
) -> None:
    async with ComputerEngineWorker() as plain:
        stranger = await plain.connect(container.address)
        metadata = {"traceparent": sent, "tracestate": sent, "baggage": sent}
        assert await stranger.options(metadata=metadata).call("add", 1, 2) == 3
    (span,) = await sink.ended(1)
    assert span.parent is None


async def test_baggage_goes_along(container: ComputerEngineWriter, sink: Sink) -> None:
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        seen = await asyncio.create_task(container.call("add", 1, 2))
    finally:
        context.detach(token)
    assert seen == 3
    assert len(await sink.ended(2)) == 2


async def test_what_a_handler_raises(container: ComputerEngineWriter, sink: Sink) -> None:
    with pytest.raises(RemoteError):
        await container.call("fail")
    client, server = await sink.ended(2)
    assert client.status.status_code is server.status.status_code is StatusCode.ERROR
    assert facts(client)["error.type"] == "mpzmq.RemoteError" and facts(server)["error.type"] == "ValueError"
    assert (facts(client)["mpzmq.executed"], facts(client)["mpzmq.remote_error.type"]) == ("YES", "ValueError")
    assert facts(client)["mpzmq.request_id"] == facts(server)["mpzmq.request_id"]
    (event,) = server.events
    assert event.name == "exception" and event.attributes is not None and not client.events
    assert event.attributes["exception.message"] == "no ?"
    assert "Traceback" in str(event.attributes["exception.stacktrace"])
    (point,) = sink.durations()["rpc.client.call.duration"]
    assert dict(point.attributes or {})["error.type"] == "mpzmq.RemoteError"
    sink.spans.clear()
    with pytest.raises(RemoteError):
        await container.call("decline")
    client, _ = await sink.ended(2)
    assert facts(client)["mpzmq.remote_error.code"] == "funds"


async def test_a_refusal_is_no_failure_of_the_container(container: ComputerEngineWriter, sink: Sink) -> None:
    with pytest.raises(Refused):
        await container.call("refuse")
    client, server = await sink.ended(2)
    assert (client.status.status_code, server.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    for span in (client, server):
        assert (facts(span)["error.type"], facts(span)["mpzmq.executed"]) == ("mpzmq.Refused", "NO")
    sink.spans.clear()
    for refusal, function in ((Unsupported, "missing"), (InvalidArguments, "add")):
        with pytest.raises(refusal):
            await container.call(function)
        (client,) = await sink.ended(1)  # no handler, no middleware
        assert facts(client)["error.type"] == f"mpzmq.{refusal.__name__}"
        sink.spans.clear()


async def test_a_cancellation_and_a_deadline(container: ComputerEngineWriter, sink: Sink) -> None:
    waiting = asyncio.create_task(container.call("wait"))
    async with asyncio.timeout(SECONDS):  # before its handler has begun there is nothing on the other side
        while not (counters := (await container.get_statistics()).functions.get("wait")) or not counters.running:
            pass
    waiting.cancel()
    await asyncio.wait([waiting])
    spans = await sink.ended(2)
    assert {facts(span)["error.type"] for span in spans} == {"asyncio.exceptions.CancelledError"}
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR, StatusCode.UNSET]
    sink.spans.clear()
    with pytest.raises(RequestTimeout):
        await container.options(timeout=scaled(0.3)).call("wait")
    client, server = await sink.ended(2)
    assert facts(client)["error.type"] == "mpzmq.RequestTimeout"
    assert facts(server)["error.type"] == "asyncio.exceptions.CancelledError"


def told(span: ReadableSpan) -> list[tuple[str, Any]]:
    return [(event.name, (event.attributes or {}).get("mpzmq.stream.items")) for event in span.events]


async def test_a_stream_that_is_read_to_its_end(container: ComputerEngineWriter, sink: Sink) -> None:
    assert [item async for item in container.stream("count", 3)] == [0, 1, 2]
    for span in await sink.ended(2):
        assert told(span) == [("mpzmq.stream.first_item", None), ("mpzmq.stream.last_item", 3)]
        assert facts(span)["mpzmq.stream.items"] == 3 and "error.type" not in facts(span)
    sink.spans.clear()
    assert [item async for item in container.stream("count", 0)] == []
    for span in await sink.ended(2):
        assert told(span) == [("mpzmq.stream.last_item", 0)]


@pytest.mark.parametrize("way", ["closed", "dropped"])
async def test_a_stream_that_is_left(container: ComputerEngineWriter, sink: Sink, way: str) -> None:
    if way == "closed":
        async with container.stream("count", 10_000_000) as items:
            async for item in items:
                if item == 2:
                    break
    else:
        async for item in container.stream("count", 10_000_000):
            if item == 2:
                break
    client, server = await sink.ended(2)
    assert told(client)[-1] == ("mpzmq.stream.left", 3) and facts(client)["mpzmq.stream.items"] == 3
    assert client.status.status_code is server.status.status_code is StatusCode.UNSET
    assert "error.type" not in facts(client)
    assert facts(server)["error.type"] == "asyncio.exceptions.CancelledError"


async def test_a_stream_that_is_opened_and_never_read(container: ComputerEngineWriter, sink: Sink) -> None:
    async with container.stream("count", 10_000_000):
        pass
    client = sink.spans.get_finished_spans()[0]  # that of the container, too, if its handler had begun
    assert client.kind is CLIENT and told(client) == [("mpzmq.stream.left", 0)]


async def test_a_stream_that_fails(container: ComputerEngineWriter, sink: Sink) -> None:
    with pytest.raises(RemoteError):
        [item async for item in container.stream("count", 2, fail=True)]
    client, server = await sink.ended(2)
    assert told(client) == [("mpzmq.stream.first_item", None), ("mpzmq.stream.left", 2)]
    assert (facts(client)["error.type"], facts(server)["error.type"]) == ("mpzmq.RemoteError", "LookupError")
    assert client.status.status_code is server.status.status_code is StatusCode.ERROR


async def test_an_upload_and_a_channel(container: ComputerEngineWriter, sink: Sink) -> None:
    assert await container.upload("total", [1, 2, 3]) == 6
    client, server = await sink.ended(2)
    assert facts(client)["mpzmq.operation"] == facts(server)["mpzmq.operation"] == "upload"
    assert client.context is not None and parent_of(server) == client.context.span_id
    sink.spans.clear()
    async with container.channel("double") as channel:
        await channel.send(1)
        assert await anext(channel) == 2
        await channel.send_eof()
        assert [item async for item in channel] == []
    for span in await sink.ended(2):
        assert facts(span)["mpzmq.operation"] == "channel" and facts(span)["mpzmq.stream.items"] == 1


async def test_requests_at_the_same_time_have_traces_of_their_own(container: ComputerEngineWriter, sink: Sink) -> None:
    tracer = sink.tracers.get_tracer("application")

    async def one(number: int) -> tuple[str, str]:
        with tracer.start_as_current_span("application") as span:
            of_this = f"{span.get_span_context().trace_id:x}"
            function = ("trace_id_in_thread",) if number % 5 == 0 else ("trace_id", (number % 7) / 1000)
            return of_this, await container.call(*function)

    pairs = await soon(asyncio.gather(*map(one, range(50))))
    assert all(here == there for here, there in pairs) and len({here for here, _ in pairs}) == 50
    assert not trace.get_current_span().get_span_context().is_valid
    await sink.ended(150)


async def test_a_server_that_is_bound_within_a_span_begins_traces_of_its_own(sink: Sink) -> None:
    server = desk()
    sink.instrument(server)
    async with server, ComputerEngineWorker() as plain:
        with sink.tracers.get_tracer("application").start_as_current_span("the start of it"):
            endpoint = await server.bind("tcp://127.0.0.1:0")
        sink.spans.clear()
        await (await plain.connect(endpoint)).call("add", 1, 2)
        (span,) = await sink.ended(1)
    assert span.parent is None


async def test_the_call_of_a_group_is_one_span(sink: Sink) -> None:
    servers = [ContainerServer(), ContainerServer()]
    worker = ComputerEngineWorker()
    sink.instrument(worker, *servers)
    asked = 0

    async def busy_at_first(call: CallDetails, proceed: Proceed) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Overloaded("not now")
        return await proceed(call)

    for server in servers:
        server.middleware(busy_at_first)
        server.function(lambda: 7, name="once")
    async with servers[0], servers[1], worker:
        endpoints = [await server.bind("tcp://127.0.0.1:0") for server in servers]
        async with worker.group(endpoints, name="both") as group:
            assert await group.call("once") == 7
        client, *tries = await sink.ended(3)
    assert client.context is not None
    assert client.kind is CLIENT and {parent_of(one) for one in tries} == {client.context.span_id}
    assert facts(client)["server.address"] == "both" and "error.type" not in facts(client)


async def test_programs_without_a_loop(sink: Sink) -> None:
    server = desk()
    sink.instrument(server)

    def work(endpoint: str) -> None:
        around = otel.client_middleware(tracer_provider=sink.tracers, meter_provider=sink.meters)
        with (
            sink.tracers.get_tracer("application").start_as_current_span("application"),
            blocking.connect(endpoint, middleware=[around]) as container,
        ):
            assert container.call("add", 1, 2) == 3

    async with server:
        await asyncio.to_thread(work, await server.bind("tcp://127.0.0.1:0"))
        application, client, there = await sink.ended(3)
    assert application.context is not None and client.context is not None
    assert (parent_of(client), parent_of(there)) == (application.context.span_id, client.context.span_id)
    assert facts(client)["server.address"] == "127.0.0.1"


async def test_without_an_sdk_nothing_happens() -> None:
    server, worker = desk(), ComputerEngineWorker()
    otel.instrument(server)
    otel.instrument(worker)
    async with server, worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert await container.call("add", 1, 2) == 3
        with pytest.raises(RemoteError):
            await container.call("fail")
        assert [item async for item in container.stream("count", 2)] == [0, 1]


async def test_what_cannot_be_instrumented(sink: Sink) -> None:
    server, worker = ContainerServer(name="desk"), ComputerEngineWorker()
    sink.instrument(server, worker)
    for target in (server, worker):
        with pytest.raises(ValueError, match="is instrumented already"):
            otel.instrument(target)
    with pytest.raises(TypeError, match="not 'desk'"):
        otel.instrument("desk")  # type: ignore[arg-type]
    late = ComputerEngineWorker()
    async with server, late:
        await late.connect(await server.bind("tcp://127.0.0.1:0"))
        with pytest.raises(RuntimeError, match="has connected already"):
            otel.instrument(late)


def test_a_missing_package_names_the_extra() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import mpzmq; mpzmq.ContainerServer; mpzmq.otel"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "mpzmq.otel needs opentelemetry: install mpzmq-engine[otel]" in told.stderr.splitlines()[-1]


def test_nobody_imports_it_unasked() -> None:
    program = (
        "import sys, mpzmq, mpzmq.blocking, mpzmq.testing; mpzmq.ContainerServer; mpzmq.ComputerEngineWorker;"
        " assert not [name for name in sys.modules if name.startswith(('opentelemetry', 'mpzmq.otel'))]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Broken(SpanProcessor, Sampler):
    """What the application has given the SDK, and what fails."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _fail(self, where: str) -> None:
        if self.where == where:
            raise RuntimeError(f"{where} is broken")

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._fail("on_start")

    def on_end(self, span: Any) -> None:
        self._fail("on_end")

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        self._fail("should_sample")
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return self.where


@pytest.mark.parametrize("where", ["on_start", "on_end", "should_sample"])
async def test_telemetry_that_fails_costs_no_request(
    where: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SAFELY, "_lines", LogRateLimit())
    broken = Broken(where)
    provider = TracerProvider(sampler=broken)
    provider.add_span_processor(broken)
    worker, server = ComputerEngineWorker(), desk()
    for target in (worker, server):
        otel.instrument(target, tracer_provider=provider)
    async with server, worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert await container.call("add", 1, 2) == 3
        assert [number async for number in container.stream("count", 2)] == [0, 1]
        with pytest.raises(RemoteError, match="ValueError"):
            await container.call("fail")
    assert f"{where} is broken" in caplog.text


async def test_a_propagator_that_fails_costs_no_request(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(TextMapPropagator):
        fields: ClassVar = {"traceparent"}

        def extract(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError

        def inject(self, *_: Any, **__: Any) -> None:
            raise RuntimeError

    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", Refusing())
    server, worker = desk(), ComputerEngineWorker()
    sink.instrument(server, worker)
    async with server, worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        assert await container.options(metadata={"traceparent": "garbage"}).call("add", 1, 2) == 3
    assert len(await sink.ended(2)) == 2
