"""The transport that programs use: DEALER and ROUTER over TCP and ipc."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import zmq

from . import fork
from . import shared_context as context
from .dealer import ZmqDealer
from .router import ZmqRouter

if TYPE_CHECKING:
    from ..interface import Dealer, DealerHandler, Router, RouterHandler, SocketSettings

__all__ = ["ZmqTransport"]


class ZmqTransport:
    """Makes zmq sockets of the process's shared context, taken with the first socket."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    def dealer(self, endpoint: str, settings: SocketSettings, handler: DealerHandler) -> Dealer:
        """Dials an endpoint."""
        made = ZmqDealer(self._acquire(), asyncio.get_running_loop(), endpoint, settings, handler)
        fork.dealers.add(made)
        return made

    def router(self, settings: SocketSettings, handler: RouterHandler) -> Router:
        """A router that listens nowhere yet.

        Raises:
            OSError: too few file descriptors are left.
        """
        own = self._acquire()
        try:
            made = ZmqRouter(own, context.authenticator(), asyncio.get_running_loop(), settings, handler)
        except zmq.ZMQError as error:
            raise OSError(error.errno, f"cannot open a socket: {error.strerror}") from None
        fork.routers.add(made)
        return made

    async def release(self) -> None:
        """Gives the context back."""
        if self._context is not None:
            own, self._context = self._context, None
            await context.release(own)

    def _acquire(self) -> zmq.Context[zmq.Socket[bytes]]:
        if self._context is None:
            self._context = context.acquire()
        return self._context
