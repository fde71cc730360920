"""Channels over real sockets: both directions, and every way to end."""

from __future__ import annotations

import asyncio
import gc
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ConnectionClosed, ConnectionLost, Executed, Limits, LinkState, RemoteError, RequestTimeout
from tests.support.streams import Stage, all_of, read_into
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_ping_pong(stage: Stage) -> None:
    async with stage.container.channel("echo", prefix="p") as channel:
        for index in range(200):
            await channel.send(index)
            assert await soon(anext(channel)) == ["p", index]
        await channel.send_eof()
        await channel.send_eof()
        assert await soon(all_of(channel)) == []
        with pytest.raises(RuntimeError, match="send_eof"):
            await channel.send(1)
    assert stage.ended == [("echo", None)]


async def test_results_go_on_behind_the_end_of_the_data(stage: Stage) -> None:
    async with stage.container.channel("reversed_") as channel:
        for index in range(3000):
            await channel.send(index)
        await channel.send_eof()
        assert await soon(all_of(channel)) == list(reversed(range(3000)))


async def test_a_channel_is_opened_first_and_once(stage: Stage) -> None:
    channel = stage.container.channel("echo")
    with pytest.raises(RuntimeError, match="not open"):
        await channel.send(1)
    with pytest.raises(RuntimeError, match="not open"):
        await channel.send_eof()
    async with channel:
        with pytest.raises(RuntimeError, match="once"):
            await channel.__aenter__()
        await channel.send(1)
        assert await soon(anext(channel)) == 1
    with pytest.raises(RuntimeError, match="closed"):
        await channel.send(1)
    assert await all_of(channel) == []


async def test_the_handler_may_end_first(stage: Stage) -> None:
    async with stage.container.channel("three") as channel:
        for index in range(3):
            await channel.send(index)
        assert await soon(all_of(channel)) == [0, 1, 2]
        with pytest.raises(ConnectionClosed, match="takes no more") as over:
            await channel.send(3)
        assert over.value.executed is Executed.YES
        await channel.send_eof()


async def test_each_try_to_send_on_an_ended_channel_raises_an_error_of_its_own(stage: Stage) -> None:
    """One that was raised again and again would carry all of those places, and more each time."""
    errors: list[BaseException] = []
    async with stage.container.channel("bad_echo") as channel:
        await channel.send(None)
        with pytest.raises(RemoteError, match="None") as read:
            await soon(anext(channel))
        errors.append(read.value)
        for _ in range(3):
            with pytest.raises(RemoteError, match="None") as sent:
                await channel.send(1)
            errors.append(sent.value)
    assert len(set(map(id, errors))) == 4
    first, *others = errors
    depths = {len(list(traceback.walk_tb(error.__traceback__))) for error in others}
    assert len(depths) == 1
    assert all(vars(error) == vars(first) and error.args == first.args for error in others)


async def test_whoever_waits_for_room_hears_of_the_end(stage: Stage) -> None:
    @stage.server.function
    async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("deaf"):
            yield 1
            await stage.gate.wait()

    async with stage.container.channel("deaf") as channel:

        async def send() -> None:
            while True:
                await channel.send(bytes(1000))

        sending = asyncio.create_task(send())
        assert await soon(anext(channel)) == 1
        await until(lambda: not channel._outflow.has_room)  # type: ignore[union-attr]
        stage.gate.set()
        with pytest.raises(ConnectionClosed):
            await soon(sending)
        assert await soon(all_of(channel)) == []


async def test_who_waits_for_room_hears_that_the_channel_was_closed_here(stage: Stage) -> None:
    await stage.proxy.cut()
    await until(lambda: stage.container.state is LinkState.DOWN)
    async with stage.container.channel("echo") as channel:

        async def fill() -> None:
            while True:
                await channel.send(bytes(1000))

        sending = asyncio.create_task(fill())
        await asyncio.sleep(0)
    with pytest.raises(ConnectionClosed, match="takes no more: it was closed on this side") as over:
        await soon(sending)
    assert over.value.executed is Executed.NO, "it never left"
    stage.proxy.restore()
    await soon(stage.container.wait_ready())


async def test_what_the_handler_raises_is_told_to_both(stage: Stage) -> None:
    async with stage.container.channel("bad_echo") as channel:
        await channel.send(1)
        await channel.send(None)
        with pytest.raises(RemoteError, match="None"):
            assert await soon(anext(channel)) == 1
            await soon(anext(channel))
        with pytest.raises(RemoteError, match="None"):
            await channel.send(2)
        assert await all_of(channel) == []


async def test_an_item_that_cannot_be_sent_leaves_the_channel_open(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        with pytest.raises(TypeError, match="object"):
            await channel.send(object())
        await channel.send("next")
        assert await soon(anext(channel)) == "next"


async def test_leaving_early_ends_the_handler(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        await channel.send(1)
        assert await soon(anext(channel)) == 1
    await until(lambda: stage.ended == [("echo", asyncio.CancelledError)])
    with pytest.raises(ZeroDivisionError):
        async with stage.container.channel("echo") as channel:
            1 / 0  # noqa: B018
    assert stage.worker.statistics().cancelled == 2


async def test_a_channel_that_is_dropped_ends_its_handler(stage: Stage) -> None:
    channel = stage.container.channel("echo")
    await channel.__aenter__()
    await channel.send(1)
    assert await soon(anext(channel)) == 1
    del channel
    gc.collect()
    await until(lambda: stage.ended == [("echo", asyncio.CancelledError)])


@pytest.mark.parametrize("limits", [Limits(), Limits(stream_items=4), Limits(stream_bytes=1000)])
async def test_two_tasks(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:

        async def send() -> None:
            for index in range(5000):
                await channel.send(index)
            await channel.send_eof()

        sending = asyncio.create_task(send())
        assert await soon(all_of(channel), 30.0) == list(range(5000))
        await sending


async def test_one_reader_and_one_sender_at_a_time(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        reading = asyncio.create_task(anext(channel))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one at a time"):
            await anext(channel)
        await channel.send(1)
        assert await soon(reading) == 1


async def test_two_hundred_at_once(stage: Stage) -> None:
    async def talk(number: int) -> list[Any]:
        async with stage.container.channel("echo", prefix=number) as channel:
            for index in range(20):
                await channel.send(index)
                assert await anext(channel) == [number, index]
            await channel.send_eof()
            return await all_of(channel)

    assert await soon(asyncio.gather(*map(talk, range(200))), 40.0) == [[]] * 200


async def test_a_lost_connection_ends_it_on_both_sides(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        for index in range(10):
            await channel.send(index)
        for index in range(5):
            assert await soon(anext(channel)) == index
        await until(lambda: len(stage.taken) == 10 and channel._inflow.received == 10)
        await stage.lose()
        seen: list[Any] = []
        with pytest.raises(ConnectionLost) as lost:
            await read_into(seen, channel)
        assert seen == [5, 6, 7, 8, 9] and lost.value.executed is Executed.YES
        assert lost.value.progress is not None and (lost.value.progress.sent, lost.value.progress.received) == (10, 10)
        with pytest.raises(ConnectionLost):
            await channel.send(11)
    await until(lambda: stage.ended)
    assert stage.ended[0][1] in (ConnectionLost, asyncio.CancelledError)


async def test_idle_timeout_is_told_to_both(stage: Stage) -> None:
    @stage.server.function
    async def mute(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("mute"):
            await stage.gate.wait()
            yield 1

    async with stage.container.channel("mute", idle_timeout=0.3) as channel:

        async def send() -> None:
            while True:
                await channel.send(1)

        with pytest.raises(RequestTimeout, match="idle_timeout") as told:
            await soon(send())
        with pytest.raises(RequestTimeout) as as_well:
            await soon(anext(channel))
        assert vars(as_well.value) == vars(told.value)
    await until(lambda: stage.ended == [("mute", asyncio.CancelledError)])


async def test_a_deadline_is_told_to_both(stage: Stage) -> None:
    async with stage.container.channel("echo", timeout=scaled(0.3)) as channel:

        async def send() -> None:
            while True:  # it does not read, so it stands still
                await channel.send(bytes(1000))

        sending = asyncio.create_task(send())
        with pytest.raises(RequestTimeout) as late:
            await soon(sending)
        assert "idle" not in str(late.value)
        with pytest.raises(RequestTimeout):
            await soon(all_of(channel))
    # It waited to yield.
    await until(lambda: stage.ended == [("echo", GeneratorExit)])
