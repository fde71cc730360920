"""Requests whose id the client has chosen: answered once, and again with the same answer.

A container remembers an id until its reply has come here. What then gets lost on the way to the client is kept here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RequestIdReused
from ..models import Executed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any
    from uuid import UUID

    from .answers import Answer

__all__ = ["KEPT_BYTES", "KEPT_FOR", "MAX_KEPT", "Replays"]

MAX_KEPT = 10_000
"""Answers that are kept."""

KEPT_BYTES = 16 * 1024 * 1024
"""Bytes that all of them have together."""

KEPT_FOR = 300.0
"""Seconds for which one is kept, as in a container (``Limits.reply_ttl``)."""

_HEADER = {"idempotency-replayed": "true"}


@dataclass(slots=True)
class _Running:
    digest: bytes
    task: asyncio.Task[Answer]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    answer: Answer
    until: float


class Replays:
    """Those that are under way, and the answers of the last ones.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: dict[UUID, _Running] = {}
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._bytes = 0

    async def answer(
        self, key: UUID, digest: bytes, ask: Callable[[], Coroutine[Any, Any, tuple[Answer, bool]]]
    ) -> Answer:
        """The answer to a request: the one that is kept, that of the same request which is under way, or a new one.

        What is under way is ended when nobody waits for it any more.

        Args:
            key: the id.
            digest: of all that is asked.
            ask: asks; returns the answer, and whether it is to be kept: else the same may be asked again.

        Raises:
            RequestIdReused: something else was asked under this id.
        """
        while (running := self._running.get(key)) is not None and running.task.cancelling():
            await asyncio.wait((running.task,))  # nobody waits for it any more, and its container is being told
        self._forget_old()
        before = self._kept.get(key) or self._running.get(key)
        if before is not None and before.digest != digest:
            text = "this Idempotency-Key was sent with another body, function or caller: every request needs its own"
            raise RequestIdReused(text, request_id=key, executed=Executed.NO)
        if isinstance(before, _Kept):
            return dataclasses.replace(before.answer, headers={**before.answer.headers, **_HEADER})
        if before is None:
            task = asyncio.create_task(self._ask(key, digest, ask))
            task.add_done_callback(lambda _: self._running.pop(key))
            before = self._running[key] = _Running(digest, task)
        before.waiting += 1
        try:
            await asyncio.wait((before.task,))
        finally:
            before.waiting -= 1
            if not before.waiting and not before.task.done():
                before.task.cancel()
                await asyncio.wait((before.task,))
        return before.task.result()

    async def _ask(
        self, key: UUID, digest: bytes, ask: Callable[[], Coroutine[Any, Any, tuple[Answer, bool]]]
    ) -> Answer:
        answer, is_final = await ask()
        if is_final:
            self._keep(key, _Kept(digest, answer, self._clock() + KEPT_FOR))
        return answer

    def _keep(self, key: UUID, kept: _Kept) -> None:
        self._kept[key] = kept
        self._bytes += len(kept.answer.body)
        while len(self._kept) > MAX_KEPT or self._bytes > KEPT_BYTES:
            self._drop_oldest()

    def _forget_old(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._bytes -= len(kept.answer.body)
