"""What the type parameters of generic classes stand for, where a class that is derived from them says so."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["parameters_in", "substituted"]


def parameters_in(owner: Any, name: str) -> Mapping[Any, Any]:
    """What type parameters stand for in a method, by parameter.

    Args:
        owner: the class, or the generic class with its arguments, as in ``Shop[Item]``.
        name: of the method.
    """
    cls = typing.get_origin(owner) or owner
    found: dict[Any, Mapping[Any, Any]] = {}
    _collect(cls, _arguments(owner, {}), found)
    for base in cls.__mro__:
        if name in vars(base):
            return found.get(base, {})
    return {}


def substituted(annotation: Any, parameters: Mapping[Any, Any]) -> Any:
    """An annotation with what its type parameters stand for.

    Args:
        annotation: a type.
        parameters: what they stand for; those that are missing stay as they are.
    """
    if isinstance(annotation, typing.TypeVar):
        return parameters.get(annotation, annotation)
    own = () if typing.get_origin(annotation) is None else getattr(annotation, "__parameters__", ())
    if not any(parameter in parameters for parameter in own):
        return annotation
    return annotation[tuple(parameters.get(parameter, parameter) for parameter in own)]


def _collect(cls: type, parameters: Mapping[Any, Any], found: dict[Any, Mapping[Any, Any]]) -> None:
    """Adds what the parameters of a class stand for, and those of each class that it is derived from."""
    found[cls] = parameters
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and (origin not in found or typing.get_args(base)):
            _collect(origin, _arguments(base, parameters), found)


def _arguments(generic: Any, parameters: Mapping[Any, Any]) -> dict[Any, Any]:
    own = getattr(typing.get_origin(generic), "__parameters__", ())
    given = [substituted(argument, parameters) for argument in typing.get_args(generic)]
    return dict(zip(own, given, strict=True)) if len(own) == len(given) else {}
