"""The application: what is answered at which path, and for how long it is open."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from ..common.durations import checked_seconds
from ..common.logs import Log
from ..common.set_module import set_module
from ..common.text import type_name
from ..engine.writer import ComputerEngineWriter
from ..errors import MpzmqError, NotConnected, Overloaded
from ..exposed.allowed import Allowed
from ..exposed.descriptions import Descriptions
from ..exposed.target import OpenedTarget
from .answers import Answer, Problem, written
from .calls import Calls
from .client import ClientGone
from .errors import error_answer, internal_problem
from .openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from ..exposed.target import Target
    from ..security.credentials import Security
    from .types import Message, Metadata, Receive, Scope, Send

__all__ = ["MAX_BODY", "MAX_REQUESTS", "Gateway", "gateway"]

log = Log(__name__)

MAX_BODY = 1024 * 1024
MAX_REQUESTS = 1000

_CALL = "/call/"


@set_module("mpzmq.asgi")
class Gateway:
    """An ASGI application that has functions of containers called over HTTP; :func:`gateway` makes it."""

    def __init__(self, target: OpenedTarget, allowed: Allowed, calls: Calls, descriptions: Descriptions, most: int):
        self._target = target
        self._allowed = allowed
        self._calls = calls
        self._descriptions = descriptions
        self._most = most
        self._count = 0

    async def __aenter__(self) -> Self:
        """Opens it, where no server tells it of its lifespan: in that of the application that it is mounted in."""
        await self._target.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._target.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, as ASGI has it."""
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            case other:
                raise RuntimeError(f"mpzmq.asgi.gateway does not know the scope {other!r} of ASGI")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._target.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            await self._target.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        self._count += 1
        try:
            answer = await self._routed(scope, receive, note)
        except ClientGone:
            return
        except (Problem, MpzmqError) as error:
            answer = error_answer(error)
        except Exception as error:
            answer = error_answer(internal_problem(error))
        finally:
            self._count -= 1
        if answer is not None and not has_begun:
            await answer.send(send, head=scope["method"] == "HEAD")

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        path, method = _path_of(scope), scope["method"]
        if path.startswith(_CALL) and len(path) > len(_CALL):
            _check_method(method, "POST")
            if self._count > self._most:
                text = f"{self._most} requests are under way already, which is the most that is taken here"
                raise Overloaded(text)
            return await self._calls.answer(path[len(_CALL) :], scope, receive, send)
        if path == "/openapi.json":
            _check_method(method, "GET, HEAD")
            document = openapi_document(await self._descriptions.get(), scope.get("root_path", ""))
            return Answer(200, written(document), {})
        if path == "/healthz":
            _check_method(method, "GET, HEAD")
            return await self._health()
        text = "here are POST /call/NAME, GET /openapi.json and GET /healthz"
        raise Problem(HTTPStatus.NOT_FOUND, "NotFound", text)

    async def _health(self) -> Answer:
        container = await self._target.get()
        if isinstance(container, ComputerEngineWriter):
            is_there = container.is_running()
        else:
            is_there = any(container.handle(member.name).is_running() for member in container.members)
        if not is_there:
            raise NotConnected("there is no container that can be asked now")
        return Answer(200, b'{"status":"ok"}', {})


def _check_method(method: str, allowed: str) -> None:
    if method not in allowed.split(", "):
        text = f"{method[:20]} is not for this: use {allowed.partition(',')[0]}"
        raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", text, {"allow": allowed})


def _path_of(scope: Scope) -> str:
    """The path below the one that this is mounted at."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


@set_module("mpzmq.asgi")
def gateway(
    target: Target,
    *,
    allow: Iterable[str],
    metadata: Metadata | None = None,
    timeout: float = 30.0,
    max_body: int = MAX_BODY,
    max_requests: int = MAX_REQUESTS,
    security: Security | None = None,
) -> Gateway:
    """Makes an ASGI application that has functions of containers called over HTTP.

    ``POST /call/NAME`` with JSON calls a function, ``GET /openapi.json`` describes those that are open, and
    ``GET /healthz`` says whether a container is there. It asks nobody who they are: authentication stands in front of
    it, as middleware of ASGI or a proxy, and hands on by ``metadata`` whom it has found.

    Args:
        target: a source, as ``worker.group()`` takes it, which is connected to in the lifespan or with the first
            request, and left at the end of the lifespan; a handle or a group; or what returns one of these, or awaits
            it, asked with each request.
        allow: the names of the functions that may be called. ``"*"`` is every function, those that are added later
            included.
        metadata: what goes along with each call; or what makes that of the scope of a request, and may be
            ``async def``. ``NotPermitted``, raised there, is answered with 403.
        timeout: seconds that a call may take at most, that a stream may take to be opened, and that a client may be
            silent in the middle of its body or take nothing of its stream.
        max_body: bytes of a body, or of a line of one that comes piece by piece.
        max_requests: that are under way at the same time; one more is answered with 429.
        security: the keys for a source.

    Returns:
        The application. Where it is mounted in another one, which tells it of no lifespan, enter it with ``async with``
        in that one's.

    Raises:
        TypeError, ValueError: an argument is malformed.
        ImportError: the source needs an extra.
    """
    allowed = Allowed(allow)
    seconds = checked_seconds(timeout, "timeout")
    for name, value in (("max_body", max_body), ("max_requests", max_requests)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, not {type_name(value)}")
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, not {value}")
    opened = OpenedTarget(target, security=security)
    descriptions = Descriptions(opened, allowed, seconds)
    calls = Calls(opened, allowed, descriptions, metadata, seconds, max_body)
    return Gateway(opened, allowed, calls, descriptions, max_requests)
