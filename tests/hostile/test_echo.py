"""What a side repeats or keeps of what it was sent: never at any length, and never once for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from mpzmq import errors
from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.requester.reply_acks import MAX_UNREPORTED
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import Message
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import LOST, Pair, tag

from .liar import liars

if TYPE_CHECKING:
    from .target import Target

LONG = 200_000


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ([Kind.REQUEST, 1, None, 0, Op.CALL, "\0" * LONG, [], None, None], Code.UNSUPPORTED),
        ([Kind.REQUEST, 1, None, 0, Op.CALL, "note", [], {"data": 1, "\0" * LONG: 1}, None], Code.INVALID_ARGUMENTS),
    ],
    ids=["a name", "an argument's name"],
)
async def test_an_error_does_not_repeat_a_long_name(target: Target, record: list[object], code: int) -> None:
    with liars(target) as make:
        liar = make()
        await liar.greet()
        asked = uuid4().bytes
        await liar.say(asked, record)
        answer = await liar.answer_to(asked)
        assert answer[:2] == [Kind.ERROR, code]
        assert len(answer[4]) < 5000
    await target.unharmed(grown=24)


@pytest.mark.parametrize("status", [5, None, "stop", {"a": ["STOP"]}, "x" * LONG], ids=lambda status: repr(status)[:20])
async def test_a_status_that_does_not_exist_is_refused_and_nothing_is_logged(target: Target, status: object) -> None:
    said = target.process.stderr
    with liars(target) as make:
        liar = make()
        await liar.greet()
        asked = uuid4().bytes
        await liar.say(asked, [Kind.REQUEST, 1, None, 0, Op.SETSTATE, None, [status], None, None])
        assert (await liar.answer_to(asked))[:3] == [Kind.ERROR, Code.REFUSED, 0]
    await target.unharmed(grown=24)
    assert target.process.stderr == said


def test_a_container_keeps_no_long_names_of_engines() -> None:
    sessions = SessionTable(UUID(int=1), "x", 2.0, Limits())
    for number in range(3):
        hello = wire.hello(UUID(int=number), 1, str(number) * LONG, 60.0, Limits())
        sessions.receive(b"route", Message([(LINK_TAG, hello)]), RequestBatch(), 0.0)
    assert all(len(peer.name) < 1000 for peer in sessions._peers.values())


@pytest.mark.parametrize("code", [Goodbye.CLOSED, Goodbye.DRAINING, Goodbye.TOO_MANY_SESSIONS, Goodbye.VERSION])
def test_a_long_goodbye_is_not_repeated_in_the_error_of_every_request(code: int) -> None:
    pair = Pair().up()
    pair.issue(1, 2, 3)
    pair.flush()
    pair.tell([Kind.GOODBYE, code, "\0" * LONG])
    pair.lost(pair.rejection() or LOST)
    pair.link.close("the test is over", pair.now)
    ended = pair.ended()
    assert len(ended) == 3
    assert all(isinstance(error, errors.RequestError) and len(str(error)) < 5000 for error in ended.values())
    assert all(len(event.reason) < 5000 for event in pair.events())


def test_replies_to_nobody_do_not_pile_up_where_the_container_reads_nothing() -> None:
    pair = Pair().up(limits=Limits(window=1))
    # What the container acknowledges to no end: the window for everything, RECEIVED too, is full.
    for _ in range(2000):
        pair.tell([Kind.PING, pair.connection])
        pair.flush()
    for number in range(3 * MAX_UNREPORTED):
        pair.tell([Kind.RESPONSE, 1, None], tag=tag(number + 1))
    assert len(pair.link.tracker.reply_acks.tags) <= MAX_UNREPORTED
    # Those that somebody waited for are told, sooner or later.
    pair.issue(10_000_000)
    pair.reply(10_000_000)
    assert tag(10_000_000) in pair.link.tracker.reply_acks.tags
