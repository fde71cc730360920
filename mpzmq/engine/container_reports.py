"""What containers tell of themselves when they are asked, as values."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

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
    functions = {str(name): _function(counters) for name, counters in data["functions"].items()}
    return _counters(ServerStatistics, data, functions=functions)


def _function(data: Any) -> FunctionStatistics:
    given, durations = data.get("durations"), None
    if given is not None:
        buckets = tuple((math.inf if bound is None else float(bound), int(count)) for bound, count in given["buckets"])
        durations = Durations(buckets, float(given["seconds"]))
    return _counters(FunctionStatistics, data, durations=durations)


def _counters(kind: type[_S], data: Any, **others: Any) -> _S:
    known = {field.name: field.default for field in dataclasses.fields(kind) if field.name not in others}
    given = {name: _number(data[name], default) for name, default in known.items() if name in data}
    return kind(**given, **others)


def _number(value: Any, default: object) -> Any:
    if isinstance(value, bool) or (not isinstance(value, int | float) and not (value is None and default is None)):
        raise TypeError(f"a counter is a number, and not {type(value).__name__}")
    return value
