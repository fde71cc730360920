"""The tables of settings and errors in docs/reference/ say the same as the code."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mpzmq
import mpzmq.asgi
from mpzmq import config
from mpzmq.protocol.requester.options import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
UNITS = {"": 1, " s": 1, " MiB": 1024 * 1024}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "worker.service()": mpzmq.ComputerEngineWorker.service,
    "worker.connect()": mpzmq.ComputerEngineWorker.connect,
    "worker.group()": mpzmq.ComputerEngineWorker.group,
    "worker.accept()": mpzmq.ComputerEngineWorker.accept,
    "worker.close()": mpzmq.ComputerEngineWorker.close,
    "worker.disconnect()": mpzmq.ComputerEngineWorker.disconnect,
    "asgi.gateway()": mpzmq.asgi.gateway,
    "server.bind()": mpzmq.ContainerServer.bind,
    "server.join()": mpzmq.ContainerServer.join,
    "server.function()": mpzmq.ContainerServer.function,
    "server.drain()": mpzmq.ContainerServer.drain,
    "server.run()": mpzmq.ContainerServer.run,
}
OBVIOUS = {"name", "insecure", "policy"}
"""Parameters that need no row wherever they stand: what they default to is told in words."""


def table(page: str) -> list[list[str]]:
    """The rows of the first table of a page."""
    found = re.search(r"\n\|[-|]+\n(.*?)\n\n", (REFERENCE / page).read_text("utf-8"), re.S)
    assert found is not None, f"docs/reference/{page} has no table"
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in found[1].splitlines()]


def shown_settings() -> dict[tuple[str, str], Any]:
    """(where, what) to the default that the page shows."""
    settings = {}
    for where, what, default, _ in table("settings.md"):
        found = re.fullmatch(r"`([^`]+)`( s| MiB|)", default)
        assert found is not None, f"{where} {what}: {default}"
        value = ast.literal_eval(found[1])
        settings[where.strip("`"), what.strip("`")] = value * UNITS[found[2]] if found[2] else value
    return settings


def real_settings() -> dict[tuple[str, str], Any]:
    """The same, as the code has it."""
    settings = {}
    for policy in (config.ReconnectPolicy, config.HeartbeatPolicy, config.Limits, config.GroupPolicy):
        for field in dataclasses.fields(policy):
            settings[policy.__name__, field.name] = field.default
    constructor = inspect.signature(mpzmq.ContainerServer).parameters
    settings["ContainerServer", "orphan_after"] = constructor["orphan_after"].default
    for where, function in FUNCTIONS.items():
        for parameter in inspect.signature(function).parameters.values():
            wanted = parameter.name not in OBVIOUS or where == "server.bind()"
            wanted = wanted and parameter.default is not UNSET  # which is what another setting says
            if parameter.default is not parameter.empty and parameter.kind is not parameter.POSITIONAL_ONLY and wanted:
                settings[where, parameter.name] = parameter.default
    return settings


def test_every_default_is_told() -> None:
    assert shown_settings() == real_settings()


def test_types_of_defaults_are_told() -> None:
    """1.0 is not 1, and True is not 1 either."""
    real = real_settings()
    assert {key: type(value) for key, value in shown_settings().items()} == {
        key: type(value) for key, value in real.items()
    }


def error_rows() -> dict[str, tuple[str, str, str]]:
    """The name of each error to what it also is, its `executed`, and the advice."""
    return {name.strip("`"): (also.strip("`"), executed, advice) for name, also, executed, advice in table("errors.md")}


def test_every_error_is_told() -> None:
    errors = {
        name
        for name in mpzmq.__all__
        if isinstance(kind := getattr(mpzmq, name), type) and issubclass(kind, mpzmq.MpzmqError)
    }
    assert set(error_rows()) == errors - {"MpzmqError"}


@pytest.mark.parametrize("name", sorted(error_rows()))
def test_an_error_is_told_truly(name: str) -> None:
    also, executed, advice = error_rows()[name]
    kind = getattr(mpzmq, name)
    assert also == " ".join(base.__name__ for base in kind.__bases__ if base.__module__ == builtins.__name__)
    if issubclass(kind, mpzmq.RequestError):
        assert executed.startswith(f"`{kind.executed}`")
    else:
        assert executed == ""
    assert advice
