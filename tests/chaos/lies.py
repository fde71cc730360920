"""Lies that are planted into true books, for the checker to find: one that finds none of them checks nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from .history import Request, Run

    Books = tuple[list[Request], list[Run]]

__all__ = ["LIES", "Lie", "falsify"]


class Lie(NamedTuple):
    """One way to falsify.

    Attributes:
        kind: of the violation that it is.
        tell: changes the books at a request that was answered, and at its only run.
    """

    kind: str
    tell: Callable[[Books, Request, Run], None]


def falsify(lie: str, requests: Sequence[Request], runs: Sequence[Run], dice: Random) -> tuple[Books, str]:
    """Books with one lie, and the id of the request that it is told of.

    Args:
        lie: one of :data:`LIES`.
        requests: true, and not changed.
        runs: the same.
        dice: say where.
    """
    books = [copy.copy(request) for request in requests], [copy.copy(run) for run in runs]
    by_id: dict[str, list[Run]] = {}
    for run in books[1]:
        by_id.setdefault(run.id, []).append(run)
    told = [
        request
        for request in books[0]
        if request.outcome == "replied" and request.link and request.timeout is not None and not request.idempotent
    ]
    first = sorted(run.started for run in books[1])[1]  # behind it, there is something before each
    request = dice.choice([one for one in told if by_id[one.id][0].started > first and _has_later(one, by_id, told)])
    (run,) = by_id[request.id]
    LIES[lie].tell(books, request, run)
    return books, request.id


def _has_later(request: Request, runs: dict[str, list[Run]], others: Sequence[Request]) -> bool:
    """Whether another one of its link was issued after it, and ran there, too: so that there is an order."""
    (run,) = runs[request.id]
    return any(
        other.link == request.link and other.issued > request.issued and runs[other.id][0].instance == run.instance
        for other in others
    )


def _failed(executed: str) -> Callable[[Books, Request, Run], None]:
    def tell(books: Books, request: Request, run: Run) -> None:
        request.outcome, request.error, request.executed = "failed", "ConnectionLost", executed
        if executed == "YES":
            books[1].remove(run)

    return tell


def _not_written(books: Books, request: Request, run: Run) -> None:
    books[1].remove(run)


def _not_ended(books: Books, request: Request, run: Run) -> None:
    request.ended = request.outcome = None


def _late(books: Books, request: Request, run: Run) -> None:
    assert request.timeout is not None
    request.ended = request.issued + request.timeout + 1000.0


def _again(books: Books, request: Request, run: Run) -> None:
    books[1].append(copy.copy(run))


def _elsewhere(books: Books, request: Request, run: Run) -> None:
    other = copy.copy(run)
    other.instance = "another"
    books[1].append(other)


def _wrong(books: Books, request: Request, run: Run) -> None:
    request.right = False


def _other_id(books: Books, request: Request, run: Run) -> None:
    run.id = f"not {request.id}"


def _cut_short(books: Books, request: Request, run: Run) -> None:
    run.how = None


def _too_soon(books: Books, request: Request, run: Run) -> None:
    """Acknowledged as if from the future: the run ends behind it."""
    assert request.ended is not None
    run.ended = request.ended + 0.001


def _before(books: Books, request: Request, run: Run) -> None:
    run.started = request.issued - 0.001


def _forgotten(books: Books, request: Request, run: Run) -> None:
    """Its instance is that of the first run of all, and others have run in another one in between."""
    first = min(books[1], key=lambda run: run.started)
    first.instance = run.instance = "forgotten"


def _delayed(books: Books, request: Request, run: Run) -> None:
    """As if it had started behind one that was issued after it."""
    run.started += 10_000.0


LIES = {
    "a run was not written down": Lie("acknowledged but not executed", _not_written),
    "a run did not come to its end": Lie("acknowledged but not executed", _cut_short),
    "a run is that of nobody's request": Lie("ran for nobody", _other_id),
    "a request was not written down": Lie("ran for nobody", lambda books, request, run: books[0].remove(request)),
    "it ran twice": Lie("ran twice in one instance", _again),
    "it ran in another instance, too": Lie("ran in two instances without being idempotent", _elsewhere),
    "NO, and it ran": Lie("NO, but it ran", _failed("NO")),
    "YES, and it did not run": Lie("YES, but it never ran", _failed("YES")),
    "the reply is that of another request": Lie("another answer than the function's", _wrong),
    "it did not end": Lie("never ended", _not_ended),
    "it ended late": Lie("ended after its deadline", _late),
    "it ended twice": Lie("ended twice", lambda books, request, run: books[0].append(copy.copy(request))),
    "it was acknowledged before it was executed": Lie("acknowledged but not executed", _too_soon),
    "it ran before it was issued": Lie("ran before it was issued", _before),
    "it ran in an instance that was over": Lie("ran in an instance that was over", _forgotten),
    "it started out of order": Lie("started out of order", _delayed),
}
