"""What people are shown of records: no secrets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack
import pytest

from mpzmq.config import Limits
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.protocol.wire.schema import greeting_fault
from mpzmq.protocol.wire.shown import shown_message

INSTANCE = UUID(int=1)


@pytest.mark.parametrize("token", ["hush-hush", b"hush-hush", ["hush-hush"]])
def test_the_token_of_a_join_is_not_shown(token: Any) -> None:
    record = list(wire.join(INSTANCE, 1, "", "worker-7", {}, Limits()))
    record[4] = token  # as a stranger may have written it
    record[2] = "an instance"  # msgpack alone has no UUID
    (line,) = shown_message([LINK_TAG, msgpack.packb(record)])
    assert line == "JOIN of 8 fields"


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [({"authorization": "hush-hush"}, "{'authorization': '...'}"), ("hush-hush", "'...'"), (None, "None")],
)
def test_the_values_of_metadata_are_not_shown(metadata: Any, shown: str) -> None:
    record = [Kind.REQUEST, 7, 30_000, 0, 1, "add", [1, 2], None, metadata]
    (line,) = shown_message([bytes(15) + b"\x01", msgpack.packb(record)])
    assert line == f"REQUEST 00000000 [7, 30000, 0, 1, 'add', [1, 2], None, {shown}]"
    (part,) = shown_message([bytes(15) + b"\x01", msgpack.packb([Kind.PART, 0, b"", [msgpack.packb(record)]])])
    assert "hush" not in part and part.startswith("PART 00000000 [0, b'']")


def test_a_token_that_is_no_text_is_told_by_its_field() -> None:
    record = list(wire.join(INSTANCE, 1, "", "worker-7", {}, Limits()))
    record[4] = b"hush-hush"
    fault = greeting_fault(record)
    assert fault == "the field 'token' of JOIN should be text, and is of another type"
    record[4] = "hush-hush"
    assert greeting_fault(record) == ""
