"""The client of one HTTP request: whether it is still there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from .types import Message, Receive

__all__ = ["ClientGone", "while_there"]


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class while_there:
    """What is done in ``async with while_there(receive)`` is cancelled when the client goes.

    ASGI tells of the end by a message, and only to who receives: a task does so, which ends with the block.

    Args:
        receive: of the application.
        on_body: takes what comes of the body meanwhile; nothing more is received before it returns.

    Raises:
        ClientGone: from the block, when the client has gone.
    """

    def __init__(self, receive: Receive, on_body: Callable[[Message], Awaitable[None]] | None = None) -> None:
        self._receive = receive
        self._on_body = on_body
        self._has_gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._looking.cancel()
        try:
            await asyncio.wait((self._looking,))
        except asyncio.CancelledError:
            if not self._has_gone:
                raise
        if self._has_gone:
            if self._task.uncancel() > self._cancelled_before:
                raise asyncio.CancelledError
            raise ClientGone from None
        if not self._looking.cancelled() and (failure := self._looking.exception()) is not None and error is None:
            raise failure

    async def _look(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._has_gone = True
                self._task.cancel()
                return
            if self._on_body is not None:
                await self._on_body(message)
