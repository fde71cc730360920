"""The engine's half: one link through dials, losses, silence and drains, in virtual time."""

from __future__ import annotations

import itertools
import pickle
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mpzmq import errors
from mpzmq.config import HeartbeatPolicy, Limits, ReconnectPolicy
from mpzmq.events import LinkBusy, LinkDown, LinkFailed, LinkRetry, LinkUp, StatusChanged
from mpzmq.failure import Failure, FailureKind
from mpzmq.models import Executed, LinkState, Status
from mpzmq.protocol import wire
from mpzmq.protocol.effects import Disconnect, EndLink, LogState, PublishEvents, ResolveRequests
from mpzmq.protocol.flow.outbox import QueuedRecord
from mpzmq.protocol.flow.receive_stream import ReceiveStream
from mpzmq.protocol.flow.send_stream import SendStream
from mpzmq.protocol.flow.window import CONTROL_RESERVE
from mpzmq.protocol.link.states import FACTS, TRANSITIONS, Phase, Signal
from mpzmq.protocol.requester.reply_acks import SPARE, max_unanswered
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import Message
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import INSTANCE, LOST, REFUSED, SESSION, Pair, kinds, numbers, tag

pytestmark = pytest.mark.usefixtures("parts_of_a_mib")

MIB = 1024 * 1024
S = LinkState


def executed(ended: dict[int, Any]) -> dict[int, tuple[type, Executed]]:
    return {number: (type(error), error.executed) for number, error in ended.items()}


LOST_UNKNOWN = (errors.ConnectionLost, Executed.UNKNOWN)
UNSENT_NO = (errors.NotConnected, Executed.NO)


# The table


def in_state(state: LinkState) -> Pair:
    """A link that has come to the state in an honest way."""
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=0) if state is S.FAILED else None)
    if state is not S.CONNECTING:
        pair.up()
    match state:
        case S.BUSY:
            pair.now += 2.0
            pair.tick()
            pair.now += 2.0
            pair.tick()
        case S.DRAINING:
            pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "drain"])
        case S.DOWN | S.FAILED:
            pair.lost()
        case S.CLOSED:
            pair.link.close("close() was called", pair.now)
    assert pair.state() is state
    pair.told()
    return pair


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(LinkState, Signal)))
def test_every_pair_leads_where_the_table_says(state: LinkState, signal: Signal) -> None:
    link = in_state(state).link
    expected = FACTS[TRANSITIONS.get((link._phase, signal), link._phase)]
    assert link._signal(signal) is (expected.state is not state)
    assert (link.state, link.is_handshaken, link.welcomed) == expected


def test_the_table() -> None:
    assert not any(FACTS[phase].state is S.CLOSED for phase, _ in TRANSITIONS), "CLOSED is the end"
    assert [signal for phase, signal in TRANSITIONS if phase is Phase.FAILED] == [Signal.CLOSED]
    assert all(target is not phase for (phase, _), target in TRANSITIONS.items())
    assert all(FACTS[phase].is_handshaken or not FACTS[phase].welcomed for phase in Phase)
    assert {(FACTS[phase].state, FACTS[phase].welcomed) for phase in Phase} >= {(S.BUSY, True), (S.BUSY, False)}


@pytest.mark.parametrize("state", [S.CONNECTING, S.DOWN, S.FAILED])
def test_silence_says_nothing_without_a_connection(state: LinkState) -> None:
    pair = in_state(state)
    pair.now += 1000.0
    assert pair.tick() is None
    assert pair.state() is state and pair.flush() == [] and pair.told() == []


# Handshake


def test_handshake() -> None:
    pair = Pair()
    link = pair.link
    assert (link.state, link.is_running, link.is_handshaken, link.is_over) == (S.CONNECTING, False, False, False)
    assert pair.flush() == []
    pair.dialled()
    assert link.is_handshaken and not link.is_running
    ((where, hello),) = pair.flush()
    assert where == LINK_TAG and hello[:6] == [Kind.HELLO, [wire.VERSION], SESSION, 1, "engine-1", 2.0]
    assert pair.told() == []
    pair.welcome(status=Status.STOP)
    assert (link.state, link.is_running, link.instance, link.status) == (S.ALIVE, True, INSTANCE, Status.STOP)
    changed, up = pair.events()
    assert isinstance(up, LinkUp) and (up.instance, up.reconnected) == (INSTANCE, False)
    assert isinstance(changed, StatusChanged) and (changed.status, changed.previous) == (Status.STOP, None)


def test_no_request_leaves_before_welcome() -> None:
    pair = Pair()
    pair.issue(1)
    assert pair.flush() == []
    pair.dialled()
    assert kinds(pair.flush()) == [Kind.HELLO]
    pair.issue(2)
    assert pair.flush() == []
    pair.welcome()
    assert numbers(pair.flush()) == [1, 2]


def test_nobody_calls_before_welcome() -> None:
    pair = Pair().up()
    pair.lost()
    pair.dialled()
    call: list[Any] = [Kind.REQUEST, 1, None, 0, Op.CALL, "f", [], None, None, UUID(int=1)]
    message = Message([(tag(7), call)])
    message.malformed_calls = [tag(8)]
    pair.link.receive(message, pair.now)
    assert not pair.link.nested_calls.has_asked and not pair.link.nested_calls.outbox
    assert pair.link.ignored == 1
    pair.flush()
    pair.welcome(resumed=True)
    pair.link.receive(message, pair.now)
    pair.link.nested_calls.take()
    assert len(pair.link.nested_calls.outbox) == 2


def test_each_connection_has_a_number_of_its_own() -> None:
    pair = Pair()
    for number in (1, 2, 3):
        pair.dialled()
        ((_, hello),) = pair.flush()
        assert hello[3] == number
        pair.lost()


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_welcome_of_another_connection_is_ignored(number: int) -> None:
    pair = Pair()
    pair.dialled()
    pair.lost()
    pair.dialled()
    pair.told()
    pair.welcome(number=number)
    assert not pair.link.welcomed and pair.state() is not S.ALIVE
    assert pair.link.ignored == 1 and pair.told() == []
    pair.welcome()
    assert pair.state() is S.ALIVE


def test_a_second_welcome_is_ignored() -> None:
    pair = Pair().up()
    pair.welcome(instance=UUID(int=9))
    assert pair.link.instance == INSTANCE and pair.link.ignored == 1
    assert pair.link.statistics().reconnects == 0


def test_a_welcome_after_the_connection_is_gone_is_ignored() -> None:
    pair = Pair()
    pair.dialled()
    pair.lost()
    pair.welcome()
    assert pair.state() is S.DOWN and pair.link.ignored == 1


def test_another_version_is_fatal() -> None:
    pair = Pair()
    pair.dialled()
    pair.welcome(version=wire.VERSION + 1)
    failure = pair.rejection()
    assert failure is not None
    assert failure.kind is FailureKind.VERSION and failure.fatal
    pair.lost(failure)
    assert pair.state() is S.FAILED


@pytest.mark.parametrize(
    ("code", "kind", "state"),
    [
        (Goodbye.VERSION, FailureKind.VERSION, S.FAILED),
        (Goodbye.TOO_MANY_SESSIONS, FailureKind.REJECTIONS, S.DOWN),
    ],
)
def test_being_turned_away(code: int, kind: FailureKind, state: LinkState) -> None:
    pair = Pair()
    pair.dialled()
    pair.tell([Kind.GOODBYE, code, "go away"])
    failure = pair.rejection()
    assert failure is not None and (failure.kind, failure.detail) == (kind, "go away")
    pair.lost(failure)
    assert pair.state() is state
    assert pair.link.attempts.failed == 0, "the first dial is no redial"


def test_limits_of_the_container_count() -> None:
    pair = Pair(limits=Limits(batch_records=8)).up(limits=Limits(batch_records=3))
    pair.issue(1, 2, 3, 4)
    first, second = (pair.link.next_outgoing(pair.now) for _ in range(2))
    assert first is not None and second is not None
    assert (len(first.items), len(second.items)) == (3, 1)
    pair = Pair(limits=Limits(batch_records=2)).up(limits=Limits(batch_records=3))
    pair.issue(1, 2, 3)
    small = pair.link.next_outgoing(pair.now)
    assert small is not None and len(small.items) == 2


def test_no_message_is_larger_than_the_container_accepts() -> None:
    pair = Pair().up(limits=Limits(message_bytes=4096))
    pair.issue(*range(1, 11), data="x" * 1000)
    while (outgoing := pair.link.next_outgoing(pair.now)) is not None:
        pair.link.on_sent(outgoing, pair.now)
        assert max(map(len, outgoing.frames)) <= 4096


def test_queued_requests_beyond_the_limit_end_at_welcome() -> None:
    pair = Pair()
    pair.issue(1, data="x" * 5000)
    pair.issue(2)
    pair.dialled()
    pair.flush()
    pair.welcome(limits=Limits(message_bytes=4096))
    ended = pair.ended()
    assert list(ended) == [1] and type(ended[1]) is errors.MessageTooLarge and ended[1].limit == 4096
    assert numbers(pair.flush()) == [2] and pair.adds_up()


# Replies


def test_a_reply_ends_a_request() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.reply(2, "two")
    assert pair.ended() == {2: [Kind.RESPONSE, 1, "two"]}
    pair.reply(2, "again")
    assert pair.ended() == {} and pair.link.statistics().late == 1
    pair.error(1, Code.REFUSED)
    assert executed(pair.ended()) == {1: (errors.Refused, Executed.NO)}
    assert pair.adds_up()


def test_a_reply_that_cannot_be_decoded() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.link.receive(Message([], malformed=[tag(1), tag(2)], ignored=3), pair.now)
    assert executed(pair.ended()) == {1: (errors.ProtocolError, Executed.UNKNOWN)}
    assert pair.link.ignored == 3 and pair.link.statistics().late == 1


def test_records_that_no_container_sends_are_ignored() -> None:
    pair = Pair().up()
    pair.tell([Kind.HELLO, [1], SESSION, 1, "x", 2.0, {}], [Kind.REQUEST], [Kind.CANCEL])
    assert pair.link.ignored == 3 and pair.state() is S.ALIVE


def test_the_status_follows_replies() -> None:
    pair = Pair().up()
    pair.issue(1, 2, 3)
    pair.flush()
    pair.told()
    pair.reply(1, status=0)
    assert pair.status() is Status.STOP and pair.told() == ["StatusChanged"]
    pair.reply(2, status=0)
    assert pair.told() == []
    pair.error(3, Code.REFUSED)
    assert pair.status() is Status.RUNNING and pair.told() == ["StatusChanged"]


def test_a_container_without_a_session_does_not_know_its_status_well() -> None:
    pair = Pair().up(status=Status.STOP)
    pair.issue(1)
    pair.flush()
    pair.error(1, Code.NO_SESSION)
    assert pair.status() is Status.STOP


def test_the_last_word_of_a_message_on_the_status_counts() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.told()
    records = [(tag(1), [Kind.ERROR, Code.STOPPED, 0, 0, "stopped", None]), (tag(2), [Kind.RESPONSE, 1, "done"])]
    pair.link.receive(Message(records=records), pair.now)
    assert pair.status() is Status.RUNNING
    assert pair.told() == ["StatusChanged", "StatusChanged"]


def test_cancelling() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.issue(3)
    pair.cancel(1)
    pair.cancel(3)
    pair.cancel(3)
    sent = pair.flush()
    assert numbers(sent, Kind.CANCEL) == [1] and numbers(sent) == []
    pair.reply(1)
    assert pair.ended() == {} and pair.link.statistics().late == 1
    assert pair.link.statistics().cancelled == 2 and pair.adds_up()


def test_no_cancel_before_welcome() -> None:
    pair = Pair()
    pair.issue(1, idempotent=True)
    pair.up()
    pair.flush()
    pair.lost()
    pair.dialled()
    pair.cancel(1)
    assert kinds(pair.flush()) == [Kind.HELLO]


# Loss


def test_a_loss_keeps_what_was_sent_for_the_next_connection() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.issue(3)
    pair.issue(4, wait=False)
    pair.told()
    pair.lost()
    assert executed(pair.ended()) == {4: UNSENT_NO}
    assert pair.state() is S.DOWN and pair.told() == ["LinkDown"]
    assert pair.flush() == [] and pair.adds_up()
    pair.dialled()
    assert pair.state() is S.BUSY and not pair.link.is_running and pair.told() == []
    assert kinds(pair.flush()) == [Kind.HELLO]
    pair.welcome(resumed=True)
    assert numbers(pair.flush()) == [1, 2, 3]
    (up,) = pair.events()
    assert isinstance(up, LinkUp) and up.reconnected
    counts = pair.link.statistics()
    assert (counts.reconnects, counts.resent) == (1, 2)


def test_everything_unanswered_is_sent_again_in_issue_order() -> None:
    pair = Pair().up()
    pair.issue(1, 2, idempotent=True)
    pair.issue(3)
    pair.issue(4, idempotent=True)
    pair.flush()
    pair.issue(5)
    pair.reply(2)
    pair.lost()
    assert sorted(pair.ended()) == [2]
    pair.up(resumed=True)
    assert numbers(pair.flush()) == [1, 3, 4, 5]
    assert pair.link.statistics().resent == 3
    pair.lost()
    pair.up(resumed=True)
    assert numbers(pair.flush()) == [1, 3, 4, 5]
    for number in (1, 3, 4, 5):
        pair.reply(number)
    assert sorted(pair.ended()) == [1, 3, 4, 5] and pair.adds_up()


@pytest.mark.parametrize(("instance", "changed"), [(INSTANCE, False), (UUID(int=0xC4), True)])
def test_a_container_that_remembers_nothing_gets_what_may_run_twice(instance: UUID, changed: bool) -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.issue(2, idempotent=True)
    pair.flush()
    pair.issue(3)
    pair.lost()
    pair.dialled()
    pair.flush()
    pair.welcome(instance=instance)
    (lost,) = pair.ended().values()
    assert executed({1: lost}) == {1: LOST_UNKNOWN} and lost.instance_changed is changed
    assert numbers(pair.flush()) == [2, 3]


def test_what_was_cancelled_while_the_link_was_down_is_cancelled_when_it_is_back() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.lost()
    pair.cancel(1)
    pair.up(resumed=True)
    assert [(number, record[0]) for number, record in pair.flush()] == [(tag(1), Kind.CANCEL), (tag(2), Kind.REQUEST)]
    pair.lost()
    pair.up(resumed=True)
    assert kinds(pair.flush()) == [Kind.CANCEL, Kind.REQUEST], "nobody knows whether it was read"
    pair.tell([Kind.PONG, pair.connection, 10, 10_000])
    pair.lost()
    pair.up(resumed=True)
    assert kinds(pair.flush()) == [Kind.REQUEST]


def test_an_id_that_is_issued_again_is_not_cancelled_by_what_was_said_before() -> None:
    pair = Pair().up()
    pair.issue(1, chosen=True)
    pair.flush()
    pair.cancel(1)
    pair.lost()
    pair.issue(1, chosen=True)
    pair.up(resumed=True)
    assert kinds(pair.flush()) == [Kind.REQUEST]


def test_a_connection_that_breaks_over_and_over_makes_no_storm() -> None:
    pair = Pair(limits=Limits(in_flight=4)).up()
    pair.issue(1, 2, 3, 4)
    assert len(numbers(pair.flush())) == 4
    pair.lost()
    pair.up(resumed=True)
    assert len(numbers(pair.flush())) == 4, "once, at once"
    pair.lost()
    pair.up(resumed=True)
    assert len(numbers(pair.flush())) == 4, "and once on credit"
    for _ in range(5):  # what does not leave costs nothing
        pair.lost()
        pair.up(resumed=True)
        assert numbers(pair.flush()) == []
    wake = pair.link.next_tick(pair.now)
    assert wake is not None and wake == pytest.approx(pair.now + 1.0)
    pair.now = wake
    assert len(numbers(pair.flush())) == 4


def test_replies_are_acknowledged_along_with_requests_or_alone() -> None:
    pair = Pair().up()
    pair.issue(*range(1, 400))
    pair.flush()
    for number in range(1, 32):
        pair.reply(number)
    pair.issue(400)
    assert kinds(pair.flush()) == [Kind.REQUEST], "not for so few"
    pair.reply(32)
    pair.issue(401)
    received, request = (record for _, record in pair.flush())
    assert received == [Kind.RECEIVED, 33, b"".join(map(tag, range(1, 33)))] and request[0] == Kind.REQUEST
    for number in range(33, 33 + 256):
        pair.reply(number)
    ((_, received),) = pair.flush()
    assert received[:2] == [Kind.RECEIVED, 33 + 256] and len(received[2]) == 16 * 256
    pair.reply(300)
    pair.now += 3.0
    pair.tick()
    assert sorted(kinds(pair.flush())) == [Kind.PING, Kind.RECEIVED], "with the heartbeat, whatever there is"


def test_a_refusal_speaks_for_the_memory_that_gave_it() -> None:
    pair = Pair().up()
    pair.issue(1, 2, idempotent=True)
    pair.flush()
    pair.lost()
    pair.up(resumed=True)
    pair.flush()
    pair.error(1, Code.STOPPED)
    assert executed(pair.ended()) == {1: (errors.ContainerStopped, Executed.NO)}, "it knows its past"
    pair.lost()
    pair.up()
    pair.flush()
    pair.error(2, Code.STOPPED)
    assert executed(pair.ended()) == {2: (errors.ContainerStopped, Executed.UNKNOWN)}


def test_a_new_connection_owes_nothing_to_the_old_one() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.cancel(1)
    pair.tell([Kind.PING, 1])
    pair.lost()
    pair.dialled()
    assert kinds(pair.flush()) == [Kind.HELLO], "CANCEL and PONG belonged to the old one"


def test_another_instance() -> None:
    pair = Pair().up()
    pair.lost()
    pair.dialled()
    pair.welcome(instance=UUID(int=0xDD))
    assert pair.link.instance == UUID(int=0xDD)


def test_another_instance_has_nothing_to_do_yet() -> None:
    pair = Pair().up()
    pair.tell([Kind.PONG, 0, 0, 0, 1, 20, 5])
    pair.lost()
    pair.up(resumed=True)
    assert pair.link.load.others == 25, "it is the same process"
    pair.lost()
    pair.up(instance=UUID(int=0xDD))
    assert (pair.link.load.running, pair.link.load.queued, pair.link.load.others) == (0, 0, 0)


def refused_send() -> Pair:
    """A message that was cut, and that the transport did not take."""
    pair = Pair().up()
    pair.issue(1, timeout=1.0)
    outgoing = pair.link.next_outgoing(pair.now)
    assert outgoing is not None
    pair.link.tracker.outbox.requeue(outgoing)
    return pair


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_request_that_ended_does_not_leave_any_more(end: str) -> None:
    pair = refused_send()
    if end == "deadline":
        pair.now += 1.0
        pair.tick()
        assert executed(pair.ended()) == {1: (errors.RequestTimeout, Executed.NO)}
    else:
        pair.cancel(1)
    pair.lost()
    pair.up()
    assert numbers(pair.flush()) == []


# Attempts


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_exactly_so_many_redials(allowed: int) -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=allowed)).up()
    pair.issue(1)
    pair.flush()
    pair.issue(2)
    pair.told()
    pair.lost()
    for attempt in range(1, allowed + 1):
        assert pair.state() is S.DOWN
        pair.lost(REFUSED)
        if attempt < allowed:
            assert [event.attempt for event in pair.events() if isinstance(event, LinkRetry)] == [attempt]
    assert pair.state() is S.FAILED and pair.link.is_over
    failed = [event for event in pair.events() if isinstance(event, LinkFailed)]
    assert [event.attempts for event in failed] == [allowed]
    assert executed(pair.ended()) == {1: LOST_UNKNOWN, 2: UNSENT_NO}
    assert pair.link.statistics().attempts == allowed and pair.adds_up()
    pair.lost(REFUSED)
    assert not [event for event in pair.events() if isinstance(event, LinkFailed)], "one event"


def test_no_limit_redials_for_ever() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=None)).up()
    pair.lost()
    for _ in range(200):
        pair.lost(REFUSED)
    assert pair.state() is S.DOWN and pair.link.attempts.failed == 200


def test_a_policy_that_is_switched_off() -> None:
    pair = Pair(reconnect=ReconnectPolicy(enabled=False)).up()
    pair.told()
    pair.lost()
    assert pair.state() is S.FAILED and pair.told() == ["LinkDown", "LinkFailed"]


@pytest.mark.parametrize("allowed", [1, 3])
def test_welcome_resets_the_count(allowed: int) -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=allowed)).up()
    for _ in range(3):
        pair.lost()
        for _ in range(allowed - 1):
            pair.lost(REFUSED)
        pair.up()
    assert pair.state() is S.ALIVE and pair.link.statistics().attempts == 3 * (allowed - 1)


def test_a_dial_that_is_lost_before_welcome_has_failed() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=1)).up()
    pair.lost()
    pair.dialled()
    pair.told()
    pair.lost()
    assert pair.state() is S.FAILED and pair.told() == ["LinkDown", "LinkFailed"]


def test_a_dial_that_reached_a_busy_process_has_not_failed() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=1)).up()
    pair.lost()
    pair.dialled()
    pair.told()
    pair.now += 3.9
    pair.tick()
    assert pair.state() is S.BUSY and pair.told() == [], "a WELCOME that takes its time is no news"
    for _ in range(3):
        pair.now += 1000.0
        assert pair.tick() is None
    assert pair.state() is S.BUSY and pair.link.attempts.failed == 0 and pair.told() == ["LinkBusy"]
    pair.welcome()
    assert pair.state() is S.ALIVE


def test_the_first_dial_is_no_redial() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=2))
    for expected in ([0], [1], []):
        pair.lost(REFUSED)
        assert [event.attempt for event in pair.events() if isinstance(event, LinkRetry)] == expected
    assert pair.state() is S.FAILED


def test_once_means_one_dial() -> None:
    pair = Pair(once=True)
    pair.lost(REFUSED)
    assert pair.state() is S.FAILED and pair.told() == ["LinkFailed"]
    pair = Pair(once=True).up()
    pair.lost()
    pair.lost(REFUSED)
    assert pair.state() is S.DOWN, "but only of the first one"


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if Failure(kind, "").fatal])
def test_what_no_redial_can_help(kind: FailureKind) -> None:
    pair = Pair().up()
    pair.lost()
    pair.lost(Failure(kind, "no"))
    assert pair.state() is S.FAILED


def test_a_link_that_is_over_hears_of_nothing_more() -> None:
    for state in (S.FAILED, S.CLOSED):
        pair = in_state(state)
        pair.lost(REFUSED)
        pair.link.judge(pair.now)
        pair.welcome()
        assert pair.state() is state and pair.told() == []


# Drain and close


def test_a_drain() -> None:
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    assert pair.state() is S.DRAINING and not pair.link.is_running and pair.link.goodbye == "SIGTERM"
    pair.issue(3)
    assert pair.flush() == []
    pair.reply(1)
    pair.told()
    pair.tell([Kind.GOODBYE, Goodbye.CLOSED, "it was closed"])
    pair.lost()
    ended = pair.ended()
    assert sorted(ended) == [1, 2] and type(ended[2]) is errors.ConnectionClosed
    assert ended[2].executed is Executed.UNKNOWN and "it was closed" in str(ended[2])
    assert pair.state() is S.DOWN and pair.told() == ["LinkDown"]
    pair.up()
    assert pair.link.goodbye is None and numbers(pair.flush()) == [3] and pair.adds_up()


def test_a_container_that_drains_is_asked_for_what_it_took_before() -> None:
    pair = Pair(limits=Limits(batch_records=2)).up()
    pair.issue(1, 2, 3)
    pair.flush()
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    pair.issue(4)
    pair.lost()
    assert pair.ended() == {}, "it is still at work"
    pair.dialled()
    pair.flush()
    pair.welcome(resumed=True)
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    assert numbers(pair.flush()) == [1, 2, 3]
    pair.error(2, Code.DRAINING)
    assert pair.flush() == []


def test_a_drain_still_answers_the_heartbeat() -> None:
    pair = in_state(S.DRAINING)
    pair.tell([Kind.PING, 1])
    assert pair.flush() == [(LINK_TAG, [Kind.PONG, 1, 0, 0])]
    pair.now += 100.0
    pair.tick()
    assert pair.state() is S.DRAINING and kinds(pair.flush()) == [Kind.PING]


def test_requests_that_a_draining_container_refused_wait_for_the_successor() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.issue(2, wait=False)
    pair.flush()
    pair.tell([Kind.GOODBYE, Goodbye.DRAINING, "SIGTERM"])
    pair.error(1, Code.DRAINING)
    pair.error(2, Code.DRAINING)
    assert executed(pair.ended()) == {2: (errors.ContainerDraining, Executed.NO)}
    pair.lost()
    assert pair.ended() == {}
    pair.up()
    assert numbers(pair.flush()) == [1]


def test_one_rejection_ends_a_connection_and_the_first_one_counts() -> None:
    """A container that drains says WELCOME and GOODBYE in one message; a hostile one says GOODBYE all day."""
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=2)).up()
    pair.lost()
    pair.dialled()
    pair.flush()
    other = [*wire.welcome(INSTANCE, pair.connection, False, Status.RUNNING, "c", 2.0, Limits())]
    other[1] = 99
    pair.tell(other, [Kind.GOODBYE, Goodbye.DRAINING, "drain"], *[[Kind.GOODBYE, Goodbye.CLOSED, "bye"]] * 500)
    (effect,) = [effect for effect in pair.effects() if isinstance(effect, Disconnect)]
    assert effect.failure.kind is FailureKind.VERSION, "no redial can help"


def test_a_connection_of_no_use_ends_before_anything_else_is_done() -> None:
    """What was sent back would leave again on it."""
    pair = Pair().up()
    pair.issue(1, 2)
    pair.flush()
    pair.effects()
    pair._taken.clear()
    pair.reply(1)
    pair.error(2, Code.NO_SESSION)
    assert isinstance(pair.link.effects.popleft(), Disconnect)


def test_requests_end_before_it_is_told_why() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=1)).up()
    pair.issue(1, wait=False)
    pair.effects()
    pair._taken.clear()
    pair.lost()
    assert [type(effect) for effect in pair.effects()] == [LogState, ResolveRequests, PublishEvents]
    pair._taken.clear()
    pair.issue(2)
    pair.lost(REFUSED)
    assert [type(effect) for effect in pair.effects()] == [LogState, ResolveRequests, PublishEvents, EndLink]


def test_no_session_is_sent_again_after_welcome() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.error(1, Code.NO_SESSION)
    assert pair.ended() == {} and pair.adds_up()
    failure = pair.rejection()
    assert failure is not None and failure.kind is FailureKind.LOST, "it has to greet again"
    pair.lost(failure)
    assert pair.ended() == {}, "it has not run: nothing is lost"
    pair.dialled()
    assert kinds(pair.flush()) == [Kind.HELLO]
    pair.welcome()
    assert numbers(pair.flush()) == [1]


def test_an_error_that_says_draining_says_it_for_the_link() -> None:
    """It would be sent again at once otherwise, and refused again."""
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.error(1, Code.DRAINING, text="SIGTERM")
    assert pair.state() is S.DRAINING and pair.link.goodbye == "SIGTERM"
    assert pair.flush() == [] and pair.ended() == {}


def test_no_session_before_welcome_is_no_surprise() -> None:
    pair = Pair()
    pair.dialled()
    pair.error(1, Code.NO_SESSION)
    assert pair.rejection() is None


def test_closing() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    pair.issue(2)
    pair.told()
    pair.link.close("disconnect() was called", pair.now)
    ended = pair.ended()
    assert executed(ended) == {
        1: (errors.ConnectionClosed, Executed.UNKNOWN),
        2: (errors.ConnectionClosed, Executed.NO),
    }
    assert "disconnect() was called" in str(ended[1])
    assert pair.flush() == [(LINK_TAG, [Kind.GOODBYE, Goodbye.CLOSED, "disconnect() was called"])]
    assert pair.state() is S.CLOSED and pair.told() == ["LinkClosed"] and pair.adds_up()
    pair.link.close("again", pair.now)
    assert pair.told() == [] and pair.flush() == []


def test_answers_to_calls_leave_before_the_link_says_goodbye() -> None:
    pair = Pair().up()
    pair.issue(1)
    pair.flush()
    call: list[Any] = [Kind.REQUEST, 1, None, 0, Op.CALL, "f", [], None, None, UUID(bytes=tag(1))]
    pair.tell(call, tag=tag(9))
    pair.link.nested_calls.take()
    answer = pair.encoder.pack([Kind.RESPONSE, 1, "answer"])
    assert pair.link.nested_calls.reply(QueuedRecord(tag(9), answer))
    pair.link.close("why", pair.now)
    assert pair.flush() == [(tag(9), [Kind.RESPONSE, 1, "answer"]), (LINK_TAG, [Kind.GOODBYE, Goodbye.CLOSED, "why"])]


def test_closing_before_welcome_says_nothing() -> None:
    pair = Pair()
    pair.dialled()
    pair.link.close("why", pair.now)
    assert pair.flush() == []


# Life


def test_busy_after_two_intervals_and_back() -> None:
    pair = Pair().up()
    pair.told()
    pair.now += 2.0
    pair.tick()
    assert kinds(pair.flush()) == [Kind.PING] and pair.state() is S.ALIVE
    pair.now += 1.999
    pair.tick()
    assert pair.state() is S.ALIVE
    pair.now += 0.001
    pair.tick()
    assert pair.state() is S.BUSY and pair.link.is_running and pair.told() == ["LinkBusy"]
    pair.issue(1)
    assert numbers(pair.flush()) == [1], "it is busy, not gone"
    pair.now += 60.0
    assert pair.tick() is None
    assert pair.state() is S.BUSY and pair.told() == []
    pair.tell([Kind.PONG, 1, 2, 100])
    assert pair.state() is S.ALIVE
    (up,) = pair.events()
    assert isinstance(up, LinkUp) and not up.reconnected
    assert pair.link.statistics().reconnects == 0


def test_at_most_one_ping_is_unanswered() -> None:
    pair = Pair().up()
    for _ in range(1000):
        pair.now += 2.0
        pair.tick()
        pair.flush()
    assert numbers(pair.sent, Kind.PING) == [0]
    pair.tell([Kind.PONG, 1, 0, 0])
    for _ in range(3):
        pair.now += 1.0
        pair.tick()
    assert kinds(pair.flush()) == [Kind.PING]


def test_traffic_counts_as_life() -> None:
    pair = Pair().up()
    pair.issue(*range(1, 20))
    pair.flush()
    for number in range(1, 16):
        pair.now += 1.9
        pair.tick()
        pair.reply(number)
    assert pair.state() is S.ALIVE


def test_a_link_that_is_busy_all_the_time_knows_its_round_trip() -> None:
    pair = Pair().up()
    pair.issue(*range(1, 100))
    pair.flush()
    pings = 0
    for number in range(1, 61):
        pair.now += 0.5
        pair.tick()
        pinged = kinds(pair.flush()).count(Kind.PING)
        pings += pinged
        pair.reply(number)
        if pinged:
            pair.now += 0.25
            pair.tell([Kind.PONG, 1, 0, 0])
    assert 10 <= pings <= 15, "one an interval, and no more"
    assert pair.link.statistics().rtt == pytest.approx(0.25)


def test_a_pong_of_another_connection_is_no_answer() -> None:
    pair = Pair().up()
    pair.now += 2.0
    pair.tick()
    pair.flush()
    pair.now += 1.0
    pair.tell([Kind.PONG, 7, 0, 0])
    assert pair.link.statistics().rtt is None
    pair.tell([Kind.PONG, 1, 0, 0])
    assert pair.link.statistics().rtt == pytest.approx(1.0)


def test_pings_of_the_container() -> None:
    pair = Pair().up()
    for number in (1, 2**32 - 1, 7):
        pair.tell([Kind.PING, number])
        assert pair.flush() == [(LINK_TAG, [Kind.PONG, number, 0, 0])]
    pair.tell([Kind.PING, 1], [Kind.PING, 2])
    assert pair.flush() == [(LINK_TAG, [Kind.PONG, 2, 0, 0])], "the last one is enough"


def test_a_pong_tells_the_state_of_a_container_that_has_nothing_to_answer() -> None:
    pair = Pair().up()
    pair.told()
    pair.tell([Kind.PONG, 0, 0, 0, 0, 1, 2])
    assert pair.status() is Status.STOP and pair.told() == ["StatusChanged"]
    pair.tell([Kind.PONG, 0, 0, 0])
    assert pair.status() is Status.STOP and pair.told() == []


@pytest.mark.parametrize("welcomed", [True, False])
def test_stuck_after(welcomed: bool) -> None:
    pair = Pair(heartbeat=HeartbeatPolicy(stuck_after=9.0))
    pair.dialled()
    pair.flush()
    if welcomed:
        pair.welcome()
    pair.now += 2.0
    pair.tick()
    pair.now += 6.9
    assert pair.tick() is None
    pair.now += 0.1
    failure = pair.tick()
    assert failure is not None and failure.kind is FailureKind.STUCK and "stuck_after" in failure.detail
    pair.lost(failure)
    assert pair.state() is S.DOWN


def test_who_was_blocked_itself_asks_before_it_accuses() -> None:
    pair = Pair(heartbeat=HeartbeatPolicy(stuck_after=9.0)).up()
    pair.told()
    pair.now += 20.0
    pair.link.diagnostics.now = pair.now
    pair.link.diagnostics.record_lag(18.0)
    assert pair.tick() is None and pair.state() is S.ALIVE
    assert kinds(pair.flush()) == [Kind.PING]
    wake = pair.link.next_tick(pair.now)
    assert wake is not None and pair.now < wake <= pair.now + 2.1
    pair.now = wake
    failure = pair.tick()
    assert failure is not None and failure.kind is FailureKind.STUCK
    pair.lost(failure)
    (down,) = pair.events()
    assert isinstance(down, LinkDown) and "this worker's own event loop was blocked for 18.0 s" in down.reason


def test_events_and_errors_carry_the_evidence() -> None:
    pair = Pair(reconnect=ReconnectPolicy(max_attempts=3)).up()
    pair.issue(1)
    pair.flush()
    for _ in range(2):
        pair.now += 2.0
        pair.tick()
    *_, busy = pair.events()
    assert isinstance(busy, LinkBusy)
    assert (busy.evidence.last_heard, busy.evidence.missed, busy.evidence.rtt) == (4.0, 2, None)
    assert (busy.evidence.lag, busy.evidence.attempts) == (0.0, 0)
    assert [change.state for change in busy.evidence.history] == [S.CONNECTING, S.ALIVE, S.BUSY]
    assert busy.evidence.history[-1].reason == Signal.SILENT.value
    for _ in range(4):
        pair.lost(REFUSED)
        pair.now += 1.0
    ended = pair.ended()[1]
    assert ended.evidence.attempts == 3 and ended.evidence.history[-1].state is S.FAILED
    assert "3 redials failed" in str(ended.evidence) and "FAILED 0.0 s ago" in str(ended.evidence)
    assert pickle.loads(pickle.dumps(ended)).evidence == ended.evidence


def test_when_to_look_next() -> None:
    pair = Pair()
    assert pair.link.next_tick(pair.now) is None
    pair.issue(1, timeout=30.0)
    assert pair.link.next_tick(pair.now) == 130.0
    pair.up()
    assert pair.link.next_tick(pair.now) == 102.0
    pair.issue(2, timeout=1.0)
    assert pair.link.next_tick(pair.now) == 101.0
    pair.reply(1)
    pair.reply(2)
    pair.now = 102.0
    pair.tick()
    pair.flush()
    assert pair.link.next_tick(pair.now) == 104.0
    pair.now = 104.0
    pair.tick()
    assert pair.link.next_tick(pair.now) is None


def test_time_always_moves_on() -> None:
    """Whoever wakes at next_tick() and calls tick() never wakes at the same time for ever."""
    pair = Pair(heartbeat=HeartbeatPolicy(stuck_after=60.0))
    pair.dialled()
    pair.issue(1, timeout=7.0)
    for _ in range(50):
        when = pair.link.next_tick(pair.now)
        if when is None:
            break
        assert when > pair.now or pair.tick() is not None
        pair.now = when
        if pair.tick() is not None:
            break
    else:
        pytest.fail("it looks again and again")


# Deadlines


def test_deadlines() -> None:
    pair = Pair().up()
    pair.issue(1, timeout=1.0)
    pair.flush()
    pair.issue(2, timeout=1.0)
    pair.issue(3, timeout=None)
    pair.now += 0.999
    pair.tick()
    assert pair.ended() == {}
    pair.now += 0.001
    pair.tick()
    assert executed(pair.ended()) == {
        1: (errors.RequestTimeout, Executed.UNKNOWN),
        2: (errors.RequestTimeout, Executed.NO),
    }
    sent = pair.flush()
    assert numbers(sent, Kind.CANCEL) == [1] and numbers(sent) == [3]
    assert pair.adds_up()


@pytest.mark.parametrize("state", [S.CONNECTING, S.DOWN, S.DRAINING, S.BUSY])
def test_deadlines_come_in_every_state(state: LinkState) -> None:
    pair = in_state(state)
    pair.issue(1, timeout=1.0)
    pair.now += 1.0
    pair.tick()
    ended = pair.ended()
    assert executed(ended) == {1: (errors.RequestTimeout, Executed.NO)}
    assert pair.flush() == [] or state is S.BUSY
    assert state is S.BUSY or state in str(ended[1])


def test_a_timeout_behind_a_full_window_says_so() -> None:
    pair = Pair().up(limits=Limits(window=1))
    pair.issue(1)
    pair.flush()
    pair.issue(2, timeout=1.0)
    assert pair.flush() == []
    pair.now += 1.0
    pair.tick()
    assert "has not read what was sent before it" in str(pair.ended()[2])


def test_the_remaining_time_is_that_at_the_moment_of_leaving() -> None:
    pair = Pair()
    pair.issue(1, timeout=30.0)
    pair.now += 10.0
    pair.up()
    ((_, request),) = pair.flush()
    assert request[2] == 20_001


# Flow


def test_the_window_closes_and_opens() -> None:
    pair = Pair(limits=Limits(batch_records=1)).up(limits=Limits(window=2))
    pair.issue(*range(1, 8))
    assert numbers(pair.flush()) == [1, 2]
    pair.tell([Kind.PONG, 0, 1, 1])
    assert numbers(pair.flush()) == [3]
    pair.tell([Kind.PONG, 1, 3, 10**6])
    assert numbers(pair.flush()) == [4, 5]
    pair.tell([Kind.PONG, 9, 5, 10**6])
    assert numbers(pair.flush()) == [], "of another connection"
    pair.tell([Kind.PONG, 0, 10**9, 10**9])
    assert numbers(pair.flush()) == [6, 7], "a receiver that lies gains no more than the window"
    pair.tell([Kind.PONG, 0, 0, 0])
    pair.issue(8)
    assert numbers(pair.flush()) == [], "and nothing is taken back"
    pair.tell([Kind.PONG, 0, 7, 10**9])
    assert numbers(pair.flush()) == [8]


def test_no_more_requests_are_unanswered_than_the_container_keeps_replies() -> None:
    pair = Pair()
    pair.issue(*range(1, 8))
    pair.up(limits=Limits(reply_entries=3))
    assert numbers(pair.flush()) == [1, 2, 3]
    pair.reply(2)
    pair.cancel(1)
    assert numbers(pair.flush()) == [4, 5]
    assert not pair.link.tracker.has_room(1), "those that wait already are more than may leave"
    pair.lost()
    pair.dialled()
    pair.flush()
    pair.welcome(resumed=True, limits=Limits(reply_entries=3))
    assert numbers(pair.flush()) == [3, 4, 5], "what has left before, and nothing new"
    for number in (3, 4, 5):
        pair.reply(number)
    assert numbers(pair.flush()) == [6, 7] and pair.link.tracker.has_room(1)
    pair.issue(8)
    assert not pair.link.tracker.has_room(1)


def test_what_a_container_refuses_needs_no_place_among_its_replies() -> None:
    """By default it keeps as many replies as may be in flight: what is beyond is to be refused, and not to wait."""
    pair = Pair().up(limits=Limits(in_flight=2))
    pair.issue(*range(1, 100))
    assert len(numbers(pair.flush())) == 2 + SPARE


@pytest.mark.parametrize(
    ("announced", "most"),
    [
        ({}, 1024),
        ({"reply_entries": 5}, 5),
        ({"reply_entries": 5, "in_flight": 6}, 5),
        ({"reply_entries": 2000, "reply_bytes": 336_000}, 1000),
        ({"reply_entries": 2000, "reply_bytes": 1}, SPARE),
        ({"reply_entries": 20_000, "reply_bytes": 1 << 40, "in_flight": 10}, 20_000),
    ],
)
def test_how_many_requests_may_be_unanswered(announced: dict[str, int], most: int) -> None:
    assert max_unanswered(announced) == most


@pytest.mark.parametrize("begun", [False, True])
def test_large_items_of_uploads_pass_requests_that_may_not_leave(begun: bool) -> None:
    pair = Pair()
    entry = pair.entry(1)
    entry.send_stream = SendStream()
    pair.link.tracker.issued += 1
    pair.link.tracker.submit(entry)
    pair.issue(2, 3)
    pair.issue(4, data=b"x" * (4 * MIB), function="large")
    pair.up(limits=Limits(reply_entries=2))
    assert numbers(pair.flush()) == [1, 2]
    pair.tell([Kind.CREDIT, 0, 100, 100 * MIB], tag=tag(1))
    body = pair.encoder.pack(b"x" * (2 * MIB))
    entry.send_stream.write(body, (), len(body))
    pair.link.tracker.send_streams.mark_ready(tag(1))
    if begun:
        assert numbers(pair.flush(1), Kind.PART) == [1]
        pair.reply(2)
    left = pair.flush()
    assert numbers(left) == [3] * begun
    assert numbers(left, Kind.PART) == [1] * (3 - begun), "an item of two parts and a little"
    assert entry.send_stream.sent == 1 and tag(4) in pair.link.tracker.outbox


def test_a_request_in_parts_goes_on_though_no_other_may_leave() -> None:
    """It holds up large items behind it, and so those of who would make room."""
    pair = Pair().up(limits=Limits(reply_entries=3))
    pair.issue(1, data=b"x" * (3 * MIB))
    pair.flush(1)
    pair.issue(2, 3, function="others")
    assert numbers(pair.flush(1)) == [2, 3]
    pair.link.tracker.limit_unanswered({"reply_entries": 2})
    assert numbers(pair.flush(), Kind.PART) == [1, 1, 1]


def test_replies_are_acknowledged_before_the_container_has_no_room_for_more() -> None:
    for room, alone in ((1 << 30, False), (10_000, True)):
        pair = Pair().up(limits=Limits(reply_bytes=room))
        pair.issue(1, 2)
        pair.flush()
        pair.link.receive(Message([(tag(1), [Kind.RESPONSE, 1, None])], size=6000), pair.now)
        assert (Kind.RECEIVED in kinds(pair.flush())) is alone


def test_a_container_is_told_of_who_waits_when_too_much_lies_unread_and_it_knows_of_the_request() -> None:
    pair = Pair(limits=Limits(queued_bytes=100, stream_bytes=1000)).up()

    def stream(number: int) -> ReceiveStream:
        entry = pair.entry(number)
        entry.receive_stream = ReceiveStream(10, 1000)
        pair.link.tracker.issued += 1
        pair.link.tracker.submit(entry)
        return entry.receive_stream

    stream(1)
    pair.wait(1)
    assert kinds(pair.flush()) == [Kind.REQUEST], "nothing lies unread"
    pair.tell([Kind.CHUNK, 0, 200, False, [b"x" * 198]], tag=tag(1))
    read = stream(2)
    pair.wait(2)
    left = pair.flush()
    assert kinds(left) == [Kind.REQUEST, Kind.CREDIT] and left[1] == (tag(2), [Kind.CREDIT, 0, 10, 1001])
    pair.tell([Kind.CHUNK, 0, 50, False, [b"x" * 48]], tag=tag(2))
    assert read.pop_chunk()
    pair.wait(2)
    assert pair.flush() == [(tag(2), [Kind.CREDIT, 1, 11, 1051])]
    pair.cancel(1)
    pair.flush()
    assert pair.link.tracker.receive_budget.unread == 0, "what is not waited for any more is not counted"


def test_the_window_in_bytes() -> None:
    pair = Pair(limits=Limits(batch_records=1)).up(limits=Limits(queued_bytes=100))
    pair.issue(1, 2, 3, data="x" * 90)
    assert numbers(pair.flush()) == [1], "one message passes whatever its size"
    pair.tell([Kind.PONG, 0, 1, 10**6])
    assert numbers(pair.flush()) == [2]


def test_control_passes_a_full_window() -> None:
    pair = Pair(limits=Limits(batch_records=1)).up(limits=Limits(window=1))
    pair.issue(1, 2)
    assert numbers(pair.flush()) == [1]
    pair.now += 2.0
    pair.tick()
    pair.cancel(1)
    assert kinds(pair.flush()) == [Kind.PING, Kind.CANCEL]
    left = 0
    for _ in range(2 * CONTROL_RESERVE):
        pair.tell([Kind.PING, 1])
        left += len(pair.flush())
    assert left == CONTROL_RESERVE - 2
    while pair.link.tracker.outbox._control:
        pair.tell([Kind.PONG, 0, 10**6, 10**6])
        pair.flush()
    pair.tell([Kind.PONG, 0, 10**6, 10**6])
    assert numbers(pair.flush()) == [2]


def test_a_container_that_asks_and_does_not_read_costs_no_memory() -> None:
    pair = Pair().up(limits=Limits(window=1))
    for _ in range(10_000):
        pair.tell([Kind.PING, 1])
        pair.flush()
    assert len(pair.link.tracker.outbox._control) < 1000


def test_goodbye_leaves_a_full_window_behind() -> None:
    pair = Pair(limits=Limits(batch_records=1)).up(limits=Limits(window=1))
    pair.issue(1)
    pair.flush()
    for _ in range(2 * CONTROL_RESERVE):
        pair.tell([Kind.PING, 1])
    pair.flush()
    pair.link.close("why", pair.now)
    assert kinds(pair.flush()) == [Kind.GOODBYE]


def test_a_new_connection_has_a_new_window() -> None:
    pair = Pair(limits=Limits(batch_records=1)).up(limits=Limits(window=1))
    pair.issue(1)
    pair.flush()
    pair.lost()
    pair.up(limits=Limits(window=2))
    pair.issue(2, 3, 4)
    assert numbers(pair.flush()) == [2, 3]


# Everything in any order


class LinkMachine(RuleBasedStateMachine):
    """Whatever happens to a link: every request ends exactly once, and the counters add up after every step.

    The model knows which requests are open, which of them were lost with a connection and wait for the next one, and
    how often each was sent to which memory of a container, and not refused there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(
            reconnect=ReconnectPolicy(max_attempts=4),
            heartbeat=HeartbeatPolicy(stuck_after=20.0),
            limits=Limits(batch_records=2),
        )
        self.issued = 0
        self.down = 0.0  # seconds since the last WELCOME
        self.patience: dict[int, float | None] = {}
        self.open: set[int] = set()
        self.on_wire: set[int] = set()
        self.limbo: set[int] = set()
        self.memory = self.kept = 0
        self.sendings: dict[int, dict[int, int]] = {}

    def absorb(self) -> None:
        """What has ended, ends in the model."""
        for number, outcome in self.pair.ended().items():
            assert number in self.open, "it ended twice, or was never issued"
            self.open.remove(number)
            self.on_wire.discard(number)
            self.limbo.discard(number)
            if isinstance(outcome, Exception):
                assert isinstance(outcome, errors.MpzmqError)
                if getattr(outcome, "executed", None) is Executed.NO:
                    assert not any(self.sendings.get(number, {}).values()), "it may have run"
                if "lost_after" in str(outcome):
                    patience = self.patience[number]
                    assert patience is not None and self.down >= patience, "it was given up too early"
        rejection = self.pair.rejection()
        if rejection is not None:
            self.end(rejection)

    def end(self, failure: Failure) -> None:
        self.pair.lost(failure)
        self.limbo |= self.on_wire
        self.on_wire.clear()
        self.absorb()

    @property
    def link_up(self) -> bool:
        return self.pair.link.is_handshaken

    @precondition(lambda self: not self.pair.link.is_over)
    @rule(
        wait=st.booleans(),
        idempotent=st.booleans(),
        timeout=st.sampled_from([None, 1.0, 5.0]),
        size=st.sampled_from([1, 5000]),
        lost_after=st.sampled_from([None, None, 0.0, 1.5, 5.0]),
    )
    def issue(self, wait: bool, idempotent: bool, timeout: float | None, size: int, lost_after: float | None) -> None:
        self.issued += 1
        self.open.add(self.issued)
        self.patience[self.issued] = lost_after
        self.pair.issue(
            self.issued, wait=wait, idempotent=idempotent, timeout=timeout, data="x" * size, lost_after=lost_after
        )

    @rule(messages=st.integers(1, 5))
    def flush(self, messages: int) -> None:
        for number in numbers(self.pair.flush(messages)):
            assert number in self.open, "what has ended does not leave"
            assert number not in self.on_wire, "nothing leaves twice on one connection"
            self.on_wire.add(number)
            sent = self.sendings.setdefault(number, {})
            sent[self.memory] = sent.get(self.memory, 0) + 1
        if self.pair.link.state is not LinkState.DRAINING:  # where what it had taken before goes first
            assert len(self.on_wire) <= self.kept, "more than the container keeps replies"

    @precondition(lambda self: self.issued and self.link_up)
    @rule(data=st.data())
    def reply(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.issued))
        if number in self.on_wire or number not in self.open:  # nobody can answer what was never sent
            self.pair.reply(number)
            self.absorb()
            assert number not in self.open

    @precondition(lambda self: self.issued and self.link_up)
    @rule(data=st.data(), code=st.integers(0, 13), executed=st.integers(0, 2))
    def error(self, data: st.DataObject, code: int, executed: int) -> None:
        number = data.draw(st.integers(1, self.issued))
        if number in self.open and number not in self.on_wire:
            return
        sent = self.sendings.setdefault(number, {})
        if code == Code.NO_SESSION:
            sent[self.memory] = max(0, sent.get(self.memory, 0) - 1)
        elif number in self.on_wire and executed == 0:
            sent[self.memory] = 0
        if code in (Code.NO_SESSION, Code.DRAINING):
            executed = 0
            self.on_wire.discard(number)
        self.pair.error(number, code, executed)
        self.absorb()

    @precondition(lambda self: self.issued)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.issued))
        self.pair.cancel(number)
        self.open.discard(number)
        self.on_wire.discard(number)
        self.limbo.discard(number)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.pair.now += seconds
        if self.pair.link.state is LinkState.DOWN:
            self.down += seconds
        failure = self.pair.tick()
        self.absorb()
        if failure is not None:
            self.end(failure)
        for entry in self.pair.link.tracker.pending.values():
            assert entry.deadline is None or entry.deadline > self.pair.now, "it should have expired"

    @precondition(lambda self: not self.link_up and not self.pair.link.is_over)
    @rule()
    def dial_succeeds(self) -> None:
        self.pair.dialled()

    @precondition(lambda self: not self.link_up)
    @rule()
    def dial_fails(self) -> None:
        self.end(REFUSED)

    @precondition(lambda self: self.link_up)
    @rule()
    def break_(self) -> None:
        self.end(LOST)

    @precondition(lambda self: self.link_up)
    @rule(
        stale=st.integers(0, 3),
        size=st.sampled_from([4096, 10**6]),
        window=st.integers(1, 3),
        resumed=st.booleans(),
        restarted=st.booleans(),
        kept=st.sampled_from([1, 2, 10_000]),
    )
    def welcome(self, stale: int, size: int, window: int, resumed: bool, restarted: bool, kept: int) -> None:
        number = self.pair.connection - (1 if stale == 3 else 0)
        before = self.pair.link.instance
        instance = UUID(int=self.memory + 1) if before is None or restarted else before
        welcomed = self.pair.link.welcomed
        limits = Limits(message_bytes=size, window=window, reply_entries=kept)
        self.pair.welcome(number=number, limits=limits, instance=instance, resumed=resumed)
        if self.pair.link.welcomed and not welcomed:
            self.limbo.clear()  # what was lost waits to leave again, or has ended
            self.kept = kept
            self.down = 0.0
            self.memory += instance != before or not resumed
        self.absorb()

    @precondition(lambda self: self.link_up)
    @rule(code=st.sampled_from([Goodbye.DRAINING, Goodbye.CLOSED, Goodbye.TOO_MANY_SESSIONS, 99]))
    def goodbye(self, code: int) -> None:
        self.pair.tell([Kind.GOODBYE, code, "bye"])
        self.absorb()

    @precondition(lambda self: self.link_up)
    @rule(messages=st.integers(0, 30), size=st.integers(0, 10**5), asked=st.booleans())
    def tell_what_was_read(self, messages: int, size: int, asked: bool) -> None:
        front = [Kind.PONG, self.pair.connection if asked else 0]
        self.pair.tell([*front, messages, size])

    @precondition(lambda self: self.link_up)
    @rule(data=st.data())
    def garble(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.issued + 1))
        if number in self.on_wire or number not in self.open:
            self.pair.link.receive(Message([], malformed=[tag(number)], ignored=1), self.pair.now)
            self.absorb()

    @rule(really=st.integers(0, 9))
    def close(self, really: int) -> None:
        if really == 0:
            self.pair.link.close("why", self.pair.now)
            self.absorb()

    @invariant()
    def the_counters_add_up(self) -> None:
        assert self.pair.adds_up()
        counts = self.pair.link.statistics()
        assert (counts.issued, counts.in_flight) == (self.issued, len(self.open))

    @invariant()
    def exactly_the_open_requests_are_pending(self) -> None:
        tracker = self.pair.link.tracker
        assert {int.from_bytes(entry.tag, "big") for entry in tracker.pending.values()} == self.open
        for number in self.open:
            places = (tag(number) in tracker.outbox) + (number in self.on_wire) + (number in self.limbo)
            assert places == 1, "it waits to leave, for its reply, or for the next connection"
        assert len(tracker.outbox) + len(self.on_wire | self.limbo) == len(self.open), "what has ended does not wait"
        assert tracker.outbox.bytes == sum(
            entry.size for entry in tracker.pending.values() if entry.tag in tracker.outbox
        )

    @invariant()
    def what_has_left_does_not_wait_longer_than_it_may(self) -> None:
        if self.pair.link.state is LinkState.DOWN:
            for entry in self.pair.link.tracker.pending.values():
                assert not entry.sent or entry.lost_after is None or self.down < entry.lost_after

    @invariant()
    def nothing_is_left_at_the_end(self) -> None:
        link = self.pair.link
        if link.is_over:
            assert not self.open
        assert not link.is_running or link.welcomed
        assert not link.welcomed or link.is_handshaken

    def teardown(self) -> None:
        self.pair.link.close("the test ends", self.pair.now)
        self.absorb()
        assert not self.open and self.pair.adds_up()


TestAnyOrder = LinkMachine.TestCase
TestAnyOrder.settings = settings(max_examples=75, stateful_step_count=60)


def test_what_is_acknowledged_fits_into_the_containers_messages() -> None:
    pair = Pair().up(limits=Limits(message_bytes=4096))
    numbers = range(1, 1001)
    pair.issue(*numbers)
    pair.flush()
    for number in numbers:
        pair.reply(number)
    told: set[bytes] = set()
    for _ in range(20):
        pair.tick()
        while (outgoing := pair.link.next_outgoing(pair.now)) is not None:
            assert max(map(len, outgoing.frames)) <= 4096
            pair.link.on_sent(outgoing, pair.now)
            for _, record in pair.read(outgoing):
                if record[0] == Kind.RECEIVED:
                    told |= {record[2][place : place + 16] for place in range(0, len(record[2]), 16)}
        pair.tell([Kind.PING, pair.connection])
    assert told == {tag(number) for number in numbers}


@pytest.mark.parametrize("by", ["its own clock", "the container's word"])
def test_a_stream_ends_at_its_deadline_whoever_says_so_first(by: str) -> None:
    """Nobody gets an item after it, though it had come before."""
    pair = Pair().up()
    entry = pair.entry(1, timeout=30.0)
    entry.receive_stream = ReceiveStream(10, 1000)
    pair.link.tracker.issued += 1
    pair.link.tracker.submit(entry)
    pair.flush()
    pair.tell([Kind.CHUNK, 0, 8, False, ["one", "two"]], tag=tag(1))
    if by == "its own clock":
        pair.link.tick(pair.now + 30.0)
    else:
        pair.error(1, Code.EXPIRED, 2)
    assert isinstance(pair.ended()[1], errors.RequestTimeout)
    assert not entry.receive_stream.pop_chunk() and not entry.receive_stream.items
