"""The leak guards: a test that leaks fails and is told what; one that does not leak passes, every time."""

from __future__ import annotations

import inspect
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
import zmq

from tests.support import guards
from tests.support.guards import Snapshot
from tests.support.pytests import LEAN
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

LEAKING = """
import asyncio, gc, os, threading, time
import pytest, zmq

kept = []

def test_socket():
    context = zmq.Context()
    kept.extend([context, context.socket(zmq.DEALER)])

def test_empty_context():
    kept.append(zmq.Context())

def test_socket_in_a_cycle():
    gc.disable()  # a collection in the middle would call it an unclosed socket, which fails the test as well
    context = zmq.Context()
    cycle = [context, context.socket(zmq.ROUTER)]
    cycle.append(cycle)

def test_descriptor():
    kept.append(os.open(os.devnull, os.O_RDONLY))

def test_thread():
    threading.Thread(target=time.sleep, args=(2,), name="the-lost-thread").start()

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(3600), name="the-lost-task"))

async def test_stubborn_task():
    async def stubborn():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
    kept.append(asyncio.create_task(stubborn(), name="the-stubborn-task"))
    await asyncio.sleep(0)

@pytest.fixture
def leaky():
    yield
    kept.append(os.dup(0))

def test_fixture(leaky):
    pass

def test_clean_after_all_that():
    pass
"""

CLEAN = """
import asyncio, os, threading
import pytest, zmq

@pytest.fixture(scope="module")
def wide():
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        yield socket

@pytest.fixture
async def background():
    async def forever():
        await asyncio.Event().wait()
    task = asyncio.create_task(forever())
    yield task
    task.cancel()

def test_first_use_of_a_wider_scope(wide):
    pass

def test_second_use(wide):
    pass

@pytest.mark.parametrize("_", range(20))
def test_sockets(_):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        router.linger = dealer.linger = 0
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer.connect(f"tcp://127.0.0.1:{port}")
        dealer.send(bytes(1 << 17), copy=False)
        assert len(router.recv_multipart(copy=False)) == 2

@pytest.mark.parametrize("_", range(20))
async def test_loop(background, _):
    assert not asyncio.get_running_loop().get_debug()
    await asyncio.to_thread(threading.get_ident)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()

async def test_cancelled_without_awaiting(background):
    background.cancel()

async def test_process():
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()

def test_own_loop():
    asyncio.run(asyncio.sleep(0))

def test_capture(capfd, tmp_path):
    (tmp_path / "file").write_text("text")
    os.write(1, b"captured")
    assert capfd.readouterr().out == "captured"
"""


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makeini(INI)
    pytester.makeconftest(inspect.getsource(guards).replace("GRACE = 2.0", "GRACE = 0.5"))
    pytester.makepyfile(source)
    # A process of its own, because what leaks there should not be open here.
    return pytester.runpytest_subprocess(*LEAN, "-rA", timeout=scaled(50))


def test_each_leak_fails_its_own_test_and_is_named(pytester: pytest.Pytester) -> None:
    result = run(pytester, LEAKING)
    result.assert_outcomes(passed=9, errors=8)
    errors = result.stdout.str().partition("= ERRORS =")[2]
    for name, leak in {
        "test_socket": ["not closed: <zmq.Socket(zmq.DEALER)*", "not closed: <zmq.Context(*"],
        "test_empty_context": ["not closed: <zmq.Context(*"],
        "test_socket_in_a_cycle": ["not closed: <zmq.Socket(zmq.ROUTER)*"],
        "test_descriptor": ["file descriptor *: */dev/null" if os.path.isdir("/proc/self/fd") else "file descr*"],
        "test_thread": ["thread still running: the-lost-thread"],
        "test_task": ["task still running: the-lost-task *sleep*"],
        "test_stubborn_task": ["task still running: the-stubborn-task *stubborn*"],
        "test_fixture": ["file descriptor *"],
    }.items():
        section = errors.partition(f"_ ERROR at teardown of {name} _")[2].partition("ERROR at teardown")[0]
        assert "the test leaks:" in section, name
        for pattern in leak:
            pytest.LineMatcher(section.splitlines()).fnmatch_lines([f"*{pattern}"])


def test_clean_tests_pass(pytester: pytest.Pytester) -> None:
    result = run(pytester, CLEAN)
    result.assert_outcomes(passed=46)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def test_a_snapshot_names_and_closes_what_came_after_it(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "GRACE", 0.1)
    before = Snapshot()
    assert before.leaks() == []
    socket = context.socket(zmq.PAIR)
    first, *others = before.leaks()
    assert first.startswith("not closed: <zmq.Socket(zmq.PAIR)")
    assert socket.closed
    # The context started its threads for this socket: their descriptors stay until it ends.
    assert all(leak.startswith("file descriptor ") for leak in others)


def test_what_is_about_to_end_is_waited_for() -> None:
    before = Snapshot()
    thread = threading.Thread(target=time.sleep, args=(0.05,))
    thread.start()
    assert before.leaks() == []
    assert not thread.is_alive()


def test_a_look_is_cheap() -> None:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        Snapshot()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005
