"""A container for the commands to talk to."""

SERVER = '''
import asyncio
from collections.abc import AsyncIterator
from mpzmq import ContainerServer, Refused, RemoteError

server = ContainerServer(name="desk\\x1b[31m")
cancelled = []

@server.on_invoke
async def invoked(data):
    return data

@server.function
def echo(data):
    return data

@server.function
def add(a: int, b: int = 1) -> int:
    """Adds \\x1b[2Jtwo numbers.

    Not shown.
    """
    return a + b

@server.function
async def slow(seconds):
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise
    return seconds

@server.function
async def count(to, fail=False, metadata=None):
    for number in range(to):
        yield number
    if fail:
        raise RemoteError("no more", code="funds")

@server.function
async def follow(seconds):
    yield "begun"
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        cancelled.append(seconds)
        raise

@server.function
async def total(numbers: AsyncIterator[int]):
    return 0

@server.function
def was_cancelled():
    return cancelled

@server.function
def fail():
    raise RemoteError("declined\\x1b[0m\\nreally", code="funds", data={"missing": 3})

@server.function
def refuse():
    raise Refused("not today")

@server.function
def running():
    """Calls at work, besides this one."""
    return server.statistics().in_flight - 1
'''
