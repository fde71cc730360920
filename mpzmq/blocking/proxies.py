"""Containers and groups through an interface, for programs without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..engine.proxies import Proxy
from ..typed.interface import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..typed.interface import Method
    from .stream import BlockingStream

    _Convert = Callable[[Method, Any, str], Any]

__all__ = ["blocking_proxy"]


class Asked(Protocol):
    """Whoever is asked: what a :class:`~mpzmq.blocking.BlockingOptionsView` has of it."""

    def call(self, function: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function."""

    def stream(self, function: str, /, *args: Any, **kwargs: Any) -> BlockingStream:
        """Calls a function that yields."""

    def upload(self, function: str, items: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Sends items to a function."""


def blocking_proxy(interface: type, methods: Mapping[str, Method], view: Asked, convert: _Convert) -> Proxy:
    """What has the methods of an interface, and calls the functions of a container.

    Args:
        interface: the class.
        methods: its methods.
        view: whom they ask.
        convert: makes of a result, or an item, what a method says; it is given the path, for errors.
    """
    makers = {Way.CALL: _call, Way.STREAM: _stream, Way.UPLOAD: _upload}
    return Proxy(interface, {name: makers[method.way](method, view, convert) for name, method in methods.items()})


def _call(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return convert(method, view.call(method.name, *args, **kwargs), "result")

    return call


def _upload(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    def upload(*args: Any, **kwargs: Any) -> Any:
        items, args, kwargs = method.split(args, kwargs)
        return convert(method, view.upload(method.name, items, *args, **kwargs), "result")

    return upload


def _stream(method: Method, view: Asked, convert: _Convert) -> Callable[..., Any]:
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with view.stream(method.name, *args, **kwargs) as items:
            for index, item in enumerate(items):
                yield convert(method, item, f"item[{index}]")

    return stream
