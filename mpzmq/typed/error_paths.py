"""What msgspec says of a value that does not fit, in the words of the signature."""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from ..common.text import clean, repr_of, text_of
from .annotations import without_alias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["misfit_of"]

_AT = re.compile(r"(?s)(.*) - at (`key` in )?`\$(.*?)`\Z")
"""What msgspec puts behind what it says: the last of those, since what it says may repeat the value."""

_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`")
_SHORT = re.compile(r"Expected `(\w+)`, got `(\w+)`\Z")

_NAMES = {
    "array": "list", "object": "dict", "null": "None", "uuid": "UUID", "duration": "timedelta", "decimal": "Decimal",
}  # fmt: skip
"""What msgspec calls otherwise than Python."""

_MAX_SHOWN, _MAX_SAID = 80, 1000
"""Characters of a value, and of what msgspec says, that are shown."""

_MAX_CHOICES = 10

_SHOWN = (str, int, float, bytes)
"""Types of values that are shown beside the bound that they do not keep."""


def misfit_of(
    error: Exception, value: Any, annotation: Any, fits: Callable[[Any, Any], bool], root: str, *, wrapped: bool
) -> tuple[str, str]:
    """Where a value does not fit, and what is expected there.

    Args:
        error: that of msgspec.
        value: the value.
        annotation: what it was to be.
        fits: whether a part of the value fits a part of the annotation: msgspec does not tell the keys of dicts.
        root: what the value is called.
        wrapped: whether the value was the only element of a list.
    """
    text = text_of(error, sys.maxsize)  # all of it: the path stands at its end
    match = _AT.match(text)
    said, is_key, steps = (text, None, "") if match is None else match.groups()
    said = clean(said, _MAX_SAID)
    place = steps.removeprefix("[0]") if wrapped else steps
    path, held, kind = root, value, annotation
    for index, name in _STEP.findall(place):
        kind = _without_none(kind)
        if index == "...":
            key, held, kind = _unfit_element(held, kind, fits)
            path += "[...]" if key is _UNKNOWN else f"[{repr_of(key, _MAX_SHOWN)}]"
        elif index:
            held, kind = _element(held, int(index)), _element_type(kind, int(index))
            path += f"[{index}]"
        else:
            held, kind = _element(held, name), _field_type(kind, name)
            path += f".{name}"
    kind = _without_none(kind)
    if is_key:
        key = _unfit_key(held, kind, fits)
        at = "" if key is _UNKNOWN else f" {repr_of(key, _MAX_SHOWN)}"
        types_of = _mapping_types(kind)
        return path, f"its key{at}: {_expected(said, key, None if types_of is None else _without_none(types_of[0]))}"
    cause = error.__cause__
    if (nested := getattr(cause, "place", None)) is not None:
        return path + nested, cause.expected  # type: ignore[union-attr]  # the error of a hook
    field = _FIELD.fullmatch(said)
    if field is not None:
        state, name = field.groups()
        return f"{path}.{name}", "required, and missing" if state.startswith("missing") else "there is no such field"
    return path, _expected(said, held, kind)


_UNKNOWN: Any = object()


def _expected(said: str, held: Any, kind: Any) -> str:
    """What is expected of a value, and what it is instead."""
    if said.startswith("Invalid enum value"):
        return _choice(held, kind)
    if said.startswith("Invalid ") and isinstance(kind, type) and kind is not Any:
        return f"expected {kind.__name__}, got {repr_of(held, _MAX_SHOWN)}"
    words = _reworded(said, kind)
    is_bound = words.startswith("expected ") and ", got " not in words and isinstance(held, _SHOWN)
    return f"{words}, got {repr_of(held, _MAX_SHOWN)}" if is_bound else words


def _reworded(said: str, kind: Any) -> str:
    short = _SHORT.fullmatch(said)
    if short is not None and short[1] in ("object", "array") and isinstance(kind, type):
        return f"expected {kind.__name__}, got {_NAMES.get(short[2], short[2])}"
    words = re.sub(r"`([^`]*)`", lambda found: _in_python(found[1]), said)
    return words[:1].lower() + words[1:]


def _in_python(names: str) -> str:
    return " | ".join(_NAMES.get(name, name) for name in names.split(" | "))


def _choice(held: Any, kind: Any) -> str:
    got = repr_of(held, _MAX_SHOWN)
    if typing.get_origin(kind) is typing.Literal:
        return f"expected one of {_choices(typing.get_args(kind))}, got {got}"
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        choices = _choices([member.value for member in kind])  # type: ignore[attr-defined]
        return f"expected {kind.__name__} ({choices}), got {got}"
    return f"expected another value than {got}"


def _choices(values: Sequence[Any]) -> str:
    shown = [repr_of(value, _MAX_SHOWN) for value in values[:_MAX_CHOICES]]
    return ", ".join(shown + ["..."] * (len(values) > _MAX_CHOICES))


def _without_none(kind: Any) -> Any:
    """A type without what surrounds it: an alias, Annotated, NewType, Optional."""
    while True:
        kind = without_alias(kind)
        origin = typing.get_origin(kind)
        if origin is typing.Annotated:
            kind = kind.__origin__
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        elif origin is typing.Union or isinstance(kind, types.UnionType):
            members = [member for member in typing.get_args(kind) if member is not types.NoneType]
            if len(members) != 1:
                return kind
            kind = members[0]
        else:
            return kind


def _members(kind: Any) -> Iterator[Any]:
    """The types that a value may be of: those of a union, or the one."""
    if typing.get_origin(kind) is typing.Union or isinstance(kind, types.UnionType):
        for member in typing.get_args(kind):
            yield _without_none(member)
    else:
        yield kind


def _element(held: Any, key: Any) -> Any:
    try:
        return held[key]
    except Exception:
        return None


def _element_type(kind: Any, index: int) -> Any:
    for member in _members(kind):
        arguments = typing.get_args(member)
        if typing.get_origin(member) is tuple:
            if len(arguments) == 2 and arguments[1] is ...:
                return arguments[0]
            if index < len(arguments):
                return arguments[index]
        elif len(arguments) == 1:
            return arguments[0]
        elif isinstance(member, type) and (hasattr(member, "_fields") or hasattr(member, "__struct_fields__")):
            named: Any = member
            names = getattr(named, "_fields", None) or named.__struct_fields__
            if index < len(names):
                return _field_type(member, names[index])
    return Any


def _field_type(kind: Any, name: str) -> Any:
    for member in _members(kind):
        cls = typing.get_origin(member) or member
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except Exception:
            continue
        for shown, own in _field_names(cls):
            if shown == name:
                hints.setdefault(name, hints.get(own, Any))
        if name in hints:
            return hints[name]
    return Any


def _field_names(cls: Any) -> Iterator[tuple[str, str]]:
    if hasattr(cls, "__struct_fields__"):
        yield from zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True)
    elif dataclasses.is_dataclass(cls):
        yield from ((field.name, field.name) for field in dataclasses.fields(cls))


def _mapping_types(kind: Any) -> tuple[Any, Any] | None:
    for member in _members(kind):
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping) and len(arguments) == 2:
            return arguments[0], arguments[1]
    return None


def _unfit_element(held: Any, kind: Any, fits: Callable[[Any, Any], bool]) -> tuple[Any, Any, Any]:
    found = _mapping_types(kind)
    if found is not None and isinstance(held, dict):
        for key, value in held.items():
            if not fits(value, found[1]):
                return key, value, found[1]
    return _UNKNOWN, None, Any


def _unfit_key(held: Any, kind: Any, fits: Callable[[Any, Any], bool]) -> Any:
    found = _mapping_types(kind)
    if found is not None and isinstance(held, dict):
        for key in held:
            if not fits({key: None}, dict[found[0], Any]):  # type: ignore[valid-type]  # the type of the keys
                return key
    return _UNKNOWN
