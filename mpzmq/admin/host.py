"""What can be watched: a server or a worker with admin endpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.lifecycle import Lifecycle
    from .endpoint import AdminEndpoint
    from .status import Subject

__all__ = ["AdminHost"]


class AdminHost(ABC):
    """Has admin endpoints, which close with it."""

    _lifecycle: Lifecycle

    def __init__(self) -> None:
        self._admin_endpoints: list[AdminEndpoint] = []

    @abstractmethod
    def _subject(self) -> Subject:
        """What the endpoints tell of it."""

    async def bind_admin(self, endpoint: str | tuple[str, int], *, insecure: bool = False) -> str:
        """Answers over HTTP how this is, from now on.

        There are ``/livez``, ``/readyz``, ``/status.json``, ``/metrics`` (extra ``metrics``), and ``/``, a page.
        It may be called before anything else, and several times for several endpoints. They close with it.

        Args:
            endpoint: ``"host:port"`` or ``(host, port)``. Port 0 picks a free one, host ``*`` is every interface.
            insecure: allow an endpoint that other hosts can reach. There are no passwords: whoever can reach it may
                read it.

        Returns:
            Its URL.

        Raises:
            InsecureBind: other hosts could reach it, and ``insecure`` is not set.
            OSError: it cannot be bound: in use (EADDRINUSE), no such interface, no permission.
            ValueError, TypeError: the endpoint is malformed, or not TCP.
            RuntimeError: this is closed, or belongs to another event loop.
        """
        from .endpoint import AdminEndpoint

        self._check_open()
        self._lifecycle.loop_bound.bind()
        admin = AdminEndpoint(self._subject())
        url = await admin.open(endpoint, insecure=insecure)
        if self._lifecycle.is_ending:
            await admin.close()
            self._check_open()
        self._admin_endpoints.append(admin)
        return url

    def _check_open(self) -> None:
        if self._lifecycle.is_ending:
            raise RuntimeError("this is closed: enter it again with 'async with', or make another one")

    async def _close_admin(self) -> None:
        while self._admin_endpoints:
            await self._admin_endpoints.pop().close()
