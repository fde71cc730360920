"""Engines that end without a word, and what containers make of it: drawn, and held against the promises."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .history import EngineChange, History
    from .schedule import Ask, Fault, Schedule

__all__ = [
    "ENDLESS",
    "changes_take_turns",
    "crash_of",
    "handlers_do_not_outlive_their_engines",
    "is_late",
    "known_at",
    "nobody_is_given_up_who_is_back_in_time",
    "orphan_after",
    "settled_at",
    "who_crashed_has_left",
    "with_crash",
]

ENDLESS = 1000.0
"""Seconds that some naps of an engine take that will crash: only its end ends them."""

LATE = 2.0
"""Seconds that a change of the run state takes, for which an engine that crashes has a request waiting."""

TOLD = 0.2
"""Seconds within which an end that can be seen is known: it is told late, and messages are taken a little longer."""

TOLERANCE = 0.05


def crash_of(seed: int, workers: int, length: float) -> tuple[int, float, bool] | None:
    """Which engine ends, when, and whether its connections break; None: none. Of a chance of its own, as the parts."""
    chance = random.Random(f"{seed} crashes")
    if chance.random() > 0.2:
        return None
    return chance.randrange(workers), chance.random() * length, chance.random() < 0.6


def orphan_after(seed: int) -> float | None:
    """Of the containers."""
    return random.Random(f"{seed} orphans").choice((None, 30.0, 30.0, 1.0, 0.3, 0.1))


def with_crash(seed: int, asks: Iterable[Ask], crash: tuple[int, float, bool] | None) -> Iterable[Ask]:
    """What an engine that crashes asks in place of something else, and besides."""
    return asks if crash is None else _with_late(seed, _with_endless(seed, asks, crash[0]), crash)


def _with_endless(seed: int, asks: Iterable[Ask], worker: int) -> Iterator[Ask]:
    """Some naps of an engine that crashes do not end by themselves."""
    chance = random.Random(f"{seed} endless")
    for ask in asks:
        if ask.worker == worker and ask.function == "nap" and chance.random() < 0.5:
            yield dataclasses.replace(ask, extra=ENDLESS)
        else:
            yield ask


def is_late(seed: int, crash: tuple[int, float, bool] | None) -> bool:
    """Whether a request of the engine that crashes begins when the engine has been away for long.

    It stands behind a change of the run state. Only functions have an ``orphan_after`` then: before a request has been
    judged, none is its own.
    """
    return crash is not None and random.Random(f"{seed} late").random() < 0.35


def _with_late(seed: int, asks: Iterable[Ask], crash: tuple[int, float, bool]) -> Iterator[Ask]:
    """A change of the run state takes from before the crash until long after it; an endless nap stands behind it."""
    asks = list(asks)
    yield from asks
    if not is_late(seed, crash):
        return
    worker, at, _ = crash
    first = len(asks) + (len(asks) % 3 == 0)  # a number that makes it RUNNING
    attempt = dataclasses.replace(
        asks[0].attempts[0], delay=max(0.0, at - 0.1), body=0, timeout=None, cancel_after=None, wait=True
    )
    plain = dataclasses.replace(
        asks[0], worker=worker, container=0, idempotent=False, chosen=False, attempts=(attempt,)
    )
    yield dataclasses.replace(plain, number=first, function="state", extra=LATE)
    yield dataclasses.replace(plain, number=first + 1, function="nap", extra=ENDLESS)


def known_at(schedule: Schedule, fault: Fault) -> float:
    """When every container knows at the latest that an engine has crashed, if it is not held up itself."""
    if fault.inward and schedule.kinds == {"crash"}:  # it can be seen, and nothing stands in the way of that
        return fault.at + schedule.latency + schedule.jitter + TOLD
    # Each connection is given up by down_after, and an interval that is as long for a container.
    return fault.at + 2 * schedule.heartbeat.down_after + TOLD


def settled_at(schedule: Schedule, history: History) -> float:
    """When nothing runs any more for an engine that has crashed, counted from the begin of the traffic."""
    known = max(known_at(schedule, fault) for fault in schedule.faults if fault.kind == "crash")
    waited = LATE if schedule.orphans_by_function else 0.0
    after = schedule.orphan_after or 0.0
    return known + _held_up(schedule, history) + waited + after + schedule.heartbeat.interval


def _held_up(schedule: Schedule, history: History) -> float:
    """Seconds for which a container may not have heard what it could have, or the clock stood still."""
    blocked = sum(fault.amount for fault in schedule.faults if fault.kind in ("block", "partition"))
    slow = sum(fault.amount / 4 + fault.lasts for fault in schedule.faults if fault.kind in ("slow", "ghost"))
    return blocked + slow + sum(seconds for _, seconds in history.jumps)


def handlers_do_not_outlive_their_engines(schedule: Schedule, history: History) -> Iterator[str]:
    """None runs for longer than ``orphan_after`` after its engine is known to be gone."""
    after = schedule.orphan_after
    if after is None:
        return
    asks = {ask.number: ask for ask in schedule.asks}
    without = {"stubborn", "state"} if schedule.orphans_by_function else {"stubborn"}
    for at, fault in history.applied:
        if fault.kind != "crash":
            continue
        due = at - fault.at + known_at(schedule, fault) + _held_up(schedule, history) + after
        for start in history.starts:
            ask = asks[start.number]
            if ask.worker != fault.worker or ask.function in without or start.ended is None:
                continue
            # One that was begun later still, since its request was read late, is found at the next look.
            latest = max(due, start.at + schedule.heartbeat.interval) + TOLERANCE
            if start.ended > latest:
                yield f"{start} ended at {start.ended:.3f}, due by {latest:.3f}: its engine crashed at {at:.3f}"


def nobody_is_given_up_who_is_back_in_time(schedule: Schedule, history: History) -> Iterator[str]:
    """What was cancelled for the absence of its engine was when the container had missed that for so long, and did."""
    after = schedule.orphan_after
    for issue in history.issues:
        if "orphan_after" not in issue.text or issue.ended is None:
            continue
        assert after is not None
        sessions = history.sessions[issue.ask.worker]
        lost_engines = [absence for absence in history.lost_engines if absence.engine.session[1].int in sessions]
        ends = [s.ended for s in history.starts if s.number == issue.ask.number and s.end == "cancelled" and s.ended]
        if ends:
            due = any(a.began + after - TOLERANCE <= end <= a.ended + TOLERANCE for a in lost_engines for end in ends)
        else:  # it waited for its turn
            due = any(a.began + after - TOLERANCE <= issue.ended for a in lost_engines)
        if not due:
            yield f"{issue} was cancelled for an absence of {after} s of its engine, which was there"


def _sessions(history: History) -> dict[tuple[int, int, int], list[EngineChange]]:
    sessions: dict[tuple[int, int, int], list[EngineChange]] = defaultdict(list)
    for change in history.engine_changes:
        sessions[change.container, change.incarnation, change.session].append(change)
    return sessions


def changes_take_turns(schedule: Schedule, history: History) -> Iterator[str]:
    """An engine joins, and then leaves, in turns; and when its container has closed, it has left."""
    killed = {(i.container, i.number) for i in history.incarnations if i.killed}
    for (container, incarnation, session), changes in _sessions(history).items():
        told = [change.joined for change in changes]
        if told != [place % 2 == 0 for place in range(len(told))]:
            yield f"c{container}.{incarnation} was told of session {session:x}: joined {told}"
        elif len(told) % 2 and (container, incarnation) not in killed:
            yield f"c{container}.{incarnation} was not told that session {session:x} has left"


def who_crashed_has_left(schedule: Schedule, history: History) -> Iterator[str]:
    """As soon as that can be known."""
    for at, fault in history.applied:
        if fault.kind != "crash":
            continue
        due = at - fault.at + known_at(schedule, fault) + _held_up(schedule, history) + TOLERANCE
        for (container, incarnation, session), changes in _sessions(history).items():
            if session not in history.sessions[fault.worker] or due > history.closed_at:
                continue
            before = [change for change in changes if change.at <= due]
            if before and before[-1].joined:
                yield f"c{container}.{incarnation} did not hear by {due:.3f} that w{fault.worker} crashed at {at:.3f}"
