"""Which routes came from which file descriptors: libzmq tells the end of a connection by its descriptor only."""

from __future__ import annotations

__all__ = ["Descriptors"]


class Descriptors(dict[bytes, int]):
    """The descriptors behind the routes of a router, by route.

    A descriptor is given to another connection as soon as it is free, perhaps before anybody has heard that the first
    one ended. So one descriptor may have several routes, and whose end was told has to be found out by sending.
    """

    def __init__(self) -> None:
        super().__init__()
        self._routes: dict[int, list[bytes]] = {}

    def add(self, route: bytes, descriptor: int) -> None:
        """A route's first message has come."""
        self[route] = descriptor
        self._routes.setdefault(descriptor, []).append(route)

    def latest(self, route: bytes) -> int | None:
        """The descriptor of a route; None: it is not known, or was given to another connection since."""
        descriptor = self.get(route)
        return None if descriptor is None or self._routes[descriptor][-1] != route else descriptor

    def is_heard(self, descriptor: int) -> bool:
        """Whether a message has come from it."""
        return descriptor in self._routes

    def take(self, descriptor: int) -> list[bytes]:
        """The routes that a descriptor had, which are forgotten: one that lives is added again by its next message."""
        routes = self._routes.pop(descriptor, [])
        for route in routes:
            del self[route]
        return routes
