"""A web application that holds one worker for its whole life.

Run the container and the application:

    python examples/echo_server.py --port 3010
    CONTAINER=127.0.0.1:3010 uvicorn --app-dir examples fastapi_app:app
    curl -X POST localhost:8000/echo -H 'content-type: application/json' -d '{"hello": 1}'
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from mpzmq import ComputerEngineWorker, InvalidArguments, RemoteError, RequestError, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The worker belongs to the event loop of the application."""
    async with ComputerEngineWorker() as worker:
        address = os.environ.get("CONTAINER", "127.0.0.1:3010")
        # wait=False: the application starts without the container, and finds it later.
        app.state.container = await worker.connect(address, name="backend", wait=False)
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(RequestError)
async def on_request_error(_: Request, error: Exception) -> JSONResponse:
    """What can become of a request, in the words of HTTP."""
    assert isinstance(error, RequestError)
    match error:
        case RequestTimeout():
            code = 504
        case InvalidArguments():
            code = 422
        case RemoteError():
            code = 502
        case _:
            code = 503
    content = {"error": type(error).__name__, "executed": str(error.executed), "detail": str(error)}
    return JSONResponse(content, code)


async def unless_gone(request: Request, call: Coroutine[Any, Any, Any]) -> Any:
    """Awaits a call; cancels it, and so its handler in the container, when the HTTP client has gone."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    calling, leaving = asyncio.ensure_future(call), asyncio.ensure_future(gone())
    try:
        await asyncio.wait((calling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            return calling.result()
        raise HTTPException(499, "the client has gone")  # which nobody reads
    finally:
        calling.cancel()
        leaving.cancel()
        await asyncio.gather(calling, leaving, return_exceptions=True)


@app.post("/echo")
async def echo(data: dict[str, Any], request: Request) -> Any:
    return await unless_gone(request, app.state.container.request(data, timeout=2.0))


@app.post("/call/{function}")
async def call(function: str, arguments: list[Any], request: Request) -> Any:
    return await unless_gone(request, app.state.container.call(function, *arguments, timeout=2.0))


@app.get("/health")
async def health() -> dict[str, str]:
    container = app.state.container
    if not container.is_running():
        raise HTTPException(503, f"the link is {container.state}")
    return {"link": str(container.state), "status": str(container.status)}
