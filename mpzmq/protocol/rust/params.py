"""The records of the Rust crate's wire: the same fields in both directions, as JSON."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple, NoReturn
from uuid import UUID

import msgpack

from ...common.chaining import alone
from ...common.json_values import finite_float
from ...common.text import repr_of, type_name
from ...errors import EncodeError
from ..wire.encoder import Encoder
from ..wire.kinds import Op
from ..wire.values import EXT_UUID

__all__ = ["METHODS", "JsonEncoder", "MalformedParams", "RustParams", "check_json", "read_params", "write_params"]

METHODS: Final[dict[int, str]] = {Op.INVOKE: "Invoke", Op.GETSTATE: "Getstate", Op.SETSTATE: "Setstate"}
"""What a method of the crate is called, by the operation that it is here."""

_JSON: Final = frozenset({type(None), bool, int, str})
_STATUSES: Final = ("STOP", "RUNNING")
_OPS: Final[dict[str, int]] = {name: op for op, name in METHODS.items()}
_write: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class MalformedParams(Exception):
    """A frame that holds no record.

    Attributes:
        tag: the id of the request, where that can be read; empty: it cannot.
    """

    def __init__(self, why: str, tag: bytes = b"") -> None:
        super().__init__(why)
        self.tag = tag


class RustParams(NamedTuple):
    """One record.

    Attributes:
        tag: the 16 bytes of the request's id.
        op: what is asked, one of :class:`~mpzmq.protocol.wire.kinds.Op`.
        status: a number, as on this protocol's own wire.
        data: what JSON has.
    """

    tag: bytes
    op: int
    status: int
    data: Any


def write_params(tag: bytes, op: int, status: int, data: Any) -> bytes:
    """A record as JSON.

    Raises:
        EncodeError: JSON cannot carry the data.
    """
    check_json(data, "data")
    record = {"id": str(UUID(bytes=tag)), "method": METHODS[op], "status": _STATUSES[status], "data": data}
    return _write(record).encode()


def read_params(body: bytes) -> RustParams:
    """Reads a record, whatever the bytes are.

    Raises:
        MalformedParams: it is none.
    """
    try:
        record = json.loads(body.decode(), parse_constant=_no_constant, parse_float=finite_float)
    except (ValueError, RecursionError) as error:  # of which UnicodeDecodeError is one
        raise alone(MalformedParams(f"no JSON: {error}")) from None
    if not isinstance(record, dict):
        raise MalformedParams(f"no JSON object, but {type_name(record)}")
    text = record.get("id")
    try:
        tag = UUID(text).bytes if isinstance(text, str) else b""
    except ValueError:
        tag = b""
    if not tag:
        raise MalformedParams(f"no UUID as 'id', but {repr_of(text, 60)}")
    method, status = record.get("method"), record.get("status")
    if not isinstance(method, str) or method not in _OPS:
        raise MalformedParams(f"no 'method' that there is, but {repr_of(method, 60)}", tag)
    if not isinstance(status, str) or status not in _STATUSES:
        raise MalformedParams(f"no 'status' that there is, but {repr_of(status, 60)}", tag)
    return RustParams(tag, _OPS[method], _STATUSES.index(status), record.get("data"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class JsonEncoder(Encoder):
    """An encoder that takes what JSON can carry, and nothing else."""

    def prepare(self, value: Any, name: str, buffers: list[Any]) -> Any:
        """As :meth:`Encoder.prepare`; an EncodeError names the path of what JSON has not, too."""
        prepared = Encoder.prepare(self, value, name, buffers)
        check_json(prepared, name)
        return prepared

    def prepare_all(self, values: Any, name: str, buffers: list[Any]) -> Any:
        """As :meth:`Encoder.prepare_all`; of metadata, which stays on this side, anything is taken."""
        prepared = Encoder.prepare_all(self, values, name, buffers)
        if name != "metadata":
            check_json(prepared, name)
        return prepared


def check_json(value: Any, path: str) -> None:
    """Whether JSON can carry a value that was prepared for a message: it is not deeper than ``Limits.depth``."""
    kind = type(value)
    if kind in _JSON:
        return
    if kind is list or kind is tuple:
        for index, element in enumerate(value):
            if type(element) not in _JSON:
                check_json(element, f"{path}[{index}]")
    elif kind is dict:
        for key, element in value.items():
            if type(key) is not str:
                _raise(f"{path}: a dict with the key {repr_of(key, 60)}, of type {type_name(key)}", path)
            if type(element) not in _JSON:
                check_json(element, f"{path}[{repr_of(key, 60)}]")
    elif kind is float:
        if not math.isfinite(value):
            _raise(f"{path}: {value}", path)
    elif kind is msgpack.ExtType:
        _raise(f"{path}: {'UUID' if value.code == EXT_UUID else 'bytes or another buffer'}", path)
    elif not (issubclass(kind, str) or issubclass(kind, int)):
        _raise(f"{path}: {type_name(value)}", path)


def _raise(what: str, path: str) -> NoReturn:
    text = "the wire of the Rust crate carries JSON: None, bool, int, finite float, str, list, and dict with str keys"
    raise EncodeError(f"cannot send {what}; {text}; convert it first", path=path)
