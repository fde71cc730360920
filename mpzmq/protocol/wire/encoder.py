"""Values to MessagePack and buffers, within the limits."""

from __future__ import annotations

import struct
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgpack

from ...common.chaining import alone
from ...common.text import repr_of, text_of, type_name
from ...errors import EncodeError
from .values import ARRAY_KINDS, AS_IT_IS, EXT_BUFFER, EXT_UUID, KEYS, LARGE_BYTES, MANY, VIEW_FORMATS, Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from ...config import Limits

__all__ = ["Encoder"]

_SCALARS: Final = frozenset({type(None), bool, int, float, str})

_CARRIED = (
    "a message carries None, bool, int (64 bit), float, str, bytes, list, tuple, dict with str, int or bytes keys,"
    " buffers, numpy arrays, UUID and aware datetime; convert it first"
)


_MAX_KEY = 80
"""Characters of a key that stand in a path."""


class _UnfitError(Exception):
    """A value that cannot be carried; gathers its path on the way up."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = ""

    def at(self, index: int) -> _UnfitError:
        self.path = f"[{index}]{self.path}"
        return self

    def under(self, key: object) -> _UnfitError:
        self.path = f"[{repr_of(key, _MAX_KEY)}]{self.path}"
        return self


def _unfit(error: BaseException, value: object) -> _UnfitError:
    """What was raised over a value, by this module or by the value itself: a lazy proxy, a closed buffer, a mock."""
    kind = type(error)  # isinstance() would ask the error itself, which may raise if its class is the application's
    if issubclass(kind, _UnfitError):
        return error  # type: ignore[return-value]
    if issubclass(kind, KeyboardInterrupt):
        raise error
    return _UnfitError(f"{type_name(value)}, and reading it raised {type_name(error)}: {text_of(error)}")


class Encoder:
    """Turns values into MessagePack and buffers, within the limits.

    Args:
        limits: bounds.
        carried: what a value of the application's types travels as, or ``AS_IT_IS`` if it is none; None: there are no
            such types.
    """

    def __init__(self, limits: Limits, carried: Callable[[Any], Any] | None = None) -> None:
        self._depth = limits.depth
        self._items = limits.items
        self._carried = carried
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
        kind = type(value)
        try:
            if kind in _SCALARS or (kind is bytes and len(value) < LARGE_BYTES):
                return value
            if (kind is dict or kind is list) and self._fits_as_it_is(value):
                return value
            return _Walk(self._depth, self._items, buffers, self._carried).value(value, 0)
        except BaseException as error:
            raise alone(_encode_error(name, _unfit(error, value))) from None

    def prepare_all(self, values: Sequence[Any] | dict[str, Any], name: str, buffers: list[Buffer]) -> Any:
        """As :meth:`prepare`, for all arguments of a request: the limit on elements is theirs together."""
        try:
            if type(values) is not dict:
                for value in values:
                    kind = type(value)
                    if kind not in _SCALARS and (kind is not bytes or len(value) >= LARGE_BYTES):
                        break
                else:
                    return values
            return _Walk(self._depth, self._items, buffers, self._carried).top(values)
        except BaseException as error:
            raise alone(_encode_error(name, _unfit(error, values))) from None

    def _fits_as_it_is(self, value: Any) -> bool:
        """A quick look, level by level, at what needs no walk: half its time (a dict of 1 kB: 4.7 of 9.5 us)."""
        level = [value]
        items = self._items
        for _ in range(self._depth):
            below: list[Any] = []
            for container in level:
                items -= len(container)
                if items < 0:
                    return False
                if type(container) is dict:
                    for key in container:
                        if type(key) is not str:
                            return False
                    container = container.values()
                if len(container) > MANY and _SCALARS.issuperset(map(type, container)):
                    continue
                for element in container:
                    kind = type(element)
                    if kind in _SCALARS:
                        continue
                    if kind is dict or kind is list:
                        below.append(element)
                    elif kind is not bytes or len(element) >= LARGE_BYTES:
                        return False
            if not below:
                return True
            level = below
        return False

    def pack(self, value: Any, name: str = "the record") -> bytes:
        """A value that :meth:`prepare` has seen, or a record of such values, as MessagePack.

        Args:
            value: what to pack.
            name: what the application calls it, the root of the path in an error.

        Raises:
            EncodeError: an int has more than 64 bits, or a str is no Unicode.
        """
        try:
            return self._packer.pack(value)
        except Exception as error:
            # A packer that has failed may hold half a value.
            self._packer = _new_packer()
            # Not in a variable of this frame: it is in its traceback, and each would keep the other, and the value.
            raise alone(_encode_error(name, self._found_unfit(error, value))) from None

    def _found_unfit(self, error: Exception, value: Any) -> _UnfitError:
        try:
            _find_unfit(value, self._packer)
        except Exception as found:
            return _unfit(found, value)
        return _unfit(error, value)


def _new_packer() -> msgpack.Packer:
    return msgpack.Packer(datetime=True, default=_default)


def _default(value: object) -> msgpack.ExtType:
    if isinstance(value, UUID):
        return msgpack.ExtType(EXT_UUID, value.bytes)
    if isinstance(value, int):
        raise OverflowError("an int of more than 64 bits")
    raise TypeError(f"cannot carry {type_name(value)}")


def _encode_error(name: str, unfit: _UnfitError) -> EncodeError:
    path = name + unfit.path
    return EncodeError(f"cannot send {path}: {unfit.what}; {_CARRIED}", path=path)


class _Walk:
    """One value on its way out."""

    __slots__ = ("buffers", "carried", "depth", "items")

    def __init__(
        self, depth: int, items: int, buffers: list[Buffer], carried: Callable[[Any], Any] | None = None
    ) -> None:
        self.depth = depth
        self.items = items
        self.buffers = buffers
        self.carried = carried

    def top(self, values: Sequence[Any] | dict[str, Any]) -> Any:
        """The arguments of a request: the container that holds them does not count as a level."""
        return self._dict(values, 0) if isinstance(values, dict) else self._list(values, 0)

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
        if self.carried is not None:
            return self._own(value, depth)
        if kind is datetime:
            return _aware(value)
        return self._other(value, depth)

    def _own(self, value: Any, depth: int) -> Any:
        """Perhaps of one of the application's types."""
        assert self.carried is not None
        kind = type(value)
        if kind is set or kind is frozenset:
            return self._set(value, depth + 1)
        carried = self.carried(value)
        if carried is AS_IT_IS:
            return _aware(value) if kind is datetime else self._other(value, depth)
        return self.value(carried, depth)

    def _set(self, values: Set[Any], depth: int) -> list[Any]:
        """In the order of their packed bytes: equal sets are the same message."""
        self._enter(len(values), depth)
        try:
            in_order = sorted(values, key=self._packed)
        except TypeError as error:
            raise _UnfitError(f"a set whose elements cannot be carried: {text_of(error)}") from None
        return [self.value(value, depth) for value in in_order]

    def _packed(self, value: Any) -> bytes:
        scratch = _Walk(self.depth, self.items, [], self.carried)
        packed: bytes = _new_packer().pack(scratch.value(value, 0))
        return packed + b"".join(scratch.buffers)

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
            except BaseException as error:
                raise _unfit(error, value).at(index) from None
        return walked

    def _dict(self, values: dict[Any, Any], depth: int) -> dict[Any, Any]:
        self._enter(len(values), depth)
        if not KEYS.issuperset(map(type, values)):
            values = _with_plain_keys(values if self.carried is None else self._with_carried_keys(values))
        if _SCALARS.issuperset(map(type, values.values())):
            return values
        walked = {}
        for key, value in values.items():
            try:
                walked[key] = self.value(value, depth)
            except BaseException as error:
                raise _unfit(error, value).under(key) from None
        return walked

    def _with_carried_keys(self, values: dict[Any, Any]) -> dict[Any, Any]:
        """With the keys that values of the application's types travel as; a UUID, which is none, as its text."""
        assert self.carried is not None
        result = {}
        for key, value in values.items():
            carried = self.carried(key)
            plain = key if carried is AS_IT_IS else carried
            if issubclass(type(plain), UUID):
                plain = str(plain)
            elif issubclass(type(plain), datetime):
                plain = _aware(plain).isoformat()
            result[plain] = value
        if len(result) != len(values):
            raise _UnfitError("a dict with keys that would be the same")
        return result

    def _other(self, value: Any, depth: int) -> Any:
        """Of a subclass, or of a type that has to say itself what it holds.

        What a value says of its class is not believed: a mock of a dict is none.
        """
        kind = type(value)
        numpy = sys.modules.get("numpy")
        if numpy is not None and issubclass(kind, numpy.ndarray):
            return self._array(numpy, value)
        if numpy is not None and issubclass(kind, numpy.generic) and not issubclass(kind, float | str | bytes):
            raise _UnfitError(f"numpy.{type_name(value)}, a numpy scalar: send its .item()")
        if issubclass(kind, str | int | float | bytes):
            return self.value(_plain(value), depth)
        if issubclass(kind, list | tuple):
            if _hides_fields(kind):
                raise _UnfitError(f"{type_name(value)}, which has fields beside its elements")
            return self._list(list(value), depth + 1)
        if issubclass(kind, dict):
            return self._dict(dict(value), depth + 1)
        if issubclass(kind, UUID):
            return msgpack.ExtType(EXT_UUID, value.bytes)
        if issubclass(kind, datetime):
            plain = datetime.combine(datetime.date(value), datetime.timetz(value))
            if not value == plain:
                raise _UnfitError(f"{type_name(value)} that is not the datetime it is made of (nanoseconds, NaT ...)")
            return _aware(plain)
        try:
            view = memoryview(value)
        except TypeError:
            raise _UnfitError(type_name(value)) from None
        return self._view(view, type_name(value))

    def _view(self, view: memoryview, owner: str) -> msgpack.ExtType:
        if not view.c_contiguous:
            raise _UnfitError(f"a {owner} that is not contiguous: copy it first")
        format_ = view.format.lstrip("@<" if sys.byteorder == "little" else "@>")
        if format_ not in VIEW_FORMATS or struct.calcsize(format_) != view.itemsize:
            raise _UnfitError(f"a {owner} of format {view.format!r}, which memoryview cannot cast to")
        if view.nbytes == 0 and view.ndim != 1:
            raise _UnfitError(f"an empty {owner} of {view.ndim} dimensions")
        return self._reference(view.cast("B") if view.nbytes else b"", ["v", format_, list(view.shape or ())])

    def _array(self, numpy: Any, value: Any) -> msgpack.ExtType:
        if type(value) not in (numpy.ndarray, numpy.memmap, numpy.matrix):
            raise _UnfitError(
                f"{type_name(value)}, an array that may hold more than its elements (a mask, a unit): send its parts"
            )
        dtype = value.dtype
        # A dtype of structures, or of a library of its own, calls itself plain bytes.
        if dtype.kind not in ARRAY_KINDS or not dtype.itemsize or numpy.dtype(dtype.str) != dtype:
            raise _UnfitError(f"an array of dtype {dtype}")
        flat = numpy.ascontiguousarray(value).reshape(-1)
        content = memoryview(flat.view(numpy.uint8)) if flat.size else b""
        return self._reference(content, ["a", value.dtype.str, list(value.shape)])

    def _reference(self, content: Buffer, shape: list[Any] | None) -> msgpack.ExtType:
        index = len(self.buffers)
        self.buffers.append(content)
        return msgpack.ExtType(EXT_BUFFER, msgpack.packb(index if shape is None else [index, *shape]))


def _plain(value: Any) -> Any:
    """What a value of a subclass of str, int, float or bytes holds, read without any code of that class."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes.__getitem__(value, slice(None))
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def _with_plain_keys(values: dict[Any, Any]) -> dict[Any, Any]:
    plain = {}
    for key, value in values.items():
        kind = type(key)
        if kind is bool or not issubclass(kind, str | int | bytes):
            raise _UnfitError(f"a dict key of type {type_name(key)}").under(key)
        plain[key if kind in KEYS else _plain(key)] = value
    if len(plain) != len(values):
        raise _UnfitError("a dict with keys that would be the same")
    return plain


def _hides_fields(kind: type) -> bool:
    """Whether a class is a tuple with fields beside its elements, such as os.stat_result."""
    fields, elements = kind.__dict__.get("n_fields"), kind.__dict__.get("n_sequence_fields")
    return type(fields) is type(elements) is int and fields > elements


def _aware(value: datetime) -> datetime:
    """The same moment in UTC, as which it arrives."""
    if value.utcoffset() is None:
        raise _UnfitError("a datetime without a time zone: make it aware")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise _UnfitError("a datetime outside the years 1 to 9999 of UTC") from None


def _find_unfit(value: Any, packer: Any) -> None:
    """Finds the scalar that MessagePack refused."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            try:
                _find_unfit(item, packer)
            except _UnfitError as unfit:
                raise unfit.at(index) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            try:
                _find_unfit(item, packer)
                _find_unfit(key, packer)
            except _UnfitError as unfit:
                raise unfit.under(key) from None
    else:
        try:
            packer.pack(value)
        except OverflowError:
            raise _UnfitError("an int of more than 64 bits") from None
        except UnicodeEncodeError:
            raise _UnfitError("a str that is no Unicode (a lone surrogate)") from None
        except (ValueError, TypeError) as error:
            raise _UnfitError(f"{type_name(value)} ({error})") from None
