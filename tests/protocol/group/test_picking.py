"""Whom a group asks, of those that may be asked."""

from __future__ import annotations

from collections import Counter

import pytest

from mpzmq.protocol.group.picking import FEW, MAX_LISTS, Ewma, Least, Picker, Rotation, picker
from tests.protocol.group.making import Made, made, seeded


def test_the_names_of_the_policy() -> None:
    kinds = {name: type(picker(name, seeded().random)) for name in ("least", "rotation", "ewma")}
    assert kinds == {"least": Least, "rotation": Rotation, "ewma": Ewma}


@pytest.mark.parametrize("count", [1, 2, FEW])
def test_least_is_the_one_with_the_least_to_do(count: int) -> None:
    members = list(made(count).values())
    for number, member in enumerate(members):
        member.in_flight = 10 - number
    assert Least(seeded().random).pick(members, 0.0) is members[-1]


def test_least_heeds_what_other_engines_ask() -> None:
    one, other = made(2).values()
    one.load.on_told(running=3, queued=2, own=1)
    assert one.load.others == 4
    other.in_flight = 3
    assert Least(seeded().random).pick([one, other], 0.0) is other


def test_least_heeds_weights() -> None:
    heavy, light = Made("heavy", weight=3.0), Made("light")
    picking = Least(seeded().random)
    for _ in range(400):
        picking.pick([heavy, light], 0.0).in_flight += 1
    assert 295 <= heavy.in_flight <= 305


def test_least_spreads_what_is_equal() -> None:
    members = list(made(4).values())
    picking = Least(seeded().random)
    counts = Counter(picking.pick(members, 0.0).name for _ in range(4000))
    assert len(counts) == 4 and min(counts.values()) > 800


def test_least_draws_two_of_many_and_never_takes_the_worst() -> None:
    members = list(made(50).values())
    picking = Least(seeded().random)
    picking.on_ended(members[0], 0.001, 0.0)  # requests are short
    for number, member in enumerate(members):
        member.in_flight = number
    counts = Counter(picking.pick(members, 0.0).in_flight for _ in range(5000))
    assert counts[49] == 0 and len(counts) > 40
    assert sum(counts[number] for number in range(25)) > 3500  # three of four


def test_least_looks_at_everybody_where_requests_take_long() -> None:
    """So that no member has two of them while another one is idle."""
    members = list(made(50).values())
    picking = Least(seeded().random)  # none has ended: they may be long
    for _ in range(50):
        picking.pick(members, 0.0).in_flight += 1
    assert {member.in_flight for member in members} == {1}
    picking.on_ended(members[0], 30.0, 30.0)
    for _ in range(50):
        picking.pick(members, 0.0).in_flight += 1
    assert {member.in_flight for member in members} == {2}


def test_rotation_takes_turns() -> None:
    members = list(made(3).values())
    picking = Rotation(seeded().random)
    picked = [picking.pick(members, 0.0).name for _ in range(6)]
    assert picked[:3] == picked[3:] and set(picked) == {"m0", "m1", "m2"}


@pytest.mark.parametrize("weights", [(1.0, 2.0, 5.0), (0.001, 0.002, 0.005), (100.0, 200.0, 500.0)])
def test_rotation_heeds_weights(weights: tuple[float, ...]) -> None:
    members = [Made(str(number), weight=weight) for number, weight in enumerate(weights)]
    picking = Rotation(seeded().random)
    counts = Counter(picking.pick(members, 0.0).name for _ in range(800))
    assert [round(counts[str(number)], -1) for number in range(3)] == [100, 200, 500]


def test_rotation_goes_on_when_the_heaviest_has_gone() -> None:
    heavy, *rest = Made("heavy", weight=1e9), Made("a"), Made("b")
    picking = Rotation(seeded().random)
    assert picking.pick([heavy, *rest], 0.0)
    assert {picking.pick(rest, 0.0).name for _ in range(4)} == {"a", "b"}


def test_rotation_gets_to_everybody_whatever_it_is_given() -> None:
    """Views of a group are asked in turns, and who has refused is left out of the next try."""
    a, b, c, d = made(4).values()
    for lists in ([a, b], [c, d]), ([a, b], [b, c], [c, d]), ([a, b, c, d], [a, c, d], [a, b, d]), ([a, b, c], [b, c]):
        picking = Rotation(seeded().random)
        counts = Counter(picking.pick(list(members), 0.0).name for _ in range(100) for members in lists)
        assert min(counts.values()) >= 30 and len(counts) == len({m.name for members in lists for m in members})


def test_rotation_forgets_lists_and_gets_to_everybody_all_the_same() -> None:
    members = [Made(str(number), weight=1.0 if number else 0.5) for number in range(100)]
    picking, counts = Rotation(seeded().random), Counter[str]()
    for first in range(1, 95):
        for last in range(first + 1, 99):
            counts[picking.pick([members[0], *members[first:last]], 0.0).name] += 1
    assert len(picking._turns) <= MAX_LISTS
    assert counts["0"] > 30, "the light one, too"


def test_rotations_begin_anywhere() -> None:
    """Engines that ask once, and end, would all ask the same member."""
    members = list(made(4).values())
    firsts = Counter(Rotation(seeded(number).random).pick(members, 0.0).name for number in range(200))
    assert len(firsts) == 4 and min(firsts.values()) > 20


@pytest.mark.parametrize("name", ["least", "rotation", "ewma"])
@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e300, 1.7e308])
def test_weights_of_any_size(name: str, weight: float) -> None:
    """It is their ratio that counts."""
    members = [Made(str(number), weight=weight) for number in range(3)]
    picking = picker(name, seeded().random)
    counts: Counter[str] = Counter()
    for step in range(300):
        member = picking.pick(members, step * 0.1)
        picking.on_ended(member, 0.01, step * 0.1)
        counts[member.name] += 1
    assert len(counts) == 3 and min(counts.values()) > 50


@pytest.mark.parametrize("count", [3, 30])
def test_ewma_leaves_the_slow_one_alone_and_tries_it_again(count: int) -> None:
    members = list(made(count).values())
    slow = members[0]
    picking = Ewma(seeded().random)
    counts: Counter[str] = Counter()
    for step in range(3000):
        now = step * 0.01
        member = picking.pick(members, now)
        picking.on_ended(member, 0.06 if member is slow else 0.01, now)
        counts[member.name] += 1
    assert 1 < counts[slow.name] < 3000 / count / 2


def test_ewma_remembers_a_peak_at_once_and_forgets_it_slowly() -> None:
    member = Made("a")
    picking = Ewma(seeded().random)
    picking.on_ended(member, 0.01, 0.0)
    picking.on_ended(member, 1.0, 1.0)
    assert member.latency == 1.0
    picking.on_ended(member, 0.01, 2.0)
    assert member.latency is not None and 0.8 < member.latency < 1.0
    picking.on_ended(member, 0.01, 100.0)
    assert member.latency is not None and member.latency < 0.02


def test_ewma_asks_a_new_member_once_before_it_has_told_something() -> None:
    known, new = made(2).values()
    picking = Ewma(seeded().random)
    picking.on_ended(known, 0.01, 0.0)
    assert picking.pick([known, new], 0.0) is new
    new.in_flight = 1
    assert picking.pick([known, new], 0.0) is known


def test_ewma_asks_a_new_member_though_others_keep_it_busy() -> None:
    known, new = made(2).values()
    picking = Ewma(seeded().random)
    picking.on_ended(known, 0.01, 0.0)
    new.load.on_told(running=5, queued=0, own=0)
    known.load.on_told(running=5, queued=0, own=0)
    assert picking.pick([known, new], 0.0) is new


def test_what_ends_without_a_result_makes_nobody_look_quick() -> None:
    """An error comes at once, a caller leaves, a deadline is short: a result would have taken longer."""
    member, new = made(2).values()
    picking = Ewma(seeded().random)
    picking.on_ended(member, 1.0, 0.0)
    picking.on_given_up(member, 0.001, 0.0)
    assert member.latency == 1.0
    picking.on_given_up(member, 2.0, 0.0)
    assert member.latency == 2.0, "it may make it look slow"
    assert picking.pick([member, new], 0.0) is new
    picking.on_given_up(new, 0.001, 0.0)
    assert new.latency == 1.0, "who never gives a result is as slow as the slowest that does"
    picking.on_given_up(new, 3.0, 1.0)
    assert new.latency == 3.0


def test_least_heeds_how_long_requests_take_that_are_given_up() -> None:
    members = list(made(50).values())
    picking = Least(seeded().random)
    picking.on_ended(members[0], 0.001, 0.0)
    for _ in range(50):
        picking.on_given_up(members[0], 0.0001, 0.0)
        picking.on_given_up(members[0], 30.0, 0.0)
    for _ in range(50):
        picking.pick(members, 0.0).in_flight += 1
    assert {member.in_flight for member in members} == {1}, "all are looked at"


@pytest.mark.parametrize("name", ["least", "rotation", "ewma"])
def test_there_may_be_one_only(name: str) -> None:
    picking: Picker = picker(name, seeded().random)
    member = Made("a")
    assert picking.pick([member], 0.0) is member
    picking.on_ended(member, 0.1, 1.0)
    assert picking.pick([member], 1.0) is member
