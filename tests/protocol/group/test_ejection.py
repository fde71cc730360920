"""Who is left out for a while."""

from __future__ import annotations

import pytest

from mpzmq import (
    ConnectionClosed,
    ConnectionLost,
    ContainerDraining,
    GroupPolicy,
    InvalidArguments,
    LinkState,
    NotConnected,
    Overloaded,
    ProtocolError,
    RemoteError,
    RequestTimeout,
)
from mpzmq.protocol.group.ejection import MAX_TIMES, Ejection, speaks_of_member
from tests.protocol.group.making import Made, made


@pytest.mark.parametrize("kind", [ConnectionLost, ConnectionClosed, Overloaded, ProtocolError, RequestTimeout])
def test_what_speaks_of_the_member(kind: type[Exception]) -> None:
    assert speaks_of_member(kind("x"), left=True)


@pytest.mark.parametrize("kind", [RemoteError, InvalidArguments, ContainerDraining, NotConnected, ValueError])
def test_what_does_not(kind: type[Exception]) -> None:
    assert not speaks_of_member(kind("x"), left=True)


@pytest.mark.parametrize("kind", [Overloaded, RequestTimeout])
def test_what_never_left_says_nothing_of_the_member(kind: type[Exception]) -> None:
    assert not speaks_of_member(kind("x"), left=False)


def ejected(ejection: Ejection, member: Made, members: dict[str, Made], now: float, errors: int = 5) -> bool:
    return [ejection.on_error(member, members.values(), now) for _ in range(errors)][-1]


def test_so_many_errors_one_behind_the_other() -> None:
    members = made(4)
    one = members["m0"]
    ejection = Ejection(GroupPolicy())
    for _ in range(10):
        assert not ejected(ejection, one, members, 0.0, 4)
        ejection.on_answer(one)
    assert not ejected(ejection, one, members, 0.0, 4)
    assert ejected(ejection, one, members, 0.0, 1)
    assert one.ejected_until == 30.0


def test_it_returns_and_is_away_longer_the_next_time() -> None:
    members = made(4)
    one = members["m0"]
    ejection = Ejection(GroupPolicy(eject_for=10.0))
    now, lengths = 100.0, []
    for _ in range(15):
        assert ejected(ejection, one, members, now)
        assert one.ejected_until is not None
        assert ejection.next_return(members.values()) == one.ejected_until
        lengths.append(one.ejected_until - now)
        assert ejection.take_back(members.values(), one.ejected_until - 0.1) == []
        now = one.ejected_until
        assert ejection.take_back(members.values(), now) == [one]
        assert one.ejected_until is None and ejection.next_return(members.values()) is None
    assert lengths == [10.0 * min(times, MAX_TIMES) for times in range(1, 16)]


def test_a_member_that_does_well_is_forgiven() -> None:
    members = made(4)
    one = members["m0"]
    ejection = Ejection(GroupPolicy(eject_for=10.0))
    for now in (100.0, 110.0, 130.0):
        assert ejected(ejection, one, members, now)
        assert one.ejected_until is not None
        ejection.take_back(members.values(), one.ejected_until)
    assert one.ejections == 3
    assert ejected(ejection, one, members, one.ejected_at + 25.0)
    assert one.ejections == 2


@pytest.mark.parametrize(
    ("count", "share", "most"), [(1, 0.5, 0), (2, 0.5, 1), (3, 0.5, 1), (6, 0.5, 3), (4, 1.0, 3), (4, 0.0, 0)]
)
def test_never_more_than_the_share_and_never_the_last(count: int, share: float, most: int) -> None:
    members = made(count)
    ejection = Ejection(GroupPolicy(max_ejected=share))
    for member in members.values():
        ejected(ejection, member, members, 0.0)
    assert sum(member.ejected_until is not None for member in members.values()) == most


def test_never_the_last_that_is_well() -> None:
    members = made(3)
    members["m1"].facts.go(LinkState.DOWN)
    members["m2"].holds = 1
    assert not ejected(Ejection(GroupPolicy(max_ejected=1.0)), members["m0"], members, 0.0)


def test_who_has_left_is_not_ejected() -> None:
    members = made(3)
    one = members.pop("m0")
    assert not ejected(Ejection(GroupPolicy()), one, members, 0.0)
