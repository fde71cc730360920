"""How functions are registered: with the same words on either side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from .registry import Function, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Registration"]

_H = TypeVar("_H", bound="Callable[..., Any]")


class Registration:
    """Whoever has functions that the other side calls by name."""

    _streams = True  # whether they may yield items, or take them one by one

    def __init__(self) -> None:
        self._registry = Registry()

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
            max_concurrency: so many of its runs at once, whoever asks; others wait, in order. None: any number.

        Returns:
            The handler, unchanged.

        Raises:
            ValueError: the name is taken, or ``max_concurrency`` is less than 1.
            TypeError: it cannot be called this way.
        """

        def register(handler: _H) -> _H:
            own = getattr(handler, "__name__", None)
            if name is None and own is None:
                raise TypeError(f"{handler!r} has no name of its own: pass name=")
            options: dict[str, Any] = {"cancellable": cancellable, "max_concurrency": max_concurrency}
            function = Function(name or own, handler, thread=thread, **options)
            if function.is_streamed and not self._streams:
                raise TypeError(f"{handler!r} is a stream, and a container calls functions that return one value")
            self._registry.add(function)
            return handler

        return register if handler is None else register(handler)
