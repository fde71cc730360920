"""``options()``: every keyword of a call goes to the function, and no option is ignored in silence."""

from __future__ import annotations

import inspect
import math
import uuid
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    EngineService,
    Executed,
    NotConnected,
    OptionsView,
    Progress,
    RequestContext,
    RequestTimeout,
    current_request,
)
from mpzmq.handlers.registration import CALL_OPTIONS, STREAM_OPTIONS
from mpzmq.testing import connected
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.scene import Scene

OPTIONS = {"timeout": 1, "idempotent": 2, "wait": 3, "metadata": 4, "request_id": 5, "idle_timeout": 6, "progress": 7}
NAMES = {**OPTIONS, "lost_after": 8, "key": 9, "hedge_after": 10, "self": 11, "function": 12, "items": 13, "name": 14}
"""What a function is given by name: the options there are, those to come, and names of the methods' own parameters."""


def left() -> float | None:
    context = current_request()
    assert context is not None
    return context.remaining()


@pytest.fixture
def served() -> ContainerServer:
    server = ContainerServer()

    @server.on_invoke
    def invoked(data: Any, context: RequestContext) -> Any:
        return [data, dict(context.metadata), left()]

    @server.function
    def named(**kwargs: Any) -> list[Any]:
        context = current_request()
        assert context is not None
        return [kwargs, left(), dict(context.metadata), context.request_id]

    @server.function
    async def stream(**kwargs: Any) -> AsyncIterator[Any]:
        yield kwargs
        yield left()

    @server.function
    async def upload(items: AsyncIterator[Any], /, **kwargs: Any) -> list[Any]:
        return [[item async for item in items], kwargs, left()]

    @server.function
    async def channel(items: AsyncIterator[Any], /, **kwargs: Any) -> AsyncIterator[Any]:
        yield kwargs
        async for item in items:
            yield item

    return server


@pytest.fixture
async def container(served: ContainerServer) -> AsyncIterator[ComputerEngineWriter]:
    async with connected(served) as container:
        yield container


@pytest.mark.parametrize("way", ["call", "function"])
async def test_every_keyword_goes_to_the_function(container: ComputerEngineWriter, way: str) -> None:
    request_id = uuid.uuid4()
    view = container.options(timeout=7.0, wait=False, metadata={"who": "me"}, request_id=request_id, progress=print)
    called = view.function("named")(**NAMES) if way == "function" else view.call("named", **NAMES)
    kwargs, remaining, metadata, told = await soon(called)
    assert kwargs == NAMES
    assert 5.0 < remaining < 7.1
    assert (metadata, told) == ({"who": "me"}, request_id)


async def test_streams_uploads_and_channels(container: ComputerEngineWriter) -> None:
    view = container.options(timeout=7.0, idle_timeout=5.0)
    kwargs, remaining = [item async for item in view.stream("stream", **NAMES)]
    assert kwargs == NAMES and 5.0 < remaining < 7.1
    items, kwargs, remaining = await soon(view.upload("upload", [1, 2], **NAMES))
    assert (items, kwargs) == ([1, 2], NAMES) and 5.0 < remaining < 7.1
    async with view.channel("channel", **NAMES) as channel:
        assert await soon(anext(channel)) == NAMES
        await channel.send("over")
        assert await soon(anext(channel)) == "over"


async def test_what_was_not_given_is_as_without_the_view(container: ComputerEngineWriter) -> None:
    _, remaining, metadata, _ = await soon(container.options().call("named"))
    assert 25.0 < remaining < 30.1 and metadata == {}
    assert [item async for item in container.options().stream("stream")] == [{}, None]
    assert await soon(container.options(metadata={"a": 1}).request("x")) == [
        "x",
        {"a": 1},
        pytest.approx(29.0, abs=2.0),
    ]


async def test_a_view_of_a_service(served: ContainerServer) -> None:
    async with served, ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), await served.bind("tcp://127.0.0.1:0"))
        service = worker.service(timeout=9.0, idempotent=True, metadata={"from": "service"})
        view = service.options(container.remote_id, wait=False)
        kwargs, remaining, metadata, _ = await soon(view.call("named", **NAMES))
        assert kwargs == NAMES and 7.0 < remaining < 9.1 and metadata == {"from": "service"}
        # That the service's calls may run twice is a default, which says nothing of streams.
        assert [item async for item in view.stream("stream", timeout=1)] == [{"timeout": 1}, None]
        assert (await soon(view.request("x")))[0] == "x"
        with pytest.raises(NotConnected) as unknown:
            await service.options(uuid.uuid4()).call("named")
        assert unknown.value.executed is Executed.NO
        with pytest.raises(TypeError, match="remote_id is a UUID"):
            service.options("here")  # type: ignore[arg-type]


async def test_a_view_is_used_again_and_again(container: ComputerEngineWriter) -> None:
    view = container.options(timeout=5.0)
    assert [(await soon(view.call("named", timeout=n)))[0] for n in range(3)] == [{"timeout": n} for n in range(3)]
    spent = container.options(request_id=uuid.uuid4())
    await soon(spent.call("named"))
    with pytest.raises(ValueError, match="a reply was received under this request id already"):
        await spent.call("named")


async def test_the_options_are_heeded(scene: Scene) -> None:
    told: list[Progress] = []
    assert await soon(scene.container.options(progress=told.append).request(bytes(3 << 20))) == bytes(3 << 20)
    assert told and told[-1].received == told[-1].to_receive
    with pytest.raises(RequestTimeout) as late:
        await scene.container.options(timeout=0).request("x")
    assert late.value.executed is Executed.NO
    await scene.container.disconnect()
    for timeout in (None, 1.0):
        with pytest.raises(NotConnected):
            await scene.container.options(wait=False, timeout=timeout).call("f")


@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({"idle_timeout": 1.0}, "request"),
        ({"idle_timeout": 1.0}, "call"),
        ({"idle_timeout": 1.0}, "function"),
        *(({option: value}, way) for option, value in (("idempotent", True), ("request_id", uuid.uuid4()))
          for way in ("stream", "upload", "channel")),
    ],
)  # fmt: skip
async def test_an_option_that_does_not_apply(container: ComputerEngineWriter, options: Any, way: str) -> None:
    view = container.options(**options)
    ways: dict[str, Callable[[], Any]] = {
        "request": lambda: view.request("x"),
        "call": lambda: view.call("named"),
        "function": lambda: view.function("named")(),
        "stream": lambda: anext(view.stream("stream")),
        "upload": lambda: view.upload("upload", []),
        "channel": lambda: anext(view.channel("channel")),
    }
    with pytest.raises(TypeError, match=rf"{next(iter(options))}.* is not for {way}\(\)"):
        await ways[way]()
    assert container.statistics().issued == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        *(({name: value}, TypeError) for name in ("timeout", "idle_timeout") for value in ("1", True, b"", 1j)),
        *(({name: value}, ValueError) for name in ("timeout", "idle_timeout")
          for value in (math.nan, math.inf, -math.inf, 1_000_001)),
        ({"idle_timeout": 0}, ValueError),
        ({"idle_timeout": -1.0}, ValueError),
        *(({name: value}, TypeError) for name in ("wait", "idempotent") for value in (None, 1, "yes")),
        ({"metadata": {1: 2}}, TypeError),
        ({"metadata": "x"}, TypeError),
        ({"request_id": "x"}, TypeError),
        ({"request_id": uuid.UUID(int=0)}, ValueError),
        ({"progress": 1}, TypeError),
        ({"tiemout": 1}, TypeError),
    ],
)  # fmt: skip
async def test_values_are_checked_at_once(
    container: ComputerEngineWriter, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options)).partition("_")[0]):
        container.options(**options)


async def test_a_function_is_called_by_its_name(container: ComputerEngineWriter) -> None:
    view: Any = container.options()
    ways: list[Callable[[], Any]] = [
        lambda: view.call(print),
        lambda: view.function(5)(),
        lambda: anext(view.stream(None)),
    ]
    for called in ways:
        with pytest.raises(TypeError, match="by its name, a str"):
            await called()


@pytest.mark.parametrize("way", ["call", "stream"])
async def test_call_and_stream_gain_no_option(container: ComputerEngineWriter, way: str) -> None:
    """What was never their option goes to the function: a program that calls one by these names must not break."""
    taken = CALL_OPTIONS if way == "call" else STREAM_OPTIONS
    others: dict[str, Any] = {name: value for name, value in NAMES.items() if name not in taken}
    if way == "call":
        assert (await soon(container.call("named", **others)))[0] == others
    else:
        assert await soon(anext(container.stream("stream", **others))) == others


# The warning when such a function is registered


def test_the_options_that_are_warned_of_are_those_of_call_and_stream() -> None:
    def keywords(method: Callable[..., Any]) -> set[str]:
        return {p.name for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY}

    assert keywords(EngineService.call) == keywords(ComputerEngineWriter.call) == CALL_OPTIONS
    for method in (EngineService.stream, EngineService.upload, EngineService.channel):
        assert keywords(method) == STREAM_OPTIONS
    assert keywords(RequestContext.call) == ComputerEngineWorker._call_options
    assert {name for name in vars(OptionsView) if not name.startswith("_")} == {
        *("request", "call", "function", "stream", "upload", "channel", "of"),
    }


# fmt: off
def plain(url: str, timeout: float = 1.0) -> None: ...
async def keyword_only(*, metadata: int, wait: bool = True) -> None: ...
async def gives(path: str, idle_timeout: float) -> AsyncIterator[int]:
    yield 1
async def takes(items: AsyncIterator[int], timeout: float) -> None: ...
async def either(items, idle_timeout): ...  # type: ignore[no-untyped-def]
def positional(timeout: float, /) -> None: ...
def others(key: str, lost_after: float, hedge_after: float, progress: int, idle_timeout: float) -> None: ...
async def gives_others(request_id: int, idempotent: bool, key: str) -> AsyncIterator[int]:
    yield 1
def context(timeout: RequestContext) -> None: ...
def any_name(**timeout: int) -> None: ...
# fmt: on


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (plain, ["timeout"]), (keyword_only, ["metadata", "wait"]), (gives, ["idle_timeout"]), (takes, ["timeout"]),
        (either, ["idle_timeout"]), (positional, []), (others, []), (gives_others, []), (context, []), (any_name, []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("decorated", [True, False])
def test_a_parameter_with_the_name_of_an_option(handler: Callable[..., Any], names: list[str], decorated: bool) -> None:
    server = ContainerServer()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if decorated:
            server.function(name="f")(handler)
        else:
            server.function(handler, name="f")
    assert [str(one.message) for one in told] == [
        f"function 'f' has a parameter {name!r}, but the keyword {name!r} of a call is an option and does not reach the"
        " function: rename it, or have it called through container.options(...), which takes the options, and passes"
        " every keyword on"
        for name in names
    ]
    assert {one.filename for one in told} <= {__file__}
    assert all(issubclass(one.category, UserWarning) for one in told)


def test_where_warnings_are_errors_nothing_is_registered() -> None:
    server = ContainerServer()
    with pytest.raises(UserWarning, match="'timeout'"):
        server.function(plain)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "function 'plain' has a parameter 'timeout'")
        server.function(plain)


async def test_a_function_of_a_worker() -> None:
    worker = ComputerEngineWorker()
    with pytest.warns(UserWarning, match="rename it, or have it given by position"):
        worker.function(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worker.function(keyword_only)
