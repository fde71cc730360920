"""The architecture as a test: which module may import which. The rules are told in docs/architecture.md.

The checks take source text, so that the second half of this file can show that each of them bites.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "mpzmq"
ROOT = Path(__file__).parent.parent / PACKAGE

# A component is a module or a folder directly in mpzmq/. It imports itself and components of a lower level,
# none of its own level. Only in the lowest one the modules may import each other, though never in a circle.
LEVELS: dict[str, int] = {
    "_version": 0,
    "address": 0,
    "config": 0,
    "context": 0,
    "errors": 0,
    "events": 0,
    "evidence": 0,
    "failure": 0,
    "home": 0,
    "keypair": 0,
    "message": 0,
    "security": 0,
    "statistics": 0,
    "users": 0,
    "protocol": 1,
    "transport": 1,
    "handlers": 2,
    "container": 3,
    "engine": 3,
    "keys": 3,
    "background": 4,
    "public": 4,
    "blocking": 5,
    "testing": 5,
    "": 6,  # mpzmq/__init__.py: all of the above, on first use
    "cli": 7,
    "__main__": 8,
}
# The protocol takes bytes and time as arguments: nothing in it waits, listens or looks at a clock.
IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "select", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time", "uvloop", "zmq"),
}
LONGEST = 400

Sources = dict[str, str]
"""Module name to source text. A package is named with its `__init__`: `mpzmq.protocol.__init__`."""


def read_sources(root: Path = ROOT) -> Sources:
    return {
        ".".join((PACKAGE, *path.relative_to(root).with_suffix("").parts)): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*.py"))
    }


def imported_names(module: str, source: str) -> Iterator[str]:
    """Absolute dotted names that a module imports: everywhere, in functions and under TYPE_CHECKING too.

    `from a import b` gives `a.b`, which may be a module `a.b` or a name in `a`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package that holds the module; the name of a package ends in __init__ here.
            base = module.split(".")[: -node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join((*base, alias.name)) for alias in node.names)


def internal_edges(sources: Sources) -> dict[str, set[str]]:
    """For each module the modules of the package that it imports."""

    def resolve(name: str) -> str:
        while name:
            for module in (name, f"{name}.__init__"):
                if module in sources:
                    return module
            name = name.rpartition(".")[0]
        return f"{PACKAGE}.__init__"

    return {
        module: {resolve(name) for name in imported_names(module, source) if name.split(".")[0] == PACKAGE}
        for module, source in sources.items()
    }


def component(module: str) -> str:
    """`mpzmq.protocol.wire` is of `protocol`, `mpzmq.errors` of `errors`, `mpzmq.__init__` of ``."""
    name = module.split(".")[1]
    return "" if name == "__init__" else name


def direction_faults(sources: Sources) -> list[str]:
    """Imports that go up or sideways, and components that have no level."""
    faults = [f"{module}: add its component to LEVELS" for module in sources if component(module) not in LEVELS]
    for module, targets in internal_edges(sources).items():
        for target in sorted(targets):
            here, there = component(module), component(target)
            if here == there or here not in LEVELS or there not in LEVELS:
                continue
            both_lowest = LEVELS[here] == LEVELS[there] == 0
            if LEVELS[there] >= LEVELS[here] and not both_lowest:
                faults.append(f"{module} imports {target}: not a lower level")
    return faults


def circle_faults(sources: Sources) -> list[str]:
    """The first circle of imports, if there is one."""
    edges = internal_edges(sources)
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def foreign_faults(sources: Sources) -> list[str]:
    """zmq outside the transport, and anything impure in the protocol."""
    faults = []
    for module, source in sources.items():
        imported = {name.partition(".")[0] for name in imported_names(module, source)}
        forbidden: set[str] = set()
        if component(module) != "transport":
            forbidden |= {"zmq"}
        if component(module) == "protocol":
            forbidden |= IMPURE
        faults += [f"{module} imports {name}" for name in sorted(imported & forbidden)]
    return faults


def facade_faults(sources: Sources) -> list[str]:
    """Whatever stands in mpzmq/public.py beside a docstring, relative imports and `__all__`."""
    faults = []
    for node in ast.parse(sources[f"{PACKAGE}.public"]).body:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.ImportFrom(module="__future__") | ast.ImportFrom(level=1):
                pass
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple()):
                pass
            case _:
                faults.append(f"{PACKAGE}/public.py, line {node.lineno}: {ast.unparse(node)}")
    return faults


def length_faults(sources: Sources) -> list[str]:
    lengths = {module: len(source.splitlines()) for module, source in sources.items()}
    return [f"{module} has {lines} lines" for module, lines in lengths.items() if lines > LONGEST]


CHECKS = [direction_faults, circle_faults, foreign_faults, facade_faults, length_faults]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package(check: Callable[[Sources], list[str]]) -> None:
    assert not check(read_sources())


SOUND: Sources = {
    "mpzmq.__init__": "from .public import *",
    "mpzmq.public": (
        '"""Names."""\nfrom ._version import __version__\nfrom .engine.worker import W\n__all__ = ["W", "__version__"]'
    ),
    "mpzmq.__main__": "from .cli import main",
    "mpzmq._version": "",
    "mpzmq.errors": "from .message import Executed",
    "mpzmq.message": "import enum",
    "mpzmq.protocol.__init__": "",
    "mpzmq.protocol.link": "from ..errors import MpzmqError\nfrom . import wire\nfrom .wire import Record",
    "mpzmq.protocol.wire": "import msgpack, datetime\nfrom .. import errors, message",
    "mpzmq.transport.__init__": "",
    "mpzmq.transport.socket": "import asyncio\nimport zmq\nfrom ..errors import ConnectError",
    "mpzmq.engine.__init__": "",
    "mpzmq.engine.worker": "from ..protocol import link\nfrom ..transport.socket import Socket",
    "mpzmq.cli.__init__": "from mpzmq import W\nimport mpzmq.protocol.link",
}


def test_a_sound_package_has_no_faults() -> None:
    for check in CHECKS:
        assert check(SOUND) == []


def test_edges() -> None:
    edges = internal_edges(SOUND)
    assert edges["mpzmq.protocol.link"] == {"mpzmq.errors", "mpzmq.protocol.wire"}
    assert edges["mpzmq.protocol.wire"] == {"mpzmq.errors", "mpzmq.message"}
    assert edges["mpzmq.cli.__init__"] == {"mpzmq.__init__", "mpzmq.protocol.link"}
    assert edges["mpzmq.__main__"] == {"mpzmq.cli.__init__"}


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        (
            "mpzmq.protocol.wire",
            "from ..transport import socket",
            "mpzmq.transport.socket: not a lower level",
        ),
        ("mpzmq.protocol.wire", "from ..engine.worker import W", "mpzmq.engine.worker: not a lower level"),
        ("mpzmq.transport.socket", "import mpzmq.protocol.wire", "mpzmq.protocol.wire: not a lower level"),
        ("mpzmq.transport.__init__", "from ..protocol import wire", "mpzmq.protocol.wire: not a lower level"),
        ("mpzmq.container.server", "from ..engine import worker", "mpzmq.engine.worker: not a lower level"),
        ("mpzmq.errors", "from .protocol import wire", "mpzmq.protocol.wire: not a lower level"),
        ("mpzmq.engine.worker", "from mpzmq import W", "mpzmq.__init__: not a lower level"),
        ("mpzmq.engine.worker", "from .. import W", "mpzmq.__init__: not a lower level"),
        ("mpzmq.engine.worker", "from ..cli import main", "mpzmq.cli.__init__: not a lower level"),
        (
            "mpzmq.errors",
            "if TYPE_CHECKING:\n    from .engine.worker import W",
            "mpzmq.engine.worker: not a lower level",
        ),
        (
            "mpzmq.errors",
            "def late():\n    from .engine.worker import W",
            "mpzmq.engine.worker: not a lower level",
        ),
        ("mpzmq.helpers", "", "mpzmq.helpers: add its component to LEVELS"),
    ],
)
def test_a_bad_direction_is_found(module: str, line: str, fault: str) -> None:
    faults = direction_faults(SOUND | {module: line})
    assert len(faults) == 1
    assert faults[0].endswith(fault)


@pytest.mark.parametrize(
    "changed",
    [
        {"mpzmq.message": "from .errors import MpzmqError"},
        {"mpzmq.protocol.wire": "from .link import Link"},
        {"mpzmq.protocol.wire": "def late():\n    from . import link"},
        {"mpzmq.protocol.__init__": "from .wire import A", "mpzmq.protocol.wire": "from . import B"},
    ],
)
def test_a_circle_is_found(changed: Sources) -> None:
    assert len(circle_faults(SOUND | changed)) == 1


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("mpzmq.engine.worker", "import zmq.asyncio", "zmq"),
        ("mpzmq.engine.worker", "if TYPE_CHECKING:\n    from zmq import Socket", "zmq"),
        ("mpzmq.protocol.wire", "import asyncio", "asyncio"),
        ("mpzmq.protocol.wire", "from time import monotonic", "time"),
        ("mpzmq.protocol.wire", "from concurrent.futures import Future", "concurrent"),
        ("mpzmq.protocol.wire", "def late():\n    import threading", "threading"),
    ],
)
def test_a_forbidden_import_is_found(module: str, line: str, found: str) -> None:
    assert foreign_faults(SOUND | {module: line}) == [f"{module} imports {found}"]


@pytest.mark.parametrize(
    "line", ["import asyncio", "from asyncio import run", "def f(): ...", "x = 1", "__all__ = sorted(names)"]
)
def test_logic_in_the_facade_is_found(line: str) -> None:
    faulty = SOUND | {"mpzmq.public": SOUND["mpzmq.public"] + f"\n{line}"}
    assert facade_faults(faulty) == [f"mpzmq/public.py, line 5: {ast.unparse(ast.parse(line))}"]


def test_a_long_module_is_found() -> None:
    assert length_faults({"mpzmq.errors": "\n" * 400}) == []
    assert length_faults({"mpzmq.errors": "\n" * 401}) == ["mpzmq.errors has 401 lines"]
