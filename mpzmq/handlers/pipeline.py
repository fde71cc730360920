"""What stands around the handlers of one side: middleware, dependencies that are replaced, and words for errors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..common.text import repr_of
from .middleware import checked_middleware
from .signatures import called_first, works_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..errors import RemoteError
    from .middleware import CallDetails, Middleware

    OnError = Callable[[CallDetails, Any], RemoteError | Awaitable[RemoteError]]

__all__ = ["Pipeline"]


class Pipeline:
    """What stands around the handlers of one container, or of one worker.

    Attributes:
        middleware: around every handler, outermost first.
        overrides: what is called in a dependency's place.
        propagate: keys of a request's metadata that calls made inside it carry on.
        has_async_mapping: whether any ``on_error`` is ``async def``.
    """

    def __init__(self) -> None:
        self.middleware: tuple[Middleware, ...] = ()
        self.overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.propagate: tuple[str, ...] = ()
        self.has_async_mapping = False
        self._on_error: dict[type, OnError] = {}

    def add(self, middleware: Any) -> None:
        """One more, inside of all others.

        Raises:
            TypeError: it is none.
        """
        self.middleware = (*self.middleware, checked_middleware(middleware))

    def add_on_error(self, kind: object, handler: Any) -> None:
        """What is told to callers where an error of this class was raised.

        Raises:
            TypeError: it is no class of errors, or the handler cannot be called.
            ValueError: there is one for this class already.
        """
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"on_error() takes a class of Exception, not {repr_of(kind)}")
        if not callable(handler):
            raise TypeError(f"on_error() takes f(call, error) -> RemoteError, which {repr_of(handler)} is not")
        if kind in self._on_error:
            raise ValueError(f"there is an on_error({kind.__name__}) already: give one of them another class")
        self._on_error[kind] = handler
        self.has_async_mapping |= any(
            inspect.iscoroutinefunction(one) for one in (handler, called_first(handler), works_in(handler))
        )

    @property
    def needs_task(self) -> bool:
        """Whether there is something around every handler that may have to be awaited."""
        return bool(self.middleware) or self.has_async_mapping

    def on_error(self, kind: type[BaseException]) -> OnError | None:
        """What has other words for an error of this class; None: nobody."""
        if not self._on_error:
            return None
        return next((self._on_error[above] for above in kind.__mro__ if above in self._on_error), None)
