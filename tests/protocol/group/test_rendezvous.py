"""A key goes to one member, and moves only when that goes."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.protocol.group.rendezvous import MAX_DEPTH, ranked, winner, written_key
from tests.protocol.group.making import Made, made
from tests.support.waiting import scaled

KEYS = st.recursive(
    st.text() | st.binary() | st.integers() | st.uuids(), lambda keys: st.tuples(keys) | st.tuples(keys, keys)
)


@given(KEYS, KEYS)
def test_keys_are_told_apart(one: Any, other: Any) -> None:
    same = type(one) is type(other) and one == other
    assert (written_key(one) == written_key(other)) is same


@pytest.mark.parametrize("key", [1.0, True, None, [1], {"a": 1}, object(), (1, [2])])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(TypeError, match="a key is a str, bytes, int, UUID"):
        written_key(key)


def test_a_number_of_any_size_is_a_key() -> None:
    assert written_key(10**5000) != written_key(-(10**5000))


def test_a_key_is_not_nested_without_end() -> None:
    deep: Any = ()
    for _ in range(MAX_DEPTH - 1):
        deep = (deep,)
    assert written_key(deep) != written_key((deep[0], 1))
    for _ in range(3000):
        deep = (deep,)
    with pytest.raises(ValueError, match="a key is a tuple that is nested 32 deep at most"):
        written_key(deep)
    wide: Any = "x"
    for _ in range(MAX_DEPTH):
        wide = (wide, wide)  # 2 ** 32 parts
    with pytest.raises(ValueError, match="a key that is a tuple has 65536 bytes at most"):
        written_key(wide)


def test_a_long_key_is_remembered_as_a_short_one() -> None:
    keys = ["x" * 1_000_000, "x" * 1_000_001, b"x" * 1_000_000, "x" * 62, "x" * 63, "x" * 64, ("x" * 60_000,)]
    written = [written_key(key) for key in keys]
    assert len(set(written)) == len(keys) and max(map(len, written)) <= 64
    assert written == [written_key(key) for key in keys]


class Odd(str):
    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        raise OSError


class Endless(tuple):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return itertools.count()


def test_what_a_subclass_does_is_of_no_matter() -> None:
    assert written_key(Odd("x")) == written_key("x")
    assert written_key(Endless((1, 2))) == written_key((1, 2))


@given(st.integers(2, 12), st.integers(0, 11), st.lists(KEYS, max_size=30))
def test_a_key_moves_only_when_its_member_goes(count: int, gone: int, keys: list[Any]) -> None:
    members = made(count)
    gone_name = f"m{gone % count}"
    rest = [member for name, member in members.items() if name != gone_name]
    for key in map(written_key, keys):
        before = winner(members.values(), key)
        assert ranked(members.values(), key)[0] is before
        if before.name != gone_name:
            assert winner(rest, key) is before
        else:
            assert winner(rest, key) is ranked(members.values(), key)[1]


def test_keys_are_spread_by_weight() -> None:
    members = [Made("a"), Made("b"), Made("c", weight=2.0)]
    counts = Counter(winner(members, written_key(number)).name for number in range(8000))
    assert 1800 < counts["a"] < 2200 and 1800 < counts["b"] < 2200 and 3700 < counts["c"] < 4300


def test_a_name_may_be_long_and_odd() -> None:
    members = [Made("x" * 1000 + "1"), Made("x" * 1000 + "2"), Made("\udce4")]
    assert len({winner(members, written_key(number)).name for number in range(100)}) == 3


def test_another_process_comes_to_the_same() -> None:
    source = (
        "from mpzmq.protocol.group.rendezvous import winner, written_key\n"
        "from tests.protocol.group.making import made\n"
        "print([winner(made(5).values(), written_key(k)).name for k in ('a', b'a', 7, ('a', 7))])"
    )
    mine = [winner(made(5).values(), written_key(key)).name for key in ("a", b"a", 7, ("a", 7))]
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=scaled(30)
    )
    assert done.stdout.strip() == str(mine)
    assert written_key(UUID(int=5)) == b"u" + bytes(15) + b"\x05"


@pytest.mark.parametrize("unit", [5e-324, 1e-300, 1e-3, 1e300, 4e307])
def test_weights_may_be_of_any_size(unit: float) -> None:
    members = [Made("a", weight=unit), Made("b", weight=unit), Made("c", weight=4 * unit)]
    counts = Counter(winner(members, written_key(number)).name for number in range(600))
    assert 60 < counts["a"] < 140 and 60 < counts["b"] < 140 and counts["c"] > 340
