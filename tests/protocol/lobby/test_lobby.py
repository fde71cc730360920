"""Who joins, who comes again, who takes a place over, and who has left."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpzmq import Limits
from mpzmq.protocol.lobby import lobby
from mpzmq.protocol.lobby.lobby import MAX_LABELS, LobbyTable
from mpzmq.protocol.lobby.tokens import given_tokens, parse_tokens
from mpzmq.protocol.wire import join
from mpzmq.security.allow_list import User

if TYPE_CHECKING:
    from mpzmq.protocol.lobby.lobby import JoinedContainer
    from mpzmq.protocol.lobby.tokens import Tokens

A, B, C = (UUID(int=number) for number in (1, 2, 3))
ANYBODY = given_tokens("secret")
RUNNERS = given_tokens({"one": "first", "two": "second"})


class Door:
    """A table, and what one line of a test has in common with the next."""

    def __init__(
        self,
        tokens: Tokens = ANYBODY,
        *,
        rejoin_within: float = 60.0,
        max_members: int = 10,
        trust: Trusted | None = None,
    ) -> None:
        self.table = LobbyTable(rejoin_within, max_members, trust)
        self.tokens = tokens
        self.left: list[JoinedContainer] = []
        self.fault = ""
        self.now = 0.0

    def join(
        self,
        instance: UUID,
        number: int,
        route: bytes,
        *,
        token: str = "secret",
        name: str = "",
        key: str | None = None,
        **labels: str,
    ) -> JoinedContainer | None:
        record = join(instance, number, token, name, labels, Limits())
        joined, self.left, self.fault = self.table.on_join(route, record, self.tokens, self.now, self.now, key)
        return joined


def test_a_container_joins_under_its_name_with_its_labels() -> None:
    door = Door()
    joined = door.join(A, 1, b"r", name="calc", gpu="1")
    assert joined is not None
    assert (joined.name, joined.runner, joined.labels, joined.route) == ("calc", None, {"gpu": "1"}, b"r")
    assert door.table.by_route == {b"r": joined}


def test_without_a_name_it_is_called_as_its_runner_or_its_instance() -> None:
    door = Door()
    assert (unnamed := door.join(A, 1, b"r")) is not None
    assert unnamed.name == str(A)
    door = Door(RUNNERS)
    assert (named := door.join(A, 1, b"r", token="first")) is not None
    assert named.name == "one"


def test_the_newest_route_wins() -> None:
    door = Door()
    first = door.join(A, 1, b"old", name="calc")
    assert door.join(A, 2, b"new", name="calc") is first
    assert first is not None
    assert door.table.by_route == {b"new": first}
    assert first.route == b"new"


@pytest.mark.parametrize("state", ["connected", "away", "left"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_join_that_was_heard_before_is_a_replay(state: str, number: int) -> None:
    door = Door()
    member = door.join(A, 2, b"own")
    assert member is not None
    if state == "away":
        door.table.on_lost(member, 0.0)
    if state == "left":
        door.table.leave(member)
    before = dict(door.table.by_route)
    assert door.join(A, number, b"thief") is None
    assert "replay" in door.fault
    assert door.table.by_route == before
    assert door.join(A, 3, b"again") is not None


def test_a_join_that_was_refused_does_not_use_its_number_up() -> None:
    door = Door()
    assert door.join(A, 7, b"r", token="wrong") is None
    assert door.fault == "its token is wrong"
    assert door.join(A, 1, b"r") is not None


def test_a_refused_join_moves_nobody() -> None:
    door = Door(RUNNERS)
    member = door.join(A, 1, b"own", token="first", name="calc")
    for token, why in (("second", "another runner"), ("wrong", "wrong")):
        assert door.join(A, 2, b"thief", token=token) is None
        assert why in door.fault
    assert member is not None
    assert (member.route, member.number) == (b"own", 1)
    assert door.table.refused == {"its instance is that of another runner": 1, "its token is wrong": 1}


def test_a_successor_takes_the_name_of_one_that_is_away() -> None:
    door = Door()
    former = door.join(A, 1, b"a", name="calc")
    assert former is not None
    door.table.on_lost(former, 0.0)
    successor = door.join(B, 1, b"b", name="calc")
    assert successor is not None
    assert successor.name == "calc"
    assert door.left == [former]
    assert list(door.table.members) == [B]


def test_an_instance_that_came_anew_is_another_member() -> None:
    door = Door()
    former = door.join(A, 1, b"a")
    assert former is not None
    door.table.leave(former)
    anew = door.join(A, 2, b"a2")
    assert anew is not None
    door.table.leave(former)
    assert (door.table.has(former), door.table.has(anew)) == (False, True)
    door.table.on_lost(former, 0.0)  # word of it may come late
    assert door.table.next_due() == math.inf


def test_a_name_that_is_in_use_is_made_unique() -> None:
    door = Door()
    door.join(A, 1, b"a", name="calc")
    second = door.join(B, 1, b"b", name="calc")
    assert second is not None
    assert second.name == f"calc ({B})"
    assert door.left == []
    assert len(door.table.by_name) == 2


def test_a_name_that_was_foreseen_is_made_unique_too() -> None:
    door = Door()
    foreseen = door.join(A, 1, b"a", name=f"calc ({C})")
    door.join(B, 1, b"b", name="calc")
    third = door.join(C, 1, b"c", name="calc")
    assert foreseen is not None and third is not None
    assert len(door.table.by_name) == 3
    for member in (foreseen, third):
        door.table.leave(member)
    assert list(door.table.by_name) == ["calc"]


def test_another_runner_does_not_take_a_name_over() -> None:
    door = Door(RUNNERS)
    former = door.join(A, 1, b"a", token="first", name="calc")
    assert former is not None
    door.table.on_lost(former, 0.0)
    other = door.join(B, 1, b"b", token="second", name="calc")
    assert other is not None
    assert other.name == f"calc ({B})"
    assert door.left == []
    assert door.join(A, 2, b"a2", token="first") is former


def test_nobody_else_joins_a_full_lobby_and_those_that_are_in_it_come_again() -> None:
    door = Door(max_members=2)
    door.join(A, 1, b"a")
    door.join(B, 1, b"b")
    assert door.join(C, 1, b"c") is None
    assert door.fault == "2 containers have joined already"
    assert door.join(A, 2, b"a2") is not None


def test_a_version_that_is_not_spoken_and_too_many_labels_are_refused() -> None:
    door = Door()
    record: Any = join(A, 1, "secret", "", {}, Limits())
    record[1] = [7]
    assert door.table.on_join(b"r", record, ANYBODY, 0.0, 0.0)[2].startswith("it does not speak version")
    assert door.join(A, 1, b"r", **{str(number): "" for number in range(MAX_LABELS + 1)}) is None
    assert "labels" in door.fault
    assert not door.table.members


def test_an_expired_token_lets_nobody_in() -> None:
    door = Door(parse_tokens("one secret 1970-01-01T00:01:00Z"))
    door.now = 60.0
    assert door.join(A, 1, b"r") is None
    assert door.fault == "its token has expired"
    door.now = 59.0
    assert door.join(A, 1, b"r") is not None


def test_who_stays_away_is_overdue_and_who_comes_back_is_not() -> None:
    door = Door(rejoin_within=5.0)
    first, second = door.join(A, 1, b"a"), door.join(B, 1, b"b")
    assert first is not None
    assert second is not None
    assert door.table.next_due() == math.inf
    door.table.on_lost(first, 10.0)
    door.table.on_lost(second, 12.0)
    assert door.table.next_due() == 15.0
    assert door.table.overdue(14.99) == []
    assert door.table.overdue(15.0) == [first]
    door.join(A, 2, b"a2")
    assert door.table.overdue(15.0) == []
    assert door.table.next_due() == 17.0


def test_what_is_remembered_of_those_that_left_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby, "MAX_REMEMBERED", 3)
    door = Door()
    for number in range(1, 6):
        joined = door.join(UUID(int=number), 1, b"r%d" % number)
        assert joined is not None
        door.table.leave(joined)
        door.table.leave(joined)  # it has left already
    assert len(door.table._last_numbers) == 3
    assert door.join(UUID(int=5), 1, b"r") is None
    assert door.join(UUID(int=1), 1, b"r") is not None


def test_who_is_in_comes_again_with_a_token_that_has_expired_and_nobody_else_does() -> None:
    door = Door(parse_tokens("one secret 1970-01-01T00:01:00Z"))
    member = door.join(A, 1, b"a")
    assert member is not None
    door.now = 61.0
    door.table.on_lost(member, door.now)
    assert door.join(A, 2, b"a2", token="wrong") is None
    assert door.join(B, 1, b"b") is None
    assert door.join(A, 2, b"a2") is member
    door.table.leave(member)
    assert door.join(A, 3, b"a3") is None
    assert door.fault == "its token has expired"


class Trusted:
    """Keys that are trusted, in memory."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.fault = ""

    def user(self, key: str | None) -> User | None:
        return None if key is None else self.users.get(key)

    def keep(self, runner: str | None, key: str) -> str:
        if not self.fault:
            self.users[key] = User(key if runner is None else runner, key)
        return self.fault


def test_a_key_that_is_trusted_needs_no_token() -> None:
    door = Door(RUNNERS, trust=(trust := Trusted()))
    assert door.join(A, 1, b"a", token="wrong", key="KEY") is None
    assert not trust.users
    assert (first := door.join(A, 1, b"a", token="first", key="KEY")) is not None
    assert (first.runner, first.key) == ("one", "KEY")
    assert door.join(A, 2, b"a2", token="", key="KEY") is first
    assert (second := door.join(B, 1, b"b", token="", key="KEY")) is not None
    assert second.runner == "one"


def test_an_instance_is_resumed_by_its_key_only() -> None:
    door = Door(trust=Trusted())
    first = door.join(A, 1, b"a", key="KEY", name="calc")
    assert first is not None
    assert door.join(A, 2, b"thief", key="OTHER") is None
    assert "another" in door.fault
    assert first.route == b"a"
    door.table.on_lost(first, 0.0)
    other = door.join(B, 1, b"b", key="OTHER", name="calc")
    assert other is not None
    assert (other.name, door.left) == (f"calc ({B})", [])  # nor is its name taken over


def test_nothing_is_kept_of_who_is_refused_and_who_cannot_be_kept_is_refused() -> None:
    door = Door(trust=(trust := Trusted()), max_members=1)
    trust.fault = "its key cannot be kept"
    assert door.join(A, 1, b"a", key="KEY") is None
    assert door.fault == trust.fault
    trust.fault = ""
    assert door.join(A, 1, b"a", key="KEY") is not None
    assert door.join(B, 1, b"b", key="OTHER") is None
    assert list(trust.users) == ["KEY"]


def test_who_is_trusted_no_more_is_told_apart_and_does_not_come_again_with_an_expired_token() -> None:
    door = Door(parse_tokens("one secret 1970-01-01T00:01:00Z"), trust=(trust := Trusted()))
    first = door.join(A, 1, b"a", key="KEY")
    assert door.table.distrusted() == []
    trust.users.clear()
    assert door.table.distrusted() == [first]
    door.now = 61.0
    assert door.join(A, 2, b"a2", key="KEY") is None
    assert door.fault == "its token has expired"


NAMES = st.sampled_from(["", "calc", "other"])
NUMBERS = st.integers(0, 6)
TOKENS = st.sampled_from(["first", "second", "wrong"])
INSTANCES = st.integers(1, 5).map(lambda number: UUID(int=number))


class Comings(RuleBasedStateMachine):
    """Containers come, are lost, come again and leave; all indexes of the table say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Door(RUNNERS, rejoin_within=5.0, max_members=3)
        self.routes = 0
        self.heard: dict[UUID, int] = {}

    @rule(instance=INSTANCES, number=NUMBERS, token=TOKENS, name=NAMES)
    def come(self, instance: UUID, number: int, token: str, name: str) -> None:
        self.routes += 1
        route = b"%d" % self.routes
        before = dict(self.door.table.members)
        joined = self.door.join(instance, number, route, token=token, name=name)
        if joined is None:
            assert self.door.fault
            assert self.door.table.members == before
            return
        assert token != "wrong"
        assert number > self.heard.get(instance, -1)
        assert joined.runner == {"first": "one", "second": "two"}[token]
        assert joined.route == route
        for left in self.door.left:
            assert left.route is None
            assert left.runner == joined.runner
        self.heard[instance] = number

    @precondition(lambda self: self.door.table.members)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.door.table.on_lost(data.draw(st.sampled_from(list(self.door.table.members.values()))), self.door.now)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.door.now += seconds
        table = self.door.table
        overdue = table.overdue(self.door.now)
        assert bool(overdue) == (table.next_due() <= self.door.now)
        for member in overdue:
            assert member.route is None
            table.leave(member)

    @invariant()
    def agree(self) -> None:
        table = self.door.table
        members = list(table.members.values())
        assert {member.name: member for member in members} == table.by_name
        assert {member.route: member for member in members if member.route is not None} == table.by_route
        assert all(table.members[member.instance] is member for member in members)
        assert len(members) <= 3
        assert all((member.route is None) == (member.away_since < math.inf) for member in members)
        assert table.next_due() == min((member.away_since for member in members), default=math.inf) + 5.0


TestComings = Comings.TestCase
TestComings.settings = settings(max_examples=40, stateful_step_count=25)
