"""``mpzmq serve`` and ``mpzmq reply``: a container from the shell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import random
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..address import parse_address
from ..common.logs import Log
from ..common.stderr_log import StderrHandler
from ..container.announcement import AnnouncementFile
from ..container.joining import read_token
from ..container.loading import LoadError, load_server
from ..container.lobby_joining import Join
from ..container.server import ContainerServer
from ..errors import InsecureBind, RemoteError
from ..fleets.lifeline import Lifeline
from ..runtime.log_filter import RequestLogFilter
from ..runtime.request_log import REQUEST_LOG
from .arguments import check_endpoint, client_security, in_words, server_security
from .json_log import JsonFormatter
from .outcome import CommandFailed, finish
from .output import (
    BAD_KEYS,
    CANNOT_BIND,
    FAILED,
    INSECURE,
    MISSING_EXTRA,
    NO_SERVER,
    OK,
    USAGE,
    OutputLost,
    has_stdout,
    print_error,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EngineToJoin", "reply", "serve", "serve_reloading"]

log = Log(__name__)

STOP_GRACE = 2.0
"""Seconds beyond its drain that a container has to end before the reloader kills it."""


class EngineToJoin(NamedTuple):
    """What a command line says of an engine that is to be dialled."""

    address: str
    token_file: str | None
    name: str | None
    key: str | None


def serve(
    spec: str,
    endpoints: Sequence[str],
    *,
    folder: str,
    insecure: bool,
    security: tuple[str | None, str | None] = (None, None),
    announce: str | None = None,
    labels: Mapping[str, str] | None = None,
    weight: float = 1.0,
    join: EngineToJoin | None = None,
    admin: str | None = None,
    drain_timeout: float,
    log_level: str,
    log_format: str = "text",
    access_log: bool = False,
    loop: str,
    as_json: bool,
    is_child: bool = False,
) -> int:
    """Serves what a text such as ``module:server`` names, until a signal; returns the exit code.

    Args:
        spec: the text.
        endpoints: to bind to.
        folder: where the module is looked for first.
        insecure: allow endpoints that other hosts can reach, without keys.
        security: what ``--keys`` and ``--allow`` say.
        announce: a folder in which a file says where it serves.
        labels: what it can be chosen by, as that file and an engine that is joined are told.
        weight: its share of the requests, as that file says.
        join: an engine to dial.
        admin: where it answers over HTTP how it is.
        drain_timeout: seconds for what runs.
        log_level: of the log on stderr.
        log_format: whether its lines are text, or JSON.
        access_log: whether it has a line for each request.
        loop: the event loop.
        as_json: whether endpoints are printed as JSON.
        is_child: whether ``mpzmq up`` has started it: its end is this one's, too, and it is told where this serves.
    """

    def work() -> int:
        lifeline = Lifeline() if is_child else None
        _check(endpoints)
        if admin is not None:
            check_endpoint(admin, bind=True)
            if admin.startswith("ipc://"):
                raise CommandFailed(f"{admin} is no address for HTTP: --admin takes HOST:PORT", USAGE)
        joined = None if join is None else _join(join, security[0], labels or {})
        _log_to_stderr(log_level, log_format)
        if access_log:
            REQUEST_LOG.switch_on_access()
        try:
            server = load_server(spec, folder)
        except LoadError as error:
            log.debug("cannot load %s", spec, exc_info=error)
            raise CommandFailed(str(error), NO_SERVER) from None
        if lifeline is not None:
            lifeline.loaded()
        if join is None or security[1] is not None:  # else its keys are for the engine alone
            server.security = server_security(*security) or server.security
        settings: dict[str, Any] = {"insecure": insecure, "drain_timeout": drain_timeout, "loop": loop, "admin": admin}
        settings["join"] = joined
        announced = None if announce is None else AnnouncementFile(announce, server.name, labels or {}, weight)
        return _run(server, endpoints, announced=announced, lifeline=lifeline, as_json=as_json, **settings)

    return finish("mpzmq serve", work)


def serve_reloading(
    spec: str, endpoints: Sequence[str], *, folder: str, drain_timeout: float, options: Sequence[str]
) -> int:
    """Serves in a process of its own, which is replaced whenever a Python file in the folder changes.

    Args:
        spec: as for :func:`serve`.
        endpoints: those with port 0 get a port here, which every replacement keeps.
        folder: that is watched.
        drain_timeout: seconds that a process may take to end its work before it is replaced.
        options: the others of the command line that each process is started with.
    """

    def work() -> int:
        _check(endpoints)
        try:
            import watchfiles
        except ImportError:
            text = "--reload needs the package watchfiles: install mpzmq-engine[cli]"
            raise CommandFailed(f"{text} (from a checkout: .venv/bin/pip install '.[cli]')", MISSING_EXTRA) from None
        binds = [word for endpoint in endpoints for word in ("--bind", _settled(endpoint))]
        command = [sys.executable, "-m", "mpzmq", "serve", spec, *binds, "--app-dir", folder]
        command += ["--drain-timeout", str(drain_timeout), *options]
        print_error(f"mpzmq serve: watching {Path(folder).resolve()}")
        watchfiles.run_process(
            folder,
            target=shlex.join(command),
            target_type="command",
            watch_filter=watchfiles.PythonFilter(),
            callback=lambda changes: print_error(f"mpzmq serve: {len(changes)} files changed, starting again"),
            sigint_timeout=math.ceil(drain_timeout + STOP_GRACE),
        )
        return OK

    return finish("mpzmq serve", work)


def reply(
    endpoints: Sequence[str],
    *,
    sleep: float,
    fail_rate: float,
    insecure: bool,
    security: tuple[str | None, str | None] = (None, None),
    drain_timeout: float,
    loop: str,
    as_json: bool,
) -> int:
    """Serves a container for trials, which returns what it is sent; returns the exit code."""

    async def answer(value: Any) -> Any:
        if sleep:
            await asyncio.sleep(sleep)
        if random.random() < fail_rate:
            raise RemoteError("failed on purpose", code="fail_rate")
        return value

    def work() -> int:
        _check(endpoints)
        server = ContainerServer(name="reply", security=server_security(*security))
        server.on_invoke(answer)

        @server.function
        async def echo(data: Any = None) -> Any:
            """Returns what it was given."""
            return await answer(data)

        return _run(server, endpoints, insecure=insecure, drain_timeout=drain_timeout, loop=loop, as_json=as_json)

    return finish("mpzmq reply", work)


def _join(engine: EngineToJoin, keys: str | None, labels: Mapping[str, str]) -> Join:
    check_endpoint(engine.address)
    security = client_security(keys, engine.key, "--engine-key, the engine's public key")
    path = None if engine.token_file is None else Path(engine.token_file)
    try:
        if path is not None:
            read_token(path)
    except (OSError, ValueError) as error:
        raise CommandFailed(f"--token-file: {in_words(error)}", BAD_KEYS) from None
    return Join(address=engine.address, token=path, name=engine.name, labels=labels, security=security)


def _check(endpoints: Sequence[str]) -> None:
    for endpoint in endpoints:
        check_endpoint(endpoint, bind=True)


def _run(
    server: ContainerServer,
    endpoints: Sequence[str],
    *,
    insecure: bool,
    drain_timeout: float,
    loop: str,
    as_json: bool,
    announced: AnnouncementFile | None = None,
    lifeline: Lifeline | None = None,
    admin: str | None = None,
    join: Join | None = None,
) -> int:
    def on_bound(endpoint: str) -> None:
        if announced is not None:
            announced.add(endpoint)
        if lifeline is not None:
            lifeline.serving(endpoint)
            return
        if not has_stdout():  # it serves all the same
            print_error(f"stdout is closed: serving on {endpoint}")
            return
        say(json.dumps({"endpoint": endpoint}) if as_json else endpoint)

    try:
        with announced or contextlib.nullcontext():
            settings: dict[str, Any] = {"insecure": insecure, "drain_timeout": drain_timeout, "loop": loop}
            server.run(*endpoints, **settings, on_bound=on_bound, admin=admin, join=join)
    except InsecureBind as error:
        if join is not None and error.endpoint == parse_address(join.address).text:
            text = (
                f"{error.endpoint} is on another host: without keys the token travels unencrypted, and whoever answers"
            )
            text += " there could call every function: pass --keys and --engine-key, or --insecure in a trusted network"
            raise CommandFailed(text, INSECURE) from None
        text = f"{error.endpoint} can be reached from other hosts, and anybody there could "
        if error.endpoint == admin:
            text += "read what runs here: pass --insecure in a trusted network, or bind to 127.0.0.1"
        else:
            text += "call every function: pass --keys and --allow ('mpzmq keys --help'), or --insecure in a trusted"
            text += " network, or bind to 127.0.0.1 or ipc"
        raise CommandFailed(text, INSECURE) from None
    except ImportError as error:
        raise CommandFailed(str(error), MISSING_EXTRA) from None
    except OSError as error:
        raise CommandFailed(f"{error.strerror or error}{_who_listens(error)}", CANNOT_BIND) from None
    except OutputLost:
        raise
    except Exception as error:  # of the server's own lifespan
        log.debug("the server ended", exc_info=error)
        text = f"the server ended with {type(error).__name__}: {error} (--log-level debug shows where)"
        raise CommandFailed(text, FAILED) from None
    return OK


def _who_listens(error: OSError) -> str:
    return "; 'ss -ltnp' shows who listens there" if str(error).endswith("in use") else ""


def _settled(endpoint: str) -> str:
    """The endpoint with a port that is free now, where it leaves the choice open."""
    address = parse_address(endpoint, bind=True)
    if address.path or address.port:
        return endpoint
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address.host, 0))
        port: int = probe.getsockname()[1]
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"tcp://{host}:{port}"


def _log_to_stderr(level: str, style: str) -> None:
    handler = StderrHandler()
    handler.addFilter(RequestLogFilter())
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    logging.basicConfig(handlers=[handler], level=level.upper())
