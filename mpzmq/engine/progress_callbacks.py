"""Callers that are told how far their large requests and replies have come."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..common.logs import Log, RequestFacts
from ..models import Progress

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from ..protocol.flow.progress import ProgressTracker
    from ..protocol.requester.request import PendingRequest

__all__ = ["ProgressCallbacks"]

log = Log(__name__)


class ProgressCallbacks:
    """The callbacks of one link, each as long as its request has not ended.

    Args:
        book: where the link notes how far it has come.
        container: the name of the container.
    """

    def __init__(self, book: ProgressTracker, container: str) -> None:
        self._book = book
        self._container = container
        self._callbacks: dict[bytes, tuple[contextvars.Context, Callable[[Progress], object], str | None]] = {}

    def watch(self, entry: PendingRequest, callback: Callable[[Progress], object], waiter: asyncio.Future[Any]) -> None:
        """Tells a caller of its request, in a copy of its context, until its waiter is done."""
        tag = entry.tag
        numbers = self._book.watched[tag] = [0, 0, 0, 0]
        self._callbacks[tag] = contextvars.copy_context(), callback, entry.function
        waiter.add_done_callback(lambda waiter: self._forget(tag, numbers))

    def tell(self, tags: Iterable[bytes]) -> None:
        """Tells the callers of requests that have come further; a tag may be there more than once."""
        for tag in dict.fromkeys(tags):
            numbers = self._book.watched.get(tag)
            if numbers is None:
                continue
            context, callback, function = self._callbacks[tag]
            try:
                context.run(callback, Progress(UUID(bytes=tag), *numbers))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                # Told once: a callback that fails would do so at each part, and its request can do without.
                self._forget(tag, numbers)
                text = "request %s: the callback of its progress raised, and is not called again"
                about = RequestFacts.of(tag, function, self._container)
                log.error(text, about.request_id, exc_info=error, about=about)

    def _forget(self, tag: bytes, numbers: list[int]) -> None:
        if self._book.watched.get(tag) is numbers:  # else its id was issued again
            del self._book.watched[tag], self._callbacks[tag]
