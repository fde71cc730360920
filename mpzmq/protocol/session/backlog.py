"""What waits inside a container for all of its engines together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import EngineSession
    from .table import SessionTable

__all__ = ["Backlog"]

SLACK = 8
"""Where more waits than may, so much of the bound is made free at once, and not a little with each reply."""


class Backlog:
    """Bytes that wait for engines: of each they are counted anew when something has left for it, or could not.

    So a container with many engines never adds them all up but where the bound seems to be reached: what became of an
    engine's bytes elsewhere, with its connection or its session, is only seen then.

    Args:
        sessions: the engines.
        max_bytes: how many bytes may wait.

    Attributes:
        bytes: how many wait, or more.
    """

    def __init__(self, sessions: SessionTable, max_bytes: int) -> None:
        self.bytes = 0
        self._sessions = sessions
        self._max_bytes = max_bytes
        self._look_at = max_bytes  # for who holds most

    def count(self, peer: EngineSession) -> None:
        """What waits for an engine may have changed."""
        self.bytes += peer.growth()

    @property
    def is_full(self) -> bool:
        """Whether more waits than may, and somebody is to be found who loses it."""
        return self.bytes > self._look_at

    def heaviest(self) -> list[EngineSession]:
        """Those for whom the most waits, and without whom there is room again; one large thing alone does not count."""
        peers = self._sessions.all()
        for peer in peers:
            peer.growth()
        self.bytes = sum(peer.waiting for peer in peers)
        left, chosen = self.bytes, []
        if left > self._max_bytes:
            peers = [peer for peer in peers if peer.waits_for_much]
            for peer in sorted(peers, key=lambda peer: -peer.waiting):
                if left <= self._max_bytes - self._max_bytes // SLACK:
                    break
                chosen.append(peer)
                left -= peer.waiting
        self._look_at = max(self._max_bytes, left + self._max_bytes // SLACK)
        return chosen
