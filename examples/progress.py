"""A container tells its engine how far it is, and asks it for what it lacks: both sides in one program."""

from __future__ import annotations

import asyncio

from mpzmq import ComputerEngineWorker, ContainerServer, RequestContext, RequestTimeout

server = ContainerServer(name="kitchen")
worker = ComputerEngineWorker()

PANTRY = {"flour": 500, "sugar": 80}


@server.function
async def bake(recipe: dict[str, int], context: RequestContext) -> str:
    """Runs in the container; what it calls runs in the engine, inside the request that this handler works for."""
    for number, (what, amount) in enumerate(recipe.items(), 1):
        got = await context.call("fetch", what, amount)
        if got < amount:
            return f"no cake: {got} of {amount} g {what}"
        await context.call("progress", number / len(recipe))
    return "a cake"


@server.function
async def wait_for_guests(context: RequestContext) -> str:
    try:
        return str(await context.call("guests", timeout=0.5))
    except RequestTimeout as error:
        return f"nobody came, executed {error.executed}"


@worker.function
def progress(fraction: float, context: RequestContext) -> None:
    print(f"{context.peer} is at {fraction:.0%}")


@worker.function
async def fetch(what: str, amount: int) -> int:
    await asyncio.sleep(0.01)
    return min(amount, PANTRY.get(what, 0))


@worker.function
async def guests() -> int:
    try:
        await asyncio.sleep(60)
    finally:
        print("the engine does not look for guests any more")
    return 1


async def main() -> None:
    async with server, worker:
        kitchen = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="kitchen")
        print(await kitchen.call("bake", {"flour": 250, "sugar": 50}))
        print(await kitchen.call("bake", {"flour": 250, "butter": 100}))
        print(await kitchen.call("wait_for_guests"))


if __name__ == "__main__":
    asyncio.run(main())
