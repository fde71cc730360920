"""What a handler says of itself: what is called, what it takes, and how it is shown."""

from __future__ import annotations

import ast
import functools
import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any

from ..common.text import clean, repr_of, text_of, type_name
from ..context import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "called_first", "context_parameter", "first_line", "owner_of", "shown", "signature_of", "takes_stream", "works_in",
]  # fmt: skip

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
"""What a parameter is annotated with that takes a stream."""

_DEEPEST = 100
"""Decorators around one function that are looked behind: some of them go round in a circle."""

_MAX_DEFAULT, _MAX_SIGNATURE, _MAX_DOC = 200, 2000, 500
"""Characters of what is shown."""


def called_first(handler: Any) -> Any:
    """The function that a call of the handler runs first: that of a partial(), of a method, of an object."""
    for _ in range(_DEEPEST):
        behind = _behind(handler)
        if behind is handler:
            break
        handler = behind
    return handler


def works_in(handler: Any) -> Any:
    """The function that does the work: behind all decorators that say what they are around, as functools.wraps does."""
    for _ in range(_DEEPEST):
        behind = getattr(handler, "__wrapped__", None) or _behind(handler)
        if behind is handler:
            break
        handler = behind
    return handler


def owner_of(handler: Any) -> Any:
    """The class of which the function that does the work is a method, with its type arguments; None: it is none."""
    for _ in range(_DEEPEST):
        behind = _behind(handler)
        if behind is not handler and not isinstance(handler, functools.partial):  # a method, or an object
            owner = handler.__self__ if inspect.ismethod(handler) else handler
            return owner if isinstance(owner, type) else inspect.getattr_static(owner, "__orig_class__", type(owner))
        behind = getattr(handler, "__wrapped__", behind)
        if behind is handler:
            break
        handler = behind
    return None


def _behind(handler: Any) -> Any:
    if isinstance(handler, functools.partial):
        return handler.func
    if inspect.ismethod(handler):
        return handler.__func__
    call = getattr(type(handler), "__call__", None)  # noqa: B004  (what it is, and not whether it is there)
    return call if inspect.isfunction(call) and not isinstance(handler, type) else handler


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """With annotations as types, where they can be found: ``int`` reads better than ``'int'``."""
    try:
        return inspect.signature(handler, eval_str=True)
    except Exception:  # names that exist for type checkers only
        return inspect.signature(handler)


def context_parameter(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> str | None:
    """The name of the parameter that is annotated ``RequestContext``, if there is one."""
    for parameter in parameters:
        if _is_context(_hint(handler, parameter)):
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"{repr_of(handler)}: a starred parameter cannot take the RequestContext")
            before = parameters[: parameters.index(parameter)]
            if parameter.kind is parameter.POSITIONAL_ONLY and any(p.default is not p.empty for p in before):
                raise TypeError(
                    f"{repr_of(handler)}: a positional-only RequestContext cannot stand behind optional ones"
                )
            return parameter.name
    return None


def takes_stream(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> bool | None:
    """Whether the first parameter takes a stream; None: no annotation tells."""
    first = parameters[0] if parameters and parameters[0].kind in POSITIONAL else None
    if first is None:
        return None if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else False
    hint = _hint(handler, first)
    if hint is first.empty or hint is Any:
        return None
    if isinstance(hint, str):
        return hint.partition("[")[0].rpartition(".")[2] in {kind.__name__ for kind in _STREAMS}
    return (typing.get_origin(hint) or hint) in _STREAMS


def shown(signature: inspect.Signature) -> str:
    """A signature in words, whatever its defaults and annotations are."""
    empty = inspect.Parameter.empty

    def annotation(given: Any) -> Any:
        return given if given is empty else _Shown(_annotation(given))

    parameters = [
        parameter.replace(
            default=empty if parameter.default is empty else _Shown(repr_of(parameter.default, _MAX_DEFAULT)),
            annotation=annotation(parameter.annotation),
        )
        for parameter in signature.parameters.values()
    ]
    return text_of(
        signature.replace(parameters=parameters, return_annotation=annotation(signature.return_annotation)),
        _MAX_SIGNATURE,
    )


def first_line(handler: Any) -> str:
    """The first line of a handler's docstring."""
    try:
        doc = inspect.getdoc(handler) or ""
        if doc == inspect.getdoc(functools.partial):  # which says nothing of the function
            doc = inspect.getdoc(works_in(handler)) or ""
        return clean(str.partition(doc, "\n")[0], _MAX_DOC)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"(its docstring cannot be read: {type_name(error)})"


class _Shown:
    """Stands for a part of a signature as its text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _annotation(given: Any) -> str:
    try:
        return clean(inspect.formatannotation(given), _MAX_DEFAULT)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return repr_of(given, _MAX_DEFAULT)


def _hint(handler: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """A parameter's annotation as a type, or as its text where its names exist for type checkers only."""
    try:
        hints = typing.get_type_hints(handler)
    except Exception:  # and of callables without hints
        hints = {}
    return hints.get(parameter.name, parameter.annotation)


def _is_context(hint: Any) -> bool:
    """Whether it is ``RequestContext``: itself, optional, annotated, or the text of one of these."""
    if isinstance(hint, str):
        try:
            return _is_context_text(ast.parse(hint, mode="eval").body)
        except SyntaxError:
            return False
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _is_context(hint.__origin__)
    if origin is typing.Union or origin is types.UnionType:
        return any(map(_is_context, typing.get_args(hint)))
    return hint is RequestContext


def _is_context_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Name | ast.Attribute):
        return (node.id if isinstance(node, ast.Name) else node.attr) == RequestContext.__name__
    if isinstance(node, ast.BinOp):
        return _is_context_text(node.left) or _is_context_text(node.right)
    if isinstance(node, ast.Subscript):
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = ast.unparse(node.value).rpartition(".")[2]
        if name == "Annotated":
            return _is_context_text(inside[0])
        return name in ("Optional", "Union") and any(map(_is_context_text, inside))
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_context(node.value)
