"""What a forked child does with the connections of its parent: it closes its copies of them.

libzmq's threads do not come through fork, but its descriptors do. With them in a child, a parent that is killed would
not be missed by its peers until their heartbeats are, and its ports would stay in use for as long as the child lives.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING
from weakref import WeakSet

from .addresses import SocketAddresses

if TYPE_CHECKING:
    from .dealer import ZmqDealer
    from .router import ZmqRouter

__all__ = ["dealers", "routers"]

DESCRIPTORS = "/proc/self/fd"
"""Where Linux lists the descriptors of a process. Elsewhere a child keeps its copies until it ends."""

routers: WeakSet[ZmqRouter] = WeakSet()
dealers: WeakSet[ZmqDealer] = WeakSet()


def _close_copies() -> None:
    """In the child: closes what is at our endpoints.

    They are found by name. A remembered number may belong to something else by now. Nothing is told to the other side
    (no shutdown), nor to a selector: both are shared with the parent.
    """
    listening = SocketAddresses(endpoint for router in routers for endpoint in router.endpoints)
    dialled = SocketAddresses(dealer.endpoint for dealer in dealers)
    if not (listening or dialled):
        return
    try:
        descriptors = os.listdir(DESCRIPTORS)
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it is not a socket
            copy = socket.socket(fileno=int(descriptor))
            if _is_at(copy, listening, dialled):
                copy.close()
            else:
                copy.detach()


def _is_at(copy: socket.socket, listening: SocketAddresses, dialled: SocketAddresses) -> bool:
    if copy.type != socket.SOCK_STREAM or copy.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return False
    try:
        return copy.getsockname() in listening or copy.getpeername() in dialled
    except OSError:  # it is not connected
        return False


os.register_at_fork(after_in_child=_close_copies)
