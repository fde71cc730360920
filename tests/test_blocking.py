"""The handle for programs without an event loop: real threads, real signals, real ends of interpreters."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectRefused,
    Executed,
    LinkState,
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

ROOT = Path(__file__).parent.parent
SECONDS = 20.0

SERVER = """
import asyncio
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
