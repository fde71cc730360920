"""The books of one link: every request ends once, and the counters add up after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import errors
from mpzmq.config import Limits
from mpzmq.failure import Failure, FailureKind
from mpzmq.models import Executed, LinkState
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import ResolveRequests
from mpzmq.protocol.flow.receive_stream import ReceiveStream
from mpzmq.protocol.flow.send_stream import SendStream
from mpzmq.protocol.requester.error_factory import RequestErrors
from mpzmq.protocol.requester.request_ids import MAX_IDS, EndedIds
from mpzmq.protocol.requester.tracker import RequestTracker
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Kind
from tests.support.protocol import REMOTE, items, make_entry, tag

if TYPE_CHECKING:
    from mpzmq.protocol.requester.request import PendingRequest

OK = [Kind.RESPONSE, 1, None]
LOST = Failure(FailureKind.LOST, "why", was_up=True)


class Books:
    """A ledger whose counters are checked whenever it is looked at."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.encoder = Encoder(self.limits)
        self._effects = EffectQueue()
        self._tracker = RequestTracker(RequestErrors(REMOTE, "w", "w"), self.limits, EndedIds(), self._effects)

    @property
    def tracker(self) -> RequestTracker:
        self.counts()
        return self._tracker

    def counts(self) -> tuple[int, int, int, int]:
        found = self._tracker.statistics(reconnects=0, attempts=0, rtt=None)
        assert found.issued == found.replied + found.failed + found.cancelled + found.in_flight
        assert found.in_flight == len(self._tracker.pending)
        return found.replied, found.failed, found.cancelled, found.in_flight

    def issue(self, *numbers: int, **options: Any) -> list[PendingRequest]:
        entries = [make_entry(self.encoder, number, number, **options) for number in numbers]
        for entry in entries:
            self._tracker.issued += 1
            self._tracker.submit(entry)
        return entries

    def send(self) -> list[int]:
        outgoing = self._tracker.in_order().next_message(0.0)
        items: Any = outgoing.items if outgoing is not None else ()
        for entry in items:
            entry.sent = True
        return [int.from_bytes(entry.tag, "big") for entry in items]

    def ended(self) -> dict[int, Any]:
        ended = items(self._effects, ResolveRequests)
        assert len(dict(ended)) == len(ended), "a request ended twice"
        return dict(ended)


def error(code: int, executed: int = 0) -> list[Any]:
    return [Kind.ERROR, code, executed, 1, "no", None]


def test_a_reply() -> None:
    books = Books()
    books.issue(1)
    assert books.counts() == (0, 0, 0, 1)
    assert books.send() == [1]
    books.tracker.on_response(tag(1), OK)
    assert books.counts() == (1, 0, 0, 0)
    assert books.ended() == {1: OK}
    assert not books.tracker.outbox


def test_replies_that_nobody_waits_for() -> None:
    books = Books()
    books.issue(1)
    books.send()
    books.tracker.on_response(tag(1), OK)
    books.tracker.on_response(tag(1), OK)
    books.tracker.on_response(tag(2), OK)
    books.tracker.on_error(tag(1), error(Code.REFUSED))
    books.tracker.on_malformed(tag(3))
    assert books.tracker.statistics(reconnects=0, attempts=0, rtt=None).late == 4
    assert books.counts() == (1, 0, 0, 0)
    assert list(books.ended()) == [1]


def test_an_error_and_a_reply_that_is_none() -> None:
    books = Books()
    books.issue(1, 2)
    books.send()
    books.tracker.on_error(tag(1), error(Code.REFUSED))
    books.tracker.on_malformed(tag(2))
    ended = books.ended()
    assert isinstance(ended[1], errors.Refused) and isinstance(ended[2], errors.ProtocolError)
    assert books.counts() == (0, 2, 0, 0)


@pytest.mark.parametrize("sent", [False, True])
def test_cancelling_tells_the_container_only_of_what_left(sent: bool) -> None:
    books = Books()
    books.issue(1)
    if sent:
        books.send()
    assert books.tracker.cancel(tag(1)) is sent
    assert books.tracker.cancel(tag(1)) is False
    assert books.counts() == (0, 0, 1, 0)
    assert books.send() == [] and books.ended() == {}


def test_requests_that_were_never_submitted() -> None:
    books = Books()
    tracker = books._tracker
    tracker.issued += 1
    tracker.count_cancelled()
    tracker.issued += 1
    tracker.counted(errors.MessageTooLarge("it is", size=2, limit=1))
    assert books.counts() == (0, 1, 1, 0)
    assert tracker.statistics().errors == {"MessageTooLarge": 1}


def test_no_session_waits_for_welcome() -> None:
    books = Books()
    first, second = books.issue(1, 2)
    assert books.send() == [1, 2]
    for wait in (True, False):
        first.may_wait = wait
        books.tracker.on_error(tag(1), error(Code.NO_SESSION))
        assert books.counts() == (0, 0, 0, 2) and books.ended() == {}
        assert not first.sent and second.sent
        books.tracker.on_error(tag(1), error(Code.NO_SESSION))
        assert books.send() == [1], "it waits once, however often it is told"


def test_draining_waits_for_the_successor_or_ends() -> None:
    books = Books()
    books.issue(1)
    books.issue(2, wait=False)
    books.send()
    books.tracker.on_error(tag(1), error(Code.DRAINING))
    books.tracker.on_error(tag(2), error(Code.DRAINING))
    assert isinstance(books.ended()[2], errors.ContainerDraining)
    assert books.send() == [1]


def test_no_session_for_the_items_of_an_upload_does_not_say_that_its_request_has_not_run() -> None:
    books = Books()
    upload, other = books.issue(1, 2)
    upload.send_stream, other.send_stream = SendStream(), SendStream()
    books.send()
    upload.send_stream.on_credit(0, 10, 1000)
    for number in (1, 2):
        books.tracker.on_error(tag(number), error(Code.NO_SESSION))
    assert tag(1) not in books.tracker.outbox and upload.sent, "the container had taken it, and asked for data"
    assert tag(2) in books.tracker.outbox and not other.sent


@pytest.mark.parametrize("code", [Code.NO_SESSION, Code.DRAINING])
def test_what_has_not_run_is_sent_again_in_issue_order(code: int) -> None:
    books = Books()
    books.issue(1, 2, 3)
    books.send()
    for number in (1, 2, 3):
        books.tracker.on_error(tag(number), error(code))
    assert books.send() == [1, 2, 3]


def lose(books: Books, *, on_purpose: bool = False) -> dict[int, Any]:
    """The connection is gone; returns what ended with it."""
    books.tracker.on_connection_lost(LOST, "why" if on_purpose else None)
    return books.ended()


def test_a_loss_keeps_what_was_sent() -> None:
    books = Books()
    books.issue(1, wait=False)
    books.issue(2, idempotent=True)
    assert books.send() == [1, 2]
    books.issue(3)
    books.issue(4, wait=False)
    books.issue(5, wait=False, idempotent=True)
    ended = lose(books)
    assert sorted(ended) == [4, 5], "what has not left, and may not wait"
    assert all(type(error) is errors.NotConnected for error in ended.values())
    assert books.counts() == (0, 2, 0, 3)


def test_the_same_container_is_asked_again_for_everything() -> None:
    books = Books()
    books.issue(1, 3)
    books.issue(2, idempotent=True)
    books.send()
    books.issue(4)
    assert lose(books) == {} and books.tracker.on_reconnected(None, instance_changed=False) == 3
    assert books.ended() == {}
    assert books.send() == [1, 2, 3, 4], "what was sent before goes first, in issue order"
    assert all(
        entry.resent and not entry.may_have_run_elsewhere
        for entry in books.tracker.pending.values()
        if entry.sequence < 4
    )


@pytest.mark.parametrize("instance_changed", [True, False])
def test_another_memory_is_only_asked_for_what_may_run_twice(instance_changed: bool) -> None:
    books = Books()
    books.issue(1)
    books.issue(2, idempotent=True)
    books.send()
    books.issue(3)
    books.issue(4)
    books.tracker.on_started(tag(1))
    lose(books)
    assert books.tracker.on_reconnected("it was restarted", instance_changed=instance_changed) == 1
    (lost,) = books.ended().values()
    assert type(lost) is errors.ConnectionLost and "it was restarted" in str(lost)
    assert lost.executed is Executed.YES and lost.instance_changed is instance_changed
    assert books.send() == [2, 3, 4]
    books.tracker.on_error(tag(2), error(Code.STOPPED))
    assert books.ended()[2].executed is Executed.UNKNOWN, "it may have run before the restart"


def test_a_loss_on_purpose_ends_what_will_never_be_answered() -> None:
    books = Books()
    books.issue(1)
    books.issue(2, idempotent=True)
    books.send()
    books.issue(3, wait=False)
    books.issue(4)
    ended = lose(books, on_purpose=True)
    assert sorted(ended) == [1, 3] and all(type(error) is errors.ConnectionClosed for error in ended.values())
    assert (ended[1].executed, ended[3].executed) == (Executed.UNKNOWN, Executed.NO)
    books.tracker.on_reconnected("it was restarted", instance_changed=True)
    assert books.send() == [2, 4]


def test_a_loss_that_nobody_will_tell_of_ends_all_that_has_left() -> None:
    books = Books()
    books.issue(1)
    books.issue(2, idempotent=True)
    books.send()
    books.issue(3, wait=False)
    books.issue(4)
    books.tracker.on_connection_lost(Failure(FailureKind.LOST, "why", was_up=True, is_forgotten=True), None)
    ended = books.ended()
    assert {number: type(error) for number, error in ended.items()} == {
        1: errors.ConnectionLost,
        2: errors.ConnectionLost,
        3: errors.NotConnected,
    }
    assert (ended[1].executed, ended[3].executed) == (Executed.UNKNOWN, Executed.NO)
    books.tracker.on_reconnected("it is another one", instance_changed=True)
    assert books.send() == [4]


@pytest.mark.parametrize(
    ("code", "known", "answered"),
    [
        (Code.REMOTE, True, True),
        (Code.REFUSED, True, True),
        (Code.EXPIRED, False, False),
        (Code.CANCELLED, False, False),
        (Code.OVERLOADED, False, False),
    ],
)
def test_an_id_is_spent_by_what_its_handler_said(code: int, known: bool, answered: bool) -> None:
    books = Books()
    books.issue(1, chosen=True)
    books.issue(2)
    books.send()
    for number in (1, 2):
        books.tracker.on_error(tag(number), error(code, 2))
    assert (tag(1) in books.tracker.answered_ids) is known
    expected = [tag(1), tag(2)] if answered else [tag(2)]
    assert books.tracker.reply_acks.tags == expected, "what its caller may issue again has to be remembered"


def test_a_mark_says_that_a_handler_began() -> None:
    books = Books()
    books.issue(1, 2)
    books.send()
    books.tracker.on_started(tag(2))
    books.tracker.on_started(tag(9))
    books.tracker.end_all(lambda entry: books._tracker.error_factory.lost(entry, "FAILED"))
    assert [error.executed for error in books.ended().values()] == [Executed.UNKNOWN, Executed.YES]


def test_the_low_water_mark_is_the_lowest_number_that_can_still_leave() -> None:
    books = Books()
    tracker = books.tracker
    assert tracker.low_water == 1
    assert [tracker.next_sequence() for _ in range(3)] == [1, 2, 3]
    books.issue(1, 2, 3)
    books.send()
    tracker.on_response(tag(2), OK)
    assert tracker.low_water == 1
    tracker.on_response(tag(1), OK)
    assert tracker.low_water == 3
    tracker.on_response(tag(3), OK)
    assert tracker.low_water == 4


def test_a_request_that_was_sent_again_is_lost_as_one_that_left() -> None:
    books = Books()
    books.issue(1, idempotent=True)
    books.send()
    books.tracker.on_connection_lost(LOST, None)
    books.tracker.end_all(lambda entry: books._tracker.error_factory.lost(entry, "FAILED"))
    assert type(books.ended()[1]) is errors.ConnectionLost


def test_a_reply_to_what_waits_to_be_sent_again() -> None:
    books = Books()
    books.issue(1, idempotent=True)
    books.send()
    books.tracker.on_connection_lost(LOST, None)
    books.tracker.on_response(tag(1), OK)
    assert books.ended() == {1: OK} and not books.tracker.outbox
    books.issue(2)
    books.send()
    books.tracker.on_error(tag(2), error(Code.NO_SESSION))
    books.tracker.on_response(tag(2), OK)
    assert books.ended() == {2: OK} and not books.tracker.outbox


def test_ending_all() -> None:
    books = Books()
    books.issue(1, 2)
    books.send()
    books.issue(3)
    books.tracker.end_all(lambda entry: errors.ConnectionClosed("closed"))
    assert sorted(books.ended()) == [1, 2, 3]
    assert books.counts() == (0, 3, 0, 0) and not books.tracker.outbox


def test_expiry_returns_what_left() -> None:
    books = Books()
    books.issue(1, deadline=5.0)
    books.send()
    books.issue(2, deadline=5.0)
    books.issue(3, deadline=9.0)
    error_factory = books.tracker.error_factory
    left = books.tracker.expire(5.0, lambda entry, cut: error_factory.timed_out(entry, LinkState.ALIVE, False, cut))
    assert left == [tag(1)]
    ended = books.ended()
    assert (ended[1].executed, ended[2].executed) == (Executed.UNKNOWN, Executed.NO)
    assert books.send() == [3] and books.counts() == (0, 2, 0, 1)


def test_a_deadline_that_the_container_tells_leaves_no_items() -> None:
    """As one that is seen here: deadlines are swept together, so the other side's word may come first."""
    books = Books()
    (entry,) = books.issue(1, deadline=5.0)
    entry.receive_stream = receive_stream = ReceiveStream(10, 100)
    books.send()
    receive_stream.on_chunk([Kind.CHUNK, 0, 2, False, [1, 2]])
    books.tracker.on_error(tag(1), error(Code.EXPIRED, 2))
    assert isinstance(books.ended()[1], errors.RequestTimeout)
    assert not receive_stream.pop_chunk()


def test_room() -> None:
    books = Books(Limits(in_flight=2))
    assert books.tracker.has_room(10**9), "an empty queue takes anything"
    books.issue(1)
    assert books.tracker.has_room(10)
    books.issue(2)
    assert not books.tracker.has_room(10)
    books.send()
    assert not books.tracker.has_room(10), "what was sent is in flight still"
    books.tracker.on_response(tag(1), OK)
    assert books.tracker.has_room(10)


def test_room_in_bytes() -> None:
    books = Books(Limits(queued_bytes=100))
    (entry,) = books.issue(1)
    assert books.tracker.has_room(100 - entry.size) and not books.tracker.has_room(101 - entry.size)
    books.send()
    assert books.tracker.has_room(10**9)


def test_the_smaller_limit_of_both_sides_counts() -> None:
    books = Books(Limits(message_bytes=10_000))
    books.issue(1, data=b"x" * 6000)
    books.issue(2)
    assert books.tracker.message_bytes == 10_000
    books.tracker.limit_messages(5000)
    ended = books.ended()
    assert list(ended) == [1] and type(ended[1]) is errors.MessageTooLarge
    assert ended[1].limit == 5000 and ended[1].size > 6000
    for word in ("the call of 'work'", "container 'w'", str(ended[1].size), "at most 5000", "Limits.message_bytes"):
        assert word in str(ended[1])
    assert books.send() == [2]
    books.tracker.limit_messages(10**9)
    assert books.tracker.message_bytes == 10_000


def test_ids_of_callers_are_spent_by_their_reply() -> None:
    books = Books()
    books.issue(1, 2, 3, chosen=True)
    books.issue(4)
    books.send()
    books.tracker.on_response(tag(1), OK)
    books.tracker.on_error(tag(2), error(Code.REFUSED))
    books.tracker.cancel(tag(3))
    books.tracker.on_response(tag(4), OK)
    assert [tag(number) in books.tracker.answered_ids for number in (1, 2, 3, 4)] == [True, True, False, False]


def test_the_oldest_spent_ids_are_forgotten() -> None:
    books = Books()
    assert MAX_IDS == 10_000
    tracker = books._tracker
    for number in range(1, MAX_IDS + 2):
        (entry,) = books.issue(number, chosen=True)
        tracker.outbox.remove(entry.tag)
        entry.sent = True
        tracker.on_response(entry.tag, OK)
    assert [tag(number) in books.tracker.answered_ids for number in (1, 2, MAX_IDS + 1)] == [False, True, True]


def test_sequence_numbers_rise_from_one() -> None:
    tracker = Books().tracker
    assert [tracker.next_sequence() for _ in range(3)] == [1, 2, 3]


def test_what_is_forgotten_here_need_not_be_remembered_there() -> None:
    books = Books()
    books.issue(*range(1, MAX_IDS + 1), chosen=True)
    for entry in books.tracker.pending.values():
        entry.sent = True
    for number in range(1, MAX_IDS + 1):
        books._tracker.cancel(tag(number))
    books.issue(1, MAX_IDS + 1, chosen=True)
    for entry in books.tracker.pending.values():
        entry.sent = True
    books._tracker.cancel(tag(1))
    assert books.tracker.reply_acks.tags == [] and tag(2) in books.tracker.ended_ids
    books._tracker.cancel(tag(MAX_IDS + 1))
    assert books.tracker.reply_acks.tags == [tag(2)], "the oldest; the first was used again since"
    assert tag(2) not in books.tracker.ended_ids
