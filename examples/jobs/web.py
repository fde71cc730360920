"""The web application in front of the containers: ``JOBS=dns://jobs:3010 uvicorn --app-dir examples/jobs web:app``."""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from interface import Job, Jobs, Level, Result, Stored
from leaving import Lines, unless_gone
from starlette.requests import ClientDisconnect

from mpzmq import (
    CallDetails,
    ComputerEngineWorker,
    Group,
    GroupPolicy,
    Overloaded,
    Proceed,
    ReconnectPolicy,
    RequestError,
)
from mpzmq.middleware import RateLimit, Timing

KEYS = {"Bearer ada-key": "ada", "Bearer bob-key": "bob"}
CODES = {"RequestTimeout": 504, "InvalidArguments": 422, "Overloaded": 429, "RemoteError": 502}
user: ContextVar[str] = ContextVar("user")
running: dict[UUID, float] = {}
seconds: defaultdict[str, float] = defaultdict(float)


def timed(call: CallDetails, took: float, error: BaseException | None) -> None:
    seconds[str(call.function)] += took


async def signed(call: CallDetails, proceed: Proceed) -> Any:
    """What the containers want to know: that it is this application which asks, and for whom."""
    token = os.environ.get("JOBS_TOKEN", "s3cret")
    return await proceed(call.replace(metadata={**call.metadata, "token": token, "user": user.get()}))


def progress(job: UUID, fraction: float) -> None:
    """The containers call it."""
    if job in running:
        running[job] = fraction


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    worker = ComputerEngineWorker(typed=True, reconnect=ReconnectPolicy(interval=0.2))
    worker.middleware(Timing(timed))
    worker.middleware(RateLimit(float(os.environ.get("JOBS_RATE", "1000")), by=lambda call: user.get()))
    worker.middleware(signed)
    worker.function(progress)
    policy = GroupPolicy(lost_after=1.0, refresh=1.0)
    async with worker, worker.group(os.environ["JOBS"], name="jobs", policy=policy, wait=False) as group:
        app.state.group = group
        yield


async def authenticated(authorization: Annotated[str, Header()] = "") -> None:
    """A dependency that is ``async def`` runs where the endpoint does, which so sees the context variable."""
    if authorization not in KEYS:
        raise HTTPException(401, "who are you?")
    user.set(KEYS[authorization])


def the_group(request: Request) -> Group:
    group: Group = request.app.state.group
    return group


def known_member(name: str, group: Annotated[Group, Depends(the_group)]) -> str:
    if name not in [member.name for member in group.members]:
        raise HTTPException(404, f"there is no member {name}")
    return name


app = FastAPI(lifespan=lifespan, dependencies=[Depends(authenticated)])
TheGroup = Annotated[Group, Depends(the_group)]
KnownMember = Annotated[str, Depends(known_member)]


@app.exception_handler(RequestError)
async def failed(_: Request, error: Exception) -> JSONResponse:
    """What can become of a request, in the words of HTTP."""
    assert isinstance(error, RequestError)
    name = type(error).__name__
    headers = {"retry-after": str(math.ceil(error.retry_after))} if isinstance(error, Overloaded) else None
    content = {"error": name, "executed": str(error.executed), "detail": str(error)}
    return JSONResponse(content, CODES.get(name, 503), headers)


@app.exception_handler(ClientDisconnect)
async def gone(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse("the client has gone", 499)  # which nobody reads


@app.post("/jobs")
async def render(job: Job, group: TheGroup, request: Request) -> Result:
    if job.id in running:
        raise HTTPException(409, f"job {job.id} is under way")
    running[job.id] = 0.0
    try:
        return await unless_gone(request, group.options(timeout=60.0).of(Jobs).render(job))
    finally:
        del running[job.id]


@app.get("/members/{name}/log")
async def log(name: KnownMember, group: TheGroup) -> Lines:
    async def lines() -> AsyncGenerator[str, None]:
        async with contextlib.aclosing(group.handle(name).of(Jobs).log()) as log:
            async for line in log:
                yield f"{line.at:%H:%M:%S} {line.text}\n"

    return Lines(lines())


@app.put("/files/{name}")
async def store(name: str, group: TheGroup, request: Request) -> Stored:
    chunks = (chunk async for chunk in request.stream() if chunk)
    return await group.options(idle_timeout=10.0).of(Jobs).store(chunks, name)


@app.post("/words")
async def words(texts: list[str], group: TheGroup, request: Request) -> list[int]:
    async def counted() -> list[int]:
        async with group.map("words", texts, timeout=10.0, idempotent=True) as counts:
            return [count async for count in counts]

    return await unless_gone(request, counted())


@app.put("/level/{level}")
async def set_level(level: Level, group: TheGroup) -> dict[str, Any]:
    outcomes = await group.call_all("set_level", level, timeout=5.0)
    return {"was": outcomes.results, "failed": [*outcomes.errors]}


@app.post("/members/{name}/compact")
async def compact(name: KnownMember, group: TheGroup) -> int:
    try:
        async with group.hold(name, timeout=10.0) as member:
            return await member.of(Jobs).compact()
    except TimeoutError as error:
        raise HTTPException(503, f"{name} is still at work") from error


@app.get("/status")
async def status(group: TheGroup) -> dict[str, Any]:
    members = {member.name: f"{member.state}{', held' if member.held else ''}" for member in group.members}
    return {"members": members, "running": running, "seconds": seconds}
