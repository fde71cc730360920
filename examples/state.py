"""RUNNING and STOP: a container that is told to take no work stays reachable, and may object."""

from __future__ import annotations

import asyncio

from mpzmq import ComputerEngineWorker, ContainerServer, ContainerStopped, Refused, Status, StatusChanged

server = ContainerServer(name="press")
pages_in_press = 0


@server.function
def load(pages: int) -> int:
    """Puts pages into the press."""
    global pages_in_press
    pages_in_press = pages
    return pages_in_press


@server.on_state_change
def may_change(status: Status) -> None:
    """Runs before the reply; a refusal leaves the status as it was."""
    if status is Status.STOP and pages_in_press:
        raise Refused(f"{pages_in_press} pages are in the press")


async def main() -> None:
    async with server, ComputerEngineWorker() as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        press = await worker.connect(endpoint, name="press")
        events = worker.service().events(press.remote_id)
        print("status:", await press.get_state())

        await press.call("load", 3)
        try:
            await press.set_state(Status.STOP)
        except Refused as error:
            print("not stopped:", error)

        await press.call("load", 0)
        print("status:", await press.set_state(Status.STOP))
        try:
            await press.call("load", 1)
        except ContainerStopped as error:
            print(f"{type(error).__name__}, executed {error.executed}; it is still there: {await press.get_state()}")
        print("status:", await press.set_state(Status.RUNNING))
        print("load:", await press.call("load", 1))

        changes = 0
        async for event in events:
            if isinstance(event, StatusChanged):
                print("event:", event.status)
                changes += 1
                if changes == 2:
                    break


if __name__ == "__main__":
    asyncio.run(main())
