"""The kit, run against a container or an engine that is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

from mpzmq.address import parse_address
from mpzmq.conformance import containers, engines
from mpzmq.conformance.container_under_test import ContainerUnderTest
from mpzmq.conformance.engine_under_test import EngineUnderTest
from mpzmq.conformance.judge import judged
from mpzmq.transport.libzmq.transport import ZmqTransport
from tests.support import ROOT
from tests.support.node import Served
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from mpzmq.conformance.checks import Check, Outcome, Verdict

PATIENCE = scaled(4.0)


def python_container() -> Served:
    """The container of the examples, at a free port."""
    return Served([sys.executable, str(ROOT / "examples" / "conform_container.py")], ROOT)


async def judge_container(
    served: Served, wanted: Callable[[Check], bool], patience: float = PATIENCE
) -> AsyncIterator[Verdict]:
    """What comes of the checks of a container."""
    transport = ZmqTransport()
    try:
        at = ContainerUnderTest(transport, served.endpoint, patience)
        with contextlib.suppress(Exception):
            await at.look()
        async for verdict in judged([check for check in containers.CHECKS if wanted(check)], at):
            yield verdict
    finally:
        await transport.release()


async def judge_engine(
    command: list[str], folder: Path, wanted: Callable[[Check], bool], patience: float = PATIENCE
) -> AsyncIterator[Verdict]:
    """What comes of the checks of an engine, whose driver is a command that takes the judge's endpoint."""
    transport = ZmqTransport()
    at = EngineUnderTest(transport, parse_address("tcp://127.0.0.1:0", bind=True), patience)
    at.listen()
    process = await asyncio.create_subprocess_exec(*command, at.endpoint, cwd=folder)
    try:
        await at.look(scaled(10.0))
        async for verdict in judged([check for check in engines.CHECKS if wanted(check)], at):
            yield verdict
    finally:
        await at.close()
        await transport.release()
        if process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), patience)
        if process.returncode is None:
            process.kill()
        await soon(process.wait())
        process._transport.close()  # type: ignore[attr-defined]


def told(verdicts: list[Verdict], *outcomes: Outcome) -> list[str]:
    """The checks that ended so, with what came."""
    return [f"{verdict.check.name}: {verdict.came}" for verdict in verdicts if verdict.outcome in outcomes]
