"""``mpzmq conformance``: whether a container, or an engine, keeps to docs/protocol.md."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..address import parse_address
from ..common.text import printable
from ..conformance import containers, engines
from ..conformance.checks import Outcome, Verdict, Violation
from ..conformance.container_under_test import ContainerUnderTest
from ..conformance.engine_under_test import EngineUnderTest
from ..conformance.judge import judged
from ..runtime.names import resolve
from ..transport.libzmq.transport import ZmqTransport
from .arguments import check_endpoint
from .layout import on_terminal, say_wrapped
from .outcome import CommandFailed, carry_out, finish
from .output import CANNOT_BIND, FAILED, OK, TIMEOUT, UNREACHABLE, USAGE, print_error, say, say_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from ..conformance.checks import Check

__all__ = ["list_checks", "run"]

_COMMAND = "mpzmq conformance"
_EVERYWHERE = ("0.0.0.0", "*", "::", "")
_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}
_INDENT = " " * 9


def run(
    endpoint: str,
    *,
    listen: bool,
    levels: Collection[int],
    names: Sequence[str],
    timeout: float,
    wait: float,
    as_json: bool,
) -> int:
    """Judges whoever is at an endpoint; returns the exit code.

    Args:
        endpoint: where the container serves, or where the engine's driver is to find the judge.
        listen: whether an engine is judged.
        levels: those that are judged; none: those that the peer announces.
        names: the checks that are made; none: all.
        timeout: seconds within which the peer has to answer.
        wait: seconds within which the driver has to come.
        as_json: print one JSON document instead.
    """

    async def judge() -> int:
        check_endpoint(endpoint, bind=listen)
        checks = _chosen(engines.CHECKS if listen else containers.CHECKS, names)
        verdicts: list[Verdict] = []
        peer = _engine(endpoint, timeout, wait) if listen else _container(endpoint, timeout)
        async with peer as at:
            wanted = set(levels) or at.levels
            unannounced = [check for check in checks if check.level not in wanted]
            verdicts += [Verdict(check, Outcome.SKIPPED, "its level is not announced") for check in unannounced]
            async for verdict in judged([check for check in checks if check.level in wanted], at):
                verdicts.append(verdict)
                if not as_json:
                    _show(verdict)
        code = FAILED if any(verdict.outcome is Outcome.FAILED for verdict in verdicts) else OK
        if as_json:
            say_json(json.dumps(_document(endpoint, verdicts, code), ensure_ascii=False))
        else:
            _summarise(verdicts, sorted({check.level for check in unannounced}))
        return code

    async def told() -> int:
        try:
            return await judge()
        except CommandFailed as error:
            if as_json and error.code != USAGE:
                document = {**_document(endpoint, [], error.code), "error": {"message": str(error)}}
                say_json(json.dumps(document, ensure_ascii=False))
            raise

    return carry_out(_COMMAND, told)


def list_checks(*, as_json: bool) -> int:
    """Prints all checks; returns the exit code."""

    def work() -> int:
        everything = [("container", check) for check in containers.CHECKS]
        everything += [("engine", check) for check in engines.CHECKS]
        if as_json:
            say_json(json.dumps([{"judges": side, **_facts(check)} for side, check in everything], ensure_ascii=False))
            return OK
        for side, check in everything:
            say(f"{side:<9} level {check.level}  {check.place:<24} {check.name}")
            say_wrapped(_INDENT + " ", check.expected)
        return OK

    return finish(_COMMAND, work)


def _chosen(checks: list[Check], names: Sequence[str]) -> list[Check]:
    unknown = set(names) - {check.name for check in checks}
    if unknown:
        text = f"there is no check {', '.join(sorted(unknown))} of this side: '{_COMMAND} --list' shows them"
        raise CommandFailed(text, USAGE)
    return [check for check in checks if not names or check.name in names]


@contextlib.asynccontextmanager
async def _container(endpoint: str, timeout: float) -> AsyncIterator[ContainerUnderTest]:
    address = parse_address(endpoint)
    host = None
    if not address.is_numeric:
        try:
            ((_, host), *_) = await resolve(address.host, address.port)
        except OSError as error:
            raise CommandFailed(f"{address.host!r} is unknown: {error.strerror}", UNREACHABLE) from None
    transport = ZmqTransport()
    at = ContainerUnderTest(transport, address.endpoint(host), timeout)
    try:
        try:
            await at.look()
        except ConnectionError as error:
            raise CommandFailed(str(error), UNREACHABLE) from None
        yield at
    finally:
        await transport.release()


@contextlib.asynccontextmanager
async def _engine(endpoint: str, timeout: float, wait: float) -> AsyncIterator[EngineUnderTest]:
    address = parse_address(endpoint, bind=True)
    if address.host in _EVERYWHERE and not address.path:
        text = f"{endpoint}: give one address of this host; the engine is sent to other ports of it"
        raise CommandFailed(text, USAGE)
    transport = ZmqTransport()
    at = EngineUnderTest(transport, address, timeout)
    try:
        try:
            at.listen()
        except OSError as error:
            raise CommandFailed(error.strerror or str(error), CANNOT_BIND) from None
        print_error(f"{_COMMAND}: waiting for the engine's driver at {at.endpoint}")
        try:
            await at.look(wait)
        except Violation as error:
            raise CommandFailed(f"the driver did not come: {error}", TIMEOUT) from None
        yield at
    finally:
        await at.close()
        await transport.release()


# How it is shown


def _show(verdict: Verdict) -> None:
    check = verdict.check
    mark = f"{verdict.outcome:<8}"
    if on_terminal() and not os.environ.get("NO_COLOR"):
        import click

        mark = click.style(mark, fg=_COLOURS[verdict.outcome])
    say(f"{mark} level {check.level}  {check.place:<24} {check.name}")
    if verdict.outcome is Outcome.FAILED:
        say_wrapped(f"{_INDENT}expected: ", check.expected)
    if verdict.came:
        say_wrapped(f"{_INDENT}{'came' if verdict.outcome is Outcome.FAILED else 'why'}: ", printable(verdict.came))


def _summarise(verdicts: list[Verdict], unannounced: list[int]) -> None:
    counts = Counter(verdict.outcome for verdict in verdicts)
    for level in unannounced:
        say(f"level {level} is not announced, and was not judged")
    say(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]))


def _facts(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "level": check.level,
        "rule": check.rule,
        "section": check.section,
        "expected": check.expected,
    }


def _document(endpoint: str, verdicts: list[Verdict], code: int) -> dict[str, Any]:
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    return {
        "endpoint": endpoint,
        "ok": code == OK,
        "exit_code": code,
        "counts": {outcome.value: counts[outcome] for outcome in Outcome},
        "checks": [
            {**_facts(verdict.check), "outcome": str(verdict.outcome), "came": verdict.came} for verdict in verdicts
        ],
    }
