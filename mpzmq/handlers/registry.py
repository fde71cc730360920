"""The functions of a container, and how their arguments are checked before they are called."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any

from ..context import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Function", "Registry"]

_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
"""What a parameter is annotated with that takes a stream."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Function:
    """One handler, and what has to be known to call it.

    Attributes:
        name: under which it is called; None for the handler of plain INVOKE.
        handler: what is called.
        is_async: whether it is ``async def``, and runs in a task of its own.
        gives: whether it is an async generator, whose results come piece by piece.
        takes: whether its first parameter is annotated as an async iterator, so that its data comes piece by piece;
            None: it has no annotation that would tell; False: it cannot be.
        is_streamed: whether it gives or takes, for certain.
        thread: whether it runs in a worker thread.
        cancellable: whether it is cancelled when nobody waits for it any more.
        max_concurrency: how many of its runs there may be at once; None: any number.
        orphan_after: seconds for which its engine may be away before a run is cancelled; None: any time.
        is_gated: whether a run may have to wait for others to end.
        is_plain: whether it runs on the event loop at once.
        signature: without the context parameter.
        least, most: how many positional arguments it takes.
        wants_context: whether one of its parameters is the ``RequestContext``.
    """

    __slots__ = (
        "_context", "_index", "cancellable", "gives", "handler", "is_async", "is_gated", "is_plain", "is_streamed",
        "least", "max_concurrency", "most", "name", "orphan_after", "signature", "takes", "thread", "wants_context",
    )  # fmt: skip

    def __init__(
        self,
        name: str | None,
        handler: Callable[..., Any],
        *,
        thread: bool = False,
        cancellable: bool = True,
        max_concurrency: int | None = None,
        orphan_after: float | None = None,
    ) -> None:
        called = handler if inspect.isroutine(handler) else getattr(handler, "__call__", handler)  # noqa: B004
        if inspect.isgeneratorfunction(called):
            raise TypeError(f"{handler!r} is a plain generator: a function that yields is async def")
        self.name = name
        self.handler = handler
        self.gives = inspect.isasyncgenfunction(called)
        self.is_async = self.gives or inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)
        if self.gives and name is None:
            raise TypeError(f"{handler!r} yields: only named functions give a stream, add it by @server.function")
        if self.gives and not cancellable:
            raise TypeError(f"{handler!r} yields: nobody would read on when its caller has gone, so it is cancellable")
        self.thread = thread
        self.cancellable = cancellable
        self.max_concurrency = max_concurrency
        self.orphan_after = orphan_after
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int | None):
            raise TypeError(f"max_concurrency is an int or None, not {type(max_concurrency).__name__}")
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be 1 or more, not {max_concurrency}: None is no limit")
        self.is_gated = thread or max_concurrency is not None
        self.is_plain = not (self.is_async or self.is_gated)
        if thread and self.is_async:
            raise TypeError(f"{handler!r} is async def, which needs no thread: leave thread=True out")
        signature = _signature(handler)
        parameters = list(signature.parameters.values())
        self._context = _context_parameter(handler, parameters)
        self.wants_context = self._context is not None
        # Where it stands among the positional ones; one that is keyword-only stands behind them all.
        positional = [p.name for p in parameters if p.kind in _POSITIONAL]
        self._index = positional.index(self._context) if self._context in positional else math.inf
        parameters = [parameter for parameter in parameters if parameter.name != self._context]
        self.signature = signature.replace(parameters=parameters)
        self.takes = _takes_stream(handler, parameters) if self.is_async else False
        self.is_streamed = self.gives or bool(self.takes)
        # Most calls are positional: their number tells whether they fit, and Signature.bind() takes 3 us more.
        required = [p for p in parameters if p.default is p.empty]
        if any(p.kind is p.KEYWORD_ONLY for p in required):
            self.least, self.most = math.inf, -math.inf
        else:
            self.least = sum(p.kind in _POSITIONAL for p in required)
            starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
            self.most = math.inf if starred else sum(p.kind in _POSITIONAL for p in parameters)

    def check(self, args: list[Any], kwargs: dict[str, Any] | None) -> None:
        """Whether the handler can be called with these arguments.

        Raises:
            TypeError: it cannot, and why.
        """
        if kwargs and self._context in kwargs:
            raise TypeError(f"{self._context!r} is given by the container and not by the caller")
        if kwargs or not self.least <= len(args) <= self.most:
            self.signature.bind(*args, **(kwargs or {}))

    def call(self, context: RequestContext, args: list[Any], kwargs: dict[str, Any] | None) -> Any:
        """Calls the handler with arguments that were checked."""
        if self._context is not None:
            if len(args) >= self._index:
                args = args.copy()
                args.insert(int(self._index), context)
            else:
                kwargs = {**(kwargs or {}), self._context: context}
        return self.handler(*args, **kwargs) if kwargs else self.handler(*args)

    @property
    def keywords(self) -> list[str]:
        """The names of the parameters that may be given by name."""
        return [p.name for p in self.signature.parameters.values() if p.kind in _NAMED]

    @property
    def doc(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]


def _signature(handler: Callable[..., Any]) -> inspect.Signature:
    """With annotations as types, where they can be found: ``int`` reads better than ``'int'``."""
    try:
        return inspect.signature(handler, eval_str=True)
    except Exception:  # names that exist for type checkers only
        return inspect.signature(handler)


def _context_parameter(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> str | None:
    """The name of the parameter that is annotated ``RequestContext``, if there is one."""
    try:
        hints = typing.get_type_hints(handler)
    except Exception:  # names that exist for type checkers only, and callables without hints
        hints = {}
    for parameter in parameters:
        hint = hints.get(parameter.name, parameter.annotation)
        if hint is RequestContext or (isinstance(hint, str) and hint.rpartition(".")[2] == "RequestContext"):
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"{handler!r}: a starred parameter cannot take the RequestContext")
            before = parameters[: parameters.index(parameter)]
            if parameter.kind is parameter.POSITIONAL_ONLY and any(p.default is not p.empty for p in before):
                raise TypeError(f"{handler!r}: a positional-only RequestContext cannot stand behind optional ones")
            return parameter.name
    return None


def _takes_stream(handler: Callable[..., Any], parameters: list[inspect.Parameter]) -> bool | None:
    first = parameters[0] if parameters and parameters[0].kind in _POSITIONAL else None
    if first is None:
        return None if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else False
    try:
        hint = typing.get_type_hints(handler).get(first.name, first.annotation)
    except Exception:  # names that exist for type checkers only
        hint = first.annotation
    if hint is first.empty or hint is Any:
        return None
    if isinstance(hint, str):
        return hint.partition("[")[0].rpartition(".")[2] in {kind.__name__ for kind in _STREAMS}
    return (typing.get_origin(hint) or hint) in _STREAMS


class Registry:
    """All handlers of a container.

    Attributes:
        functions: by name.
        invoke: the handler of plain requests.
        state_change: what is called before the run state changes.
        engine_change: what is called when engines come and go.
        orphan_after: what holds for handlers that do not choose their own; see :class:`Function`.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.invoke: Function | None = None
        self.state_change: Callable[..., Any] | None = None
        self.engine_change: Callable[..., Any] | None = None
        self.orphan_after: float | None = None

    def add(self, function: Function) -> None:
        """A named function more.

        Raises:
            ValueError: the name is taken.
        """
        assert function.name is not None
        if function.name in self.functions:
            raise ValueError(f"there is a function {function.name!r} already: give one of them another name=")
        self.functions[function.name] = function
