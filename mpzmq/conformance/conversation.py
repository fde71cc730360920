"""One connection, as the judge sees it: what was said on it, and what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..protocol.wire.kinds import Kind
from .checks import Violation
from .frames import LINK, Heard, UnreadableMessage, pack, read, shown
from .reassembly import UNREAD, Reassembly, in_parts
from .shapes import NAMES, shape_fault

if TYPE_CHECKING:
    from ..transport.interface import Frames

__all__ = ["Conversation"]

_SHOWN = 4


class Conversation(ABC):
    """What one peer says on one connection.

    A record that was waited for is claimed; what nobody has claimed is told where something else was expected. What is
    wrong with a message by itself ends the check that reads on.

    Args:
        of_engine: whether the peer is an engine.
        patience: seconds within which the peer has to answer.
    """

    def __init__(self, *, of_engine: bool, patience: float) -> None:
        self.patience = patience
        self.most_records = 1
        """Records that the peer may send in one message."""
        self.is_courteous = True
        """Whether PINGs are answered and parts are acknowledged without being asked for."""
        self.is_judged = True
        """Whether what is wrong with a message by itself ends the check."""
        self.records: list[Heard] = []
        """All that has come, in its order; a message in parts as if it had come in one piece."""
        self.parts: list[Heard] = []
        """The PARTs among it."""
        self.messages = 0
        """Messages that have come, behind the greeting."""
        self.size = 0
        """Their bytes."""
        self.has_ended = False
        self._of_engine = of_engine
        self._unclaimed: list[Heard] = []
        self._faults: list[str] = []
        self._news = asyncio.Event()
        self._reassembly = Reassembly()
        self._sent_pieces = 0

    # What this side says

    @abstractmethod
    def send(self, frames: Frames) -> None:
        """Sends frames as they are."""

    def say(self, record: list[Any], tag: bytes = LINK, *buffers: bytes) -> None:
        """Sends one record in a message of its own."""
        self.send(self.framed(record, tag, *buffers))

    def mention(self, record: list[Any]) -> None:
        """Says what no check has asked to be said: to whom it does not reach, it is nothing to tell."""
        with contextlib.suppress(Violation):
            self.say(record)

    async def say_large(self, record: list[Any], tag: bytes, *buffers: bytes) -> int:
        """Sends one record in parts, as TAKEN lets it; returns how many bytes its pieces have."""
        sent = 0
        for frames in in_parts(tag, record, *buffers):
            if not await self.until(lambda: self._sent_pieces - self._taken() < UNREAD, self.patience):
                unread = self._sent_pieces - self._taken()
                raise Violation(f"no TAKEN within {self.patience:g} s, of {unread:,} bytes that are unread")
            self.send(frames)
            sent += len(frames[2])
            self._sent_pieces += len(frames[2])
        return sent

    def _taken(self) -> int:
        told = self.told(Kind.TAKEN)
        return int(told[-1].record[1]) if told else 0

    @staticmethod
    def framed(record: list[Any], tag: bytes = LINK, *buffers: bytes) -> Frames:
        """One record as a message of its own."""
        return [tag, pack(record), *buffers]

    # What the peer says

    def take(self, frames: Frames) -> None:
        """A message has come."""
        try:
            heard = read(frames, self.most_records, lenient=not self.is_judged)
        except UnreadableMessage as error:
            self._faults.append(str(error))
            heard = []
        size = sum(map(len, frames))
        is_greeting = not self.messages and any(one.kind == Kind.HELLO for one in heard) and not self.records
        self.messages += not is_greeting
        self.size += 0 if is_greeting else size
        for one in heard:
            if self.is_judged and (fault := shape_fault(one, of_engine=self._of_engine)):
                self._faults.append(fault)
            else:
                self._accept(one)
        self._news.set()

    def end(self) -> None:
        """The connection has ended."""
        self.has_ended = True
        self._news.set()

    def answer(self, heard: Heard) -> bool:
        """Answers what needs no thought; returns whether that was it."""
        return False

    async def hear(self, *kinds: int, tag: bytes | None = None, seconds: float | None = None) -> Heard:
        """The next record of these kinds, under this tag if one is given, that nobody has claimed.

        Raises:
            Violation: it does not come in time, or a message before it breaks a rule.
        """
        limit = self.patience if seconds is None else seconds
        found: list[Heard] = []

        def is_there() -> bool:
            found.extend(one for one in self._unclaimed if one.kind in kinds and tag in (None, one.tag))
            return bool(found) or self.has_ended

        await self.until(is_there, limit)
        if not found:
            wanted = " or ".join(NAMES[kind] for kind in kinds)
            whose = "" if tag in (None, LINK) else f" under {tag.hex()[:8]}"
            raise Violation(f"no {wanted}{whose} within {limit:g} s; {self.what_came()}")
        self._unclaimed.remove(found[0])
        return found[0]

    async def silent(self, seconds: float, *kinds: int, tag: bytes | None = None) -> None:
        """Nothing of these kinds comes for a time, under this tag if one is given; without kinds nothing at all.

        Raises:
            Violation: it does.
        """

        def unwanted() -> list[Heard]:
            return [one for one in self._unclaimed if (not kinds or one.kind in kinds) and tag in (None, one.tag)]

        await self.until(lambda: bool(unwanted()) or self.has_ended, seconds)
        if came := unwanted():
            raise Violation("; ".join(shown(one, NAMES) for one in came[:_SHOWN]))

    async def ended(self, seconds: float | None = None) -> None:
        """The connection ends in time.

        Raises:
            Violation: it does not.
        """
        limit = self.patience if seconds is None else seconds
        await self.until(lambda: self.has_ended, limit)
        if not self.has_ended:
            raise Violation(f"the connection is still there after {limit:g} s; {self.what_came()}")

    async def until(self, condition: Any, seconds: float) -> bool:
        """Waits until a condition holds of what was said, at most for some time; returns whether it does.

        Raises:
            Violation: a message breaks a rule by itself.
        """
        end = asyncio.get_running_loop().time() + seconds
        while True:
            self.blame()
            if condition():
                return True
            left = end - asyncio.get_running_loop().time()
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                self.blame()
                return bool(condition())

    def unclaimed(self, *kinds: int) -> list[Heard]:
        """What nobody has waited for yet, of these kinds."""
        return [one for one in self._unclaimed if one.kind in kinds]

    def claim(self, heard: Heard) -> None:
        """Somebody deals with a record."""
        self._unclaimed.remove(heard)

    def blame(self) -> None:
        """Ends the check if something was wrong with a message by itself."""
        if self._faults and self.is_judged:
            raise Violation(self._faults[0])

    def told(self, *kinds: int) -> list[Heard]:
        """All records of these kinds so far, claimed or not."""
        return [one for one in self.records if one.kind in kinds]

    def what_came(self) -> str:
        """What nobody has claimed, in words."""
        end = "; the connection has ended" if self.has_ended else ""
        if self._faults:
            end = f"; what was wrong: {self._faults[0]}{end}"
        if not self._unclaimed:
            return f"nothing came{end}"
        more = f" and {len(self._unclaimed) - _SHOWN} more" if len(self._unclaimed) > _SHOWN else ""
        return f"what came: {'; '.join(shown(one, NAMES) for one in self._unclaimed[:_SHOWN])}{more}{end}"

    def _accept(self, heard: Heard) -> None:
        if heard.kind == Kind.PART:
            self._take_part(heard)
            return
        self.records.append(heard)
        if not (self.is_courteous and self.answer(heard)):
            self._unclaimed.append(heard)

    def _take_part(self, heard: Heard) -> None:
        self.parts.append(heard)
        try:
            whole = self._reassembly.add(heard)
        except UnreadableMessage as error:
            self._faults.append(str(error))
            return
        if self.is_courteous:
            self.mention([Kind.TAKEN, self._reassembly.taken])
        if whole is None:
            return
        if fault := shape_fault(whole, of_engine=self._of_engine):
            self._faults.append(fault)
        else:
            self._accept(whole)
