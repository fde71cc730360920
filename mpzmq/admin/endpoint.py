"""The admin endpoint of a server or a worker: what it answers to whom."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from ..address import parse_address
from ..common.logs import Log
from ..common.text import printable
from ..runtime.reach import check_insecure_bind, host_to_bind, is_known_host
from .http_server import HttpServer, Reply, Request, text_reply
from .metrics import metrics_reply
from .page import page_reply
from .status import json_pieces

if TYPE_CHECKING:
    from .status import Subject

__all__ = ["AdminEndpoint"]

log = Log(__name__)

SLICE = 0.002
"""Seconds for which the making of a long status holds the event loop."""

_DANGER = (
    "and an admin endpoint tells everybody there what runs here: pass insecure=True (--insecure) if the network itself"
    " is trusted, or bind to 127.0.0.1"
)


class AdminEndpoint:
    """Answers over HTTP how a server or a worker is.

    Args:
        subject: which.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._server = HttpServer(self._respond)
        self._host_name = ""
        self._status: asyncio.Task[bytes] | None = None

    async def open(self, endpoint: str | tuple[str, int], *, insecure: bool) -> str:
        """Begins to listen; returns its URL.

        Raises:
            InsecureBind: other hosts could reach it, and that was not allowed.
            OSError: it cannot be bound.
            ValueError, TypeError: the endpoint is malformed, or not TCP.
        """
        address = parse_address(endpoint, bind=True)
        if address.path:
            raise ValueError(f"{address.text} is no address for HTTP: use 'host:port', such as '127.0.0.1:9100'")
        host = await host_to_bind(address)
        check_insecure_bind(address, host, f"the admin endpoint of {self._subject.name}", _DANGER, insecure=insecure)
        self._host_name = address.host.lower()
        try:
            port = await self._server.listen(host, address.port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"cannot bind the admin endpoint {address.text}: {reason}") from None
        url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        log.info("%s can be watched at %s", self._subject.name, url)
        return url

    async def close(self) -> None:
        """Ends all connections, and frees the port."""
        await self._server.close()
        if self._status is not None:
            self._status.cancel()
            await asyncio.wait((self._status,))

    async def _respond(self, request: Request) -> Reply:
        if not is_known_host(request.host, {self._host_name}):
            text = (
                "this host name is not known here: use an IP address, a name without dots, or the one that was bound to"
            )
            return text_reply(HTTPStatus.MISDIRECTED_REQUEST, text)
        match request.path:
            case "/livez":
                return text_reply(HTTPStatus.OK, "ok")
            case "/readyz":
                reasons = self._subject.not_ready()
                text = "\n".join(map(printable, reasons))
                return text_reply(HTTPStatus.SERVICE_UNAVAILABLE, text) if reasons else text_reply(HTTPStatus.OK, "ok")
            case "/status.json":
                return Reply(HTTPStatus.OK, await self._shared_status(), "application/json")
            case "/metrics":
                return await metrics_reply(self._subject.target)
            case "/":
                return page_reply()
        return text_reply(HTTPStatus.NOT_FOUND, "here are /livez, /readyz, /status.json, /metrics and /")

    async def _shared_status(self) -> bytes:
        """The status; those who ask while it is made share it."""
        if self._status is None:
            self._status = asyncio.create_task(self._make_status())
            self._status.add_done_callback(self._on_made)
        return await asyncio.shield(self._status)

    def _on_made(self, made: asyncio.Task[bytes]) -> None:
        self._status = None
        if not made.cancelled():
            made.exception()  # whoever has asked may be gone: then nobody else looks at it

    async def _make_status(self) -> bytes:
        loop = asyncio.get_running_loop()
        pieces, until = [], loop.time() + SLICE
        for piece in json_pieces(self._subject.status()):
            pieces.append(piece)
            if loop.time() >= until:
                await asyncio.sleep(0)
                until = loop.time() + SLICE
        return "".join(pieces).encode()
