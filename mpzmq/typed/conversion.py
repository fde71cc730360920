"""Values that arrived, as what an annotation says; what does not fit is told by its path."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import typing
from typing import TYPE_CHECKING, Any

from ..common.chaining import alone
from ..common.text import repr_of, text_of, type_name
from .annotations import NOTHING, Needs, needs_of, shown_type
from .arrays import is_array, misfit_of_array
from .encoding import is_model
from .error_paths import misfit_of
from .errors import InvalidValueError
from .requirement import msgspec_for
from .time_zones import naive_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Converter", "together"]

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
        needs: what the conversion takes beside the annotation.

    Raises:
        TypeError: a message cannot carry it.
        NameError: it names something that is not there, or not yet.
        ImportError: the extra ``typed`` is missing.
    """

    __slots__ = ("_invalid", "_quick", "_wrapped", "annotation", "exact", "is_open", "needs")

    def __init__(self, annotation: Any, what: str) -> None:
        self._invalid: type[Exception] = msgspec_for("typed=True").ValidationError
        self.annotation = annotation
        self.is_open = any(annotation is free for free in _ANY)
        self.exact: type | None = annotation if isinstance(annotation, type) and annotation in _EXACT else None
        self.needs = NOTHING if self.is_open else needs_of(annotation, what)
        self._wrapped = not (isinstance(annotation, type) and _is_prepared(annotation))
        self._quick = _itself if self.is_open else _quick(annotation, self.needs, wrapped=self._wrapped)

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
            return self._quick(value)
        except KeyboardInterrupt:
            raise
        except _NaiveError as error:
            where, expected = path + error.place, "expected datetime with a time zone, got one without"
        except self._invalid as error:
            where, expected = misfit_of(error, value, self.annotation, _fits, path, wrapped=self._wrapped)
        except BaseException as error:  # of the application's own making: __post_init__, a validator
            where, expected = path, f"{shown_type(self.annotation)} raised {type_name(error)}: {text_of(error)}"
        raise alone(InvalidValueError(where, expected)) from None


def together(converters: Sequence[Converter]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """What converts as many values at once: a step of C for all of them.

    Where one does not fit, it raises whatever it may be: the converters themselves know the words.

    Args:
        converters: of one value each.
    """
    kinds = tuple(Any if converter.is_open else converter.annotation for converter in converters)
    needs = Needs(*map(any, zip(*(converter.needs for converter in converters), strict=True))) if kinds else NOTHING
    return _quick(tuple[kinds], needs, wrapped=True)  # type: ignore[valid-type]  # what the annotations are


def _quick(annotation: Any, needs: Needs, *, wrapped: bool) -> Callable[[Any], Any]:
    """What converts, and raises what msgspec raises, or what the application's classes raise.

    Args:
        annotation: a type.
        needs: what the conversion takes beside it.
        wrapped: whether it is to be in a class: msgspec looks at an annotation anew each time, other than at a class.
    """
    msgspec = msgspec_for("typed=True")
    convert = msgspec.convert
    options: dict[str, Any] = {}
    if needs.raw:
        options["builtin_types"] = _RAW
    if needs.hook:
        options["dec_hook"] = _convert_other
    if wrapped:
        held = msgspec.defstruct("Held", [("value", annotation)], array_like=True, gc=False)

        def quick(value: Any) -> Any:
            return convert((value,), held, **options).value

    else:

        def quick(value: Any) -> Any:
            return convert(value, annotation, **options)

    def aware(value: Any) -> Any:
        converted = quick(value)
        place = naive_in(converted)
        if place is not None:
            raise _NaiveError(place)
        return converted

    return aware if needs.moments else quick


def _itself(value: Any) -> Any:
    return value


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value fits a part of an annotation."""
    try:
        msgspec_for("typed=True").convert(value, annotation, builtin_types=_RAW, dec_hook=_convert_other)
    except Exception:
        return False
    return True


def _is_prepared(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__")


class _NaiveError(ValueError):
    """A value has a datetime without a time zone; where, within it."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class _NestedError(ValueError):
    """A value does not fit a type that msgspec does not know; where, within it, and why."""

    def __init__(self, place: str, expected: str) -> None:
        super().__init__(expected)
        self.place = place
        self.expected = expected


def _convert_other(kind: Any, value: Any) -> Any:
    """Converts to a type that msgspec does not know."""
    said, kind = kind, typing.get_origin(kind) or kind
    if is_model(kind):
        return _validated(kind, value)
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        if not isinstance(value, str | kind):
            raise _NestedError("", f"expected {kind.__name__}, got {type_name(value)}")
        return kind(value)
    if is_array(kind):
        misfit = misfit_of_array(said, value)
        if misfit is not None:
            raise _NestedError("", misfit)
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
