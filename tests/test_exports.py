"""The public names are exactly these, each can be imported, each is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import mpzmq
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("mpzmq", "mpzmq.asgi", "mpzmq.blocking", "mpzmq.keys", "mpzmq.middleware", "mpzmq.testing")
"""Where public names are imported from."""

PUBLIC = {
    # the engine
    *("ComputerEngineReader", "ComputerEngineWorker", "ComputerEngineWriter", "EngineService"),
    *("Channel", "EventStream", "Opening", "OptionsView", "ReplyStream", "StreamProgress", "Unset"),
    *("Endpoint", "Resolver"),
    # the container
    *("ContainerServer", "Join", "RequestContext", "RequestLogFilter", "current_request", "detached"),
    *("CallDetails", "Depends", "Proceed"),
    # messages and values
    *("Description", "Executed", "FunctionDescription", "LinkState", "Method", "Params", "Progress", "Status"),
    # policies and statistics
    *("HeartbeatPolicy", "Limits", "ReconnectPolicy", "Security"),
    *("Durations", "FunctionStatistics", "ServerStatistics", "Statistics"),
    # events
    *("Evidence", "StateChange", "EventsDropped", "LinkBusy", "LinkClosed", "LinkDown", "LinkEvent"),
    *("EngineInfo", "EngineJoined", "EngineLeft"),
    *("LinkFailed", "LinkRetry", "LinkUp", "StatusChanged"),
    # groups
    *("Attempt", "Call", "Group", "GroupPolicy", "GroupStatistics", "Member", "Outcome", "Outcomes"),
    *("Fleet", "JoinedGroup", "fleet"),
    *("MemberEjected", "MemberHeld", "MemberJoined", "MemberLeft", "MemberReturned"),
    # errors
    *("AddressNotFound", "AuthenticationFailed", "ConnectError", "ConnectRefused", "ConnectTimeout"),
    *("ConnectionClosed", "ConnectionLost", "ContainerDraining", "ContainerStopped", "EncodeError"),
    *("HandshakeFailed", "InsecureBind", "InvalidArguments", "MessageTooLarge", "MpzmqError"),
    *("NotConnected", "NotPermitted", "Overloaded", "ProtocolError", "Refused", "RemoteError", "RequestCancelled"),
    *("RequestError", "RequestIdReused", "RequestTimeout", "ResultMismatch", "Unsupported"),
    "__version__",
}
DOCUMENTED = sorted(PUBLIC - {"__version__"})


def public(name: str) -> Any:
    return getattr(importlib.import_module("mpzmq"), name)


def undocumented(thing: Any) -> list[str]:
    """What has no docstring of its own: the thing, or a public method or property that its class defines."""
    missing = []
    doc = inspect.getdoc(thing)
    # A dataclass without a docstring is given its signature, an enum of Python 3.11 and older a stock phrase.
    if not doc or doc.startswith(f"{thing.__name__}(") or doc == "An enumeration.":
        missing.append(thing.__name__)
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            if name.startswith("_"):
                continue
            if inspect.isroutine(member) or isinstance(member, (property, classmethod, staticmethod)):
                # getdoc() finds the docstring of the method that this one overrides, too.
                documented = member if isinstance(member, property) else getattr(thing, name)
                if not inspect.getdoc(documented):
                    missing.append(f"{thing.__name__}.{name}")
    return missing


def test_all_is_the_public_interface() -> None:
    names = importlib.import_module("mpzmq").__all__
    assert len(names) == len(set(names))
    assert set(names) == PUBLIC


def test_nothing_else_looks_public() -> None:
    found = {
        name
        for name, value in vars(importlib.import_module("mpzmq")).items()
        if not (name.startswith("_") or isinstance(value, ModuleType) or name == "TYPE_CHECKING")
    }
    assert found <= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_can_be_imported(name: str) -> None:
    assert public(name) is not None


@pytest.mark.parametrize("name", DOCUMENTED)
def test_is_documented(name: str) -> None:
    assert not undocumented(public(name))


def test_errors_are_one_tree() -> None:
    root = public("MpzmqError")
    errors = [public(name) for name in DOCUMENTED]
    for error in errors:
        if inspect.isclass(error) and issubclass(error, BaseException):
            assert issubclass(error, root)


def test_import_needs_no_extra() -> None:
    """The core runs on pyzmq and msgpack; extras are imported where they are used."""
    extras = {"click", "numpy", "rich", "uvloop", "zmq.asyncio"}
    source = f"import sys, mpzmq; print(sorted({extras!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=scaled(30)
    )
    assert result.stdout == "[]\n"


def test_an_error_is_imported_without_the_rest() -> None:
    source = "import sys, mpzmq; mpzmq.errors.RemoteError; from mpzmq import LinkUp, Limits, RequestTimeout;"
    source += "print('zmq' in sys.modules, 'msgpack' in sys.modules, 'asyncio' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=scaled(30)
    )
    assert result.stdout == "False False False\n"


def exported() -> Iterator[tuple[str, str, Any]]:
    """The package, name and value of everything that is public."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        yield from ((package, name, getattr(module, name)) for name in module.__all__ if name != "__version__")


def test_everything_is_known_by_the_name_that_it_is_imported_by() -> None:
    for package, name, value in exported():
        assert (value.__module__, value.__qualname__) == (package, name)
        if isinstance(value, type):
            assert pickle.loads(pickle.dumps(value)) is value


MADE_BY_OTHERS = {
    *("ComputerEngineReader", "ComputerEngineWriter", "EngineService", "EventStream", "OptionsView", "ReplyStream"),
    *(
        "CallDetails",
        "Channel",
        "RequestContext",
        "BlockingContainer",
        "BlockingOptionsView",
        "BlockingStream",
        "ContainerFactory",
    ),
    *("ProxyFactory", "Fleet", "Group", "JoinedGroup", "BlockingGroup", "Gateway"),
}
"""Classes whose instances a worker, a server or a handle makes: their constructors are none of the interface."""


def annotations_of(thing: Any) -> Iterator[str]:
    """Those of a function, or of the public methods and properties of a class."""
    if not isinstance(thing, type):
        yield from getattr(thing, "__annotations__", {}).values()
        return
    for name, member in vars(thing).items():
        if not name.startswith("_") or (name == "__init__" and thing.__name__ not in MADE_BY_OTHERS):
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            yield from map(str, getattr(function, "__annotations__", {}).values())


def test_every_type_in_a_signature_is_exported() -> None:
    ours = {
        node.name
        for path in Path(mpzmq.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    public = {name for _, name, _ in exported()}
    found = {
        f"{package}.{name}: {word}"
        for package, name, value in exported()
        if name != "ComputerEngineReader"  # a name of the seed; the link alone calls it
        for annotation in annotations_of(value)
        for word in re.findall(r"\w+", annotation)
        if word in ours - public
    }
    assert not found


class Bare:
    def method(self) -> None: ...

    @property
    def value(self) -> int:
        return 1

    @classmethod
    def build(cls) -> None: ...

    def _private(self) -> None: ...


def test_a_missing_docstring_is_found() -> None:
    assert undocumented(Bare) == ["Bare", "Bare.method", "Bare.value", "Bare.build"]
