"""The handle for programs without an event loop: real threads, real signals, real ends of interpreters."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ConnectError,
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
    from types import FrameType

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
    with pytest.raises(NotConnected):
        container.function("add")(1)
    with pytest.raises(ConnectError, match="this handle is closed"):
        container.wait_ready()
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


def test_of_several_closes_the_most_impatient_decides(endpoint: str) -> None:
    ended: list[BaseException] = []
    container = blocking.connect(endpoint)

    def call() -> None:
        try:
            container.call("slow", 60.0, timeout=None)
        except ConnectionClosed as error:
            ended.append(error)

    calling = threading.Thread(target=call)
    calling.start()
    until(lambda: container.statistics().in_flight >= 1)
    patient = threading.Thread(target=container.close, args=(1000.0,))
    patient.start()
    until(lambda: is_refused(container))
    assert calling.is_alive()
    container.close()
    for thread in (patient, calling):
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert len(ended) == 1
    assert mine() == []


def is_refused(container: blocking.BlockingContainer) -> bool:
    try:
        container.call("add", 1)
    except NotConnected:
        return True
    return False


class Interrupt:
    """Raises KeyboardInterrupt before the n-th line of the module that a thread runs, as Ctrl-C could."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, argument: object) -> Interrupt | None:
        if frame.f_code.co_filename != blocking.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self

    def strikes(self, work: Callable[[], object]) -> bool:
        """Whether the work was interrupted; False: it has fewer lines."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def test_a_call_interrupted_at_any_line(container: blocking.BlockingContainer) -> None:
    number = 1
    while Interrupt(number).strikes(lambda: container.call("slow", 0.0)):
        counted = container.statistics()
        assert counted.in_flight == 0, number
        assert counted.issued == counted.replied + counted.failed + counted.cancelled
        assert container.call("add", 1) == 2
        number += 1
    assert number > 10


def test_a_close_interrupted_at_any_line(endpoint: str) -> None:
    number, struck = 1, True
    while struck:
        container = blocking.connect(endpoint)
        struck = Interrupt(number).strikes(container.close)
        container.close()
        assert mine() == [], number
        number += 1
    assert number > 10


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
    def rung(*_: object) -> None:
        raise InterruptedError("the alarm")

    # Listens, and never greets: the connect waits until the alarm.
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

    async def closes() -> None:
        container.close()

    for make in (inside, closes):
        with pytest.raises(RuntimeError, match="would wait for itself"):
            container._thread.do(make)
    assert container.call("add", 1) == 2


async def test_inside_a_running_loop(endpoint: str) -> None:
    with blocking.connect(endpoint) as container:
        assert container.call("add", 1) == 2


def test_a_forgotten_handle_warns_and_ends(endpoint: str) -> None:
    container = blocking.connect(endpoint)
    with pytest.warns(ResourceWarning, match="was never closed"):
        del container
    until(lambda: not mine())


def test_an_error_does_not_keep_the_handle_alive(endpoint: str) -> None:
    container = blocking.connect(endpoint)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(RequestTimeout):
            container.call("add", 1, timeout=0)
        container.close()
        known = weakref.ref(container)
        del container
        assert known() is None
    finally:
        gc.enable()


def program(text: str, endpoint: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(text), endpoint],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


# What other threads do when the interpreter ends.
ENDS = {
    "idle": "",
    "waiting": """
        threading.Thread(target=container.call, args=("slow", 60.0), daemon=True).start()
        while container.statistics().issued < 1: pass
    """,
    "calling": """
        def call():
            while True:
                container.call("add", 1)
        for _ in range(3):
            threading.Thread(target=call, daemon=True).start()
        while container.statistics().issued < 30: pass
    """,
    "connecting": """
        mute = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=blocking.connect, args=(mute.getsockname(),), daemon=True).start()
        mute.accept()[0].detach()  # both stay open: it goes on connecting
        mute.detach()
    """,
    "not a daemon": """
        threading.Thread(target=container.call, args=("slow", 0.1)).start()
    """,
}


@pytest.mark.parametrize("what", ENDS)
def test_an_interpreter_ends_without_a_close(endpoint: str, what: str) -> None:
    before = "import socket, sys, threading; from mpzmq import blocking; container = blocking.connect(sys.argv[1])"
    script = f"{before}\n{textwrap.dedent(ENDS[what])}"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: program(script, endpoint, "-W", "always::ResourceWarning"), range(20)))
    for result in results:
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
        warned, line = result.stderr.splitlines()
        assert re.search(r"ResourceWarning: <BlockingContainer .*> was never closed", warned)
        assert "warnings.warn" in line


def test_a_forgotten_handle_ends_also_where_its_warning_is_an_error(endpoint: str) -> None:
    result = program(
        """
        import sys, threading
        from mpzmq import blocking
        container = blocking.connect(sys.argv[1])
        del container
        print([thread.name for thread in threading.enumerate()])
        """,
        endpoint,
        "-W",
        "error",
    )
    assert (result.returncode, result.stdout) == (0, "['MainThread']\n"), result.stderr
    assert result.stderr.count("Traceback") == result.stderr.count("was never closed: ") == 1


def test_a_forked_child_is_told(endpoint: str) -> None:
    result = program(
        """
        import os, sys
        from mpzmq import blocking
        with blocking.connect(sys.argv[1]) as container:
            child = os.fork()
            if not child:
                for use in (container.statistics, container.describe, lambda: container.call("add", 1)):
                    try:
                        use()
                    except RuntimeError as error:
                        print(error, flush=True)
                with blocking.connect(sys.argv[1]) as own:
                    print(own.call("add", 1), flush=True)
                sys.exit(0)  # leaves the `with`: nothing happens to the handle of the parent
            print(os.waitpid(child, 0)[1], container.call("add", 1))
        """,
        endpoint,
        *("-W", "error", "-W", "ignore:This process:DeprecationWarning"),
    )
    told = "this handle belongs to the parent of this process: connect() after the fork\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, told * 3 + "2\n0 2\n", "")


# Where Ctrl-C finds the script.
PLACES = {
    "connect": "blocking.connect(mute.getsockname(), timeout=60.0)",
    "call": "container.call('slow', 60.0)",
    "close": "other.close(timeout=60.0)",
}


@pytest.mark.parametrize("place", PLACES)
def test_control_c_leaves_nothing(endpoint: str, place: str) -> None:
    script = f"""
    import contextlib, os, signal, socket, sys, threading, time
    from mpzmq import ConnectionClosed, blocking

    def interrupt():
        # A real SIGINT, at the moment at which the main thread waits in the place.
        names = []
        while "wait" not in names or {place!r} not in names:
            frame, names = sys._current_frames()[threading.main_thread().ident], []
            while frame is not None:
                names.append(frame.f_code.co_name)
                frame = frame.f_back
        os.kill(os.getpid(), signal.SIGINT)

    def slow():
        with contextlib.suppress(ConnectionClosed):
            other.call("slow", 60.0)

    def left():
        return len(os.listdir("/dev/fd")), sorted(thread.name for thread in threading.enumerate())

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.create_server(("127.0.0.1", 0)) as mute, blocking.connect(sys.argv[1]) as container:
        container.call("add", 1)
        before = left()
        other = blocking.connect(sys.argv[1])
        calling = threading.Thread(target=slow)
        calling.start()
        while not other.statistics().in_flight:
            pass
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        try:
            {PLACES[place]}
        except KeyboardInterrupt:
            print("interrupted")
        if {place!r} != "close":
            other.close()
        calling.join()
        interrupting.join()
        assert container.statistics().in_flight == 0
        assert container.call("add", 1) == 2
        deadline = time.monotonic() + 10.0
        while left() != before:  # libzmq closes what belongs to a socket a moment later, in a thread of its own
            assert time.monotonic() < deadline, (before, left())
    """
    result = program(script, endpoint, "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "interrupted\n", "")


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
