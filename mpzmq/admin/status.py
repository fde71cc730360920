"""What is told of a server or a worker, and how it becomes JSON piece by piece."""

from __future__ import annotations

import json
import os
import time
from types import FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, Protocol

from .._version import __version__
from .process import process_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Subject", "about", "counters", "json_pieces"]

_IN_PARTS = (GeneratorType, FunctionType)


class Subject(Protocol):
    """Whom an admin endpoint speaks of."""

    @property
    def name(self) -> str:
        """What it is called in the log."""

    @property
    def target(self) -> object:
        """The server or the worker itself."""

    def not_ready(self) -> list[str]:
        """Why nobody should send requests to it, or through it, in a line each; none: it is ready."""

    def status(self) -> Mapping[str, Any]:
        """What is told of it: what JSON has, and what :func:`json_pieces` takes beside that."""


def about(kind: str, name: str, uptime: float, not_ready: list[str]) -> dict[str, Any]:
    """What is told of either side.

    Args:
        kind: ``"server"`` or ``"worker"``.
        name: what it calls itself.
        uptime: seconds since it was first used.
        not_ready: why it is not.
    """
    return {
        "kind": kind,
        "name": name,
        "version": __version__,
        "pid": os.getpid(),
        "uptime": round(uptime, 3),
        "time": round(time.time(), 3),
        "process": process_facts(),
        "ready": not not_ready,
        "not_ready": not_ready,
    }


def counters(statistics: Any) -> dict[str, Any]:
    """The numbers of a snapshot, and its errors by class; what else it has is told elsewhere or not at all."""
    found: dict[str, Any] = {}
    for name in statistics.__dataclass_fields__:  # fields() costs as much as all the rest, for each of many links
        value = getattr(statistics, name)
        if type(value) in (int, float) or name == "errors" or (value is None and name != "durations"):
            found[name] = value
    return found


def json_pieces(value: object) -> Iterator[str]:
    """JSON in pieces that are short work each, where a value is large and says so.

    A value of an object may be a generator, which becomes an array: its items are made when it is their turn. It may
    be a function without arguments, which is called then.
    """
    if isinstance(value, GeneratorType):
        yield "["
        for number, item in enumerate(value):
            if number:
                yield ","
            yield from json_pieces(item)
        yield "]"
    elif isinstance(value, dict) and any(type(part) in _IN_PARTS for part in value.values()):
        separator = "{"
        for key, part in value.items():
            yield f"{separator}{json.dumps(key)}:"
            yield from json_pieces(part() if isinstance(part, FunctionType) else part)
            separator = ","
        yield "}"
    else:
        yield json.dumps(value, separators=(",", ":"))
