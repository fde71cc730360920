"""Connections to a lobby: which are ended, which are not, and who notices."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer, Limits, LinkDown, LinkUp, MemberJoined, MemberLeft
from mpzmq.engine import lobby
from mpzmq.protocol import wire
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import event_of, scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from mpzmq.engine.joined_group import JoinedGroup
    from tests.support.raw import Raw

WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


@contextlib.asynccontextmanager
async def joined() -> AsyncIterator[tuple[JoinedGroup, ContainerServer]]:
    """A group with one member, which is up."""
    server = ContainerServer(name="calc", heartbeat=QUICK)
    server.function(lambda: 1, name="one")
    async with (
        ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker,
        worker.accept("tcp://127.0.0.1:0", tokens="secret") as group,
        server,
    ):
        await server.join(group.endpoint, token="secret")
        await group.wait_ready()
        yield group, server


@contextlib.contextmanager
def told(raw: Raw) -> Iterator[Callable[[int], bool]]:
    """Says whether something has happened to the connection of a socket."""
    monitor = raw.socket.get_monitor_socket(WATCHED)
    events: set[int] = set()

    def has_come(event: int) -> bool:
        while monitor.poll(0):
            events.add(int.from_bytes(monitor.recv_multipart()[0][:2], "little"))
        return event in events

    try:
        yield has_come
    finally:
        raw.socket.disable_monitor()
        monitor.close(0)


async def test_who_says_nothing_is_put_out_and_who_has_joined_is_not(
    raw: Callable[[int], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby, "SWEEP", 0.02)
    monkeypatch.setattr(lobby, "MAX_SILENCE", scaled(0.3))
    async with joined() as (group, _):
        events = group.events()
        mute = raw(zmq.DEALER)
        mute.socket.set(zmq.RECONNECT_IVL, -1)
        with told(mute) as has_come:
            mute.connect(group.endpoint)
            await until(lambda: has_come(zmq.EVENT_DISCONNECTED))
            assert has_come(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        assert await group.call("one") == 1
        await group.close()
        assert not [event async for event in events if isinstance(event, LinkDown)]


@pytest.mark.parametrize("word", ["a wrong token", "no JOIN"])
async def test_who_is_refused_is_put_out_at_once(raw: Callable[[int], Raw], word: str) -> None:
    async with joined() as (group, _):
        stranger = raw(zmq.DEALER)
        stranger.socket.set(zmq.RECONNECT_IVL, -1)
        with told(stranger) as has_come:
            stranger.connect(group.endpoint)
            record = wire.join(uuid.uuid4(), 1, "wrong", "", {}, Limits())
            stranger.send(LINK_TAG, stranger.pack(record) if word == "a wrong token" else b"x")
            await until(lambda: has_come(zmq.EVENT_DISCONNECTED))
        assert await group.call("one") == 1
        assert len(group.members) == 1


async def test_who_joins_twice_at_once_keeps_the_newest_connection_only(raw: Callable[[int], Raw]) -> None:
    async with joined() as (group, _), contextlib.AsyncExitStack() as stack:
        one = uuid.uuid4()
        dials = [raw(zmq.DEALER) for _ in range(3)]
        happened = [stack.enter_context(told(dial)) for dial in dials]
        for dial, has_come in zip(dials, happened, strict=True):
            dial.socket.set(zmq.RECONNECT_IVL, -1)
            dial.connect(group.endpoint)
            await until(partial(has_come, zmq.EVENT_HANDSHAKE_SUCCEEDED))
        for number, dial in enumerate(dials):
            dial.send(LINK_TAG, dial.pack(wire.join(one, number, "secret", "", {}, Limits())))
        await until(lambda: all(has_come(zmq.EVENT_DISCONNECTED) for has_come in happened[:-1]))
        assert len(group.members) == 2
        assert not happened[-1](zmq.EVENT_DISCONNECTED)


async def test_a_connection_that_is_mistaken_for_one_that_has_ended_goes_on() -> None:
    async with joined() as (group, _):
        events = group.events()
        for _ in range(5):
            group._lobby.on_disconnected(list(group._lobby._table.by_route))  # as told of a descriptor that was reused
            assert await group.call("one") == 1
        await asyncio.sleep(2 * lobby.FIRST_DOUBT)
        assert group.members[0].state.name == "ALIVE"
        await group.close()
        assert not [event async for event in events if isinstance(event, LinkDown | LinkUp)]


async def test_a_connection_that_has_ended_is_found_out_by_asking() -> None:
    async with joined() as (group, server):
        events = group.events()
        connection = server._driver.router._connections[0]  # type: ignore[union-attr]
        connection._pause = 60.0  # it does not come back
        connection.cut()
        down = await event_of(events, LinkDown, scaled(QUICK.interval))  # sooner than by the heartbeat
        assert "connection" in down.reason


async def test_what_a_container_still_says_when_its_link_is_closed_is_no_strangers_word() -> None:
    """It would be put out at once, and might not hear GOODBYE."""
    async with joined() as (group, _):
        route = next(iter(group._lobby._table.by_route))
        await group._host.disconnect(group.members[0].remote_id)
        group._lobby.on_messages([[route, LINK_TAG, b"what was under way"]])
        assert not group._lobby.refused


async def test_a_container_whose_session_the_engine_has_ended_joins_anew(caplog: pytest.LogCaptureFixture) -> None:
    async with joined() as (group, server):
        events = group.events()
        route = next(iter(group._lobby._table.by_route))
        await group._host.disconnect(group.members[0].remote_id)
        left = await event_of(events, MemberLeft)
        assert left.reason == "its link was closed"
        again = await event_of(events, MemberJoined)
        assert "it has joined at" in again.reason
        assert await soon(group.call("one")) == 1
        assert route not in group._lobby._table.by_route
        assert len(server.engines()) == 1
        assert "the engine has ended its session" in caplog.text
