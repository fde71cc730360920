"""What callers are told of errors: `@server.on_error`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator  # noqa: TC003  (a function is asked for what takes a stream)
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    ContainerServer,
    Executed,
    Proceed,
    Refused,
    RemoteError,
    RequestTimeout,
)
from tests.support.waiting import soon

if TYPE_CHECKING:
    from mpzmq import ComputerEngineWriter

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

WAYS = ["plain", "coroutine", "thread", "stream", "upload"]


class NotFound(LookupError): ...


@pytest.fixture
async def server() -> AsyncIterator[ContainerServer]:
    async with ContainerServer(name="words") as made:

        def work(kind: str) -> Any:
            tenant.set("of the request")
            raise {
                "lookup": LookupError("one"),
                "key": KeyError("two"),
                "missing": NotFound("three"),
                "value": ValueError("four"),
                "own": RemoteError("mine", code="own"),
                "refused": Refused("no"),
                "elsewhere": RemoteError("theirs", request_id=uuid.uuid4()),
            }[kind]

        @made.function
        def plain(kind: str) -> Any:
            return work(kind)

        @made.function
        async def coroutine(kind: str) -> Any:
            return work(kind)

        @made.function(thread=True)
        def thread(kind: str) -> Any:
            return work(kind)

        @made.function
        async def stream(kind: str) -> AsyncIterator[int]:
            yield 1
            work(kind)

        @made.function
        async def upload(items: AsyncIterator[int], kind: str) -> Any:
            return work(kind)

        yield made


@pytest.fixture
async def container(server: ContainerServer) -> AsyncIterator[ComputerEngineWriter]:
    async with ComputerEngineWorker() as worker:
        yield await worker.connect(await server.bind("tcp://127.0.0.1:0"))


async def failure(container: ComputerEngineWriter, way: str, kind: str) -> Any:
    with pytest.raises((RemoteError, Refused)) as caught:
        if way == "stream":
            async for _ in container.stream(way, kind):
                pass
        elif way == "upload":
            await container.upload(way, [1], kind)
        else:
            await container.call(way, kind)
    return caught.value


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_is_told_in_other_words(
    server: ContainerServer, container: ComputerEngineWriter, way: str
) -> None:
    @server.on_error(LookupError)
    def missing(call: CallDetails, error: LookupError) -> RemoteError:
        context = "of the loop" if way == "thread" else tenant.get()
        data = {"function": call.function, "args": list(call.args), "error": type(error).__name__, "context": context}
        return RemoteError("there is none", code="missing", data=data)

    error = await failure(container, way, "key")
    assert (error.code, error.executed, error.error_message) == ("missing", Executed.YES, "there is none")
    given = {"function": way, "args": ["key"], "error": "KeyError"}
    assert error.data == {**given, "context": "of the loop" if way == "thread" else "of the request"}
    assert (await failure(container, way, "value")).error_type == "ValueError"


@pytest.mark.parametrize("way", WAYS)
async def test_the_nearest_class_counts(server: ContainerServer, container: ComputerEngineWriter, way: str) -> None:
    @server.on_error(Exception)
    def anything(call: CallDetails, error: Exception) -> RemoteError:
        return RemoteError("anything", code="any")

    @server.on_error(LookupError)
    def lookup(call: CallDetails, error: Exception) -> RemoteError:
        return RemoteError("lookup", code="lookup")

    @server.on_error(NotFound)
    def not_found(call: CallDetails, error: Exception) -> RemoteError:
        return RemoteError("not found", code="missing")

    codes = [(await failure(container, way, kind)).code for kind in ("value", "lookup", "key", "missing", "elsewhere")]
    assert codes == ["any", "lookup", "lookup", "missing", "any"]


async def test_refusals_and_the_handlers_own_words_stay(
    server: ContainerServer, container: ComputerEngineWriter
) -> None:
    @server.on_error(Exception)
    def anything(call: CallDetails, error: Exception) -> RemoteError:
        raise AssertionError("it is not asked")

    assert (await failure(container, "plain", "own")).code == "own"
    refused = await failure(container, "plain", "refused")
    assert type(refused) is Refused and refused.executed is Executed.NO


async def test_it_is_asked_behind_all_middleware(server: ContainerServer, container: ComputerEngineWriter) -> None:
    seen: list[type] = []

    @server.on_error(KeyError)
    def missing(call: CallDetails, error: KeyError) -> RemoteError:
        return RemoteError("missing", code=call.metadata["tenant"])

    @server.middleware
    async def notes(call: CallDetails, proceed: Proceed) -> Any:
        try:
            return await proceed(call.replace(metadata={"tenant": "blue"}))
        except Exception as error:
            seen.append(type(error))
            raise

    @server.middleware
    async def fails(call: CallDetails, proceed: Proceed) -> Any:
        if call.args == ("value",):
            raise KeyError("of the middleware")
        return await proceed(call)

    assert (await failure(container, "coroutine", "key")).code == "blue"
    assert (await failure(container, "coroutine", "value")).code == "blue"
    assert seen == [KeyError, KeyError]


@pytest.mark.parametrize("returned", [None, "text", ValueError("no"), Refused("no"), RemoteError])
async def test_another_class_is_a_type_error(
    server: ContainerServer, container: ComputerEngineWriter, returned: Any
) -> None:
    @server.on_error(KeyError)
    def wrong(call: CallDetails, error: KeyError) -> RemoteError:
        return returned  # type: ignore[no-any-return]

    error = await failure(container, "plain", "key")
    assert error.error_type == "TypeError" and "and not a RemoteError" in str(error)


async def test_one_that_raises_is_told_itself(server: ContainerServer, container: ComputerEngineWriter) -> None:
    @server.on_error(KeyError)
    def fails(call: CallDetails, error: KeyError) -> RemoteError:
        raise OSError("the words are lost")

    error = await failure(container, "plain", "key")
    assert error.error_type == "OSError" and "the words are lost" in str(error)
    assert (await failure(container, "plain", "value")).error_type == "ValueError"


async def test_one_error_may_be_returned_again_and_again(
    server: ContainerServer, container: ComputerEngineWriter, caplog: pytest.LogCaptureFixture
) -> None:
    constant = RemoteError("missing", code="missing", request_id=uuid.uuid4())

    @server.on_error(KeyError)
    def missing(call: CallDetails, error: KeyError) -> RemoteError:
        return constant

    told = await asyncio.gather(*(failure(container, way, "key") for way in ("plain", "coroutine", "plain")))
    assert [error.code for error in told] == ["missing"] * 3
    assert constant.__cause__ is None and constant.__traceback__ is None
    assert "KeyError: 'two'" in caplog.text  # the log has what it was


@pytest.mark.parametrize("way", WAYS)
async def test_one_that_is_awaited(server: ContainerServer, container: ComputerEngineWriter, way: str) -> None:
    @server.on_error(KeyError)
    async def missing(call: CallDetails, error: KeyError) -> RemoteError:
        await asyncio.sleep(0)
        return RemoteError(f"{call.function} for {tenant.get()}", code="missing")

    error = await failure(container, way, "key")
    assert (error.code, error.executed) == ("missing", Executed.YES)
    # What a thread has set stays in the thread.
    assert str(error).count(f"{way} for {'nobody' if way == 'thread' else 'of the request'}") == 1
    assert (await failure(container, way, "value")).error_type == "ValueError"


async def test_a_deadline_ends_one_that_is_awaited(server: ContainerServer, container: ComputerEngineWriter) -> None:
    ended = asyncio.Event()

    @server.on_error(KeyError)
    async def waits(call: CallDetails, error: KeyError) -> RemoteError:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return RemoteError()

    with pytest.raises(RequestTimeout):
        await container.options(timeout=0.1).call("plain", "key")
    await soon(ended.wait())
    assert await container.get_state()
    seen = server.statistics()
    assert seen.received == seen.replied + seen.failed + seen.refused + seen.cancelled


@pytest.mark.parametrize("kind", [None, "ValueError", BaseException, KeyboardInterrupt, int, ValueError("an instance")])
def test_what_is_no_class_of_errors(kind: Any) -> None:
    with pytest.raises(TypeError, match="class of Exception"):
        ContainerServer().on_error(kind)(lambda call, error: RemoteError())


def test_what_cannot_be_asked() -> None:
    server = ContainerServer()

    nothing: Any = None
    with pytest.raises(TypeError, match=r"takes f\(call, error\)"):
        server.on_error(KeyError)(nothing)
    server.on_error(KeyError)(lambda call, error: RemoteError())
    with pytest.raises(ValueError, match="already"):
        server.on_error(KeyError)(lambda call, error: RemoteError())
