"""An HTTP client without HTTP: it speaks ASGI, and goes whenever a test wants it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping

    from mpzmq.asgi import Gateway

__all__ = ["Visit", "ask", "call", "visiting"]

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}


class Visit:
    """One request.

    Attributes:
        status: of the answer; 0: it has not begun.
        headers: of the answer.
        body: what has come of it.
        is_over: whether it has come to its end.
    """

    def __init__(self, path: str, headers: dict[str, str] | list[tuple[str, str]], method: str = "POST") -> None:
        given = list(headers.items()) if isinstance(headers, dict) else headers
        self.scope: MutableMapping[str, Any] = {
            "type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given],
        }  # fmt: skip
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_over = False
        self.takes = asyncio.Event()
        self.takes.set()
        self._sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    def say(self, body: bytes, *, more: bool = False) -> None:
        """A piece of the body."""
        self._sent.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """The client goes."""
        self._sent.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> MutableMapping[str, Any]:
        return await self._sent.get()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.takes.wait()
        assert not self.is_over
        if message["type"] == "http.response.start":
            assert not self.status
            self.status = message["status"]
            names = [name for name, _ in message["headers"]]
            assert len(names) == len(set(names))
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            assert self.status
            self.body += message.get("body", b"")
            self.is_over = not message.get("more_body", False)

    async def shows(self, text: bytes) -> None:
        """Waits until that has come."""
        await until(lambda: text in self.body)

    @property
    def unread(self) -> int:
        """Pieces of the body that nobody has received."""
        return self._sent.qsize()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """What the one document of an error says."""
        assert self.headers["content-type"] == "application/json"
        assert list(self.json) == ["error", "executed"]
        found = self.json["error"]
        assert isinstance(found, dict)
        assert self.json["executed"] == found["executed"]
        return found

    @property
    def lines(self) -> list[Any]:
        assert self.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in self.body.splitlines()]


async def ask(
    app: Gateway,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | list[tuple[str, str]] = JSON,
    *,
    method: str = "POST",
) -> Visit:
    """A request with its answer."""
    visit = Visit(path, headers, method)
    visit.say(body)
    await soon(app(visit.scope, visit.receive, visit.send))
    assert visit.is_over
    return visit


async def call(app: Gateway, name: str, *args: Any, headers: dict[str, str] | None = None, **kwargs: Any) -> Visit:
    """The same for a function."""
    return await ask(app, f"/call/{name}", json.dumps(kwargs or args).encode(), JSON | (headers or {}))


@contextlib.asynccontextmanager
async def visiting(
    app: Callable[..., Awaitable[None]], path: str, body: bytes | None, headers: dict[str, str]
) -> AsyncIterator[Visit]:
    """A request that is under way; at the end it has ended, whatever becomes of it.

    Args:
        app: the application.
        path: of the request.
        body: whole; None: the test says it.
        headers: of the request.
    """
    visit = Visit(path, headers)
    if body is not None:
        visit.say(body)
    task = asyncio.ensure_future(app(visit.scope, visit.receive, visit.send))
    try:
        yield visit
        await soon(asyncio.shield(task))
    finally:
        task.cancel()
        await asyncio.wait((task,))
