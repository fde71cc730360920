"""The containers that ``mpzmq top`` looks at, and what each has told last: none waits for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from ...errors import ConnectError, MpzmqError, Refused, Unsupported
from ..members import handles_of, settle
from ..wording import in_shell_words
from .rates import Sample, by_function, total
from .table import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engine.group import Group
    from ...engine.writer import ComputerEngineWriter

__all__ = ["Watch"]

TREND = 8
"""Round trips that are kept for each container."""

OLD = 1.5
"""Intervals after which numbers are not those of now."""


class Watch:
    """All containers of some sources, as they come and go.

    Args:
        groups: of these sources.
        interval: seconds between two looks.
        timeout: seconds for each answer.
    """

    def __init__(self, groups: Sequence[Group], interval: float, timeout: float) -> None:
        self._groups = groups
        self._interval = interval
        self._timeout = timeout
        self._watched: dict[tuple[Group, str], _Watched] = {}
        self._missing: dict[Group, str] = {}

    async def settle(self, timeout: float) -> None:
        """Waits until each container is there, or has been found not to be."""
        await asyncio.gather(*(self._settle(group, timeout) for group in self._groups))

    def ask(self) -> None:
        """Asks every container for its counters, except those that have not answered the last time."""
        there = {(group, handle.name): handle for group in self._groups for handle in handles_of(group)}
        for group, _ in there:
            self._missing.pop(group, None)
        for gone in self._watched.keys() - there.keys():
            self._watched.pop(gone).stop()
        for key, handle in there.items():
            self._watched.setdefault(key, _Watched(handle)).ask(handle, self._timeout)

    async def answered(self, timeout: float) -> None:
        """Waits until all have answered, and for no container longer than that."""
        if asked := [one.question for one in self._watched.values() if one.question is not None]:
            await asyncio.wait(asked, timeout=timeout)

    def rows(self) -> list[Row]:
        """How the containers are now, in the order of their names."""
        now = asyncio.get_running_loop().time()
        rows = [one.row(now, OLD * self._interval) for one in self._watched.values()]
        return sorted(rows, key=lambda row: row.name)

    def missing(self) -> dict[str, str]:
        """The sources without containers, and why they have none."""
        return {
            group.name: self._missing.get(group, "it names no containers")
            for group in self._groups
            if not group.members
        }

    async def close(self) -> None:
        """Ends the questions that are under way."""
        for one in self._watched.values():
            one.stop()
        await self.answered(self._timeout)

    async def _settle(self, group: Group, timeout: float) -> None:
        ready, joined = asyncio.create_task(group.wait_ready(timeout=timeout)), asyncio.create_task(_joined(group))
        try:
            await asyncio.wait((ready, joined), return_when=asyncio.FIRST_COMPLETED)
            if group.members:
                await settle(group, timeout)
            else:
                await ready
        except ConnectError as error:
            self._missing[group] = in_shell_words(error)
        finally:
            ready.cancel()
            joined.cancel()
            await asyncio.gather(ready, joined, return_exceptions=True)


async def _joined(group: Group) -> None:
    """Waits until a group has members."""
    events = group.events()
    with contextlib.suppress(StopAsyncIteration):  # it is closed
        while not group.members:
            await anext(events)


class _Watched:
    """One container, and what it has told."""

    def __init__(self, handle: ComputerEngineWriter) -> None:
        self.question: asyncio.Task[None] | None = None
        self._handle = handle
        self._samples: deque[Sample] = deque(maxlen=2)
        self._trend: deque[float | None] = deque(maxlen=TREND)
        self._error: MpzmqError | None = None

    def ask(self, handle: ComputerEngineWriter, timeout: float) -> None:
        """Asks for its counters, unless the last question is still open."""
        self._handle = handle  # a link that has FAILED is made anew
        if self.question is not None and not self.question.done():
            self._trend.append(None)
        elif handle.is_running():
            self.question = asyncio.create_task(self._ask(handle, timeout))
        else:
            self._trend.append(None)

    def stop(self) -> None:
        """Ends its question."""
        if self.question is not None:
            self.question.cancel()

    def row(self, now: float, old: float) -> Row:
        """What is known of it.

        Args:
            now: the time.
            old: seconds after which numbers are not those of now.
        """
        *earlier, last = self._samples or [None]
        figures, functions, age = None, {}, None
        if last is not None:
            before = earlier[0] if earlier else None
            functions = by_function(last, before)
            figures = total(functions, rated=before is not None)
            age = now - last.at if now - last.at > old else None
        return Row(
            name=self._handle.name,
            state=str(self._handle.state),
            status=None if self._handle.status is None else str(self._handle.status),
            rtt=next((seconds for seconds in reversed(self._trend) if seconds is not None), None),
            trend=tuple(self._trend),
            figures=figures,
            functions=functions,
            age=age,
            why=self._why(),
        )

    async def _ask(self, handle: ComputerEngineWriter, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        rtt = None
        try:
            found = await handle.get_statistics(timeout=timeout, wait=False)
        except (Unsupported, Refused) as error:  # an answer, too; and what it had told before is true no more
            rtt, self._error = loop.time() - began, error
            self._samples.clear()
        except MpzmqError as error:
            self._error = error
        else:
            rtt, self._error = loop.time() - began, None
            self._samples.append(Sample(loop.time(), handle.instance, found.functions))
        self._trend.append(rtt)

    def _why(self) -> str | None:
        """Why there are no numbers, or none of now."""
        error: MpzmqError | None = self._handle.last_error
        if self._handle.is_running():
            error = self._error if not self._samples else None
        return None if error is None else f"{type(error).__name__}: {in_shell_words(error)}"
