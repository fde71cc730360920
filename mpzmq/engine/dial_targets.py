"""Where one link dials: host names, looked up outside libzmq.

libzmq looks names up in its I/O thread, where one hanging resolver stops every link, and tries only the first
address. Here every dial begins with a lookup, and tries all addresses before it counts as failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.names import resolve

if TYPE_CHECKING:
    from ..address import Address

__all__ = ["DialTargets", "look_up"]


async def look_up(address: Address) -> list[str]:
    """The endpoints behind an address, numbers only, in the resolver's order.

    Raises:
        OSError: the name has no address.
    """
    if address.is_numeric:
        return [address.endpoint()]
    return [address.endpoint(number) for _, number in await resolve(address.host, address.port)]


class DialTargets:
    """The endpoints of one name during one dial."""

    def __init__(self, endpoints: list[str]) -> None:
        self._endpoints = endpoints
        self._untried = endpoints[1:]
        self.current = endpoints[0]

    def next_untried(self) -> str | None:
        """The endpoint to try next in this dial; None: all have been tried, and the dial has failed."""
        if not self._untried:
            self._untried = [endpoint for endpoint in self._endpoints if endpoint != self.current]
            return None
        self.current = self._untried.pop(0)
        return self.current

    def refreshed(self, endpoints: list[str]) -> bool:
        """Takes the answer of a new lookup; True: the endpoint in use is not among them any more."""
        self._endpoints = endpoints
        moved = self.current not in endpoints
        if moved:
            self.current = endpoints[0]
        self._untried = [endpoint for endpoint in endpoints if endpoint != self.current]
        return moved
