"""An application that is for those who have meant it, and not for pages of strangers' sites."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..runtime.reach import is_known_host
from .answers import Problem
from .errors import error_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from .types import Receive, Scope, Send

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["for_known_hosts", "without_foreign_pages"]


def for_known_hosts(application: Application, names: Container[str]) -> Application:
    """The application, for requests whose ``Host`` is an address, a name without a dot, or one of these names.

    Args:
        application: which.
        names: in lower case.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if len(named) > 1 or not is_known_host(named[0] if named else None, names):
                if scope["type"] == "http":
                    text = "this host name is not known here: use an IP address, or a name of --host-name"
                    problem = Problem(HTTPStatus.MISDIRECTED_REQUEST, "UnknownHost", text)
                    await error_answer(problem).send(send, head=scope["method"] == "HEAD")
                else:
                    await send({"type": "websocket.close", "code": 1008})
                return
        await application(scope, receive, send)

    return answer


def without_foreign_pages(application: Application, names: Container[str]) -> Application:
    """The application, for requests that no page has sent, or one of these hosts, whatever its port.

    Args:
        application: which.
        names: of hosts, and addresses, in lower case and without brackets.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
            if any(_host_of(origin) not in names for origin in origins):
                text = "a page of another host has sent this: only those of this host may, and of a --host-name"
                problem = Problem(HTTPStatus.FORBIDDEN, "ForeignPage", text)
                await error_answer(problem).send(send, head=scope["method"] == "HEAD")
                return
        await application(scope, receive, send)

    return answer


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
