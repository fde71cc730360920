"""Channels over real sockets: both directions, and every way to end."""

from __future__ import annotations

import asyncio
import gc
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    Channel,
    ConnectionClosed,
    ConnectionLost,
    Executed,
    Limits,
    LinkState,
    RemoteError,
    RequestTimeout,
    Unsupported,
)
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


async def test_nothing_may_be_all_that_is_sent(stage: Stage) -> None:
    """The end of the data waits for the request to be taken, as an item would."""

    async def ask(function: str) -> list[Any]:
        async with stage.container.channel(function) as channel:
            await channel.send_eof()
            return await all_of(channel)

    for _ in range(20):
        assert await soon(ask("reversed_")) == []
    assert await soon(asyncio.gather(*(ask("reversed_") for _ in range(50)))) == [[]] * 50
    with pytest.raises(Unsupported):
        await soon(ask("missing"))


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
        await until(lambda: not channel._send_stream.has_room)
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
        await channel.aclose()
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


async def test_aclose_and_an_exception_end_the_handler_at_once(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        await channel.send(1)
        assert await soon(anext(channel)) == 1
        await channel.aclose()
    await until(lambda: stage.ended == [("echo", asyncio.CancelledError)])
    with pytest.raises(ZeroDivisionError):
        async with stage.container.channel("echo") as channel:
            await channel.send(1)
            1 / 0  # noqa: B018
    async with stage.container.channel("echo"):
        pass  # nothing was sent
    assert stage.worker.statistics().cancelled == 3


# Leaving


@pytest.mark.parametrize("limits", [Limits(), Limits(stream_items=4), Limits(stream_bytes=1000)])
@pytest.mark.parametrize("count", [1, 200])
async def test_what_was_sent_is_handed_over_before_the_block_is_left(stage: Stage, count: int) -> None:
    done: list[int] = []

    @stage.server.function
    async def keep(items: AsyncIterator[int]) -> AsyncIterator[int]:
        with stage.noted("keep"):
            kept = []
            async for item in items:
                await asyncio.sleep(0)
                kept.append(item)
            await asyncio.sleep(0.01)
            done.extend(kept)
            yield len(kept)

    for _ in range(3):
        done.clear()

        async def send() -> None:
            async with stage.container.channel("keep") as channel:
                for item in range(count):
                    await channel.send(item)

        await soon(send())
        assert done == list(range(count)), "what stands behind its loop has run, too"


async def test_what_is_yielded_meanwhile_is_dropped(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        for item in range(5000):
            await channel.send(item)
            if item == 2000:
                assert await soon(anext(channel)) == 0
    assert stage.taken == list(range(5000))
    assert await all_of(channel) == []


async def test_a_function_that_goes_on_for_ever_is_ended(stage: Stage) -> None:
    @stage.server.function
    async def ticks(items: AsyncIterator[str]) -> AsyncIterator[int]:
        with stage.noted("ticks"):
            stage.taken.append(await anext(aiter(items)))
            tick = 0
            while True:
                yield tick
                tick += 1

    async def watch() -> None:
        async with stage.container.channel("ticks") as channel:
            await channel.send("topic")
            async for tick in channel:
                if tick == 3:
                    break

    async def only_send() -> None:
        async with stage.container.channel("ticks") as channel:
            await channel.send("other")

    await soon(watch())
    await soon(only_send())
    assert stage.taken == ["topic", "other"]
    await until(lambda: [name for name, _ in stage.ended] == ["ticks", "ticks"])


async def test_a_function_that_has_returned_need_not_have_read_all(stage: Stage) -> None:
    async with stage.container.channel("three") as channel:
        for item in range(10):
            await channel.send(item)
        await until(lambda: stage.ended)


async def test_the_block_raises_what_nobody_was_told(stage: Stage) -> None:
    with pytest.raises(RemoteError, match="None"):
        async with stage.container.channel("bad_echo") as channel:
            await channel.send(None)
    async with stage.container.channel("bad_echo") as channel:
        await channel.send(None)
        with pytest.raises(RemoteError, match="None"):
            await soon(anext(channel))
    assert stage.worker.statistics().failed == 2


@pytest.mark.parametrize("bound", [{"timeout": 0.2}, {"idle_timeout": 0.2}], ids=["timeout", "idle_timeout"])
async def test_leaving_a_function_that_does_not_read_is_bounded(stage: Stage, bound: dict[str, Any]) -> None:
    @stage.server.function
    async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("deaf"):
            await stage.gate.wait()
            yield 1

    async def leave() -> None:
        async with stage.container.channel("deaf", **bound) as channel:
            await channel.send(1)

    with pytest.raises(RequestTimeout):
        await soon(leave())
    await until(lambda: stage.ended == [("deaf", asyncio.CancelledError)])


async def test_leaving_ends_with_the_connection(stage: Stage) -> None:
    @stage.server.function
    async def slow(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("slow"):
            await anext(aiter(items))
            await stage.gate.wait()
            yield 1

    async def leave() -> None:
        async with stage.container.channel("slow") as channel:
            await channel.send(1)

    leaving = asyncio.create_task(leave())
    await until(lambda: stage.ran)
    await stage.proxy.reset()
    with pytest.raises(ConnectionLost):
        await soon(leaving)


async def test_leaving_may_be_cancelled(stage: Stage) -> None:
    async def leave() -> None:
        async with stage.container.channel("unread_", idle_timeout=None) as channel:
            await channel.send(1)

    @stage.server.function
    async def unread_(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("unread_"):
            await stage.gate.wait()
            yield 1

    leaving = asyncio.create_task(leave())
    await until(lambda: stage.ran)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(leaving)
    await until(lambda: stage.ended == [("unread_", asyncio.CancelledError)])


async def test_one_task_leaves_while_another_reads(stage: Stage) -> None:
    read: list[Any] = []
    async with stage.container.channel("echo") as channel:
        reading = asyncio.create_task(read_into(read, channel))
        for item in range(2000):
            await channel.send(item)
    await soon(reading)
    assert stage.taken == list(range(2000))
    assert read == list(range(len(read)))


@pytest.mark.parametrize("pauses", [0, 1], ids=["at once", "slowly"])
@pytest.mark.parametrize("begins", [False, True], ids=["made", "waiting"])
async def test_a_task_that_reads_gets_what_has_come_when_another_leaves(
    stage: Stage, begins: bool, pauses: int
) -> None:
    """It had been told that another task read, since that waited for it to have room."""
    read: list[int] = []

    async def read_all(channel: Channel) -> None:
        async for item in channel:
            read.append(item)
            for _ in range(pauses):
                await asyncio.sleep(0)

    async with stage.container.channel("echo") as channel:
        reading = asyncio.create_task(read_all(channel))
        if begins:
            await asyncio.sleep(0)
        for item in range(200):  # less than may be on its way: nothing is awaited
            await channel.send(item)
    await soon(reading)
    assert stage.taken == list(range(200))
    assert read == list(range(len(read)))


async def test_leaving_goes_on_when_the_task_that_reads_has_ended(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        reading = asyncio.create_task(anext(channel))
        for item in range(2000):
            if item == 1:
                assert await soon(reading) == 0
                reading = asyncio.create_task(read_into([], channel))
            if item == 100:
                reading.cancel()
                break
            await channel.send(item)
    await until(lambda: stage.ended)


async def test_leaving_is_bounded_while_the_task_that_reads_does_something_else(stage: Stage) -> None:
    async def reads_one(channel: Channel) -> None:
        async for _ in channel:
            await stage.gate.wait()

    reading: list[asyncio.Task[None]] = []

    async def leave() -> None:
        async with stage.container.channel("repeat", idle_timeout=0.3) as channel:
            reading.append(asyncio.create_task(reads_one(channel)))
            await channel.send(1)
            await channel.send(2)  # which it does not come to

    @stage.server.function
    async def repeat(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        with stage.noted("repeat"):
            async for _ in items:
                while True:
                    yield bytes(1000)

    with pytest.raises(RequestTimeout):
        await soon(leave())
    reading[0].cancel()
    await until(lambda: stage.ended)


# Several tasks at one end


NARROW = [Limits(stream_items=4), Limits(stream_bytes=1000)]


@pytest.mark.parametrize("limits", NARROW)
async def test_senders_take_turns(stage: Stage) -> None:
    """Each item is sent once, whoever waits, and nobody passes those who came before."""
    async with stage.container.channel("echo") as channel:

        async def send(number: int) -> None:
            for index in range(100):
                await channel.send([number, index, bytes(100)])

        senders = [asyncio.create_task(send(number)) for number in range(5)]
        read = asyncio.create_task(all_of(channel))
        await soon(asyncio.gather(*senders))
        await channel.send_eof()
        items = await soon(read)
    for number in range(5):
        assert [index for who, index, _ in items if who == number] == list(range(100))
    counts = [sum(who == number for who, *_ in items[:400]) for number in range(5)]
    assert max(counts) - min(counts) <= 15, "no more than the first could send before the others came"


@pytest.mark.parametrize("limits", NARROW)
async def test_a_send_that_is_cancelled_was_not_sent(stage: Stage) -> None:
    async def send(channel: Channel, item: int) -> None:
        while True:
            try:
                await asyncio.wait_for(channel.send(item), 0.001)
            except TimeoutError:
                continue
            return

    async with stage.container.channel("echo") as channel:

        async def send_all() -> None:
            for item in range(60):
                await send(channel, item)
            await channel.send_eof()

        sending = asyncio.create_task(send_all())
        items = []
        async for item in channel:
            items.append(item)
            await asyncio.sleep(0.004)  # slower than the sender is patient
        await soon(sending)
    assert items == list(range(60))


@pytest.mark.parametrize("limits", NARROW)
async def test_nothing_is_sent_behind_a_cancellation(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        sent = 0
        while channel._send_stream.has_room:
            await channel.send(bytes(100))
            sent += 1
        waiting = [asyncio.create_task(channel.send(str(number))) for number in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        read = asyncio.create_task(all_of(channel))
        assert [type(one) for one in await soon(asyncio.gather(*waiting, return_exceptions=True))] == [
            type(None),
            asyncio.CancelledError,
            type(None),
        ]
        await channel.send_eof()
        assert (await soon(read))[sent:] == ["0", "2"]


@pytest.mark.parametrize("limits", NARROW)
async def test_the_end_is_said_behind_those_who_wait(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        sent = 0
        while channel._send_stream.has_room:
            await channel.send(bytes(100))
            sent += 1
        cancelled = asyncio.create_task(channel.send("before"))
        dropped_end = asyncio.create_task(channel.send_eof())
        await asyncio.sleep(0)
        dropped_end.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped_end
        ending = asyncio.create_task(channel.send_eof())
        await asyncio.sleep(0)
        late = asyncio.create_task(channel.send("behind"))
        items = await soon(all_of(channel))
        await soon(asyncio.gather(cancelled, ending))
        with pytest.raises(RuntimeError, match="send_eof"):
            await soon(late)
    assert items[sent:] == ["before"]


async def test_who_waits_to_send_hears_of_the_end_of_the_channel(stage: Stage) -> None:
    @stage.server.function
    async def deaf(items: AsyncIterator[Any]) -> AsyncIterator[int]:
        with stage.noted("deaf"):
            await stage.gate.wait()
            raise LookupError("over")
            yield 1

    async with stage.container.channel("deaf") as channel:

        async def send() -> None:
            while True:
                await channel.send(bytes(10_000))

        waiting = [asyncio.create_task(send()) for _ in range(5)]
        await until(lambda: not channel._send_stream.has_room)
        stage.gate.set()
        for outcome in await soon(asyncio.gather(*waiting, return_exceptions=True)):
            assert isinstance(outcome, RemoteError)


async def test_a_second_reader_takes_nothing(stage: Stage) -> None:
    async with stage.container.channel("echo") as channel:
        first = asyncio.create_task(all_of(channel))
        await asyncio.sleep(0)
        for item in range(100):
            await channel.send(item)
            with pytest.raises(RuntimeError, match="one at a time"):
                await anext(channel)
            if item % 10 == 0:
                await until(lambda: len(stage.taken) > item)  # noqa: B023  (it is awaited here)
        await channel.send_eof()
        assert await soon(first) == list(range(100))
    stream = stage.container.stream("count", 3)
    readers = [asyncio.create_task(all_of(stream)) for _ in range(2)]
    outcomes = await soon(asyncio.gather(*readers, return_exceptions=True))
    assert outcomes[0] == [0, 1, 2]
    assert isinstance(outcomes[1], RuntimeError)


async def test_nor_does_one_in_the_function(stage: Stage) -> None:
    @stage.server.function
    async def divided(items: AsyncIterator[Any]) -> list[Any]:
        with stage.noted("divided"):
            first = asyncio.ensure_future(all_of(items))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one at a time"):
                await anext(items)
            return await first

    assert await soon(stage.container.upload("divided", range(100))) == list(range(100))


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
        await until(lambda: len(stage.taken) == 10 and channel._receive_stream.received == 10)
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
    # It waited to yield, or for another item where the deadline came before all room was taken.
    await until(lambda: len(stage.ended) == 1)
    assert stage.ended[0] in [("echo", GeneratorExit), ("echo", asyncio.CancelledError)]
