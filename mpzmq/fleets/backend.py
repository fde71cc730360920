"""Backend: where the containers of a fleet run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..engine.resolvers.resolver import Resolver
    from ..security.credentials import Security

__all__ = ["Backend"]


class Backend(Protocol):
    """Where the containers of a fleet run, and who starts them there.

    It is made, started once, and closed once, all on one event loop. Making it starts nothing.
    """

    security: Security | None
    """The keys with which the engine comes to the containers; None: those of its worker."""

    async def start(self, replicas: int | None) -> None:
        """Starts the containers, and returns when all of them serve.

        Args:
            replicas: how many; None: as many as suit the place.

        Raises:
            ConnectError: one of them does not serve; the text says why. ``close()`` is called in any case.
        """

    def resolver(self) -> Resolver:
        """What names the containers that may be asked, and follows them as they come and go."""

    async def scale(self, replicas: int) -> None:
        """Starts more of them, or drains and ends some; returns when that is done.

        Args:
            replicas: how many there are to be.

        Raises:
            ConnectError: one that was started does not serve.
            ValueError: there cannot be so many.
        """

    async def close(self) -> None:
        """Drains the containers and ends all that was started; bounded in time, and idempotent.

        Where it is cancelled, it ends them without a drain.
        """
