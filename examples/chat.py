"""A talk with a container: items in both directions at once, over one channel. Both sides in one program."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, ConnectionClosed, ContainerServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

server = ContainerServer(name="parrot")


@server.function
async def chat(lines: AsyncIterator[str], name: str) -> AsyncIterator[str]:
    """It takes a stream, and yields one: the function of a channel."""
    yield f"hello {name}"
    count = 0
    async for line in lines:
        if line == "bye":
            return  # it need not read to the end
        count += 1
        for word in line.split():
            yield word.upper()
    yield f"you said {count} things"


async def take_turns(parrot_id: uuid.UUID, worker: ComputerEngineWorker) -> None:
    """One task sends and reads in turn."""
    async with worker.service().channel(parrot_id, "chat", "Ada") as channel:
        print("<", await anext(channel))
        for line in ("one", "two"):
            print(">", line)
            await channel.send(line)
            print("<", await anext(channel))
        await channel.send_eof()  # the function's loop ends, and it goes on behind it
        async for line in channel:
            print("<", line)


async def at_once(parrot_id: uuid.UUID, worker: ComputerEngineWorker) -> None:
    """One task sends, another reads: neither waits for the other, except as flow control wants it."""
    async with worker.service().channel(parrot_id, "chat", "Grace") as channel:

        async def send() -> None:
            for number in range(5000):
                await channel.send(f"message {number}")
            await channel.send_eof()

        sending = asyncio.create_task(send())
        words = [word async for word in channel]
        await sending
        print(f"{words[0]}: {len(words) - 2} words came back, and at last '{words[-1]}'")


async def hang_up(parrot_id: uuid.UUID, worker: ComputerEngineWorker) -> None:
    """The function ends first: whoever goes on sending is told so."""
    async with worker.service().channel(parrot_id, "chat", "Alan") as channel:
        await channel.send("bye")
        print("<", *[line async for line in channel])
        try:
            await channel.send("are you there?")
        except ConnectionClosed as error:
            print(f"{type(error).__name__}: {error}")


async def main() -> None:
    async with server, ComputerEngineWorker() as worker:
        parrot_id = uuid.uuid4()
        await worker.connect(parrot_id, await server.bind("tcp://127.0.0.1:0"), name="parrot")
        await take_turns(parrot_id, worker)
        await at_once(parrot_id, worker)
        await hang_up(parrot_id, worker)


if __name__ == "__main__":
    asyncio.run(main())
