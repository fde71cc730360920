"""Streams whose items are so large that they leave in parts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy
import pytest

from mpzmq import ConnectionLost
from mpzmq.protocol.flow.fragmenter import FRAGMENT_BYTES
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.streams import Stage


SIZE = FRAGMENT_BYTES * 3 // 2


def content(number: int) -> bytes:
    return bytes((number,)) * SIZE


async def contents(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield content(number)


async def test_large_items_come_whole_and_in_order(stage: Stage) -> None:
    items = [content(1), "small", memoryview(content(2)), numpy.full((SIZE // 8,), 3.5), "y" * SIZE, None]
    got = []
    async with stage.container.channel("echo") as channel:
        for item in items:
            await channel.send(item)
            got.append(await soon(anext(channel)))
    assert got[:3] == items[:3] and got[4:] == items[4:]
    assert isinstance(got[3], numpy.ndarray) and (got[3] == items[3]).all()


async def test_small_requests_are_answered_between_the_parts(stage: Stage) -> None:
    stage.proxy.rate = 8 * FRAGMENT_BYTES
    answered = 0
    reading = asyncio.ensure_future(anext(stage.container.stream("count", 1, 4 * FRAGMENT_BYTES)))
    while not reading.done():
        assert await stage.container.call("plain", "word") == "word"
        answered += 1
    stage.proxy.rate = None
    assert len((await reading)[1]) == 4 * FRAGMENT_BYTES
    assert answered >= 2, "it takes half a second, and the first answer may have been in front of it"


async def test_a_stream_of_large_items_goes_on_behind_lost_connections(stage: Stage) -> None:
    seen = []
    async for index, data in stage.container.stream("count", 6, SIZE):
        seen.append((index, len(data)))
        if index in (1, 3):
            await stage.lose()
    assert seen == [(index, SIZE) for index in range(6)]
    assert stage.ran == ["count"]


async def test_a_reader_that_leaves_in_the_middle_of_an_item(stage: Stage) -> None:
    for _ in range(3):
        async for _item in stage.container.stream("forever", SIZE):
            break
    assert await stage.container.call("plain", "still there") == "still there"


async def test_an_upload_of_large_items_whose_function_ends_early(stage: Stage) -> None:
    for _ in range(3):
        assert await soon(stage.container.upload("first", contents(5))) == [content(0)]
    assert await soon(stage.container.upload("total", contents(3))) == 3 * SIZE


async def test_an_upload_of_large_items_ends_with_its_connection(stage: Stage) -> None:
    uploading = asyncio.ensure_future(stage.container.upload("unread", contents(20)))
    await until(lambda: stage.ran)
    await stage.lose()
    with pytest.raises(ConnectionLost) as caught:
        await soon(uploading)
    assert caught.value.progress is not None
    stage.gate.set()
    assert await soon(stage.container.upload("total", contents(2))) == 2 * SIZE


async def test_many_streams_of_large_items_at_once(stage: Stage) -> None:
    async def read(number: int) -> list[int]:
        return [len(item) async for item in stage.container.stream("given_items", [content(number)] * 3)]

    assert await asyncio.gather(*map(read, range(8))) == [[SIZE] * 3] * 8
