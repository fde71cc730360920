"""What a function of a container can be, and what its caller gets: both sides in one program."""

from __future__ import annotations

import asyncio
import time

from mpzmq import ComputerEngineWorker, ContainerServer, Refused, RemoteError, RequestContext, RequestError

server = ContainerServer(name="workshop")


@server.function
def add(a: int, b: int = 10) -> int:
    """A plain function runs on the event loop: for what takes no time."""
    return a + b


@server.function
async def patient(seconds: float, context: RequestContext) -> str:
    """A coroutine runs in a task of its own. The context is filled in by the container."""
    await asyncio.sleep(seconds)
    return f"{context.remaining():.0f} s left of the caller's time"


@server.function(thread=True)
def blocking_code(seconds: float) -> str:
    """For code that blocks: runs in a worker thread, and the event loop stays free."""
    time.sleep(seconds)
    return "done in a thread"


@server.function(name="pay", cancellable=False)
async def charge(amount: int) -> int:
    """Once begun it runs to its end, whatever becomes of the caller."""
    if amount <= 0:
        raise Refused("an amount is positive")  # nothing was done
    if amount > 100:
        raise RemoteError("declined", code="insufficient_funds", data={"balance": 100})
    return 100 - amount


async def main() -> None:
    async with server, ComputerEngineWorker() as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        workshop = await worker.connect(endpoint, name="workshop")

        print("add:", await workshop.call("add", 1, 2), await workshop.call("add", 1))
        print("add by name:", await workshop.call("add", b=1, a=1))
        print("patient:", await workshop.call("patient", 0.1, timeout=10.0))
        print("blocking_code:", await workshop.call("blocking_code", 0.1))
        for amount in (30, 500, -1):
            try:
                print("pay:", await workshop.call("pay", amount))
            except RemoteError as error:
                print(f"pay: {error.error_message}, code {error.code}, data {error.data}, executed {error.executed}")
            except Refused as error:
                print(f"pay: refused, executed {error.executed}")
        for function, arguments in (("ad", (1, 2)), ("add", (1, 2, 3))):
            try:
                await workshop.call(function, *arguments)
            except RequestError as error:
                print(f"{type(error).__name__}: {error}")
        for described in (await workshop.describe()).functions:
            print(f"  {described.name}{described.signature}: {described.doc}")


if __name__ == "__main__":
    asyncio.run(main())
