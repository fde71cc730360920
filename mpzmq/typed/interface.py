"""Interfaces: what a client wants to call, as a class with methods."""

from __future__ import annotations

import collections.abc
import enum
import functools
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.text import repr_of, text_of
from ..context import RequestContext
from .annotations import resolved_hints, shown_type
from .conversion import Converter
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Method", "Way", "checked_interface", "methods_of"]

_ASYNC_ITEMS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable)
_ITEMS = (collections.abc.Iterator, collections.abc.Iterable)
# What a stream may return. A generator's type has close() or aclose(), which the streams of of() have, too.
_ASYNC_STREAMS = (*_ASYNC_ITEMS, collections.abc.AsyncGenerator)
_STREAMS = (collections.abc.Iterator, collections.abc.Generator)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Way(enum.Enum):
    """How a function is asked."""

    CALL = "call"
    STREAM = "stream"
    UPLOAD = "upload"
    CHANNEL = "channel"


class Method(NamedTuple):
    """One method of an interface.

    Attributes:
        name: of the method, and of the function that it calls.
        way: how that is asked.
        parameters: without ``self``, and without the items of an upload or a channel.
        items: the parameter that has those; None: there is none.
        hints: the annotations of the parameters; those of items, and of what is yielded, are of one.
        result: converts what is returned, or one item that is yielded.
    """

    name: str
    way: Way
    parameters: tuple[inspect.Parameter, ...]
    items: inspect.Parameter | None
    hints: Mapping[str, Any]
    result: Converter

    def split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The items of an upload or a channel, and the other arguments.

        Raises:
            TypeError: there are no items.
        """
        assert self.items is not None
        if args:
            return args[0], args[1:], kwargs
        if self.items.name in kwargs:
            rest = dict(kwargs)
            return rest.pop(self.items.name), args, rest
        raise TypeError(f"{self.name}() is not given its {self.items.name!r}")


def methods_of(interface: object, *, blocking: bool = False) -> Mapping[str, Method]:
    """The methods of an interface, by name.

    Args:
        interface: a class, such as a ``typing.Protocol``.
        blocking: whether it is for programs without an event loop: ``def`` in place of ``async def``, and ``Iterator``
            in place of ``AsyncIterator``.

    Raises:
        TypeError: it is no interface, and which of its methods is none of one.
        ImportError: the extra ``typed`` is missing.
    """
    msgspec_for("of()")
    return _methods_of(checked_interface(interface), blocking)


def checked_interface(interface: object) -> type:
    """The class of an interface.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(interface, type):
        raise TypeError(
            f"an interface is a class with methods, such as a typing.Protocol, and not {repr_of(interface)}"
        )
    return interface


@functools.lru_cache(maxsize=256)
def _methods_of(interface: type, blocking: bool) -> Mapping[str, Method]:
    methods = {}
    for name, member in _members(interface).items():
        if not inspect.isfunction(member):
            raise TypeError(f"{interface.__qualname__}.{name} is no method: an interface has methods only")
        methods[name] = _method(interface, name, member, blocking=blocking)
    if not methods:
        raise TypeError(f"{interface.__qualname__} has no methods: there is nothing to call")
    return types.MappingProxyType(methods)


def _members(interface: type) -> dict[str, Any]:
    """What a class and its bases say, but for what is private, and what belongs to the machinery of classes."""
    found: dict[str, Any] = {}
    for cls in reversed(interface.__mro__):
        if cls is object or cls.__module__ in ("typing", "abc", "typing_extensions"):
            continue
        names = [*getattr(cls, "__annotations__", ()), *vars(cls)]
        found.update({name: vars(cls).get(name) for name in names if not name.startswith("_")})
    return found


def _method(interface: type, name: str, function: Callable[..., Any], *, blocking: bool) -> Method:
    what = f"{interface.__qualname__}.{name}"
    try:
        hints = dict(resolved_hints(function, interface))
    except NameError as error:
        raise TypeError(f"{what}: an annotation cannot be resolved: {text_of(error)}") from error
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise TypeError(f"{what} takes no self")
    del parameters[0]
    for parameter in parameters:
        if _mentions_context(hints.get(parameter.name)):
            raise TypeError(
                f"{what}: the container gives {parameter.name!r} itself, so it is not in the interface of a client"
            )
    first = parameters[0] if parameters and parameters[0].kind in _POSITIONAL else None
    items = None if first is None else _items_of(hints.get(first.name), blocking=blocking)
    returned = hints.get("return", Any)
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{what} yields: an interface says what there is, 'def {name}(...) -> AsyncIterator[...]: ...'")
    yielded = _yielded(returned, (*_STREAMS, *_ASYNC_STREAMS) if blocking else _ASYNC_STREAMS)
    if inspect.iscoroutinefunction(function):
        if _yielded(returned, _ASYNC_STREAMS) is not None:
            raise TypeError(f"{what} gives a stream: that is 'def', without async")
        yielded = None
    elif yielded is None and not blocking:
        raise TypeError(
            f"{what} is 'def' and returns {shown_type(returned)}: a call is 'async def', a stream is 'def' and returns"
            " AsyncIterator[...]"
        )
    takes = first is not None and items is not None
    if takes and first is not None:
        hints[first.name] = items
    way = Way.CALL
    if yielded is not None:
        way = Way.CHANNEL if takes else Way.STREAM
        if takes and blocking:
            raise TypeError(f"{what} is a channel, which needs an event loop")
    elif takes:
        way = Way.UPLOAD
    for parameter in parameters:
        Converter(hints.get(parameter.name, Any), f"the parameter {parameter.name!r} of {what}")
    result = Converter(_result_type(returned) if yielded is None else yielded, f"what {what} returns")
    return Method(name, way, tuple(parameters[takes:]), first if takes else None, hints, result)


def _result_type(annotation: Any) -> Any:
    return type(None) if annotation is None else annotation


def _yielded(annotation: Any, kinds: tuple[type, ...]) -> Any:
    """What such an iterator iterates over; None: it is none."""
    if (typing.get_origin(annotation) or annotation) not in kinds:
        return None
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else Any


def _items_of(annotation: Any, *, blocking: bool) -> Any:
    """The type of the items of an upload: ``AsyncIterable[T]``, or that and ``Iterable[T]``; None: it is no upload.

    ``Iterable[T]`` alone is one in a program without an event loop only: elsewhere it may as well be meant as a list.
    """
    union = typing.get_origin(annotation) is typing.Union or isinstance(annotation, types.UnionType)
    members = typing.get_args(annotation) if union else (annotation,)
    found = [_yielded(member, (*_ASYNC_ITEMS, *_ITEMS)) for member in members]
    if None in found or not found or any(item != found[0] for item in found):
        return None
    if not blocking and all(_yielded(member, _ASYNC_ITEMS) is None for member in members):
        return None
    return found[0]


def _mentions_context(annotation: Any) -> bool:
    return annotation is RequestContext or any(map(_mentions_context, typing.get_args(annotation)))
