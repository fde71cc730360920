"""Members that are processes: restarted one after the other, and killed. Both sides write down what has run."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from mpzmq import ComputerEngineWorker, ConnectionLost, Endpoint, Executed, GroupPolicy, HeartbeatPolicy
from tests.support import ROOT
from tests.support.container import SPEC
from tests.support.scene import REDIAL
from tests.support.waiting import scaled, until

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq import Group
    from mpzmq.testing import ContainerFactory, ServedProcess

QUICK = HeartbeatPolicy(interval=scaled(0.3), down_after=scaled(0.9))


class Callers:
    """Callers that never stop, each call with a number of its own."""

    def __init__(self, group: Group, journal: Path, count: int, *, idempotent: bool) -> None:
        self._group = group
        self._journal = str(journal)
        self._idempotent = idempotent
        self.issued = 0
        self.replied: list[int] = []
        self.errors: list[tuple[int, Exception]] = []
        self._stopped = False
        self._tasks = [asyncio.create_task(self._call()) for _ in range(count)]

    async def _call(self) -> None:
        while not self._stopped:
            self.issued += 1
            number = self.issued
            try:
                await self._group.call("note", number, self._journal, idempotent=self._idempotent)
                self.replied.append(number)
            except Exception as error:
                self.errors.append((number, error))

    async def more(self, count: int) -> None:
        """Waits for so many more replies."""
        wanted = len(self.replied) + count
        await until(lambda: len(self.replied) >= wanted, scaled(60.0))

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


def ran(journal: Path) -> Counter[int]:
    return Counter(int(line) for line in journal.read_text("utf-8").splitlines())


async def started(container: ContainerFactory, count: int) -> list[ServedProcess]:
    return list(await asyncio.gather(*(container(SPEC, folder=ROOT) for _ in range(count))))


def named(processes: list[ServedProcess]) -> list[Endpoint]:
    return [Endpoint(process.endpoint, name=f"m{number}") for number, process in enumerate(processes)]


async def test_a_rolling_restart(mpzmq_container: ContainerFactory, tmp_path: Path) -> None:
    processes = await started(mpzmq_container, 3)
    journal = tmp_path / "journal"
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        group = await worker.group(named(processes))
        await group.wait_ready(3)
        callers = Callers(group, journal, 20, idempotent=False)
        for process in processes:
            await callers.more(40)
            await process.restart()
            await group.wait_ready(3)
        await callers.more(40)
        await callers.stop()
        statistics = group.statistics()
    assert callers.errors == []
    assert statistics.replied == statistics.issued == callers.issued
    assert ran(journal) == dict.fromkeys(range(1, callers.issued + 1), 1)


async def test_a_kill(mpzmq_container: ContainerFactory, tmp_path: Path) -> None:
    processes = await started(mpzmq_container, 3)
    journal = tmp_path / "journal"
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        group = await worker.group(named(processes), policy=GroupPolicy(lost_after=scaled(0.5)))
        await group.wait_ready(3)
        callers = Callers(group, journal, 20, idempotent=False)
        await callers.more(60)
        (victim,) = [member for member in group.members if member.name == "m1"]
        processes[1].kill()
        await until(lambda: callers.errors)
        await callers.more(60)
        await callers.stop()
    ran_once = ran(journal)
    assert max(ran_once.values()) == 1
    for number, error in callers.errors:
        assert isinstance(error, ConnectionLost)
        assert error.executed is not Executed.NO
        assert [(attempt.member.name, attempt.member.remote_id) for attempt in error.tried] == [
            ("m1", victim.remote_id)
        ]
        assert number not in callers.replied
    assert len(callers.errors) <= 20 and set(callers.replied) <= set(ran_once)


async def test_a_kill_where_twice_does_no_harm(mpzmq_container: ContainerFactory, tmp_path: Path) -> None:
    processes = await started(mpzmq_container, 3)
    journal = tmp_path / "journal"
    async with ComputerEngineWorker(reconnect=REDIAL, heartbeat=QUICK) as worker:
        group = await worker.group(named(processes), policy=GroupPolicy(lost_after=scaled(0.3)))
        await group.wait_ready(3)
        callers = Callers(group, journal, 20, idempotent=True)
        await callers.more(60)
        processes[1].kill()
        await until(lambda: group.statistics().retried)
        await callers.more(60)
        await callers.stop()
        statistics = group.statistics()
    assert callers.errors == []
    counts = ran(journal)
    assert set(counts) == set(range(1, callers.issued + 1))
    twice = sum(count > 1 for count in counts.values())
    assert twice <= statistics.retried <= 20 and max(counts.values()) <= 2
