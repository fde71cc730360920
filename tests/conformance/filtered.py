"""A container or an engine of the examples that loses all records of one kind, as one would that has not heard of it.

python -m tests.conformance.filtered container mute 19 127.0.0.1:0
"""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING, Any

from mpzmq.transport.interface import Delivery
from mpzmq.transport.libzmq.dealer import ZmqDealer
from mpzmq.transport.libzmq.router import ZmqRouter
from mpzmq.transport.libzmq.socket import ZmqSocket
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence


def lose(what: str, kind: int) -> None:
    """From now on this process neither sends records of that kind (``mute``), or none is read (``deaf``).

    The judge takes and sends one record in a message, an array of less than 16 elements, mostly.
    """

    def is_lost(frames: Sequence[Any]) -> bool:
        record = bytes(frames[-1 if len(frames) < 3 else 1][:2])
        return len(record) == 2 and record[0] & 0xF0 == 0x90 and record[1] == kind

    if what == "mute":
        router_send, dealer_send = ZmqRouter.send, ZmqDealer.send
        ZmqRouter.send = (  # type: ignore[method-assign]
            lambda self, route, frames: Delivery.SENT if is_lost(frames) else router_send(self, route, frames)
        )
        ZmqDealer.send = lambda self, frames: is_lost(frames) or dealer_send(self, frames)  # type: ignore[method-assign]
        return
    made = ZmqSocket.__init__

    def make(self: ZmqSocket, raw: Any, loop: Any, on_messages: Any, *args: Any, **named: Any) -> None:
        start = 1 if "routed" in named else 0

        def hear(messages: Sequence[Any]) -> None:
            on_messages([frames for frames in messages if not is_lost(frames[start:])])

        made(self, raw, loop, hear, *args, **named)

    ZmqSocket.__init__ = make  # type: ignore[method-assign, assignment]  # it takes the same


if __name__ == "__main__":
    side, what, kind, endpoint = sys.argv[1:]
    lose(what, int(kind))
    sys.argv = [side, endpoint]
    runpy.run_path(str(ROOT / "examples" / f"conform_{side}.py"), run_name="__main__")
