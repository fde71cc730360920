"""Values to MessagePack and buffers, and back.

The sender's type decides what arrives, never the size: ``bytes`` arrive as ``bytes``, any other buffer as a
read-only ``memoryview`` of the same format and shape, an array as an array. Buffers and large ``bytes`` are never
copied into MessagePack: they travel as frames of their own, and an ext value points at them by index.
"""

from __future__ import annotations

import array
import struct
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from ..errors import EncodeError
from .scan import HostileData, needs_scan, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..config import Limits

__all__ = ["LARGE_BYTES", "Buffer", "Decoder", "Encoder", "HostileData"]

Buffer = bytes | memoryview

EXT_BUFFER = 1
EXT_UUID = 2

LARGE_BYTES = 16 * 1024
"""``bytes`` from this size on travel as a frame of their own: below, copying them is cheaper than a frame."""

_SCALARS = frozenset({type(None), bool, int, float, str})
_CONTAINERS = frozenset({list, dict})
_KEYS = frozenset({str, int, bytes})
_VIEW_FORMATS = frozenset("?bBchHiIlLqQnNfdP")  # what memoryview.cast() takes
_ARRAY_KINDS = frozenset("?biufcSUVmM")  # numpy dtypes without references to Python objects
_CARRIED = (
    "a message carries None, bool, int (64 bit), float, str, bytes, list, tuple, dict with str, int or bytes keys,"
    " buffers, numpy arrays, UUID and aware datetime; convert it first"
)

# numpy's (kind, item size) as the struct character of the same native layout, for a receiver without numpy.
_NATIVE_FORMATS = {
    **{f"i{struct.calcsize(c)}": c for c in "bhiq"},
    **{f"u{struct.calcsize(c)}": c for c in "BHIQ"},
    "f4": "f",
    "f8": "d",
    "b1": "?",
}


class _UnfitError(Exception):
    """A value that cannot be carried; gathers its path on the way up."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = ""

    def below(self, segment: str) -> _UnfitError:
        self.path = segment + self.path
        return self


class Encoder:
    """Turns values into MessagePack and buffers, within the limits."""

    def __init__(self, limits: Limits) -> None:
        self._depth = limits.depth
        self._items = limits.items
        self._packer = _new_packer()

    def prepare(self, value: Any, name: str, buffers: list[Buffer]) -> Any:
        """Checks a value and takes its buffers out.

        Args:
            value: what the application wants to send.
            name: what the application calls it, the root of the path in an error.
            buffers: receives the buffers, in the order of the references that replace them.

        Returns:
            What :meth:`pack` can pack.

        Raises:
            EncodeError: a message cannot carry the value.
        """
        if type(value) in _SCALARS:
            return value
        try:
            return _Walk(self._depth, self._items, buffers).value(value, 0)
        except _UnfitError as unfit:
            raise _encode_error(name + unfit.path, unfit.what) from None

    def pack(self, record: list[Any], names: Sequence[tuple[str, Any]] = ()) -> bytes:
        """One record, whose values :meth:`prepare` has seen, as MessagePack.

        Args:
            record: the record.
            names: the values in it by name, to find the one at fault.

        Raises:
            EncodeError: an int has more than 64 bits, or a str is no Unicode.
        """
        try:
            packed: bytes = self._packer.pack(record)
        except (OverflowError, ValueError, TypeError) as error:
            # A packer that has failed may hold half a record.
            self._packer = _new_packer()
            for name, value in names:
                try:
                    _find_unfit(value, self._packer)
                except _UnfitError as unfit:
                    raise _encode_error(name + unfit.path, unfit.what) from None
            raise _encode_error("the request", str(error)) from None
        return packed


def _new_packer() -> msgpack.Packer:
    return msgpack.Packer(datetime=True, default=_uuid)


def _uuid(value: object) -> msgpack.ExtType:
    if isinstance(value, UUID):
        return msgpack.ExtType(EXT_UUID, value.bytes)
    raise TypeError(f"cannot carry {type(value).__name__}")


def _encode_error(path: str, what: str) -> EncodeError:
    return EncodeError(f"cannot send {path}: {what}; {_CARRIED}", path=path)


class _Walk:
    """One value on its way out."""

    __slots__ = ("buffers", "depth", "items")

    def __init__(self, depth: int, items: int, buffers: list[Buffer]) -> None:
        self.depth = depth
        self.items = items
        self.buffers = buffers

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is bytes:
            return value if len(value) < LARGE_BYTES else self._reference(value, None)
        if kind is list or kind is tuple:
            return self._list(value, depth + 1)
        if kind is dict:
            return self._dict(value, depth + 1)
        if kind is UUID:
            return msgpack.ExtType(EXT_UUID, value.bytes)
        if kind is datetime:
            return _aware(value)
        return self._other(value, depth)

    def _enter(self, length: int, depth: int) -> None:
        if depth > self.depth:
            raise _UnfitError(f"nested deeper than Limits.depth, {self.depth}")
        self.items -= length
        if self.items < 0:
            raise _UnfitError("more elements than Limits.items allows in one value")

    def _list(self, values: Sequence[Any], depth: int) -> Sequence[Any]:
        self._enter(len(values), depth)
        if _SCALARS.issuperset(map(type, values)):
            return values
        walked = []
        for index, value in enumerate(values):
            try:
                walked.append(self.value(value, depth))
            except _UnfitError as unfit:
                raise unfit.below(f"[{index}]") from None
        return walked

    def _dict(self, values: dict[Any, Any], depth: int) -> dict[Any, Any]:
        self._enter(len(values), depth)
        if not _KEYS.issuperset(map(type, values)):
            for key in values:
                if isinstance(key, bool) or not isinstance(key, str | int | bytes):
                    raise _UnfitError(f"a dict key of type {type(key).__name__}").below(f"[{key!r}]")
        if _SCALARS.issuperset(map(type, values.values())):
            return values
        walked = {}
        for key, value in values.items():
            try:
                walked[key] = self.value(value, depth)
            except _UnfitError as unfit:
                raise unfit.below(f"[{key!r}]") from None
        return walked

    def _other(self, value: Any, depth: int) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(numpy, value)
        if (
            numpy is not None
            and isinstance(value, numpy.generic)
            and not isinstance(value, float | str | bytes)
        ):
            raise _UnfitError(f"numpy.{type(value).__name__}, a numpy scalar: send its .item()")
        # Subclasses (IntEnum, defaultdict, namedtuple ...) arrive as what they are at heart.
        if isinstance(value, str | int | float):
            return value
        if isinstance(value, bytes):
            return self.value(bytes(value), depth)
        if isinstance(value, list | tuple):
            return self._list(value, depth + 1)
        if isinstance(value, dict):
            return self._dict(dict(value), depth + 1)
        if isinstance(value, UUID):
            return msgpack.ExtType(EXT_UUID, value.bytes)
        if isinstance(value, datetime):
            return _aware(value)
        try:
            view = memoryview(value)
        except TypeError:
            raise _UnfitError(type(value).__name__) from None
        return self._view(view, type(value).__name__)

    def _view(self, view: memoryview, owner: str) -> msgpack.ExtType:
        if not view.c_contiguous:
            raise _UnfitError(f"a {owner} that is not contiguous: copy it first")
        format_ = view.format.lstrip("@<" if sys.byteorder == "little" else "@>")
        if format_ not in _VIEW_FORMATS or struct.calcsize(format_) != view.itemsize:
            raise _UnfitError(f"a {owner} of format {view.format!r}, which memoryview cannot cast to")
        if view.nbytes == 0 and view.ndim != 1:
            raise _UnfitError(f"an empty {owner} of {view.ndim} dimensions")
        return self._reference(view.cast("B") if view.nbytes else b"", ["v", format_, list(view.shape or ())])

    def _array(self, numpy: Any, value: Any) -> msgpack.ExtType:
        if value.dtype.kind not in _ARRAY_KINDS or value.dtype.names or not value.dtype.itemsize:
            raise _UnfitError(f"an array of dtype {value.dtype}")
        flat = numpy.ascontiguousarray(value).reshape(-1)
        content = memoryview(flat.view(numpy.uint8)) if flat.size else b""
        return self._reference(content, ["a", value.dtype.str, list(value.shape)])

    def _reference(self, content: Buffer, shape: list[Any] | None) -> msgpack.ExtType:
        index = len(self.buffers)
        self.buffers.append(content)
        return msgpack.ExtType(EXT_BUFFER, msgpack.packb(index if shape is None else [index, *shape]))


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise _UnfitError("a datetime without a time zone: make it aware")
    return value


def _find_unfit(value: Any, packer: Any) -> None:
    """Finds the scalar that MessagePack refused."""
    if isinstance(value, list | tuple):
        pairs = [(f"[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        pairs = [(f"[{key!r}]", item) for key, item in value.items()]
        pairs += [(f"[{key!r}]", key) for key in value]
    else:
        try:
            packer.pack(value)
        except OverflowError:
            raise _UnfitError("an int of more than 64 bits") from None
        except UnicodeEncodeError:
            raise _UnfitError("a str that is no Unicode (a lone surrogate)") from None
        except (ValueError, TypeError) as error:
            raise _UnfitError(f"{type(value).__name__} ({error})") from None
        return
    for segment, item in pairs:
        try:
            _find_unfit(item, packer)
        except _UnfitError as unfit:
            raise unfit.below(segment) from None


class Decoder:
    """Turns MessagePack and buffers into records, and refuses whatever is beyond the limits."""

    def __init__(self, limits: Limits) -> None:
        self._depth = limits.depth
        self._items = limits.items
        self._bytes = limits.message_bytes
        self._unpacker: Any = None
        self._buffers: Sequence[Buffer] = ()
        self._next_buffer = 0

    def records(self, count: int, data: Buffer, buffers: Sequence[Buffer]) -> tuple[list[Any], bool, bool]:
        """Reads ``count`` values that stand back to back.

        Args:
            count: how many there should be.
            data: the MessagePack.
            buffers: the frames that the values may refer to.

        Returns:
            The values up to the first that is malformed; whether every buffer was referred to exactly once and in
            rising order; whether ``data`` ended behind the last value (False too when a value was malformed).
        """
        records: list[Any] = []
        self._buffers = buffers
        self._next_buffer = 0
        try:
            if needs_scan(data, self._items):
                # Fields of the records themselves, of which there are at most 16, are no elements of values.
                scan(data, self._items + 16 * count, self._depth + 4)
            unpacker = self._unpacker
            if unpacker is None:
                unpacker = self._unpacker = self._new_unpacker()
            start = unpacker.tell()
            unpacker.feed(data)
            for _ in range(count):
                records.append(unpacker.unpack())  # noqa: PERF401  (those before a malformed one are kept)
            complete = unpacker.tell() - start == len(data)
            if not complete:
                self._unpacker = None
        except Exception:
            # Whatever a hostile record raises (OverflowError, RecursionError, ...), it is malformed. An Unpacker must
            # not be used again after an error (CVE-2026-57585).
            self._unpacker = None
            complete = False
        finally:
            self._buffers = ()
        return records, self._next_buffer == len(buffers), complete

    def check(self, values: Any) -> None:
        """Holds decoded values (a list or a dict of them) against the limits.

        Raises:
            HostileData: nested too deep, too many elements, or a key that is no str, int or bytes.
        """
        if isinstance(values, dict):
            if not _KEYS.issuperset(map(type, values)):
                raise HostileData("a dict key that is no str, int or bytes")
            values = values.values()
        if _CONTAINERS.isdisjoint(map(type, values)):
            return
        level: list[Any] = [value for value in values if type(value) in _CONTAINERS]
        items = self._items
        depth = 0
        while level:
            depth += 1
            if depth > self._depth:
                raise HostileData(f"nested deeper than {self._depth}")
            below: list[Any] = []
            for container in level:
                items -= len(container)
                if items < 0:
                    raise HostileData(f"more than {self._items} elements")
                if type(container) is dict:
                    if not _KEYS.issuperset(map(type, container)):
                        raise HostileData("a dict key that is no str, int or bytes")
                    container = container.values()
                if not _CONTAINERS.isdisjoint(map(type, container)):
                    below.extend(value for value in container if type(value) in _CONTAINERS)
            level = below

    def _new_unpacker(self) -> Any:
        return msgpack.Unpacker(
            raw=False,
            strict_map_key=False,
            timestamp=3,
            ext_hook=self._ext,
            max_buffer_size=max(self._bytes, 4096),
            max_array_len=self._items,
            max_map_len=self._items,
        )

    def _ext(self, code: int, data: bytes) -> Any:
        if code == EXT_UUID:
            return UUID(bytes=data)
        if code != EXT_BUFFER:
            raise HostileData(f"ext type {code}")
        reference = msgpack.unpackb(data, use_list=True)
        index, *shape = reference if isinstance(reference, list) else (reference,)
        if index != self._next_buffer or isinstance(index, bool):
            raise HostileData("buffers are referred to out of order")
        content = self._buffers[index]
        self._next_buffer += 1
        if not shape:
            return bytes(content)
        kind, format_, dimensions = shape
        view = memoryview(content).toreadonly()
        if kind == "v":
            return _shaped(view, format_, dimensions)
        if kind == "a":
            return _array(view, format_, dimensions)
        raise HostileData("a buffer of unknown kind")


def _shaped(view: memoryview, format_: str, shape: list[int]) -> memoryview:
    if format_ not in _VIEW_FORMATS:
        raise HostileData("a buffer of unknown format")
    if view.nbytes:
        return view.cast(format_, shape)  # type: ignore[call-overload, no-any-return]
    if shape != [0]:
        raise HostileData("an empty buffer with a shape")
    # memoryview.cast() refuses empty views.
    return view if format_ not in array.typecodes else memoryview(array.array(format_)).toreadonly()


def _array(view: memoryview, dtype: str, shape: list[int]) -> Any:
    if not isinstance(dtype, str) or len(dtype) > 32 or dtype[1:2] not in _ARRAY_KINDS:
        raise HostileData("an array of unknown type")
    size = view.nbytes
    try:
        import numpy
    except ImportError:
        native = (
            _NATIVE_FORMATS.get(dtype[1:])
            if dtype[0] in "|=<"[: 3 if sys.byteorder == "little" else 2]
            else None
        )
        return view if native is None or not size else _shaped(view, native, shape)
    parsed = numpy.dtype(dtype)
    count = 1
    for dimension in shape:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 0:
            raise HostileData("an array of malformed shape")
        count *= dimension
    if parsed.hasobject or count * parsed.itemsize != size:
        raise HostileData("an array whose shape does not fit its buffer")
    return numpy.ndarray(tuple(shape), parsed, buffer=view)
