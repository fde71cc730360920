"""Forged ids: other engines' requests, sessions and numbers. What a session is worth without keys is told here, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import zmq

from mpzmq import LinkState, RequestIdReused
from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Code, Flag, Kind
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.scene import Scene, adds_up
from tests.support.waiting import soon, until

from .liar import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import ComputerEngineWriter
    from tests.support.raw import Liar, Raw


class Held:
    """A function that does not end before it is told to, and knows how often it ran and was cancelled."""

    def __init__(self, scene: Scene) -> None:
        self.ran: list[str] = []
        self.cancelled: list[str] = []
        self.release = asyncio.Event()
        scene.server.function(self.held, name="held")

    async def held(self, who: str) -> str:
        self.ran.append(who)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(who)
            raise
        return f"for {who}"


async def answers(peer: Raw, count: int) -> list[tuple[bytes, list[Any]]]:
    """The next so many answers to requests."""
    found: list[tuple[bytes, list[Any]]] = []
    while len(found) < count:
        found += [(tag, record) for tag, record in peer.unpack(await peer.receive()) if tag != LINK_TAG]
    assert len(found) == count
    return found


async def all_read(peer: Raw, number: int = 1) -> None:
    """What was sent has been read."""
    peer.send(LINK_TAG, peer.pack([Kind.PING, number]))
    while peer.unpack(await peer.receive())[0][1][0] != Kind.PONG:
        pass


async def held_by_another(scene: Scene) -> tuple[Held, bytes, asyncio.Task[Any]]:
    """A request of the honest engine that runs, and its tag."""
    held, asked = Held(scene), uuid4()
    service = scene.worker.service(timeout=20.0)
    task = asyncio.create_task(service.call(scene.container.remote_id, "held", "honest", request_id=asked))
    await until(lambda: held.ran)
    return held, asked.bytes, task


async def test_anothers_id_under_ones_own_session_is_ones_own_request(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held, tag, task = await held_by_another(scene)
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    peer.send(tag, peer.pack(request(1, "thief", Flag.CHOSEN, "held")))
    await until(lambda: len(held.ran) == 2)
    held.release.set()
    assert peer.unpack(await peer.receive()) == [(tag, [Kind.RESPONSE, 1, "for thief"])]
    assert await soon(task) == "for honest"
    assert adds_up(scene.container.statistics())


async def test_a_reply_that_another_was_given_cannot_be_asked_for(scene: Scene, raw: Callable[[int], Raw]) -> None:
    asked = uuid4()
    await soon(scene.worker.service().request(asked, scene.container.remote_id, "secret"))
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    peer.send(asked.bytes, peer.pack(request(1, "guess", Flag.CHOSEN)))
    assert peer.unpack(await peer.receive()) == [(asked.bytes, [Kind.RESPONSE, 1, "guess"])]


async def test_cancel_of_anothers_request_does_nothing(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held, tag, task = await held_by_another(scene)
    stranger, peer = raw(zmq.DEALER).connect(scene.endpoint), raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    for liar in (stranger, peer):
        liar.send(tag, liar.pack([Kind.CANCEL]))
        liar.send(tag * 3, liar.pack([Kind.CANCEL], [Kind.CANCEL], [Kind.CANCEL]))
    peer.send(LINK_TAG, peer.pack([Kind.GOODBYE, 2, "and nobody waits for it"]))
    await until(lambda: scene.server.statistics().sessions == 1)
    held.release.set()
    assert await soon(task) == "for honest"
    assert held.cancelled == []


async def test_received_for_anothers_reply_forgets_nothing(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held = Held(scene)
    held.release.set()
    owner, thief = raw(zmq.DEALER).connect(scene.endpoint), raw(zmq.DEALER).connect(scene.endpoint)
    session, tag = uuid4(), uuid4().bytes
    await owner.greet(session)
    await thief.greet()
    owner.send(tag, owner.pack(request(1, "owner", 0, "held")))
    first = owner.unpack(await owner.receive())
    thief.send(LINK_TAG, thief.pack([Kind.RECEIVED, 1 << 40, tag]))
    await all_read(thief)
    # The connection is lost, and the same asked again: it is answered from what is kept.
    again = raw(zmq.DEALER).connect(scene.endpoint)
    await again.greet(session, 2)
    again.send(tag, again.pack(request(1, "owner", 0, "held")))
    assert again.unpack(await again.receive()) == first
    assert held.ran == ["owner"]


async def test_a_replay_runs_nothing_twice(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held = Held(scene)
    held.release.set()
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    said = [(uuid4().bytes, peer.pack(request(number, str(number), 0, "held"))) for number in range(1, 21)]
    for message in said:
        peer.send(*message)
    await answers(peer, 20)
    for _ in range(3):
        for message in said:
            peer.send(*message)
        assert [record[0] for _, record in await answers(peer, 20)] == [Kind.RESPONSE] * 20
    # What was acknowledged is forgotten, and may not run either: its number is below what may still come.
    peer.send(LINK_TAG, peer.pack([Kind.RECEIVED, 21, b"".join(tag for tag, _ in said)]))
    for message in said:
        peer.send(*message)
    assert [record[:2] for _, record in await answers(peer, 20)] == [[Kind.ERROR, Code.STALE]] * 20
    assert held.ran == [str(number) for number in range(1, 21)]
    counted = scene.server.statistics()
    assert counted.received == counted.replied == 20


async def test_the_same_id_for_something_else_is_refused(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held, peer = Held(scene), raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    tag = uuid4().bytes
    peer.send(tag, peer.pack(request(1, "first", 0, "held")))
    await until(lambda: held.ran)
    for number, flags in ((2, 0), (2, Flag.CHOSEN), (0, 0)):
        peer.send(tag, peer.pack(request(number, "second", flags, "held")))
        assert peer.unpack(await peer.receive())[0][1][:3] == [Kind.ERROR, Code.ID_REUSED, 0]
    held.release.set()
    assert peer.unpack(await peer.receive()) == [(tag, [Kind.RESPONSE, 1, "for first"])]
    assert held.ran == ["first"]


async def test_the_limit_without_keys_whoever_knows_a_session_has_it(scene: Scene, raw: Callable[[int], Raw]) -> None:
    """A session's id is its only secret. With it, a thief supersedes the owner, reads its replies, and ends it."""
    held = Held(scene)
    owner, thief = raw(zmq.DEALER).connect(scene.endpoint), raw(zmq.DEALER).connect(scene.endpoint)
    session, tag = uuid4(), uuid4().bytes
    await owner.greet(session)
    owner.send(tag, owner.pack(request(1, "owner", 0, "held")))
    await until(lambda: held.ran)
    welcome = await thief.greet(session, (1 << 64) - 1)
    assert welcome[4] is True  # resumed
    held.release.set()
    assert thief.unpack(await thief.receive()) == [(tag, [Kind.RESPONSE, 1, "for owner"])]
    # The owner cannot come back: no number is higher. Its link gets no WELCOME; a link made anew is a new session.
    ignored = scene.server.statistics().ignored
    owner.send(LINK_TAG, owner.pack(wire.hello(session, 2, "owner", 60.0, Limits())))
    await until(lambda: scene.server.statistics().ignored > ignored)
    # Others do not notice.
    assert await soon(scene.container.request("honest")) == "honest"
    assert scene.container.state is LinkState.ALIVE


async def test_a_session_that_is_guessed_wrong_is_a_new_one(scene: Scene, raw: Callable[[int], Raw]) -> None:
    held, _, task = await held_by_another(scene)
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    for number in range(200):
        peer.send(LINK_TAG, peer.pack(wire.hello(uuid4(), number, "guess", 60.0, Limits())))
        answer = peer.unpack(await peer.receive())[0][1]
        assert answer[0] == Kind.WELCOME and answer[4] is False
    held.release.set()
    assert await soon(task) == "for honest"


# The same at the engine


async def test_replies_to_ids_that_nobody_asked_with(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    call = asyncio.create_task(container.request("x", timeout=20.0))
    tag = await liar.request()
    for forged in (uuid4().bytes, LINK_TAG, tag[::-1], bytes(15) + b"\x01", UUID(int=(1 << 128) - 1).bytes):
        liar.say(forged, [Kind.RESPONSE, 1, "forged"])
        liar.say(forged, [Kind.ERROR, Code.REMOTE, 2, 1, "forged", None])
        liar.say(forged, [Kind.STARTED])
        liar.router.send(liar.route, forged, b"\xc1")
    liar.say(tag, [Kind.RESPONSE, 1, "right"])
    assert await soon(call) == "right"
    assert adds_up(container.statistics())
    assert container.state is LinkState.ALIVE


@pytest.mark.parametrize("count", [-1, 0, 1, (1 << 63) - 1, (1 << 64) - 1])
async def test_counts_of_what_was_read_that_cannot_be(lied: tuple[ComputerEngineWriter, Liar], count: int) -> None:
    container, liar = lied
    for number in (liar.number, liar.number + 1, 0, (1 << 64) - 1):
        liar.say(LINK_TAG, [Kind.PONG, number, count, count])
        liar.say(LINK_TAG, [Kind.PONG, 0, count, count])
    for number in range(20):
        call = asyncio.create_task(container.request(number, timeout=20.0))
        liar.say(await liar.request(), [Kind.RESPONSE, 1, number])
        assert await soon(call) == number
    assert adds_up(container.statistics())


async def test_welcome_again_and_with_other_numbers(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    instance = container.instance
    for number in (liar.number, liar.number - 1, liar.number + 1, (1 << 64) - 1):
        liar.number, kept = number, liar.number
        other = liar.welcome()
        liar.number = kept
        other[8] = [1, 1]
        liar.say(LINK_TAG, other)
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.say(await liar.request(), [Kind.RESPONSE, 1, "y"])
    assert await soon(call) == "y"
    assert container.instance == instance
    assert container.statistics().reconnects == 0


async def test_an_error_that_says_the_id_was_used_is_the_callers_own(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    call = asyncio.create_task(container.request("x", timeout=20.0))
    liar.say(await liar.request(), [Kind.ERROR, Code.ID_REUSED, 0, 1, "reused", None])
    with pytest.raises(RequestIdReused):
        await soon(call)
