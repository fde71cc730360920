"""``mpzmq mcp``: functions as tools of agents, from the shell."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from ..asgi.known_hosts import for_known_hosts, without_foreign_pages
from ..common.extras import required
from ..container.process import loop_factory
from .arguments import client_security
from .http_serving import serve
from .outcome import CommandFailed, finish
from .output import MISSING_EXTRA, OK, USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .http_serving import Listening

__all__ = ["run"]

LOOP = "asyncio"
"""The SDK takes longer for a message than any event loop."""

LOCAL = {"127.0.0.1", "localhost", "::1"}
"""Of which pages may ask it, besides those that ask under its own names."""

PATH = "/mcp"
"""Where it is over HTTP."""

END_WITHIN = 2.0
"""Seconds for calls to end when a signal comes."""


def run(
    source: str,
    allowed: Sequence[str],
    security: tuple[str | None, str | None],
    *,
    timeout: float,
    listening: Listening | None,
    log_level: str,
    as_json: bool,
) -> int:
    """Serves until stdin ends or a signal comes; returns the exit code.

    Args:
        source: of the containers.
        allowed: the names of the functions that are tools.
        security: what ``--keys`` and ``--server-key`` say.
        timeout: seconds for a call.
        listening: where it listens over HTTP; None: it speaks over stdin and stdout.
        log_level: of the log on stderr.
        as_json: whether the URL is printed as JSON.
    """

    def work() -> int:
        try:
            required("mcp.server.lowlevel", "mcp", "mpzmq mcp")
            from ..mcp import server

            made = server(source, allow=allowed, timeout=timeout, security=client_security(*security))
            runner = asyncio.Runner(loop_factory=loop_factory(LOOP))
        except ImportError as error:
            raise CommandFailed(str(error), MISSING_EXTRA) from None
        except (TypeError, ValueError) as error:
            raise CommandFailed(str(error), USAGE) from None
        logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        with runner:
            if listening is None:
                return runner.run(_over_stdio(made))
            return runner.run(_over_http(made, listening, as_json=as_json))

    return finish("mpzmq mcp", work)


async def _over_stdio(made: Any) -> int:
    from mcp.server.stdio import stdio_server

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    serving = asyncio.ensure_future(_serve_stdio(made, stdio_server))

    def end() -> None:
        serving.cancel()
        # A thread reads stdin, and nothing ends it but the end of that: so the process is ended in its place.
        loop.call_later(END_WITHIN, os._exit, OK)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await serving
    return OK


async def _serve_stdio(made: Any, stdio_server: Any) -> None:
    try:
        async with stdio_server() as (reading, writing):
            try:
                await made.run(reading, writing, made.create_initialization_options())
            except asyncio.CancelledError:
                os._exit(OK)  # its calls have been cancelled, and their containers told
    except* ConnectionError:  # who has closed stdin does not read what its calls have come to, either
        pass


async def _over_http(made: Any, listening: Listening, *, as_json: bool) -> int:
    from mcp.server.transport_security import TransportSecuritySettings

    own = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # it knows no addresses but those it is told
    app = made.streamable_http_app(streamable_http_path=PATH, transport_security=own)
    names = {name.lower() for name in (*listening.names, listening.host)}
    app = for_known_hosts(without_foreign_pages(app, names | LOCAL), names)
    return await serve(app, listening, "the MCP server", PATH, as_json=as_json)
