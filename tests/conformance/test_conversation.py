"""What the judge makes of messages, whatever it is doing when they come."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import zmq

from mpzmq.address import parse_address
from mpzmq.conformance.checks import Violation
from mpzmq.conformance.conversation import Conversation
from mpzmq.conformance.engine_under_test import EngineUnderTest
from mpzmq.conformance.frames import Heard, pack
from mpzmq.conformance.reassembly import Reassembly, in_parts
from mpzmq.protocol.wire.kinds import Code, Kind, Op
from mpzmq.transport.libzmq.transport import ZmqTransport
from tests.support.waiting import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpzmq.transport.interface import Frames
    from tests.support.raw import Raw

TAG = bytes(range(16))
RESPONSE = [Kind.RESPONSE, 1, "x" * (3 << 20)]


class Deaf(Conversation):
    """The peer takes nothing any more."""

    def send(self, frames: Frames) -> None:
        raise Violation("the connection takes no more")


def test_parts_of_a_peer_that_takes_no_answer_are_read() -> None:
    peer = Deaf(of_engine=False, patience=1.0)
    for frames in in_parts(TAG, RESPONSE):
        peer.take(frames)
    assert [heard.record for heard in peer.records] == [RESPONSE]
    peer.blame()


def test_fields_behind_those_of_a_part_are_a_later_versions() -> None:
    body = pack(RESPONSE)
    sizes = len(body).to_bytes(8, "big")
    whole = Reassembly().add(Heard(TAG, [Kind.PART, 0, sizes, [body], "later"]))
    assert whole is not None and whole.record == RESPONSE


def test_what_was_wrong_is_told_where_nothing_is_judged() -> None:
    peer = Deaf(of_engine=True, patience=1.0)
    peer.is_judged = False
    peer.take([TAG])
    assert peer.what_came() == "nothing came; what was wrong: a message of 1 frames (section 2)"


async def test_a_driver_that_reports_something_else_is_told_and_served_further(raw: Callable[[int], Raw]) -> None:
    transport = ZmqTransport()
    judge = EngineUnderTest(transport, parse_address("127.0.0.1:0", bind=True), 0.2)
    judge.listen()
    driver = raw(zmq.DEALER).connect(judge.endpoint)
    looking = asyncio.create_task(judge.look(SECONDS))
    await driver.greet()
    odd: list[list[object]] = [[], [1], [1, [2]], [2, [2]], [[], []]]
    for args in odd:
        driver.send(uuid.uuid4().bytes, pack([Kind.REQUEST, 1, None, 0, Op.CALL, "report", args, None, None]))
    last = uuid.uuid4().bytes
    driver.send(last, pack([Kind.REQUEST, 2, None, 0, Op.CALL, "nothing", [], None, None]))
    codes: list[int] = []
    while not codes or codes[-1] != Code.UNSUPPORTED:
        codes += [record[1] for _, record in driver.unpack(await driver.receive()) if record[0] == Kind.ERROR]
    assert Code.INVALID_ARGUMENTS in codes
    await looking
    await judge.close()
    await transport.release()
