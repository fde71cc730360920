"""The books of one link: every request ends once, and the counters add up after every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import errors
from mpzmq.config import Limits
from mpzmq.message import Executed, LinkState
from mpzmq.protocol.encoder import Encoder
from mpzmq.protocol.ledger import SPENT_IDS, Ledger
from mpzmq.protocol.verdicts import Verdicts
from mpzmq.protocol.wire import Code, Kind

from .support import REMOTE, make_entry, tag

if TYPE_CHECKING:
    from mpzmq.protocol.entry import Entry

OK = [Kind.RESPONSE, 1, None]


class Books:
    """A ledger whose counters are checked whenever it is looked at."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.encoder = Encoder(self.limits)
        self._ledger = Ledger(Verdicts(REMOTE, "w", "w"), self.limits)

    @property
    def ledger(self) -> Ledger:
        self.counts()
        return self._ledger

    def counts(self) -> tuple[int, int, int, int]:
        found = self._ledger.statistics(reconnects=0, attempts=0, rtt=None)
        assert found.issued == found.replied + found.failed + found.cancelled + found.in_flight
        assert found.in_flight == len(self._ledger.pending)
        return found.replied, found.failed, found.cancelled, found.in_flight

    def issue(self, *numbers: int, **options: Any) -> list[Entry]:
        entries = [make_entry(self.encoder, number, number, **options) for number in numbers]
        for entry in entries:
            self._ledger.issued += 1
            self._ledger.submit(entry)
        return entries

    def send(self) -> list[int]:
        outgoing = self._ledger.in_order().cut(0.0)
        items: Any = outgoing.items if outgoing is not None else ()
        for entry in items:
            entry.sent = True
        return [int.from_bytes(entry.tag, "big") for entry in items]

    def ended(self) -> dict[int, Any]:
        ended = self._ledger.take_ended()
        assert len(dict(ended)) == len(ended), "a request ended twice"
        return dict(ended)


def error(code: int, executed: int = 0) -> list[Any]:
    return [Kind.ERROR, code, executed, 1, "no", None]


def test_a_reply() -> None:
    books = Books()
    books.issue(1)
    assert books.counts() == (0, 0, 0, 1)
    assert books.send() == [1]
    books.ledger.replied(tag(1), OK)
    assert books.counts() == (1, 0, 0, 0)
    assert books.ended() == {1: OK}
    assert not books.ledger.outbox


def test_replies_that_nobody_waits_for() -> None:
    books = Books()
    books.issue(1)
    books.send()
    books.ledger.replied(tag(1), OK)
    books.ledger.replied(tag(1), OK)
    books.ledger.replied(tag(2), OK)
    books.ledger.errored(tag(1), error(Code.REFUSED))
    books.ledger.undecodable(tag(3))
    assert books.ledger.statistics(reconnects=0, attempts=0, rtt=None).late == 4
    assert books.counts() == (1, 0, 0, 0)
    assert list(books.ended()) == [1]


def test_an_error_and_a_reply_that_is_none() -> None:
    books = Books()
    books.issue(1, 2)
    books.send()
    books.ledger.errored(tag(1), error(Code.REFUSED))
    books.ledger.undecodable(tag(2))
    ended = books.ended()
    assert isinstance(ended[1], errors.Refused) and isinstance(ended[2], errors.ProtocolError)
    assert books.counts() == (0, 2, 0, 0)


@pytest.mark.parametrize("sent", [False, True])
def test_cancelling_tells_the_container_only_of_what_left(sent: bool) -> None:
    books = Books()
    books.issue(1)
    if sent:
        books.send()
    assert books.ledger.cancel(tag(1)) is sent
    assert books.ledger.cancel(tag(1)) is False
    assert books.counts() == (0, 0, 1, 0)
    assert books.send() == [] and books.ended() == {}


def test_requests_that_were_never_submitted() -> None:
    books = Books()
    ledger = books._ledger
    ledger.issued += 1
    ledger.count_ended(cancelled=True)
    ledger.issued += 1
    ledger.count_ended(cancelled=False)
    assert books.counts() == (0, 1, 1, 0)


def test_no_session_waits_for_welcome() -> None:
    books = Books()
    first, second = books.issue(1, 2)
    assert books.send() == [1, 2]
    for wait in (True, False):
        first.wait = wait
        books.ledger.errored(tag(1), error(Code.NO_SESSION))
        assert books.counts() == (0, 0, 0, 2) and books.ended() == {}
        assert not first.sent and second.sent
        books.ledger.errored(tag(1), error(Code.NO_SESSION))
        assert books.send() == [1], "it waits once, however often it is told"


def test_draining_waits_for_the_successor_or_ends() -> None:
    books = Books()
    books.issue(1)
    books.issue(2, wait=False)
    books.send()
    books.ledger.errored(tag(1), error(Code.DRAINING))
    books.ledger.errored(tag(2), error(Code.DRAINING))
    assert isinstance(books.ended()[2], errors.ContainerDraining)
    assert books.send() == [1]


@pytest.mark.parametrize("code", [Code.NO_SESSION, Code.DRAINING])
def test_what_has_not_run_is_sent_again_in_issue_order(code: int) -> None:
    books = Books()
    books.issue(1, 2, 3)
    books.send()
    for number in (1, 2, 3):
        books.ledger.errored(tag(number), error(code))
    assert books.send() == [1, 2, 3]


def test_a_loss() -> None:
    books = Books()
    books.issue(1, 3)
    books.issue(2, 4, idempotent=True)
    assert books.send() == [1, 3, 2, 4]
    books.issue(5)
    books.issue(6, wait=False)
    books.issue(7, wait=False, idempotent=True)
    books.ledger.lost("why", on_purpose=False)
    ended = books.ended()
    assert sorted(ended) == [1, 3, 6, 7]
    assert all(type(ended[number]) is errors.ConnectionLost for number in (1, 3))
    assert all(ended[number].executed is Executed.UNKNOWN for number in (1, 3))
    assert all(type(ended[number]) is errors.NotConnected for number in (6, 7))
    assert books.counts() == (0, 4, 0, 3)
    assert books.ledger.statistics(reconnects=0, attempts=0, rtt=None).resent == 2
    assert books.send() == [2, 4, 5]


def test_an_idempotent_request_that_may_not_wait() -> None:
    books = Books()
    (entry,) = books.issue(1, wait=False, idempotent=True)
    books.send()
    books.ledger.lost("why", on_purpose=False)
    ended = books.ended()
    assert list(ended) == [1] and type(ended[1]) is errors.ConnectionLost
    assert ended[1].executed is Executed.UNKNOWN and entry.sent


def test_a_loss_on_purpose() -> None:
    books = Books()
    books.issue(1)
    books.send()
    books.issue(2, wait=False)
    books.issue(3)
    books.ledger.lost("the container drained", on_purpose=True)
    ended = books.ended()
    assert type(ended[1]) is type(ended[2]) is errors.ConnectionClosed
    assert (ended[1].executed, ended[2].executed) == (Executed.UNKNOWN, Executed.NO)
    assert books.send() == [3]


def test_a_request_that_was_sent_again_is_lost_as_one_that_left() -> None:
    books = Books()
    books.issue(1, idempotent=True)
    books.send()
    books.ledger.lost("why", on_purpose=False)
    books.ledger.end_all(lambda entry: books._ledger.verdicts.lost(entry, "FAILED"))
    assert type(books.ended()[1]) is errors.ConnectionLost


def test_a_reply_to_what_waits_to_be_sent_again() -> None:
    books = Books()
    books.issue(1, idempotent=True)
    books.send()
    books.ledger.lost("why", on_purpose=False)
    books.ledger.replied(tag(1), OK)
    assert books.ended() == {1: OK} and not books.ledger.outbox
    books.issue(2)
    books.send()
    books.ledger.errored(tag(2), error(Code.NO_SESSION))
    books.ledger.replied(tag(2), OK)
    assert books.ended() == {2: OK} and not books.ledger.outbox


def test_ending_all() -> None:
    books = Books()
    books.issue(1, 2)
    books.send()
    books.issue(3)
    books.ledger.end_all(lambda entry: errors.ConnectionClosed("closed"))
    assert sorted(books.ended()) == [1, 2, 3]
    assert books.counts() == (0, 3, 0, 0) and not books.ledger.outbox


def test_expiry_returns_what_left() -> None:
    books = Books()
    books.issue(1, deadline=5.0)
    books.send()
    books.issue(2, deadline=5.0)
    books.issue(3, deadline=9.0)
    verdicts = books.ledger.verdicts
    left = books.ledger.expire(5.0, lambda entry: verdicts.timed_out(entry, LinkState.ALIVE, False))
    assert left == [tag(1)]
    ended = books.ended()
    assert (ended[1].executed, ended[2].executed) == (Executed.UNKNOWN, Executed.NO)
    assert books.send() == [3] and books.counts() == (0, 2, 0, 1)


def test_room() -> None:
    books = Books(Limits(in_flight=2))
    assert books.ledger.has_room(10**9), "an empty queue takes anything"
    books.issue(1)
    assert books.ledger.has_room(10)
    books.issue(2)
    assert not books.ledger.has_room(10)
    books.send()
    assert not books.ledger.has_room(10), "what was sent is in flight still"
    books.ledger.replied(tag(1), OK)
    assert books.ledger.has_room(10)


def test_room_in_bytes() -> None:
    books = Books(Limits(queued_bytes=100))
    (entry,) = books.issue(1)
    assert books.ledger.has_room(100 - entry.size) and not books.ledger.has_room(101 - entry.size)
    books.send()
    assert books.ledger.has_room(10**9)


def test_the_smaller_limit_of_both_sides_counts() -> None:
    books = Books(Limits(message_bytes=10_000))
    books.issue(1, data=b"x" * 6000)
    books.issue(2)
    assert books.ledger.message_bytes == 10_000
    books.ledger.limit_messages(5000)
    ended = books.ended()
    assert list(ended) == [1] and type(ended[1]) is errors.MessageTooLarge
    assert ended[1].limit == 5000 and ended[1].size > 6000
    for word in ("the call of 'work'", "container 'w'", str(ended[1].size), "at most 5000", "Limits.message_bytes"):
        assert word in str(ended[1])
    assert books.send() == [2]
    books.ledger.limit_messages(10**9)
    assert books.ledger.message_bytes == 10_000


def test_ids_of_callers_are_spent_by_their_reply() -> None:
    books = Books()
    books.issue(1, 2, 3, chosen=True)
    books.issue(4)
    books.send()
    books.ledger.replied(tag(1), OK)
    books.ledger.errored(tag(2), error(Code.REFUSED))
    books.ledger.cancel(tag(3))
    books.ledger.replied(tag(4), OK)
    assert [books.ledger.is_spent(tag(number)) for number in (1, 2, 3, 4)] == [True, False, False, False]


def test_the_oldest_spent_ids_are_forgotten() -> None:
    books = Books()
    assert SPENT_IDS == 10_000
    ledger = books._ledger
    for number in range(1, SPENT_IDS + 2):
        (entry,) = books.issue(number, chosen=True)
        ledger.outbox.remove(entry.tag)
        entry.sent = True
        ledger.replied(entry.tag, OK)
    assert [ledger.is_spent(tag(number)) for number in (1, 2, SPENT_IDS + 1)] == [False, True, True]


def test_sequence_numbers_rise_from_one() -> None:
    ledger = Books().ledger
    assert [ledger.next_sequence() for _ in range(3)] == [1, 2, 3]
