"""Whether a message can carry what an annotation says: asked once, when a function is registered."""

from __future__ import annotations

import inspect
import pathlib
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.text import repr_of, text_of, type_name
from .carried import is_model
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Needs", "is_array", "needs_of", "resolved_hints", "shown_type"]

_KEYS = {
    "AnyType", "StrType", "IntType", "BytesType", "EnumType", "LiteralType", "UUIDType", "DateTimeType", "DateType",
    "TimeType", "TimeDeltaType", "DecimalType",
}  # fmt: skip
"""What the keys of a dict can be annotated with."""


class Needs(NamedTuple):
    """What a conversion to an annotation takes beside it.

    Attributes:
        hook: whether there are types that msgspec does not know.
        raw: whether there are bytes, which must not be made of text.
    """

    hook: bool
    raw: bool


def is_array(kind: Any) -> bool:
    """Whether it is ``numpy.ndarray``."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray


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
    return Needs(walk.hook, walk.raw)


def shown_type(annotation: Any) -> str:
    """An annotation as its author has written it, as far as that can be told."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    return inspect.formatannotation(annotation).replace("typing.", "")


def resolved_hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a function as types, those of ``from __future__ import annotations``, too.

    Names are looked up where the function was written: in its module, and in the functions around it that still run.

    Raises:
        NameError: one is not there, or not yet.
    """
    if not getattr(function, "__annotations__", None):
        return {}
    return typing.get_type_hints(function, localns=_names_around(function), include_extras=True)


def _names_around(function: Any) -> dict[str, Any]:
    own = getattr(function, "__globals__", None)
    names: dict[str, Any] = {}
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is own and frame.f_locals is not own:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


class _Walk:
    def __init__(self, msgspec: Any, what: str) -> None:
        self.hook = self.raw = False
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
        elif kind == "DictType":
            key = type_name(info.key_type)
            if key == "Metadata":
                key = type_name(info.key_type.type)
            if key not in _KEYS and not self._is_path(info.key_type):
                raise TypeError(
                    f"{self._what} cannot be carried: the keys of a dict are str, int or bytes, or travel as such"
                )
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
        raise TypeError(
            f"{self._what} cannot be carried: {name} is none of the types that the documentation lists (reference,"
            " 'Types'): make it a dataclass, or convert it"
        )

    def _is_path(self, info: Any) -> bool:
        return self._is_path_class(getattr(info, "cls", None))

    @staticmethod
    def _is_path_class(cls: Any) -> bool:
        return isinstance(cls, type) and issubclass(cls, pathlib.PurePath)
