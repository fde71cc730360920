"""What leaves as one message, seen from the other side of the wire."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from mpzmq.protocol.flow.outbox import CORKED_BYTES
from mpzmq.protocol.wire.kinds import Kind, Op
from mpzmq.protocol.wire.records import BATCH_BYTES
from tests.support.scene import worker_of
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq import ComputerEngineWriter
    from tests.support.raw import Liar, Raw
    from tests.support.scene import Scene

RESPONSE = [Kind.RESPONSE, 1, "done"]


async def messages(liar: Liar, number: int) -> list[list[bytes]]:
    """The tags of the next requests, message by message."""
    seen: list[list[bytes]] = []
    while sum(map(len, seen)) < number:
        seen.append([tag for tag, _ in liar.router.unpack(await liar.router.receive())])
    return seen


async def test_the_first_of_a_pass_leaves_at_once_and_the_others_together(
    lied: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = lied
    calls = [asyncio.create_task(container.request(number)) for number in range(10)]
    seen = await messages(liar, 10)
    assert [len(tags) for tags in seen] == [1, 9]
    for tags in seen:
        liar.say(b"".join(tags), *[RESPONSE for _ in tags])
    assert await soon(asyncio.gather(*calls)) == ["done"] * 10


async def test_callers_that_were_answered_together_ask_together(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied

    async def caller() -> None:
        for number in range(3):
            await container.request(number)

    calls = [asyncio.create_task(caller()) for _ in range(10)]
    seen = await messages(liar, 10)
    liar.say(b"".join(itertools.chain(*seen)), *[RESPONSE] * 10)
    for _ in range(2):
        (tags,) = await messages(liar, 10)
        liar.say(b"".join(tags), *[RESPONSE] * 10)
    await soon(asyncio.gather(*calls))


async def test_items_of_a_stream_between_answers_do_not_part_those_who_ask_again(
    lied: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = lied
    stream = container.stream("count")
    reading = asyncio.create_task(anext(stream))
    ((streamed,),) = await messages(liar, 1)

    async def caller() -> None:
        for number in range(2):
            await container.request(number)

    calls = [asyncio.create_task(caller()) for _ in range(10)]
    tags = [*itertools.chain(*await messages(liar, 10))]
    answers = [(tag, RESPONSE) for tag in tags]
    items = [(streamed, [Kind.CHUNK, number, 1, False, [number]]) for number in range(len(tags))]
    burst = [*itertools.chain(*zip(answers, items, strict=True))]
    liar.say(b"".join(tag for tag, _ in burst), *[record for _, record in burst])
    (again,) = await messages(liar, 10)
    liar.say(b"".join(again), *[RESPONSE] * 10)
    await soon(asyncio.gather(*calls))
    assert await soon(reading) == 0
    await stream.aclose()


async def test_callers_inside_whose_requests_something_was_called_ask_together(
    lied: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = lied
    worker_of(container).function(lambda: None, name="note")

    async def caller() -> None:
        for number in range(2):
            await container.request(number)

    calls = [asyncio.create_task(caller()) for _ in range(10)]
    tags = [*itertools.chain(*await messages(liar, 10))]
    inside = [uuid.UUID(bytes=tag) for tag in tags]
    asked: list[list[Any]] = [
        [Kind.REQUEST, n, None, 0, Op.CALL, "note", [], None, None, parent] for n, parent in enumerate(inside, 1)
    ]
    liar.say(b"".join(uuid.uuid4().bytes for _ in tags), *asked)
    while (kinds := [record[0] for _, record in liar.router.unpack(await liar.router.receive())]) and (
        Kind.RESPONSE not in kinds
    ):
        pass
    liar.say(b"".join(tags), *[RESPONSE] * 10)
    (again,) = await messages(liar, 10)
    liar.say(b"".join(again), *[RESPONSE] * 10)
    await soon(asyncio.gather(*calls))


async def test_one_that_was_answered_alone_asks_at_once(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    loop = asyncio.get_running_loop()
    waiting: list[int] = []
    for _ in range(3):
        call = asyncio.create_task(container.request("alone"))
        loop.call_soon(lambda: waiting.append(len(container._link.tracker.outbox)))  # right behind it, in its pass
        ((tag,),) = await messages(liar, 1)
        liar.say(tag, RESPONSE)
        assert await soon(call) == "done"
    assert waiting == [0, 0, 0]


async def test_what_is_enough_leaves_before_the_pass_ends(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    calls = [asyncio.create_task(container.request(bytes(1000))) for _ in range(50)]
    seen = await messages(liar, 50)
    assert [len(tags) for tags in seen] == [1, 16, 16, 16, 1]
    assert CORKED_BYTES == 16 * 1024
    for tags in seen:
        liar.say(b"".join(tags), *[RESPONSE for _ in tags])
    await soon(asyncio.gather(*calls))


async def test_few_that_are_large_wait_for_a_full_message(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    """Each message wakes the other side: four requests would not be worth it."""
    container, liar = lied
    calls = [asyncio.create_task(container.request(bytes(4096))) for _ in range(40)]
    seen = await messages(liar, 40)
    full = BATCH_BYTES // 4096 - 1  # what stands around the data takes one's place
    assert [len(tags) for tags in seen] == [1, full, full, 39 - 2 * full]
    for tags in seen:
        liar.say(b"".join(tags), *[RESPONSE for _ in tags])
    await soon(asyncio.gather(*calls))


async def test_requests_with_buffers_that_come_together_are_two(scene: Scene, raw: Callable[[int], Raw]) -> None:
    """This library sends each alone; the protocol lets others share a message, whose buffers are counted as one row."""

    @scene.server.function
    def told(data: Any) -> list[Any]:
        return [type(data).__name__, len(data)]

    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    tags = [uuid.uuid4().bytes for _ in range(2)]
    first, second = (msgpack.ExtType(1, msgpack.packb(form)) for form in ([0, "v", "B", [3]], 1))
    requests = [
        msgpack.packb([Kind.REQUEST, number, None, 0, Op.CALL, "told", [buffer], None, None])
        for number, buffer in ((1, first), (2, second))
    ]
    peer.send(b"".join(tags), b"".join(requests), bytes(3), bytes(20_000))
    answers: list[tuple[bytes, list[Any]]] = []
    while len(answers) < 2:
        answers += peer.unpack(await peer.receive())
    assert answers == [
        (tags[0], [Kind.RESPONSE, 1, ["memoryview", 3]]),
        (tags[1], [Kind.RESPONSE, 1, ["bytes", 20_000]]),
    ]


async def test_replies_with_buffers_that_come_together_are_two(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    calls = [asyncio.create_task(container.request(number)) for number in range(2)]
    tags = await liar.requests(2)
    first, second = (msgpack.ExtType(1, msgpack.packb(form)) for form in ([0, "v", "B", [3]], 1))
    body = b"".join(msgpack.packb([Kind.RESPONSE, 1, buffer]) for buffer in (first, second))
    liar.router.send(liar.route, b"".join(tags), body, b"abc", bytes(20_000))
    view, plain = await soon(asyncio.gather(*calls))
    assert (bytes(view), view.format, plain) == (b"abc", "B", bytes(20_000))


@pytest.mark.parametrize("name", ["plain", "later"])
async def test_replies_to_one_burst_leave_together(scene: Scene, raw: Callable[[int], Raw], name: str) -> None:
    @scene.server.function
    def plain(data: Any) -> Any:
        return data

    @scene.server.function
    async def later(data: Any) -> Any:
        return data

    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    for size, expected in ((10, [10]), (1020, [16, 16, 8])):
        tags = [uuid.uuid4().bytes for _ in range(sum(expected))]
        requests = [[Kind.REQUEST, 1, None, 0, Op.CALL, name, [bytes(size)], None, None] for _ in tags]
        peer.send(b"".join(tags), peer.pack(*requests))
        seen: list[list[bytes]] = []
        while sum(map(len, seen)) < len(tags):
            seen.append([tag for tag, _ in peer.unpack(await peer.receive())])
        assert [len(some) for some in seen] == expected and [*itertools.chain(*seen)] == tags
