"""``Limits.handshakes``: connections that begin a handshake and do not end it do not pile up."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker, ContainerServer, Limits, Security
from mpzmq.transport.libzmq.authenticator import ListenerWatch
from tests.support.scene import REDIAL
from tests.support.secured import CONTAINER, ENGINE
from tests.support.waiting import SECONDS, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MOST = 5


async def silent(endpoint: str) -> Stream:
    """A connection that says nothing."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def is_closed(stream: Stream) -> bool:
    """Reads the greeting, and whatever comes, up to the end of the connection."""
    with contextlib.suppress(ConnectionError):
        await soon(stream[0].read())
    return stream[0].at_eof() or stream[0].exception() is not None


async def get_in(worker: ComputerEngineWorker, endpoint: str) -> None:
    """Connects, as soon as there is room."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await worker.connect(uuid.uuid4(), endpoint)
            except ConnectionError:
                await asyncio.sleep(0.01)
            else:
                return


def end(*streams: Stream) -> Callable[[], None]:
    """Closes connections."""

    def close() -> None:
        for _, writer in streams:
            writer.close()

    return close


@pytest.mark.parametrize("secure", [False, True])
async def test_one_handshake_too_many_is_closed_at_once(secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    security = Security.server(CONTAINER, allow=[ENGINE.public]) if secure else None
    own = Security.client(ENGINE, CONTAINER.public) if secure else None
    server = ContainerServer(limits=Limits(handshakes=MOST), security=security)
    server.on_invoke(lambda data: data)
    async with server, ComputerEngineWorker(reconnect=REDIAL, security=own) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        container = await worker.connect(uuid.uuid4(), endpoint)
        waiting = [await silent(endpoint) for _ in range(MOST)]
        surplus: list[Stream] = []
        try:
            for _ in range(20):  # one after the other: the end of one is no room for the next
                surplus.append(await silent(endpoint))
                assert await is_closed(surplus[-1])
            # Those that were there first are still waited for, and who is in goes on undisturbed.
            assert not any(reader.at_eof() for reader, _ in waiting)
            assert await container.request(1) == 1
            text = f"{MOST} handshakes are under way (Limits.handshakes)"
            assert caplog.text.count(text) == 1, "once, not for each"
        finally:
            end(*waiting, *surplus)()

        await get_in(worker, endpoint)


async def test_handshakes_that_come_to_nothing_leave_their_places() -> None:
    """Also those of which libzmq tells no end: a peer of the wrong kind of socket."""
    server = ContainerServer(limits=Limits(handshakes=MOST))
    async with server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        for _ in range(4 * MOST):
            stream = await silent(endpoint)
            stream[1].write(b"GET / HTTP/1.1\r\n\r\n" + bytes(64))
            assert await is_closed(stream)
            end(stream)()
        await get_in(worker, endpoint)


def test_places_of_which_no_end_is_told_become_free_while_others_come_and_go() -> None:
    """Else engines that dial again and again would keep themselves out for ever."""
    watch = ListenerWatch(
        "here", None, max_handshakes=MOST, patience=3.0, on_closed=lambda: None, on_disconnected=lambda _: None
    )
    for _ in range(MOST):
        watch.accepted(-1, 0.0)
    for tenth in range(100):
        watch.accepted(-1, tenth / 10)
        watch.handshake_ended()
    assert not watch.begun
