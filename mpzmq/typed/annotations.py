"""Whether a message can carry what an annotation says: asked once, when a function is registered."""

from __future__ import annotations

import inspect
import pathlib
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.text import repr_of, text_of, type_name
from .arrays import is_array
from .encoding import is_model
from .generics import parameters_in, substituted
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["NOTHING", "Needs", "needs_of", "resolved_hints", "shown_type", "without_alias"]

_KEYS = {
    "AnyType", "StrType", "IntType", "BytesType", "EnumType", "LiteralType", "UUIDType", "DateTimeType", "DateType",
    "TimeType", "TimeDeltaType", "DecimalType",
}  # fmt: skip
"""What the keys of a dict can be annotated with."""

_UNHASHABLE = {"ListType", "SetType", "DictType", "TypedDictType", "ByteArrayType", "CollectionType"}
"""What no element of a set can be of."""

_OTHERS = ("annotated_types", "pydantic")
"""Packages whose constraints msgspec does not know."""


class Needs(NamedTuple):
    """What a conversion to an annotation takes beside it.

    Attributes:
        hook: whether there are types that msgspec does not know.
        raw: whether there are bytes, which must not be made of text.
        moments: whether there are datetimes, which must have a time zone.
    """

    hook: bool
    raw: bool
    moments: bool


NOTHING = Needs(hook=False, raw=False, moments=False)


def needs_of(annotation: Any, what: str) -> Needs:
    """Looks at an annotation, and at what it is made of.

    Args:
        annotation: a type.
        what: has it, in words.

    Raises:
        TypeError: a message cannot carry it, and why.
        NameError: it names something that is not there, or not yet.
    """
    msgspec = msgspec_for("typed=True")
    try:
        info = msgspec.inspect.type_info(annotation)
        msgspec.msgpack.Decoder(annotation, dec_hook=lambda kind, value: value)
    except NameError:
        raise
    except Exception as error:
        raise TypeError(f"{what}: {shown_type(annotation)} cannot be carried: {text_of(error)}") from error
    walk = _Walk(msgspec, f"{what}: {shown_type(annotation)}")
    walk.visit(info)
    for constraint in _constraints_of_others(annotation, set()):
        raise TypeError(
            f"{what}: {repr_of(constraint, 80)} would not be looked at: say it by msgspec.Meta, as in"
            " Annotated[int, msgspec.Meta(ge=1)], or in a pydantic model"
        )
    return Needs(walk.hook, walk.raw, walk.moments)


def shown_type(annotation: Any) -> str:
    """An annotation as its author has written it, as far as that can be told."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    return inspect.formatannotation(annotation).replace("typing.", "")


def without_alias(annotation: Any) -> Any:
    """What an alias stands for, that was made by ``type`` (Python 3.12)."""
    while type(typing.get_origin(annotation) or annotation).__name__ == "TypeAliasType":
        annotation = annotation.__value__
    return annotation


def resolved_hints(function: Callable[..., Any], owner: Any = None) -> Mapping[str, Any]:
    """The annotations of a function as types, those of ``from __future__ import annotations``, too.

    Names are looked up where the function was written: in its module, and in the functions around it that still run.

    Args:
        function: whose.
        owner: the class of which it is a method, which may say what type parameters stand for; None: it is none.

    Raises:
        NameError: one is not there, or not yet.
    """
    if not getattr(function, "__annotations__", None):
        return {}
    hints = typing.get_type_hints(function, localns=_names_around(function), include_extras=True)
    parameters = {} if owner is None else parameters_in(owner, function.__name__)
    return {name: substituted(hint, parameters) for name, hint in hints.items()} if parameters else hints


def _names_around(function: Any) -> dict[str, Any]:
    own = getattr(function, "__globals__", None)
    names: dict[str, Any] = {}
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is own and frame.f_locals is not own:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _constraints_of_others(annotation: Any, seen: set[Any]) -> Iterator[Any]:
    """What pydantic would check in an annotation, and msgspec passes over."""
    annotation = without_alias(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        for extra in annotation.__metadata__:
            # pydantic.Field() with a title alone constrains nothing
            if type(extra).__module__.partition(".")[0] in _OTHERS and getattr(extra, "metadata", True):
                yield extra
        annotation = annotation.__origin__
    parts = list(typing.get_args(annotation))
    kind = typing.get_origin(annotation) or getattr(annotation, "__supertype__", annotation)
    if isinstance(kind, type) and kind not in seen and not is_model(kind) and hasattr(kind, "__annotations__"):
        seen.add(kind)
        try:
            parts += typing.get_type_hints(kind, include_extras=True).values()
        except Exception:  # names that only msgspec finds
            parts += kind.__annotations__.values()
    elif kind is not annotation:
        parts.append(kind)
    for part in parts:
        yield from _constraints_of_others(part, seen)


def _members(info: Any) -> Iterator[Any]:
    """What a type may be, without the constraints around it."""
    if type_name(info) == "Metadata":
        yield from _members(info.type)
    elif type_name(info) == "UnionType":
        for member in info.types:
            yield from _members(member)
    else:
        yield info


class _Walk:
    def __init__(self, msgspec: Any, what: str) -> None:
        self.hook = self.raw = self.moments = False
        self._what = what
        self._type = msgspec.inspect.Type
        self._seen: set[int] = set()

    def visit(self, info: Any) -> None:
        if id(info) in self._seen:
            return
        self._seen.add(id(info))
        kind = type_name(info)
        if kind in ("BytesType", "ByteArrayType", "MemoryViewType"):
            self.raw = True
        elif kind in ("CustomType", "RawType", "ExtType"):
            self._visit_other(getattr(info, "cls", None), kind)
        elif kind == "DataclassType":
            if hasattr(info.cls, "__pydantic_validator__"):
                name = repr_of(info.cls.__qualname__)
                raise self._refusal(
                    f"{name} is a dataclass of pydantic, whose validators would not run: make it a pydantic model, or a"
                    " plain dataclass"
                )
        elif kind == "DateTimeType":
            if info.tz is False:
                raise self._refusal("a datetime without a time zone does not travel")
            self.moments = True
        elif kind == "DictType":
            if not all(map(self._is_key, _members(info.key_type))):
                raise self._refusal("the keys of a dict are str, int or bytes, or travel as such")
        elif kind in ("SetType", "FrozenSetType"):
            for member in _members(info.item_type):
                cls = getattr(member, "cls", None)
                if type_name(member) in _UNHASHABLE or (cls is not None and cls.__hash__ is None):
                    raise self._refusal("the elements of a set have to be hashable: a frozen dataclass, a tuple ...")
        for part in info.__struct_fields__:
            self._descend(getattr(info, part))

    def _descend(self, value: Any) -> None:
        if isinstance(value, self._type) or type_name(value) == "Field":
            if type_name(value) == "Field":
                self.visit(value.type)
            else:
                self.visit(value)
        elif isinstance(value, tuple | list):
            for element in value:
                self._descend(element)

    def _visit_other(self, cls: Any, kind: str) -> None:
        if cls is object:
            return
        if self._is_path_class(cls) or is_model(cls) or is_array(cls):
            self.hook = True
            return
        name = kind if cls is None else repr_of(getattr(cls, "__qualname__", cls))
        if getattr(cls, "__module__", "") == "collections.abc" and issubclass(list, cls):  # Iterable, Container ...
            why = f"{name} says too little: make it list[...] or Sequence[...]"
        else:
            why = (
                f"{name} is none of the types that the documentation lists (reference, 'Types'): make it a dataclass,"
                " or convert it"
            )
        raise self._refusal(why)

    def _refusal(self, why: str) -> TypeError:
        return TypeError(f"{self._what} cannot be carried: {why}")

    def _is_key(self, info: Any) -> bool:
        return type_name(info) in _KEYS or self._is_path_class(getattr(info, "cls", None))

    @staticmethod
    def _is_path_class(cls: Any) -> bool:
        return isinstance(cls, type) and issubclass(cls, pathlib.PurePath)
