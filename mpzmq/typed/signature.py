"""The arguments of one function, converted by its signature."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.text import repr_of
from .annotations import resolved_hints
from .conversion import Converter, together
from .items import TypedItems
from .schema import function_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

__all__ = ["TypedSignature", "item_type", "typed_signature"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


WAYS = {(False, False): "call", (True, False): "stream", (False, True): "upload", (True, True): "channel"}
"""How a function is asked that yields, and that takes a stream."""


class ItemReading(NamedTuple):
    """The parameter of a function that takes a stream.

    Attributes:
        converter: of one item.
        name: of the parameter.
    """

    converter: Converter
    name: str

    def read(self, items: AsyncIterator[Any]) -> TypedItems:
        """The items that arrive, converted one by one."""
        return TypedItems(items, self.converter, self.name)


class TypedSignature:
    """Converts the arguments of one function.

    Args:
        what: the function, in words.
        parameters: those that callers give.
        hints: their annotations, by name, and ``return``.
        stream: the annotation of an item, where the first parameter takes a stream.
        yields: the annotation of what it yields; None: it returns one value.

    Attributes:
        items: what reads the stream that the first parameter takes; None: it takes none.
        result: of what is returned or yielded.
        named: the converters of the parameters, by name.
        exact: the types of positional arguments that fit as they are, all of them; None: there are none.
        together: what converts so many positional arguments at once, and raises whatever it may be if one does not fit;
            of the numbers that are enough, and none of which is more.
        bounds: how many positional arguments it takes at least and at most, where no more has to be looked at.

    Raises:
        TypeError: a message cannot carry what an annotation says.
        NameError: an annotation names something that is not there, or not yet.
    """

    __slots__ = (
        "_extra", "_fixed", "_hints", "_parameters", "_rest", "_way", "bounds", "exact", "items", "named", "result",
        "together",
    )  # fmt: skip

    def __init__(
        self,
        what: str,
        parameters: Sequence[inspect.Parameter],
        hints: Mapping[str, Any],
        *,
        stream: Any = None,
        yields: Any = None,
    ) -> None:
        self.bounds = 0, 0
        self._parameters = tuple(parameters if stream is None else parameters[1:])
        self._hints = hints
        self._way = WAYS[yields is not None, stream is not None]
        self.items: ItemReading | None = None
        self.named: dict[str, Converter] = {}
        self._rest: tuple[str, Converter] | None = None
        self._extra: Converter | None = None
        for parameter in parameters:
            name = parameter.name
            if stream is not None and parameter is parameters[0]:
                self.items = ItemReading(Converter(stream, f"the parameter {name!r} of {what}"), name)
                converter = Converter(Any, what)
            else:
                converter = Converter(hints.get(name, Any), f"the parameter {name!r} of {what}")
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = name, converter
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._extra = converter
            else:
                self.named[name] = converter
        fixed = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        self._fixed = [(parameter.name, self.named[parameter.name]) for parameter in fixed]
        exact = tuple(converter.exact for _, converter in self._fixed)
        needed = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        self.exact = None if needed or None in exact else exact
        least = sum(parameter.default is parameter.empty for parameter in fixed)
        counts = () if needed else range(least, len(fixed) + 1)
        self.together = {count: together([converter for _, converter in self._fixed[:count]]) for count in counts}
        result = hints.get("return", Any) if yields is None else yields
        self.result = Converter(type(None) if result is None else result, f"what {what} returns")

    def schema(self, doc: str = "") -> dict[str, Any]:
        """What the function takes and returns, as JSON Schema.

        Args:
            doc: the first line of its docstring.
        """
        items = None if self.items is None else self.items.converter.annotation
        result = self.result.annotation
        return function_schema(self._way, self._parameters, self._hints, items=items, result=result, doc=doc)

    def convert(self, args: list[Any], kwargs: dict[str, Any] | None) -> tuple[list[Any], dict[str, Any] | None]:
        """Converts arguments whose number and names fit, one by one.

        Raises:
            InvalidValueError: one of them does not fit its annotation.
        """
        fixed = self._fixed
        converted = [converter.convert(value, name) for value, (name, converter) in zip(args, fixed, strict=False)]
        if len(args) > len(fixed) and self._rest is not None:
            name, rest = self._rest
            converted += [rest.convert(value, f"{name}[{i}]") for i, value in enumerate(args[len(fixed) :])]
        if not kwargs:
            return converted, None
        named = {}
        for name, value in kwargs.items():
            one = self.named.get(name, self._extra)
            named[name] = value if one is None else one.convert(value, name if name.isidentifier() else repr_of(name))
        return converted, named


def typed_signature(
    what: str, function: Callable[..., Any], signature: inspect.Signature, owner: Any, *, takes: bool, gives: bool
) -> TypedSignature:
    """What converts the arguments of a function.

    Args:
        what: the function, in words.
        function: the one whose annotations count.
        signature: without what callers do not give.
        owner: the class of which it is a method; None: it is none.
        takes: whether the first parameter takes a stream.
        gives: whether it yields.

    Raises:
        TypeError: a message cannot carry what an annotation says.
        NameError: an annotation names something that is not there, or not yet.
    """
    hints = resolved_hints(function, owner)
    parameters = list(signature.parameters.values())
    stream = item_type(hints.get(parameters[0].name, Any)) if takes else None
    yields = item_type(hints.get("return", Any)) if gives else None
    return TypedSignature(what, parameters, hints, stream=stream, yields=yields)


def item_type(annotation: Any) -> Any:
    """What an async iterator iterates over."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else Any
