"""The promises, held against what was seen. Plain functions from a history to the violations found in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpzmq import Executed, Limits, LinkState
from mpzmq.events import LinkBusy, LinkClosed, LinkDown, LinkFailed, LinkRetry, LinkUp, StatusChanged

from . import crashes
from .odd import ODD
from .parts import UNREAD_PARTS
from .schedule import LONGEST_NAP, STREAMED
from .violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .history import Call, Heard, History, Issue, Start
    from .schedule import Schedule

__all__ = ["INVARIANTS", "violations"]

TOLERANCE = 0.05
"""Seconds by which an end may be late: deadlines are swept together, and a pass of the loop takes no virtual time."""

LARGEST = 7200
"""Bytes of the largest reply: one alone may be larger than all that may wait."""

ROUNDING = 1e-6
"""Seconds by which two times that are equal may differ."""

OWN_WORDS = {"refuses"}
"""Functions whose NO is the handler's own word."""

UNFIT = {"unfit", "unasked"}
"""Functions that are called with arguments that do not fit."""

LOSSES = {"cut", "ghost", "doom", "partition", "block", "block-worker", "slow"}
"""Faults through which a container keeps its engines' sessions."""

ENDING_WITH_THEIR_CONNECTION = {"stores", "chats"}
"""Functions whose data comes piece by piece."""

TIMELY_FAULTS = {"block", "block-worker", "slow"}
"""Faults that delay messages and lose none: no connection may be given up for them."""


@dataclass(slots=True)
class Outage:
    """A time without a container: from a loss to the next WELCOME.

    Attributes:
        spells: in which the link was DOWN, and not busy.
    """

    began: float
    spells: list[tuple[float, float]] = field(default_factory=list)

    def reaches(self, seconds: float) -> float | None:
        """When the link has been DOWN for so long; None: never."""
        for begin, end in self.spells:
            if end - begin >= seconds - ROUNDING:
                return begin + seconds
            seconds -= end - begin
        return None


class Case:
    """One history with its schedule, and the views of it that several promises need."""

    def __init__(self, schedule: Schedule, history: History) -> None:
        self.schedule = schedule
        self.history = history
        self.issues: dict[int, list[Issue]] = defaultdict(list)
        self.starts: dict[int, list[Start]] = defaultdict(list)
        for issue in history.issues:
            self.issues[issue.ask.number].append(issue)
        for start in history.starts:
            self.starts[start.number].append(start)

    def starts_of(self, issue: Issue) -> list[Start]:
        """All starts for the id of a request."""
        return self.starts.get(issue.ask.number, [])

    @property
    def has_room(self) -> bool:
        """Whether the container has room for all; else what it refused may come again, if the refusal was lost."""
        schedule = self.schedule
        limits = schedule.container_limits
        # What waits behind a change of state is counted, and may be large.
        is_wide = not schedule.changes_state or limits.queued_bytes >= limits.message_bytes
        return is_wide and limits.in_flight >= len(schedule.asks)

    @property
    def delay(self) -> float:
        """Seconds that a message takes at most, if no fault delays it."""
        return self.schedule.latency + self.schedule.jitter


def violations(schedule: Schedule, history: History) -> list[Violation]:
    """All promises that were broken."""
    case = Case(schedule, history)
    return [Violation(check.__name__.replace("_", "-"), text) for check in INVARIANTS for text in check(case)]


# Every request ends exactly once, by its deadline


def ends_by_the_deadline(case: Case) -> Iterator[str]:
    for issue in case.history.issues:
        timeout = issue.attempt.timeout
        if issue.ended is None:
            yield f"{issue} never ended"
        elif timeout is not None:
            late = issue.ended - issue.at - timeout - case.history.late_by(issue.at, issue.ended)
            if issue.ask.function in STREAMED:
                # Who sleeps between items hears of the end at the next; and of one that came before the deadline
                # behind all that had come.
                late -= issue.ask.pause * (1 if issue.outcome == "RequestTimeout" else STREAMED[issue.ask.function])
            if late > TOLERANCE:
                yield f"{issue} ended with {issue.outcome} {late:.3f} s after its deadline"


def ends_when_all_is_well(case: Case) -> Iterator[str]:
    for issue in case.history.stalled:
        yield f"{issue} had not ended {case.schedule.patience:.1f} s after the last fault"


def nothing_is_malformed(case: Case) -> Iterator[str]:
    odd = {"ProtocolError", "InvalidArguments", "RuntimeError"}
    for issue in case.history.issues:
        if issue.ask.function in UNFIT and issue.outcome == "InvalidArguments":
            continue
        if issue.outcome in odd or (issue.outcome == "ContainerStopped" and not case.schedule.changes_state):
            yield f"{issue} ended with {issue.outcome}: {issue.text}"


def answers_at_once_when_nothing_can_come(case: Case) -> Iterator[str]:
    for issue in case.history.issues:
        if issue.outcome == "NotConnected" and not issue.attempt.wait and issue.ended is not None:
            waited = issue.ended - issue.at - case.history.late_by(issue.at, issue.ended)
            # It may have been in the outbox of a link that was up; then it hears with the loss.
            if waited > TOLERANCE and not case.schedule.faults and not _may_be_given_up(case):
                yield f"{issue} waited {waited:.3f} s for a link though it must not"


# Nothing is lost in silence


def counters_add_up(case: Case) -> Iterator[str]:
    for what, at, begun, ended in case.history.sums:
        if begun != ended:
            yield f"{what} {begun}, but it should be {ended}, at {at:.3f}"
    for incarnation in case.history.incarnations:
        seen = incarnation.statistics
        if seen is not None and seen.received != seen.replied + seen.failed + seen.refused + seen.cancelled:
            yield f"c{incarnation.container}.{incarnation.number} is closed, and its counters are {seen}"


def counters_agree_with_callers(case: Case) -> Iterator[str]:
    for worker, totals in enumerate(case.history.totals):
        mine = [issue for issue in case.history.issues if issue.ask.worker == worker and issue.counted]
        replied = sum(issue.outcome == "reply" for issue in mine)
        # One that was left may have ended before that.
        cancelled = sum(issue.outcome in ("cancelled", "left") for issue in mine)
        # A caller that is cancelled in the pass in which its request ends sees the one, and the link counts the other.
        agree = (
            totals.issued == len(mine)
            and totals.in_flight == 0
            and totals.replied >= replied
            and totals.cancelled <= cancelled
            and totals.failed >= len(mine) - replied - cancelled
        )
        if not agree:
            failed = len(mine) - replied - cancelled
            yield f"w{worker} counts {totals}, its callers {len(mine)}: {replied=} {failed=} {cancelled=}"


def counters_agree_with_handlers(case: Case) -> Iterator[str]:
    for incarnation in case.history.incarnations:
        seen = incarnation.statistics
        if seen is None:
            continue
        place = incarnation.container, incarnation.number
        mine = [start for start in case.history.starts if (start.container, start.incarnation) == place]
        most = seen.replied + seen.failed + seen.cancelled + seen.refused
        if len(mine) > most:
            yield f"c{place[0]}.{place[1]} started {len(mine)} handlers, and counts {seen}"
        returned = sum(start.end == "returned" for start in mine)
        # What nobody waits for any more may have been counted as cancelled.
        if not returned - seen.cancelled - seen.failed <= seen.replied <= returned:
            yield f"c{place[0]}.{place[1]} saw {returned} handlers return, and counts {seen}"


def no_more_waits_than_may(case: Case) -> Iterator[str]:
    most = case.schedule.container_limits.total_bytes
    for what, at, waiting, told in case.history.waiting:
        if waiting > most + 3 * LARGEST:  # what was made in one pass is counted behind it
            yield f"{what}: {waiting} bytes wait for engines at {at:.3f}, and {most} may"
        if told < waiting - 3 * LARGEST:  # items of streams are counted when something may leave
            yield f"{what}: {waiting} bytes wait for engines at {at:.3f}, and it says {told}"


def odd_answers_are_heard(case: Case) -> Iterator[str]:
    """What cannot be sent, shown or judged is told as what it is, and nothing else takes its place."""
    for issue in case.history.issues:
        heard = issue.outcome, issue.error_type, issue.executed
        if issue.ask.function in ("odd", "odd_nap") and issue.outcome in ("reply", "RemoteError"):
            expected: tuple[str, str, Executed | None] = (
                "RemoteError",
                ODD[issue.ask.number % len(ODD)][1],
                Executed.YES,
            )
        elif issue.ask.function in UNFIT and issue.outcome in ("reply", "RemoteError"):
            expected = "InvalidArguments", "", Executed.NO
        elif issue.outcome == "RemoteError":
            expected = "RemoteError", "ArithmeticError" if issue.ask.function == "fails" else "", Executed.YES
        else:
            continue
        if heard != expected:
            yield f"{issue} ended with {heard}, and not with {expected}"


# At most once


def runs_at_most_once_an_instance(case: Case) -> Iterator[str]:
    for starts in case.starts.values():
        seen: dict[tuple[int, int], Start] = {}
        for start in starts:
            key = start.generation, start.incarnation
            if key in seen:
                yield f"{start} at {start.at:.3f} is the second: {seen[key]} was at {seen[key].at:.3f}"
            seen[key] = start


def runs_once_if_not_idempotent(case: Case) -> Iterator[str]:
    for number, starts in case.starts.items():
        issues = case.issues[number]
        if not issues[0].ask.idempotent and len(starts) > len(issues):
            yield f"{issues[0]} was issued {len(issues)} times, and started {len(starts)} times"


def runs_what_was_asked(case: Case) -> Iterator[str]:
    for start in case.history.starts:
        issues = case.issues.get(start.number, [])
        matching = [i for i in issues if i.generation == start.generation and i.attempt.body == start.body]
        if not any(issue.ask.container == start.container and issue.at <= start.at for issue in matching):
            yield f"{start} at {start.at:.3f}: nobody had asked for that"


def the_handler_sees_its_id(case: Case) -> Iterator[str]:
    for start in case.history.starts:
        issues = case.issues.get(start.number)
        if issues and issues[0].ask.chosen and start.request_id != issues[0].ask.id.int:
            yield f"{start} ran under the id {start.request_id:x} instead of {issues[0].ask.id.int:x}"


def nothing_is_left_in_a_context(case: Case) -> Iterator[str]:
    for start in case.history.starts:
        if start.met is not None:
            yield f"{start} at {start.at:.3f} met what {case.history.starts[start.met]} had set"


def runs_in_order(case: Case) -> Iterator[str]:
    """First starts of those that were issued once, per link and instance.

    Those of ``narrow`` among themselves, and those of ``large`` where they travel in parts, which others pass. What was
    refused in STOP comes again if a loss has taken the word of that along, behind what was issued later.
    """
    apart = ("narrow",) if case.schedule.part_bytes is None else ("narrow", "large")
    if not case.has_room:
        return
    latest: dict[tuple[int, int, int, int, str], tuple[int, Start]] = {}
    places = {issue.ask.number: place for place, issue in enumerate(case.history.issues)}
    seen: set[tuple[int, int, int]] = set()
    outages = _outages(case)
    changes_state = any(ask.function == "state" for ask in case.schedule.asks)
    for start in case.history.starts:
        once = start.number, start.generation, start.incarnation
        issues = case.issues.get(start.number, [])
        if once in seen or len(issues) != 1:
            continue
        seen.add(once)
        ask = issues[0].ask
        link = ask.worker, ask.container, start.generation
        if changes_state and any(issues[0].at < outage.began < start.at for outage in outages[link]):
            continue
        key = (
            ask.worker,
            start.generation,
            start.container,
            start.incarnation,
            ask.function if ask.function in apart else "",
        )
        place = places[start.number]
        if key in latest and latest[key][0] > place:
            yield f"{start} at {start.at:.3f} comes after {latest[key][1]}, which was issued later"
        else:
            latest[key] = place, start


def waits_for_changes_of_state(case: Case) -> Iterator[str]:
    """What was issued behind one does not start before it has ended."""
    if not case.has_room:
        return
    places = {issue.ask.number: place for place, issue in enumerate(case.history.issues)}
    changes: dict[tuple[int, int, int, int], list[Start]] = defaultdict(list)
    for start in case.history.starts:
        issues = case.issues.get(start.number, [])
        if len(issues) != 1:
            continue
        key = issues[0].ask.worker, start.generation, start.container, start.incarnation
        for change in changes[key]:
            if places[change.number] < places[start.number] and (change.ended is None or change.ended > start.at):
                yield f"{start} at {start.at:.3f} was issued behind {change}, which had not ended"
        if start.function == "state":
            changes[key].append(start)


def nothing_starts_in_stop(case: Case) -> Iterator[str]:
    """Where one engine alone changes the state, and nothing waits once it was judged."""
    if case.schedule.workers > 1:
        return
    for start in case.history.starts:
        if start.is_stopped and case.issues[start.number][0].ask.function not in ("state", "narrow"):
            yield f"{start} at {start.at:.3f}, though the container was in STOP"


def narrow_ones_run_one_by_one(case: Case) -> Iterator[str]:
    running: dict[tuple[int, int], Start] = {}
    for start in case.history.starts:
        issues = case.issues.get(start.number)
        if issues and issues[0].ask.function == "narrow":
            key = start.container, start.incarnation
            before = running.get(key)
            if before is not None and (before.ended is None or before.ended > start.at):
                yield f"{start} began at {start.at:.3f}, before {before} had ended"
            running[key] = start


def no_more_is_unanswered_than_replies_are_kept(case: Case) -> Iterator[str]:
    """All that a container has run, and its engine has no reply to, may be lost at once: it keeps so many replies."""
    kept = case.schedule.container_limits.reply_entries
    if kept >= case.schedule.container_limits.in_flight:
        return  # then a few more may be asked, to be refused
    changes: dict[tuple[int, int, int, int], list[tuple[float, int]]] = defaultdict(list)
    for issue in case.history.issues:
        if issue.ask.function in STREAMED:
            continue  # whose caller hears of the end when it reads on
        for start in case.starts_of(issue):
            facts = start.body, start.generation
            asked = [i for i in case.issues[start.number] if (i.attempt.body, i.generation) == facts]
            # One that joins an earlier one, or its start, may still wait to leave, and nobody sees when it does.
            is_its_own = asked[:1] == [issue]
            if is_its_own and issue.ended is not None and issue.at <= start.at < issue.ended:
                link = changes[issue.ask.worker, start.container, start.generation, start.incarnation]
                link += [(start.at, 1), (issue.ended, -1)]
    for (worker, container, *_), link in changes.items():
        unanswered = 0
        for at, change in sorted(link):
            unanswered += change
            if unanswered > kept:
                yield f"w{worker} has {unanswered} requests at c{container} at {at:.3f}, and {kept} replies are kept"
                break


# `executed` never lies


def no_means_no(case: Case) -> Iterator[str]:
    """The first attempt under an id says NO: nothing has run, and nothing will before it is issued again."""
    for issue in case.history.issues:
        if issue.executed is not Executed.NO or issue.ask.function in OWN_WORDS or issue.index:
            continue
        again = min((other.at for other in case.issues[issue.ask.number] if other.index), default=float("inf"))
        for start in case.starts_of(issue):
            if start.at < again:
                yield f"{issue} ended with {issue.outcome}, executed NO, but there is {start} at {start.at:.3f}"


def no_speaks_of_the_id(case: Case) -> Iterator[str]:
    """A later attempt says NO: none of those before it, of the same body and session, has run or will run."""
    for issue in case.history.issues:
        if issue.executed is not Executed.NO or issue.ask.function in OWN_WORDS or not issue.index:
            continue
        mine = (issue.attempt.body, issue.generation)
        again = [other.at for other in case.issues[issue.ask.number] if other.index > issue.index]
        for start in case.starts_of(issue):
            if (start.body, start.generation) == mine and start.at < min(again, default=float("inf")):
                yield f"{issue} ended with {issue.outcome}, executed NO, but there is {start} at {start.at:.3f}"
                break


def what_cannot_have_left_is_told_no(case: Case) -> Iterator[str]:
    """A request in more parts than may be unread has not left whole before word has come that some were read."""
    if case.schedule.part_bytes is None:
        return
    for issue in case.history.issues:
        is_long = issue.ask.function == "large" and issue.ask.extra > UNREAD_PARTS * case.schedule.part_bytes
        if not is_long or issue.index or issue.ended is None or issue.executed in (None, Executed.NO):
            continue
        if issue.ended - issue.at < 2 * case.schedule.latency - ROUNDING:
            yield f"{issue} ended with {issue.outcome}, executed {issue.executed}, before it can have left"


def yes_means_yes(case: Case) -> Iterator[str]:
    for issue in case.history.issues:
        if issue.executed is Executed.YES and issue.ended is not None:
            starts = case.starts_of(issue)
            if not any(start.at <= issue.ended for start in starts):
                yield f"{issue} ended with {issue.outcome}, executed YES, but was never started"


def a_reply_has_run(case: Case) -> Iterator[str]:
    for issue in case.history.issues:
        if issue.outcome != "reply":
            continue
        number, serial, *_ = issue.value
        start = case.history.starts[serial]
        if number != issue.ask.number or start.number != number:
            yield f"{issue} got the reply of {start}"
        elif start.body != issue.attempt.body or start.generation != issue.generation:
            yield f"{issue} got a reply to another body or session: {start}"
        elif start.end != "returned" or issue.ended is None or start.at > issue.ended:
            yield f"{issue} got a reply from {start}, which {start.end or 'has not ended'}"


# Streams, uploads, channels


def streams_have_no_gap_and_nothing_twice(case: Case) -> Iterator[str]:
    """Whatever happens to the connection: results of one run, in order; all of them, if the end is a good one."""
    for issue in case.history.issues:
        if issue.ask.function not in STREAMED:
            continue
        numbers = [number for _, number in issue.items]
        if numbers != list(range(len(numbers))) or len({serial for serial, _ in issue.items}) > 1:
            yield f"{issue} got {issue.items}"
        if issue.outcome == "reply" and issue.items and len(numbers) != STREAMED[issue.ask.function]:
            yield f"{issue} ended well after {len(numbers)} items"


def uploads_have_no_gap_and_nothing_twice(case: Case) -> Iterator[str]:
    for start in case.history.starts:
        count = STREAMED.get(start.function)
        if count is None or start.function == "yields":
            continue
        if start.items != list(range(len(start.items))):
            yield f"{start} read {start.items}"
        if start.end == "returned" and len(start.items) != count:
            yield f"{start} ended well after {len(start.items)} items"


def what_was_sent_is_handed_over(case: Case) -> Iterator[str]:
    """Before a channel is left, its function has everything that was sent."""
    for issue in case.history.issues:
        if issue.outcome != "left":
            continue
        whole = list(range(STREAMED[issue.ask.function]))
        if not any(start.items == whole for start in case.starts_of(issue)):
            yield f"{issue} was left at {issue.ended:.3f}, and {[start.items for start in case.starts_of(issue)]}"


def progress_is_true(case: Case) -> Iterator[str]:
    """What each side says of how far it got fits to what the other has seen."""
    for issue in case.history.issues:
        progress = issue.progress
        if progress is None:
            continue
        if progress.taken > progress.sent or progress.received < len(issue.items):
            yield f"{issue} tells of {progress}, and had read {len(issue.items)}"
        for start in case.starts_of(issue):
            if start.received is not None and not (
                progress.taken <= start.received <= progress.sent and len(start.items) <= start.received
            ):
                yield f"{issue} tells of {progress}, and {start} of {start.received} after reading {len(start.items)}"


# Handlers that nobody waits for


def handlers_end_by_the_deadline(case: Case) -> Iterator[str]:
    for number, starts in case.starts.items():
        issues = case.issues[number]
        timeout = issues[0].attempt.timeout
        if len(issues) > 1 or timeout is None or issues[0].ask.function == "stubborn":
            continue
        for start in starts:
            if start.ended is not None:
                took = start.ended - start.at - case.history.late_by(start.at, start.ended)
                if took > timeout + TOLERANCE:
                    yield f"{start} took {took:.3f} s, and its caller gave it {timeout} s"


def handlers_end_with_their_callers(case: Case) -> Iterator[str]:
    """Where nothing goes wrong, CANCEL and GOODBYE arrive."""
    may_fail = case.schedule.kinds - {"disconnect", "close-worker"} or _may_be_given_up(case)
    if may_fail or case.schedule.capacity < len(case.schedule.asks):
        return  # GOODBYE is best effort: a socket that is full does not take it
    for number, starts in case.starts.items():
        issues = case.issues[number]
        if len(issues) > 1 or issues[0].ask.function == "stubborn" or issues[0].ended is None:
            continue
        # The CANCEL may wait behind one message that is under way, and be behind the REQUEST.
        bound = issues[0].ended + 4 * case.delay + TOLERANCE
        if issues[0].outcome != "reply" and starts[0].ended is not None and starts[0].ended > bound:
            yield f"{starts[0]} ended {starts[0].ended - issues[0].ended:.3f} s after {issues[0]} ({issues[0].outcome})"


def handlers_end(case: Case) -> Iterator[str]:
    for start in case.history.starts:
        if start.ended is None:
            yield f"{start} never ended"


# Calls of containers to their engines


def calls_end(case: Case) -> Iterator[str]:
    """By their deadline, and with the handler that made them."""
    for call in case.history.calls:
        start = case.history.starts[call.start]
        if call.ended is None:
            yield f"{call} never ended"
            continue
        late = call.ended - call.at - case.history.late_by(call.at, call.ended)
        if call.timeout is not None and late > call.timeout + TOLERANCE:
            yield f"{call} took {late:.3f} s and had {call.timeout} s"
        if start.ended is not None and call.ended > start.ended + TOLERANCE:
            yield f"{call} ended at {call.ended:.3f}, after {start}"
        odd = call.function == "oddly"
        if call.outcome in ("ProtocolError", "Unsupported", "InvalidArguments", "reply" if odd else "RemoteError"):
            yield f"{call} ended with {call.outcome}"


def calls_end_with_their_engines(case: Case) -> Iterator[str]:
    """What has run in an engine had left: it ends when that has been away for as long as the call waits."""
    ran = {noted.call: noted.at for noted in case.history.noted}
    for call in case.history.calls:
        if call.ended is None:
            continue
        lost_engines = [a for a in case.history.lost_engines if a.engine is call.engine]
        if _is_given_up(call) and not any(
            call.lost_after is not None and call.at <= a.began + call.lost_after <= min(call.ended, a.ended) + 1e-6
            for a in lost_engines
        ):
            yield f"{call} was given up at {call.ended:.3f}, and waits for {call.lost_after} s"
        for absence in lost_engines:
            if call.lost_after is None or not ran.get(call.serial, call.ended) <= absence.began < call.ended:
                continue
            end = absence.began + call.lost_after
            if call.ended - case.history.late_by(absence.began, call.ended) > end + TOLERANCE and end < absence.ended:
                yield f"{call} ended at {call.ended:.3f}, and its engine was away from {absence.began:.3f} on"


def calls_run_at_most_once(case: Case) -> Iterator[str]:
    seen: set[int] = set()
    for noted in case.history.noted:
        if noted.call in seen:
            yield f"call {noted.call} ran again at {noted.at:.3f} in w{noted.worker}"
        seen.add(noted.call)


def calls_tell_whether_they_ran(case: Case) -> Iterator[str]:
    ran = {noted.call: noted for noted in case.history.noted}
    for call in case.history.calls:
        noted = ran.get(call.serial)
        if call.executed is Executed.NO and noted is not None:
            yield f"{call} ended with {call.outcome}, executed NO, and ran at {noted.at:.3f}"
        if call.executed is Executed.YES and (noted is None or call.ended is None or noted.at > call.ended):
            yield f"{call} ended with {call.outcome}, executed YES, and did not run"
        if call.outcome == "reply" and (noted is None or noted.end != "returned" or call.value != call.serial):
            yield f"{call} got the reply {call.value}, and {noted} had run"


def calls_run_inside_their_requests(case: Case) -> Iterator[str]:
    """They begin while the request is open in their engine, and do not outlast it."""
    for noted in case.history.noted:
        start = case.history.starts[case.history.calls[noted.call].start]
        if noted.parent != start.request_id:
            yield f"call {noted.call} ran inside {noted.parent:x} instead of {start.request_id:x}"
        issues = [i for i in case.issues[start.number] if i.at <= noted.at and i.ended is not None]
        closed = max((issue.ended for issue in issues if issue.ended is not None), default=None)
        if closed is None or noted.at > closed:
            yield f"call {noted.call} ran at {noted.at:.3f}, and {start} had no request that was open"
        elif noted.ended is None or noted.ended > closed + TOLERANCE:
            yield f"call {noted.call} ran until {noted.ended}, and its request had ended at {closed:.3f}"


# Callers of a container that is gone


def _is_given_up(issue: Issue | Call) -> bool:
    return issue.outcome == "ConnectionLost" and "which is lost_after" in issue.text


def _outages(case: Case) -> dict[tuple[int, int, int], list[Outage]]:
    """When each link was without its container, from a loss to the next WELCOME or to its end."""
    outages: dict[tuple[int, int, int], list[Outage]] = defaultdict(list)
    down_since: dict[tuple[int, int, int], float | None] = {}
    is_over: dict[tuple[int, int, int], bool] = defaultdict(lambda: True)
    for changed in case.history.changed:
        link = changed.worker, changed.container, changed.generation
        since = down_since.get(link)
        if since is not None:
            outages[link][-1].spells.append((since, changed.at))
            down_since[link] = None
        if changed.state is LinkState.DOWN:
            if is_over[link]:
                outages[link].append(Outage(changed.at))
                is_over[link] = False
            down_since[link] = changed.at
        elif changed.state is not LinkState.BUSY:
            is_over[link] = True
    return outages


def nobody_waits_longer_than_lost_after(case: Case) -> Iterator[str]:
    """What had started before a loss had left: it ends as soon as the link was DOWN for as long as it waits."""
    outages = _outages(case)
    for issue in case.history.issues:
        patience = case.schedule.lost_after(issue.ask)
        if patience is None or issue.index or issue.ended is None or issue.ask.idempotent:
            continue
        starts = [start for start in case.starts_of(issue) if start.generation == issue.generation]
        for outage in outages[issue.ask.worker, issue.ask.container, issue.generation]:
            end = outage.reaches(patience)
            had_left = any(start.at <= outage.began for start in starts)
            if end is None or not had_left or not issue.at <= outage.began < issue.ended:
                continue
            late = issue.ended - end - case.history.late_by(outage.began, issue.ended)
            if issue.ask.function in STREAMED:
                late -= issue.ask.pause * STREAMED[issue.ask.function]
            if late > TOLERANCE:
                yield f"{issue} ended {late:.3f} s after its link had been DOWN for {patience} s, at {end:.3f}"


def nobody_is_given_up_before_lost_after(case: Case) -> Iterator[str]:
    outages = _outages(case)
    for issue in case.history.issues:
        if not _is_given_up(issue) or issue.ended is None:
            continue
        patience = case.schedule.lost_after(issue.ask)
        ends = [o.reaches(patience or 0.0) for o in outages[issue.ask.worker, issue.ask.container, issue.generation]]
        if patience is None or not any(end is not None and issue.at <= end <= issue.ended + 1e-6 for end in ends):
            yield f"{issue} ended at {issue.ended:.3f} and waits for {patience} s: {issue.text}"


def handlers_end_with_what_was_given_up(case: Case) -> Iterator[str]:
    """Their container comes back, the same one, and is told."""
    if case.schedule.kinds - {"cut"} or case.schedule.capacity < len(case.schedule.asks):
        return
    ups: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for changed in case.history.changed:
        if changed.state is LinkState.ALIVE:
            ups[changed.worker, changed.container, changed.generation].append(changed.at)
    for issue in case.history.issues:
        if not _is_given_up(issue) or issue.ended is None or len(case.issues[issue.ask.number]) > 1:
            continue
        up = ups[issue.ask.worker, issue.ask.container, issue.generation]
        back = min((at for at in up if at >= issue.ended), default=None)
        if back is None or back != max(up) or issue.ask.function == "stubborn":
            continue  # what is under way is lost with the next connection, too
        for start in case.starts_of(issue):
            if start.ended is None or start.ended > back + 4 * case.delay + TOLERANCE:
                yield f"{start} went on until {start.ended}, and the link was back at {back:.3f}: {issue}"


# Links


def _links(case: Case) -> dict[tuple[int, int, int], list[Heard]]:
    links: dict[tuple[int, int, int], list[Heard]] = defaultdict(list)
    for heard in case.history.heard:
        links[heard.worker, heard.container, heard.generation].append(heard)
    return links


def redials_are_counted(case: Case) -> Iterator[str]:
    policy = case.schedule.reconnect
    most = policy.max_attempts if policy.enabled else 0
    blocked = bool(case.schedule.kinds & {"block-worker", "jump"})
    for (worker, container, _), events in _links(case).items():
        link = f"the link of w{worker} to c{container}"
        counted = 0
        was_up = False
        for heard in events:
            event = heard.event
            if isinstance(event, LinkUp):
                counted, was_up = 0, True
            elif isinstance(event, LinkRetry) and was_up:
                counted += 1
                if event.attempt != counted and not blocked:
                    yield f"{link} told of redial {event.attempt} after {counted - 1} at {heard.at:.3f}"
                if most is not None and event.attempt >= most:
                    yield f"{link} goes on after redial {event.attempt} of {most} at {heard.at:.3f}"
            elif isinstance(event, LinkFailed):
                if most is None:
                    yield f"{link} FAILED at {heard.at:.3f} ({event.reason}), and may redial for ever"
                elif event.attempts < most or (event.attempts > most and not blocked):
                    yield f"{link} FAILED after {event.attempts} redials of {most} at {heard.at:.3f}"


def a_link_ends_once(case: Case) -> Iterator[str]:
    for (worker, container, _), events in _links(case).items():
        told = [type(heard.event) for heard in events]
        ended = min(told.index(end) if end in told else len(told) for end in (LinkFailed, LinkClosed))
        if set(told[ended + 1 :]) - {LinkClosed} or told.count(LinkClosed) > 1:
            told_of = " ".join(kind.__name__ for kind in told)
            yield f"the link of w{worker} to c{container} has ended, and tells of more: {told_of}"


def a_killed_container_is_missed(case: Case) -> Iterator[str]:
    if case.schedule.kinds - {"kill", "cut", "drain", "close", "choke", "disconnect"}:
        return
    for incarnation in case.history.incarnations:
        died = incarnation.ended
        if not incarnation.killed or died is None:
            continue
        for (worker, container, _), events in _links(case).items():
            before = [heard for heard in events if heard.at <= died]
            after = [heard for heard in events if died <= heard.at <= died + case.delay + TOLERANCE]
            was_up = before and isinstance(before[-1].event, LinkUp | LinkBusy | StatusChanged)
            missed = any(isinstance(heard.event, LinkDown | LinkFailed | LinkClosed) for heard in after)
            if container == incarnation.container and was_up and not missed:
                yield f"w{worker} did not hear that c{container}.{incarnation.number} died at {died:.3f}"


def busy_is_not_down(case: Case) -> Iterator[str]:
    if case.schedule.kinds - TIMELY_FAULTS or _may_be_given_up(case):
        return
    for heard in case.history.heard:
        if isinstance(heard.event, LinkDown) and heard.at < case.history.calm_at:
            yield f"w{heard.worker} gave up c{heard.container} at {heard.at:.3f} ({heard.event.reason})"


def a_changed_instance_is_told(case: Case) -> Iterator[str]:
    ups: dict[tuple[int, int, int], list[tuple[float, str]]] = defaultdict(list)
    for heard in case.history.heard:
        if isinstance(heard.event, LinkUp):
            ups[heard.worker, heard.container, heard.generation].append((heard.at, str(heard.event.instance)))
    for issue in case.history.issues:
        if issue.outcome != "ConnectionLost" or issue.instance_changed is None or issue.ended is None:
            continue
        if "Limits.reply_" in issue.text:
            # The container's own word: it is the one that ran it, however many there were before.
            if issue.instance_changed:
                yield f"{issue} was told by the container that it is another one: {issue.text}"
            continue
        link = ups[issue.ask.worker, issue.ask.container, issue.generation]
        before = [instance for at, instance in link if at <= issue.at][-1:]
        seen = {*before, *(instance for at, instance in link if issue.at <= at <= issue.ended)}
        if issue.instance_changed is not (len(seen) > 1):
            yield f"{issue} was told instance_changed={issue.instance_changed} at {issue.ended:.3f}: {issue.text}"


# Losses and drains


def _is_patient(case: Case) -> bool:
    policy = case.schedule.reconnect
    return policy.enabled and policy.max_attempts is None


def _may_be_given_up(case: Case) -> bool:
    """Whether a container may give up the connection for which the most waits."""
    return case.schedule.container_limits.total_bytes < Limits().total_bytes


def _ended_badly(case: Case) -> Iterator[Issue]:
    """First attempts that would have waited, and ended with their connection or container."""
    for issue in case.history.issues:
        patient = issue.attempt.wait and not issue.index and issue not in case.history.stalled
        # A reply that is lost, and was beyond what the container keeps, is not given again.
        patient = patient and "its reply is not kept" not in issue.text and not _is_given_up(issue)
        if patient and issue.outcome in ("ConnectionLost", "ConnectionClosed", "NotConnected", "ContainerDraining"):
            yield issue


def a_lost_connection_loses_nothing(case: Case) -> Iterator[str]:
    """The container is the same and keeps its sessions: whatever was sent is sent again, and answered."""
    limits = case.schedule.container_limits
    if case.schedule.kinds - LOSSES or not _is_patient(case) or limits.queued_bytes < limits.message_bytes:
        return
    for issue in _ended_badly(case):
        if issue.ask.function not in ENDING_WITH_THEIR_CONNECTION:
            yield f"{issue} ended with {issue.outcome}, though the container is the same: {issue.text}"


def a_lost_container_loses_nothing_idempotent(case: Case) -> Iterator[str]:
    """What may run twice is sent to the successor."""
    if case.schedule.kinds - LOSSES - {"kill", "close", "drain"} or not _is_patient(case):
        return
    for issue in _ended_badly(case):
        if issue.ask.idempotent:
            yield f"{issue} is idempotent, and ended with {issue.outcome} at {issue.ended:.3f}: {issue.text}"


def a_drain_loses_nothing(case: Case) -> Iterator[str]:
    """Where nothing else goes wrong, what was accepted finishes, and what was not is carried to the successor."""
    if case.schedule.kinds - {"drain"} or not _is_patient(case) or _may_be_given_up(case):
        return
    drains = [i.drain_timeout for i in case.history.incarnations if i.drain_timeout is not None]
    if any(timeout < LONGEST_NAP + 1 for timeout in drains):
        return  # some of what ran may have been ended with it
    both = case.schedule.engine_limits, case.schedule.container_limits
    little_credit = any(limits.stream_items < 20 or limits.stream_bytes < 1000 for limits in both)
    for issue in _ended_badly(case):
        yield f"{issue} ended with {issue.outcome} at {issue.ended:.3f} through a drain: {issue.text}"
    for issue in case.history.issues:
        # Those that run one by one may have to wait for longer than the drain, and so may items that leave one by one.
        is_slow = issue.ask.function == "narrow" or (issue.ask.function in STREAMED and little_credit)
        if issue.outcome == "RequestCancelled" and not issue.index and not is_slow:
            yield f"{issue} was cancelled by a drain that had time: {issue.text}"


# Engines that crash


def handlers_do_not_outlive_their_engines(case: Case) -> Iterator[str]:
    yield from crashes.handlers_do_not_outlive_their_engines(case.schedule, case.history)


def nobody_is_given_up_who_is_back_in_time(case: Case) -> Iterator[str]:
    yield from crashes.nobody_is_given_up_who_is_back_in_time(case.schedule, case.history)


def engines_join_and_leave_in_turns(case: Case) -> Iterator[str]:
    yield from crashes.changes_take_turns(case.schedule, case.history)


def a_crashed_engine_has_left(case: Case) -> Iterator[str]:
    yield from crashes.who_crashed_has_left(case.schedule, case.history)


# Ends


def closing_is_bounded(case: Case) -> Iterator[str]:
    for closing in case.history.closings:
        if closing.ended is None:
            yield f"{closing.what} never ended"
            continue
        took = closing.ended - closing.at - case.history.late_by(closing.at, closing.ended)
        if took > closing.bound + 2 * TOLERANCE:
            yield f"{closing.what} took {took:.3f} s instead of {closing.bound} s"


def nothing_is_left(case: Case) -> Iterator[str]:
    yield from case.history.leftovers


INVARIANTS: list[Callable[[Case], Iterator[str]]] = [
    ends_by_the_deadline,
    ends_when_all_is_well,
    nothing_is_malformed,
    answers_at_once_when_nothing_can_come,
    counters_add_up,
    counters_agree_with_callers,
    counters_agree_with_handlers,
    no_more_waits_than_may,
    odd_answers_are_heard,
    runs_at_most_once_an_instance,
    runs_once_if_not_idempotent,
    runs_what_was_asked,
    the_handler_sees_its_id,
    nothing_is_left_in_a_context,
    runs_in_order,
    waits_for_changes_of_state,
    nothing_starts_in_stop,
    narrow_ones_run_one_by_one,
    no_more_is_unanswered_than_replies_are_kept,
    no_means_no,
    no_speaks_of_the_id,
    what_cannot_have_left_is_told_no,
    yes_means_yes,
    a_reply_has_run,
    streams_have_no_gap_and_nothing_twice,
    uploads_have_no_gap_and_nothing_twice,
    what_was_sent_is_handed_over,
    progress_is_true,
    handlers_end_by_the_deadline,
    handlers_end_with_their_callers,
    handlers_end,
    calls_end,
    calls_end_with_their_engines,
    calls_run_at_most_once,
    calls_tell_whether_they_ran,
    calls_run_inside_their_requests,
    nobody_waits_longer_than_lost_after,
    nobody_is_given_up_before_lost_after,
    handlers_end_with_what_was_given_up,
    redials_are_counted,
    a_link_ends_once,
    a_killed_container_is_missed,
    busy_is_not_down,
    a_changed_instance_is_told,
    a_lost_connection_loses_nothing,
    a_lost_container_loses_nothing_idempotent,
    a_drain_loses_nothing,
    handlers_do_not_outlive_their_engines,
    nobody_is_given_up_who_is_back_in_time,
    engines_join_and_leave_in_turns,
    a_crashed_engine_has_left,
    closing_is_bounded,
    nothing_is_left,
]
"""Every promise that is checked."""
