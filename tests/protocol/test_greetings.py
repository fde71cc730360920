"""A HELLO or WELCOME that cannot be accepted: whoever sent it hears which field is wrong, and so does the log."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mpzmq.config import Limits
from mpzmq.failure import FailureKind
from mpzmq.models import Status
from mpzmq.protocol import wire
from mpzmq.protocol.effects import LogRejection
from mpzmq.protocol.responder.batch import RequestBatch
from mpzmq.protocol.session.table import SessionTable
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.protocol import INSTANCE, SESSION, Pair, tag, taken

HELLO = wire.hello(SESSION, 1, "engine", 2.0, Limits())
WELCOME = wire.welcome(INSTANCE, 1, False, Status.RUNNING, "container", 2.0, Limits())

WRONG = [
    *((HELLO, place, value) for place, value in ((1, 1), (1, [-1]), (2, "x"), (3, -1), (3, True), (4, b"x"), (5, 0))),
    *((HELLO, place, value) for place, value in ((5, float("nan")), (5, "2"), (6, []), (6, {"items": 0}))),
    *((WELCOME, place, value) for place, value in ((1, None), (2, SESSION.bytes), (3, 1.0), (4, 0), (5, 2), (6, 5))),
    *((WELCOME, place, value) for place, value in ((7, 0.0), (7, -1), (8, [512, 0]), (8, [512]), (9, {"depth": "64"}))),
]
FIELDS = {
    Kind.HELLO: ("kind", "versions", "session", "number", "name", "interval", "limits"),
    Kind.WELCOME: (
        *("kind", "version", "instance", "number", "resumed", "status", "name", "interval", "window", "limits"),
    ),
}


def read(record: list[Any]) -> Message:
    """What the side to which a record is said makes of it."""
    reader = MessageDecoder(Limits(), Kind.REQUEST if record[0] == Kind.HELLO else Kind.RESPONSE)
    return reader.decode([LINK_TAG, Encoder(Limits()).pack(record)])


def test_sound_greetings_have_no_fault() -> None:
    for record in (HELLO, WELCOME):
        message = read(record)
        assert (message.fault, len(message.records)) == ("", 1)


@pytest.mark.parametrize(("record", "place", "value"), WRONG)
def test_the_wrong_field_is_named(record: list[Any], place: int, value: Any) -> None:
    message = read([*record[:place], value, *record[place + 1 :]])
    assert message.records == []
    assert repr(FIELDS[record[0]][place]) in message.fault
    assert "should be" in message.fault


@pytest.mark.parametrize("record", [HELLO, WELCOME], ids=["HELLO", "WELCOME"])
def test_the_missing_field_is_named(record: list[Any]) -> None:
    for length in range(1, len(record)):
        message = read(record[:length])
        assert f"no field {FIELDS[record[0]][length]!r}" in message.fault


def test_a_large_wrong_field_is_not_said_again_whole() -> None:
    assert len(read([*HELLO[:6], {f"limit-{number}": 0 for number in range(5000)}]).fault) < 1000


def test_a_greeting_of_the_other_side_is_none() -> None:
    reader = MessageDecoder(Limits(), Kind.REQUEST)
    message = reader.decode([LINK_TAG, Encoder(Limits()).pack([Kind.WELCOME])])
    assert (message.fault, message.ignored) == ("", 1)


def unreadable(record: list[Any]) -> list[list[bytes]]:
    """Messages that came in place of a greeting, and of which not even the kind can be read."""
    body = Encoder(Limits()).pack(record)
    bad_uuid = msgpack.packb([*record[:2], msgpack.ExtType(2, bytes(15)), *record[3:]], default=str)
    return [
        *([LINK_TAG, part] for part in (body[:-3], b"", b"\xc1", bad_uuid, msgpack.packb({"a": 1}), b"\x91\xc3")),
        *([b"hello"], [], [b"", b""], [b"abc", body], [b"", b"hello"]),
    ]


def rejection_of(sessions: SessionTable) -> str:
    """What the log is to say of the greeting."""
    (text,) = [effect.text for effect in taken(sessions.effects) if isinstance(effect, LogRejection)]
    return text


def test_what_cannot_be_read_in_place_of_hello_is_answered() -> None:
    for frames in unreadable(HELLO):
        sessions = SessionTable(INSTANCE, "container", 2.0, Limits())
        message = MessageDecoder(Limits(), Kind.REQUEST).decode(frames)
        assert (message.records, message.malformed, message.ignored) == ([], [], 1), frames
        sessions.receive(b"r", message, RequestBatch(), 0.0)
        ((_, answer),) = sessions.sessionless.take()
        ((_, goodbye),) = MessageDecoder(Limits(), Kind.RESPONSE).decode(answer).records
        assert goodbye[:2] == [Kind.GOODBYE, Goodbye.MALFORMED]
        assert "cannot be read" in goodbye[2]
        assert "cannot be read" in rejection_of(sessions)


def test_what_cannot_be_read_in_place_of_welcome_ends_the_dial() -> None:
    for frames in unreadable(WELCOME):
        pair = Pair()
        pair.dialled()
        pair.flush()
        pair.link.receive(MessageDecoder(Limits(), Kind.RESPONSE).decode(frames), pair.now)
        failure = pair.rejection()
        assert failure is not None, frames
        assert (failure.kind, failure.fatal) == (FailureKind.MALFORMED, False)
        assert [record[:2] for _, record in pair.flush()] == [[Kind.GOODBYE, Goodbye.MALFORMED]]


def test_what_cannot_be_read_behind_a_greeting_is_ignored() -> None:
    for record, answered in ((HELLO, Kind.REQUEST), (WELCOME, Kind.RESPONSE)):
        body = Encoder(Limits()).pack(record) + b"\xc1"
        message = MessageDecoder(Limits(), answered).decode([LINK_TAG * 2, body])
        assert (len(message.records), message.ignored, message.fault) == (1, 1, "")


@pytest.mark.parametrize("code", [Goodbye.DRAINING, Goodbye.CLOSED, 99])
def test_a_goodbye_in_place_of_welcome_ends_the_dial(code: int) -> None:
    pair = Pair()
    pair.dialled()
    pair.link.receive(Message([(LINK_TAG, [Kind.GOODBYE, code, "not\nnow"])]), pair.now)
    failure = pair.rejection()
    assert failure is not None
    assert (failure.kind, failure.fatal) == (FailureKind.LOST, False)
    assert r"'not\nnow'" in failure.detail


def test_the_engine_of_a_wrong_hello_is_turned_away() -> None:
    sessions = SessionTable(INSTANCE, "container", 2.0, Limits())
    sessions.receive(b"r", read([*HELLO[:5], 0, HELLO[6]]), RequestBatch(), 0.0)
    ((route, frames),) = sessions.sessionless.take()
    ((_, goodbye),) = MessageDecoder(Limits(), Kind.RESPONSE).decode(frames).records
    assert (route, goodbye[:2]) == (b"r", [Kind.GOODBYE, Goodbye.MALFORMED])
    assert "'interval' of HELLO" in goodbye[2]
    assert "'interval' of HELLO" in rejection_of(sessions)
    assert not sessions.all()


def test_a_wrong_hello_on_a_connection_that_has_greeted_changes_nothing() -> None:
    sessions = SessionTable(INSTANCE, "container", 2.0, Limits())
    sessions.receive(b"r", read(HELLO), RequestBatch(), 0.0)
    sessions.receive(b"r", read([Kind.HELLO]), RequestBatch(), 0.0)
    assert len(sessions.connected()) == 1
    assert not sessions.sessionless.take()


def test_the_container_of_a_wrong_welcome_is_left_and_told() -> None:
    pair = Pair()
    pair.dialled()
    pair.flush()
    pair.link.receive(read([*WELCOME[:8], [0, 0], WELCOME[9]]), pair.now)
    failure = pair.rejection()
    assert failure is not None
    assert failure.kind is FailureKind.MALFORMED
    assert "'window' of WELCOME" in failure.detail
    assert not failure.fatal, "the next one may be sound"
    assert [record[:2] for _, record in pair.flush()] == [[Kind.GOODBYE, Goodbye.MALFORMED]]


def test_an_engine_that_rejects_the_welcome_is_logged() -> None:
    sessions = SessionTable(INSTANCE, "container", 2.0, Limits())
    sessions.receive(b"r", read(HELLO), RequestBatch(), 0.0)
    goodbye = [Kind.GOODBYE, Goodbye.MALFORMED, "the field 'window'\n"]
    sessions.receive(b"r", Message([(LINK_TAG, goodbye)]), RequestBatch(), 0.0)
    text = rejection_of(sessions)
    assert "the field 'window'" in text and "\n" not in text
    assert not sessions.all()


def test_items_behind_their_request_are_refused_before_it_runs() -> None:
    """Nobody has given credit for them: they were dropped, and the function waited for them."""
    sessions = SessionTable(INSTANCE, "container", 2.0, Limits())
    sessions.receive(b"r", read(HELLO), RequestBatch(), 0.0)
    batch = RequestBatch()
    request: list[Any] = [Kind.REQUEST, 1, None, 0, Op.UPLOAD, "total", [], None, None]
    chunk = [Kind.CHUNK, 0, 0, True, []]
    sessions.receive(b"r", Message([(tag(1), request), (tag(2), list(request))], size=100), batch, 0.0)
    sessions.receive(b"r", Message([(tag(1), chunk)], size=10), batch, 0.0)
    assert [entry and entry[1] for entry in batch.requests] == [None, tag(2)]
    ((_, item),) = batch.refused
    ((name, error),) = MessageDecoder(Limits(), Kind.RESPONSE).decode([item.tag, item.body]).records
    assert (name, error[1], error[2]) == (tag(1), Code.MALFORMED, 0)
    assert "before the first CREDIT" in error[4]
