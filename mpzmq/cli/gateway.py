"""``mpzmq gateway``: functions over HTTP, from the shell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from ..address import parse_address
from ..asgi.application import gateway
from ..asgi.known_hosts import for_known_hosts
from ..common.extras import required
from ..container.process import loop_factory
from ..errors import InsecureBind
from ..runtime.reach import check_insecure_bind, host_to_bind
from .arguments import client_security
from .outcome import CommandFailed, finish
from .output import CANNOT_BIND, INSECURE, MISSING_EXTRA, OK, USAGE, has_stdout, print_error, say
from .up import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..asgi.types import Scope

__all__ = ["Listening", "Opened", "run"]

BACKLOG = 1024
"""Connections that the system keeps until they are accepted."""

_DANGER = (
    "and anybody there could call the functions of --allow: bind to 127.0.0.1 behind a proxy that asks who they are, or"
    " pass --insecure in a trusted network"
)


class Opened(NamedTuple):
    """What is open to whom.

    Attributes:
        allowed: the names of functions.
        headers: those that go along as metadata.
        bounds: arguments of :func:`mpzmq.asgi.gateway`.
    """

    allowed: Sequence[str]
    headers: Sequence[str]
    bounds: Mapping[str, Any]


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


def run(
    source: str,
    opened: Opened,
    listening: Listening,
    security: tuple[str | None, str | None],
    *,
    log_level: str,
    as_json: bool,
) -> int:
    """Serves until a signal; returns the exit code.

    Args:
        source: of the containers.
        opened: what is open.
        listening: where it listens.
        security: what ``--keys`` and ``--server-key`` say.
        log_level: of the log on stderr.
        as_json: whether the URL is printed as JSON.
    """

    def work() -> int:
        try:
            uvicorn = required("uvicorn", "gateway", "mpzmq gateway")
            names = [name.lower() for name in opened.headers]
            app = gateway(
                source,
                allow=opened.allowed,
                metadata=_metadata(names) if names else None,
                security=client_security(*security),
                **opened.bounds,
            )
            runner = asyncio.Runner(loop_factory=loop_factory(listening.loop))
        except ImportError as error:
            raise CommandFailed(str(error), MISSING_EXTRA) from None
        except (TypeError, ValueError) as error:
            raise CommandFailed(str(error), USAGE) from None
        logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        with runner:
            return runner.run(_serve(uvicorn, app, listening, as_json=as_json))

    return finish("mpzmq gateway", work)


def _metadata(names: Sequence[str]) -> Any:
    wanted = {name.encode("latin-1"): name for name in names}

    def metadata(scope: Scope) -> dict[str, str]:
        return {wanted[name]: value.decode("latin-1") for name, value in scope["headers"] if name in wanted}

    return metadata


async def _serve(uvicorn: Any, app: Any, listening: Listening, *, as_json: bool) -> int:
    sock = await _bound(listening)
    names = {name.lower() for name in (*listening.names, listening.host)}
    config = uvicorn.Config(
        for_known_hosts(app, names),
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
    if has_stdout():
        say(json.dumps({"url": url}) if as_json else url)
    else:  # it serves all the same
        print_error(f"stdout is closed: listening at {url}")
    try:
        await server.serve(sockets=[sock])
    finally:
        sock.close()
    return OK


async def _bound(listening: Listening) -> socket.socket:
    """A socket that listens.

    Raises:
        CommandFailed: it cannot, or must not.
    """
    text = endpoint_of(listening.host, listening.port)
    try:
        address = parse_address(text, bind=True)
        host = await host_to_bind(address)
        check_insecure_bind(address, host, "the gateway", _DANGER, insecure=listening.insecure)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, listening.port), family=family, backlog=BACKLOG)
    except InsecureBind as error:
        raise CommandFailed(str(error), INSECURE) from None
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CommandFailed(f"cannot listen at {listening.host}:{listening.port}: {reason}", CANNOT_BIND) from None
