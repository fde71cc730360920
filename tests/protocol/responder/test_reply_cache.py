"""The reply cache: what is kept, what is forgotten, and what is known of what was forgotten."""

from __future__ import annotations

from typing import Any

import numpy
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mpzmq.config import Limits
from mpzmq.protocol.requester.reply_acks import REPLY_COST, SPARE, max_kept
from mpzmq.protocol.responder.reply_cache import SESSIONS_FACTOR, Reply, ReplyBudget, ReplyCache
from tests.support.protocol import tag

LIMITS = Limits(reply_entries=4, reply_bytes=2000, in_flight=6)


def reply(number: int, size: int = 10, sequence: int | None = None, chosen: bytes | None = None) -> Reply:
    return Reply(tag(number), b"x" * size, (), number if sequence is None else sequence, chosen)


def cache(limits: Limits = LIMITS) -> ReplyCache:
    return ReplyCache(limits, ReplyBudget(limits))


def kept(replies: ReplyCache) -> list[int]:
    """The numbers of the replies that are there whole."""
    return [int.from_bytes(key, "big") for key in replies.entries]


def test_what_is_acknowledged_is_gone() -> None:
    replies = cache()
    for number in (1, 2, 3):
        replies.keep(reply(number))
    replies.acknowledge(1, tag(2) + tag(9))
    assert kept(replies) == [1, 3] and replies.stale_below == 1
    replies.acknowledge(4, b"")
    assert kept(replies) == [1, 3], "below the mark they go when room is wanted"
    assert replies.stale_below == 4


def test_the_mark_never_falls() -> None:
    replies = cache()
    replies.acknowledge(4, b"")
    replies.acknowledge(2, b"")
    assert replies.stale_below == 4


def test_room_is_made_by_what_cannot_come_again_first() -> None:
    replies = cache()
    replies.keep(reply(1))
    replies.keep(reply(2, chosen=b"digest"))
    replies.keep(reply(3))
    replies.acknowledge(3, b"")
    replies.keep(reply(4))
    replies.keep(reply(5))
    assert kept(replies) == [2, 3, 4, 5], "a caller who chose its id may come again whatever the mark says"


def test_the_oldest_lose_what_they_said_and_not_that_they_were_given() -> None:
    replies = cache()
    for number in range(1, 6):
        replies.keep(reply(number))
    assert kept(replies) == [2, 3, 4, 5] and list(replies.tombstones) == [tag(1)]
    stone = replies.tombstones[tag(1)]
    assert (stone.sequence, stone.body) == (1, b"")


def test_bytes_are_bounded_and_what_is_too_large_is_not_kept_at_all() -> None:
    replies = cache()
    replies.keep(reply(1, 900))
    replies.keep(reply(2, 1800))
    assert kept(replies) == [1], "it takes nothing else along"
    replies.keep(reply(3, 900))
    assert kept(replies) == [3]


def test_each_reply_counts_what_it_takes_beside_its_own() -> None:
    replies = cache(Limits(reply_bytes=10 * (REPLY_COST + 26), in_flight=100))
    for number in range(1, 11):
        replies.keep(reply(number, 10))
    assert replies.bytes == replies._room.bytes == 10 * (REPLY_COST + 26) and not replies.tombstones
    replies.keep(reply(11, 10))
    assert kept(replies) == list(range(4, 12)) and len(replies.tombstones) == 3, "an eighth goes at once"


def test_the_newest_stay_that_an_engine_counts_on_whatever_was_received_before_them() -> None:
    limits = Limits(in_flight=1000)
    assert limits.reply_entries == 1000 and max_kept(1000, 1000) == 1000 + SPARE
    replies = cache(limits)
    least = 0
    for number in range(1, 5001):
        replies.keep(reply(number))
        whole = kept(replies)
        least = min(least, len(whole)) if number > 2000 else len(whole)
        assert whole == list(range(number - len(whole) + 1, number + 1)) and len(whole) <= 1200
    assert least >= 1000 + SPARE


def test_fewer_replies_than_requests_in_flight_are_kept_if_that_was_chosen() -> None:
    assert max_kept(1000, 100) == 100 and max_kept(100, 1000) == 1000 and max_kept(10, 10) == 10 + SPARE


class Counting(dict[bytes, Reply]):
    """Replies that count how many of them are looked at one after the other."""

    looks = 0

    def values(self) -> Any:
        for one in super().values():
            self.looks += 1
            yield one


def test_looking_for_room_does_not_cost_more_the_more_is_kept() -> None:
    """An engine that names no replies, and whose mark creeps: all that is kept was looked through for each of them."""
    looks = []
    for size in (1000, 8000):
        replies = cache(Limits(in_flight=size, reply_bytes=1 << 30))
        replies.entries = entries = Counting()
        for number in range(1, 3 * size):
            replies.keep(reply(number, sequence=number))
            replies.acknowledge(max(1, number - size), b"")
        looks.append(entries.looks / size)
    assert looks[1] < 2 * looks[0], looks


def test_all_sessions_share_one_room() -> None:
    room = ReplyBudget(LIMITS)
    sessions = [ReplyCache(LIMITS, room) for _ in range(SESSIONS_FACTOR + 4)]
    for replies in sessions:
        replies.keep(reply(1, 1600))
        assert room.bytes <= SESSIONS_FACTOR * LIMITS.reply_bytes
    assert SESSIONS_FACTOR // 2 <= sum(len(kept(replies)) for replies in sessions) <= SESSIONS_FACTOR
    for replies in sessions:
        replies.clear()
    assert room.bytes == 0


def test_what_is_too_old_is_forgotten_and_known_to_be() -> None:
    replies = cache()
    for number in (1, 2, 3):
        replies.now = float(number)
        replies.keep(reply(number, sequence=10 * number))
    replies.expire(3.0)
    assert kept(replies) == [3] and replies.stale_below == 21


def test_what_is_buried_late_is_forgotten_in_its_time() -> None:
    replies = cache()
    replies.keep(reply(1, 10))
    replies.now = 100.0
    replies.keep(reply(2, 3000))
    for number in (3, 4, 5, 6):
        replies.keep(reply(number))
    assert list(replies.tombstones) == [tag(2), tag(1)]
    replies.expire(50.0)
    assert list(replies.tombstones) == [tag(2)] and replies.stale_below == 2


def test_a_session_that_ends_tells_what_nobody_has_acknowledged() -> None:
    replies = cache()
    for number in (1, 2, 3):
        replies.keep(reply(number))
    replies.acknowledge(2, tag(3))
    replies.clear()
    assert replies._room.undeliverable == 1 and not replies.entries


def test_what_the_handler_can_still_change_is_copied() -> None:
    replies = cache()
    mine = bytearray(b"abc")
    views = [memoryview(mine), memoryview(mine).toreadonly(), memoryview(b"fixed"), memoryview(b"x" * 1000)[:3]]
    one = Reply(tag(1), b"body", [b"bytes", *views], 1, None)
    replies.keep(one)
    mine[0] = 0
    assert [bytes(buffer) for buffer in one.buffers] == [b"bytes", b"abc", b"abc", b"fixed", b"xxx"]
    assert [type(buffer) for buffer in one.buffers] == [bytes, bytes, bytes, memoryview, bytes]
    array = numpy.zeros(1000, "u1")[:4]
    array.flags.writeable = False
    one = Reply(tag(2), b"body", [array.data], 2, None)
    replies.keep(one)
    assert one.buffers == [bytes(4)], "it holds an array that may be much larger"


def test_a_session_that_keeps_little_loses_nothing_to_those_that_keep_much() -> None:
    room = ReplyBudget(LIMITS)
    little = ReplyCache(LIMITS, room)
    little.keep(reply(1, 10))
    for _ in range(SESSIONS_FACTOR + 4):
        ReplyCache(LIMITS, room).keep(reply(1, 1600))
    assert kept(little) == [1]


class CacheMachine(RuleBasedStateMachine):
    """Nothing that may come again is forgotten without the cache knowing it, and the bounds hold after every step.

    The model holds what was answered and not acknowledged, in order, and nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room = ReplyBudget(LIMITS)
        self.replies = ReplyCache(LIMITS, self.room)
        self.other = ReplyCache(LIMITS, self.room)
        self.sequence = 0
        self.low_water = 0
        self.answered: dict[int, tuple[float, bool]] = {}

    @rule(size=st.sampled_from([0, 10, 300, 990, 3000]), chosen=st.booleans())
    def keep(self, size: int, chosen: bool) -> None:
        if len(self.replies) >= self.replies.max_entries:
            return  # the container refuses new work
        self.sequence += 1
        self.replies.keep(reply(self.sequence, size, chosen=b"digest" if chosen else None))
        self.answered[self.sequence] = (self.replies.now, chosen)

    @rule(size=st.sampled_from([10, 990]))
    def another_session_keeps(self, size: int) -> None:
        self.other.keep(reply(len(self.other) + 1, size))

    @rule()
    def another_session_ends(self) -> None:
        self.other.clear()

    @rule(data=st.data(), rise=st.integers(0, 3))
    def acknowledge(self, data: st.DataObject, rise: int) -> None:
        numbers = data.draw(st.sets(st.integers(1, self.sequence + 1)))
        self.low_water = min(self.low_water + rise, self.sequence + 1)
        self.replies.acknowledge(self.low_water, b"".join(map(tag, sorted(numbers))))
        for number in numbers:
            self.answered.pop(number, None)

    @rule(seconds=st.integers(0, 100))
    def pass_time(self, seconds: int) -> None:
        self.replies.now += seconds
        before = self.replies.now - 150
        self.replies.expire(before)
        self.answered = {number: facts for number, facts in self.answered.items() if facts[0] >= before}

    @invariant()
    def what_may_come_again_is_known(self) -> None:
        for number, (_, chosen) in self.answered.items():
            known = tag(number) in self.replies.entries or tag(number) in self.replies.tombstones
            # The engine will not send what is below its own mark, unless its caller issues the id again.
            assert known or (number < self.low_water and not chosen)
            assert known or number < self.replies.stale_below
        whole, tombstones = set(self.replies.entries), set(self.replies.tombstones)
        assert not whole & tombstones and {int.from_bytes(key, "big") for key in whole | tombstones} <= set(
            self.answered
        )

    @invariant()
    def the_bounds_hold(self) -> None:
        whole = self.replies.entries.values()
        assert len(whole) <= LIMITS.reply_entries
        cost = sum(one.size + REPLY_COST for one in whole)
        assert cost == self.replies.bytes <= LIMITS.reply_bytes
        others = sum(one.size + REPLY_COST for one in self.other.entries.values())
        assert self.room.bytes == cost + others <= SESSIONS_FACTOR * LIMITS.reply_bytes

    def teardown(self) -> None:
        self.replies.clear()
        self.other.clear()
        assert self.room.bytes == 0


TestCacheInAnyOrder = CacheMachine.TestCase
TestCacheInAnyOrder.settings = settings(max_examples=50, stateful_step_count=40)
