"""The one zmq context of a process."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import zmq

from mpzmq.transport.libzmq import shared_context
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    import pytest


async def test_its_end_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A context waits for its sockets, whatever keeps them."""
    monkeypatch.setattr(shared_context, "END_TIMEOUT", 0.02)
    context = shared_context.acquire()
    socket = context.socket(zmq.PAIR)
    await soon(shared_context.release(context))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert not context.closed
    socket.close(0)
    await until(lambda: context.closed)
    again = shared_context.acquire()
    assert again is not context
    await soon(shared_context.release(context))  # it was given back before
    await soon(shared_context.release(again))
    await until(lambda: again.closed)
