"""Where a container listens at a path: what stands there already is told, and only the socket of a dead server goes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.transport.libzmq import ipc
from mpzmq.transport.libzmq.ipc import IpcListener
from tests.support import ROOT
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PROGRAM = """
import os, sys
from mpzmq import ContainerServer

server = ContainerServer()
server.function(os.getpid, name="pid")
server.run(sys.argv[1], on_bound=lambda endpoint: print(endpoint, flush=True))
"""


@pytest.fixture
async def living(tmp_path: Path) -> AsyncIterator[tuple[Process, str]]:
    """A container in a process of its own, and its endpoint."""
    endpoint = f"ipc://{tmp_path}/living"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, endpoint, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).decode().strip() == endpoint
        yield process, endpoint
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def pid_at(endpoint: str) -> int:
    async with ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), endpoint)
        pid: int = await container.call("pid")
        return pid


def serving() -> ContainerServer:
    server = ContainerServer()
    server.function(os.getpid, name="pid")
    return server


@contextlib.contextmanager
def lying(path: Path, kind: str) -> Iterator[None]:
    """Something of a kind at a path."""
    with contextlib.ExitStack() as open_files:
        if kind == "regular file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        elif kind == "symbolic link":
            other = path.with_name("other")
            other.write_text("precious")
            path.symlink_to(other)
        elif kind == "broken link":
            path.symlink_to("nowhere")
        elif kind == "named pipe":
            os.mkfifo(path)
        else:
            datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            open_files.enter_context(datagrams).bind(os.fspath(path))
        yield


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("regular file", "a regular file is there"),
        ("folder", "a folder is there"),
        ("symbolic link", "a symbolic link is there"),
        ("broken link", "a symbolic link is there"),
        ("named pipe", "a named pipe is there"),
        ("datagrams", "a socket is there"),
    ],
)
async def test_what_is_no_dead_server_is_never_replaced(tmp_path: Path, kind: str, told: str) -> None:
    path = tmp_path / "taken"
    with lying(path, kind):
        before = os.lstat(path)
        async with serving() as server:
            with pytest.raises(OSError, match=told) as caught:
                await server.bind(f"ipc://{path}")
            assert str(path) in str(caught.value)
            await server.bind(f"ipc://{tmp_path}/free")
        after = os.lstat(path)
        assert (after.st_ino, after.st_mode, after.st_mtime) == (before.st_ino, before.st_mode, before.st_mtime)
    if "file" in kind:
        assert isinstance(caught.value, FileExistsError)
        assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [("no/such", FileNotFoundError, "no'"), ("file/below", NotADirectoryError, "file/below")],
)
async def test_a_place_that_is_none_is_told(tmp_path: Path, path: str, kind: type[OSError], told: str) -> None:
    (tmp_path / "file").touch()
    async with serving() as server:
        with pytest.raises(kind, match=told):
            await server.bind(f"ipc://{tmp_path}/{path}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o500)
    async with serving() as server:
        with pytest.raises(PermissionError, match="theirs"):
            await server.bind(f"ipc://{folder}/socket")


async def test_the_path_of_a_living_server_stays_its_own(living: tuple[Process, str]) -> None:
    process, endpoint = living
    async with serving() as server:
        with pytest.raises(
            OSError, match=f"process {process.pid} listens there" if sys.platform == "linux" else ""
        ) as caught:
            await server.bind(endpoint)
        assert caught.value.errno == errno.EADDRINUSE
    assert await pid_at(endpoint) == process.pid


async def test_the_path_of_a_dead_server_is_taken_over(tmp_path: Path, living: tuple[Process, str]) -> None:
    process, endpoint = living
    process.kill()
    await process.wait()
    assert (tmp_path / "living").exists()
    async with serving() as server:
        assert await server.bind(endpoint) == endpoint
        assert await pid_at(endpoint) == os.getpid()
    assert not (tmp_path / "living").exists()


async def test_a_stopped_server_is_alive(living: tuple[Process, str]) -> None:
    process, endpoint = living
    process.send_signal(signal.SIGSTOP)
    async with serving() as server:
        with pytest.raises(OSError, match="listens there"):
            await server.bind(endpoint)
    process.send_signal(signal.SIGCONT)
    assert await pid_at(endpoint) == process.pid


async def test_a_path_is_bound_once_in_a_process(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/once"
    async with serving() as server, serving() as other:
        await server.bind(endpoint)
        for again in (server, other):
            with pytest.raises(
                OSError, match="this process listens there" if sys.platform == "linux" else ""
            ) as caught:
                await again.bind(endpoint)
            assert caught.value.errno == errno.EADDRINUSE
        await server.close()
        await other.bind(endpoint)
        assert await pid_at(endpoint) == os.getpid()


async def test_what_has_taken_the_place_of_its_socket_stays_at_the_close(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with serving() as server:
        await server.bind(f"ipc://{path}")
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


async def test_the_socket_goes_though_the_working_directory_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with serving() as server:
        assert await server.bind("ipc://socket") == "ipc://socket"
        assert await pid_at("ipc://socket") == os.getpid()
        monkeypatch.chdir(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "socket").touch()
    assert not (tmp_path / "socket").exists()
    assert (tmp_path / "elsewhere" / "socket").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
async def test_an_abstract_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"@mpzmq-{uuid.uuid4()}"
    (tmp_path / name).write_text("precious")
    async with serving() as server, serving() as other:
        assert await server.bind(f"ipc://{name}") == f"ipc://{name}"
        assert await pid_at(f"ipc://{name}") == os.getpid()
        with pytest.raises(OSError) as caught:
            await other.bind(f"ipc://{name}")
        assert caught.value.errno == errno.EADDRINUSE
        await server.close()
        await other.bind(f"ipc://{name}")
    assert (tmp_path / name).read_text() == "precious"


RACE = """
import errno, os, socket, sys
from mpzmq.transport.libzmq.ipc import IpcListener
from tests.support import ROOT

path = sys.argv[1]
for _ in range(10):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    go, told, end = os.pipe(), os.pipe(), os.pipe()
    for racer in range(6):
        if not os.fork():
            os.close(go[1]), os.close(end[1])
            os.read(go[0], 1)
            try:
                listener = IpcListener(path, 8)
                os.write(told[1], b"w")
            except OSError as error:
                os.write(told[1], b"u" if error.errno == errno.EADDRINUSE else b"?")
            os.read(end[0], 1)
            os._exit(0)
    os.close(go[1])
    heard = b""
    while len(heard) < 6:
        heard += os.read(told[0], 6)
    os.close(end[1])
    for racer in range(6):
        os.wait()
    print(bytes(sorted(heard)).decode())
    os.unlink(path)
"""


def test_of_servers_that_start_at_once_one_gets_the_path(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RACE, f"{tmp_path}/race"],
        capture_output=True, text=True, timeout=scaled(30), cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["uuuuuw"] * 10, done.stderr


def test_a_folder_that_somebody_keeps_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "LOCK_TIMEOUT", 0.02)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="keeps the folder"):
            IpcListener(f"{tmp_path}/socket", 8)
    finally:
        os.close(folder)
    assert list(tmp_path.iterdir()) == []
    listener = IpcListener(f"{tmp_path}/socket", 8)
    listener.close()
    assert list(tmp_path.iterdir()) == []
