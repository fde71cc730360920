"""Which members may be asked."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

import pytest
from hypothesis import given, strategies

from mpzmq import LinkState, Status
from mpzmq.protocol.group.picking import Least
from mpzmq.protocol.group.pool import MAX_KEYS, WARM_FOR, Pool
from mpzmq.protocol.group.rendezvous import winner, written_key
from tests.protocol.group.making import Made, made, seeded


def pool_of(members: dict[str, Made], labels: dict[str, str] | None = None, most: int | None = None) -> Pool[Made]:
    random = seeded().random
    return Pool(members, labels or {}, Least(random), most, random)


def asked(pool: Pool[Made], now: float = 100.0, count: int = 200, key: bytes | None = None) -> set[str]:
    picked = (pool.choose(now, key) for _ in range(count))
    return {member.name for member in picked if member is not None}


def test_everybody_that_is_well() -> None:
    assert asked(pool_of(made(3))) == {"m0", "m1", "m2"}


def test_nobody_is_there() -> None:
    assert pool_of({}).choose(0.0) is None
    assert pool_of({}).choose(0.0, b"key") is None
    assert pool_of({}).able(0.0) == []


def test_who_cannot_be_asked_is_passed_over() -> None:
    members = made(7)
    for member, state in zip(
        members.values(), (LinkState.CONNECTING, LinkState.DOWN, LinkState.DRAINING), strict=False
    ):
        member.facts.go(state)
    members["m3"].facts.status = Status.STOP
    members["m4"].holds = 1
    members["m5"].ejected_until = 200.0
    assert asked(pool_of(members)) == {"m6"}


def test_a_link_that_has_changed_without_a_word_is_found_out() -> None:
    members = made(2)
    pool = pool_of(members)
    assert asked(pool) == {"m0", "m1"}
    members["m0"].facts.go(LinkState.DRAINING)
    assert asked(pool) == {"m1"}
    assert asked(pool, key=b"key") == {"m1"}
    assert [member.name for member in pool.able(100.0)] == ["m1"]


def test_who_is_busy_comes_last_and_the_ejected_behind_them() -> None:
    members = made(3)
    members["m0"].facts.go(LinkState.BUSY)
    members["m1"].ejected_until = 200.0
    pool = pool_of(members)
    assert asked(pool) == {"m2"}
    members["m2"].facts.go(LinkState.DOWN)
    pool.refresh()
    assert asked(pool) == {"m0"}
    members["m0"].facts.go(LinkState.DOWN)
    pool.refresh()
    assert asked(pool) == {"m1"}


@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize("is_cold", [False, True])
def test_whose_link_is_full_is_passed_over(most: int | None, is_cold: bool) -> None:
    members = made(4)
    members["m3"].up_since = 98.0 if is_cold else 0.0
    pool = pool_of(members, most=most)
    members["m0"].is_full = members["m1"].is_full = True
    assert asked(pool) == {"m2", "m3"}
    assert {member.name for member in pool.able(100.0)} == {"m2", "m3"}
    home = next(key for key in map(written_key, range(100)) if winner(members.values(), key).name == "m0")
    assert asked(pool, key=home) in ({"m2"}, {"m3"})
    members["m2"].is_full = True
    assert asked(pool) == {"m3"}
    members["m3"].is_full = True
    assert asked(pool) == asked(pool, key=home) == set() and pool.able(100.0) == []
    members["m0"].is_full = False
    assert asked(pool) == asked(pool, key=home) == {"m0"}


def test_who_is_full_is_passed_over() -> None:
    members = made(2)
    pool = pool_of(members, most=3)
    members["m0"].in_flight = 3
    assert asked(pool) == {"m1"}
    members["m1"].in_flight = 3
    assert pool.choose(100.0) is None


def test_who_was_asked_is_passed_over() -> None:
    members = made(2)
    pool = pool_of(members)
    assert pool.choose(0.0, None, {members["m0"]}) is members["m1"]
    assert pool.choose(0.0, None, set(members.values())) is None


def test_labels() -> None:
    members = {"a": Made("a", {"gpu": "1", "zone": "x"}), "b": Made("b", {"gpu": "0"}), "c": Made("c")}
    assert asked(pool_of(members, {"gpu": "1"})) == {"a"}
    assert asked(pool_of(members, {})) == {"a", "b", "c"}
    pool = pool_of(members, {"zone": "y"})
    assert asked(pool) == set()
    members["d"] = Made("d", {"zone": "y"})
    pool.refresh()
    assert asked(pool) == {"d"}


def test_two_links_to_one_instance_are_one_member() -> None:
    members = made(3)
    members["m1"].facts.instance = members["m0"].facts.instance
    pool = pool_of(members)
    assert [member.name for member in pool.members()] == ["m0", "m2"]
    assert asked(pool) == {"m0", "m2"}
    members["m0"].facts.go(LinkState.DOWN)
    pool.refresh()
    assert asked(pool) == {"m1", "m2"}


def test_who_came_together_is_not_warmed() -> None:
    members = made(2)
    members["m0"].up_since, members["m1"].up_since = 99.0, 99.9
    pool = pool_of(members)
    counts = Counter(member.name for _ in range(1000) if (member := pool.choose(100.0)))
    assert min(counts.values()) > 400


def test_a_new_member_is_warmed() -> None:
    members = made(2)
    members["m1"].up_since = 100.0
    pool = pool_of(members)

    def share(now: float) -> int:
        return sum(pool.choose(now) is members["m1"] for _ in range(1000))

    assert 20 < share(100.0) < 90  # a tenth of its half
    assert 200 < share(100.0 + WARM_FOR / 2) < 350
    assert 430 < share(100.0 + WARM_FOR) < 570


def test_a_cold_member_takes_what_would_wait_elsewhere() -> None:
    members = made(2)
    members["m1"].up_since = 100.0
    members["m0"].in_flight = 30
    pool = pool_of(members)
    for _ in range(3):
        picked = pool.choose(100.0)
        assert picked is members["m1"]
        picked.in_flight += 1
    assert sum(pool.choose(100.0) is members["m1"] for _ in range(200)) < 50


def test_a_cold_member_takes_it_where_there_is_nobody_else() -> None:
    members = made(2)
    members["m1"].up_since = 100.0
    pool = pool_of(members, most=1)
    assert asked(pool) == {"m0", "m1"}
    members["m0"].in_flight = 1
    assert all(pool.choose(100.0) is members["m1"] for _ in range(50))


def test_a_key_stays_and_comes_back() -> None:
    members = made(5)
    pool = pool_of(members)
    key = written_key("user 1")
    own = winner(members.values(), key)
    assert asked(pool, key=key) == {own.name}
    own.facts.go(LinkState.BUSY)
    pool.refresh()
    assert asked(pool, key=key) == {own.name}, "its cache is there"
    for trouble in ("down", "held", "ejected", "full"):
        own.facts.go(LinkState.DOWN if trouble == "down" else LinkState.ALIVE)
        own.holds = trouble == "held"
        own.ejected_until = 200.0 if trouble == "ejected" else None
        passed = {own} if trouble == "full" else set()
        pool.refresh()
        others = {member for _ in range(20) if (member := pool.choose(100.0, key, passed))}
        assert others == {winner((member for member in members.values() if member is not own), key)}, trouble
    own.ejected_until = None
    pool.refresh()
    assert asked(pool, key=key) == {own.name}


def test_keys_follow_a_weight_that_changes() -> None:
    """Whoever looks for the first time, another engine perhaps, has to come to the same."""
    members = made(3)
    pool = pool_of(members)
    keys = [b"%d" % number for number in range(100)]
    before = [pool.choose(0.0, key) for key in keys]
    members["m0"].weight = 20.0
    pool.refresh()
    after = [pool.choose(0.0, key) for key in keys]
    assert after == [pool_of(members).choose(0.0, key) for key in keys] != before


def test_keys_are_not_remembered_for_ever() -> None:
    pool = pool_of(made(2))
    for number in range(MAX_KEYS + 10):
        pool.choose(0.0, b"%d" % number)
    assert len(pool._winners) <= MAX_KEYS


@given(seed=strategies.integers(0, 10**9))
def test_a_look_at_one_is_as_good_as_a_look_at_all(seed: int) -> None:
    """Links come, go and are shared, one at a time: a pool that is told of each knows what one knows that is new."""
    random = seeded(seed)
    members = {f"m{number}": Made(f"m{number}", {"gpu": str(number % 3)}) for number in range(6)}
    labels = random.choice(({}, {"gpu": "1"}))
    pool = pool_of(members, labels)
    instances = [uuid4() for _ in range(8)]
    now = 100.0
    for _ in range(60):
        now += random.choice((0.0, 0.4, 2.0))
        member = random.choice(list(members.values()))
        member.facts.go(random.choice(list(LinkState)))
        if random.random() < 0.3:
            member.facts.instance = random.choice(instances)
        if random.random() < 0.3:
            member.up_since = now
        pool.refresh(member, now)
        fresh = pool_of(members, labels)
        passed = set(random.sample(list(members.values()), random.randrange(3)))
        assert pool.able(now, passed) == fresh.able(now, passed)
        assert pool.is_open(now) == bool(fresh.able(now))
        assert pool.members() == fresh.members()
        assert (pool.choose(now) is None) == (fresh.choose(now) is None)
        assert pool.choose(now, b"key") == fresh.choose(now, b"key")


def test_thousands_that_come_back_are_not_looked_at_thousands_of_times() -> None:
    members = made(2000)
    for member in members.values():
        member.facts.go(LinkState.DOWN)
    pool = pool_of(members)
    assert pool.choose(100.0) is None
    sorts = 0

    def counted(now: float) -> None:
        nonlocal sorts
        sorts += 1
        Pool._sort(pool, now)

    pool._sort = counted  # type: ignore[method-assign]
    for number, member in enumerate(members.values()):
        now = 100.0 + number / 1000
        member.facts.go(LinkState.ALIVE)
        member.up_since = now
        pool.refresh(member, now)
        assert pool.choose(now) is not None
    assert sorts == 0 and pool.able(110.0) == list(members.values())
