"""One seed: its world, what was seen in it, and the promises that were broken."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpzmq.events import LinkBusy, LinkFailed, LinkRetry, LinkUp
from mpzmq.testing.simnet.network import VirtualClockLoop

from .history import History
from .invariants import violations
from .parts import parts_of
from .schedule import make_schedule
from .violation import Violation
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .schedule import Schedule

__all__ = ["Result", "run", "trace"]

SHOWN_REDIALS = 4
"""How many redials in a row a trace shows."""


@dataclass(slots=True)
class Result:
    """What came of one seed.

    Attributes:
        reached: states that the simulation is meant to reach, and whether this one did.
    """

    schedule: Schedule
    history: History
    violations: list[Violation]
    reached: dict[str, bool] = field(default_factory=dict)


def run(seed: int) -> Result:
    """Runs one seed. Always the same comes of it."""
    schedule = make_schedule(seed)
    history = History()
    broken: list[Violation] = []
    reports: list[str] = []

    async def scene() -> None:
        nonlocal history
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reports.append(f"{context['message']}: {context.get('exception')!r}")
        )
        world = World(schedule)
        history = world.history
        await world.run()

    try:
        with parts_of(schedule.part_bytes), asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
            runner.run(scene())
    except Exception as error:  # whatever it is, it is a finding, and belongs to its seed
        broken.append(Violation("crash", f"{type(error).__name__}: {error}"))
    broken += [Violation("loop-exception", report) for report in reports]
    broken += violations(schedule, history)
    return Result(schedule, history, broken, reached(schedule, history))


def reached(schedule: Schedule, history: History) -> dict[str, bool]:
    """Which of the states worth reaching a history has reached."""
    outcomes = {issue.outcome for issue in history.issues}
    events = [heard.event for heard in history.heard]
    instances: dict[tuple[int, int, int], set[str]] = {}
    for heard in history.heard:
        if isinstance(heard.event, LinkUp):
            link = heard.worker, heard.container, heard.generation
            instances.setdefault(link, set()).add(str(heard.event.instance))
    remembered = any(
        issue.outcome == "reply" and issue.index and history.starts[issue.value[1]].at < issue.at
        for issue in history.issues
    )
    return {
        "faults": bool(history.applied),
        "link states": bool(history.changed),
        "lost_engines": bool(history.lost_engines),
        "resent": any(total.resent for total in history.totals),
        "late replies": any(total.late for total in history.totals),
        "reconnects": any(total.reconnects for total in history.totals),
        "instance changed": any(len(seen) > 1 for seen in instances.values()),
        "issued again": any(issue.index for issue in history.issues),
        "answered by an earlier start": remembered,
        "link FAILED": any(isinstance(event, LinkFailed) for event in events),
        "link BUSY": any(isinstance(event, LinkBusy) for event in events),
        "an engine crashed": "crash" in schedule.kinds,
        "orphans": any("orphan_after" in issue.text for issue in history.issues),
        "killed": any(incarnation.killed for incarnation in history.incarnations),
        "a stream goes on": any(total.resent for total in history.totals)
        and any(issue.items and issue.outcome == "reply" for issue in history.issues),
        "an upload is lost": any(start.received for start in history.starts),
        "parts": schedule.part_bytes is not None and any(i.ask.function == "large" for i in history.issues),
        "drained": any(incarnation.drain_timeout is not None for incarnation in history.incarnations),
        "cancelled": "cancelled" in outcomes,
        "a channel is left": "left" in outcomes,
        "calls answered": any(call.outcome == "reply" for call in history.calls),
        "calls ended otherwise": any(call.executed is not None for call in history.calls),
        "calls cancelled": any(noted.end == "cancelled" for noted in history.noted),
        **{
            name: name in outcomes
            for name in (
                "RequestTimeout", "ConnectionLost", "ConnectionClosed", "NotConnected", "Overloaded",
                "ContainerDraining", "ContainerStopped", "RequestCancelled", "RequestIdReused", "ValueError",
                "ProtocolError",
            )
        },
    }  # fmt: skip


def trace(result: Result) -> Iterator[str]:
    """Schedule, events and both histories, a line each, in the order of time."""
    schedule, history = result.schedule, result.history
    yield f"seed {schedule.seed}: {schedule.workers} workers, {schedule.containers} containers"
    for name in ("heartbeat", "reconnect", "engine_limits", "container_limits"):
        yield f"  {getattr(schedule, name)}"
    yield (
        f"  latency {schedule.latency}, jitter {schedule.jitter}, capacity {schedule.capacity},"
        f" {schedule.length} s of traffic, parts of {schedule.part_bytes} bytes"
    )
    lines: list[tuple[float, str]] = [(at, f"FAULT {fault}") for at, fault in history.applied]
    lines += [(at, f"JUMP  {seconds} s") for at, seconds in history.jumps]
    lines.append((history.calm_at, "CALM"))
    for incarnation in history.incarnations:
        name = f"c{incarnation.container}.{incarnation.number}"
        lines.append((incarnation.began, f"OPEN  {name}"))
        if incarnation.ended is not None:
            lines.append((incarnation.ended, f"END   {name}{' killed' if incarnation.killed else ''}"))
    for heard in history.heard:
        facts = {name: getattr(heard.event, name, None) for name in ("attempt", "attempts", "reconnected")}
        told = "".join(f" {name}={fact}" for name, fact in facts.items() if fact is not None)
        if isinstance(heard.event, LinkRetry) and heard.event.attempt > SHOWN_REDIALS:
            continue
        link = f"w{heard.worker}-c{heard.container} session {heard.generation}"
        lines.append((heard.at, f"LINK  {link}: {type(heard.event).__name__}{told} ({heard.event.reason})"))
    for issue in history.issues:
        attempt = issue.attempt
        how = f"timeout={attempt.timeout} wait={attempt.wait} idempotent={issue.ask.idempotent}"
        how += f" chosen={issue.ask.chosen} body={attempt.body} extra={issue.ask.extra}"
        lines.append((issue.at, f"ASK   {issue} {how} session {issue.generation}"))
        if issue.ended is not None:
            executed = f" executed {issue.executed}" if issue.executed is not None else ""
            value = f" from start {issue.value[1]}" if issue.value is not None else ""
            lines.append((issue.ended, f"GOT   {issue}: {issue.outcome}{executed}{value}"))
    for start in history.starts:
        lines.append((start.at, f"START {start} {start.function} body={start.body} session {start.generation}"))
        if start.ended is not None:
            lines.append((start.ended, f"DONE  {start}: {start.end}"))
    for call in history.calls:
        lines.append((call.at, f"CALL  {call} timeout={call.timeout}"))
        if call.ended is not None:
            lines.append((call.ended, f"TOLD  {call}: {call.outcome} {call.executed}"))
    for noted in history.noted:
        lines.append((noted.at, f"RUN   call {noted.call} in w{noted.worker}"))
        if noted.ended is not None:
            lines.append((noted.ended, f"RAN   call {noted.call}: {noted.end}"))
    for at, line in sorted(lines, key=lambda entry: entry[0]):
        yield f"{at:9.4f}  {line}"
    yield from (f"worker {number}: {total}" for number, total in enumerate(history.totals))
    yield from (f"VIOLATION {violation}" for violation in result.violations)
