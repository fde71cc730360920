"""What opens something: it may be awaited, or entered with ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ..common.set_module import set_module

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

__all__ = ["Opening"]

_T = TypeVar("_T")


@set_module("mpzmq")
class Opening(Coroutine[Any, Any, _T]):
    """Opens something when it is awaited, or when it is entered with ``async with``, whose end then closes it.

    It is a coroutine, for ``asyncio.create_task()`` and for all else that takes one: it opens nothing before it is
    awaited, it does so once, and one that is dropped without is a ``RuntimeWarning``.

    Args:
        opening: opens it; whatever it raises, cancelled or not, leaves nothing open.
        close: closes what was opened.
        name: what it is called in that warning, and where tasks are shown.
    """

    def __init__(self, opening: Coroutine[Any, Any, _T], close: Callable[[_T], Awaitable[None]], name: str) -> None:
        self.__qualname__ = name
        opening.__qualname__ = name  # type: ignore[attr-defined]  # typing.Coroutine does not tell of it
        self._opening = opening
        self._close = close

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._opening.__await__()

    async def __aenter__(self) -> _T:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close(self._opened)

    # What makes it a coroutine

    def send(self, value: Any) -> Any:
        """Goes on to the next await."""
        return self._opening.send(value)

    def throw(self, *error: Any) -> Any:
        """Raises an error at the await at which it stands."""
        return self._opening.throw(*error)

    def close(self) -> None:
        """Gives it up; nothing is left open."""
        self._opening.close()
