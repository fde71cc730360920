"""What the application may ask of a container, in the words of the protocol."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from ..address import parse_address
from ..models import Method, Status
from ..protocol.requester.options import UNSET
from ..protocol.wire.kinds import Op

if TYPE_CHECKING:
    from ..address import Address

__all__ = ["checked_connect", "checked_function", "checked_id", "checked_remote", "operation_of"]

NIL = UUID(int=0)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_INVOKE: Final = Method.INVOKE
_OP_INVOKE: Final = Op.INVOKE
"""Names of the module: looking a member up in its enum takes 0.1 us (Python 3.11), and every request asks."""


def checked_function(function: object) -> str:
    """The name of a function that is to be called.

    Raises:
        TypeError: it is not a str.
    """
    if isinstance(function, str):
        return function if type(function) is str else str.__str__(function)
    raise TypeError(f"a function is called by its name, a str, not by {type(function).__name__}")


def checked_count(value: object, what: str) -> int:
    """How many, at least one.

    Raises:
        TypeError: it is not an int.
        ValueError: it is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{what} must be 1 or more, not {value}")
    return value


def operation_of(method: Any, data: Any) -> tuple[int, tuple[Any, ...]]:
    """What a plain request asks: the operation and its arguments.

    Raises:
        ValueError: there is no such method; or it is SETSTATE, and the data is not a status.
    """
    if method is _INVOKE:
        return _OP_INVOKE, (data,)
    method = Method(method)
    if method is Method.GETSTATE:
        return Op.GETSTATE, ()
    return (Op.SETSTATE, (Status(data),)) if method is Method.SETSTATE else (Op.INVOKE, (data,))


def checked_id(request_id: object) -> bytes:
    """The tag of a request id that the caller chose.

    Raises:
        TypeError: it is no UUID.
        ValueError: it is the nil UUID, which stands for the link itself.
    """
    if not isinstance(request_id, UUID):
        raise TypeError(f"request_id is a UUID, not {type(request_id).__name__}: use uuid.uuid4()")
    if request_id == NIL:
        raise ValueError("request_id cannot be the nil UUID: use uuid.uuid4()")
    return request_id.bytes


def checked_remote(remote_id: object) -> UUID:
    """The id of a container.

    Raises:
        TypeError: it is not a UUID.
    """
    if isinstance(remote_id, UUID):
        return remote_id
    raise TypeError(f"remote_id is a UUID, not {type(remote_id).__name__}")


_NO_ADDRESS = "connect() is not given an address: use connect(address), or connect(remote_id, address)"


def checked_connect(remote_id: object, address: object) -> tuple[UUID, Address]:
    """What ``connect(address)`` and ``connect(remote_id, address)`` are given: UNSET is what was left out.

    Raises:
        TypeError: the id is not a UUID, or there is no address.
        ValueError: the id is the nil UUID, or the address is malformed.
    """
    if isinstance(remote_id, UUID):
        if address is UNSET:
            raise TypeError(_NO_ADDRESS)
        if remote_id == NIL:
            raise ValueError("the nil UUID is not a remote id: use uuid.uuid4()")
        return remote_id, parse_address(address)
    if address is UNSET:
        return uuid4(), _lone_address(remote_id)
    if remote_id is UNSET:
        return uuid4(), _lone_address(address)
    raise TypeError(f"remote_id is a UUID, not {type(remote_id).__name__}: use uuid.uuid4(), or leave it out")


def _lone_address(address: object) -> Address:
    """An address without a remote id, for which a UUID may have been meant."""
    if address is UNSET:
        raise TypeError(_NO_ADDRESS)
    if isinstance(address, str) and _UUID.fullmatch(address):
        raise TypeError(f"{address!r} is neither an address nor a UUID: use connect(uuid.UUID(...), address)")
    return parse_address(address)
