"""`mpzmq.middleware`: Timing, RateLimit, Audit and Token."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, Executed, NotPermitted, Overloaded, RemoteError, middleware
from mpzmq.middleware import Audit, RateLimit, Timing, Token
from tests.support.waiting import until

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter


@pytest.fixture
async def server() -> AsyncIterator[ContainerServer]:
    async with ContainerServer(name="made") as made:

        @made.function
        def echo(value: Any) -> Any:
            return value

        @made.function
        def fails() -> Any:
            raise KeyError("lost")

        @made.function
        async def stream(count: int) -> AsyncIterator[int]:
            for number in range(count):
                yield number
            if count > 3:
                raise OSError("too many")

        @made.on_invoke
        def invoke(data: Any) -> Any:
            return data

        yield made


@pytest.fixture
async def container(server: ContainerServer) -> AsyncIterator[ComputerEngineWriter]:
    async with ComputerEngineWorker() as worker:
        yield await worker.connect(await server.bind("tcp://127.0.0.1:0"))


@pytest.mark.parametrize("name", middleware.__all__)
def test_each_is_short_enough_to_be_copied(name: str) -> None:
    lines = inspect.getsource(getattr(middleware, name)).splitlines()
    assert len([line for line in lines if line.strip()]) <= 30


async def test_timing(server: ContainerServer, container: ComputerEngineWriter) -> None:
    told: list[tuple[str | None, type | None]] = []

    def record(call: Any, seconds: float, error: BaseException | None) -> None:
        assert seconds >= 0.0
        told.append((call.function, None if error is None else type(error)))

    server.middleware(Timing(record))
    await container.call("echo", 1)
    with pytest.raises(RemoteError):
        await container.call("fails")
    assert [item async for item in container.stream("stream", 3)] == [0, 1, 2]
    with pytest.raises(RemoteError):
        async for _ in container.stream("stream", 4):
            pass
    await container.request(1)
    assert told == [("echo", None), ("fails", KeyError), ("stream", None), ("stream", OSError), (None, None)]


async def test_a_timing_that_fails_costs_no_request(
    server: ContainerServer, container: ComputerEngineWriter, caplog: pytest.LogCaptureFixture
) -> None:
    server.middleware(Timing(lambda call, seconds, error: 1 / 0))
    assert await container.call("echo", 1) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_a_worker_may_take_the_time(server: ContainerServer) -> None:
    told: list[str | None] = []
    async with ComputerEngineWorker() as worker:
        worker.middleware(Timing(lambda call, seconds, error: told.append(call.function)))
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        await container.call("echo", 1)
        assert [item async for item in container.stream("stream", 2)] == [0, 1]
    assert told == ["echo", "stream"]


async def test_rate_limit(server: ContainerServer, container: ComputerEngineWriter) -> None:
    server.middleware(RateLimit(rate=0.001, burst=2))
    assert [await container.call("echo", number) for number in range(2)] == [0, 1]
    with pytest.raises(Overloaded) as caught:
        await container.call("echo", 3)
    assert caught.value.executed is Executed.NO
    assert 900.0 < caught.value.retry_after <= 1000.0
    assert [item async for item in container.stream("stream", 1)] == [0]  # each function has its own


async def test_a_rate_limit_by_what_a_call_says(server: ContainerServer, container: ComputerEngineWriter) -> None:
    server.middleware(RateLimit(rate=0.001, burst=1, by=lambda call: str(call.metadata["customer"])))
    for customer in ("ada", "bob"):
        assert await container.call("echo", 1, metadata={"customer": customer}) == 1
    with pytest.raises(Overloaded):
        await container.call("echo", 1, metadata={"customer": "ada"})
    with pytest.raises(RemoteError) as caught:
        await container.call("echo", 1)  # what `by` raises is an error of the middleware, and nobody gets through
    assert caught.value.error_type == "KeyError"


async def test_a_rate_limit_of_a_worker(server: ContainerServer) -> None:
    customer = "ada"
    async with ComputerEngineWorker() as worker:
        worker.middleware(RateLimit(rate=0.001, burst=1, by=lambda _: customer))
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        await container.call("echo", 1)
        with pytest.raises(Overloaded):
            await container.call("echo", 1)
        customer = "bob"
        assert await container.call("echo", 1) == 1
    assert server.statistics().received == 2  # what it refuses is not sent


async def test_a_rate_limit_keeps_nothing_that_callers_say(
    server: ContainerServer, container: ComputerEngineWriter
) -> None:
    limit = server.middleware(RateLimit(rate=50.0, by=lambda call: call.metadata["customer"]))
    await container.call("echo", 1, metadata={"customer": "x" * 100_000})
    assert [type(key) for key in limit._buckets] == [int]


async def test_a_rate_limit_fills_again(server: ContainerServer, container: ComputerEngineWriter) -> None:
    server.middleware(RateLimit(rate=50.0, burst=1))
    await container.call("echo", 1)

    async def again() -> bool:
        try:
            return bool(await container.call("echo", 1))
        except Overloaded as error:
            assert error.retry_after <= 0.02
            await asyncio.sleep(error.retry_after)
            return False

    while not await again():
        pass


async def test_a_rate_limit_is_bounded(
    server: ContainerServer, container: ComputerEngineWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BUCKETS", 1)
    limit = server.middleware(RateLimit(rate=0.001, burst=1))
    await container.call("echo", 1)
    await container.request(1)
    assert len(limit._buckets) == 1
    await container.call("echo", 1)  # forgotten meanwhile


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1.0, None), (float("nan"), None), (1.0, 0)])
def test_what_is_no_rate(rate: float, burst: int | None) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimit(rate, burst)


async def test_audit(
    server: ContainerServer, container: ComputerEngineWriter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpzmq.audit")
    server.middleware(Audit())
    await container.call("echo", "a secret", metadata={"token": "another"})
    with pytest.raises(RemoteError):
        await container.call("fails")
    assert [item async for item in container.stream("stream", 1)] == [0]
    lines = [record.getMessage() for record in caplog.records if record.name == "mpzmq.audit"]
    told = [json.loads(line) for line in lines]
    assert [(one["op"], one["function"], one["outcome"]) for one in told] == [
        ("call", "echo", "ok"),
        ("call", "fails", "KeyError"),
        ("stream", "stream", "ok"),
    ]
    assert [*told[0]] == ["request", "op", "function", "user", "peer", "seconds", "outcome"]
    assert "secret" not in lines[0] and "another" not in lines[0]


async def test_audit_to_a_logger_of_the_application(
    server: ContainerServer, container: ComputerEngineWriter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "own")
    server.middleware(Audit(logging.getLogger("own")))
    await container.call("echo", 1)
    assert [record.name for record in caplog.records if "echo" in record.getMessage()] == ["own"]


async def test_token(server: ContainerServer, container: ComputerEngineWriter) -> None:
    server.middleware(Token("old", "n\u00e9w", key="pass"))
    for token in ("old", "n\u00e9w"):
        assert await container.call("echo", 1, metadata={"pass": token}) == 1
    wrong: list[Any] = ["", "olD", "old ", None, 3, b"old", ["old"], "\ud800"[:0]]
    for token in wrong:
        with pytest.raises(NotPermitted) as caught:
            await container.call("echo", 1, metadata={"pass": token})
        assert caught.value.executed is Executed.NO
        assert "old" not in str(caught.value) and "pass" in str(caught.value)
    with pytest.raises(NotPermitted):
        await container.call("echo", 1)
    await until(lambda: server.statistics().refused == len(wrong) + 1)


@pytest.mark.parametrize("tokens", [(), ("",), (None,), (b"token",), ("good", "")])
def test_what_is_no_token(tokens: Any) -> None:
    with pytest.raises(ValueError, match="Token"):
        Token(*tokens)
