"""What containers tell of themselves when they are asked, as values."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from ..common.text import MAX_NAME, repr_of
from ..common.timings import checked_buckets
from ..models import Description, FunctionDescription, Status
from ..statistics import Durations, FunctionStatistics, ServerStatistics
from ..typed.well_formed import check_document

if TYPE_CHECKING:
    from ..protocol.wire.records import Record

__all__ = ["description", "server_statistics"]

_S = TypeVar("_S", ServerStatistics, FunctionStatistics)


def description(record: Record) -> Description:
    """What the reply to a describe request says.

    Raises:
        TypeError, KeyError, ValueError: the container did not send a description.
    """
    data = record[2]
    if (schema := data.get("schema")) is not None:
        check_document(schema)
    return Description(
        name=str(data["name"]),
        instance=UUID(str(data["instance"])),
        version=str(data["version"]),
        status=Status(data["status"]),
        invokes=bool(data["invokes"]),
        functions=tuple(
            FunctionDescription(str(name), str(signature), str(doc)) for name, signature, doc in data["functions"]
        ),
        schema=schema,
    )


def server_statistics(record: Record) -> ServerStatistics:
    """What the reply to a request for statistics says; what this version does not know is left out.

    Raises:
        TypeError, KeyError, ValueError: the container did not send statistics.
    """
    data = record[2]
    functions = {_name(name): _function(counters) for name, counters in data["functions"].items()}
    return _counters(ServerStatistics, data, functions=functions)


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > MAX_NAME:  # of which a table as wide as the longest is made
        raise ValueError(f"the name of a function is a str of at most {MAX_NAME} characters")
    return name


def _function(data: Any) -> FunctionStatistics:
    given, durations = data.get("durations"), None
    if given is not None:
        durations = _durations(given["buckets"], given["seconds"])
    return _counters(FunctionStatistics, data, durations=durations)


def _durations(buckets: Any, seconds: Any) -> Durations:
    *bounds, last = [bound for bound, _ in buckets]
    if last is not None:
        raise ValueError("the last bucket has no bound")
    counts = [_number(count, 0) for _, count in buckets]
    if counts != sorted(counts):
        raise ValueError("a bucket counts what is in those before it, too")
    bounds = [*checked_buckets([_number(bound, 0.0) for bound in bounds]), math.inf]
    return Durations(tuple(zip(bounds, counts, strict=True)), _number(seconds, 0.0))


def _counters(kind: type[_S], data: Any, **others: Any) -> _S:
    known = {field.name: field.default for field in dataclasses.fields(kind) if field.name not in others}
    given = {name: _number(data[name], default) for name, default in known.items() if name in data}
    return kind(**given, **others)


def _number(value: Any, default: object) -> Any:
    """A counter, or a time, of the kind of its default: whoever adds them up or writes them as JSON can rely on it."""
    if value is None and default is None:
        return None
    kinds = int if type(default) is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < math.inf:
        raise TypeError(f"a counter is a number of at least 0, and not {repr_of(value, MAX_NAME)}")
    return value
