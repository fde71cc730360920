"""The promises, as checks of what an odd application was seen to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..violation import Violation
from .acts import REFUSALS
from .plan import GIVES, HANG, ITEMS, STUBBORN, TIMEOUT
from .serving import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .books import Books, Run
    from .plan import Ask

__all__ = ["violations"]

TOLERANCE = 0.05

LEFT_BEHIND = 1.0
"""Seconds for which a call waits that its own middleware has left behind."""

AT_REST = {"hangs", "hangs_after", "stubborn", "left_behind"}
"""What middleware of the worker does so that a call lasts, whatever becomes of its request."""

OWN_WORDS = {"refuses", "odd", "refuses_after"}
"""What middleware of the worker does so that the error is its own."""


def violations(books: Books) -> list[Violation]:
    """All that was broken, a kind after the other."""
    found = [Violation(kind, text) for kind, text in books.wrong]
    for check in CHECKS:
        found += [Violation(check.__name__.replace("_", "-"), text) for text in check(books)]
    return found


def _runs(books: Books, ask: Ask) -> list[Run]:
    return [run for run in books.runs if run.ask is ask]


def _slack(ask: Ask, books: Books) -> float:
    return TOLERANCE + books.blocked + (LEFT_BEHIND if "left_behind" in ask.sent_through else 0.0)


# Promise 12


def ends_once(books: Books) -> Iterator[str]:
    """Every request has ended, and only once."""
    for asked in books.asked:
        if asked.ends != 1:
            yield f"#{asked.ask.number} has ended {asked.ends} times"


def ends_by_the_deadline(books: Books) -> Iterator[str]:
    """Whatever code of the application does, unless its own side does not heed its cancellation."""
    for asked in books.asked:
        ask = asked.ask
        if asked.ended is None:
            continue
        bounds = [wait for wait in (ask.timeout, ask.cancel_after) if wait is not None]
        if not bounds:
            continue
        stubborn = STUBBORN * ask.sent_through.count("stubborn")
        if stubborn:  # what one of them has swallowed, the others do not hear
            stubborn += HANG * sum(kind in ("hangs", "hangs_after") for kind in ask.sent_through)
        if asked.ended > asked.at + min(bounds) + stubborn + _slack(ask, books):
            yield f"#{ask.number} has ended {asked.ended - asked.at:.3f} s after it was asked, and not {min(bounds)} s"


def neighbours_are_answered(books: Books) -> Iterator[str]:
    """What is not odd is answered, whatever is asked beside it."""
    if books.plan.is_calm:
        for asked in books.asked:
            if asked.ask.is_neighbour and asked.outcome != "reply":
                yield f"#{asked.ask.number} has come to {asked.outcome} {asked.text!r}"


def answers_are_those_of_the_request(books: Books) -> Iterator[str]:
    """No answer and no item of another request, none twice, and none left out."""
    for asked in books.asked:
        number, kinds = asked.ask.number, asked.ask.sent_through
        is_own = not {"itself", "returns_call", "odd"}.isdisjoint(kinds)
        if asked.outcome == "reply" and not is_own and (type(asked.value) is not list or asked.value[:1] != [number]):
            yield f"#{number} was answered with {asked.value!r:.80}"
        whole = [[number, index] for index in range(ITEMS)]
        if asked.items != whole[: len(asked.items)]:
            yield f"#{number} was given the items {asked.items!r:.80}"
        if asked.outcome == "reply" and asked.ask.function in GIVES and asked.items != whole:
            yield f"#{number} was given {len(asked.items)} items of {ITEMS}"


def what_is_heard_is_what_there_was(books: Books) -> Iterator[str]:
    """Where one thing is odd, and nothing else happens, it is certain what is heard."""
    if not books.plan.is_calm:
        return
    for asked in books.asked:
        ask = asked.ask
        if len(ask.odd) not in (1, 2) or ask.timeout != TIMEOUT or ask.cancel_after is not None or ask.hedge_after:
            continue
        expected = _expected(ask)
        if expected and asked.outcome not in expected:
            yield f"#{ask.number} with {ask.odd} has come to {asked.outcome} {asked.text!r:.120}, not {expected}"


def _expected(ask: Ask) -> set[str]:
    """Which outcomes there may be; empty: it is not that simple."""
    odd = list(ask.odd)
    if len(odd) == 2 and odd[0] == "handler:raises" and odd[1].startswith("mapping:"):
        del odd[0]
    if len(odd) != 1 or ask.function == "narrow":
        return set()
    place, kind = odd[0].split(":")
    gives = ask.function in GIVES
    if place in ("layer", "outer", "inner") and kind == "refuses":
        return {REFUSALS[ask.number % len(REFUSALS)].__name__}
    if place == "layer":
        expected = dict(LAYERS)
        if gives:
            expected |= {"left_behind": "RemoteError", "breaks_items": "RemoteError"}
        return set(expected.get(kind, "").split())
    if place == "handler" and kind == "stubborn" and ask.function == "steady":
        return {"RequestTimeout"}
    return set(PLACES[place].get(kind, "").split())


LAYERS = {
    "raises": "RemoteError",
    "raises_after": "RemoteError",
    "refuses_after": "RemoteError",
    "hangs": "RequestTimeout",
    "hangs_after": "RequestTimeout",
    "stubborn": "RequestTimeout",
    "blocks": "reply",
    "twice": "RemoteError",
    "foreign": "RemoteError",
    "itself": "RemoteError",
    "returns_call": "RemoteError",
    "unawaited": "RemoteError",
    "left_behind": "reply",
    "replaces": "reply",
    "hastens": "reply",
    "swallows": "reply",
    "cancels": "RequestCancelled",
    "shares": "reply",
    "in_a_task": "reply",
    "late": "reply RemoteError",
    "wraps": "reply",
    "breaks_items": "reply",
    "odd": "RemoteError Refused",
}
"""What a caller hears if a middleware of the container does that."""

DEPENDENCIES = {
    "raises": "RemoteError",
    "hangs": "RequestTimeout",
    "blocks": "reply",
    "raises_at_end": "RemoteError",
    "hangs_at_end": "RequestTimeout",
    "stubborn_at_end": "RequestTimeout",
    "swallows": "reply",
    "twice": "RemoteError",
    "itself": "reply",
    "odd": "reply RemoteError Refused",
    "never_yields": "RemoteError",
}

PLACES = {
    "outer": DEPENDENCIES,
    "inner": DEPENDENCIES,
    "handler": {
        "raises": "RemoteError",
        "blocks": "reply",
        "refuses": "RemoteError Refused",
        "cancels": "RequestCancelled",
        "gives_up": "RequestCancelled",
        "remote": "RemoteError",
        "shared": "RemoteError",
        "mutates": "reply",
        "hangs": "RequestTimeout",
        "stubborn": "RequestTimeout",
    },
    "mapping": {
        "raises": "RemoteError",
        "wrong": "RemoteError",
        "itself": "RemoteError",
        "hangs": "RequestTimeout",
        "cancels": "RemoteError RequestCancelled",
        "shared": "RemoteError",
        "blocks": "RemoteError",
        "odd": "RemoteError",
    },
    "progress": {
        "raises": "reply",
        "odd": "reply",
        "exits": "reply",
        "cancels": "reply",
        "cancels_caller": "cancelled reply",
        "blocks": "reply",
        "itself": "reply",
        "awaitable": "reply",
    },
    "pick": {
        "raises": "LookupError ExceptionGroup",
        "none": "ValueError",
        "itself": "ValueError",
        "foreign": "ValueError",
        "blocks": "reply",
        "awaitable": "TypeError",
        "exits": "ValueError",
    },
    "sent": {
        "raises": "LookupError ExceptionGroup",
        "raises_after": "LookupError ExceptionGroup",
        "hangs": "RequestTimeout",
        "hangs_after": "RequestTimeout",
        "blocks": "reply",
        "foreign": "TypeError",
        "twice": "RuntimeError",
        "replaces": "reply",
        "hastens": "reply",
        "swallows": "reply",
        "shares": "reply",
        "in_a_task": "reply",
        "cancels": "cancelled",
    },
}
"""What a caller hears if something does that which stands there."""


def no_means_no(books: Books) -> Iterator[str]:
    """Executed NO: no handler has run, unless it says so itself."""
    for asked in books.asked:
        ask = asked.ask
        if asked.executed != "NO" or _has_own_words(ask) or ask.handler in ("refuses", "odd"):
            continue
        if any(run.started for run in _runs(books, ask)):
            yield f"#{ask.number} has come to {asked.outcome}, NO, and its handler has run: {asked.text!r:.120}"


def yes_means_yes(books: Books) -> Iterator[str]:
    """Executed YES: code of the application has run in a container."""
    for asked in books.asked:
        if asked.executed == "YES" and not _has_own_words(asked.ask) and not _runs(books, asked.ask):
            yield f"#{asked.ask.number} has come to {asked.outcome}, YES, and nothing of it has run"


def _has_own_words(ask: Ask) -> bool:
    """Whether the error may be one that code of the caller's own side has made up."""
    return bool(set(ask.sent_through) & OWN_WORDS) or ask.pick == "odd"


def runs_once(books: Books) -> Iterator[str]:
    """What may not run twice does not."""
    for asked in books.asked:
        starts = sum(len(run.started) for run in _runs(books, asked.ask))
        if starts > 1 and not asked.ask.idempotent:
            yield f"the handler of #{asked.ask.number} was started {starts} times"
    for run in books.runs:
        if len(run.started) > 1:
            yield f"the handler of {run} was started {len(run.started)} times"


def counters_add_up(books: Books) -> Iterator[str]:
    """On every side, at every moment."""
    for what, one, other in books.sums:
        if one != other:
            yield f"{what}: {one}, and not {other}"


# Promise 13


def arguments_are_gone(books: Books) -> Iterator[str]:
    """A request that has ended holds none of its arguments."""
    for text in books.alive:
        yield f"an argument of #{text} is still there"


def dependencies_are_closed(books: Books) -> Iterator[str]:
    """All of them, and before an answer is given."""
    for made in books.dependencies:
        if made.closed is None:
            yield f"{made.name} of {made.run} was not closed"
    for asked in books.asked:
        if asked.outcome == "reply" and not asked.ask.odd and books.plan.is_calm:
            for made in books.dependencies:
                if made.run.ask is asked.ask and (made.closed or 0.0) > (asked.ended or 0.0):
                    yield f"{made.name} of {made.run} was closed behind its answer"


# Promise 14


def nobody_waits_for_what_is_gone(books: Books) -> Iterator[str]:
    """What ran in a container that was killed ends with it, lost_after seconds later."""
    unseen = 0.0
    if any(fault.kind == "partition" for fault in books.plan.faults):  # a kill behind it is only seen so late
        unseen = HEARTBEAT.down_after + HEARTBEAT.interval
    for asked in books.asked:
        ask = asked.ask
        if ask.idempotent or ask.lost_after is None or set(ask.sent_through) & AT_REST or asked.ended is None:
            continue
        for run in _runs(books, ask):
            killed_at = run.served.killed_at
            if killed_at is not None and run.at <= killed_at < asked.ended:
                late = asked.ended - killed_at - ask.lost_after
                if late > unseen + TOLERANCE + books.blocked:
                    due = f"{ask.lost_after} s after {run.served} was killed"
                    yield f"#{ask.number} has ended {late:.3f} s later than {due}"


# Promise 15


def closing_is_bounded(books: Books) -> Iterator[str]:
    """Whatever code of the application does."""
    for closing in books.closings:
        if closing.ended is None:
            yield f"{closing.what} has not ended"
        elif closing.ended - closing.at > closing.bound + TOLERANCE + books.blocked:
            yield f"{closing.what} took {closing.ended - closing.at:.3f} s, and not {closing.bound} s"


def ends_with_the_close(books: Books) -> Iterator[str]:
    """What is under way when all is closed ends with that."""
    for asked in books.asked:
        if asked.ended is None or books.closed_at is None or set(asked.ask.sent_through) & AT_REST:
            continue
        if asked.ended > books.closed_at + LEFT_BEHIND + TOLERANCE + books.blocked:
            yield f"#{asked.ask.number} has ended {asked.ended - books.closed_at:.3f} s after everything was closed"


def nobody_waits_for_what_was_left_behind(books: Books) -> Iterator[str]:
    """A middleware that does not wait for what it proceeds to has its answer told, and that is ended."""
    for asked in books.asked:
        ask = asked.ask
        others = {*ask.layers, *ask.sent_through} - {"pass", "left_behind"}
        if not books.plan.is_calm or others or "left_behind" not in ask.layers or asked.outcome != "reply":
            continue
        if ask.function == "narrow":  # it may have waited for its turn
            continue
        if asked.ended is not None and asked.ended > asked.at + 2 * LEFT_BEHIND - STUBBORN / 4 + books.blocked:
            yield f"#{ask.number} was answered {asked.ended - asked.at:.3f} s after it was asked"


def handlers_end(books: Books) -> Iterator[str]:
    """No handler goes on."""
    for run in books.runs:
        if run.started and run.ended is None:
            yield f"the handler of {run} has not ended"


def nothing_is_left(books: Books) -> Iterator[str]:
    """No task and no timer."""
    yield from books.leftovers


CHECKS = (
    ends_once,
    ends_by_the_deadline,
    neighbours_are_answered,
    answers_are_those_of_the_request,
    what_is_heard_is_what_there_was,
    no_means_no,
    yes_means_yes,
    runs_once,
    counters_add_up,
    arguments_are_gone,
    dependencies_are_closed,
    nobody_waits_for_what_is_gone,
    closing_is_bounded,
    ends_with_the_close,
    nobody_waits_for_what_was_left_behind,
    handlers_end,
    nothing_is_left,
)
