"""Values that arrived, as what an annotation says; what does not fit is told by its path."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import typing
from typing import TYPE_CHECKING, Any

from ..common.chaining import alone
from ..common.text import repr_of, text_of, type_name
from .annotations import is_array, needs_of, shown_type
from .carried import is_model
from .errors import InvalidValueError
from .misfit import misfit_of
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Converter"]

_RAW = (bytes, bytearray, memoryview)

_EXACT = frozenset({int, str, bool, bytes, float})
"""Types of which a value is what it is."""

_ANY = (Any, object, inspect.Parameter.empty)


class Converter:
    """Converts values to one annotation.

    Args:
        annotation: a type; ``inspect.Parameter.empty`` is any.
        what: has it, in words, for errors.

    Attributes:
        annotation: a type.
        exact: the one type whose values need no conversion; None: there is no such type.
        is_open: whether anything fits.
        quick: converts a value, with an error of msgspec's, or of any kind, where it does not fit.

    Raises:
        TypeError: a message cannot carry it.
        NameError: it names something that is not there, or not yet.
        ImportError: the extra ``typed`` is missing.
    """

    __slots__ = ("_convert", "_invalid", "_kind", "_options", "_wrapped", "annotation", "exact", "is_open", "quick")

    def __init__(self, annotation: Any, what: str) -> None:
        msgspec = msgspec_for("typed=True")
        self.annotation = annotation
        self.is_open = any(annotation is free for free in _ANY)
        self.exact: type | None = annotation if isinstance(annotation, type) and annotation in _EXACT else None
        self._convert: Callable[..., Any] = msgspec.convert
        self._invalid: type[Exception] = msgspec.ValidationError
        self._options: dict[str, Any] = {}
        self._kind = annotation
        self._wrapped = False
        self.quick: Callable[[Any], Any] = _itself
        if self.is_open:
            return
        needs = needs_of(annotation, what)
        if needs.raw:
            self._options["builtin_types"] = _RAW
        if needs.hook:
            self._options["dec_hook"] = _convert_other
        if not (isinstance(annotation, type) and _is_prepared(annotation)):
            # msgspec looks at an annotation anew each time, other than at a class of its own.
            self._kind = msgspec.defstruct("Held", [("value", annotation)], array_like=True, gc=False)
            self._wrapped = True
        self.quick = (
            self._unwrap if self._wrapped else functools.partial(msgspec.convert, type=annotation, **self._options)
        )

    def _unwrap(self, value: Any) -> Any:
        return self._convert((value,), self._kind, **self._options).value

    def convert(self, value: Any, path: str) -> Any:
        """Converts one value.

        Args:
            value: what arrived.
            path: what it is called, in an error.

        Raises:
            InvalidValueError: it does not fit.
        """
        if self.is_open or type(value) is self.exact:
            return value
        try:
            return self.quick(value)
        except KeyboardInterrupt:
            raise
        except self._invalid as error:
            where, expected = misfit_of(error, value, self.annotation, self._try, path, wrapped=self._wrapped)
        except BaseException as error:  # of the application's own making: __post_init__, a validator
            where, expected = path, f"{shown_type(self.annotation)} raised {type_name(error)}: {text_of(error)}"
        raise alone(InvalidValueError(where, expected)) from None

    def _try(self, value: Any, annotation: Any) -> bool:
        """Whether a value fits a part of the annotation."""
        try:
            self._convert(value, annotation, builtin_types=_RAW, dec_hook=_convert_other)
        except Exception:
            return False
        return True


def _itself(value: Any) -> Any:
    return value


def _is_prepared(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__")


class _NestedError(ValueError):
    """A value does not fit a type that msgspec does not know; where, within it, and why."""

    def __init__(self, place: str, expected: str) -> None:
        super().__init__(expected)
        self.place = place
        self.expected = expected


def _convert_other(kind: Any, value: Any) -> Any:
    """Converts to a type that msgspec does not know."""
    kind = typing.get_origin(kind) or kind
    if is_model(kind):
        return _validated(kind, value)
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        if not isinstance(value, str | kind):
            raise _NestedError("", f"expected {kind.__name__}, got {type_name(value)}")
        return kind(value)
    if is_array(kind) and not isinstance(value, kind):
        raise _NestedError("", f"expected numpy.ndarray, got {type_name(value)}")
    return value


def _validated(kind: Any, value: Any) -> Any:
    try:
        return kind.model_validate(value)
    except Exception as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        first = errors(include_url=False, include_context=False)[0]
        place = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in first["loc"])
        said = str(first["msg"])
        got = "" if first["type"] == "missing" else f", got {repr_of(first['input'], 80)}"
        raise _NestedError(place, said[:1].lower() + said[1:] + got) from None
