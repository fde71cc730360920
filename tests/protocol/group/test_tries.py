"""Whether another member is asked, and what the whole has come to."""

from __future__ import annotations

import pickle
from typing import Any
from uuid import uuid4

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectionLost,
    ContainerDraining,
    ContainerStopped,
    Executed,
    InvalidArguments,
    LinkState,
    Member,
    NotConnected,
    Overloaded,
    Refused,
    RemoteError,
    RequestCancelled,
    RequestError,
    RequestTimeout,
    Unsupported,
)
from mpzmq.protocol.group.retry_budget import RetryBudget
from mpzmq.protocol.group.tries import Tries
from tests.protocol.group.making import Made

OF_THE_MEMBER = [NotConnected, Overloaded, ContainerDraining, ContainerStopped]
OF_THE_REQUEST = [InvalidArguments, Refused, Unsupported, RemoteError, RequestCancelled, RequestTimeout]


def tries_of(*, idempotent: bool = False, most: int = 3, floor: float = 10.0) -> Tries:
    return Tries(most, idempotent, RetryBudget(0.0, floor))


def shown(name: str) -> Member:
    return Member(name, "127.0.0.1:1", {}, 1.0, uuid4(), None, LinkState.ALIVE, 0, False, False)


def goes_on(tries: Tries, error: RequestError, *, left: bool = True) -> bool:
    member = Made("a")
    tries.on_error(member, shown("a"), error, left=left)
    return tries.may_go_on(error, 0.0, left=left)


@pytest.mark.parametrize("kind", OF_THE_MEMBER)
@pytest.mark.parametrize("idempotent", [False, True])
def test_another_is_asked_where_nothing_has_run(kind: type[RequestError], idempotent: bool) -> None:
    assert goes_on(tries_of(idempotent=idempotent), kind("x"))


@pytest.mark.parametrize("kind", OF_THE_MEMBER)
@pytest.mark.parametrize("executed", [Executed.UNKNOWN, Executed.YES])
def test_nobody_is_asked_where_it_may_have_run(kind: type[RequestError], executed: Executed) -> None:
    assert not goes_on(tries_of(idempotent=True), kind("x", executed=executed))


@pytest.mark.parametrize("kind", OF_THE_REQUEST)
@pytest.mark.parametrize("idempotent", [False, True])
def test_another_would_say_the_same(kind: type[RequestError], idempotent: bool) -> None:
    assert not goes_on(tries_of(idempotent=idempotent), kind("x", executed=Executed.NO))
    assert not goes_on(tries_of(idempotent=idempotent), kind("x"))


@pytest.mark.parametrize("executed", [Executed.UNKNOWN, Executed.YES])
def test_a_lost_connection(executed: Executed) -> None:
    assert goes_on(tries_of(idempotent=True), ConnectionLost("x", executed=executed))
    assert not goes_on(tries_of(), ConnectionLost("x", executed=executed))


@pytest.mark.parametrize("kind", [ConnectionLost, ConnectionClosed])
def test_what_a_lost_connection_has_not_taken_along(kind: type[ConnectionLost]) -> None:
    assert goes_on(tries_of(), kind("x", executed=Executed.NO), left=False)
    assert goes_on(tries_of(), kind("x", executed=Executed.NO))


def test_so_many_attempts() -> None:
    tries = tries_of(most=3)
    assert [goes_on(tries, Overloaded("x")) for _ in range(4)] == [True, True, False, False]
    assert not goes_on(tries_of(most=1), Overloaded("x"))


def test_what_has_not_left_costs_nothing() -> None:
    tries = tries_of(most=1, floor=0.0)
    assert all(goes_on(tries, NotConnected("x"), left=False) for _ in range(20))


def test_the_budget() -> None:
    assert not goes_on(tries_of(floor=0.0), Overloaded("x"))


@pytest.mark.parametrize(
    ("seen", "worst"),
    [
        ([Executed.NO, Executed.NO], Executed.NO),
        ([Executed.UNKNOWN, Executed.NO], Executed.UNKNOWN),
        ([Executed.YES, Executed.UNKNOWN], Executed.YES),
        ([Executed.NO, Executed.YES], Executed.YES),
    ],
)
def test_the_worst_of_all(seen: list[Executed], worst: Executed) -> None:
    tries = tries_of(idempotent=True)
    errors = [ConnectionLost(f"{number}", executed=executed) for number, executed in enumerate(seen)]
    for number, error in enumerate(errors):
        tries.on_error(Made(str(number)), shown(str(number)), error, left=True)
    whole = tries.summed_up(errors[-1])
    assert whole.executed is worst
    assert [(attempt.member.name, attempt.error) for attempt in whole.tried] == [("0", errors[0]), ("1", errors[1])]
    assert [error.executed for error in errors] == seen and errors[-1].tried == ()
    again: Any = pickle.loads(pickle.dumps(whole))
    assert [attempt.member.name for attempt in again.tried] == ["0", "1"] and again.executed is worst
