"""``mpzmq.wire``: every record, for whoever asks for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq.protocol.wire.shown import shown_message
from tests.support.raw import LINK_TAG
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw import Raw
    from tests.support.scene import Scene


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mpzmq.wire"]


async def test_each_record_is_a_line_on_both_sides(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mpzmq.wire"):
        assert await soon(scene.container.request({"word": "a\nb", "data": memoryview(bytes(70_000))}))
    seen = lines(caplog)
    assert [
        line
        for line in seen
        if line.startswith("to container 'scene' at ") and ": REQUEST " in line and "'word'" in line
    ]
    assert [line for line in seen if line.startswith("from engine ") and ": REQUEST " in line]
    assert [line for line in seen if line.startswith("to engine ") and ": RESPONSE " in line]
    assert [line for line in seen if line.startswith("from container 'scene' at ") and ": RESPONSE " in line]
    assert any("70,000 bytes in 1 buffers" in line for line in seen)
    assert not any("\n" in line for line in seen)
    caplog.clear()
    await soon(scene.container.request(1))
    assert lines(caplog) == [], "nobody asks for it any more"


async def test_whatever_a_stranger_sends_is_shown(
    scene: Scene, raw: Callable[[int], Raw], caplog: pytest.LogCaptureFixture
) -> None:
    stranger = raw(zmq.DEALER).connect(scene.endpoint)
    with caplog.at_level(logging.DEBUG, "mpzmq.wire"):
        stranger.send(LINK_TAG, b"\xc1")
        stranger.send(LINK_TAG, stranger.pack([7, 1]))
        await until(lambda: any("ERROR" in line for line in lines(caplog)))
    seen = lines(caplog)
    assert any(line.startswith("from connection ") and "PING [1]" in line for line in seen)
    assert any(line.startswith("from connection ") and "FormatError" in line for line in seen)
    assert any(line.startswith("to connection ") and "ERROR" in line for line in seen)
    assert await soon(scene.container.request(1)) == 1


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"", b""], [b"x" * 16], [b"x", b"\xff"], [LINK_TAG, b"\x91\xa1\xff"], [LINK_TAG, b"\x81"]]
)
def test_it_shows_whatever_there_is(frames: list[bytes]) -> None:
    assert all(isinstance(line, str) for line in shown_message(frames))
