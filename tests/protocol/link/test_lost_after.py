"""What has left does not wait for ever for a container that is away: ``lost_after``, in virtual time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from mpzmq import errors
from mpzmq.config import ReconnectPolicy
from mpzmq.models import Executed, LinkState
from mpzmq.protocol.flow.receive_stream import ReceiveStream
from mpzmq.protocol.wire.kinds import Goodbye, Kind
from tests.support.protocol import LOST, REFUSED, Pair, kinds, numbers, tag

UNKNOWN = (errors.ConnectionLost, Executed.UNKNOWN)


def sent(**options: Any) -> Pair:
    """A link on which request 1 has left."""
    pair = Pair().up()
    pair.issue(1, **options)
    assert numbers(pair.flush()) == [1]
    return pair


def told(pair: Pair) -> dict[int, tuple[type, Executed]]:
    assert pair.adds_up()
    return {number: (type(error), error.executed) for number, error in pair.ended().items()}


def after(pair: Pair, seconds: float) -> dict[int, tuple[type, Executed]]:
    """What ends when so many seconds have passed."""
    pair.now += seconds
    assert pair.tick() is None
    return told(pair)


def test_it_ends_when_the_link_was_down_for_so_long_and_the_redials_go_on() -> None:
    pair = sent(lost_after=5.0, timeout=None)
    pair.lost()
    assert pair.link.next_tick(pair.now) == pair.now + 5.0
    assert after(pair, 4.9) == {}
    pair.lost(REFUSED)
    assert after(pair, 0.1) == {1: UNKNOWN}
    assert pair.state() is LinkState.DOWN and pair.link.next_tick(pair.now) is None
    pair.up()
    assert pair.state() is LinkState.ALIVE


def test_the_error_says_what_to_do() -> None:
    pair = sent(lost_after=2.5)
    pair.lost(REFUSED)
    pair.now += 2.5
    pair.tick()
    error = pair.ended()[1]
    assert str(error) == (
        "the call of 'work' to container 'worker-7' was sent, and then the connection was lost for more than 2.5 s,"
        f" which is lost_after ({REFUSED.detail}); it may or may not have run: give it more time with lost_after=, or"
        " pass idempotent=True to what may run twice: that waits"
    )
    assert (error.instance_changed, error.evidence is not None) == (None, True)


def test_its_handler_was_known_to_have_begun() -> None:
    pair = sent(lost_after=1.0)
    pair.tell([Kind.STARTED], tag=tag(1))
    pair.lost()
    assert after(pair, 1.0) == {1: (errors.ConnectionLost, Executed.YES)}


def test_0_is_at_the_loss() -> None:
    pair = sent(lost_after=0.0)
    pair.lost()
    assert told(pair) == {1: UNKNOWN}


def test_none_is_at_its_deadline() -> None:
    pair = sent(lost_after=None, timeout=60.0)
    pair.lost()
    assert after(pair, 59.0) == {}
    assert after(pair, 1.0) == {1: (errors.RequestTimeout, Executed.UNKNOWN)}


def test_a_deadline_that_comes_first_ends_it() -> None:
    pair = sent(lost_after=5.0, timeout=3.0)
    pair.lost()
    assert after(pair, 3.0) == {1: (errors.RequestTimeout, Executed.UNKNOWN)}


def test_what_never_left_waits() -> None:
    pair = sent(lost_after=1.0)
    pair.issue(2, lost_after=1.0)
    pair.lost()
    pair.issue(3, lost_after=0.0)
    assert after(pair, 20.0) == {1: UNKNOWN}
    pair.up()
    assert numbers(pair.flush()) == [2, 3]


def test_busy_pauses_the_count_and_only_welcome_resets_it() -> None:
    pair = sent(lost_after=5.0, timeout=None)
    pair.lost()
    assert after(pair, 3.0) == {}
    pair.dialled()  # a process was reached
    assert pair.state() is LinkState.BUSY
    assert after(pair, 100.0) == {}
    pair.lost()  # and was gone before it said WELCOME
    assert pair.link.next_tick(pair.now) == pair.now + 2.0
    assert after(pair, 1.9) == {}
    pair.up(resumed=True)
    pair.flush()
    assert after(pair, 0.5) == {}
    pair.lost()
    assert after(pair, 4.9) == {}
    assert after(pair, 0.1) == {1: UNKNOWN}


def test_each_has_its_own() -> None:
    pair = Pair().up()
    for number, lost_after in enumerate((3.0, None, 1.0, 2.0, 0.0)):
        pair.issue(number, lost_after=lost_after)
    pair.flush()
    pair.lost()
    assert list(told(pair)) == [4]
    assert [list(after(pair, 1.0)) for _ in range(4)] == [[2], [3], [0], []]


def test_many_that_end_close_together_cost_few_looks() -> None:
    pair = Pair().up()
    for number in range(100):
        pair.issue(number, lost_after=1.0 + number / 100_000)
    pair.flush()
    pair.lost()
    looks = 0
    while (when := pair.link.next_tick(pair.now)) is not None and pair.link.tracker.pending:
        looks += 1
        pair.now = when
        pair.tick()
    assert looks <= 2
    assert len(pair.ended()) == 100


def test_what_was_lost_before_is_lost_when_it_has_left_again() -> None:
    """It waits in the outbox when the next connection breaks, too."""
    pair = sent(lost_after=1.0, timeout=None)
    pair.lost()
    pair.up(resumed=True)
    pair.lost()
    assert after(pair, 1.0) == {1: UNKNOWN}
    assert not pair.link.tracker.outbox


def test_a_container_that_comes_back_is_told_to_end_it() -> None:
    pair = sent(lost_after=1.0)
    pair.lost()
    assert after(pair, 1.0) == {1: UNKNOWN}
    pair.up(resumed=True)
    assert numbers(pair.flush(), Kind.CANCEL) == [1]


def test_its_successor_is_not() -> None:
    pair = sent(lost_after=1.0)
    pair.lost()
    after(pair, 1.0)
    pair.up(instance=UUID(int=77))
    assert Kind.CANCEL not in kinds(pair.flush())


def test_issuing_the_id_again_discards_the_cancel_and_is_the_same_request() -> None:
    pair = sent(lost_after=1.0, chosen=True)
    pair.lost()
    assert after(pair, 1.0) == {1: UNKNOWN}
    pair.issue(1, lost_after=1.0, chosen=True)
    assert after(pair, 5.0) == {}, "it has not left"
    pair.up(resumed=True)
    left = pair.flush()
    assert numbers(left) == [1] and Kind.CANCEL not in kinds(left)
    pair.reply(1, "once")
    assert pair.ended()[1][2] == "once"


def test_a_late_reply_is_counted_and_acknowledged() -> None:
    pair = sent(lost_after=1.0)
    pair.lost()
    after(pair, 1.0)
    pair.up(resumed=True)
    pair.reply(1, "too late")
    assert (told(pair), pair.link.statistics().late) == ({}, 1)


def test_a_stream_tells_how_far_it_got_and_gives_what_had_come() -> None:
    pair = Pair().up()
    entry = pair.entry(1, lost_after=1.0)
    entry.receive_stream = ReceiveStream(10, 1000)
    pair.link.tracker.issued += 1
    pair.link.tracker.submit(entry)
    pair.flush()
    pair.tell([Kind.CHUNK, 0, 8, False, ["one", "two"]], tag=tag(1))
    pair.lost()
    pair.now += 1.0
    pair.tick()
    error = pair.ended()[1]
    assert isinstance(error, errors.ConnectionLost) and error.progress is not None
    assert (error.progress.received, error.executed) == (2, Executed.YES)
    assert entry.receive_stream.pop_chunk() and entry.receive_stream.items == ["two", "one"]


def test_a_drained_container_that_does_not_come_back() -> None:
    pair = sent(lost_after=1.0)
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "drain"])
    assert after(pair, 3.0) == {}
    pair.lost()
    assert after(pair, 1.0) == {1: UNKNOWN}


@pytest.mark.parametrize("lost_after", [0.0, 5.0, None])
def test_a_link_that_has_failed_ends_everything(lost_after: float | None) -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=0)).up()
    pair.issue(1, lost_after=lost_after)
    pair.flush()
    pair.lost(LOST)
    assert told(pair) == {1: UNKNOWN}
