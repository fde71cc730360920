"""How functions are registered: with the same words on either side."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..common.text import MAX_NAME, repr_of, type_name
from .registry import Function, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Registration"]

CALL_OPTIONS = frozenset({"request_id", "timeout", "idempotent", "wait", "metadata"})
"""The keywords that ``call()`` of an engine takes for its own; it never gains another."""

STREAM_OPTIONS = frozenset({"timeout", "idle_timeout", "wait", "metadata"})
"""The same of ``stream()``, ``upload()`` and ``channel()``."""

_H = TypeVar("_H", bound="Callable[..., Any]")


class Registration:
    """Whoever has functions that the other side calls by name."""

    _streams = True  # whether they may yield items, or take them one by one
    _call_options = CALL_OPTIONS
    _detour = "it called through container.options(...), which takes the options, and passes every keyword on"

    def __init__(self, *, typed: bool = False) -> None:
        self._registry = Registry()
        if typed:
            self._registry.use_types()

    @property
    def typed(self) -> bool:
        """Whether arguments are converted by the annotations of the functions."""
        return self._registry.is_typed

    @property
    def overrides(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """Dependencies that others take the place of, for tests: ``overrides[get_db] = lambda: FakeDatabase()``.

        What is called in its place is held to the same rules, and may be a generator, too.
        """
        return self._registry.pipeline.overrides

    def propagate(self, *keys: str) -> None:
        """Adds keys of a request's metadata that calls made inside its handler carry on, such as ``"traceparent"``.

        Args:
            keys: those that are there already stay as they are.

        Raises:
            TypeError: one is not a str.
        """
        if not all(isinstance(key, str) for key in keys):
            raise TypeError(f"propagate() takes str, such as 'traceparent', not {repr_of(keys)}")
        pipeline = self._registry.pipeline
        pipeline.propagate = tuple(dict.fromkeys((*pipeline.propagate, *keys)))

    # fmt: off
    @overload
    def function(
        self, handler: _H, /, *,
        name: str | None = None, thread: bool = False, cancellable: bool = True, max_concurrency: int | None = None,
    ) -> _H: ...

    @overload
    def function(
        self, handler: None = None, /, *,
        name: str | None = None, thread: bool = False, cancellable: bool = True, max_concurrency: int | None = None,
    ) -> Callable[[_H], _H]: ...
    # fmt: on

    def function(
        self,
        handler: _H | None = None,
        /,
        *,
        name: str | None = None,
        thread: bool = False,
        cancellable: bool = True,
        max_concurrency: int | None = None,
    ) -> _H | Callable[[_H], _H]:
        """Registers a function that the other side calls by name; as a decorator, or as a plain call for bound methods.

        ``async def`` handlers run in tasks of their own, plain ones on the event loop.

        Args:
            handler: the function.
            name: under which it is called; by default its own.
            thread: run it in a worker thread, for code that blocks.
            cancellable: False: it runs to its end whatever caller and deadline do, and its reply is kept.
            max_concurrency: how many of its runs work at once, whoever asks; others wait, in order. None: any number.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: the name is taken, empty, longer than 256 characters, or no Unicode, or ``max_concurrency`` is
                less than 1.
            TypeError: it cannot be called this way, or the name is not a str.

        Warns:
            UserWarning: a parameter of it has the name of an option of ``call()`` or ``stream()``, which takes that
                keyword for its own.
        """
        return self._registering(handler, name, thread=thread, cancellable=cancellable, max_concurrency=max_concurrency)

    def _registering(self, handler: _H | None, name: str | None, **options: Any) -> _H | Callable[[_H], _H]:
        """Registers a function with its options, or returns what does."""
        decorates = handler is None

        def register(handler: _H) -> _H:
            own = getattr(handler, "__name__", None)
            if name is None and own is None:
                raise TypeError(f"{repr_of(handler)} has no name of its own: pass name=")
            function = Function(_checked(own if name is None else name), handler, **options)
            if function.is_streamed and not self._streams:
                what = repr_of(handler)
                raise TypeError(f"{what} is a stream, and a container calls functions that return one value")
            self._warn_of_options(function, stacklevel=3 if decorates else 5)
            self._registry.add(function)
            return handler

        return register if handler is None else register(handler)

    def _warn_of_options(self, function: Function, *, stacklevel: int) -> None:
        """Tells of parameters whose names callers cannot use.

        A warning of Python's and not a line in the log: it speaks to whoever writes the function, points at the line
        where it is registered, and can be filtered by whoever decides that the name stays.
        """
        options = frozenset[str]() if function.is_streamed else self._call_options
        if self._streams and (function.gives or function.takes is not False):
            options |= STREAM_OPTIONS
        for name in function.keywords:
            if name in options:
                warnings.warn(
                    f"function {function.name!r} has a parameter {name!r}, but the keyword {name!r} of a call is an"
                    f" option and does not reach the function: rename it, or have {self._detour}",
                    stacklevel=stacklevel,
                )


def _checked(name: object) -> str:
    """The name of a function, as it can be called, described and allowed.

    Raises:
        TypeError: it is not a str.
        ValueError: it is empty, too long, or no Unicode.
    """
    if not issubclass(type(name), str):
        raise TypeError(f"the name of a function is a str, and not {type_name(name)}: {repr_of(name)}")
    name = str.__str__(name)
    if not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"the name of a function has 1 to {MAX_NAME} characters, and not {len(name)}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name of a function is Unicode, and {name!r} has a lone surrogate") from None
    return name
