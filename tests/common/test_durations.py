"""Every duration that the public interface takes is checked, and all in the same way."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest

import mpzmq
from mpzmq import (
    ComputerEngineWorker,
    ComputerEngineWriter,
    ContainerServer,
    EngineService,
    Group,
    HeartbeatPolicy,
    Limits,
    ReconnectPolicy,
    RequestContext,
    blocking,
)
from mpzmq.common.durations import MAX_SECONDS, checked_seconds, checked_timeout, checked_wait
from mpzmq.testing import ContainerProcess, Proxy, connected
from tests.support.scene import worker_of


class Asks(Protocol):
    async def asks(self, limit: float) -> None: ...


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Ticket = Callable[[ComputerEngineWriter, Any], Any]

DURATION = re.compile(r"(?:^|_)(?:timeout|after|interval|ttl|within|delay|seconds)$")

NOT_NUMBERS = [True, "1", b"1", 1j, [], object()]
NOT_FINITE = [math.nan, math.inf, -math.inf, MAX_SECONDS + 1, 10**400]

# What each is given; what it has to be: above 0, or any finite number (0 and less: no time is left), or None besides.
POSITIVE, WAIT, TIMEOUT = checked_seconds, checked_wait, checked_timeout


def service_of(container: ComputerEngineWriter) -> EngineService:
    return worker_of(container).service()


def at_service(method: str, *args: Any) -> Ticket:
    return lambda container, value: getattr(service_of(container), method)(container.remote_id, *args, timeout=value)


def at_handle(method: str, items: tuple[Any, ...], parameter: str) -> Ticket:
    return lambda container, value: getattr(container, method)("f", *items, **{parameter: value})


def at_group(use: Callable[[Group, Any], Any]) -> Ticket:
    """Of a group whose member is not there: what is wrong is told before anybody is asked."""

    async def ask(container: ComputerEngineWriter, value: Any) -> None:
        async with worker_of(container).group(["127.0.0.1:1"], wait=False) as group:
            made = use(group, value)
            if hasattr(made, "__aenter__"):
                async with made:
                    pass
            elif inspect.isawaitable(made):
                await made
            elif hasattr(made, "__anext__"):
                await read(made)

    return ask


def at_group_method(method: str, items: tuple[Any, ...], parameter: str) -> Ticket:
    return at_group(lambda group, value: getattr(group, method)("f", *items, **{parameter: value}))


async def read(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


WAYS: dict[str, tuple[Callable[..., Any], Ticket]] = {
    "ReconnectPolicy.interval": (POSITIVE, lambda _, value: ReconnectPolicy(interval=value)),
    "ReconnectPolicy.connect_timeout": (POSITIVE, lambda _, value: ReconnectPolicy(connect_timeout=value)),
    "HeartbeatPolicy.interval": (POSITIVE, lambda _, value: HeartbeatPolicy(interval=value)),
    "HeartbeatPolicy.down_after": (POSITIVE, lambda _, value: HeartbeatPolicy(down_after=value)),
    "HeartbeatPolicy.stuck_after": (POSITIVE, lambda _, value: HeartbeatPolicy(stuck_after=value)),
    "Limits.reply_ttl": (POSITIVE, lambda _, value: Limits(reply_ttl=value)),
    "ComputerEngineWorker.accept.rejoin_within": (
        POSITIVE,
        lambda container, value: worker_of(container).accept("127.0.0.1:0", tokens="a token", rejoin_within=value),
    ),
    "ComputerEngineWorker.close.timeout": (WAIT, lambda _, value: ComputerEngineWorker().close(value)),
    "ComputerEngineWorker.connect.timeout": (
        TIMEOUT, lambda _, value: ComputerEngineWorker().connect(uuid.uuid4(), "127.0.0.1:1", timeout=value),
    ),
    "ComputerEngineWorker.disconnect.timeout": (
        WAIT, lambda container, value: worker_of(container).disconnect(uuid.uuid4(), value),
    ),
    "ComputerEngineWorker.service.timeout": (TIMEOUT, lambda _, value: ComputerEngineWorker().service(timeout=value)),
    "ContainerServer.join.timeout": (
        TIMEOUT, lambda _, value: ContainerServer().join("127.0.0.1:1", token="a token", timeout=value),
    ),
    "ComputerEngineWriter.call.timeout": (TIMEOUT, lambda container, value: container.call("f", timeout=value)),
    "ComputerEngineWriter.describe.timeout": (TIMEOUT, lambda container, value: container.describe(timeout=value)),
    "ComputerEngineWriter.disconnect.timeout": (WAIT, lambda container, value: container.disconnect(value)),
    "ComputerEngineWriter.get_state.timeout": (TIMEOUT, lambda container, value: container.get_state(timeout=value)),
    "ComputerEngineWriter.get_statistics.timeout": (
        TIMEOUT, lambda container, value: container.get_statistics(timeout=value),
    ),
    "ComputerEngineWriter.options.idle_timeout": (
        POSITIVE, lambda container, value: container.options(idle_timeout=value),
    ),
    "ComputerEngineWriter.options.timeout": (TIMEOUT, lambda container, value: container.options(timeout=value)),
    "ComputerEngineWriter.request.timeout": (TIMEOUT, lambda container, value: container.request(1, timeout=value)),
    **{
        f"ComputerEngineWriter.{method}.{parameter}": (kind, at_handle(method, items, parameter))
        for method, items in (("stream", ()), ("upload", ([],)), ("channel", ()), ("function", ()))
        for parameter, kind in (("timeout", TIMEOUT), ("idle_timeout", POSITIVE))
        if (method, parameter) != ("function", "idle_timeout")
    },
    "ComputerEngineWriter.set_state.timeout": (
        TIMEOUT, lambda container, value: container.set_state(mpzmq.Status.STOP, timeout=value),
    ),
    "ComputerEngineWriter.wait_ready.timeout": (TIMEOUT, lambda container, value: container.wait_ready(value)),
    "EngineService.call.timeout": (TIMEOUT, at_service("call", "f")),
    "EngineService.channel.idle_timeout": (
        POSITIVE, lambda container, value: service_of(container).channel(container.remote_id, "f", idle_timeout=value),
    ),
    "EngineService.channel.timeout": (TIMEOUT, at_service("channel", "f")),
    "EngineService.describe.timeout": (TIMEOUT, at_service("describe")),
    "EngineService.exchange.timeout": (
        TIMEOUT,
        lambda container, value: service_of(container).exchange(
            mpzmq.Params(uuid.uuid4(), mpzmq.Method.INVOKE, mpzmq.Status.RUNNING), container.remote_id, timeout=value
        ),
    ),
    "EngineService.function.timeout": (TIMEOUT, at_service("function", "f")),
    "EngineService.get_state.timeout": (TIMEOUT, at_service("get_state")),
    "EngineService.get_statistics.timeout": (TIMEOUT, at_service("get_statistics")),
    "EngineService.options.idle_timeout": (
        POSITIVE, lambda container, value: service_of(container).options(container.remote_id, idle_timeout=value),
    ),
    "EngineService.options.timeout": (TIMEOUT, at_service("options")),
    "EngineService.request.timeout": (
        TIMEOUT,
        lambda container, value: service_of(container).request(uuid.uuid4(), container.remote_id, 1, timeout=value),
    ),
    "EngineService.set_state.timeout": (TIMEOUT, at_service("set_state", mpzmq.Status.STOP)),
    "EngineService.stream.idle_timeout": (
        POSITIVE, lambda container, value: service_of(container).stream(container.remote_id, "f", idle_timeout=value),
    ),
    "EngineService.stream.timeout": (TIMEOUT, at_service("stream", "f")),
    "EngineService.upload.idle_timeout": (
        POSITIVE,
        lambda container, value: service_of(container).upload(container.remote_id, "f", [], idle_timeout=value),
    ),
    "EngineService.upload.timeout": (TIMEOUT, at_service("upload", "f", [])),
    "ComputerEngineWriter.check.timeout": (TIMEOUT, lambda container, value: container.check(Asks, timeout=value)),
    "ContainerServer.drain.timeout": (WAIT, lambda _, value: ContainerServer().drain(value)),
    "ContainerServer.run.drain_timeout": (WAIT, lambda _, value: ContainerServer().run("x:1", drain_timeout=value)),
    "ContainerServer.serve_forever.drain_timeout": (
        WAIT, lambda _, value: ContainerServer().serve_forever(drain_timeout=value),
    ),
    "RequestContext.call.timeout": (TIMEOUT, lambda container, value: container.call("asks", value)),
    "ContainerProcess.drain_timeout": (WAIT, lambda _, value: ContainerProcess("a:b", drain_timeout=value)),
    "ContainerProcess.start_timeout": (WAIT, lambda _, value: ContainerProcess("a:b", start_timeout=value)),
    "ContainerProcess.stop.timeout": (WAIT, lambda _, value: ContainerProcess("a:b").stop(value)),
    "ContainerProcess.wait.timeout": (WAIT, lambda _, value: ContainerProcess("a:b").wait(value)),
    "blocking.connect.timeout": (TIMEOUT, lambda _, value: blocking.connect("127.0.0.1:1", timeout=value)),
    "blocking.group.timeout": (TIMEOUT, lambda _, value: blocking.group(["127.0.0.1:1"], timeout=value)),
    "ComputerEngineWorker.group.timeout": (
        TIMEOUT, lambda container, value: worker_of(container).group(["127.0.0.1:1"], timeout=value),
    ),
    "Group.hold.timeout": (TIMEOUT, at_group(lambda group, value: group.hold("127.0.0.1:1", value))),
    "Group.options.hedge_after": (POSITIVE, at_group(lambda group, value: group.options(hedge_after=value))),
    "Group.options.idle_timeout": (POSITIVE, at_group(lambda group, value: group.options(idle_timeout=value))),
    "Group.options.timeout": (TIMEOUT, at_group(lambda group, value: group.options(timeout=value))),
    "Group.check.timeout": (TIMEOUT, at_group(lambda group, value: group.check(Asks, timeout=value))),
    "Group.wait_ready.timeout": (TIMEOUT, at_group(lambda group, value: group.wait_ready(1, value))),
    **{
        f"Group.{method}.{parameter}": (kind, at_group_method(method, items, parameter))
        for method, items in (("stream", ()), ("upload", ([],)), ("channel", ()), ("function", ()))
        for parameter, kind in (("timeout", TIMEOUT), ("idle_timeout", POSITIVE))
        if (method, parameter) != ("function", "idle_timeout")
    },
    **{
        f"Group.{method}.timeout": (TIMEOUT, at_group_method(method, items, "timeout"))
        for method, items in (
            ("call", ()), ("request", ()), ("call_all", ()), ("call_each", ({},)), ("each", ()), ("map", ([1],)),
        )
    },
}  # fmt: skip
ELSEWHERE = {
    # By options that are handed on.
    *(
        f"BlockingContainer.{method}.timeout"
        for method in ("call", "check", "describe", "get_state", "get_statistics", "options", "request")
    ),
    *(f"BlockingContainer.{method}.timeout" for method in ("function", "request", "set_state", "stream", "upload")),
    *(f"BlockingContainer.{method}.idle_timeout" for method in ("options", "stream", "upload")),
    *(
        f"BlockingGroup.{method}.timeout"
        for method in ("call", "check", "call_all", "call_each", "close", "each", "function")
    ),
    *(f"BlockingGroup.{method}.timeout" for method in ("function", "hold", "map", "options", "request")),
    *(f"BlockingGroup.{method}.timeout" for method in ("stream", "upload")),
    *(f"BlockingGroup.{method}.idle_timeout" for method in ("options", "stream", "upload")),
    *("BlockingGroup.options.hedge_after", "BlockingGroup.wait_ready.timeout"),
    "BlockingContainer.close.timeout",  # test_a_blocking_handle
    "BlockingContainer.wait_ready.timeout",
    "ComputerEngineWorker.with_reconnect_interval.interval",  # an int in milliseconds, or a timedelta
    "ServedProcess.wait.timeout",  # that of ContainerProcess
    *("OptionsView.flow_timeout", "OptionsView.idle_timeout"),  # options() makes it
    "Proxy.flip.after",  # bytes
}
AFTER = ("lost_after", "orphan_after")
"""0 is allowed in these, and None: test_config.py, test_lost_after.py and test_orphans.py have them."""


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module in ("mpzmq", "mpzmq.blocking", "mpzmq.testing"):
        for name in importlib.import_module(module).__all__:
            thing = getattr(importlib.import_module(module), name)
            prefix = "blocking." if module == "mpzmq.blocking" and not inspect.isclass(thing) else ""
            if inspect.isclass(thing) and not issubclass(thing, BaseException):
                yield name, thing
                for method, member in inspect.getmembers(thing, inspect.isfunction):
                    # What other groups have of Group is tried there.
                    of_a_group = issubclass(thing, Group) and thing is not Group and member is getattr(Group, method, 0)
                    if not method.startswith("_") and not of_a_group:
                        yield f"{name}.{method}", member
            elif callable(thing) and not inspect.isclass(thing):
                yield prefix + name, thing


def test_no_duration_is_forgotten() -> None:
    told = {"LinkRetry", "EventsDropped", "Evidence", "StateChange", "LinkEvent", "Durations"}  # values, not settings
    found = {
        f"{name}.{parameter}"
        for name, thing in public_callables()
        if name not in told and not name.startswith("Link") and not name.endswith("Statistics")
        for parameter in inspect.signature(thing).parameters
        if DURATION.search(parameter) and parameter not in AFTER
    }
    assert found - ELSEWHERE == set(WAYS)


@pytest.fixture
async def container() -> AsyncIterator[ComputerEngineWriter]:
    server = ContainerServer()

    @server.function
    async def asks(limit: Any, context: RequestContext) -> None:
        await context.call("f", timeout=limit)

    async with connected(server) as container:
        yield container


async def tried(way: Ticket, container: ComputerEngineWriter, value: Any) -> None:
    made = way(container, value)
    if inspect.isawaitable(made):
        awaited: Awaitable[Any] = made
        await awaited
    elif hasattr(made, "__anext__"):
        await read(made)


@pytest.mark.parametrize("name", WAYS)
async def test_odd_values(container: ComputerEngineWriter, name: str) -> None:
    check, way = WAYS[name]
    what = name.rpartition(".")[2]
    through = name == "RequestContext.call.timeout"  # inside a handler, which cannot be given everything
    wrong: list[tuple[Any, type[Exception]]] = [(value, TypeError) for value in ("1", b"1", True)] if through else [
        *((value, TypeError) for value in NOT_NUMBERS),
    ]  # fmt: skip
    wrong += [(value, ValueError) for value in NOT_FINITE if not (through and value == 10**400)]
    if check is checked_seconds:
        wrong += [(0, ValueError), (-1.0, ValueError)]
    if check is checked_wait:
        wrong.append((None, TypeError))
    for value, error in wrong:
        with pytest.raises(mpzmq.RemoteError if through else error, match=what) as told:
            await tried(way, container, value)
        if isinstance(told.value, mpzmq.RemoteError):
            assert told.value.error_type == error.__name__


def test_a_blocking_handle(container_endpoint: str) -> None:
    with blocking.connect(container_endpoint) as handle:
        for value in (math.nan, math.inf):
            with pytest.raises(ValueError, match="timeout"):
                handle.close(value)
            with pytest.raises(ValueError, match="timeout"):
                handle.wait_ready(value)
        with pytest.raises(TypeError, match="timeout"):
            handle.close(None)  # type: ignore[arg-type]
        assert handle.is_running()


@pytest.fixture
def container_endpoint() -> Iterator[str]:
    with ContainerProcess("tests.support.container:quick") as process:
        yield process.endpoint


async def test_no_time_is_left() -> None:
    """Negative numbers are what remains of a deadline that has passed."""
    async with ComputerEngineWorker() as worker:
        for value in (0, -1.0):
            with pytest.raises(mpzmq.ConnectTimeout):
                await worker.connect(uuid.uuid4(), "127.0.0.1:1", timeout=value)
            await worker.disconnect(uuid.uuid4(), value)
        await worker.close(-1)


async def test_the_proxy() -> None:
    proxy = Proxy("127.0.0.1:1")
    for value in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="delay"):
            proxy.delay = value
    for value in (0, math.nan):
        with pytest.raises(ValueError, match="rate"):
            proxy.rate = value
