"""Either side runs out of file descriptors: who is connected is served, and when there are some again, all goes on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from mpzmq import ComputerEngineWorker, ConnectError, LinkDown, ReconnectPolicy
from tests.support.scene import QUICK
from tests.support.waiting import scaled

from .engine import Job
from .history import described
from .place import ROOT
from .stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

REDIAL = ReconnectPolicy(interval=0.05, connect_timeout=scaled(0.5))
SECONDS = scaled(20.0)


async def starved(tmp_path: Path, what: str) -> dict[str, Any]:
    """What became of an engine."""
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        told: dict[str, Any] = await told_by("tests.chaos.starved_engine", what, stage.process.endpoint)
    return told


async def told_by(*command: str) -> Any:
    """What a module of ours tells at its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert (process.returncode, err.decode()) == (0, "")
    return json.loads(out)


async def test_an_engine_without_descriptors_says_so_and_recovers(tmp_path: Path) -> None:
    told = await starved(tmp_path, "second")
    assert "OSError" in told["bases"], told
    assert "Too many open files" in told["error"]
    assert (told["links"], told["meanwhile"], told["after"]) == (1, "meanwhile", ["after", "after"])


async def test_the_first_connect_of_a_process_says_so_too(tmp_path: Path) -> None:
    told = await starved(tmp_path, "first")
    assert "Too many open files" in told["errors"][0]
    assert told["errors"][-1] == "none"
    assert told["after"] == ["after"]


async def test_a_redial_that_gets_no_descriptor_is_not_the_last(tmp_path: Path) -> None:
    assert await starved(tmp_path, "redial") == {"after": ["after"], "unhandled": []}


async def test_a_container_that_cannot_bind_says_so_and_can_later() -> None:
    *refused, bound = await told_by("tests.chaos.starved_container")
    assert bound == ""
    assert len(refused) > 8 and all("Too many open files" in error for error in refused), refused


async def test_a_container_without_descriptors_serves_who_is_there_and_recovers(tmp_path: Path) -> None:
    async with Stage(tmp_path, QUICK, REDIAL) as stage:
        starving = stage.ask(Job("without_descriptors", (2.0,)))
        assert (await stage.ask("the last one before")).outcome == "replied"
        async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as other:
            with pytest.raises(ConnectError):
                await other.connect(uuid4(), stage.process.endpoint, timeout=0.5)
            waiting = await other.connect(uuid4(), stage.process.endpoint, wait=False)
            served = 0
            while not starving.done():
                assert (await stage.ask("meanwhile", timeout=2.0)).outcome == "replied"
                served += 1
                await asyncio.wait([starving], timeout=0.02)
            assert served > 10
            assert await waiting.call("quick", "after", timeout=SECONDS) == "after"
        assert stage.watch.first(stage.container.remote_id, LinkDown, 0.0) is None
    # The other worker keeps no books.
    violations = [violation for violation in stage.violations if violation.kind != "ran for nobody"]
    assert not violations, described(violations)
