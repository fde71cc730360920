"""What the judge makes of messages, whatever it is doing when they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpzmq.conformance.checks import Violation
from mpzmq.conformance.conversation import Conversation
from mpzmq.conformance.frames import Heard, pack
from mpzmq.conformance.reassembly import Reassembly, in_parts
from mpzmq.protocol.wire.kinds import Kind

if TYPE_CHECKING:
    from mpzmq.transport.interface import Frames

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
