"""The first write of a pass leaves at once, the others together at its end."""

from __future__ import annotations

import asyncio

from mpzmq.protocol.flow.outbox import CORKED_BYTES
from mpzmq.runtime.write_coalescer import WriteCoalescer


class Writes:
    """What has been flushed, as the number of writes that waited each time."""

    def __init__(self) -> None:
        self.flushed: list[int] = []
        self.waiting = 0
        self.coalescer = WriteCoalescer(asyncio.get_running_loop(), self._flush)

    def _flush(self) -> None:
        self.flushed.append(self.waiting)
        self.waiting = 0

    def write(self, *, is_much: bool = False) -> None:
        self.waiting += 1
        self.coalescer.schedule(CORKED_BYTES if is_much else CORKED_BYTES - 1)


async def passed() -> None:
    """One pass of the event loop."""
    await asyncio.sleep(0)


async def test_a_lone_write_leaves_at_once_and_schedules_nothing() -> None:
    writes = Writes()
    writes.write()
    assert writes.flushed == [1]
    await passed()
    assert writes.flushed == [1]


async def test_those_behind_the_first_leave_together() -> None:
    writes = Writes()
    for _ in range(5):
        writes.write()
    assert writes.flushed == [1]
    await passed()
    assert writes.flushed == [1, 4]
    writes.write()
    assert writes.flushed == [1, 4, 1], "another pass"


async def test_much_is_not_kept() -> None:
    writes = Writes()
    writes.write()
    writes.write()
    writes.write(is_much=True)
    assert writes.flushed == [1, 2]


async def test_an_arrival_begins_a_new_pass_unless_something_is_kept() -> None:
    writes = Writes()
    writes.write()
    writes.coalescer.on_arrival()
    writes.write()
    assert writes.flushed == [1, 1]
    writes.write()  # kept
    writes.coalescer.on_arrival()
    writes.write()
    assert writes.flushed == [1, 1]
    await passed()
    assert writes.flushed == [1, 1, 2]


async def test_what_is_held_leaves_with_the_release() -> None:
    writes = Writes()
    was_corked = writes.coalescer.hold()
    for _ in range(3):
        writes.write()
    assert writes.flushed == []
    writes.coalescer.release(was_corked)
    assert writes.flushed == [3]
    writes.write()
    assert writes.flushed == [3, 1], "the first of what comes later"


async def test_a_hold_inside_a_pass_that_keeps_its_writes_ends_none_of_it() -> None:
    writes = Writes()
    writes.coalescer.cork()
    was_corked = writes.coalescer.hold()
    writes.write()
    writes.coalescer.release(was_corked)
    assert writes.flushed == [1]
    writes.write()
    assert writes.flushed == [1] and writes.coalescer.is_corked
    await passed()
    assert writes.flushed == [1, 1] and not writes.coalescer.is_corked
