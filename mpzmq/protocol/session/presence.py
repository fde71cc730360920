"""Which engines of a container are there, and since when the others are not."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from ...events import EngineInfo
from ..effects import TellPresence
from ..responder.session_state import SessionState

if TYPE_CHECKING:
    from ..effect_queue import EffectQueue
    from .session import EngineSession

__all__ = ["Presence"]

FIRST_WAIT, LAST_WAIT = 0.01, 1.0
"""Seconds between a PING into a connection that may have ended and the next one, twice as many each time. A connection
takes messages for some milliseconds after its end was told (3 of 20 first ones were, seen)."""


class Presence:
    """Who is connected, who is away, and whose connection is in doubt.

    Attributes:
        here: the engines that are connected, and what is known of them; may be read from any thread.
        away: the engines whose sessions are kept though their connections are gone, in the order in which that became
            known, and when it did.

    Args:
        effects: told of engines that come and go.
    """

    def __init__(self, effects: EffectQueue) -> None:
        self.here: dict[EngineSession, EngineInfo] = {}
        self.away: dict[EngineSession, float] = {}
        self._effects = effects
        self._doubts: dict[
            EngineSession, tuple[float, float]
        ] = {}  # when it was asked last, and until it is asked again
        self._forgettable: list[tuple[EngineSession, float]] = []

    def on_joined(self, peer: EngineSession, why: str) -> None:
        """An engine has greeted on a new connection."""
        self._doubts.pop(peer, None)
        self.away.pop(peer, None)
        if peer not in self.here:
            self._effects.add(TellPresence, (peer, why))
        user = None if peer.user is None else peer.user.name
        self.here[peer] = EngineInfo(session=peer.session[1], name=peer.name, user=user, reason=why)

    def on_lost(self, peer: EngineSession, why: str, now: float) -> None:
        """Its connection has ended, as is known since now."""
        self.away.setdefault(peer, now)
        self._gone(peer, why)

    def on_ended(self, peer: EngineSession, why: str) -> None:
        """Its session has."""
        self.away.pop(peer, None)
        self._gone(peer, why)

    def away_since(self, time: float) -> set[EngineSession]:
        """Those who have been away since a time, or for longer."""
        return set(itertools.takewhile(lambda peer: self.away[peer] <= time, self.away))

    def close(self, why: str) -> None:
        """The sessions of all who are connected end."""
        for peer in list(self.here):
            self.on_ended(peer, why)

    def suspect(self, peer: EngineSession, now: float) -> None:
        """Its connection may have ended: it is asked now, and again, until it is heard or shown to be gone."""
        self._doubts[peer] = now, FIRST_WAIT

    def next_question(self) -> float:
        """When those in doubt are to be asked again; infinity: there are none."""
        return min((asked_at + wait for asked_at, wait in self._doubts.values()), default=math.inf)

    def questions(self, now: float) -> list[EngineSession]:
        """Those who are to be asked again now."""
        asked = []
        for peer, (asked_at, wait) in list(self._doubts.items()):
            if asked_at + wait > now:
                continue
            if peer.heard_at > asked_at or wait > LAST_WAIT:
                del self._doubts[peer]  # it lives; or is left to the PINGs that every silent engine gets
                continue
            self._doubts[peer] = now, 2 * wait
            asked.append(peer)
        return asked

    def forgettable(self) -> EngineSession | None:
        """Whose session may be forgotten for another's: rather one without replies, and that was silent the longest."""
        while True:
            if not self._forgettable:
                self._look_for_forgettable()
                if not self._forgettable:
                    return None
            peer, heard_at = self._forgettable.pop()
            if peer.heard_at == heard_at and peer.state is SessionState.DETACHED and not peer.in_flight:
                return peer

    def _look_for_forgettable(self) -> None:
        """All at once: a flood of HELLOs looks once and not each time (4 ms)."""
        idle = [peer for peer in self.away if not peer.in_flight]
        idle.sort(key=lambda peer: (bool(peer.replies), peer.heard_at), reverse=True)
        self._forgettable = [(peer, peer.heard_at) for peer in idle]

    def _gone(self, peer: EngineSession, why: str) -> None:
        self._doubts.pop(peer, None)
        if self.here.pop(peer, None) is not None:
            self._effects.add(TellPresence, (peer, why))
