"""``mpzmq ping``: round trips to a container's event loop, and a probe for Docker, Kubernetes and scripts.

A probe is started every few seconds: argparse instead of click, no rich, and only the engine's half of the library.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, NoReturn

from ..common.text import printable
from ..engine.worker import ComputerEngineWorker
from ..errors import ContainerDraining, MpzmqError, NotConnected
from ..models import LinkState, Status
from .arguments import check_endpoint, client_security
from .members import first_running, handles_of, is_source, opened, settle
from .outcome import carry_out, code_of
from .output import (
    INTERRUPTED,
    NOT_SERVING,
    OK,
    TERMINATED,
    TIMEOUT,
    UNREACHABLE,
    USAGE,
    has_stdout,
    print_error,
    say,
)
from .remote import CONNECT_WITHIN, connected
from .wording import in_shell_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.group import Group
    from ..engine.writer import ComputerEngineWriter

__all__ = ["main"]

_EPILOG = f"""\
exit codes: {OK} serving, {UNREACHABLE} unreachable, {TIMEOUT} timeout, {NOT_SERVING} stopped or draining,
  {USAGE} wrong usage, {INTERRUPTED} Ctrl-C, {TERMINATED} SIGTERM; of several pings, that of the last one which failed.
Whatever becomes of one, the next follows: -c 0 waits for a container, too.

Examples:
  mpzmq ping 127.0.0.1:3010
  mpzmq ping 127.0.0.1:3010 -c 10 -i 0.2
  until mpzmq ping 127.0.0.1:3010; do sleep 1; done
  mpzmq ping 127.0.0.1:3010 --live --timeout 2 --json"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage()
        print_error(f"mpzmq ping: {message}")
        self.exit(USAGE)

    def print_usage(self, file: object = None) -> None:
        print_error(self.format_usage().rstrip())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mpzmq ping",
        description="Ask a container for its state, and measure the round trip.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "endpoint", metavar="ENDPOINT", help="host:port, tcp://host:port, ipc://path, or a source: dns://host:port, ..."
    )
    parser.add_argument("--all", action="store_true", help="of a source, every container each time, and not just one")
    parser.add_argument("-c", "--count", type=_count, default=1, help="pings to send; 0: until Ctrl-C (default: 1)")
    parser.add_argument("-i", "--interval", type=_seconds, default=1.0, help="seconds between two (default: 1)")
    parser.add_argument("--timeout", type=_seconds, default=1.0, help="seconds for each answer (default: 1)")
    parser.add_argument("--live", action="store_true", help="stopped or draining is alright, too: a liveness probe")
    parser.add_argument(
        "--keys", metavar="FILE", default=os.environ.get("MPZMQ_KEYS") or None, help="this side's secret key"
    )
    server_key = os.environ.get("MPZMQ_SERVER_KEY") or None
    parser.add_argument(
        "--server-key", metavar="KEY", default=server_key, help="the container's public key, or its file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0 and 86400")
    return seconds


class _Tally:
    """What came of the pings."""

    def __init__(self) -> None:
        self.sent = 0
        self.seconds: list[float] = []
        self.status: str | None = None
        self.code = OK

    def percentiles(self) -> dict[str, float]:
        """In milliseconds."""
        if not self.seconds:
            return {}
        ordered = sorted(self.seconds)
        return {
            "min": round(1e3 * ordered[0], 3),
            "avg": round(1e3 * sum(ordered) / len(ordered), 3),
            "p99": round(1e3 * ordered[-(-99 * len(ordered) // 100) - 1], 3),
            "max": round(1e3 * ordered[-1], 3),
        }


def main(args: Sequence[str]) -> int:
    """Runs ``mpzmq ping`` with the arguments that follow the word ping; returns its exit code."""
    try:
        options = _parser().parse_args(args)
    except SystemExit as end:
        return int(end.code or 0)
    return carry_out("mpzmq ping", lambda: _ping(options), prints=False)


async def _ping(options: argparse.Namespace) -> int:
    of_group = options.all or is_source(options.endpoint)
    if not of_group:
        check_endpoint(options.endpoint)
    security = client_security(options.keys, options.server_key)
    tally = _Tally()
    container: ComputerEngineWriter | None = None
    group: Group | None = None
    try:
        async with ComputerEngineWorker(security=security) as worker:
            for number in itertools.count(1):
                if of_group:
                    group = await _once_in_group(worker, group, options, tally)
                else:
                    container = await _once(worker, container, options, tally)
                if number == options.count:
                    break
                await asyncio.sleep(options.interval)
    finally:
        _summarise(options, tally)
    return tally.code


async def _once(
    worker: ComputerEngineWorker, container: ComputerEngineWriter | None, options: argparse.Namespace, tally: _Tally
) -> ComputerEngineWriter | None:
    """One ping; connects first where there is no link, or none that redials. Returns the handle, if there is one."""
    try:
        if container is None or container.state is LinkState.FAILED:
            container = await connected(worker, options.endpoint, options.timeout)
        await _ask(container, options.endpoint, options, tally)
    except MpzmqError as error:
        _tell(error, tally)
    return container


async def _once_in_group(
    worker: ComputerEngineWorker, group: Group | None, options: argparse.Namespace, tally: _Tally
) -> Group | None:
    """The same for one member of a source, or with ``--all`` for each. Returns the group, if there is one."""
    try:
        if group is None:
            within = min(options.timeout, CONNECT_WITHIN)
            group = await opened(worker, options.endpoint, within)
            if options.all:
                await settle(group, within)
    except MpzmqError as error:
        _tell(error, tally)
        return None
    for handle in handles_of(group) if options.all else [first_running(group)]:
        try:
            await _ask(handle, handle.name, options, tally)
        except MpzmqError as error:
            _tell(error, tally)
    return group


def _tell(error: MpzmqError, tally: _Tally) -> None:
    tally.code = code_of(error)
    print_error(f"mpzmq ping: {type(error).__name__}: {printable(in_shell_words(error))}")


async def _ask(container: ComputerEngineWriter, shown: str, options: argparse.Namespace, tally: _Tally) -> None:
    tally.sent += 1
    began = time.perf_counter()
    try:
        status = await container.get_state(timeout=options.timeout, wait=False)
        draining = container.state is LinkState.DRAINING
    except NotConnected:
        tally.sent -= 1
        raise
    except ContainerDraining:
        draining, status = True, Status.STOP
    seconds = time.perf_counter() - began
    tally.seconds.append(seconds)
    tally.status = "DRAINING" if draining else str(status)
    if tally.status != Status.RUNNING and not options.live:
        tally.code = NOT_SERVING
    if not options.json:
        _print(f"{printable(shown)}: seq={tally.sent} time={1e3 * seconds:.3f} ms status={tally.status}")


def _summarise(options: argparse.Namespace, tally: _Tally) -> None:
    found = tally.percentiles()
    if options.json:
        document = {
            "endpoint": options.endpoint,
            "sent": tally.sent,
            "received": len(tally.seconds),
            "status": tally.status,
            "milliseconds": found,
            "exit_code": tally.code,
        }
        _print(json.dumps(document))
    elif found:
        figures = "/".join(f"{value:.3f}" for value in found.values())
        _print(f"{tally.sent} sent, {len(tally.seconds)} received, min/avg/p99/max = {figures} ms")


def _print(line: str) -> None:
    if has_stdout():  # a probe needs none: its exit code is the answer
        say(line)
