"""The kit against containers and engines that keep to the protocol, and against those that do not."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pytest

from mpzmq.conformance import containers, engines
from mpzmq.conformance.checks import Outcome
from mpzmq.conformance.shapes import NAMES
from mpzmq.protocol.wire.kinds import Kind
from tests.support import ROOT
from tests.support.node import Served
from tests.support.waiting import scaled

from .judging import judge_container, judge_engine, python_container, told
from .planted_faults import CLIENT, CONTAINER, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mpzmq.conformance.checks import Check, Verdict

T = TypeVar("T")
Lost: TypeAlias = tuple[str, int]
"""How a kind of record is lost, and which."""

ENGINE = [sys.executable, str(ROOT / "examples" / "conform_engine.py")]
AT_ONCE = 7
"""Most of the time of a faulty program is what the judge waits for: some are judged side by side."""
IMPATIENT = scaled(2.0)
"""Seconds for what a faulty program does not do."""


def level_1(check: Check) -> bool:
    return check.level == 1


def beyond_level_1(check: Check) -> bool:
    return check.level > 1


async def test_the_container_of_this_library() -> None:
    async with python_container() as served:
        verdicts = [verdict async for verdict in judge_container(served, lambda check: True)]
    assert told(verdicts, Outcome.FAILED, Outcome.SKIPPED) == []
    assert len(verdicts) == len(containers.CHECKS)


async def test_the_engine_of_this_library() -> None:
    verdicts = [verdict async for verdict in judge_engine(ENGINE, ROOT, lambda check: True)]
    assert told(verdicts, Outcome.FAILED, Outcome.SKIPPED) == []
    assert len(verdicts) == len(engines.CHECKS)


async def test_the_container_in_node(node_example: Path) -> None:
    async with Served(["node", "serve.mjs"], node_example) as served:
        verdicts = [verdict async for verdict in judge_container(served, level_1)]
    assert told(verdicts, Outcome.FAILED, Outcome.SKIPPED) == []
    assert len(verdicts) == sum(map(level_1, containers.CHECKS))


async def test_the_engine_in_node(node_example: Path) -> None:
    verdicts = [verdict async for verdict in judge_engine(["node", "conform.mjs"], node_example, level_1)]
    assert told(verdicts, Outcome.FAILED, Outcome.SKIPPED) == []
    assert len(verdicts) == sum(map(level_1, engines.CHECKS))


# What does not keep to it


def planted(fault: Fault, node_example: Path, folder: Path) -> Path:
    """A copy of the example with a fault."""
    copy = folder / fault.name.translate(str.maketrans(" ()", "___"))
    shutil.copytree(node_example, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(node_example / "node_modules")
    fault.plant(copy)
    return copy


async def found(fault: Fault, folder: Path) -> list[str]:
    """What the checks of a fault's rule say of a copy that has it."""

    def of_the_rule(check: Check) -> bool:
        return check.level == 1 and check.rule == fault.rule

    verdicts: list[Verdict]
    if fault.file == "container.mjs":
        async with Served(["node", "serve.mjs"], folder) as served:
            verdicts = [verdict async for verdict in judge_container(served, of_the_rule, IMPATIENT)]
    else:
        verdicts = [verdict async for verdict in judge_engine(["node", "conform.mjs"], folder, of_the_rule, IMPATIENT)]
    return told(verdicts, Outcome.FAILED)


def in_groups(faults: Iterable[T], size: int = AT_ONCE) -> list[tuple[T, ...]]:
    every = tuple(faults)
    return [every[start : start + size] for start in range(0, len(every), size)]


@pytest.mark.parametrize("faults", [*in_groups(CONTAINER), *in_groups(CLIENT)], ids=lambda faults: faults[0].name)
async def test_each_planted_fault_is_found(faults: tuple[Fault, ...], node_example: Path, tmp_path: Path) -> None:
    copies = [planted(fault, node_example, tmp_path) for fault in faults]
    findings = await asyncio.gather(*map(found, faults, copies))
    assert [fault.name for fault, finding in zip(faults, findings, strict=True) if not finding] == []


LOST_BY_CONTAINERS = {
    ("mute", Kind.STARTED): {"started-is-told"},
    ("mute", Kind.CHUNK): {"results-come-and-end", "chunks-tell-their-size", "nothing-without-credit"},
    ("mute", Kind.CREDIT): {"an-upload-is-read", "a-channel-goes-both-ways"},
    ("mute", Kind.TAKEN): {"taken-is-told", "unread-parts-hold-the-rest"},
    ("deaf", Kind.CANCEL): {"cancel-is-obeyed", "a-stream-is-cancelled", "cancel-between-parts"},
    ("deaf", Kind.RECEIVED): {"what-was-received-is-forgotten", "below-the-low-water-mark"},
    ("deaf", Kind.CREDIT): {"credit-in-items", "credit-in-bytes", "a-stream-goes-on"},
    ("deaf", Kind.PART): {"parts-begin-anew", "parts-that-do-not-fit", "others-pass-between-parts"},
}
LOST_BY_ENGINES = {
    ("mute", Kind.CANCEL): {"a-deadline-ends-it", "parts-that-do-not-fit", "an-upload-ends-with-its-connection"},
    ("mute", Kind.CREDIT): {"credit-follows-what-is-read", "a-stream-goes-on"},
    ("mute", Kind.TAKEN): {"large-answers-are-taken"},
    ("mute", Kind.CHUNK): {"data-waits-for-credit"},
    ("mute", Kind.RECEIVED): {"answers-are-acknowledged", "received-spares-what-may-leave"},
    ("deaf", Kind.STARTED): {"a-deadline-ends-it", "not-to-who-has-forgotten"},
    ("deaf", Kind.TAKEN): {"large-arguments-leave-in-parts"},
    ("deaf", Kind.PING): {"pings-are-answered"},
}
"""What is lost, and the checks that see it."""


def filtered(side: str, lost: Lost) -> list[str]:
    return [sys.executable, "-m", "tests.conformance.filtered", side, lost[0], str(lost[1])]


def names_of(lost: tuple[Lost, ...]) -> str:
    return " ".join(f"{how}-{NAMES[kind]}" for how, kind in lost)


def failed(verdicts: list[Verdict]) -> set[str]:
    return {verdict.check.name for verdict in verdicts if verdict.outcome is Outcome.FAILED}


@pytest.mark.parametrize("lost", in_groups(LOST_BY_CONTAINERS, 2), ids=names_of)
async def test_a_container_that_loses_a_kind_of_record(lost: tuple[Lost, ...]) -> None:
    async def seen(one: Lost) -> set[str]:
        names = LOST_BY_CONTAINERS[one]
        async with Served(filtered("container", one), ROOT) as served:
            verdicts = [v async for v in judge_container(served, lambda check: check.name in names, IMPATIENT)]
        return failed(verdicts)

    found = await asyncio.gather(*map(seen, lost))
    assert dict(zip(lost, found, strict=True)) == {one: LOST_BY_CONTAINERS[one] for one in lost}


@pytest.mark.parametrize("lost", in_groups(LOST_BY_ENGINES, 2), ids=names_of)
async def test_an_engine_that_loses_a_kind_of_record(lost: tuple[Lost, ...]) -> None:
    async def seen(one: Lost) -> set[str]:
        names, driver = LOST_BY_ENGINES[one], filtered("engine", one)
        return failed([v async for v in judge_engine(driver, ROOT, lambda check: check.name in names, IMPATIENT)])

    found = await asyncio.gather(*map(seen, lost))
    assert dict(zip(lost, found, strict=True)) == {one: LOST_BY_ENGINES[one] for one in lost}


SEEN_BY_LEVEL_1 = {"cancel-in-the-same-message", "a-stream-that-it-does-not-have"}
"""Checks that a container of level 1 passes: what it does not understand does not run either."""


async def test_a_container_of_level_1_does_not_pass_for_more(node_example: Path) -> None:
    async with Served(["node", "serve.mjs"], node_example) as served:
        verdicts = [verdict async for verdict in judge_container(served, beyond_level_1, IMPATIENT)]
    passed = {verdict.check.name for verdict in verdicts if verdict.outcome is Outcome.PASSED}
    assert passed == SEEN_BY_LEVEL_1
    assert {verdict.check.level for verdict in verdicts if verdict.outcome is Outcome.FAILED} == {2, 3, 4}
