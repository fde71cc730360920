"""The architecture as a test: which module may import which. The rules are told in docs/architecture.md.

The checks take source text, so that the second half of this file can show that each of them bites.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = "mpzmq"
ROOT = Path(__file__).parent.parent / PACKAGE

# A component is a module or a folder directly in mpzmq/. It imports itself and components of a lower level,
# none of its own level. Only in the lowest one the modules may import each other, though never in a circle.
LEVELS: dict[str, int] = {
    "_lazy": 0,
    "_version": 0,
    "address": 0,
    "common": 0,
    "config": 0,
    "context": 0,
    "errors": 0,
    "events": 0,
    "failure": 0,
    "models": 0,
    "security": 0,
    "statistics": 0,
    "protocol": 1,
    "transport": 1,
    "conformance": 2,
    "runtime": 2,
    "typed": 2,
    "admin": 3,
    "handlers": 3,
    "container": 4,
    "engine": 4,
    "keys": 4,
    "middleware": 4,
    "blocking": 5,
    "exposed": 5,
    "fleets": 5,
    "manifests": 5,
    "otel": 5,
    "prometheus": 5,
    "asgi": 6,
    "mcp": 6,
    "testing": 6,
    "": 7,  # mpzmq/__init__.py: all of the above, on first use
    "cli": 8,
    "__main__": 9,
}
# The rooms of protocol/ in the same way: two of one floor stand side by side and do not know each other.
FLOORS: dict[str, int] = {
    "wire": 0,
    "flow": 1,
    "health": 1,
    "requester": 2,
    "responder": 3,
    "group": 4,
    "link": 4,
    "rust": 4,
    "lobby": 4,
    "session": 4,
}
# The protocol takes bytes and time as arguments: nothing in it waits, listens or looks at a clock.
IMPURE = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "select", "selectors"),
    *("signal", "socket", "ssl", "subprocess", "threading", "time", "uvloop", "zmq"),
}
MAX_AT_THE_TOP = 14
MAX_LINES = 500
MAX_ATTRIBUTES = 20
MAX_PARAMETERS = 8
# What is over, with what it may have: it becomes less, and never more.
KNOWN_LARGE: dict[str, int] = {
    "mpzmq.engine.link_driver.LinkDriver: parameters": 15,
    "mpzmq.errors.RemoteError: parameters": 10,
    "mpzmq.handlers.invocation.Invocation: attributes": 26,
    "mpzmq.handlers.invocation.Invocation: parameters": 9,
    "mpzmq.protocol.link.link.Link: attributes": 32,
    "mpzmq.protocol.link.link.Link: parameters": 11,
    "mpzmq.protocol.requester.request.PendingRequest: parameters": 11,
    "mpzmq.protocol.requester.tracker.RequestTracker: attributes": 23,
    "mpzmq.protocol.session.session.EngineSession: attributes": 21,
}

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


def floor_faults(sources: Sources) -> list[str]:
    """Imports between the rooms of the protocol that go up or sideways, and rooms that have no floor."""
    faults = []
    for module, targets in internal_edges(sources).items():
        if component(module) != "protocol" or module.count(".") < 3:
            continue
        room = module.split(".")[2]
        if room not in FLOORS:
            faults.append(f"{module}: add its room to FLOORS")
            continue
        for target in sorted(targets):
            if component(target) != "protocol" or target.count(".") < 3:
                continue
            other = target.split(".")[2]
            if other != room and FLOORS.get(other, MAX_LINES) >= FLOORS[room]:
                faults.append(f"{module} imports {target}: not a lower floor")
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
    """zmq outside mpzmq/transport/libzmq/, and anything impure in the protocol."""
    faults = []
    for module, source in sources.items():
        imported = {name.partition(".")[0] for name in imported_names(module, source)}
        forbidden: set[str] = set()
        if not module.startswith(f"{PACKAGE}.transport.libzmq."):
            forbidden |= {"zmq"}
        if component(module) == "protocol":
            forbidden |= IMPURE
        faults += [f"{module} imports {name}" for name in sorted(imported & forbidden)]
    return faults


def facade_faults(sources: Sources) -> list[str]:
    """Whatever stands in mpzmq/__init__.py beside its docstring, imports and tables of names."""
    body = ast.parse(sources[f"{PACKAGE}.__init__"]).body
    faults = []
    for node in [inner for outer in body for inner in ((*outer.body, *outer.orelse) if is_typing(outer) else (outer,))]:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.ImportFrom(module="typing") | ast.ImportFrom(level=1):
                pass
            case ast.Assign(targets=[ast.Name()], value=ast.List() | ast.Tuple() | ast.Dict()):
                pass
            case ast.Assign(value=ast.Call(func=ast.Name(id="_lazy_names"))):
                pass
            case _:
                faults.append(f"{PACKAGE}/__init__.py, line {node.lineno}: {ast.unparse(node)}")
    return faults


def is_typing(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def attributes_of(node: ast.ClassDef) -> set[str]:
    """The attributes of a class's objects: what its methods set on `self`, and what its body declares."""
    declared = {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
    stored = (part for part in ast.walk(node) if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store))
    return declared | {part.attr for part in stored if ast.unparse(part.value) == "self"}


def parameters_of(node: ast.ClassDef) -> int:
    """How many arguments its constructor takes."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return len(part.args.posonlyargs) + len(part.args.args) + len(part.args.kwonlyargs) - 1
    return 0


def sizes(sources: Sources) -> Iterator[tuple[str, int, int]]:
    """What is counted of modules and classes: its name, how many, and how many it may be."""
    for module, source in sources.items():
        yield f"{module}: lines", len(source.splitlines()), MAX_LINES
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                yield f"{module}.{node.name}: attributes", len(attributes_of(node)), MAX_ATTRIBUTES
                yield f"{module}.{node.name}: parameters", parameters_of(node), MAX_PARAMETERS


def crowd_faults(sources: Sources) -> list[str]:
    """Whether there are more modules at the top than a reader sees at a glance."""
    top = sorted(module for module in sources if module.count(".") == 1)  # packages are one deeper: their __init__
    return [f"{len(top)} modules at the top: {', '.join(top)}"] if len(top) > MAX_AT_THE_TOP else []


def size_faults(sources: Sources, known: dict[str, int] = KNOWN_LARGE) -> list[str]:
    """Modules and classes that have grown beyond what they may have."""
    return [
        f"{name}: {count}, at most {known.get(name, most)}"
        for name, count, most in sizes(sources)
        if count > known.get(name, most)
    ]


CHECKS = [direction_faults, floor_faults, circle_faults, foreign_faults, facade_faults, crowd_faults, size_faults]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_package(check: Callable[[Sources], list[str]]) -> None:
    assert not check(read_sources())


def test_what_is_known_to_be_large_still_is() -> None:
    counts = {name: (count, most) for name, count, most in sizes(read_sources())}
    assert [name for name, ceiling in KNOWN_LARGE.items() if counts.get(name, (0, 0))[0] != ceiling] == []


SOUND: Sources = {
    "mpzmq.__init__": (
        '"""Names."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .engine.worker import W\nelse:\n'
        '    from ._lazy import lazy_names as _lazy_names\n    _HOMES = {"W": "engine.worker"}\n'
        '    __getattr__, __dir__ = _lazy_names(__name__, _HOMES)\n__all__ = ["W"]'
    ),
    "mpzmq._lazy": "",
    "mpzmq.__main__": "from .cli import main",
    "mpzmq._version": "",
    "mpzmq.errors": "from .models import Executed",
    "mpzmq.models": "import enum",
    "mpzmq.protocol.__init__": "",
    "mpzmq.protocol.link.__init__": "",
    "mpzmq.protocol.link.link": "from ...errors import E\nfrom ..wire import records\nfrom ..wire.records import R",
    "mpzmq.protocol.session.__init__": "",
    "mpzmq.protocol.session.table": "from ..wire.records import R",
    "mpzmq.protocol.wire.__init__": "",
    "mpzmq.protocol.wire.records": "import msgpack, datetime\nfrom ... import errors, models",
    "mpzmq.transport.__init__": "",
    "mpzmq.transport.interface": "from ..errors import ConnectError",
    "mpzmq.transport.libzmq.__init__": "",
    "mpzmq.transport.libzmq.socket": "import asyncio\nimport zmq\nfrom ...errors import ConnectError",
    "mpzmq.engine.__init__": "",
    "mpzmq.engine.worker": "from ..protocol.link import link\nfrom ..transport.libzmq.socket import Socket",
    "mpzmq.cli.__init__": "from mpzmq import W\nimport mpzmq.protocol.link.link",
}


def test_a_sound_package_has_no_faults() -> None:
    for check in CHECKS:
        assert check(SOUND) == []


def test_edges() -> None:
    edges = internal_edges(SOUND)
    assert edges["mpzmq.protocol.link.link"] == {"mpzmq.errors", "mpzmq.protocol.wire.records"}
    assert edges["mpzmq.protocol.wire.records"] == {"mpzmq.errors", "mpzmq.models"}
    assert edges["mpzmq.cli.__init__"] == {"mpzmq.__init__", "mpzmq.protocol.link.link"}
    assert edges["mpzmq.__main__"] == {"mpzmq.cli.__init__"}


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        (
            "mpzmq.protocol.wire.records",
            "from ...transport import interface",
            "mpzmq.transport.interface: not a lower level",
        ),
        ("mpzmq.protocol.wire.records", "from ...engine.worker import W", "mpzmq.engine.worker: not a lower level"),
        (
            "mpzmq.transport.interface",
            "import mpzmq.protocol.wire.records",
            "mpzmq.protocol.wire.records: not a lower level",
        ),
        (
            "mpzmq.transport.__init__",
            "from ..protocol.wire import records",
            "mpzmq.protocol.wire.records: not a lower level",
        ),
        ("mpzmq.container.server", "from ..engine import worker", "mpzmq.engine.worker: not a lower level"),
        ("mpzmq.errors", "from .protocol.wire import records", "mpzmq.protocol.wire.records: not a lower level"),
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
        {"mpzmq.models": "from .errors import MpzmqError"},
        {"mpzmq.protocol.wire.records": "from ..link.link import Link"},
        {"mpzmq.protocol.wire.records": "def late():\n    from ..link import link"},
        {"mpzmq.protocol.__init__": "from .wire.records import A", "mpzmq.protocol.wire.records": "from .. import B"},
    ],
)
def test_a_circle_is_found(changed: Sources) -> None:
    assert len(circle_faults(SOUND | changed)) == 1


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        ("mpzmq.engine.worker", "import zmq.asyncio", "zmq"),
        ("mpzmq.transport.interface", "import zmq", "zmq"),
        ("mpzmq.engine.worker", "if TYPE_CHECKING:\n    from zmq import Socket", "zmq"),
        ("mpzmq.protocol.wire.records", "import asyncio", "asyncio"),
        ("mpzmq.protocol.wire.records", "from time import monotonic", "time"),
        ("mpzmq.protocol.wire.records", "from concurrent.futures import Future", "concurrent"),
        ("mpzmq.protocol.wire.records", "def late():\n    import threading", "threading"),
    ],
)
def test_a_forbidden_import_is_found(module: str, line: str, found: str) -> None:
    assert foreign_faults(SOUND | {module: line}) == [f"{module} imports {found}"]


@pytest.mark.parametrize(
    "line", ["import asyncio", "from asyncio import run", "def f(): ...", "x = 1", "__all__ = sorted(names)"]
)
def test_logic_in_the_facade_is_found(line: str) -> None:
    faulty = SOUND | {"mpzmq.__init__": SOUND["mpzmq.__init__"] + f"\n{line}"}
    assert facade_faults(faulty) == [f"mpzmq/__init__.py, line 10: {ast.unparse(ast.parse(line))}"]


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("mpzmq.protocol.wire.records", "from ..link.link import L", "mpzmq.protocol.link.link: not a lower floor"),
        ("mpzmq.protocol.link.link", "from ..session import table", "mpzmq.protocol.session.table: not a lower floor"),
        ("mpzmq.protocol.extra.thing", "", "mpzmq.protocol.extra.thing: add its room to FLOORS"),
    ],
)
def test_a_wrong_floor_is_found(module: str, line: str, fault: str) -> None:
    faults = floor_faults(SOUND | {module: line})
    assert len(faults) == 1
    assert faults[0].endswith(fault)


def test_many_modules_at_the_top_are_found() -> None:
    few = {f"mpzmq.m{number}": "" for number in range(MAX_AT_THE_TOP)}
    assert crowd_faults(few | {"mpzmq.wide.deep": ""}) == []
    assert len(crowd_faults(few | {"mpzmq.one_more": ""})) == 1


def test_a_long_module_is_found() -> None:
    assert size_faults({"mpzmq.errors": "\n" * MAX_LINES}) == []
    assert size_faults({"mpzmq.errors": "\n" * (MAX_LINES + 1)}) == ["mpzmq.errors: lines: 501, at most 500"]


def test_a_large_class_is_found() -> None:
    def large(attributes: int, parameters: int) -> str:
        names = ", ".join(f"p{n}" for n in range(parameters))
        body = "".join(f"        self.a{n} = {n}\n" for n in range(attributes))
        return f"class C:\n    def __init__(self, {names}):\n{body}"

    assert size_faults({"mpzmq.errors": large(MAX_ATTRIBUTES, MAX_PARAMETERS)}) == []
    assert size_faults({"mpzmq.errors": large(MAX_ATTRIBUTES + 1, MAX_PARAMETERS + 1)}) == [
        "mpzmq.errors.C: attributes: 21, at most 20",
        "mpzmq.errors.C: parameters: 9, at most 8",
    ]
    assert size_faults({"mpzmq.errors": large(25, 1)}, {"mpzmq.errors.C: attributes": 25}) == []
