"""The public names are exactly these, each can be imported, each is documented."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.support.waiting import scaled

PUBLIC = {
    # the engine
    *("ComputerEngineReader", "ComputerEngineWorker", "ComputerEngineWriter", "EngineService"),
    *("Channel", "OptionsView", "ReplyStream", "StreamProgress"),
    # the container
    *("ContainerServer", "RequestContext", "current_request", "detached"),
    # messages and values
    *("Description", "Executed", "FunctionDescription", "LinkState", "Method", "Params", "Progress", "Status"),
    # policies and statistics
    *("HeartbeatPolicy", "Limits", "ReconnectPolicy", "Security", "ServerStatistics", "Statistics"),
    # events
    *("Evidence", "StateChange", "EventsDropped", "LinkBusy", "LinkClosed", "LinkDown", "LinkEvent"),
    *("EngineInfo", "EngineJoined", "EngineLeft"),
    *("LinkFailed", "LinkRetry", "LinkUp", "StatusChanged"),
    # errors
    *("AddressNotFound", "AuthenticationFailed", "ConnectError", "ConnectRefused", "ConnectTimeout"),
    *("ConnectionClosed", "ConnectionLost", "ContainerDraining", "ContainerStopped", "EncodeError"),
    *("HandshakeFailed", "InsecureBind", "InvalidArguments", "MessageTooLarge", "MpzmqError"),
    *("NotConnected", "NotPermitted", "Overloaded", "ProtocolError", "Refused", "RemoteError", "RequestCancelled"),
    *("RequestError", "RequestIdReused", "RequestTimeout", "Unsupported"),
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
