"""``mpzmq.wire``: every record, for whoever asks for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.protocol.wire.shown import shown_message
from mpzmq.runtime.wire_log import WIRE_LOG
from tests.support.raw import LINK_TAG
from tests.support.scene import QUICK
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.raw import Raw
    from tests.support.scene import Scene


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mpzmq.wire"]


@pytest.fixture
def wanted(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log is wanted before anything is opened."""
    with caplog.at_level(logging.DEBUG, "mpzmq.wire"):
        yield caplog
    WIRE_LOG.refresh()


async def test_each_record_is_a_line_on_both_sides(wanted: pytest.LogCaptureFixture, scene: Scene) -> None:
    assert await soon(scene.container.request({"word": "a\nb", "data": memoryview(bytes(70_000))}))
    seen = lines(wanted)
    (asked,) = [line for line in seen if line.startswith("to container 'scene' at ") and ": REQUEST " in line]
    assert "'word'" in asked and "70,000 bytes in 1 buffers" in asked
    for words in ("from engine ", "to engine ", "from container 'scene' at "):
        assert any(line.startswith(words) for line in seen), words
    assert sum(": RESPONSE " in line for line in seen) == 2
    assert not any("\n" in line for line in seen)
    begun = [record.getMessage() for record in wanted.get_records("setup")]
    for words in (" is ALIVE: WELCOME received", " is CONNECTED: the engine said HELLO on a new connection"):
        assert any(line.endswith(words) for line in begun), words


async def test_a_link_sees_that_somebody_begins_or_ends_to_want_it(caplog: pytest.LogCaptureFixture) -> None:
    server = ContainerServer(heartbeat=QUICK)
    server.function(lambda: None, name="nothing")
    async with server, ComputerEngineWorker(heartbeat=QUICK) as worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))

        await container.call("nothing")
        assert lines(caplog) == []
        with caplog.at_level(logging.DEBUG, "mpzmq.wire"):
            await until(lambda: WIRE_LOG.is_on)
            await container.call("nothing")
            assert {line.split()[0] for line in lines(caplog)} == {"to", "from"}
        await until(lambda: not WIRE_LOG.is_on)
        caplog.clear()
        await container.call("nothing")
        assert lines(caplog) == []


async def test_a_link_sees_it_where_no_container_is(lied: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mpzmq.wire"):
        await until(lambda: WIRE_LOG.is_on)
    await until(lambda: not WIRE_LOG.is_on)


async def test_whatever_a_stranger_sends_is_shown(
    wanted: pytest.LogCaptureFixture, scene: Scene, raw: Callable[[int], Raw]
) -> None:
    stranger = raw(zmq.DEALER).connect(scene.endpoint)
    stranger.send(LINK_TAG, b"\xc1")
    stranger.send(LINK_TAG, stranger.pack([7, 1]))
    await until(lambda: any("ERROR" in line for line in lines(wanted)))
    seen = lines(wanted)
    assert any(line.startswith("from connection ") and "PING [1]" in line for line in seen)
    assert any(line.startswith("from connection ") and "FormatError" in line for line in seen)
    assert any(line.startswith("to connection ") and "ERROR" in line for line in seen)
    assert await soon(scene.container.request(1)) == 1


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"", b""], [b"x" * 16], [b"x", b"\xff"], [LINK_TAG, b"\x91\xa1\xff"], [LINK_TAG, b"\x81"]]
)
def test_it_shows_whatever_there_is(frames: list[bytes]) -> None:
    assert all(isinstance(line, str) for line in shown_message(frames))
