"""A container of the group: ``mpzmq serve container:server --app-dir examples/jobs --bind tcp://127.0.0.1:3010``."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from interface import Job, Level, Line, Result, Stored

from mpzmq import CallDetails, ContainerServer, Proceed, RequestContext
from mpzmq.middleware import RateLimit, Timing, Token

NAME = os.environ.get("JOBS_NAME", "jobs")
server = ContainerServer(name=NAME, typed=True)
user: ContextVar[str] = ContextVar("user")
files: dict[str, Stored] = {}
readers: set[asyncio.Queue[Line]] = set()
told = Level.QUIET


def tell(text: str) -> None:
    """One line for everybody who reads the log; a reader that is too slow misses it."""
    for reader in readers:
        if not reader.full():
            reader.put_nowait(Line(datetime.now(UTC), text))


def timed(call: CallDetails, seconds: float, error: BaseException | None) -> None:
    if told is Level.VERBOSE:
        tell(f"{call.function}: {'ok' if error is None else type(error).__name__} after {seconds:.3f} s")


def user_of(call: CallDetails) -> str:
    """Whom the web application asks for. It has shown its token, so its word counts."""
    return str(call.metadata.get("user", "nobody"))


server.middleware(Timing(timed))
server.middleware(Token(os.environ.get("JOBS_TOKEN", "s3cret")))
server.middleware(RateLimit(rate=1000.0, by=user_of))


@server.middleware
async def knows_the_user(call: CallDetails, proceed: Proceed) -> Any:
    user.set(user_of(call))
    return await proceed(call)


@server.function(max_concurrency=8)
async def render(job: Job, context: RequestContext) -> Result:
    tell(f"{job.title}: begun for {user.get()}")
    try:
        for step in range(job.steps):
            await asyncio.sleep(job.pause)
            await context.call("progress", job.id, (step + 1) / job.steps)
    except asyncio.CancelledError:
        tell(f"{job.title}: nobody waits for it any more")
        raise
    return Result(job.id, user.get(), NAME)


@server.function
async def log() -> AsyncIterator[Line]:
    lines: asyncio.Queue[Line] = asyncio.Queue(1000)
    readers.add(lines)
    try:
        yield Line(datetime.now(UTC), f"this is {NAME}")
        while True:
            yield await lines.get()
    finally:
        readers.remove(lines)
        tell("a reader has left")


@server.function
async def store(chunks: AsyncIterator[bytes], name: str) -> Stored:
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
    except asyncio.CancelledError:
        tell(f"{name}: broken off")
        raise
    files[name] = Stored(name, size, digest.hexdigest())
    return files[name]


@server.function
async def words(text: str) -> int:
    await asyncio.sleep(0.002)
    return len(text.split())


@server.function
def set_level(level: Level) -> Level:
    global told
    told, before = level, told
    return before


@server.function
def compact() -> int:
    """Maintenance: forgets what was stored, and says how much that was."""
    forgotten = len(files)
    files.clear()
    return forgotten
