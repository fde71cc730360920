"""What the application may ask of a container, in the words of the protocol."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..message import Description, FunctionDescription, Method, Status
from ..protocol.wire import Op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..protocol.wire import Record

__all__ = ["Call", "checked_id", "description", "request_tags"]

NIL = UUID(int=0)

_OPS = {Method.INVOKE: Op.INVOKE, Method.SETSTATE: Op.SETSTATE, Method.GETSTATE: Op.GETSTATE}


class Call:
    """One thing that is asked: the operation and its values."""

    __slots__ = ("args", "function", "kwargs", "op")

    def __init__(
        self,
        op: int,
        function: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.op = op
        self.function = function
        self.args = args
        self.kwargs = kwargs

    @classmethod
    def of_function(cls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """A call of a named function.

        Raises:
            TypeError: the name is no str.
        """
        if not isinstance(function, str):
            raise TypeError(f"a function is called by its name, a str, not by {type(function).__name__}")
        return cls(Op.CALL, function, args, kwargs or None)

    @classmethod
    def of_method(cls, method: Method, data: Any) -> Call:
        """What a plain request asks.

        Raises:
            ValueError: it is SETSTATE, and the data is no status.
        """
        op = _OPS[Method(method)]
        if op == Op.GETSTATE:
            return cls(op)
        return cls(op, args=(Status(data),) if op == Op.SETSTATE else (data,))


def request_tags() -> Iterator[bytes]:
    """Request ids for callers that choose none: UUIDs of version 8, random in front, counting behind.

    Drawing each from the system's randomness would take as long as encoding the request.
    """
    front = bytearray(os.urandom(8))
    front[6] = front[6] & 0x0F | 0x80
    prefix = bytes(front)
    start = 1 << 63  # the variant bits of RFC 9562
    return (prefix + (start + number).to_bytes(8, "big") for number in itertools.count(1))


def checked_id(request_id: object) -> bytes:
    """The tag of a request id that the caller chose.

    Raises:
        TypeError: it is no UUID.
        ValueError: it is the nil UUID, which stands for the link itself.
    """
    if not isinstance(request_id, UUID):
        raise TypeError(f"request_id is a UUID, not {type(request_id).__name__}: use uuid.uuid4()")
    if request_id == NIL:
        raise ValueError("the nil UUID is no request id: use uuid.uuid4()")
    return request_id.bytes


def description(record: Record) -> Description:
    """What the reply to a describe request says.

    Raises:
        TypeError, KeyError, ValueError: the container did not send a description.
    """
    data = record[2]
    return Description(
        name=str(data["name"]),
        instance=UUID(str(data["instance"])),
        version=str(data["version"]),
        status=Status(data["status"]),
        invokes=bool(data["invokes"]),
        functions=tuple(
            FunctionDescription(str(name), str(signature), str(doc)) for name, signature, doc in data["functions"]
        ),
    )
