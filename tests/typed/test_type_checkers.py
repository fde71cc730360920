"""mypy and pyright agree on what is a good use of an interface, and what is a bad one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.shared import strict_mypy
from tests.support.waiting import scaled

HEAD = """\
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
import mpzmq.blocking
from mpzmq import ComputerEngineWorker, ComputerEngineWriter, ContainerServer, Group

@dataclass
class Item:
    name: str
    price: Decimal

class Shop(Protocol):
    async def buy(self, item: Item, count: int = 1, *, rush: bool = False) -> Decimal: ...
    async def load(self, items: AsyncIterable[Item] | Iterable[Item], shelf: int) -> int: ...
    def search(self, text: str) -> AsyncIterator[Item]: ...
    def talk(self, words: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]: ...

class BlockingShop(Protocol):
    def buy(self, item: Item) -> Decimal: ...
    def search(self, text: str) -> Iterator[Item]: ...

async def use(container: ComputerEngineWriter, group: Group, pen: Item) -> None:
    shop = container.of(Shop)
    there: mpzmq.blocking.BlockingContainer
"""

GOOD = {
    "call": "price: Decimal = await shop.buy(pen)",
    "options of a function": "price: Decimal = await shop.buy(pen, 2, rush=True)",
    "group": "price: Decimal = await group.of(Shop).buy(item=pen)",
    "options": "price: Decimal = await container.options(timeout=1.0).of(Shop).buy(pen)",
    "group with options": "price: Decimal = await group.options(key='a').of(Shop).buy(pen)",
    "service": "price: Decimal = await ComputerEngineWorker().service().options(uuid.uuid4()).of(Shop).buy(pen)",
    "stream": "names: list[str] = [item.name async for item in shop.search('pen')]",
    "upload": "count: int = await shop.load([pen], 1)",
    "upload of a stream": "count: int = await shop.load(shop.search('pen'), shelf=1)",
    "channel": "async for word in shop.talk(['a']): print(word.upper())",
    "blocking": "price: Decimal = mpzmq.blocking.connect('a:1', typed=True).of(BlockingShop).buy(pen)",
    "blocking stream": "names = [item.name for item in mpzmq.blocking.connect('a:1').of(BlockingShop).search('a')]",
    "check": "await container.check(Shop)",
    "functions": "ContainerServer(typed=True).functions(object(), interface=Shop)",
    "typed worker": "worker = ComputerEngineWorker(typed=True)",
}
BAD = {
    "wrong argument": "await shop.buy('pen')",
    "missing argument": "await shop.buy()",
    "unknown keyword": "await shop.buy(pen, quick=True)",
    "positional for keyword": "await shop.buy(pen, 1, True)",
    "wrong result": "price: str = await shop.buy(pen)",
    "no such method": "await shop.sell(pen)",
    "not awaited": "price: Decimal = shop.buy(pen)",
    "stream awaited": "await shop.search('pen')",
    "wrong item": "names: list[int] = [item.name async for item in shop.search('pen')]",
    "wrong upload": "await shop.load(['pen'], 1)",
    "upload without items": "await shop.load(shelf=1)",
    "wrong words": "async for word in shop.talk([1]): print(word)",
    "wrong answer": "async for word in shop.talk(['a']): print(word + 1)",
    "wrong of a group": "await group.of(Shop).buy(3)",
    "wrong of a view": "await container.options(timeout=1.0).of(Shop).buy(3)",
    "no interface": "container.of(3)",
    "blocking awaited": "await mpzmq.blocking.connect('a:1').of(BlockingShop).buy(pen)",
    "interface missing": "ContainerServer(typed=True).functions(object())",
    "typed is no text": "ComputerEngineWorker(typed='yes')",
}


def module(snippet: str) -> str:
    return f"{HEAD}    {snippet}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets")
    for kind, snippets in (("good", GOOD), ("bad", BAD)):
        for number, snippet in enumerate(snippets.values()):
            (folder / f"{kind}_{number}.py").write_text(module(snippet))
    return folder


def wanted() -> dict[str, bool]:
    return {f"good_{n}": True for n in range(len(GOOD))} | {f"bad_{n}": False for n in range(len(BAD))}


def name_of(verdict: str) -> str:
    kind, _, number = verdict.partition("_")
    return f"{kind}: {list(GOOD if kind == 'good' else BAD)[int(number)]}"


def differences(faulty: set[str]) -> dict[str, bool]:
    found = {name: name not in faulty for name in wanted()}
    return {name_of(name): fits for name, fits in found.items() if fits != wanted()[name]}


@pytest.mark.long
@pytest.mark.timeout(scaled(150))  # it may wait for the mypy of another process
def test_mypy(folder: Path, shared_folder: Path) -> None:
    done = strict_mypy(shared_folder, folder, ".")
    faulty = {line.partition(".py:")[0] for line in done.stdout.splitlines() if ": error:" in line}
    assert differences(faulty) == {}, done.stdout + done.stderr


@pytest.mark.long
def test_pyright(folder: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed")
    if shutil.which("node") is None and not os.environ.get("PYRIGHT_PYTHON_CACHE_DIR"):
        pytest.skip("pyright would fetch Node")
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=scaled(55.0),
        check=False,
    )
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")
    report: Any = json.loads(done.stdout)
    faulty = {Path(one["file"]).stem for one in report["generalDiagnostics"] if one["severity"] == "error"}
    assert differences(faulty) == {}, report["generalDiagnostics"]
