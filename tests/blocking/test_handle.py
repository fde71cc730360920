"""The handle for programs without an event loop: real threads, real signals, real ends of interpreters."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectRefused,
    Executed,
    LinkState,
    MpzmqError,
    NotConnected,
    RemoteError,
    RequestTimeout,
    Status,
    Unsupported,
    blocking,
)
from mpzmq.testing import ContainerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from tests.support import ROOT
from tests.support.waiting import scaled

SECONDS = scaled(20.0)

SERVER = """
import asyncio
from collections.abc import AsyncIterator
import mpzmq
from mpzmq import ContainerServer, RemoteError, RequestContext, blocking

server = ContainerServer(name="blocking")
started, cancelled = [], []

@server.on_invoke
async def echo(data):
    return data

@server.function
def add(a, b=1):
    return a + b

@server.function
async def slow(seconds):
    started.append(seconds)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise
    return seconds

@server.function
def counts():
    return [len(started), len(cancelled)]

@server.function
def named(**kwargs):
    return [kwargs, dict(mpzmq.current_request().metadata)]

@server.function
async def streamed(**kwargs):
    yield kwargs

@server.function
async def uploaded(items: AsyncIterator[int], **kwargs):
    return [[item async for item in items], kwargs]

@server.function
async def count(to, pause=None, fail=False):
    started.append(to)
    try:
        for number in range(to):
            yield number
        if pause is not None:
            await asyncio.sleep(pause)
    except (asyncio.CancelledError, GeneratorExit):
        cancelled.append(to)
        raise
    if fail:
        raise RemoteError("no more")

@server.function
async def store(items: AsyncIterator, most=None):
    stored = []
    started.append(stored)
    try:
        async for item in items:
            stored.append(item)
            if len(stored) == most:
                break
    except (asyncio.CancelledError, mpzmq.ConnectionLost):
        cancelled.append(stored)
        raise
    return stored

@server.function
def decline():
    raise RemoteError("declined", code="funds", data={"missing": 3})

@server.function
async def remaining(context: RequestContext):
    return context.remaining()

@server.function(thread=True)
def nested(address):
    with blocking.connect(address) as inner:
        return inner.call("remaining")
"""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("blocking")
    (folder / "served.py").write_text(SERVER)
    with ContainerProcess("served:server", folder=folder) as process:
        yield process.endpoint


@pytest.fixture
def container(endpoint: str) -> Iterator[blocking.BlockingContainer]:
    with blocking.connect(endpoint, name="served") as container:
        yield container


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def mine() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mpzmq-blocking"]


def test_requests(container: blocking.BlockingContainer) -> None:
    assert container.call("add", 1, 2) == 3
    assert container.call("add", 1, b=5) == 6
    assert container.function("add", timeout=5.0)(2) == 3
    assert container.request({"a": [1, b"x"]}) == {"a": [1, b"x"]}
    assert container.request("x", request_id=uuid.uuid4(), timeout=5.0, wait=False) == "x"
    assert container.describe().name == "blocking"
    assert container.get_state() is Status.RUNNING
    assert container.set_state(Status.RUNNING) is Status.RUNNING
    container.wait_ready(5.0)


def test_what_it_knows(container: blocking.BlockingContainer, endpoint: str) -> None:
    container.call("add", 1)
    assert (container.name, container.address, container.state) == ("served", endpoint, LinkState.ALIVE)
    assert container.is_running()
    assert container.status is Status.RUNNING
    assert container.instance is not None
    assert container.last_error is None
    counted = container.statistics()
    assert (counted.issued, counted.replied, counted.in_flight) == (1, 1, 0)
    assert "served" in repr(container)


def test_errors_come_as_they_are(container: blocking.BlockingContainer) -> None:
    with pytest.raises(RemoteError) as declined:
        container.call("decline")
    assert (declined.value.code, declined.value.data) == ("funds", {"missing": 3})
    assert Path(__file__).name in str(declined.traceback[0].path)
    with pytest.raises(Unsupported, match="did you mean 'add'"):
        container.call("addd")
    with pytest.raises(RequestTimeout):
        container.call("slow", 30.0, timeout=0.05)
    assert container.call("add", 1) == 2


# Streams


def test_a_stream(container: blocking.BlockingContainer) -> None:
    assert list(container.stream("count", 3000)) == list(range(3000))
    with container.stream("count", to=2) as numbers:
        assert list(numbers) == [0, 1]
        assert list(numbers) == []
    assert list(container.stream("count", 0)) == []
    counted = container.statistics()
    assert (counted.issued, counted.replied, counted.in_flight) == (3, 3, 0)


def test_options_pass_every_keyword_on(container: blocking.BlockingContainer) -> None:
    own = {"timeout": 1, "wait": 2, "metadata": 3, "request_id": 4, "idempotent": 5, "self": 6, "function": 7}
    view = container.options(timeout=9.0, metadata={"a": "b"})
    assert view.call("named", **own) == [own, {"a": "b"}]
    assert view.function("named")(**own) == [own, {"a": "b"}]
    assert view.request({"x": 1}) == {"x": 1}
    flows = container.options(timeout=9.0, idle_timeout=5.0)
    assert list(flows.stream("streamed", **own)) == [own]
    assert flows.upload("uploaded", range(3), **own) == [[0, 1, 2], own]
    for wrong, option in ((flows.call, "idle_timeout"), (container.options(idempotent=True).stream, "idempotent")):
        with pytest.raises(TypeError, match=f"{option}.* is not for"):
            wrong("named")
    with pytest.raises(TypeError, match="tiemout"):
        container.options(tiemout=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="timeout is nan"):
        container.options(timeout=float("nan"))


def test_the_error_of_a_stream_comes_behind_its_items(container: blocking.BlockingContainer) -> None:
    stream = container.stream("count", 2, fail=True)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(RemoteError, match="no more"):
        next(stream)
    assert list(stream) == []
    with pytest.raises(RequestTimeout, match="nothing came"):
        list(container.stream("count", 0, pause=60.0, idle_timeout=0.05))
    with pytest.raises(Unsupported, match=r"asked by call\(\)"):
        list(container.stream("add", 1))
    with pytest.raises(ValueError, match="idle_timeout"):
        container.stream("count", 1, idle_timeout=-1.0)


def left_by_break(container: blocking.BlockingContainer) -> None:
    for item in container.stream("count", 5, pause=60.0):
        if item == 2:
            break


def left_by_close(container: blocking.BlockingContainer) -> None:
    stream = container.stream("count", 5, pause=60.0)
    assert next(stream) == 0
    stream.close()
    stream.close()
    assert list(stream) == []


def left_by_with(container: blocking.BlockingContainer) -> None:
    with container.stream("count", 5, pause=60.0) as stream:
        assert next(stream) == 0
    assert list(stream) == []


@pytest.mark.parametrize("leave", [left_by_break, left_by_close, left_by_with])
def test_a_stream_that_is_left(
    container: blocking.BlockingContainer, leave: Callable[[blocking.BlockingContainer], None]
) -> None:
    cancelled = container.call("counts")[1]
    leave(container)
    until(lambda: container.call("counts")[1] == cancelled + 1)
    until(lambda: container.statistics().cancelled == 1)
    assert container.statistics().in_flight == 0


def test_a_stream_whose_handle_is_closed(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    container = blocking.connect(endpoint, name="closed")
    unread, read = container.stream("count", 1), container.stream("count", 3, pause=60.0)
    assert [next(read) for _ in range(3)] == [0, 1, 2]
    container.close()
    with pytest.raises(ConnectionClosed, match="'closed' ended early: its handle is closed") as ended:
        next(read)
    assert ended.value.progress is not None
    assert (ended.value.progress.received, ended.value.executed) == (3, Executed.YES)
    assert list(read) == []
    with pytest.raises(ConnectionClosed) as refused:
        next(unread)
    assert refused.value.executed is Executed.NO
    with pytest.raises(NotConnected):
        container.stream("count", 1)
    del ended, read
    gc.collect()
    assert not caplog.records, "asyncio complains of nothing"


def test_an_upload(container: blocking.BlockingContainer) -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(500):
            threads.add(threading.current_thread())
            yield number

    assert container.upload("store", items()) == list(range(500))
    assert threads == {threading.current_thread()}
    assert container.upload("store", ["a", b"b"], most=5) == ["a", b"b"]
    assert container.upload("store", ()) == []
    with pytest.raises(TypeError, match="the items are an async iterable"):
        container.upload("store", "text")


def test_an_upload_may_ask_its_own_container(container: blocking.BlockingContainer) -> None:
    assert container.upload("store", (container.call("add", number) for number in range(3))) == [1, 2, 3]


def test_an_upload_that_ends_early_takes_no_more(container: blocking.BlockingContainer) -> None:
    asked: list[str] = []

    def items() -> Iterator[int]:
        asked.append("first")
        yield 1
        asked.append("second")
        yield 2
        until(lambda: container.statistics().in_flight == 0)  # the function has returned
        for _ in range(3):
            container.call("add", 1)  # and the other thread has had its turns to say so
        asked.append("third")
        yield 3
        asked.append("fourth")

    assert container.upload("store", items(), 2) == [1, 2]
    assert asked == ["first", "second", "third"]
    asked.clear()
    with pytest.raises(Unsupported, match="did you mean 'store'"):
        container.upload("stor", items())
    assert asked == [], "what is refused takes nothing"


def test_what_the_items_raise_ends_an_upload(container: blocking.BlockingContainer) -> None:
    cancelled = container.call("counts")[1]

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("the source is broken")

    with pytest.raises(LookupError, match="the source is broken"):
        container.upload("store", broken())
    until(lambda: container.call("counts")[1] == cancelled + 1)
    assert container.statistics().in_flight == 0


def test_a_failed_call_holds_none_of_its_arguments(container: blocking.BlockingContainer) -> None:
    """Not even until the garbage collector looks for cycles."""

    class Data(bytearray):
        pass

    held: list[weakref.ref[Data]] = []

    def source(data: Data) -> Iterator[Data]:
        yield data
        raise LookupError("the source is broken")

    def stream(data: Data) -> None:
        list(container.stream("count", 2, fail=True, pause=data))

    ways: list[Callable[[Data], object]] = [
        lambda data: container.call("decline", data),
        lambda data: container.call("no such function", data),
        lambda data: container.call("slow", 10, timeout=0.05, metadata={"data": data}),
        lambda data: container.call("slow", data, object()),
        lambda data: container.upload("store", source(data)),
        stream,
    ]
    gc.collect()
    gc.disable()
    try:
        for way in ways:
            data = Data(b"x" * 100)
            held.append(weakref.ref(data))
            with contextlib.suppress(MpzmqError, LookupError):
                way(data)
            del data
        until(lambda: [one() is not None for one in held] == len(held) * [False])
    finally:
        gc.enable()


def interrupted(work: Callable[[], object]) -> None:
    """Ctrl-C, once the handler of what is done has begun."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, previous)


def interrupt_when(condition: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        until(condition)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_interrupted_stream_is_ended(container: blocking.BlockingContainer) -> None:
    cancelled = container.call("counts")[1]
    stream, seen = container.stream("count", 3, pause=60.0), list[int]()
    thread = interrupt_when(lambda: len(seen) == 3)
    interrupted(lambda: seen.extend(stream))
    thread.join(SECONDS)
    until(lambda: container.call("counts")[1] == cancelled + 1)
    assert list(stream) == []


@pytest.mark.parametrize("where", ["in the source", "in between"])
def test_an_interrupted_upload_is_ended(container: blocking.BlockingContainer, where: str) -> None:
    started, cancelled = container.call("counts")
    there = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        there.set()
        if where == "in the source":
            time.sleep(60.0)
        while True:
            yield 2

    thread = interrupt_when(there.is_set)
    interrupted(lambda: container.upload("store", items()))
    thread.join(SECONDS)
    until(lambda: container.call("counts") == [started + 1, cancelled + 1])
    counted = container.statistics()
    assert (counted.cancelled, counted.in_flight) == (1, 0)


def test_close_ends_the_streams_of_other_threads(endpoint: str) -> None:
    ended: list[BaseException] = []
    container = blocking.connect(endpoint)
    paused = threading.Event()

    def read() -> None:
        try:
            list(container.stream("count", 1, pause=60.0))
        except ConnectionClosed as error:
            ended.append(error)

    def send() -> None:
        def items() -> Iterator[int]:
            yield 1
            paused.wait(SECONDS)
            yield 2

        try:
            container.upload("store", items())
        except ConnectionClosed as error:
            ended.append(error)

    threads = [threading.Thread(target=read), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    until(lambda: container.statistics().in_flight >= 2)
    container.close()
    paused.set()
    for thread in threads:
        thread.join(SECONDS)
    assert len(ended) == 2


def test_an_upload_whose_handle_is_closed_has_begun(container: blocking.BlockingContainer, endpoint: str) -> None:
    closed = blocking.connect(endpoint)  # the other one stays: there is nothing more to wait for when this one closes
    asked = threading.Event()
    began, _ = container.call("counts")

    def items() -> Iterator[int]:
        yield 1
        asked.set()
        until(lambda: not closed.is_running())
        yield 2

    def close() -> None:
        asked.wait(SECONDS)
        until(lambda: container.call("counts")[0] == began + 1)
        closed.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(ConnectionClosed) as ended:
        closed.upload("store", items())
    closer.join(SECONDS)
    assert ended.value.executed is not Executed.NO and ended.value.progress is not None


def test_many_threads(container: blocking.BlockingContainer) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        results.extend(container.call("add", number, turn) - turn for turn in range(20))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(results) == sorted(number for number in range(8) for _ in range(20))


def test_refused_leaves_no_thread() -> None:
    before = mine()
    with pytest.raises(ConnectRefused):
        blocking.connect("127.0.0.1:1")
    with pytest.raises(ValueError, match="has no port"):
        blocking.connect("nowhere")
    assert mine() == before


def test_a_closed_handle(endpoint: str) -> None:
    container = blocking.connect(endpoint, name="closed")
    container.close()
    container.close()
    assert mine() == []
    with pytest.raises(NotConnected, match="'closed' was not asked: this handle is closed") as refused:
        container.call("add", 1)
    assert refused.value.executed is Executed.NO
    assert container.state is LinkState.CLOSED
    assert container.statistics().in_flight == 0


def test_close_ends_the_calls_of_other_threads(endpoint: str) -> None:
    ended: list[BaseException] = []
    container = blocking.connect(endpoint)

    def wait() -> None:
        try:
            container.call("slow", 60.0)
        except ConnectionClosed as error:
            ended.append(error)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: container.statistics().in_flight >= 5)
    container.close()
    for thread in threads:
        thread.join(SECONDS)
    assert len(ended) == 5


def test_close_waits_for_what_is_in_flight(endpoint: str) -> None:
    answers: list[Any] = []
    container = blocking.connect(endpoint)
    thread = threading.Thread(target=lambda: answers.append(container.call("slow", 0.2)))
    thread.start()
    until(lambda: container.statistics().in_flight >= 1)
    container.close(timeout=10.0)
    thread.join(SECONDS)
    assert answers == [0.2]


def test_an_interrupted_call_is_cancelled(container: blocking.BlockingContainer) -> None:
    started, cancelled = container.call("counts")

    def interrupt() -> None:
        with blocking.connect(container.address) as watching:
            until(lambda: watching.call("counts")[0] == started + 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            container.call("slow", 60.0)
    finally:
        signal.signal(signal.SIGINT, previous)
        thread.join(SECONDS)
    until(lambda: container.call("counts")[1] == cancelled + 1)
    counted = container.statistics()
    assert (counted.cancelled, counted.in_flight) == (1, 0)


def test_an_interrupted_connect_leaves_nothing() -> None:
    # Listens, and never greets: the connect waits until the alarm.
    import socket

    def rung(*_: object) -> None:
        raise InterruptedError("the alarm")

    with socket.create_server(("127.0.0.1", 0)) as mute:
        previous = signal.signal(signal.SIGALRM, rung)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            with pytest.raises(InterruptedError, match="the alarm"):
                blocking.connect(mute.getsockname(), timeout=60.0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    assert mine() == []


def test_a_deadline_is_inherited(container: blocking.BlockingContainer) -> None:
    left = container.call("nested", container.address, timeout=7.0)
    assert 0 < left < 7.0


def test_on_its_own_thread_it_would_wait_for_itself(container: blocking.BlockingContainer) -> None:
    async def inside() -> None:
        container.call("add", 1)

    with pytest.raises(RuntimeError, match="would wait for itself"):
        container._thread.do(inside)


async def test_inside_a_running_loop(endpoint: str) -> None:
    with blocking.connect(endpoint) as container:
        assert container.call("add", 1) == 2


def test_a_forgotten_handle_warns_and_ends(endpoint: str) -> None:
    container = blocking.connect(endpoint)
    with pytest.warns(ResourceWarning, match="was never closed"):
        del container
    until(lambda: not mine())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_handle_ends_where_warnings_are_errors(endpoint: str) -> None:
    container = blocking.connect(endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        del container
    until(lambda: not mine())


def program(text: str, endpoint: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(text), endpoint],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("attempt", range(3))
def test_an_interpreter_ends_inside_a_call(endpoint: str, attempt: int) -> None:
    result = program(
        """
        import sys, threading
        from mpzmq import blocking
        container = blocking.connect(sys.argv[1])
        threading.Thread(target=container.call, args=("slow", 60.0), daemon=True).start()
        while not container.statistics().issued:
            pass
        """,
        endpoint,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_forked_child_is_told(endpoint: str) -> None:
    result = program(
        """
        import os, sys
        from mpzmq import blocking
        with blocking.connect(sys.argv[1]) as container:
            child = os.fork()
            if not child:
                try:
                    container.call("add", 1)
                except RuntimeError as error:
                    print(error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print(container.call("add", 1))
        """,
        endpoint,
        "-W",
        "error",
    )
    told = "this handle belongs to the parent of this process: connect() after the fork\n2\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, told, "")


def test_a_forked_child_leaves_what_is_its_parents(endpoint: str) -> None:
    result = program(
        """
        import os, sys
        from mpzmq import blocking
        with (
            blocking.group([sys.argv[1]]) as group,
            blocking.connect(sys.argv[1]) as container,
            container.stream("count", 1000) as stream,
        ):
            next(stream)
            child = os.fork()
            if not child:
                sys.exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            print(sum(1 for _ in stream), container.call("add", 1), group.call("add", 2))
        """,
        endpoint,
        "-W",
        "error",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "7\n999 2 3\n", "")


def test_control_c_of_a_script(endpoint: str) -> None:
    script = """
    import signal, sys
    from mpzmq import blocking
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with blocking.connect(sys.argv[1]) as container:
        print("ready", flush=True)
        container.call("slow", 60.0)
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "ResourceWarning" not in errors
