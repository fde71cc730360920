"""ASGI applications, served until a signal comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from ..address import parse_address
from ..common.extras import required
from ..errors import InsecureBind
from ..runtime.reach import check_insecure_bind, host_to_bind
from .outcome import CommandFailed
from .output import CANNOT_BIND, INSECURE, OK, USAGE, has_stdout, print_error, say
from .up import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Listening", "serve"]

BACKLOG = 1024
"""Connections that the system keeps until they are accepted."""

_DANGER = (
    "and anybody there could call the functions of --allow: bind to 127.0.0.1 behind a proxy that asks who they are, or"
    " pass --insecure in a trusted network"
)


class Listening(NamedTuple):
    """Where, and how.

    Attributes:
        host: the address.
        port: 0 is any.
        names: under which it is asked, besides addresses and names without a dot.
        insecure: whether other hosts may reach it.
        drain_timeout: seconds for requests that are under way at the end.
        loop: the event loop.
    """

    host: str
    port: int
    names: Sequence[str]
    insecure: bool
    drain_timeout: float
    loop: str


async def serve(app: Any, listening: Listening, what: str, path: str = "", *, as_json: bool) -> int:
    """Serves with uvicorn; returns the exit code.

    Args:
        app: the application.
        listening: where.
        what: it is, for the log.
        path: of the URL that is printed.
        as_json: whether that is printed as JSON.

    Raises:
        CommandFailed: it cannot listen there, or must not.
    """
    uvicorn = required("uvicorn", "gateway", what)
    required("httptools", "gateway", what)
    from .bounded_http import BoundedHttpProtocol

    sock = await _bound(listening, what)
    config = uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        log_level="critical",  # what concerns the application it logs itself
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=listening.drain_timeout,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # its own handlers would send the signal once more at the end
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    host, port = sock.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    url += path
    if has_stdout():
        say(json.dumps({"url": url}) if as_json else url)
    else:  # it serves all the same
        print_error(f"stdout is closed: listening at {url}")
    try:
        await server.serve(sockets=[sock])
    finally:
        sock.close()
    return OK


async def _bound(listening: Listening, what: str) -> socket.socket:
    """A socket that listens.

    Raises:
        CommandFailed: it cannot, or must not.
    """
    text = endpoint_of(listening.host, listening.port)
    try:
        address = parse_address(text, bind=True)
        host = await host_to_bind(address)
        check_insecure_bind(address, host, what, _DANGER, insecure=listening.insecure)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, listening.port), family=family, backlog=BACKLOG)
    except InsecureBind as error:
        raise CommandFailed(str(error), INSECURE) from None
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CommandFailed(f"cannot listen at {listening.host}:{listening.port}: {reason}", CANNOT_BIND) from None
